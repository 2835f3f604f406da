//! `spoa-agent haproxy-config`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueHint;
use haproxy_config::{
    AgentAddress, Files, Hold, Listen, LogTarget, Node, Options, ROOM_FOR_HEADERS, Role, SetHeader,
    SkipCapture, TargetVersion, generate,
};

use super::exit::Exit;
use crate::config::{duration, show_duration, show_size, size};

/// Print HAProxy's configuration for capturing, or write it to a directory
///
/// Prints haproxy.cfg and spoe.cfg. Every option that HAProxy would refuse is refused here, with all
/// mistakes at once.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  spoa-agent haproxy-config --node 10.0.0.1:9200 --node '[2001:db8::1]:9200' --out /etc/haproxy
  spoa-agent haproxy-config --node https://es1:9200 --node-ca-file /etc/ssl/es.pem --hold open
  spoa-agent haproxy-config --role shadow --listen 9301 --node 10.0.1.1:9200 --only haproxy
  spoa-agent haproxy-config --agent unix@/run/spoa-agent/spop.sock --haproxy-version 3.2

Exit codes: 0 written, 1 a file could not be written, 2 an option is wrong.")]
pub(super) struct Args {
    /// Which side of the mirror HAProxy is on: primary or shadow
    #[arg(long, value_name = "ROLE", help_heading = "Side")]
    role: Option<Role>,
    /// Where clients connect in clear text: a port, or address:port; may be repeated
    #[arg(long, value_name = "ADDRESS", help_heading = "Clients")]
    listen: Vec<Listen>,
    /// Where clients connect with TLS; needs --certificate; may be repeated
    #[arg(long, value_name = "ADDRESS", help_heading = "Clients")]
    tls_listen: Vec<Listen>,
    /// PEM file with certificate and key, or a directory of such files
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, help_heading = "Clients")]
    certificate: Option<String>,
    /// Whose certificates clients may show: a PEM file; needs --tls-listen
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Clients")]
    client_ca_file: Option<String>,
    /// Refuse clients without a certificate
    #[arg(long, help_heading = "Clients")]
    require_client_certificate: bool,
    /// A node of the cluster: host:port (IPv6 in brackets) or https://host:port; may be repeated
    #[arg(long, value_name = "NODE", help_heading = "Nodes")]
    node: Vec<Node>,
    /// Whose certificates https nodes are verified with: a PEM file, or @system-ca
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Nodes")]
    node_ca_file: Option<String>,
    /// Take any certificate from https nodes; for tests only
    #[arg(long, help_heading = "Nodes")]
    node_tls_insecure: bool,
    /// Ask the DNS servers for nodes' names again and again, not only at the start; for full names that DNS knows
    #[arg(long, help_heading = "Nodes")]
    resolve_nodes: bool,
    /// Do not check that nodes accept connections
    #[arg(long, help_heading = "Nodes")]
    no_node_check: bool,
    /// End the client's connection when a node cannot be reached, as the node would, instead of answering 502 to 504
    #[arg(long, help_heading = "Nodes")]
    pass_node_failures: bool,
    /// A header for requests on their way to the node, which the capture does not have: NAME:VALUE; may be repeated
    #[arg(long, value_name = "HEADER", help_heading = "Nodes")]
    set_header: Vec<SetHeader>,
    /// Where the agent listens: host:port or unix@/path
    #[arg(long, value_name = "ADDRESS", help_heading = "Capture")]
    agent: Option<AgentAddress>,
    /// Whether writes wait until they are durable: off, open (go on when time is up) or closed (503 then)
    #[arg(long, value_name = "MODE", help_heading = "Capture")]
    hold: Option<Hold>,
    /// One more endpoint that only reads although it is called with POST, such as _my_search; may be repeated
    #[arg(long, value_name = "PATH", help_heading = "Capture")]
    read: Vec<String>,
    /// Requests that are neither captured nor held: method=REGEX, target=REGEX, line=REGEX (method, space and
    /// target) or header=NAME:REGEX, each matching the whole; may be repeated
    #[arg(long, value_name = "CONDITION", help_heading = "Capture")]
    skip_capture: Vec<SkipCapture>,
    /// Largest body that is captured whole; HAProxy's buffers are that large
    #[arg(long, value_name = "SIZE", value_parser = read_body_limit, help_heading = "Capture")]
    body_limit: Option<u32>,
    /// The longest that a client waits for the agent's ACK, per message
    #[arg(long, value_name = "DURATION", value_parser = read_duration, help_heading = "Capture")]
    processing_timeout: Option<Duration>,
    /// The longest that a held write waits: above the agent's `capture.hold_deadline`, or its `kafka.hold_deadline`
    /// with `capture.hold = kafka`
    #[arg(long, value_name = "DURATION", value_parser = read_duration, help_heading = "Capture")]
    hold_timeout: Option<Duration>,
    /// Header that carries the id to the node and to the shadow
    #[arg(long, value_name = "NAME", help_heading = "Capture")]
    id_header: Option<String>,
    /// HAProxy's threads
    #[arg(long, value_name = "NUMBER", help_heading = "HAProxy")]
    threads: Option<u16>,
    /// HAProxy's connections at a time
    #[arg(long, value_name = "NUMBER", help_heading = "HAProxy")]
    max_connections: Option<u32>,
    /// How long a connection to a node may take to establish
    #[arg(long, value_name = "DURATION", value_parser = read_duration, help_heading = "HAProxy")]
    connect_timeout: Option<Duration>,
    /// How long a client may be silent when it is its turn
    #[arg(long, value_name = "DURATION", value_parser = read_duration, help_heading = "HAProxy")]
    client_timeout: Option<Duration>,
    /// How long a node may be silent when it is its turn
    #[arg(long, value_name = "DURATION", value_parser = read_duration, help_heading = "HAProxy")]
    server_timeout: Option<Duration>,
    /// How long a client may take to send the request's headers
    #[arg(long, value_name = "DURATION", value_parser = read_duration, help_heading = "HAProxy")]
    http_request_timeout: Option<Duration>,
    /// Where HAProxy's own log goes
    #[arg(long, value_name = "TARGET", help_heading = "HAProxy")]
    log: Option<LogTarget>,
    /// Path of an admin socket
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, help_heading = "HAProxy")]
    stats_socket: Option<String>,
    /// The HAProxy that will read the files: auto, or a branch from 2.6 on, such as 3.2
    #[arg(long, value_name = "VERSION", help_heading = "HAProxy")]
    haproxy_version: Option<TargetVersion>,
    /// Where HAProxy will find spoe.cfg [default: beside haproxy.cfg with --out, else /etc/haproxy/spoe.cfg]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, help_heading = "Output")]
    spoe_file: Option<String>,
    /// Write both files to this directory, which is made when it is missing
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Output")]
    out: Option<PathBuf>,
    /// Print only one of the files
    #[arg(
        long,
        value_name = "FILE",
        value_enum,
        conflicts_with = "out",
        help_heading = "Output"
    )]
    only: Option<Only>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    /// haproxy.cfg
    Haproxy,
    /// spoe.cfg
    Spoe,
}

impl Args {
    pub(super) fn print(self, out: &mut impl Write) -> anyhow::Result<Exit> {
        let directory = self.out.clone();
        let only = self.only;
        let options = self.options()?;
        let files = match generate(&options) {
            Ok(files) => files,
            Err(problems) => {
                super::complain(&problems.to_string());
                return Ok(Exit::Usage);
            }
        };
        if let Some(note) = agent_note(&options) {
            super::complain(&note);
        }
        match directory {
            Some(directory) => write_to(&directory, &files, out)?,
            None => show(only, &files, out)?,
        }
        out.flush()?;
        Ok(Exit::Ok)
    }

    fn options(self) -> anyhow::Result<Options> {
        let default = Options::default();
        let spoe_file = match (self.spoe_file, &self.out) {
            (Some(path), _) => path,
            (None, Some(directory)) => beside(directory)?,
            (None, None) => default.spoe_file,
        };
        Ok(Options {
            role: self.role.unwrap_or(default.role),
            listen: if self.listen.is_empty() && self.tls_listen.is_empty() {
                default.listen
            } else {
                self.listen
            },
            tls_listen: self.tls_listen,
            certificate: self.certificate,
            client_ca_file: self.client_ca_file,
            client_certificate_required: self.require_client_certificate,
            nodes: if self.node.is_empty() {
                default.nodes
            } else {
                self.node
            },
            node_ca_file: self.node_ca_file.unwrap_or(default.node_ca_file),
            node_tls_insecure: self.node_tls_insecure,
            resolve_nodes: self.resolve_nodes,
            node_check: !self.no_node_check,
            pass_node_failures: self.pass_node_failures,
            set_headers: self.set_header,
            agent: self.agent.unwrap_or(default.agent),
            hold: self.hold.unwrap_or(default.hold),
            reads: default.reads.into_iter().chain(self.read).collect(),
            skip_capture: self.skip_capture,
            body_limit: self.body_limit.unwrap_or(default.body_limit),
            processing_timeout: self
                .processing_timeout
                .unwrap_or(default.processing_timeout),
            hold_timeout: self.hold_timeout.unwrap_or(default.hold_timeout),
            id_header: self.id_header.unwrap_or(default.id_header),
            threads: self.threads.or(default.threads),
            max_connections: self.max_connections.unwrap_or(default.max_connections),
            connect_timeout: self.connect_timeout.unwrap_or(default.connect_timeout),
            client_timeout: self.client_timeout.unwrap_or(default.client_timeout),
            server_timeout: self.server_timeout.unwrap_or(default.server_timeout),
            http_request_timeout: self
                .http_request_timeout
                .unwrap_or(default.http_request_timeout),
            log: self.log.unwrap_or(default.log),
            stats_socket: self.stats_socket.or(default.stats_socket),
            version: self.haproxy_version.unwrap_or(default.version),
            spoe_file,
        })
    }
}

/// `spoe.cfg` in the directory of `haproxy.cfg`, as HAProxy must name it: from the root.
fn beside(directory: &Path) -> anyhow::Result<String> {
    let path = std::path::absolute(directory)
        .with_context(|| format!("cannot name {} from the root", directory.display()))?
        .join("spoe.cfg");
    let text = path.into_os_string().into_string();
    text.map_err(|path| {
        anyhow::anyhow!("{} is not UTF-8; choose another directory", path.display())
    })
}

/// What the agent's own configuration must say for these options, when its defaults do not do.
fn agent_note(options: &Options) -> Option<String> {
    let defaults = crate::config::Written::default().build().ok()?;
    let buffer = u64::from(options.body_limit) + u64::from(ROOM_FOR_HEADERS);
    if buffer > defaults.server.max_frame_size as u64 {
        return Some(format!(
            "note: frames are up to {} long; the agent needs server.max_frame_size of at least that (its default is {})",
            show_size(buffer),
            show_size(defaults.server.max_frame_size as u64)
        ));
    }
    if options.hold != Hold::Off && options.hold_timeout <= defaults.capture.hold_deadline {
        return Some(format!(
            "note: HAProxy holds writes for {}; set the agent's capture.hold_deadline below that (its default is {})",
            show_duration(options.hold_timeout),
            show_duration(defaults.capture.hold_deadline)
        ));
    }
    None
}

fn show(only: Option<Only>, files: &Files, out: &mut impl Write) -> std::io::Result<()> {
    if only.is_none() {
        writeln!(out, "# ---- haproxy.cfg ----")?;
    }
    if only != Some(Only::Spoe) {
        out.write_all(files.haproxy_cfg.as_bytes())?;
    }
    if only.is_none() {
        writeln!(out, "\n# ---- spoe.cfg ----")?;
    }
    if only != Some(Only::Haproxy) {
        out.write_all(files.spoe_cfg.as_bytes())?;
    }
    Ok(())
}

fn write_to(directory: &Path, files: &Files, out: &mut impl Write) -> anyhow::Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make the directory {}", directory.display()))?;
    for (name, text) in [
        ("haproxy.cfg", &files.haproxy_cfg),
        ("spoe.cfg", &files.spoe_cfg),
    ] {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}

fn read_body_limit(text: &str) -> Result<u32, String> {
    let bytes = size(text).map_err(|fault| format!("{}; {}", fault.why, fault.way_out))?;
    u32::try_from(bytes).map_err(|_too_big| "is too big; the most is 4GiB".to_owned())
}

pub(super) fn read_duration(text: &str) -> Result<Duration, String> {
    duration(text).map_err(|fault| format!("{}; {}", fault.why, fault.way_out))
}
