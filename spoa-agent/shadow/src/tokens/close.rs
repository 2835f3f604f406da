//! The requests that close what is open on the target.

use std::collections::BTreeMap;

use bytes::Bytes;
use exchange::{Body, Extent, Header, Headers, Request};

use super::api::Origin;
use super::url;

/// So many tokens go in one request at most,
const BATCH: usize = 100;
/// and so many bytes of them, unless one alone has more.
const BATCH_BYTES: usize = 64 << 10;

/// Requests that close all of these, in batches where the API takes several. Their `id` is empty.
pub(crate) fn requests<'a>(open: impl IntoIterator<Item = (Origin, &'a Bytes)>) -> Vec<Request> {
    let mut by_origin = BTreeMap::<Origin, Vec<&Bytes>>::new();
    for (origin, token) in open {
        by_origin.entry(origin).or_default().push(token);
    }
    let mut requests = Vec::new();
    for (origin, tokens) in by_origin {
        for batch in batches(&tokens, most(origin)) {
            requests.extend(request(origin, batch));
        }
    }
    requests
}

const fn most(origin: Origin) -> usize {
    match origin {
        Origin::Scroll | Origin::OpenSearchPit => BATCH,
        _ => 1,
    }
}

fn batches<'a, 't>(tokens: &'a [&'t Bytes], most: usize) -> Vec<&'a [&'t Bytes]> {
    let mut batches = Vec::new();
    let mut rest = tokens;
    while !rest.is_empty() {
        let mut bytes = 0usize;
        let fitting = rest.iter().take(most).take_while(|token| {
            bytes += token.len();
            bytes <= BATCH_BYTES
        });
        let count = fitting.count().max(1);
        let (batch, tail) = rest.split_at_checked(count).unwrap_or((rest, &[]));
        batches.push(batch);
        rest = tail;
    }
    batches
}

fn request(origin: Origin, tokens: &[&Bytes]) -> Option<Request> {
    let first = tokens.first()?;
    let (method, target, body) = match origin {
        Origin::Scroll => ("DELETE", "/_search/scroll", many("scroll_id", tokens)),
        Origin::OpenSearchPit => ("DELETE", "/_search/point_in_time", many("pit_id", tokens)),
        Origin::ElasticPit => ("DELETE", "/_pit", one("id", first)),
        Origin::Sql => ("POST", "/_sql/close", one("cursor", first)),
        Origin::XpackSql => ("POST", "/_xpack/sql/close", one("cursor", first)),
        Origin::PluginsSql => ("POST", "/_plugins/_sql/close", one("cursor", first)),
        Origin::OpendistroSql => ("POST", "/_opendistro/_sql/close", one("cursor", first)),
        Origin::AsyncSearch => return Some(delete("/_async_search/", first)),
        Origin::PluginsAsync => return Some(delete("/_plugins/_asynchronous_search/", first)),
        Origin::OpendistroAsync => {
            return Some(delete("/_opendistro/_asynchronous_search/", first));
        }
        Origin::Eql => return Some(delete("/_eql/search/", first)),
        Origin::Esql => return Some(delete("/_query/async/", first)),
        Origin::SqlAsync => return Some(delete("/_sql/async/delete/", first)),
        // What a task did belongs to the state; it ends by itself.
        Origin::Task => return None,
    };
    Some(made(method, Bytes::from_static(target.as_bytes()), body))
}

fn delete(path: &str, token: &Bytes) -> Request {
    let mut target = path.as_bytes().to_vec();
    target.extend_from_slice(&url::encoded(token));
    made("DELETE", target.into(), Vec::new())
}

fn made(method: &'static str, target: Bytes, body: Vec<u8>) -> Request {
    let mut headers = Headers::default();
    if !body.is_empty() {
        headers.0.push(Header {
            name: Bytes::from_static(b"content-type"),
            value: Bytes::from_static(b"application/json"),
        });
    }
    Request {
        version: Bytes::from_static(b"1.1"),
        method: Bytes::from_static(method.as_bytes()),
        target,
        headers,
        body: Body {
            content: body.into(),
            extent: Extent::Whole,
        },
        ..Request::default()
    }
}

fn one(name: &str, token: &Bytes) -> Vec<u8> {
    let token = String::from_utf8_lossy(token);
    serde_json::json!({ name: token }).to_string().into_bytes()
}

fn many(name: &str, tokens: &[&Bytes]) -> Vec<u8> {
    let tokens: Vec<_> = tokens
        .iter()
        .map(|token| String::from_utf8_lossy(token))
        .collect();
    serde_json::json!({ name: tokens }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_api_has_its_own_way_to_close() {
        let token = Bytes::from_static(b"a/b=");
        let open = Origin::ALL.map(|origin| (origin, &token));
        let told: Vec<String> = requests(open)
            .iter()
            .map(|request| {
                assert!(request.body.is_whole());
                format!(
                    "{} {} {}",
                    String::from_utf8_lossy(&request.method),
                    String::from_utf8_lossy(&request.target),
                    String::from_utf8_lossy(&request.body.content),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                r#"DELETE /_search/scroll {"scroll_id":["a/b="]}"#,
                r#"DELETE /_pit {"id":"a/b="}"#,
                r#"DELETE /_search/point_in_time {"pit_id":["a/b="]}"#,
                "DELETE /_async_search/a%2Fb= ",
                "DELETE /_plugins/_asynchronous_search/a%2Fb= ",
                "DELETE /_opendistro/_asynchronous_search/a%2Fb= ",
                "DELETE /_eql/search/a%2Fb= ",
                "DELETE /_query/async/a%2Fb= ",
                "DELETE /_sql/async/delete/a%2Fb= ",
                r#"POST /_sql/close {"cursor":"a/b="}"#,
                r#"POST /_xpack/sql/close {"cursor":"a/b="}"#,
                r#"POST /_plugins/_sql/close {"cursor":"a/b="}"#,
                r#"POST /_opendistro/_sql/close {"cursor":"a/b="}"#,
            ]
        );
    }

    #[test]
    fn batches_have_a_bound_in_tokens_and_in_bytes() {
        let small = Bytes::from_static(b"x");
        let large = Bytes::from(vec![b'x'; BATCH_BYTES]);
        let many = vec![(Origin::Scroll, &small); 250];
        assert_eq!(requests(many).len(), 3);
        assert_eq!(requests(vec![(Origin::Scroll, &large); 3]).len(), 3);
    }
}
