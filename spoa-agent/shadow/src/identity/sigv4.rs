//! Signatures as AWS wants them (Signature Version 4), over the head that is really sent and the body.
//!
//! Signed are the method, the path, the query, the body's SHA-256, and the fields `host`, `content-type` and all
//! that begin with `x-amz-`; what stands between the follower and AWS may change no other thing of those. By the
//! rules for every service but S3, the path is encoded once more as it is sent, without its dot segments and
//! doubled slashes.
//!
//! By hand, on ring, which is linked already: the AWS crate for this brings a runtime of its own with it.

use std::fmt;
use std::time::SystemTime;

use ring::{digest, hmac};

use super::CredentialsError;

/// Signs requests.
#[derive(Clone, PartialEq, Eq)]
pub struct Signer {
    access_key: String,
    secret_key: String,
    session_token: Option<String>,
    region: String,
    service: String,
}

/// Fields that the signer writes itself; captured ones of these names are not sent.
pub(crate) const OWN_FIELDS: &[&[u8]] = &[
    b"x-amz-date",
    b"x-amz-content-sha256",
    b"x-amz-security-token",
];

impl Signer {
    /// Reads a file of the AWS tools with one profile.
    pub(super) fn read(file: &[u8], region: &str, service: &str) -> Result<Self, CredentialsError> {
        const KEYS: [&str; 3] = [
            "aws_access_key_id",
            "aws_secret_access_key",
            "aws_session_token",
        ];
        let mut values: [Option<String>; 3] = Default::default();
        let text = String::from_utf8_lossy(file);
        let mut profiles = 0;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            let unknown = CredentialsError::Line(number + 1);
            if line.starts_with('[') {
                profiles += 1;
                if profiles > 1 {
                    return Err(unknown);
                }
                continue;
            }
            let (key, value) = line.split_once('=').ok_or(unknown)?;
            let known = KEYS.iter().position(|known| *known == key.trim());
            let slot = known.and_then(|at| values.get_mut(at)).ok_or(unknown)?;
            let value = value.trim();
            if value.is_empty() || !value.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(unknown);
            }
            *slot = Some(value.to_owned());
        }
        let [access_key, secret_key, session_token] = values;
        let missing = |key| CredentialsError::Missing(key);
        Ok(Self {
            access_key: access_key.ok_or_else(|| missing("aws_access_key_id"))?,
            secret_key: secret_key.ok_or_else(|| missing("aws_secret_access_key"))?,
            session_token,
            region: region.to_owned(),
            service: service.to_owned(),
        })
    }

    /// Appends the fields that sign `head`: the request line and the fields so far, each with its line break.
    pub(crate) fn sign(&self, head: &mut Vec<u8>, from: usize, body: &[u8], now: SystemTime) {
        let hash = hex(digest::digest(&digest::SHA256, body).as_ref());
        let time = basic_time(now);
        let mut put = |name: &str, value: &str| {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        };
        put("x-amz-date", &time);
        put("x-amz-content-sha256", &hash);
        if let Some(token) = &self.session_token {
            put("x-amz-security-token", token);
        }
        let sent = head.get(from..).unwrap_or_default();
        let authorization = self.authorization(&Head::read(sent), &hash, &time);
        head.extend_from_slice(b"authorization: ");
        head.extend_from_slice(authorization.as_bytes());
        head.extend_from_slice(b"\r\n");
    }

    fn authorization(&self, head: &Head<'_>, hash: &str, time: &str) -> String {
        let (date, _) = time.split_once('T').unwrap_or((time, ""));
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let (names, canonical) = head.canonical(hash);
        let canonical = hex(digest::digest(&digest::SHA256, &canonical).as_ref());
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{canonical}");
        let first = format!("AWS4{}", self.secret_key);
        let parts = [date, &self.region, &self.service, "aws4_request"];
        let key = parts
            .iter()
            .fold(first.into_bytes(), |key, part| keyed(&key, part.as_bytes()));
        let signature = hex(&keyed(&key, to_sign.as_bytes()));
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.access_key
        )
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} in {}, ***)", self.service, self.region)
    }
}

/// What is signed of a request.
struct Head<'h> {
    method: &'h [u8],
    target: &'h [u8],
    /// Names in lower case, in their order, with their values.
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<'h> Head<'h> {
    fn read(head: &'h [u8]) -> Self {
        let mut lines = head
            .split(|b| *b == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let mut words = lines.next().unwrap_or_default().split(|b| *b == b' ');
        let (method, target) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let mut fields = Vec::new();
        for line in lines {
            let Some(colon) = line.iter().position(|b| *b == b':') else {
                continue;
            };
            let (name, value) = line.split_at_checked(colon).unwrap_or_default();
            let name = name.to_ascii_lowercase();
            if is_signed(&name) {
                fields.push((name, single_spaced(value.get(1..).unwrap_or_default())));
            }
        }
        Self {
            method,
            target,
            fields,
        }
    }

    /// The names of the signed fields, and the canonical request.
    fn canonical(&self, hash: &str) -> (String, Vec<u8>) {
        let mut fields: Vec<(&[u8], Vec<u8>)> = Vec::new();
        for (name, value) in &self.fields {
            match fields.iter_mut().find(|(other, _)| other == name) {
                Some((_, values)) => {
                    values.push(b',');
                    values.extend_from_slice(value);
                }
                None => fields.push((name, value.clone())),
            }
        }
        fields.sort();
        let names: Vec<&[u8]> = fields.iter().map(|(name, _)| *name).collect();
        let names = names.join(&b';');
        let (path, query) = split_target(self.target);
        let mut out = [self.method, b"\n", &canonical_path(path), b"\n"].concat();
        out.extend_from_slice(&canonical_query(query));
        out.push(b'\n');
        for (name, value) in &fields {
            out.extend_from_slice(&[name, &b":"[..], value, b"\n"].concat());
        }
        out.extend_from_slice(&[b"\n", &names[..], b"\n", hash.as_bytes()].concat());
        (String::from_utf8_lossy(&names).into_owned(), out)
    }
}

fn is_signed(name: &[u8]) -> bool {
    matches!(name, b"host" | b"content-type") || name.starts_with(b"x-amz-")
}

/// Without spaces around it, and with one where there were more.
fn single_spaced(value: &[u8]) -> Vec<u8> {
    let words = value
        .trim_ascii()
        .split(|b| *b == b' ')
        .filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(&b' ')
}

/// The path and the query of a target, which may be a URL.
fn split_target(target: &[u8]) -> (&[u8], &[u8]) {
    let behind_host = target
        .windows(3)
        .position(|it| it == b"://")
        .filter(|_| !target.starts_with(b"/"))
        .and_then(|scheme| target.get(scheme + 3..))
        .map(|rest| {
            let begin = rest.iter().position(|b| matches!(b, b'/' | b'?'));
            rest.get(begin.unwrap_or(rest.len())..).unwrap_or_default()
        });
    let target = behind_host.unwrap_or(target);
    let mark = target.iter().position(|b| *b == b'?');
    let (path, query) = target
        .split_at_checked(mark.unwrap_or(target.len()))
        .unwrap_or((target, b""));
    (path, query.get(1..).unwrap_or_default())
}

fn canonical_path(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in path.split(|b| *b == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let ends_open = matches!(path.rsplit(|b| *b == b'/').next(), Some(b"" | b"." | b".."));
    let mut out = Vec::with_capacity(path.len());
    for segment in &kept {
        out.push(b'/');
        encode(segment, &mut out);
    }
    if kept.is_empty() || ends_open {
        out.push(b'/');
    }
    out
}

fn canonical_query(query: &[u8]) -> Vec<u8> {
    let canonical = |text: &[u8]| {
        let spaced: Vec<u8> = text
            .iter()
            .map(|b| if *b == b'+' { b' ' } else { *b })
            .collect();
        let mut out = Vec::with_capacity(spaced.len());
        encode(&crate::rules::percent_decoded(&spaced), &mut out);
        out
    };
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = query
        .split(|b| *b == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let equals = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
            let (name, value) = pair.split_at_checked(equals).unwrap_or((pair, b""));
            (
                canonical(name),
                canonical(value.get(1..).unwrap_or_default()),
            )
        })
        .collect();
    pairs.sort();
    let pairs: Vec<Vec<u8>> = pairs
        .iter()
        .map(|(name, value)| [&name[..], b"=", value].concat())
        .collect();
    pairs.join(&b'&')
}

/// Everything but the unreserved characters (RFC 3986, 2.3).
fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(*byte);
        } else {
            out.extend_from_slice(&[b'%', digit(byte >> 4, UPPER), digit(byte & 15, UPPER)]);
        }
    }
}

const UPPER: &[u8; 16] = b"0123456789ABCDEF";
const LOWER: &[u8; 16] = b"0123456789abcdef";

fn digit(nibble: u8, digits: &[u8; 16]) -> u8 {
    digits.get(usize::from(nibble)).copied().unwrap_or(b'0')
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .map(|nibble| char::from(digit(nibble, LOWER)))
        .collect()
}

fn keyed(key: &[u8], text: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text).as_ref().to_vec()
}

/// For example `20150830T123600Z`.
fn basic_time(now: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The identity of AWS's published test suite.
    fn signer() -> Signer {
        let file = b"aws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        Signer::read(file, "us-east-1", "service").unwrap()
    }

    const TIME: &str = "20150830T123600Z";

    /// The signature over exactly these fields.
    fn signature(method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> String {
        let head = Head {
            method: method.as_bytes(),
            target: target.as_bytes(),
            fields: fields
                .iter()
                .map(|(name, value)| (name.as_bytes().to_vec(), single_spaced(value.as_bytes())))
                .collect(),
        };
        let hash = hex(digest::digest(&digest::SHA256, body.as_bytes()).as_ref());
        let authorization = signer().authorization(&head, &hash, TIME);
        authorization.rsplit_once('=').unwrap().1.to_owned()
    }

    #[test]
    fn signatures_are_those_of_the_published_test_suite() {
        const HOST: (&str, &str) = ("host", "example.amazonaws.com");
        const DATE: (&str, &str) = ("x-amz-date", TIME);
        let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        for (name, target, expected) in [
            ("get-vanilla", "/", vanilla),
            ("get-relative", "/example/..", vanilla),
            ("get-slash-dot-slash", "/./", vanilla),
            (
                "get-vanilla-query-order-key-case",
                "/?Param2=value2&Param1=value1",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "get-unreserved",
                "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
                "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
            ),
            (
                "get-utf8",
                "/\u{1234}",
                "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
            ),
            (
                "get-vanilla-empty-query-key",
                "/?Param1=value1",
                "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
            ),
            (
                "get-vanilla-utf8-query",
                "/?\u{1234}=bar",
                "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
            ),
            (
                "get-slashes",
                "//example//",
                "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
            ),
            (
                "get-space",
                "/example space/",
                "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
            ),
        ] {
            assert_eq!(
                signature("GET", target, &[HOST, DATE], ""),
                expected,
                "{name}"
            );
        }
        assert_eq!(
            signature("POST", "/", &[HOST, DATE], ""),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
        let form = ("content-type", "application/x-www-form-urlencoded");
        assert_eq!(
            signature("POST", "/", &[form, HOST, DATE], "Param1=value1"),
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
        );
        let trimmed = [("my-header1", " value1"), ("my-header2", " \"a   b   c\"")];
        assert_eq!(
            signature("GET", "/", &[HOST, trimmed[0], trimmed[1], DATE], ""),
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"
        );
        let repeated = [
            ("my-header1", "value2"),
            ("my-header1", "value2"),
            ("my-header1", "value1"),
        ];
        assert_eq!(
            signature(
                "GET",
                "/",
                &[HOST, repeated[0], repeated[1], repeated[2], DATE],
                ""
            ),
            "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"
        );
    }

    #[test]
    fn the_path_is_signed_as_it_is_sent_encoded_once_more() {
        for (path, expected) in [
            ("/logs-*,x/_search", "/logs-%2A%2Cx/_search"),
            (
                "/%3Clogs-%7Bnow%2Fd%7D%3E/_doc",
                "/%253Clogs-%257Bnow%252Fd%257D%253E/_doc",
            ),
            ("", "/"),
            ("/a/../../b/", "/b/"),
        ] {
            let canonical = canonical_path(path.as_bytes());
            assert_eq!(String::from_utf8(canonical).unwrap(), expected);
        }
        for (query, expected) in [
            (
                "pretty&q=a+b%20c&A=%zz&&a=",
                "A=%25zz&a=&pretty=&q=a%20b%20c",
            ),
            ("b=2&b=1&a-b=%2F", "a-b=%2F&b=1&b=2"),
        ] {
            let canonical = canonical_query(query.as_bytes());
            assert_eq!(String::from_utf8(canonical).unwrap(), expected);
        }
        assert_eq!(split_target(b"http://h/x?y=z"), (&b"/x"[..], &b"y=z"[..]));
        assert_eq!(split_target(b"http://h"), (&b""[..], &b""[..]));
        assert_eq!(split_target(b"/x://y"), (&b"/x://y"[..], &b""[..]));
    }

    #[test]
    fn the_fields_that_are_sent_are_the_fields_that_are_signed() {
        let mut signer = signer();
        signer.session_token = Some("token".to_owned());
        let mut head =
            b"before|GET /x HTTP/1.1\r\nHost: h\r\nuser-agent: u\r\nContent-Type: a/b\r\n".to_vec();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        signer.sign(&mut head, 7, b"body", now);
        let text = String::from_utf8(head).unwrap();
        let lines: Vec<&str> = text.split("\r\n").skip(4).collect();
        let hash = hex(digest::digest(&digest::SHA256, b"body").as_ref());
        assert_eq!(lines[0], format!("x-amz-date: {TIME}"));
        assert_eq!(lines[1], format!("x-amz-content-sha256: {hash}"));
        assert_eq!(lines[2], "x-amz-security-token: token");
        let names = "content-type;host;x-amz-content-sha256;x-amz-date;x-amz-security-token";
        let begin = "authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";
        let begin = format!("{begin}, SignedHeaders={names}, Signature=");
        assert!(lines[3].starts_with(&begin), "{}", lines[3]);
        assert_eq!(lines[3].len(), begin.len() + 64);
    }
}
