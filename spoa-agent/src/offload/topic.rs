//! The topic: whether it is there, making it, and how large its messages may be.
//!
//! A consumer asks whether it is there. Making it and reading its settings takes librdkafka's `AdminClient`, which cannot
//! log in with tokens that are made here ([`Client::has_tokens`]): then the brokers are asked to make it as they make any
//! topic (`auto.create.topics.enable`), and its settings are not known.

use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigEntry, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;

use super::client::{Client, Context};

/// How long the brokers may take to answer a question. The follower does nothing else meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long they may take to answer one that is of use but not needed.
const MOMENT: Duration = Duration::from_secs(1);

/// A topic, and how to make it.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Whether the agent makes it when it is missing.
    pub create: bool,
    /// Partitions of one that the agent makes. `None`: the brokers' default.
    pub partitions: Option<i32>,
    /// Replicas of one that the agent makes. `None`: the brokers' default.
    pub replication: Option<i32>,
}

/// A topic that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Partitions that it has.
    pub partitions: usize,
    /// Its `max.message.bytes`, where the brokers tell.
    pub max_message_bytes: Option<usize>,
}

/// Why nothing can be written to a topic yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// It is not there, and nobody makes it.
    #[error(
        "the topic {name} is not there; make it, or let the agent make it with kafka.create_topics = true"
    )]
    Missing {
        /// Its name.
        name: String,
    },
    /// It is not there, and this login cannot make it as it was meant.
    #[error(
        "the topic {name} is not there, and with kafka.sasl = aws-msk-iam the agent cannot make it; make it yourself, or set auto.create.topics.enable of the brokers and leave out kafka.partitions and kafka.replication"
    )]
    NotMade {
        /// Its name.
        name: String,
    },
    /// The agent cannot log in.
    #[error("cannot log in to kafka: {why}")]
    Login {
        /// What is missing.
        why: String,
    },
    /// The brokers do not let the agent see it or make it.
    #[error("the brokers do not let the agent {what} the topic {name} ({why}); {way_out}")]
    Forbidden {
        /// Its name.
        name: String,
        /// What the agent wanted.
        what: &'static str,
        /// What the brokers say.
        why: String,
        /// What to do.
        way_out: &'static str,
    },
    /// No broker answers.
    #[error("no broker of kafka.brokers answers ({why})")]
    Unreachable {
        /// What librdkafka says.
        why: String,
    },
    /// Something else.
    #[error("the topic {name} cannot be used: {why}")]
    Other {
        /// Its name.
        name: String,
        /// What librdkafka or the brokers say.
        why: String,
    },
}

impl Topic {
    /// Finds the topic, or makes it.
    ///
    /// # Errors
    /// When it cannot be written to yet.
    pub async fn find(&self, client: &Client) -> Result<Found, TopicError> {
        let asker = self.asker(client)?;
        let partitions = match self.partitions_of(&asker)? {
            Some(partitions) => partitions,
            None if !self.create => return Err(self.missing()),
            None if client.has_tokens() => return Err(self.not_made()),
            None => self.make(client, &asker).await?,
        };
        Ok(Found {
            partitions,
            max_message_bytes: self.limit(client).await,
        })
    }

    fn asker(&self, client: &Client) -> Result<BaseConsumer<Context>, TopicError> {
        let mut config = client.config();
        // Else a question must not make the topic, with the brokers' defaults instead of ours.
        let may_make = self.create && client.has_tokens() && self.is_as_brokers_make_it();
        config.set("allow.auto.create.topics", may_make.to_string());
        let asker = config.create_with_context(client.context());
        let asker = asker.map_err(|error| self.other(error.to_string()))?;
        client.let_in(&asker);
        let no_token = client.context().no_token();
        no_token.map_or(Ok(asker), |why| Err(TopicError::Login { why }))
    }

    const fn is_as_brokers_make_it(&self) -> bool {
        self.partitions.is_none() && self.replication.is_none()
    }

    /// How many partitions the topic has, or `None` when it is not there.
    fn partitions_of(&self, asker: &BaseConsumer<Context>) -> Result<Option<usize>, TopicError> {
        let metadata = asker
            .fetch_metadata(Some(&self.name), PATIENCE)
            .map_err(|error| self.failed(&error))?;
        let topic = metadata
            .topics()
            .iter()
            .find(|topic| topic.name() == self.name);
        let Some(topic) = topic else {
            return Ok(None);
        };
        match topic.error() {
            None => Ok(Some(topic.partitions().len()).filter(|count| *count > 0)),
            Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => Ok(None),
            Some(error) => Err(self.refused(
                "see",
                error.into(),
                "give it the right to describe it and write to it",
            )),
        }
    }

    fn admin(client: &Client) -> Result<AdminClient<Context>, KafkaError> {
        client.config().create_with_context(client.context())
    }

    async fn make(
        &self,
        client: &Client,
        asker: &BaseConsumer<Context>,
    ) -> Result<usize, TopicError> {
        let admin = Self::admin(client).map_err(|error| self.failed(&error))?;
        let replication = TopicReplication::Fixed(self.replication.unwrap_or(-1));
        let topic = NewTopic::new(&self.name, self.partitions.unwrap_or(-1), replication);
        let options = AdminOptions::new()
            .request_timeout(Some(PATIENCE))
            .operation_timeout(Some(PATIENCE));
        let made = admin.create_topics([&topic], &options).await;
        let made = made.map_err(|error| self.failed(&error))?;
        match made.into_iter().next() {
            None | Some(Ok(_)) => {
                tracing::info!(topic = self.name, "made the topic");
            }
            Some(Err((_name, RDKafkaErrorCode::TopicAlreadyExists))) => {}
            Some(Err((_name, code))) => {
                return Err(self.refused(
                    "make",
                    code,
                    "make it yourself, or give the agent the right to create it",
                ));
            }
        }
        // It is known to all brokers a moment later.
        self.partitions_of(asker)?
            .ok_or_else(|| self.other("it was made a moment ago".to_owned()))
    }

    /// Its `max.message.bytes`. Not to know it is no misfortune: a broker says so when a message is too large.
    async fn limit(&self, client: &Client) -> Option<usize> {
        if client.has_tokens() {
            return None;
        }
        let admin = Self::admin(client).ok()?;
        let options = AdminOptions::new().request_timeout(Some(MOMENT));
        let topic = ResourceSpecifier::Topic(&self.name);
        let described = admin.describe_configs([&topic], &options).await.ok()?;
        let resource = described.into_iter().next()?.ok()?;
        let entry: &ConfigEntry = resource.get("max.message.bytes")?;
        entry.value.as_ref()?.parse().ok()
    }

    fn refused(
        &self,
        what: &'static str,
        code: RDKafkaErrorCode,
        way_out: &'static str,
    ) -> TopicError {
        match code {
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::PolicyViolation => TopicError::Forbidden {
                name: self.name.clone(),
                what,
                why: code.to_string(),
                way_out,
            },
            code => self.other(code.to_string()),
        }
    }

    fn failed(&self, error: &KafkaError) -> TopicError {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            Some(
                code @ (Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::OperationTimedOut
                | Code::RequestTimedOut
                | Code::Resolve),
            ) => TopicError::Unreachable {
                why: code.to_string(),
            },
            Some(code) => self.refused(
                "see",
                code,
                "give it the right to describe it and write to it",
            ),
            None => self.other(error.to_string()),
        }
    }

    fn missing(&self) -> TopicError {
        TopicError::Missing {
            name: self.name.clone(),
        }
    }

    fn not_made(&self) -> TopicError {
        TopicError::NotMade {
            name: self.name.clone(),
        }
    }

    fn other(&self, why: String) -> TopicError {
        TopicError::Other {
            name: self.name.clone(),
            why,
        }
    }
}
