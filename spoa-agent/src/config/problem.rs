//! What is wrong with a configuration, where it was written, and the way out.

use std::fmt;
use std::path::PathBuf;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of the configuration file; lines count from 1.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// The line; 0 when the whole file is meant.
        line: usize,
    },
    /// An environment variable.
    Env(String),
    /// A command line flag, with its dashes.
    Flag(String),
    /// Nobody wrote it: the default.
    Default,
}

impl Origin {
    /// Where it comes in the order of reading: the file line by line, the environment, flags.
    pub(super) fn place(&self) -> (u8, usize) {
        match self {
            Self::File { line, .. } => (0, *line),
            Self::Env(_) => (1, 0),
            Self::Flag(_) => (2, 0),
            Self::Default => (3, 0),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: 0 } => write!(out, "{}", path.display()),
            Self::File { path, line } => write!(out, "{}:{line}", path.display()),
            Self::Env(name) => write!(out, "env {name}"),
            Self::Flag(name) => write!(out, "flag {name}"),
            Self::Default => out.write_str("default"),
        }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written.
    pub origin: Origin,
    /// The key as written, such as `journal.segment_size`; empty when it is not about one key.
    pub key: String,
    /// The value as written, when there was one.
    pub value: Option<String>,
    /// What is wrong.
    pub why: String,
    /// What to do about it; empty when that is plain.
    pub way_out: String,
}

/// Longest value that a message repeats, in characters.
const SHOWN_VALUE: usize = 80;

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            out.write_str(&self.key)?;
            if let Some(value) = &self.value {
                write!(out, " = {}", shortened(value))?;
            }
            out.write_str(": ")?;
        }
        out.write_str(&self.why)?;
        if !self.way_out.is_empty() {
            write!(out, "; {}", self.way_out)?;
        }
        Ok(())
    }
}

fn shortened(value: &str) -> String {
    let mut shown: String = value
        .chars()
        .take(SHOWN_VALUE)
        .flat_map(char::escape_debug)
        .collect();
    if value.chars().nth(SHOWN_VALUE).is_some() {
        shown.push_str("...");
    }
    format!("\"{shown}\"")
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.lines())]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// One line per problem.
    fn lines(&self) -> String {
        let lines: Vec<String> = self.0.iter().map(Problem::to_string).collect();
        lines.join("\n")
    }
}
