//! Appending and scanning, beside a plain sequential write of the same bytes in batches of the same
//! size, to files of the same length that are synced in the background just the same.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use journal::{Item, Journal, Options, Start};
use tempfile::TempDir;

const SIZES: [usize; 3] = [200, 1 << 10, 16 << 10];
const BATCH: usize = 256 << 10;
const SEGMENT: u64 = 128 << 20;
const PREFIX: usize = 8;

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(3));
    for size in SIZES {
        let records = BATCH / (size + PREFIX);
        group.throughput(Throughput::ElementsAndBytes {
            elements: records as u64,
            bytes: (records * (size + PREFIX)) as u64,
        });
        let payload = vec![b'x'; size];
        group.bench_function(BenchmarkId::new("plain write", size), |b| {
            let mut plain = Plain::new();
            let batch = vec![b'x'; records * (size + PREFIX)];
            b.iter(|| plain.write(&batch));
        });
        group.bench_function(BenchmarkId::new("journal", size), |b| {
            let dir = TempDir::new().unwrap();
            let journal = open(&dir, SEGMENT);
            b.iter(|| {
                for _ in 0..records {
                    put(&journal, &payload);
                }
                journal.try_commit();
            });
        });
        group.bench_function(
            BenchmarkId::new("journal, written in the background", size),
            |b| {
                let dir = TempDir::new().unwrap();
                let journal = open(&dir, SEGMENT);
                b.iter(|| {
                    for _ in 0..records {
                        put_when_there_is_room(&journal, &payload);
                    }
                });
            },
        );
        group.bench_function(
            BenchmarkId::new("journal, each record written", size),
            |b| {
                let dir = TempDir::new().unwrap();
                let journal = open(&dir, SEGMENT);
                b.iter(|| {
                    for _ in 0..records {
                        put(&journal, &payload);
                        journal.try_commit();
                    }
                });
            },
        );
        group.bench_function(BenchmarkId::new("plain write of each record", size), |b| {
            let mut plain = Plain::new();
            let record = vec![b'x'; size + PREFIX];
            b.iter(|| {
                for _ in 0..records {
                    plain.write(&record);
                }
            });
        });
    }
    group.finish();
}

fn threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("4 threads, each record written");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(3));
    for size in SIZES {
        group.throughput(Throughput::ElementsAndBytes {
            elements: 4,
            bytes: 4 * (size + PREFIX) as u64,
        });
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            let dir = TempDir::new().unwrap();
            let journal = open(&dir, SEGMENT);
            let payload = vec![b'x'; size];
            b.iter_custom(|rounds| {
                let began = Instant::now();
                thread::scope(|scope| {
                    for _ in 0..4 {
                        scope.spawn(|| {
                            for _ in 0..rounds {
                                put(&journal, &payload);
                                journal.try_commit();
                            }
                        });
                    }
                });
                began.elapsed()
            });
        });
    }
    group.finish();
}

fn scan(c: &mut Criterion) {
    let mut group = c.benchmark_group("scan");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(3));
    for size in SIZES {
        let records = (64 << 20) / (size + PREFIX);
        let dir = TempDir::new().unwrap();
        let journal = open(&dir, SEGMENT);
        let payload = vec![b'x'; size];
        for _ in 0..records {
            put(&journal, &payload);
        }
        journal.try_commit();
        group.throughput(Throughput::ElementsAndBytes {
            elements: records as u64,
            bytes: (records * (size + PREFIX)) as u64,
        });
        group.bench_function(BenchmarkId::new("plain read", size), |b| {
            let path = journal::list(dir.path()).unwrap().remove(0).path;
            let mut chunk = vec![0; 512 << 10];
            b.iter(|| {
                let file = File::open(&path).unwrap();
                let mut offset = 0;
                loop {
                    match file.read_at(&mut chunk, offset).unwrap() {
                        0 => break,
                        read => offset += read as u64,
                    }
                }
                black_box(offset)
            });
        });
        group.bench_function(BenchmarkId::new("journal", size), |b| {
            b.iter(|| {
                let mut reader = journal.reader(Start::Oldest);
                let mut seen = 0;
                while let Some(Item::Record(record)) = reader.next().unwrap() {
                    black_box(record.payload);
                    seen += 1;
                }
                assert_eq!(seen, records);
            });
        });
    }
    group.finish();
}

fn open(dir: &TempDir, segment_bytes: u64) -> Journal {
    let options = Options {
        segment_bytes,
        max_bytes: 4 * segment_bytes,
        sync_interval: Duration::ZERO,
        flush_interval: Duration::from_millis(50),
        ..Options::new(dir.path())
    };
    Journal::open(options).unwrap().0
}

/// Appends; on a backlog it waits for the disk, as a plain write does.
fn put(journal: &Journal, payload: &[u8]) {
    while journal
        .append(payload.len(), |buffer| buffer.extend_from_slice(payload))
        .is_err()
    {
        journal.try_commit();
        thread::yield_now();
    }
}

/// Appends; on a backlog it leaves the disk to the journal's own thread.
fn put_when_there_is_room(journal: &Journal, payload: &[u8]) {
    while journal
        .append(payload.len(), |buffer| buffer.extend_from_slice(payload))
        .is_err()
    {
        thread::yield_now();
    }
}

/// The same files without the journal.
struct Plain {
    dir: TempDir,
    file: File,
    length: u64,
    number: u64,
    full: Option<mpsc::SyncSender<File>>,
    syncing: Option<JoinHandle<()>>,
}

impl Plain {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let file = File::create(dir.path().join("0")).unwrap();
        let (full, files) = mpsc::sync_channel::<File>(100);
        let syncing = thread::spawn(move || {
            for file in files {
                file.sync_data().unwrap();
            }
        });
        Self {
            dir,
            file,
            length: 0,
            number: 0,
            full: Some(full),
            syncing: Some(syncing),
        }
    }

    fn write(&mut self, batch: &[u8]) {
        if self.length + batch.len() as u64 > SEGMENT {
            self.number += 1;
            self.length = 0;
            let file = File::create(self.path(self.number)).unwrap();
            let full = std::mem::replace(&mut self.file, file);
            self.full.as_ref().unwrap().send(full).unwrap();
            if self.number >= 4 {
                fs::remove_file(self.path(self.number - 4)).unwrap();
            }
        }
        self.file.write_all_at(batch, self.length).unwrap();
        self.length += batch.len() as u64;
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.path().join(number.to_string())
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.full.take();
        self.syncing.take().unwrap().join().unwrap();
    }
}

criterion_group!(benches, append, threads, scan);
criterion_main!(benches);
