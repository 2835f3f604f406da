//! Puts exchanges of several partitions and agents into the order in which things happened.
//!
//! Each agent has a lane, in the order of its journal: that order is exact. Lanes are put beside each other by time. An
//! exchange is told when it is complete, so what is told waits until nothing that began earlier is to be expected: for a stretch of
//! capture time, beyond what *every* partition has told. What comes later than that is given out at once, in the wrong
//! place, and counted.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use exchange::Exchange;
use exchange::message::Source;

use crate::replay::Event;

/// How much waits at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct MergeBounds {
    pub(super) exchanges: usize,
    /// Bytes of memory, roughly.
    pub(super) bytes: usize,
}

/// The exchanges that wait.
#[derive(Debug)]
pub(super) struct Merge {
    bounds: MergeBounds,
    lanes: HashMap<Arc<str>, Lane>,
    held: HashMap<u64, Held>,
    bytes: usize,
    late: u64,
}

#[derive(Debug, Default)]
struct Lane {
    events: BinaryHeap<Reverse<Entry>>,
    /// What was given out last, and its time; the lane's time never goes back.
    given_out: u64,
    clock: u64,
    /// The latest time of a completion.
    latest: u64,
}

/// Where it stands in its lane, what it is, the name of its exchange, and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    key: u64,
    kind: Kind,
    name: u64,
    time: u64,
}

/// At one place, what was complete there was so before the other began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Complete,
    Begun,
}

#[derive(Debug)]
struct Held {
    exchange: Arc<Exchange>,
    partition: i32,
    /// Its beginning was given out.
    is_begun: bool,
}

impl Merge {
    pub(super) fn new(bounds: MergeBounds) -> Self {
        Self {
            bounds,
            lanes: HashMap::new(),
            held: HashMap::new(),
            bytes: 0,
            late: 0,
        }
    }

    /// Takes an exchange, whose position is its name. Returns the time at which it was complete.
    pub(super) fn push(&mut self, source: &Source, exchange: Exchange) -> u64 {
        let name = exchange.position;
        let lane = self.lanes.entry(Arc::clone(&source.agent)).or_default();
        let begun = exchange.time_us();
        let complete = match &exchange.response {
            Some(response) => response.time_us.max(begun),
            // Given up, at about the time of what stands around it.
            None => lane.latest.max(begun),
        };
        lane.latest = lane.latest.max(complete);
        let (begun_key, complete_key) = keys(source, begun, complete);
        if begun_key < lane.given_out {
            self.late += 1;
        }
        if exchange.request.is_some() {
            lane.events.push(Reverse(Entry {
                key: begun_key,
                kind: Kind::Begun,
                name,
                time: begun,
            }));
        }
        lane.events.push(Reverse(Entry {
            key: complete_key,
            kind: Kind::Complete,
            name,
            time: complete,
        }));
        self.bytes = self.bytes.saturating_add(exchange.weight());
        let held = Held {
            is_begun: exchange.request.is_none(),
            exchange: Arc::new(exchange),
            partition: source.span.partition,
        };
        self.held.insert(name, held);
        complete
    }

    /// The next event whose time is not after `limit`; when too many wait, the next in any case.
    pub(super) fn pop(&mut self, limit: u64) -> Option<Event> {
        loop {
            let (time, agent) = self.first()?;
            if time > limit && !self.is_full() {
                return None;
            }
            let lane = self.lanes.get_mut(&agent)?;
            let Reverse(entry) = lane.events.pop()?;
            lane.clock = time;
            lane.given_out = lane.given_out.max(entry.key);
            if let Some(event) = self.event(entry) {
                return Some(event);
            }
        }
    }

    /// The lane whose turn it is. There are few.
    fn first(&self) -> Option<(u64, Arc<str>)> {
        let heads = self.lanes.iter().filter_map(|(agent, lane)| {
            let Reverse(entry) = lane.events.peek()?;
            Some((entry.time.max(lane.clock), agent))
        });
        heads.min().map(|(time, agent)| (time, Arc::clone(agent)))
    }

    /// `None` when the exchange was taken away.
    fn event(&mut self, entry: Entry) -> Option<Event> {
        let position = entry.name;
        match entry.kind {
            Kind::Begun => {
                let held = self.held.get_mut(&position)?;
                held.is_begun = true;
                let request = held.exchange.request.clone()?;
                Some(Event::Begun {
                    position,
                    request: Arc::new(request),
                })
            }
            Kind::Complete => {
                let held = self.held.remove(&position)?;
                self.bytes = self.bytes.saturating_sub(held.exchange.weight());
                Some(Event::Complete(held.exchange))
            }
        }
    }

    /// Takes away what the partition has told, but for what has begun. Returns names and ids.
    pub(super) fn take_away(&mut self, partition: i32) -> Vec<(u64, Arc<Exchange>)> {
        let gone: Vec<u64> = self
            .held
            .iter()
            .filter(|(_, held)| held.partition == partition && !held.is_begun)
            .map(|(name, _)| *name)
            .collect();
        gone.into_iter()
            .filter_map(|name| {
                let held = self.held.remove(&name)?;
                self.bytes = self.bytes.saturating_sub(held.exchange.weight());
                Some((name, held.exchange))
            })
            .collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.held.len() >= self.bounds.exchanges || self.bytes >= self.bounds.bytes
    }

    /// More than half of what may wait.
    pub(super) fn is_half_full(&self) -> bool {
        self.held.len() >= self.bounds.exchanges / 2 || self.bytes >= self.bounds.bytes / 2
    }

    /// Exchanges that came after something later had been given out.
    pub(super) const fn late(&self) -> u64 {
        self.late
    }
}

/// Places in the lane: of the journal where it is known, otherwise of time. What happens at the same time overlaps.
fn keys(source: &Source, begun: u64, complete: u64) -> (u64, u64) {
    match (source.begun, source.complete) {
        (Some(begun), Some(complete)) => {
            let begun = begun.saturating_mul(2);
            let complete = complete.saturating_mul(2).saturating_sub(1);
            (begun, complete.max(begun.saturating_add(1)))
        }
        _ => {
            let begun = begun.saturating_mul(2);
            (begun, complete.saturating_mul(2).saturating_add(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use exchange::message::Span;
    use exchange::{Request, Response};
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: MergeBounds = MergeBounds {
        exchanges: 1000,
        bytes: 1 << 20,
    };

    fn exchange(name: u64, begun: u64, complete: u64) -> Exchange {
        Exchange {
            position: name,
            request: Some(Request {
                time_us: begun,
                ..Request::default()
            }),
            response: Some(Response {
                time_us: complete,
                ..Response::default()
            }),
        }
    }

    fn source(agent: &str, partition: i32, places: Option<(u64, u64)>) -> Source {
        Source {
            span: Span {
                partition,
                ..Span::default()
            },
            agent: Arc::from(agent),
            begun: places.map(|it| it.0),
            complete: places.map(|it| it.1),
        }
    }

    fn told(event: &Event) -> i64 {
        match event {
            Event::Begun { position, .. } => i64::try_from(*position).unwrap(),
            Event::Complete(exchange) => -i64::try_from(exchange.position).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn all(merge: &mut Merge, limit: u64) -> Vec<i64> {
        std::iter::from_fn(|| merge.pop(limit))
            .map(|it| told(&it))
            .collect()
    }

    #[test]
    fn within_an_agent_the_journal_tells_the_order_whatever_the_clock_says() {
        let mut merge = Merge::new(BOUNDS);
        // The second began exactly where the first was complete: after it. By the clock they overlap.
        merge.push(&source("a", 1, Some((40, 60))), exchange(2, 10, 90));
        merge.push(&source("a", 0, Some((0, 40))), exchange(1, 5, 100));
        merge.push(&source("a", 2, Some((20, 80))), exchange(3, 50, 60));
        assert_eq!(all(&mut merge, u64::MAX), [1, 3, -1, 2, -2, -3]);
        assert_eq!(merge.late(), 0);
    }

    #[test]
    fn agents_are_put_beside_each_other_by_time() {
        let mut merge = Merge::new(BOUNDS);
        merge.push(&source("a", 0, Some((1000, 1010))), exchange(1, 50, 60));
        merge.push(&source("b", 0, Some((3, 9))), exchange(2, 10, 55));
        assert_eq!(all(&mut merge, u64::MAX), [2, 1, -2, -1]);
    }

    #[test]
    fn what_is_not_certain_yet_waits() {
        let mut merge = Merge::new(BOUNDS);
        merge.push(&source("a", 0, Some((10, 20))), exchange(1, 10, 20));
        assert_eq!(all(&mut merge, 9), Vec::<i64>::new());
        assert_eq!(all(&mut merge, 15), [1]);
        merge.push(&source("a", 0, Some((12, 16))), exchange(2, 12, 16));
        assert_eq!(all(&mut merge, u64::MAX), [2, -2, -1]);
        merge.push(&source("a", 0, Some((13, 17))), exchange(3, 13, 17));
        assert_eq!(merge.late(), 1);
        assert_eq!(all(&mut merge, u64::MAX), [3, -3]);
    }

    #[test]
    fn a_partition_that_goes_takes_what_has_not_begun() {
        let mut merge = Merge::new(BOUNDS);
        for (name, partition) in [(1, 0), (2, 1), (3, 0)] {
            let places = Some((name * 10, name * 10 + 35));
            merge.push(
                &source("a", partition, places),
                exchange(name, name * 10, name * 10 + 35),
            );
        }
        assert_eq!(all(&mut merge, 10), [1]);
        let gone = merge.take_away(0);
        assert_eq!(gone.iter().map(|it| it.0).collect::<Vec<_>>(), [3]);
        assert_eq!(all(&mut merge, u64::MAX), [2, -1, -2]);
        assert!(merge.is_empty() && merge.bytes == 0);
    }

    proptest! {
        #[test]
        fn whatever_partition_an_exchange_came_through_its_journal_is_kept(
            spans in prop::collection::vec((0_u64..1000, 1_u64..100, 0_i32..4), 1..100),
            order in prop::collection::vec(any::<u32>(), 100),
        ) {
            let mut merge = Merge::new(BOUNDS);
            let mut pushed: Vec<(u64, &(u64, u64, i32))> = (1..).zip(&spans).collect();
            pushed.sort_by_key(|(name, _)| order[usize::try_from(*name).unwrap() - 1]);
            for (name, (begun, took, partition)) in pushed {
                let complete = begun + took;
                merge.push(&source("a", *partition, Some((*begun, complete))), exchange(name, 0, 0));
            }
            let told = all(&mut merge, u64::MAX);
            prop_assert_eq!(told.len(), 2 * spans.len());
            let at = |wanted: i64| told.iter().position(|it| *it == wanted).unwrap();
            for (one, a) in (1_i64..).zip(&spans) {
                prop_assert!(at(one) < at(-one));
                for (two, b) in (1_i64..).zip(&spans) {
                    // The law: a was complete before b began exactly when its place says so.
                    prop_assert_eq!(at(-one) < at(two), a.0 + a.1 <= b.0);
                }
            }
        }
    }
}
