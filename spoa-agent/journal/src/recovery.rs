//! Opening after a crash: what is on disk is made a journal again, and what that cost is told.
//!
//! The last segment is scanned to its end and cut at the first bad record; of the others only the
//! headers are read. Never touches a record that a scan calls good.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Place;
use crate::cursor::{self, CursorState};
use crate::disk::Disk;
use crate::error::{FileError, OpenError};
use crate::options::Options;
use crate::segment::{self, HEADER, HeaderFault, Segment};
use crate::writer::{self, Active, Shared};

/// What opening the journal found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Segment files in use, the active one included.
    pub segments: usize,
    /// Records in them, by their sequence numbers.
    pub records: u64,
    /// Bytes of the segment files.
    pub bytes: u64,
    /// Where the next record starts.
    pub end: Place,
    /// What was cut off.
    pub cuts: Vec<Cut>,
    /// Files that cannot be used and were left as they are.
    pub damaged: Vec<Damaged>,
    /// Positions left out, because a follower has seen records there that are gone.
    pub hole: Option<Hole>,
}

/// Bytes that were no whole record and are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub file: PathBuf,
    /// The offset in the file from which on it was cut.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// What stood there.
    pub why: String,
}

/// A file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it, and the way out.
    pub why: String,
}

/// Records that a power cut took after a follower had read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// Where the records on disk end.
    pub from: Place,
    /// Where the journal goes on.
    pub to: Place,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} segments, {} records, {} bytes, next position {}",
            self.segments, self.records, self.bytes, self.end.position
        )?;
        for cut in &self.cuts {
            write!(f, "; {cut}")?;
        }
        for damaged in &self.damaged {
            write!(
                f,
                "; cannot use {}: {}",
                damaged.file.display(),
                damaged.why
            )?;
        }
        if let Some(hole) = &self.hole {
            write!(f, "; {hole}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cut {} bytes from {} at offset {}: {}",
            self.bytes,
            self.file.display(),
            self.offset,
            self.why
        )
    }
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} records from position {} to {} are gone though a follower has read up to there (a power cut at a level below sync)",
            self.to.sequence.saturating_sub(self.from.sequence),
            self.from.position,
            self.to.position
        )
    }
}

/// Creates what is missing of a journal's folders.
pub(crate) fn create_folders(dir: &Path) -> Result<(), OpenError> {
    for folder in [dir.to_path_buf(), segment::folder(dir), cursor::folder(dir)] {
        segment::create_folder(&folder)?;
    }
    Ok(())
}

/// Makes the directory a journal that can be appended to. The lock is held.
pub(crate) fn recover(
    options: Options,
    disk: Arc<dyn Disk>,
) -> Result<(Shared, Recovery), OpenError> {
    let dir = options.dir.clone();
    let mut recovery = Recovery::default();
    remove_leftovers(&segment::folder(&dir))?;
    remove_leftovers(&cursor::folder(&dir))?;
    let (cursors, damaged) = cursor::load_all(&dir)?;
    for error in damaged {
        if let crate::CursorError::Damaged { path, .. } = &error {
            recovery.damaged.push(Damaged {
                file: path.clone(),
                why: error.to_string(),
            });
        }
    }
    let mut segments = read_headers(&dir, &mut recovery)?;
    let end = cut_last(&mut segments, &mut recovery)?;
    let start = beyond_cursors(end, &cursors);
    if start != end {
        recovery.hole = Some(Hole {
            from: end,
            to: start,
        });
    }
    let active = match segments.back() {
        Some(last) if start == end && last.len < options.segment_bytes => reopen(last)?,
        _ => start_anew(&*disk, &dir, start, &mut segments)?,
    };
    sync_all(&dir, &segments)?;
    recovery.segments = segments.len();
    recovery.bytes = segments.iter().map(Segment::file_len).sum();
    recovery.end = start;
    let oldest = segments.front().map_or(0, |segment| segment.base.sequence);
    recovery.records = start.sequence.saturating_sub(oldest);
    let lows = cursors
        .into_iter()
        .map(|(name, state)| (name, state.low))
        .collect();
    Ok((
        Shared::new(options, disk, active, start, segments, lows),
        recovery,
    ))
}

fn remove_leftovers(folder: &Path) -> Result<(), FileError> {
    for entry in folder.read_dir().map_err(FileError::at("list", folder))? {
        let path = entry.map_err(FileError::at("list", folder))?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            fs::remove_file(&path).map_err(FileError::at("remove", &path))?;
        }
    }
    Ok(())
}

fn read_headers(dir: &Path, recovery: &mut Recovery) -> Result<VecDeque<Segment>, OpenError> {
    let mut segments: VecDeque<Segment> = VecDeque::new();
    let mut torn: Vec<(PathBuf, u64)> = Vec::new();
    for (base, path) in segment::files(dir)? {
        let file = File::open(&path).map_err(FileError::at("open", &path))?;
        let size = file.metadata().map_err(FileError::at("read", &path))?.len();
        match segment::read_header(&file, base).map_err(FileError::at("read", &path))? {
            Ok(header) => {
                if let Some(before) = segments.back_mut() {
                    before.len = before.len.min(base.saturating_sub(before.base.position));
                }
                // Followed by a good one: not the trace of a crash at its creation.
                recovery.damaged.extend(torn.drain(..).map(unusable));
                let len = size.saturating_sub(HEADER);
                segments.push_back(Segment {
                    base: header.base,
                    len,
                    created: header.created,
                    path,
                });
            }
            Err(HeaderFault::Torn) => torn.push((path, size)),
            Err(HeaderFault::Foreign) => return Err(OpenError::NotASegment { path }),
            Err(HeaderFault::Version(found)) => {
                return Err(OpenError::OldJournal {
                    path,
                    found,
                    ours: segment::VERSION,
                });
            }
        }
    }
    for (file, bytes) in torn {
        fs::remove_file(&file).map_err(FileError::at("remove", &file))?;
        let why = "a segment whose header was never completed".to_owned();
        recovery.cuts.push(Cut {
            file,
            offset: 0,
            bytes,
            why,
        });
    }
    Ok(segments)
}

fn unusable((file, _size): (PathBuf, u64)) -> Damaged {
    let why =
        "its header is damaged; followers see its records as lost; remove it to free the room";
    Damaged {
        file,
        why: why.to_owned(),
    }
}

/// Scans the last segment, and cuts it after its last good record. Returns where it ends.
fn cut_last(segments: &mut VecDeque<Segment>, recovery: &mut Recovery) -> Result<Place, OpenError> {
    let Some(last) = segments.back_mut() else {
        return Ok(Place::default());
    };
    let path = last.path.clone();
    let file = open_for_writing(&path)?;
    let scan = segment::scan(&file, u64::MAX).map_err(FileError::at("read", &path))?;
    if let Some((bytes, damage)) = scan.cut {
        let offset = HEADER + scan.len;
        file.set_len(offset).map_err(FileError::at("cut", &path))?;
        recovery.cuts.push(Cut {
            file: path,
            offset,
            bytes,
            why: damage.to_string(),
        });
    }
    last.len = scan.len;
    Ok(Place {
        position: last.end(),
        sequence: last.base.sequence.saturating_add(scan.records),
    })
}

/// Where the next record may start: no follower has seen another record there.
fn beyond_cursors(end: Place, cursors: &BTreeMap<String, CursorState>) -> Place {
    cursors
        .values()
        .flat_map(|state| [state.low, state.high])
        .fold(end, |start, seen| Place {
            position: start.position.max(seen.position),
            sequence: start.sequence.max(seen.sequence),
        })
}

fn reopen(last: &Segment) -> Result<Active, OpenError> {
    Ok(Active {
        file: Arc::new(open_for_writing(&last.path)?),
        path: last.path.clone(),
        base: last.base,
        created: last.created,
        len: last.len,
    })
}

fn start_anew(
    disk: &dyn Disk,
    dir: &Path,
    start: Place,
    segments: &mut VecDeque<Segment>,
) -> Result<Active, OpenError> {
    if let Some(empty) = segments.pop_back_if(|last| last.len == 0) {
        fs::remove_file(&empty.path).map_err(FileError::at("remove", &empty.path))?;
    }
    let active = writer::create(disk, dir, start).map_err(|(path, source)| FileError {
        path,
        doing: "create",
        source,
    })?;
    segments.push_back(active.segment());
    Ok(active)
}

/// What a process wrote before it was killed may be in the kernel only. Segments that are clean cost
/// nothing here.
fn sync_all(dir: &Path, segments: &VecDeque<Segment>) -> Result<(), OpenError> {
    for segment in segments {
        File::open(&segment.path)
            .and_then(|file| file.sync_data())
            .map_err(FileError::at("sync", &segment.path))?;
    }
    Ok(segment::sync_folder(&segment::folder(dir))?)
}

fn open_for_writing(path: &Path) -> Result<File, FileError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(FileError::at("open", path))
}
