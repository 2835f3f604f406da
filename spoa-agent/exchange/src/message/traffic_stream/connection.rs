//! One connection: bytes in both directions, and the exchanges in them.
//!
//! A capture proxy records what it sees, and a client may send its next request before it has its answer. Our own
//! writer ([`super::writer`]) has one exchange after the other, and an answer that it knows to be cut ends with its record; it is
//! known by the ids of its connections.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::http::{Incomplete, Message, NotHttp, RequestHead, ResponseHead, SWITCHING};
use super::observation::{Envelope, Seen, observations, observe};
use super::reader::Incoming;
use crate::message::{Bounds, Source, Span, Told, Unreadable};
use crate::{Body, Endpoint, Exchange, Extent, Request, Response};

/// A connection, as far as it is not told yet.
#[derive(Debug)]
pub(super) struct Connection {
    /// Its id, as text, for the ids of its exchanges.
    id: Box<str>,
    /// Who captured it.
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

impl Connection {
    pub(super) fn new(partition: i32, envelope: &Envelope<'_>) -> Self {
        let begins = envelope.number.is_none_or(|number| number <= 1);
        let reading = match (begins, envelope.is_unterminated) {
            (true, false) => Reading::On,
            (false, false) => Reading::SkipResponse,
            (_, true) => Reading::SkipRequest,
        };
        Self {
            id: String::from_utf8_lossy(envelope.id).into(),
            node: String::from_utf8_lossy(envelope.node).into(),
            partition,
            ours: ours(envelope.id),
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
        }
    }

    /// Takes a record, and says whether the connection is still open.
    pub(super) fn record(
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

    /// Nothing more comes of it, or nothing that would continue what came.
    pub(super) fn give_up(&mut self, out: &mut Vec<Told>) {
        self.broken(self.last, out);
    }

    /// What is not complete ends here, and not with the connection.
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

    /// The lowest offset of which something is not told yet.
    pub(super) fn floor(&self) -> Option<i64> {
        let asked = self.asked.iter().map(|asked| &asked.began);
        asked.chain(&self.began).map(|began| began.offset).min()
    }

    /// The partition's time of its last record.
    pub(super) const fn seen_us(&self) -> u64 {
        self.seen_us
    }

    /// Bytes that it holds in memory, roughly.
    pub(super) fn weight(&self) -> usize {
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

/// What a connection costs besides what it holds, roughly.
const CONNECTION: usize = 1_024;

/// What a message costs besides its bytes, roughly.
const MESSAGE: usize = 768;
