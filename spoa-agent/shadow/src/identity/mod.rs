//! Who the follower is to the target: a header of its own, a signature for each request, a certificate.
//!
//! The follower never borrows the client's identity. What it is comes from files, is replaced while it runs when
//! they are read again, and is shown nowhere.

mod certificate;
pub(crate) mod sigv4;

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

pub use certificate::{CertificateError, ClientCertificate};
pub use sigv4::Signer;

use crate::{Cell, Secret, SecretError};

/// Who the follower is.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// What each request says of it. Shared, so that it can be replaced.
    pub authorization: Arc<Cell<Authorization>>,
    /// What each TLS connection says of it.
    pub certificate: Option<ClientCertificate>,
}

impl Identity {
    /// An identity without a certificate.
    #[must_use]
    pub fn new(authorization: Authorization) -> Self {
        Self {
            authorization: Arc::new(Cell::new(authorization)),
            certificate: None,
        }
    }
}

/// What a request says of who sends it. Except for [`Authorization::None`] it takes the place of the client's
/// `authorization`.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Authorization {
    /// Nothing; what the client said is sent, unless it was masked.
    #[default]
    None,
    /// The value of the `authorization` header.
    Value(Secret),
    /// A signature over each request (AWS Signature Version 4).
    SigV4(Signer),
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Value(secret) => secret.fmt(f),
            Self::SigV4(signer) => signer.fmt(f),
        }
    }
}

/// What a file of credentials holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// The value of the `authorization` header, on the first line.
    Value,
    /// `user:password` on the first line (RFC 7617).
    Basic,
    /// An API key on the first line: `id:key`, or as the cluster encoded it.
    ApiKey,
    /// A bearer token on the first line (RFC 6750).
    Bearer,
    /// Lines `aws_access_key_id = ...`, `aws_secret_access_key = ...` and, for temporary credentials,
    /// `aws_session_token = ...`, as in a file of the AWS tools with one profile.
    SigV4 {
        /// The region that the signature is for, such as `eu-central-1`.
        region: String,
        /// The service that it is for: `es`, or `aoss` for OpenSearch Serverless.
        service: String,
    },
}

/// Why a file of credentials cannot be used. No content is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// Not what a header can carry.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Basic credentials without a colon, or with nothing before it.
    #[error("the first line is not user:password")]
    Basic,
    /// A token with a space in it.
    #[error(
        "the first line is not a token: it holds white space; write the token alone, without \"{0}\""
    )]
    Token(&'static str),
    /// A line that is none of the keys.
    #[error(
        "line {0} is none of aws_access_key_id = ..., aws_secret_access_key = ..., \
         aws_session_token = ..., [profile]; write one profile only"
    )]
    Line(usize),
    /// A key that must be there.
    #[error("there is no line {0} = ...")]
    Missing(&'static str),
}

impl Authorization {
    /// Reads what a file holds.
    ///
    /// # Errors
    /// When it is not what `credentials` says.
    pub fn read(credentials: &Credentials, file: &[u8]) -> Result<Self, CredentialsError> {
        let line = file.split(|b| *b == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let value = match credentials {
            Credentials::Value => Secret::new(line)?,
            Credentials::Basic => basic(line)?,
            Credentials::ApiKey if line.contains(&b':') => {
                Secret::new(format!("ApiKey {}", BASE64.encode(line.trim_ascii())))?
            }
            Credentials::ApiKey => token("ApiKey", line)?,
            Credentials::Bearer => token("Bearer", line)?,
            Credentials::SigV4 { region, service } => {
                return Signer::read(file, region, service).map(Self::SigV4);
            }
        };
        Ok(Self::Value(value))
    }
}

/// White space around a password may be a part of it.
fn basic(line: &[u8]) -> Result<Secret, CredentialsError> {
    let colon = line.iter().position(|b| *b == b':');
    let has_user = colon.is_some_and(|at| at > 0);
    if !has_user || line.iter().any(u8::is_ascii_control) {
        return Err(CredentialsError::Basic);
    }
    Ok(Secret::new(format!("Basic {}", BASE64.encode(line)))?)
}

fn token(scheme: &'static str, line: &[u8]) -> Result<Secret, CredentialsError> {
    let secret = Secret::new(line)?;
    if secret.expose().iter().any(u8::is_ascii_whitespace) {
        return Err(CredentialsError::Token(scheme));
    }
    Ok(Secret::new(
        [scheme.as_bytes(), b" ", secret.expose()].concat(),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(credentials: &Credentials, file: &str) -> String {
        match Authorization::read(credentials, file.as_bytes()).unwrap() {
            Authorization::Value(secret) => String::from_utf8(secret.expose().to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_kind_of_file_becomes_the_header_that_the_cluster_wants() {
        for (credentials, file, expected) in [
            (Credentials::Value, "Custom abc\n", "Custom abc"),
            // RFC 7617, section 2.
            (
                Credentials::Basic,
                "Aladdin:open sesame\r\n",
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            ),
            (Credentials::Basic, "u:", "Basic dTo="),
            (Credentials::ApiKey, "id:key\nmore", "ApiKey aWQ6a2V5"),
            (Credentials::ApiKey, "aWQ6a2V5", "ApiKey aWQ6a2V5"),
            (
                Credentials::Bearer,
                " mF_9.B5f-4.1JqM \n",
                "Bearer mF_9.B5f-4.1JqM",
            ),
        ] {
            assert_eq!(value(&credentials, file), expected);
        }
    }

    #[test]
    fn a_file_of_another_kind_is_refused_without_repeating_it() {
        let sigv4 = Credentials::SigV4 {
            region: "r".into(),
            service: "es".into(),
        };
        for (credentials, file) in [
            (&Credentials::Value, ""),
            (&Credentials::Basic, "hush"),
            (&Credentials::Basic, ":hush"),
            (&Credentials::Basic, "a:hu\tsh"),
            (&Credentials::Bearer, "Bearer hush"),
            (&Credentials::ApiKey, "ApiKey hush"),
            (&Credentials::Bearer, "\nhush"),
            (&sigv4, "hush"),
            (&sigv4, "aws_access_key_id = hush"),
            (&sigv4, "aws_secret_access_key = hush"),
            (&sigv4, "aws_access_key_id = hush\naws_secret_access_key ="),
            (
                &sigv4,
                "[a]\naws_access_key_id = hush\naws_secret_access_key = hush\n[b]\naws_access_key_id = hush",
            ),
        ] {
            let error = Authorization::read(credentials, file.as_bytes()).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hush"), "{shown}");
        }
    }

    #[test]
    fn no_identity_shows_what_it_is() {
        let file = b"# comment\n[default]\naws_access_key_id=hush\naws_secret_access_key = hush\naws_session_token=hush\n";
        let credentials = Credentials::SigV4 {
            region: "eu-central-1".into(),
            service: "es".into(),
        };
        let signer = Authorization::read(&credentials, file).unwrap();
        let value = Authorization::read(&Credentials::Bearer, b"hush").unwrap();
        let shown = format!("{:?} {:?}", Identity::new(signer), Identity::new(value));
        assert!(!shown.contains("hush"), "{shown}");
        assert!(shown.contains("eu-central-1"), "{shown}");
    }
}
