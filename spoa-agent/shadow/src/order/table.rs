//! The queues of all keys that something is on.

use std::collections::HashMap;

use slab::Slab;

use super::footprint::Key;
use super::hash::Through;
use super::queue::Queue;

/// A key's number in the table, as long as something is on it.
pub(super) type KeyId = usize;

/// How many empty queues, and of which size, are kept for later use.
const SPARE: usize = 256;
const SMALL: usize = 64;

/// Finds the queue of a key. Memory goes with the operations: a key that nothing is on is no key.
#[derive(Debug, Default)]
pub(super) struct Table {
    ids: HashMap<Key, KeyId, Through>,
    queues: Slab<Queue>,
    spare: Vec<Queue>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn id(&mut self, key: Key) -> KeyId {
        let Self { ids, queues, spare } = self;
        *ids.entry(key).or_insert_with(|| {
            let mut queue = spare.pop().unwrap_or_default();
            queue.key = key;
            queues.insert(queue)
        })
    }

    pub(super) fn get(&self, id: KeyId) -> Option<&Queue> {
        self.queues.get(id)
    }

    pub(super) fn get_mut(&mut self, id: KeyId) -> Option<&mut Queue> {
        self.queues.get_mut(id)
    }

    /// Forgets the key if nothing is on it.
    pub(super) fn tidy(&mut self, id: KeyId) {
        if self.queues.get(id).is_some_and(Queue::is_idle)
            && let Some(queue) = self.queues.try_remove(id)
        {
            self.ids.remove(&queue.key);
            if self.spare.len() < SPARE && queue.capacity() <= SMALL {
                self.spare.push(queue);
            }
        }
    }

    /// A storm leaves large tables behind. They are given back when all is quiet.
    pub(super) fn give_memory_back(&mut self) {
        const LARGE: usize = 4096;
        if self.ids.is_empty() && self.ids.capacity() > LARGE {
            *self = Self::default();
        }
    }
}
