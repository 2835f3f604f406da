//! What a record says: whose it is, and what was seen. Read without copying, and without a list of what may be millions of
//! observations of a few bytes.

use super::field;
use crate::message::Unreadable;
use crate::record::decode::{Fields, Value};

/// What a record says besides its observations.
#[derive(Debug, Default)]
pub(super) struct Envelope<'r> {
    pub(super) id: &'r [u8],
    pub(super) node: &'r [u8],
    pub(super) number: Option<u64>,
    pub(super) is_last: bool,
    pub(super) prior_requests: u64,
    pub(super) is_unterminated: bool,
}

/// What an observation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen<'r> {
    Read(&'r [u8]),
    Write(&'r [u8]),
    /// Whether it is a segment that others follow.
    EndOfSegments,
    EndOfRequest,
    Dropped,
    Close,
    Other,
}

impl<'r> Envelope<'r> {
    pub(super) fn read(record: &'r [u8]) -> Result<Self, Unreadable> {
        let mut envelope = Self::default();
        for it in Fields(record) {
            let (number, value) = it.map_err(|error| Unreadable::Value(error.to_string()))?;
            match (u32::try_from(number).unwrap_or(0), value) {
                (field::CONNECTION_ID, Value::Bytes(bytes)) => envelope.id = bytes,
                (field::NODE_ID, Value::Bytes(bytes)) => envelope.node = bytes,
                (field::NUMBER, Value::Varint(number)) => {
                    envelope.number = Some(number);
                    envelope.is_last = false;
                }
                (field::NUMBER_OF_LAST, Value::Varint(number)) => {
                    envelope.number = Some(number);
                    envelope.is_last = true;
                }
                (field::PRIOR_REQUESTS, Value::Varint(number)) => {
                    // An int32, never negative.
                    envelope.prior_requests = number.min(i32::MAX as u64);
                }
                (field::UNTERMINATED_READ, Value::Varint(is)) => envelope.is_unterminated = is != 0,
                (field::SUB_STREAM, Value::Bytes(observation))
                    if Fields(observation).any(|field| field.is_err()) =>
                {
                    let why = "an observation is no protobuf".to_owned();
                    return Err(Unreadable::Value(why));
                }
                _ => {}
            }
        }
        if envelope.id.is_empty() {
            let why = "a record of a traffic stream has no connection id".to_owned();
            return Err(Unreadable::Value(why));
        }
        Ok(envelope)
    }
}

/// The latest time that the record tells, Unix time in microseconds. 0: none.
pub(in crate::message) fn time_of(record: &[u8]) -> u64 {
    observations(record)
        .map(|observation| observe(observation).0)
        .max()
        .unwrap_or(0)
}

pub(super) fn observations(record: &[u8]) -> impl Iterator<Item = &[u8]> {
    Fields(record).filter_map(|it| match it {
        Ok((number, Value::Bytes(bytes))) if number == u64::from(field::SUB_STREAM) => Some(bytes),
        _ => None,
    })
}

/// When, what, and whether it is a segment that others follow.
pub(super) fn observe(observation: &[u8]) -> (u64, Seen<'_>, bool) {
    let (mut at_us, mut seen, mut is_segment) = (0, Seen::Other, false);
    for (number, value) in Fields(observation).flatten() {
        let Value::Bytes(bytes) = value else {
            continue;
        };
        match u32::try_from(number).unwrap_or(0) {
            field::TS => at_us = time(bytes),
            field::READ => seen = Seen::Read(data(bytes, field::DATA)),
            field::WRITE => seen = Seen::Write(data(bytes, field::DATA)),
            field::READ_SEGMENT => {
                is_segment = true;
                seen = Seen::Read(data(bytes, field::SEGMENT_DATA));
            }
            field::WRITE_SEGMENT => {
                is_segment = true;
                seen = Seen::Write(data(bytes, field::SEGMENT_DATA));
            }
            field::SEGMENT_END => seen = Seen::EndOfSegments,
            field::END_OF_MESSAGE => seen = Seen::EndOfRequest,
            field::REQUEST_DROPPED => seen = Seen::Dropped,
            field::CLOSE => seen = Seen::Close,
            _ => {}
        }
    }
    (at_us, seen, is_segment)
}

fn data(message: &[u8], tag: u32) -> &[u8] {
    Fields(message)
        .flatten()
        .filter_map(|(number, value)| match value {
            Value::Bytes(bytes) if number == u64::from(tag) => Some(bytes),
            _ => None,
        })
        .last()
        .unwrap_or_default()
}

fn time(timestamp: &[u8]) -> u64 {
    let (mut seconds, mut nanos) = (0, 0);
    for (number, value) in Fields(timestamp).flatten() {
        match (u32::try_from(number).unwrap_or(0), value) {
            (field::SECONDS, Value::Varint(number)) => seconds = number,
            (field::NANOS, Value::Varint(number)) => nanos = number,
            _ => {}
        }
    }
    // Before 1970, or after any time that can be written down: no time.
    match i64::try_from(seconds) {
        Ok(seconds) if seconds < MAX_SECONDS => {
            seconds.unsigned_abs() * 1_000_000 + nanos.min(999_999_999) / 1_000
        }
        _ => 0,
    }
}

/// The year 9999.
const MAX_SECONDS: i64 = 253_402_207_200;
