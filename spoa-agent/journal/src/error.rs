//! What can go wrong, as data. Every message names the thing, the value and the way out.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

/// The file system refused something.
#[derive(Debug, Error)]
#[error("cannot {doing} {}: {source}", path.display())]
pub struct FileError {
    /// The file or folder.
    pub path: PathBuf,
    /// What was tried, as a verb.
    pub doing: &'static str,
    /// What the system said.
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`: names what was tried and where.
    pub(crate) fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self {
            path,
            doing,
            source,
        }
    }
}

/// The journal cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process writes to it.
    #[error(
        "the journal {} is in use by process {}; stop that process, or give this one a directory of its own",
        dir.display(),
        pid.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string())
    )]
    Locked {
        /// The journal's directory.
        dir: PathBuf,
        /// The process that holds the lock, as it wrote into the lock file.
        pid: Option<u32>,
    },
    /// A segment of another version of the format.
    #[error(
        "{} is of an old journal (format version {found}; this build reads and writes version {ours}): read it with the build that wrote it, then move the directory away",
        path.display()
    )]
    OldJournal {
        /// The segment.
        path: PathBuf,
        /// The version in its header.
        found: u32,
        /// The version this build knows.
        ours: u32,
    },
    /// A file in the place of a segment that is none.
    #[error("{} is not a segment of a journal; move it away, or choose another directory", path.display())]
    NotASegment {
        /// The file.
        path: PathBuf,
    },
    /// An option contradicts another.
    #[error("{0}")]
    Option(String),
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A record was not accepted. Nothing of it is in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AppendError {
    /// No room: the disk or the journal's budget is full.
    #[error("the journal is full: {reason}")]
    Full {
        /// What is full, and what holds it back.
        reason: Arc<str>,
    },
    /// More is accepted and not yet written than the bound allows.
    #[error(
        "{buffered} bytes wait to be written, and the bound is {limit}; the disk is slower than the traffic"
    )]
    Backlog {
        /// Bytes that wait.
        buffered: usize,
        /// The option `buffer_bytes`.
        limit: usize,
    },
    /// The disk fails.
    #[error("the journal cannot write: {reason}")]
    Failed {
        /// What the system said.
        reason: Arc<str>,
    },
    /// The record is longer than allowed.
    #[error("a record of {size} bytes exceeds max_record ({limit} bytes)")]
    TooBig {
        /// Bytes of the payload.
        size: usize,
        /// The option `max_record`.
        limit: usize,
    },
    /// The payload is empty.
    #[error("a record without payload cannot be appended")]
    Empty,
    /// The journal is closed.
    #[error("the journal is closed")]
    Closed,
}

/// A position was not reached. The record was accepted and may still be written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WaitError {
    /// It is not written yet, and writing is failing. The journal keeps the record in memory and
    /// retries.
    #[error("not written yet: {reason}")]
    NotWritten {
        /// What holds it back.
        reason: Arc<str>,
    },
    /// It is not durable, and syncing is failing.
    #[error("not durable yet: {reason}")]
    NotSynced {
        /// What holds it back.
        reason: Arc<str>,
    },
    /// The journal was closed before.
    #[error("the journal is closed")]
    Closed,
}

/// The journal was closed, but not everything in it reached the disk.
#[derive(Debug, Error)]
#[error("the journal was closed with {records} records ({bytes} bytes) not {missing}: {reason}")]
pub struct CloseError {
    /// Records accepted and not there.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// `written` or `durable`.
    pub missing: &'static str,
    /// What the system said.
    pub reason: Arc<str>,
}

/// A reader cannot go on. Damage is no error: it is reported as [`crate::Item::Lost`].
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file system refused; the next call tries again.
    #[error(transparent)]
    File(#[from] FileError),
    /// A segment of another version of the format.
    #[error(
        "{} is of an old journal (format version {found}; this build reads version {ours})",
        path.display()
    )]
    OldJournal {
        /// The segment.
        path: PathBuf,
        /// The version in its header.
        found: u32,
        /// The version this build knows.
        ours: u32,
    },
}

/// A cursor cannot be read or kept.
#[derive(Debug, Error)]
pub enum CursorError {
    /// The name cannot be a file name.
    #[error("the cursor name {name:?} is not allowed: use 1 to 64 of a-z, 0-9, '-' and '_'")]
    Name {
        /// The name asked for.
        name: String,
    },
    /// The file is not what was saved.
    #[error(
        "the cursor {} is damaged ({why}); remove it to start that follower anew",
        path.display()
    )]
    Damaged {
        /// The cursor's file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// What the follower wants kept is too long.
    #[error("the follower's own state of {size} bytes exceeds the limit of {limit} bytes")]
    TooBig {
        /// Bytes of `extra`.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
}
