//! What may be said about single requests: which are not captured, and which headers are added to them.
//!
//! Regular expressions and header values are the user's own text. They are quoted for HAProxy, so that
//! nothing in them can end a line or an argument.

use std::fmt;
use std::str::FromStr;

use crate::address::shortened;
use crate::problem::Problem;

/// HAProxy 2.6 reads 2048 bytes of a line, the rest of the line included.
const MAX_TEXT: usize = 1800;
/// Longer names of headers are of no use.
const MAX_NAME: usize = 64;
const SKIP: &str = "skip-capture condition";
const SET: &str = "header to set";

/// Requests that are not captured, and neither are their responses. The regular expression must match the
/// whole of what it looks at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SkipCapture {
    /// By the method.
    Method(String),
    /// By the target: path and query.
    Target(String),
    /// By method, space and target.
    Line(String),
    /// By one of the lines of a header.
    Header {
        /// The header's name, in any case.
        name: String,
        /// What its value must match.
        value: String,
    },
}

impl SkipCapture {
    /// The condition without the regular expression, and that expression.
    pub(crate) fn parts(&self) -> (String, &str) {
        match self {
            Self::Method(regex) => ("method".to_owned(), regex),
            Self::Target(regex) => ("var(txn.target)".to_owned(), regex),
            Self::Line(regex) => ("var(txn.line)".to_owned(), regex),
            Self::Header { name, value } => (format!("req.fhdr({name})"), value),
        }
    }
}

/// `method=REGEX`, `target=REGEX`, `line=REGEX` or `header=NAME:REGEX`.
impl FromStr for SkipCapture {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let malformed = |why| Problem::Malformed {
            thing: SKIP,
            value: shortened(text),
            why,
            expected: "method=REGEX, target=REGEX, line=REGEX or header=NAME:REGEX",
        };
        let (kind, regex) = text
            .split_once('=')
            .ok_or_else(|| malformed("it has no ="))?;
        let skip = match kind {
            "method" => Self::Method(regex.to_owned()),
            "target" => Self::Target(regex.to_owned()),
            "line" => Self::Line(regex.to_owned()),
            "header" => {
                let (name, value) = regex
                    .split_once(':')
                    .ok_or_else(|| malformed("the header has no :"))?;
                Self::Header {
                    name: name.to_owned(),
                    value: value.trim_start().to_owned(),
                }
            }
            _other => return Err(malformed("nothing else can be looked at")),
        };
        check_skip(&skip)?;
        Ok(skip)
    }
}

impl fmt::Display for SkipCapture {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method(regex) => write!(out, "method={regex}"),
            Self::Target(regex) => write!(out, "target={regex}"),
            Self::Line(regex) => write!(out, "line={regex}"),
            Self::Header { name, value } => write!(out, "header={name}:{value}"),
        }
    }
}

/// A header that requests get on their way to the node, after the capture; one of that name is replaced.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetHeader {
    /// Its name.
    pub name: String,
    /// Its value. It may be a secret.
    pub value: String,
}

/// `NAME:VALUE`.
impl FromStr for SetHeader {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let Some((name, value)) = text.split_once(':') else {
            return Err(Problem::Malformed {
                thing: SET,
                value: shortened(text),
                why: "it has no :",
                expected: "NAME:VALUE",
            });
        };
        let header = Self {
            name: name.to_owned(),
            value: value.trim().to_owned(),
        };
        check_set(&header)?;
        Ok(header)
    }
}

/// Without the value.
impl fmt::Debug for SetHeader {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SetHeader({})", self.name)
    }
}

pub(crate) fn check_skip(skip: &SkipCapture) -> Result<(), Problem> {
    if let SkipCapture::Header { name, .. } = skip {
        check_name(SKIP, name)?;
    }
    let (_, regex) = skip.parts();
    if regex.is_empty() {
        return Err(Problem::Missing {
            thing: "the regular expression of a skip-capture condition",
            way_out: "`.*` matches everything",
        });
    }
    check_text(SKIP, regex, regex)
}

pub(crate) fn check_set(header: &SetHeader) -> Result<(), Problem> {
    check_name(SET, &header.name)?;
    // The value may be a secret: it is not repeated.
    check_text(SET, &header.value, &header.name)
}

/// RFC 9110, 5.6.2.
fn check_name(thing: &'static str, name: &str) -> Result<(), Problem> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    // In a call such as req.fhdr() these would have to be quoted, and no header in use has them.
    let plain = |c: char| token(c) && !"#$'`\\|".contains(c);
    if name.is_empty() {
        return Err(Problem::Missing {
            thing: "the name of a header",
            way_out: "write it before the value",
        });
    }
    if name.len() > MAX_NAME {
        return Err(Problem::TooLong {
            thing,
            value: shortened(name),
            length: name.len(),
            limit: MAX_NAME,
        });
    }
    match name.chars().find(|c| !plain(*c)) {
        None => Ok(()),
        Some(found) => Err(Problem::ForbiddenCharacter {
            thing,
            value: shortened(name),
            found,
            allowed: "letters, digits and ! % & * + - . ^ _ ~",
        }),
    }
}

fn check_text(thing: &'static str, text: &str, shown: &str) -> Result<(), Problem> {
    if let Some(found) = text.chars().find(|c| c.is_control()) {
        return Err(Problem::ForbiddenCharacter {
            thing,
            value: shortened(shown),
            found,
            allowed: "characters that can be seen",
        });
    }
    // As it will be written.
    let length = quoted(&text.replace('%', "%%")).len();
    if length > MAX_TEXT {
        return Err(Problem::TooLong {
            thing,
            value: shortened(shown),
            length,
            limit: MAX_TEXT,
        });
    }
    Ok(())
}

/// One argument for HAProxy, whatever is in it: nothing has a meaning between single quotes but their end.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_as_they_are_shown() {
        for text in [
            "method=GET|HEAD",
            "target=/_cat/.*",
            "line=GET /a=b.*",
            "header=X-Skip:a:b",
        ] {
            let skip: SkipCapture = text.parse().unwrap();
            assert_eq!(skip.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_the_way_out() {
        for (text, part) in [
            ("GET", "has no ="),
            ("body=x", "nothing else"),
            ("header=x", "no :"),
            ("method=", "is missing"),
            ("header=a b:x", "contains ' '"),
            ("target=a\nb", "contains '\\n'"),
        ] {
            let problem = text.parse::<SkipCapture>().unwrap_err().to_string();
            assert!(problem.contains(part), "{problem}");
        }
    }

    #[test]
    fn the_value_of_a_header_is_not_shown() {
        let header: SetHeader = "Authorization: Basic c2VjcmV0".parse().unwrap();
        assert!(!format!("{header:?}").contains("c2VjcmV0"));
        let problem = "A:se\u{1}cret".parse::<SetHeader>().unwrap_err();
        assert!(!problem.to_string().contains("cret"), "{problem}");
    }

    #[test]
    fn quotes_hold_everything() {
        assert_eq!(
            quoted(r#"a 'b' "c" \d $e #f"#),
            r#"'a '\''b'\'' "c" \d $e #f'"#
        );
    }
}
