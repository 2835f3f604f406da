//! The offload: the followers that write a message per exchange, and per pair, to a topic of Kafka.
//!
//! [`client`] makes a client of Kafka from the configuration, with all of its security; producers, consumers and
//! checks are made from it. [`topic`] finds the topic or makes it, [`key`] says what keeps its order,
//! [`flight`] knows what is on its way, [`producer`] is librdkafka's, [`stream`] says what becomes a message, and
//! [`Offload`] drives them; [`recovery`] finds after a kill what was sent already, [`aws`] logs in to Amazon MSK. `README.md` beside this file says what happens when something fails.
//!
//! What is acknowledged is done, and only that moves the cursor: the journal is the buffer, and Kafka may be away
//! for as long as the disk lasts. A message that comes back, whatever for, ends its producer: a new one sends
//! everything again that is not acknowledged, in the old order. So the messages of one key are never
//! overtaken by later ones, and what comes twice has the same id.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use exchange::message::Carried;
use journal::Entry;
use rdkafka::error::RDKafkaErrorCode;
use tokio::runtime::Handle;

use self::client::Client;
use self::flight::{Flight, Subject};
use self::producer::{Failure, Producer, Report, Unsent};
use self::recovery::Mark;
pub use self::standing::Standing;
use self::stream::Stream;
use self::topic::{Topic, TopicError};
use crate::capture::holds::Holds;
use crate::follower::{Fate, Follower};
use crate::telemetry::metrics::{DropReason, FilterReason, KafkaFault, OffloadMetrics};
use crate::telemetry::throttle::Throttle;

pub mod aws;
pub mod client;
pub mod flight;
pub mod key;
pub mod producer;
pub mod recovery;
mod standing;
pub mod stream;
pub mod topic;

/// Longest wait before the follower looks after its cursor.
const IDLE: Duration = Duration::from_millis(50);
/// A busy journal is read this often: the offload is at most this much later.
const PAUSE: Duration = Duration::from_millis(1);
/// Entries that are read before reports are looked at.
const ROUND: usize = 64;
/// How long to wait after a failure, at first and at most.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// No message is made smaller than this because a broker refuses its size.
const LEAST_MESSAGE: usize = 16 << 10;
/// How often a message is sent that the brokers refuse for what it is, alone in its batch. Each time the wait before it is longer.
const REFUSALS: u32 = 5;
/// Of the time that the shutdown leaves, what is kept for saving the cursor.
const SAVING: Duration = Duration::from_millis(200);

/// The bounds of an offload.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of messages on their way.
    pub in_flight_bytes: usize,
    /// Bytes of one message.
    pub message_bytes: usize,
}

/// A follower that writes messages to one topic.
#[derive(Debug)]
pub struct Offload {
    follower: Follower,
    client: Client,
    topic: Topic,
    stream: Stream,
    bounds: Bounds,
    flight: Flight,
    /// How far the topic is written.
    mark: Mark,
    /// What the topic has already, though the cursor does not know it. `None` until somebody has looked.
    known: Option<HashSet<u64>>,
    /// Somebody's message was refused for what it is: each is sent in a batch of its own until none is left, so that
    /// the right one is blamed.
    is_searching: bool,
    metrics: OffloadMetrics,
    standing: Arc<Standing>,
    /// Where held writes wait for their messages, when they do.
    holds: Option<Arc<Holds>>,
    retry: Duration,
    trouble: Throttle,
}

/// Why a producer is of no more use.
#[derive(Debug)]
enum End {
    /// The follower is over.
    Over,
    /// Everything that is not acknowledged has to be sent again, by another producer.
    Renew,
    /// Everything is acknowledged, and another producer may fill its batches again.
    Found,
}

impl Offload {
    /// An offload that begins where its follower is.
    #[must_use]
    pub fn new(
        follower: Follower,
        client: Client,
        topic: Topic,
        stream: Stream,
        bounds: Bounds,
        metrics: OffloadMetrics,
    ) -> Self {
        let standing = Arc::new(Standing::new(topic.name.clone(), client.context()));
        let mark = Mark::read(follower.note(), &topic.name);
        Self {
            follower,
            client,
            topic,
            stream,
            bounds,
            flight: Flight::default(),
            mark,
            known: None,
            is_searching: false,
            metrics,
            standing,
            holds: None,
            retry: FIRST_RETRY,
            trouble: Throttle::default(),
        }
    }

    /// Tells held writes that their messages are delivered.
    #[must_use]
    pub fn with_holds(self, holds: Option<Arc<Holds>>) -> Self {
        Self { holds, ..self }
    }

    /// What others may look at.
    #[must_use]
    pub fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.standing)
    }

    /// Writes messages until the follower is over. Blocks its thread.
    pub fn run(mut self, runtime: &Handle) {
        while self.find_topic(runtime) {
            self.recover();
            let producer = match self.producer() {
                Ok(producer) => producer,
                Err(error) => {
                    self.complain(KafkaFault::Other, &format!("{error:#}"));
                    if !self.pause(runtime) {
                        break;
                    }
                    continue;
                }
            };
            let end = self.produce(&producer, runtime);
            // What comes back now comes back because of the end, and is sent again or stays in the journal.
            for report in producer.close() {
                if report.failure.is_none() {
                    self.acknowledged(&report);
                }
            }
            match end {
                End::Over => break,
                End::Found => self.is_searching = false,
                End::Renew => {
                    self.metrics.renewals.inc();
                    if !self.pause(runtime) {
                        break;
                    }
                }
            }
        }
        self.end();
    }

    /// Waits until the topic is there. Returns false when it is time to end.
    fn find_topic(&mut self, runtime: &Handle) -> bool {
        loop {
            match runtime.block_on(self.topic.find(&self.client)) {
                Ok(found) => {
                    if let Some(limit) = found.max_message_bytes
                        && limit < self.bounds.message_bytes
                    {
                        self.shrink(limit.max(LEAST_MESSAGE));
                    }
                    return true;
                }
                Err(error) => {
                    let fault = match &error {
                        TopicError::Missing { .. } | TopicError::NotMade { .. } => {
                            KafkaFault::Topic
                        }
                        TopicError::Forbidden { .. } | TopicError::Login { .. } => {
                            KafkaFault::Refused
                        }
                        TopicError::Unreachable { .. } => KafkaFault::Unreachable,
                        TopicError::Other { .. } => KafkaFault::Other,
                    };
                    self.complain(fault, &error.to_string());
                }
            }
            if !self.pause(runtime) {
                return false;
            }
        }
    }

    /// Once, before anything is sent: looks for what a run before this one has sent and not noted.
    fn recover(&mut self) {
        if self.known.is_some() || !self.stream.names_exchanges() {
            return;
        }
        let known = match self.mark.recover(&self.client, self.stream.agent()) {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!(
                    topic = self.topic.name,
                    %error,
                    "cannot read the end of the topic; what was sent just before the last stop may come twice, with the same ids"
                );
                HashSet::new()
            }
        };
        if !known.is_empty() {
            tracing::info!(
                topic = self.topic.name,
                exchanges = known.len(),
                "found in the topic, though the cursor does not know them"
            );
        }
        self.known = Some(known);
        self.save();
    }

    fn producer(&self) -> anyhow::Result<Producer> {
        let mut config = self.client.producer_config();
        // Of a batch that is too large nobody knows which message made it so.
        let batch = config.get("batch.size").and_then(|size| size.parse().ok());
        let batch = batch
            .unwrap_or(DEFAULT_BATCH)
            .min(self.bounds.message_bytes);
        config.set("batch.size", batch.to_string());
        if self.bounds.message_bytes <= LEAST_MESSAGE || self.is_searching {
            config.set("batch.num.messages", "1");
        }
        Producer::new(&config, self.client.context(), &self.topic.name)
            .context("cannot make a producer of the configuration [kafka]")
    }

    /// Sends what is not acknowledged, and then what is read.
    fn produce(&mut self, producer: &Producer, runtime: &Handle) -> End {
        let numbers = self.flight.resend();
        for number in numbers {
            if let Err(end) = self.send(producer, number, runtime) {
                return end;
            }
        }
        loop {
            let more = match self.round(producer, runtime) {
                Ok(more) => more,
                Err(end) => return end,
            };
            if let Err(end) = self.look_after(producer) {
                return end;
            }
            if more {
                continue;
            }
            if self.is_searching && self.flight.is_empty() {
                return End::Found;
            }
            if self.is_over() {
                return End::Over;
            }
            self.wait(producer, runtime);
        }
    }

    /// Reads and sends as long as there is room. Returns whether there may be more.
    fn round(&mut self, producer: &Producer, runtime: &Handle) -> Result<bool, End> {
        for _ in 0..ROUND {
            if self.is_full() {
                return Ok(false);
            }
            let Some(entry) = self.follower.read() else {
                return Ok(false);
            };
            let place = self.follower.place();
            if let Some(position) = self.is_known(&entry) {
                self.follower.done(position, Fate::Delivered);
                continue;
            }
            let has_request = has_request(&entry);
            let Some(load) = self.stream.load(entry, place) else {
                continue;
            };
            self.count(load.carried);
            if load.messages.is_empty() {
                // The format has no way to say it.
                let reason = match has_request {
                    true => FilterReason::Other,
                    false => FilterReason::NoRequest,
                };
                self.finish(load.subject, Fate::Filtered(reason));
                continue;
            }
            let number = self.flight.add(load);
            self.send(producer, number, runtime)?;
        }
        Ok(true)
    }

    /// Whether nothing more may be read for now.
    const fn is_full(&self) -> bool {
        self.is_searching || self.flight.bytes() >= self.bounds.in_flight_bytes
    }

    fn count(&self, carried: Carried) {
        if carried == Carried::Cut {
            self.metrics.cut.inc();
        }
    }

    /// Where the exchange or pair stands that the topic has already. Each is asked for once.
    fn is_known(&mut self, entry: &Entry) -> Option<u64> {
        let known = self.known.as_mut().filter(|known| !known.is_empty())?;
        let position = match entry {
            Entry::Exchange(exchange) => exchange.position,
            Entry::Pair { place, .. } => place.position,
            _other => return None,
        };
        known.remove(&position).then_some(position)
    }

    /// Hands the messages of one subject to the producer, and waits while its queue is full.
    fn send(&mut self, producer: &Producer, number: u64, runtime: &Handle) -> Result<(), End> {
        let mut from = 0;
        loop {
            let Some(ticket) = self.flight.ticket(number) else {
                return Ok(());
            };
            let sent = producer.send(number, ticket, from);
            self.metrics.sent.inc_by((sent.upto - from) as u64);
            from = sent.upto;
            match sent.unsent {
                None => return Ok(()),
                Some(Unsent::Full) => {
                    self.metrics.faults.inc(KafkaFault::QueueFull);
                    self.look_after(producer)?;
                    if self.is_over() {
                        return Err(End::Over);
                    }
                    self.wait(producer, runtime);
                }
                Some(Unsent::Failed(failure)) => {
                    self.fail(&failure, Some(number));
                    return Err(End::Renew);
                }
            }
        }
    }

    /// Takes reports, and keeps the cursor and the account.
    fn look_after(&mut self, producer: &Producer) -> Result<(), End> {
        let is_broken = self.take(producer.reports());
        self.metrics
            .in_flight_bytes
            .set(i64::try_from(self.flight.bytes()).unwrap_or(i64::MAX));
        self.metrics
            .in_flight
            .set(i64::try_from(self.flight.messages()).unwrap_or(i64::MAX));
        self.metrics
            .up
            .set(i64::from(self.standing.trouble().is_none()));
        self.keep_account();
        if is_broken { Err(End::Renew) } else { Ok(()) }
    }

    fn keep_account(&mut self) {
        self.follower.publish();
        if self.follower.wants_saving() {
            self.save();
        }
    }

    fn save(&mut self) {
        let low = self.follower.low();
        let is_settled = self.known.as_mut().is_none_or(|known| {
            known.retain(|position| *position >= low);
            known.is_empty()
        });
        // Until the cursor knows what was found, the next start must find it again.
        if is_settled {
            self.mark.advance();
        }
        self.follower.annotate(self.mark.to_note());
        self.follower.save();
    }

    /// Returns whether one of them says that a message came back.
    fn take(&mut self, reports: Vec<Report>) -> bool {
        let mut first_failure: Option<(u64, Failure)> = None;
        let mut acknowledged = false;
        for report in reports {
            match report.failure {
                None => {
                    acknowledged = true;
                    self.acknowledged(&report);
                }
                Some(failure) => {
                    self.metrics.failed.inc();
                    // What follows from the end of the producer explains nothing.
                    let explains = !failure.is_consequence();
                    let known = first_failure.as_ref();
                    if known.is_none_or(|(_, known)| known.is_consequence() && explains) {
                        first_failure = Some((report.number, failure));
                    }
                }
            }
        }
        if acknowledged {
            self.retry = FIRST_RETRY;
            self.client.context().recovered();
        }
        if let Some((number, failure)) = &first_failure {
            self.fail(failure, Some(*number));
        }
        first_failure.is_some()
    }

    fn acknowledged(&mut self, report: &Report) {
        self.metrics.acknowledged.inc();
        self.metrics.acknowledged_bytes.inc_by(report.bytes as u64);
        self.mark.acknowledged(report.partition, report.offset);
        let Some(done) = self.flight.acknowledged(report.number) else {
            return;
        };
        self.metrics.latency.observe(done.sent.elapsed());
        self.finish(done.subject, Fate::Delivered);
    }

    fn finish(&mut self, subject: Subject, fate: Fate) {
        match subject {
            Subject::Exchange(position) => self.follower.done(position, fate),
            Subject::Request(end) => {
                if let (Fate::Delivered, Some(holds)) = (fate, &self.holds) {
                    holds.delivered(end);
                }
            }
            Subject::Gap => {}
        }
    }

    fn fail(&mut self, failure: &Failure, number: Option<u64>) {
        let fault = failure.fault();
        self.complain(fault, &failure.to_string());
        match fault {
            KafkaFault::Size => self.refused_size(number),
            KafkaFault::Invalid => self.refused_for_ever(failure, number),
            _other => {}
        }
    }

    /// The brokers are there and refuse a message for what it is: no time makes it another one. It is given up after some
    /// attempts, so that the others go on.
    fn refused_for_ever(&mut self, failure: &Failure, number: Option<u64>) {
        if !std::mem::replace(&mut self.is_searching, true) {
            // In a batch of many nobody knows which.
            return;
        }
        let Some(number) = number else {
            return;
        };
        if self.flight.refused(number) < REFUSALS {
            return;
        }
        let id = self.flight.ticket(number).and_then(|it| it.load.id());
        let id = id.map(|id| String::from_utf8_lossy(&id).into_owned());
        let Some(dropped) = self.flight.give_up(number) else {
            return;
        };
        tracing::error!(
            topic = self.topic.name,
            id,
            subject = ?dropped.subject,
            "lost: the brokers refused its message {REFUSALS} times: {failure}"
        );
        self.finish(dropped.subject, Fate::Dropped(DropReason::Invalid));
    }

    /// A broker takes less than the configuration says: everything goes again in smaller pieces. What is refused in
    /// the smallest ones is lost.
    fn refused_size(&mut self, number: Option<u64>) {
        if self.bounds.message_bytes > LEAST_MESSAGE {
            self.shrink((self.bounds.message_bytes / 2).max(LEAST_MESSAGE));
            return;
        }
        let Some(dropped) = number.and_then(|number| self.flight.give_up(number)) else {
            return;
        };
        tracing::error!(
            topic = self.topic.name,
            subject = ?dropped.subject,
            "lost: the brokers refuse its size even in parts of {LEAST_MESSAGE} bytes; raise max.message.bytes of the topic"
        );
        self.finish(dropped.subject, Fate::Dropped(DropReason::TooLarge));
    }

    fn shrink(&mut self, limit: usize) {
        tracing::warn!(
            topic = self.topic.name,
            before = self.bounds.message_bytes,
            now = limit,
            "the topic takes smaller messages than kafka.message_max_bytes says; larger exchanges go in parts"
        );
        self.bounds.message_bytes = limit;
        self.stream.limit(limit);
        self.flight.split_again(limit);
    }

    fn complain(&self, fault: KafkaFault, what: &str) {
        self.metrics.faults.inc(fault);
        self.metrics.up.set(0);
        self.client.context().remember(what.to_owned());
        if let Some(suppressed) = self.trouble.admit() {
            tracing::error!(
                topic = self.topic.name,
                suppressed,
                "not delivered to kafka: {what}; trying again, the journal keeps it"
            );
        }
    }

    /// Waits for a while after a failure, longer each time. Returns false when it is time to end.
    fn pause(&mut self, runtime: &Handle) -> bool {
        let end = Instant::now() + self.retry;
        self.retry = (self.retry * 2).min(LAST_RETRY);
        loop {
            self.keep_account();
            // A shutdown does not wait for a Kafka that is not there.
            if self.follower.is_over(true) {
                return false;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            let step = left.min(IDLE);
            runtime.block_on(async { tokio::time::sleep(step).await });
        }
    }

    fn is_over(&self) -> bool {
        let is_idle = self.flight.is_empty() || self.standing.trouble().is_some();
        if self.follower.is_over(is_idle) {
            return true;
        }
        let deadline = self.follower.deadline();
        deadline.is_some_and(|deadline| Instant::now() + SAVING >= deadline)
    }

    fn wait(&self, producer: &Producer, runtime: &Handle) {
        let reported = producer.reported();
        if !self.is_full() {
            self.follower.wait_or(runtime, IDLE, PAUSE, reported);
        } else {
            // More to read is of no interest now.
            drop(runtime.block_on(async { tokio::time::timeout(IDLE, reported).await }));
        }
    }

    fn end(mut self) {
        self.save();
        if !self.flight.is_empty() {
            tracing::info!(
                topic = self.topic.name,
                messages = self.flight.messages(),
                "not acknowledged by kafka yet; they stay in the journal for the next start"
            );
        }
    }
}

/// librdkafka's own `batch.size`.
const DEFAULT_BATCH: usize = 1_000_000;

/// What only has a response has no place in a stream of requests.
const fn has_request(entry: &Entry) -> bool {
    match entry {
        Entry::Exchange(exchange) => exchange.request.is_some(),
        _other => true,
    }
}

impl Failure {
    fn fault(&self) -> KafkaFault {
        use RDKafkaErrorCode as Code;
        match self.code {
            Code::MessageSizeTooLarge | Code::InvalidMessageSize => KafkaFault::Size,
            // Not among them is what concerns all messages, such as rights: an operator can mend that.
            Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::UnsupportedForMessageFormat
            | Code::PolicyViolation => KafkaFault::Invalid,
            Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::InvalidTopic => KafkaFault::Topic,
            Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::Authentication
            | Code::SaslAuthenticationFailed => KafkaFault::Refused,
            Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::MessageTimedOut
            | Code::RequestTimedOut
            | Code::OperationTimedOut => KafkaFault::Unreachable,
            Code::Fatal
            | Code::GaplessGuarantee
            | Code::OutOfOrderSequenceNumber
            | Code::UnknownProducerId
            | Code::InvalidProducerEpoch => KafkaFault::Sequence,
            _other => KafkaFault::Other,
        }
    }
}
