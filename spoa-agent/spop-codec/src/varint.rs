//! Variable-length integers as HAProxy writes them (its "peers" encoding). Not LEB128.
//!
//! Below 240 the value is its own single byte. Above, the first byte is `0xF0` with the lowest 4
//! bits, and the rest, less 240, follows in groups of 7 bits, each less 128 before the next: so
//! every value has exactly one encoding, of at most [`MAX_LEN`] bytes.

use bytes::BufMut;

use crate::error::{DecodeError, Parsed};

/// The longest encoding, in bytes: that of 2^64 - 1.
pub const MAX_LEN: usize = 10;

/// Reads a varint from the start of `input` and returns it with what follows it.
///
/// # Errors
///
/// [`DecodeError::Truncated`] when `input` ends inside it, [`DecodeError::VarintTooLong`] when it
/// has more than [`MAX_LEN`] bytes or is above 2^64 - 1 (HAProxy would wrap around; no encoder
/// writes such a thing).
///
/// ```
/// use spop_codec::varint;
///
/// assert_eq!(varint::decode(&[0xf0, 0x01, 0xaa])?, (256, [0xaa].as_slice()));
/// # Ok::<(), spop_codec::DecodeError>(())
/// ```
#[inline]
pub fn decode(input: &[u8]) -> Result<(u64, &[u8]), DecodeError> {
    match input {
        [first, rest @ ..] if *first < 240 => Ok((u64::from(*first), rest)),
        [first, second, rest @ ..] if *second < 128 => {
            Ok((u64::from(*first) + (u64::from(*second) << 4), rest))
        }
        _ => decode_long(input),
    }
}

/// Appends `value` to `out`.
#[inline]
pub fn encode(out: &mut impl BufMut, value: u64) {
    match u8::try_from(value) {
        Ok(byte) if byte < 240 => out.put_u8(byte),
        _ => encode_long(out, value),
    }
}

/// The number of bytes that [`encode`] writes for `value`.
#[must_use]
#[inline]
pub const fn len(value: u64) -> usize {
    if value < 240 {
        return 1;
    }
    let mut length = 2;
    let mut rest = (value - 240) >> 4;
    while rest >= 128 {
        rest = (rest - 128) >> 7;
        length += 1;
    }
    length
}

#[inline]
pub(crate) fn varint(input: &[u8]) -> Parsed<'_, u64> {
    match decode(input) {
        Ok((value, rest)) => Ok((rest, value)),
        Err(error) => Err(nom::Err::Error(error)),
    }
}

// Each byte is added, not or-ed, with all its 8 bits: that is what undoes the "less 128". Only the
// tenth byte can take the sum above 64 bits: the nine before it stay below 2^62.
fn decode_long(input: &[u8]) -> Result<(u64, &[u8]), DecodeError> {
    let [first, rest @ ..] = input else {
        return Err(DecodeError::Truncated);
    };
    let mut value = u64::from(*first);
    let mut shift = 4;
    for (index, byte) in rest.iter().take(MAX_LEN - 2).enumerate() {
        value += u64::from(*byte) << shift;
        if *byte < 128 {
            return Ok((value, rest.get(index + 1..).unwrap_or_default()));
        }
        shift += 7;
    }
    let [_, _, _, _, _, _, _, _, tenth, rest @ ..] = rest else {
        return Err(DecodeError::Truncated);
    };
    let value = u64::from(*tenth)
        .checked_mul(1 << shift)
        .and_then(|term| value.checked_add(term));
    Ok((value.ok_or(DecodeError::VarintTooLong)?, rest))
}

#[cold]
fn encode_long(out: &mut impl BufMut, value: u64) {
    let [low, ..] = value.to_le_bytes();
    out.put_u8(0xf0 | low);
    let mut rest = (value - 240) >> 4;
    while rest >= 128 {
        let [low, ..] = rest.to_le_bytes();
        out.put_u8(low | 0x80);
        rest = (rest - 128) >> 7;
    }
    let [last, ..] = rest.to_le_bytes();
    out.put_u8(last);
}
