//! What the shadow gets is what the primary node got, byte for byte: odd targets, odd header fields, every
//! method with and without a body, through each HAProxy in `HAPROXY_BINARIES`, the agent and its
//! journal.
//!
//! The differences that are meant, and no others: a `content-length` where the primary got chunks, or
//! got no length with a method that means something for a body; and credentials stay behind.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::HashMap;

use support::client::{self, Client, request};
use support::haproxy::{Haproxy, options};
use support::http::{Field, Message, chunked};
use support::installed::{self, binaries};
use support::origin::{self, Reply, answer};
use support::{Agent, Origin, assert_ledger_balances, wait_until};

/// A primary and a shadow with HAProxy and the agent between them.
struct Mirror {
    primary: Origin,
    shadow: Origin,
    agent: Agent,
    haproxy: Haproxy,
}

impl Mirror {
    fn start(binary: &installed::Haproxy) -> Self {
        let reply = |request: &Message| match request.first_line().starts_with(b"HEAD ") {
            true => Reply::Bytes(b"HTTP/1.1 200 x\r\ncontent-length: 2\r\n\r\n".to_vec()),
            false => Reply::Bytes(answer(200, &[], b"{}")),
        };
        let (primary, shadow) = (Origin::start(reply), Origin::start(reply));
        let agent = Agent::setup().shadow(&shadow.url()).start();
        let haproxy = Haproxy::start(binary, &options(&agent, &primary));
        Self {
            primary,
            shadow,
            agent,
            haproxy,
        }
    }

    fn client(&self) -> Client {
        self.haproxy.client()
    }

    /// Compares all that the two got, by the id of the exchange. Returns what the primary got, in order.
    fn assert_same(&self) -> Vec<Message> {
        let primary = self.primary.heard();
        wait_until("the shadow has it all", || {
            let (found, expected) = (self.shadow.heard_count(), primary.len());
            (found >= expected)
                .then_some(())
                .ok_or_else(|| format!("{found} of {expected}"))
        });
        let mirrored: HashMap<String, Message> = self
            .shadow
            .heard()
            .into_iter()
            .map(|heard| (id(&heard), heard))
            .collect();
        assert_eq!(mirrored.len(), primary.len());
        for sent in &primary {
            let got = &mirrored[&id(sent)];
            assert_eq!(text(sent.first_line()), text(got.first_line()));
            assert_eq!(sent.first_line(), got.first_line());
            assert_eq!(meant(sent), got.fields(), "{}", text(sent.first_line()));
            assert!(sent.body == got.body, "{}", text(sent.first_line()));
        }
        self.agent.wait_until_followers_caught_up();
        let shadow = &self.agent.ledger()["followers"]["shadow"]["exchanges"];
        assert_eq!(shadow["delivered"], primary.len(), "{shadow}");
        assert_ledger_balances(&self.agent);
        primary
    }
}

fn id(heard: &Message) -> String {
    heard.text("x-capture-id").unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(200).collect()
}

/// The fields that the shadow is to get for those that the primary got.
fn meant(primary: &Message) -> Vec<Field> {
    let length = (
        "content-length".to_owned(),
        primary.body.len().to_string().into_bytes(),
    );
    let mut fields: Vec<Field> = Vec::new();
    for (name, value) in primary.fields() {
        match name.as_str() {
            "authorization" | "cookie" => {}
            "transfer-encoding" => fields.push(length.clone()),
            _ => fields.push((name, value)),
        }
    }
    // Methods that mean something for a body have a length even when there is none (RFC 9110, 8.6).
    let line = primary.first_line();
    let means_one = [&b"POST "[..], b"PUT ", b"PATCH "]
        .iter()
        .any(|method| line.starts_with(method));
    if means_one && !fields.iter().any(|(name, _)| name == "content-length") {
        fields.push(length);
    }
    fields
}

#[test]
fn an_odd_target_arrives_as_the_primary_got_it() {
    let long_path = format!("/{}", "a%2F".repeat(15_000));
    let long_query = format!("/i/_search?q={}", "{|}".repeat(20_000));
    let targets = [
        "/",
        "//",
        "//index//_search",
        "/../_cat",
        "/./a/../b/.",
        "/%2e%2E/%2f%00%zz%",
        "/a|b/{c}/\"d\"/\\e/^f/`g`/<h>/[i]/~j",
        "/a;b=c,d:e@f!$&'()*+=",
        "/a?",
        "/?",
        "/a??b=&&c=?/d",
        "/a?url=http://other/x",
        "/_sql?format=txt&q=%7B%22a%22%3A1%7D|{\"b\":2}",
        "/*,-excluded/_search",
        "/%3Clogstash-%7Bnow%2Fd%7D%3E",
        &long_path,
        &long_query,
    ];
    for binary in binaries() {
        let mirror = Mirror::start(&binary);
        let mut client = mirror.client();
        for target in targets {
            let answer = client.request("GET", target, &[], b"").unwrap();
            assert_eq!(answer.status, 200, "{}", text(target.as_bytes()));
        }
        for (method, target) in [
            ("OPTIONS", "*"),
            ("GET", "http://cluster/absolute//x/../y?z"),
        ] {
            assert_eq!(
                client.request(method, target, &[], b"").unwrap().status,
                200
            );
        }
        // HAProxy refuses these by itself: neither side gets them.
        for target in ["/a#b", "/caf\u{e9}"] {
            let answer = mirror.client().request("GET", target, &[], b"").unwrap();
            assert_eq!(answer.status, 400, "{target}");
        }
        let primary = mirror.assert_same();
        for (target, heard) in targets.iter().zip(&primary) {
            assert_eq!(
                text(heard.first_line()),
                text(format!("GET {target} HTTP/1.1").as_bytes())
            );
        }
        assert_eq!(primary.len(), targets.len() + 2);
    }
}

#[test]
fn odd_header_fields_arrive_in_their_order_with_every_repeat_and_byte() {
    for binary in binaries() {
        let mirror = Mirror::start(&binary);
        let long = "v".repeat(8000);
        let mut bytes = format!(
            "GET /fields HTTP/1.1\r\nX-Repeated: 1\r\nHost: Cluster:9200\r\nx-b: \r\nX-REPEATED: 2\r\n\
             accept: a\r\naccept: b, c\r\nx-opaque-id: {{\"a\":\"b\"}}\r\nauthorization: Basic secret\r\n\
             cookie: a=b\r\nvia: 1.1 proxy\r\nx-forwarded-for: 10.0.0.1\r\nx-capture-id: forged\r\n\
             range: bytes=0-1\r\nif-none-match: W/\"1\"\r\naccept-encoding: gzip, br\r\n\
             user-agent: \"odd\" (client)\r\nx-repeated:   3   \r\nx-long: {long}\r\nx-bytes: "
        )
        .into_bytes();
        bytes.extend(b"caf\xe9 \xff\xfe\x80 \xc3\xa9\r\n\r\n");
        assert_eq!(mirror.client().ask("GET", &bytes).unwrap().status, 200);
        // As many fields as HAProxy takes, less those that it adds.
        let many: String = (0..90).map(|n| format!("x-{n}: {n}\r\n")).collect();
        let bytes = format!("GET /many HTTP/1.1\r\nhost: c\r\n{many}\r\n");
        assert_eq!(
            mirror.client().ask("GET", bytes.as_bytes()).unwrap().status,
            200
        );
        let primary = mirror.assert_same();
        assert_eq!(
            primary[0].field("x-bytes").unwrap(),
            b"caf\xe9 \xff\xfe\x80 \xc3\xa9"
        );
        let repeated: Vec<_> = primary[0]
            .fields()
            .into_iter()
            .filter(|(name, _)| name == "x-repeated")
            .map(|(_, value)| value)
            .collect();
        assert_eq!(repeated, [b"1", b"2", b"3"]);
        assert_ne!(id(&primary[0]), "forged");
        assert_eq!(primary[1].fields().len(), 92);
    }
}

#[test]
fn every_method_arrives_with_and_without_a_body() {
    let body: Vec<u8> = (0..=255).cycle().take(3000).collect();
    let methods = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE", "PROPFIND", "get",
    ];
    for binary in binaries() {
        let mirror = Mirror::start(&binary);
        let mut client = mirror.client();
        for method in methods {
            for body in [&b""[..], b"{}", &body] {
                let answer = client.request(method, "/index/_search", &[], body).unwrap();
                assert_eq!(answer.status, 200, "{method}");
            }
            let empty = format!("{method} /empty HTTP/1.1\r\nhost: c\r\ncontent-length: 0\r\n\r\n");
            assert_eq!(
                client.ask(method, empty.as_bytes()).unwrap().status,
                200,
                "{method}"
            );
        }
        for method in ["POST", "PUT", "GET", "DELETE"] {
            for body in [&b""[..], &body] {
                let head = format!(
                    "{method} /chunked HTTP/1.1\r\nhost: c\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\
                     x-b: 2\r\n\r\n"
                );
                let bytes = [head.as_bytes(), &chunked(body, 700)].concat();
                assert_eq!(client.ask(method, &bytes).unwrap().status, 200, "{method}");
            }
        }
        let primary = mirror.assert_same();
        assert_eq!(primary.len(), 4 * methods.len() + 8);
    }
}

#[test]
fn an_http_2_request_arrives_as_the_primary_got_it() {
    let body: Vec<u8> = (0..=255).cycle().take(40_000).collect();
    for binary in binaries() {
        let mirror = Mirror::start(&binary);
        let address = mirror.haproxy.address();
        for target in [
            &b"/"[..],
            b"//a//b",
            b"/../x",
            b"/%2e|{}\"",
            b"/a?",
            b"/?b=c&d",
        ] {
            for (method, body) in [("GET", &b""[..]), ("GET", b"{}"), ("PUT", &body)] {
                let fields: [(&[u8], &[u8]); 3] =
                    [(b"x-a", b"1"), (b"x-b", b"caf\xe9"), (b"x-a", b"2")];
                let answer = client::http2(address, method, target, &fields, body);
                assert_eq!(answer.unwrap(), b"{}", "{method} {}", text(target));
            }
        }
        assert_eq!(mirror.assert_same().len(), 18);
    }
}

#[test]
fn requests_of_one_connection_reach_the_shadow_in_their_order() {
    for binary in binaries() {
        let mirror = Mirror::start(&binary);
        let mut client = mirror.client();
        for n in 0..200 {
            let target = format!("/index/_doc/1?n={n}");
            client
                .request("PUT", &target, &[], n.to_string().as_bytes())
                .unwrap();
        }
        mirror.assert_same();
        let bodies: Vec<_> = mirror
            .shadow
            .heard()
            .iter()
            .map(|heard| text(&heard.body))
            .collect();
        assert_eq!(
            bodies,
            (0..200).map(|n: u32| n.to_string()).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_shadow_side_haproxy_captures_its_own_side_under_the_same_id() {
    for binary in binaries() {
        let primary = Origin::start(|_| origin::ok());
        let node = Origin::start(|_| origin::status(404));
        let shadow_agent = Agent::start();
        let shadow_haproxy = Haproxy::start(
            &binary,
            &haproxy_config::Options {
                role: haproxy_config::Role::Shadow,
                ..options(&shadow_agent, &node)
            },
        );
        let agent = Agent::setup()
            .shadow(&format!("http://{}", shadow_haproxy.address()))
            .start();
        let haproxy = Haproxy::start(&binary, &options(&agent, &primary));
        let mut client = haproxy.client();
        for n in 0..20 {
            let bytes = request("POST", &format!("/{n}"), &[], b"{}");
            assert_eq!(client.ask("POST", &bytes).unwrap().status, 200);
        }
        agent.wait_until_followers_caught_up();
        shadow_agent.wait_until_followers_caught_up();
        let ids = |agent: &Agent| -> HashMap<String, (String, u16)> {
            support::journal::exchanges(&agent.journal_dir())
                .filter(|exchange| exchange.request.as_ref().unwrap().method != "HEAD")
                .map(|exchange| {
                    let (request, response) =
                        (exchange.request.unwrap(), exchange.response.unwrap());
                    (text(&request.id), (text(&request.target), response.status))
                })
                .collect()
        };
        let (primary, shadow) = (ids(&agent), ids(&shadow_agent));
        assert_eq!((primary.len(), shadow.len()), (20, 20));
        for (id, (target, status)) in primary {
            assert_eq!(
                (shadow[&id].0.as_str(), shadow[&id].1, status),
                (&*target, 404, 200)
            );
        }
        assert_ledger_balances(&agent);
        assert_ledger_balances(&shadow_agent);
    }
}
