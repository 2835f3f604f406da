//! What the follower counts about itself. The agent exports these; the ledger's own figures (delivered,
//! filtered, dropped) come from [`crate::Outcomes`], reason by reason.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Change;

/// Counters since the engine began, and gauges (said where they are). All are read with `load`.
#[derive(Debug, Default)]
pub struct Counters {
    /// Exchanges that [`crate::Engine::offer`] took, whatever became of them.
    pub offered: AtomicU64,
    /// Exchanges that have their outcome.
    pub settled: AtomicU64,
    /// Gauge: exchanges taken and without an outcome, those in flight among them.
    pub held: AtomicU64,
    /// Gauge: bytes of memory that these hold, roughly.
    pub held_bytes: AtomicU64,
    /// Gauge: exchanges that a sender is busy with.
    pub in_flight: AtomicU64,
    /// Gauge: how many may be in flight; fewer than there are connections where the limit follows the target.
    pub allowed: AtomicU64,
    /// Gauge: exchanges that wait for their next attempt.
    pub retrying: AtomicU64,
    /// Requests begun on a connection, repeated ones and probes included.
    pub attempts: AtomicU64,
    /// Exchanges put back for another attempt because of trouble with the target.
    pub retries: AtomicU64,
    /// Requests repeated at once because a kept connection turned out to be closed.
    pub stale_retries: AtomicU64,
    /// Connections made.
    pub connects: AtomicU64,
    /// Connections that could not be made.
    pub connect_failures: AtomicU64,
    /// Requests that asked only whether the target lives.
    pub probes: AtomicU64,
    /// Times the target was found down.
    pub target_downs: AtomicU64,
    /// Gauge: 1 while the target is down.
    pub target_down: AtomicU64,
    /// Documents and indices that were found to be ambiguous.
    pub ambiguous: AtomicU64,
    /// Gauge: documents that are ambiguous and wait to be read from the primary.
    pub resolve_pending: AtomicU64,
    /// Documents that were ambiguous and are not, for they were read from the primary.
    pub resolved: AtomicU64,
    /// Documents that stay ambiguous although they were to be read from the primary.
    pub unresolved: AtomicU64,
    /// Attempts to settle an ambiguous document that failed.
    pub resolve_failures: AtomicU64,
    /// Writes of documents that were left out, for what was read from the primary shows them already.
    pub superseded: AtomicU64,
    /// Documents, and operations without documents, that the primary accepted and the target refused.
    pub refused: AtomicU64,
    /// Of what must not be done twice: found to be done already.
    pub done_before: AtomicU64,
    /// Requests that differed from the captured ones when they were first sent, by kind: [`Counters::changed`].
    changes: [AtomicU64; Change::ALL.len()],
    /// Bytes of requests written, before TLS.
    pub bytes_sent: AtomicU64,
    /// Bytes of answers read, after TLS.
    pub bytes_received: AtomicU64,
}

impl Counters {
    /// How many requests were sent that differed from the captured ones, in each of the ways in which any did. Those
    /// that are sent again count once.
    pub fn changed(&self) -> impl Iterator<Item = (Change, u64)> + '_ {
        let counts = self.changes.iter().map(|it| it.load(Ordering::Relaxed));
        let counted = Change::ALL.into_iter().zip(counts);
        counted.filter(|(_, count)| *count > 0)
    }

    pub(crate) fn count_changes(&self, changes: &[Change]) {
        for (change, counter) in Change::ALL.iter().zip(&self.changes) {
            if changes.contains(change) {
                count(counter);
            }
        }
    }
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

pub(crate) fn set(gauge: &AtomicU64, value: usize) {
    gauge.store(value as u64, Ordering::Relaxed);
}
