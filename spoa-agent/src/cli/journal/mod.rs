//! `spoa-agent journal`: looks into a journal, also while an agent writes to it.
//!
//! None of these commands takes the journal's lock, holds a segment back or changes a byte.

mod ambiguous;
mod cat;
mod ls;
mod stats;
mod verify;

use std::io::Write;
use std::path::PathBuf;

use clap::ValueHint;

use super::exit::Exit;
use super::flags;
use super::time;
use crate::config::{CONFIG_ENV, Written};

/// Look into a journal, also while an agent writes to it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Ls(ls::Args),
    Cat(cat::Args),
    Verify(verify::Args),
    Stats(stats::Args),
    Ambiguous(ambiguous::Args),
}

impl Args {
    pub(super) fn print(self, out: &mut impl Write) -> anyhow::Result<Exit> {
        match self.command {
            Command::Ls(args) => args.print(out),
            Command::Cat(args) => args.print(out),
            Command::Verify(args) => args.print(out),
            Command::Stats(args) => args.print(out),
            Command::Ambiguous(args) => args.print(out),
        }
    }
}

/// Which journal.
#[derive(Debug, clap::Args)]
struct Which {
    /// Directory of the journal; without it, the one that the agent's configuration names
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, env = "SPOA_AGENT_JOURNAL_DIR", hide_env_values = true)]
    journal_dir: Option<PathBuf>,
    /// Configuration file that names the journal's directory
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, env = CONFIG_ENV, hide_env_values = true)]
    config: Option<PathBuf>,
}

impl Which {
    /// The directory. The configuration is only read when it is needed: a journal that was copied to
    /// another machine can be looked at there.
    fn dir(self) -> anyhow::Result<PathBuf> {
        if let Some(dir) = self.journal_dir {
            return Ok(dir);
        }
        let written: Written = flags::of_file(self.config);
        Ok(written.build()?.journal.dir)
    }
}

/// Unix time in microseconds, now.
fn now() -> u64 {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    elapsed
        .ok()
        .and_then(|elapsed| u64::try_from(elapsed.as_micros()).ok())
        .unwrap_or(0)
}
