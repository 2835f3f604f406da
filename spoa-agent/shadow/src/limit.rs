//! How many requests may be on their way to the target at once: as many as it can work on, and few more.
//!
//! Nobody knows beforehand how many that is, and it changes. A target that has more than it can work on keeps the
//! rest in a queue: its answers come later, while not one more comes per second. So the limit is found by looking
//! at latency:
//!
//! * The *baseline* is how long an answer takes without a queue.
//! * As many answers as there may be requests make a *window*. At its end its mean latency is compared with the
//!   baseline. Up to one and a half times the baseline there is room: the limit grows by one, or, until
//!   the first sign of a queue, by half. Above it the limit shrinks by a fifth of how far it is above, at most by
//!   a tenth.
//! * It grows only when it was reached: what was not tried is not known. When less than half of it was in use,
//!   latency says nothing of it, and nothing changes.
//! * `429`, `503` and a timeout are plain words: the limit shrinks by three tenths at once. What was sent before
//!   that says nothing of the new limit and is not looked at.
//! * Every so many windows the limit is halved for one window. Without a queue then, what is measured is the
//!   baseline; the old one gives way by half. So a baseline that was taken with a queue, or that is of other
//!   requests than those of today, is put right after a few such dips, and one window at half the
//!   concurrency is what it costs.
//!
//! The idea of a window that follows latency is that of TCP Vegas (Brakmo, O'Malley, Peterson, SIGCOMM 1994); that
//! of growing by addition and shrinking by multiplication is older (Chiu, Jain, 1989).
//!
//! Pure: it is told the time.

use std::time::Duration;

use tokio::time::Instant;

/// A limit that follows what the target can take.
#[derive(Clone, Debug)]
pub struct Limit {
    min: u64,
    max: u64,
    /// In thousandths of a request.
    level: u64,
    baseline_us: Option<u64>,
    window: Window,
    phase: Phase,
    /// Nothing has spoken against more yet.
    is_starting: bool,
    /// Requests that were sent before say nothing of the limit as it is.
    since: Option<Instant>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// From the first byte sent to the end of the answer.
    pub latency: Duration,
    /// What came back.
    pub outcome: Outcome,
    /// How many were on their way, this one included, when it was sent or when it ended.
    pub in_flight: usize,
    /// When it ended.
    pub now: Instant,
}

/// What a request's end says of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// An answer, whatever it says.
    Answered,
    /// The target says that it has too much to do: `429` or `503`.
    Overloaded,
    /// No answer in time.
    TimedOut,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    samples: u64,
    total_us: u64,
    peak: u64,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// How many windows since the last dip.
    Steady(u32),
    Dip,
}

/// One request, in the unit of `level`.
const ONE: u64 = 1000;
/// Where to begin: enough to see something, little enough to harm nobody.
const FIRST: u64 = 8;
/// Fewer answers than this have no mean worth looking at.
const LEAST_SAMPLES: u64 = 8;
/// Latency up to this is no queue, in thousandths of the baseline.
const TOLERANCE: u64 = 1500;
/// Windows between two dips.
const DIP_EVERY: u32 = 30;

impl Limit {
    /// A limit between `min` (at least 1) and `max` (at least `min`).
    #[must_use]
    pub fn new(min: usize, max: usize) -> Self {
        let min = u64::try_from(min)
            .unwrap_or(u64::MAX / ONE)
            .clamp(1, u64::MAX / ONE / 2);
        let max = u64::try_from(max)
            .unwrap_or(u64::MAX)
            .clamp(min, u64::MAX / ONE / 2);
        Self {
            min,
            max,
            level: FIRST.clamp(min, max) * ONE,
            baseline_us: None,
            window: Window::default(),
            phase: Phase::Steady(0),
            is_starting: true,
            since: None,
        }
    }

    /// How many requests may be on their way now.
    #[must_use]
    pub fn current(&self) -> usize {
        usize::try_from(self.whole()).unwrap_or(usize::MAX)
    }

    /// Whether one more may be sent when so many are on their way.
    #[must_use]
    pub fn allows(&self, in_flight: usize) -> bool {
        in_flight < self.current()
    }

    /// How long an answer takes without a queue, as far as is known.
    #[must_use]
    pub fn baseline(&self) -> Option<Duration> {
        self.baseline_us.map(Duration::from_micros)
    }

    /// Learns from a request that has ended.
    pub fn observe(&mut self, sample: Sample) {
        let begun = sample.now.checked_sub(sample.latency);
        if begun < self.since {
            return;
        }
        if sample.outcome != Outcome::Answered {
            self.is_starting = false;
            self.scale(700);
            self.phase = Phase::Steady(0);
            self.begin(sample.now);
            return;
        }
        let latency = u64::try_from(sample.latency.as_micros()).unwrap_or(u64::MAX);
        let in_flight = u64::try_from(sample.in_flight).unwrap_or(u64::MAX);
        self.window.samples += 1;
        self.window.total_us = self.window.total_us.saturating_add(latency.max(1));
        self.window.peak = self.window.peak.max(in_flight);
        if self.window.samples >= self.whole().max(LEAST_SAMPLES) {
            self.end_window(sample.now);
        }
    }

    fn whole(&self) -> u64 {
        let level = match self.phase {
            Phase::Steady(_) => self.level,
            Phase::Dip => self.level / 2,
        };
        (level / ONE).clamp(self.min, self.max)
    }

    fn end_window(&mut self, now: Instant) {
        let window = std::mem::take(&mut self.window);
        let mean = window.total_us / window.samples.max(1);
        let baseline = self.baseline_us.unwrap_or(mean);
        let Phase::Steady(windows) = self.phase else {
            self.baseline_us = Some(mean / 2 + baseline / 2);
            self.phase = Phase::Steady(0);
            self.begin(now);
            return;
        };
        self.phase = Phase::Steady(windows.saturating_add(1));
        let is_idle = window.peak.saturating_mul(2) < self.whole();
        if is_idle {
            self.baseline_us = Some(closer(baseline, mean, 10));
            return;
        }
        let baseline = if mean < baseline {
            closer(baseline, mean, 4)
        } else {
            baseline
        };
        self.baseline_us = Some(baseline.max(1));
        // How much of the latency is not a queue, in thousandths.
        let gradient = baseline.saturating_mul(TOLERANCE) / mean.max(1);
        if gradient < ONE {
            self.is_starting = false;
            self.scale(800 + gradient.max(500) / 5);
        } else if window.peak >= self.whole() {
            let more = if self.is_starting {
                self.level / 2
            } else {
                ONE
            };
            self.level = self.level.saturating_add(more).min(self.max * ONE);
        }
        if windows >= DIP_EVERY && !self.is_starting {
            self.phase = Phase::Dip;
            self.begin(now);
        }
    }

    /// From now on only what is sent from now on counts.
    fn begin(&mut self, now: Instant) {
        self.since = Some(now);
        self.window = Window::default();
    }

    fn scale(&mut self, thousandths: u64) {
        let level = u128::from(self.level) * u128::from(thousandths) / 1000;
        let level = u64::try_from(level).unwrap_or(u64::MAX);
        self.level = level.clamp(self.min * ONE, self.max * ONE);
    }
}

/// The value moved towards another by one part of the way.
const fn closer(from: u64, to: u64, parts: u64) -> u64 {
    if to < from {
        from - (from - to) / parts
    } else {
        from + (to - from) / parts
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use proptest::prelude::*;

    use super::*;

    /// A target with so many workers and one queue before them; a simulation, in microseconds.
    struct Target {
        workers: usize,
        service_us: u64,
        /// Requests that wait beyond this many are refused.
        queue: usize,
        /// When each worker is free again.
        free: BinaryHeap<Reverse<u64>>,
        random: u64,
    }

    impl Target {
        fn new(workers: usize, service_us: u64, queue: usize) -> Self {
            Self {
                workers,
                service_us,
                queue,
                free: (0..workers).map(|_| Reverse(0)).collect(),
                random: 42,
            }
        }

        /// How long requests take: from half to one and a half times the mean, and one in 20 takes four times
        /// as long.
        fn service(&mut self) -> u64 {
            self.random = self
                .random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let dice = self.random >> 33;
            let usual = self.service_us / 2 + dice % self.service_us;
            if dice.is_multiple_of(20) {
                usual * 4
            } else {
                usual
            }
        }

        fn resize(&mut self, workers: usize, now: u64) {
            self.workers = workers;
            self.free = (0..workers).map(|_| Reverse(now)).collect();
        }

        /// When the answer comes, or that it is refused.
        fn takes(&mut self, now: u64) -> Result<u64, ()> {
            let service = self.service();
            let Reverse(free) = self.free.pop().unwrap();
            // What waits is about what the next free worker still has to do, times the number of workers.
            let waiting = free.saturating_sub(now) * self.workers as u64 / self.service_us;
            if waiting > self.queue as u64 {
                self.free.push(Reverse(free));
                return Err(());
            }
            let end = free.max(now) + service;
            self.free.push(Reverse(end));
            Ok(end)
        }
    }

    /// A client with more to send than the limit lets through, unless `demand` is less.
    struct Run {
        limit: Limit,
        target: Target,
        demand: usize,
        now: u64,
        origin: Instant,
        /// When it ends, when it began, whether it was answered.
        flying: BinaryHeap<Reverse<(u64, u64, bool)>>,
        seen: Vec<usize>,
        answered: usize,
        refused: usize,
    }

    impl Run {
        fn new(limit: Limit, target: Target) -> Self {
            Self {
                limit,
                target,
                demand: usize::MAX,
                now: 0,
                origin: Instant::now(),
                flying: BinaryHeap::new(),
                seen: Vec::new(),
                answered: 0,
                refused: 0,
            }
        }

        /// Until so many requests have ended; forgets what it saw before.
        fn go(&mut self, ends: usize) -> &mut Self {
            const REFUSAL_US: u64 = 1000;
            self.seen.clear();
            (self.answered, self.refused) = (0, 0);
            for _ in 0..ends {
                while self.limit.allows(self.flying.len()) && self.flying.len() < self.demand {
                    let end = match self.target.takes(self.now) {
                        Ok(end) => (end, self.now, true),
                        Err(()) => (self.now + REFUSAL_US, self.now, false),
                    };
                    self.flying.push(Reverse(end));
                }
                let in_flight = self.flying.len();
                let Reverse((end, begun, is_answered)) = self.flying.pop().unwrap();
                self.now = end;
                self.limit.observe(Sample {
                    latency: Duration::from_micros(end - begun),
                    outcome: if is_answered {
                        Outcome::Answered
                    } else {
                        Outcome::Overloaded
                    },
                    in_flight,
                    now: self.origin + Duration::from_micros(end),
                });
                self.answered += usize::from(is_answered);
                self.refused += usize::from(!is_answered);
                self.seen.push(self.limit.current());
            }
            self
        }

        fn mean(&self) -> f64 {
            self.seen.iter().sum::<usize>() as f64 / self.seen.len() as f64
        }

        fn share_within(&self, from: usize, to: usize) -> f64 {
            let within = self.seen.iter().filter(|it| (from..=to).contains(*it));
            within.count() as f64 / self.seen.len() as f64
        }
    }

    #[test]
    fn the_limit_settles_a_little_above_what_the_target_works_on_at_once() {
        for workers in [2, 4, 16, 64] {
            for service in [300, 5_000, 400_000] {
                let mut run = Run::new(Limit::new(1, 512), Target::new(workers, service, 100_000));
                run.go(25_000);
                let begun = run.now;
                run.go(25_000);
                let shown = format!("{workers} x {service}: {}", run.mean());
                let mean = run.mean() / workers as f64;
                assert!((1.0..=2.5).contains(&mean), "{shown}");
                // Only a dip goes below, and nothing goes far above.
                assert!(run.share_within(workers, workers * 3 + 4) > 0.9, "{shown}");
                assert!(run.seen.iter().all(|it| *it <= workers * 3 + 4), "{shown}");
                // The mean of the service times is 1.15 of the nominal one.
                let best = (run.now - begun) as f64 * workers as f64 / (service as f64 * 1.15);
                assert!(
                    run.answered as f64 > 0.9 * best,
                    "{shown}: {} of {best}",
                    run.answered
                );
            }
        }
    }

    #[test]
    fn a_target_that_refuses_what_it_cannot_queue_is_refused_little() {
        let mut run = Run::new(Limit::new(1, 512), Target::new(16, 5_000, 4));
        run.go(10_000).go(20_000);
        let refused = run.refused as f64 / 20_000.0;
        assert!(refused < 0.02, "{refused}");
        assert!((8.0..=32.0).contains(&run.mean()), "{}", run.mean());
    }

    #[test]
    fn it_backs_off_when_the_target_loses_workers_and_comes_back_with_them() {
        let mut run = Run::new(Limit::new(2, 256), Target::new(32, 5_000, 100_000));
        run.go(30_000);
        assert!(run.limit.current() >= 16, "{}", run.limit.current());
        let now = run.now;
        run.target.resize(4, now);
        run.go(20_000).go(20_000);
        assert!(run.mean() < 16.0, "{}", run.mean());
        let now = run.now;
        run.target.resize(32, now);
        run.go(30_000).go(20_000);
        assert!(run.mean() >= 30.0, "{}", run.mean());
    }

    #[test]
    fn requests_that_take_longer_by_themselves_do_not_keep_it_down() {
        let mut run = Run::new(Limit::new(2, 256), Target::new(16, 5_000, 100_000));
        run.go(30_000);
        run.target.service_us *= 4;
        run.go(30_000).go(20_000);
        assert!(run.mean() >= 16.0, "{}", run.mean());
    }

    #[test]
    fn what_was_not_tried_changes_nothing() {
        let mut run = Run::new(Limit::new(1, 256), Target::new(64, 5_000, 100_000));
        run.go(30_000);
        let before = run.limit.current();
        assert!(before >= 32, "{before}");
        run.demand = 4;
        run.go(1_000);
        let idle = run.limit.current();
        run.target.service_us *= 5;
        run.go(20_000);
        assert_eq!(run.limit.current(), idle);
    }

    #[test]
    fn one_burst_of_refusals_counts_once() {
        let start = Instant::now();
        let mut limit = Limit::new(1, 100);
        let refusal = |at_ms: u64, latency_ms: u64| Sample {
            latency: Duration::from_millis(latency_ms),
            outcome: Outcome::Overloaded,
            in_flight: 8,
            now: start + Duration::from_millis(at_ms),
        };
        assert_eq!(limit.current(), 8);
        for _ in 0..8 {
            limit.observe(refusal(100, 10));
        }
        assert_eq!(limit.current(), 5, "they were all sent under the old limit");
        limit.observe(Sample {
            outcome: Outcome::TimedOut,
            ..refusal(300, 200)
        });
        assert_eq!(limit.current(), 3);
    }

    proptest! {
        #[test]
        fn whatever_is_observed_the_limit_keeps_its_bounds(
            min in 0_usize..20,
            more in 0_usize..200,
            samples in proptest::collection::vec(
                (any::<u64>(), 0_u8..12, 0_usize..300, any::<bool>()), 0..400),
        ) {
            let mut limit = Limit::new(min, min + more);
            let mut now = Instant::now();
            for (micros, outcome, in_flight, is_small) in samples {
                now += Duration::from_micros(micros % 10_000);
                let latency = if is_small { micros % 10_000 } else { micros % (1 << 40) };
                limit.observe(Sample {
                    latency: Duration::from_micros(latency),
                    outcome: match outcome {
                        0 => Outcome::Overloaded,
                        1 => Outcome::TimedOut,
                        _ => Outcome::Answered,
                    },
                    in_flight,
                    now,
                });
                let current = limit.current();
                prop_assert!(current >= min.max(1) && current <= (min + more).max(1), "{}", current);
                prop_assert!(limit.allows(current - 1) && !limit.allows(current));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn it_settles_for_targets_of_any_size(workers in 1_usize..100, service in 100_u64..1_000_000) {
            let mut run = Run::new(Limit::new(1, 256), Target::new(workers, service, 100_000));
            run.go(15_000).go(5_000);
            let mean = run.mean() / workers as f64;
            prop_assert!((0.8..=3.0).contains(&mean), "{} workers: {}", workers, run.mean());
        }
    }
}
