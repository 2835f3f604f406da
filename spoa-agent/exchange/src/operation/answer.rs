//! What the cluster answered to an operation on documents, as far as order, ids and outcomes need it.

use bytes::Bytes;

mod read;

pub use read::{Said, error_type, read, read_some, said, status};

/// What an answer says of the documents of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// One for each document of the operation, in its order.
    Documents(Vec<Answered>),
    /// The operation names no documents; the status says all.
    Status,
    /// The operation names documents, and what became of each is not known: there is no answer, its body
    /// is not whole, or it is not what this API answers.
    Unknown,
}

/// What became of one document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// The item's status, or that of the whole answer.
    pub status: u16,
    /// The index that it is in: never an alias.
    pub index: Option<Bytes>,
    /// Its id, also where the cluster chose it.
    pub id: Option<Bytes>,
    /// Which write of its shard this was; for a read, which write was read.
    pub sequence: Option<Sequence>,
    /// `_version`.
    pub version: Option<u64>,
    /// What was done.
    pub result: Done,
    /// The error's `type`, for example `version_conflict_engine_exception`. Empty when there is an error
    /// that has none.
    pub error: Option<Bytes>,
}

/// The number of a write on its shard. A later write of the same document has a greater one, as long as
/// the index is not deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence {
    /// `_primary_term`.
    pub term: u64,
    /// `_seq_no`.
    pub number: u64,
}

/// What was done with a document (`result`, `found`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Done {
    /// The answer does not say, or the word is not known.
    #[default]
    Unknown,
    /// It was not there before.
    Created,
    /// It was there before.
    Updated,
    /// It is no longer there.
    Deleted,
    /// The update changed nothing.
    Noop,
    /// It is not there.
    NotFound,
    /// It was read.
    Found,
}
