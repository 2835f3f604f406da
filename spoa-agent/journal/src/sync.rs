//! Durability: one thread syncs for everybody who waits for it, in the order of the segments.
//!
//! After a failed sync the kernel may call pages clean that never reached the disk, so a second
//! sync of the same file proves nothing. The segment is then read back, checked record by record, and
//! written anew under the same name; only when the new file is durable does the watermark move.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::disk;
use crate::error::FileError;
use crate::health::Fault;
use crate::segment::{self, HEADER, Header};
use crate::writer::{Active, RETRY, Shared};
use crate::{Place, Position};

const COPY_CHUNK: usize = 1 << 20;

/// What the sync thread is asked to do.
#[derive(Debug, Default)]
pub(crate) struct SyncControl {
    wanted: bool,
    jobs: VecDeque<SyncJob>,
    /// Segments (by base position) of which a sync failed.
    suspects: BTreeSet<Position>,
    folder_changed: bool,
    stop: bool,
}

/// A segment with bytes that may not be on disk.
#[derive(Debug, Clone)]
pub(crate) struct SyncJob {
    file: Arc<File>,
    path: PathBuf,
    base: Place,
    created: u64,
    /// Bytes of whole records.
    len: u64,
}

impl SyncControl {
    /// A segment was closed and another one created.
    pub(crate) fn rolled(&mut self, job: SyncJob) {
        self.jobs.push_back(job);
        self.folder_changed = true;
        self.wanted = true;
    }
}

impl SyncJob {
    pub(crate) fn of(active: &Active) -> Self {
        Self {
            file: Arc::clone(&active.file),
            path: active.path.clone(),
            base: active.base,
            created: active.created,
            len: active.len,
        }
    }
}

impl Shared {
    /// Asks for a sync, unless `position` is durable already.
    pub(crate) fn ask_sync(&self, position: Position) {
        if self.synced() < position {
            self.sync.lock().wanted = true;
            self.sync_wake.notify_one();
        }
    }

    /// Ends the sync thread after the pass it is in.
    pub(crate) fn stop_syncing(&self) {
        self.sync.lock().stop = true;
        self.sync_wake.notify_all();
    }

    /// The sync thread: syncs when asked, and each `sync_interval`.
    pub(crate) fn sync_loop(&self) {
        let mut failed = false;
        while self.await_work(failed) {
            failed = !self.sync_pass();
        }
    }

    /// Waits until there is something to sync. Returns false when the journal is closing.
    fn await_work(&self, failed: bool) -> bool {
        let mut sync = self.sync.lock();
        if failed && !sync.stop {
            // Those who wait were told; the next try must not spin.
            self.sync_wake.wait_for(&mut sync, RETRY);
            return !sync.stop;
        }
        loop {
            if sync.stop {
                return false;
            }
            if sync.wanted {
                return true;
            }
            let interval = self.options.sync_interval;
            if interval.is_zero() {
                self.sync_wake.wait(&mut sync);
            } else if self.sync_wake.wait_for(&mut sync, interval).timed_out()
                && self.synced() < self.appended()
            {
                return !sync.stop;
            }
        }
    }

    /// Makes everything appended so far durable. Returns false when some of it could not be.
    pub(crate) fn sync_pass(&self) -> bool {
        let (active, end) = self.with_writer(|shared, writer| {
            shared.sync.lock().wanted = false;
            shared.commit_unless_failing(writer);
            (SyncJob::of(&writer.active), shared.written())
        });
        let result = self.sync_up_to(&active, end);
        let done = result.is_ok();
        self.set_sync_fault(result.err());
        self.sync_progress.notify_waiters();
        done
    }

    fn sync_up_to(&self, active: &SyncJob, end: Position) -> Result<(), Fault> {
        if end == self.synced() && self.sync.lock().jobs.is_empty() {
            return Ok(());
        }
        loop {
            // A job stays in the queue until it is done, so that a failure keeps the order.
            let job = self.sync.lock().jobs.front().cloned();
            let Some(job) = job else { break };
            self.sync_segment(&job)?;
            self.sync.lock().jobs.pop_front();
        }
        self.sync_folder()?;
        self.sync_segment(active)?;
        self.synced.fetch_max(end, Ordering::AcqRel);
        Ok(())
    }

    fn sync_segment(&self, job: &SyncJob) -> Result<(), Fault> {
        let base = job.base.position;
        if self.sync.lock().suspects.contains(&base) {
            self.rewrite(job)?;
            self.sync.lock().suspects.remove(&base);
            return Ok(());
        }
        self.sync_busy
            .during(|| self.disk.sync(&job.file))
            .map_err(|error| {
                self.sync.lock().suspects.insert(base);
                fault(&FileError {
                    path: job.path.clone(),
                    doing: "sync",
                    source: error,
                })
            })
    }

    fn sync_folder(&self) -> Result<(), Fault> {
        if !std::mem::take(&mut self.sync.lock().folder_changed) {
            return Ok(());
        }
        let folder = segment::folder(&self.options.dir);
        segment::sync_folder(&folder).map_err(|error| {
            self.sync.lock().folder_changed = true;
            fault(&error)
        })
    }

    /// Replaces a segment, of which a sync failed, by a durable copy. Appends are refused
    /// meanwhile, so that holding the writer's place costs nothing.
    fn rewrite(&self, job: &SyncJob) -> Result<(), Fault> {
        self.with_writer(|shared, writer| {
            let kept = shared
                .segments
                .lock()
                .iter()
                .any(|segment| segment.base == job.base);
            if !kept {
                return Ok(());
            }
            let mut job = job.clone();
            let is_active = writer.active.base == job.base;
            if is_active {
                job.len = writer.active.len;
            }
            let file = shared.sync_busy.during(|| shared.copy(&job))?;
            if is_active {
                writer.active.file = Arc::new(file);
            }
            Ok(())
        })
    }

    fn copy(&self, job: &SyncJob) -> Result<File, Fault> {
        let found = segment::scan(&job.file, job.len)
            .map_err(|error| fault(&FileError::at("read back", &job.path)(error)))?;
        if found.len != job.len {
            return Err(Fault {
                full: false,
                reason: format!(
                    "{} could not be synced, and reads back damaged after {} of {} bytes; restart to go on after the damage",
                    job.path.display(),
                    found.len,
                    job.len
                )
                .into(),
            });
        }
        let new = job.path.with_extension("seg.tmp");
        let file = self.copy_to(job, &new).map_err(|error| fault(&error))?;
        fs::rename(&new, &job.path)
            .map_err(|error| fault(&FileError::at("replace", &job.path)(error)))?;
        segment::sync_folder(&segment::folder(&self.options.dir)).map_err(|error| fault(&error))?;
        Ok(file)
    }

    fn copy_to(&self, job: &SyncJob, new: &Path) -> Result<File, FileError> {
        let file = segment::create_file(new).map_err(FileError::at("create", new))?;
        let header = Header {
            base: job.base,
            created: job.created,
        }
        .encode();
        disk::write_all(&*self.disk, &file, &header, 0).map_err(FileError::at("write", new))?;
        let mut chunk = vec![0; COPY_CHUNK];
        let mut done = 0;
        while done < job.len {
            let want = usize::try_from(job.len - done)
                .unwrap_or(usize::MAX)
                .min(COPY_CHUNK);
            let chunk = chunk.get_mut(..want).unwrap_or_default();
            let offset = HEADER + done;
            job.file
                .read_exact_at(chunk, offset)
                .map_err(FileError::at("read back", &job.path))?;
            disk::write_all(&*self.disk, &file, chunk, offset)
                .map_err(FileError::at("write", new))?;
            done += want as u64;
        }
        self.disk.sync(&file).map_err(FileError::at("sync", new))?;
        Ok(file)
    }
}

fn fault(error: &FileError) -> Fault {
    Fault {
        full: false,
        reason: error.to_string().into(),
    }
}
