//! `spoa-agent supervise`: HAProxy and the agent as the children of one process, killed, hung, reloaded and stopped,
//! with each HAProxy in `HAPROXY_BINARIES`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;
use std::net::{SocketAddr, TcpListener};

use haproxy_config::{Options, generate};

use support::client::Client;
use support::haproxy::GENEROUS;
use support::installed::{Haproxy as Binary, binaries};
use support::origin::{Origin, Reply, answer, ok};
use support::supervised::{Place, Supervised, is_running, signal};
use support::wait_for;

/// The configuration of both for this node, and the arguments that name it.
fn configured(binary: &Binary, node: SocketAddr) -> (Place, Vec<String>) {
    let place = Place::new();
    let options = Options {
        listen: vec![place.front.to_string().parse().unwrap()],
        nodes: vec![node.to_string().parse().unwrap()],
        node_check: false,
        agent: place.text("spop.sock").parse().unwrap(),
        processing_timeout: GENEROUS,
        threads: Some(2),
        spoe_file: place.text("spoe.cfg"),
        ..Options::default()
    };
    let files = generate(&options).unwrap();
    fs::write(place.path("haproxy.cfg"), files.haproxy_cfg).unwrap();
    fs::write(place.path("spoe.cfg"), files.spoe_cfg).unwrap();
    let agent = format!(
        "server.listen = [\"unix:{}\"]\nadmin.listen = \"{}\"\njournal.dir = \"{}\"\n",
        place.text("spop.sock"),
        place.admin,
        place.text("journal")
    );
    fs::write(place.path("config.toml"), agent).unwrap();
    let arguments = vec![
        "supervise".to_owned(),
        "--haproxy-config".to_owned(),
        place.text(""),
        "--haproxy".to_owned(),
        binary.path.to_str().unwrap().to_owned(),
        "--config".to_owned(),
        place.text("config.toml"),
    ];
    (place, arguments)
}

fn start(binary: &Binary, node: SocketAddr, more: &[&str]) -> Supervised {
    let (place, arguments) = configured(binary, node);
    let arguments: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    place.start(&arguments)
}

#[test]
fn a_stop_lets_requests_end_then_the_agent_and_keeps_what_was_captured() {
    for binary in binaries() {
        let node = Origin::start(|request| match request.first_line() {
            b"GET /slow HTTP/1.1" => {
                let whole = answer(200, &[], b"slowly");
                Reply::Piece(vec![whole])
            }
            _ => ok(),
        });
        let mut supervised = start(&binary, node.address(), &["--drain", "60s"]);
        assert_eq!(supervised.get("/"), 200);
        let mut client = supervised.client();
        client
            .send(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
            .unwrap();
        wait_for("the node has the slow request", || {
            node.heard()
                .iter()
                .any(|request| request.first_line() == b"GET /slow HTTP/1.1")
                .then_some(())
        });
        supervised.signal("TERM");
        wait_for("haproxy takes no more connections", || {
            Client::try_connect(supervised.place.front)
                .is_err()
                .then_some(())
        });
        let captured = supervised.captured();
        node.let_go(1);
        let slow = client.read("GET").unwrap();
        assert_eq!(slow.body, b"slowly");
        assert_eq!(supervised.wait_for_exit(), 0);
        let log = supervised.place.log();
        let (haproxy, agent) = (
            log.find("haproxy has ended"),
            log.find("the agent has ended"),
        );
        assert!(haproxy.is_some() && haproxy < agent, "{log}");
        let (requests, responses) = supervised.journalled(&supervised.place.path("journal"));
        assert_eq!(requests, responses);
        assert_eq!(
            requests + responses,
            captured + 1,
            "the slow response was captured too"
        );
    }
}

#[test]
fn an_agent_that_is_killed_comes_back_and_no_request_fails_meanwhile() {
    for binary in binaries() {
        let node = Origin::start_busy(|_| ok());
        let mut supervised = start(&binary, node.address(), &[]);
        for _ in 0..3 {
            let agent = supervised.agent();
            let haproxy = supervised.haproxy();
            signal(agent, "KILL");
            wait_for("another agent", || {
                assert_eq!(supervised.get("/"), 200);
                (supervised.children(" run ").first() != Some(&agent) && supervised.captures())
                    .then_some(())
            });
            supervised.wait_until_both_serve();
            assert_eq!(supervised.haproxy(), haproxy, "haproxy stays");
        }
        assert_eq!(supervised.terminate(), 0);
    }
}

#[test]
fn a_haproxy_whose_master_or_worker_is_killed_comes_back_alone() {
    for binary in binaries() {
        let node = Origin::start_busy(|_| ok());
        let mut supervised = start(&binary, node.address(), &[]);
        let agent = supervised.agent();
        for victim in [Supervised::haproxy, Supervised::haproxy_worker] {
            let (master, worker) = (supervised.haproxy(), supervised.haproxy_worker());
            signal(victim(&supervised), "KILL");
            wait_for("another haproxy", || {
                let now = supervised.children(" -W ");
                (!now.is_empty() && !now.contains(&master)).then_some(())
            });
            assert!(!is_running(worker), "its worker would keep the port");
            supervised.wait_until_both_serve();
            assert_eq!(supervised.zombies(), 0);
        }
        assert_eq!(supervised.agent(), agent, "the agent stays");
        assert_eq!(supervised.terminate(), 0);
    }
}

#[test]
fn an_agent_that_hangs_is_killed_and_comes_back() {
    let Some(binary) = binaries().into_iter().next() else {
        return;
    };
    let node = Origin::start_busy(|_| ok());
    let mut supervised = start(&binary, node.address(), &[]);
    let agent = supervised.agent();
    signal(agent, "STOP");
    wait_for("the hung agent is gone", || {
        (!is_running(agent)).then_some(())
    });
    supervised.wait_until_both_serve();
    assert!(
        supervised
            .place
            .log()
            .contains("the agent has hung and is killed")
    );
    assert_eq!(supervised.terminate(), 0);
}

#[test]
fn haproxy_reads_its_configuration_again_when_it_is_right() {
    for binary in binaries() {
        let node = Origin::start_busy(|_| ok());
        let mut supervised = start(&binary, node.address(), &[]);
        let path = supervised.place.path("haproxy.cfg");
        let text = fs::read_to_string(&path).unwrap();
        let rule =
            "\n    http-request return status 418 if { path /teapot }\n    default_backend cluster";
        fs::write(&path, text.replace("\n    default_backend cluster", rule)).unwrap();
        supervised.signal("HUP");
        wait_for("the new rule", || {
            (supervised.get("/teapot") == 418).then_some(())
        });
        fs::write(&path, "nonsense\n").unwrap();
        supervised.signal("USR2");
        wait_for("the refusal", || {
            supervised
                .place
                .log()
                .contains("the one before stays")
                .then_some(())
        });
        assert_eq!(supervised.get("/teapot"), 418);
        assert_eq!(supervised.get("/"), 200);
        assert_eq!(supervised.terminate(), 0);
    }
}

#[test]
fn both_end_with_a_supervisor_that_is_killed() {
    for binary in binaries() {
        let node = Origin::start_busy(|_| ok());
        let mut supervised = start(&binary, node.address(), &[]);
        let children = [
            supervised.agent(),
            supervised.haproxy(),
            supervised.haproxy_worker(),
        ];
        supervised.signal("KILL");
        assert_eq!(supervised.wait_for_exit(), 137);
        wait_for("nobody is left", || {
            children.iter().all(|pid| !is_running(*pid)).then_some(())
        });
    }
}

#[test]
fn a_stop_in_the_middle_of_a_start_is_heard() {
    for binary in binaries() {
        let node = Origin::start_busy(|_| ok());
        for _ in 0..5 {
            let (place, arguments) = configured(&binary, node.address());
            let arguments: Vec<&str> = arguments
                .iter()
                .map(String::as_str)
                .chain(["--drain", "1h"])
                .collect();
            let mut supervised = place.launch(&arguments);
            drop(Client::connect_when_up(supervised.place.front));
            assert_eq!(supervised.terminate(), 0);
        }
    }
}

#[test]
fn a_second_signal_ends_all_at_once() {
    let Some(binary) = binaries().into_iter().next() else {
        return;
    };
    let node = Origin::start(|_| Reply::Silence);
    let (place, arguments) = configured(&binary, node.address());
    let arguments: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .chain(["--drain", "60s"])
        .collect();
    let mut supervised = place.launch(&arguments);
    let mut client = Client::connect_when_up(supervised.place.front);
    client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    wait_for("the node has the request", || {
        (node.heard_count() > 0).then_some(())
    });
    supervised.signal("TERM");
    wait_for("it stops", || {
        supervised
            .place
            .log()
            .contains("a second signal ends at once")
            .then_some(())
    });
    supervised.signal("TERM");
    assert_eq!(supervised.wait_for_exit(), 130);
}

#[test]
fn an_agent_that_cannot_run_ends_all_with_its_code_or_lets_the_traffic_pass_by() {
    let Some(binary) = binaries().into_iter().next() else {
        return;
    };
    let node = Origin::start_busy(|_| ok());
    // Another agent has the journals.
    let locked = |place: &Place| {
        let options = journal::Options::new(place.path("journal"));
        journal::Journal::open(options).unwrap().0
    };
    let (ending, arguments) = configured(&binary, node.address());
    let ending_lock = locked(&ending);
    let mut ending = ending.launch(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let (passing, arguments) = configured(&binary, node.address());
    let passing_lock = locked(&passing);
    let arguments: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .chain(["--agent-failure", "pass-by"])
        .collect();
    let mut passing = passing.launch(&arguments);
    assert_eq!(ending.wait_for_exit(), 3, "the agent's code");
    assert!(
        ending.place.log().contains("the agent has ended for good"),
        "the log says why"
    );
    wait_for("it is given up", || {
        passing
            .place
            .log()
            .contains("the traffic passes by uncaptured")
            .then_some(())
    });
    assert_eq!(passing.get("/"), 200);
    drop((ending_lock, passing_lock));
    passing.wait_until_both_serve();
    assert_eq!(passing.terminate(), 0);
}

#[test]
fn a_haproxy_that_cannot_run_ends_all_with_its_code() {
    for binary in binaries() {
        let node = Origin::start_busy(|_| ok());
        let (place, arguments) = configured(&binary, node.address());
        let taken = TcpListener::bind(place.front).unwrap();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut supervised = place.launch(&arguments);
        assert_eq!(supervised.wait_for_exit(), 1);
        let log = supervised.place.log();
        assert!(log.contains("haproxy has ended for good"), "{log}");
        assert!(log.contains("cannot bind socket"), "{log}");
        drop(taken);
    }
}

#[test]
fn a_wrong_configuration_of_either_ends_it_before_anything_is_started() {
    for binary in binaries() {
        let node = Origin::start_busy(|_| ok());
        let (place, arguments) = configured(&binary, node.address());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        fs::write(place.path("haproxy.cfg"), "frontend x\n  bnid :1\n").unwrap();
        let (code, log) = place.run(&arguments);
        assert_eq!(code, Some(2));
        assert!(log.contains("bnid") && !log.contains("is started"), "{log}");
        fs::write(place.path("config.toml"), "[jurnal]\ndir = 1\n").unwrap();
        let (code, log) = place.run(&arguments);
        assert_eq!(code, Some(2));
        assert!(log.contains("jurnal"), "{log}");
    }
}

#[test]
fn a_haproxy_that_is_not_there_is_told() {
    let place = Place::new();
    fs::write(place.path("config.toml"), "").unwrap();
    let (config, haproxy) = (place.text("config.toml"), place.text("no-haproxy"));
    let (code, log) = place.run(&[
        "supervise",
        "--haproxy-config",
        "/nowhere",
        "--haproxy",
        &haproxy,
        "--config",
        &config,
    ]);
    assert_eq!(code, Some(1));
    assert!(
        log.contains("no-haproxy") && log.contains("--haproxy"),
        "{log}"
    );
}

#[test]
fn the_health_check_knows_who_is_away() {
    let Some(binary) = binaries().into_iter().next() else {
        return;
    };
    let node = Origin::start_busy(|_| ok());
    let mut supervised = start(&binary, node.address(), &[]);
    let place = &supervised.place;
    let (folder, config) = (place.text(""), place.text("config.toml"));
    let check = [
        "healthcheck",
        "--haproxy-config",
        &folder,
        "--config",
        &config,
    ];
    assert_eq!(place.run(&check).0, Some(0));
    let said_before = place.log().len();
    assert_eq!(supervised.terminate(), 0);
    let (code, log) = supervised.place.run(&check);
    assert_eq!(code, Some(1));
    let said = log.get(said_before..).unwrap();
    let (front, admin) = (supervised.place.front, supervised.place.admin);
    assert!(
        said.contains(&format!("haproxy does not answer on {front}")),
        "{said}"
    );
    assert!(
        said.contains(&format!("the agent does not answer on {admin}")),
        "{said}"
    );
}

#[test]
fn logs_are_one_document_a_line_whoever_speaks() {
    for binary in binaries() {
        let node = Origin::start_busy(|_| ok());
        let mut supervised = start(&binary, node.address(), &["--log-format", "json"]);
        assert_eq!(supervised.terminate(), 0);
        let log = supervised.place.log();
        let targets: Vec<String> = log
            .lines()
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                line["target"].as_str().unwrap().to_owned()
            })
            .collect();
        for target in ["haproxy", "spoa_agent::supervisor", "spoa_agent::run"] {
            assert!(
                targets.iter().any(|found| found == target),
                "{target}: {log}"
            );
        }
    }
}
