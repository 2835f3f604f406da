//! The key of a message: messages with one key are in one partition, and so keep their order.
//!
//! An exchange, and the request that is told ahead of it, have one key. The request alone says it, because the answer
//! is not there yet when a request is told.

use bytes::Bytes;
use exchange::{Request, operation};

use crate::config::MessageKey;

/// The key of what this request asks.
#[must_use]
pub fn of(choice: MessageKey, request: &Request) -> Bytes {
    match choice {
        MessageKey::Connection => connection(request),
        MessageKey::Document => document(request).unwrap_or_else(|| connection(request)),
        MessageKey::Id => request.id.clone(),
    }
}

/// The client's address and port. Over a Unix socket there is none, and every exchange stands for itself.
fn connection(request: &Request) -> Bytes {
    match &request.client {
        Some(client) => Bytes::from(client.to_string()),
        None => request.id.clone(),
    }
}

/// `index/id`, when the request names one document. The index is the name that the client used: through an alias
/// and by its own name, one document has two keys.
fn document(request: &Request) -> Option<Bytes> {
    let operation = operation::read(request);
    let [document] = operation.documents.as_slice() else {
        return None;
    };
    let id = document.id.as_ref()?;
    let mut key = Vec::with_capacity(document.index.len() + 1 + id.len());
    key.extend_from_slice(&document.index);
    key.push(b'/');
    key.extend_from_slice(id);
    Some(key.into())
}

#[cfg(test)]
mod tests {
    use exchange::{Body, Endpoint, Extent};

    use super::*;

    fn request(method: &'static str, target: &'static str, body: &'static str) -> Request {
        Request {
            id: Bytes::from_static(b"the-id"),
            method: Bytes::from_static(method.as_bytes()),
            target: Bytes::from_static(target.as_bytes()),
            client: Some(Endpoint {
                ip: [10, 0, 0, 1].into(),
                port: 4711,
            }),
            body: Body {
                content: Bytes::from_static(body.as_bytes()),
                extent: Extent::Whole,
            },
            ..Request::default()
        }
    }

    #[test]
    fn one_document_has_one_key_whoever_writes_it_and_all_else_that_of_its_connection() {
        let one = "{\"index\":{\"_index\":\"a\",\"_id\":\"1\"}}\n{}\n";
        let two = "{\"index\":{\"_index\":\"a\",\"_id\":\"1\"}}\n{}\n{\"delete\":{\"_index\":\"a\",\"_id\":\"2\"}}\n";
        for (method, target, body, key) in [
            ("PUT", "/a/_doc/1", "{}", "a/1"),
            ("GET", "/a/_doc/1", "", "a/1"),
            ("POST", "/a/_update/1?refresh=true", "{}", "a/1"),
            ("DELETE", "/a/_doc/x%2Fy", "", "a/x/y"),
            ("POST", "/_bulk", one, "a/1"),
            ("POST", "/_bulk", two, "10.0.0.1:4711"),
            ("POST", "/a/_doc", "{}", "10.0.0.1:4711"),
            ("POST", "/a/_search", "{}", "10.0.0.1:4711"),
            ("GET", "/", "", "10.0.0.1:4711"),
        ] {
            let request = request(method, target, body);
            assert_eq!(of(MessageKey::Document, &request), key, "{method} {target}");
            assert_eq!(of(MessageKey::Connection, &request), "10.0.0.1:4711");
            assert_eq!(of(MessageKey::Id, &request), "the-id");
        }
    }

    #[test]
    fn over_a_unix_socket_every_exchange_stands_for_itself() {
        let request = Request {
            client: None,
            ..request("GET", "/", "")
        };
        assert_eq!(of(MessageKey::Connection, &request), "the-id");
    }
}
