//! What was seen of a cluster: facts without judgement, which [`super::explain`] judges.

use std::collections::BTreeMap;
use std::time::Duration;

use super::address::Address;
use super::dial::Dialed;

/// Everything that was seen.
#[derive(Clone, Debug, Default)]
pub struct Observations {
    /// How the client would connect.
    pub client: ClientFacts,
    /// Why nothing could be asked at all.
    pub unusable: Option<String>,
    /// Each address to begin with, in the order of the configuration.
    pub bootstraps: Vec<Bootstrap>,
    /// Each address that a broker advertises, dialled.
    pub advertised: BTreeMap<Address, Dialed>,
    /// The topic.
    pub topic: Option<Topic>,
    /// Messages that were sent and read, where that was wished.
    pub probe: Option<Probe>,
    /// What was left undone at this limit.
    pub out_of_time: Option<Duration>,
}

/// How the client would connect.
#[derive(Clone, Debug, Default)]
pub struct ClientFacts {
    /// With TLS.
    pub tls: bool,
    /// With this SASL mechanism.
    pub mechanism: Option<String>,
    /// With a certificate of its own.
    pub has_certificate: bool,
    /// The agent makes a topic that is missing.
    pub may_create: bool,
    /// Largest message that the agent sends.
    pub message_max_bytes: usize,
}

/// An address to begin with.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// What came of dialling it.
    pub dialed: Dialed,
    /// What the client was told there, if it was asked.
    pub asked: Option<Result<Cluster, Trouble>>,
}

/// What a broker tells of its cluster, on the listener where it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its id.
    pub id: Option<String>,
    /// The brokers, as this listener advertises them.
    pub brokers: Vec<Broker>,
}

/// A broker as it is advertised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// `node.id`.
    pub id: i32,
    /// Where clients are sent.
    pub address: Address,
}

/// Why the client was told nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The login failed.
    Login(String),
    /// Anything else.
    Other(String),
}

/// What the metadata tell of the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicState {
    /// It is there.
    There(Vec<Partition>),
    /// It is not, or the user may not know.
    Missing,
    /// The user may not describe it.
    Denied,
    /// An error of Kafka.
    Other(String),
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub id: i32,
    /// The broker that leads it.
    pub leader: Option<i32>,
    /// Brokers that should have a copy.
    pub replicas: usize,
    /// Of these, the ones that are up to date.
    pub in_sync: usize,
}

/// The topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// What the metadata tell.
    pub state: TopicState,
    /// Its settings, if they were asked.
    pub settings: Option<Result<BTreeMap<String, String>, Denial>>,
    /// Whether it could be made, if that was asked.
    pub creatable: Option<Result<(), Denial>>,
}

/// An answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Whether it is about rights.
    pub is_about_rights: bool,
    /// Kafka's words.
    pub said: String,
}

/// Messages that were sent and read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Acknowledged.
    pub sent: usize,
    /// Partitions that refused, and why.
    pub refused: Vec<(i32, Denial)>,
    /// From send to acknowledgement.
    pub round_trips: Vec<Duration>,
    /// Read again, if any was sent.
    pub read: Option<Result<usize, Denial>>,
}
