//! Addresses as people write them, and as HAProxy wants them. Everything is found out while
//! parsing: an address that exists cannot break a configuration line.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::problem::Problem;

/// The longest path that fits in a Unix socket address (`sun_path` on Linux has 108 bytes, one
/// of them for the end).
pub(crate) const MAX_SOCKET_PATH: usize = 107;
/// The longest host name in DNS, in text form.
const MAX_HOST_NAME: usize = 253;
/// The longest label of a host name.
const MAX_LABEL: usize = 63;

const LOOPBACK: Host = Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST));

/// A host: an IP address, or a name (in lower case) that HAProxy resolves when it starts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    Ip(IpAddr),
    Name(String),
}

impl Host {
    /// Whether this is the machine that HAProxy runs on, as far as the text tells.
    pub(crate) fn is_loopback(&self) -> bool {
        match self {
            Self::Ip(ip) => ip.is_loopback(),
            Self::Name(name) => name == "localhost",
        }
    }

    /// The name, unless it is an address.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Ip(_) => None,
            Self::Name(name) => Some(name),
        }
    }

    fn parse(thing: &'static str, whole: &str, text: &str) -> Result<Self, Problem> {
        if let Some(inner) = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            return match inner.parse::<Ipv6Addr>() {
                Ok(ip) => Ok(Self::Ip(IpAddr::V6(ip))),
                Err(_) => Err(malformed(
                    thing,
                    whole,
                    "the brackets do not hold an IPv6 address",
                )),
            };
        }
        if text.contains(':') {
            return Err(malformed(
                thing,
                whole,
                "an IPv6 address needs brackets around it",
            ));
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::Ip(ip));
        }
        host_name(thing, whole, text)
    }
}

/// The host as HAProxy takes it in front of a port: IPv6 in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Where the frontend listens: `9200`, `*:9200`, `10.0.0.1:9200` or `[::]:9200`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listen {
    /// The address; none means every IPv4 address.
    host: Option<IpAddr>,
    port: u16,
}

impl Listen {
    /// A port of every IPv4 address.
    pub(crate) const fn on_port(port: u16) -> Self {
        Self { host: None, port }
    }

    /// Whether a connection from this machine to `host:port` would arrive here.
    pub(crate) fn takes(&self, host: &Host, port: u16) -> bool {
        if self.port != port {
            return false;
        }
        match (self.host, host) {
            (None, host) => host.is_loopback(),
            (Some(own), host) if own.is_unspecified() => host.is_loopback(),
            (Some(own), Host::Ip(ip)) => own == *ip,
            (Some(own), Host::Name(_)) => own.is_loopback() && host.is_loopback(),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            None => write!(f, "*:{}", self.port),
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:{}", self.port),
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
        }
    }
}

impl FromStr for Listen {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        const THING: &str = "listen address";
        let (host, port) = match split_port(text) {
            Some((host, port)) => (host, port),
            None => ("*", text),
        };
        let port = parse_port(THING, text, port)?;
        if host.is_empty() || host == "*" {
            return Ok(Self { host: None, port });
        }
        match Host::parse(THING, text, host)? {
            Host::Ip(ip) => Ok(Self {
                host: Some(ip),
                port,
            }),
            Host::Name(_) => Err(malformed(
                THING,
                text,
                "a name is not an address to listen on",
            )),
        }
    }
}

/// A node of the cluster: `host:port`, `http://host:port` or `https://host:port`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    host: Host,
    port: u16,
    tls: bool,
}

impl Node {
    pub(crate) const fn on_this_machine(port: u16) -> Self {
        Self {
            host: LOOPBACK,
            port,
            tls: false,
        }
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether HAProxy speaks TLS to the node.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The server name in HAProxy, and so in the messages' `srv`: the address, without the
    /// brackets, which HAProxy does not allow in names. Different nodes have different names.
    pub(crate) fn server_name(&self) -> String {
        match &self.host {
            Host::Ip(ip) => format!("{ip}:{}", self.port),
            Host::Name(name) => format!("{name}:{}", self.port),
        }
    }

    /// The address as HAProxy takes it.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https://" } else { "" };
        write!(f, "{scheme}{}:{}", self.host, self.port)
    }
}

impl FromStr for Node {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        const THING: &str = "node";
        let (tls, rest) = match text.split_once("://") {
            None => (false, text),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some(_) => return Err(malformed(THING, text, "the scheme is not http or https")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err(malformed(
                THING,
                text,
                "credentials belong to the clients' requests",
            ));
        }
        if rest.contains(['/', '?', '#']) {
            return Err(malformed(
                THING,
                text,
                "a path cannot be put before every request's",
            ));
        }
        let Some((host, port)) = split_port(rest) else {
            return Err(malformed(THING, text, "the port is missing"));
        };
        let port = parse_port(THING, text, port)?;
        Ok(Self {
            host: Host::parse(THING, text, host)?,
            port,
            tls,
        })
    }
}

/// Where the agent listens for HAProxy: `host:port`, or the path of a Unix socket
/// (`/run/spoa-agent/spop.sock`, with or without `unix:` before it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentAddress(Agent);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Agent {
    Tcp(Host, u16),
    Unix(String),
}

impl AgentAddress {
    pub(crate) const fn on_this_machine(port: u16) -> Self {
        Self(Agent::Tcp(LOOPBACK, port))
    }

    /// The host and the port, unless it is a Unix socket.
    pub(crate) fn tcp(&self) -> Option<(&Host, u16)> {
        match &self.0 {
            Agent::Tcp(host, port) => Some((host, *port)),
            Agent::Unix(_) => None,
        }
    }
}

/// The address as HAProxy takes it.
impl fmt::Display for AgentAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Agent::Tcp(host, port) => write!(f, "{host}:{port}"),
            Agent::Unix(path) => write!(f, "unix@{path}"),
        }
    }
}

impl FromStr for AgentAddress {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        const THING: &str = "agent address";
        if let Some(path) = socket_path(text) {
            check_socket_path(THING, path)?;
            return Ok(Self(Agent::Unix(path.to_owned())));
        }
        let Some((host, port)) = split_port(text) else {
            return Err(malformed(THING, text, "the port is missing"));
        };
        let port = parse_port(THING, text, port)?;
        Ok(Self(Agent::Tcp(Host::parse(THING, text, host)?, port)))
    }
}

/// Where HAProxy's own log goes: `off`, `stdout`, `stderr`, a syslog server's `host:port`, or
/// the path of its socket (`/dev/log`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTarget(Log);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Log {
    Off,
    Stdout,
    Stderr,
    Syslog(Host, u16),
    Socket(String),
}

impl LogTarget {
    /// Writes to the standard output, which is what a supervisor or a container collects.
    pub const STDOUT: Self = Self(Log::Stdout);

    /// The words after `log`, or none if nothing is logged.
    pub(crate) fn words(&self) -> Option<String> {
        match &self.0 {
            Log::Off => None,
            Log::Stdout => Some("stdout format raw".to_owned()),
            Log::Stderr => Some("stderr format raw".to_owned()),
            Log::Syslog(host, port) => Some(format!("{host}:{port} format rfc3164")),
            Log::Socket(path) => Some(format!("{path} format rfc3164")),
        }
    }
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Log::Off => f.write_str("off"),
            Log::Stdout => f.write_str("stdout"),
            Log::Stderr => f.write_str("stderr"),
            Log::Syslog(host, port) => write!(f, "{host}:{port}"),
            Log::Socket(path) => f.write_str(path),
        }
    }
}

impl FromStr for LogTarget {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        const THING: &str = "log target";
        match text {
            "off" => return Ok(Self(Log::Off)),
            "stdout" => return Ok(Self(Log::Stdout)),
            "stderr" => return Ok(Self(Log::Stderr)),
            _ => {}
        }
        if let Some(path) = socket_path(text) {
            check_socket_path(THING, path)?;
            return Ok(Self(Log::Socket(path.to_owned())));
        }
        let Some((host, port)) = split_port(text) else {
            return Err(Problem::UnknownWord {
                thing: THING,
                value: text.to_owned(),
                known: "off, stdout, stderr, host:port or the path of a socket",
            });
        };
        let port = parse_port(THING, text, port)?;
        Ok(Self(Log::Syslog(Host::parse(THING, text, host)?, port)))
    }
}

/// Refuses a path that HAProxy would read as something else.
///
/// Spaces and quotes could be escaped, but no two tools that pass a configuration on agree how;
/// a path without them needs no such agreement.
pub(crate) fn check_path(thing: &'static str, path: &str) -> Result<(), Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@,~".contains(c);
    if let Some(found) = path.chars().find(|c| !plain(*c)) {
        return Err(Problem::ForbiddenCharacter {
            thing,
            value: shortened(path),
            found,
            allowed: "letters, digits and / . _ - + = : @ , ~",
        });
    }
    if path.is_empty() {
        return Err(malformed(thing, path, "it is empty"));
    }
    Ok(())
}

/// The text, or its beginning where the whole would drown the message.
pub(crate) fn shortened(text: &str) -> String {
    const SHOWN: usize = 120;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain("...".chars()).collect()
}

fn socket_path(text: &str) -> Option<&str> {
    if text.starts_with('/') {
        return Some(text);
    }
    text.strip_prefix("unix:")
        .or_else(|| text.strip_prefix("unix@"))
}

pub(crate) fn check_socket_path(thing: &'static str, path: &str) -> Result<(), Problem> {
    if !path.starts_with('/') {
        return Err(malformed(
            thing,
            path,
            "the path of a socket must be absolute",
        ));
    }
    if path.len() > MAX_SOCKET_PATH {
        return Err(Problem::TooLong {
            thing,
            value: shortened(path),
            length: path.len(),
            limit: MAX_SOCKET_PATH,
        });
    }
    check_path(thing, path)
}

/// Splits at the colon before the port; none if there is no port, as in `name` or `[::1]`.
fn split_port(text: &str) -> Option<(&str, &str)> {
    if text.ends_with(']') {
        return None;
    }
    text.rsplit_once(':')
}

fn parse_port(thing: &'static str, whole: &str, text: &str) -> Result<u16, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => Err(malformed(
            thing,
            whole,
            "the port is not a number from 1 to 65535",
        )),
    }
}

fn host_name(thing: &'static str, whole: &str, text: &str) -> Result<Host, Problem> {
    if text.is_empty() {
        return Err(malformed(thing, whole, "the host is missing"));
    }
    if text.len() > MAX_HOST_NAME {
        return Err(Problem::TooLong {
            thing,
            value: shortened(whole),
            length: text.len(),
            limit: MAX_HOST_NAME,
        });
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if let Some(found) = text.chars().find(|c| !plain(*c)) {
        return Err(Problem::ForbiddenCharacter {
            thing,
            value: shortened(whole),
            found,
            allowed: "letters, digits and . _ -",
        });
    }
    let label_fits =
        |label: &str| !label.is_empty() && label.len() <= MAX_LABEL && !label.starts_with('-');
    if !text
        .strip_suffix('.')
        .unwrap_or(text)
        .split('.')
        .all(label_fits)
    {
        return Err(malformed(
            thing,
            whole,
            "the host is neither an IP address nor a host name",
        ));
    }
    // Only digits and dots, and yet no IPv4 address: a typing error, which the resolver would
    // read as an old notation of some other address.
    if text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return Err(malformed(thing, whole, "the IPv4 address is not one"));
    }
    Ok(Host::Name(text.to_ascii_lowercase()))
}

fn malformed(thing: &'static str, value: &str, why: &'static str) -> Problem {
    let expected = match thing {
        "listen address" => "9200, *:9200, 10.0.0.1:9200 or [::]:9200",
        "node" => "10.0.0.1:9200, [2001:db8::1]:9200 or https://name:9200",
        "agent address" => "127.0.0.1:12345, [::1]:12345 or /run/spoa-agent/spop.sock",
        "log target" => "off, stdout, stderr, 127.0.0.1:514 or /dev/log",
        _ => "a path without spaces, such as /etc/haproxy/spoe.cfg",
    };
    Problem::Malformed {
        thing,
        value: shortened(value),
        why,
        expected,
    }
}
