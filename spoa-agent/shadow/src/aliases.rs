//! Which indices a name stands for, as far as answers have told. A document that is written under an alias
//! and the same document written under its index are one document.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use parking_lot::RwLock;

/// Names that are remembered. A cluster has fewer; a client that invents names learns no answers.
const LIMIT: usize = 65_536;

/// Names and the indices behind them.
#[derive(Debug, Default)]
pub(crate) struct Aliases {
    names: RwLock<HashMap<Bytes, BTreeSet<Bytes>>>,
}

impl Aliases {
    /// The primary answered for a document in `index` that was asked for under `name`.
    pub(crate) fn learn(&self, name: &Bytes, index: &Bytes) {
        if name == index || self.knows(name, index) {
            return;
        }
        let mut names = self.names.write();
        if names.len() < LIMIT || names.contains_key(name) {
            // Copies: what was captured must not stay in memory for the sake of a name.
            let own = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
            names.entry(own(name)).or_default().insert(own(index));
        }
    }

    /// The one index behind the name, or the name itself.
    pub(crate) fn resolve(&self, name: &Bytes) -> Bytes {
        let names = self.names.read();
        match names.get(name) {
            Some(indices) if indices.len() == 1 => indices.first().unwrap_or(name).clone(),
            _ => name.clone(),
        }
    }

    /// The expressions, and the indices behind those that are names.
    pub(crate) fn expand(&self, expressions: &[Bytes]) -> Vec<Bytes> {
        let names = self.names.read();
        let mut all = expressions.to_vec();
        for indices in expressions.iter().filter_map(|name| names.get(name)) {
            all.extend(indices.iter().cloned());
        }
        all
    }

    fn knows(&self, name: &Bytes, index: &Bytes) -> bool {
        let names = self.names.read();
        names
            .get(name)
            .is_some_and(|indices| indices.contains(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_stands_for_its_index_once_an_answer_has_told() {
        let aliases = Aliases::default();
        let [alias, one, two] = ["logs", "logs-1", "logs-2"].map(Bytes::from);
        assert_eq!(aliases.resolve(&alias), alias);
        aliases.learn(&alias, &one);
        aliases.learn(&one, &one);
        assert_eq!(aliases.resolve(&alias), one);
        assert_eq!(
            aliases.expand(std::slice::from_ref(&alias)),
            [alias.clone(), one.clone()]
        );
        // An alias of two indices is no index; what it covers is both.
        aliases.learn(&alias, &two);
        assert_eq!(aliases.resolve(&alias), alias);
        assert_eq!(
            aliases.expand(std::slice::from_ref(&alias)),
            [alias, one, two]
        );
    }
}
