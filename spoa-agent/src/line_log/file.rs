//! The file of a log: appends whole lines, rotates by size and age, and makes way for a
//! rotation from outside (logrotate, with or without `copytruncate`).

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::Title;
use crate::telemetry::metrics::{LineLogMetrics, RotationReason};

/// How often to look whether somebody else moved the file away.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The longest line that is looked at when the log is opened again: two bodies of 64 MiB in base64.
const MAX_LINE: u64 = 256 << 20;

/// When a new file is begun, and how many old ones are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes. `None`: never by size.
    pub size: Option<u64>,
    /// `None`: never by age.
    pub age: Option<Duration>,
    /// Old files kept.
    pub keep: usize,
}

/// The file cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the {} {}: {source}; change {}, or the rights of its directory", title.name, path.display(), title.key)]
pub struct OpenError {
    title: Title,
    path: PathBuf,
    source: io::Error,
}

/// How far the file was when the cursor was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    inode: u64,
    length: u64,
}

/// The open file.
#[derive(Debug)]
pub struct LogFile {
    title: Title,
    path: PathBuf,
    file: File,
    inode: u64,
    /// Bytes of whole lines.
    length: u64,
    began: SystemTime,
    rotation: Rotation,
    metrics: LineLogMetrics,
    looked_at: Instant,
}

impl LogFile {
    /// Opens or creates the file (mode 0600), cuts an unfinished last line, and returns the positions
    /// of the exchanges that have lines after `mark`.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn open(
        title: Title,
        path: &Path,
        rotation: Rotation,
        mark: &[u8],
        metrics: LineLogMetrics,
    ) -> Result<(Self, HashSet<u64>), OpenError> {
        let failed = |source| OpenError {
            title,
            path: path.to_path_buf(),
            source,
        };
        let mut opened = Self::attach(title, path, rotation, metrics).map_err(failed)?;
        opened.cut_unfinished_line().map_err(failed)?;
        let mark: Option<Mark> = serde_json::from_slice(mark).ok();
        let written = opened.lines_after(mark).map_err(failed)?;
        Ok((opened, written))
    }

    /// How far the file is, for the next [`LogFile::open`].
    #[must_use]
    pub fn mark(&self) -> Vec<u8> {
        let mark = Mark {
            inode: self.inode,
            length: self.length,
        };
        serde_json::to_vec(&mark).unwrap_or_default()
    }

    /// Makes every line durable.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Appends whole lines: all of them, or none.
    ///
    /// # Errors
    /// When the system refuses; nothing was appended then.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.reopen_if_moved()?;
        if let Err(error) = self.file.write_all(lines) {
            // A part of a line would run into the next one.
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.length += lines.len() as u64;
        Ok(())
    }

    /// Begins a new file if the size or the age is reached.
    pub fn rotate_if_due(&mut self) {
        let Some(reason) = self.due() else { return };
        match self.rotate() {
            Ok(old) => {
                self.metrics.rotations.inc(reason);
                tracing::info!(old = %old.display(), "{} rotated", self.title.name);
            }
            Err(error) => {
                // Lines go on into the old file; the next look is an interval away.
                self.began = SystemTime::now();
                tracing::error!(path = %self.path.display(), %error, "cannot rotate the {}", self.title.name);
            }
        }
    }

    fn due(&self) -> Option<RotationReason> {
        if self.length == 0 {
            return None;
        }
        if self.rotation.size.is_some_and(|most| self.length >= most) {
            return Some(RotationReason::Size);
        }
        let age = self.began.elapsed().unwrap_or_default();
        self.rotation
            .age
            .is_some_and(|most| age >= most)
            .then_some(RotationReason::Age)
    }

    fn rotate(&mut self) -> io::Result<PathBuf> {
        // The next sync is of the new file.
        self.sync()?;
        let old = self.free_name();
        fs::rename(&self.path, &old)?;
        let metrics = self.metrics.clone();
        *self = Self::attach(self.title, &self.path, self.rotation, metrics)?;
        self.delete_oldest()?;
        Ok(old)
    }

    /// `PATH.20261121T034500.123Z`: sorts by time.
    fn free_name(&self) -> PathBuf {
        let now = jiff::Timestamp::now();
        let stamp: String = format!("{now:.6}")
            .chars()
            .filter(|c| !matches!(c, '-' | ':'))
            .collect();
        let mut name = self.path.as_os_str().to_owned();
        name.push(".");
        name.push(stamp);
        PathBuf::from(name)
    }

    fn delete_oldest(&self) -> io::Result<()> {
        let mut old = self.old_files()?;
        while old.len() > self.rotation.keep {
            fs::remove_file(old.remove(0))?;
        }
        Ok(())
    }

    /// The files that were rotated away, oldest first.
    fn old_files(&self) -> io::Result<Vec<PathBuf>> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let Some(name) = self.path.file_name().and_then(|name| name.to_str()) else {
            return Ok(Vec::new());
        };
        let mut old = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let found = entry.file_name();
            let stamp = found
                .to_str()
                .and_then(|found| found.strip_prefix(name))
                .and_then(|rest| rest.strip_prefix('.'));
            if stamp.is_some_and(is_stamp) {
                old.push(folder.join(found));
            }
        }
        old.sort();
        Ok(old)
    }

    fn attach(
        title: Title,
        path: &Path,
        rotation: Rotation,
        metrics: LineLogMetrics,
    ) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let metadata = file.metadata()?;
        let began = metadata.created().or_else(|_| metadata.modified())?;
        Ok(Self {
            title,
            path: path.to_path_buf(),
            inode: metadata.ino(),
            length: metadata.len(),
            // An old and empty file begins with its first line.
            began: if metadata.len() == 0 {
                SystemTime::now()
            } else {
                began
            },
            file,
            rotation,
            metrics,
            looked_at: Instant::now(),
        })
    }

    fn reopen_if_moved(&mut self) -> io::Result<()> {
        if self.looked_at.elapsed() < LOOK_INTERVAL {
            return Ok(());
        }
        self.looked_at = Instant::now();
        match fs::metadata(&self.path) {
            Ok(metadata) if metadata.ino() == self.inode => {
                // Shorter than we left it: truncated from outside.
                self.length = self.length.min(metadata.len());
                Ok(())
            }
            Ok(_) => self.reattach(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.reattach(),
            Err(error) => Err(error),
        }
    }

    fn reattach(&mut self) -> io::Result<()> {
        let metrics = self.metrics.clone();
        *self = Self::attach(self.title, &self.path, self.rotation, metrics)?;
        tracing::info!(path = %self.path.display(), "the {} was moved away; begun anew", self.title.name);
        Ok(())
    }

    /// A kill may leave a part of a line.
    fn cut_unfinished_line(&mut self) -> io::Result<()> {
        const STEP: u64 = 64 << 10;
        let mut end = self.length;
        while end > 0 {
            let start = end.saturating_sub(STEP);
            let mut block = Vec::new();
            self.file.seek(SeekFrom::Start(start))?;
            (&self.file).take(end - start).read_to_end(&mut block)?;
            if let Some(last) = block.iter().rposition(|byte| *byte == b'\n') {
                end = start + last as u64 + 1;
                break;
            }
            end = start;
        }
        if end < self.length {
            tracing::warn!(path = %self.path.display(), bytes = self.length - end, "an unfinished last line of the {} is cut; it is written again", self.title.name);
            self.file.set_len(end)?;
            self.length = end;
        }
        Ok(())
    }

    /// The positions that have lines after the mark: in the marked file, wherever it is now, and in
    /// those begun after it.
    fn lines_after(&self, mark: Option<Mark>) -> io::Result<HashSet<u64>> {
        let mut found = HashSet::new();
        let Some(mark) = mark else { return Ok(found) };
        if mark.inode == self.inode {
            collect_positions(&self.file, mark.length, &mut found)?;
            return Ok(found);
        }
        let old = self.old_files()?;
        for path in old.iter().rev() {
            let file = File::open(path)?;
            let is_marked = file.metadata()?.ino() == mark.inode;
            collect_positions(&file, if is_marked { mark.length } else { 0 }, &mut found)?;
            if is_marked {
                break;
            }
        }
        collect_positions(&self.file, 0, &mut found)?;
        Ok(found)
    }
}

/// `20261121T034500.123456Z`.
fn is_stamp(text: &str) -> bool {
    text.len() == 23
        && text.ends_with('Z')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'T' | b'.' | b'Z'))
}

#[derive(Deserialize)]
struct Line {
    event: Event,
}

#[derive(Deserialize)]
struct Event {
    kind: String,
    position: u64,
}

fn collect_positions(mut file: &File, from: u64, found: &mut HashSet<u64>) -> io::Result<()> {
    file.seek(SeekFrom::Start(from))?;
    let mut lines = BufReader::with_capacity(256 << 10, file);
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut lines).take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        // What is no line of ours was written by somebody else.
        if let Ok(Line { event }) = serde_json::from_slice(&line)
            && event.kind != "gap"
        {
            found.insert(event.position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::registry::Registry;

    fn metrics() -> LineLogMetrics {
        crate::telemetry::metrics::Metrics::register(&mut Registry::default()).traffic_log
    }

    fn open(path: &Path, rotation: Rotation, mark: &[u8]) -> (LogFile, HashSet<u64>) {
        let title = Title {
            name: "traffic log",
            key: "traffic_log.path",
        };
        LogFile::open(title, path, rotation, mark, metrics()).unwrap()
    }

    fn line(position: u64) -> Vec<u8> {
        format!("{{\"event\":{{\"kind\":\"exchange\",\"position\":{position}}}}}\n").into_bytes()
    }

    #[test]
    fn the_file_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.log");
        let _opened = open(&path, Rotation::default(), b"");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn lines_after_the_mark_are_found_again_and_an_unfinished_one_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.log");
        let (mut log, _) = open(&path, Rotation::default(), b"");
        log.append(&line(1)).unwrap();
        let mark = log.mark();
        log.append(&line(2)).unwrap();
        log.append(b"{\"event\":{\"ki").unwrap();
        drop(log);
        let (log, found) = open(&path, Rotation::default(), &mark);
        assert_eq!(found, HashSet::from([2]));
        assert_eq!(fs::read(&path).unwrap(), [line(1), line(2)].concat());
        assert_eq!(log.length, 2 * line(1).len() as u64);
    }

    #[test]
    fn lines_after_the_mark_are_found_in_rotated_files_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.log");
        let rotation = Rotation {
            size: Some(1),
            age: None,
            keep: 9,
        };
        let (mut log, _) = open(&path, rotation, b"");
        log.append(&line(1)).unwrap();
        let mark = log.mark();
        for position in 2..5 {
            log.append(&line(position)).unwrap();
            log.rotate_if_due();
        }
        log.append(&line(5)).unwrap();
        drop(log);
        let (_, found) = open(&path, rotation, &mark);
        assert_eq!(found, HashSet::from([2, 3, 4, 5]));
    }

    #[test]
    fn only_as_many_old_files_are_kept_as_configured_and_nothing_else_is_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.log");
        fs::write(folder.path().join("t.log.mine"), "keep me").unwrap();
        let (mut log, _) = open(
            &path,
            Rotation {
                size: Some(1),
                age: None,
                keep: 2,
            },
            b"",
        );
        for position in 0..5 {
            log.append(&line(position)).unwrap();
            log.rotate_if_due();
        }
        assert_eq!(log.old_files().unwrap().len(), 2);
        assert!(folder.path().join("t.log.mine").exists());
    }

    #[test]
    fn a_file_moved_away_from_outside_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.log");
        let (mut log, _) = open(&path, Rotation::default(), b"");
        log.append(&line(1)).unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        log.looked_at = Instant::now().checked_sub(LOOK_INTERVAL).unwrap();
        log.append(&line(2)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), line(2));
    }

    #[test]
    fn an_old_file_rotates_by_age() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.log");
        let rotation = Rotation {
            size: None,
            age: Some(Duration::from_secs(60)),
            keep: 2,
        };
        let (mut log, _) = open(&path, rotation, b"");
        log.append(&line(1)).unwrap();
        assert!(log.due().is_none());
        log.began = SystemTime::now()
            .checked_sub(Duration::from_secs(61))
            .unwrap();
        assert_eq!(log.due(), Some(RotationReason::Age));
    }
}
