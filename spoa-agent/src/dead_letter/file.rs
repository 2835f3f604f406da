//! The file of dead letters, shared by the agent that appends and the commands that remove.
//!
//! Whoever changes it holds a lock on `FILE.lock` meanwhile, because a removal replaces the file. Readers
//! need none: they see the file as it was, or as it is.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{
    self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _,
};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use exchange::Pair;
use exchange::json::{self, PairName};
use serde::Deserialize;

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its number in the file.
    pub number: u64,
    /// Unix time in microseconds at which it was written.
    pub time_us: u64,
    /// What is known of the exchange: request, answers, cause.
    pub pair: Pair,
}

/// Reads the letters, oldest first. A line that is no letter is an error in its place.
///
/// # Errors
/// When the file cannot be opened. One that is not there is an error too.
pub fn read(path: &Path) -> io::Result<impl Iterator<Item = io::Result<Letter>> + use<>> {
    let mut lines = BufReader::with_capacity(64 << 10, File::open(path)?);
    let mut line = Vec::new();
    Ok(std::iter::from_fn(move || {
        line.clear();
        match lines.read_until(b'\n', &mut line) {
            // Without its end, it is still being written.
            Ok(_) if line.last() != Some(&b'\n') => None,
            Ok(_) => Some(letter(&line)),
            Err(error) => Some(Err(error)),
        }
    }))
}

fn letter(line: &[u8]) -> io::Result<Letter> {
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    match json::read_pair(line) {
        Ok(Some((PairName::Letter { number, time_us }, pair))) => Ok(Letter {
            number,
            time_us,
            pair,
        }),
        Ok(_) => Err(wrong("a line is no dead letter".to_owned())),
        Err(error) => Err(wrong(format!("a line is no dead letter: {error}"))),
    }
}

/// Removes the letters with these numbers, and returns how many there were. Lines that are no letters stay.
///
/// # Errors
/// When the system refuses; then all letters are still there.
pub fn remove(path: &Path, numbers: &BTreeSet<u64>) -> io::Result<u64> {
    let mut locked = Locked::open(path)?;
    locked.replace(|line| !number_of(line).is_some_and(|number| numbers.contains(&number)))
}

/// Which file it is, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    inode: u64,
    pub(super) length: u64,
}

/// What is at the end of the file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct End {
    /// The greatest number of a letter, or 0.
    pub(super) last_number: u64,
}

/// The file, while nobody else changes it.
#[derive(Debug)]
pub(super) struct Locked {
    path: PathBuf,
    file: File,
    _lock: File,
}

impl Locked {
    /// Waits for the lock, and opens or creates the file.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let lock = private().write(true).open(beside(path, ".lock"))?;
        lock.lock()?;
        Ok(Self {
            path: path.to_path_buf(),
            file: private().read(true).append(true).open(path)?,
            _lock: lock,
        })
    }

    pub(super) fn shape(&self) -> io::Result<Shape> {
        let metadata = self.file.metadata()?;
        Ok(Shape {
            inode: metadata.ino(),
            length: metadata.len(),
        })
    }

    /// Appends a whole line, or nothing.
    pub(super) fn append(&self, line: &[u8], sync: bool) -> io::Result<()> {
        let length = self.shape()?.length;
        if let Err(error) = (&self.file).write_all(line) {
            // A part of a line would run into the next one.
            self.file.set_len(length)?;
            return Err(error);
        }
        if sync {
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// A kill may leave a part of a line.
    pub(super) fn cut_unfinished_line(&self) -> io::Result<End> {
        let mut end = End::default();
        let mut whole = 0;
        self.lines(|line| {
            whole += line.len() as u64;
            end.last_number = end.last_number.max(number_of(line).unwrap_or(0));
            Ok(())
        })?;
        if whole < self.shape()?.length {
            self.file.set_len(whole)?;
        }
        Ok(end)
    }

    /// Keeps the newest letters that have room in so many bytes. Returns how many went.
    pub(super) fn keep_newest(&mut self, room: u64) -> io::Result<u64> {
        let mut left = self.shape()?.length;
        self.replace(move |line| {
            let stays = left <= room;
            left = left.saturating_sub(line.len() as u64);
            stays
        })
    }

    /// Writes the lines that stay into a new file, and puts it in the place of this one. Returns how many
    /// went.
    fn replace(&mut self, mut stays: impl FnMut(&[u8]) -> bool) -> io::Result<u64> {
        let path = beside(&self.path, ".new");
        let file = private()
            .read(true)
            .write(true)
            .truncate(true)
            .open(&path)?;
        let mut out = BufWriter::with_capacity(64 << 10, file);
        let mut gone = 0;
        self.lines(|line| {
            if stays(line) {
                return out.write_all(line);
            }
            gone += 1;
            Ok(())
        })?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&path, &self.path)?;
        File::open(folder(&self.path))?.sync_all()?;
        self.file = private().read(true).append(true).open(&self.path)?;
        Ok(gone)
    }

    /// Looks at each whole line.
    fn lines(&self, mut look: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0))?;
        let mut lines = BufReader::with_capacity(64 << 10, file.take(u64::MAX));
        let mut line = Vec::new();
        loop {
            line.clear();
            lines.read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                return Ok(());
            }
            look(&line)?;
        }
    }
}

/// For its owner only.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    options
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[derive(Deserialize)]
struct Line {
    event: Event,
}

#[derive(Deserialize)]
struct Event {
    number: u64,
}

fn number_of(line: &[u8]) -> Option<u64> {
    let Line { event } = serde_json::from_slice(line).ok()?;
    Some(event.number)
}
