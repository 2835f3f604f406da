//! Puts exchanges that come in the order of their completion into the order in which things happened.
//!
//! A line of a traffic log is written when its exchange is complete, so the request of a slow exchange stands far
//! behind requests that came after it. Lines wait here until nothing earlier is to be expected: for a
//! stretch of capture time, as long as they are not too many. What comes later than that is given out at once,
//! in the wrong place, and counted.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use exchange::{Exchange, Request};

use super::source::Event;

/// How much waits at most.
#[derive(Clone, Copy, Debug)]
pub struct WindowBounds {
    /// Capture time. An exchange that took longer than this may come too late.
    pub span: Duration,
    /// Exchanges.
    pub exchanges: usize,
    /// Bytes of memory, roughly.
    pub bytes: usize,
}

impl Default for WindowBounds {
    fn default() -> Self {
        Self {
            // The agent waits a minute for a response.
            span: Duration::from_secs(65),
            exchanges: 1 << 18,
            bytes: 128 << 20,
        }
    }
}

/// The lines that wait.
#[derive(Debug)]
pub(super) struct Window {
    bounds: WindowBounds,
    /// Time, and at the same time begun before complete: what overlaps must not look as if one was done
    /// before the other began.
    events: BinaryHeap<Reverse<(u64, Kind, u64)>>,
    held: HashMap<u64, Arc<Exchange>>,
    bytes: usize,
    /// The latest time of a completion.
    latest: u64,
    /// The time of the last event that was given out.
    given_out: u64,
    late: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Begun,
    Complete,
}

impl Window {
    pub(super) fn new(bounds: WindowBounds) -> Self {
        Self {
            bounds,
            events: BinaryHeap::new(),
            held: HashMap::new(),
            bytes: 0,
            latest: 0,
            given_out: 0,
            late: 0,
        }
    }

    /// Takes an exchange. Its position must be its own.
    pub(super) fn push(&mut self, exchange: Exchange) {
        let position = exchange.position;
        let begun = exchange.time_us();
        let complete = match &exchange.response {
            Some(response) => response.time_us.max(begun),
            // Given up, at about the time of what stands around it.
            None => self.latest.max(begun),
        };
        if begun < self.given_out {
            self.late += 1;
        }
        if exchange.request.is_some() {
            self.events.push(Reverse((begun, Kind::Begun, position)));
        }
        self.events
            .push(Reverse((complete, Kind::Complete, position)));
        self.latest = self.latest.max(complete);
        self.bytes = self.bytes.saturating_add(exchange.weight());
        self.held.insert(position, Arc::new(exchange));
    }

    /// The next event that nothing earlier is to be expected for; at the end of the input, any.
    pub(super) fn pop(&mut self, at_end: bool) -> Option<Event> {
        let span = u64::try_from(self.bounds.span.as_micros()).unwrap_or(u64::MAX);
        let is_full = self.held.len() >= self.bounds.exchanges || self.bytes >= self.bounds.bytes;
        let Reverse((time, kind, position)) = *self.events.peek()?;
        if !at_end && !is_full && time > self.latest.saturating_sub(span) {
            return None;
        }
        self.events.pop();
        self.given_out = self.given_out.max(time);
        match kind {
            Kind::Begun => {
                let request: Request = self.held.get(&position)?.request.clone()?;
                let request = Arc::new(request);
                Some(Event::Begun { position, request })
            }
            Kind::Complete => {
                let exchange = self.held.remove(&position)?;
                self.bytes = self.bytes.saturating_sub(exchange.weight());
                Some(Event::Complete(exchange))
            }
        }
    }

    /// Exchanges that came after something later had been given out.
    pub(super) fn late(&self) -> u64 {
        self.late
    }
}

#[cfg(test)]
mod tests {
    use exchange::Response;
    use proptest::prelude::*;

    use super::*;

    fn exchange(position: u64, begun: u64, complete: Option<u64>) -> Exchange {
        let request = Request {
            time_us: begun,
            ..Request::default()
        };
        let response = complete.map(|time_us| Response {
            time_us,
            ..Response::default()
        });
        Exchange {
            position,
            request: Some(request),
            response,
        }
    }

    fn bounds(span: u64) -> WindowBounds {
        WindowBounds {
            span: Duration::from_micros(span),
            ..WindowBounds::default()
        }
    }

    /// `+1` for begun, `-1` for complete.
    fn told(event: &Event) -> i64 {
        match event {
            Event::Begun { position, .. } => i64::try_from(*position).unwrap(),
            Event::Complete(exchange) => -i64::try_from(exchange.position).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn all(window: &mut Window, exchanges: impl IntoIterator<Item = Exchange>) -> Vec<i64> {
        let mut events = Vec::new();
        for exchange in exchanges {
            window.push(exchange);
            events.extend(std::iter::from_fn(|| window.pop(false)));
        }
        events.extend(std::iter::from_fn(|| window.pop(true)));
        events.iter().map(told).collect()
    }

    #[test]
    fn a_slow_exchange_begins_before_the_quick_ones_that_were_logged_before_it() {
        let mut window = Window::new(bounds(1000));
        let lines = [
            exchange(1, 20, Some(30)),
            exchange(2, 40, Some(50)),
            exchange(3, 10, Some(60)),
        ];
        assert_eq!(all(&mut window, lines), [3, 1, -1, 2, -2, -3]);
        assert_eq!(window.late(), 0);
    }

    #[test]
    fn what_happens_at_the_same_time_overlaps() {
        let mut window = Window::new(bounds(1000));
        let lines = [exchange(1, 10, Some(20)), exchange(2, 20, Some(20))];
        assert_eq!(all(&mut window, lines), [1, 2, -1, -2]);
    }

    #[test]
    fn an_exchange_without_a_response_ends_where_it_was_logged() {
        let mut window = Window::new(bounds(1000));
        let lines = [
            exchange(1, 20, Some(30)),
            exchange(2, 10, None),
            exchange(3, 40, Some(50)),
        ];
        assert_eq!(all(&mut window, lines), [2, 1, -1, -2, 3, -3]);
    }

    #[test]
    fn an_exchange_that_took_longer_than_the_window_is_late_and_still_there() {
        let mut window = Window::new(bounds(10));
        let lines = [
            exchange(1, 20, Some(30)),
            exchange(2, 100, Some(110)),
            exchange(3, 10, Some(120)),
        ];
        assert_eq!(all(&mut window, lines), [1, -1, 2, 3, -2, -3]);
        assert_eq!(window.late(), 1);
    }

    proptest! {
        #[test]
        fn within_the_window_events_come_in_the_order_of_time_and_none_is_lost(
            mut spans in prop::collection::vec((0u64..10_000, 0u64..500), 1..200),
            full in 1usize..300,
        ) {
            spans.sort_by_key(|(begun, took)| begun + took);
            let mut window = Window::new(WindowBounds { exchanges: full, ..bounds(500) });
            let lines = (1..).zip(&spans).map(|(at, (begun, took))| exchange(at, *begun, Some(begun + took)));
            let told = all(&mut window, lines);
            prop_assert_eq!(told.len(), 2 * spans.len());
            let time = |event: &i64| {
                let (begun, took) = spans[usize::try_from(event.abs()).unwrap() - 1];
                if *event > 0 { begun } else { begun + took }
            };
            if full > spans.len() {
                prop_assert!(told.is_sorted_by_key(time));
                prop_assert_eq!(window.late(), 0);
            }
            for position in (1..).take(spans.len()) {
                let at = |wanted: i64| told.iter().position(|it| *it == wanted).unwrap();
                prop_assert!(at(position) < at(-position));
            }
            prop_assert_eq!((window.bytes, window.held.len()), (0, 0));
        }
    }
}
