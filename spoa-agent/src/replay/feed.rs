//! Brings one source to one target: reads ahead, hands everything to the shadow engine as soon as it is read, and
//! keeps account. The engine waits until an exchange is due, and for what must go before it. Each target has a feed of
//! its own, on a thread of its own, so that one that is slow or down holds up no other.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use exchange::{Exchange, Pair, Request};
use parking_lot::Mutex;
use shadow::{Ambiguous, Counters, Engine, Outcome, Outcomes, Pace, Speed, Target, Timings};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::pairs::PairFile;
use super::selection::Window;
use super::source::{Event, Progress, Source};
use super::state::{Saved, StateDir};
use super::tally::Tally;
use crate::ambiguous::AmbiguousList;

/// Events read before a look at the clock.
const AT_ONCE: usize = 64;
/// Longest wait before a look at everything.
const IDLE: Duration = Duration::from_millis(50);
/// How often the state is saved. What was done since then is done again after a kill.
const SAVE_INTERVAL: Duration = Duration::from_millis(500);
/// How old the figures may be that others look at.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(50);
/// Halves are waited for so long; twice that after the end of the window, nothing of it can come. Microseconds.
const PAST_WINDOW: u64 = 2 * 60 * 1_000_000;

/// What a feed is made of.
pub(super) struct Parts {
    pub(super) target: Target,
    pub(super) source: Box<dyn Source>,
    /// Events that were read already, to look at them.
    pub(super) peeked: VecDeque<Event>,
    pub(super) engine: Engine,
    pub(super) results: Arc<Results>,
    /// The engine's own.
    pub(super) pace: Arc<Pace>,
    pub(super) window: Window,
    pub(super) limit: Option<u64>,
    /// How far to read ahead of the clock.
    pub(super) ahead: Duration,
    pub(super) tally: Tally,
    pub(super) keeper: Option<Keeper>,
    pub(super) pairs: Option<Arc<PairFile>>,
    pub(super) ambiguous: Arc<AmbiguousList>,
    pub(super) stop: CancellationToken,
    /// How long to wait, at a stop, for what is in flight.
    pub(super) grace: Duration,
}

/// Where the state is kept, and what does not change in it.
pub(super) struct Keeper {
    pub(super) dir: Arc<StateDir>,
    pub(super) source: String,
    pub(super) selection: String,
}

/// What anybody may look at while the feed works.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// The account.
    pub tally: Tally,
    /// Read, not finished: not due, waiting, on its way, or without a response so far.
    pub not_done: u64,
    /// On their way to the target.
    pub in_flight: u64,
    /// Documents and indices that may differ from the primary's, over all runs.
    pub ambiguous: u64,
    /// How far the source is read.
    pub progress: Progress,
    /// Capture time of the latest request that is finished, in Unix microseconds.
    pub capture_us: u64,
    /// How late the oldest exchange is that is due and not finished.
    pub lag: Duration,
    /// The target does not answer.
    pub is_down: bool,
    /// How late requests were, and how long they took, in this run.
    pub timings: Timings,
    /// The feed is over.
    pub is_over: bool,
}

impl Standing {
    /// Whether every exchange that was read is accounted for.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.tally.read == self.tally.finished() + self.not_done
    }
}

/// The figures of a feed.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Where it sends.
    pub target: Target,
    /// What may differ there.
    pub ambiguous: Arc<AmbiguousList>,
    standing: Arc<Mutex<Standing>>,
    counters: Arc<Counters>,
}

impl Watched {
    /// The last figures; what is on its way, as it is now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            in_flight: self.counters.in_flight.load(Ordering::Relaxed),
            ..self.standing.lock().clone()
        }
    }
}

/// What the engine's tasks have told, until the feed's thread takes it: in the order in which they told it, so that
/// what is kept of an exchange is kept before the exchange counts as done.
#[derive(Debug, Default)]
pub(super) struct Results {
    told: Mutex<VecDeque<Told>>,
}

#[derive(Debug)]
enum Told {
    Done(u64, Outcome),
    Pair(Box<Pair>),
    Ambiguous(Ambiguous),
}

impl Outcomes for Results {
    fn done(&self, position: u64, outcome: &Outcome) {
        let told = Told::Done(position, outcome.clone());
        self.told.lock().push_back(told);
    }

    fn ambiguous(&self, ambiguous: &Ambiguous) {
        self.told
            .lock()
            .push_back(Told::Ambiguous(ambiguous.clone()));
    }

    fn pair(&self, pair: Box<Pair>) {
        self.told.lock().push_back(Told::Pair(pair));
    }
}

/// Read whole, not finished.
#[derive(Clone, Copy, Debug)]
struct InHand {
    /// When it is due, at speed 1, from the beginning of the replay.
    moment: Duration,
    capture_us: u64,
    /// The status that the primary answered.
    primary: Option<u16>,
}

/// The running feed.
pub(super) struct Feed {
    parts: Parts,
    /// The moments of exchanges that have begun and are not complete.
    begun: HashMap<u64, Duration>,
    /// The latest moment of a request that has begun.
    furthest: Duration,
    in_hand: HashMap<u64, InHand>,
    /// The same, the first due first.
    by_moment: BTreeSet<(Duration, u64)>,
    /// Nothing more is to be read.
    source_over: bool,
    capture_us: u64,
    standing: Arc<Mutex<Standing>>,
    saved_at: Instant,
    published_at: Instant,
    changed: bool,
}

impl Feed {
    pub(super) fn new(parts: Parts) -> Self {
        let standing = Standing {
            tally: parts.tally.clone(),
            progress: parts.source.progress(),
            ..Standing::default()
        };
        Self {
            parts,
            begun: HashMap::new(),
            furthest: Duration::ZERO,
            in_hand: HashMap::new(),
            by_moment: BTreeSet::new(),
            source_over: false,
            capture_us: 0,
            standing: Arc::new(Mutex::new(standing)),
            saved_at: Instant::now(),
            published_at: Instant::now(),
            changed: true,
        }
    }

    pub(super) fn watched(&self) -> Watched {
        Watched {
            target: self.parts.target.clone(),
            ambiguous: Arc::clone(&self.parts.ambiguous),
            standing: Arc::clone(&self.standing),
            counters: self.parts.engine.counters(),
        }
    }

    /// Feeds the engine until everything is done, or until it is told to stop. Blocks its thread. Returns whether
    /// everything is done.
    ///
    /// # Errors
    /// When the source cannot be read or the state cannot be kept. What was begun is brought to an end first.
    pub(super) fn run(mut self, runtime: &Handle) -> anyhow::Result<bool> {
        let fed = self.feed(runtime);
        let complete = matches!(fed, Ok(true));
        self.end(runtime, complete)?;
        fed
    }

    fn feed(&mut self, runtime: &Handle) -> anyhow::Result<bool> {
        // What the engine notes belongs to this replay, whenever this one ends.
        self.save(false, false)?;
        let mut changes = self.parts.pace.clock().subscribe();
        while !self.parts.stop.is_cancelled() {
            let read = self.read_ahead(runtime)?;
            self.housekeep()?;
            if self.source_over && self.in_hand.is_empty() {
                return Ok(true);
            }
            if read {
                continue;
            }
            let stop = self.parts.stop.clone();
            runtime.block_on(async {
                tokio::select! {
                    () = tokio::time::sleep(IDLE) => {}
                    _ = changes.changed() => {}
                    () = stop.cancelled() => {}
                }
            });
        }
        Ok(false)
    }

    /// Reads some of what is not too far ahead, and hands it over. Returns whether anything was read.
    fn read_ahead(&mut self, runtime: &Handle) -> anyhow::Result<bool> {
        let mut read = false;
        for _ in 0..AT_ONCE {
            if self.source_over || !self.wants_more() || self.parts.stop.is_cancelled() {
                break;
            }
            let event = match self.parts.peeked.pop_front() {
                Some(event) => Some(event),
                None => self.parts.source.next()?,
            };
            match event {
                Some(Event::Waiting) => break,
                Some(event) => self.take(runtime, event)?,
                None => self.source_over = true,
            }
            read = true;
        }
        Ok(read)
    }

    fn wants_more(&self) -> bool {
        if self.in_hand.is_empty() && self.begun.is_empty() {
            return true;
        }
        let clock = self.parts.pace.clock();
        if clock.speed() == Speed::Unlimited {
            // To ask when something is due would move the clock to what is only read.
            return !clock.is_paused();
        }
        let due = self.parts.pace.due_at(self.furthest);
        due.is_some_and(|due| due <= Instant::now() + self.parts.ahead)
    }

    fn take(&mut self, runtime: &Handle, event: Event) -> anyhow::Result<()> {
        self.changed = true;
        match event {
            Event::Begun { position, request } => self.begin(position, &request),
            Event::Complete(exchange) => self.complete(runtime, &exchange)?,
            Event::Lost(lost) => {
                self.parts.tally.lost = self.parts.tally.lost.saturating_add(lost.records);
                tracing::error!(
                    to = %self.parts.target, records = lost.records, from = lost.from.position, reason = ?lost.reason,
                    "records of the journal are lost to this replay"
                );
            }
            Event::Gap(gap) => {
                let halves = gap.requests.saturating_add(gap.responses);
                let count = &mut self.parts.tally.never_recorded;
                *count = count.saturating_add(halves);
            }
            Event::Undecodable { position, why } => {
                self.parts.tally.undecodable += 1;
                tracing::warn!(to = %self.parts.target, position, why, "passed over: it is no exchange");
            }
            Event::Waiting => {}
        }
        let is_limit = self
            .parts
            .limit
            .is_some_and(|it| self.parts.tally.read >= it);
        if is_limit && self.begun.is_empty() {
            self.source_over = true;
        }
        Ok(())
    }

    fn begin(&mut self, position: u64, request: &Arc<Request>) {
        let time = request.time_us;
        if time >= self.parts.window.until.saturating_add(PAST_WINDOW) && self.begun.is_empty() {
            self.source_over = true;
        }
        if !self.is_wanted(time) {
            return;
        }
        self.parts.tally.read += 1;
        let moment = self.parts.engine.begun(position, request);
        self.furthest = self.furthest.max(moment);
        self.begun.insert(position, moment);
    }

    fn complete(&mut self, runtime: &Handle, exchange: &Arc<Exchange>) -> anyhow::Result<()> {
        let capture_us = exchange.time_us();
        let position = exchange.position;
        let moment = match self.begun.remove(&position) {
            Some(moment) => moment,
            // Of a request that never came, only the account is kept.
            None if exchange.request.is_none() && self.is_wanted(capture_us) => {
                self.parts.tally.read += 1;
                self.furthest
            }
            None => {
                self.parts.tally.outside += 1;
                self.parts.source.done(position);
                return Ok(());
            }
        };
        let primary = exchange.response.as_ref().map(|it| it.status);
        let in_hand = InHand {
            moment,
            capture_us,
            primary,
        };
        self.in_hand.insert(position, in_hand);
        self.by_moment.insert((moment, position));
        self.offer(runtime, exchange)
    }

    fn is_wanted(&self, time: u64) -> bool {
        let limit = self.parts.limit;
        self.parts.window.holds(time) && limit.is_none_or(|limit| self.parts.tally.read < limit)
    }

    /// Offers the exchange, and looks after everything else while the engine has no room. When it is time to stop,
    /// the exchange is not offered, and is not done.
    fn offer(&mut self, runtime: &Handle, exchange: &Arc<Exchange>) -> anyhow::Result<()> {
        loop {
            let offer = self.parts.engine.offer(Arc::clone(exchange));
            let offered = runtime.block_on(async { tokio::time::timeout(IDLE, offer).await });
            if offered.is_ok() {
                return Ok(());
            }
            self.housekeep()?;
            if self.parts.stop.is_cancelled() {
                return Ok(());
            }
        }
    }

    fn housekeep(&mut self) -> anyhow::Result<()> {
        self.collect()?;
        if self.published_at.elapsed() >= PUBLISH_INTERVAL {
            self.publish(false);
        }
        if self.changed && self.saved_at.elapsed() >= SAVE_INTERVAL {
            self.save(false, false)?;
        }
        Ok(())
    }

    fn collect(&mut self) -> anyhow::Result<()> {
        let told = std::mem::take(&mut *self.parts.results.told.lock());
        for told in told {
            self.changed = true;
            match told {
                Told::Done(position, outcome) => self.finish(position, &outcome),
                Told::Ambiguous(ambiguous) => self.parts.ambiguous.add(&ambiguous),
                Told::Pair(pair) => {
                    if let Some(pairs) = &self.parts.pairs {
                        pairs.write(pair)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, position: u64, outcome: &Outcome) {
        self.parts.source.done(position);
        let Some(in_hand) = self.in_hand.remove(&position) else {
            return;
        };
        self.by_moment.remove(&(in_hand.moment, position));
        self.capture_us = self.capture_us.max(in_hand.capture_us);
        self.parts.tally.count(outcome, in_hand.primary);
    }

    /// The account, with what the engine counted itself in this run.
    fn tally(&self) -> Tally {
        let mut tally = self.parts.tally.clone();
        for (change, count) in self.parts.engine.counters().changed() {
            tally.changes(change, count);
        }
        tally
    }

    fn publish(&mut self, is_over: bool) {
        let now = Instant::now();
        self.published_at = now;
        let oldest = self.by_moment.first();
        let due = oldest.and_then(|(moment, _)| self.parts.pace.due_at(*moment));
        let not_done = self.in_hand.len() + self.begun.len();
        *self.standing.lock() = Standing {
            tally: self.tally(),
            not_done: not_done as u64,
            in_flight: 0,
            ambiguous: self.parts.ambiguous.len() as u64,
            progress: self.parts.source.progress(),
            capture_us: self.capture_us,
            lag: due.map_or(Duration::ZERO, |due| now.saturating_duration_since(due)),
            is_down: self.parts.engine.is_target_down(),
            timings: self.parts.pace.timings(),
            is_over,
        };
    }

    /// Keeps how far it is. `at_rest` says that the target was sent nothing that it may still be busy with.
    fn save(&mut self, finished: bool, at_rest: bool) -> anyhow::Result<()> {
        self.saved_at = Instant::now();
        self.changed = false;
        if let Some(pairs) = &self.parts.pairs {
            pairs.flush()?;
        }
        let bookmark = self.parts.source.bookmark();
        let Some(keeper) = &self.parts.keeper else {
            self.parts.source.kept();
            return Ok(());
        };
        let low = bookmark.low.position;
        let saved = Saved::new(
            keeper.source.clone(),
            keeper.selection.clone(),
            self.parts.window,
            &self.parts.target,
            bookmark,
            self.tally().to_save(),
            finished,
            at_rest,
        );
        keeper.dir.save(&self.parts.target, &saved)?;
        self.parts.source.kept();
        self.parts.engine.saved(low);
        Ok(())
    }

    fn end(&mut self, runtime: &Handle, complete: bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + self.parts.grace;
        let left = runtime.block_on(self.parts.engine.drain(deadline));
        let collected = self.collect();
        if complete {
            // Whoever used them on the primary is long gone.
            let closed = runtime.block_on(self.parts.engine.close_contexts(deadline));
            if closed > 0 {
                tracing::info!(to = %self.parts.target, requests = closed, "closed what was left open: scrolls and the like");
            }
        }
        self.publish(true);
        self.save(complete, left.in_flight == 0)
            .context("the next run does again what this one did last")?;
        collected
    }
}
