//! HAProxy as a program: where it is, how it is started, what it says, and where it listens.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, io, thread};

use anyhow::{Context as _, bail};

use super::process;

/// The file in a directory that is given as the configuration.
const FILE: &str = "haproxy.cfg";
/// The oldest branch that has what the configuration needs.
const OLDEST: (u16, u16) = (2, 6);
/// Where it is installed besides the directories of `PATH`.
const USUAL: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/opt/haproxy/sbin"];
/// A connection on this machine is there at once, or never.
const HANDSHAKE: Duration = Duration::from_millis(100);
/// Warnings that may come between one and its repetition.
const REMEMBERED: usize = 64;
/// Longer lines are logged in pieces.
const LONGEST_LINE: u64 = 16 << 10;

/// The program and its configuration.
#[derive(Debug, Clone)]
pub struct Haproxy {
    program: PathBuf,
    config: PathBuf,
}

impl Haproxy {
    /// Finds the program, and sees that it is new enough. `config` is a file, or a directory with `haproxy.cfg`.
    ///
    /// # Errors
    ///
    /// Fails when there is no HAProxy, or none that is new enough.
    pub fn find(program: Option<&Path>, config: &Path) -> anyhow::Result<Self> {
        let program = match program {
            Some(named) => named.to_owned(),
            None => installed().context(
                "haproxy is not in PATH, nor in /usr/sbin or /usr/local/sbin; install it (Debian and Ubuntu: \
                 apt-get install haproxy; Fedora, RHEL and Amazon Linux: dnf install haproxy), or name it with \
                 --haproxy",
            )?,
        };
        let branch = branch_of(&program)?;
        if branch < OLDEST {
            bail!(
                "{} is HAProxy {}.{}; install {}.{} or later, or name another with --haproxy",
                program.display(),
                branch.0,
                branch.1,
                OLDEST.0,
                OLDEST.1
            );
        }
        Ok(Self {
            program,
            config: config_file(config),
        })
    }

    /// Asks it whether it would take its configuration; what it says about it when not.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be started.
    pub fn refusal(&self) -> anyhow::Result<Option<String>> {
        let output = Command::new(&self.program)
            .args(["-c", "-f"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        if output.status.success() {
            return Ok(None);
        }
        Ok(Some(
            String::from_utf8_lossy(&output.stderr)
                .trim_end()
                .to_owned(),
        ))
    }

    /// Where its frontends listen, as far as the configuration says it in numbers; addresses of this machine
    /// for those that listen everywhere.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        addresses_in(&self.config)
    }

    /// Whether somebody takes connections where its first frontend listens.
    pub(super) fn is_listening(&self) -> bool {
        let address = self.addresses().first().copied();
        address.is_some_and(|address| TcpStream::connect_timeout(&address, HANDSHAKE).is_ok())
    }

    /// Master and worker in the foreground: the master starts workers with a new configuration on SIGUSR2,
    /// and lets them end when they have no more to do on SIGUSR1.
    pub(super) fn serve(&self) -> Command {
        self.command(&["-W", "-db", "-f"])
    }

    pub(super) fn check(&self) -> Command {
        self.command(&["-c", "-f"])
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = process::command(self.program.as_os_str());
        command.args(options).arg(&self.config);
        command
    }
}

/// Where the frontends of a configuration listen, as [`Haproxy::addresses`].
#[must_use]
pub(super) fn addresses_in(config: &Path) -> Vec<SocketAddr> {
    fs::read_to_string(config_file(config))
        .map(|text| bound(&text))
        .unwrap_or_default()
}

/// Logs what HAProxy writes, line by line, until it closes the stream: its standard error and, where its configuration
/// says so, its log, in one stream, so that their order is known.
pub(super) fn relay(stream: impl Read + Send + 'static) -> io::Result<()> {
    let work = move || {
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        let mut said = Said::default();
        while lines
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
            .is_ok_and(|length| length > 0)
        {
            let text = String::from_utf8_lossy(line.trim_ascii_end());
            if said.is_new(&text) {
                say(&text);
            }
            line.clear();
        }
    };
    let thread = thread::Builder::new().name("haproxy-log".to_owned());
    thread.spawn(work).map(drop)
}

/// The last warnings. HAProxy writes one to its standard error, with a level, and then to its log, without.
#[derive(Debug, Default)]
struct Said(VecDeque<String>);

impl Said {
    fn is_new(&mut self, line: &str) -> bool {
        let plain = |text: &str| text.replace('\'', "");
        if let Some((_level, text)) = line.split_once(" : ").filter(|_| line.starts_with('[')) {
            if self.0.len() == REMEMBERED {
                self.0.pop_front();
            }
            self.0.push_back(plain(text));
            return true;
        }
        let line = plain(line);
        let before = self.0.iter().position(|text| *text == line);
        before.and_then(|at| self.0.remove(at)).is_none()
    }
}

/// One line of HAProxy under its own level; its log to a stream has none, and what comes there is worth a look.
fn say(line: &str) {
    match line
        .split(']')
        .next()
        .and_then(|head| head.strip_prefix('['))
    {
        _ if line.is_empty() => {}
        Some("ALERT" | "EMERG") => tracing::error!(target: "haproxy", "{line}"),
        Some("WARNING") => tracing::warn!(target: "haproxy", "{line}"),
        _ => tracing::info!(target: "haproxy", "{line}"),
    }
}

fn config_file(config: &Path) -> PathBuf {
    // HAProxy would read every .cfg file of a directory, and spoe.cfg is not one of its own.
    if config.is_dir() {
        config.join(FILE)
    } else {
        config.to_owned()
    }
}

fn installed() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(USUAL.map(PathBuf::from))
        .map(|folder| folder.join("haproxy"))
        .find(|program| program.is_file())
}

fn branch_of(program: &Path) -> anyhow::Result<(u16, u16)> {
    let output = Command::new(program)
        .arg("-v")
        .stdin(Stdio::null())
        .output()
        .with_context(|| {
            format!(
                "cannot start {}; name HAProxy's program with --haproxy",
                program.display()
            )
        })?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    branch(&said).with_context(|| {
        format!(
            "{} does not tell its version; name HAProxy's program with --haproxy",
            program.display()
        )
    })
}

/// From `HAProxy version 3.0.11-1+deb13u3 2026/05/20`.
fn branch(said: &str) -> Option<(u16, u16)> {
    let (_, version) = said.split_once("version ")?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The addresses of the `bind` lines. Sockets, names and variables are passed over.
fn bound(text: &str) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("bind") {
            continue;
        }
        let written = words.next().unwrap_or_default().split(',');
        addresses.extend(written.filter_map(address));
    }
    addresses
}

fn address(written: &str) -> Option<SocketAddr> {
    let plain = ["ipv4@", "ipv6@", "tcp@", "tcp4@", "tcp6@"]
        .iter()
        .find_map(|family| written.strip_prefix(family))
        .unwrap_or(written);
    let (host, port) = plain.rsplit_once(':')?;
    // Of a range, the first.
    let port = port.split('-').next()?.parse().ok()?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let ip = match host {
        "" | "*" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.parse().ok()?,
    };
    Some(near(SocketAddr::new(ip, port)))
}

/// Where somebody on this machine reaches who listens on all addresses.
pub(super) fn near(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _one => {}
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_branch_is_read_from_what_haproxy_says() {
        assert_eq!(
            branch("HAProxy version 3.0.11-1+deb13u3 2026/05/20 - https://haproxy.org/"),
            Some((3, 0))
        );
        assert_eq!(branch("nginx"), None);
    }

    #[test]
    fn a_warning_that_comes_in_the_log_too_is_said_once() {
        let lines = [
            "[WARNING]  (37) : Server b/a is DOWN, reason: Layer4 timeout.",
            "[ALERT]    (37) : backend 'b' has no server available!",
            "Server b/a is DOWN, reason: Layer4 timeout.",
            "backend b has no server available!",
            "[NOTICE]   (35) : New worker (37) forked",
            "Server b/a is UP, reason: Layer4 check passed.",
            "[WARNING]  (37) : Server b/a is DOWN, reason: Layer4 timeout.",
            "Server b/a is DOWN, reason: Layer4 timeout.",
            "SPOE: [agent] failed",
            "SPOE: [agent] failed",
        ];
        let mut said = Said::default();
        let new: Vec<usize> = (0..lines.len())
            .filter(|at| said.is_new(lines[*at]))
            .collect();
        assert_eq!(new, [0, 1, 4, 5, 6, 8, 9]);
    }

    #[test]
    fn warnings_without_a_log_do_not_pile_up() {
        let mut said = Said::default();
        for number in 0..1000 {
            assert!(said.is_new(&format!("[WARNING]  (1) : {number}")));
        }
        assert_eq!(said.0.len(), REMEMBERED);
    }

    #[test]
    fn addresses_of_bind_lines_are_those_that_this_machine_reaches() {
        let text = "frontend a\n    bind *:9201\n  bind 10.0.0.1:80-90,[::]:81 ssl crt x\n\
                    bind unix@/run/x.sock\n bind ${PLACE}:1\n bind ipv4@127.0.0.2:82\n bind :83\n# bind *:84\n";
        let found: Vec<String> = bound(text).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "127.0.0.1:9201",
                "10.0.0.1:80",
                "[::1]:81",
                "127.0.0.2:82",
                "127.0.0.1:83"
            ]
        );
    }
}
