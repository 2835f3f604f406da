//! When a program that has ended is started again, and when that is of no use any more.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How many ends within [`WITHIN`] are one too many.
pub(super) const MOST: usize = 10;
/// Ends that are longer ago do not count.
pub(super) const WITHIN: Duration = Duration::from_secs(60);
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// The recent ends of one program.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    ends: VecDeque<Instant>,
}

/// What to do about an end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    StartAfter(Duration),
    GiveUp,
}

impl Restarts {
    /// The program has ended. The wait doubles with each end, and forgets those that are long ago.
    pub(super) fn ended(&mut self, now: Instant) -> Next {
        while self
            .ends
            .front()
            .is_some_and(|end| now.duration_since(*end) > WITHIN)
        {
            self.ends.pop_front();
        }
        self.ends.push_back(now);
        if self.ends.len() >= MOST {
            return Next::GiveUp;
        }
        let mut wait = FIRST;
        for _ in 1..self.ends.len() {
            wait = wait.saturating_mul(2).min(LONGEST);
        }
        Next::StartAfter(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_a_limit_and_then_it_is_given_up() {
        let mut restarts = Restarts::default();
        let now = Instant::now();
        let waits: Vec<u128> = (1..MOST)
            .map(|_| match restarts.ended(now) {
                Next::StartAfter(wait) => wait.as_millis(),
                Next::GiveUp => panic!("too early"),
            })
            .collect();
        assert_eq!(
            waits,
            [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000],
            "the longest is {LONGEST:?}"
        );
        assert_eq!(restarts.ended(now), Next::GiveUp);
    }

    #[test]
    fn ends_that_are_long_ago_do_not_count() {
        let mut restarts = Restarts::default();
        let mut now = Instant::now();
        for _ in 0..3 * MOST {
            now += WITHIN + Duration::from_millis(1);
            assert_eq!(restarts.ended(now), Next::StartAfter(FIRST));
        }
    }
}
