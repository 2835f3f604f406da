//! `spoa-agent dead-letter`: looks at what was given up, and sends it again. Also while an agent appends.

mod ls;
mod retry;
mod show;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::ValueHint;

use super::exit::Exit;
use super::{flags, table, time};
use crate::config::{CONFIG_ENV, Config, Written};
use crate::dead_letter::{self, Letter};

/// Look at what the shadow did not take, and send it again
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Ls(ls::Args),
    Show(show::Args),
    Retry(retry::Args),
}

impl Args {
    pub(super) fn print(self, out: &mut impl Write) -> anyhow::Result<Exit> {
        match self.command {
            Command::Ls(args) => args.print(out),
            Command::Show(args) => args.print(out),
            Command::Retry(args) => args.print(out),
        }
    }
}

/// Which file.
#[derive(Debug, clap::Args)]
struct Which {
    /// File of the letters; without it, the one that the agent's configuration names
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// Configuration file that names the file, and the shadow
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, env = CONFIG_ENV, hide_env_values = true)]
    config: Option<PathBuf>,
}

impl Which {
    fn config(&self) -> anyhow::Result<Config> {
        let written: Written = flags::of_file(self.config.clone());
        Ok(written.build()?)
    }

    /// The file's path. The configuration is only read when it is needed: a file that was copied to another
    /// machine can be looked at there.
    fn path(&self) -> anyhow::Result<PathBuf> {
        match &self.file {
            Some(path) => Ok(path.clone()),
            None => Ok(dead_letter::path(&self.config()?)),
        }
    }

    /// The letters, oldest first. What is no letter is told on the standard error.
    fn letters(&self) -> anyhow::Result<impl Iterator<Item = Letter> + use<>> {
        let path = self.path()?;
        let letters = dead_letter::read(&path)
            .with_context(|| format!("cannot read the dead letters in {}", path.display()))?;
        Ok(letters.filter_map(|letter| match letter {
            Ok(letter) => Some(letter),
            Err(error) => {
                super::complain(&format!("{error}"));
                None
            }
        }))
    }
}

/// Method and target. Bytes that are not printable ASCII are escaped.
fn request_line(letter: &Letter) -> String {
    let request = &letter.pair.request;
    format!(
        "{} {}",
        request.method.escape_ascii(),
        request.target.escape_ascii()
    )
}

/// Why it was given up: the ledger's word, and what went wrong last.
fn cause(letter: &Letter) -> String {
    match &letter.pair.dropped {
        None => "none".to_owned(),
        Some(dropped) if dropped.cause.is_empty() => dropped.reason.clone().into_owned(),
        Some(dropped) => format!("{}: {}", dropped.reason, dropped.cause),
    }
}
