//! Which exchange may go next, so that conflicting operations reach the shadow in the order in which the
//! primary executed them, and all others in parallel.
//!
//! [`Order`] is pure: no clock, no I/O, no lock. It never sees a request, only what the request touches: its
//! [`Footprint`]. Events come in journal order: [`Order::begun`] for a request half, [`Order::complete`] for a
//! response half. [`Order::take`] hands out units, and [`Order::done`] ends them.
//!
//! # What the events tell
//!
//! The request was captured before the primary had it, and the answer before the client had it. So the
//! primary executed an operation somewhere between its two events:
//!
//! * When A was complete before B began, A was executed first. This is *definite*, on whatever connections
//!   they came.
//! * Otherwise A and B *overlap*, and only what the answers say can tell: two writes of one document, and a
//!   read and a write, by the sequence (`_primary_term`, `_seq_no`).
//!
//! # The rule
//!
//! Every part of an operation gets an *anchor*: one event that stands for its execution. That is the event of
//! its completion, unless the sequences say otherwise:
//!
//! ```text
//!            1      2      3      4     event
//!   X        ├─────────────────────┤    sequence 7
//!   Y               ├──────┤            sequence 8, complete first
//!
//!   order:   X at 3, directly before Y at 3
//! ```
//!
//! This is an *inversion*. An item goes directly before the first operation on its key that it overlaps, that
//! is not handed out, and that has a greater sequence (or has read this very write), and takes over that one's
//! anchor. The items of a `_bulk` that go before different operations become parts of their own; where the item
//! belongs between two items of another `_bulk`, that one is split too.
//!
//! An anchor is only taken over when it lies after the beginning of the operation that takes it. So every
//! anchor lies between the two events of its operation, whatever the sequences say: also when an index was
//! made anew and counts from 0 again, or two documents share a key.
//!
//! # Why nothing waits in a circle
//!
//! The parts, sorted by anchor, and among equal anchors as they were put before each other, are one line. A
//! part waits only for parts that stand before it in the line:
//!
//! * for those on its keys that stand before it, when one of both writes;
//! * a document operation for the barriers on its index that stand before it;
//! * a barrier for all on its indices that stand before it. (One that is put before Y later is covered by Y: the barrier
//!   waits for Y, and Y for it.)
//! * a search for writes, refreshes and barriers that were complete before it began, and a refresh for writes and
//!   searches that were complete before it began: by the rule on anchors these stand before it.
//!
//! And a write, or a read with a sequence, waits for the *open* writes of its key that began before its
//! anchor: theirs may be the smaller sequence. Open operations wait for nothing here; they end when the
//! answer comes, or when the caller gives it up. So the first part in the line that is not done always can
//! go, or is held by open operations alone; then [`Order::is_stuck`] may say so.
//!
//! # What it cannot know
//!
//! [`Order::ambiguous`] lists it: writes of one document that overlap and have no sequences, those that
//! a sweep ([`Sweep`]) overlapped or perhaps did not see, and those that were let go too early.
//!
//! Only the items of operations that touch nothing but documents are moved, and of reads only those of a
//! single document: a `_mget` is not split, and may see more than the primary's.
//!
//! Reading order: [`footprint`], `queue` (one key), `watermark` and `indices` (whole indices), `parts` (what waits and what may
//! go), `sweeps` and [`ambiguity`].

pub mod ambiguity;
pub mod footprint;
mod hash;
mod indices;
mod names;
mod parts;
mod queue;
mod sweeps;
mod table;
mod watermark;

use std::collections::HashMap;

use exchange::operation::Access;
use exchange::operation::answer::Sequence;
use smallvec::SmallVec;

pub use ambiguity::{Ambiguity, Of, Reason};
pub use footprint::{Completed, Footprint, Key, Keys, Name, Scope, Sweep, Ticket, Touch};
pub use sweeps::Memory;

use hash::Through;
use indices::{Class, IndexId, Indices};
pub(crate) use names::Expressions;
use parts::{Member, OpId, PartId, Parts};
use queue::{Entry, Place};
use sweeps::Sweeps;
use table::{KeyId, Table};

/// How much order is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Level {
    /// All of it.
    #[default]
    Causal,
    /// Only that of [`Footprint::keys`], among which the caller puts the client connection.
    Connection,
    /// None: each exchange may go when it is complete.
    None,
}

/// A unit that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnitId {
    part: PartId,
    serial: u64,
}

/// What is to be sent as one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// For [`Order::done`].
    pub id: UnitId,
    /// Of which exchange.
    pub ticket: Ticket,
    /// How much of it.
    pub items: Items,
}

/// How much of an exchange a unit is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Items {
    /// All of what its completing footprint named.
    All,
    /// These items, rising. The others go in units of their own.
    Some(Vec<u32>),
}

/// A unit has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Of which exchange.
    pub ticket: Ticket,
    /// Nothing else of the exchange waits or runs.
    pub last: bool,
}

/// What happened so far, and what is there now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Items that went before an operation that was complete earlier.
    pub inversions: u64,
    /// Operations, counted once for each part that was taken out of one.
    pub splits: u64,
    /// Parts that waited for the answer of an open write.
    pub held_for_open: u64,
    /// Reads that saw something older than what the shadow had been given.
    pub reads_overtaken: u64,
    /// Open operations that were overruled; see [`Order::release_oldest`].
    pub released: u64,
    /// Operations that have begun and are not complete.
    pub open: usize,
    /// Operations that are complete and not done.
    pub outstanding: usize,
    /// Units that may not go yet.
    pub waiting: usize,
    /// Units that may go.
    pub ready: usize,
    /// Units that were handed out.
    pub in_flight: usize,
    /// Keys on which something is.
    pub keys: usize,
    /// Indices that are known at the moment.
    pub indices: usize,
    /// Sweeps that are open, or complete beside something open.
    pub sweeps: usize,
    /// Writes that are remembered for sweeps to come; see [`Memory`].
    pub remembered: usize,
}

/// An operation that has begun and is not complete.
#[derive(Debug, Default)]
struct Open {
    begun: u64,
    /// The keys that it may write.
    keys: SmallVec<[KeyId; 1]>,
    /// It holds nobody any more.
    released: bool,
}

/// The causal scheduler. It holds state only for operations that are open or not done, and a bounded
/// [`Memory`] for sweeps.
#[derive(Debug)]
pub struct Order {
    level: Level,
    /// The number of the last event.
    event: u64,
    open: HashMap<Ticket, Open, Through>,
    keys: Table,
    indices: Indices,
    parts: Parts,
    sweeps: Sweeps,
    ambiguous: Vec<Ambiguity>,
    counters: Counters,
    /// Kept so that it need not be allocated again; empty between calls.
    scratch: Vec<PartId>,
}

/// Stands for a part that nothing more goes before.
const NO_PART: PartId = PartId::MAX;

/// An operation that is being put in its places.
#[derive(Debug)]
struct Placing {
    op: OpId,
    ticket: Ticket,
    begun: u64,
    complete: u64,
    main: PartId,
    /// Its items may go before others.
    movable: bool,
    /// Parts of it, by the part that each goes directly before.
    moved: SmallVec<[(PartId, PartId); 1]>,
    /// The index of the last item.
    index: Option<IndexId>,
}

impl Order {
    /// An empty one.
    #[must_use]
    pub fn new(level: Level, memory: Memory) -> Self {
        Self {
            level,
            event: 0,
            open: HashMap::default(),
            keys: Table::default(),
            indices: Indices::default(),
            parts: Parts::default(),
            sweeps: Sweeps::new(memory),
            ambiguous: Vec::new(),
            counters: Counters::default(),
            scratch: Vec::new(),
        }
    }

    /// A request half was met. The footprint has what the request tells: no sequences, and not the
    /// documents whose ids the primary will choose. A ticket that is open already is left as it is.
    pub fn begun(&mut self, ticket: Ticket, footprint: &Footprint) {
        let begun = self.tick();
        if self.open.contains_key(&ticket) {
            return;
        }
        let mut open = Open {
            begun,
            ..Open::default()
        };
        if self.level == Level::Causal {
            for touch in &footprint.documents {
                if touch.access == Access::Write {
                    let key = self.keys.id(touch.key);
                    if self
                        .keys
                        .get_mut(key)
                        .is_some_and(|queue| queue.begin(begun))
                    {
                        open.keys.push(key);
                    }
                }
            }
            if sweeps(footprint) {
                let scope = Expressions::of(&footprint.indices);
                self.sweeps.begun(ticket, footprint.sweep, &scope);
            }
        }
        self.open.insert(ticket, open);
    }

    /// A response half was met, or will not come. Without [`Self::begun`] before, it begins at the same time.
    pub fn complete(&mut self, ticket: Ticket, completed: Completed<'_>) {
        let open = match self.open.remove(&ticket) {
            Some(open) => open,
            None => Open {
                begun: self.tick(),
                ..Open::default()
            },
        };
        let complete = self.tick();
        for key in &open.keys {
            if let Some(queue) = self.keys.get_mut(*key) {
                queue.end(open.begun);
            }
        }
        if let Completed::Apply(footprint) = completed {
            self.apply(ticket, &open, complete, footprint);
        }
        self.sweeps.left(ticket);
        self.release(&open.keys);
        self.sweeps.ended(open.begun);
        self.give_memory_back();
    }

    /// The oldest unit that may go. It is in flight until [`Self::done`].
    pub fn take(&mut self) -> Option<Unit> {
        let (part, serial) = self.parts.take()?;
        let known = self.parts.get(part)?;
        let ticket = self.parts.op(known.op)?.ticket;
        let items = if known.whole {
            Items::All
        } else {
            let mut items: Vec<u32> = known.members.iter().map(|member| member.item).collect();
            items.sort_unstable();
            Items::Some(items)
        };
        let id = UnitId { part, serial };
        Some(Unit { id, ticket, items })
    }

    /// The unit has ended, however it did. `None`: no such unit is in flight.
    pub fn done(&mut self, unit: UnitId) -> Option<Ended> {
        let (part, complete, ticket, last) = self.parts.done(unit.part, unit.serial)?;
        let mut freed = std::mem::take(&mut self.scratch);
        let members = part.members.iter().map(|member| member.key);
        for key in members.chain(part.keys) {
            if let Some(queue) = self.keys.get_mut(key) {
                queue.remove(unit.part, &mut freed);
                self.keys.tidy(key);
            }
        }
        for (index, class) in part.indices {
            self.indices
                .leave(index, class, complete, unit.part, &mut freed);
        }
        freed.extend(part.followers);
        for part in freed.drain(..) {
            self.parts.free(part);
        }
        self.scratch = freed;
        self.give_memory_back();
        Some(Ended { ticket, last })
    }

    /// Forgets everything, and returns the tickets of all that was open or not done, in flight or not, rising.
    pub fn drain(&mut self) -> Vec<Ticket> {
        let mut tickets: Vec<Ticket> = self
            .parts
            .tickets()
            .chain(self.open.keys().copied())
            .collect();
        tickets.sort_unstable();
        tickets.dedup();
        self.open = HashMap::default();
        self.keys = Table::default();
        self.indices = Indices::default();
        self.parts.forget();
        self.sweeps.forget();
        tickets
    }

    /// What is not known, as far as it was not told before. To be asked after each event, or it grows.
    pub fn ambiguous(&mut self) -> std::vec::Drain<'_, Ambiguity> {
        self.ambiguous.drain(..)
    }

    /// Units that may go.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.parts.ready()
    }

    /// Nothing can go and nothing is in flight, but something waits: for the answers of open writes alone.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.parts.len() > 0 && self.parts.ready() == 0 && self.parts.in_flight() == 0
    }

    /// Lets go what the oldest open write holds, before its answer is known, and returns its ticket. What it
    /// turns out to have written is ambiguous.
    pub fn release_oldest(&mut self) -> Option<Ticket> {
        let keys = &self.keys;
        let holds = |open: &Open| {
            open.keys
                .iter()
                .any(|key| keys.get(*key).is_some_and(|queue| queue.holds()))
        };
        let holding = self.open.iter().filter(|(_, open)| holds(open));
        let (ticket, _) = holding.min_by_key(|(_, open)| open.begun)?;
        let ticket = *ticket;
        let open = self.open.get_mut(&ticket)?;
        open.released = true;
        let begun = open.begun;
        let keys = std::mem::take(&mut open.keys);
        for key in &keys {
            if let Some(queue) = self.keys.get_mut(*key) {
                queue.end(begun);
            }
        }
        self.release(&keys);
        self.counters.released += 1;
        Some(ticket)
    }

    /// Whether nothing is open, waiting or in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.parts.len() == 0
    }

    /// What happened so far, and what is there now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let (ready, in_flight) = (self.parts.ready(), self.parts.in_flight());
        Counters {
            open: self.open.len(),
            outstanding: self.parts.operations(),
            waiting: self.parts.len() - ready - in_flight,
            ready,
            in_flight,
            keys: self.keys.len(),
            indices: self.indices.len(),
            sweeps: self.sweeps.active(),
            remembered: self.sweeps.remembered(),
            ..self.counters
        }
    }

    const fn tick(&mut self) -> u64 {
        self.event += 1;
        self.event
    }

    fn apply(&mut self, ticket: Ticket, open: &Open, complete: u64, footprint: &Footprint) {
        let begun = open.begun;
        let op = self
            .parts
            .add_op(ticket, begun, complete, footprint.refresh);
        let main = self.parts.add(op, complete);
        let mut placing = Placing {
            op,
            ticket,
            begun,
            complete,
            main,
            movable: footprint.keys.is_empty() && footprint.indices == Scope::Nothing,
            moved: SmallVec::new(),
            index: None,
        };
        if self.level == Level::Causal {
            self.place_scope(&placing, footprint);
            for touch in &footprint.documents {
                self.place_item(&mut placing, touch, footprint);
                if touch.access == Access::Write {
                    self.wrote(&placing, touch, open.released, footprint.refresh);
                }
            }
        }
        if self.level != Level::None {
            self.place_keys(&placing, footprint);
        }
        self.finish(&placing, footprint.documents.len());
    }

    fn place_scope(&mut self, placing: &Placing, footprint: &Footprint) {
        if footprint.indices == Scope::Nothing {
            return;
        }
        let class = match (footprint.access, footprint.refresh) {
            (Access::Write, _) => Class::Barrier,
            (Access::Read, true) => Class::Refresh,
            (Access::Read, false) => Class::Search,
        };
        let scope = Expressions::of(&footprint.indices);
        self.indices
            .enlist_scope(&scope, class, placing.main, &mut self.parts);
        let Placing {
            ticket,
            begun,
            complete,
            ..
        } = *placing;
        if sweeps(footprint) {
            // Its own end is among those that are counted.
            let (events, open) = ((begun, complete), self.open.len() + 1);
            self.sweeps
                .swept(ticket, events, &scope, open, &mut self.ambiguous);
        }
        if footprint.refresh {
            self.sweeps.refreshed(begun, &scope);
        } else if class == Class::Barrier && footprint.sweep == Sweep::Visible {
            self.sweeps.left_unrefreshed(ticket, complete, &scope);
        }
    }

    fn place_keys(&mut self, placing: &Placing, footprint: &Footprint) {
        for (key, access) in &footprint.keys {
            let key = self.keys.id(*key);
            let write = *access == Access::Write;
            self.push(placing, key, write, None);
            if let Some(part) = self.parts.get_mut(placing.main) {
                part.keys.push(key);
            }
        }
    }

    fn place_item(&mut self, placing: &mut Placing, touch: &Touch, footprint: &Footprint) {
        let known = placing
            .index
            .filter(|index| self.indices.is(*index, &touch.index));
        let index = known.unwrap_or_else(|| self.indices.id(&touch.index, &mut self.parts));
        placing.index = Some(index);
        let member = Member {
            key: self.keys.id(touch.key),
            index,
            item: touch.item,
            write: touch.access == Access::Write,
            sequence: touch.sequence,
        };
        let single = member.write || footprint.documents.len() == 1;
        let place = self.find_place(placing, &member);
        let seen = place.seen;
        match place.before {
            Some(at) if placing.movable && single => self.move_item(placing, &member, at, seen),
            _ => self.append_item(placing, &member, seen),
        }
    }

    /// Where in the key's queue the item belongs. Notes what cannot be known about that.
    fn find_place(&mut self, placing: &Placing, member: &Member) -> Place {
        let Self { keys, parts, .. } = self;
        let Some(queue) = keys.get(member.key).filter(|queue| !queue.is_empty()) else {
            return Place::default();
        };
        let (begun, main) = (placing.begun, placing.main);
        let place = queue.place(main, begun, member.write, member.sequence, |part| {
            parts.taken(part)
        });
        let ambiguous = [
            (place.unsequenced, Reason::Unsequenced),
            (place.overtaken, Reason::Overtaken),
        ];
        for (other, reason) in ambiguous {
            let Some(other) = other.and_then(|other| parts.op_of(other)) else {
                continue;
            };
            if member.write {
                self.ambiguous.push(Ambiguity {
                    by: other.ticket,
                    of: Of::Item(placing.ticket, member.item),
                    reason,
                });
            } else {
                self.counters.reads_overtaken += 1;
            }
        }
        place
    }

    fn append_item(&mut self, placing: &Placing, member: &Member, seen: bool) {
        self.push(placing, member.key, member.write, member.sequence);
        self.join(placing.main, *member, placing.complete, seen);
    }

    fn push(&mut self, placing: &Placing, key: KeyId, write: bool, sequence: Option<Sequence>) {
        let entry = Entry {
            part: placing.main,
            anchor: placing.complete,
            write,
            several: false,
            sequence,
        };
        if self
            .keys
            .get_mut(key)
            .is_some_and(|queue| queue.push(entry))
        {
            self.parts.block(placing.main);
        }
    }

    /// Puts an item before an operation that was complete earlier.
    fn move_item(&mut self, placing: &mut Placing, member: &Member, at: usize, seen: bool) {
        let Some(entry) = self
            .keys
            .get(member.key)
            .and_then(|queue| queue.get(at))
            .copied()
        else {
            return;
        };
        self.counters.inversions += u64::from(member.write || entry.write);
        let mut at = at;
        if entry.several && self.take_out(&entry, member) {
            // What was put before that part until now stands before what was taken out of it, so nothing
            // more joins it.
            for (before, _) in &mut placing.moved {
                if *before == entry.part {
                    *before = NO_PART;
                }
            }
            let queue = self.keys.get(member.key);
            at = queue
                .and_then(|queue| queue.position(entry.part))
                .unwrap_or(at);
        }
        let known = placing
            .moved
            .iter()
            .find(|(before, _)| *before == entry.part);
        let part = match known {
            Some((_, part)) => *part,
            None => {
                let part = self.parts.add(placing.op, entry.anchor);
                placing.moved.push((entry.part, part));
                part
            }
        };
        self.insert(part, &entry, member.key, at, member.write, member.sequence);
        self.join(part, *member, entry.anchor, seen);
    }

    /// Takes those items out of a part that have the same key and stand before the one that goes in between,
    /// and puts them directly before the part. `false`: there are none.
    fn take_out(&mut self, entry: &Entry, member: &Member) -> bool {
        let Some(origin) = self.parts.get_mut(entry.part) else {
            return false;
        };
        let before = |other: &Member| match member.write {
            true => other.sequence < member.sequence,
            false => other.sequence <= member.sequence,
        };
        let known =
            |other: &Member| other.key == member.key && other.write && other.sequence.is_some();
        let last = origin
            .members
            .iter()
            .rposition(|other| known(other) && before(other));
        let Some(last) = last else {
            return false;
        };
        // Sequences that fall within one bulk tell nothing.
        let mut rest = origin.members.iter().skip(last + 1);
        if !rest.any(|other| other.key == member.key) {
            return false;
        }
        // With those before it: the items of one key stay in their order.
        let mut taken_out = SmallVec::<[Member; 2]>::new();
        let mut at = 0;
        origin.members.retain(|other| {
            let goes = at <= last && other.key == member.key && other.write;
            if goes {
                taken_out.push(*other);
            }
            at += 1;
            !goes
        });
        origin.whole = false;
        let op = origin.op;
        let part = self.parts.add(op, entry.anchor);
        self.counters.splits += 1;
        for other in taken_out {
            let at = self
                .keys
                .get(other.key)
                .and_then(|queue| queue.position(entry.part));
            self.insert(
                part,
                entry,
                other.key,
                at.unwrap_or(0),
                true,
                other.sequence,
            );
            let held = self
                .keys
                .get_mut(other.key)
                .is_some_and(|queue| queue.hold_like(entry.anchor, entry.part, part));
            if held {
                self.parts.block(part);
            }
            self.enlist_item(part, other);
        }
        self.parts.finish(part);
        true
    }

    fn insert(
        &mut self,
        part: PartId,
        before: &Entry,
        key: KeyId,
        at: usize,
        write: bool,
        sequence: Option<Sequence>,
    ) {
        let Self {
            keys,
            parts,
            scratch,
            ..
        } = self;
        let entry = Entry {
            part,
            anchor: before.anchor,
            write,
            several: false,
            sequence,
        };
        if let Some(queue) = keys.get_mut(key) {
            queue.insert(at, entry, |part| parts.taken(part), scratch);
        }
        for part in scratch.drain(..) {
            parts.block(part);
        }
    }

    /// Makes an item that has its place a member of its part. `seen`: it reads what a write before it wrote.
    fn join(&mut self, part: PartId, member: Member, anchor: u64, seen: bool) {
        if let Some(queue) = self.keys.get_mut(member.key) {
            let holdable = member.write || member.sequence.is_some() && !seen;
            if holdable && queue.hold(anchor, part) {
                self.parts.block(part);
                self.counters.held_for_open += 1;
            }
        }
        self.enlist_item(part, member);
    }

    fn enlist_item(&mut self, part: PartId, member: Member) {
        if let Some(part) = self.parts.get_mut(part) {
            part.members.push(member);
        }
        let class = if member.write {
            Class::Write
        } else {
            Class::Get
        };
        self.indices
            .enlist(member.index, class, part, &mut self.parts);
    }

    fn wrote(&mut self, placing: &Placing, touch: &Touch, released: bool, visible: bool) {
        let Placing {
            ticket,
            begun,
            complete,
            ..
        } = *placing;
        if released {
            self.ambiguous.push(Ambiguity {
                by: ticket,
                of: Of::Item(ticket, touch.item),
                reason: Reason::Released,
            });
        }
        self.sweeps.wrote(
            ticket,
            (begun, complete),
            touch,
            visible,
            &mut self.ambiguous,
        );
    }

    fn finish(&mut self, placing: &Placing, items: usize) {
        let whole = |parts: &mut Parts, part: PartId| {
            if let Some(part) = parts.get_mut(part) {
                part.whole = part.members.len() == items;
            }
            parts.finish(part);
        };
        for (_, part) in &placing.moved {
            whole(&mut self.parts, *part);
        }
        let moved_parts = placing.moved.len();
        let main_empty = self
            .parts
            .get(placing.main)
            .is_some_and(|part| part.members.is_empty());
        if moved_parts > 0 && main_empty {
            self.parts.discard(placing.main);
        } else {
            whole(&mut self.parts, placing.main);
        }
        let all = moved_parts + usize::from(!(moved_parts > 0 && main_empty));
        self.counters.splits += all.saturating_sub(1) as u64;
    }

    /// Lets go whatever the open writes of these keys no longer hold.
    fn release(&mut self, keys: &[KeyId]) {
        for key in keys {
            let Some(queue) = self.keys.get_mut(*key) else {
                continue;
            };
            while let Some(part) = queue.release() {
                self.parts.free(part);
            }
            self.keys.tidy(*key);
        }
    }

    fn give_memory_back(&mut self) {
        if self.parts.len() == 0 {
            self.parts.give_memory_back();
            self.indices.sweep();
            if self.open.is_empty() {
                const LARGE: usize = 4096;
                self.keys.give_memory_back();
                if self.open.capacity() > LARGE {
                    self.open.shrink_to(0);
                }
            }
        }
    }
}

/// Whether it works on documents that it does not name.
fn sweeps(footprint: &Footprint) -> bool {
    footprint.access == Access::Write
        && footprint.sweep != Sweep::Nothing
        && footprint.indices != Scope::Nothing
}
