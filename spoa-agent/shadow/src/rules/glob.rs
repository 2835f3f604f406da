//! Patterns in which `*` stands for any bytes, also none. There is nothing else to them: a question mark,
//! a bracket and a comma are themselves.

use std::fmt;

/// A pattern, or a name when it holds no `*`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Glob(Box<[u8]>);

const ANY: u8 = b'*';

impl Glob {
    pub(crate) fn new(text: impl AsRef<[u8]>) -> Self {
        Self(text.as_ref().into())
    }

    /// For names that are compared without regard to case.
    pub(crate) fn lower(text: &str) -> Self {
        Self::new(text.to_ascii_lowercase())
    }

    pub(crate) fn text(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn is_plain(&self) -> bool {
        !self.0.contains(&ANY)
    }

    /// Whether it stands for `text`. When `text` is an index expression with `*` of its own: whether it
    /// stands for everything that the expression stands for.
    pub(crate) fn covers(&self, text: &[u8]) -> bool {
        let pattern = &self.0;
        let (mut at, mut in_text) = (0, 0);
        // Where to go on when a guess was wrong: behind the last `*`, one byte further in the text.
        let mut again = None;
        while let Some(byte) = text.get(in_text) {
            match pattern.get(at) {
                Some(&ANY) => {
                    at += 1;
                    again = Some((at, in_text));
                }
                Some(wanted) if wanted == byte => {
                    at += 1;
                    in_text += 1;
                }
                _ => {
                    let Some((behind, from)) = again else {
                        return false;
                    };
                    at = behind;
                    in_text = from + 1;
                    again = Some((behind, in_text));
                }
            }
        }
        pattern.iter().skip(at).all(|byte| *byte == ANY)
    }

    /// Whether some name is meant by both, when `other` may hold `*` too.
    pub(crate) fn overlaps(&self, other: &[u8]) -> bool {
        if !other.contains(&ANY) {
            return self.covers(other);
        }
        // Which places in the pattern can be reached by what was read of `other`.
        let mut reached = vec![false; self.0.len() + 1];
        if let Some(first) = reached.first_mut() {
            *first = true;
        }
        self.step_over_stars(&mut reached);
        for byte in other {
            reached = self.read(*byte, &reached);
        }
        reached.last().copied().unwrap_or(false)
    }

    fn read(&self, byte: u8, reached: &[bool]) -> Vec<bool> {
        let mut next = vec![false; reached.len()];
        if byte == ANY {
            // It can be whatever leads from the first place reached to any later one.
            let first = reached.iter().position(|is| *is).unwrap_or(reached.len());
            next.iter_mut().skip(first).for_each(|is| *is = true);
            return next;
        }
        for (at, wanted) in self.0.iter().enumerate() {
            if reached.get(at) != Some(&true) {
                continue;
            }
            let to = if *wanted == ANY { at } else { at + 1 };
            if (*wanted == ANY || *wanted == byte)
                && let Some(is) = next.get_mut(to)
            {
                *is = true;
            }
        }
        self.step_over_stars(&mut next);
        next
    }

    fn step_over_stars(&self, reached: &mut [bool]) {
        for (at, wanted) in self.0.iter().enumerate() {
            if *wanted == ANY
                && reached.get(at) == Some(&true)
                && let Some(next) = reached.get_mut(at + 1)
            {
                *next = true;
            }
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stands_for_any_bytes_and_everything_else_for_itself() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "a/b", true),
            ("/_cat/*", "/_cat/indices", true),
            ("/_cat/*", "/_cat", false),
            ("a*c", "abcbc", true),
            ("a*c", "abcb", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("a?c", "abc", false),
            ("logs-*", "logs-2026-*", true),
            ("logs-2026-*", "logs-*", false),
        ] {
            assert_eq!(
                Glob::new(pattern).covers(text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn two_patterns_overlap_when_one_name_is_meant_by_both() {
        for (pattern, other, expected) in [
            ("logs-*", "*-2026", true),
            ("logs-*", "lo*", true),
            ("logs-*", "metrics-*", false),
            ("secret", "*", true),
            ("secret", "s*t", true),
            ("secret", "s*x", false),
            ("*a", "b*", true),
            ("a", "b", false),
        ] {
            assert_eq!(
                Glob::new(pattern).overlaps(other.as_bytes()),
                expected,
                "{pattern} {other}"
            );
            assert_eq!(
                Glob::new(other).overlaps(pattern.as_bytes()),
                expected,
                "{other} {pattern}"
            );
        }
    }

    /// Says the same by trying every name of a few letters.
    fn names() -> Vec<Vec<u8>> {
        let mut all = vec![Vec::new()];
        let mut from = 0;
        for _length in 0..5 {
            let to = all.len();
            for at in from..to {
                for letter in b"ab" {
                    let mut longer = all[at].clone();
                    longer.push(*letter);
                    all.push(longer);
                }
            }
            from = to;
        }
        all
    }

    proptest! {
        #[test]
        fn a_name_is_covered_exactly_when_the_slow_definition_says_so(pattern in "[ab*]{0,5}", text in "[ab]{0,6}") {
            fn slow(pattern: &[u8], text: &[u8]) -> bool {
                match pattern.split_first() {
                    None => text.is_empty(),
                    Some((b'*', rest)) => (0..=text.len()).any(|n| slow(rest, &text[n..])),
                    Some((byte, rest)) => text.first() == Some(byte) && slow(rest, &text[1..]),
                }
            }
            let expected = slow(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(Glob::new(&pattern).covers(text.as_bytes()), expected);
        }

        #[test]
        fn patterns_overlap_exactly_when_a_name_is_covered_by_both(a in "[ab*]{0,3}", b in "[ab*]{0,3}") {
            let (first, second) = (Glob::new(&a), Glob::new(&b));
            // Two patterns of three places that overlap at all do so in a name of at most six letters; with
            // at most two letters each outside of their stars, five are enough.
            let expected = names().iter().any(|name| first.covers(name) && second.covers(name));
            prop_assert_eq!(first.overlaps(b.as_bytes()), expected);
        }
    }
}
