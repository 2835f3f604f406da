//! Which documents of an index differ: the questions to both sides, and what the answers say. Pure.

use bytes::Bytes;
use exchange::{Body, Extent, Header, Headers, Request};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::HashMap;

use crate::resolve::encode;

/// Documents in one answer.
const PAGE: usize = 200;

/// A document of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) routing: Option<String>,
}

/// Some of an index's documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// What to ask for the next one with.
    pub(super) scroll: String,
    /// None: that was the last page.
    pub(super) documents: Vec<Listed>,
}

/// Asks which indices an expression stands for, and how many documents they have.
pub(super) fn sizes(expression: &[u8]) -> Request {
    let query = "/_stats/docs?ignore_unavailable=true&expand_wildcards=open&filter_path=indices.*.primaries.docs.count";
    request("GET", path(expression, query), None)
}

/// Reads the answer to [`sizes`].
pub(super) fn read_sizes(body: &[u8]) -> Option<Vec<(String, u64)>> {
    #[derive(Deserialize)]
    struct Stats {
        #[serde(default)]
        indices: HashMap<String, Index>,
    }
    #[derive(Deserialize)]
    struct Index {
        primaries: Primaries,
    }
    #[derive(Deserialize)]
    struct Primaries {
        docs: Docs,
    }
    #[derive(Deserialize)]
    struct Docs {
        count: u64,
    }
    let stats: Stats = serde_json::from_slice(body).ok()?;
    let size = |(name, index): (String, Index)| (name, index.primaries.docs.count);
    Some(stats.indices.into_iter().map(size).collect())
}

/// Makes what was written visible to [`list`].
pub(super) fn refresh(index: &str) -> Request {
    request("POST", path(index.as_bytes(), "/_refresh"), None)
}

/// Asks for the first documents.
pub(super) fn list(index: &str) -> Request {
    let query = json!({"size": PAGE, "_source": false, "sort": ["_doc"]});
    let path = path(index.as_bytes(), "/_search?scroll=1m");
    request("POST", path, Some(query.to_string()))
}

/// Asks for the next ones.
pub(super) fn more(scroll: &str) -> Request {
    let query = json!({"scroll": "1m", "scroll_id": scroll});
    let path = b"/_search/scroll".to_vec();
    request("POST", path, Some(query.to_string()))
}

/// Ends the list.
pub(super) fn close(scroll: &str) -> Request {
    let query = json!({"scroll_id": [scroll]});
    let path = b"/_search/scroll".to_vec();
    request("DELETE", path, Some(query.to_string()))
}

/// Reads the answer to [`list`] and [`more`].
pub(super) fn read_page(body: &[u8]) -> Option<Page> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "_scroll_id")]
        scroll: String,
        hits: Hits,
    }
    #[derive(Deserialize)]
    struct Hits {
        hits: Vec<Hit>,
    }
    #[derive(Deserialize)]
    struct Hit {
        #[serde(rename = "_id")]
        id: String,
        #[serde(rename = "_routing")]
        routing: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let listed = |hit: Hit| Listed {
        id: hit.id,
        routing: hit.routing,
    };
    Some(Page {
        scroll: answer.scroll,
        documents: answer.hits.hits.into_iter().map(listed).collect(),
    })
}

/// Asks for these documents in real time.
pub(super) fn get(index: &str, documents: &[Listed]) -> Request {
    let asked = |document: &Listed| match &document.routing {
        Some(routing) => json!({"_id": document.id, "routing": routing}),
        None => json!({"_id": document.id}),
    };
    let docs: Vec<_> = documents.iter().map(asked).collect();
    let path = path(index.as_bytes(), "/_mget");
    request("POST", path, Some(json!({ "docs": docs }).to_string()))
}

/// Reads the sources in the answer to [`get`]; `None` for a document that is not there.
pub(super) fn read_sources(body: &[u8]) -> Option<Vec<Option<Bytes>>> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        docs: Vec<Doc<'a>>,
    }
    #[derive(Deserialize)]
    struct Doc<'a> {
        #[serde(rename = "_source", borrow)]
        source: Option<&'a RawValue>,
    }
    let answer: Answer<'_> = serde_json::from_slice(body).ok()?;
    let source = |doc: &Doc<'_>| {
        let source = doc.source?;
        Some(Bytes::copy_from_slice(source.get().as_bytes()))
    };
    Some(answer.docs.iter().map(source).collect())
}

fn path(index: &[u8], rest: &str) -> Vec<u8> {
    let mut path = vec![b'/'];
    // A pattern stays one.
    for (at, part) in index.split(|byte| *byte == b'*').enumerate() {
        if at > 0 {
            path.push(b'*');
        }
        encode(part, &mut path);
    }
    path.extend_from_slice(rest.as_bytes());
    path
}

fn request(method: &'static str, target: Vec<u8>, body: Option<String>) -> Request {
    let mut headers = Headers::default();
    if body.is_some() {
        headers.0.push(Header {
            name: Bytes::from_static(b"content-type"),
            value: Bytes::from_static(b"application/json"),
        });
    }
    Request {
        method: method.into(),
        target: target.into(),
        headers,
        body: Body {
            content: body.unwrap_or_default().into(),
            extent: Extent::Whole,
        },
        ..Request::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_of_a_cluster_are_read() {
        let stats = br#"{"indices":{"a":{"primaries":{"docs":{"count":3}}}}}"#;
        assert_eq!(read_sizes(stats), Some(vec![("a".to_owned(), 3)]));
        assert_eq!(read_sizes(b"{}"), Some(Vec::new()));
        assert_eq!(read_sizes(b"?"), None);
        let page = br#"{"_scroll_id":"s","hits":{"hits":[{"_index":"a","_id":"1","_score":null},
            {"_index":"a","_id":"2","_routing":"r"}]}}"#;
        let page = read_page(page).unwrap();
        assert_eq!((&*page.scroll, page.documents.len()), ("s", 2));
        assert_eq!(page.documents[1].routing.as_deref(), Some("r"));
        let sources =
            br#"{"docs":[{"_id":"1","found":true,"_source": {"a": 1}},{"_id":"2","found":false}]}"#;
        let sources = read_sources(sources).unwrap();
        assert_eq!(sources, [Some(Bytes::from("{\"a\": 1}")), None]);
    }

    #[test]
    fn names_are_encoded_and_patterns_stay_patterns() {
        assert!(sizes(b"a b*").target.starts_with(b"/a%20b*/_stats/docs?"));
        let documents = [Listed {
            id: "\"1".to_owned(),
            routing: None,
        }];
        let body = get("i", &documents).body.content;
        assert_eq!(body, r#"{"docs":[{"_id":"\"1"}]}"#);
    }
}
