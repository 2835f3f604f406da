//! A properties file of the Java client, in the words of the section `[kafka]`.
//!
//! What the agent sees to by itself is noted, what has a key of its own becomes that key, what only Java can read
//! is refused with the way out, and the rest are properties that the C library shares with Java.

use toml::{Table, Value};

/// What a file comes to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Translated {
    /// Keys of `[kafka]`.
    pub(super) kafka: Table,
    /// Secrets, by the key that is to name their file.
    pub(super) secrets: Vec<(&'static str, String)>,
    pub(super) notes: Vec<String>,
    pub(super) mistakes: Vec<String>,
}

/// What the agent does in any case, or decides by itself.
const OWN: &[(&str, &str)] = &[
    ("bootstrap.servers", "--kafkaConnection says it"),
    ("client.id", "--kafkaClientId says it"),
    ("key.serializer", "keys and values are bytes"),
    ("value.serializer", "keys and values are bytes"),
    ("acks", "it is always all"),
    ("enable.idempotence", "it is always on"),
    (
        "max.in.flight.requests.per.connection",
        "it is what idempotence allows",
    ),
    (
        "retries",
        "nothing is given up: the journal keeps what Kafka does not take",
    ),
    (
        "delivery.timeout.ms",
        "nothing is given up: the journal keeps what Kafka does not take; a held write waits for kafka.hold_deadline",
    ),
    (
        "request.timeout.ms",
        "a held write waits for kafka.hold_deadline",
    ),
    (
        "max.block.ms",
        "nothing blocks: the journal keeps what Kafka does not take",
    ),
    (
        "sasl.client.callback.handler.class",
        "the login is built in",
    ),
    ("sasl.login.callback.handler.class", "the login is built in"),
    ("ssl.truststore.type", "files are in PEM"),
    ("ssl.keystore.type", "files are in PEM"),
    (
        "partitioner.class",
        "the partition is Java's default, murmur2 of the key",
    ),
];

/// Translates a file.
pub(super) fn translate(text: &str) -> Translated {
    let properties = read(text);
    let is_pem = |which: &str| {
        let name = format!("ssl.{which}.type");
        properties
            .iter()
            .any(|(key, value)| *key == name && value.eq_ignore_ascii_case("PEM"))
    };
    let (trust_is_pem, keys_are_pem) = (is_pem("truststore"), is_pem("keystore"));
    let mut out = Translated::default();
    let mut others = Table::new();
    for (key, value) in &properties {
        match key.as_str() {
            "security.protocol" => out.word("security", key, value, SECURITY),
            "sasl.mechanism" => out.word("sasl", key, value, SASL),
            "sasl.jaas.config" => out.log_in(value),
            "ssl.truststore.location" if trust_is_pem => out.set("ca_file", value),
            "ssl.keystore.location" if keys_are_pem => {
                out.set("client_cert_file", value);
                out.set("client_key_file", value);
            }
            "ssl.key.password" => out
                .secrets
                .push(("client_key_password_file", value.clone())),
            "ssl.truststore.location" | "ssl.keystore.location" => out.mistakes.push(format!(
                "{key} = {value}: only Java reads such a file; write it as PEM (`keytool -importkeystore ... \
                 -deststoretype pkcs12`, then `openssl pkcs12 -nodes`), name that, and set its type to PEM"
            )),
            // Of a PEM file there is none; the others are refused by their location.
            "ssl.truststore.password" | "ssl.keystore.password" => {}
            "compression.type" => out.set("compression", value),
            "linger.ms" => out.set("linger", &format!("{value}ms")),
            "max.request.size" => out.set("message_max_bytes", value),
            "buffer.memory" => out.set("max_in_flight_bytes", value),
            _other => match OWN.iter().find(|(own, _)| own == key) {
                Some((_, why)) => out.notes.push(format!("{key} has no effect: {why}")),
                None => {
                    others.insert(key.clone(), Value::String(value.clone()));
                }
            },
        }
    }
    if !others.is_empty() {
        out.kafka.insert("properties".to_owned(), others.into());
    }
    out
}

const SECURITY: &[(&str, &str)] = &[
    ("PLAINTEXT", "plaintext"),
    ("SSL", "tls"),
    ("SASL_PLAINTEXT", "sasl-plaintext"),
    ("SASL_SSL", "sasl-tls"),
];
const SASL: &[(&str, &str)] = &[
    ("PLAIN", "plain"),
    ("SCRAM-SHA-256", "scram-sha-256"),
    ("SCRAM-SHA-512", "scram-sha-512"),
    ("OAUTHBEARER", "oauthbearer"),
    ("GSSAPI", "gssapi"),
    ("AWS_MSK_IAM", "aws-msk-iam"),
];

impl Translated {
    fn set(&mut self, key: &str, value: &str) {
        self.kafka.insert(key.to_owned(), value.into());
    }

    fn word(&mut self, key: &str, theirs: &str, value: &str, words: &[(&str, &str)]) {
        match words
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(value))
        {
            Some((_, ours)) => self.set(key, ours),
            None => {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                self.mistakes.push(format!(
                    "{theirs} = {value} is not known; use {}",
                    known.join(", ")
                ));
            }
        }
    }

    /// `...ScramLoginModule required username="u" password="p";`
    fn log_in(&mut self, jaas: &str) {
        if let Some(user) = argument(jaas, "username") {
            self.set("username", &user);
        }
        if let Some(password) = argument(jaas, "password") {
            self.secrets.push(("password_file", password));
        }
    }
}

fn argument(jaas: &str, name: &str) -> Option<String> {
    let (_, rest) = jaas.split_once(&format!("{name}="))?;
    let rest = rest.trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
    let value = match quote {
        Some(quote) => rest.strip_prefix(quote)?.split(quote).next()?,
        None => rest.split([' ', ';']).next()?,
    };
    Some(value.to_owned())
}

/// The lines of a properties file: `name = value`, `name: value`; `#` and `!` begin comments, and a backslash at the
/// end of a line joins the next.
fn read(text: &str) -> Vec<(String, String)> {
    let mut properties = Vec::new();
    let mut whole = String::new();
    for line in text.lines().map(str::trim) {
        if whole.is_empty() && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        if let Some(begun) = line.strip_suffix('\\') {
            whole.push_str(begun);
            continue;
        }
        whole.push_str(line);
        let end = whole.find(['=', ':']).unwrap_or(whole.len());
        let (name, value) = whole.split_at(end);
        let value = value.trim_start_matches(['=', ':']).trim();
        properties.push((name.trim().to_owned(), unescaped(value)));
        whole.clear();
    }
    properties
}

/// A backslash makes the next character itself.
fn unescaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        out.extend(if letter == '\\' {
            letters.next()
        } else {
            Some(letter)
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_for_java_is_understood() {
        let translated = translate(
            "# for the proxy\nsecurity.protocol=SASL_SSL\nsasl.mechanism: SCRAM-SHA-512\n\
             sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n\
               username=\"capture\" \\\n  password=\"hunter=2\";\n\
             ssl.truststore.type=PEM\nssl.truststore.location=/etc/kafka/ca.pem\nacks=1\nlinger.ms=5\n\
             socket.keepalive.enable=true\n",
        );
        assert_eq!(translated.mistakes, [] as [String; 0]);
        let kafka: Table = toml::from_str(
            "security = \"sasl-tls\"\nsasl = \"scram-sha-512\"\nusername = \"capture\"\nca_file = \"/etc/kafka/ca.pem\"\n\
             linger = \"5ms\"\n[properties]\n\"socket.keepalive.enable\" = \"true\"\n",
        )
        .unwrap();
        assert_eq!(translated.kafka, kafka);
        assert_eq!(
            translated.secrets,
            [("password_file", "hunter=2".to_owned())]
        );
        assert!(
            translated
                .notes
                .iter()
                .any(|note| note.starts_with("acks has no effect"))
        );
    }

    #[test]
    fn the_file_of_the_guide_for_msk_is_understood() {
        let translated = translate(
            "security.protocol=SASL_SSL\nsasl.mechanism=AWS_MSK_IAM\n\
             sasl.jaas.config=software.amazon.msk.auth.iam.IAMLoginModule required;\n\
             sasl.client.callback.handler.class=software.amazon.msk.auth.iam.IAMClientCallbackHandler\n",
        );
        let kafka: Table =
            toml::from_str("security = \"sasl-tls\"\nsasl = \"aws-msk-iam\"\n").unwrap();
        assert_eq!(translated.kafka, kafka);
        assert!(translated.secrets.is_empty());
    }

    #[test]
    fn what_only_java_reads_is_refused_with_the_way_out() {
        let translated = translate("ssl.truststore.location=/x.jks\nsecurity.protocol=TLS\n");
        assert!(
            translated
                .mistakes
                .iter()
                .any(|said| said.contains("keytool"))
        );
        assert!(
            translated
                .mistakes
                .iter()
                .any(|said| said.contains("SASL_SSL"))
        );
    }
}
