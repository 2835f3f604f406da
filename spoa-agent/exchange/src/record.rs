//! The encoding of the journal, and of Kafka's format `protobuf`: protobuf, as `proto/record.proto` says.
//!
//! Written and read by hand, because this is the hot path: a half goes from HAProxy's frame into
//! the journal's buffer in one copy, and comes out of a record without any. [`wire`] is the code that
//! prost generates from the same file, for those who want it; tests hold the two against each other.

use bytes::Bytes;

use crate::{Exchange, Gap, Half, Pair, Request};

pub(crate) mod decode;
mod encode;
#[rustfmt::skip]
#[allow(
    clippy::all, missing_docs, unreachable_pub, unused_qualifications,
    reason = "generated from proto/record.proto; the test `generated_code_is_up_to_date` makes it anew"
)]
pub mod wire;

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Not protobuf, or not of this schema.
    #[error("the record is not a half of an exchange: {0}")]
    Malformed(&'static str),
    /// A record of a kind that this version does not know.
    #[error(
        "the record is of a kind that this version does not know; read it with a newer spoa-agent"
    )]
    UnknownKind,
    /// A field whose value is out of its range.
    #[error("the record's field {field} holds {value}, which is out of range")]
    OutOfRange {
        /// The field's name in `record.proto`.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
}

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request half of an exchange.
    Request,
    /// The response half.
    Response,
    /// The mark that halves are lost.
    Gap,
    /// What became of an exchange at the shadow.
    Pair,
}

impl Kind {
    /// The kind of a record, without reading it. `None` for one that [`Half::decode`] refuses too, if only
    /// because this version does not know its kind.
    #[must_use]
    pub fn of(record: &[u8]) -> Option<Self> {
        decode::kind(record)
    }
}

impl<B: AsRef<[u8]>> Half<B> {
    /// The length of the encoded record in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        encode::length(self)
    }

    /// Appends the record to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode::record(self, out);
    }
}

/// What a Kafka message of the format `protobuf` tells, and by whom: `Message` in `proto/record.proto`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Envelope<'a> {
    pub(crate) agent: &'a str,
    pub(crate) begun: u64,
    pub(crate) complete: u64,
    pub(crate) content: Content<'a>,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Content<'a> {
    Exchange(&'a Exchange),
    Request(&'a Request),
    Pair(&'a Pair),
    Gap(&'a Gap),
}

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Read {
    Exchange(Box<Exchange>),
    Request(Box<Request>),
    Pair(Box<Pair>),
    Gap(Gap),
}

impl Envelope<'_> {
    /// Appends the message to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        encode::envelope(self, out);
    }
}

/// Reads a Kafka message: the agent, where its exchange begins and is complete, and what it tells. Bytes are slices of
/// `message`: nothing is copied.
pub(crate) fn read(message: &Bytes) -> Result<(String, u64, u64, Read), RecordError> {
    decode::envelope(message, decode::Shared(message))
}

impl Half<Bytes> {
    /// Reads a record. The half's bytes are slices of `record`: nothing is copied.
    ///
    /// # Errors
    /// When the bytes are not a record of a kind and shape that this version knows.
    pub fn decode(record: &Bytes) -> Result<Self, RecordError> {
        decode::record(record, decode::Shared(record))
    }
}

impl<'r> Half<&'r [u8]> {
    /// Reads a record that outlives the half.
    ///
    /// # Errors
    /// As [`Half::decode`].
    pub fn borrow(record: &'r [u8]) -> Result<Self, RecordError> {
        decode::record(record, decode::Borrowed)
    }
}
