//! What every follower of the journal has: a reader of exchanges, a durable cursor, and a ledger
//! that is saved together with the cursor, so that it balances over restarts and kills.
//!
//! A follower runs on a thread of its own, because reading a lagging journal and writing files may
//! block. `traffic_log`, `pair_log` and `mirror` are those that there are; another one is a module beside them
//! that loops over [`Follower::read`] and tells [`Follower::done`].

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use journal::{
    Cursor, CursorError, Entry, ExchangeReader, Journal, PairingOptions, Position, Start,
};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

pub use self::ledger::{Fate, Ledger, Standing};
use crate::telemetry::metrics::{Follower as Name, FollowerMetrics, Label};
use crate::telemetry::throttle::Throttle;

mod ledger;

/// How often the cursor is saved while something is going on. What was done since then is done again
/// after a kill.
const SAVE_INTERVAL: Duration = Duration::from_millis(500);
/// How old the account may be that others look at.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(50);
/// How long to wait after the file system failed.
const ERROR_PAUSE: Duration = Duration::from_millis(500);

/// Until when a follower goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// As long as the agent runs.
    Stopped,
    /// Until everything that is written is done, at most until then.
    CaughtUp(Instant),
}

/// What anybody may look at while the follower works.
#[derive(Clone, Debug)]
pub struct Watched {
    name: Name,
    standing: Arc<Mutex<Standing>>,
}

impl Watched {
    /// Which follower it is.
    #[must_use]
    pub const fn name(&self) -> Name {
        self.name
    }

    /// The last account that it gave. It balances.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing.lock().clone()
    }
}

/// A follower's place in the journal, and its account.
#[derive(Debug)]
pub struct Follower {
    name: Name,
    journal: Journal,
    reader: ExchangeReader,
    cursor: Cursor,
    ledger: Ledger,
    /// What was told by the cursor, in the follower's own words.
    note: Vec<u8>,
    metrics: FollowerMetrics,
    watched: Watched,
    until: watch::Receiver<Until>,
    saved_at: Instant,
    published_at: Instant,
    changed: bool,
    resumed: bool,
    trouble: Throttle,
}

impl Follower {
    /// Goes on where the cursor of that name is, or begins at `begin`.
    ///
    /// # Errors
    /// When the cursor cannot be read.
    pub fn open(
        name: Name,
        journal: &Journal,
        begin: Start,
        pairing: PairingOptions,
        metrics: FollowerMetrics,
        until: watch::Receiver<Until>,
    ) -> Result<Self, CursorError> {
        let cursor = journal.cursor(&name.as_str().replace('_', "-"))?;
        let cursor_was_saved = cursor.saved().is_some();
        let (reader, ledger, note) = match cursor.saved() {
            Some(state) => {
                let (ledger, note) = Ledger::read(&state.extra);
                (
                    ExchangeReader::resume(journal, state.clone(), pairing),
                    ledger,
                    note,
                )
            }
            None => {
                let reader = ExchangeReader::new(journal.reader(begin), pairing);
                let ledger = Ledger::begin(reader.low());
                (reader, ledger, Vec::new())
            }
        };
        let standing = Arc::new(Mutex::new(ledger.standing(&reader)));
        let mut follower = Self {
            name,
            journal: journal.clone(),
            reader,
            cursor,
            ledger,
            note,
            metrics,
            watched: Watched { name, standing },
            until,
            saved_at: Instant::now(),
            published_at: Instant::now(),
            changed: true,
            resumed: cursor_was_saved,
            trouble: Throttle::default(),
        };
        // From now on the journal keeps what this follower needs.
        follower.save();
        Ok(follower)
    }

    /// What others may look at.
    #[must_use]
    pub fn watched(&self) -> Watched {
        self.watched.clone()
    }

    /// Whether it goes on where a run before this one ended.
    #[must_use]
    pub const fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// What [`Follower::annotate`] kept before the restart.
    #[must_use]
    pub fn note(&self) -> &[u8] {
        &self.note
    }

    /// Keeps bytes of the follower's own with the cursor.
    pub fn annotate(&mut self, note: Vec<u8>) {
        self.note = note;
    }

    /// The next entry that is written, or `None` for now. A failing file system is logged, and
    /// counts as nothing for now.
    pub fn read(&mut self) -> Option<Entry> {
        let before = self.reader.place();
        let entry = self.reader.next(now_us());
        // A half that waits for its other half is no entry, and is in the account all the same.
        self.changed |= self.reader.place() != before;
        let entry = match entry {
            Ok(entry) => entry?,
            Err(error) => {
                if let Some(suppressed) = self.trouble.admit() {
                    tracing::error!(follower = self.name.as_str(), %error, suppressed, "cannot read the journal; trying again");
                }
                std::thread::sleep(ERROR_PAUSE);
                return None;
            }
        };
        self.changed = true;
        match &entry {
            Entry::Begun { .. } => {}
            Entry::Exchange(_) | Entry::Pair { .. } => self.metrics.read(),
            Entry::Gap(gap) => self.ledger.gap(gap),
            Entry::Lost(lost) => {
                self.metrics.lost_records(lost.records);
                tracing::error!(
                    follower = self.name.as_str(),
                    records = lost.records,
                    from = lost.from.position,
                    to = lost.to.position,
                    reason = ?lost.reason,
                    "records of the journal are lost to this follower"
                );
            }
            Entry::Undecodable { place, why } => {
                if let Some(suppressed) = self.trouble.admit() {
                    tracing::error!(
                        follower = self.name.as_str(),
                        position = place.position,
                        why,
                        suppressed,
                        "a record of the journal is no half"
                    );
                }
            }
        }
        Some(entry)
    }

    /// The follower is done with the exchange, or the pair, at this position.
    pub fn done(&mut self, position: u64, fate: Fate) {
        let Some(records) = self.reader.done(position) else {
            return;
        };
        self.changed = true;
        self.ledger.count(fate, records);
        match fate {
            Fate::Delivered => self.metrics.delivered(),
            Fate::Filtered(reason) => self.metrics.filtered(reason),
            Fate::Dropped(reason) => self.metrics.dropped(reason),
        }
    }

    /// Whether it is time to [`Follower::save`].
    #[must_use]
    pub fn wants_saving(&self) -> bool {
        self.changed && self.saved_at.elapsed() >= SAVE_INTERVAL
    }

    /// Publishes the account, if it is time.
    pub fn publish(&mut self) {
        if self.changed && self.published_at.elapsed() >= PUBLISH_INTERVAL {
            self.published_at = Instant::now();
            *self.watched.standing.lock() = self.ledger.standing(&self.reader);
        }
    }

    /// Saves the cursor and publishes the account.
    pub fn save(&mut self) {
        let standing = self.ledger.standing(&self.reader);
        let state = self
            .reader
            .state(self.ledger.write(&self.reader, &self.note));
        self.saved_at = Instant::now();
        match self.cursor.save(&state) {
            Ok(()) => self.changed = false,
            Err(error) => {
                if let Some(suppressed) = self.trouble.admit() {
                    tracing::error!(follower = self.name.as_str(), %error, suppressed, "cannot save the cursor; after a restart, more is done again");
                }
            }
        }
        *self.watched.standing.lock() = standing;
    }

    /// Waits until there is more to read, at most `longest`; when something came, `pause` longer, so
    /// that a busy journal wakes the follower for many records at a time.
    pub fn wait(&self, runtime: &Handle, longest: Duration, pause: Duration) {
        self.wait_or(runtime, longest, pause, std::future::pending());
    }

    /// The same, but no longer than until `other` happens.
    pub fn wait_or(
        &self,
        runtime: &Handle,
        longest: Duration,
        pause: Duration,
        other: impl Future<Output = ()>,
    ) {
        let mut until = self.until.clone();
        runtime.block_on(async {
            tokio::select! {
                () = other => {}
                more = self.reader.more(&self.journal) => {
                    // A closed journal will not have more; its end is somebody else's news.
                    tokio::time::sleep(if more.is_ok() { pause } else { longest }).await;
                }
                () = tokio::time::sleep(longest) => {}
                _ = until.changed() => {}
            }
        });
    }

    /// Everything before this position is done, and never met again.
    #[must_use]
    pub fn low(&self) -> Position {
        self.reader.low().position
    }

    /// Where the next record is read: what was read last ends there at the latest.
    #[must_use]
    pub fn place(&self) -> Position {
        self.reader.place().position
    }

    /// Exchanges read and not done.
    #[must_use]
    pub fn in_hand(&self) -> usize {
        self.reader.in_hand()
    }

    /// Whether it is time to end: `idle` says that there was nothing to read and nothing to do.
    #[must_use]
    pub fn is_over(&self, idle: bool) -> bool {
        match *self.until.borrow() {
            Until::Stopped => false,
            Until::CaughtUp(deadline) => idle || Instant::now() >= deadline,
        }
    }

    /// When it must end.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match *self.until.borrow() {
            Until::Stopped => None,
            Until::CaughtUp(deadline) => Some(deadline),
        }
    }
}

/// Unix time in microseconds.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
