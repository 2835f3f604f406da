//! The SPOP server: listeners, and one task per connection from HAProxy.
//!
//! [`listener`] binds addresses and accepts; [`connection`] speaks the protocol; [`ability`] says
//! whether the agent can take messages, which the health check repeats to HAProxy; [`budget`] bounds
//! the memory of frames that are being read. What is in a message is `capture`'s business.
//!
//! A fault on a connection stays on that connection.

use std::sync::Arc;
use std::time::Duration;

use journal::{Journal, Level};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::ability::Ability;
use self::accounts::Accounts;
use self::budget::Budget;
pub use self::listener::{BindError, Listener};
use crate::capture::Capture;
use crate::capture::holds::Holds;
use crate::telemetry::metrics::ServerMetrics;

pub mod ability;
mod accounts;
mod budget;
mod connection;
mod listener;

/// What connections may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most connections at a time.
    pub connections: usize,
    /// The largest frame that is agreed to, in bytes.
    pub max_frame_size: u32,
    /// Memory for frames above the usual size that are being read, in bytes, over all connections.
    pub frame_memory: usize,
    /// How long a connection may take to say hello.
    pub hello_timeout: Duration,
    /// How long the ACK of a held write may wait, for the disk or for Kafka.
    pub hold_deadline: Duration,
    /// What every other ACK waits for.
    pub ack: Level,
}

/// Everything that a connection needs.
#[derive(Debug)]
pub struct Server {
    limits: Limits,
    budget: Budget,
    capture: Arc<Capture>,
    journal: Journal,
    ability: watch::Receiver<Ability>,
    /// Where held writes wait for Kafka, when they do.
    holds: Option<Arc<Holds>>,
    accounts: Accounts,
    /// Cancelled when connections are to be ended: after the ACKs that are due, with an
    /// AGENT-DISCONNECT.
    closing: CancellationToken,
    tasks: TaskTracker,
    words: connection::Words,
}

impl Server {
    /// A server without listeners yet.
    #[must_use]
    pub fn new(
        limits: Limits,
        capture: Arc<Capture>,
        journal: Journal,
        ability: watch::Receiver<Ability>,
        holds: Option<Arc<Holds>>,
        metrics: ServerMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            budget: Budget::new(limits.frame_memory),
            limits,
            capture,
            journal,
            ability,
            holds,
            accounts: Accounts::new(metrics),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
            words: connection::Words::default(),
        })
    }

    /// Accepts connections from `listener` until the server closes.
    pub fn listen(self: &Arc<Self>, listener: Listener) {
        self.tasks.spawn(listener.accept_all(Arc::clone(self)));
    }

    /// Stops accepting, lets every connection send the ACKs that are due and an AGENT-DISCONNECT,
    /// and waits until all are gone.
    pub async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
