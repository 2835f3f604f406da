//! Frames: cutting the byte stream by length, and the header of each (SPOE.txt 3.2).
//!
//! A frame is a length of 4 bytes and as many bytes of frame. The length is held against the limit
//! before anything is reserved for it, and nothing is parsed until the frame is whole. What is in
//! the payload is the business of [`crate::notify`], [`crate::ack`], [`crate::hello`] and
//! [`crate::disconnect`].

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use nom::number::complete::{be_u8, be_u32};

use crate::error::{DecodeError, EncodeError, Parsed};
use crate::kv;
use crate::value::Value;
use crate::varint::{self, varint};

/// The least max-frame-size that a peer may announce, in bytes (SPOE.txt 3.2).
pub const MAX_FRAME_SIZE_FLOOR: u32 = 256;

/// Bytes of the length prefix. They count neither in the length nor towards max-frame-size.
pub const PREFIX_LEN: usize = 4;

/// The shortest header: type, flags, and two identifiers of one byte.
const HEADER_LEN_MIN: u32 = 7;

/// Tells how long the frame at the start of `buf` is, with its length prefix: that many bytes are
/// worth reserving. `None` when not even the prefix is there.
///
/// # Errors
///
/// [`DecodeError::FrameTooBig`] when the frame is above `max_frame_size` (bytes, without the
/// prefix), [`DecodeError::FrameTooShort`] when it cannot hold a header.
pub fn frame_length(buf: &[u8], max_frame_size: u32) -> Result<Option<usize>, DecodeError> {
    let Some(prefix) = buf.first_chunk::<PREFIX_LEN>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*prefix);
    if length > max_frame_size {
        return Err(DecodeError::FrameTooBig {
            length,
            limit: max_frame_size,
        });
    }
    if length < HEADER_LEN_MIN {
        return Err(DecodeError::FrameTooShort { length });
    }
    let total = usize::try_from(length)
        .ok()
        .and_then(|length| length.checked_add(PREFIX_LEN));
    total.map(Some).ok_or(DecodeError::FrameTooBig {
        length,
        limit: max_frame_size,
    })
}

/// Takes one whole frame, without its length prefix, from the start of `buf`. `None` when more
/// bytes must be read first.
///
/// The bytes are shared with `buf`, not copied. A reader that decodes a frame and is done with it
/// can spare itself the reference count: [`frame_length`], [`Frame::decode`] on the slice after
/// the prefix, then [`Buf::advance`].
///
/// # Errors
///
/// Those of [`frame_length`].
pub fn cut(buf: &mut BytesMut, max_frame_size: u32) -> Result<Option<Bytes>, DecodeError> {
    let Some(total) = frame_length(buf, max_frame_size)? else {
        return Ok(None);
    };
    if buf.len() < total {
        return Ok(None);
    }
    let mut frame = buf.split_to(total);
    frame.advance(PREFIX_LEN);
    Ok(Some(frame.freeze()))
}

/// STREAM-ID. Unique per process on HAProxy 2.6 to 3.0 (from 0), per connection on 3.1 and later
/// (1, 3, 5, ...): it never joins a request with its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct StreamId(pub u64);

/// FRAME-ID, of one NOTIFY in its stream. 0 in HELLO and DISCONNECT only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct FrameId(pub u64);

/// FLAGS. Reserved bits are kept and ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flags(pub u32);

impl Flags {
    /// The payload ends with this frame.
    pub const FIN: Self = Self(0x1);
    /// The processing of the frame is cancelled. HAProxy sends it in UNSET frames only.
    pub const ABRT: Self = Self(0x2);

    /// Whether FIN is set.
    #[must_use]
    pub const fn is_fin(self) -> bool {
        self.0 & Self::FIN.0 != 0
    }

    /// Whether ABRT is set.
    #[must_use]
    pub const fn is_abrt(self) -> bool {
        self.0 & Self::ABRT.0 != 0
    }
}

/// FRAME-TYPE (SPOE.txt 3.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// 0: a further part of a fragmented payload (HAProxy up to 3.0).
    Unset,
    /// 1.
    HaproxyHello,
    /// 2.
    HaproxyDisconnect,
    /// 3.
    Notify,
    /// 101.
    AgentHello,
    /// 102.
    AgentDisconnect,
    /// 103.
    Ack,
    /// Any other. To be skipped: "Unknown frames may be silently skipped" (SPOE.txt 3.2.2).
    Unknown(u8),
}

impl FrameKind {
    /// The number on the wire.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::Unset => 0,
            Self::HaproxyHello => 1,
            Self::HaproxyDisconnect => 2,
            Self::Notify => 3,
            Self::AgentHello => 101,
            Self::AgentDisconnect => 102,
            Self::Ack => 103,
            Self::Unknown(id) => id,
        }
    }

    const fn has_no_ids(self) -> bool {
        matches!(
            self,
            Self::HaproxyHello | Self::HaproxyDisconnect | Self::AgentHello | Self::AgentDisconnect
        )
    }
}

impl From<u8> for FrameKind {
    fn from(id: u8) -> Self {
        match id {
            0 => Self::Unset,
            1 => Self::HaproxyHello,
            2 => Self::HaproxyDisconnect,
            3 => Self::Notify,
            101 => Self::AgentHello,
            102 => Self::AgentDisconnect,
            103 => Self::Ack,
            other => Self::Unknown(other),
        }
    }
}

impl fmt::Display for FrameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => f.write_str("UNSET"),
            Self::HaproxyHello => f.write_str("HAPROXY-HELLO"),
            Self::HaproxyDisconnect => f.write_str("HAPROXY-DISCONNECT"),
            Self::Notify => f.write_str("NOTIFY"),
            Self::AgentHello => f.write_str("AGENT-HELLO"),
            Self::AgentDisconnect => f.write_str("AGENT-DISCONNECT"),
            Self::Ack => f.write_str("ACK"),
            Self::Unknown(id) => write!(f, "unknown ({id})"),
        }
    }
}

/// A frame: its header, and its payload as it came.
///
/// Encoding one gives full control over every field, also over those that HAProxy would refuse:
/// it is the tool for playing an odd peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What the payload is.
    pub kind: FrameKind,
    /// FIN and ABRT.
    pub flags: Flags,
    /// 0 in HELLO and DISCONNECT; may be 0 in a NOTIFY of HAProxy 2.6 as well (measured).
    pub stream_id: StreamId,
    /// 0 in HELLO and DISCONNECT.
    pub frame_id: FrameId,
    /// Everything after the header.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads a whole frame, without its length prefix. The payload is borrowed and not looked at.
    ///
    /// A frame of [`FrameKind::Unknown`] is returned for the caller to skip, whatever its flags.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Fragmented`] (status 10) for a frame without FIN or of type UNSET: a peer
    /// may send these only to who announced `fragmentation`, which nothing here does.
    /// [`DecodeError::IdentifierNotZero`] for a HELLO or DISCONNECT with an identifier; HAProxy
    /// closes the connection on these too. Otherwise fails when the header is malformed.
    pub fn decode(frame: &'a [u8]) -> Result<Self, DecodeError> {
        let (_, frame) = header(frame)?;
        if matches!(frame.kind, FrameKind::Unknown(_)) {
            return Ok(frame);
        }
        if frame.kind == FrameKind::Unset || !frame.flags.is_fin() {
            return Err(DecodeError::Fragmented);
        }
        if frame.kind.has_no_ids() && (frame.stream_id.0 != 0 || frame.frame_id.0 != 0) {
            return Err(DecodeError::IdentifierNotZero { kind: frame.kind });
        }
        Ok(frame)
    }

    /// A frame with FIN.
    #[must_use]
    pub const fn new(
        kind: FrameKind,
        stream_id: StreamId,
        frame_id: FrameId,
        payload: &'a [u8],
    ) -> Self {
        Self {
            kind,
            flags: Flags::FIN,
            stream_id,
            frame_id,
            payload,
        }
    }

    /// Appends the whole frame with its length prefix to `out`.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooBig`] when the length does not fit in its 32 bits. The agreed
    /// max-frame-size is the caller's to keep.
    pub fn encode(&self, out: &mut impl BufMut) -> Result<(), EncodeError> {
        let header = Header {
            kind: self.kind,
            flags: self.flags,
            stream_id: self.stream_id,
            frame_id: self.frame_id,
        };
        header.encode(out, self.payload.len())?;
        out.put_slice(self.payload);
        Ok(())
    }
}

/// Everything of a frame but its payload, for payloads that are written piece by piece.
pub(crate) struct Header {
    pub(crate) kind: FrameKind,
    pub(crate) flags: Flags,
    pub(crate) stream_id: StreamId,
    pub(crate) frame_id: FrameId,
}

impl Header {
    /// What the 32 bits of the length leave beside the longest header.
    const PAYLOAD_LIMIT: usize = u32::MAX as usize - 5 - 2 * varint::MAX_LEN;

    pub(crate) const fn without_ids(kind: FrameKind) -> Self {
        Self {
            kind,
            flags: Flags::FIN,
            stream_id: StreamId(0),
            frame_id: FrameId(0),
        }
    }

    pub(crate) fn encode(
        &self,
        out: &mut impl BufMut,
        payload_len: usize,
    ) -> Result<(), EncodeError> {
        if payload_len > Self::PAYLOAD_LIMIT {
            return Err(EncodeError::TooBig {
                length: payload_len,
                limit: Self::PAYLOAD_LIMIT,
            });
        }
        self.encode_short(out, payload_len);
        Ok(())
    }

    /// For payloads that are short by construction.
    pub(crate) fn encode_short(&self, out: &mut impl BufMut, payload_len: usize) {
        let length = payload_len + 5 + varint::len(self.stream_id.0) + varint::len(self.frame_id.0);
        debug_assert!(
            u32::try_from(length).is_ok(),
            "a payload of {payload_len} bytes is not short"
        );
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let [l0, l1, l2, l3] = length.to_be_bytes();
        let [f0, f1, f2, f3] = self.flags.0.to_be_bytes();
        out.put_slice(&[l0, l1, l2, l3, self.kind.id(), f0, f1, f2, f3]);
        varint::encode(out, self.stream_id.0);
        varint::encode(out, self.frame_id.0);
    }
}

/// Appends a frame whose payload is a list of a few short items: AGENT-HELLO and DISCONNECT.
pub(crate) fn encode_list(out: &mut impl BufMut, kind: FrameKind, items: &[(&[u8], Value<'_>)]) {
    let length = items
        .iter()
        .map(|(name, value)| kv::encoded_len(name, value))
        .sum();
    Header::without_ids(kind).encode_short(out, length);
    for (name, value) in items {
        kv::encode(out, name, value);
    }
}

fn header(input: &[u8]) -> Parsed<'_, Frame<'_>> {
    let (input, kind) = be_u8(input)?;
    let (input, flags) = be_u32(input)?;
    let (input, stream_id) = varint(input)?;
    let (payload, frame_id) = varint(input)?;
    let frame = Frame {
        kind: kind.into(),
        flags: Flags(flags),
        stream_id: StreamId(stream_id),
        frame_id: FrameId(frame_id),
        payload,
    };
    Ok((&[], frame))
}
