//! Whom the follower believes to be the target. Verified by default; anything less is asked for by name.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::ClientCertificate;
use crate::identity::CertificateError;

/// Which certificates of the target are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those that the operating system's certificate authorities signed.
    #[default]
    System,
    /// Those that the authorities in this PEM file signed, and no others.
    CaFile(PathBuf),
    /// Any. Whoever stands between the follower and the target can read and change everything.
    Anyone,
}

/// Why no TLS connection can be made at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The file cannot be read, or is not PEM.
    #[error("cannot read certificate authorities from {path:?}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// Nobody to trust.
    #[error("no certificate authority in {place}; name a CA file that holds one")]
    Empty {
        /// The file, or the system's store.
        place: String,
    },
    /// The follower's own certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// rustls refused what it was given.
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] rustls::Error),
}

/// A client configuration for HTTP/1.1, made once for all connections: they share its session tickets.
pub(crate) fn client_config(
    trust: &Trust,
    certificate: Option<&ClientCertificate>,
) -> Result<Arc<ClientConfig>, TrustError> {
    // The provider is named, so that another crate's choice of a process default changes nothing here.
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let builder = match trust {
        Trust::System => builder.with_root_certificates(system_roots()?),
        Trust::CaFile(path) => builder.with_root_certificates(file_roots(path.clone())?),
        Trust::Anyone => {
            tracing::warn!("the target's certificate is not verified, as configured");
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AcceptAnyone::new(&provider)))
        }
    };
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some(certificate) => {
            let (chain, key) = certificate.load()?;
            builder.with_client_auth_cert(chain, key)?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn system_roots() -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    // A store holds hundreds; one that cannot be read only matters when the target needs it.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(TrustError::Empty {
            place: "the system's certificate store".to_owned(),
        });
    }
    Ok(roots)
}

fn file_roots(path: PathBuf) -> Result<RootCertStore, TrustError> {
    let fault = |reason: String| TrustError::File {
        path: path.clone(),
        reason,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&path).map_err(|e| fault(e.to_string()))? {
        let certificate = certificate.map_err(|e| fault(e.to_string()))?;
        roots.add(certificate).map_err(|e| fault(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(TrustError::Empty {
            place: path.display().to_string(),
        });
    }
    Ok(roots)
}

/// Accepts every certificate, but still checks that the target holds its key.
#[derive(Debug)]
struct AcceptAnyone {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AcceptAnyone {
    fn new(provider: &CryptoProvider) -> Self {
        Self {
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for AcceptAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_that_is_missing_or_holds_no_certificate_is_an_error_that_names_it() {
        let message = client_config(&Trust::CaFile("no/such/file.pem".into()), None)
            .unwrap_err()
            .to_string();
        assert!(message.contains("no/such/file.pem"), "{message}");
        let message = client_config(&Trust::CaFile("Cargo.toml".into()), None)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("no certificate authority in Cargo.toml"),
            "{message}"
        );
    }
}
