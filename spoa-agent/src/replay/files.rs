//! Traffic logs as a source: lines of `traffic_log`, in one file or in several, compressed or not, or from
//! the standard input.
//!
//! Lines are exchanges in the order of their completion; `window` puts them into the order of time. A position is the
//! number of the exchange's line, counted over all files, so that it is the same in each run.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail};
use exchange::{Gap, json};
use flate2::read::MultiGzDecoder;
use journal::{CursorState, Place};

use super::source::{Book, Event, Progress, Source};
use super::window::{Window, WindowBounds};

/// The longest line that is read. A longer one is passed over and counted.
const MAX_LINE: u64 = 256 << 20;
const BUFFER: usize = 256 << 10;

/// Lines of files, one file after the other.
pub struct FileSource {
    inputs: VecDeque<Input>,
    reading: Option<(PathBuf, Box<dyn BufRead + Send>)>,
    read: Arc<AtomicU64>,
    total: Option<u64>,
    window: Window,
    book: Book,
    /// The number of the next line.
    line: u64,
    events: VecDeque<Event>,
    buffer: Vec<u8>,
}

/// Where lines come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file; one whose content is compressed with gzip is read as such.
    File(PathBuf),
    /// The standard input.
    Standard,
}

impl std::fmt::Debug for FileSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSource")
            .field("inputs", &self.inputs)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

impl FileSource {
    /// Reads the files in the order of the time of their first lines, so that rotated ones may be named in any order,
    /// or goes on after what is done.
    ///
    /// # Errors
    /// When a file cannot be read, or does not begin with an exchange.
    pub fn open(inputs: &[Input], resumed: Option<CursorState>) -> anyhow::Result<Self> {
        let mut sorted = Vec::new();
        let mut total = Some(0);
        for input in inputs {
            let Input::File(path) = input else {
                total = None;
                sorted.push((0, input.clone()));
                continue;
            };
            let size = File::open(path)
                .and_then(|file| file.metadata())
                .with_context(|| format!("cannot read {}", path.display()))?
                .len();
            total = total.map(|total| total + size);
            if let Some(time) = first_time(path)? {
                sorted.push((time, input.clone()));
            }
        }
        sorted.sort_by_key(|(time, _)| *time);
        let resumed = resumed.unwrap_or_default();
        Ok(Self {
            inputs: sorted.into_iter().map(|(_, input)| input).collect(),
            reading: None,
            read: Arc::default(),
            total,
            window: Window::new(WindowBounds::default()),
            line: 0,
            book: Book::new(resumed),
            events: VecDeque::new(),
            buffer: Vec::new(),
        })
    }

    /// Reads the next line into the buffer. False at the end of everything.
    fn read_line(&mut self) -> anyhow::Result<bool> {
        loop {
            let (path, reader) = match &mut self.reading {
                Some((path, reader)) => (path, reader),
                None => {
                    let Some(input) = self.inputs.pop_front() else {
                        return Ok(false);
                    };
                    let opened = open(&input, &self.read)?;
                    let (path, reader) = self.reading.insert(opened);
                    (path, reader)
                }
            };
            self.buffer.clear();
            let read = read_until_line_feed(reader, &mut self.buffer)
                .with_context(|| format!("cannot read {}", path.display()))?;
            if read {
                return Ok(true);
            }
            self.reading = None;
        }
    }

    fn take_line(&mut self) {
        let line = self.line;
        self.line += 1;
        let place = |number| Place {
            position: number,
            sequence: number,
        };
        if self.book.passed(line, place(self.line)) || self.buffer.trim_ascii().is_empty() {
            return;
        }
        match json::read_line(&self.buffer) {
            Ok(Some(mut exchange)) => {
                self.book.opened(place(line));
                exchange.position = line;
                self.window.push(exchange);
            }
            Ok(None) => self.events.push_back(Event::Gap(gap(&self.buffer))),
            Err(error) => self.events.push_back(Event::Undecodable {
                position: line,
                why: error.to_string(),
            }),
        }
    }
}

impl Source for FileSource {
    fn next(&mut self) -> anyhow::Result<Option<Event>> {
        let mut at_end = false;
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if let Some(event) = self.window.pop(at_end) {
                if let Event::Complete(exchange) = &event {
                    let line = exchange.position;
                    self.book.given_out(line, line, None);
                }
                return Ok(Some(event));
            }
            if at_end {
                return Ok(None);
            }
            if self.read_line()? {
                self.take_line();
            } else {
                at_end = true;
            }
        }
    }

    fn done(&mut self, position: u64) {
        self.book.done(position);
    }

    fn bookmark(&self) -> CursorState {
        self.book.bookmark()
    }

    fn progress(&self) -> Progress {
        Progress {
            done: self.read.load(Ordering::Relaxed),
            total: self.total,
            late: self.window.late(),
            again: 0,
        }
    }
}

/// The halves that a line about a gap tells of.
fn gap(line: &[u8]) -> Gap {
    let line: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
    let count = |name: &str| {
        line.pointer(&format!("/event/{name}"))
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0)
    };
    Gap {
        requests: count("requests"),
        responses: count("responses"),
        ..Gap::default()
    }
}

/// The time of the first line that is an exchange. `None` when the file has no line.
fn first_time(path: &Path) -> anyhow::Result<Option<u64>> {
    let (_, mut reader) = open(&Input::File(path.to_owned()), &Arc::default())?;
    let mut line = Vec::new();
    loop {
        line.clear();
        let is_line = read_until_line_feed(&mut reader, &mut line)
            .with_context(|| format!("cannot read {}", path.display()))?;
        if !is_line {
            return Ok(None);
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match json::read_line(&line) {
            Ok(Some(exchange)) => return Ok(Some(exchange.time_us())),
            Ok(None) => {}
            Err(error) => bail!(
                "{} does not begin with an exchange ({error}); it must be a traffic log of this agent, with its bodies",
                path.display()
            ),
        }
    }
}

pub(crate) fn open(
    input: &Input,
    read: &Arc<AtomicU64>,
) -> anyhow::Result<(PathBuf, Box<dyn BufRead + Send>)> {
    let (path, raw): (PathBuf, Box<dyn Read + Send>) = match input {
        Input::Standard => ("the standard input".into(), Box::new(io::stdin())),
        Input::File(path) => {
            let file = File::open(path);
            let file = file.with_context(|| format!("cannot read {}", path.display()))?;
            (path.clone(), Box::new(file))
        }
    };
    let counted = Counted {
        raw,
        read: Arc::clone(read),
    };
    let mut reader = BufReader::with_capacity(BUFFER, counted);
    let begin = reader
        .fill_buf()
        .with_context(|| format!("cannot read {}", path.display()))?;
    if begin.starts_with(&[0x1f, 0x8b]) {
        let decoder = MultiGzDecoder::new(reader);
        return Ok((path, Box::new(BufReader::with_capacity(BUFFER, decoder))));
    }
    Ok((path, Box::new(reader)))
}

/// Counts the bytes of the file, compressed as they may be.
struct Counted {
    raw: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.raw.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Reads a line without its line feed. One that is too long is passed over but for its beginning, which is no JSON.
/// False at the end.
pub(crate) fn read_until_line_feed(
    reader: &mut dyn BufRead,
    line: &mut Vec<u8>,
) -> io::Result<bool> {
    let read = (&mut *reader).take(MAX_LINE).read_until(b'\n', line)?;
    if read == 0 {
        return Ok(false);
    }
    if line.pop_if(|byte| *byte == b'\n').is_none() && read as u64 == MAX_LINE {
        reader.skip_until(b'\n')?;
    }
    Ok(true)
}
