//! HAProxy and the agent as the children of one process, started by `supervise` or `capture-proxy`.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use tempfile::TempDir;

use super::agent::http_get;
use super::client::Client;
use super::{free_address, journal, wait_for};

/// Everything in one folder, and the addresses that were chosen.
pub(crate) struct Place {
    folder: TempDir,
    pub(crate) front: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// The running process. Killed, and with it its children, when it is dropped.
pub(crate) struct Supervised {
    pub(crate) place: Place,
    process: Child,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            front: free_address(),
            admin: free_address(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// A command of the program, with this log and without the variables of whoever runs the test.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spoa-agent"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("SPOA_AGENT_") || text.starts_with("CAPTURE_PROXY_") {
                command.env_remove(&name);
            }
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        command
    }

    /// Runs to the end.
    pub(crate) fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let status = self.command(arguments).status().unwrap();
        (status.code(), self.log())
    }

    /// Runs until told otherwise, and waits until both serve.
    pub(crate) fn start(self, arguments: &[&str]) -> Supervised {
        self.start_with(arguments, &[])
    }

    /// The same, with these environment variables.
    pub(crate) fn start_with(self, arguments: &[&str], variables: &[(&str, &str)]) -> Supervised {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        let process = command.spawn().unwrap();
        let mut supervised = Supervised {
            place: self,
            process,
        };
        supervised.wait_until_both_serve();
        supervised
    }

    /// Runs, and waits for nothing.
    pub(crate) fn launch(self, arguments: &[&str]) -> Supervised {
        let process = self.command(arguments).spawn().unwrap();
        Supervised {
            place: self,
            process,
        }
    }
}

impl Supervised {
    pub(crate) fn wait_until_both_serve(&mut self) {
        wait_for("both serve", || {
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("it ended with {status}");
            }
            drop(Client::try_connect(self.place.front).ok()?);
            self.captures().then_some(())
        });
        // HAProxy looks for the agent every 300 ms at the latest; what it passes by meanwhile is no fault.
        wait_for("the traffic is captured", || {
            let before = self.captured();
            self.get("/_probe");
            let deadline = std::time::Instant::now() + std::time::Duration::from_millis(500);
            while std::time::Instant::now() < deadline {
                if self.captured() > before {
                    return Some(());
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            None
        });
    }

    /// Whether the agent is ready.
    pub(crate) fn captures(&self) -> bool {
        http_get(self.place.admin, "/readyz").is_ok_and(|(status, _)| status == 200)
    }

    /// Halves that the running agent has captured.
    pub(crate) fn captured(&self) -> u64 {
        let Ok((200, text)) = http_get(self.place.admin, "/ledger") else {
            return 0;
        };
        let ledger: serde_json::Value = serde_json::from_str(&text).unwrap();
        ["requests", "responses"]
            .iter()
            .filter_map(|kind| ledger["capture"][kind]["captured"].as_u64())
            .sum()
    }

    /// The status of a `GET` through HAProxy, on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> u16 {
        super::client::get(self.place.front, path).map_or(0, |answer| answer.status)
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.place.front)
    }

    /// Exchanges in the journal, after the end.
    pub(crate) fn journalled(&self, dir: &Path) -> (u64, u64) {
        let kinds = journal::count_since(dir, 0);
        (kinds.requests, kinds.responses)
    }

    /// The children whose command line has `text`; zombies have none.
    pub(crate) fn children(&self, text: &str) -> Vec<u32> {
        children_of(self.process.id())
            .into_iter()
            .filter(|pid| command_line(*pid).contains(text))
            .collect()
    }

    pub(crate) fn agent(&self) -> u32 {
        wait_for("there is an agent", || {
            self.children(" run ").first().copied()
        })
    }

    pub(crate) fn haproxy(&self) -> u32 {
        wait_for("there is a haproxy", || {
            self.children(" -W ").first().copied()
        })
    }

    pub(crate) fn haproxy_worker(&self) -> u32 {
        wait_for("there is a worker", || {
            children_of(self.haproxy()).first().copied()
        })
    }

    /// Children that nobody has waited for, or would.
    pub(crate) fn zombies(&self) -> usize {
        let is_zombie = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(')')
                .next()
                .is_some_and(|rest| rest.starts_with(" Z"))
        };
        children_of(self.process.id())
            .iter()
            .filter(|pid| is_zombie(pid))
            .count()
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.process.id(), name);
    }

    /// SIGTERM, and what it ends with.
    pub(crate) fn terminate(&mut self) -> i32 {
        self.signal("TERM");
        self.wait_for_exit()
    }

    /// The exit code, or the signal as shells show it.
    pub(crate) fn wait_for_exit(&mut self) -> i32 {
        let status: ExitStatus = wait_for("it ends", || self.process.try_wait().unwrap());
        status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap())
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        if std::thread::panicking() {
            eprintln!("the log:\n{}", self.place.log());
        }
    }
}

/// `KILL`, `STOP`, `TERM` and so on.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -{name} {pid}")])
        .status();
    assert!(sent.unwrap().success());
}

pub(crate) fn is_running(pid: u32) -> bool {
    !command_line(pid).is_empty()
}

fn children_of(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

fn command_line(pid: u32) -> String {
    let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&text).replace('\0', " ")
}
