//! The configuration: what was written (a TOML file, the environment, flags), and what it means.
//!
//! [`keys`](mod@keys) holds one table. From it come the fields of [`Config`], the flags, the environment
//! variables, the commented example, the manual page and the suggestions for a misspelt key, so none
//! of them can know a key that the others do not. [`Written`] collects the three sources with the
//! place of each value; [`Written::build`] turns them into a [`Config`] or into every [`Problem`] at
//! once. After that nothing in a [`Config`] can be wrong by itself; whether a directory can be
//! written to or a host name resolves is asked by `spoa-agent check` and found out by
//! `spoa-agent run`.
//!
//! This module never opens anything but the configuration file, and never reads a secret: keys that
//! concern one hold the path of a file.

mod cross;
mod example;
mod kafka;
mod keys;
mod kind;
mod problem;
mod written;

pub use example::example;
pub use kafka::{Compression, Hold, MessageFormat, MessageKey, Properties, Sasl, Security};
pub use keys::{
    Admin, Capture, Config, DeadLetter, Journal, Kafka, Key, Log, PairLog, Pairing, Process,
    SECTIONS, Section, Server, Shadow, Shutdown, TrafficLog, keys,
};
pub use kind::{
    AckLevel, Begin, CredentialsKind, Ids, LetterWhenFull, Listen, LogFormat, Output, PairsTo,
    ResolveBy, Shape, WhenFull, show_duration, show_size,
};
pub(crate) use kind::{duration, size};
pub use problem::{Origin, Problem, Problems};
pub(crate) use written::Examined;
pub use written::{CONFIG_ENV, DEFAULT_FILE, Written};

#[cfg(test)]
mod tests;
