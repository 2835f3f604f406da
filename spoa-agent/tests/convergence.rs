//! The shadow's documents become the primary's: clients, a real HAProxy, real search engines on both sides
//! (`support::engines`), and the agent between them, killed in the middle.
//!
//! Small unless the environment says otherwise. In full, as the numbers in the documentation:
//!
//! ```text
//! SPOA_CONVERGE_OPS=20000 SPOA_CONVERGE_CHAINS=1000 SPOA_CONVERGE_AUTO_IDS=100000 \
//!     cargo test --release --test convergence -- --include-ignored --nocapture
//! ```
//!
//! The plan depends on `SPOA_CONVERGE_SEED`. A failure shows which documents differ, and how.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use exchange::Half;
use haproxy_config::Hold;
use serde_json::json;
use support::engines::{self, Kind, Name, Pair, lend, report, wait_until_drained};
use support::haproxy::{Haproxy, options_to};
use support::installed::binaries;
use support::workload::{self, Options, Plan, Report};
use support::{Agent, assert_ledger_balances};

/// Bodies up to this size cross SPOE whole: bulks and their answers are smaller.
const BODY_LIMIT: u32 = 512 * 1024;

/// A primary and a shadow with HAProxy and the agent between them.
struct Mirror {
    agent: Agent,
    haproxy: Haproxy,
}

impl Mirror {
    /// Both sides have the same empty indices. `keys` are of the agent's configuration.
    fn start(pair: &Pair, keys: &[(&str, &str)]) -> Self {
        workload::create_indices(&mut pair.primary().api());
        workload::create_indices(&mut pair.shadow().api());
        let mut setup = Agent::setup()
            .set("shadow.url", pair.shadow().url())
            // An exchange whose response the agent did not live to see is given up after this.
            .set("pairing.deadline", "5s");
        for (key, value) in keys {
            setup = setup.set(key, *value);
        }
        let agent = setup.start();
        let haproxy = start_haproxy(&agent, pair);
        Self { agent, haproxy }
    }

    /// Carries out the plan, and kills the agent as often as that, evenly spread.
    fn run(&mut self, plan: Plan, kills: usize) -> Report {
        let steps = plan.steps();
        let mut killed = 0;
        let report = plan.run(self.haproxy.address(), |answered| {
            if killed < kills && answered > (killed + 1) * steps / (kills + 1) {
                killed += 1;
                self.agent.kill();
                self.agent.start_again();
            }
        });
        assert_eq!(
            killed, kills,
            "the load was over before the agent was killed that often"
        );
        eprintln!("{report}");
        report
    }

    fn drain(&self) {
        let began = Instant::now();
        wait_until_drained(&self.agent);
        eprintln!("drained {:.1?} after the last answer", began.elapsed());
        assert_ledger_balances(&self.agent);
    }
}

/// Writes wait until they are safe, and are denied where that cannot be: what the primary did, the journal knows.
fn start_haproxy(agent: &Agent, pair: &Pair) -> Haproxy {
    let binary = binaries().into_iter().next().expect("a HAProxy");
    let mut options = options_to(agent, pair.primary().address());
    options.hold = Hold::Closed;
    options.hold_timeout = Duration::from_secs(10);
    options.body_limit = BODY_LIMIT;
    Haproxy::start(&binary, &options)
}

fn size(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// One client, one request at a time, ids of its own.
fn serial() -> Plan {
    Plan::new(&Options {
        connections: 1,
        operations: 400,
        documents: 40,
        ids_from_cluster: false,
        ..Options::default()
    })
}

#[test]
fn what_a_single_client_did_is_on_the_shadow() {
    let Some(pair) = lend(Kind::Elasticsearch, Kind::Elasticsearch) else {
        return;
    };
    let mut mirror = Mirror::start(&pair, &[]);
    let report = mirror.run(serial(), 0);
    // Otherwise nothing was tested.
    assert!(report.with_status(200..300) > 200, "{report}");
    assert!(report.with_status(409..410) > 5, "{report}");
    assert_eq!(report.lost, 0);
    mirror.drain();
    assert!(pair.primary().contents().len() > 10);
    pair.assert_equal(Some(&mirror.agent.journal_dir()));
}

#[test]
fn a_document_that_differs_is_found_and_named() {
    let Some(pair) = lend(Kind::Elasticsearch, Kind::Elasticsearch) else {
        return;
    };
    for engine in [pair.primary(), pair.shadow()] {
        let mut api = engine.api();
        workload::create_indices(&mut api);
        for id in 0..3 {
            let target = format!("/hot-0/_doc/{id}?routing=r{id}");
            api.ok(
                "PUT",
                &target,
                Some(&json!({"n": 1, "more": {"b": 1, "a": 2}})),
            );
        }
    }
    pair.assert_equal(None);
    let mut api = pair.shadow().api();
    let reordered = json!({"more": {"a": 2, "b": 1}, "n": 1});
    api.ok("PUT", "/hot-0/_doc/0?routing=r0", Some(&reordered));
    pair.assert_equal(None);
    api.ok("PUT", "/hot-0/_doc/0?routing=r0", Some(&json!({"n": 2})));
    api.ok("DELETE", "/hot-0/_doc/1?routing=r1", None);
    // The same id with another routing value is another document.
    api.ok("DELETE", "/hot-0/_doc/2?routing=r2", None);
    api.ok("PUT", "/hot-0/_doc/2?routing=other", Some(&json!({"n": 1})));
    let found = pair.differences();
    let names: Vec<String> = found.iter().map(|one| one.name.to_string()).collect();
    assert_eq!(
        names,
        [
            "hot-0/0 routing r0",
            "hot-0/1 routing r1",
            "hot-0/2 routing other",
            "hot-0/2 routing r2"
        ]
    );
    let said = report(&found);
    for part in [
        "4 documents differ",
        "1 have another",
        "2 are not on",
        "1 are only",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn every_write_that_the_primary_took_is_in_the_journal_of_an_agent_killed_three_times() {
    let Some(pair) = lend(Kind::Elasticsearch, Kind::Elasticsearch) else {
        return;
    };
    let mut mirror = Mirror::start(&pair, &[]);
    let plan = Plan::new(&Options {
        operations: 1500,
        ..Options::default()
    });
    let report = mirror.run(plan, 3);
    // Writes were held while the agent was away.
    assert!(report.denied > 0, "{report}");
    assert!(report.with_status(200..300) > 500, "{report}");
    mirror.drain();
    let journal = support::journal::halves(&mirror.agent.journal_dir());
    let asked: BTreeSet<u64> = journal
        .iter()
        .filter_map(|half| match half {
            Half::Request(request) => Some(&request.body.content),
            _ => None,
        })
        .flat_map(|body| numbers(body))
        .collect();
    let primary = pair.primary().contents();
    assert!(primary.len() > 100);
    for (name, source) in &primary.documents {
        let source: serde_json::Value = serde_json::from_str(source).unwrap();
        let list = source["list"].as_array().into_iter().flatten();
        for step in list.chain([&source["step"]]) {
            let step = step.as_u64().unwrap();
            assert!(
                asked.contains(&step),
                "{name}: the write {step} is not in the journal"
            );
        }
    }
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes
        .split(|byte| !byte.is_ascii_digit())
        .filter_map(|digits| str::from_utf8(digits).ok()?.parse().ok())
}

/// Hot documents, many connections, `kills` of the agent; then both sides are the same.
fn converges(shadow: Kind, kills: usize, by_query: u64) {
    let Some(pair) = lend(Kind::Elasticsearch, shadow) else {
        return;
    };
    // A kill loses the answers that come while the agent is away; only the primary can tell what they were.
    let primary = pair.primary().url();
    let resolve = match (kills, by_query) {
        (0, 0) => vec![],
        _ => vec![
            ("shadow.resolve", "from-primary"),
            ("shadow.primary_url", primary.as_str()),
            ("shadow.resolve_rate", "1000"),
        ],
    };
    let mut mirror = Mirror::start(&pair, &resolve);
    let plan = Plan::new(&Options {
        by_query,
        ..Options::default()
    });
    let report = mirror.run(plan, kills);
    assert!(report.with_status(200..300) > 1000, "{report}");
    assert!(report.with_status(409..410) > 10, "{report}");
    mirror.drain();
    pair.assert_equal(Some(&mirror.agent.journal_dir()));
}

#[test]
fn many_clients_that_write_the_same_documents_leave_both_sides_equal() {
    converges(Kind::Elasticsearch, 0, 0);
}

#[test]
fn both_sides_are_equal_after_the_agent_was_killed_three_times() {
    converges(Kind::Elasticsearch, 3, 0);
}

#[test]
fn another_engine_as_shadow_is_equal_after_the_agent_was_killed_three_times() {
    converges(Kind::Opensearch, 3, 0);
}

#[test]
fn with_by_query_operations_the_primary_settles_what_its_answers_cannot() {
    converges(Kind::Elasticsearch, 0, 10);
}

#[test]
fn with_by_query_operations_every_document_that_differs_is_listed_as_ambiguous() {
    let Some(pair) = lend(Kind::Elasticsearch, Kind::Elasticsearch) else {
        return;
    };
    let mut mirror = Mirror::start(&pair, &[]);
    let plan = Plan::new(&Options {
        by_query: 10,
        ..Options::default()
    });
    mirror.run(plan, 0);
    mirror.drain();
    let differences = pair.differences();
    let listed = ambiguous(&mirror.agent);
    let unlisted: Vec<_> = differences
        .into_iter()
        .filter(|one| !listed.covers(&one.name))
        .collect();
    assert!(unlisted.is_empty(), "{}", report(&unlisted));
}

/// What the agent lists as ambiguous.
#[derive(Debug, Default)]
struct Listed {
    documents: BTreeSet<Name>,
    /// Any document of these.
    indices: BTreeSet<String>,
}

impl Listed {
    fn covers(&self, name: &Name) -> bool {
        self.documents.contains(name) || self.indices.contains(&name.index)
    }
}

/// Lines `{"index", "id", "routing"}` of `/ambiguous`, without an id where two by-query operations overlapped.
fn ambiguous(agent: &Agent) -> Listed {
    let (status, lines) = agent.admin("/ambiguous");
    assert_eq!(status, 200, "{lines}");
    let mut listed = Listed::default();
    for line in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| line[key].as_str().map(str::to_owned);
        let index = text("index").unwrap_or_else(|| panic!("{line}"));
        match text("id") {
            None => drop(listed.indices.insert(index)),
            Some(id) => drop(listed.documents.insert(Name {
                index,
                id,
                routing: text("routing"),
            })),
        }
    }
    let (documents, indices) = (listed.documents.len(), &listed.indices);
    eprintln!("ambiguous: {documents} documents, and any of {indices:?}");
    listed
}

#[test]
fn documents_whose_ids_the_primary_chose_have_the_same_ids_on_the_shadow() {
    let Some(pair) = lend(Kind::Elasticsearch, Kind::Elasticsearch) else {
        return;
    };
    let documents = size("SPOA_CONVERGE_AUTO_IDS", 10_000);
    let mut mirror = Mirror::start(&pair, &[]);
    let report = mirror.run(Plan::auto_ids(16, documents, 500), 0);
    assert_eq!(report.with_status(300..600), 0, "{report}");
    mirror.drain();
    assert_eq!(pair.primary().contents().len(), documents);
    pair.assert_equal(Some(&mirror.agent.journal_dir()));
}

#[test]
fn scrolls_that_share_connections_are_followed_on_the_shadow_and_closed_there() {
    follows_contexts(Kind::Elasticsearch, Kind::Elasticsearch, false);
}

#[test]
fn scrolls_and_points_in_time_that_share_connections_are_followed_on_the_shadow_and_closed_there() {
    follows_contexts(Kind::Opensearch, Kind::Opensearch, true);
}

fn follows_contexts(primary: Kind, shadow: Kind, with_pit: bool) {
    let Some(pair) = lend(primary, shadow) else {
        return;
    };
    let mut mirror = Mirror::start(&pair, &[]);
    let documents = Plan::auto_ids(8, 1000, 100);
    mirror.run(documents, 0);
    pair.primary().api().ok("POST", "/_refresh", None);
    mirror.drain();
    pair.shadow().api().ok("POST", "/_refresh", None);
    // The nodes may have served other tests before.
    let statistics = |engine: &engines::Engine| {
        let names = ["scroll_total", "query_total", "fetch_total"];
        names.map(|name| engine.search_statistic(name))
    };
    let (before, before_shadow) = (statistics(pair.primary()), statistics(pair.shadow()));
    let chains = size("SPOA_CONVERGE_CHAINS", 200);
    let plan = Plan::contexts(Options::default().seed, 64, chains, with_pit);
    let report = mirror.run(plan, 0);
    assert_eq!(report.with_status(300..600), 0, "{report}");
    mirror.drain();
    // As many pages were read there as here, and nothing is left open.
    let done = |now: [u64; 3], before: [u64; 3]| -> Vec<u64> {
        now.iter()
            .zip(before)
            .map(|(now, before)| now - before)
            .collect()
    };
    assert_eq!(
        done(statistics(pair.shadow()), before_shadow),
        done(statistics(pair.primary()), before)
    );
    assert_eq!(pair.primary().open_contexts(), 0);
    assert_eq!(pair.shadow().open_contexts(), 0);
}

/// The journal of a load that nobody mirrored. Both sides have the indices, and the shadow's are empty.
fn captured(pair: &Pair) -> (Agent, Report) {
    workload::create_indices(&mut pair.primary().api());
    let mut agent = Agent::setup().start();
    let haproxy = start_haproxy(&agent, pair);
    let report = Plan::new(&Options::default()).run(haproxy.address(), |_| {});
    eprintln!("{report}");
    agent.wait_until_followers_caught_up();
    assert!(agent.terminate().success());
    empty_shadow(pair);
    (agent, report)
}

fn empty_shadow(pair: &Pair) {
    pair.shadow().empty();
    workload::create_indices(&mut pair.shadow().api());
}

/// Captures a load without a shadow, and replays its journal at these speeds, each time to an empty shadow.
fn replay_converges(shadow: Kind, speeds: &[&str]) {
    let Some(pair) = lend(Kind::Elasticsearch, shadow) else {
        return;
    };
    let (agent, report) = captured(&pair);
    for speed in speeds {
        empty_shadow(&pair);
        let began = Instant::now();
        finish(replay(&agent, &pair).arg(format!("--speed={speed}")));
        eprintln!(
            "replayed at speed {speed} in {:.1?}; captured in {:.1?}",
            began.elapsed(),
            report.took
        );
        pair.assert_equal(Some(&agent.journal_dir()));
    }
}

fn replay(agent: &Agent, pair: &Pair) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spoa-agent"));
    command
        .arg("replay")
        .arg(format!("--from=journal:{}", agent.journal_dir().display()))
        .arg(format!("--to={}", pair.shadow().url()))
        .stdin(Stdio::null());
    command
}

fn finish(replay: &mut Command) {
    let done = replay.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{}: {said}", done.status);
    eprintln!("{}", String::from_utf8_lossy(&done.stdout));
}

/// How many exchanges a replay that keeps its state here is done with.
fn replayed(state: &Path) -> u64 {
    let files = state.read_dir().into_iter().flatten();
    let paths = files.map(|file| file.unwrap().path());
    let kept = paths.filter(|path| path.extension().is_some_and(|it| it == "json"));
    kept.filter_map(|path| std::fs::read(path).ok())
        .map(|bytes| {
            let kept: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            kept["tally"]["read"].as_u64().unwrap()
        })
        .sum()
}

#[test]
fn a_replay_that_was_killed_three_times_leaves_both_sides_equal() {
    let Some(pair) = lend(Kind::Elasticsearch, Kind::Elasticsearch) else {
        return;
    };
    let (agent, report) = captured(&pair);
    let state = tempfile::tempdir().unwrap();
    let asked = report.with_status(200..600);
    for kill in 1..=3 {
        let mut child = replay(&agent, &pair)
            .arg("--speed=max")
            .arg("--state")
            .arg(state.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        support::wait_for("some are done", || {
            (replayed(state.path()) > kill * asked / 5).then_some(())
        });
        child.kill().unwrap();
        child.wait().unwrap();
    }
    finish(
        replay(&agent, &pair)
            .arg("--speed=max")
            .arg("--state")
            .arg(state.path()),
    );
    pair.assert_equal(Some(&agent.journal_dir()));
}

#[test]
fn a_replay_leaves_both_sides_equal_at_every_speed() {
    replay_converges(Kind::Elasticsearch, &["1", "8", "max"]);
}

#[test]
fn a_replay_to_another_engine_leaves_both_sides_equal() {
    replay_converges(Kind::Opensearch, &["max"]);
}
