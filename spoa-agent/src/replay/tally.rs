//! A replay's account for one target. At its end, read = delivered + filtered + dropped + not done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shadow::{Change, Outcome};

/// What became of the exchanges, over all runs of a replay that was interrupted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Exchanges of the window that were read.
    pub read: u64,
    /// Answered by the target, by the first digit of the status.
    pub delivered: BTreeMap<u16, u64>,
    /// Not meant for the target, by reason.
    pub filtered: BTreeMap<String, u64>,
    /// Lost to the target, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Delivered with another class of status than the primary answered.
    pub other_class: u64,
    /// Delivered after more than one attempt.
    pub retried: u64,
    /// Sent with changes, by kind of change.
    pub changed: BTreeMap<String, u64>,
    /// Read and passed over: outside the time window, or beyond the limit.
    pub outside: u64,
    /// Lines or records that are no exchange.
    pub undecodable: u64,
    /// Records that the journal does not have any more.
    pub lost: u64,
    /// Halves that were never recorded, as gaps in the capture tell.
    pub never_recorded: u64,
}

impl Tally {
    /// Counts an outcome. `primary` is the status that the primary answered.
    pub fn count(&mut self, outcome: &Outcome, primary: Option<u16>) {
        match outcome {
            Outcome::Delivered(delivered) => {
                let class = delivered.status / 100;
                *self.delivered.entry(class).or_default() += 1;
                self.retried += u64::from(delivered.attempts > 1);
                self.other_class += u64::from(primary.is_some_and(|status| status / 100 != class));
            }
            Outcome::Filtered(reason) => add(&mut self.filtered, reason.as_str()),
            Outcome::Dropped(reason) => add(&mut self.dropped, reason.as_str()),
        }
    }

    /// Counts requests that were sent with this kind of change.
    pub fn changes(&mut self, change: Change, count: u64) {
        *self.changed.entry(change.as_str().to_owned()).or_default() += count;
    }

    /// Exchanges that the target answered.
    #[must_use]
    pub fn all_delivered(&self) -> u64 {
        self.delivered.values().sum()
    }

    /// Exchanges that were not meant for the target.
    #[must_use]
    pub fn all_filtered(&self) -> u64 {
        self.filtered.values().sum()
    }

    /// Exchanges that are lost to the target.
    #[must_use]
    pub fn all_dropped(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// Exchanges that have their outcome.
    #[must_use]
    pub fn finished(&self) -> u64 {
        self.all_delivered() + self.all_filtered() + self.all_dropped()
    }

    /// The account as an interrupted run leaves it to the next one, which reads again what is not finished.
    #[must_use]
    pub fn to_save(&self) -> Self {
        Self {
            read: self.finished(),
            ..self.clone()
        }
    }
}

fn add(counts: &mut BTreeMap<String, u64>, word: &str) {
    match counts.get_mut(word) {
        Some(count) => *count += 1,
        None => {
            counts.insert(word.to_owned(), 1);
        }
    }
}
