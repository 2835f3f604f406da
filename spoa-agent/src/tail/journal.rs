//! A journal as a source: read beside an agent that writes to it, without its lock.

use std::path::Path;

use anyhow::{Context as _, bail};
use exchange::Exchange;
use journal::{Entry, ExchangeReader, PairingOptions, Reader, SegmentEntry, Start, Want};

use super::print::{Format, Item};
use super::source::{Next, Opened, Reach, Source};
use super::{LONGEST_US, Options, now_us};

pub(super) struct JournalTail {
    reader: ExchangeReader,
    /// Go on when everything is read. Otherwise nobody waits for the responses that are missing.
    follow: bool,
    is_over: bool,
    is_whole: bool,
    /// The time of the earliest request that was read.
    first_us: u64,
}

impl JournalTail {
    pub(super) fn open(dir: &Path, reach: Reach, options: &Options) -> anyhow::Result<Opened> {
        if !dir.is_dir() {
            bail!("there is no such directory as {}", dir.display());
        }
        let segments = journal::list(dir).with_context(|| {
            format!(
                "{} is no journal; name the directory that journal.dir names, or a traffic log",
                dir.display()
            )
        })?;
        let first = first_segment(&segments, reach);
        let is_whole = first == 0;
        let start = match segments.get(first) {
            Some(segment) => Start::At(segment.base),
            None => Start::Oldest,
        };
        let pairing = PairingOptions {
            want: match options.look.format {
                Format::Pairs => Want::Pairs,
                _ => Want::Exchanges,
            },
            ..PairingOptions::default()
        };
        let source = Self {
            reader: ExchangeReader::new(Reader::open_dir(dir, start)?, pairing),
            follow: options.follow,
            is_over: false,
            is_whole,
            first_us: u64::MAX,
        };
        Ok(Opened {
            source: Box::new(source),
            is_whole,
        })
    }

    /// A response whose request stands before the place at which the reading began.
    fn is_torn(&self, exchange: &Exchange) -> bool {
        !self.is_whole && exchange.request.is_none() && exchange.time_us() < self.first_us
    }

    fn item(&mut self, entry: Entry) -> Option<Item> {
        match entry {
            Entry::Exchange(exchange) => {
                self.reader.done(exchange.position);
                if let Some(request) = &exchange.request {
                    self.first_us = self.first_us.min(request.time_us);
                }
                (!self.is_torn(&exchange)).then(|| Item::Exchange(Box::new(exchange)))
            }
            Entry::Pair { place, pair } => {
                self.reader.done(place.position);
                let position = place.position;
                Some(Item::Pair { position, pair })
            }
            Entry::Gap(gap) => Some(Item::Gap {
                gap,
                position: self.reader.place().position,
            }),
            Entry::Lost(lost) => Some(Item::Note(format!(
                "{} records from position {} on cannot be read: {:?}",
                lost.records, lost.from.position, lost.reason
            ))),
            Entry::Undecodable { place, why } => Some(Item::Note(format!(
                "the record at position {} is no half: {why}",
                place.position
            ))),
            Entry::Begun { .. } => None,
        }
    }
}

impl Source for JournalTail {
    fn next(&mut self) -> anyhow::Result<Next> {
        loop {
            let clock = if self.is_over { u64::MAX } else { now_us() };
            match self.reader.next(clock)? {
                Some(entry) => {
                    if let Some(item) = self.item(entry) {
                        return Ok(Next::Item(item));
                    }
                }
                None if self.follow => return Ok(Next::Waiting),
                None if self.is_over => return Ok(Next::End),
                None => self.is_over = true,
            }
        }
    }
}

/// The segment to begin with.
fn first_segment(segments: &[SegmentEntry], reach: Reach) -> usize {
    match reach {
        Reach::All => 0,
        Reach::Since(time) => {
            // What is asked for may have begun before the segment that it ends in.
            let time = time.saturating_sub(LONGEST_US);
            let after = segments.partition_point(|segment| segment.created <= time);
            after.saturating_sub(1)
        }
        Reach::Back(back) => {
            let back = usize::try_from(back).unwrap_or(usize::MAX);
            segments.len().saturating_sub(back)
        }
    }
}
