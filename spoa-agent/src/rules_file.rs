//! The rule file of the shadow (`shadow.rules_file`): from a path to [`Rules`]. What it says is the crate
//! `shadow`'s business.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use exchange::operation::Api;
use shadow::rules::{RuleErrors, Rules};

/// Far above what a person writes, far below what hurts; in bytes.
const LIMIT: u64 = 1 << 20;

/// Why there are no rules.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    /// The file cannot be read at all.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// It is not text.
    #[error("is longer than {LIMIT} bytes, or is not UTF-8")]
    NotText,
    /// It is wrong.
    #[error(transparent)]
    Wrong(#[from] RuleErrors),
}

impl Unusable {
    /// Each mistake for itself.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        match self {
            Self::Wrong(RuleErrors(errors)) => errors.iter().map(ToString::to_string).collect(),
            other => vec![other.to_string()],
        }
    }
}

/// Reads the file.
pub(crate) fn read(path: &Path) -> Result<Rules, Unusable> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(LIMIT + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT {
        return Err(Unusable::NotText);
    }
    let text = String::from_utf8(bytes).map_err(|_| Unusable::NotText)?;
    let apis: Vec<&str> = Api::ALL.iter().map(|api| api.as_str()).collect();
    Ok(Rules::parse(&text, &apis)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_example_is_right_and_changes_nothing_until_it_is_edited() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules.example.toml");
        let rules = read(&path).unwrap();
        assert!(rules.is_empty());
        let text = fs::read_to_string(&path).unwrap();
        // With its comment signs off, it is what it shows.
        let shown: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')))
            .collect();
        let rules = Rules::parse(&shown.join("\n"), &[]).unwrap();
        assert_eq!((rules.len(), rules.warnings()), (4, vec![]));
        assert_eq!(rules.renamed(b"logs-1").as_ref(), b"copy-logs-1");
    }
}
