//! The command line: one file per subcommand.
//!
//! This module reads arguments, calls what does the work, and turns the result into an exit code
//! ([`exit`]). It decides nothing about traffic.

mod capture_proxy;
mod check;
mod completions;
mod dead_letter;
pub mod exit;
mod flags;
mod haproxy_config;
mod healthcheck;
mod journal;
mod kafka_check;
mod launch;
mod man;
mod replay;
mod run;
mod supervise;
mod table;
mod tail;

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::{Command, CommandFactory as _, Parser, Subcommand};

use crate::config::Problems;
use exit::Exit;

/// What the arguments say.
#[derive(Debug, Parser)]
#[command(
    name = "spoa-agent",
    version,
    about = "Captures what HAProxy sees into a journal on disk; mirrors, logs and offloads it from there",
    long_about = "Captures every request and response that HAProxy sees into a journal on disk; mirrors, logs and \
                  offloads them to Kafka from there.\n\nHAProxy sends them over SPOE and waits only for the agent's ACK. \
                  Everything else follows the journal at its own pace, so a slow shadow or Kafka costs the client \
                  nothing.",
    after_long_help = exit::HELP,
    max_term_width = 100,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    Run(run::Args),
    Supervise(Box<supervise::Args>),
    Healthcheck(Box<healthcheck::Args>),
    CaptureProxy(capture_proxy::Args),
    Launch(launch::Args),
    Check(check::Args),
    Replay(Box<replay::Args>),
    HaproxyConfig(Box<haproxy_config::Args>),
    Tail(Box<tail::Args>),
    KafkaCheck(Box<kafka_check::Args>),
    Journal(journal::Args),
    DeadLetter(dead_letter::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Runs the command that `arguments` name; the first of them is the program's own name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match cli.command {
        Subcommands::Run(args) => run::run(args).unwrap_or_else(|error| failed(&error).into()),
        Subcommands::Supervise(args) => {
            supervise::run(*args).unwrap_or_else(|error| failed(&error).into())
        }
        Subcommands::CaptureProxy(args) => {
            capture_proxy::run(args).unwrap_or_else(|error| failed(&error).into())
        }
        Subcommands::Launch(args) => match launch::run(args) {
            Ok(never) => match never {},
            Err(error) => failed(&error).into(),
        },
        Subcommands::Healthcheck(args) => printed(|out| args.print(out)),
        Subcommands::Replay(args) => {
            replay::run(*args).unwrap_or_else(|error| failed(&error).into())
        }
        Subcommands::Check(args) => printed(|out| args.print(out)),
        Subcommands::HaproxyConfig(args) => printed(|out| args.print(out)),
        Subcommands::Tail(args) => printed(|out| args.print(out)),
        Subcommands::KafkaCheck(args) => printed(|out| args.print(out)),
        Subcommands::Journal(args) => printed(|out| args.print(out)),
        Subcommands::DeadLetter(args) => printed(|out| args.print(out)),
        Subcommands::Completions(args) => printed(|out| args.print(out)),
        Subcommands::Man(args) => printed(|out| args.print(out)),
    }
}

/// Runs a command that prints and ends. `run` is none: the lock is held to the end, and the traffic
/// log may write to the standard output from another thread.
fn printed(print: impl FnOnce(&mut Stdout) -> anyhow::Result<Exit>) -> ExitCode {
    print(&mut BufWriter::new(io::stdout().lock()))
        .unwrap_or_else(|error| failed(&error))
        .into()
}

/// The standard output, in blocks: a journal has many lines.
type Stdout = BufWriter<io::StdoutLock<'static>>;

/// The whole command line, for completions, the manual and tests.
fn command() -> Command {
    Cli::command()
}

/// Shows help or what is wrong with the arguments.
fn usage(error: &clap::Error) -> ExitCode {
    // Whoever closed the other end does not want to read it.
    error.print().unwrap_or_default();
    if error.use_stderr() {
        Exit::Usage.into()
    } else {
        Exit::Ok.into()
    }
}

fn failed(error: &anyhow::Error) -> Exit {
    if is_broken_pipe(error) {
        return Exit::Ok;
    }
    if let Some(problems) = error.downcast_ref::<Problems>() {
        complain(&problems.to_string());
        return Exit::Usage;
    }
    complain(&format!("spoa-agent: {}", causes(error)));
    Exit::of(error)
}

/// The error with its causes, each said once: some errors repeat their cause in their own words.
fn causes(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if said.ends_with(&cause) {
            continue;
        }
        if !said.is_empty() {
            said.push_str(": ");
        }
        said.push_str(&cause);
    }
    said
}

/// Whether the reader of our output has gone, as `| head` does.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_it = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
    error
        .chain()
        .any(|cause| cause.downcast_ref().is_some_and(is_it))
}

/// Writes a line to the standard error.
fn complain(line: &str) {
    // When that is closed there is nobody left to tell.
    writeln!(io::stderr(), "{line}").unwrap_or_default();
}

/// Unix time in microseconds as RFC 3339, in UTC.
pub(crate) fn time(micros: u64) -> String {
    let timestamp = i64::try_from(micros).ok().and_then(|micros| {
        let time = jiff::Timestamp::from_microsecond(micros).ok()?;
        Some(format!("{time:.3}"))
    });
    timestamp.unwrap_or_else(|| format!("{micros}us"))
}

#[cfg(test)]
mod tests;
