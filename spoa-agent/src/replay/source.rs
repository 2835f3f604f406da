//! Where a replay reads from: [`Source`], a stream of events in the order of a journal.

use std::collections::HashMap;
use std::sync::Arc;

use exchange::{Exchange, Gap, Request};
use journal::{Completion, CursorState, Lost, Place};

/// What happened, in the order in which it happened on the primary. An exchange completed before another begun
/// means that the primary was done with it by then.
#[derive(Clone, Debug)]
pub enum Event {
    /// A request was captured, and its response was not yet.
    Begun {
        /// The name of the exchange, the same when it is complete.
        position: u64,
        /// The request half.
        request: Arc<Request>,
    },
    /// An exchange is complete, or none of its halves will come any more. Its `Begun` came before, when
    /// it has a request.
    Complete(Arc<Exchange>),
    /// Records that the source has no more.
    Lost(Lost),
    /// Halves that never became records.
    Gap(Gap),
    /// A record or line that is no half or exchange.
    Undecodable {
        /// Where it stands: the position in a journal, the number of the line in files.
        position: u64,
        /// Why.
        why: String,
    },
    /// Nothing for now; more may come.
    Waiting,
}

/// How far a source is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read.
    pub done: u64,
    /// Bytes that there are. `None`: nobody knows.
    pub total: Option<u64>,
    /// Exchanges that came too late to stand in their order.
    pub late: u64,
    /// Exchanges that came again, and were passed over.
    pub again: u64,
}

/// A stream of events that ends, and remembers what the replay is done with.
///
/// An exchange that was given out and is not [`Source::done`] is given out again after a restart from
/// [`Source::bookmark`].
pub trait Source: Send {
    /// The next event, or `None` at the end. May block for as long as reading a file takes.
    ///
    /// # Errors
    /// When the source cannot be read any further.
    fn next(&mut self) -> anyhow::Result<Option<Event>>;

    /// The replay is done with the exchange at this position.
    fn done(&mut self, position: u64);

    /// What is done, in a few bytes.
    fn bookmark(&self) -> CursorState;

    /// What [`Source::bookmark`] said last is kept: the source may forget what was done before.
    fn kept(&mut self) {}

    /// How far it is read.
    fn progress(&self) -> Progress;
}

/// Which records were read, and which of them are done.
#[derive(Debug)]
pub(super) struct Book {
    completion: Completion,
    /// What was done in earlier runs.
    resumed: CursorState,
    /// Exchanges given out, by position, with the sequence numbers of their records.
    in_hand: HashMap<u64, (u64, Option<u64>)>,
}

impl Book {
    pub(super) fn new(resumed: CursorState) -> Self {
        Self {
            completion: Completion::new(resumed.low),
            resumed,
            in_hand: HashMap::new(),
        }
    }

    /// Everything before `next` was read. Returns whether the record before it was done in an earlier run.
    pub(super) fn passed(&mut self, sequence: u64, next: Place) -> bool {
        self.completion.passed(next);
        self.resumed.is_done(sequence)
    }

    /// A record was read that is part of an exchange.
    pub(super) fn opened(&mut self, place: Place) {
        self.completion.opened(place);
    }

    /// An exchange of these records is given out.
    pub(super) fn given_out(&mut self, position: u64, first: u64, second: Option<u64>) {
        self.in_hand.insert(position, (first, second));
    }

    pub(super) fn done(&mut self, position: u64) {
        if let Some((first, second)) = self.in_hand.remove(&position) {
            self.completion.done(first);
            if let Some(second) = second {
                self.completion.done(second);
            }
        }
    }

    /// Soon after a restart, what was done before it reaches further than was read since.
    pub(super) fn bookmark(&self) -> CursorState {
        let mut state = self.completion.state(Vec::new());
        let before = &self.resumed;
        if state.high == self.completion.high() && before.high > state.high {
            let from = before
                .open
                .partition_point(|open| *open < state.high.sequence);
            let rest = before.open.get(from..).unwrap_or_default();
            if state.open.len() + rest.len() <= journal::OPEN_LIMIT {
                state.open.extend_from_slice(rest);
                state.high = before.high;
            }
        }
        state
    }
}
