//! An HAProxy SPOE agent that captures every request and response of a search cluster.
//!
//! The data goes one way, and the modules are its stations:
//!
//! [`server`] takes frames from HAProxy; [`capture`] makes halves of them and appends these to the
//! journal; each [`follower`] reads the journal at its own pace: [`traffic_log`] writes a line per
//! exchange, [`mirror`] hands exchanges to the shadow engine, [`pair_log`] writes a line about what came of
//! each there, and [`dead_letter`] keeps what was given up; [`offload`] sends both to Kafka, [`readback`] reads them
//! from there, and [`broker_check`] says what is wrong between the two. [`replay`] sends an old capture through the same
//! engine, and [`tail`] shows what is captured. [`reload`] reads rules and credentials again. [`run`] puts the parts
//! together and takes them apart in order, [`supervisor`] runs that beside HAProxy, and [`capture_proxy`] writes the
//! configuration of both for it. [`config`] is what the user wants, [`cli`] how it is said, [`telemetry`] what the operator sees.
//!
//! What can live without sockets or files is in crates of its own: `spop-codec`, `exchange`, `journal`,
//! `shadow`, and `haproxy-config`.

pub mod ambiguous;
pub mod broker_check;
pub mod capture;
pub mod capture_proxy;
pub mod cli;
pub mod config;
pub mod dead_letter;
pub mod follower;
mod identity;
pub mod line_log;
pub mod mirror;
pub mod offload;
pub mod pair_log;
pub mod readback;
pub mod reload;
pub mod replay;
mod rules_file;
pub mod run;
pub mod server;
pub mod supervisor;
pub mod tail;
pub mod telemetry;
pub mod traffic_log;
