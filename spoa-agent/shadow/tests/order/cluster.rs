//! A cluster as a model: documents whose content tells in which order they were written.

use std::collections::BTreeMap;

use exchange::operation::answer::Sequence;

/// Which indices there are.
pub(crate) const INDICES: [&str; 3] = ["a1", "a2", "b1"];

/// An index and a document in it.
pub(crate) type Id = (usize, u32);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// The document is this number.
    Index,
    /// This number is added to the document, if there is one.
    Append,
    Delete,
}

/// What an operation on whole indices does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sweeping {
    /// Adds the number to each document.
    Mark,
    /// Deletes the indices. They count their writes anew.
    Drop,
    /// Adds the number to each document that a search sees and that was not written since.
    ByQuery,
}

#[derive(Clone, Debug, Default)]
struct Index {
    documents: BTreeMap<u32, (Vec<u32>, Sequence)>,
    visible: BTreeMap<u32, Vec<u32>>,
    next: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    indices: [Index; INDICES.len()],
}

const ZERO: Sequence = Sequence { term: 1, number: 0 };

impl Cluster {
    /// Writes a document, unless there is nothing to add to.
    pub(crate) fn write(
        &mut self,
        (index, id): Id,
        write: &Write,
        number: u32,
        refresh: bool,
    ) -> Option<Sequence> {
        let index = &mut self.indices[index];
        let content = match write {
            Write::Index => Some(vec![number]),
            Write::Append => {
                let mut content = index.documents.get(&id)?.0.clone();
                content.push(number);
                Some(content)
            }
            Write::Delete => None,
        };
        let sequence = Sequence {
            number: index.next,
            ..ZERO
        };
        index.next += 1;
        match content {
            Some(content) => index.documents.insert(id, (content, sequence)),
            None => index.documents.remove(&id),
        };
        if refresh {
            match index.documents.get(&id) {
                Some((content, _)) => index.visible.insert(id, content.clone()),
                None => index.visible.remove(&id),
            };
        }
        Some(sequence)
    }

    pub(crate) fn get(&self, (index, id): Id) -> Option<(Vec<u32>, Sequence)> {
        self.indices[index].documents.get(&id).cloned()
    }

    pub(crate) fn refresh(&mut self, indices: &[usize]) {
        for index in indices {
            let index = &mut self.indices[*index];
            let contents = index.documents.iter();
            index.visible = contents
                .map(|(id, (content, _))| (*id, content.clone()))
                .collect();
        }
    }

    pub(crate) fn sweep(&mut self, indices: &[usize], sweeping: Sweeping, number: u32) {
        for at in indices {
            if sweeping == Sweeping::Drop {
                self.indices[*at] = Index::default();
                continue;
            }
            let index = &mut self.indices[*at];
            for (id, (content, sequence)) in &mut index.documents {
                if sweeping == Sweeping::ByQuery && index.visible.get(id) != Some(content) {
                    continue;
                }
                content.push(number);
                *sequence = Sequence {
                    number: index.next,
                    ..ZERO
                };
                index.next += 1;
            }
            if sweeping == Sweeping::Mark {
                self.refresh(&[*at]);
            }
        }
    }

    /// All documents.
    pub(crate) fn contents(&self) -> BTreeMap<Id, Vec<u32>> {
        let mut all = BTreeMap::new();
        for (at, index) in self.indices.iter().enumerate() {
            for (id, (content, _)) in &index.documents {
                all.insert((at, *id), content.clone());
            }
        }
        all
    }
}
