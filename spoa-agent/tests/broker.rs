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
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use exchange::message::Told;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use spop_codec::Value;

use support::agent::Setup;
use support::broker::{self, Broker, Protocol};
use support::fake_haproxy::{FakeHaproxy, Message, ack, notify, request, response};
use support::mock_kafka::{PARTITIONS, exchanges, stored, told};
use support::origin::{self, Reply};
use support::{Agent, Origin, PATIENCE, assert_ledger_balances, wait_until};

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
    assert_eq!(partitions(&broker, TOPIC), Some(PARTITIONS));
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
    make(&broker, TOPIC, &[("max.message.bytes", "40000")]);
    let agent = secure(&broker, TOPIC).start();
    let body = noise(100_000);
    capture(&agent, 0..20, |message| message.body(&body));
    assert_eq!(assert_all_delivered(&agent, &broker, TOPIC, 20), 0);
    // The topic's settings told it; nothing was sent in vain.
    assert_eq!(agent.log_lines("\"now\":40000"), 1, "{}", agent.log());
    assert_eq!(agent.metric("spoa_agent_kafka_failed_total"), 0.0);
}

#[test]
fn what_a_topic_never_takes_is_lost_alone_counted_and_logged() {
    const TOPIC: &str = "punctual";
    const LATE: u64 = 7;
    let Some(broker) = lend() else { return };
    make(
        &broker,
        TOPIC,
        &[("message.timestamp.after.max.ms", "3600000")],
    );
    let agent = secure(&broker, TOPIC).start();
    let in_the_future = |message: Message| message.with("ts", Value::Int64(4_102_444_800_000_000));
    capture(&agent, 0..LATE, |message| message);
    capture(&agent, LATE..LATE + 1, in_the_future);
    capture(&agent, LATE + 1..100, |message| message);
    agent.wait_until_followers_caught_up();
    assert_ledger_balances(&agent);
    let account = agent.ledger()["followers"]["kafka"]["exchanges"].clone();
    assert_eq!(account["delivered"], 99, "{account}");
    assert_eq!(account["dropped"]["invalid"], 1, "{account}");
    let found = exchanges(&inside(&broker), TOPIC);
    assert!(found.len() == 99 && !found.contains_key(&id(LATE)));
    let log = agent.log();
    let lost = log.lines().find(|line| line.contains("lost: the brokers"));
    assert!(lost.unwrap().contains(&id(LATE)), "{log}");
}

#[test]
fn a_topic_that_the_brokers_refuse_to_make_is_told_and_waited_for() {
    const TOPIC: &str = "copied";
    let Some(broker) = lend() else { return };
    let agent = secure(&broker, TOPIC).set("kafka.replication", 3).start();
    capture(&agent, 0..10, |message| message);
    wait_for_trouble(&agent, "replication");
    make(&broker, TOPIC, &[]);
    assert_eq!(assert_all_delivered(&agent, &broker, TOPIC, 10), 0);
}

#[test]
fn what_the_agent_has_no_right_to_is_told_and_waited_for() {
    if !broker::is_installed() {
        return;
    }
    let rights = ["DESCRIBE", "DESCRIBE_CONFIGS", "WRITE"];
    let rights = rights.map(|right| format!("agent:{right}:foreign"));
    let broker = broker::Setup::new()
        .listener("INSIDE", Protocol::Plaintext)
        .listener("SECURE", Protocol::SaslTls)
        .user("agent", "secret")
        .set("allow", rights.join(","))
        .start();
    let blind = secure(&broker, "secret-topic").start();
    wait_for_trouble(&blind, "do not let the agent see the topic secret-topic (");
    let agent = secure(&broker, "foreign").start();
    capture(&agent, 0..50, |message| message);
    wait_for_trouble(&agent, "do not let the agent make the topic foreign (");
    make(&broker, "foreign", &[]);
    assert_eq!(assert_all_delivered(&agent, &broker, "foreign", 50), 0);
}

#[test]
fn a_token_of_an_openid_provider_logs_in_and_may_make_the_topic() {
    const TOPIC: &str = "with-a-token";
    let Some(broker) = lend() else { return };
    let provider = Origin::start(|_asked| {
        let token =
            serde_json::json!({"access_token": unsigned_token("agent"), "expires_in": 3600});
        let fields = [("content-type", "application/json")];
        Reply::Bytes(origin::answer(200, &fields, token.to_string().as_bytes()))
    });
    let agent = secure(&broker, TOPIC)
        .without("kafka.username")
        .without("kafka.password_file")
        .set("kafka.sasl", "oauthbearer")
        .set("kafka.oauth_token_url", format!("{}/token", provider.url()))
        .set("kafka.oauth_client_id", "agent")
        .set(
            "kafka.oauth_client_secret_file",
            broker.certificate("password").to_str().unwrap(),
        )
        .start();
    capture(&agent, 0..50, |message| message);
    assert_eq!(assert_all_delivered(&agent, &broker, TOPIC, 50), 0);
    assert_eq!(partitions(&broker, TOPIC), Some(PARTITIONS));
}

#[test]
fn a_token_of_aws_logs_in_to_send_and_to_look_for_what_was_sent() {
    const TOPIC: &str = "with-aws";
    let Some(broker) = lend() else { return };
    let mut agent = secure(&broker, TOPIC)
        .without("kafka.username")
        .without("kafka.password_file")
        .set("kafka.sasl", "aws-msk-iam")
        .set("kafka.aws_region", "eu-central-1")
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env(
            "AWS_SECRET_ACCESS_KEY",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        )
        .start();
    capture(&agent, 0..50, |message| message);
    wait_for_trouble(
        &agent,
        "with kafka.sasl = aws-msk-iam the agent cannot make it",
    );
    make(&broker, TOPIC, &[]);
    assert_eq!(assert_all_delivered(&agent, &broker, TOPIC, 50), 0);
    agent.kill();
    agent.start_again();
    capture(&agent, 50..100, |message| message);
    assert_eq!(assert_all_delivered(&agent, &broker, TOPIC, 100), 0);
    assert_eq!(agent.log_lines("cannot read the end of the topic"), 0);
}

/// A JWT that nobody signed, good for an hour.
fn unsigned_token(name: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = now.as_secs();
    let claims = serde_json::json!({"sub": name, "iat": now, "exp": now + 3600});
    let encoded = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    format!(
        "{}.{}.",
        encoded("{\"alg\":\"none\"}"),
        encoded(&claims.to_string())
    )
}

fn wait_for_trouble(agent: &Agent, part: &str) {
    wait_until("the trouble is told", || {
        let kafka = agent.ledger()["kafka"]["kafka"].clone();
        let trouble = kafka["trouble"].as_str().unwrap_or_default();
        match trouble.contains(part) {
            true => Ok(()),
            false => Err(trouble.to_owned()),
        }
    });
}

/// Makes a topic, as somebody who may.
fn make(broker: &Broker, topic: &str, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = nobody(broker).create().unwrap();
    let topic = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
    let topic = settings
        .iter()
        .fold(topic, |topic, (name, value)| topic.set(name, value));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let made = runtime.block_on(admin.create_topics([&topic], &AdminOptions::new()));
    assert!(made.unwrap().iter().all(Result::is_ok));
}

/// How many partitions a topic has, if it is there.
fn partitions(broker: &Broker, topic: &str) -> Option<i32> {
    let consumer: BaseConsumer = nobody(broker).create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let found = metadata
        .topics()
        .iter()
        .find(|found| found.name() == topic)?;
    i32::try_from(found.partitions().len()).ok()
}

fn nobody(broker: &Broker) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", inside(broker));
    config
}

#[test]
fn what_was_offloaded_in_any_format_is_replayed_from_there_through_tls_and_a_login() {
    let Some(broker) = lend() else { return };
    for format in ["json", "protobuf", "traffic-stream"] {
        let topic = format!("as-{format}");
        let agent = secure(&broker, &topic).set("kafka.format", format).start();
        capture_writes(&agent, 0..60);
        agent.wait_until_followers_caught_up();
        let origin = Origin::start(|_| origin::ok());
        let replayed = Command::new(env!("CARGO_BIN_EXE_spoa-agent"))
            .arg("replay")
            // Brokers, TLS and login are those of the agent.
            .arg("--config")
            .arg(agent.folder().join("config.toml"))
            .args(["--from", &format!("kafka:/{topic}")])
            .args(["--to", &origin.url(), "--speed", "max"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&replayed.stderr);
        assert!(replayed.status.success(), "{format}: {said}");
        assert!(!said.contains("secret"), "{said}");
        let mut heard: Vec<(Vec<u8>, Vec<u8>)> = origin
            .heard()
            .into_iter()
            .map(|request| (request.first_line().to_vec(), request.body))
            .collect();
        heard.sort();
        let mut sent: Vec<_> = (0..60).map(write).collect();
        sent.sort();
        assert!(
            heard == sent,
            "{format}: {} of 60 came, or others",
            heard.len()
        );
    }
}

/// The first line and the body of a write with this number.
fn write(number: u64) -> (Vec<u8>, Vec<u8>) {
    let line = format!("PUT /i/_doc/{number}?x=%20y HTTP/1.1");
    let body = format!("{{\"n\":{number},\"text\":\"caf\u{e9}\\n\"}}");
    (line.into_bytes(), body.into_bytes())
}

fn capture_writes(agent: &Agent, numbers: Range<u64>) {
    let mut haproxy = FakeHaproxy::connected(agent);
    for number in numbers {
        let (line, body) = write(number);
        let target = line.split(|byte| *byte == b' ').nth(1).unwrap();
        let half = request(&id(number))
            .with("m", Value::Str(b"PUT"))
            .with("pq", Value::Str(target))
            .fields(&[
                (b"host", b"cluster"),
                (b"content-type", b"application/json"),
                (b"content-length", body.len().to_string().as_bytes()),
            ])
            .body(&body);
        haproxy.sends(&notify(number + 1, 1, &[half]));
        haproxy.expects(ack(number + 1, 1));
        let answer = format!(
            "{{\"_index\":\"i\",\"_id\":\"{number}\",\"_version\":1,\"result\":\"created\",\"_seq_no\":{number},\
             \"_primary_term\":1,\"_shards\":{{\"total\":1,\"successful\":1,\"failed\":0}}}}"
        );
        let half = response(&id(number))
            .with("st", Value::Int64(201))
            .body(answer.as_bytes());
        haproxy.sends(&notify(number + 1, 2, &[half]));
        haproxy.expects(ack(number + 1, 2));
    }
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
