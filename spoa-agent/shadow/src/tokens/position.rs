//! Where a page of a point in time ended: the values of `sort` in its last hit, which the client sends
//! back as `search_after`.
//!
//! They are cluster-local when the sort names `_doc` or `_shard_doc`, or when there are more values than the
//! request sorts by: then the cluster added its own tie-breaker.

use std::borrow::Cow;

use bytes::Bytes;

use super::json::{self, Value};

/// Values longer than this are not kept.
const LONGEST: usize = 16 << 10;

/// How a search in a point in time is sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sorted {
    /// By how many keys.
    pub(crate) keys: usize,
    /// Whether one of them is a number of the cluster's own.
    pub(crate) local: bool,
    /// The bytes of `slice`: each slice has its own pages.
    pub(crate) slice: Vec<u8>,
}

impl Sorted {
    /// Reads `sort` and `slice`. Without `sort`, the cluster chooses one, with a tie-breaker of its own.
    pub(crate) fn read(bytes: &[u8], sort: Option<&Value>, slice: Option<&Value>) -> Self {
        let mut sorted = Self::default();
        match sort {
            None => sorted.local = true,
            Some(sort) => sorted.count(bytes, sort),
        }
        let slice = slice.and_then(|slice| json::whole(bytes, slice));
        let slice = slice.unwrap_or_default().iter().copied();
        sorted.slice = slice.filter(|byte| !byte.is_ascii_whitespace()).collect();
        sorted
    }

    fn count(&mut self, bytes: &[u8], sort: &Value) {
        if json::first(bytes, sort) == Some(b'[') {
            for key in json::elements(bytes, sort) {
                self.count_one(bytes, &key);
            }
        } else {
            self.count_one(bytes, sort);
        }
    }

    fn count_one(&mut self, bytes: &[u8], key: &Value) {
        if let Some(name) = json::string(bytes, key) {
            self.name(&name);
        } else {
            for (name, _) in json::members(bytes, key) {
                self.name(&name);
            }
        }
    }

    fn name(&mut self, name: &[u8]) {
        self.keys += 1;
        self.local |= matches!(name, b"_doc" | b"_shard_doc");
    }

    /// What the values of a `sort` or a `search_after` are known by, when they are cluster-local. Two spellings of
    /// the same values are the same: clients write numbers and strings in their own way.
    pub(crate) fn position(&self, bytes: &[u8], values: &Value) -> Option<Bytes> {
        let text = json::whole(bytes, values)?;
        if text.len() > LONGEST || json::first(bytes, values) != Some(b'[') {
            return None;
        }
        let mut name = self.slice.clone();
        let mut count = 0;
        for value in json::elements(bytes, values) {
            count += 1;
            name.push(0);
            spell(&mut name, bytes, &value)?;
        }
        let local = count > 0 && (self.local || count > self.keys);
        local.then(|| name.into())
    }
}

fn spell(out: &mut Vec<u8>, bytes: &[u8], value: &Value) -> Option<()> {
    if let Some(text) = json::string(bytes, value) {
        out.push(b's');
        // Escaped, so that no string can look like two.
        for &byte in &*text {
            if byte <= 1 {
                out.push(1);
            }
            out.push(byte);
        }
        return Some(());
    }
    let text = json::whole(bytes, value)?;
    out.extend_from_slice(&number(text).unwrap_or(Cow::Borrowed(text)));
    Some(())
}

/// One spelling for each number: `1`, `1.0` and `1e0` are the same.
fn number(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(number) = text.parse::<i128>() {
        return Some(Cow::Owned(number.to_string().into_bytes()));
    }
    let number = text.parse::<f64>().ok()?;
    // `Display` writes an integral number without a point or an exponent. -0 is 0.
    Some(Cow::Owned((number + 0.0).to_string().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(search: &[u8]) -> Sorted {
        let root = json::root(search).unwrap();
        let sort = json::member(search, &root, b"sort");
        let slice = json::member(search, &root, b"slice");
        Sorted::read(search, sort.as_ref(), slice.as_ref())
    }

    fn position(search: &[u8], values: &[u8]) -> Option<Bytes> {
        sorted(search).position(values, &json::root(values).unwrap())
    }

    #[test]
    fn values_are_the_clusters_own_when_it_added_one_or_was_asked_for_one() {
        for (search, values, local) in [
            (r#"{}"#, "[1]", true),
            (r#"{"sort":"a"}"#, "[1]", false),
            (r#"{"sort":"a"}"#, "[1,2]", true),
            (r#"{"sort":["a",{"b":{"order":"asc"}}]}"#, "[1,2]", false),
            (r#"{"sort":["a",{"b":"asc"}]}"#, "[1,2,3]", true),
            (r#"{"sort":{"a":"asc","b":"asc"}}"#, "[1,2]", false),
            (r#"{"sort":["a","_doc"]}"#, "[1,2]", true),
            (r#"{"sort":[{"_shard_doc":"desc"}]}"#, "[1]", true),
            (r#"{"sort":"a"}"#, "[]", false),
            (r#"{"sort":"a"}"#, "7", false),
        ] {
            let found = position(search.as_bytes(), values.as_bytes());
            assert_eq!(found.is_some(), local, "{search} {values}");
        }
    }

    #[test]
    fn two_spellings_of_the_same_values_are_one_position() {
        let same = |a: &str, b: &str| {
            position(b"{}", a.as_bytes()).unwrap() == position(b"{}", b.as_bytes()).unwrap()
        };
        assert!(same("[1.0, \"a=\"]", "[1,\"a\\u003d\"]"));
        assert!(same("[1e3]", "[1000.0]"));
        assert!(same("[-0.0]", "[0]"));
        assert!(!same("[1]", "[\"1\"]"));
        assert!(!same("[4294967298]", "[4294967299]"));
        assert!(!same("[9007199254740993]", "[9007199254740992]"));
        assert!(!same(r#"["a","b"]"#, r#"["a\u0000sb"]"#));
        assert!(!same("[null]", "[\"null\"]"));
    }

    #[test]
    fn every_slice_has_positions_of_its_own() {
        let of = |slice: &str| {
            let search = format!("{{\"slice\":{slice}}}");
            position(search.as_bytes(), b"[1]").unwrap()
        };
        assert_eq!(of("{\"id\":0,\"max\":2}"), of("{ \"id\": 0, \"max\": 2 }"));
        assert_ne!(of("{\"id\":0,\"max\":2}"), of("{\"id\":1,\"max\":2}"));
    }
}
