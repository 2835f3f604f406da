//! `spoa-agent replay`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueHint;
use shadow::{
    Authorization, FieldName, FieldValue, HostHeader, Identity, PerSecond, Rewrite, Secret,
    Spacing, Speed, Target, Trust,
};

use crate::config::{Log, LogFormat};
use crate::replay::{DryRun, From, Input, Options, Selection, Time};

/// Send an old capture to a cluster, at the pace of the capture or at another
///
/// Reads a journal, also while an agent writes to it, or traffic logs, and sends their requests to one or several
/// clusters. Due times are absolute: a cluster that is slow makes requests late, never rare, and how late they were is
/// told at the end.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  spoa-agent replay --from journal:/srv/journal --to http://shadow:9200
  spoa-agent replay --from journal:/srv/journal --to https://a:9200 --to https://b:9200 --speed 8 --state /srv/replay
  spoa-agent replay --from file:traffic.ndjson file:traffic.ndjson.1.gz --to http://shadow:9200 --rate 500
  spoa-agent replay --from file:- --to http://shadow:9200 --speed max < traffic.ndjson
  spoa-agent replay --from journal:/srv/journal --from-time -2h --limit 1000 --dry-run=full

While it runs, on a terminal: space pauses and resumes, + and - double and halve the speed, 1 is the original
speed, m is without limit, q stops. SIGUSR1 pauses and resumes. The socket of --control takes lines: pause, resume,
toggle, speed NUMBER, speed max, status, stop; each is answered with a line of JSON.

SIGINT or SIGTERM stops it when what is in flight is done, and saves the state; a second one ends it at once. With
--state, the same command goes on afterwards, also after a kill: at most what was done in the last half second is
sent again.

Exit codes: 0 everything was sent or not meant to be, 1 failed, 2 the arguments are wrong, 5 stopped before the
end, 6 some exchanges could not be sent (see `dropped`), 130 ended at once.")]
pub(super) struct Args {
    /// What to replay: journal:DIR, file:PATH, or file:- for the standard input; several files are put in order
    #[arg(long, required = true, num_args = 1.., value_name = "SOURCE", value_hint = ValueHint::AnyPath)]
    from: Vec<String>,
    /// Where to send it; may be given several times
    #[arg(long, num_args = 1.., value_name = "URL", value_hint = ValueHint::Url, required_unless_present = "dry_run")]
    to: Vec<Target>,
    /// How many times as fast as captured, or `max`: as fast as the target and the order allow
    #[arg(long, value_name = "NUMBER|max", default_value = "1")]
    speed: Speed,
    /// So many requests per second, evenly, instead of the distances of the capture
    #[arg(long, value_name = "PER-SECOND", conflicts_with_all = ["speed", "max_gap"])]
    rate: Option<PerSecond>,
    /// Shorten stretches without any request to this, in the time of the capture
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_gap: Option<Duration>,
    /// Only requests from this time on: RFC 3339, +10m after the capture's beginning, or -2h before now
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from_time: Option<Time>,
    /// Only requests before this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until_time: Option<Time>,
    /// Only so many exchanges
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// `now` in queries and index names is the time of the capture
    #[arg(long)]
    anchor_dates: bool,
    /// How far to read ahead of what is due; an exchange that took longer when it was captured is sent late
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    ahead: Duration,
    /// Directory that keeps how far the replay is, so that it can go on after an interruption
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    state: Option<PathBuf>,
    /// Begin anew, whatever --state has kept
    #[arg(long, requires = "state")]
    restart: bool,
    /// Print what would be sent, in order, and send nothing; `full` prints the heads too
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "lines")]
    dry_run: Option<Dry>,
    /// Unix socket that takes commands while the replay runs
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    control: Option<PathBuf>,
    /// Write the figures of the end to this file, as JSON
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    report: Option<PathBuf>,
    /// Send even to a target that looks like the primary
    #[arg(long)]
    force: bool,
    /// Most connections to each target
    #[arg(long, value_name = "NUMBER", default_value = "32", value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// How long a target may take to answer in full
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    response_timeout: Duration,
    /// The `Host` header that the targets see: `keep` the client's, `target` the target's own, or this one
    #[arg(long, value_name = "HOST", default_value = "keep", value_parser = host)]
    host: HostHeader,
    /// Header that carries the exchange's id to the targets
    #[arg(long, value_name = "NAME", default_value = "x-capture-id", value_parser = field_name)]
    id_header: FieldName,
    /// File with the value of the `authorization` header for the targets
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    authorization_file: Option<PathBuf>,
    /// File with the certificate authorities (PEM) that vouch for the targets
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "insecure")]
    ca_file: Option<PathBuf>,
    /// Do not verify the targets' certificates
    #[arg(long)]
    insecure: bool,
    /// What is logged: error, warn, info, debug, or directives by module
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Dry {
    /// A line for each request
    Lines,
    /// A line and the head
    Full,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    crate::replay::run(&args.meant()?)
}

impl Args {
    fn meant(self) -> anyhow::Result<Options> {
        let authorization = self.authorization_file.as_deref().map(secret).transpose()?;
        let rewrite = Rewrite {
            id_header: self.id_header,
            host: self.host,
            identity: Identity::new(
                authorization.map_or(Authorization::None, Authorization::Value),
            ),
            ..Rewrite::default()
        };
        let engine = self.to.first().map(|target| {
            let mut engine = shadow::Config::new(target.clone());
            engine.rewrite = rewrite.clone();
            engine.connections = self.connections.into();
            engine.timeouts.response = self.response_timeout;
            engine.trust = match (self.ca_file, self.insecure) {
                (_, true) => Trust::Anyone,
                (Some(path), false) => Trust::CaFile(path),
                (None, false) => Trust::System,
            };
            engine
        });
        let spacing = match self.rate {
            Some(rate) => Spacing::Rate(rate),
            None => Spacing::Captured {
                max_gap: self.max_gap,
            },
        };
        Ok(Options {
            from: source(&self.from)?,
            targets: self.to,
            spacing,
            speed: self.speed,
            selection: Selection {
                from: self.from_time,
                until: self.until_time,
                limit: self.limit,
            },
            ahead: self.ahead,
            anchor_dates: self.anchor_dates,
            state: self.state,
            restart: self.restart,
            force: self.force,
            engine,
            rewrite,
            control: self.control,
            report: self.report,
            dry_run: self.dry_run.map(|dry| match dry {
                Dry::Lines => DryRun::Lines,
                Dry::Full => DryRun::Full,
            }),
            log: Log {
                level: self.log_level,
                format: LogFormat::Auto,
            },
        })
    }
}

/// One journal, or files. Without a prefix, a directory is a journal and anything else a file.
fn source(texts: &[String]) -> anyhow::Result<From> {
    let mut journals = Vec::new();
    let mut files = Vec::new();
    for text in texts {
        match text.split_once(':') {
            Some(("journal", dir)) => journals.push(PathBuf::from(dir)),
            Some(("file", "-")) => files.push(Input::Standard),
            Some(("file", path)) => files.push(Input::File(path.into())),
            Some(("kafka", _)) => bail!(
                "--from {text}: a replay from Kafka is not there yet; use a journal or a file"
            ),
            _ if text == "-" => files.push(Input::Standard),
            _ if Path::new(text).is_dir() => journals.push(text.into()),
            _ => files.push(Input::File(text.into())),
        }
    }
    match (journals.len(), files.is_empty()) {
        (0, false) => Ok(From::Files(files)),
        (1, true) => Ok(From::Journal(journals.swap_remove(0))),
        _ => bail!(
            "--from takes one journal, or files, and not both: they would have no order among each other"
        ),
    }
}

fn secret(path: &Path) -> anyhow::Result<Secret> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read --authorization-file {}", path.display()))?;
    Secret::new(text.lines().next().unwrap_or_default())
        .with_context(|| format!("--authorization-file {}", path.display()))
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::config::duration(text).map_err(|fault| format!("{}; {}", fault.why, fault.way_out))
}

fn host(text: &str) -> Result<HostHeader, String> {
    match text {
        "keep" => Ok(HostHeader::Captured),
        "target" => Ok(HostHeader::Target),
        fixed => FieldValue::parse(fixed)
            .map(HostHeader::Fixed)
            .map_err(|error| error.to_string()),
    }
}

fn field_name(text: &str) -> Result<FieldName, String> {
    FieldName::parse(text).map_err(|error| error.to_string())
}
