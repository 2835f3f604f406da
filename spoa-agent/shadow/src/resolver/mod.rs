//! Settles what is ambiguous by reading it from the primary, when the user allows that.
//!
//! A document that was found ambiguous waits in `pending`. At its rate it enters the order like a write of that document:
//! so it goes after everything on that document that was complete before, and nothing on it goes beside it. Then a
//! worker asks the primary in real time, and writes to the target what the primary has ([`crate::resolve`]).
//!
//! The primary is ahead of the journal. What was fetched shows writes that are still to come: these are left
//! out when their turn comes, as `floors` tells. Where that cannot be known, the write goes, and the document
//! is fetched again after it. An operation on a whole index may have been shown too: the documents that were fetched
//! since it began are fetched again after it. So what is written last is always right, and
//! nothing is left to do when the primary is quiet.
//!
//! What is pending is noted (`notes`), and also what was fetched while captured writes that it shows may still
//! come: after a kill all of that is fetched again.
//!
//! Neither a primary nor a target that is down keeps anything in the order: the document goes back and waits.

mod bucket;
mod check;
mod checking;
mod floors;
mod pending;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use exchange::operation::{self, Access, Operation};
use exchange::{Exchange, Request};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::counters::{count, set};
use crate::engine::Shared;
use crate::job::{InHand, Job};
use crate::order::Footprint;
use crate::outcome::{Ambiguous, Filtered, Subject};
use crate::resolve::{self, DocumentName, Found, NoAnswer};
use crate::worker::{Worker, now_us, trouble_of};
use crate::{
    Counters, Identity, Outcome, Rewrite, Route, Target, Timeouts, Trust, TrustError, rules,
};
use checking::Checks;
use exchange::operation::answer::{Answer, Sequence};
pub(crate) use floors::{Captured, Contained};
use floors::{Floor, Floors};
pub(crate) use pending::FIRST_TICKET;
use pending::{Became, Ended, Next, Pending, Queued};

/// Bytes of a document that are read; a greater one stays ambiguous.
const LARGEST: usize = 32 << 20;
/// Fetches on their way at most, so that they do not take all workers.
const AT_ONCE: usize = 8;

/// Where and how often to ask for what is ambiguous.
#[derive(Clone, Debug)]
pub struct Resolve {
    /// The primary: directly, not through the HAProxy whose traffic is captured.
    pub primary: Target,
    /// Whose certificate to believe.
    pub trust: Trust,
    /// Who asks.
    pub identity: Identity,
    /// How long the primary may take.
    pub timeouts: Timeouts,
    /// Documents per second.
    pub per_second: u32,
}

/// What is ambiguous and will be settled. Shared by the workers.
#[derive(Debug)]
pub(crate) struct Resolver {
    pub(crate) primary: Arc<Route>,
    pending: Mutex<Pending>,
    floors: Mutex<Floors>,
    checks: Checks,
    per_second: u32,
    /// How many floors there are: mostly none.
    known: AtomicUsize,
    wake: Notify,
    /// Nothing is pending.
    idle: Notify,
}

/// How the attempt to settle a document ended.
enum Attempt {
    /// The target has it. `None`: it is not meant for the target.
    Done(Option<Fetched>),
    Later(&'static str),
    Refused(String),
    /// The document is in another index than the request said.
    Elsewhere(Bytes),
}

struct Fetched {
    sequence: Option<Sequence>,
    asked_us: u64,
    answered_us: u64,
}

impl Resolver {
    pub(crate) fn new(config: Resolve, connections: usize) -> Result<Self, TrustError> {
        let rewrite = Rewrite {
            host: crate::HostHeader::Target,
            identity: config.identity,
            ..Rewrite::default()
        };
        let route = Route::new(
            config.primary,
            &config.trust,
            rewrite,
            config.timeouts,
            crate::AnswerLimits::default(),
            Arc::new(Counters::default()),
        )?;
        let at_once = (connections / 4).clamp(1, AT_ONCE);
        Ok(Self {
            primary: Arc::new(route),
            pending: Mutex::new(Pending::new(config.per_second, at_once)),
            floors: Mutex::default(),
            checks: Checks::default(),
            per_second: config.per_second,
            known: AtomicUsize::new(0),
            wake: Notify::new(),
            idle: Notify::new(),
        })
    }

    /// An exchange has begun.
    pub(crate) fn begun(&self, position: u64, request: &Request) {
        if self.known.load(Ordering::Relaxed) > 0 {
            self.floors.lock().begun(position, request.time_us);
        }
    }

    /// Whether a captured write is in what was fetched.
    pub(crate) fn judge(&self, write: &Captured) -> Contained {
        self.floors.lock().judge(write)
    }

    /// Whether anything was fetched that captured writes may be in.
    pub(crate) fn has_floors(&self) -> bool {
        self.known.load(Ordering::Relaxed) > 0
    }

    /// Documents that are to be fetched or are on their way.
    pub(crate) fn pending(&self) -> usize {
        self.pending.lock().len() + self.checks.len()
    }

    /// Waits until nothing is pending.
    pub(crate) async fn idle(&self) {
        loop {
            let mut idle = pin!(self.idle.notified());
            idle.as_mut().enable();
            if self.pending() == 0 {
                return;
            }
            idle.await;
        }
    }

    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Nothing more is to be done.
    pub(crate) fn close(&self) {
        self.wake();
        self.checks.closed.notify_one();
    }

    fn set_floor(&self, floor: Floor) {
        let mut floors = self.floors.lock();
        floors.set(floor);
        self.known.store(floors.len(), Ordering::Relaxed);
    }
}

impl Shared {
    /// Goes on with what was pending before a restart.
    pub(crate) fn restore_pending(&self) {
        let Some(resolver) = &self.resolver else {
            return;
        };
        let names = self.notes.unresolved();
        if !names.is_empty() {
            tracing::info!(
                documents = names.len(),
                "documents were ambiguous at the end of the last run; they are read from the primary again"
            );
        }
        for name in &names {
            if name.id.is_empty() {
                self.check_index(resolver, &name.index);
            } else {
                resolver.pending.lock().queue(name);
            }
        }
        self.show_pending(resolver);
    }

    /// These are ambiguous: so that a kill does not take it away. They are not fetched before
    /// [`Self::resolve_ambiguous`].
    pub(crate) fn note_ambiguous<'a>(&self, found: impl IntoIterator<Item = &'a Ambiguous>) {
        for ambiguous in found {
            count(&self.counters.ambiguous);
            self.outcomes.ambiguous(ambiguous);
            match &ambiguous.subject {
                _ if self.resolver.is_none() => {}
                Subject::Document(name) => self.note_unresolved(name),
                Subject::Index(index) => self.note_index(index),
                Subject::Operation => {}
            }
        }
    }

    fn note_unresolved(&self, name: &DocumentName) {
        if let Err(error) = self.notes.unresolved_now(name) {
            tracing::error!(%error, "cannot note that a document is ambiguous; after a kill it is only listed");
        }
    }

    /// What made these ambiguous is in the order: they may be fetched after it.
    pub(crate) fn resolve_ambiguous(&self, found: &[Ambiguous]) {
        let Some(resolver) = &self.resolver else {
            return;
        };
        for ambiguous in found {
            if let Subject::Index(index) = &ambiguous.subject {
                self.check_index(resolver, index);
                self.show_pending(resolver);
            }
        }
        let names = found.iter().filter_map(|it| match &it.subject {
            Subject::Document(name) => Some(name),
            Subject::Index(_) | Subject::Operation => None,
        });
        self.resolve_documents(names);
    }

    /// Shows how much is pending, and wakes who waits until nothing is.
    fn show_pending(&self, resolver: &Resolver) {
        let left = resolver.pending();
        set(&self.counters.resolve_pending, left);
        if left == 0 {
            resolver.idle.notify_waiters();
        }
    }

    fn resolve_documents<'a>(&self, names: impl IntoIterator<Item = &'a DocumentName>) {
        let Some(resolver) = &self.resolver else {
            return;
        };
        let mut pending = resolver.pending.lock();
        let before = pending.len();
        for name in names {
            if pending.queue(name) == Queued::Full {
                count(&self.counters.unresolved);
            }
        }
        if pending.len() > before {
            drop(pending);
            self.show_pending(resolver);
            resolver.wake();
        }
    }

    /// Nobody knows whether the write that goes now is in what was fetched.
    pub(crate) fn fetch_again(&self, name: &DocumentName) {
        self.note_unresolved(name);
        self.resolve_documents([name]);
    }

    /// An operation on whole indices has been done, and what conflicts with it still waits.
    pub(crate) fn swept(&self, operation: &Operation, began_us: u64) {
        let Some(resolver) = &self.resolver else {
            return;
        };
        let takes_in = operation.api.is_by_query() || operation.api.takes_whole_indices();
        if !takes_in || !resolver.has_floors() {
            return;
        }
        let scope = self.intake.scope(operation);
        let again = resolver
            .floors
            .lock()
            .swept(|index| scope.covers(index), began_us);
        for name in &again {
            self.note_unresolved(name);
        }
        self.resolve_documents(again.iter().map(|name| &**name));
    }

    /// Everything before this position is done, and the journal will never tell it again.
    pub(crate) fn floors_saved(&self, position: u64) {
        let Some(resolver) = self.resolver.as_ref().filter(|it| it.has_floors()) else {
            return;
        };
        let mut floors = resolver.floors.lock();
        let gone = floors.saved(position);
        resolver.known.store(floors.len(), Ordering::Relaxed);
        drop(floors);
        let mut pending = resolver.pending.lock();
        for name in gone {
            if pending.is_over(&name) {
                self.note_resolved(&name);
            }
        }
    }

    fn note_resolved(&self, name: &DocumentName) {
        if let Err(error) = self.notes.resolved_now(name) {
            tracing::error!(%error, "cannot note that a document is not ambiguous any more; after a restart it is read again");
        }
    }

    /// Lets documents enter the order as their time comes.
    pub(crate) async fn resolve_all(self: Arc<Self>) {
        let Some(resolver) = &self.resolver else {
            return;
        };
        loop {
            // A call that comes while nobody waits is kept.
            let wake = resolver.wake.notified();
            let next = resolver.pending.lock().next(Instant::now());
            match next {
                Next::Enter(ticket, name) => {
                    if !self.enter(ticket, &name) {
                        return;
                    }
                }
                Next::Wait(_) if self.dispatch.lock().is_closing() => return,
                Next::Wait(None) => wake.await,
                Next::Wait(Some(until)) => tokio::select! {
                    () = wake => {}
                    () = sleep_until(until) => {}
                },
            }
        }
    }

    /// Puts the document into the order, as a write of it that is complete now. `false`: the engine is draining.
    fn enter(&self, ticket: u64, name: &DocumentName) -> bool {
        let footprint = Footprint {
            access: Access::Write,
            documents: vec![self.intake.named(name)],
            ..Footprint::default()
        };
        self.enter_order(ticket, &footprint)
    }

    fn enter_order(&self, ticket: u64, footprint: &Footprint) -> bool {
        let in_hand = Arc::new(InHand {
            exchange: Arc::new(Exchange {
                position: ticket,
                request: None,
                response: None,
            }),
            operation: Arc::new(operation::read(&Request::default())),
            answer: Answer::Unknown,
            applied: None,
            asked: Arc::default(),
            told: None,
            weight: 0,
            moment: Duration::ZERO,
        });
        let mut dispatch = self.dispatch.lock();
        if dispatch.is_closing() {
            return false;
        }
        dispatch.take_in(&in_hand, footprint);
        let more = self.collect_ambiguous(&mut dispatch);
        self.note_ambiguous(&more);
        drop(dispatch);
        self.resolve_ambiguous(&more);
        self.work.notify_one();
        true
    }

    /// Sees to what follows when a document was fetched, or was not.
    fn attempted(&self, resolver: &Resolver, job: &Job, name: &DocumentName, attempt: Attempt) {
        let ended = match attempt {
            Attempt::Done(None) => Ended::Done { floor: false },
            Attempt::Done(Some(fetched)) => {
                let touch = self.intake.named(name);
                resolver.set_floor(Floor {
                    name: Arc::new(name.clone()),
                    index: touch.index,
                    key: touch.key,
                    sequence: fetched.sequence,
                    asked_us: fetched.asked_us,
                    answered_us: fetched.answered_us,
                });
                Ended::Done { floor: true }
            }
            Attempt::Elsewhere(index) => {
                self.intake.aliases().learn(&name.index, &index);
                let elsewhere = DocumentName {
                    index,
                    ..name.clone()
                };
                self.fetch_again(&elsewhere);
                Ended::Done { floor: false }
            }
            Attempt::Later(cause) => {
                tracing::debug!(cause, "an ambiguous document is not settled yet");
                count(&self.counters.resolve_failures);
                Ended::Later
            }
            Attempt::Refused(reason) => {
                count(&self.counters.resolve_failures);
                if let Some(suppressed) = self.refused_log.may_speak(Instant::now()) {
                    tracing::warn!(target = %self.route.target(), reason, suppressed, "an ambiguous document cannot be settled");
                }
                Ended::Refused
            }
        };
        let mut pending = resolver.pending.lock();
        let became = pending.ended(job.position(), &ended, Instant::now());
        match became {
            Some(Became::Resolved) => {
                count(&self.counters.resolved);
                self.outcomes.resolved(&Subject::Document(name.clone()));
                if ended == (Ended::Done { floor: false }) {
                    self.note_resolved(name);
                }
            }
            Some(Became::GivenUp) => {
                count(&self.counters.unresolved);
                self.note_resolved(name);
            }
            Some(Became::Pending) | None => {}
        }
        drop(pending);
        self.show_pending(resolver);
        resolver.wake();
    }
}

impl Worker {
    /// Settles the ambiguous document that the job stands for. Returns whether the target answered.
    pub(crate) async fn resolve(&mut self, job: &mut Job) -> Result<(), Option<Duration>> {
        let shared = self.shared.clone();
        let mut answered = Err(None);
        if let Some(resolver) = &shared.resolver {
            if checking::is_check(job.position()) {
                shared.index_is_ready(resolver, job.position());
            }
            let name = resolver.pending.lock().running(job.position());
            if let Some(name) = name {
                let attempt = self.attempt(&name).await;
                if matches!(attempt, Attempt::Done(Some(_))) {
                    answered = Ok(());
                }
                shared.attempted(resolver, job, &name, attempt);
            }
        }
        // Now what waited for it may go.
        shared.finish(job, Outcome::Filtered(Filtered::NoEffect));
        answered
    }

    async fn attempt(&mut self, name: &DocumentName) -> Attempt {
        let Some(primary) = &mut self.primary else {
            return Attempt::Done(None);
        };
        let asked_us = now_us();
        let sent = primary.send_and_keep(&resolve::ask(name), LARGEST).await;
        let answered_us = now_us();
        let answer = match sent.result {
            Ok(answer) => answer,
            Err(error) => return Attempt::Later(error.as_str()),
        };
        if answer.body.len() as u64 != answer.body_length {
            return Attempt::Refused("the document is too large".to_owned());
        }
        let found = match resolve::read(answer.status, &answer.body) {
            Ok(found) => found,
            Err(NoAnswer::Status(_)) => return Attempt::Later("the primary's status"),
            Err(unreadable) => return Attempt::Refused(unreadable.to_string()),
        };
        match resolve::index(&answer.body) {
            Some(index) if index != name.index => return Attempt::Elsewhere(index),
            _ => {}
        }
        self.put(name, &found, (asked_us, answered_us)).await
    }

    async fn put(
        &mut self,
        name: &DocumentName,
        found: &Found,
        (asked_us, answered_us): (u64, u64),
    ) -> Attempt {
        let mut put = resolve::put(name, found);
        let rules = self.shared.rules.load();
        if !is_meant(&rules, &put) {
            return Attempt::Done(None);
        }
        if rules.apply(&mut put, &mut Vec::new()).is_err() {
            return Attempt::Refused("its index cannot be renamed".to_owned());
        }
        drop(rules);
        let sent = self.sender.send_and_keep(&put, 1 << 10).await;
        match trouble_of(&sent, None) {
            Some(Ok(trouble)) => return Attempt::Later(trouble.cause),
            Some(Err(reason)) => return Attempt::Refused(reason.to_string()),
            None => {}
        }
        let Ok(answer) = sent.result else {
            return Attempt::Later("no answer");
        };
        let is_gone = *found == Found::Missing && answer.status == 404;
        if answer.status >= 300 && !is_gone {
            return Attempt::Refused(String::from_utf8_lossy(&answer.body).into_owned());
        }
        Attempt::Done(Some(Fetched {
            sequence: match found {
                Found::At { sequence, .. } => Some(*sequence),
                Found::Missing => None,
            },
            asked_us,
            answered_us,
        }))
    }
}

/// Whether the rules let the write through, as if it had been captured.
fn is_meant(rules: &rules::Rules, put: &Request) -> bool {
    let operation = operation::read(put);
    let facts = rules::Facts {
        request: put,
        operation: &operation,
        api: operation.api.as_str(),
        status: Some(200),
    };
    let verdict = rules.decide(&facts);
    // The exchange that made it ambiguous was in the sample.
    let denied = rules::Reason::Denied;
    !matches!(verdict, rules::Verdict::Leave { reason, .. } if reason == denied)
}
