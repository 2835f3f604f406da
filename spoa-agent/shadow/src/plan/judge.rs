//! What the target's answer says of what was sent, and what is to go again.

use std::collections::HashSet;

use bytes::Bytes;
use exchange::Response;
use exchange::operation::answer::{Answer, Answered, Done, error_type, read_some, status};
use exchange::operation::{Access, Action, Api, Condition, Document, Operation};

use super::has_no_id;

/// What became of a request on the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Of the request as a whole. For documents it is the worst of them: [`Became::Again`] when any goes again.
    pub whole: Became,
    /// Of each document that was sent, by its number, in the order in which they were sent.
    pub items: Vec<(usize, Became)>,
    /// The documents that the target found as this write would make them, and so did not write. On a first attempt its
    /// document was another one before. After another attempt it tells what that one did, also when only one
    /// copy has it, which the target may lose.
    pub unwritten: Vec<usize>,
    /// The request is too large for the target (413) and can be halved: see [`halve`].
    pub too_large: bool,
}

/// What became of a document, or of a request that names none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Became {
    /// The target did it.
    Applied,
    /// The target refused it in the way in which it refuses what is done already, or as the primary refused
    /// it. On a first attempt it can also mean that the target's document was another one before.
    Settled(Refusal),
    /// It is to go again: the target was too busy, or an earlier write of the same document goes again.
    Again,
    /// The target refused it for good.
    Refused(Refusal),
    /// The answer does not tell. It may go again, unless it needs a guard: then that tells.
    Unknown,
}

/// How the target refused a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// The error's `type`, where it has one.
    pub error: Option<Bytes>,
}

impl Judged {
    /// The documents that are to go again, in the order in which they were sent.
    #[must_use]
    pub fn again(&self) -> Vec<usize> {
        let again = self
            .items
            .iter()
            .filter(|(_, became)| *became == Became::Again);
        again.map(|(item, _)| *item).collect()
    }
}

/// Judges the target's answer to the documents `sent` (none when the operation reads or names none).
/// `primary` is the primary's answer to the whole operation.
///
/// In a `_bulk` only what failed goes again, and with it the later items of the same documents, which
/// must not be overtaken.
#[must_use]
pub fn judge(operation: &Operation, sent: &[usize], shadow: &Response, primary: &Answer) -> Judged {
    if operation.access == Access::Read || sent.is_empty() {
        let error = || error_type(shadow);
        return Judged {
            whole: became_whole(operation.access, status(shadow), error),
            items: Vec::new(),
            unwritten: Vec::new(),
            too_large: false,
        };
    }
    let mut unwritten = Vec::new();
    let too_large = status(shadow) == 413 && operation.api == Api::Bulk && sent.len() > 1;
    let mut items: Vec<(usize, Became)> = if too_large {
        sent.iter().map(|item| (*item, Became::Again)).collect()
    } else if let Answer::Documents(answered) = read_some(operation, sent, Some(shadow)) {
        let became = |(item, answered): (&usize, &Answered)| {
            if is_unwritten(operation, *item, answered, primary) {
                unwritten.push(*item);
            }
            (*item, became_item(operation, *item, answered, primary))
        };
        sent.iter().zip(&answered).map(became).collect()
    } else {
        let became = became_unread(status(shadow));
        sent.iter().map(|item| (*item, became.clone())).collect()
    };
    keep_order(operation, primary, &mut items);
    Judged {
        whole: worst(&items),
        items,
        unwritten,
        too_large,
    }
}

/// The first half and the second, each in order, to be sent one after the other. The second is empty when
/// there is only one item: nothing smaller can be sent.
#[must_use]
pub fn halve(items: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let (first, second) = items.split_at(items.len().div_ceil(2));
    (first.to_vec(), second.to_vec())
}

fn became_whole(access: Access, status: u16, error: impl Fn() -> Option<Bytes>) -> Became {
    match status {
        0..=199 => Became::Unknown,
        200..=299 => Became::Applied,
        429 | 502..=504 => Became::Again,
        // A read that failed was answered, and that is what is compared.
        _ if access == Access::Read => Became::Applied,
        _ if is_back_pressure(error().as_deref()) => Became::Again,
        _ => Became::Refused(Refusal {
            status,
            error: error(),
        }),
    }
}

/// An answer that says nothing of the items. That of a gateway is worth another try.
const fn became_unread(status: u16) -> Became {
    match status {
        429 | 502..=504 => Became::Again,
        _ => Became::Unknown,
    }
}

fn became_item(
    operation: &Operation,
    item: usize,
    answered: &Answered,
    primary: &Answer,
) -> Became {
    let error = answered.error.as_deref();
    match answered.status {
        0..=299 => return Became::Applied,
        429 | 502..=504 => return Became::Again,
        _ if is_back_pressure(error) => return Became::Again,
        _ => {}
    }
    let refusal = Refusal {
        status: answered.status,
        error: answered.error.clone().filter(|error| !error.is_empty()),
    };
    let refused_by_both = outcome(primary, item).is_some_and(|outcome| outcome.status >= 300);
    if refused_by_both || is_done_already(operation, item, answered) {
        Became::Settled(refusal)
    } else {
        Became::Refused(refusal)
    }
}

/// Whether the primary did this write, and the target found nothing to do. A delete of nothing is written all the same.
fn is_unwritten(operation: &Operation, item: usize, answered: &Answered, primary: &Answer) -> bool {
    let is_update = |document: &Document| document.action == Action::Update;
    let is_noop =
        answered.result == Done::Noop && operation.documents.get(item).is_some_and(is_update);
    let is_there = answered.status == 409 && is_done_already(operation, item, answered);
    let by_primary = outcome(primary, item);
    let done_by_primary =
        by_primary.is_none_or(|outcome| outcome.status < 300 && outcome.result != Done::Noop);
    done_by_primary && (is_noop || is_there)
}

/// Whether a write that was done before is refused like this.
fn is_done_already(operation: &Operation, item: usize, answered: &Answered) -> bool {
    let Some(document) = operation.documents.get(item) else {
        return false;
    };
    match document.action {
        // A pinned document is sent as a create.
        Action::Create => answered.status == 409,
        Action::Index => {
            answered.status == 409
                && (document.condition == Condition::External || has_no_id(document))
        }
        Action::Update => answered.status == 404,
        Action::Delete => {
            answered.status == 404
                || (answered.status == 409 && document.condition == Condition::External)
        }
        Action::Get => false,
    }
}

/// Errors that say "not now", whatever status they come with.
fn is_back_pressure(error: Option<&[u8]>) -> bool {
    const KINDS: [&[u8]; 5] = [
        b"es_rejected_execution_exception",
        b"rejected_execution_exception",
        b"circuit_breaking_exception",
        b"unavailable_shards_exception",
        b"process_cluster_event_timeout_exception",
    ];
    error.is_some_and(|error| KINDS.contains(&error))
}

/// Later items of a document whose earlier item goes again go again too.
fn keep_order(operation: &Operation, primary: &Answer, items: &mut [(usize, Became)]) {
    let mut again: HashSet<(&Bytes, &Bytes)> = HashSet::new();
    for (item, became) in items {
        let Some(key) = key(operation, primary, *item) else {
            continue;
        };
        if *became == Became::Again {
            again.insert(key);
        } else if again.contains(&key) {
            *became = Became::Again;
        }
    }
}

/// The index, as the primary tells it, and the id.
fn key<'a>(
    operation: &'a Operation,
    primary: &'a Answer,
    item: usize,
) -> Option<(&'a Bytes, &'a Bytes)> {
    let document = operation.documents.get(item)?;
    let outcome = outcome(primary, item);
    let index = outcome.and_then(|outcome| outcome.index.as_ref());
    let id = outcome.and_then(|outcome| outcome.id.as_ref());
    Some((
        index.unwrap_or(&document.index),
        document.id.as_ref().or(id)?,
    ))
}

fn outcome(answer: &Answer, item: usize) -> Option<&Answered> {
    match answer {
        Answer::Documents(answered) => answered.get(item),
        Answer::Status | Answer::Unknown => None,
    }
}

fn worst(items: &[(usize, Became)]) -> Became {
    const fn rank(became: &Became) -> u8 {
        match became {
            Became::Applied => 0,
            Became::Settled(_) => 1,
            Became::Refused(_) => 2,
            Became::Unknown => 3,
            Became::Again => 4,
        }
    }
    let worst = items
        .iter()
        .map(|(_, became)| became)
        .max_by_key(|b| rank(b));
    worst.cloned().unwrap_or(Became::Applied)
}
