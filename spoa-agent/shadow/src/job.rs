//! An exchange in hand, and the jobs that send it: one, unless its `_bulk` had to be split.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use exchange::operation::Operation;
use exchange::operation::answer::Answer;
use exchange::{Exchange, Pair};
use tokio::time::Instant;

use crate::health::Doubt;
use crate::intake::Intake;
use crate::order::{Items, UnitId};
use crate::plan;
use crate::resolve::DocumentName;
use crate::resolver::Captured;
use crate::tokens::{Asked, Told};
use crate::{Delivered, Dropped, Outcome, Timing};

/// What is known of an exchange that is to be sent. Its jobs share it.
#[derive(Debug)]
pub(crate) struct InHand {
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) operation: Arc<Operation>,
    /// What the primary answered.
    pub(crate) answer: Answer,
    /// The documents that are applied, by their numbers; `None` when the request is sent as one.
    pub(crate) applied: Option<Vec<u32>>,
    /// What its request says of tokens, and the primary's answer.
    pub(crate) asked: Arc<Asked>,
    pub(crate) told: Option<Told>,
    pub(crate) weight: usize,
    /// How far into the replay it belongs; zero without a pace.
    pub(crate) moment: Duration,
}

impl InHand {
    pub(crate) fn position(&self) -> u64 {
        self.exchange.position
    }

    /// How many documents must be seen to; one, when the request is sent as a whole.
    pub(crate) fn size(&self) -> usize {
        self.applied.as_ref().map_or(1, Vec::len)
    }

    /// The documents of a batch, by their numbers.
    pub(crate) fn items(&self, batch: &Batch) -> Vec<usize> {
        match batch {
            Batch::These(items) => items.clone(),
            Batch::All => self.applied.as_deref().map(numbers).unwrap_or_default(),
        }
    }

    /// The items as a pair tells them: ranges, and nothing when they are all.
    pub(crate) fn ranges(&self, items: &[usize]) -> Vec<Range<u32>> {
        let mut ranges: Vec<Range<u32>> = Vec::new();
        if items.len() == self.operation.documents.len() {
            return ranges;
        }
        for item in items.iter().filter_map(|item| u32::try_from(*item).ok()) {
            match ranges.last_mut() {
                Some(last) if last.end == item => last.end += 1,
                _ => ranges.push(item..item.saturating_add(1)),
            }
        }
        ranges
    }

    /// What the order knows of the write of a document.
    pub(crate) fn captured(&self, item: usize, intake: &Intake) -> Option<Captured> {
        let document = self.operation.documents.get(item)?;
        let answered = match &self.answer {
            Answer::Documents(answered) => answered.get(item),
            Answer::Status | Answer::Unknown => None,
        };
        let touch = intake.written(item, document, answered)?;
        Some(Captured {
            index: touch.index,
            key: touch.key,
            routing: document.routing.clone(),
            sequence: touch.sequence,
            request_us: self.exchange.time_us(),
            response_us: self.exchange.response.as_ref().map(|it| it.time_us),
        })
    }

    /// The name of a document, where it is known.
    pub(crate) fn name(&self, item: usize) -> Option<DocumentName> {
        let document = self.operation.documents.get(item)?;
        let answered = match &self.answer {
            Answer::Documents(answered) => answered.get(item),
            Answer::Status | Answer::Unknown => None,
        };
        let index = answered.and_then(|answered| answered.index.as_ref());
        let id = answered.and_then(|answered| answered.id.as_ref());
        let copy = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
        Some(DocumentName {
            index: copy(index.unwrap_or(&document.index)),
            mapping_type: None,
            id: copy(id.or(document.id.as_ref())?),
            routing: document.routing.as_ref().map(copy),
        })
    }
}

fn numbers(items: &[u32]) -> Vec<usize> {
    let number = |item: &u32| usize::try_from(*item).ok();
    items.iter().filter_map(number).collect()
}

/// What goes in one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Batch {
    /// All that is applied of the exchange.
    All,
    /// These documents.
    These(Vec<usize>),
}

/// A request on its way: all of an exchange, or some of its documents.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) in_hand: Arc<InHand>,
    pub(crate) unit: UnitId,
    /// What is left to send, one request after the other.
    pub(crate) batches: VecDeque<Batch>,
    /// When it was due, with a pace.
    pub(crate) due: Option<Instant>,
    /// How many documents the unit has.
    pub(crate) size: usize,
    /// Which, when they are not all of the exchange's.
    pub(crate) part: Option<Vec<u32>>,
    /// Requests begun on a connection.
    pub(crate) attempts: u32,
    /// When the first of them began, Unix time in microseconds.
    pub(crate) first_us: Option<u64>,
    pub(crate) failures: u32,
    /// Failures that are its own fault.
    pub(crate) counted: u32,
    /// Whose fault the last failure was is told by this.
    pub(crate) doubt: Option<Arc<Doubt>>,
    pub(crate) last: Option<Trouble>,
    /// Of the requests that were answered, the worst.
    pub(crate) delivered: Option<Delivered>,
    /// The last "not now", whole.
    pub(crate) last_answer: Option<(crate::Answer, Timing)>,
    /// Made, and not told: whether it is the last of the exchange is not known yet.
    pub(crate) last_pair: Option<Box<Pair>>,
    /// The batches are cut.
    pub(crate) is_prepared: bool,
    /// Documents that were left out, for what was read from the primary shows these writes.
    pub(crate) superseded: usize,
}

/// A failed attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trouble {
    pub(crate) kind: TroubleKind,
    /// The word for it.
    pub(crate) cause: &'static str,
    /// The status, if one came.
    pub(crate) status: Option<u16>,
    pub(crate) timing: Timing,
    /// What the target asked for with `retry-after`.
    pub(crate) asked: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TroubleKind {
    /// No connection: never the request's fault.
    Connect,
    /// A connection that broke, fell silent, or spoke no HTTP.
    Transport,
    /// An answer that says "not now".
    Status,
}

impl Job {
    pub(crate) fn new(in_hand: Arc<InHand>, unit: UnitId, items: Items) -> Self {
        let (size, batch) = match &items {
            Items::All => (in_hand.size(), Batch::All),
            Items::Some(items) => (items.len(), Batch::These(numbers(items))),
        };
        let part = match items {
            Items::All => None,
            Items::Some(items) => Some(items),
        };
        Self {
            in_hand,
            unit,
            batches: VecDeque::from([batch]),
            due: None,
            size,
            part,
            attempts: 0,
            first_us: None,
            failures: 0,
            counted: 0,
            doubt: None,
            last: None,
            delivered: None,
            last_answer: None,
            last_pair: None,
            is_prepared: false,
            superseded: 0,
        }
    }

    pub(crate) fn position(&self) -> u64 {
        self.in_hand.position()
    }

    /// Whether it only reads.
    pub(crate) fn is_read(&self) -> bool {
        self.in_hand.operation.is_read()
    }

    /// Cuts the batches where the order of two writes of one document must hold even when one goes again.
    pub(crate) fn prepare(&mut self) {
        let operation = &self.in_hand.operation;
        if std::mem::replace(&mut self.is_prepared, true) || operation.documents.len() < 2 {
            return;
        }
        let cut = |batch: Batch| {
            let groups = plan::guard_groups(operation, &self.in_hand.items(&batch));
            match groups.len() {
                0 | 1 => vec![batch],
                _ => groups.into_iter().map(Batch::These).collect(),
            }
        };
        let batches = std::mem::take(&mut self.batches);
        self.batches = batches.into_iter().flat_map(cut).collect();
    }

    /// All that is left to send.
    pub(crate) fn left(&self) -> Batch {
        match self.batches.front() {
            Some(Batch::These(_)) => {
                let items = self.batches.iter();
                Batch::These(items.flat_map(|batch| self.in_hand.items(batch)).collect())
            }
            _ => Batch::All,
        }
    }

    /// A request of this job was answered for good.
    pub(crate) fn answered(&mut self, status: u16, timing: Timing) {
        let worst = self.delivered.map_or(0, |delivered| delivered.status);
        self.delivered = Some(Delivered {
            status: status.max(worst),
            attempts: self.attempts,
            timing,
        });
    }

    /// What is told of an exchange that is not tried again.
    ///
    /// A read that was answered "not now" to the end has that answer. A write is lost to the target, whatever
    /// the words were.
    pub(crate) fn given_up(&self) -> Outcome {
        let attempts = self.attempts;
        match self.last {
            Some(Trouble {
                status: Some(status),
                timing,
                ..
            }) if self.is_read() => Outcome::Delivered(Delivered {
                status,
                attempts,
                timing,
            }),
            last => Outcome::Dropped(Dropped::Poison {
                attempts,
                cause: last.map_or("no attempt", |last| last.cause),
            }),
        }
    }

    /// Counts the last failure against the exchange, if the target turned out to be alive.
    pub(crate) fn settle_doubt(&mut self) {
        if self.doubt.take().is_some_and(|doubt| !doubt.was_down()) {
            self.counted += 1;
        }
    }
}
