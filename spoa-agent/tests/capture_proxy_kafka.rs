//! `spoa-agent capture-proxy` with a Kafka (librdkafka's mock cluster) that is there, away, and back: what the topic gets,
//! and who waits for it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use support::installed::{Haproxy as Binary, binaries};
use support::origin::{Origin, ok};
use support::supervised::{Place, Supervised, signal};
use support::{wait_for, wait_until};

const TOPIC: &str = "logging-traffic-topic";
const BROKER: i32 = 1;

type Kafka = MockCluster<'static, DefaultProducerContext>;

fn kafka() -> Kafka {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 2, 1).unwrap();
    cluster
}

/// The command of the guide, and these variables.
fn start(binary: &Binary, node: &Origin, kafka: &Kafka, variables: &[(&str, &str)]) -> Supervised {
    let place = Place::new();
    let arguments = [
        "capture-proxy",
        "--kafkaConnection",
        &kafka.bootstrap_servers(),
        "--destinationUri",
        &node.url(),
        "--listenPort",
        &place.front.to_string(),
        "--insecureDestination",
        "--stateDir",
        &place.text("state"),
        "--adminListen",
        &place.admin.to_string(),
        "--haproxy",
        binary.path.to_str().unwrap(),
        "--numThreads",
        "2",
    ]
    .map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    place.start_with(&arguments, variables)
}

fn has_heard(node: &Origin, first_line: &str) -> bool {
    let heard = node.heard();
    heard
        .iter()
        .any(|request| request.first_line() == first_line.as_bytes())
}

/// Reads the topic from its beginning until the messages of one key have all of `parts`; that key.
fn key_of_messages_with(kafka: &Kafka, parts: &[&str]) -> Vec<u8> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap_servers())
        .set("group.id", "test")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[TOPIC]).unwrap();
    let mut texts: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    wait_until("the topic has it", || {
        let message = consumer.poll(Duration::from_millis(200));
        if let Some(Ok(message)) = message {
            let text = texts
                .entry(message.key().unwrap_or_default().to_vec())
                .or_default();
            text.push_str(&String::from_utf8_lossy(
                message.payload().unwrap_or_default(),
            ));
        }
        if has_all(&texts, parts).is_some() {
            return Ok(());
        }
        Err(format!("{texts:?}"))
    });
    has_all(&texts, parts).unwrap()
}

fn has_all(texts: &BTreeMap<Vec<u8>, String>, parts: &[&str]) -> Option<Vec<u8>> {
    let (key, _) = texts
        .iter()
        .find(|(_, text)| parts.iter().all(|part| text.contains(part)))?;
    Some(key.clone())
}

#[test]
fn the_topic_gets_the_bytes_of_the_connection_under_its_key() {
    for binary in binaries() {
        let kafka = kafka();
        let node = Origin::start(|_| ok());
        let mut proxy = start(&binary, &node, &kafka, &[]);
        let mut client = proxy.client();
        let answer = client
            .request("POST", "/i/_doc", &[], b"{\"told\":1}")
            .unwrap();
        assert_eq!(answer.status, 200);
        drop(client);
        assert_eq!(proxy.terminate(), 0);
        let key = key_of_messages_with(
            &kafka,
            &["POST /i/_doc HTTP/1.1\r\n", "{\"told\":1}", "HTTP/1.1 200"],
        );
        assert!(
            !key.is_empty(),
            "a record of the original has its connection as key"
        );
    }
}

#[test]
fn a_write_waits_for_kafka_and_a_read_does_not() {
    for binary in binaries() {
        let kafka = kafka();
        let node = Origin::start(|_| ok());
        let mut proxy = start(&binary, &node, &kafka, &[]);
        kafka.broker_down(BROKER).unwrap();
        let before = proxy.captured();
        let mut writer = proxy.client();
        writer
            .send(b"PUT /i/_doc/held HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
            .unwrap();
        wait_for("the write is in the journal", || {
            (proxy.captured() > before).then_some(())
        });
        let mut reader = proxy.client();
        for (method, target) in [
            ("POST", "/i/_search"),
            ("POST", "/_msearch"),
            ("GET", "/i/_doc/held"),
        ] {
            assert_eq!(
                reader.request(method, target, &[], b"{}").unwrap().status,
                200,
                "{target}"
            );
            assert!(has_heard(&node, &format!("{method} {target} HTTP/1.1")));
        }
        assert!(
            !has_heard(&node, "PUT /i/_doc/held HTTP/1.1"),
            "Kafka does not have it"
        );
        kafka.broker_up(BROKER).unwrap();
        writer.read("PUT").unwrap();
        assert!(has_heard(&node, "PUT /i/_doc/held HTTP/1.1"));
        drop((writer, reader));
        key_of_messages_with(&kafka, &["PUT /i/_doc/held"]);
        assert_eq!(proxy.terminate(), 0);
    }
}

#[test]
fn a_write_is_let_go_at_the_deadline_and_kafka_gets_it_when_it_is_back() {
    for binary in binaries() {
        let kafka = kafka();
        let node = Origin::start(|_| ok());
        let hold = [("SPOA_AGENT_KAFKA_HOLD_DEADLINE", "500ms")];
        let mut proxy = start(&binary, &node, &kafka, &hold);
        kafka.broker_down(BROKER).unwrap();
        let mut client = proxy.client();
        let answer = client.request("PUT", "/i/_doc/late", &[], b"{}").unwrap();
        assert_eq!(answer.status, 200);
        drop(client);
        // Nothing of it is lost when the agent is killed before Kafka is back.
        let agent = proxy.agent();
        signal(agent, "KILL");
        kafka.broker_up(BROKER).unwrap();
        key_of_messages_with(&kafka, &["PUT /i/_doc/late", "HTTP/1.1 200"]);
        assert_eq!(proxy.terminate(), 0);
    }
}
