//! `spoa-agent tail`.

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueHint;
use exchange::operation::Api;

use super::exit::Exit;
use super::flags;
use crate::config::{CONFIG_ENV, Written};
use crate::readback::Place;
use crate::replay::Time;
use crate::tail::{
    Base, Client, Colour, Filter, Format, From, Look, Options, Pattern, StatusClass,
};

/// Show exchanges as they happen, from a journal, a traffic log or Kafka
///
/// Prints the last exchanges, and with --follow what comes then. Nothing is changed by looking: a journal is read
/// beside a running agent, a topic without a consumer group. An exchange is shown when its response was captured,
/// or, with --follow, after a minute without one.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  spoa-agent tail -f
  spoa-agent tail --from journal:/srv/journal -f --status 4xx,5xx,none
  spoa-agent tail --from traffic.ndjson -n 100 --slower 500ms
  spoa-agent tail --from journal:/srv/journal --since -10m --index 'logs-*' --api bulk,search -v
  spoa-agent tail --from journal:/srv/journal -f --format json | jq -c .request.target
  spoa-agent tail --from journal:/srv/journal --id 6F1A2B -n 1 --format curl --url http://shadow:9200 | sh
  spoa-agent tail --from journal:/srv/journal -f --format pairs
  spoa-agent tail --from kafka:broker-1:9092,broker-2:9092/captured-traffic -f
  zcat traffic.ndjson.1.gz | spoa-agent tail --from - --body 'timed_out\":true'

Of a filter that has several values, one has to fit; of several filters, all. `*` in a path or an index stands for anything.

A size with ~ is that of a body of which not everything was captured. Credentials are masked, whatever the source
has. Commands of --format curl are quoted for a POSIX shell; a body that is no text goes through base64, one that is
not whole is not sent. What is no exchange (a gap, lost or unreadable records) is told on the standard error.")]
pub(super) struct Args {
    /// Where to read: journal:DIR, a traffic log or pair log, - for the standard input, or
    /// kafka:HOST:PORT/TOPIC; without it, the journal that the agent's configuration names
    #[arg(long, value_name = "SOURCE", value_hint = ValueHint::AnyPath)]
    from: Option<String>,
    /// Configuration file: names the journal, and says how to reach Kafka
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, env = CONFIG_ENV, hide_env_values = true)]
    config: Option<PathBuf>,
    /// How many of the last ones to print first, or `all`; 10, and all with --since or from the standard input
    #[arg(short = 'n', long = "last", value_name = "NUMBER", value_parser = last)]
    last: Option<Last>,
    /// Go on with what comes
    #[arg(short, long)]
    follow: bool,
    /// How to print them
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Headers and bodies too; -vv: bodies of any length
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// When to use colours
    #[arg(long, value_enum, default_value = "auto")]
    color: Colour,
    /// Leave the bytes of bodies out of JSON
    #[arg(long)]
    no_bodies: bool,
    /// Where the commands of --format curl go; to where the client sent the request, if not given
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    url: Option<String>,
    #[command(flatten)]
    only: Only,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Filters")]
struct Only {
    /// Only these methods
    #[arg(long, value_name = "METHOD", value_delimiter = ',')]
    method: Vec<String>,
    /// Only these paths, without the query, such as /logs-*/_search
    #[arg(long, value_name = "PATTERN")]
    path: Vec<Pattern>,
    /// Only these statuses: 404, 5xx, 400-499, or none
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    status: Vec<StatusClass>,
    /// Only requests that name these indices or aliases
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    index: Vec<Pattern>,
    /// Only requests that call these APIs, by their names in the REST specifications: search, bulk, indices.create
    #[arg(long, value_name = "API", value_delimiter = ',')]
    api: Vec<Api>,
    /// Only exchanges whose id begins so
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    id: Vec<String>,
    /// Only requests of this client: an address, with or without its port, or a network such as 10.0.0.0/8
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    client: Vec<Client>,
    /// Only exchanges that took at least so long
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    slower: Option<Duration>,
    /// Only exchanges with this text in a body, which may be compressed
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    body: Option<String>,
    /// Only requests from this time on: RFC 3339, or -2h before now
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    since: Option<u64>,
    /// Only requests before this time
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    until: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    All,
    Number(usize),
}

impl Args {
    pub(super) fn print(self, out: &mut impl Write) -> anyhow::Result<Exit> {
        crate::tail::run(&self.meant()?, out)?;
        Ok(Exit::Ok)
    }

    fn meant(self) -> anyhow::Result<Options> {
        let from = source(self.from.as_deref(), self.config)?;
        let streams = matches!(from, From::Standard) || self.only.since.is_some();
        let last = match self.last {
            Some(Last::All) => None,
            Some(Last::Number(number)) => Some(number),
            None => (!streams).then_some(LAST),
        };
        let is_terminal = io::stdout().is_terminal();
        Ok(Options {
            from,
            last,
            follow: self.follow,
            filter: self.only.meant(),
            look: Look {
                format: self.format,
                colour: is_coloured(self.color, is_terminal),
                width: is_terminal.then(width),
                verbose: self.verbose,
                base: self.url.map_or(Base::Captured, |url| {
                    Base::Url(url.trim_end_matches('/').to_owned())
                }),
                no_bodies: self.no_bodies,
            },
        })
    }
}

impl Only {
    fn meant(self) -> Filter {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Filter {
            methods: self.method,
            paths: self.path,
            statuses: self.status,
            indices: self.index,
            apis: self.api,
            ids: self.id,
            clients: self.client,
            slower_us: self.slower.map(micros),
            text: self.body,
            since: self.since,
            until: self.until,
        }
    }
}

/// How many are printed first when nothing is said.
const LAST: usize = 10;
/// The width of a terminal that does not tell it.
const WIDTH: usize = 80;

/// Without a prefix, a directory is a journal and anything else a file.
fn source(from: Option<&str>, config: Option<PathBuf>) -> anyhow::Result<From> {
    if let Some(topic) = from.and_then(|from| from.strip_prefix("kafka:")) {
        let place: Place = topic.parse().map_err(anyhow::Error::msg)?;
        let kafka = Box::new(super::replay::kafka_of(config, &place)?);
        return Ok(From::Kafka { kafka, place });
    }
    let Some(from) = from else {
        let written: Written = flags::of_file(config);
        return Ok(From::Journal(written.build()?.journal.dir));
    };
    Ok(match from.split_once(':') {
        Some(("journal", dir)) => From::Journal(dir.into()),
        Some(("file", "-")) => From::Standard,
        Some(("file", path)) => From::File(path.into()),
        _ if from == "-" => From::Standard,
        _ if Path::new(from).is_dir() => From::Journal(from.into()),
        _ => From::File(from.into()),
    })
}

/// <https://no-color.org>: any value that is not empty.
fn is_coloured(wanted: Colour, is_terminal: bool) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    match wanted {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => is_terminal && !is_set("NO_COLOR") && !is_dumb,
    }
}

fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    size.ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0)
        .unwrap_or(WIDTH)
}

fn last(text: &str) -> Result<Last, String> {
    if text == "all" {
        return Ok(Last::All);
    }
    text.parse()
        .map(Last::Number)
        .map_err(|_not_a_number| "write a number, or all".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::config::duration(text).map_err(|fault| format!("{}; {}", fault.why, fault.way_out))
}

/// Unix time in microseconds.
fn moment(text: &str) -> Result<u64, String> {
    match text.parse()? {
        Time::At(time) => Ok(time),
        Time::BeforeNow(before) => {
            let now = jiff::Timestamp::now().as_microsecond();
            let before = i64::try_from(before.as_micros()).unwrap_or(i64::MAX);
            Ok(u64::try_from(now.saturating_sub(before)).unwrap_or(0))
        }
        Time::AfterBegin(_) => Err(
            "a time after the beginning of the capture is for replay; write 2026-11-21T08:30:00Z or -2h".to_owned(),
        ),
    }
}
