//! `spoa-agent capture-proxy`: the command line of the original, before one node, with each HAProxy in
//! `HAPROXY_BINARIES`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use support::client;
use support::installed::{Haproxy as Binary, binaries};
use support::origin::{Origin, ok};
use support::supervised::{Place, Supervised, signal};
use support::{free_address, wait_for};

/// Method, target and headers.
type Request<'r> = (&'r str, &'r str, &'r [(&'r str, &'r str)]);

/// The options that every test needs, in the original's spelling.
fn common_arguments(place: &Place, binary: &Binary, node: &str) -> Vec<String> {
    [
        "capture-proxy",
        "--destinationUri",
        node,
        "--listenPort",
        &place.front.to_string(),
        "--stateDir",
        &place.text("state"),
        "--adminListen",
        &place.admin.to_string(),
        "--haproxy",
        binary.path.to_str().unwrap(),
        "--numThreads",
        "2",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// With a Kafka that is away, and nothing held for it.
fn start(binary: &Binary, node: &str, more: &[&str]) -> Supervised {
    let place = Place::new();
    let kafka = free_address().to_string();
    let mut arguments = common_arguments(&place, binary, node);
    arguments.extend(["--hold", "none", "--kafkaConnection", &kafka].map(str::to_owned));
    let arguments: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    place.start(&arguments)
}

fn heard(node: &Origin, first_line: &str) -> usize {
    let lines = node.heard();
    lines
        .iter()
        .filter(|request| request.first_line() == first_line.as_bytes())
        .count()
}

/// What the journal has, as text.
fn journal_text(place: &Place) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_spoa-agent"))
        .args([
            "journal",
            "cat",
            "--journal-dir",
            &place.text("state/journal"),
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn it_serves_captures_and_stops_cleanly() {
    for binary in binaries() {
        let node = Origin::start(|_| ok());
        let mut proxy = start(&binary, &node.url(), &[]);
        let mut client = proxy.client();
        for number in 0..20 {
            let body = format!("{{\"n\":{number}}}");
            let answer = client
                .request("POST", "/i/_doc", &[], body.as_bytes())
                .unwrap();
            assert_eq!(answer.status, 200);
        }
        drop(client);
        assert_eq!(heard(&node, "POST /i/_doc HTTP/1.1"), 20);
        assert_eq!(proxy.terminate(), 0);
        let journal = journal_text(&proxy.place);
        assert_eq!(journal.matches("\"/i/_doc\"").count(), 20, "{journal}");
        let (requests, responses) = proxy.journalled(&proxy.place.path("state/journal"));
        assert_eq!(requests, responses);
        for name in ["haproxy.cfg", "spoe.cfg", "config.toml"] {
            let mode = fs::metadata(proxy.place.path("state").join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
}

#[test]
fn the_dashed_spelling_and_the_environment_say_the_same() {
    let Some(binary) = binaries().into_iter().next() else {
        return;
    };
    let node = Origin::start(|_| ok());
    let place = Place::new();
    let state = place.text("state");
    let mut command = place.command(&[
        "capture-proxy",
        "--state-dir",
        &state,
        "--destination-uri",
        &node.url(),
        "--haproxy",
        binary.path.to_str().unwrap(),
        "--kafka-brokers",
        "kafka-1:9092,kafka-2:9092",
        "--check",
    ]);
    command
        .env("CAPTURE_PROXY_LISTEN_PORT", place.front.to_string())
        .env("CAPTURE_PROXY_KAFKA_TOPIC", "my-topic")
        .env("CAPTURE_PROXY_INSECURE_DESTINATION_CMD_LINE_ARG", "true");
    assert!(command.status().unwrap().success(), "{}", place.log());
    let agent = fs::read_to_string(place.path("state/config.toml")).unwrap();
    for part in [
        "\"kafka-1:9092\", \"kafka-2:9092\"",
        "\"my-topic\"",
        "\"traffic-stream\"",
    ] {
        assert!(agent.contains(part), "{part}: {agent}");
    }
    let haproxy = fs::read_to_string(place.path("state/haproxy.cfg")).unwrap();
    assert!(
        haproxy.contains(&format!("bind {}", place.front)),
        "{haproxy}"
    );
}

#[test]
fn suppressed_requests_reach_the_node_and_not_the_journal() {
    for binary in binaries() {
        let node = Origin::start(|_| ok());
        let mut proxy = start(
            &binary,
            &node.url(),
            &[
                "--suppressCaptureForMethod",
                "OPTIONS|TRACE",
                "--suppressCaptureForUriPath",
                r"/_cat/.*\?v=it's \d+",
                "--suppressMethodAndPath",
                "GET /_cluster/health.*",
                "--suppressCaptureForHeaderMatch",
                "X-Internal",
                "yes|1",
            ],
        );
        let suppressed: [Request<'_>; 5] = [
            ("OPTIONS", "/", &[]),
            ("GET", "/_cluster/health/none", &[]),
            ("PUT", "/none", &[("x-internal", "yes")]),
            ("PUT", "/none", &[("X-INTERNAL", "no"), ("x-internal", "1")]),
            ("DELETE", "/none", &[("x-internal", "1")]),
        ];
        let captured: [Request<'_>; 4] = [
            ("OPTION", "/kept/1", &[]),
            ("POST", "/_cluster/health/kept/2", &[]),
            ("PUT", "/kept/3", &[("x-internal", "yes, no")]),
            ("GET", "/kept/_cat/4", &[]),
        ];
        let mut client = proxy.client();
        for (method, target, fields) in suppressed.iter().chain(&captured) {
            let answer = client.request(method, target, fields, b"").unwrap();
            assert_eq!(answer.status, 200, "{method} {target}");
        }
        drop(client);
        assert_eq!(proxy.terminate(), 0);
        for (method, target, _) in suppressed.iter().chain(&captured) {
            assert!(
                heard(&node, &format!("{method} {target} HTTP/1.1")) > 0,
                "{method} {target}"
            );
        }
        let journal = journal_text(&proxy.place);
        assert!(
            !journal.contains("none") && !journal.contains("OPTIONS"),
            "{journal}"
        );
        for (_, target, _) in &captured {
            assert_eq!(
                journal.matches(&format!("\"{target}\"")).count(),
                1,
                "{target}: {journal}"
            );
        }
    }
}

#[test]
fn without_capture_nothing_reaches_the_journal() {
    for binary in binaries() {
        let node = Origin::start(|_| ok());
        let place = Place::new();
        let mut arguments = common_arguments(&place, &binary, &node.url());
        arguments.push("--noCapture".to_owned());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut proxy = place.launch(&arguments);
        wait_for("it serves", || {
            (proxy.get("/") == 200 && proxy.captures()).then_some(())
        });
        assert_eq!(client::get(proxy.place.front, "/x").unwrap().status, 200);
        assert_eq!(proxy.captured(), 0);
        assert_eq!(proxy.terminate(), 0);
    }
}

#[test]
fn a_header_that_is_set_reaches_the_node_and_not_the_journal() {
    for binary in binaries() {
        let node = Origin::start(|_| ok());
        let value = r#"it's "a" 100% $secret \ #1"#;
        let mut proxy = start(
            &binary,
            &node.url(),
            &[
                "--setHeader",
                "X-Token",
                value,
                "--setHeader",
                "Host",
                "es.internal",
            ],
        );
        let mut client = proxy.client();
        client
            .request("GET", "/set", &[("x-token", "own")], b"")
            .unwrap();
        drop(client);
        let heard = node.heard();
        let request = heard
            .iter()
            .find(|request| request.first_line() == b"GET /set HTTP/1.1");
        let request = request.unwrap();
        assert_eq!(request.text("x-token").as_deref(), Some(value));
        assert_eq!(request.text("host").as_deref(), Some("es.internal"));
        assert_eq!(proxy.terminate(), 0);
        let journal = journal_text(&proxy.place);
        assert!(
            journal.contains("\"own\"") && !journal.contains("secret"),
            "{journal}"
        );
    }
}

#[test]
fn a_node_that_is_away_fails_as_it_would_without_a_proxy() {
    for binary in binaries() {
        let node = Origin::start(|_| ok());
        let address = node.address();
        let mut proxy = start(&binary, &format!("http://{address}"), &[]);
        drop(node);
        assert_ended_without_an_answer(proxy.place.front);
        // One that takes connections and closes them.
        let closing = wait_for("the address is free", || TcpListener::bind(address).ok());
        let accepting = std::thread::spawn(move || drop(closing.accept()));
        assert_ended_without_an_answer(proxy.place.front);
        accepting.join().unwrap();
        let _node = Origin::start_on(address, false, |_| ok());
        assert_eq!(proxy.get("/back"), 200, "at once, without a check");
        assert_eq!(proxy.terminate(), 0);
    }
}

fn assert_ended_without_an_answer(front: SocketAddr) {
    let error = client::get(front, "/").unwrap_err();
    let kinds = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
    assert!(kinds.contains(&error.kind()), "{error}");
}

#[test]
fn tls_is_served_to_clients_and_verified_to_the_node_unless_told_otherwise() {
    for binary in binaries() {
        let node = Origin::start(|_| ok());
        let certificates = Place::new();
        let (chain, key) = certificate(&certificates);
        let mut encrypted = Place::new();
        let front = encrypted.front;
        let mut arguments = common_arguments(&encrypted, &binary, &node.url());
        arguments.extend(
            [
                "--noCapture",
                "--sslCertChainFile",
                &chain,
                "--sslKeyFile",
                &key,
            ]
            .map(str::to_owned),
        );
        // Its clear port answers no probe.
        encrypted.front = free_address();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut encrypted = encrypted.launch(&arguments);
        wait_for("it listens", || client::Client::try_connect(front).ok());
        let uri = format!("https://{front}");
        let mut trusting = start(&binary, &uri, &["--insecureDestination"]);
        assert_eq!(trusting.get("/"), 200);
        let mut knowing = start(&binary, &uri, &["--destinationCaFile", &chain]);
        assert_eq!(knowing.get("/"), 200);
        assert_eq!([trusting.terminate(), knowing.terminate()], [0, 0]);
        let place = Place::new();
        let mut more = common_arguments(&place, &binary, &uri);
        more.push("--noCapture".to_owned());
        let doubting: Vec<&str> = more.iter().map(String::as_str).collect();
        let mut doubting = place.launch(&doubting);
        wait_for("it listens", || {
            client::Client::try_connect(doubting.place.front).ok()
        });
        assert_ended_without_an_answer(doubting.place.front);
        assert_eq!([doubting.terminate(), encrypted.terminate()], [0, 0]);
    }
}

/// A certificate of its own authority, and its key.
fn certificate(place: &Place) -> (String, String) {
    let (chain, key) = (place.text("chain.pem"), place.text("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test",
        ])
        .args(["-keyout", &key, "-out", &chain])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    (chain, key)
}

#[test]
fn an_agent_that_is_killed_costs_no_request_and_what_it_had_is_there_afterwards() {
    for binary in binaries() {
        let node = Origin::start_busy(|_| ok());
        let mut proxy = start(&binary, &node.url(), &[]);
        let kept = proxy.captured();
        let agent = proxy.agent();
        signal(agent, "KILL");
        wait_for("another agent", || {
            assert_eq!(proxy.get("/"), 200);
            (proxy.children(" run ").first() != Some(&agent) && proxy.captures()).then_some(())
        });
        proxy.wait_until_both_serve();
        assert_eq!(proxy.terminate(), 0);
        let (requests, responses) = proxy.journalled(&proxy.place.path("state/journal"));
        assert!(requests + responses > kept);
    }
}

#[test]
fn a_command_line_that_is_wrong_starts_and_writes_nothing() {
    let place = Place::new();
    let state = place.text("state");
    let (code, log) = place.run(&[
        "capture-proxy",
        "--stateDir",
        &state,
        "--kafkaPassword",
        "hunter2",
        "--listenPort",
        "x",
    ]);
    assert_eq!(code, Some(2));
    for part in [
        "--kafkaPassword is not taken",
        "--listenPort",
        "--destinationUri is missing",
        "--kafkaConnection is missing",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(!log.contains("hunter2"));
    assert!(!place.path("state").exists());
}

#[test]
fn a_regular_expression_that_haproxy_refuses_is_told_before_anything_is_started() {
    for binary in binaries() {
        let place = Place::new();
        let mut arguments = common_arguments(&place, &binary, "http://127.0.0.1:1");
        arguments.extend(
            [
                "--kafkaConnection",
                "k:9092",
                "--suppressCaptureForMethod",
                "GET|(",
            ]
            .map(str::to_owned),
        );
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (code, log) = place.run(&arguments);
        assert_eq!(code, Some(2));
        assert!(log.contains("GET|("), "{log}");
        assert!(!log.contains("is started"), "{log}");
    }
}
