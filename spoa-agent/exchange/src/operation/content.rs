//! A body as it was before its content coding, where that is known.

use std::borrow::Cow;
use std::io::Read as _;

use crate::{Body, Extent, Headers};

/// The most bytes that a compressed body may have when it is not compressed.
pub const DECODED_LIMIT: u64 = 256 << 20;

/// Why a body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unreadable {
    /// It is cut, or was not captured.
    #[error("the body is not whole")]
    NotWhole,
    /// Its content coding is neither `identity` nor `gzip` nor `deflate`.
    #[error("the body has a content coding that is not known here")]
    Coding,
    /// It does not decode.
    #[error("the body does not decode")]
    Damaged,
    /// It has more than [`DECODED_LIMIT`] bytes when decoded.
    #[error("the body has more than {DECODED_LIMIT} bytes when decoded")]
    TooLong,
}

/// The body without its content coding (RFC 9110, 8.4): borrowed when it has none.
///
/// # Errors
/// When it is not whole, its coding is not known, or it does not decode.
pub fn decoded<'a>(
    headers: &Headers<impl AsRef<[u8]>>,
    body: &'a Body<impl AsRef<[u8]>>,
) -> Result<Cow<'a, [u8]>, Unreadable> {
    if body.extent != Extent::Whole {
        return Err(Unreadable::NotWhole);
    }
    let content = body.content.as_ref();
    match headers.get("content-encoding").map(<[u8]>::trim_ascii) {
        None | Some(b"") => Ok(Cow::Borrowed(content)),
        Some(coding) if coding.eq_ignore_ascii_case(b"identity") => Ok(Cow::Borrowed(content)),
        Some(coding) if coding.eq_ignore_ascii_case(b"gzip") => {
            limited(flate2::read::MultiGzDecoder::new(content))
        }
        Some(coding) if coding.eq_ignore_ascii_case(b"deflate") => {
            limited(flate2::read::ZlibDecoder::new(content))
        }
        Some(_) => Err(Unreadable::Coding),
    }
}

fn limited<'a>(decoder: impl std::io::Read) -> Result<Cow<'a, [u8]>, Unreadable> {
    let mut out = Vec::new();
    let read = decoder.take(DECODED_LIMIT + 1).read_to_end(&mut out);
    match read {
        Ok(size) if size as u64 > DECODED_LIMIT => Err(Unreadable::TooLong),
        Ok(_) => Ok(Cow::Owned(out)),
        Err(_) => Err(Unreadable::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::Header;

    fn headers(coding: &'static str) -> Headers<&'static [u8]> {
        let header = Header {
            name: &b"content-encoding"[..],
            value: coding.as_bytes(),
        };
        [header].into_iter().collect()
    }

    fn whole(content: &[u8]) -> Body<&[u8]> {
        Body {
            content,
            extent: Extent::Whole,
        }
    }

    #[test]
    fn a_gzip_body_is_read_and_a_damaged_one_is_not() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"{\"a\":1}").unwrap();
        let gzip = gzip.finish().unwrap();
        assert_eq!(
            decoded(&headers("GZip"), &whole(&gzip)).unwrap(),
            &b"{\"a\":1}"[..]
        );
        assert_eq!(
            decoded(&headers("gzip"), &whole(&gzip[..9])),
            Err(Unreadable::Damaged)
        );
        assert_eq!(
            decoded(&headers("br"), &whole(b"x")),
            Err(Unreadable::Coding)
        );
        assert_eq!(
            decoded(&headers(" identity "), &whole(b"x")).unwrap(),
            &b"x"[..]
        );
    }

    #[test]
    fn a_cut_body_is_not_read_as_if_it_were_whole() {
        let body = Body {
            content: &b"{"[..],
            extent: Extent::Cut { missing: None },
        };
        assert_eq!(decoded(&headers(""), &body), Err(Unreadable::NotWhole));
    }
}
