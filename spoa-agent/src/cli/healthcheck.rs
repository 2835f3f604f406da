//! `spoa-agent healthcheck`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueHint;

use super::exit::Exit;
use super::flags::ConfigFlags;
use super::haproxy_config::read_duration;
use crate::supervisor;

/// Ask HAProxy and the agent whether they serve, as a container's health check
///
/// Connects to the addresses of HAProxy's bind lines, and asks the agent's /healthz, unless admin.listen is empty.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  spoa-agent healthcheck --haproxy-config /etc/haproxy --config /etc/spoa-agent/config.toml
  HEALTHCHECK CMD [\"spoa-agent\", \"healthcheck\", \"--haproxy-config\", \"/run/haproxy\"]

Exit codes: 0 both serve, 1 one of them does not, 2 the configuration is wrong.")]
pub(super) struct Args {
    /// HAProxy's configuration: haproxy.cfg, or the directory that it is in
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, help_heading = "Supervision")]
    haproxy_config: PathBuf,
    /// How long each may take to answer
    #[arg(long, value_name = "DURATION", value_parser = read_duration, default_value = "2s", help_heading = "Supervision")]
    patience: Duration,
    #[command(flatten)]
    flags: ConfigFlags,
}

impl Args {
    pub(super) fn print(self, out: &mut impl Write) -> anyhow::Result<Exit> {
        let config = self.flags.written().build()?;
        let faults = supervisor::faults(
            &self.haproxy_config,
            config.admin.listen.as_deref(),
            self.patience,
        );
        for fault in &faults {
            writeln!(out, "{fault}")?;
        }
        out.flush()?;
        Ok(if faults.is_empty() {
            Exit::Ok
        } else {
            Exit::Failure
        })
    }
}
