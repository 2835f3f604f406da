//! A dry run: what a replay would send, printed, and no connection made.

use std::collections::{HashSet, VecDeque};
use std::io::{self, Write};
use std::sync::Arc;

use exchange::{Credentials, Exchange, Request};
use shadow::{Outcome, Pace, Rewrite, Target};

use super::feed::anchored;
use super::hold::{Held, Hold};
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
    pub(super) rewrite: &'a Rewrite,
    /// `None`: the requests' own hosts are shown.
    pub(super) target: Option<&'a Target>,
    pub(super) window: Window,
    pub(super) limit: Option<u64>,
    pub(super) anchor_dates: bool,
}

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
        let mut hold = Hold::default();
        let mut begun = HashSet::new();
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
                        begun.insert(position);
                        number += 1;
                    }
                }
                Some(Event::Complete(exchange)) if exchange.request.is_some() => {
                    source.done(exchange.position);
                    if begun.remove(&exchange.position) {
                        hold.push(self.held(exchange, number));
                    } else {
                        printed.outside += 1;
                    }
                }
                Some(_) => {}
                None => break,
            }
            if hold.len() > SORTED || hold.bytes() > SORTED_BYTES {
                self.print_first(&mut hold, &mut printed, out)?;
            }
            if self.limit == Some(number) && begun.is_empty() {
                break;
            }
        }
        while hold.len() > 0 {
            self.print_first(&mut hold, &mut printed, out)?;
        }
        Ok(printed)
    }

    fn is_wanted(&self, time: u64, number: u64) -> bool {
        self.window.holds(time) && self.limit.is_none_or(|limit| number < limit)
    }

    fn held(&self, exchange: Arc<Exchange>, number: u64) -> Held {
        Held {
            moment: self.pace.moment(exchange.time_us(), number),
            number,
            exchange,
        }
    }

    fn print_first(
        &self,
        hold: &mut Hold,
        printed: &mut Printed,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let Some(held) = hold.pop() else {
            return Ok(());
        };
        let captured = time(held.exchange.time_us()).unwrap_or_default();
        let moment = held.moment.as_secs_f64();
        let (exchange, changes) = match self.anchor_dates {
            true => anchored(&held.exchange),
            false => (Arc::clone(&held.exchange), Vec::new()),
        };
        let Some(request) = &exchange.request else {
            return Ok(());
        };
        let (method, target) = (request.method.escape_ascii(), request.target.escape_ascii());
        write!(out, "{captured} +{moment:.3}s {method} {target}")?;
        if let Some(outcome) = Outcome::foreseen(&exchange) {
            printed.not_sent += 1;
            let reason = outcome.reason().unwrap_or_default();
            return writeln!(out, "  NOT SENT, {}: {reason}", outcome.as_str());
        }
        let authority = self.target.map(Target::authority).unwrap_or_default();
        let head = match shadow::outgoing::head(request, self.rewrite, &authority) {
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
            write_head(&head, request, out)?;
        }
        Ok(())
    }
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
