//! Which documents wait to be fetched from the primary, and which are on their way. Pure: the caller brings the
//! time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::bucket::Bucket;
use crate::order::Ticket;
use crate::resolve::DocumentName;

/// Tickets from here on are not positions of the journal.
pub(crate) const FIRST_TICKET: Ticket = 1 << 63;
/// Documents that are known at most, pending and fetched.
const MOST: usize = 100_000;
/// After that many refusals a document stays ambiguous.
const MOST_REFUSALS: u32 = 5;
/// The wait after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This document may enter the order under this ticket.
    Enter(Ticket, Arc<DocumentName>),
    /// Nothing until then, or until something changes.
    Wait(Option<Instant>),
}

/// Whether a document will be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queued {
    /// It was not known before.
    New,
    /// It was.
    Known,
    /// There is no room for it.
    Full,
}

/// How a fetch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The target has what the primary has; `floor`: and later writes may be contained in that.
    Done { floor: bool },
    /// One of the two does not answer.
    Later,
    /// One of the two refused.
    Refused,
}

/// What follows for the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Became {
    /// It is to be fetched again.
    Pending,
    /// Nothing is ambiguous about it any more.
    Resolved,
    /// It stays ambiguous.
    GivenUp,
}

#[derive(Debug, Default)]
struct Known {
    queued: bool,
    running: usize,
    /// Refused in a row.
    refused: u32,
    /// Later writes may be contained in what was fetched.
    floor: bool,
}

#[derive(Debug)]
pub(super) struct Pending {
    known: HashMap<Arc<DocumentName>, Known>,
    queue: VecDeque<Arc<DocumentName>>,
    running: HashMap<Ticket, Arc<DocumentName>>,
    at_once: usize,
    tickets: u64,
    bucket: Bucket,
    paused: Option<Instant>,
    failures: u32,
}

impl Pending {
    /// `at_once`: how many may be on their way.
    pub(super) fn new(per_second: u32, at_once: usize) -> Self {
        Self {
            known: HashMap::new(),
            queue: VecDeque::new(),
            running: HashMap::new(),
            at_once: at_once.max(1),
            tickets: 0,
            bucket: Bucket::new(per_second),
            paused: None,
            failures: 0,
        }
    }

    /// The document is ambiguous.
    pub(super) fn queue(&mut self, name: &DocumentName) -> Queued {
        let queued = if self.known.contains_key(name) {
            Queued::Known
        } else if self.known.len() >= MOST {
            return Queued::Full;
        } else {
            Queued::New
        };
        let name = match self.known.get_key_value(name) {
            Some((name, _)) => name.clone(),
            None => Arc::new(name.clone()),
        };
        let known = self.known.entry(name.clone()).or_default();
        if !std::mem::replace(&mut known.queued, true) {
            self.queue.push_back(name);
        }
        queued
    }

    pub(super) fn next(&mut self, now: Instant) -> Next {
        if let Some(until) = self.paused {
            if now < until {
                return Next::Wait(Some(until));
            }
            self.paused = None;
        }
        if self.queue.is_empty() || self.running.len() >= self.at_once {
            return Next::Wait(None);
        }
        // One is enough to find out whether things are better.
        if self.failures > 0 && !self.running.is_empty() {
            return Next::Wait(None);
        }
        if let Err(until) = self.bucket.take(now) {
            return Next::Wait(Some(until));
        }
        let Some(name) = self.queue.pop_front() else {
            return Next::Wait(None);
        };
        if let Some(known) = self.known.get_mut(&name) {
            known.queued = false;
            known.running += 1;
        }
        let ticket = FIRST_TICKET | self.tickets;
        self.tickets += 1;
        self.running.insert(ticket, name.clone());
        Next::Enter(ticket, name)
    }

    pub(super) fn running(&self, ticket: Ticket) -> Option<Arc<DocumentName>> {
        self.running.get(&ticket).cloned()
    }

    /// A fetch has ended. `None`: there was none.
    pub(super) fn ended(&mut self, ticket: Ticket, ended: &Ended, now: Instant) -> Option<Became> {
        let name = self.running.remove(&ticket)?;
        let known = self.known.get_mut(&name)?;
        known.running = known.running.saturating_sub(1);
        match ended {
            Ended::Done { floor } => {
                self.failures = 0;
                known.refused = 0;
                known.floor |= floor;
            }
            Ended::Later => {
                self.failures = self.failures.saturating_add(1);
                let doubled = 2_u32.saturating_pow(self.failures.saturating_sub(1));
                let pause = FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE);
                self.paused = Some(now + pause);
            }
            Ended::Refused => {
                self.failures = 0;
                known.refused += 1;
                if known.refused >= MOST_REFUSALS && !known.queued && known.running == 0 {
                    if !known.floor {
                        self.known.remove(&name);
                    }
                    return Some(Became::GivenUp);
                }
            }
        }
        if *ended != (Ended::Done { floor: true }) && *ended != (Ended::Done { floor: false }) {
            if !std::mem::replace(&mut known.queued, true) {
                self.queue.push_back(name);
            }
            return Some(Became::Pending);
        }
        if known.queued || known.running > 0 {
            return Some(Became::Pending);
        }
        if !known.floor {
            self.known.remove(&name);
        }
        Some(Became::Resolved)
    }

    /// No write that is contained in what was fetched of this document will come any more. Returns whether nothing
    /// else is to be done about it.
    pub(super) fn is_over(&mut self, name: &DocumentName) -> bool {
        let Some(known) = self.known.get_mut(name) else {
            return true;
        };
        known.floor = false;
        if known.queued || known.running > 0 {
            return false;
        }
        self.known.remove(name);
        true
    }

    /// Documents that are to be fetched or are on their way.
    pub(super) fn len(&self) -> usize {
        self.queue.len() + self.running.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(id: &'static str) -> DocumentName {
        DocumentName {
            index: "i".into(),
            mapping_type: None,
            id: id.into(),
            routing: None,
        }
    }

    fn enter(pending: &mut Pending, now: Instant) -> (Ticket, Arc<DocumentName>) {
        match pending.next(now) {
            Next::Enter(ticket, name) => (ticket, name),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_document_that_waits_is_not_queued_twice_and_one_on_its_way_is() {
        let (now, mut pending) = (Instant::now(), Pending::new(1000, 4));
        assert_eq!(pending.queue(&name("a")), Queued::New);
        assert_eq!(pending.queue(&name("a")), Queued::Known);
        assert_eq!(pending.len(), 1);
        let (first, _) = enter(&mut pending, now);
        assert!(first >= FIRST_TICKET);
        assert_eq!(pending.next(now), Next::Wait(None));
        pending.queue(&name("a"));
        let done = Ended::Done { floor: true };
        assert_eq!(pending.ended(first, &done, now), Some(Became::Pending));
        let (second, _) = enter(&mut pending, now);
        assert_ne!(first, second);
        assert_eq!(pending.ended(second, &done, now), Some(Became::Resolved));
        assert!(pending.is_over(&name("a")));
        assert!(pending.known.is_empty() && pending.running.is_empty());
    }

    #[test]
    fn while_nobody_answers_one_document_at_a_time_is_tried_and_none_is_lost() {
        let (mut now, mut pending) = (Instant::now(), Pending::new(1000, 4));
        for id in ["a", "b", "c"] {
            pending.queue(&name(id));
        }
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            let (ticket, _) = enter(&mut pending, now);
            assert_eq!(
                pending.ended(ticket, &Ended::Later, now),
                Some(Became::Pending)
            );
            let Next::Wait(Some(until)) = pending.next(now) else {
                panic!("no pause");
            };
            assert!(until - now >= last && until - now <= LONGEST_PAUSE);
            (last, now) = (until - now, until);
        }
        assert_eq!(pending.len(), 3);
        enter(&mut pending, now);
        assert_eq!(pending.next(now), Next::Wait(None));
    }

    #[test]
    fn a_document_that_is_refused_again_and_again_stays_ambiguous() {
        let (now, mut pending) = (Instant::now(), Pending::new(1000, 4));
        pending.queue(&name("a"));
        let mut became = Vec::new();
        while let Next::Enter(ticket, _) = pending.next(now) {
            became.extend(pending.ended(ticket, &Ended::Refused, now));
        }
        assert_eq!(became.len(), 5);
        assert_eq!(became.last(), Some(&Became::GivenUp));
        assert_eq!(pending.len(), 0);
    }
}
