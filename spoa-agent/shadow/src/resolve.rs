//! Documents that the captured answers leave ambiguous, settled by what the primary has now. Pure: requests
//! out, answers in.
//!
//! The primary is asked for the document in real time, and the shadow gets what it answers: the source, or
//! a delete. The answer also tells which write it shows (`_seq_no`), the *floor*: captured writes of that
//! document up to it are in what was sent already, and are left out when their turn comes.

use bytes::Bytes;
use exchange::operation::answer::Sequence;
use exchange::{Body, Extent, Header, Headers, Request};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Which document.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentName {
    /// The index.
    pub index: Bytes,
    /// The mapping type, for clusters that have more than `_doc`.
    pub mapping_type: Option<Bytes>,
    /// The id.
    pub id: Bytes,
    /// The routing value, when it is not the id.
    pub routing: Option<Bytes>,
}

/// What the primary has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The document, as it was after this write.
    At { sequence: Sequence, source: Bytes },
    /// There is none.
    Missing,
}

/// Why the primary's answer does not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("the primary answered {0}")]
    Status(u16),
    #[error("the primary's answer is no document with its source and sequence number")]
    Unreadable,
}

/// Asks for the document in real time.
pub(crate) fn ask(name: &DocumentName) -> Request {
    request(b"GET", path(name), Bytes::new())
}

/// Reads the answer to [`ask`].
pub(crate) fn read(status: u16, body: &[u8]) -> Result<Found, NoAnswer> {
    if !matches!(status, 200 | 404) {
        return Err(NoAnswer::Status(status));
    }
    let answer: GetAnswer<'_> = serde_json::from_slice(body).map_err(|_| NoAnswer::Unreadable)?;
    match answer {
        GetAnswer {
            found: true,
            number: Some(number),
            term: Some(term),
            source: Some(source),
        } => Ok(Found::At {
            sequence: Sequence { term, number },
            source: Bytes::copy_from_slice(source.get().as_bytes()),
        }),
        // An error about the index has no `found`.
        GetAnswer { found: false, .. } => Ok(Found::Missing),
        GetAnswer { .. } => Err(NoAnswer::Unreadable),
    }
}

/// The index that the answer to [`ask`] is from; another than was asked for, when that was an alias.
pub(crate) fn index(body: &[u8]) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Index {
        #[serde(rename = "_index")]
        index: String,
    }
    let answer: Index = serde_json::from_slice(body).ok()?;
    Some(answer.index.into())
}

/// Makes the shadow have what the primary has.
pub(crate) fn put(name: &DocumentName, found: &Found) -> Request {
    match found {
        Found::At { source, .. } => request(b"PUT", path(name), source.clone()),
        Found::Missing => request(b"DELETE", path(name), Bytes::new()),
    }
}

#[derive(Deserialize)]
struct GetAnswer<'a> {
    #[serde(default)]
    found: bool,
    #[serde(rename = "_seq_no")]
    number: Option<u64>,
    #[serde(rename = "_primary_term")]
    term: Option<u64>,
    #[serde(rename = "_source", borrow)]
    source: Option<&'a RawValue>,
}

fn path(name: &DocumentName) -> Vec<u8> {
    let mut path = Vec::with_capacity(name.index.len() + name.id.len() + 16);
    path.push(b'/');
    encode(&name.index, &mut path);
    path.push(b'/');
    encode(name.mapping_type.as_deref().unwrap_or(b"_doc"), &mut path);
    path.push(b'/');
    encode(&name.id, &mut path);
    if let Some(routing) = &name.routing {
        path.extend_from_slice(b"?routing=");
        encode(routing, &mut path);
    }
    path
}

/// Percent-encodes all but the unreserved characters (RFC 3986, 2.3).
pub(crate) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

fn request(method: &'static [u8], target: Vec<u8>, content: Bytes) -> Request {
    let mut headers = Headers::default();
    if !content.is_empty() {
        headers.0.push(Header {
            name: Bytes::from_static(b"content-type"),
            value: Bytes::from_static(b"application/json"),
        });
    }
    Request {
        method: Bytes::from_static(method),
        target: target.into(),
        headers,
        body: Body {
            content,
            extent: Extent::Whole,
        },
        ..Request::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> DocumentName {
        DocumentName {
            index: Bytes::from_static(b"logs"),
            mapping_type: None,
            id: Bytes::from_static(b"a/b \xff"),
            routing: Some(Bytes::from_static(b"x&y")),
        }
    }

    #[test]
    fn the_primary_is_asked_for_the_document_whatever_bytes_are_in_its_id() {
        let request = ask(&name());
        assert_eq!(request.method, "GET");
        assert_eq!(request.target, "/logs/_doc/a%2Fb%20%FF?routing=x%26y");
    }

    #[test]
    fn the_shadow_gets_the_source_byte_for_byte_or_a_delete() {
        let body =
            br#"{"_index":"logs","_id":"1","_version":3,"_seq_no":7,"_primary_term":2,"found":true,
            "_source": {"b":1.0,  "a":[1,2]}}"#;
        let found = read(200, body).unwrap();
        let Found::At { sequence, .. } = &found else {
            panic!("{found:?}")
        };
        assert_eq!((sequence.term, sequence.number), (2, 7));
        let request = put(&name(), &found);
        assert_eq!(
            (&*request.method, &*request.body.content),
            (&b"PUT"[..], &br#"{"b":1.0,  "a":[1,2]}"#[..])
        );
        assert_eq!(index(body), Some(Bytes::from_static(b"logs")));
        let missing = read(404, br#"{"_index":"logs","_id":"1","found":false}"#).unwrap();
        assert_eq!(put(&name(), &missing).method, "DELETE");
    }

    #[test]
    fn an_answer_that_shows_no_document_settles_nothing() {
        assert_eq!(read(503, b""), Err(NoAnswer::Status(503)));
        for body in [&b""[..], b"[]", br#"{"found":true}"#] {
            assert_eq!(read(200, body), Err(NoAnswer::Unreadable));
        }
        // No such index: nothing was found, and there is nothing to find.
        let body = br#"{"error":{"type":"index_not_found_exception"},"status":404}"#;
        assert_eq!(read(404, body), Ok(Found::Missing));
        assert_eq!(index(body), None);
    }
}
