//! `spoa-agent capture-proxy`.

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::exit::Exit;
use crate::capture_proxy::given::{CommandOption, Given, OPTIONS, Takes, dashed};
use crate::capture_proxy::{Mistakes, prepare};
use crate::supervisor;

/// Stand before one node as the OpenSearch capture proxy does, with its command line
///
/// Writes HAProxy's configuration and the agent's into a state directory, and runs both (as `supervise` does)
/// between the clients and one coordinator node. What is captured is in the journal there first, and then in
/// Kafka, in the format of the original, so that its replayer can read the topic. Every option may be
/// written as --kafkaConnection or --kafka-connection, and come from the environment, as
/// CAPTURE_PROXY_KAFKA_CONNECTION. Every key of the agent may be set there too, as SPOA_AGENT_JOURNAL_MAX_BYTES.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  spoa-agent capture-proxy --kafkaConnection kafka:9092 --destinationUri http://localhost:19200 --listenPort 9200
  spoa-agent capture-proxy --kafka-connection b-1.example:9098 --enable-msk-auth \\
      --destination-uri https://localhost:19200 --insecure-destination --listen-port 9200
  spoa-agent capture-proxy ... --suppressMethodAndPath 'GET /_c(at|luster)/.*' --check

Exit codes: 0 ended on a signal, 1 failed, 2 an option or the configuration is wrong, 130 ended at
once on a second signal, otherwise that of HAProxy when it ended for good.")]
pub(super) struct Args {
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Default)]
struct Options(Given);

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let environment: Vec<_> = std::env::vars_os().collect();
    let given = args.options.0.with_environment(&environment);
    let prepared = match prepare(&given, &environment) {
        Ok(prepared) => prepared,
        Err(error) => match error.downcast::<Mistakes>() {
            Ok(mistakes) => {
                super::complain(&mistakes.to_string());
                return Ok(Exit::Usage.into());
            }
            Err(error) => return Err(error),
        },
    };
    for note in &prepared.notes {
        super::complain(&format!("note: {note}"));
    }
    if !given.is_check() {
        return supervisor::run(prepared.plan);
    }
    if let Some(refusal) = prepared.plan.haproxy.refusal()? {
        super::complain(&refusal);
        return Ok(Exit::Usage.into());
    }
    super::complain(&format!(
        "both configurations in {} are accepted",
        prepared.state.display()
    ));
    Ok(Exit::Ok.into())
}

impl clap::Args for Options {
    fn augment_args(command: Command) -> Command {
        command.args(OPTIONS.iter().filter_map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Options {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Given::default();
        for option in OPTIONS {
            let Some(name) = option.names.first() else {
                continue;
            };
            if option.takes == Takes::Nothing {
                if matches.get_flag(name) {
                    given.set(name, Vec::new());
                }
            } else if let Some(values) = matches.get_many::<String>(name) {
                given.set(name, values.cloned().collect());
            }
        }
        Ok(Self(given))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn arg(option: &'static CommandOption) -> Option<Arg> {
    let (name, others) = option.names.split_first()?;
    let mut aliases: Vec<String> = option
        .names
        .iter()
        .map(|name| dashed(name))
        .chain(others.iter().map(|&name| name.to_owned()))
        .filter(|alias| alias != name)
        .collect();
    aliases.dedup();
    let arg = Arg::new(*name)
        .long(*name)
        .visible_aliases(aliases)
        .help(option.help)
        .help_heading(if option.is_ours {
            "Not in the original"
        } else {
            "As the original"
        });
    Some(match option.takes {
        Takes::Nothing => arg.action(ArgAction::SetTrue),
        Takes::One(value) => arg.action(ArgAction::Set).value_name(value),
        Takes::Two(one, other) => arg
            .action(ArgAction::Append)
            .num_args(2)
            .allow_hyphen_values(true)
            .value_names([one, other]),
    })
}
