//! NOTIFY: what HAProxy tells the agent, as messages with arguments (SPOE.txt 3.2.6).
//!
//! A message does not say how long it is: its end is where its last argument ends. So
//! [`Messages`] hands a message out unread, and steps over its arguments only when the next
//! message is asked for. Nothing is copied or allocated, and a body costs the same at any size.
//!
//! A NOTIFY may hold no message at all (HAProxy 3.1.0 and 3.2.0 send it when no ACL is true,
//! measured): it wants its ACK like any other. The same message name may come more than once.

use bytes::BufMut;
use nom::Parser;
use nom::number::complete::be_u8;
use nom::sequence::pair;

use crate::error::{DecodeError, EncodeError};
use crate::frame::{Flags, FrameId, FrameKind, Header, StreamId};
use crate::kv;
use crate::value::{Value, put_string, string, string_len};

/// Walks the messages in the payload of a NOTIFY.
#[must_use]
pub const fn messages(payload: &[u8]) -> Messages<'_> {
    Messages {
        unread: Args {
            rest: payload,
            left: 0,
        },
    }
}

/// Iterator over the messages of a NOTIFY, borrowed from the frame. It ends after the first error.
///
/// Asking for the next message checks the arguments of the one before, read or not: a NOTIFY whose
/// iterator came to its end without an error is well-formed throughout.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    unread: Args<'a>,
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.unread.skip_all() {
            self.unread = Args { rest: &[], left: 0 };
            return Some(Err(error));
        }
        if self.unread.rest.is_empty() {
            return None;
        }
        match pair(string, be_u8).parse(self.unread.rest) {
            Ok((rest, (name, left))) => {
                self.unread = Args { rest, left };
                Some(Ok(Message {
                    name,
                    args: self.unread.clone(),
                }))
            }
            Err(error) => {
                self.unread.rest = &[];
                Some(Err(DecodeError::from(error)))
            }
        }
    }
}

impl std::iter::FusedIterator for Messages<'_> {}

/// A message: the name of its `spoe-message` section, and its arguments.
#[derive(Debug, Clone)]
pub struct Message<'a> {
    /// As written in HAProxy's configuration.
    pub name: &'a [u8],
    /// In the order of the section's `args` line.
    pub args: Args<'a>,
}

/// Iterator over the arguments of a message, borrowed from the frame. It ends after the first
/// error. An argument without a name in the configuration has an empty one here.
#[derive(Debug, Clone)]
pub struct Args<'a> {
    rest: &'a [u8],
    left: u8,
}

impl<'a> Args<'a> {
    /// How many arguments the message says are still to come.
    #[must_use]
    pub const fn left(&self) -> u8 {
        self.left
    }

    #[inline]
    fn skip_all(&mut self) -> Result<(), DecodeError> {
        while self.left > 0 {
            self.left -= 1;
            (self.rest, ()) = kv::skip_item(self.rest)?;
        }
        Ok(())
    }
}

impl<'a> Iterator for Args<'a> {
    type Item = Result<(&'a [u8], Value<'a>), DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        match kv::item(self.rest) {
            Ok((rest, item)) => {
                self.rest = rest;
                Some(Ok(item))
            }
            Err(error) => {
                self.left = 0;
                Some(Err(error.into()))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left > 0), Some(usize::from(self.left)))
    }
}

impl std::iter::FusedIterator for Args<'_> {}

/// A message to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewMessage<'a> {
    /// The message's name.
    pub name: &'a [u8],
    /// Names and values; at most 255.
    pub args: &'a [(&'a [u8], Value<'a>)],
}

/// Appends one whole NOTIFY frame, with its length prefix, to `out`.
///
/// # Errors
///
/// [`EncodeError::TooManyArguments`] for a message with more than 255 of them,
/// [`EncodeError::TooBig`] when the frame's length does not fit in 32 bits. On an error nothing
/// is written.
pub fn encode(
    out: &mut impl BufMut,
    stream_id: StreamId,
    frame_id: FrameId,
    messages: &[NewMessage<'_>],
) -> Result<(), EncodeError> {
    let mut payload_len = 0;
    for message in messages {
        nb_args(message)?;
        let args_len: usize = message
            .args
            .iter()
            .map(|(name, value)| kv::encoded_len(name, value))
            .sum();
        payload_len += string_len(message.name) + 1 + args_len;
    }
    let header = Header {
        kind: FrameKind::Notify,
        flags: Flags::FIN,
        stream_id,
        frame_id,
    };
    header.encode(out, payload_len)?;
    for message in messages {
        put_string(out, message.name);
        out.put_u8(nb_args(message)?);
        for (name, value) in message.args {
            kv::encode(out, name, value);
        }
    }
    Ok(())
}

fn nb_args(message: &NewMessage<'_>) -> Result<u8, EncodeError> {
    let count = message.args.len();
    u8::try_from(count).map_err(|_| EncodeError::TooManyArguments(count))
}
