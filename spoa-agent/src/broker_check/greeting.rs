//! The first words with a broker, before any login: whether it is one, and what login it wants.
//!
//! `ApiVersions` is answered by every broker at once. `SaslHandshake` is answered by a listener with a login with its
//! mechanisms, and by one without a login with an error of its own. Neither carries a secret. librdkafka says the same things,
//! but mixes them up: a port that speaks TLS is a timeout to it, and a missing mechanism a failed login.

use std::io::{self, Read, Write};

/// What a listener wants before it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// Nothing.
    None,
    /// One of these mechanisms.
    Sasl(Vec<String>),
    /// It did not say.
    Unknown,
}

impl Login {
    /// Whether a client with this mechanism is taken, as far as is known.
    #[must_use]
    pub fn takes(&self, mechanism: Option<&str>) -> bool {
        match (self, mechanism) {
            (Self::None, None) | (Self::Unknown, _) => true,
            (Self::Sasl(offered), Some(mechanism)) => offered.iter().any(|one| one == mechanism),
            (Self::None, Some(_)) | (Self::Sasl(_), None) => false,
        }
    }
}

/// What came instead of a broker's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// An alert of TLS: the port expects TLS.
    Tls,
    /// An answer in HTTP.
    Http,
    /// The end of the connection, at once.
    Closed,
    /// Nothing in time.
    Silent,
    /// A TLS alert inside TLS: it wants a certificate of ours.
    WantsCertificate(String),
    /// Anything else.
    Other(String),
}

/// Greets as a client with this mechanism would.
///
/// # Errors
/// When it is no broker that answers.
pub fn greet(stream: &mut (impl Read + Write), mechanism: &str) -> Result<Login, Stranger> {
    ask(stream, API_VERSIONS, 0, &[])?;
    let answer = match ask(stream, SASL_HANDSHAKE, 1, &string(mechanism)) {
        Ok(answer) => answer,
        // It is a broker all the same.
        Err(_stranger) => return Ok(Login::Unknown),
    };
    Ok(login(&answer).unwrap_or(Login::Unknown))
}

fn login(answer: &[u8]) -> Option<Login> {
    let mut rest = answer;
    match take_i16(&mut rest)? {
        ILLEGAL_SASL_STATE => Some(Login::None),
        NONE | UNSUPPORTED_SASL_MECHANISM => {
            let count = take_i32(&mut rest)?;
            let mechanisms = (0..count).map(|_| take_string(&mut rest));
            Some(Login::Sasl(mechanisms.collect::<Option<_>>()?))
        }
        _error => None,
    }
}

/// Sends a request, and gives the answer without its head.
fn ask(
    stream: &mut (impl Read + Write),
    api: i16,
    version: i16,
    body: &[u8],
) -> Result<Vec<u8>, Stranger> {
    let mut request = Vec::new();
    request.extend(api.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(CORRELATION.to_be_bytes());
    request.extend(string("spoa-agent"));
    request.extend(body);
    let length = u32::try_from(request.len()).unwrap_or(u32::MAX);
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(request);
    stream
        .write_all(&frame)
        .and_then(|()| stream.flush())
        .map_err(|error| stranger(&error))?;

    let mut head = [0; 8];
    read(stream, &mut head)?;
    let [a, b, c, d, correlation @ ..] = head;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if correlation != CORRELATION.to_be_bytes() || !(4..=ANSWER_LIMIT).contains(&length) {
        return Err(told_apart(&head));
    }
    let mut answer = vec![0; length.saturating_sub(4)];
    read(stream, &mut answer)?;
    Ok(answer)
}

/// As `read_exact`, and tells strangers who say less apart.
fn read(stream: &mut impl Read, buffer: &mut [u8]) -> Result<(), Stranger> {
    let mut filled = 0;
    while let Some(free) = buffer.get_mut(filled..).filter(|free| !free.is_empty()) {
        match stream.read(free) {
            Ok(0) if filled == 0 => return Err(Stranger::Closed),
            Ok(0) => return Err(told_apart(buffer.get(..filled).unwrap_or_default())),
            Ok(count) => filled = filled.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if filled == 0 => return Err(stranger(&error)),
            Err(_error) => return Err(told_apart(buffer.get(..filled).unwrap_or_default())),
        }
    }
    Ok(())
}

/// By the first bytes.
fn told_apart(bytes: &[u8]) -> Stranger {
    match bytes {
        // A record of TLS: alert or handshake, version 3.x.
        [0x15 | 0x16, 0x03, ..] => Stranger::Tls,
        [b'H', b'T', b'T', b'P', ..] => Stranger::Http,
        _other => Stranger::Other(format!("it begins with {}", bytes.escape_ascii())),
    }
}

fn stranger(error: &io::Error) -> Stranger {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::WouldBlock | Kind::TimedOut => Stranger::Silent,
        Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::BrokenPipe
        | Kind::UnexpectedEof => Stranger::Closed,
        _other => {
            let said = error.to_string();
            let is_about_ours = ["certificate required", "bad certificate", "unknown ca"];
            if is_about_ours.iter().any(|words| said.contains(words)) {
                return Stranger::WantsCertificate(said);
            }
            Stranger::Other(said)
        }
    }
}

fn string(text: &str) -> Vec<u8> {
    let length = i16::try_from(text.len()).unwrap_or(0);
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(text.bytes().take(length.unsigned_abs().into()));
    bytes
}

fn take_i16(rest: &mut &[u8]) -> Option<i16> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(i16::from_be_bytes(*bytes))
}

fn take_i32(rest: &mut &[u8]) -> Option<i32> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(i32::from_be_bytes(*bytes))
}

fn take_string(rest: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(take_i16(rest)?).ok()?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

const API_VERSIONS: i16 = 18;
const SASL_HANDSHAKE: i16 = 17;
const NONE: i16 = 0;
const UNSUPPORTED_SASL_MECHANISM: i16 = 33;
const ILLEGAL_SASL_STATE: i16 = 34;
const CORRELATION: i32 = 0x5350_4f41;
/// An answer to `ApiVersions` has some hundred bytes.
const ANSWER_LIMIT: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::io::{self, Cursor, Read, Write};

    use super::{Login, Stranger, greet};

    /// Answers with these bytes, whatever is said.
    struct Canned(Cursor<Vec<u8>>);

    impl Read for Canned {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Canned {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn framed(bodies: &[&[u8]]) -> Vec<u8> {
        let frame = |body: &&[u8]| {
            let length = u32::try_from(body.len() + 4).unwrap();
            [&length.to_be_bytes(), &b"SPOA"[..], body].concat()
        };
        bodies.iter().flat_map(frame).collect()
    }

    fn greeted(answer: Vec<u8>) -> Result<Login, Stranger> {
        greet(&mut Canned(Cursor::new(answer)), "PLAIN")
    }

    #[test]
    fn a_broker_says_which_login_it_wants() {
        let versions = b"\0\0\0\0\0\0";
        let cases: [(&[u8], Login); 4] = [
            (b"\0\x22\0\0\0\0", Login::None),
            (
                b"\0\x21\0\0\0\x02\0\x05PLAIN\0\x0dSCRAM-SHA-512",
                Login::Sasl(vec!["PLAIN".into(), "SCRAM-SHA-512".into()]),
            ),
            (
                b"\0\0\0\0\0\x01\0\x05PLAIN",
                Login::Sasl(vec!["PLAIN".into()]),
            ),
            (b"\0\x21\x7f\xff\xff\xff\0\x05PLAIN", Login::Unknown),
        ];
        for (answer, login) in cases {
            assert_eq!(greeted(framed(&[versions, answer])), Ok(login));
        }
        assert_eq!(greeted(framed(&[versions])), Ok(Login::Unknown));
    }

    #[test]
    fn who_is_no_broker_is_told_apart() {
        let other = |text: &str| Stranger::Other(format!("it begins with {text}"));
        let cases: [(&[u8], Stranger); 6] = [
            (b"", Stranger::Closed),
            (b"\x15\x03\x03\0\x02\x02\x50", Stranger::Tls),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", Stranger::Http),
            (b"SSH-2.0-x", other("SSH-2.0-")),
            (b"\xff\xff\xff\xffSPOA", other(r"\xff\xff\xff\xffSPOA")),
            (b"\0\0\0\0SPOA", other(r"\x00\x00\x00\x00SPOA")),
        ];
        for (answer, stranger) in cases {
            assert_eq!(greeted(answer.to_vec()), Err(stranger));
        }
    }
}
