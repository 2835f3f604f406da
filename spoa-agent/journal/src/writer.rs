//! Appending, and group commit.
//!
//! `append` encodes a record into the active buffer under a short lock that is never held during
//! I/O. Who wants it written becomes the *leader*: takes the whole buffer and writes it with one
//! system call on its own thread, for everybody who appended meanwhile. Those who find a leader at
//! work wait for its watermark. A background thread writes what nobody asked for.
//!
//! On a failed write nothing accepted is given up: the batch stays in memory, appends are refused,
//! and the background thread retries at the same offset until it succeeds.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::disk::{self, Disk};
use crate::error::{AppendError, WaitError};
use crate::health::{Busy, Fault, Faults, Health};
use crate::options::{Level, Options};
use crate::record::{self, PREFIX};
use crate::segment::{self, HEADER, Header, Segment};
use crate::sync::{SyncControl, SyncJob};
use crate::tail::Tail;
use crate::{Place, Position};

/// How long after a failure the next try is made.
pub(crate) const RETRY: Duration = Duration::from_millis(200);
/// Buffered bytes at which the background thread is woken before its interval is over.
const FLUSH_AT: usize = 1 << 20;
/// Intervals without an append after which the background thread sleeps until there is one.
const IDLE_ROUNDS: u32 = 100;
const SPARES: usize = 2;
const FIRST_BUFFER: usize = 64 << 10;
const LARGEST_FIRST_BUFFER: usize = 1 << 20;

/// Everything that the journal's handles, threads and readers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) disk: Arc<dyn Disk>,
    append: Mutex<Append>,
    flush_wake: Condvar,
    /// Bytes taken from the active buffer and not yet written.
    in_flight: AtomicUsize,
    writer: Mutex<Writer>,
    pub(crate) tail: Mutex<Tail>,
    pub(crate) segments: Mutex<VecDeque<Segment>>,
    pub(crate) cursors: Mutex<BTreeMap<String, Place>>,
    /// Records deleted before the slowest follower had read them.
    pub(crate) dropped_unread: AtomicU64,
    faults: Mutex<Faults>,
    pub(crate) sync: Mutex<SyncControl>,
    pub(crate) sync_wake: Condvar,
    appended: AtomicU64,
    written: AtomicU64,
    pub(crate) synced: AtomicU64,
    progress: Notify,
    pub(crate) sync_progress: Notify,
    write_busy: Busy,
    pub(crate) sync_busy: Busy,
}

/// The active buffer. Locked by every append, never during I/O.
#[derive(Debug)]
struct Append {
    buffer: Vec<u8>,
    /// Where the buffer's first record starts.
    start: Place,
    next: Place,
    refusal: Option<AppendError>,
    /// The refusal is for good.
    refuses_all: bool,
    closed: bool,
    idle: bool,
    flush_asked: bool,
}

/// The open segment. Locked by the leader, during I/O.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) active: Active,
    pending: Option<Batch>,
    spares: Vec<Vec<u8>>,
    last_batch: usize,
    /// The active segment failed in a way that a fresh one may not.
    abandon: bool,
    /// Writing fails; when it was tried last.
    failed: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) file: Arc<File>,
    pub(crate) path: PathBuf,
    pub(crate) base: Place,
    pub(crate) created: u64,
    /// Bytes of whole records.
    pub(crate) len: u64,
}

#[derive(Debug)]
struct Batch {
    bytes: Vec<u8>,
    start: Place,
    end: Place,
}

impl Shared {
    pub(crate) fn new(
        options: Options,
        disk: Arc<dyn Disk>,
        active: Active,
        end: Place,
        segments: VecDeque<Segment>,
        cursors: BTreeMap<String, Place>,
    ) -> Self {
        Self {
            append: Mutex::new(Append {
                buffer: Vec::with_capacity(FIRST_BUFFER),
                start: end,
                next: end,
                refusal: None,
                refuses_all: false,
                closed: false,
                idle: false,
                flush_asked: false,
            }),
            flush_wake: Condvar::new(),
            in_flight: AtomicUsize::new(0),
            writer: Mutex::new(Writer {
                active,
                pending: None,
                spares: Vec::new(),
                last_batch: 0,
                abandon: false,
                failed: None,
            }),
            tail: Mutex::new(Tail::new(options.tail_bytes, end)),
            segments: Mutex::new(segments),
            cursors: Mutex::new(cursors),
            dropped_unread: AtomicU64::new(0),
            faults: Mutex::new(Faults::default()),
            sync: Mutex::new(SyncControl::default()),
            sync_wake: Condvar::new(),
            appended: AtomicU64::new(end.position),
            written: AtomicU64::new(end.position),
            synced: AtomicU64::new(end.position),
            progress: Notify::new(),
            sync_progress: Notify::new(),
            write_busy: Busy::new(),
            sync_busy: Busy::new(),
            options,
            disk,
        }
    }

    pub(crate) fn append(
        &self,
        size_hint: usize,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Position, AppendError> {
        let limit = self.options.max_record;
        if size_hint > limit {
            return Err(AppendError::TooBig {
                size: size_hint,
                limit,
            });
        }
        let mut append = self.append.lock();
        if let Some(refusal) = &append.refusal {
            return Err(refusal.clone());
        }
        self.room(&append, size_hint)?;
        let size = draft(&mut append, size_hint, limit, encode)?;
        if let Err(error) = self.room_after(&append, size) {
            let keep = append.buffer.len() - size;
            append.buffer.truncate(keep);
            return Err(error);
        }
        append.next.position += size as u64;
        append.next.sequence += 1;
        let end = append.next.position;
        self.appended.store(end, Ordering::Release);
        self.wake_flusher(&mut append);
        Ok(end)
    }

    /// Writes what is buffered, if no other thread is at it. Returns the written watermark.
    pub(crate) fn try_commit(&self) -> Position {
        if self.written() < self.appended()
            && let Some(writer) = self.writer.try_lock()
        {
            self.lead(writer, Self::commit_unless_failing);
        }
        self.written()
    }

    /// Takes the leader's place, waiting for the one at work, and tells everybody when it is done.
    pub(crate) fn with_writer<T>(&self, work: impl FnOnce(&Self, &mut Writer) -> T) -> T {
        self.lead(self.writer.lock(), work)
    }

    pub(crate) async fn wait(&self, position: Position, level: Level) -> Result<(), WaitError> {
        match level {
            Level::Append => Ok(()),
            Level::Write => self.wait_written(position).await,
            Level::Sync => self.wait_synced(position).await,
        }
    }

    async fn wait_written(&self, position: Position) -> Result<(), WaitError> {
        loop {
            if self.written() >= position || self.try_commit() >= position {
                return Ok(());
            }
            let mut progress = std::pin::pin!(self.progress.notified());
            progress.as_mut().enable();
            // Again after `enable`: a leader that ends now notifies us, one that ended before has
            // left the lock free.
            if self.try_commit() >= position {
                return Ok(());
            }
            self.check_writing()?;
            progress.await;
        }
    }

    async fn wait_synced(&self, position: Position) -> Result<(), WaitError> {
        loop {
            let mut progress = std::pin::pin!(self.sync_progress.notified());
            progress.as_mut().enable();
            if self.synced() >= position {
                return Ok(());
            }
            if self.written() < position {
                self.check_writing()?;
            }
            self.check_syncing()?;
            self.ask_sync(position);
            progress.await;
        }
    }

    /// Waits until something is written past `position`.
    pub(crate) async fn wait_written_past(
        &self,
        position: Position,
    ) -> Result<Position, WaitError> {
        loop {
            let mut progress = std::pin::pin!(self.progress.notified());
            progress.as_mut().enable();
            let written = self.written();
            if written > position {
                return Ok(written);
            }
            if self.append.lock().closed {
                return Err(WaitError::Closed);
            }
            progress.await;
        }
    }

    pub(crate) fn appended(&self) -> Position {
        self.appended.load(Ordering::Acquire)
    }

    pub(crate) fn written(&self) -> Position {
        self.written.load(Ordering::Acquire)
    }

    pub(crate) fn synced(&self) -> Position {
        self.synced.load(Ordering::Acquire)
    }

    pub(crate) fn next_place(&self) -> Place {
        self.append.lock().next
    }

    pub(crate) fn written_place(&self) -> Place {
        self.tail.lock().end()
    }

    pub(crate) fn health(&self) -> Health {
        if let Some(fault) = self.faults.lock().any() {
            return fault.health();
        }
        let limit = self.options.stall_limit;
        for (what, busy) in [("write", &self.write_busy), ("sync", &self.sync_busy)] {
            let since = busy.lasting();
            if since > limit {
                return Health::Stalled { what, since };
            }
        }
        Health::Ok
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        self.faults.lock().any().cloned()
    }

    pub(crate) fn set_sync_fault(&self, fault: Option<Fault>) {
        if self.faults.lock().sync != fault {
            self.change_faults(|faults| faults.sync = fault);
        }
    }

    /// Refuses every further append. The background thread ends.
    pub(crate) fn refuse_all(&self) {
        let mut append = self.append.lock();
        append.refusal = Some(AppendError::Closed);
        append.refuses_all = true;
        drop(append);
        self.flush_wake.notify_all();
    }

    /// Ends every wait: nothing will be written or synced any more.
    pub(crate) fn end_waits(&self) {
        self.append.lock().closed = true;
        self.wake_waiters();
    }

    fn wake_waiters(&self) {
        self.progress.notify_waiters();
        self.sync_progress.notify_waiters();
    }

    /// The background thread: writes what is buffered each `flush_interval`, retries after a
    /// failure, and makes room ahead of the next segment.
    pub(crate) fn flush_loop(&self) {
        let mut idle_rounds = 0;
        let mut room_made_for = None;
        loop {
            if self.sleep(idle_rounds >= IDLE_ROUNDS) {
                return;
            }
            let busy = self.written() < self.appended();
            idle_rounds = if busy { 0 } else { idle_rounds + 1 };
            if busy {
                self.with_writer(|shared, writer| {
                    if writer.failed.is_none_or(|failed| failed.elapsed() >= RETRY) {
                        shared.commit(writer);
                    }
                });
            }
            self.make_room_ahead(&mut room_made_for);
        }
    }

    /// Waits for the next round. Returns true when the journal is closing.
    fn sleep(&self, idle: bool) -> bool {
        let mut append = self.append.lock();
        append.flush_asked = false;
        if append.refuses_all {
            return true;
        }
        if idle && append.buffer.is_empty() && self.in_flight.load(Ordering::Acquire) == 0 {
            append.idle = true;
            self.flush_wake.wait(&mut append);
            append.idle = false;
        }
        if !append.refuses_all {
            self.flush_wake
                .wait_for(&mut append, self.options.flush_interval);
        }
        append.refuses_all
    }

    fn wake_flusher(&self, append: &mut Append) {
        if append.idle {
            append.idle = false;
            self.flush_wake.notify_one();
        } else if append.buffer.len() >= FLUSH_AT && !append.flush_asked {
            append.flush_asked = true;
            self.flush_wake.notify_one();
        }
    }

    /// Deleting a large file takes milliseconds: better here than in the leader's way.
    fn make_room_ahead(&self, made_for: &mut Option<Position>) {
        let half_full = {
            let segments = self.segments.lock();
            let Some(active) = segments.back() else {
                return;
            };
            (active.len > self.options.segment_bytes / 2).then_some(active.base.position)
        };
        if half_full.is_none() || half_full == *made_for {
            return;
        }
        // Without room the roll itself says so.
        if self
            .make_room(self.options.segment_bytes.saturating_add(HEADER))
            .is_ok()
        {
            *made_for = half_full;
        }
    }

    fn lead<T>(
        &self,
        mut writer: MutexGuard<'_, Writer>,
        work: impl FnOnce(&Self, &mut Writer) -> T,
    ) -> T {
        let result = work(self, &mut writer);
        drop(writer);
        // After the lock is free, so that a waiter whose record came too late for us can lead.
        self.progress.notify_waiters();
        result
    }

    /// Writes what is buffered. While writing fails, only the background thread tries.
    pub(crate) fn commit_unless_failing(&self, writer: &mut Writer) {
        if writer.pending.is_none() {
            self.commit(writer);
        }
    }

    /// Writes what could not be written before, then what is buffered now.
    pub(crate) fn commit(&self, writer: &mut Writer) {
        loop {
            if writer.pending.is_none() {
                writer.pending = self.take(writer);
            }
            let Some(batch) = writer.pending.take() else {
                break;
            };
            match self.write(writer, &batch) {
                Ok(()) => self.publish(writer, batch),
                Err(fault) => {
                    writer.pending = Some(batch);
                    writer.failed = Some(Instant::now());
                    self.set_write_fault(Some(fault));
                    return;
                }
            }
            if writer.failed.take().is_none() {
                return;
            }
            self.set_write_fault(None);
        }
    }

    fn take(&self, writer: &mut Writer) -> Option<Batch> {
        let size = writer
            .last_batch
            .next_power_of_two()
            .clamp(FIRST_BUFFER, LARGEST_FIRST_BUFFER);
        let spare = writer
            .spares
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(size));
        let mut append = self.append.lock();
        let size = append.next.position - append.start.position;
        if size == 0 || size != append.buffer.len() as u64 {
            drop(append);
            writer.spares.push(spare);
            return None;
        }
        let bytes = std::mem::replace(&mut append.buffer, spare);
        let end = append.next;
        let start = std::mem::replace(&mut append.start, end);
        self.in_flight.store(bytes.len(), Ordering::Release);
        writer.last_batch = bytes.len();
        Some(Batch { bytes, start, end })
    }

    fn write(&self, writer: &mut Writer, batch: &Batch) -> Result<(), Fault> {
        let size = batch.bytes.len() as u64;
        let too_long = writer.active.len.saturating_add(size) > self.options.segment_bytes;
        if (too_long || writer.abandon) && writer.active.len > 0 {
            self.roll(writer, size, batch.start)?;
        }
        writer.abandon = false;
        let active = &mut writer.active;
        let offset = HEADER + active.len;
        let written = self
            .write_busy
            .during(|| disk::write_all(&*self.disk, &active.file, &batch.bytes, offset));
        let Err(error) = written else {
            active.len += size;
            return Ok(());
        };
        // The retry writes the same bytes at the same offset, so a failing cut does no harm here.
        let cut = active.file.set_len(offset);
        let mut fault = write_fault("write", &active.path, &error);
        if let Err(error) = cut {
            fault.reason = format!("{}, nor cut it back: {error}", fault.reason).into();
        }
        writer.abandon = !fault.full;
        Err(fault)
    }

    fn publish(&self, writer: &mut Writer, batch: Batch) {
        let end = batch.end;
        if let Some(active) = self.segments.lock().back_mut() {
            active.len = writer.active.len;
        }
        let spare = self.tail.lock().push(batch.start, batch.bytes, end);
        if let Some(spare) = spare
            && writer.spares.len() < SPARES
            && spare.capacity() <= self.options.buffer_bytes.max(FIRST_BUFFER)
        {
            writer.spares.push(spare);
        }
        self.in_flight.store(0, Ordering::Release);
        self.written.store(end.position, Ordering::Release);
    }

    /// Closes the active segment and starts the next one at `base`.
    fn roll(&self, writer: &mut Writer, need: u64, base: Place) -> Result<(), Fault> {
        let need = need.max(self.options.segment_bytes).saturating_add(HEADER);
        self.make_room(need)?;
        let next = create(&*self.disk, &self.options.dir, base)
            .map_err(|(path, error)| write_fault("create", &path, &error))?;
        self.segments.lock().push_back(next.segment());
        let old = std::mem::replace(&mut writer.active, next);
        let mut sync = self.sync.lock();
        sync.rolled(SyncJob::of(&old));
        drop(sync);
        self.sync_wake.notify_one();
        Ok(())
    }

    fn set_write_fault(&self, fault: Option<Fault>) {
        self.change_faults(|faults| faults.write = fault);
    }

    fn change_faults(&self, change: impl FnOnce(&mut Faults)) {
        let mut faults = self.faults.lock();
        change(&mut faults);
        let refusal = faults.any().map(Fault::append_error);
        let mut append = self.append.lock();
        if !append.refuses_all {
            append.refusal = refusal;
        }
        drop(append);
        drop(faults);
        self.wake_waiters();
    }

    fn check_writing(&self) -> Result<(), WaitError> {
        let fault = self.faults.lock().write.clone();
        if let Some(fault) = fault {
            return Err(fault.not_written());
        }
        if self.append.lock().closed {
            Err(WaitError::Closed)
        } else {
            Ok(())
        }
    }

    fn check_syncing(&self) -> Result<(), WaitError> {
        let fault = self.faults.lock().sync.clone();
        if let Some(fault) = fault {
            return Err(fault.not_synced());
        }
        if self.append.lock().closed {
            Err(WaitError::Closed)
        } else {
            Ok(())
        }
    }

    fn room(&self, append: &Append, size: usize) -> Result<(), AppendError> {
        let buffered = self.in_flight.load(Ordering::Acquire) + append.buffer.len();
        let limit = self.options.buffer_bytes;
        if buffered > 0 && buffered.saturating_add(size) > limit {
            return Err(AppendError::Backlog { buffered, limit });
        }
        Ok(())
    }

    /// The same once the record of `size` bytes is in the buffer: a hint can be too low.
    fn room_after(&self, append: &Append, size: usize) -> Result<(), AppendError> {
        let held = self.in_flight.load(Ordering::Acquire) + append.buffer.len();
        let limit = self.options.buffer_bytes;
        if held > size && held > limit {
            return Err(AppendError::Backlog {
                buffered: held - size,
                limit,
            });
        }
        Ok(())
    }
}

impl Active {
    pub(crate) fn segment(&self) -> Segment {
        Segment {
            base: self.base,
            len: self.len,
            created: self.created,
            path: self.path.clone(),
        }
    }
}

/// Encodes one record at the end of the buffer; returns its size with the prefix. On an error, or
/// when `encode` panics, the buffer is as before.
fn draft(
    append: &mut Append,
    size_hint: usize,
    limit: usize,
    encode: impl FnOnce(&mut Vec<u8>),
) -> Result<usize, AppendError> {
    append.buffer.reserve(PREFIX + size_hint);
    let start = append.buffer.len();
    let mut draft = Draft {
        append,
        start,
        sealed: false,
    };
    let buffer = &mut draft.append.buffer;
    buffer.extend_from_slice(&[0; PREFIX]);
    encode(buffer);
    if buffer.len() < start {
        // What `encode` took away is gone. Better no journal than a wrong one.
        let reason = "an encoder took bytes of earlier records away".into();
        let error = AppendError::Failed { reason };
        draft.append.refusal = Some(error.clone());
        draft.append.refuses_all = true;
        return Err(error);
    }
    let size = buffer.len().saturating_sub(start + PREFIX);
    if size > limit {
        return Err(AppendError::TooBig { size, limit });
    }
    if !buffer.get_mut(start..).is_some_and(record::seal) {
        return Err(AppendError::Empty);
    }
    draft.sealed = true;
    Ok(size + PREFIX)
}

/// Takes an unfinished record out of the buffer again.
struct Draft<'a> {
    append: &'a mut Append,
    start: usize,
    sealed: bool,
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.sealed {
            self.append.buffer.truncate(self.start);
        }
    }
}

/// Creates the segment that starts at `base`, with its header.
pub(crate) fn create(
    disk: &dyn Disk,
    dir: &std::path::Path,
    base: Place,
) -> Result<Active, (PathBuf, io::Error)> {
    let path = segment::path(dir, base.position);
    let created = segment::now();
    let header = Header { base, created }.encode();
    let made = segment::create_file(&path)
        .and_then(|file| disk::write_all(disk, &file, &header, 0).map(|()| file));
    match made {
        Ok(file) => Ok(Active {
            file: Arc::new(file),
            path,
            base,
            created,
            len: 0,
        }),
        Err(error) => {
            // Recovery removes a segment without a header too.
            std::fs::remove_file(&path).unwrap_or_default();
            Err((path, error))
        }
    }
}

fn write_fault(doing: &str, path: &std::path::Path, error: &io::Error) -> Fault {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    Fault {
        full: matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge),
        reason: format!("cannot {doing} {}: {error}", path.display()).into(),
    }
}
