//! What the engine must not forget over a kill: how documents were before writes that must not be done
//! twice, which writes were done before that was noted, and the token sessions. Kept in a file of their own,
//! beside the cursor.
//!
//! The cursor is saved now and then, and so lags behind. If a write that was done goes again after a kill, what it
//! changes looks to the guard of a later one like that one's own doing: that later one would be left out, and
//! be lost. So before a guard is noted, all writes that were done are; they do not go again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::memory::{Memory, MemoryError};
use crate::plan::guard::DocumentState;
use crate::resolve::DocumentName;
use crate::tokens::{self, Event, Sessions};
use exchange::operation::answer::Sequence;

/// The file may grow to this before it is written anew.
const LARGEST: u64 = 16 << 20;
/// Stands in the place of an item for what a whole operation changes.
const WHOLE: u32 = u32::MAX;
/// Stands in the place of a length for what is not there.
const NOTHING: u32 = u32::MAX;

const SESSION: u8 = 1;
const GUARD: u8 = 2;
const UNRESOLVED: u8 = 3;
const RESOLVED: u8 = 4;
const DONE: u8 = 5;
/// Writes that are done and that the cursor has not left behind. Only when one exchange is held up while very
/// many overtake it there are more; then the oldest are forgotten here, and go again after a kill.
const MOST_DONE: usize = 1 << 18;
/// Writes that are noted as done in one record.
const DONE_AT_ONCE: usize = 4096;

/// How something was before it was written for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    Document(DocumentState),
    /// Writes that the indices of an operation had seen.
    Indices(u64),
}

/// What is written: an item of an exchange, or all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct What {
    pub(crate) position: u64,
    pub(crate) item: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct Notes {
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// `None`: nothing needs to survive.
    memory: Option<Memory>,
    guards: BTreeMap<What, Before>,
    /// Writes that the file says are done, and the status that the target answered.
    done: BTreeMap<What, u16>,
    /// Those that it does not say yet, in the order in which they were done.
    fresh: VecDeque<(What, u16)>,
    sessions: Sessions,
    /// Documents that are to be read from the primary, as they are written down.
    unresolved: BTreeSet<Vec<u8>>,
}

impl Notes {
    /// Reads what was noted before; without a path, nothing is kept.
    pub(crate) fn open(path: Option<&Path>, limits: tokens::Limits) -> Result<Self, MemoryError> {
        let (memory, records) = match path {
            Some(path) => {
                let (memory, records) = Memory::open(path, LARGEST)?;
                (Some(memory), records)
            }
            None => (None, Vec::new()),
        };
        let events = records
            .iter()
            .filter(|record| record.kind == SESSION)
            .filter_map(|record| Event::decode(&record.payload).ok());
        let sessions = Sessions::restored(limits, events);
        let guards = records
            .iter()
            .filter(|record| record.kind == GUARD)
            .filter_map(|record| read_guard(&record.payload))
            .collect();
        let mut unresolved = BTreeSet::new();
        for record in &records {
            match record.kind {
                UNRESOLVED => drop(unresolved.insert(record.payload.to_vec())),
                RESOLVED => drop(unresolved.remove(&*record.payload)),
                _ => {}
            }
        }
        let done = records
            .iter()
            .filter(|record| record.kind == DONE)
            .flat_map(|record| read_done(&record.payload))
            .collect();
        Ok(Self {
            kept: Mutex::new(Kept {
                memory,
                guards,
                done,
                fresh: VecDeque::new(),
                sessions,
                unresolved,
            }),
        })
    }

    /// How it was before its first attempt, if there was one.
    pub(crate) fn before(&self, what: What) -> Option<Before> {
        self.kept.lock().guards.get(&what).copied()
    }

    /// Notes how things are before their first attempt. After this returns, a kill does not take it away.
    pub(crate) fn note(&self, guards: &[(What, Before)]) -> Result<(), MemoryError> {
        if guards.is_empty() {
            return Ok(());
        }
        let mut kept = self.kept.lock();
        kept.note_done()?;
        for (what, before) in guards {
            let record = write_guard(*what, *before);
            kept.append(GUARD, &record)?;
            kept.guards.insert(*what, *before);
        }
        Ok(())
    }

    /// Everything before this position is done for good: its guards are not needed any more.
    pub(crate) fn forget_before(&self, position: u64) {
        let mut kept = self.kept.lock();
        let from = What {
            position,
            item: None,
        };
        kept.guards = kept.guards.split_off(&from);
        kept.done = kept.done.split_off(&from);
        kept.fresh.retain(|(what, _)| *what >= from);
    }

    /// A write was done: the target answered with this status. To be told before anything goes that waited
    /// for it.
    pub(crate) fn done(&self, what: What, status: u16) {
        let mut kept = self.kept.lock();
        if kept.memory.is_none() {
            return;
        }
        if kept.fresh.len() >= MOST_DONE {
            kept.fresh.pop_front();
        }
        kept.fresh.push_back((what, status));
    }

    /// What the target answered to a write that was done before a kill, if that was noted.
    pub(crate) fn was_done(&self, what: What) -> Option<u16> {
        let kept = self.kept.lock();
        kept.done.get(&what).copied()
    }

    /// The documents that were ambiguous at the end of the last run, or perhaps are again.
    pub(crate) fn unresolved(&self) -> Vec<DocumentName> {
        let kept = self.kept.lock();
        kept.unresolved
            .iter()
            .filter_map(|it| read_name(it))
            .collect()
    }

    /// Notes that a document is to be read from the primary.
    pub(crate) fn unresolved_now(&self, name: &DocumentName) -> Result<(), MemoryError> {
        let (mut kept, name) = (self.kept.lock(), write_name(name));
        if kept.unresolved.contains(&name) {
            return Ok(());
        }
        kept.append(UNRESOLVED, &name)?;
        kept.unresolved.insert(name);
        Ok(())
    }

    /// Notes that nothing is to be done about the document any more.
    pub(crate) fn resolved_now(&self, name: &DocumentName) -> Result<(), MemoryError> {
        let (mut kept, name) = (self.kept.lock(), write_name(name));
        if kept.unresolved.remove(&name) {
            kept.append(RESOLVED, &name)?;
        }
        Ok(())
    }

    /// Looks at the sessions.
    pub(crate) fn sessions<T>(&self, look: impl FnOnce(&Sessions) -> T) -> T {
        look(&self.kept.lock().sessions)
    }

    /// Changes the sessions, and keeps what changed.
    pub(crate) fn change_sessions(
        &self,
        change: impl FnOnce(&mut Sessions) -> Vec<Event>,
    ) -> Result<(), MemoryError> {
        let mut kept = self.kept.lock();
        let events = change(&mut kept.sessions);
        for event in events {
            kept.append(SESSION, &event.encode())?;
        }
        Ok(())
    }
}

impl Kept {
    fn note_done(&mut self) -> Result<(), MemoryError> {
        while !self.fresh.is_empty() {
            let count = self.fresh.len().min(DONE_AT_ONCE);
            let some: Vec<(What, u16)> = self.fresh.iter().take(count).copied().collect();
            self.append(DONE, &write_done(&some))?;
            self.fresh.drain(..count);
            self.done.extend(some);
            while self.done.len() > MOST_DONE {
                self.done.pop_first();
            }
        }
        Ok(())
    }

    fn append(&mut self, kind: u8, payload: &[u8]) -> Result<(), MemoryError> {
        let Some(memory) = &mut self.memory else {
            return Ok(());
        };
        if !memory.wants_rewrite() {
            return memory.append(kind, payload);
        }
        let guards = self.guards.iter();
        let guards = guards.map(|(what, before)| (GUARD, write_guard(*what, *before)));
        let sessions = self.sessions.snapshot().into_iter();
        let unresolved = self.unresolved.iter();
        let done: Vec<(What, u16)> = self.done.iter().map(|(what, at)| (*what, *at)).collect();
        let done = done
            .chunks(DONE_AT_ONCE)
            .map(|some| (DONE, write_done(some)));
        let live: Vec<(u8, Vec<u8>)> = guards
            .chain(done)
            .chain(sessions.map(|event| (SESSION, event.encode())))
            .chain(unresolved.map(|name| (UNRESOLVED, name.clone())))
            .collect();
        memory.rewrite(live)?;
        memory.append(kind, payload)
    }
}

fn write_guard(what: What, before: Before) -> Vec<u8> {
    let (tag, first, second) = match before {
        Before::Document(DocumentState::Missing) => (0, 0, 0),
        Before::Document(DocumentState::At(sequence)) => (1, sequence.term, sequence.number),
        Before::Document(DocumentState::Version(version)) => (2, version, 0),
        Before::Document(DocumentState::Unknown) => (3, 0, 0),
        Before::Indices(writes) => (4, writes, 0),
    };
    let mut record = Vec::with_capacity(29);
    record.extend_from_slice(&what.position.to_le_bytes());
    record.extend_from_slice(&what.item.unwrap_or(WHOLE).to_le_bytes());
    record.push(tag);
    record.extend_from_slice(&first.to_le_bytes());
    record.extend_from_slice(&second.to_le_bytes());
    record
}

fn read_guard(mut record: &[u8]) -> Option<(What, Before)> {
    let position = u64::from_le_bytes(*take(&mut record)?);
    let item = u32::from_le_bytes(*take(&mut record)?);
    let [tag] = *take::<1>(&mut record)?;
    let first = u64::from_le_bytes(*take(&mut record)?);
    let second = u64::from_le_bytes(*take(&mut record)?);
    let before = match tag {
        0 => Before::Document(DocumentState::Missing),
        1 => Before::Document(DocumentState::At(Sequence {
            term: first,
            number: second,
        })),
        2 => Before::Document(DocumentState::Version(first)),
        3 => Before::Document(DocumentState::Unknown),
        4 => Before::Indices(first),
        _ => return None,
    };
    let item = (item != WHOLE).then_some(item);
    Some((What { position, item }, before))
}

fn write_name(name: &DocumentName) -> Vec<u8> {
    let mut record = Vec::new();
    let parts = [
        Some(&name.index),
        name.mapping_type.as_ref(),
        Some(&name.id),
        name.routing.as_ref(),
    ];
    for part in parts {
        let length = part.map_or(NOTHING, |part| u32::try_from(part.len()).unwrap_or(NOTHING));
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(part.map_or(&[], |part| part));
    }
    record
}

fn write_done(done: &[(What, u16)]) -> Vec<u8> {
    let mut record = Vec::with_capacity(14 * done.len());
    for (what, status) in done {
        record.extend_from_slice(&what.position.to_le_bytes());
        record.extend_from_slice(&what.item.unwrap_or(WHOLE).to_le_bytes());
        record.extend_from_slice(&status.to_le_bytes());
    }
    record
}

fn read_name(mut record: &[u8]) -> Option<DocumentName> {
    let mut part = || -> Option<Option<Bytes>> {
        let length = u32::from_le_bytes(*take(&mut record)?);
        if length == NOTHING {
            return Some(None);
        }
        let (head, rest) = record.split_at_checked(usize::try_from(length).ok()?)?;
        record = rest;
        Some(Some(Bytes::copy_from_slice(head)))
    };
    Some(DocumentName {
        index: part()??,
        mapping_type: part()?,
        id: part()??,
        routing: part()?,
    })
}

fn read_done(mut record: &[u8]) -> Vec<(What, u16)> {
    let mut done = Vec::with_capacity(record.len() / 14);
    while let Some((what, status)) = read_one_done(&mut record) {
        done.push((what, status));
    }
    done
}

fn read_one_done(record: &mut &[u8]) -> Option<(What, u16)> {
    let position = u64::from_le_bytes(*take(record)?);
    let item = u32::from_le_bytes(*take(record)?);
    let status = u16::from_le_bytes(*take(record)?);
    let item = (item != WHOLE).then_some(item);
    Some((What { position, item }, status))
}

fn take<'a, const N: usize>(input: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (head, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_there_after_a_restart_until_it_is_done_for_good() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes");
        let limits = tokens::Limits::default();
        let item = |position, item| What {
            position,
            item: Some(item),
        };
        let whole = What {
            position: 9,
            item: None,
        };
        let sequence = Sequence { term: 2, number: 7 };
        let noted = [
            (item(5, 0), Before::Document(DocumentState::Missing)),
            (item(5, 3), Before::Document(DocumentState::At(sequence))),
            (item(7, 1), Before::Document(DocumentState::Version(4))),
            (whole, Before::Indices(1234)),
        ];
        Notes::open(Some(&path), limits)
            .unwrap()
            .note(&noted)
            .unwrap();

        let notes = Notes::open(Some(&path), limits).unwrap();
        for (what, before) in noted {
            assert_eq!(notes.before(what), Some(before));
        }
        assert_eq!(notes.before(item(5, 1)), None);
        notes.forget_before(7);
        assert_eq!(notes.before(item(5, 0)), None);
        assert!(notes.before(item(7, 1)).is_some() && notes.before(whole).is_some());
    }

    #[test]
    fn a_document_that_was_to_be_read_from_the_primary_still_is_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes");
        let limits = tokens::Limits::default();
        let name = |id: &'static str, routing: Option<&'static str>| DocumentName {
            index: "i".into(),
            mapping_type: None,
            id: id.into(),
            routing: routing.map(Bytes::from),
        };
        let notes = Notes::open(Some(&path), limits).unwrap();
        let (plain, routed) = (name("1", None), name("1", Some("")));
        for name in [&plain, &routed, &plain] {
            notes.unresolved_now(name).unwrap();
        }
        drop(notes);
        let notes = Notes::open(Some(&path), limits).unwrap();
        assert_eq!(notes.unresolved().len(), 2);
        notes.resolved_now(&plain).unwrap();
        drop(notes);
        let notes = Notes::open(Some(&path), limits).unwrap();
        assert_eq!(notes.unresolved(), [routed]);
    }

    #[test]
    fn what_was_done_before_a_guard_was_noted_is_known_after_a_restart_and_the_rest_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes");
        let open = || Notes::open(Some(&path), tokens::Limits::default()).unwrap();
        let what = |position, item| What { position, item };
        let notes = open();
        for position in 1..=5000 {
            notes.done(what(position, None), 201);
        }
        notes.done(what(6000, Some(3)), 200);
        notes.forget_before(100);
        let guard = (
            what(7000, Some(0)),
            Before::Document(DocumentState::Missing),
        );
        notes.note(&[guard]).unwrap();
        notes.done(what(6001, None), 200);
        drop(notes);

        let notes = open();
        assert_eq!(notes.was_done(what(99, None)), None);
        assert_eq!(notes.was_done(what(100, None)), Some(201));
        assert_eq!(notes.was_done(what(5000, None)), Some(201));
        assert_eq!(notes.was_done(what(6000, Some(3))), Some(200));
        assert_eq!(notes.was_done(what(6000, Some(2))), None);
        assert_eq!(notes.was_done(what(6001, None)), None);
    }
}
