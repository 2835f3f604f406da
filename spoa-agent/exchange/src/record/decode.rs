//! Reads a half from the protobuf of a record, without copying.
//!
//! The same parser makes a half that borrows from the record and one that shares it ([`Source`]).
//! Fields that this version does not know are skipped, as protobuf demands, and of a field that may
//! stand once and stands twice the last one counts. Nothing is allocated but the list of
//! headers, and the few words of a gap or a pair.

use std::net::IpAddr;
use std::ops::Range;

use bytes::Bytes;

use super::{Kind, Read, RecordError};
use crate::{
    Body, Dropped, Endpoint, Exchange, Extent, Gap, Half, Header, Headers, Pair, Request, Response,
    Rewritten, Sending, Timers, Tls, Word,
};

/// Where the bytes of a half come from: what a slice of the record becomes.
pub(super) trait Source<'r>: Copy {
    /// What holds the bytes.
    type Bytes: Default;

    /// A slice of the record.
    fn keep(self, slice: &'r [u8]) -> Self::Bytes;
}

/// The half borrows from the record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Borrowed;

impl<'r> Source<'r> for Borrowed {
    type Bytes = &'r [u8];

    fn keep(self, slice: &'r [u8]) -> &'r [u8] {
        slice
    }
}

/// The half shares the record's memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared<'r>(pub(super) &'r Bytes);

impl<'r> Source<'r> for Shared<'r> {
    type Bytes = Bytes;

    fn keep(self, slice: &'r [u8]) -> Bytes {
        self.0.slice_ref(slice)
    }
}

/// The kind of a record. Reads no further than the fields of the record itself.
pub(super) fn kind(record: &[u8]) -> Option<Kind> {
    let mut kind = None;
    for field in Fields(record) {
        match field.ok()? {
            (1, Value::Bytes(_)) => kind = Some(Kind::Request),
            (2, Value::Bytes(_)) => kind = Some(Kind::Response),
            (3, Value::Bytes(_)) => kind = Some(Kind::Gap),
            (4, Value::Bytes(_)) => kind = Some(Kind::Pair),
            _ => {}
        }
    }
    kind
}

/// Reads a record.
pub(super) fn record<'r, S: Source<'r>>(
    record: &'r [u8],
    source: S,
) -> Result<Half<S::Bytes>, RecordError> {
    let mut half = Err(RecordError::UnknownKind);
    for field in Fields(record) {
        match field? {
            (1, Value::Bytes(bytes)) => half = request(bytes, source).map(Half::Request),
            (2, Value::Bytes(bytes)) => half = response(bytes, source).map(Half::Response),
            (3, Value::Bytes(bytes)) => half = gap(bytes).map(Half::Gap),
            (4, Value::Bytes(bytes)) => {
                half = pair(bytes, source).map(|pair| Half::Pair(Box::new(pair)));
            }
            _ => {}
        }
    }
    half
}

/// Reads a Kafka message.
pub(super) fn envelope<'r>(
    message: &'r [u8],
    source: Shared<'r>,
) -> Result<(String, u64, u64, Read), RecordError> {
    let (mut agent, mut begun, mut complete) = (Word::default(), 0, 0);
    let mut read = Err(RecordError::UnknownKind);
    for field in Fields(message) {
        match field? {
            (1, Value::Bytes(bytes)) => agent = word(bytes)?,
            (2, Value::Varint(number)) => begun = number,
            (3, Value::Varint(number)) => complete = number,
            (4, Value::Bytes(bytes)) => {
                read = exchange(bytes, source).map(|it| Read::Exchange(Box::new(it)));
            }
            (5, Value::Bytes(bytes)) => {
                read = request(bytes, source).map(|it| Read::Request(Box::new(it)));
            }
            (6, Value::Bytes(bytes)) => {
                read = pair(bytes, source).map(|it| Read::Pair(Box::new(it)));
            }
            (7, Value::Bytes(bytes)) => read = gap(bytes).map(Read::Gap),
            _ => {}
        }
    }
    Ok((agent.into_owned(), begun, complete, read?))
}

fn exchange<'r>(message: &'r [u8], source: Shared<'r>) -> Result<Exchange, RecordError> {
    let mut exchange = Exchange::default();
    for field in Fields(message) {
        match field? {
            (1, Value::Varint(number)) => exchange.position = number,
            (2, Value::Bytes(bytes)) => exchange.request = Some(request(bytes, source)?),
            (3, Value::Bytes(bytes)) => exchange.response = Some(response(bytes, source)?),
            _ => {}
        }
    }
    Ok(exchange)
}

fn request<'r, S: Source<'r>>(
    message: &'r [u8],
    source: S,
) -> Result<Request<S::Bytes>, RecordError> {
    let mut half = Request::default();
    for field in Fields(message) {
        match field? {
            (1, Value::Bytes(bytes)) => half.id = source.keep(bytes),
            (2, Value::Varint(number)) => half.time_us = number,
            (3, Value::Bytes(bytes)) => half.client = Some(endpoint(bytes)?),
            (4, Value::Bytes(bytes)) => half.local = Some(endpoint(bytes)?),
            (5, Value::Bytes(bytes)) => half.frontend = source.keep(bytes),
            (6, Value::Bytes(bytes)) => half.tls = Some(tls(bytes, source)?),
            (7, Value::Bytes(bytes)) => half.version = source.keep(bytes),
            (8, Value::Bytes(bytes)) => half.method = source.keep(bytes),
            (9, Value::Bytes(bytes)) => half.target = source.keep(bytes),
            (10, Value::Bytes(bytes)) => push(&mut half.headers, header(bytes, source)?),
            (11, Value::Bytes(bytes)) => half.body = body(bytes, source)?,
            (12, Value::Varint(number)) => half.held = number != 0,
            _ => {}
        }
    }
    Ok(half)
}

fn response<'r, S: Source<'r>>(
    message: &'r [u8],
    source: S,
) -> Result<Response<S::Bytes>, RecordError> {
    let mut half = Response::default();
    for field in Fields(message) {
        match field? {
            (1, Value::Bytes(bytes)) => half.id = source.keep(bytes),
            (2, Value::Varint(number)) => half.time_us = number,
            (3, Value::Varint(number)) => {
                half.request_time_us = (number != 0).then_some(number);
            }
            (4, Value::Bytes(bytes)) => half.backend = source.keep(bytes),
            (5, Value::Bytes(bytes)) => half.server = source.keep(bytes),
            (6, Value::Varint(number)) => half.status = within("status", number)?,
            (7, Value::Varint(number)) => {
                let code = within("server_status", number)?;
                half.server_status = (code != 0).then_some(code);
            }
            (8, Value::Bytes(bytes)) => half.version = source.keep(bytes),
            (9, Value::Bytes(bytes)) => push(&mut half.headers, header(bytes, source)?),
            (10, Value::Bytes(bytes)) => half.body = body(bytes, source)?,
            (11, Value::Bytes(bytes)) => half.timers = timers(bytes)?,
            _ => {}
        }
    }
    Ok(half)
}

fn gap(message: &[u8]) -> Result<Gap, RecordError> {
    let mut gap = Gap::default();
    for field in Fields(message) {
        match field? {
            (1, Value::Varint(number)) => gap.from_us = number,
            (2, Value::Varint(number)) => gap.to_us = number,
            (3, Value::Varint(number)) => gap.requests = number,
            (4, Value::Varint(number)) => gap.responses = number,
            (5, Value::Bytes(bytes)) => gap.reason = word(bytes)?.into_owned(),
            _ => {}
        }
    }
    Ok(gap)
}

fn pair<'r, S: Source<'r>>(message: &'r [u8], source: S) -> Result<Pair<S::Bytes>, RecordError> {
    let mut pair = Pair::default();
    for field in Fields(message) {
        match field? {
            (1, Value::Varint(number)) => pair.position = number,
            (2, Value::Bytes(bytes)) => pair.target = word(bytes)?,
            (3, Value::Bytes(bytes)) => pair.api = word(bytes)?,
            (4, Value::Bytes(bytes)) => pair.dropped = Some(dropped(bytes)?),
            (5, Value::Bytes(bytes)) => pair.request = request(bytes, source)?,
            (6, Value::Bytes(bytes)) => pair.changes.push(word(bytes)?),
            (7, Value::Bytes(bytes)) => pair.rewritten = Some(rewritten(bytes, source)?),
            (8, Value::Bytes(bytes)) => pair.items.push(items(bytes)?),
            (9, Value::Varint(number)) => pair.more = number != 0,
            (10, Value::Bytes(bytes)) => pair.primary = Some(response(bytes, source)?),
            (11, Value::Bytes(bytes)) => pair.shadow = Some(response(bytes, source)?),
            (12, Value::Bytes(bytes)) => pair.sending = sending(bytes)?,
            _ => {}
        }
    }
    Ok(pair)
}

fn dropped(message: &[u8]) -> Result<Dropped, RecordError> {
    let mut dropped = Dropped::default();
    for field in Fields(message) {
        match field? {
            (1, Value::Bytes(bytes)) => dropped.reason = word(bytes)?,
            (2, Value::Bytes(bytes)) => dropped.cause = word(bytes)?,
            _ => {}
        }
    }
    Ok(dropped)
}

fn rewritten<'r, S: Source<'r>>(
    message: &'r [u8],
    source: S,
) -> Result<Rewritten<S::Bytes>, RecordError> {
    let mut rewritten = Rewritten::default();
    for field in Fields(message) {
        match field? {
            (1, Value::Bytes(bytes)) => rewritten.target = Some(source.keep(bytes)),
            (2, Value::Bytes(bytes)) => rewritten.removed.0.push(header(bytes, source)?),
            (3, Value::Bytes(bytes)) => rewritten.added.0.push(header(bytes, source)?),
            (4, Value::Bytes(bytes)) => rewritten.body = Some(body(bytes, source)?),
            _ => {}
        }
    }
    Ok(rewritten)
}

fn items(message: &[u8]) -> Result<Range<u32>, RecordError> {
    let (mut first, mut count) = (0, 0_u64);
    for field in Fields(message) {
        match field? {
            (1, Value::Varint(number)) => first = number,
            (2, Value::Varint(number)) => count = number,
            _ => {}
        }
    }
    let end = first.saturating_add(count);
    Ok(within("items.first", first)?..within("items", end)?)
}

fn sending(message: &[u8]) -> Result<Sending, RecordError> {
    let mut sending = Sending::default();
    for field in Fields(message) {
        match field? {
            (1, Value::Varint(number)) => sending.attempts = within("attempts", number)?,
            (2, Value::Varint(number)) => sending.due_us = Some(number),
            (3, Value::Varint(number)) => sending.began_us = number,
            (4, Value::Varint(number)) => sending.ended_us = number,
            (5, Value::Varint(number)) => sending.connect_us = number,
            (6, Value::Varint(number)) => sending.first_byte_us = Some(number),
            (7, Value::Varint(number)) => sending.end_us = number,
            _ => {}
        }
    }
    Ok(sending)
}

fn word(bytes: &[u8]) -> Result<Word, RecordError> {
    std::str::from_utf8(bytes)
        .map(|text| Word::Owned(text.to_owned()))
        .map_err(|_| RecordError::Malformed("a word is not UTF-8"))
}

fn endpoint(message: &[u8]) -> Result<Endpoint, RecordError> {
    let mut ip = None;
    let mut port = 0;
    for field in Fields(message) {
        match field? {
            (1, Value::Bytes(bytes)) => ip = Some(address(bytes)?),
            (2, Value::Varint(number)) => port = within("port", number)?,
            _ => {}
        }
    }
    let ip = ip.ok_or(RecordError::Malformed("an endpoint has no address"))?;
    Ok(Endpoint { ip, port })
}

fn address(bytes: &[u8]) -> Result<IpAddr, RecordError> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(v4));
    }
    let v6 = <[u8; 16]>::try_from(bytes)
        .map_err(|_| RecordError::Malformed("an address has neither 4 nor 16 bytes"))?;
    Ok(IpAddr::from(v6))
}

fn tls<'r, S: Source<'r>>(message: &'r [u8], source: S) -> Result<Tls<S::Bytes>, RecordError> {
    let mut tls = Tls::default();
    for field in Fields(message) {
        match field? {
            (1, Value::Bytes(bytes)) => tls.version = source.keep(bytes),
            (2, Value::Bytes(bytes)) => tls.cipher = source.keep(bytes),
            (3, Value::Bytes(bytes)) => tls.server_name = source.keep(bytes),
            _ => {}
        }
    }
    Ok(tls)
}

fn header<'r, S: Source<'r>>(
    message: &'r [u8],
    source: S,
) -> Result<Header<S::Bytes>, RecordError> {
    let mut header = Header::default();
    for field in Fields(message) {
        match field? {
            (1, Value::Bytes(bytes)) => header.name = source.keep(bytes),
            (2, Value::Bytes(bytes)) => header.value = source.keep(bytes),
            _ => {}
        }
    }
    Ok(header)
}

/// Most messages have fewer headers than this, and so one allocation.
const USUAL_HEADERS: usize = 16;

fn push<B>(headers: &mut Headers<B>, header: Header<B>) {
    if headers.0.is_empty() {
        headers.0.reserve(USUAL_HEADERS);
    }
    headers.0.push(header);
}

fn body<'r, S: Source<'r>>(message: &'r [u8], source: S) -> Result<Body<S::Bytes>, RecordError> {
    let mut content = S::Bytes::default();
    let mut extent = 0;
    let mut missing = None;
    for field in Fields(message) {
        match field? {
            (1, Value::Bytes(bytes)) => content = source.keep(bytes),
            (2, Value::Varint(number)) => extent = number,
            (3, Value::Varint(number)) => missing = Some(number),
            _ => {}
        }
    }
    let extent = match extent {
        0 => Extent::Whole,
        1 => Extent::Cut { missing },
        2 => Extent::NotCaptured { missing },
        // A newer version knows more ways in which a body can be incomplete: law 3 forbids to guess "whole".
        value => {
            return Err(RecordError::OutOfRange {
                field: "extent",
                value,
            });
        }
    };
    Ok(Body { content, extent })
}

fn timers(message: &[u8]) -> Result<Timers, RecordError> {
    let mut timers = Timers::default();
    for field in Fields(message) {
        match field? {
            (1, Value::Varint(number)) => timers.queue_ms = Some(within("queue_ms", number)?),
            (2, Value::Varint(number)) => timers.connect_ms = Some(within("connect_ms", number)?),
            (3, Value::Varint(number)) => timers.response_ms = Some(within("response_ms", number)?),
            _ => {}
        }
    }
    Ok(timers)
}

fn within<T: TryFrom<u64>>(field: &'static str, value: u64) -> Result<T, RecordError> {
    T::try_from(value).map_err(|_| RecordError::OutOfRange { field, value })
}

/// A field's value, as far as these schemas have them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'r> {
    Varint(u64),
    Bytes(&'r [u8]),
    /// A fixed 32 or 64 bit number, which no field here is.
    Other,
}

/// The fields of a message. Ends after the first error.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'r>(pub(crate) &'r [u8]);

impl<'r> Iterator for Fields<'r> {
    type Item = Result<(u64, Value<'r>), RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or(RecordError::Malformed(
            "a field is cut or of an unknown wire type",
        )))
    }
}

impl<'r> Fields<'r> {
    #[inline]
    fn field(&mut self) -> Option<(u64, Value<'r>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Other)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Other)?,
            _ => return None,
        };
        Some((key >> 3, value))
    }

    #[inline]
    fn take(&mut self, length: usize) -> Option<&'r [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        let (&first, rest) = self.0.split_first()?;
        if first < 0x80 {
            self.0 = rest;
            return Some(first.into());
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}
