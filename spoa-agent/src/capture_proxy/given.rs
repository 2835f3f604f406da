//! The options of the command line: those of the original, each with its fate here, and a few of ours.
//!
//! Every option has the original's spelling and one with dashes (`--kafkaConnection`, `--kafka-connection`). Those
//! that take one value, or none, may also come from the environment (`CAPTURE_PROXY_KAFKA_CONNECTION`); the command
//! line wins.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct CommandOption {
    /// Its names in the original; the first is the usual one.
    pub names: &'static [&'static str],
    /// What follows it.
    pub takes: Takes,
    /// What it does.
    pub help: &'static str,
    /// What becomes of it here.
    pub fate: Fate,
    /// Whether the original does not know it.
    pub is_ours: bool,
}

/// What follows an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Nothing: the option is a switch.
    Nothing,
    /// One value.
    One(&'static str),
    /// Two values; the option may be repeated.
    Two(&'static str, &'static str),
}

/// What becomes of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It does what it does in the original, as far as its help says.
    Works,
    /// It is accepted, changes nothing, and a note says why.
    NoEffect(&'static str),
    /// It is refused, with the way out, because going on without it would lose something.
    Refused(&'static str),
}

/// The environment variables begin with it, as in the original.
pub const ENV_PREFIX: &str = "CAPTURE_PROXY_";
/// The original also looks for variables that end in it.
const ENV_SUFFIX: &str = "_CMD_LINE_ARG";
/// The variable of the password: the only secret, and so no option.
pub const PASSWORD_ENV: &str = "CAPTURE_PROXY_KAFKA_PASSWORD";

const fn works(names: &'static [&'static str], takes: Takes, help: &'static str) -> CommandOption {
    CommandOption {
        names,
        takes,
        help,
        fate: Fate::Works,
        is_ours: false,
    }
}

const fn ours(names: &'static [&'static str], takes: Takes, help: &'static str) -> CommandOption {
    CommandOption {
        is_ours: true,
        ..works(names, takes, help)
    }
}

const fn no_effect(
    names: &'static [&'static str],
    takes: Takes,
    why: &'static str,
) -> CommandOption {
    CommandOption {
        fate: Fate::NoEffect(why),
        ..works(names, takes, "Accepted, and has no effect")
    }
}

const fn refused(
    names: &'static [&'static str],
    takes: Takes,
    way_out: &'static str,
) -> CommandOption {
    CommandOption {
        fate: Fate::Refused(way_out),
        ..works(names, takes, "Refused, with the way out")
    }
}

/// Every option, in the order of the help.
pub const OPTIONS: &[CommandOption] = &[
    works(
        &["destinationUri"],
        Takes::One("URI"),
        "The node: http://host:port or https://host:port; required",
    ),
    works(
        &["listenPort"],
        Takes::One("PORT"),
        "Where clients connect: a port, or address:port; required",
    ),
    works(
        &["insecureDestination"],
        Takes::Nothing,
        "Take any certificate from an https node",
    ),
    works(
        &["setHeader"],
        Takes::Two("NAME", "VALUE"),
        "A header for requests on their way to the node, which the capture does not have; may be repeated",
    ),
    works(
        &["kafkaConnection", "kafkaBrokers"],
        Takes::One("BROKERS"),
        "Kafka's brokers, host:port with commas between them; required without --noCapture",
    ),
    works(
        &["kafkaTopic"],
        Takes::One("TOPIC"),
        "The topic [default: logging-traffic-topic]",
    ),
    works(
        &["kafkaClientId"],
        Takes::One("NAME"),
        "What the brokers' logs call us [default: HttpCaptureProxyProducer]",
    ),
    works(
        &["kafkaAuthType"],
        Takes::One("TYPE"),
        "How to log in: none, msk-iam, scram-sha-512 or ssl [default: none]",
    ),
    works(
        &["enableMSKAuth"],
        Takes::Nothing,
        "The same as --kafkaAuthType msk-iam",
    ),
    works(
        &["kafkaUserName"],
        Takes::One("NAME"),
        "The user for scram-sha-512; the password comes from --kafkaPasswordFile or CAPTURE_PROXY_KAFKA_PASSWORD",
    ),
    works(
        &["kafkaPropertyFile", "kafkaConfigFile"],
        Takes::One("FILE"),
        "Properties of the Java client; they are translated",
    ),
    works(
        &["maxTrafficBufferSize"],
        Takes::One("BYTES"),
        "Largest message [default: 1000000]",
    ),
    works(
        &["sslCertChainFile"],
        Takes::One("FILE"),
        "Serve clients with TLS: the certificate chain, in PEM; read again on SIGHUP",
    ),
    works(
        &["sslKeyFile"],
        Takes::One("FILE"),
        "The key of --sslCertChainFile, in PEM",
    ),
    works(
        &["sslTrustCertFile"],
        Takes::One("FILE"),
        "Whose certificates clients may show, in PEM",
    ),
    works(
        &["sslTrustCertPemEnvVar"],
        Takes::One("NAME"),
        "The same, from this environment variable",
    ),
    works(
        &["requireClientAuth"],
        Takes::Nothing,
        "Refuse clients without a certificate",
    ),
    works(
        &["noCapture"],
        Takes::Nothing,
        "Capture nothing: HAProxy before the node, and no more",
    ),
    works(
        &["suppressCaptureForMethod"],
        Takes::One("REGEX"),
        "Do not capture requests with such a method, nor their responses; the whole method must match, as in all of these",
    ),
    works(
        &["suppressCaptureForUriPath"],
        Takes::One("REGEX"),
        "... with such a target, query included: /_cat/.* and not /_cat/*",
    ),
    works(
        &["suppressMethodAndPath", "suppressCaptureForMethodAndPath"],
        Takes::One("REGEX"),
        "... with such a method, space and target",
    ),
    works(
        &["suppressCaptureForHeaderMatch"],
        Takes::Two("NAME", "REGEX"),
        "... with such a header; may be repeated",
    ),
    works(
        &["numThreads"],
        Takes::One("NUMBER"),
        "HAProxy's threads; 0 is one per core [default: 0]",
    ),
    no_effect(
        &["destinationConnectionPoolSize"],
        Takes::One("NUMBER"),
        "HAProxy keeps connections to the node open and uses them again by itself",
    ),
    no_effect(
        &["destinationConnectionPoolTimeout"],
        Takes::One("DURATION"),
        "HAProxy keeps connections to the node open and uses them again by itself",
    ),
    no_effect(
        &["kafkaListenerName"],
        Takes::One("NAME"),
        "it only tells an orchestrator which brokers to write into --kafkaConnection",
    ),
    no_effect(
        &["kafkaSecretName"],
        Takes::One("NAME"),
        "it only tells an orchestrator which secret to mount; give the file with --kafkaPasswordFile",
    ),
    no_effect(
        &["otelMetricsCollectorEndpoint"],
        Takes::One("URL"),
        "metrics are served for Prometheus on /metrics of --adminListen, where an OpenTelemetry collector can scrape them",
    ),
    no_effect(
        &["otelTraceCollectorEndpoint"],
        Takes::One("URL"),
        "there are no traces; the id of each exchange is in the header X-Capture-Id, which the node's own traces can carry",
    ),
    refused(
        &["kafkaPassword"],
        Takes::One("PASSWORD"),
        "every user of the machine can read a command line; put the password into a file for --kafkaPasswordFile, or into the environment variable CAPTURE_PROXY_KAFKA_PASSWORD",
    ),
    refused(
        &["traceDirectory"],
        Takes::One("DIR"),
        "the journal in --stateDir keeps every exchange; `spoa-agent journal cat --journal-dir STATE/journal` prints it, and SPOA_AGENT_TRAFFIC_LOG_PATH writes a line per exchange",
    ),
    refused(
        &["sslConfigFile"],
        Takes::One("FILE"),
        "name the certificate and the key themselves, with --sslCertChainFile and --sslKeyFile",
    ),
    ours(
        &["hold"],
        Takes::One("MODE"),
        "What a write waits for before the node gets it: kafka (it is in Kafka, or 10 s have passed), journal (it is on disk), or none [default: kafka]",
    ),
    ours(
        &["format"],
        Takes::One("FORMAT"),
        "How messages are written: traffic-stream (as the original, for its replayer), json or protobuf [default: traffic-stream]",
    ),
    ours(
        &["bodyLimit"],
        Takes::One("SIZE"),
        "Largest body that is captured whole; at most 4080KiB [default: 1MiB]",
    ),
    ours(
        &["destinationCaFile"],
        Takes::One("FILE"),
        "Whose certificates an https node is verified with, in PEM [default: those of the system]",
    ),
    ours(
        &["kafkaPasswordFile"],
        Takes::One("FILE"),
        "File whose first line is the password of --kafkaUserName",
    ),
    ours(
        &["kafkaCaFile"],
        Takes::One("FILE"),
        "Whose certificates the brokers are verified with, in PEM [default: those of the system]",
    ),
    ours(
        &["adminListen"],
        Takes::One("ADDRESS"),
        "Where /metrics, /healthz and /ledger are served [default: 127.0.0.1:12346]",
    ),
    ours(
        &["stateDir"],
        Takes::One("DIR"),
        "Where the journal and the written configuration are kept [default: STATE_DIRECTORY of systemd, /var/lib/spoa-agent/capture-proxy-PORT for root, ~/.local/state/spoa-agent/capture-proxy-PORT otherwise]",
    ),
    ours(
        &["haproxy"],
        Takes::One("FILE"),
        "HAProxy's program [default: haproxy in PATH, /usr/sbin or /usr/local/sbin]",
    ),
    ours(
        &["check"],
        Takes::Nothing,
        "Write and check the configuration of both, and do not start them",
    ),
];

/// What a command line and an environment say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    values: BTreeMap<&'static str, Vec<String>>,
}

impl Given {
    /// An option of the command line, by its first name, with what follows it: each time it was given, one after
    /// the other. Switches have no value.
    pub fn set(&mut self, name: &'static str, values: Vec<String>) {
        self.values.insert(name, values);
    }

    /// Adds what the environment says and the command line does not.
    #[must_use]
    pub fn with_environment(mut self, environment: &[(OsString, OsString)]) -> Self {
        for option in OPTIONS {
            let (Some(name), false) =
                (option.names.first(), matches!(option.takes, Takes::Two(..)))
            else {
                continue;
            };
            // The variable of a password is right where the option is not.
            if self.values.contains_key(name) || *name == "kafkaPassword" {
                continue;
            }
            let variables: Vec<String> = option
                .names
                .iter()
                .flat_map(|name| variables(name))
                .collect();
            let found = environment
                .iter()
                .find(|(variable, _)| variables.iter().any(|known| variable == known.as_str()));
            let Some(value) = found.and_then(|(_, value)| value.to_str()) else {
                continue;
            };
            match option.takes {
                Takes::Nothing if !value.eq_ignore_ascii_case("true") => {}
                Takes::Nothing => self.set(name, Vec::new()),
                Takes::One(_) | Takes::Two(..) => self.set(name, vec![value.to_owned()]),
            }
        }
        self
    }

    /// Whether the configuration is only to be written and checked.
    #[must_use]
    pub fn is_check(&self) -> bool {
        self.is_given("check")
    }

    pub(super) fn is_given(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    pub(super) fn one(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)?
            .last()
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    pub(super) fn pairs(&self, name: &str) -> impl Iterator<Item = (&str, &str)> {
        let values = self.values.get(name).map_or(&[][..], Vec::as_slice);
        values.chunks(2).filter_map(|pair| match pair {
            [name, value] => Some((name.as_str(), value.as_str())),
            _half => None,
        })
    }
}

/// The spelling with dashes: `enableMSKAuth` is `enable-msk-auth`.
#[must_use]
pub fn dashed(name: &str) -> String {
    parted(name, '-').to_ascii_lowercase()
}

/// The environment variables of an option: as one would write them, and as the original does, which parts
/// every capital letter from the one before.
fn variables(name: &str) -> Vec<String> {
    let every_capital: String = name
        .chars()
        .flat_map(|c| c.is_ascii_uppercase().then_some('_').into_iter().chain([c]))
        .collect();
    [parted(name, '_'), every_capital]
        .into_iter()
        .flat_map(|name| {
            let variable = format!("{ENV_PREFIX}{}", name.to_ascii_uppercase());
            [format!("{variable}{ENV_SUFFIX}"), variable]
        })
        .collect()
}

/// The words of a name, parted; of several capitals in a row, only the last may begin a word.
fn parted(name: &str, separator: char) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut out = String::with_capacity(name.len() + 8);
    for (index, letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|index| letters.get(index));
        let after = letters.get(index + 1);
        let is_lower = |c: Option<&char>| c.is_some_and(char::is_ascii_lowercase);
        if letter.is_ascii_uppercase() && before.is_some() && (is_lower(before) || is_lower(after))
        {
            out.push(separator);
        }
        out.push(*letter);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    #[test]
    fn names_have_a_spelling_with_dashes() {
        assert_eq!(dashed("kafkaConnection"), "kafka-connection");
        assert_eq!(dashed("enableMSKAuth"), "enable-msk-auth");
        assert_eq!(
            dashed("sslTrustCertPemEnvVar"),
            "ssl-trust-cert-pem-env-var"
        );
        assert_eq!(dashed("hold"), "hold");
    }

    #[test]
    fn the_environment_says_what_the_command_line_does_not() {
        let mut given = Given::default();
        given.set("listenPort", vec!["9200".to_owned()]);
        let given = given.with_environment(&environment(&[
            ("CAPTURE_PROXY_LISTEN_PORT", "1"),
            ("CAPTURE_PROXY_KAFKA_BROKERS", "k:9092"),
            ("CAPTURE_PROXY_DESTINATION_URI_CMD_LINE_ARG", "http://n:1"),
            ("CAPTURE_PROXY_ENABLE_M_S_K_AUTH", "true"),
            ("CAPTURE_PROXY_NO_CAPTURE", "false"),
            ("CAPTURE_PROXY_KAFKA_PASSWORD", "secret"),
        ]));
        assert_eq!(given.one("listenPort"), Some("9200"));
        assert_eq!(given.one("kafkaConnection"), Some("k:9092"));
        assert_eq!(given.one("destinationUri"), Some("http://n:1"));
        assert!(given.is_given("enableMSKAuth"));
        assert!(!given.is_given("noCapture"));
        assert!(!given.is_given("kafkaPassword"));
    }

    #[test]
    fn an_option_with_two_values_may_be_repeated() {
        let mut given = Given::default();
        given.set(
            "setHeader",
            ["a", "1", "b", "2"].map(str::to_owned).to_vec(),
        );
        let pairs: Vec<_> = given.pairs("setHeader").collect();
        assert_eq!(pairs, [("a", "1"), ("b", "2")]);
    }

    #[test]
    fn no_two_options_have_a_name_in_common() {
        let mut names: Vec<&str> = OPTIONS
            .iter()
            .flat_map(|option| option.names)
            .copied()
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
