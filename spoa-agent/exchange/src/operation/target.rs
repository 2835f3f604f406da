//! A request's method and target, as the cluster's REST layer reads them.
//!
//! The path is cut at its slashes before anything is decoded, so an encoded slash stays inside its segment, and
//! the words of an API (`_search`) are known only as written, never as `%5Fsearch`: so does the path trie of
//! Elasticsearch and OpenSearch. A `+` in the path is a plus (Elasticsearch 6 alone reads a space there, unless told
//! otherwise); in the query it is a space. Parameters are separated by `&`; the last one of a name counts.

use std::borrow::Cow;

/// One bit for each method that the REST layer knows, so that a row of the table can take several.
pub(super) type Methods = u8;

pub(super) const GET: Methods = 1;
pub(super) const HEAD: Methods = 2;
pub(super) const POST: Methods = 4;
pub(super) const PUT: Methods = 8;
pub(super) const DELETE: Methods = 16;
pub(super) const PATCH: Methods = 32;
pub(super) const OPTIONS: Methods = 64;

/// The method's bit, none for one that is not known. Methods are compared with regard to case (RFC 9110, 9.1).
pub(super) fn method(name: &[u8]) -> Methods {
    match name {
        b"GET" => GET,
        b"HEAD" => HEAD,
        b"POST" => POST,
        b"PUT" => PUT,
        b"DELETE" => DELETE,
        b"PATCH" => PATCH,
        b"OPTIONS" => OPTIONS,
        _ => 0,
    }
}

/// The most segments that are kept. The longest path of an API has fewer.
const SEGMENTS: usize = 12;

/// The segments of a path as written, without the empty ones at its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path<'a> {
    segments: [&'a [u8]; SEGMENTS],
    count: usize,
    /// It has an empty segment before its end, more segments than are kept, or is no path at all (`*`,
    /// `host:port`): nobody says what a cluster makes of it.
    pub(super) odd: bool,
}

impl<'a> Path<'a> {
    fn read(path: &'a [u8]) -> Self {
        let mut read = Self {
            segments: [b""; SEGMENTS],
            count: 0,
            odd: false,
        };
        let Some(path) = path.strip_prefix(b"/") else {
            read.odd = true;
            return read;
        };
        let end = path.iter().rposition(|b| *b != b'/').map_or(0, |at| at + 1);
        let path = path.get(..end).unwrap_or_default();
        if path.is_empty() {
            return read;
        }
        for segment in path.split(|b| *b == b'/') {
            read.odd |= segment.is_empty();
            match read.segments.get_mut(read.count) {
                Some(place) => *place = segment,
                None => {
                    read.odd = true;
                    break;
                }
            }
            read.count += 1;
        }
        read
    }

    pub(super) fn segments(&self) -> &[&'a [u8]] {
        self.segments.get(..self.count).unwrap_or_default()
    }

    /// The same path with another first segment.
    pub(super) fn beginning_with(mut self, first: &'a [u8]) -> Self {
        self.segments[0] = first;
        self
    }
}

/// The parameters that change what a request means, decoded. A parameter without `=` is empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Parameters<'a> {
    pub(super) refresh: Option<Cow<'a, [u8]>>,
    pub(super) routing: Option<Cow<'a, [u8]>>,
    pub(super) parent: Option<Cow<'a, [u8]>>,
    pub(super) if_seq_no: Option<Cow<'a, [u8]>>,
    pub(super) if_primary_term: Option<Cow<'a, [u8]>>,
    pub(super) version: Option<Cow<'a, [u8]>>,
    pub(super) version_type: Option<Cow<'a, [u8]>>,
    pub(super) op_type: Option<Cow<'a, [u8]>>,
    pub(super) realtime: Option<Cow<'a, [u8]>>,
    pub(super) wait_for_completion: Option<Cow<'a, [u8]>>,
    /// What the path leaves open may stand here: the REST layer keeps both in one map.
    pub(super) index: Option<Cow<'a, [u8]>>,
    /// Likewise.
    pub(super) mapping_type: Option<Cow<'a, [u8]>>,
    /// Likewise.
    pub(super) id: Option<Cow<'a, [u8]>>,
}

impl<'a> Parameters<'a> {
    fn read(query: &'a [u8]) -> Self {
        let mut parameters = Self::default();
        if query.is_empty() {
            return parameters;
        }
        for pair in query.split(|b| *b == b'&') {
            let (name, value) = cut(pair, b'=');
            if let Some(place) = parameters.place(&decoded(name, true)) {
                *place = Some(decoded(value.unwrap_or_default(), true));
            }
        }
        parameters
    }

    fn place(&mut self, name: &[u8]) -> Option<&mut Option<Cow<'a, [u8]>>> {
        Some(match name {
            b"refresh" => &mut self.refresh,
            b"routing" => &mut self.routing,
            b"parent" => &mut self.parent,
            b"if_seq_no" => &mut self.if_seq_no,
            b"if_primary_term" => &mut self.if_primary_term,
            b"version" => &mut self.version,
            b"version_type" => &mut self.version_type,
            b"op_type" => &mut self.op_type,
            b"realtime" => &mut self.realtime,
            b"wait_for_completion" => &mut self.wait_for_completion,
            b"index" => &mut self.index,
            b"type" => &mut self.mapping_type,
            b"id" => &mut self.id,
            _ => return None,
        })
    }
}

/// A request target (RFC 9112, 3.2).
#[derive(Clone, Debug)]
pub(super) struct Target<'a> {
    pub(super) path: Path<'a>,
    pub(super) parameters: Parameters<'a>,
}

impl<'a> Target<'a> {
    pub(super) fn read(target: &'a [u8]) -> Self {
        let (path, query) = cut(without_origin(target), b'?');
        Self {
            path: Path::read(path),
            parameters: Parameters::read(query.unwrap_or_default()),
        }
    }
}

/// The path and query of a target in absolute form: `http://host:9200/i/_search` -> `/i/_search`.
fn without_origin(target: &[u8]) -> &[u8] {
    if target.first() == Some(&b'/') {
        return target;
    }
    let Some(scheme) = target.windows(3).position(|window| window == b"://") else {
        return target;
    };
    let after = target.get(scheme + 3..).unwrap_or_default();
    match after.iter().position(|b| matches!(b, b'/' | b'?')) {
        Some(at) if after.get(at) == Some(&b'/') => after.get(at..).unwrap_or_default(),
        _ => b"/",
    }
}

/// What stands before and after the first `at`.
fn cut(bytes: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|b| *b == at) {
        Some(place) => (
            bytes.get(..place).unwrap_or_default(),
            Some(bytes.get(place + 1..).unwrap_or_default()),
        ),
        None => (bytes, None),
    }
}

/// A segment of the path, percent-decoded.
pub(super) fn segment(written: &[u8]) -> Cow<'_, [u8]> {
    decoded(written, false)
}

/// Percent-decoded (RFC 3986, 2.1). A `%` without two hexadecimal digits stays; the cluster refuses it.
fn decoded(written: &[u8], plus_is_space: bool) -> Cow<'_, [u8]> {
    let plain = |b: &u8| *b != b'%' && !(plus_is_space && *b == b'+');
    if written.iter().all(plain) {
        return Cow::Borrowed(written);
    }
    let mut out = Vec::with_capacity(written.len());
    let mut rest = written;
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    rest = after;
                }
                _ => out.push(b'%'),
            },
            (b'+', _) if plus_is_space => out.push(b' '),
            (other, _) => out.push(*other),
        }
    }
    Cow::Owned(out)
}

const fn digit(hexadecimal: u8) -> Option<u8> {
    match hexadecimal {
        b'0'..=b'9' => Some(hexadecimal - b'0'),
        b'a'..=b'f' => Some(hexadecimal - b'a' + 10),
        b'A'..=b'F' => Some(hexadecimal - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(target: &str) -> Vec<String> {
        Target::read(target.as_bytes())
            .path
            .segments()
            .iter()
            .map(|written| String::from_utf8_lossy(&segment(written)).into_owned())
            .collect()
    }

    fn is_odd(target: &str) -> bool {
        Target::read(target.as_bytes()).path.odd
    }

    #[test]
    fn an_encoded_slash_and_a_plus_stay_inside_their_segment() {
        assert_eq!(segments("/i/_doc/a%2Fb+c%20d%"), ["i", "_doc", "a/b+c d%"]);
    }

    #[test]
    fn slashes_at_the_end_say_nothing_and_those_before_it_make_the_path_odd() {
        assert_eq!(segments("/i/_doc/"), ["i", "_doc"]);
        assert_eq!(segments("/"), Vec::<String>::new());
        assert!(!is_odd("/i//") && !is_odd("/"));
        assert!(is_odd("//i/_search") && is_odd("/i//_search"));
        assert!(is_odd("*") && is_odd("host:9200") && is_odd(""));
        assert!(is_odd(&"/x".repeat(SEGMENTS + 1)));
    }

    #[test]
    fn the_absolute_form_is_read_by_its_path() {
        assert_eq!(segments("http://h:9200/i/_search?q=/x"), ["i", "_search"]);
        assert_eq!(segments("HTTPS://h"), Vec::<String>::new());
        assert_eq!(segments("http://h?q=/x"), Vec::<String>::new());
        assert_eq!(
            segments("/i/_doc/http://x"),
            ["i", "_doc", "http:", "", "x"]
        );
    }

    #[test]
    fn of_a_parameter_given_twice_the_last_counts_and_a_plus_is_a_space() {
        let target = Target::read(b"/i/_doc/1?routing=a&%72outing=b+c%2B&refresh&x=1");
        assert_eq!(target.parameters.routing.as_deref(), Some(&b"b c+"[..]));
        assert_eq!(target.parameters.refresh.as_deref(), Some(&b""[..]));
        assert_eq!(target.parameters.version, None);
    }

    #[test]
    fn a_method_is_known_only_in_its_own_case() {
        assert_eq!(method(b"GET"), GET);
        assert_eq!(method(b"get"), 0);
    }
}
