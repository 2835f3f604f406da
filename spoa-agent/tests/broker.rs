//! A real Kafka broker: what is acknowledged is there after a kill.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};

use support::broker::{self, Broker, Protocol};
use support::{PATIENCE, wait_for};

/// A client of this listener, with everything that it needs.
fn client(broker: &Broker, listener: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.address(listener).to_string());
    if listener == "SECURE" {
        config
            .set("security.protocol", "sasl_ssl")
            .set("sasl.mechanism", "SCRAM-SHA-512")
            .set("sasl.username", "alice")
            .set("sasl.password", "secret")
            .set(
                "ssl.ca.location",
                broker.certificate("ca.pem").to_str().unwrap(),
            );
    }
    config
}

#[tokio::test]
async fn what_is_acknowledged_outlives_a_kill_of_the_broker() {
    if !broker::is_installed() {
        return;
    }
    let mut broker = broker::Setup::new()
        .listener("INSIDE", Protocol::Plaintext)
        .listener("SECURE", Protocol::SaslTls)
        .user("alice", "secret")
        .start();
    let admin: AdminClient<DefaultClientContext> = client(&broker, "SECURE").create().unwrap();
    let topic = NewTopic::new("t", 2, TopicReplication::Fixed(1));
    let made = admin
        .create_topics([&topic], &AdminOptions::new())
        .await
        .unwrap();
    assert_eq!(made, [Ok("t".to_owned())]);
    let producer: FutureProducer = client(&broker, "SECURE")
        .set("enable.idempotence", "true")
        .create()
        .unwrap();
    for number in 0..10 {
        let (key, value) = (format!("k{number}"), format!("v{number}"));
        let record = FutureRecord::to("t").key(&key).payload(&value);
        producer.send(record, PATIENCE).await.unwrap();
    }
    broker.kill();
    broker.start_again();
    let consumer: BaseConsumer = client(&broker, "INSIDE")
        .set("group.id", "g")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&["t"]).unwrap();
    let mut found: Vec<String> = (0..10).map(|_| next(&consumer)).collect();
    found.sort();
    let wanted: Vec<String> = (0..10).map(|number| format!("v{number}")).collect();
    assert_eq!(found, wanted);
}

fn next(consumer: &BaseConsumer) -> String {
    // A poll that has served an event comes back early, with nothing.
    wait_for("a message", || {
        let message = consumer.poll(Duration::from_secs(1))?.unwrap();
        Some(String::from_utf8(message.payload().unwrap().to_vec()).unwrap())
    })
}
