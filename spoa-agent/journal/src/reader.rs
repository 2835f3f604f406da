//! Reading records in order: from memory while the reader keeps up, from the files else.
//!
//! What is read from a file is checked; a record that cannot be read ends its segment, and reading
//! goes on at the next one. Every record that is passed over is counted ([`Item::Lost`]). A reader
//! never returns a wrong record, and never reads past what is written.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{FileError, ReadError};
use crate::record::{self, PREFIX, Parsed};
use crate::segment::{self, HEADER, HeaderFault, Segment};
use crate::tail::reclaim;
use crate::writer::Shared;
use crate::{Place, Position};

const CHUNK: usize = 512 << 10;

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record that is kept.
    Oldest,
    /// After the last record that is written.
    Latest,
    /// At a record boundary, as a cursor kept it.
    At(Place),
}

/// What a reader meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A record.
    Record(Record),
    /// Records that were there and are not any more.
    Lost(Lost),
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it starts.
    pub place: Place,
    /// Where it ends: the position of the next record.
    pub end: Position,
    /// What was appended. A slice of a larger block: see [`Record::detached`].
    pub payload: Bytes,
    /// Bytes of that block.
    block: usize,
}

/// Records that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// How many, by their sequence numbers.
    pub records: u64,
    /// The first of them.
    pub from: Place,
    /// Where reading goes on.
    pub to: Place,
    /// Why.
    pub reason: LostReason,
}

/// Why records cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LostReason {
    /// Deleted to make room before this reader got there.
    Deleted,
    /// Their bytes are damaged, or their file is.
    Damaged,
    /// A crash took them before they reached the disk.
    Missing,
}

/// Reads the records of a journal in order.
#[derive(Debug)]
pub struct Reader {
    source: Source,
    place: Place,
    block: Bytes,
    offset: usize,
    /// The block is what this process wrote: no need to check it again.
    trusted: bool,
    open: Option<(Position, File)>,
}

#[derive(Debug)]
enum Source {
    Live(Arc<Shared>),
    Folder {
        dir: PathBuf,
        segments: Vec<Segment>,
    },
}

/// What stands at a place of the journal.
enum Stretch {
    /// Records of a segment up to `end`; then comes `next`.
    Segment {
        base: Position,
        path: PathBuf,
        end: Position,
        next: Option<Place>,
    },
    /// Nothing any more; the oldest record is at this place.
    Before(Place),
    /// Nothing yet.
    Nothing,
}

enum Fetched {
    More,
    Nothing,
    Lost(Lost),
}

impl Record {
    /// The payload in memory of its own, unless it makes up most of its block anyway: for who
    /// keeps it longer than the next call.
    #[must_use]
    pub fn detached(&self) -> Bytes {
        if self.payload.len() >= self.block / 2 {
            return self.payload.clone();
        }
        Bytes::copy_from_slice(&self.payload)
    }
}

impl Reader {
    pub(crate) fn live(shared: Arc<Shared>, start: Start) -> Self {
        let written = shared.written_place();
        let place = match start {
            Start::Latest => written,
            Start::Oldest => shared
                .segments
                .lock()
                .front()
                .map_or(written, |first| first.base),
            // Recovery leaves no cursor beyond the end; what is there all the same is not of this
            // journal.
            Start::At(place) if place.position > written.position => written,
            Start::At(place) => place,
        };
        Self::at(Source::Live(shared), place)
    }

    pub(crate) fn folder(dir: PathBuf, start: Start) -> Result<Self, ReadError> {
        let segments = list(&dir)?;
        let place = match start {
            Start::At(place) => place,
            Start::Oldest => segments
                .first()
                .map_or_else(Place::default, |first| first.base),
            Start::Latest => segments
                .last()
                .map_or_else(|| Ok(Place::default()), end_of)?,
        };
        Ok(Self::at(Source::Folder { dir, segments }, place))
    }

    fn at(source: Source, place: Place) -> Self {
        Self {
            source,
            place,
            block: Bytes::new(),
            offset: 0,
            trusted: false,
            open: None,
        }
    }

    /// Where the next record starts.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// The next record, or the news that some are lost. `None`: nothing more is written for now.
    /// Reads a file when the reader has fallen behind what is in memory: may block.
    ///
    /// # Errors
    /// Fails when the file system does; the next call tries again at the same place.
    #[expect(
        clippy::should_implement_trait,
        reason = "it can fail, and None is not the end"
    )]
    pub fn next(&mut self) -> Result<Option<Item>, ReadError> {
        let mut want = CHUNK;
        loop {
            let rest = self.block.get(self.offset..).unwrap_or_default();
            let parsed = match rest.is_empty() {
                true => Parsed::Needs(PREFIX),
                false if self.trusted => record::measure(rest),
                false => record::parse(rest),
            };
            let fetched = match parsed {
                Parsed::Whole(total) => return Ok(Some(Item::Record(self.take(total)))),
                Parsed::Needs(total) => {
                    want = want.max(total);
                    self.fetch(want, total)?
                }
                Parsed::Bad(_) => self.skip_damaged()?,
            };
            match fetched {
                Fetched::More => {}
                Fetched::Nothing => return Ok(None),
                Fetched::Lost(lost) if lost.records > 0 => return Ok(Some(Item::Lost(lost))),
                Fetched::Lost(_) => {}
            }
        }
    }

    fn take(&mut self, total: usize) -> Record {
        let place = self.place;
        let payload = self.block.slice(self.offset + PREFIX..self.offset + total);
        self.offset += total;
        self.place = Place {
            position: place.position.saturating_add(total as u64),
            sequence: place.sequence.saturating_add(1),
        };
        Record {
            place,
            end: self.place.position,
            payload,
            block: self.block.len(),
        }
    }

    /// Gets a block that starts at the reader's place: `want` bytes, of which the next record
    /// needs `least`.
    fn fetch(&mut self, want: usize, least: usize) -> Result<Fetched, ReadError> {
        if let Source::Live(shared) = &self.source {
            if self.place.position >= shared.written() {
                return Ok(Fetched::Nothing);
            }
            if let Some(block) = shared.tail.lock().find(self.place.position) {
                let offset = self.place.position - block.start.position;
                self.offset = usize::try_from(offset).unwrap_or(usize::MAX);
                self.block = block.bytes;
                self.trusted = true;
                return Ok(Fetched::More);
            }
        }
        match self.stretch()? {
            Stretch::Nothing => Ok(Fetched::Nothing),
            Stretch::Before(oldest) => Ok(self.jump(oldest, LostReason::Deleted)),
            Stretch::Segment {
                end,
                next: Some(next),
                ..
            } if self.place.position >= end => Ok(self.jump(next, LostReason::Missing)),
            Stretch::Segment { end, .. } if self.place.position >= end => Ok(Fetched::Nothing),
            Stretch::Segment {
                base,
                path,
                end,
                next,
            } => {
                let left = end - self.place.position;
                if least as u64 > left {
                    return Ok(self.give_up(next));
                }
                let size = usize::try_from(left).unwrap_or(usize::MAX).min(want);
                let read = match self.read(base, &path, size) {
                    Ok(read) => read,
                    // Deleted since we looked, or by hand.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                    Err(error) => return Err(FileError::at("read", &path)(error).into()),
                };
                if read < least {
                    Ok(self.give_up(next))
                } else {
                    Ok(Fetched::More)
                }
            }
        }
    }

    /// Reads `size` bytes at the reader's place into the block.
    fn read(&mut self, base: Position, path: &Path, size: usize) -> io::Result<usize> {
        let file = match self.open.take() {
            Some((open, file)) if open == base => file,
            _ => File::open(path)?,
        };
        let mut buffer = reclaim(std::mem::take(&mut self.block)).unwrap_or_default();
        self.offset = 0;
        self.trusted = false;
        buffer.resize(size, 0);
        let offset = HEADER.saturating_add(self.place.position.saturating_sub(base));
        let read = segment::read_at_most(&file, &mut buffer, offset)?;
        self.open = Some((base, file));
        buffer.truncate(read);
        self.block = Bytes::from(buffer);
        Ok(read)
    }

    fn skip_damaged(&mut self) -> Result<Fetched, ReadError> {
        let next = match self.stretch()? {
            Stretch::Segment { next, .. } => next,
            Stretch::Before(oldest) => Some(oldest),
            Stretch::Nothing => None,
        };
        Ok(self.give_up(next))
    }

    /// Leaves a segment in which no record stands at the reader's place.
    fn give_up(&mut self, next: Option<Place>) -> Fetched {
        // Of a segment that grows, a tool cannot tell damage from a record that is being written.
        let next = next.or_else(|| match &self.source {
            Source::Live(shared) => Some(shared.written_place()),
            Source::Folder { .. } => None,
        });
        if let Some(next) = next {
            return self.jump(next, LostReason::Damaged);
        }
        self.forget_block();
        Fetched::Nothing
    }

    fn jump(&mut self, to: Place, reason: LostReason) -> Fetched {
        let from = self.place;
        self.place = to;
        self.forget_block();
        let records = to.sequence.saturating_sub(from.sequence);
        Fetched::Lost(Lost {
            records,
            from,
            to,
            reason,
        })
    }

    fn forget_block(&mut self) {
        self.block = Bytes::new();
        self.offset = 0;
        self.open = None;
    }

    /// Finds the segment of the reader's place.
    fn stretch(&mut self) -> Result<Stretch, ReadError> {
        let position = self.place.position;
        match &mut self.source {
            Source::Live(shared) => {
                let segments = shared.segments.lock();
                let after = segments.partition_point(|segment| segment.base.position <= position);
                let at = after.checked_sub(1).and_then(|at| segments.get(at));
                let next = segments.get(after).map(|next| next.base);
                Ok(stretch_of(at, next))
            }
            Source::Folder { dir, segments } => {
                let known = segments
                    .last()
                    .is_some_and(|last| last.base.position > position);
                if !known {
                    *segments = list(dir)?;
                }
                let after = segments.partition_point(|segment| segment.base.position <= position);
                let at = after.checked_sub(1).and_then(|at| segments.get(at));
                let next = segments.get(after).map(|next| next.base);
                Ok(stretch_of(at, next))
            }
        }
    }
}

fn stretch_of(at: Option<&Segment>, next: Option<Place>) -> Stretch {
    match (at, next) {
        (None, None) => Stretch::Nothing,
        (None, Some(oldest)) => Stretch::Before(oldest),
        (Some(segment), next) => Stretch::Segment {
            base: segment.base.position,
            path: segment.path.clone(),
            end: next.map_or_else(|| segment.end(), |next| segment.end().min(next.position)),
            next,
        },
    }
}

/// The segments in a directory, as far as their headers can be read.
pub(crate) fn list(dir: &Path) -> Result<Vec<Segment>, ReadError> {
    let mut segments = Vec::new();
    for (base, path) in segment::files(dir)? {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(FileError::at("open", &path)(error).into()),
        };
        let size = file.metadata().map_err(FileError::at("read", &path))?.len();
        match segment::read_header(&file, base).map_err(FileError::at("read", &path))? {
            Ok(header) => segments.push(Segment {
                base: header.base,
                len: size.saturating_sub(HEADER),
                created: header.created,
                path,
            }),
            Err(HeaderFault::Version(found)) => {
                return Err(ReadError::OldJournal {
                    path,
                    found,
                    ours: segment::VERSION,
                });
            }
            Err(HeaderFault::Torn | HeaderFault::Foreign) => {}
        }
    }
    Ok(segments)
}

fn end_of(last: &Segment) -> Result<Place, ReadError> {
    let file = File::open(&last.path).map_err(FileError::at("open", &last.path))?;
    let scan = segment::scan(&file, u64::MAX).map_err(FileError::at("read", &last.path))?;
    Ok(Place {
        position: last.base.position.saturating_add(scan.len),
        sequence: last.base.sequence.saturating_add(scan.records),
    })
}
