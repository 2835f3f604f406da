//! When a rule is meant.

use std::cell::OnceCell;
use std::ops::RangeInclusive;

use exchange::operation::{Access, Operation, Reach};

use super::Facts;
use super::glob::Glob;
use super::path;

/// All that is asked for must be so; an empty list asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct When {
    pub(crate) method: Vec<String>,
    pub(crate) path: Vec<Glob>,
    pub(crate) api: Vec<Glob>,
    pub(crate) index: Vec<Glob>,
    /// Names with what the value may be; one field of that name must be so.
    pub(crate) header: Vec<(String, Vec<Glob>)>,
    pub(crate) status: Vec<Status>,
    pub(crate) access: Option<Access>,
}

/// A status of the primary's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Within(RangeInclusive<u16>),
    /// There is no answer.
    Missing,
}

/// Of the indices that a request names, how many must be those of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// One is enough: the rule keeps the request from the target.
    Any,
    /// All of them: the rule lets the request through, and with it all that it names.
    All,
}

/// A request being judged; what several rules want to know is found out once.
pub(crate) struct Judged<'a> {
    pub(crate) facts: &'a Facts<'a>,
    path: OnceCell<Vec<u8>>,
}

impl<'a> Judged<'a> {
    pub(crate) fn new(facts: &'a Facts<'a>) -> Self {
        Self {
            facts,
            path: OnceCell::new(),
        }
    }

    fn path(&self) -> &[u8] {
        self.path
            .get_or_init(|| path::plain(&self.facts.request.target))
    }
}

impl When {
    /// Whether it asks for nothing.
    pub(crate) fn is_always(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn is_met(&self, judged: &Judged<'_>, extent: Extent) -> bool {
        let facts = judged.facts;
        let request = facts.request;
        let is_method = |method: &String| method.as_bytes() == request.method;
        (self.method.is_empty() || self.method.iter().any(is_method))
            && self
                .access
                .is_none_or(|access| access == facts.operation.access)
            && (self.api.is_empty() || covers(&self.api, facts.api.as_bytes()))
            && (self.status.is_empty() || self.status.iter().any(|it| it.is(facts.status)))
            && (self.path.is_empty() || covers(&self.path, judged.path()))
            && self.has_headers(facts)
            && (self.index.is_empty() || self.has_indices(facts.operation, extent))
    }

    fn has_headers(&self, facts: &Facts<'_>) -> bool {
        self.header.iter().all(|(name, values)| {
            facts
                .request
                .headers
                .get_all(name)
                .any(|value| covers(values, value))
        })
    }

    fn has_indices(&self, operation: &Operation, extent: Extent) -> bool {
        let names = named(operation);
        let is = |glob: &Glob, name: &[u8]| match extent {
            Extent::Any => glob.overlaps(name),
            Extent::All => glob.covers(name),
        };
        let is_one_of = |name: &&[u8]| self.index.iter().any(|glob| is(glob, name));
        match extent {
            Extent::Any => names.iter().any(is_one_of),
            Extent::All => !names.is_empty() && names.iter().all(is_one_of),
        }
    }
}

impl Status {
    fn is(&self, status: Option<u16>) -> bool {
        match (self, status) {
            (Self::Within(range), Some(status)) => range.contains(&status),
            (Self::Missing, None) => true,
            _ => false,
        }
    }

    /// Whether the primary refused the request, so that it changed nothing there.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Within(range) if *range.start() >= 400)
    }
}

fn covers(globs: &[Glob], text: &[u8]) -> bool {
    globs.iter().any(|glob| glob.covers(text))
}

/// The index expressions that an operation names; `*` for all indices. An operation that concerns none
/// (`/_nodes`, `/`) has none.
fn named(operation: &Operation) -> Vec<&[u8]> {
    if operation.reach == Reach::Documents && !operation.documents.is_empty() {
        let mut names: Vec<&[u8]> = operation
            .documents
            .iter()
            .map(|document| document.index.as_ref())
            .collect();
        // The items of a `_bulk` mostly share a few indices, one after the other.
        names.dedup();
        return names;
    }
    let names = &operation.indices.names;
    if names.is_empty() && operation.reach == Reach::Indices {
        return vec![b"*"];
    }
    // An exclusion takes something away from the others; judging by the others is on the safe side.
    names
        .iter()
        .map(AsRef::as_ref)
        .filter(|name: &&[u8]| !name.starts_with(b"-"))
        .map(|name| if name == b"_all" { b"*" } else { name })
        .collect()
}
