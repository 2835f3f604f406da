//! From the records of connections to exchanges.
//!
//! What ends a message is what HTTP says; the marks between the bytes only tell where to begin again after bytes that are not
//! here. Bytes that were cut, by whomever, become a message that says so, and a request that was dropped on purpose is never
//! told as one that could be sent.
//!
//! A capture proxy records what it sees, and a client may send its next request before it has its answer. Our own
//! writer ([`super::writer`]) has one exchange after the other, and an answer that it knows to be cut ends with its record; it is
//! known by the ids of its connections.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::field;
use super::http::{Incomplete, Message, NotHttp, RequestHead, ResponseHead, SWITCHING};
use crate::message::{Bounds, Source, Span, Told, Unreadable};
use crate::record::decode::{Fields, Value};
use crate::{Body, Endpoint, Exchange, Extent, Request, Response};

/// The connections that are open, over all partitions, in a bounded number.
#[derive(Debug, Default)]
pub(in crate::message) struct Connections {
    open: HashMap<Key, Connection>,
    /// The same, by partition, and by the order in which something came last.
    by_turn: HashMap<i32, BTreeMap<u64, Key>>,
    turn: u64,
    held: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    partition: i32,
    node: Box<[u8]>,
    id: Box<[u8]>,
}

/// A record, and what its message's headers say.
#[derive(Debug)]
pub(in crate::message) struct Incoming<'a> {
    pub(in crate::message) partition: i32,
    pub(in crate::message) offset: i64,
    /// What time it is in the partition.
    pub(in crate::message) clock_us: u64,
    pub(in crate::message) value: &'a Bytes,
    /// The exchange's id.
    pub(in crate::message) id: Option<Bytes>,
    pub(in crate::message) agent: Option<Arc<str>>,
    pub(in crate::message) begun: Option<u64>,
    pub(in crate::message) complete: Option<u64>,
}

/// What a record says besides its observations.
#[derive(Debug, Default)]
struct Envelope<'r> {
    id: &'r [u8],
    node: &'r [u8],
    number: Option<u64>,
    is_last: bool,
    prior_requests: u64,
    is_unterminated: bool,
}

impl Connections {
    /// Takes a record, and appends what is complete with it.
    pub(in crate::message) fn push(
        &mut self,
        incoming: &Incoming<'_>,
        bounds: &Bounds,
        out: &mut Vec<Told>,
    ) -> Result<(), Unreadable> {
        let envelope = Envelope::read(incoming.value)?;
        let key = Key {
            partition: incoming.partition,
            node: envelope.node.into(),
            id: envelope.id.into(),
        };
        let mut connection = match self.release(&key) {
            Some(connection) => connection,
            None => Connection::new(&key, &envelope),
        };
        let is_open = connection.record(&envelope, incoming, bounds, out);
        if is_open {
            self.keep(key, connection);
        }
        while self.open.len() > bounds.parts || self.held > bounds.bytes {
            let Some(mut oldest) = self.oldest().and_then(|key| self.release(&key)) else {
                break;
            };
            oldest.broken(incoming.offset, out);
        }
        Ok(())
    }

    /// Ends connections of a partition on which nothing happened for too long.
    pub(in crate::message) fn expire(
        &mut self,
        partition: i32,
        clock_us: u64,
        bounds: &Bounds,
        out: &mut Vec<Told>,
    ) {
        while let Some(key) = self.oldest_of(partition) {
            let is_idle = self
                .open
                .get(&key)
                .is_some_and(|it| clock_us.saturating_sub(it.seen_us) > bounds.idle_us);
            let Some(mut idle) = is_idle.then(|| self.release(&key)).flatten() else {
                return;
            };
            let last = idle.last;
            idle.broken(last, out);
        }
    }

    /// Ends all connections of the partition.
    pub(in crate::message) fn finish(&mut self, partition: i32, out: &mut Vec<Told>) {
        while let Some(key) = self.oldest_of(partition) {
            let Some(mut connection) = self.release(&key) else {
                return;
            };
            let last = connection.last;
            connection.broken(last, out);
        }
    }

    /// The lowest offset of which something is not told yet.
    pub(in crate::message) fn floor(&self, partition: i32) -> Option<i64> {
        self.open
            .iter()
            .filter(|(key, _)| key.partition == partition)
            .filter_map(|(_, connection)| connection.floor())
            .min()
    }

    fn oldest(&self) -> Option<Key> {
        let firsts = self.by_turn.values().filter_map(BTreeMap::first_key_value);
        firsts
            .min_by_key(|(turn, _)| **turn)
            .map(|(_, key)| key.clone())
    }

    fn oldest_of(&self, partition: i32) -> Option<Key> {
        let (_, key) = self.by_turn.get(&partition)?.first_key_value()?;
        Some(key.clone())
    }

    fn release(&mut self, key: &Key) -> Option<Connection> {
        let connection = self.open.remove(key)?;
        if let Some(turns) = self.by_turn.get_mut(&key.partition) {
            turns.remove(&connection.turn);
            if turns.is_empty() {
                self.by_turn.remove(&key.partition);
            }
        }
        self.held -= connection.weight;
        Some(connection)
    }

    fn keep(&mut self, key: Key, mut connection: Connection) {
        self.turn += 1;
        connection.turn = self.turn;
        connection.weight = connection.weigh();
        self.held += connection.weight;
        let turns = self.by_turn.entry(key.partition).or_default();
        turns.insert(self.turn, key.clone());
        self.open.insert(key, connection);
    }
}

/// A connection, as far as it is not told yet.
#[derive(Debug)]
struct Connection {
    /// Its id, as text, for the ids of its exchanges.
    id: Box<str>,
    node: Arc<str>,
    partition: i32,
    /// `Some` when our own writer wrote it: then with its client, unless that came over a Unix socket.
    ours: Option<Option<Endpoint>>,
    /// The number of the last record.
    number: Option<u64>,
    /// How many requests came before the one that is being read, or comes next.
    index: u64,
    reading: Reading,
    request: Incomplete<RequestHead>,
    /// Where the request that is being read began.
    began: Option<Began>,
    /// Requests that wait for their answer, in order.
    asked: VecDeque<Asked>,
    response: Incomplete<ResponseHead>,
    /// When the first byte of the answer came that is being read.
    answered_us: Option<u64>,
    /// The answer to the request that is not all here.
    early: Option<Response>,
    /// The highest offset.
    last: i64,
    /// The partition's time of its last record.
    seen_us: u64,
    turn: u64,
    weight: usize,
}

/// Whether the bytes that come mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// They do.
    On,
    /// They belong to a request that began before what is here.
    SkipRequest,
    /// What is written belongs to such a request; the next byte that is read begins another one.
    SkipResponse,
    /// They are no HTTP any more.
    Off,
}

#[derive(Clone, Debug)]
struct Began {
    offset: i64,
    at_us: u64,
    /// What the message's headers said with which it began.
    id: Option<Bytes>,
    agent: Option<Arc<str>>,
    begun: Option<u64>,
    complete: Option<u64>,
}

#[derive(Debug)]
struct Asked {
    request: Request,
    began: Began,
}

/// What an observation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen<'r> {
    Read(&'r [u8]),
    Write(&'r [u8]),
    /// Whether it is a segment that others follow.
    EndOfSegments,
    EndOfRequest,
    Dropped,
    Close,
    Other,
}

impl Connection {
    fn new(key: &Key, envelope: &Envelope<'_>) -> Self {
        let begins = envelope.number.is_none_or(|number| number <= 1);
        let reading = match (begins, envelope.is_unterminated) {
            (true, false) => Reading::On,
            (false, false) => Reading::SkipResponse,
            (_, true) => Reading::SkipRequest,
        };
        Self {
            id: String::from_utf8_lossy(&key.id).into(),
            node: String::from_utf8_lossy(&key.node).into(),
            partition: key.partition,
            ours: ours(&key.id),
            number: None,
            index: envelope.prior_requests + u64::from(envelope.is_unterminated),
            reading,
            request: Incomplete::default(),
            began: None,
            asked: VecDeque::new(),
            response: Incomplete::default(),
            answered_us: None,
            early: None,
            last: 0,
            seen_us: 0,
            turn: 0,
            weight: 0,
        }
    }

    /// Takes a record, and says whether the connection is still open.
    fn record(
        &mut self,
        envelope: &Envelope<'_>,
        incoming: &Incoming<'_>,
        bounds: &Bounds,
        out: &mut Vec<Told>,
    ) -> bool {
        self.seen_us = incoming.clock_us;
        if let (Some(last), Some(number)) = (self.number, envelope.number) {
            if number <= last {
                // It was delivered again.
                return true;
            }
            if number > last.saturating_add(1) {
                self.resume(envelope, incoming.offset, out);
            }
        }
        self.number = envelope.number.or(self.number);
        self.last = self.last.max(incoming.offset);
        if let Some(asked) = self.asked.front_mut()
            && asked.began.id.is_some()
            && asked.began.id == incoming.id
        {
            // The request was told ahead; only now it is known where the exchange is complete.
            asked.began.complete = incoming.complete;
        }
        let mut ends_answered = false;
        for observation in observations(incoming.value) {
            let (at_us, seen, is_segment) = observe(observation);
            match seen {
                Seen::Read(bytes) => self.read(bytes, at_us, incoming, bounds, out),
                Seen::Write(bytes) => self.write(bytes, at_us, incoming.offset, bounds, out),
                Seen::EndOfRequest if self.reading == Reading::SkipRequest => {
                    self.reading = Reading::SkipResponse;
                }
                Seen::Dropped => self.dropped(incoming.offset, out),
                Seen::Close => {
                    self.closed(incoming.offset, out);
                    return false;
                }
                Seen::EndOfSegments | Seen::EndOfRequest | Seen::Other => {}
            }
            ends_answered = match seen {
                Seen::Write(_) => !is_segment,
                Seen::EndOfSegments => true,
                _ => false,
            };
        }
        if ends_answered && self.ours.is_some() && self.answered_us.is_some() {
            self.cut_answer(incoming.offset, out);
        }
        if envelope.is_last {
            self.closed(incoming.offset, out);
        }
        !envelope.is_last
    }

    /// Begins again after records that did not come.
    fn resume(&mut self, envelope: &Envelope<'_>, offset: i64, out: &mut Vec<Told>) {
        self.broken(offset, out);
        self.reading = match envelope.is_unterminated {
            true => Reading::SkipRequest,
            false => Reading::SkipResponse,
        };
        let index = envelope.prior_requests + u64::from(envelope.is_unterminated);
        self.index = self.index.max(index);
    }

    fn read(
        &mut self,
        mut bytes: &[u8],
        at_us: u64,
        incoming: &Incoming<'_>,
        bounds: &Bounds,
        out: &mut Vec<Told>,
    ) {
        if self.reading == Reading::SkipResponse {
            self.reading = Reading::On;
        }
        while !bytes.is_empty() && self.reading == Reading::On {
            self.began.get_or_insert_with(|| Began {
                offset: incoming.offset,
                at_us,
                id: incoming.id.clone(),
                agent: incoming.agent.clone(),
                begun: incoming.begun,
                complete: incoming.complete,
            });
            let taken = self.request.take(&mut bytes, b"", bounds.bytes);
            if self.request.is_empty() && !matches!(taken, Ok(Some(_))) {
                // Nothing but empty lines.
                self.began = None;
            }
            match taken {
                Ok(None) => {}
                Ok(Some(message)) => self.requested(message, at_us, incoming.offset, out),
                Err(why) => {
                    self.no_http(why, incoming.offset, out);
                    self.reading = Reading::SkipRequest;
                    self.index += 1;
                }
            }
        }
    }

    /// A request is all here.
    fn requested(
        &mut self,
        message: Message<RequestHead>,
        at_us: u64,
        offset: i64,
        out: &mut Vec<Told>,
    ) {
        let Some(began) = self.began.take() else {
            return;
        };
        let id = began.id.clone();
        let request = self.request_of(message, at_us, id);
        self.index += 1;
        let asked = Asked { request, began };
        match self.early.take() {
            Some(response) => self.tell(asked, Some(response), offset, out),
            None => self.asked.push_back(asked),
        }
    }

    fn write(
        &mut self,
        mut bytes: &[u8],
        at_us: u64,
        offset: i64,
        bounds: &Bounds,
        out: &mut Vec<Told>,
    ) {
        if self.reading == Reading::SkipRequest {
            self.reading = Reading::SkipResponse;
        }
        while !bytes.is_empty() && self.reading == Reading::On {
            let asked = match (self.asked.front(), self.request.head()) {
                (Some(asked), _) => asked.request.method.clone(),
                (None, Some(head)) if self.early.is_none() => head.method.clone(),
                // Nobody asked: for example the goodbye of a server that has waited for too long.
                _ => return,
            };
            self.answered_us.get_or_insert(at_us);
            match self.response.take(&mut bytes, &asked, bounds.bytes) {
                Ok(None) => {}
                Ok(Some(message)) => self.answered(message, offset, out),
                Err(why) => {
                    self.no_http(why, offset, out);
                    self.reading = Reading::SkipResponse;
                }
            }
        }
    }

    /// An answer is all here, or all that there will be.
    fn answered(&mut self, message: Message<ResponseHead>, offset: i64, out: &mut Vec<Told>) {
        let at_us = self.answered_us.take().unwrap_or_default();
        let status = message.head.status;
        if status < 200 && status != SWITCHING {
            // The final one follows.
            return;
        }
        let response = response_of(message, at_us);
        match self.asked.pop_front() {
            Some(asked) => self.tell(asked, Some(response), offset, out),
            None => self.early = Some(response),
        }
        if status == SWITCHING {
            self.broken(offset, out);
            self.reading = Reading::Off;
        }
    }

    /// Our own writer has no more of this answer.
    fn cut_answer(&mut self, offset: i64, out: &mut Vec<Told>) {
        match self.response.end(false) {
            Some(message) => self.answered(message, offset, out),
            None => self.answered_us = None,
        }
    }

    /// The request of which some bytes came will not come.
    fn dropped(&mut self, offset: i64, out: &mut Vec<Told>) {
        if self.reading == Reading::SkipRequest {
            self.reading = Reading::SkipResponse;
            self.index = self.index.saturating_sub(1);
        }
        self.give_up_request(offset, false, out);
        self.request = Incomplete::default();
        self.early = None;
    }

    /// The client or the server closed it.
    fn closed(&mut self, offset: i64, out: &mut Vec<Told>) {
        self.end(true, offset, out);
    }

    /// Nothing more comes that could be understood.
    fn broken(&mut self, offset: i64, out: &mut Vec<Told>) {
        self.end(false, offset, out);
    }

    fn end(&mut self, is_closed: bool, offset: i64, out: &mut Vec<Told>) {
        if let Some(message) = self.response.end(is_closed) {
            let at_us = self.answered_us.unwrap_or_default();
            let response = response_of(message, at_us);
            match self.asked.pop_front() {
                Some(asked) => self.tell(asked, Some(response), offset, out),
                None => self.early = Some(response),
            }
        }
        self.response = Incomplete::default();
        self.answered_us = None;
        while let Some(asked) = self.asked.pop_front() {
            self.tell(asked, None, offset, out);
        }
        self.give_up_request(offset, true, out);
        self.early = None;
    }

    /// Tells of a request that is not all here. Without its head there is nothing to tell but that.
    fn give_up_request(&mut self, offset: i64, is_counted: bool, out: &mut Vec<Told>) {
        let Some(began) = self.began.take() else {
            self.request = Incomplete::default();
            return;
        };
        let Some(mut message) = self.request.end(false) else {
            let source = self.source(&began, offset);
            out.push(Told::Unreadable {
                source,
                id: began.id,
                why: Unreadable::Head,
            });
            return;
        };
        if message.body.is_whole() {
            message.body.extent = Extent::Cut { missing: None };
        }
        let early = self.early.take();
        let id = began.id.clone().or_else(|| {
            let mark = if is_counted { "" } else { ".dropped" };
            Some(format!("{}.{}{mark}", self.id, self.index).into())
        });
        let request = self.request_of(message, began.at_us, id);
        self.index += u64::from(is_counted);
        self.tell(Asked { request, began }, early, offset, out);
    }

    fn no_http(&mut self, why: NotHttp, offset: i64, out: &mut Vec<Told>) {
        let began = self
            .began
            .take()
            .or_else(|| Some(self.asked.front()?.began.clone()));
        self.request = Incomplete::default();
        self.response = Incomplete::default();
        self.broken(offset, out);
        let nothing = Began {
            offset,
            at_us: 0,
            id: None,
            agent: None,
            begun: None,
            complete: None,
        };
        let began = began.unwrap_or(nothing);
        out.push(Told::Unreadable {
            source: self.source(&began, offset),
            id: began.id,
            why: Unreadable::Value(why.to_string()),
        });
    }

    fn tell(&self, asked: Asked, response: Option<Response>, offset: i64, out: &mut Vec<Told>) {
        let Asked { request, began } = asked;
        let source = self.source(&began, offset);
        let response = response.map(|response| Response {
            id: request.id.clone(),
            request_time_us: (request.time_us != 0).then_some(request.time_us),
            ..response
        });
        let exchange = Exchange {
            position: began.begun.unwrap_or_default(),
            request: Some(request),
            response,
        };
        let exchange = Box::new(exchange);
        out.push(Told::Exchange { source, exchange });
    }

    fn source(&self, began: &Began, last: i64) -> Source {
        Source {
            span: Span {
                partition: self.partition,
                first: began.offset.min(last),
                last: began.offset.max(last),
            },
            agent: began
                .agent
                .clone()
                .unwrap_or_else(|| Arc::clone(&self.node)),
            begun: began.begun,
            complete: began.complete,
        }
    }

    fn request_of(
        &self,
        message: Message<RequestHead>,
        time_us: u64,
        id: Option<Bytes>,
    ) -> Request {
        let Message { head, body } = message;
        Request {
            id: id.unwrap_or_else(|| format!("{}.{}", self.id, self.index).into()),
            time_us,
            client: self.ours.flatten(),
            version: Bytes::from_static(head.version.as_bytes()),
            method: head.method,
            target: head.target,
            headers: head.headers,
            body,
            ..Request::default()
        }
    }

    fn floor(&self) -> Option<i64> {
        let asked = self.asked.iter().map(|asked| &asked.began);
        asked.chain(&self.began).map(|began| began.offset).min()
    }

    fn weigh(&self) -> usize {
        let asked = |asked: &Asked| weight_of(&asked.request.headers, &asked.request.body);
        let early = self
            .early
            .as_ref()
            .map_or(0, |it| weight_of(&it.headers, &it.body));
        CONNECTION
            + 2 * self.id.len()
            + self.request.weight()
            + self.response.weight()
            + self.asked.iter().map(asked).sum::<usize>()
            + early
    }
}

fn weight_of(headers: &crate::Headers, body: &Body) -> usize {
    let fields = headers
        .iter()
        .map(|it| it.name.len() + it.value.len() + 128);
    MESSAGE + body.content.len() + fields.sum::<usize>()
}

fn response_of(message: Message<ResponseHead>, time_us: u64) -> Response {
    let Message { head, body } = message;
    Response {
        time_us,
        status: head.status,
        version: Bytes::from_static(head.version.as_bytes()),
        headers: head.headers,
        body,
        ..Response::default()
    }
}

/// The client of a connection that our own writer wrote, as its id says: `10.0.0.1:40744-1a2b-3c`.
fn ours(id: &[u8]) -> Option<Option<Endpoint>> {
    let mut words = std::str::from_utf8(id).ok()?.rsplitn(3, '-');
    let is_hex = |word: &str| u64::from_str_radix(word, 16).is_ok();
    if !is_hex(words.next()?) || !is_hex(words.next()?) {
        return None;
    }
    match words.next()? {
        "unix" => Some(None),
        client => {
            let client: SocketAddr = client.parse().ok()?;
            let (ip, port) = (client.ip(), client.port());
            Some(Some(Endpoint { ip, port }))
        }
    }
}

impl<'r> Envelope<'r> {
    fn read(record: &'r [u8]) -> Result<Self, Unreadable> {
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

fn observations(record: &[u8]) -> impl Iterator<Item = &[u8]> {
    Fields(record).filter_map(|it| match it {
        Ok((number, Value::Bytes(bytes))) if number == u64::from(field::SUB_STREAM) => Some(bytes),
        _ => None,
    })
}

/// When, what, and whether it is a segment that others follow.
fn observe(observation: &[u8]) -> (u64, Seen<'_>, bool) {
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

/// What a connection costs besides what it holds, roughly.
const CONNECTION: usize = 1_024;

/// What a message costs besides its bytes, roughly.
const MESSAGE: usize = 768;
