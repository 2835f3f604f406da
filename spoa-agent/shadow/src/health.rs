//! Whether the target is there. Pure: the caller brings the time.
//!
//! One failed request says little: the target may be gone, or the request may be one that no target
//! can take. So the first failure makes the target *suspect*: nothing more is sent until one worker has
//! asked it a trivial question. If it answers, the failure was the request's own, and counts against it.
//! If it does not, the target is *down*: the failure counts against nobody, and one worker goes on
//! asking, ever less often, until it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// One time of doubt, from the first failure to the next sign of life. Failed requests hold on to it, to
/// learn later whose fault they were.
#[derive(Debug, Default)]
pub(crate) struct Doubt {
    found_down: AtomicBool,
}

impl Doubt {
    /// Whether the target was down, so that a failure says nothing about the request.
    pub(crate) fn was_down(&self) -> bool {
        self.found_down.load(Ordering::Relaxed)
    }
}

/// What a worker may do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Send.
    Open,
    /// Ask the target whether it lives; all others wait for the result.
    Probe,
    /// Wait: until then, or until something changes.
    Shut(Option<Instant>),
}

#[derive(Debug, Default)]
pub(crate) struct Health {
    trouble: Option<Trouble>,
    answered: Option<Instant>,
    recovered: Option<Instant>,
}

#[derive(Debug)]
struct Trouble {
    doubt: Arc<Doubt>,
    since: Instant,
    probing: bool,
    next_probe: Instant,
    failed_probes: u32,
}

impl Health {
    /// Asked before each request.
    pub(crate) fn gate(&mut self, now: Instant) -> Gate {
        match &mut self.trouble {
            None => Gate::Open,
            Some(Trouble { probing: true, .. }) => Gate::Shut(None),
            Some(trouble) if trouble.next_probe <= now => {
                trouble.probing = true;
                Gate::Probe
            }
            Some(trouble) => Gate::Shut(Some(trouble.next_probe)),
        }
    }

    /// The target gave a final answer.
    pub(crate) fn answered(&mut self, now: Instant) {
        self.answered = Some(now);
    }

    /// Whether the target answered something after `began`.
    pub(crate) fn answered_since(&self, began: Instant) -> bool {
        self.answered.is_some_and(|at| at > began)
    }

    /// Whether the target was found down at some time after `began`.
    pub(crate) fn down_since(&self, began: Instant) -> bool {
        self.is_down() || self.recovered.is_some_and(|at| at >= began)
    }

    pub(crate) fn is_down(&self) -> bool {
        self.trouble
            .as_ref()
            .is_some_and(|trouble| trouble.failed_probes > 0)
    }

    /// A request failed, and nothing shows that it was its own fault.
    pub(crate) fn suspect(&mut self, now: Instant) -> Arc<Doubt> {
        let trouble = self.trouble.get_or_insert_with(|| Trouble {
            doubt: Arc::default(),
            since: now,
            probing: false,
            next_probe: now,
            failed_probes: 0,
        });
        trouble.doubt.clone()
    }

    /// The probe was answered. Returns how long the target was down, if it was.
    pub(crate) fn probe_answered(&mut self, now: Instant) -> Option<Duration> {
        self.answered = Some(now);
        let trouble = self.trouble.take()?;
        if trouble.failed_probes == 0 {
            return None;
        }
        self.recovered = Some(now);
        Some(now.duration_since(trouble.since))
    }

    /// The probe failed; `delay` says after how many failed ones how long to wait. Returns whether this
    /// is the news that the target is down.
    pub(crate) fn probe_failed(&mut self, now: Instant, delay: impl Fn(u32) -> Duration) -> bool {
        let Some(trouble) = &mut self.trouble else {
            return false;
        };
        trouble.doubt.found_down.store(true, Ordering::Relaxed);
        trouble.probing = false;
        trouble.failed_probes = trouble.failed_probes.saturating_add(1);
        trouble.next_probe = now + delay(trouble.failed_probes);
        trouble.failed_probes == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(50);

    fn after(begin: Instant, steps: u32) -> Instant {
        begin + STEP * steps
    }

    #[test]
    fn one_worker_asks_and_all_others_wait() {
        let (mut health, t0) = (Health::default(), Instant::now());
        assert_eq!(health.gate(t0), Gate::Open);
        health.suspect(t0);
        assert_eq!(health.gate(t0), Gate::Probe);
        assert_eq!(health.gate(t0), Gate::Shut(None));
        assert!(health.probe_failed(t0, |failed| STEP * failed));
        assert_eq!(health.gate(t0), Gate::Shut(Some(after(t0, 1))));
        assert_eq!(health.gate(after(t0, 1)), Gate::Probe);
        assert!(
            !health.probe_failed(after(t0, 1), |failed| STEP * failed),
            "told once"
        );
        assert_eq!(health.gate(after(t0, 2)), Gate::Shut(Some(after(t0, 3))));
        assert_eq!(health.gate(after(t0, 3)), Gate::Probe);
        assert_eq!(health.probe_answered(after(t0, 4)), Some(STEP * 4));
        assert_eq!(health.gate(after(t0, 4)), Gate::Open);
    }

    #[test]
    fn a_probe_that_is_answered_puts_the_fault_on_the_request() {
        let (mut health, t0) = (Health::default(), Instant::now());
        let doubt = health.suspect(t0);
        assert_eq!(health.gate(t0), Gate::Probe);
        assert_eq!(health.probe_answered(after(t0, 1)), None);
        assert!(!doubt.was_down());
        assert!(!health.down_since(t0));
    }

    #[test]
    fn a_probe_that_fails_puts_the_fault_on_the_target_for_good() {
        let (mut health, t0) = (Health::default(), Instant::now());
        let doubt = health.suspect(t0);
        health.gate(t0);
        health.probe_failed(t0, |_| STEP);
        health.gate(after(t0, 1));
        health.probe_answered(after(t0, 2));
        assert!(doubt.was_down());
        // What began before the target was back may have failed because of that.
        assert!(health.down_since(after(t0, 1)));
        assert!(!health.down_since(after(t0, 3)));
        assert!(
            !health.suspect(after(t0, 3)).was_down(),
            "a new doubt knows nothing of the old"
        );
    }
}
