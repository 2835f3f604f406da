//! A half of an exchange: what one SPOE message tells.

use std::net::IpAddr;

use bytes::Bytes;

use crate::{Body, Headers, Pair};

/// One record of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Half<B = Bytes> {
    /// The request half.
    Request(Request<B>),
    /// The response half.
    Response(Response<B>),
    /// Not a half, but the mark that some are lost.
    Gap(Gap),
    /// Not a half either, but what became of a whole exchange at the shadow.
    Pair(Box<Pair<B>>),
}

/// The request half, as HAProxy received it from the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request<B = Bytes> {
    /// The exchange's id: HAProxy's `unique-id`, the same in both halves.
    pub id: B,
    /// Unix time in microseconds, by HAProxy's clock.
    pub time_us: u64,
    /// The client. `None` when it came over a Unix socket.
    pub client: Option<Endpoint>,
    /// The address that the client connected to. `None` for a Unix socket.
    pub local: Option<Endpoint>,
    /// HAProxy's name of the frontend.
    pub frontend: B,
    /// `None` when the client's connection was not encrypted.
    pub tls: Option<Tls<B>>,
    /// `1.0`, `1.1`, `2.0` or `3.0`.
    pub version: B,
    /// The method, in the case in which the client wrote it.
    pub method: B,
    /// The request target (RFC 9112, 3.2), byte for byte.
    pub target: B,
    /// The header fields, credentials masked.
    pub headers: Headers<B>,
    /// The body.
    pub body: Body<B>,
    /// HAProxy held the request until this half was durable, or the deadline of the hold passed.
    pub held: bool,
}

/// The response half, as HAProxy received it from the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response<B = Bytes> {
    /// The exchange's id.
    pub id: B,
    /// Unix time in microseconds, by HAProxy's clock, when the message was sent.
    pub time_us: u64,
    /// The request's time, told again. `None` when HAProxy did not tell it.
    pub request_time_us: Option<u64>,
    /// HAProxy's name of the backend.
    pub backend: B,
    /// HAProxy's name of the server.
    pub server: B,
    /// The status code, as the client saw it.
    pub status: u16,
    /// The status code, as the server sent it, where HAProxy tells it (3.0 and later).
    pub server_status: Option<u16>,
    /// `1.0`, `1.1`, `2.0` or `3.0`.
    pub version: B,
    /// The header fields, credentials masked.
    pub headers: Headers<B>,
    /// The body.
    pub body: Body<B>,
    /// What HAProxy measured (3.0 and later).
    pub timers: Timers,
}

/// Halves that reached the agent and of which no record could be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// Unix time in microseconds, by the agent's clock, of the first of them.
    pub from_us: u64,
    /// Unix time in microseconds of the last of them.
    pub to_us: u64,
    /// Request halves lost.
    pub requests: u64,
    /// Response halves lost.
    pub responses: u64,
    /// The word that the ledger counts them under.
    pub reason: String,
}

/// An address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// IPv4 or IPv6.
    pub ip: IpAddr,
    /// The port, 0 when HAProxy did not tell it.
    pub port: u16,
}

/// What HAProxy knows of the client's TLS connection. Empty where it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tls<B = Bytes> {
    /// For example `TLSv1.3`.
    pub version: B,
    /// For example `TLS_AES_256_GCM_SHA384`.
    pub cipher: B,
    /// The name that the client asked for (SNI).
    pub server_name: B,
}

/// Milliseconds that HAProxy measured for a request (configuration manual, 8.4 "Timing events").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timers {
    /// `Tw`: waiting in queues.
    pub queue_ms: Option<u32>,
    /// `Tc`: connecting to the server.
    pub connect_ms: Option<u32>,
    /// `Tr`: from the connection to the response's headers.
    pub response_ms: Option<u32>,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::net::SocketAddr::new(self.ip, self.port).fmt(f)
    }
}

impl<B> Half<B> {
    /// Unix time in microseconds: HAProxy's for a half, the agent's for a gap and for the end of a pair.
    #[must_use]
    pub fn time_us(&self) -> u64 {
        match self {
            Self::Request(request) => request.time_us,
            Self::Response(response) => response.time_us,
            Self::Gap(gap) => gap.to_us,
            Self::Pair(pair) => pair.sending.ended_us,
        }
    }

    /// The exchange's id. A gap has none.
    #[must_use]
    pub fn id(&self) -> Option<&B> {
        match self {
            Self::Request(request) => Some(&request.id),
            Self::Response(response) => Some(&response.id),
            Self::Pair(pair) => Some(pair.id()),
            Self::Gap(_) => None,
        }
    }
}
