//! librdkafka's producer: messages in, reports out.
//!
//! A thread of the library calls back for each message; what it says is put where the follower takes it, and the
//! follower is woken.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::Notify;

use super::client::Context;
use super::flight::Ticket;

/// What became of a message.
#[derive(Clone, Debug)]
pub struct Report {
    /// The number of its ticket.
    pub number: u64,
    /// Bytes of its value and key.
    pub bytes: usize,
    /// Where it stands, when it is acknowledged.
    pub partition: i32,
    /// Likewise.
    pub offset: i64,
    /// Why it came back. `None`: it is acknowledged.
    pub failure: Option<Failure>,
}

/// Why a message was not delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Failure {
    /// What librdkafka, or the broker, calls it.
    pub code: RDKafkaErrorCode,
    why: String,
}

impl Failure {
    fn new(error: &KafkaError, fatal: Option<&str>) -> Self {
        let code = error
            .rdkafka_error_code()
            .unwrap_or(RDKafkaErrorCode::Unknown);
        let why = match (code, fatal) {
            (RDKafkaErrorCode::Fatal, Some(fatal)) => fatal.to_owned(),
            _ => code.to_string(),
        };
        Self { code, why }
    }

    /// Whether it only says that the producer ended before.
    #[must_use]
    pub const fn is_consequence(&self) -> bool {
        matches!(
            self.code,
            RDKafkaErrorCode::PurgeQueue
                | RDKafkaErrorCode::PurgeInflight
                | RDKafkaErrorCode::Fatal
                | RDKafkaErrorCode::GaplessGuarantee
                // Another message of its batch is at fault.
                | RDKafkaErrorCode::InvalidDifferentRecord
        )
    }
}

/// Why a message could not be handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// The queue is full for now.
    Full,
    /// The producer does not take it.
    Failed(Failure),
}

/// How far handing over came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The messages before this one are handed over.
    pub upto: usize,
    /// Why the others are not.
    pub unsent: Option<Unsent>,
}

/// A producer for one topic.
pub struct Producer {
    inner: ThreadedProducer<Callbacks>,
    reports: Arc<Reports>,
    topic: String,
}

impl fmt::Debug for Producer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Producer")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Reports {
    told: Mutex<Vec<Report>>,
    news: Notify,
}

impl Producer {
    /// A producer of this configuration. It connects by itself.
    ///
    /// # Errors
    /// When librdkafka refuses the configuration.
    pub fn new(config: &ClientConfig, context: Context, topic: &str) -> KafkaResult<Self> {
        let reports = Arc::new(Reports::default());
        let callbacks = Callbacks {
            context,
            reports: Arc::clone(&reports),
        };
        Ok(Self {
            inner: config.create_with_context(callbacks)?,
            reports,
            topic: topic.to_owned(),
        })
    }

    /// Hands over the messages of a ticket, from one of them on.
    pub fn send(&self, number: u64, ticket: &Ticket, from: usize) -> Sent {
        let load = &ticket.load;
        let time = i64::try_from(load.time_us / 1000)
            .ok()
            .filter(|time| *time > 0);
        let mut upto = from;
        // Wide enough on every platform that the agent runs on; the flight is far smaller than 32 bits.
        let opaque = usize::try_from(number).unwrap_or(usize::MAX);
        for message in load.messages.iter().skip(from) {
            let headers = OwnedHeaders::new_with_capacity(message.headers.len());
            let headers = message
                .headers
                .iter()
                .fold(headers, |headers, (key, value)| {
                    headers.insert(Header {
                        key,
                        value: Some(value.as_ref()),
                    })
                });
            let record = BaseRecord {
                topic: &self.topic,
                partition: None,
                payload: Some(message.value.as_ref()),
                key: Some(message.key.as_ref().unwrap_or(&load.key).as_ref()),
                timestamp: time,
                headers: Some(headers),
                delivery_opaque: opaque,
            };
            if let Err((error, _record)) = self.inner.send::<[u8], [u8]>(record) {
                return Sent {
                    upto,
                    unsent: Some(self.unsent(&error)),
                };
            }
            upto += 1;
        }
        Sent { upto, unsent: None }
    }

    fn unsent(&self, error: &KafkaError) -> Unsent {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) {
            return Unsent::Full;
        }
        let fatal = self.inner.client().fatal_error();
        let fatal = fatal.map(|(_code, why)| why);
        Unsent::Failed(Failure::new(error, fatal.as_deref()))
    }

    /// What came back since it was asked last.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        std::mem::take(&mut *self.reports.told.lock())
    }

    /// Waits until there are reports.
    pub async fn reported(&self) {
        self.reports.news.notified().await;
    }

    /// Ends it. Returns what came back until then, and what is still on its way as failures.
    #[must_use]
    pub fn close(self) -> Vec<Report> {
        let Self { inner, reports, .. } = self;
        drop(inner);
        std::mem::take(&mut *reports.told.lock())
    }
}

/// What librdkafka calls.
struct Callbacks {
    context: Context,
    reports: Arc<Reports>,
}

impl ClientContext for Callbacks {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = Context::ENABLE_REFRESH_OAUTH_TOKEN;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.context.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }

    fn generate_oauth_token(
        &self,
        config: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.context.generate_oauth_token(config)
    }
}

impl ProducerContext for Callbacks {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let (message, failure) = match result {
            Ok(message) => (message, None),
            Err((error, message)) => (message, Some(Failure::new(error, None))),
        };
        let bytes = message.payload_len() + message.key_len();
        self.reports.told.lock().push(Report {
            number: number as u64,
            bytes,
            partition: message.partition(),
            offset: message.offset(),
            failure,
        });
        self.reports.news.notify_one();
    }
}
