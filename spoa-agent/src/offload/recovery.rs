//! What Kafka has already, though the cursor does not know it: found in the topic after a kill, so that it is not
//! sent again.
//!
//! The cursor keeps, for each partition, the offset after the last message that was acknowledged when it was saved.
//! What was acknowledged later, or was on its way, stands behind that. To read it needs the right to read the topic and
//! a moment; without either, up to half a second of messages comes twice, with the same ids.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use exchange::message::{Kind, header};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use super::client::{Client, Context};

/// How long it may take in all. Others may have written much to the topic meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);
const GROUP: &str = "spoa-agent-recovery";
const STEP: Duration = Duration::from_millis(100);

/// How far a topic was written when the cursor was saved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    topic: String,
    /// The offset after the last message that was acknowledged, by partition.
    next: BTreeMap<i32, i64>,
    /// The same, of messages that the cursor may not know yet.
    #[serde(skip)]
    ahead: BTreeMap<i32, i64>,
}

impl Mark {
    /// What was kept with the cursor. Nothing, when it is of another topic.
    #[must_use]
    pub fn read(note: &[u8], topic: &str) -> Self {
        let mark = serde_json::from_slice(note).unwrap_or_default();
        match mark {
            Self { topic: ref of, .. } if of == topic => mark,
            _other => Self {
                topic: topic.to_owned(),
                ..Self::default()
            },
        }
    }

    /// What to keep with the cursor.
    #[must_use]
    pub fn to_note(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// A message is acknowledged.
    pub fn acknowledged(&mut self, partition: i32, offset: i64) {
        let next = self.ahead.entry(partition).or_default();
        *next = (*next).max(offset.saturating_add(1));
    }

    /// The cursor that is saved next knows all that was acknowledged, and all that was found.
    pub fn advance(&mut self) {
        for (partition, ahead) in std::mem::take(&mut self.ahead) {
            let next = self.next.entry(partition).or_default();
            *next = (*next).max(ahead);
        }
    }

    /// Finds what this agent has written since, by the positions of the exchanges. After the next
    /// [`Mark::advance`] the mark knows all partitions.
    ///
    /// # Errors
    /// When the topic cannot be read in time. The mark is then as it was.
    pub fn recover(&mut self, client: &Client, agent: &str) -> Result<HashSet<u64>, KafkaError> {
        let deadline = Instant::now() + PATIENCE;
        let mut config = client.config();
        config
            // Without one librdkafka reads nothing; nothing is committed, and no right to the group is needed.
            .set("group.id", GROUP)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("allow.auto.create.topics", "false")
            .set("auto.offset.reset", "earliest");
        let consumer: BaseConsumer<Context> = config.create_with_context(client.context())?;
        client.let_in(&consumer);
        let ends = ends(&consumer, &self.topic)?;
        let mut found = Found::default();
        let mut open = self.begin(&consumer, &ends)?;
        while !open.is_empty() {
            if Instant::now() >= deadline {
                return Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::OperationTimedOut,
                ));
            }
            match consumer.poll(STEP) {
                None => {}
                Some(Ok(message)) => {
                    found.take(&message, agent);
                    let end = open.get(&message.partition());
                    if end.is_some_and(|end| message.offset() + 1 >= *end) {
                        open.remove(&message.partition());
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.remove(&partition);
                }
                Some(Err(error)) if is_passing(&error) => {}
                Some(Err(error)) => return Err(error),
            }
        }
        for (partition, end) in ends {
            self.acknowledged(partition, end.saturating_sub(1));
        }
        Ok(found.whole)
    }

    /// Lets the consumer read from the mark on. Returns the ends of the partitions in which there is more.
    fn begin(
        &self,
        consumer: &BaseConsumer<Context>,
        ends: &HashMap<i32, i64>,
    ) -> KafkaResult<HashMap<i32, i64>> {
        let mut places = TopicPartitionList::new();
        let mut open = HashMap::new();
        for (partition, end) in ends {
            // A partition without a mark had no message of ours before the first mark of all was made.
            let Some(next) = self.next.get(partition).filter(|next| *next < end) else {
                continue;
            };
            places.add_partition_offset(&self.topic, *partition, Offset::Offset(*next))?;
            open.insert(*partition, *end);
        }
        if !open.is_empty() {
            consumer.assign(&places)?;
        }
        Ok(open)
    }
}

/// Whether reading may go on all the same.
fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::GroupAuthorizationFailed
                | Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::NotLeaderForPartition
        )
    )
}

/// The end of each partition.
fn ends(consumer: &BaseConsumer<Context>, topic: &str) -> KafkaResult<HashMap<i32, i64>> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let topics = metadata
        .topics()
        .iter()
        .filter(|known| known.name() == topic);
    let partitions = topics.flat_map(|topic| topic.partitions().iter().map(|it| it.id()));
    let mut ends = HashMap::new();
    for partition in partitions {
        let (_low, high) = consumer.fetch_watermarks(topic, partition, PATIENCE)?;
        ends.insert(partition, high);
    }
    Ok(ends)
}

#[derive(Debug, Default)]
struct Found {
    whole: HashSet<u64>,
    /// Of what is in parts: those that were seen.
    parts: HashMap<u64, HashSet<u64>>,
}

impl Found {
    fn take(&mut self, message: &BorrowedMessage<'_>, agent: &str) {
        let Some(headers) = message.headers() else {
            return;
        };
        let text = |name: &str| {
            let found = headers.iter().find(|header| header.key == name)?;
            std::str::from_utf8(found.value?).ok()
        };
        let is_ours = text(header::AGENT) == Some(agent);
        let kind = text(header::KIND);
        let is_done = [Kind::Exchange, Kind::Pair].map(|kind| Some(kind.as_str()));
        let begun = text(header::BEGUN).and_then(|begun| begun.parse().ok());
        let (true, true, Some(begun)) = (is_ours, is_done.contains(&kind), begun) else {
            return;
        };
        match text(header::PART).and_then(|part| part.split_once('/')) {
            None => {
                self.whole.insert(begun);
            }
            Some((number, total)) => self.part(begun, number.parse().ok(), total.parse().ok()),
        }
    }

    fn part(&mut self, begun: u64, number: Option<u64>, total: Option<u64>) {
        let (Some(number), Some(total)) = (number, total) else {
            return;
        };
        let seen = self.parts.entry(begun).or_default();
        seen.insert(number);
        if seen.len() as u64 == total {
            self.parts.remove(&begun);
            self.whole.insert(begun);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_and_one_of_another_topic_says_nothing() {
        let mut mark = Mark::read(b"", "t");
        mark.acknowledged(3, 41);
        mark.acknowledged(3, 40);
        assert!(Mark::read(&mark.to_note(), "t").next.is_empty());
        mark.advance();
        assert_eq!(Mark::read(&mark.to_note(), "t"), mark);
        assert_eq!(mark.next[&3], 42);
        assert!(Mark::read(&mark.to_note(), "other").next.is_empty());
        assert!(Mark::read(b"\xff{", "t").next.is_empty());
    }

    #[test]
    fn what_is_in_parts_is_there_when_all_of_them_are() {
        let mut found = Found::default();
        found.part(7, Some(1), Some(2));
        found.part(7, Some(1), Some(2));
        assert!(found.whole.is_empty());
        found.part(7, Some(2), Some(2));
        assert!(found.whole.contains(&7) && found.parts.is_empty());
    }
}
