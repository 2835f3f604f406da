//! The Stream Processing Offload Protocol (SPOP) of HAProxy, without I/O and without a runtime.
//!
//! HAProxy's SPOE filter tells an *agent* what it sees (NOTIFY), and the agent answers with
//! variables to set (ACK). This crate turns those bytes into values and back, for both sides, so
//! that it can be an agent and can play HAProxy in a test. It never opens a socket, never waits,
//! never copies a body, and never panics on bytes from outside: they are decoded, or refused with
//! a [`DecodeError`] that knows the [`Status`] to put in the DISCONNECT.
//!
//! Read in this order:
//!
//! 1. [`frame`]: cut the byte stream into frames, and read a frame's header.
//! 2. [`handshake`]: HELLO, for both sides, as state machines.
//! 3. [`notify`]: messages and their arguments, borrowed from the frame.
//! 4. [`ack`]: the actions of an answer, encoded once and repeated for each NOTIFY.
//! 5. [`disconnect`] and [`status`]: how a connection ends, and why.
//!
//! Below these lie [`value`] (typed data), [`kv`] (key-value lists), [`varint`], and, for the
//! fetches `req.hdrs_bin` and `res.hdrs_bin`, [`hdrs`].
//!
//! The protocol is described in section 3 of HAProxy's `doc/SPOE.txt`. Where that text is silent
//! or HAProxy differs from it, the docs here say "measured" and on which version.
//!
//! ```
//! use bytes::BytesMut;
//! use spop_codec::ack::{self, Actions};
//! use spop_codec::frame::{self, Frame, FrameKind};
//! use spop_codec::notify::{self, NewMessage};
//! use spop_codec::{FrameId, StreamId, Value};
//!
//! // What HAProxy would send.
//! let mut wire = BytesMut::new();
//! let args = [(b"method".as_slice(), Value::Str(b"GET")), (b"port", Value::Int64(9200))];
//! let request = NewMessage { name: b"request", args: &args };
//! notify::encode(&mut wire, StreamId(7), FrameId(1), &[request])?;
//!
//! // What an agent does with it.
//! let mut answer = BytesMut::new();
//! let nothing_to_set = Actions::harmless();
//! while let Some(bytes) = frame::cut(&mut wire, 16_380)? {
//!     let frame = Frame::decode(&bytes)?;
//!     assert_eq!(frame.kind, FrameKind::Notify);
//!     for message in notify::messages(frame.payload) {
//!         for arg in message?.args {
//!             let (name, value) = arg?;
//!             println!("{} = {value:?}", String::from_utf8_lossy(name));
//!         }
//!     }
//!     ack::encode(&mut answer, frame.stream_id, frame.frame_id, &nothing_to_set);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod ack;
pub mod disconnect;
mod error;
pub mod frame;
pub mod handshake;
pub mod hdrs;
pub mod hello;
pub mod kv;
pub mod notify;
pub mod status;
pub mod value;
pub mod varint;

pub use disconnect::Disconnect;
pub use error::{DecodeError, EncodeError};
pub use frame::{Flags, Frame, FrameId, FrameKind, StreamId};
pub use status::Status;
pub use value::Value;

/// Runs the README's example with the other doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
