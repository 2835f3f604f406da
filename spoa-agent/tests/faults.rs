//! What goes wrong, and what the client notices of it: nothing but a wait of at most HAProxy's
//! `timeout processing` until the health check has fired, and then not even that. Afterwards the followers catch
//! up and the ledger balances. With each HAProxy in `HAPROXY_BINARIES`.
//!
//! Waits are compared with a multiple of what was configured: without the limits they would be ten
//! times longer, or endless.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use haproxy_config::{Hold, Options};

use support::disk::SmallDisk;
use support::fake_haproxy::{
    Ack, FakeHaproxy, Heard, ack, health_check, held, notify, request, response,
};
use support::haproxy::{self, Haproxy};
use support::installed::{self, binaries};
use support::load::{Load, Seen, Tally};
use support::origin::{self, Reply};
use support::{Agent, Origin, alone, assert_ledger_balances, journal, wait_for, wait_until};

const PROCESSING_TIMEOUT: Duration = Duration::from_millis(400);
/// How much longer than that a wait may take on a busy machine.
const BUSY: u32 = 10;
const CONNECTIONS: usize = 16;

/// A primary and a shadow, with HAProxy and the agent between them.
struct Stage {
    node: Seen,
    shadow: Seen,
    agent: Agent,
    haproxy: Haproxy,
    _origins: [Origin; 2],
}

impl Stage {
    fn start(binary: &installed::Haproxy, setup: impl FnOnce(&Origin) -> Agent) -> Self {
        let (node, shadow) = (Seen::default(), Seen::default());
        let primary = Origin::start_busy({
            let seen = node.clone();
            move |request| seen.answer(request)
        });
        let target = Origin::start_busy({
            let seen = shadow.clone();
            move |request| {
                seen.answer(request);
                origin::ok()
            }
        });
        let agent = setup(&target);
        let options = Options {
            processing_timeout: PROCESSING_TIMEOUT,
            ..haproxy::options(&agent, &primary)
        };
        let haproxy = Haproxy::start(binary, &options);
        Self {
            node,
            shadow,
            agent,
            haproxy,
            _origins: [primary, target],
        }
    }

    fn load(&self) -> Load {
        let load = Load::start(self.haproxy.address(), CONNECTIONS);
        load.wait_for_more(200);
        load
    }

    /// While the agent is down nobody waits for it.
    fn assert_nobody_waits(&self) {
        const REQUESTS: u32 = 40;
        let mut client = self.haproxy.client();
        let began = Instant::now();
        for _ in 0..REQUESTS {
            assert_eq!(client.request("POST", "/", &[], b"{}").unwrap().status, 200);
        }
        // Had each one waited, it would have been four times as long.
        assert!(
            began.elapsed() < REQUESTS * PROCESSING_TIMEOUT / 4,
            "{:?}",
            began.elapsed()
        );
    }

    /// Everything that was captured whole is at the shadow, and was at the primary.
    fn assert_caught_up(&self, each_once: bool) {
        self.agent.wait_until_followers_caught_up();
        assert_ledger_balances(&self.agent);
        self.node.assert_all_right();
        self.shadow.assert_all_right();
        let (node, shadow) = (self.node.counts(), self.shadow.counts());
        let captured: HashSet<u64> = journal::exchanges(&self.agent.journal_dir())
            .filter(|exchange| {
                exchange
                    .request
                    .as_ref()
                    .is_some_and(|half| half.body.is_whole())
            })
            .filter_map(|exchange| support::load::number_of(&exchange))
            .collect();
        for number in &captured {
            assert_eq!(node.get(number), Some(&1), "{number} at the primary");
            let times = shadow.get(number).copied().unwrap_or(0);
            assert!(times >= 1, "{number} is captured and not at the shadow");
            assert!(
                times == 1 || !each_once,
                "{number} is at the shadow {times} times"
            );
        }
        assert!(shadow.keys().all(|number| captured.contains(number)));
    }
}

#[track_caller]
fn assert_unharmed(tally: &Tally) {
    tally.assert_all_right();
    let limit = PROCESSING_TIMEOUT * BUSY;
    assert!(
        tally.slowest < limit,
        "the slowest of {} took {:?}",
        tally.answered,
        tally.slowest
    );
}

#[test]
fn a_stopped_agent_costs_no_more_than_the_processing_timeout_and_then_nothing() {
    let _alone = alone();
    for binary in binaries() {
        let stage = Stage::start(&binary, |shadow| {
            Agent::setup()
                .set("pairing.deadline", "2s")
                .shadow(&shadow.url())
                .start()
        });
        let load = stage.load();
        stage.agent.signal("STOP");
        stage.haproxy.wait_until_agent_is("DOWN");
        stage.assert_nobody_waits();
        stage.agent.signal("CONT");
        stage.haproxy.wait_until_agent_is("UP");
        load.wait_for_more(200);
        assert_unharmed(&load.stop());
        wait_until_no_half_waits(&stage.agent);
        stage.assert_caught_up(true);
    }
}

#[test]
fn a_killed_agent_costs_no_more_than_the_processing_timeout_and_then_nothing() {
    let _alone = alone();
    for binary in binaries() {
        let mut stage = Stage::start(&binary, |shadow| {
            Agent::setup()
                .set("pairing.deadline", "2s")
                .shadow(&shadow.url())
                .start()
        });
        let load = stage.load();
        for _ in 0..2 {
            stage.agent.kill();
            stage.haproxy.wait_until_agent_is("DOWN");
            stage.assert_nobody_waits();
            stage.agent.start_again();
            stage.haproxy.wait_until_agent_is("UP");
            load.wait_for_more(200);
        }
        assert_unharmed(&load.stop());
        wait_until_no_half_waits(&stage.agent);
        // What was on its way when the agent was killed is sent again.
        stage.assert_caught_up(false);
        assert_one_line_each(&stage.agent);
    }
}

#[test]
fn a_sigterm_under_load_costs_the_client_nothing_and_loses_nothing() {
    let _alone = alone();
    for binary in binaries() {
        let mut stage = Stage::start(&binary, |shadow| {
            let setup = Agent::setup()
                .set("pairing.deadline", "2s")
                .shadow(&shadow.url());
            // The default: longer than HAProxy needs to notice.
            setup.set("shutdown.lame_duck", "1500ms").start()
        });
        let load = stage.load();
        let status = stage.agent.terminate();
        assert!(status.success(), "{status}: {}", stage.agent.log());
        stage.haproxy.wait_until_agent_is("DOWN");
        stage.assert_nobody_waits();
        stage.agent.start_again();
        stage.haproxy.wait_until_agent_is("UP");
        load.wait_for_more(200);
        assert_unharmed(&load.stop());
        wait_until_no_half_waits(&stage.agent);
        stage.assert_caught_up(true);
        assert_one_line_each(&stage.agent);
    }
}

#[test]
fn a_full_disk_under_the_journal_takes_the_agent_out_until_there_is_room() {
    let _alone = alone();
    for binary in binaries() {
        let Some(disk) = SmallDisk::mount("64m") else {
            return;
        };
        let stage = Stage::start(&binary, |shadow| {
            let dir = disk.path().join("journal");
            Agent::setup()
                .set("journal.dir", dir.to_str().unwrap())
                .set("journal.segment_size", "2MiB")
                .set("pairing.deadline", "2s")
                .shadow(&shadow.url())
                .start()
        });
        let load = stage.load();
        disk.fill();
        stage.haproxy.wait_until_agent_is("DOWN");
        assert!(!stage.agent.is_ready());
        stage.assert_nobody_waits();
        disk.free();
        stage.haproxy.wait_until_agent_is("UP");
        load.wait_for_more(200);
        assert_unharmed(&load.stop());
        wait_until_no_half_waits(&stage.agent);
        stage.assert_caught_up(true);
        assert!(
            stage.agent.log().lines().count() < 200,
            "{}",
            stage.agent.log()
        );
    }
}

#[test]
fn a_full_disk_under_the_traffic_log_costs_nobody_anything_and_no_line() {
    let _alone = alone();
    for binary in binaries() {
        let Some(disk) = SmallDisk::mount("64m") else {
            return;
        };
        let stage = Stage::start(&binary, |shadow| {
            let path = disk.path().join("traffic.log");
            Agent::setup()
                .set("traffic_log.path", path.to_str().unwrap())
                .set("pairing.deadline", "2s")
                .shadow(&shadow.url())
                .start()
        });
        let load = stage.load();
        disk.fill();
        wait_for("the traffic log cannot be written", || {
            (stage
                .agent
                .metric("spoa_agent_traffic_log_write_errors_total")
                > 0.0)
                .then_some(())
        });
        load.wait_for_more(500);
        assert!(stage.agent.is_ready(), "the journal takes it all");
        let tally = load.stop();
        disk.free();
        assert_unharmed(&tally);
        wait_until_no_half_waits(&stage.agent);
        stage.assert_caught_up(true);
        assert_one_line_each(&stage.agent);
        assert_eq!(
            journal::lines(&stage.agent.traffic_log()).count() as u64,
            tally.answered,
            "every exchange has its line"
        );
    }
}

#[test]
fn a_shadow_that_is_down_slow_mute_or_overloaded_is_nobodys_business_and_catches_up() {
    let _alone = alone();
    let binary = binaries().pop();
    let Some(binary) = binary else { return };
    for trouble in ["down", "slow", "mute", "overloaded"] {
        let ill = Arc::new(AtomicBool::new(true));
        let shadow = Seen::default();
        let reply = {
            let (ill, seen) = (Arc::clone(&ill), shadow.clone());
            move |request: &support::http::Message| {
                match (ill.load(Ordering::SeqCst), trouble) {
                    (true, "mute") => return Reply::Silence,
                    (true, "overloaded") => return origin::status(503),
                    _ => {}
                }
                seen.answer(request);
                match ill.load(Ordering::SeqCst) {
                    true => Reply::After(Duration::from_millis(50), origin::answer(200, &[], b"")),
                    false => origin::ok(),
                }
            }
        };
        let mut target = Some(Origin::start_busy(reply.clone()));
        let address = target.as_ref().unwrap().address();
        if trouble == "down" {
            target = None;
        }
        let node = Seen::default();
        let primary = Origin::start_busy({
            let seen = node.clone();
            move |request| seen.answer(request)
        });
        let agent = Agent::setup()
            .shadow(&format!("http://{address}"))
            .set("shadow.connections", 4)
            .set("shadow.response_timeout", "500ms")
            .set("shadow.max_in_flight", 64)
            // Whether the shadow or the request is to blame is found out by trying.
            .set("shadow.max_attempts", 1000)
            .start();
        let options = Options {
            processing_timeout: PROCESSING_TIMEOUT,
            ..haproxy::options(&agent, &primary)
        };
        let haproxy = Haproxy::start(&binary, &options);
        let tally = Load::run(haproxy.address(), CONNECTIONS, 0..600);
        assert_unharmed(&tally);
        let ledger = agent.ledger();
        assert!(ledger["followers"]["shadow"]["exchanges"]["in_flight"].as_u64() <= Some(65));
        assert_ledger_balances(&agent);

        ill.store(false, Ordering::SeqCst);
        if trouble == "down" {
            target = Some(Origin::start_on(address, false, reply));
        }
        agent.wait_until_followers_caught_up();
        let exchanges = &agent.ledger()["followers"]["shadow"]["exchanges"];
        assert_eq!(exchanges["delivered"], 600, "{trouble}: {exchanges}");
        node.assert_each_once(0..600);
        shadow.assert_all_right();
        assert_eq!(shadow.len(), 600, "{trouble}");
        assert_ledger_balances(&agent);
        drop(target);
    }
}

#[test]
fn a_backlog_stays_on_disk_and_not_in_memory() {
    const BODY: usize = 200 << 10;
    const EXCHANGES: u64 = 1000;
    let held_back = Arc::new(AtomicBool::new(true));
    let received = Arc::new(AtomicUsize::new(0));
    let target = Origin::start_busy({
        let (held_back, received) = (Arc::clone(&held_back), Arc::clone(&received));
        move |request| {
            if held_back.load(Ordering::SeqCst) {
                return Reply::Silence;
            }
            received.fetch_add(request.body.len(), Ordering::SeqCst);
            origin::ok()
        }
    });
    let agent = Agent::setup()
        .set("traffic_log.path", "")
        .set("journal.tail", "1MiB")
        .set("journal.buffer", "2MiB")
        .set("pairing.max_bytes", "2MiB")
        .set("shadow.max_in_flight_bytes", "4MiB")
        .set("shadow.response_timeout", "300ms")
        .set("shadow.max_attempts", 1000)
        .shadow(&target.url())
        .start();
    let mut haproxy = FakeHaproxy::connected_with(&agent, 1 << 20);
    let body = vec![b'b'; BODY];
    for n in 0..EXCHANGES {
        let id = n.to_string();
        haproxy.sends(&notify(n, 1, &[request(&id).body(&body), response(&id)]));
        haproxy.expects(ack(n, 1));
    }
    // 200 MB are in the journal. What may be in memory is 9 MiB and what the program itself needs.
    let resident = agent.resident();
    assert!(resident < 80 << 20, "{resident} bytes are resident");
    held_back.store(false, Ordering::SeqCst);
    agent.wait_until_followers_caught_up();
    assert!(received.load(Ordering::SeqCst) >= BODY * usize::try_from(EXCHANGES).unwrap());
    let resident = agent.resident();
    assert!(resident < 80 << 20, "{resident} bytes are resident");
    assert_ledger_balances(&agent);
}

#[test]
fn a_journal_at_its_budget_stops_capturing_or_drops_what_is_unread_and_counts_it() {
    const EXCHANGES: u64 = 1000;
    let body = vec![b'b'; 10 << 10];
    for (policy, captures) in [("stop", false), ("drop-unread", true)] {
        let mute = Arc::new(AtomicBool::new(true));
        let target = Origin::start_busy({
            let mute = Arc::clone(&mute);
            move |_| match mute.load(Ordering::SeqCst) {
                true => Reply::Silence,
                false => origin::ok(),
            }
        });
        let agent = Agent::setup()
            .set("journal.segment_size", "2MiB")
            .set("journal.buffer", "2MiB")
            .set("journal.max_bytes", "6MiB")
            .set("journal.when_full", policy)
            // Else the follower would find in memory what is no longer on disk.
            .set("journal.tail", 0)
            .set("shadow.max_in_flight", 8)
            .set("shadow.response_timeout", "500ms")
            .set("shadow.max_attempts", 1000)
            .shadow(&target.url())
            .start();
        let mut haproxy = FakeHaproxy::connected(&agent);
        // Nearly twice the budget.
        for n in 0..EXCHANGES {
            let id = n.to_string();
            haproxy.sends(&notify(n, 1, &[request(&id).body(&body), response(&id)]));
            haproxy.expects(ack(n, 1));
        }
        let ledger = agent.ledger();
        let refused = ledger["capture"]["requests"]["refused"]["journal_full"]
            .as_u64()
            .unwrap();
        assert_eq!(refused == 0, captures, "{ledger:#}");
        wait_until("health checks tell it", || {
            let mut check = FakeHaproxy::silent(&agent);
            check.sends(&health_check());
            let passes = matches!(check.hears(), Heard::Hello(_));
            (passes == captures)
                .then_some(())
                .ok_or_else(|| format!("passes: {passes}"))
        });
        assert_eq!(agent.is_ready(), captures);
        // Said when it happens; the follower may never get there.
        let deleted = "records were deleted that a follower had not read";
        assert_eq!(agent.log().contains(deleted), captures, "{}", agent.log());

        mute.store(false, Ordering::SeqCst);
        wait_until("it captures again", || {
            let id = "again";
            haproxy.sends(&notify(1, 1, &[request(id), response(id)]));
            haproxy.expects(ack(1, 1));
            agent.is_ready().then_some(()).ok_or_else(|| agent.log())
        });
        agent.wait_until_followers_caught_up();
        let shadow = &agent.ledger()["followers"]["shadow"];
        let lost = shadow["records"]["lost"].as_u64().unwrap();
        let never_recorded = shadow["halves_never_recorded"]["requests"]
            .as_u64()
            .unwrap();
        assert_eq!(
            (lost > 0, never_recorded > 0),
            (captures, !captures),
            "{shadow:#}"
        );
        let delivered = shadow["exchanges"]["delivered"].as_u64().unwrap();
        if captures {
            let told = r#""records of the journal are lost to this follower","follower":"shadow""#;
            assert_eq!(agent.log_lines(told), 1, "{}", agent.log());
            assert_eq!(2 * (delivered - 1) + lost, 2 * EXCHANGES, "{shadow:#}");
        } else {
            assert!(delivered > EXCHANGES - never_recorded, "{shadow:#}");
        }
        assert_ledger_balances(&agent);
    }
}

#[test]
fn a_kill_loses_no_half_that_was_acknowledged_and_leaves_one_line_per_exchange() {
    let _alone = alone();
    const CONNECTIONS: u64 = 8;
    for level in ["append", "write", "sync"] {
        let mut agent = Agent::setup()
            .set("pairing.deadline", "1s")
            .set("journal.ack", level)
            .start();
        let mut acknowledged: HashSet<(String, bool)> = HashSet::new();
        for round in 0..4 {
            let threads: Vec<_> = (0..CONNECTIONS)
                .map(|connection| {
                    let haproxy = FakeHaproxy::connected(&agent);
                    std::thread::spawn(move || until_it_is_killed(haproxy, round, connection))
                })
                .collect();
            let records = || agent.ledger()["journal"]["records"].as_u64().unwrap();
            let first = records();
            wait_for("there is traffic", || {
                (records() > first + 1000).then_some(())
            });
            agent.kill();
            for thread in threads {
                acknowledged.extend(thread.join().unwrap());
            }
            agent.start_again();
        }
        wait_until_no_half_waits(&agent);
        agent.wait_until_followers_caught_up();
        let mut found = HashSet::new();
        for half in journal::halves(&agent.journal_dir()) {
            let id = String::from_utf8(half.id().unwrap().to_vec()).unwrap();
            found.insert((id, matches!(half, exchange::Half::Request(_))));
        }
        let lost = acknowledged.difference(&found).count();
        // At level `append` an ACK promises no more than that the agent has it in memory.
        assert!(
            lost == 0 || level == "append",
            "{level}: {lost} of {}",
            acknowledged.len()
        );
        assert!(acknowledged.len() > 1000, "{level}: {}", acknowledged.len());
        for segment in ::journal::verify(&agent.journal_dir()).unwrap() {
            assert_eq!(segment.verdict, ::journal::Verdict::Whole, "{level}");
        }
        assert_one_line_each(&agent);
        assert_ledger_balances(&agent);
    }
}

/// Tells halves, twenty at a time, and returns those whose ACK came.
fn until_it_is_killed(
    mut haproxy: FakeHaproxy,
    round: u64,
    connection: u64,
) -> Vec<(String, bool)> {
    let mut acknowledged = Vec::new();
    for batch in 0.. {
        let id = |n: u64| format!("{round}-{connection}-{}", batch * 10 + n / 2);
        let frames: Vec<u8> = (0..20)
            .flat_map(|n| match n % 2 {
                0 => notify(n, batch + 1, &[request(&id(n)).body(b"{\"a\":1}")]),
                _ => notify(n, batch + 1, &[response(&id(n))]),
            })
            .collect();
        if haproxy.tries_to_send(&frames).is_err() {
            break;
        }
        for _ in 0..20 {
            match haproxy.tries_to_hear() {
                Ok(Heard::Ack(Ack { stream, .. })) => {
                    acknowledged.push((id(stream), stream.is_multiple_of(2)));
                }
                _ => return acknowledged,
            }
        }
    }
    acknowledged
}

#[test]
fn a_held_write_reaches_the_node_only_when_it_is_durable_and_a_read_is_never_held() {
    let _alone = alone();
    for binary in binaries() {
        for hold in [Hold::Open, Hold::Closed] {
            let durable = Arc::new(std::sync::Mutex::new(None::<std::path::PathBuf>));
            let node = Origin::start({
                let durable = Arc::clone(&durable);
                move |request| {
                    // When the node gets a write, its request half is on disk already.
                    let id = request.text("x-capture-id").unwrap();
                    let dir = durable.lock().unwrap().clone().unwrap();
                    let found = journal::halves(&dir).iter().any(|half| {
                        matches!(half, exchange::Half::Request(half) if half.held && half.id == id)
                    });
                    origin::status(if found { 201 } else { 200 })
                }
            });
            let agent = Agent::start();
            *durable.lock().unwrap() = Some(agent.journal_dir());
            let options = Options {
                hold,
                ..haproxy::options(&agent, &node)
            };
            let haproxy = Haproxy::start(&binary, &options);
            let mut client = haproxy.client();
            for method in ["PUT", "POST", "DELETE", "PATCH"] {
                let answer = client.request(method, "/index/_doc/1", &[], b"{}").unwrap();
                assert_eq!(answer.status, 201, "{method} is held");
            }
            for (method, path) in [
                ("GET", "/index/_doc/1"),
                ("POST", "/index/_search"),
                ("POST", "/_msearch?x=y"),
                ("HEAD", "/index"),
                ("GET", "/index/_search"),
            ] {
                let answer = client.request(method, path, &[], b"").unwrap();
                assert_eq!(answer.status, 200, "{method} {path} is not held");
            }
            agent.wait_until_followers_caught_up();
            assert_eq!(journal::exchanges(&agent.journal_dir()).count(), 9);
            assert_ledger_balances(&agent);
        }
    }
}

#[test]
fn without_the_agent_held_writes_go_on_in_open_mode_and_are_denied_in_closed_mode() {
    let _alone = alone();
    for binary in binaries() {
        for (hold, status) in [(Hold::Open, 200), (Hold::Closed, 503)] {
            let node = Origin::start(|_| origin::ok());
            let mut agent = Agent::start();
            let options = Options {
                hold,
                ..haproxy::options(&agent, &node)
            };
            let haproxy = Haproxy::start(&binary, &options);
            agent.kill();
            haproxy.wait_until_agent_is("DOWN");
            let mut client = haproxy.client();
            let write = client.request("PUT", "/index/_doc/1", &[], b"{}").unwrap();
            assert_eq!(write.status, status, "{hold:?}");
            let mut client = haproxy.client();
            for (method, path) in [("GET", "/"), ("POST", "/index/_search")] {
                let read = client.request(method, path, &[], b"{}").unwrap();
                assert_eq!(read.status, 200, "{hold:?} {method} {path}");
            }
            assert_eq!(node.heard_count(), if status == 200 { 3 } else { 2 });
            agent.start_again();
            assert_ledger_balances(&agent);
        }
    }
}

#[test]
fn a_held_write_whose_client_hangs_up_does_not_reach_the_node_before_it_is_durable() {
    let _alone = alone();
    for binary in binaries() {
        let node = Origin::start(|_| origin::ok());
        let agent = Agent::start();
        let options = Options {
            hold: Hold::Closed,
            ..haproxy::options(&agent, &node)
        };
        let haproxy = Haproxy::start(&binary, &options);
        agent.signal("STOP");
        let mut client = haproxy.client();
        client
            .send(&support::client::request(
                "PUT",
                "/index/_doc/1",
                &[],
                b"{}",
            ))
            .unwrap();
        drop(client);
        haproxy.wait_until_agent_is("DOWN");
        assert_eq!(node.heard_count(), 0);
        agent.signal("CONT");
        haproxy.wait_until_agent_is("UP");
        let after = haproxy
            .client()
            .request("PUT", "/after", &[], b"{}")
            .unwrap();
        assert_eq!(after.status, 200);
        let heard: Vec<_> = node
            .heard()
            .iter()
            .map(|heard| heard.first_line().to_vec())
            .collect();
        // A stopped agent that goes on before the hold's time is up makes the first write durable after all.
        let durable = agent.metric("spoa_agent_holds_ended_total{outcome=\"durable\"}");
        assert_eq!(heard.last().unwrap(), b"PUT /after HTTP/1.1");
        assert!(
            heard.len() as f64 <= durable,
            "{heard:?}, {durable} durable"
        );
        assert_ledger_balances(&agent);
    }
}

#[test]
fn a_write_that_cannot_become_durable_is_let_go_at_the_deadline_or_denied() {
    let _alone = alone();
    for binary in binaries() {
        for (hold, status) in [(Hold::Open, 200), (Hold::Closed, 503)] {
            let Some(disk) = SmallDisk::mount("16m") else {
                return;
            };
            let node = Origin::start(|_| origin::ok());
            let dir = disk.path().join("journal");
            let agent = Agent::setup()
                .set("journal.dir", dir.to_str().unwrap())
                .set("journal.segment_size", "2MiB")
                .set("capture.hold_deadline", "300ms")
                .start();
            let options = Options {
                hold,
                hold_timeout: Duration::from_secs(10),
                ..haproxy::options(&agent, &node)
            };
            let haproxy = Haproxy::start(&binary, &options);
            let mut client = haproxy.client();
            assert_eq!(
                client.request("PUT", "/before", &[], b"{}").unwrap().status,
                200
            );
            disk.fill();
            // The first write after that finds out, and is released at the agent's deadline or at once.
            let mut client = haproxy.client();
            let answer = client
                .request("PUT", "/full", &[], &vec![b'f'; 20_000])
                .unwrap();
            assert_eq!(answer.status, status, "{hold:?}");
            assert!(answer.took < Duration::from_secs(9), "{:?}", answer.took);
            let read = haproxy
                .client()
                .request("POST", "/_search", &[], b"{}")
                .unwrap();
            assert_eq!(read.status, 200);
            disk.free();
            wait_until("writes are taken again", || {
                let answer = haproxy
                    .client()
                    .request("PUT", "/after", &[], b"{}")
                    .unwrap();
                let durable = journal::halves(&dir).iter().any(
                    |half| matches!(half, exchange::Half::Request(half) if half.target == "/after"),
                );
                let taken = answer.status == 200 && durable;
                taken.then_some(()).ok_or_else(|| answer.status.to_string())
            });
            agent.wait_until_followers_caught_up();
            assert_ledger_balances(&agent);
        }
    }
}

#[test]
fn a_held_ack_says_durable_only_when_it_is_and_comes_at_the_deadline_otherwise() {
    let Some(disk) = SmallDisk::mount("8m") else {
        return;
    };
    let dir = disk.path().join("journal");
    let agent = Agent::setup()
        .set("journal.dir", dir.to_str().unwrap())
        .set("journal.segment_size", "2MiB")
        .set("capture.hold_deadline", "200ms")
        .start();
    let mut haproxy = FakeHaproxy::connected(&agent);
    haproxy.sends(&notify(1, 1, &[held("a")]));
    haproxy.expects(ack(1, 1).durable());
    disk.fill();
    for stream in 2..20 {
        let body = vec![b'h'; 10_000];
        haproxy.sends(&notify(stream, 1, &[held(&stream.to_string()).body(&body)]));
        haproxy.expects(ack(stream, 1));
    }
    disk.free();
    wait_for("it takes records again", || agent.is_ready().then_some(()));
    haproxy.sends(&notify(20, 1, &[held("z")]));
    haproxy.expects(ack(20, 1).durable());
    agent.wait_until_followers_caught_up();
    assert_ledger_balances(&agent);
}

/// Halves whose other half was lost with the agent are given up at the pairing deadline.
fn wait_until_no_half_waits(agent: &Agent) {
    // Only who has read everything knows which halves are alone.
    agent.wait_until_followers_caught_up();
    wait_until("no half waits for its other half", || {
        let ledger = agent.ledger();
        let followers = ledger["followers"].as_object().unwrap();
        let waits = followers
            .values()
            .any(|follower| follower["waiting_for_other_half"] != 0);
        (!waits).then_some(()).ok_or_else(|| format!("{ledger:#}"))
    });
}

/// The traffic log has each exchange of the journal in exactly one line.
fn assert_one_line_each(agent: &Agent) {
    let mut lines: HashMap<u64, u32> = HashMap::new();
    for line in journal::lines(&agent.traffic_log()) {
        *lines.entry(line.position).or_default() += 1;
    }
    for exchange in journal::exchanges(&agent.journal_dir()) {
        let times = lines.remove(&exchange.position).unwrap_or(0);
        assert_eq!(times, 1, "lines for {exchange:?}; {:#}", agent.ledger());
    }
    assert_eq!(lines.len(), 0, "lines without an exchange: {lines:?}");
}
