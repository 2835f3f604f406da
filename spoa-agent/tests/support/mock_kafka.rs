//! librdkafka's mock of a Kafka cluster, in the test's own process, and a reader of what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use exchange::message::{Bounds, Incoming, Reader, Told};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::PATIENCE;

pub(crate) const TOPIC: &str = "captured-traffic";
pub(crate) const PARTITIONS: i32 = 4;

/// A cluster of three brokers.
pub(crate) struct MockKafka {
    pub(crate) cluster: MockCluster<'static, DefaultProducerContext>,
}

/// A message as it is in a topic.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) value: Vec<u8>,
}

impl MockKafka {
    /// One with the topic.
    pub(crate) fn start() -> Self {
        let kafka = Self::empty();
        kafka.make(TOPIC);
        kafka
    }

    /// One without a topic.
    pub(crate) fn empty() -> Self {
        Self {
            cluster: MockCluster::new(3).unwrap(),
        }
    }

    pub(crate) fn make(&self, topic: &str) {
        self.cluster.create_topic(topic, PARTITIONS, 3).unwrap();
    }

    pub(crate) fn brokers(&self) -> Vec<toml::Value> {
        let brokers = self.cluster.bootstrap_servers();
        brokers.split(',').map(toml::Value::from).collect()
    }

    /// Everything that is in the topic, partition by partition.
    pub(crate) fn stored(&self, topic: &str) -> Vec<Stored> {
        stored(&self.cluster.bootstrap_servers(), topic)
    }

    /// What a reader makes of the topic.
    pub(crate) fn told(&self, topic: &str) -> Vec<Told> {
        told(&self.cluster.bootstrap_servers(), topic)
    }

    /// How often each exchange is in the topic, by its id.
    pub(crate) fn exchanges(&self) -> BTreeMap<String, usize> {
        exchanges(&self.cluster.bootstrap_servers(), TOPIC)
    }
}

/// Everything that is in a topic of [`PARTITIONS`] at these brokers, partition by partition.
pub(crate) fn stored(brokers: &str, topic: &str) -> Vec<Stored> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("check.crcs", "true")
        .create()
        .unwrap();
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&all).unwrap();
    let (mut stored, mut ended) = (Vec::new(), BTreeSet::new());
    let end = Instant::now() + PATIENCE;
    while ended.len() < usize::try_from(PARTITIONS).unwrap() {
        assert!(Instant::now() < end, "{topic} cannot be read");
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(message)) => {
                let headers = message.headers().map(|headers| {
                    let text =
                        |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
                    headers
                        .iter()
                        .map(|header| (header.key.to_owned(), text(header.value)))
                        .collect()
                });
                stored.push(Stored {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: String::from_utf8(message.key().unwrap().to_vec()).unwrap(),
                    headers: headers.unwrap_or_default(),
                    value: message.payload().unwrap().to_vec(),
                });
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ended.insert(partition);
            }
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::BrokerTransportFailure) => {}
                _ => panic!("{topic}: {error}"),
            },
        }
    }
    stored
}

/// What a reader makes of the topic.
pub(crate) fn told(brokers: &str, topic: &str) -> Vec<Told> {
    let mut reader = Reader::new(Bounds::default());
    let mut told = Vec::new();
    for stored in stored(brokers, topic) {
        let headers = stored.headers.iter();
        let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
        let incoming = Incoming {
            partition: stored.partition,
            offset: stored.offset,
            time_us: 0,
            headers,
            value: stored.value.clone().into(),
        };
        reader.push(incoming, &mut told);
    }
    told
}

/// How often each exchange is in the topic, by its id.
pub(crate) fn exchanges(brokers: &str, topic: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for told in told(brokers, topic) {
        match told {
            Told::Exchange { exchange, .. } => {
                let id = String::from_utf8(exchange.id().unwrap().to_vec()).unwrap();
                *counts.entry(id).or_default() += 1;
            }
            Told::Unreadable { why, .. } => panic!("{why}"),
            Told::Request { .. } | Told::Pair { .. } | Told::Gap { .. } => {}
        }
    }
    counts
}
