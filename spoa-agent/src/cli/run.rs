//! `spoa-agent run`.

use std::process::ExitCode;

use super::flags::ConfigFlags;

/// Listen for HAProxy, capture into the journal, and run the followers
///
/// Listens for HAProxy, writes what it tells to the journal, and runs the followers: the traffic log
/// when traffic_log.path is set, the shadow when shadow.url is set. SIGTERM or SIGINT ends it in
/// order within shutdown.deadline; a second signal ends it at once.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  spoa-agent run --config /etc/spoa-agent/config.toml
  spoa-agent run --journal-dir /srv/journal --traffic-log-path -
  SPOA_AGENT_SHADOW_URL=https://shadow:9200 spoa-agent run --journal-ack sync

Exit codes: 0 ended on a signal, 1 failed, 2 the configuration is wrong, 3 another agent has the journal open.")]
pub(super) struct Args {
    #[command(flatten)]
    flags: ConfigFlags,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.flags.written().build()?;
    crate::run::run(config)
}
