//! Key-value lists (SPOE.txt 3.1): the payload of HELLO and DISCONNECT, and a message's arguments.

use bytes::BufMut;

use crate::error::{DecodeError, Parsed};
use crate::value::{Value, put_string, skip_value, string, string_len, value};

/// Walks a list that fills the whole of `payload`.
#[must_use]
pub const fn items(payload: &[u8]) -> Items<'_> {
    Items { rest: payload }
}

/// Appends one item to `out`.
pub fn encode(out: &mut impl BufMut, name: &[u8], value: &Value<'_>) {
    put_string(out, name);
    value.encode(out);
}

/// The number of bytes that [`encode`] writes.
#[must_use]
pub const fn encoded_len(name: &[u8], value: &Value<'_>) -> usize {
    string_len(name) + value.encoded_len()
}

/// Iterator over the items of a list, borrowed from the frame. It ends after the first error.
#[derive(Debug, Clone)]
pub struct Items<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<(&'a [u8], Value<'a>), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match item(self.rest) {
            Ok((rest, item)) => {
                self.rest = rest;
                Some(Ok(item))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error.into()))
            }
        }
    }
}

impl std::iter::FusedIterator for Items<'_> {}

// Inlined by force, as is `value`: handed from function to function through memory, each value would
// be written in parts and read back whole, which the processor cannot forward (measured: twice the
// time of a whole NOTIFY).
#[inline(always)]
pub(crate) fn item(input: &[u8]) -> Parsed<'_, (&[u8], Value<'_>)> {
    let (input, name) = string(input)?;
    let (input, value) = value(input)?;
    Ok((input, (name, value)))
}

/// Steps over what [`item`] would read.
#[inline(always)]
pub(crate) fn skip_item(input: &[u8]) -> Parsed<'_, ()> {
    let (input, _) = string(input)?;
    skip_value(input)
}
