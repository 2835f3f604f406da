//! Files of a capture proxy's records: a line for each, the key of the message, a bar, and the value in base64, as the
//! migration's tools export a topic.
//!
//! A line stands for a message, and its number for an offset, so that all else is as with a topic.

use std::collections::VecDeque;
use std::io::BufRead;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use exchange::message::{Bounds, Incoming, Reader, Told};
use journal::CursorState;

use super::account::{Account, Accounts, of_bookmark};
use super::done::Done;
use super::ids::Ids;
use super::merge::Merge;
use super::worker::{BOUNDS, undecodable};
use crate::replay::{Event, Input, Progress, Source, open_lines, read_until_line_feed};

/// The only partition that there is.
const PARTITION: i32 = 0;
/// How long an exchange may take and still stand in its place. Microseconds.
const WINDOW: u64 = 65_000_000;

/// Exported records, one file after the other.
pub struct ExportSource {
    inputs: VecDeque<Input>,
    reading: Option<(PathBuf, Box<dyn BufRead + Send>)>,
    bytes: Arc<AtomicU64>,
    total: Option<u64>,
    /// The number of the next line.
    line: i64,
    buffer: Vec<u8>,
    reader: Reader,
    merge: Merge,
    accounts: Accounts,
    ids: Ids,
    ready: VecDeque<Event>,
    latest_us: u64,
    is_read: bool,
}

impl std::fmt::Debug for ExportSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExportSource")
            .field("inputs", &self.inputs)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

impl ExportSource {
    /// Reads the files in the order in which they are named, or goes on after what is done.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn open(inputs: &[Input], resumed: Option<CursorState>) -> anyhow::Result<Self> {
        let mut total = Some(0);
        for input in inputs {
            let size = match input {
                Input::Standard => None,
                Input::File(path) => {
                    let metadata = std::fs::metadata(path);
                    let cannot = || format!("cannot read {}", path.display());
                    Some(metadata.with_context(cannot)?.len())
                }
            };
            total = total.zip(size).map(|(total, size)| total + size);
        }
        let done = resumed.and_then(|resumed| of_bookmark(&resumed).remove(&PARTITION));
        let done = done.unwrap_or_else(|| Done::before(0));
        let mut accounts = Accounts::default();
        accounts
            .partitions
            .insert(PARTITION, Account::new(done.low, done));
        Ok(Self {
            inputs: inputs.iter().cloned().collect(),
            reading: None,
            bytes: Arc::default(),
            total,
            line: 0,
            buffer: Vec::new(),
            reader: Reader::new(Bounds::default()),
            merge: Merge::new(BOUNDS),
            accounts,
            ids: Ids::default(),
            ready: VecDeque::new(),
            latest_us: 0,
            is_read: false,
        })
    }

    /// Reads the next line into the buffer. False at the end of everything.
    fn read_line(&mut self) -> anyhow::Result<bool> {
        loop {
            if self.reading.is_none() {
                let Some(input) = self.inputs.pop_front() else {
                    return Ok(false);
                };
                self.reading = Some(open_lines(&input, &self.bytes)?);
            }
            let Some((path, reader)) = &mut self.reading else {
                return Ok(false);
            };
            self.buffer.clear();
            let is_line = read_until_line_feed(reader, &mut self.buffer)
                .with_context(|| format!("cannot read {}", path.display()))?;
            if is_line {
                return Ok(true);
            }
            self.reading = None;
        }
    }

    fn take_line(&mut self) {
        let offset = self.line;
        self.line += 1;
        let account = self.accounts.partitions.get(&PARTITION);
        let is_done = account.is_some_and(|account| offset < account.resumed_low());
        if is_done || self.buffer.trim_ascii().is_empty() {
            return self.passed(offset);
        }
        let mut told = Vec::new();
        match record(&self.buffer) {
            Ok(value) => self.reader.push(
                Incoming {
                    partition: PARTITION,
                    offset,
                    time_us: 0,
                    headers: std::iter::empty(),
                    value,
                },
                &mut told,
            ),
            Err(why) => self.ready.push_back(Event::Undecodable {
                position: u64::try_from(offset).unwrap_or(0),
                why: format!("the line is no record: {why}"),
            }),
        }
        for told in told {
            self.take(told);
        }
        self.passed(offset);
    }

    fn passed(&mut self, offset: i64) {
        let floor = self.reader.floor(PARTITION);
        if let Some(account) = self.accounts.partitions.get_mut(&PARTITION) {
            account.read(offset.saturating_add(1), floor);
        }
    }

    fn take(&mut self, told: Told) {
        let source = told.source().clone();
        let account = self.accounts.partitions.get(&PARTITION);
        if account.is_none_or(|account| account.was_done(source.span)) {
            return;
        }
        let mut exchange = match told {
            Told::Exchange { exchange, .. } => *exchange,
            Told::Unreadable { why, .. } => {
                let event = undecodable(source.span, &why.to_string());
                return self.ready.push_back(event);
            }
            // A capture proxy tells nothing else.
            Told::Request { .. } | Told::Pair { .. } | Told::Gap { .. } => return,
        };
        let id = exchange.id().cloned().unwrap_or_default();
        if !self.ids.insert(&id) {
            self.accounts.again += 1;
            return;
        }
        self.accounts.open(source.span);
        exchange.position = self.accounts.name(exchange.time_us(), &id, source.span);
        self.latest_us = self.latest_us.max(self.merge.push(&source, exchange));
    }

    /// Nothing more comes: what is not complete will not be.
    fn finish(&mut self) {
        self.is_read = true;
        let mut told = Vec::new();
        self.reader.finish(PARTITION, &mut told);
        for told in told {
            self.take(told);
        }
        self.passed(self.line.saturating_sub(1));
    }
}

impl Source for ExportSource {
    fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let limit = match self.is_read {
                true => u64::MAX,
                false => self.latest_us.saturating_sub(WINDOW),
            };
            if let Some(event) = self.merge.pop(limit) {
                return Ok(Some(event));
            }
            if self.is_read {
                return Ok(None);
            }
            if self.read_line()? {
                self.take_line();
            } else {
                self.finish();
            }
        }
    }

    fn done(&mut self, position: u64) {
        self.accounts.done(position);
    }

    fn bookmark(&self) -> CursorState {
        self.accounts.state()
    }

    fn progress(&self) -> Progress {
        Progress {
            done: self.bytes.load(Ordering::Relaxed),
            total: self.total,
            late: self.merge.late(),
            again: self.accounts.again,
        }
    }
}

/// The value of a line: what stands behind the bar, or the whole line when there is none.
fn record(line: &[u8]) -> Result<Bytes, base64::DecodeError> {
    let line = line.trim_ascii();
    // No key of a capture proxy has a bar, and base64 has none.
    let value = line.rsplit(|byte| *byte == b'|').next().unwrap_or_default();
    BASE64.decode(value).map(Bytes::from)
}
