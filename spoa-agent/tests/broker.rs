//! The offload to a real Kafka broker: TLS and a login, a topic that the agent makes, sizes that the broker refuses, and kills on
//! both sides. What librdkafka's mock can do is tested in `offload.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use exchange::message::Told;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use spop_codec::Value;

use support::agent::Setup;
use support::broker::{self, Broker, Protocol};
use support::fake_haproxy::{FakeHaproxy, Message, ack, notify, request, response};
use support::mock_kafka::{PARTITIONS, exchanges, stored, told};
use support::{Agent, assert_ledger_balances};

/// One broker for all tests, lent to one at a time, with a listener for the test, and one with TLS and a login for the agent. `None`, said
/// aloud, where none is installed.
fn lend() -> Option<MutexGuard<'static, Broker>> {
    static BROKER: OnceLock<Mutex<Broker>> = OnceLock::new();
    if !broker::is_installed() {
        return None;
    }
    let start = || {
        broker::Setup::new()
            .listener("INSIDE", Protocol::Plaintext)
            .listener("SECURE", Protocol::SaslTls)
            .user("agent", "secret")
            .share()
    };
    let broker = BROKER.get_or_init(|| Mutex::new(start()));
    Some(broker.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Delivers with TLS and SCRAM to this topic, and makes it.
fn secure(broker: &Broker, topic: &str) -> Setup {
    let password = broker.certificate("password");
    fs::write(&password, "secret\n").unwrap();
    let brokers = vec![toml::Value::from(broker.address("SECURE").to_string())];
    Agent::setup()
        .set("kafka.brokers", brokers)
        .set("kafka.topic", topic)
        .set("kafka.partitions", i64::from(PARTITIONS))
        .set("kafka.agent", "here")
        .set("kafka.security", "sasl-tls")
        .set("kafka.sasl", "scram-sha-512")
        .set("kafka.username", "agent")
        .set("kafka.password_file", password.to_str().unwrap())
        .set(
            "kafka.ca_file",
            broker.certificate("ca.pem").to_str().unwrap(),
        )
}

fn inside(broker: &Broker) -> String {
    broker.address("INSIDE").to_string()
}

fn id(number: u64) -> String {
    format!("id-{number:06}")
}

/// Captures exchanges with these numbers, whole. Each client connection has ten of them.
fn capture(agent: &Agent, numbers: Range<u64>, change: impl Fn(Message) -> Message) {
    let mut haproxy = FakeHaproxy::connected_with(agent, 500_000);
    for number in numbers {
        let port = i64::try_from(10_000 + number / 10 % 50_000).unwrap();
        let half = change(request(&id(number)).with("cport", Value::Int64(port)));
        haproxy.sends(&notify(number + 1, 1, &[half]));
        haproxy.expects(ack(number + 1, 1));
        haproxy.sends(&notify(number + 1, 2, &[response(&id(number))]));
        haproxy.expects(ack(number + 1, 2));
    }
}

/// Every exchange is in the topic, and the account balances. Returns how many are there more than once.
fn assert_all_delivered(agent: &Agent, broker: &Broker, topic: &str, count: u64) -> usize {
    agent.wait_until_followers_caught_up();
    assert_ledger_balances(agent);
    let found = exchanges(&inside(broker), topic);
    let missing: Vec<String> = (0..count)
        .map(id)
        .filter(|id| !found.contains_key(id))
        .collect();
    assert!(missing.is_empty(), "of {count} not there: {missing:?}");
    assert_eq!(u64::try_from(found.len()).unwrap(), count);
    found.values().filter(|times| **times > 1).count()
}

/// Bytes that no compression makes smaller.
fn noise(length: u64) -> Vec<u8> {
    let mix = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    (0..length)
        .map(|number| mix(mix(number) ^ number).to_le_bytes()[3])
        .collect()
}

#[test]
fn everything_arrives_through_tls_and_a_login_in_a_topic_that_the_agent_makes() {
    const TOPIC: &str = "made";
    let Some(broker) = lend() else { return };
    let agent = secure(&broker, TOPIC)
        .set("kafka.message_max_bytes", "64KiB")
        .start();
    capture(&agent, 0..300, |message| message);
    let body = noise(400_000);
    capture(&agent, 300..301, |message| message.body(&body));
    assert_eq!(assert_all_delivered(&agent, &broker, TOPIC, 301), 0);
    assert!(!agent.log().contains("secret"));
    // The large one came in parts, and reads back whole.
    let parts = stored(&inside(&broker), TOPIC);
    let parts = parts.iter().filter(|part| part.headers["id"] == id(300));
    assert!(parts.clone().count() > 6);
    assert!(parts.clone().all(|part| part.value.len() <= 64 << 10));
    let told = told(&inside(&broker), TOPIC);
    let large = told.iter().find_map(|told| match told {
        Told::Exchange { exchange, .. } if exchange.id().is_some_and(|found| *found == id(300)) => {
            Some(exchange)
        }
        _ => None,
    });
    let request = large.unwrap().request.as_ref().unwrap();
    assert!(request.body.content == body, "the body is another one");
}

#[test]
fn what_a_topic_finds_too_large_arrives_in_smaller_parts() {
    const TOPIC: &str = "small";
    let Some(broker) = lend() else { return };
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", inside(&broker));
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let small = NewTopic::new(TOPIC, PARTITIONS, TopicReplication::Fixed(1))
        .set("max.message.bytes", "40000");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let made = runtime.block_on(admin.create_topics([&small], &AdminOptions::new()));
    assert!(made.unwrap().iter().all(Result::is_ok));
    let agent = secure(&broker, TOPIC).start();
    let body = noise(100_000);
    capture(&agent, 0..20, |message| message.body(&body));
    assert_eq!(assert_all_delivered(&agent, &broker, TOPIC, 20), 0);
}

#[test]
fn a_broker_that_is_killed_and_an_agent_that_is_killed_twice_lose_nothing() {
    const TOPIC: &str = "killed";
    let Some(mut broker) = lend() else { return };
    let mut agent = secure(&broker, TOPIC).start();
    let mut next = 0;
    let mut capture_more = |agent: &Agent| {
        capture(agent, next..next + 100, |message| message);
        next += 100;
    };
    capture_more(&agent);
    let killed: &mut Broker = &mut broker;
    thread::scope(|scope| {
        let restart = scope.spawn(|| {
            killed.kill();
            killed.start_again();
        });
        capture_more(&agent);
        // Kafka is away, and the agent has undelivered messages.
        agent.kill();
        agent.start_again();
        while !restart.is_finished() {
            capture_more(&agent);
        }
        capture_more(&agent);
        // Kafka is back, and the agent is delivering what it missed.
        agent.kill();
        agent.start_again();
    });
    capture_more(&agent);
    let count = next;
    let twice = assert_all_delivered(&agent, &broker, TOPIC, count);
    eprintln!("{count} exchanges, {twice} of them more than once");
    assert_repeats_are_the_same(&broker, TOPIC);
}

/// A reader that has seen the id and the part need not look at the message.
fn assert_repeats_are_the_same(broker: &Broker, topic: &str) {
    let mut seen = BTreeMap::new();
    for message in stored(&inside(broker), topic) {
        let name = ["id", "kind", "part"].map(|name| message.headers.get(name).cloned());
        let content = (message.partition, message.key, message.value);
        if let Some(before) = seen.insert(name.clone(), content.clone()) {
            assert_eq!(before, content, "{name:?}");
        }
    }
    assert!(!seen.is_empty());
}
