//! `spoa-agent replay --from kafka:...` and `tail --from kafka:...` as processes, against a mock of Kafka that librdkafka
//! brings along, and against a real broker where it is installed: the mock knows no times of messages.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a helper that fails has failed its test"
)]

mod support;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use exchange::message::{Format, Message, Options, Origin as From, Writer};
use exchange::{Exchange, Header, Pair, Request, Response, Sending};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header as KafkaHeader, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;
use spoa_agent::readback::Done;
use support::broker::{self, Broker, Protocol, Setup};
use support::http::Message as HttpMessage;
use support::origin::{Reply, ok};
use support::{Origin, wait_for};
use tempfile::TempDir;

/// 2026-11-21T03:45:00Z.
const BEGIN: u64 = 1_795_232_700_000_000;
const TOPIC: &str = "captured-traffic";
const GROUP: &str = "readers";

/// A captured exchange, a millisecond after the one before it.
fn exchange(number: u64) -> Exchange {
    let id = Bytes::from(format!("id-{number}"));
    let host = Header {
        name: Bytes::from("host"),
        value: Bytes::from("primary:9200"),
    };
    let time_us = BEGIN + number * 1000;
    Exchange {
        position: number * 100,
        request: Some(Request {
            id: id.clone(),
            time_us,
            version: Bytes::from("1.1"),
            method: Bytes::from("GET"),
            target: Bytes::from(format!("/i/_doc/{number}")),
            headers: [host].into_iter().collect(),
            ..Request::default()
        }),
        response: Some(Response {
            id,
            time_us: time_us + 500,
            status: 200,
            version: Bytes::from("1.1"),
            ..Response::default()
        }),
    }
}

/// A write of one document, so that these are to be sent in their order.
fn write(number: u64) -> Exchange {
    let mut exchange = exchange(number);
    let request = exchange.request.as_mut().unwrap();
    request.method = Bytes::from("PUT");
    request.target = Bytes::from("/i/_doc/1");
    request.body.content = Bytes::from(format!("{{\"n\":{number}}}"));
    let response = exchange.response.as_mut().unwrap();
    let answer = format!(
        "{{\"_index\":\"i\",\"_id\":\"1\",\"_version\":{number},\"result\":\"updated\",\"_seq_no\":{number},\
         \"_primary_term\":1,\"_shards\":{{\"total\":1,\"successful\":1,\"failed\":0}}}}"
    );
    response.body.content = Bytes::from(answer);
    exchange
}

fn origin_of(exchange: &Exchange) -> From<'static> {
    From {
        agent: "node-1",
        begun: exchange.position,
        complete: exchange.position + 50,
    }
}

/// A cluster with one topic.
struct Kafka {
    /// `None`: it is a real broker.
    mock: Option<MockCluster<'static, DefaultProducerContext>>,
    brokers: String,
    topic: String,
    producer: BaseProducer,
    writer: Writer,
    folder: TempDir,
}

impl Kafka {
    fn start(partitions: i32) -> Self {
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic(TOPIC, partitions, 1).unwrap();
        let brokers = mock.bootstrap_servers();
        Self::with(Some(mock), brokers, TOPIC)
    }

    /// A topic of a real broker, if there is one here.
    fn real(partitions: i32) -> Option<Self> {
        static BROKER: OnceLock<Broker> = OnceLock::new();
        static TOPICS: AtomicUsize = AtomicUsize::new(0);
        if !broker::is_installed() {
            return None;
        }
        let broker = BROKER.get_or_init(|| {
            let setup = Setup::new().listener("PLAINTEXT", Protocol::Plaintext);
            setup.set("group.initial.rebalance.delay.ms", "0").share()
        });
        let brokers = broker.address("PLAINTEXT").to_string();
        let topic = format!("{TOPIC}-{}", TOPICS.fetch_add(1, Ordering::SeqCst));
        Some(Self::made(brokers, &topic, partitions))
    }

    /// A topic that is made at a real broker.
    fn made(brokers: String, topic: &str, partitions: i32) -> Self {
        let admin: AdminClient<_> = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .create()
            .unwrap();
        let wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let made = admin.create_topics([&wanted], &AdminOptions::new());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(made).unwrap()[0].as_ref().unwrap();
        Self::with(None, brokers, topic)
    }

    fn with(
        mock: Option<MockCluster<'static, DefaultProducerContext>>,
        brokers: String,
        topic: &str,
    ) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .set("linger.ms", "0")
            .create()
            .unwrap();
        Self {
            mock,
            brokers,
            topic: topic.to_owned(),
            producer,
            writer: Writer::new(Format::Json, Options::default()),
            folder: TempDir::new().unwrap(),
        }
    }

    fn mock(&self) -> &MockCluster<'static, DefaultProducerContext> {
        self.mock.as_ref().unwrap()
    }

    /// The name of the group of this topic.
    fn group(&self) -> String {
        format!("{GROUP}-{}", self.topic)
    }

    fn place(&self) -> String {
        format!("kafka:{}/{}", self.brokers, self.topic)
    }

    fn send(&self, partition: i32, messages: &[Message]) {
        for message in messages {
            let mut headers = OwnedHeaders::new();
            for (key, value) in &message.headers {
                headers = headers.insert(KafkaHeader {
                    key,
                    value: Some(value.as_ref()),
                });
            }
            let record = BaseRecord::<[u8], [u8]>::to(&self.topic)
                .partition(partition)
                .headers(headers)
                .payload(&message.value);
            self.producer
                .send(record)
                .map_err(|(error, _)| error)
                .unwrap();
        }
    }

    fn flush(&self) {
        self.producer.flush(Duration::from_secs(60)).unwrap();
    }

    fn exchange(&mut self, partition: i32, exchange: &Exchange) {
        let mut messages = Vec::new();
        self.writer
            .exchange(&origin_of(exchange), exchange, &mut messages);
        self.send(partition, &messages);
    }

    /// Exchanges of these numbers, over the partitions in turns.
    fn fill(&mut self, partitions: i32, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let partition = i32::try_from(number).unwrap() % partitions;
            self.exchange(partition, &exchange(number));
        }
        self.flush();
    }

    /// What a group has committed, by partition.
    fn committed(&self, partitions: i32) -> BTreeMap<i32, Done> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", self.group())
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.topic, 0, partitions - 1);
        let committed = consumer
            .committed_offsets(list, Duration::from_secs(30))
            .unwrap();
        let elements = committed.elements();
        elements
            .iter()
            .filter_map(|it| match it.offset() {
                Offset::Offset(low) => Some((it.partition(), Done::decode(low, it.metadata())?)),
                _ => None,
            })
            .collect()
    }

    fn report(&self) -> Value {
        let report = std::fs::read(self.folder.path().join("report.json")).unwrap();
        serde_json::from_slice(&report).unwrap()
    }

    fn replay(&self, target: &Origin, more: &[&str]) -> Command {
        let report = self.folder.path().join("report.json");
        let mut command = agent(&["replay", "--from", &self.place(), "--to", &target.url()]);
        command.args(["--group", &self.group(), "--speed", "max"]);
        command.arg("--report").arg(report).args(more);
        command
    }
}

fn agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spoa-agent"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    eprintln!("{}", said(&output));
    output
}

fn said(output: &Output) -> String {
    let [out, error] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    format!("{out}{error}")
}

/// A replay that goes on until it is told to stop.
struct Running {
    child: Child,
    log: std::path::PathBuf,
}

impl Running {
    fn start(command: &mut Command, folder: &TempDir, name: &str) -> Self {
        let log = folder.path().join(name);
        let file = std::fs::File::create(&log).unwrap();
        let child = command
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    fn stop(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").arg(&pid).status().unwrap();
        assert!(sent.success());
        let status = self.child.wait().unwrap();
        eprintln!("{}", self.log());
        status.code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

fn target(request: &HttpMessage) -> String {
    let line = String::from_utf8(request.first_line().to_vec()).unwrap();
    line.split(' ').nth(1).unwrap().to_owned()
}

/// The numbers of the documents that were asked for, as they came.
fn heard(origin: &Origin) -> Vec<u64> {
    let targets = origin.heard().iter().map(target).collect::<Vec<_>>();
    let documents = targets
        .iter()
        .filter_map(|it| it.strip_prefix("/i/_doc/")?.parse().ok());
    documents.collect()
}

/// Waits until it is so.
fn wait_while_not(what: &str, is_so: impl Fn() -> bool) {
    wait_for(what, || is_so().then_some(()));
}

fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_unstable();
    numbers
}

fn all(numbers: std::ops::Range<u64>) -> Vec<u64> {
    numbers.collect()
}

#[test]
fn a_topic_is_replayed_to_its_end_and_what_was_done_is_not_done_again() {
    replayed_to_its_end(Kafka::start(3));
}

fn replayed_to_its_end(mut kafka: Kafka) {
    kafka.fill(3, 0..300);
    let origin = Origin::start(|_| ok());
    let output = done(&mut kafka.replay(&origin, &[]));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(sorted(heard(&origin)), all(0..300));
    let report = kafka.report();
    assert_eq!(report["targets"][0]["delivered"]["2xx"], 300);
    assert_eq!(report["targets"][0]["balanced"], true);
    assert_eq!(report["targets"][0]["late_in_source"], 0);
    for (partition, done) in kafka.committed(3) {
        assert_eq!(done, Done::before(100), "{partition}");
    }
    // Nothing is left, and that is said.
    let output = done(&mut kafka.replay(&origin, &[]));
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("--restart"), "{}", said(&output));
    // What came since goes.
    kafka.fill(3, 300..330);
    let output = done(&mut kafka.replay(&origin, &[]));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(sorted(heard(&origin)), all(0..330));
    // Everything again, when that is wanted.
    let output = done(&mut kafka.replay(&origin, &["--restart"]));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(heard(&origin).len(), 660);
}

#[test]
fn writes_of_one_document_keep_the_order_of_the_journal_across_partitions() {
    let mut kafka = Kafka::start(4);
    // One partition is far behind the others, and tells the beginning last.
    for number in (0..400).rev() {
        let number = 4 * (number / 4) + 3 - number % 4;
        let partition = i32::try_from(number % 4).unwrap();
        let number = 399 - number;
        kafka.exchange(partition, &write(number));
    }
    kafka.flush();
    let origin = Origin::start(|_| ok());
    let output = done(&mut kafka.replay(&origin, &[]));
    assert_eq!(output.status.code(), Some(0));
    let bodies = origin.heard().into_iter().filter_map(|it| {
        let body: Value = serde_json::from_slice(&it.body).ok()?;
        body["n"].as_u64()
    });
    assert_eq!(bodies.collect::<Vec<_>>(), all(0..400));
}

#[test]
fn one_that_is_stuck_holds_up_nothing_and_after_a_kill_only_it_is_sent_again() {
    stuck(Kafka::start(2));
}

fn stuck(mut kafka: Kafka) {
    kafka.fill(2, 0..200);
    let stuck = Origin::start(|request| match target(request).as_str() {
        "/i/_doc/7" => Reply::Silence,
        _ => ok(),
    });
    let running = Running::start(&mut kafka.replay(&stuck, &[]), &kafka.folder, "first");
    wait_for("all but one are committed", || {
        let committed = kafka.committed(2);
        let one = committed.get(&1)?;
        let is_done = committed.get(&0) == Some(&Done::before(100)) && one.high == 100;
        // 7 is the fourth message of the second partition.
        (is_done && one.low == 3 && one.open == [3]).then_some(())
    });
    running.kill();
    let origin = Origin::start(|_| ok());
    let output = done(&mut kafka.replay(&origin, &[]));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(heard(&origin), [7]);
}

#[test]
fn after_a_kill_in_the_middle_everything_is_sent_and_the_account_goes_on() {
    let mut kafka = Kafka::start(2);
    kafka.fill(2, 0..400);
    let state = kafka.folder.path().join("state");
    let more = ["--state", state.to_str().unwrap(), "--rate", "150"];
    let command = |target: &Origin| {
        let mut command = agent(&["replay", "--from", &kafka.place(), "--to", &target.url()]);
        command.args(["--group", &kafka.group(), "--report"]);
        command
            .arg(kafka.folder.path().join("report.json"))
            .args(more);
        command
    };
    let origin = Origin::start(|_| ok());
    let running = Running::start(&mut command(&origin), &kafka.folder, "first");
    wait_while_not("half are sent", || heard(&origin).len() >= 200);
    running.kill();
    let before = heard(&origin).len();
    let output = done(&mut command(&origin));
    assert_eq!(output.status.code(), Some(0));
    let numbers = heard(&origin);
    let again = numbers.len() - 400;
    let mut distinct = sorted(numbers);
    distinct.dedup();
    assert_eq!(distinct, all(0..400));
    // What was done since the state was kept, half a second before.
    assert!(again < before, "{again} of {before} were sent again");
    assert_eq!(kafka.report()["targets"][0]["read"], 400);
}

#[test]
fn two_of_a_group_share_the_topic_and_nothing_is_missing() {
    shared(Kafka::start(4));
}

fn shared(mut kafka: Kafka) {
    kafka.fill(4, 0..100);
    let origin = Origin::start(|_| ok());
    let place = format!("{}?window=200ms", kafka.place());
    let command = || {
        let mut command = agent(&["replay", "--from", &place, "--to", &origin.url()]);
        command.args(["--group", &kafka.group(), "--speed", "max", "--follow"]);
        command
    };
    let first = Running::start(&mut command(), &kafka.folder, "first");
    wait_while_not("the first has all", || heard(&origin).len() == 100);
    let second = Running::start(&mut command(), &kafka.folder, "second");
    wait_while_not("the second has a share", || {
        second.log().contains("reading")
    });
    wait_while_not("the first has let go", || {
        first
            .log()
            .contains("another one of the group gets this partition")
    });
    kafka.fill(4, 100..300);
    wait_while_not("all are sent", || distinct(&origin) == 300);
    // One goes, in order, and the other one has it all.
    assert_eq!(second.stop(), Some(5));
    kafka.fill(4, 300..400);
    wait_while_not("all are sent", || distinct(&origin) == 400);
    assert_eq!(first.stop(), Some(5));
    let mut numbers = sorted(heard(&origin));
    if kafka.mock.is_some() {
        // The mock refuses commits while members join (`REBALANCE_IN_PROGRESS`), when a broker takes them. What such a commit
        // says may be done again, by the member that the mock gave the partitions to meanwhile.
        eprintln!("{} were sent again", numbers.len() - 400);
        numbers.dedup();
    }
    assert_eq!(numbers, all(0..400));
}

fn distinct(origin: &Origin) -> usize {
    let mut numbers = sorted(heard(origin));
    numbers.dedup();
    numbers.len()
}

#[test]
fn when_one_of_a_group_is_killed_the_other_sends_what_it_left() {
    let mut kafka = Kafka::start(2);
    let numbers = 0..100;
    kafka.fill(2, numbers.clone());
    let stuck = Origin::start(|_| Reply::Silence);
    let killed = Running::start(&mut kafka.replay(&stuck, &[]), &kafka.folder, "killed");
    wait_while_not("something is on its way", || stuck.heard_count() > 0);
    killed.kill();
    // It waits for the dead one's session to end.
    let origin = Origin::start(|_| ok());
    let output = done(&mut kafka.replay(&origin, &[]));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(sorted(heard(&origin)), all(numbers));
}

#[test]
fn only_the_offsets_that_are_asked_for_are_replayed() {
    let mut kafka = Kafka::start(2);
    kafka.fill(2, 0..100);
    let origin = Origin::start(|_| ok());
    let output = done(&mut kafka.replay(&origin, &["--offsets", "0:10-19"]));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        sorted(heard(&origin)),
        (10..20).map(|it| it * 2).collect::<Vec<u64>>()
    );
    let output = done(&mut kafka.replay(&origin, &["--offsets", "0:1-2,7:3"]));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("no partition 7"),
        "{}",
        said(&output)
    );
}

#[test]
fn what_comes_twice_is_sent_once_and_what_cannot_be_read_is_counted() {
    let mut kafka = Kafka::start(2);
    kafka.fill(2, 0..50);
    // The producer was killed before it knew.
    kafka.fill(2, 20..60);
    let poison = |value: &'static str| Message {
        value: Bytes::from(value),
        ..Message::default()
    };
    kafka.send(0, &[poison("{\"event\":"), poison("{}")]);
    kafka.send(1, &[poison("{\"event\":{\"kind\":\"dream\"}}")]);
    // A held write is told ahead of its exchange, and one is told whose exchange never comes.
    let mut messages = Vec::new();
    for number in [60, 61] {
        let exchange = exchange(number);
        let request = exchange.request.as_ref().unwrap();
        kafka
            .writer
            .request(&origin_of(&exchange), request, &mut messages);
    }
    kafka.send(0, &messages);
    kafka.exchange(1, &exchange(60));
    kafka.flush();
    let origin = Origin::start(|_| ok());
    let output = done(&mut kafka.replay(&origin, &[]));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(sorted(heard(&origin)), all(0..62));
    let report = kafka.report();
    let figures = &report["targets"][0];
    assert_eq!(figures["came_again"], 30);
    assert_eq!(figures["undecodable"], 3);
    assert_eq!(figures["read"], 62);
    let committed = kafka.committed(2);
    assert!(
        committed.values().all(|done| done.open.is_empty()),
        "{committed:?}"
    );
}

#[test]
fn a_second_delivery_is_known_after_a_restart_too() {
    let mut kafka = Kafka::start(1);
    kafka.fill(1, 0..50);
    let origin = Origin::start(|_| ok());
    assert!(done(&mut kafka.replay(&origin, &[])).status.success());
    kafka.fill(1, 40..60);
    assert!(done(&mut kafka.replay(&origin, &[])).status.success());
    assert_eq!(sorted(heard(&origin)), all(0..60));
}

#[test]
fn a_large_exchange_in_parts_is_put_together() {
    let mut kafka = Kafka::start(1);
    kafka.writer = Writer::new(
        Format::Json,
        Options {
            max_bytes: 4000,
            ..Options::default()
        },
    );
    let mut large = exchange(1);
    large.response.as_mut().unwrap().body.content = Bytes::from("x".repeat(50_000));
    kafka.exchange(0, &exchange(0));
    kafka.exchange(0, &large);
    kafka.exchange(0, &exchange(2));
    kafka.flush();
    let origin = Origin::start(|_| ok());
    assert!(done(&mut kafka.replay(&origin, &[])).status.success());
    assert_eq!(sorted(heard(&origin)), [0, 1, 2]);
}

#[test]
fn errors_of_a_broker_cost_time_only() {
    use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Error};
    let mut kafka = Kafka::start(2);
    kafka.fill(2, 0..100);
    kafka.mock().request_errors(
        Api::Fetch,
        &[Error::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 3],
    );
    kafka.mock().request_errors(
        Api::OffsetCommit,
        &[
            Error::RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE,
            Error::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
            Error::RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE,
        ],
    );
    kafka
        .mock()
        .broker_round_trip_time(1, Duration::from_millis(30))
        .unwrap();
    let origin = Origin::start(|_| ok());
    let output = done(&mut kafka.replay(&origin, &[]));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(sorted(heard(&origin)), all(0..100));
    for (partition, done) in kafka.committed(2) {
        assert_eq!(done, Done::before(50), "{partition}");
    }
}

#[test]
fn a_topic_in_the_format_of_the_capture_proxy_and_its_export_are_replayed() {
    let kafka = Kafka::start(1);
    let mut writer = Writer::new(Format::TrafficStream, Options::default());
    let mut messages = Vec::new();
    for number in 0..20 {
        let exchange = exchange(number);
        writer.exchange(&origin_of(&exchange), &exchange, &mut messages);
    }
    // The original writes no headers.
    for message in &mut messages {
        message.headers.clear();
    }
    kafka.send(0, &messages);
    kafka.flush();
    let origin = Origin::start(|_| ok());
    let output = done(&mut kafka.replay(&origin, &[]));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(sorted(heard(&origin)), all(0..20));

    let lines = messages.iter().map(|message| {
        let key = String::from_utf8(message.key.clone().unwrap_or_default().to_vec()).unwrap();
        format!("{key}|{}\n", BASE64.encode(&message.value))
    });
    let export = kafka.folder.path().join("export");
    std::fs::write(&export, lines.collect::<String>() + "no record\n").unwrap();
    let from = format!("traffic-stream:{}", export.display());
    let report = kafka.folder.path().join("report.json");
    let again = Origin::start(|_| ok());
    let mut command = agent(&[
        "replay",
        "--from",
        &from,
        "--to",
        &again.url(),
        "--speed",
        "max",
    ]);
    let output = done(command.arg("--report").arg(report));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(sorted(heard(&again)), all(0..20));
    assert_eq!(kafka.report()["targets"][0]["undecodable"], 1);
}

#[test]
fn a_dry_run_takes_nothing_from_the_group() {
    let mut kafka = Kafka::start(2);
    kafka.fill(2, 0..20);
    let origin = Origin::start(|_| ok());
    for _ in 0..2 {
        let output = done(&mut kafka.replay(&origin, &["--dry-run"]));
        assert!(
            said(&output).contains("20 would be sent"),
            "{}",
            said(&output)
        );
    }
    assert_eq!(origin.heard_count(), 0);
    assert!(done(&mut kafka.replay(&origin, &[])).status.success());
    assert_eq!(sorted(heard(&origin)), all(0..20));
}

#[test]
fn a_topic_that_is_not_there_and_a_broker_that_is_not_there_are_told() {
    let kafka = Kafka::start(1);
    let origin = Origin::start(|_| ok());
    let missing = format!("kafka:{}/other.topic", kafka.mock().bootstrap_servers());
    let to = origin.url();
    let wrong = [
        "replay",
        "--from",
        &missing,
        "--to",
        &to,
        "--follow",
        "--offsets",
        "0:1-x",
    ];
    assert_eq!(done(&mut agent(&wrong)).status.code(), Some(2));
    let output = done(&mut agent(&["replay", "--from", "kafka:/t", "--to", &to]));
    assert!(
        said(&output).contains("names no broker"),
        "{}",
        said(&output)
    );
}

// ---------------------------------------------------------------------------------------------
// A real broker

#[test]
fn a_real_broker_s_topic_is_replayed_to_its_end() {
    if let Some(kafka) = Kafka::real(3) {
        replayed_to_its_end(kafka);
    }
}

#[test]
fn with_a_real_broker_one_that_is_stuck_holds_up_nothing() {
    if let Some(kafka) = Kafka::real(2) {
        stuck(kafka);
    }
}

#[test]
fn two_of_a_group_share_a_real_broker_s_topic_and_each_exchange_is_sent_once() {
    if let Some(kafka) = Kafka::real(4) {
        shared(kafka);
    }
}

#[test]
fn a_replay_and_a_tail_go_on_when_a_broker_that_was_killed_is_back() {
    let Some(mut broker) = Broker::plaintext() else {
        return;
    };
    let mut kafka = Kafka::made(broker.bootstrap(), TOPIC, 2);
    kafka.fill(2, 0..100);
    let origin = Origin::start(|_| ok());
    let place = format!("{}?window=200ms", kafka.place());
    let mut replay = agent(&["replay", "--from", &place, "--to", &origin.url()]);
    replay.args(["--group", &kafka.group(), "--speed", "max", "--follow"]);
    // So that only this process can know where to go on.
    replay.arg("--restart");
    let replay = Running::start(&mut replay, &kafka.folder, "replay");
    let mut tail = agent(&["tail", "--from", &kafka.place(), "-f", "-n", "1"]);
    let tail = Running::start(&mut tail, &kafka.folder, "tail");
    wait_while_not("all are sent", || heard(&origin).len() >= 100);
    wait_while_not("the last is shown", || tail.log().contains("/i/_doc/99 "));
    broker.kill();
    wait_while_not("it is told that the broker is away", || {
        replay.log().contains("WARN")
    });
    broker.start_again();
    kafka.fill(2, 100..200);
    wait_while_not("all are sent", || heard(&origin).len() >= 200);
    wait_while_not("all are shown", || {
        (100..200).all(|number| tail.log().contains(&format!("/i/_doc/{number} ")))
    });
    let log = replay.log.clone();
    assert_eq!(replay.stop(), Some(5));
    assert_eq!(sorted(heard(&origin)), all(0..200));
    // Though the group took it for dead.
    let log = std::fs::read_to_string(log).unwrap();
    assert!(!log.contains("came again"), "it began anew");
    for (partition, done) in kafka.committed(2) {
        assert_eq!(done, Done::before(100), "{partition}");
    }
    assert_eq!(tail.log().matches("/i/_doc/150 ").count(), 1);
}

#[test]
fn a_replay_of_a_real_broker_s_topic_begins_where_the_time_was_written() {
    let Some(mut kafka) = Kafka::real(2) else {
        return;
    };
    kafka.fill(2, 0..40);
    // The broker's times have milliseconds.
    std::thread::sleep(Duration::from_millis(20));
    let now = jiff::Timestamp::now();
    let now_us = u64::try_from(now.as_microsecond()).unwrap();
    for number in 40..60_u64 {
        let mut exchange = exchange(number);
        exchange.request.as_mut().unwrap().time_us = now_us + number;
        exchange.response.as_mut().unwrap().time_us = now_us + number + 1;
        kafka.exchange(i32::try_from(number % 2).unwrap(), &exchange);
    }
    kafka.flush();
    let origin = Origin::start(|_| ok());
    let output = done(&mut kafka.replay(&origin, &["--since", &now.to_string()]));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(sorted(heard(&origin)), all(40..60));
    let figures = &kafka.report()["targets"][0];
    // What was written before was not even read.
    assert_eq!(
        (&figures["read"], &figures["outside_window_or_limit"]),
        (&20.into(), &0.into())
    );
    let place = kafka.place();
    let since = now.to_string();
    let tail = [
        "tail", "--from", &place, "--format", "json", "--since", &since,
    ];
    assert_eq!(lines(&done(&mut agent(&tail))).len(), 20);
}

#[test]
fn a_partition_with_more_than_fits_in_memory_waits_for_one_that_is_behind() {
    let Some(mut kafka) = Kafka::real(2) else {
        return;
    };
    // Hours of few large exchanges, and of many small ones.
    for number in 0..180 {
        let mut large = exchange(number * 60_000);
        large.response.as_mut().unwrap().body.content = Bytes::from(vec![b'x'; 500_000]);
        kafka.exchange(0, &large);
    }
    for number in 0..1500 {
        kafka.exchange(1, &exchange(number * 7200 + 1));
    }
    kafka.flush();
    let origin = Origin::start(|_| ok());
    let output = done(&mut kafka.replay(&origin, &[]));
    assert_eq!(output.status.code(), Some(0));
    let figures = &kafka.report()["targets"][0];
    assert_eq!(
        (&figures["read"], &figures["late_in_source"]),
        (&1680.into(), &0.into())
    );
    assert_eq!(origin.heard_count(), 1680);
}

// ---------------------------------------------------------------------------------------------
// tail

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn ids(lines: &[Value]) -> Vec<&str> {
    lines
        .iter()
        .map(|line| line["event"]["id"].as_str().unwrap())
        .collect()
}

#[test]
fn tail_shows_the_last_of_all_partitions_by_time() {
    let mut kafka = Kafka::start(3);
    kafka.fill(3, 0..1000);
    let place = kafka.place();
    let json = ["tail", "--from", &place, "--format", "json"];
    let output = done(agent(&json).args(["-n", "4"]));
    assert_eq!(
        ids(&lines(&output)),
        ["id-996", "id-997", "id-998", "id-999"]
    );
    let output = done(agent(&json).args(["-n", "1", "--path", "/i/_doc/3"]));
    assert_eq!(ids(&lines(&output)), ["id-3"]);
    let output = done(agent(&json).args(["-n", "all"]));
    assert_eq!(lines(&output).len(), 1000);
}

#[test]
fn tail_follows_a_topic() {
    let mut kafka = Kafka::start(2);
    kafka.fill(2, 0..3);
    let mut child = agent(&["tail", "--from", &kafka.place(), "-f", "-n", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut line = [0; 10];
    out.read_exact(&mut line).unwrap();
    kafka.fill(2, 3..4);
    let mut text = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&text).contains("id-3\n") {
        out.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains("/i/_doc/2 ") && text.contains("/i/_doc/3 "),
        "{text}"
    );
    assert!(!text.contains("/i/_doc/1 "), "{text}");
}

#[test]
fn tail_shows_pairs_of_a_topic_for_a_later_comparison() {
    let mut kafka = Kafka::start(1);
    let captured = exchange(1);
    let mut shadow = captured.response.clone().unwrap();
    shadow.status = 404;
    let pair = Pair {
        position: 100,
        target: "http://shadow:9200".into(),
        api: "get".into(),
        request: captured.request.clone().unwrap(),
        primary: captured.response.clone(),
        shadow: Some(shadow),
        sending: Sending {
            attempts: 1,
            began_us: BEGIN,
            ended_us: BEGIN + 7000,
            end_us: 7000,
            ..Sending::default()
        },
        ..Pair::default()
    };
    let mut messages = Vec::new();
    kafka
        .writer
        .pair(&origin_of(&captured), &pair, &mut messages);
    kafka.send(0, &messages);
    kafka.flush();
    let place = kafka.place();
    let output = done(&mut agent(&["tail", "--from", &place, "--format", "json"]));
    let lines = lines(&output);
    let (_, read) = exchange::json::read_pair(lines[0].to_string().as_bytes())
        .unwrap()
        .unwrap();
    assert_eq!(read, pair);
    let output = done(&mut agent(&["tail", "--from", &place, "--format", "pairs"]));
    assert!(said(&output).contains("200 ≠ 404"), "{}", said(&output));
}
