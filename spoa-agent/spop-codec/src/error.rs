//! Why bytes were refused, and what to tell the peer. Where the errors are made: every other module.

use nom::error::{ErrorKind, FromExternalError, ParseError};
use thiserror::Error;

use crate::frame::FrameKind;
use crate::status::Status;

/// What a parser of this crate returns: the rest of the input and a value.
pub(crate) type Parsed<'a, T> = nom::IResult<&'a [u8], T, DecodeError>;

/// Why bytes from the peer were refused.
///
/// The frame is whole when it is parsed, so "not enough bytes" always means "malformed". Every
/// error concerns the connection it came from; [`status`](Self::status) is what to send in the
/// DISCONNECT before it is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The length prefix is above the limit. Nothing was read or reserved for the frame.
    #[error("frame of {length} bytes is above the max-frame-size of {limit}")]
    FrameTooBig {
        /// What the peer claims, in bytes.
        length: u32,
        /// What was agreed, in bytes.
        limit: u32,
    },
    /// The length prefix leaves no room for type, flags and the two identifiers.
    #[error("frame of {length} bytes is shorter than a frame header of 7")]
    FrameTooShort {
        /// What the peer claims, in bytes.
        length: u32,
    },
    /// The bytes end inside a field of fixed size, a varint or a list.
    #[error("the bytes end inside a field")]
    Truncated,
    /// A string or binary claims more bytes than there are.
    #[error("a field claims {length} bytes, but only {left} are left")]
    LengthBeyondEnd {
        /// What the field claims, in bytes.
        length: u64,
        /// What is there, in bytes.
        left: usize,
    },
    /// A varint of more than 10 bytes, or above 2^64 - 1.
    #[error("varint does not fit in 64 bits")]
    VarintTooLong,
    /// A type identifier that SPOE.txt 3.1 reserves (10 to 15).
    #[error("value type {0} is reserved")]
    ReservedType(u8),
    /// An INT32 or UINT32 whose varint does not fit in 32 bits.
    #[error("integer {0:#x} does not fit in its 32-bit type")]
    IntegerOutOfRange(u64),
    /// A frame without FIN, or of type UNSET. Nobody here announces `fragmentation`.
    #[error("fragmented payload: write `no option send-frag-payload` in HAProxy's spoe-agent")]
    Fragmented,
    /// HELLO or DISCONNECT with an identifier that is not 0.
    #[error("{kind} frame with an identifier: stream-id and frame-id must be 0")]
    IdentifierNotZero {
        /// The frame's type.
        kind: FrameKind,
    },
    /// A frame that has no place at this point of the conversation.
    #[error("{got} frame where {expected} was expected")]
    UnexpectedFrame {
        /// What came.
        got: FrameKind,
        /// What should have come.
        expected: FrameKind,
    },
    /// A known item of a HELLO or DISCONNECT has a value of a wrong type.
    #[error("item `{0}` has a value of a wrong type")]
    WrongType(&'static str),
    /// HELLO without `supported-versions` or `version`.
    #[error("HELLO without a version")]
    NoVersion,
    /// HELLO without `max-frame-size`.
    #[error("HELLO without max-frame-size")]
    NoMaxFrameSize,
    /// HAPROXY-HELLO without `capabilities`.
    #[error("HELLO without capabilities")]
    NoCapabilities,
    /// No version in the HELLO that this crate speaks.
    #[error("the peer does not speak SPOP 2.0, the only version supported here")]
    BadVersion,
    /// A max-frame-size outside of what the receiver can take.
    #[error("max-frame-size {announced} is not between {least} and {most}")]
    BadMaxFrameSize {
        /// What the peer announced, in bytes.
        announced: u32,
        /// The least that is possible here, in bytes.
        least: u32,
        /// The most that is possible here, in bytes.
        most: u32,
    },
    /// An action identifier other than set-var (1) and unset-var (2).
    #[error("action {0} is unknown")]
    UnknownAction(u8),
    /// An action with another number of arguments than SPOE.txt 3.4 gives it.
    #[error("action {action} with {count} arguments")]
    ActionArguments {
        /// The action identifier.
        action: u8,
        /// The number of arguments it came with.
        count: u8,
    },
    /// A variable scope above 4.
    #[error("variable scope {0} is unknown")]
    UnknownScope(u8),
    /// A header without a name in a `hdrs_bin` block.
    #[error("header without a name")]
    EmptyHeaderName,
    /// Bytes after the end mark of a `hdrs_bin` block.
    #[error("{0} bytes after the last header")]
    BytesAfterHeaders(usize),
}

impl DecodeError {
    /// The status code for the DISCONNECT that answers this error (SPOE.txt 3.5).
    #[must_use]
    pub const fn status(&self) -> Status {
        match self {
            Self::FrameTooBig { .. } => Status::TooBig,
            Self::Fragmented => Status::FragmentationUnsupported,
            Self::NoVersion => Status::NoVersion,
            Self::NoMaxFrameSize => Status::NoMaxFrameSize,
            Self::NoCapabilities => Status::NoCapabilities,
            Self::BadVersion => Status::BadVersion,
            Self::BadMaxFrameSize { .. } => Status::BadMaxFrameSize,
            _ => Status::Invalid,
        }
    }
}

impl ParseError<&[u8]> for DecodeError {
    // nom's `complete` parsers, as they are used here, fail for one reason: no bytes are left.
    fn from_error_kind(_: &[u8], _: ErrorKind) -> Self {
        Self::Truncated
    }

    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

impl FromExternalError<&[u8], Self> for DecodeError {
    fn from_external_error(_: &[u8], _: ErrorKind, error: Self) -> Self {
        error
    }
}

impl From<nom::Err<Self>> for DecodeError {
    fn from(error: nom::Err<Self>) -> Self {
        match error {
            nom::Err::Incomplete(_) => Self::Truncated,
            nom::Err::Error(error) | nom::Err::Failure(error) => error,
        }
    }
}

/// Why something cannot be written as a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The payload does not fit.
    #[error("payload of {length} bytes is above the limit of {limit}")]
    TooBig {
        /// What was asked for, in bytes.
        length: usize,
        /// What fits, in bytes.
        limit: usize,
    },
    /// NB-ARGS is one byte.
    #[error("message with {0} arguments: 255 is the most")]
    TooManyArguments(usize),
    /// Two zero lengths end a `hdrs_bin` block, so a name cannot be empty.
    #[error("header without a name")]
    EmptyHeaderName,
}
