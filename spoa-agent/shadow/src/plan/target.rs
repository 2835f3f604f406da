//! Changes to a request target (RFC 9112, 3.2) that keep every other byte of it.

/// The target of `POST /index/_doc` with an id: it names the document, and creates it as the cluster would
/// have. The method stays: every version of both clusters takes `POST` and `PUT` alike here.
///
/// An `op_type` that is there already stays as it is.
pub(super) fn with_id(target: &[u8], id: &[u8]) -> Vec<u8> {
    let (path, query) = split(target);
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let mut out = Vec::with_capacity(target.len() + id.len() + 24);
    out.extend_from_slice(path);
    out.push(b'/');
    encode(id, &mut out);
    let query = query.unwrap_or_default();
    let has_type = parameters(query).any(|parameter| parameter.is(b"op_type"));
    out.push(b'?');
    out.extend_from_slice(query);
    if !has_type {
        if !query.is_empty() {
            out.push(b'&');
        }
        out.extend_from_slice(b"op_type=create");
    }
    out
}

/// The target without the parameters of these names. `None` when it has none of them.
pub(super) fn without(target: &[u8], names: &[&[u8]]) -> Option<Vec<u8>> {
    let (path, query) = split(target);
    let query = query?;
    let unwanted = |parameter: &Parameter<'_>| names.iter().any(|name| parameter.is(name));
    if !parameters(query).any(|parameter| unwanted(&parameter)) {
        return None;
    }
    let mut out = path.to_vec();
    let kept = parameters(query).filter(|parameter| !unwanted(parameter));
    for (count, parameter) in kept.enumerate() {
        out.push(if count == 0 {
            b'?'
        } else {
            parameter.separator
        });
        out.extend_from_slice(parameter.text);
    }
    Some(out)
}

/// The value of the first parameter of this name, as it is written.
pub(super) fn parameter<'a>(target: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (_, query) = split(target);
    let found = parameters(query?).find(|parameter| parameter.is(name))?;
    let mut parts = found.text.splitn(2, |b| *b == b'=');
    parts.next();
    Some(parts.next().unwrap_or_default())
}

/// The last segment of the path that is not empty.
pub(super) fn last_segment(target: &[u8]) -> &[u8] {
    let (path, _) = split(target);
    path.rsplit(|b| *b == b'/')
        .find(|segment| !segment.is_empty())
        .unwrap_or_default()
}

struct Parameter<'a> {
    /// What stands before it in a query where it is not the first.
    separator: u8,
    text: &'a [u8],
}

impl Parameter<'_> {
    fn is(&self, name: &[u8]) -> bool {
        let own = self.text.split(|b| *b == b'=').next().unwrap_or_default();
        own == name || (own.contains(&b'%') && decode(own) == name)
    }
}

/// Elasticsearch up to 7 also takes `;` for a separator.
fn parameters(query: &[u8]) -> impl Iterator<Item = Parameter<'_>> {
    let mut rest = Some(query).filter(|query| !query.is_empty());
    let mut separator = b'&';
    std::iter::from_fn(move || {
        let text = rest?;
        let end = text.iter().position(|b| matches!(b, b'&' | b';'));
        let parameter = Parameter {
            separator,
            text: end.and_then(|end| text.get(..end)).unwrap_or(text),
        };
        if let Some(next) = end.and_then(|end| text.get(end)) {
            separator = *next;
        }
        rest = end.and_then(|end| text.get(end + 1..));
        Some(parameter)
    })
}

fn split(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match target.iter().position(|b| *b == b'?') {
        Some(at) => (target.get(..at).unwrap_or_default(), target.get(at + 1..)),
        None => (target, None),
    }
}

fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        let escaped = behind
            .get(..2)
            .filter(|_| *byte == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if escaped.is_some() {
            rest = behind.get(2..).unwrap_or_default();
        }
        out.push(escaped.unwrap_or(*byte));
    }
    out
}

/// Everything but unreserved characters (RFC 3986, 2.3) is escaped, `+` too, which some versions take for
/// a space.
fn encode(id: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |value: u8| HEX.get(usize::from(value)).copied().unwrap_or(b'0');
    for byte in id {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(*byte);
        } else {
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_is_put_behind_the_path_and_the_query_stays_as_it_is() {
        for (target, id, pinned) in [
            ("/i/_doc", "abc", "/i/_doc/abc?op_type=create"),
            ("/i/_doc/", "abc", "/i/_doc/abc?op_type=create"),
            ("/i/_doc?", "abc", "/i/_doc/abc?op_type=create"),
            (
                "/a%2Fb/tweet?routing=x%20y&refresh",
                "a/b c+d?é",
                "/a%2Fb/tweet/a%2Fb%20c%2Bd%3F%C3%A9?routing=x%20y&refresh&op_type=create",
            ),
            (
                "/ds/_doc?op_type=create&pipeline=p",
                "-_~.",
                "/ds/_doc/-_~.?op_type=create&pipeline=p",
            ),
            (
                "http://host/i/_doc?x_op_type=1",
                "1",
                "http://host/i/_doc/1?x_op_type=1&op_type=create",
            ),
        ] {
            let got = with_id(target.as_bytes(), id.as_bytes());
            assert_eq!(String::from_utf8_lossy(&got), pinned);
        }
    }

    #[test]
    fn parameters_are_taken_out_and_the_others_stay_byte_for_byte() {
        let names: &[&[u8]] = &[b"if_seq_no", b"if_primary_term"];
        for (target, left) in [
            ("/i/_doc/1?if_seq_no=3&if_primary_term=1", "/i/_doc/1"),
            (
                "/i/_doc/1?refresh&if_seq_no=3&a=%20;if_primary_term=1;b=+",
                "/i/_doc/1?refresh&a=%20;b=+",
            ),
            ("/i/_doc/1?if%5Fseq_no=3&&a", "/i/_doc/1?&a"),
        ] {
            let got = without(target.as_bytes(), names).unwrap();
            assert_eq!(String::from_utf8_lossy(&got), left);
        }
        for target in [
            "/i/_doc/1",
            "/i/if_seq_no/1?a=if_seq_no",
            "/i/_doc/1?xif_seq_no=1",
        ] {
            assert_eq!(without(target.as_bytes(), names), None, "{target}");
        }
    }

    #[test]
    fn values_and_segments_are_found() {
        let target = b"/a,b/_update_by_query/?wait_for_completion=false&x";
        assert_eq!(
            parameter(target, b"wait_for_completion"),
            Some(&b"false"[..])
        );
        assert_eq!(parameter(target, b"x"), Some(&b""[..]));
        assert_eq!(parameter(target, b"y"), None);
        assert_eq!(last_segment(target), b"_update_by_query");
        assert_eq!(last_segment(b"/"), b"");
    }

    proptest! {
        #[test]
        fn every_id_is_a_segment_that_decodes_to_it(id in proptest::collection::vec(any::<u8>(), 1..20)) {
            let target = with_id(b"/i/_doc", &id);
            prop_assert!(target.iter().all(|b| b.is_ascii_graphic()));
            prop_assert_eq!(decode(last_segment(&target)), id);
        }

        #[test]
        fn no_target_makes_it_panic(target in proptest::collection::vec(any::<u8>(), 0..40)) {
            let pinned = with_id(&target, b"id");
            prop_assert!(pinned.ends_with(b"op_type=create") || parameter(&target, b"op_type").is_some());
            prop_assert!(without(&target, &[b"a"]).is_none_or(|left| left.len() < target.len()));
        }

        #[test]
        fn nothing_is_taken_out_twice(target in "/[a-z]{0,3}\\??([a-c]=[0-9]{0,2}[&;]{0,2}){0,4}") {
            if let Some(left) = without(target.as_bytes(), &[b"a", b"b"]) {
                prop_assert!(left.len() < target.len());
                prop_assert_eq!(without(&left, &[b"a", b"b"]), None);
            }
        }
    }
}
