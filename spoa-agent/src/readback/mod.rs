//! Kafka to exchanges: what was offloaded to a topic, or captured there by the original capture proxy, in the order
//! in which it happened.
//!
//! Reading order: `place` (which topic), `done` (what of a partition is done, in a few bytes), `account` (the same while
//! it changes), `merge` (partitions into one order), `group` (the consumer and its rebalances), `worker` (the thread that does it
//! all), `source` (the side of the replay). `look` reads without a group, `export` from files.
//!
//! # What is committed
//!
//! The committed offset of a partition is the lowest that is not done. What is done beyond it stands in the commit's
//! metadata, so that one exchange that takes long holds up nothing, and a restart repeats nothing: see [`Done`]. A commit
//! goes out when the replay has kept its own state, never before. Several processes may share a group; an
//! exchange then goes to one of them, and the order is kept within what one of them reads.
//!
//! # Order
//!
//! Within one agent's messages its journal's positions tell the order, between agents the time. A message is written when
//! its exchange is complete, so messages wait here for those that began before them: see `merge`.

mod account;
mod done;
mod export;
mod group;
mod ids;
mod look;
mod merge;
mod place;
mod source;
mod worker;

pub use self::done::Done;
pub use self::export::ExportSource;
pub use self::look::{Look, Looked, Start};
pub use self::place::{Offsets, Place};
pub use self::source::KafkaSource;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config;

/// How long a broker may take to answer a question.
const ANSWER: Duration = Duration::from_secs(30);

/// What is read, and as whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// How to reach the brokers.
    pub kafka: config::Kafka,
    /// The topic, and what the user said of it.
    pub place: Place,
    /// The name of the consumer group.
    pub group: String,
    /// Which offsets. Empty: all.
    pub offsets: BTreeMap<i32, Offsets>,
    /// Unix time in microseconds: nothing that was written before is read.
    pub since_us: Option<u64>,
    /// Go on at the end.
    pub follow: bool,
    /// Forget what the group has committed.
    pub restart: bool,
    /// What an earlier run kept, by partition.
    pub kept: BTreeMap<i32, Done>,
}
