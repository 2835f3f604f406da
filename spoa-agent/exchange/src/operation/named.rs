//! What a body names: documents, indices, aliases. Only what order needs is read; no tree is built.
//!
//! Each function gives `None` when the body does not say it beyond doubt; the caller then takes the
//! wider reading. The cluster reads more than is read here (YAML, CBOR, SMILE, comments in JSON): that is doubt, too.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Action, Condition, Document, Indices, Lines};

/// More index expressions than this are read as all indices.
const MOST_NAMES: usize = 256;

/// More documents than this are not told apart.
const MOST_DOCUMENTS: usize = 1 << 16;

/// Longer bodies are not read, except `_bulk` and `_update`: what is read of them is in
/// memory at once, and can be many times as large.
pub(super) const LONGEST: usize = 4 << 20;

/// The documents of an `_mget` or `_mtermvectors` body, in order.
pub(super) fn documents(body: &[u8], default: &Defaults<'_>) -> Option<Vec<Document>> {
    #[derive(Deserialize)]
    struct Written<'a> {
        #[serde(borrow, default)]
        docs: Vec<Doc<'a>>,
        #[serde(borrow, default)]
        ids: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Doc<'a> {
        #[serde(borrow, rename = "_index")]
        index: Option<&'a RawValue>,
        #[serde(borrow, rename = "_type")]
        mapping_type: Option<&'a RawValue>,
        #[serde(borrow, rename = "_id")]
        id: Option<&'a RawValue>,
        #[serde(borrow, alias = "_routing", alias = "parent", alias = "_parent")]
        routing: Option<&'a RawValue>,
    }

    let written: Written<'_> = serde_json::from_slice(body).ok()?;
    // The answer has the items in the order of the body, which is lost when it has both lists.
    if written.docs.is_empty() == written.ids.is_empty()
        || written.docs.len().max(written.ids.len()) > MOST_DOCUMENTS
    {
        return None;
    }
    let of_docs = written.docs.iter().map(|doc| {
        Some(Document {
            index: match doc.index {
                Some(index) => scalar(index)?,
                None => default.index()?,
            },
            mapping_type: match doc.mapping_type {
                Some(mapping_type) => Some(scalar(mapping_type)?),
                None => default.mapping_type.map(Bytes::copy_from_slice),
            },
            id: Some(scalar(doc.id?)?),
            routing: match doc.routing {
                Some(routing) => Some(scalar(routing)?),
                None => default.routing.map(Bytes::copy_from_slice),
            },
            ..read_document()
        })
    });
    let of_ids = written.ids.iter().map(|id| {
        Some(Document {
            index: default.index()?,
            mapping_type: default.mapping_type.map(Bytes::copy_from_slice),
            id: Some(scalar(id)?),
            routing: default.routing.map(Bytes::copy_from_slice),
            ..read_document()
        })
    });
    of_docs.chain(of_ids).collect()
}

/// What a document has that names nothing of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defaults<'a> {
    pub(super) index: Option<&'a [u8]>,
    pub(super) mapping_type: Option<&'a [u8]>,
    pub(super) routing: Option<&'a [u8]>,
}

impl Defaults<'_> {
    fn index(&self) -> Option<Bytes> {
        self.index.map(Bytes::copy_from_slice)
    }
}

const fn read_document() -> Document {
    Document {
        action: Action::Get,
        index: Bytes::new(),
        mapping_type: None,
        id: None,
        routing: None,
        condition: Condition::None,
        scripted: false,
        lines: Lines {
            action: 0..0,
            source: None,
        },
    }
}

/// The source and the destination of a `_reindex`. The destination comes last, so that no exclusion among the
/// sources takes it away. The sources are another cluster's when there is a `remote`.
pub(super) fn reindexed(body: &[u8]) -> Option<Indices> {
    #[derive(Deserialize)]
    struct Written<'a> {
        #[serde(borrow)]
        source: Source<'a>,
        #[serde(borrow)]
        dest: Dest<'a>,
    }
    #[derive(Deserialize)]
    struct Source<'a> {
        #[serde(borrow)]
        index: OneOrMany<'a>,
        remote: Option<IgnoredAny>,
    }
    #[derive(Deserialize)]
    struct Dest<'a> {
        #[serde(borrow)]
        index: &'a RawValue,
    }

    let written: Written<'_> = serde_json::from_slice(body).ok()?;
    let mut indices = Indices::default();
    if written.source.remote.is_none() {
        written.source.index.add_to(&mut indices)?;
        if indices.names.is_empty() {
            return None;
        }
    }
    indices.names.push(scalar(written.dest.index)?);
    Some(indices)
}

/// The indices that the headers of an `_msearch` name, or else `default`.
pub(super) fn searched(body: &[u8], default: &Indices) -> Option<Indices> {
    #[derive(Deserialize)]
    struct Header<'a> {
        #[serde(borrow, alias = "indices")]
        index: Option<OneOrMany<'a>>,
    }

    let mut union = Union::default();
    let mut lines = body.split(|b| *b == b'\n');
    while let Some(line) = lines.next() {
        if line.trim_ascii().is_empty() {
            // The empty end of the body; elsewhere the pairs cannot be told.
            return lines.next().is_none().then(|| union.indices()).flatten();
        }
        let header: Header<'_> = serde_json::from_slice(line).ok()?;
        match header.index {
            Some(named) => union.add(named.indices()?)?,
            None => union.add(default.clone())?,
        }
        lines.next();
    }
    union.indices()
}

/// The indices and aliases that an `_aliases` body names.
pub(super) fn aliased(body: &[u8]) -> Option<Indices> {
    #[derive(Deserialize)]
    struct Written<'a> {
        #[serde(borrow)]
        actions: Vec<Step<'a>>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Step<'a> {
        #[serde(borrow)]
        add: Option<Names<'a>>,
        #[serde(borrow)]
        remove: Option<Names<'a>>,
        #[serde(borrow)]
        remove_index: Option<Names<'a>>,
    }
    #[derive(Deserialize)]
    struct Names<'a> {
        #[serde(borrow, alias = "indices")]
        index: OneOrMany<'a>,
        #[serde(borrow, alias = "aliases")]
        alias: Option<OneOrMany<'a>>,
    }

    let written: Written<'_> = serde_json::from_slice(body).ok()?;
    let mut union = Union::default();
    for step in written.actions {
        for names in [step.add, step.remove, step.remove_index] {
            let Some(names) = names else { continue };
            union.add(names.index.indices()?)?;
            if let Some(aliases) = names.alias {
                union.add(aliases.indices()?)?;
            }
        }
    }
    union.indices()
}

/// The aliases that a new index gets from the body that creates it, none from an empty body.
pub(super) fn new_aliases(body: &[u8]) -> Option<Vec<Bytes>> {
    #[derive(Deserialize)]
    struct Written {
        aliases: Option<Keys>,
    }
    if body.trim_ascii().is_empty() {
        return Some(Vec::new());
    }
    let written: Written = serde_json::from_slice(body).ok()?;
    Some(written.aliases.map(|keys| keys.0).unwrap_or_default())
}

/// Whether the body of a single alias leaves the names to the path.
pub(super) fn is_alias_of_the_path(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Written {
        index: Option<IgnoredAny>,
        alias: Option<IgnoredAny>,
    }
    body.trim_ascii().is_empty()
        || serde_json::from_slice(body)
            .is_ok_and(|written: Written| written.index.is_none() && written.alias.is_none())
}

/// Whether an SQL request may delete: OpenSearch's SQL has a `DELETE` that can be switched on.
pub(super) fn may_delete(body: &[u8]) -> bool {
    body.windows(6)
        .any(|word| word.eq_ignore_ascii_case(b"delete"))
        || body.contains(&b'\\')
}

/// Expressions from several places as one. An exclusion would take away from what another place named, so
/// there is none when there are several places.
#[derive(Debug, Default)]
struct Union {
    names: BTreeSet<Bytes>,
    first: Option<Indices>,
    places: usize,
}

impl Union {
    fn add(&mut self, indices: Indices) -> Option<()> {
        if indices.names.is_empty() {
            return None;
        }
        if self.first.as_ref() == Some(&indices) {
            return Some(());
        }
        self.names.extend(
            indices
                .names
                .iter()
                .filter(|name| !name.starts_with(b"-"))
                .cloned(),
        );
        self.places += 1;
        self.first.get_or_insert(indices);
        (self.names.len() <= MOST_NAMES).then_some(())
    }

    fn indices(self) -> Option<Indices> {
        match self.places {
            0 => None,
            1 => self.first,
            _ => Some(Indices {
                names: self.names.into_iter().collect(),
            }),
        }
    }
}

/// A name, or a list of names.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct OneOrMany<'a>(#[serde(borrow)] &'a RawValue);

impl OneOrMany<'_> {
    fn add_to(&self, indices: &mut Indices) -> Option<()> {
        let text = self.0.get();
        if !text.starts_with('[') {
            indices.add(&scalar(self.0)?);
            return Some(());
        }
        let names: Vec<&RawValue> = serde_json::from_str(text).ok()?;
        if names.len() > MOST_NAMES {
            return None;
        }
        for name in names {
            indices.add(&scalar(name)?);
        }
        Some(())
    }

    fn indices(&self) -> Option<Indices> {
        let mut indices = Indices::default();
        self.add_to(&mut indices)?;
        Some(indices)
    }
}

/// A string without its quotes, or a number or boolean as written: the cluster takes these for text.
fn scalar(value: &RawValue) -> Option<Bytes> {
    let text = value.get();
    match text.as_bytes().first()? {
        b'"' => serde_json::from_str::<String>(text).ok().map(Bytes::from),
        b'[' | b'{' | b'n' => None,
        _ => Some(Bytes::copy_from_slice(text.as_bytes())),
    }
}

/// The keys of an object.
#[derive(Debug)]
struct Keys(Vec<Bytes>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Keys;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                    if keys.len() >= MOST_NAMES {
                        return Err(serde::de::Error::custom("too many names"));
                    }
                    keys.push(Bytes::from(key));
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}
