//! Crashes at every boundary, against a model: what a kill or a power cut may take, and what not.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use journal::{CursorState, Item, Journal, Level, Options, Place, Reader, Start};
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;
use tokio::runtime::Runtime;

#[derive(Debug, Clone)]
enum Step {
    Append(u16),
    Commit,
    Sync,
    SaveCursor(Index),
    Restart,
}

#[derive(Debug, Clone)]
enum Crash {
    /// The process is killed, at times in the middle of a write.
    Kill { torn: Option<Index> },
    /// Power is cut: what was not synced is there, or not, or rubbish.
    PowerCut { damages: Vec<(Index, Damage)> },
}

#[derive(Debug, Clone)]
enum Damage {
    Truncate(Index),
    Flip(Index, u8),
    Zero(Index),
    Remove,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (1u16..300).prop_map(Step::Append),
        5 => Just(Step::Commit),
        2 => Just(Step::Sync),
        1 => any::<Index>().prop_map(Step::SaveCursor),
        1 => Just(Step::Restart),
    ]
}

fn crash() -> impl Strategy<Value = Crash> {
    let damage = prop_oneof![
        any::<Index>().prop_map(Damage::Truncate),
        (any::<Index>(), 0u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        any::<Index>().prop_map(Damage::Zero),
        Just(Damage::Remove),
    ];
    prop_oneof![
        prop::option::of(any::<Index>()).prop_map(|torn| Crash::Kill { torn }),
        prop::collection::vec((any::<Index>(), damage), 0..4)
            .prop_map(|damages| Crash::PowerCut { damages }),
    ]
}

fn quiet(dir: &Path) -> Options {
    Options {
        flush_interval: Duration::from_secs(3600),
        sync_interval: Duration::ZERO,
        segment_bytes: 700,
        max_bytes: 1 << 30,
        ..Options::new(dir)
    }
}

/// A record as it was accepted.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    place: Place,
    end: u64,
    payload: Vec<u8>,
}

#[derive(Debug)]
struct Model {
    dir: TempDir,
    journal: Option<Journal>,
    runtime: Runtime,
    records: Vec<Known>,
    cursor: Option<Place>,
}

impl Model {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let journal = Some(Journal::open(quiet(dir.path())).unwrap().0);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        Self {
            dir,
            journal,
            runtime,
            records: Vec::new(),
            cursor: None,
        }
    }

    fn journal(&self) -> &Journal {
        self.journal.as_ref().unwrap()
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Append(size) => self.append(usize::from(*size)),
            Step::Commit => self.wait(Level::Write),
            Step::Sync => self.wait(Level::Sync),
            Step::SaveCursor(index) => self.save_cursor(index),
            Step::Restart => {
                self.journal().close().unwrap();
                self.journal = None;
                self.journal = Some(Journal::open(quiet(self.dir.path())).unwrap().0);
            }
        }
    }

    fn append(&mut self, size: usize) {
        let sequence = self.records.len() as u64;
        let payload: Vec<u8> = sequence
            .to_le_bytes()
            .into_iter()
            .cycle()
            .take(size)
            .collect();
        let end = self
            .journal()
            .append(size, |buffer| buffer.extend_from_slice(&payload))
            .unwrap();
        let place = Place {
            position: end - size as u64 - 8,
            sequence,
        };
        self.records.push(Known {
            place,
            end,
            payload,
        });
    }

    fn wait(&self, level: Level) {
        let end = self.journal().appended();
        self.runtime
            .block_on(self.journal().wait(end, level))
            .unwrap();
    }

    /// A follower has read a part of what is written, and is done with it.
    fn save_cursor(&mut self, index: &Index) {
        let written = self.journal().written();
        let seen: Vec<&Known> = self
            .records
            .iter()
            .filter(|known| known.end <= written)
            .collect();
        if seen.is_empty() {
            return;
        }
        let last = seen[index.index(seen.len())];
        let place = Place {
            position: last.end,
            sequence: last.place.sequence + 1,
        };
        let place = self.cursor.map_or(place, |before| before.max(place));
        self.journal()
            .cursor("follower")
            .unwrap()
            .save(&CursorState::at(place))
            .unwrap();
        self.cursor = Some(place);
    }

    /// The directory as a crash leaves it, and what must still be in it.
    fn crash(&self, crash: &Crash) -> (TempDir, u64) {
        let synced = self.journal().synced();
        let (image, written) = self.image();
        match crash {
            Crash::Kill { torn } => {
                if let Some(torn) = torn {
                    self.tear(image.path(), written, torn);
                }
                (image, written)
            }
            Crash::PowerCut { damages } => {
                for (index, damage) in damages {
                    hurt(image.path(), synced, index, damage);
                }
                (image, synced)
            }
        }
    }

    /// A copy of one moment: the sync thread may just be writing.
    fn image(&self) -> (TempDir, u64) {
        loop {
            let image = TempDir::new().unwrap();
            let written = self.journal().written();
            copy(self.dir.path(), image.path());
            if written == self.journal().written() {
                return (image, written);
            }
        }
    }

    /// A piece of the batch that was to be written next.
    fn tear(&self, image: &Path, written: u64, torn: &Index) {
        let mut batch = Vec::new();
        for known in self
            .records
            .iter()
            .filter(|known| known.place.position >= written)
        {
            batch.extend_from_slice(&u32::try_from(known.payload.len()).unwrap().to_le_bytes());
            batch.extend_from_slice(&[0xAB; 4]);
            batch.extend_from_slice(&known.payload);
        }
        if batch.is_empty() {
            return;
        }
        let (base, path) = segments(image).pop().unwrap();
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&batch[..torn.index(batch.len())], 48 + written - base)
            .unwrap();
    }

    /// Every record that is read is one that was accepted; returns those and what is lost.
    fn read(&self, reader: &mut Reader) -> (Vec<u64>, Vec<(u64, u64)>) {
        let mut read = Vec::new();
        let mut lost = Vec::new();
        while let Some(item) = reader.next().unwrap() {
            match item {
                Item::Record(record) => {
                    let sequence = record.place.sequence;
                    let known = &self.records[usize::try_from(sequence).unwrap()];
                    assert_eq!(
                        (record.place, record.end, &record.payload[..]),
                        (known.place, known.end, &known.payload[..])
                    );
                    read.push(sequence);
                }
                Item::Lost(gone) => {
                    assert_eq!(gone.records, gone.to.sequence - gone.from.sequence);
                    lost.push((gone.from.sequence, gone.to.sequence));
                }
            }
        }
        (read, lost)
    }

    fn check(&self, image: &Path, crash: &Crash, promised: u64) {
        self.read(&mut Reader::open_dir(image, Start::Oldest).unwrap());
        let (journal, recovery) = Journal::open(quiet(image)).unwrap();
        let mut reader = journal.reader(Start::At(Place::default()));
        let (read, lost) = self.read(&mut reader);

        let promised = self
            .records
            .iter()
            .filter(|known| known.end <= promised)
            .count() as u64;
        assert!(
            (0..promised).all(|sequence| read.contains(&sequence)),
            "{read:?} {promised}"
        );
        if matches!(crash, Crash::Kill { .. }) {
            assert_eq!(
                (read.len() as u64, lost.len()),
                (promised, 0),
                "exactly what was written"
            );
        }
        for sequence in 0..recovery.end.sequence {
            let passed = lost
                .iter()
                .any(|(from, to)| (*from..*to).contains(&sequence));
            assert!(
                passed != read.contains(&sequence),
                "{sequence} is read, or lost, or neither"
            );
        }
        if let Some(seen) = self.cursor {
            assert!(recovery.end >= seen, "{recovery} {seen:?}");
            assert_eq!(
                journal.cursor("follower").unwrap().saved(),
                Some(&CursorState::at(seen))
            );
        }

        let end = journal
            .append(3, |buffer| buffer.extend_from_slice(b"new"))
            .unwrap();
        self.runtime
            .block_on(journal.wait(end, Level::Write))
            .unwrap();
        let Some(Item::Record(record)) = reader.next().unwrap() else {
            panic!("a record")
        };
        assert_eq!(
            (record.place, &record.payload[..]),
            (recovery.end, &b"new"[..])
        );
    }
}

fn copy(from: &Path, to: &Path) {
    for folder in ["segments", "cursors"] {
        fs::create_dir_all(to.join(folder)).unwrap();
        for entry in fs::read_dir(from.join(folder)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(folder).join(entry.file_name())).unwrap();
        }
    }
}

fn segments(dir: &Path) -> Vec<(u64, PathBuf)> {
    let mut found: Vec<(u64, PathBuf)> = fs::read_dir(dir.join("segments"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_stem().unwrap().to_str().unwrap().parse().unwrap(),
                path,
            )
        })
        .collect();
    found.sort();
    found
}

/// Damages a segment where it was not synced. The header of a segment in which something was synced
/// is synced as well.
fn hurt(image: &Path, synced: u64, index: &Index, damage: &Damage) {
    let unsynced: Vec<(PathBuf, u64, u64)> = segments(image)
        .into_iter()
        .filter_map(|(base, path)| {
            let size = fs::metadata(&path).unwrap().len();
            let safe = if base < synced { 48 + synced - base } else { 0 };
            (size > safe).then_some((path, safe, size))
        })
        .collect();
    if unsynced.is_empty() {
        return;
    }
    let (path, safe, size) = &unsynced[index.index(unsynced.len())];
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let at = |index: &Index| safe + index.index(usize::try_from(size - safe).unwrap()) as u64;
    match damage {
        Damage::Truncate(index) => file.set_len(at(index)).unwrap(),
        Damage::Flip(index, bit) => {
            // Of a header that tells its checksum is wrong nothing but its loss follows; one that tells
            // of another version is refused, and no crash writes such a one.
            let at = at(index).max(*safe + if *safe == 0 { 12 } else { 0 });
            let mut byte = [0];
            if file.read_at(&mut byte, at).unwrap() == 1 {
                file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
            }
        }
        Damage::Zero(index) => {
            let at = at(index);
            file.write_all_at(&vec![0; usize::try_from(size - at).unwrap()], at)
                .unwrap();
        }
        Damage::Remove if *safe == 0 => fs::remove_file(path).unwrap(),
        Damage::Remove => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_crash_takes_only_what_its_kind_may_take_and_nothing_wrong_is_ever_read(
        steps in prop::collection::vec(step(), 1..60), crash in crash()
    ) {
        let mut model = Model::new();
        for step in &steps {
            model.run(step);
        }
        let (image, promised) = model.crash(&crash);
        model.check(image.path(), &crash, promised);
    }
}
