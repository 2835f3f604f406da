//! Keeps a log line that repeats from filling the log.
//!
//! In each window the first few lines of an event are let through; the rest are counted, and the
//! count goes out with the next line that is let through. Metrics count every event all the same.
//!
//! ```
//! use spoa_agent::telemetry::throttle::Throttle;
//!
//! let refused = Throttle::default();
//! if let Some(suppressed) = refused.admit() {
//!     tracing::warn!(suppressed, "connection refused, server.max_connections reached");
//! }
//! ```

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// The state of one event. Share it by reference or in an `Arc`.
#[derive(Debug)]
pub struct Throttle {
    burst: u64,
    window: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    window_began: Option<Instant>,
    admitted: u64,
    suppressed: u64,
}

impl Default for Throttle {
    /// Five lines in ten seconds.
    fn default() -> Self {
        Self::new(5, Duration::from_secs(10))
    }
}

impl Throttle {
    /// Lets `burst` lines through per `window`.
    #[must_use]
    pub const fn new(burst: u64, window: Duration) -> Self {
        let state = State {
            window_began: None,
            admitted: 0,
            suppressed: 0,
        };
        Self {
            burst,
            window,
            state: Mutex::new(state),
        }
    }

    /// Whether to log now: `Some` with the number of lines that were suppressed since the last one, or
    /// `None` to stay silent.
    pub fn admit(&self) -> Option<u64> {
        self.admit_at(Instant::now())
    }

    /// [`Throttle::admit`] at a given time.
    pub fn admit_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state();
        if state.is_over(now, self.window) {
            state.window_began = Some(now);
            state.admitted = 0;
        }
        if state.admitted >= self.burst {
            state.suppressed += 1;
            return None;
        }
        state.admitted += 1;
        Some(std::mem::take(&mut state.suppressed))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Every change of the state leaves it whole, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_over(&self, now: Instant, window: Duration) -> bool {
        self.window_began
            .is_none_or(|began| now.saturating_duration_since(began) >= window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    #[test]
    fn the_first_lines_of_a_window_pass_and_the_rest_are_counted() {
        let throttle = Throttle::new(2, WINDOW);
        let start = Instant::now();
        let admitted: Vec<Option<u64>> = (0..5).map(|_| throttle.admit_at(start)).collect();
        assert_eq!(admitted, [Some(0), Some(0), None, None, None]);
        assert_eq!(throttle.admit_at(start + WINDOW), Some(3));
        assert_eq!(throttle.admit_at(start + WINDOW), Some(0));
    }

    #[test]
    fn every_event_is_admitted_or_told_of_by_a_later_one() {
        let throttle = Throttle::new(3, WINDOW);
        let start = Instant::now();
        let mut told = 0;
        for step in 0..1000_u32 {
            if let Some(suppressed) = throttle.admit_at(start + Duration::from_millis(100) * step) {
                told += 1 + suppressed;
            }
        }
        told += 1 + throttle
            .admit_at(start + Duration::from_secs(1000))
            .unwrap();
        assert_eq!(told, 1001);
    }
}
