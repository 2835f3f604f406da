//! The target of a request: its path as a person reads it, and the places in it where index names stand.

use std::borrow::Cow;
use std::ops::Range;

/// A part of the path between slashes.
pub(super) struct Segment<'t> {
    /// Where it stands in the target.
    pub(super) range: Range<usize>,
    /// Percent-decoded.
    pub(super) name: Cow<'t, [u8]>,
}

/// The path of a target: percent-decoded, without the query and without doubled and final slashes, which
/// mean nothing to the cluster.
pub(super) fn plain(target: &[u8]) -> Vec<u8> {
    let path = target.get(path_range(target)).unwrap_or_default();
    normal(&decoded(path))
}

/// A path without doubled and final slashes.
pub(super) fn normal(path: &[u8]) -> Vec<u8> {
    let mut normal = Vec::with_capacity(path.len());
    for segment in path.split(|b| *b == b'/').filter(|it| !it.is_empty()) {
        normal.push(b'/');
        normal.extend_from_slice(segment);
    }
    if normal.is_empty() {
        normal.push(b'/');
    }
    normal
}

/// The parts of the path, without empty ones.
pub(super) fn segments(target: &[u8]) -> Vec<Segment<'_>> {
    let Range { mut start, end } = path_range(target);
    let path = target.get(start..end).unwrap_or_default();
    let mut segments = Vec::new();
    for raw in path.split(|b| *b == b'/') {
        if !raw.is_empty() {
            segments.push(Segment {
                range: start..start + raw.len(),
                name: decoded(raw),
            });
        }
        start += raw.len() + 1;
    }
    segments
}

/// Where index expressions stand in a target: lists with commas, percent-encoded.
pub(super) fn index_places(target: &[u8], segments: &[Segment<'_>]) -> Vec<Range<usize>> {
    let names: Vec<&[u8]> = segments.iter().map(|it| it.name.as_ref()).collect();
    let places: &[usize] = match names.as_slice() {
        [] => &[],
        [b"_alias" | b"_aliases" | b"_data_stream", name, ..] if !is_api(name) => &[1],
        [
            b"_cat",
            b"indices" | b"shards" | b"segments" | b"recovery" | b"count" | b"aliases",
            ..,
        ]
        | [b"_cluster", b"health", ..]
        | [b"_data_stream", b"_migrate" | b"_promote", ..]
        | [b"_resolve", ..] => &[2],
        [b"_create_from", ..] => &[1, 2],
        [b"_cluster", b"state", ..] | [b"_plugins" | b"_opendistro", b"_ism", ..] => &[3],
        [
            _,
            b"_alias" | b"_aliases" | b"_shrink" | b"_split" | b"_clone" | b"_rollover"
            | b"_downsample",
            ..,
        ] if !is_api(names.first().copied().unwrap_or_default()) => &[0, 2],
        [first, ..] if !is_api(first) => &[0],
        _ => &[],
    };
    let in_path: Vec<Range<usize>> = places
        .iter()
        .filter_map(|at| segments.get(*at).map(|it| it.range.clone()))
        .collect();
    if in_path.is_empty() {
        // The cluster takes what a path leaves open from the query.
        return parameters(target, b"index");
    }
    in_path
}

/// Whether the part of a path is a word of the cluster and not the name of an index. No index begins with `_`.
pub(super) fn is_api(name: &[u8]) -> bool {
    name.starts_with(b"_") && name != b"_all"
}

/// The expressions of a list, each where it stands. Also an encoded comma is one: the cluster decodes first.
pub(super) fn list(target: &[u8], range: Range<usize>) -> Vec<Range<usize>> {
    let raw = target.get(range.clone()).unwrap_or_default();
    let mut pieces = Vec::new();
    let (mut start, mut at) = (0, 0);
    while let Some(rest) = raw.get(at..).filter(|rest| !rest.is_empty()) {
        let comma = match rest {
            [b',', ..] => 1,
            [b'%', b'2', b'c' | b'C', ..] => 3,
            _ => 0,
        };
        if comma > 0 {
            pieces.push(range.start + start..range.start + at);
            start = at + comma;
        }
        at += comma.max(1);
    }
    pieces.push(range.start + start..range.end);
    pieces
}

/// The bytes that percent-encoding stands for. What is not one stays as it is.
pub(crate) fn decoded(raw: &[u8]) -> Cow<'_, [u8]> {
    if !raw.contains(&b'%') {
        return Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    loop {
        match rest {
            [] => return Cow::Owned(out),
            [b'%', high, low, behind @ ..] if let Some(byte) = hex_pair(*high, *low) => {
                out.push(byte);
                rest = behind;
            }
            [byte, behind @ ..] => {
                out.push(*byte);
                rest = behind;
            }
        }
    }
}

/// Percent-encodes everything that could mean something else in a path or a query.
pub(super) fn encoded(name: &[u8]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
    let mut out = Vec::with_capacity(name.len());
    for byte in name {
        if byte.is_ascii_alphanumeric() || b"-._~*".contains(byte) {
            out.push(*byte);
        } else {
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    out
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// Where the path stands in a target: behind the authority of a URL, before the query.
fn path_range(target: &[u8]) -> Range<usize> {
    let is_url = !target.starts_with(b"/");
    let begin = match target.windows(3).position(|it| it == b"://") {
        Some(scheme) if is_url => {
            let authority = target.iter().skip(scheme + 3);
            let length = authority
                .take_while(|b| !matches!(b, b'/' | b'?' | b'#'))
                .count();
            scheme + 3 + length
        }
        _ => 0,
    };
    let path = target.iter().skip(begin);
    let length = path.take_while(|b| !matches!(b, b'?' | b'#')).count();
    begin..begin + length
}

/// Where the values of a parameter stand in the query.
fn parameters(target: &[u8], name: &[u8]) -> Vec<Range<usize>> {
    let end = path_range(target).end;
    let mut places = Vec::new();
    let mut start = end + 1;
    let query = target.get(start..).unwrap_or_default();
    for pair in query.split(|b| matches!(b, b'&' | b';')) {
        if let Some(equals) = pair.iter().position(|b| *b == b'=')
            && decoded(pair.get(..equals).unwrap_or_default()).as_ref() == name
        {
            places.push(start + equals + 1..start + pair.len());
        }
        start += pair.len() + 1;
    }
    places
}
