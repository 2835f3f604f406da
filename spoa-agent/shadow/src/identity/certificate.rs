//! The certificate that the follower shows to a target that asks for one.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate and its private key, in PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, and those of the authorities between it and one that the target knows.
    pub certificates: PathBuf,
    /// The key: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: PathBuf,
}

/// Why a certificate cannot be used. Nothing of the key is repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot use the client certificate: {path:?}: {reason}")]
pub struct CertificateError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl ClientCertificate {
    /// Reads both files and sees whether they belong together.
    ///
    /// # Errors
    /// When a file cannot be read, holds no PEM of its kind, or the key is another certificate's.
    pub fn check(&self) -> Result<(), CertificateError> {
        let provider = rustls::crypto::ring::default_provider();
        let (certificates, key) = self.load()?;
        rustls::sign::CertifiedKey::from_der(certificates, key, &provider)
            .map(drop)
            .map_err(|error| fault(&self.key, error))
    }

    pub(crate) fn load(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), CertificateError> {
        let path = &self.certificates;
        let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .map_err(|error| fault(path, error))?;
        if certificates.is_empty() {
            return Err(fault(path, "there is no certificate in it"));
        }
        let key =
            PrivateKeyDer::from_pem_file(&self.key).map_err(|error| fault(&self.key, error))?;
        Ok((certificates, key))
    }
}

fn fault(path: &Path, reason: impl ToString) -> CertificateError {
    CertificateError {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
