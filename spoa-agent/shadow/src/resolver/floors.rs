//! What was fetched from the primary, and so must not be written a second time. Pure.
//!
//! A fetched document shows all writes up to one of them, its *floor*. Captured writes up to the floor may still
//! come, for the journal is behind the primary. The sequence tells which they are. Where the document is gone there is
//! no sequence, and time tells, as far as the clocks of HAProxy and of the agent agree.
//!
//! A floor is needed until all that began before the fetch is done.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use exchange::operation::answer::Sequence;

use crate::order::Key;
use crate::resolve::DocumentName;

/// By how much the clocks of HAProxy and of the agent may differ, in microseconds.
pub(super) const MARGIN_US: u64 = 2_000_000;

/// What was fetched of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Floor {
    pub(super) name: Arc<DocumentName>,
    /// The index that it is in, in the order's words.
    pub(super) index: Bytes,
    /// The last write that it shows. `None`: there was no document.
    pub(super) sequence: Option<Sequence>,
    /// When the primary was asked, Unix time in microseconds.
    pub(super) asked_us: u64,
    /// When it answered.
    pub(super) answered_us: u64,
}

/// A captured write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Captured {
    /// Its number on the primary, where the answer tells.
    pub(crate) sequence: Option<Sequence>,
    /// When its request was seen, Unix time in microseconds.
    pub(crate) request_us: u64,
    /// When its answer was seen.
    pub(crate) response_us: Option<u64>,
}

/// Whether a captured write is in what was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contained {
    No,
    Yes,
    /// Nobody knows.
    Perhaps,
}

#[derive(Debug, Default)]
pub(super) struct Floors {
    by_key: HashMap<Key, Floor>,
    /// Those for which something may still begin that is contained, the oldest first.
    young: VecDeque<(u64, Key)>,
    /// Those that are needed until everything before a position is done.
    old: VecDeque<(u64, u64, Key)>,
}

impl Floors {
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn set(&mut self, key: Key, floor: Floor) {
        self.young.push_back((floor.answered_us, key));
        self.by_key.insert(key, floor);
    }

    pub(super) fn name(&self, key: Key) -> Option<Arc<DocumentName>> {
        self.by_key.get(&key).map(|floor| floor.name.clone())
    }

    pub(super) fn judge(&self, key: Key, write: Captured) -> Contained {
        let Some(floor) = self.by_key.get(&key) else {
            return Contained::No;
        };
        // Also where an index was made anew and counts from 0 again.
        if write.request_us > floor.answered_us.saturating_add(MARGIN_US) {
            return Contained::No;
        }
        match (floor.sequence, write.sequence) {
            (Some(floor), Some(write)) if write <= floor => Contained::Yes,
            (Some(_), Some(_)) => Contained::No,
            // Whoever wrote without telling which write it was is ambiguous for that alone.
            (Some(_), None) => Contained::Perhaps,
            (None, _) => match write.response_us {
                Some(answered)
                    if answered > 0 && answered.saturating_add(MARGIN_US) < floor.asked_us =>
                {
                    Contained::Yes
                }
                _ => Contained::Perhaps,
            },
        }
    }

    /// An exchange has begun: those after it in the journal begin later.
    pub(super) fn begun(&mut self, position: u64, time_us: u64) {
        while let Some((answered_us, key)) = self.young.front().copied()
            && answered_us.saturating_add(MARGIN_US) < time_us
        {
            self.young.pop_front();
            self.old.push_back((position, answered_us, key));
        }
    }

    /// Everything before the position is done. Returns the documents whose floors are not needed any more.
    pub(super) fn saved(&mut self, position: u64) -> Vec<Arc<DocumentName>> {
        let mut gone = Vec::new();
        while let Some((until, answered_us, key)) = self.old.front().copied()
            && until <= position
        {
            self.old.pop_front();
            // It may have been fetched again since.
            if self
                .by_key
                .get(&key)
                .is_some_and(|floor| floor.answered_us == answered_us)
                && let Some(floor) = self.by_key.remove(&key)
            {
                gone.push(floor.name);
            }
        }
        gone
    }

    /// An operation that began then has worked on whole indices: perhaps on documents that showed it already.
    /// Returns those that are to be fetched again.
    pub(super) fn swept(
        &self,
        covers: impl Fn(&[u8]) -> bool,
        began_us: u64,
    ) -> Vec<Arc<DocumentName>> {
        let shown = |floor: &Floor| {
            began_us <= floor.answered_us.saturating_add(MARGIN_US) && covers(&floor.index)
        };
        let again = self.by_key.values().filter(|floor| shown(floor));
        again.map(|floor| floor.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn at(number: u64) -> Option<Sequence> {
        Some(Sequence { term: 1, number })
    }

    fn floors(sequence: Option<Sequence>) -> Floors {
        let mut floors = Floors::default();
        floors.set(Key(1), floor("i", sequence, 100 * SECOND));
        floors
    }

    fn floor(index: &'static str, sequence: Option<Sequence>, answered_us: u64) -> Floor {
        Floor {
            name: Arc::new(DocumentName {
                index: index.into(),
                mapping_type: None,
                id: "1".into(),
                routing: None,
            }),
            index: index.into(),
            sequence,
            asked_us: answered_us - 10,
            answered_us,
        }
    }

    fn write(sequence: Option<Sequence>, seconds: u64) -> Captured {
        Captured {
            sequence,
            request_us: seconds * SECOND,
            response_us: Some(seconds * SECOND + 1),
        }
    }

    #[test]
    fn a_document_that_was_fetched_has_the_writes_up_to_the_one_that_it_shows() {
        let floors = floors(at(7));
        let judge = |write| floors.judge(Key(1), write);
        assert_eq!(judge(write(at(6), 90)), Contained::Yes);
        assert_eq!(judge(write(at(7), 100)), Contained::Yes);
        assert_eq!(judge(write(at(8), 100)), Contained::No);
        assert_eq!(judge(write(None, 90)), Contained::Perhaps);
        assert_eq!(floors.judge(Key(2), write(at(6), 90)), Contained::No);
    }

    #[test]
    fn a_write_that_began_after_the_fetch_is_not_in_it_though_its_index_counts_anew() {
        let floors = floors(at(7));
        assert_eq!(
            floors.judge(Key(1), write(at(0), 100 + 2 + 1)),
            Contained::No
        );
    }

    #[test]
    fn where_the_document_was_gone_time_tells_and_not_more_than_it_can() {
        let floors = floors(None);
        let judge = |seconds| floors.judge(Key(1), write(at(9), seconds));
        assert_eq!(judge(90), Contained::Yes);
        assert_eq!(judge(99), Contained::Perhaps);
        assert_eq!(judge(101), Contained::Perhaps);
        assert_eq!(judge(103), Contained::No);
        let unanswered = Captured {
            response_us: None,
            ..write(at(9), 90)
        };
        assert_eq!(floors.judge(Key(1), unanswered), Contained::Perhaps);
    }

    #[test]
    fn a_floor_goes_when_all_that_began_before_the_fetch_is_done() {
        let mut floors = floors(at(7));
        floors.begun(10, 100 * SECOND);
        assert!(floors.saved(1000).is_empty());
        floors.begun(20, 103 * SECOND);
        assert!(floors.saved(19).is_empty());
        assert_eq!(floors.saved(20).len(), 1);
        assert_eq!(floors.len(), 0);
    }

    #[test]
    fn a_document_that_was_fetched_again_keeps_its_newer_floor() {
        let mut floors = floors(at(7));
        floors.begun(20, 103 * SECOND);
        floors.set(Key(1), floor("i", at(9), 105 * SECOND));
        assert!(floors.saved(1000).is_empty());
        assert_eq!(floors.judge(Key(1), write(at(9), 104)), Contained::Yes);
    }

    #[test]
    fn an_operation_on_whole_indices_that_began_before_the_fetch_may_be_in_it() {
        let mut floors = floors(at(7));
        floors.set(Key(2), floor("j", at(7), 100 * SECOND));
        floors.set(Key(3), floor("i", at(7), 50 * SECOND));
        let again = floors.swept(|index| index == b"i", 101 * SECOND);
        assert_eq!(again.len(), 1);
        assert!(floors.swept(|_| true, 110 * SECOND).is_empty());
    }
}
