//! Exchanges that are read and not due yet, the first due first. Bounded by who fills it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use exchange::Exchange;

/// An exchange with its place in the schedule.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// When it is due, at speed 1, from the beginning of the replay.
    pub(super) moment: Duration,
    /// Which request of the replay it is.
    pub(super) number: u64,
    pub(super) exchange: Arc<Exchange>,
}

/// The heap.
#[derive(Debug, Default)]
pub(super) struct Hold {
    heap: BinaryHeap<Reverse<Held>>,
    bytes: usize,
}

impl Hold {
    pub(super) fn push(&mut self, held: Held) {
        self.bytes = self.bytes.saturating_add(held.exchange.weight());
        self.heap.push(Reverse(held));
    }

    /// The moment of the first one.
    pub(super) fn first(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse(held)| held.moment)
    }

    pub(super) fn pop(&mut self) -> Option<Held> {
        let Reverse(held) = self.heap.pop()?;
        self.bytes = self.bytes.saturating_sub(held.exchange.weight());
        Some(held)
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Held {
    fn key(&self) -> (Duration, u64, u64) {
        (self.moment, self.number, self.exchange.position)
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Held {}
