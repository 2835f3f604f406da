//! Which item may go next: in order within a lane, one in flight per lane, fair across lanes.
//!
//! Pure: no I/O, no clock, no lock. A lane is a client connection of the primary, so what one client
//! did in sequence the shadow sees in sequence, and what different clients did runs in parallel.
//! That keeps most orders but not all: a write whose next step runs on another connection may
//! overtake. Whoever knows more about the operations replaces this type and keeps its four methods;
//! [`crate::engine`] knows nothing else of it.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use exchange::Exchange;

/// What must stay in order among itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LaneKey {
    /// A client connection: address and port.
    Client(IpAddr, u16),
    /// The connection is unknown, so the exchange at this position is a lane of its own.
    Alone(u64),
}

impl LaneKey {
    /// The lane of an exchange.
    #[must_use]
    pub fn of(exchange: &Exchange) -> Self {
        match exchange.request.as_ref().and_then(|request| request.client) {
            // Port 0 stands for a port that HAProxy did not tell: the address alone could be a proxy's
            // that speaks for thousands.
            Some(client) if client.port != 0 => Self::Client(client.ip, client.port),
            _ => Self::Alone(exchange.position),
        }
    }
}

/// Items waiting in their lanes. Memory goes with the items: an empty lane is no lane.
#[derive(Debug)]
pub struct Lanes<T> {
    lanes: HashMap<LaneKey, Lane<T>>,
    /// Lanes with something waiting and nothing in flight, each once, the longest waiting first.
    ready: VecDeque<LaneKey>,
    waiting: usize,
}

#[derive(Debug)]
struct Lane<T> {
    waiting: VecDeque<T>,
    in_flight: bool,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self {
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            waiting: 0,
        }
    }
}

impl<T> Lanes<T> {
    /// Puts an item at the end of its lane.
    pub fn offer(&mut self, key: LaneKey, item: T) {
        let lane = self.lanes.entry(key).or_insert_with(|| Lane {
            waiting: VecDeque::new(),
            in_flight: false,
        });
        if lane.waiting.is_empty() && !lane.in_flight {
            self.ready.push_back(key);
        }
        lane.waiting.push_back(item);
        self.waiting += 1;
    }

    /// The next item that may go. Its lane stands still until [`Self::done`].
    pub fn take(&mut self) -> Option<(LaneKey, T)> {
        let key = self.ready.pop_front()?;
        let lane = self.lanes.get_mut(&key)?;
        let item = lane.waiting.pop_front()?;
        lane.in_flight = true;
        self.waiting -= 1;
        Some((key, item))
    }

    /// The item that was taken from this lane has ended. A lane that nothing was taken from stays as
    /// it is.
    pub fn done(&mut self, key: LaneKey) {
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        if !lane.in_flight {
            return;
        }
        lane.in_flight = false;
        if lane.waiting.is_empty() {
            self.lanes.remove(&key);
            self.give_memory_back();
        } else {
            // Behind all others: a lane with a long queue gets no more turns than a short one.
            self.ready.push_back(key);
        }
    }

    /// Takes everything that still waits, in no order across lanes, and forgets all lanes.
    pub fn drain(&mut self) -> Vec<T> {
        let lanes = std::mem::take(self).lanes;
        lanes.into_values().flat_map(|lane| lane.waiting).collect()
    }

    /// How many items wait; what is in flight is not among them.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many lanes have something waiting or in flight.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// A storm of client connections leaves a large table behind. It is given back when all is quiet.
    fn give_memory_back(&mut self) {
        const SMALL: usize = 1024;
        if self.lanes.is_empty() && self.lanes.capacity() > SMALL {
            self.lanes.shrink_to(SMALL);
            self.ready.shrink_to(SMALL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Offer(u64),
        Take,
        /// Ends one of those in flight: the n-th, counted around.
        Done(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0_u64..6).prop_map(Step::Offer),
            2 => Just(Step::Take),
            2 => (0_usize..8).prop_map(Step::Done),
        ];
        proptest::collection::vec(step, 0..300)
    }

    /// What a serial world would say: per lane, the items in the order in which they were offered.
    #[derive(Default)]
    struct Model {
        offered: HashMap<LaneKey, VecDeque<u32>>,
        in_flight: Vec<LaneKey>,
    }

    impl Model {
        fn took(&mut self, key: LaneKey, item: u32) {
            assert!(!self.in_flight.contains(&key), "two in flight in one lane");
            let next = self.offered.get_mut(&key).and_then(VecDeque::pop_front);
            assert_eq!(next, Some(item), "out of order in its lane");
            self.in_flight.push(key);
        }

        fn runnable(&self) -> usize {
            self.offered
                .iter()
                .filter(|(key, items)| !items.is_empty() && !self.in_flight.contains(key))
                .count()
        }
    }

    proptest! {
        #[test]
        fn lanes_keep_order_never_run_two_at_once_and_leave_nothing_behind(steps in steps()) {
            let mut lanes = Lanes::default();
            let mut model = Model::default();
            let mut number = 0;
            for step in steps {
                match step {
                    Step::Offer(lane) => {
                        lanes.offer(LaneKey::Alone(lane), number);
                        model.offered.entry(LaneKey::Alone(lane)).or_default().push_back(number);
                        number += 1;
                    }
                    Step::Take => match lanes.take() {
                        Some((key, item)) => model.took(key, item),
                        None => prop_assert_eq!(model.runnable(), 0, "something could have run"),
                    },
                    Step::Done(which) if !model.in_flight.is_empty() => {
                        let key = model.in_flight.remove(which % model.in_flight.len());
                        lanes.done(key);
                    }
                    Step::Done(_) => {}
                }
            }
            loop {
                while let Some((key, item)) = lanes.take() {
                    model.took(key, item);
                }
                let Some(key) = model.in_flight.pop() else { break };
                lanes.done(key);
            }
            prop_assert!(model.offered.values().all(VecDeque::is_empty), "not everything was taken");
            prop_assert_eq!((lanes.waiting(), lanes.lanes(), lanes.ready.len()), (0, 0, 0));
        }

        #[test]
        fn a_drain_gives_every_waiting_item_once(steps in steps()) {
            let mut lanes = Lanes::default();
            let mut waiting = HashSet::new();
            let mut number = 0;
            for step in steps {
                match step {
                    Step::Offer(lane) => {
                        lanes.offer(LaneKey::Alone(lane), number);
                        waiting.insert(number);
                        number += 1;
                    }
                    Step::Take => {
                        if let Some((_, item)) = lanes.take() {
                            waiting.remove(&item);
                        }
                    }
                    Step::Done(lane) => lanes.done(LaneKey::Alone(lane as u64)),
                }
            }
            let drained = lanes.drain();
            prop_assert_eq!(drained.len(), waiting.len());
            prop_assert_eq!(drained.into_iter().collect::<HashSet<_>>(), waiting);
            prop_assert_eq!((lanes.waiting(), lanes.lanes()), (0, 0));
        }
    }

    #[test]
    fn a_long_lane_does_not_keep_a_short_one_waiting() {
        let mut lanes = Lanes::default();
        for item in 0..100 {
            lanes.offer(LaneKey::Alone(1), item);
        }
        lanes.offer(LaneKey::Alone(2), 1000);
        let (first, _) = lanes.take().unwrap();
        lanes.done(first);
        assert_eq!(lanes.take(), Some((LaneKey::Alone(2), 1000)));
    }

    #[test]
    fn a_storm_of_lanes_gives_its_memory_back() {
        let mut lanes = Lanes::default();
        for lane in 0..100_000 {
            lanes.offer(LaneKey::Alone(lane), ());
        }
        while let Some((key, ())) = lanes.take() {
            lanes.done(key);
        }
        assert!(lanes.lanes.capacity() < 4096, "{}", lanes.lanes.capacity());
    }

    #[test]
    fn exchanges_of_one_client_connection_share_a_lane_and_those_of_unknown_ones_do_not() {
        let from = |position, client| Exchange {
            position,
            request: Some(exchange::Request {
                client,
                ..Default::default()
            }),
            response: None,
        };
        let client = |port| {
            Some(exchange::Endpoint {
                ip: [10, 0, 0, 1].into(),
                port,
            })
        };
        assert_eq!(
            LaneKey::of(&from(1, client(5))),
            LaneKey::of(&from(2, client(5)))
        );
        assert_ne!(
            LaneKey::of(&from(1, client(5))),
            LaneKey::of(&from(2, client(6)))
        );
        assert_ne!(
            LaneKey::of(&from(1, client(0))),
            LaneKey::of(&from(2, client(0)))
        );
        assert_ne!(LaneKey::of(&from(1, None)), LaneKey::of(&from(2, None)));
    }
}
