//! From values to messages.

use std::borrow::Cow;
use std::io::Write as _;

use bytes::Bytes;

use super::{Format, Kind, Message, Origin, header, parts};
use crate::{Credentials, Exchange, Gap, Headers, Pair, Request, Response, json};

/// How messages are written.
#[derive(Clone, Debug)]
pub struct Options {
    /// The most bytes that one Kafka message may have, key, headers and framing included. A larger value is split.
    pub max_bytes: usize,
    /// Whether the bytes of the bodies are written. Their length and extent always are.
    pub bodies: bool,
    /// Which headers are masked, if they are not yet.
    pub credentials: Credentials,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_bytes: 1_000_000,
            bodies: true,
            credentials: Credentials::default(),
        }
    }
}

/// Makes messages of exchanges, requests, pairs and gaps.
#[derive(Debug)]
pub struct Writer {
    format: Format,
    options: Options,
}

impl Writer {
    /// A writer of one format.
    #[must_use]
    pub fn new(format: Format, options: Options) -> Self {
        Self { format, options }
    }

    /// Appends the messages of a held write that is told ahead of its exchange.
    pub fn request(&mut self, origin: &Origin<'_>, request: &Request, out: &mut Vec<Message>) {
        let request = self.masked_request(request);
        let mut value = Vec::new();
        json::write_begun(origin.begun, &request, self.json(), &mut value);
        self.finish(
            Kind::Request,
            origin,
            Some(&request.id),
            request.time_us,
            value,
            out,
        );
    }

    /// Appends the messages of a complete exchange.
    pub fn exchange(&mut self, origin: &Origin<'_>, exchange: &Exchange, out: &mut Vec<Message>) {
        let exchange = self.masked_exchange(exchange);
        let mut value = Vec::with_capacity(exchange.weight());
        json::write_line(&exchange, self.json(), &mut value);
        self.finish(
            Kind::Exchange,
            origin,
            exchange.id(),
            exchange.time_us(),
            value,
            out,
        );
    }

    /// Appends the messages of a pair.
    pub fn pair(&mut self, origin: &Origin<'_>, pair: &Pair, out: &mut Vec<Message>) {
        let pair = self.masked_pair(pair);
        let mut value = Vec::new();
        let name = json::PairName::Position(origin.complete);
        json::write_pair(&pair, name, self.json(), &mut value);
        self.finish(
            Kind::Pair,
            origin,
            Some(pair.id()),
            pair.request.time_us,
            value,
            out,
        );
    }

    /// Appends the messages of a gap.
    pub fn gap(&mut self, origin: &Origin<'_>, gap: &Gap, out: &mut Vec<Message>) {
        let mut value = Vec::new();
        json::write_gap(gap, origin.begun, &mut value);
        self.finish(Kind::Gap, origin, None, gap.from_us, value, out);
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
        id: Option<&Bytes>,
        time_us: u64,
        mut value: Vec<u8>,
        out: &mut Vec<Message>,
    ) {
        if value.last() == Some(&b'\n') {
            value.pop();
        }
        let headers = headers(self.format, kind, origin, id, time_us);
        parts::split(value.into(), headers, self.options.max_bytes, out);
    }

    fn masked_exchange<'e>(&self, exchange: &'e Exchange) -> Cow<'e, Exchange> {
        let bare = |headers: &Headers| self.has_bare_credentials(headers);
        let request = exchange.request.as_ref().map(|it| &it.headers);
        let response = exchange.response.as_ref().map(|it| &it.headers);
        if !request.is_some_and(bare) && !response.is_some_and(bare) {
            return Cow::Borrowed(exchange);
        }
        let mut exchange = exchange.clone();
        if let Some(Request { headers, .. }) = &mut exchange.request {
            headers.mask(&self.options.credentials);
        }
        if let Some(Response { headers, .. }) = &mut exchange.response {
            headers.mask(&self.options.credentials);
        }
        Cow::Owned(exchange)
    }

    fn masked_request<'r>(&self, request: &'r Request) -> Cow<'r, Request> {
        if !self.has_bare_credentials(&request.headers) {
            return Cow::Borrowed(request);
        }
        let mut request = request.clone();
        request.headers.mask(&self.options.credentials);
        Cow::Owned(request)
    }

    fn masked_pair<'p>(&self, pair: &'p Pair) -> Cow<'p, Pair> {
        let rewritten = pair
            .rewritten
            .iter()
            .flat_map(|it| [&it.removed, &it.added]);
        let answers = pair.primary.iter().chain(&pair.shadow);
        let mut all = std::iter::once(&pair.request.headers)
            .chain(rewritten)
            .chain(answers.map(|it| &it.headers));
        if !all.any(|headers| self.has_bare_credentials(headers)) {
            return Cow::Borrowed(pair);
        }
        let mut pair = pair.clone();
        pair.mask(&self.options.credentials);
        Cow::Owned(pair)
    }

    fn has_bare_credentials(&self, headers: &Headers) -> bool {
        headers
            .iter()
            .any(|field| self.options.credentials.cover(&field.name) && !field.is_masked())
    }
}

/// The headers that every message has. The texts of one message share one allocation.
pub(super) fn headers(
    format: Format,
    kind: Kind,
    origin: &Origin<'_>,
    id: Option<&Bytes>,
    time_us: u64,
) -> Vec<(&'static str, Bytes)> {
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
