//! Traffic through a real HAProxy: what the client and the node said to each other is in the journal
//! and in the traffic log, and reaches the shadow, byte for byte. With each HAProxy in
//! `HAPROXY_BINARIES`.
//!
//! `SPOA_E2E_REQUESTS` says how many requests the large test sends (3000).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::HashMap;

use exchange::{Exchange, Extent};
use haproxy_config::Options;

use support::client::{self, Client};
use support::haproxy::{Haproxy, options};
use support::installed::binaries;
use support::load::{self, Load, Seen};
use support::origin::{self, Reply, answer};
use support::{Agent, Origin, alone, assert_ledger_balances, journal, wait_for};

const CONNECTIONS: usize = 64;

fn requests() -> u64 {
    let wanted = std::env::var("SPOA_E2E_REQUESTS").ok();
    wanted.map_or(3000, |wanted| wanted.parse().unwrap())
}

#[test]
fn every_exchange_is_journalled_logged_and_mirrored_once_whole_and_byte_for_byte() {
    let _alone = alone();
    for binary in binaries() {
        let numbers = 0..requests();
        let (primary, shadow) = (Seen::default(), Seen::default());
        let node = Origin::start_busy({
            let seen = primary.clone();
            move |request| seen.answer(request)
        });
        let target = Origin::start_busy({
            let seen = shadow.clone();
            // A 503 of the shadow's own would be tried again.
            move |request| {
                seen.answer(request);
                origin::ok()
            }
        });
        let agent = Agent::setup().shadow(&target.url()).start();
        let haproxy = Haproxy::start(&binary, &options(&agent, &node));

        let tally = Load::run(haproxy.address(), CONNECTIONS, numbers.clone());
        tally.assert_all_right();
        agent.wait_until_followers_caught_up();

        primary.assert_each_once(numbers.clone());
        shadow.assert_each_once(numbers.clone());
        assert_journal_and_log_agree(&agent, numbers.end);
        let ledger = agent.ledger();
        for kind in ["requests", "responses"] {
            assert_eq!(
                ledger["capture"][kind]["received"], numbers.end,
                "{ledger:#}"
            );
            assert_eq!(
                ledger["capture"][kind]["captured"], numbers.end,
                "{ledger:#}"
            );
        }
        for follower in ["traffic_log", "shadow"] {
            assert_eq!(
                ledger["followers"][follower]["exchanges"]["delivered"], numbers.end,
                "{ledger:#}"
            );
        }
        assert_ledger_balances(&agent);
    }
}

/// Each exchange once in both, the same in both, and as its number says.
fn assert_journal_and_log_agree(agent: &Agent, count: u64) {
    let mut logged = journal::lines(&agent.traffic_log());
    // The log's order may differ by a few, so little has to be kept.
    let mut ahead: HashMap<u64, Exchange> = HashMap::new();
    let mut found = vec![0_u8; usize::try_from(count).unwrap()];
    for exchange in journal::exchanges(&agent.journal_dir()) {
        if let Some(difference) = load::difference(&exchange) {
            panic!("{difference}");
        }
        found[usize::try_from(load::number_of(&exchange).unwrap()).unwrap()] += 1;
        let line = loop {
            if let Some(line) = ahead.remove(&exchange.position) {
                break line;
            }
            let Some(line) = logged.next() else {
                panic!("no line for {exchange:?}");
            };
            assert!(ahead.insert(line.position, line).is_none(), "a second line");
        };
        assert_eq!(line, exchange);
    }
    assert!(
        found.iter().all(|times| *times == 1),
        "an exchange is missing or there twice"
    );
    assert!(
        ahead.is_empty() && logged.next().is_none(),
        "a line without an exchange"
    );
}

#[test]
fn a_body_above_the_limit_is_flagged_as_cut_and_never_sent_to_the_shadow() {
    const LIMIT: u32 = 16 << 10;
    for binary in binaries() {
        let node = Origin::start(|_| {
            let body = vec![b'r'; 200_000];
            Reply::Bytes(answer(200, &[("content-type", "text/plain")], &body))
        });
        let target = Origin::start(|_| origin::ok());
        let agent = Agent::setup().shadow(&target.url()).start();
        let options = Options {
            body_limit: LIMIT,
            ..options(&agent, &node)
        };
        let haproxy = Haproxy::start(&binary, &options);
        let mut client = haproxy.client();
        let whole = vec![b'w'; usize::try_from(LIMIT).unwrap()];
        let long = vec![b'l'; 100_000];
        let chunked = [
            &b"POST /chunked HTTP/1.1\r\nhost: cluster\r\ntransfer-encoding: chunked\r\n\r\n"[..],
            &support::http::chunked(&long, 7000),
        ]
        .concat();
        for (path, body) in [("/whole", &whole), ("/long", &long)] {
            let answer = client.request("POST", path, &[], body).unwrap();
            assert_eq!((answer.status, answer.message.body.len()), (200, 200_000));
        }
        assert_eq!(client.ask("POST", &chunked).unwrap().status, 200);
        agent.wait_until_followers_caught_up();

        let exchanges = by_target(&agent);
        for (target, sent) in [("/whole", &whole), ("/long", &long), ("/chunked", &long)] {
            let request = exchanges[target].request.as_ref().unwrap();
            assert!(sent.starts_with(&request.body.content), "{target}");
            let here = request.body.content.len() as u64;
            let missing = sent.len() as u64 - here;
            match (target, request.body.extent) {
                ("/whole", Extent::Whole) => assert_eq!(missing, 0),
                (
                    "/long",
                    Extent::Cut {
                        missing: Some(told),
                    }
                    | Extent::NotCaptured {
                        missing: Some(told),
                    },
                ) => {
                    assert!(missing > 0 && told == missing, "{told} and not {missing}");
                }
                // A body in chunks does not declare its length.
                ("/chunked", Extent::Cut { missing: None }) => assert!(here >= u64::from(LIMIT)),
                (_, extent) => panic!("{target}: {extent:?} with {here} bytes"),
            }
            let response = exchanges[target].response.as_ref().unwrap();
            let here = response.body.content.len() as u64;
            assert_eq!(
                response.body.extent.missing(),
                Some(200_000 - here),
                "{target}"
            );
        }
        assert_eq!(node.heard_count(), 3);
        let mirrored: Vec<_> = target
            .heard()
            .iter()
            .map(|heard| heard.first_line().to_vec())
            .collect();
        assert_eq!(mirrored, [b"POST /whole HTTP/1.1"]);
        let shadow = &agent.ledger()["followers"]["shadow"]["exchanges"];
        assert_eq!(shadow["delivered"], 1, "{shadow}");
        assert_eq!(support::agent::sum(&shadow["dropped"]), 2, "{shadow}");
        assert_ledger_balances(&agent);
    }
}

#[test]
fn every_way_to_frame_a_message_is_captured_without_its_framing() {
    for binary in binaries() {
        let document = [("content-type", "application/json")];
        let node = Origin::start(move |request| {
            let line = String::from_utf8_lossy(request.first_line()).into_owned();
            Reply::Bytes(match line.split(' ').nth(1).unwrap() {
                "/no-content" => b"HTTP/1.1 204 x\r\n\r\n".to_vec(),
                "/not-modified" => {
                    b"HTTP/1.1 304 x\r\netag: \"1\"\r\ncontent-length: 500\r\n\r\n".to_vec()
                }
                "/head" => b"HTTP/1.1 200 x\r\ncontent-length: 500\r\n\r\n".to_vec(),
                "/chunked" => [
                    &b"HTTP/1.1 200 x\r\ncontent-type: application/json\r\n\
                        transfer-encoding: chunked\r\n\r\n"[..],
                    &support::http::chunked(&vec![b'c'; 30_000], 999),
                ]
                .concat(),
                _ => answer(200, &document, b"{\"an\":\"answer\"}"),
            })
        });
        let target = Origin::start(|_| origin::ok());
        let agent = Agent::setup().shadow(&target.url()).start();
        let haproxy = Haproxy::start(&binary, &options(&agent, &node));
        let mut client = haproxy.client();
        let body: Vec<u8> = (0..=255).cycle().take(20_000).collect();
        let chunked = [
            &b"POST /chunked HTTP/1.1\r\nhost: cluster\r\ntransfer-encoding: chunked\r\n\r\n"[..],
            &support::http::chunked(&body, 1234),
        ]
        .concat();
        let answer = client.ask("POST", &chunked).unwrap();
        assert_eq!(answer.message.body, vec![b'c'; 30_000]);
        assert_eq!(
            client
                .request("GET", "/not-modified", &[], b"")
                .unwrap()
                .status,
            304
        );
        assert_eq!(
            client
                .request("DELETE", "/no-content", &[], b"")
                .unwrap()
                .status,
            204
        );
        assert_eq!(
            client.request("HEAD", "/head", &[], b"").unwrap().status,
            200
        );
        // The client says nothing more until it is told to go on, as it may (RFC 9110, 10.1.1).
        let head = format!(
            "PUT /expect HTTP/1.1\r\nhost: cluster\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        client.send(head.as_bytes()).unwrap();
        let interim = support::http::read_head(client.reader()).unwrap().unwrap();
        assert!(interim.starts_with(b"HTTP/1.1 100"));
        assert_eq!(client.ask("PUT", &body).unwrap().status, 200);
        for (path, body) in [(&b"/http2"[..], &b""[..]), (b"/http2-body", &body)] {
            let method = if body.is_empty() { "GET" } else { "POST" };
            let answer = client::http2(haproxy.address(), method, path, &[(b"x-a", b"1")], body);
            assert_eq!(answer.unwrap(), b"{\"an\":\"answer\"}");
        }
        wait_for("all are answered", || {
            (node.heard_count() == 7).then_some(())
        });
        agent.wait_until_followers_caught_up();

        let exchanges = by_target(&agent);
        let sent = |target: &str| &exchanges[target].request.as_ref().unwrap().body;
        let received = |target: &str| &exchanges[target].response.as_ref().unwrap().body;
        for (target, request, response) in [
            ("/chunked", &body[..], &[b'c'; 30_000][..]),
            ("/not-modified", b"", b""),
            ("/no-content", b"", b""),
            ("/head", b"", b""),
            ("/expect", &body, b"{\"an\":\"answer\"}"),
            ("/http2", b"", b"{\"an\":\"answer\"}"),
            ("/http2-body", &body, b"{\"an\":\"answer\"}"),
        ] {
            for (captured, told) in [(sent(target), request), (received(target), response)] {
                assert!(captured.is_whole(), "{target}: {:?}", captured.extent);
                assert!(
                    captured.content == told,
                    "{target}: {} bytes",
                    captured.content.len()
                );
            }
        }
        // The shadow gets requests of different connections in any order.
        let bodies = |origin: &Origin| -> HashMap<String, Vec<u8>> {
            let heard = origin.heard().into_iter();
            heard
                .map(|heard| (heard.text("x-capture-id").unwrap(), heard.body))
                .collect()
        };
        assert_eq!(target.heard_count(), 7);
        assert!(bodies(&node) == bodies(&target));
        assert_ledger_balances(&agent);
    }
}

#[test]
fn an_event_stream_passes_piece_by_piece() {
    for binary in binaries() {
        let node = Origin::start(|_| {
            let head = b"HTTP/1.1 200 x\r\ncontent-type: text/event-stream\r\n\
                transfer-encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n";
            Reply::Piece(vec![head.to_vec(), b"8\r\ndata: 2\n\r\n0\r\n\r\n".to_vec()])
        });
        let agent = Agent::start();
        let haproxy = Haproxy::start(&binary, &options(&agent, &node));
        let mut client = haproxy.client();
        client
            .send(&client::request("GET", "/events", &[], b""))
            .unwrap();
        node.let_go(1);
        // The second event does not exist before the first one was read.
        let mut seen = Vec::new();
        while !seen.ends_with(b"data: 1\n") {
            let mut byte = [0];
            std::io::Read::read_exact(client.reader(), &mut byte).unwrap();
            seen.extend(byte);
        }
        node.let_go(2);
        while !seen.ends_with(b"0\r\n\r\n") {
            let mut byte = [0];
            std::io::Read::read_exact(client.reader(), &mut byte).unwrap();
            seen.extend(byte);
        }
        agent.wait_until_followers_caught_up();
        let exchanges = by_target(&agent);
        let body = &exchanges["/events"].response.as_ref().unwrap().body;
        assert!(!body.is_whole(), "{body:?}");
        assert_ledger_balances(&agent);
    }
}

#[test]
fn an_upload_that_its_client_breaks_off_is_no_whole_request() {
    for binary in binaries() {
        let node = Origin::start(|_| origin::ok());
        let target = Origin::start(|_| origin::ok());
        let agent = Agent::setup()
            .shadow(&target.url())
            .set("pairing.deadline", "500ms")
            .start();
        let haproxy = Haproxy::start(&binary, &options(&agent, &node));
        let beginnings: [&[u8]; 2] = [
            b"PUT /broken-sized HTTP/1.1\r\nhost: cluster\r\ncontent-length: 9000\r\n\r\n{\"a\":",
            b"PUT /broken-chunked HTTP/1.1\r\nhost: cluster\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n",
        ];
        for beginning in beginnings {
            let mut client = haproxy.client();
            client.send(beginning).unwrap();
            drop(client);
        }
        // A request after them shows that HAProxy has seen them.
        let answer = haproxy
            .client()
            .request("PUT", "/whole", &[], b"{}")
            .unwrap();
        assert_eq!(answer.status, 200);
        wait_for("the whole one is mirrored", || {
            (target.heard_count() > 0).then_some(())
        });
        agent.wait_until_followers_caught_up();
        for (target, exchange) in by_target(&agent) {
            let body = &exchange.request.as_ref().unwrap().body;
            assert_eq!(body.is_whole(), target == "/whole", "{target}: {body:?}");
        }
        assert_eq!(target.heard_count(), 1);
        assert_ledger_balances(&agent);
    }
}

#[test]
fn an_agent_on_a_unix_socket_captures_as_well() {
    for binary in binaries() {
        let node = Origin::start(|_| origin::ok());
        let agent = Agent::setup().on_unix_socket().start();
        let haproxy = Haproxy::start(&binary, &options(&agent, &node));
        let mut client = haproxy.client();
        for _ in 0..20 {
            assert_eq!(client.request("GET", "/", &[], b"").unwrap().status, 200);
        }
        agent.wait_until_followers_caught_up();
        assert_eq!(journal::exchanges(&agent.journal_dir()).count(), 20);
        assert_ledger_balances(&agent);
    }
}

fn by_target(agent: &Agent) -> HashMap<String, Exchange> {
    let target = |exchange: &Exchange| {
        let request = exchange.request.as_ref().unwrap();
        String::from_utf8(request.target.to_vec()).unwrap()
    };
    journal::exchanges(&agent.journal_dir())
        .map(|exchange| (target(&exchange), exchange))
        .collect()
}

#[test]
fn a_client_that_talks_to_haproxy_alone_is_captured_with_its_address() {
    for binary in binaries() {
        let node = Origin::start(|_| origin::ok());
        let agent = Agent::start();
        let haproxy = Haproxy::start(&binary, &options(&agent, &node));
        let mut client = Client::connect(haproxy.address());
        let own = client.reader().get_ref().local_addr().unwrap();
        client.request("GET", "/me", &[], b"").unwrap();
        agent.wait_until_followers_caught_up();
        let exchanges = by_target(&agent);
        let request = exchanges["/me"].request.as_ref().unwrap();
        assert_eq!(request.client.unwrap().to_string(), own.to_string());
        assert_eq!(
            request.local.unwrap().to_string(),
            haproxy.address().to_string()
        );
        assert_eq!(request.frontend, "primary");
        assert_ledger_balances(&agent);
    }
}
