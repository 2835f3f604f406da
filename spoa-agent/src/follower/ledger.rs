//! A follower's account, from the first record it ever read.
//!
//! Two sums hold at any moment:
//!
//! - exchanges: read = delivered + filtered(reason) + dropped(reason) + in flight
//! - records: passed = in finished exchanges + duplicates + undecodable + gaps + unwanted + lost + not done
//!
//! For the follower that writes pairs, a pair is what an exchange is to the others.
//!
//! The second one is against the journal's own sequence numbers, so it also holds over kills: what is
//! not done when the cursor is saved is read again.

use std::collections::BTreeMap;

use exchange::Gap;
use journal::{ExchangeReader, PairingCounts, Place};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::telemetry::metrics::{DropReason, FilterReason, Label};

/// What became of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The follower did with it what it is for.
    Delivered,
    /// Passed over, as meant.
    Filtered(FilterReason),
    /// Lost.
    Dropped(DropReason),
}

/// The counts that are saved with the cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// The sequence number of the first record that was ever looked at.
    begin: u64,
    /// Records of finished exchanges: one or two each.
    records: u64,
    delivered: u64,
    filtered: BTreeMap<String, u64>,
    dropped: BTreeMap<String, u64>,
    /// Halves that never became records, as the journal's gaps tell.
    lost_requests: u64,
    lost_responses: u64,
    /// What the pairing counted in earlier runs.
    before: Pairing,
}

/// The counts of the pairing that concern records which end without an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Pairing {
    duplicates: u64,
    undecodable: u64,
    gaps: u64,
    unwanted: u64,
    lost: u64,
    late: u64,
    evicted: u64,
}

/// A whole account at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    ledger: Ledger,
    pairing: Pairing,
    /// Exchanges read and not finished.
    pub in_flight: u64,
    /// Everything before it is done.
    pub low: Place,
    /// How far the reader is.
    pub end_sequence: u64,
    /// Records before that which are not done.
    open_records: u64,
    /// Of these, halves that wait for the other one.
    waiting: u64,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    ledger: Ledger,
    note: Vec<u8>,
}

impl Ledger {
    /// Nothing counted yet.
    pub(super) fn begin(place: Place) -> Self {
        Self {
            begin: place.sequence,
            ..Self::default()
        }
    }

    /// What was saved with the cursor. An account that cannot be read begins anew: the cursor is
    /// worth more than the counts.
    pub(super) fn read(extra: &[u8]) -> (Self, Vec<u8>) {
        match serde_json::from_slice::<Saved>(extra) {
            Ok(saved) => (saved.ledger, saved.note),
            Err(error) => {
                tracing::warn!(%error, "the ledger saved with the cursor cannot be read; its counts begin anew");
                (Self::default(), Vec::new())
            }
        }
    }

    /// What to save with the cursor: the counts as of now, so that the next run adds to them.
    ///
    /// An exchange that is in hand now is read and counted again by the next run.
    pub(super) fn write(&self, reader: &ExchangeReader, note: &[u8]) -> Vec<u8> {
        let mut ledger = self.clone();
        ledger.before = ledger.before.plus(&reader.counts());
        let saved = Saved {
            ledger,
            note: note.to_vec(),
        };
        serde_json::to_vec(&saved).unwrap_or_default()
    }

    pub(super) fn count(&mut self, fate: Fate, records: u64) {
        self.records += records;
        match fate {
            Fate::Delivered => self.delivered += 1,
            Fate::Filtered(reason) => add(&mut self.filtered, reason.as_str()),
            Fate::Dropped(reason) => add(&mut self.dropped, reason.as_str()),
        }
    }

    pub(super) fn gap(&mut self, gap: &Gap) {
        self.lost_requests = self.lost_requests.saturating_add(gap.requests);
        self.lost_responses = self.lost_responses.saturating_add(gap.responses);
    }

    pub(super) fn standing(&self, reader: &ExchangeReader) -> Standing {
        let state = reader.state(Vec::new());
        let counts = reader.counts();
        Standing {
            ledger: self.clone(),
            pairing: self.before.plus(&counts),
            in_flight: reader.in_hand() as u64,
            low: state.low,
            end_sequence: reader.place().sequence,
            open_records: state.open.len() as u64,
            waiting: counts.open,
        }
    }
}

impl Pairing {
    fn plus(self, run: &PairingCounts) -> Self {
        Self {
            duplicates: self.duplicates + run.duplicates,
            undecodable: self.undecodable + run.undecodable,
            gaps: self.gaps + run.gaps,
            unwanted: self.unwanted + run.unwanted,
            lost: self.lost + run.lost,
            late: self.late + run.late,
            evicted: self.evicted + run.evicted,
        }
    }
}

impl Standing {
    /// As `/ledger` shows it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let pairing = &self.pairing;
        json!({
            "exchanges": {
                "read": self.finished() + self.in_flight,
                "delivered": self.ledger.delivered,
                "filtered": self.ledger.filtered,
                "dropped": self.ledger.dropped,
                "in_flight": self.in_flight,
            },
            "records": {
                "passed": self.passed(),
                "in_finished_exchanges": self.ledger.records,
                "duplicates": pairing.duplicates,
                "undecodable": pairing.undecodable,
                "gaps": pairing.gaps,
                "unwanted": pairing.unwanted,
                "lost": pairing.lost,
                "not_done": self.open_records,
            },
            "halves_never_recorded": {
                "requests": self.ledger.lost_requests,
                "responses": self.ledger.lost_responses,
            },
            "waiting_for_other_half": self.waiting,
            "half_came_late": pairing.late,
            "given_up_for_want_of_memory": pairing.evicted,
            "position": self.low.position,
            "balanced": self.is_balanced(),
        })
    }

    /// Whether every record that was passed is accounted for, to the last one.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        let pairing = &self.pairing;
        let accounted = self.ledger.records
            + pairing.duplicates
            + pairing.undecodable
            + pairing.gaps
            + pairing.unwanted
            + pairing.lost
            + self.open_records;
        self.passed() == accounted
    }

    /// Records read since the beginning.
    fn passed(&self) -> u64 {
        self.end_sequence.saturating_sub(self.ledger.begin)
    }

    fn finished(&self) -> u64 {
        let sum = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
        self.ledger.delivered + sum(&self.ledger.filtered) + sum(&self.ledger.dropped)
    }
}

fn add(counts: &mut BTreeMap<String, u64>, reason: &str) {
    match counts.get_mut(reason) {
        Some(count) => *count += 1,
        None => {
            counts.insert(reason.to_owned(), 1);
        }
    }
}
