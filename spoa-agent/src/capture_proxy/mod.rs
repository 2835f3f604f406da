//! `spoa-agent capture-proxy`: the command line of the OpenSearch capture proxy, on HAProxy and this agent.
//!
//! It reads that command line ([`given`]), makes HAProxy's configuration and the agent's of it (`settings`, and
//! `kafka_properties` for a file written for the Java client), writes both into a state directory (`files`), and
//! hands them to the [`supervisor`](crate::supervisor). `README.md` beside this module is the guide, with every
//! option of the original and what becomes of it.

mod files;
pub mod given;
mod kafka_properties;
mod settings;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::config::Written;
use crate::supervisor::{AgentFailure, Haproxy, Plan};
use given::Given;
use settings::Settings;

/// How long clients' connections may take to end at a stop.
const DRAIN: Duration = Duration::from_secs(5);

/// What a command line comes to.
#[derive(Debug)]
pub struct Prepared {
    /// What to run.
    pub plan: Plan,
    /// Options that have no effect here, and why.
    pub notes: Vec<String>,
    /// Where everything is kept.
    pub state: PathBuf,
}

/// Everything that is wrong with a command line, one mistake a line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Mistakes(pub Vec<String>);

/// Writes the files for a command line, and checks what they say.
///
/// `environment` is the process's: the keys of the agent may be set there, as ever.
///
/// # Errors
///
/// [`Mistakes`] of the command line, [`Problems`](crate::config::Problems) of the agent's configuration, a HAProxy
/// that is not there, or a directory that cannot be written.
pub fn prepare(given: &Given, environment: &[(OsString, OsString)]) -> anyhow::Result<Prepared> {
    let state = settings::state_directory(given, environment)?;
    let settings = Settings::read(given, &state, environment)?;
    // First, because without one there is nothing to write files for.
    let haproxy = Haproxy::find(
        settings.haproxy.as_deref(),
        &state.join(files::HAPROXY_CONFIG),
    )?;
    files::write(&settings, &state)?;
    let agent_config = state.join(files::AGENT_CONFIG);
    let config = Written::default()
        .read_file(&agent_config)
        .env(environment.iter().cloned())
        .build()?;
    Ok(Prepared {
        plan: Plan {
            haproxy,
            agent: vec!["--config".into(), agent_config.into_os_string()],
            config,
            drain: DRAIN,
            // The node behind it must stay reachable, captured or not.
            agent_failure: AgentFailure::PassBy,
        },
        notes: settings.notes,
        state,
    })
}

/// A path from the root, as both programs need it.
fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path)
        .with_context(|| format!("cannot name {} from the root", path.display()))
}

#[cfg(test)]
mod tests;
