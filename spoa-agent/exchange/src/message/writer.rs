//! From values to messages.

use std::borrow::Cow;
use std::io::Write as _;

use bytes::Bytes;

use super::traffic_stream::writer::{Connections as Streams, Envelope};
use super::{Format, Kind, Message, Origin, header, parts};
use crate::record::{self, Content};
use crate::{Body, Credentials, Exchange, Gap, Headers, Pair, Request, Response, json};

/// How messages are written.
#[derive(Clone, Debug)]
pub struct Options {
    /// The most bytes that one Kafka message may have, key, headers and framing included. A larger value is split.
    pub max_bytes: usize,
    /// Whether the bytes of the bodies are written. Their length and extent always are.
    pub bodies: bool,
    /// Which headers are masked, if they are not yet.
    pub credentials: Credentials,
    /// [`Format::TrafficStream`]: a number that no other run of this agent has, for example the time at which it began. It
    /// is in the ids of connections: a run that begins where an earlier one was killed must not continue its connections.
    pub instance: u64,
    /// [`Format::TrafficStream`]: which connections are kept open.
    pub connections: Connections,
}

/// Which connections a writer of [`Format::TrafficStream`] keeps open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// How many, at most. Beyond that the one is closed that was idle for the longest time.
    pub most: usize,
    /// Microseconds, by the time of exchanges, after which an idle one is closed.
    pub idle_us: u64,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            most: 16_384,
            idle_us: 120_000_000,
        }
    }
}

/// How much of a value its messages carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carried {
    /// All that the format is for.
    Whole,
    /// A traffic stream in which something is missing, and which says so: the request or the response is not whole, or is nothing
    /// that HTTP/1.1 can say.
    Cut,
    /// A traffic stream of a request without an answer: there was none.
    Unanswered,
    /// There is no message: a traffic stream carries neither pairs, nor gaps, nor an answer without its request.
    Nothing,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_bytes: 1_000_000,
            bodies: true,
            credentials: Credentials::default(),
            instance: 0,
            connections: Connections::default(),
        }
    }
}

/// Makes messages of exchanges, requests, pairs and gaps. Every method says how much of what it was given the messages carry.
#[derive(Debug)]
pub struct Writer {
    format: Format,
    options: Options,
    streams: Streams,
}

impl Writer {
    /// A writer of one format.
    #[must_use]
    pub fn new(format: Format, options: Options) -> Self {
        Self {
            format,
            options,
            streams: Streams::default(),
        }
    }

    /// From now on no message is larger. What was written before stays as it is, and connections go on.
    pub const fn limit(&mut self, max_bytes: usize) {
        self.options.max_bytes = max_bytes;
    }

    /// Appends the messages of a held write that is told ahead of its exchange.
    pub fn request(
        &mut self,
        origin: &Origin<'_>,
        request: &Request,
        out: &mut Vec<Message>,
    ) -> Carried {
        let request = self.fit_request(request);
        let about = (Some(&request.id), request.time_us);
        let mut value = Vec::with_capacity(request.body.content.len() + ROOM_FOR_HEADS);
        match self.format {
            Format::Json => json::write_begun(origin.begun, &request, self.json(), &mut value),
            Format::Protobuf => protobuf(origin, Content::Request(&request), &mut value),
            Format::TrafficStream => {
                let envelope = self.envelope(Kind::Request, origin, about);
                return self.streams.request(&request, &envelope, out);
            }
        }
        self.finish(Kind::Request, origin, about, value, out)
    }

    /// Appends the messages of a complete exchange.
    pub fn exchange(
        &mut self,
        origin: &Origin<'_>,
        exchange: &Exchange,
        out: &mut Vec<Message>,
    ) -> Carried {
        let exchange = self.fit_exchange(exchange);
        let about = (exchange.id(), exchange.time_us());
        let mut value = Vec::with_capacity(exchange.weight() + ROOM_FOR_HEADS);
        match self.format {
            Format::Json => json::write_line(&exchange, self.json(), &mut value),
            Format::Protobuf => protobuf(origin, Content::Exchange(&exchange), &mut value),
            Format::TrafficStream => {
                let envelope = self.envelope(Kind::Exchange, origin, about);
                return self.streams.exchange(&exchange, &envelope, out);
            }
        }
        self.finish(Kind::Exchange, origin, about, value, out)
    }

    /// Appends the messages of a pair.
    pub fn pair(&mut self, origin: &Origin<'_>, pair: &Pair, out: &mut Vec<Message>) -> Carried {
        let pair = self.fit_pair(pair);
        let mut value = Vec::new();
        match self.format {
            Format::Json => {
                let name = json::PairName::Position(origin.complete);
                json::write_pair(&pair, name, self.json(), &mut value);
            }
            Format::Protobuf => protobuf(origin, Content::Pair(&pair), &mut value),
            Format::TrafficStream => return Carried::Nothing,
        }
        let about = (Some(pair.id()), pair.request.time_us);
        self.finish(Kind::Pair, origin, about, value, out)
    }

    /// Appends the messages of a gap.
    pub fn gap(&mut self, origin: &Origin<'_>, gap: &Gap, out: &mut Vec<Message>) -> Carried {
        let mut value = Vec::new();
        match self.format {
            Format::Json => json::write_gap(gap, origin.begun, &mut value),
            Format::Protobuf => protobuf(origin, Content::Gap(gap), &mut value),
            Format::TrafficStream => return Carried::Nothing,
        }
        self.finish(Kind::Gap, origin, (None, gap.from_us), value, out)
    }

    const fn json(&self) -> json::Options {
        json::Options {
            bodies: self.options.bodies,
        }
    }

    fn finish(
        &self,
        kind: Kind,
        origin: &Origin<'_>,
        about: (Option<&Bytes>, u64),
        mut value: Vec<u8>,
        out: &mut Vec<Message>,
    ) -> Carried {
        if self.format == Format::Json {
            // The newline belongs to the log.
            value.pop();
        }
        let headers = headers(self.format, kind, origin, about);
        parts::split(value.into(), headers, self.options.max_bytes, out);
        Carried::Whole
    }

    fn envelope<'a>(
        &self,
        kind: Kind,
        origin: &Origin<'a>,
        about: (Option<&Bytes>, u64),
    ) -> Envelope<'a> {
        let headers = headers(self.format, kind, origin, about);
        let closing = headers
            .iter()
            .filter(|(name, _)| matches!(*name, header::SCHEMA | header::TIME | header::AGENT))
            .cloned()
            .chain([(header::KIND, Kind::Close.as_str().into())])
            .collect();
        Envelope {
            node: origin.agent,
            begun: origin.begun,
            instance: self.options.instance,
            room: parts::room(&headers, self.options.max_bytes).max(LEAST_RECORD),
            headers,
            closing,
            limits: self.options.connections,
        }
    }

    /// Without what must not or shall not become a message.
    fn fit_exchange<'e>(&self, exchange: &'e Exchange) -> Cow<'e, Exchange> {
        let bare = |headers: &Headers| self.has_bare_credentials(headers);
        let request = exchange.request.as_ref().map(|it| &it.headers);
        let response = exchange.response.as_ref().map(|it| &it.headers);
        if !self.cuts_bodies() && !request.is_some_and(bare) && !response.is_some_and(bare) {
            return Cow::Borrowed(exchange);
        }
        let mut exchange = exchange.clone();
        if let Some(Request { headers, body, .. }) = &mut exchange.request {
            self.fit(headers, body);
        }
        if let Some(Response { headers, body, .. }) = &mut exchange.response {
            self.fit(headers, body);
        }
        Cow::Owned(exchange)
    }

    fn fit_request<'r>(&self, request: &'r Request) -> Cow<'r, Request> {
        if !self.cuts_bodies() && !self.has_bare_credentials(&request.headers) {
            return Cow::Borrowed(request);
        }
        let mut request = request.clone();
        self.fit(&mut request.headers, &mut request.body);
        Cow::Owned(request)
    }

    fn fit_pair<'p>(&self, pair: &'p Pair) -> Cow<'p, Pair> {
        let rewritten = pair
            .rewritten
            .iter()
            .flat_map(|it| [&it.removed, &it.added]);
        let answers = pair.primary.iter().chain(&pair.shadow);
        let mut all = std::iter::once(&pair.request.headers)
            .chain(rewritten)
            .chain(answers.map(|it| &it.headers));
        if !self.cuts_bodies() && !all.any(|headers| self.has_bare_credentials(headers)) {
            return Cow::Borrowed(pair);
        }
        let mut pair = pair.clone();
        pair.mask(&self.options.credentials);
        if self.cuts_bodies() {
            pair.limit_bodies(0);
        }
        Cow::Owned(pair)
    }

    fn fit(&self, headers: &mut Headers, body: &mut Body) {
        headers.mask(&self.options.credentials);
        if self.cuts_bodies() {
            body.limit(0);
        }
    }

    /// JSON leaves bodies out by itself, and then still says what their extent was.
    fn cuts_bodies(&self) -> bool {
        !self.options.bodies && self.format != Format::Json
    }

    fn has_bare_credentials(&self, headers: &Headers) -> bool {
        headers
            .iter()
            .any(|field| self.options.credentials.cover(&field.name) && !field.is_masked())
    }
}

fn protobuf(origin: &Origin<'_>, content: Content<'_>, out: &mut Vec<u8>) {
    let Origin {
        agent,
        begun,
        complete,
    } = *origin;
    let envelope = record::Envelope {
        agent,
        begun,
        complete,
        content,
    };
    envelope.encode(out);
}

/// The headers that every message has; `about` is the exchange's id and time. The texts of one message share one
/// allocation.
pub(super) fn headers(
    format: Format,
    kind: Kind,
    origin: &Origin<'_>,
    about: (Option<&Bytes>, u64),
) -> Vec<(&'static str, Bytes)> {
    let (id, time_us) = about;
    let mut text = Vec::with_capacity(origin.agent.len() + 64);
    let mut ends = [0; 4];
    let Origin {
        agent,
        begun,
        complete,
    } = origin;
    let fields: [&dyn std::fmt::Display; 4] = [&time_us, agent, begun, complete];
    for (end, field) in ends.iter_mut().zip(fields) {
        // Writing into a Vec cannot fail.
        write!(text, "{field}").unwrap_or_default();
        *end = text.len();
    }
    let text = Bytes::from(text);
    let [time, agent, begun, complete] = ends;
    let mut headers = Vec::with_capacity(9);
    headers.push((header::KIND, Bytes::from_static(kind.as_str().as_bytes())));
    headers.push((
        header::SCHEMA,
        Bytes::from_static(format.schema().as_bytes()),
    ));
    if let Some(id) = id {
        headers.push((header::ID, id.clone()));
    }
    headers.push((header::TIME, text.slice(..time)));
    headers.push((header::AGENT, text.slice(time..agent)));
    headers.push((header::BEGUN, text.slice(agent..begun)));
    headers.push((header::COMPLETE, text.slice(begun..complete)));
    headers
}

/// Most heads and field names fit into this.
const ROOM_FOR_HEADS: usize = 2_048;

/// The fewest bytes that a record of a traffic stream has room for, whatever the limit.
const LEAST_RECORD: usize = 512;
