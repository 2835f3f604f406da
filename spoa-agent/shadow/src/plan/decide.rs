//! Which documents of an exchange are written on the target.

use bytes::Bytes;
use exchange::operation::answer::{Answer, Answered, Done, Said, Sequence, error_type, said};
use exchange::operation::content;
use exchange::operation::{Access, Action, Api, Condition, Document, Operation};
use exchange::{Exchange, Response};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{NoEffect, Policy, Refused, has_no_id, target};
use crate::{Dropped, Filtered};

/// What is done with an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is sent, and what of it.
    pub fate: Fate,
    /// The documents that are not written, each with its reason.
    pub left_out: Vec<LeftOut>,
    /// The captured halves do not tell what the primary did. It is listed, and may be settled by reading the
    /// documents from the primary.
    pub ambiguous: Option<Ambiguous>,
}

/// Whether an exchange is sent, and what of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// As a whole: it reads, or it writes and names no documents.
    Whole,
    /// These documents are written, in this order. Never empty.
    Write(Vec<Write>),
    /// Nothing of it is meant for the target.
    Filtered(Filtered),
    /// Nothing of it can be sent right.
    Dropped(Dropped),
}

/// A document that is written on the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Which document of the operation.
    pub item: usize,
    /// What is done with it.
    pub action: Action,
    /// The index that it is in, where the answer tells; otherwise the name that the request uses.
    pub index: Bytes,
    /// The name that the request uses: an index, an alias or a data stream.
    pub named: Bytes,
    /// Its id. `None` only when ids are not pinned, or the answer is not known.
    pub id: Option<Bytes>,
    /// The routing value, when it is not the id.
    pub routing: Option<Bytes>,
    /// Which write of its shard it was on the primary. `None` where the answer does not tell: then nothing
    /// orders it among overlapping writes to this document.
    pub sequence: Option<Sequence>,
    /// Done twice it may have another effect than done once.
    pub scripted: bool,
}

/// A document that is not written on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Which document of the operation.
    pub item: usize,
    /// Why.
    pub reason: Reason,
}

/// Why a document is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The primary refused it.
    Refused,
    /// It changed nothing on the primary.
    NoEffect,
    /// The primary chose an id that nobody knows.
    IdUnknown,
}

/// Why it is not certain what the primary did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Ambiguous {
    /// No answer came.
    NoAnswer,
    /// The answer is not whole, or is not what this API answers.
    AnswerUnread,
    /// A gateway answered for the primary, which may have done it.
    Gateway,
    /// The primary refused it in a way in which it may have been done: a node was lost, or a time was up.
    MayBeDone,
    /// The primary chose an id that nobody knows.
    IdUnknown,
    /// The items of a `_bulk` could not be read, so it is sent as a whole.
    ItemsUnread,
    /// A by-query operation met documents that changed meanwhile, or failed for some.
    Partly,
    /// It goes on in the background (`wait_for_completion=false`).
    Background,
}

impl Reason {
    /// The word for it, as the ledger and the metrics use it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::NoEffect => "no effect",
            Self::IdUnknown => "id unknown",
        }
    }
}

impl Ambiguous {
    /// The word for it, as lists and metrics use it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoAnswer => "no answer",
            Self::AnswerUnread => "answer unread",
            Self::Gateway => "gateway",
            Self::MayBeDone => "may be done",
            Self::IdUnknown => "id unknown",
            Self::ItemsUnread => "items unread",
            Self::Partly => "partly",
            Self::Background => "background",
        }
    }
}

/// Decides what of a complete or expired exchange is applied. `operation` is what its request means and
/// `answer` what its response says of that operation.
#[must_use]
pub fn decide(
    exchange: &Exchange,
    operation: &Operation,
    answer: &Answer,
    policy: &Policy,
) -> Decision {
    let Some(request) = &exchange.request else {
        return Decision::of(Fate::Filtered(Filtered::NoRequest), None);
    };
    let response = exchange.response.as_ref();
    if operation.access == Access::Read {
        return Decision::of(Fate::Whole, None);
    }
    if operation.documents.is_empty() {
        return whole(&request.target, operation, response, *policy);
    }
    match answer {
        Answer::Documents(answered) if answered.len() == operation.documents.len() => {
            by_outcome(&operation.documents, answered, *policy)
        }
        _ => by_request(&operation.documents, response, *policy),
    }
}

impl Decision {
    const fn of(fate: Fate, ambiguous: Option<Ambiguous>) -> Self {
        Self {
            fate,
            left_out: Vec::new(),
            ambiguous,
        }
    }

    /// Of documents, one or more.
    fn of_documents(
        writes: Vec<Write>,
        left_out: Vec<LeftOut>,
        mut ambiguous: Option<Ambiguous>,
    ) -> Self {
        let has = |reason| left_out.iter().any(|left| left.reason == reason);
        if has(Reason::IdUnknown) {
            ambiguous.get_or_insert(Ambiguous::IdUnknown);
        }
        let fate = if !writes.is_empty() {
            Fate::Write(writes)
        } else if has(Reason::IdUnknown) {
            Fate::Dropped(Dropped::IdUnknown)
        } else if has(Reason::Refused) {
            Fate::Filtered(Filtered::Refused)
        } else {
            Fate::Filtered(Filtered::NoEffect)
        };
        Self {
            fate,
            left_out,
            ambiguous,
        }
    }
}

fn by_outcome(documents: &[Document], answered: &[Answered], policy: Policy) -> Decision {
    let mut writes = Vec::with_capacity(documents.len());
    let mut left_out = Vec::new();
    let mut ambiguous = None;
    for (item, (document, outcome)) in documents.iter().zip(answered).enumerate() {
        if outcome.status >= 300 && may_be_done(outcome.error.as_deref()) {
            ambiguous = Some(Ambiguous::MayBeDone);
        }
        match reason(document, outcome, policy) {
            Some(reason) => left_out.push(LeftOut { item, reason }),
            None => writes.push(write(item, document, Some(outcome))),
        }
    }
    Decision::of_documents(writes, left_out, ambiguous)
}

/// Why the document is left out. `None` when it is written.
fn reason(document: &Document, outcome: &Answered, policy: Policy) -> Option<Reason> {
    let id_unknown = policy.pin_ids && has_no_id(document) && outcome.id.is_none();
    if is_no_effect(document, outcome) {
        return (policy.no_effect == NoEffect::Leave).then_some(Reason::NoEffect);
    }
    if outcome.status >= 300 && !is_delete_of_nothing(document, outcome) {
        let left = policy.refused == Refused::Leave || (policy.pin_ids && has_no_id(document));
        return left.then_some(Reason::Refused);
    }
    id_unknown.then_some(Reason::IdUnknown)
}

fn is_no_effect(document: &Document, outcome: &Answered) -> bool {
    let is_noop = document.action == Action::Update && outcome.result == Done::Noop;
    // With an external version it leaves that version behind.
    let leaves_nothing = document.condition != Condition::External;
    (is_noop && outcome.status < 300) || (is_delete_of_nothing(document, outcome) && leaves_nothing)
}

/// It answers 404, and is no failure.
fn is_delete_of_nothing(document: &Document, outcome: &Answered) -> bool {
    document.action == Action::Delete && outcome.result == Done::NotFound
}

/// The answer is not known: all that can be sent right is sent as it was captured.
fn by_request(documents: &[Document], response: Option<&Response>, policy: Policy) -> Decision {
    let mut writes = Vec::with_capacity(documents.len());
    let mut left_out = Vec::new();
    for (item, document) in documents.iter().enumerate() {
        if policy.pin_ids && has_no_id(document) {
            let reason = Reason::IdUnknown;
            left_out.push(LeftOut { item, reason });
        } else {
            writes.push(write(item, document, None));
        }
    }
    let why = match response {
        None => Ambiguous::NoAnswer,
        Some(response) if said(response) == Said::Unsure => Ambiguous::Gateway,
        Some(_) => Ambiguous::AnswerUnread,
    };
    Decision::of_documents(writes, left_out, Some(why))
}

fn write(item: usize, document: &Document, outcome: Option<&Answered>) -> Write {
    let index = outcome.and_then(|outcome| outcome.index.as_ref());
    let id = outcome.and_then(|outcome| outcome.id.as_ref());
    Write {
        item,
        action: document.action,
        index: index.unwrap_or(&document.index).clone(),
        named: document.index.clone(),
        id: document.id.as_ref().or(id).cloned(),
        routing: document.routing.clone(),
        sequence: outcome.and_then(|outcome| outcome.sequence),
        scripted: document.scripted,
    }
}

/// A write that names no documents is told by its status, except where that says too little.
fn whole(
    request_target: &[u8],
    operation: &Operation,
    response: Option<&Response>,
    policy: Policy,
) -> Decision {
    let Some(response) = response else {
        return Decision::of(Fate::Whole, Some(Ambiguous::NoAnswer));
    };
    let said = said(response);
    if said == Said::Unsure {
        return Decision::of(Fate::Whole, Some(Ambiguous::Gateway));
    }
    if is_by_query(request_target) {
        let ambiguous = by_query(request_target, response);
        if said == Said::Accepted || ambiguous.is_some() {
            return Decision::of(Fate::Whole, ambiguous);
        }
    }
    if said == Said::Accepted {
        let unread = operation.api == Api::Bulk;
        return Decision::of(Fate::Whole, unread.then_some(Ambiguous::ItemsUnread));
    }
    let fate = match policy.refused {
        Refused::Leave => Fate::Filtered(Filtered::Refused),
        Refused::Send => Fate::Whole,
    };
    let unsure = may_be_done(error_type(response).as_deref());
    Decision::of(fate, unsure.then_some(Ambiguous::MayBeDone))
}

/// Errors of a coordinating node that does not know what became of what it handed on.
fn may_be_done(error: Option<&[u8]>) -> bool {
    const KINDS: [&[u8]; 5] = [
        b"node_disconnected_exception",
        b"node_closed_exception",
        b"receive_timeout_transport_exception",
        b"process_cluster_event_timeout_exception",
        b"timeout_exception",
    ];
    error.is_some_and(|error| KINDS.contains(&error))
}

fn is_by_query(request_target: &[u8]) -> bool {
    let last = target::last_segment(request_target);
    matches!(
        last,
        b"_update_by_query" | b"_delete_by_query" | b"_reindex"
    )
}

/// Why the answer of a by-query operation leaves open which documents it changed. One that stopped at
/// a conflict answers 409 and has changed those before it.
fn by_query(request_target: &[u8], response: &Response) -> Option<Ambiguous> {
    #[derive(Deserialize)]
    struct Summary {
        version_conflicts: Option<u64>,
        failures: Option<Vec<IgnoredAny>>,
        timed_out: Option<bool>,
        task: Option<IgnoredAny>,
        error: Option<IgnoredAny>,
    }
    if target::parameter(request_target, b"wait_for_completion") == Some(b"false") {
        return (said(response) == Said::Accepted).then_some(Ambiguous::Background);
    }
    let summary = content::decoded(&response.headers, &response.body)
        .ok()
        .and_then(|body| serde_json::from_slice::<Summary>(&body).ok());
    let Some(summary) = summary else {
        return Some(Ambiguous::AnswerUnread);
    };
    if summary.error.is_some() {
        return None;
    }
    if summary.task.is_some() {
        return Some(Ambiguous::Background);
    }
    let partly = said(response) == Said::Refused
        || summary.version_conflicts.is_some_and(|count| count > 0)
        || summary.failures.is_some_and(|list| !list.is_empty())
        || summary.timed_out == Some(true);
    partly.then_some(Ambiguous::Partly)
}
