//! Which requests are meant for a target, and what is changed in them on their way there: a rule file.
//!
//! ```toml
//! default = "allow"                          # allow (as it is without this line), deny, or a sample
//!
//! [[rule]]                                   # the first rule that matches decides
//! name = "no monitoring"                     # for metrics and logs; "rule 1" without it
//! when = { path = "/_cat/*" }
//! then = "deny"
//!
//! [[rule]]
//! when = { api = ["search", "msearch"], index = "logs-*" }
//! then = { sample = "10%", by = "client" }
//!
//! [headers]
//! set = { "x-shadow" = "1", host = "shadow.example" }
//! remove = ["x-internal-*"]
//!
//! [rename]
//! "logs-*" = "copy-logs-*"
//! "products" = "products-v2"
//! ```
//!
//! **Conditions** (`when`; all of them must hold, of a list one; `*` stands for any bytes):
//!
//! | key | what it looks at |
//! |---|---|
//! | `method` | the method, such as `["GET", "HEAD"]` |
//! | `path` | the path, percent-decoded, without the query, doubled and final slashes: `"/_cat/*"` |
//! | `api` | the API's name, such as `"search"` or `"cat*"` |
//! | `index` | the indices and aliases that the request and the items in its body name |
//! | `header` | fields by name: `{ "x-opaque-id" = "batch-*" }`; masked credentials are `***` |
//! | `status` | the primary's answer: `404`, `"4xx"`, `"500-503"`, or `"none"` when there is no answer |
//! | `access` | `"read"` or `"write"` |
//!
//! A request that names several indices, or a pattern of them, is **denied** when a rule with `then = "deny"`
//! means *one* of its indices, and **allowed** or sampled when a rule means *all* of them: what is allowed
//! by `logs-*` never takes a document of `secret-1` along in the same `_bulk`.
//!
//! **Samples** are sticky: whether a request is sent depends on its key only, on every machine and after every
//! restart (the module `sample` says how). Keys: `id` (the default: every request for itself), `client` (its
//! address), `header:NAME`, `index` (the first one named), `document` (the first one named). A request without
//! such a key goes by its id.
//!
//! A write that is denied or not sampled is missing on the target, and what depends on it will differ:
//! [`Rules::warnings`].
//!
//! **Renaming** is told in the module `rename`, and where names are found in bodies in the module `body`.

mod body;
mod condition;
mod error;
mod glob;
mod headers;
mod parse;
mod path;
mod rename;
mod sample;

use std::borrow::Cow;

use exchange::Request;
use exchange::operation::{Access, Operation};

use crate::Change;
use condition::{Extent, Judged, When};
pub use error::{RuleError, RuleErrors};
use headers::HeaderRules;
pub(crate) use path::decoded as percent_decoded;
use rename::Rename;
pub use rename::Unrenamable;
use sample::{By, Share};

/// A rule file as it is meant. The default lets everything through and changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
    default: Then,
    headers: HeaderRules,
    rename: Rename,
}

/// The rules of a running engine: loaded for each request, replaced when the file is read again.
pub type Cell = crate::cell::Cell<Rules>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    name: String,
    when: When,
    then: Then,
}

/// What a rule does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Then {
    #[default]
    Allow,
    Deny,
    Sample {
        share: Share,
        by: By,
    },
}

/// What rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The captured request.
    pub request: &'a Request,
    /// What it means.
    pub operation: &'a Operation,
    /// The name of its API.
    pub api: &'a str,
    /// The status of the primary's answer; `None` while there is none.
    pub status: Option<u16>,
}

/// What rules say of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'r> {
    /// It is meant for the target.
    Send,
    /// It is not.
    Leave {
        /// The rule that said so, or `default`.
        rule: &'r str,
        /// In which way.
        reason: Reason,
    },
}

/// Why a request is not meant for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A rule denies it.
    Denied,
    /// A rule takes a sample, and it is not in it.
    NotSampled,
}

impl Reason {
    /// The word for it, as the ledger and the metrics use it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::NotSampled => "not sampled",
        }
    }
}

/// The name of what decides when no rule does.
const DEFAULT: &str = "default";

impl Rules {
    /// Reads a rule file. `apis` are the names that exist; with an empty list every name is taken.
    ///
    /// # Errors
    /// Every mistake in the file at once.
    pub fn parse(text: &str, apis: &[&str]) -> Result<Self, RuleErrors> {
        parse::parse(text, apis)
    }

    /// Whether the request is meant for the target: what the first matching rule says, or the default.
    #[must_use]
    pub fn decide(&self, facts: &Facts<'_>) -> Verdict<'_> {
        let judged = Judged::new(facts);
        let decides = |rule: &&Rule| rule.when.is_met(&judged, rule.then.extent());
        match self.rules.iter().find(decides) {
            Some(rule) => rule.then.verdict(&rule.name, facts),
            None => self.default.verdict(DEFAULT, facts),
        }
    }

    /// Changes the request as the file says, and notes what kinds of changes these were. Header fields are
    /// removed, then set; index names are renamed in the path, the query and the body.
    ///
    /// # Errors
    /// When an index name has to be renamed and cannot be: sent as it is, the request would reach another
    /// index than is meant. The request is then unchanged.
    pub fn apply(
        &self,
        request: &mut Request,
        changes: &mut Vec<Change>,
    ) -> Result<(), Unrenamable> {
        let renamed = self.rename.apply(request)?;
        if renamed.any {
            changes.push(Change::IndexRenamed);
        }
        if renamed.decoded {
            changes.push(Change::Decoded);
        }
        if self.headers.apply(request) {
            changes.push(Change::HeaderRuled);
        }
        Ok(())
    }

    /// An index or alias as the target knows it.
    #[must_use]
    pub fn renamed<'n>(&self, name: &'n [u8]) -> Cow<'n, [u8]> {
        match self.rename.name(name) {
            Some(renamed) => Cow::Owned(renamed),
            None => Cow::Borrowed(name),
        }
    }

    /// Whether a rule looks at the status of the primary's answer, so that a request cannot be judged
    /// before it has one.
    #[must_use]
    pub fn need_status(&self) -> bool {
        self.rules.iter().any(|rule| !rule.when.status.is_empty())
    }

    /// Whether they let everything through and change nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How many rules there are, without the default.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// What is allowed and probably not meant, one sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (at, rule) in self.rules.iter().enumerate() {
            if let Some(what) = rule.loses_writes() {
                warnings.push(format!(
                    "{:?} {what} writes too: they are missing on the shadow, and its documents will differ; \
                     add access = \"read\" to the rule if that is not meant",
                    rule.name
                ));
            }
            if let Some(header) = rule.then.masked_header() {
                warnings.push(format!(
                    "{:?} samples by the header {header}, which is masked unless \
                     capture.forward_credentials is on; masked, each request goes by its id",
                    rule.name
                ));
            }
            if rule.when.is_always() && at + 1 < self.rules.len() {
                warnings.push(format!(
                    "{:?} matches everything, so the rules behind it never decide",
                    rule.name
                ));
            }
        }
        let is_deciding = !self.rules.iter().any(|rule| rule.when.is_always());
        if is_deciding
            && let Then::Sample { share, .. } = &self.default
            && !share.is_all()
        {
            warnings.push(
                "default samples writes too: those that are left out are missing on the shadow, and its \
                 documents will differ"
                    .to_owned(),
            );
        }
        let allows_nothing =
            self.default == Then::Deny && self.rules.iter().all(|rule| rule.then == Then::Deny);
        if allows_nothing {
            warnings.push("nothing is allowed, so the shadow gets nothing".to_owned());
        }
        warnings
    }
}

impl Rule {
    /// What the rule does to writes that the primary may have accepted, in words. A rule that leaves out whole
    /// indices is taken to mean it.
    fn loses_writes(&self) -> Option<&'static str> {
        let when = &self.when;
        let is_reading = when.access == Some(Access::Read)
            || (!when.method.is_empty()
                && when.method.iter().all(|it| it == "GET" || it == "HEAD"));
        let is_refused =
            !when.status.is_empty() && when.status.iter().all(condition::Status::is_refusal);
        if is_reading || is_refused {
            return None;
        }
        let only_index = When {
            index: Vec::new(),
            access: None,
            ..when.clone()
        };
        let is_whole = !when.index.is_empty() && only_index.is_always();
        match &self.then {
            Then::Deny if !is_whole => Some("denies"),
            Then::Sample { share, by } if !share.is_all() && *by != By::Index => Some("samples"),
            _ => None,
        }
    }
}

impl Then {
    const fn extent(&self) -> Extent {
        match self {
            Self::Deny => Extent::Any,
            Self::Allow | Self::Sample { .. } => Extent::All,
        }
    }

    fn verdict<'r>(&self, rule: &'r str, facts: &Facts<'_>) -> Verdict<'r> {
        let reason = match self {
            Self::Allow => return Verdict::Send,
            Self::Deny => Reason::Denied,
            Self::Sample { share, by } => {
                if share.is_all() || share.has(&by.key(facts.request, facts.operation)) {
                    return Verdict::Send;
                }
                Reason::NotSampled
            }
        };
        Verdict::Leave { rule, reason }
    }

    /// The credential header that a sample goes by.
    fn masked_header(&self) -> Option<&str> {
        match self {
            Self::Sample {
                by: By::Header(name),
                ..
            } if exchange::Credentials::default().cover(name.as_bytes()) => Some(name),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
