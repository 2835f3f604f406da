//! Dead letters: exchanges that were meant for the shadow and given up, kept with all that is known of them, to
//! be looked at and sent again.
//!
//! The file has one line of JSON per letter: a pair (`exchange::json`) without a limit to its bodies, and with a
//! number. The agent appends ([`DeadLetters`]); `spoa-agent dead-letter` reads and removes, also while the agent
//! runs ([`file`](mod@file)). Credentials are masked, whatever the journal keeps.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;
use exchange::json::{self, PairName};
use exchange::{Credentials, Pair};
use parking_lot::Mutex;

use crate::config::{self, LetterWhenFull};
use crate::telemetry::metrics::{DeadLetterMetrics, LetterLoss};
use crate::telemetry::throttle::Throttle;

pub mod file;

pub use file::{Letter, read, remove};

/// Name of the file in the journal's directory, when no other path is configured.
const FILE: &str = "dead-letters.ndjson";

/// Where the file is, by the configuration.
#[must_use]
pub fn path(config: &config::Config) -> PathBuf {
    let in_journal = || config.journal.dir.join(FILE);
    config.dead_letter.path.clone().unwrap_or_else(in_journal)
}

/// What bounds the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes that the file may have.
    pub max_bytes: u64,
    /// What happens then.
    pub when_full: LetterWhenFull,
    /// Whether each letter is on disk before the exchange counts as done.
    pub sync: bool,
}

/// The writer of the file. It may be shared.
#[derive(Debug)]
pub struct DeadLetters {
    path: PathBuf,
    options: Options,
    credentials: Credentials,
    metrics: DeadLetterMetrics,
    state: Mutex<State>,
    trouble: Throttle,
}

#[derive(Debug, Default)]
struct State {
    /// The file as we left it. When it is another now, somebody removed letters.
    left: Option<file::Shape>,
    /// The number of the next letter.
    next: u64,
    /// Letters of the run before. An exchange that was given up just before a kill is given up again.
    earlier: HashSet<Name>,
}

/// What makes two letters the same one: exchange, target, items. An exchange is named by its id, because letters may
/// be about exchanges of several journals.
type Name = (Bytes, String, Vec<(u32, u32)>);

fn name(pair: &Pair) -> Name {
    let items = pair.items.iter().map(|it| (it.start, it.end)).collect();
    (pair.id().clone(), pair.target.clone().into_owned(), items)
}

impl DeadLetters {
    /// Opens or creates the file (mode 0600), and cuts an unfinished last line.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn open(
        path: &Path,
        options: Options,
        credentials: Credentials,
        metrics: DeadLetterMetrics,
    ) -> io::Result<Self> {
        let locked = file::Locked::open(path)?;
        let end = locked.cut_unfinished_line()?;
        let mut state = State {
            left: Some(locked.shape()?),
            next: end.last_number + 1,
            earlier: HashSet::new(),
        };
        for letter in read(path)?.flatten() {
            state.earlier.insert(name(&letter.pair));
        }
        drop(locked);
        Ok(Self {
            path: path.to_path_buf(),
            options,
            credentials,
            metrics,
            state: Mutex::new(state),
            trouble: Throttle::default(),
        })
    }

    /// The writer that the configuration asks for. The journal's directory must be there.
    ///
    /// # Errors
    /// When the system refuses; the message names the file and the key.
    pub fn configured(config: &config::Config, metrics: DeadLetterMetrics) -> anyhow::Result<Self> {
        let path = path(config);
        let options = Options {
            max_bytes: config.dead_letter.max_bytes,
            when_full: config.dead_letter.when_full,
            sync: config.dead_letter.sync,
        };
        let credentials = Credentials::with(&config.capture.mask_headers);
        Self::open(&path, options, credentials, metrics).with_context(|| {
            format!(
                "cannot open the dead-letter file {}; change dead_letter.path, or the rights of its directory",
                path.display()
            )
        })
    }

    /// Writes a letter about an exchange that was given up. Blocks for a write to the disk, and a sync of it if
    /// configured: not for the sending tasks.
    ///
    /// A letter for which there is no room is lost, counted and logged, and no error.
    ///
    /// # Errors
    /// When the system refuses: the letter is not written, and counted and logged as lost.
    pub fn append(&self, pair: &Pair) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.earlier.remove(&name(pair)) {
            return Ok(());
        }
        match self.write(&mut state, pair) {
            Ok(None) => {
                self.metrics.written.inc();
            }
            Ok(Some(loss)) => {
                self.metrics.lost.inc(loss);
                self.complain(pair, loss.as_word());
            }
            Err(error) => {
                self.metrics.lost.inc(LetterLoss::Failed);
                self.complain(pair, &error.to_string());
                return Err(error);
            }
        }
        Ok(())
    }

    fn write(&self, state: &mut State, pair: &Pair) -> io::Result<Option<LetterLoss>> {
        let mut locked = file::Locked::open(&self.path)?;
        if state.left != Some(locked.shape()?) {
            let end = locked.cut_unfinished_line()?;
            state.next = state.next.max(end.last_number + 1);
        }
        let line = self.line(state.next, pair);
        let length = line.len() as u64;
        if length > self.options.max_bytes {
            return Ok(Some(LetterLoss::TooBig));
        }
        if locked.shape()?.length + length > self.options.max_bytes {
            if self.options.when_full == LetterWhenFull::Refuse {
                return Ok(Some(LetterLoss::Full));
            }
            // Down to half, so that not every letter costs a copy of the file.
            let room = self.options.max_bytes - length;
            let gone = locked.keep_newest(room.min(self.options.max_bytes / 2))?;
            self.metrics.lost.add(LetterLoss::Oldest, gone);
            self.complain(pair, &format!("{gone} older dead letters made way for it"));
        }
        locked.append(&line, self.options.sync)?;
        state.left = Some(locked.shape()?);
        state.next += 1;
        Ok(None)
    }

    fn line(&self, number: u64, pair: &Pair) -> Vec<u8> {
        let mut pair = pair.clone();
        pair.mask(&self.credentials);
        let name = PairName::Letter {
            number,
            time_us: crate::follower::now_us(),
        };
        let mut line = Vec::new();
        json::write_pair(&pair, name, json::Options::default(), &mut line);
        line
    }

    fn complain(&self, pair: &Pair, why: &str) {
        if let Some(suppressed) = self.trouble.admit() {
            tracing::error!(
                exchange = pair.position,
                path = %self.path.display(),
                why,
                suppressed,
                "dead letter lost"
            );
        }
    }
}

impl LetterLoss {
    const fn as_word(self) -> &'static str {
        match self {
            Self::Full => "dead_letter.max_bytes is reached; raise it, or retry and remove letters",
            Self::Oldest => "it made way for a newer one",
            Self::TooBig => "it is longer than dead_letter.max_bytes",
            Self::Failed => "the file cannot be written",
        }
    }
}

#[cfg(test)]
mod tests;
