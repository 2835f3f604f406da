//! What the engine must not forget when it is killed: an append-only file of small records. What they say is
//! the business of whoever appends them; each has a kind of its own.
//!
//! `SHADOWM` and the version, then records: `length u32 LE | crc32c u32 LE | kind u8 | payload`. The length is the
//! payload's; the checksum covers length, kind and payload. The first bad record ends the file: what a kill
//! left there half written is cut off when the file is opened.
//!
//! A record that [`Memory::append`] took survives a kill of the process; a power cut only what [`Memory::sync`] was
//! called after.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// The last byte is the version of the format.
const HEADER: &[u8; 8] = b"SHADOWM\x01";

/// Bytes of a record before its payload.
const PREFIX: usize = 9;

/// The longest payload.
pub const LONGEST: usize = 8 << 20;

/// Below this length a rewrite is not worth while.
const SMALL: u64 = 1 << 20;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What the payload is.
    pub kind: u8,
    /// The payload; may be empty.
    pub payload: Bytes,
}

/// An open file of records. One process has it open at a time.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    file: File,
    /// Bytes of the file that are good. What is behind them, after a failed write, is overwritten.
    length: u64,
    /// Bytes behind `length` may have been written.
    is_dirty: bool,
    /// The length after the file was last rewritten.
    settled: u64,
    max_bytes: u64,
    cut_bytes: u64,
}

/// A file of records cannot be opened or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The file system refused.
    #[error(
        "cannot {doing} {}: {source}; give the process room and the right to write there, or choose another folder",
        path.display()
    )]
    File {
        /// What was tried, as a verb.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it open.
    #[error(
        "{} is in use by another process; stop that one, or choose another folder",
        path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file is none of ours, or of another version.
    #[error(
        "{} is not a memory of the shadow engine that this build can read; move it away to begin without it",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file may not grow further. Rewriting it with fewer records makes room.
    #[error(
        "{} has {length} bytes, and {size} more exceed the limit of {limit}; allow more, or remember less",
        path.display()
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        length: u64,
        /// Bytes of what was to be appended.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// A record is too long.
    #[error("a record of {size} bytes for {} exceeds the limit of {LONGEST} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Bytes of the payload.
        size: usize,
    },
}

impl Memory {
    /// Opens the file, or makes it, and tells the records in it, in the order in which they were appended. Only
    /// its owner may read it. `max_bytes` bounds the file; while it is rewritten there are two.
    ///
    /// # Errors
    /// When the file system refuses, another process has it open, or it is something else.
    pub fn open(
        path: impl Into<PathBuf>,
        max_bytes: u64,
    ) -> Result<(Self, Vec<Record>), MemoryError> {
        let path = path.into();
        let is_new = !path.exists();
        let file = owned_file(&path, false)?;
        lock(&file, &path)?;
        // Another process may have rewritten it since it was opened here: then that one has it.
        let named = fs::metadata(&path).map_err(fault("look at", &path))?;
        let opened = file.metadata().map_err(fault("look at", &path))?;
        if named.ino() != opened.ino() {
            return Err(MemoryError::Locked { path });
        }
        let bytes = Bytes::from(fs::read(&path).map_err(fault("read", &path))?);
        let (records, length) =
            read(&bytes).ok_or_else(|| MemoryError::Foreign { path: path.clone() })?;
        let mut memory = Self {
            path,
            file,
            length: length as u64,
            is_dirty: length < bytes.len(),
            // How many of the records still matter is not known here.
            settled: HEADER.len() as u64,
            max_bytes,
            cut_bytes: (bytes.len() - length) as u64,
        };
        memory.clean()?;
        if memory.length == 0 {
            memory.write(HEADER)?;
            memory.cut_bytes = 0;
        }
        if is_new {
            sync_folder(&memory.path)?;
        }
        Ok((memory, records))
    }

    /// Appends a record. When this returns, the kernel has it: it survives a kill of the process.
    ///
    /// # Errors
    /// When it is too long, the file is full, or the file system refuses. Then the file is as it was, and
    /// the next append may succeed.
    pub fn append(&mut self, kind: u8, payload: &[u8]) -> Result<(), MemoryError> {
        let mut record = Vec::with_capacity(PREFIX + payload.len());
        put(&mut record, kind, payload).ok_or_else(|| self.too_long(payload))?;
        let size = record.len() as u64;
        if self.length.saturating_add(size) > self.max_bytes {
            return Err(self.full(self.length, size));
        }
        self.write(&record)
    }

    /// Waits until everything appended is on the disk: then it survives a power cut.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn sync(&self) -> Result<(), MemoryError> {
        self.file.sync_data().map_err(fault("sync", &self.path))
    }

    /// Whether it is time for [`Self::rewrite`]: the file has doubled since the last one, or filled half of the room
    /// that was left then. Small files are left alone.
    #[must_use]
    pub fn wants_rewrite(&self) -> bool {
        let room = self.max_bytes.saturating_sub(self.settled);
        let grown = self.length.saturating_sub(self.settled);
        let worth_while = SMALL.min(self.max_bytes / 2);
        self.length >= worth_while && grown >= self.settled.min(room / 2)
    }

    /// Puts these records in place of all others. The file is the old or the new one, whatever happens: a
    /// kill, a full disk, a power cut.
    ///
    /// # Errors
    /// When a record is too long, all of them are more than the file may have, or the file system
    /// refuses. Then the old records stay, and may be appended to. When only the folder cannot be
    /// synced, the new ones are in place already, and may be the old ones again after a power cut.
    pub fn rewrite<P: AsRef<[u8]>>(
        &mut self,
        records: impl IntoIterator<Item = (u8, P)>,
    ) -> Result<(), MemoryError> {
        let new_path = self.path.with_added_extension("new");
        match self.written_anew(&new_path, records) {
            Ok((file, length)) => {
                self.file = file;
                self.length = length;
                self.settled = length;
                self.is_dirty = false;
                sync_folder(&self.path)
            }
            Err(error) => {
                // If it cannot be removed now, the next rewrite overwrites it.
                drop(fs::remove_file(&new_path));
                Err(error)
            }
        }
    }

    /// Bytes of the file.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Bytes that were cut off the end when the file was opened: a record that was being written when the
    /// process was killed, or damage.
    #[must_use]
    pub const fn cut_bytes(&self) -> u64 {
        self.cut_bytes
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn written_anew<P: AsRef<[u8]>>(
        &self,
        new_path: &Path,
        records: impl IntoIterator<Item = (u8, P)>,
    ) -> Result<(File, u64), MemoryError> {
        let file = owned_file(new_path, true)?;
        // Locked before it has the name that others open.
        lock(&file, new_path)?;
        let mut out = io::BufWriter::new(&file);
        let doing = || fault("write", new_path);
        out.write_all(HEADER).map_err(doing())?;
        let mut length = HEADER.len() as u64;
        let mut record = Vec::new();
        for (kind, payload) in records {
            record.clear();
            let payload = payload.as_ref();
            put(&mut record, kind, payload).ok_or_else(|| self.too_long(payload))?;
            let size = record.len() as u64;
            if length.saturating_add(size) > self.max_bytes {
                return Err(self.full(length, size));
            }
            out.write_all(&record).map_err(doing())?;
            length += size;
        }
        out.flush().map_err(doing())?;
        drop(out);
        // Before the name: a power cut must not leave an empty file under it.
        file.sync_all().map_err(fault("sync", new_path))?;
        fs::rename(new_path, &self.path).map_err(fault("rename", new_path))?;
        Ok((file, length))
    }

    /// Writes behind what is good. One system call, unless the system takes only a part.
    fn write(&mut self, bytes: &[u8]) -> Result<(), MemoryError> {
        self.clean()?;
        match self.file.write_all_at(bytes, self.length) {
            Ok(()) => {
                self.length += bytes.len() as u64;
                Ok(())
            }
            Err(source) => {
                self.is_dirty = true;
                // If even this fails, the next append tries it again before it writes.
                drop(self.clean());
                Err(fault("write", &self.path)(source))
            }
        }
    }

    /// Cuts off what a failed write left: a shorter record over it would leave a tail that looks like one.
    fn clean(&mut self) -> Result<(), MemoryError> {
        if self.is_dirty {
            let cut = self.file.set_len(self.length);
            cut.map_err(fault("cut the damaged end of", &self.path))?;
            self.is_dirty = false;
        }
        Ok(())
    }

    fn too_long(&self, payload: &[u8]) -> MemoryError {
        MemoryError::TooLong {
            path: self.path.clone(),
            size: payload.len(),
        }
    }

    fn full(&self, length: u64, size: u64) -> MemoryError {
        MemoryError::Full {
            path: self.path.clone(),
            length,
            size,
            limit: self.max_bytes,
        }
    }
}

fn owned_file(path: &Path, empty: bool) -> Result<File, MemoryError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(empty)
        .mode(0o600)
        .open(path)
        .map_err(fault("open", path))?;
    file.set_permissions(Permissions::from_mode(0o600))
        .map_err(fault("keep others from reading", path))?;
    Ok(file)
}

fn lock(file: &File, path: &Path) -> Result<(), MemoryError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(MemoryError::Locked {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(fault("lock", path)(source)),
    }
}

/// Makes the file's name as durable as the file.
fn sync_folder(path: &Path) -> Result<(), MemoryError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let opened = File::open(folder).and_then(|folder| folder.sync_all());
    opened.map_err(fault("sync", folder))
}

fn fault(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MemoryError {
    let path = path.to_owned();
    move |source| MemoryError::File {
        doing,
        path,
        source,
    }
}

/// Adds a record. `None` when it is too long.
fn put(out: &mut Vec<u8>, kind: u8, payload: &[u8]) -> Option<()> {
    if payload.len() > LONGEST {
        return None;
    }
    let length = u32::try_from(payload.len()).ok()?.to_le_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&checksum(length, kind, payload).to_le_bytes());
    out.push(kind);
    out.extend_from_slice(payload);
    Some(())
}

fn checksum(length: [u8; 4], kind: u8, payload: &[u8]) -> u32 {
    let head = crc32c::crc32c_append(crc32c::crc32c(&length), &[kind]);
    crc32c::crc32c_append(head, payload)
}

/// The records of a file up to the first bad one, and how many bytes are good. `None` when it is no file of
/// ours. A file that ends in its header was killed when it was made: nothing of it is good.
fn read(bytes: &Bytes) -> Option<(Vec<Record>, usize)> {
    if HEADER.starts_with(bytes) && bytes.len() < HEADER.len() {
        return Some((Vec::new(), 0));
    }
    let mut rest = bytes.strip_prefix(HEADER)?;
    let mut records = Vec::new();
    while let Some((record, tail)) = first(bytes, rest) {
        records.push(record);
        rest = tail;
    }
    Some((records, bytes.len() - rest.len()))
}

fn first<'a>(bytes: &Bytes, rest: &'a [u8]) -> Option<(Record, &'a [u8])> {
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let (&kind, rest) = rest.split_first()?;
    let size = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (payload, tail) = rest.split_at_checked(size)?;
    if checksum(*length, kind, payload) != u32::from_le_bytes(*crc) {
        return None;
    }
    let payload = bytes.slice_ref(payload);
    Some((Record { kind, payload }, tail))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    const ROOMY: u64 = 1 << 30;

    fn folder() -> (TempDir, PathBuf) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("memory");
        (folder, path)
    }

    fn record(kind: u8, payload: &[u8]) -> Record {
        Record {
            kind,
            payload: Bytes::copy_from_slice(payload),
        }
    }

    fn reopened(path: &Path) -> Vec<Record> {
        Memory::open(path, ROOMY).unwrap().1
    }

    #[test]
    fn what_is_appended_is_there_without_closing_the_file() {
        let (_folder, path) = folder();
        let (mut memory, records) = Memory::open(&path, ROOMY).unwrap();
        assert!(records.is_empty());
        memory.append(1, b"a").unwrap();
        memory.append(255, b"").unwrap();
        memory.sync().unwrap();
        // A copy is what a killed process leaves: nothing was flushed or closed.
        let copy = path.with_extension("copy");
        fs::copy(&path, &copy).unwrap();
        assert_eq!(reopened(&copy), [record(1, b"a"), record(255, b"")]);
        assert_eq!(fs::metadata(&path).unwrap().len(), memory.length());
    }

    #[test]
    fn a_file_cut_at_any_byte_keeps_the_records_before_and_is_appended_to() {
        let (_folder, path) = folder();
        let (mut memory, _) = Memory::open(&path, ROOMY).unwrap();
        let mut wanted = Vec::new();
        let mut ends = vec![memory.length()];
        for number in 0..6u8 {
            let payload = vec![number; usize::from(number) * 3];
            memory.append(number, &payload).unwrap();
            wanted.push(record(number, &payload));
            ends.push(memory.length());
        }
        drop(memory);
        let bytes = fs::read(&path).unwrap();
        for cut in 0..=bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            let (mut memory, records) = Memory::open(&path, ROOMY).unwrap();
            let kept = ends.iter().filter(|end| **end <= cut as u64).count();
            let kept = kept.saturating_sub(1);
            assert_eq!(records, wanted[..kept], "cut at {cut}");
            if cut >= HEADER.len() {
                assert_eq!(memory.cut_bytes(), cut as u64 - ends[kept]);
            }
            memory.append(77, b"after").unwrap();
            drop(memory);
            let records = reopened(&path);
            assert_eq!(records.len(), kept + 1, "cut at {cut}");
            assert_eq!(records[kept], record(77, b"after"));
        }
    }

    #[test]
    fn only_the_owner_may_read_it_also_after_a_rewrite() {
        let (_folder, path) = folder();
        fs::write(&path, HEADER).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let (mut memory, _) = Memory::open(&path, ROOMY).unwrap();
        assert_eq!(mode(), 0o600);
        memory.rewrite([(1, b"x")]).unwrap();
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn a_second_process_and_a_foreign_file_are_refused_and_left_alone() {
        let (_folder, path) = folder();
        let (mut memory, _) = Memory::open(&path, ROOMY).unwrap();
        let refused = |path: &Path| Memory::open(path, ROOMY).unwrap_err();
        assert!(matches!(refused(&path), MemoryError::Locked { .. }));
        memory.rewrite([(1, b"x")]).unwrap();
        assert!(matches!(refused(&path), MemoryError::Locked { .. }));
        drop(memory);

        for text in [&b"something else"[..], b"SHADOWM\x02", b"{}"] {
            fs::write(&path, text).unwrap();
            let error = refused(&path);
            assert!(matches!(error, MemoryError::Foreign { .. }), "{error}");
            assert!(error.to_string().contains("move it away"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_folder_that_is_missing_is_an_error_that_names_it() {
        let error = Memory::open("no/such/folder/memory", ROOMY).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("no/such/folder/memory"), "{message}");
        assert!(message.contains("choose another folder"), "{message}");
    }

    #[test]
    fn a_full_file_refuses_records_until_it_is_rewritten_with_fewer() {
        let (_folder, path) = folder();
        let (mut memory, _) = Memory::open(&path, 200).unwrap();
        let mut taken = 0;
        while memory.append(1, &[7; 20]).is_ok() {
            taken += 1;
        }
        assert_eq!(taken, (200 - HEADER.len()) / (PREFIX + 20));
        let error = memory.append(1, &[7; 20]).unwrap_err();
        assert!(matches!(error, MemoryError::Full { .. }), "{error}");
        assert!(memory.wants_rewrite());

        let too_many = vec![(1u8, [7u8; 20]); taken + 1];
        assert!(memory.rewrite(too_many).is_err());
        assert!(!path.with_extension("new").exists());
        memory.append(2, b"x").unwrap();
        memory.rewrite([(3, [8u8; 20])]).unwrap();
        assert!(!memory.wants_rewrite());
        let nearly_all = vec![(3, [8u8; 20]); taken - 2];
        memory.rewrite(nearly_all).unwrap();
        assert!(!memory.wants_rewrite());
        memory.append(4, &[8; 20]).unwrap();
        memory.append(4, &[8; 20]).unwrap();
        assert!(memory.wants_rewrite(), "half of what was left is used");
        memory.rewrite([(3, [8u8; 20])]).unwrap();
        memory.append(4, b"y").unwrap();
        drop(memory);
        assert_eq!(reopened(&path), [record(3, &[8; 20]), record(4, b"y")]);

        let (mut memory, _) = Memory::open(&path, ROOMY).unwrap();
        let error = memory.append(1, &vec![0; LONGEST + 1]).unwrap_err();
        assert!(matches!(error, MemoryError::TooLong { .. }), "{error}");
    }

    #[test]
    fn a_rewrite_that_was_killed_before_the_rename_leaves_the_old_records() {
        let (_folder, path) = folder();
        let (mut memory, _) = Memory::open(&path, ROOMY).unwrap();
        memory.append(1, b"old").unwrap();
        fs::write(path.with_extension("new"), b"half a fi").unwrap();
        drop(memory);
        let (mut memory, records) = Memory::open(&path, ROOMY).unwrap();
        assert_eq!(records, [record(1, b"old")]);
        memory.rewrite([(2, b"new")]).unwrap();
        drop(memory);
        assert_eq!(reopened(&path), [record(2, b"new")]);
    }

    /// Runs in a process of its own, whose files may not be longer than 1 KiB; see the test below.
    #[test]
    #[ignore = "is run by the next test, in a process with a limit"]
    fn child_that_fills_its_disk() {
        let path = std::env::var_os("MEMORY_PATH").unwrap();
        let (mut memory, _) = Memory::open(path, ROOMY).unwrap();
        let mut taken = 0u32;
        let error = loop {
            match memory.append(9, &taken.to_le_bytes().repeat(10)) {
                Ok(()) => taken += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, MemoryError::File { .. }), "{error}");
        let length = fs::metadata(memory.path()).unwrap().len();
        assert_eq!(length, memory.length(), "no part of the record stays");
        // A shorter record still has room, behind the last good one.
        memory.append(8, b"end").unwrap();
        memory.rewrite([(7, [0u8; 2000])]).unwrap_err();
        memory.append(8, b"").unwrap();
        println!("taken: {taken}");
    }

    #[test]
    fn a_full_disk_is_an_error_for_the_caller_and_damages_nothing() {
        let (_folder, path) = folder();
        // Without the trap, the system kills a process that exceeds the limit.
        let script = r#"trap '' XFSZ; ulimit -f 1; exec "$0" --exact memory::tests::child_that_fills_its_disk --ignored --nocapture"#;
        let output = Command::new("bash")
            .args(["-c", script])
            .arg(std::env::current_exe().unwrap())
            .env("MEMORY_PATH", &path)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{told}");
        let taken = told.lines().find_map(|line| line.split_once("taken: "));
        let taken: u32 = taken.unwrap().1.parse().unwrap();
        let records = reopened(&path);
        assert_eq!(u32::try_from(records.len()).unwrap(), taken + 2);
        for (number, record) in (0..taken).zip(&records) {
            assert_eq!(record.payload, number.to_le_bytes().repeat(10));
        }
        assert!(!path.with_extension("new").exists());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Append(u8, Vec<u8>),
        Reopen,
        Tear(usize),
        Rewrite,
    }

    fn step() -> impl Strategy<Value = Step> {
        let payload = prop::collection::vec(any::<u8>(), 0..40);
        prop_oneof![
            6 => (any::<u8>(), payload).prop_map(|(kind, payload)| Step::Append(kind, payload)),
            1 => Just(Step::Reopen),
            1 => (1usize..20).prop_map(Step::Tear),
            1 => Just(Step::Rewrite),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_record_is_kept_over_kills_and_rewrites(steps in prop::collection::vec(step(), 0..30)) {
            let (_folder, path) = folder();
            let (mut memory, _) = Memory::open(&path, ROOMY).unwrap();
            let mut wanted = Vec::new();
            for step in steps {
                match step {
                    Step::Append(kind, payload) => {
                        memory.append(kind, &payload).unwrap();
                        wanted.push(record(kind, &payload));
                    }
                    Step::Rewrite => {
                        wanted.retain(|record| record.kind % 2 == 0);
                        memory.rewrite(wanted.iter().map(|r| (r.kind, &r.payload))).unwrap();
                    }
                    // The beginning of a record that was never finished.
                    Step::Tear(size) => {
                        drop(memory);
                        let mut torn = Vec::new();
                        put(&mut torn, 3, &[b't'; 30]).unwrap();
                        let mut bytes = fs::read(&path).unwrap();
                        bytes.extend_from_slice(&torn[..size]);
                        fs::write(&path, bytes).unwrap();
                        memory = Memory::open(&path, ROOMY).unwrap().0;
                        prop_assert_eq!(memory.cut_bytes(), size as u64);
                    }
                    Step::Reopen => {
                        drop(memory);
                        let (opened, records) = Memory::open(&path, ROOMY).unwrap();
                        prop_assert_eq!(&records, &wanted);
                        memory = opened;
                    }
                }
            }
            drop(memory);
            prop_assert_eq!(reopened(&path), wanted);
        }

        #[test]
        fn a_damaged_file_tells_only_records_that_were_appended(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 1..6),
            at in any::<prop::sample::Index>(), bit in 0u8..8,
        ) {
            let mut bytes = HEADER.to_vec();
            for payload in &payloads {
                put(&mut bytes, 5, payload).unwrap();
            }
            let at = HEADER.len() + at.index(bytes.len() - HEADER.len());
            bytes[at] ^= 1 << bit;
            let (records, good) = read(&Bytes::from(bytes)).unwrap();
            prop_assert!(good <= at && records.len() < payloads.len());
            for (record, payload) in records.iter().zip(&payloads) {
                prop_assert_eq!(&record.payload, payload);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut file = HEADER.to_vec();
            file.extend_from_slice(&bytes);
            read(&Bytes::from(file)).unwrap();
            read(&Bytes::from(bytes));
        }
    }
}
