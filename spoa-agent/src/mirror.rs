//! The follower that hands exchanges to the shadow engine, and tells the journal's cursor what became
//! of them. How they are sent is the crate `shadow`'s business.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use exchange::Pair;
use journal::Entry;
use parking_lot::Mutex;
use shadow::{Ambiguous, Counters, Dropped, Engine, Outcome, Outcomes, Subject};
use tokio::runtime::Handle;

use crate::ambiguous::AmbiguousList;
use crate::dead_letter::DeadLetters;
use crate::pair_log::{Keep, Kept};

use crate::follower::{Fate, Follower};
use crate::telemetry::metrics::{ShadowMetrics, StatusClass};
use crate::telemetry::throttle::Throttle;

/// Longest wait before the follower looks after its cursor.
const IDLE: Duration = Duration::from_millis(50);
/// A busy journal is read this often: the mirror is at most this much later.
const PAUSE: Duration = Duration::from_millis(1);
/// Of the time that the shutdown leaves, what is kept for saving the cursor.
const SAVING: Duration = Duration::from_millis(200);

/// What the engine's tasks have told, until the follower's thread takes it: in the order in which they told it,
/// so that what is kept of an exchange is kept before the exchange counts as done.
#[derive(Debug)]
pub struct Results {
    told: Mutex<VecDeque<Told>>,
    metrics: ShadowMetrics,
    incomplete: Throttle,
}

#[derive(Debug)]
enum Told {
    Done(u64, Fate),
    Pair(Box<Pair>),
    Ambiguous(Ambiguous),
    Resolved(Subject),
}

impl Results {
    /// Nothing told yet.
    #[must_use]
    pub fn new(metrics: ShadowMetrics) -> Arc<Self> {
        Arc::new(Self {
            told: Mutex::default(),
            metrics,
            incomplete: Throttle::default(),
        })
    }
}

impl Outcomes for Results {
    fn done(&self, position: u64, outcome: &Outcome) {
        let fate = match outcome {
            Outcome::Delivered(delivered) => {
                let class = StatusClass::of(delivered.status);
                self.metrics.responses.inc(class);
                self.metrics.latency.observe(delivered.timing.end);
                Fate::Delivered
            }
            Outcome::Filtered(reason) => Fate::Filtered((*reason).into()),
            Outcome::Dropped(reason) => {
                self.log_incomplete(position, *reason);
                Fate::Dropped((*reason).into())
            }
        };
        self.told.lock().push_back(Told::Done(position, fate));
    }

    fn ambiguous(&self, ambiguous: &Ambiguous) {
        self.told
            .lock()
            .push_back(Told::Ambiguous(ambiguous.clone()));
    }

    fn resolved(&self, subject: &Subject) {
        self.told.lock().push_back(Told::Resolved(subject.clone()));
    }

    fn pair(&self, pair: Box<Pair>) {
        self.told.lock().push_back(Told::Pair(pair));
    }
}

impl Results {
    /// The engine logs what it could not send; that a body is incomplete is the capture's doing.
    fn log_incomplete(&self, position: u64, reason: Dropped) {
        if !matches!(reason, Dropped::BodyCut | Dropped::BodyNotCaptured) {
            return;
        }
        if let Some(suppressed) = self.incomplete.admit() {
            tracing::warn!(
                position,
                reason = reason.as_str(),
                suppressed,
                "not sent to the shadow, its body is incomplete; raise haproxy-config --body-limit"
            );
        }
    }
}

/// Where the mirror keeps what it learns.
#[derive(Debug)]
pub struct Keeping {
    /// Pairs, when they are wanted.
    pub pairs: Option<Keep>,
    /// What was given up.
    pub letters: DeadLetters,
    /// What may differ.
    pub ambiguous: Arc<AmbiguousList>,
}

/// The follower of the shadow.
#[derive(Debug)]
pub struct Mirror {
    follower: Follower,
    engine: Engine,
    results: Arc<Results>,
    keeping: Keeping,
}

impl Mirror {
    /// A mirror that tells `results`' fates to the follower's cursor.
    #[must_use]
    pub const fn new(
        follower: Follower,
        engine: Engine,
        results: Arc<Results>,
        keeping: Keeping,
    ) -> Self {
        Self {
            follower,
            engine,
            results,
            keeping,
        }
    }

    /// What may differ on the shadow.
    #[must_use]
    pub fn ambiguous(&self) -> Arc<AmbiguousList> {
        Arc::clone(&self.keeping.ambiguous)
    }

    /// What the engine counts.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        self.engine.counters()
    }

    /// Feeds the engine until the follower is over. Blocks its thread.
    pub fn run(mut self, runtime: &Handle) {
        loop {
            let entry = self.follower.read();
            let idle = entry.is_none();
            let has_room = match entry {
                Some(Entry::Begun { position, request }) => {
                    self.engine.begun(position, &request);
                    true
                }
                Some(Entry::Exchange(exchange)) => self.offer(runtime, Arc::new(exchange)),
                _ => true,
            };
            if !has_room {
                break;
            }
            self.housekeep();
            if !idle {
                continue;
            }
            if self.is_over(self.follower.in_hand() == 0) {
                break;
            }
            self.follower.wait(runtime, IDLE, PAUSE);
        }
        self.end(runtime);
    }

    /// Offers the exchange, and looks after the cursor while the engine has no room. Returns false
    /// when it is time to end; then the exchange stays in the journal.
    fn offer(&mut self, runtime: &Handle, exchange: Arc<exchange::Exchange>) -> bool {
        loop {
            let offer = self.engine.offer(Arc::clone(&exchange));
            match runtime.block_on(async { tokio::time::timeout(IDLE, offer).await }) {
                Ok(Ok(())) => return true,
                Ok(Err(shadow::Closed)) => return false,
                Err(_) => {
                    self.housekeep();
                    if self.is_over(false) {
                        return false;
                    }
                }
            }
        }
    }

    /// A shutdown waits neither for a shadow that is down nor for answers that nobody will capture any more:
    /// the journal keeps what is the shadow's due.
    fn is_over(&self, nothing_to_do: bool) -> bool {
        let is_idle =
            nothing_to_do || self.engine.is_target_down() || self.engine.waits_for_answers();
        self.follower.is_over(is_idle)
    }

    fn housekeep(&mut self) {
        self.collect();
        self.follower.publish();
        if self.follower.wants_saving() {
            self.follower.save();
            self.engine.saved(self.follower.low());
        }
    }

    /// Keeps what the engine told, and then counts it as done. What the journal has no room for waits, with
    /// all that was told after it.
    fn collect(&mut self) {
        loop {
            let Some(told) = self.results.told.lock().pop_front() else {
                return;
            };
            match told {
                Told::Done(position, fate) => self.follower.done(position, fate),
                Told::Ambiguous(ambiguous) => self.keeping.ambiguous.add(&ambiguous),
                Told::Resolved(subject) => self.keeping.ambiguous.settle(&subject),
                Told::Pair(pair) => {
                    if let Some(pair) = self.keep(pair) {
                        self.results.told.lock().push_front(Told::Pair(pair));
                        return;
                    }
                }
            }
        }
    }

    /// Returns the pair when it has to wait.
    fn keep(&self, pair: Box<Pair>) -> Option<Box<Pair>> {
        if pair.dropped.is_some() {
            // A failure is counted and logged there; the exchange is lost either way.
            drop(self.keeping.letters.append(&pair));
        }
        match self.keeping.pairs.as_ref()?.keep(pair) {
            Kept::Later(pair) => Some(pair),
            Kept::Kept | Kept::Lost => None,
        }
    }

    fn end(mut self, runtime: &Handle) {
        let deadline = self.follower.deadline().unwrap_or_else(Instant::now);
        let deadline = deadline.checked_sub(SAVING).unwrap_or(deadline);
        let left = runtime.block_on(self.engine.drain(deadline.into()));
        self.collect();
        self.follower.save();
        if !left.not_done.is_empty() {
            tracing::info!(
                exchanges = left.not_done.len(),
                "not sent to the shadow yet; they stay in the journal for the next start"
            );
        }
    }
}
