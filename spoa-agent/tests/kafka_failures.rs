//! The failure modes of an offload to Kafka, row by row, as clients see them through a real HAProxy: see the table in
//! `src/offload/README.md`, whose rows have the names of these tests. With each HAProxy in `HAPROXY_BINARIES`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use haproxy_config::{Hold, Options};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use support::haproxy::{self, Haproxy};
use support::installed::{self, binaries};
use support::mock_kafka::MockKafka;
use support::{Agent, Origin, assert_ledger_balances, origin, wait_until};

/// How long a held write waits for Kafka at most; HAProxy waits a little longer.
const DEADLINE: Duration = Duration::from_secs(2);
const HAPROXY_WAITS: Duration = Duration::from_secs(4);
/// Nobody waits that long who does not wait for Kafka. (Those who do wait for ever in these tests.)
const FOR_EVER: &str = "55s";

struct Stage {
    kafka: MockKafka,
    agent: Agent,
    node: Origin,
    haproxy: Haproxy,
}

impl Stage {
    fn start(binary: &installed::Haproxy, hold: Hold, deadline: &str) -> Self {
        let kafka = MockKafka::start();
        let agent = Agent::setup()
            .set("kafka.brokers", kafka.brokers())
            .set("kafka.linger", "2ms")
            .set("capture.hold", "kafka")
            .set("kafka.hold_deadline", deadline)
            // Of what HAProxy answers itself there is no response half.
            .set("pairing.deadline", "6s")
            .start();
        let node = Origin::start(|_request| origin::ok());
        let options = Options {
            hold,
            hold_timeout: match deadline {
                FOR_EVER => Duration::from_secs(58),
                _ => HAPROXY_WAITS,
            },
            ..haproxy::options(&agent, &node)
        };
        let haproxy = Haproxy::start(binary, &options);
        Self {
            kafka,
            agent,
            node,
            haproxy,
        }
    }

    /// The status, and how long it took.
    fn ask(&self, method: &str, target: &str) -> (u16, Duration) {
        let mut client = self.haproxy.client();
        let answer = client.request(method, target, &[], b"{}").unwrap();
        (answer.status, answer.took)
    }

    /// Kafka has so many exchanges in the end, and the account says so.
    fn assert_delivered_in_the_end(&self, count: usize) {
        wait_until("everything is delivered", || {
            let account = self.agent.ledger()["followers"]["kafka"]["exchanges"].clone();
            match account["delivered"] == count {
                true => Ok(()),
                false => Err(account.to_string()),
            }
        });
        self.agent.wait_until_followers_caught_up();
        assert_ledger_balances(&self.agent);
        assert_eq!(self.kafka.exchanges().len(), count);
    }

    fn holds(&self, outcome: &str) -> u64 {
        let name = format!("spoa_agent_holds_ended_total{{outcome=\"{outcome}\"}} ");
        let text = self.agent.admin("/metrics").1;
        let value = text.lines().find_map(|line| line.strip_prefix(&name));
        value.unwrap().parse().unwrap()
    }
}

#[test]
fn kafka_mutating_error() {
    for binary in binaries() {
        let stage = Stage::start(&binary, Hold::Closed, FOR_EVER);
        let errors = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 3];
        stage
            .kafka
            .cluster
            .request_errors(RDKafkaApiKey::Produce, &errors);
        // Fail closed: a 200 says that Kafka had it before the node had.
        assert_eq!(stage.ask("PUT", "/i/_doc/1").0, 200);
        assert_eq!(stage.holds("durable"), 1);
        stage.assert_delivered_in_the_end(1);
    }
}

#[test]
fn kafka_mutating_unavailable_fail_open() {
    for binary in binaries() {
        let stage = Stage::start(&binary, Hold::Open, "2s");
        stage.kafka.cluster.broker_down(-1).unwrap();
        let (status, took) = stage.ask("PUT", "/i/_doc/1");
        assert_eq!(status, 200);
        assert!(took >= DEADLINE, "{took:?}");
        // One has waited; the others need not.
        for number in 2..8 {
            assert_eq!(stage.ask("PUT", &format!("/i/_doc/{number}")).0, 200);
        }
        assert_eq!((stage.holds("deadline"), stage.holds("kafka_away")), (1, 6));
        stage.kafka.cluster.broker_up(-1).unwrap();
        stage.assert_delivered_in_the_end(7);
        assert_eq!(stage.node.heard().len(), 7);
    }
}

#[test]
fn kafka_mutating_unavailable_fail_closed() {
    for binary in binaries() {
        let stage = Stage::start(&binary, Hold::Closed, "2s");
        stage.kafka.cluster.broker_down(-1).unwrap();
        let (status, took) = stage.ask("PUT", "/i/_doc/1");
        assert_eq!(status, 503);
        assert!(took >= DEADLINE, "{took:?}");
        assert_eq!(stage.ask("DELETE", "/i/_doc/1").0, 503);
        assert!(stage.node.heard().is_empty(), "denied, and yet at the node");
        stage.kafka.cluster.broker_up(-1).unwrap();
        // The refused ones are told as well, with the answer that the client had.
        stage.assert_delivered_in_the_end(2);
        assert_eq!(stage.ask("PUT", "/i/_doc/2").0, 200);
    }
}

#[test]
fn kafka_non_mutating_error() {
    for binary in binaries() {
        let stage = Stage::start(&binary, Hold::Closed, FOR_EVER);
        let errors = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 3];
        stage
            .kafka
            .cluster
            .request_errors(RDKafkaApiKey::Produce, &errors);
        assert_eq!(stage.ask("GET", "/i/_doc/1").0, 200);
        assert_eq!(stage.ask("POST", "/i/_search").0, 200);
        assert_eq!(stage.agent.metric("spoa_agent_holds_begun_total"), 0.0);
        stage.assert_delivered_in_the_end(2);
    }
}

#[test]
fn kafka_non_mutating_unavailable() {
    for binary in binaries() {
        let stage = Stage::start(&binary, Hold::Closed, FOR_EVER);
        stage.kafka.cluster.broker_down(-1).unwrap();
        let reads = [
            ("GET", "/"),
            ("GET", "/i/_doc/1"),
            ("HEAD", "/i"),
            ("GET", "/i/_search"),
            ("POST", "/i/_search"),
            ("POST", "/_search?size=1"),
            ("POST", "/a,b/_search/template"),
            ("POST", "/_search/scroll"),
            ("DELETE", "/_search/scroll"),
            ("POST", "/i/_msearch"),
            ("POST", "/_msearch/template"),
            ("POST", "/i/_count"),
            ("POST", "/_mget"),
            ("POST", "/i/_pit?keep_alive=1m"),
            ("DELETE", "/_pit"),
            ("POST", "/i/_async_search"),
            ("POST", "/i/_explain/1"),
            ("POST", "/i/_field_caps?fields=*"),
            ("POST", "/_analyze"),
            ("POST", "/_sql"),
            ("POST", "/_plugins/_ppl"),
        ];
        for (method, target) in reads {
            assert_eq!(stage.ask(method, target).0, 200, "{method} {target}");
        }
        let held = stage.agent.metric("spoa_agent_holds_begun_total");
        assert_eq!(held, 0.0, "a read is never held");
        stage.kafka.cluster.broker_up(-1).unwrap();
        stage.assert_delivered_in_the_end(reads.len());
    }
}

#[test]
fn what_is_held_is_what_writes() {
    for binary in binaries() {
        let stage = Stage::start(&binary, Hold::Closed, FOR_EVER);
        let writes = [
            ("PUT", "/i/_doc/1"),
            ("POST", "/i/_doc"),
            ("POST", "/i/_update/1"),
            ("DELETE", "/i/_doc/1"),
            ("POST", "/_bulk"),
            ("POST", "/i/_bulk?refresh=true"),
            ("PUT", "/i"),
            ("DELETE", "/i"),
            ("POST", "/i/_update_by_query"),
            ("POST", "/_reindex"),
            ("PUT", "/_search/pipeline/p"),
            ("POST", "/_aliases"),
            ("POST", "/i/_doc/_search"),
        ];
        for (held, (method, target)) in (1..).zip(writes) {
            assert_eq!(stage.ask(method, target).0, 200, "{method} {target}");
            assert_eq!(
                stage.holds("durable"),
                held,
                "{method} {target} is not held"
            );
        }
        stage.assert_delivered_in_the_end(writes.len());
    }
}

#[test]
fn destination_any_offline() {
    for binary in binaries() {
        let mut stage = Stage::start(&binary, Hold::Open, FOR_EVER);
        let answers = |stage: &Stage| ["GET", "PUT"].map(|method| stage.ask(method, "/i/_doc/1").0);
        assert_eq!(answers(&stage), [200, 200]);
        stage.node = Origin::start(|_request| origin::ok());
        // What HAProxy says of a node that is not there, no more and no less; and it is captured.
        assert_eq!(answers(&stage), [503, 503]);
        stage.assert_delivered_in_the_end(4);
    }
}

#[test]
fn logging_any() {
    for binary in binaries() {
        let stage = Stage::start(&binary, Hold::Open, "2s");
        stage.kafka.cluster.broker_down(-1).unwrap();
        for _ in 0..50 {
            assert_eq!(stage.ask("GET", "/").0, 200);
        }
        let lines = stage.agent.log_lines("");
        assert!(
            lines < 100,
            "{lines} lines: an outage must not fill the log"
        );
        stage.kafka.cluster.broker_up(-1).unwrap();
        stage.assert_delivered_in_the_end(50);
    }
}

/// Asks for more metrics than the buffers between the two can hold.
fn asks_and_does_not_read(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nonblocking(true).unwrap();
    let asked = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2000);
    // As much as is taken; the rest would wait for us to read.
    drop(stream.write(asked.as_bytes()));
    stream
}

#[test]
fn telemetry_any() {
    for binary in binaries() {
        let stage = Stage::start(&binary, Hold::Closed, FOR_EVER);
        // Whoever asks for metrics and does not read the answers holds up nobody.
        let address = stage.agent.admin_address();
        let idle: Vec<TcpStream> = (0..64).map(|_| asks_and_does_not_read(address)).collect();
        for number in 0..20 {
            assert_eq!(stage.ask("PUT", &format!("/i/_doc/{number}")).0, 200);
        }
        drop(idle);
        stage.assert_delivered_in_the_end(20);
    }
}
