//! How many writes some indices of the target have seen. Pure.
//!
//! An operation on a whole index, such as `_update_by_query` with a script, must not be done twice, and its
//! answer may be lost. Nothing else touches its indices meanwhile. So the numbers of their last writes before
//! it and now tell whether it was done: they only ever rise.

use bytes::Bytes;
use exchange::Request;
use serde::Deserialize;
use std::collections::HashMap;

/// Asks for the number of the last write on each shard of these indices.
pub(crate) fn ask(indices: &[Bytes]) -> Request {
    let mut target = Vec::from(b"/".as_slice());
    for (at, name) in indices.iter().enumerate() {
        if at > 0 {
            target.push(b',');
        }
        crate::resolve::encode(name, &mut target);
    }
    if indices.is_empty() {
        target.extend_from_slice(b"_all");
    }
    target.extend_from_slice(
        b"/_stats?level=shards&ignore_unavailable=true&allow_no_indices=true&expand_wildcards=all\
          &filter_path=indices.*.shards.*.seq_no.max_seq_no",
    );
    Request {
        method: Bytes::from_static(b"GET"),
        target: target.into(),
        ..Request::default()
    }
}

/// A number that rises with each write. `None`: the target does not tell.
pub(crate) fn read(status: u16, body: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Stats {
        #[serde(default)]
        indices: HashMap<String, Index>,
    }
    #[derive(Deserialize)]
    struct Index {
        #[serde(default)]
        shards: HashMap<String, Vec<Copy>>,
    }
    #[derive(Deserialize)]
    struct Copy {
        seq_no: Numbers,
    }
    #[derive(Deserialize)]
    struct Numbers {
        max_seq_no: i64,
    }
    if status == 404 {
        return Some(0);
    }
    if status != 200 {
        return None;
    }
    let stats: Stats = serde_json::from_slice(body).ok()?;
    let shards = stats
        .indices
        .values()
        .flat_map(|index| index.shards.values());
    // A shard without a write has -1; a copy may lag behind another.
    let last = |copies: &Vec<Copy>| copies.iter().map(|copy| copy.seq_no.max_seq_no + 1).max();
    let writes = shards
        .filter_map(last)
        .filter_map(|last| u64::try_from(last).ok());
    Some(writes.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_the_sum_over_shards_of_their_most_advanced_copies() {
        let body = br#"{"indices":{"a":{"shards":{"0":[{"seq_no":{"max_seq_no":4}},{"seq_no":{"max_seq_no":3}}],
            "1":[{"seq_no":{"max_seq_no":-1}}]}},"b":{"shards":{"0":[{"seq_no":{"max_seq_no":9}}]}}}}"#;
        assert_eq!(read(200, body), Some(15));
        assert_eq!(read(200, b"{}"), Some(0));
        assert_eq!(read(404, b""), Some(0));
        assert_eq!(read(503, b""), None);
        assert_eq!(read(200, b"?"), None);
    }

    #[test]
    fn all_indices_are_asked_for_by_their_expressions() {
        let target = ask(&[Bytes::from("a b"), Bytes::from("c*")]).target;
        assert!(target.starts_with(b"/a%20b,c%2A/_stats?"), "{target:?}");
        assert!(ask(&[]).target.starts_with(b"/_all/_stats?"));
    }
}
