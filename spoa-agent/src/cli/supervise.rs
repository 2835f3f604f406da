//! `spoa-agent supervise`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueHint;

use super::flags::ConfigFlags;
use super::haproxy_config::read_duration;
use crate::supervisor::{self, AgentFailure, Haproxy, Plan};

/// Run HAProxy and the agent together, as one service or container
///
/// Starts the agent (`spoa-agent run` with the same configuration) and HAProxy, and starts again what ends. When
/// the agent is away, HAProxy stays and lets the traffic pass by. A program that ends 10 times within 60 s, or
/// whose configuration is wrong, ends the whole, with its exit code.
///
/// SIGTERM and SIGINT end HAProxy's listeners, then its connections, then the agent; a second one ends all at
/// once. Whoever stops it must give it --drain and shutdown.deadline, 15 s in all (`docker stop --time 20`). SIGHUP and SIGUSR2 let HAProxy read its configuration again, when `haproxy -c` accepts it, and the agent
/// its rules and credentials. HAProxy's lines go into the agent's log, under the target haproxy. May be process 1
/// of a container; needs no root, and writes no file but the agent's own.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  spoa-agent supervise --haproxy-config /etc/haproxy --config /etc/spoa-agent/config.toml
  spoa-agent supervise --haproxy-config /run/haproxy/haproxy.cfg --log-format json
  spoa-agent healthcheck --haproxy-config /etc/haproxy

Exit codes: 0 ended on a signal, 2 a configuration is wrong, 130 ended at once on a second signal,
otherwise that of the program that ended for good (128 and the signal, when one ended it).")]
pub(super) struct Args {
    /// HAProxy's configuration: haproxy.cfg, or the directory that it is in
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, help_heading = "Supervision")]
    haproxy_config: PathBuf,
    /// HAProxy's program [default: haproxy in PATH, /usr/sbin or /usr/local/sbin]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::ExecutablePath, help_heading = "Supervision")]
    haproxy: Option<PathBuf>,
    /// How long HAProxy's open connections may take to end
    #[arg(long, value_name = "DURATION", value_parser = read_duration, default_value = "5s", help_heading = "Supervision")]
    drain: Duration,
    /// What to do about an agent that ends again and again
    #[arg(
        long,
        value_name = "WHAT",
        value_enum,
        default_value_t,
        help_heading = "Supervision"
    )]
    agent_failure: AgentFailure,
    #[command(flatten)]
    flags: ConfigFlags,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let agent = args.flags.arguments();
    let config = args.flags.written().build()?;
    supervisor::run(Plan {
        haproxy: Haproxy::find(args.haproxy.as_deref(), &args.haproxy_config)?,
        agent,
        config,
        drain: args.drain,
        agent_failure: args.agent_failure,
    })
}
