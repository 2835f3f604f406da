//! ACK: the agent's answer to a NOTIFY, as actions on HAProxy's variables (SPOE.txt 3.2.7, 3.4).
//!
//! Most answers of an agent are the same but for their two identifiers. So [`Actions`] are encoded
//! once, and [`encode`] puts a header before them.
//!
//! HAProxy 3.1.0 loses an ACK without actions and waits for its whole `timeout processing`
//! (measured). [`Actions`] are therefore never empty; who must write an empty ACK, to play such a
//! peer, encodes a [`Frame`](crate::Frame) by hand.

use bytes::BufMut;
use nom::Parser;
use nom::combinator::map_res;
use nom::number::complete::be_u8;

use crate::error::{DecodeError, EncodeError, Parsed};
use crate::frame::{Flags, FrameId, FrameKind, Header, StreamId};
use crate::value::{Value, put_string, string, string_len, value};

const SET_VAR: u8 = 1;
const SET_VAR_ARGS: u8 = 3;
const UNSET_VAR: u8 = 2;
const UNSET_VAR_ARGS: u8 = 2;

/// The variable of [`Actions::harmless`]. HAProxy puts the agent's `var-prefix` before it.
const HARMLESS_NAME: &[u8] = b"noop";

/// Appends one whole ACK frame, with its length prefix, to `out`.
///
/// Write it with one `write`, and on the connection that the NOTIFY came from.
///
/// ```
/// use spop_codec::ack::{self, Actions};
/// use spop_codec::{FrameId, StreamId};
///
/// let actions = Actions::harmless();
/// let mut out = Vec::new();
/// ack::encode(&mut out, StreamId(1), FrameId(1), &actions);
/// assert_eq!(out, b"\0\0\0\x0f\x67\0\0\0\x01\x01\x01\x02\x02\x02\x04noop");
/// ```
pub fn encode(out: &mut impl BufMut, stream_id: StreamId, frame_id: FrameId, actions: &Actions) {
    let header = Header {
        kind: FrameKind::Ack,
        flags: Flags::FIN,
        stream_id,
        frame_id,
    };
    header.encode_short(out, actions.bytes.len());
    out.put_slice(&actions.bytes);
}

/// Actions in their encoded form, ready to be sent any number of times. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actions {
    bytes: Vec<u8>,
}

impl Actions {
    /// The most bytes that the actions of one ACK may have: with any header they fit in the
    /// 16380 bytes of HAProxy's default max-frame-size.
    pub const LIMIT: usize = 16_380 - 25;

    /// What to answer when there is nothing to say: it unsets a transaction variable that nobody
    /// sets.
    #[must_use]
    pub fn harmless() -> Self {
        let mut bytes = Vec::new();
        Action::UnsetVar {
            scope: Scope::Transaction,
            name: HARMLESS_NAME,
        }
        .encode(&mut bytes);
        Self { bytes }
    }

    /// Encodes `actions` in their order, or [`Actions::harmless`] if there are none.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooBig`] above [`Actions::LIMIT`] bytes.
    pub fn new(actions: &[Action<'_>]) -> Result<Self, EncodeError> {
        if actions.is_empty() {
            return Ok(Self::harmless());
        }
        let length = actions.iter().map(Action::encoded_len).sum();
        if length > Self::LIMIT {
            return Err(EncodeError::TooBig {
                length,
                limit: Self::LIMIT,
            });
        }
        let mut bytes = Vec::with_capacity(length);
        for action in actions {
            action.encode(&mut bytes);
        }
        Ok(Self { bytes })
    }

    /// The payload of the ACK.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Walks the actions in the payload of an ACK.
#[must_use]
pub const fn actions(payload: &[u8]) -> ActionIter<'_> {
    ActionIter { rest: payload }
}

/// Iterator over the actions of an ACK, borrowed from the frame. It ends after the first error.
#[derive(Debug, Clone)]
pub struct ActionIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for ActionIter<'a> {
    type Item = Result<Action<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match action(self.rest) {
            Ok((rest, action)) => {
                self.rest = rest;
                Some(Ok(action))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error.into()))
            }
        }
    }
}

impl std::iter::FusedIterator for ActionIter<'_> {}

/// One action on a variable of HAProxy's.
///
/// The variable's full name is `<scope>.<var-prefix>.<name>` and must fit in 63 characters.
/// HAProxy ignores a name that its configuration does not know; list such names in
/// `register-var-names`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// 1: sets a variable. [`Value::Null`] unsets it.
    SetVar {
        /// How long the variable lives.
        scope: Scope,
        /// Its name, without scope and prefix.
        name: &'a [u8],
        /// What it becomes. HAProxy stores every integer in 64 bits.
        value: Value<'a>,
    },
    /// 2: unsets a variable.
    UnsetVar {
        /// How long the variable lives.
        scope: Scope,
        /// Its name, without scope and prefix.
        name: &'a [u8],
    },
}

impl Action<'_> {
    /// Appends the action to `out`.
    pub fn encode(&self, out: &mut impl BufMut) {
        match self {
            Self::SetVar { scope, name, value } => {
                out.put_slice(&[SET_VAR, SET_VAR_ARGS, scope.id()]);
                put_string(out, name);
                value.encode(out);
            }
            Self::UnsetVar { scope, name } => {
                out.put_slice(&[UNSET_VAR, UNSET_VAR_ARGS, scope.id()]);
                put_string(out, name);
            }
        }
    }

    /// The number of bytes that [`encode`](Self::encode) writes.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        3 + match self {
            Self::SetVar { name, value, .. } => string_len(name) + value.encoded_len(),
            Self::UnsetVar { name, .. } => string_len(name),
        }
    }
}

/// How long a variable lives (VAR-SCOPE).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// 0: `proc`, the process.
    Process,
    /// 1: `sess`, the client's connection, shared by all of its requests.
    Session,
    /// 2: `txn`, a request with its response.
    Transaction,
    /// 3: `req`, the request.
    Request,
    /// 4: `res`, the response.
    Response,
}

impl Scope {
    const fn id(self) -> u8 {
        match self {
            Self::Process => 0,
            Self::Session => 1,
            Self::Transaction => 2,
            Self::Request => 3,
            Self::Response => 4,
        }
    }
}

impl TryFrom<u8> for Scope {
    type Error = DecodeError;

    fn try_from(id: u8) -> Result<Self, DecodeError> {
        match id {
            0 => Ok(Self::Process),
            1 => Ok(Self::Session),
            2 => Ok(Self::Transaction),
            3 => Ok(Self::Request),
            4 => Ok(Self::Response),
            other => Err(DecodeError::UnknownScope(other)),
        }
    }
}

fn action(input: &[u8]) -> Parsed<'_, Action<'_>> {
    let (input, (action, count)) = (be_u8, be_u8).parse(input)?;
    match (action, count) {
        (SET_VAR, SET_VAR_ARGS) => {
            let (input, (scope, name, value)) = (scope, string, value).parse(input)?;
            Ok((input, Action::SetVar { scope, name, value }))
        }
        (UNSET_VAR, UNSET_VAR_ARGS) => {
            let (input, (scope, name)) = (scope, string).parse(input)?;
            Ok((input, Action::UnsetVar { scope, name }))
        }
        (SET_VAR | UNSET_VAR, count) => Err(nom::Err::Error(DecodeError::ActionArguments {
            action,
            count,
        })),
        (unknown, _) => Err(nom::Err::Error(DecodeError::UnknownAction(unknown))),
    }
}

fn scope(input: &[u8]) -> Parsed<'_, Scope> {
    map_res(be_u8, Scope::try_from).parse(input)
}
