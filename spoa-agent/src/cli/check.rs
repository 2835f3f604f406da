//! `spoa-agent check`: everything that is wrong at once, with the configuration and around it.
//!
//! It binds addresses and lets them go, connects to the shadow and hangs up, and writes one empty file
//! where the agent will write, and removes it. It sends nothing and keeps nothing.

use std::fs;
use std::io::{self, Read as _, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use shadow::{ClientCertificate, Target};

use super::exit::Exit;
use super::flags::ConfigFlags;
use super::table;
use crate::config::{
    Config, Examined, Hold, Listen, Output, Problem, Sasl, Security, show_duration, show_size,
};
use crate::identity::{self, CredentialsFile};
use crate::offload::client::{Client, Context};
use crate::rules_file;

/// Say everything that is wrong with the configuration and around it
///
/// Looks at the configuration and at what it names: whether directories can be written to, addresses
/// bound, the shadow and the brokers of Kafka reached, files read, and whether the disk is large enough. A line is ok, a
/// warning, or an error; errors would keep the agent from running.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  spoa-agent check --config /etc/spoa-agent/config.toml
  SPOA_AGENT_JOURNAL_DIR=/srv/journal spoa-agent check

Exit codes: 0 no errors, 2 at least one error.")]
pub(super) struct Args {
    #[command(flatten)]
    flags: ConfigFlags,
}

impl Args {
    pub(super) fn print(self, out: &mut impl Write) -> anyhow::Result<Exit> {
        let default = Path::new(crate::config::DEFAULT_FILE);
        let (written, file) = self.flags.written_with(std::env::vars_os(), default);
        let findings = look(file.as_deref(), written.examine());
        let exit = report(&findings, out)?;
        out.flush()?;
        Ok(exit)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Ok,
    Warning,
    Error,
}

#[derive(Debug)]
struct Finding {
    mark: Mark,
    /// The key, or what it is about.
    what: &'static str,
    says: String,
}

fn report(findings: &[Finding], out: &mut impl Write) -> io::Result<Exit> {
    let rows: Vec<[String; 3]> = findings
        .iter()
        .map(|finding| {
            let mark = match finding.mark {
                Mark::Ok => "ok",
                Mark::Warning => "warning",
                Mark::Error => "ERROR",
            };
            [
                mark.to_owned(),
                finding.what.to_owned(),
                finding.says.clone(),
            ]
        })
        .collect();
    table::write(out, ["RESULT", "WHAT", "SAYS"], &rows)?;
    let count = |mark| {
        findings
            .iter()
            .filter(|finding| finding.mark == mark)
            .count()
    };
    let (errors, warnings) = (count(Mark::Error), count(Mark::Warning));
    writeln!(out, "{errors} errors, {warnings} warnings")?;
    Ok(if errors == 0 { Exit::Ok } else { Exit::Usage })
}

/// Looks at everything.
fn look(file: Option<&Path>, examined: Examined) -> Vec<Finding> {
    let Examined { config, problems } = examined;
    let mut look = Look {
        findings: Vec::new(),
        problems,
    };
    look.configuration(file);
    look.journal(&config);
    look.listeners(&config);
    look.admin(&config);
    look.log("traffic_log.path", config.traffic_log.path.as_ref());
    look.log("pair_log.path", config.pair_log.path.as_ref());
    look.dead_letters(&config);
    look.shadow(&config);
    look.kafka(&config);
    look.secrets(&config);
    look.limits(&config);
    look.findings
}

struct Look {
    findings: Vec<Finding>,
    problems: Vec<Problem>,
}

impl Look {
    fn ok(&mut self, what: &'static str, says: impl Into<String>) {
        self.findings.push(Finding {
            mark: Mark::Ok,
            what,
            says: says.into(),
        });
    }

    fn warn(&mut self, what: &'static str, says: impl Into<String>) {
        self.findings.push(Finding {
            mark: Mark::Warning,
            what,
            says: says.into(),
        });
    }

    fn error(&mut self, what: &'static str, says: impl Into<String>) {
        self.findings.push(Finding {
            mark: Mark::Error,
            what,
            says: says.into(),
        });
    }

    /// Whether the key's value was refused, so that looking around it would be about another value.
    fn is_refused(&self, key: &str) -> bool {
        self.problems.iter().any(|problem| problem.key == key)
    }

    fn configuration(&mut self, file: Option<&Path>) {
        let problems: Vec<String> = self.problems.iter().map(Problem::to_string).collect();
        for problem in &problems {
            self.error("configuration", problem);
        }
        if problems.is_empty() {
            let from = file.map_or_else(
                || "no file; environment, flags and defaults".to_owned(),
                |file| format!("{}, environment and flags", file.display()),
            );
            self.ok("configuration", from);
        }
    }

    fn journal(&mut self, config: &Config) {
        const DIR: &str = "journal.dir";
        if self.is_refused(DIR) {
            return;
        }
        let dir = &config.journal.dir;
        match writable(dir) {
            Ok(says) => self.ok(DIR, says),
            Err(says) => return self.error(DIR, says),
        }
        if mode(dir).is_some_and(|mode| mode & 0o077 != 0) {
            let says = format!("{} can be entered by others; chmod 0700 it", dir.display());
            self.warn(DIR, says);
        }
        if !self.is_refused("journal.max_bytes") {
            self.disk_space(dir, config.journal.max_bytes);
        }
    }

    fn disk_space(&mut self, dir: &Path, budget: u64) {
        const BUDGET: &str = "journal.max_bytes";
        let used: u64 = journal::list(dir)
            .map(|segments| segments.iter().map(|segment| segment.bytes).sum())
            .unwrap_or(0);
        let free = match fs4::available_space(existing(dir)) {
            Ok(free) => free,
            Err(error) => return self.warn(BUDGET, format!("free space is not known: {error}")),
        };
        let room = free.saturating_add(used);
        let shown = format!(
            "{} wanted, {} free and {} used by the journal on that disk",
            show_size(budget),
            rough(free),
            rough(used)
        );
        if room < budget {
            let says = format!("{shown}; the disk will be full first; lower journal.max_bytes");
            return self.warn(BUDGET, says);
        }
        self.ok(BUDGET, shown);
    }

    fn listeners(&mut self, config: &Config) {
        const LISTEN: &str = "server.listen";
        if self.is_refused(LISTEN) {
            return;
        }
        for listen in &config.server.listen {
            let result = match listen {
                Listen::Tcp(address) => bindable(address),
                Listen::Unix(path) => socket(path),
            };
            match result {
                Ok(says) => self.ok(LISTEN, says),
                Err(says) => self.error(LISTEN, says),
            }
            if let Listen::Tcp(address) = listen
                && is_public(address)
            {
                let says = format!(
                    "{address} is reachable from other hosts; SPOP has no passwords, so let only HAProxy in"
                );
                self.warn(LISTEN, says);
            }
        }
    }

    fn admin(&mut self, config: &Config) {
        const LISTEN: &str = "admin.listen";
        let Some(address) = &config.admin.listen else {
            return self.warn(LISTEN, "off: there are no metrics and no readiness");
        };
        if self.is_refused(LISTEN) {
            return;
        }
        match bindable(address) {
            Ok(says) => self.ok(LISTEN, says),
            Err(says) => self.error(LISTEN, says),
        }
        if is_public(address) {
            let says = format!("{address} is reachable from other hosts; it has no passwords");
            self.warn(LISTEN, says);
        }
    }

    fn log(&mut self, key: &'static str, output: Option<&Output>) {
        if let Some(Output::File(path)) = output {
            self.file(key, path);
        }
    }

    fn dead_letters(&mut self, config: &Config) {
        const PATH: &str = "dead_letter.path";
        if let Some(path) = &config.dead_letter.path {
            self.file(PATH, path);
        }
    }

    fn file(&mut self, key: &'static str, path: &Path) {
        if path.is_dir() {
            let says = format!("{} is a directory; name a file", path.display());
            return self.error(key, says);
        }
        match writable(parent(path)) {
            Ok(says) => self.ok(key, says),
            Err(says) => self.error(key, says),
        }
    }

    fn shadow(&mut self, config: &Config) {
        let Some(target) = &config.shadow.url else {
            return;
        };
        if !self.is_refused("shadow.url") {
            self.reach(target, config);
        }
        if let Some(path) = &config.shadow.ca_file {
            match certificates(path) {
                Ok(count) => {
                    self.ok(
                        "shadow.ca_file",
                        format!("{count} certificates in {}", path.display()),
                    );
                }
                Err(says) => self.error("shadow.ca_file", says),
            }
        }
        if let Some(file) = CredentialsFile::of(&config.shadow) {
            self.credentials(&file, target);
        }
        if let Some(certificate) = identity::certificate(&config.shadow) {
            self.certificate(&certificate);
        }
        if let Some(path) = &config.shadow.rules_file {
            self.rules(path);
        }
        if config.shadow.insecure && target.is_encrypted() {
            self.warn(
                "shadow.insecure",
                "the shadow's certificate is not verified",
            );
        }
    }

    fn reach(&mut self, target: &Target, config: &Config) {
        const URL: &str = "shadow.url";
        let host = target.host();
        match reached(
            &host,
            (host.as_str(), target.port()),
            config.shadow.connect_timeout,
        ) {
            Ok(address) => self.ok(URL, format!("{target} is reached at {address}")),
            Err(Unreached::Unresolved(says)) => self.error(URL, says),
            // The agent runs without it: the journal keeps what the shadow has missed.
            Err(Unreached::Silent(says)) => {
                let says = format!("{says}; the journal will keep what the shadow misses");
                self.warn(URL, says);
            }
        }
    }

    fn credentials(&mut self, file: &CredentialsFile, target: &Target) {
        let (key, path) = (file.key, &file.path);
        if let Err(error) = file.read() {
            return self.error(key, format!("{}: {error}", path.display()));
        }
        if identity::is_open_to_others(path) {
            let says = format!("{} can be read by others; chmod 0600 it", path.display());
            self.warn(key, says);
        } else {
            self.ok(key, format!("{} holds a value", path.display()));
        }
        if !target.is_encrypted() {
            self.warn(
                key,
                "shadow.url is http: the credentials cross the network in clear text",
            );
        }
    }

    fn certificate(&mut self, certificate: &ClientCertificate) {
        const KEY: &str = "shadow.client_key_file";
        if let Err(error) = certificate.check() {
            return self.error("shadow.client_cert_file", error.to_string());
        }
        let path = certificate.key.display();
        if identity::is_open_to_others(&certificate.key) {
            self.warn(KEY, format!("{path} can be read by others; chmod 0600 it"));
        } else {
            self.ok(KEY, format!("{path} belongs to shadow.client_cert_file"));
        }
    }

    fn rules(&mut self, path: &Path) {
        const FILE: &str = "shadow.rules_file";
        match rules_file::read(path) {
            Ok(rules) => {
                self.ok(FILE, format!("{} rules in {}", rules.len(), path.display()));
                for warning in rules.warnings() {
                    self.warn(FILE, warning);
                }
            }
            Err(error) => {
                for mistake in error.mistakes() {
                    self.error(FILE, format!("{}: {mistake}", path.display()));
                }
            }
        }
    }

    fn kafka(&mut self, config: &Config) {
        const BROKERS: &str = "kafka.brokers";
        let kafka = &config.kafka;
        if kafka.brokers.is_empty() {
            return;
        }
        match Client::new(kafka) {
            Ok(client) => self.library(&client),
            Err(error) => self.error("kafka", error.to_string()),
        }
        for broker in &kafka.brokers {
            // The agent runs without it: the journal keeps what Kafka misses.
            match reached(broker, broker.as_str(), BROKER_PATIENCE) {
                Ok(address) => self.ok(BROKERS, format!("{broker} is reached at {address}")),
                Err(Unreached::Unresolved(says)) => self.warn(BROKERS, says),
                Err(Unreached::Silent(says)) => {
                    let says = format!("{says}; the journal will keep what Kafka misses");
                    self.warn(BROKERS, says);
                }
            }
        }
        let secrets = [
            ("kafka.password_file", &kafka.password_file),
            ("kafka.client_key_file", &kafka.client_key_file),
            (
                "kafka.client_key_password_file",
                &kafka.client_key_password_file,
            ),
            (
                "kafka.oauth_client_secret_file",
                &kafka.oauth_client_secret_file,
            ),
            ("kafka.kerberos_keytab_file", &kafka.kerberos_keytab_file),
        ];
        for (key, path) in secrets {
            if let Some(path) = path
                && identity::is_open_to_others(path)
            {
                let says = format!("{} can be read by others; chmod 0600 it", path.display());
                self.warn(key, says);
            }
        }
        if kafka.security == Security::SaslPlaintext && kafka.sasl == Sasl::Plain {
            let says = "the password crosses the network in clear text; use sasl-tls";
            self.warn("kafka.security", says);
        }
        if config.capture.hold == Hold::Kafka {
            let says = format!(
                "held writes wait for Kafka up to {}; HAProxy must wait longer: haproxy-config --hold open --hold-timeout {}",
                show_duration(kafka.hold_deadline),
                show_duration(kafka.hold_deadline + HAPROXY_MARGIN)
            );
            self.ok("capture.hold", says);
        }
    }

    /// Whether librdkafka can make something of the files that the configuration names.
    fn library(&mut self, client: &Client) {
        let made = client
            .producer_config()
            .create_with_context::<_, BaseConsumer<Context>>(client.context());
        if let Err(error) = made {
            self.error("kafka", error.to_string());
        }
    }

    fn secrets(&mut self, config: &Config) {
        if config.capture.forward_credentials {
            let says = "credentials stay in the journal; guard its directory as you guard them";
            self.warn("capture.forward_credentials", says);
        }
    }

    fn limits(&mut self, config: &Config) {
        const FILES: &str = "open files";
        /// Segments, cursors, the log, the admin server, the runtime.
        const OTHERS: usize = 128;
        let Some(limit) = open_files_limit() else {
            return;
        };
        let wanted = config.server.max_connections + config.shadow.connections + OTHERS;
        if limit < wanted {
            let says = format!(
                "the limit is {limit}, {wanted} may be needed; raise it (LimitNOFILE= or ulimit -n) or lower server.max_connections"
            );
            return self.warn(FILES, says);
        }
        self.ok(
            FILES,
            format!("the limit is {limit}, {wanted} may be needed"),
        );
    }
}

/// How long a broker may take to accept a connection.
const BROKER_PATIENCE: Duration = Duration::from_secs(3);
/// How much longer HAProxy has to wait than the agent.
const HAPROXY_MARGIN: Duration = Duration::from_secs(1);

/// Why nobody was reached.
enum Unreached {
    /// The name is none.
    Unresolved(String),
    /// Nobody accepts a connection, for now.
    Silent(String),
}

/// Connects to what the name stands for, and hangs up. Returns the address that accepted.
fn reached(
    name: &str,
    at: impl ToSocketAddrs,
    patience: Duration,
) -> Result<SocketAddr, Unreached> {
    let addresses = at
        .to_socket_addrs()
        .map_err(|error| Unreached::Unresolved(format!("{name} does not resolve: {error}")))?;
    let mut says = format!("{name} has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(_connection) => return Ok(address),
            Err(error) => says = format!("{address} is not reached: {error}"),
        }
    }
    Err(Unreached::Silent(says))
}

/// Whether a file can be made in the directory, or in the nearest one above it that is there.
fn writable(dir: &Path) -> Result<String, String> {
    let ground = existing(dir);
    if !ground.is_dir() {
        return Err(format!("{} is not a directory", ground.display()));
    }
    let probe = ground.join(format!(".spoa-agent-check-{}", std::process::id()));
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&probe)
        .and_then(|_file| fs::remove_file(&probe))
        .map_err(|error| format!("cannot write to {}: {error}", ground.display()))?;
    Ok(if ground == dir {
        format!("{} can be written to", dir.display())
    } else {
        format!("{} will be made in {}", dir.display(), ground.display())
    })
}

/// The path itself, or the nearest directory above it that is there.
fn existing(path: &Path) -> &Path {
    let is_there = |path: &&Path| !path.as_os_str().is_empty() && path.exists();
    path.ancestors()
        .find(is_there)
        .unwrap_or_else(|| Path::new("."))
}

fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
}

fn bindable(address: &str) -> Result<String, String> {
    match TcpListener::bind(address) {
        Ok(_listener) => Ok(format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(format!("{address} is in use; is an agent running?"))
        }
        Err(error) => Err(format!("cannot bind {address}: {error}")),
    }
}

/// Whether a socket can be made at the path: what is there must be a socket that nobody listens on.
fn socket(path: &Path) -> Result<String, String> {
    if UnixStream::connect(path).is_ok() {
        return Err(format!(
            "unix:{} is in use; is an agent running?",
            path.display()
        ));
    }
    if let Ok(metadata) = fs::symlink_metadata(path) {
        use std::os::unix::fs::FileTypeExt as _;
        if !metadata.file_type().is_socket() {
            return Err(format!("{} is there and is not a socket", path.display()));
        }
    }
    let directory = parent(path);
    if !directory.is_dir() {
        return Err(format!(
            "the directory {} is not there; make it",
            directory.display()
        ));
    }
    writable(directory).map(|_| format!("unix:{} is free", path.display()))
}

/// Whether other hosts may reach the address, as far as its text tells.
fn is_public(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let ip = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<std::net::IpAddr>();
    ip.map_or(host != "localhost", |ip| !ip.is_loopback())
}

fn mode(path: &Path) -> Option<u32> {
    fs::metadata(path)
        .ok()
        .map(|metadata| metadata.permissions().mode() & 0o777)
}

/// At most this much is read of files that hold a line or a few certificates.
const READ_LIMIT: u64 = 16 << 20;

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(READ_LIMIT)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn certificates(path: &Path) -> Result<usize, String> {
    let bytes = read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    match text.matches("-----BEGIN CERTIFICATE-----").count() {
        0 => Err(format!(
            "no certificate in {}; it must be PEM",
            path.display()
        )),
        count => Ok(count),
    }
}

/// The soft limit of open files; `None` where `/proc` does not tell it.
fn open_files_limit() -> Option<usize> {
    let limits = fs::read_to_string(PathBuf::from("/proc/self/limits")).ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A size to read, not to compute with.
fn rough(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} bytes"),
        10_000..=9_999_999 => format!("{} KiB", bytes >> 10),
        10_000_000..=9_999_999_999 => format!("{} MiB", bytes >> 20),
        _more => format!("{} GiB", bytes >> 30),
    }
}
