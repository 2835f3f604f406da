//! A captured request as the bytes that go to the target. Pure: it appends to a buffer.
//!
//! What the primary got, the shadow gets: the method, the target byte for byte, and the header fields
//! in their order and spelling, repeated ones included. What belongs to one connection and not to the
//! request is computed anew:
//!
//! * `connection`, the fields that it names, `keep-alive`, `proxy-connection`, `te`, `trailer`,
//!   `transfer-encoding`, `upgrade` and `expect` are left out (RFC 9110, 7.6.1 and 10.1.1);
//! * `content-length` stands where the captured `content-length` or `transfer-encoding` stood. It is
//!   there when there is a body, when the primary saw a body announced, and for the methods that
//!   expect one (RFC 9110, 8.6);
//! * `host` is the captured one, unless [`HostHeader`] says otherwise;
//! * credentials that were masked when they were captured are left out, never sent as `***`.
//!
//! Targets that are not paths, `http://host/path` and `*`, are sent as they were captured. The captured
//! request is what HAProxy hands to a server, and HAProxy hands these on unchanged; a shadow HAProxy
//! takes them as the primary one did. It refuses an absolute target whose authority contradicts
//! `host`, so such a request always keeps its own `host`.

use std::fmt;
use std::time::SystemTime;

use exchange::{Header, Request};

use crate::identity::sigv4;
use crate::{Authorization, Identity};

/// What the follower changes in a request.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// Carries the exchange's id to the target, in place of any captured field of that name.
    pub id_header: FieldName,
    /// The `host` that the target sees.
    pub host: HostHeader,
    /// Who the follower is, in place of who the client is.
    pub identity: Identity,
    /// Fields that the target does not get.
    pub drop: Vec<FieldName>,
}

impl Default for Rewrite {
    fn default() -> Self {
        Self {
            id_header: FieldName("x-capture-id".into()),
            host: HostHeader::Captured,
            identity: Identity::default(),
            drop: Vec::new(),
        }
    }
}

/// The `host` that the target sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostHeader {
    /// As the client sent it. A request without one (HTTP/1.0) gets the target's.
    #[default]
    Captured,
    /// The target's own host and port.
    Target,
    /// This one.
    Fixed(FieldValue),
}

/// The name of a header field, in lower case.
#[derive(Clone, PartialEq, Eq)]
pub struct FieldName(Box<str>);

/// The value of a header field: no control characters.
#[derive(Clone, PartialEq, Eq)]
pub struct FieldValue(Box<[u8]>);

/// Why a text cannot be used in a header field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// Not a token (RFC 9110, 5.6.2).
    #[error("{0:?} is no header name; letters, digits and - are allowed")]
    Name(String),
    /// A field that the sender computes itself.
    #[error("header {0:?} is set for each request by the sender and cannot be configured here")]
    Computed(String),
    /// Empty, or with a control character.
    #[error("{0:?} is no header value; it is empty or holds a control character")]
    Value(String),
}

/// What in a captured request HTTP/1.1 has no way to say, or what would say something else there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unsendable {
    /// Empty, or not a token.
    #[error("the captured method is not a token")]
    Method,
    /// Empty, or with a space or a control character.
    #[error("the captured target is empty or holds a space or a control character")]
    Target,
    /// A field name that is empty or holds a colon, a space or a control character.
    #[error("a captured header name is empty or holds a colon, a space or a control character")]
    HeaderName,
    /// A field value with a line break or a zero byte.
    #[error("a captured header value holds a line break or a zero byte")]
    HeaderValue,
    /// An id with a line break or a zero byte.
    #[error("the captured id holds a line break or a zero byte")]
    Id,
}

/// The head of `request` as the target would get it: for who wants to look at it.
///
/// # Errors
/// When the request cannot be said in HTTP/1.1.
pub fn head(request: &Request, rewrite: &Rewrite, authority: &str) -> Result<Vec<u8>, Unsendable> {
    let mut out = Vec::new();
    write_head(request, rewrite, authority, SystemTime::now(), &mut out)?;
    Ok(out)
}

/// Appends the head of `request` to `out`. The bytes of the body are to follow it as they are.
///
/// `authority` is the target's, for a request without `host`. `now` is for signatures, which soon expire.
///
/// # Errors
/// When the request cannot be said in HTTP/1.1. `out` then holds a part of it.
pub(crate) fn write_head(
    request: &Request,
    rewrite: &Rewrite,
    authority: &str,
    now: SystemTime,
    out: &mut Vec<u8>,
) -> Result<(), Unsendable> {
    if !is_token(&request.method) {
        return Err(Unsendable::Method);
    }
    if request.target.is_empty() || contains(&request.target, |b| b <= b' ' || b == 0x7f) {
        return Err(Unsendable::Target);
    }
    let begin = out.len();
    out.extend_from_slice(&request.method);
    out.push(b' ');
    out.extend_from_slice(&request.target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let authorization = rewrite.identity.authorization.load();
    Fields::new(request, rewrite, &authorization, authority).write(out)?;
    if let Authorization::SigV4(signer) = &*authorization {
        signer.sign(out, begin, &request.body.content, now);
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Appends the head of a request that asks nothing but whether the target lives.
pub(crate) fn write_probe(rewrite: &Rewrite, authority: &str, now: SystemTime, out: &mut Vec<u8>) {
    let begin = out.len();
    let host = match &rewrite.host {
        HostHeader::Fixed(value) => &value.0,
        HostHeader::Captured | HostHeader::Target => authority.as_bytes(),
    };
    out.extend_from_slice(b"HEAD / HTTP/1.1\r\n");
    put(out, b"host", host);
    match &*rewrite.identity.authorization.load() {
        Authorization::None => {}
        Authorization::Value(secret) => put(out, b"authorization", secret.expose()),
        Authorization::SigV4(signer) => signer.sign(out, begin, b"", now),
    }
    out.extend_from_slice(b"\r\n");
}

/// The header fields of one request on their way out.
struct Fields<'a> {
    request: &'a Request,
    rewrite: &'a Rewrite,
    authorization: &'a Authorization,
    authority: &'a str,
    /// Fields that `connection` names: they ended at HAProxy's connection.
    named: Vec<&'a [u8]>,
    host_captured: bool,
    host_kept: bool,
    host_done: bool,
    length_done: bool,
    id_done: bool,
    authorization_done: bool,
}

impl<'a> Fields<'a> {
    fn new(
        request: &'a Request,
        rewrite: &'a Rewrite,
        authorization: &'a Authorization,
        authority: &'a str,
    ) -> Self {
        let mut fields = Self {
            request,
            rewrite,
            authorization,
            authority,
            named: Vec::new(),
            host_captured: false,
            host_kept: rewrite.host == HostHeader::Captured
                || !matches!(request.target.first(), Some(b'/' | b'*')),
            host_done: false,
            length_done: false,
            id_done: false,
            authorization_done: false,
        };
        for header in &request.headers {
            match Kind::of(&header.name) {
                Kind::Host => fields.host_captured = true,
                Kind::Connection => fields.add_named(&header.value),
                _ => {}
            }
        }
        fields
    }

    /// Notes what a `connection` field names. Fields that are never a matter of one connection are not
    /// given up for it, and nobody needs more than a few.
    fn add_named(&mut self, value: &'a [u8]) {
        const MOST: usize = 64;
        for name in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            let end_to_end = [
                &b"host"[..],
                b"content-type",
                b"content-encoding",
                b"accept",
            ];
            let known = [&b""[..], b"close", b"keep-alive", b"upgrade", b"te"];
            let is = |other: &&[u8]| name.eq_ignore_ascii_case(other);
            if self.named.len() < MOST && !end_to_end.iter().any(is) && !known.iter().any(is) {
                self.named.push(name);
            }
        }
    }

    fn write(mut self, out: &mut Vec<u8>) -> Result<(), Unsendable> {
        if !self.host_captured {
            self.put_own_host(b"host", out);
        }
        for header in &self.request.headers {
            self.write_one(header, out)?;
        }
        if !self.length_done && self.needs_length() {
            self.put_length(b"content-length", out);
        }
        if !self.id_done {
            self.put_id(self.rewrite.id_header.0.as_bytes(), out)?;
        }
        if !self.authorization_done {
            self.put_authorization(b"authorization", out);
        }
        Ok(())
    }

    fn write_one(&mut self, header: &Header, out: &mut Vec<u8>) -> Result<(), Unsendable> {
        if header.is_masked() || self.is_dropped(&header.name) {
            return Ok(());
        }
        if self.rewrite.id_header.is(&header.name) {
            return if self.id_done {
                Ok(())
            } else {
                self.put_id(&header.name, out)
            };
        }
        match Kind::of(&header.name) {
            Kind::Connection | Kind::HopByHop => Ok(()),
            Kind::ContentLength if !self.length_done => {
                self.put_length(&header.name, out);
                Ok(())
            }
            Kind::TransferEncoding if !self.length_done => {
                self.put_length(b"content-length", out);
                Ok(())
            }
            Kind::ContentLength | Kind::TransferEncoding => Ok(()),
            Kind::Host if !self.host_kept => {
                if !self.host_done {
                    self.put_own_host(&header.name, out);
                }
                Ok(())
            }
            Kind::Authorization if *self.authorization != Authorization::None => {
                if !self.authorization_done {
                    self.put_authorization(&header.name, out);
                }
                Ok(())
            }
            Kind::Host | Kind::Authorization | Kind::Other => put_captured(header, out),
        }
    }

    fn is_dropped(&self, name: &[u8]) -> bool {
        let is_signing = matches!(*self.authorization, Authorization::SigV4(_));
        if is_signing
            && sigv4::OWN_FIELDS
                .iter()
                .any(|own| own.eq_ignore_ascii_case(name))
        {
            return true;
        }
        self.named
            .iter()
            .any(|named| named.eq_ignore_ascii_case(name))
            || self.rewrite.drop.iter().any(|dropped| dropped.is(name))
    }

    /// Whether a request that announced no body must say so (RFC 9110, 8.6).
    fn needs_length(&self) -> bool {
        !self.request.body.content.is_empty()
            || matches!(self.request.method.as_ref(), b"POST" | b"PUT" | b"PATCH")
    }

    fn put_length(&mut self, name: &[u8], out: &mut Vec<u8>) {
        let mut digits = [0; 20];
        put(
            out,
            name,
            decimal(self.request.body.content.len(), &mut digits),
        );
        self.length_done = true;
    }

    fn put_id(&mut self, name: &[u8], out: &mut Vec<u8>) -> Result<(), Unsendable> {
        if breaks_a_line(&self.request.id) {
            return Err(Unsendable::Id);
        }
        put(out, name, &self.request.id);
        self.id_done = true;
        Ok(())
    }

    fn put_authorization(&mut self, name: &[u8], out: &mut Vec<u8>) {
        // A signature is written when everything that it signs is there.
        if let Authorization::Value(secret) = self.authorization {
            put(out, name, secret.expose());
        }
        self.authorization_done = true;
    }

    fn put_own_host(&mut self, name: &[u8], out: &mut Vec<u8>) {
        match &self.rewrite.host {
            HostHeader::Fixed(value) => put(out, name, &value.0),
            HostHeader::Captured | HostHeader::Target => put(out, name, self.authority.as_bytes()),
        }
        self.host_done = true;
    }
}

/// What a field is to the sender.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Connection,
    HopByHop,
    ContentLength,
    TransferEncoding,
    Host,
    Authorization,
    Other,
}

impl Kind {
    /// By length first: most fields are none of these, and cost one comparison.
    fn of(name: &[u8]) -> Self {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        match name.len() {
            2 if is(b"te") => Self::HopByHop,
            4 if is(b"host") => Self::Host,
            6 if is(b"expect") => Self::HopByHop,
            7 if is(b"trailer") || is(b"upgrade") => Self::HopByHop,
            10 if is(b"connection") => Self::Connection,
            10 if is(b"keep-alive") => Self::HopByHop,
            13 if is(b"authorization") => Self::Authorization,
            14 if is(b"content-length") => Self::ContentLength,
            16 if is(b"proxy-connection") => Self::HopByHop,
            17 if is(b"transfer-encoding") => Self::TransferEncoding,
            _ => Self::Other,
        }
    }
}

impl FieldName {
    /// Takes a name that the sender does not compute itself.
    ///
    /// # Errors
    /// When it is not a token, or a field such as `host` or `content-length`.
    pub fn parse(name: &str) -> Result<Self, FieldError> {
        if !is_token(name.as_bytes()) {
            return Err(FieldError::Name(name.to_owned()));
        }
        if !matches!(Kind::of(name.as_bytes()), Kind::Other | Kind::Authorization) {
            return Err(FieldError::Computed(name.to_owned()));
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }

    fn is(&self, name: &[u8]) -> bool {
        self.0.len() == name.len() && self.0.as_bytes().eq_ignore_ascii_case(name)
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl FieldValue {
    /// Takes a value; white space around it is cut off.
    ///
    /// # Errors
    /// When nothing is left, or when a control character stands inside.
    pub fn parse(value: &str) -> Result<Self, FieldError> {
        let trimmed = value.trim_ascii().as_bytes();
        if trimmed.is_empty() || trimmed.iter().any(u8::is_ascii_control) {
            return Err(FieldError::Value(value.to_owned()));
        }
        Ok(Self(trimmed.into()))
    }
}

impl fmt::Debug for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// A captured field as it is, unless it would end early and begin another.
fn put_captured(header: &Header, out: &mut Vec<u8>) -> Result<(), Unsendable> {
    if header.name.is_empty() || contains(&header.name, |b| b <= b' ' || b == b':' || b == 0x7f) {
        return Err(Unsendable::HeaderName);
    }
    if breaks_a_line(&header.value) {
        return Err(Unsendable::HeaderValue);
    }
    put(out, &header.name, &header.value);
    Ok(())
}

fn put(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn breaks_a_line(value: &[u8]) -> bool {
    contains(value, |b| matches!(b, b'\r' | b'\n' | 0))
}

/// Looks at every byte instead of stopping at the first hit: the compiler makes vectors of that.
fn contains(bytes: &[u8], is: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(false, |found, byte| found | is(*byte))
}

fn is_token(name: &[u8]) -> bool {
    let symbol = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !name.is_empty() && name.iter().all(symbol)
}

/// `number` in decimal digits, without an allocation.
fn decimal(number: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut rest = number;
    let mut begin = digits.len();
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        // Below 10, so it always fits.
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        begin = at;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    digits.get(begin..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use exchange::{Body, Extent, Headers};
    use proptest::prelude::*;

    use super::*;
    use crate::identity::Credentials;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn own(value: &[u8]) -> Identity {
        Identity::new(Authorization::read(&Credentials::Value, value).unwrap())
    }

    fn request(method: &str, target: &[u8], headers: &[(&[u8], &[u8])], body: &[u8]) -> Request {
        Request {
            id: Bytes::from_static(b"id-1"),
            version: Bytes::from_static(b"1.1"),
            method: Bytes::copy_from_slice(method.as_bytes()),
            target: Bytes::copy_from_slice(target),
            headers: headers
                .iter()
                .map(|(name, value)| Header {
                    name: Bytes::copy_from_slice(name),
                    value: Bytes::copy_from_slice(value),
                })
                .collect::<Headers>(),
            body: Body {
                content: Bytes::copy_from_slice(body),
                extent: Extent::Whole,
            },
            ..Request::default()
        }
    }

    fn head_by(rewrite: &Rewrite, request: &Request) -> String {
        let mut out = Vec::new();
        write_head(request, rewrite, "shadow:9200", NOW, &mut out).unwrap();
        out.escape_ascii()
            .to_string()
            .replace("\\r\\n", "\n")
            .replace("\\\"", "\"")
    }

    fn head(request: &Request) -> String {
        head_by(&Rewrite::default(), request)
    }

    #[test]
    fn fields_keep_their_order_case_and_repeats() {
        let captured: &[(&[u8], &[u8])] = &[
            (b"Host", b"search"),
            (b"X-A", b"1"),
            (b"x-b", b""),
            (b"X-a", b"2"),
            (b"x-b", b"\xff\xfe"),
        ];
        assert_eq!(
            head(&request("GET", b"/", captured, b"")),
            "GET / HTTP/1.1\nHost: search\nX-A: 1\nx-b: \nX-a: 2\nx-b: \\xff\\xfe\nx-capture-id: id-1\n\n"
        );
    }

    #[test]
    fn what_belongs_to_the_connection_is_left_out() {
        let captured: &[(&[u8], &[u8])] = &[
            (b"connection", b"close, X-Hop , host"),
            (b"Connection", b"keep-alive"),
            (b"host", b"h"),
            (b"x-hop", b"1"),
            (b"keep-alive", b"timeout=5"),
            (b"Proxy-Connection", b"close"),
            (b"te", b"trailers"),
            (b"trailer", b"x"),
            (b"upgrade", b"h2c"),
            (b"expect", b"100-continue"),
            (b"x-last", b"1"),
        ];
        assert_eq!(
            head(&request("GET", b"/", captured, b"")),
            "GET / HTTP/1.1\nhost: h\nx-last: 1\nx-capture-id: id-1\n\n"
        );
    }

    #[test]
    fn the_length_stands_where_the_captured_framing_stood() {
        for (method, framing, body, expected) in [
            (
                "POST",
                Some(("content-length", "3")),
                "abc",
                "content-length: 3\nx: 1\n",
            ),
            (
                "POST",
                Some(("Transfer-Encoding", "chunked")),
                "abc",
                "content-length: 3\nx: 1\n",
            ),
            (
                "GET",
                Some(("transfer-encoding", "chunked")),
                "",
                "content-length: 0\nx: 1\n",
            ),
            (
                "GET",
                Some(("content-length", "0")),
                "",
                "content-length: 0\nx: 1\n",
            ),
            ("GET", None, "", "x: 1\n"),
            ("HEAD", None, "", "x: 1\n"),
            ("DELETE", None, "", "x: 1\n"),
            ("OPTIONS", None, "", "x: 1\n"),
            ("GET", None, "abc", "x: 1\ncontent-length: 3\n"),
            ("DELETE", None, "abc", "x: 1\ncontent-length: 3\n"),
            ("POST", None, "", "x: 1\ncontent-length: 0\n"),
            ("PUT", None, "", "x: 1\ncontent-length: 0\n"),
            ("PATCH", None, "", "x: 1\ncontent-length: 0\n"),
        ] {
            let mut captured: Vec<(&[u8], &[u8])> = vec![(b"host", b"h")];
            captured.extend(framing.map(|(name, value)| (name.as_bytes(), value.as_bytes())));
            captured.push((b"x", b"1"));
            let request = request(method, b"/", &captured, body.as_bytes());
            assert_eq!(
                head(&request),
                format!("{method} / HTTP/1.1\nhost: h\n{expected}x-capture-id: id-1\n\n")
            );
        }
    }

    #[test]
    fn two_framing_fields_become_one() {
        let captured: &[(&[u8], &[u8])] = &[
            (b"host", b"h"),
            (b"transfer-encoding", b"chunked"),
            (b"content-length", b"99"),
            (b"content-length", b"98"),
        ];
        assert_eq!(
            head(&request("PUT", b"/", captured, b"ab")),
            "PUT / HTTP/1.1\nhost: h\ncontent-length: 2\nx-capture-id: id-1\n\n"
        );
    }

    #[test]
    fn the_id_takes_the_place_of_a_captured_one() {
        let captured: &[(&[u8], &[u8])] = &[
            (b"X-Capture-Id", b"forged"),
            (b"host", b"h"),
            (b"x-capture-id", b"again"),
        ];
        assert_eq!(
            head(&request("GET", b"/", captured, b"")),
            "GET / HTTP/1.1\nX-Capture-Id: id-1\nhost: h\n\n"
        );
    }

    #[test]
    fn masked_credentials_and_dropped_fields_are_not_sent() {
        let captured: &[(&[u8], &[u8])] = &[
            (b"host", b"h"),
            (b"authorization", b"***"),
            (b"Cookie", b"***"),
            (b"X-Internal", b"1"),
            (b"x-plain", b"**"),
        ];
        let rewrite = Rewrite {
            drop: vec![FieldName::parse("x-internal").unwrap()],
            ..Rewrite::default()
        };
        assert_eq!(
            head_by(&rewrite, &request("GET", b"/", captured, b"")),
            "GET / HTTP/1.1\nhost: h\nx-plain: **\nx-capture-id: id-1\n\n"
        );
    }

    #[test]
    fn the_own_identity_takes_the_place_of_the_clients() {
        let rewrite = Rewrite {
            identity: own(b"Basic own"),
            ..Rewrite::default()
        };
        let captured: &[(&[u8], &[u8])] = &[
            (b"authorization", b"Basic theirs"),
            (b"host", b"h"),
            (b"Authorization", b"***"),
            (b"authorization", b"Basic theirs"),
        ];
        assert_eq!(
            head_by(&rewrite, &request("GET", b"/", captured, b"")),
            "GET / HTTP/1.1\nauthorization: Basic own\nhost: h\nx-capture-id: id-1\n\n"
        );
        let masked: &[(&[u8], &[u8])] = &[(b"authorization", b"***"), (b"host", b"h")];
        assert_eq!(
            head_by(&rewrite, &request("GET", b"/", masked, b"")),
            "GET / HTTP/1.1\nhost: h\nx-capture-id: id-1\nauthorization: Basic own\n\n"
        );
        assert!(!format!("{rewrite:?}").contains("own"));
    }

    #[test]
    fn a_signature_stands_last_and_takes_the_place_of_the_clients() {
        let file = b"aws_access_key_id = A\naws_secret_access_key = hush";
        let credentials = Credentials::SigV4 {
            region: "r".into(),
            service: "es".into(),
        };
        let rewrite = Rewrite {
            identity: Identity::new(Authorization::read(&credentials, file).unwrap()),
            ..Rewrite::default()
        };
        let captured: &[(&[u8], &[u8])] = &[
            (b"authorization", b"AWS4-HMAC-SHA256 theirs"),
            (b"X-Amz-Date", b"theirs"),
            (b"x-amz-security-token", b"theirs"),
            (b"host", b"h"),
        ];
        let head = head_by(&rewrite, &request("GET", b"/", captured, b""));
        let lines: Vec<&str> = head.lines().collect();
        assert_eq!(
            lines[1..4],
            [
                "host: h",
                "x-capture-id: id-1",
                "x-amz-date: 19700101T000000Z"
            ]
        );
        assert!(
            lines[5].starts_with("authorization: AWS4-HMAC-SHA256 Credential=A/19700101/r/es/")
        );
        assert_eq!((lines.len(), lines[6]), (7, ""));
        let mut probe = Vec::new();
        write_probe(&rewrite, "h", NOW, &mut probe);
        let probe = String::from_utf8(probe).unwrap();
        assert!(
            probe.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date,"),
            "{probe}"
        );
        assert!(probe.ends_with("\r\n\r\n"));
    }

    #[test]
    fn the_host_is_the_captured_one_unless_configured_otherwise() {
        let target = Rewrite {
            host: HostHeader::Target,
            ..Rewrite::default()
        };
        let fixed = HostHeader::Fixed(FieldValue::parse("other").unwrap());
        let fixed = Rewrite {
            host: fixed,
            ..Rewrite::default()
        };
        for (rewrite, captured, host) in [
            (&Rewrite::default(), true, "x: 1\nhost: h"),
            (&target, true, "x: 1\nhost: shadow:9200"),
            (&fixed, true, "x: 1\nhost: other"),
            (&Rewrite::default(), false, "host: shadow:9200\nx: 1"),
            (&target, false, "host: shadow:9200\nx: 1"),
            (&fixed, false, "host: other\nx: 1"),
        ] {
            let mut fields: Vec<(&[u8], &[u8])> = vec![(b"x", b"1")];
            if captured {
                fields.push((b"host", b"h"));
            }
            assert_eq!(
                head_by(rewrite, &request("GET", b"/", &fields, b"")),
                format!("GET / HTTP/1.1\n{host}\nx-capture-id: id-1\n\n")
            );
        }
    }

    #[test]
    fn an_absolute_target_keeps_the_host_that_it_names() {
        let rewrite = Rewrite {
            host: HostHeader::Target,
            ..Rewrite::default()
        };
        let absolute = request("GET", b"http://h/x", &[(b"host", b"h")], b"");
        assert_eq!(
            head_by(&rewrite, &absolute),
            "GET http://h/x HTTP/1.1\nhost: h\nx-capture-id: id-1\n\n"
        );
        let asterisk = request("OPTIONS", b"*", &[(b"host", b"h")], b"");
        assert_eq!(
            head_by(&rewrite, &asterisk),
            "OPTIONS * HTTP/1.1\nhost: shadow:9200\nx-capture-id: id-1\n\n"
        );
    }

    #[test]
    fn what_would_begin_another_line_or_request_is_refused() {
        let refused = |request: &Request| {
            write_head(request, &Rewrite::default(), "t", NOW, &mut Vec::new()).unwrap_err()
        };
        for method in ["", "GE T", "GET\r\n"] {
            assert_eq!(
                refused(&request(method, b"/", &[], b"")),
                Unsendable::Method
            );
        }
        for target in [&b""[..], b"/a b", b"/\r\nx: y", b"/\0", b"/\x7f"] {
            assert_eq!(
                refused(&request("GET", target, &[], b"")),
                Unsendable::Target
            );
        }
        for name in [&b""[..], b"a:b", b"a b", b"a\n"] {
            assert_eq!(
                refused(&request("GET", b"/", &[(name, b"v")], b"")),
                Unsendable::HeaderName
            );
        }
        for value in [&b"a\r\nb: c"[..], b"a\nb", b"\0"] {
            assert_eq!(
                refused(&request("GET", b"/", &[(b"a", value)], b"")),
                Unsendable::HeaderValue
            );
        }
        let id = Request {
            id: Bytes::from_static(b"a\nb"),
            ..request("GET", b"/", &[], b"")
        };
        assert_eq!(refused(&id), Unsendable::Id);
    }

    #[test]
    fn names_that_the_sender_computes_cannot_be_configured() {
        for name in [
            "host",
            "Content-Length",
            "connection",
            "transfer-encoding",
            "te",
        ] {
            assert_eq!(
                FieldName::parse(name),
                Err(FieldError::Computed(name.to_owned()))
            );
        }
        assert_eq!(
            FieldName::parse("a b"),
            Err(FieldError::Name("a b".to_owned()))
        );
        assert_eq!(FieldName::parse("X-Id").unwrap().to_string(), "x-id");
    }

    proptest! {
        #[test]
        fn whatever_is_captured_becomes_one_request_or_none(
            method in "[A-Z]{0,4}",
            target in proptest::collection::vec(any::<u8>(), 0..12),
            fields in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 0..4), proptest::collection::vec(any::<u8>(), 0..6)),
                0..6,
            ),
            body in proptest::collection::vec(any::<u8>(), 0..4),
        ) {
            let fields: Vec<(&[u8], &[u8])> = fields.iter().map(|(n, v)| (&n[..], &v[..])).collect();
            let request = request(&method, &target, &fields, &body);
            let mut out = Vec::new();
            if write_head(&request, &Rewrite::default(), "t", NOW, &mut out).is_ok() {
                let text = out.escape_ascii().to_string();
                prop_assert_eq!(text.matches("\\r\\n\\r\\n").count(), 1);
                prop_assert!(text.ends_with("\\r\\n\\r\\n"));
                let lines = out.iter().filter(|b| **b == b'\n').count();
                prop_assert!(lines <= fields.len() + 5, "{} lines", lines);
            }
        }

        #[test]
        fn a_number_is_written_as_the_standard_library_writes_it(number in any::<usize>()) {
            let mut digits = [0; 20];
            let written = decimal(number, &mut digits);
            prop_assert_eq!(std::str::from_utf8(written).unwrap(), number.to_string());
        }
    }
}
