//! The promise of [`journal::Level::Write`]: a killed process loses no acknowledged record.
//!
//! The test starts itself again as a writer under load, kills it at a random moment, and looks.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use journal::{CursorState, Item, Journal, Level, Options, Place, Start, Verdict};
use tempfile::TempDir;

const ROUNDS: u64 = 10;
const WRITERS: u64 = 4;
const DIR: &str = "JOURNAL_KILL_TEST_DIR";
const ROUND: &str = "JOURNAL_KILL_TEST_ROUND";

fn options(dir: &Path) -> Options {
    Options {
        segment_bytes: 1 << 20,
        ..Options::new(dir)
    }
}

/// What record `number` of a writer looks like: its name, then bytes that follow from it.
fn payload(round: u64, writer: u64, number: u64) -> Vec<u8> {
    let mut payload = Vec::new();
    for part in [round, writer, number] {
        payload.extend_from_slice(&part.to_le_bytes());
    }
    let size = number.wrapping_mul(7919) % 3000;
    payload.extend((0..size).map(|at| (at ^ number ^ writer).to_le_bytes()[0]));
    payload
}

fn name(payload: &[u8]) -> [u64; 3] {
    [0, 8, 16].map(|at| u64::from_le_bytes(payload[at..at + 8].try_into().unwrap()))
}

#[test]
#[ignore = "the writer that a_killed_writer_loses_no_acknowledged_record starts and kills"]
fn writer_under_load() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let round: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    let (journal, _) = Journal::open(options(Path::new(&dir))).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let journal = journal.clone();
            tasks.spawn(async move {
                for number in 0.. {
                    let payload = payload(round, writer, number);
                    let end = journal
                        .append(payload.len(), |buffer| buffer.extend_from_slice(&payload))
                        .unwrap();
                    let level = if number % 100 == 99 {
                        Level::Sync
                    } else {
                        Level::Write
                    };
                    journal.wait(end, level).await.unwrap();
                    tell(&format!("\nack {writer} {number}"));
                    if number % 50 == 0 {
                        let place = Place {
                            position: end,
                            sequence: 0,
                        };
                        let mut cursor = journal.cursor(&format!("writer-{writer}")).unwrap();
                        cursor
                            .save(&CursorState {
                                low: place,
                                ..CursorState::default()
                            })
                            .unwrap();
                    }
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    });
}

/// One system call per line, so that a kill leaves whole lines and at most one piece.
fn tell(line: &str) {
    std::io::stdout()
        .lock()
        .write_all(format!("{line}\n").as_bytes())
        .unwrap();
}

#[test]
fn a_killed_writer_loses_no_acknowledged_record_and_leaves_no_corrupt_one() {
    let dir = TempDir::new().unwrap();
    let mut acknowledged: HashSet<[u64; 3]> = HashSet::new();
    for round in 0..ROUNDS {
        let seed = u64::from(std::process::id())
            .wrapping_add(round)
            .wrapping_mul(0x9E37_79B9);
        let acks = 20 + seed % 1500;
        acknowledged.extend(run_and_kill(dir.path(), round, acks));
        check(dir.path(), &acknowledged);
    }
}

/// Starts a writer, kills it after `acks` acknowledgements, and returns all that it told.
fn run_and_kill(dir: &Path, round: u64, acks: u64) -> Vec<[u64; 3]> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer_under_load", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (tell, told) = std::sync::mpsc::channel();
    let reading = thread::spawn(move || {
        for line in lines {
            let parts: Vec<u64> = line
                .unwrap()
                .split(' ')
                .skip(1)
                .filter_map(|part| part.parse().ok())
                .collect();
            if let [writer, number] = parts[..] {
                tell.send([round, writer, number]).unwrap();
            }
        }
    });
    let mut acknowledged: Vec<[u64; 3]> = told.iter().take(acks.try_into().unwrap()).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    reading.join().unwrap();
    acknowledged.extend(told);
    assert!(
        acknowledged.len() as u64 >= acks,
        "the writer ended by itself"
    );
    acknowledged
}

fn check(dir: &Path, acknowledged: &HashSet<[u64; 3]>) {
    let (journal, recovery) = Journal::open(options(dir)).unwrap();
    assert!(
        recovery.hole.is_none() && recovery.damaged.is_empty(),
        "{recovery}"
    );
    let mut found = HashSet::new();
    let mut reader = journal.reader(Start::Oldest);
    let mut sequence = 0;
    while let Some(item) = reader.next().unwrap() {
        let Item::Record(record) = item else {
            panic!("{item:?}")
        };
        let [round, writer, number] = name(&record.payload);
        assert_eq!(
            record.payload,
            payload(round, writer, number),
            "a corrupt record"
        );
        assert!(found.insert([round, writer, number]), "a record twice");
        assert_eq!(record.place.sequence, sequence);
        sequence += 1;
    }
    assert_eq!(
        acknowledged.difference(&found).count(),
        0,
        "acknowledged records are lost"
    );
    let reports = journal::verify(dir).unwrap();
    assert!(
        reports
            .iter()
            .all(|report| report.verdict == Verdict::Whole),
        "{reports:?}"
    );
}
