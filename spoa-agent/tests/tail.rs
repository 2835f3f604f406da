//! `spoa-agent tail` as a process: what it shows of a journal and of files, while these grow.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a helper that fails has failed its test"
)]

mod support;

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use exchange::json::{self, PairName};
use exchange::{
    Body, Endpoint, Exchange, Extent, Gap, Half, Header, Headers, Pair, Request, Response, Sending,
};
use journal::{Journal, Options};
use support::Origin;
use support::origin::ok;
use tempfile::TempDir;

/// 2026-11-21T03:45:00Z.
const BEGIN: u64 = 1_795_232_700_000_000;

fn headers(fields: &[(&str, &str)]) -> Headers {
    let header = |(name, value): &(&str, &str)| Header {
        name: Bytes::copy_from_slice(name.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    fields.iter().map(header).collect()
}

fn body(content: &[u8]) -> Body {
    Body {
        content: Bytes::copy_from_slice(content),
        extent: Extent::Whole,
    }
}

/// A captured exchange, a second after the one before it.
fn exchange(number: u64, method: &str, target: &str, status: u16) -> Exchange {
    let id = Bytes::from(format!("{number:08}-17d4-4988-87f6-652b0196cfd5"));
    let time_us = BEGIN + number * 1_000_000;
    Exchange {
        position: number,
        request: Some(Request {
            id: id.clone(),
            time_us,
            client: Some(Endpoint {
                ip: "10.0.0.7".parse().unwrap(),
                port: 40_000,
            }),
            version: Bytes::from("1.1"),
            method: Bytes::copy_from_slice(method.as_bytes()),
            target: Bytes::copy_from_slice(target.as_bytes()),
            headers: headers(&[
                ("host", "primary:9200"),
                ("authorization", "Basic c2VjcmV0"),
            ]),
            ..Request::default()
        }),
        response: (status > 0).then(|| Response {
            id,
            time_us: time_us + number * 1000,
            server: Bytes::from("10.0.0.1:9200"),
            status,
            version: Bytes::from("1.1"),
            headers: headers(&[("content-type", "application/json")]),
            body: body(br#"{"took":3,"hits":[]}"#),
            ..Response::default()
        }),
    }
}

fn simple(number: u64) -> Exchange {
    exchange(number, "GET", &format!("/i/_doc/{number}"), 200)
}

fn line(exchange: &Exchange) -> Vec<u8> {
    let mut line = Vec::new();
    json::write_line(exchange, json::Options::default(), &mut line);
    line
}

/// What there is to see.
fn various() -> Vec<Exchange> {
    let mut all = vec![
        exchange(1, "POST", "/logs-1/_doc?refresh=true", 201),
        exchange(2, "GET", "/logs-2026.11.*/_search?typed_keys=true", 200),
        exchange(3, "PUT", "/idx/_doc/\u{1b}[2Jevil", 409),
        exchange(4, "DELETE", "/idx", 0),
        exchange(5, "POST", "/_bulk", 503),
    ];
    all[0].request.as_mut().unwrap().body = body(br#"{"a":1.0,"it's":[true]}"#);
    all[2].request.as_mut().unwrap().body = body(b"\x00\xff\x1b]0;x\x07");
    all[4].request.as_mut().unwrap().body = Body {
        content: Bytes::from("{\"index\":{\"_index\":\"i\"}}\n{\"a\":"),
        extent: Extent::Cut { missing: Some(99) },
    };
    all
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

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self, exchanges: &[Exchange]) -> PathBuf {
        let path = self.path("log");
        let lines: Vec<u8> = exchanges.iter().flat_map(line).collect();
        std::fs::write(&path, lines).unwrap();
        path
    }
}

fn append(path: &Path, lines: &[u8]) {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.write_all(lines).unwrap();
}

fn write(journal: &Journal, exchange: &Exchange) {
    let request = exchange.request.clone().map(Half::Request);
    let response = exchange.response.clone().map(Half::Response);
    for half in request.into_iter().chain(response) {
        journal
            .append(half.encoded_len(), |out| half.encode(out))
            .unwrap();
    }
    journal.try_commit();
}

fn tail(from: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spoa-agent"));
    command.arg("tail").arg("--from").arg(from).args(more);
    command.env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

fn shown(from: &Path, more: &[&str]) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = tail(from, more).output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// The numbers of the exchanges that are shown.
fn numbers(from: &Path, more: &[&str]) -> Vec<u64> {
    let more = [more, &["--format", "json"]].concat();
    let numbers = shown(from, &more);
    numbers.lines().map(number).collect()
}

fn number(line: &str) -> u64 {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let id = line.pointer("/event/id").unwrap().as_str().unwrap();
    id.split('-').next().unwrap().parse().unwrap()
}

/// A tail that goes on.
struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Following {
    fn start(from: &Path, more: &[&str]) -> Self {
        let more = [more, &["--follow", "--format", "json"]].concat();
        let mut child = tail(from, &more).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines() {
                if sender.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    fn next(&self) -> u64 {
        number(&self.lines.recv_timeout(Duration::from_secs(60)).unwrap())
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_line_has_columns_and_nothing_that_moves_a_cursor() {
    let setup = Setup::new();
    let log = setup.log(&various());
    insta::assert_snapshot!(shown(&log, &[]));
    insta::assert_snapshot!(
        shown(&log, &["--color", "always", "--status", "4xx,none"]).escape_debug()
    );
}

#[test]
fn headers_and_bodies_are_shown_without_credentials() {
    let setup = Setup::new();
    let log = setup.log(&various());
    let text = shown(&log, &["-v"]);
    assert!(!text.contains("c2VjcmV0"), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn pairs_show_both_answers() {
    let setup = Setup::new();
    let captured = exchange(1, "GET", "/i/_doc/1", 200);
    let pair = Pair {
        position: 7,
        target: "http://shadow:9200".into(),
        api: "get".into(),
        request: captured.request.clone().unwrap(),
        changes: vec!["renamed".into()],
        primary: captured.response.clone(),
        shadow: captured.response.map(|response| Response {
            status: 404,
            ..response
        }),
        sending: Sending {
            end_us: 2500,
            ..Sending::default()
        },
        ..Pair::default()
    };
    let mut line = Vec::new();
    let options = json::Options::default();
    json::write_pair(&pair, PairName::Position(9), options, &mut line);
    std::fs::write(setup.path("pairs"), line).unwrap();
    insta::assert_snapshot!(shown(&setup.path("pairs"), &["--format", "pairs"]));
}

#[test]
fn commands_are_quoted_and_a_cut_body_is_not_sent() {
    let setup = Setup::new();
    let log = setup.log(&various());
    insta::assert_snapshot!(shown(&log, &["--format", "curl"]));
}

#[test]
fn a_command_sends_the_request_as_it_was_captured() {
    if Command::new("curl").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "curl is not installed");
        eprintln!("SKIPPED: curl is not installed, so its commands are not tried");
        return;
    }
    let setup = Setup::new();
    let mut all = vec![
        exchange(1, "GET", "/a/../b/_search?q={x}[1-3]&y=%2F'\"$(id)`", 200),
        exchange(2, "POST", "/_bulk", 200),
        exchange(3, "PATCH", "/caf\u{e9}/#x y", 200),
        exchange(4, "HEAD", "/i", 200),
        exchange(5, "PUT", "/large", 200),
        exchange(6, "HEAD", "/i/_search", 200),
    ];
    let bodies: [&[u8]; 6] = [
        b"@/etc/passwd",
        b"{\"index\":{}}\n{\"a\":\"it's $HOME `id`\"}\n",
        b"\x00\x01\xff\n",
        b"",
        &vec![b'x'; 300_000],
        b"{\"query\":{}}",
    ];
    for (exchange, content) in all.iter_mut().zip(bodies) {
        exchange.request.as_mut().unwrap().body = body(content);
    }
    let log = setup.log(&all);
    let origin = Origin::start(|_| ok());
    let script = shown(&log, &["--format", "curl", "--url", &origin.url()]);
    std::fs::write(setup.path("script"), &script).unwrap();
    let mut shell = Command::new("sh");
    let status = shell
        .arg(setup.path("script"))
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    let heard = origin.heard();
    assert_eq!(heard.len(), all.len());
    for (message, exchange) in heard.iter().zip(&all) {
        let request = exchange.request.as_ref().unwrap();
        let line = [&request.method, &b" "[..], &request.target, b" HTTP/1.1"].concat();
        assert_eq!(message.first_line(), line, "{}", line.escape_ascii());
        assert_eq!(message.body, request.body.content);
    }
}

#[test]
fn filters_leave_what_fits_all_of_them() {
    let setup = Setup::new();
    let log = setup.log(&various());
    for (filters, expected) in [
        (&["--method", "post,delete"][..], &[1, 4, 5][..]),
        (&["--path", "/*/_search"], &[2]),
        (&["--path", "/idx*"], &[3, 4]),
        (&["--status", "2xx"], &[1, 2]),
        (&["--status", "none,500-599"], &[4, 5]),
        (&["--index", "logs-*"], &[1, 2]),
        // The request's own pattern may mean it.
        (&["--index", "logs-2026.11.20"], &[2]),
        (&["--api", "search,bulk"], &[2, 5]),
        (&["--id", "00000003,00000004-17"], &[3, 4]),
        (&["--client", "10.0.0.0/24"], &[1, 2, 3, 4, 5]),
        (&["--client", "10.0.0.7:40001"], &[]),
        (&["--slower", "3ms"], &[3, 5]),
        (&["--body", "hits"], &[1, 2, 3, 5]),
        (&["--body", "it's"], &[1]),
        (&["--since", "2026-11-21T03:45:03Z"], &[3, 4, 5]),
        (&["--until", "2026-11-21T03:45:03Z"], &[1, 2]),
        (&["--method", "POST", "--status", "5xx"], &[5]),
        (&["-n", "2"], &[4, 5]),
        (&["-n", "1", "--method", "GET"], &[2]),
        (&["-n", "0"], &[]),
    ] {
        assert_eq!(numbers(&log, filters), expected, "{filters:?}");
    }
}

#[test]
fn what_is_wrong_with_a_filter_is_said() {
    for wrong in [
        &["--status", "6x"][..],
        &["--client", "10.0.0.0/40"],
        &["--api", "serch"],
        &["--since", "+10m"],
        &["--body", ""],
        &["-n", "ten"],
        &["--from", "kafka:nowhere"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spoa-agent"));
        let output = command.arg("tail").args(wrong).output().unwrap();
        assert!(!output.status.success(), "{wrong:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn the_end_of_a_large_file_is_found_from_its_end() {
    let setup = Setup::new();
    let mut large = simple(1);
    large.request.as_mut().unwrap().body = body(&vec![b'x'; 3 << 20]);
    let mut all = vec![simple(0), large];
    all.extend((2..50).map(simple));
    let log = setup.log(&all);
    assert_eq!(numbers(&log, &["-n", "3"]), [47, 48, 49]);
    assert_eq!(numbers(&log, &["-n", "all"]), (0..50).collect::<Vec<_>>());
    assert_eq!(numbers(&log, &["--path", "/i/_doc/0"]), [0]);
}

#[test]
fn a_file_is_followed_when_it_is_rotated_and_when_it_is_cut() {
    let setup = Setup::new();
    let log = setup.log(&[simple(0), simple(1)]);
    let following = Following::start(&log, &["-n", "1"]);
    assert_eq!(following.next(), 1);
    // A line that is not whole yet.
    let whole = line(&simple(2));
    let (begin, end) = whole.split_at(20);
    append(&log, begin);
    append(&log, end);
    assert_eq!(following.next(), 2);
    // Renamed; whoever writes goes on in the old file for a while.
    std::fs::rename(&log, setup.path("log.1")).unwrap();
    append(&setup.path("log.1"), &line(&simple(3)));
    assert_eq!(following.next(), 3);
    append(&setup.path("log.1"), &line(&simple(4)));
    append(&log, &line(&simple(5)));
    assert_eq!([following.next(), following.next()], [4, 5]);
    append(&log, &line(&simple(6)));
    assert_eq!(following.next(), 6);
    // copytruncate.
    File::create(&log).unwrap();
    append(&log, &line(&simple(7)));
    assert_eq!(following.next(), 7);
}

#[test]
fn a_journal_is_followed_beside_whoever_writes_it() {
    let setup = Setup::new();
    let dir = setup.path("journal");
    let (journal, _) = Journal::open(Options::new(&dir)).unwrap();
    for number in 0..20 {
        write(&journal, &simple(number));
    }
    let gap: Half = Half::Gap(Gap {
        requests: 1,
        reason: "disk".to_owned(),
        ..Gap::default()
    });
    journal
        .append(gap.encoded_len(), |out| gap.encode(out))
        .unwrap();
    journal.try_commit();
    let following = Following::start(&dir, &["-n", "2", "--path", "/i/*"]);
    assert_eq!([following.next(), following.next()], [18, 19]);
    write(&journal, &simple(20));
    assert_eq!(following.next(), 20);
    drop(following);
    assert_eq!(numbers(&dir, &["-n", "1", "--path", "/i/*"]), [20]);
    journal.close().unwrap();
    assert_eq!(numbers(&dir, &["-n", "all", "--path", "/i/*"]).len(), 21);
}

#[test]
fn the_last_of_many_segments_are_found_without_responses_that_lost_their_requests() {
    let setup = Setup::new();
    let dir = setup.path("journal");
    let options = Options {
        segment_bytes: 64 << 10,
        ..Options::new(&dir)
    };
    let (journal, _) = Journal::open(options).unwrap();
    for number in 0..2000 {
        write(&journal, &simple(number));
    }
    journal.close().unwrap();
    assert!(journal::list(&dir).unwrap().len() > 4);
    assert_eq!(numbers(&dir, &["-n", "3"]), [1997, 1998, 1999]);
    assert_eq!(
        numbers(&dir, &["-n", "1500"]),
        (500..2000).collect::<Vec<_>>()
    );
    assert_eq!(numbers(&dir, &["--path", "/i/_doc/7"]), [7]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let setup = Setup::new();
    let log = setup.log(&(0..5000).map(simple).collect::<Vec<_>>());
    let mut child = tail(&log, &["-n", "all"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
