//! A client of Kafka from the section `[kafka]`: addresses, TLS, the login, and every other property.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! # let config: spoa_agent::config::Config = todo!();
//! use rdkafka::consumer::BaseConsumer;
//! use spoa_agent::offload::client::{Client, Context};
//!
//! let client = Client::new(&config.kafka)?;
//! let consumer: BaseConsumer<Context> = client
//!     .config()
//!     .set("group.id", "readers")
//!     .create_with_context(client.context())?;
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::aws::{self, Tokens};
use crate::config::{Kafka, Sasl};
use crate::identity;
use crate::telemetry::throttle::Throttle;

/// What the brokers' logs call us, unless `kafka.properties` says otherwise.
const CLIENT_ID: &str = "spoa-agent";
/// Java's partitioner: other programs that write to the topic choose the same partition for a key.
const PARTITIONER: &str = "murmur2_random";
/// We know that this property is "experimental": it has been the same since 2018, and is tested here.
const EXPECTED_WARNING: &str = "property enable.gapless.guarantee is experimental";
/// The wish for a token is there from the beginning on; this is only how long to look for it.
const FIRST_POLL: Duration = Duration::from_millis(20);
/// A secret is one line; in bytes.
const SECRET_LIMIT: u64 = 64 << 10;

/// How to reach the brokers, and as whom. Its `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Client {
    config: ClientConfig,
    producer: Vec<(&'static str, String)>,
    makes_tokens: bool,
    context: Context,
}

/// Why there is no client. Nothing of a secret is repeated.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file of a secret cannot be used.
    #[error("cannot use {key} {}: {why}", path.display())]
    Secret {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody says which AWS region signatures are for.
    #[error(
        "kafka.sasl = aws-msk-iam signs for a region, and the brokers' names do not tell it; set kafka.aws_region"
    )]
    NoRegion,
}

impl Client {
    /// What `[kafka]` says. Secrets are read from their files now.
    ///
    /// # Errors
    /// When a secret cannot be read.
    pub fn new(kafka: &Kafka) -> Result<Self, ClientError> {
        let mut config = ClientConfig::new();
        config
            .set("client.id", CLIENT_ID)
            .set("bootstrap.servers", kafka.brokers.join(","))
            .set("security.protocol", kafka.security.word());
        encrypt(kafka, &mut config)?;
        log_in(kafka, &mut config)?;
        for (name, value) in kafka.properties.iter() {
            config.set(name, value);
        }
        Ok(Self {
            config,
            producer: producer_properties(kafka),
            makes_tokens: kafka.sasl == Sasl::AwsMskIam,
            context: Context::new(tokens(kafka)?),
        })
    }

    /// Properties of any client.
    #[must_use]
    pub fn config(&self) -> ClientConfig {
        self.config.clone()
    }

    /// Properties of a producer.
    #[must_use]
    pub fn producer_config(&self) -> ClientConfig {
        let mut config = self.config();
        for (name, value) in &self.producer {
            if config.get(name).is_none() {
                config.set(*name, value);
            }
        }
        config
    }

    /// Whether it logs in with tokens that are made here. librdkafka asks those for them who poll it: producers and
    /// consumers do, an `AdminClient` does not and never gets in.
    #[must_use]
    pub const fn has_tokens(&self) -> bool {
        self.makes_tokens
    }

    /// Lets a consumer that was just created log in, so that its questions are answered before anybody reads from it.
    pub fn let_in<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>) {
        if self.has_tokens() {
            // Nothing is assigned to it, so this is never a message.
            drop(consumer.poll(FIRST_POLL));
        }
    }

    /// What a client of this configuration has to be created with.
    #[must_use]
    pub fn context(&self) -> Context {
        self.context.clone()
    }
}

fn encrypt(kafka: &Kafka, config: &mut ClientConfig) -> Result<(), ClientError> {
    let files = [
        ("ssl.ca.location", &kafka.ca_file),
        ("ssl.certificate.location", &kafka.client_cert_file),
        ("ssl.key.location", &kafka.client_key_file),
    ];
    for (name, path) in files {
        if let Some(path) = path {
            config.set(name, path.to_string_lossy());
        }
    }
    if let Some(path) = &kafka.client_key_file {
        warn_when_open("kafka.client_key_file", path);
    }
    if let Some(path) = &kafka.client_key_password_file {
        let password = secret("kafka.client_key_password_file", path)?;
        config.set("ssl.key.password", password);
    }
    Ok(())
}

fn log_in(kafka: &Kafka, config: &mut ClientConfig) -> Result<(), ClientError> {
    let Some(mechanism) = kafka.sasl.mechanism() else {
        return Ok(());
    };
    config.set("sasl.mechanism", mechanism);
    let mut set = |name: &str, value: &Option<String>| {
        if let Some(value) = value {
            config.set(name, value);
        }
    };
    match kafka.sasl {
        Sasl::None | Sasl::AwsMskIam => {}
        Sasl::Plain | Sasl::ScramSha256 | Sasl::ScramSha512 => {
            set("sasl.username", &kafka.username);
            let password = optional_secret("kafka.password_file", &kafka.password_file)?;
            set("sasl.password", &password);
        }
        Sasl::Gssapi => {
            set("sasl.kerberos.principal", &kafka.username);
            let keytab = kafka.kerberos_keytab_file.as_ref();
            let keytab = keytab.map(|path| path.to_string_lossy().into_owned());
            set("sasl.kerberos.keytab", &keytab);
        }
        Sasl::OauthBearer => {
            set("sasl.oauthbearer.method", &Some("oidc".to_owned()));
            set(
                "sasl.oauthbearer.token.endpoint.url",
                &kafka.oauth_token_url,
            );
            set("sasl.oauthbearer.client.id", &kafka.oauth_client_id);
            let key = "kafka.oauth_client_secret_file";
            let secret = optional_secret(key, &kafka.oauth_client_secret_file)?;
            set("sasl.oauthbearer.client.secret", &secret);
            set("sasl.oauthbearer.scope", &kafka.oauth_scope);
            set("sasl.oauthbearer.extensions", &kafka.oauth_extensions);
        }
    }
    Ok(())
}

fn tokens(kafka: &Kafka) -> Result<Option<Tokens>, ClientError> {
    if kafka.sasl != Sasl::AwsMskIam {
        return Ok(None);
    }
    let named = kafka
        .brokers
        .first()
        .and_then(|broker| aws::region_of(broker));
    let region = kafka
        .aws_region
        .clone()
        .or_else(|| named.map(str::to_owned))
        .or_else(|| std::env::var("AWS_REGION").ok())
        .filter(|region| !region.is_empty());
    region
        .map(|region| Some(Tokens::new(region)))
        .ok_or(ClientError::NoRegion)
}

/// What makes a producer lose nothing and keep the order: each message is tried until it is delivered, in its
/// place, and counts as delivered when all replicas have it.
fn producer_properties(kafka: &Kafka) -> Vec<(&'static str, String)> {
    let linger = kafka.linger.as_millis().to_string();
    // The follower's own bound comes first; this one is twice as wide, so that it is never met in order.
    let kilobytes = (kafka.max_in_flight_bytes >> 9).max(1).to_string();
    vec![
        ("enable.idempotence", "true".to_owned()),
        // A message that comes back ends the producer, before a later one overtakes it.
        ("enable.gapless.guarantee", "true".to_owned()),
        ("acks", "all".to_owned()),
        ("message.timeout.ms", "0".to_owned()),
        ("compression.type", kafka.compression.word().to_owned()),
        ("message.max.bytes", kafka.message_max_bytes.to_string()),
        ("linger.ms", linger),
        ("queue.buffering.max.messages", "0".to_owned()),
        ("queue.buffering.max.kbytes", kilobytes),
        ("partitioner", PARTITIONER.to_owned()),
    ]
}

// ---------------------------------------------------------------------------------------------
// Secrets

fn optional_secret(
    key: &'static str,
    path: &Option<PathBuf>,
) -> Result<Option<String>, ClientError> {
    path.as_ref().map(|path| secret(key, path)).transpose()
}

/// The first line of a file.
pub(crate) fn secret(key: &'static str, path: &Path) -> Result<String, ClientError> {
    let unusable = |why: String| ClientError::Secret {
        key,
        path: path.to_owned(),
        why,
    };
    warn_when_open(key, path);
    let bytes = read(path).map_err(|error| unusable(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_bytes| unusable("is not UTF-8".to_owned()))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(unusable("its first line is empty".to_owned()));
    }
    if line.contains('\0') {
        return Err(unusable("it has a zero byte".to_owned()));
    }
    Ok(line.to_owned())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(SECRET_LIMIT)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn warn_when_open(key: &'static str, path: &Path) {
    if identity::is_open_to_others(path) {
        tracing::warn!(key, file = %path.display(), "the file can be read by others; chmod 0600 it");
    }
}

// ---------------------------------------------------------------------------------------------
// What a client says of itself

/// What every client of Kafka is created with: where librdkafka's log goes, and what it said last that is wrong with
/// the connection.
#[derive(Clone, Default)]
pub struct Context {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    tokens: Option<Tokens>,
    trouble: Mutex<Option<String>>,
    /// Why there was no token, when it was asked for last.
    no_token: Mutex<Option<String>>,
    /// What was said of one broker.
    last: Mutex<String>,
    lines: Throttle,
    errors: Throttle,
}

impl fmt::Debug for Context {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Context")
            .field("trouble", &self.trouble())
            .finish()
    }
}

impl Context {
    fn new(tokens: Option<Tokens>) -> Self {
        Self {
            shared: Arc::new(Shared {
                tokens,
                ..Shared::default()
            }),
        }
    }

    /// What is wrong with the connection to the brokers, as far as it is known.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.shared.trouble.lock().clone()
    }

    /// Something went well: what was wrong is over.
    pub fn recovered(&self) {
        let mut trouble = self.shared.trouble.lock();
        if trouble.take().is_some() {
            tracing::info!("kafka is reached again");
        }
    }

    /// Why nobody can log in: no token could be made.
    pub(super) fn no_token(&self) -> Option<String> {
        self.shared.no_token.lock().clone()
    }

    /// Something is wrong until [`Context::recovered`].
    pub fn remember(&self, said: String) {
        *self.shared.trouble.lock() = Some(said);
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if line.contains(EXPECTED_WARNING) {
            return;
        }
        match level {
            RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "librdkafka", facility, "{line}");
            }
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                tracing::info!(target: "librdkafka", facility, "{line}");
            }
            // It tries again and says so each time; that it is an error for us, the follower says.
            RDKafkaLogLevel::Warning
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Emerg => {
                if let Some(suppressed) = self.shared.lines.admit() {
                    tracing::warn!(target: "librdkafka", facility, suppressed, "{line}");
                }
            }
        }
    }

    fn generate_oauth_token(
        &self,
        _config: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        Ok(self.token()?)
    }

    fn error(&self, error: KafkaError, reason: &str) {
        use RDKafkaErrorCode as Code;
        let code = error.rdkafka_error_code();
        match code {
            // A reader asked to be told, and is.
            Some(Code::PartitionEOF) => return,
            // One of several may be away without harm; what it says explains it when all are.
            Some(Code::BrokerTransportFailure | Code::Resolve) => {
                *self.shared.last.lock() = reason.to_owned();
            }
            Some(Code::AllBrokersDown) => {
                let last = self.shared.last.lock().clone();
                self.remember(format!("no broker is reached; the last one: {last}"));
            }
            _ => self.remember(reason.to_owned()),
        }
        if let Some(suppressed) = self.shared.errors.admit() {
            tracing::warn!(?code, suppressed, "kafka: {reason}");
        }
    }
}

impl ConsumerContext for Context {}

impl Context {
    fn token(&self) -> Result<OAuthToken, String> {
        let tokens = self.shared.tokens.as_ref();
        let tokens = tokens.ok_or_else(|| "this login has no tokens of ours".to_owned())?;
        let token = tokens.token();
        *self.shared.no_token.lock() = token.as_ref().err().map(ToString::to_string);
        token.map_err(|error| {
            let said = error.to_string();
            self.remember(said.clone());
            tracing::error!("kafka: {said}");
            // It passes through a string that ends at a zero.
            said.replace('\0', " ")
        })
    }
}

#[cfg(test)]
mod tests;
