//! Where exchanges and pairs are read: a journal, or files of lines. Knows nothing of Python.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use exchange::json::{self, PairName};
use exchange::{Exchange, Gap, Pair};
use flate2::read::MultiGzDecoder;
use journal::{Entry, ExchangeReader, PairingOptions, Reader, Start, Want};
use serde_json::Value;

use crate::text::now;

/// The longest line that is read. A longer one is passed over and counted.
const MAX_LINE: u64 = 256 << 20;
const BUFFER: usize = 256 << 10;
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Exchanges,
    Pairs,
}

/// What a source meets.
#[expect(clippy::large_enum_variant, reason = "nearly every one is an exchange")]
pub(crate) enum Found {
    Exchange(Exchange),
    Pair(PairName, Box<Pair>),
    Gap(Gap),
    /// Records that cannot be read any more, and why.
    Lost(u64, String),
    /// Something of which neither can be made, and why.
    Undecodable(String),
    /// A line of another kind.
    Other,
    /// Nothing more for now.
    Nothing,
    End,
}

/// A journal's directory, or lines.
pub(crate) enum Source {
    Journal(Box<JournalSource>),
    Lines(LineSource),
}

pub(crate) struct JournalSource {
    reader: ExchangeReader,
    /// What begins before this position is passed over.
    skip_below: u64,
    follow: bool,
    /// No exchange from this time on is wanted.
    until_us: Option<u64>,
    deadline_us: u64,
    clock: u64,
}

pub(crate) struct LineSource {
    kind: Kind,
    paths: VecDeque<PathBuf>,
    reading: Option<(PathBuf, Box<dyn BufRead + Send>)>,
    line: u64,
    buffer: Vec<u8>,
}

impl Source {
    /// The next that is there. Blocks for the file system only.
    pub(crate) fn next(&mut self) -> Result<Found, String> {
        match self {
            Self::Journal(source) => source.next(),
            Self::Lines(source) => source.next(),
        }
    }
}

impl JournalSource {
    pub(crate) fn open(
        dir: &Path,
        kind: Kind,
        start: StartAt,
        follow: bool,
        until_us: Option<u64>,
    ) -> Result<Self, String> {
        let segments = journal::list(dir).map_err(|error| error.to_string())?;
        if segments.is_empty() && !dir.join("LOCK").exists() {
            return Err(format!(
                "{} holds no journal; name the directory that journal.dir names",
                dir.display()
            ));
        }
        let skip_below = match start {
            StartAt::Position(position) => position,
            StartAt::Oldest | StartAt::Latest => 0,
        };
        let start = match start {
            StartAt::Oldest => Start::Oldest,
            StartAt::Latest => Start::Latest,
            // A reader can begin at a record's start only, and those of segments are known.
            StartAt::Position(position) => {
                let mut known = segments.iter().rev();
                let segment = known.find(|segment| segment.base.position <= position);
                segment.map_or(Start::Oldest, |segment| Start::At(segment.base))
            }
        };
        let reader = Reader::open_dir(dir, start).map_err(|error| error.to_string())?;
        let options = PairingOptions {
            want: match kind {
                Kind::Exchanges => Want::Exchanges,
                Kind::Pairs => Want::Pairs,
            },
            ..PairingOptions::default()
        };
        Ok(Self {
            reader: ExchangeReader::new(reader, options),
            skip_below,
            follow,
            until_us,
            deadline_us: u64::try_from(options.deadline.as_micros()).unwrap_or(u64::MAX),
            clock: now(),
        })
    }

    fn next(&mut self) -> Result<Found, String> {
        let entry = self.reader.next(self.clock);
        Ok(match entry.map_err(|error| error.to_string())? {
            Some(Entry::Exchange(exchange)) => {
                self.reader.done(exchange.position);
                if exchange.position < self.skip_below {
                    return Ok(Found::Other);
                }
                Found::Exchange(exchange)
            }
            Some(Entry::Pair { place, pair }) => {
                self.reader.done(place.position);
                Found::Pair(PairName::Position(place.position), pair)
            }
            Some(Entry::Gap(gap)) => Found::Gap(gap),
            Some(Entry::Lost(lost)) => Found::Lost(
                lost.records,
                format!(
                    "{} records from position {} on cannot be read: {:?}",
                    lost.records, lost.from.position, lost.reason
                ),
            ),
            Some(Entry::Undecodable { place, why }) => Found::Undecodable(format!(
                "the record at position {} is no half: {why}",
                place.position
            )),
            Some(Entry::Begun { .. }) => Found::Other,
            None => self.at_the_end(),
        })
    }

    fn at_the_end(&mut self) -> Found {
        if self.follow {
            self.clock = now();
            let last = self
                .until_us
                .map(|until| until.saturating_add(self.deadline_us));
            if last.is_none_or(|last| self.clock < last) {
                return Found::Nothing;
            }
            self.follow = false;
        }
        if self.clock == u64::MAX {
            return Found::End;
        }
        // Everything is read: nobody waits for the halves that are still alone.
        self.clock = u64::MAX;
        Found::Other
    }
}

/// Where reading a journal begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StartAt {
    Oldest,
    Latest,
    Position(u64),
}

impl LineSource {
    /// Opens the first file, so that what is wrong with it is told at once.
    pub(crate) fn open(paths: Vec<PathBuf>, kind: Kind) -> Result<Self, String> {
        let mut source = Self {
            kind,
            paths: paths.into(),
            reading: None,
            line: 0,
            buffer: Vec::new(),
        };
        source.open_next()?;
        Ok(source)
    }

    fn next(&mut self) -> Result<Found, String> {
        let Some((path, reader)) = &mut self.reading else {
            return Ok(Found::End);
        };
        let told = |error: io::Error| format!("cannot read {}: {error}", path.display());
        self.line += 1;
        match read_line(reader, &mut self.buffer).map_err(told)? {
            Line::End => {
                self.open_next()?;
                return Ok(Found::Other);
            }
            Line::TooLong => {
                return Ok(Found::Undecodable(format!(
                    "line {} of {} is longer than {MAX_LINE} bytes",
                    self.line,
                    path.display()
                )));
            }
            Line::Read => {}
        }
        let found = match self.kind {
            Kind::Exchanges => exchange_of(&self.buffer),
            Kind::Pairs => pair_of(&self.buffer),
        };
        Ok(found.unwrap_or_else(|why| {
            Found::Undecodable(format!("line {} of {}: {why}", self.line, path.display()))
        }))
    }

    fn open_next(&mut self) -> Result<(), String> {
        self.reading = None;
        self.line = 0;
        if let Some(path) = self.paths.pop_front() {
            let opened =
                open(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            self.reading = Some((path, opened));
        }
        Ok(())
    }
}

fn exchange_of(line: &[u8]) -> Result<Found, json::JsonError> {
    if line.trim_ascii().is_empty() {
        return Ok(Found::Other);
    }
    Ok(match json::read_line(line)? {
        Some(exchange) => Found::Exchange(exchange),
        None => gap_of(line).map_or(Found::Other, Found::Gap),
    })
}

/// The gap that a line tells of.
fn gap_of(line: &[u8]) -> Option<Gap> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let event = line.get("event")?;
    let count = |name| event.get(name).and_then(Value::as_u64).unwrap_or(0);
    let text = |name| event.get(name).and_then(Value::as_str).unwrap_or_default();
    (text("kind") == "gap").then(|| Gap {
        requests: count("requests"),
        responses: count("responses"),
        reason: text("reason").to_owned(),
        ..Gap::default()
    })
}

fn pair_of(line: &[u8]) -> Result<Found, json::JsonError> {
    if line.trim_ascii().is_empty() {
        return Ok(Found::Other);
    }
    let pair = json::read_pair(line)?;
    Ok(pair.map_or(Found::Other, |(name, pair)| {
        Found::Pair(name, Box::new(pair))
    }))
}

/// A file; one whose content is compressed with gzip is read as such.
fn open(path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    let mut reader = BufReader::with_capacity(BUFFER, File::open(path)?);
    if reader.fill_buf()?.starts_with(&GZIP) {
        let decoder = MultiGzDecoder::new(reader);
        return Ok(Box::new(BufReader::with_capacity(BUFFER, decoder)));
    }
    Ok(Box::new(reader))
}

enum Line {
    Read,
    TooLong,
    End,
}

/// Reads a line into the buffer, without its line feed.
fn read_line(reader: &mut dyn BufRead, buffer: &mut Vec<u8>) -> io::Result<Line> {
    buffer.clear();
    let read = reader.take(MAX_LINE).read_until(b'\n', buffer)?;
    if read == 0 {
        return Ok(Line::End);
    }
    if buffer.last() == Some(&b'\n') {
        buffer.pop();
        return Ok(Line::Read);
    }
    if (read as u64) < MAX_LINE {
        // The last line, without a line feed.
        return Ok(Line::Read);
    }
    *buffer = Vec::new();
    skip_line(reader)?;
    Ok(Line::TooLong)
}

fn skip_line(reader: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let block = reader.fill_buf()?;
        let end = block.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(block.len(), |end| end + 1);
        reader.consume(used);
        if end.is_some() || used == 0 {
            return Ok(());
        }
    }
}
