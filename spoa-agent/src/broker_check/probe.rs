//! Messages that are sent to the topic and read again.
//!
//! They are of kind `probe` (header `kind`), which readers of the topic pass over. Nothing can take them out of it again but its
//! retention, so they are only sent when that is wished.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use super::cluster::{Ears, denial, impatient};
use super::seen::{Denial, Probe};
use crate::offload::client::Client;

/// Header `kind`.
const KIND: &str = "probe";
/// Header `schema`.
const SCHEMA: &str = "spoa-agent.probe.v1+json";

/// Sends one message to each partition, then `count` more one after the other, and reads all of them.
pub(super) async fn probe(
    client: &Client,
    topic: &str,
    partitions: &[i32],
    count: usize,
    patience: Duration,
) -> Probe {
    let mut sender = match Sender::new(client, topic, patience) {
        Ok(sender) => sender,
        Err(error) => {
            return Probe {
                refused: vec![(-1, denial(&error))],
                ..Probe::default()
            };
        }
    };
    // The first message also makes connections, which is no part of a round trip.
    for &partition in partitions {
        sender.send(partition).await;
    }
    let usable: Vec<i32> = sender.first.keys().copied().collect();
    sender.round_trips.clear();
    for &partition in usable.iter().cycle().take(count) {
        sender.send(partition).await;
    }
    let mut probe = Probe {
        sent: sender.sent.len(),
        refused: sender.refused,
        round_trips: sender.round_trips,
        read: None,
    };
    if probe.sent > 0 {
        let mut config = impatient(client.config(), patience);
        // librdkafka wants a name, though nothing is joined and nothing committed.
        config
            .set("group.id", "spoa-agent-kafka-check")
            .set("enable.auto.commit", "false");
        let (ears, topic) = (Ears::of(client), topic.to_owned());
        let (first, sent) = (sender.first, sender.sent);
        let work = move || read(&config, ears, &topic, &first, sent, patience);
        probe.read = tokio::task::spawn_blocking(work).await.ok();
    }
    probe
}

struct Sender<'a> {
    producer: FutureProducer<Ears>,
    topic: &'a str,
    patience: Duration,
    /// What tells our messages from those of another check.
    run: String,
    /// Offset of the first message in each partition.
    first: BTreeMap<i32, i64>,
    sent: BTreeSet<String>,
    refused: Vec<(i32, Denial)>,
    round_trips: Vec<Duration>,
}

impl<'a> Sender<'a> {
    fn new(client: &Client, topic: &'a str, patience: Duration) -> Result<Self, KafkaError> {
        let mut config = impatient(client.producer_config(), patience);
        config
            .set("message.timeout.ms", patience.as_millis().to_string())
            .set("linger.ms", "0");
        Ok(Self {
            producer: FutureProducer::from_config_and_context(&config, Ears::of(client))?,
            topic,
            patience,
            run: format!("{}-{}", std::process::id(), now().as_micros()),
            first: BTreeMap::new(),
            sent: BTreeSet::new(),
            refused: Vec::new(),
            round_trips: Vec::new(),
        })
    }

    async fn send(&mut self, partition: i32) {
        let id = format!("probe-{}-{}", self.run, self.sent.len());
        let time = now().as_micros().to_string();
        let headers = [
            ("kind", KIND),
            ("schema", SCHEMA),
            ("id", &id),
            ("time", &time),
        ]
        .into_iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| {
            let value = Some(value);
            headers.insert(Header { key, value })
        });
        let value = format!("{{\"probe\":\"{id}\"}}");
        let record = FutureRecord::<str, str>::to(self.topic)
            .partition(partition)
            .headers(headers)
            .payload(&value);
        let began = Instant::now();
        match self.producer.send(record, self.patience).await {
            Ok(delivered) => {
                self.round_trips.push(began.elapsed());
                self.first.entry(partition).or_insert(delivered.offset);
                self.sent.insert(id);
            }
            Err((error, _message)) => {
                // Of an idempotent producer that has given up, the reason says more.
                let fatal = self.producer.client().fatal_error();
                let refusal = match fatal {
                    Some((code, said)) => Denial {
                        is_about_rights: super::cluster::denied(code).is_about_rights,
                        said,
                    },
                    None => denial(&error),
                };
                self.refused.push((partition, refusal));
            }
        }
    }
}

/// How many of the messages are there. It belongs to no group, so that it disturbs none.
fn read(
    config: &ClientConfig,
    ears: Ears,
    topic: &str,
    first: &BTreeMap<i32, i64>,
    mut missing: BTreeSet<String>,
    patience: Duration,
) -> Result<usize, Denial> {
    let wrong = |error: KafkaError| denial(&error);
    let consumer = BaseConsumer::from_config_and_context(config, ears).map_err(wrong)?;
    let mut wanted = TopicPartitionList::new();
    for (&partition, &offset) in first {
        wanted
            .add_partition_offset(topic, partition, Offset::Offset(offset))
            .map_err(wrong)?;
    }
    consumer.assign(&wanted).map_err(wrong)?;
    let (sent, end) = (missing.len(), Instant::now() + patience);
    while !missing.is_empty() && Instant::now() < end {
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(message)) => {
                let value = message.payload().unwrap_or_default();
                missing.retain(|id| value != format!("{{\"probe\":\"{id}\"}}").as_bytes());
            }
            Some(Err(error)) => {
                // What concerns the group does not keep anybody from reading.
                let code = error.rdkafka_error_code();
                if code == Some(RDKafkaErrorCode::TopicAuthorizationFailed) {
                    return Err(denial(&error));
                }
            }
        }
    }
    Ok(sent.saturating_sub(missing.len()))
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
