//! What command lines come to, and what is said about wrong ones.

use std::ffi::OsString;
use std::path::Path;

use haproxy_config::{Hold, generate};

use super::Mistakes;
use super::given::{Fate, Given, OPTIONS, dashed};
use super::settings::{Settings, state_directory};
use crate::config::{self, Config, Written};

const STATE: &str = "/var/lib/spoa-agent/capture-proxy-9200";

/// The options of the guide, and these besides: name and values.
fn given(more: &[(&'static str, &[&str])]) -> Given {
    let mut given = Given::default();
    let guide: &[(&'static str, &[&str])] = &[
        ("kafkaConnection", &["kafka:9092,other:9092"]),
        ("destinationUri", &["http://localhost:19200"]),
        ("listenPort", &["9200"]),
        ("insecureDestination", &[]),
    ];
    for (name, values) in guide.iter().chain(more) {
        given.set(name, values.iter().map(|&value| value.to_owned()).collect());
    }
    given
}

fn settings_with(given: &Given, environment: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let environment: Vec<(OsString, OsString)> = environment
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    Settings::read(given, Path::new(STATE), &environment)
        .map_err(|error| error.downcast::<Mistakes>().unwrap().0)
}

fn settings(more: &[(&'static str, &[&str])]) -> Settings {
    settings_with(&given(more), &[]).unwrap()
}

fn mistakes(more: &[(&'static str, &[&str])]) -> Vec<String> {
    settings_with(&given(more), &[]).unwrap_err()
}

/// As the agent will read it.
fn agent(settings: &Settings) -> Config {
    let text = toml::to_string(&settings.agent).unwrap();
    Written::default()
        .file(Path::new("config.toml"), &text)
        .build()
        .unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

#[test]
fn the_command_of_the_guide_is_a_proxy_that_its_replayer_can_read_from() {
    let settings = settings(&[]);
    let files = generate(&settings.haproxy_options).unwrap();
    for line in [
        "bind *:9200\n",
        "server localhost:19200 localhost:19200\n",
        "errorfile 503 /dev/null\n",
        "retries 0\n",
    ] {
        assert!(
            files.haproxy_cfg.contains(line),
            "{line}: {}",
            files.haproxy_cfg
        );
    }
    let agent = agent(&settings);
    assert_eq!(agent.kafka.brokers, ["kafka:9092", "other:9092"]);
    assert_eq!(agent.kafka.topic, "logging-traffic-topic");
    assert_eq!(agent.kafka.format, config::MessageFormat::TrafficStream);
    assert_eq!(agent.capture.hold, config::Hold::Kafka);
    assert_eq!(settings.haproxy_options.hold, Hold::Open);
    assert!(
        settings.haproxy_options.hold_timeout > agent.kafka.hold_deadline,
        "the agent lets go first"
    );
    assert!(agent.server.max_frame_size as u64 >= u64::from(settings.haproxy_options.body_limit));
    assert!(settings.notes.is_empty());
}

#[test]
fn holds_are_told_to_both() {
    let journal = settings(&[("hold", &["journal"])]);
    assert_eq!(journal.haproxy_options.hold, Hold::Open);
    assert_eq!(agent(&journal).capture.hold, config::Hold::Journal);
    assert!(journal.haproxy_options.hold_timeout > agent(&journal).capture.hold_deadline);
    let none = settings(&[("hold", &["none"])]);
    assert_eq!(none.haproxy_options.hold, Hold::Off);
    assert!(mistakes(&[("hold", &["yes"])])[0].contains("kafka, journal or none"));
}

#[test]
fn logins_are_those_of_the_original() {
    for (more, security, sasl) in [
        (
            ("enableMSKAuth", &[][..]),
            config::Security::SaslTls,
            config::Sasl::AwsMskIam,
        ),
        (
            ("kafkaAuthType", &["msk-iam"][..]),
            config::Security::SaslTls,
            config::Sasl::AwsMskIam,
        ),
        (
            ("kafkaAuthType", &["ssl"][..]),
            config::Security::Tls,
            config::Sasl::None,
        ),
        (
            ("kafkaAuthType", &["none"][..]),
            config::Security::Plaintext,
            config::Sasl::None,
        ),
    ] {
        let region = [
            (
                "kafkaConnection",
                &["b-1.x.kafka.eu-central-1.amazonaws.com:9098"][..],
            ),
            more,
        ];
        let kafka = agent(&settings(&region)).kafka;
        assert_eq!((kafka.security, kafka.sasl), (security, sasl), "{more:?}");
    }
    let scram = given(&[
        ("kafkaAuthType", &["scram-sha-512"]),
        ("kafkaUserName", &["capture"]),
    ]);
    let settings = settings_with(&scram, &[("CAPTURE_PROXY_KAFKA_PASSWORD", "hunter2")]).unwrap();
    let kafka = agent(&settings).kafka;
    assert_eq!(kafka.sasl, config::Sasl::ScramSha512);
    assert_eq!(
        kafka.password_file.unwrap(),
        Path::new(STATE).join("kafka-password")
    );
    assert_eq!(settings.texts, [("kafka-password", "hunter2".to_owned())]);
    assert!(
        mistakes(&[("enableMSKAuth", &[]), ("kafkaAuthType", &["ssl"])])[0].contains("leave one")
    );
    assert!(mistakes(&[("kafkaAuthType", &["kerberos"])])[0].contains("scram-sha-512"));
}

#[test]
fn a_node_is_named_as_by_the_original() {
    for (uri, line) in [
        (
            "http://localhost:19200",
            "server localhost:19200 localhost:19200\n",
        ),
        ("http://10.0.0.1", "server 10.0.0.1:80 10.0.0.1:80\n"),
        (
            "http://[2001:db8::1]:9200/",
            "server 2001:db8::1:9200 [2001:db8::1]:9200\n",
        ),
        ("https://es1", " es1:443 ssl verify none sni str(es1)"),
    ] {
        let settings = settings(&[("destinationUri", &[uri])]);
        let text = generate(&settings.haproxy_options).unwrap().haproxy_cfg;
        assert!(text.contains(line), "{uri}: {text}");
    }
    for uri in [
        "localhost:19200",
        "ftp://x",
        "http://x/prefix",
        "http://u:p@x",
        "http://x?y",
        "http://",
    ] {
        assert!(
            mistakes(&[("destinationUri", &[uri])])[0].starts_with("--destinationUri"),
            "{uri}"
        );
    }
}

#[test]
fn clients_may_be_served_with_tls_and_asked_for_certificates() {
    let settings = settings(&[
        ("sslCertChainFile", &["/etc/ssl/chain.pem"]),
        ("sslKeyFile", &["/etc/ssl/key.pem"]),
        ("sslTrustCertFile", &["/etc/ssl/clients.pem"]),
        ("requireClientAuth", &[]),
    ]);
    let text = generate(&settings.haproxy_options).unwrap().haproxy_cfg;
    let bind = format!(
        "bind *:9200 ssl crt {STATE}/front.pem ca-file /etc/ssl/clients.pem verify required alpn"
    );
    assert!(text.contains(&bind), "{text}");
    assert!(!text.contains("bind *:9200\n"));
    assert_eq!(
        settings.links[1],
        ("front.pem.key", "/etc/ssl/key.pem".into())
    );
    assert!(mistakes(&[("sslKeyFile", &["/k"])])[0].contains("belong together"));
    let unset = mistakes(&[("sslTrustCertPemEnvVar", &["NOT_THERE"])]);
    assert!(unset[0].contains("NOT_THERE"));
}

#[test]
fn suppressed_requests_are_those_that_match_as_a_whole() {
    let settings = settings(&[
        ("suppressCaptureForMethod", &["HEAD|OPTIONS"]),
        ("suppressCaptureForUriPath", &["/_cat/.*"]),
        ("suppressMethodAndPath", &["GET /_cluster/.*"]),
        (
            "suppressCaptureForHeaderMatch",
            &["X-Internal", "yes", "User-Agent", "kube-probe/.*"],
        ),
    ]);
    let text = generate(&settings.haproxy_options).unwrap().haproxy_cfg;
    for condition in [
        "acl skip_capture method -m reg -- '^(HEAD|OPTIONS)$'",
        "acl skip_capture var(txn.target) -m reg -- '^(/_cat/.*)$'",
        "acl skip_capture var(txn.line) -m reg -- '^(GET /_cluster/.*)$'",
        "acl skip_capture req.fhdr(X-Internal) -m reg -- '^(yes)$'",
        "acl skip_capture req.fhdr(User-Agent) -m reg -- '^(kube-probe/.*)$'",
    ] {
        assert!(text.contains(condition), "{condition}: {text}");
    }
}

#[test]
fn without_capture_there_is_only_haproxy_before_the_node() {
    let mut given = Given::default();
    for (name, value) in [("destinationUri", "http://x:1"), ("listenPort", "9200")] {
        given.set(name, vec![value.to_owned()]);
    }
    given.set("noCapture", Vec::new());
    let settings = settings_with(&given, &[]).unwrap();
    assert!(agent(&settings).kafka.brokers.is_empty());
    assert_eq!(settings.haproxy_options.hold, Hold::Off);
    let text = generate(&settings.haproxy_options).unwrap().haproxy_cfg;
    assert!(text.contains("acl skip_capture method -m reg -- '^(.*)$'"));
    assert!(mistakes(&[("noCapture", &[])])[0].contains("exclude each other"));
}

#[test]
fn all_mistakes_are_told_at_once_and_no_secret_with_them() {
    let mut given = Given::default();
    given.set("kafkaPassword", vec!["hunter2".to_owned()]);
    given.set("bodyLimit", vec!["much".to_owned()]);
    given.set("traceDirectory", vec!["/tmp".to_owned()]);
    let mistakes = settings_with(&given, &[]).unwrap_err();
    let all = mistakes.join("\n");
    for part in [
        "--kafkaPassword is not taken",
        "CAPTURE_PROXY_KAFKA_PASSWORD",
        "--traceDirectory is not taken",
        "--destinationUri is missing",
        "--listenPort is missing",
        "--kafkaConnection is missing",
        "--bodyLimit",
    ] {
        assert!(all.contains(part), "{part}: {all}");
    }
    assert!(!all.contains("hunter2"));
}

#[test]
fn what_has_no_effect_is_noted() {
    let settings = settings(&[("otelMetricsCollectorEndpoint", &["http://x:1"])]);
    assert_eq!(settings.notes.len(), 1);
    assert!(settings.notes[0].contains("/metrics"));
}

#[test]
fn the_state_directory_is_named_told_by_systemd_or_the_users_own() {
    let of = |given: &Given, environment: &[(&str, &str)]| {
        let environment: Vec<(OsString, OsString)> = environment
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        state_directory(given, &environment).unwrap()
    };
    let named = given(&[("stateDir", &["/srv/x"])]);
    assert_eq!(
        of(&named, &[("STATE_DIRECTORY", "/y")]),
        Path::new("/srv/x")
    );
    assert_eq!(
        of(&given(&[]), &[("STATE_DIRECTORY", "/y")]),
        Path::new("/y")
    );
    let own = of(
        &given(&[("listenPort", &["[::]:9201"])]),
        &[("HOME", "/home/u")],
    );
    assert!(
        own.ends_with("spoa-agent/capture-proxy-9201"),
        "{}",
        own.display()
    );
}

#[test]
fn the_guide_tells_every_option_and_its_fate() {
    let guide = include_str!("README.md");
    for option in OPTIONS {
        for name in option.names {
            let shown = format!("`--{name}`");
            let row = guide.lines().find(|line| {
                let first = line.split('|').nth(1);
                first.is_some_and(|cell| cell.contains(&shown))
            });
            let row = row.unwrap_or_else(|| panic!("the guide has no row for {shown}"));
            match option.fate {
                Fate::Works => assert!(
                    !row.contains("no effect") && !row.contains("refused"),
                    "{row}"
                ),
                Fate::NoEffect(_) => assert!(row.contains("no effect"), "{row}"),
                Fate::Refused(_) => assert!(row.contains("refused"), "{row}"),
            }
        }
        assert!(option.names.iter().all(|name| !dashed(name).contains("--")));
    }
}
