//! The follower's engine: takes exchanges in journal order, sends them, and tells what became of each.
//!
//! A fixed number of workers, each with a connection of its own, share one `Dispatch` behind a lock.
//! Whoever ends a request takes the next one itself: there is no dispatching task, and nothing is spawned
//! per request. The engine never waits for room on anybody's behalf except in [`Engine::offer`], and its
//! reader may wait: the journal is the queue.
//!
//! Nothing is dropped because the target is down. It is then asked now and then whether it lives, and
//! everything waits. See `health.rs` for how a dead target is told from a request that no target
//! can take, `dispatch.rs` for what waits where, and `worker.rs` for how one request is sent.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use exchange::operation::{self, Access, Operation, answer};
use exchange::{Exchange, Request, Response};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::counters::{add, count, set};
use crate::dispatch::{Dispatch, Next, Taken};
use crate::intake::Intake;
use crate::job::{InHand, Job};
use crate::memory::MemoryError;
use crate::names::Names;
use crate::notes::{Notes, What};
use crate::order::{Completed, Footprint, Level, Memory, Order, Scope};
use crate::outcome::{Ambiguous, Filtered, Subject};
use crate::pace::Pace;
use crate::plan::{self, Fate, Policy};
use crate::quiet::Quiet;
use crate::resolver::{FIRST_TICKET, Resolve, Resolver};
use crate::tokens::{self, Asked, Told};
use crate::worker::Worker;
use crate::{
    AnswerLimits, Bounds, Counters, Delivered, Dropped, Limit, Outcome, Outcomes, Retry, Rewrite,
    Route, SendError, Sender, Target, Timeouts, Timing, Trust, TrustError, rules,
};

/// Everything that the engine wants to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to send.
    pub target: Target,
    /// Whose certificate to believe.
    pub trust: Trust,
    /// What to change in requests.
    pub rewrite: Rewrite,
    /// How many connections to keep, and so how many requests to have in flight.
    pub connections: usize,
    /// Whether fewer requests are in flight where the target's latency says that it has enough to do: see
    /// [`crate::Limit`]. Not with a pace, which is kept whatever the target does.
    pub adaptive: bool,
    /// How few they may become.
    pub min_in_flight: usize,
    /// How long the target may take.
    pub timeouts: Timeouts,
    /// How much of an answer to read.
    pub limits: AnswerLimits,
    /// How much to hold.
    pub bounds: Bounds,
    /// When to try again.
    pub retry: Retry,
    /// How much of the primary's order to keep.
    pub order: Level,
    /// What to do with what the primary refused, and with ids that it chose.
    pub policy: Policy,
    /// What is meant for the target, and as what.
    pub rules: Arc<rules::Cell>,
    /// Whether requests are sent as they are, in the order in which they are offered and without a look at what
    /// they mean: they were made for this target already.
    pub as_is: bool,
    /// When a request is due; without one, at once.
    pub pace: Option<Arc<Pace>>,
    /// Whether `now` in date math means the time of the capture.
    pub anchor_dates: bool,
    /// Where the engine notes what it must not forget over a kill. `None`: it notes nothing, and an
    /// operation that must not be done twice may be, after a kill.
    pub notes: Option<PathBuf>,
    /// Whether a run before this one was perhaps killed: then the target is first left to finish what it
    /// was sent.
    pub resumed: bool,
    /// Whether what is ambiguous is read from the primary. Only with [`Level::Causal`].
    pub resolve: Option<Resolve>,
    /// The target's name in pairs. Empty: its address.
    pub name: String,
    /// Whether every request gives a pair; those of dropped exchanges are told in any case. How much of the
    /// target's answers they hold is [`AnswerLimits::keep`].
    pub pairs: bool,
}

impl Config {
    /// The defaults, for this target.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self {
            target,
            trust: Trust::default(),
            rewrite: Rewrite::default(),
            connections: 32,
            adaptive: false,
            min_in_flight: 2,
            timeouts: Timeouts::default(),
            limits: AnswerLimits::default(),
            bounds: Bounds::default(),
            retry: Retry::default(),
            order: Level::Causal,
            policy: Policy::default(),
            rules: Arc::default(),
            as_is: false,
            pace: None,
            anchor_dates: false,
            notes: None,
            resumed: false,
            resolve: None,
            name: String::new(),
            pairs: false,
        }
    }
}

/// Why the engine does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The certificate authorities cannot be read.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// What was noted before cannot be read.
    #[error(transparent)]
    Notes(#[from] MemoryError),
}

/// The engine is draining and takes nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shadow engine is draining and takes no more exchanges")]
pub struct Closed;

/// What [`Engine::drain`] left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Positions of exchanges that were offered and have no outcome, in order. Those that were in
    /// flight at the deadline are among them; the target may have done them.
    pub not_done: Vec<u64>,
    /// How many of these were in flight at the deadline.
    pub in_flight: u64,
}

/// Sends exchanges to one target. Dropping it ends everything at once.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    workers: Mutex<JoinSet<()>>,
    /// Tells the workers when the clock of the pace changes. Ends with the engine.
    _clock: JoinSet<()>,
}

impl Engine {
    /// Starts the workers on the current tokio runtime. No connection is made before it is needed.
    ///
    /// # Errors
    /// When the target is `https` and the certificate authorities cannot be read, or when what was noted
    /// before a restart cannot be read.
    ///
    /// # Panics
    /// When there is no tokio runtime.
    pub fn start(config: Config, outcomes: Arc<dyn Outcomes>) -> Result<Self, StartError> {
        let counters = Arc::new(Counters::default());
        let notes = Notes::open(config.notes.as_deref(), tokens::Limits::default())?;
        let name = match config.name.is_empty() {
            true => config.target.to_string(),
            false => config.name,
        };
        let route = Route::new(
            config.target,
            &config.trust,
            config.rewrite,
            config.timeouts,
            config.limits,
            counters.clone(),
        )?;
        let connections = config.connections.max(1);
        let order = Order::new(config.order, Memory::default());
        let mut dispatch = Dispatch::new(
            order,
            config.pace.clone(),
            connections,
            config.bounds,
            config.retry,
        );
        if config.adaptive && config.pace.is_none() {
            dispatch.follow(Limit::new(config.min_in_flight, connections));
        }
        let resolver = match config.resolve {
            Some(resolve) if config.order == Level::Causal && !config.as_is => {
                Some(Resolver::new(resolve, connections)?)
            }
            _ => None,
        };
        let shared = Arc::new(Shared {
            dispatch: Mutex::new(dispatch),
            work: Notify::new(),
            room: Notify::new(),
            idle: Notify::new(),
            route: Arc::new(route),
            outcomes,
            counters,
            random: RandomState::new(),
            probe_limit: config.retry.probe,
            poison_log: Quiet::default(),
            begun: Mutex::default(),
            requests: AtomicU64::new(0),
            intake: Intake::new(config.order),
            names: Names::default(),
            policy: config.policy,
            rules: config.rules,
            as_is: config.as_is,
            pace: config.pace,
            anchor_dates: config.anchor_dates,
            notes,
            name,
            pairs: config.pairs,
            keep: config.limits.keep,
            refused_log: Quiet::default(),
            resolver,
        });
        shared.restore_pending();
        if config.resumed {
            shared.dispatch.lock().settle_first();
        }
        let mut workers = JoinSet::new();
        for _ in 0..connections {
            workers.spawn(Worker::new(shared.clone()).run());
        }
        workers.spawn(shared.clone().resolve_all());
        workers.spawn(shared.clone().check_all());
        let mut clock = JoinSet::new();
        if let Some(pace) = &shared.pace {
            let mut changes = pace.clock().subscribe();
            let shared = shared.clone();
            clock.spawn(async move {
                while changes.changed().await.is_ok() {
                    shared.work.notify_waiters();
                }
            });
        }
        Ok(Self {
            shared,
            workers: Mutex::new(workers),
            _clock: clock,
        })
    }

    /// Learns that the exchange at `position` has begun: its request was captured, and its response is
    /// awaited. What it touches then waits for its answer, where the order depends on it. To be told in
    /// the order of the journal, between the exchanges that are offered.
    ///
    /// Returns how far into a replay the request belongs: [`Pace::moment`]. Zero without a pace.
    pub fn begun(&self, position: u64, request: &Request) -> Duration {
        let begun = self.shared.read(request);
        if let Some(resolver) = &self.shared.resolver {
            resolver.begun(position, request);
        }
        let moment = begun.moment;
        let footprint = self
            .shared
            .intake
            .begun(request, &begun.operation, &begun.asked);
        self.shared.begun.lock().insert(position, begun);
        let mut dispatch = self.shared.dispatch.lock();
        dispatch.order.begun(position, &footprint);
        moment
    }

    /// Takes an exchange, and waits while too much is held. Exchanges are to be offered in the order of
    /// the journal. Dropping the future before it is done takes nothing.
    ///
    /// # Errors
    /// When the engine is draining; the exchange was not taken then.
    pub async fn offer(&self, exchange: Arc<Exchange>) -> Result<(), Closed> {
        let shared = &*self.shared;
        let position = exchange.position;
        match shared.prepare(exchange) {
            Prepared::Leave { outcome, ambiguous } => {
                let mut dispatch = shared.dispatch.lock();
                if dispatch.is_closing() {
                    return Err(Closed);
                }
                dispatch.order.complete(position, Completed::Leave);
                let more = shared.collect_ambiguous(&mut dispatch);
                drop(dispatch);
                shared.begun.lock().remove(&position);
                count(&shared.counters.offered);
                let ambiguous: Vec<Ambiguous> = ambiguous.into_iter().chain(more).collect();
                shared.note_ambiguous(&ambiguous);
                shared.resolve_ambiguous(&ambiguous);
                shared.tell(position, &outcome);
                shared.work.notify_one();
                Ok(())
            }
            Prepared::Send {
                in_hand,
                footprint,
                ambiguous,
            } => {
                // Before the outcome can be told.
                shared.note_ambiguous(&ambiguous);
                self.take_in(&in_hand, &footprint).await?;
                shared.begun.lock().remove(&position);
                shared.resolve_ambiguous(&ambiguous);
                Ok(())
            }
        }
    }

    async fn take_in(&self, in_hand: &Arc<InHand>, footprint: &Footprint) -> Result<(), Closed> {
        loop {
            if self.shared.take_in(in_hand, footprint)? == Taken::Yes {
                return Ok(());
            }
            let mut room = pin!(self.shared.room.notified());
            room.as_mut().enable();
            if self.shared.take_in(in_hand, footprint)? == Taken::Yes {
                return Ok(());
            }
            room.await;
        }
    }

    /// Everything before this position is done, and the journal will never tell it again.
    pub fn saved(&self, position: u64) {
        self.shared.notes.forget_before(position);
        self.shared.floors_saved(position);
    }

    /// Waits until everything that was offered has its outcome.
    pub async fn settled(&self) {
        loop {
            let mut idle = pin!(self.shared.idle.notified());
            idle.as_mut().enable();
            if self.shared.dispatch.lock().load().held == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Waits until nothing that is ambiguous waits to be read from the primary.
    pub async fn resolved(&self) {
        if let Some(resolver) = &self.shared.resolver {
            resolver.idle().await;
        }
    }

    /// Begins nothing more, and waits until `deadline` for what is in flight.
    pub async fn drain(&self, deadline: Instant) -> Drained {
        self.shared.dispatch.lock().close();
        self.shared.work.notify_waiters();
        self.shared.room.notify_waiters();
        if let Some(resolver) = &self.shared.resolver {
            resolver.close();
        }
        let mut workers = std::mem::take(&mut *self.workers.lock());
        let ended = async { while workers.join_next().await.is_some() {} };
        if timeout_at(deadline, ended).await.is_err() {
            workers.shutdown().await;
        }
        let mut dispatch = self.shared.dispatch.lock();
        let not_done = dispatch.take_rest();
        self.shared.show(&dispatch);
        drop(dispatch);
        let in_flight = self.shared.counters.in_flight.swap(0, Ordering::Relaxed);
        self.shared.idle.notify_waiters();
        Drained {
            not_done,
            in_flight,
        }
    }

    /// Closes what is still open on the target: scrolls, points in time, async searches. To be called when
    /// nothing more will be sent. Waits until `deadline` at most; returns how many requests that took.
    pub async fn close_contexts(&self, deadline: Instant) -> usize {
        let requests = self.shared.notes.sessions(tokens::Sessions::close_requests);
        let mut sender = Sender::new(self.shared.route.clone());
        let mut closed = 0;
        for request in requests {
            match timeout_at(deadline, sender.send_and_keep(&request, 0)).await {
                Ok(_answered) => closed += 1,
                Err(_late) => break,
            }
        }
        closed
    }

    /// Whether all that is held waits for answers that the journal does not have yet.
    #[must_use]
    pub fn waits_for_answers(&self) -> bool {
        self.shared.dispatch.lock().order.is_stuck()
    }

    /// What the engine counts.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        self.shared.counters.clone()
    }

    /// Whether the target was found down and has not answered since.
    #[must_use]
    pub fn is_target_down(&self) -> bool {
        self.shared.dispatch.lock().health.is_down()
    }
}

/// What a request means, read when it began.
#[derive(Clone, Debug)]
struct Begun {
    operation: Arc<Operation>,
    asked: Arc<Asked>,
    /// How far into the replay it belongs; zero without a pace.
    moment: Duration,
}

/// What is to be done with an exchange.
enum Prepared {
    Leave {
        outcome: Outcome,
        ambiguous: Vec<Ambiguous>,
    },
    Send {
        in_hand: Arc<InHand>,
        footprint: Box<Footprint>,
        ambiguous: Vec<Ambiguous>,
    },
}

/// What the workers share.
pub(crate) struct Shared {
    pub(crate) dispatch: Mutex<Dispatch>,
    /// A worker may have something to do.
    pub(crate) work: Notify,
    /// There may be room for another exchange.
    room: Notify,
    /// Everything offered has its outcome.
    idle: Notify,
    pub(crate) route: Arc<Route>,
    pub(crate) outcomes: Arc<dyn Outcomes>,
    pub(crate) counters: Arc<Counters>,
    random: RandomState,
    pub(crate) probe_limit: Duration,
    poison_log: Quiet,
    /// What has begun and was not offered.
    begun: Mutex<HashMap<u64, Begun>>,
    /// How many requests have begun.
    requests: AtomicU64,
    pub(crate) intake: Intake,
    names: Names,
    pub(crate) policy: Policy,
    pub(crate) rules: Arc<rules::Cell>,
    pub(crate) as_is: bool,
    pub(crate) pace: Option<Arc<Pace>>,
    pub(crate) anchor_dates: bool,
    pub(crate) notes: Notes,
    pub(crate) name: String,
    pub(crate) pairs: bool,
    /// Bytes of an answer that are kept in any case.
    pub(crate) keep: usize,
    pub(crate) refused_log: Quiet,
    pub(crate) resolver: Option<Resolver>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("target", self.route.target())
            .field("load", &self.dispatch.lock().load())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn read(&self, request: &Request) -> Begun {
        Begun {
            operation: Arc::new(operation::read(request)),
            asked: Arc::new(tokens::in_request(request)),
            moment: self.moment(request),
        }
    }

    fn prepare(&self, exchange: Arc<Exchange>) -> Prepared {
        if let Some(outcome) = Outcome::foreseen(&exchange) {
            let ambiguous = self.ambiguous_of_unsent(&exchange, &outcome);
            return Prepared::Leave { outcome, ambiguous };
        }
        let Some(request) = &exchange.request else {
            return Prepared::left(Filtered::NoRequest);
        };
        if self.as_is {
            return self.prepare_as_is(exchange);
        }
        if let Some(outcome) = self.done_before(exchange.position) {
            let ambiguous = Vec::new();
            return Prepared::Leave { outcome, ambiguous };
        }
        let begun = self.begun.lock().get(&exchange.position).cloned();
        let Begun {
            operation,
            asked,
            moment,
        } = begun.unwrap_or_else(|| self.read(request));
        let status = exchange.response.as_ref().map(|response| response.status);
        let facts = rules::Facts {
            request,
            operation: &operation,
            api: operation.api.as_str(),
            status,
        };
        if let rules::Verdict::Leave { reason, .. } = self.rules.load().decide(&facts) {
            let told = self.told(&asked, &exchange);
            self.learn_of(&exchange, &asked, told.as_ref(), None);
            return Prepared::left(reason.into());
        }
        let answer = answer::read(&operation, exchange.response.as_ref());
        let decision = plan::decide(&exchange, &operation, &answer, &self.policy);
        let ambiguous = self.names.ambiguous(&exchange, &operation, &decision);
        let applied = match decision.fate {
            Fate::Whole => None,
            Fate::Write(writes) => Some(writes),
            Fate::Filtered(reason) => {
                let outcome = Outcome::Filtered(reason);
                return Prepared::Leave { outcome, ambiguous };
            }
            Fate::Dropped(reason) => {
                let outcome = Outcome::Dropped(reason);
                return Prepared::Leave { outcome, ambiguous };
            }
        };
        let told = self.told(&asked, &exchange);
        let items: Option<Vec<u32>> = applied.as_ref().map(|writes| {
            let item = |write: &plan::Write| u32::try_from(write.item).ok();
            writes.iter().filter_map(item).collect()
        });
        let footprint = self.intake.complete(
            &exchange,
            &operation,
            &answer,
            items.as_deref(),
            (&asked, told.as_ref()),
        );
        match &applied {
            Some(writes) => self.names.remember(exchange.position, writes),
            None if operation.is_read() => {}
            None => self.names.remember_whole(exchange.position, &operation),
        }
        Prepared::Send {
            in_hand: Arc::new(InHand {
                weight: exchange.weight(),
                exchange,
                operation,
                asked,
                told,
                answer,
                applied: items,
                moment,
            }),
            footprint: Box::new(footprint),
            ambiguous,
        }
    }

    /// What became of an exchange that was done before a kill, if that was noted.
    fn done_before(&self, position: u64) -> Option<Outcome> {
        let item = None;
        let status = self.notes.was_done(What { position, item })?;
        count(&self.counters.done_before);
        Some(Outcome::Delivered(Delivered {
            status,
            attempts: 0,
            timing: Timing::default(),
        }))
    }

    /// Remembers that a write was done, or a part of it.
    fn note_done(&self, job: &Job, whole: Option<&Outcome>, part: &Outcome) {
        let position = job.position();
        if job.is_read() || self.as_is {
            return;
        }
        match (whole, part, &job.part) {
            (Some(Outcome::Delivered(Delivered { status, .. })), _, _) => {
                let item = None;
                self.notes.done(What { position, item }, *status);
            }
            (None, Outcome::Delivered(Delivered { status, .. }), Some(items)) => {
                for item in items {
                    let item = Some(*item);
                    self.notes.done(What { position, item }, *status);
                }
            }
            _ => {}
        }
    }

    fn prepare_as_is(&self, exchange: Arc<Exchange>) -> Prepared {
        let operation = exchange.request.as_ref().map(operation::read);
        let in_hand = InHand {
            weight: exchange.weight(),
            moment: Duration::ZERO,
            exchange,
            operation: Arc::new(operation.unwrap_or_else(|| operation::read(&Request::default()))),
            asked: Arc::default(),
            told: None,
            answer: answer::Answer::Unknown,
            applied: None,
        };
        Prepared::Send {
            footprint: Box::new(Footprint {
                access: Access::Write,
                indices: Scope::All,
                ..Footprint::default()
            }),
            in_hand: Arc::new(in_hand),
            ambiguous: Vec::new(),
        }
    }

    /// What the primary's answer says of tokens.
    fn told(&self, asked: &Asked, exchange: &Exchange) -> Option<Told> {
        if asked.is_nothing() {
            return None;
        }
        let response = exchange.response.as_ref()?;
        Some(tokens::in_answer(asked, response.into()))
    }

    /// To be asked once for each request, in the order in which they began.
    fn moment(&self, request: &Request) -> Duration {
        let Some(pace) = &self.pace else {
            return Duration::ZERO;
        };
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        pace.begun(request.time_us);
        pace.moment(request.time_us, number)
    }

    /// A write that cannot be sent leaves its documents ambiguous.
    fn ambiguous_of_unsent(&self, exchange: &Exchange, outcome: &Outcome) -> Vec<Ambiguous> {
        match (outcome, &exchange.request) {
            (Outcome::Dropped(reason), Some(request)) => {
                let operation = operation::read(request);
                if operation.is_read() {
                    return Vec::new();
                }
                self.names.all(exchange, &operation, reason.as_str())
            }
            _ => Vec::new(),
        }
    }

    /// What was not done of a job may be missing on the target.
    fn ambiguous_as_lost(&self, job: &Job, dropped: &Dropped) -> Vec<Ambiguous> {
        let in_hand = &job.in_hand;
        if job.is_read() || self.as_is {
            return Vec::new();
        }
        let batches = job.batches.iter();
        let left = batches.flat_map(|batch| in_hand.items(batch));
        let names: Vec<_> = left.filter_map(|item| in_hand.name(item)).collect();
        let reason = dropped.as_str();
        if names.is_empty() {
            return self
                .names
                .all(&in_hand.exchange, &in_hand.operation, reason);
        }
        let lost = |name| Ambiguous {
            position: job.position(),
            by: job.position(),
            subject: Subject::Document(name),
            reason,
        };
        names.into_iter().map(lost).collect()
    }

    fn take_in(&self, in_hand: &Arc<InHand>, footprint: &Footprint) -> Result<Taken, Closed> {
        let mut dispatch = self.dispatch.lock();
        if dispatch.is_closing() {
            return Err(Closed);
        }
        if dispatch.offer(in_hand, footprint) == Taken::Full {
            // Room was perhaps made by letting something go.
            self.work.notify_one();
            return Ok(Taken::Full);
        }
        let ambiguous = self.collect_ambiguous(&mut dispatch);
        // While nobody can end it: its outcome is told after this.
        self.note_ambiguous(&ambiguous);
        self.show(&dispatch);
        drop(dispatch);
        count(&self.counters.offered);
        self.work.notify_one();
        self.resolve_ambiguous(&ambiguous);
        Ok(Taken::Yes)
    }

    pub(crate) fn collect_ambiguous(&self, dispatch: &mut Dispatch) -> Vec<Ambiguous> {
        let found = dispatch.order.ambiguous();
        found.flat_map(|found| self.names.name(&found)).collect()
    }

    pub(crate) fn next(&self) -> Next {
        let mut dispatch = self.dispatch.lock();
        let next = dispatch.next(Instant::now());
        self.show(&dispatch);
        let somebody_must_wait =
            !matches!(next, Next::Wait(_) | Next::Stop) && dispatch.has_parked();
        drop(dispatch);
        if somebody_must_wait {
            self.work.notify_one();
        }
        next
    }

    /// Tells the outcome, and frees what the job held.
    pub(crate) fn finish(&self, job: &mut Job, outcome: Outcome) {
        if let Outcome::Dropped(dropped) = &outcome {
            self.log_dropped(job, dropped);
            let lost = self.ambiguous_as_lost(job, dropped);
            self.note_ambiguous(&lost);
            self.resolve_ambiguous(&lost);
        }
        // The outcome is told before anything goes that waited for it: so what is told is always so much
        // that a restart can go on from it.
        if job.position() < FIRST_TICKET {
            self.swept(&job.in_hand.operation, job.in_hand.exchange.time_us());
        }
        let mut dispatch = self.dispatch.lock();
        if let (Some(pace), Some(due), Outcome::Delivered(delivered)) =
            (&self.pace, job.due, &outcome)
        {
            let now = Instant::now();
            let sent = now.checked_sub(delivered.timing.end).unwrap_or(now);
            pace.answered(due, sent, now);
        }
        let part = outcome.clone();
        let whole = dispatch.outcome(job, outcome);
        let is_ours = job.position() >= FIRST_TICKET;
        if !is_ours {
            self.note_done(job, whole.as_ref(), &part);
        }
        if let Some(mut pair) = job.last_pair.take() {
            pair.more = whole.is_none();
            self.outcomes.pair(pair);
        }
        if let Some(outcome) = whole
            && !is_ours
        {
            self.tell(job.position(), &outcome);
        }
        let woken = dispatch.finished(job);
        let ambiguous = self.collect_ambiguous(&mut dispatch);
        let (room, idle) = (dispatch.has_room(), dispatch.load().held == 0);
        self.show(&dispatch);
        drop(dispatch);
        self.note_ambiguous(&ambiguous);
        self.resolve_ambiguous(&ambiguous);
        // All of these cost next to nothing when nobody waits.
        for _ in 1..woken {
            self.work.notify_one();
        }
        if room {
            self.room.notify_waiters();
        }
        if idle {
            self.idle.notify_waiters();
        }
    }

    pub(crate) fn tell(&self, position: u64, outcome: &Outcome) {
        self.outcomes.done(position, outcome);
        count(&self.counters.settled);
    }

    fn log_dropped(&self, job: &Job, dropped: &Dropped) {
        let Some(suppressed) = self.poison_log.may_speak(Instant::now()) else {
            return;
        };
        let target = self.route.target();
        let position = job.position();
        match dropped {
            Dropped::Poison { attempts, cause } => tracing::warn!(
                %target, position, attempts, cause, suppressed,
                "exchange given up: it failed while the target answered others"
            ),
            other => {
                tracing::warn!(%target, position, reason = other.as_str(), suppressed, "exchange dropped");
            }
        }
    }

    pub(crate) fn target_is_down(
        &self,
        cause: &str,
        error: Option<&SendError>,
        dispatch: &Dispatch,
    ) {
        count(&self.counters.target_downs);
        set(&self.counters.target_down, 1);
        let held = dispatch.load().held;
        let error = error.map(tracing::field::display);
        tracing::warn!(
            target = %self.route.target(), cause, error, held,
            "target is down; its exchanges wait in the journal"
        );
    }

    pub(crate) fn target_is_up(&self, down: Duration, dispatch: &Dispatch) {
        set(&self.counters.target_down, 0);
        let held = dispatch.load().held;
        tracing::info!(target = %self.route.target(), ?down, held, "target is up again");
    }

    pub(crate) fn show(&self, dispatch: &MutexGuard<'_, Dispatch>) {
        let load = dispatch.load();
        set(&self.counters.held, load.held);
        set(&self.counters.held_bytes, load.held_bytes);
        set(&self.counters.retrying, load.retrying);
        set(&self.counters.allowed, dispatch.allowed());
    }

    pub(crate) fn random(&self) -> u64 {
        let mut hasher = self.random.build_hasher();
        hasher.write_u64(self.counters.retries.load(Ordering::Relaxed));
        hasher.write_u64(self.counters.probes.load(Ordering::Relaxed));
        hasher.finish()
    }

    /// Learns the target's tokens from its answer, or that there is none.
    pub(crate) fn learn(&self, in_hand: &InHand, response: Option<&Response>) {
        let told = in_hand.told.as_ref();
        self.learn_of(&in_hand.exchange, &in_hand.asked, told, response);
    }

    fn learn_of(
        &self,
        exchange: &Exchange,
        asked: &Asked,
        told: Option<&Told>,
        response: Option<&Response>,
    ) {
        if asked.is_nothing() {
            return;
        }
        let shadow = response.map(|response| tokens::in_answer(asked, response.into()));
        let answered = exchange.response.as_ref();
        let now_us = answered.map_or_else(|| exchange.time_us(), |response| response.time_us);
        let learnt = self
            .notes
            .change_sessions(|sessions| sessions.learn(asked, told, shadow.as_ref(), now_us));
        if let Err(error) = learnt {
            tracing::error!(%error, "cannot keep a session of the target; after a restart it is not known");
        }
    }

    pub(crate) fn in_flight(&self, change: i64) {
        if change > 0 {
            add(&self.counters.in_flight, 1);
        } else {
            self.counters.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Prepared {
    const fn left(reason: Filtered) -> Self {
        Self::Leave {
            outcome: Outcome::Filtered(reason),
            ambiguous: Vec::new(),
        }
    }
}
