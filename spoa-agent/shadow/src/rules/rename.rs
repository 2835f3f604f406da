//! Indices that have another name on the target.
//!
//! The map is read in this order: exact names first, then patterns as they stand in the file; the first that
//! fits decides, and nothing is renamed twice. A pattern has one `*`, and what it stands for is carried over.
//! Aliases and data streams are renamed like indices, because a request does not tell which it means.
//!
//! An expression with `*` of its own is renamed when a pattern means all of it: `logs-2026-*` is a part of
//! `logs-*`. `*` and `_all` stay: all indices are all indices there too. Of an expression that means renamed
//! indices and others (`lo*`) there is no translation: the request is not sent. The same goes for a name
//! that stays, but is what another index is called on the target. Names of other clusters (`other:logs-1`)
//! stay.
//!
//! Where names stand in requests: in the path, in the query's `index`, and in bodies ([`super::body`]).

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use exchange::Request;
use exchange::operation::content::{Unreadable, decoded};

use super::glob::Glob;
use super::{body, path};

/// The map from the primary's names to the target's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rename {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    from: Glob,
    to: Glob,
}

/// Why an index name in a request cannot be put as the target knows it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unrenamable {
    /// An expression that means indices that are renamed and others that are not.
    #[error("the index expression {:?} means renamed indices and others", .0.escape_ascii().to_string())]
    Mixed(Bytes),
    /// A name that stays, and that another index has on the target.
    #[error("the index {:?} would be one with an index that is renamed", .0.escape_ascii().to_string())]
    Taken(Bytes),
    /// The body may name indices, and cannot be read.
    #[error("the body may name an index: {0}")]
    Body(#[from] Unreadable),
    /// The body may name indices, and is not JSON, or is nested too deeply.
    #[error("the body may name an index, and is not JSON that can be read")]
    Format,
    /// The body is SQL, PPL or ES|QL.
    #[error("the body is in a query language, in which index names are not found")]
    Language,
}

impl Unrenamable {
    /// The word for it, as metrics use it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Mixed(_) => "mixed expression",
            Self::Taken(_) => "name taken",
            Self::Body(_) => "unreadable body",
            Self::Format => "not json",
            Self::Language => "query language",
        }
    }
}

/// What was done to a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Renamed {
    pub(crate) any: bool,
    pub(crate) decoded: bool,
}

/// What takes the place of some bytes.
pub(super) type Edit = (Range<usize>, Vec<u8>);

impl Rename {
    /// Adds a name, or a pattern with one `*` on both sides.
    pub(crate) fn add(&mut self, from: &[u8], to: &[u8]) {
        let entry = Entry {
            from: Glob::new(from),
            to: Glob::new(to),
        };
        let exact = self.entries.iter().take_while(|it| it.from.is_plain());
        let at = if entry.from.is_plain() {
            exact.count()
        } else {
            self.entries.len()
        };
        self.entries.insert(at, entry);
    }

    /// What the target calls an index of this name, when it is another name.
    pub(crate) fn name(&self, name: &[u8]) -> Option<Vec<u8>> {
        let entry = self.entries.iter().find(|it| it.from.covers(name))?;
        entry.put(name).filter(|renamed| renamed != name)
    }

    /// Renames in the target and the body. After an error the request is as it was.
    pub(crate) fn apply(&self, request: &mut Request) -> Result<Renamed, Unrenamable> {
        let mut renamed = Renamed::default();
        if self.entries.is_empty() {
            return Ok(renamed);
        }
        let segments = path::segments(&request.target);
        let target = self.target(&request.target, &segments)?;
        let content = decoded_if(body::names_indices(&segments, &request.method), request)?;
        let body_edits = match &content {
            Some(content) => body::edits(self, &segments, &request.method, content)?,
            None => Vec::new(),
        };
        if !body_edits.is_empty() {
            renamed.any = true;
            renamed.decoded = matches!(content, Some(Cow::Owned(_)));
            let content = splice(&content.unwrap_or_default(), body_edits);
            request.body.content = content.into();
        }
        if renamed.decoded {
            let fields = &mut request.headers.0;
            fields.retain(|field| !field.name.eq_ignore_ascii_case(b"content-encoding"));
        }
        if let Some(target) = target {
            renamed.any = true;
            request.target = target;
        }
        Ok(renamed)
    }

    fn target(
        &self,
        target: &[u8],
        segments: &[path::Segment<'_>],
    ) -> Result<Option<Bytes>, Unrenamable> {
        let mut edits: Vec<Edit> = Vec::new();
        for place in path::index_places(target, segments) {
            for piece in path::list(target, place) {
                let raw = target.get(piece.clone()).unwrap_or_default();
                if let Some(name) = self.expression(&path::decoded(raw))? {
                    edits.push((piece, path::encoded(&name)));
                }
            }
        }
        Ok((!edits.is_empty()).then(|| splice(target, edits).into()))
    }

    /// Renames a list of expressions with commas between them.
    pub(super) fn list(&self, list: &[u8]) -> Result<Option<Vec<u8>>, Unrenamable> {
        let mut out = Vec::with_capacity(list.len());
        let mut changed = false;
        for (at, expression) in list.split(|b| *b == b',').enumerate() {
            if at > 0 {
                out.push(b',');
            }
            match self.expression(expression)? {
                Some(renamed) => {
                    changed = true;
                    out.extend_from_slice(&renamed);
                }
                None => out.extend_from_slice(expression),
            }
        }
        Ok(changed.then_some(out))
    }

    /// Renames one expression: an optional `-`, a name or pattern or date math, an optional `::` selector.
    fn expression(&self, expression: &[u8]) -> Result<Option<Vec<u8>>, Unrenamable> {
        let (before, rest) = split_prefix(expression, b"-");
        let is_date_math = rest.first() == Some(&b'<') && rest.last() == Some(&b'>');
        if is_date_math {
            let inner = rest.get(1..rest.len() - 1).unwrap_or_default();
            let renamed = self.core(inner, &without_dates(inner), expression)?;
            return Ok(renamed.map(|name| [before, b"<", &name, b">"].concat()));
        }
        let colon = rest.iter().position(|b| *b == b':').unwrap_or(rest.len());
        let (name, behind) = rest.split_at_checked(colon).unwrap_or((rest, b""));
        if !behind.is_empty() && !behind.starts_with(b"::") {
            return Ok(None);
        }
        let renamed = self.core(name, name, expression)?;
        Ok(renamed.map(|name| [before, &name, behind].concat()))
    }

    /// `shape` is the name with `*` for what is not known of it.
    fn core(
        &self,
        name: &[u8],
        shape: &[u8],
        expression: &[u8],
    ) -> Result<Option<Vec<u8>>, Unrenamable> {
        if matches!(name, b"" | b"*" | b"_all") {
            return Ok(None);
        }
        let is_pattern = shape.contains(&b'*');
        for entry in &self.entries {
            if entry.from.covers(shape) {
                return Ok(entry.put(name).filter(|renamed| renamed != name));
            }
            if is_pattern && entry.from.overlaps(shape) {
                return Err(Unrenamable::Mixed(Bytes::copy_from_slice(expression)));
            }
        }
        if self.entries.iter().any(|entry| entry.to.overlaps(shape)) {
            return Err(Unrenamable::Taken(Bytes::copy_from_slice(expression)));
        }
        Ok(None)
    }
}

impl Entry {
    /// Puts what the `*` stands for into the new name.
    fn put(&self, name: &[u8]) -> Option<Vec<u8>> {
        let (before, behind) = halves(self.from.text());
        let Some(behind) = behind else {
            return Some(self.to.text().to_vec());
        };
        let kept = name.strip_prefix(before)?.strip_suffix(behind)?;
        let (before, behind) = halves(self.to.text());
        Some([before, kept, behind.unwrap_or_default()].concat())
    }
}

/// What stands before the `*`, and behind it when there is one.
fn halves(pattern: &[u8]) -> (&[u8], Option<&[u8]>) {
    match pattern.iter().position(|b| *b == b'*') {
        Some(at) => {
            let (before, star) = pattern.split_at_checked(at).unwrap_or((pattern, b""));
            (before, star.get(1..))
        }
        None => (pattern, None),
    }
}

fn split_prefix<'b>(bytes: &'b [u8], prefix: &'static [u8]) -> (&'static [u8], &'b [u8]) {
    match bytes.strip_prefix(prefix) {
        Some(rest) => (prefix, rest),
        None => (b"", bytes),
    }
}

/// Date math with `*` for each date: `logs-{now/d{yyyy}}` is `logs-*`.
fn without_dates(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut depth = 0_usize;
    for byte in name {
        match byte {
            b'{' => {
                if depth == 0 {
                    out.push(b'*');
                }
                depth += 1;
            }
            b'}' => depth = depth.saturating_sub(1),
            _ if depth == 0 => out.push(*byte),
            _ => {}
        }
    }
    out
}

fn decoded_if(wanted: bool, request: &Request) -> Result<Option<Cow<'_, [u8]>>, Unrenamable> {
    let is_empty = request.body.is_whole() && request.body.content.is_empty();
    if !wanted || is_empty {
        return Ok(None);
    }
    Ok(Some(decoded(&request.headers, &request.body)?))
}

/// The bytes with the edits made, which stand in order and do not overlap.
fn splice(bytes: &[u8], edits: Vec<Edit>) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + edits.len() * 16);
    let mut from = 0;
    for (range, new) in edits {
        out.extend_from_slice(bytes.get(from..range.start).unwrap_or_default());
        out.extend_from_slice(&new);
        from = range.end;
    }
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
    out
}
