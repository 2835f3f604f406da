//! `spoa-agent journal cat`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use exchange::json::{self, PairName};
use exchange::{Body, Exchange, Extent, Gap, Half, Pair, Response};
use journal::{Entry, ExchangeReader, Item, Lost, PairingOptions, Place, Reader, Start, Want};

use super::{Which, now, time};
use crate::cli::exit::Exit;

/// How often `--follow` looks for more.
const POLL: Duration = Duration::from_millis(100);

/// Print exchanges, pairs, or records as they came
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  spoa-agent journal cat --limit 10
  spoa-agent journal cat --follow --from latest --format text
  spoa-agent journal cat --halves --from 1048576
  spoa-agent journal cat --id 6F1A... | jq .response
  spoa-agent journal cat --pairs | jq 'select(.primary.status_code != .shadow.status_code)'

JSON lines are those of the traffic log; with --pairs, those of the pair log. A half is a line with its own side only. What is no exchange (a gap,
lost or unreadable records) is a line on the standard error with --format text, and for gaps a JSON line
otherwise.")]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// Where to begin: oldest, latest, or a position in bytes (see `journal ls`)
    #[arg(long, value_name = "POSITION", default_value = "oldest")]
    from: From,
    /// Stop after this many exchanges, pairs or halves
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,
    /// Go on when the end is reached, and print what comes
    #[arg(long)]
    follow: bool,
    /// Print halves, and pairs, as they came, without putting exchanges together
    #[arg(long)]
    halves: bool,
    /// Print what the shadow answered beside what the primary answered, in place of exchanges
    #[arg(long, conflicts_with = "halves")]
    pairs: bool,
    /// Only those with this id
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// How to print them
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
    /// Leave the bytes of bodies out
    #[arg(long)]
    no_bodies: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One JSON object per line
    Json,
    /// One short line each, to read
    Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Oldest,
    Latest,
    Position(u64),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "oldest" => Ok(Self::Oldest),
            "latest" => Ok(Self::Latest),
            text => text
                .parse()
                .map(Self::Position)
                .map_err(|_not_a_number| "write oldest, latest, or a position in bytes".to_owned()),
        }
    }
}

impl Args {
    pub(super) fn print(self, out: &mut impl Write) -> anyhow::Result<Exit> {
        let dir = self.which.dir()?;
        let start = start(&dir, self.from)?;
        let mut printer = Printer {
            out,
            format: self.format,
            json: json::Options {
                bodies: !self.no_bodies,
            },
            id: self.id.map(String::into_bytes),
            skip_below: if let From::Position(position) = self.from {
                position
            } else {
                0
            },
            left: self.limit,
            line: Vec::new(),
        };
        if self.halves {
            halves(dir, start, self.follow, &mut printer)?;
        } else {
            let want = match self.pairs {
                true => Want::Pairs,
                false => Want::Exchanges,
            };
            entries(dir, start, want, self.follow, &mut printer)?;
        }
        printer.out.flush()?;
        Ok(Exit::Ok)
    }
}

/// A reader can begin at a record's start only, so one that begins at a position begins at its
/// segment, and what comes before the position is not printed.
fn start(dir: &Path, from: From) -> anyhow::Result<Start> {
    let position = match from {
        From::Oldest => return Ok(Start::Oldest),
        From::Latest => return Ok(Start::Latest),
        From::Position(position) => position,
    };
    let segments = journal::list(dir)?;
    let segment = segments
        .iter()
        .rev()
        .find(|segment| segment.base.position <= position);
    Ok(segment.map_or(Start::Oldest, |segment| Start::At(segment.base)))
}

fn halves<W: Write>(
    dir: PathBuf,
    start: Start,
    follow: bool,
    printer: &mut Printer<'_, W>,
) -> anyhow::Result<()> {
    let mut reader = Reader::open_dir(dir, start)?;
    while printer.wants_more() {
        match reader.next()? {
            Some(Item::Record(record)) => {
                let place = record.place;
                match Half::decode(&record.payload) {
                    Ok(half) => printer.half(half, place)?,
                    Err(error) => printer.undecodable(place, &error.to_string()),
                }
            }
            Some(Item::Lost(lost)) => printer.lost(&lost),
            None if follow => printer.pause()?,
            None => break,
        }
    }
    Ok(())
}

fn entries<W: Write>(
    dir: PathBuf,
    start: Start,
    want: Want,
    follow: bool,
    printer: &mut Printer<'_, W>,
) -> anyhow::Result<()> {
    let reader = Reader::open_dir(dir, start)?;
    let options = PairingOptions {
        want,
        ..PairingOptions::default()
    };
    let mut reader = ExchangeReader::new(reader, options);
    let mut clock = now();
    while printer.wants_more() {
        match reader.next(clock)? {
            Some(Entry::Exchange(exchange)) => {
                reader.done(exchange.position);
                printer.exchange(&exchange)?;
            }
            Some(Entry::Begun { .. }) => {}
            Some(Entry::Pair { place, pair }) => {
                reader.done(place.position);
                printer.pair(&pair, place)?;
            }
            Some(Entry::Gap(gap)) => printer.gap(&gap, reader.place())?,
            Some(Entry::Lost(lost)) => printer.lost(&lost),
            Some(Entry::Undecodable { place, why }) => printer.undecodable(place, &why),
            None if follow => {
                printer.pause()?;
                clock = now();
            }
            // Everything is read: nobody waits for the halves that are still alone.
            None if clock != u64::MAX => clock = u64::MAX,
            None => break,
        }
    }
    Ok(())
}

struct Printer<'o, W> {
    out: &'o mut W,
    format: Format,
    json: json::Options,
    id: Option<Vec<u8>>,
    skip_below: u64,
    left: Option<u64>,
    line: Vec<u8>,
}

impl<W: Write> Printer<'_, W> {
    fn wants_more(&self) -> bool {
        self.left != Some(0)
    }

    /// At the end of what is written: shows what is there, and waits.
    fn pause(&mut self) -> std::io::Result<()> {
        self.out.flush()?;
        std::thread::sleep(POLL);
        Ok(())
    }

    fn half(&mut self, half: Half, place: Place) -> std::io::Result<()> {
        let position = place.position;
        let exchange = match half {
            Half::Request(request) => Exchange {
                position,
                request: Some(request),
                response: None,
            },
            Half::Response(response) => Exchange {
                position,
                request: None,
                response: Some(response),
            },
            Half::Pair(pair) => return self.pair(&pair, place),
            Half::Gap(gap) => return self.gap(&gap, place),
        };
        self.exchange(&exchange)
    }

    fn exchange(&mut self, exchange: &Exchange) -> std::io::Result<()> {
        if !self.takes(exchange.position, exchange.id()) {
            return Ok(());
        }
        self.line.clear();
        match self.format {
            Format::Json => json::write_line(exchange, self.json, &mut self.line),
            Format::Text => self.line.extend(text(exchange).into_bytes()),
        }
        self.out.write_all(&self.line)
    }

    fn pair(&mut self, pair: &Pair, place: Place) -> std::io::Result<()> {
        if !self.takes(place.position, Some(pair.id())) {
            return Ok(());
        }
        self.line.clear();
        let name = PairName::Position(place.position);
        match self.format {
            Format::Json => json::write_pair(pair, name, self.json, &mut self.line),
            Format::Text => self.line.extend(pair_text(pair).into_bytes()),
        }
        self.out.write_all(&self.line)
    }

    /// Whether it is to be printed, and counts it if so.
    fn takes(&mut self, position: u64, id: Option<&Bytes>) -> bool {
        let id = id.map(Bytes::as_ref);
        let is_other = self.id.as_deref().is_some_and(|wanted| id != Some(wanted));
        if position < self.skip_below || is_other {
            return false;
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
        }
        true
    }

    fn gap(&mut self, gap: &Gap, place: Place) -> std::io::Result<()> {
        if place.position < self.skip_below || self.id.is_some() {
            return Ok(());
        }
        if self.format == Format::Text {
            crate::cli::complain(&format!(
                "{} {} request and {} response halves are not in the journal: {}",
                time(gap.to_us),
                gap.requests,
                gap.responses,
                gap.reason
            ));
            return Ok(());
        }
        self.line.clear();
        json::write_gap(gap, place.position, &mut self.line);
        self.out.write_all(&self.line)
    }

    fn lost(&self, lost: &Lost) {
        crate::cli::complain(&format!(
            "{} records from position {} on cannot be read: {:?}",
            lost.records, lost.from.position, lost.reason
        ));
    }

    fn undecodable(&self, place: Place, why: &str) {
        crate::cli::complain(&format!(
            "the record at position {} is no half: {why}",
            place.position
        ));
    }
}

/// One line to read. Bytes that are not printable ASCII are escaped.
fn text(exchange: &Exchange) -> String {
    let id = exchange
        .id()
        .map(|id| id.escape_ascii().to_string())
        .unwrap_or_default();
    let mut line = format!("{} {id}", time(exchange.time_us()));
    match &exchange.request {
        Some(request) => {
            let (method, target) = (request.method.escape_ascii(), request.target.escape_ascii());
            line.push_str(&format!(" {method} {target} {}", extent(&request.body)));
        }
        None => line.push_str(" (no request)"),
    }
    match &exchange.response {
        Some(response) => {
            line.push_str(&format!(
                " -> {} {}",
                response.status,
                extent(&response.body)
            ));
        }
        None => line.push_str(" -> (no response)"),
    }
    if let Some(micros) = exchange.duration_us() {
        line.push_str(&millis(micros));
    }
    line.push('\n');
    line
}

/// One line to read: both answers, each with how long it took.
fn pair_text(pair: &Pair) -> String {
    let request = &pair.request;
    let (method, target) = (request.method.escape_ascii(), request.target.escape_ascii());
    let mut line = format!(
        "{} {} {method} {target} {}",
        time(pair.sending.ended_us),
        pair.id().escape_ascii(),
        extent(&request.body)
    );
    for change in &pair.changes {
        line.push_str(&format!(" [{change}]"));
    }
    line.push_str(&answer_text(
        "primary",
        pair.primary.as_ref(),
        pair.primary_us(),
    ));
    let took = pair.shadow.is_some().then_some(pair.sending.end_us);
    line.push_str(&answer_text("shadow", pair.shadow.as_ref(), took));
    if let Some(dropped) = &pair.dropped {
        line.push_str(&format!(" dropped: {} {}", dropped.reason, dropped.cause));
    }
    line.push('\n');
    line
}

fn answer_text(side: &str, answer: Option<&Response>, took_us: Option<u64>) -> String {
    let Some(answer) = answer else {
        return format!(" -> {side} (no response)");
    };
    let mut text = format!(" -> {side} {} {}", answer.status, extent(&answer.body));
    if let Some(micros) = took_us {
        text.push_str(&millis(micros));
    }
    text
}

fn millis(micros: u64) -> String {
    let millis = Duration::from_micros(micros).as_secs_f64() * 1000.0;
    format!(" {millis:.1}ms")
}

fn extent(body: &Body) -> String {
    let bytes = body.content.len();
    match body.extent {
        Extent::Whole => format!("{bytes}B"),
        Extent::Cut {
            missing: Some(missing),
        } => format!("{bytes}B(cut, {missing}B missing)"),
        Extent::Cut { missing: None } => format!("{bytes}B(cut)"),
        Extent::NotCaptured {
            missing: Some(missing),
        } => format!("({missing}B not captured)"),
        Extent::NotCaptured { missing: None } => "(not captured)".to_owned(),
    }
}
