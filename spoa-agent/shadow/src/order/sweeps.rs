//! Operations on documents that they do not name, and which writes they may or may not have taken in.
//!
//! A sweep takes in every write that was complete before it began, if a refresh lies between or it needs
//! none; and none that began after it was complete. Of all others nobody knows.

use std::collections::{HashMap, VecDeque};

use super::ambiguity::{Ambiguity, Of, Reason};
use super::footprint::{Name, Sweep, Ticket, Touch};
use super::names::{Expressions, detached};

/// How much is remembered for sweeps that may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Writes per index since its last refresh. Beyond that, a sweep is ambiguous with the whole index. Also
    /// the most that are listed for one sweep.
    pub writes_per_index: usize,
    /// Writes in all indices together.
    pub writes: usize,
    /// Indices. Beyond that, a sweep is ambiguous with all that it covers.
    pub indices: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            writes_per_index: 4096,
            writes: 65_536,
            indices: 65_536,
        }
    }
}

/// A sweep that has begun and is not complete.
#[derive(Debug)]
struct Open {
    ticket: Ticket,
    scope: Expressions,
    suspects: Vec<(Of, Reason)>,
    /// There were too many to list.
    overflow: bool,
}

/// A sweep that is complete, while something is open that began before.
#[derive(Debug)]
struct Past {
    ticket: Ticket,
    scope: Expressions,
    complete: u64,
    open: usize,
}

/// What was written to an index and is not known to be refreshed.
#[derive(Debug, Default)]
struct Recent {
    writes: VecDeque<(u64, Ticket, u32)>,
    /// When the last write was complete that is not listed.
    unlisted: Option<u64>,
}

/// A sweep's own writes, which nobody has named.
#[derive(Debug)]
struct RecentSweep {
    complete: u64,
    ticket: Ticket,
    /// There were earlier ones with the same scope.
    more: bool,
    scope: Expressions,
}

/// Finds what is ambiguous with a sweep.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    memory: Memory,
    open: Vec<Open>,
    past: Vec<Past>,
    recent: HashMap<Name, Recent>,
    recent_sweeps: VecDeque<RecentSweep>,
    writes: usize,
    /// When the last write was complete of which nothing is remembered, not even its index.
    forgotten: Option<u64>,
}

impl Sweeps {
    pub(super) fn new(memory: Memory) -> Self {
        Self {
            memory,
            ..Self::default()
        }
    }

    pub(super) fn begun(&mut self, ticket: Ticket, sweep: Sweep, scope: &Expressions) {
        let mut open = Open {
            ticket,
            scope: scope.detached(),
            suspects: Vec::new(),
            overflow: false,
        };
        if sweep == Sweep::Visible {
            self.suspect_recent(&mut open);
        }
        self.open.push(open);
    }

    fn suspect_recent(&self, open: &mut Open) {
        let most = self.memory.writes_per_index;
        open.overflow = self.forgotten.is_some();
        let mut suspect = |name: &Name, recent: &Recent| {
            if recent.unlisted.is_some() {
                open.suspects
                    .push((Of::Index(name.clone()), Reason::Unrefreshed));
                return;
            }
            for (_, ticket, item) in &recent.writes {
                open.suspects
                    .push((Of::Item(*ticket, *item), Reason::Unrefreshed));
            }
        };
        if open.scope.is_wide() {
            for (name, recent) in &self.recent {
                if open.scope.covers(name) {
                    suspect(name, recent);
                }
            }
        } else {
            for name in &open.scope.names {
                if let Some(recent) = self.recent.get(name) {
                    suspect(name, recent);
                }
            }
        }
        for sweep in &self.recent_sweeps {
            if !sweep.scope.meets(&open.scope) {
                continue;
            }
            if sweep.more {
                let names = sweep.scope.told().map(Of::Index);
                open.suspects
                    .extend(names.map(|of| (of, Reason::Unrefreshed)));
            } else {
                let of = Of::Operation(sweep.ticket);
                open.suspects.push((of, Reason::Unrefreshed));
            }
        }
        open.overflow |= open.suspects.len() > most;
    }

    /// A write of a document is complete.
    pub(super) fn wrote(
        &mut self,
        ticket: Ticket,
        (begun, complete): (u64, u64),
        touch: &Touch,
        visible: bool,
        found: &mut Vec<Ambiguity>,
    ) {
        let of = || Of::Item(ticket, touch.item);
        for open in &mut self.open {
            if open.scope.covers(&touch.index) {
                open.suspect(of(), self.memory.writes_per_index);
            }
        }
        for past in &self.past {
            if begun < past.complete && past.scope.covers(&touch.index) {
                found.push(past.overlapped(of()));
            }
        }
        if !visible {
            self.remember(ticket, complete, touch);
        }
    }

    fn remember(&mut self, ticket: Ticket, complete: u64, touch: &Touch) {
        let Some(recent) = self.recent.get_mut(&touch.index) else {
            if self.recent.len() < self.memory.indices {
                self.recent
                    .insert(detached(&touch.index), Recent::default());
                self.remember(ticket, complete, touch);
            } else {
                self.forgotten = Some(complete);
            }
            return;
        };
        let full = recent.writes.len() >= self.memory.writes_per_index
            || self.writes >= self.memory.writes;
        if full || recent.unlisted.is_some() {
            self.writes -= recent.writes.len();
            recent.writes = VecDeque::new();
            recent.unlisted = Some(complete);
        } else {
            self.writes += 1;
            recent.writes.push_back((complete, ticket, touch.item));
        }
    }

    /// A sweep is complete. Tells all that is ambiguous with it so far. `open`: for how many operations
    /// that began before that [`Self::ended`] will be called.
    pub(super) fn swept(
        &mut self,
        ticket: Ticket,
        (begun, complete): (u64, u64),
        scope: &Expressions,
        open: usize,
        found: &mut Vec<Ambiguity>,
    ) {
        if let Some(own) = self.close(ticket) {
            own.tell(found);
        }
        for other in &mut self.open {
            if other.scope.meets(scope) {
                other.suspect(Of::Operation(ticket), self.memory.writes_per_index);
            }
        }
        for past in &self.past {
            if begun < past.complete && past.scope.meets(scope) {
                found.push(past.overlapped(Of::Operation(ticket)));
            }
        }
        let scope = scope.detached();
        self.past.push(Past {
            ticket,
            scope,
            complete,
            open,
        });
    }

    /// A sweep left writes that nobody has refreshed.
    pub(super) fn left_unrefreshed(&mut self, ticket: Ticket, complete: u64, scope: &Expressions) {
        const MOST: usize = 1024;
        let mut known = self.recent_sweeps.iter_mut();
        if let Some(known) = known.find(|sweep| sweep.scope == *scope) {
            (known.complete, known.ticket, known.more) = (complete, ticket, true);
            return;
        }
        if self.recent_sweeps.len() >= MOST {
            self.forgotten = Some(complete);
            return;
        }
        let scope = scope.detached();
        self.recent_sweeps.push_back(RecentSweep {
            complete,
            ticket,
            more: false,
            scope,
        });
    }

    /// A refresh that began then is complete.
    pub(super) fn refreshed(&mut self, begun: u64, scope: &Expressions) {
        if scope.is_wide() {
            let writes = &mut self.writes;
            self.recent.retain(|name, recent| {
                if scope.covers(name) {
                    *writes -= recent.forget(begun);
                }
                !recent.is_empty()
            });
        }
        for name in &scope.names {
            if let Some(recent) = self.recent.get_mut(name) {
                self.writes -= recent.forget(begun);
                if recent.is_empty() {
                    self.recent.remove(name);
                }
            }
        }
        if scope.is_all() {
            self.recent_sweeps.retain(|sweep| sweep.complete >= begun);
            self.forgotten = self.forgotten.filter(|complete| *complete >= begun);
        } else {
            self.recent_sweeps
                .retain(|sweep| sweep.complete >= begun || !sweep.scope.only_names_in(scope));
        }
    }

    /// An operation that began then is complete, or nothing of it is sent.
    pub(super) fn ended(&mut self, begun: u64) {
        self.past.retain_mut(|past| {
            if begun < past.complete {
                past.open = past.open.saturating_sub(1);
            }
            past.open > 0
        });
    }

    /// The operation has ended, so if it was to be a sweep and is none, it takes in nothing.
    pub(super) fn left(&mut self, ticket: Ticket) {
        self.close(ticket);
    }

    fn close(&mut self, ticket: Ticket) -> Option<Open> {
        let at = self.open.iter().position(|open| open.ticket == ticket)?;
        Some(self.open.swap_remove(at))
    }

    /// Forgets everything but the bounds.
    pub(super) fn forget(&mut self) {
        *self = Self::new(self.memory);
    }

    /// How many writes are remembered.
    pub(super) const fn remembered(&self) -> usize {
        self.writes
    }

    /// How many sweeps are open, or complete beside something open.
    pub(super) fn active(&self) -> usize {
        self.open.len() + self.past.len()
    }
}

impl Open {
    fn suspect(&mut self, of: Of, most: usize) {
        if self.overflow {
            return;
        }
        self.suspects.push((of, Reason::Overlap));
        self.overflow = self.suspects.len() > most;
    }

    fn tell(self, found: &mut Vec<Ambiguity>) {
        let by = self.ticket;
        if self.overflow {
            let reason = Reason::Overlap;
            found.extend(self.scope.told().map(|name| Ambiguity {
                by,
                of: Of::Index(name),
                reason,
            }));
            return;
        }
        let suspects = self.suspects.into_iter();
        found.extend(suspects.map(|(of, reason)| Ambiguity { by, of, reason }));
    }
}

impl Past {
    const fn overlapped(&self, of: Of) -> Ambiguity {
        Ambiguity {
            by: self.ticket,
            of,
            reason: Reason::Overlap,
        }
    }
}

impl Recent {
    /// Forgets what was complete before the event, and tells how many writes that were.
    fn forget(&mut self, event: u64) -> usize {
        let before = self.writes.len();
        while self
            .writes
            .front()
            .is_some_and(|(complete, ..)| *complete < event)
        {
            self.writes.pop_front();
        }
        self.unlisted = self.unlisted.filter(|complete| *complete >= event);
        before - self.writes.len()
    }

    fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.unlisted.is_none()
    }
}
