//! `spoa-agent tail`: shows exchanges as they happen, from a journal, a traffic log or a topic.
//!
//! Reading order: `source` (items, and whether more may come) with `journal`, `lines` and `topic`; `filter` (which
//! of them); `text`, `verbose`, `curl` (what is printed). Nothing here changes what it reads: a journal is read beside a
//! running agent, and a topic without a consumer group.
//!
//! What came from a client may hold anything. Before it reaches a terminal, control characters are escaped and
//! credentials are masked, whatever the source has.

mod curl;
mod filter;
mod journal;
mod lines;
mod print;
mod source;
mod text;
mod topic;
mod verbose;

use std::collections::VecDeque;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use self::curl::Base;
pub use self::filter::{Client, Filter, Pattern, StatusClass};
pub use self::print::{Colour, Format, Look};
use self::print::{Item, Printer};
use self::source::{Next, Opened, Reach};
use crate::readback::Place;

/// How often a source that has no more is asked again.
const POLL: Duration = Duration::from_millis(100);
/// An exchange is told when it is over. So long after the end of what is asked for, nothing of it can come.
const LONGEST_US: u64 = 65_000_000;
/// Notes that are kept besides what was asked for.
const MOST_NOTES: usize = 100;
/// How much further back each attempt reads that did not find enough.
const FURTHER: u64 = 4;

/// What the user says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to read.
    pub from: From,
    /// How many of the last ones to print first. `None`: all.
    pub last: Option<usize>,
    /// Go on with what comes.
    pub follow: bool,
    /// Which are printed.
    pub filter: Filter,
    /// How.
    pub look: Look,
}

/// Where to read.
#[derive(Clone, Debug)]
pub enum From {
    /// The directory of a journal.
    Journal(PathBuf),
    /// A traffic log or a pair log.
    File(PathBuf),
    /// The standard input.
    Standard,
    /// A topic.
    Kafka {
        /// How to reach the brokers.
        kafka: Box<crate::config::Kafka>,
        /// Which topic.
        place: Place,
    },
}

/// Prints until there is no more, or for ever.
///
/// # Errors
/// When the source cannot be read, or the output cannot be written.
pub fn run(options: &Options, out: &mut impl Write) -> anyhow::Result<()> {
    let mut printer = Printer::new(&options.look, out);
    let mut opened = begin(options, &mut printer)?;
    loop {
        match opened.source.next()? {
            Next::Item(item) if options.filter.takes(&item) => printer.print(&item)?,
            Next::Item(_) => {}
            Next::Waiting if options.follow && !is_past(options, now_us()) => {
                printer.flush()?;
                std::thread::sleep(POLL);
            }
            Next::Waiting | Next::End => return Ok(printer.flush()?),
        }
    }
}

/// Prints the last ones of what is there, and returns the source as it stands then.
fn begin(options: &Options, printer: &mut Printer<'_, impl Write>) -> anyhow::Result<Opened> {
    let Some(last) = options.last else {
        let reach = match options.filter.since {
            Some(since) => Reach::Since(since),
            None => Reach::All,
        };
        return source::open(options, reach);
    };
    let mut back = 1;
    loop {
        let mut opened = source::open(options, Reach::Back(back))?;
        let kept = keep_last(&mut opened, &options.filter, last)?;
        let found = kept.iter().filter(|item| !item.is_note()).count();
        if found >= last || opened.is_whole {
            for item in &kept {
                printer.print(item)?;
            }
            printer.flush()?;
            return Ok(opened);
        }
        back = back.saturating_mul(FURTHER);
    }
}

/// Reads all that is there, and keeps the last ones.
fn keep_last(opened: &mut Opened, filter: &Filter, last: usize) -> anyhow::Result<VecDeque<Item>> {
    let mut kept = VecDeque::new();
    let mut notes = 0;
    while let Next::Item(item) = opened.source.next()? {
        if !filter.takes(&item) {
            continue;
        }
        notes += usize::from(item.is_note());
        kept.push_back(item);
        // Notes do not count, up to a bound.
        while kept.len() > last + notes.min(MOST_NOTES)
            && let Some(item) = kept.pop_front()
        {
            notes -= usize::from(item.is_note());
        }
    }
    Ok(kept)
}

/// Whether what is asked for is over.
fn is_past(options: &Options, now: u64) -> bool {
    let until = options.filter.until;
    until.is_some_and(|until| now > until.saturating_add(LONGEST_US))
}

/// Unix time in microseconds.
fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
