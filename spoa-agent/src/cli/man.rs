//! `spoa-agent man`.

use std::io::Write;

use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::exit::{CODES, Exit};
use crate::config::{DEFAULT_FILE, Key, SECTIONS};

/// Print the manual page, with every key of the configuration
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  spoa-agent man | man -l -
  spoa-agent man > /usr/local/share/man/man1/spoa-agent.1")]
pub(super) struct Args {}

impl Args {
    pub(super) fn print(self, out: &mut impl Write) -> anyhow::Result<Exit> {
        out.write_all(&page()?)?;
        out.flush()?;
        Ok(Exit::Ok)
    }
}

const FILES: &[(&str, &str)] = &[
    (
        DEFAULT_FILE,
        "The configuration, when --config and SPOA_AGENT_CONFIG name no other.",
    ),
    (
        "/var/lib/spoa-agent/journal",
        "The journal: segments, one file per cursor, and a lock file. Directory mode 0700, file mode 0600.",
    ),
    (
        "/var/lib/spoa-agent/journal/dead-letters.ndjson",
        "What the shadow did not take, when dead_letter.path names no other file. File mode 0600.",
    ),
];

const SIGNALS: &[(&str, &str)] = &[
    (
        "SIGTERM, SIGINT",
        "End in order: tell HAProxy, serve what is under way, save the cursors, sync the journal; at most \
         shutdown.deadline. A second one ends the agent at once; the journal then recovers at the next start.",
    ),
    ("SIGUSR1", "Pauses and resumes a replay."),
    (
        "SIGPIPE",
        "Is ignored: a reader that goes away is not an error.",
    ),
];

const EXAMPLES: &[(&str, &str)] = &[
    (
        "spoa-agent haproxy-config --node 10.0.0.1:9200 --out /etc/haproxy",
        "Write HAProxy's side.",
    ),
    (
        "spoa-agent check --config config.toml",
        "Find out what is wrong, all at once.",
    ),
    ("spoa-agent run --config config.toml", "Capture."),
    (
        "spoa-agent run --shadow-url https://shadow:9200",
        "Capture with the defaults, and mirror.",
    ),
    (
        "spoa-agent replay --from journal:/srv/journal --to http://shadow:9200 --speed 8",
        "Send what was captured to a cluster, eight times as fast.",
    ),
    (
        "spoa-agent journal cat --follow",
        "See what is captured, one JSON line per exchange.",
    ),
];

/// The page in roff.
fn page() -> std::io::Result<Vec<u8>> {
    let mut command = super::command();
    command.build();
    let man = Man::new(command.clone())
        .title("SPOA-AGENT")
        .manual("spoa-agent manual");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    commands(&command).to_writer(&mut page)?;
    configuration().to_writer(&mut page)?;
    exit_status().to_writer(&mut page)?;
    for (title, entries) in [
        ("FILES", FILES),
        ("SIGNALS", SIGNALS),
        ("EXAMPLES", EXAMPLES),
    ] {
        section(title, entries).to_writer(&mut page)?;
    }
    Ok(page)
}

/// Every subcommand with its own arguments; those of the configuration have a section of their own.
fn commands(command: &clap::Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for subcommand in command.get_subcommands() {
        subcommand_with_arguments(&mut roff, "spoa-agent", subcommand);
    }
    roff
}

fn subcommand_with_arguments(roff: &mut Roff, parent: &str, command: &clap::Command) {
    if command.get_name() == "help" || command.is_hide_set() {
        return;
    }
    let name = format!("{parent} {}", command.get_name());
    roff.control("SS", [name.as_str()]);
    let about = command.get_long_about().or_else(|| command.get_about());
    roff.text([roman(about.map(ToString::to_string).unwrap_or_default())]);
    for argument in command.get_arguments().filter(|argument| is_own(argument)) {
        roff.control("TP", []);
        roff.text([bold(label(argument))]);
        roff.text([roman(
            argument
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default(),
        )]);
    }
    for subcommand in command.get_subcommands() {
        subcommand_with_arguments(roff, &name, subcommand);
    }
}

fn is_own(argument: &clap::Arg) -> bool {
    let id = argument.get_id().as_str();
    !id.contains('.') && id != "help" && id != "version"
}

fn label(argument: &clap::Arg) -> String {
    let values = argument.get_value_names().unwrap_or_default();
    let value = values
        .iter()
        .map(|name| name.to_string())
        .collect::<Vec<_>>()
        .join(" ");
    match argument.get_long() {
        Some(long) if argument.get_action().takes_values() => format!("--{long} {value}"),
        Some(long) => format!("--{long}"),
        None => value,
    }
}

fn configuration() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["CONFIGURATION"]);
    roff.text([roman(
        "Each key below is a key of the TOML file, a flag of run and check, and an environment variable. A \
         flag wins over the environment, the environment over the file, the file over the default. Unknown \
         keys and unknown SPOA_AGENT_ variables are refused. Lists are arrays in the file, and have commas \
         between their items elsewhere; a flag for a list may be repeated.",
    )]);
    for section in SECTIONS {
        roff.control("SS", [format!("[{}]", section.name).as_str()]);
        roff.text([roman(section.doc())]);
        for key in section.keys {
            describe(&mut roff, key);
        }
    }
    roff
}

fn describe(roff: &mut Roff, key: &Key) {
    let default = if key.default.is_empty() {
        "none"
    } else {
        key.default
    };
    roff.control("TP", []);
    roff.text([bold(key.path), roman(" = "), italic(key.placeholder())]);
    roff.text([roman(key.doc())]);
    roff.control("RS", []);
    let lines: [(&str, Inline); 4] = [
        ("Takes ", roman(key.accepts())),
        ("Default: ", bold(default)),
        ("Flag: ", bold(format!("--{}", key.flag()))),
        ("Environment: ", bold(key.env())),
    ];
    for (label, value) in lines {
        roff.control("br", []);
        roff.text([roman(label), value]);
    }
    roff.control("RE", []);
}

fn exit_status() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (exit, meaning) in CODES {
        roff.control("TP", []);
        roff.text([bold(exit.code().to_string())]);
        roff.text([roman(*meaning)]);
    }
    roff
}

fn section(title: &str, entries: &[(&str, &str)]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    for (term, meaning) in entries {
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text([roman(*meaning)]);
    }
    roff
}
