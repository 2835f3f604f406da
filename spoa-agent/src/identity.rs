//! Who the follower is to the shadow: which files say so, and what is in them.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use shadow::identity::{Credentials, CredentialsError};
use shadow::{Authorization, ClientCertificate};

use crate::config::{self, CredentialsKind};

/// Credentials are a few lines; in bytes.
const LIMIT: u64 = 64 << 10;

/// A file of credentials, and the key that names it.
#[derive(Debug, Clone)]
pub(crate) struct CredentialsFile {
    pub(crate) key: &'static str,
    pub(crate) path: PathBuf,
    credentials: Credentials,
}

/// Why there are no credentials. Nothing of them is repeated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It holds something else.
    #[error(transparent)]
    Wrong(#[from] CredentialsError),
}

impl CredentialsFile {
    /// The one that the configuration names.
    pub(crate) fn of(shadow: &config::Shadow) -> Option<Self> {
        if let Some(path) = &shadow.authorization_file {
            return Some(Self {
                key: "shadow.authorization_file",
                path: path.clone(),
                credentials: Credentials::Value,
            });
        }
        let credentials = credentials(
            shadow.credentials,
            shadow.sigv4_region.as_deref(),
            shadow.sigv4_service,
        )?;
        let path = shadow.credentials_file.clone()?;
        Some(Self::named("shadow.credentials_file", path, credentials))
    }

    /// The one that `key` names.
    pub(crate) const fn named(key: &'static str, path: PathBuf, credentials: Credentials) -> Self {
        Self {
            key,
            path,
            credentials,
        }
    }

    /// One that is sent as it is.
    pub(crate) fn of_value(key: &'static str, path: &Path) -> Self {
        Self {
            key,
            path: path.to_owned(),
            credentials: Credentials::Value,
        }
    }

    /// Reads what is in it.
    pub(crate) fn read(&self) -> Result<Authorization, Unusable> {
        let mut bytes = Vec::new();
        fs::File::open(&self.path)?
            .take(LIMIT)
            .read_to_end(&mut bytes)?;
        Ok(Authorization::read(&self.credentials, &bytes)?)
    }
}

/// What a file holds. `None`: there is none.
pub(crate) fn credentials(
    kind: CredentialsKind,
    region: Option<&str>,
    service: &str,
) -> Option<Credentials> {
    match kind {
        CredentialsKind::None => None,
        CredentialsKind::Basic => Some(Credentials::Basic),
        CredentialsKind::ApiKey => Some(Credentials::ApiKey),
        CredentialsKind::Bearer => Some(Credentials::Bearer),
        CredentialsKind::SigV4 => Some(Credentials::SigV4 {
            region: region.unwrap_or_default().to_owned(),
            service: service.to_owned(),
        }),
    }
}

/// The certificate that the configuration names.
pub(crate) fn certificate(shadow: &config::Shadow) -> Option<ClientCertificate> {
    Some(ClientCertificate {
        certificates: shadow.client_cert_file.clone()?,
        key: shadow.client_key_file.clone()?,
    })
}

/// Whether others than the owner may read or write the file.
pub(crate) fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}
