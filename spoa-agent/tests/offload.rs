//! The offload to Kafka: everything captured is in the topic, whatever Kafka does. Against librdkafka's mock of a
//! cluster, with the agent as a process.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use exchange::message::Told;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use spop_codec::Value;

use support::agent::Setup;
use support::fake_haproxy::{FakeHaproxy, Message, ack, held, notify, request, response};
use support::mock_kafka::{MockKafka, TOPIC};
use support::{Agent, Origin, assert_ledger_balances, origin, wait_until};

fn setup(kafka: &MockKafka) -> Setup {
    Agent::setup()
        .set("kafka.brokers", kafka.brokers())
        .set("kafka.linger", "2ms")
        .set("kafka.agent", "here")
}

/// The id of an exchange.
fn id(number: u64) -> String {
    format!("id-{number:05}")
}

/// Captures exchanges with these numbers. Each client connection has ten of them.
fn capture(agent: &Agent, numbers: Range<u64>) {
    capture_with(agent, numbers, |message| message);
}

fn capture_with(agent: &Agent, numbers: Range<u64>, change: impl Fn(Message) -> Message) {
    let mut haproxy = FakeHaproxy::connected(agent);
    for number in numbers {
        let port = i64::try_from(40_000 + number / 10).unwrap();
        let half = change(request(&id(number)).with("cport", Value::Int64(port)));
        haproxy.sends(&notify(number + 1, 1, &[half]));
        haproxy.expects(ack(number + 1, 1));
        haproxy.sends(&notify(number + 1, 2, &[response(&id(number))]));
        haproxy.expects(ack(number + 1, 2));
    }
}

/// The follower's account.
fn account(agent: &Agent) -> serde_json::Value {
    agent.ledger()["followers"]["kafka"].clone()
}

/// Every exchange is in the topic, none was lost on the way, and the account balances. Returns how many are there
/// more than once.
fn assert_all_delivered(agent: &Agent, kafka: &MockKafka, numbers: Range<u64>) -> usize {
    agent.wait_until_followers_caught_up();
    assert_ledger_balances(agent);
    let account = account(agent);
    let count = numbers.end - numbers.start;
    assert_eq!(account["exchanges"]["delivered"], count, "{account:#}");
    let found = kafka.exchanges();
    let expected: Vec<String> = numbers.map(id).collect();
    let ids: Vec<&String> = found.keys().collect();
    assert_eq!(ids, expected.iter().collect::<Vec<_>>());
    found.values().filter(|times| **times > 1).count()
}

/// One key is in one partition, and its exchanges come for the first time in the order of their numbers.
fn assert_order_is_kept(kafka: &MockKafka) {
    let mut last: BTreeMap<String, (i32, BTreeSet<String>)> = BTreeMap::new();
    for stored in kafka.stored(TOPIC) {
        let id = stored.headers["id"].clone();
        let (partition, seen) = last
            .entry(stored.key)
            .or_insert_with(|| (stored.partition, BTreeSet::new()));
        assert_eq!(*partition, stored.partition, "one key, one partition");
        if let Some(before) = seen.last() {
            assert!(id > *before || seen.contains(&id), "{id} after {before}");
        }
        seen.insert(id);
    }
    assert!(!last.is_empty());
}

fn trouble(agent: &Agent) -> String {
    agent.ledger()["kafka"]["kafka"]["trouble"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn every_exchange_is_a_message_with_its_headers_and_key() {
    let kafka = MockKafka::start();
    let agent = setup(&kafka).start();
    capture(&agent, 0..200);
    assert_eq!(assert_all_delivered(&agent, &kafka, 0..200), 0);
    assert_order_is_kept(&kafka);
    let stored = kafka.stored(TOPIC);
    let first = stored
        .iter()
        .find(|stored| stored.headers["id"] == id(0))
        .unwrap();
    assert_eq!(first.key, "10.0.0.1:40000");
    assert_eq!(first.headers["kind"], "exchange");
    assert_eq!(first.headers["agent"], "here");
    assert!(first.headers["schema"].starts_with("spoa-agent.exchange."));
    let number = |name: &str| first.headers[name].parse::<u64>().unwrap();
    assert!(number("begun") < number("complete"));
    assert!(agent.metric("spoa_agent_kafka_acknowledged_total") >= 200.0);
    assert_eq!(agent.metric("spoa_agent_kafka_messages_in_flight"), 0.0);
    assert_eq!(agent.metric("spoa_agent_kafka_up"), 1.0);
}

#[test]
fn requests_that_fail_are_repeated_until_they_succeed() {
    use RDKafkaRespErr as Error;
    let kafka = MockKafka::start();
    let agent = setup(&kafka).start();
    capture(&agent, 0..20);
    agent.wait_until_followers_caught_up();
    kafka.cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[
            Error::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            Error::RD_KAFKA_RESP_ERR__TRANSPORT,
            Error::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            Error::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
            Error::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
            Error::RD_KAFKA_RESP_ERR__TRANSPORT,
        ],
    );
    capture(&agent, 20..200);
    assert_all_delivered(&agent, &kafka, 0..200);
    assert_order_is_kept(&kafka);
}

#[test]
fn errors_that_end_a_producer_end_nothing_else() {
    use RDKafkaRespErr as Error;
    let kafka = MockKafka::start();
    let agent = setup(&kafka).start();
    capture(&agent, 0..20);
    agent.wait_until_followers_caught_up();
    for (round, error) in (1..).zip([
        Error::RD_KAFKA_RESP_ERR_INVALID_RECORD,
        Error::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        Error::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
        Error::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
    ]) {
        kafka
            .cluster
            .request_errors(RDKafkaApiKey::Produce, &[error]);
        capture(&agent, round * 20..(round + 1) * 20);
        agent.wait_until_followers_caught_up();
    }
    assert_all_delivered(&agent, &kafka, 0..100);
    assert_order_is_kept(&kafka);
    assert!(agent.metric("spoa_agent_kafka_renewals_total") >= 1.0);
}

#[test]
fn slow_brokers_delay_messages_and_lose_none() {
    let kafka = MockKafka::start();
    let slow = Duration::from_millis(300);
    kafka.cluster.broker_round_trip_time(-1, slow).unwrap();
    let agent = setup(&kafka).start();
    capture(&agent, 0..100);
    assert_eq!(assert_all_delivered(&agent, &kafka, 0..100), 0);
    assert_order_is_kept(&kafka);
}

#[test]
fn the_agent_starts_without_kafka_and_captures_while_it_is_away() {
    let kafka = MockKafka::start();
    kafka.cluster.broker_down(-1).unwrap();
    let agent = setup(&kafka).start();
    capture(&agent, 0..100);
    wait_until("the trouble is told", || match trouble(&agent).as_str() {
        "" => Err("nothing".to_owned()),
        _ => Ok(()),
    });
    let (status, ready) = agent.admin("/readyz");
    assert_eq!(
        status, 200,
        "a Kafka that is away is no reason to stop capturing"
    );
    assert!(
        ready.contains("the journal keeps what it misses"),
        "{ready}"
    );
    assert_eq!(account(&agent)["exchanges"]["delivered"], 0);
    kafka.cluster.broker_up(-1).unwrap();
    assert_all_delivered(&agent, &kafka, 0..100);
    assert_eq!(trouble(&agent), "");
    assert!(!agent.admin("/readyz").1.contains("kafka"));
}

#[test]
fn brokers_that_go_and_come_back_get_what_they_missed() {
    let kafka = MockKafka::start();
    let agent = setup(&kafka).start();
    capture(&agent, 0..100);
    for broker in 1..=3 {
        kafka.cluster.broker_down(broker).unwrap();
    }
    capture(&agent, 100..300);
    for broker in 1..=3 {
        kafka.cluster.broker_up(broker).unwrap();
    }
    capture(&agent, 300..400);
    assert_all_delivered(&agent, &kafka, 0..400);
    assert_order_is_kept(&kafka);
}

#[test]
fn a_leader_that_moves_is_followed() {
    let kafka = MockKafka::start();
    let agent = setup(&kafka).start();
    for round in 0..6_u64 {
        let leader = i32::try_from(round % 3 + 1).unwrap();
        for partition in 0..4 {
            let moved = kafka
                .cluster
                .partition_leader(TOPIC, partition, Some(leader));
            moved.unwrap();
        }
        capture(&agent, round * 50..(round + 1) * 50);
    }
    assert_all_delivered(&agent, &kafka, 0..300);
    assert_order_is_kept(&kafka);
}

#[test]
fn a_topic_that_is_not_there_is_told_and_waited_for() {
    let kafka = MockKafka::empty();
    let agent = setup(&kafka).set("kafka.create_topics", false).start();
    capture(&agent, 0..50);
    wait_until("the missing topic is told", || {
        match trouble(&agent).contains("kafka.create_topics = true") {
            true => Ok(()),
            false => Err(trouble(&agent)),
        }
    });
    assert!(
        agent
            .admin("/readyz")
            .1
            .contains("the topic captured-traffic is not there")
    );
    kafka.make(TOPIC);
    assert_all_delivered(&agent, &kafka, 0..50);
}

#[test]
fn an_exchange_larger_than_a_message_is_in_parts_and_reads_back_whole() {
    let kafka = MockKafka::start();
    let agent = setup(&kafka)
        .set("kafka.message_max_bytes", "16KiB")
        .start();
    let mut haproxy = FakeHaproxy::connected_with(&agent, 500_000);
    let body: Vec<u8> = (0..300_000_u32)
        .map(|n| (n % 251).to_le_bytes()[0])
        .collect();
    haproxy.sends(&notify(1, 1, &[request(&id(0)).body(&body)]));
    haproxy.expects(ack(1, 1));
    haproxy.sends(&notify(1, 2, &[response(&id(0)).body(&body)]));
    haproxy.expects(ack(1, 2));
    assert_all_delivered(&agent, &kafka, 0..1);
    let stored = kafka.stored(TOPIC);
    assert!(stored.len() > 30, "{}", stored.len());
    assert!(stored.iter().all(|part| part.value.len() <= 16 << 10));
    let told = kafka.told(TOPIC);
    let [Told::Exchange { exchange, .. }] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(exchange.request.as_ref().unwrap().body.content, body);
    assert_eq!(exchange.response.as_ref().unwrap().body.content, body);
}

#[test]
fn what_a_broker_finds_too_large_goes_again_in_smaller_parts() {
    use RDKafkaRespErr as Error;
    let kafka = MockKafka::start();
    let agent = setup(&kafka).start();
    let too_large = [Error::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE; 3];
    kafka
        .cluster
        .request_errors(RDKafkaApiKey::Produce, &too_large);
    let body = vec![b'x'; 10_000];
    capture_with(&agent, 0..50, |message| message.body(&body));
    assert_all_delivered(&agent, &kafka, 0..50);
    assert_order_is_kept(&kafka);
    assert!(agent.log_lines("the topic takes smaller messages") >= 1);
}

#[test]
fn what_is_refused_in_the_smallest_parts_is_lost_counted_and_logged() {
    use RDKafkaRespErr as Error;
    let kafka = MockKafka::start();
    let agent = setup(&kafka)
        .set("kafka.message_max_bytes", "16KiB")
        .start();
    let too_large = [Error::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE];
    capture(&agent, 0..1);
    agent.wait_until_followers_caught_up();
    kafka
        .cluster
        .request_errors(RDKafkaApiKey::Produce, &too_large);
    capture(&agent, 1..2);
    agent.wait_until_followers_caught_up();
    capture(&agent, 2..10);
    agent.wait_until_followers_caught_up();
    assert_ledger_balances(&agent);
    let exchanges = account(&agent)["exchanges"].clone();
    assert_eq!(exchanges["delivered"], 9, "{exchanges}");
    assert_eq!(exchanges["dropped"]["too_large"], 1, "{exchanges}");
    assert_eq!(agent.log_lines("lost: the brokers refuse its size"), 1);
}

#[test]
fn a_follower_whose_memory_is_full_reads_no_further_and_goes_on() {
    let kafka = MockKafka::start();
    let slow = Duration::from_millis(100);
    kafka.cluster.broker_round_trip_time(-1, slow).unwrap();
    let agent = setup(&kafka)
        .set("server.max_frame_size", "256KiB")
        .set("kafka.max_in_flight_bytes", "1MiB")
        .start();
    let body = vec![b'x'; 15_000];
    capture_with(&agent, 0..300, |message| message.body(&body));
    assert_eq!(assert_all_delivered(&agent, &kafka, 0..300), 0);
    assert_order_is_kept(&kafka);
}

#[test]
fn an_agent_that_is_killed_goes_on_and_nothing_is_missing() {
    let kafka = MockKafka::start();
    let mut agent = setup(&kafka).start();
    for round in 0..4 {
        capture(&agent, round * 150..(round + 1) * 150);
        wait_until("messages are acknowledged", || {
            match agent.metric("spoa_agent_kafka_acknowledged_total") > 100.0 {
                true => Ok(()),
                false => Err("too few".to_owned()),
            }
        });
        agent.kill();
        agent.start_again();
    }
    // What the cursor did not know yet is found in the topic, and not sent again.
    let twice = assert_all_delivered(&agent, &kafka, 0..600);
    assert_eq!(twice, 0);
    assert!(agent.log_lines("found in the topic, though the cursor does not know them") > 0);
    assert_order_is_kept(&kafka);
}

#[test]
fn an_agent_that_is_killed_while_kafka_is_away_delivers_later() {
    let kafka = MockKafka::start();
    let mut agent = setup(&kafka).start();
    capture(&agent, 0..50);
    agent.wait_until_followers_caught_up();
    kafka.cluster.broker_down(-1).unwrap();
    capture(&agent, 50..150);
    agent.kill();
    agent.start_again();
    capture(&agent, 150..200);
    kafka.cluster.broker_up(-1).unwrap();
    assert_all_delivered(&agent, &kafka, 0..200);
}

#[test]
fn a_shutdown_delivers_what_it_can_and_does_not_wait_for_a_kafka_that_is_away() {
    let kafka = MockKafka::start();
    let mut agent = setup(&kafka).set("shutdown.deadline", "50s").start();
    capture(&agent, 0..100);
    assert!(agent.terminate().success());
    assert_eq!(kafka.exchanges().len(), 100);
    kafka.cluster.broker_down(-1).unwrap();
    agent.start_again();
    capture(&agent, 100..150);
    wait_until("the trouble is told", || match trouble(&agent).as_str() {
        "" => Err("nothing".to_owned()),
        _ => Ok(()),
    });
    assert!(agent.terminate().success());
    assert!(agent.log_lines("kafka") > 0);
    kafka.cluster.broker_up(-1).unwrap();
    agent.start_again();
    assert_all_delivered(&agent, &kafka, 0..150);
}

/// Held for at most this long in tests in which Kafka is away.
const DEADLINE: Duration = Duration::from_millis(1500);

fn holding(kafka: &MockKafka) -> Setup {
    setup(kafka)
        .set("capture.hold", "kafka")
        .set("kafka.hold_deadline", "1500ms")
}

#[test]
fn the_ack_of_a_held_write_comes_when_kafka_has_its_request() {
    let kafka = MockKafka::start();
    let agent = holding(&kafka).set("kafka.hold_deadline", "50s").start();
    let mut haproxy = FakeHaproxy::connected(&agent);
    for number in 0..20 {
        haproxy.sends(&notify(number + 1, 1, &[held(&id(number)).body(b"{}")]));
        haproxy.expects(ack(number + 1, 1).durable());
        let is_there = |told: &Told| match told {
            Told::Request { request, .. } => request.id == id(number),
            _ => false,
        };
        assert!(
            kafka.told(TOPIC).iter().any(is_there),
            "{number} is not there"
        );
    }
    for number in 0..20 {
        haproxy.sends(&notify(number + 1, 2, &[response(&id(number))]));
        haproxy.expects(ack(number + 1, 2));
    }
    assert_eq!(assert_all_delivered(&agent, &kafka, 0..20), 0);
    let text = agent.admin("/metrics").1;
    assert!(
        text.contains("spoa_agent_holds_ended_total{outcome=\"durable\"} 20\n"),
        "{text}"
    );
    // A request and its exchange are in one partition, in this order.
    let mut seen = BTreeMap::new();
    for stored in kafka.stored(TOPIC) {
        let kinds: &mut Vec<String> = seen.entry(stored.headers["id"].clone()).or_default();
        kinds.push(stored.headers["kind"].clone());
    }
    assert!(
        seen.values().all(|kinds| *kinds == ["request", "exchange"]),
        "{seen:?}"
    );
}

#[test]
fn a_hold_ends_at_its_deadline_and_the_next_ones_at_once_and_kafka_gets_all_of_them_later() {
    let kafka = MockKafka::start();
    kafka.cluster.broker_down(-1).unwrap();
    let agent = holding(&kafka).start();
    let mut haproxy = FakeHaproxy::connected(&agent);
    let began = Instant::now();
    haproxy.sends(&notify(1, 1, &[held(&id(0))]));
    haproxy.expects(ack(1, 1));
    assert!(began.elapsed() >= DEADLINE, "{:?}", began.elapsed());
    for number in 1..10 {
        haproxy.sends(&notify(number + 1, 1, &[held(&id(number))]));
        haproxy.expects(ack(number + 1, 1));
    }
    let text = agent.admin("/metrics").1;
    for line in [
        "spoa_agent_holds_ended_total{outcome=\"deadline\"} 1\n",
        "spoa_agent_holds_ended_total{outcome=\"kafka_away\"} 9\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(agent.log_lines("a held write was released without being durable") >= 2);
    for number in 0..10 {
        haproxy.sends(&notify(number + 1, 2, &[response(&id(number))]));
        haproxy.expects(ack(number + 1, 2));
    }
    kafka.cluster.broker_up(-1).unwrap();
    assert_all_delivered(&agent, &kafka, 0..10);
    haproxy.sends(&notify(100, 1, &[held("after")]));
    haproxy.expects(ack(100, 1).durable());
}

#[test]
fn what_is_not_held_does_not_wait_for_kafka() {
    let kafka = MockKafka::start();
    kafka.cluster.broker_down(-1).unwrap();
    let agent = holding(&kafka).set("kafka.hold_deadline", "50s").start();
    let mut haproxy = FakeHaproxy::connected(&agent);
    haproxy.sends(&notify(1, 1, &[held(&id(0))]));
    haproxy.sends(&notify(2, 1, &[request(&id(1))]));
    haproxy.expects(ack(2, 1));
    haproxy.sends(&notify(2, 2, &[response(&id(1))]));
    haproxy.expects(ack(2, 2));
    kafka.cluster.broker_up(-1).unwrap();
    haproxy.expects(ack(1, 1).durable());
}

/// What the lines of a file, or the values of messages, say where their pairs stand.
fn positions<'a>(lines: impl Iterator<Item = &'a [u8]>) -> BTreeSet<u64> {
    let position = |line| {
        let line: serde_json::Value = serde_json::from_slice(line).unwrap();
        line["event"]["position"].as_u64().unwrap()
    };
    lines.map(position).collect()
}

#[test]
fn pairs_go_to_a_topic_of_their_own_and_are_named_as_in_the_pair_log() {
    const PAIRS: &str = "captured-pairs";
    for format in ["json", "protobuf", "traffic-stream"] {
        let kafka = MockKafka::start();
        kafka.make(PAIRS);
        let shadow = Origin::start(|_request| origin::ok());
        let folder = tempfile::tempdir().unwrap();
        let pair_log = folder.path().join("pairs.log");
        let agent = setup(&kafka)
            .shadow(&shadow.url())
            .set("shadow.pairs", "journal")
            .set("pair_log.path", pair_log.to_str().unwrap())
            .set("kafka.pairs_topic", PAIRS)
            .set("kafka.format", format)
            .start();
        capture(&agent, 0..30);
        for follower in ["kafka", "kafka_pairs", "pair_log"] {
            wait_until("all are delivered", || {
                let account = agent.ledger()["followers"][follower]["exchanges"].clone();
                match account["delivered"] == 30 && account["in_flight"] == 0 {
                    true => Ok(()),
                    false => Err(format!("{format}: {follower}: {account}")),
                }
            });
        }
        assert_ledger_balances(&agent);
        let told = kafka.told(PAIRS);
        let is_pair = |told: &Told| match told {
            Told::Pair { pair, .. } => pair.shadow.is_some(),
            _ => false,
        };
        assert!(told.len() == 30 && told.iter().all(is_pair), "{told:?}");
        let stand: BTreeSet<u64> = told
            .iter()
            .map(|told| told.source().complete.unwrap())
            .collect();
        let log = std::fs::read(&pair_log).unwrap();
        let logged = positions(log.split(|byte| *byte == b'\n').filter(|it| !it.is_empty()));
        assert_eq!(stand, logged, "{format}");
        if format != "protobuf" {
            let stored = kafka.stored(PAIRS);
            let said = positions(stored.iter().map(|stored| stored.value.as_slice()));
            assert_eq!(said, logged, "{format}");
        }
        assert_eq!(logged.len(), 30);
        let exchanges = kafka.told(TOPIC);
        let exchanges = exchanges
            .iter()
            .filter(|told| matches!(told, Told::Exchange { .. }));
        assert_eq!(exchanges.count(), 30, "{format}");
    }
}

#[test]
fn what_a_traffic_stream_cannot_say_is_counted_and_passed() {
    let kafka = MockKafka::start();
    let agent = setup(&kafka)
        .set("kafka.format", "traffic-stream")
        .set("pairing.deadline", "1s")
        .start();
    let mut haproxy = FakeHaproxy::connected(&agent);
    haproxy.sends(&notify(1, 1, &[response("alone")]));
    haproxy.expects(ack(1, 1));
    capture(&agent, 0..10);
    wait_until("the answer alone is passed over", || {
        let exchanges = account(&agent)["exchanges"].clone();
        match exchanges["filtered"]["no_request"] == 1 && exchanges["in_flight"] == 0 {
            true => Ok(()),
            false => Err(exchanges.to_string()),
        }
    });
    agent.wait_until_followers_caught_up();
    assert_ledger_balances(&agent);
    let account = account(&agent);
    assert_eq!(account["exchanges"]["delivered"], 10, "{account:#}");
    assert_eq!(account["records"]["not_done"], 0, "{account:#}");
}

#[test]
fn what_is_refused_again_and_again_is_lost_counted_and_logged_and_the_others_go_on() {
    use RDKafkaRespErr as Error;
    let kafka = MockKafka::start();
    let agent = setup(&kafka).start();
    capture(&agent, 0..1);
    agent.wait_until_followers_caught_up();
    // Once in its batch, and five times alone.
    kafka.cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[Error::RD_KAFKA_RESP_ERR_INVALID_RECORD; 6],
    );
    capture(&agent, 1..2);
    agent.wait_until_followers_caught_up();
    capture(&agent, 2..100);
    agent.wait_until_followers_caught_up();
    assert_ledger_balances(&agent);
    let exchanges = account(&agent)["exchanges"].clone();
    assert_eq!(exchanges["delivered"], 99, "{exchanges}");
    assert_eq!(exchanges["dropped"]["invalid"], 1, "{exchanges}");
    let log = agent.log();
    let lost = log.lines().find(|line| line.contains("lost: the brokers"));
    assert!(lost.unwrap().contains(&id(1)), "{log}");
    assert!(!kafka.exchanges().contains_key(&id(1)));
}

#[test]
fn a_login_without_aws_credentials_says_so() {
    let kafka = MockKafka::start();
    let agent = setup(&kafka)
        .set("kafka.security", "sasl-tls")
        .set("kafka.sasl", "aws-msk-iam")
        .set("kafka.aws_region", "eu-central-1")
        .env("HOME", "/nonexistent")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .start();
    wait_until("what is missing is told", || {
        match trouble(&agent).contains("cannot log in to kafka: there are no AWS credentials") {
            true => Ok(()),
            false => Err(trouble(&agent)),
        }
    });
}

#[test]
fn a_document_keeps_its_order_over_connections_when_that_is_the_key() {
    let kafka = MockKafka::start();
    let agent = setup(&kafka).set("kafka.key", "document").start();
    let document = |message: Message| {
        message
            .with("m", Value::Str(b"PUT"))
            .with("pq", Value::Str(b"/i/_doc/7"))
    };
    let mut haproxy = FakeHaproxy::connected(&agent);
    for number in 0..50 {
        let port = i64::try_from(number + 1000).unwrap();
        let half = document(request(&id(number))).with("cport", Value::Int64(port));
        haproxy.sends(&notify(number + 1, 1, &[half]));
        haproxy.expects(ack(number + 1, 1));
        haproxy.sends(&notify(number + 1, 2, &[response(&id(number))]));
        haproxy.expects(ack(number + 1, 2));
    }
    assert_all_delivered(&agent, &kafka, 0..50);
    assert_order_is_kept(&kafka);
    assert!(kafka.stored(TOPIC).iter().all(|stored| stored.key == "i/7"));
}

#[test]
fn every_format_reads_back() {
    for format in ["json", "protobuf", "traffic-stream"] {
        let kafka = MockKafka::start();
        let agent = setup(&kafka).set("kafka.format", format).start();
        capture(&agent, 0..50);
        agent.wait_until_followers_caught_up();
        assert_ledger_balances(&agent);
        assert_eq!(account(&agent)["exchanges"]["delivered"], 50, "{format}");
        let told = kafka.told(TOPIC);
        let exchanges = told
            .iter()
            .filter(|told| matches!(told, Told::Exchange { .. }));
        assert_eq!(exchanges.count(), 50, "{format}: {told:?}");
    }
}
