//! Index expressions: what they cover. In doubt they cover more, never less.

use bytes::Bytes;
use smallvec::SmallVec;

use super::footprint::{Name, Scope};

/// A scope, sorted into names and patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expressions {
    pub(super) names: SmallVec<[Name; 1]>,
    patterns: SmallVec<[Name; 1]>,
    all: bool,
}

impl Expressions {
    pub(crate) fn of(scope: &Scope) -> Self {
        let mut expressions = Self::default();
        match scope {
            Scope::Nothing => {}
            Scope::All => expressions.all = true,
            Scope::Indices(list) => {
                for expression in list {
                    expressions.add(expression);
                }
                // Only exclusions, or nothing at all: the cluster takes that as everything.
                if expressions.is_empty() {
                    expressions.all = true;
                }
            }
        }
        expressions
    }

    fn add(&mut self, expression: &Name) {
        match expression.first() {
            None => self.all = true,
            // An exclusion makes the rest smaller. No index has such a name.
            Some(b'-') => {}
            Some(b'<') => self.patterns.push(date_math(expression)),
            Some(_) if names_all(expression) => self.all = true,
            Some(_) if expression.contains(&b'*') => self.patterns.push(expression.clone()),
            Some(_) => self.names.push(expression.clone()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.is_wide() && self.names.is_empty()
    }

    /// Whether it may cover indices that it does not name.
    pub(super) fn is_wide(&self) -> bool {
        self.all || !self.patterns.is_empty()
    }

    pub(crate) fn covers(&self, name: &[u8]) -> bool {
        self.all
            || self.names.iter().any(|own| own == name)
            || self.patterns.iter().any(|pattern| matches(pattern, name))
    }

    /// Whether some index may be covered by both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        if self.is_empty() || other.is_empty() {
            return false;
        }
        self.all
            || other.all
            || self.names.iter().any(|name| other.covers(name))
            || other.names.iter().any(|name| self.covers(name))
            || self
                .patterns
                .iter()
                .any(|one| other.patterns.iter().any(|two| may_meet(one, two)))
    }

    /// Whether each index that this may cover is surely covered by the other.
    pub(super) fn only_names_in(&self, other: &Self) -> bool {
        other.all || !self.is_wide() && self.names.iter().all(|name| other.covers(name))
    }

    pub(super) const fn is_all(&self) -> bool {
        self.all
    }

    /// The same in memory of its own: a name may be a slice of a whole request body.
    pub(super) fn detached(&self) -> Self {
        let copy = |names: &SmallVec<[Name; 1]>| names.iter().map(|name| detached(name)).collect();
        Self {
            names: copy(&self.names),
            patterns: copy(&self.patterns),
            all: self.all,
        }
    }

    /// The expressions, to be told to a person.
    pub(super) fn told(&self) -> impl Iterator<Item = Name> + '_ {
        let all = self.all.then(|| Bytes::from_static(b"*"));
        all.into_iter()
            .chain(self.names.iter().cloned())
            .chain(self.patterns.iter().cloned())
    }
}

/// A name in memory of its own.
pub(super) fn detached(name: &[u8]) -> Name {
    Bytes::copy_from_slice(name)
}

fn names_all(expression: &[u8]) -> bool {
    expression == b"_all" || expression.iter().all(|byte| *byte == b'*')
}

/// `<logs-{now/d}>` is some index whose name begins with `logs-`.
fn date_math(expression: &[u8]) -> Name {
    let fixed = expression
        .iter()
        .skip(1)
        .take_while(|byte| **byte != b'{' && **byte != b'>');
    fixed.copied().chain([b'*']).collect()
}

/// Whether a name fits a pattern in which `*` stands for anything. In steps of at most the product of both lengths.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, n));
                p += 1;
            }
            Some(byte) if name.get(n) == Some(byte) => {
                p += 1;
                n += 1;
            }
            _ => {
                // The last star takes one byte more.
                let Some((star, from)) = retry else {
                    return false;
                };
                retry = Some((star, from + 1));
                p = star + 1;
                n = from + 1;
            }
        }
    }
    pattern.iter().skip(p).all(|byte| *byte == b'*')
}

/// Whether one name may fit both patterns: it cannot when their fixed beginnings or ends differ.
fn may_meet(one: &[u8], two: &[u8]) -> bool {
    fn agree<'a>(one: impl Iterator<Item = &'a u8>, two: impl Iterator<Item = &'a u8>) -> bool {
        one.zip(two)
            .take_while(|(a, b)| **a != b'*' && **b != b'*')
            .all(|(a, b)| a == b)
    }
    agree(one.iter(), two.iter()) && agree(one.iter().rev(), two.iter().rev())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(list: &[&'static str]) -> Expressions {
        let list = list.iter().map(|name| Bytes::from_static(name.as_bytes()));
        Expressions::of(&Scope::Indices(list.collect()))
    }

    #[test]
    fn expressions_cover_what_they_name() {
        for (list, covered, not_covered) in [
            (&["logs"][..], &["logs"][..], &["log", "logs-1"][..]),
            (&["logs-*"], &["logs-", "logs-1"], &["logs", "metrics-1"]),
            (&["*-1", "a"], &["x-1", "-1", "a"], &["x-2", "b"]),
            (&["a*b*c"], &["abc", "a-b-b-c"], &["ab", "abcd", "acb"]),
            (&["_all"], &["anything"], &[]),
            (&["*"], &["anything"], &[]),
            (&[], &["anything"], &[]),
            (&["logs-*", "-logs-1"], &["logs-1", "logs-2"], &["x"]),
            (&["<logs-{now/d}>"], &["logs-2024.01.01"], &["metrics"]),
        ] {
            let expressions = of(list);
            for name in covered {
                assert!(expressions.covers(name.as_bytes()), "{list:?} {name}");
            }
            for name in not_covered {
                assert!(!expressions.covers(name.as_bytes()), "{list:?} {name}");
            }
        }
    }

    #[test]
    fn scopes_meet_unless_they_cannot() {
        assert!(of(&["a*"]).meets(&of(&["*1"])));
        assert!(of(&["a*"]).meets(&of(&["a1"])));
        assert!(!of(&["a*"]).meets(&of(&["b*"])));
        assert!(!of(&["*1"]).meets(&of(&["*2"])));
        assert!(!of(&["a"]).meets(&of(&["b", "c*"])));
        assert!(of(&["a"]).meets(&Expressions::of(&Scope::All)));
        assert!(!of(&["a"]).meets(&Expressions::of(&Scope::Nothing)));
    }

    proptest! {
        #[test]
        fn two_patterns_that_one_name_fits_meet(
            name in "[ab]{0,6}", one in "[ab*]{1,5}", two in "[ab*]{1,5}"
        ) {
            let (one, two) = (one.as_bytes(), two.as_bytes());
            if matches(one, name.as_bytes()) && matches(two, name.as_bytes()) {
                prop_assert!(may_meet(one, two));
            }
        }

        #[test]
        fn a_name_with_parts_replaced_by_stars_fits(name in "[ab]{0,8}", star in any::<u8>()) {
            let pattern: Vec<u8> = name
                .bytes()
                .enumerate()
                .map(|(at, byte)| if star & (1 << at) != 0 { b'*' } else { byte })
                .collect();
            prop_assert!(matches(&pattern, name.as_bytes()));
        }
    }
}
