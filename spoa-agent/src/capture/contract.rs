//! The contract with HAProxy's configuration: which SPOE messages there are, and which arguments
//! they carry. `haproxy/README.md` has it as a table, and `haproxy-config` writes it.
//!
//! Nothing is copied: what comes out borrows from HAProxy's frame.

use std::net::IpAddr;

use exchange::{Body, Credentials, Endpoint, Header, Headers, Request, Response, Tls};
use spop_codec::notify::{Args, Message};
use spop_codec::{DecodeError, Value, hdrs};

use crate::telemetry::metrics::HalfKind;

/// The contract's version, as the argument `v` tells it.
pub const VERSION: i64 = 1;

/// The messages of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `capture-request`.
    Request,
    /// `capture-request-held`: the ACK waits until the half is durable.
    HeldRequest,
    /// `capture-response`.
    Response,
}

impl Kind {
    /// The kind of the message of that name.
    #[must_use]
    pub const fn of(name: &[u8]) -> Option<Self> {
        match name {
            b"capture-request" => Some(Self::Request),
            b"capture-request-held" => Some(Self::HeldRequest),
            b"capture-response" => Some(Self::Response),
            _ => None,
        }
    }

    /// The message's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "capture-request",
            Self::HeldRequest => "capture-request-held",
            Self::Response => "capture-response",
        }
    }

    /// The half that it tells.
    #[must_use]
    pub const fn half(self) -> HalfKind {
        match self {
            Self::Request | Self::HeldRequest => HalfKind::Request,
            Self::Response => HalfKind::Response,
        }
    }
}

/// Why a message is not a half.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContractError {
    /// A message that the contract does not have.
    #[error(
        "message {name:?} is not part of the contract; write HAProxy's configuration with `spoa-agent haproxy-config`"
    )]
    UnknownMessage {
        /// Its name.
        name: String,
    },
    /// The configuration was written for another version of the agent.
    #[error(
        "argument v is {found}, and this agent speaks version {VERSION} of the contract; write HAProxy's configuration with this agent's `haproxy-config`"
    )]
    Version {
        /// What it says.
        found: i64,
    },
    /// An argument is not there, or without a value.
    #[error("argument {name} is missing")]
    Missing {
        /// Its name.
        name: &'static str,
    },
    /// An argument has another type, or a value that cannot be.
    #[error("argument {name} holds {found}, and {expected} belongs there")]
    Unfit {
        /// Its name.
        name: &'static str,
        /// What it holds.
        found: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// The header block cannot be read.
    #[error("argument hd is not a header block: {0}")]
    Headers(DecodeError),
    /// The frame itself is malformed. This one is the connection's fault, not the configuration's.
    #[error(transparent)]
    Frame(#[from] DecodeError),
}

/// Reads a request half. Credential headers are masked.
///
/// # Errors
/// When the message does not keep the contract.
pub fn request<'a>(
    message: &Message<'a>,
    held: bool,
    mask: Option<&Credentials>,
) -> Result<Request<&'a [u8]>, ContractError> {
    let mut request = Request {
        held,
        ..Request::default()
    };
    let mut common = Common::default();
    let (mut method, mut target) = (None, None);
    let (mut client, mut local) = (Address::default(), Address::default());
    let mut encrypted = false;
    let mut tls = Tls::default();
    for arg in message.args.clone() {
        let (name, value) = arg?;
        match name {
            b"cip" => client.ip = value.as_ip(),
            b"cport" => client.port = port("cport", value)?,
            b"sip" => local.ip = value.as_ip(),
            b"sport" => local.port = port("sport", value)?,
            b"fe" => request.frontend = bytes("fe", value)?.unwrap_or_default(),
            b"tls" => encrypted = value.as_bool().unwrap_or(false),
            b"sni" => tls.server_name = bytes("sni", value)?.unwrap_or_default(),
            b"tlsv" => tls.version = bytes("tlsv", value)?.unwrap_or_default(),
            b"cipher" => tls.cipher = bytes("cipher", value)?.unwrap_or_default(),
            b"m" => method = bytes("m", value)?,
            b"pq" => target = bytes("pq", value)?,
            _ => common.take(name, value, mask)?,
        }
    }
    let parts = common.parts()?;
    request.id = parts.id;
    request.time_us = parts.time_us;
    request.client = client.endpoint();
    request.local = local.endpoint();
    request.tls = encrypted.then_some(tls);
    request.version = parts.version;
    request.method = required("m", method)?;
    request.target = required("pq", target)?;
    request.headers = parts.headers;
    request.body = parts.body;
    Ok(request)
}

/// Reads a response half. Credential headers are masked.
///
/// # Errors
/// When the message does not keep the contract.
pub fn response<'a>(
    message: &Message<'a>,
    mask: Option<&Credentials>,
) -> Result<Response<&'a [u8]>, ContractError> {
    let mut response = Response::default();
    let mut common = Common::default();
    let mut status = None;
    for arg in message.args.clone() {
        let (name, value) = arg?;
        match name {
            b"t0" => response.request_time_us = unsigned("t0", value)?,
            b"be" => response.backend = bytes("be", value)?.unwrap_or_default(),
            b"srv" => response.server = bytes("srv", value)?.unwrap_or_default(),
            b"st" => status = code("st", value)?,
            b"sst" => response.server_status = code("sst", value)?,
            b"tw" => response.timers.queue_ms = millis(value),
            b"tc" => response.timers.connect_ms = millis(value),
            b"tr" => response.timers.response_ms = millis(value),
            _ => common.take(name, value, mask)?,
        }
    }
    let parts = common.parts()?;
    response.id = parts.id;
    response.time_us = parts.time_us;
    response.status = required("st", status)?;
    response.version = parts.version;
    response.headers = parts.headers;
    response.body = parts.body;
    Ok(response)
}

/// The first argument that the contract does not have. Such arguments are skipped.
pub fn unknown_argument<'a>(kind: Kind, args: Args<'a>) -> Option<&'a [u8]> {
    const COMMON: &[&[u8]] = &[
        b"v", b"id", b"ts", b"ver", b"hd", b"bs", b"bl", b"eom", b"body",
    ];
    const REQUEST: &[&[u8]] = &[
        b"cip", b"cport", b"sip", b"sport", b"fe", b"tls", b"sni", b"tlsv", b"cipher", b"m", b"pq",
    ];
    const RESPONSE: &[&[u8]] = &[b"t0", b"be", b"srv", b"st", b"sst", b"tw", b"tc", b"tr"];
    let own = if kind == Kind::Response {
        RESPONSE
    } else {
        REQUEST
    };
    args.map_while(Result::ok)
        .map(|(name, _)| name)
        .find(|name| !COMMON.contains(name) && !own.contains(name))
}

/// The arguments that both messages have.
#[derive(Default)]
struct Common<'a> {
    version: Option<i64>,
    id: Option<&'a [u8]>,
    time_us: Option<u64>,
    http_version: Option<&'a [u8]>,
    headers: Option<Headers<&'a [u8]>>,
    ended: Option<bool>,
    body: Option<&'a [u8]>,
    body_length: Option<u64>,
}

struct Parts<'a> {
    id: &'a [u8],
    time_us: u64,
    version: &'a [u8],
    headers: Headers<&'a [u8]>,
    body: Body<&'a [u8]>,
}

impl<'a> Common<'a> {
    fn take(
        &mut self,
        name: &[u8],
        value: Value<'a>,
        mask: Option<&Credentials>,
    ) -> Result<(), ContractError> {
        match name {
            b"v" => self.version = value.as_int(),
            b"id" => self.id = bytes("id", value)?,
            b"ts" => self.time_us = unsigned("ts", value)?,
            b"ver" => self.http_version = bytes("ver", value)?,
            b"hd" => {
                let block = bytes("hd", value)?.unwrap_or_default();
                self.headers = Some(headers(block, mask).map_err(ContractError::Headers)?);
            }
            b"bl" => self.body_length = unsigned("bl", value)?,
            b"eom" => self.ended = value.as_bool(),
            b"body" => self.body = Some(bytes("body", value)?.unwrap_or_default()),
            // `bs` repeats `content-length` where there is one, and is a lower bound where there is
            // none (measured on 2.6.12 and 3.5-dev), so it decides nothing here.
            _ => {}
        }
        Ok(())
    }

    fn parts(self) -> Result<Parts<'a>, ContractError> {
        let found = required("v", self.version)?;
        if found != VERSION {
            return Err(ContractError::Version { found });
        }
        let id = required("id", self.id)?;
        if id.is_empty() {
            return Err(ContractError::Missing { name: "id" });
        }
        let headers = required("hd", self.headers)?;
        let content = required("body", self.body)?;
        let ended = required("eom", self.ended)?;
        let length = required("bl", self.body_length)?;
        if length != content.len() as u64 {
            return Err(ContractError::Unfit {
                name: "bl",
                found: length.to_string(),
                expected: "the length of the argument body",
            });
        }
        let body = Body::observed(content, ended, headers.content_length());
        Ok(Parts {
            id,
            time_us: required("ts", self.time_us)?,
            version: required("ver", self.http_version)?,
            headers,
            body,
        })
    }
}

#[derive(Default)]
struct Address {
    ip: Option<IpAddr>,
    port: u16,
}

impl Address {
    fn endpoint(self) -> Option<Endpoint> {
        self.ip.map(|ip| Endpoint {
            ip,
            port: self.port,
        })
    }
}

/// A client or server sends a few dozen header fields at most; more than this makes one allocation more.
const USUAL_HEADERS: usize = 16;

fn headers<'a>(
    block: &'a [u8],
    mask: Option<&Credentials>,
) -> Result<Headers<&'a [u8]>, DecodeError> {
    let mut fields = Vec::with_capacity(USUAL_HEADERS);
    for field in hdrs::headers(block) {
        let (name, value) = field?;
        let masked = mask.is_some_and(|credentials| credentials.cover(name));
        let value = if masked {
            exchange::headers::MASK
        } else {
            value
        };
        fields.push(Header { name, value });
    }
    Ok(Headers(fields))
}

fn required<T>(name: &'static str, value: Option<T>) -> Result<T, ContractError> {
    value.ok_or(ContractError::Missing { name })
}

fn bytes<'a>(name: &'static str, value: Value<'a>) -> Result<Option<&'a [u8]>, ContractError> {
    if value.is_null() {
        return Ok(None);
    }
    let bytes = value
        .as_bytes()
        .ok_or_else(|| unfit(name, value, "a string"))?;
    Ok(Some(bytes))
}

fn unsigned(name: &'static str, value: Value<'_>) -> Result<Option<u64>, ContractError> {
    if value.is_null() {
        return Ok(None);
    }
    let number = value.as_int().and_then(|number| u64::try_from(number).ok());
    number
        .map(Some)
        .ok_or_else(|| unfit(name, value, "a number from 0"))
}

fn port(name: &'static str, value: Value<'_>) -> Result<u16, ContractError> {
    let number = unsigned(name, value)?.unwrap_or(0);
    u16::try_from(number).map_err(|_| unfit(name, value, "a port"))
}

fn code(name: &'static str, value: Value<'_>) -> Result<Option<u16>, ContractError> {
    let Some(number) = unsigned(name, value)? else {
        return Ok(None);
    };
    u16::try_from(number)
        .map(Some)
        .map_err(|_| unfit(name, value, "a status code"))
}

/// HAProxy tells -1 for a time that it does not know.
fn millis(value: Value<'_>) -> Option<u32> {
    value.as_int().and_then(|number| u32::try_from(number).ok())
}

/// Says the type, and the value only of numbers: a string may be a secret.
fn unfit(name: &'static str, value: Value<'_>, expected: &'static str) -> ContractError {
    let found = match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Ipv4(_) | Value::Ipv6(_) => "an address".to_owned(),
        Value::Str(_) => "a string".to_owned(),
        Value::Bin(_) => "binary data".to_owned(),
        number => number
            .as_int()
            .map_or_else(|| "a number".to_owned(), |n| n.to_string()),
    };
    ContractError::Unfit {
        name,
        found,
        expected,
    }
}
