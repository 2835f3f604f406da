//! Writes a half as protobuf from borrowed bytes.
//!
//! The same description of a message runs twice: once into a [`Count`], for the length that
//! protobuf wants in front of an embedded message, and once into the buffer.

use std::net::IpAddr;
use std::ops::Range;

use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::{Content, Envelope};
use crate::{
    Body, Dropped, Endpoint, Exchange, Extent, Gap, Half, Header, Pair, Request, Response,
    Rewritten, Sending, Timers, Tls,
};

/// The length of the whole record.
pub(super) fn length<B: AsRef<[u8]>>(half: &Half<B>) -> usize {
    let mut count = Count(0);
    half.write(&mut count);
    count.0
}

/// Appends the whole record.
pub(super) fn record<B: AsRef<[u8]>>(half: &Half<B>, out: &mut Vec<u8>) {
    half.write(out);
}

/// Appends a whole Kafka message.
pub(super) fn envelope(envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    envelope.write(out);
}

/// Where fields go. Fields that hold their default are left out, as proto3 does.
trait Sink: Sized {
    fn varint_always(&mut self, tag: u32, value: u64);
    fn bytes_always(&mut self, tag: u32, value: &[u8]);
    fn message_always(&mut self, tag: u32, message: &impl Message);

    fn varint(&mut self, tag: u32, value: u64) {
        if value != 0 {
            self.varint_always(tag, value);
        }
    }

    fn bytes(&mut self, tag: u32, value: &[u8]) {
        if !value.is_empty() {
            self.bytes_always(tag, value);
        }
    }

    fn optional(&mut self, tag: u32, value: Option<u64>) {
        if let Some(value) = value {
            self.varint_always(tag, value);
        }
    }

    fn message(&mut self, tag: u32, message: Option<&impl Message>) {
        if let Some(message) = message {
            self.message_always(tag, message);
        }
    }
}

/// Something with fields.
trait Message {
    fn write(&self, sink: &mut impl Sink);
}

struct Count(usize);

impl Sink for Count {
    fn varint_always(&mut self, tag: u32, value: u64) {
        self.0 += key_len(tag) + encoded_len_varint(value);
    }

    fn bytes_always(&mut self, tag: u32, value: &[u8]) {
        self.0 += key_len(tag) + encoded_len_varint(value.len() as u64) + value.len();
    }

    fn message_always(&mut self, tag: u32, message: &impl Message) {
        let before = self.0;
        message.write(self);
        let inner = self.0 - before;
        self.0 += key_len(tag) + encoded_len_varint(inner as u64);
    }
}

impl Sink for Vec<u8> {
    fn varint_always(&mut self, tag: u32, value: u64) {
        encode_key(tag, WireType::Varint, self);
        encode_varint(value, self);
    }

    fn bytes_always(&mut self, tag: u32, value: &[u8]) {
        encode_key(tag, WireType::LengthDelimited, self);
        encode_varint(value.len() as u64, self);
        self.extend_from_slice(value);
    }

    fn message_always(&mut self, tag: u32, message: &impl Message) {
        let mut count = Count(0);
        message.write(&mut count);
        encode_key(tag, WireType::LengthDelimited, self);
        encode_varint(count.0 as u64, self);
        message.write(self);
    }
}

impl<B: AsRef<[u8]>> Message for Half<B> {
    fn write(&self, sink: &mut impl Sink) {
        match self {
            Self::Request(request) => sink.message_always(1, request),
            Self::Response(response) => sink.message_always(2, response),
            Self::Gap(gap) => sink.message_always(3, gap),
            Self::Pair(pair) => sink.message_always(4, pair.as_ref()),
        }
    }
}

impl Message for Envelope<'_> {
    fn write(&self, sink: &mut impl Sink) {
        sink.bytes(1, self.agent.as_bytes());
        sink.varint(2, self.begun);
        sink.varint(3, self.complete);
        match self.content {
            Content::Exchange(exchange) => sink.message_always(4, exchange),
            Content::Request(request) => sink.message_always(5, request),
            Content::Pair(pair) => sink.message_always(6, pair),
            Content::Gap(gap) => sink.message_always(7, gap),
        }
    }
}

impl Message for Exchange {
    fn write(&self, sink: &mut impl Sink) {
        sink.varint(1, self.position);
        sink.message(2, self.request.as_ref());
        sink.message(3, self.response.as_ref());
    }
}

impl<B: AsRef<[u8]>> Message for Request<B> {
    fn write(&self, sink: &mut impl Sink) {
        sink.bytes(1, self.id.as_ref());
        sink.varint(2, self.time_us);
        sink.message(3, self.client.as_ref());
        sink.message(4, self.local.as_ref());
        sink.bytes(5, self.frontend.as_ref());
        sink.message(6, self.tls.as_ref());
        sink.bytes(7, self.version.as_ref());
        sink.bytes(8, self.method.as_ref());
        sink.bytes(9, self.target.as_ref());
        for header in &self.headers {
            sink.message_always(10, header);
        }
        sink.message_always(11, &self.body);
        sink.varint(12, self.held.into());
    }
}

impl<B: AsRef<[u8]>> Message for Response<B> {
    fn write(&self, sink: &mut impl Sink) {
        sink.bytes(1, self.id.as_ref());
        sink.varint(2, self.time_us);
        sink.varint(3, self.request_time_us.unwrap_or(0));
        sink.bytes(4, self.backend.as_ref());
        sink.bytes(5, self.server.as_ref());
        sink.varint(6, self.status.into());
        sink.varint(7, self.server_status.unwrap_or(0).into());
        sink.bytes(8, self.version.as_ref());
        for header in &self.headers {
            sink.message_always(9, header);
        }
        sink.message_always(10, &self.body);
        if self.timers != Timers::default() {
            sink.message_always(11, &self.timers);
        }
    }
}

impl Message for Gap {
    fn write(&self, sink: &mut impl Sink) {
        sink.varint(1, self.from_us);
        sink.varint(2, self.to_us);
        sink.varint(3, self.requests);
        sink.varint(4, self.responses);
        sink.bytes(5, self.reason.as_bytes());
    }
}

impl<B: AsRef<[u8]>> Message for Pair<B> {
    fn write(&self, sink: &mut impl Sink) {
        sink.varint(1, self.position);
        sink.bytes(2, self.target.as_bytes());
        sink.bytes(3, self.api.as_bytes());
        sink.message(4, self.dropped.as_ref());
        sink.message_always(5, &self.request);
        for change in &self.changes {
            sink.bytes_always(6, change.as_bytes());
        }
        sink.message(7, self.rewritten.as_ref());
        for items in &self.items {
            sink.message_always(8, items);
        }
        sink.varint(9, self.more.into());
        sink.message(10, self.primary.as_ref());
        sink.message(11, self.shadow.as_ref());
        sink.message_always(12, &self.sending);
    }
}

impl Message for Dropped {
    fn write(&self, sink: &mut impl Sink) {
        sink.bytes(1, self.reason.as_bytes());
        sink.bytes(2, self.cause.as_bytes());
    }
}

impl<B: AsRef<[u8]>> Message for Rewritten<B> {
    fn write(&self, sink: &mut impl Sink) {
        if let Some(target) = &self.target {
            sink.bytes_always(1, target.as_ref());
        }
        for header in &self.removed {
            sink.message_always(2, header);
        }
        for header in &self.added {
            sink.message_always(3, header);
        }
        sink.message(4, self.body.as_ref());
    }
}

impl Message for Range<u32> {
    fn write(&self, sink: &mut impl Sink) {
        sink.varint(1, self.start.into());
        sink.varint(2, self.end.saturating_sub(self.start).into());
    }
}

impl Message for Sending {
    fn write(&self, sink: &mut impl Sink) {
        sink.varint(1, self.attempts.into());
        sink.optional(2, self.due_us);
        sink.varint(3, self.began_us);
        sink.varint(4, self.ended_us);
        sink.varint(5, self.connect_us);
        sink.optional(6, self.first_byte_us);
        sink.varint(7, self.end_us);
    }
}

impl Message for Endpoint {
    fn write(&self, sink: &mut impl Sink) {
        match self.ip {
            IpAddr::V4(ip) => sink.bytes_always(1, &ip.octets()),
            IpAddr::V6(ip) => sink.bytes_always(1, &ip.octets()),
        }
        sink.varint(2, self.port.into());
    }
}

impl<B: AsRef<[u8]>> Message for Tls<B> {
    fn write(&self, sink: &mut impl Sink) {
        sink.bytes(1, self.version.as_ref());
        sink.bytes(2, self.cipher.as_ref());
        sink.bytes(3, self.server_name.as_ref());
    }
}

impl<B: AsRef<[u8]>> Message for Header<B> {
    fn write(&self, sink: &mut impl Sink) {
        sink.bytes(1, self.name.as_ref());
        sink.bytes(2, self.value.as_ref());
    }
}

impl<B: AsRef<[u8]>> Message for Body<B> {
    fn write(&self, sink: &mut impl Sink) {
        sink.bytes(1, self.content.as_ref());
        let extent = match self.extent {
            Extent::Whole => 0,
            Extent::Cut { .. } => 1,
            Extent::NotCaptured { .. } => 2,
        };
        sink.varint(2, extent);
        sink.optional(3, self.extent.missing());
    }
}

impl Message for Timers {
    fn write(&self, sink: &mut impl Sink) {
        sink.optional(1, self.queue_ms.map(u64::from));
        sink.optional(2, self.connect_ms.map(u64::from));
        sink.optional(3, self.response_ms.map(u64::from));
    }
}
