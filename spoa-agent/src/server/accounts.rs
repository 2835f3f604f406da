//! What happens on connections, counted and logged in one place, so that the two cannot disagree.
//!
//! Lines that a misbehaving peer could repeat are throttled; the counters tell all of them.

use std::io;
use std::time::Duration;

use spop_codec::{DecodeError, Status};

use crate::telemetry::metrics::{ConnectionRefusal, Hello, ProtocolError, ServerMetrics};
use crate::telemetry::throttle::Throttle;

/// The server's accounts.
#[derive(Debug)]
pub(super) struct Accounts {
    metrics: ServerMetrics,
    refused: Throttle,
    accept: Throttle,
    protocol: Throttle,
    complaint: Throttle,
    silent: Throttle,
    pipelining: Throttle,
}

/// A connection that counts as open until this is dropped.
#[derive(Debug)]
pub(super) struct Admission(prometheus_client::metrics::counter::Counter);

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.inc();
    }
}

impl Accounts {
    pub(super) fn new(metrics: ServerMetrics) -> Self {
        Self {
            metrics,
            refused: Throttle::default(),
            accept: Throttle::default(),
            protocol: Throttle::default(),
            complaint: Throttle::default(),
            silent: Throttle::default(),
            pipelining: Throttle::default(),
        }
    }

    /// A connection came. `None` when there are `limit` already.
    pub(super) fn admit(&self, limit: usize) -> Option<Admission> {
        let open = self.metrics.connections_opened.get() - self.metrics.connections_closed.get();
        if open >= limit as u64 {
            self.metrics
                .connections_refused
                .inc(ConnectionRefusal::Limit);
            if let Some(suppressed) = self.refused.admit() {
                tracing::warn!(
                    limit,
                    suppressed,
                    "connection refused, server.max_connections is reached; raise it, or give HAProxy fewer threads"
                );
            }
            return None;
        }
        self.metrics.connections_opened.inc();
        Some(Admission(self.metrics.connections_closed.clone()))
    }

    pub(super) fn accept_failed(&self, error: &io::Error) {
        self.metrics
            .connections_refused
            .inc(ConnectionRefusal::Accept);
        if let Some(suppressed) = self.accept.admit() {
            tracing::warn!(%error, suppressed, "cannot accept a connection; trying again");
        }
    }

    pub(super) fn hello_agreed(&self, pipelining: bool) {
        self.metrics.hellos.inc(Hello::Ok);
        if pipelining {
            return;
        }
        if let Some(suppressed) = self.pipelining.admit() {
            tracing::warn!(
                suppressed,
                "HAProxy does not offer pipelining, and requests will wait for each other; remove `no option pipelining` from spoe.cfg"
            );
        }
    }

    pub(super) fn health_checked(&self, able: bool) {
        let outcome = if able {
            Hello::HealthCheck
        } else {
            Hello::HealthCheckRefused
        };
        self.metrics.hellos.inc(outcome);
    }

    pub(super) fn hello_missing(&self, limit: Duration) {
        self.metrics.hellos.inc(Hello::Timeout);
        if let Some(suppressed) = self.silent.admit() {
            tracing::warn!(
                ?limit,
                suppressed,
                "a connection said no HELLO within server.hello_timeout"
            );
        }
    }

    pub(super) fn protocol_broken(&self, error: &DecodeError, in_hello: bool) {
        let status = error.status();
        if in_hello {
            self.metrics.hellos.inc(Hello::Refused);
        }
        self.metrics
            .protocol_errors
            .inc(ProtocolError::of_status(status.code()));
        if let Some(suppressed) = self.protocol.admit() {
            tracing::warn!(%error, status = status.code(), suppressed, "connection ended, the peer broke the protocol");
        }
    }

    pub(super) fn peer_complained(&self, status: Status, message: &str) {
        if let Some(suppressed) = self.complaint.admit() {
            tracing::warn!(
                status = status.code(),
                said = message,
                suppressed,
                "HAProxy ended a connection"
            );
        }
    }

    pub(super) fn frames_received(&self, frames: u64, bytes: u64) {
        if frames > 0 {
            self.metrics.frames_received.inc_by(frames);
            self.metrics.received_bytes.inc_by(bytes);
        }
    }

    pub(super) fn acked(&self, after: Duration) {
        self.metrics.acks_sent.inc();
        self.metrics.ack_latency.observe(after);
    }

    pub(super) fn acked_early(&self) {
        self.metrics.acks_early.inc();
    }
}
