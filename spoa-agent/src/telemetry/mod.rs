//! What the agent tells its operators: metrics, log lines, and a small HTTP server for both.
//!
//! [`metrics`] names every metric, [`throttle`] keeps repeated log lines few, [`logging`] sets the log
//! up, [`admin`] serves `/metrics`, `/healthz`, `/readyz` and `/ledger`, and [`sd_notify`] tells systemd.
//! Nothing here is global: a registry is made by whoever starts the agent and handed in. Nothing
//! here holds a path, an id, a header or a body of the traffic.

pub mod admin;
mod histogram;
pub mod logging;
pub mod metrics;
mod process;
pub mod sd_notify;
pub mod throttle;
