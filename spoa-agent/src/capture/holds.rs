//! Held writes whose ACK waits for Kafka (`capture.hold = "kafka"`): connections wait here, the offload tells.

use std::collections::{HashMap, VecDeque};

use journal::Position;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Deliveries that are remembered although nobody waits for them yet: the offload may be faster than the connection that
/// appended the half.
const EARLY: usize = 1024;

/// What is waited for, and what was delivered. A write is named by the position at which its record ends.
#[derive(Debug)]
pub struct Holds {
    state: Mutex<State>,
    news: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether it is delivered.
    waiting: HashMap<Position, bool>,
    early: VecDeque<Position>,
    /// A hold passed its deadline, and nothing was delivered since.
    is_away: bool,
}

impl Default for Holds {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            news: watch::Sender::new(0),
        }
    }
}

impl Holds {
    /// Somebody waits for it. Call [`Holds::forget`] when that is over.
    pub fn wait_for(&self, end: Position) {
        let mut state = self.state.lock();
        let early = state.early.iter().position(|known| *known == end);
        if let Some(at) = early {
            state.early.remove(at);
        }
        state.waiting.insert(end, early.is_some());
    }

    /// Whether Kafka has it.
    #[must_use]
    pub fn is_delivered(&self, end: Position) -> bool {
        self.state
            .lock()
            .waiting
            .get(&end)
            .copied()
            .unwrap_or(false)
    }

    /// Nobody waits for it any more.
    pub fn forget(&self, end: Position) {
        self.state.lock().waiting.remove(&end);
    }

    /// A hold was given up at its deadline. Until something is delivered, nobody else waits in vain.
    pub fn overdue(&self) {
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.is_away, true) {
            drop(state);
            self.news.send_modify(|count| *count += 1);
        }
    }

    /// Whether waiting is in vain.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.state.lock().is_away
    }

    /// Kafka has it.
    pub fn delivered(&self, end: Position) {
        let mut state = self.state.lock();
        state.is_away = false;
        if let Some(delivered) = state.waiting.get_mut(&end) {
            *delivered = true;
            drop(state);
            self.news.send_modify(|count| *count += 1);
            return;
        }
        if state.early.len() >= EARLY {
            state.early.pop_front();
        }
        state.early.push_back(end);
    }

    /// Tells of every change.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_known_whether_it_comes_before_or_after_somebody_waits() {
        let holds = Holds::default();
        holds.delivered(10);
        holds.wait_for(10);
        holds.wait_for(20);
        assert!(holds.is_delivered(10) && !holds.is_delivered(20));
        holds.delivered(20);
        assert!(holds.is_delivered(20));
        holds.forget(20);
        assert!(!holds.is_delivered(20));
    }

    #[test]
    fn after_one_wait_in_vain_nobody_waits_until_something_is_delivered() {
        let holds = Holds::default();
        holds.wait_for(10);
        assert!(!holds.is_away());
        holds.overdue();
        assert!(holds.is_away());
        holds.delivered(7);
        assert!(!holds.is_away());
    }

    #[test]
    fn what_nobody_waits_for_is_forgotten_in_the_end() {
        let holds = Holds::default();
        (0..10_000).for_each(|end| holds.delivered(end));
        assert_eq!(holds.state.lock().early.len(), EARLY);
    }
}
