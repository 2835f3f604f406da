//! Kinds of values of `[kafka]`.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use super::kind::{Describe, Fault, Kind, Raw, Shape, check_host};

/// What the ACK of a held write waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hold {
    /// The half is on disk.
    #[default]
    Journal,
    /// The half is on disk, and Kafka has it too.
    Kafka,
}

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MessageFormat {
    /// The documents of the traffic log.
    #[default]
    Json,
    /// Our own protobuf.
    Protobuf,
    /// The protobuf of the OpenSearch capture proxy.
    TrafficStream,
}

/// What keeps its order in the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MessageKey {
    /// What came over one client connection.
    #[default]
    Connection,
    /// What touches one document.
    Document,
    /// Nothing; every exchange has a key of its own.
    Id,
}

/// How batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    None,
    /// Deflate.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    #[default]
    Zstd,
}

/// What protects the connection to a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Security {
    /// Nothing.
    #[default]
    Plaintext,
    /// TLS.
    Tls,
    /// A login in clear text.
    SaslPlaintext,
    /// A login inside TLS.
    SaslTls,
}

/// How the agent logs in to a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sasl {
    /// Not at all.
    #[default]
    None,
    /// User and password.
    Plain,
    /// User and password, of which only a proof is sent.
    ScramSha256,
    /// The same with a longer hash.
    ScramSha512,
    /// A token of an OpenID provider.
    OauthBearer,
    /// Kerberos.
    Gssapi,
    /// A signature with AWS credentials.
    AwsMskIam,
}

impl Compression {
    /// librdkafka's word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl Security {
    /// librdkafka's word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Tls => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslTls => "sasl_ssl",
        }
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::SaslTls)
    }

    /// Whether there is a login.
    #[must_use]
    pub const fn has_login(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslTls)
    }
}

impl Sasl {
    /// The name of the mechanism, as brokers know it.
    #[must_use]
    pub const fn mechanism(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Plain => Some("PLAIN"),
            Self::ScramSha256 => Some("SCRAM-SHA-256"),
            Self::ScramSha512 => Some("SCRAM-SHA-512"),
            Self::OauthBearer | Self::AwsMskIam => Some("OAUTHBEARER"),
            Self::Gssapi => Some("GSSAPI"),
        }
    }

    /// Whether it takes a user and a password.
    #[must_use]
    pub const fn takes_a_password(self) -> bool {
        matches!(self, Self::Plain | Self::ScramSha256 | Self::ScramSha512)
    }
}

/// Properties of librdkafka, none of which belongs to a key of ours, and none of which is a secret.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    /// Names and values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of one.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_map().entries(&self.0).finish()
    }
}

// ---------------------------------------------------------------------------------------------
// Kinds

/// Brokers to begin with, or none.
#[derive(Debug)]
pub(crate) struct Brokers;

/// The name of a topic.
#[derive(Debug)]
pub(crate) struct Topic;

/// The name of a topic, or none.
#[derive(Debug)]
pub(crate) struct OptionalTopic;

/// Any text on one line, or nothing.
#[derive(Debug)]
pub(crate) struct OptionalText {
    /// What is written, with its article.
    pub(crate) what: &'static str,
}

/// Properties of librdkafka.
#[derive(Debug)]
pub(crate) struct LibraryProperties;

/// Longest name of a topic that a broker takes.
const TOPIC_MAX: usize = 249;

impl Kind for Brokers {
    type Value = Vec<String>;

    fn read(&self, raw: &Raw) -> Result<Vec<String>, Fault> {
        let items = raw.items("a list of brokers")?;
        items
            .into_iter()
            .map(|item| broker(item).map(|()| item.to_owned()))
            .collect()
    }
}

impl Describe for Brokers {
    fn shape(&self) -> Shape {
        Shape::List
    }

    fn placeholder(&self) -> &'static str {
        "BROKERS"
    }

    fn accepts(&self) -> String {
        "host:port or [ipv6]:port, each; empty for off".to_owned()
    }
}

fn broker(text: &str) -> Result<(), Fault> {
    let way_out = "write host:port, such as kafka.example:9092";
    if text.contains("://") {
        return Err(Fault::new(
            format!("has a protocol in {text:?}"),
            "write host:port; kafka.security says how the connection is protected",
        ));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(Fault::new(format!("has no port in {text:?}"), way_out));
    };
    if !port.parse::<u16>().is_ok_and(|port| port != 0) {
        return Err(Fault::new(format!("has the bad port {port:?}"), way_out));
    }
    check_host(host).map_err(|why| Fault::new(why, way_out))
}

impl Kind for Topic {
    type Value = String;

    fn read(&self, raw: &Raw) -> Result<String, Fault> {
        let text = raw.text("the name of a topic")?;
        let is_right = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !is_right || text.is_empty() || text.len() > TOPIC_MAX || text == "." || text == ".." {
            return Err(Fault::new(
                "is not the name of a topic",
                format!("write {}", self.accepts()),
            ));
        }
        Ok(text.to_owned())
    }
}

impl Describe for Topic {
    fn shape(&self) -> Shape {
        Shape::Text
    }

    fn placeholder(&self) -> &'static str {
        "TOPIC"
    }

    fn accepts(&self) -> String {
        format!("letters, digits, dots, hyphens and underscores, {TOPIC_MAX} at most")
    }
}

impl Kind for OptionalTopic {
    type Value = Option<String>;

    fn read(&self, raw: &Raw) -> Result<Option<String>, Fault> {
        match raw.text("the name of a topic")? {
            "" => Ok(None),
            _name => Topic.read(raw).map(Some),
        }
    }
}

impl Describe for OptionalTopic {
    fn shape(&self) -> Shape {
        Shape::Text
    }

    fn placeholder(&self) -> &'static str {
        "TOPIC"
    }

    fn accepts(&self) -> String {
        format!("{}; empty for off", Topic.accepts())
    }
}

impl Kind for OptionalText {
    type Value = Option<String>;

    fn read(&self, raw: &Raw) -> Result<Option<String>, Fault> {
        let text = raw.text(self.what)?;
        if text.chars().any(char::is_control) {
            return Err(Fault::new(
                "has a control character",
                format!("write {} on one line", self.what),
            ));
        }
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }
}

impl Describe for OptionalText {
    fn shape(&self) -> Shape {
        Shape::Text
    }

    fn placeholder(&self) -> &'static str {
        "TEXT"
    }

    fn accepts(&self) -> String {
        format!("{}; empty for none", self.what)
    }
}

impl Kind for LibraryProperties {
    type Value = Properties;

    fn read(&self, raw: &Raw) -> Result<Properties, Fault> {
        let mut properties = BTreeMap::new();
        for (name, value) in entries(raw)? {
            judge(&name, &value)?;
            if properties.insert(name.clone(), value).is_some() {
                return Err(secret(
                    format!("has {name} twice"),
                    "write each property once",
                ));
            }
        }
        Ok(Properties(properties))
    }
}

impl Describe for LibraryProperties {
    fn shape(&self) -> Shape {
        Shape::Table
    }

    fn placeholder(&self) -> &'static str {
        "NAME=VALUE"
    }

    fn accepts(&self) -> String {
        "a table of librdkafka's properties, or name=value with commas between them".to_owned()
    }
}

/// In text, what has no `=` belongs to the value before it: `debug=broker,security`.
fn entries(raw: &Raw) -> Result<Vec<(String, String)>, Fault> {
    if let Raw::Table(entries) = raw {
        return Ok(entries.clone());
    }
    let mut entries: Vec<(String, String)> = Vec::new();
    for item in raw.items("a table")? {
        match (item.split_once('='), entries.last_mut()) {
            (Some((name, value)), _) => {
                entries.push((name.trim().to_owned(), value.trim().to_owned()));
            }
            (None, Some((_, value))) => {
                value.push(',');
                value.push_str(item);
            }
            (None, None) => {
                return Err(secret(
                    "has no = in it".to_owned(),
                    "write name=value, with commas between several",
                ));
            }
        }
    }
    Ok(entries)
}

fn judge(name: &str, value: &str) -> Result<(), Fault> {
    if let Some((_, key)) = SECRETS.iter().find(|(secret, _)| *secret == name) {
        return Err(secret(format!("has the secret {name}"), *key));
    }
    if let Some((_, key)) = OURS.iter().find(|(ours, _)| *ours == name) {
        return Err(secret(
            format!("has {name}, which kafka.{key} says"),
            format!("leave it out, and set kafka.{key}"),
        ));
    }
    if let Some((_, why)) = FIXED.iter().find(|(fixed, _)| *fixed == name) {
        return Err(secret(format!("has {name}, but {why}"), "leave it out"));
    }
    let mut alone = ClientConfig::new();
    alone.set(name, value);
    match alone.create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(_, why, ..)) => Err(secret(
            format!(
                "has {name}, and librdkafka says: {}",
                why.trim_end_matches('.')
            ),
            "see the list of properties in librdkafka's CONFIGURATION.md",
        )),
        Err(_with_a_zero) => Err(secret(format!("has {name} with a zero byte"), "remove it")),
    }
}

/// The text of all properties is not repeated: one of the others may be a secret.
fn secret(why: String, way_out: impl Into<String>) -> Fault {
    Fault {
        is_secret: true,
        ..Fault::new(why, way_out)
    }
}

/// Properties that hold a secret, and what to do.
const SECRETS: &[(&str, &str)] = &[
    (
        "sasl.password",
        "name a file that holds it in kafka.password_file",
    ),
    (
        "ssl.key.password",
        "name a file that holds it in kafka.client_key_password_file",
    ),
    (
        "ssl.keystore.password",
        "use PEM files: kafka.client_cert_file and kafka.client_key_file",
    ),
    (
        "ssl.key.pem",
        "name a file that holds it in kafka.client_key_file",
    ),
    (
        "sasl.oauthbearer.client.secret",
        "name a file that holds it in kafka.oauth_client_secret_file",
    ),
    (
        "sasl.oauthbearer.client.credentials.client.secret",
        "name a file that holds it in kafka.oauth_client_secret_file",
    ),
    (
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "name a file without a pass phrase in sasl.oauthbearer.assertion.private.key.file, with mode 0600",
    ),
    (
        "sasl.oauthbearer.assertion.private.key.pem",
        "name a file that holds it in sasl.oauthbearer.assertion.private.key.file",
    ),
];

/// Properties that keys of ours set, by all their names.
const OURS: &[(&str, &str)] = &[
    ("bootstrap.servers", "brokers"),
    ("metadata.broker.list", "brokers"),
    ("compression.type", "compression"),
    ("compression.codec", "compression"),
    ("message.max.bytes", "message_max_bytes"),
    ("linger.ms", "linger"),
    ("queue.buffering.max.ms", "linger"),
    ("queue.buffering.max.kbytes", "max_in_flight_bytes"),
    ("security.protocol", "security"),
    ("sasl.mechanism", "sasl"),
    ("sasl.mechanisms", "sasl"),
    ("sasl.username", "username"),
    ("sasl.kerberos.principal", "username"),
    ("sasl.kerberos.keytab", "kerberos_keytab_file"),
    ("ssl.ca.location", "ca_file"),
    ("ssl.certificate.location", "client_cert_file"),
    ("ssl.key.location", "client_key_file"),
    ("sasl.oauthbearer.method", "sasl"),
    ("sasl.oauthbearer.config", "sasl"),
    ("enable.sasl.oauthbearer.unsecure.jwt", "sasl"),
    ("sasl.oauthbearer.token.endpoint.url", "oauth_token_url"),
    ("sasl.oauthbearer.client.id", "oauth_client_id"),
    (
        "sasl.oauthbearer.client.credentials.client.id",
        "oauth_client_id",
    ),
    ("sasl.oauthbearer.scope", "oauth_scope"),
    ("sasl.oauthbearer.extensions", "oauth_extensions"),
];

/// Properties that nobody may change, and why.
const FIXED: &[(&str, &str)] = &[
    (
        "acks",
        "an exchange counts as delivered only when all replicas have it",
    ),
    (
        "request.required.acks",
        "an exchange counts as delivered only when all replicas have it",
    ),
    (
        "enable.idempotence",
        "without it messages could come twice and in another order",
    ),
    (
        "enable.gapless.guarantee",
        "without it a message could be overtaken by a later one",
    ),
    (
        "message.timeout.ms",
        "no exchange is given up because Kafka is away; the journal keeps it",
    ),
    (
        "delivery.timeout.ms",
        "no exchange is given up because Kafka is away; the journal keeps it",
    ),
    (
        "message.send.max.retries",
        "no exchange is given up because Kafka is away; the journal keeps it",
    ),
    (
        "retries",
        "no exchange is given up because Kafka is away; the journal keeps it",
    ),
    (
        "queue.buffering.max.messages",
        "only bytes bound what is on its way; see kafka.max_in_flight_bytes",
    ),
    (
        "delivery.report.only.error",
        "the report of each message is what the cursor waits for",
    ),
    ("log.queue", "the agent takes librdkafka's log itself"),
    ("transactional.id", "the agent uses no transactions"),
    (
        "enable.auto.commit",
        "offsets are committed when an exchange is done",
    ),
];
