//! A look at a journal's directory without opening it: lists its segments, and checks every record.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::Place;
use crate::cursor::{self, CursorState};
use crate::error::{FileError, ReadError};
use crate::reader;
use crate::record;
use crate::segment::{self, HEADER, HeaderFault};

/// A segment, as its header and its size tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentEntry {
    /// The file.
    pub path: PathBuf,
    /// Its first record.
    pub base: Place,
    /// Unix time in microseconds.
    pub created: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// What checking every record of a segment found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentReport {
    /// The file.
    pub path: PathBuf,
    /// Its first record; `None` when the header cannot be read.
    pub base: Option<Place>,
    /// Good records.
    pub records: u64,
    /// Bytes of good records.
    pub bytes: u64,
    /// What comes after them.
    pub verdict: Verdict,
}

/// Whether a segment is as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every record is there.
    Whole,
    /// The last segment ends in the middle of a record: one is being written, or a crash left it. The
    /// next recovery cuts it.
    Torn {
        /// Bytes after the last good record.
        bytes: u64,
    },
    /// Records are damaged or missing; readers go on at the next segment.
    Damaged {
        /// The offset in the file after the last good record.
        offset: u64,
        /// Records lost; `None` where nothing tells.
        lost: Option<u64>,
        /// What stands there.
        why: String,
    },
}

/// The segments in `dir`, oldest first. Files without a readable header are left out.
///
/// # Errors
/// Fails when the directory cannot be read, or holds segments of another version.
pub fn list(dir: &Path) -> Result<Vec<SegmentEntry>, ReadError> {
    let entry = |segment: segment::Segment| SegmentEntry {
        bytes: segment.file_len(),
        path: segment.path,
        base: segment.base,
        created: segment.created,
    };
    Ok(reader::list(dir)?.into_iter().map(entry).collect())
}

/// The cursors saved in `dir`, by name. Those that are damaged are left out; opening the journal
/// names them.
///
/// # Errors
/// Fails when the directory cannot be read.
pub fn cursors(dir: &Path) -> Result<Vec<(String, CursorState)>, ReadError> {
    let (cursors, _damaged) = cursor::load_all(dir)?;
    Ok(cursors.into_iter().collect())
}

/// Checks every record in `dir`, also while a writer is at work.
///
/// # Errors
/// Fails when a file cannot be read, or is of another version.
pub fn verify(dir: &Path) -> Result<Vec<SegmentReport>, ReadError> {
    let files = segment::files(dir)?;
    let headers = reader::list(dir)?;
    let mut reports = Vec::with_capacity(files.len());
    for (position, path) in files {
        let next = headers
            .iter()
            .map(|segment| segment.base)
            .find(|base| base.position > position);
        let file = match File::open(&path) {
            Ok(file) => file,
            // Deleted by the writer since we looked.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(FileError::at("open", &path)(error).into()),
        };
        reports.push(check(&file, path, position, next)?);
    }
    Ok(reports)
}

fn check(
    file: &File,
    path: PathBuf,
    position: u64,
    next: Option<Place>,
) -> Result<SegmentReport, ReadError> {
    let header = segment::read_header(file, position).map_err(FileError::at("read", &path))?;
    let base = match header {
        Ok(header) => header.base,
        Err(HeaderFault::Version(found)) => {
            return Err(ReadError::OldJournal {
                path,
                found,
                ours: segment::VERSION,
            });
        }
        Err(fault @ (HeaderFault::Torn | HeaderFault::Foreign)) => {
            let why = match fault {
                HeaderFault::Torn => "its header is damaged or was never completed",
                _ => "it is not a segment",
            };
            let verdict = Verdict::Damaged {
                offset: 0,
                lost: None,
                why: why.to_owned(),
            };
            return Ok(SegmentReport {
                path,
                base: None,
                records: 0,
                bytes: 0,
                verdict,
            });
        }
    };
    let limit = next.map_or(u64::MAX, |next| next.position.saturating_sub(position));
    let scan = segment::scan(file, limit).map_err(FileError::at("read", &path))?;
    let end = base.sequence.saturating_add(scan.records);
    let lost = next.map(|next| next.sequence.saturating_sub(end));
    let verdict = match (scan.cut, lost) {
        (None, None | Some(0)) => Verdict::Whole,
        (Some((bytes, record::Damage::Torn)), None) => Verdict::Torn { bytes },
        (cut, lost) => Verdict::Damaged {
            offset: HEADER + scan.len,
            lost,
            why: cut.map_or_else(
                || "records after the end are missing".to_owned(),
                |(_, damage)| damage.to_string(),
            ),
        },
    };
    Ok(SegmentReport {
        path,
        base: Some(base),
        records: scan.records,
        bytes: scan.len,
        verdict,
    })
}
