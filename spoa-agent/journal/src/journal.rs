//! The journal as its users hold it: a handle that can be cloned, and the two threads behind it.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

use crate::cursor::{self, Cursor};
use crate::disk::{Disk, Kernel};
use crate::error::{
    AppendError, CloseError, CursorError, FileError, OpenError, ReadError, WaitError,
};
use crate::health::Health;
use crate::lock::Lock;
use crate::options::{Level, Options};
use crate::reader::{Reader, Start};
use crate::recovery::{self, Recovery};
use crate::segment::Segment;
use crate::writer::Shared;
use crate::{Place, Position};

/// An open journal: the only writer of its directory. Clones share it; when the last one is
/// dropped it is closed.
#[derive(Debug, Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
}

#[derive(Debug)]
struct Threads {
    flush: JoinHandle<()>,
    sync: JoinHandle<()>,
    /// Given back when everything is written.
    _lock: Lock,
}

/// What the journal holds, and how far everybody is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Segment files.
    pub segments: usize,
    /// Bytes of the segment files.
    pub bytes: u64,
    /// Records written and not deleted, those lost in holes included.
    pub records: u64,
    /// The oldest record.
    pub oldest: Place,
    /// Where the next record starts.
    pub appended: Place,
    /// Up to here the kernel has it.
    pub written: Place,
    /// Up to here the disk has it.
    pub synced: Position,
    /// Every saved cursor.
    pub cursors: Vec<CursorLag>,
}

/// How far a saved cursor is behind what is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorLag {
    /// The follower.
    pub name: String,
    /// The lowest place that it is not done with.
    pub low: Place,
    /// Bytes from there to the end.
    pub bytes: u64,
    /// Records from there to the end.
    pub records: u64,
}

impl Journal {
    /// Opens the journal in `options.dir`, creating it when it is not there, and repairs what a
    /// crash left. Blocks: it scans the last segment, and syncs all of them.
    ///
    /// # Errors
    /// Fails when another process has it open, when it is of another version, or when the file system
    /// refuses. Damage is no error: see [`Recovery`].
    pub fn open(options: Options) -> Result<(Self, Recovery), OpenError> {
        Self::open_on(options, Arc::new(Kernel))
    }

    pub(crate) fn open_on(
        options: Options,
        disk: Arc<dyn Disk>,
    ) -> Result<(Self, Recovery), OpenError> {
        options.check()?;
        let dir = options.dir.clone();
        recovery::create_folders(&dir)?;
        let lock = Lock::take(&dir)?;
        let (shared, recovery) = recovery::recover(options, disk)?;
        let shared = Arc::new(shared);
        let threads = start(&shared, lock).map_err(FileError::at("start the threads of", &dir))?;
        let inner = Inner {
            shared,
            threads: Mutex::new(Some(threads)),
        };
        Ok((
            Self {
                inner: Arc::new(inner),
            },
            recovery,
        ))
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    /// Appends one record. `encode` appends its payload to the buffer, and nothing else; it runs
    /// under a lock that every append takes, so it should be quick. `size_hint` is the payload's
    /// expected length in bytes.
    ///
    /// Returns the position where the record ends: what to hand to [`Journal::wait`].
    ///
    /// # Errors
    /// Nothing of the record is kept on an error.
    pub fn append(
        &self,
        size_hint: usize,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Position, AppendError> {
        self.inner.shared.append(size_hint, encode)
    }

    /// Waits until everything before `position` has reached `level`.
    ///
    /// For [`Level::Write`] the caller usually does the write itself, on its own thread: one
    /// `pwrite` into the page cache, for everybody who appended meanwhile.
    ///
    /// # Errors
    /// Fails at once while writing (or, for [`Level::Sync`], syncing) is failing. The record stays
    /// accepted all the same, and is written when the journal recovers.
    pub async fn wait(&self, position: Position, level: Level) -> Result<(), WaitError> {
        self.inner.shared.wait(position, level).await
    }

    /// Writes what is buffered, unless another thread is just doing so; never waits for it.
    /// Returns [`Journal::written`].
    pub fn try_commit(&self) -> Position {
        self.inner.shared.try_commit()
    }

    /// Waits until something is written past `position`; returns [`Journal::written`].
    ///
    /// # Errors
    /// [`WaitError::Closed`] when nothing will be.
    pub async fn wait_written_past(&self, position: Position) -> Result<Position, WaitError> {
        self.inner.shared.wait_written_past(position).await
    }

    /// Everything before this position was accepted.
    #[must_use]
    pub fn appended(&self) -> Position {
        self.inner.shared.appended()
    }

    /// Everything before this position was handed to the kernel.
    #[must_use]
    pub fn written(&self) -> Position {
        self.inner.shared.written()
    }

    /// Everything before this position is on disk.
    #[must_use]
    pub fn synced(&self) -> Position {
        self.inner.shared.synced()
    }

    /// Whether it can take more. Quick: waits for no I/O.
    #[must_use]
    pub fn health(&self) -> Health {
        self.inner.shared.health()
    }

    /// Records that [`crate::WhenFull::DropUnread`] deleted before the slowest follower had read them,
    /// since the journal was opened.
    #[must_use]
    pub fn dropped_unread(&self) -> u64 {
        self.inner
            .shared
            .dropped_unread
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    /// A reader of what is written.
    pub fn reader(&self, start: Start) -> Reader {
        Reader::live(Arc::clone(&self.inner.shared), start)
    }

    /// The cursor of the follower `name` (1 to 64 of `a-z`, `0-9`, `-`, `_`).
    ///
    /// # Errors
    /// Fails when the name is not allowed or what was saved cannot be read.
    pub fn cursor(&self, name: &str) -> Result<Cursor, CursorError> {
        Cursor::open(Arc::clone(&self.inner.shared), name)
    }

    /// Removes the cursor of a follower that will not come back, so that it holds no segment back.
    /// Returns false when there was none.
    ///
    /// # Errors
    /// Fails when the name is not allowed or the file cannot be removed.
    pub fn forget_cursor(&self, name: &str) -> Result<bool, CursorError> {
        cursor::check_name(name)?;
        let path = cursor::path(&self.inner.shared.options.dir, name);
        let removed = match std::fs::remove_file(&path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(FileError::at("remove", &path)(error).into()),
        };
        self.inner.shared.cursors.lock().remove(name);
        Ok(removed)
    }

    /// What the journal holds.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let shared = &self.inner.shared;
        let written = shared.written_place();
        let (segments, bytes, oldest) = {
            let segments = shared.segments.lock();
            let oldest = segments.front().map_or(written, |segment| segment.base);
            (
                segments.len(),
                segments.iter().map(Segment::file_len).sum(),
                oldest,
            )
        };
        let lag = |(name, low): (&String, &Place)| CursorLag {
            name: name.clone(),
            low: *low,
            bytes: written.position.saturating_sub(low.position),
            records: written.sequence.saturating_sub(low.sequence),
        };
        let cursors = shared.cursors.lock().iter().map(lag).collect();
        Stats {
            segments,
            bytes,
            records: written.sequence.saturating_sub(oldest.sequence),
            oldest,
            appended: shared.next_place(),
            written,
            synced: shared.synced(),
            cursors,
        }
    }

    /// Refuses further appends, writes and syncs what was accepted, and gives the lock back. Blocks.
    /// Does nothing the second time.
    ///
    /// # Errors
    /// Says how much did not reach the disk, and why.
    pub fn close(&self) -> Result<(), CloseError> {
        self.inner.close()
    }
}

impl Inner {
    fn close(&self) -> Result<(), CloseError> {
        let Some(threads) = self.threads.lock().take() else {
            return Ok(());
        };
        self.shared.refuse_all();
        self.shared.stop_syncing();
        // A thread that panicked has nothing left to write.
        threads.flush.join().unwrap_or_default();
        threads.sync.join().unwrap_or_default();
        self.shared.with_writer(Shared::commit);
        self.shared.sync_pass();
        self.shared.end_waits();
        self.missing()
    }

    fn missing(&self) -> Result<(), CloseError> {
        let next = self.shared.next_place();
        let written = self.shared.written_place();
        let reason = || {
            self.shared.fault().map_or_else(
                || "an encoder broke the buffer".into(),
                |fault| fault.reason,
            )
        };
        if written.position < next.position {
            return Err(CloseError {
                records: next.sequence.saturating_sub(written.sequence),
                bytes: next.position.saturating_sub(written.position),
                missing: "written",
                reason: reason(),
            });
        }
        let bytes = next.position.saturating_sub(self.shared.synced());
        if bytes > 0 {
            return Err(CloseError {
                records: 0,
                bytes,
                missing: "durable",
                reason: reason(),
            });
        }
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody is left to tell; who wants to know calls `close`.
        self.close().unwrap_or_default();
    }
}

fn start(shared: &Arc<Shared>, lock: Lock) -> io::Result<Threads> {
    let (flushing, syncing) = (Arc::clone(shared), Arc::clone(shared));
    let sync = thread::Builder::new()
        .name("journal-sync".to_owned())
        .spawn(move || syncing.sync_loop())?;
    let flush = thread::Builder::new()
        .name("journal-flush".to_owned())
        .spawn(move || flushing.flush_loop());
    match flush {
        Ok(flush) => Ok(Threads {
            flush,
            sync,
            _lock: lock,
        }),
        Err(error) => {
            shared.stop_syncing();
            Err(error)
        }
    }
}

/// Reads a journal's directory without opening it: for tools, also while a writer is at work.
impl Reader {
    /// A reader of the journal in `dir`, which another process may be writing to. It takes no lock
    /// and holds no segment back. Where the last segment ends in the middle of a record it waits
    /// for the rest.
    ///
    /// # Errors
    /// Fails when the directory is no journal or the file system refuses.
    pub fn open_dir(dir: impl Into<std::path::PathBuf>, start: Start) -> Result<Self, ReadError> {
        Self::folder(dir.into(), start)
    }
}
