//! Turns [`Options`] into the two files that HAProxy needs to capture traffic for the agent:
//! `haproxy.cfg` and `spoe.cfg`.
//!
//! The text lives in `templates/`, where an HAProxy administrator can read it; this crate fills
//! it in and finds every mistake in the options first. It reads no file, opens no socket, and
//! never starts HAProxy. What each line does, and which ones to change, is in `README.md`
//! beside this crate; what the agent receives is described there as "The contract".
//!
//! ```
//! use haproxy_config::{Options, generate};
//!
//! let options = Options { nodes: vec!["10.0.0.1:9200".parse()?], ..Options::default() };
//! let files = generate(&options)?;
//! assert!(files.haproxy_cfg.contains("server 10.0.0.1:9200 10.0.0.1:9200"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod check;
mod options;
mod problem;
mod request;
mod template;
mod text;

pub use address::{AgentAddress, Listen, LogTarget, Node};
pub use options::{
    DEFAULT_READS, Hold, MAX_BODY_LIMIT, Options, ROOM_FOR_HEADERS, Role, TargetVersion,
};
pub use problem::{Problem, Problems};
pub use request::{SetHeader, SkipCapture};

/// The text of both files. Write them where [`Options::spoe_file`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The main configuration: `haproxy -f` takes it.
    pub haproxy_cfg: String,
    /// The messages to the agent; `haproxy_cfg` names it in its `filter spoe` lines.
    pub spoe_cfg: String,
}

/// Writes both files.
///
/// # Errors
///
/// Everything that is wrong with the options, at once. What passes is accepted by
/// `haproxy -c`, provided that the files it names and the node names it must resolve exist.
pub fn generate(options: &Options) -> Result<Files, Problems> {
    check::check(options)?;
    Ok(text::write(options))
}
