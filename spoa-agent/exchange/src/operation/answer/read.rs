//! Reads answers to operations on documents. Nothing is kept of an answer but what [`Answered`] has room for:
//! sources and errors are passed over as they are parsed.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Answer, Answered, Done, Sequence};
use crate::operation::{Action, Api, Document, Operation, content};
use crate::{Headers, Response};

/// What a status says of a request as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Said {
    /// Below 300. The items of a `_bulk` have a status each.
    Accepted,
    /// 300 or more, and it was the cluster that said it, or a proxy that did not hand the request on.
    Refused,
    /// A proxy said 500, 502 or 504 for a cluster that may well have done it; or there is no status.
    Unsure,
}

/// The status that the server sent where HAProxy tells it, otherwise the one that the client saw.
#[must_use]
pub fn status(response: &Response) -> u16 {
    response
        .server_status
        .filter(|status| *status >= 200)
        .unwrap_or(response.status)
}

/// What the status says of the request.
#[must_use]
pub fn said(response: &Response) -> Said {
    match status(response) {
        0..=199 => Said::Unsure,
        200..=299 => Said::Accepted,
        500 | 502 | 504 if !is_from_cluster(response) => Said::Unsure,
        _ => Said::Refused,
    }
}

/// The `type` of the error of a whole answer.
#[must_use]
pub fn error_type(response: &Response) -> Option<Bytes> {
    let body = content::decoded(&response.headers, &response.body).ok()?;
    let answer: Refusal<'_> = serde_json::from_slice(&body).ok()?;
    answer.error?.kind.map(|kind| kind.to_bytes(&[]))
}

/// What became of each document that the operation names.
///
/// A field that the answer lacks, for example because of `filter_path`, is `None`. A single document that
/// was accepted or refused is known to be so by the status alone, whatever the body is.
#[must_use]
pub fn read(operation: &Operation, response: Option<&Response>) -> Answer {
    let documents: Vec<&Document> = operation.documents.iter().collect();
    read_documents(operation.api, &documents, response)
}

/// The same for the answer to some of the items, by their numbers, in the order in which they were sent.
#[must_use]
pub fn read_some(operation: &Operation, items: &[usize], response: Option<&Response>) -> Answer {
    let documents: Option<Vec<&Document>> = items
        .iter()
        .map(|item| operation.documents.get(*item))
        .collect();
    match documents {
        Some(documents) => read_documents(operation.api, &documents, response),
        None => Answer::Unknown,
    }
}

fn read_documents(api: Api, documents: &[&Document], response: Option<&Response>) -> Answer {
    if documents.is_empty() {
        return Answer::Status;
    }
    let Some(response) = response else {
        return Answer::Unknown;
    };
    let answered = match said(response) {
        Said::Unsure => None,
        Said::Refused => Some(refused(api, documents, response)),
        Said::Accepted => accepted(api, documents, response),
    };
    answered.map_or(Answer::Unknown, Answer::Documents)
}

fn accepted(api: Api, documents: &[&Document], response: &Response) -> Option<Vec<Answered>> {
    let status = status(response);
    let body = content::decoded(&response.headers, &response.body).ok();
    match (api, documents) {
        (Api::Bulk, _) => bulk(&body?, documents, status),
        (_, [document]) => {
            let several = |body: &Cow<'_, [u8]>| {
                document.action == Action::Get && memchr::memmem::find(body, b"\"docs\"").is_some()
            };
            let item = match body {
                Some(body) if several(&body) => return Some(mget_of_one(&body, document, status)),
                Some(body) => single(&body, document, status),
                None => by_status(document, status),
            };
            Some(vec![located(item, &response.headers)])
        }
        _ => mget(&body?, documents, status),
    }
}

/// The whole answer's status and error for each of the documents. A `404` to the `GET` or `DELETE` of
/// a document is a regular answer too.
fn refused(api: Api, documents: &[&Document], response: &Response) -> Vec<Answered> {
    let status = status(response);
    let body = content::decoded(&response.headers, &response.body).unwrap_or_default();
    if let (false, [document]) = (api == Api::Bulk, documents) {
        return vec![single(&body, document, status)];
    }
    let error = serde_json::from_slice(&body)
        .ok()
        .and_then(|answer: Refusal<'_>| answer.error?.kind)
        .map(|kind| kind.to_bytes(&[]));
    let one = Answered {
        status,
        error,
        ..Answered::default()
    };
    vec![one; documents.len()]
}

fn single(body: &[u8], document: &Document, status: u16) -> Answered {
    match serde_json::from_slice::<Item<'_>>(body) {
        // A source that is read by itself (`_source`) has fields of any name.
        Ok(item) if status < 300 && document.action == Action::Get && !item.tells_document() => {
            by_status(document, status)
        }
        Ok(item) => {
            let mut answered = item.answered(document, None, status);
            // The status inside a body is that of its error, which is the same.
            answered.status = status;
            if answered.result == Done::Unknown && answered.error.is_none() {
                answered.result = by_status(document, status).result;
            }
            answered
        }
        Err(_) => by_status(document, status),
    }
}

/// What the status alone says.
fn by_status(document: &Document, status: u16) -> Answered {
    let result = match (document.action, status) {
        (Action::Get, 200) => Done::Found,
        (Action::Get, 404) => Done::NotFound,
        (_, 201) => Done::Created,
        _ => Done::Unknown,
    };
    Answered {
        status,
        result,
        ..Answered::default()
    }
}

/// The `Location` of a created document, `/index/_doc/id`, says its id when the body does not.
fn located(mut answered: Answered, headers: &Headers) -> Answered {
    if answered.id.is_none() && answered.status == 201 {
        let mut segments = headers
            .get("location")
            .and_then(|path| path.split(|b| *b == b'?').next()?.strip_prefix(b"/"))
            .into_iter()
            .flat_map(|path| path.split(|b| *b == b'/'));
        let (index, _kind, id) = (segments.next(), segments.next(), segments.next());
        if segments.next().is_none() {
            answered.id = id.and_then(form_decoded);
            answered.index = answered.index.or_else(|| index.and_then(form_decoded));
        }
    }
    answered
}

/// As `java.net.URLEncoder` encodes, by which the clusters write `Location`: a `+` is a space.
fn form_decoded(text: &[u8]) -> Option<Bytes> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [*rest.next()?, *rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => *byte,
        });
    }
    (!out.is_empty()).then(|| out.into())
}

fn bulk(body: &[u8], documents: &[&Document], status: u16) -> Option<Vec<Answered>> {
    let answer: Several = parse::<BulkItem<'_>>(body, documents)?;
    let Some(mut items) = answer.entries else {
        // `filter_path=errors`: none of them failed.
        return (answer.errors == Some(false)).then(|| {
            let one = Answered {
                status,
                ..Answered::default()
            };
            vec![one; documents.len()]
        });
    };
    for item in items.iter_mut().filter(|item| item.status == 0) {
        // `filter_path` without `items.*.status`.
        if item.error.is_some() || answer.errors != Some(false) {
            return None;
        }
        item.status = status;
    }
    Some(items)
}

fn mget(body: &[u8], documents: &[&Document], status: u16) -> Option<Vec<Answered>> {
    let mut items = parse::<Item<'_>>(body, documents)?.entries?;
    for item in &mut items {
        item.status = status;
    }
    Some(items)
}

/// A source that is read by itself (`_source`) may have a field `docs` too; then the status says all.
fn mget_of_one(body: &[u8], document: &Document, status: u16) -> Vec<Answered> {
    let at_top = serde_json::from_slice::<Item<'_>>(body).is_ok_and(|item| item.tells_document());
    if at_top {
        return vec![single(body, document, status)];
    }
    mget(body, &[document], status).unwrap_or_else(|| vec![by_status(document, status)])
}

/// Whether the body of an error is the cluster's own: it says `error` and repeats the status. A body that
/// is not whole is judged by its type.
fn is_from_cluster(response: &Response) -> bool {
    if response.server_status.is_some_and(|status| status >= 200) {
        return true;
    }
    let Ok(body) = content::decoded(&response.headers, &response.body) else {
        return response
            .headers
            .get("content-type")
            .is_some_and(|kind| kind.to_ascii_lowercase().starts_with(b"application/"));
    };
    serde_json::from_slice(&body)
        .is_ok_and(|answer: Refusal<'_>| answer.error.is_some() && answer.status.is_some())
}

/// An answer with a list of items or documents.
struct Several {
    errors: Option<bool>,
    /// `None` when there is no list.
    entries: Option<Vec<Answered>>,
}

fn parse<'de, E: Entry<'de>>(body: &'de [u8], documents: &[&Document]) -> Option<Several> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let seed = SeveralSeed {
        documents,
        entry: PhantomData::<E>,
    };
    let answer = seed.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some(answer)
}

/// One element of a list, which must be about the document in its place.
trait Entry<'de>: Deserialize<'de> {
    /// `None` when it is about another one.
    fn matched(self, document: &Document, last_index: Option<&Bytes>) -> Option<Answered>;
}

impl<'de> Entry<'de> for Item<'de> {
    fn matched(self, document: &Document, last_index: Option<&Bytes>) -> Option<Answered> {
        let other = match (&document.id, &self.id) {
            (Some(asked), Some(answered)) => asked != answered.0.as_bytes(),
            _ => false,
        };
        (!other).then(|| self.answered(document, last_index, 0))
    }
}

impl<'de> Entry<'de> for BulkItem<'de> {
    fn matched(self, document: &Document, last_index: Option<&Bytes>) -> Option<Answered> {
        let (action, item) = match self {
            Self::Index(item) => (Action::Index, item),
            Self::Create(item) => (Action::Create, item),
            Self::Update(item) => (Action::Update, item),
            Self::Delete(item) => (Action::Delete, item),
        };
        if action != document.action {
            return None;
        }
        item.matched(document, last_index)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum BulkItem<'a> {
    #[serde(borrow)]
    Index(Item<'a>),
    #[serde(borrow)]
    Create(Item<'a>),
    #[serde(borrow)]
    Update(Item<'a>),
    #[serde(borrow)]
    Delete(Item<'a>),
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, rename = "_index")]
    index: Option<Text<'a>>,
    #[serde(borrow, rename = "_id")]
    id: Option<Text<'a>>,
    #[serde(rename = "_version")]
    version: Option<i64>,
    #[serde(rename = "_seq_no")]
    number: Option<i64>,
    #[serde(rename = "_primary_term")]
    term: Option<i64>,
    #[serde(borrow)]
    result: Option<Text<'a>>,
    found: Option<bool>,
    status: Option<u16>,
    #[serde(borrow)]
    error: Option<Failure<'a>>,
}

impl Item<'_> {
    const fn tells_document(&self) -> bool {
        self.id.is_some() || self.found.is_some()
    }

    /// `status` when the item has none of its own.
    fn answered(self, document: &Document, last_index: Option<&Bytes>, status: u16) -> Answered {
        let result = match (self.result.as_ref().map(|word| &*word.0), self.found) {
            (Some("created"), _) => Done::Created,
            (Some("updated"), _) => Done::Updated,
            (Some("deleted"), _) => Done::Deleted,
            (Some("noop"), _) => Done::Noop,
            (Some("not_found"), _) | (None, Some(false)) => Done::NotFound,
            (None, Some(true)) if document.action == Action::Get => Done::Found,
            _ => Done::Unknown,
        };
        let error = self.error.map(|failure| {
            let kind = failure.kind.map(|kind| kind.to_bytes(&[]));
            kind.unwrap_or_default()
        });
        Answered {
            status: self.status.unwrap_or(status),
            index: self
                .index
                .map(|index| index.to_bytes(&[Some(&document.index), last_index])),
            id: self.id.map(|id| id.to_bytes(&[document.id.as_ref()])),
            sequence: sequence(self.term, self.number),
            version: self.version.and_then(|version| version.try_into().ok()),
            result,
            error,
        }
    }
}

/// A shard that has not numbered a write says -2, in term 0.
fn sequence(term: Option<i64>, number: Option<i64>) -> Option<Sequence> {
    let term = u64::try_from(term?).ok().filter(|term| *term > 0)?;
    let number = number?.try_into().ok()?;
    Some(Sequence { term, number })
}

#[derive(Deserialize)]
struct Refusal<'a> {
    #[serde(borrow)]
    error: Option<Failure<'a>>,
    status: Option<u16>,
}

/// An error: an object with a `type`, or a mere sentence, which has no type.
struct Failure<'a> {
    kind: Option<Text<'a>>,
}

/// A string without a copy where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    /// Its bytes: those of an equal known value where there is one, so that they are kept once.
    fn to_bytes(&self, known: &[Option<&Bytes>]) -> Bytes {
        let same = known
            .iter()
            .flatten()
            .find(|known| **known == self.0.as_bytes());
        same.map_or_else(
            || Bytes::copy_from_slice(self.0.as_bytes()),
            |known| Bytes::clone(known),
        )
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Failure<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(field_identifier, rename_all = "lowercase")]
        enum Key {
            Type,
            #[serde(other)]
            Other,
        }
        struct FailureVisitor;
        impl<'de> Visitor<'de> for FailureVisitor {
            type Value = Failure<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an error")
            }

            fn visit_str<E>(self, _: &str) -> Result<Failure<'de>, E> {
                Ok(Failure { kind: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Failure<'de>, A::Error> {
                let mut kind = None;
                while let Some(key) = map.next_key()? {
                    match key {
                        Key::Type => kind = Some(map.next_value()?),
                        Key::Other => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(Failure { kind })
            }
        }
        deserializer.deserialize_any(FailureVisitor)
    }
}

struct SeveralSeed<'d, E> {
    documents: &'d [&'d Document],
    entry: PhantomData<E>,
}

impl<'de, E: Entry<'de>> DeserializeSeed<'de> for SeveralSeed<'_, E> {
    type Value = Several;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Several, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, E: Entry<'de>> Visitor<'de> for SeveralSeed<'_, E> {
    type Value = Several;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a list of items")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Several, A::Error> {
        #[derive(Deserialize)]
        #[serde(field_identifier, rename_all = "lowercase")]
        enum Key {
            Errors,
            Items,
            Docs,
            #[serde(other)]
            Other,
        }
        let mut several = Several {
            errors: None,
            entries: None,
        };
        while let Some(key) = map.next_key()? {
            match key {
                Key::Errors => several.errors = Some(map.next_value()?),
                Key::Items | Key::Docs => {
                    several.entries = Some(map.next_value_seed(ListSeed {
                        documents: self.documents,
                        entry: PhantomData::<E>,
                    })?);
                }
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(several)
    }
}

struct ListSeed<'d, E> {
    documents: &'d [&'d Document],
    entry: PhantomData<E>,
}

impl<'de, E: Entry<'de>> DeserializeSeed<'de> for ListSeed<'_, E> {
    type Value = Vec<Answered>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, E: Entry<'de>> Visitor<'de> for ListSeed<'_, E> {
    type Value = Vec<Answered>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one item for each document")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut answered: Vec<Answered> = Vec::with_capacity(self.documents.len());
        for document in self.documents {
            let entry: E = list
                .next_element()?
                .ok_or_else(|| A::Error::custom("fewer items than documents"))?;
            let last_index = answered.last().and_then(|last| last.index.as_ref());
            let item = entry
                .matched(document, last_index)
                .ok_or_else(|| A::Error::custom("an item of another document"))?;
            answered.push(item);
        }
        match list.next_element::<IgnoredAny>()? {
            None => Ok(answered),
            Some(_) => Err(A::Error::custom("more items than documents")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::operation::{Access, Indices, Reach, Refresh, bulk};
    use crate::{Body, Extent, Header};

    fn operation(api: Api, documents: Vec<Document>) -> Operation {
        Operation {
            api,
            access: Access::Write,
            reach: Reach::Documents,
            indices: Indices::default(),
            documents,
            refresh: Refresh::Later,
        }
    }

    /// Documents as items of a `_bulk`, which need not come from one.
    fn documents(lines: &[&str]) -> Vec<Document> {
        let body: String = lines
            .iter()
            .map(|line| match line.contains("delete") {
                true => format!("{line}\n"),
                false => format!("{line}\n{{}}\n"),
            })
            .collect();
        bulk::items(body.as_bytes(), b"test", None, None).unwrap()
    }

    fn one(line: &str) -> Operation {
        operation(Api::Unknown, documents(&[line]))
    }

    fn gets(ids: &[&str]) -> Operation {
        let lines: Vec<String> = ids
            .iter()
            .map(|id| format!("{{\"index\":{{\"_id\":\"{id}\"}}}}"))
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let mut documents = documents(&lines);
        for document in &mut documents {
            document.action = Action::Get;
        }
        operation(Api::Unknown, documents)
    }

    fn response(status: u16, body: &str) -> Response {
        Response {
            status,
            body: Body {
                content: Bytes::copy_from_slice(body.as_bytes()),
                extent: Extent::Whole,
            },
            ..Response::default()
        }
    }

    fn cut(mut response: Response) -> Response {
        response.body.extent = Extent::Cut { missing: None };
        response
    }

    fn with_header(mut response: Response, name: &'static str, value: &'static str) -> Response {
        response.headers.0.push(Header {
            name: Bytes::from_static(name.as_bytes()),
            value: Bytes::from_static(value.as_bytes()),
        });
        response
    }

    #[track_caller]
    fn answered(operation: &Operation, response: &Response) -> Vec<Answered> {
        match read(operation, Some(response)) {
            Answer::Documents(documents) => documents,
            other => panic!("{other:?}"),
        }
    }

    const AUTO_ID: &str = r#"{"index":{}}"#;
    const INDEX: &str = r#"{"index":{"_id":"1"}}"#;
    const UPDATE: &str = r#"{"update":{"_id":"1"}}"#;
    const DELETE: &str = r#"{"delete":{"_id":"1"}}"#;

    #[test]
    fn a_created_document_tells_the_id_that_the_cluster_chose_and_its_sequence() {
        let body = r#"{"_index":"test","_type":"_doc","_id":"W0tpsmIBdwcYyG50zbta","_version":1,"result":"created","_shards":{"total":2,"successful":2,"failed":0},"_seq_no":7,"_primary_term":2}"#;
        let answered = answered(&one(AUTO_ID), &response(201, body));
        assert_eq!(
            answered,
            [Answered {
                status: 201,
                index: Some(Bytes::from_static(b"test")),
                id: Some(Bytes::from_static(b"W0tpsmIBdwcYyG50zbta")),
                sequence: Some(Sequence { term: 2, number: 7 }),
                version: Some(1),
                result: Done::Created,
                error: None,
            }]
        );
    }

    #[test]
    fn results_of_single_writes_are_read() {
        for (line, status, body, result) in [
            (
                INDEX,
                200,
                r#"{"_index":"test","_type":"doc","_id":"1","_version":2,"result":"updated","_seq_no":1,"_primary_term":1}"#,
                Done::Updated,
            ),
            (
                UPDATE,
                200,
                r#"{"_index":"test","_id":"1","_version":2,"result":"noop","_shards":{"total":0,"successful":0,"failed":0},"_seq_no":1,"_primary_term":1,"get":{"_seq_no":9,"found":true,"_source":{"result":"x"}}}"#,
                Done::Noop,
            ),
            (
                DELETE,
                200,
                r#"{"_index":"test","_id":"1","_version":3,"result":"deleted","_seq_no":1,"_primary_term":1}"#,
                Done::Deleted,
            ),
            (
                DELETE,
                404,
                r#"{"_index":"test","_id":"1","_version":1,"result":"not_found","_seq_no":1,"_primary_term":1}"#,
                Done::NotFound,
            ),
        ] {
            let item = answered(&one(line), &response(status, body)).remove(0);
            assert_eq!((item.status, item.result), (status, result), "{body}");
            assert_eq!(item.sequence, Some(Sequence { term: 1, number: 1 }));
            assert_eq!(item.error, None);
        }
    }

    #[test]
    fn a_refused_write_tells_its_error() {
        let body = r#"{"error":{"root_cause":[{"type":"x","reason":"..."}],"type":"version_conflict_engine_exception","reason":"[1]: version conflict","index_uuid":"u","shard":"0","index":"test"},"status":409}"#;
        let refusal = response(409, body);
        let item = answered(&one(INDEX), &refusal).remove(0);
        assert_eq!(item.status, 409);
        assert_eq!(
            item.error.as_deref(),
            Some(&b"version_conflict_engine_exception"[..])
        );
        assert_eq!(error_type(&refusal), item.error);
        let sentence = r#"{"error":"Incorrect HTTP method for uri [/test/_doc] and method [PATCH]","status":405}"#;
        let item = answered(&one(INDEX), &response(405, sentence)).remove(0);
        assert_eq!(item.error.as_deref(), Some(&b""[..]));
    }

    #[test]
    fn a_single_document_is_known_to_be_refused_or_accepted_without_a_body() {
        let item = answered(&one(INDEX), &cut(response(400, r#"{"error":{"ro"#))).remove(0);
        assert_eq!((item.status, item.error), (400, None));
        let item = answered(&one(INDEX), &cut(response(201, ""))).remove(0);
        assert_eq!((item.status, item.result), (201, Done::Created));
        assert_eq!((item.id, item.sequence), (None, None));
    }

    #[test]
    fn the_location_tells_the_id_when_the_body_does_not() {
        let response = with_header(
            response(201, r#"{"result":"created"}"#),
            "location",
            "/test/_doc/a%2Fb+c?routing=r",
        );
        let item = answered(&one(AUTO_ID), &response).remove(0);
        assert_eq!(item.id.as_deref(), Some(&b"a/b c"[..]));
        assert_eq!(item.index.as_deref(), Some(&b"test"[..]));
        assert_eq!(item.sequence, None);
    }

    #[test]
    fn reads_tell_what_was_found() {
        let get = gets(&["1"]);
        let found = r#"{"_index":"test","_type":"_doc","_id":"1","_version":4,"_seq_no":3,"_primary_term":1,"found":true,"_source":{"result":"deleted","docs":[1]}}"#;
        let item = answered(&get, &response(200, found)).remove(0);
        assert_eq!((item.result, item.version), (Done::Found, Some(4)));
        let missing = r#"{"_index":"test","_id":"1","found":false}"#;
        let item = answered(&get, &response(404, missing)).remove(0);
        assert_eq!((item.result, item.sequence), (Done::NotFound, None));
        for (status, result) in [(200, Done::Found), (404, Done::NotFound)] {
            let head = answered(&get, &response(status, "")).remove(0);
            assert_eq!(head.result, result);
        }
        let source = r#"{"result":"deleted","docs":[{"_id":"2"}],"status":404,"_version":0}"#;
        let item = answered(&get, &response(200, source)).remove(0);
        assert_eq!(
            (item.status, item.result, item.version),
            (200, Done::Found, None)
        );
    }

    #[test]
    fn items_of_a_bulk_have_a_status_each() {
        let operation = operation(Api::Bulk, documents(&[AUTO_ID, DELETE, UPDATE]));
        let body = r#"{"took":30,"errors":true,"items":[
            {"index":{"_index":".ds-test-000001","_type":"_doc","_id":"auto","_version":1,"result":"created","_shards":{"total":2,"successful":1,"failed":0},"_seq_no":0,"_primary_term":1,"status":201}},
            {"delete":{"_index":"test","_type":"_doc","_id":"1","_version":1,"result":"not_found","_seq_no":1,"_primary_term":1,"status":404}},
            {"update":{"_index":"test","_type":"_doc","_id":"1","status":429,"error":{"type":"es_rejected_execution_exception","reason":"..."}}}]}"#;
        let items = answered(&operation, &response(200, body));
        assert_eq!(items[0].id.as_deref(), Some(&b"auto"[..]));
        assert_eq!(items[0].index.as_deref(), Some(&b".ds-test-000001"[..]));
        assert_eq!((items[1].status, items[1].result), (404, Done::NotFound));
        assert_eq!(items[2].status, 429);
        assert_eq!(
            items[2].error.as_deref(),
            Some(&b"es_rejected_execution_exception"[..])
        );
        let last_two = r#"{"items":[{"delete":{"_id":"1","status":200}},{"update":{"_id":"1","status":200}}]}"#;
        let Answer::Documents(items) =
            read_some(&operation, &[1, 2], Some(&response(200, last_two)))
        else {
            panic!("the answer to two items");
        };
        assert_eq!(items.len(), 2);
    }

    #[test]
    fn a_bulk_whose_items_do_not_agree_is_unknown() {
        let operation = operation(Api::Bulk, documents(&[INDEX, DELETE]));
        for items in [
            r#"{"index":{"_id":"1","status":200}}"#,
            r#"{"index":{"_id":"1","status":200}},{"delete":{"_id":"1","status":200}},{"delete":{"_id":"1","status":200}}"#,
            r#"{"index":{"_id":"2","status":200}},{"delete":{"_id":"1","status":200}}"#,
            r#"{"delete":{"_id":"1","status":200}},{"index":{"_id":"1","status":200}}"#,
            r#"{"index":{"_id":"1","status":200}},{"delete":{"_id":"1"}}"#,
            r#"{"index":{"_id":"1","status":200}},{}"#,
        ] {
            let body = format!("{{\"took\":1,\"errors\":true,\"items\":[{items}]}}");
            assert_eq!(
                read(&operation, Some(&response(200, &body))),
                Answer::Unknown,
                "{items}"
            );
        }
        let cut = cut(response(200, r#"{"took":1,"errors":false,"items":["#));
        assert_eq!(read(&operation, Some(&cut)), Answer::Unknown);
        assert_eq!(read(&operation, None), Answer::Unknown);
        assert_eq!(
            read(&operation, Some(&response(200, "[1]"))),
            Answer::Unknown
        );
    }

    #[test]
    fn filtered_answers_of_a_bulk_tell_what_they_can() {
        let operation = operation(Api::Bulk, documents(&[AUTO_ID, DELETE]));
        let items = answered(&operation, &response(200, r#"{"took":1,"errors":false}"#));
        assert_eq!(
            (items[0].status, &items[0].id, items.len()),
            (200, &None, 2)
        );
        let logstash = r#"{"errors":true,"items":[{"index":{"status":400,"error":{"type":"mapper_parsing_exception"}}},{"delete":{"status":200}}]}"#;
        let items = answered(&operation, &response(200, logstash));
        assert_eq!((items[0].status, items[1].status), (400, 200));
        let failed = read(&operation, Some(&response(200, r#"{"errors":true}"#)));
        assert_eq!(failed, Answer::Unknown);
    }

    #[test]
    fn a_bulk_that_was_refused_as_a_whole_did_nothing() {
        let operation = operation(Api::Bulk, documents(&[AUTO_ID, DELETE]));
        let body = r#"{"error":{"root_cause":[],"type":"circuit_breaking_exception","reason":"...","bytes_wanted":1},"status":429}"#;
        let items = answered(&operation, &response(429, body));
        assert_eq!(items.len(), 2);
        assert!(
            items
                .iter()
                .all(|item| item.status == 429 && item.error.is_some())
        );
    }

    #[test]
    fn documents_of_an_mget_are_matched_by_their_place() {
        let body = r#"{"docs":[{"_index":"test","_id":"1","_version":1,"_seq_no":5,"_primary_term":1,"found":true},{"_index":"test","_id":"2","found":false},{"_index":"no","_id":"3","error":{"type":"index_not_found_exception"}}]}"#;
        let items = answered(&gets(&["1", "2", "3"]), &response(200, body));
        assert_eq!(items[0].result, Done::Found);
        assert_eq!(items[1].result, Done::NotFound);
        assert!(items[2].error.is_some());
        let one =
            r#"{"docs":[{"_index":"test","_id":"1","_seq_no":5,"_primary_term":1,"found":true}]}"#;
        let items = answered(&gets(&["1"]), &response(200, one));
        assert_eq!(items[0].sequence, Some(Sequence { term: 1, number: 5 }));
    }

    #[test]
    fn what_a_gateway_says_for_the_cluster_is_not_the_clusters_word() {
        let gateway = response(504, "<html><body><h1>504 Gateway Time-out</h1>");
        assert_eq!(said(&gateway), Said::Unsure);
        assert_eq!(read(&one(INDEX), Some(&gateway)), Answer::Unknown);
        let own = response(
            500,
            r#"{"error":{"type":"timeout_exception"},"status":500}"#,
        );
        assert_eq!(said(&own), Said::Refused);
        assert_eq!(said(&response(503, "no server")), Said::Refused);
        assert_eq!(said(&response(0, "")), Said::Unsure);
        let rewritten = Response {
            server_status: Some(200),
            ..response(404, "")
        };
        assert_eq!(said(&rewritten), Said::Accepted);
    }

    #[test]
    fn a_compressed_answer_is_read() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(br#"{"_id":"x","result":"created"}"#)
            .unwrap();
        let mut response = with_header(response(201, ""), "content-encoding", "gzip");
        response.body.content = gzip.finish().unwrap().into();
        let item = answered(&one(AUTO_ID), &response).remove(0);
        assert_eq!(item.id.as_deref(), Some(&b"x"[..]));
    }

    #[test]
    fn an_operation_without_documents_is_told_by_its_status() {
        let none = operation(Api::Unknown, Vec::new());
        assert_eq!(read(&none, Some(&response(200, "{}"))), Answer::Status);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(
            body in proptest::collection::vec(any::<u8>(), 0..100),
            status in 0..1000_u16,
            at in any::<proptest::sample::Index>(),
        ) {
            let mut damaged = br#"{"took":1,"errors":false,"items":[{"index":{"_id":"1","_seq_no":1,"_primary_term":1,"status":200,"error":{"type":"a\u0062"}}}]}"#.to_vec();
            let at = at.index(damaged.len());
            damaged.splice(at..=at, body.iter().copied().take(3));
            for body in [body, damaged] {
                let mut answer = response(status, "");
                answer.body.content = body.into();
                for operation in [one(INDEX), gets(&["1", "2"]), operation(Api::Bulk, documents(&[INDEX]))] {
                    if let Answer::Documents(read) = read(&operation, Some(&answer)) {
                        prop_assert_eq!(read.len(), operation.documents.len());
                    }
                }
            }
        }
    }
}
