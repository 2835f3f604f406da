//! One segment file: a header, then records back to back. The file's name is the position of its
//! first record, so the order of names is the order of records.
//!
//! Knows how a segment looks on disk and how to scan one; never decides when to start, cut or
//! delete one ([`crate::writer`], [`crate::recovery`], [`crate::retention`]).

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::FileError;
use crate::record::{self, Damage, Parsed};
use crate::{Place, Position};

/// Bytes before the first record of a segment.
pub(crate) const HEADER: u64 = 48;
const HEADER_LEN: usize = 48;
const MAGIC: [u8; 8] = *b"SPOAJRNL";
/// The version of the segment format this build writes and reads.
pub const VERSION: u32 = 1;
const SCAN_CHUNK: usize = 1 << 20;

/// What a segment's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) base: Place,
    /// Unix time in microseconds.
    pub(crate) created: u64,
}

/// Why a header cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// The file ends before the header does, or the header is zeros or fails its checksum: what a
    /// crash leaves of a segment that was just being created.
    Torn,
    /// Not a segment at all.
    Foreign,
    /// A segment of another version of the format.
    Version(u32),
}

/// A segment as the journal keeps it in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) base: Place,
    /// Bytes of whole records.
    pub(crate) len: u64,
    pub(crate) created: u64,
    pub(crate) path: PathBuf,
}

impl Segment {
    pub(crate) fn end(&self) -> Position {
        self.base.position.saturating_add(self.len)
    }

    pub(crate) fn file_len(&self) -> u64 {
        self.len.saturating_add(HEADER)
    }
}

/// What a scan over the records of one segment found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scan {
    pub(crate) records: u64,
    /// Bytes of whole records from the start.
    pub(crate) len: u64,
    /// Bytes after them, and why they are no record.
    pub(crate) cut: Option<(u64, Damage)>,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        out.extend_from_slice(&self.base.position.to_le_bytes());
        out.extend_from_slice(&self.base.sequence.to_le_bytes());
        out.extend_from_slice(&self.created.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        let mut header = [0; HEADER_LEN];
        header.copy_from_slice(&out);
        header
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(HeaderFault::Torn);
        };
        let Some(rest) = header.strip_prefix(&MAGIC) else {
            return Err(without_magic(header));
        };
        let (version, rest) = take_u32(rest)?;
        // Zero never was a version: it is what a crash leaves of bytes that were to be written.
        if version == 0 {
            return Err(HeaderFault::Torn);
        }
        // The version comes before the checksum: another version may keep it elsewhere.
        if version != VERSION {
            return Err(HeaderFault::Version(version));
        }
        let (_reserved, rest) = take_u32(rest)?;
        let (position, rest) = take_u64(rest)?;
        let (sequence, rest) = take_u64(rest)?;
        let (created, rest) = take_u64(rest)?;
        let (_reserved, rest) = take_u32(rest)?;
        let (crc, _) = take_u32(rest)?;
        let Some((covered, _)) = header.split_last_chunk::<4>() else {
            return Err(HeaderFault::Torn);
        };
        if crc32c::crc32c(covered) != crc {
            return Err(HeaderFault::Torn);
        }
        Ok(Self {
            base: Place { position, sequence },
            created,
        })
    }
}

/// Zeros from somewhere in the magic on are the trace of a crash; anything else is not ours.
fn without_magic(header: &[u8]) -> HeaderFault {
    let ours = header
        .iter()
        .zip(MAGIC)
        .take_while(|(byte, magic)| *byte == magic)
        .count();
    if header.iter().skip(ours).all(|byte| *byte == 0) {
        HeaderFault::Torn
    } else {
        HeaderFault::Foreign
    }
}

fn take_u32(bytes: &[u8]) -> Result<(u32, &[u8]), HeaderFault> {
    let (value, rest) = bytes.split_first_chunk::<4>().ok_or(HeaderFault::Torn)?;
    Ok((u32::from_le_bytes(*value), rest))
}

fn take_u64(bytes: &[u8]) -> Result<(u64, &[u8]), HeaderFault> {
    let (value, rest) = bytes.split_first_chunk::<8>().ok_or(HeaderFault::Torn)?;
    Ok((u64::from_le_bytes(*value), rest))
}

/// The folder of the segments in a journal's directory.
pub(crate) fn folder(dir: &Path) -> PathBuf {
    dir.join("segments")
}

/// The file of the segment that starts at `base`.
pub(crate) fn path(dir: &Path, base: Position) -> PathBuf {
    folder(dir).join(format!("{base:020}.seg"))
}

/// The segment files in `dir`, by rising base position. Other files are not ours and are left
/// alone.
pub(crate) fn files(dir: &Path) -> Result<Vec<(Position, PathBuf)>, FileError> {
    let folder = folder(dir);
    let mut found = Vec::new();
    let entries = folder.read_dir().map_err(FileError::at("list", &folder))?;
    for entry in entries {
        let path = entry.map_err(FileError::at("list", &folder))?.path();
        if let Some(base) = base_of(&path) {
            found.push((base, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn base_of(path: &Path) -> Option<Position> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".seg")?;
    if stem.len() != 20 || !stem.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    stem.parse().ok()
}

/// Reads the header of the file, which its name says starts at `base`.
///
/// The outer error is the file system's, the inner one the header's.
pub(crate) fn read_header(
    file: &File,
    base: Position,
) -> Result<Result<Header, HeaderFault>, io::Error> {
    let mut bytes = [0; HEADER_LEN];
    let read = read_at_most(file, &mut bytes, 0)?;
    let header = Header::decode(bytes.get(..read).unwrap_or_default());
    Ok(match header {
        Ok(header) if header.base.position != base => Err(HeaderFault::Foreign),
        other => other,
    })
}

/// Goes over the records of an open segment from its start; stops at the first that is none, or
/// at `limit` bytes of records.
pub(crate) fn scan(file: &File, limit: u64) -> io::Result<Scan> {
    let available = file.metadata()?.len().saturating_sub(HEADER).min(limit);
    let mut found = Scan {
        records: 0,
        len: 0,
        cut: None,
    };
    let mut chunk = Vec::new();
    let mut want = SCAN_CHUNK;
    while found.len < available {
        let rest = available - found.len;
        let size = usize::try_from(rest).unwrap_or(usize::MAX).min(want);
        chunk.resize(size, 0);
        let read = read_at_most(file, &mut chunk, HEADER + found.len)?;
        let bytes = chunk.get(..read).unwrap_or_default();
        let (used, records, stop) = run(bytes);
        found.records += records;
        found.len += used as u64;
        match stop {
            Parsed::Bad(damage) => {
                found.cut = Some((available - found.len, damage));
                return Ok(found);
            }
            Parsed::Needs(total) if total as u64 > available - found.len => {
                let left = available - found.len;
                found.cut = (left > 0).then_some((left, Damage::Torn));
                return Ok(found);
            }
            Parsed::Needs(total) => want = total.max(SCAN_CHUNK),
            Parsed::Whole(_) => {}
        }
        if read < size {
            let left = available - found.len;
            found.cut = (left > 0).then_some((left, Damage::Torn));
            return Ok(found);
        }
    }
    Ok(found)
}

/// Counts the whole records at the start of `bytes`: their bytes, their number, and what stands
/// after them.
fn run(bytes: &[u8]) -> (usize, u64, Parsed) {
    let mut used = 0;
    let mut records = 0;
    loop {
        match record::parse(bytes.get(used..).unwrap_or_default()) {
            Parsed::Whole(total) => {
                used += total;
                records += 1;
            }
            stop => return (used, records, stop),
        }
    }
}

/// Fills `buffer` from `offset` as far as the file goes.
pub(crate) fn read_at_most(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Creates a folder (and its parents) that only its owner may enter.
pub(crate) fn create_folder(path: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(FileError::at("create", path))
}

/// Creates, or empties, a file that only its owner may read.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// Makes the entries of a folder durable.
pub(crate) fn sync_folder(path: &Path) -> Result<(), FileError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(FileError::at("sync", path))
}

/// Unix time in microseconds.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        base: Place {
            position: 7,
            sequence: 3,
        },
        created: 1_700_000_000_000_000,
    };

    #[test]
    fn a_header_reads_back_as_written() {
        assert_eq!(Header::decode(&HEADER.encode()), Ok(HEADER));
    }

    #[test]
    fn a_header_of_another_version_is_told_from_a_torn_one() {
        let mut bytes = HEADER.encode();
        bytes[8] = 9;
        assert_eq!(Header::decode(&bytes), Err(HeaderFault::Version(9)));
        assert_eq!(
            Header::decode(&HEADER.encode()[..40]),
            Err(HeaderFault::Torn)
        );
        assert_eq!(Header::decode(&[0; 64]), Err(HeaderFault::Torn));
        assert_eq!(Header::decode(&[b'x'; 64]), Err(HeaderFault::Foreign));
        for zeros_from in 0..47 {
            let mut bytes = HEADER.encode();
            bytes[zeros_from..].fill(0);
            assert_eq!(
                Header::decode(&bytes),
                Err(HeaderFault::Torn),
                "{zeros_from}"
            );
        }
        let mut bytes = HEADER.encode();
        bytes[20] ^= 1;
        assert_eq!(Header::decode(&bytes), Err(HeaderFault::Torn));
    }

    #[test]
    fn only_our_file_names_are_segments() {
        assert_eq!(base_of(Path::new("/a/00000000000000000042.seg")), Some(42));
        assert_eq!(base_of(Path::new("/a/42.seg")), None);
        assert_eq!(base_of(Path::new("/a/00000000000000000042.seg.tmp")), None);
        assert_eq!(base_of(Path::new("/a/+0000000000000000042.seg")), None);
    }
}
