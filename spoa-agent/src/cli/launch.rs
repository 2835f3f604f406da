//! `spoa-agent launch`, which nobody types: becomes another program that ends with its parent.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// Become a program that ends when its parent does
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(super) struct Args {
    /// The parent
    #[arg(long)]
    parent: i32,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<OsString>,
}

pub(super) fn run(args: Args) -> anyhow::Result<Infallible> {
    let parent = Pid::from_raw(args.parent.max(0));
    set_parent_process_death_signal(Some(Signal::TERM))
        .context("cannot ask to end with the parent")?;
    // It may have gone before it was asked for.
    if getppid() != parent {
        bail!("the supervisor has gone");
    }
    let mut command = args.command.into_iter();
    let program = command.next().context("there is no program to become")?;
    let error = Command::new(&program).args(command).exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}
