//! A real HAProxy with the generated configuration.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use haproxy_config::{Options, generate};
use tempfile::TempDir;

use super::client::Client;
use super::installed::Haproxy as Binary;
use super::{Agent, Origin, free_address, wait_for};

/// The longest wait for an ACK that tests of capture allow, so that a busy machine loses nothing.
pub(crate) const GENEROUS: Duration = Duration::from_secs(10);

/// A running HAProxy. Killed when it is dropped.
pub(crate) struct Haproxy {
    folder: TempDir,
    process: Child,
    address: SocketAddr,
    name: String,
}

/// Options for this agent and this node: what a user would write, and a generous time limit.
pub(crate) fn options(agent: &Agent, node: &Origin) -> Options {
    options_to(agent, node.address())
}

/// The same, for a node that is no [`Origin`].
pub(crate) fn options_to(agent: &Agent, node: SocketAddr) -> Options {
    Options {
        agent: agent.spop().parse().unwrap(),
        nodes: vec![node.to_string().parse().unwrap()],
        node_check: false,
        processing_timeout: GENEROUS,
        threads: Some(2),
        ..Options::default()
    }
}

impl Haproxy {
    /// Starts it and waits until it has found the agent.
    pub(crate) fn start(binary: &Binary, options: &Options) -> Self {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let address = free_address();
        let options = Options {
            listen: vec![address.to_string().parse().unwrap()],
            stats_socket: Some(path("stats.sock")),
            spoe_file: path("spoe.cfg"),
            ..options.clone()
        };
        let files = generate(&options).unwrap();
        fs::write(path("haproxy.cfg"), &files.haproxy_cfg).unwrap();
        fs::write(path("spoe.cfg"), &files.spoe_cfg).unwrap();
        let log = File::create(path("haproxy.log")).unwrap();
        let process = Command::new(&binary.path)
            .args(["-db", "-f", &path("haproxy.cfg")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let name = binary.path.display().to_string();
        let haproxy = Self {
            folder,
            process,
            address,
            name,
        };
        drop(Client::connect_when_up(address));
        haproxy.wait_until_agent_is("UP");
        haproxy
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Waits until HAProxy has checked that the agent is `UP` or `DOWN`.
    pub(crate) fn wait_until_agent_is(&self, state: &str) {
        wait_for(&format!("the agent is {state} for {}", self.name), || {
            let (status, check) = self.agent_state()?;
            let checked = matches!(check.as_str(), "L6OK" | "L7OK") || state == "DOWN";
            (status == state && checked).then_some(())
        });
    }

    /// The columns `status` and `check_status` of `show stat`.
    fn agent_state(&self) -> Option<(String, String)> {
        let table = self.command("show stat spoa-agent 4 -1").ok()?;
        let names: Vec<&str> = table
            .lines()
            .next()?
            .trim_start_matches("# ")
            .split(',')
            .collect();
        let row = table
            .lines()
            .find(|line| line.starts_with("spoa-agent,agent,"))?;
        let row: Vec<&str> = row.split(',').collect();
        let cell = |name: &str| {
            let column = names.iter().position(|found| *found == name)?;
            Some((*row.get(column)?).to_owned())
        };
        Some((cell("status")?, cell("check_status")?))
    }

    fn command(&self, command: &str) -> std::io::Result<String> {
        let mut stream = UnixStream::connect(self.folder.path().join("stats.sock"))?;
        writeln!(stream, "{command}")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("haproxy.log"));
            eprintln!("the log of {}:\n{}", self.name, log.unwrap_or_default());
        }
    }
}
