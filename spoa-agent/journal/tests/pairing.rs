//! Halves to exchanges: every half is accounted for, whatever the order, the losses and the restarts.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use exchange::{Exchange, Gap, Half, Pair, Request, Response};
use journal::{
    CursorState, Entry, ExchangeReader, Journal, Options, Pairing, PairingCounts, PairingOptions,
    Place, Start, Want,
};
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;

const SECOND: u64 = 1_000_000;

fn request(id: &str, time_us: u64) -> Half {
    let id = Bytes::copy_from_slice(id.as_bytes());
    Half::Request(Request {
        id,
        time_us,
        ..Request::default()
    })
}

fn response(id: &str, time_us: u64) -> Half {
    let id = Bytes::copy_from_slice(id.as_bytes());
    Half::Response(Response {
        id,
        time_us,
        status: 200,
        ..Response::default()
    })
}

fn at(sequence: u64) -> Place {
    Place {
        position: sequence * 100,
        sequence,
    }
}

/// `position`, and which halves it has.
fn shape(exchange: &Exchange) -> (u64, bool, bool) {
    (
        exchange.position,
        exchange.request.is_some(),
        exchange.response.is_some(),
    )
}

fn ready(pairing: &mut Pairing) -> Vec<(u64, bool, bool)> {
    std::iter::from_fn(|| pairing.ready())
        .map(|finished| shape(&finished.exchange))
        .collect()
}

fn balanced(counts: PairingCounts) -> bool {
    counts.halves_read
        == 2 * counts.paired
            + counts.request_only
            + counts.response_only
            + counts.duplicates
            + counts.undecodable
            + counts.open
}

#[test]
fn halves_pair_in_any_order_and_the_first_one_names_the_exchange() {
    let mut pairing = Pairing::new(PairingOptions::default());
    assert!(pairing.offer(request("a", 1), at(0), 10));
    assert!(pairing.offer(response("b", 2), at(1), 10));
    assert!(pairing.offer(request("b", 3), at(2), 10));
    assert!(pairing.offer(response("a", 4), at(3), 10));
    assert_eq!(ready(&mut pairing), [(100, true, true), (0, true, true)]);
    assert_eq!((pairing.counts().paired, pairing.open_bytes()), (2, 0));
}

#[test]
fn a_duplicate_is_dropped_while_the_first_waits_and_after_the_exchange_is_complete() {
    let mut pairing = Pairing::new(PairingOptions::default());
    assert!(pairing.offer(request("a", 1), at(0), 10));
    assert!(!pairing.offer(request("a", 1), at(1), 10));
    assert!(pairing.offer(response("a", 2), at(2), 10));
    assert!(!pairing.offer(response("a", 2), at(3), 10));
    assert!(!pairing.offer(request("a", 2), at(4), 10));
    assert_eq!(ready(&mut pairing), [(0, true, true)]);
    assert_eq!(pairing.counts().duplicates, 3);
}

#[test]
fn a_half_is_given_up_at_its_deadline_and_the_other_one_is_late() {
    let mut pairing = Pairing::new(PairingOptions::default());
    pairing.expire(SECOND);
    pairing.offer(request("a", SECOND), at(0), 10);
    pairing.expire(31 * SECOND);
    pairing.offer(response("b", 31 * SECOND), at(1), 10);
    pairing.expire(61 * SECOND - 1);
    assert_eq!(ready(&mut pairing), []);
    pairing.expire(61 * SECOND);
    assert_eq!(ready(&mut pairing), [(0, true, false)]);
    pairing.offer(response("a", 61 * SECOND), at(2), 10);
    assert_eq!(ready(&mut pairing), [(200, false, true)]);
    assert!(!pairing.offer(response("a", 61 * SECOND), at(3), 10));
    pairing.expire(91 * SECOND);
    assert_eq!(ready(&mut pairing), [(100, false, true)]);
    let counts = pairing.counts();
    assert_eq!((counts.request_only, counts.response_only), (1, 2));
    assert_eq!((counts.late, counts.duplicates, counts.open), (1, 1, 0));
    assert!(balanced(counts));
}

#[test]
fn the_oldest_halves_are_given_up_early_when_memory_is_short() {
    let options = PairingOptions {
        max_open_bytes: 5000,
        ..PairingOptions::default()
    };
    let mut pairing = Pairing::new(options);
    for (sequence, id) in ["a", "b", "c"].into_iter().enumerate() {
        pairing.offer(request(id, 1), at(sequence as u64), 1000);
        assert!(pairing.open_bytes() <= 5000);
    }
    assert_eq!(ready(&mut pairing), [(0, true, false)]);
    assert_eq!((pairing.counts().evicted, pairing.counts().open), (1, 2));
    let mut pairing = Pairing::new(PairingOptions {
        max_open: 1,
        ..PairingOptions::default()
    });
    pairing.offer(request("a", 1), at(0), 1000);
    pairing.offer(request("b", 1), at(1), 1000);
    assert_eq!(ready(&mut pairing), [(0, true, false)]);
}

#[test]
fn halves_without_an_id_belong_to_nothing() {
    let mut pairing = Pairing::new(PairingOptions::default());
    pairing.offer(request("", 1), at(0), 10);
    pairing.offer(response("", 1), at(1), 10);
    assert_eq!(ready(&mut pairing), [(0, true, false), (100, false, true)]);
    assert!(balanced(pairing.counts()));
}

#[test]
fn ids_are_forgotten_only_beyond_the_bound() {
    let options = PairingOptions {
        remembered: 2,
        ..PairingOptions::default()
    };
    let mut pairing = Pairing::new(options);
    for (sequence, id) in ["a", "b", "c"].into_iter().enumerate() {
        pairing.offer(request(id, 1), at(2 * sequence as u64), 10);
        pairing.offer(response(id, 1), at(2 * sequence as u64 + 1), 10);
    }
    assert!(!pairing.offer(request("b", 1), at(6), 10));
    assert!(pairing.offer(request("a", 1), at(7), 10));
}

fn options(dir: &Path) -> Options {
    Options {
        flush_interval: Duration::from_secs(3600),
        sync_interval: Duration::ZERO,
        segment_bytes: 2000,
        max_bytes: 1 << 30,
        ..Options::new(dir)
    }
}

fn write(journal: &Journal, half: &Half) {
    let end = journal
        .append(half.encoded_len(), |buffer| half.encode(buffer))
        .unwrap();
    while journal.try_commit() < end {
        std::thread::yield_now();
    }
}

fn next_exchange(reader: &mut ExchangeReader, now: u64) -> Option<Exchange> {
    match reader.next(now).unwrap() {
        Some(Entry::Exchange(exchange)) => Some(exchange),
        None => None,
        Some(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_restart_meets_again_what_is_not_done_with_halves_on_both_sides_of_it() {
    let dir = TempDir::new().unwrap();
    let journal = Journal::open(options(dir.path())).unwrap().0;
    // a: done. b: handed out and not done. c: its response comes after the restart.
    for half in [
        request("b", 1),
        request("c", 1),
        request("a", 1),
        response("a", 2),
    ] {
        write(&journal, &half);
    }
    write(&journal, &response("b", 2));
    let mut reader = ExchangeReader::new(journal.reader(Start::Oldest), PairingOptions::default());
    let a = next_exchange(&mut reader, 3).unwrap();
    let b = next_exchange(&mut reader, 3).unwrap();
    assert_eq!(
        (a.id().unwrap(), b.id().unwrap()),
        (&Bytes::from("a"), &Bytes::from("b"))
    );
    assert_eq!(next_exchange(&mut reader, 3), None);
    assert_eq!(reader.done(a.position), Some(2));
    assert_eq!(reader.done(a.position), None);
    assert_eq!((reader.low(), reader.in_hand()), (Place::default(), 1));
    let mut cursor = journal.cursor("shadow").unwrap();
    cursor.save(&reader.state(b"1 delivered".to_vec())).unwrap();
    drop((reader, cursor, journal));

    let journal = Journal::open(options(dir.path())).unwrap().0;
    write(&journal, &response("c", 3));
    let state = journal.cursor("shadow").unwrap().saved().unwrap().clone();
    assert_eq!(state.extra, b"1 delivered");
    let mut reader = ExchangeReader::resume(&journal, state, PairingOptions::default());
    assert_eq!(next_exchange(&mut reader, 3), Some(b));
    let c = next_exchange(&mut reader, 3).unwrap();
    assert_eq!(c.id().unwrap(), &Bytes::from("c"));
    assert!(c.request.is_some() && c.response.is_some());
    assert_eq!(next_exchange(&mut reader, 3), None);
    let counts = reader.counts();
    assert_eq!(
        (counts.skipped, counts.paired, counts.halves_read),
        (2, 2, 4)
    );
}

#[test]
fn a_state_saved_before_anything_is_read_again_keeps_what_was_done() {
    let dir = TempDir::new().unwrap();
    let journal = Journal::open(options(dir.path())).unwrap().0;
    for half in [request("b", 1), request("a", 1), response("a", 2)] {
        write(&journal, &half);
    }
    let options = PairingOptions::default();
    let mut reader = ExchangeReader::new(journal.reader(Start::Oldest), options);
    let a = next_exchange(&mut reader, 3).unwrap();
    reader.done(a.position);
    let state = reader.state(Vec::new());
    for _ in 0..2 {
        reader = ExchangeReader::resume(&journal, state.clone(), options);
        assert_eq!(reader.state(Vec::new()), state);
    }
    assert_eq!(next_exchange(&mut reader, 3), None);
    assert_eq!(reader.state(Vec::new()), state);
}

#[test]
fn a_deadline_passes_by_the_clock_once_everything_is_read() {
    let dir = TempDir::new().unwrap();
    let journal = Journal::open(options(dir.path())).unwrap().0;
    write(&journal, &request("a", 10 * SECOND));
    let mut reader = ExchangeReader::new(journal.reader(Start::Oldest), PairingOptions::default());
    assert_eq!(next_exchange(&mut reader, 10 * SECOND), None);
    assert_eq!(next_exchange(&mut reader, 69 * SECOND), None);
    assert_eq!(
        next_exchange(&mut reader, 70 * SECOND).map(|one| shape(&one)),
        Some((0, true, false))
    );
}

#[test]
fn a_half_from_the_future_does_not_end_the_wait_of_the_others() {
    let dir = TempDir::new().unwrap();
    let journal = Journal::open(options(dir.path())).unwrap().0;
    let now = 10 * SECOND;
    for half in [
        request("a", now),
        request("b", u64::MAX),
        response("a", now),
    ] {
        write(&journal, &half);
    }
    let mut reader = ExchangeReader::new(journal.reader(Start::Oldest), PairingOptions::default());
    assert_eq!(
        next_exchange(&mut reader, now).map(|one| shape(&one)),
        Some((0, true, true))
    );
    assert_eq!(next_exchange(&mut reader, now), None);
}

#[test]
fn gaps_and_records_that_are_no_halves_are_handed_on_and_counted() {
    let dir = TempDir::new().unwrap();
    let journal = Journal::open(options(dir.path())).unwrap().0;
    let gap = Gap {
        requests: 3,
        reason: "backlog".to_owned(),
        ..Gap::default()
    };
    write(&journal, &Half::Gap(gap.clone()));
    journal
        .append(3, |buffer| buffer.extend_from_slice(&[0xff; 3]))
        .unwrap();
    while journal.try_commit() < journal.appended() {}
    let mut reader = ExchangeReader::new(journal.reader(Start::Oldest), PairingOptions::default());
    assert_eq!(reader.next(0).unwrap(), Some(Entry::Gap(gap)));
    let Some(Entry::Undecodable { place, .. }) = reader.next(0).unwrap() else {
        panic!()
    };
    assert_eq!(place.sequence, 1);
    assert_eq!(reader.next(0).unwrap(), None);
    let counts = reader.counts();
    assert_eq!(
        (counts.gaps, counts.undecodable, counts.halves_read),
        (1, 1, 1)
    );
    assert!(balanced(counts));
    assert_eq!(reader.low(), reader.place());
}

/// A journal with an exchange, a pair of it between its halves, and a gap.
fn journal_with_a_pair(dir: &TempDir) -> (Journal, Pair) {
    let journal = Journal::open(options(dir.path())).unwrap().0;
    let pair = Pair {
        position: 7,
        ..Pair::default()
    };
    for half in [
        request("a", SECOND),
        Half::Pair(Box::new(pair.clone())),
        response("a", SECOND),
        Half::Gap(Gap::default()),
    ] {
        write(&journal, &half);
    }
    while journal.try_commit() < journal.appended() {}
    (journal, pair)
}

fn entries(journal: &Journal, want: Want) -> (ExchangeReader, Vec<Entry>) {
    let options = PairingOptions {
        want,
        ..PairingOptions::default()
    };
    let mut reader = ExchangeReader::new(journal.reader(Start::Oldest), options);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next(SECOND).unwrap() {
        entries.push(entry);
    }
    (reader, entries)
}

#[test]
fn who_wants_exchanges_only_does_not_see_pairs_and_is_done_with_them() {
    let dir = TempDir::new().unwrap();
    let (journal, _) = journal_with_a_pair(&dir);
    let (mut reader, entries) = entries(&journal, Want::Exchanges);
    let [Entry::Exchange(exchange), Entry::Gap(_)] = &entries[..] else {
        panic!("{entries:?}")
    };
    assert_eq!(shape(exchange), (0, true, true));
    assert_eq!((reader.counts().unwanted, reader.counts().pairs), (1, 0));
    assert!(balanced(reader.counts()));
    reader.done(0);
    assert_eq!(reader.low(), reader.place());
}

#[test]
fn who_wants_pairs_only_waits_for_no_half_and_meets_a_pair_again_until_it_is_done() {
    let dir = TempDir::new().unwrap();
    let (journal, pair) = journal_with_a_pair(&dir);
    let (mut reader, entries) = entries(&journal, Want::Pairs);
    let [Entry::Pair { place, pair: found }, Entry::Gap(_)] = &entries[..] else {
        panic!("{entries:?}")
    };
    assert_eq!((**found).clone(), pair);
    assert_eq!(place.sequence, 1);
    let counts = reader.counts();
    assert_eq!((counts.unwanted, counts.pairs, counts.open), (2, 1, 0));
    assert_eq!((reader.in_hand(), reader.low()), (1, *place));
    let options = PairingOptions {
        want: Want::Pairs,
        ..PairingOptions::default()
    };
    let mut again = ExchangeReader::resume(&journal, reader.state(Vec::new()), options);
    assert!(matches!(
        again.next(SECOND).unwrap(),
        Some(Entry::Pair { .. })
    ));
    assert_eq!(reader.done(place.position), Some(1));
    assert_eq!(reader.low(), reader.place());
    let mut after = ExchangeReader::resume(&journal, reader.state(Vec::new()), options);
    assert_eq!(after.next(SECOND).unwrap(), None);
}

#[test]
fn a_pair_is_never_taken_for_a_half_of_its_exchange() {
    let dir = TempDir::new().unwrap();
    let (journal, _) = journal_with_a_pair(&dir);
    let (_, entries) = entries(&journal, Want::Both);
    let [Entry::Pair { .. }, Entry::Exchange(exchange), Entry::Gap(_)] = &entries[..] else {
        panic!("{entries:?}")
    };
    assert_eq!(shape(exchange), (0, true, true));
}

/// What happens to one exchange.
#[derive(Debug, Clone, Copy)]
struct Fate {
    request: u8,
    response: u8,
}

#[derive(Debug, Clone)]
enum Step {
    Write(Index),
    Read,
    Done(Index),
    Save,
    /// Start again from what was saved; `true`: save before.
    Restart(bool),
    Pass(u8),
    Rubbish,
}

fn fate() -> impl Strategy<Value = Fate> {
    (0u8..3, 0u8..3).prop_map(|(request, response)| Fate { request, response })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => any::<Index>().prop_map(Step::Write),
        10 => Just(Step::Read),
        5 => any::<Index>().prop_map(Step::Done),
        2 => Just(Step::Save),
        1 => any::<bool>().prop_map(Step::Restart),
        1 => (0u8..40).prop_map(Step::Pass),
        1 => Just(Step::Rubbish),
    ]
}

#[derive(Debug)]
struct Run {
    journal: Journal,
    reader: ExchangeReader,
    saved: CursorState,
    options: PairingOptions,
    now: u64,
    in_hand: Vec<Exchange>,
    /// Done for good, by what was saved; and since.
    settled: Vec<Exchange>,
    unsettled: Vec<Exchange>,
}

impl Run {
    fn read(&mut self) -> bool {
        let entry = self.reader.next(self.now).unwrap();
        assert!(balanced(self.reader.counts()), "{:?}", self.reader.counts());
        match entry {
            Some(Entry::Exchange(exchange)) => self.in_hand.push(exchange),
            Some(Entry::Undecodable { .. }) => {}
            Some(other) => panic!("{other:?}"),
            None => return false,
        }
        true
    }

    fn done(&mut self, index: usize) {
        let exchange = self.in_hand.swap_remove(index);
        assert!(self.reader.done(exchange.position).is_some());
        self.unsettled.push(exchange);
    }

    fn save(&mut self) {
        self.saved = self.reader.state(Vec::new());
        self.settled.append(&mut self.unsettled);
        assert!(self.saved.low <= self.saved.high);
    }

    fn restart(&mut self) {
        self.in_hand.clear();
        self.unsettled.clear();
        self.reader = ExchangeReader::resume(&self.journal, self.saved.clone(), self.options);
    }

    fn finish(&mut self) {
        while self.read() {}
        self.now += 200 * SECOND;
        while self.read() {}
        while !self.in_hand.is_empty() {
            self.done(0);
        }
        self.save();
        assert_eq!(self.reader.low(), self.reader.place());
        assert_eq!(self.reader.counts().open, 0);
    }
}

/// The halves of an exchange as they are in the journal: `(id, is a request)`.
fn halves(exchange: &Exchange) -> Vec<(Bytes, bool)> {
    let request = exchange
        .request
        .iter()
        .map(|request| (request.id.clone(), true));
    let response = exchange
        .response
        .iter()
        .map(|response| (response.id.clone(), false));
    request.chain(response).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_half_is_delivered_or_a_duplicate_whatever_the_order_the_losses_and_the_restarts(
        fates in prop::collection::vec(fate(), 1..20),
        steps in prop::collection::vec(step(), 1..120),
        max_open in 1usize..30,
    ) {
        let dir = TempDir::new().unwrap();
        let journal = Journal::open(options(dir.path())).unwrap().0;
        let options = PairingOptions { max_open, ..PairingOptions::default() };
        let mut left: Vec<(usize, bool)> = Vec::new();
        for (number, fate) in fates.iter().enumerate() {
            left.extend((0..fate.request).map(|_| (number, true)));
            left.extend((0..fate.response).map(|_| (number, false)));
        }
        let mut written: BTreeMap<(Bytes, bool), usize> = BTreeMap::new();
        let mut restarted = false;
        let mut run = Run {
            reader: ExchangeReader::new(journal.reader(Start::Oldest), options),
            journal,
            saved: CursorState::default(),
            options,
            now: SECOND,
            in_hand: Vec::new(),
            settled: Vec::new(),
            unsettled: Vec::new(),
        };
        for step in &steps {
            match step {
                Step::Write(index) if !left.is_empty() => {
                    let (number, is_request) = left.swap_remove(index.index(left.len()));
                    let id = number.to_string();
                    let half = if is_request { request(&id, run.now) } else { response(&id, run.now) };
                    write(&run.journal, &half);
                    *written.entry((Bytes::from(id), is_request)).or_default() += 1;
                }
                Step::Write(_) => {}
                Step::Read => { run.read(); }
                Step::Done(index) if !run.in_hand.is_empty() => {
                    run.done(index.index(run.in_hand.len()));
                }
                Step::Done(_) => {}
                Step::Save => run.save(),
                Step::Restart(save) => {
                    if *save {
                        run.save();
                    }
                    restarted = true;
                    run.restart();
                }
                Step::Pass(seconds) => run.now += u64::from(*seconds) * SECOND,
                Step::Rubbish => {
                    run.journal.append(1, |buffer| buffer.push(0xff)).unwrap();
                    while run.journal.try_commit() < run.journal.appended() {
                        std::thread::yield_now();
                    }
                }
            }
        }
        run.finish();

        let mut delivered: BTreeMap<(Bytes, bool), usize> = BTreeMap::new();
        for half in run.settled.iter().flat_map(halves) {
            *delivered.entry(half).or_default() += 1;
        }
        let names = |map: &BTreeMap<(Bytes, bool), usize>| map.keys().cloned().collect::<BTreeSet<_>>();
        prop_assert_eq!(names(&delivered), names(&written), "every half is delivered");
        for (half, times) in &delivered {
            // Which ids were done is not remembered over a restart, so that a duplicate on the other
            // side of it counts as a half of its own. A record is never delivered twice.
            let most = if restarted { written[half] } else { 1 };
            prop_assert!(*times <= most, "{:?} {} times", half, times);
        }
        let positions: BTreeSet<u64> = run.settled.iter().map(|exchange| exchange.position).collect();
        prop_assert_eq!(positions.len(), run.settled.len(), "an exchange was done twice");
    }
}

/// The story that a reader with [`PairingOptions::announce`] tells: `+id` for a request that begins,
/// `=id` for an exchange.
fn story(reader: &mut ExchangeReader, now: u64) -> String {
    let mut words = Vec::new();
    while let Some(entry) = reader.next(now).unwrap() {
        let (sign, id) = match entry {
            Entry::Begun { request, .. } => ('+', request.id.clone()),
            Entry::Exchange(exchange) => ('=', exchange.id().unwrap().clone()),
            other => panic!("{other:?}"),
        };
        words.push(format!("{sign}{}", String::from_utf8_lossy(&id)));
    }
    words.join(" ")
}

#[test]
fn a_request_that_waits_for_its_response_is_told_where_it_stands_in_the_journal() {
    let dir = TempDir::new().unwrap();
    let journal = Journal::open(options(dir.path())).unwrap().0;
    for half in [
        request("a", 1),
        request("b", 1),
        response("a", 2),
        response("early", 2),
        request("early", 2),
        request("b", 2),
        request("c", 3),
        response("b", 3),
        request("a", 4),
    ] {
        write(&journal, &half);
    }
    let options = PairingOptions {
        announce: true,
        ..PairingOptions::default()
    };
    let mut reader = ExchangeReader::new(journal.reader(Start::Oldest), options);
    assert_eq!(story(&mut reader, 5), "+a +b =a =early +c =b");
    assert_eq!(story(&mut reader, 5 + 61 * SECOND), "=c");

    // After a restart, what is done is not told again, and what is open is.
    let mut reader = ExchangeReader::new(journal.reader(Start::Oldest), options);
    for _ in 0..3 {
        if let Some(Entry::Exchange(a)) = reader.next(5).unwrap() {
            reader.done(a.position);
        }
    }
    let state = reader.state(Vec::new());
    let mut reader = ExchangeReader::resume(&journal, state, options);
    assert_eq!(story(&mut reader, 5), "+b =early +c =b +a");
}
