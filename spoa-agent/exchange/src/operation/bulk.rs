//! The items of a `_bulk` body: lines of JSON, an action and, unless it deletes, its source.
//!
//! Read as Elasticsearch 7.10 reads it (its `BulkRequestParser`): lines of white space between items are
//! skipped, `\r\n` ends a line too, ids may be numbers, parameters of the URL hold for items that have none of
//! their own, and an action at the very end whose source never comes is no item. A last line without a line
//! feed, which the clusters refuse, is read all the same.
//!
//! Only action lines are parsed. Of a source nothing is looked at, except the top-level keys of an update.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::{Action, Condition, Document, Lines};

/// The most items that are read: a compressed body of a few kilobytes could hold millions.
pub const ITEMS_LIMIT: usize = 1 << 20;

/// Why a body is not read as that of a `_bulk`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum BulkError {
    /// It does not begin as JSON does: CBOR, SMILE, YAML, or no body of a `_bulk` at all.
    #[error("the body is not made of lines of JSON")]
    NotJson,
    /// A line, counted from 1, that ought to be an action.
    #[error("line {line} is no action of a _bulk")]
    Action {
        /// The line's number, from 1.
        line: usize,
    },
    /// More than [`ITEMS_LIMIT`].
    #[error("the body has more than {ITEMS_LIMIT} items")]
    TooMany,
}

/// The items of a `_bulk` body in their order. `body` is without its content coding; the lines of the
/// documents are byte ranges of it, without `\n` and `\r\n`.
///
/// The defaults are what the URL says: its index (empty when it names none), its type, its `routing`.
///
/// # Errors
/// When a line that ought to be an action is none, or when there are too many.
pub fn items(
    body: &[u8],
    default_index: &[u8],
    default_type: Option<&[u8]>,
    default_routing: Option<&[u8]>,
) -> Result<Vec<Document>, BulkError> {
    let mut index = Name::new(Some(default_index));
    let mut mapping_type = Name::new(default_type);
    let mut routing = Name::new(default_routing);
    let mut documents = Vec::new();
    let mut lines = LineReader::new(body);
    while let Some(line) = lines.next_line() {
        if line.text.trim_ascii().is_empty() {
            continue;
        }
        let fault = BulkError::Action { line: lines.number };
        if documents.is_empty() && line.text.trim_ascii_start().first() != Some(&b'{') {
            return Err(BulkError::NotJson);
        }
        if documents.len() >= ITEMS_LIMIT {
            return Err(BulkError::TooMany);
        }
        let (word, meta) = match serde_json::from_slice(line.text).map_err(|_| fault)? {
            ActionLine::Index(meta) => (Action::Index, meta),
            ActionLine::Create(meta) => (Action::Create, meta),
            ActionLine::Update(meta) => (Action::Update, meta),
            ActionLine::Delete(meta) => (Action::Delete, meta),
        };
        let meta = meta.read().map_err(|NotText| fault)?;
        let source = match word {
            Action::Delete => None,
            _ => match lines.next_line() {
                Some(source) => Some(source),
                None => break,
            },
        };
        documents.push(Document {
            action: match (word, meta.op_type.as_deref()) {
                (Action::Index, Some("create")) => Action::Create,
                _ => word,
            },
            index: index.or_default(meta.index.as_deref()).unwrap_or_default(),
            mapping_type: mapping_type.or_default(meta.mapping_type.as_deref()),
            id: meta.id.map(|id| Bytes::copy_from_slice(id.as_bytes())),
            routing: routing.or_default(meta.routing.as_deref()),
            condition: meta.condition,
            scripted: word == Action::Update
                && source.as_ref().is_some_and(|line| is_scripted(line.text)),
            lines: Lines {
                action: line.range,
                source: source.map(|line| line.range),
            },
        });
    }
    Ok(documents)
}

/// Whether an update, done twice, may have another effect than done once, by the top-level keys of its body:
/// it has a `script`; or it has an `upsert` that is not the `doc` itself, for then the first time writes the
/// `upsert` and the second puts `doc` over it. A body that cannot be read is taken for one.
///
/// The body of `_update` is the same as the source of an update in a `_bulk`.
#[must_use]
pub fn is_scripted(update: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Update {
        script: Option<IgnoredAny>,
        upsert: Option<IgnoredAny>,
        doc_as_upsert: Option<bool>,
    }
    // A body without the bytes of these words has the keys only when they are written with escapes.
    let may_have = |word: &[u8]| memchr::memmem::find(update, word).is_some();
    if !may_have(b"script") && !may_have(b"upsert") && !may_have(b"\\u") {
        return false;
    }
    serde_json::from_slice(update).map_or(true, |update: Update| {
        update.script.is_some() || (update.upsert.is_some() && update.doc_as_upsert != Some(true))
    })
}

/// Cuts the body into lines and counts them.
struct LineReader<'a> {
    body: &'a [u8],
    position: usize,
    /// The number of the line that was read last, from 1.
    number: usize,
}

struct Line<'a> {
    text: &'a [u8],
    range: Range<usize>,
}

impl<'a> LineReader<'a> {
    const fn new(body: &'a [u8]) -> Self {
        Self {
            body,
            position: 0,
            number: 0,
        }
    }

    fn next_line(&mut self) -> Option<Line<'a>> {
        let rest = self.body.get(self.position..).filter(|r| !r.is_empty())?;
        let (text, used) = match memchr::memchr(b'\n', rest) {
            Some(end) => (rest.get(..end)?, end + 1),
            None => (rest, rest.len()),
        };
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let range = self.position..self.position + text.len();
        self.position += used;
        self.number += 1;
        Some(Line { text, range })
    }
}

/// A value that mostly is the same from item to item: the bytes are kept once.
struct Name {
    default: Option<Bytes>,
    last: Option<Bytes>,
}

impl Name {
    fn new(default: Option<&[u8]>) -> Self {
        Self {
            default: default.map(Bytes::copy_from_slice),
            last: None,
        }
    }

    fn or_default(&mut self, own: Option<&str>) -> Option<Bytes> {
        let Some(own) = own else {
            return self.default.clone();
        };
        match &self.last {
            Some(last) if last == own.as_bytes() => Some(last.clone()),
            _ => {
                self.last = Some(Bytes::copy_from_slice(own.as_bytes()));
                self.last.clone()
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ActionLine<'a> {
    #[serde(borrow)]
    Index(RawMeta<'a>),
    #[serde(borrow)]
    Create(RawMeta<'a>),
    #[serde(borrow)]
    Update(RawMeta<'a>),
    #[serde(borrow)]
    Delete(RawMeta<'a>),
}

/// What an action says, with the spellings of Elasticsearch 6, each value as it is written. What does not
/// change which document is meant, or when, is passed over: `pipeline`, `require_alias`, `_source`,
/// `retry_on_conflict`, `dynamic_templates` and what later versions add.
#[derive(Deserialize)]
struct RawMeta<'a> {
    #[serde(borrow, rename = "_index")]
    index: Option<&'a RawValue>,
    #[serde(borrow, rename = "_type")]
    mapping_type: Option<&'a RawValue>,
    #[serde(borrow, rename = "_id")]
    id: Option<&'a RawValue>,
    #[serde(borrow, alias = "_routing")]
    routing: Option<&'a RawValue>,
    #[serde(borrow, alias = "_parent")]
    parent: Option<&'a RawValue>,
    #[serde(borrow, alias = "opType")]
    op_type: Option<&'a RawValue>,
    if_seq_no: Option<IgnoredAny>,
    if_primary_term: Option<IgnoredAny>,
    #[serde(alias = "_version")]
    version: Option<IgnoredAny>,
    #[serde(
        borrow,
        alias = "_version_type",
        alias = "versionType",
        alias = "_versionType"
    )]
    version_type: Option<&'a RawValue>,
}

struct Meta<'a> {
    index: Option<Cow<'a, str>>,
    mapping_type: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    routing: Option<Cow<'a, str>>,
    op_type: Option<Cow<'a, str>>,
    condition: Condition,
}

impl<'a> RawMeta<'a> {
    fn read(self) -> Result<Meta<'a>, NotText> {
        let version_type = optional(self.version_type)?;
        let external = version_type.is_some_and(|kind| kind.starts_with("external"));
        let sequence = self.if_seq_no.is_some() || self.if_primary_term.is_some();
        Ok(Meta {
            index: optional(self.index)?,
            mapping_type: optional(self.mapping_type)?,
            id: optional(self.id)?,
            // A child without a routing of its own goes where its parent is (Elasticsearch 6).
            routing: optional(self.routing.or(self.parent))?,
            op_type: optional(self.op_type)?,
            condition: match (sequence, self.version.is_some(), external) {
                (true, _, _) => Condition::Sequence,
                (false, true, true) => Condition::External,
                (false, true, false) => Condition::Version,
                (false, false, _) => Condition::None,
            },
        })
    }
}

/// A value that is an object or a list where text belongs, or a string that is not Unicode.
struct NotText;

fn optional(raw: Option<&RawValue>) -> Result<Option<Cow<'_, str>>, NotText> {
    raw.map(|raw| text(raw.get()).ok_or(NotText)).transpose()
}

/// A string, or a number or boolean as it is written: so the clusters read them where they expect text.
fn text(raw: &str) -> Option<Cow<'_, str>> {
    match raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
        Some(_) => serde_json::from_str(raw).ok().map(Cow::Owned),
        None if raw.starts_with(['{', '[']) => None,
        None => Some(Cow::Borrowed(raw)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &str) -> Vec<Document> {
        items(body.as_bytes(), b"default", None, None).unwrap()
    }

    fn bytes(text: &'static str) -> Option<Bytes> {
        Some(Bytes::from_static(text.as_bytes()))
    }

    fn source<'a>(body: &'a str, item: &Document) -> &'a str {
        body.get(item.lines.source.clone().unwrap()).unwrap()
    }

    #[test]
    fn every_action_is_read_with_the_lines_it_stands_in() {
        let body = concat!(
            "{\"index\":{\"_index\":\"a\",\"_id\":\"1\"}}\n{\"f\":1}\n",
            "{\"delete\":{\"_id\":\"2\"}}\n",
            "{\"create\":{\"_id\":\"3\",\"routing\":\"r\"}}\n{\"f\":3}\n",
            "{\"update\":{\"_id\":\"4\",\"_index\":\"b\",\"_type\":\"t\"}}\n{\"doc\":{}}\n",
        );
        let items = read(body);
        let told: Vec<_> = items
            .iter()
            .map(|item| (item.action, &item.index[..], item.id.as_deref()))
            .collect();
        assert_eq!(
            told,
            [
                (Action::Index, &b"a"[..], Some(&b"1"[..])),
                (Action::Delete, b"default", Some(b"2")),
                (Action::Create, b"default", Some(b"3")),
                (Action::Update, b"b", Some(b"4")),
            ]
        );
        assert_eq!(source(body, &items[2]), "{\"f\":3}");
        assert_eq!(
            body.get(items[1].lines.action.clone()).unwrap(),
            "{\"delete\":{\"_id\":\"2\"}}"
        );
        assert_eq!(items[1].lines.source, None);
        assert_eq!(items[2].routing, bytes("r"));
        assert_eq!(items[3].mapping_type, bytes("t"));
    }

    #[test]
    fn ids_are_unescaped_strings_or_numbers_as_they_are_written() {
        for (id, meant) in [
            (r#""a\"\u00e9\/""#, Some("a\"é/")),
            ("17", Some("17")),
            ("1.50", Some("1.50")),
            (
                "123456789012345678901234567890",
                Some("123456789012345678901234567890"),
            ),
            ("true", Some("true")),
            ("null", None),
        ] {
            let items = read(&format!("{{\"index\":{{\"_id\":{id}}}}}\n{{}}\n"));
            assert_eq!(items[0].id.as_deref(), meant.map(str::as_bytes), "{id}");
        }
    }

    #[test]
    fn defaults_of_the_url_hold_for_items_without_their_own() {
        let body = b"{\"index\":{}}\n{}\n{\"index\":{\"_type\":\"u\",\"_routing\":7}}\n{}\n";
        let items = items(body, b"i", Some(b"t"), Some(b"r")).unwrap();
        assert_eq!(items[0].mapping_type, bytes("t"));
        assert_eq!(items[0].routing, bytes("r"));
        assert_eq!(items[0].id, None);
        assert_eq!(items[1].mapping_type, bytes("u"));
        assert_eq!(items[1].routing, bytes("7"));
    }

    #[test]
    fn conditions_are_told_apart() {
        for (meta, condition) in [
            (r#""_id":"1""#, Condition::None),
            (
                r#""_id":"1","if_seq_no":3,"if_primary_term":1"#,
                Condition::Sequence,
            ),
            (r#""_id":"1","version":3"#, Condition::Version),
            (
                r#""_id":"1","_version":3,"_version_type":"internal""#,
                Condition::Version,
            ),
            (
                r#""_id":"1","version":3,"version_type":"external""#,
                Condition::External,
            ),
            (
                r#""_id":"1","version":"3","versionType":"external_gte""#,
                Condition::External,
            ),
        ] {
            let items = read(&format!("{{\"index\":{{{meta}}}}}\n{{}}\n"));
            assert_eq!(items[0].condition, condition, "{meta}");
        }
    }

    #[test]
    fn an_index_whose_op_type_is_create_creates() {
        let items = read("{\"index\":{\"_id\":\"1\",\"op_type\":\"create\"}}\n{}\n");
        assert_eq!(items[0].action, Action::Create);
    }

    #[test]
    fn a_child_of_elasticsearch_6_goes_to_the_shard_of_its_parent() {
        let items = read("{\"index\":{\"_id\":\"1\",\"parent\":\"p\"}}\n{}\n");
        assert_eq!(items[0].routing, bytes("p"));
    }

    #[test]
    fn an_update_is_scripted_by_its_top_level_keys_alone() {
        for (source, scripted) in [
            (r#"{"script":{"source":"ctx._source.n++"}}"#, true),
            (
                r#"{"upsert":{"n":1},"script":{"id":"s"},"scripted_upsert":true}"#,
                true,
            ),
            (r#"{"\u0073cript":"x"}"#, true),
            (r#"{"doc":{"script":1}}"#, false),
            (r#"{"doc":{"a":"script"}}"#, false),
            (r#"{"doc":{"n":1},"upsert":{"n":0}}"#, true),
            (
                r#"{"doc":{"n":1},"upsert":{"n":0},"doc_as_upsert":true}"#,
                false,
            ),
            (r#"{"doc":{"n":1},"doc_as_upsert":true}"#, false),
            (r#"{"doc":{"n":1},"script":"#, true),
        ] {
            let items = read(&format!("{{\"update\":{{\"_id\":\"1\"}}}}\n{source}\n"));
            assert_eq!(items[0].scripted, scripted, "{source}");
        }
        let items = read("{\"index\":{\"_id\":\"1\"}}\n{\"script\":1}\n");
        assert!(!items[0].scripted, "what is indexed is no update");
    }

    #[test]
    fn line_ends_and_blank_lines_are_as_lenient_as_the_cluster_is() {
        let body =
            "\n{\"index\":{\"_id\":\"1\"}}\r\n{\"f\":1}\r\n \r\n{\"delete\":{\"_id\":\"2\"}}";
        let items = read(body);
        assert_eq!(items.len(), 2);
        assert_eq!(source(body, &items[0]), "{\"f\":1}");
        assert_eq!(
            body.get(items[1].lines.action.clone()).unwrap(),
            "{\"delete\":{\"_id\":\"2\"}}"
        );
    }

    #[test]
    fn an_action_whose_source_never_comes_is_no_item() {
        assert_eq!(
            read("{\"delete\":{\"_id\":\"1\"}}\n{\"index\":{}}\n").len(),
            1
        );
    }

    #[test]
    fn other_encodings_and_lines_that_are_no_action_are_refused() {
        let none = |body: &[u8]| items(body, b"", None, None).unwrap_err();
        assert_eq!(none(b":)\n\x05\xfa"), BulkError::NotJson);
        assert_eq!(none(b"\xbfeindex\xbf\xff\xff"), BulkError::NotJson);
        assert_eq!(none(b"---\nindex:\n"), BulkError::NotJson);
        assert_eq!(
            none(b"{\"delete\":{\"_id\":\"1\"}}\n{\"f\":1}\n"),
            BulkError::Action { line: 2 }
        );
        for line in [
            "{\"index\":null}",
            "{\"index\":{\"_id\":[1]}}",
            "{\"index\":{\"_id\":\"\\ud800\"}}",
            "{\"reindex\":{}}",
            "{}",
            "{\"index\":{}",
        ] {
            let body = format!("{line}\n{{}}\n");
            assert_eq!(
                none(body.as_bytes()),
                BulkError::Action { line: 1 },
                "{line}"
            );
        }
    }

    fn item() -> impl Strategy<Value = (Action, Option<String>, Option<String>, bool)> {
        let action = prop_oneof![
            Just(Action::Index),
            Just(Action::Create),
            Just(Action::Update),
            Just(Action::Delete)
        ];
        (
            action,
            proptest::option::of(".{0,8}"),
            proptest::option::of("[a-z]{1,3}"),
            any::<bool>(),
        )
    }

    fn write(items: &[(Action, Option<String>, Option<String>, bool)], end: &str) -> String {
        let mut body = String::new();
        for (action, id, index, conditional) in items {
            let mut meta = serde_json::Map::new();
            if let Some(index) = index {
                meta.insert("_index".into(), index.as_str().into());
            }
            if *conditional {
                meta.insert("if_seq_no".into(), 5.into());
            }
            if let Some(id) = id {
                meta.insert("_id".into(), id.as_str().into());
            }
            let word = format!("{action:?}").to_lowercase();
            body += &serde_json::json!({ word: meta }).to_string();
            body += end;
            if *action != Action::Delete {
                body += "{\"doc\":{\"id\":\"{\"}}";
                body += end;
            }
        }
        body
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            written in proptest::collection::vec(item(), 0..20),
            end in prop_oneof![Just("\n"), Just("\r\n"), Just(" \n")],
        ) {
            let body = write(&written, end);
            let items = items(body.as_bytes(), b"default", None, None).unwrap();
            prop_assert_eq!(items.len(), written.len());
            for (read, (action, id, index, conditional)) in items.iter().zip(&written) {
                prop_assert_eq!(read.action, *action);
                prop_assert_eq!(read.id.as_deref(), id.as_deref().map(str::as_bytes));
                prop_assert_eq!(&read.index[..], index.as_deref().unwrap_or("default").as_bytes());
                prop_assert_eq!(read.condition == Condition::Sequence, *conditional);
                let source = read.lines.source.clone().map(|range| body.get(range).unwrap().trim_end());
                prop_assert_eq!(source, (*action != Action::Delete).then_some("{\"doc\":{\"id\":\"{\"}}"));
            }
        }

        #[test]
        fn no_bytes_make_it_panic_and_lines_are_inside_the_body(
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            for document in items(&body, b"", None, None).unwrap_or_default() {
                prop_assert!(body.get(document.lines.action).is_some());
            }
        }

        #[test]
        fn damage_to_a_body_never_makes_it_panic(
            written in proptest::collection::vec(item(), 1..8),
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut body = write(&written, "\n").into_bytes();
            let at = at.index(body.len());
            body[at] = byte;
            for document in items(&body, b"", None, None).unwrap_or_default() {
                prop_assert!(body.get(document.lines.action).is_some());
                prop_assert!(document.lines.source.is_none_or(|range| body.get(range).is_some()));
            }
        }
    }
}
