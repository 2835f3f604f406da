//! What is read and what is done, of all partitions that this process has. The worker writes what is read, the replay
//! what is done.

use std::collections::BTreeMap;

use exchange::message::Span;
use journal::{CursorState, Place};

use super::done::Done;

/// One partition.
#[derive(Debug)]
pub(super) struct Account {
    /// The offset after the last one that was read.
    next: i64,
    /// What was told and is not done: how many values end at an offset, and where the first of them begins.
    open: BTreeMap<i64, Open>,
    /// The lowest offset of what is not even told.
    floor: Option<i64>,
    /// What was done before.
    resumed: Done,
}

#[derive(Debug)]
struct Open {
    first: i64,
    count: u32,
}

impl Account {
    pub(super) fn new(next: i64, resumed: Done) -> Self {
        Self {
            next,
            open: BTreeMap::new(),
            floor: None,
            resumed,
        }
    }

    /// The messages before this offset were read.
    pub(super) fn read(&mut self, next: i64, floor: Option<i64>) {
        self.next = self.next.max(next);
        self.floor = floor;
    }

    pub(super) const fn next(&self) -> i64 {
        self.next
    }

    /// Whether the value was done before.
    pub(super) fn was_done(&self, span: Span) -> bool {
        self.resumed.holds(span.last)
    }

    /// Before this offset everything was done before.
    pub(super) const fn resumed_low(&self) -> i64 {
        self.resumed.low
    }

    pub(super) fn opened(&mut self, span: Span) {
        let open = self.open.entry(span.last).or_insert(Open {
            first: span.first,
            count: 0,
        });
        open.first = open.first.min(span.first);
        open.count = open.count.saturating_add(1);
    }

    pub(super) fn done(&mut self, last: i64) {
        if let Some(open) = self.open.get_mut(&last) {
            open.count = open.count.saturating_sub(1);
            if open.count == 0 {
                self.open.remove(&last);
            }
        }
    }

    fn in_hand(&self) -> usize {
        self.open.len()
    }

    pub(super) fn state(&self) -> Done {
        let mut state = Done {
            low: self.next,
            high: self.next,
            open: self.open.keys().copied().collect(),
        };
        // Soon after a restart, what was done before it reaches further than was read since.
        let before = &self.resumed;
        if before.high > state.high {
            let from = before.open.partition_point(|open| *open < self.next);
            state.open.extend(before.open.iter().skip(from));
            state.high = before.high;
        }
        let first = self.open.values().map(|open| open.first).min();
        let needed = [first, self.floor].into_iter().flatten().min();
        // What begins far before may have been there before this run began.
        let needed = needed.map(|needed| needed.max(before.low));
        state.low = state.low.min(needed.unwrap_or(i64::MAX));
        state
    }
}

/// All partitions.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    pub(super) partitions: BTreeMap<i32, Account>,
    /// Exchanges that are not done, by the names that the replay knows them by.
    names: BTreeMap<u64, Span>,
    /// The highest name so far.
    highest: u64,
    /// What the replay has kept, and is to be committed.
    pub(super) to_commit: Option<BTreeMap<i32, Done>>,
    /// What it was told last.
    bookmarked: BTreeMap<i32, Done>,
    pub(super) late: u64,
    pub(super) again: u64,
    pub(super) read: u64,
    pub(super) total: Option<u64>,
}

/// Bits of a name below the time.
const BELOW: u32 = 12;

impl Accounts {
    /// A name for an exchange: the same in each run, unique among those that are not done, and higher the later it
    /// began.
    pub(super) fn name(&mut self, time_us: u64, id: &[u8], span: Span) -> u64 {
        let mut name = (time_us << BELOW) & (u64::MAX >> 1);
        let low = u64::from(crc32c::crc32c(id)) & ((1 << BELOW) - 1);
        name |= low;
        while self.names.contains_key(&name) {
            name += 1;
        }
        self.names.insert(name, span);
        self.highest = self.highest.max(name);
        name
    }

    pub(super) fn open(&mut self, span: Span) {
        if let Some(account) = self.partitions.get_mut(&span.partition) {
            account.opened(span);
        }
    }

    pub(super) fn close(&mut self, span: Span) {
        if let Some(account) = self.partitions.get_mut(&span.partition) {
            account.done(span.last);
        }
    }

    pub(super) fn done(&mut self, name: u64) {
        if let Some(span) = self.names.remove(&name) {
            self.close(span);
        }
    }

    /// Forgets the name of what is not given out any more.
    pub(super) fn withdraw(&mut self, name: u64) {
        self.names.remove(&name);
    }

    pub(super) fn forget(&mut self, partition: i32) {
        self.partitions.remove(&partition);
        self.names.retain(|_, span| span.partition != partition);
    }

    /// Whether everything that was read is done.
    pub(super) fn is_idle(&self) -> bool {
        self.partitions.values().all(|it| it.in_hand() == 0)
    }

    /// Exchanges of the partition that were given out and are not done.
    pub(super) fn in_hand(&self, partition: i32) -> usize {
        let names = self.names.values();
        names.filter(|span| span.partition == partition).count()
    }

    pub(super) fn states(&self) -> BTreeMap<i32, Done> {
        let states = self.partitions.iter();
        states.map(|(at, account)| (*at, account.state())).collect()
    }

    /// What is done, in words for whoever keeps it; it is committed when it is kept.
    pub(super) fn bookmark(&mut self) -> CursorState {
        self.bookmarked = self.states();
        self.state()
    }

    /// What is done.
    pub(super) fn state(&self) -> CursorState {
        let lowest = self.names.first_key_value().map(|(name, _)| *name);
        let texts: BTreeMap<i32, (i64, String)> = self
            .states()
            .into_iter()
            .map(|(partition, done)| (partition, (done.low, done.encode(usize::MAX))))
            .collect();
        CursorState {
            extra: serde_json::to_vec(&texts).unwrap_or_default(),
            ..CursorState::at(Place {
                position: lowest.unwrap_or(self.highest),
                sequence: 0,
            })
        }
    }

    /// What was told by the last bookmark is kept.
    pub(super) fn kept(&mut self) {
        self.to_commit = Some(self.bookmarked.clone());
    }
}

/// What the bookmark of an earlier run says.
pub(super) fn of_bookmark(bookmark: &CursorState) -> BTreeMap<i32, Done> {
    let texts: BTreeMap<i32, (i64, String)> =
        serde_json::from_slice(&bookmark.extra).unwrap_or_default();
    texts
        .into_iter()
        .filter_map(|(partition, (low, text))| Some((partition, Done::decode(low, &text)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn span(first: i64, last: i64) -> Span {
        Span {
            partition: 0,
            first,
            last,
        }
    }

    #[test]
    fn what_begins_lowest_and_is_not_done_is_committed() {
        let mut account = Account::new(10, Done::before(10));
        account.opened(span(10, 10));
        account.opened(span(11, 13));
        account.opened(span(12, 12));
        account.read(14, None);
        account.done(10);
        account.done(12);
        let state = account.state();
        assert_eq!((state.low, state.high, state.open), (11, 14, vec![13]));
        account.done(13);
        assert_eq!(account.state(), Done::before(14));
    }

    #[test]
    fn parts_that_are_not_complete_are_needed_again_and_what_came_between_is_done() {
        let mut account = Account::new(5, Done::before(5));
        account.opened(span(6, 6));
        account.read(7, Some(5));
        account.done(6);
        let state = account.state();
        assert_eq!((state.low, state.high), (5, 7));
        assert!(state.holds(6));
    }

    #[test]
    fn several_values_at_one_offset_are_done_when_all_are() {
        let mut account = Account::new(0, Done::before(0));
        account.opened(span(0, 3));
        account.opened(span(3, 3));
        account.read(4, None);
        account.done(3);
        assert!(!account.state().holds(3));
        account.done(3);
        assert!(account.state().holds(3));
    }

    #[test]
    fn what_was_done_before_a_restart_stays_done_though_it_is_not_read_again_yet() {
        let before = Done {
            low: 2,
            high: 9,
            open: vec![2, 5],
        };
        let mut account = Account::new(2, before.clone());
        assert_eq!(account.state(), before);
        account.opened(span(2, 2));
        account.read(4, None);
        assert_eq!(account.state(), before);
        account.done(2);
        let state = account.state();
        assert_eq!((state.low, state.high, state.open), (4, 9, vec![5]));
    }

    #[test]
    fn names_rise_with_time_and_are_never_given_twice() {
        let mut accounts = Accounts::default();
        let first = accounts.name(1000, b"a", span(0, 0));
        let same = accounts.name(1000, b"a", span(1, 1));
        let later = accounts.name(2000, b"a", span(2, 2));
        assert!(first < same && same < later);
        accounts.done(first);
        assert_eq!(accounts.name(1000, b"a", span(0, 0)), first);
        assert!(accounts.name(u64::MAX, b"x", span(0, 0)) < 1 << 63);
    }

    proptest! {
        #[test]
        fn a_restart_repeats_what_is_not_done_and_nothing_else(
            first_run in prop::collection::vec(any::<bool>(), 1..60),
            read_again in 0_usize..60,
            done_again in prop::collection::vec(any::<bool>(), 60),
        ) {
            let length = i64::try_from(first_run.len()).unwrap();
            let mut account = Account::new(0, Done::before(0));
            for offset in 0..length {
                account.opened(span(offset, offset));
            }
            account.read(length, None);
            let mut expected = first_run.clone();
            for (offset, done) in (0..).zip(&first_run) {
                if *done {
                    account.done(offset);
                }
            }
            let resumed = account.state();
            let mut account = Account::new(resumed.low, resumed);
            let end = account.next() + i64::try_from(read_again).unwrap();
            for offset in account.next()..end.min(length) {
                let at = usize::try_from(offset).unwrap();
                prop_assert_eq!(account.was_done(span(offset, offset)), expected[at]);
                if !expected[at] {
                    account.opened(span(offset, offset));
                    if done_again[at] {
                        account.done(offset);
                        expected[at] = true;
                    }
                }
                account.read(offset + 1, None);
            }
            let state = account.state();
            for (offset, done) in (0..).zip(expected) {
                prop_assert_eq!(state.holds(offset), done, "{}", offset);
            }
        }
    }
}
