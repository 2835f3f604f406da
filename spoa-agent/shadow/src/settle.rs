//! Whether the target still works on writes that an agent sent before it was killed. Pure.
//!
//! A killed agent leaves requests behind that the target has begun. Would a write be sent again while its
//! first copy still runs, the first one could come to its end after later writes. So an agent that goes on
//! after a kill first waits until the target has no writing task left (`GET _tasks`).

use bytes::Bytes;
use exchange::Request;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::HashMap;

/// Asks for the writing tasks.
pub(crate) fn ask() -> Request {
    Request {
        method: Bytes::from_static(b"GET"),
        target: Bytes::from_static(b"/_tasks?actions=indices:data/write*,indices:admin*"),
        ..Request::default()
    }
}

/// How many writing tasks there are. A target that does not say has none: it is no search cluster, or
/// does not let us look.
pub(crate) fn running(status: u16, body: &[u8]) -> usize {
    #[derive(Deserialize)]
    struct Tasks {
        #[serde(default)]
        nodes: HashMap<String, Node>,
    }
    #[derive(Deserialize)]
    struct Node {
        #[serde(default)]
        tasks: HashMap<String, IgnoredAny>,
    }
    if status != 200 {
        return 0;
    }
    let read = serde_json::from_slice::<Tasks>(body);
    read.map_or(0, |tasks| {
        tasks.nodes.values().map(|node| node.tasks.len()).sum()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_tasks_are_counted_over_all_nodes() {
        let body = br#"{"nodes":{"a":{"name":"x","tasks":{"a:1":{"action":"indices:data/write/bulk"},"a:2":{}}},
            "b":{"tasks":{"b:7":{}}}}}"#;
        assert_eq!(running(200, body), 3);
        assert_eq!(running(200, br#"{"nodes":{}}"#), 0);
    }

    #[test]
    fn a_target_that_does_not_say_is_not_waited_for() {
        assert_eq!(
            running(404, b"{\"nodes\":{\"a\":{\"tasks\":{\"a:1\":{}}}}}"),
            0
        );
        assert_eq!(running(200, b"hello"), 0);
    }
}
