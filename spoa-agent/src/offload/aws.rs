//! The login of Amazon MSK with IAM: a token that is a signed URL, made anew whenever librdkafka asks for one.
//!
//! The credentials come from where every AWS program finds them: the environment, the shared files, a web identity,
//! the container or the instance. They are looked up for each token, so that rotated ones are used.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rdkafka::client::OAuthToken;

/// How long a token is good for: what the brokers take at most.
const LIFETIME: Duration = Duration::from_secs(900);
/// How long finding credentials may take.
const PATIENCE: Duration = Duration::from_secs(20);
const SERVICE: &str = "kafka-cluster";
const ACTION: &str = "kafka-cluster:Connect";
/// The brokers do not look at it; it shows up in CloudTrail.
const USER_AGENT: &str = concat!("spoa-agent/", env!("CARGO_PKG_VERSION"));

/// Why there is no token. Nothing of the credentials is repeated.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// No credentials were found.
    #[error(
        "there are no AWS credentials: {0}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile, or give the instance or container a role"
    )]
    NoCredentials(String),
    /// They could not be used.
    #[error("a token cannot be signed: {0}")]
    Unsignable(String),
}

/// Makes tokens for one region.
#[derive(Clone, Debug)]
pub struct Tokens {
    region: String,
}

impl Tokens {
    /// For the brokers of this region.
    #[must_use]
    pub const fn new(region: String) -> Self {
        Self { region }
    }

    /// A token. Blocks while credentials are found, at most for a few seconds.
    ///
    /// # Errors
    /// When no credentials are found.
    pub fn token(&self) -> Result<OAuthToken, TokenError> {
        // The caller may be a thread of a runtime, and those must not block on another one.
        let credentials = std::thread::scope(|scope| {
            let found = scope.spawn(|| find(&self.region)).join();
            found.unwrap_or_else(|_panic| Err("the search ended by a panic".to_owned()))
        });
        let credentials = credentials.map_err(TokenError::NoCredentials)?;
        token(&self.region, &credentials, SystemTime::now())
    }
}

fn find(region: &str) -> Result<Credentials, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let search = async {
        let client = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(Region::new(region.to_owned()))
            .http_client(client)
            .load()
            .await;
        let provider = config.credentials_provider();
        let provider = provider.ok_or_else(|| "there is no provider of them".to_owned())?;
        let found = provider.provide_credentials().await;
        found.map_err(|error| explained(&error))
    };
    runtime.block_on(async {
        let found = tokio::time::timeout(PATIENCE, search).await;
        found.unwrap_or_else(|_elapsed| Err(format!("nobody answered within {PATIENCE:?}")))
    })
}

/// An error with what caused it.
fn explained(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn token(
    region: &str,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<OAuthToken, TokenError> {
    let url = signed_url(region, credentials, now)?;
    let url = format!("{url}&User-Agent={}", percent_encoded(USER_AGENT));
    let expires = now
        .checked_add(LIFETIME)
        .and_then(|expires| expires.duration_since(UNIX_EPOCH).ok())
        // X-Amz-Date counts in whole seconds.
        .and_then(|since| i64::try_from(since.as_secs().checked_mul(1000)?).ok());
    Ok(OAuthToken {
        token: BASE64_URL_SAFE_NO_PAD.encode(url),
        principal_name: String::new(),
        lifetime_ms: expires.ok_or_else(|| unsignable("the clock is wrong"))?,
    })
}

fn signed_url(
    region: &str,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<String, TokenError> {
    let url = format!(
        "https://kafka.{region}.amazonaws.com/?Action={}",
        percent_encoded(ACTION)
    );
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(LIFETIME);
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(SERVICE)
        .time(now)
        .settings(settings)
        .build()
        .map_err(unsignable)?;
    let headers = std::iter::empty();
    let request = SignableRequest::new("GET", &url, headers, SignableBody::Bytes(&[]));
    let request = request.map_err(unsignable)?;
    let (instructions, _signature) = sign(request, &params.into())
        .map_err(unsignable)?
        .into_parts();
    let parameters = instructions.params().iter();
    Ok(parameters.fold(url, |url, (name, value)| {
        format!("{url}&{name}={}", percent_encoded(value))
    }))
}

fn unsignable(why: impl ToString) -> TokenError {
    TokenError::Unsignable(why.to_string())
}

/// All but the unreserved characters (RFC 3986, 2.3), as the signature wants it.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The region in the name of a broker of MSK, such as `b-1.x.kafka.eu-central-1.amazonaws.com:9098`.
pub(super) fn region_of(broker: &str) -> Option<&str> {
    let (host, _port) = broker.rsplit_once(':')?;
    let rest = host
        .strip_suffix(".amazonaws.com")
        .or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    let (before, region) = rest.rsplit_once('.')?;
    let service = before.rsplit('.').next()?;
    service.starts_with("kafka").then_some(region)
}

#[cfg(test)]
mod tests;
