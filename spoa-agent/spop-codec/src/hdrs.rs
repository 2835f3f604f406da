//! The value of HAProxy's fetches `req.hdrs_bin` and `res.hdrs_bin`: all headers in one binary.
//!
//! Repeated: length and name, length and value, both lengths as varints; two zero lengths end the
//! block (HAProxy's configuration manual, `req.hdrs_bin`). Order and duplicates are those of the
//! message, names are lower-case, pseudo headers are left out (measured). Values are bytes.

use bytes::BufMut;
use nom::Parser;
use nom::sequence::pair;

use crate::error::{DecodeError, EncodeError, Parsed};
use crate::value::{put_string, string};

/// Walks the headers of a block.
///
/// ```
/// use spop_codec::hdrs;
///
/// let block = b"\x04host\x07a.test:\x00\x00";
/// let headers = hdrs::headers(block).collect::<Result<Vec<_>, _>>()?;
/// assert_eq!(headers, [(b"host".as_slice(), b"a.test:".as_slice())]);
/// # Ok::<(), spop_codec::DecodeError>(())
/// ```
#[must_use]
pub const fn headers(block: &[u8]) -> Headers<'_> {
    Headers { rest: Some(block) }
}

/// Appends a block, with its end mark, to `out`.
///
/// # Errors
///
/// [`EncodeError::EmptyHeaderName`], with the block cut short, when a name is empty.
pub fn encode<'h>(
    out: &mut impl BufMut,
    headers: impl IntoIterator<Item = (&'h [u8], &'h [u8])>,
) -> Result<(), EncodeError> {
    for (name, value) in headers {
        if name.is_empty() {
            return Err(EncodeError::EmptyHeaderName);
        }
        put_string(out, name);
        put_string(out, value);
    }
    out.put_slice(&[0, 0]);
    Ok(())
}

/// Iterator over names and values, borrowed from the block. It ends after the first error. A
/// block without its end mark is an error, and so are bytes after it.
#[derive(Debug, Clone)]
pub struct Headers<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Headers<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let block = self.rest.take()?;
        match header(block) {
            Ok(([], (b"", b""))) => None,
            Ok((rest, (b"", b""))) => Some(Err(DecodeError::BytesAfterHeaders(rest.len()))),
            Ok((_, (b"", _))) => Some(Err(DecodeError::EmptyHeaderName)),
            Ok((rest, header)) => {
                self.rest = Some(rest);
                Some(Ok(header))
            }
            Err(error) => Some(Err(error.into())),
        }
    }
}

impl std::iter::FusedIterator for Headers<'_> {}

fn header(input: &[u8]) -> Parsed<'_, (&[u8], &[u8])> {
    pair(string, string).parse(input)
}
