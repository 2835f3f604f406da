//! The thread that has the consumer. It never stops asking the broker for long, so that the group does not take it for
//! dead while the replay is paused.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use exchange::message::{Bounds, Incoming, Reader, Source, Span, Told, Unreadable, header};
use exchange::{Exchange, Request};
use journal::{Lost, LostReason};
use parking_lot::Mutex;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::account::{Account, Accounts};
use super::done::Done;
use super::group::{self, Consumer, Wish};
use super::ids::Ids;
use super::merge::{Merge, MergeBounds};
use super::source::Sent;
use super::{ANSWER, Options};
use crate::replay::Event;
use crate::telemetry::throttle::Throttle;

/// What waits for its order.
pub(super) const BOUNDS: MergeBounds = MergeBounds {
    exchanges: 1 << 17,
    bytes: 128 << 20,
};
/// What waits for its parts.
const PARTS: usize = 128 << 20;
/// Requests that were told ahead of their exchanges.
const AHEAD: usize = 1 << 16;
/// An exchange comes within a minute of its request. One that has not come after so long will not. Microseconds.
const GIVEN_UP: u64 = 600_000_000;
/// Messages before the first that is not done, whose ids are looked at again to know what comes twice.
const BEFORE: i64 = 4096;
/// Messages read before a look at everything else.
const AT_ONCE: usize = 256;
/// Longest wait for a message.
const POLL: Duration = Duration::from_millis(20);
/// How long a partition that is to be given back may take to be done.
const DRAIN: Duration = Duration::from_secs(45);
/// How often to look what the others of the group have done.
const LOOK: Duration = Duration::from_secs(1);
/// Attempts at the last commit.
const LAST_COMMITS: usize = 5;
/// Most bytes of a commit's metadata; brokers take 4096.
const METADATA: usize = 4000;

pub(super) struct Worker {
    consumer: Consumer,
    options: Options,
    accounts: Arc<Mutex<Accounts>>,
    events: SyncSender<Sent>,
    stop: Arc<AtomicBool>,
    reader: Reader,
    merge: Merge,
    ids: Ids,
    ahead: HashMap<Bytes, (Source, Box<Request>)>,
    /// The partitions that are read here.
    shares: BTreeMap<i32, Share>,
    /// Where each partition of the topic ended when the run began, or where its window ends.
    ends: BTreeMap<i32, i64>,
    /// What is ready and found no room.
    ready: VecDeque<Event>,
    /// Partitions of which nothing is fetched for now.
    resting: bool,
    last_message: Instant,
    looked_at: Instant,
    /// What the others have not done when we looked last.
    others_done: bool,
    /// The group has given us partitions, or none.
    was_assigned: bool,
    metadata_limit: usize,
    /// What was committed last.
    to_say: Option<BTreeMap<i32, Done>>,
    said_at: Instant,
    /// That failed.
    say_again: bool,
    /// The latest completion that was told.
    latest_us: u64,
    complaints: Throttle,
}

/// A partition that is read here.
#[derive(Debug, Default)]
struct Share {
    /// The latest completion that it told.
    frontier_us: u64,
    /// Nothing more is there, as far as is known.
    is_at_end: bool,
    /// All of it that is asked for is read.
    is_finished: bool,
    /// It waits for the others.
    is_paused: bool,
    /// To be given back when it is done, at this time at the latest.
    leaves_at: Option<Instant>,
}

impl Worker {
    pub(super) fn new(
        consumer: Consumer,
        options: Options,
        accounts: Arc<Mutex<Accounts>>,
        events: SyncSender<Sent>,
        stop: Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        let ends = ends(&consumer, &options)?;
        let now = Instant::now();
        Ok(Self {
            consumer,
            options,
            accounts,
            events,
            stop,
            reader: Reader::new(Bounds {
                bytes: PARTS,
                ..Bounds::default()
            }),
            merge: Merge::new(BOUNDS),
            ids: Ids::default(),
            ahead: HashMap::new(),
            shares: BTreeMap::new(),
            ends,
            ready: VecDeque::new(),
            resting: false,
            last_message: now,
            looked_at: now.checked_sub(LOOK).unwrap_or(now),
            others_done: false,
            was_assigned: false,
            metadata_limit: METADATA,
            to_say: None,
            said_at: now,
            say_again: false,
            latest_us: 0,
            complaints: Throttle::default(),
        })
    }

    pub(super) fn run(mut self) {
        let last = match self.work() {
            Ok(true) => Sent::End,
            Ok(false) => return self.leave(),
            Err(error) => Sent::Failed(error),
        };
        self.send_last(last);
        // The replay keeps its state once more, and then lets go.
        while !self.stop.load(Ordering::Relaxed) {
            self.commit();
            // Whoever joins the group now waits for us.
            if let Err(error) = self.grant_wishes() {
                tracing::debug!(%error, "the group has other wishes at the end");
            }
            drop(self.consumer.poll(POLL));
            self.give_back_what_is_done(true);
        }
        self.leave();
    }

    /// Returns true at the end, and false when it was told to stop.
    fn work(&mut self) -> anyhow::Result<bool> {
        let all: Vec<(i32, i64)> = self.ends.iter().map(|(at, end)| (*at, *end)).collect();
        if !self.options.follow && !self.options.restart && self.have_done(&all) {
            return Ok(true);
        }
        tracing::info!(
            topic = self.options.place.topic,
            group = self.options.group,
            "joining the group"
        );
        self.consumer
            .subscribe(&[self.options.place.topic.as_str()])
            .with_context(|| format!("cannot join the group {}", self.options.group))?;
        while !self.stop.load(Ordering::Relaxed) {
            self.grant_wishes()?;
            self.read()?;
            self.settle();
            if !self.hand_out() {
                return Ok(false);
            }
            self.balance();
            self.give_back_what_is_done(false);
            self.commit();
            if !self.options.follow && self.is_over() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The last commit, and good-bye.
    fn leave(mut self) {
        self.commit_at_last();
        self.consumer.context().close();
    }

    fn send_last(&self, mut last: Sent) {
        while !self.stop.load(Ordering::Relaxed) {
            match self.events.try_send(last) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(back)) => last = back,
            }
            drop(self.consumer.poll(POLL));
        }
    }

    // -----------------------------------------------------------------------------------------
    // The group

    fn grant_wishes(&mut self) -> anyhow::Result<()> {
        let context = self.consumer.context().clone();
        while let Some(wish) = context.next_wish() {
            match wish {
                Wish::Assign(partitions) => {
                    let Some(begins) = self.begins(&partitions) else {
                        context.put_back(Wish::Assign(partitions));
                        return Ok(());
                    };
                    self.take(&begins)?;
                }
                Wish::Revoke(partitions) => self.let_go(&partitions)?,
            }
        }
        Ok(())
    }

    /// Where to begin in each partition. `None` when the broker does not answer now.
    fn begins(&self, partitions: &TopicPartitionList) -> Option<Vec<Begin>> {
        let found = self.consumer.committed_offsets(partitions.clone(), ANSWER);
        let found = found.and_then(|committed| {
            let since = self.since(&committed)?;
            let elements = committed.elements();
            elements
                .iter()
                .map(|it| {
                    let partition = it.partition();
                    let topic = &self.options.place.topic;
                    let (low, _) = self.consumer.fetch_watermarks(topic, partition, ANSWER)?;
                    let committed = match it.offset() {
                        Offset::Offset(offset) => Some((offset, it.metadata())),
                        _ => None,
                    };
                    let since = since.get(&partition).copied();
                    Ok(self.begin(partition, low, committed, since))
                })
                .collect::<Result<Vec<Begin>, KafkaError>>()
        });
        match found {
            Ok(begins) => Some(begins),
            Err(error) => {
                self.complain("cannot ask where to begin; trying again", &error);
                None
            }
        }
    }

    /// The first offset of each partition that was written after the wanted time.
    fn since(&self, partitions: &TopicPartitionList) -> Result<HashMap<i32, i64>, KafkaError> {
        let Some(since) = self.options.since_us else {
            return Ok(HashMap::new());
        };
        first_offsets_since(&self.consumer, partitions, since)
    }

    fn begin(
        &self,
        partition: i32,
        oldest: i64,
        committed: Option<(i64, &str)>,
        since: Option<i64>,
    ) -> Begin {
        let window = self.options.offsets.get(&partition);
        let wanted = window.map(|window| window.first).or(since);
        let fresh = Done::before(wanted.unwrap_or(oldest).max(oldest));
        let kept = self.options.kept.get(&partition);
        let done = match committed.filter(|_| !self.options.restart) {
            None => kept.cloned().unwrap_or_else(|| fresh.clone()),
            Some((offset, metadata)) => match (Done::decode(offset, metadata), kept) {
                (Some(done), Some(kept)) if (kept.low, kept.high) >= (done.low, done.high) => {
                    kept.clone()
                }
                (Some(done), _) => done,
                // Somebody has set the group's offsets: that is what they want.
                (None, _) => Done::before(offset),
            },
        };
        // What the group did outside of the window says nothing about what is in it.
        let is_within = window.is_none_or(|window| {
            done.low >= window.first && window.end().is_none_or(|end| done.low <= end)
        });
        let done = if is_within { done } else { fresh.clone() };
        let lost = oldest.saturating_sub(done.low);
        // What was there before a fresh beginning is none of ours.
        let before = if done == fresh { 0 } else { BEFORE };
        let first = window.map_or(oldest, |window| window.first.max(oldest));
        Begin {
            partition,
            first: done.low.saturating_sub(before).max(first).min(done.low),
            oldest,
            lost: u64::try_from(lost).unwrap_or(0),
            done,
        }
    }

    fn take(&mut self, begins: &[Begin]) -> anyhow::Result<()> {
        self.was_assigned = true;
        let topic = self.options.place.topic.clone();
        let mut partitions = TopicPartitionList::new();
        for begin in begins {
            let offset = Offset::Offset(begin.first.max(begin.oldest));
            partitions.add_partition_offset(&topic, begin.partition, offset)?;
        }
        group::take(&self.consumer, &partitions).context("cannot begin to read")?;
        // A partition that was given back once is still paused when it comes again.
        let all: Vec<i32> = begins.iter().map(|begin| begin.partition).collect();
        self.pause(&all, false);
        for begin in begins {
            tracing::info!(
                topic,
                partition = begin.partition,
                offset = begin.done.low,
                "reading"
            );
            if begin.lost > 0 {
                self.ready.push_back(Event::Lost(begin.told_lost()));
            }
            let next = begin.done.low.max(begin.oldest);
            let account = Account::new(next, begin.done.clone());
            self.accounts
                .lock()
                .partitions
                .insert(begin.partition, account);
            let end = self.ends.get(&begin.partition).copied();
            let is_finished = match self.options.follow {
                true => !self.is_wanted(begin.partition),
                false => end.is_none_or(|end| next >= end),
            };
            let share = Share {
                is_finished,
                ..Share::default()
            };
            self.shares.insert(begin.partition, share);
            if is_finished {
                self.pause(&[begin.partition], true);
            }
        }
        if self.resting {
            self.rest(true);
        }
        Ok(())
    }

    fn is_wanted(&self, partition: i32) -> bool {
        let offsets = &self.options.offsets;
        offsets.is_empty() || offsets.contains_key(&partition)
    }

    /// Stops reading what the group wants back, and gives it back when it is done.
    fn let_go(&mut self, partitions: &TopicPartitionList) -> anyhow::Result<()> {
        if self.consumer.assignment_lost() {
            tracing::warn!(
                "the group has given our partitions to others; what is on its way may be sent twice"
            );
            for element in partitions.elements() {
                self.forget(element.partition());
            }
            return group::give_back(&self.consumer, partitions)
                .context("cannot give partitions back");
        }
        let leaving: Vec<i32> = partitions
            .elements()
            .iter()
            .map(|it| it.partition())
            .collect();
        self.pause(&leaving, true);
        for partition in leaving {
            tracing::info!(partition, "another one of the group gets this partition");
            if let Some(share) = self.shares.get_mut(&partition) {
                share.leaves_at = Some(Instant::now() + DRAIN + self.options.place.window);
            }
            self.reader.forget(partition);
            let mut accounts = self.accounts.lock();
            for (name, exchange) in self.merge.take_away(partition) {
                accounts.withdraw(name);
                self.ids
                    .forget(exchange.id().map(Bytes::as_ref).unwrap_or_default());
            }
            drop(accounts);
            self.ahead
                .retain(|_, (source, _)| source.span.partition != partition);
        }
        Ok(())
    }

    /// Gives back the partitions of which nothing is in hand any more, or that took too long.
    fn give_back_what_is_done(&mut self, at_once: bool) {
        let leaving: Vec<(i32, Instant)> = self
            .shares
            .iter()
            .filter_map(|(partition, share)| Some((*partition, share.leaves_at?)))
            .collect();
        if leaving.is_empty() {
            return;
        }
        let in_hand = |partition: &i32| self.accounts.lock().in_hand(*partition);
        let busy: usize = leaving
            .iter()
            .map(|(partition, _)| in_hand(partition))
            .sum();
        let is_late = leaving.iter().any(|(_, at)| *at <= Instant::now());
        if busy > 0 && !is_late && !at_once {
            return;
        }
        if busy > 0 {
            tracing::warn!(
                exchanges = busy,
                "a partition goes to another one of the group while these are on their way; they may be sent twice"
            );
        }
        let mut partitions = TopicPartitionList::new();
        for (partition, _) in &leaving {
            partitions.add_partition(&self.options.place.topic, *partition);
        }
        let states: BTreeMap<i32, Done> = self
            .accounts
            .lock()
            .states()
            .into_iter()
            .filter(|(partition, _)| leaving.iter().any(|(it, _)| it == partition))
            .collect();
        if let Err(error) = self.commit_states(&states, CommitMode::Sync) {
            self.complain(
                "cannot commit what is done of a partition that goes",
                &error,
            );
            // Whoever gets it begins at the commit: another attempt is worth the wait.
            if !is_late && group::is_passing(&error) {
                return;
            }
        }
        if let Err(error) = group::give_back(&self.consumer, &partitions) {
            self.complain("cannot give partitions back", &error);
        }
        for (partition, _) in leaving {
            self.forget(partition);
        }
    }

    fn forget(&mut self, partition: i32) {
        self.shares.remove(&partition);
        self.reader.forget(partition);
        for (_, exchange) in self.merge.take_away(partition) {
            self.ids
                .forget(exchange.id().map(Bytes::as_ref).unwrap_or_default());
        }
        self.ahead
            .retain(|_, (source, _)| source.span.partition != partition);
        let mut accounts = self.accounts.lock();
        // When it comes again, nobody may have committed what is done here: the session ended, or a new beginning has
        // no use for commits.
        if let Some(account) = accounts.partitions.get(&partition) {
            self.options.kept.insert(partition, account.state());
        }
        accounts.forget(partition);
    }

    // -----------------------------------------------------------------------------------------
    // Messages

    fn read(&mut self) -> anyhow::Result<()> {
        let mut patience = if self.ready.is_empty() {
            POLL
        } else {
            Duration::ZERO
        };
        for _ in 0..AT_ONCE {
            // The message borrows the consumer, and what it says goes everywhere.
            let taken = match self.consumer.poll(patience) {
                None => return Ok(()),
                Some(Ok(message)) => Ok(Taken::of(&message)),
                Some(Err(error)) => Err(error),
            };
            patience = Duration::ZERO;
            match taken {
                Ok(message) => self.take_message(message),
                Err(KafkaError::PartitionEOF(partition)) => self.at_end(partition),
                Err(error) if group::is_final(&error) => {
                    return Err(error)
                        .with_context(|| format!("cannot read {}", self.options.place));
                }
                Err(error) => self.complain("cannot read; trying again", &error),
            }
            if self.merge.is_full() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn take_message(&mut self, message: Taken) {
        let partition = message.partition;
        let Some(share) = self.shares.get_mut(&partition) else {
            return;
        };
        if share.leaves_at.is_some() || share.is_finished {
            return;
        }
        share.is_at_end = false;
        self.last_message = Instant::now();
        let end = match self.options.follow {
            true => self.options.offsets.get(&partition).and_then(|it| it.end()),
            false => self.ends.get(&partition).copied(),
        };
        if end.is_some_and(|end| message.offset >= end) {
            return self.finish(partition);
        }
        let (resumed_low, next) = {
            let accounts = self.accounts.lock();
            let Some(account) = accounts.partitions.get(&partition) else {
                return;
            };
            (account.resumed_low(), account.next())
        };
        if message.offset < resumed_low {
            self.ids.insert(message.id());
            return;
        }
        if message.offset < next {
            // Fetched twice, after a pause.
            return;
        }
        let offset = message.offset;
        let mut told = Vec::new();
        self.reader.push(message.incoming(), &mut told);
        for told in told {
            self.take_told(told);
        }
        let floor = self.reader.floor(partition);
        let mut accounts = self.accounts.lock();
        accounts.read = accounts.read.saturating_add(message.bytes as u64);
        if let Some(account) = accounts.partitions.get_mut(&partition) {
            account.read(offset.saturating_add(1), floor);
        }
        drop(accounts);
        if end.is_some_and(|end| offset.saturating_add(1) >= end) {
            self.finish(partition);
        }
    }

    fn at_end(&mut self, partition: i32) {
        let Some(share) = self.shares.get_mut(&partition) else {
            return;
        };
        share.is_at_end = true;
        if !self.options.follow && !share.is_finished {
            self.finish(partition);
        }
    }

    /// All that is asked for of this partition is read.
    fn finish(&mut self, partition: i32) {
        let Some(share) = self.shares.get_mut(&partition) else {
            return;
        };
        if std::mem::replace(&mut share.is_finished, true) {
            return;
        }
        let mut told = Vec::new();
        self.reader.finish(partition, &mut told);
        let mut needed = None;
        for told in told {
            match told {
                // The rest may still come; another run can read it.
                Told::Unreadable {
                    source,
                    why: Unreadable::Parts { .. },
                    ..
                } => needed = needed.into_iter().chain([source.span.first]).min(),
                told => self.take_told(told),
            }
        }
        if let Some(offset) = needed {
            tracing::warn!(
                partition,
                offset,
                "the last messages are parts of something that is not all there yet; another run reads them"
            );
        }
        let end = self.ends.get(&partition).copied().unwrap_or(0);
        if let Some(account) = self.accounts.lock().partitions.get_mut(&partition) {
            account.read(end, needed);
        }
        self.pause(&[partition], true);
    }

    fn take_told(&mut self, told: Told) {
        let source = told.source().clone();
        let span = source.span;
        {
            let accounts = self.accounts.lock();
            let account = accounts.partitions.get(&span.partition);
            if account.is_none_or(|account| account.was_done(span)) {
                if let Told::Exchange { exchange, .. } = &told
                    && let Some(id) = exchange.id()
                {
                    self.ids.insert(id);
                }
                return;
            }
        }
        match told {
            Told::Exchange { exchange, .. } => self.take_exchange(&source, *exchange),
            Told::Request { request, .. } => self.take_request(source, request),
            Told::Gap { gap, .. } => self.ready.push_back(Event::Gap(gap)),
            Told::Pair { .. } => self.ready.push_back(undecodable(
                span,
                "it is a pair, and no exchange; name the topic with the exchanges",
            )),
            Told::Unreadable { why, .. } => {
                self.ready.push_back(undecodable(span, &why.to_string()));
            }
        }
    }

    fn take_exchange(&mut self, source: &Source, mut exchange: Exchange) {
        let id = exchange.id().cloned().unwrap_or_default();
        let mut accounts = self.accounts.lock();
        if let Some((ahead, _)) = self.ahead.remove(&id) {
            accounts.close(ahead.span);
        }
        if !self.ids.insert(&id) {
            accounts.again += 1;
            return;
        }
        accounts.open(source.span);
        exchange.position = accounts.name(exchange.time_us(), &id, source.span);
        let complete = self.merge.push(source, exchange);
        accounts.late = self.merge.late();
        drop(accounts);
        self.latest_us = self.latest_us.max(complete);
        if let Some(share) = self.shares.get_mut(&source.span.partition) {
            share.frontier_us = share.frontier_us.max(complete);
        }
    }

    /// The exchange has it all, and comes later, or came before.
    fn take_request(&mut self, source: Source, request: Box<Request>) {
        let is_known = self.ids.has(&request.id) || self.ahead.contains_key(&request.id);
        if is_known || request.id.is_empty() || self.ahead.len() >= AHEAD {
            return;
        }
        self.accounts.lock().open(source.span);
        self.ahead.insert(request.id.clone(), (source, request));
    }

    /// Requests whose exchange does not come are exchanges without a response.
    fn settle(&mut self) {
        let is_over = !self.options.follow && self.is_read() && self.merge.is_empty();
        let given_up = self.latest_us.saturating_sub(GIVEN_UP);
        if self.ahead.is_empty() {
            return;
        }
        let is_due = |request: &Request| is_over || request.time_us < given_up;
        let due: Vec<Bytes> = self
            .ahead
            .iter()
            .filter(|(_, (_, request))| is_due(request))
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            let Some((source, request)) = self.ahead.remove(&id) else {
                continue;
            };
            self.accounts.lock().close(source.span);
            let exchange = Exchange {
                request: Some(*request),
                ..Exchange::default()
            };
            self.take_exchange(&source, exchange);
        }
    }

    // -----------------------------------------------------------------------------------------
    // Order

    /// Until when nothing earlier is to be expected.
    fn limit(&self) -> u64 {
        let window = u64::try_from(self.options.place.window.as_micros()).unwrap_or(u64::MAX);
        let reading = self
            .shares
            .values()
            .filter(|share| !share.is_finished && !share.is_at_end && share.leaves_at.is_none());
        let slowest = reading.map(|share| share.frontier_us).min();
        match slowest {
            Some(slowest) => slowest.saturating_sub(window),
            None if !self.options.follow => u64::MAX,
            // Nothing came for so long: nothing is on its way.
            None if self.last_message.elapsed() >= self.options.place.window => u64::MAX,
            None => self.latest_us.saturating_sub(window),
        }
    }

    /// Sends what is certain, as far as there is room. False when nobody wants it any more.
    fn hand_out(&mut self) -> bool {
        let limit = self.limit();
        loop {
            let event = match self.ready.pop_front() {
                Some(event) => event,
                None => match self.merge.pop(limit) {
                    Some(event) => event,
                    None => return true,
                },
            };
            match self.events.try_send(Sent::Event(event)) {
                Ok(()) => {}
                Err(TrySendError::Full(Sent::Event(event))) => {
                    self.ready.push_front(event);
                    return true;
                }
                Err(_) => return false,
            }
        }
    }

    /// Holds back the partitions that are ahead of others, and all when there is no room.
    fn balance(&mut self) {
        let is_stuck = self.merge.is_full() && !self.ready.is_empty();
        if is_stuck != self.resting && (is_stuck || !self.merge.is_half_full()) {
            self.rest(is_stuck);
        }
        if self.resting {
            return;
        }
        let window = u64::try_from(self.options.place.window.as_micros()).unwrap_or(u64::MAX);
        let reading = self.shares.values();
        let reading = reading.filter(|share| !share.is_finished && !share.is_at_end);
        let Some(slowest) = reading.map(|share| share.frontier_us).min() else {
            return;
        };
        let is_half_full = self.merge.is_half_full();
        let is_ahead = |share: &Share| share.frontier_us > slowest.saturating_add(window);
        let shares = self.shares.iter();
        let shares = shares.filter(|(_, share)| !share.is_finished && share.leaves_at.is_none());
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        for (partition, share) in shares {
            match (share.is_paused, is_ahead(share)) {
                (false, true) if is_half_full => pause.push(*partition),
                (true, is_ahead) if !is_ahead || !is_half_full => resume.push(*partition),
                _ => {}
            }
        }
        self.pause(&pause, true);
        self.pause(&resume, false);
    }

    fn rest(&mut self, rest: bool) {
        self.resting = rest;
        let partitions: Vec<i32> = self
            .shares
            .iter()
            .filter(|(_, share)| !share.is_finished && share.leaves_at.is_none())
            .map(|(partition, _)| *partition)
            .collect();
        self.pause(&partitions, rest);
    }

    fn pause(&mut self, partitions: &[i32], pause: bool) {
        if partitions.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.options.place.topic, *partition);
            if let Some(share) = self.shares.get_mut(partition) {
                share.is_paused = pause;
            }
        }
        let done = match pause {
            true => self.consumer.pause(&list),
            false => self.consumer.resume(&list),
        };
        if let Err(error) = done {
            self.complain("cannot pause or resume partitions", &error);
        }
    }

    // -----------------------------------------------------------------------------------------
    // The end

    /// All that is asked for, of the partitions that are read here, is read.
    fn is_read(&self) -> bool {
        self.shares.values().all(|share| share.is_finished)
    }

    /// Everything that is asked for, of the whole topic, is done, here or by others of the group.
    fn is_over(&mut self) -> bool {
        let is_quiet = self.is_read()
            && self.merge.is_empty()
            && self.ready.is_empty()
            && self.ahead.is_empty()
            && self.shares.values().all(|share| share.leaves_at.is_none());
        if !is_quiet || !self.accounts.lock().is_idle() {
            return false;
        }
        // What the group did before a new beginning does not count.
        if self.options.restart && !self.was_assigned {
            return self.ends.is_empty();
        }
        let others: Vec<(i32, i64)> = self
            .ends
            .iter()
            .filter(|(partition, _)| !self.shares.contains_key(partition))
            .map(|(partition, end)| (*partition, *end))
            .collect();
        if self.looked_at.elapsed() >= LOOK {
            self.looked_at = Instant::now();
            self.others_done = self.have_done(&others);
        }
        self.others_done
    }

    fn have_done(&self, others: &[(i32, i64)]) -> bool {
        if others.is_empty() {
            return true;
        }
        let mut list = TopicPartitionList::new();
        for (partition, _) in others {
            list.add_partition(&self.options.place.topic, *partition);
        }
        let committed = match self.consumer.committed_offsets(list, ANSWER) {
            Ok(committed) => committed,
            Err(error) => {
                self.complain("cannot ask what others of the group have done", &error);
                return false;
            }
        };
        others.iter().all(|(partition, end)| {
            let found = committed.find_partition(&self.options.place.topic, *partition);
            let Some(found) = found else { return false };
            let Offset::Offset(offset) = found.offset() else {
                return false;
            };
            Done::decode(offset, found.metadata())
                .unwrap_or_else(|| Done::before(offset))
                .is_complete(*end)
        })
    }

    // -----------------------------------------------------------------------------------------
    // Commits

    /// Commits what the replay has kept; again, when that failed.
    fn commit(&mut self) {
        let commits = self.consumer.context().commits();
        if commits.too_large {
            self.metadata_limit /= 2;
        }
        if let Some(states) = self.accounts.lock().to_commit.take() {
            self.to_say = Some(states);
        } else {
            self.say_again |= commits.failed;
            if !self.say_again || self.said_at.elapsed() < LOOK {
                return;
            }
        }
        self.said_at = Instant::now();
        self.say_again = false;
        let states = self.to_say.clone().unwrap_or_default();
        if let Err(error) = self.commit_states(&states, CommitMode::Async) {
            self.complain("cannot commit; trying again", &error);
        }
    }

    /// The last commit is waited for.
    fn commit_at_last(&mut self) {
        let kept = self.accounts.lock().to_commit.take();
        let is_said = kept.is_none() && {
            let commits = self.consumer.context().commits();
            commits.pending == 0 && !commits.failed && !self.say_again
        };
        let Some(states) = kept.or_else(|| self.to_say.take()).filter(|_| !is_said) else {
            return;
        };
        for _ in 0..LAST_COMMITS {
            match self.commit_states(&states, CommitMode::Sync) {
                Ok(()) => return,
                Err(error) => self.complain("cannot commit", &error),
            }
            drop(self.consumer.poll(LOOK));
        }
        tracing::error!(
            group = self.options.group,
            "the last commit failed: the next run sends again what was done since the one before"
        );
    }

    fn commit_states(
        &mut self,
        states: &BTreeMap<i32, Done>,
        mode: CommitMode,
    ) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, done) in states {
            if !self.shares.contains_key(partition) {
                continue;
            }
            let topic = &self.options.place.topic;
            let mut element = list.add_partition(topic, *partition);
            element.set_offset(Offset::Offset(done.low))?;
            element.set_metadata(done.encode(self.metadata_limit));
        }
        if list.count() == 0 {
            return Ok(());
        }
        let said = self.consumer.commit(&list, mode);
        match &said {
            Ok(()) if matches!(mode, CommitMode::Async) => {
                self.consumer.context().commit_sent();
            }
            Ok(()) => {}
            Err(error) => {
                let code = error.rdkafka_error_code();
                if code == Some(RDKafkaErrorCode::OffsetMetadataTooLarge) {
                    self.metadata_limit /= 2;
                }
            }
        }
        said
    }

    fn complain(&self, what: &str, error: &KafkaError) {
        let trouble = self.consumer.context().client().trouble();
        if let Some(suppressed) = self.complaints.admit() {
            tracing::warn!(%error, trouble, suppressed, "{what}");
        }
    }
}

/// Where to begin in a partition.
#[derive(Debug)]
struct Begin {
    partition: i32,
    done: Done,
    /// The oldest offset that is kept.
    oldest: i64,
    /// Where to begin to read, to know the ids of what was read last.
    first: i64,
    /// Offsets that are not kept any more.
    lost: u64,
}

impl Begin {
    fn told_lost(&self) -> Lost {
        let place = |offset: i64| journal::Place {
            position: u64::try_from(offset).unwrap_or(0),
            sequence: u64::try_from(offset).unwrap_or(0),
        };
        Lost {
            records: self.lost,
            from: place(self.done.low),
            to: place(self.oldest),
            reason: LostReason::Deleted,
        }
    }
}

/// A message in memory of its own.
pub(super) struct Taken {
    pub(super) partition: i32,
    pub(super) offset: i64,
    time_us: u64,
    headers: Vec<(String, Bytes)>,
    value: Bytes,
    bytes: usize,
}

impl Taken {
    pub(super) fn of(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            let field = |it: rdkafka::message::Header<'_, &[u8]>| {
                let value = Bytes::copy_from_slice(it.value.unwrap_or_default());
                (it.key.to_owned(), value)
            };
            headers.iter().map(field).collect()
        });
        let millis = message.timestamp().to_millis().unwrap_or(0);
        let value = Bytes::copy_from_slice(message.payload().unwrap_or_default());
        Self {
            partition: message.partition(),
            offset: message.offset(),
            time_us: u64::try_from(millis).unwrap_or(0).saturating_mul(1000),
            headers,
            bytes: value.len(),
            value,
        }
    }

    fn id(&self) -> &[u8] {
        let mut headers = self.headers.iter();
        let kind = headers.clone().find(|(name, _)| name == header::KIND);
        // A request that is told ahead has the id of its exchange, which may be yet to come.
        if kind.is_some_and(|(_, kind)| kind.as_ref() != b"exchange") {
            return &[];
        }
        headers
            .find(|(name, _)| name == header::ID)
            .map(|(_, id)| id.as_ref())
            .unwrap_or_default()
    }

    pub(super) fn incoming(&self) -> Incoming<impl Iterator<Item = (&str, &[u8])>> {
        Incoming {
            partition: self.partition,
            offset: self.offset,
            time_us: self.time_us,
            headers: self
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_ref())),
            value: self.value.clone(),
        }
    }
}

pub(super) fn undecodable(span: Span, why: &str) -> Event {
    Event::Undecodable {
        position: u64::try_from(span.first).unwrap_or(0),
        why: format!("partition {}: {why}", span.partition),
    }
}

/// Where the partitions of the topic end, or their windows.
fn ends(consumer: &Consumer, options: &Options) -> anyhow::Result<BTreeMap<i32, i64>> {
    let partitions = partitions(consumer, &options.place.topic)
        .with_context(|| format!("cannot read {}", options.place))?;
    for wanted in options.offsets.keys() {
        if !partitions.contains(wanted) {
            bail!(
                "{} has no partition {wanted}; it has {}",
                options.place,
                partitions.len()
            );
        }
    }
    let mut ends = BTreeMap::new();
    for partition in partitions {
        let topic = &options.place.topic;
        let (low, high) = consumer
            .fetch_watermarks(topic, partition, ANSWER)
            .with_context(|| format!("cannot ask where partition {partition} of {topic} ends"))?;
        let window = options.offsets.get(&partition);
        let end = match window {
            Some(window) => window.end().unwrap_or(high).min(high),
            // Not asked for.
            None if !options.offsets.is_empty() => 0,
            None => high,
        };
        if end > low {
            ends.insert(partition, end);
        }
    }
    Ok(ends)
}

/// The partitions of a topic.
pub(super) fn partitions(consumer: &Consumer, topic: &str) -> anyhow::Result<Vec<i32>> {
    let metadata = consumer
        .fetch_metadata(Some(topic), ANSWER)
        .context("the brokers do not answer")?;
    let found = metadata.topics().iter().find(|it| it.name() == topic);
    let partitions: Vec<i32> = found
        .map(|topic| topic.partitions().iter().map(|it| it.id()).collect())
        .unwrap_or_default();
    if partitions.is_empty() {
        bail!("the brokers have no topic {topic}, or do not let us see it");
    }
    Ok(partitions)
}

/// The first offset of each partition whose message was written at this time or later; the end where there is none.
pub(super) fn first_offsets_since(
    consumer: &Consumer,
    partitions: &TopicPartitionList,
    since_us: u64,
) -> Result<HashMap<i32, i64>, KafkaError> {
    let millis = i64::try_from(since_us / 1000).unwrap_or(i64::MAX);
    let mut wanted = TopicPartitionList::new();
    for element in partitions.elements() {
        wanted.add_partition_offset(
            element.topic(),
            element.partition(),
            Offset::Offset(millis),
        )?;
    }
    let found = consumer.offsets_for_times(wanted, ANSWER)?;
    let mut offsets = HashMap::new();
    for element in found.elements() {
        let offset = match element.offset() {
            Offset::Offset(offset) => offset,
            _ => {
                let (_, high) =
                    consumer.fetch_watermarks(element.topic(), element.partition(), ANSWER)?;
                high
            }
        };
        offsets.insert(element.partition(), offset);
    }
    Ok(offsets)
}
