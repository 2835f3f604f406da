//! The ids that were met lately: a producer may deliver a message twice.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};

/// How many are remembered.
const REMEMBERED: usize = 1 << 18;

/// Remembers ids, by their hashes.
#[derive(Debug, Default)]
pub(super) struct Ids {
    hasher: RandomState,
    seen: HashMap<u64, ()>,
    order: VecDeque<u64>,
}

impl Ids {
    /// Remembers the id. Returns whether it is new. Without an id nothing is the same as anything else.
    pub(super) fn insert(&mut self, id: &[u8]) -> bool {
        if id.is_empty() {
            return true;
        }
        let hash = self.hasher.hash_one(id);
        if self.seen.insert(hash, ()).is_some() {
            return false;
        }
        self.order.push_back(hash);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }

    pub(super) fn has(&self, id: &[u8]) -> bool {
        !id.is_empty() && self.seen.contains_key(&self.hasher.hash_one(id))
    }

    /// An exchange was given back: whoever reads it next may be this process.
    pub(super) fn forget(&mut self, id: &[u8]) {
        self.seen.remove(&self.hasher.hash_one(id));
    }
}
