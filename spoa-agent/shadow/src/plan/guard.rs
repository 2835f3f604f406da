//! Keeps writes from being done twice where that would matter: scripted updates, and updates with an `upsert`
//! of their own.
//!
//! Before the first attempt the engine reads the state of the documents on the target ([`request`],
//! [`read`]) and notes it durably. When it cannot tell whether an attempt was done, because the connection broke
//! or the agent was killed, it reads the state again: if it is another one, the write was done ([`is_done`]).
//! That is certain as long as nothing else writes these documents in between: the scheduler runs one write
//! of a document at a time, and [`guard_groups`] keeps two of them out of one request.
//!
//! The state is noted behind the notes of what was done before, in the same order: otherwise an earlier write of
//! the document that goes again would look like this one.
//!
//! What a crash leaves open is only whether a write without effect was done, which makes no difference.

use std::collections::HashMap;

use bytes::Bytes;
use exchange::operation::answer::{Answer, Answered, Done, Sequence, read as read_answer};
use exchange::operation::{
    Access, Action, Api, Condition, Document, Lines, Operation, Reach, Refresh,
};
use exchange::{Body, Exchange, Extent, Header, Request, Response};
use serde::Serialize;

/// The state of a document on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DocumentState {
    /// It is not there, or its index is not.
    Missing,
    /// This write made it what it is.
    At(Sequence),
    /// The same by its `_version`, where the cluster does not tell sequences (Elasticsearch before 6.7).
    Version(u64),
    /// The answer does not tell.
    Unknown,
}

/// The documents of an operation that must not be written twice.
#[must_use]
pub fn needs_guard(operation: &Operation) -> Vec<usize> {
    let documents = operation.documents.iter().enumerate();
    let guarded = documents.filter(|(_, document)| document.scripted);
    guarded.map(|(item, _)| item).collect()
}

/// Whether the operation, done again *after* later writes, could undo them: it writes and names no documents. Its
/// completion must be durable before anything that conflicts with it goes.
#[must_use]
pub const fn needs_fence(operation: &Operation) -> bool {
    matches!(operation.access, Access::Write) && operation.documents.is_empty()
}

/// Splits the documents so that what must not overtake is in requests of its own, which are to be sent one after
/// the other. Mostly there is one group. Two kinds of writes share no request with earlier ones of their document:
///
/// * One that needs a guard, nor is it followed by another in its request: the guard could not tell them apart.
/// * An update behind a `create`: if the create alone failed, an update that creates what is not there
///   (`doc_as_upsert`) would take its place, and the create could not be done any more.
///
/// Documents are told apart by their ids alone, for two names can be one index.
#[must_use]
pub fn guard_groups(operation: &Operation, items: &[usize]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut group: Vec<usize> = Vec::new();
    let mut ids: HashMap<&Bytes, InGroup> = HashMap::new();
    for item in items {
        let document = operation.documents.get(*item);
        if let Some((document, id)) = document.and_then(|d| Some((d, d.id.as_ref()?))) {
            if ids
                .get(id)
                .is_some_and(|earlier| earlier.excludes(document))
            {
                groups.push(std::mem::take(&mut group));
                ids.clear();
            }
            let in_group = ids.entry(id).or_default();
            in_group.guarded |= document.scripted;
            in_group.created |= document.action == Action::Create;
        }
        group.push(*item);
    }
    if !group.is_empty() {
        groups.push(group);
    }
    groups
}

/// What a group has of one document.
#[derive(Default)]
struct InGroup {
    guarded: bool,
    created: bool,
}

impl InGroup {
    fn excludes(&self, later: &Document) -> bool {
        self.guarded || later.scripted || (self.created && later.action == Action::Update)
    }
}

/// The request that asks for the state of these documents: one `_mget`, in real time, without their sources.
/// It has the exchange's id and header fields, except those about its body and the form of the answer.
/// `None` when the exchange has no request, or a document has no id.
#[must_use]
pub fn request(exchange: &Exchange, operation: &Operation, items: &[usize]) -> Option<Request> {
    const ABOUT_BODIES: [&[u8]; 8] = [
        b"accept",
        b"accept-encoding",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"content-md5",
        b"expect",
        b"transfer-encoding",
    ];
    let captured = exchange.request.as_ref()?;
    let docs: Option<Vec<Asked<'_>>> = items
        .iter()
        .map(|item| Asked::of(operation.documents.get(*item)?))
        .collect();
    let body = serde_json::to_vec(&Question { docs: docs? }).ok()?;
    let mut request = captured.clone();
    request.method = Bytes::from_static(b"POST");
    request.target = Bytes::from_static(b"/_mget?_source=false");
    request.headers.0.retain(|header| {
        !ABOUT_BODIES
            .iter()
            .any(|name| header.name.eq_ignore_ascii_case(name))
    });
    request.headers.0.push(Header {
        name: Bytes::from_static(b"content-type"),
        value: Bytes::from_static(b"application/json"),
    });
    request.body = Body {
        content: body.into(),
        extent: Extent::Whole,
    };
    Some(request)
}

/// Reads the target's answer to [`request`]: one state for each item, in the same order.
#[must_use]
pub fn read(operation: &Operation, items: &[usize], response: &Response) -> Vec<DocumentState> {
    let unknown = || vec![DocumentState::Unknown; items.len()];
    let documents: Option<Vec<Document>> = items
        .iter()
        .map(|item| operation.documents.get(*item).map(asked))
        .collect();
    let Some(documents) = documents else {
        return unknown();
    };
    let question = Operation {
        api: Api::Unknown,
        access: Access::Read,
        reach: Reach::Documents,
        indices: operation.indices.clone(),
        documents,
        refresh: Refresh::Later,
    };
    match read_answer(&question, Some(response)) {
        Answer::Documents(answered) => answered.iter().map(state).collect(),
        Answer::Status | Answer::Unknown => unknown(),
    }
}

/// Whether the write was done between the two states. `None` when that cannot be told.
#[must_use]
pub fn is_done(before: DocumentState, now: DocumentState) -> Option<bool> {
    let told = |state| state != DocumentState::Unknown;
    (told(before) && told(now)).then_some(before != now)
}

fn state(answered: &Answered) -> DocumentState {
    if answered.status >= 300 {
        return DocumentState::Unknown;
    }
    match (answered.result, &answered.error) {
        (_, Some(error)) if error.as_ref() == b"index_not_found_exception" => {
            DocumentState::Missing
        }
        (Done::NotFound, None) => DocumentState::Missing,
        (Done::Found, None) => match (answered.sequence, answered.version) {
            (Some(sequence), _) => DocumentState::At(sequence),
            (None, Some(version)) => DocumentState::Version(version),
            (None, None) => DocumentState::Unknown,
        },
        _ => DocumentState::Unknown,
    }
}

fn asked(document: &Document) -> Document {
    Document {
        action: Action::Get,
        condition: Condition::None,
        scripted: false,
        lines: Lines::default(),
        ..document.clone()
    }
}

#[derive(Serialize)]
struct Question<'a> {
    docs: Vec<Asked<'a>>,
}

#[derive(Serialize)]
struct Asked<'a> {
    #[serde(rename = "_index")]
    index: &'a str,
    /// Elasticsearch 8 refuses types; `_doc` is no type of its own since 7.
    #[serde(rename = "_type", skip_serializing_if = "Option::is_none")]
    mapping_type: Option<&'a str>,
    #[serde(rename = "_id")]
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    routing: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// `None` when it has no id, or when a name is not text, which JSON cannot say.
    fn of(document: &'a Document) -> Option<Self> {
        let text = |bytes: &'a Bytes| std::str::from_utf8(bytes).ok();
        let optional = |bytes: &'a Option<Bytes>| bytes.as_ref().map(text);
        let mapping_type = optional(&document.mapping_type).unwrap_or(Some("_doc"))?;
        Some(Self {
            index: text(&document.index)?,
            mapping_type: (mapping_type != "_doc").then_some(mapping_type),
            id: text(document.id.as_ref()?)?,
            routing: match optional(&document.routing) {
                None => None,
                Some(routing) => Some(routing?),
            },
        })
    }
}
