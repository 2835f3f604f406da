use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use exchange::{Body, Half, Pair, Request, Response, json};
use journal::{Journal, Options, PairingOptions, Start, Want};
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::*;
use crate::config::Output;
use crate::follower::{Follower, Until};
use crate::line_log::Rotation;
use crate::telemetry::metrics::{Follower as Name, Metrics};

fn pair(id: &'static str) -> Pair {
    let response = |status| Response {
        id: Bytes::from_static(id.as_bytes()),
        status,
        body: Body::observed(Bytes::from_static(b"answer"), true, None),
        ..Response::default()
    };
    Pair {
        request: Request {
            id: Bytes::from_static(id.as_bytes()),
            ..Request::default()
        },
        primary: Some(response(200)),
        shadow: Some(response(404)),
        ..Pair::default()
    }
}

fn append(journal: &Journal, half: &Half) {
    journal
        .append(half.encoded_len(), |out| half.encode(out))
        .unwrap();
    while journal.try_commit() < journal.appended() {}
}

/// Runs the follower until it has everything. Returns its account.
fn follow(runtime: &Runtime, journal: &Journal, path: &Path, bodies: bool) -> serde_json::Value {
    let metrics = Metrics::register(&mut Registry::default());
    let deadline = Instant::now() + Duration::from_secs(60);
    let (_sender, until) = watch::channel(Until::CaughtUp(deadline));
    let pairing = PairingOptions {
        want: Want::Pairs,
        ..PairingOptions::default()
    };
    let name = Name::PairLog;
    let follower = Follower::open(
        name,
        journal,
        Start::Oldest,
        pairing,
        metrics.follower(name),
        until,
    )
    .unwrap();
    let watched = follower.watched();
    let (output, rotation) = (Output::File(path.to_owned()), Rotation::default());
    let content = Pairs { bodies };
    PairLog::open(
        TITLE,
        follower,
        &output,
        rotation,
        content,
        metrics.pair_log.clone(),
    )
    .unwrap()
    .run(runtime.handle());
    watched.standing().to_json()
}

fn lines(path: &Path) -> Vec<Pair> {
    let text = std::fs::read(path).unwrap();
    text.split_inclusive(|byte| *byte == b'\n')
        .map(|line| json::read_pair(line).unwrap().unwrap().1)
        .collect()
}

#[test]
fn each_pair_has_one_line_over_restarts_halves_have_none_and_the_account_balances() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("pairs");
    let runtime = Runtime::new().unwrap();
    let (journal, _) = Journal::open(Options::new(dir.path().join("journal"))).unwrap();
    append(&journal, &Half::Request(pair("a").request));
    append(&journal, &Half::Pair(Box::new(pair("a"))));
    let ledger = follow(&runtime, &journal, &path, true);
    assert_eq!(lines(&path), [pair("a")]);
    assert_eq!(ledger["exchanges"]["delivered"], 1);
    assert_eq!(ledger["records"]["unwanted"], 1);
    assert_eq!(ledger["records"]["passed"], 2);
    assert_eq!(ledger["balanced"], true);
    append(&journal, &Half::Pair(Box::new(pair("b"))));
    let ledger = follow(&runtime, &journal, &path, true);
    assert_eq!(lines(&path), [pair("a"), pair("b")]);
    assert_eq!(ledger["exchanges"]["delivered"], 2);
    assert_eq!(ledger["records"]["unwanted"], 1);
    assert_eq!(ledger["balanced"], true);
}

#[test]
fn without_bodies_a_line_tells_how_long_they_were() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("pairs");
    let runtime = Runtime::new().unwrap();
    let (journal, _) = Journal::open(Options::new(dir.path().join("journal"))).unwrap();
    append(&journal, &Half::Pair(Box::new(pair("a"))));
    follow(&runtime, &journal, &path, false);
    let shadow = lines(&path).remove(0).shadow.unwrap();
    assert!(shadow.body.content.is_empty());
    assert_eq!(shadow.body.extent.missing(), Some(6));
}
