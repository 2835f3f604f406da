//! Halves to exchanges. [`Pairing`] is the rule, without files or clock; [`ExchangeReader`] applies
//! it to a journal and keeps account of what the follower is done with.
//!
//! Halves come in any order, twice, or never. Each half read ends in exactly one of: a pair, an
//! exchange with one half, a duplicate, undecodable, or still open ([`PairingCounts`]).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use exchange::record::Kind;
use exchange::{Exchange, Gap, Half, Pair, Request};

use crate::completion::Completion;
use crate::cursor::{CursorState, OPEN_LIMIT};
use crate::error::{ReadError, WaitError};
use crate::journal::Journal;
use crate::reader::{Item, Lost, Reader, Record, Start};
use crate::{Place, Position};

/// What an open half costs beside the bytes of its record: the decoded headers and the tables.
const HALF_COST: usize = 1 << 10;
const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;

/// Which entries a follower has to do with. Records of the others are passed, counted in
/// [`PairingCounts::unwanted`], and done at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Want {
    /// [`Entry::Exchange`].
    #[default]
    Exchanges,
    /// [`Entry::Pair`]. Halves are not even decoded.
    Pairs,
    /// Both.
    Both,
}

/// The bounds of pairing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairingOptions {
    /// How long a half waits for the other one, by the time in the halves (and by the clock, once
    /// everything written is read).
    pub deadline: Duration,
    /// Bytes of halves that wait. Beyond, the oldest is given up early.
    pub max_open_bytes: usize,
    /// Halves that wait. Beyond, the oldest is given up early.
    pub max_open: usize,
    /// Ids of finished exchanges that are remembered, to know a duplicate or a late half.
    pub remembered: usize,
    /// Whether a request half that waits for its response is told at once ([`Entry::Begun`]).
    pub announce: bool,
    /// Which entries to hand out.
    pub want: Want,
}

impl Default for PairingOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(60),
            max_open_bytes: 64 << 20,
            max_open: 256 << 10,
            remembered: 128 << 10,
            announce: false,
            want: Want::default(),
        }
    }
}

/// The account of one run of pairing. At any time
/// `halves_read == 2 * paired + request_only + response_only + duplicates + undecodable + open`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PairingCounts {
    /// Records read that are no gap and no pair, that were wanted, and were not done before a restart.
    pub halves_read: u64,
    /// Exchanges with both halves.
    pub paired: u64,
    /// Exchanges without a response.
    pub request_only: u64,
    /// Exchanges without a request.
    pub response_only: u64,
    /// Halves that were there already.
    pub duplicates: u64,
    /// Records that are no half.
    pub undecodable: u64,
    /// Halves that wait for the other one.
    pub open: u64,
    /// Of the exchanges with one half: the other one had been given up before.
    pub late: u64,
    /// Of the exchanges with one half: given up before the deadline, for want of memory.
    pub evicted: u64,
    /// Gap records.
    pub gaps: u64,
    /// Pair records handed out.
    pub pairs: u64,
    /// Records of a kind that the follower does not [`Want`].
    pub unwanted: u64,
    /// Records that were done before a restart.
    pub skipped: u64,
    /// Records that could not be read.
    pub lost: u64,
}

/// An exchange that leaves the pairing, and the records it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The exchange.
    pub exchange: Exchange,
    /// The sequence number of the half that came first.
    pub first: u64,
    /// The sequence number of the other one.
    pub second: Option<u64>,
}

/// The state machine: halves in, exchanges out.
#[derive(Debug)]
pub struct Pairing {
    options: PairingOptions,
    deadline: u64,
    open: HashMap<Bytes, Open>,
    /// Sequence to id, of the open ones: the oldest first.
    order: BTreeMap<u64, Bytes>,
    open_bytes: usize,
    recent: Recent,
    ready: VecDeque<Finished>,
    now: u64,
    counts: PairingCounts,
}

#[derive(Debug)]
struct Open {
    half: Half,
    place: Place,
    bytes: usize,
    since: u64,
}

impl Pairing {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(options: PairingOptions) -> Self {
        Self {
            options,
            deadline: u64::try_from(options.deadline.as_micros()).unwrap_or(u64::MAX),
            open: HashMap::new(),
            order: BTreeMap::new(),
            open_bytes: 0,
            recent: Recent::new(options.remembered),
            ready: VecDeque::new(),
            now: 0,
            counts: PairingCounts::default(),
        }
    }

    /// Takes the half of the record at `place`, whose payload has `bytes` bytes. Returns false when
    /// nothing will come of it: it is a duplicate, or no half.
    pub fn offer(&mut self, half: Half, place: Place, bytes: usize) -> bool {
        let kind = match &half {
            Half::Request(_) => REQUEST,
            Half::Response(_) => RESPONSE,
            Half::Gap(_) | Half::Pair(_) => return false,
        };
        self.counts.halves_read += 1;
        let id = half.id().cloned().unwrap_or_default();
        if id.is_empty() {
            // Without an id nothing belongs to it, least of all another half without one.
            self.finish_alone(half, place);
            return true;
        }
        if let Some(other) = self.open.get(&id) {
            if kind == kind_of(&other.half) {
                self.counts.duplicates += 1;
                return false;
            }
            self.pair(&id, half, place);
            return true;
        }
        match self.recent.seen(&id) {
            Some(seen) if seen & kind != 0 => {
                self.counts.duplicates += 1;
                false
            }
            Some(_) => {
                self.counts.late += 1;
                self.recent.remember(&id, kind);
                self.finish_alone(half, place);
                true
            }
            None => {
                self.wait(id, half, place, bytes.saturating_add(HALF_COST));
                true
            }
        }
    }

    /// Moves the clock (Unix time in microseconds; it never goes back) and gives up the halves
    /// whose deadline has passed.
    pub fn expire(&mut self, now: u64) {
        self.now = self.now.max(now);
        while let Some(oldest) = self.oldest()
            && oldest.since.saturating_add(self.deadline) <= self.now
        {
            self.give_up_oldest();
        }
    }

    /// The next exchange that is complete or given up.
    pub fn ready(&mut self) -> Option<Finished> {
        self.ready.pop_front()
    }

    /// Whether a half with this id waits for the other one.
    #[must_use]
    pub fn is_open(&self, id: &Bytes) -> bool {
        self.open.contains_key(id)
    }

    /// The account.
    #[must_use]
    pub fn counts(&self) -> PairingCounts {
        PairingCounts {
            open: self.open.len() as u64,
            ..self.counts
        }
    }

    /// Bytes that the open halves hold, roughly.
    #[must_use]
    pub fn open_bytes(&self) -> usize {
        self.open_bytes
    }

    fn pair(&mut self, id: &Bytes, half: Half, place: Place) {
        let Some(first) = self.remove(id) else { return };
        self.recent.remember(id, REQUEST | RESPONSE);
        self.counts.paired += 1;
        let mut exchange = Exchange {
            position: first.place.position,
            ..Exchange::default()
        };
        fill(&mut exchange, first.half);
        fill(&mut exchange, half);
        let (first, second) = (first.place.sequence, Some(place.sequence));
        self.ready.push_back(Finished {
            exchange,
            first,
            second,
        });
    }

    fn wait(&mut self, id: Bytes, half: Half, place: Place, bytes: usize) {
        self.order.insert(place.sequence, id.clone());
        self.open.insert(
            id,
            Open {
                half,
                place,
                bytes,
                since: self.now,
            },
        );
        self.open_bytes = self.open_bytes.saturating_add(bytes);
        while self.open_bytes > self.options.max_open_bytes
            || self.open.len() > self.options.max_open
        {
            if !self.give_up_oldest() {
                return;
            }
            self.counts.evicted += 1;
        }
    }

    fn give_up_oldest(&mut self) -> bool {
        let Some((_, id)) = self.order.first_key_value() else {
            return false;
        };
        let id = id.clone();
        let Some(open) = self.remove(&id) else {
            return false;
        };
        self.recent.remember(&id, kind_of(&open.half));
        self.finish_alone(open.half, open.place);
        true
    }

    fn finish_alone(&mut self, half: Half, place: Place) {
        match half {
            Half::Request(_) => self.counts.request_only += 1,
            Half::Response(_) => self.counts.response_only += 1,
            Half::Gap(_) | Half::Pair(_) => return,
        }
        let mut exchange = Exchange {
            position: place.position,
            ..Exchange::default()
        };
        fill(&mut exchange, half);
        self.ready.push_back(Finished {
            exchange,
            first: place.sequence,
            second: None,
        });
    }

    fn oldest(&self) -> Option<&Open> {
        self.order
            .first_key_value()
            .and_then(|(_, id)| self.open.get(id))
    }

    fn remove(&mut self, id: &Bytes) -> Option<Open> {
        let open = self.open.remove(id)?;
        self.order.remove(&open.place.sequence);
        self.open_bytes = self.open_bytes.saturating_sub(open.bytes);
        Some(open)
    }
}

fn kind_of(half: &Half) -> u8 {
    match half {
        Half::Request(_) => REQUEST,
        Half::Response(_) => RESPONSE,
        Half::Gap(_) | Half::Pair(_) => 0,
    }
}

fn fill(exchange: &mut Exchange, half: Half) {
    match half {
        Half::Request(request) => exchange.request = Some(request),
        Half::Response(response) => exchange.response = Some(response),
        Half::Gap(_) | Half::Pair(_) => {}
    }
}

/// Which halves of the exchanges that are finished were seen; the oldest are forgotten.
#[derive(Debug)]
struct Recent {
    hasher: RandomState,
    seen: HashMap<u64, u8>,
    order: VecDeque<u64>,
    limit: usize,
}

impl Recent {
    fn new(limit: usize) -> Self {
        let hasher = RandomState::new();
        Self {
            hasher,
            seen: HashMap::new(),
            order: VecDeque::new(),
            limit,
        }
    }

    fn seen(&self, id: &Bytes) -> Option<u8> {
        self.seen.get(&self.hasher.hash_one(id)).copied()
    }

    fn remember(&mut self, id: &Bytes, kinds: u8) {
        let hash = self.hasher.hash_one(id);
        if let Some(seen) = self.seen.get_mut(&hash) {
            *seen |= kinds;
            return;
        }
        self.seen.insert(hash, kinds);
        self.order.push_back(hash);
        if self.order.len() > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
    }
}

impl Want {
    /// A record whose kind is not known is everybody's: it is told as undecodable.
    const fn covers(self, kind: Option<Kind>) -> bool {
        match kind {
            Some(Kind::Request | Kind::Response) => !matches!(self, Self::Pairs),
            Some(Kind::Pair) => !matches!(self, Self::Exchanges),
            Some(Kind::Gap) | None => true,
        }
    }
}

/// What an [`ExchangeReader`] meets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every entry is an exchange"
)]
pub enum Entry {
    /// A request whose response is awaited. Told only with [`PairingOptions::announce`]; the exchange
    /// comes later, under the same position, and only that counts as in hand.
    ///
    /// HAProxy forwards a request when the agent has it, and a response when the agent has that. So an
    /// exchange that was told before this one began was done before this one, and no clock is needed.
    Begun {
        /// Where the exchange begins.
        position: Position,
        /// The request.
        request: Arc<Request>,
    },
    /// An exchange. It counts as in hand until [`ExchangeReader::done`].
    Exchange(Exchange),
    /// What became of an exchange at the shadow. It counts as in hand until [`ExchangeReader::done`].
    Pair {
        /// Where its record stands: what names it.
        place: Place,
        /// The pair.
        pair: Box<Pair>,
    },
    /// The mark of halves that never became records.
    Gap(Gap),
    /// Records that cannot be read any more.
    Lost(Lost),
    /// A record that is no half: of a newer version, perhaps.
    Undecodable {
        /// Where it stands.
        place: Place,
        /// Why.
        why: String,
    },
}

/// Reads the exchanges of a journal, in the order in which they are completed or given up, and the pairs, each at its
/// place.
///
/// Of each record it knows whether the follower is done with it, so that after a restart from
/// [`ExchangeReader::state`] every half is met again that was not, and none that was.
#[derive(Debug)]
pub struct ExchangeReader {
    reader: Reader,
    pairing: Pairing,
    completion: Completion,
    /// What was done before the restart.
    resumed: CursorState,
    want: Want,
    /// Exchanges and pairs in hand, by position, with their records.
    in_hand: HashMap<Position, (u64, Option<u64>)>,
    counts: PairingCounts,
}

impl ExchangeReader {
    /// Reads what `reader` reads, from its place on.
    #[must_use]
    pub fn new(reader: Reader, options: PairingOptions) -> Self {
        let start = reader.place();
        Self {
            reader,
            pairing: Pairing::new(options),
            completion: Completion::new(start),
            resumed: CursorState::at(start),
            want: options.want,
            in_hand: HashMap::new(),
            counts: PairingCounts::default(),
        }
    }

    /// Goes on where the state was saved.
    #[must_use]
    pub fn resume(journal: &Journal, state: CursorState, options: PairingOptions) -> Self {
        let reader = journal.reader(Start::At(state.low));
        Self {
            resumed: state,
            ..Self::new(reader, options)
        }
    }

    /// The next entry, or `None` when nothing more is written for now. `now` is Unix time in
    /// microseconds: once everything is read, deadlines pass by it. May block, as
    /// [`Reader::next`] does.
    ///
    /// # Errors
    /// Fails when the file system does; the next call tries again.
    pub fn next(&mut self, now: u64) -> Result<Option<Entry>, ReadError> {
        loop {
            if let Some(finished) = self.pairing.ready() {
                return Ok(Some(self.hand_out(finished)));
            }
            let entry = match self.reader.next()? {
                Some(Item::Record(record)) => self.take(&record, now),
                Some(Item::Lost(lost)) => {
                    self.counts.lost = self.counts.lost.saturating_add(lost.records);
                    self.completion.passed(lost.to);
                    Some(Entry::Lost(lost))
                }
                None => {
                    self.completion.passed(self.reader.place());
                    self.pairing.expire(now);
                    let finished = self.pairing.ready();
                    return Ok(finished.map(|finished| self.hand_out(finished)));
                }
            };
            if entry.is_some() {
                return Ok(entry);
            }
        }
    }

    /// Waits until there is more to read in `journal`. A half may also reach its deadline
    /// meanwhile: wait with a timeout.
    ///
    /// # Errors
    /// [`WaitError::Closed`] when nothing will come any more.
    pub async fn more(&self, journal: &Journal) -> Result<(), WaitError> {
        journal
            .wait_written_past(self.reader.place().position)
            .await
            .map(|_| ())
    }

    /// The follower is done with the exchange or the pair at this position. Returns of how many records it was
    /// made, or `None` when it was not in hand.
    pub fn done(&mut self, position: Position) -> Option<u64> {
        let (first, second) = self.in_hand.remove(&position)?;
        self.completion.done(first);
        let Some(second) = second else {
            return Some(1);
        };
        self.completion.done(second);
        Some(2)
    }

    /// What a cursor has to keep now, with the follower's own bytes.
    #[must_use]
    pub fn state(&self, extra: Vec<u8>) -> CursorState {
        let mut state = self.completion.state(extra);
        let before = &self.resumed;
        // Soon after a restart, what was done before it reaches further than we have read.
        let further = state.high == self.completion.high() && before.high > state.high;
        let from = before
            .open
            .partition_point(|&open| open < state.high.sequence);
        let rest = before.open.get(from..).unwrap_or_default();
        if further && state.open.len() + rest.len() <= OPEN_LIMIT {
            state.open.extend_from_slice(rest);
            state.high = before.high;
        }
        state
    }

    /// The lowest place that a restart has to read again.
    #[must_use]
    pub fn low(&self) -> Place {
        self.completion.low()
    }

    /// Where the next record is read.
    #[must_use]
    pub fn place(&self) -> Place {
        self.reader.place()
    }

    /// Exchanges and pairs given out and not done.
    #[must_use]
    pub fn in_hand(&self) -> usize {
        self.in_hand.len()
    }

    /// The account of this run.
    #[must_use]
    pub fn counts(&self) -> PairingCounts {
        let pairing = self.pairing.counts();
        PairingCounts {
            halves_read: pairing.halves_read + self.counts.undecodable,
            undecodable: self.counts.undecodable,
            gaps: self.counts.gaps,
            pairs: self.counts.pairs,
            unwanted: self.counts.unwanted,
            skipped: self.counts.skipped,
            lost: self.counts.lost,
            ..pairing
        }
    }

    fn take(&mut self, record: &Record, now: u64) -> Option<Entry> {
        let sequence = record.place.sequence;
        let next = Place {
            position: record.end,
            sequence: sequence.saturating_add(1),
        };
        self.completion.passed(next);
        if self.resumed.is_done(sequence) {
            self.counts.skipped += 1;
            return None;
        }
        if !self.want.covers(Kind::of(&record.payload)) {
            self.counts.unwanted += 1;
            return None;
        }
        // A half may wait for a minute: it must not keep a block of a thousand others in memory.
        let half = match Half::decode(&record.detached()) {
            Ok(Half::Gap(gap)) => {
                self.counts.gaps += 1;
                return Some(Entry::Gap(gap));
            }
            Ok(Half::Pair(pair)) => return Some(self.hand_out_pair(record.place, pair)),
            Ok(half) => half,
            Err(error) => {
                self.counts.undecodable += 1;
                return Some(Entry::Undecodable {
                    place: record.place,
                    why: error.to_string(),
                });
            }
        };
        // A time far ahead of the clock is a wrong one, and would end every wait at once.
        let time = half.time_us();
        let believable = time <= now.saturating_add(self.pairing.deadline);
        self.pairing.expire(if believable { time } else { 0 });
        let begun = self.announced(&half);
        if self.pairing.offer(half, record.place, record.payload.len()) {
            self.completion.opened(record.place);
        }
        begun
            .filter(|request| self.pairing.is_open(&request.id))
            .map(|request| Entry::Begun {
                position: record.place.position,
                request,
            })
    }

    /// The request to tell of, unless its exchange follows at once or is known already.
    fn announced(&self, half: &Half) -> Option<Arc<Request>> {
        match half {
            Half::Request(request)
                if self.pairing.options.announce && !self.pairing.is_open(&request.id) =>
            {
                Some(Arc::new(request.clone()))
            }
            _ => None,
        }
    }

    fn hand_out_pair(&mut self, place: Place, pair: Box<Pair>) -> Entry {
        self.counts.pairs += 1;
        self.completion.opened(place);
        self.in_hand.insert(place.position, (place.sequence, None));
        Entry::Pair { place, pair }
    }

    fn hand_out(&mut self, finished: Finished) -> Entry {
        self.in_hand.insert(
            finished.exchange.position,
            (finished.first, finished.second),
        );
        Entry::Exchange(finished.exchange)
    }
}
