//! Values that are right by themselves and wrong together.

use shadow::order::Level;

use super::kafka::{Hold, MessageFormat, MessageKey, Sasl, Security};
use super::keys::Config;
use super::kind::{CredentialsKind, Listen, PairsTo, ResolveBy, show_duration, show_size};
use super::written::Reader;

pub(super) fn check(config: &Config, reader: &mut Reader) {
    frames_fit(config, reader);
    segments_fit(config, reader);
    shutdown_has_time(config, reader);
    shadow_trusts_something(config, reader);
    pairs_have_a_source(config, reader);
    pairs_fit(config, reader);
    shadow_is_one_person(config, reader);
    shadow_has_both_parts_of_a_certificate(config, reader);
    resolving_has_a_primary(config, reader);
    addresses_differ(config, reader);
    kafka_topics_have_sources(config, reader);
    kafka_keys_fit_the_format(config, reader);
    kafka_has_a_hold(config, reader);
    kafka_encrypts_with_what_is_given(config, reader);
    kafka_logs_in_with_what_is_given(config, reader);
}

/// The largest frame must pass every bound on its way, or it would wait for ever or always be refused.
fn frames_fit(config: &Config, reader: &mut Reader) {
    let frame = config.server.max_frame_size;
    let bounds = [
        ("server.frame_memory", config.server.frame_memory, 1),
        ("journal.buffer", config.journal.buffer, 2),
        ("pairing.max_bytes", config.pairing.max_bytes, 2),
        (
            "shadow.max_in_flight_bytes",
            config.shadow.max_in_flight_bytes,
            2,
        ),
        // What is read of one frame may be encoded in several times its size: base64, JSON.
        (
            "kafka.max_in_flight_bytes",
            config.kafka.max_in_flight_bytes,
            4,
        ),
    ];
    for (path, bytes, times) in bounds {
        let needed = frame.saturating_mul(times);
        if bytes < needed {
            let (bytes, needed) = (show_size(bytes as u64), show_size(needed as u64));
            let why = format!(
                "{path} ({bytes}) must be at least {times} x server.max_frame_size, which is {needed}"
            );
            reader.disagree(
                path,
                &["server.max_frame_size"],
                why,
                "raise the first or lower the second",
            );
        }
    }
}

fn segments_fit(config: &Config, reader: &mut Reader) {
    let segment = config.journal.segment_size;
    let needed = segment.saturating_mul(2);
    if config.journal.max_bytes < needed {
        let budget = show_size(config.journal.max_bytes);
        let why = format!(
            "journal.max_bytes ({budget}) must hold two segments of journal.segment_size, which is {}",
            show_size(needed)
        );
        let way_out = "raise the first or lower the second";
        reader.disagree("journal.max_bytes", &["journal.segment_size"], why, way_out);
    }
    let buffer = config.journal.buffer as u64;
    if config.journal.max_bytes < buffer.saturating_mul(2) {
        let why = format!(
            "journal.max_bytes ({}) must be at least twice journal.buffer ({}), which may become one segment",
            show_size(config.journal.max_bytes),
            show_size(buffer)
        );
        let way_out = "raise the first or lower the second";
        reader.disagree("journal.max_bytes", &["journal.buffer"], why, way_out);
    }
    let frame = config.server.max_frame_size as u64;
    if segment < frame.saturating_mul(2) {
        let why = format!(
            "journal.segment_size ({}) must be at least twice server.max_frame_size ({})",
            show_size(segment),
            show_size(frame)
        );
        let way_out = "raise the first or lower the second";
        reader.disagree(
            "journal.segment_size",
            &["server.max_frame_size"],
            why,
            way_out,
        );
    }
}

fn shutdown_has_time(config: &Config, reader: &mut Reader) {
    let shutdown = &config.shutdown;
    if shutdown.deadline <= shutdown.lame_duck {
        let why = format!(
            "shutdown.deadline ({}) must exceed shutdown.lame_duck ({}), which is a part of it",
            show_duration(shutdown.deadline),
            show_duration(shutdown.lame_duck)
        );
        let way_out = "raise the first or lower the second";
        reader.disagree("shutdown.deadline", &["shutdown.lame_duck"], why, way_out);
    }
}

fn shadow_trusts_something(config: &Config, reader: &mut Reader) {
    let shadow = &config.shadow;
    if shadow.ca_file.is_some() && shadow.insecure {
        let why = "shadow.insecure makes shadow.ca_file pointless".to_owned();
        reader.disagree(
            "shadow.insecure",
            &["shadow.ca_file"],
            why,
            "leave one of them out",
        );
    }
    let is_plain = shadow.url.as_ref().is_some_and(|url| !url.is_encrypted());
    if is_plain && shadow.ca_file.is_some() {
        let why = "shadow.url is http, so shadow.ca_file would verify nothing".to_owned();
        let way_out = "write https or leave shadow.ca_file out";
        reader.disagree("shadow.url", &["shadow.ca_file"], why, way_out);
    }
}

fn resolving_has_a_primary(config: &Config, reader: &mut Reader) {
    const RESOLVE: &str = "shadow.resolve";
    const URL: &str = "shadow.primary_url";
    let shadow = &config.shadow;
    if shadow.resolve == ResolveBy::Off {
        return;
    }
    let Some(primary) = &shadow.primary_url else {
        let why = "shadow.primary_url does not say where the primary is".to_owned();
        reader.disagree(RESOLVE, &[URL], why, "set it, or shadow.resolve = off");
        return;
    };
    if Some(primary) == shadow.url.as_ref() {
        let why = "shadow.primary_url is the shadow itself".to_owned();
        reader.disagree(URL, &["shadow.url"], why, "write the primary's address");
    }
    if shadow.order != Level::Causal {
        let why = "what is ambiguous is only known with shadow.order = causal".to_owned();
        reader.disagree(
            RESOLVE,
            &["shadow.order"],
            why,
            "set that, or shadow.resolve = off",
        );
    }
    if !primary.is_encrypted() && shadow.primary_ca_file.is_some() {
        let why =
            "shadow.primary_url is http, so shadow.primary_ca_file would verify nothing".to_owned();
        let way_out = "write https or leave shadow.primary_ca_file out";
        reader.disagree(URL, &["shadow.primary_ca_file"], why, way_out);
    }
}

fn pairs_have_a_source(config: &Config, reader: &mut Reader) {
    if config.pair_log.path.is_some() && config.shadow.pairs == PairsTo::Off {
        let why = "pair_log.path is set, and shadow.pairs = off makes no pairs".to_owned();
        let way_out = "set shadow.pairs = journal, or leave pair_log.path out";
        reader.disagree("shadow.pairs", &["pair_log.path"], why, way_out);
    }
}

/// A pair has up to four bodies, and it must pass the journal's buffer in one piece.
fn pairs_fit(config: &Config, reader: &mut Reader) {
    let needed = config.shadow.pair_body_limit.saturating_mul(4);
    if config.shadow.pairs == PairsTo::Journal && config.journal.buffer < needed {
        let (buffer, needed) = (
            show_size(config.journal.buffer as u64),
            show_size(needed as u64),
        );
        let why = format!(
            "journal.buffer ({buffer}) must be at least 4 x shadow.pair_body_limit, which is {needed}"
        );
        let way_out = "raise the first or lower the second";
        reader.disagree("journal.buffer", &["shadow.pair_body_limit"], why, way_out);
    }
}

fn shadow_is_one_person(config: &Config, reader: &mut Reader) {
    const KIND: &str = "shadow.credentials";
    const FILE: &str = "shadow.credentials_file";
    let shadow = &config.shadow;
    let is_none = shadow.credentials == CredentialsKind::None;
    if shadow.credentials_file.is_some() && is_none {
        let why = "shadow.credentials does not say what shadow.credentials_file holds".to_owned();
        let way_out = "set shadow.credentials to basic, api-key, bearer or sigv4";
        reader.disagree(FILE, &[KIND], why, way_out);
    }
    if shadow.credentials_file.is_none() && !is_none {
        let why = "there is no shadow.credentials_file to read them from".to_owned();
        reader.disagree(KIND, &[FILE], why, "name one, with mode 0600");
    }
    if shadow.authorization_file.is_some() && !is_none {
        let why =
            "shadow.credentials and shadow.authorization_file both make one header".to_owned();
        let way_out = "leave one of them out";
        reader.disagree("shadow.authorization_file", &[KIND], why, way_out);
    }
    if shadow.credentials == CredentialsKind::SigV4 && shadow.sigv4_region.is_none() {
        let why = "a signature is for one region, and shadow.sigv4_region is empty".to_owned();
        let way_out = "set it to the shadow's region, such as eu-central-1";
        reader.disagree("shadow.sigv4_region", &[KIND], why, way_out);
    }
}

fn shadow_has_both_parts_of_a_certificate(config: &Config, reader: &mut Reader) {
    const CERTIFICATE: &str = "shadow.client_cert_file";
    const KEY: &str = "shadow.client_key_file";
    let shadow = &config.shadow;
    if shadow.client_cert_file.is_some() != shadow.client_key_file.is_some() {
        let why = format!("{CERTIFICATE} and {KEY} are of use only together");
        reader.disagree(CERTIFICATE, &[KEY], why, "set both or neither");
    }
    let is_plain = shadow.url.as_ref().is_some_and(|url| !url.is_encrypted());
    if is_plain && shadow.client_cert_file.is_some() {
        let why = format!("shadow.url is http, so nobody would see {CERTIFICATE}");
        let way_out = "write https or leave the certificate out";
        reader.disagree("shadow.url", &[CERTIFICATE], why, way_out);
    }
}

fn addresses_differ(config: &Config, reader: &mut Reader) {
    let Some(admin) = &config.admin.listen else {
        return;
    };
    let is_taken = config.server.listen.contains(&Listen::Tcp(admin.clone()));
    if is_taken && !admin.ends_with(":0") {
        let why = format!("server.listen and admin.listen are both {admin}");
        reader.disagree(
            "admin.listen",
            &["server.listen"],
            why,
            "choose another port for one of them",
        );
    }
}

fn kafka_topics_have_sources(config: &Config, reader: &mut Reader) {
    const PAIRS: &str = "kafka.pairs_topic";
    let kafka = &config.kafka;
    let Some(pairs) = &kafka.pairs_topic else {
        return;
    };
    if config.shadow.pairs == PairsTo::Off {
        let why = "kafka.pairs_topic is set, and shadow.pairs = off makes no pairs".to_owned();
        let way_out = "set shadow.pairs = journal, or leave kafka.pairs_topic out";
        reader.disagree(PAIRS, &["shadow.pairs"], why, way_out);
    }
    if kafka.brokers.is_empty() {
        let why = "kafka.brokers does not say where Kafka is".to_owned();
        let way_out = "set it, or leave kafka.pairs_topic out";
        reader.disagree(PAIRS, &["kafka.brokers"], why, way_out);
    }
    if *pairs == kafka.topic {
        let why = format!("kafka.topic and kafka.pairs_topic are both {pairs}");
        reader.disagree(PAIRS, &["kafka.topic"], why, "choose another name for one");
    }
}

fn kafka_keys_fit_the_format(config: &Config, reader: &mut Reader) {
    let kafka = &config.kafka;
    if kafka.format == MessageFormat::TrafficStream && kafka.key != MessageKey::Connection {
        let why = "kafka.format = traffic-stream is the byte stream of a connection, and its key the connection"
            .to_owned();
        let way_out = "set kafka.key = connection, or another format";
        reader.disagree("kafka.key", &["kafka.format"], why, way_out);
    }
}

fn kafka_has_a_hold(config: &Config, reader: &mut Reader) {
    const HOLD: &str = "capture.hold";
    if config.capture.hold != Hold::Kafka {
        return;
    }
    if config.kafka.brokers.is_empty() {
        let why = "kafka.brokers does not say where Kafka is".to_owned();
        reader.disagree(
            HOLD,
            &["kafka.brokers"],
            why,
            "set it, or capture.hold = journal",
        );
    }
    if config.kafka.linger >= config.kafka.hold_deadline {
        let why = format!(
            "kafka.linger ({}) must be below kafka.hold_deadline ({}), or no held write is delivered in time",
            show_duration(config.kafka.linger),
            show_duration(config.kafka.hold_deadline)
        );
        let way_out = "lower the first or raise the second";
        reader.disagree("kafka.linger", &["kafka.hold_deadline", HOLD], why, way_out);
    }
}

fn kafka_encrypts_with_what_is_given(config: &Config, reader: &mut Reader) {
    const SECURITY: &str = "kafka.security";
    const CERTIFICATE: &str = "kafka.client_cert_file";
    const KEY: &str = "kafka.client_key_file";
    const PASSWORD: &str = "kafka.client_key_password_file";
    let kafka = &config.kafka;
    let files = [
        ("kafka.ca_file", &kafka.ca_file),
        (CERTIFICATE, &kafka.client_cert_file),
        (KEY, &kafka.client_key_file),
        (PASSWORD, &kafka.client_key_password_file),
    ];
    for (path, file) in files {
        if file.is_some() && !kafka.security.is_encrypted() {
            let why = format!("{path} is of use only with TLS, and {SECURITY} has none");
            let way_out = "set kafka.security = tls or sasl-tls, or leave the file out";
            reader.disagree(path, &[SECURITY], why, way_out);
        }
    }
    if kafka.client_cert_file.is_some() != kafka.client_key_file.is_some() {
        let why = format!("{CERTIFICATE} and {KEY} are of use only together");
        reader.disagree(CERTIFICATE, &[KEY], why, "set both or neither");
    }
    if kafka.client_key_password_file.is_some() && kafka.client_key_file.is_none() {
        let why = format!("{PASSWORD} is the password of {KEY}, which is not set");
        reader.disagree(PASSWORD, &[KEY], why, "set both or neither");
    }
}

fn kafka_logs_in_with_what_is_given(config: &Config, reader: &mut Reader) {
    const SECURITY: &str = "kafka.security";
    const SASL: &str = "kafka.sasl";
    let kafka = &config.kafka;
    let sasl = kafka.sasl;
    if kafka.security.has_login() && sasl == Sasl::None {
        let why = "kafka.security says that the agent logs in, and kafka.sasl does not say how";
        let way_out = "set kafka.sasl, or kafka.security = plaintext or tls";
        reader.disagree(SECURITY, &[SASL], why.to_owned(), way_out);
    }
    if !kafka.security.has_login() && sasl != Sasl::None {
        let why = "kafka.sasl says how to log in, and kafka.security that there is no login";
        let way_out = "set kafka.security = sasl-tls or sasl-plaintext, or leave kafka.sasl out";
        reader.disagree(SASL, &[SECURITY], why.to_owned(), way_out);
    }
    if sasl == Sasl::AwsMskIam && kafka.security == Security::SaslPlaintext {
        let why = "brokers take AWS signatures only inside TLS".to_owned();
        reader.disagree(SECURITY, &[SASL], why, "set kafka.security = sasl-tls");
    }
    let takes_name = sasl.takes_a_password() || sasl == Sasl::Gssapi;
    let oauth = sasl == Sasl::OauthBearer;
    let parts = [
        (
            "kafka.username",
            kafka.username.is_some(),
            takes_name,
            sasl.takes_a_password(),
        ),
        (
            "kafka.password_file",
            kafka.password_file.is_some(),
            sasl.takes_a_password(),
            sasl.takes_a_password(),
        ),
        (
            "kafka.kerberos_keytab_file",
            kafka.kerberos_keytab_file.is_some(),
            sasl == Sasl::Gssapi,
            false,
        ),
        (
            "kafka.oauth_token_url",
            kafka.oauth_token_url.is_some(),
            oauth,
            oauth,
        ),
        (
            "kafka.oauth_client_id",
            kafka.oauth_client_id.is_some(),
            oauth,
            oauth,
        ),
        (
            "kafka.oauth_client_secret_file",
            kafka.oauth_client_secret_file.is_some(),
            oauth,
            oauth,
        ),
        (
            "kafka.oauth_scope",
            kafka.oauth_scope.is_some(),
            oauth,
            false,
        ),
        (
            "kafka.oauth_extensions",
            kafka.oauth_extensions.is_some(),
            oauth,
            false,
        ),
        (
            "kafka.aws_region",
            kafka.aws_region.is_some(),
            sasl == Sasl::AwsMskIam,
            false,
        ),
    ];
    for (path, is_set, is_taken, is_needed) in parts {
        if is_set && !is_taken {
            let why = format!("kafka.sasl has no use for {path}");
            let way_out = "leave it out, or set kafka.sasl to what it is for";
            reader.disagree(path, &[SASL], why, way_out);
        }
        if is_needed && !is_set {
            let why = format!("kafka.sasl needs {path}");
            reader.disagree(SASL, &[path], why, "set it");
        }
    }
}
