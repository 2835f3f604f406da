//! Memory for frames that are being read, over all connections.
//!
//! Every connection has a small buffer of its own. Who needs a larger one takes the whole difference
//! from the budget first, at once and only once, so that connections cannot block each other half-way.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const UNIT: usize = 1024;

/// The budget. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    units: Arc<Semaphore>,
    total: usize,
}

/// Bytes taken from the budget, given back on drop.
#[derive(Debug)]
pub(super) struct Share(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        let total = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            units: Arc::new(Semaphore::new(total)),
            total,
        }
    }

    /// Waits until `bytes` are free. More than the whole budget counts as the whole budget, so that
    /// one frame can always be read.
    pub(super) async fn take(&self, bytes: usize) -> Option<Share> {
        let units = bytes.div_ceil(UNIT).clamp(1, self.total);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        Arc::clone(&self.units)
            .acquire_many_owned(units)
            .await
            .ok()
            .map(Share)
    }

    /// Whether so much is in use that idle connections should give back what they hold.
    pub(super) fn is_short(&self) -> bool {
        self.units.available_permits() < self.total / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_share_is_given_back_when_it_is_dropped() {
        let budget = Budget::new(10 * UNIT);
        let share = budget.take(8 * UNIT).await.unwrap();
        assert!(budget.is_short());
        drop(share);
        assert!(!budget.is_short());
    }

    #[tokio::test]
    async fn a_frame_above_the_whole_budget_can_still_be_read_alone() {
        let budget = Budget::new(UNIT);
        assert!(budget.take(100 * UNIT).await.is_some());
    }
}
