//! Indices as a whole: what searches, refreshes and barriers wait for.

use std::collections::{HashMap, VecDeque};

use slab::Slab;

use super::footprint::Name;
use super::names::{Expressions, detached};
use super::parts::{Op, PartId, Parts};
use super::watermark::Watermark;

/// An index's number, as long as something is on it.
pub(super) type IndexId = usize;

/// The index that stands for those that nothing is on: whatever covers more than it names is on this one too, so that two
/// patterns meet even where no index is known.
const ANYWHERE: IndexId = 0;

/// How many indices that nothing is on are kept, so that not every operation makes its index anew.
const IDLE: usize = 64;

/// What a part does with an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Reads a document of it in real time.
    Get,
    /// Writes a document of it.
    Write,
    /// Reads what a refresh made visible.
    Search,
    /// Makes visible.
    Refresh,
    /// Changes it as a whole.
    Barrier,
}

/// What is not done on one index.
#[derive(Debug, Default)]
struct Index {
    name: Name,
    gets: Watermark,
    /// Document writes and refreshes.
    writes: Watermark,
    searches: Watermark,
    /// In their order; each waits for the one before.
    barriers: VecDeque<(u64, PartId)>,
    /// How many parts are on it.
    parts: usize,
}

/// All indices that something is on.
#[derive(Debug)]
pub(super) struct Indices {
    ids: HashMap<Name, IndexId>,
    all: Slab<Index>,
    idle: usize,
}

impl Default for Indices {
    fn default() -> Self {
        let mut all = Slab::new();
        all.insert(Index::default());
        Self {
            ids: HashMap::new(),
            all,
            idle: 0,
        }
    }
}

impl Indices {
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The number of an index. One that was not known is put under all patterns that cover it.
    pub(super) fn id(&mut self, name: &Name, parts: &mut Parts) -> IndexId {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let name = detached(name);
        let index = Index {
            name: name.clone(),
            ..Index::default()
        };
        let id = self.all.insert(index);
        self.ids.insert(name, id);
        self.idle += 1;
        self.link_wide(id, parts);
        id
    }

    /// Whether both are the same index.
    pub(super) fn is(&self, id: IndexId, name: &[u8]) -> bool {
        self.all.get(id).is_some_and(|index| index.name == name)
    }

    /// Puts everything that covers the new index on it. What it waits for there, it waits for already: nothing
    /// else is on the index.
    fn link_wide(&mut self, id: IndexId, parts: &mut Parts) {
        let Some([anywhere, index]) = self.all.get_disjoint_mut([ANYWHERE, id]).ok() else {
            return;
        };
        if anywhere.parts == 0 {
            return;
        }
        let before = index.parts;
        let mut covers = |part: PartId, class: Class| {
            let part = parts.get_mut(part)?;
            if !part.scope.as_ref()?.covers(&index.name) {
                return None;
            }
            part.indices.push((id, class));
            index.parts += 1;
            Some(())
        };
        for (complete, part) in anywhere.searches.members() {
            if covers(part, Class::Search).is_some() {
                index.searches.add(complete, part);
            }
        }
        for (complete, part) in anywhere.writes.members() {
            if covers(part, Class::Refresh).is_some() {
                index.writes.add(complete, part);
            }
        }
        for (complete, part) in &anywhere.barriers {
            if covers(*part, Class::Barrier).is_some() {
                index.barriers.push_back((*complete, *part));
            }
        }
        if before == 0 && index.parts > 0 {
            self.idle -= 1;
        }
    }

    /// Puts a part on an index, and lets it wait for what it must there.
    pub(super) fn enlist(&mut self, id: IndexId, class: Class, part: PartId, parts: &mut Parts) {
        let Some(index) = self.all.get_mut(id) else {
            return;
        };
        let Some((member, op)) = parts.get(part).zip(parts.op_of(part)) else {
            return;
        };
        if member.indices.contains(&(id, class)) {
            return;
        }
        let mut waits = index.waits(class, part, op);
        waits += follow(index, id, member.anchor, part, parts);
        let complete = parts.op_of(part).map_or(0, |op| op.complete);
        index.add(class, complete, part);
        if let Some(member) = parts.get_mut(part) {
            member.indices.push((id, class));
        }
        self.idle -= usize::from(index.parts == 0 && id != ANYWHERE);
        index.parts += 1;
        for _ in 0..waits {
            parts.block(part);
        }
    }

    /// Puts a part on all indices that it covers.
    pub(super) fn enlist_scope(
        &mut self,
        scope: &Expressions,
        class: Class,
        part: PartId,
        parts: &mut Parts,
    ) {
        for name in &scope.names {
            let id = self.id(name, parts);
            self.enlist(id, class, part, parts);
        }
        if !scope.is_wide() {
            return;
        }
        if let Some(part) = parts.get_mut(part) {
            part.scope = Some(Box::new(scope.detached()));
        }
        let covered = self.all.iter().skip(1);
        let covered: Vec<IndexId> = covered
            .filter(|(_, index)| scope.covers(&index.name))
            .map(|(id, _)| id)
            .collect();
        for id in covered {
            self.enlist(id, class, part, parts);
        }
        self.enlist(ANYWHERE, class, part, parts);
    }

    /// Takes a part that is done off an index, and tells whom that lets go.
    pub(super) fn leave(
        &mut self,
        id: IndexId,
        class: Class,
        complete: u64,
        part: PartId,
        freed: &mut Vec<PartId>,
    ) {
        let Some(index) = self.all.get_mut(id) else {
            return;
        };
        match class {
            Class::Get => index.gets.remove(complete, part, freed),
            Class::Write | Class::Refresh => index.writes.remove(complete, part, freed),
            Class::Search => index.searches.remove(complete, part, freed),
            Class::Barrier => index.barriers.retain(|(_, other)| *other != part),
        }
        index.parts -= 1;
        if index.parts == 0 && id != ANYWHERE {
            self.idle += 1;
            if self.idle > IDLE + self.ids.len() / 2 {
                self.sweep();
            }
        }
    }

    /// Forgets the indices that nothing is on.
    pub(super) fn sweep(&mut self) {
        if self.idle == 0 {
            return;
        }
        self.all
            .retain(|id, index| id == ANYWHERE || index.parts > 0 || !index.is_idle());
        let all = &self.all;
        self.ids.retain(|_, id| all.contains(*id));
        self.idle = 0;
        if self.ids.is_empty() {
            self.ids.shrink_to(IDLE);
            self.all.shrink_to_fit();
        }
    }
}

impl Index {
    fn is_idle(&self) -> bool {
        self.gets.is_empty()
            && self.writes.is_empty()
            && self.searches.is_empty()
            && self.barriers.is_empty()
    }

    fn waits(&mut self, class: Class, part: PartId, op: &Op) -> u32 {
        let Op {
            begun, complete, ..
        } = *op;
        let waits = match class {
            Class::Get => [false; 3],
            Class::Write => [op.refresh && self.searches.wait(begun, part), false, false],
            Class::Search => [self.writes.wait(begun, part), false, false],
            Class::Refresh => [
                self.writes.wait(begun, part),
                self.searches.wait(begun, part),
                false,
            ],
            Class::Barrier => [
                self.gets.wait(complete, part),
                self.writes.wait(complete, part),
                self.searches.wait(complete, part),
            ],
        };
        waits.into_iter().map(u32::from).sum()
    }

    fn add(&mut self, class: Class, complete: u64, part: PartId) {
        match class {
            Class::Get => self.gets.add(complete, part),
            Class::Write | Class::Refresh => self.writes.add(complete, part),
            Class::Search => self.searches.add(complete, part),
            Class::Barrier => self.barriers.push_back((complete, part)),
        }
    }
}

/// Lets the part follow the barriers before it: on an index the last one, since that follows the others; anywhere, all those
/// that cover some index that it covers. Returns for how many it waits.
fn follow(index: &Index, id: IndexId, anchor: u64, part: PartId, parts: &mut Parts) -> u32 {
    let mut waits = 0;
    let before = index.barriers.partition_point(|(event, _)| *event < anchor);
    let first = if id == ANYWHERE {
        0
    } else {
        before.saturating_sub(1)
    };
    for (_, barrier) in index.barriers.range(first..before) {
        if id == ANYWHERE && !meet(parts, *barrier, part) {
            continue;
        }
        if let Some(barrier) = parts.get_mut(*barrier)
            && barrier.followers.last() != Some(&part)
        {
            barrier.followers.push(part);
            waits += 1;
        }
    }
    waits
}

fn meet(parts: &Parts, one: PartId, two: PartId) -> bool {
    let scope = |part| parts.get(part).and_then(|part| part.scope.as_deref());
    match (scope(one), scope(two)) {
        (Some(one), Some(two)) => one.meets(two),
        _ => true,
    }
}
