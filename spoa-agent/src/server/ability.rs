//! Whether the agent can take messages: the circuit breaker between the journal and HAProxy.
//!
//! HAProxy's health check (`option spop-check`) hears it. While it is bad, HAProxy marks the agent as
//! down and passes traffic by without waiting, and connections that still bring messages get their
//! ACK at once.

use std::sync::Arc;
use std::time::Duration;

use journal::{Health, Journal, Level};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::telemetry::throttle::Throttle;

/// How often the journal is asked. Short against HAProxy's `timeout processing`.
const INTERVAL: Duration = Duration::from_millis(20);

/// Whether the agent can take messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ability {
    /// It can.
    Able,
    /// It cannot keep what it is told.
    Unable(Arc<str>),
    /// It can, and will not for long: health checks fail, so that HAProxy sends no more.
    Leaving,
}

impl Ability {
    /// Whether health checks pass.
    #[must_use]
    pub const fn passes_checks(&self) -> bool {
        matches!(self, Self::Able)
    }

    /// Whether an ACK may wait for the journal.
    #[must_use]
    pub const fn may_wait(&self) -> bool {
        !matches!(self, Self::Unable(_))
    }
}

/// Watches the journal's health and publishes it, as far as it concerns ACKs at the level `ack`,
/// until `leaving` is cancelled; from then on the agent is [`Ability::Leaving`].
pub async fn watch(
    journal: Journal,
    ack: Level,
    ability: watch::Sender<Ability>,
    leaving: CancellationToken,
) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut losses = Losses::default();
    loop {
        tokio::select! {
            () = leaving.cancelled() => break,
            _ = ticks.tick() => {
                publish(&ability, of(&journal.health(), ack));
                losses.look(&journal);
            }
        }
    }
    publish(&ability, Ability::Leaving);
}

/// Says that the journal deletes what a follower has not read, when it does (`when_full =
/// "drop-unread"`); the follower itself may be far from noticing.
#[derive(Default)]
struct Losses {
    told: u64,
    throttle: Throttle,
}

impl Losses {
    fn look(&mut self, journal: &Journal) {
        let records = journal.dropped_unread();
        if records > self.told
            && let Some(suppressed) = self.throttle.admit()
        {
            tracing::error!(
                records = records - self.told,
                suppressed,
                "the journal is over journal.max_bytes, and records were deleted that a follower had not read"
            );
            self.told = records;
        }
    }
}

fn of(health: &Health, ack: Level) -> Ability {
    match health {
        Health::Ok => Ability::Able,
        // A disk that is slow to sync is no reason to stop capturing when nobody waits for the sync.
        Health::Stalled { what: "sync", .. } if ack != Level::Sync => Ability::Able,
        // The duration in a stall's text would make every look a change.
        Health::Stalled { what, .. } => {
            Ability::Unable(format!("a {what} of the journal takes too long").into())
        }
        bad => Ability::Unable(format!("the journal is {bad}").into()),
    }
}

fn publish(sender: &watch::Sender<Ability>, now: Ability) {
    let changed = sender.send_if_modified(|before| {
        let changed = *before != now;
        if changed {
            before.clone_from(&now);
        }
        changed
    });
    if !changed {
        return;
    }
    match now {
        Ability::Able => tracing::info!("taking messages"),
        Ability::Unable(reason) => {
            tracing::error!(%reason, "not taking messages; HAProxy is told that the agent is down");
        }
        Ability::Leaving => tracing::info!("leaving; HAProxy is told that the agent is down"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_sync_matters_only_when_acks_wait_for_it() {
        let slow = Health::Stalled {
            what: "sync",
            since: Duration::from_secs(3),
        };
        assert_eq!(of(&slow, Level::Write), Ability::Able);
        assert!(!of(&slow, Level::Sync).may_wait());
        let stuck = Health::Stalled {
            what: "write",
            since: Duration::from_secs(3),
        };
        assert!(!of(&stuck, Level::Append).passes_checks());
    }
}
