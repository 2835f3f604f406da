//! What the journal is told when it is opened.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::OpenError;
use crate::record::{HARD_MAX, PREFIX};
use crate::segment::HEADER;

/// How far a record must have come for a wait to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// In this process's memory.
    Append,
    /// Handed to the kernel: survives the end of this process.
    Write,
    /// On disk: survives a power cut.
    Sync,
}

/// What happens when the budget is used up and a follower still needs the oldest segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WhenFull {
    /// Appends are refused until the follower has moved on.
    Stop,
    /// The segment is deleted; the follower is told how many records it lost.
    DropUnread,
}

/// How a journal is kept. All sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The directory; created with mode 0700 when it is not there.
    pub dir: PathBuf,
    /// How long an appended record waits at most before it is written without being asked for.
    pub flush_interval: Duration,
    /// How long a written record waits at most before it is synced without being asked for. Zero: only
    /// when asked, when a segment is full, and at the end.
    pub sync_interval: Duration,
    /// A segment is closed when the next batch would make it longer than this.
    pub segment_bytes: u64,
    /// The budget of all segments together. At least twice the longest segment: the largest of
    /// `segment_bytes`, `buffer_bytes` and `max_record`.
    pub max_bytes: u64,
    /// What happens when the budget is used up.
    pub when_full: WhenFull,
    /// Bytes that may be accepted and not yet written. A single longer record is accepted alone.
    pub buffer_bytes: usize,
    /// Bytes of written records kept in memory for readers.
    pub tail_bytes: usize,
    /// The longest payload accepted.
    pub max_record: usize,
    /// A write or sync in progress for longer than this is a stall ([`crate::Health::Stalled`]).
    pub stall_limit: Duration,
}

impl Options {
    /// The defaults, for the journal in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            flush_interval: Duration::from_millis(5),
            sync_interval: Duration::from_secs(1),
            segment_bytes: 128 << 20,
            max_bytes: 10 << 30,
            when_full: WhenFull::Stop,
            buffer_bytes: 8 << 20,
            tail_bytes: 16 << 20,
            max_record: 32 << 20,
            stall_limit: Duration::from_secs(1),
        }
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let wrong = |message: String| Err(OpenError::Option(message));
        if self.segment_bytes == 0 {
            return wrong("segment_bytes is 0: must be at least 1".to_owned());
        }
        if self.max_record == 0 || self.max_record > HARD_MAX {
            return wrong(format!(
                "max_record ({}) must be from 1 to {HARD_MAX} bytes",
                self.max_record
            ));
        }
        if self.buffer_bytes == 0 {
            return wrong("buffer_bytes is 0: nothing could be appended".to_owned());
        }
        // A batch is never split, so a segment can be as long as the longest of these.
        let longest = [self.buffer_bytes, self.max_record.saturating_add(PREFIX)]
            .into_iter()
            .map(|size| u64::try_from(size).unwrap_or(u64::MAX))
            .fold(self.segment_bytes, u64::max);
        let least = longest.saturating_add(HEADER).saturating_mul(2);
        if self.max_bytes < least {
            return wrong(format!(
                "max_bytes ({}) is below {least}, twice the longest segment: raise max_bytes, or lower segment_bytes ({}), buffer_bytes ({}) or max_record ({})",
                self.max_bytes, self.segment_bytes, self.buffer_bytes, self.max_record
            ));
        }
        if self.flush_interval.is_zero() {
            return wrong("flush_interval is 0: must be at least 1 us".to_owned());
        }
        Ok(())
    }
}
