//! The check of a Kafka cluster: whether the agent could deliver to it, and if not, what to change.
//!
//! A client asks the address that it was given for the brokers, and then talks to those *at the addresses that they
//! advertise*. So it can connect and still reach nobody. [`check`] walks the whole way as the agent would: each address is resolved and
//! dialled ([`dial`]), with TLS ([`tls`]) and the first words of the protocol ([`greeting`]); librdkafka logs in and asks for the
//! brokers ([`cluster`]); these are dialled where they say they are; the topic is looked at, and on request written and read
//! ([`probe`]). All of that gives [`seen::Observations`], and a pure function judges them ([`explain`]).

pub mod address;
mod cluster;
pub mod dial;
mod document;
pub mod explain;
pub mod finding;
pub mod greeting;
mod probe;
pub mod seen;
pub mod tls;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use self::address::Address;
use self::cluster::Admin;
use self::dial::{Dialed, Dialer, Speaks};
use self::finding::Finding;
use self::seen::{Bootstrap, ClientFacts, Cluster, Observations, Topic, TopicState};
use self::tls::Tls;
use crate::config::Kafka;
use crate::offload::client::Client;

/// What to look at.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// The topic of the exchanges.
    pub topic: String,
    /// Largest message that will be sent.
    pub message_max_bytes: usize,
    /// Partitions and replicas that a missing topic would be made with, if it may be made.
    pub create: Option<(usize, usize)>,
    /// Send so many messages, and read them.
    pub probe: Option<usize>,
    /// How long one step may take.
    pub patience: Duration,
    /// How long all of it may take.
    pub deadline: Duration,
}

/// What was seen, and what it means.
#[derive(Clone, Debug)]
pub struct Findings {
    /// The facts.
    pub seen: Observations,
    /// The judgements, in the order of the steps.
    pub all: Vec<Finding>,
}

impl Wishes {
    /// For an agent with this configuration.
    #[must_use]
    pub fn of(kafka: &Kafka) -> Self {
        Self {
            topic: kafka.topic.clone(),
            message_max_bytes: kafka.message_max_bytes,
            create: kafka
                .create_topics
                .then_some((kafka.partitions, kafka.replication)),
            probe: None,
            patience: Duration::from_secs(5),
            deadline: Duration::from_secs(30),
        }
    }
}

/// Walks the whole way, within [`Wishes::deadline`].
pub async fn check(client: &Client, wishes: &Wishes) -> Findings {
    let mut seen = Observations::default();
    let all = observe(client, wishes, &mut seen);
    if tokio::time::timeout(wishes.deadline, all).await.is_err() {
        seen.out_of_time = Some(wishes.deadline);
    }
    let all = explain::explain(&seen);
    Findings { seen, all }
}

async fn observe(client: &Client, wishes: &Wishes, seen: &mut Observations) {
    let config = client.config();
    let protocol = config.get("security.protocol").unwrap_or("plaintext");
    let mechanism = config
        .get("sasl.mechanism")
        .or_else(|| config.get("sasl.mechanisms"));
    seen.client = ClientFacts {
        tls: protocol.ends_with("ssl"),
        mechanism: mechanism
            .filter(|_| protocol.starts_with("sasl"))
            .map(str::to_owned),
        has_certificate: config.get("ssl.certificate.location").is_some(),
        may_create: wishes.create.is_some(),
        message_max_bytes: wishes.message_max_bytes,
    };
    let bootstraps = config.get("bootstrap.servers").unwrap_or_default();
    let bootstraps: Vec<Address> = bootstraps
        .split(',')
        .filter_map(|text| text.trim().parse().ok())
        .collect();
    let dialer = |tls| Dialer {
        tls,
        mechanism: seen.client.mechanism.clone(),
        patience: wishes.patience,
    };
    let dialer = match seen.client.tls.then(|| Tls::of(&config)) {
        None => dialer(None),
        Some(Ok(tls)) => dialer(Some(Arc::new(tls))),
        Some(Err(error)) => {
            seen.unusable = Some(error.to_string());
            return;
        }
    };
    seen.bootstraps = meet(client, wishes, &dialer, bootstraps).await;
    let advertised = brokers(&seen.bootstraps);
    for dialed in dial_all(&dialer, advertised).await {
        seen.advertised.insert(dialed.address.clone(), dialed);
    }
    seen.topic = topic(client, wishes, seen).await;
    if let (Some(count), Some(topic)) = (wishes.probe, &seen.topic)
        && let TopicState::There(partitions) = &topic.state
        && is_anyone_there(seen)
    {
        let partitions: Vec<i32> = partitions.iter().map(|one| one.id).collect();
        let sent = probe::probe(client, &topic.name, &partitions, count, wishes.patience).await;
        seen.probe = Some(sent);
    }
}

/// Dials each address, and asks those for the cluster where a connection is taken.
async fn meet(
    client: &Client,
    wishes: &Wishes,
    dialer: &Dialer,
    addresses: Vec<Address>,
) -> Vec<Bootstrap> {
    let mut work = JoinSet::new();
    for (position, address) in addresses.into_iter().enumerate() {
        let (client, dialer) = (client.clone(), dialer.clone());
        let (topic, patience) = (wishes.topic.clone(), wishes.patience);
        work.spawn(async move {
            let mechanism = dialer.mechanism.clone();
            let dialed = dialer.dial(address).await;
            let mut bootstrap = Bootstrap {
                dialed,
                asked: None,
            };
            if is_worth_asking(&bootstrap.dialed, mechanism.as_deref()) {
                let address = bootstrap.dialed.address.clone();
                let ask = move || cluster::ask(&client, &address, &topic, patience);
                bootstrap.asked = tokio::task::spawn_blocking(ask).await.ok();
            }
            (position, bootstrap)
        });
    }
    let mut met = work.join_all().await;
    met.sort_by_key(|(position, _)| *position);
    met.into_iter().map(|(_, bootstrap)| bootstrap).collect()
}

/// Where the client could not even begin, it would only wait.
fn is_worth_asking(dialed: &Dialed, mechanism: Option<&str>) -> bool {
    let reached = dialed.reached.as_ref();
    reached.is_some_and(|reached| {
        let certificate = reached.certificate.as_ref();
        let is_trusted = certificate.is_none_or(|certificate| certificate.distrust.is_none());
        let is_taken = matches!(&reached.speaks, Speaks::Kafka(login) if login.takes(mechanism));
        is_trusted && is_taken
    })
}

fn brokers(bootstraps: &[Bootstrap]) -> BTreeSet<Address> {
    let told = bootstraps
        .iter()
        .filter_map(|one| one.asked.as_ref()?.as_ref().ok());
    told.flat_map(|cluster: &Cluster| cluster.brokers.iter())
        .map(|broker| broker.address.clone())
        .collect()
}

async fn dial_all(dialer: &Dialer, addresses: BTreeSet<Address>) -> Vec<Dialed> {
    let work: JoinSet<Dialed> = addresses
        .into_iter()
        .map(|address| dialer.clone().dial(address))
        .collect();
    work.join_all().await
}

/// Asked of brokers where they say they are, so it takes one that is there.
async fn topic(client: &Client, wishes: &Wishes, seen: &Observations) -> Option<Topic> {
    if !is_anyone_there(seen) {
        return None;
    }
    let (asking, name, patience) = (client.clone(), wishes.topic.clone(), wishes.patience);
    let work = move || cluster::topic(&asking, &name, patience);
    let mut topic = Topic {
        name: wishes.topic.clone(),
        state: tokio::task::spawn_blocking(work).await.ok()?,
        settings: None,
        creatable: None,
    };
    // Nothing serves the token of its login to an admin client, so that it would only wait.
    let is_mute = seen.client.mechanism.as_deref() == Some(TOKEN_MECHANISM);
    let admin = Admin::new(client, wishes.patience).ok();
    let Some(admin) = admin.filter(|_| !is_mute) else {
        return Some(topic);
    };
    match (&topic.state, wishes.create) {
        (TopicState::There(_), _) => topic.settings = Some(admin.settings(&topic.name).await),
        (TopicState::Missing, Some((partitions, replication))) => {
            let asked = admin.creatable(&topic.name, partitions, replication);
            topic.creatable = Some(asked.await);
        }
        _other => {}
    }
    Some(topic)
}

/// Whether a broker is where it says it is, as the client expects it.
fn is_anyone_there(seen: &Observations) -> bool {
    let mechanism = seen.client.mechanism.as_deref();
    let mut brokers = seen.advertised.values();
    brokers.any(|dialed| is_worth_asking(dialed, mechanism))
}

/// The mechanism whose logins take a token of ours.
const TOKEN_MECHANISM: &str = "OAUTHBEARER";
