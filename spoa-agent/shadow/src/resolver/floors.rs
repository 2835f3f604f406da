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
    /// Its key in the order, which it may share.
    pub(super) key: Key,
    /// The last write that it shows. `None`: there was no document.
    pub(super) sequence: Option<Sequence>,
    /// When the primary was asked, Unix time in microseconds.
    pub(super) asked_us: u64,
    /// When it answered.
    pub(super) answered_us: u64,
}

/// A captured write.
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    /// The index, in the order's words.
    pub(crate) index: Bytes,
    /// The document's key in the order.
    pub(crate) key: Key,
    /// The routing value, when it is not the id.
    pub(crate) routing: Option<Bytes>,
    /// Its number on the primary, where the answer tells.
    pub(crate) sequence: Option<Sequence>,
    /// When its request was seen, Unix time in microseconds.
    pub(crate) request_us: u64,
    /// When its answer was seen.
    pub(crate) response_us: Option<u64>,
}

/// Whether a captured write is in what was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Contained {
    No,
    Yes,
    /// Nobody knows: then this document is to be fetched again after the write.
    Perhaps(Arc<DocumentName>),
}

#[derive(Debug, Default)]
pub(super) struct Floors {
    /// Two documents may have one key.
    by_key: HashMap<Key, Vec<Floor>>,
    count: usize,
    /// Those for which something may still begin that is contained, the oldest first.
    young: VecDeque<Fetch>,
    /// Those that are needed until everything before a position is done.
    old: VecDeque<(u64, Fetch)>,
}

#[derive(Debug)]
struct Fetch {
    name: Arc<DocumentName>,
    key: Key,
    answered_us: u64,
}

impl Floors {
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    pub(super) fn set(&mut self, floor: Floor) {
        self.young.push_back(Fetch {
            name: floor.name.clone(),
            key: floor.key,
            answered_us: floor.answered_us,
        });
        let floors = self.by_key.entry(floor.key).or_default();
        match floors.iter_mut().find(|known| known.name == floor.name) {
            Some(known) => *known = floor,
            None => {
                floors.push(floor);
                self.count += 1;
            }
        }
    }

    pub(super) fn judge(&self, write: &Captured) -> Contained {
        let floors = self.by_key.get(&write.key).into_iter().flatten();
        let mut same = floors.filter(|floor| floor.index == write.index);
        let own = |floor: &&Floor| floor.name.routing == write.routing;
        match same.clone().find(own) {
            Some(floor) => floor.judge(write),
            // With another routing value it is the same document if that leads to the same shard.
            None => match same.find(|floor| !floor.is_before(write)) {
                Some(floor) => Contained::Perhaps(floor.name.clone()),
                None => Contained::No,
            },
        }
    }

    /// An exchange has begun: those after it in the journal begin later.
    pub(super) fn begun(&mut self, position: u64, time_us: u64) {
        while let Some(fetch) = self
            .young
            .pop_front_if(|fetch| fetch.answered_us.saturating_add(MARGIN_US) < time_us)
        {
            self.old.push_back((position, fetch));
        }
    }

    /// Everything before the position is done. Returns the documents whose floors are not needed any more.
    pub(super) fn saved(&mut self, position: u64) -> Vec<Arc<DocumentName>> {
        let mut gone = Vec::new();
        while let Some((_, fetch)) = self.old.pop_front_if(|(until, _)| *until <= position) {
            if self.remove(&fetch) {
                gone.push(fetch.name);
            }
        }
        gone
    }

    /// `false`: the document was fetched again since.
    fn remove(&mut self, fetch: &Fetch) -> bool {
        let Some(floors) = self.by_key.get_mut(&fetch.key) else {
            return false;
        };
        let is_it =
            |floor: &Floor| floor.answered_us == fetch.answered_us && floor.name == fetch.name;
        let Some(at) = floors.iter().position(is_it) else {
            return false;
        };
        floors.swap_remove(at);
        if floors.is_empty() {
            self.by_key.remove(&fetch.key);
        }
        self.count -= 1;
        true
    }

    /// An operation that began then has worked on whole indices: perhaps on documents that showed it already.
    /// Returns those that are to be fetched again.
    pub(super) fn swept(
        &self,
        covers: impl Fn(&[u8]) -> bool,
        began_us: u64,
    ) -> Vec<Arc<DocumentName>> {
        let shown = |floor: &&Floor| {
            began_us <= floor.answered_us.saturating_add(MARGIN_US) && covers(&floor.index)
        };
        let again = self.by_key.values().flatten().filter(shown);
        again.map(|floor| floor.name.clone()).collect()
    }
}

impl Floor {
    /// The write began after the fetch, so it is not shown. That holds also where an index was made anew
    /// and counts from 0 again.
    const fn is_before(&self, write: &Captured) -> bool {
        write.request_us > self.answered_us.saturating_add(MARGIN_US)
    }

    fn judge(&self, write: &Captured) -> Contained {
        if self.is_before(write) {
            return Contained::No;
        }
        let perhaps = || Contained::Perhaps(self.name.clone());
        match (self.sequence, write.sequence) {
            (Some(floor), Some(write)) if write <= floor => Contained::Yes,
            (Some(_), Some(_)) => Contained::No,
            (Some(_), None) => perhaps(),
            (None, _) => match write.response_us {
                Some(answered)
                    if answered > 0 && answered.saturating_add(MARGIN_US) < self.asked_us =>
                {
                    Contained::Yes
                }
                _ => perhaps(),
            },
        }
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
        floors.set(floor("i", sequence, 100 * SECOND));
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
            key: Key(1),
            sequence,
            asked_us: answered_us - 10,
            answered_us,
        }
    }

    fn write(sequence: Option<Sequence>, seconds: u64) -> Captured {
        Captured {
            index: "i".into(),
            key: Key(1),
            routing: None,
            sequence,
            request_us: seconds * SECOND,
            response_us: Some(seconds * SECOND + 1),
        }
    }

    fn perhaps() -> Contained {
        Contained::Perhaps(floor("i", None, SECOND).name)
    }

    #[test]
    fn a_document_that_was_fetched_has_the_writes_up_to_the_one_that_it_shows() {
        let floors = floors(at(7));
        let judge = |write| floors.judge(&write);
        assert_eq!(judge(write(at(6), 90)), Contained::Yes);
        assert_eq!(judge(write(at(7), 100)), Contained::Yes);
        assert_eq!(judge(write(at(8), 100)), Contained::No);
        assert_eq!(judge(write(None, 90)), perhaps());
    }

    #[test]
    fn documents_that_share_a_key_are_told_apart() {
        let mut floors = floors(at(7));
        floors.set(floor("j", at(9), 100 * SECOND));
        assert_eq!(floors.len(), 2);
        let in_index = |index: &'static str| Captured {
            index: index.into(),
            ..write(at(8), 90)
        };
        assert_eq!(floors.judge(&in_index("i")), Contained::No);
        assert_eq!(floors.judge(&in_index("j")), Contained::Yes);
        assert_eq!(floors.judge(&in_index("k")), Contained::No);
        // Another routing value may lead to the same document.
        let routed = |seconds| Captured {
            routing: Some("r".into()),
            ..write(at(6), seconds)
        };
        assert_eq!(floors.judge(&routed(90)), perhaps());
        assert_eq!(floors.judge(&routed(110)), Contained::No);
    }

    #[test]
    fn a_write_that_began_after_the_fetch_is_not_in_it_though_its_index_counts_anew() {
        let floors = floors(at(7));
        assert_eq!(floors.judge(&write(at(0), 103)), Contained::No);
    }

    #[test]
    fn where_the_document_was_gone_time_tells_and_not_more_than_it_can() {
        let floors = floors(None);
        let judge = |seconds| floors.judge(&write(at(9), seconds));
        assert_eq!(judge(90), Contained::Yes);
        assert_eq!(judge(99), perhaps());
        assert_eq!(judge(101), perhaps());
        assert_eq!(judge(103), Contained::No);
        let unanswered = Captured {
            response_us: None,
            ..write(at(9), 90)
        };
        assert_eq!(floors.judge(&unanswered), perhaps());
    }

    #[test]
    fn a_floor_goes_when_all_that_began_before_the_fetch_is_done() {
        let mut floors = floors(at(7));
        floors.begun(10, 100 * SECOND);
        assert!(floors.saved(1000).is_empty());
        floors.begun(20, 103 * SECOND);
        assert!(floors.saved(19).is_empty());
        assert_eq!(floors.saved(20).len(), 1);
        assert!(floors.len() == 0 && floors.by_key.is_empty());
    }

    #[test]
    fn a_document_that_was_fetched_again_keeps_its_newer_floor() {
        let mut floors = floors(at(7));
        floors.begun(20, 103 * SECOND);
        floors.set(floor("i", at(9), 105 * SECOND));
        assert_eq!(floors.len(), 1);
        assert!(floors.saved(1000).is_empty());
        assert_eq!(floors.judge(&write(at(9), 104)), Contained::Yes);
    }

    #[test]
    fn an_operation_on_whole_indices_that_began_before_the_fetch_may_be_in_it() {
        let mut floors = floors(at(7));
        floors.set(floor("j", at(7), 100 * SECOND));
        floors.set(floor("k", at(7), 50 * SECOND));
        let again = floors.swept(|index| index == b"i" || index == b"k", 101 * SECOND);
        assert_eq!(again.len(), 1);
        assert!(floors.swept(|_| true, 110 * SECOND).is_empty());
    }
}
