//! The records of the OpenSearch capture proxy: `proto/traffic_stream.proto`.
//!
//! [`writer`] makes of exchanges the bytes of HTTP/1.1 that a proxy on the client's connection would have seen, whatever
//! version of HTTP the client spoke. [`reader`] finds the exchanges in the bytes of connections, ours or a proxy's. [`wire`] is the
//! code that prost generates from the same file; tests hold the hand-written code against it.

mod connection;
mod http;
pub(super) mod observation;
pub(super) mod reader;
#[rustfmt::skip]
#[allow(
    clippy::all, missing_docs, unreachable_pub, unused_qualifications,
    reason = "generated from proto/traffic_stream.proto; the test `generated` makes it anew"
)]
pub mod wire;
pub(super) mod writer;

/// `google.protobuf.Timestamp`: Unix time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Timestamp {
    /// Whole seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// And nanoseconds.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// The numbers of the fields, by hand, as the proto file has them.
mod field {
    pub(super) const CONNECTION_ID: u32 = 1;
    pub(super) const SUB_STREAM: u32 = 2;
    pub(super) const NUMBER: u32 = 3;
    pub(super) const NUMBER_OF_LAST: u32 = 4;
    pub(super) const NODE_ID: u32 = 5;
    pub(super) const PRIOR_REQUESTS: u32 = 6;
    pub(super) const UNTERMINATED_READ: u32 = 7;

    pub(super) const TS: u32 = 1;
    pub(super) const READ: u32 = 4;
    pub(super) const READ_SEGMENT: u32 = 5;
    pub(super) const WRITE: u32 = 8;
    pub(super) const WRITE_SEGMENT: u32 = 9;
    pub(super) const CLOSE: u32 = 11;
    pub(super) const SEGMENT_END: u32 = 14;
    pub(super) const END_OF_MESSAGE: u32 = 15;
    pub(super) const REQUEST_DROPPED: u32 = 16;

    pub(super) const DATA: u32 = 1;
    pub(super) const SEGMENT_DATA: u32 = 2;
    pub(super) const SECONDS: u32 = 1;
    pub(super) const NANOS: u32 = 2;
    pub(super) const FIRST_LINE_LENGTH: u32 = 1;
    pub(super) const HEADERS_LENGTH: u32 = 2;
}
