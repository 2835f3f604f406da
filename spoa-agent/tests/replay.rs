//! `spoa-agent replay` as a process, against origins: what reaches them, when, and what is said about it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a helper that fails has failed its test"
)]

mod support;

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use exchange::json::{self, read_pair};
use exchange::{Body, Endpoint, Exchange, Extent, Half, Header, Request, Response};
use journal::{Journal, Options};
use serde_json::{Value, json};
use support::http::Message;
use support::origin::{Reply, answer, ok, status};
use support::{Origin, wait_for, wait_until};
use tempfile::TempDir;

/// 2026-11-21T03:45:00Z.
const BEGIN: u64 = 1_795_232_700_000_000;
const SECOND: u64 = 1_000_000;

/// A captured exchange: its number, when it began, in microseconds after [`BEGIN`], and how long it took.
fn exchange(number: u64, at: u64, took: Option<u64>) -> Exchange {
    let id = Bytes::from(format!("id-{number}"));
    let host = Header {
        name: Bytes::from("host"),
        value: Bytes::from("primary:9200"),
    };
    let request = Request {
        id: id.clone(),
        time_us: BEGIN + at,
        client: Some(Endpoint {
            ip: IpAddr::from([10, 0, 0, 1]),
            port: u16::try_from(1 + number % 50_000).unwrap(),
        }),
        version: Bytes::from("1.1"),
        method: Bytes::from("GET"),
        target: Bytes::from(format!("/i/_doc/{number}")),
        headers: [host].into_iter().collect(),
        ..Request::default()
    };
    let response = took.map(|took| Response {
        id,
        time_us: BEGIN + at + took,
        status: 200,
        version: Bytes::from("1.1"),
        ..Response::default()
    });
    Exchange {
        position: number,
        request: Some(request),
        response,
    }
}

/// So many exchanges, `apart` microseconds from each other.
fn evenly(count: u64, apart: u64) -> Vec<Exchange> {
    (0..count)
        .map(|number| exchange(number, number * apart, Some(500)))
        .collect()
}

/// The halves in the order of their times.
fn halves(exchanges: &[Exchange]) -> Vec<Half> {
    let requests = exchanges
        .iter()
        .filter_map(|it| it.request.clone().map(Half::Request));
    let responses = exchanges
        .iter()
        .filter_map(|it| it.response.clone().map(Half::Response));
    let mut halves: Vec<Half> = requests.chain(responses).collect();
    halves.sort_by_key(Half::time_us);
    halves
}

fn write_journal(dir: &Path, exchanges: &[Exchange]) -> Journal {
    let (journal, _) = Journal::open(Options::new(dir)).unwrap();
    append(&journal, exchanges);
    journal
}

fn append(journal: &Journal, exchanges: &[Exchange]) {
    for half in halves(exchanges) {
        journal
            .append(half.encoded_len(), |out| half.encode(out))
            .unwrap();
    }
    journal.try_commit();
}

fn lines(exchanges: &[Exchange]) -> Vec<u8> {
    let mut sorted: Vec<&Exchange> = exchanges.iter().collect();
    sorted.sort_by_key(|it| it.response.as_ref().map_or(u64::MAX, |it| it.time_us));
    let mut out = Vec::new();
    for exchange in sorted {
        json::write_line(exchange, json::Options::default(), &mut out);
    }
    out
}

struct Setup {
    folder: TempDir,
}

impl Setup {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    fn with_journal(exchanges: &[Exchange]) -> Self {
        let setup = Self::new();
        write_journal(&setup.path("journal"), exchanges)
            .close()
            .unwrap();
        setup
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).into_os_string().into_string().unwrap()
    }

    /// `replay --from journal:…` with more arguments.
    fn journal(&self, more: &[&str]) -> Command {
        replay(&format!("journal:{}", self.text("journal")), more)
    }

    fn report(&self) -> Value {
        let report = std::fs::read(self.path("report.json")).unwrap();
        serde_json::from_slice(&report).unwrap()
    }
}

fn replay(from: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spoa-agent"));
    command
        .args(["replay", "--from", from])
        .args(more)
        .stdin(Stdio::null());
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

/// What was sent of the capture: not what the replay asks on its own.
fn targets(origin: &Origin) -> Vec<String> {
    let heard = origin.heard();
    let targets = heard.iter().map(target);
    targets
        .filter(|target| !target.starts_with("/_tasks") && !target.starts_with("/_mget"))
        .collect()
}

fn target(request: &Message) -> String {
    let line = String::from_utf8(request.first_line().to_vec()).unwrap();
    line.split(' ').nth(1).unwrap().to_owned()
}

fn numbers(origin: &Origin) -> Vec<u64> {
    let number = |target: &String| target.rsplit('/').next().unwrap().parse().unwrap();
    targets(origin).iter().map(number).collect()
}

/// read = delivered + filtered + dropped + not done, for every target.
fn assert_balanced(report: &Value) {
    for target in report["targets"].as_array().unwrap() {
        let sum = |name: &str| -> u64 {
            let counts = target[name].as_object().unwrap().values();
            counts.map(|it| it.as_u64().unwrap()).sum()
        };
        let finished = sum("delivered") + sum("filtered") + sum("dropped");
        let all = finished + target["not_done"].as_u64().unwrap();
        assert_eq!(target["read"].as_u64().unwrap(), all, "{target}");
        assert_eq!(target["balanced"], true);
    }
}

#[test]
fn a_journal_reaches_every_target_and_the_journal_is_not_touched() {
    let setup = Setup::with_journal(&evenly(500, 100));
    let files = |dir: &Path| -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        for entry in dir.read_dir().unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => found.extend(path.read_dir().unwrap().map(|it| (it.unwrap().path(), 0))),
                false => found.push((path.clone(), path.metadata().unwrap().len())),
            }
        }
        found.sort();
        found
    };
    let before = files(&setup.path("journal"));
    let (one, other) = (Origin::start(|_| ok()), Origin::start(|_| status(404)));
    let report = setup.text("report.json");
    let output = done(&mut setup.journal(&[
        "--to",
        &one.url(),
        "--to",
        &other.url(),
        "--speed",
        "max",
        "--report",
        &report,
    ]));
    assert_eq!(output.status.code(), Some(0));
    for origin in [&one, &other] {
        let mut heard = numbers(origin);
        heard.sort_unstable();
        assert_eq!(heard, (0..500).collect::<Vec<u64>>());
    }
    let report = setup.report();
    assert_balanced(&report);
    assert_eq!(report["targets"][0]["delivered"]["2xx"], 500);
    assert_eq!(report["targets"][1]["delivered"]["4xx"], 500);
    assert_eq!(report["targets"][1]["other_status_class_than_primary"], 500);
    assert_eq!(files(&setup.path("journal")), before);
}

#[test]
fn a_journal_that_an_agent_has_open_is_replayed_to_what_was_written() {
    let setup = Setup::new();
    let journal = write_journal(&setup.path("journal"), &evenly(10, 10));
    let origin = Origin::start(|_| ok());
    let output = done(&mut setup.journal(&["--to", &origin.url()]));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(origin.heard_count(), 10);
    append(&journal, &[exchange(10, 100, Some(1))]);
    journal.close().unwrap();
}

#[test]
fn requests_come_at_their_captured_distances_times_the_speed() {
    // One every 100 ms of the capture, 20 ms apart at this speed.
    let setup = Setup::with_journal(&evenly(20, SECOND / 10));
    let origin = Origin::start(|_| ok());
    let began = Instant::now();
    let output =
        done(&mut setup.journal(&["--to", &origin.url(), "--speed", "5", "--connections", "1"]));
    assert_eq!(output.status.code(), Some(0));
    // They cannot be through before the last one is due.
    assert!(began.elapsed() >= Duration::from_millis(19 * 20));
    assert_eq!(numbers(&origin), (0..20).collect::<Vec<u64>>());
}

#[test]
fn a_slow_exchange_is_sent_when_it_began_and_not_when_it_ended() {
    let exchanges = [
        exchange(0, 0, Some(900_000)),
        exchange(1, 300_000, Some(1000)),
        exchange(2, 600_000, Some(1000)),
    ];
    let setup = Setup::with_journal(&exchanges);
    std::fs::write(setup.path("log"), lines(&exchanges)).unwrap();
    for from in ["journal:", "file:"] {
        let from = format!(
            "{from}{}",
            setup.text(if from == "file:" { "log" } else { "journal" })
        );
        let origin = Origin::start(|_| ok());
        let more = ["--to", &origin.url(), "--connections", "1"];
        let output = done(&mut replay(&from, &more));
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(numbers(&origin), [0, 1, 2], "{from}");
    }
}

#[test]
fn gaps_are_shortened() {
    let setup = Setup::with_journal(&evenly(4, 3600 * SECOND));
    let origin = Origin::start(|_| ok());
    let output = done(&mut setup.journal(&[
        "--to",
        &origin.url(),
        "--max-gap",
        "10ms",
        "--connections",
        "1",
    ]));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(numbers(&origin), [0, 1, 2, 3]);
}

#[test]
fn traffic_logs_are_put_in_order_decompressed_and_read_from_the_standard_input() {
    let exchanges = evenly(300, 100);
    let setup = Setup::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&lines(&exchanges[..100])).unwrap();
    std::fs::write(setup.path("log.2.gz"), gzip.finish().unwrap()).unwrap();
    std::fs::write(setup.path("log.1"), lines(&exchanges[100..200])).unwrap();
    std::fs::write(setup.path("log"), lines(&exchanges[200..])).unwrap();
    std::fs::write(setup.path("empty"), b"").unwrap();
    let origin = Origin::start(|_| ok());
    let [new, old, older, empty] = ["log", "log.1", "log.2.gz", "empty"].map(|it| setup.text(it));
    let output = done(&mut replay(
        &new,
        &[&old, &older, &empty, "--to", &origin.url(), "--speed", "2"],
    ));
    assert_eq!(output.status.code(), Some(0));
    let mut heard = numbers(&origin);
    heard.sort_unstable();
    assert_eq!(heard, (0..300).collect::<Vec<u64>>());

    let origin = Origin::start(|_| ok());
    let mut command = replay("file:-", &["--to", &origin.url(), "--speed", "max"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&lines(&exchanges))
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(origin.heard_count(), 300);
}

#[test]
fn a_line_that_is_no_exchange_is_counted_and_the_others_are_sent() {
    let setup = Setup::new();
    let mut log = lines(&evenly(3, 100));
    log.extend_from_slice(b"{\"half\": \n\n\xff\xfe\n");
    log.extend_from_slice(&lines(&[exchange(3, 400, Some(1))]));
    std::fs::write(setup.path("log"), log).unwrap();
    let origin = Origin::start(|_| ok());
    let report = setup.text("report.json");
    let output = done(&mut replay(
        &setup.text("log"),
        &["--to", &origin.url(), "--report", &report],
    ));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(numbers(&origin).len(), 4);
    assert_eq!(setup.report()["targets"][0]["undecodable"], 2);
}

#[test]
fn what_cannot_be_sent_is_told_by_reason_and_in_the_exit_code() {
    let mut exchanges = evenly(5, 100);
    exchanges[1].request.as_mut().unwrap().body = Body {
        content: Bytes::from("{"),
        extent: Extent::Cut { missing: Some(5) },
    };
    exchanges[2].request = None;
    exchanges[3].response = None;
    let setup = Setup::with_journal(&exchanges);
    let origin = Origin::start(|_| ok());
    let report = setup.text("report.json");
    let output = done(&mut setup.journal(&["--to", &origin.url(), "--report", &report]));
    assert_eq!(output.status.code(), Some(6));
    let report = setup.report();
    assert_balanced(&report);
    let target = &report["targets"][0];
    assert_eq!(target["read"], 5);
    assert_eq!(target["delivered"]["2xx"], 3);
    assert_eq!(target["dropped"]["body cut"], 1);
    assert_eq!(target["filtered"]["no request"], 1);
    assert!(said(&output).contains("body cut"));
}

#[test]
fn only_the_requests_of_the_window_are_sent_and_not_more_than_asked_for() {
    let setup = Setup::with_journal(&evenly(100, SECOND));
    let heard = |more: &[&str]| {
        let origin = Origin::start(|_| ok());
        let url = origin.url();
        let more = [&["--to", &url, "--speed", "max"], more].concat();
        let output = done(&mut setup.journal(&more));
        assert_eq!(output.status.code(), Some(0), "{more:?}");
        let mut heard = numbers(&origin);
        heard.sort_unstable();
        heard
    };
    let from = |from, until| (from..until).collect::<Vec<u64>>();
    assert_eq!(heard(&["--from-time", "+90s"]), from(90, 100));
    assert_eq!(
        heard(&[
            "--from-time",
            "2026-11-21T03:45:10Z",
            "--until-time",
            "2026-11-21T03:45:20Z"
        ]),
        from(10, 20)
    );
    assert_eq!(heard(&["--limit", "7", "--from-time", "+5s"]), from(5, 12));
}

#[test]
fn a_dry_run_sends_nothing_and_tells_what_it_would() {
    let mut exchanges = evenly(3, SECOND);
    let request = exchanges[0].request.as_mut().unwrap();
    request.target = Bytes::from("/%3Clogs-%7Bnow%2Fd%7D%3E/_search");
    request.headers.0.push(Header {
        name: Bytes::from("authorization"),
        value: Bytes::from("Basic c2VjcmV0"),
    });
    exchanges[1].request.as_mut().unwrap().body.extent = Extent::NotCaptured { missing: None };
    let setup = Setup::with_journal(&exchanges);
    let origin = Origin::start(|_| ok());
    let output =
        done(&mut setup.journal(&["--to", &origin.url(), "--dry-run=full", "--anchor-dates"]));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(origin.heard_count(), 0);
    let said = String::from_utf8(output.stdout).unwrap();
    for part in [
        "+0.000s GET /logs-2026.11.21/_search  0B  [date anchored]\n",
        "    host: primary:9200\n",
        "    authorization: ***\n",
        "+1.000s GET /i/_doc/1  NOT SENT, dropped: body not captured\n",
        "+2.000s GET /i/_doc/2  0B\n",
        "2 would be sent, 1 not",
    ] {
        assert!(said.contains(part), "{part}");
    }
    assert!(!said.contains("c2VjcmV0"));
    // Nor does it need a target.
    assert!(done(&mut setup.journal(&["--dry-run"])).status.success());
}

#[test]
fn dates_are_anchored_on_the_wire() {
    let mut searched = exchange(0, 0, Some(10));
    let request = searched.request.as_mut().unwrap();
    request.target = Bytes::from("/i/_search");
    request.body.content = Bytes::from(r#"{"query":{"range":{"t":{"gte":"now-1h"}}}}"#);
    let setup = Setup::with_journal(&[searched]);
    let origin = Origin::start(|_| ok());
    let report = setup.text("report.json");
    let more = ["--to", &origin.url(), "--anchor-dates", "--report", &report];
    assert!(done(&mut setup.journal(&more)).status.success());
    let heard = &origin.heard()[0];
    let body = br#"{"query":{"range":{"t":{"gte":"2026-11-21T03:45:00.000Z||-1h"}}}}"#;
    assert_eq!(heard.body, body);
    assert_eq!(
        heard.text("content-length").unwrap(),
        body.len().to_string()
    );
    assert_eq!(setup.report()["targets"][0]["changed"]["date anchored"], 1);
}

/// A write and how the primary answered it: when it began and how long it took, in microseconds.
fn write(
    number: u64,
    at: u64,
    took: u64,
    request: (&str, &str, &str),
    answer: (u16, &str),
) -> Exchange {
    let mut write = exchange(number, at, Some(took));
    let (method, target, body) = request;
    let captured = write.request.as_mut().unwrap();
    captured.method = Bytes::copy_from_slice(method.as_bytes());
    captured.target = Bytes::copy_from_slice(target.as_bytes());
    captured.headers.0.push(Header {
        name: Bytes::from("content-type"),
        value: Bytes::from("application/json"),
    });
    captured.body = whole(body);
    let (status, body) = answer;
    let answered = write.response.as_mut().unwrap();
    answered.status = status;
    answered.body = whole(body);
    write
}

fn whole(text: &str) -> Body {
    Body::observed(Bytes::copy_from_slice(text.as_bytes()), true, None)
}

/// What a cluster says of a write that it did.
fn done_with(id: &str, result: &str, number: u64) -> String {
    format!(
        r#"{{"_index":"i","_id":"{id}","_version":{0},"result":"{result}","_seq_no":{number},"_primary_term":1}}"#,
        number + 1
    )
}

/// Of the writes that reached the origin, the values that they set on each document, in order.
fn values(origin: &Origin) -> BTreeMap<String, Vec<u64>> {
    let mut values: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for request in origin.heard() {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let id = target(&request);
        values
            .entry(id)
            .or_default()
            .push(body["n"].as_u64().unwrap());
    }
    values
}

#[test]
fn writes_that_overlapped_reach_the_target_in_the_order_in_which_the_primary_did_them() {
    // On each document, in rounds: four writes that begin together, and end in another order than the primary did
    // them in.
    let (documents, rounds) = (8, 12);
    let mut exchanges = Vec::new();
    for round in 0..rounds {
        for document in 0..documents {
            for (begins, (ends, order)) in [(7, 2), (5, 3), (9, 0), (3, 1)].iter().enumerate() {
                let value = round * 4 + order;
                let number = exchanges.len() as u64;
                exchanges.push(write(
                    number,
                    round * 1000 + begins as u64 * 10,
                    ends * 100,
                    (
                        "PUT",
                        &format!("/i/_doc/{document}"),
                        &format!(r#"{{"n":{value}}}"#),
                    ),
                    (200, &done_with(&document.to_string(), "updated", value)),
                ));
            }
        }
    }
    let setup = Setup::with_journal(&exchanges);
    std::fs::write(setup.path("log"), lines(&exchanges)).unwrap();
    let journal = format!("journal:{}", setup.text("journal"));
    for (from, more) in [
        (setup.text("log"), ["--speed", "max"]),
        (journal.clone(), ["--speed", "max"]),
        (journal, ["--speed", "0.2"]),
    ] {
        // Late now and then, so that what does not wait for it overtakes it.
        let heard = AtomicUsize::new(0);
        let origin = Origin::start(move |_| match heard.fetch_add(1, Ordering::SeqCst) % 5 {
            0 => Reply::After(Duration::from_millis(5), answer(200, &[], b"{}")),
            _ => ok(),
        });
        let output = done(&mut replay(
            &from,
            &[&["--to", &origin.url()], &more[..]].concat(),
        ));
        assert_eq!(output.status.code(), Some(0));
        let values = values(&origin);
        assert_eq!(values.len() as u64, documents);
        for (document, values) in values {
            let expected: Vec<u64> = (0..rounds * 4).collect();
            assert_eq!(values, expected, "{from} {more:?} {document}");
        }
    }
}

#[test]
fn the_target_gets_what_the_primary_did_and_the_ids_that_it_chose() {
    let exchanges = [
        write(
            0,
            0,
            10,
            ("POST", "/i/_doc", r#"{"n":1}"#),
            (201, &done_with("chosen", "created", 0)),
        ),
        write(
            1,
            20,
            10,
            ("PUT", "/i/_create/1", r#"{"n":2}"#),
            (409, "{}"),
        ),
        write(
            2,
            40,
            10,
            (
                "PUT",
                "/i/_doc/2?if_seq_no=4&if_primary_term=1",
                r#"{"n":3}"#,
            ),
            (200, &done_with("2", "updated", 5)),
        ),
        write(
            3,
            60,
            10,
            ("DELETE", "/i/_doc/3", ""),
            (404, &done_with("3", "not_found", 6)),
        ),
    ];
    let setup = Setup::with_journal(&exchanges);
    let origin = Origin::start(|_| ok());
    let (report, pairs) = (setup.text("report.json"), setup.text("pairs.ndjson"));
    let more = [
        "--to",
        &origin.url(),
        "--speed",
        "max",
        "--report",
        &report,
        "--pairs",
        &pairs,
    ];
    assert!(done(&mut setup.journal(&more)).status.success());
    let mut heard = targets(&origin);
    heard.sort();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard[0].starts_with("/i/_doc/2"), "{heard:?}");
    assert!(!heard[0].contains("if_seq_no"), "{heard:?}");
    assert!(heard[1].starts_with("/i/_doc/chosen"), "{heard:?}");
    let report = setup.report();
    assert_balanced(&report);
    let figures = &report["targets"][0];
    assert_eq!(figures["filtered"]["refused"], 1);
    assert_eq!(figures["filtered"]["no effect"], 1);
    assert_eq!(figures["changed"]["id pinned"], 1);
    assert_eq!(figures["changed"]["condition removed"], 1);

    let pairs = std::fs::read_to_string(&pairs).unwrap();
    let pairs: Vec<Value> = pairs
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(pairs.len(), 2);
    for pair in &pairs {
        let (_, read) = read_pair(pair.to_string().as_bytes()).unwrap().unwrap();
        assert!(read.primary.is_some() && read.shadow.is_some(), "{pair}");
        assert!(read.sending.due_us.is_some(), "{pair}");
    }

    // A dry run shows the same.
    let shown = done(&mut setup.journal(&["--dry-run"]));
    let shown = String::from_utf8(shown.stdout).unwrap();
    for part in [
        "POST /i/_doc/chosen",
        "[id pinned]",
        "PUT /i/_create/1  NOT SENT, filtered: refused",
        "[condition removed]",
        "DELETE /i/_doc/3  NOT SENT, filtered: no effect",
        "2 would be sent, 2 not",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }

    // And what was refused is sent when it is asked for.
    let origin = Origin::start(|_| ok());
    let more = ["--to", &origin.url(), "--speed", "max", "--refused", "send"];
    assert!(done(&mut setup.journal(&more)).status.success());
    assert!(targets(&origin).contains(&"/i/_create/1".to_owned()));
}

#[test]
fn a_scroll_that_the_capture_leaves_open_is_closed_on_the_target_in_the_end() {
    let opened = r#"{"_scroll_id":"of-the-primary","hits":{"hits":[]}}"#;
    let exchanges = [write(
        0,
        0,
        10,
        ("POST", "/i/_search?scroll=1m", "{}"),
        (200, opened),
    )];
    let setup = Setup::with_journal(&exchanges);
    let origin = Origin::start(|request| match target(request).contains("_search?") {
        true => Reply::Bytes(answer(
            200,
            &[("content-type", "application/json")],
            br#"{"_scroll_id":"of-the-target","hits":{"hits":[]}}"#,
        )),
        false => ok(),
    });
    let output = done(&mut setup.journal(&["--to", &origin.url(), "--speed", "max"]));
    assert!(output.status.success(), "{}", said(&output));
    let heard = origin.heard();
    let last = heard.last().unwrap();
    assert_eq!(last.first_line(), b"DELETE /_search/scroll HTTP/1.1");
    let body = String::from_utf8_lossy(&last.body);
    assert!(body.contains("of-the-target"), "{body}");
}

#[test]
fn rules_and_credentials_are_those_of_the_agent() {
    let exchanges = [
        write(
            0,
            0,
            10,
            ("PUT", "/i/_doc/1", r#"{"n":1}"#),
            (201, &done_with("1", "created", 0)),
        ),
        exchange(1, 20, Some(10)),
    ];
    let setup = Setup::with_journal(&exchanges);
    let rules = "[[rule]]\nname = 'reads'\nwhen = { access = 'read' }\nthen = 'deny'\n[rename]\ni = 'other'\n";
    std::fs::write(setup.path("rules.toml"), rules).unwrap();
    std::fs::write(setup.path("token"), "s3cret\n").unwrap();
    std::fs::write(setup.path("wrong.toml"), "[[rule]]\n").unwrap();
    let origin = Origin::start(|_| ok());
    let [rules, token, wrong] = ["rules.toml", "token", "wrong.toml"].map(|it| setup.text(it));
    let url = origin.url();
    let more = [
        "--to",
        &url,
        "--rules",
        &rules,
        "--credentials",
        "bearer",
        "--credentials-file",
        &token,
    ];
    let output = done(&mut setup.journal(&more));
    assert!(output.status.success());
    assert!(said(&output).contains("denied"));
    assert!(!said(&output).contains("s3cret"));
    let heard = origin.heard();
    assert_eq!(heard.len(), 1);
    assert_eq!(target(&heard[0]), "/other/_doc/1");
    assert_eq!(heard[0].text("authorization").unwrap(), "Bearer s3cret");
    for (more, code, part) in [
        (&["--rules", &wrong][..], 1, "cannot use --rules"),
        (&["--credentials", "bearer"], 2, "--credentials-file"),
        (
            &["--credentials", "sigv4", "--credentials-file", &token],
            2,
            "--sigv4-region",
        ),
        (
            &["--credentials", "basic", "--credentials-file", &token],
            1,
            "cannot use --credentials-file",
        ),
        (&["--order", "some"], 2, "causal"),
    ] {
        let output = done(&mut setup.journal(&[&["--to", &url], more].concat()));
        assert_eq!(output.status.code(), Some(code), "{more:?}");
        assert!(said(&output).contains(part), "{part}");
    }
    assert_eq!(origin.heard_count(), 1);
}

#[test]
fn what_the_capture_does_not_tell_is_listed_as_ambiguous() {
    let mut lost = write(0, 0, 10, ("PUT", "/i/_doc/lost", r#"{"n":1}"#), (200, "{}"));
    lost.response = None;
    let sure = write(
        1,
        50,
        10,
        ("PUT", "/i/_doc/sure", r#"{"n":1}"#),
        (201, &done_with("sure", "created", 0)),
    );
    let setup = Setup::with_journal(&[lost, sure]);
    let report = setup.text("report.json");
    let state = setup.text("state");
    for more in [&[][..], &["--state", &state]] {
        let origin = Origin::start(|_| ok());
        let url = origin.url();
        let all = [&["--to", &url, "--speed", "max", "--report", &report], more].concat();
        let output = done(&mut setup.journal(&all));
        assert!(output.status.success());
        assert_eq!(targets(&origin).len(), 2);
        assert!(said(&output).contains("Ambiguous on"));
        let figures = &setup.report()["targets"][0];
        assert_eq!(figures["ambiguous"], 1);
        let listed = &figures["ambiguous_list"][0];
        assert_eq!(listed["index"], "i");
        assert_eq!(listed["id"], "lost");
        assert_eq!(listed["reason"], "no answer");
    }
}

/// A cluster that knows one thing: a counter for each document, which updates with a script raise.
#[derive(Default)]
struct Counting {
    counters: Mutex<BTreeMap<String, u64>>,
    updates: AtomicUsize,
}

impl Counting {
    fn reply(&self, request: &Message) -> Vec<u8> {
        let target = target(request);
        let json = |body: &Value| {
            answer(
                200,
                &[("content-type", "application/json")],
                body.to_string().as_bytes(),
            )
        };
        if target.starts_with("/_mget") {
            let asked: Value = serde_json::from_slice(&request.body).unwrap();
            let counters = self.counters.lock().unwrap();
            let found = |doc: &Value| {
                let id = doc["_id"].as_str().unwrap();
                match counters.get(id) {
                    Some(count) => {
                        json!({"_index": "i", "_id": id, "found": true, "_version": count, "_seq_no": count, "_primary_term": 1})
                    }
                    None => json!({"_index": "i", "_id": id, "found": false}),
                }
            };
            let docs: Vec<Value> = asked["docs"]
                .as_array()
                .unwrap()
                .iter()
                .map(found)
                .collect();
            return json(&json!({ "docs": docs }));
        }
        if target.starts_with("/_tasks") {
            return json(&json!({"nodes": {}}));
        }
        let id = target.rsplit('/').next().unwrap().to_owned();
        let mut counters = self.counters.lock().unwrap();
        let count = counters.entry(id.clone()).or_default();
        *count += 1;
        self.updates.fetch_add(1, Ordering::SeqCst);
        json(
            &json!({"_index": "i", "_id": id, "result": "updated", "_version": *count, "_seq_no": *count, "_primary_term": 1}),
        )
    }
}

#[test]
fn after_a_kill_no_scripted_update_is_done_twice() {
    let documents = 20;
    let per_document = 30;
    let exchanges: Vec<Exchange> = (0..documents * per_document)
        .map(|number| {
            let id = format!("c{}", number % documents);
            let body = r#"{"script":"ctx._source.n++"}"#;
            let done = done_with(&id, "updated", number);
            write(
                number,
                number * SECOND / 10,
                500,
                ("POST", &format!("/i/_update/{id}"), body),
                (200, &done),
            )
        })
        .collect();
    let setup = Setup::with_journal(&exchanges);
    std::fs::write(setup.path("log"), lines(&exchanges)).unwrap();
    for from in [
        format!("journal:{}", setup.text("journal")),
        setup.text("log"),
    ] {
        let cluster = Arc::new(Counting::default());
        let answering = Arc::clone(&cluster);
        // Done at once, and answered late: a kill finds many that are done and not answered.
        let origin = Origin::start(move |request| {
            let reply = answering.reply(request);
            Reply::After(Duration::from_millis(20), reply)
        });
        let state = setup.text(if from.contains(':') {
            "state-journal"
        } else {
            "state-log"
        });
        let url = origin.url();
        let more = ["--to", &url, "--state", &state, "--speed", "100"];
        for updates in [100, 250, 400] {
            let mut child = replay(&from, &more).stdout(Stdio::null()).spawn().unwrap();
            wait_for("some came", || {
                (cluster.updates.load(Ordering::SeqCst) > updates).then_some(())
            });
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(done(&mut replay(&from, &more)).status.success());
        let counters = cluster.counters.lock().unwrap();
        assert_eq!(counters.len() as u64, documents);
        for (id, count) in counters.iter() {
            assert_eq!(*count, per_document, "{from} {id}");
        }
    }
}

#[test]
fn a_stop_ends_soon_whatever_is_still_to_come() {
    // All of it is read ahead and waits for its time.
    let setup = Setup::with_journal(&evenly(5_000, SECOND));
    let origin = Origin::start(|_| ok());
    let more = ["--to", &origin.url(), "--ahead", "100h"];
    let running = Running::start(&mut setup.journal(&more), &setup.path("control"));
    wait_for("all is read", || {
        (running.says("status")["targets"][0]["read"] == 5_000).then_some(())
    });
    let began = Instant::now();
    running.says("stop");
    let (status, _) = running.ends();
    assert_eq!(status.code(), Some(5));
    // Less than it would wait for what is in flight.
    assert!(began.elapsed() < Duration::from_secs(9));
}

#[test]
fn at_a_rate_requests_are_due_in_the_order_in_which_they_began() {
    // Each takes longer than the one that begins after it, so they end the other way round.
    let exchanges: Vec<Exchange> = (0..6)
        .map(|number| exchange(number, number * 10, Some(10_000 - number * 20)))
        .collect();
    let setup = Setup::with_journal(&exchanges);
    let origin = Origin::start(|_| ok());
    let pairs = setup.text("pairs.ndjson");
    let more = ["--to", &origin.url(), "--rate", "4", "--pairs", &pairs];
    assert!(done(&mut setup.journal(&more)).status.success());
    let pairs = std::fs::read(&pairs).unwrap();
    let lines = pairs.split(|byte| *byte == b'\n');
    let mut due: Vec<(u64, Bytes)> = lines
        .filter(|line| !line.is_empty())
        .map(|line| read_pair(line).unwrap().unwrap().1)
        .map(|pair| (pair.sending.due_us.unwrap(), pair.request.target))
        .collect();
    due.sort();
    let in_order: Vec<Bytes> = (0..6)
        .map(|number| Bytes::from(format!("/i/_doc/{number}")))
        .collect();
    let targets: Vec<Bytes> = due.into_iter().map(|(_, target)| target).collect();
    assert_eq!(targets, in_order);
}

#[test]
fn a_target_that_freezes_now_and_then_shows_in_the_response_times_from_due() {
    // A request each millisecond, and a target that freezes for 100 ms in each second.
    let setup = Setup::with_journal(&evenly(3_000, 1_000));
    let begin = Instant::now();
    let origin = Origin::start_busy(move |_| {
        let within = begin.elapsed().as_millis() % 1_000;
        match 100_u64.checked_sub(u64::try_from(within).unwrap()) {
            Some(left) if left > 0 => {
                Reply::After(Duration::from_millis(left), answer(200, &[], b"{}"))
            }
            _ => ok(),
        }
    });
    let report = setup.text("report.json");
    let more = [
        "--to",
        &origin.url(),
        "--connections",
        "2",
        "--report",
        &report,
    ];
    let output = done(&mut setup.journal(&more));
    assert!(output.status.success());
    let figures = setup.report()["targets"][0]["this_run"].clone();
    let millis = |figure: &str, at: &str| figures[figure][at].as_f64().unwrap();
    // Only two requests at a time see the freeze itself; all that were due in it waited for it.
    assert!(millis("service", "p99_ms") < 50.0, "{figures}");
    assert!(millis("response", "p99_9_ms") > 80.0, "{figures}");
    assert!(millis("slip", "p99_9_ms") > 80.0, "{figures}");
    assert!(millis("response", "p99_ms") > 50.0, "{figures}");
    assert_eq!(figures["response"]["count"], 3_000);
    assert_eq!(figures["slip"]["count"], 3_000);
    assert!(said(&output).contains("response time from due"));
}

/// How late requests go at 2,000 per second to a target that has nothing else to do, and what a freeze of it
/// looks like. A measurement, to be run on an idle machine:
///
/// ```text
/// cargo test --release --test replay -- --ignored --nocapture schedule_slip
/// ```
#[test]
#[ignore = "a measurement, for an idle machine"]
fn the_schedule_slip_at_two_thousand_requests_per_second() {
    let _alone = support::alone();
    // Half of them write, each its own document.
    let exchanges: Vec<Exchange> = (0..60_000)
        .map(|number| match number % 2 {
            0 => exchange(number, number * 500, Some(2_000)),
            _ => {
                let (id, body) = (number.to_string(), format!(r#"{{"n":{number}}}"#));
                let answer = done_with(&id, "created", number);
                let target = format!("/i/_doc/{id}");
                write(
                    number,
                    number * 500,
                    2_000,
                    ("PUT", &target, &body),
                    (201, &answer),
                )
            }
        })
        .collect();
    let setup = Setup::with_journal(&exchanges);
    let begin = Instant::now();
    let freezing = move |_: &Message| {
        let within = u64::try_from(begin.elapsed().as_millis() % 10_000).unwrap();
        match 500_u64.checked_sub(within) {
            Some(left) => Reply::After(Duration::from_millis(left), answer(200, &[], b"{}")),
            None => ok(),
        }
    };
    let report = setup.text("report.json");
    let measured = |origin: Origin| {
        let more = ["--to", &origin.url(), "--report", &report];
        assert!(done(&mut setup.journal(&more)).status.success());
        setup.report()["targets"][0]["this_run"].clone()
    };
    let idle = measured(Origin::start_busy(|_| ok()));
    let frozen = measured(Origin::start_busy(freezing));
    eprintln!("idle:   {idle}\nfrozen: {frozen}");
    let millis = |figures: &Value, figure: &str, at: &str| figures[figure][at].as_f64().unwrap();
    assert!(millis(&idle, "slip", "p99_ms") < 5.0);
    assert!(millis(&frozen, "response", "p99_9_ms") > 400.0);
}

struct Running {
    child: Child,
    control: PathBuf,
}

impl Running {
    fn start(command: &mut Command, control: &Path) -> Self {
        let child = command
            .arg("--control")
            .arg(control)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let running = Self {
            child,
            control: control.to_owned(),
        };
        wait_for("the control socket", || UnixStream::connect(control).ok());
        running
    }

    fn says(&self, line: &str) -> Value {
        let mut stream = UnixStream::connect(&self.control).unwrap();
        writeln!(stream, "{line}").unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    fn ends(mut self) -> (ExitStatus, String) {
        let status = wait_for("the replay ends", || self.child.try_wait().unwrap());
        let mut out = String::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut out)
            .unwrap();
        (status, out)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_signal_ends_a_replay_in_order_as_soon_as_its_socket_is_there() {
    let setup = Setup::with_journal(&evenly(10_000, SECOND));
    let origin = Origin::start(|_| ok());
    let control = setup.path("control");
    let running = Running::start(&mut setup.journal(&["--to", &origin.url()]), &control);
    let pid = running.child.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    let (status, _) = running.ends();
    assert_eq!(status.code(), Some(5));
    assert!(!control.exists());
}

#[test]
fn a_running_replay_is_paused_resumed_turned_faster_and_stopped_through_its_socket() {
    // A capture of three hours.
    let setup = Setup::with_journal(&evenly(10_000, SECOND));
    let origin = Origin::start(|_| ok());
    let control = setup.path("control");
    let running = Running::start(&mut setup.journal(&["--to", &origin.url()]), &control);
    assert_eq!(running.says("speed 200")["speed"], "200x");
    wait_for("some came", || (origin.heard_count() > 20).then_some(()));
    assert_eq!(running.says("pause")["paused"], true);
    // What was on its way when it was paused still comes.
    let settled = wait_for("it stands still", || {
        let before = origin.heard_count();
        let status = running.says("status");
        let is_still = status["targets"][0]["in_flight"] == 0 && origin.heard_count() == before;
        is_still.then_some(before)
    });
    for _ in 0..20 {
        assert_eq!(running.says("status")["targets"][0]["in_flight"], 0);
    }
    assert_eq!(origin.heard_count(), settled);
    assert_eq!(running.says("resume")["paused"], false);
    wait_for("more came", || {
        (origin.heard_count() > settled).then_some(())
    });
    assert!(running.says("nonsense")["error"].is_string());
    assert_eq!(running.says("stop")["stopping"], true);
    let (status, out) = running.ends();
    assert_eq!(status.code(), Some(5));
    assert!(out.contains("Stopped before the end"), "{out}");
    assert!(!control.exists());
}

#[test]
fn turned_to_no_limit_a_long_capture_is_soon_through() {
    let setup = Setup::with_journal(&evenly(5_000, SECOND));
    let origin = Origin::start(|_| ok());
    let running = Running::start(
        &mut setup.journal(&["--to", &origin.url()]),
        &setup.path("control"),
    );
    running.says("speed max");
    let (status, _) = running.ends();
    assert_eq!(status.code(), Some(0));
    assert_eq!(origin.heard_count(), 5_000);
}

#[test]
fn a_stopped_replay_goes_on_where_it_was_and_the_account_is_of_both_runs() {
    let count = 400;
    let setup = Setup::with_journal(&evenly(count, SECOND));
    let origin = Origin::start(|_| ok());
    let (state, report) = (setup.text("state"), setup.text("report.json"));
    let url = origin.url();
    let more = [
        "--to", &url, "--state", &state, "--report", &report, "--speed", "100",
    ];
    let running = Running::start(&mut setup.journal(&more), &setup.path("control"));
    wait_for("some came", || (origin.heard_count() > 20).then_some(()));
    running.says("stop");
    assert_eq!(running.ends().0.code(), Some(5));
    assert_balanced(&setup.report());
    assert!(origin.heard_count() < 400);
    let output = done(&mut setup.journal(&[&more[..6], &["--speed", "max"]].concat()));
    assert_eq!(output.status.code(), Some(0));
    assert!(said(&output).contains("going on where the last run stopped"));
    // In an orderly stop, nothing is sent twice.
    let mut heard = numbers(&origin);
    heard.sort_unstable();
    assert_eq!(heard, (0..count).collect::<Vec<u64>>());
    let report = setup.report();
    assert_balanced(&report);
    assert_eq!(report["targets"][0]["delivered"]["2xx"], count);
    // Through is through, until it is asked to begin anew.
    assert!(done(&mut setup.journal(&more[..6])).status.success());
    assert_eq!(origin.heard_count(), 400);
    let again = [&more[..6], &["--restart", "--speed", "max"]].concat();
    assert!(done(&mut setup.journal(&again)).status.success());
    assert_eq!(origin.heard_count(), 800);
}

#[test]
fn after_a_kill_nothing_is_missing_and_little_is_sent_twice() {
    let setup = Setup::new();
    let count = 3_000;
    let exchanges = evenly(count, SECOND / 10);
    write_journal(&setup.path("journal"), &exchanges)
        .close()
        .unwrap();
    std::fs::write(setup.path("log"), lines(&exchanges)).unwrap();
    for from in ["journal", "log"] {
        let origin = Origin::start(|_| ok());
        let state = setup.text(&format!("state-{from}"));
        let url = origin.url();
        let more = ["--to", &url, "--state", &state];
        let from = match from {
            "journal" => format!("journal:{}", setup.text("journal")),
            _ => setup.text("log"),
        };
        for heard in [500, 1_500] {
            let mut command = replay(&from, &[&more[..], &["--speed", "100"]].concat());
            let mut child = command.stdout(Stdio::null()).spawn().unwrap();
            wait_for("some came", || (origin.heard_count() > heard).then_some(()));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let output = done(&mut replay(
            &from,
            &[&more[..], &["--speed", "max"]].concat(),
        ));
        assert_eq!(output.status.code(), Some(0));
        assert!(said(&output).contains("going on where"));
        let heard = numbers(&origin);
        let once: HashSet<u64> = heard.iter().copied().collect();
        assert_eq!(once.len() as u64, count, "{from}");
        // It did not begin anew: two kills at 1,000 a second, saved every half second.
        assert!((heard.len() as u64) < count + 2_000, "{} came", heard.len());
    }
}

#[test]
fn a_target_that_is_down_holds_up_no_other() {
    let setup = Setup::with_journal(&evenly(200, 100));
    let origin = Origin::start(|_| ok());
    let down = format!("http://{}", support::free_address());
    let more = ["--to", &origin.url(), "--to", &down, "--speed", "max"];
    let running = Running::start(&mut setup.journal(&more), &setup.path("control"));
    wait_until(
        "the one is through and the other is known to be down",
        || {
            let status = running.says("status");
            let (one, other) = (&status["targets"][0], &status["targets"][1]);
            let good = one["over"] == true && other["down"] == true;
            if good {
                Ok(())
            } else {
                Err(status.to_string())
            }
        },
    );
    assert_eq!(origin.heard_count(), 200);
    running.says("stop");
    assert_eq!(running.ends().0.code(), Some(5));
}

#[test]
fn a_stalled_target_shows_in_the_response_times_and_not_only_in_one() {
    let setup = Setup::with_journal(&evenly(200, 5_000));
    // Everything stands still until the first reply goes.
    let origin = Origin::start(|request| match request.first_line() {
        b"GET /i/_doc/0 HTTP/1.1" => {
            let Reply::Bytes(answer) = ok() else {
                panic!("not bytes")
            };
            Reply::After(Duration::from_millis(500), answer)
        }
        _ => ok(),
    });
    let report = setup.text("report.json");
    let more = [
        "--to",
        &origin.url(),
        "--connections",
        "1",
        "--report",
        &report,
    ];
    assert!(done(&mut setup.journal(&more)).status.success());
    let figures = setup.report()["targets"][0]["this_run"].clone();
    let millis = |figure: &str, at: &str| figures[figure][at].as_f64().unwrap();
    // A hundred were due in that half second.
    assert!(millis("response", "p99_ms") > 400.0, "{figures}");
    assert!(millis("slip", "p99_ms") > 400.0, "{figures}");
    assert_eq!(figures["response"]["count"], 200);
    assert!(millis("service", "p50_ms") < 400.0, "{figures}");
}

#[test]
fn mistakes_are_refused_with_a_way_out() {
    let setup = Setup::with_journal(&evenly(5, 100));
    write_journal(&setup.path("empty"), &[]).close().unwrap();
    std::fs::write(setup.path("text"), "hello\n").unwrap();
    std::fs::write(setup.path("nothing"), "").unwrap();
    let origin = Origin::start(|_| ok());
    let url = origin.url();
    let journal = format!("journal:{}", setup.text("journal"));
    let refused = |from: &str, more: &[&str], code: i32, part: &str| {
        let output = done(&mut replay(from, more));
        assert_eq!(output.status.code(), Some(code), "{from} {more:?}");
        assert!(said(&output).contains(part), "{part}");
    };
    let to = ["--to", &url];
    refused(
        &format!("journal:{}", setup.text("empty")),
        &to,
        1,
        "nothing to replay",
    );
    refused(
        &format!("journal:{}", setup.text("missing")),
        &to,
        1,
        "no such directory",
    );
    refused(
        &format!("journal:{}", setup.folder.path().display()),
        &to,
        1,
        "is no journal",
    );
    refused(&setup.text("missing"), &to, 1, "cannot read");
    refused(
        &setup.text("text"),
        &to,
        1,
        "does not begin with an exchange",
    );
    refused(&setup.text("nothing"), &to, 1, "nothing to replay");
    refused("kafka:topic", &to, 1, "names no topic");
    refused(
        &journal,
        &["--to", &url, "--follow"],
        1,
        "are for --from kafka",
    );
    refused(&journal, &["--to", &url, "--restart"], 1, "no --state");
    refused(
        "kafka:a:1/t",
        &["kafka:a:1/u", "--to", &url],
        1,
        "one topic",
    );
    refused(
        &journal,
        &["--to", "http://primary:9200"],
        1,
        "looks like the primary",
    );
    refused(&journal, &["--to", &url, "--to", &url], 1, "named twice");
    refused(
        &journal,
        &["--to", &url, "--from-time", "noon"],
        2,
        "write a time such as",
    );
    refused(
        &journal,
        &["--to", &url, "--from-time", "-1h"],
        1,
        "no exchange of",
    );
    refused(
        &journal,
        &["--to", &url, "--from-time", "+2h", "--until-time", "+1h"],
        1,
        "not before",
    );
    refused(
        &journal,
        &["--to", &url, "--speed", "0"],
        2,
        "number above 0",
    );
    refused(&journal, &[], 2, "--to");
    refused(
        "file:-",
        &["--to", &url, "--to", "http://other"],
        1,
        "one target",
    );
    assert_eq!(origin.heard_count(), 0);
}

#[test]
fn a_target_at_the_address_of_the_primary_is_refused_unless_it_is_meant() {
    let origin = Origin::start(|_| ok());
    let SocketAddr::V4(address) = origin.address() else {
        panic!("not IPv4")
    };
    let mut captured = exchange(0, 0, Some(1));
    captured.request.as_mut().unwrap().local = Some(Endpoint {
        ip: IpAddr::V4(*address.ip()),
        port: address.port(),
    });
    let setup = Setup::with_journal(&[captured]);
    let output = done(&mut setup.journal(&["--to", &origin.url()]));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(origin.heard_count(), 0);
    assert!(
        done(&mut setup.journal(&["--to", &origin.url(), "--force"]))
            .status
            .success()
    );
    assert_eq!(origin.heard_count(), 1);
}

#[test]
fn two_replays_do_not_share_a_state() {
    let setup = Setup::with_journal(&evenly(1000, SECOND));
    let origin = Origin::start(|_| ok());
    let state = setup.text("state");
    let url = origin.url();
    let more = ["--to", &url, "--state", &state];
    let running = Running::start(&mut setup.journal(&more), &setup.path("control"));
    let output = done(&mut setup.journal(&more));
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("another replay uses"));
    running.says("stop");
    running.ends();
    let output = done(&mut setup.journal(&[&more[..], &["--limit", "3"]].concat()));
    assert!(said(&output).contains("other --from-time"));
}
