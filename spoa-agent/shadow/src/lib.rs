//! Sends captured requests to one target: byte for byte, in order per client connection, in parallel
//! across client connections, and never more than it can hold.
//!
//! [`Engine`] takes [`exchange::Exchange`]s in journal order and tells an [`Outcome`] for each. It does
//! not read the journal and keeps no cursor: who feeds it does, and advances the cursor by the outcomes.
//! A body that is not whole is never sent.
//!
//! Delivery is at least once. An exchange is sent again after a failure, also when the target may have
//! done it; [`Delivered::attempts`] says so.
//!
//! Reading order: [`rules`] (what is meant for a target, pure), [`target`], [`outgoing`] and [`incoming`] (bytes, pure), [`sender`] (one connection),
//! [`lanes`] (the order), `health` and `dispatch` (what waits, and when the target is down; pure),
//! [`engine`] (the tasks), [`outcome`].

pub mod anchor;
mod aliases;
mod cell;
pub mod change;
pub mod counters;
mod dispatch;
pub mod engine;
mod health;
mod intake;
mod job;
pub mod memory;
mod names;
mod notes;
pub mod pair;
mod resolve;
mod settle;
mod worker;
mod writes;
pub mod identity;
pub mod incoming;
pub mod order;
pub mod lanes;
pub mod limit;
pub mod outcome;
pub mod outgoing;
pub mod pace;
pub mod plan;
mod quiet;
pub mod rules;
pub mod sender;
pub mod target;
pub mod tls;
pub mod tokens;

pub use cell::Cell;
pub use change::Change;
pub use counters::Counters;
pub use dispatch::{Bounds, Retry};
pub use engine::{Closed, Config, Drained, Engine, StartError};
pub use identity::{Authorization, ClientCertificate, Identity};
pub use incoming::{Answer, AnswerError, AnswerLimits};
pub use outcome::{Delivered, Doubtful, Dropped, Filtered, Outcome, Outcomes, Subject};
pub use resolve::DocumentName;
pub use lanes::{LaneKey, Lanes};
pub use limit::Limit;
pub use outcome::{Delivered, Dropped, Filtered, Outcome, Outcomes};
pub use outgoing::{FieldError, FieldName, FieldValue, HostHeader, Rewrite, Unsendable};
pub use pace::{Clock, Pace, PerSecond, Spacing, Speed, Spread, Timings};
pub use sender::{Route, SendError, Sender, Sent, Timeouts, Timing};
pub use target::{Secret, SecretError, Target, TargetError};
pub use tls::{Trust, TrustError};
