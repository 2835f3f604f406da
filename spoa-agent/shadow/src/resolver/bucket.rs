//! How often the primary may be asked. Pure: the caller brings the time.

use std::time::Duration;

use tokio::time::Instant;

/// Lets so many through in a second, and a tenth of that at once.
#[derive(Debug)]
pub(super) struct Bucket {
    gap: Duration,
    burst: Duration,
    /// When the next one would be due if they came evenly.
    due: Option<Instant>,
}

impl Bucket {
    pub(super) fn new(per_second: u32) -> Self {
        let per_second = per_second.max(1);
        let gap = Duration::from_secs(1) / per_second;
        Self {
            gap,
            burst: gap * (per_second / 10).saturating_sub(1),
            due: None,
        }
    }

    /// Takes one, or tells when there is one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let due = self.due.map_or(now, |due| due.max(now));
        if due > now + self.burst {
            return Err(due.checked_sub(self.burst).unwrap_or(due));
        }
        self.due = Some(due + self.gap);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many are let through in so many seconds, asked as often as can be.
    fn let_through(per_second: u32, seconds: u64) -> u64 {
        let (begin, mut bucket) = (Instant::now(), Bucket::new(per_second));
        let end = begin + Duration::from_secs(seconds);
        let (mut now, mut count) = (begin, 0);
        while now < end {
            match bucket.take(now) {
                Ok(()) => count += 1,
                Err(until) => {
                    assert!(until > now);
                    now = until;
                }
            }
        }
        count
    }

    #[test]
    fn no_more_go_through_in_a_time_than_the_rate_and_one_burst() {
        for per_second in [1, 3, 50, 1000] {
            let rate = u64::from(per_second) * 10;
            let count = let_through(per_second, 10);
            let burst = u64::from(per_second / 10);
            assert!((rate..=rate + burst + 1).contains(&count), "{count}");
        }
    }

    #[test]
    fn a_pause_saves_up_no_more_than_a_burst() {
        let (begin, mut bucket) = (Instant::now(), Bucket::new(50));
        assert_eq!(bucket.take(begin), Ok(()));
        let later = begin + Duration::from_secs(60);
        let at_once = std::iter::repeat_with(|| bucket.take(later)).take_while(Result::is_ok);
        assert_eq!(at_once.count(), 5);
    }
}
