//! What a command line means: HAProxy's options, the agent's keys, and every mistake at once.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use haproxy_config::{
    AgentAddress, Hold, Listen, Node, Options, ROOM_FOR_HEADERS, SetHeader, SkipCapture,
};
use toml::{Table, Value};

use super::given::{Fate, Given, OPTIONS, PASSWORD_ENV, dashed};
use super::kafka_properties::translate;
use super::{Mistakes, absolute, files};

/// Where the original's replayer looks.
const TOPIC: &str = "logging-traffic-topic";
const CLIENT_ID: &str = "HttpCaptureProxyProducer";
const BODY_LIMIT: u64 = 1 << 20;
/// Longer than `kafka.hold_deadline`, so that the agent is who lets go, and says so.
const KAFKA_HOLD: Duration = Duration::from_secs(11);
const PASSWORD_FILE: &str = "kafka-password";
const KEY_PASSWORD_FILE: &str = "kafka-client-key-password";
const CLIENT_CA_FILE: &str = "client-ca.pem";

/// Everything that is written and started.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) haproxy_options: Options,
    pub(super) agent: Table,
    /// Files of the state directory, with their text.
    pub(super) texts: Vec<(&'static str, String)>,
    /// Files of the state directory that stand for others.
    pub(super) links: Vec<(&'static str, PathBuf)>,
    pub(super) haproxy: Option<PathBuf>,
    pub(super) notes: Vec<String>,
}

/// Where the files are kept.
pub(super) fn state_directory(
    given: &Given,
    environment: &[(OsString, OsString)],
) -> anyhow::Result<PathBuf> {
    let variable = |name: &str| {
        let found = environment.iter().find(|(variable, _)| variable == name);
        found
            .map(|(_, value)| PathBuf::from(value))
            .filter(|path| path.is_absolute())
    };
    let port = given.one("listenPort").unwrap_or_default();
    let name = format!(
        "capture-proxy-{}",
        port.rsplit(':').next().unwrap_or_default()
    );
    let of_user = || {
        let home = variable("HOME").map(|home| home.join(".local/state"));
        let base = variable("XDG_STATE_HOME").or(home)?;
        Some(base.join("spoa-agent").join(&name))
    };
    let of_root = || Path::new("/var/lib/spoa-agent").join(&name);
    let chosen = match given.one("stateDir") {
        Some(named) => Some(PathBuf::from(named)),
        None => variable("STATE_DIRECTORY").or_else(|| {
            if rustix::process::geteuid().is_root() {
                Some(of_root())
            } else {
                of_user()
            }
        }),
    };
    match chosen {
        Some(path) => absolute(&path),
        None => Err(Mistakes(vec![
            "there is no HOME to keep the journal in; name a directory with --stateDir".to_owned(),
        ])
        .into()),
    }
}

impl Settings {
    pub(super) fn read(
        given: &Given,
        state: &Path,
        environment: &[(OsString, OsString)],
    ) -> anyhow::Result<Self> {
        let mut reading = Reading {
            given,
            state,
            environment,
            mistakes: Vec::new(),
            settings: Self {
                haproxy_options: Options::default(),
                agent: Table::new(),
                texts: Vec::new(),
                links: Vec::new(),
                haproxy: given.one("haproxy").map(PathBuf::from),
                notes: Vec::new(),
            },
        };
        reading.fates();
        reading.node();
        reading.clients();
        reading.capture();
        reading.kafka();
        reading.agent();
        if reading.mistakes.is_empty() {
            Ok(reading.settings)
        } else {
            Err(Mistakes(reading.mistakes).into())
        }
    }
}

struct Reading<'g> {
    given: &'g Given,
    state: &'g Path,
    environment: &'g [(OsString, OsString)],
    mistakes: Vec<String>,
    settings: Settings,
}

impl Reading<'_> {
    fn fates(&mut self) {
        for option in OPTIONS {
            let Some(name) = option
                .names
                .first()
                .filter(|name| self.given.is_given(name))
            else {
                continue;
            };
            match option.fate {
                Fate::Works => {}
                Fate::NoEffect(why) => self
                    .settings
                    .notes
                    .push(format!("--{name} has no effect: {why}")),
                Fate::Refused(way_out) => self
                    .mistakes
                    .push(format!("--{name} is not taken: {way_out}")),
            }
        }
    }

    // -----------------------------------------------------------------------------------------
    // HAProxy

    fn node(&mut self) {
        let options = &mut self.settings.haproxy_options;
        // One node: whatever is wrong with it, clients see it as they would without a proxy.
        options.node_check = false;
        options.pass_node_failures = true;
        options.node_tls_insecure = self.given.is_given("insecureDestination");
        match self.given.one("destinationUri").map(node) {
            None => self
                .mistakes
                .push(missing("destinationUri", "http://localhost:19200")),
            Some(Err(why)) => self.mistakes.push(why),
            Some(Ok(node)) => options.nodes = vec![node],
        }
        if let Some(file) = self.file("destinationCaFile") {
            self.settings.haproxy_options.node_ca_file = file;
        }
        let set = self
            .given
            .pairs("setHeader")
            .map(|(name, value)| SetHeader {
                name: name.to_owned(),
                value: value.to_owned(),
            });
        self.settings.haproxy_options.set_headers = set.collect();
    }

    fn clients(&mut self) {
        let listen = match self.given.one("listenPort").map(str::parse::<Listen>) {
            None => {
                self.mistakes.push(missing("listenPort", "9200"));
                None
            }
            Some(Err(why)) => {
                self.mistakes.push(format!("--listenPort: {why}"));
                None
            }
            Some(Ok(listen)) => Some(vec![listen]),
        };
        let (certificate, key) = (self.file("sslCertChainFile"), self.file("sslKeyFile"));
        let is_tls = certificate.is_some();
        match (certificate, key) {
            (None, None) => {}
            (Some(certificate), Some(key)) => {
                self.settings.links.push((files::CERTIFICATE, certificate.into()));
                self.settings.links.push((files::CERTIFICATE_KEY, key.into()));
                self.settings.haproxy_options.certificate = Some(self.in_state(files::CERTIFICATE));
            }
            _half => self.mistakes.push(
                "--sslCertChainFile and --sslKeyFile belong together; give both, or none to serve clear text".to_owned(),
            ),
        }
        let client_ca = self.client_ca();
        let options = &mut self.settings.haproxy_options;
        (options.listen, options.tls_listen) = match listen {
            Some(listen) if is_tls => (Vec::new(), listen),
            Some(listen) => (listen, Vec::new()),
            // Told already.
            None => (options.listen.clone(), Vec::new()),
        };
        options.client_ca_file = client_ca;
        options.client_certificate_required = self.given.is_given("requireClientAuth");
        match self.given.one("numThreads").map(str::parse::<u16>) {
            None | Some(Ok(0)) => {}
            Some(Ok(threads)) => options.threads = Some(threads),
            Some(Err(_)) => self
                .mistakes
                .push("--numThreads is not a number from 0 to 64".to_owned()),
        }
    }

    fn client_ca(&mut self) -> Option<String> {
        let file = self.file("sslTrustCertFile");
        let Some(name) = self.given.one("sslTrustCertPemEnvVar") else {
            return file;
        };
        if file.is_some() {
            self.mistakes.push(
                "--sslTrustCertFile and --sslTrustCertPemEnvVar say the same; leave one of them out".to_owned(),
            );
            return file;
        }
        let Some(text) = self.variable(name) else {
            self.mistakes.push(format!(
                "--sslTrustCertPemEnvVar: the environment has no {name}"
            ));
            return None;
        };
        self.settings.texts.push((CLIENT_CA_FILE, text));
        Some(self.in_state(CLIENT_CA_FILE))
    }

    fn capture(&mut self) {
        let regex = |name: &str| self.given.one(name).map(str::to_owned);
        let mut skips: Vec<SkipCapture> = [
            regex("suppressCaptureForMethod").map(SkipCapture::Method),
            regex("suppressCaptureForUriPath").map(SkipCapture::Target),
            regex("suppressMethodAndPath").map(SkipCapture::Line),
        ]
        .into_iter()
        .flatten()
        .collect();
        let headers = self.given.pairs("suppressCaptureForHeaderMatch");
        skips.extend(headers.map(|(name, value)| SkipCapture::Header {
            name: name.to_owned(),
            value: value.to_owned(),
        }));
        if self.given.is_given("noCapture") {
            skips = vec![SkipCapture::Method(".*".to_owned())];
        }
        let body_limit = self
            .given
            .one("bodyLimit")
            .map_or(Ok(BODY_LIMIT), crate::config::size);
        let socket = self.in_state("spop.sock").parse::<AgentAddress>();
        let spoe_file = self.in_state(files::SPOE_CONFIG);
        let options = &mut self.settings.haproxy_options;
        options.skip_capture = skips;
        match body_limit.map(u32::try_from) {
            Ok(Ok(limit)) => options.body_limit = limit,
            Ok(Err(_)) => options.body_limit = u32::MAX,
            Err(fault) => self
                .mistakes
                .push(format!("--bodyLimit {}; {}", fault.why, fault.way_out)),
        }
        match socket {
            Ok(socket) => options.agent = socket,
            Err(why) => self
                .mistakes
                .push(format!("{why}; name a shorter --stateDir")),
        }
        options.spoe_file = spoe_file;
    }

    // -----------------------------------------------------------------------------------------
    // The agent

    fn kafka(&mut self) {
        let brokers = self.given.one("kafkaConnection");
        if self.given.is_given("noCapture") {
            if brokers.is_some() {
                self.mistakes.push(
                    "--noCapture and --kafkaConnection exclude each other; leave one of them out"
                        .to_owned(),
                );
            }
            return;
        }
        let Some(brokers) = brokers else {
            self.mistakes
                .push(missing("kafkaConnection", "broker1:9092,broker2:9092"));
            return;
        };
        let mut kafka = self.property_file();
        let list = brokers
            .split(',')
            .map(|broker| Value::from(broker.trim()))
            .collect();
        kafka.insert("brokers".to_owned(), Value::Array(list));
        let set = |kafka: &mut Table, key: &str, value: &str| {
            kafka.insert(key.to_owned(), value.into());
        };
        set(
            &mut kafka,
            "topic",
            self.given.one("kafkaTopic").unwrap_or(TOPIC),
        );
        set(
            &mut kafka,
            "format",
            self.given.one("format").unwrap_or("traffic-stream"),
        );
        // As when the brokers make the topic for the original.
        kafka.insert("partitions".to_owned(), 0.into());
        if let Some(bytes) = self.given.one("maxTrafficBufferSize") {
            set(&mut kafka, "message_max_bytes", bytes);
        }
        if let Some(user) = self.given.one("kafkaUserName") {
            set(&mut kafka, "username", user);
        }
        if let Some(file) = self.file("kafkaCaFile") {
            set(&mut kafka, "ca_file", &file);
        }
        self.log_in(&mut kafka);
        self.password(&mut kafka);
        let properties = kafka
            .entry("properties")
            .or_insert_with(|| Table::new().into());
        if let Some(properties) = properties.as_table_mut() {
            let name = self.given.one("kafkaClientId").unwrap_or(CLIENT_ID);
            properties.insert("client.id".to_owned(), name.into());
        }
        self.settings.agent.insert("kafka".to_owned(), kafka.into());
    }

    fn property_file(&mut self) -> Table {
        let Some(file) = self.file("kafkaPropertyFile") else {
            return Table::new();
        };
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) => {
                self.mistakes
                    .push(format!("--kafkaPropertyFile {file}: {error}"));
                return Table::new();
            }
        };
        let mut translated = translate(&text);
        let say = |said: &String| format!("{file}: {said}");
        self.settings.notes.extend(translated.notes.iter().map(say));
        self.mistakes.extend(translated.mistakes.iter().map(say));
        for (key, secret) in translated.secrets {
            let name = if key == "password_file" {
                PASSWORD_FILE
            } else {
                KEY_PASSWORD_FILE
            };
            self.settings.texts.push((name, secret));
            translated
                .kafka
                .insert(key.to_owned(), self.in_state(name).into());
        }
        translated.kafka
    }

    /// The original sets this after the file, and so it wins.
    fn log_in(&mut self, kafka: &mut Table) {
        let msk = self.given.is_given("enableMSKAuth");
        let named = self.given.one("kafkaAuthType");
        if msk && named.is_some_and(|named| named != "msk-iam") {
            self.mistakes.push(
                "--enableMSKAuth is --kafkaAuthType msk-iam; leave one of them out".to_owned(),
            );
        }
        let (security, sasl) = match named.or_else(|| msk.then_some("msk-iam")) {
            None | Some("none") => return,
            Some("msk-iam") => ("sasl-tls", "aws-msk-iam"),
            Some("scram-sha-512") => ("sasl-tls", "scram-sha-512"),
            Some("ssl") => ("tls", "none"),
            Some(other) => {
                self.mistakes.push(format!(
                    "--kafkaAuthType {other} is not known; use none, msk-iam, scram-sha-512 or ssl"
                ));
                return;
            }
        };
        kafka.insert("security".to_owned(), security.into());
        kafka.insert("sasl".to_owned(), sasl.into());
    }

    fn password(&mut self, kafka: &mut Table) {
        if let Some(file) = self.file("kafkaPasswordFile") {
            kafka.insert("password_file".to_owned(), file.into());
        } else if let Some(password) = self.variable(PASSWORD_ENV) {
            self.settings.texts.push((PASSWORD_FILE, password));
            kafka.insert(
                "password_file".to_owned(),
                self.in_state(PASSWORD_FILE).into(),
            );
        }
    }

    fn agent(&mut self) {
        let hold = self.hold();
        let options = &mut self.settings.haproxy_options;
        let frame = options.body_limit.saturating_add(ROOM_FOR_HEADERS);
        let socket = format!("unix:{}", self.state.join("spop.sock").display());
        let journal = self.in_state("journal");
        let admin = self.given.one("adminListen").unwrap_or("127.0.0.1:12346");
        let mut section = |name: &str, keys: Vec<(&str, Value)>| {
            let keys = keys.into_iter().map(|(key, value)| (key.to_owned(), value));
            self.settings
                .agent
                .insert(name.to_owned(), Value::Table(keys.collect()));
        };
        section(
            "server",
            vec![
                ("listen", Value::Array(vec![socket.into()])),
                ("unix_mode", "0600".into()),
                ("max_frame_size", i64::from(frame).max(1 << 20).into()),
            ],
        );
        section("journal", vec![("dir", journal.into())]);
        section("admin", vec![("listen", admin.into())]);
        if let Some(hold) = hold {
            section("capture", vec![("hold", hold.into())]);
        }
    }

    /// What held writes wait for; HAProxy and the agent are told together.
    fn hold(&mut self) -> Option<&'static str> {
        let options = &mut self.settings.haproxy_options;
        if self.given.is_given("noCapture") {
            return None;
        }
        match self.given.one("hold").unwrap_or("kafka") {
            "kafka" => {
                options.hold = Hold::Open;
                options.hold_timeout = KAFKA_HOLD;
                Some("kafka")
            }
            "journal" => {
                options.hold = Hold::Open;
                Some("journal")
            }
            "none" => None,
            other => {
                self.mistakes.push(format!(
                    "--hold {other} is not known; use kafka, journal or none"
                ));
                None
            }
        }
    }

    // -----------------------------------------------------------------------------------------

    fn in_state(&self, name: &str) -> String {
        self.state.join(name).display().to_string()
    }

    /// The path of an option, from the root, because both programs have to find it.
    fn file(&mut self, name: &str) -> Option<String> {
        let path = absolute(Path::new(self.given.one(name)?));
        match path.map(|path| path.into_os_string().into_string()) {
            Ok(Ok(path)) => Some(path),
            Ok(Err(path)) => {
                self.mistakes
                    .push(format!("--{name} {} is not UTF-8", path.display()));
                None
            }
            Err(error) => {
                self.mistakes.push(format!("--{name}: {error}"));
                None
            }
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        let found = self
            .environment
            .iter()
            .find(|(variable, _)| variable == name);
        let text = found?.1.to_str()?;
        (!text.is_empty()).then(|| text.to_owned())
    }
}

fn missing(name: &str, example: &str) -> String {
    format!("--{name} is missing; write --{} {example}", dashed(name))
}

/// `http://host:port`, with the scheme's own port where none is written.
fn node(uri: &str) -> Result<Node, String> {
    let wrong = |why: &str| {
        Err(format!(
            "--destinationUri {uri}: {why}; write http://host:port or https://host:port"
        ))
    };
    let (scheme, rest) = match uri.split_once("://") {
        Some(("http", rest)) => ("", rest),
        Some(("https", rest)) => ("https://", rest),
        _other => return wrong("it is no http or https URI"),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !path.is_empty() || rest.contains(['?', '#']) {
        return wrong("a path cannot be put before that of the requests");
    }
    if authority.contains('@') {
        return wrong("the node's user is who each client says it is");
    }
    let after_brackets = authority.rsplit(']').next().unwrap_or_default();
    let default_port = match (after_brackets.contains(':'), scheme) {
        (true, _) => "",
        (false, "") => ":80",
        (false, _) => ":443",
    };
    format!("{scheme}{authority}{default_port}")
        .parse()
        .map_err(|why| format!("--destinationUri: {why}"))
}
