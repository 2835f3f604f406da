//! Which share of the requests is sent, and which requests those are.
//!
//! The choice depends on a key of the request and on nothing else: SHA-256 of the key, of which the first
//! 8 bytes are read as a big-endian number, is below the share of 2^64 or is not. So a key is in the sample
//! or out of it on every machine and after every restart, whatever the other rules say, and a sample of
//! 5 % is a part of that of 10 %. `printf %s KEY | sha256sum` says the same.

use exchange::Request;
use exchange::operation::Operation;
use ring::digest;

/// A share of all keys, from nothing to all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// In millionths of a percent.
    micro_percent: u64,
}

const ALL: u64 = 100_000_000;
const DECIMALS: usize = 6;

impl Share {
    /// Reads `10%` or `0.25%`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let number = text.trim().strip_suffix('%')?.trim_end();
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let is_number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || part.len() > DECIMALS || !is_number(whole) || !is_number(part) {
            return None;
        }
        let part: u64 = format!("{part:0<DECIMALS$}").parse().ok()?;
        let micro_percent = whole
            .parse::<u64>()
            .ok()?
            .checked_mul(ALL / 100)?
            .checked_add(part)?;
        (micro_percent <= ALL).then_some(Self { micro_percent })
    }

    pub(crate) const fn is_all(self) -> bool {
        self.micro_percent == ALL
    }

    /// Whether a key is in the sample.
    pub(crate) fn has(self, key: &[u8]) -> bool {
        let digest = digest::digest(&digest::SHA256, key);
        let place = digest
            .as_ref()
            .first_chunk()
            .map_or(0, |first| u64::from_be_bytes(*first));
        let limit = (u128::from(self.micro_percent) << 64) / u128::from(ALL);
        u128::from(place) < limit
    }
}

/// What of a request decides whether it is in the sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The exchange's own id: each request for itself.
    Id,
    /// The client's address, without its port.
    Client,
    /// A header field.
    Header(String),
    /// The first index that the request names.
    Index,
    /// The first document that the request names: index, `/`, id.
    Document,
}

impl By {
    /// The words of the rule file.
    pub(crate) const WORDS: &'static [&'static str] =
        &["id", "client", "header:NAME", "index", "document"];

    /// The bytes that are hashed. A request that has no such thing goes by its id.
    pub(crate) fn key(&self, request: &Request, operation: &Operation) -> Vec<u8> {
        let key = match self {
            Self::Id => None,
            Self::Client => request
                .client
                .map(|client| client.ip.to_string().into_bytes()),
            Self::Header(name) => request
                .headers
                .get(name)
                .filter(|value| *value != exchange::headers::MASK)
                .map(<[u8]>::to_vec),
            Self::Index => first_index(operation).map(<[u8]>::to_vec),
            Self::Document => operation.documents.iter().find_map(|document| {
                let id = document.id.as_deref()?;
                Some([document.index.as_ref(), b"/", id].concat())
            }),
        };
        key.unwrap_or_else(|| request.id.to_vec())
    }
}

fn first_index(operation: &Operation) -> Option<&[u8]> {
    let documents = operation.documents.iter().map(|document| &document.index);
    documents
        .chain(&operation.indices.names)
        .map(AsRef::as_ref)
        .find(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_share_is_read_exactly_or_not_at_all() {
        for (text, micro) in [
            ("0%", Some(0)),
            ("10%", Some(10_000_000)),
            ("0.25 %", Some(250_000)),
            ("0.000001%", Some(1)),
            ("100%", Some(ALL)),
            ("100.000001%", None),
            ("10", None),
            ("%", None),
            (".5%", None),
            ("-1%", None),
            ("+1%", None),
            ("0.0000001%", None),
            ("99999999999999999999%", None),
        ] {
            let read = Share::parse(text).map(|share| share.micro_percent);
            assert_eq!(read, micro, "{text}");
        }
    }

    #[test]
    fn a_key_is_where_sha256sum_says() {
        let place = |key: &[u8]| {
            let digest = digest::digest(&digest::SHA256, key);
            f64::from(u32::from_be_bytes(*digest.as_ref().first_chunk().unwrap())) / 4_294_967_296.0
        };
        // The empty text's SHA-256 begins with e3b0c442: 88.94 %.
        assert!((place(b"") - 0.8894).abs() < 0.0001);
        assert!(!Share::parse("88.9%").unwrap().has(b""));
        assert!(Share::parse("89%").unwrap().has(b""));
        // That of "abc" with ba7816bf: 72.84 %.
        assert!(!Share::parse("72.8%").unwrap().has(b"abc"));
        assert!(Share::parse("72.9%").unwrap().has(b"abc"));
    }

    #[test]
    fn the_ends_are_none_and_all() {
        for key in 0..1000_u32 {
            assert!(!Share::parse("0%").unwrap().has(&key.to_le_bytes()));
            assert!(Share::parse("100%").unwrap().has(&key.to_le_bytes()));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn the_share_of_many_keys_is_the_share_asked_for(percent in 1_u32..100, salt in any::<u64>()) {
            const KEYS: u32 = 20_000;
            let share = Share::parse(&format!("{percent}%")).unwrap();
            let hits = (0..KEYS).filter(|n| share.has(format!("{salt}-{n}").as_bytes())).count();
            let p = f64::from(percent) / 100.0;
            let expected = f64::from(KEYS) * p;
            // Five standard deviations: one false alarm in about two million runs.
            let bound = 5.0 * (expected * (1.0 - p)).sqrt();
            prop_assert!((hits as f64 - expected).abs() < bound, "{hits} of {expected}");
        }

        #[test]
        fn a_smaller_sample_is_a_part_of_a_larger_one(a in 0_u32..=100, b in 0_u32..=100, key in any::<[u8; 4]>()) {
            let (small, large) = (a.min(b), a.max(b));
            let share = |percent: u32| Share::parse(&format!("{percent}%")).unwrap();
            prop_assert!(!share(small).has(&key) || share(large).has(&key));
        }
    }
}
