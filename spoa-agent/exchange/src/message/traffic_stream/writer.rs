//! From exchanges to the records of connections.
//!
//! The agent sees exchanges, not connections: a connection is here what came from one address and port, until an answer is
//! missing or not whole, or nothing came for a while. Two exchanges of one client that overlap (HTTP/2, or HTTP/3) have no order
//! on a connection of HTTP/1.1; the later one gets a connection of its own.

use std::collections::{BTreeSet, HashMap};
use std::io::Write as _;

use bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::{field, http};
use crate::message::{Carried, Connections as Limits, Message};
use crate::{Endpoint, Exchange, Request, Response};

/// The connections that are open, in a bounded number.
#[derive(Debug, Default)]
pub(in crate::message) struct Connections {
    open: HashMap<Peer, Connection>,
    /// Those of them that wait for nothing, by the time of what came last.
    by_time: BTreeSet<(u64, Peer)>,
    /// Requests that were told ahead of their exchange, and where. Their connections wait for the answer, however long that takes.
    ahead: HashMap<Bytes, Ahead>,
    /// The latest time that any exchange told.
    clock_us: u64,
}

/// What tells connections from each other.
type Peer = (Endpoint, Option<Endpoint>);

#[derive(Debug)]
enum Ahead {
    /// On the client's connection.
    Shared(Peer),
    /// On one of its own.
    Own(Box<Connection>),
}

#[derive(Debug)]
struct Connection {
    id: Bytes,
    /// Records so far.
    records: u64,
    /// Requests that ended so far.
    requests: u64,
    /// The time of what came last.
    last_us: u64,
    /// The request that was told ahead, and is not answered yet.
    asked: Option<Bytes>,
}

/// What the records of one call have in common.
#[derive(Debug)]
pub(in crate::message) struct Envelope<'a> {
    pub(in crate::message) node: &'a str,
    pub(in crate::message) begun: u64,
    /// See [`Options::instance`](crate::message::Options::instance).
    pub(in crate::message) instance: u64,
    /// Bytes that a record may have.
    pub(in crate::message) room: usize,
    /// The headers of a record.
    pub(in crate::message) headers: Vec<(&'static str, Bytes)>,
    /// The headers of the record that closes another connection.
    pub(in crate::message) closing: Vec<(&'static str, Bytes)>,
    pub(in crate::message) limits: Limits,
}

impl Connections {
    /// Writes a request ahead of its exchange.
    pub(in crate::message) fn request(
        &mut self,
        request: &Request,
        envelope: &Envelope<'_>,
        out: &mut Vec<Message>,
    ) -> Carried {
        self.tick(request.time_us, envelope, out);
        let is_full = self.ahead.len() >= envelope.limits.most;
        let (mut connection, shared) = match is_full {
            true => (Connection::new(request, envelope), None),
            false => self.begin(request, envelope, out),
        };
        let mut record = Record::begin(&connection, envelope);
        let carried = record.request(&mut connection, request, &mut Vec::new());
        let is_awaited = carried == Carried::Whole && !is_full;
        connection.asked = is_awaited.then(|| request.id.clone());
        let is_last = !is_awaited && shared.is_none();
        if is_last {
            record.close(request.time_us);
        }
        record.end(&mut connection, is_last, out);
        let ahead = match shared {
            Some(peer) => {
                self.keep(peer, connection, envelope, out);
                Ahead::Shared(peer)
            }
            None => Ahead::Own(Box::new(connection)),
        };
        if is_awaited {
            self.ahead.insert(request.id.clone(), ahead);
        }
        carried
    }

    /// Writes an exchange, or what is left of it when its request was told ahead.
    pub(in crate::message) fn exchange(
        &mut self,
        exchange: &Exchange,
        envelope: &Envelope<'_>,
        out: &mut Vec<Message>,
    ) -> Carried {
        let Some(request) = &exchange.request else {
            return Carried::Nothing;
        };
        let response = exchange.response.as_ref();
        let last_us = response.map_or(request.time_us, |it| it.time_us);
        self.tick(last_us, envelope, out);
        let mut bytes = Vec::new();
        let told = self.told(&request.id);
        let is_told = told.is_some();
        let (mut connection, shared) = told.unwrap_or_else(|| self.begin(request, envelope, out));
        let mut record = Record::begin(&connection, envelope);
        let (mut carried, mut is_last) = (Carried::Whole, false);
        if !is_told {
            carried = record.request(&mut connection, request, &mut bytes);
        }
        if carried == Carried::Whole {
            (carried, is_last) = record.response(&mut connection, request, response, &mut bytes);
        }
        connection.last_us = last_us;
        connection.asked = None;
        match shared.filter(|_| !is_last) {
            Some(peer) => {
                record.end(&mut connection, false, out);
                self.keep(peer, connection, envelope, out);
            }
            None => {
                record.close(last_us);
                record.end(&mut connection, true, out);
            }
        }
        carried
    }

    /// The connection on which the request was told ahead, if that is still open.
    fn told(&mut self, id: &Bytes) -> Option<(Connection, Option<Peer>)> {
        match self.ahead.remove(id)? {
            Ahead::Own(connection) => Some((*connection, None)),
            Ahead::Shared(peer) => {
                let is_open = self.open.get(&peer)?.asked.as_ref() == Some(id);
                is_open
                    .then(|| self.release(&peer))
                    .flatten()
                    .map(|it| (it, Some(peer)))
            }
        }
    }

    /// The connection of a client, or one of its own for a request that has no place there. The peer, when the
    /// connection is to be kept.
    fn begin(
        &mut self,
        request: &Request,
        envelope: &Envelope<'_>,
        out: &mut Vec<Message>,
    ) -> (Connection, Option<Peer>) {
        let Some(peer) = request.client.map(|client| (client, request.local)) else {
            return (Connection::new(request, envelope), None);
        };
        match self.open.get(&peer) {
            Some(open) if open.asked.is_some() || request.time_us < open.last_us => {
                (Connection::new(request, envelope), None)
            }
            Some(open) if request.time_us - open.last_us > envelope.limits.idle_us => {
                if let Some(idle) = self.release(&peer) {
                    idle.closed(envelope, out);
                }
                (Connection::new(request, envelope), Some(peer))
            }
            Some(_) => match self.release(&peer) {
                Some(open) => (open, Some(peer)),
                None => (Connection::new(request, envelope), Some(peer)),
            },
            None => (Connection::new(request, envelope), Some(peer)),
        }
    }

    fn keep(
        &mut self,
        peer: Peer,
        connection: Connection,
        envelope: &Envelope<'_>,
        out: &mut Vec<Message>,
    ) {
        if connection.asked.is_none() {
            self.by_time.insert((connection.last_us, peer));
        }
        self.open.insert(peer, connection);
        while self.by_time.len() > envelope.limits.most {
            self.close_oldest(envelope, out);
        }
    }

    fn release(&mut self, peer: &Peer) -> Option<Connection> {
        let connection = self.open.remove(peer)?;
        self.by_time.remove(&(connection.last_us, *peer));
        Some(connection)
    }

    /// Closes what was idle for too long.
    fn tick(&mut self, now_us: u64, envelope: &Envelope<'_>, out: &mut Vec<Message>) {
        self.clock_us = self.clock_us.max(now_us);
        let is_idle = |at: u64| self.clock_us.saturating_sub(at) > envelope.limits.idle_us;
        let idle = self
            .by_time
            .iter()
            .take_while(|(at, _)| is_idle(*at))
            .count();
        for _ in 0..idle {
            self.close_oldest(envelope, out);
        }
    }

    fn close_oldest(&mut self, envelope: &Envelope<'_>, out: &mut Vec<Message>) {
        let oldest = self.by_time.first().copied();
        if let Some(connection) = oldest.and_then(|(_, peer)| self.release(&peer)) {
            connection.closed(envelope, out);
        }
    }
}

impl Connection {
    fn new(request: &Request, envelope: &Envelope<'_>) -> Self {
        let mut id = Vec::with_capacity(64);
        // Writing into a Vec cannot fail.
        match request.client {
            Some(client) => write!(id, "{client}"),
            None => write!(id, "unix"),
        }
        .unwrap_or_default();
        let Envelope {
            begun, instance, ..
        } = envelope;
        write!(id, "-{instance:x}-{begun:x}").unwrap_or_default();
        Self {
            id: id.into(),
            records: 0,
            requests: 0,
            last_us: request.time_us,
            asked: None,
        }
    }

    /// Appends the record that only says that it is closed.
    fn closed(mut self, envelope: &Envelope<'_>, out: &mut Vec<Message>) {
        let mut record = Record::begin(&self, envelope);
        record.headers = &envelope.closing;
        record.close(self.last_us);
        record.end(&mut self, true, out);
    }
}

/// A record being written.
struct Record<'a> {
    envelope: &'a Envelope<'a>,
    headers: &'a [(&'static str, Bytes)],
    bytes: Vec<u8>,
    is_empty: bool,
    /// Bytes of a request were written, and not its end.
    is_unterminated: bool,
    /// Those that are full already.
    full: Vec<Vec<u8>>,
}

impl<'a> Record<'a> {
    fn begin(connection: &Connection, envelope: &'a Envelope<'a>) -> Self {
        let mut record = Self {
            envelope,
            headers: &envelope.headers,
            bytes: Vec::new(),
            is_empty: true,
            is_unterminated: false,
            full: Vec::new(),
        };
        record.head(connection);
        record
    }

    fn head(&mut self, connection: &Connection) {
        let out = &mut self.bytes;
        bytes_field(field::CONNECTION_ID, &connection.id, out);
        bytes_field(field::NODE_ID, self.envelope.node.as_bytes(), out);
        if connection.requests > 0 {
            varint_field(field::PRIOR_REQUESTS, count(connection.requests), out);
        }
        if self.is_unterminated {
            varint_field(field::UNTERMINATED_READ, 1, out);
        }
        self.is_empty = true;
    }

    /// Writes a request: whole, or as much as there is and the mark that it is not.
    fn request(
        &mut self,
        connection: &mut Connection,
        request: &Request,
        head: &mut Vec<u8>,
    ) -> Carried {
        head.clear();
        let at = request.time_us;
        let written = http::write_request(request, head);
        if written.is_some() {
            self.is_unterminated = true;
            self.data(connection, READ, at, [head, &request.body.content]);
        }
        let carried = match written.filter(|it| it.whole) {
            Some(written) => {
                self.end_of_message(connection, at, written);
                connection.requests += 1;
                Carried::Whole
            }
            None => {
                self.mark(connection, field::REQUEST_DROPPED, at);
                Carried::Cut
            }
        };
        self.is_unterminated = false;
        carried
    }

    /// Writes a response, as much as there is of it. Also says whether the connection ends with it: without an answer, the
    /// next one would be taken for this request's.
    fn response(
        &mut self,
        connection: &mut Connection,
        request: &Request,
        response: Option<&Response>,
        head: &mut Vec<u8>,
    ) -> (Carried, bool) {
        head.clear();
        let Some(response) = response else {
            return (Carried::Unanswered, true);
        };
        let Some(written) = http::write_response(response, &request.method, head) else {
            return (Carried::Cut, true);
        };
        let body = &response.body.content;
        self.data(connection, WRITE, response.time_us, [head, body]);
        let carried = match written.whole {
            true => Carried::Whole,
            false => Carried::Cut,
        };
        (carried, response.status == http::SWITCHING)
    }

    /// Writes bytes that were read or written: in one observation, or in as many segments as they need.
    fn data(&mut self, connection: &mut Connection, side: Side, at_us: u64, pieces: [&[u8]; 2]) {
        let total: usize = pieces.iter().map(|it| it.len()).sum();
        if total + OBSERVATION <= self.left() {
            return observation(side.0, at_us, (field::DATA, pieces), &mut self.bytes);
        }
        let [mut head, mut body] = pieces;
        while !head.is_empty() || !body.is_empty() {
            if self.left() < OBSERVATION + LEAST_SEGMENT && !self.is_empty {
                self.flush(connection);
            }
            let most = self.left().saturating_sub(OBSERVATION).max(LEAST_SEGMENT);
            let first = take_up_to(&mut head, most);
            let second = take_up_to(&mut body, most - first.len());
            let data = (field::SEGMENT_DATA, [first, second]);
            observation(side.1, at_us, data, &mut self.bytes);
            self.is_empty = false;
        }
        self.mark(connection, field::SEGMENT_END, at_us);
    }

    fn end_of_message(&mut self, connection: &mut Connection, at_us: u64, written: http::Written) {
        let mut lengths = Vec::with_capacity(12);
        let fields = [
            (field::FIRST_LINE_LENGTH, written.first_line),
            (field::HEADERS_LENGTH, written.headers),
        ];
        for (number, length) in fields {
            encode_key(number, WireType::Varint, &mut lengths);
            encode_varint(count(length as u64), &mut lengths);
        }
        self.make_room(connection);
        message(field::END_OF_MESSAGE, at_us, &lengths, &mut self.bytes);
        self.is_empty = false;
    }

    /// Writes an observation that says nothing but itself.
    fn mark(&mut self, connection: &mut Connection, number: u32, at_us: u64) {
        self.make_room(connection);
        message(number, at_us, &[], &mut self.bytes);
        self.is_empty = false;
    }

    /// There is always room for this one: see [`RESERVE`].
    fn close(&mut self, at_us: u64) {
        message(field::CLOSE, at_us, &[], &mut self.bytes);
        self.is_empty = false;
    }

    fn make_room(&mut self, connection: &mut Connection) {
        if self.left() < OBSERVATION && !self.is_empty {
            self.flush(connection);
        }
    }

    fn left(&self) -> usize {
        let room = self.envelope.room.saturating_sub(RESERVE);
        room.saturating_sub(self.bytes.len())
    }

    fn flush(&mut self, connection: &mut Connection) {
        connection.records += 1;
        varint_field(field::NUMBER, count(connection.records), &mut self.bytes);
        self.full.push(std::mem::take(&mut self.bytes));
        self.head(connection);
    }

    fn end(mut self, connection: &mut Connection, is_last: bool, out: &mut Vec<Message>) {
        connection.records += 1;
        let number = match is_last {
            true => field::NUMBER_OF_LAST,
            false => field::NUMBER,
        };
        varint_field(number, count(connection.records), &mut self.bytes);
        self.full.push(self.bytes);
        out.extend(self.full.into_iter().map(|value| Message {
            key: Some(connection.id.clone()),
            headers: self.headers.to_vec(),
            value: value.into(),
        }));
    }
}

/// An observation's number, when the bytes are all in it, and when they are a segment of them.
type Side = (u32, u32);

const READ: Side = (field::READ, field::READ_SEGMENT);
const WRITE: Side = (field::WRITE, field::WRITE_SEGMENT);

/// Writes an observation with data.
fn observation(number: u32, at_us: u64, data: (u32, [&[u8]; 2]), out: &mut Vec<u8>) {
    let (tag, pieces) = data;
    let length: usize = pieces.iter().map(|it| it.len()).sum();
    // As proto3 has it, no data is no field.
    let inner = match length {
        0 => 0,
        _ => key_len(tag) + encoded_len_varint(length as u64) + length,
    };
    begin_observation(number, at_us, inner, out);
    if length > 0 {
        encode_key(tag, WireType::LengthDelimited, out);
        encode_varint(length as u64, out);
        for piece in pieces {
            out.extend_from_slice(piece);
        }
    }
}

/// Writes an observation with a small message.
fn message(number: u32, at_us: u64, inner: &[u8], out: &mut Vec<u8>) {
    begin_observation(number, at_us, inner.len(), out);
    out.extend_from_slice(inner);
}

fn begin_observation(number: u32, at_us: u64, inner: usize, out: &mut Vec<u8>) {
    let mut ts = Vec::with_capacity(16);
    varint_field(field::SECONDS, at_us / 1_000_000, &mut ts);
    varint_field(field::NANOS, at_us % 1_000_000 * 1_000, &mut ts);
    let ts_length = key_len(field::TS) + encoded_len_varint(ts.len() as u64) + ts.len();
    let length = ts_length + key_len(number) + encoded_len_varint(inner as u64) + inner;
    encode_key(field::SUB_STREAM, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
    bytes_field(field::TS, &ts, out);
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(inner as u64, out);
}

fn varint_field(number: u32, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        encode_key(number, WireType::Varint, out);
        encode_varint(value, out);
    }
}

fn bytes_field(number: u32, value: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn take_up_to<'b>(bytes: &mut &'b [u8], most: usize) -> &'b [u8] {
    let (taken, rest) = bytes.split_at_checked(most).unwrap_or((bytes, &[]));
    *bytes = rest;
    taken
}

/// As an `int32` has it.
fn count(number: u64) -> u64 {
    number.min(i32::MAX as u64)
}

/// What an observation takes besides its data, at most.
const OBSERVATION: usize = 48;

/// What is kept free for the close, and for the record's number.
const RESERVE: usize = OBSERVATION + 8;

/// The fewest bytes that are worth a segment.
const LEAST_SEGMENT: usize = 64;
