//! Who sends what when: the order, the jobs that wait for their time or for another attempt, and the
//! target's health, as one value behind one lock. Pure: the caller brings the time and the randomness.
//!
//! A job that is to be sent again keeps its place in the order but no worker: it lies here until it is
//! due. So a request that fails and fails holds up what conflicts with it, and nothing else.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::Outcome;
use crate::health::{Gate, Health};
use crate::job::{InHand, Job, Trouble, TroubleKind};
use crate::limit::{self, Limit};
use crate::order::{Completed, Footprint, Order};
use crate::pace::Pace;
use crate::resolver::FIRST_TICKET;

/// How much the engine holds at most: waiting, in flight, and between attempts.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Exchanges.
    pub exchanges: usize,
    /// Bytes, as [`exchange::Exchange::weight`] counts them. One exchange alone may be larger.
    pub bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            exchanges: 8192,
            bytes: 64 * 1024 * 1024,
        }
    }
}

/// When and how often an exchange is sent again.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Failed attempts, made while the target was alive, after which an exchange is given up.
    pub max_attempts: u32,
    /// The wait after the first failure; it doubles with each further one.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// The longest wait that the target may ask for with `retry-after`.
    pub longest_asked: Duration,
    /// How long the target may take to answer whether it lives.
    pub probe: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            first: Duration::from_millis(50),
            longest: Duration::from_secs(2),
            longest_asked: Duration::from_secs(30),
            probe: Duration::from_secs(5),
        }
    }
}

impl Retry {
    /// The wait after so many failures: between half and all of the step, so that what failed together
    /// does not come back together. `random` is any number.
    fn wait(&self, failures: u32, random: u64, asked: Option<Duration>) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        let step = self.first.saturating_mul(doubled).min(self.longest);
        let part = u32::try_from(random % 1024).unwrap_or_default();
        let wait = step / 2 + step.saturating_mul(part) / 2048;
        wait.max(asked.unwrap_or_default().min(self.longest_asked))
    }
}

/// What a worker does next.
#[derive(Debug)]
pub(crate) enum Next {
    Send(Job),
    /// Wait until the target has done what it was sent before this engine began.
    Settle,
    /// The exchange has had its attempts: tell the outcome.
    GiveUp(Job),
    Probe,
    /// Nothing to do: until then, or until something changes.
    Wait(Option<Instant>),
    Stop,
}

#[derive(Debug)]
pub(crate) struct Dispatch {
    pub(crate) order: Order,
    in_hand: HashMap<u64, Waiting>,
    pace: Option<Arc<Pace>>,
    /// Jobs that may go as far as the order is concerned, and wait for their time.
    early: BinaryHeap<Early>,
    parked: BinaryHeap<Parked>,
    pub(crate) health: Health,
    /// Requests in flight, the probe among them.
    busy: usize,
    /// How many may be; the workers are as many as there may ever be.
    allowed: usize,
    /// What finds out how many may be, where somebody does.
    limit: Option<Limit>,
    held_bytes: usize,
    bounds: Bounds,
    retry: Retry,
    settling: Settling,
    /// Until when workers sleep that look again by themselves.
    watches: Vec<Instant>,
    closing: bool,
}

/// Whether the target may still be busy with what it was sent before this engine began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settling {
    /// It may, and nobody asks it.
    Unasked,
    /// A worker asks it.
    Asking,
    Over,
}

/// An exchange without an outcome.
#[derive(Debug)]
struct Waiting {
    in_hand: Arc<InHand>,
    /// Documents that are not seen to.
    left: usize,
    /// What is known of the outcome.
    outcome: Option<Outcome>,
}

/// What the gauges show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) held: usize,
    pub(crate) held_bytes: usize,
    pub(crate) retrying: usize,
}

/// Whether an exchange was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Yes,
    /// There is no room; nothing was changed.
    Full,
}

impl Dispatch {
    pub(crate) fn new(
        order: Order,
        pace: Option<Arc<Pace>>,
        workers: usize,
        bounds: Bounds,
        retry: Retry,
    ) -> Self {
        Self {
            order,
            in_hand: HashMap::new(),
            pace,
            early: BinaryHeap::new(),
            parked: BinaryHeap::new(),
            health: Health::default(),
            busy: 0,
            allowed: workers,
            limit: None,
            held_bytes: 0,
            bounds,
            retry,
            settling: Settling::Over,
            watches: Vec::new(),
            closing: false,
        }
    }

    /// Whether an exchange of this weight may come in.
    ///
    /// What is held may wait for an answer that is still to be read, behind the exchange that asks for
    /// room. Then there is room for twice as much, and after that the oldest goes without waiting.
    pub(crate) fn admits(&mut self, weight: usize) -> bool {
        let held = self.in_hand.len();
        let bytes = self.held_bytes.saturating_add(weight);
        if held == 0 || (held < self.bounds.exchanges && bytes <= self.bounds.bytes) {
            return true;
        }
        if !self.order.is_stuck() {
            return false;
        }
        if held < self.bounds.exchanges.saturating_mul(2)
            && bytes <= self.bounds.bytes.saturating_mul(2)
        {
            return true;
        }
        // One may not be enough: what waits may wait for several.
        while self.order.is_stuck() && self.order.release_oldest().is_some() {}
        false
    }

    /// Takes in an exchange that is to be sent.
    pub(crate) fn offer(&mut self, in_hand: &Arc<InHand>, footprint: &Footprint) -> Taken {
        if !self.admits(in_hand.weight) {
            return Taken::Full;
        }
        self.take_in(in_hand, footprint);
        Taken::Yes
    }

    /// The same without a look at the bounds.
    pub(crate) fn take_in(&mut self, in_hand: &Arc<InHand>, footprint: &Footprint) {
        let position = in_hand.position();
        self.held_bytes = self.held_bytes.saturating_add(in_hand.weight);
        let waiting = Waiting {
            left: in_hand.size(),
            in_hand: in_hand.clone(),
            outcome: None,
        };
        self.in_hand.insert(position, waiting);
        self.order.complete(position, Completed::Apply(footprint));
    }

    pub(crate) fn next(&mut self, now: Instant) -> Next {
        if self.closing {
            return Next::Stop;
        }
        match self.health.gate(now) {
            Gate::Open => {}
            Gate::Probe => {
                self.busy += 1;
                return Next::Probe;
            }
            Gate::Shut(until) => return Next::Wait(until),
        }
        match self.settling {
            Settling::Over => {}
            Settling::Asking => return Next::Wait(None),
            Settling::Unasked if self.in_hand.is_empty() => return Next::Wait(None),
            Settling::Unasked => {
                self.settling = Settling::Asking;
                self.busy += 1;
                return Next::Settle;
            }
        }
        if self.busy >= self.allowed {
            return Next::Wait(None);
        }
        if let Some(mut job) = self.take_due(now) {
            job.settle_doubt();
            self.busy += 1;
            return self.send_or_give_up(job);
        }
        match self.take_fresh(now) {
            Ok(job) => {
                self.busy += 1;
                Next::Send(job)
            }
            Err(until) => {
                let parked = self.parked.peek().map(|parked| parked.due);
                Next::Wait(earliest(parked, until))
            }
        }
    }

    /// Whether a worker that has nothing to do before `until` is to look again then. Not when another one does:
    /// otherwise all of them would wake for each request. If it is, [`Self::watched`] is to follow when it wakes.
    pub(crate) fn watch(&mut self, until: Instant) -> bool {
        let is_watched = self.watches.iter().any(|watch| *watch <= until);
        if !is_watched {
            self.watches.push(until);
        }
        !is_watched
    }

    /// A worker that slept until then at most is awake.
    pub(crate) fn watched(&mut self, until: Instant) {
        if let Some(at) = self.watches.iter().position(|watch| *watch == until) {
            self.watches.swap_remove(at);
        }
    }

    /// Nothing is sent before [`Self::settled`].
    pub(crate) fn settle_first(&mut self) {
        self.settling = Settling::Unasked;
    }

    /// The target is done with what it was sent before.
    pub(crate) fn settled(&mut self) {
        self.settling = Settling::Over;
    }

    /// A job for the worker that probes a target which does not answer trivial questions: rather one
    /// that was not tried yet, but not without end.
    pub(crate) fn take_for_probe(&mut self, now: Instant) -> Option<Job> {
        let fresh = if self.parked.len() < self.allowed {
            self.take_fresh(now).ok()
        } else {
            None
        };
        match fresh {
            Some(job) => Some(job),
            None => self.parked.pop().map(|parked| parked.job),
        }
    }

    /// The worker that had something to do has done it.
    pub(crate) fn rest(&mut self) {
        self.busy = self.busy.saturating_sub(1);
    }

    /// From now on as many requests may be in flight as this finds out.
    pub(crate) fn follow(&mut self, limit: Limit) {
        self.allowed = limit.current();
        self.limit = Some(limit);
    }

    /// A request has ended so. Returns whether more may be in flight than before.
    pub(crate) fn observe(
        &mut self,
        latency: Duration,
        outcome: limit::Outcome,
        now: Instant,
    ) -> bool {
        let Some(limit) = &mut self.limit else {
            return false;
        };
        limit.observe(limit::Sample {
            latency,
            outcome,
            in_flight: self.busy,
            now,
        });
        let before = std::mem::replace(&mut self.allowed, limit.current());
        self.allowed > before
    }

    /// How many requests may be in flight.
    pub(crate) const fn allowed(&self) -> usize {
        self.allowed
    }

    #[cfg(test)]
    fn allow(&mut self, requests: usize) {
        self.allowed = requests;
    }

    /// An attempt failed. The job is kept for later, or given back when it has had its attempts.
    pub(crate) fn troubled(
        &mut self,
        mut job: Job,
        trouble: Trouble,
        began: Instant,
        now: Instant,
        random: u64,
    ) -> Option<Job> {
        job.failures = job.failures.saturating_add(1);
        job.last = Some(trouble);
        let own_fault = trouble.kind != TroubleKind::Connect && !self.health.down_since(began);
        // "Not now", while others are answered, needs no further proof.
        if own_fault && trouble.kind == TroubleKind::Status && self.health.answered_since(began) {
            job.counted += 1;
            if job.counted >= self.retry.max_attempts {
                return Some(job);
            }
        } else {
            let doubt = self.health.suspect(now);
            job.doubt = own_fault.then_some(doubt);
        }
        let due = now + self.retry.wait(job.failures, random, trouble.asked);
        self.parked.push(Parked { due, job });
        None
    }

    pub(crate) fn probe_failed(
        &mut self,
        now: Instant,
        asked: Option<Duration>,
        random: u64,
    ) -> bool {
        let retry = self.retry;
        self.health
            .probe_failed(now, |failures| retry.wait(failures, random, asked))
    }

    /// The job has its outcome. Returns the exchange's, when this is the last of its jobs. What waits for
    /// it waits until [`Self::finished`].
    pub(crate) fn outcome(&mut self, job: &Job, outcome: Outcome) -> Option<Outcome> {
        let position = job.position();
        let waiting = self.in_hand.get_mut(&position)?;
        waiting.left = waiting.left.saturating_sub(job.size);
        let outcome = match waiting.outcome.take() {
            Some(before) => before.worse(outcome),
            None => outcome,
        };
        if waiting.left > 0 {
            waiting.outcome = Some(outcome);
            return None;
        }
        self.held_bytes = self.held_bytes.saturating_sub(waiting.in_hand.weight);
        self.in_hand.remove(&position);
        Some(outcome)
    }

    /// What waited for the job may go. Returns for how many workers there is something to do; the one that
    /// asks is among them, and still counts as busy.
    pub(crate) fn finished(&mut self, job: &Job) -> usize {
        self.order.done(job.unit);
        let free = self.allowed.saturating_sub(self.busy);
        self.order.ready().min(free + 1)
    }

    /// Whether there is room enough to wake who waits for it: an eighth, so that it is not woken for
    /// each exchange. Or nothing can go: then who waits must see to that.
    pub(crate) fn has_room(&self) -> bool {
        self.order.is_stuck()
            || self.in_hand.len() <= self.bounds.exchanges - self.bounds.exchanges / 8
                && self.held_bytes <= self.bounds.bytes - self.bounds.bytes / 8
    }

    /// Whether another worker should look: there is something whose time nobody may be waiting for.
    pub(crate) fn has_parked(&self) -> bool {
        !self.parked.is_empty() || !self.early.is_empty()
    }

    pub(crate) fn load(&self) -> Load {
        Load {
            held: self.in_hand.len(),
            held_bytes: self.held_bytes,
            retrying: self.parked.len(),
        }
    }

    /// From now on, nothing is begun.
    pub(crate) fn close(&mut self) {
        self.closing = true;
    }

    pub(crate) const fn is_closing(&self) -> bool {
        self.closing
    }

    /// The positions of everything without an outcome, in order. To be asked when no worker runs.
    pub(crate) fn take_rest(&mut self) -> Vec<u64> {
        self.order.drain();
        self.early.clear();
        self.parked.clear();
        let rest = self.in_hand.drain().map(|(position, _)| position);
        let mut rest: Vec<u64> = rest.filter(|position| *position < FIRST_TICKET).collect();
        rest.sort_unstable();
        self.held_bytes = 0;
        rest
    }

    fn send_or_give_up(&self, job: Job) -> Next {
        if job.counted >= self.retry.max_attempts {
            Next::GiveUp(job)
        } else {
            Next::Send(job)
        }
    }

    fn take_due(&mut self, now: Instant) -> Option<Job> {
        if self.parked.peek()?.due > now {
            return None;
        }
        self.parked.pop().map(|parked| parked.job)
    }

    /// The next job that was not tried yet, or when there may be one.
    fn take_fresh(&mut self, now: Instant) -> Result<Job, Option<Instant>> {
        let Some(pace) = self.pace.clone() else {
            return self.take_ready().ok_or(None);
        };
        while let Some(job) = self.take_ready() {
            self.early.push(Early {
                moment: job.in_hand.moment,
                job,
            });
        }
        let due = match self.early.peek() {
            Some(early) => pace.due_at(early.moment),
            None => return Err(None),
        };
        match due {
            Some(due) if due <= now => {
                let mut job = self.early.pop().ok_or(None)?.job;
                job.due = Some(due);
                Ok(job)
            }
            due => Err(due),
        }
    }

    fn take_ready(&mut self) -> Option<Job> {
        loop {
            let unit = self.order.take()?;
            match self.in_hand.get(&unit.ticket) {
                Some(waiting) => {
                    return Some(Job::new(waiting.in_hand.clone(), unit.id, unit.items));
                }
                // It was taken back; nobody waits for it.
                None => drop(self.order.done(unit.id)),
            }
        }
    }
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// A job that waits for its time; the earliest is the greatest, as a heap wants it.
#[derive(Debug)]
struct Early {
    moment: Duration,
    job: Job,
}

impl Ord for Early {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |early: &Self| (early.moment, early.job.position());
        key(other).cmp(&key(self))
    }
}

impl PartialOrd for Early {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Early {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Early {}

/// A job between two attempts; the earliest due is the greatest, as a heap wants it.
#[derive(Debug)]
struct Parked {
    due: Instant,
    job: Job,
}

impl Ord for Parked {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |parked: &Self| (parked.due, parked.job.position());
        key(other).cmp(&key(self))
    }
}

impl PartialOrd for Parked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Parked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Parked {}

#[cfg(test)]
mod tests {
    use exchange::operation::answer::Answer;
    use exchange::{Exchange, Request, operation};

    use super::*;
    use crate::order::{Key, Level, Memory};
    use crate::{Delivered, Dropped, Timing};

    const STATUS: Trouble = Trouble {
        kind: TroubleKind::Status,
        cause: "503",
        status: Some(503),
        timing: Timing {
            connect: Duration::ZERO,
            first_byte: None,
            end: Duration::ZERO,
        },
        asked: None,
    };
    const RESET: Trouble = Trouble {
        kind: TroubleKind::Transport,
        cause: "closed",
        status: None,
        ..STATUS
    };
    const REFUSED: Trouble = Trouble {
        kind: TroubleKind::Connect,
        cause: "connect",
        ..RESET
    };

    fn bounded(bounds: Bounds) -> Dispatch {
        let order = Order::new(Level::Connection, Memory::default());
        Dispatch::new(order, None, 4, bounds, Retry::default())
    }

    fn dispatch() -> Dispatch {
        bounded(Bounds::default())
    }

    /// Offers a search that came over this connection. Returns whether it was taken in.
    fn offer(dispatch: &mut Dispatch, position: u64, connection: u64) -> bool {
        let request = Request {
            method: "GET".into(),
            target: "/_search".into(),
            ..Request::default()
        };
        let in_hand = InHand {
            operation: Arc::new(operation::read(&request)),
            exchange: Arc::new(Exchange {
                position,
                request: Some(request),
                response: None,
            }),
            asked: Arc::default(),
            told: None,
            answer: Answer::Status,
            applied: None,
            weight: 512,
            moment: Duration::ZERO,
        };
        let footprint = Footprint {
            keys: vec![(Key(connection), operation::Access::Write)],
            ..Footprint::default()
        };
        dispatch.offer(&Arc::new(in_hand), &footprint) == Taken::Yes
    }

    /// The job has ended.
    fn finish(dispatch: &mut Dispatch, job: &Job) {
        let outcome = Outcome::Delivered(Delivered {
            status: 200,
            attempts: 1,
            timing: Timing::default(),
        });
        dispatch.outcome(job, outcome);
        dispatch.finished(job);
        dispatch.rest();
    }

    /// The attempt failed.
    fn fail(
        dispatch: &mut Dispatch,
        job: Job,
        trouble: Trouble,
        began: Instant,
        now: Instant,
    ) -> Option<Job> {
        let given_up = dispatch.troubled(job, trouble, began, now, 0);
        dispatch.rest();
        given_up
    }

    fn sent(next: Next) -> Job {
        match next {
            Next::Send(job) => job,
            other => panic!("nothing to send: {other:?}"),
        }
    }

    fn later(now: &mut Instant) -> Instant {
        *now += Duration::from_secs(3);
        *now
    }

    #[test]
    fn a_failed_exchange_holds_its_lane_and_no_other() {
        let (mut dispatch, mut now) = (dispatch(), Instant::now());
        for (position, port) in [(1, 7), (2, 7), (3, 8)] {
            assert!(offer(&mut dispatch, position, port));
        }
        let began = now;
        let first = sent(dispatch.next(now));
        let other = sent(dispatch.next(now));
        assert_eq!((first.position(), other.position()), (1, 3));
        dispatch.health.answered(later(&mut now));
        finish(&mut dispatch, &other);
        assert!(fail(&mut dispatch, first, STATUS, began, now).is_none());
        assert!(matches!(dispatch.next(now), Next::Wait(Some(due)) if due > now));
        let again = sent(dispatch.next(later(&mut now)));
        assert_eq!(again.position(), 1);
        finish(&mut dispatch, &again);
        assert_eq!(sent(dispatch.next(now)).position(), 2);
    }

    #[test]
    fn not_now_five_times_while_others_are_answered_ends_with_that_status() {
        let (mut dispatch, mut now) = (dispatch(), Instant::now());
        assert!(offer(&mut dispatch, 1, 7));
        let mut sends = 0;
        let given_up = loop {
            let began = later(&mut now);
            let mut job = sent(dispatch.next(began));
            job.attempts += 1;
            sends += 1;
            dispatch.health.answered(later(&mut now));
            if let Some(job) = fail(&mut dispatch, job, STATUS, began, now) {
                break job;
            }
        };
        assert_eq!(sends, 5);
        let expected = Delivered {
            status: 503,
            attempts: 5,
            timing: Timing::default(),
        };
        assert_eq!(given_up.given_up(), Outcome::Delivered(expected));
    }

    #[test]
    fn a_request_that_breaks_every_connection_is_poison_once_probes_were_answered() {
        let (mut dispatch, mut now) = (dispatch(), Instant::now());
        assert!(offer(&mut dispatch, 1, 7));
        for _ in 0..5 {
            let began = later(&mut now);
            let mut job = sent(dispatch.next(began));
            job.attempts += 1;
            assert!(fail(&mut dispatch, job, RESET, began, now).is_none());
            assert!(matches!(dispatch.next(now), Next::Probe));
            assert!(
                matches!(dispatch.next(now), Next::Wait(None)),
                "others wait for the probe"
            );
            dispatch.health.probe_answered(now);
            dispatch.rest();
        }
        let Next::GiveUp(job) = dispatch.next(later(&mut now)) else {
            panic!("tried again")
        };
        let poison = Dropped::Poison {
            attempts: 5,
            cause: "closed",
        };
        assert_eq!(job.given_up(), Outcome::Dropped(poison));
    }

    #[test]
    fn no_number_of_failures_counts_while_the_target_is_down() {
        let (mut dispatch, mut now) = (dispatch(), Instant::now());
        assert!(offer(&mut dispatch, 1, 7));
        for trouble in [RESET, STATUS, REFUSED].repeat(20) {
            let began = later(&mut now);
            let job = sent(dispatch.next(began));
            assert!(fail(&mut dispatch, job, trouble, began, now).is_none());
            assert!(matches!(dispatch.next(now), Next::Probe));
            dispatch.probe_failed(now, None, 0);
            assert!(matches!(dispatch.next(later(&mut now)), Next::Probe));
            dispatch.health.probe_answered(now);
            dispatch.rest();
            dispatch.rest();
        }
        sent(dispatch.next(later(&mut now)));
    }

    #[test]
    fn what_began_before_the_target_was_back_is_not_counted() {
        let (mut dispatch, mut now) = (dispatch(), Instant::now());
        assert!(offer(&mut dispatch, 1, 7));
        assert!(offer(&mut dispatch, 2, 8));
        let began = now;
        let slow = sent(dispatch.next(now));
        let quick = sent(dispatch.next(now));
        fail(&mut dispatch, quick, REFUSED, began, now);
        assert!(matches!(dispatch.next(now), Next::Probe));
        dispatch.probe_failed(now, None, 0);
        assert!(matches!(dispatch.next(later(&mut now)), Next::Probe));
        dispatch.health.probe_answered(now);
        fail(&mut dispatch, slow, RESET, began, later(&mut now));
        let counted: Vec<u32> = dispatch.parked.iter().map(|p| p.job.counted).collect();
        assert_eq!(counted, [0, 0]);
        assert!(dispatch.parked.iter().all(|p| p.job.doubt.is_none()));
    }

    #[test]
    fn what_is_between_attempts_still_counts_as_held() {
        let bounds = Bounds {
            exchanges: 2,
            bytes: usize::MAX,
        };
        let (mut dispatch, now) = (bounded(bounds), Instant::now());
        assert!(offer(&mut dispatch, 1, 7));
        assert!(offer(&mut dispatch, 2, 8));
        assert!(!offer(&mut dispatch, 3, 9));
        let first = sent(dispatch.next(now));
        fail(&mut dispatch, first, RESET, now, now);
        assert!(!offer(&mut dispatch, 3, 9));
        dispatch.health.probe_answered(now);
        let second = sent(dispatch.next(now));
        finish(&mut dispatch, &second);
        assert!(offer(&mut dispatch, 3, 9));
    }

    #[test]
    fn one_exchange_larger_than_the_bound_passes_alone() {
        let bounds = Bounds {
            exchanges: 10,
            bytes: 1,
        };
        let mut dispatch = bounded(bounds);
        assert!(offer(&mut dispatch, 1, 7));
        assert!(!offer(&mut dispatch, 2, 8));
        let job_1 = sent(dispatch.next(Instant::now()));
        finish(&mut dispatch, &job_1);
        assert!(dispatch.has_room());
        assert!(offer(&mut dispatch, 2, 8));
    }

    #[test]
    fn the_rest_is_everything_without_an_outcome() {
        let (mut dispatch, now) = (dispatch(), Instant::now());
        for (position, port) in [(1, 1), (2, 2), (3, 3), (4, 3), (5, 5)] {
            assert!(offer(&mut dispatch, position, port));
        }
        let done = sent(dispatch.next(now));
        let failed = sent(dispatch.next(now));
        let in_flight = sent(dispatch.next(now));
        finish(&mut dispatch, &done);
        fail(&mut dispatch, failed, RESET, now, now);
        dispatch.close();
        assert!(matches!(dispatch.next(now), Next::Stop));
        drop(in_flight);
        assert_eq!(dispatch.take_rest(), [2, 3, 4, 5]);
        assert_eq!(dispatch.load(), Load::default());
    }

    #[test]
    fn the_wait_doubles_to_its_limit_and_the_target_may_ask_for_more() {
        let retry = Retry::default();
        let wait = |failures, random| retry.wait(failures, random, None).as_micros();
        assert_eq!(
            (wait(1, 0), wait(2, 0), wait(3, 0)),
            (25_000, 50_000, 100_000)
        );
        assert_eq!(wait(100, 0), 1_000_000);
        assert!(wait(100, 1023) <= 2_000_000);
        assert!(wait(1, 1023) > 49_000);
        let asked = |seconds| retry.wait(1, 0, Some(Duration::from_secs(seconds)));
        assert_eq!(asked(3), Duration::from_secs(3));
        assert_eq!(asked(3600), retry.longest_asked);
    }

    #[test]
    fn a_fast_target_gets_all_that_there_are_workers_for_and_a_busy_one_less() {
        let order = Order::new(Level::Connection, Memory::default());
        let mut dispatch = Dispatch::new(order, None, 64, Bounds::default(), Retry::default());
        dispatch.follow(Limit::new(2, 64));
        let mut now = Instant::now();
        let mut next = 0;
        let mut all_at_once = |dispatch: &mut Dispatch, outcome, now: &mut Instant| {
            let mut jobs = Vec::new();
            loop {
                next += 1;
                assert!(offer(dispatch, next, next));
                match dispatch.next(*now) {
                    Next::Send(job) => jobs.push(job),
                    Next::Wait(None) => break,
                    other => panic!("{other:?}"),
                }
            }
            let sent = jobs.len();
            assert_eq!(sent, dispatch.allowed(), "as many as may be");
            *now += Duration::from_millis(1);
            for job in jobs {
                dispatch.observe(Duration::from_millis(1), outcome, *now);
                let busy = dispatch.busy;
                let woken = dispatch.finished(&job);
                assert!(
                    woken <= dispatch.allowed().saturating_sub(busy) + 1,
                    "{woken}"
                );
                dispatch.rest();
            }
            sent
        };
        let mut rounds = 0;
        while all_at_once(&mut dispatch, limit::Outcome::Answered, &mut now) < 64 {
            rounds += 1;
            assert!(rounds < 20, "it grows too slowly: {}", dispatch.allowed());
        }
        now += Duration::from_millis(1);
        all_at_once(&mut dispatch, limit::Outcome::Overloaded, &mut now);
        assert_eq!(dispatch.allowed(), 44, "seven tenths, once");
    }

    #[test]
    fn a_probing_worker_takes_fresh_work_first_and_then_the_longest_waiting() {
        let (mut dispatch, now) = (dispatch(), Instant::now());
        dispatch.allow(1);
        assert!(offer(&mut dispatch, 1, 1));
        assert!(offer(&mut dispatch, 2, 2));
        let first = dispatch.take_for_probe(now).unwrap();
        assert_eq!(first.position(), 1);
        fail(&mut dispatch, first, RESET, now, now);
        assert_eq!(
            dispatch.take_for_probe(now).unwrap().position(),
            1,
            "one is parked: enough"
        );
    }
}
