//! Sends captured requests to one target, so that its state converges to the primary's.
//!
//! [`Engine`] takes [`exchange::Exchange`]s in journal order and tells an [`Outcome`] for each. It does
//! not read the journal and keeps no cursor: who feeds it does, and advances the cursor by the outcomes.
//! A body that is not whole is never sent.
//!
//! What an exchange goes through, and where:
//!
//! 1. [`rules`]: is it meant for this target, and as what?
//! 2. [`plan`]: what of it did the primary do, and how is that said in a request?
//! 3. [`order`]: after what may it go? `intake` tells it what an exchange touches, `aliases` under which names.
//! 4. [`pace`]: when is it due? Only in a replay.
//! 5. [`tokens`]: which scroll, point in time, async search or task is meant on the target?
//! 6. [`sender`]: one connection; [`target`], [`identity`], [`tls`], [`outgoing`] and [`incoming`] are its parts.
//! 7. [`outcome`] and [`pair`]: what became of it.
//!
//! `dispatch` is what waits where, behind one lock; `health` tells a dead target from a bad request;
//! `worker` does the steps for one request; [`engine`] is the outside of it all.
//!
//! Delivery is at least once. An exchange is sent again after a failure, also when the target may have
//! done it; [`Delivered::attempts`] says so. Why that leaves the same documents is told in [`plan`]; `notes`
//! keeps over a kill what that needs ([`memory`]), `settle` lets the target finish first.
//!
//! What the captured halves cannot decide is told as [`Ambiguous`]; `resolver` settles it by reading from the
//! primary, where that is allowed.

mod aliases;
pub mod anchor;
mod cell;
pub mod change;
pub mod counters;
mod dispatch;
pub mod engine;
mod health;
pub mod identity;
pub mod incoming;
mod intake;
mod job;
pub mod limit;
pub mod memory;
mod names;
mod notes;
pub mod order;
pub mod outcome;
pub mod outgoing;
pub mod pace;
pub mod pair;
pub mod plan;
mod preview;
mod quiet;
mod resolve;
mod resolver;
pub mod rules;
pub mod sender;
mod settle;
pub mod target;
pub mod tls;
pub mod tokens;
mod worker;
mod writes;

pub use cell::Cell;
pub use change::Change;
pub use counters::Counters;
pub use dispatch::{Bounds, Retry};
pub use engine::{Closed, Config, Drained, Engine, StartError};
pub use identity::{Authorization, ClientCertificate, Identity};
pub use incoming::{Answer, AnswerError, AnswerLimits};
pub use limit::Limit;
pub use outcome::{Ambiguous, Delivered, Dropped, Filtered, Outcome, Outcomes, Subject};
pub use outgoing::{FieldError, FieldName, FieldValue, HostHeader, Rewrite, Unsendable};
pub use pace::{Clock, Pace, PerSecond, Spacing, Speed, Spread, Timings};
pub use preview::{Preview, preview};
pub use resolve::DocumentName;
pub use resolver::Resolve;
pub use sender::{Route, SendError, Sender, Sent, Timeouts, Timing};
pub use target::{Secret, SecretError, Target, TargetError};
pub use tls::{Trust, TrustError};
