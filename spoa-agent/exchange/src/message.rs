//! What Kafka carries: an exchange, a pair or a gap as one or more [`Message`]s, and back.
//!
//! [`Writer`] makes messages, [`Reader`] reads them. Neither does I/O nor looks at a clock: the time is what
//! the messages say. Three [`Format`]s: the documents of [`crate::json`], the protobuf of `proto/record.proto`, and the
//! record of the OpenSearch capture proxy, `proto/traffic_stream.proto`. `README.md` beside this crate shows them all.
//!
//! A value larger than a Kafka message may be is split. The parts of one value have one key, so they are in one
//! partition; the reader puts them together again, whatever came in between, and tells when it could not. Nothing that was
//! cut is ever told as whole.
//!
//! What the journal does not mask (a user may have turned forwarding of credentials on) is masked here: a secret
//! never becomes a message.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Exchange, Gap, Pair, Request};

mod parts;
mod reader;
pub mod traffic_stream;
mod writer;

pub use parts::split_again;
pub use reader::{Bounds, Incoming, Reader};
pub use writer::{Carried, Connections, Options, Writer};

/// The name of a message's header.
pub mod header {
    /// What the message tells: a word of [`Kind`](super::Kind).
    pub const KIND: &str = "kind";
    /// In which encoding: [`Format::schema`](super::Format::schema).
    pub const SCHEMA: &str = "schema";
    /// The exchange's id. A gap has none.
    pub const ID: &str = "id";
    /// Unix time of the request in microseconds.
    pub const TIME: &str = "time";
    /// The name of the agent that wrote it.
    pub const AGENT: &str = "agent";
    /// Where the exchange begins in that agent's journal.
    pub const BEGUN: &str = "begun";
    /// Where the exchange is complete in that agent's journal.
    pub const COMPLETE: &str = "complete";
    /// `2/3`: the second of three parts. Only on a message that is one.
    pub const PART: &str = "part";
    /// The length and the CRC-32C of the whole value, in hexadecimal. Only on a part.
    pub const WHOLE: &str = "whole";
}

/// In which encoding messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// One JSON document: the line of the traffic log, or of the pair log.
    #[default]
    Json,
    /// `Message` in `proto/record.proto`.
    Protobuf,
    /// The record of the OpenSearch capture proxy: the bytes of a connection. Carries exchanges only.
    TrafficStream,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Json, Self::Protobuf, Self::TrafficStream];

    /// The word for it in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Protobuf => "protobuf",
            Self::TrafficStream => "traffic-stream",
        }
    }

    /// What the header [`header::SCHEMA`] says.
    #[must_use]
    pub const fn schema(self) -> &'static str {
        match self {
            Self::Json => "spoa-agent.exchange.v1+json",
            Self::Protobuf => "spoa-agent.exchange.v1+protobuf",
            Self::TrafficStream => "traffic-stream.v1+protobuf",
        }
    }

    /// The format whose schema this is. `None` for one that this version does not know.
    #[must_use]
    pub fn of_schema(schema: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|format| format.schema().as_bytes() == schema)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no [`Format`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no format of messages; use json, protobuf or traffic-stream")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(word: &str) -> Result<Self, UnknownFormat> {
        Self::ALL
            .into_iter()
            .find(|format| format.as_str() == word)
            .ok_or_else(|| UnknownFormat(word.to_owned()))
    }
}

/// What a message tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A complete exchange.
    Exchange,
    /// A held write, told ahead of its exchange.
    Request,
    /// An exchange as the primary and as the shadow answered it.
    Pair,
    /// Halves that are known to be lost.
    Gap,
    /// A connection of [`Format::TrafficStream`] that ended: no exchange, and nothing that needs to be counted.
    Close,
    /// Nothing: a check of the broker produced it. Readers pass it by.
    Probe,
}

impl Kind {
    /// What the header [`header::KIND`] says.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exchange => "exchange",
            Self::Request => "request",
            Self::Pair => "pair",
            Self::Gap => "gap",
            Self::Close => "close",
            Self::Probe => "probe",
        }
    }
}

/// Which agent tells it, and where its exchange stands in that agent's journal.
///
/// `a.complete <= b.begun`, within one agent, is exactly: `a` was complete before `b` began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The name of the agent.
    pub agent: &'a str,
    /// Where the exchange begins. For a gap: where the gap stands.
    pub begun: u64,
    /// Where the exchange is complete. For a request told ahead: where it begins. For a pair: where the pair's record
    /// stands.
    pub complete: u64,
}

/// What becomes one Kafka message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Only where the format demands one ([`Format::TrafficStream`]: the connection's id); otherwise the key is the
    /// caller's choice: the parts of one value must have one key.
    pub key: Option<Bytes>,
    /// Names and values, in order.
    pub headers: Vec<(&'static str, Bytes)>,
    /// The value.
    pub value: Bytes,
}

/// Where a message was read from: one value, first to last of its messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// The partition.
    pub partition: i32,
    /// The lowest offset that is needed to read it again.
    pub first: i64,
    /// The highest.
    pub last: i64,
}

/// Where what was read comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Where it stands in Kafka.
    pub span: Span,
    /// The agent, or the capture proxy's node. Empty where nobody says.
    pub agent: Arc<str>,
    /// As [`Origin::begun`]. `None` where nobody says: then only times tell the order.
    pub begun: Option<u64>,
    /// As [`Origin::complete`].
    pub complete: Option<u64>,
}

/// What a [`Reader`] made of messages.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// A complete exchange.
    Exchange {
        /// Where it comes from.
        source: Source,
        /// The exchange.
        exchange: Box<Exchange>,
    },
    /// A held write, told ahead of its exchange.
    Request {
        /// Where it comes from.
        source: Source,
        /// The request.
        request: Box<Request>,
    },
    /// An exchange as the primary and as the shadow answered it.
    Pair {
        /// Where it comes from.
        source: Source,
        /// The pair.
        pair: Box<Pair>,
    },
    /// Halves that are known to be lost.
    Gap {
        /// Where it comes from.
        source: Source,
        /// The gap.
        gap: Gap,
    },
    /// What cannot be told: counted and passed by, never guessed.
    Unreadable {
        /// Where it comes from, as far as that can be read.
        source: Source,
        /// The exchange's id, where a header says it.
        id: Option<Bytes>,
        /// Why.
        why: Unreadable,
    },
}

impl Told {
    /// Where it comes from.
    #[must_use]
    pub const fn source(&self) -> &Source {
        match self {
            Self::Exchange { source, .. }
            | Self::Request { source, .. }
            | Self::Pair { source, .. }
            | Self::Gap { source, .. }
            | Self::Unreadable { source, .. } => source,
        }
    }
}

/// Why messages cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// The header `schema` says something that this version does not know.
    #[error("the message's schema {0:?} is unknown; read it with a newer spoa-agent")]
    Schema(String),
    /// It tells something that this version does not know.
    #[error("the message is of the kind {0:?}, which is unknown; read it with a newer spoa-agent")]
    Kind(String),
    /// The header `part` or `whole` does not say what belongs there.
    #[error("the message's header {name} holds {value:?}, which is no {expected}")]
    Header {
        /// The header's name.
        name: &'static str,
        /// What it holds.
        value: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// Not a value of its schema.
    #[error("the message's value is not what its schema says: {0}")]
    Value(String),
    /// Parts that never came.
    #[error("{missing} of the message's {total} parts did not come")]
    Parts {
        /// How many are missing.
        missing: u32,
        /// How many there are.
        total: u32,
    },
    /// The value began before the first message that was read: its first parts did not come, the others did.
    #[error(
        "the message began earlier than what was read: the first {missing} of its {total} parts did not come"
    )]
    Earlier {
        /// How many are missing.
        missing: u32,
        /// How many there are.
        total: u32,
    },
    /// Parts that are all there, and yet not the value that was split.
    #[error("the message's parts do not make up the value that was split")]
    Checksum,
    /// The record of a connection ends within the head of a request.
    #[error("a request ended within its head")]
    Head,
    /// Larger than what the reader may hold.
    #[error("the message has {bytes} bytes, more than the {bound} that a reader may hold")]
    TooLarge {
        /// How many bytes it has.
        bytes: u64,
        /// How many may be held.
        bound: usize,
    },
}
