//! Index expressions: which indices an operation names.

use bytes::Bytes;

use super::target;

/// Which indices an operation names.
///
/// A name stays as the client wrote it: aliases and date math (`<logs-{now/d}>`) are not resolved, because
/// only the cluster knows what they stand for. An index that is named by date math is known when the answer tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indices {
    /// The expressions between the commas, percent-decoded: names, aliases, patterns with `*`, exclusions
    /// with `-`, date math in `<>`. Empty, or holding `_all` or `*`: all of them.
    pub names: Vec<Bytes>,
}

impl Indices {
    /// The expressions of a segment of a path, as written there.
    pub(super) fn written(segment: &[u8]) -> Self {
        let mut indices = Self::default();
        indices.add(&target::segment(segment));
        indices
    }

    /// One name, commas and all.
    pub(super) fn one(name: Bytes) -> Self {
        Self { names: vec![name] }
    }

    /// Adds the expressions between the commas.
    pub(super) fn add(&mut self, expression: &[u8]) {
        self.names.extend(
            expression
                .split(|b| *b == b',')
                .filter(|name| !name.is_empty())
                .map(Bytes::copy_from_slice),
        );
    }

    /// Whether these are all indices: there is no name, `_all`, or `*` without an exclusion after it.
    #[must_use]
    pub fn is_all(&self) -> bool {
        let is_everything = |name: &Bytes| matches!(name.as_ref(), b"*" | b"_all");
        self.names.is_empty()
            || self.names.iter().any(|name| name == "_all")
            || self
                .names
                .iter()
                .rposition(is_everything)
                .is_some_and(|at| !self.names.iter().skip(at).any(|name| is_exclusion(name)))
    }

    /// Whether they may be other indices than the names say: all of them, or some name is a pattern, an
    /// exclusion or date math.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        self.is_all()
            || self
                .names
                .iter()
                .any(|name| has_wildcard(name) || matches!(name.first(), Some(b'-' | b'<')))
    }

    /// Whether `name` is among them. The names are taken in order, and an exclusion (`-x`) takes away from what a pattern before it
    /// added; without a pattern before it, it is a name as any other (Elasticsearch 6 and later).
    ///
    /// Names are compared as written: an alias is not the index behind it. Hidden indices are
    /// matched, although the cluster may leave them out.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        if self.is_all() {
            return true;
        }
        let mut matched = false;
        let mut wildcard_seen = false;
        for expression in &self.names {
            match expression.strip_prefix(b"-") {
                Some(excluded) if wildcard_seen => matched &= !wildcard_match(excluded, name),
                _ => {
                    matched |= wildcard_match(expression, name);
                    wildcard_seen |= has_wildcard(expression);
                }
            }
        }
        matched
    }
}

fn is_exclusion(name: &[u8]) -> bool {
    name.first() == Some(&b'-')
}

fn has_wildcard(name: &[u8]) -> bool {
    name.contains(&b'*')
}

/// Whether `name` is what `pattern` says, where `*` stands for any bytes. Linear but for the last `*`
/// before a mismatch, from which it begins again.
fn wildcard_match(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut again = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                again = Some((p + 1, n));
                p += 1;
            }
            Some(byte) if Some(byte) == name.get(n) => {
                p += 1;
                n += 1;
            }
            _ => match again {
                Some((star, from)) => {
                    p = star;
                    n = from + 1;
                    again = Some((star, n));
                }
                None => return false,
            },
        }
    }
    pattern
        .get(p..)
        .is_some_and(|rest| rest.iter().all(|b| *b == b'*'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn indices(expression: &str) -> Indices {
        Indices::written(expression.as_bytes())
    }

    fn matched<'a>(expression: &str, names: &[&'a str]) -> Vec<&'a str> {
        let indices = indices(expression);
        names
            .iter()
            .filter(|name| indices.matches(name.as_bytes()))
            .copied()
            .collect()
    }

    #[test]
    fn all_indices_are_no_name_or_all_or_a_star_without_an_exclusion_after_it() {
        for all in ["", ",", "_all", "*", "a,*", "-a,*", "_all,-a", "%5Fall"] {
            assert!(indices(all).is_all(), "{all}");
            assert!(indices(all).matches(b"a"), "{all}");
        }
        for some in ["a", "a*", "*,-a", "**a"] {
            assert!(!indices(some).is_all(), "{some}");
        }
    }

    #[test]
    fn an_exclusion_takes_away_from_the_patterns_before_it_only() {
        let names = ["a1", "a2", "b", "-b"];
        assert_eq!(matched("a*,b", &names), ["a1", "a2", "b"]);
        assert_eq!(matched("a*,-a1", &names), ["a2"]);
        assert_eq!(matched("a*,-a1,a1", &names), ["a1", "a2"]);
        assert_eq!(matched("*,-a*", &names), ["b", "-b"]);
        assert_eq!(matched("b,-b", &names), ["b", "-b"]);
        assert_eq!(matched("%2A,-b", &names), ["a1", "a2", "-b"]);
    }

    #[test]
    fn date_math_is_a_pattern_because_its_index_is_not_known() {
        assert!(indices("%3Clogs-%7Bnow%2Fd%7D%3E").is_pattern());
        assert!(indices("a*").is_pattern() && indices("").is_pattern());
        assert!(!indices("a,.b").is_pattern());
    }

    /// What a `*` means, without any thought of speed.
    fn slow(pattern: &[u8], name: &[u8]) -> bool {
        match pattern {
            [] => name.is_empty(),
            [b'*', rest @ ..] => (0..=name.len()).any(|at| slow(rest, &name[at..])),
            [byte, rest @ ..] => name.first() == Some(byte) && slow(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_the_slow_matcher_matches(
            pattern in "[ab*]{0,8}", name in "[ab]{0,10}",
        ) {
            prop_assert_eq!(
                wildcard_match(pattern.as_bytes(), name.as_bytes()),
                slow(pattern.as_bytes(), name.as_bytes())
            );
        }
    }
}
