//! Durable cursors: how far a follower is, in a small file of its own that is replaced as a whole.
//!
//! A saved cursor also tells the journal which segments that follower still needs. After a power
//! cut an older state may be found again, never a mixed one: the follower then repeats some work.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Place;
use crate::error::{CursorError, FileError};
use crate::segment;
use crate::writer::Shared;

/// Records that a cursor keeps as read and not done.
pub const OPEN_LIMIT: usize = 1 << 20;
/// Bytes of a follower's own state.
pub const EXTRA_LIMIT: usize = 1 << 20;

const MAGIC: [u8; 8] = *b"SPOACURS";
const VERSION: u32 = 1;
const FILE_LIMIT: u64 = 16 << 20;

/// What a cursor keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CursorState {
    /// Every record before it is done.
    pub low: Place,
    /// Every record from here on was not read. At or after `low`.
    pub high: Place,
    /// The sequence numbers, rising, of the records between `low` and `high` that are not done.
    pub open: Vec<u64>,
    /// The follower's own bytes (its ledger), saved together with the rest. At most
    /// [`EXTRA_LIMIT`].
    pub extra: Vec<u8>,
}

impl CursorState {
    /// Nothing done yet, from `place` on.
    #[must_use]
    pub fn at(place: Place) -> Self {
        Self {
            low: place,
            high: place,
            open: Vec::new(),
            extra: Vec::new(),
        }
    }

    /// Whether the record with this sequence number is done.
    #[must_use]
    pub fn is_done(&self, sequence: u64) -> bool {
        sequence < self.high.sequence && self.open.binary_search(&sequence).is_err()
    }
}

/// A follower's durable place in the journal.
#[derive(Debug)]
pub struct Cursor {
    shared: Arc<Shared>,
    name: String,
    path: PathBuf,
    saved: Option<CursorState>,
}

impl Cursor {
    pub(crate) fn open(shared: Arc<Shared>, name: &str) -> Result<Self, CursorError> {
        check_name(name)?;
        let path = path(&shared.options.dir, name);
        let saved = load(&path)?;
        Ok(Self {
            shared,
            name: name.to_owned(),
            path,
            saved,
        })
    }

    /// The cursor's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was saved last. `None` for a new cursor, which holds no segment back until it is
    /// saved for the first time.
    #[must_use]
    pub fn saved(&self) -> Option<&CursorState> {
        self.saved.as_ref()
    }

    /// Saves the state durably, and lets go of the segments before `low`. Blocks for one sync of a
    /// small file.
    ///
    /// # Errors
    /// Fails when the state is too long or the file system refuses; the state saved before stays.
    pub fn save(&mut self, state: &CursorState) -> Result<(), CursorError> {
        let size = state.extra.len();
        if size > EXTRA_LIMIT {
            return Err(CursorError::TooBig {
                size,
                limit: EXTRA_LIMIT,
            });
        }
        store(&self.path, &encode(state))?;
        if self.saved.is_none() {
            segment::sync_folder(&folder(&self.shared.options.dir))?;
        }
        self.shared
            .cursors
            .lock()
            .insert(self.name.clone(), state.low);
        self.saved = Some(state.clone());
        Ok(())
    }
}

/// The folder of the cursors in a journal's directory.
pub(crate) fn folder(dir: &Path) -> PathBuf {
    dir.join("cursors")
}

pub(crate) fn path(dir: &Path, name: &str) -> PathBuf {
    folder(dir).join(format!("{name}.cursor"))
}

pub(crate) fn check_name(name: &str) -> Result<(), CursorError> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(CursorError::Name {
        name: name.to_owned(),
    })
}

/// Every cursor in the directory by name, and those that are damaged.
pub(crate) fn load_all(
    dir: &Path,
) -> Result<(BTreeMap<String, CursorState>, Vec<CursorError>), FileError> {
    let folder = folder(dir);
    let mut cursors = BTreeMap::new();
    let mut damaged = Vec::new();
    for entry in folder.read_dir().map_err(FileError::at("list", &folder))? {
        let path = entry.map_err(FileError::at("list", &folder))?.path();
        let Some(name) = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".cursor"))
            .filter(|name| check_name(name).is_ok())
        else {
            continue;
        };
        match load(&path) {
            Ok(Some(state)) => {
                cursors.insert(name.to_owned(), state);
            }
            Ok(None) => {}
            Err(CursorError::File(error)) => return Err(error),
            Err(error) => damaged.push(error),
        }
    }
    Ok((cursors, damaged))
}

fn load(path: &Path) -> Result<Option<CursorState>, CursorError> {
    let size = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::at("open", path)(error).into()),
    };
    let damaged = |why| CursorError::Damaged {
        path: path.to_path_buf(),
        why,
    };
    if size > FILE_LIMIT {
        return Err(damaged("it is too long"));
    }
    let bytes = fs::read(path).map_err(FileError::at("read", path))?;
    decode(&bytes).map(Some).map_err(damaged)
}

fn store(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let new = path.with_extension("cursor.tmp");
    let write = |mut file: File| file.write_all(bytes).and_then(|()| file.sync_all());
    segment::create_file(&new)
        .and_then(write)
        .map_err(FileError::at("write", &new))?;
    fs::rename(&new, path).map_err(FileError::at("replace", path))
}

fn encode(state: &CursorState) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + state.open.len() * 2 + state.extra.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    for number in [
        state.low.position,
        state.low.sequence,
        state.high.position,
        state.high.sequence,
        state.open.len() as u64,
        state.extra.len() as u64,
    ] {
        put_varint(&mut out, number);
    }
    let mut last = state.low.sequence;
    for &sequence in &state.open {
        put_varint(&mut out, sequence.saturating_sub(last));
        last = sequence;
    }
    out.extend_from_slice(&state.extra);
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

fn decode(bytes: &[u8]) -> Result<CursorState, &'static str> {
    let rest = bytes.strip_prefix(&MAGIC).ok_or("it is not a cursor")?;
    let (version, rest) = rest.split_first_chunk::<4>().ok_or("it is cut short")?;
    if u32::from_le_bytes(*version) != VERSION {
        return Err("it is of another version of the format");
    }
    let (covered, crc) = bytes.split_last_chunk::<4>().ok_or("it is cut short")?;
    if crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
        return Err("its checksum does not match");
    }
    let (mut rest, _crc) = rest.split_last_chunk::<4>().ok_or("it is cut short")?;
    let input = &mut rest;
    let low = Place {
        position: take_varint(input)?,
        sequence: take_varint(input)?,
    };
    let high = Place {
        position: take_varint(input)?,
        sequence: take_varint(input)?,
    };
    let count = usize::try_from(take_varint(input)?).unwrap_or(usize::MAX);
    let size = usize::try_from(take_varint(input)?).unwrap_or(usize::MAX);
    if count > OPEN_LIMIT || size > EXTRA_LIMIT {
        return Err("it is too long");
    }
    let mut open = Vec::with_capacity(count);
    let mut last = low.sequence;
    for _ in 0..count {
        last = last
            .checked_add(take_varint(input)?)
            .ok_or("its numbers overflow")?;
        open.push(last);
    }
    if input.len() != size {
        return Err("its length does not match");
    }
    Ok(CursorState {
        low,
        high,
        open,
        extra: input.to_vec(),
    })
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while let high = number >> 7
        && high > 0
    {
        out.push(number.to_le_bytes()[0] | 0x80);
        number = high;
    }
    out.push(number.to_le_bytes()[0]);
}

fn take_varint(input: &mut &[u8]) -> Result<u64, &'static str> {
    let mut number: u64 = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first().ok_or("it is cut short")?;
        *input = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err("its numbers overflow")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn state()(
            low in any::<(u64, u64)>(),
            high in any::<(u64, u64)>(),
            gaps in prop::collection::vec(0u64..1000, 0..50),
            extra in prop::collection::vec(any::<u8>(), 0..50),
        ) -> CursorState {
            let low = Place { position: low.0, sequence: low.1 >> 8 };
            let mut last = low.sequence;
            let open = gaps.iter().map(|gap| { last += gap; last }).collect();
            let high = Place { position: high.0, sequence: high.1 };
            CursorState { low, high, open, extra }
        }
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back_as_saved(state in state()) {
            prop_assert_eq!(decode(&encode(&state)), Ok(state));
        }

        #[test]
        fn a_damaged_cursor_is_refused(state in state(), at in any::<prop::sample::Index>(), bit in 0..8) {
            let mut bytes = encode(&state);
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
            prop_assert!(decode(&bytes).is_err());
            prop_assert!(decode(&bytes[..at]).is_err());
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut sealed = MAGIC.to_vec();
            sealed.extend_from_slice(&VERSION.to_le_bytes());
            sealed.extend_from_slice(&bytes);
            let crc = crc32c::crc32c(&sealed);
            sealed.extend_from_slice(&crc.to_le_bytes());
            if let Ok(state) = decode(&sealed) {
                prop_assert!(state.open.len() <= OPEN_LIMIT);
            }
        }
    }

    #[test]
    fn a_cursor_name_is_a_plain_file_name() {
        assert!(check_name("traffic-log_2").is_ok());
        for name in ["", "../x", "A", "a.b", "a/b", &"a".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
