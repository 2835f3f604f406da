//! The parts of a request target that can hold a token, with their places, and percent-encoding.

use std::ops::Range;

use bytes::Bytes;

/// More segments than any path has that carries a token.
const MOST_SEGMENTS: usize = 8;

/// The path's segments, where they stand in the target. Empty ones are skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Segments {
    ranges: [Range<usize>; MOST_SEGMENTS],
    count: usize,
}

impl Segments {
    /// Where they stand.
    pub(crate) fn ranges(&self) -> &[Range<usize>] {
        self.ranges.get(..self.count).unwrap_or_default()
    }

    /// Their bytes, still encoded; those behind the last one are empty.
    pub(crate) fn texts<'a>(&self, target: &'a [u8]) -> ([&'a [u8]; MOST_SEGMENTS], usize) {
        let texts = self
            .ranges
            .each_ref()
            .map(|range| target.get(range.clone()).unwrap_or_default());
        (texts, self.count)
    }
}

/// Splits a target into the path's segments and the place of the query. `None` when the path has more
/// segments than one that carries a token.
pub(crate) fn split(target: &[u8]) -> Option<(Segments, Range<usize>)> {
    let start = path_start(target);
    let end = memchr::memchr(b'#', target).unwrap_or(target.len());
    let question = memchr::memchr(b'?', target).filter(|at| *at < end);
    let path_end = question.unwrap_or(end);
    let query = question.map_or(end..end, |at| at + 1..end);
    let mut segments = Segments::default();
    let mut from = start;
    for at in memchr::memchr_iter(b'/', target.get(..path_end)?).chain([path_end]) {
        if at < from {
            continue;
        }
        if at > from {
            *segments.ranges.get_mut(segments.count)? = from..at;
            segments.count += 1;
        }
        from = at + 1;
    }
    Some((segments, query))
}

/// Where the path begins: behind scheme and authority of the absolute form (RFC 9112, 3.2.2).
fn path_start(target: &[u8]) -> usize {
    if target.first() == Some(&b'/') {
        return 0;
    }
    let Some(authority) = memchr::memmem::find(target, b"://").map(|at| at + 3) else {
        return 0;
    };
    let rest = target.get(authority..).unwrap_or_default();
    let length = memchr::memchr3(b'/', b'?', b'#', rest);
    authority + length.unwrap_or(rest.len())
}

/// The parameters of a query: the name's bytes, still encoded, and where the value stands.
pub(crate) fn parameters(
    target: &[u8],
    query: Range<usize>,
) -> impl Iterator<Item = (&[u8], Range<usize>)> {
    let bytes = target.get(..query.end).unwrap_or_default();
    let mut from = query.start;
    std::iter::from_fn(move || {
        let rest = bytes.get(from..).filter(|rest| !rest.is_empty())?;
        let end = from + memchr::memchr(b'&', rest).unwrap_or(rest.len());
        let pair = bytes.get(from..end)?;
        let equals = memchr::memchr(b'=', pair);
        let name = pair.get(..equals.unwrap_or(pair.len()))?;
        let value = equals.map_or(end..end, |at| from + at + 1..end);
        from = end + 1;
        Some((name, value))
    })
}

/// The parts between commas of what stands at `range`.
pub(crate) fn listed(target: &[u8], range: Range<usize>) -> Vec<Range<usize>> {
    let Some(text) = target.get(range.clone()) else {
        return Vec::new();
    };
    let mut parts = Vec::new();
    let mut from = range.start;
    for at in memchr::memchr_iter(b',', text)
        .map(|at| at + range.start)
        .chain([range.end])
    {
        if at > from {
            parts.push(from..at);
        }
        from = at + 1;
    }
    parts
}

/// Undoes percent-encoding; in a query a `+` is a space. What is not an encoding stays as it is.
pub(crate) fn decoded(text: &[u8], plus_is_space: bool) -> Bytes {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let (plain, tail) = match (byte, tail) {
            (b'%', [high, low, tail @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, tail),
                _ => (byte, rest.get(1..).unwrap_or_default()),
            },
            (b'+', _) if plus_is_space => (b' ', tail),
            _ => (byte, tail),
        };
        out.push(plain);
        rest = tail;
    }
    out.into()
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Percent-encodes for a path segment or a query value. `=` and `:` stay: both may hold them (RFC 3986, 3.3
/// and 3.4), and tokens end in the one and tasks have the other in their middle.
pub(crate) fn encoded(text: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'=' | b':') {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segments(target: &[u8]) -> Vec<&[u8]> {
        let (segments, _) = split(target).unwrap();
        let ranges = segments.ranges().to_vec();
        ranges.into_iter().map(|range| &target[range]).collect()
    }

    #[test]
    fn a_target_is_split_in_every_form() {
        assert_eq!(segments(b"/a//b%2Fc/?x=/y"), [&b"a"[..], b"b%2Fc"]);
        assert_eq!(segments(b"http://h:1/a/b?c"), [b"a", b"b"]);
        assert_eq!(segments(b"http://h"), [b""; 0]);
        assert_eq!(segments(b"*"), [b"*"]);
        assert_eq!(segments(b""), [b""; 0]);
        assert!(split(b"/1/2/3/4/5/6/7/8/9").is_none());
    }

    #[test]
    fn parameters_are_told_with_the_place_of_their_value() {
        let target = b"/p?a=1&b&c=x=y&&d=";
        let (_, query) = split(target).unwrap();
        let found: Vec<_> = parameters(target, query)
            .map(|(name, value)| (name, &target[value]))
            .collect();
        let wanted: [(&[u8], &[u8]); 5] = [
            (b"a", b"1"),
            (b"b", b""),
            (b"c", b"x=y"),
            (b"", b""),
            (b"d", b""),
        ];
        assert_eq!(found, wanted);
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same(text in prop::collection::vec(any::<u8>(), 0..60), plus in any::<bool>()) {
            prop_assert_eq!(decoded(&encoded(&text), plus), text);
        }

        #[test]
        fn any_bytes_are_split(target in prop::collection::vec(
            prop_oneof![prop::sample::select(&b"/?&=#%+,:"[..]), any::<u8>()], 0..60
        )) {
            if let Some((segments, query)) = split(&target) {
                for range in segments.ranges() {
                    prop_assert!(!target[range.clone()].is_empty());
                    listed(&target, range.clone());
                    decoded(&target[range.clone()], true);
                }
                for (_, value) in parameters(&target, query) {
                    prop_assert!(target.get(value).is_some());
                }
            }
        }
    }
}
