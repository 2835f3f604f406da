//! `spoa-agent replay` as a process, against origins: what reaches them, when, and what is said about it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a helper that fails has failed its test"
)]

mod support;

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use bytes::Bytes;
use exchange::{Body, Endpoint, Exchange, Extent, Half, Header, Request, Response, json};
use journal::{Journal, Options};
use serde_json::Value;
use support::origin::{Reply, ok, status};
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

fn targets(origin: &Origin) -> Vec<String> {
    let line = |it: &support::http::Message| String::from_utf8(it.first_line().to_vec()).unwrap();
    origin
        .heard()
        .iter()
        .map(|it| line(it).split(' ').nth(1).unwrap().to_owned())
        .collect()
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
    let began = std::time::Instant::now();
    let output =
        done(&mut setup.journal(&["--to", &origin.url(), "--speed", "5", "--connections", "1"]));
    assert_eq!(output.status.code(), Some(0));
    // They cannot be through before the last one is due.
    assert!(began.elapsed() >= std::time::Duration::from_millis(19 * 20));
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
fn a_running_replay_is_paused_resumed_turned_faster_and_stopped_through_its_socket() {
    // A capture of three hours.
    let setup = Setup::with_journal(&evenly(10_000, SECOND));
    let origin = Origin::start(|_| ok());
    let control = setup.path("control");
    let running = Running::start(&mut setup.journal(&["--to", &origin.url()]), &control);
    assert_eq!(running.says("speed 200")["speed"], "200x");
    wait_for("some came", || (origin.heard_count() > 20).then_some(()));
    assert_eq!(running.says("pause")["paused"], true);
    // What was handed over when it was paused still comes.
    let settled = wait_for("it stands still", || {
        let status = running.says("status");
        (status["targets"][0]["in_hand"] == 0).then(|| origin.heard_count())
    });
    for _ in 0..20 {
        assert_eq!(running.says("status")["targets"][0]["in_hand"], 0);
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
            Reply::After(std::time::Duration::from_millis(500), answer)
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
    refused("kafka:topic", &to, 1, "not there yet");
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
