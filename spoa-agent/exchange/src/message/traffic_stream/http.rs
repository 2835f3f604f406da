//! HTTP/1.1 (RFC 9112) from and to bytes. Heads and chunk sizes are read by `httparse`.
//!
//! What is written is read again before it counts: a header value with a line end in it, or a method that is none, would
//! otherwise become another message than the one that was captured.

use std::io::Write as _;

use bytes::Bytes;
use memchr::memchr;

use crate::{Body, Extent, Header, Headers, Request, Response};

/// A message that was written as HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// The length of the first line, without its end.
    pub(super) first_line: usize,
    /// The length of all header lines, without their ends.
    pub(super) headers: usize,
    /// The bytes look whole. Otherwise they end before their end.
    pub(super) whole: bool,
}

/// Appends the request, up to its body's first byte. `None` when HTTP/1.1 cannot say it; then `out` is as it was.
pub(super) fn write_request(request: &Request, out: &mut Vec<u8>) -> Option<Written> {
    let framing = Outgoing::of(&request.body, &request.headers, false);
    let version: &[u8] = match (&request.version[..], framing) {
        (b"1.0", Outgoing::Length(_) | Outgoing::None) => b"1.0",
        _ => b"1.1",
    };
    let first_line = [
        &request.method,
        &b" "[..],
        &request.target,
        b" HTTP/",
        version,
    ]
    .concat();
    let from = out.len();
    let written = write_head(&first_line, &request.headers, framing, out);
    let bytes = out.get(from..).unwrap_or_default();
    let is_carried = with_headers(|fields| {
        let mut read = httparse::Request::new(fields);
        let is_read = read.parse(bytes)?.is_complete();
        let method = read.method.unwrap_or("").as_bytes();
        let target = read.path.unwrap_or("").as_bytes();
        let is_same = request.method == method && request.target == target;
        Ok(is_read && is_same && method != b"CONNECT" && same(read.headers, &request.headers))
    });
    let whole = request.body.is_whole();
    finish(is_carried, Written { whole, ..written }, from, out)
}

/// Appends the response to a request of `method`, up to its body's first byte. `None` when HTTP/1.1 cannot say it; then
/// `out` is as it was.
pub(super) fn write_response(
    response: &Response,
    method: &[u8],
    out: &mut Vec<u8>,
) -> Option<Written> {
    let bodiless = is_bodiless(response.status, method);
    if bodiless && !response.body.content.is_empty() {
        return None;
    }
    let framing = match bodiless {
        // What these say of a length, they say of another answer; and an answer to HEAD has all that it can have.
        true => Outgoing::Kept,
        false => Outgoing::of(&response.body, &response.headers, true),
    };
    let version = match (&response.version[..], framing) {
        (b"1.0", Outgoing::Length(_) | Outgoing::Kept) => "1.0",
        _ => "1.1",
    };
    let first_line = format!("HTTP/{version} {} ", response.status);
    let from = out.len();
    let written = write_head(first_line.as_bytes(), &response.headers, framing, out);
    let bytes = out.get(from..).unwrap_or_default();
    let is_final = response.status >= 200 || response.status == SWITCHING;
    let is_carried = with_headers(|fields| {
        let mut read = httparse::Response::new(fields);
        let is_read = read.parse(bytes)?.is_complete();
        let is_same = read.code == Some(response.status);
        Ok(is_read && is_same && is_final && same(read.headers, &response.headers))
    });
    let whole = bodiless || response.body.is_whole();
    finish(is_carried, Written { whole, ..written }, from, out)
}

fn finish(
    is_carried: Result<bool, NotHttp>,
    written: Written,
    from: usize,
    out: &mut Vec<u8>,
) -> Option<Written> {
    if is_carried != Ok(true) {
        out.truncate(from);
        return None;
    }
    Some(written)
}

/// How the length of a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outgoing {
    /// There is none, and nothing says so.
    None,
    Length(u64),
    /// One chunk, and no last one: the body is cut, and nobody knows how long it was.
    Endless(usize),
    /// As the message says, if anything.
    Kept,
}

impl Outgoing {
    fn of(body: &Body, headers: &Headers, is_response: bool) -> Self {
        let here = body.content.len();
        match body.extent {
            Extent::Whole if here == 0 && !is_response && !headers.iter().any(is_framing) => {
                Self::None
            }
            Extent::Whole => Self::Length(here as u64),
            // With nothing missing, the length alone would look whole.
            incomplete => match incomplete.missing().filter(|missing| *missing > 0) {
                Some(missing) => (here as u64)
                    .checked_add(missing)
                    .map_or(Self::Endless(here), Self::Length),
                None => Self::Endless(here),
            },
        }
    }

    fn write(self, out: &mut Vec<u8>) {
        // Writing into a Vec cannot fail.
        match self {
            Self::None | Self::Kept => Ok(()),
            Self::Length(length) => write!(out, "content-length: {length}\r\n"),
            Self::Endless(_) => write!(out, "transfer-encoding: chunked\r\n"),
        }
        .unwrap_or_default();
    }
}

/// The header that says where the body ends stands where it stood, or last.
fn write_head(
    first_line: &[u8],
    headers: &Headers,
    framing: Outgoing,
    out: &mut Vec<u8>,
) -> Written {
    out.extend_from_slice(first_line);
    out.extend_from_slice(b"\r\n");
    let from = out.len();
    let mut is_framed = matches!(framing, Outgoing::None | Outgoing::Kept);
    let mut lines = 0;
    for field in headers {
        lines += 1;
        let keeps = framing == Outgoing::Kept && !is_transfer_encoding(field);
        if !is_framing(field) || keeps {
            out.extend_from_slice(&field.name);
            out.extend_from_slice(b": ");
            out.extend_from_slice(&field.value);
            out.extend_from_slice(b"\r\n");
        } else if !is_framed {
            is_framed = true;
            framing.write(out);
        } else {
            lines -= 1;
        }
    }
    if !is_framed {
        lines += 1;
        framing.write(out);
    }
    let headers = out.len() - from - 2 * lines;
    out.extend_from_slice(b"\r\n");
    if let Outgoing::Endless(here) = framing
        && here > 0
    {
        write!(out, "{here:x}\r\n").unwrap_or_default();
    }
    Written {
        first_line: first_line.len(),
        headers,
        whole: false,
    }
}

fn is_framing(field: &Header) -> bool {
    is_framing_name(&field.name)
}

fn is_framing_name(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"transfer-encoding")
}

fn is_transfer_encoding(field: &Header) -> bool {
    field.name.eq_ignore_ascii_case(b"transfer-encoding")
}

/// Whether the same fields were read that were to be written, apart from those that say where the body ends.
fn same(read: &[httparse::Header<'_>], written: &Headers) -> bool {
    let left = read
        .iter()
        .filter(|field| !is_framing_name(field.name.as_bytes()));
    let right = written.iter().filter(|field| !is_framing(field));
    left.map(|field| (field.name.as_bytes(), field.value.trim_ascii()))
        .eq(right.map(|field| (&field.name[..], field.value.trim_ascii())))
}

/// RFC 9112, 6.3: answers that never have a body.
fn is_bodiless(status: u16, method: &[u8]) -> bool {
    method == b"HEAD" || matches!(status, 100..=199 | 204 | 304)
}

/// Switching protocols: after this answer the connection speaks something else than HTTP.
pub(super) const SWITCHING: u16 = 101;

/// Bytes that are no HTTP/1.1, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotHttp {
    #[error("a head is malformed: {0}")]
    Head(httparse::Error),
    #[error("a head has more than {MAX_HEAD} bytes")]
    LongHead,
    #[error("content-length is no number")]
    Length,
    #[error("the transfer coding is not chunked")]
    Coding,
    #[error("a chunk is malformed")]
    Chunk,
}

/// The head of a message.
pub(super) trait Head: Sized {
    /// Reads a head, and says how long it is. `None` when it is not all here.
    fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, NotHttp>;

    fn headers(&self) -> &Headers;

    /// Where the body ends, when the headers do not say it. `None`: there is none, whatever they say.
    fn unframed(&self, asked: &[u8]) -> Option<Framing>;
}

/// The head of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestHead {
    pub(super) method: Bytes,
    pub(super) target: Bytes,
    pub(super) version: &'static str,
    pub(super) headers: Headers,
}

impl Head for RequestHead {
    fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, NotHttp> {
        with_headers(|fields| {
            let mut head = httparse::Request::new(fields);
            let httparse::Status::Complete(length) = head.parse(bytes)? else {
                return Ok(None);
            };
            let text = |text: Option<&str>| Bytes::copy_from_slice(text.unwrap_or("").as_bytes());
            let read = Self {
                method: text(head.method),
                target: text(head.path),
                version: version(head.version),
                headers: owned(head.headers),
            };
            Ok(Some((read, length)))
        })
    }

    fn headers(&self) -> &Headers {
        &self.headers
    }

    fn unframed(&self, _: &[u8]) -> Option<Framing> {
        Some(Framing::Length(0))
    }
}

/// The head of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ResponseHead {
    pub(super) status: u16,
    pub(super) version: &'static str,
    pub(super) headers: Headers,
}

impl Head for ResponseHead {
    fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, NotHttp> {
        with_headers(|fields| {
            let mut head = httparse::Response::new(fields);
            let httparse::Status::Complete(length) = head.parse(bytes)? else {
                return Ok(None);
            };
            let read = Self {
                status: head.code.unwrap_or(0),
                version: version(head.version),
                headers: owned(head.headers),
            };
            Ok(Some((read, length)))
        })
    }

    fn headers(&self) -> &Headers {
        &self.headers
    }

    fn unframed(&self, asked: &[u8]) -> Option<Framing> {
        let is_tunnel = asked == b"CONNECT" && matches!(self.status, 200..=299);
        (!is_bodiless(self.status, asked) && !is_tunnel).then_some(Framing::Close)
    }
}

/// Few messages have more than the first number of fields, none that a server accepts more than the second.
fn with_headers<'b, T>(
    read: impl Fn(&mut [httparse::Header<'b>]) -> Result<T, httparse::Error>,
) -> Result<T, NotHttp> {
    match read(&mut [httparse::EMPTY_HEADER; 100]) {
        Err(httparse::Error::TooManyHeaders) => read(&mut vec![httparse::EMPTY_HEADER; 4_096]),
        read => read,
    }
    .map_err(NotHttp::Head)
}

const fn version(minor: Option<u8>) -> &'static str {
    match minor {
        Some(0) => "1.0",
        _ => "1.1",
    }
}

fn owned(fields: &[httparse::Header<'_>]) -> Headers {
    fields
        .iter()
        .map(|field| Header {
            name: Bytes::copy_from_slice(field.name.as_bytes()),
            value: Bytes::copy_from_slice(field.value),
        })
        .collect()
}

/// Where a body ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many more bytes.
    Length(u64),
    /// After the last chunk.
    Chunked(Chunks),
    /// With the connection.
    Close,
}

impl Framing {
    fn of(head: &impl Head, asked: &[u8]) -> Result<Self, NotHttp> {
        let Some(unframed) = head.unframed(asked) else {
            return Ok(Self::Length(0));
        };
        let headers = head.headers();
        if let Some(coding) = headers.get("transfer-encoding") {
            let is_chunked = coding.trim_ascii().eq_ignore_ascii_case(b"chunked")
                && headers.get_all("transfer-encoding").nth(1).is_none();
            return match is_chunked {
                true => Ok(Self::Chunked(Chunks::default())),
                false => Err(NotHttp::Coding),
            };
        }
        match (headers.get("content-length"), headers.content_length()) {
            (_, Some(length)) => Ok(Self::Length(length)),
            (None, None) => Ok(unframed),
            (Some(_), None) => Err(NotHttp::Length),
        }
    }
}

/// A message of which bytes come in pieces.
#[derive(Clone, Debug)]
pub(super) enum Incomplete<H> {
    /// The head is not all here.
    Head(Vec<u8>),
    /// The body is not all here.
    Body {
        head: H,
        framing: Framing,
        content: Vec<u8>,
        /// Bytes of the body that came and were not kept.
        over: u64,
    },
}

/// A message that is not going to get longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message<H> {
    pub(super) head: H,
    pub(super) body: Body,
}

impl<H> Default for Incomplete<H> {
    fn default() -> Self {
        Self::Head(Vec::new())
    }
}

impl<H: Head> Incomplete<H> {
    /// Whether no byte of it is here.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Head(bytes) if bytes.is_empty())
    }

    /// Its head, when that is all here.
    pub(super) const fn head(&self) -> Option<&H> {
        match self {
            Self::Head(_) => None,
            Self::Body { head, .. } => Some(head),
        }
    }

    /// Bytes that it holds.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Head(bytes) => bytes.capacity(),
            Self::Body { head, content, .. } => {
                let fields = |field: &Header| field.name.len() + field.value.len() + 128;
                content.capacity() + head.headers().iter().map(fields).sum::<usize>()
            }
        }
    }

    /// Takes from `bytes` what belongs to it, and returns it when it is complete. `asked` is the method to which a response
    /// answers. No more than `bound` bytes of a body are kept.
    pub(super) fn take(
        &mut self,
        bytes: &mut &[u8],
        asked: &[u8],
        bound: usize,
    ) -> Result<Option<Message<H>>, NotHttp> {
        if let Self::Head(head) = self {
            let Some(read) = read_head::<H>(head, bytes)? else {
                return Ok(None);
            };
            *self = Self::Body {
                framing: Framing::of(&read, asked)?,
                head: read,
                content: Vec::new(),
                over: 0,
            };
        }
        let Self::Body {
            framing,
            content,
            over,
            ..
        } = self
        else {
            return Ok(None);
        };
        let mut keep = |piece: &[u8]| {
            let (kept, rest) = piece
                .split_at_checked(bound.saturating_sub(content.len()))
                .unwrap_or((piece, &[]));
            content.extend_from_slice(kept);
            *over += rest.len() as u64;
        };
        let ends = match framing {
            Framing::Length(left) => {
                keep(take_up_to(bytes, left));
                *left == 0
            }
            Framing::Chunked(chunks) => chunks.take(bytes, keep)?,
            Framing::Close => {
                keep(std::mem::take(bytes));
                false
            }
        };
        Ok(ends.then(|| self.end(true)).flatten())
    }

    /// Ends it here. `is_whole`: with all of its bytes, or, where only the end of the connection says where a body
    /// ends, with that. `None` when there is not even a head.
    pub(super) fn end(&mut self, is_whole: bool) -> Option<Message<H>> {
        let Self::Body {
            head,
            framing,
            content,
            over,
        } = std::mem::take(self)
        else {
            return None;
        };
        let missing = match framing {
            Framing::Length(left) => Some(left),
            Framing::Chunked(chunks) if chunks.is_over() => Some(0),
            Framing::Close if is_whole => Some(0),
            Framing::Chunked(_) | Framing::Close => None,
        };
        let missing = missing.map(|missing| missing.saturating_add(over));
        let extent = match (missing, content.is_empty()) {
            (Some(0), _) => Extent::Whole,
            (missing, true) => Extent::NotCaptured { missing },
            (missing, false) => Extent::Cut { missing },
        };
        let content = Bytes::from(content);
        Some(Message {
            head,
            body: Body { content, extent },
        })
    }
}

/// Adds to a head up to its end, and reads it when it is all there.
fn read_head<H: Head>(held: &mut Vec<u8>, bytes: &mut &[u8]) -> Result<Option<H>, NotHttp> {
    // RFC 9112, 2.2: empty lines before a message are passed by.
    while held.is_empty()
        && let Some((b'\r' | b'\n', rest)) = bytes.split_first()
    {
        *bytes = rest;
    }
    while !bytes.is_empty() {
        let line = memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
        let (line, rest) = bytes.split_at_checked(line).unwrap_or((bytes, &[]));
        *bytes = rest;
        held.extend_from_slice(line);
        if held.len() > MAX_HEAD {
            return Err(NotHttp::LongHead);
        }
        let ends = held.ends_with(b"\n\r\n") || held.ends_with(b"\n\n");
        if ends && let Some((head, _)) = H::read(held)? {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

/// Takes as many bytes as there are, and no more than `left`, which it counts down.
fn take_up_to<'b>(bytes: &mut &'b [u8], left: &mut u64) -> &'b [u8] {
    let most = usize::try_from(*left).unwrap_or(usize::MAX);
    let (taken, rest) = bytes.split_at_checked(most).unwrap_or((bytes, &[]));
    *bytes = rest;
    *left -= taken.len() as u64;
    taken
}

/// A chunked body (RFC 9112, 7.1), in pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunks {
    state: Chunk,
    /// The line that is not all here.
    line: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Chunk {
    #[default]
    Size,
    Data(u64),
    DataEnd,
    Trailer,
    Over,
}

impl Chunks {
    fn is_over(&self) -> bool {
        self.state == Chunk::Over
    }

    /// Whether the body ends with these bytes.
    fn take(&mut self, bytes: &mut &[u8], mut keep: impl FnMut(&[u8])) -> Result<bool, NotHttp> {
        while !bytes.is_empty() && self.state != Chunk::Over {
            if let Chunk::Data(left) = &mut self.state {
                keep(take_up_to(bytes, left));
                if *left == 0 {
                    self.state = Chunk::DataEnd;
                }
            } else if self.take_line(bytes)? {
                self.state = self.after_line()?;
                self.line.clear();
            }
        }
        Ok(self.is_over())
    }

    fn take_line(&mut self, bytes: &mut &[u8]) -> Result<bool, NotHttp> {
        let end = memchr(b'\n', bytes).map(|end| end + 1);
        let (line, rest) = bytes
            .split_at_checked(end.unwrap_or(bytes.len()))
            .unwrap_or((bytes, &[]));
        *bytes = rest;
        self.line.extend_from_slice(line);
        if self.line.len() > MAX_LINE {
            return Err(NotHttp::Chunk);
        }
        Ok(end.is_some())
    }

    fn after_line(&self) -> Result<Chunk, NotHttp> {
        let is_empty = matches!(&self.line[..], b"\r\n" | b"\n");
        match self.state {
            Chunk::Size => match httparse::parse_chunk_size(&self.line) {
                Ok(httparse::Status::Complete((_, 0))) => Ok(Chunk::Trailer),
                Ok(httparse::Status::Complete((_, size))) => Ok(Chunk::Data(size)),
                _ => Err(NotHttp::Chunk),
            },
            Chunk::DataEnd if is_empty => Ok(Chunk::Size),
            Chunk::Trailer if is_empty => Ok(Chunk::Over),
            Chunk::Trailer => Ok(Chunk::Trailer),
            _ => Err(NotHttp::Chunk),
        }
    }
}

/// The most bytes that a head may have.
const MAX_HEAD: usize = 1 << 20;

/// The most bytes that the line of a chunk's size, or of a trailer, may have.
const MAX_LINE: usize = 64 << 10;
