//! Walks JSON without reading more of it than is asked for, and says where each value stands, so that
//! single values can be replaced and every other byte stays.
//!
//! It is lenient: it does not judge what the cluster has to judge. A text that ends early is walked as far
//! as it goes. Comments are skipped, because Elasticsearch's parser allows them. Nothing recurses.

use std::borrow::Cow;
use std::ops::Range;

/// Where a value stands, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    /// From its first byte to behind its last one; quotes and brackets included.
    pub(crate) range: Range<usize>,
    /// Whether its end was there.
    pub(crate) whole: bool,
}

/// The value that a text consists of.
pub(crate) fn root(bytes: &[u8]) -> Option<Value> {
    value_at(bytes, blank(bytes, 0))
}

/// The members of an object, in order. Nothing when `of` is no object.
pub(crate) fn members<'a>(bytes: &'a [u8], of: &Value) -> Members<'a> {
    Members(Inside::of(bytes, of, b'{'))
}

/// The elements of an array, in order. Nothing when `of` is no array.
pub(crate) fn elements<'a>(bytes: &'a [u8], of: &Value) -> Elements<'a> {
    Elements(Inside::of(bytes, of, b'['))
}

/// The member of an object under `name`.
pub(crate) fn member(bytes: &[u8], of: &Value, name: &[u8]) -> Option<Value> {
    members(bytes, of).find_map(|(key, value)| (*key == *name).then_some(value))
}

/// What a string says. `None` when `of` is no string, or not a whole one.
pub(crate) fn string<'a>(bytes: &'a [u8], of: &Value) -> Option<Cow<'a, [u8]>> {
    let text = whole(bytes, of)?;
    let inner = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr::memchr(b'\\', inner).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    let text: String = serde_json::from_slice(text).ok()?;
    Some(Cow::Owned(text.into_bytes()))
}

/// The bytes of a value, if its end was there.
pub(crate) fn whole<'a>(bytes: &'a [u8], of: &Value) -> Option<&'a [u8]> {
    bytes.get(of.range.clone()).filter(|_| of.whole)
}

/// The first byte of a value: `"`, `{` and `[` tell strings, objects and arrays.
pub(crate) fn first(bytes: &[u8], of: &Value) -> Option<u8> {
    bytes.get(of.range.start).copied()
}

/// The members of an object: name and value.
#[derive(Debug)]
pub(crate) struct Members<'a>(Inside<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, [u8]>, Value);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.0.value()?;
        let key = string(self.0.bytes, &key)?;
        self.0.pass(b':')?;
        Some((key, self.0.value()?))
    }
}

/// The elements of an array.
#[derive(Debug)]
pub(crate) struct Elements<'a>(Inside<'a>);

impl Iterator for Elements<'_> {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        self.0.value()
    }
}

/// A place between the brackets of a value.
#[derive(Debug)]
struct Inside<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Inside<'a> {
    fn of(bytes: &'a [u8], of: &Value, open: u8) -> Self {
        let end = of.range.end.min(bytes.len());
        let at = match first(bytes, of) {
            Some(byte) if byte == open => of.range.start + 1,
            _ => end,
        };
        Self { bytes, at, end }
    }

    fn bytes(&self) -> &'a [u8] {
        self.bytes.get(..self.end).unwrap_or_default()
    }

    fn pass(&mut self, byte: u8) -> Option<()> {
        self.at = blank(self.bytes(), self.at);
        if self.bytes().get(self.at) != Some(&byte) {
            return None;
        }
        self.at += 1;
        Some(())
    }

    fn value(&mut self) -> Option<Value> {
        // Commas separate; a missing or a doubled one is the cluster's business.
        while self.pass(b',').is_some() {}
        let value = value_at(self.bytes(), self.at)?;
        self.at = value.range.end;
        Some(value)
    }
}

fn value_at(bytes: &[u8], start: usize) -> Option<Value> {
    let (end, whole) = match *bytes.get(start)? {
        b'"' => string_end(bytes, start),
        b'{' | b'[' => nested_end(bytes, start),
        b'}' | b']' | b':' => return None,
        _ => literal_end(bytes, start),
    };
    Some(Value {
        range: start..end,
        whole,
    })
}

/// Behind the quote that ends the string beginning at `start`.
fn string_end(bytes: &[u8], start: usize) -> (usize, bool) {
    let mut at = start + 1;
    while let Some(rest) = bytes.get(at..) {
        match memchr::memchr2(b'"', b'\\', rest) {
            None => break,
            Some(found) if rest.get(found) == Some(&b'"') => return (at + found + 1, true),
            Some(found) => at += found + 2,
        }
    }
    (bytes.len(), false)
}

/// Behind the bracket that ends what begins at `start`.
fn nested_end(bytes: &[u8], start: usize) -> (usize, bool) {
    let mut depth = 0usize;
    let mut at = start;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(bytes, at).0;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return (at + 1, true),
            b'}' | b']' => depth -= 1,
            b'/' => {
                at = comment_end(bytes, at).unwrap_or(at + 1);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    (bytes.len(), false)
}

/// Behind a number, `true`, `false`, `null`, or whatever stands there. At the end of the text it may go on.
fn literal_end(bytes: &[u8], start: usize) -> (usize, bool) {
    let length = bytes
        .get(start..)
        .unwrap_or_default()
        .iter()
        .skip(1)
        .position(|byte| {
            matches!(byte, b',' | b'}' | b']' | b':' | b'"' | b'/') || is_blank(*byte)
        });
    match length {
        Some(length) => (start + 1 + length, true),
        None => (bytes.len(), false),
    }
}

/// The next byte that is neither white space nor in a comment.
fn blank(bytes: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = bytes.get(at) {
        if is_blank(byte) {
            at += 1;
        } else if let Some(end) = comment_end(bytes, at) {
            at = end;
        } else {
            break;
        }
    }
    at
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn comment_end(bytes: &[u8], start: usize) -> Option<usize> {
    let rest = bytes.get(start..)?;
    let body = start + 2;
    if rest.starts_with(b"//") {
        let length = memchr::memchr(b'\n', rest.get(2..)?);
        return Some(length.map_or(bytes.len(), |length| body + length));
    }
    if rest.starts_with(b"/*") {
        let length = memchr::memmem::find(rest.get(2..)?, b"*/");
        return Some(length.map_or(bytes.len(), |length| body + length + 2));
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(bytes: &[u8], values: impl Iterator<Item = Value>) -> Vec<String> {
        values
            .map(|value| String::from_utf8_lossy(&bytes[value.range]).into_owned())
            .collect()
    }

    #[test]
    fn members_and_elements_are_told_with_their_bytes() {
        let text = br#" { "a" : "x\"}" , "b":[1, {"c":2},"]" ] ,"d":-1.5e3}"#;
        let root = root(text).unwrap();
        assert!(root.whole);
        let found: Vec<_> = members(text, &root).collect();
        let names: Vec<_> = found.iter().map(|(key, _)| &**key).collect();
        assert_eq!(names, [b"a", b"b", b"d"]);
        assert_eq!(string(text, &found[0].1).unwrap(), &b"x\"}"[..]);
        assert_eq!(
            texts(text, elements(text, &found[1].1)),
            ["1", "{\"c\":2}", "\"]\""]
        );
        assert_eq!(&text[found[2].1.range.clone()], b"-1.5e3");
    }

    #[test]
    fn a_text_that_ends_early_is_walked_as_far_as_it_goes() {
        let text = br#"{"_scroll_id":"abc","hits":{"hits":[{"_id":"1"},{"_id"#;
        let root = root(text).unwrap();
        assert!(!root.whole);
        let id = member(text, &root, b"_scroll_id").unwrap();
        assert_eq!(string(text, &id).unwrap(), &b"abc"[..]);
        let hits = member(text, &root, b"hits").unwrap();
        assert!(!hits.whole);
        let hits = member(text, &hits, b"hits").unwrap();
        let whole: Vec<_> = elements(text, &hits).map(|hit| hit.whole).collect();
        assert_eq!(whole, [true, false]);
        let half = br#"{"_scroll_id":"ab"#;
        let value = member(half, &super::root(half).unwrap(), b"_scroll_id").unwrap();
        assert_eq!(string(half, &value), None);
    }

    #[test]
    fn comments_and_escaped_names_are_understood() {
        let text = b"// \"}\n{/* { */ \"\\u0070it\" : /*\"*/ {\"id\":\"a\\u003d\"} }";
        let root = root(text).unwrap();
        let pit = member(text, &root, b"pit").unwrap();
        let id = member(text, &pit, b"id").unwrap();
        assert_eq!(string(text, &id).unwrap(), &b"a="[..]);
    }

    fn walk(bytes: &[u8], value: &Value, depth: u32) -> usize {
        assert!(value.range.start < value.range.end && value.range.end <= bytes.len());
        if depth == 0 {
            return 1;
        }
        let inside = members(bytes, value).map(|(_, value)| value);
        inside
            .chain(elements(bytes, value))
            .map(|value| walk(bytes, &value, depth - 1))
            .sum::<usize>()
            + 1
    }

    fn tree() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::vec((".{0,4}", inner), 0..5)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_to_an_end(bytes in prop::collection::vec(
            prop_oneof![prop::sample::select(&b"{}[]\",:\\/* \n1t"[..]), any::<u8>()], 0..200
        )) {
            if let Some(value) = root(&bytes) {
                walk(&bytes, &value, 6);
            }
        }

        #[test]
        fn the_walk_finds_what_a_parser_finds(tree in tree(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_vec_pretty(&tree) } else { serde_json::to_vec(&tree) }.unwrap();
            let root = root(&text).unwrap();
            prop_assert_eq!(root.range.clone(), 0..text.len());
            match &tree {
                serde_json::Value::Array(array) => {
                    let found: Vec<serde_json::Value> = elements(&text, &root)
                        .map(|value| serde_json::from_slice(&text[value.range]).unwrap())
                        .collect();
                    prop_assert_eq!(&found, array);
                }
                serde_json::Value::Object(object) => {
                    let found: Vec<(String, serde_json::Value)> = members(&text, &root)
                        .map(|(key, value)| (
                            String::from_utf8(key.into_owned()).unwrap(),
                            serde_json::from_slice(&text[value.range]).unwrap(),
                        ))
                        .collect();
                    let wanted: Vec<_> = object.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
                    prop_assert_eq!(found, wanted);
                }
                serde_json::Value::String(wanted) => {
                    prop_assert_eq!(&*string(&text, &root).unwrap(), wanted.as_bytes());
                }
                _ => {}
            }
        }
    }
}
