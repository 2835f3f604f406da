//! A consumer in a group. What the group wants of it is only written down, and done by the worker when it is ready: a
//! partition is not given back in the middle of what was begun.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rdkafka::TopicPartitionList;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;

use super::Options;
use crate::offload::client::{Client, Context};

/// Defaults that differ from librdkafka's; properties of the user win.
const DEFAULTS: &[(&str, &str)] = &[
    ("partition.assignment.strategy", "cooperative-sticky"),
    // A process that was killed is in the way for so long. Brokers take no less than 6 s.
    ("session.timeout.ms", "10000"),
    ("heartbeat.interval.ms", "2000"),
    ("auto.offset.reset", "earliest"),
    ("queued.max.messages.kbytes", "32768"),
];
/// What this module relies on.
const FIXED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
];

pub(super) type Consumer = BaseConsumer<GroupContext>;

/// What the group wants.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    Assign(TopicPartitionList),
    Revoke(TopicPartitionList),
}

/// The context of every client of ours, and what the group wants.
#[derive(Clone)]
pub(super) struct GroupContext {
    inner: Context,
    wishes: Arc<Mutex<VecDeque<Wish>>>,
    /// The consumer is on its way out: nobody will do what the group wants.
    is_closing: Arc<AtomicBool>,
    commits: Arc<Mutex<Commits>>,
}

/// What became of commits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Commits {
    /// Sent, and not answered.
    pub(super) pending: u32,
    /// One failed since we asked last.
    pub(super) failed: bool,
    /// The broker takes less metadata.
    pub(super) too_large: bool,
}

impl GroupContext {
    pub(super) fn new(inner: Context) -> Self {
        Self {
            inner,
            wishes: Arc::default(),
            is_closing: Arc::default(),
            commits: Arc::default(),
        }
    }

    pub(super) fn next_wish(&self) -> Option<Wish> {
        self.wishes.lock().pop_front()
    }

    /// To be done later.
    pub(super) fn put_back(&self, wish: Wish) {
        self.wishes.lock().push_front(wish);
    }

    pub(super) fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    pub(super) fn commit_sent(&self) {
        let mut commits = self.commits.lock();
        commits.pending = commits.pending.saturating_add(1);
    }

    /// What became of commits since we asked last.
    pub(super) fn commits(&self) -> Commits {
        let mut commits = self.commits.lock();
        let now = *commits;
        commits.failed = false;
        commits.too_large = false;
        now
    }

    pub(super) const fn client(&self) -> &Context {
        &self.inner
    }
}

impl ClientContext for GroupContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = Context::ENABLE_REFRESH_OAUTH_TOKEN;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.inner.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // Asked for, and no error.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        self.inner.error(error, reason);
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.inner.generate_oauth_token(config)
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let is_assignment = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.is_closing.load(Ordering::Relaxed) {
            if !is_assignment && let Err(error) = give_back(consumer, partitions) {
                tracing::debug!(%error, "partitions were not given back at the end");
            }
            return;
        }
        let partitions = partitions.clone();
        self.wishes.lock().push_back(match is_assignment {
            true => Wish::Assign(partitions),
            false => Wish::Revoke(partitions),
        });
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        let mut commits = self.commits.lock();
        commits.pending = commits.pending.saturating_sub(1);
        match result {
            Ok(()) => self.inner.recovered(),
            Err(error) => {
                commits.failed = true;
                let code = error.rdkafka_error_code();
                commits.too_large |= code == Some(RDKafkaErrorCode::OffsetMetadataTooLarge);
                tracing::debug!(%error, "a commit failed; it is said again");
            }
        }
    }
}

/// A consumer that is in no group yet.
pub(super) fn consumer(options: &Options) -> anyhow::Result<Consumer> {
    let client = Client::new(&options.kafka)?;
    let mut config = client.config();
    for (name, value) in &options.place.properties {
        config.set(name, value);
    }
    for (name, value) in DEFAULTS {
        if config.get(name).is_none() {
            config.set(*name, *value);
        }
    }
    for (name, value) in FIXED {
        config.set(*name, *value);
    }
    config.set("group.id", &options.group);
    Ok(config.create_with_context(GroupContext::new(client.context()))?)
}

/// Begins to read partitions.
pub(super) fn take(consumer: &Consumer, partitions: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
        _ => consumer.assign(partitions),
    }
}

/// Stops reading partitions.
pub(super) fn give_back(consumer: &Consumer, partitions: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
        _ => consumer.unassign(),
    }
}

/// Whether a commit that failed so may succeed a little later, with the same membership.
pub(super) fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let codes = [
        Code::RebalanceInProgress,
        Code::CoordinatorLoadInProgress,
        Code::CoordinatorNotAvailable,
        Code::NotCoordinator,
        Code::BrokerTransportFailure,
        Code::RequestTimedOut,
        Code::WaitingForCoordinator,
        Code::OffsetMetadataTooLarge,
    ];
    error
        .rdkafka_error_code()
        .is_some_and(|code| codes.contains(&code))
}

/// Whether it is of no use to go on.
pub(super) fn is_final(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let codes = [
        Code::TopicAuthorizationFailed,
        Code::GroupAuthorizationFailed,
        Code::ClusterAuthorizationFailed,
        Code::SaslAuthenticationFailed,
        Code::Authentication,
        Code::InconsistentGroupProtocol,
        Code::InvalidGroupId,
        Code::InvalidSessionTimeout,
        Code::Fatal,
    ];
    error
        .rdkafka_error_code()
        .is_some_and(|code| codes.contains(&code))
}
