//! A log: one line per exchange, or per pair, in a file that rotates or on the standard output. What a line
//! holds is [`Lines`]' business: `traffic_log` and `pair_log`.
//!
//! [`file`](mod@file) keeps the file. The cursor moves when a line is written. After a kill, the lines written
//! since the cursor was saved are found in the file again, so that each exchange has exactly one line. On
//! the standard output it has at least one.

use std::collections::HashSet;
use std::io::{self, Write as _};
use std::time::Duration;

use journal::Entry;
use tokio::runtime::Handle;

pub use self::file::{LogFile, OpenError, Rotation};
use crate::config::Output;
use crate::follower::{Fate, Follower};
use crate::telemetry::metrics::LineLogMetrics;
use crate::telemetry::throttle::Throttle;

mod file;

/// Lines are written together up to this size.
const BATCH: usize = 256 << 10;
/// Longest wait for more lines.
const IDLE: Duration = Duration::from_millis(100);
/// A busy journal is read this often.
const PAUSE: Duration = Duration::from_millis(10);
/// How long to wait after a failed write.
const RETRY: Duration = Duration::from_millis(200);

/// What a log is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Title {
    /// In messages, for example `traffic log`.
    pub name: &'static str,
    /// The key of its path in the configuration.
    pub key: &'static str,
}

/// What the lines hold.
pub trait Lines: Send + 'static {
    /// Appends the line of an entry, newline included; nothing for an entry that has none.
    fn write(&mut self, entry: Entry, out: &mut Vec<u8>);
}

/// Where lines go.
#[derive(Debug)]
enum Sink {
    File(LogFile),
    Stdout,
}

/// The follower that writes a log.
#[derive(Debug)]
pub struct LineLog<L> {
    title: Title,
    follower: Follower,
    sink: Sink,
    content: L,
    metrics: LineLogMetrics,
    /// What has its line, though the cursor does not know it.
    written: HashSet<u64>,
    lines: Vec<u8>,
    positions: Vec<u64>,
    trouble: Throttle,
}

impl<L: Lines> LineLog<L> {
    /// Opens the file, and finds out which lines it has that the cursor does not know of.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(
        title: Title,
        follower: Follower,
        output: &Output,
        rotation: Rotation,
        content: L,
        metrics: LineLogMetrics,
    ) -> Result<Self, OpenError> {
        let (sink, written) = match output {
            Output::Stdout => (Sink::Stdout, HashSet::new()),
            Output::File(path) => {
                let (file, written) =
                    LogFile::open(title, path, rotation, follower.note(), metrics.clone())?;
                (Sink::File(file), written)
            }
        };
        let trouble = Throttle::default();
        let (lines, positions) = (Vec::with_capacity(BATCH), Vec::new());
        let mut log = Self {
            title,
            follower,
            sink,
            content,
            metrics,
            written,
            lines,
            positions,
            trouble,
        };
        if log.follower.note().is_empty() {
            // Before the first line: after a kill, lines are looked for from the mark on.
            log.save();
        }
        Ok(log)
    }

    /// Writes lines until the follower is over. Blocks its thread.
    pub fn run(mut self, runtime: &Handle) {
        loop {
            let more = self.fill();
            self.write();
            self.housekeep();
            if self.follower.is_over(!more) {
                break;
            }
            if !more {
                self.follower.wait(runtime, IDLE, PAUSE);
            }
        }
        self.save();
    }

    /// Turns what there is to read into lines, up to a batch. Returns whether there may be more.
    fn fill(&mut self) -> bool {
        while self.lines.len() < BATCH {
            match self.follower.read() {
                Some(entry) => self.take(entry),
                None => return false,
            }
        }
        true
    }

    fn take(&mut self, entry: Entry) {
        let position = match &entry {
            Entry::Exchange(exchange) => Some(exchange.position),
            Entry::Pair { place, .. } => Some(place.position),
            Entry::Begun { .. } | Entry::Gap(_) | Entry::Lost(_) | Entry::Undecodable { .. } => {
                None
            }
        };
        match position {
            Some(position) if self.written.remove(&position) => {
                self.follower.done(position, Fate::Delivered);
                return;
            }
            Some(position) => self.positions.push(position),
            None => {}
        }
        self.content.write(entry, &mut self.lines);
    }

    /// Writes the lines, trying again until it succeeds: the journal keeps the rest meanwhile. Gives
    /// up only at the deadline of the shutdown; then the cursor does not move, and nothing is lost.
    fn write(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        while let Err(error) = self.sink.write(&self.lines) {
            self.metrics.write_errors.inc();
            self.complain(&error);
            if self.follower.deadline().is_some() {
                return;
            }
            self.follower.publish();
            std::thread::sleep(RETRY);
        }
        self.metrics.lines.inc_by(self.positions.len() as u64);
        self.metrics.written_bytes.inc_by(self.lines.len() as u64);
        self.lines.clear();
        for position in self.positions.drain(..) {
            self.follower.done(position, Fate::Delivered);
        }
    }

    fn complain(&self, error: &io::Error) {
        if let Some(suppressed) = self.trouble.admit() {
            tracing::error!(
                %error,
                suppressed,
                "cannot write the {}; trying again, nothing is lost",
                self.title.name
            );
        }
    }

    fn housekeep(&mut self) {
        if let Sink::File(file) = &mut self.sink {
            file.rotate_if_due();
        }
        self.follower.publish();
        if self.follower.wants_saving() {
            self.save();
        }
    }

    fn save(&mut self) {
        let low = self.follower.low();
        self.written.retain(|position| *position >= low);
        // A new mark would hide the lines before it that the cursor does not know of yet.
        if let Sink::File(file) = &self.sink {
            // The cursor is durable; what it calls done must be so too.
            if let Err(error) = file.sync() {
                self.complain(&error);
                return;
            }
            if self.written.is_empty() {
                self.follower.annotate(file.mark());
            }
        }
        self.follower.save();
    }
}

impl Sink {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.append(lines),
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(lines)?;
                out.flush()
            }
        }
    }
}
