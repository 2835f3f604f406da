//! A file system that is really full. Needs the right to mount one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use journal::{AppendError, Health, Item, Journal, Level, Options, Start, Verdict, WaitError};
use tempfile::TempDir;

struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(dir.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Self { dir })
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount")
            .arg("--lazy")
            .arg(self.dir.path())
            .status()
            .unwrap();
    }
}

#[tokio::test]
async fn a_full_file_system_refuses_appends_loses_nothing_and_is_left_when_there_is_room() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: this process may not mount a file system");
        return;
    };
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![0; 1 << 20]).unwrap();
    let options = Options {
        segment_bytes: 64 << 10,
        flush_interval: Duration::from_millis(1),
        tail_bytes: 0,
        ..Options::new(disk.path().join("journal"))
    };
    let (journal, _) = Journal::open(options.clone()).unwrap();
    let mut accepted = 0u64;
    let mut acknowledged = 0;
    let refused = loop {
        let payload = accepted.to_le_bytes().repeat(100);
        match journal.append(800, |buffer| buffer.extend_from_slice(&payload)) {
            Ok(end) => {
                accepted += 1;
                match journal.wait(end, Level::Write).await {
                    Ok(()) => acknowledged = accepted,
                    Err(error) => assert!(matches!(error, WaitError::NotWritten { .. }), "{error}"),
                }
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::Full { .. }), "{refused}");
    assert!(
        acknowledged > 1000 && accepted > acknowledged,
        "{acknowledged} {accepted}"
    );
    let reports = journal::verify(&options.dir).unwrap();
    assert!(
        reports
            .iter()
            .all(|report| report.verdict == Verdict::Whole),
        "{reports:?}"
    );

    fs::remove_file(&ballast).unwrap();
    while journal.health() != Health::Ok {
        tokio::task::yield_now().await;
    }
    let end = journal
        .append(2, |buffer| buffer.extend_from_slice(b"go"))
        .unwrap();
    journal.wait(end, Level::Sync).await.unwrap();
    drop(journal);

    let (journal, recovery) = Journal::open(options).unwrap();
    assert_eq!((recovery.records, recovery.cuts.len()), (accepted + 1, 0));
    let mut reader = journal.reader(Start::Oldest);
    for number in 0..accepted {
        let Some(Item::Record(record)) = reader.next().unwrap() else {
            panic!("a record")
        };
        assert_eq!(record.payload, number.to_le_bytes().repeat(100));
    }
}
