use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use bytes::Bytes;
use exchange::{Body, Dropped, Header, Request, Word};
use prometheus_client::registry::Registry;
use tempfile::TempDir;

use super::*;
use crate::telemetry::metrics::Metrics;

const ROOMY: Options = Options {
    max_bytes: 1 << 20,
    when_full: LetterWhenFull::Refuse,
    sync: true,
};

fn metrics() -> DeadLetterMetrics {
    Metrics::register(&mut Registry::default()).dead_letters
}

fn open(dir: &TempDir, options: Options) -> (DeadLetters, DeadLetterMetrics) {
    let metrics = metrics();
    let path = dir.path().join("dead");
    let letters = DeadLetters::open(&path, options, Credentials::default(), metrics.clone());
    (letters.unwrap(), metrics)
}

/// A letter about the exchange at `position`, as long as it takes.
fn pair(position: u64, body: usize) -> Pair {
    Pair {
        position,
        dropped: Some(Dropped {
            reason: Word::Borrowed("poison"),
            cause: Word::Borrowed("closed"),
        }),
        request: Request {
            id: Bytes::from(position.to_string()),
            headers: [Header {
                name: Bytes::from_static(b"authorization"),
                value: Bytes::from_static(b"Basic s3cret"),
            }]
            .into_iter()
            .collect(),
            body: Body::observed(Bytes::from(vec![b'x'; body]), true, None),
            ..Request::default()
        },
        ..Pair::default()
    }
}

/// Number and position of each letter.
fn found(dir: &TempDir) -> Vec<(u64, u64)> {
    let letters = read(&dir.path().join("dead")).unwrap();
    letters
        .map(|letter| letter.unwrap())
        .map(|letter| (letter.number, letter.pair.position))
        .collect()
}

#[test]
fn letters_are_numbered_complete_masked_and_for_their_owner_only() {
    let dir = TempDir::new().unwrap();
    let (letters, metrics) = open(&dir, ROOMY);
    letters.append(&pair(70, 100_000)).unwrap();
    letters.append(&pair(80, 1)).unwrap();
    assert_eq!(found(&dir), [(1, 70), (2, 80)]);
    let path = dir.path().join("dead");
    let first = read(&path).unwrap().next().unwrap().unwrap();
    assert_eq!(first.pair.request.body, pair(70, 100_000).request.body);
    assert_eq!(first.pair.dropped, pair(70, 1).dropped);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"***\"") && !text.contains("s3cret"));
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(metrics.written.get(), 2);
}

#[test]
fn an_exchange_that_is_given_up_again_after_a_restart_has_one_letter() {
    let dir = TempDir::new().unwrap();
    open(&dir, ROOMY).0.append(&pair(1, 1)).unwrap();
    let (letters, _) = open(&dir, ROOMY);
    letters.append(&pair(1, 1)).unwrap();
    let other_items = Pair {
        items: vec![3..4, 6..7],
        ..pair(1, 1)
    };
    letters.append(&other_items).unwrap();
    assert_eq!(found(&dir), [(1, 1), (2, 1)]);
}

#[test]
fn numbers_go_on_after_a_restart_and_an_unfinished_line_is_cut() {
    let dir = TempDir::new().unwrap();
    open(&dir, ROOMY).0.append(&pair(1, 1)).unwrap();
    let path = dir.path().join("dead");
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(b"{\"event\":{\"kind\":\"dead_le");
    fs::write(&path, text).unwrap();
    open(&dir, ROOMY).0.append(&pair(2, 1)).unwrap();
    assert_eq!(found(&dir), [(1, 1), (2, 2)]);
}

#[test]
fn letters_are_removed_while_the_agent_appends_and_no_number_is_used_again() {
    let dir = TempDir::new().unwrap();
    let (letters, _) = open(&dir, ROOMY);
    for position in 1..=3 {
        letters.append(&pair(position, 1)).unwrap();
    }
    let path = dir.path().join("dead");
    assert_eq!(remove(&path, &BTreeSet::from([1, 3, 9])).unwrap(), 2);
    letters.append(&pair(4, 1)).unwrap();
    assert_eq!(found(&dir), [(2, 2), (4, 4)]);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_is_no_letter_is_an_error_in_its_place_and_is_never_removed() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("dead");
    fs::write(&path, "something else\n").unwrap();
    open(&dir, ROOMY).0.append(&pair(1, 1)).unwrap();
    remove(&path, &BTreeSet::from([1])).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "something else\n");
    assert!(read(&path).unwrap().next().unwrap().is_err());
}

#[test]
fn a_full_file_refuses_or_lets_the_oldest_go_and_counts_either_way() {
    for when_full in [LetterWhenFull::Refuse, LetterWhenFull::DropOldest] {
        let dir = TempDir::new().unwrap();
        let options = Options {
            max_bytes: 10_000,
            when_full,
            sync: false,
        };
        let (letters, metrics) = open(&dir, options);
        for position in 1..=20 {
            letters.append(&pair(position, 1000)).unwrap();
            let length = fs::metadata(dir.path().join("dead")).unwrap().len();
            assert!(length <= options.max_bytes, "{length}");
        }
        let found = found(&dir);
        let lost = 20 - found.len() as u64;
        assert!(lost > 0 && !found.is_empty());
        match when_full {
            LetterWhenFull::Refuse => {
                assert_eq!(found.first(), Some(&(1, 1)));
                assert_eq!(metrics.lost.get(LetterLoss::Full), lost);
            }
            LetterWhenFull::DropOldest => {
                assert_eq!(found.last(), Some(&(20, 20)));
                assert_eq!(metrics.lost.get(LetterLoss::Oldest), lost);
            }
        }
    }
}

#[test]
fn a_letter_longer_than_the_file_may_be_is_lost_and_makes_nobody_go() {
    let dir = TempDir::new().unwrap();
    let options = Options {
        max_bytes: 10_000,
        when_full: LetterWhenFull::DropOldest,
        sync: false,
    };
    let (letters, metrics) = open(&dir, options);
    letters.append(&pair(1, 1)).unwrap();
    letters.append(&pair(2, 10_000)).unwrap();
    assert_eq!(found(&dir), [(1, 1)]);
    assert_eq!(metrics.lost.get(LetterLoss::TooBig), 1);
}

#[test]
fn a_letter_that_cannot_be_written_is_an_error_and_can_be_written_later() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let metrics = metrics();
    let letters = DeadLetters::open(
        &folder.join("dead"),
        ROOMY,
        Credentials::default(),
        metrics.clone(),
    )
    .unwrap();
    fs::rename(&folder, dir.path().join("elsewhere")).unwrap();
    assert!(letters.append(&pair(1, 1)).is_err());
    assert_eq!(metrics.lost.get(LetterLoss::Failed), 1);
    fs::rename(dir.path().join("elsewhere"), &folder).unwrap();
    letters.append(&pair(1, 1)).unwrap();
    assert_eq!(metrics.written.get(), 1);
}
