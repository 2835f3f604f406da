//! What is wrong with a rule file.

use std::fmt;

/// One mistake in a rule file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// The line, from 1.
    pub line: usize,
    /// The key, such as `rule.when.status`; empty when the text is not TOML.
    pub key: String,
    /// The value as written, when there is one.
    pub value: Option<String>,
    /// What is wrong.
    pub why: String,
    /// What to write instead; empty when that is plain.
    pub way_out: String,
}

/// Longest value that a message repeats, in characters.
const SHOWN: usize = 80;

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.key.is_empty() {
            f.write_str(&self.key)?;
            if let Some(value) = &self.value {
                write!(f, " = {}", shortened(value))?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.why)?;
        if !self.way_out.is_empty() {
            write!(f, "; {}", self.way_out)?;
        }
        Ok(())
    }
}

fn shortened(value: &str) -> String {
    let mut shown: String = value
        .chars()
        .take(SHOWN)
        .flat_map(char::escape_debug)
        .collect();
    if value.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    format!("\"{shown}\"")
}

/// Everything that is wrong with a rule file, in the order of its lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.lines())]
pub struct RuleErrors(pub Vec<RuleError>);

impl RuleErrors {
    fn lines(&self) -> String {
        let lines: Vec<String> = self.0.iter().map(RuleError::to_string).collect();
        lines.join("\n")
    }
}
