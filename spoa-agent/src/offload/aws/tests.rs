use std::collections::BTreeMap;
use std::process::Command;

use ring::{digest, hmac};

use super::*;

const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const SESSION: &str = "session+token/with=odd&characters";

fn credentials() -> Credentials {
    Credentials::new(KEY, SECRET, Some(SESSION.to_owned()), None, "test")
}

fn decoded(token: &str) -> String {
    String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(token).unwrap()).unwrap()
}

/// The parameters of a URL, still encoded.
fn parameters(url: &str) -> BTreeMap<&str, &str> {
    let (_, query) = url.split_once('?').unwrap();
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap())
        .collect()
}

/// AWS Signature Version 4 for a query, after its specification and not after any library.
fn signature(host: &str, parameters: &BTreeMap<&str, &str>, region: &str) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let hash = |text: &str| hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    let mac = |key: &[u8], text: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
    };
    let signed = parameters
        .iter()
        .filter(|(name, _)| !["X-Amz-Signature", "User-Agent"].contains(name));
    let query: Vec<String> = signed
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let query = query.join("&");
    let request = format!("GET\n/\n{query}\nhost:{host}\n\nhost\n{}", hash(""));
    let time = parameters["X-Amz-Date"];
    let day = time.get(..8).unwrap();
    let scope = format!("{day}/{region}/kafka-cluster/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hash(&request));
    let key = [day, region, "kafka-cluster", "aws4_request"]
        .iter()
        .fold(format!("AWS4{SECRET}").into_bytes(), |key, part| {
            mac(&key, part)
        });
    hex(&mac(&key, &text))
}

#[test]
fn a_token_is_a_url_that_is_signed_as_the_specification_says() {
    // 2024-02-03 04:05:06.789
    let now = UNIX_EPOCH + Duration::from_millis(1_706_933_106_789);
    let token = token("eu-central-1", &credentials(), now).unwrap();
    assert_eq!(token.lifetime_ms, 1_706_933_106_000 + 900_000);
    let url = decoded(&token.token);
    assert!(
        url.starts_with("https://kafka.eu-central-1.amazonaws.com/?"),
        "{url}"
    );
    let found = parameters(&url);
    for (name, value) in [
        ("Action", "kafka-cluster%3AConnect"),
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        (
            "X-Amz-Credential",
            "AKIDEXAMPLE%2F20240203%2Feu-central-1%2Fkafka-cluster%2Faws4_request",
        ),
        ("X-Amz-Date", "20240203T040506Z"),
        ("X-Amz-Expires", "900"),
        ("X-Amz-SignedHeaders", "host"),
        (
            "X-Amz-Security-Token",
            "session%2Btoken%2Fwith%3Dodd%26characters",
        ),
    ] {
        assert_eq!(found.get(name), Some(&value), "{name} of {url}");
    }
    assert!(found["User-Agent"].starts_with("spoa-agent%2F"), "{url}");
    let expected = signature("kafka.eu-central-1.amazonaws.com", &found, "eu-central-1");
    assert_eq!(found["X-Amz-Signature"], expected);
    assert!(!url.contains(SECRET));
}

/// The environment of this process cannot be changed while others read it, so the test runs itself.
#[test]
fn credentials_of_the_environment_make_a_token() {
    const INSIDE: &str = "OFFLOAD_AWS_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        let url = decoded(&Tokens::new("us-west-2".to_owned()).token().unwrap().token);
        let found = parameters(&url);
        let expected = signature("kafka.us-west-2.amazonaws.com", &found, "us-west-2");
        assert_eq!(found["X-Amz-Signature"], expected);
        return;
    }
    let name = "offload::aws::tests::credentials_of_the_environment_make_a_token";
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(INSIDE, "1")
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_SESSION_TOKEN", SESSION)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn the_name_of_a_broker_tells_its_region() {
    for (broker, region) in [
        (
            "b-1.traffic.abc.c2.kafka.eu-central-1.amazonaws.com:9098",
            Some("eu-central-1"),
        ),
        (
            "boot-abc.c1.kafka-serverless.us-east-1.amazonaws.com:9098",
            Some("us-east-1"),
        ),
        (
            "b-1.x.kafka.cn-north-1.amazonaws.com.cn:9098",
            Some("cn-north-1"),
        ),
        ("kafka.example:9092", None),
        ("s3.eu-central-1.amazonaws.com:443", None),
        ("10.0.0.1:9092", None),
    ] {
        assert_eq!(region_of(broker), region, "{broker}");
    }
}
