//! Reads a topic without a group: nothing is committed, and nobody else reads less.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use exchange::message::{Bounds, Reader, Told};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::group::{self, Consumer, GroupContext};
use super::worker::{Taken, first_offsets_since, partitions};
use super::{ANSWER, Place};
use crate::config;
use crate::offload::client::Client;

/// Longest wait for a message.
const POLL: Duration = Duration::from_millis(50);

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest message.
    Oldest,
    /// At the first message that was written at this time or later, in Unix microseconds.
    Since(u64),
    /// So many messages before the end of each partition.
    Back(u64),
}

/// What a look gives.
#[derive(Debug)]
pub enum Looked {
    /// A value.
    Told(Box<Told>),
    /// All that is there was given; more may come.
    Waiting,
}

/// Reads all partitions.
pub struct Look {
    consumer: Consumer,
    reader: Reader,
    told: VecDeque<Told>,
    /// For each partition, whether all that is there was read.
    is_at_end: BTreeMap<i32, bool>,
    is_whole: bool,
}

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Look")
            .field("is_at_end", &self.is_at_end)
            .finish_non_exhaustive()
    }
}

impl Look {
    /// Begins to read.
    ///
    /// # Errors
    /// When the brokers do not answer, or do not know the topic.
    pub fn open(kafka: &config::Kafka, place: &Place, start: Start) -> anyhow::Result<Self> {
        let client = Client::new(kafka)?;
        let mut config = client.config();
        for (name, value) in &place.properties {
            config.set(name, value);
        }
        config
            // librdkafka wants a name, though there is no group.
            .set("group.id", "spoa-agent-look")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest");
        let consumer: Consumer = config.create_with_context(GroupContext::new(client.context()))?;
        client.let_in(&consumer);
        let topic = place.topic.as_str();
        let mut list = TopicPartitionList::new();
        for partition in partitions(&consumer, topic)? {
            list.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        let mut is_whole = true;
        match start {
            Start::Oldest => {}
            Start::Since(time) => {
                is_whole = false;
                for (partition, offset) in first_offsets_since(&consumer, &list, time)? {
                    list.set_partition_offset(topic, partition, Offset::Offset(offset))?;
                }
            }
            Start::Back(back) => {
                let back = i64::try_from(back).unwrap_or(i64::MAX);
                let all: Vec<i32> = list.elements().iter().map(|it| it.partition()).collect();
                for partition in all {
                    let (low, high) = consumer.fetch_watermarks(topic, partition, ANSWER)?;
                    let first = high.saturating_sub(back);
                    is_whole &= first <= low;
                    list.set_partition_offset(topic, partition, Offset::Offset(first.max(low)))?;
                }
            }
        }
        consumer.assign(&list)?;
        let elements = list.elements();
        Ok(Self {
            is_at_end: elements.iter().map(|it| (it.partition(), false)).collect(),
            consumer,
            reader: Reader::new(Bounds::default()),
            told: VecDeque::new(),
            is_whole,
        })
    }

    /// Whether it began at the oldest messages.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The next value. Waits until all that is there was read.
    ///
    /// # Errors
    /// When it is of no use to go on.
    pub fn read(&mut self) -> anyhow::Result<Looked> {
        loop {
            if let Some(told) = self.told.pop_front() {
                return Ok(Looked::Told(Box::new(told)));
            }
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    let taken = Taken::of(&message);
                    self.is_at_end.insert(taken.partition, false);
                    let mut told = Vec::new();
                    self.reader.push(taken.incoming(), &mut told);
                    self.told.extend(told);
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.is_at_end.insert(partition, true);
                }
                Some(Err(error)) if group::is_final(&error) => return Err(error.into()),
                // The context says what is wrong; librdkafka goes on trying.
                Some(Err(_)) => {}
                None if self.is_at_end.values().all(|is| *is) => return Ok(Looked::Waiting),
                None => {}
            }
        }
    }
}
