//! What HAProxy saw, as values: a [`Half`] is what one SPOE message tells, an [`Exchange`] is a
//! request with its response under one id, a [`Pair`] an exchange as the primary and as the shadow answered it.
//! All say how much of a [`Body`] they hold.
//!
//! This crate does no I/O. Where the values come from is `capture`'s business, where they are kept
//! the `journal`'s. It has three encodings of them: [`record`], the protobuf of the journal,
//! [`json`], the lines of the traffic log and of the pair log, and [`message`], what Kafka carries.
//!
//! Everything that came from a client or a server is bytes, never text: a URL, a header value or a
//! body need not be UTF-8. The types are generic over what holds the bytes: `&[u8]` while a half
//! is still inside HAProxy's frame, [`bytes::Bytes`] (the default) once it was read from a record.
//!
//! Reading order: [`body`], [`headers`], [`half`], [`exchange`](mod@crate::exchange), [`pair`], [`record`],
//! [`json`], [`message`], [`operation`].

pub mod body;
pub mod exchange;
pub mod half;
pub mod headers;
pub mod json;
pub mod message;
pub mod operation;
pub mod pair;
pub mod record;

pub use body::{Body, Extent};
pub use exchange::Exchange;
pub use half::{Endpoint, Gap, Half, Request, Response, Timers, Tls};
pub use headers::{Credentials, Header, Headers};
pub use pair::{Dropped, Pair, Rewritten, Sending, Word};
