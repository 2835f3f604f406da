use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::config::Written;

fn kafka(text: &str) -> Kafka {
    let written = Written::default().file(Path::new("config.toml"), text);
    written.build().unwrap().kafka
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
    file
}

fn properties(client: &Client) -> Vec<(String, String)> {
    let config = client.producer_config();
    let names = config.config_map();
    let value = |name: &&str| (String::from(*name), config.get(name).unwrap().to_owned());
    names.keys().map(value).collect()
}

#[test]
fn the_defaults_lose_nothing_and_keep_the_order() {
    let client = Client::new(&kafka("kafka.brokers = [\"a:9092\", \"b:9093\"]\n")).unwrap();
    let config = client.producer_config();
    for (name, value) in [
        ("bootstrap.servers", "a:9092,b:9093"),
        ("security.protocol", "plaintext"),
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("message.timeout.ms", "0"),
        ("compression.type", "zstd"),
        ("linger.ms", "20"),
        ("message.max.bytes", "1000000"),
        ("partitioner", "murmur2_random"),
    ] {
        assert_eq!(config.get(name), Some(value), "{name}");
    }
    config.create_native_config().unwrap();
    assert_eq!(client.config().get("acks"), None, "a reader has no acks");
}

#[test]
fn each_login_becomes_its_properties() {
    let (password, key, key_password) = (file("hunter2\nmore\n"), file("k"), file("opensesame"));
    let path = |file: &tempfile::NamedTempFile| file.path().to_str().unwrap().to_owned();
    for (text, expected) in [
        (
            format!(
                "security = 'sasl-tls'\nsasl = 'scram-sha-512'\nusername = 'me'\npassword_file = '{}'\nca_file = '/ca'",
                path(&password)
            ),
            vec![
                ("security.protocol", "sasl_ssl"),
                ("sasl.mechanism", "SCRAM-SHA-512"),
                ("sasl.username", "me"),
                ("sasl.password", "hunter2"),
                ("ssl.ca.location", "/ca"),
            ],
        ),
        (
            format!(
                "security = 'sasl-plaintext'\nsasl = 'plain'\nusername = 'me'\npassword_file = '{}'",
                path(&password)
            ),
            vec![("security.protocol", "sasl_plaintext"), ("sasl.mechanism", "PLAIN")],
        ),
        (
            format!(
                "security = 'tls'\nclient_cert_file = '/c'\nclient_key_file = '{}'\nclient_key_password_file = '{}'",
                path(&key),
                path(&key_password)
            ),
            vec![
                ("security.protocol", "ssl"),
                ("ssl.certificate.location", "/c"),
                ("ssl.key.password", "opensesame"),
            ],
        ),
        (
            format!(
                "security = 'sasl-tls'\nsasl = 'oauthbearer'\noauth_token_url = 'https://login/token'\n\
                 oauth_client_id = 'me'\noauth_client_secret_file = '{}'\noauth_scope = 's'",
                path(&password)
            ),
            vec![
                ("sasl.mechanism", "OAUTHBEARER"),
                ("sasl.oauthbearer.method", "oidc"),
                ("sasl.oauthbearer.token.endpoint.url", "https://login/token"),
                ("sasl.oauthbearer.client.secret", "hunter2"),
                ("sasl.oauthbearer.scope", "s"),
            ],
        ),
        (
            "security = 'sasl-tls'\nsasl = 'gssapi'\nusername = 'me@REALM'\nkerberos_keytab_file = '/k'".to_owned(),
            vec![
                ("sasl.mechanism", "GSSAPI"),
                ("sasl.kerberos.principal", "me@REALM"),
                ("sasl.kerberos.keytab", "/k"),
            ],
        ),
    ] {
        let client = Client::new(&kafka(&format!("[kafka]\nbrokers = ['a:1']\n{text}\n"))).unwrap();
        let config = client.producer_config();
        for (name, value) in expected {
            assert_eq!(config.get(name), Some(value), "{name} of {text}");
        }
        config.create_native_config().unwrap_or_else(|error| panic!("{text}: {error}"));
        let shown = format!("{client:?} {config:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("opensesame"), "{shown}");
    }
}

#[test]
fn a_secret_that_cannot_be_read_is_told_by_key_and_file_and_not_by_content() {
    let empty = file("\nhunter2\n");
    for path in ["/nonexistent/password", empty.path().to_str().unwrap()] {
        let text = format!(
            "[kafka]\nbrokers = ['a:1']\nsecurity = 'sasl-tls'\nsasl = 'plain'\nusername = 'me'\npassword_file = '{path}'\n"
        );
        let said = Client::new(&kafka(&text)).unwrap_err().to_string();
        assert!(
            said.contains("kafka.password_file") && said.contains(path),
            "{said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn properties_of_the_user_reach_librdkafka_and_win_over_what_nobody_wrote() {
    let client = Client::new(&kafka(
        "[kafka]\nbrokers = ['a:1']\n[kafka.properties]\nclient.id = 'x'\nbatch.size = 5000\n\
         socket.keepalive.enable = true\npartitioner = 'random'\n",
    ))
    .unwrap();
    let all = properties(&client);
    for (name, value) in [
        ("client.id", "x"),
        ("batch.size", "5000"),
        ("socket.keepalive.enable", "true"),
        ("partitioner", "random"),
    ] {
        assert!(
            all.contains(&(name.to_owned(), value.to_owned())),
            "{name} in {all:?}"
        );
    }
}

#[test]
fn aws_signatures_are_for_the_region_of_the_brokers_or_the_one_that_is_written() {
    let text = |broker: &str, region: &str| {
        format!(
            "[kafka]\nbrokers = ['{broker}']\nsecurity = 'sasl-tls'\nsasl = 'aws-msk-iam'\naws_region = '{region}'\n"
        )
    };
    let msk = "b-1.x.kafka.eu-central-1.amazonaws.com:9098";
    for (broker, written, region) in [
        (msk, "", "eu-central-1"),
        (msk, "us-east-1", "us-east-1"),
        ("kafka.example:9098", "us-east-1", "us-east-1"),
    ] {
        let kafka = kafka(&text(broker, written));
        let tokens = tokens(&kafka).unwrap().unwrap();
        assert!(format!("{tokens:?}").contains(region), "{tokens:?}");
        let client = Client::new(&kafka).unwrap();
        assert_eq!(client.config().get("sasl.mechanism"), Some("OAUTHBEARER"));
    }
    if std::env::var_os("AWS_REGION").is_none() {
        let said = Client::new(&kafka(&text("kafka.example:9098", ""))).unwrap_err();
        assert!(said.to_string().contains("set kafka.aws_region"), "{said}");
    }
}
