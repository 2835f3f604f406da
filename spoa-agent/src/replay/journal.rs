//! A journal's directory as a source. It is only read: no lock is taken, no cursor kept in it, and an agent may
//! be writing to it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use exchange::Half;
use journal::{CursorState, Finished, Item, Pairing, PairingOptions, Place, Reader, Record, Start};

use super::source::{Book, Event, Progress, Source};

/// The exchanges that a journal holds when it is opened; what is appended later is another replay's.
#[derive(Debug)]
pub struct JournalSource {
    reader: Reader,
    begin: Place,
    end: Place,
    pairing: Pairing,
    book: Book,
    ready: VecDeque<Event>,
    /// Unix time in microseconds.
    latest_believable: u64,
}

impl JournalSource {
    /// Reads from the oldest record, or goes on after what is done.
    ///
    /// # Errors
    /// When the directory is no journal, or cannot be read.
    pub fn open(dir: &Path, resumed: Option<CursorState>) -> anyhow::Result<Self> {
        if !dir.is_dir() {
            bail!("there is no such directory as {}", dir.display());
        }
        let segments = journal::list(dir).with_context(|| {
            format!(
                "{} is no journal; name the directory that journal.dir names, or a traffic log with file:PATH",
                dir.display()
            )
        })?;
        let Some(oldest) = segments.first().map(|segment| segment.base) else {
            bail!(
                "{} holds no exchange: there is nothing to replay",
                dir.display()
            );
        };
        let end = Reader::open_dir(dir, Start::Latest)?.place();
        let resumed = resumed.unwrap_or_else(|| CursorState::at(oldest));
        if resumed.low.position > end.position {
            bail!(
                "the replay was at position {} of the journal {}, which ends at {}; it is another journal now: use --restart",
                resumed.low.position,
                dir.display(),
                end.position
            );
        }
        Ok(Self {
            reader: Reader::open_dir(dir, Start::At(resumed.low))?,
            begin: oldest,
            end,
            pairing: Pairing::new(PairingOptions::default()),
            book: Book::new(resumed),
            ready: VecDeque::new(),
            latest_believable: super::now_us().saturating_add(60_000_000),
        })
    }

    fn take(&mut self, record: &Record) {
        let sequence = record.place.sequence;
        let next = Place {
            position: record.end,
            sequence: sequence.saturating_add(1),
        };
        if self.book.passed(sequence, next) {
            return;
        }
        // A half may wait long for the other one: it must not keep a block of a thousand others in memory.
        let half = match Half::decode(&record.detached()) {
            Ok(Half::Gap(gap)) => return self.ready.push_back(Event::Gap(gap)),
            Ok(half) => half,
            Err(error) => {
                return self.ready.push_back(Event::Undecodable {
                    position: record.place.position,
                    why: error.to_string(),
                });
            }
        };
        let request = match &half {
            Half::Request(request) => Some(Arc::new(request.clone())),
            _ => None,
        };
        // A time far ahead of the clock is a wrong one, and would end every wait at once.
        if half.time_us() <= self.latest_believable {
            self.pairing.expire(half.time_us());
            self.hand_out();
        }
        if !self.pairing.offer(half, record.place, record.payload.len()) {
            return;
        }
        self.book.opened(record.place);
        if let Some(request) = request {
            self.ready.push_back(Event::Begun {
                position: record.place.position,
                request,
            });
        }
        self.hand_out();
    }

    /// Gives out what the pairing has finished.
    fn hand_out(&mut self) {
        while let Some(finished) = self.pairing.ready() {
            let Finished {
                exchange,
                first,
                second,
            } = finished;
            self.book.given_out(exchange.position, first, second);
            self.name_begun(&exchange);
            self.ready.push_back(Event::Complete(Arc::new(exchange)));
        }
    }

    /// When the response half came first, the exchange has its position, not that of the request half.
    fn name_begun(&mut self, exchange: &exchange::Exchange) {
        if let (Some(Event::Begun { position, request }), Some(own)) =
            (self.ready.back_mut(), &exchange.request)
            && request.id == own.id
        {
            *position = exchange.position;
        }
    }
}

impl Source for JournalSource {
    fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let is_over = self.reader.place() >= self.end;
            let item = if is_over { None } else { self.reader.next()? };
            match item {
                Some(Item::Record(record)) => self.take(&record),
                Some(Item::Lost(lost)) => {
                    self.book.passed(lost.to.sequence, lost.to);
                    return Ok(Some(Event::Lost(lost)));
                }
                None => {
                    self.pairing.expire(u64::MAX);
                    self.hand_out();
                    if self.ready.is_empty() {
                        return Ok(None);
                    }
                }
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
        let begin = self.begin.position;
        Progress {
            done: self.reader.place().position.saturating_sub(begin),
            total: Some(self.end.position.saturating_sub(begin)),
            late: 0,
            again: 0,
        }
    }
}
