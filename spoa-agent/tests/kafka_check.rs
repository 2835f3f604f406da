//! `spoa-agent kafka-check` against a real broker whose listeners and rights are broken on purpose.
//!
//! One broker for all: each listener has a fault of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use support::broker::{self, Broker, Protocol};
use support::{free_address, own_host, wait_for};

// ---------------------------------------------------------------------------------------------
// The broker

/// What all tests of this file share.
struct Stage {
    broker: Broker,
    /// Certificates that are wrong, and files with passwords.
    folder: PathBuf,
}

/// `None`, said aloud, where no broker is installed.
fn stage() -> Option<&'static Stage> {
    static STAGE: OnceLock<Option<Stage>> = OnceLock::new();
    STAGE
        .get_or_init(|| broker::is_installed().then(start))
        .as_ref()
}

fn start() -> Stage {
    let dead_port = free_address();
    let setup = broker::Setup::new();
    let folder = setup.folder().to_owned();
    let elsewhere = folder.join("elsewhere");
    let expired = folder.join("expired");
    make_certificates(&elsewhere, "elsewhere.example", "365");
    make_certificates(&expired, &own_host().to_string(), "0");
    fs::write(folder.join("right"), "secret\n").unwrap();
    fs::write(folder.join("wrong"), "guess\n").unwrap();
    let keystore = |folder: &Path| folder.join("broker.pem").to_str().unwrap().to_owned();

    let setup = setup
        .user("alice", "secret")
        .user("bob", "secret")
        .user("carol", "secret")
        .listener("CLEAR", Protocol::Plaintext)
        .listener("LOST", Protocol::Plaintext)
        .listener("DEAD", Protocol::Plaintext)
        .listener("SWAPPED", Protocol::Plaintext)
        .listener("TLS", Protocol::Tls)
        .listener("MUTUAL", Protocol::Tls)
        .listener("MISNAMED", Protocol::Tls)
        .listener("EXPIRED", Protocol::Tls)
        .listener("LOGIN", Protocol::SaslPlaintext)
        .listener("SECURE", Protocol::SaslTls)
        .listener("PLAIN", Protocol::SaslPlaintext)
        .advertised("LOST", "kafka0.invalid:9092")
        .advertised("DEAD", dead_port.to_string())
        .set("listener.name.mutual.ssl.client.auth", "required")
        .set(
            "listener.name.misnamed.ssl.keystore.location",
            keystore(&elsewhere),
        )
        .set(
            "listener.name.expired.ssl.keystore.location",
            keystore(&expired),
        )
        .set("listener.name.plain.sasl.enabled.mechanisms", "PLAIN")
        .set(
            "allow",
            "alice:ALL:whole,bob:DESCRIBE:whole,carol:WRITE:whole,carol:DESCRIBE:missing",
        );
    let tls = setup.address("TLS").to_string();
    let broker = setup.advertised("SWAPPED", tls).share();
    make_topics(&broker);
    Stage { broker, folder }
}

fn make_certificates(folder: &Path, name: &str, days: &str) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/broker/certificates");
    let made = Command::new(program)
        .arg(folder)
        .arg(name)
        .env("DAYS", days)
        .status();
    assert!(made.unwrap().success());
}

fn make_topics(broker: &Broker) {
    let config = client(broker);
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let topic = |name, partitions| NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    let topics = [
        topic("whole", 3),
        topic("small", 1).set("max.message.bytes", "2000"),
        topic("lonely", 1).set("min.insync.replicas", "2"),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let made = runtime.block_on(admin.create_topics(&topics, &AdminOptions::new()));
    assert!(made.unwrap().iter().all(Result::is_ok));
}

fn client(broker: &Broker) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", broker.address("CLEAR").to_string())
        .set("group.id", "test");
    config
}

impl Stage {
    fn check(&self, listener: &str, more: &[&str]) -> Checked {
        check(&self.broker.address(listener).to_string(), more)
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    fn certificate(&self, name: &str) -> String {
        self.broker.certificate(name).to_str().unwrap().to_owned()
    }

    /// Arguments for a login in clear text.
    fn login(&self, user: &str, password_file: &str) -> Vec<String> {
        [
            "--kafka-security",
            "sasl-plaintext",
            "--kafka-sasl",
            "scram-sha-512",
            "--kafka-username",
            user,
            "--kafka-password-file",
            &self.file(password_file),
            "--kafka-topic",
            "whole",
        ]
        .map(str::to_owned)
        .to_vec()
    }
}

// ---------------------------------------------------------------------------------------------
// The check

struct Checked {
    exit: i32,
    document: Value,
}

fn check(bootstrap: &str, more: &[&str]) -> Checked {
    let mut command = program(bootstrap);
    for (limit, time) in [("--timeout", "20s"), ("--deadline", "60s")] {
        // A busy machine takes its time; what never answers is given less by its test.
        if !more.contains(&limit) {
            command.args([limit, time]);
        }
    }
    let done = command.args(more).arg("--json").output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(!said.contains("secret"), "{said}");
    Checked {
        exit: done.status.code().unwrap(),
        document: serde_json::from_slice(&done.stdout)
            .unwrap_or_else(|error| panic!("{error}: {said}")),
    }
}

fn program(bootstrap: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spoa-agent"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SPOA_AGENT_") {
            command.env_remove(name);
        }
    }
    command
        .args(["kafka-check", "--config", "/dev/null"])
        .args(["--bootstrap", bootstrap])
        .stdin(Stdio::null());
    command
}

impl Checked {
    fn finding(&self, code: &str) -> &Value {
        let findings = self.document["findings"].as_array().unwrap();
        let found = findings.iter().find(|one| one["code"] == code);
        found.unwrap_or_else(|| panic!("no {code}: {:#}", self.document))
    }

    /// There is this one error, and no other.
    fn assert_fails(&self, exit: i32, hindrance: &str, code: &str) -> &Value {
        let finding = self.finding(code);
        assert_eq!(finding["verdict"], "error", "{:#}", self.document);
        assert_eq!(self.document["hindrance"], hindrance, "{:#}", self.document);
        assert_eq!(self.exit, exit, "{:#}", self.document);
        let findings = self.document["findings"].as_array().unwrap();
        let errors = findings.iter().filter(|one| one["verdict"] == "error");
        assert_eq!(errors.count(), 1, "{:#}", self.document);
        finding
    }

    fn assert_fine(&self) {
        assert_eq!(self.exit, 0, "{:#}", self.document);
        assert_eq!(self.document["hindrance"], Value::Null);
        assert_eq!(self.document["complete"], true);
    }
}

fn borrowed(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

// ---------------------------------------------------------------------------------------------
// Listeners

#[test]
fn a_topic_that_would_refuse_what_is_sent_is_told_and_nothing_is_written() {
    let Some(stage) = stage() else { return };
    let checked = stage.check(
        "CLEAR",
        &[
            "--kafka-topic",
            "small",
            "--kafka-message-max-bytes",
            "16KiB",
        ],
    );
    checked.assert_fails(12, "topic", "message_size");
    let checked = stage.check("CLEAR", &["--kafka-topic", "lonely"]);
    let finding = checked.assert_fails(12, "topic", "too_few_in_sync");
    assert!(
        finding["advice"].to_string().contains("that can never be"),
        "{finding}"
    );
    for topic in ["small", "lonely"] {
        let consumer: BaseConsumer = client(&stage.broker).create().unwrap();
        let marks = consumer
            .fetch_watermarks(topic, 0, support::PATIENCE)
            .unwrap();
        assert_eq!(marks, (0, 0), "{topic}");
    }
}

#[test]
fn an_advertised_name_that_does_not_resolve_is_told_with_the_settings() {
    let Some(stage) = stage() else { return };
    let checked = stage.check("LOST", &[]);
    let finding = checked.assert_fails(10, "listener", "advertised_unresolved");
    assert_eq!(finding["about"], "kafka0.invalid:9092");
    let lines = finding["remedies"].to_string();
    let outside = format!("OUTSIDE://{}", stage.broker.address("LOST"));
    assert!(
        lines.contains("advertised.listeners=INSIDE://") && lines.contains(&outside),
        "{lines}"
    );
    // The brokers were told all the same.
    let brokers = &checked.document["bootstrap"][0]["brokers"];
    assert_eq!(brokers[0]["advertised"], "kafka0.invalid:9092");
    assert_eq!(checked.document["cluster_id"], "spoa-agent-demo-broker");
}

#[test]
fn an_advertised_port_where_nobody_listens_is_a_mapped_port() {
    let Some(stage) = stage() else { return };
    stage
        .check("DEAD", &[])
        .assert_fails(10, "listener", "advertised_port");
}

#[test]
fn an_advertised_port_of_another_listener_is_told_as_such() {
    let Some(stage) = stage() else { return };
    let checked = stage.check("SWAPPED", &[]);
    let finding = checked.assert_fails(10, "listener", "tls_expected");
    let advice = finding["advice"].to_string();
    assert!(
        advice.contains("names the port of another listener"),
        "{advice}"
    );
}

#[test]
fn one_address_that_works_is_enough() {
    let Some(stage) = stage() else { return };
    let bootstrap = format!("{},{}", free_address(), stage.broker.address("CLEAR"));
    let checked = check(&bootstrap, &["--kafka-topic", "whole"]);
    checked.assert_fine();
    assert_eq!(checked.finding("refused")["verdict"], "warning");
}

// ---------------------------------------------------------------------------------------------
// TLS

#[test]
fn tls_on_a_port_without_and_the_reverse_are_told_apart() {
    let Some(stage) = stage() else { return };
    stage
        .check("TLS", &[])
        .assert_fails(11, "authentication", "tls_expected");
    let tls = [
        "--kafka-security",
        "tls",
        "--kafka-ca-file",
        &stage.certificate("ca.pem"),
    ];
    stage
        .check("CLEAR", &tls)
        .assert_fails(11, "authentication", "tls_not_expected");
}

#[test]
fn a_broker_with_a_certificate_that_is_trusted_is_fine() {
    let Some(stage) = stage() else { return };
    let ca = stage.certificate("ca.pem");
    let checked = stage.check(
        "TLS",
        &[
            "--kafka-security",
            "tls",
            "--kafka-ca-file",
            &ca,
            "--kafka-topic",
            "whole",
        ],
    );
    checked.assert_fine();
    let certificate = &checked.document["bootstrap"][0]["certificate"];
    assert_eq!(certificate["issuer"], "ca of the demonstration");
    let names = certificate["names"].to_string();
    assert!(names.contains(&own_host().to_string()), "{names}");
    assert!(
        (360..=365).contains(&certificate["days_left"].as_i64().unwrap()),
        "{certificate}"
    );
}

#[test]
fn a_certificate_that_is_not_trusted_is_told_by_its_fault() {
    let Some(stage) = stage() else { return };
    let cases = [
        (
            "TLS",
            stage.certificate("other-ca.pem"),
            "certificate_untrusted",
        ),
        (
            "MISNAMED",
            stage.file("elsewhere/ca.pem"),
            "certificate_name",
        ),
        (
            "EXPIRED",
            stage.file("expired/ca.pem"),
            "certificate_expired",
        ),
    ];
    for (listener, ca, code) in cases {
        stage
            .check(
                listener,
                &["--kafka-security", "tls", "--kafka-ca-file", &ca],
            )
            .assert_fails(11, "authentication", code);
    }
}

#[test]
fn a_broker_that_wants_our_certificate_is_told_and_gets_it() {
    let Some(stage) = stage() else { return };
    let ca = stage.certificate("ca.pem");
    let tls = [
        "--kafka-security",
        "tls",
        "--kafka-ca-file",
        &ca,
        "--kafka-topic",
        "whole",
    ];
    stage
        .check("MUTUAL", &tls)
        .assert_fails(11, "authentication", "client_certificate_wanted");
    let (certificate, key) = (
        stage.certificate("client.pem"),
        stage.certificate("client.key"),
    );
    let ours = [
        "--kafka-client-cert-file",
        &certificate,
        "--kafka-client-key-file",
        &key,
    ];
    let checked = stage.check("MUTUAL", &[&tls[..], &ours].concat());
    // It is let in, as a user without rights.
    checked.assert_fails(12, "topic", "topic_denied");
}

// ---------------------------------------------------------------------------------------------
// Logins and rights

#[test]
fn a_login_with_tls_and_scram_works_and_a_wrong_password_is_told() {
    let Some(stage) = stage() else { return };
    let ca = stage.certificate("ca.pem");
    let tls = ["--kafka-security", "sasl-tls", "--kafka-ca-file", &ca];
    let right = stage.login("alice", "right");
    let mut arguments = borrowed(&right);
    arguments.drain(..2);
    stage
        .check("SECURE", &[&tls, &arguments[..]].concat())
        .assert_fine();
    let wrong = stage.login("alice", "wrong");
    let mut arguments = borrowed(&wrong);
    arguments.drain(..2);
    let checked = stage.check("SECURE", &[&tls, &arguments[..]].concat());
    let finding = checked.assert_fails(11, "authentication", "login_failed");
    let says = finding["says"].as_str().unwrap();
    assert!(
        says.contains("SCRAM-SHA-512") && says.contains("invalid credentials"),
        "{says}"
    );
}

#[test]
fn a_login_that_does_not_fit_the_listener_is_told() {
    let Some(stage) = stage() else { return };
    stage
        .check("LOGIN", &[])
        .assert_fails(11, "authentication", "login_wanted");
    let login = stage.login("alice", "right");
    stage
        .check("CLEAR", &borrowed(&login))
        .assert_fails(11, "authentication", "login_not_wanted");
    let checked = stage.check("PLAIN", &borrowed(&login));
    let finding = checked.assert_fails(11, "authentication", "mechanism_not_offered");
    let lines = finding["remedies"].to_string();
    assert!(
        lines.contains("sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512"),
        "{lines}"
    );
}

#[test]
fn a_user_without_the_right_to_write_is_found_by_a_probe() {
    let Some(stage) = stage() else { return };
    let login = stage.login("bob", "right");
    stage.check("LOGIN", &borrowed(&login)).assert_fine();
    let checked = stage.check("LOGIN", &[&borrowed(&login)[..], &["--probe=5"]].concat());
    let finding = checked.assert_fails(12, "topic", "write_refused");
    assert!(
        finding["remedies"]
            .to_string()
            .contains("--operation Write"),
        "{finding}"
    );
}

#[test]
fn a_user_who_may_only_write_can_be_the_agent() {
    let Some(stage) = stage() else { return };
    let login = stage.login("carol", "right");
    let checked = stage.check("LOGIN", &[&borrowed(&login)[..], &["--probe=5"]].concat());
    checked.assert_fine();
    assert_eq!(checked.finding("written")["verdict"], "ok");
    assert_eq!(checked.finding("read_refused")["verdict"], "warning");
    assert_eq!(checked.finding("settings_unknown")["verdict"], "note");
}

#[test]
fn a_missing_topic_is_well_where_it_may_be_made() {
    let Some(stage) = stage() else { return };
    let checked = stage.check("CLEAR", &["--kafka-topic", "missing"]);
    checked.assert_fine();
    assert_eq!(checked.finding("topic_missing")["verdict"], "note");
    // It was only asked for.
    let again = stage.check(
        "CLEAR",
        &["--kafka-topic", "missing", "--kafka-create-topics=false"],
    );
    again.assert_fails(12, "topic", "topic_missing");
    // More replicas than brokers.
    stage
        .check(
            "CLEAR",
            &["--kafka-topic", "missing", "--kafka-replication", "3"],
        )
        .assert_fails(12, "topic", "topic_missing");
    let login = stage.login("carol", "right");
    let mut arguments = borrowed(&login);
    arguments.truncate(8);
    let checked = stage.check(
        "LOGIN",
        &[&arguments[..], &["--kafka-topic", "missing"]].concat(),
    );
    let finding = checked.assert_fails(12, "topic", "topic_missing");
    assert!(
        finding["remedies"]
            .to_string()
            .contains("--operation Create"),
        "{finding}"
    );
}

// ---------------------------------------------------------------------------------------------
// The probe

#[test]
fn a_probe_reaches_every_partition_and_is_told_from_other_messages() {
    let Some(stage) = stage() else { return };
    let checked = stage.check("CLEAR", &["--kafka-topic", "whole", "--probe=20"]);
    checked.assert_fine();
    let probe = &checked.document["probe"];
    // One to each partition, and twenty.
    assert_eq!((&probe["sent"], &probe["read"]), (&23.into(), &23.into()));
    assert_eq!(probe["round_trips_ms"].as_array().unwrap().len(), 20);
    let consumer: BaseConsumer = client(&stage.broker).create().unwrap();
    let mut wanted = TopicPartitionList::new();
    for partition in 0..3 {
        wanted
            .add_partition_offset("whole", partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&wanted).unwrap();
    let mut partitions = [false; 3];
    while partitions.contains(&false) {
        let message = wait_for("a message", || {
            consumer
                .poll(Duration::from_millis(100))?
                .ok()
                .map(|one| one.detach())
        });
        let headers = message.headers().unwrap();
        let kind = headers.iter().find(|header| header.key == "kind");
        assert_eq!(kind.unwrap().value, Some(&b"probe"[..]));
        partitions[usize::try_from(message.partition()).unwrap()] = true;
    }
}

// ---------------------------------------------------------------------------------------------
// Without a broker

#[test]
fn who_is_not_there_or_no_broker_is_told_apart() {
    check(&free_address().to_string(), &[]).assert_fails(1, "unreachable", "refused");
    check("kafka.invalid:9092", &[]).assert_fails(1, "unreachable", "unresolved");
    let web = serve(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    let checked = check(&web.to_string(), &[]);
    let finding = checked.assert_fails(1, "unreachable", "not_kafka");
    assert!(
        finding["says"].as_str().unwrap().contains("HTTP"),
        "{finding}"
    );
    let closing = serve(b"");
    check(&closing.to_string(), &[]).assert_fails(1, "unreachable", "not_kafka");
}

#[test]
fn who_never_says_a_word_does_not_hold_up_the_check() {
    let silent = TcpListener::bind((own_host(), 0)).unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let checked = check(&address, &["--timeout", "300ms"]);
    checked.assert_fails(1, "unreachable", "not_kafka");
    let checked = check(&address, &["--deadline", "300ms"]);
    assert_eq!(checked.document["complete"], false);
    assert_eq!(checked.finding("out_of_time")["verdict"], "error");
    assert_ne!(checked.exit, 0);
}

#[test]
fn a_check_of_nothing_is_refused() {
    let done = Command::new(env!("CARGO_BIN_EXE_spoa-agent"))
        .args(["kafka-check", "--config", "/dev/null"])
        .env_remove("SPOA_AGENT_KAFKA_BROKERS")
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(done.stdout.is_empty());
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("--bootstrap"), "{said}");
}

#[test]
fn the_table_for_people_has_no_colours_where_nobody_looks() {
    let done = program(&free_address().to_string()).output().unwrap();
    let table = String::from_utf8(done.stdout).unwrap();
    let mut lines = table.lines();
    assert!(
        lines.next().unwrap().starts_with("RESULT   STEP"),
        "{table}"
    );
    assert!(
        lines.next().unwrap().starts_with("ERROR    bootstrap"),
        "{table}"
    );
    assert!(table.contains("nobody listens on this port"), "{table}");
    assert!(!table.contains('\x1b'), "{table}");
}

/// Answers whoever says something with these bytes, and hangs up.
fn serve(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind((own_host(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut heard = [0; 1024];
            drop(stream.read(&mut heard));
            drop(stream.write_all(answer));
        }
    });
    address
}
