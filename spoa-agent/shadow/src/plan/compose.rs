//! The request that is sent for an exchange, or for some of its documents.

use std::borrow::Cow;

use bytes::Bytes;
use exchange::operation::answer::{Answer, Answered};
use exchange::operation::content::{self, Unreadable};
use exchange::operation::{Access, Api, Condition, Document, Operation};
use exchange::{Body, Exchange, Extent, Request};

use super::{Fate, Policy, action_line, decide, has_no_id, target};
use crate::Change;

/// Which documents of an operation are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Items<'a> {
    /// All that [`decide()`] applies.
    All,
    /// These of them, in this order.
    These(&'a [usize]),
}

/// A request for the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composed {
    /// The request. When there are no changes it is the captured one, byte for byte.
    pub request: Request,
    /// In what it differs, each kind once.
    pub changes: Vec<Change>,
    /// The documents that it writes, in the order in which it names them. Empty when the operation names
    /// none, or reads.
    pub items: Vec<usize>,
}

/// Why there is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Uncomposable {
    /// Only the response was seen.
    #[error("the exchange has no request")]
    NoRequest,
    /// No document is to be written.
    #[error("nothing of the exchange is to be sent")]
    Nothing,
    /// The body would have to be changed, and cannot be read.
    #[error("the body cannot be changed: {0}")]
    Body(#[from] Unreadable),
    /// The operation was not read from this request.
    #[error("the operation does not fit the request")]
    Mismatch,
}

/// Makes the request. Nothing in it changes but what must: see [`Change`].
///
/// A document whose id the primary chose gets it: `POST /i/_doc` becomes `POST /i/_doc/{id}?op_type=create`,
/// with the other parameters as they are. An item of a `_bulk` gets `"_id"` and keeps its action's name: an `index` stays
/// one, so that it may be sent twice and is not refused the second time. A data stream takes only
/// `create`, which is what was written there in the first place.
///
/// # Errors
/// When there is nothing to send, or when what must be changed cannot be.
pub fn compose(
    exchange: &Exchange,
    operation: &Operation,
    answer: &Answer,
    items: &Items<'_>,
    policy: &Policy,
) -> Result<Composed, Uncomposable> {
    let request = exchange.request.as_ref().ok_or(Uncomposable::NoRequest)?;
    if operation.access == Access::Read || operation.documents.is_empty() {
        return Ok(Composed {
            request: request.clone(),
            changes: Vec::new(),
            items: Vec::new(),
        });
    }
    let applied = match decide(exchange, operation, answer, policy).fate {
        Fate::Write(writes) => writes.into_iter().map(|write| write.item).collect(),
        Fate::Whole | Fate::Filtered(_) | Fate::Dropped(_) => Vec::new(),
    };
    let wanted: Vec<usize> = match items {
        Items::All => applied.clone(),
        Items::These(these) => these.to_vec(),
    };
    if wanted.is_empty() {
        return Err(Uncomposable::Nothing);
    }
    let all = operation.documents.len();
    let edits: Vec<Edit<'_>> = wanted
        .iter()
        .map(|item| edit(*item, operation, answer, *policy))
        .collect::<Option<_>>()
        .ok_or(Uncomposable::Mismatch)?;
    let mut changes = Vec::new();
    let mut note = |made: bool, change| {
        if made {
            changes.push(change);
        }
    };
    note(applied.len() < all, Change::ItemsLeftOut);
    note(wanted.len() < applied.len(), Change::Split);
    note(edits.iter().any(|edit| edit.id.is_some()), Change::IdPinned);
    note(
        edits.iter().any(|edit| !edit.conditions().0.is_empty()),
        Change::ConditionRemoved,
    );
    let mut request = request.clone();
    if operation.api == Api::Bulk {
        let in_order = wanted.iter().copied().eq(0..all);
        if !in_order || edits.iter().any(Edit::is_one) {
            bulk(&mut request, operation, &edits, &mut changes)?;
        }
    } else if let [edit] = edits.as_slice() {
        single(&mut request, edit);
    } else {
        return Err(Uncomposable::Mismatch);
    }
    Ok(Composed {
        request,
        changes,
        items: wanted,
    })
}

/// What must be changed for one document.
struct Edit<'a> {
    item: usize,
    document: &'a Document,
    /// The id that the primary chose.
    id: Option<&'a Bytes>,
    /// The primary accepted it, so a condition on the cluster's own counting was true.
    accepted: bool,
}

/// `None` when there is no such document.
fn edit<'a>(
    item: usize,
    operation: &'a Operation,
    answer: &'a Answer,
    policy: Policy,
) -> Option<Edit<'a>> {
    let document = operation.documents.get(item)?;
    let outcome: Option<&Answered> = match answer {
        Answer::Documents(answered) => answered.get(item),
        Answer::Status | Answer::Unknown => None,
    };
    let pinned = policy.pin_ids && has_no_id(document);
    Some(Edit {
        item,
        document,
        id: outcome
            .and_then(|outcome| outcome.id.as_ref())
            .filter(|_| pinned),
        accepted: outcome.is_some_and(|outcome| outcome.status < 300),
    })
}

impl Edit<'_> {
    fn is_one(&self) -> bool {
        self.id.is_some() || !self.conditions().0.is_empty()
    }

    /// The names of the conditions that are to go: in a URL, and in an action line with the spellings of
    /// Elasticsearch 6.
    const fn conditions(&self) -> (&'static [&'static [u8]], &'static [&'static str]) {
        match self.document.condition {
            Condition::Sequence if self.accepted => (
                &[b"if_seq_no", b"if_primary_term"],
                &["if_seq_no", "if_primary_term"],
            ),
            Condition::Version if self.accepted => (
                &[b"version", b"version_type"],
                &[
                    "version",
                    "_version",
                    "version_type",
                    "_version_type",
                    "versionType",
                    "_versionType",
                ],
            ),
            _ => (&[], &[]),
        }
    }
}

fn single(request: &mut Request, edit: &Edit<'_>) {
    if let Some(id) = edit.id {
        request.target = target::with_id(&request.target, id).into();
    }
    if let Some(left) = target::without(&request.target, edit.conditions().0) {
        request.target = left.into();
    }
}

fn bulk(
    request: &mut Request,
    operation: &Operation,
    edits: &[Edit<'_>],
    changes: &mut Vec<Change>,
) -> Result<(), Uncomposable> {
    let body = content::decoded(&request.headers, &request.body)?;
    let spans = Spans::new(&body, &operation.documents);
    let mut out = Vec::with_capacity(body.len() + 32 * edits.len());
    let mut write = |edit: &Edit<'_>| -> Option<()> {
        let span = spans.of(edit.item)?;
        let action = edit.document.lines.action.clone();
        let line = body.get(action.clone())?;
        out.extend_from_slice(body.get(span.start..action.start)?);
        if edit.is_one() {
            let id = edit.id.map(AsRef::as_ref);
            out.extend_from_slice(&action_line::edited(line, id, edit.conditions().1)?);
        } else {
            out.extend_from_slice(line);
        }
        out.extend_from_slice(body.get(action.end..span.end)?);
        if out.last() != Some(&b'\n') {
            out.push(b'\n');
        }
        Some(())
    };
    for edit in edits {
        write(edit).ok_or(Uncomposable::Mismatch)?;
    }
    if edits.len() == operation.documents.len() {
        out.extend_from_slice(body.get(spans.end()..).unwrap_or_default());
    }
    if matches!(body, Cow::Owned(_)) {
        request
            .headers
            .0
            .retain(|header| !header.name.eq_ignore_ascii_case(b"content-encoding"));
        changes.push(Change::Decoded);
    }
    request.body = Body {
        content: out.into(),
        extent: Extent::Whole,
    };
    Ok(())
}

/// Which bytes of the body belong to which item: its lines with what ends them, and the blank lines before.
struct Spans {
    /// Behind the last line of each item.
    ends: Vec<usize>,
}

impl Spans {
    fn new(body: &[u8], documents: &[Document]) -> Self {
        let end = |document: &Document| {
            let lines = &document.lines;
            let last = lines.source.as_ref().unwrap_or(&lines.action).end;
            let rest = body.get(last..).unwrap_or_default();
            rest.iter()
                .position(|b| *b == b'\n')
                .map_or(body.len(), |line_feed| last + line_feed + 1)
        };
        Self {
            ends: documents.iter().map(end).collect(),
        }
    }

    fn of(&self, item: usize) -> Option<std::ops::Range<usize>> {
        let start = match item.checked_sub(1) {
            None => 0,
            Some(before) => *self.ends.get(before)?,
        };
        Some(start..*self.ends.get(item)?)
    }

    fn end(&self) -> usize {
        self.ends.last().copied().unwrap_or_default()
    }
}
