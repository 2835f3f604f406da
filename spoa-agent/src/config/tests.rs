use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn file(text: &str) -> Written {
    Written::default().file(Path::new("config.toml"), text)
}

fn env(variables: &[(&str, &str)]) -> Written {
    Written::default().env(pairs(variables))
}

fn pairs(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn defaults() -> Config {
    Written::default().build().unwrap()
}

fn key(path: &str) -> &'static Key {
    keys().find(|key| key.path == path).unwrap()
}

/// The messages, one per line.
fn problems(written: Written) -> String {
    written.build().unwrap_err().to_string()
}

#[test]
fn the_defaults_are_a_right_configuration() {
    let config = defaults();
    assert_eq!(
        config.server.listen,
        [Listen::Tcp("127.0.0.1:12345".to_owned())]
    );
    assert_eq!(config.server.max_frame_size, 1 << 20);
    assert_eq!(config.server.unix_mode, 0o660);
    assert_eq!(config.journal.ack, AckLevel::Write);
    assert_eq!(config.journal.max_bytes, 10 << 30);
    assert_eq!(config.traffic_log.path, None);
    assert_eq!(
        config.traffic_log.rotate_age,
        Some(Duration::from_secs(86_400))
    );
    assert_eq!(config.shutdown.lame_duck, Duration::from_millis(1500));
    assert_eq!(config.admin.listen.as_deref(), Some("127.0.0.1:12346"));
    assert!(config.process.threads() >= 2);
}

#[test]
fn every_key_has_a_flag_a_variable_a_manual_and_an_example_that_differs_from_its_default() {
    let mut names = HashSet::new();
    for key in keys() {
        assert!(names.insert(key.flag()), "{} twice", key.flag());
        assert!(names.insert(key.env()), "{} twice", key.env());
        assert!(key.doc().ends_with('.'), "{}: {}", key.path, key.doc());
        assert!(key.doc().len() > 20, "{}", key.path);
        assert!(!key.accepts().is_empty(), "{}", key.path);
        assert_ne!(key.default, key.example, "{}", key.path);
    }
    assert!(names.contains("journal-dir") && names.contains("SPOA_AGENT_JOURNAL_DIR"));
}

#[test]
fn every_default_and_every_example_is_accepted_by_its_kind_from_all_three_sources() {
    for key in keys() {
        for text in [key.default, key.example] {
            let toml = format!("{} = {}\n", key.path, example::toml(key, text));
            let sources = [
                file(&toml),
                env(&[(&key.env(), text)]),
                Written::default().flag(key, vec![text.to_owned()]),
            ];
            let configs: Vec<Config> = sources
                .into_iter()
                // Keys that only make sense together with another one.
                .map(|written| written.examine())
                .inspect(|examined| {
                    let own = examined.problems.iter().find(|problem| {
                        !["shadow.", "kafka."]
                            .iter()
                            .any(|section| problem.why.contains(section))
                    });
                    assert_eq!(own, None, "{toml}");
                })
                .map(|examined| examined.config)
                .collect();
            assert_eq!(configs[0], configs[1], "{toml}");
            assert_eq!(configs[1], configs[2], "{toml}");
            assert_eq!(configs[0] == defaults(), text == key.default, "{toml}");
        }
    }
}

#[test]
fn the_committed_example_is_the_generated_one() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml");
    let generated = example();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&committed, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(committed).unwrap();
    assert!(
        committed == generated,
        "config.example.toml is old; run the tests with UPDATE_EXPECT=1 to write it anew"
    );
}

#[test]
fn the_example_means_the_defaults_with_and_without_its_comment_signs() {
    let example = example();
    assert_eq!(file(&example).build().unwrap(), defaults());
    let mut set = 0;
    let uncommented: Vec<&str> = example
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') && !rest.is_empty() => {
                set += 1;
                rest
            }
            _comment => line,
        })
        .collect();
    assert_eq!(set, keys().count());
    assert_eq!(file(&uncommented.join("\n")).build().unwrap(), defaults());
}

#[test]
fn a_misspelt_key_is_refused_with_its_line_and_the_nearest_key() {
    assert_eq!(
        problems(file("[journal]\n\nsegmnt_size = \"64MiB\"\n")),
        "config.toml:3: journal.segmnt_size: unknown key; did you mean journal.segment_size?"
    );
    assert_eq!(
        problems(file("[jurnal]\ndir = \"/x\"\n")),
        "config.toml:2: jurnal.dir: unknown key; did you mean journal.dir?"
    );
    assert_eq!(
        problems(file("segment_size = \"64MiB\"\n")),
        "config.toml:1: segment_size: unknown key; did you mean journal.segment_size?"
    );
    assert_eq!(
        problems(file("[zzz]\n")),
        "config.toml:1: zzz: unknown key; `spoa-agent man` lists every key"
    );
    assert_eq!(
        problems(file("journal.dir.x = 1\n")),
        "config.toml:1: journal.dir = \"a table\": is a table; write a path"
    );
}

#[test]
fn an_unknown_variable_is_refused_with_the_nearest_one() {
    assert_eq!(
        problems(env(&[("SPOA_AGENT_JOURNAL_DIRS", "/x"), ("PATH", "/bin")])),
        "env SPOA_AGENT_JOURNAL_DIRS: unknown variable; did you mean SPOA_AGENT_JOURNAL_DIR?"
    );
}

#[test]
fn variables_that_a_container_platform_makes_are_not_ours() {
    let made = [
        ("SPOA_AGENT_SERVICE_HOST", "10.0.0.1"),
        ("SPOA_AGENT_SERVICE_PORT", "12345"),
        ("SPOA_AGENT_SERVICE_PORT_SPOP", "12345"),
        ("SPOA_AGENT_PORT", "tcp://10.0.0.1:12345"),
        ("SPOA_AGENT_PORT_12345_TCP_ADDR", "10.0.0.1"),
    ];
    assert_eq!(env(&made).build().unwrap(), defaults());
}

#[test]
fn all_mistakes_are_said_at_once_in_the_order_of_reading() {
    let written = file(
        "[journal]\nsegment_size = \"5 minutes\"\nsegmnts = 3\nack = \"fsync\"\n\
         [server]\nmax_connections = 0\n[traffic_log]\nbodies = \"yes\"\n",
    )
    .env(pairs(&[("SPOA_AGENT_SHUTDOWN_DEADLINE", "10")]))
    .flag(key("shadow.url"), vec!["ftp://x".to_owned()]);
    assert_eq!(
        problems(written),
        "config.toml:2: journal.segment_size = \"5 minutes\": is not a size; write bytes with a unit, such as 64MiB, 1GB or 512KiB\n\
         config.toml:3: journal.segmnts: unknown key; did you mean journal.segment_size?\n\
         config.toml:4: journal.ack = \"fsync\": is not one of the choices; write append or write or sync\n\
         config.toml:6: server.max_connections = \"0\": is too small; write a whole number from 1 to 1048576\n\
         config.toml:8: traffic_log.bodies = \"yes\": is neither true nor false; write true or false\n\
         env SPOA_AGENT_SHUTDOWN_DEADLINE: shutdown.deadline = \"10\": has no unit; write 10s or 10ms\n\
         flag --shadow-url: shadow.url = \"ftp://x\": is not a URL of a server; write http://host[:port] or https://host[:port]; empty for off"
    );
}

#[test]
fn broken_toml_is_told_by_line() {
    let message = problems(file("[journal]\ndir = \"/x\nack = \"sync\"\n"));
    assert!(message.starts_with("config.toml:2: "), "{message}");
    let message = problems(file("[journal]\ndir = \"/x\"\ndir = \"/y\"\n"));
    assert!(message.starts_with("config.toml:3: "), "{message}");
}

#[test]
fn a_file_that_is_not_there_is_a_problem_and_not_silently_the_defaults() {
    let message = problems(Written::default().read_file(Path::new("/nonexistent/config.toml")));
    assert!(
        message.starts_with("/nonexistent/config.toml: cannot be opened"),
        "{message}"
    );
}

#[test]
fn values_that_contradict_each_other_are_refused_at_the_one_that_was_written() {
    for (text, expected) in [
        (
            "shutdown.lame_duck = \"20s\"",
            "config.toml:1: shutdown.lame_duck = \"20s\": shutdown.deadline (10s) must exceed \
             shutdown.lame_duck (20s), which is a part of it; raise the first or lower the second",
        ),
        (
            "journal.max_bytes = \"100MiB\"",
            "config.toml:1: journal.max_bytes = \"100MiB\": journal.max_bytes (100MiB) must hold two \
             segments of journal.segment_size, which is 256MiB; raise the first or lower the second",
        ),
        (
            "admin.listen = \"127.0.0.1:12345\"",
            "config.toml:1: admin.listen = \"127.0.0.1:12345\": server.listen and admin.listen are both \
             127.0.0.1:12345; choose another port for one of them",
        ),
        (
            "server.max_frame_size = \"48MiB\"\nserver.frame_memory = \"256MiB\"\n\
             journal.buffer = \"256MiB\"\npairing.max_bytes = \"1GiB\"",
            "config.toml:1: server.max_frame_size = \"48MiB\": shadow.max_in_flight_bytes (32MiB) must be \
             at least 2 x server.max_frame_size, which is 96MiB; raise the first or lower the second",
        ),
        (
            "shadow.credentials_file = \"f\"",
            "shadow.credentials does not say what shadow.credentials_file holds",
        ),
        (
            "shadow.credentials = \"basic\"",
            "there is no shadow.credentials_file to read them from; name one, with mode 0600",
        ),
        (
            "shadow.credentials = \"bearer\"\nshadow.credentials_file = \"f\"\nshadow.authorization_file = \"g\"",
            "config.toml:3: shadow.authorization_file = \"g\": shadow.credentials and \
             shadow.authorization_file both make one header; leave one of them out",
        ),
        (
            "shadow.credentials = \"sigv4\"\nshadow.credentials_file = \"f\"",
            "config.toml:1: shadow.credentials = \"sigv4\": a signature is for one region",
        ),
        (
            "shadow.client_cert_file = \"f\"",
            "shadow.client_cert_file and shadow.client_key_file are of use only together",
        ),
        (
            "shadow.url = \"http://h\"\nshadow.client_cert_file = \"f\"\nshadow.client_key_file = \"g\"",
            "shadow.url is http, so nobody would see shadow.client_cert_file",
        ),
        (
            "shadow.resolve = \"from-primary\"",
            "shadow.primary_url does not say where the primary is; set it, or shadow.resolve = off",
        ),
        (
            "shadow.resolve = \"from-primary\"\nshadow.primary_url = \"http://h\"\nshadow.url = \"http://h\"",
            "shadow.primary_url is the shadow itself; write the primary's address",
        ),
        (
            "shadow.resolve = \"from-primary\"\nshadow.primary_url = \"http://h\"\nshadow.order = \"none\"",
            "what is ambiguous is only known with shadow.order = causal",
        ),
        (
            "shadow.resolve = \"from-primary\"\nshadow.primary_url = \"http://h\"\nshadow.primary_ca_file = \"f\"",
            "shadow.primary_url is http, so shadow.primary_ca_file would verify nothing",
        ),
        (
            "kafka.pairs_topic = \"p\"\nkafka.brokers = \"k:1\"",
            "kafka.pairs_topic is set, and shadow.pairs = off makes no pairs",
        ),
        (
            "kafka.pairs_topic = \"captured-traffic\"\nkafka.brokers = \"k:1\"\nshadow.pairs = \"journal\"",
            "kafka.topic and kafka.pairs_topic are both captured-traffic",
        ),
        (
            "kafka.format = \"traffic-stream\"\nkafka.key = \"id\"",
            "set kafka.key = connection, or another format",
        ),
        (
            "capture.hold = \"kafka\"",
            "config.toml:1: capture.hold = \"kafka\": kafka.brokers does not say where Kafka is; set it, or \
             capture.hold = journal",
        ),
        (
            "kafka.hold_deadline = \"20ms\"\ncapture.hold = \"kafka\"\nkafka.brokers = \"k:1\"",
            "kafka.linger (20ms) must be below kafka.hold_deadline (20ms)",
        ),
        (
            "kafka.ca_file = \"f\"",
            "kafka.ca_file is of use only with TLS, and kafka.security has none",
        ),
        (
            "kafka.client_cert_file = \"f\"\nkafka.security = \"tls\"",
            "kafka.client_cert_file and kafka.client_key_file are of use only together",
        ),
        (
            "kafka.security = \"sasl-tls\"",
            "kafka.security says that the agent logs in, and kafka.sasl does not say how",
        ),
        (
            "kafka.sasl = \"aws-msk-iam\"",
            "kafka.sasl says how to log in, and kafka.security that there is no login",
        ),
        (
            "kafka.sasl = \"aws-msk-iam\"\nkafka.security = \"sasl-plaintext\"",
            "brokers take AWS signatures only inside TLS",
        ),
        (
            "kafka.sasl = \"plain\"\nkafka.security = \"sasl-tls\"\nkafka.username = \"u\"",
            "config.toml:1: kafka.sasl = \"plain\": kafka.sasl needs kafka.password_file; set it",
        ),
        (
            "kafka.sasl = \"gssapi\"\nkafka.security = \"sasl-tls\"\nkafka.password_file = \"f\"",
            "kafka.sasl has no use for kafka.password_file",
        ),
    ] {
        let message = problems(file(text));
        assert!(message.contains(expected), "{message}\n{expected}");
    }
}

#[test]
fn a_refused_value_is_not_also_said_to_contradict_another() {
    let message = problems(file(
        "journal.max_bytes = \"lots\"\njournal.segment_size = \"64GiB\"",
    ));
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn credentials_in_a_url_are_refused_and_not_repeated() {
    let message = problems(env(&[(
        "SPOA_AGENT_SHADOW_URL",
        "https://me:hunter2@shadow",
    )]));
    assert!(message.contains("shadow.authorization_file"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn lists_come_as_arrays_as_commas_and_as_repeated_flags() {
    let expected = [
        Listen::Tcp("[::1]:1".to_owned()),
        Listen::Unix(PathBuf::from("/run/a.sock")),
    ]
    .to_vec();
    let flag = key("server.listen");
    for written in [
        file("server.listen = [\"[::1]:1\", \"unix:/run/a.sock\"]"),
        file("server.listen = \"[::1]:1, unix:/run/a.sock\""),
        env(&[("SPOA_AGENT_SERVER_LISTEN", "[::1]:1,unix:/run/a.sock")]),
        Written::default().flag(
            flag,
            vec!["[::1]:1".to_owned(), "unix:/run/a.sock".to_owned()],
        ),
    ] {
        assert_eq!(written.build().unwrap().server.listen, expected);
    }
}

#[test]
fn addresses_that_nobody_could_bind_are_refused() {
    for text in [
        "",
        "12345",
        "host:",
        "host:65536",
        "::1:80",
        "[::g]:80",
        "a b:80",
        "unix:relative",
        "x:1,x:1",
        ":80",
    ] {
        assert!(
            env(&[("SPOA_AGENT_SERVER_LISTEN", text)]).build().is_err(),
            "{text}"
        );
    }
    let long = format!("unix:/{}", "x".repeat(107));
    let message = problems(env(&[("SPOA_AGENT_SERVER_LISTEN", &long)]));
    assert!(
        message.contains("108 bytes; the system takes 107"),
        "{message}"
    );
}

#[test]
fn sizes_and_durations_read_back_what_they_show() {
    let size = |text: &str| env(&[("SPOA_AGENT_JOURNAL_MAX_BYTES", text)]).build();
    for (text, bytes) in [
        ("1073741824", 1 << 30),
        ("1GiB", 1 << 30),
        ("1 gib", 1 << 30),
        ("1GB", 1_000_000_000),
        ("300000kB", 300_000_000),
    ] {
        assert_eq!(size(text).unwrap().journal.max_bytes, bytes, "{text}");
    }
    let message = size("64M").unwrap_err().to_string();
    assert!(
        message.contains("write 64MiB (powers of 1024) or 64MB (powers of 1000)"),
        "{message}"
    );
    assert!(size("99999999999TiB").is_err());
    assert!(size("99999999999999999999999").is_err());
    for (bytes, shown) in [
        (0, "0"),
        (1023, "1023"),
        (1536, "1536"),
        (10 << 30, "10GiB"),
    ] {
        assert_eq!(show_size(bytes), shown);
    }
    for (millis, shown) in [
        (0, "0ms"),
        (1500, "1500ms"),
        (60_000, "1m"),
        (86_400_000, "1d"),
    ] {
        assert_eq!(show_duration(Duration::from_millis(millis)), shown);
    }
}

#[test]
fn zero_means_never_where_the_manual_says_so() {
    let config = file("traffic_log.rotate_size = 0\ntraffic_log.rotate_age = \"0\"")
        .build()
        .unwrap();
    assert_eq!(config.traffic_log.rotate_size, None);
    assert_eq!(config.traffic_log.rotate_age, None);
}

#[test]
fn a_word_that_is_no_level_does_not_silence_the_log() {
    let message = problems(env(&[("SPOA_AGENT_LOG_LEVEL", "inof")]));
    assert!(
        message.contains("\"inof\", which is not a level"),
        "{message}"
    );
    let config = env(&[("SPOA_AGENT_LOG_LEVEL", "warn,spoa_agent::server=debug")])
        .build()
        .unwrap();
    assert_eq!(config.log.level, "warn,spoa_agent::server=debug");
}

#[test]
fn a_long_or_odd_value_is_shown_short_and_on_one_line() {
    let value = format!("a\n{}", "b".repeat(500));
    let message = problems(env(&[("SPOA_AGENT_JOURNAL_ACK", &value)]));
    assert_eq!(message.lines().count(), 1);
    assert!(message.len() < 300, "{message}");
}

proptest! {
    #[test]
    fn a_flag_wins_over_the_environment_over_the_file_over_the_default(
        in_file in proptest::option::of(1_usize..100),
        in_env in proptest::option::of(100_usize..200),
        in_flag in proptest::option::of(200_usize..300),
    ) {
        let key = key("shadow.connections");
        let mut written = Written::default();
        if let Some(number) = in_file {
            written = written.file(Path::new("config.toml"), &format!("shadow.connections = {number}"));
        }
        if let Some(number) = in_env {
            written = written.env(pairs(&[("SPOA_AGENT_SHADOW_CONNECTIONS", &number.to_string())]));
        }
        if let Some(number) = in_flag {
            written = written.flag(key, vec![number.to_string()]);
        }
        let expected = in_flag.or(in_env).or(in_file).unwrap_or(32);
        prop_assert_eq!(written.build().unwrap().shadow.connections, expected);
    }

    #[test]
    fn no_text_in_any_place_makes_reading_panic(text in ".{0,200}") {
        let mut written = file(&text);
        for key in keys() {
            written = written.flag(key, vec![text.clone()]);
        }
        // Whether it is right is not asked; every message is one line.
        if let Err(problems) = written.build() {
            for problem in &problems.0 {
                prop_assert!(!problem.to_string().contains('\n'), "{}", problem);
            }
        }
    }

    #[test]
    fn a_size_that_is_shown_reads_back(bytes in (2_u64 << 27)..(1 << 60)) {
        let text = show_size(bytes);
        let config = env(&[("SPOA_AGENT_JOURNAL_MAX_BYTES", &text)]).build().unwrap();
        prop_assert_eq!(config.journal.max_bytes, bytes);
    }
}

#[test]
fn a_pair_log_needs_pairs_and_pairs_need_a_buffer_that_they_pass() {
    let said = problems(file("pair_log.path = \"/p\"\n"));
    assert!(said.contains("shadow.pairs = journal"), "{said}");
    let right = file("pair_log.path = \"/p\"\nshadow.pairs = \"journal\"\n");
    let config = right.build().unwrap();
    assert_eq!(config.shadow.pairs, PairsTo::Journal);
    let said = problems(file(
        "shadow.pairs = \"journal\"\nshadow.pair_body_limit = \"4MiB\"\n",
    ));
    assert!(
        said.contains("4 x shadow.pair_body_limit, which is 16MiB"),
        "{said}"
    );
}

#[test]
fn properties_of_librdkafka_come_as_a_table_and_as_text() {
    let expected = [
        ("debug", "broker,security"),
        ("socket.keepalive.enable", "true"),
    ];
    for written in [
        file("[kafka.properties]\nsocket.keepalive.enable = true\ndebug = \"broker,security\"\n"),
        file(
            "[kafka]\nproperties = { \"socket.keepalive.enable\" = \"true\", debug = \"broker,security\" }\n",
        ),
        env(&[(
            "SPOA_AGENT_KAFKA_PROPERTIES",
            "debug=broker,security,socket.keepalive.enable=true",
        )]),
    ] {
        let config = written.build().unwrap();
        let found: Vec<(&str, &str)> = config.kafka.properties.iter().collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn a_property_that_a_key_says_is_refused_with_both_names() {
    for (property, says) in [
        (
            "bootstrap.servers=a:1",
            "has bootstrap.servers, which kafka.brokers says",
        ),
        ("linger.ms=5", "has linger.ms, which kafka.linger says"),
        (
            "acks=1",
            "has acks, but an exchange counts as delivered only when",
        ),
        ("message.timeout.ms=5", "the journal keeps it"),
        ("no.such.thing=5", "No such configuration property"),
        (
            "socket.timeout.ms=never",
            "has socket.timeout.ms, and librdkafka says:",
        ),
        ("socket.timeout.ms", "has no = in it"),
    ] {
        let said = problems(env(&[("SPOA_AGENT_KAFKA_PROPERTIES", property)]));
        assert!(said.contains(says), "{property}: {said}");
        assert!(
            said.starts_with("env SPOA_AGENT_KAFKA_PROPERTIES: kafka.properties: "),
            "{said}"
        );
    }
}

#[test]
fn a_secret_among_the_properties_is_refused_and_not_repeated() {
    for property in [
        "sasl.password",
        "ssl.key.password",
        "sasl.oauthbearer.client.secret",
    ] {
        for written in [
            env(&[(
                "SPOA_AGENT_KAFKA_PROPERTIES",
                &format!("{property}=hunter2"),
            )]),
            file(&format!(
                "[kafka.properties]\n\"{property}\" = \"hunter2\"\n"
            )),
        ] {
            let said = problems(written);
            assert!(
                said.contains(property) && said.contains("name a file"),
                "{said}"
            );
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}

#[test]
fn brokers_that_nobody_could_reach_are_refused() {
    for text in [
        "kafka",
        "kafka:0",
        "kafka:99999",
        "PLAINTEXT://kafka:9092",
        ":9092",
        "a b:1",
    ] {
        assert!(
            env(&[("SPOA_AGENT_KAFKA_BROKERS", text)]).build().is_err(),
            "{text}"
        );
    }
    let said = problems(env(&[(
        "SPOA_AGENT_KAFKA_BROKERS",
        "SASL_SSL://kafka:9092",
    )]));
    assert!(
        said.contains("kafka.security says how the connection is protected"),
        "{said}"
    );
    let right = env(&[("SPOA_AGENT_KAFKA_BROKERS", "kafka:9092,[::1]:9092")]);
    assert_eq!(
        right.build().unwrap().kafka.brokers,
        ["kafka:9092", "[::1]:9092"]
    );
}
