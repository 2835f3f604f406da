//! The captured target is the node's target, byte for byte: each odd one goes through a real
//! HAProxy with the generated text, to a node that compares.
//!
//! The agent is not needed for this, and away. The one line that the test adds shows what the
//! messages would call `pq`, in a header.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are tests; clippy's own exception knows functions marked #[test] only"
)]

mod installed;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use haproxy_config::{Options, generate};
use installed::{Haproxy, binaries};

/// Long enough for a busy machine; only a failure takes it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running HAProxy between a client and a node, both on Unix sockets.
struct Relay {
    process: Child,
    front: PathBuf,
    node: UnixListener,
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Relay {
    fn start(haproxy: &Haproxy, folder: &Path) -> Self {
        let front = folder.join("front.sock");
        let node_path = folder.join("node.sock");
        let node = UnixListener::bind(&node_path).unwrap();
        let options = Options {
            agent: folder
                .join("no-agent.sock")
                .to_str()
                .unwrap()
                .parse()
                .unwrap(),
            spoe_file: folder.join("spoe.cfg").to_str().unwrap().to_owned(),
            log: "off".parse().unwrap(),
            node_check: false,
            ..Options::default()
        };
        let files = generate(&options).unwrap();
        let text = files
            .haproxy_cfg
            .replace("bind *:9201", &format!("bind unix@{}", front.display()))
            .replace(
                " 127.0.0.1:9200\n",
                &format!(" unix@{}\n", node_path.display()),
            );
        // After all rules that set the target.
        let place = "    acl conversation ";
        let shown = "    http-request set-header x-target %[var(txn.target),hex]\n";
        let text = text.replacen(place, &format!("{shown}{place}"), 1);
        fs::write(folder.join("haproxy.cfg"), text).unwrap();
        fs::write(folder.join("spoe.cfg"), files.spoe_cfg).unwrap();
        let process = Command::new(&haproxy.path)
            .args(["-db", "-f"])
            .arg(folder.join("haproxy.cfg"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let relay = Self {
            process,
            front,
            node,
        };
        relay.connect();
        relay
    }

    /// A client's connection; waits until HAProxy has opened its socket.
    fn connect(&self) -> UnixStream {
        let end = Instant::now() + PATIENCE;
        loop {
            match UnixStream::connect(&self.front) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    return stream;
                }
                Err(error) if Instant::now() > end => panic!("haproxy does not listen: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Sends a request, and returns the target at the node and the captured one.
    fn pass(&self, request: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut client = self.connect();
        client.write_all(request).unwrap();
        let (stream, _) = self.node.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line).unwrap();
        let target = line.split(|byte| *byte == b' ').nth(1).unwrap().to_vec();
        let mut captured = None;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(hex) = line.strip_prefix("x-target: ") {
                captured = Some(unhex(hex.trim_end()));
            }
            if line.trim_end().is_empty() {
                break;
            }
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        reader.get_mut().write_all(answer).unwrap();
        // HAProxy is done with the node's connection before the next request comes.
        client.read_exact(&mut [0; 9]).unwrap();
        (
            target,
            captured.expect("the line that the test added shows the captured target"),
        )
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap();
    text.as_bytes()
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |value, byte| value * 16 + digit(byte)))
        .map(|value| u8::try_from(value).unwrap())
        .collect()
}

fn http1(method: &str, target: &[u8]) -> Vec<u8> {
    [
        method.as_bytes(),
        b" ",
        target,
        b" HTTP/1.1\r\nhost: h:81\r\n\r\n",
    ]
    .concat()
}

/// An HTTP/2 connection with one request: preface, SETTINGS, HEADERS (RFC 9113), all header
/// fields as literals without a table (RFC 7541, 6.2.2).
fn http2(method: &str, path: &[u8]) -> Vec<u8> {
    let mut fields = Vec::new();
    let request: [(&[u8], &[u8]); 4] = [
        (b":method", method.as_bytes()),
        (b":scheme", b"http"),
        (b":authority", b"h:81"),
        (b":path", path),
    ];
    for (name, value) in request {
        fields.push(0);
        for text in [name, value] {
            fields.push(u8::try_from(text.len()).unwrap());
            fields.extend_from_slice(text);
        }
    }
    const END_STREAM_AND_HEADERS: u8 = 0x5;
    let length = u8::try_from(fields.len()).unwrap();
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(),
        &[0, 0, 0, 4, 0, 0, 0, 0, 0],
        &[0, 0, length, 1, END_STREAM_AND_HEADERS, 0, 0, 0, 1],
        &fields,
    ]
    .concat()
}

#[test]
fn the_captured_target_is_the_nodes_target() {
    let long = [b"/".as_slice(), &b"p".repeat(65_536)].concat();
    let odd: [&[u8]; 17] = [
        b"/",
        b"//",
        b"//a//b",
        b"/../x",
        b"/a/../b/./c",
        b"/%2e%2E/%2f",
        b"/a|b",
        b"/{x}",
        b"/\"q\"",
        b"/a\\b",
        b"/^`<>",
        b"/a;b=c",
        b"/a?",
        b"/?",
        b"/a?b=c&d",
        b"/a?b?c=/d",
        b"/a?x=http://h/y",
    ];
    for haproxy in binaries() {
        let folder = tempfile::tempdir().unwrap();
        let relay = Relay::start(&haproxy, folder.path());
        let same = |request: Vec<u8>, target: &[u8]| {
            let (at_node, captured) = relay.pass(&request);
            let shown = String::from_utf8_lossy(target).into_owned();
            assert_eq!(at_node, captured, "{shown} with {}", haproxy.path.display());
            assert_eq!(at_node, target, "{shown} with {}", haproxy.path.display());
        };
        for target in odd {
            same(http1("GET", target), target);
            same(http2("GET", target), target);
        }
        same(http1("GET", &long), &long);
        same(http1("OPTIONS", b"*"), b"*");
        same(http1("GET", b"http://h:81/x?y"), b"http://h:81/x?y");
        same(http1("GET", b"HTTP://h:81//x/../y"), b"HTTP://h:81//x/../y");
        // What HAProxy changes on the way is captured as changed.
        for request in [
            http1("GET", b"http://h:81"),
            http1("OPTIONS", b"http://h:81"),
            http2("OPTIONS", b"*"),
        ] {
            let (at_node, captured) = relay.pass(&request);
            assert_eq!(at_node, captured, "with {}", haproxy.path.display());
        }
    }
}
