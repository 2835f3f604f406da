//! `spoa-agent replay`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueHint;
use shadow::identity::Credentials;
use shadow::order::Level;
use shadow::plan::Refused;
use shadow::{
    Authorization, Cell, ClientCertificate, FieldName, FieldValue, HostHeader, Identity, PerSecond,
    Rewrite, Spacing, Speed, Target, Trust,
};

use super::flags;
use crate::config::{CONFIG_ENV, CredentialsKind, Kafka, Log, LogFormat, Written, keys};
use crate::identity::{self, CredentialsFile};
use crate::readback::{Offsets, Place};
use crate::replay::{DryRun, From, Input, Options, Selection, Time, Topic};
use crate::rules_file;

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
  spoa-agent replay --from journal:/srv/journal --to http://shadow:9200 --rules rules.toml --pairs pairs.ndjson
  spoa-agent replay --from journal:/srv/journal --from-time -2h --limit 1000 --dry-run=full
  spoa-agent replay --from kafka:broker-1:9092/captured-traffic --to http://shadow:9200 --follow
  spoa-agent replay --config agent.toml --from kafka:/captured-traffic --to http://shadow:9200 --offsets 0:100-200

While it runs, on a terminal: space pauses and resumes, + and - double and halve the speed, 1 is the original
speed, m is without limit, q stops. SIGUSR1 pauses and resumes. The socket of --control takes lines: pause, resume,
toggle, speed NUMBER, speed max, status, stop; each is answered with a line of JSON.

SIGINT or SIGTERM stops it when what is in flight is done, and saves the state; a second one ends it at once. With
--state, the same command goes on afterwards, also after a kill: at most what was done in the last half second is
sent again, and of that nothing whose effect would double, such as a scripted update.

From Kafka, the replay is a consumer group. An offset is committed when all before it is done; what is done beyond it stands in
the commit's metadata, so that one slow exchange holds up nothing and a restart repeats nothing. With
kafka:HOST:PORT/TOPIC?window=5s exchanges that overlap by more than that may change places, and a replay that follows is
so much later. How to reach the brokers is said by the section [kafka] of --config; librdkafka's properties may
stand behind the `?`, too.

What the capture does not tell is sent as well as can be, and listed as ambiguous: writes whose answer was lost, and
documents that an update or delete by query met while others wrote them.

Exit codes: 0 everything was sent or not meant to be, 1 failed, 2 the arguments are wrong, 5 stopped before the
end, 6 some exchanges could not be sent (see `dropped`), 130 ended at once.")]
pub(super) struct Args {
    /// What to replay: journal:DIR, file:PATH, file:- for the standard input, kafka:HOST:PORT/TOPIC,
    /// or traffic-stream:PATH, which a capture proxy's topic was exported to; several files are put in order
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
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        visible_alias = "since"
    )]
    from_time: Option<Time>,
    /// Only requests before this time
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        visible_alias = "until"
    )]
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
    /// Begin anew, whatever --state has kept or the group has committed
    #[arg(long)]
    restart: bool,
    /// Go on with what comes into the topic
    #[arg(long)]
    follow: bool,
    /// The consumer group; without it, one of its own for each topic, target and selection
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Only these offsets of these partitions of the topic, both included, such as 0:100-200,1:50-
    #[arg(long, value_name = "PARTITION:OFFSETS", value_delimiter = ',', value_parser = offsets)]
    offsets: Vec<(i32, Offsets)>,
    /// Configuration file whose `kafka` section says how to reach the brokers
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, env = CONFIG_ENV, hide_env_values = true)]
    config: Option<PathBuf>,
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
    /// How much of the primary's order to keep: `causal` leaves the target's documents as the primary's, `connection`
    /// keeps the order of each client connection, `none` is for load only
    #[arg(long, value_name = "LEVEL", default_value = "causal")]
    order: Order,
    /// What becomes of writes that the primary refused: `leave` them out, or `send` them as they were captured
    #[arg(long, value_name = "HOW", default_value = "leave")]
    refused: OfRefused,
    /// File of rules, as shadow.rules_file of the agent: what is sent, under which names, with which headers
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    rules: Option<PathBuf>,
    /// Append a line of JSON for each request that was answered, with the primary's answer and the target's
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pairs: Option<PathBuf>,
    /// What --credentials-file holds, as shadow.credentials of the agent says it
    #[arg(long, value_name = "KIND", requires = "credentials_file")]
    credentials: Option<Kind>,
    /// File with the credentials for the targets; its mode should be 0600
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "credentials",
        conflicts_with = "authorization_file")]
    credentials_file: Option<PathBuf>,
    /// AWS region that signatures are for
    #[arg(long, value_name = "REGION", required_if_eq("credentials", "sigv4"))]
    sigv4_region: Option<String>,
    /// AWS service that signatures are for: es or aoss
    #[arg(long, value_name = "SERVICE", default_value = "es", value_parser = ["es", "aoss"])]
    sigv4_service: String,
    /// File with the value of the `authorization` header for the targets
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    authorization_file: Option<PathBuf>,
    /// Our certificate, in PEM, for targets that ask for one
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "client_key_file")]
    client_cert_file: Option<PathBuf>,
    /// The key of the certificate, in PEM, not encrypted
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "client_cert_file")]
    client_key_file: Option<PathBuf>,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Order {
    Causal,
    Connection,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum OfRefused {
    Leave,
    Send,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Basic,
    ApiKey,
    Bearer,
    Sigv4,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    crate::replay::run(&args.meant()?)
}

impl Args {
    fn meant(self) -> anyhow::Result<Options> {
        let from = self.source()?;
        if self.restart && self.state.is_none() && !matches!(from, From::Kafka(_)) {
            bail!("--restart forgets what --state has kept, and there is no --state");
        }
        let engine = self.engine()?;
        let spacing = match self.rate {
            Some(rate) => Spacing::Rate(rate),
            None => Spacing::Captured {
                max_gap: self.max_gap,
            },
        };
        Ok(Options {
            from,
            targets: self.to,
            spacing,
            speed: self.speed,
            selection: Selection {
                from: self.from_time,
                until: self.until_time,
                limit: self.limit,
            },
            ahead: self.ahead,
            state: self.state,
            restart: self.restart,
            force: self.force,
            engine,
            pairs: self.pairs,
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

impl Args {
    /// A topic, or what [`source`] says.
    fn source(&self) -> anyhow::Result<From> {
        let topic = self
            .from
            .iter()
            .find_map(|from| from.strip_prefix("kafka:"));
        let Some(topic) = topic else {
            if self.follow || self.group.is_some() || !self.offsets.is_empty() {
                bail!("--follow, --group and --offsets are for --from kafka:HOST:PORT/TOPIC");
            }
            return source(&self.from);
        };
        if self.from.len() > 1 {
            bail!("--from takes one topic and nothing else beside it");
        }
        let place: Place = topic.parse().map_err(anyhow::Error::msg)?;
        let mut offsets = BTreeMap::new();
        for (partition, stretch) in &self.offsets {
            if offsets.insert(*partition, *stretch).is_some() {
                bail!("--offsets names partition {partition} twice");
            }
        }
        let kafka = kafka_of(self.config.clone(), &place)?;
        Ok(From::Kafka(Box::new(Topic {
            place: Place {
                brokers: kafka.brokers.clone(),
                ..place
            },
            kafka,
            group: self.group.clone(),
            offsets,
            follow: self.follow,
        })))
    }

    /// What is sent, and how; a dry run needs no target.
    fn engine(&self) -> anyhow::Result<shadow::Config> {
        let nowhere = || "http://localhost".parse().map_err(anyhow::Error::new);
        let target = self.to.first().cloned().map_or_else(nowhere, Ok)?;
        let mut engine = shadow::Config::new(target);
        engine.rewrite = Rewrite {
            id_header: self.id_header.clone(),
            host: self.host.clone(),
            identity: self.identity()?,
            ..Rewrite::default()
        };
        engine.connections = self.connections.into();
        engine.timeouts.response = self.response_timeout;
        engine.trust = match (&self.ca_file, self.insecure) {
            (_, true) => Trust::Anyone,
            (Some(path), false) => Trust::CaFile(path.clone()),
            (None, false) => Trust::System,
        };
        engine.order = match self.order {
            Order::Causal => Level::Causal,
            Order::Connection => Level::Connection,
            Order::None => Level::None,
        };
        engine.policy.refused = match self.refused {
            OfRefused::Leave => Refused::Leave,
            OfRefused::Send => Refused::Send,
        };
        if let Some(path) = &self.rules {
            let rules = rules_file::read(path)
                .with_context(|| format!("cannot use --rules {}", path.display()))?;
            engine.rules = Arc::new(Cell::new(rules));
        }
        engine.anchor_dates = self.anchor_dates;
        Ok(engine)
    }

    fn identity(&self) -> anyhow::Result<Identity> {
        let kind = match self.credentials {
            None => CredentialsKind::None,
            Some(Kind::Basic) => CredentialsKind::Basic,
            Some(Kind::ApiKey) => CredentialsKind::ApiKey,
            Some(Kind::Bearer) => CredentialsKind::Bearer,
            Some(Kind::Sigv4) => CredentialsKind::SigV4,
        };
        let region = self.sigv4_region.as_deref();
        let own = identity::credentials(kind, region, &self.sigv4_service);
        let file = match (&self.authorization_file, &self.credentials_file, own) {
            (Some(path), _, _) => Some(CredentialsFile::named(
                "--authorization-file",
                path.clone(),
                Credentials::Value,
            )),
            (None, Some(path), Some(own)) => Some(CredentialsFile::named(
                "--credentials-file",
                path.clone(),
                own,
            )),
            _ => None,
        };
        let authorization = match file {
            None => Authorization::None,
            Some(file) => file
                .read()
                .with_context(|| format!("cannot use {} {}", file.key, file.path.display()))?,
        };
        let certificate = self
            .client_cert_file
            .clone()
            .zip(self.client_key_file.clone());
        Ok(Identity {
            certificate: certificate
                .map(|(certificates, key)| ClientCertificate { certificates, key }),
            ..Identity::new(authorization)
        })
    }
}

/// One journal, or files. Without a prefix, a directory is a journal and anything else a file.
fn source(texts: &[String]) -> anyhow::Result<From> {
    let mut journals = Vec::new();
    let mut files = Vec::new();
    let mut exports = Vec::new();
    for text in texts {
        match text.split_once(':') {
            Some(("journal", dir)) => journals.push(PathBuf::from(dir)),
            Some(("traffic-stream", "-")) => exports.push(Input::Standard),
            Some(("traffic-stream", path)) => exports.push(Input::File(path.into())),
            Some(("file", "-")) => files.push(Input::Standard),
            Some(("file", path)) => files.push(Input::File(path.into())),
            _ if !exports.is_empty() => exports.push(Input::File(text.into())),
            _ if text == "-" => files.push(Input::Standard),
            _ if Path::new(text).is_dir() => journals.push(text.into()),
            _ => files.push(Input::File(text.into())),
        }
    }
    match (journals.len(), files.is_empty(), exports.is_empty()) {
        (0, false, true) => Ok(From::Files(files)),
        (0, true, false) => Ok(From::Exports(exports)),
        (1, true, true) => Ok(From::Journal(journals.swap_remove(0))),
        _ => bail!(
            "--from takes one journal, or files of one kind, and not both: they would have no order among each other"
        ),
    }
}

/// How to reach the brokers of a place: what the configuration says, and the addresses of the place before its.
pub(super) fn kafka_of(config: Option<PathBuf>, place: &Place) -> anyhow::Result<Kafka> {
    let mut written: Written = flags::of_file(config);
    if !place.brokers.is_empty()
        && let Some(key) = keys().find(|key| key.path == "kafka.brokers")
    {
        written = written.flag(key, place.brokers.clone());
    }
    let kafka = written.build()?.kafka;
    if kafka.brokers.is_empty() {
        bail!(
            "kafka:/{} names no broker; write kafka:HOST:PORT/{}, or name a configuration with kafka.brokers by --config",
            place.topic,
            place.topic
        );
    }
    Ok(kafka)
}

fn offsets(text: &str) -> Result<(i32, Offsets), String> {
    let wrong = || {
        format!("{text:?} is no stretch of offsets; write PARTITION:FIRST-LAST, such as 0:100-200")
    };
    let (partition, offsets) = text.split_once(':').ok_or_else(wrong)?;
    let partition = partition.parse::<i32>().ok().filter(|it| *it >= 0);
    Ok((partition.ok_or_else(wrong)?, offsets.parse()?))
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
