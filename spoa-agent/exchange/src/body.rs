//! A body, and how much of it is here.

use bytes::Bytes;

/// The bytes of a request's or a response's body that HAProxy's buffer held.
///
/// Transfer codings are undone (`req.body` is de-chunked), content codings are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Body<B = Bytes> {
    /// What was captured. Empty for [`Extent::NotCaptured`].
    pub content: B,
    /// Whether that is all of it.
    pub extent: Extent,
}

/// Whether a body is all here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Extent {
    /// Every byte is here, and the message had ended. An empty body can be whole.
    #[default]
    Whole,
    /// A prefix is here: the body was larger than HAProxy's buffer, or had not ended yet.
    Cut {
        /// Bytes that are not here, where the message declared its length.
        missing: Option<u64>,
    },
    /// There is a body, and nothing of it is here: HAProxy did not wait for it.
    NotCaptured {
        /// Bytes that are not here, where the message declared its length.
        missing: Option<u64>,
    },
}

impl Extent {
    /// The word for it, as the ledger, the metrics and the traffic log use it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Cut { .. } => "cut",
            Self::NotCaptured { .. } => "not captured",
        }
    }

    /// Bytes that are not here, where that is known.
    #[must_use]
    pub const fn missing(self) -> Option<u64> {
        match self {
            Self::Whole => None,
            Self::Cut { missing } | Self::NotCaptured { missing } => missing,
        }
    }
}

impl<B: AsRef<[u8]>> Body<B> {
    /// Judges what HAProxy told: the buffered bytes, whether the message had ended
    /// (`internal.htx.has_eom`, the only sign that is true on every version), and the declared
    /// `content-length`, which `req.body_size` repeats only for bodies that have one
    /// (measured on 2.6.12 to 3.5-dev).
    #[must_use]
    pub fn observed(content: B, ended: bool, content_length: Option<u64>) -> Self {
        let here = content.as_ref().len() as u64;
        let missing = content_length.and_then(|declared| declared.checked_sub(here));
        let extent = match (ended, here) {
            (true, _) => Extent::Whole,
            (false, 0) => Extent::NotCaptured { missing },
            (false, _) => Extent::Cut { missing },
        };
        Self { content, extent }
    }

    /// Whether every byte is here. Only then may it be sent, compared or indexed.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.extent == Extent::Whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_ended_is_whole_even_when_it_is_empty() {
        let head_answer = Body::observed(&b""[..], true, Some(500));
        assert_eq!(head_answer.extent, Extent::Whole);
    }

    #[test]
    fn bytes_without_the_end_are_cut_and_say_how_much_is_missing() {
        let body = Body::observed(&b"abc"[..], false, Some(10));
        assert_eq!(body.extent, Extent::Cut { missing: Some(7) });
        assert!(!body.is_whole());
    }

    #[test]
    fn no_bytes_and_no_end_is_not_captured_rather_than_empty() {
        let body = Body::observed(&b""[..], false, Some(500_000));
        assert_eq!(
            body.extent,
            Extent::NotCaptured {
                missing: Some(500_000)
            }
        );
    }

    #[test]
    fn a_declared_length_smaller_than_what_is_here_says_nothing_about_the_rest() {
        let body = Body::observed(&b"abc"[..], false, Some(2));
        assert_eq!(body.extent, Extent::Cut { missing: None });
    }
}
