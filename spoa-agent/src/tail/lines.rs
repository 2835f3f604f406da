//! A file of lines as a source: a traffic log or a pair log, also while it grows and is rotated away; or the
//! standard input.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use exchange::json::{self, PairName};
use flate2::read::MultiGzDecoder;

use super::print::Item;
use super::source::{Next, Opened, Reach, Source};

/// How far back one unit of [`Reach::Back`] goes.
const BLOCK: u64 = 1 << 20;
/// The longest line that is read. A longer one is passed over, and that is told.
const MAX_LINE: u64 = 256 << 20;
const BUFFER: usize = 256 << 10;

pub(super) struct LineTail {
    input: Box<dyn BufRead>,
    /// The file that is read, where it can be followed.
    file: Option<Followed>,
    /// What was read of a line so far.
    line: Vec<u8>,
    /// The line is longer than [`MAX_LINE`].
    is_too_long: bool,
}

/// A file that may be rotated away while it is read.
struct Followed {
    path: PathBuf,
    inode: u64,
    /// Bytes that were read.
    offset: u64,
}

impl LineTail {
    pub(super) fn standard_input() -> Opened {
        let source = Self {
            input: Box::new(BufReader::with_capacity(BUFFER, io::stdin())),
            file: None,
            line: Vec::new(),
            is_too_long: false,
        };
        Opened {
            source: Box::new(source),
            is_whole: true,
        }
    }

    pub(super) fn open(path: &Path, reach: Reach, follow: bool) -> anyhow::Result<Opened> {
        let cannot = || format!("cannot read {}", path.display());
        let mut file = File::open(path).with_context(cannot)?;
        if is_compressed(&mut file).with_context(cannot)? {
            if follow {
                bail!(
                    "{} is compressed: nothing is added to it, so there is nothing to follow; leave out --follow",
                    path.display()
                );
            }
            let source = Self {
                input: Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file))),
                file: None,
                line: Vec::new(),
                is_too_long: false,
            };
            return Ok(Opened {
                source: Box::new(source),
                is_whole: true,
            });
        }
        let metadata = file.metadata().with_context(cannot)?;
        let start = match reach {
            Reach::Back(back) => metadata.len().saturating_sub(back.saturating_mul(BLOCK)),
            Reach::All | Reach::Since(_) => 0,
        };
        let mut source = Self {
            input: Box::new(io::empty()),
            file: follow.then(|| Followed {
                path: path.to_owned(),
                inode: metadata.ino(),
                offset: start,
            }),
            line: Vec::new(),
            is_too_long: false,
        };
        // One byte before, so that a line that begins there is not taken for the rest of another one.
        let before = start.saturating_sub(1);
        file.seek(SeekFrom::Start(before)).with_context(cannot)?;
        let mut input = BufReader::with_capacity(BUFFER, file);
        if start > 0 {
            let skipped = input.skip_until(b'\n').with_context(cannot)?;
            if let Some(file) = &mut source.file {
                file.offset = before.saturating_add(skipped as u64);
            }
        }
        source.input = Box::new(input);
        Ok(Opened {
            source: Box::new(source),
            is_whole: start == 0,
        })
    }

    /// Reads on until the line is whole. False at the end of what is there.
    fn read_line(&mut self) -> io::Result<bool> {
        let room = MAX_LINE.saturating_sub(self.line.len() as u64);
        let read = (&mut self.input)
            .take(room)
            .read_until(b'\n', &mut self.line)?;
        if let Some(file) = &mut self.file {
            file.offset = file.offset.saturating_add(read as u64);
        }
        if self.line.ends_with(b"\n") {
            return Ok(true);
        }
        if self.line.len() as u64 >= MAX_LINE {
            self.is_too_long = true;
            self.line.clear();
        }
        Ok(false)
    }

    /// Goes over to the file that has taken the name of this one. False when there is none.
    fn turn_over(&mut self) -> io::Result<bool> {
        let Some(file) = &mut self.file else {
            return Ok(false);
        };
        let found = match std::fs::metadata(&file.path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        // Whoever writes goes on in the old file until there is something in the new one.
        let is_other = found.ino() != file.inode && found.len() > 0;
        let is_cut = found.ino() == file.inode && found.len() < file.offset;
        if !is_other && !is_cut {
            return Ok(false);
        }
        if is_other && self.read_line()? {
            return Ok(true);
        }
        let Some(file) = &mut self.file else {
            return Ok(false);
        };
        let opened = File::open(&file.path)?;
        file.inode = opened.metadata()?.ino();
        file.offset = 0;
        self.input = Box::new(BufReader::with_capacity(BUFFER, opened));
        self.line.clear();
        self.read_line()
    }

    fn take_line(&mut self) -> Option<Item> {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.is_too_long) {
            let limit = MAX_LINE >> 20;
            return Some(Item::Note(format!(
                "a line is longer than {limit} MiB; it is passed over"
            )));
        }
        item(&line)
    }
}

impl Source for LineTail {
    fn next(&mut self) -> anyhow::Result<Next> {
        loop {
            if self.read_line()? || self.turn_over()? {
                match self.take_line() {
                    Some(item) => return Ok(Next::Item(item)),
                    None => continue,
                }
            }
            if self.file.is_some() {
                return Ok(Next::Waiting);
            }
            // The last line of a file may lack its line feed.
            return Ok(match self.take_line() {
                Some(item) => Next::Item(item),
                None => Next::End,
            });
        }
    }
}

/// What a line tells. `None` for an empty one.
pub(super) fn item(line: &[u8]) -> Option<Item> {
    let line = line.trim_ascii();
    if line.is_empty() {
        return None;
    }
    let other = |why: &dyn std::fmt::Display| {
        let begin = line.get(..line.len().min(60)).unwrap_or_default();
        Item::Note(format!(
            "a line is no exchange ({why}): {}",
            begin.escape_ascii()
        ))
    };
    Some(match json::read_line(line) {
        Ok(Some(exchange)) => Item::Exchange(Box::new(exchange)),
        Ok(None) => match json::read_pair(line) {
            Ok(Some((PairName::Position(position), pair))) => Item::Pair {
                position,
                pair: Box::new(pair),
            },
            Ok(Some((PairName::Letter { number, .. }, pair))) => Item::Pair {
                position: number,
                pair: Box::new(pair),
            },
            Ok(None) => gap(line).unwrap_or_else(|error| other(&error)),
            Err(error) => other(&error),
        },
        Err(error) => other(&error),
    })
}

fn gap(line: &[u8]) -> Result<Item, json::JsonError> {
    let (position, gap) = json::read_gap(line)?;
    Ok(Item::Gap { gap, position })
}

fn is_compressed(file: &mut File) -> io::Result<bool> {
    let mut magic = [0; 2];
    let mut read = 0;
    while let Some(rest) = magic.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            more => read += more,
        }
    }
    file.rewind()?;
    Ok(read == magic.len() && magic == [0x1f, 0x8b])
}
