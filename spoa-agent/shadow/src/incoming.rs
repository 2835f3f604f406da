//! The bytes that the target sends back, as an answer. Pure: it is fed and says when it is done.
//!
//! The body is counted and forgotten, except for a prefix that is kept on demand. Everything has a
//! bound: the head, the interim answers, the lines between chunks, and the whole body.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use exchange::{Header, Headers};

/// How much of an answer is read and kept.
#[derive(Clone, Copy, Debug)]
pub struct AnswerLimits {
    /// Bytes of status line and header fields, and of the fields behind a chunked body.
    pub head: usize,
    /// Bytes of the body that are kept; the rest is counted only.
    pub keep: usize,
    /// Bytes of the body that are read to keep the connection. A longer answer costs the connection.
    pub body: u64,
}

impl Default for AnswerLimits {
    fn default() -> Self {
        Self {
            head: 64 * 1024,
            keep: 0,
            body: 64 * 1024 * 1024,
        }
    }
}

/// What the target answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code, never an interim one.
    pub status: u16,
    /// Status line and header fields as they came.
    pub head: Bytes,
    /// The first bytes of the body, transfer coding undone, as far as [`AnswerLimits::keep`] allows.
    pub body: Bytes,
    /// Bytes of the body that came, kept or not.
    pub body_length: u64,
    /// Whether the body came to its end.
    pub whole: bool,
    /// Whether the connection may carry another request.
    pub(crate) reusable: bool,
}

impl Answer {
    /// The header fields in order, as slices of the head.
    #[must_use]
    pub fn headers(&self) -> Headers {
        let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
        let mut response = httparse::Response::new(&mut []);
        // It was parsed once already, so this cannot fail.
        let parsed =
            parser().parse_response_with_uninit_headers(&mut response, &self.head, &mut fields);
        if parsed.is_err() {
            return Headers::default();
        }
        let field = |field: &httparse::Header<'_>| Header {
            name: self.head.slice_ref(field.name.as_bytes()),
            value: self.head.slice_ref(field.value),
        };
        response.headers.iter().map(field).collect()
    }
}

/// Why bytes are not an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// Not HTTP/1.
    #[error("the answer does not begin as HTTP/1 does; is this port HTTP, and without TLS?")]
    NotHttp,
    /// A status line or header field that HTTP does not have.
    #[error("the answer's head is malformed: {0}")]
    Head(httparse::Error),
    /// The head has no end.
    #[error("the answer's head is longer than {limit} bytes; raise the limit for answer heads")]
    HeadTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// A length that is no number, or several different ones.
    #[error("the answer's content-length is not one number")]
    Length,
    /// A chunk without a size or an end.
    #[error("the answer's chunked body is malformed")]
    Chunk,
    /// A 101, or interim answers without an end.
    #[error("the target answered {0}, which nobody asked for")]
    Unasked(u16),
    /// The connection ended within the answer.
    #[error("the answer ended before its end")]
    Cut,
}

const MOST_FIELDS: usize = 256;
/// Interim answers before the final one. A server sends one 100, and perhaps a few 103.
const MOST_INTERIM: u8 = 16;
/// Bytes of a chunk's size line: 16 digits and an extension that nobody uses.
const CHUNK_LINE: usize = 4 * 1024;

/// Reads one answer.
#[derive(Debug)]
pub(crate) struct Reader {
    limits: AnswerLimits,
    /// The request was a HEAD: its answer has no body, whatever it says.
    bodiless: bool,
    state: State,
    /// How far the head was searched for its end, so that a head that drips is not searched anew.
    searched: usize,
    interim: u8,
    status: Option<u16>,
    head: Bytes,
    kept: Vec<u8>,
    length: u64,
    close: bool,
    whole: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of a body with a length are to come.
    Length(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    /// The fields behind a chunked body, and how many bytes of them came.
    Trailers(usize),
    UntilClose,
    Done,
}

impl Reader {
    pub(crate) fn new(limits: AnswerLimits, bodiless: bool) -> Self {
        Self {
            limits,
            bodiless,
            state: State::Head,
            searched: 0,
            interim: 0,
            status: None,
            head: Bytes::new(),
            kept: Vec::new(),
            length: 0,
            close: false,
            whole: false,
        }
    }

    /// The final status, as soon as it is known.
    pub(crate) const fn status(&self) -> Option<u16> {
        self.status
    }

    /// Takes what it can from `input`. Returns whether the answer is done; what is then left in `input`
    /// was not asked for.
    pub(crate) fn read(&mut self, input: &mut BytesMut) -> Result<bool, AnswerError> {
        loop {
            let before = (self.state, input.len());
            match self.state {
                State::Head => self.read_head(input)?,
                State::Length(left) => self.read_length(left, input),
                State::ChunkSize => self.read_chunk_size(input)?,
                State::Chunk(left) => self.read_chunk(left, input),
                State::ChunkEnd => self.read_chunk_end(input)?,
                State::Trailers(seen) => self.read_trailers(seen, input)?,
                State::UntilClose => self.take(input.len(), input),
                State::Done => return Ok(true),
            }
            if self.state != State::Done && self.length > self.limits.body {
                self.end(false);
            }
            if before == (self.state, input.len()) {
                return Ok(false);
            }
        }
    }

    /// The connection ended. Only a body that lasts until then is whole.
    pub(crate) fn closed(&mut self) -> Result<(), AnswerError> {
        match self.state {
            State::UntilClose => self.end(true),
            State::Done => {}
            _ => return Err(AnswerError::Cut),
        }
        self.close = true;
        Ok(())
    }

    /// The answer, once it is done. `leftover` says that bytes nobody asked for came behind it.
    pub(crate) fn into_answer(self, leftover: bool) -> Option<Answer> {
        Some(Answer {
            status: self.status?,
            head: self.head,
            body: self.kept.into(),
            body_length: self.length,
            whole: self.whole,
            reusable: self.whole && !self.close && !leftover,
        })
    }

    fn end(&mut self, whole: bool) {
        self.whole = whole;
        self.state = State::Done;
    }

    fn read_head(&mut self, input: &mut BytesMut) -> Result<(), AnswerError> {
        let begin = b"HTTP/1.";
        let known = begin.len().min(input.len());
        if input.get(..known) != begin.get(..known) {
            return Err(AnswerError::NotHttp);
        }
        let Some(end) = head_end(input, self.searched) else {
            if input.len() > self.limits.head {
                return Err(AnswerError::HeadTooLong {
                    limit: self.limits.head,
                });
            }
            // The end is up to three bytes long and may be here in part.
            self.searched = input.len().saturating_sub(2);
            return Ok(());
        };
        if end > self.limits.head {
            return Err(AnswerError::HeadTooLong {
                limit: self.limits.head,
            });
        }
        self.searched = 0;
        let head = Bytes::copy_from_slice(input.get(..end).unwrap_or_default());
        input.advance(end);
        self.parse_head(head)
    }

    fn parse_head(&mut self, head: Bytes) -> Result<(), AnswerError> {
        let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
        let mut response = httparse::Response::new(&mut []);
        let parsed = parser()
            .parse_response_with_uninit_headers(&mut response, &head, &mut fields)
            .map_err(AnswerError::Head)?;
        // The end was found, so "partial" means that httparse does not see it there.
        let (httparse::Status::Complete(_), Some(status), Some(minor)) =
            (parsed, response.code, response.version)
        else {
            return Err(AnswerError::Head(httparse::Error::NewLine));
        };
        if status == 101 || (status < 200 && self.interim == MOST_INTERIM) {
            return Err(AnswerError::Unasked(status));
        }
        if status < 200 {
            self.interim += 1;
            return Ok(());
        }
        let framing = Framing::of(response.headers)?;
        self.status = Some(status);
        self.close = framing.closes(minor);
        self.head = head;
        self.begin_body(status, &framing);
        Ok(())
    }

    /// RFC 9112, 6.3.
    fn begin_body(&mut self, status: u16, framing: &Framing) {
        if self.bodiless || status == 204 || status == 304 {
            return self.end(true);
        }
        self.state = match (framing.coding, framing.length) {
            (Coding::Chunked, _) => State::ChunkSize,
            (Coding::Other, _) | (Coding::None, None) => State::UntilClose,
            (Coding::None, Some(length)) => State::Length(length),
        };
        match self.state {
            State::Length(0) => self.end(true),
            State::Length(length) if length > self.limits.body => self.end(false),
            _ => {}
        }
    }

    fn read_length(&mut self, left: u64, input: &mut BytesMut) {
        let here = within(left, input.len());
        self.take(here, input);
        match left - here as u64 {
            0 => self.end(true),
            rest => self.state = State::Length(rest),
        }
    }

    fn read_chunk_size(&mut self, input: &mut BytesMut) -> Result<(), AnswerError> {
        match httparse::parse_chunk_size(input) {
            Ok(httparse::Status::Complete((line, size))) => {
                input.advance(line);
                self.state = if size == 0 {
                    State::Trailers(0)
                } else {
                    State::Chunk(size)
                };
                Ok(())
            }
            Ok(httparse::Status::Partial) if input.len() <= CHUNK_LINE => Ok(()),
            Ok(httparse::Status::Partial) | Err(_) => Err(AnswerError::Chunk),
        }
    }

    fn read_chunk(&mut self, left: u64, input: &mut BytesMut) {
        let here = within(left, input.len());
        self.take(here, input);
        self.state = match left - here as u64 {
            0 => State::ChunkEnd,
            rest => State::Chunk(rest),
        };
    }

    fn read_chunk_end(&mut self, input: &mut BytesMut) -> Result<(), AnswerError> {
        match input.as_ref() {
            [b'\r', b'\n', ..] => {
                input.advance(2);
                self.state = State::ChunkSize;
                Ok(())
            }
            [] | [b'\r'] => Ok(()),
            _ => Err(AnswerError::Chunk),
        }
    }

    /// Line by line; what the fields say is of no interest.
    fn read_trailers(&mut self, seen: usize, input: &mut BytesMut) -> Result<(), AnswerError> {
        let Some(line) = input.iter().position(|b| *b == b'\n') else {
            if seen + input.len() > self.limits.head {
                return Err(AnswerError::HeadTooLong {
                    limit: self.limits.head,
                });
            }
            return Ok(());
        };
        let last = matches!(input.get(..line), Some([] | [b'\r']));
        let seen = seen + line + 1;
        input.advance(line + 1);
        if last {
            self.end(true);
        } else if seen > self.limits.head {
            return Err(AnswerError::HeadTooLong {
                limit: self.limits.head,
            });
        } else {
            self.state = State::Trailers(seen);
        }
        Ok(())
    }

    /// Takes `count` bytes of body from `input` and keeps those that are wanted.
    fn take(&mut self, count: usize, input: &mut BytesMut) {
        let wanted = self.limits.keep.saturating_sub(self.kept.len()).min(count);
        self.kept
            .extend_from_slice(input.get(..wanted).unwrap_or_default());
        self.length += count as u64;
        input.advance(count);
    }
}

/// What the header fields say about the body and the connection.
struct Framing {
    coding: Coding,
    length: Option<u64>,
    close: bool,
    keep_alive: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    None,
    /// `chunked` is the last transfer coding.
    Chunked,
    /// A transfer coding whose end only the end of the connection tells.
    Other,
}

impl Framing {
    fn of(fields: &[httparse::Header<'_>]) -> Result<Self, AnswerError> {
        let mut framing = Self {
            coding: Coding::None,
            length: None,
            close: false,
            keep_alive: false,
        };
        for field in fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            match field.name.len() {
                14 if is("content-length") => framing.add_length(field.value)?,
                17 if is("transfer-encoding") => framing.add_coding(field.value),
                10 if is("connection") => framing.add_connection(field.value),
                _ => {}
            }
        }
        Ok(framing)
    }

    /// Equal lengths count as one (RFC 9110, 8.6).
    fn add_length(&mut self, value: &[u8]) -> Result<(), AnswerError> {
        for text in list(value) {
            let number = decimal(text).ok_or(AnswerError::Length)?;
            if *self.length.get_or_insert(number) != number {
                return Err(AnswerError::Length);
            }
        }
        Ok(())
    }

    fn add_coding(&mut self, value: &[u8]) {
        for coding in list(value) {
            let chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.coding = if chunked {
                Coding::Chunked
            } else {
                Coding::Other
            };
        }
    }

    fn add_connection(&mut self, value: &[u8]) {
        for option in list(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// Whether the connection ends with this answer. Two framings in one answer are an attack or a
    /// fault (RFC 9112, 6.3), so nothing behind it is believed.
    fn closes(&self, minor: u8) -> bool {
        let ambiguous = self.coding != Coding::None && (self.length.is_some() || minor == 0);
        self.close || ambiguous || (minor == 0 && !self.keep_alive)
    }
}

fn parser() -> httparse::ParserConfig {
    let mut parser = httparse::ParserConfig::default();
    // Obsolete, harmless, and still written by some servers.
    parser.allow_obsolete_multiline_headers_in_responses(true);
    parser
}

/// Where the head ends: behind the empty line. httparse takes lines that end without a carriage
/// return, so they end a head here too.
fn head_end(input: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(found) = input.get(at..)?.iter().position(|b| *b == b'\n') {
        at += found + 1;
        match input.get(at..)? {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
    None
}

fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|b| *b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|item| !item.is_empty())
}

/// Digits alone; `u64::from_str` also takes a sign.
fn decimal(text: &[u8]) -> Option<u64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn within(left: u64, here: usize) -> usize {
    usize::try_from(left).map_or(here, |left| left.min(here))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: AnswerLimits = AnswerLimits {
        head: 300,
        keep: 8,
        body: 1000,
    };

    /// Feeds `bytes` in steps of `step`; then the connection ends.
    fn fed(bytes: &[u8], step: usize, bodiless: bool) -> Result<Answer, AnswerError> {
        let mut reader = Reader::new(LIMITS, bodiless);
        let mut input = BytesMut::new();
        let mut parts = bytes.chunks(step);
        let mut done = false;
        while !done {
            match parts.next() {
                Some(part) => {
                    input.extend_from_slice(part);
                    done = reader.read(&mut input)?;
                }
                None => {
                    reader.closed()?;
                    done = true;
                }
            }
        }
        let leftover = !input.is_empty() || parts.next().is_some();
        Ok(reader
            .into_answer(leftover)
            .expect("done, so it has a status"))
    }

    fn read(text: &str) -> Result<Answer, AnswerError> {
        let whole = fed(text.as_bytes(), usize::MAX, false);
        let dripped = fed(text.as_bytes(), 1, false);
        match (&whole, &dripped) {
            (Ok(a), Ok(b)) => assert_eq!(
                (a.status, &a.head, &a.body, a.body_length, a.whole),
                (b.status, &b.head, &b.body, b.body_length, b.whole),
            ),
            (Err(a), Err(b)) => assert_eq!(a, b),
            _ => panic!("whole: {whole:?}, dripped: {dripped:?}"),
        }
        whole
    }

    #[test]
    fn every_framing_ends_where_it_ends_however_it_drips() {
        for (text, body, reusable) in [
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
                "abc",
                true,
            ),
            ("HTTP/1.1 200 OK\ncontent-length: 3\n\nabc", "abc", true),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc",
                "abc",
                true,
            ),
            ("HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", "", true),
            ("HTTP/1.1 204 No Content\r\n\r\n", "", true),
            (
                "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
                "",
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx",
                "x",
                false,
            ),
            ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx", "x", false),
            (
                "HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 1\r\n\r\nx",
                "x",
                true,
            ),
            ("HTTP/1.1 200 OK\r\n\r\nuntil the end", "until th", false),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1;ext=1\r\nc\r\n0\r\n\r\n",
                "abc",
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\nz: 1\r\n\r\n",
                "abc",
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
                "a",
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nabc",
                "abc",
                false,
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n\
                 HTTP/1.1 201 Created\r\ncontent-length: 1\r\n\r\nx",
                "x",
                true,
            ),
        ] {
            let answer = read(text).unwrap();
            assert_eq!(answer.body, body.as_bytes(), "{text:?}");
            assert!(answer.whole, "{text:?}");
            assert_eq!(answer.reusable, reusable, "{text:?}");
        }
    }

    #[test]
    fn an_answer_to_head_has_no_body_whatever_it_says() {
        for text in ["content-length: 99", "transfer-encoding: chunked", "x: y"] {
            let text = format!("HTTP/1.1 200 OK\r\n{text}\r\n\r\n");
            let answer = fed(text.as_bytes(), usize::MAX, true).unwrap();
            assert_eq!(
                (answer.body_length, answer.whole, answer.reusable),
                (0, true, true)
            );
        }
    }

    #[test]
    fn an_interim_answer_is_never_the_answer() {
        let text =
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 Too Many\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(read(text).unwrap().status, 429);
        let endless = "HTTP/1.1 102 Processing\r\n\r\n".repeat(100);
        assert_eq!(read(&endless).unwrap_err(), AnswerError::Unasked(102));
        assert_eq!(
            read("HTTP/1.1 101 Up\r\n\r\n").unwrap_err(),
            AnswerError::Unasked(101)
        );
    }

    #[test]
    fn a_body_beyond_the_limit_ends_the_reading_and_the_connection() {
        let declared = "HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n".to_owned();
        let answer = read(&declared).unwrap();
        assert_eq!(
            (answer.status, answer.whole, answer.reusable),
            (200, false, false)
        );
        let endless = "HTTP/1.1 200 OK\r\n\r\n".to_owned() + &"x".repeat(2000);
        let answer = fed(endless.as_bytes(), 100, false).unwrap();
        assert_eq!((answer.whole, answer.reusable), (false, false));
        assert!(answer.body_length <= 1100);
        assert_eq!(answer.body.len(), 8);
    }

    #[test]
    fn bytes_that_nobody_asked_for_cost_the_connection() {
        let text = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n\r\n";
        let answer = fed(text.as_bytes(), usize::MAX, false).unwrap();
        assert_eq!((answer.status, answer.reusable), (200, false));
    }

    #[test]
    fn what_is_not_an_answer_is_refused_at_once() {
        assert_eq!(
            fed(b"SSH-2.0-x", 1, false).unwrap_err(),
            AnswerError::NotHttp
        );
        assert_eq!(
            fed(b"\x15\x03\x03\0\x02", 1, false).unwrap_err(),
            AnswerError::NotHttp
        );
        assert_eq!(
            read("HTTP/2 200\r\n\r\n").unwrap_err(),
            AnswerError::NotHttp
        );
        for (text, error) in [
            (
                "HTTP/1.1 2x0 OK\r\n\r\n",
                AnswerError::Head(httparse::Error::Status),
            ),
            (
                "HTTP/1.1 200 OK\r\n a b : c\r\n\r\n",
                AnswerError::Head(httparse::Error::HeaderName),
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
                AnswerError::Length,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
                AnswerError::Length,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\nx",
                AnswerError::Length,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nx",
                AnswerError::Length,
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
                AnswerError::Chunk,
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc",
                AnswerError::Chunk,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab",
                AnswerError::Cut,
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
                AnswerError::Cut,
            ),
            ("HTTP/1.1 200 OK\r\n", AnswerError::Cut),
            ("", AnswerError::Cut),
        ] {
            assert_eq!(read(text).unwrap_err(), error, "{text:?}");
        }
    }

    #[test]
    fn a_head_without_an_end_is_refused_at_its_limit() {
        let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(400));
        assert_eq!(
            read(&long).unwrap_err(),
            AnswerError::HeadTooLong { limit: 300 }
        );
        let trailers = format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n{}",
            "a: b\r\n".repeat(100)
        );
        assert_eq!(
            read(&trailers).unwrap_err(),
            AnswerError::HeadTooLong { limit: 300 }
        );
        let chunk = format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;{}",
            "e".repeat(5000)
        );
        assert_eq!(read(&chunk).unwrap_err(), AnswerError::Chunk);
    }

    #[test]
    fn headers_come_in_order_with_their_repeats() {
        let answer = read("HTTP/1.1 204 x\r\nB: 1\r\na: 2\r\nb: \u{e9}\r\n\r\n").unwrap();
        let headers = answer.headers();
        let names: Vec<_> = headers.iter().map(|h| h.name.as_ref()).collect();
        assert_eq!(names, [b"B", b"a", b"b"]);
        assert_eq!(
            headers.get_all("b").collect::<Vec<_>>(),
            [&b"1"[..], "\u{e9}".as_bytes()]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_refused_and_the_steps_do_not_matter(
            begin in prop_oneof![
                Just(""),
                Just("HTTP/1.1 200 OK\r\n"),
                Just("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
                Just("HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n"),
            ],
            rest in proptest::collection::vec(
                prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'2'), any::<u8>()], 0..80),
            step in 1_usize..40,
        ) {
            let bytes = [begin.as_bytes(), &rest].concat();
            let told = |answer: Result<Answer, AnswerError>| match answer {
                Ok(answer) => Ok((answer.status, answer.body, answer.body_length, answer.whole)),
                // Which fault is met first may depend on how much is there.
                Err(_) => Err(()),
            };
            prop_assert_eq!(told(fed(&bytes, step, false)), told(fed(&bytes, usize::MAX, false)));
        }
    }
}
