//! Header fields that rules set and remove.

use bytes::Bytes;
use exchange::{Header, Request};

use super::glob::Glob;

/// What rules do with header fields. Those that the sender computes are never touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeaderRules {
    /// Names in lower case, with their values.
    pub(crate) set: Vec<(Bytes, Bytes)>,
    /// Patterns of names in lower case.
    pub(crate) remove: Vec<Glob>,
}

/// Fields that say how the body and the connection are to be read. No pattern removes them.
pub(crate) const KEPT: &[&str] = &[
    "host",
    "connection",
    "content-type",
    "content-encoding",
    "content-length",
    "transfer-encoding",
    "trailer",
    "te",
    "upgrade",
    "expect",
];

impl HeaderRules {
    /// Whether anything changed.
    pub(crate) fn apply(&self, request: &mut Request) -> bool {
        // A target that is a URL names its host; HAProxy refuses one that `host` contradicts.
        let is_path = matches!(request.target.first(), Some(b'/' | b'*'));
        let fields = &mut request.headers.0;
        let before = fields.len();
        if !self.remove.is_empty() {
            fields.retain(|field| !self.removes(&field.name));
        }
        let mut changed = fields.len() != before;
        for (name, value) in &self.set {
            if is_path || name.as_ref() != b"host" {
                changed |= set(fields, name, value);
            }
        }
        changed
    }

    fn removes(&self, name: &[u8]) -> bool {
        let name = name.to_ascii_lowercase();
        let is_kept = KEPT.iter().any(|kept| kept.as_bytes() == name);
        !is_kept && self.remove.iter().any(|glob| glob.covers(&name))
    }
}

/// Gives the first field of that name the value, removes further ones, and appends one when there is none.
fn set(fields: &mut Vec<Header>, name: &Bytes, value: &Bytes) -> bool {
    let is_named = |field: &Header| field.name.eq_ignore_ascii_case(name);
    let mut seen = false;
    let mut changed = false;
    fields.retain_mut(|field| {
        if !is_named(field) {
            return true;
        }
        if std::mem::replace(&mut seen, true) {
            changed = true;
            return false;
        }
        if field.value != *value {
            field.value = value.clone();
            changed = true;
        }
        true
    });
    if !seen {
        fields.push(Header {
            name: name.clone(),
            value: value.clone(),
        });
        changed = true;
    }
    changed
}
