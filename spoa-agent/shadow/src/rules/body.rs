//! Where index names stand in bodies. Only the bytes of a name are changed; everything else stays as it was
//! captured: white space, order, repeated keys, numbers as they were written.
//!
//! | API | places |
//! |---|---|
//! | `_bulk` | `_index` of each action line |
//! | `_msearch` | `index` and `indices` of each header line; each search as below |
//! | `_mget`, `_mtermvectors` | `docs[]._index` |
//! | `_reindex` | `source.index` (unless it is on another cluster), `dest.index` |
//! | `_aliases` | `index`, `indices`, `alias`, `aliases` of each action |
//! | templates | `index_patterns`, `template` (Elasticsearch 5), the names under `aliases` |
//! | creating, rolling over, shrinking, splitting, cloning | the names under `aliases` |
//! | `_cluster/reroute`, `_snapshot`, `_data_stream/_modify` | `index`, `indices`, `data_stream` |
//! | searches, counts, by-query operations | terms look-ups, indexed shapes, percolators, `like` documents, queries on `_index`, `indices_boost` |
//!
//! Not looked at: documents themselves, stored scripts and search templates, policies (ILM, ISM, transforms,
//! rollups), a search in the query's `source`. SQL, PPL and ES|QL are refused.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::path::{Segment, is_api};
use super::rename::{Edit, Rename, Unrenamable};

/// What a body is made of, as far as index names go.
#[derive(Clone, Copy)]
enum Layout {
    /// No index names.
    None,
    /// Action lines and source lines.
    Bulk,
    /// Header lines and searches.
    Msearch,
    /// One JSON value.
    Json(Places),
    /// `_reindex`.
    Reindex,
    /// SQL and the like.
    Language,
}

/// Places in a JSON value: keys with dots between them. `*` is any key, `@keys` are the names of the keys
/// themselves; arrays are passed through. A place ends at a string, or a list of strings.
#[derive(Clone, Copy)]
struct Places {
    /// From the top.
    top: &'static [&'static str],
    /// From any depth.
    deep: &'static [&'static str],
}

const ACTION: Places = from_top(&["*._index"]);
const HEADER: Places = from_top(&["index", "indices"]);
const DOCS: Places = from_top(&["docs._index"]);
const ALIASES: Places = from_top(&["aliases.@keys"]);
const REINDEX: Places = from_top(&["source.index", "dest.index"]);
const REINDEX_REMOTE: Places = from_top(&["dest.index"]);
const ALIAS_ACTIONS: Places = from_top(&[
    "actions.*.index",
    "actions.*.indices",
    "actions.*.alias",
    "actions.*.aliases",
]);
const TEMPLATE: Places = from_top(&["index_patterns", "template", "aliases.@keys"]);
const INDEX_TEMPLATE: Places = from_top(&["index_patterns", "template.aliases.@keys"]);
const REROUTE: Places = from_top(&["commands.*.index"]);
const SNAPSHOT: Places = from_top(&["indices"]);
const STREAMS: Places = from_top(&["actions.*.data_stream", "actions.*.index"]);
const SEARCH: Places = Places {
    top: &["indices_boost.@keys"],
    deep: &[
        "terms.*.index",
        "terms_set.*.index",
        "*.indexed_shape.index",
        "percolate.index",
        "like._index",
        "unlike._index",
        "term._index",
        "term._index.value",
        "terms._index",
        "prefix._index",
        "prefix._index.value",
        "wildcard._index",
        "wildcard._index.value",
    ],
};

const fn from_top(top: &'static [&'static str]) -> Places {
    Places { top, deep: &[] }
}

fn layout(segments: &[Segment<'_>], method: &[u8]) -> Layout {
    let names: Vec<&[u8]> = segments.iter().map(|it| it.name.as_ref()).collect();
    let Some(at) = names.iter().position(|name| is_api(name)) else {
        let creates = names.len() == 1 && method == b"PUT";
        return if creates {
            Layout::Json(ALIASES)
        } else {
            Layout::None
        };
    };
    match names.get(at..).unwrap_or_default() {
        [b"_bulk", ..] => Layout::Bulk,
        [b"_msearch", ..] => Layout::Msearch,
        [b"_mget" | b"_mtermvectors", ..] => Layout::Json(DOCS),
        [b"_reindex", ..] => Layout::Reindex,
        [b"_aliases", ..] => Layout::Json(ALIAS_ACTIONS),
        [b"_template", ..] => Layout::Json(TEMPLATE),
        [b"_index_template" | b"_component_template", ..] => Layout::Json(INDEX_TEMPLATE),
        [b"_shrink" | b"_split" | b"_clone" | b"_rollover", ..] => Layout::Json(ALIASES),
        [b"_cluster", b"reroute", ..] => Layout::Json(REROUTE),
        [b"_snapshot", ..] => Layout::Json(SNAPSHOT),
        [b"_data_stream", b"_modify", ..] => Layout::Json(STREAMS),
        // Tokens, in old versions as plain text.
        [b"_search", b"scroll" | b"point_in_time", ..] => Layout::None,
        [
            b"_search" | b"_mvt" | b"_rollup_search" | b"_count" | b"_async_search" | b"_validate"
            | b"_explain" | b"_delete_by_query" | b"_update_by_query" | b"_rank_eval"
            | b"_field_caps" | b"_knn_search",
            ..,
        ]
        | [b"_plugins" | b"_opendistro", b"_asynchronous_search", ..] => Layout::Json(SEARCH),
        [b"_sql" | b"_query", ..]
        | [b"_xpack", b"sql", ..]
        | [b"_plugins" | b"_opendistro", b"_sql" | b"_ppl", ..] => Layout::Language,
        _ => Layout::None,
    }
}

/// Whether the body of such a request may name indices.
pub(super) fn names_indices(segments: &[Segment<'_>], method: &[u8]) -> bool {
    !matches!(layout(segments, method), Layout::None)
}

/// What is to be changed in a body, in the order of its bytes.
pub(super) fn edits(
    rename: &Rename,
    segments: &[Segment<'_>],
    method: &[u8],
    body: &[u8],
) -> Result<Vec<Edit>, Unrenamable> {
    let mut finder = Finder {
        rename,
        body,
        edits: Vec::new(),
    };
    match layout(segments, method) {
        Layout::None => {}
        Layout::Bulk => finder.bulk()?,
        Layout::Msearch => finder.msearch()?,
        Layout::Json(places) => finder.json(body, places)?,
        Layout::Reindex => {
            let places = if reads_another_cluster(body)? {
                REINDEX_REMOTE
            } else {
                REINDEX
            };
            finder.json(body, places)?;
        }
        Layout::Language => return Err(Unrenamable::Language),
    }
    Ok(finder.edits)
}

fn reads_another_cluster(body: &[u8]) -> Result<bool, Unrenamable> {
    let is = |key: &RawValue, name: &str| text(key).is_ok_and(|key| key == name);
    let top: Object<'_> = parse(body)?;
    for (key, value) in top.0 {
        if is(key, "source") && value.get().starts_with('{') {
            let source: Object<'_> = parse(value.get().as_bytes())?;
            if source.0.iter().any(|(key, _)| is(key, "remote")) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

struct Finder<'a> {
    rename: &'a Rename,
    body: &'a [u8],
    edits: Vec<Edit>,
}

/// Deeper than any request that a person writes; each level costs some stack and one more look at the bytes.
const DEPTH: usize = 128;

impl Finder<'_> {
    fn bulk(&mut self) -> Result<(), Unrenamable> {
        let mut lines = self.body.split(|b| *b == b'\n');
        while let Some(line) = lines.next() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let action: Object<'_> = parse(line)?;
            self.json(line, ACTION)?;
            let is_delete = match action.0.first() {
                Some((key, _)) => text(key)? == "delete",
                None => return Err(Unrenamable::Format),
            };
            if !is_delete {
                lines.next();
            }
        }
        Ok(())
    }

    /// A header line may be empty; the very first line, when it is, is nothing at all.
    fn msearch(&mut self) -> Result<(), Unrenamable> {
        let body = self.body.strip_prefix(b"\n").unwrap_or(self.body);
        let mut lines = body.split(|b| *b == b'\n');
        while let Some(header) = lines.next() {
            if !header.trim_ascii().is_empty() {
                self.json(header, HEADER)?;
            }
            if let Some(search) = lines.next()
                && !search.trim_ascii().is_empty()
            {
                self.json(search, SEARCH)?;
            }
        }
        Ok(())
    }

    fn json(&mut self, json: &[u8], places: Places) -> Result<(), Unrenamable> {
        if json.trim_ascii().is_empty() {
            return Ok(());
        }
        self.walk(parse(json)?, places.top, places.deep, DEPTH)
    }

    fn walk(
        &mut self,
        value: &RawValue,
        here: &[&'static str],
        deep: &'static [&'static str],
        depth: usize,
    ) -> Result<(), Unrenamable> {
        if here.is_empty() && deep.is_empty() {
            return Ok(());
        }
        let Some(deeper) = depth.checked_sub(1) else {
            return Err(Unrenamable::Format);
        };
        let json = value.get();
        match json.as_bytes().first() {
            Some(b'{') => {
                let object: Object<'_> = parse(json.as_bytes())?;
                let are_names = here.contains(&"@keys");
                for (key, value) in object.0 {
                    if are_names {
                        self.name(key)?;
                    }
                    let next = behind(here.iter().chain(deep), &text(key)?);
                    self.walk(value, &next, deep, deeper)?;
                }
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = parse(json.as_bytes())?;
                for item in items {
                    self.walk(item, here, deep, deeper)?;
                }
            }
            Some(b'"') if here.contains(&"") => self.name(value)?,
            _ => {}
        }
        Ok(())
    }

    /// Renames a string that stands in the body.
    fn name(&mut self, value: &RawValue) -> Result<(), Unrenamable> {
        let Some(renamed) = self.rename.list(text(value)?.as_bytes())? else {
            return Ok(());
        };
        let renamed = String::from_utf8(renamed).map_err(|_| Unrenamable::Format)?;
        let json = serde_json::to_string(&renamed).map_err(|_| Unrenamable::Format)?;
        // A raw value is a part of the body itself.
        let start = value
            .get()
            .as_ptr()
            .addr()
            .saturating_sub(self.body.as_ptr().addr());
        let range = start..start + value.get().len();
        self.edits.push((range, json.into_bytes()));
        Ok(())
    }
}

/// What is left of the places behind this key.
fn behind<'p>(places: impl Iterator<Item = &'p &'static str>, key: &str) -> Vec<&'static str> {
    places
        .filter(|place| !place.is_empty())
        .filter_map(|place| {
            let (head, rest) = place.split_once('.').unwrap_or((place, ""));
            (head == "*" || head == key).then_some(rest)
        })
        .collect()
}

fn parse<'j, T: Deserialize<'j>>(json: &'j [u8]) -> Result<T, Unrenamable> {
    serde_json::from_slice(json).map_err(|_| Unrenamable::Format)
}

fn text(value: &RawValue) -> Result<Cow<'_, str>, Unrenamable> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let Text(text) = parse(value.get().as_bytes())?;
    Ok(text)
}

/// The keys and values of an object as they are written, repeated keys included.
struct Object<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Object(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
