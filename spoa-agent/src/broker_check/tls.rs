//! TLS with a broker, as librdkafka would do it: the same library, the same files, and what its certificate is.

use std::fmt;
use std::net::TcpStream;
use std::sync::Arc;

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::ssl::{
    HandshakeError, SslConnector, SslFiletype, SslMethod, SslStream, SslVerifyMode,
};
use openssl::x509::{X509NameRef, X509Ref, X509VerifyResult};
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use serde::Serialize;

/// What a broker showed of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// Whose it is.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Host names and addresses that it is for.
    pub names: Vec<String>,
    /// Whole days until it expires; below zero when it has.
    pub days_left: i32,
    /// Certificates that the broker sent.
    pub chain: usize,
    /// The protocol, such as TLSv1.3.
    pub version: &'static str,
    /// Why the client would not go on.
    pub distrust: Option<Distrust>,
}

/// Why a certificate is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Distrust {
    /// Too late.
    Expired,
    /// Too early.
    NotYetValid,
    /// Signed by nobody whom the client trusts.
    UnknownIssuer,
    /// For another name.
    WrongName,
    /// In OpenSSL's words.
    Other(String),
}

/// Why there is no TLS at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The other side does not speak TLS.
    #[error("it does not speak TLS")]
    NotTls,
    /// The files that the configuration names cannot be used.
    #[error("cannot set up TLS: {0}")]
    Ours(String),
    /// It wants a certificate of ours, or does not like it.
    #[error("it does not take our certificate: {0}")]
    WantsCertificate(String),
    /// In OpenSSL's words.
    #[error("the TLS handshake failed: {0}")]
    Handshake(String),
}

/// What a client needs for TLS.
pub struct Tls {
    connector: SslConnector,
    checks_name: bool,
    verifies: bool,
}

impl fmt::Debug for Tls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// What librdkafka's properties say.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn of(config: &ClientConfig) -> Result<Self, TlsError> {
        let is_off = |name: &str| config.get(name) == Some("false");
        Ok(Self {
            connector: connector(config)?,
            checks_name: config.get("ssl.endpoint.identification.algorithm") != Some("none"),
            verifies: !is_off("enable.ssl.certificate.verification"),
        })
    }

    /// Shakes hands, whatever the certificate is: nothing is sent afterwards that a stranger must not see.
    ///
    /// # Errors
    /// When there is no TLS on this connection.
    pub fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<(SslStream<TcpStream>, Certificate), TlsError> {
        let mut ssl = self.connector.configure().map_err(|error| ours(&error))?;
        let is_host_checked = self.checks_name && self.verifies;
        ssl.set_verify_hostname(is_host_checked);
        ssl.set_use_server_name_indication(true);
        let found = Arc::new(Mutex::new(None));
        let verdict = Arc::clone(&found);
        ssl.set_verify_callback(SslVerifyMode::PEER, move |is_fine, context| {
            if !is_fine {
                verdict.lock().get_or_insert_with(|| context.error());
            }
            true
        });
        let stream = ssl.connect(host, stream).map_err(refused)?;
        let distrust = found.lock().take().filter(|_| self.verifies);
        let certificate = described(&stream, distrust)?;
        Ok((stream, certificate))
    }
}

fn connector(config: &ClientConfig) -> Result<SslConnector, TlsError> {
    let mut builder =
        SslConnector::builder(SslMethod::tls_client()).map_err(|error| ours(&error))?;
    if let Some(path) = config
        .get("ssl.ca.location")
        .filter(|path| *path != "probe")
    {
        let loaded = builder.set_ca_file(path);
        loaded.map_err(|error| of_file("kafka.ca_file", path, &error))?;
    }
    if let Some(path) = config.get("ssl.certificate.location") {
        let loaded = builder.set_certificate_chain_file(path);
        loaded.map_err(|error| of_file("kafka.client_cert_file", path, &error))?;
    }
    if let Some(path) = config.get("ssl.key.location") {
        let wrong = |error: &ErrorStack| of_file("kafka.client_key_file", path, error);
        match config.get("ssl.key.password") {
            None => builder
                .set_private_key_file(path, SslFiletype::PEM)
                .map_err(|error| wrong(&error))?,
            Some(password) => {
                let pem = std::fs::read(path).map_err(|error| {
                    TlsError::Ours(format!("kafka.client_key_file {path}: {error}"))
                })?;
                let key = PKey::private_key_from_pem_passphrase(&pem, password.as_bytes());
                let key = key.map_err(|error| wrong(&error))?;
                builder
                    .set_private_key(&key)
                    .map_err(|error| wrong(&error))?;
            }
        }
    }
    Ok(builder.build())
}

fn of_file(key: &str, path: &str, error: &ErrorStack) -> TlsError {
    TlsError::Ours(format!("{key} {path}: {}", reason(error)))
}

fn ours(error: &ErrorStack) -> TlsError {
    TlsError::Ours(reason(error))
}

/// The first reason, without numbers and places in source files.
fn reason(error: &ErrorStack) -> String {
    let reasons = error.errors().iter().filter_map(|one| one.reason());
    let first = reasons.map(str::to_owned).next();
    first.unwrap_or_else(|| error.to_string())
}

fn refused(error: HandshakeError<TcpStream>) -> TlsError {
    let error = match error {
        HandshakeError::SetupFailure(error) => return ours(&error),
        HandshakeError::Failure(stream) | HandshakeError::WouldBlock(stream) => stream.into_error(),
    };
    let Some(stack) = error.ssl_error() else {
        let said = error.io_error().map_or_else(
            || "the connection was closed".to_owned(),
            ToString::to_string,
        );
        return TlsError::Handshake(said);
    };
    let said = reason(stack);
    let is = |words: &[&str]| words.iter().any(|words| said.contains(words));
    if is(&[
        "wrong version number",
        "packet length too long",
        "http request",
    ]) {
        TlsError::NotTls
    } else if is(&[
        "certificate required",
        "alert bad certificate",
        "alert handshake failure",
    ]) {
        TlsError::WantsCertificate(said)
    } else {
        TlsError::Handshake(said)
    }
}

fn described(
    stream: &SslStream<TcpStream>,
    distrust: Option<X509VerifyResult>,
) -> Result<Certificate, TlsError> {
    let ssl = stream.ssl();
    let certificate = ssl
        .peer_certificate()
        .ok_or_else(|| TlsError::Handshake("the broker showed no certificate".to_owned()))?;
    Ok(Certificate {
        subject: name(certificate.subject_name()),
        issuer: name(certificate.issuer_name()),
        names: alternatives(&certificate),
        days_left: days_until(certificate.not_after()),
        chain: ssl
            .peer_cert_chain()
            .map_or(0, openssl::stack::StackRef::len),
        version: ssl.version_str(),
        distrust: distrust.map(told),
    })
}

/// OpenSSL's numbers (`X509_V_ERR_...`).
fn told(result: X509VerifyResult) -> Distrust {
    match result.as_raw() {
        10 => Distrust::Expired,
        9 => Distrust::NotYetValid,
        // No issuer here or at the broker, self-signed, or alone and not verifiable.
        2 | 18..=21 | 27 => Distrust::UnknownIssuer,
        62 | 64 => Distrust::WrongName,
        _other => Distrust::Other(result.error_string().to_owned()),
    }
}

fn name(name: &X509NameRef) -> String {
    let text = |nid| {
        let entry = name.entries_by_nid(nid).next()?;
        entry.data().to_string().ok()
    };
    text(Nid::COMMONNAME)
        .or_else(|| text(Nid::ORGANIZATIONNAME))
        .unwrap_or_else(|| "(no name)".to_owned())
}

fn alternatives(certificate: &X509Ref) -> Vec<String> {
    let entries = certificate.subject_alt_names();
    let shown = entries.iter().flatten().filter_map(|entry| {
        if let Some(name) = entry.dnsname() {
            return Some(name.to_owned());
        }
        match *entry.ipaddress()? {
            [a, b, c, d] => Some(std::net::Ipv4Addr::new(a, b, c, d).to_string()),
            ref bytes => {
                let octets: [u8; 16] = bytes.try_into().ok()?;
                Some(std::net::Ipv6Addr::from(octets).to_string())
            }
        }
    });
    shown.collect()
}

fn days_until(time: &Asn1TimeRef) -> i32 {
    let now = Asn1Time::days_from_now(0);
    let difference = now.and_then(|now| now.diff(time));
    difference.map_or(0, |difference| {
        // Seconds have the sign of the days: an hour ago is -1 day.
        difference
            .days
            .saturating_sub(i32::from(difference.secs < 0))
    })
}
