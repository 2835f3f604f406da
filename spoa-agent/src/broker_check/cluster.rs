//! What brokers tell to the client that the agent uses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::statistics::Statistics;

use super::address::Address;
use super::seen::{Broker, Cluster, Denial, Partition, TopicState, Trouble};
use crate::offload::client::{Client, Context};

/// Keeps what librdkafka says is wrong, in place of a log.
#[derive(Clone)]
pub(super) struct Ears {
    context: Context,
    heard: Arc<Mutex<Vec<Heard>>>,
    learnt: Arc<Mutex<Vec<Broker>>>,
}

#[derive(Clone, Debug)]
struct Heard {
    code: Option<RDKafkaErrorCode>,
    said: String,
}

impl Ears {
    pub(super) fn of(client: &Client) -> Self {
        Self {
            context: client.context(),
            heard: Arc::default(),
            learnt: Arc::default(),
        }
    }

    /// Brokers that librdkafka has learnt of, as far as its statistics were asked for.
    fn brokers(&self) -> Vec<Broker> {
        self.learnt.lock().clone()
    }

    fn login_failure(&self) -> Option<String> {
        let heard = self.heard.lock();
        let is_login = |one: &&Heard| one.code.is_some_and(is_about_login);
        heard.iter().find(is_login).map(|one| one.said.clone())
    }

    /// The first that says more than that all brokers are down.
    fn anything(&self) -> Option<String> {
        let heard = self.heard.lock();
        let says_more = |one: &&Heard| one.code != Some(RDKafkaErrorCode::AllBrokersDown);
        let found = heard.iter().find(says_more).or_else(|| heard.first());
        found.map(|one| one.said.clone())
    }
}

impl ClientContext for Ears {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = Context::ENABLE_REFRESH_OAUTH_TOKEN;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, "{line}");
    }

    fn stats(&self, statistics: Statistics) {
        let brokers = statistics.brokers.into_values();
        let learnt = brokers.filter(|broker| broker.nodeid >= 0 && broker.source == "learned");
        let learnt = learnt.filter_map(|broker| {
            Some(Broker {
                id: broker.nodeid,
                address: broker.nodename.parse().ok()?,
            })
        });
        *self.learnt.lock() = sorted(learnt.collect());
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.heard.lock().push(Heard {
            code: error.rdkafka_error_code(),
            said: reason.to_owned(),
        });
    }

    fn generate_oauth_token(
        &self,
        config: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let token = self.context.generate_oauth_token(config);
        if let Err(error) = &token {
            self.heard.lock().push(Heard {
                code: Some(RDKafkaErrorCode::Authentication),
                said: error.to_string(),
            });
        }
        token
    }
}

impl ConsumerContext for Ears {}

/// The properties of the client, with its patience cut to what a check has.
pub(super) fn impatient(mut config: ClientConfig, patience: Duration) -> ClientConfig {
    let patience = patience.as_millis().max(1000).to_string();
    config
        .set("socket.connection.setup.timeout.ms", &patience)
        .set("socket.timeout.ms", &patience)
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "500");
    config
}

/// Asks on this address alone what the brokers are. Blocks for two steps' patience at most.
///
/// librdkafka leaves the address that it was given as soon as it has learnt the brokers, so that a request of ours would
/// go to where they say they are, and fail there. Its statistics tell what it has learnt.
pub(super) fn ask(
    client: &Client,
    bootstrap: &Address,
    topic: &str,
    patience: Duration,
) -> Result<Cluster, Trouble> {
    let ears = Ears::of(client);
    let mut config = impatient(client.config(), patience);
    config
        .set("bootstrap.servers", bootstrap.to_string())
        .set("statistics.interval.ms", "100")
        .set("allow.auto.create.topics", "false");
    let other = |error: KafkaError| Trouble::Other(error.to_string());
    let consumer = BaseConsumer::from_config_and_context(&config, ears.clone()).map_err(other)?;
    let end = Instant::now() + patience.saturating_mul(2);
    loop {
        // Makes it connect, and serves what it has to say. Without a topic it would list all.
        let asked = consumer.fetch_metadata(Some(topic), Duration::from_millis(100));
        for _ in 0..8 {
            drop(consumer.poll(Duration::from_millis(10)));
        }
        let brokers = match asked {
            Ok(metadata) => brokers(&metadata),
            Err(_elsewhere) => ears.brokers(),
        };
        if !brokers.is_empty() {
            let id = consumer
                .client()
                .fetch_cluster_id(Duration::from_millis(500));
            return Ok(Cluster { id, brokers });
        }
        if let Some(said) = ears.login_failure() {
            return Err(Trouble::Login(said));
        }
        if Instant::now() > end {
            let said = ears.anything().unwrap_or_else(|| "no answer".to_owned());
            return Err(Trouble::Other(said));
        }
    }
}

fn brokers(metadata: &Metadata) -> Vec<Broker> {
    let brokers = metadata.brokers().iter().map(|broker| Broker {
        id: broker.id(),
        address: Address {
            host: broker.host().to_owned(),
            port: u16::try_from(broker.port()).unwrap_or(0),
        },
    });
    sorted(brokers.collect())
}

fn sorted(mut brokers: Vec<Broker>) -> Vec<Broker> {
    brokers.sort_by_key(|broker| broker.id);
    brokers
}

/// What the topic is. Blocks for a step's patience.
pub(super) fn topic(client: &Client, topic: &str, patience: Duration) -> TopicState {
    let mut config = impatient(client.config(), patience);
    config.set("allow.auto.create.topics", "false");
    let consumer = BaseConsumer::from_config_and_context(&config, Ears::of(client));
    let asked = consumer.and_then(|consumer| {
        let end = Instant::now() + patience;
        loop {
            // Serves the token of a login, if it has one.
            drop(consumer.poll(Duration::from_millis(20)));
            match consumer.fetch_metadata(Some(topic), Duration::from_millis(500)) {
                Err(_not_yet) if Instant::now() < end => {}
                asked => return asked,
            }
        }
    });
    match asked {
        Err(error) => TopicState::Other(error.to_string()),
        Ok(metadata) => {
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            found.map_or(TopicState::Missing, state)
        }
    }
}

fn state(topic: &MetadataTopic) -> TopicState {
    match topic.error().map(RDKafkaErrorCode::from) {
        None => TopicState::There(topic.partitions().iter().map(partition).collect()),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            TopicState::Missing
        }
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => TopicState::Denied,
        Some(other) => TopicState::Other(other.to_string()),
    }
}

fn partition(partition: &rdkafka::metadata::MetadataPartition) -> Partition {
    Partition {
        id: partition.id(),
        leader: Some(partition.leader()).filter(|leader| *leader >= 0),
        replicas: partition.replicas().len(),
        in_sync: partition.isr().len(),
    }
}

/// Settings and rights, which any broker tells.
pub(super) struct Admin {
    client: AdminClient<Ears>,
    options: AdminOptions,
}

impl Admin {
    pub(super) fn new(client: &Client, patience: Duration) -> Result<Self, KafkaError> {
        let config = impatient(client.config(), patience);
        let options = AdminOptions::new()
            .request_timeout(Some(patience))
            .operation_timeout(Some(patience));
        Ok(Self {
            client: AdminClient::from_config_and_context(&config, Ears::of(client))?,
            options,
        })
    }

    /// The settings of a topic that is there.
    pub(super) async fn settings(&self, topic: &str) -> Result<BTreeMap<String, String>, Denial> {
        let asked = [ResourceSpecifier::Topic(topic)];
        let answered = self.client.describe_configs(&asked, &self.options).await;
        let mut answered = answered.map_err(|error| denial(&error))?;
        let resource = answered.pop().ok_or_else(no_answer)?;
        let resource = resource.map_err(denied)?;
        let entries = resource.entries.into_iter();
        let settings: BTreeMap<String, String> = entries
            .filter_map(|entry| Some((entry.name, entry.value?)))
            .collect();
        // A refusal for one topic is an empty answer here.
        if settings.is_empty() {
            return Err(denied(RDKafkaErrorCode::TopicAuthorizationFailed));
        }
        Ok(settings)
    }

    /// Whether the topic could be made; makes nothing.
    pub(super) async fn creatable(
        mut self,
        topic: &str,
        partitions: usize,
        replication: usize,
    ) -> Result<(), Denial> {
        let or_default = |count: usize| match i32::try_from(count) {
            Ok(0) | Err(_) => -1,
            Ok(count) => count,
        };
        let replication = TopicReplication::Fixed(or_default(replication));
        let topic = NewTopic::new(topic, or_default(partitions), replication);
        self.options = self.options.validate_only(true);
        let answered = self.client.create_topics([&topic], &self.options).await;
        let mut answered = answered.map_err(|error| denial(&error))?;
        match answered.pop() {
            Some(Ok(_topic)) => Ok(()),
            Some(Err((_topic, code))) => Err(denied(code)),
            None => Err(no_answer()),
        }
    }
}

pub(super) fn denial(error: &KafkaError) -> Denial {
    error.rdkafka_error_code().map_or_else(
        || Denial {
            is_about_rights: false,
            said: error.to_string(),
        },
        denied,
    )
}

pub(super) fn denied(code: RDKafkaErrorCode) -> Denial {
    Denial {
        is_about_rights: is_about_rights(code),
        said: code.to_string(),
    }
}

fn no_answer() -> Denial {
    Denial {
        is_about_rights: false,
        said: "the broker answered nothing".to_owned(),
    }
}

fn is_about_rights(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
    )
}

fn is_about_login(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::UnsupportedSASLMechanism
            | RDKafkaErrorCode::IllegalSASLState
    )
}
