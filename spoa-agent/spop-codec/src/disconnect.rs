//! DISCONNECT, of either side: how a connection ends (SPOE.txt 3.2.8 and 3.2.9).
//!
//! The agent answers HAProxy's with its own and closes; after its own it closes at once. HAProxy
//! 2.6 sends it on idle and on old connections with status 0 or 1 (measured): that is everyday
//! life, not an error.

use bytes::BufMut;

use crate::error::DecodeError;
use crate::frame::{FrameKind, encode_list};
use crate::kv;
use crate::status::Status;
use crate::value::Value;

const STATUS_CODE: &[u8] = b"status-code";
const MESSAGE: &[u8] = b"message";

/// The payload of HAPROXY-DISCONNECT and AGENT-DISCONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Why.
    pub status: Status,
    /// The same in words. Bytes, like any string of the protocol.
    pub message: &'a [u8],
}

impl<'a> Disconnect<'a> {
    /// The most bytes of message that are written. So the frame fits in the
    /// least max-frame-size (256); besides, HAProxy 2.6 refuses messages above 255 bytes.
    pub const MESSAGE_LIMIT: usize = 200;

    /// Reads the payload of a DISCONNECT. The peer leaves either way, so that what is missing is
    /// forgiven: the status becomes [`Status::Unknown`], the message empty. Unknown items are
    /// skipped.
    ///
    /// # Errors
    ///
    /// Fails when the list is malformed or a known item has a wrong type.
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut disconnect = Self {
            status: Status::Unknown,
            message: b"",
        };
        for item in kv::items(payload) {
            let (name, value) = item?;
            match name {
                STATUS_CODE => disconnect.status = status(value)?,
                MESSAGE => {
                    disconnect.message =
                        value.as_bytes().ok_or(DecodeError::WrongType("message"))?;
                }
                _ => {}
            }
        }
        Ok(disconnect)
    }

    /// Appends one whole AGENT-DISCONNECT frame, with its length prefix, to `out`. The message is
    /// cut to [`MESSAGE_LIMIT`](Self::MESSAGE_LIMIT) bytes.
    pub fn encode_agent(&self, out: &mut impl BufMut) {
        self.encode(out, FrameKind::AgentDisconnect);
    }

    /// Appends one whole HAPROXY-DISCONNECT frame, with its length prefix, to `out`. The message
    /// is cut to [`MESSAGE_LIMIT`](Self::MESSAGE_LIMIT) bytes.
    pub fn encode_haproxy(&self, out: &mut impl BufMut) {
        self.encode(out, FrameKind::HaproxyDisconnect);
    }

    fn encode(&self, out: &mut impl BufMut, kind: FrameKind) {
        let message = self
            .message
            .get(..Self::MESSAGE_LIMIT)
            .unwrap_or(self.message);
        let items = [
            (STATUS_CODE, Value::Uint32(self.status.code())),
            (MESSAGE, Value::Str(message)),
        ];
        encode_list(out, kind, &items);
    }
}

fn status(value: Value<'_>) -> Result<Status, DecodeError> {
    let code = value.as_int().and_then(|code| u32::try_from(code).ok());
    code.map(Status::from)
        .ok_or(DecodeError::WrongType("status-code"))
}
