//! What the generator writes, HAProxy accepts: `haproxy -c` on each combination of options.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests are tests; clippy's own exception knows functions marked #[test] only"
)]

mod installed;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use installed::{Haproxy, binaries};

use haproxy_config::{Hold, Options, Role, TargetVersion, generate};

/// Writes the files and returns what `haproxy -c` has against them.
fn refusal(haproxy: &Haproxy, folder: &Path, options: &Options) -> Option<String> {
    let spoe_file = folder.join("spoe.cfg");
    let options = Options {
        spoe_file: spoe_file.to_str().unwrap().to_owned(),
        ..options.clone()
    };
    let files = generate(&options).unwrap();
    let haproxy_file = folder.join("haproxy.cfg");
    fs::write(&haproxy_file, &files.haproxy_cfg).unwrap();
    fs::write(&spoe_file, &files.spoe_cfg).unwrap();
    let output = Command::new(&haproxy.path)
        .arg("-c")
        .arg("-f")
        .arg(&haproxy_file)
        .output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // A warning is a mistake of ours, except the advice to use a chroot or fewer threads: those
    // are the user's to choose.
    let advice = |line: &str| line.contains("chroot") || line.contains("threads will compete");
    let warned = said
        .lines()
        .any(|line| line.contains("[WARNING]") && !advice(line));
    if output.status.success() && !warned {
        return None;
    }
    let (path, status) = (haproxy.path.display(), output.status);
    Some(format!("{path} ({status}): {said}\n{}", files.haproxy_cfg))
}

/// A certificate and its key, made for this test alone.
fn certificate(folder: &Path) -> String {
    let path = folder.join("site.pem");
    let key = folder.join("site.key");
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test",
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&path)
        .output()
        .expect("openssl is needed for the TLS combinations");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let both = [fs::read(&path).unwrap(), fs::read(&key).unwrap()].concat();
    fs::write(&path, both).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Each option in each of its forms, in every combination of role, hold mode and version, and the
/// rest once beside the defaults.
fn combinations(certificate: &str, branch: (u16, u16)) -> Vec<Options> {
    let (major, minor) = branch;
    let mut all = Vec::new();
    for version in [TargetVersion::Auto, TargetVersion::Branch { major, minor }] {
        for (role, hold) in [
            (Role::Primary, Hold::Off),
            (Role::Primary, Hold::Open),
            (Role::Primary, Hold::Closed),
            (Role::Shadow, Hold::Off),
        ] {
            let base = Options {
                role,
                hold,
                version,
                ..Options::default()
            };
            all.extend(variations(&base, certificate));
        }
    }
    all
}

fn variations(base: &Options, certificate: &str) -> Vec<Options> {
    let with = |change: &dyn Fn(&mut Options)| {
        let mut options = base.clone();
        change(&mut options);
        options
    };
    vec![
        base.clone(),
        with(&|o| {
            o.listen = vec![
                "127.0.0.1:9301".parse().unwrap(),
                "[::1]:9301".parse().unwrap(),
            ];
            o.tls_listen = vec!["[::]:9343".parse().unwrap(), "*:9344".parse().unwrap()];
            o.certificate = Some(certificate.to_owned());
        }),
        with(&|o| {
            o.nodes = [
                "127.0.0.1:9200",
                "127.0.0.2:9200",
                "[::1]:9200",
                "localhost:9200",
            ]
            .map(|node| node.parse().unwrap())
            .to_vec();
            o.node_check = false;
        }),
        with(&|o| {
            o.nodes = ["localhost:9200", "[::1]:9200"]
                .map(|node| node.parse().unwrap())
                .to_vec();
            o.resolve_nodes = true;
        }),
        with(&|o| {
            o.nodes = [
                "https://127.0.0.1:9200",
                "https://localhost:9200",
                "https://[::1]:9200",
            ]
            .map(|node| node.parse().unwrap())
            .to_vec();
        }),
        with(&|o| {
            o.nodes = vec!["https://localhost:9200".parse().unwrap()];
            o.node_ca_file = certificate.to_owned();
        }),
        with(&|o| {
            o.nodes = vec!["https://localhost:9200".parse().unwrap()];
            o.node_tls_insecure = true;
        }),
        with(&|o| {
            o.tls_listen = vec!["*:9344".parse().unwrap()];
            o.certificate = Some(certificate.to_owned());
            o.client_ca_file = Some(certificate.to_owned());
        }),
        with(&|o| {
            o.tls_listen = vec!["*:9344".parse().unwrap()];
            o.certificate = Some(certificate.to_owned());
            o.client_ca_file = Some(certificate.to_owned());
            o.client_certificate_required = true;
        }),
        with(&|o| {
            o.pass_node_failures = true;
            o.set_headers = [
                r#"X-A: b 'c' "d" \ $HOME %[src] #"#,
                "Authorization:Basic eA==",
            ]
            .map(|header| header.parse().unwrap())
            .to_vec();
            o.skip_capture = [
                "method=HEAD|OPTIONS",
                r#"target=/_cat/.*[?]v='" x"#,
                r"line=(GET|POST) /a\d+.*",
                "header=X-Skip:.*",
            ]
            .map(|skip| skip.parse().unwrap())
            .to_vec();
        }),
        with(&|o| o.agent = "/run/spoa-agent/spop.sock".parse().unwrap()),
        with(&|o| o.agent = "[::1]:12345".parse().unwrap()),
        with(&|o| {
            o.body_limit = 0;
            o.reads = Vec::new();
            o.threads = Some(1);
            o.max_connections = 1;
            o.log = "off".parse().unwrap();
            o.id_header = "x".to_owned();
        }),
        with(&|o| {
            o.body_limit = haproxy_config::MAX_BODY_LIMIT;
            o.reads = vec!["a".repeat(1700)];
            o.threads = Some(64);
            o.log = "/dev/log".parse().unwrap();
            o.stats_socket = Some("/tmp/haproxy.sock".to_owned());
            o.id_header = "a".repeat(64);
        }),
        with(&|o| {
            o.processing_timeout = Duration::from_millis(1);
            o.hold_timeout = Duration::from_millis(60_000);
            o.connect_timeout = Duration::from_secs(86_400);
            o.client_timeout = Duration::from_secs(86_400);
            o.server_timeout = Duration::from_secs(86_400);
            o.http_request_timeout = Duration::from_secs(86_400);
            o.log = "[::1]:514".parse().unwrap();
        }),
    ]
}

#[test]
fn haproxy_accepts_every_combination() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = certificate(folder.path());
    for haproxy in binaries() {
        for options in combinations(&certificate, haproxy.branch) {
            if let Some(refusal) = refusal(&haproxy, folder.path(), &options) {
                panic!("{refusal}");
            }
        }
    }
}

#[test]
fn haproxy_starts_although_the_agent_has_no_address_yet() {
    let folder = tempfile::tempdir().unwrap();
    let agent = "spoa-agent.invalid:12345".parse().unwrap();
    let options = Options {
        agent,
        ..Options::default()
    };
    let files = generate(&Options {
        spoe_file: folder.path().join("spoe.cfg").to_str().unwrap().to_owned(),
        ..options
    })
    .unwrap();
    let haproxy_file = folder.path().join("haproxy.cfg");
    fs::write(&haproxy_file, &files.haproxy_cfg).unwrap();
    fs::write(folder.path().join("spoe.cfg"), &files.spoe_cfg).unwrap();
    for haproxy in binaries() {
        let output = Command::new(&haproxy.path)
            .arg("-c")
            .arg("-f")
            .arg(&haproxy_file)
            .output();
        let output = output.unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
