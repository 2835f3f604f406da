//! Halves that reached the agent and of which no record could be made, until the journal can be
//! told.
//!
//! They are told as gaps: one record per reason, with how many halves of each kind were lost and
//! between which times. So a reader of the journal sees a loss where it happened, also after a
//! restart. What is not told when the process is killed is lost without a mark.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use exchange::Gap;
use parking_lot::Mutex;

use crate::telemetry::metrics::{HalfKind, HalfRefusal, Label};

/// The losses that the journal does not know of yet.
#[derive(Debug, Default)]
pub struct Losses {
    /// Read for every half, so that the lock is not.
    any: AtomicBool,
    gaps: Mutex<BTreeMap<&'static str, Gap>>,
}

impl Losses {
    /// Notes the loss of one half.
    pub fn note(&self, kind: HalfKind, reason: HalfRefusal) {
        let now = now_us();
        let gap = Gap {
            from_us: now,
            to_us: now,
            requests: u64::from(kind == HalfKind::Request),
            responses: u64::from(kind == HalfKind::Response),
            reason: reason.as_str().to_owned(),
        };
        self.put_back(gap);
    }

    /// Whether there is none.
    pub fn none(&self) -> bool {
        !self.any.load(Ordering::Relaxed)
    }

    /// Takes all of them.
    pub fn take(&self) -> Vec<Gap> {
        let mut gaps = self.gaps.lock();
        self.any.store(false, Ordering::Relaxed);
        std::mem::take(&mut *gaps).into_values().collect()
    }

    /// Adds one that could not be told.
    pub fn put_back(&self, gap: Gap) {
        let reason = HalfRefusal::ALL
            .iter()
            .find(|reason| reason.as_str() == gap.reason);
        let Some(reason) = reason else { return };
        let mut gaps = self.gaps.lock();
        match gaps.entry(reason.as_str()) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(gap);
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                let sum = entry.get_mut();
                sum.from_us = sum.from_us.min(gap.from_us);
                sum.to_us = sum.to_us.max(gap.to_us);
                sum.requests += gap.requests;
                sum.responses += gap.responses;
            }
        }
        self.any.store(true, Ordering::Relaxed);
    }
}

fn now_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_of_one_reason_become_one_gap_with_exact_counts() {
        let losses = Losses::default();
        assert!(losses.none());
        losses.note(HalfKind::Request, HalfRefusal::JournalFull);
        losses.note(HalfKind::Response, HalfRefusal::JournalFull);
        losses.note(HalfKind::Request, HalfRefusal::JournalFull);
        losses.note(HalfKind::Request, HalfRefusal::TooBig);
        let gaps = losses.take();
        let told: Vec<_> = gaps
            .iter()
            .map(|g| (g.reason.as_str(), g.requests, g.responses))
            .collect();
        assert_eq!(told, [("journal_full", 2, 1), ("too_big", 1, 0)]);
        assert!(losses.none());
    }

    #[test]
    fn a_gap_that_could_not_be_told_is_not_lost_itself() {
        let losses = Losses::default();
        losses.note(HalfKind::Request, HalfRefusal::JournalFull);
        let gap = losses.take().remove(0);
        losses.note(HalfKind::Request, HalfRefusal::JournalFull);
        losses.put_back(gap);
        assert_eq!(losses.take()[0].requests, 2);
    }
}
