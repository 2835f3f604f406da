use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use clap::FromArgMatches as _;
use exchange::{Body, Gap, Half, Pair, Request, Response, Sending};
use proptest::prelude::*;

use super::flags::ConfigFlags;
use super::*;
use crate::config::{Config, Written, keys};

/// The arguments after `spoa-agent`.
fn parse(arguments: &[&str]) -> Cli {
    let arguments = ["spoa-agent"].iter().chain(arguments);
    Cli::try_parse_from(arguments).unwrap_or_else(|error| panic!("{error}"))
}

/// What a command prints, and how it ends.
fn run_printing(arguments: &[&str]) -> (String, Exit) {
    let mut out = Vec::new();
    let exit = match parse(arguments).command {
        Subcommands::Run(_)
        | Subcommands::Supervise(_)
        | Subcommands::CaptureProxy(_)
        | Subcommands::Launch(_) => {
            panic!("this does not end")
        }
        Subcommands::Healthcheck(args) => args.print(&mut out),
        Subcommands::Replay(_) => panic!("`replay` prints by itself"),
        Subcommands::Check(args) => args.print(&mut out),
        Subcommands::HaproxyConfig(args) => args.print(&mut out),
        Subcommands::Tail(args) => args.print(&mut out),
        Subcommands::Journal(args) => args.print(&mut out),
        Subcommands::DeadLetter(args) => args.print(&mut out),
        Subcommands::Completions(args) => args.print(&mut out),
        Subcommands::KafkaCheck(args) => args.print(&mut out),
        Subcommands::Man(args) => args.print(&mut out),
    };
    (String::from_utf8(out).unwrap(), exit.unwrap())
}

fn help_of(path: &[&str], long: bool) -> String {
    let mut command = command().term_width(100);
    command.build();
    let mut found = &mut command;
    for name in path {
        found = found.find_subcommand_mut(name).unwrap();
    }
    let help = if long {
        found.render_long_help()
    } else {
        found.render_help()
    };
    help.to_string()
}

#[test]
fn the_command_line_is_well_formed() {
    command().debug_assert();
}

/// Without the flags of the configuration, which `help_run` shows.
fn supervision_of(help: &str) -> String {
    let (head, rest) = help.split_once("\nServer:\n").unwrap();
    let (_, examples) = rest.split_once("\nExamples:\n").unwrap();
    format!("{head}[...]\nExamples:\n{examples}")
}

#[test]
fn help_teaches() {
    insta::assert_snapshot!("help", help_of(&[], true));
    insta::assert_snapshot!("help_run", help_of(&["run"], false));
    insta::assert_snapshot!(
        "help_supervise",
        supervision_of(&help_of(&["supervise"], true))
    );
    insta::assert_snapshot!("help_capture_proxy", help_of(&["capture-proxy"], false));
    insta::assert_snapshot!("help_haproxy_config", help_of(&["haproxy-config"], false));
    insta::assert_snapshot!("help_journal_cat", help_of(&["journal", "cat"], true));
    insta::assert_snapshot!(
        "help_dead_letter_retry",
        help_of(&["dead-letter", "retry"], true)
    );
}

#[test]
fn every_command_has_examples_or_commands_of_its_own() {
    fn check(command: &Command) {
        let after = command
            .get_after_long_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let is_group = command.get_subcommands().next().is_some();
        assert!(
            is_group || after.contains("Examples:"),
            "{}",
            command.get_name()
        );
        assert!(command.get_about().is_some(), "{}", command.get_name());
        command
            .get_subcommands()
            .filter(|command| command.get_name() != "help" && !command.is_hide_set())
            .for_each(check);
    }
    check(&command());
}

#[test]
fn the_exit_codes_of_the_help_are_those_of_the_program() {
    for (exit, meaning) in exit::CODES {
        let line = format!("  {}  {meaning}\n", exit.code());
        assert!(exit::HELP.contains(&line), "{line}");
    }
}

#[test]
fn every_key_is_a_flag_of_run_and_of_check_and_is_in_the_manual_and_the_completions() {
    let (manual, _) = run_printing(&["man"]);
    let (completions, _) = run_printing(&["completions", "bash"]);
    let command = command();
    for key in keys() {
        for name in ["run", "check"] {
            let subcommand = command.find_subcommand(name).unwrap();
            let flag = key.flag();
            assert!(
                subcommand
                    .get_arguments()
                    .any(|argument| argument.get_long() == Some(&flag)),
                "{name} --{flag}"
            );
        }
        let roff = |text: &str| text.replace('-', "\\-");
        assert!(manual.contains(&roff(key.path)), "{}", key.path);
        assert!(manual.contains(&key.env()), "{}", key.env());
        assert!(
            completions.contains(&format!("--{}", key.flag())),
            "{}",
            key.flag()
        );
    }
    for section in [
        "CONFIGURATION",
        "EXIT STATUS",
        "FILES",
        "SIGNALS",
        "EXAMPLES",
    ] {
        assert!(
            manual.contains(&format!(".SH \"{section}\""))
                || manual.contains(&format!(".SH {section}")),
            "{section}"
        );
    }
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (script, exit) = run_printing(&["completions", shell]);
        assert_eq!(exit, Exit::Ok);
        assert!(script.contains("journal-dir"), "{shell}");
    }
}

#[test]
fn an_error_says_each_of_its_causes_once() {
    let inner = io::Error::new(io::ErrorKind::NotFound, "not there");
    let error = anyhow::Error::new(inner)
        .context("cannot list x: not there")
        .context("ls");
    assert_eq!(causes(&error), "ls: cannot list x: not there");
    assert_eq!(Exit::of(&error), Exit::Failure);
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let error = anyhow::Error::new(io::Error::from(io::ErrorKind::BrokenPipe)).context("writing");
    assert_eq!(failed(&error), Exit::Ok);
}

#[test]
fn a_locked_journal_has_an_exit_code_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (_journal, _) = ::journal::Journal::open(::journal::Options::new(dir.path())).unwrap();
    let error = ::journal::Journal::open(::journal::Options::new(dir.path())).unwrap_err();
    let error = anyhow::Error::new(error).context("cannot open the journal");
    assert_eq!(Exit::of(&error), Exit::Locked);
}

mod configuration {
    use super::*;

    fn flags(arguments: &[&str]) -> ConfigFlags {
        let arguments = ["spoa-agent", "run"].iter().chain(arguments);
        let matches = command().try_get_matches_from(arguments).unwrap();
        let (_, matches) = matches.subcommand().unwrap();
        ConfigFlags::from_arg_matches(matches).unwrap()
    }

    fn written(arguments: &[&str], env: &[(&str, &str)], default_file: &Path) -> Written {
        let env = env
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        flags(arguments).written_with(env, default_file).0
    }

    fn nowhere() -> &'static Path {
        Path::new("/nonexistent/config.toml")
    }

    #[test]
    fn flags_reach_the_configuration() {
        let arguments = [
            "--journal-ack",
            "sync",
            "--shadow-insecure",
            "--server-listen",
            "a:1",
            "--server-listen=b:2",
        ];
        let config: Config = written(&arguments, &[], nowhere()).build().unwrap();
        assert_eq!(config.journal.ack, crate::config::AckLevel::Sync);
        assert!(config.shadow.insecure);
        assert_eq!(config.server.listen.len(), 2);
        let config = written(&["--shadow-insecure=false"], &[], nowhere())
            .build()
            .unwrap();
        assert!(!config.shadow.insecure);
    }

    #[test]
    fn a_default_file_need_not_be_there_and_a_named_one_must() {
        assert!(written(&[], &[], nowhere()).build().is_ok());
        for written in [
            written(&["--config", "/nonexistent/c.toml"], &[], nowhere()),
            written(
                &[],
                &[("SPOA_AGENT_CONFIG", "/nonexistent/c.toml")],
                nowhere(),
            ),
        ] {
            let message = written.build().unwrap_err().to_string();
            assert!(
                message.starts_with("/nonexistent/c.toml: cannot be opened"),
                "{message}"
            );
        }
    }

    #[test]
    fn the_file_of_the_flag_wins_over_that_of_the_environment_over_the_default_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, number: usize| {
            let path = dir.path().join(name);
            std::fs::write(&path, format!("shadow.connections = {number}")).unwrap();
            path.into_os_string().into_string().unwrap()
        };
        let (default, in_env, in_flag) = (file("d", 1), file("e", 2), file("f", 3));
        let connections = |arguments: &[&str], env: &[(&str, &str)]| {
            let config = written(arguments, env, Path::new(&default))
                .build()
                .unwrap();
            config.shadow.connections
        };
        let env = [("SPOA_AGENT_CONFIG", in_env.as_str())];
        assert_eq!(connections(&[], &[]), 1);
        assert_eq!(connections(&[], &env), 2);
        assert_eq!(connections(&["--config", &in_flag], &env), 3);
    }

    proptest! {
        // Each case parses the whole command line.
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn what_a_flag_says_is_what_the_variable_and_the_file_say(millis in 1_u64..60_000) {
            let text = format!("{millis}ms");
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("config.toml");
            std::fs::write(&path, format!("[capture]\nhold_deadline = \"{text}\"\n")).unwrap();
            for config in [
                written(&["--capture-hold-deadline", &text], &[], nowhere()).build().unwrap(),
                written(&[], &[("SPOA_AGENT_CAPTURE_HOLD_DEADLINE", &text)], nowhere()).build().unwrap(),
                written(&[], &[], &path).build().unwrap(),
            ] {
                prop_assert_eq!(config.capture.hold_deadline, Duration::from_millis(millis));
            }
        }
    }
}

mod haproxy {
    use super::*;

    #[test]
    fn both_files_are_printed_or_one_of_them() {
        let (both, exit) = run_printing(&["haproxy-config"]);
        assert_eq!(exit, Exit::Ok);
        let (haproxy, _) = run_printing(&["haproxy-config", "--only", "haproxy"]);
        let (spoe, _) = run_printing(&["haproxy-config", "--only", "spoe"]);
        assert!(both.contains(&haproxy) && both.contains(&spoe));
        assert!(haproxy.contains("frontend") && spoe.contains("spoe-agent"));
    }

    #[test]
    fn files_written_to_a_directory_name_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("haproxy");
        let (said, exit) = run_printing(&["haproxy-config", "--out", out.to_str().unwrap()]);
        assert_eq!(exit, Exit::Ok);
        let spoe = out.join("spoe.cfg");
        assert!(said.contains(spoe.to_str().unwrap()), "{said}");
        let haproxy = std::fs::read_to_string(out.join("haproxy.cfg")).unwrap();
        assert!(haproxy.contains(spoe.to_str().unwrap()), "{haproxy}");
        assert!(spoe.exists());
    }

    #[test]
    fn options_that_haproxy_would_refuse_are_a_usage_error() {
        assert_eq!(
            run_printing(&["haproxy-config", "--threads", "0"]).1,
            Exit::Usage
        );
        let bad = ["spoa-agent", "haproxy-config", "--processing-timeout", "5"];
        let error = Cli::try_parse_from(bad).unwrap_err().to_string();
        assert!(error.contains("has no unit; write 5s or 5ms"), "{error}");
    }
}

mod checking {
    use super::*;

    /// What `check` says about this configuration, which it finds in a file of `dir`.
    fn check(dir: &Path, config: &str) -> (String, Exit) {
        let file = dir.join("config.toml");
        let journal = dir.join("journal");
        let text = format!(
            "server.listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"\njournal.dir = {journal:?}\n{config}"
        );
        std::fs::write(&file, text).unwrap();
        run_printing(&["check", "--config", file.to_str().unwrap()])
    }

    #[test]
    fn a_right_configuration_has_no_errors_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let (table, exit) = check(dir.path(), "");
        assert_eq!(exit, Exit::Ok, "{table}");
        assert!(table.contains("0 errors"), "{table}");
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "only the configuration: {left:?}");
    }

    #[test]
    fn mistakes_in_the_configuration_and_around_it_are_said_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let file = dir.path().join("plain");
        std::fs::write(&file, "no certificate").unwrap();
        let config = format!(
            "journal.ack = \"fsync\"\nshadow.url = \"https://{address}\"\nshadow.ca_file = {file:?}\n\
             traffic_log.path = {:?}\nshadow.authorization_file = \"/nonexistent/secret\"\n",
            dir.path()
        );
        let (table, exit) = check(dir.path(), &config);
        assert_eq!(exit, Exit::Usage);
        for part in [
            "journal.ack = \"fsync\"",
            "is a directory; name a file",
            "no certificate in",
            "/nonexistent/secret: cannot be read",
            &format!("is reached at {address}"),
        ] {
            assert!(table.contains(part), "{part} in {table}");
        }
        assert!(table.contains("4 errors"), "{table}");
    }

    #[test]
    fn the_rule_file_is_looked_at_too() {
        let dir = tempfile::tempdir().unwrap();
        let rules = dir.path().join("rules.toml");
        let config = format!("shadow.url = \"http://127.0.0.1:9\"\nshadow.rules_file = {rules:?}");
        let (table, exit) = check(dir.path(), &config);
        assert_eq!(exit, Exit::Usage, "{table}");
        assert!(table.contains("cannot be read"), "{table}");

        std::fs::write(&rules, "[[rule]]\nthen = 'dney'\n[rename]\n'A' = 'b'\n").unwrap();
        let (table, exit) = check(dir.path(), &config);
        assert_eq!(exit, Exit::Usage, "{table}");
        assert!(
            table.contains("rules.toml: line 2: rule.then = \"dney\""),
            "{table}"
        );
        assert!(table.contains("rules.toml: line 4: rename.A"), "{table}");

        std::fs::write(&rules, "[[rule]]\nwhen = { path = '/x' }\nthen = 'deny'\n").unwrap();
        let (table, exit) = check(dir.path(), &config);
        assert_eq!(exit, Exit::Ok, "{table}");
        assert!(table.contains("1 rules in"), "{table}");
        assert!(table.contains("denies writes too"), "{table}");
    }

    #[test]
    fn an_address_in_use_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let socket = dir.path().join("spop.sock");
        let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let file = dir.path().join("config.toml");
        let config = format!(
            "journal.dir = {:?}\nserver.listen = [\"{address}\", \"unix:{}\"]\nadmin.listen = \"\"",
            dir.path(),
            socket.display()
        );
        std::fs::write(&file, config).unwrap();
        let (table, exit) = run_printing(&["check", "--config", file.to_str().unwrap()]);
        assert_eq!(exit, Exit::Usage);
        assert_eq!(table.matches("is an agent running?").count(), 2, "{table}");
    }

    #[test]
    fn what_would_leak_a_secret_is_a_warning() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let shadow = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "Basic dXNlcjpwYXNz\n").unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
        let config = format!(
            "shadow.url = \"http://{}\"\nshadow.authorization_file = {secret:?}\ncapture.forward_credentials = true",
            shadow.local_addr().unwrap()
        );
        let (table, exit) = check(dir.path(), &config);
        assert_eq!(exit, Exit::Ok, "{table}");
        for part in [
            "can be read by others",
            "in clear text",
            "credentials stay in the journal",
        ] {
            assert!(table.contains(part), "{part} in {table}");
        }
        assert!(!table.contains("dXNlcjpwYXNz"), "{table}");
    }
}

mod journals {
    use super::*;

    fn request(id: &'static str) -> Half {
        Half::Request(Request {
            id: Bytes::from_static(id.as_bytes()),
            time_us: 1_700_000_000_000_000,
            method: Bytes::from_static(b"POST"),
            target: Bytes::from_static(b"/i/_doc?x=\xff"),
            body: Body::observed(Bytes::from_static(b"{}"), true, Some(2)),
            ..Request::default()
        })
    }

    fn response(id: &'static str) -> Half {
        Half::Response(Response {
            id: Bytes::from_static(id.as_bytes()),
            time_us: 1_700_000_000_005_000,
            status: 201,
            body: Body::observed(Bytes::from_static(b"created"), false, Some(9)),
            ..Response::default()
        })
    }

    /// A journal with two exchanges, a request alone, and a gap.
    fn journal() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = ::journal::Journal::open(::journal::Options::new(dir.path())).unwrap();
        let gap = Half::Gap(Gap {
            requests: 2,
            reason: "journal_full".to_owned(),
            ..Gap::default()
        });
        for half in [
            request("a"),
            request("b"),
            response("a"),
            response("b"),
            gap,
            request("c"),
        ] {
            let half: Half = half;
            journal
                .append(half.encoded_len(), |out| half.encode(out))
                .unwrap();
        }
        journal.close().unwrap();
        dir
    }

    fn run(dir: &tempfile::TempDir, arguments: &[&str]) -> (String, Exit) {
        let mut all = vec!["journal"];
        all.extend(arguments);
        all.extend(["--journal-dir", dir.path().to_str().unwrap()]);
        run_printing(&all)
    }

    fn segment(dir: &tempfile::TempDir) -> std::path::PathBuf {
        ::journal::list(dir.path()).unwrap().remove(0).path
    }

    #[test]
    fn cat_prints_exchanges_as_json_lines_that_read_back() {
        let dir = journal();
        let (lines, exit) = run(&dir, &["cat"]);
        assert_eq!(exit, Exit::Ok);
        let exchanges: Vec<_> = lines
            .lines()
            .filter_map(|line| exchange::json::read_line(line.as_bytes()).unwrap())
            .collect();
        assert_eq!(lines.lines().count(), 4, "{lines}");
        assert_eq!(exchanges.len(), 3);
        let pairs = exchanges
            .iter()
            .filter(|exchange| exchange.response.is_some())
            .count();
        assert_eq!(pairs, 2);
    }

    #[test]
    fn cat_prints_text_for_people_and_escapes_what_is_not_printable() {
        let dir = journal();
        let (lines, _) = run(&dir, &["cat", "--format", "text", "--id", "a"]);
        assert_eq!(
            lines,
            "2023-11-14T22:13:20.000Z a POST /i/_doc?x=\\xff 2B -> 201 7B(cut, 2B missing) 5.0ms\n"
        );
    }

    #[test]
    fn cat_begins_at_a_position_and_stops_at_a_limit() {
        let dir = journal();
        let (all, _) = run(&dir, &["cat", "--halves"]);
        assert_eq!(all.lines().count(), 6);
        let second = all.lines().nth(1).unwrap();
        let position =
            serde_json::from_str::<serde_json::Value>(second).unwrap()["event"]["position"]
                .to_string();
        let (rest, _) = run(&dir, &["cat", "--halves", "--from", &position]);
        assert_eq!(rest.lines().count(), 5);
        assert_eq!(rest.lines().next(), Some(second));
        assert_eq!(
            run(&dir, &["cat", "--halves", "--limit", "2"])
                .0
                .lines()
                .count(),
            2
        );
        assert_eq!(run(&dir, &["cat", "--from", "latest"]).0, "");
    }

    /// A journal with the pair of an exchange that the shadow refused.
    fn journal_with_a_pair() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = ::journal::Journal::open(::journal::Options::new(dir.path())).unwrap();
        let (Half::Request(request), Half::Response(primary)) = (request("a"), response("a"))
        else {
            panic!()
        };
        let shadow = Response {
            status: 429,
            body: Body::default(),
            ..primary.clone()
        };
        let pair = Pair {
            changes: vec!["id pinned".into()],
            request,
            primary: Some(primary),
            shadow: Some(shadow),
            sending: Sending {
                ended_us: 1_700_000_001_000_000,
                end_us: 7_300,
                ..Sending::default()
            },
            ..Pair::default()
        };
        let halves: [Half; 3] = [
            request_half(&pair),
            Half::Pair(Box::new(pair)),
            response("a"),
        ];
        for half in halves {
            journal
                .append(half.encoded_len(), |out| half.encode(out))
                .unwrap();
        }
        journal.close().unwrap();
        dir
    }

    fn request_half(pair: &Pair) -> Half {
        Half::Request(pair.request.clone())
    }

    #[test]
    fn cat_prints_pairs_when_asked_and_exchanges_without_them_otherwise() {
        let dir = journal_with_a_pair();
        let (lines, exit) = run(&dir, &["cat", "--pairs"]);
        assert_eq!(exit, Exit::Ok);
        let (name, pair) = exchange::json::read_pair(lines.as_bytes())
            .unwrap()
            .unwrap();
        assert_eq!(pair.shadow.unwrap().status, 429);
        let exchange::json::PairName::Position(position) = name else {
            panic!("{name:?}")
        };
        let (later, _) = run(
            &dir,
            &["cat", "--pairs", "--from", &(position + 1).to_string()],
        );
        assert_eq!(later, "");
        let (text, _) = run(&dir, &["cat", "--pairs", "--format", "text"]);
        assert_eq!(
            text,
            "2023-11-14T22:13:21.000Z a POST /i/_doc?x=\\xff 2B [id pinned] -> primary 201 7B(cut, 2B missing) \
             5.0ms -> shadow 429 0B 7.3ms\n"
        );
        assert_eq!(run(&dir, &["cat"]).0.lines().count(), 1);
        assert_eq!(run(&dir, &["cat", "--halves"]).0.lines().count(), 3);
        let (stats, _) = run(&dir, &["stats"]);
        assert!(stats.contains("pairs              1 ("), "{stats}");
        assert!(stats.contains("undecodable        0"), "{stats}");
    }

    #[test]
    fn cat_leaves_bodies_out_when_told() {
        let dir = journal();
        let (with, _) = run(&dir, &["cat"]);
        let (without, _) = run(&dir, &["cat", "--no-bodies"]);
        assert!(with.contains("created") && !without.contains("created"));
    }

    #[test]
    fn ls_and_stats_say_what_is_there() {
        let dir = journal();
        let (table, exit) = run(&dir, &["ls"]);
        assert_eq!(exit, Exit::Ok);
        let name = segment(&dir)
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        assert!(table.lines().nth(1).unwrap().ends_with(&name), "{table}");
        let (stats, exit) = run(&dir, &["stats"]);
        assert_eq!(exit, Exit::Ok);
        for line in [
            "records            6",
            "request halves     3 (6 bytes of body; 0 cut, 0 not captured)",
            "response halves    2 (14 bytes of body; 2 cut, 0 not captured)",
            "gaps               1 (2 halves lost)",
            "last half          2023-11-14T22:13:20.005Z",
        ] {
            assert!(stats.contains(line), "{line} in {stats}");
        }
    }

    #[test]
    fn verify_is_content_with_a_whole_journal_and_not_with_a_damaged_one() {
        let dir = journal();
        let (table, exit) = run(&dir, &["verify"]);
        assert_eq!(exit, Exit::Ok, "{table}");
        assert!(
            table.contains("6 good records in 1 segments, 0 damaged"),
            "{table}"
        );
        let path = segment(&dir);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        std::fs::write(&path, bytes).unwrap();
        let (table, exit) = run(&dir, &["verify"]);
        assert_eq!(exit, Exit::Damaged, "{table}");
        assert!(table.contains("DAMAGED"), "{table}");
    }

    #[test]
    fn a_journal_is_looked_at_while_an_agent_has_it_open() {
        let dir = journal();
        let (_open, _) = ::journal::Journal::open(::journal::Options::new(dir.path())).unwrap();
        for command in ["ls", "cat", "verify", "stats"] {
            assert_eq!(run(&dir, &[command]).1, Exit::Ok, "{command}");
        }
    }
}

mod dead_letters {
    use exchange::{Dropped, Extent, Header, Rewritten};
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::config::LetterWhenFull;
    use crate::dead_letter::{DeadLetters, Options};
    use crate::telemetry::metrics::Metrics;

    fn header(name: &'static str, value: &'static str) -> Header {
        Header {
            name: Bytes::from_static(name.as_bytes()),
            value: Bytes::from_static(value.as_bytes()),
        }
    }

    fn whole(content: &'static [u8]) -> Body {
        Body {
            content: Bytes::from_static(content),
            extent: Extent::Whole,
        }
    }

    /// A file with a letter about a `_bulk` of which one item was left.
    fn letters() -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dead");
        let options = Options {
            max_bytes: 1 << 20,
            when_full: LetterWhenFull::Refuse,
            sync: false,
        };
        let metrics = Metrics::register(&mut Registry::default()).dead_letters;
        let letters = DeadLetters::open(&path, options, Default::default(), metrics).unwrap();
        let pair = Pair {
            position: 4711,
            target: "http://shadow:9200".into(),
            api: "bulk".into(),
            dropped: Some(Dropped {
                reason: "poison".into(),
                cause: "closed".into(),
            }),
            request: Request {
                id: Bytes::from_static(b"id-1"),
                method: Bytes::from_static(b"POST"),
                target: Bytes::from_static(b"/_bulk?x=\xff"),
                headers: [header("authorization", "Basic s3cret")]
                    .into_iter()
                    .collect(),
                body: whole(b"{\"delete\":{}}\n{\"delete\":{}}\n"),
                ..Request::default()
            },
            changes: vec!["items left out".into()],
            rewritten: Some(Rewritten {
                body: Some(whole(b"{\"delete\":{}}\n")),
                added: [header("x-rule", "1")].into_iter().collect(),
                ..Rewritten::default()
            }),
            items: vec![1..2, 4..7],
            shadow: Some(Response {
                status: 503,
                body: whole(b"\x1b[2Jno"),
                ..Response::default()
            }),
            sending: Sending {
                attempts: 5,
                ..Sending::default()
            },
            ..Pair::default()
        };
        letters.append(&pair).unwrap();
        let path = path.to_str().unwrap().to_owned();
        (dir, path)
    }

    #[test]
    fn ls_shows_a_line_for_each_and_show_all_that_is_known_but_no_secret() {
        let (_dir, path) = letters();
        let (table, exit) = run_printing(&["dead-letter", "ls", "--file", &path]);
        assert_eq!(exit, Exit::Ok);
        let row = table.lines().nth(1).unwrap();
        assert!(row.trim_start().starts_with("1  "), "{row}");
        assert!(
            row.ends_with("5  poison: closed  POST /_bulk?x=\\xff"),
            "{row}"
        );
        let (text, exit) = run_printing(&["dead-letter", "show", "1", "--file", &path]);
        assert_eq!(exit, Exit::Ok);
        for part in [
            "cause         poison: closed\n",
            "exchange      id-1 at position 4711\n",
            "items         1, 4-6\n",
            "authorization: ***\n",
            "--- what was sent in its place\nwith x-rule: 1\n\n{\"delete\":{}}\n",
            "--- the primary's answer\nnone\n",
            "--- the shadow's last answer\n503\n\n\\u{1b}[2Jno\n",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("s3cret") && !text.contains('\u{1b}'));
        let (line, _) = run_printing(&["dead-letter", "show", "1", "--json", "--file", &path]);
        assert_eq!(line, std::fs::read_to_string(path).unwrap());
    }
}
