//! The options: what differs from one installation to the next, and nothing else.

use std::str::FromStr;
use std::time::Duration;

use crate::address::{AgentAddress, Listen, LogTarget, Node};
use crate::problem::Problem;
use crate::request::{SetHeader, SkipCapture};

/// What a buffer holds besides the body: headers, HAProxy's own bookkeeping, and the 1024 bytes
/// it keeps free for rewriting (`tune.maxrewrite`).
pub const ROOM_FOR_HEADERS: u32 = 16_384;

/// The largest body limit: a buffer of 4 MiB. HAProxy 2.6 and 3.0 keep one buffer on the stack, and
/// end with a segmentation fault where it does not fit: at 8 MiB with the usual stack of 8 MiB
/// (measured on 2.6.12 and 3.0.11).
pub const MAX_BODY_LIMIT: u32 = 4 * 1024 * 1024 - ROOM_FOR_HEADERS;

/// Endpoints that only read although they are called with `POST` or `DELETE`, after an optional
/// index. `*` stands for one path segment.
pub const DEFAULT_READS: &[&str] = &[
    "_search",
    "_search/template",
    "_search/scroll",
    "_search/scroll/*",
    "_search/point_in_time",
    "_search/point_in_time/*",
    "_msearch",
    "_msearch/template",
    "_count",
    "_mget",
    "_pit",
    "_async_search",
    "_async_search/*",
    "_validate/query",
    "_explain/*",
    "_field_caps",
    "_search_shards",
    "_terms_enum",
    "_termvectors",
    "_termvectors/*",
    "_mtermvectors",
    "_rank_eval",
    "_knn_search",
    "_analyze",
    "_eql/search",
    "_graph/explore",
    "_render/template",
    "_query",
    "_sql",
    "_sql/close",
    "_sql/translate",
    "_plugins/_sql",
    "_plugins/_ppl",
];

/// Which side of the mirror HAProxy stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// In front of the cluster whose traffic is captured and mirrored. Gives every request its id.
    Primary,
    /// In front of the shadow cluster: captures only, under the id that the mirror sends.
    Shadow,
}

impl Role {
    /// The word for it, which is also the frontend's name and so the messages' `fe`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Shadow => "shadow",
        }
    }
}

impl FromStr for Role {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        match text {
            "primary" => Ok(Self::Primary),
            "shadow" => Ok(Self::Shadow),
            _ => Err(unknown("role", text, "primary or shadow")),
        }
    }
}

/// Whether a write waits until its request half is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// No request is held.
    Off,
    /// Writes are held, and released when the time is up or the agent is away.
    Open,
    /// Writes are held, and denied with 503 unless the agent says that they are durable.
    Closed,
}

impl FromStr for Hold {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        match text {
            "off" => Ok(Self::Off),
            "open" => Ok(Self::Open),
            "closed" => Ok(Self::Closed),
            _ => Err(unknown("hold mode", text, "off, open or closed")),
        }
    }
}

/// The HAProxy that will read the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetVersion {
    /// Any from 2.6 on: the files choose for themselves, with `.if version_atleast()`.
    Auto,
    /// One branch: the files hold what that one needs and no conditions.
    Branch {
        /// The 3 of 3.2.
        major: u16,
        /// The 2 of 3.2.
        minor: u16,
    },
}

impl FromStr for TargetVersion {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        const KNOWN: &str = "auto, or a branch from 2.6 on, such as 3.2";
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let branch = text.split_once('.').and_then(|(major, minor)| {
            Some((major.parse::<u16>().ok()?, minor.parse::<u16>().ok()?))
        });
        match branch {
            Some((major, minor)) if (major, minor) >= (2, 6) => Ok(Self::Branch { major, minor }),
            _ => Err(unknown("haproxy version", text, KNOWN)),
        }
    }
}

/// Everything that the files depend on. [`Options::default`] is a working primary on one machine;
/// [`crate::generate`] says what is wrong with any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Primary or shadow side.
    pub role: Role,
    /// Where clients connect in clear text (HTTP/1 and, with prior knowledge, HTTP/2).
    pub listen: Vec<Listen>,
    /// Where clients connect with TLS (HTTP/1 and HTTP/2). Needs `certificate`.
    pub tls_listen: Vec<Listen>,
    /// A PEM file with certificate and key, or a folder of such files.
    pub certificate: Option<String>,
    /// Whose certificates clients may, or must, show: a PEM file. Needs a TLS listen address.
    pub client_ca_file: Option<String>,
    /// Refuses clients without a certificate.
    pub client_certificate_required: bool,
    /// The cluster's nodes.
    pub nodes: Vec<Node>,
    /// Whose certificates `https://` nodes are verified with: a PEM file, or `@system-ca`.
    pub node_ca_file: String,
    /// Takes any certificate from `https://` nodes. For tests only.
    pub node_tls_insecure: bool,
    /// Asks the DNS servers of `/etc/resolv.conf` for the nodes' names all the time, and not only when HAProxy starts.
    /// They must know the names in full: HAProxy asks without search domains, and does not look into `/etc/hosts` again.
    pub resolve_nodes: bool,
    /// Checks every 2 s that a node accepts connections.
    pub node_check: bool,
    /// Ends a client's connection without an answer when the node cannot be reached or gives none, as the node
    /// itself would, instead of answering 502, 503 or 504. Nothing is tried twice.
    pub pass_node_failures: bool,
    /// Headers that requests get on their way to the node, after the capture.
    pub set_headers: Vec<SetHeader>,
    /// Where the agent listens.
    pub agent: AgentAddress,
    /// Whether writes wait until they are durable. Off for a shadow.
    pub hold: Hold,
    /// Endpoints that are never held: see [`DEFAULT_READS`].
    pub reads: Vec<String>,
    /// Requests that are neither captured nor held.
    pub skip_capture: Vec<SkipCapture>,
    /// The largest body that is captured whole, in bytes; at most [`MAX_BODY_LIMIT`].
    /// `tune.bufsize` is this and [`ROOM_FOR_HEADERS`].
    pub body_limit: u32,
    /// The longest that a client waits for the agent's ACK, per message; 1 ms to 10 s.
    pub processing_timeout: Duration,
    /// The longest that a held write waits; 1 ms to 60 s.
    pub hold_timeout: Duration,
    /// The header that carries the id to the node and to the shadow.
    pub id_header: String,
    /// Threads (`nbthread`), 1 to 64; none leaves it to HAProxy, which takes one per core.
    pub threads: Option<u16>,
    /// Connections at a time (`maxconn`), 1 to 1000000.
    pub max_connections: u32,
    /// How long a connection to a node may take to establish.
    pub connect_timeout: Duration,
    /// How long a client may be silent when it is its turn.
    pub client_timeout: Duration,
    /// How long a node may be silent when it is its turn.
    pub server_timeout: Duration,
    /// How long a client may take to send the request's headers.
    pub http_request_timeout: Duration,
    /// Where HAProxy's own log goes, from level `notice` up.
    pub log: LogTarget,
    /// The path of an admin socket (mode 600), if there shall be one.
    pub stats_socket: Option<String>,
    /// The HAProxy that will read the files.
    pub version: TargetVersion,
    /// Where HAProxy will find the second file.
    pub spoe_file: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            role: Role::Primary,
            listen: vec![Listen::on_port(9201)],
            tls_listen: Vec::new(),
            certificate: None,
            client_ca_file: None,
            client_certificate_required: false,
            nodes: vec![Node::on_this_machine(9200)],
            node_ca_file: "@system-ca".to_owned(),
            node_tls_insecure: false,
            resolve_nodes: false,
            node_check: true,
            pass_node_failures: false,
            set_headers: Vec::new(),
            agent: AgentAddress::on_this_machine(12345),
            hold: Hold::Off,
            reads: DEFAULT_READS.iter().map(|&read| read.to_owned()).collect(),
            skip_capture: Vec::new(),
            body_limit: 256 * 1024,
            processing_timeout: Duration::from_millis(250),
            hold_timeout: Duration::from_secs(1),
            id_header: "X-Capture-Id".to_owned(),
            threads: None,
            max_connections: 2000,
            connect_timeout: Duration::from_secs(5),
            client_timeout: Duration::from_secs(300),
            server_timeout: Duration::from_secs(600),
            http_request_timeout: Duration::from_secs(30),
            log: LogTarget::STDOUT,
            stats_socket: None,
            version: TargetVersion::Auto,
            spoe_file: "/etc/haproxy/spoe.cfg".to_owned(),
        }
    }
}

fn unknown(thing: &'static str, value: &str, known: &'static str) -> Problem {
    Problem::UnknownWord {
        thing,
        value: crate::address::shortened(value),
        known,
    }
}
