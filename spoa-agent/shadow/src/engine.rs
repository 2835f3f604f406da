//! The follower's engine: takes exchanges in journal order, sends them, and tells what became of each.
//!
//! A fixed number of workers, each with a [`Sender`] of its own, share one `Dispatch`
//! behind a lock. Whoever ends a request takes the next one itself: there is no dispatching task, and
//! nothing is spawned per request. The engine never waits for room on anybody's behalf except in
//! [`Engine::offer`], and its reader may wait: the journal is the queue.
//!
//! Nothing is dropped because the target is down. It is then asked now and then whether it lives, and
//! everything waits. See `health.rs` for how a dead target is told from a request that no target
//! can take, and `dispatch.rs` for what waits where.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use exchange::Exchange;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::counters::{add, count, set};
use crate::dispatch::{Dispatch, Job, Next, Trouble, TroubleKind};
use crate::quiet::Quiet;
use crate::{
    AnswerLimits, Bounds, Counters, Delivered, Dropped, Outcome, Outcomes, Retry, Rewrite, Route,
    SendError, Sender, Sent, Target, Timeouts, Trust, TrustError,
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
    /// How long the target may take.
    pub timeouts: Timeouts,
    /// How much of an answer to read.
    pub limits: AnswerLimits,
    /// How much to hold.
    pub bounds: Bounds,
    /// When to try again.
    pub retry: Retry,
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
            timeouts: Timeouts::default(),
            limits: AnswerLimits::default(),
            bounds: Bounds::default(),
            retry: Retry::default(),
        }
    }
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
}

/// Sends exchanges to one target. Dropping it ends everything at once.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    workers: Mutex<JoinSet<()>>,
}

impl Engine {
    /// Starts the workers on the current tokio runtime. No connection is made before it is needed.
    ///
    /// # Errors
    /// When the target is `https` and the certificate authorities cannot be read.
    ///
    /// # Panics
    /// When there is no tokio runtime.
    pub fn start(config: Config, outcomes: Arc<dyn Outcomes>) -> Result<Self, TrustError> {
        let counters = Arc::new(Counters::default());
        let Config {
            target,
            trust,
            rewrite,
            connections,
            timeouts,
            limits,
            bounds,
            retry,
        } = config;
        let route = Route::new(target, &trust, rewrite, timeouts, limits, counters.clone())?;
        let connections = connections.max(1);
        let shared = Arc::new(Shared {
            dispatch: Mutex::new(Dispatch::new(connections, bounds, retry)),
            work: Notify::new(),
            room: Notify::new(),
            idle: Notify::new(),
            route: Arc::new(route),
            outcomes,
            counters,
            random: RandomState::new(),
            probe_limit: retry.probe,
            poison_log: Quiet::default(),
        });
        let mut workers = JoinSet::new();
        for number in 0..connections {
            workers.spawn(Worker::new(shared.clone(), number).run());
        }
        Ok(Self {
            shared,
            workers: Mutex::new(workers),
        })
    }

    /// Takes an exchange, and waits while too much is held. Exchanges of one client connection are
    /// sent in the order in which they are offered. Dropping the future before it is done takes
    /// nothing.
    ///
    /// # Errors
    /// When the engine is draining; the exchange was not taken then.
    pub async fn offer(&self, exchange: Arc<Exchange>) -> Result<(), Closed> {
        let shared = &self.shared;
        if let Some(outcome) = Outcome::foreseen(&exchange) {
            if shared.dispatch.lock().is_closing() {
                return Err(Closed);
            }
            count(&shared.counters.offered);
            shared.tell(exchange.position, &outcome);
            return Ok(());
        }
        let mut job = Job::new(exchange);
        loop {
            match shared.take_in(job)? {
                None => return Ok(()),
                Some(refused) => job = refused,
            }
            let mut room = pin!(shared.room.notified());
            room.as_mut().enable();
            match shared.take_in(job)? {
                None => return Ok(()),
                Some(refused) => job = refused,
            }
            room.await;
        }
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

    /// Begins nothing more, and waits until `deadline` for what is in flight.
    pub async fn drain(&self, deadline: Instant) -> Drained {
        self.shared.dispatch.lock().close();
        self.shared.work.notify_waiters();
        self.shared.room.notify_waiters();
        let mut workers = std::mem::take(&mut *self.workers.lock());
        let ended = async { while workers.join_next().await.is_some() {} };
        if timeout_at(deadline, ended).await.is_err() {
            workers.shutdown().await;
        }
        let mut dispatch = self.shared.dispatch.lock();
        let not_done = dispatch.take_rest();
        self.shared.show(&dispatch);
        drop(dispatch);
        self.shared.counters.in_flight.store(0, Ordering::Relaxed);
        self.shared.idle.notify_waiters();
        Drained { not_done }
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

struct Shared {
    dispatch: Mutex<Dispatch>,
    /// A worker may have something to do.
    work: Notify,
    /// There may be room for another exchange.
    room: Notify,
    /// Everything offered has its outcome.
    idle: Notify,
    route: Arc<Route>,
    outcomes: Arc<dyn Outcomes>,
    counters: Arc<Counters>,
    random: RandomState,
    probe_limit: Duration,
    poison_log: Quiet,
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
    /// Takes the job in, or gives it back when there is no room.
    fn take_in(&self, job: Job) -> Result<Option<Job>, Closed> {
        let mut dispatch = self.dispatch.lock();
        if dispatch.is_closing() {
            return Err(Closed);
        }
        if let Some(refused) = dispatch.offer(job) {
            return Ok(Some(refused));
        }
        self.show(&dispatch);
        drop(dispatch);
        count(&self.counters.offered);
        self.work.notify_one();
        Ok(None)
    }

    fn next(&self, worker: usize) -> Next {
        let mut dispatch = self.dispatch.lock();
        let next = dispatch.next(worker, Instant::now());
        self.show(&dispatch);
        let somebody_must_wait =
            matches!(next, Next::Send(_) | Next::GiveUp(_)) && dispatch.has_parked();
        drop(dispatch);
        if somebody_must_wait {
            self.work.notify_one();
        }
        next
    }

    /// Tells the outcome, and frees what the job held.
    fn finish(&self, worker: usize, job: &Job, outcome: &Outcome) {
        if let Outcome::Dropped(dropped) = outcome {
            self.log_dropped(job, dropped);
        }
        self.tell(job.position(), outcome);
        let mut dispatch = self.dispatch.lock();
        dispatch.finished(worker, job);
        let (room, idle) = (dispatch.has_room(), dispatch.load().held == 0);
        self.show(&dispatch);
        drop(dispatch);
        // Both cost next to nothing when nobody waits.
        if room {
            self.room.notify_waiters();
        }
        if idle {
            self.idle.notify_waiters();
        }
    }

    fn tell(&self, position: u64, outcome: &Outcome) {
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

    fn target_is_down(&self, cause: &str, error: Option<&SendError>, dispatch: &Dispatch) {
        count(&self.counters.target_downs);
        set(&self.counters.target_down, 1);
        let held = dispatch.load().held;
        let error = error.map(tracing::field::display);
        tracing::warn!(
            target = %self.route.target(), cause, error, held,
            "target is down; its exchanges wait in the journal"
        );
    }

    fn target_is_up(&self, down: Duration, dispatch: &Dispatch) {
        set(&self.counters.target_down, 0);
        let held = dispatch.load().held;
        tracing::info!(target = %self.route.target(), ?down, held, "target is up again");
    }

    fn show(&self, dispatch: &MutexGuard<'_, Dispatch>) {
        let load = dispatch.load();
        set(&self.counters.held, load.held);
        set(&self.counters.held_bytes, load.held_bytes);
        set(&self.counters.retrying, load.retrying);
    }

    fn random(&self) -> u64 {
        let mut hasher = self.random.build_hasher();
        hasher.write_u64(self.counters.retries.load(Ordering::Relaxed));
        hasher.write_u64(self.counters.probes.load(Ordering::Relaxed));
        hasher.finish()
    }
}

/// One connection's worth of sending.
struct Worker {
    shared: Arc<Shared>,
    number: usize,
    sender: Sender,
}

impl Worker {
    fn new(shared: Arc<Shared>, number: usize) -> Self {
        let sender = Sender::new(shared.route.clone());
        Self {
            shared,
            number,
            sender,
        }
    }

    async fn run(mut self) {
        loop {
            let next = match self.shared.next(self.number) {
                Next::Wait(_) => self.wait().await,
                next => next,
            };
            match next {
                Next::Send(job) => drop(self.send(job).await),
                Next::GiveUp(job) => self.shared.finish(self.number, &job, &job.given_up()),
                Next::Probe => self.probe().await,
                Next::Wait(_) => {}
                Next::Stop => return,
            }
        }
    }

    /// Looks once more, and waits if there still is nothing to do.
    async fn wait(&self) -> Next {
        let mut work = pin!(self.shared.work.notified());
        // From here on no call is missed; one may have come before.
        work.as_mut().enable();
        let next = self.shared.next(self.number);
        match next {
            Next::Wait(None) => work.await,
            Next::Wait(Some(until)) => tokio::select! {
                () = work => {}
                () = sleep_until(until) => {}
            },
            _ => {}
        }
        next
    }

    /// Sends the job and sees to what follows. Returns whether the target gave a final answer, and if
    /// not, what it asked for.
    async fn send(&mut self, mut job: Job) -> Result<(), Option<Duration>> {
        let shared = &*self.shared;
        let began = Instant::now();
        let Some(request) = &job.exchange.request else {
            // Such an exchange was filtered when it was offered.
            return Ok(());
        };
        add(&shared.counters.in_flight, 1);
        let sent = self.sender.send(request).await;
        shared.counters.in_flight.fetch_sub(1, Ordering::Relaxed);
        job.attempts = job.attempts.saturating_add(sent.attempts);
        let primary = job
            .exchange
            .response
            .as_ref()
            .map(|response| response.status);
        match Verdict::of(&sent, primary) {
            Verdict::Final { status, lives } => {
                if lives {
                    shared.dispatch.lock().health.answered(Instant::now());
                }
                let delivered = Delivered {
                    status,
                    attempts: job.attempts,
                    timing: sent.timing,
                };
                shared.finish(self.number, &job, &Outcome::Delivered(delivered));
                Ok(())
            }
            Verdict::Unsendable(reason) => {
                let outcome = Outcome::Dropped(Dropped::Unsendable(reason));
                shared.finish(self.number, &job, &outcome);
                Ok(())
            }
            Verdict::Trouble(trouble) => {
                self.put_back(job, trouble, began);
                Err(trouble.asked)
            }
        }
    }

    fn put_back(&self, job: Job, trouble: Trouble, began: Instant) {
        let shared = &*self.shared;
        let random = shared.random();
        let mut dispatch = shared.dispatch.lock();
        let given_up = dispatch.troubled(self.number, job, trouble, began, Instant::now(), random);
        drop(dispatch);
        match given_up {
            Some(job) => shared.finish(self.number, &job, &job.given_up()),
            None => {
                count(&shared.counters.retries);
                // This worker may go on to something long: somebody else must mind the time.
                shared.work.notify_one();
            }
        }
    }

    /// Asks whether the target lives: a trivial question first, and when it is reached but does not
    /// answer that one, an exchange. A target may well know no `/` and serve everything else.
    async fn probe(&mut self) {
        let sent = self.sender.probe(self.shared.probe_limit).await;
        let verdict = Verdict::of(&sent, None);
        let Verdict::Trouble(trouble) = verdict else {
            return self.found_up();
        };
        if trouble.kind == TroubleKind::Connect {
            return self.found_down(trouble.cause, sent.result.err().as_ref(), trouble.asked);
        }
        let job = self.shared.dispatch.lock().take_for_probe(self.number);
        let Some(job) = job else {
            return self.found_down(trouble.cause, sent.result.err().as_ref(), trouble.asked);
        };
        match self.send(job).await {
            Ok(()) => self.found_up(),
            Err(asked) => self.found_down(trouble.cause, sent.result.err().as_ref(), asked),
        }
    }

    fn found_up(&self) {
        let mut dispatch = self.shared.dispatch.lock();
        if let Some(down) = dispatch.health.probe_answered(Instant::now()) {
            self.shared.target_is_up(down, &dispatch);
        }
        drop(dispatch);
        self.shared.work.notify_waiters();
    }

    fn found_down(&self, cause: &str, error: Option<&SendError>, asked: Option<Duration>) {
        let random = self.shared.random();
        let mut dispatch = self.shared.dispatch.lock();
        if dispatch.probe_failed(Instant::now(), asked, random) {
            self.shared.target_is_down(cause, error, &dispatch);
        }
    }
}

/// What one attempt means.
enum Verdict {
    /// An answer that is not asked for again. `lives` says that it proves the target to be well.
    Final {
        status: u16,
        lives: bool,
    },
    Unsendable(crate::Unsendable),
    Trouble(Trouble),
}

impl Verdict {
    /// `primary` is the status that the primary answered. When the target says "not now" where the
    /// primary said the same, that is the answer.
    fn of(sent: &Sent, primary: Option<u16>) -> Self {
        let trouble = |kind, cause, status, asked| {
            Self::Trouble(Trouble {
                kind,
                cause,
                status,
                timing: sent.timing,
                asked,
            })
        };
        match &sent.result {
            Ok(answer) => match not_now(answer.status) {
                None => Self::Final {
                    status: answer.status,
                    lives: true,
                },
                Some(_) if primary == Some(answer.status) => Self::Final {
                    status: answer.status,
                    lives: false,
                },
                Some(cause) => {
                    let asked = retry_after(answer.headers().get("retry-after"));
                    trouble(TroubleKind::Status, cause, Some(answer.status), asked)
                }
            },
            Err(SendError::Unsendable(reason)) => Self::Unsendable(*reason),
            Err(error) => {
                let connect = error.is_connect();
                let kind = if connect {
                    TroubleKind::Connect
                } else {
                    TroubleKind::Transport
                };
                trouble(kind, error.as_str(), error.status(), None)
            }
        }
    }
}

/// The statuses with which a target, or a proxy before it, asks to come again.
const fn not_now(status: u16) -> Option<&'static str> {
    match status {
        429 => Some("429"),
        502 => Some("502"),
        503 => Some("503"),
        504 => Some("504"),
        _ => None,
    }
}

/// The seconds of a `retry-after` field (RFC 9110, 10.2.3). Its other form, a date, is not read: no search
/// cluster sends it, and it means little without the target's clock.
fn retry_after(value: Option<&[u8]>) -> Option<Duration> {
    let seconds = std::str::from_utf8(value?)
        .ok()?
        .trim()
        .parse::<u32>()
        .ok()?;
    Some(Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_after_is_read_in_seconds_and_nothing_else() {
        assert_eq!(retry_after(Some(b" 3 ")), Some(Duration::from_secs(3)));
        for value in [
            &b""[..],
            b"-1",
            b"Fri, 31 Dec 1999 23:59:59 GMT",
            b"\xff",
            b"99999999999",
        ] {
            assert_eq!(retry_after(Some(value)), None);
        }
        assert_eq!(retry_after(None), None);
    }
}
