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
        let credentials = match shadow.credentials {
            CredentialsKind::None => return None,
            CredentialsKind::Basic => Credentials::Basic,
            CredentialsKind::ApiKey => Credentials::ApiKey,
            CredentialsKind::Bearer => Credentials::Bearer,
            CredentialsKind::SigV4 => Credentials::SigV4 {
                region: shadow.sigv4_region.clone().unwrap_or_default(),
                service: shadow.sigv4_service.to_owned(),
            },
        };
        Some(Self {
            key: "shadow.credentials_file",
            path: shadow.credentials_file.clone()?,
            credentials,
        })
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
