//! A dry run: what a replay would send, printed, and no connection made.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use exchange::{Credentials, Exchange, Request};
use shadow::{Outcome, Pace, Preview, Target};

use super::report::time;
use super::selection::Window;
use super::source::{Event, Source};

/// How much is printed of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DryRun {
    /// A line.
    Lines,
    /// A line, and the head as the target would get it.
    Full,
}

/// Exchanges that are put into the order in which they would be sent.
const SORTED: usize = 1 << 14;
/// And their bytes.
const SORTED_BYTES: usize = 64 << 20;

pub(super) struct Dry<'a> {
    pub(super) how: DryRun,
    pub(super) pace: &'a Pace,
    /// What a request would become, and how it would be sent.
    pub(super) engine: &'a shadow::Config,
    /// `None`: the requests' own hosts are shown.
    pub(super) target: Option<&'a Target>,
    pub(super) window: Window,
    pub(super) limit: Option<u64>,
}

/// Exchanges that are read, the first due first.
#[derive(Default)]
struct Sorted {
    exchanges: BTreeMap<Place, Arc<Exchange>>,
    bytes: usize,
}

/// When it is due, at speed 1, and which request of the replay it is.
type Place = (Duration, u64);

/// What was printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Printed {
    pub(super) sent: u64,
    pub(super) not_sent: u64,
    pub(super) outside: u64,
}

impl Dry<'_> {
    /// Prints all of the source.
    pub(super) fn run(
        &self,
        mut peeked: VecDeque<Event>,
        source: &mut dyn Source,
        out: &mut impl Write,
    ) -> anyhow::Result<Printed> {
        let mut printed = Printed::default();
        let mut sorted = Sorted::default();
        let mut begun: HashMap<u64, Place> = HashMap::new();
        let mut number = 0;
        loop {
            let event = match peeked.pop_front() {
                Some(event) => Some(event),
                None => source.next()?,
            };
            match event {
                Some(Event::Begun { position, request }) => {
                    if self.is_wanted(request.time_us, number) {
                        self.pace.begun(request.time_us);
                        let moment = self.pace.moment(request.time_us, number);
                        begun.insert(position, (moment, number));
                        number += 1;
                    }
                }
                Some(Event::Complete(exchange)) => {
                    source.done(exchange.position);
                    match begun.remove(&exchange.position) {
                        Some(place) => sorted.push(place, exchange),
                        None if exchange.request.is_some() => printed.outside += 1,
                        None => {}
                    }
                }
                Some(_) => {}
                None => break,
            }
            if sorted.is_full() {
                self.print_first(&mut sorted, &mut printed, out)?;
            }
            if self.limit == Some(number) && begun.is_empty() {
                break;
            }
        }
        while !sorted.exchanges.is_empty() {
            self.print_first(&mut sorted, &mut printed, out)?;
        }
        Ok(printed)
    }

    fn is_wanted(&self, time: u64, number: u64) -> bool {
        self.window.holds(time) && self.limit.is_none_or(|limit| number < limit)
    }

    fn print_first(
        &self,
        sorted: &mut Sorted,
        printed: &mut Printed,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let Some(((moment, _), exchange)) = sorted.pop() else {
            return Ok(());
        };
        let captured = time(exchange.time_us()).unwrap_or_default();
        write!(out, "{captured} +{:.3}s ", moment.as_secs_f64())?;
        let engine = self.engine;
        let rules = engine.rules.load();
        let preview = shadow::preview(&exchange, &rules, &engine.policy, engine.anchor_dates);
        let (request, changes) = match preview {
            Preview::Send { request, changes } => (request, changes),
            Preview::Leave(outcome) => {
                write_line(exchange.request.as_ref(), out)?;
                printed.not_sent += 1;
                return not_sent(&outcome, out);
            }
        };
        write_line(Some(&request), out)?;
        let authority = self.target.map(Target::authority).unwrap_or_default();
        let head = match shadow::outgoing::head(&request, &engine.rewrite, &authority) {
            Ok(head) => head,
            Err(reason) => {
                printed.not_sent += 1;
                return writeln!(out, "  NOT SENT, dropped: {reason}");
            }
        };
        printed.sent += 1;
        write!(out, "  {}B", request.body.content.len())?;
        for change in changes {
            write!(out, "  [{}]", change.as_str())?;
        }
        writeln!(out)?;
        if self.how == DryRun::Full {
            write_head(&head, &request, out)?;
        }
        Ok(())
    }
}

impl Sorted {
    fn push(&mut self, place: Place, exchange: Arc<Exchange>) {
        self.bytes = self.bytes.saturating_add(exchange.weight());
        self.exchanges.insert(place, exchange);
    }

    fn pop(&mut self) -> Option<(Place, Arc<Exchange>)> {
        let (place, exchange) = self.exchanges.pop_first()?;
        self.bytes = self.bytes.saturating_sub(exchange.weight());
        Some((place, exchange))
    }

    fn is_full(&self) -> bool {
        self.exchanges.len() > SORTED || self.bytes > SORTED_BYTES
    }
}

fn write_line(request: Option<&Request>, out: &mut impl Write) -> io::Result<()> {
    let Some(request) = request else {
        return Ok(());
    };
    let (method, target) = (request.method.escape_ascii(), request.target.escape_ascii());
    write!(out, "{method} {target}")
}

fn not_sent(outcome: &Outcome, out: &mut impl Write) -> io::Result<()> {
    let reason = outcome.reason().unwrap_or_default();
    writeln!(out, "  NOT SENT, {}: {reason}", outcome.as_str())
}

/// The head without its credentials.
fn write_head(head: &[u8], request: &Request, out: &mut impl Write) -> io::Result<()> {
    let credentials = Credentials::default();
    for line in head.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            continue;
        }
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if credentials.cover(name) {
            writeln!(out, "    {}: ***", name.escape_ascii())?;
        } else {
            writeln!(out, "    {}", line.escape_ascii())?;
        }
    }
    let bytes = request.body.content.len();
    writeln!(out, "    ({bytes} bytes of body)\n")
}
