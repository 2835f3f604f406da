//! The agent as HAProxy meets it on the wire, well-behaved and not: a played HAProxy against the
//! program.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use spop_codec::hello::{Capabilities, HaproxyHello, Version};
use spop_codec::{Disconnect, Flags, Frame, FrameId, FrameKind, Status, StreamId, Value, kv};

use support::fake_haproxy::{
    FakeHaproxy, Heard, MAX_FRAME_SIZE, ack, encoded, health_check, held, hello, notify, request,
    response,
};
use support::{Agent, Origin, assert_ledger_balances, journal, origin, wait_for, wait_until};

#[test]
fn hello_is_agreed_in_one_piece_with_haproxys_own_size_and_pipelining_alone() {
    let agent = Agent::start();
    for size in [256, 16_380, 272 * 1024 - 4] {
        let mut haproxy = FakeHaproxy::silent(&agent);
        let offered = Capabilities {
            pipelining: true,
            asynchronous: true,
            fragmentation: true,
        };
        haproxy.sends(&encoded(HaproxyHello {
            capabilities: offered,
            ..HaproxyHello::new(size)
        }));
        let bytes = haproxy.reads_once();
        let (prefix, frame) = bytes.split_at(4);
        assert_eq!(prefix, u32::try_from(frame.len()).unwrap().to_be_bytes());
        let frame = Frame::decode(frame).unwrap();
        assert_eq!(frame.kind, FrameKind::AgentHello);
        let agreed = spop_codec::hello::AgentHello::decode(frame.payload).unwrap();
        assert_eq!(agreed.version, Version::V2_0);
        assert_eq!(agreed.max_frame_size, size);
        assert_eq!(agreed.capabilities, Capabilities::PIPELINING);
    }
    assert_ledger_balances(&agent);
}

#[test]
fn a_health_check_is_answered_and_its_connection_closed() {
    let agent = Agent::start();
    let mut haproxy = FakeHaproxy::silent(&agent);
    haproxy.sends(&health_check());
    assert!(matches!(haproxy.hears(), Heard::Hello(_)));
    assert_eq!(haproxy.hears(), Heard::End);
    assert_eq!(agent.log_lines("WARN"), 0, "{}", agent.log());
    assert_ledger_balances(&agent);
}

#[test]
fn an_empty_notify_and_one_with_stream_id_0_have_their_acks() {
    let agent = Agent::start();
    let mut haproxy = FakeHaproxy::connected(&agent);
    haproxy.sends(&notify(0, 1, &[]));
    haproxy.expects(ack(0, 1));
    haproxy.sends(&notify(0, 2, &[request("a")]));
    haproxy.expects(ack(0, 2));
    haproxy.sends(&notify(u64::MAX, u64::MAX, &[response("a")]));
    haproxy.expects(ack(u64::MAX, u64::MAX));
    agent.wait_until_followers_caught_up();
    assert_eq!(
        agent.ledger()["followers"]["traffic_log"]["exchanges"]["delivered"],
        1
    );
    assert_ledger_balances(&agent);
}

#[test]
fn twenty_pipelined_notifies_have_one_ack_each() {
    for level in ["append", "write", "sync"] {
        let agent = Agent::setup().set("journal.ack", level).start();
        let mut haproxy = FakeHaproxy::connected(&agent);
        let frames = |round: u64| -> Vec<u8> {
            (0..20)
                .flat_map(|n| notify(n, 1, &[request(&format!("{round}-{n}"))]))
                .collect()
        };
        for round in 0..5 {
            haproxy.sends(&frames(round));
            let acks: HashSet<_> = (0..20).map(|_| haproxy.hears_ack()).collect();
            assert_eq!(acks, (0..20).map(|n| ack(n, 1)).collect(), "{level}");
        }
        assert_ledger_balances(&agent);
    }
}

#[test]
fn several_messages_in_a_notify_have_one_ack_and_are_all_captured() {
    let agent = Agent::start();
    let mut haproxy = FakeHaproxy::connected(&agent);
    haproxy.sends(&notify(
        1,
        1,
        &[request("a"), response("a"), request("b"), response("b")],
    ));
    haproxy.expects(ack(1, 1));
    haproxy.sends(&notify(1, 2, &[]));
    haproxy.expects(ack(1, 2));
    agent.wait_until_followers_caught_up();
    assert_eq!(journal::exchanges(&agent.journal_dir()).count(), 2);
    assert_ledger_balances(&agent);
}

#[test]
fn a_held_write_is_acked_when_it_is_durable_and_holds_up_nobody() {
    let agent = Agent::start();
    let mut haproxy = FakeHaproxy::connected(&agent);
    let both = [notify(1, 1, &[held("w")]), notify(2, 1, &[request("r")])].concat();
    haproxy.sends(&both);
    haproxy.expects(ack(2, 1));
    haproxy.expects(ack(1, 1).durable());
    let ledger = agent.ledger();
    assert_eq!(ledger["journal"]["synced"], ledger["journal"]["appended"]);
    assert_ledger_balances(&agent);
}

#[test]
fn a_notify_that_comes_byte_by_byte_is_captured() {
    let agent = Agent::start();
    let mut haproxy = FakeHaproxy::connected(&agent);
    for byte in notify(7, 1, &[request("slow").body(b"{}")]) {
        haproxy.sends(&[byte]);
    }
    haproxy.expects(ack(7, 1));
    assert_ledger_balances(&agent);
}

#[test]
fn a_frame_of_exactly_the_agreed_size_is_captured() {
    let agent = Agent::start();
    for size in [256, 100_000] {
        let mut haproxy = FakeHaproxy::connected_with(&agent, size);
        let id = size.to_string();
        let bare = request(&id)
            .without("cip")
            .without("cport")
            .without("fe")
            .without("tls")
            .fields(&[]);
        let length = |body: &[u8]| notify(1, 1, &[bare.clone().body(body)]).len() - 4;
        let target = usize::try_from(size).unwrap();
        // The lengths in the frame grow with the body, so the body is found by trying.
        let body = (0..target)
            .rev()
            .map(|length| vec![b'b'; length])
            .find(|body| length(body) <= target)
            .unwrap();
        haproxy.sends(&notify(1, 1, &[bare.body(&body)]));
        haproxy.expects(ack(1, 1));
    }
    assert_ledger_balances(&agent);
}

#[test]
fn a_bad_frame_gets_its_status_and_ends_its_own_connection_only() {
    let agent = Agent::start();
    let mut other = FakeHaproxy::connected(&agent);
    let mut reserved_type = notify(1, 1, &[request("x").with("v", Value::Bool(true))]);
    let at = reserved_type
        .windows(2)
        .position(|two| two == b"v\x11")
        .unwrap();
    reserved_type[at + 1] = 0x0f;
    let mut claims_more = notify(1, 1, &[request("x")]);
    let end = claims_more.len() - 1;
    claims_more[3] -= 1;
    claims_more.truncate(end);
    let cases: [(&str, Vec<u8>, u32); 11] = [
        ("too big", (MAX_FRAME_SIZE + 1).to_be_bytes().to_vec(), 3),
        ("hostile length", u32::MAX.to_be_bytes().to_vec(), 3),
        ("too short", 6_u32.to_be_bytes().to_vec(), 4),
        (
            "first fragment",
            frame(FrameKind::Notify, Flags(0), 1, b""),
            10,
        ),
        (
            "next fragment",
            frame(FrameKind::Unset, Flags::FIN, 1, b""),
            10,
        ),
        ("second HELLO", hello(MAX_FRAME_SIZE), 4),
        ("ACK", frame(FrameKind::Ack, Flags::FIN, 1, b""), 4),
        (
            "AGENT-HELLO",
            frame(FrameKind::AgentHello, Flags::FIN, 0, b""),
            4,
        ),
        ("a message that ends early", claims_more, 4),
        ("a reserved type", reserved_type, 4),
        ("garbage", b"\0\0\0\x10garbage garbage!".to_vec(), 4),
    ];
    for (what, bytes, status) in cases {
        let mut haproxy = FakeHaproxy::connected(&agent);
        haproxy.sends(&bytes);
        let message = haproxy.expects_disconnect(status);
        assert!(!message.is_empty(), "{what}");
    }
    other.sends(&notify(1, 1, &[request("still here")]));
    other.expects(ack(1, 1));
    assert_ledger_balances(&agent);
}

#[test]
fn a_bad_hello_gets_its_status() {
    let agent = Agent::start();
    let known: [(&[u8], Value<'_>); 3] = [
        (b"supported-versions", Value::Str(b"2.0")),
        (b"max-frame-size", Value::Uint32(16_380)),
        (b"capabilities", Value::Str(b"pipelining")),
    ];
    let without = |left_out: usize| {
        let mut payload = Vec::new();
        for (_, (name, value)) in known.iter().enumerate().filter(|(n, _)| *n != left_out) {
            kv::encode(&mut payload, name, value);
        }
        frame(FrameKind::HaproxyHello, Flags::FIN, 0, &payload)
    };
    let version = HaproxyHello {
        supported_versions: b"3.0, 1.0",
        ..HaproxyHello::new(16_380)
    };
    let cases: [(&str, Vec<u8>, u32); 9] = [
        (
            "an HTTP client",
            b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            3,
        ),
        ("NOTIFY", notify(1, 1, &[]), 4),
        (
            "an identifier",
            frame(FrameKind::HaproxyHello, Flags::FIN, 1, b""),
            4,
        ),
        ("no version", without(0), 5),
        ("no size", without(1), 6),
        ("no capabilities", without(2), 7),
        ("another version", encoded(version), 8),
        ("too small", hello(255), 9),
        ("too large", hello((1 << 20) + 1), 9),
    ];
    for (what, bytes, status) in cases {
        let mut haproxy = FakeHaproxy::silent(&agent);
        haproxy.sends(&bytes);
        let message = haproxy.expects_disconnect(status);
        assert!(!message.is_empty(), "{what}");
    }
    drop(FakeHaproxy::connected(&agent));
    assert_ledger_balances(&agent);
}

#[test]
fn frames_of_unknown_type_are_skipped() {
    let agent = Agent::start();
    let mut haproxy = FakeHaproxy::connected(&agent);
    haproxy.sends(&frame(FrameKind::Unknown(77), Flags(0), 5, b"?"));
    haproxy.sends(&notify(1, 1, &[request("a")]));
    haproxy.expects(ack(1, 1));
    assert_ledger_balances(&agent);
}

#[test]
fn a_message_that_breaks_the_contract_is_acked_counted_and_told_in_the_log() {
    let agent = Agent::start();
    let mut haproxy = FakeHaproxy::connected(&agent);
    let cases = [
        ("argument id is missing", request("x").without("id")),
        ("argument m is missing", request("x").without("m")),
        ("argument body is missing", request("x").without("body")),
        ("argument st is missing", response("x").without("st")),
        ("argument eom is missing", response("x").without("eom")),
        ("argument v is 2", request("x").with("v", Value::Int64(2))),
        (
            "argument st holds a string",
            response("x").with("st", Value::Str(b"200")),
        ),
        (
            "argument ts holds -1",
            request("x").with("ts", Value::Int64(-1)),
        ),
        (
            "argument bl holds 5",
            request("x").body(b"four").with("bl", Value::Int64(5)),
        ),
        (
            "argument hd is not a header block",
            request("x").with("hd", Value::Bin(b"\xff")),
        ),
        (
            "argument id is missing",
            request("x").with("id", Value::Str(b"")),
        ),
    ];
    for (stream, (_, message)) in (1..).zip(&cases) {
        haproxy.sends(&notify(stream, 1, std::slice::from_ref(message)));
        haproxy.expects(ack(stream, 1));
    }
    haproxy.sends(&notify(99, 1, &[request("x").named("check-client-ip")]));
    haproxy.expects(ack(99, 1));

    let ledger = agent.ledger();
    let refused =
        ["requests", "responses"].map(|kind| &ledger["capture"][kind]["refused"]["contract"]);
    assert_eq!(refused, [8, 3], "{ledger:#}");
    assert_eq!(ledger["capture"]["unknown_messages"], 1);
    // The first few are told in words; what repeats is counted only.
    for (what, _) in &cases[..5] {
        assert!(agent.log().contains(what), "{what}: {}", agent.log());
    }
    assert!(agent.log_lines("not captured") <= 6, "{}", agent.log());
    // The losses are in the journal as well, as soon as there is another record.
    haproxy.sends(&notify(100, 1, &[request("good")]));
    haproxy.expects(ack(100, 1));
    agent.wait_until_followers_caught_up();
    let lost = &agent.ledger()["followers"]["traffic_log"]["halves_never_recorded"];
    assert_eq!(
        (&lost["requests"], &lost["responses"]),
        (&8.into(), &3.into()),
        "{lost}"
    );
    assert_ledger_balances(&agent);
}

#[test]
fn an_argument_that_the_contract_does_not_have_is_skipped_and_told_once() {
    let agent = Agent::start();
    let mut haproxy = FakeHaproxy::connected(&agent);
    for stream in 0..10 {
        let message = request(&stream.to_string()).with("extra", Value::Bool(true));
        haproxy.sends(&notify(stream, 1, &[message]));
        haproxy.expects(ack(stream, 1));
    }
    assert_eq!(agent.log_lines("extra"), 1, "{}", agent.log());
    assert_eq!(agent.ledger()["capture"]["requests"]["captured"], 10);
    assert_ledger_balances(&agent);
}

#[test]
fn halves_come_in_any_order_twice_over_different_connections_or_never() {
    let target = Origin::start(|_| origin::ok());
    let agent = Agent::setup()
        .set("pairing.deadline", "300ms")
        .shadow(&target.url())
        .start();
    let [mut first, mut second] = [(), ()].map(|()| FakeHaproxy::connected(&agent));
    let tell = |haproxy: &mut FakeHaproxy, message| {
        haproxy.sends(&notify(3, 1, &[message]));
        haproxy.expects(ack(3, 1));
    };
    tell(&mut first, request("in order"));
    tell(&mut second, response("in order"));
    tell(&mut first, response("turned"));
    tell(&mut second, request("turned"));
    tell(&mut first, request("twice"));
    tell(&mut second, request("twice"));
    tell(&mut second, response("twice"));
    tell(&mut first, response("twice"));
    tell(&mut first, request("no response"));
    tell(&mut first, response("no request"));

    wait_until("all have their fate", || {
        let ledger = agent.ledger();
        let exchanges = |follower: &str| &ledger["followers"][follower]["exchanges"];
        let log = exchanges("traffic_log");
        let shadow = exchanges("shadow");
        let done = log["delivered"] == 5
            && shadow["delivered"] == 4
            && support::agent::sum(&shadow["filtered"]) == 1;
        done.then_some(()).ok_or_else(|| format!("{ledger:#}"))
    });
    let ledger = agent.ledger();
    for follower in ["traffic_log", "shadow"] {
        assert_eq!(
            ledger["followers"][follower]["records"]["duplicates"], 2,
            "{ledger:#}"
        );
    }
    let halves: Vec<_> = journal::lines(&agent.traffic_log())
        .map(|exchange| (exchange.request.is_some(), exchange.response.is_some()))
        .collect();
    let count = |halves_of| halves.iter().filter(|halves| **halves == halves_of).count();
    assert_eq!(
        [
            count((true, true)),
            count((true, false)),
            count((false, true))
        ],
        [3, 1, 1]
    );
    assert_ledger_balances(&agent);
}

#[test]
fn a_connection_above_the_limit_is_closed_at_once_and_the_next_one_taken_when_there_is_room() {
    let agent = Agent::setup().set("server.max_connections", 3).start();
    let mut taken: Vec<_> = (0..3).map(|_| FakeHaproxy::connected(&agent)).collect();
    for _ in 0..50 {
        assert_eq!(FakeHaproxy::silent(&agent).hears(), Heard::End);
    }
    assert!(
        agent.log_lines("server.max_connections is reached") <= 5,
        "{}",
        agent.log()
    );
    assert_eq!(agent.metric("spoa_agent_connections_refused_total"), 50.0);
    taken.pop();
    wait_for("there is room again", || {
        let mut haproxy = FakeHaproxy::silent(&agent);
        let sent = haproxy.tries_to_send(&hello(MAX_FRAME_SIZE));
        sent.ok().and_then(|()| match haproxy.tries_to_hear() {
            Ok(Heard::Hello(_)) => Some(()),
            _ => None,
        })
    });
    assert_ledger_balances(&agent);
}

#[test]
fn a_burst_of_two_thousand_connections_leaves_the_agent_healthy_and_its_log_short() {
    let agent = Agent::start();
    for n in 0..2000 {
        let mut haproxy = FakeHaproxy::silent(&agent);
        match n % 4 {
            0 => {}
            1 => haproxy.sends(&hello(MAX_FRAME_SIZE)),
            2 => haproxy.sends(&health_check()),
            _ => haproxy.sends(b"\0\0"),
        }
    }
    let mut haproxy = FakeHaproxy::connected(&agent);
    haproxy.sends(&notify(1, 1, &[request("after the burst")]));
    haproxy.expects(ack(1, 1));
    assert!(agent.is_ready());
    assert!(agent.log().lines().count() < 20, "{}", agent.log());
    wait_for("all connections are closed", || {
        (agent.metric("spoa_agent_connections_closed_total") >= 2000.0).then_some(())
    });
    assert_ledger_balances(&agent);
}

#[test]
fn a_connection_without_hello_is_ended_in_time() {
    let agent = Agent::setup().set("server.hello_timeout", "100ms").start();
    let mut silent = FakeHaproxy::silent(&agent);
    silent.expects_disconnect(2);
    let mut slow = FakeHaproxy::silent(&agent);
    slow.sends(&hello(MAX_FRAME_SIZE)[..20]);
    slow.expects_disconnect(2);
    assert_ledger_balances(&agent);
}

#[test]
fn a_goodbye_of_haproxys_is_everyday_life() {
    let agent = Agent::start();
    for status in [Status::Normal, Status::Io] {
        let mut haproxy = FakeHaproxy::connected(&agent);
        let mut goodbye = Vec::new();
        Disconnect {
            status,
            message: b"",
        }
        .encode_haproxy(&mut goodbye);
        haproxy.sends(&goodbye);
        assert_eq!(haproxy.hears(), Heard::End);
    }
    let mut haproxy = FakeHaproxy::connected(&agent);
    let mut complaint = Vec::new();
    Disconnect {
        status: Status::TooBig,
        message: b"too big",
    }
    .encode_haproxy(&mut complaint);
    haproxy.sends(&complaint);
    haproxy.expects_disconnect(0);
    assert_eq!(agent.log_lines("WARN"), 1, "{}", agent.log());
    assert_ledger_balances(&agent);
}

#[test]
fn a_socket_file_that_a_kill_left_behind_is_replaced_and_another_agents_is_not() {
    let mut agent = Agent::setup().on_unix_socket().start();
    assert!(Path::new(agent.spop()).exists());
    agent.kill();
    assert!(Path::new(agent.spop()).exists(), "a kill cleans nothing up");
    agent.start_again();
    let mut haproxy = FakeHaproxy::connected(&agent);
    haproxy.sends(&notify(1, 1, &[request("a")]));
    haproxy.expects(ack(1, 1));
    let mode = std::fs::metadata(agent.spop())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
    assert_ledger_balances(&agent);
    drop(haproxy);
    assert!(agent.terminate().success());
    assert!(!Path::new(agent.spop()).exists());
}

#[test]
fn a_sighup_reads_the_rules_again_keeps_the_old_ones_when_they_are_wrong_and_loses_nothing() {
    let target = Origin::start(|_| origin::ok());
    let setup = Agent::setup().shadow(&target.url());
    let folder = tempfile::TempDir::new().unwrap();
    let (rules, token) = (
        folder.path().join("rules.toml"),
        folder.path().join("token"),
    );
    std::fs::write(&rules, "headers.set = { x-rules = \"1\" }").unwrap();
    std::fs::write(&token, "first").unwrap();
    let agent = setup
        .set("shadow.rules_file", rules.to_str().unwrap())
        .set("shadow.credentials", "bearer")
        .set("shadow.credentials_file", token.to_str().unwrap())
        .start();
    let mut haproxy = FakeHaproxy::connected(&agent);
    let mut count = 0;
    let mut tell = |times: usize| {
        for _ in 0..times {
            count += 1;
            let id = format!("id-{count}");
            haproxy.sends(&notify(count, 1, &[request(&id), response(&id)]));
            haproxy.expects(ack(count, 1));
        }
        usize::try_from(count).unwrap()
    };
    let reloads = |result: &str| {
        let series = format!("spoa_agent_rules_reloads_total{{result=\"{result}\"}} ");
        let text = agent.admin("/metrics").1;
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.unwrap().parse::<u64>().unwrap()
    };
    let authorization_of_last = || {
        let heard = target.heard();
        heard.last().unwrap().text("authorization").unwrap()
    };
    let all_heard = |count: usize| {
        wait_for("the shadow has everything", || {
            (target.heard_count() == count).then_some(())
        });
    };
    all_heard(tell(20));
    assert_eq!(authorization_of_last(), "Bearer first");

    std::fs::write(&rules, "default = \"alow\"\nheaders.set = { te = \"1\" }").unwrap();
    std::fs::write(&token, "second").unwrap();
    agent.signal("HUP");
    tell(20);
    wait_for("the wrong file is refused", || {
        (reloads("refused") == 1).then_some(())
    });
    let log = agent.log();
    let line = log
        .lines()
        .find(|line| line.contains("rules not replaced"))
        .unwrap();
    assert!(
        line.contains("line 1: default") && line.contains("line 2: headers.set.te"),
        "{line}"
    );
    assert!(!log.contains("second"), "{log}");

    std::fs::write(&rules, "").unwrap();
    agent.signal("HUP");
    wait_for("the right file is taken", || {
        (reloads("replaced") == 1).then_some(())
    });
    all_heard(tell(20));
    assert_eq!(authorization_of_last(), "Bearer second");
    assert_eq!(agent.log_lines("ERROR"), 1, "{}", agent.log());
    assert_ledger_balances(&agent);
}

#[test]
fn a_sigterm_says_goodbye_after_the_acks_and_a_second_one_ends_at_once() {
    let mut agent = Agent::start();
    let mut haproxy = FakeHaproxy::connected(&agent);
    haproxy.sends(&notify(1, 1, &[request("a"), response("a")]));
    haproxy.expects(ack(1, 1));
    assert!(agent.terminate().success(), "{}", agent.log());
    haproxy.expects_disconnect(0);
    assert_eq!(journal::lines(&agent.traffic_log()).count(), 1);

    agent.set("shutdown.lame_duck", "9s");
    agent.start_again();
    agent.signal("TERM");
    wait_for("it is leaving", || (!agent.is_ready()).then_some(()));
    let mut haproxy = FakeHaproxy::silent(&agent);
    haproxy.sends(&health_check());
    haproxy.expects_disconnect(13);
    let mut haproxy = FakeHaproxy::connected(&agent);
    haproxy.sends(&notify(1, 1, &[request("b")]));
    haproxy.expects(ack(1, 1));
    assert_ledger_balances(&agent);
    assert_eq!(agent.terminate().code(), Some(130));
}

#[test]
fn credentials_are_masked_wherever_something_is_written() {
    const SECRET: &str = "s3cr3t-0f-th3-cl13nt";
    let tell = |agent: &Agent| {
        let secret = SECRET.as_bytes();
        let mut haproxy = FakeHaproxy::connected(agent);
        let sent = request("a").fields(&[
            (b"authorization", secret),
            (b"Proxy-Authorization", secret),
            (b"cookie", secret),
            (b"x-amz-security-token", secret),
            (b"x-api-key", secret),
            (b"x-tenant-token", secret),
            (b"x-harmless", b"kept"),
        ]);
        let answered = response("a").fields(&[(b"set-cookie", secret), (b"x-harmless", b"kept")]);
        haproxy.sends(&notify(1, 1, &[sent, answered]));
        haproxy.expects(ack(1, 1));
        // A message that is refused is told in the log, and its values are not.
        let refused = request("b")
            .with("m", Value::Null)
            .fields(&[(b"authorization", secret)]);
        haproxy.sends(&notify(2, 1, &[refused]));
        haproxy.expects(ack(2, 1));
        agent.wait_until_followers_caught_up();
    };
    let written = |agent: &Agent| {
        assert_ledger_balances(agent);
        let mut found = Vec::new();
        for (place, bytes) in everything_written(agent) {
            let private = place.ends_with("seg") || place.contains("journal");
            if bytes
                .windows(SECRET.len())
                .any(|window| window == SECRET.as_bytes())
            {
                found.push((place, private));
            }
        }
        found
    };
    let setup = || {
        let masked = vec![toml::Value::from("X-Tenant-Token")];
        Agent::setup()
            .set("capture.mask_headers", masked)
            .set("log.level", "trace")
    };
    let agent = setup().start();
    tell(&agent);
    assert_eq!(written(&agent), []);
    let line = std::fs::read_to_string(agent.traffic_log()).unwrap();
    assert_eq!(
        (line.matches("***").count(), line.matches("kept").count()),
        (7, 2),
        "{line}"
    );

    let agent = setup().set("capture.forward_credentials", true).start();
    tell(&agent);
    let found = written(&agent);
    assert!(!found.is_empty(), "forwarding keeps them in the journal");
    for (place, private) in found {
        assert!(private, "{place}");
        let mode = std::fs::metadata(&place).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{place}");
    }
}

/// Every file that the agent wrote, and everything that its admin server says.
fn everything_written(agent: &Agent) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![agent.folder().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
    }
    assert!(
        found.len() >= 4,
        "journal, cursor, traffic log and log: {found:?}"
    );
    for page in ["/metrics", "/ledger", "/readyz", "/healthz"] {
        found.push((page.to_owned(), agent.admin(page).1.into_bytes()));
    }
    found
}

/// A frame as odd as the test wants it.
fn frame(kind: FrameKind, flags: Flags, id: u64, payload: &[u8]) -> Vec<u8> {
    let frame = Frame {
        kind,
        flags,
        stream_id: StreamId(id),
        frame_id: FrameId(id),
        payload,
    };
    let mut out = Vec::new();
    frame.encode(&mut out).unwrap();
    out
}
