//! Typed data (SPOE.txt 3.1): one byte of tag, then the value.
//!
//! The type is the *low* half of the tag and the flags are the *high* half, though "TYPE:4 FLAGS:4"
//! in SPOE.txt reads the other way round (HAProxy's `spoe-t.h`). A boolean has no byte of its own:
//! it is the flag `0x10` of its tag.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::BufMut;
use nom::Parser;
use nom::bytes::complete::take;
use nom::combinator::{map, map_res};
use nom::number::complete::{be_u8, be_u32, be_u128};

use crate::error::{DecodeError, Parsed};
use crate::varint::{self, varint};

const TYPE_MASK: u8 = 0x0f;
const FLAGS_MASK: u8 = 0xf0;
const FLAG_TRUE: u8 = 0x10;

const NULL: u8 = 0;
const BOOL: u8 = 1;
const INT32: u8 = 2;
const UINT32: u8 = 3;
const INT64: u8 = 4;
const UINT64: u8 = 5;
const IPV4: u8 = 6;
const IPV6: u8 = 7;
const STR: u8 = 8;
const BIN: u8 = 9;

/// A value that a message's argument, an item of a HELLO or a variable can have.
///
/// Strings are bytes: a URL or a header value need not be UTF-8.
///
/// HAProxy sends every integer sample as [`Value::Int64`], a sample that is not there (or that
/// has no SPOP type) as [`Value::Null`], and an HTTP method as [`Value::Str`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Value<'a> {
    /// 0. In a set-var, it unsets the variable.
    Null,
    /// 1. True only when the flags are exactly `0x10`, as HAProxy reads it.
    Bool(bool),
    /// 2. Travels sign-extended to 64 bits.
    Int32(i32),
    /// 3.
    Uint32(u32),
    /// 4. Travels in two's complement: a negative number has 10 bytes.
    Int64(i64),
    /// 5.
    Uint64(u64),
    /// 6.
    Ipv4(Ipv4Addr),
    /// 7.
    Ipv6(Ipv6Addr),
    /// 8. Bytes, in any encoding or none.
    Str(&'a [u8]),
    /// 9.
    Bin(&'a [u8]),
}

impl<'a> Value<'a> {
    /// Reads a value from the start of `input` and returns it with what follows it.
    ///
    /// # Errors
    ///
    /// Fails when `input` ends inside the value, when the type is reserved (10 to 15), and when a
    /// 32-bit integer does not fit its type.
    pub fn decode(input: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let (rest, value) = value(input)?;
        Ok((value, rest))
    }

    /// Appends the tag and the value to `out`.
    pub fn encode(&self, out: &mut impl BufMut) {
        match *self {
            Self::Null => out.put_u8(NULL),
            Self::Bool(false) => out.put_u8(BOOL),
            Self::Bool(true) => out.put_u8(BOOL | FLAG_TRUE),
            Self::Int32(value) => put_integer(out, INT32, i64::from(value).cast_unsigned()),
            Self::Uint32(value) => put_integer(out, UINT32, u64::from(value)),
            Self::Int64(value) => put_integer(out, INT64, value.cast_unsigned()),
            Self::Uint64(value) => put_integer(out, UINT64, value),
            Self::Ipv4(address) => {
                out.put_u8(IPV4);
                out.put_slice(&address.octets());
            }
            Self::Ipv6(address) => {
                out.put_u8(IPV6);
                out.put_slice(&address.octets());
            }
            Self::Str(bytes) => {
                out.put_u8(STR);
                put_string(out, bytes);
            }
            Self::Bin(bytes) => {
                out.put_u8(BIN);
                put_string(out, bytes);
            }
        }
    }

    /// The number of bytes that [`encode`](Self::encode) writes.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        1 + match *self {
            Self::Null | Self::Bool(_) => 0,
            Self::Int32(value) => varint::len((value as i64).cast_unsigned()),
            Self::Uint32(value) => varint::len(value as u64),
            Self::Int64(value) => varint::len(value.cast_unsigned()),
            Self::Uint64(value) => varint::len(value),
            Self::Ipv4(_) => 4,
            Self::Ipv6(_) => 16,
            Self::Str(bytes) | Self::Bin(bytes) => string_len(bytes),
        }
    }

    /// The bytes of a string or a binary.
    #[must_use]
    pub const fn as_bytes(&self) -> Option<&'a [u8]> {
        match *self {
            Self::Str(bytes) | Self::Bin(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// An integer of any type. `None` for a UINT64 above 2^63 - 1.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match *self {
            Self::Int32(value) => Some(i64::from(value)),
            Self::Uint32(value) => Some(i64::from(value)),
            Self::Int64(value) => Some(value),
            Self::Uint64(value) => i64::try_from(value).ok(),
            _ => None,
        }
    }

    /// A boolean.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// An address of either family: `src` gives both under one configuration.
    #[must_use]
    pub const fn as_ip(&self) -> Option<IpAddr> {
        match *self {
            Self::Ipv4(address) => Some(IpAddr::V4(address)),
            Self::Ipv6(address) => Some(IpAddr::V6(address)),
            _ => None,
        }
    }

    /// Whether HAProxy had nothing to send.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

#[inline(always)]
pub(crate) fn value(input: &[u8]) -> Parsed<'_, Value<'_>> {
    let (input, tag) = be_u8(input)?;
    match tag & TYPE_MASK {
        NULL => Ok((input, Value::Null)),
        BOOL => Ok((input, Value::Bool(tag & FLAGS_MASK == FLAG_TRUE))),
        INT32 => map(map_res(varint, to_i32), Value::Int32).parse(input),
        UINT32 => map(map_res(varint, to_u32), Value::Uint32).parse(input),
        INT64 => map(varint, |value| Value::Int64(value.cast_signed())).parse(input),
        UINT64 => map(varint, Value::Uint64).parse(input),
        IPV4 => map(be_u32, |bits| Value::Ipv4(Ipv4Addr::from_bits(bits))).parse(input),
        IPV6 => map(be_u128, |bits| Value::Ipv6(Ipv6Addr::from_bits(bits))).parse(input),
        STR => map(string, Value::Str).parse(input),
        BIN => map(string, Value::Bin).parse(input),
        reserved => Err(nom::Err::Error(DecodeError::ReservedType(reserved))),
    }
}

/// Steps over what [`value`] would read, without making a [`Value`] of it.
#[inline(always)]
pub(crate) fn skip_value(input: &[u8]) -> Parsed<'_, ()> {
    let (untagged, tag) = be_u8(input)?;
    match tag & TYPE_MASK {
        NULL | BOOL => Ok((untagged, ())),
        INT64 | UINT64 => varint(untagged).map(|(rest, _)| (rest, ())),
        STR | BIN => string(untagged).map(|(rest, _)| (rest, ())),
        _ => value(input).map(|(rest, _)| (rest, ())),
    }
}

/// A varint length and as many bytes. The length is held against what is there, so that it can
/// never cause an allocation.
#[inline(always)]
pub(crate) fn string(input: &[u8]) -> Parsed<'_, &[u8]> {
    let (input, length) = varint(input)?;
    match usize::try_from(length) {
        Ok(length) if length <= input.len() => take(length)(input),
        _ => Err(nom::Err::Error(DecodeError::LengthBeyondEnd {
            length,
            left: input.len(),
        })),
    }
}

pub(crate) fn put_string(out: &mut impl BufMut, bytes: &[u8]) {
    varint::encode(out, bytes.len() as u64);
    out.put_slice(bytes);
}

pub(crate) const fn string_len(bytes: &[u8]) -> usize {
    varint::len(bytes.len() as u64) + bytes.len()
}

fn put_integer(out: &mut impl BufMut, tag: u8, value: u64) {
    out.put_u8(tag);
    varint::encode(out, value);
}

fn to_i32(value: u64) -> Result<i32, DecodeError> {
    i32::try_from(value.cast_signed()).map_err(|_| DecodeError::IntegerOutOfRange(value))
}

fn to_u32(value: u64) -> Result<u32, DecodeError> {
    u32::try_from(value).map_err(|_| DecodeError::IntegerOutOfRange(value))
}
