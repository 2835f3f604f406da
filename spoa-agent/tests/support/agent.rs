//! The agent as a process, with everything it writes in a folder of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::journal::{self, Kinds};
use super::{PATIENCE, own_host, wait_for, wait_until};

/// What to start the agent with. Defaults are the program's, except for addresses and paths.
pub(crate) struct Setup {
    folder: TempDir,
    keys: BTreeMap<String, toml::Value>,
    environment: BTreeMap<String, String>,
}

/// A running agent. Killed when it is dropped.
pub(crate) struct Agent {
    setup: Setup,
    process: Child,
    /// Where HAProxy connects: `host:port` or a path.
    spop: String,
    admin: SocketAddr,
    /// Records that the journal had when this process was started.
    base: u64,
}

impl Setup {
    /// Changes a key of the configuration.
    pub(crate) fn set(mut self, key: &str, value: impl Into<toml::Value>) -> Self {
        self.keys.insert(key.to_owned(), value.into());
        self
    }

    /// Leaves a key out again.
    pub(crate) fn without(mut self, key: &str) -> Self {
        self.keys.remove(key);
        self
    }

    /// A variable of the agent's environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sends everything to this shadow as it was captured, whatever was answered: those behind it are no
    /// search engines.
    pub(crate) fn shadow(self, url: &str) -> Self {
        self.set("shadow.url", url)
            .set("shadow.refused", "send")
            .set("shadow.ids", "generate")
    }

    /// Listens on a Unix socket in its folder.
    pub(crate) fn on_unix_socket(self) -> Self {
        let path = self.folder.path().join("spop.sock");
        let listen = vec![toml::Value::from(format!("unix:{}", path.display()))];
        self.set("server.listen", listen)
    }

    pub(crate) fn start(self) -> Agent {
        let process = launch(&self, 0);
        let mut agent = Agent {
            setup: self,
            process,
            spop: String::new(),
            admin: SocketAddr::from((own_host(), 0)),
            base: 0,
        };
        agent.get_ready(0);
        agent
    }

    fn path(&self, key: &str) -> PathBuf {
        let path = self.keys.get(key).and_then(toml::Value::as_str);
        PathBuf::from(path.unwrap())
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("agent.log")
    }
}

impl Agent {
    pub(crate) fn setup() -> Setup {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (journal, traffic_log) = (path("journal"), path("traffic.log"));
        let listen = vec![toml::Value::from(format!("{}:0", own_host()))];
        Setup {
            folder,
            keys: BTreeMap::new(),
            environment: BTreeMap::new(),
        }
        .set("server.listen", listen)
        .set("admin.listen", format!("{}:0", own_host()))
        .set("journal.dir", journal)
        .set("traffic_log.path", traffic_log)
        // HAProxy's checks are not part of most tests.
        .set("shutdown.lame_duck", "0s")
    }

    pub(crate) fn start() -> Self {
        Self::setup().start()
    }

    /// Where HAProxy connects: `host:port`, or the path of a Unix socket.
    pub(crate) fn spop(&self) -> &str {
        &self.spop
    }

    pub(crate) fn folder(&self) -> &Path {
        self.setup.folder.path()
    }

    pub(crate) fn journal_dir(&self) -> PathBuf {
        self.setup.path("journal.dir")
    }

    pub(crate) fn traffic_log(&self) -> PathBuf {
        self.setup.path("traffic_log.path")
    }

    /// Everything that the agent ever logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.setup.log_path()).unwrap()
    }

    /// Logged lines that hold `text`.
    pub(crate) fn log_lines(&self, text: &str) -> usize {
        self.log()
            .lines()
            .filter(|line| line.contains(text))
            .count()
    }

    /// Where the admin server listens.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// The body of an answer of the admin server, and its status.
    pub(crate) fn admin(&self, path: &str) -> (u16, String) {
        http_get(self.admin, path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) fn ledger(&self) -> Value {
        serde_json::from_str(&self.admin("/ledger").1).unwrap()
    }

    /// The sum of a metric over its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.admin("/metrics").1;
        let values: Vec<f64> = text
            .lines()
            .filter_map(|line| {
                let rest = line.strip_prefix(name)?;
                let rest = match rest.strip_prefix('{') {
                    Some(labels) => labels.split_once('}')?.1,
                    None => rest,
                };
                rest.strip_prefix(' ')?.parse().ok()
            })
            .collect();
        assert!(!values.is_empty(), "there is no metric {name}");
        values.iter().sum()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.admin("/readyz").0 == 200
    }

    /// Bytes of memory that are resident.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        let kilobytes = line.trim().strip_suffix(" kB").unwrap();
        kilobytes.parse::<u64>().unwrap() * 1024
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

    pub(crate) fn wait_for_exit(&mut self) -> ExitStatus {
        wait_for("the agent exits", || self.process.try_wait().unwrap())
    }

    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_for_exit()
    }

    /// After a kill or an exit: the same agent, on the same address.
    pub(crate) fn start_again(&mut self) {
        let listen = match self.spop.strip_prefix('/') {
            Some(_) => format!("unix:{}", self.spop),
            None => self.spop.clone(),
        };
        let listen = vec![toml::Value::from(listen)];
        self.setup
            .keys
            .insert("server.listen".to_owned(), listen.into());
        self.base = journal::end(&self.journal_dir());
        let logged = fs::metadata(self.setup.log_path()).unwrap().len();
        self.process = launch(&self.setup, logged);
        self.get_ready(usize::try_from(logged).unwrap());
    }

    /// Changes a key before [`Agent::start_again`].
    pub(crate) fn set(&mut self, key: &str, value: impl Into<toml::Value>) {
        self.setup.keys.insert(key.to_owned(), value.into());
    }

    /// Waits until every follower has read everything and is done with all that it read, except for
    /// halves that wait for their other half.
    pub(crate) fn wait_until_followers_caught_up(&self) {
        wait_until("the followers caught up", || {
            let ledger = self.ledger();
            for (name, follower) in ledger["followers"].as_object().unwrap() {
                let behind = follower["records"]["passed"] != ledger["journal"]["records"]
                    || follower["records"]["not_done"] != follower["waiting_for_other_half"];
                if behind || ledger["journal"]["records"] != self.captured(&ledger) {
                    return Err(format!("{name} is behind: {ledger}"));
                }
            }
            Ok(())
        });
    }

    /// Records that there must be by the account of the capture.
    fn captured(&self, ledger: &Value) -> u64 {
        let halves = ["requests", "responses"]
            .map(|kind| ledger["capture"][kind]["captured"].as_u64().unwrap());
        let gaps = journal::count_since(&self.journal_dir(), self.base).gaps;
        self.base + halves.iter().sum::<u64>() + gaps
    }

    /// Waits until it says in its log where it listens, and is ready.
    fn get_ready(&mut self, logged: usize) {
        let said = |agent: &mut Self, what: &str| {
            wait_for(what, || {
                if let Some(status) = agent.process.try_wait().unwrap() {
                    panic!("the agent ended with {status}: {}", agent.log());
                }
                address_of(agent.log().get(logged..)?, what)
            })
        };
        self.admin = said(self, "serving /metrics").parse().unwrap();
        let spop = said(self, "listening for HAProxy");
        self.spop = spop.strip_prefix("unix:").unwrap_or(&spop).to_owned();
        wait_for("the agent is ready", || self.is_ready().then_some(()));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", self.log());
        }
    }
}

/// The account is exact, whatever happened: what capture received it captured or refused, the
/// journal has what was captured, and every follower knows the fate of all it read.
pub(crate) fn assert_ledger_balances(agent: &Agent) {
    wait_until("the ledger balances", || {
        let before = journal::count_since(&agent.journal_dir(), agent.base);
        let ledger = agent.ledger();
        let found = imbalance(&ledger, &before, agent.base);
        // Halves may have come meanwhile: only an account at rest can be compared.
        found.map_or(Ok(()), |what| Err(format!("{what}: {ledger:#}")))
    });
}

fn imbalance(ledger: &Value, journal: &Kinds, base: u64) -> Option<String> {
    let mut captured = [0; 2];
    for (kind, count) in ["requests", "responses"].iter().zip(&mut captured) {
        let halves = &ledger["capture"][kind];
        *count = halves["captured"].as_u64().unwrap();
        let refused = sum(&halves["refused"]);
        if halves["received"].as_u64().unwrap() != *count + refused {
            return Some(format!("{kind}: received is not captured and refused"));
        }
    }
    let records = base + captured.iter().sum::<u64>() + journal.gaps + journal.pairs;
    if ledger["journal"]["records"].as_u64().unwrap() != records {
        return Some(format!("the journal should have {records} records"));
    }
    if journal.complete && [journal.requests, journal.responses] != captured {
        return Some(format!("the journal has {journal:?}"));
    }
    for (name, follower) in ledger["followers"].as_object().unwrap() {
        let exchanges = &follower["exchanges"];
        let known = exchanges["delivered"].as_u64().unwrap()
            + sum(&exchanges["filtered"])
            + sum(&exchanges["dropped"])
            + exchanges["in_flight"].as_u64().unwrap();
        if exchanges["read"].as_u64().unwrap() != known {
            return Some(format!("{name} does not know the fate of all it read"));
        }
        if follower["balanced"] != true {
            return Some(format!("{name} is not balanced"));
        }
        if name == "traffic_log" && follower["records"]["passed"] != ledger["journal"]["records"] {
            return Some(format!("{name} has not read everything"));
        }
    }
    None
}

pub(crate) fn sum(counts: &Value) -> u64 {
    counts
        .as_object()
        .unwrap()
        .values()
        .map(|count| count.as_u64().unwrap())
        .sum()
}

fn launch(setup: &Setup, logged: u64) -> Child {
    let config = setup.folder.path().join("config.toml");
    let text: String = setup
        .keys
        .iter()
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect();
    fs::write(&config, text).unwrap();
    let log = File::options()
        .create(true)
        .append(true)
        .open(setup.log_path())
        .unwrap();
    assert_eq!(log.metadata().unwrap().len(), logged);
    let mut command = Command::new(env!("CARGO_BIN_EXE_spoa-agent"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SPOA_AGENT_") {
            command.env_remove(name);
        }
    }
    command.envs(&setup.environment);
    command.args(["run", "--config"]).arg(&config);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// The field `address` of the line that says `what`.
fn address_of(log: &str, what: &str) -> Option<String> {
    let line = log
        .lines()
        .find(|line| line.contains(what) && line.ends_with('}'))?;
    let line: Value = serde_json::from_str(line).unwrap();
    line["address"].as_str().map(str::to_owned)
}

pub(crate) fn http_get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or(std::io::ErrorKind::InvalidData)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok((
        status.ok_or(std::io::ErrorKind::InvalidData)?,
        body.to_owned(),
    ))
}
