//! Where the shadow is, and who the follower is there: [`Target`] and [`Secret`].
//!
//! A target is a scheme, a host and a port, and nothing else: paths come from the captured requests,
//! and credentials come from a file, so that they are in no URL that ends up in a process list.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use bytes::Bytes;
use rustls_pki_types::ServerName;

/// `http://host[:port]` or `https://host[:port]`, read once.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    encrypted: bool,
    host: Host,
    port: u16,
}

/// A host as the socket wants it: IPv6 without brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Name(String),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

/// Why a text is not a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// No scheme, or another one than `http` and `https`.
    #[error("target {0:?} must begin with http:// or https://")]
    Scheme(String),
    /// `user:password@` in the URL. The text is not repeated: it holds a secret.
    #[error("the target holds a user name or password; remove it and name an authorization file")]
    UserInfo,
    /// Something behind the port.
    #[error(
        "target {text:?} goes on with {rest:?}; paths come from the captured requests, so end it \
         after the port"
    )]
    Path {
        /// The whole text.
        text: String,
        /// What must go.
        rest: String,
    },
    /// An empty host, or bytes that no host name has.
    #[error("target {text:?} has no usable host: {host:?} is neither a name nor an address")]
    Host {
        /// The whole text.
        text: String,
        /// What stands in the host's place.
        host: String,
    },
    /// A port that is no number from 1 to 65535.
    #[error("target {text:?} has port {port:?}; it must be from 1 to 65535")]
    Port {
        /// The whole text.
        text: String,
        /// What stands in the port's place.
        port: String,
    },
}

impl Target {
    /// Reads `http://host[:port]` or `https://host[:port]`; IPv6 addresses stand in brackets. The
    /// port is 80 or 443 when there is none; one `/` at the end is allowed.
    ///
    /// # Errors
    /// When the text has another scheme, credentials, a path, a query, a fragment, or a host or port
    /// that cannot be.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(scheme_error(text));
        };
        let encrypted = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(scheme_error(text)),
        };
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        // An `@` anywhere is taken for credentials that stand wrong, rather than shown in a message.
        if rest.contains('@') {
            return Err(TargetError::UserInfo);
        }
        if !matches!(path, "" | "/") {
            return Err(TargetError::Path {
                text: text.to_owned(),
                rest: path.to_owned(),
            });
        }
        let (host, port) = split_port(authority);
        let host = Host::parse(host).ok_or_else(|| TargetError::Host {
            text: text.to_owned(),
            host: host.to_owned(),
        })?;
        let port = match port {
            None if encrypted => 443,
            None => 80,
            Some(digits) => port_number(digits).ok_or_else(|| TargetError::Port {
                text: text.to_owned(),
                port: digits.to_owned(),
            })?,
        };
        Ok(Self {
            encrypted,
            host,
            port,
        })
    }

    /// Whether the connection is TLS.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The host as a resolver takes it: IPv6 without brackets.
    #[must_use]
    pub fn host(&self) -> String {
        match &self.host {
            Host::Name(name) => name.clone(),
            Host::V4(ip) => ip.to_string(),
            Host::V6(ip) => ip.to_string(),
        }
    }

    /// The value of a `host` header: the port only where it is not the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        let default = if self.encrypted { 443 } else { 80 };
        if self.port == default {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The name that the target's certificate must carry.
    pub(crate) fn server_name(&self) -> Option<ServerName<'static>> {
        match &self.host {
            Host::Name(name) => ServerName::try_from(name.clone()).ok(),
            Host::V4(ip) => Some(ServerName::IpAddress((*ip).into())),
            Host::V6(ip) => Some(ServerName::IpAddress((*ip).into())),
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        Self::parse(text)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.encrypted { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            return inner.strip_suffix(']')?.parse().ok().map(Self::V6);
        }
        if let Ok(ip) = text.parse() {
            return Some(Self::V4(ip));
        }
        // What rustls takes for a name is what a certificate can carry.
        match ServerName::try_from(text).ok()? {
            ServerName::DnsName(_) => Some(Self::Name(text.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(ip) => ip.fmt(f),
            Self::V6(ip) => write!(f, "[{ip}]"),
        }
    }
}

fn scheme_error(text: &str) -> TargetError {
    if text.contains('@') {
        TargetError::UserInfo
    } else {
        TargetError::Scheme(text.to_owned())
    }
}

/// Cuts at the colon behind the host; the colons of an IPv6 address stand in brackets.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn port_number(digits: &str) -> Option<u16> {
    // `u16::from_str` also takes a sign.
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|port| *port != 0)
}

/// The value of a credential header, for example `Basic dXNlcjpwYXNz`. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Bytes);

/// A credential that no header can carry. The value is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the authorization value is empty or holds a line break or another control character; put the \
     value alone on one line"
)]
pub struct SecretError;

impl Secret {
    /// Takes the value as a file holds it; white space around it is cut off.
    ///
    /// # Errors
    /// When nothing is left, or when a control character stands inside.
    pub fn new(value: impl AsRef<[u8]>) -> Result<Self, SecretError> {
        let value = value.as_ref().trim_ascii();
        if value.is_empty() || value.iter().any(u8::is_ascii_control) {
            return Err(SecretError);
        }
        Ok(Self(Bytes::copy_from_slice(value)))
    }

    /// The bytes, for the wire only.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_scheme_a_host_and_a_port() {
        for (text, shown, authority) in [
            ("http://shadow", "http://shadow:80", "shadow"),
            (
                "https://shadow.example/",
                "https://shadow.example:443",
                "shadow.example",
            ),
            ("https://shadow:9200", "https://shadow:9200", "shadow:9200"),
            (
                "http://127.0.0.1:9200",
                "http://127.0.0.1:9200",
                "127.0.0.1:9200",
            ),
            ("http://[::1]:9200", "http://[::1]:9200", "[::1]:9200"),
            (
                "https://[2001:db8::1]",
                "https://[2001:db8::1]:443",
                "[2001:db8::1]",
            ),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!(target.to_string(), shown);
            assert_eq!(target.authority(), authority);
            assert!(target.server_name().is_some(), "{text}");
        }
        assert_eq!(Target::parse("http://[::1]:1").unwrap().host(), "::1");
    }

    #[test]
    fn what_is_not_a_target_is_refused_with_the_part_that_is_wrong() {
        for (text, part) in [
            ("shadow:9200", "must begin with"),
            ("ftp://shadow", "must begin with"),
            ("http://", "no usable host"),
            ("http://:9200", "no usable host"),
            ("http://a b", "no usable host"),
            ("http://::1:9200", "no usable host"),
            ("http://[::1", "no usable host"),
            ("http://[fe80::1%eth0]:1", "no usable host"),
            ("http://shadow:", "port \"\""),
            ("http://shadow:0", "port \"0\""),
            ("http://shadow:+80", "port \"+80\""),
            ("http://shadow:65536", "port \"65536\""),
            ("http://shadow/prefix", "\"/prefix\""),
            ("http://shadow?x", "\"?x\""),
            ("http://shadow#x", "\"#x\""),
        ] {
            let message = Target::parse(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn credentials_in_a_url_are_refused_and_not_repeated() {
        for text in [
            "https://user:pass@shadow",
            "user:pass@shadow",
            "http://shadow/@pass",
        ] {
            let error = Target::parse(text).unwrap_err();
            assert_eq!(error, TargetError::UserInfo);
            assert!(!format!("{error} {error:?}").contains("pass@"));
        }
    }

    #[test]
    fn a_secret_is_not_shown_and_cannot_break_a_line() {
        let secret = Secret::new("Basic dXNlcjpwYXNz\n").unwrap();
        assert_eq!(secret.expose(), b"Basic dXNlcjpwYXNz");
        assert_eq!(format!("{secret:?}"), "Secret(***)");
        assert_eq!(Secret::new(" \n"), Err(SecretError));
        assert_eq!(Secret::new("a\r\nb: c"), Err(SecretError));
    }
}
