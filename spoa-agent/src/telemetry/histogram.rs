//! A histogram of durations whose `observe` is two relaxed atomic additions and a search of a short
//! array. The histogram of `prometheus-client` takes a lock, which the path to the ACK must not.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Durations, counted by upper bound.
#[derive(Debug, Clone)]
pub struct DurationHistogram {
    bounds: &'static [Duration],
    cells: Arc<Cells>,
}

#[derive(Debug)]
struct Cells {
    /// One per bound, and one for what is longer than all of them.
    counts: Box<[AtomicU64]>,
    nanos: AtomicU64,
}

impl DurationHistogram {
    /// A histogram with the given upper bounds, shortest first.
    #[must_use]
    pub fn new(bounds: &'static [Duration]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self {
            bounds,
            cells: Arc::new(Cells {
                counts,
                nanos: AtomicU64::new(0),
            }),
        }
    }

    /// Counts one duration. It is in the bucket whose upper bound it does not exceed.
    pub fn observe(&self, duration: Duration) {
        let bucket = self.bounds.partition_point(|bound| *bound < duration);
        if let Some(count) = self.cells.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.cells.nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl TypedMetric for DurationHistogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for DurationHistogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = self
            .bounds
            .iter()
            .map(Duration::as_secs_f64)
            .chain([f64::INFINITY]);
        let counts = self
            .cells
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        // The count is that of the buckets just read, not of a moment later: a reader checks the two
        // against each other.
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(self.cells.nanos.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::{Registry, Unit};

    use super::*;

    const BOUNDS: &[Duration] = &[Duration::from_millis(1), Duration::from_millis(10)];

    #[test]
    fn a_duration_is_counted_under_the_first_bound_that_it_does_not_exceed() {
        let histogram = DurationHistogram::new(BOUNDS);
        for micros in [1, 1_000, 1_001, 10_000, 10_001, 5_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut registry = Registry::default();
        registry.register_with_unit("ack", "ACKs", Unit::Seconds, histogram.clone());
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "ack_seconds_bucket{le=\"0.001\"} 2\n",
            "ack_seconds_bucket{le=\"0.01\"} 4\n",
            "ack_seconds_bucket{le=\"+Inf\"} 6\n",
            "ack_seconds_count 6\n",
            "ack_seconds_sum 5.022003\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
