//! The program as a shell sees it: what it says where, and its exit codes.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails has failed its test"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

fn spoa_agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spoa-agent"));
    let ours =
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SPOA_AGENT_"));
    for (name, _) in ours {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

fn output(arguments: &[&str]) -> Output {
    spoa_agent(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn config(dir: &Path, text: &str) -> String {
    let path = dir.join("config.toml");
    std::fs::write(&path, text).unwrap();
    path.into_os_string().into_string().unwrap()
}

#[test]
fn an_agent_that_cannot_listen_is_never_said_to_be_ready() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let journal = dir.path().join("journal");
    let output = output(&[
        "run",
        "--server-listen",
        &address,
        "--admin-listen",
        "127.0.0.1:0",
        "--journal-dir",
        journal.to_str().unwrap(),
    ]);
    assert!(!output.status.success());
    let said = stderr(&output);
    assert!(said.contains(&address), "{said}");
    // Nobody could have asked /readyz.
    assert!(!said.contains("serving /metrics"), "{said}");
}

#[test]
fn a_wrong_configuration_is_told_line_by_line_on_the_standard_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = config(
        dir.path(),
        "[journal]\nsegmnt_size = \"64MiB\"\nack = \"fsync\"\n",
    );
    let mut command = spoa_agent(&["run", "--config", &file, "--shutdown-deadline", "10"]);
    let output = command
        .env("SPOA_AGENT_SHADOW_URI", "http://x")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert_eq!(
        stderr(&output),
        format!(
            "{file}:2: journal.segmnt_size: unknown key; did you mean journal.segment_size?\n\
             {file}:3: journal.ack = \"fsync\": is not one of the choices; write append or write or sync\n\
             env SPOA_AGENT_SHADOW_URI: unknown variable; did you mean SPOA_AGENT_SHADOW_URL?\n\
             flag --shutdown-deadline: shutdown.deadline = \"10\": has no unit; write 10s or 10ms\n"
        )
    );
}

#[test]
fn help_and_version_are_no_errors_and_a_wrong_argument_is() {
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["run", "--help"],
        &["help", "journal"],
    ] {
        let output = output(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(
            !output.stdout.is_empty() && output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
    for arguments in [
        &[][..],
        &["fly"],
        &["run", "--fly"],
        &["journal", "cat", "--from", "here"],
    ] {
        let output = output(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_journal_that_is_not_there_is_a_failure_that_names_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let output = output(&["journal", "ls", "--journal-dir", missing.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.starts_with("spoa-agent: cannot list"), "{said}");
    assert_eq!(said.matches("No such file").count(), 1, "{said}");
}

/// A dead letter about `PUT target`, as a line of the file.
fn letter(number: u64, target: &'static str, primary: u16) -> Vec<u8> {
    let dropped = exchange::Dropped {
        reason: if target == "/scroll" {
            "unmappable"
        } else {
            "poison"
        }
        .into(),
        cause: "closed".into(),
    };
    let pair = exchange::Pair {
        dropped: Some(dropped),
        request: exchange::Request {
            method: bytes::Bytes::from_static(b"PUT"),
            target: bytes::Bytes::from_static(b"/captured"),
            body: exchange::Body::observed(bytes::Bytes::from_static(b"{}"), true, None),
            ..exchange::Request::default()
        },
        rewritten: Some(exchange::Rewritten {
            target: Some(bytes::Bytes::from_static(target.as_bytes())),
            ..exchange::Rewritten::default()
        }),
        primary: Some(exchange::Response {
            status: primary,
            ..exchange::Response::default()
        }),
        ..exchange::Pair::default()
    };
    let name = exchange::json::PairName::Letter { number, time_us: 0 };
    let mut line = Vec::new();
    exchange::json::write_pair(&pair, name, Default::default(), &mut line);
    line
}

/// A server that answers `/x` with the status that `status` says, and remembers the request lines.
fn server(status: fn(&str) -> u16) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), status, &lines).unwrap_or_default();
        }
    });
    (address, heard)
}

fn answer(
    stream: TcpStream,
    status: fn(&str) -> u16,
    heard: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut input = BufReader::new(&stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if input.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let mut body = [0; 2];
    if head.starts_with("PUT") {
        input.read_exact(&mut body)?;
    }
    let line = head.lines().next().unwrap_or_default().to_owned();
    let target = line.split(' ').nth(1).unwrap_or_default();
    let status = status(target);
    heard.lock().unwrap().push(line);
    let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    (&stream).write_all(answer.as_bytes())
}

#[test]
fn dead_letters_are_sent_again_in_order_as_they_were_sent_and_those_delivered_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dead");
    let letters = [
        letter(1, "/taken", 200),
        letter(2, "/refused", 200),
        letter(3, "/gone", 404),
        letter(5, "/scroll", 200),
        letter(7, "/taken-too", 201),
    ];
    std::fs::write(&path, letters.concat()).unwrap();
    let (address, heard) = server(|target| match target {
        "/refused" => 400,
        "/gone" => 404,
        _ => 200,
    });
    let (to, file) = (format!("http://{address}"), path.to_str().unwrap());
    let output = output(&["dead-letter", "retry", "--all", "--to", &to, "--file", file]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    let last = "3 delivered and removed, 2 not delivered\n";
    for part in [
        "1  delivered: 200",
        "2  NOT delivered: status 400",
        "5  NOT delivered: unmappable",
        last,
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let sent: Vec<String> = heard.lock().unwrap().clone();
    let expected = ["/taken", "/refused", "/gone", "/taken-too"];
    assert_eq!(
        sent,
        expected.map(|target| format!("PUT {target} HTTP/1.1"))
    );
    let left = std::fs::read(&path).unwrap();
    assert_eq!(left, [letters[1].clone(), letters[3].clone()].concat());
}

#[test]
fn a_number_that_is_not_there_and_a_shadow_that_is_down_leave_every_letter_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dead");
    let letters = [letter(1, "/a", 200), letter(2, "/b", 200)].concat();
    std::fs::write(&path, &letters).unwrap();
    let file = path.to_str().unwrap();
    let down = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let to = format!("http://{down}");
    let retry = |arguments: &[&str]| {
        let all = ["dead-letter", "retry", "--file", file];
        output(&[&all[..], arguments].concat())
    };
    let wrong = retry(&["1", "9", "--to", &to]);
    assert_eq!(stderr(&wrong), "spoa-agent: there is no dead letter 9\n");
    let down = retry(&["--all", "--to", &to, "--timeout", "300ms"]);
    assert_eq!(down.status.code(), Some(1));
    let said = String::from_utf8(down.stdout).unwrap();
    assert!(said.contains("no answer within 300ms"), "{said}");
    assert!(said.contains("later letters were not sent"), "{said}");
    let nowhere = retry(&["--all"]);
    assert!(stderr(&nowhere).contains("name the shadow with --to"));
    assert_eq!(std::fs::read(&path).unwrap(), letters);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = spoa_agent(&["man"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stderr(&output), "");
}
