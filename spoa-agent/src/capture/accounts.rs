//! What becomes of halves, counted and logged in one place, so that the two cannot disagree.
//!
//! received = captured + refused(reason), for each kind of half, at any moment between two messages.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use exchange::{Extent, Half};
use journal::AppendError;

use super::contract::{ContractError, Kind};
use crate::telemetry::metrics::{
    BodyExtent, CaptureMetrics, HalfKind, HalfRefusal, HoldOutcome, Label,
};
use crate::telemetry::throttle::Throttle;

/// The capture's accounts.
#[derive(Debug)]
pub(super) struct Accounts {
    metrics: CaptureMetrics,
    contract: Throttle,
    journal: Throttle,
    hold: Throttle,
    inspected: [AtomicBool; 3],
}

impl Accounts {
    pub(super) fn new(metrics: CaptureMetrics) -> Self {
        Self {
            metrics,
            contract: Throttle::default(),
            journal: Throttle::default(),
            hold: Throttle::default(),
            inspected: Default::default(),
        }
    }

    /// Whether this is the first message of its kind: then its arguments are looked at closely.
    pub(super) fn is_first(&self, kind: Kind) -> bool {
        let [request, held, response] = &self.inspected;
        let flag = match kind {
            Kind::Request => request,
            Kind::HeldRequest => held,
            Kind::Response => response,
        };
        !flag.load(Ordering::Relaxed) && !flag.swap(true, Ordering::Relaxed)
    }

    pub(super) fn unknown_argument(&self, kind: Kind, name: &[u8]) {
        tracing::warn!(
            spoe_message = kind.name(),
            argument = %String::from_utf8_lossy(name),
            "HAProxy sends an argument that is not part of the contract, and it is skipped; write HAProxy's configuration with `spoa-agent haproxy-config`"
        );
    }

    pub(super) fn unknown_message(&self, error: &ContractError) {
        self.metrics.unknown_messages.inc();
        if let Some(suppressed) = self.contract.admit() {
            tracing::error!(%error, suppressed, "message not captured");
        }
    }

    pub(super) fn received(&self, kind: HalfKind) {
        self.metrics.received.inc(kind);
    }

    pub(super) fn contract_broken(&self, kind: Kind, error: &ContractError) {
        self.metrics.refused.inc(kind.half(), HalfRefusal::Contract);
        if let Some(suppressed) = self.contract.admit() {
            tracing::error!(spoe_message = kind.name(), %error, suppressed, "half not captured");
        }
    }

    pub(super) fn captured<B: AsRef<[u8]>>(&self, half: &Half<B>) {
        let (kind, body) = match half {
            Half::Request(request) => (HalfKind::Request, &request.body),
            Half::Response(response) => (HalfKind::Response, &response.body),
            Half::Gap(_) | Half::Pair(_) => return,
        };
        self.metrics.captured.inc(kind);
        let extent = match body.extent {
            Extent::Whole => BodyExtent::Whole,
            Extent::Cut { .. } => BodyExtent::Cut,
            Extent::NotCaptured { .. } => BodyExtent::NotCaptured,
        };
        self.metrics.bodies.inc(kind, extent);
        self.metrics
            .body_bytes
            .add(kind, body.content.as_ref().len() as u64);
    }

    pub(super) fn refused(&self, kind: HalfKind, reason: HalfRefusal, error: &AppendError) {
        self.metrics.refused.inc(kind, reason);
        if let Some(suppressed) = self.journal.admit() {
            tracing::error!(%error, half = kind.as_str(), suppressed, "half not captured");
        }
    }

    pub(super) fn hold_began(&self) {
        self.metrics.held.inc();
    }

    pub(super) fn hold_ended(&self, outcome: HoldOutcome, after: Duration) {
        self.metrics.released.inc(outcome);
        self.metrics.hold.observe(after);
        if outcome == HoldOutcome::Durable {
            return;
        }
        if let Some(suppressed) = self.hold.admit() {
            tracing::warn!(
                ?after,
                outcome = outcome.as_str(),
                suppressed,
                "a held write was released without being durable; HAProxy's rules let it go on or deny it"
            );
        }
    }
}
