//! One record: `length u32 LE | crc32c u32 LE | payload`. The checksum covers the length and the
//! payload, so a record is either exactly what was appended or it is refused.
//!
//! Never looks for the next good record after a bad one: payloads carry bytes from outside, and a
//! body could hold what looks like a record. Where records live is [`crate::segment`]'s business.

use std::fmt;

/// Bytes before the payload.
pub(crate) const PREFIX: usize = 8;

/// The longest payload any reader accepts, whatever the writer's own limit was.
pub(crate) const HARD_MAX: usize = 256 << 20;

/// What stands at the start of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// A whole record of this many bytes, prefix included.
    Whole(usize),
    /// The record needs this many bytes, prefix included; the slice has fewer.
    Needs(usize),
    /// No record.
    Bad(Damage),
}

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    Empty,
    TooLong(u32),
    Checksum,
    Torn,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a record of length zero"),
            Self::TooLong(length) => {
                write!(
                    f,
                    "a record length of {length} bytes (the limit is {HARD_MAX})"
                )
            }
            Self::Checksum => f.write_str("a record whose checksum does not match"),
            Self::Torn => f.write_str("a record that is cut short"),
        }
    }
}

/// Fills in the prefix of a record whose payload is in place. Returns false when `record` has no
/// payload or one too long for the prefix.
pub(crate) fn seal(record: &mut [u8]) -> bool {
    let Some((length, rest)) = record.split_first_chunk_mut::<4>() else {
        return false;
    };
    let Some((crc, payload)) = rest.split_first_chunk_mut::<4>() else {
        return false;
    };
    if payload.is_empty() || payload.len() > HARD_MAX {
        return false;
    }
    let Ok(size) = u32::try_from(payload.len()) else {
        return false;
    };
    *length = size.to_le_bytes();
    *crc = checksum(*length, payload).to_le_bytes();
    true
}

/// Finds the record at the start of `bytes` and checks its checksum.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let total = match measure(bytes) {
        Parsed::Whole(total) => total,
        other => return other,
    };
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
        return Parsed::Needs(PREFIX);
    };
    let Some((crc, rest)) = rest.split_first_chunk::<4>() else {
        return Parsed::Needs(PREFIX);
    };
    let Some(payload) = rest.get(..total - PREFIX) else {
        return Parsed::Needs(total);
    };
    if checksum(*length, payload) == u32::from_le_bytes(*crc) {
        Parsed::Whole(total)
    } else {
        Parsed::Bad(Damage::Checksum)
    }
}

/// Finds the record at the start of `bytes` without its checksum: for bytes that this process
/// wrote itself and still has in memory.
pub(crate) fn measure(bytes: &[u8]) -> Parsed {
    let Some(length) = bytes.first_chunk::<4>() else {
        return Parsed::Needs(PREFIX);
    };
    let length = u32::from_le_bytes(*length);
    if length == 0 {
        return Parsed::Bad(Damage::Empty);
    }
    let Ok(size) = usize::try_from(length) else {
        return Parsed::Bad(Damage::TooLong(length));
    };
    if size > HARD_MAX {
        return Parsed::Bad(Damage::TooLong(length));
    }
    let total = PREFIX + size;
    if bytes.len() < total {
        Parsed::Needs(total)
    } else {
        Parsed::Whole(total)
    }
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sealed(payload: &[u8]) -> Vec<u8> {
        let mut record = vec![0; PREFIX];
        record.extend_from_slice(payload);
        assert!(seal(&mut record));
        record
    }

    #[test]
    fn a_record_without_payload_is_not_sealed() {
        assert!(!seal(&mut [0; PREFIX]));
        assert!(!seal(&mut [0; 3]));
    }

    #[test]
    fn zeros_are_no_record() {
        assert_eq!(parse(&[0; 64]), Parsed::Bad(Damage::Empty));
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_anything_is_reserved() {
        let mut record = sealed(b"x");
        record[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(parse(&record), Parsed::Bad(Damage::TooLong(u32::MAX)));
    }

    proptest! {
        #[test]
        fn what_is_sealed_parses_and_any_shorter_slice_asks_for_more(
            payload in prop::collection::vec(any::<u8>(), 1..300), cut in any::<prop::sample::Index>()
        ) {
            let record = sealed(&payload);
            prop_assert_eq!(parse(&record), Parsed::Whole(record.len()));
            let cut = cut.index(record.len());
            prop_assert!(matches!(parse(&record[..cut]), Parsed::Needs(_)));
        }

        #[test]
        fn a_flipped_bit_is_never_a_record(
            payload in prop::collection::vec(any::<u8>(), 1..300), at in any::<prop::sample::Index>(), bit in 0..8
        ) {
            let mut record = sealed(&payload);
            let at = at.index(record.len());
            record[at] ^= 1u8 << bit;
            prop_assert!(!matches!(parse(&record), Parsed::Whole(_)));
        }
    }
}
