//! The operations on one key, in the order in which they go.

use std::collections::VecDeque;

use exchange::operation::answer::Sequence;

use super::footprint::Key;
use super::parts::PartId;

/// A part's place in the queue of a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) part: PartId,
    /// The event that stands for its execution. Never falls along the queue, but for parts that were
    /// taken before their turn came up.
    pub(super) anchor: u64,
    pub(super) write: bool,
    /// Several items of the part are on this key.
    pub(super) several: bool,
    /// The greatest of its items.
    pub(super) sequence: Option<Sequence>,
}

/// Where a newly completed item belongs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// Directly before this entry; at the end when there is none.
    pub(super) before: Option<usize>,
    /// A write that overlaps it, and the sequence of one of both is not known.
    pub(super) unsequenced: Option<PartId>,
    /// It should have gone before this one, which was handed out already.
    pub(super) overtaken: Option<PartId>,
    /// The write that this read saw is in the queue.
    pub(super) seen: bool,
}

/// What waits, runs and is open on one key.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) key: Key,
    entries: VecDeque<Entry>,
    /// How many entries at the front this key lets go: one write, or reads.
    free: usize,
    /// When the open writes began; rising.
    open: VecDeque<u64>,
    /// Parts that wait for open writes, by their anchors; rising.
    held: VecDeque<(u64, PartId)>,
}

impl Queue {
    pub(super) fn is_idle(&self) -> bool {
        self.entries.is_empty() && self.open.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn capacity(&self) -> usize {
        self.entries.capacity() + self.held.capacity() + self.open.capacity()
    }

    /// A write of this key began. `false`: the same operation did so before.
    pub(super) fn begin(&mut self, begun: u64) -> bool {
        let new = self.open.back() != Some(&begun);
        if new {
            self.open.push_back(begun);
        }
        new
    }

    /// The write that began then is complete. Those that it held go with [`Self::release`].
    pub(super) fn end(&mut self, begun: u64) {
        if let Ok(at) = self.open.binary_search(&begun) {
            self.open.remove(at);
        }
    }

    /// Holds a part until all writes are complete that are open now and began before its anchor. `false`: there
    /// are none, or it is held already.
    pub(super) fn hold(&mut self, anchor: u64, part: PartId) -> bool {
        if self.open.front().is_none_or(|begun| *begun > anchor) {
            return false;
        }
        let at = self.held.partition_point(|(other, _)| *other <= anchor);
        let known = at.checked_sub(1).and_then(|last| self.held.get(last));
        let hold = known != Some(&(anchor, part));
        if hold {
            self.held.insert(at, (anchor, part));
        }
        hold
    }

    /// Holds a new part as long as the one that it was taken out of, when that one is held.
    pub(super) fn hold_like(&mut self, anchor: u64, origin: PartId, part: PartId) -> bool {
        let at = self.held.iter().position(|held| *held == (anchor, origin));
        if let Some(at) = at {
            self.held.insert(at, (anchor, part));
        }
        at.is_some()
    }

    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// The next part that no open write holds any more.
    pub(super) fn release(&mut self) -> Option<PartId> {
        let (anchor, part) = *self.held.front()?;
        if self.open.front().is_some_and(|begun| *begun < anchor) {
            return None;
        }
        self.held.pop_front();
        Some(part)
    }

    /// Finds the place of an item of the operation that began then.
    ///
    /// An entry is passed over only when its anchor lies after that beginning, so every part has its
    /// anchor between its own beginning and its completion.
    pub(super) fn place(
        &self,
        own: PartId,
        begun: u64,
        write: bool,
        sequence: Option<Sequence>,
        taken: impl Fn(PartId) -> bool,
    ) -> Place {
        let mut place = Place::default();
        for (at, entry) in self.entries.iter().enumerate().rev() {
            if entry.anchor <= begun || entry.part == own {
                break;
            }
            match (sequence, entry.sequence) {
                (Some(own), Some(other)) => {
                    // A read stands behind the write that it saw. Reads stand in order too, so that a write
                    // finds one place between them.
                    let follows = other > own || write && !entry.write && other == own;
                    place.seen |= !write && entry.write && other == own;
                    if follows && !taken(entry.part) {
                        place.before = Some(at);
                    } else if follows && entry.write {
                        place.overtaken = Some(entry.part);
                    }
                }
                _ if write && entry.write => place.unsequenced = Some(entry.part),
                _ => {}
            }
        }
        place
    }

    pub(super) fn get(&self, at: usize) -> Option<&Entry> {
        self.entries.get(at)
    }

    pub(super) fn position(&self, part: PartId) -> Option<usize> {
        self.entries.iter().position(|entry| entry.part == part)
    }

    /// Puts an entry at the end, or joins it with the last one of the same part. Returns whether the part now waits
    /// here and did not before.
    pub(super) fn push(&mut self, entry: Entry) -> bool {
        let last = self.entries.len().wrapping_sub(1);
        match self.entries.back_mut() {
            Some(back) if back.part == entry.part => {
                let became_write = entry.write && !back.write;
                join(back, &entry);
                let blocked = became_write && last > 0 && last < self.free;
                if blocked {
                    self.free = last;
                }
                blocked
            }
            _ => {
                let all_free = self.free == self.entries.len();
                let goes = all_free && (self.free == 0 || !entry.write && self.front_reads());
                self.entries.push_back(entry);
                self.free += usize::from(goes);
                !goes
            }
        }
    }

    /// Puts an entry before the one at `at`, or joins it with its own part directly before that. Entries from there on that were
    /// taken already move before it: it waits for them, which is safe since they wait for nothing.
    /// Tells which parts now wait here and did not before.
    pub(super) fn insert(
        &mut self,
        at: usize,
        entry: Entry,
        taken: impl Fn(PartId) -> bool,
        blocked: &mut Vec<PartId>,
    ) {
        if let Some(before) = at.checked_sub(1).and_then(|at| self.entries.get_mut(at))
            && before.part == entry.part
        {
            // A joined write in the middle of free reads cannot be: all items of a part that moves are
            // of one kind.
            join(before, &entry);
            return;
        }
        let first = at;
        let mut at = at;
        for from in first..self.free {
            if self
                .entries
                .get(from)
                .is_some_and(|entry| taken(entry.part))
                && let Some(entry) = self.entries.remove(from)
            {
                self.entries.insert(at, entry);
                at += 1;
            }
        }
        self.entries.insert(at, entry);
        let were_free = self.free + usize::from(at < self.free);
        let front = self.front_group(were_free + 1);
        let newly = self
            .entries
            .iter()
            .enumerate()
            .skip(front)
            .take_while(|(index, _)| *index < were_free);
        blocked.extend(
            newly
                .filter(|(index, _)| *index != at)
                .map(|(_, entry)| entry.part),
        );
        if at >= front {
            blocked.push(entry.part);
        }
        self.free = front;
    }

    /// Removes a part that is done, and tells whom that lets go.
    pub(super) fn remove(&mut self, part: PartId, freed: &mut Vec<PartId>) {
        // Only what this key let go can be done, so it is at the front.
        let mut front = self.entries.iter().take(self.free);
        let Some(at) = front.position(|entry| entry.part == part) else {
            return;
        };
        self.entries.remove(at);
        self.free -= 1;
        while let Some(next) = self.entries.get(self.free) {
            let goes = self.free == 0 || !next.write && self.front_reads();
            if !goes {
                break;
            }
            freed.push(next.part);
            self.free += 1;
        }
    }

    fn front_reads(&self) -> bool {
        self.entries.front().is_some_and(|entry| !entry.write)
    }

    /// How many of the first `most` entries may go.
    fn front_group(&self, most: usize) -> usize {
        let reads = self
            .entries
            .iter()
            .take(most)
            .take_while(|entry| !entry.write);
        match reads.count() {
            0 => usize::from(!self.entries.is_empty()),
            reads => reads,
        }
    }
}

fn join(entry: &mut Entry, other: &Entry) {
    entry.several = true;
    entry.write |= other.write;
    entry.sequence = entry.sequence.max(other.sequence);
}
