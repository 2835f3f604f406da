//! Which records a follower is done with, when it is done with them out of order.
//!
//! Pure bookkeeping: what is kept are the records that are *not* done, so its size is bounded by
//! what the follower has in hand, however long one of them takes.

use std::collections::BTreeMap;

use crate::cursor::{CursorState, OPEN_LIMIT};
use crate::{Place, Position};

/// The records that were read and are not done, and how far the reader is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Completion {
    /// Sequence to position.
    open: BTreeMap<u64, Position>,
    high: Place,
}

impl Completion {
    /// Begins at `start`: everything before it is done.
    #[must_use]
    pub fn new(start: Place) -> Self {
        Self {
            open: BTreeMap::new(),
            high: start,
        }
    }

    /// A record at `place` was read and is not done.
    pub fn opened(&mut self, place: Place) {
        self.open.insert(place.sequence, place.position);
    }

    /// Everything before `next` was read (or is lost): what was not opened is done.
    pub fn passed(&mut self, next: Place) {
        self.high = self.high.max(next);
    }

    /// The record with this sequence number is done. Returns false when it was not open.
    pub fn done(&mut self, sequence: u64) -> bool {
        self.open.remove(&sequence).is_some()
    }

    /// The lowest place that is not done: a restart reads from here.
    #[must_use]
    pub fn low(&self) -> Place {
        self.open
            .first_key_value()
            .map_or(self.high, |(&sequence, &position)| Place {
                position,
                sequence,
            })
    }

    /// How far the reader is.
    #[must_use]
    pub fn high(&self) -> Place {
        self.high
    }

    /// How many records are read and not done.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// What a cursor has to keep, with the follower's own bytes.
    ///
    /// When more than [`OPEN_LIMIT`] records are open, what follows the last one that fits counts as
    /// not read: a restart reads it again.
    #[must_use]
    pub fn state(&self, extra: Vec<u8>) -> CursorState {
        let open: Vec<u64> = self.open.keys().copied().take(OPEN_LIMIT).collect();
        let high = self
            .open
            .iter()
            .nth(OPEN_LIMIT)
            .map_or(self.high, |(&sequence, &position)| Place {
                position,
                sequence,
            });
        CursorState {
            low: self.low(),
            high,
            open,
            extra,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(sequence: u64) -> Place {
        Place {
            position: sequence * 10,
            sequence,
        }
    }

    #[test]
    fn the_low_place_is_the_first_that_is_not_done() {
        let mut completion = Completion::new(place(5));
        assert_eq!(completion.low(), place(5));
        for sequence in 5..8 {
            completion.opened(place(sequence));
            completion.passed(place(sequence + 1));
        }
        assert!(completion.done(6));
        assert_eq!(completion.low(), place(5));
        assert!(completion.done(5));
        assert_eq!(completion.low(), place(7));
        assert!(completion.done(7));
        assert_eq!(completion.low(), place(8));
        assert!(!completion.done(7));
    }

    #[test]
    fn more_open_records_than_a_cursor_keeps_are_read_again() {
        let mut completion = Completion::new(place(0));
        let count = OPEN_LIMIT as u64 + 10;
        for sequence in 0..count {
            completion.opened(place(sequence));
        }
        completion.passed(place(count + 5));
        let state = completion.state(Vec::new());
        assert_eq!(state.high, place(OPEN_LIMIT as u64));
        assert_eq!(state.open.len(), OPEN_LIMIT);
        assert!(!state.is_done(OPEN_LIMIT as u64));
        assert!(!state.is_done(count + 1));
    }

    proptest! {
        #[test]
        fn a_record_is_done_exactly_when_it_was_told_so(
            skipped in prop::collection::vec(any::<bool>(), 1..200),
            finished in prop::collection::vec(any::<prop::sample::Index>(), 0..200),
        ) {
            let mut completion = Completion::new(place(0));
            let mut expected = vec![false; skipped.len()];
            for ((sequence, skip), done) in (0u64..).zip(&skipped).zip(&mut expected) {
                if *skip {
                    *done = true;
                } else {
                    completion.opened(place(sequence));
                }
                completion.passed(place(sequence + 1));
            }
            for index in finished {
                let index = index.index(expected.len());
                prop_assert_eq!(completion.done(index as u64), !expected[index]);
                expected[index] = true;
            }
            let state = completion.state(Vec::new());
            let first = expected.iter().position(|done| !done).unwrap_or(expected.len()) as u64;
            prop_assert_eq!(state.low, place(first));
            for (sequence, done) in (0u64..).zip(expected) {
                prop_assert_eq!(state.is_done(sequence), done);
            }
        }
    }
}
