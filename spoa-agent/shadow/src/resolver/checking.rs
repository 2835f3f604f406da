//! Whole indices that are ambiguous: their documents are compared, and those that differ are settled one by one.
//!
//! That costs the primary more than a look at a document, so it is done for indices of a bounded size only, one
//! at a time, slowly. What the primary does not show to a search is not compared.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use exchange::Request;
use exchange::operation::Access;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Resolver;
use super::check::{self, Listed};
use super::pending::FIRST_TICKET;
use crate::Sender;
use crate::counters::count;
use crate::engine::Shared;
use crate::order::{Footprint, Scope, Ticket};
use crate::outcome::{Ambiguous, Subject};
use crate::resolve::DocumentName;

/// Tickets from here on are for whole indices.
const FIRST_CHECK: Ticket = FIRST_TICKET | 1 << 62;
/// Documents of an index that is compared.
const MOST_DOCUMENTS: u64 = 100_000;
/// What was written is visible to a search after this, with the usual settings.
const VISIBLE: Duration = Duration::from_millis(1500);
/// Until the next attempt.
const PAUSE: Duration = Duration::from_secs(2);
/// Documents are compared so many times as fast as single ones are fetched.
const TIMES: u32 = 20;
/// Bytes of an answer.
const LARGEST: usize = 64 << 20;

/// Indices that are to be compared.
#[derive(Debug, Default)]
pub(super) struct Checks {
    state: Mutex<State>,
    pub(super) wake: Notify,
    /// The engine is draining.
    pub(super) closed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// In the order, behind what made them ambiguous; with whether they became ambiguous again meanwhile.
    entered: HashMap<Bytes, bool>,
    tickets: HashMap<Ticket, Bytes>,
    ready: VecDeque<Bytes>,
    running: Option<Bytes>,
    last: u64,
}

impl Checks {
    pub(super) fn len(&self) -> usize {
        let state = self.state.lock();
        state.entered.len() + state.ready.len() + usize::from(state.running.is_some())
    }

    /// A ticket for the index, unless it has one.
    fn enter(&self, index: &Bytes) -> Option<Ticket> {
        let mut state = self.state.lock();
        if let Some(again) = state.entered.get_mut(index) {
            *again = true;
            return None;
        }
        let ticket = FIRST_CHECK | state.last;
        state.last += 1;
        state.entered.insert(index.clone(), false);
        state.tickets.insert(ticket, index.clone());
        Some(ticket)
    }

    /// What made it ambiguous is done. Returns the index when it has to enter once more.
    fn ready(&self, ticket: Ticket) -> Option<Bytes> {
        let mut state = self.state.lock();
        let index = state.tickets.remove(&ticket)?;
        let again = state.entered.remove(&index)?;
        if again {
            return Some(index);
        }
        if !state.ready.contains(&index) {
            state.ready.push_back(index);
        }
        self.wake.notify_one();
        None
    }

    fn begin(&self) -> Option<Bytes> {
        let mut state = self.state.lock();
        state.running = state.ready.pop_front();
        state.running.clone()
    }

    /// Returns whether it is ambiguous anew.
    fn end(&self, index: &Bytes, done: bool) -> bool {
        let mut state = self.state.lock();
        state.running = None;
        if !done && !state.ready.contains(index) {
            state.ready.push_back(index.clone());
        }
        state.entered.contains_key(index) || state.ready.contains(index)
    }
}

/// Stands in the notes for all documents of an index: no document has an empty id.
fn all_of(index: &Bytes) -> DocumentName {
    DocumentName {
        index: index.clone(),
        mapping_type: None,
        id: Bytes::new(),
        routing: None,
    }
}

pub(super) fn is_check(ticket: Ticket) -> bool {
    ticket >= FIRST_CHECK
}

impl Shared {
    pub(super) fn note_index(&self, index: &Bytes) {
        self.note_unresolved(&all_of(index));
    }

    /// Lets the index enter the order as a search does: behind all writes on it.
    pub(super) fn check_index(&self, resolver: &Resolver, index: &Bytes) {
        if let Some(ticket) = resolver.checks.enter(index) {
            let footprint = Footprint {
                access: Access::Read,
                indices: Scope::Indices(vec![index.clone()]),
                ..Footprint::default()
            };
            self.enter_order(ticket, &footprint);
        }
    }

    pub(super) fn index_is_ready(&self, resolver: &Resolver, ticket: Ticket) {
        if let Some(index) = resolver.checks.ready(ticket) {
            self.check_index(resolver, &index);
        }
    }

    /// Compares indices as they become ready, until the engine drains.
    pub(crate) async fn check_all(self: Arc<Self>) {
        let Some(resolver) = &self.resolver else {
            return;
        };
        tokio::select! {
            () = self.check_one_by_one(resolver) => {}
            () = resolver.checks.closed.notified() => {}
        }
    }

    async fn check_one_by_one(&self, resolver: &Resolver) {
        loop {
            let wake = resolver.checks.wake.notified();
            let Some(index) = resolver.checks.begin() else {
                wake.await;
                continue;
            };
            tokio::time::sleep(VISIBLE).await;
            let checked = self.compare(resolver, &index).await;
            let done = checked.is_some();
            if checked == Some(false) {
                tracing::warn!(
                    index = %index.escape_ascii(),
                    most = MOST_DOCUMENTS,
                    "an ambiguous index has too many documents to compare them; it stays ambiguous"
                );
                count(&self.counters.unresolved);
            }
            if !resolver.checks.end(&index, done) && done {
                self.note_resolved(&all_of(&index));
                if checked == Some(true) {
                    count(&self.counters.resolved);
                    self.outcomes.resolved(&Subject::Index(index));
                }
            }
            self.show_pending(resolver);
            if !done {
                count(&self.counters.resolve_failures);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Compares the documents. `None`: one side did not answer; `Some(false)`: they are too many.
    async fn compare(&self, resolver: &Resolver, expression: &Bytes) -> Option<bool> {
        let mut sides = Sides {
            shared: self,
            primary: Sender::new(resolver.primary.clone()),
            target: Sender::new(self.route.clone()),
            per_second: resolver.per_second.saturating_mul(TIMES).max(1),
        };
        let sizes = sides.ask(Side::Primary, check::sizes(expression)).await?;
        let sizes = check::read_sizes(&sizes)?;
        let total: u64 = sizes.iter().map(|(_, documents)| documents).sum();
        if total > MOST_DOCUMENTS {
            return Some(false);
        }
        for (index, _) in &sizes {
            sides.ask(Side::Target, check::refresh(index)).await;
            let mut seen = BTreeSet::new();
            sides
                .compare_listed(Side::Primary, index, &mut seen)
                .await?;
            sides.compare_listed(Side::Target, index, &mut seen).await?;
        }
        Some(true)
    }

    /// These documents differ.
    fn found_different(&self, index: &str, documents: impl Iterator<Item = Listed>) {
        let found: Vec<Ambiguous> = documents
            .map(|document| Ambiguous {
                position: 0,
                by: 0,
                subject: Subject::Document(DocumentName {
                    index: Bytes::copy_from_slice(index.as_bytes()),
                    mapping_type: None,
                    id: document.id.into(),
                    routing: document.routing.map(Bytes::from),
                }),
                reason: "different",
            })
            .collect();
        self.note_ambiguous(&found);
        self.resolve_ambiguous(&found);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Primary,
    Target,
}

struct Sides<'a> {
    shared: &'a Shared,
    primary: Sender,
    target: Sender,
    per_second: u32,
}

impl Sides<'_> {
    /// Compares the documents that one side lists, but for those that were seen.
    async fn compare_listed(
        &mut self,
        side: Side,
        index: &str,
        seen: &mut BTreeSet<(String, Option<String>)>,
    ) -> Option<()> {
        let mut page = self.page(side, check::list(index)).await?;
        while let Some(listed) = page.take().filter(|page| !page.documents.is_empty()) {
            let mut documents = listed.documents;
            documents.retain(|one| seen.insert((one.id.clone(), one.routing.clone())));
            self.compare_these(index, &documents).await?;
            page = self.page(side, check::more(&listed.scroll)).await?;
            if let Some(last) = page.as_ref().filter(|page| page.documents.is_empty()) {
                self.ask(side, check::close(&last.scroll)).await;
            }
        }
        Some(())
    }

    /// `Some(None)`: the index is not there.
    async fn page(&mut self, side: Side, request: Request) -> Option<Option<check::Page>> {
        let answer = self.ask(side, request).await?;
        if answer.is_empty() {
            return Some(None);
        }
        Some(Some(check::read_page(&answer)?))
    }

    async fn compare_these(&mut self, index: &str, documents: &[Listed]) -> Option<()> {
        if documents.is_empty() {
            return Some(());
        }
        let wait = Duration::from_secs(documents.len() as u64) / self.per_second;
        tokio::time::sleep(wait).await;
        let mut sources = Vec::new();
        for side in [Side::Target, Side::Primary] {
            let answer = self.ask(side, check::get(index, documents)).await?;
            sources.push(match answer.is_empty() {
                true => vec![None; documents.len()],
                false => check::read_sources(&answer).filter(|it| it.len() == documents.len())?,
            });
        }
        let [target, primary] = <[Vec<Option<Bytes>>; 2]>::try_from(sources).ok()?;
        let both = documents.iter().zip(target.into_iter().zip(primary));
        let differ = both.filter(|(_, (target, primary))| target != primary);
        self.shared
            .found_different(index, differ.map(|(document, _)| document.clone()));
        Some(())
    }

    /// `None`: no answer that helps. Empty: there is no such index.
    async fn ask(&mut self, side: Side, mut request: Request) -> Option<Bytes> {
        let sender = match side {
            Side::Primary => &mut self.primary,
            Side::Target => {
                let rules = self.shared.rules.load();
                rules.apply(&mut request, &mut Vec::new()).ok()?;
                &mut self.target
            }
        };
        let answer = sender.send_and_keep(&request, LARGEST).await.result.ok()?;
        match answer.status {
            200 if answer.body.len() as u64 == answer.body_length => Some(answer.body),
            404 => Some(Bytes::new()),
            _ => None,
        }
    }
}
