//! Ids that a cluster hands out for a while: of scrolls, points in time, async searches, tasks and SQL
//! cursors. Each cluster has its own, so a request that carries one of the primary's is sent to the shadow
//! with the shadow's.
//!
//! A token is not a string to be replaced, it is a *session*: the cluster may answer with another id on
//! every page. [`Sessions`] binds all ids that the primary gave for a session to the latest one of the
//! shadow. What the engine does with an exchange:
//!
//! 1. [`in_request`] says which tokens a request carries, and what it expects to be answered.
//! 2. [`in_answer`] says which tokens the primary's answer opens or renews. [`keys`] of both tells the
//!    scheduler what the exchange touches, so that a consumer waits for what it builds on.
//! 3. [`Sessions::rewrite`] puts the shadow's tokens into the request, or says that they are not known:
//!    [`Unmappable`]. Such a request is counted and not sent.
//! 4. [`in_answer`] again, of the shadow's answer, and [`Sessions::learn`], whose [`Event`]s are kept over a kill.
//!
//! The position in a point in time (`search_after`) is such a token too, where it holds numbers of the cluster's
//! own: `_doc`, `_shard_doc`, also the `_shard_doc` that Elasticsearch (from 7.12) adds to every sort of a point
//! in time. [`TokenKind::Position`] stands for it.
//!
//! Everything here is pure; the time is given.
//!
//! Known limits. A `pit` inside the source of a search template is not seen. A body in CBOR, SMILE or YAML is
//! seen to hold a token and is not rewritten. The list of all tasks names tasks that nobody can map.
//!
//! Reading order: `api` (which APIs carry tokens), `request`, `answer`, `sessions`, `event`, `close`.

mod answer;
mod api;
#[cfg(test)]
mod chains;
mod close;
mod edit;
mod event;
mod json;
mod keep_alive;
mod position;
mod request;
mod sessions;
#[cfg(test)]
mod tests;
mod url;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;

pub use answer::{Reply, Token, Told, in_answer};
pub use event::{BadEvent, Event};
pub use request::{Asked, in_request};
pub use sessions::{Counts, Limits, Rewritten, Sessions};

/// What a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TokenKind {
    /// A scroll (`_scroll_id`).
    Scroll,
    /// A point in time (`pit.id`).
    PointInTime,
    /// A search that goes on after its answer: async search, EQL, ES|QL, SQL.
    AsyncSearch,
    /// A task, `node:number`.
    Task,
    /// The next page of an SQL query.
    Cursor,
    /// Where a page of a point in time ended (`search_after`).
    Position,
}

impl TokenKind {
    /// Every kind, for tables of counters.
    pub const ALL: [Self; 6] = [
        Self::Scroll,
        Self::PointInTime,
        Self::AsyncSearch,
        Self::Task,
        Self::Cursor,
        Self::Position,
    ];

    /// The word for it, as pairs and metrics use it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scroll => "scroll",
            Self::PointInTime => "point in time",
            Self::AsyncSearch => "async search",
            Self::Task => "task",
            Self::Cursor => "cursor",
            Self::Position => "position",
        }
    }
}

/// What a request does with the session of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    /// It only reads; several may run at once: a search in a point in time, the state of a task.
    Reads,
    /// It changes what the next one gets: the next page of a scroll, the cancelling of a task.
    Advances,
    /// It ends the session.
    Closes,
}

impl Use {
    /// Whether it must not run beside another use of the same session.
    #[must_use]
    pub const fn is_write(self) -> bool {
        !matches!(self, Self::Reads)
    }
}

/// Which part of a request a token stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In the path.
    Path,
    /// In the query.
    Query,
    /// In the body.
    Body,
}

/// A token in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it stands for.
    pub kind: TokenKind,
    /// The token as the cluster told it, all encodings undone. `None` for all sessions of the kind (`_all`).
    pub token: Option<Bytes>,
    /// What the request does with it.
    pub usage: Use,
    /// Where it stands.
    pub place: Place,
    /// Which search of an `_msearch` it belongs to, from 0; 0 in all other requests.
    pub slot: u32,
}

/// Why a request is not sent: its tokens are not known on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("the {} is not known on the target: {reason}", kind.as_str())]
pub struct Unmappable {
    /// Of what kind the token is.
    pub kind: TokenKind,
    /// Why it is not known.
    pub reason: Reason,
}

/// Why a token is not known on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// Its opening was never seen: it lies before what is replayed, was not sent to the target, was not answered by the
    /// primary as far as it was captured, or is forgotten.
    #[error("its opening was not seen")]
    Headless,
    /// The target answered the opening or a page with this status; 0 when it gave no answer, or was not asked. A
    /// success status: it answered without a token.
    #[error("the target answered with status {status}")]
    Broken {
        /// The status code, or 0.
        status: u16,
    },
    /// The body cannot be read: it is not whole, not JSON, or has a content coding that is not known here.
    #[error("the body that holds it cannot be read")]
    Unreadable,
}

impl Reason {
    /// The word for it, as pairs and metrics use it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Headless => "headless",
            Self::Broken { .. } => "broken",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What an exchange touches, for the scheduler. Two exchanges conflict that share a `hash` which one of
/// them writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Stands for a token, or for all tokens of a kind.
    pub hash: u64,
    /// Whether it is written.
    pub write: bool,
}

/// The keys of an exchange: of the tokens in its request, and of those that the primary's answer opened.
/// Without tokens there are none. In order of `hash`, each once.
#[must_use]
pub fn keys(asked: &Asked, primary: Option<&Told>) -> Vec<Key> {
    let mut keys = Vec::new();
    for found in asked.found() {
        let all = found.token.is_none();
        keys.push(Key {
            hash: hash(found.kind, None),
            write: all,
        });
        if let Some(token) = &found.token {
            keys.push(Key {
                hash: hash(found.kind, Some(token)),
                write: found.usage.is_write(),
            });
        }
    }
    for token in primary.into_iter().flat_map(Told::tokens) {
        // A page that renews a token without changing it is what its request says: a read of a point in
        // time stays a read.
        if token.bytes().is_empty() || asked.carries(token.kind(), token.bytes()) {
            continue;
        }
        keys.push(Key {
            hash: hash(token.kind(), None),
            write: false,
        });
        keys.push(Key {
            hash: hash(token.kind(), Some(token.bytes())),
            write: true,
        });
    }
    keys.sort_unstable_by_key(|key| (key.hash, !key.write));
    keys.dedup_by_key(|key| key.hash);
    keys
}

/// Two tokens with one hash make the one wait for the other, and nothing worse.
fn hash(kind: TokenKind, token: Option<&[u8]>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (kind, token).hash(&mut hasher);
    hasher.finish()
}
