//! A certificate authority of one test, with certificates for servers and clients.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// The PEM files that one end of a TLS connection needs.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The private key.
    pub key: PathBuf,
    /// Its certificate.
    pub certificate: PathBuf,
    /// The certificate of the authority that the other end's certificate must come from.
    pub ca: PathBuf,
}

/// A certificate authority and the certificates it has made, as files.
pub struct Pki {
    dir: PathBuf,
    authority: CertifiedIssuer<'static, KeyPair>,
    server: Identity,
    client: Identity,
}

impl std::fmt::Debug for Pki {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pki")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl Pki {
    /// Makes a new authority with one certificate for a server at `address` and one for clients, below `dir`.
    ///
    /// # Errors
    /// If keys cannot be made or files cannot be written.
    pub fn generate(dir: &Path, address: IpAddr) -> Result<Self> {
        let dir = dir.join("pki");
        std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "test authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        write(&dir.join("ca.pem"), &authority.pem())?;
        let placeholder = |name: &str| Identity {
            key: dir.join(format!("{name}-key.pem")),
            certificate: dir.join(format!("{name}-cert.pem")),
            ca: dir.join("ca.pem"),
        };
        let pki = Self {
            server: placeholder("server"),
            client: placeholder("client"),
            authority,
            dir,
        };
        // A client that checks names checks the address it dialled.
        pki.issue("server", &["localhost", "::1", &address.to_string()])?;
        pki.issue("client", &["test-client"])?;
        Ok(pki)
    }

    /// The servers' key and certificate.
    pub fn server(&self) -> &Identity {
        &self.server
    }

    /// A client's key and certificate.
    pub fn client(&self) -> &Identity {
        &self.client
    }

    /// Makes one more certificate, valid for `names` (host names or addresses), in files called after `name`.
    ///
    /// # Errors
    /// If a key cannot be made or a file cannot be written.
    pub fn issue(&self, name: &str, names: &[&str]) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(&key, &self.authority)?;
        let identity = Identity {
            key: self.dir.join(format!("{name}-key.pem")),
            certificate: self.dir.join(format!("{name}-cert.pem")),
            ca: self.dir.join("ca.pem"),
        };
        write(&identity.key, &key.serialize_pem())?;
        write(&identity.certificate, &certificate.pem())?;
        Ok(identity)
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
