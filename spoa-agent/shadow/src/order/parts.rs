//! Operations that are complete and not done, in the parts in which they go.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use exchange::operation::answer::Sequence;
use slab::Slab;
use smallvec::SmallVec;

use super::footprint::Ticket;
use super::indices::{Class, IndexId};
use super::names::Expressions;
use super::table::KeyId;

/// A part's number, as long as it is not done.
pub(super) type PartId = usize;
/// An operation's number, as long as a part of it is not done.
pub(super) type OpId = usize;

/// An operation of which something is not done.
#[derive(Debug)]
pub(super) struct Op {
    pub(super) ticket: Ticket,
    pub(super) begun: u64,
    pub(super) complete: u64,
    pub(super) refresh: bool,
    /// How many of its parts are not done.
    parts: u32,
}

/// What is sent as one request: an operation, or some items of it.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) op: OpId,
    /// The event that stands for its execution: after its operation began, and not after it completed.
    /// Nothing waits for a part with a greater one, so nothing ever waits in a circle.
    pub(super) anchor: u64,
    /// Tells it from an earlier part with the same number.
    serial: u64,
    /// For how many things it waits.
    waits: u32,
    pub(super) taken: bool,
    queued: bool,
    /// It is the whole operation.
    pub(super) whole: bool,
    pub(super) members: SmallVec<[Member; 1]>,
    pub(super) keys: SmallVec<[KeyId; 1]>,
    pub(super) indices: SmallVec<[(IndexId, Class); 1]>,
    /// What waits for it because it is a barrier.
    pub(super) followers: Vec<PartId>,
    /// The scope, when it covers indices that it does not name.
    pub(super) scope: Option<Box<Expressions>>,
}

/// An item in a part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) key: KeyId,
    pub(super) index: IndexId,
    pub(super) item: u32,
    pub(super) write: bool,
    pub(super) sequence: Option<Sequence>,
}

/// All parts, and which of them may go.
#[derive(Debug, Default)]
pub(super) struct Parts {
    ops: Slab<Op>,
    parts: Slab<Part>,
    /// Those that wait for nothing, the oldest first. One that has to wait again stays in and is passed over.
    queue: BinaryHeap<Reverse<(u64, u64, PartId)>>,
    serial: u64,
    ready: usize,
    in_flight: usize,
}

impl Parts {
    pub(super) fn add_op(
        &mut self,
        ticket: Ticket,
        begun: u64,
        complete: u64,
        refresh: bool,
    ) -> OpId {
        self.ops.insert(Op {
            ticket,
            begun,
            complete,
            refresh,
            parts: 0,
        })
    }

    /// A new part that waits for one thing: that it is finished; see [`Self::finish`].
    pub(super) fn add(&mut self, op: OpId, anchor: u64) -> PartId {
        if let Some(op) = self.ops.get_mut(op) {
            op.parts += 1;
        }
        self.serial += 1;
        self.parts.insert(Part {
            op,
            anchor,
            serial: self.serial,
            waits: 1,
            taken: false,
            queued: false,
            whole: false,
            members: SmallVec::new(),
            keys: SmallVec::new(),
            indices: SmallVec::new(),
            followers: Vec::new(),
            scope: None,
        })
    }

    /// The part is in all its queues.
    pub(super) fn finish(&mut self, id: PartId) {
        self.free(id);
    }

    /// The part turned out to have nothing in it.
    pub(super) fn discard(&mut self, id: PartId) {
        if let Some(part) = self.parts.try_remove(id) {
            self.leave_op(part.op);
        }
    }

    pub(super) fn op(&self, id: OpId) -> Option<&Op> {
        self.ops.get(id)
    }

    pub(super) fn op_of(&self, id: PartId) -> Option<&Op> {
        self.ops.get(self.parts.get(id)?.op)
    }

    pub(super) fn get(&self, id: PartId) -> Option<&Part> {
        self.parts.get(id)
    }

    pub(super) fn get_mut(&mut self, id: PartId) -> Option<&mut Part> {
        self.parts.get_mut(id)
    }

    pub(super) fn taken(&self, id: PartId) -> bool {
        self.parts.get(id).is_some_and(|part| part.taken)
    }

    /// The part waits for one thing more.
    pub(super) fn block(&mut self, id: PartId) {
        if let Some(part) = self.parts.get_mut(id) {
            self.ready -= usize::from(part.waits == 0 && !part.taken);
            part.waits += 1;
        }
    }

    /// The part waits for one thing less.
    pub(super) fn free(&mut self, id: PartId) {
        let Some(part) = self.parts.get_mut(id) else {
            return;
        };
        part.waits = part.waits.saturating_sub(1);
        if part.waits == 0 && !part.taken {
            self.ready += 1;
            if !part.queued {
                part.queued = true;
                self.queue.push(Reverse((part.anchor, part.serial, id)));
            }
        }
    }

    /// Hands out the oldest part that may go.
    pub(super) fn take(&mut self) -> Option<(PartId, u64)> {
        while let Some(Reverse((_, serial, id))) = self.queue.pop() {
            let Some(part) = self.parts.get_mut(id).filter(|part| part.serial == serial) else {
                continue;
            };
            part.queued = false;
            if part.waits == 0 {
                part.taken = true;
                self.ready -= 1;
                self.in_flight += 1;
                return Some((id, serial));
            }
        }
        None
    }

    /// Removes a part that was taken. With it comes its operation, and whether that is done as a whole.
    pub(super) fn done(&mut self, id: PartId, serial: u64) -> Option<(Part, u64, Ticket, bool)> {
        let known = self.parts.get(id)?;
        if known.serial != serial || !known.taken {
            return None;
        }
        let part = self.parts.try_remove(id)?;
        self.in_flight -= 1;
        let op = self.ops.get(part.op)?;
        let (complete, ticket) = (op.complete, op.ticket);
        let last = self.leave_op(part.op);
        Some((part, complete, ticket, last))
    }

    fn leave_op(&mut self, id: OpId) -> bool {
        let Some(op) = self.ops.get_mut(id) else {
            return false;
        };
        op.parts -= 1;
        let last = op.parts == 0;
        if last {
            self.ops.remove(id);
        }
        last
    }

    /// The tickets of all operations that are not done.
    pub(super) fn tickets(&self) -> impl Iterator<Item = Ticket> + '_ {
        self.ops.iter().map(|(_, op)| op.ticket)
    }

    /// How many operations are not done.
    pub(super) fn operations(&self) -> usize {
        self.ops.len()
    }

    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }

    pub(super) const fn ready(&self) -> usize {
        self.ready
    }

    pub(super) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Removes everything.
    pub(super) fn forget(&mut self) {
        // The serial stays: units of before must not be taken for later ones.
        let serial = self.serial;
        *self = Self {
            serial,
            ..Self::default()
        };
    }

    pub(super) fn give_memory_back(&mut self) {
        const LARGE: usize = 4096;
        if self.parts.is_empty() && self.parts.capacity() > LARGE {
            self.forget();
        }
    }
}
