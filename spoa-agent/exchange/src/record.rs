//! The encoding of the journal: protobuf, as `proto/record.proto` says.
//!
//! Written by hand from borrowed bytes, so that a half goes from HAProxy's frame into the journal's
//! buffer in one copy; read by the generated code in [`wire`], so that fields of a newer version are
//! skipped as protobuf demands. A test holds the two against each other.

use std::net::IpAddr;

use bytes::Bytes;
use prost::Message as _;

use crate::{Body, Endpoint, Extent, Gap, Half, Header, Headers, Request, Response, Timers, Tls};

mod encode;
#[rustfmt::skip]
#[allow(
    clippy::all, missing_docs, unreachable_pub, unused_qualifications,
    reason = "generated from proto/record.proto; the test `generated_code_is_up_to_date` makes it anew"
)]
pub mod wire;

/// Why bytes are not a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Not protobuf, or not of this schema.
    #[error("the record is not a half of an exchange: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// A record of a kind that this version does not know.
    #[error(
        "the record is of a kind that this version does not know; read it with a newer spoa-agent"
    )]
    UnknownKind,
    /// A field whose value is out of its range.
    #[error("the record's field {field} holds {value}, which is out of range")]
    OutOfRange {
        /// The field's name in `record.proto`.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
}

impl<B: AsRef<[u8]>> Half<B> {
    /// The length of the encoded record in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        encode::length(self)
    }

    /// Appends the record to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode::record(self, out);
    }
}

impl Half<Bytes> {
    /// Reads a record. The half's bytes are slices of `record`: nothing is copied.
    ///
    /// # Errors
    /// When the bytes are not a record of a kind and shape that this version knows.
    pub fn decode(record: Bytes) -> Result<Self, RecordError> {
        match wire::Record::decode(record)?.kind {
            Some(wire::record::Kind::Request(request)) => request.try_into().map(Self::Request),
            Some(wire::record::Kind::Response(response)) => response.try_into().map(Self::Response),
            Some(wire::record::Kind::Gap(gap)) => Ok(Self::Gap(gap.into())),
            None => Err(RecordError::UnknownKind),
        }
    }
}

impl TryFrom<wire::Request> for Request {
    type Error = RecordError;

    fn try_from(wire: wire::Request) -> Result<Self, RecordError> {
        Ok(Self {
            id: wire.id,
            time_us: wire.time_us,
            client: wire.client.map(endpoint).transpose()?,
            local: wire.local.map(endpoint).transpose()?,
            frontend: wire.frontend,
            tls: wire.tls.map(|tls| Tls {
                version: tls.version,
                cipher: tls.cipher,
                server_name: tls.server_name,
            }),
            version: wire.version,
            method: wire.method,
            target: wire.target,
            headers: headers(wire.headers),
            body: body(wire.body)?,
            held: wire.held,
        })
    }
}

impl TryFrom<wire::Response> for Response {
    type Error = RecordError;

    fn try_from(wire: wire::Response) -> Result<Self, RecordError> {
        let timers = wire.timers.unwrap_or_default();
        Ok(Self {
            id: wire.id,
            time_us: wire.time_us,
            request_time_us: (wire.request_time_us != 0).then_some(wire.request_time_us),
            backend: wire.backend,
            server: wire.server,
            status: status("status", wire.status)?,
            server_status: match wire.server_status {
                0 => None,
                code => Some(status("server_status", code)?),
            },
            version: wire.version,
            headers: headers(wire.headers),
            body: body(wire.body)?,
            timers: Timers {
                queue_ms: timers.queue_ms,
                connect_ms: timers.connect_ms,
                response_ms: timers.response_ms,
            },
        })
    }
}

impl From<wire::Gap> for Gap {
    fn from(wire: wire::Gap) -> Self {
        Self {
            from_us: wire.from_us,
            to_us: wire.to_us,
            requests: wire.requests,
            responses: wire.responses,
            reason: wire.reason,
        }
    }
}

fn status(field: &'static str, code: u32) -> Result<u16, RecordError> {
    u16::try_from(code).map_err(|_| RecordError::OutOfRange {
        field,
        value: code.into(),
    })
}

fn headers(fields: Vec<wire::Header>) -> Headers {
    fields
        .into_iter()
        .map(|field| Header {
            name: field.name,
            value: field.value,
        })
        .collect()
}

fn endpoint(wire: wire::Endpoint) -> Result<Endpoint, RecordError> {
    let ip = if let Ok(v4) = <[u8; 4]>::try_from(wire.address.as_ref()) {
        IpAddr::from(v4)
    } else if let Ok(v6) = <[u8; 16]>::try_from(wire.address.as_ref()) {
        IpAddr::from(v6)
    } else {
        let value = wire.address.len() as u64;
        return Err(RecordError::OutOfRange {
            field: "address (its length)",
            value,
        });
    };
    let port = u16::try_from(wire.port).map_err(|_| RecordError::OutOfRange {
        field: "port",
        value: wire.port.into(),
    })?;
    Ok(Endpoint { ip, port })
}

fn body(wire: Option<wire::Body>) -> Result<Body, RecordError> {
    let wire = wire.unwrap_or_default();
    let missing = wire.missing;
    let extent = match wire::Extent::try_from(wire.extent) {
        Ok(wire::Extent::Whole) => Extent::Whole,
        Ok(wire::Extent::Cut) => Extent::Cut { missing },
        Ok(wire::Extent::NotCaptured) => Extent::NotCaptured { missing },
        // A newer version knows more ways in which a body can be incomplete: law 3 forbids to guess "whole".
        Err(_) => {
            let value = u64::from(wire.extent.unsigned_abs());
            return Err(RecordError::OutOfRange {
                field: "extent",
                value,
            });
        }
    };
    Ok(Body {
        content: wire.content,
        extent,
    })
}
