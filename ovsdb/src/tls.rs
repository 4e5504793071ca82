//! TLS settings of `ssl:` remotes, by rustls: what to trust, and what to show the server.
//!
//! OVSDB authenticates by certificate chain: certificates made for it carry a chassis id or nothing as their name,
//! so, as ovs-vswitchd and ovn-controller do, the chain alone is checked unless [`TlsOptions::verify_name`] is set.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Files (PEM) that a TLS session is made from. They are read anew at every connection, so that a rotated
/// certificate is used without a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// Certificates of the authorities that sign servers' certificates.
    pub ca_certificate: PathBuf,
    /// Our own certificate, followed by intermediate ones. Servers started with `--ca-cert` ask for it.
    pub certificate: Option<PathBuf>,
    /// The private key of our certificate (PKCS#8, PKCS#1 or SEC1).
    pub private_key: Option<PathBuf>,
    /// Also require that the server's certificate names the host connected to (its IP address, where the remote
    /// gives one). Off by default: see the module's documentation.
    pub verify_name: bool,
}

/// Why no TLS session can be made from the files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("TLS {what} {}: {source}", path.display())]
    File {
        /// What the file is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The reader's reason.
        source: pem::Error,
    },
    /// A file holds nothing of the kind wanted.
    #[error("TLS {what} {}: there is none in the file", path.display())]
    Empty {
        /// What the file is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A private key under a password, for which there is nobody to ask.
    #[error(
        "TLS private key {}: it is encrypted; take the password off (`openssl pkey`) and protect the file instead",
        .0.display()
    )]
    Encrypted(PathBuf),
    /// A certificate without its key, or the reverse.
    #[error("TLS: a certificate and its private key must be given together")]
    Unpaired,
    /// rustls refuses what the files hold.
    #[error("TLS {what}: {source}")]
    Refused {
        /// What was being set up.
        what: &'static str,
        /// rustls' reason.
        source: rustls::Error,
    },
    /// The host of a remote cannot be a server name.
    #[error("TLS: {0:?} is neither a host name nor an IP address")]
    ServerName(String),
    /// An `ssl:` remote without TLS options.
    #[error(
        "TLS: an ssl: remote needs a CA certificate (and mostly a certificate and private key)"
    )]
    Missing,
}

impl TlsOptions {
    /// Trusts servers whose certificates chain to one of those in `ca_certificate`.
    pub fn new(ca_certificate: impl Into<PathBuf>) -> Self {
        Self {
            ca_certificate: ca_certificate.into(),
            certificate: None,
            private_key: None,
            verify_name: false,
        }
    }

    /// Shows `certificate` to servers, proved by `private_key`.
    #[must_use]
    pub fn identity(
        mut self,
        certificate: impl Into<PathBuf>,
        private_key: impl Into<PathBuf>,
    ) -> Self {
        self.certificate = Some(certificate.into());
        self.private_key = Some(private_key.into());
        self
    }

    /// Requires (or not) that certificates name the host.
    #[must_use]
    pub fn verify_name(mut self, verify: bool) -> Self {
        self.verify_name = verify;
        self
    }

    /// Reads the files and builds rustls' configuration.
    ///
    /// # Errors
    /// A file that is missing, empty or unusable.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in certificates("CA certificate", &self.ca_certificate)? {
            roots.add(certificate).map_err(|source| TlsError::Refused {
                what: "CA certificate",
                source,
            })?;
        }
        let verifier = ChainVerifier {
            roots,
            provider: provider.clone(),
            verify_name: self.verify_name,
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Refused {
                what: "protocol versions",
                source,
            })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match (&self.certificate, &self.private_key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let chain = certificates("certificate", certificate)?;
                let key = private_key(key)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|source| TlsError::Refused {
                        what: "certificate and private key",
                        source,
                    })?
            }
            _ => return Err(TlsError::Unpaired),
        };
        Ok(Arc::new(config))
    }
}

/// The name to send (SNI) and to check for `host`; a zone (`%eth0`) is no part of it.
pub(crate) fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    let name = host.split_once('%').map_or(host, |(address, _)| address);
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName(host.to_owned()))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let what = "private key";
    let fail = |source| TlsError::File {
        what,
        path: path.to_owned(),
        source,
    };
    let text = std::fs::read(path).map_err(|error| fail(pem::Error::Io(error)))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|source| {
        // "BEGIN ENCRYPTED PRIVATE KEY", in older files "Proc-Type: 4,ENCRYPTED".
        if memchr::memmem::find(&text, b"ENCRYPTED").is_some() {
            TlsError::Encrypted(path.to_owned())
        } else if matches!(source, pem::Error::NoItemsFound) {
            TlsError::Empty {
                what,
                path: path.to_owned(),
            }
        } else {
            fail(source)
        }
    })
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fail = |source| TlsError::File {
        what,
        path: path.to_owned(),
        source,
    };
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(fail)?
        .collect::<Result<_, _>>()
        .map_err(fail)?;
    if found.is_empty() {
        return Err(TlsError::Empty {
            what,
            path: path.to_owned(),
        });
    }
    Ok(found)
}

/// Checks the chain, and the name only where asked to.
#[derive(Debug)]
struct ChainVerifier {
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
    verify_name: bool,
}

impl ServerCertVerifier for ChainVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        if self.verify_name {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hosts_and_addresses() {
        assert!(matches!(
            server_name("db.example").unwrap(),
            ServerName::DnsName(_)
        ));
        assert!(matches!(
            server_name("10.0.0.1").unwrap(),
            ServerName::IpAddress(_)
        ));
        assert!(matches!(
            server_name("fe80::1%eth0").unwrap(),
            ServerName::IpAddress(_)
        ));
        assert!(server_name("not a name").is_err());
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = TlsOptions::new("/nonexistent/ca.pem")
            .client_config()
            .unwrap_err();
        assert!(error.to_string().contains("/nonexistent/ca.pem"), "{error}");
    }

    #[test]
    fn a_file_without_a_key_that_can_be_used_is_said() {
        let dir = tempfile::tempdir().unwrap();
        for (text, word) in [
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
                "encrypted",
            ),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
                 -----END RSA PRIVATE KEY-----\n",
                "encrypted",
            ),
            ("", "none in the file"),
        ] {
            let path = dir.path().join("key.pem");
            std::fs::write(&path, text).unwrap();
            let error = private_key(&path).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("key.pem"), "{error}");
        }
    }
}
