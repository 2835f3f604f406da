//! Brings one source to one target: reads ahead, holds what is not due, hands it to the shadow engine, and
//! keeps account. Each target has a feed of its own, on a thread of its own, so that one that is slow or down holds
//! up no other.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use exchange::{Exchange, Request};
use parking_lot::Mutex;
use shadow::{Change, Engine, Outcome, Outcomes, Pace, Target, Timings, anchor};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::hold::{Held, Hold};
use super::selection::Window;
use super::source::{Event, Progress, Source};
use super::state::{Saved, StateDir};
use super::tally::Tally;

/// Exchanges held because they are not due.
const HOLD_EXCHANGES: usize = 1 << 16;
/// Bytes of these.
const HOLD_BYTES: usize = 128 << 20;
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
    pub(super) pace: Arc<Pace>,
    pub(super) window: Window,
    pub(super) limit: Option<u64>,
    /// How far to read ahead of the clock.
    pub(super) ahead: Duration,
    pub(super) anchor_dates: bool,
    pub(super) tally: Tally,
    pub(super) keeper: Option<Keeper>,
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
    /// Read, not finished: held, with the engine, or without a response so far.
    pub not_done: u64,
    /// Handed to the engine, not finished.
    pub in_hand: u64,
    /// How far the source is read.
    pub progress: Progress,
    /// Capture time of the last request that was due, in Unix microseconds.
    pub capture_us: u64,
    /// How late the oldest exchange is that is due and not handed to the engine.
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
    standing: Arc<Mutex<Standing>>,
}

impl Watched {
    /// The last figures.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing.lock().clone()
    }
}

/// What the engine's tasks have told, until the feed's thread takes it.
#[derive(Debug, Default)]
pub(super) struct Results {
    ended: Mutex<Vec<(u64, Outcome, Instant)>>,
}

impl Outcomes for Results {
    fn done(&self, position: u64, outcome: &Outcome) {
        let ended = (position, outcome.clone(), Instant::now());
        self.ended.lock().push(ended);
    }
}

/// Handed to the engine, not finished.
#[derive(Clone, Copy, Debug)]
struct InHand {
    due: Instant,
    /// The status that the primary answered.
    primary: Option<u16>,
}

/// The running feed.
pub(super) struct Feed {
    parts: Parts,
    /// Exchanges begun and not complete, with their numbers.
    begun: HashMap<u64, u64>,
    next_number: u64,
    /// The latest moment of a request that has begun.
    furthest: Duration,
    hold: Hold,
    in_hand: HashMap<u64, InHand>,
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
            next_number: 0,
            furthest: Duration::ZERO,
            hold: Hold::default(),
            in_hand: HashMap::new(),
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
            standing: Arc::clone(&self.standing),
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
        let mut changes = self.parts.pace.clock().subscribe();
        while !self.parts.stop.is_cancelled() {
            let read = self.read_ahead()?;
            let released = self.release(runtime)?;
            self.housekeep()?;
            if self.source_over && self.hold.len() == 0 && self.in_hand.is_empty() {
                return Ok(true);
            }
            if read || released {
                continue;
            }
            let until = self.wake_up();
            let stop = self.parts.stop.clone();
            runtime.block_on(async {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => {}
                    _ = changes.changed() => {}
                    () = stop.cancelled() => {}
                }
            });
        }
        Ok(false)
    }

    fn wake_up(&self) -> Instant {
        let latest = Instant::now() + IDLE;
        let first = self.hold.first();
        let due = first.and_then(|moment| self.parts.pace.due_at(moment));
        due.map_or(latest, |due| due.min(latest))
    }

    /// Reads what fits, as long as nothing is due. Returns whether anything was read.
    fn read_ahead(&mut self) -> anyhow::Result<bool> {
        let mut read = false;
        for _ in 0..AT_ONCE {
            if self.source_over || !self.has_room() || self.is_due() {
                break;
            }
            let event = match self.parts.peeked.pop_front() {
                Some(event) => Some(event),
                None => self.parts.source.next()?,
            };
            match event {
                Some(event) => self.take(event),
                None => self.source_over = true,
            }
            read = true;
        }
        Ok(read)
    }

    fn has_room(&self) -> bool {
        if self.hold.len() == 0 && self.begun.is_empty() {
            return true;
        }
        let far = match self.parts.pace.due_at(self.furthest) {
            Some(due) => due > Instant::now() + self.parts.ahead,
            None => true,
        };
        !far && self.hold.len() < HOLD_EXCHANGES && self.hold.bytes() < HOLD_BYTES
    }

    fn is_due(&self) -> bool {
        let first = self.hold.first();
        let due = first.and_then(|moment| self.parts.pace.due_at(moment));
        due.is_some_and(|due| due <= Instant::now())
    }

    fn take(&mut self, event: Event) {
        self.changed = true;
        match event {
            Event::Begun { position, request } => self.begin(position, &request),
            Event::Complete(exchange) => self.complete(exchange),
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
        }
        let is_limit = self
            .parts
            .limit
            .is_some_and(|it| self.parts.tally.read >= it);
        if is_limit && self.begun.is_empty() {
            self.source_over = true;
        }
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
        self.parts.pace.begun(time);
        let number = self.next_number;
        self.next_number += 1;
        let moment = self.parts.pace.moment(time, number);
        self.furthest = self.furthest.max(moment);
        self.begun.insert(position, number);
        self.parts.engine.begun(position, request);
    }

    fn complete(&mut self, exchange: Arc<Exchange>) {
        let time = exchange.time_us();
        let number = match self.begun.remove(&exchange.position) {
            Some(number) => number,
            // Of a request that never came, only the account is kept.
            None if exchange.request.is_none() && self.is_wanted(time) => {
                self.parts.tally.read += 1;
                self.next_number
            }
            None => {
                self.parts.tally.outside += 1;
                self.parts.source.done(exchange.position);
                return;
            }
        };
        let moment = self.parts.pace.moment(time, number);
        self.hold.push(Held {
            moment,
            number,
            exchange,
        });
    }

    fn is_wanted(&self, time: u64) -> bool {
        let limit = self.parts.limit;
        self.parts.window.holds(time) && limit.is_none_or(|limit| self.parts.tally.read < limit)
    }

    /// Hands over what is due. Returns whether there was something.
    fn release(&mut self, runtime: &Handle) -> anyhow::Result<bool> {
        let mut released = false;
        while let Some(moment) = self.hold.first()
            && let Some(due) = self.parts.pace.due_at(moment)
            && due <= Instant::now()
            && let Some(held) = self.hold.pop()
        {
            released = true;
            if !self.offer(runtime, held, due)? {
                break;
            }
        }
        Ok(released)
    }

    /// Offers the exchange, and looks after everything else while the engine has no room. Returns false
    /// when it is time to stop; then the exchange is held again.
    fn offer(&mut self, runtime: &Handle, held: Held, due: Instant) -> anyhow::Result<bool> {
        let position = held.exchange.position;
        let primary = held.exchange.response.as_ref().map(|it| it.status);
        let (exchange, changes) = self.prepared(&held.exchange);
        self.in_hand.insert(position, InHand { due, primary });
        self.capture_us = exchange.time_us();
        loop {
            let offer = self.parts.engine.offer(Arc::clone(&exchange));
            let offered = runtime.block_on(async { tokio::time::timeout(IDLE, offer).await });
            if matches!(offered, Ok(Ok(()))) {
                self.parts.tally.changes(&changes);
                return Ok(true);
            }
            self.housekeep()?;
            if offered.is_ok() || self.parts.stop.is_cancelled() {
                self.in_hand.remove(&position);
                self.hold.push(held);
                return Ok(false);
            }
        }
    }

    fn prepared(&self, exchange: &Arc<Exchange>) -> (Arc<Exchange>, Vec<Change>) {
        if self.parts.anchor_dates {
            return anchored(exchange);
        }
        (Arc::clone(exchange), Vec::new())
    }

    fn housekeep(&mut self) -> anyhow::Result<()> {
        self.collect();
        if self.published_at.elapsed() >= PUBLISH_INTERVAL {
            self.publish(false);
        }
        if self.changed && self.saved_at.elapsed() >= SAVE_INTERVAL {
            self.save(false)?;
        }
        Ok(())
    }

    fn collect(&mut self) {
        let ended = std::mem::take(&mut *self.parts.results.ended.lock());
        for (position, outcome, at) in ended {
            self.changed = true;
            self.parts.source.done(position);
            let Some(in_hand) = self.in_hand.remove(&position) else {
                continue;
            };
            self.parts.tally.count(&outcome, in_hand.primary);
            if let Outcome::Delivered(delivered) = outcome {
                let sent = at.checked_sub(delivered.timing.end).unwrap_or(at);
                self.parts.pace.sent(in_hand.due, sent);
                self.parts.pace.answered(in_hand.due, sent, at);
            }
        }
    }

    fn publish(&mut self, is_over: bool) {
        let now = Instant::now();
        self.published_at = now;
        let first = self.hold.first();
        let due = first.and_then(|moment| self.parts.pace.due_at(moment));
        let oldest = self.in_hand.values().map(|it| it.due).chain(due).min();
        let not_done = self.in_hand.len() + self.hold.len() + self.begun.len();
        *self.standing.lock() = Standing {
            tally: self.parts.tally.clone(),
            not_done: not_done as u64,
            in_hand: self.in_hand.len() as u64,
            progress: self.parts.source.progress(),
            capture_us: self.capture_us,
            lag: oldest.map_or(Duration::ZERO, |due| now.saturating_duration_since(due)),
            is_down: self.parts.engine.is_target_down(),
            timings: self.parts.pace.timings(),
            is_over,
        };
    }

    fn save(&mut self, finished: bool) -> anyhow::Result<()> {
        self.saved_at = Instant::now();
        self.changed = false;
        let Some(keeper) = &self.parts.keeper else {
            return Ok(());
        };
        let saved = Saved::new(
            keeper.source.clone(),
            keeper.selection.clone(),
            self.parts.window,
            &self.parts.target,
            self.parts.source.bookmark(),
            self.parts.tally.to_save(),
            finished,
        );
        keeper.dir.save(&self.parts.target, &saved)
    }

    fn end(&mut self, runtime: &Handle, complete: bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + self.parts.grace;
        runtime.block_on(self.parts.engine.drain(deadline));
        self.collect();
        self.publish(true);
        self.save(complete)
            .context("the next run does again what this one did last")
    }
}

/// The exchange with its dates anchored, and what was changed.
pub(super) fn anchored(exchange: &Arc<Exchange>) -> (Arc<Exchange>, Vec<Change>) {
    let mut changes = Vec::new();
    let Some(request) = &exchange.request else {
        return (Arc::clone(exchange), changes);
    };
    let mut request = request.clone();
    let captured = request.time_us;
    anchor::apply(&mut request, captured, &mut changes);
    if changes.is_empty() {
        return (Arc::clone(exchange), changes);
    }
    let mut exchange = Exchange::clone(exchange);
    exchange.request = Some(request);
    (Arc::new(exchange), changes)
}
