//! What a failing disk may and may not do to a journal: tests, on a disk that fails when told to.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::disk::Disk;
use crate::writer::Shared;
use crate::{AppendError, Health, Item, Journal, Level, Options, Start, Verdict, WaitError};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// A disk with so much room, which can be told to fail and to block.
#[derive(Debug)]
struct Faulty {
    room: AtomicU64,
    broken_writes: AtomicUsize,
    broken_syncs: AtomicUsize,
    blocked: Mutex<bool>,
    unblocked: Condvar,
}

impl Faulty {
    fn new(room: u64) -> Arc<Self> {
        Arc::new(Self {
            room: AtomicU64::new(room),
            broken_writes: AtomicUsize::new(0),
            broken_syncs: AtomicUsize::new(0),
            blocked: Mutex::new(false),
            unblocked: Condvar::new(),
        })
    }

    fn block(&self, blocked: bool) {
        *self.blocked.lock() = blocked;
        self.unblocked.notify_all();
    }
}

fn fails(count: &AtomicUsize) -> bool {
    count
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| {
            count.checked_sub(1)
        })
        .is_ok()
}

impl Disk for Faulty {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut blocked = self.blocked.lock();
        while *blocked {
            self.unblocked.wait(&mut blocked);
        }
        drop(blocked);
        if fails(&self.broken_writes) {
            // Some of it got there, who knows how much.
            file.write_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let room = self.room.load(Ordering::SeqCst);
        if room == 0 {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        let size = bytes.len().min(usize::try_from(room).unwrap());
        let written = file.write_at(&bytes[..size], offset)?;
        self.room.fetch_sub(written as u64, Ordering::SeqCst);
        Ok(written)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        if fails(&self.broken_syncs) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        file.sync_data()
    }
}

fn quiet(dir: &TempDir) -> Options {
    Options {
        flush_interval: Duration::from_secs(3600),
        sync_interval: Duration::ZERO,
        ..Options::new(dir.path())
    }
}

fn eager(dir: &TempDir) -> Options {
    Options {
        flush_interval: Duration::from_millis(1),
        ..quiet(dir)
    }
}

fn append(journal: &Journal, payload: &[u8]) -> Result<u64, AppendError> {
    journal.append(payload.len(), |buffer| buffer.extend_from_slice(payload))
}

fn read(journal: &Journal) -> Vec<Vec<u8>> {
    let mut reader = journal.reader(Start::Oldest);
    let mut payloads = Vec::new();
    while let Some(item) = reader.next().unwrap() {
        let Item::Record(record) = item else {
            panic!("{item:?}")
        };
        payloads.push(record.payload.to_vec());
    }
    payloads
}

fn all_whole(dir: &TempDir) -> bool {
    let reports = crate::verify(dir.path()).unwrap();
    reports
        .iter()
        .all(|report| report.verdict == Verdict::Whole)
}

async fn until_healthy(journal: &Journal) {
    while journal.health() != Health::Ok {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_full_disk_refuses_appends_keeps_what_was_accepted_and_recovers_by_itself() {
    for tail_bytes in [0, 1 << 20] {
        let dir = TempDir::new().unwrap();
        let disk = Faulty::new(48 + 3 * 108 + 50);
        let options = Options {
            tail_bytes,
            ..eager(&dir)
        };
        let (journal, _) = Journal::open_on(options, disk.clone()).unwrap();
        let mut accepted = Vec::new();
        let refused = loop {
            let payload = vec![accepted.len().to_le_bytes()[0]; 100];
            match append(&journal, &payload) {
                Ok(end) => {
                    accepted.push(payload);
                    match journal.wait(end, Level::Write).await {
                        Ok(()) => assert!(accepted.len() <= 3),
                        Err(error) => assert!(matches!(error, WaitError::NotWritten { .. })),
                    }
                }
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, AppendError::Full { .. }), "{refused}");
        assert!(matches!(journal.health(), Health::Full { .. }));
        assert!(all_whole(&dir), "the failed write is cut back");
        assert_eq!(read(&journal), accepted[..3]);
        let position = journal.written();
        disk.room.store(u64::MAX, Ordering::SeqCst);
        journal.wait_written_past(position).await.unwrap();
        until_healthy(&journal).await;
        append(&journal, b"again").unwrap();
        accepted.push(b"again".to_vec());
        journal.close().unwrap();
        assert_eq!(read(&journal), accepted);
        assert!(all_whole(&dir));
    }
}

#[tokio::test]
async fn after_an_input_output_error_writing_goes_on_in_a_fresh_segment() {
    let dir = TempDir::new().unwrap();
    let disk = Faulty::new(u64::MAX);
    let (journal, _) = Journal::open_on(
        Options {
            tail_bytes: 0,
            ..eager(&dir)
        },
        disk.clone(),
    )
    .unwrap();
    let end = append(&journal, b"one").unwrap();
    journal.wait(end, Level::Write).await.unwrap();
    disk.broken_writes.store(1, Ordering::SeqCst);
    let end = append(&journal, b"two").unwrap();
    let failed = journal.wait(end, Level::Write).await;
    assert!(
        matches!(failed, Err(WaitError::NotWritten { .. })),
        "{failed:?}"
    );
    assert!(matches!(journal.health(), Health::Failed { .. }));
    assert!(matches!(
        append(&journal, b"no"),
        Err(AppendError::Failed { .. })
    ));
    assert_eq!(journal.wait_written_past(end - 1).await, Ok(end));
    until_healthy(&journal).await;
    assert_eq!(read(&journal), [b"one", b"two"]);
    assert_eq!(journal.stats().segments, 2);
}

#[tokio::test]
async fn a_failed_sync_is_told_and_the_segment_is_written_anew_before_it_counts_as_durable() {
    let dir = TempDir::new().unwrap();
    let disk = Faulty::new(u64::MAX);
    let (journal, _) = Journal::open_on(
        Options {
            tail_bytes: 0,
            ..quiet(&dir)
        },
        disk.clone(),
    )
    .unwrap();
    let segment = crate::list(dir.path()).unwrap().remove(0).path;
    let inode = || std::fs::metadata(&segment).unwrap().ino();
    let before = inode();
    // Twice: the copy cannot be synced either.
    disk.broken_syncs.store(2, Ordering::SeqCst);
    let end = append(&journal, b"one").unwrap();
    let failed = journal.wait(end, Level::Sync).await;
    assert!(
        matches!(failed, Err(WaitError::NotSynced { .. })),
        "{failed:?}"
    );
    assert!(matches!(
        append(&journal, b"no"),
        Err(AppendError::Failed { .. })
    ));
    assert_eq!((journal.synced(), inode()), (0, before));
    until_healthy(&journal).await;
    assert_eq!(journal.synced(), end);
    assert_ne!(inode(), before);
    let end = append(&journal, b"two").unwrap();
    journal.wait(end, Level::Sync).await.unwrap();
    assert_eq!(read(&journal), [b"one", b"two"]);
    drop(journal);
    let (journal, recovery) = Journal::open(quiet(&dir)).unwrap();
    assert!(recovery.cuts.is_empty(), "{recovery}");
    assert_eq!(read(&journal), [b"one", b"two"]);
}

#[tokio::test]
async fn a_closed_segment_that_cannot_be_synced_holds_the_watermark_back() {
    let dir = TempDir::new().unwrap();
    let disk = Faulty::new(u64::MAX);
    let options = Options {
        segment_bytes: 100,
        ..quiet(&dir)
    };
    let (journal, _) = Journal::open_on(options, disk.clone()).unwrap();
    disk.broken_syncs.store(1, Ordering::SeqCst);
    for number in 0..3u8 {
        while append(&journal, &[number; 60]).is_err() {
            tokio::task::yield_now().await;
        }
        while journal.try_commit() < journal.appended() {
            tokio::task::yield_now().await;
        }
    }
    // The rolls asked for syncs, one of which fails and is made good.
    while journal.wait(journal.appended(), Level::Sync).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(disk.broken_syncs.load(Ordering::SeqCst), 0);
    assert_eq!((read(&journal).len(), all_whole(&dir)), (3, true));
}

#[test]
fn a_write_that_hangs_is_a_stall_and_appends_go_on_until_the_buffer_is_full() {
    let dir = TempDir::new().unwrap();
    let disk = Faulty::new(u64::MAX);
    let options = Options {
        buffer_bytes: 300,
        stall_limit: Duration::ZERO,
        ..quiet(&dir)
    };
    let (journal, _) = Journal::open_on(options, disk.clone()).unwrap();
    disk.block(true);
    append(&journal, &[1; 92]).unwrap();
    let leading = journal.clone();
    let leader = thread::spawn(move || leading.try_commit());
    while !matches!(journal.health(), Health::Stalled { what: "write", .. }) {
        thread::yield_now();
    }
    assert_eq!(
        journal.try_commit(),
        0,
        "whoever finds a leader does not wait for it"
    );
    append(&journal, &[2; 92]).unwrap();
    append(&journal, &[3; 92]).unwrap();
    let backlog = AppendError::Backlog {
        buffered: 300,
        limit: 300,
    };
    assert_eq!(append(&journal, &[4; 92]), Err(backlog));
    disk.block(false);
    leader.join().unwrap();
    assert_eq!(journal.health(), Health::Ok);
    journal.close().unwrap();
    assert_eq!(read(&journal).len(), 3);
}

#[test]
fn a_journal_closed_on_a_full_disk_says_what_is_missing() {
    let dir = TempDir::new().unwrap();
    let disk = Faulty::new(48 + 108);
    let (journal, _) = Journal::open_on(quiet(&dir), disk).unwrap();
    append(&journal, &[1; 100]).unwrap();
    journal.try_commit();
    append(&journal, &[2; 100]).unwrap();
    let missing = journal.close().unwrap_err();
    assert_eq!(
        (missing.records, missing.bytes, missing.missing),
        (1, 108, "written")
    );
}

#[derive(Debug, Clone)]
enum Step {
    Append(u16),
    Commit,
    Retry,
    Room(u64),
    BreakWrite,
    BreakSync,
    Sync,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1u16..400).prop_map(Step::Append),
        4 => Just(Step::Commit),
        2 => Just(Step::Retry),
        1 => (0u64..2000).prop_map(Step::Room),
        1 => Just(Step::BreakWrite),
        1 => Just(Step::BreakSync),
        2 => Just(Step::Sync),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn however_the_disk_fails_what_was_accepted_is_there_once_and_in_order(
        steps in prop::collection::vec(step(), 1..80), tail_bytes in prop_oneof![Just(0usize), Just(1 << 20)]
    ) {
        let dir = TempDir::new().unwrap();
        let disk = Faulty::new(u64::MAX);
        let options =
            Options { segment_bytes: 1000, max_bytes: 1 << 30, tail_bytes, ..quiet(&dir) };
        let (journal, _) = Journal::open_on(options.clone(), disk.clone()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut accepted: Vec<Vec<u8>> = Vec::new();
        for step in steps {
            match step {
                Step::Append(size) => {
                    let payload = vec![accepted.len().to_le_bytes()[0]; size.into()];
                    if append(&journal, &payload).is_ok() {
                        accepted.push(payload);
                    }
                }
                Step::Commit => { journal.try_commit(); }
                Step::Retry => journal.shared().with_writer(Shared::commit),
                Step::Room(room) => disk.room.store(room, Ordering::SeqCst),
                Step::BreakWrite => disk.broken_writes.store(1, Ordering::SeqCst),
                Step::BreakSync => disk.broken_syncs.store(1, Ordering::SeqCst),
                Step::Sync => {
                    let written = journal.written();
                    let synced = runtime.block_on(journal.wait(written, Level::Sync));
                    prop_assert!(synced.is_err() || journal.synced() >= written);
                }
            }
            let seen = read(&journal);
            prop_assert_eq!(&seen[..], &accepted[..seen.len()]);
        }
        disk.room.store(u64::MAX, Ordering::SeqCst);
        disk.broken_writes.store(0, Ordering::SeqCst);
        disk.broken_syncs.store(0, Ordering::SeqCst);
        journal.close().unwrap();
        prop_assert_eq!(&read(&journal), &accepted);
        prop_assert_eq!(journal.synced(), journal.appended());
        drop(journal);
        let (journal, recovery) = Journal::open(options).unwrap();
        prop_assert!(recovery.cuts.is_empty(), "{}", recovery);
        prop_assert_eq!(read(&journal), accepted);
    }
}
