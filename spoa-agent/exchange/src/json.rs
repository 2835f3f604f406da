//! The line of the traffic log: one JSON document for an exchange, nothing lost. [`write_pair`] writes that of the
//! pair log in the same manner.
//!
//! Field names follow the Elastic Common Schema and OpenTelemetry where these have one. What came
//! from a peer is bytes: it is written as a string when it is UTF-8, and as `{"base64": "…"}` in the
//! same place when it is not. `README.md` beside this crate shows a whole line.

use std::io::Write as _;
use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    Body, Endpoint, Exchange, Extent, Gap, Header, Headers, Pair, Request, Response, Timers, Tls,
};

mod pair;

pub use pair::{PairName, read_pair, write_pair};

/// What a line may leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether the bytes of the bodies are written. Their length and extent always are.
    pub bodies: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { bodies: true }
    }
}

/// Why a line is not an exchange.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Not JSON, or not of this shape.
    #[error("not an exchange: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A value that is none of its kind.
    #[error("{field} holds {value:?}, which is no {expected}")]
    Value {
        /// The path of the field.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What belongs there.
        expected: &'static str,
    },
}

/// Appends the exchange as one line, newline included.
pub fn write_line(exchange: &Exchange, options: Options, out: &mut Vec<u8>) {
    write_exchange(exchange, outcome(exchange), options, out);
}

/// Appends a request whose exchange is not complete yet as one line, newline included.
pub fn write_begun(position: u64, request: &Request, options: Options, out: &mut Vec<u8>) {
    let begun = Exchange {
        position,
        request: Some(request.clone()),
        response: None,
    };
    write_exchange(&begun, "request", options, out);
}

fn write_exchange(exchange: &Exchange, kind: &'static str, options: Options, out: &mut Vec<u8>) {
    let mut line = Object::begin(out);
    line.raw("@timestamp", |out| timestamp(exchange.time_us(), out));
    line.object("event", |event| {
        event.text("kind", kind);
        if let Some(id) = exchange.id() {
            event.bytes("id", id);
        }
        event.number("position", exchange.position);
        if let Some(duration) = exchange.duration_us() {
            event.number("duration_us", duration);
        }
    });
    if let Some(request) = &exchange.request {
        write_request(request, options, &mut line);
    }
    if let Some(response) = &exchange.response {
        write_response("response", response, options, &mut line);
    }
    line.end();
    out.push(b'\n');
}

/// Appends a gap as one line, newline included.
pub fn write_gap(gap: &Gap, position: u64, out: &mut Vec<u8>) {
    let mut line = Object::begin(out);
    line.raw("@timestamp", |out| timestamp(gap.to_us, out));
    line.object("event", |event| {
        event.text("kind", "gap");
        event.number("position", position);
        event.text("reason", &gap.reason);
        event.number("requests", gap.requests);
        event.number("responses", gap.responses);
        event.raw("start", |out| timestamp(gap.from_us, out));
    });
    line.end();
    out.push(b'\n');
}

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// An exchange: [`write_line`].
    Exchange(Box<Exchange>),
    /// A request whose exchange is not complete yet, and where it begins in the journal: [`write_begun`].
    Begun(u64, Box<Request>),
    /// A pair: [`write_pair`].
    Pair(PairName, Box<Pair>),
    /// A gap, and where it stands in the journal: [`write_gap`].
    Gap(u64, Gap),
    /// What this version does not know: its `event.kind`.
    Unknown(String),
}

/// Reads a line of any kind.
///
/// # Errors
/// When the line is not JSON of the shape that its kind has.
pub fn read_document(line: &[u8]) -> Result<Document, JsonError> {
    let read: Line<'_> = serde_json::from_slice(line)?;
    Ok(match read.event.kind.as_str() {
        "exchange" | "request_only" | "response_only" => {
            Document::Exchange(Box::new(read.meant()?))
        }
        "gap" => {
            let (position, gap) = read_gap(line)?;
            Document::Gap(position, gap)
        }
        "request" => {
            let begun = read.meant()?;
            let request = begun
                .request
                .ok_or_else(|| wrong("request", "nothing".to_owned(), "request that has begun"))?;
            Document::Begun(begun.position, Box::new(request))
        }
        kind => match read_pair(line)? {
            Some((name, pair)) => Document::Pair(name, Box::new(pair)),
            None => Document::Unknown(kind.to_owned()),
        },
    })
}

/// Reads a line that [`write_line`] or [`write_begun`] wrote with bodies. `Ok(None)` for a line about a gap or a pair.
///
/// A line without bodies reads as an exchange whose bodies were not captured.
///
/// # Errors
/// When the line is not JSON of this shape.
pub fn read_line(line: &[u8]) -> Result<Option<Exchange>, JsonError> {
    let line: Line<'_> = serde_json::from_slice(line)?;
    if matches!(line.event.kind.as_str(), "gap" | "pair" | "dead_letter") {
        return Ok(None);
    }
    line.meant().map(Some)
}

/// Reads a line that [`write_gap`] wrote: where the gap stands in the journal, and the gap.
///
/// # Errors
/// When the line is not a gap.
pub fn read_gap(line: &[u8]) -> Result<(u64, Gap), JsonError> {
    let line: GapLine = serde_json::from_slice(line)?;
    let gap = Gap {
        from_us: time("event.start", &line.event.start)?,
        to_us: time("@timestamp", &line.timestamp)?,
        requests: line.event.requests,
        responses: line.event.responses,
        reason: line.event.reason,
    };
    Ok((line.event.position, gap))
}

const fn outcome(exchange: &Exchange) -> &'static str {
    match (&exchange.request, &exchange.response) {
        (Some(_), Some(_)) => "exchange",
        (Some(_), None) => "request_only",
        (None, _) => "response_only",
    }
}

fn write_request(request: &Request, options: Options, line: &mut Object<'_>) {
    line.object("request", |fields| {
        fields.raw("time", |out| timestamp(request.time_us, out));
        if let Some(client) = &request.client {
            fields.object("client", |it| write_endpoint(client, it));
        }
        if let Some(local) = &request.local {
            fields.object("server", |it| write_endpoint(local, it));
        }
        fields.bytes("frontend", &request.frontend);
        if let Some(tls) = &request.tls {
            fields.object("tls", |it| {
                it.bytes("version", &tls.version);
                it.bytes("cipher", &tls.cipher);
                it.bytes("server_name", &tls.server_name);
            });
        }
        fields.bytes("version", &request.version);
        fields.bytes("method", &request.method);
        fields.bytes("target", &request.target);
        write_headers("headers", &request.headers, fields);
        write_body(&request.body, options, fields);
        if request.held {
            fields.raw("held", |out| out.extend_from_slice(b"true"));
        }
    });
}

fn write_response(
    name: &'static str,
    response: &Response,
    options: Options,
    line: &mut Object<'_>,
) {
    line.object(name, |fields| {
        fields.raw("time", |out| timestamp(response.time_us, out));
        if let Some(time) = response.request_time_us {
            fields.raw("request_time", |out| timestamp(time, out));
        }
        fields.bytes("backend", &response.backend);
        fields.bytes("server", &response.server);
        fields.number("status_code", response.status.into());
        if let Some(status) = response.server_status {
            fields.number("server_status_code", status.into());
        }
        fields.bytes("version", &response.version);
        write_headers("headers", &response.headers, fields);
        write_body(&response.body, options, fields);
        write_timers(response.timers, fields);
    });
}

fn write_endpoint(endpoint: &Endpoint, fields: &mut Object<'_>) {
    fields.text("ip", &endpoint.ip.to_string());
    fields.number("port", endpoint.port.into());
}

fn write_headers(name: &'static str, headers: &Headers, fields: &mut Object<'_>) {
    fields.list(name, &headers.0, |header, out| {
        out.push(b'[');
        bytes_value(&header.name, out);
        out.push(b',');
        bytes_value(&header.value, out);
        out.push(b']');
    });
}

fn write_body(body: &Body, options: Options, fields: &mut Object<'_>) {
    fields.object("body", |it| {
        it.text("extent", body.extent.as_str());
        it.number("bytes", body.content.len() as u64);
        if let Some(missing) = body.extent.missing() {
            it.number("missing", missing);
        }
        if options.bodies {
            it.bytes("content", &body.content);
        }
    });
}

fn write_timers(timers: Timers, fields: &mut Object<'_>) {
    if timers == Timers::default() {
        return;
    }
    fields.object("timers", |it| {
        let mut timer = |name, value: Option<u32>| {
            if let Some(value) = value {
                it.number(name, value.into());
            }
        };
        timer("queue_ms", timers.queue_ms);
        timer("connect_ms", timers.connect_ms);
        timer("response_ms", timers.response_ms);
    });
}

/// An object being written.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    fn end(self) {
        self.out.push(b'}');
    }

    fn raw(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        write(self.out);
    }

    fn object(&mut self, name: &'static str, write: impl FnOnce(&mut Object<'_>)) {
        self.raw(name, |out| {
            let mut inner = Object::begin(out);
            write(&mut inner);
            inner.end();
        });
    }

    fn list<T>(&mut self, name: &'static str, items: &[T], write: impl Fn(&T, &mut Vec<u8>)) {
        self.raw(name, |out| {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        });
    }

    fn text(&mut self, name: &'static str, value: &str) {
        self.raw(name, |out| string(value, out));
    }

    fn bytes(&mut self, name: &'static str, value: &[u8]) {
        self.raw(name, |out| bytes_value(value, out));
    }

    fn number(&mut self, name: &'static str, value: u64) {
        self.raw(name, |out| {
            // Writing into a Vec cannot fail.
            write!(out, "{value}").unwrap_or_default();
        });
    }
}

fn bytes_value(value: &[u8], out: &mut Vec<u8>) {
    if let Ok(text) = std::str::from_utf8(value) {
        return string(text, out);
    }
    out.extend_from_slice(b"{\"base64\":\"");
    out.extend_from_slice(BASE64.encode(value).as_bytes());
    out.extend_from_slice(b"\"}");
}

/// RFC 8259, 7: only quotation mark, backslash and control characters must be escaped. By hand, because
/// most of a line's cost is here.
fn string(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + text.len() / 8 + 2);
    out.push(b'"');
    let (chunks, rest) = text.as_bytes().as_chunks::<CHUNK>();
    for chunk in chunks {
        // Without an early exit inside, the compiler looks at a whole chunk with a few instructions.
        if chunk
            .iter()
            .fold(false, |any, byte| any | is_special(*byte))
        {
            escaped(chunk, out);
        } else {
            out.extend_from_slice(chunk);
        }
    }
    escaped(rest, out);
    out.push(b'"');
}

const CHUNK: usize = 16;

/// Appends at most [`CHUNK`] bytes, escaped. JSON in JSON has a quotation mark every few bytes, so this is
/// done without a branch or a call for each.
fn escaped(bytes: &[u8], out: &mut Vec<u8>) {
    let mut short = [0; 2 * CHUNK];
    let mut length = 0;
    for byte in bytes {
        let code = ESCAPES.get(usize::from(*byte)).copied().unwrap_or(0);
        if code == LONG {
            out.extend_from_slice(short.get(..length).unwrap_or_default());
            length = 0;
            long_escape(*byte, out);
            continue;
        }
        let pair = if code == 0 { [*byte, 0] } else { [b'\\', code] };
        if let Some(room) = short.get_mut(length..length + 2) {
            room.copy_from_slice(&pair);
        }
        length += 1 + usize::from(code != 0);
    }
    out.extend_from_slice(short.get(..length).unwrap_or_default());
}

/// What stands after the backslash; 0 for bytes that stand for themselves.
#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which refuses an index that is out of range"
)]
const ESCAPES: [u8; 256] = {
    let mut escapes = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        escapes[byte] = LONG;
        byte += 1;
    }
    escapes[b'\n' as usize] = b'n';
    escapes[b'\r' as usize] = b'r';
    escapes[b'\t' as usize] = b't';
    escapes[b'"' as usize] = b'"';
    escapes[b'\\' as usize] = b'\\';
    escapes
};

/// Marks the control characters that take six bytes.
const LONG: u8 = b'u';

fn long_escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
    out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
}

const fn is_special(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// RFC 3339 with microseconds, for example `2026-11-21T03:45:00.123456Z`.
fn timestamp(time_us: u64, out: &mut Vec<u8>) {
    let time = i64::try_from(time_us)
        .ok()
        .and_then(|time_us| jiff::Timestamp::from_microsecond(time_us).ok())
        .unwrap_or(jiff::Timestamp::MAX);
    out.push(b'"');
    let printer = jiff::fmt::temporal::DateTimePrinter::new().precision(Some(6));
    // Writing into a Vec cannot fail; were it to, the line must still be JSON.
    if printer
        .print_timestamp(&time, jiff::fmt::StdIoWrite(&mut *out))
        .is_err()
    {
        out.extend_from_slice(b"-");
    }
    out.push(b'"');
}

/// A line as written.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    event: Event<'a>,
    #[serde(borrow)]
    request: Option<RequestAsWritten<'a>>,
    #[serde(borrow)]
    response: Option<ResponseAsWritten<'a>>,
}

impl Line<'_> {
    fn meant(self) -> Result<Exchange, JsonError> {
        let request = self.request.map(|it| it.meant(&self.event));
        let response = self.response.map(|it| it.meant(&self.event));
        Ok(Exchange {
            position: self.event.position,
            request: request.transpose()?,
            response: response.transpose()?,
        })
    }
}

#[derive(Deserialize)]
struct GapLine {
    #[serde(rename = "@timestamp")]
    timestamp: String,
    event: GapEvent,
}

#[derive(Deserialize)]
struct GapEvent {
    position: u64,
    reason: String,
    requests: u64,
    responses: u64,
    start: String,
}

#[derive(Deserialize)]
struct Event<'a> {
    kind: String,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    position: u64,
}

impl<'a> Event<'a> {
    /// What a pair's halves are read with.
    const fn named(id: &'a RawValue) -> Self {
        Self {
            kind: String::new(),
            id: Some(id),
            position: 0,
        }
    }

    fn id(&self) -> Result<Bytes, JsonError> {
        self.id.map_or_else(|| Ok(Bytes::new()), text_or_base64)
    }
}

#[derive(Deserialize)]
struct EndpointAsWritten {
    ip: IpAddr,
    port: u16,
}

impl From<EndpointAsWritten> for Endpoint {
    fn from(written: EndpointAsWritten) -> Self {
        Self {
            ip: written.ip,
            port: written.port,
        }
    }
}

#[derive(Deserialize)]
struct TlsAsWritten<'a> {
    #[serde(borrow)]
    version: &'a RawValue,
    #[serde(borrow)]
    cipher: &'a RawValue,
    #[serde(borrow)]
    server_name: &'a RawValue,
}

#[derive(Deserialize)]
struct BodyAsWritten<'a> {
    extent: String,
    bytes: u64,
    missing: Option<u64>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

impl BodyAsWritten<'_> {
    fn meant(self) -> Result<Body, JsonError> {
        let missing = self.missing;
        let Some(content) = self.content else {
            let missing = Some(self.bytes.saturating_add(missing.unwrap_or(0)));
            return Ok(Body {
                content: Bytes::new(),
                extent: Extent::NotCaptured { missing },
            });
        };
        let extent = match self.extent.as_str() {
            "whole" => Extent::Whole,
            "cut" => Extent::Cut { missing },
            "not captured" => Extent::NotCaptured { missing },
            _ => return Err(wrong("body.extent", self.extent, "extent of a body")),
        };
        Ok(Body {
            content: text_or_base64(content)?,
            extent,
        })
    }
}

#[derive(Deserialize)]
struct RequestAsWritten<'a> {
    time: String,
    client: Option<EndpointAsWritten>,
    server: Option<EndpointAsWritten>,
    #[serde(borrow)]
    frontend: &'a RawValue,
    #[serde(borrow)]
    tls: Option<TlsAsWritten<'a>>,
    #[serde(borrow)]
    version: &'a RawValue,
    #[serde(borrow)]
    method: &'a RawValue,
    #[serde(borrow)]
    target: &'a RawValue,
    #[serde(borrow)]
    headers: Vec<(&'a RawValue, &'a RawValue)>,
    #[serde(borrow)]
    body: BodyAsWritten<'a>,
    #[serde(default)]
    held: bool,
}

impl RequestAsWritten<'_> {
    fn meant(self, event: &Event<'_>) -> Result<Request, JsonError> {
        let tls = |tls: TlsAsWritten<'_>| -> Result<Tls, JsonError> {
            Ok(Tls {
                version: text_or_base64(tls.version)?,
                cipher: text_or_base64(tls.cipher)?,
                server_name: text_or_base64(tls.server_name)?,
            })
        };
        Ok(Request {
            id: event.id()?,
            time_us: time("request.time", &self.time)?,
            client: self.client.map(Endpoint::from),
            local: self.server.map(Endpoint::from),
            frontend: text_or_base64(self.frontend)?,
            tls: self.tls.map(tls).transpose()?,
            version: text_or_base64(self.version)?,
            method: text_or_base64(self.method)?,
            target: text_or_base64(self.target)?,
            headers: headers(self.headers)?,
            body: self.body.meant()?,
            held: self.held,
        })
    }
}

#[derive(Deserialize)]
struct ResponseAsWritten<'a> {
    time: String,
    request_time: Option<String>,
    #[serde(borrow)]
    backend: &'a RawValue,
    #[serde(borrow)]
    server: &'a RawValue,
    status_code: u16,
    server_status_code: Option<u16>,
    #[serde(borrow)]
    version: &'a RawValue,
    #[serde(borrow)]
    headers: Vec<(&'a RawValue, &'a RawValue)>,
    #[serde(borrow)]
    body: BodyAsWritten<'a>,
    #[serde(default)]
    timers: TimersAsWritten,
}

#[derive(Deserialize, Default)]
struct TimersAsWritten {
    queue_ms: Option<u32>,
    connect_ms: Option<u32>,
    response_ms: Option<u32>,
}

impl ResponseAsWritten<'_> {
    fn meant(self, event: &Event<'_>) -> Result<Response, JsonError> {
        let request_time = self
            .request_time
            .map(|it| time("response.request_time", &it))
            .transpose()?;
        Ok(Response {
            id: event.id()?,
            time_us: time("response.time", &self.time)?,
            request_time_us: request_time,
            backend: text_or_base64(self.backend)?,
            server: text_or_base64(self.server)?,
            status: self.status_code,
            server_status: self.server_status_code,
            version: text_or_base64(self.version)?,
            headers: headers(self.headers)?,
            body: self.body.meant()?,
            timers: Timers {
                queue_ms: self.timers.queue_ms,
                connect_ms: self.timers.connect_ms,
                response_ms: self.timers.response_ms,
            },
        })
    }
}

#[derive(Deserialize)]
struct Base64 {
    base64: String,
}

fn headers(fields: Vec<(&RawValue, &RawValue)>) -> Result<Headers, JsonError> {
    fields
        .into_iter()
        .map(|(name, value)| {
            Ok(Header {
                name: text_or_base64(name)?,
                value: text_or_base64(value)?,
            })
        })
        .collect()
}

fn text_or_base64(value: &RawValue) -> Result<Bytes, JsonError> {
    let json = value.get();
    if json.starts_with('{') {
        let Base64 { base64 } = serde_json::from_str(json)?;
        let decoded = BASE64.decode(&base64);
        return decoded
            .map(Bytes::from)
            .map_err(|_| wrong("base64", base64, "base64"));
    }
    Ok(Bytes::from(serde_json::from_str::<String>(json)?))
}

fn time(field: &'static str, text: &str) -> Result<u64, JsonError> {
    text.parse::<jiff::Timestamp>()
        .ok()
        .and_then(|time| u64::try_from(time.as_microsecond()).ok())
        .ok_or_else(|| wrong(field, text.to_owned(), "time after 1970 (RFC 3339)"))
}

const fn wrong(field: &'static str, value: String, expected: &'static str) -> JsonError {
    JsonError::Value {
        field,
        value,
        expected,
    }
}
