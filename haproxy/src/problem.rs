//! What can be wrong with the options, in words for the person who wrote them.

use std::fmt;

/// One mistake: the thing, its value, the limit, and the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A word that is none of the known ones.
    #[error("{thing} {value:?} is not known; use {known}")]
    UnknownWord {
        /// What the word was given for.
        thing: &'static str,
        /// The word as given.
        value: String,
        /// The words that are known.
        known: &'static str,
    },
    /// Text that does not have the expected shape.
    #[error("{thing} {value:?}: {why}; write {expected}")]
    Malformed {
        /// What the text was given for.
        thing: &'static str,
        /// The text as given.
        value: String,
        /// What is wrong with it.
        why: &'static str,
        /// The expected shape.
        expected: &'static str,
    },
    /// A character that would change the meaning of a configuration line.
    #[error("{thing} {value:?} contains {found:?}; only {allowed} may be used here")]
    ForbiddenCharacter {
        /// What the text was given for.
        thing: &'static str,
        /// The text as given.
        value: String,
        /// The first forbidden character.
        found: char,
        /// What may be used.
        allowed: &'static str,
    },
    /// Text that HAProxy would cut or refuse.
    #[error("{thing} {value:?} has {length} characters, the limit is {limit}; shorten it")]
    TooLong {
        /// What the text was given for.
        thing: &'static str,
        /// The beginning of the text.
        value: String,
        /// Its length.
        length: usize,
        /// The longest allowed.
        limit: usize,
    },
    /// A number or a duration outside of what works.
    #[error("{thing} is {value}, it must be between {least} and {most}; {way_out}")]
    OutOfRange {
        /// Which number.
        thing: &'static str,
        /// Its value, with its unit.
        value: String,
        /// The smallest that works.
        least: String,
        /// The largest that works.
        most: String,
        /// What to do about it.
        way_out: &'static str,
    },
    /// Something that must be given is not.
    #[error("{thing} is missing; {way_out}")]
    Missing {
        /// What is missing.
        thing: &'static str,
        /// What to do about it.
        way_out: &'static str,
    },
    /// The same thing twice.
    #[error("{thing} {value:?} is given twice; remove one of them")]
    Duplicate {
        /// What is given twice.
        thing: &'static str,
        /// Its value.
        value: String,
    },
    /// Two options, each right by itself, that exclude each other.
    #[error("{one} and {other} exclude each other: {why}; {way_out}")]
    Conflict {
        /// The one, with its value.
        one: String,
        /// The other, with its value.
        other: String,
        /// Why they cannot both be.
        why: &'static str,
        /// What to do about it.
        way_out: &'static str,
    },
}

/// All mistakes of one set of options, in the order of the options. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub(crate) Vec<Problem>);

impl Problems {
    /// The mistakes, one by one.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_shown_one_a_line() {
        let problems = Problems(vec![
            Problem::Missing {
                thing: "a node",
                way_out: "name one",
            },
            Problem::Duplicate {
                thing: "node",
                value: "a:1".to_owned(),
            },
        ]);
        assert_eq!(
            problems.to_string(),
            "a node is missing; name one\nnode \"a:1\" is given twice; remove one of them"
        );
    }
}
