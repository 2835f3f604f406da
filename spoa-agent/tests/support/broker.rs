//! A real Kafka broker (`demo/broker`): one JVM, as many listeners as the test wants, killed and started again with its data.
//!
//! It takes seconds to start: tests of one binary share one where they can ([`Setup::share`]). It ends by itself
//! when the process of the test does: its standard input ends then. Where it is not installed, [`is_installed`]
//! says so, and fails where `CI=true`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use super::{free_address, own_host};

/// What to start a broker with.
pub(crate) struct Setup {
    folder: TempDir,
    listeners: BTreeMap<String, (Protocol, SocketAddr)>,
    advertised: BTreeMap<String, String>,
    users: Vec<(String, String)>,
    names: Vec<String>,
    settings: BTreeMap<String, String>,
    heap: String,
}

/// How a listener is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Plaintext,
    Tls,
    SaslPlaintext,
    SaslTls,
}

/// A running broker. Killed, with its data removed, when it is dropped.
pub(crate) struct Broker {
    setup: Setup,
    process: Child,
    /// The broker ends when this is closed.
    stdin: Option<ChildStdin>,
}

/// Whether there is a broker to start; if not, says so.
pub(crate) fn is_installed() -> bool {
    let complete = root().join(".cache/broker/complete");
    if complete.exists() {
        return true;
    }
    eprintln!("NOT TESTED with Kafka: it is not installed; scripts/setup broker does that");
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!ci, "in CI the broker must be there: see scripts/setup");
    false
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self {
            folder: TempDir::with_prefix("broker-").unwrap(),
            listeners: BTreeMap::new(),
            advertised: BTreeMap::new(),
            users: Vec::new(),
            names: vec![own_host().to_string(), "localhost".to_owned()],
            settings: BTreeMap::new(),
            heap: "256m".to_owned(),
        }
    }

    /// Listens on a port of its own, and advertises that.
    pub(crate) fn listener(mut self, name: &str, protocol: Protocol) -> Self {
        let address = free_address();
        self.listeners.insert(name.to_owned(), (protocol, address));
        self
    }

    /// What this listener says of itself, `host:port`, instead of where it is.
    pub(crate) fn advertised(mut self, name: &str, address: impl Into<String>) -> Self {
        self.advertised.insert(name.to_owned(), address.into());
        self
    }

    /// For PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512.
    pub(crate) fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.to_owned(), password.to_owned()));
        self
    }

    /// A name that the certificate has besides the address and `localhost`.
    pub(crate) fn certified(mut self, name: &str) -> Self {
        self.names.push(name.to_owned());
        self
    }

    /// A setting of the broker (`message.max.bytes`), or an argument of `demo/broker/run`.
    pub(crate) fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        self.settings.insert(key.to_owned(), value.into());
        self
    }

    pub(crate) fn heap(mut self, size: &str) -> Self {
        size.clone_into(&mut self.heap);
        self
    }

    /// What goes with the broker; a test may put files there.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where this listener will be.
    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        self.listeners[name].1
    }

    /// Returns when it serves clients.
    pub(crate) fn start(self) -> Broker {
        self.make_certificates();
        let users: String = self
            .users
            .iter()
            .map(|(name, password)| format!("{name}:{password}\n"))
            .collect();
        fs::write(self.path("users"), users).unwrap();
        let (process, stdin) = launch(&self);
        Broker {
            setup: self,
            process,
            stdin: Some(stdin),
        }
    }

    /// Starts one for a static variable, which is never dropped: it ends with the process, and removes its folder itself.
    pub(crate) fn share(self) -> Broker {
        let folder = self.folder.path().to_str().unwrap().to_owned();
        let mut broker = self.set("remove", folder).start();
        broker.setup.folder.disable_cleanup(true);
        broker
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn make_certificates(&self) {
        let made = Command::new(root().join("demo/broker/certificates"))
            .arg(self.path("certificates"))
            .args(&self.names)
            .status()
            .unwrap();
        assert!(made.success());
    }

    fn arguments(&self) -> Vec<String> {
        let joined = |entries: Vec<String>| entries.join(",");
        let listeners = self.listeners.iter();
        let bound = listeners
            .clone()
            .map(|(name, (_, address))| format!("{name}://{address}"));
        let protocols =
            listeners.map(|(name, (protocol, _))| format!("{name}:{}", protocol.word()));
        let advertised = self
            .advertised
            .iter()
            .map(|(name, address)| format!("{name}://{address}"));
        let mut arguments = vec![
            format!("data={}", self.path("data").display()),
            format!("users={}", self.path("users").display()),
            format!("certificates={}", self.path("certificates").display()),
            format!("listeners={}", joined(bound.collect())),
            format!(
                "listener.security.protocol.map={}",
                joined(protocols.collect())
            ),
            format!("advertised.listeners={}", joined(advertised.collect())),
        ];
        arguments.extend(
            self.settings
                .iter()
                .map(|(key, value)| format!("{key}={value}")),
        );
        arguments
    }
}

impl Protocol {
    fn word(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Tls => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslTls => "SASL_SSL",
        }
    }
}

impl Broker {
    /// A plaintext listener alone. `None`, said aloud, where no broker is installed.
    pub(crate) fn plaintext() -> Option<Self> {
        is_installed().then(|| {
            Setup::new()
                .listener("CLIENTS", Protocol::Plaintext)
                .start()
        })
    }

    /// Where the listener is, whatever it advertises.
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        self.setup.address(listener)
    }

    /// The address of the only listener.
    pub(crate) fn bootstrap(&self) -> String {
        let (_, address) = self.setup.listeners.values().next().unwrap();
        assert_eq!(self.setup.listeners.len(), 1, "which listener?");
        address.to_string()
    }

    /// `ca.pem`, `client.pem`, `client.key` or `other-ca.pem`.
    pub(crate) fn certificate(&self, file: &str) -> PathBuf {
        self.setup.path("certificates").join(file)
    }

    /// What the broker wrote to its standard error.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.setup.path("log")).unwrap()
    }

    /// `STOP`, `CONT` or `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.process.id());
        let sent = Command::new("sh").args(["-c", &command]).status();
        assert!(sent.unwrap().success());
    }

    /// SIGKILL, and gone.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Ends in order.
    pub(crate) fn stop(&mut self) {
        drop(self.stdin.take());
        self.process.wait().unwrap();
    }

    /// After a kill or a stop: the same broker, with its data, on the same addresses.
    pub(crate) fn start_again(&mut self) {
        let (process, stdin) = launch(&self.setup);
        self.process = process;
        self.stdin = Some(stdin);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        if std::thread::panicking() {
            eprintln!("the broker's log:\n{}", self.log());
        }
    }
}

/// Returns when it says that it is ready.
fn launch(setup: &Setup) -> (Child, ChildStdin) {
    let began = Instant::now();
    let log = File::options()
        .create(true)
        .append(true)
        .open(setup.path("log"))
        .unwrap();
    let mut process = Command::new(root().join("demo/broker/run"))
        .args(setup.arguments())
        .env("BROKER_HEAP", &setup.heap)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let stdin = process.stdin.take().unwrap();
    let mut said = String::new();
    BufReader::new(process.stdout.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    if !said.starts_with("ready ") {
        let log = fs::read_to_string(setup.path("log")).unwrap();
        panic!("the broker did not start: {said}{log}");
    }
    eprintln!("a broker serves after {:.1?}", began.elapsed());
    (process, stdin)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
