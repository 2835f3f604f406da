//! When a captured request is due again: at its original distance from the others, faster or slower, at
//! a fixed rate, or at once. Pure but for a lock: it never sleeps, and who sends asks [`Pace::due`].
//!
//! Due times are absolute. A request's due time follows from its own capture time and from what the user did
//! to the clock, never from when the one before it was sent; so lateness does not add up, and a target
//! that stands still for a moment is not spared what would have come to it meanwhile. That lateness is
//! told: [`Pace::sent`] and [`Pace::answered`] keep histograms of it.
//!
//! Two steps lead to a due time. A `Timeline` makes a *moment* of a request: how far into the
//! replay it belongs, at speed 1. It never changes once it is told. The [`Clock`] says at which instant a
//! moment comes; it can be paused, resumed and turned faster or slower, and several targets share it.

use std::collections::VecDeque;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

/// Changes of speed that are remembered. What was due before the oldest of them is due at that one.
const STRETCHES: usize = 64;
/// Shortened gaps that are remembered. A request from before the oldest of them counts as from there.
const CUTS: usize = 4096;
/// The longest time that a histogram can tell, in microseconds: a day. What is longer counts as a day.
const LONGEST: u64 = 24 * 60 * 60 * 1_000_000;
/// Stands for an instant that the clock cannot express.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// How far apart requests are at speed 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spacing {
    /// As they were captured.
    Captured {
        /// Stretches without any request that are longer than this are shortened to it.
        max_gap: Option<Duration>,
    },
    /// Evenly: the n-th request comes after n / rate seconds.
    Rate(PerSecond),
}

/// Requests per second: more than 0, and finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerSecond(f64);

/// How fast the clock runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast: more than 0, and finite. Made by [`Speed::times`].
    Times(Factor),
    /// Everything is due at once; only order and the target hold it up.
    Unlimited,
}

/// A factor of [`Speed`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factor(f64);

/// A text is no speed or rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a number above 0, for example 1, 0.5 or 8, or `max` for a speed without limit")]
pub struct NotPositive;

impl Speed {
    /// As captured.
    pub const ORIGINAL: Self = Self::Times(Factor(1.0));

    /// So many times as fast, or `None` when the factor is not a finite number above 0.
    #[must_use]
    pub fn times(factor: f64) -> Option<Self> {
        is_positive(factor).then_some(Self::Times(Factor(factor)))
    }

    /// This speed times `factor`; one without limit stays so.
    #[must_use]
    pub fn faster(self, factor: f64) -> Self {
        match self {
            Self::Times(Factor(own)) => Self::times(own * factor).unwrap_or(self),
            Self::Unlimited => self,
        }
    }

    /// How long the clock takes for this much of the capture.
    fn stretched(self, captured: Duration) -> Duration {
        match self {
            Self::Unlimited => Duration::ZERO,
            Self::Times(Factor(1.0)) => captured,
            Self::Times(Factor(factor)) => seconds(captured.as_secs_f64() / factor),
        }
    }

    /// How much of the capture the clock passes in this time. `None`: there is no telling.
    fn passed(self, elapsed: Duration) -> Option<Duration> {
        match self {
            Self::Unlimited => None,
            Self::Times(Factor(1.0)) => Some(elapsed),
            Self::Times(Factor(factor)) => Some(seconds(elapsed.as_secs_f64() * factor)),
        }
    }
}

impl std::fmt::Display for Speed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Times(Factor(factor)) => write!(f, "{factor}x"),
            Self::Unlimited => f.write_str("max"),
        }
    }
}

impl FromStr for Speed {
    type Err = NotPositive;

    /// `8`, `0.5x` or `max`.
    fn from_str(text: &str) -> Result<Self, NotPositive> {
        if text == "max" {
            return Ok(Self::Unlimited);
        }
        let number = text.strip_suffix('x').unwrap_or(text);
        number.parse().ok().and_then(Self::times).ok_or(NotPositive)
    }
}

impl PerSecond {
    /// `None` when it is not a finite number above 0.
    #[must_use]
    pub fn new(rate: f64) -> Option<Self> {
        is_positive(rate).then_some(Self(rate))
    }
}

impl std::fmt::Display for PerSecond {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

impl FromStr for PerSecond {
    type Err = NotPositive;

    fn from_str(text: &str) -> Result<Self, NotPositive> {
        let number = text.strip_suffix("/s").unwrap_or(text);
        number.parse().ok().and_then(Self::new).ok_or(NotPositive)
    }
}

fn is_positive(number: f64) -> bool {
    number.is_finite() && number > 0.0
}

fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number).unwrap_or(NEVER)
}

/// The pace of one target: the clock that all targets share, how far this one's requests are apart, and how late
/// they were.
#[derive(Debug)]
pub struct Pace {
    clock: Arc<Clock>,
    spacing: Spacing,
    timeline: Mutex<Timeline>,
    record: Mutex<Record>,
}

impl Pace {
    /// A pace with a clock of its own. The clock stands still until [`Pace::start`], or until it is asked for
    /// the first time.
    #[must_use]
    pub fn new(spacing: Spacing, speed: Speed) -> Self {
        Self::with(spacing, Arc::new(Clock::new(speed)))
    }

    /// The pace of another target on the same clock.
    #[must_use]
    pub fn alongside(&self) -> Self {
        Self::with(self.spacing, Arc::clone(&self.clock))
    }

    fn with(spacing: Spacing, clock: Arc<Clock>) -> Self {
        Self {
            clock,
            spacing,
            timeline: Mutex::default(),
            record: Mutex::new(Record::new()),
        }
    }

    /// The clock: to pause it, to turn it faster, and to wait until somebody else did.
    #[must_use]
    pub fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// Starts the clock, if it does not run yet: moment 0 is now.
    pub fn start(&self) {
        self.clock.start(Instant::now());
    }

    /// A request captured at this Unix time in microseconds begins now in the source. To be told in the source's order,
    /// so that gaps are known before anybody asks for what lies behind them.
    pub fn begun(&self, capture_us: u64) {
        if let Spacing::Captured { max_gap } = self.spacing {
            self.timeline.lock().begun(capture_us, max_gap);
        }
    }

    /// How far into the replay the request belongs, at speed 1. `number` counts the requests of this run from 0.
    /// A later request of the source never has an earlier moment than its capture time or its number says.
    #[must_use]
    pub fn moment(&self, capture_us: u64, number: u64) -> Duration {
        match self.spacing {
            Spacing::Captured { max_gap } => self.timeline.lock().moment(capture_us, max_gap),
            #[expect(
                clippy::cast_precision_loss,
                reason = "exact up to 2^53 requests, which no capture has"
            )]
            Spacing::Rate(PerSecond(rate)) => seconds(number as f64 / rate),
        }
    }

    /// When the request is due. `None` while paused.
    #[must_use]
    pub fn due(&self, capture_us: u64, number: u64) -> Option<Instant> {
        self.due_at(self.moment(capture_us, number))
    }

    /// When the moment comes. `None` while paused.
    #[must_use]
    pub fn due_at(&self, moment: Duration) -> Option<Instant> {
        self.clock.due(moment, Instant::now())
    }

    /// Stops the clock: nothing is due until [`Pace::resume`].
    pub fn pause(&self) {
        self.clock.pause(Instant::now());
    }

    /// Lets the clock go on where it stood.
    pub fn resume(&self) {
        self.clock.resume(Instant::now());
    }

    /// Turns the clock faster or slower from now on.
    pub fn set_speed(&self, speed: Speed) {
        self.clock.set_speed(speed, Instant::now());
    }

    /// A request that was due then was begun on a connection now.
    pub fn sent(&self, due: Instant, sent: Instant) {
        let slip = sent.saturating_duration_since(due);
        self.record.lock().slip.add(slip);
    }

    /// The answer to a request that was due and was sent then ended now.
    pub fn answered(&self, due: Instant, sent: Instant, end: Instant) {
        let response = end.saturating_duration_since(due);
        let service = end.saturating_duration_since(sent);
        let mut record = self.record.lock();
        record.response.add(response);
        record.service.add(service);
    }

    /// How late requests were sent, and how long they took, since the beginning.
    #[must_use]
    pub fn timings(&self) -> Timings {
        let record = self.record.lock();
        Timings {
            slip: record.slip.spread(),
            response: record.response.spread(),
            service: record.service.spread(),
        }
    }
}

/// At which instant a moment of the replay comes.
#[derive(Debug)]
pub struct Clock {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    speed: Speed,
    /// The oldest first. Empty until the clock is started.
    stretches: VecDeque<Stretch>,
    paused: Option<Instant>,
    /// The latest moment that was told to be due without limit.
    reached: Duration,
}

/// From this moment on, which comes at that instant, the clock runs at this speed.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: Duration,
    at: Instant,
    speed: Speed,
}

impl Clock {
    fn new(speed: Speed) -> Self {
        Self {
            state: Mutex::new(State {
                speed,
                stretches: VecDeque::new(),
                paused: None,
                reached: Duration::ZERO,
            }),
            changed: watch::Sender::new(0),
        }
    }

    /// Tells whenever due times changed: by a pause, its end, or another speed.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// How fast it runs, or will once the pause ends.
    #[must_use]
    pub fn speed(&self) -> Speed {
        self.state.lock().speed
    }

    /// Whether it stands still on somebody's wish.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.state.lock().paused.is_some()
    }

    fn start(&self, now: Instant) {
        self.state.lock().start(now);
    }

    fn due(&self, moment: Duration, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        state.start(now);
        if state.paused.is_some() {
            return None;
        }
        if state.speed == Speed::Unlimited {
            state.reached = state.reached.max(moment);
        }
        Some(state.due(moment))
    }

    fn pause(&self, now: Instant) {
        let mut state = self.state.lock();
        state.start(now);
        if state.paused.is_none() {
            state.paused = Some(now);
            self.tell();
        }
    }

    fn resume(&self, now: Instant) {
        let mut state = self.state.lock();
        let Some(paused) = state.paused.take() else {
            return;
        };
        // What is not sent yet keeps the lateness that it had when the clock was stopped.
        let stood = now.saturating_duration_since(paused);
        for stretch in &mut state.stretches {
            stretch.at = after(stretch.at, stood);
        }
        self.tell();
    }

    fn set_speed(&self, speed: Speed, now: Instant) {
        let mut state = self.state.lock();
        if state.speed == speed {
            return;
        }
        state.speed = speed;
        let at = state.paused.unwrap_or(now);
        if let Some(last) = state.stretches.back() {
            let elapsed = at.saturating_duration_since(last.at);
            let from = match last.speed.passed(elapsed) {
                Some(passed) => last.from.saturating_add(passed),
                // Without limit, the clock is where the last request is that went.
                None => last.from.max(state.reached),
            };
            state.stretches.push_back(Stretch { from, at, speed });
            if state.stretches.len() > STRETCHES {
                state.stretches.pop_front();
            }
        }
        self.tell();
    }

    fn tell(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }
}

impl State {
    fn start(&mut self, now: Instant) {
        if self.stretches.is_empty() {
            self.stretches.push_back(Stretch {
                from: Duration::ZERO,
                at: now,
                speed: self.speed,
            });
        }
    }

    fn due(&self, moment: Duration) -> Instant {
        // What changed last is asked for most.
        let found = self.stretches.iter().rev().find(|it| it.from <= moment);
        match (found, self.stretches.front()) {
            (Some(it), _) => after(it.at, it.speed.stretched(moment.saturating_sub(it.from))),
            (None, Some(oldest)) => oldest.at,
            (None, None) => Instant::now(),
        }
    }
}

fn after(at: Instant, wait: Duration) -> Instant {
    at.checked_add(wait)
        .or_else(|| at.checked_add(NEVER))
        .unwrap_or(at)
}

/// Capture times, with long gaps shortened.
#[derive(Debug, Default)]
struct Timeline {
    /// The first and the latest capture time. Microseconds, as everything here.
    times: Option<(u64, u64)>,
    /// The oldest first.
    cuts: VecDeque<Cut>,
    /// What all cuts together take away.
    removed: u64,
}

/// A gap that is longer than allowed.
#[derive(Debug)]
struct Cut {
    from: u64,
    to: u64,
    /// What the cuts before it take away.
    removed_before: u64,
}

impl Timeline {
    fn begun(&mut self, capture: u64, max_gap: Option<Duration>) {
        let Some((first, latest)) = self.times else {
            self.times = Some((capture, capture));
            return;
        };
        if capture <= latest {
            return;
        }
        self.times = Some((first, capture));
        let gap = capture - latest;
        let allowed = micros(max_gap);
        if gap > allowed {
            self.cuts.push_back(Cut {
                from: latest,
                to: capture,
                removed_before: self.removed,
            });
            self.removed = self.removed.saturating_add(gap - allowed);
            if self.cuts.len() > CUTS {
                self.cuts.pop_front();
            }
        }
    }

    fn moment(&mut self, capture: u64, max_gap: Option<Duration>) -> Duration {
        self.begun(capture, max_gap);
        let first = self.times.map_or(capture, |(first, _)| first);
        let next = self.cuts.partition_point(|cut| cut.to <= capture);
        let (time, removed) = match self.cuts.get(next) {
            None => (capture, self.removed),
            // One that comes late out of a gap which was shortened without it.
            Some(cut) if capture > cut.from => {
                let end = cut.from.saturating_add(micros(max_gap));
                (capture.min(end), cut.removed_before)
            }
            Some(cut) => (capture, cut.removed_before),
        };
        Duration::from_micros(time.saturating_sub(first).saturating_sub(removed))
    }
}

fn micros(max_gap: Option<Duration>) -> u64 {
    max_gap.map_or(u64::MAX, |gap| {
        u64::try_from(gap.as_micros()).unwrap_or(u64::MAX)
    })
}

/// How late requests were, and how long they took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// From the due time to the sending: how late the replay itself was, or the order or the target made it.
    pub slip: Spread,
    /// From the due time to the end of the answer: what a client would have waited.
    pub response: Spread,
    /// From the sending to the end of the answer.
    pub service: Spread,
}

/// Some percentiles of durations, each at most 0.1 % too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// How many durations these are.
    pub count: u64,
    /// Half of them are not longer.
    pub p50: Duration,
    /// 99 % are not longer.
    pub p99: Duration,
    /// 99.9 % are not longer.
    pub p999: Duration,
    /// The longest.
    pub max: Duration,
}

#[derive(Debug)]
struct Record {
    slip: Durations,
    response: Durations,
    service: Durations,
}

impl Record {
    fn new() -> Self {
        Self {
            slip: Durations::new(),
            response: Durations::new(),
            service: Durations::new(),
        }
    }
}

/// Microseconds, with three digits.
#[derive(Debug)]
struct Durations(Histogram<u64>);

impl Durations {
    #[expect(
        clippy::expect_used,
        reason = "the bounds are constants, and a test makes one"
    )]
    fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, 3).expect("1 is below a day"))
    }

    fn add(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros);
    }

    fn spread(&self) -> Spread {
        let at = |quantile| Duration::from_micros(self.0.value_at_quantile(quantile));
        if self.0.is_empty() {
            return Spread::default();
        }
        Spread {
            count: self.0.len(),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: Duration::from_micros(self.0.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn times(factor: f64) -> Speed {
        Speed::times(factor).unwrap()
    }

    fn captured(max_gap: Option<Duration>) -> Spacing {
        Spacing::Captured { max_gap }
    }

    /// The clock, started at the instant that is given back.
    fn started(speed: Speed) -> (Clock, Instant) {
        let (clock, now) = (Clock::new(speed), Instant::now());
        clock.start(now);
        (clock, now)
    }

    #[test]
    fn a_speed_is_a_number_above_zero_or_max() {
        assert_eq!("8".parse(), Ok(times(8.0)));
        assert_eq!("0.5x".parse(), Ok(times(0.5)));
        assert_eq!("max".parse(), Ok(Speed::Unlimited));
        for text in ["", "0", "-1", "NaN", "inf", "1e999", "fast"] {
            assert_eq!(text.parse::<Speed>(), Err(NotPositive), "{text}");
            assert_eq!(text.parse::<PerSecond>(), Err(NotPositive), "{text}");
        }
        assert_eq!(times(8.0).to_string().parse(), Ok(times(8.0)));
    }

    #[test]
    fn at_speed_four_a_request_four_seconds_later_is_due_a_second_later() {
        let pace = Pace::new(captured(None), times(4.0));
        let first = pace.due(10_000_000, 0).unwrap();
        assert_eq!(pace.due(14_000_000, 1).unwrap() - first, SECOND);
    }

    #[test]
    fn at_a_rate_the_nth_request_is_due_after_n_over_the_rate() {
        let rate = Spacing::Rate(PerSecond::new(2000.0).unwrap());
        let pace = Pace::new(rate, Speed::ORIGINAL);
        let first = pace.due(5, 0).unwrap();
        assert_eq!(pace.due(1, 2000).unwrap() - first, SECOND);
        pace.set_speed(times(2.0));
        let (at, later) = (pace.due(1, 10_000).unwrap(), pace.due(1, 14_000).unwrap());
        assert_eq!(later - at, SECOND);
    }

    #[test]
    fn without_limit_everything_is_due_when_the_clock_starts() {
        let (clock, now) = started(Speed::Unlimited);
        assert_eq!(clock.due(1000 * SECOND, now + SECOND), Some(now));
    }

    #[test]
    fn a_long_gap_is_shortened_and_what_follows_keeps_its_distance() {
        let mut timeline = Timeline::default();
        let max_gap = Some(5 * SECOND);
        let at = |seconds: u64| seconds * 1_000_000;
        for (capture, moment) in [
            (100, 0),
            (103, 3),
            (3703, 8),
            (3704, 9),
            (3709, 14),
            (9999, 19),
        ] {
            let found = timeline.moment(at(capture), max_gap);
            assert_eq!(found, Duration::from_secs(moment), "{capture}");
        }
        for (late, moment) in [(101, 1), (105, 5), (2000, 8), (3705, 10), (90, 0)] {
            let found = timeline.moment(at(late), max_gap);
            assert_eq!(found, Duration::from_secs(moment), "{late}");
        }
    }

    #[test]
    fn a_pause_moves_everything_by_its_length_and_while_it_lasts_nothing_is_due() {
        let (clock, now) = started(Speed::ORIGINAL);
        clock.pause(now + SECOND);
        assert_eq!(clock.due(SECOND, now + SECOND), None);
        // The second call, in the pause, does not begin it anew.
        clock.pause(now + 3 * SECOND);
        clock.resume(now + 5 * SECOND);
        assert_eq!(clock.due(2 * SECOND, now), Some(now + 6 * SECOND));
        clock.resume(now + 9 * SECOND);
        assert_eq!(clock.due(2 * SECOND, now), Some(now + 6 * SECOND));
    }

    #[test]
    fn another_speed_moves_the_future_and_not_the_past() {
        let (clock, now) = started(Speed::ORIGINAL);
        clock.set_speed(times(10.0), now + 10 * SECOND);
        assert_eq!(clock.due(4 * SECOND, now), Some(now + 4 * SECOND));
        assert_eq!(clock.due(10 * SECOND, now), Some(now + 10 * SECOND));
        assert_eq!(clock.due(30 * SECOND, now), Some(now + 12 * SECOND));
    }

    #[test]
    fn from_no_limit_to_a_speed_the_clock_goes_on_where_the_last_request_was() {
        let (clock, now) = started(Speed::Unlimited);
        clock.due(50 * SECOND, now);
        clock.set_speed(Speed::ORIGINAL, now + SECOND);
        assert_eq!(clock.due(50 * SECOND, now), Some(now + SECOND));
        assert_eq!(clock.due(52 * SECOND, now), Some(now + 3 * SECOND));
    }

    #[test]
    fn targets_on_one_clock_pause_together_and_keep_their_own_figures() {
        let one = Pace::new(captured(None), Speed::ORIGINAL);
        let other = one.alongside();
        other.pause();
        assert_eq!(one.due(1, 0), None);
        let now = Instant::now();
        one.sent(now, now + SECOND);
        assert_eq!(one.timings().slip.count, 1);
        assert_eq!(other.timings(), Timings::default());
    }

    #[tokio::test]
    async fn who_waits_for_a_due_time_hears_of_changes() {
        let pace = Pace::new(captured(None), Speed::ORIGINAL);
        let mut changes = pace.clock().subscribe();
        assert!(!changes.has_changed().unwrap());
        for change in [Pace::pause, Pace::resume, |it: &Pace| {
            it.set_speed(Speed::Unlimited)
        }] {
            change(&pace);
            assert!(changes.has_changed().unwrap());
            changes.borrow_and_update();
        }
        pace.set_speed(Speed::Unlimited);
        assert!(!changes.has_changed().unwrap());
    }

    #[test]
    fn a_stall_shows_in_the_response_times_of_all_that_were_due_meanwhile() {
        let pace = Pace::new(captured(None), Speed::ORIGINAL);
        let begin = Instant::now();
        let stalled_until = begin + SECOND / 2;
        for number in 0..10_000_u32 {
            let due = begin + number * Duration::from_millis(1);
            // One connection, and a target that does nothing for the first half second.
            let sent = due.max(stalled_until);
            pace.sent(due, sent);
            pace.answered(due, sent, sent + Duration::from_micros(100));
        }
        let timings = pace.timings();
        assert!(timings.response.p99 > Duration::from_millis(390));
        assert!(timings.response.max >= SECOND / 2);
        assert!(timings.service.max < Duration::from_millis(1));
        assert!(timings.slip.p50 < Duration::from_millis(1));
    }

    #[derive(Clone, Copy, Debug)]
    enum Doing {
        Wait(u32),
        Pause,
        Resume,
        Speed(f64),
        Unlimited,
    }

    fn doing() -> impl Strategy<Value = Doing> {
        prop_oneof![
            3 => (1u32..5000).prop_map(Doing::Wait),
            1 => Just(Doing::Pause),
            1 => Just(Doing::Resume),
            2 => (0.1f64..20.0).prop_map(Doing::Speed),
            1 => Just(Doing::Unlimited),
        ]
    }

    fn does(clock: &Clock, doing: Doing, now: &mut Instant) {
        match doing {
            Doing::Wait(millis) => *now += Duration::from_millis(millis.into()),
            Doing::Pause => clock.pause(*now),
            Doing::Resume => clock.resume(*now),
            Doing::Speed(factor) => clock.set_speed(times(factor), *now),
            Doing::Unlimited => clock.set_speed(Speed::Unlimited, *now),
        }
    }

    /// What floating point may be wrong by.
    const CLOSE: Duration = Duration::from_micros(1);

    proptest! {
        #[test]
        fn order_is_kept_whatever_is_done_to_the_clock(
            steps in prop::collection::vec(doing(), 0..100),
            mut moments in prop::collection::vec(0u64..100_000, 2..50),
        ) {
            let (clock, mut now) = started(Speed::ORIGINAL);
            for step in steps {
                does(&clock, step, &mut now);
            }
            clock.resume(now);
            moments.sort_unstable();
            let due = |millis: &u64| clock.due(Duration::from_millis(*millis), now).unwrap();
            for pair in moments.windows(2) {
                prop_assert!(due(&pair[0]) <= due(&pair[1]) + CLOSE);
            }
        }

        #[test]
        fn what_was_due_stays_due_and_what_was_not_does_not_become_due_by_a_change(
            steps in prop::collection::vec(doing(), 0..60),
            change in doing(),
            moment in 0u64..100_000,
        ) {
            let (clock, mut now) = started(Speed::ORIGINAL);
            for step in steps {
                does(&clock, step, &mut now);
            }
            clock.resume(now);
            let moment = Duration::from_millis(moment);
            // Asking a clock without limit makes the moment due; ask the state instead.
            let before = clock.state.lock().due(moment);
            if !matches!(change, Doing::Wait(_) | Doing::Unlimited) && clock.speed() != Speed::Unlimited {
                does(&clock, change, &mut now);
                clock.resume(now);
                let after = clock.state.lock().due(moment);
                if before + CLOSE < now {
                    prop_assert!(after <= now + CLOSE);
                } else if before > now + CLOSE {
                    prop_assert!(after + CLOSE >= now);
                }
            }
        }

        #[test]
        fn the_schedule_does_not_drift(
            gaps in prop::collection::vec(0u64..10_000_000, 1..200),
            factor in 0.1f64..50.0,
        ) {
            let pace = Pace::new(captured(None), times(factor));
            let start = 1_800_000_000_000_000;
            let first = pace.due(start, 0).unwrap();
            let mut capture = start;
            for gap in gaps {
                capture += gap;
                let due = pace.due(capture, 0).unwrap() - first;
                let exact = (capture - start) as f64 / 1e6 / factor;
                prop_assert!((due.as_secs_f64() - exact).abs() < 1e-6);
            }
        }

        #[test]
        fn shortened_gaps_keep_order_and_are_never_longer_than_allowed(
            steps in prop::collection::vec(0u64..20_000_000, 1..200),
            max_gap in 1u64..10_000_000,
        ) {
            let mut timeline = Timeline::default();
            let max_gap = Duration::from_micros(max_gap);
            let allowed = Some(max_gap);
            let captures: Vec<u64> = steps.iter().scan(7, |at, step| { *at += step; Some(*at) }).collect();
            let moments: Vec<Duration> = captures.iter().map(|it| timeline.moment(*it, allowed)).collect();
            for (pair, captures) in moments.windows(2).zip(captures.windows(2)) {
                let captured = Duration::from_micros(captures[1] - captures[0]);
                prop_assert_eq!(pair[1].checked_sub(pair[0]), Some(captured.min(max_gap)));
            }
            // And each is told the same again.
            for (capture, moment) in captures.iter().zip(moments) {
                prop_assert_eq!(timeline.moment(*capture, allowed), moment);
            }
        }
    }
}
