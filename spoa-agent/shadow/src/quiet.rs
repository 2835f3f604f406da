//! Keeps a log line from being written a thousand times: once a second, with how many were not.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Quiet {
    state: Mutex<(Option<Instant>, u64)>,
}

impl Quiet {
    /// How many lines were left out since the last one, if it is time for another.
    pub(crate) fn may_speak(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        let (spoke, suppressed) = &mut *state;
        if spoke.is_some_and(|at| now.duration_since(at) < PAUSE) {
            *suppressed += 1;
            return None;
        }
        *spoke = Some(now);
        Some(std::mem::take(suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_written_and_then_one_a_second_with_the_number_left_out() {
        let (quiet, t0) = (Quiet::default(), Instant::now());
        assert_eq!(quiet.may_speak(t0), Some(0));
        assert_eq!(quiet.may_speak(t0), None);
        assert_eq!(quiet.may_speak(t0 + PAUSE / 2), None);
        assert_eq!(quiet.may_speak(t0 + PAUSE), Some(2));
    }
}
