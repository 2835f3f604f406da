//! What a journal promises while nothing goes wrong, and what it says when something did.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use journal::{
    AppendError, CursorState, Health, Item, Journal, Level, LostReason, OpenError, Options, Place,
    Reader, Start, Verdict, WaitError, WhenFull,
};
use tempfile::TempDir;

/// Nothing happens in the background unless a test asks for it.
fn quiet(dir: &Path) -> Options {
    Options {
        flush_interval: Duration::from_secs(3600),
        sync_interval: Duration::ZERO,
        ..Options::new(dir)
    }
}

fn open(options: Options) -> Journal {
    Journal::open(options).unwrap().0
}

fn append(journal: &Journal, payload: &[u8]) -> u64 {
    journal
        .append(payload.len(), |buffer| buffer.extend_from_slice(payload))
        .unwrap()
}

fn write(journal: &Journal, payload: &[u8]) -> u64 {
    let end = append(journal, payload);
    // The sync thread may just be leading.
    while journal.try_commit() < end {
        std::thread::yield_now();
    }
    end
}

/// Tries until everything is written, or refused.
fn commit(journal: &Journal) {
    while journal.try_commit() < journal.appended() && journal.health() == Health::Ok {
        std::thread::yield_now();
    }
}

/// Everything there is, as `(payload, lost)`.
fn drain(reader: &mut Reader) -> (Vec<Vec<u8>>, u64) {
    let mut payloads = Vec::new();
    let mut lost = 0;
    while let Some(item) = reader.next().unwrap() {
        match item {
            Item::Record(record) => payloads.push(record.payload.to_vec()),
            Item::Lost(gone) => lost += gone.records,
        }
    }
    (payloads, lost)
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir.join("segments"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    found.sort();
    found
}

/// 10 records of 100 bytes, three to a segment.
fn ten_records(options: Options) -> Journal {
    let journal = open(Options {
        segment_bytes: 350,
        ..options
    });
    for number in 0..10u8 {
        write(&journal, &[number; 100]);
    }
    journal
}

#[test]
fn what_is_written_is_read_in_order_from_memory_and_from_the_files() {
    for tail_bytes in [0, 300, 1 << 20] {
        let dir = TempDir::new().unwrap();
        let journal = ten_records(Options {
            tail_bytes,
            ..quiet(dir.path())
        });
        let expected: Vec<Vec<u8>> = (0..10u8).map(|number| vec![number; 100]).collect();
        assert_eq!(
            drain(&mut journal.reader(Start::Oldest)),
            (expected.clone(), 0)
        );
        let mut outside = Reader::open_dir(dir.path(), Start::Oldest).unwrap();
        assert_eq!(drain(&mut outside), (expected, 0));
        assert_eq!(segments(dir.path()).len(), 4);
    }
}

#[test]
fn positions_are_byte_offsets_and_sequences_count_records() {
    let dir = TempDir::new().unwrap();
    let journal = ten_records(quiet(dir.path()));
    let mut reader = journal.reader(Start::Oldest);
    for sequence in 0..10 {
        let Some(Item::Record(record)) = reader.next().unwrap() else {
            panic!("a record")
        };
        assert_eq!(
            record.place,
            Place {
                position: sequence * 108,
                sequence
            }
        );
        assert_eq!(record.end, (sequence + 1) * 108);
    }
    assert_eq!(journal.written(), 1080);
    let at = Place {
        position: 540,
        sequence: 5,
    };
    let mut reader = journal.reader(Start::At(at));
    let Some(Item::Record(record)) = reader.next().unwrap() else {
        panic!("a record")
    };
    assert_eq!((record.place, record.payload[0]), (at, 5));
    assert_eq!(journal.reader(Start::Latest).next().unwrap(), None);
}

#[test]
fn a_reader_sees_nothing_that_is_only_appended() {
    let dir = TempDir::new().unwrap();
    let journal = open(quiet(dir.path()));
    let mut reader = journal.reader(Start::Latest);
    let end = append(&journal, b"one");
    assert_eq!(reader.next().unwrap(), None);
    assert_eq!((journal.appended(), journal.written()), (end, 0));
    journal.try_commit();
    assert_eq!(drain(&mut reader).0, [b"one"]);
}

#[tokio::test]
async fn each_level_waits_for_its_watermark() {
    let dir = TempDir::new().unwrap();
    let journal = open(quiet(dir.path()));
    let end = append(&journal, b"one");
    journal.wait(end, Level::Append).await.unwrap();
    assert_eq!(journal.written(), 0);
    journal.wait(end, Level::Write).await.unwrap();
    assert_eq!((journal.written(), journal.synced()), (end, 0));
    journal.wait(end, Level::Sync).await.unwrap();
    assert_eq!(journal.synced(), end);
    let end = append(&journal, b"two");
    journal.wait(end, Level::Sync).await.unwrap();
    assert_eq!((journal.written(), journal.synced()), (end, end));
}

#[tokio::test]
async fn the_background_writes_and_syncs_what_nobody_waits_for() {
    let dir = TempDir::new().unwrap();
    let journal = open(Options {
        flush_interval: Duration::from_millis(1),
        sync_interval: Duration::from_millis(1),
        ..Options::new(dir.path())
    });
    let mut end = 0;
    for _ in 0..3 {
        end = append(&journal, b"one");
        assert!(journal.wait_written_past(end - 1).await.unwrap() >= end);
    }
    while journal.synced() < end {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn records_of_many_tasks_are_all_there_once() {
    let dir = TempDir::new().unwrap();
    let journal = open(Options {
        segment_bytes: 20_000,
        ..Options::new(dir.path())
    });
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..16u32 {
        let journal = journal.clone();
        tasks.spawn(async move {
            for number in 0..200u32 {
                let payload = format!("{task}-{number}");
                let end = append(&journal, payload.as_bytes());
                let level = if number % 50 == 0 {
                    Level::Sync
                } else {
                    Level::Write
                };
                journal.wait(end, level).await.unwrap();
                assert!(journal.written() >= end);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let (mut payloads, lost) = drain(&mut journal.reader(Start::Oldest));
    payloads.sort();
    payloads.dedup();
    assert_eq!((payloads.len(), lost), (3200, 0));
}

#[test]
fn a_panicking_encoder_leaves_no_trace() {
    let dir = TempDir::new().unwrap();
    let journal = open(quiet(dir.path()));
    append(&journal, b"one");
    let panicking = journal.clone();
    std::thread::spawn(move || {
        panicking.append(1, |buffer| {
            buffer.push(1);
            panic!("an encoder's fault");
        })
    })
    .join()
    .unwrap_err();
    write(&journal, b"two");
    assert_eq!(
        drain(&mut journal.reader(Start::Oldest)).0,
        [b"one", b"two"]
    );
}

#[test]
fn an_encoder_that_takes_bytes_away_stops_the_journal_rather_than_corrupting_it() {
    let dir = TempDir::new().unwrap();
    let journal = open(quiet(dir.path()));
    write(&journal, b"one");
    append(&journal, b"two");
    let refused = journal.append(1, |buffer| buffer.clear()).unwrap_err();
    assert!(matches!(refused, AppendError::Failed { .. }), "{refused}");
    assert_eq!(
        journal.append(1, |buffer| buffer.push(1)).unwrap_err(),
        refused
    );
    journal.try_commit();
    assert_eq!(drain(&mut journal.reader(Start::Oldest)).0, [b"one"]);
    assert_eq!(journal.close().unwrap_err().records, 1);
}

#[test]
fn a_record_beyond_the_limits_is_refused_and_leaves_no_trace() {
    let dir = TempDir::new().unwrap();
    let journal = open(Options {
        max_record: 10,
        buffer_bytes: 40,
        ..quiet(dir.path())
    });
    let too_big = AppendError::TooBig {
        size: 11,
        limit: 10,
    };
    assert_eq!(
        journal.append(11, |_| panic!("not asked")).unwrap_err(),
        too_big
    );
    assert_eq!(
        journal.append(0, |buffer| buffer.extend_from_slice(&[1; 11])),
        Err(too_big)
    );
    assert_eq!(journal.append(5, |_| ()), Err(AppendError::Empty));
    append(&journal, &[1; 10]);
    append(&journal, &[2; 10]);
    let backlog = AppendError::Backlog {
        buffered: 36,
        limit: 40,
    };
    assert_eq!(
        journal.append(10, |_| panic!("not asked")).unwrap_err(),
        backlog
    );
    assert_eq!(
        journal.append(0, |buffer| buffer.extend_from_slice(&[3; 10])),
        Err(backlog)
    );
    journal.try_commit();
    write(&journal, &[4; 10]);
    let expected: Vec<Vec<u8>> = [1, 2, 4].map(|number| vec![number; 10]).to_vec();
    assert_eq!(drain(&mut journal.reader(Start::Oldest)).0, expected);
}

#[test]
fn a_record_longer_than_buffer_and_segment_is_taken_alone() {
    let dir = TempDir::new().unwrap();
    let journal = open(Options {
        buffer_bytes: 10,
        segment_bytes: 20,
        tail_bytes: 0,
        ..quiet(dir.path())
    });
    let long = vec![7; 2 << 20];
    write(&journal, b"short");
    write(&journal, &long);
    write(&journal, b"short");
    let (payloads, lost) = drain(&mut journal.reader(Start::Oldest));
    assert_eq!(lost, 0);
    assert_eq!(payloads, [b"short".to_vec(), long, b"short".to_vec()]);
}

#[tokio::test]
async fn a_closed_journal_has_everything_on_disk_and_takes_no_more() {
    let dir = TempDir::new().unwrap();
    let journal = open(quiet(dir.path()));
    let end = append(&journal, b"one");
    journal.close().unwrap();
    assert_eq!(journal.synced(), end);
    assert_eq!(
        journal.append(1, |buffer| buffer.push(1)),
        Err(AppendError::Closed)
    );
    assert_eq!(journal.wait_written_past(end).await, Err(WaitError::Closed));
    journal.wait(end, Level::Sync).await.unwrap();
    assert_eq!(
        journal.wait(end + 1, Level::Write).await,
        Err(WaitError::Closed)
    );
    journal.close().unwrap();
    let (again, recovery) = Journal::open(quiet(dir.path())).unwrap();
    assert_eq!((recovery.records, recovery.end.position), (1, end));
    assert!(recovery.cuts.is_empty() && recovery.hole.is_none());
    assert_eq!(drain(&mut again.reader(Start::Oldest)).0, [b"one"]);
}

#[test]
fn a_second_writer_is_refused_and_told_the_process() {
    let dir = TempDir::new().unwrap();
    let journal = open(quiet(dir.path()));
    let refused = Journal::open(quiet(dir.path())).unwrap_err();
    let pid = std::process::id();
    assert!(matches!(refused, OpenError::Locked { pid: Some(holder), .. } if holder == pid));
    assert!(
        refused
            .to_string()
            .contains(&format!("in use by process {pid}")),
        "{refused}"
    );
    drop(journal);
    open(quiet(dir.path()));
}

#[test]
fn nobody_else_may_read_the_journal() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("journal");
    let journal = open(quiet(&root));
    write(&journal, b"one");
    journal
        .cursor("log")
        .unwrap()
        .save(&CursorState::default())
        .unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for folder in [root.clone(), root.join("segments"), root.join("cursors")] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
    }
    let segment = segments(&root).remove(0);
    for file in [root.join("LOCK"), root.join("cursors/log.cursor"), segment] {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_torn_tail_is_cut_and_the_cut_is_told() {
    let dir = TempDir::new().unwrap();
    let journal = open(quiet(dir.path()));
    let end = write(&journal, b"one");
    write(&journal, b"two");
    drop(journal);
    let segment = segments(dir.path()).remove(0);
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.set_len(48 + end + 5).unwrap();
    let (journal, recovery) = Journal::open(quiet(dir.path())).unwrap();
    let cut = &recovery.cuts[0];
    assert_eq!((&cut.file, cut.offset, cut.bytes), (&segment, 48 + end, 5));
    let told = recovery.to_string();
    assert!(told.contains(segment.to_str().unwrap()), "{told}");
    assert!(told.contains("cut 5 bytes"), "{told}");
    assert!(
        told.contains(&format!(
            "at offset {}: a record that is cut short",
            48 + end
        )),
        "{told}"
    );
    write(&journal, b"three");
    let (payloads, lost) = drain(&mut journal.reader(Start::Oldest));
    assert_eq!(
        (payloads, lost),
        (vec![b"one".to_vec(), b"three".to_vec()], 0)
    );
}

#[test]
fn a_segment_without_header_is_removed_when_it_is_the_last_and_left_alone_when_not() {
    let dir = TempDir::new().unwrap();
    drop(ten_records(quiet(dir.path())));
    let files = segments(dir.path());
    fs::write(
        dir.path().join("segments/00000000000000009999.seg"),
        [0; 100],
    )
    .unwrap();
    let file = fs::OpenOptions::new().write(true).open(&files[1]).unwrap();
    file.write_all_at(&[0; 48], 0).unwrap();
    let (journal, recovery) = Journal::open(quiet(dir.path())).unwrap();
    assert_eq!(segments(dir.path()), files);
    assert_eq!((recovery.cuts.len(), recovery.cuts[0].bytes), (1, 100));
    assert_eq!(
        (recovery.damaged.len(), &recovery.damaged[0].file),
        (1, &files[1])
    );
    let (payloads, lost) = drain(&mut journal.reader(Start::Oldest));
    assert_eq!((payloads.len(), lost), (7, 3));
}

#[test]
fn an_old_journal_is_refused_with_the_way_out() {
    let dir = TempDir::new().unwrap();
    drop(ten_records(quiet(dir.path())));
    let segment = segments(dir.path()).remove(2);
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(&9u32.to_le_bytes(), 8).unwrap();
    let refused = Journal::open(quiet(dir.path())).unwrap_err();
    assert!(
        matches!(
            refused,
            OpenError::OldJournal {
                found: 9,
                ours: 1,
                ..
            }
        ),
        "{refused}"
    );
    assert!(refused.to_string().contains("old journal"), "{refused}");
    file.write_all_at(b"PNG!", 0).unwrap();
    let refused = Journal::open(quiet(dir.path())).unwrap_err();
    assert!(
        matches!(refused, OpenError::NotASegment { .. }),
        "{refused}"
    );
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let dir = TempDir::new().unwrap();
    let refused = Journal::open(Options {
        max_bytes: 1 << 20,
        ..quiet(dir.path())
    })
    .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("raise max_bytes, or lower segment_bytes"),
        "{refused}"
    );
}

#[test]
fn a_damaged_record_costs_the_rest_of_its_segment_and_is_counted() {
    for tail_bytes in [0, 1 << 20] {
        let dir = TempDir::new().unwrap();
        drop(ten_records(quiet(dir.path())));
        let file = fs::OpenOptions::new()
            .write(true)
            .open(&segments(dir.path())[1])
            .unwrap();
        file.write_all_at(&[0xff], 48 + 108 + 50).unwrap();
        let journal = open(Options {
            tail_bytes,
            ..quiet(dir.path())
        });
        let (payloads, lost) = drain(&mut journal.reader(Start::Oldest));
        let numbers: Vec<u8> = payloads.iter().map(|payload| payload[0]).collect();
        assert_eq!((numbers, lost), (vec![0, 1, 2, 3, 6, 7, 8, 9], 2));
        let reports = journal::verify(dir.path()).unwrap();
        assert_eq!(
            reports
                .iter()
                .filter(|r| r.verdict == Verdict::Whole)
                .count(),
            3
        );
        let Verdict::Damaged { offset, lost, .. } = &reports[1].verdict else {
            panic!("damaged")
        };
        assert_eq!((reports[1].records, *offset, *lost), (1, 48 + 108, Some(2)));
    }
}

#[test]
fn damage_in_the_segment_in_use_is_passed_over_when_it_is_closed_or_grows() {
    let dir = TempDir::new().unwrap();
    let journal = open(Options {
        tail_bytes: 0,
        ..quiet(dir.path())
    });
    for number in 0..3u8 {
        write(&journal, &[number; 100]);
    }
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&segments(dir.path())[0])
        .unwrap();
    file.write_all_at(&[0xff], 48 + 108 + 50).unwrap();
    let mut reader = journal.reader(Start::Oldest);
    assert_eq!(drain(&mut reader), (vec![vec![0; 100]], 2));
    write(&journal, b"next");
    assert_eq!(drain(&mut reader), (vec![b"next".to_vec()], 0));
}

#[test]
fn a_tool_reads_beside_a_writer_and_waits_at_a_torn_tail() {
    let dir = TempDir::new().unwrap();
    let journal = open(Options {
        segment_bytes: 350,
        ..quiet(dir.path())
    });
    write(&journal, b"one");
    let mut reader = Reader::open_dir(dir.path(), Start::Oldest).unwrap();
    let mut latest = Reader::open_dir(dir.path(), Start::Latest).unwrap();
    assert_eq!(drain(&mut reader).0, [b"one"]);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&segments(dir.path())[0])
        .unwrap();
    file.write_all_at(&[3, 0, 0, 0, 1, 2, 3], 48 + journal.written())
        .unwrap();
    assert_eq!(drain(&mut reader), (vec![], 0));
    let torn = &journal::verify(dir.path()).unwrap()[0];
    assert_eq!(
        (torn.records, &torn.verdict),
        (1, &Verdict::Torn { bytes: 7 })
    );
    for number in 0..10u8 {
        write(&journal, &[number; 100]);
    }
    assert_eq!(drain(&mut reader).0.len(), 10);
    assert_eq!(drain(&mut latest).0.len(), 10);
    let listed = journal::list(dir.path()).unwrap();
    assert_eq!(listed.len(), journal.stats().segments);
    assert_eq!(
        listed.iter().map(|entry| entry.bytes).sum::<u64>(),
        journal.stats().bytes
    );
}

/// Room for three segments of three records.
fn budget(dir: &Path, when_full: WhenFull) -> Options {
    Options {
        segment_bytes: 350,
        max_bytes: 1194,
        when_full,
        tail_bytes: 0,
        buffer_bytes: 350,
        max_record: 342,
        ..quiet(dir)
    }
}

#[test]
fn the_oldest_segments_are_deleted_when_nobody_needs_them() {
    let dir = TempDir::new().unwrap();
    let journal = open(budget(dir.path(), WhenFull::Stop));
    for number in 0..30u8 {
        write(&journal, &[number; 100]);
    }
    assert_eq!(segments(dir.path()).len(), 3);
    assert!(journal.stats().bytes <= 1194);
    let (payloads, lost) = drain(&mut journal.reader(Start::Oldest));
    assert_eq!((payloads[0][0], payloads.len(), lost), (21, 9, 0));
    let first = journal.reader(Start::At(Place::default())).next().unwrap();
    let Some(Item::Lost(gone)) = first else {
        panic!("lost")
    };
    assert_eq!((gone.records, gone.reason), (21, LostReason::Deleted));
}

#[test]
fn a_follower_that_is_behind_stops_the_journal_and_is_named() {
    let dir = TempDir::new().unwrap();
    let journal = open(budget(dir.path(), WhenFull::Stop));
    let mut cursor = journal.cursor("slow-one").unwrap();
    cursor.save(&CursorState::at(Place::default())).unwrap();
    for number in 0..9u8 {
        write(&journal, &[number; 100]);
    }
    append(&journal, &[9; 100]);
    commit(&journal);
    assert!(
        matches!(journal.health(), Health::Full { .. }),
        "{}",
        journal.health()
    );
    let refused = journal.append(1, |buffer| buffer.push(1)).unwrap_err();
    assert!(matches!(refused, AppendError::Full { .. }), "{refused}");
    assert!(refused.to_string().contains("\"slow-one\""), "{refused}");
    // Nothing accepted is given up: it comes through at the close, when there is room.
    cursor
        .save(&CursorState::at(Place {
            position: 324,
            sequence: 3,
        }))
        .unwrap();
    journal.close().unwrap();
    let (payloads, _) = drain(&mut journal.reader(Start::Oldest));
    assert_eq!(payloads.last().unwrap(), &vec![9; 100]);
    assert_eq!(payloads.len(), 7);
}

#[test]
fn a_forgotten_cursor_holds_nothing_back() {
    let dir = TempDir::new().unwrap();
    let journal = open(budget(dir.path(), WhenFull::Stop));
    journal
        .cursor("gone")
        .unwrap()
        .save(&CursorState::at(Place::default()))
        .unwrap();
    assert_eq!(journal.stats().cursors[0].name, "gone");
    assert!(journal.forget_cursor("gone").unwrap());
    assert!(!journal.forget_cursor("gone").unwrap());
    for number in 0..30u8 {
        write(&journal, &[number; 100]);
    }
    assert_eq!(journal.health(), Health::Ok);
}

#[test]
fn drop_unread_deletes_what_a_follower_needs_and_its_reader_counts_the_loss() {
    let dir = TempDir::new().unwrap();
    let journal = open(budget(dir.path(), WhenFull::DropUnread));
    let mut cursor = journal.cursor("slow-one").unwrap();
    cursor
        .save(&CursorState::at(Place {
            position: 216,
            sequence: 2,
        }))
        .unwrap();
    for number in 0..30u8 {
        write(&journal, &[number; 100]);
    }
    let low = cursor.saved().unwrap().low;
    let (payloads, lost) = drain(&mut journal.reader(Start::At(low)));
    assert_eq!((payloads.len(), lost), (9, 19));
    assert_eq!(journal.dropped_unread(), 19);
    assert_eq!(journal.stats().cursors[0].records, 28);
}

#[test]
fn a_cursor_survives_a_restart_and_holds_its_segments() {
    let dir = TempDir::new().unwrap();
    let state = CursorState {
        low: Place {
            position: 216,
            sequence: 2,
        },
        high: Place {
            position: 540,
            sequence: 5,
        },
        open: vec![2, 4],
        extra: b"ledger".to_vec(),
    };
    let journal = ten_records(quiet(dir.path()));
    assert_eq!(journal.cursor("log").unwrap().saved(), None);
    journal.cursor("log").unwrap().save(&state).unwrap();
    drop(journal);
    let journal = open(budget(dir.path(), WhenFull::Stop));
    assert_eq!(journal.cursor("log").unwrap().saved(), Some(&state));
    let lag = &journal.stats().cursors[0];
    assert_eq!((lag.bytes, lag.records), (864, 8));
    append(&journal, &[0; 300]);
    commit(&journal);
    assert!(matches!(journal.health(), Health::Full { .. }));
}

#[test]
fn a_damaged_cursor_is_told_and_does_not_stop_the_journal() {
    let dir = TempDir::new().unwrap();
    let journal = open(quiet(dir.path()));
    journal
        .cursor("log")
        .unwrap()
        .save(&CursorState::default())
        .unwrap();
    drop(journal);
    let file = dir.path().join("cursors/log.cursor");
    fs::write(&file, b"rubbish").unwrap();
    let (journal, recovery) = Journal::open(quiet(dir.path())).unwrap();
    assert_eq!(recovery.damaged[0].file, file);
    let refused = journal.cursor("log").unwrap_err().to_string();
    assert!(
        refused.contains("remove it to start that follower anew"),
        "{refused}"
    );
}

#[test]
fn positions_that_a_follower_has_seen_are_never_used_again() {
    let dir = TempDir::new().unwrap();
    let journal = ten_records(quiet(dir.path()));
    let seen = Place {
        position: 1080,
        sequence: 10,
    };
    let low = Place {
        position: 864,
        sequence: 8,
    };
    let state = CursorState {
        low,
        high: seen,
        open: vec![8],
        extra: Vec::new(),
    };
    journal.cursor("log").unwrap().save(&state).unwrap();
    drop(journal);
    // A power cut takes what was not synced: the last segment, and most of the one before.
    let files = segments(dir.path());
    fs::remove_file(&files[3]).unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(&files[2])
        .unwrap()
        .set_len(48 + 108 + 9)
        .unwrap();
    let (journal, recovery) = Journal::open(quiet(dir.path())).unwrap();
    let hole = recovery.hole.unwrap();
    assert_eq!(
        (hole.from, hole.to),
        (
            Place {
                position: 756,
                sequence: 7
            },
            seen
        )
    );
    assert!(recovery.to_string().contains("3 records"), "{recovery}");
    write(&journal, b"new");
    let mut reader = journal.reader(Start::Oldest);
    let (payloads, lost) = drain(&mut reader);
    assert_eq!((payloads.len(), lost), (8, 3));
    assert_eq!(
        reader.place(),
        Place {
            position: 1080 + 11,
            sequence: 11
        }
    );
    let Some(Item::Lost(lost)) = journal.reader(Start::At(low)).next().unwrap() else {
        panic!("lost")
    };
    assert_eq!((lost.records, lost.reason), (2, LostReason::Missing));
}

#[test]
fn a_segment_longer_than_is_now_configured_is_closed_when_the_journal_is_opened() {
    let dir = TempDir::new().unwrap();
    let journal = open(quiet(dir.path()));
    for number in 0..10u8 {
        write(&journal, &[number; 100]);
    }
    drop(journal);
    let journal = open(budget(dir.path(), WhenFull::Stop));
    for number in 10..30u8 {
        write(&journal, &[number; 100]);
    }
    assert_eq!(journal.health(), Health::Ok);
    assert!(journal.stats().bytes <= 1194);
}
