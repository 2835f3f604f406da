//! What an operation touches: all that [`super::Order`] ever sees of it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use bytes::Bytes;
use exchange::operation::Access;
use exchange::operation::answer::Sequence;

/// An exchange, by its position in the journal.
pub type Ticket = u64;

/// An index, by its name.
pub type Name = Bytes;

/// Something that can be touched and has no name here: a document, a token, a client connection. Two things may share a key; that
/// costs parallelism and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub u64);

/// Makes [`Key`]s. Seeded at random, so that nobody outside can choose ids that collide.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    seed: RandomState,
}

impl Keys {
    /// The key of a document.
    ///
    /// A write must have the same key when it begins and when it is complete, or those that overlap it
    /// are not held back: a caller who cannot tell an alias from its index gives an empty `index` for all
    /// documents.
    #[must_use]
    pub fn document(&self, index: &[u8], routing: Option<&[u8]>, id: &[u8]) -> Key {
        self.hash(b'd', &[index, routing.unwrap_or(id), id])
    }

    /// The key of a token that the cluster gave out: a scroll, point-in-time, async search or task id.
    #[must_use]
    pub fn token(&self, token: &[u8]) -> Key {
        self.hash(b't', &[token])
    }

    /// The key of a client connection, by what is unique about it, for example address and port.
    #[must_use]
    pub fn connection(&self, client: &[u8]) -> Key {
        self.hash(b'c', &[client])
    }

    fn hash(&self, kind: u8, parts: &[&[u8]]) -> Key {
        let mut hasher = self.seed.build_hasher();
        hasher.write_u8(kind);
        for part in parts {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        Key(hasher.finish())
    }
}

/// What an operation touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// What it does with `indices`. A read is a search; with `refresh` it is a call of `_refresh`. A
    /// write is a barrier.
    pub access: Access,
    /// The documents that it names, in item order. A refused item is not among them once it is known to
    /// be refused, and an update that changed nothing is a read.
    pub documents: Vec<Touch>,
    /// The indices that it touches as a whole.
    pub indices: Scope,
    /// For a barrier: which documents it takes in without naming them.
    pub sweep: Sweep,
    /// Tokens and connections. They are in order of completion, and no sequence moves them.
    pub keys: Vec<(Key, Access)>,
    /// It makes writes visible: `_refresh`, or a write with `refresh` of `true` or `wait_for`.
    pub refresh: bool,
}

impl Default for Footprint {
    fn default() -> Self {
        Self {
            access: Access::Read,
            documents: Vec::new(),
            indices: Scope::Nothing,
            sweep: Sweep::Nothing,
            keys: Vec::new(),
            refresh: false,
        }
    }
}

/// One document that an operation names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touch {
    /// Its index.
    pub index: Name,
    /// Its key; see [`Keys::document`].
    pub key: Key,
    /// What is done with it.
    pub access: Access,
    /// For a write, its own number on the primary; for a read, that of the write that it saw. `None` when
    /// the answer does not tell, and while there is none.
    pub sequence: Option<Sequence>,
    /// Which item of the request it is, counted from 0.
    pub item: u32,
}

/// Indices touched as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// None. A document touches its index by [`Touch::index`] alone.
    #[default]
    Nothing,
    /// Those that these expressions name: names and patterns with `*`. Exclusions are taken as if they were not there, and date math
    /// as its fixed prefix, so it is rather too much than too little.
    Indices(Vec<Name>),
    /// All of them, and the cluster.
    All,
}

/// Which documents a barrier takes in without naming them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sweep {
    /// None: a mapping, an alias, a setting.
    #[default]
    Nothing,
    /// All that are there: an index is deleted, closed, cloned.
    Documents,
    /// Those that a search sees: `_update_by_query`, `_delete_by_query`, `_reindex`.
    Visible,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug)]
pub enum Completed<'a> {
    /// It is sent. The footprint is what it really touched: with the sequences, and with ids that the
    /// primary chose.
    Apply(&'a Footprint),
    /// Nothing is sent.
    Leave,
}
