//! Whether the journal can take more: what a health check asks, without waiting for any lock that
//! is held during I/O.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::{AppendError, WaitError};

/// The journal's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It takes records.
    Ok,
    /// No room; appends are refused until there is.
    Full {
        /// What is full, and what holds it back.
        reason: Arc<str>,
    },
    /// A write or a sync takes longer than `stall_limit`. Appends are accepted while the buffer
    /// has room.
    Stalled {
        /// `write` or `sync`.
        what: &'static str,
        /// How long it has been in progress.
        since: Duration,
    },
    /// The disk fails; appends are refused until a retry succeeds.
    Failed {
        /// What the system said.
        reason: Arc<str>,
    },
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("ok"),
            Self::Full { reason } => write!(f, "full: {reason}"),
            Self::Stalled { what, since } => {
                write!(f, "a {what} has been in progress for {since:?}")
            }
            Self::Failed { reason } => write!(f, "failing: {reason}"),
        }
    }
}

/// Why writing or syncing does not work now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) full: bool,
    pub(crate) reason: Arc<str>,
}

/// The faults of now. Writing and syncing fail, and recover, each on its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    pub(crate) write: Option<Fault>,
    pub(crate) sync: Option<Fault>,
}

impl Faults {
    pub(crate) fn any(&self) -> Option<&Fault> {
        self.write.as_ref().or(self.sync.as_ref())
    }
}

impl Fault {
    pub(crate) fn health(&self) -> Health {
        let reason = Arc::clone(&self.reason);
        if self.full {
            Health::Full { reason }
        } else {
            Health::Failed { reason }
        }
    }

    pub(crate) fn append_error(&self) -> AppendError {
        let reason = Arc::clone(&self.reason);
        if self.full {
            AppendError::Full { reason }
        } else {
            AppendError::Failed { reason }
        }
    }

    pub(crate) fn not_written(&self) -> WaitError {
        WaitError::NotWritten {
            reason: Arc::clone(&self.reason),
        }
    }

    pub(crate) fn not_synced(&self) -> WaitError {
        WaitError::NotSynced {
            reason: Arc::clone(&self.reason),
        }
    }
}

/// When the I/O in progress began, readable without a lock.
#[derive(Debug)]
pub(crate) struct Busy {
    epoch: Instant,
    /// Microseconds since `epoch`, plus one; zero when nothing is in progress.
    since: AtomicU64,
}

impl Busy {
    pub(crate) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            since: AtomicU64::new(0),
        }
    }

    /// Runs `work`, marked as in progress. One at a time per `Busy`.
    pub(crate) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        self.since
            .store(self.elapsed().saturating_add(1), Ordering::Relaxed);
        let result = work();
        self.since.store(0, Ordering::Relaxed);
        result
    }

    /// How long the I/O in progress has taken; zero when there is none.
    pub(crate) fn lasting(&self) -> Duration {
        match self.since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_micros(self.elapsed().saturating_sub(since - 1)),
        }
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
