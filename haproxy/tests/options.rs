//! What the options may be, what they become, and that no text in them can become a line.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests are tests; clippy's own exception knows functions marked #[test] only"
)]

use std::time::Duration;

use haproxy_config::{
    AgentAddress, Hold, Listen, LogTarget, MAX_BODY_LIMIT, Node, Options, Problem, Role, SetHeader,
    SkipCapture, TargetVersion, generate,
};
use proptest::prelude::*;

fn haproxy_cfg(options: &Options) -> String {
    generate(options).unwrap().haproxy_cfg
}

fn problems(options: &Options) -> Vec<Problem> {
    generate(options)
        .expect_err("these options are wrong")
        .into_iter()
        .collect()
}

#[test]
fn addresses_are_written_as_haproxy_takes_them() {
    for (given, shown) in [
        ("9200", "*:9200"),
        (":9200", "*:9200"),
        ("*:9200", "*:9200"),
        ("0.0.0.0:9200", "0.0.0.0:9200"),
        ("[::1]:9200", "[::1]:9200"),
    ] {
        assert_eq!(given.parse::<Listen>().unwrap().to_string(), shown);
    }
    for (given, shown) in [
        ("a.example:9200", "a.example:9200"),
        ("http://A.Example:9200/", "a.example:9200"),
        ("https://10.0.0.1:9200", "https://10.0.0.1:9200"),
        ("[2001:DB8::1]:9200", "[2001:db8::1]:9200"),
    ] {
        assert_eq!(given.parse::<Node>().unwrap().to_string(), shown);
    }
    for (given, shown) in [
        ("localhost:12345", "localhost:12345"),
        ("/run/a.sock", "unix@/run/a.sock"),
        ("unix:/run/a.sock", "unix@/run/a.sock"),
    ] {
        assert_eq!(given.parse::<AgentAddress>().unwrap().to_string(), shown);
    }
    for log in [
        "off",
        "stdout",
        "stderr",
        "127.0.0.1:514",
        "[::1]:514",
        "/dev/log",
    ] {
        assert_eq!(log.parse::<LogTarget>().unwrap().to_string(), log);
    }
}

#[test]
fn what_is_no_address_is_refused() {
    for listen in [
        "",
        "0",
        "65536",
        "+80",
        "name:80",
        "::1:80",
        "[::1]",
        "[10.0.0.1]:80",
        "1.2.3.4",
    ] {
        assert!(listen.parse::<Listen>().is_err(), "{listen}");
    }
    for node in [
        "",
        "a",
        "a:",
        ":9200",
        "a:0",
        "a:9200/prefix",
        "a:9200?x",
        "user:secret@a:9200",
        "ftp://a:9200",
        "https://a",
        "::1:9200",
        "[::1%eth0]:9200",
        "10.0.0.256:9200",
        "10.1:9200",
        "-a:9200",
        "a..b:9200",
        "a b:9200",
        "a\tb:9200",
        "a\n:9200",
        "é:9200",
    ] {
        assert!(node.parse::<Node>().is_err(), "{node}");
    }
    for agent in [
        "",
        "a",
        "unix:",
        "unix:relative.sock",
        "/run/a b.sock",
        "/run/\"a\".sock",
    ] {
        assert!(agent.parse::<AgentAddress>().is_err(), "{agent}");
    }
    let long = format!("/{}", "a".repeat(107));
    assert!(long.parse::<AgentAddress>().is_err());
    assert!(format!("{}:1", "a".repeat(64)).parse::<Node>().is_err());
    assert!(format!("{}a:1", "a.".repeat(127)).parse::<Node>().is_err());
    for log in ["", "syslog", "dev/log", "host"] {
        assert!(log.parse::<LogTarget>().is_err(), "{log}");
    }
}

#[test]
fn words_are_known_or_refused_with_the_known_ones() {
    assert_eq!("shadow".parse(), Ok(Role::Shadow));
    assert_eq!("closed".parse(), Ok(Hold::Closed));
    assert_eq!("auto".parse(), Ok(TargetVersion::Auto));
    assert_eq!(
        "3.1".parse(),
        Ok(TargetVersion::Branch { major: 3, minor: 1 })
    );
    for version in ["", "3", "2.5", "1.9", "3.x", "3.1.4"] {
        assert!(version.parse::<TargetVersion>().is_err(), "{version}");
    }
    assert_eq!(
        "on".parse::<Hold>().unwrap_err().to_string(),
        "hold mode \"on\" is not known; use off, open or closed"
    );
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let options = Options {
        listen: Vec::new(),
        tls_listen: vec!["9243".parse().unwrap(), "9243".parse().unwrap()],
        nodes: Vec::new(),
        role: Role::Shadow,
        hold: Hold::Open,
        reads: vec![
            "_search".to_owned(),
            "_search".to_owned(),
            "a b".to_owned(),
            "/x".to_owned(),
        ],
        body_limit: MAX_BODY_LIMIT + 1,
        max_connections: 0,
        threads: Some(0),
        processing_timeout: Duration::ZERO,
        hold_timeout: Duration::from_secs(61),
        id_header: "Content-Length".to_owned(),
        spoe_file: String::new(),
        stats_socket: Some("relative".to_owned()),
        ..Options::default()
    };
    let said: Vec<String> = problems(&options).iter().map(ToString::to_string).collect();
    let expected = [
        "listen address \"*:9243\" is given twice",
        "the certificate for the TLS listen address is missing",
        "a node is missing",
        "hold mode open or closed and role shadow exclude each other",
        "read endpoint \"_search\" is given twice",
        "read endpoint \"a b\" contains ' '",
        "read endpoint \"/x\": it is not a path of segments",
        "the body limit is 4177921, it must be between 0 and 4177920",
        "the number of connections is 0",
        "the number of threads is 0",
        "the processing timeout is 0ns, it must be between 1ms and 10s",
        "the hold timeout is 61s, it must be between 1ms and 60s",
        "id header \"Content-Length\": the header has a meaning of its own",
        "spoe file \"\": it is empty",
        "stats socket \"relative\": the path of a socket must be absolute",
    ];
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for (said, expected) in said.iter().zip(expected) {
        assert!(
            said.starts_with(expected),
            "{said:?} does not begin with {expected:?}"
        );
    }
}

#[test]
fn haproxy_is_not_pointed_at_itself() {
    for node in ["127.0.0.1:9201", "localhost:9201", "[::1]:9201"] {
        let nodes = vec![node.parse().unwrap()];
        assert_eq!(
            problems(&Options {
                nodes,
                ..Options::default()
            })
            .len(),
            1,
            "{node}"
        );
    }
    let agent = "127.0.0.1:9201".parse().unwrap();
    assert_eq!(
        problems(&Options {
            agent,
            ..Options::default()
        })
        .len(),
        1
    );
    let elsewhere = vec!["10.0.0.1:9201".parse().unwrap()];
    assert!(
        generate(&Options {
            nodes: elsewhere,
            ..Options::default()
        })
        .is_ok()
    );
}

#[test]
fn nodes_on_one_port_have_different_names_and_the_same_node_is_refused() {
    let nodes = |given: &[&str]| given.iter().map(|node| node.parse().unwrap()).collect();
    let text = haproxy_cfg(&Options {
        nodes: nodes(&["10.0.0.1:9200", "10.0.0.2:9200", "[::2]:9200"]),
        ..Options::default()
    });
    assert!(text.contains("    server 10.0.0.1:9200 10.0.0.1:9200\n"));
    assert!(text.contains("    server 10.0.0.2:9200 10.0.0.2:9200\n"));
    assert!(text.contains("    server ::2:9200 [::2]:9200\n"));
    let twice = nodes(&["a:9200", "https://A:9200"]);
    assert_eq!(
        problems(&Options {
            nodes: twice,
            ..Options::default()
        })
        .len(),
        1
    );
}

#[test]
fn names_are_asked_for_again_only_when_told_and_only_where_there_is_a_name() {
    let cfg = |nodes: &[&str], resolve_nodes| {
        haproxy_cfg(&Options {
            nodes: nodes.iter().map(|node| node.parse().unwrap()).collect(),
            resolve_nodes,
            ..Options::default()
        })
    };
    let asks = |cfg: String| {
        cfg.contains("resolvers system\n") && cfg.contains("default-server resolvers system ")
    };
    assert!(asks(cfg(&["10.0.0.1:9200", "es2:9200"], true)));
    assert!(!cfg(&["10.0.0.1:9200", "es2:9200"], false).contains("resolvers"));
    assert!(!cfg(&["10.0.0.1:9200", "[::1]:9200"], true).contains("resolvers"));
}

#[test]
fn tls_to_a_node_is_verified_unless_told_otherwise() {
    let nodes: Vec<Node> = ["https://es.example:9200", "https://10.0.0.1:9200"]
        .map(|node| node.parse().unwrap())
        .to_vec();
    let options = Options {
        nodes,
        ..Options::default()
    };
    let text = haproxy_cfg(&options);
    assert!(text.contains(
        " ssl verify required ca-file @system-ca sni str(es.example) check-sni es.example alpn http/1.1\n"
    ));
    assert!(text.contains("10.0.0.1:9200 ssl verify required ca-file @system-ca alpn http/1.1\n"));
    let text = haproxy_cfg(&Options {
        node_tls_insecure: true,
        ..options
    });
    assert_eq!(text.matches(" ssl verify none").count(), 2);
    assert!(!text.contains("verify required"));
}

#[test]
fn the_buffer_holds_the_body_limit_and_the_headers() {
    let text = haproxy_cfg(&Options {
        body_limit: 100_000,
        ..Options::default()
    });
    assert!(text.contains("tune.bufsize 116384\n"));
    assert!(text.contains("req.hdr_val(content-length) -m int le 100000\n"));
    assert!(text.contains("res.hdr_val(content-length) -m int le 100000\n"));
    let text = haproxy_cfg(&Options {
        body_limit: 0,
        ..Options::default()
    });
    assert!(
        text.contains("tune.bufsize 16384\n"),
        "the least that HTTP/2 needs"
    );
}

#[test]
fn a_skipped_request_is_neither_waited_for_nor_sent_nor_held() {
    let text = haproxy_cfg(&Options {
        hold: Hold::Closed,
        skip_capture: vec!["line=GET /_cat/.*".parse().unwrap()],
        ..Options::default()
    });
    let line_of = |part: &str| {
        text.lines()
            .position(|line| line.contains(part))
            .unwrap_or_else(|| unreachable!("{part}: {text}"))
    };
    let rules = text
        .lines()
        .filter(|line| line.contains("wait-for-body") || line.contains("send-spoe-group"));
    for rule in rules {
        let is_of_held = rule.contains("if agent_up held");
        assert!(is_of_held || rule.ends_with(" !skipped"), "{rule}");
    }
    // A skipped request is not one that is held, before anybody asks.
    let unset = line_of("unset-var(txn.hold) if skipped");
    assert!(line_of("set-var(txn.hold) bool(true)") < unset);
    assert!(unset < line_of("acl held var(txn.hold)"));
    assert!(unset < line_of("deny deny_status 503 if held"));
}

#[test]
fn only_fail_closed_denies_and_only_held_requests() {
    for (hold, denials) in [(Hold::Off, 0), (Hold::Open, 0), (Hold::Closed, 1)] {
        let text = haproxy_cfg(&Options {
            hold,
            ..Options::default()
        });
        assert_eq!(text.matches("deny").count(), 2 * denials, "{hold:?}");
        assert_eq!(
            text.matches("deny deny_status 503 if held !durable\n")
                .count(),
            denials
        );
    }
}

#[test]
fn without_an_agent_no_rule_waits_or_sends() {
    let text = haproxy_cfg(&Options {
        hold: Hold::Closed,
        ..Options::default()
    });
    let rules = text.lines().filter(|line| {
        !line.trim_start().starts_with('#')
            && (line.contains("wait-for-body") || line.contains("send-spoe-group"))
    });
    let mut seen = 0;
    for rule in rules {
        assert!(rule.contains(" if agent_up"), "{rule}");
        seen += 1;
    }
    assert_eq!(seen, 7);
}

#[test]
fn a_held_request_sends_the_arguments_of_any_other() {
    let text = generate(&Options {
        hold: Hold::Open,
        ..Options::default()
    })
    .unwrap()
    .spoe_cfg;
    let arguments: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(" m=method "))
        .collect();
    assert_eq!(arguments.len(), 2);
    assert_eq!(arguments.first(), arguments.last());
}

#[test]
fn a_known_version_needs_no_conditions_and_auto_has_them_in_pairs() {
    for (version, mode) in [
        ("2.6", "tcp"),
        ("3.0", "tcp"),
        ("3.1", "spop"),
        ("3.5", "spop"),
    ] {
        let options = Options {
            version: version.parse().unwrap(),
            ..Options::default()
        };
        let files = generate(&options).unwrap();
        assert!(
            !files.haproxy_cfg.contains("\n.") && !files.spoe_cfg.contains("\n."),
            "{version}"
        );
        assert!(
            files.haproxy_cfg.contains(&format!("    mode {mode}\n")),
            "{version}"
        );
    }
    let files = generate(&Options::default()).unwrap();
    for text in [files.haproxy_cfg, files.spoe_cfg] {
        assert_eq!(
            text.matches("\n.if ").count(),
            text.matches("\n.endif\n").count()
        );
    }
}

/// Everything that a user can type as free text, from one string.
fn with_text_everywhere(text: &str) -> Options {
    let mut options = Options {
        certificate: Some(text.to_owned()),
        node_ca_file: text.to_owned(),
        id_header: text.to_owned(),
        stats_socket: Some(text.to_owned()),
        spoe_file: text.to_owned(),
        reads: vec![text.to_owned()],
        hold: Hold::Closed,
        tls_listen: vec!["9343".parse().unwrap()],
        ..Options::default()
    };
    options.nodes.extend(text.parse::<Node>());
    options.listen.extend(text.parse::<Listen>());
    if let Ok(agent) = text.parse() {
        options.agent = agent;
    }
    if let Ok(log) = text.parse() {
        options.log = log;
    }
    options
}

/// One free text at a time, so that the others do not hide it behind their own refusal.
fn with_text_at(place: usize, text: &str) -> Options {
    let everywhere = with_text_everywhere(text);
    let calm = with_text_everywhere("/calm");
    let mut options = Options {
        id_header: "X-Calm".to_owned(),
        reads: vec!["calm".to_owned()],
        ..calm
    };
    match place {
        0 => options.certificate = everywhere.certificate,
        1 => options.node_ca_file = everywhere.node_ca_file,
        2 => options.id_header = everywhere.id_header,
        3 => options.stats_socket = everywhere.stats_socket,
        4 => options.spoe_file = everywhere.spoe_file,
        5 => options.reads = everywhere.reads,
        6 => options.nodes.extend(text.parse::<Node>()),
        7 => options.agent = text.parse().unwrap_or(options.agent),
        8 => options.log = text.parse().unwrap_or(options.log),
        _ => options
            .nodes
            .extend(format!("https://{text}:9200").parse::<Node>()),
    }
    options
}

/// A configuration's shape: for each line its indentation, first word and number of words.
fn shape(text: &str) -> Vec<(String, usize)> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#') && !line.contains("    server "))
        .map(|line| {
            let word = line.split_whitespace().next().unwrap_or_default();
            (word.to_owned(), line.split(' ').count())
        })
        .collect()
}

/// The words of a line as HAProxy reads them.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    let mut letters = line.trim_start().chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            '\\' if !is_quoted => words.last_mut().unwrap().extend(letters.next()),
            letter => words.last_mut().unwrap().push(letter),
        }
    }
    words
}

proptest! {
    #[test]
    fn expressions_and_header_values_are_one_word_whatever_is_in_them(
        text in prop_oneof![any::<String>(), "[a-z '\"\\\\#{}$%|()*]{1,60}", "'{400,700}"],
    ) {
        let options = Options {
            skip_capture: vec![SkipCapture::Target(text.clone())],
            set_headers: vec![SetHeader { name: "X-A".to_owned(), value: text.clone() }],
            ..Options::default()
        };
        let Ok(files) = generate(&options) else { return Ok(()) };
        let calm = Options {
            skip_capture: vec!["target=a".parse().unwrap()],
            set_headers: vec!["X-A:a".parse().unwrap()],
            ..Options::default()
        };
        prop_assert_eq!(files.haproxy_cfg.lines().count(), haproxy_cfg(&calm).lines().count());
        prop_assert!(files.haproxy_cfg.lines().all(|line| line.len() < 2048));
        let line = |part: &str| files.haproxy_cfg.lines().find(|line| line.contains(part)).map(words);
        let header = ["http-request", "set-header", "X-A", &text.replace('%', "%%")].map(str::to_owned);
        prop_assert_eq!(line("set-header X-A"), Some(header.to_vec()));
        let skip = line("acl skip_capture").unwrap();
        let expression = format!("^({text})$");
        prop_assert_eq!(skip.last(), Some(&expression));
        prop_assert_eq!(skip.len(), 7);
    }

    #[test]
    fn no_text_becomes_a_line_or_a_word(
        place in 0..10usize,
        text in prop_oneof![
            any::<String>(),
            "[a-z/._ \t\n\r\"'\\\\#{}$@%:-]{0,40}",
            "/[a-z]{1,5}(\n|\r|\t| |\"|'|\\\\|\\$\\{A\\}|#)[a-z ]{0,20}",
            "[a-zA-Z0-9._-]{1,20}",
        ],
    ) {
        let Ok(files) = generate(&with_text_at(place, &text)) else { return Ok(()) };
        let calm = generate(&with_text_at(place, "/calm")).or_else(|_| generate(&with_text_at(place, "calm"))).unwrap();
        // The log line has more words for a syslog server than for the standard output.
        if place != 8 {
            prop_assert_eq!(shape(&files.haproxy_cfg), shape(&calm.haproxy_cfg));
            prop_assert_eq!(shape(&files.spoe_cfg), shape(&calm.spoe_cfg));
        }
        for file in [&files.haproxy_cfg, &files.spoe_cfg] {
            prop_assert!(file.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)));
            prop_assert!(file.lines().all(|line| line.len() < 2048), "2.6 reads 2048 bytes of a line");
            for line in file.lines().filter(|line| !line.trim_start().starts_with('#')) {
                prop_assert!(!line.contains(['"', '\'', '\\', '#']), "{}", line);
                prop_assert!(!line.contains("{{"), "{}", line);
            }
        }
    }

    #[test]
    fn any_text_is_an_address_or_refused(text in any::<String>()) {
        for shown in [
            text.parse::<Listen>().map(|it| it.to_string()),
            text.parse::<Node>().map(|it| it.to_string()),
            text.parse::<AgentAddress>().map(|it| it.to_string()),
            text.parse::<LogTarget>().map(|it| it.to_string()),
        ] {
            match shown {
                Ok(shown) => prop_assert!(shown.bytes().all(|byte| byte.is_ascii_graphic())),
                Err(problem) => prop_assert!(!problem.to_string().contains('\n')),
            }
        }
    }
}
