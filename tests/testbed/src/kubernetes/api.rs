//! The API server's HTTP interface, one request a connection: enough for a test to put objects there and look at them,
//! without a Kubernetes client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::process::poll;

/// How long one answer may take before the request counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// One user's access to an API server.
#[derive(Clone, Debug)]
pub struct Access {
    address: SocketAddr,
    config: Arc<ClientConfig>,
    token: String,
}

/// What the server answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub code: u16,
    /// The body; a string where it is not JSON.
    pub body: Value,
}

impl Access {
    /// Access to the server at `address`, whose certificate comes from `ca`, as the user of `token`.
    pub(super) fn new(address: SocketAddr, ca: &Path, token: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca)
            .with_context(|| format!("reading {}", ca.display()))?
        {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            address,
            config: Arc::new(config),
            token: token.to_owned(),
        })
    }

    /// Whether the server says that it is ready. Before it listens, or while it refuses, it is not.
    pub(super) fn ready(&self) -> bool {
        self.request("GET", "/readyz", None)
            .is_ok_and(|answer| answer.code == 200)
    }

    /// Sends one request; a body goes as JSON, to `PATCH` as a server-side apply.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        let socket = TcpStream::connect(self.address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::IpAddress(self.address.ip().into());
        let mut stream = StreamOwned::new(
            ClientConnection::new(Arc::clone(&self.config), name)?,
            socket,
        );
        let body = body.map(Value::to_string).unwrap_or_default();
        let content = if method == "PATCH" {
            "application/apply-patch+yaml"
        } else {
            "application/json"
        };
        // HTTP 1.0: the answer comes in one piece and ends with the connection.
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nAuthorization: Bearer {}\r\nAccept: application/json\r\nContent-Type: {content}\r\nContent-Length: {}\r\n\r\n",
            self.address,
            self.token,
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer)
            // Some servers close without TLS's goodbye; what came before counts.
            && answer.is_empty()
        {
            return Err(error).context("no answer");
        }
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        let code = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .context("no HTTP status")?;
        let body = serde_json::from_str(body).unwrap_or_else(|_| Value::from(body));
        Ok(Answer { code, body })
    }

    /// The object at `path`; `None` if there is none.
    ///
    /// # Errors
    /// If there is no answer, or another than the object.
    pub fn get(&self, path: &str) -> Result<Option<Value>> {
        let answer = self.request("GET", path, None)?;
        match answer.code {
            404 => Ok(None),
            _ => Ok(Some(answer.good(path)?)),
        }
    }

    /// Deletes the object at `path`.
    ///
    /// # Errors
    /// If there is none, or it may not be deleted.
    pub fn delete(&self, path: &str) -> Result<()> {
        self.request("DELETE", path, None)?.good(path).map(drop)
    }

    /// Creates or changes every object of the YAML documents in `text`, as `kubectl apply --server-side` does.
    ///
    /// # Errors
    /// With the server's words, if it refuses one.
    pub fn apply(&self, text: &str) -> Result<()> {
        self.apply_with(text, "")
    }

    /// Whether the server would do as [`Self::apply`] asks; nothing is changed.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn dry_run(&self, text: &str) -> Result<()> {
        self.apply_with(text, "&dryRun=All")
    }

    /// As [`Self::apply`], for objects of a kind whose definition was installed just now: waits until it is served.
    ///
    /// # Errors
    /// As [`Self::apply`], and if it is not served.
    pub fn apply_once_served(&self, text: &str) -> Result<()> {
        for object in documents(text)? {
            let path = path(&object)?;
            let list = path.rsplit_once('/').map_or(&*path, |(list, _)| list);
            // At first it is not found, then its storage is said not to be ready.
            let mut last = Ok(None);
            let served = poll(|| {
                last = self.get(list);
                Ok(matches!(last, Ok(Some(_))))
            });
            served.with_context(|| format!("waiting for {list}; the last answer was {last:?}"))?;
        }
        self.apply(text)
    }

    fn apply_with(&self, text: &str, options: &str) -> Result<()> {
        for object in documents(text)? {
            let path = format!(
                "{}?fieldManager=test&force=true&fieldValidation=Strict{options}",
                path(&object)?
            );
            self.request("PATCH", &path, Some(&object))?.good(&path)?;
        }
        Ok(())
    }

    /// As [`Self::apply`], all YAML files of a directory, in the order of their names.
    ///
    /// # Errors
    /// As [`Self::apply`], and if a file cannot be read.
    pub fn apply_files(&self, directory: &Path) -> Result<()> {
        let mut files = Vec::new();
        for entry in directory
            .read_dir()
            .with_context(|| format!("reading {}", directory.display()))?
        {
            files.push(entry?.path());
        }
        files.retain(|file| {
            file.extension()
                .is_some_and(|extension| extension == "yaml")
        });
        files.sort();
        for file in files {
            let text = std::fs::read_to_string(&file)?;
            self.apply(&text)
                .with_context(|| format!("applying {}", file.display()))?;
        }
        Ok(())
    }
}

impl Answer {
    /// The body, if the server did as asked.
    ///
    /// # Errors
    /// With the server's words, if it did not.
    pub fn good(self, what: &str) -> Result<Value> {
        if (200..300).contains(&self.code) {
            return Ok(self.body);
        }
        let words = self.body["message"]
            .as_str()
            .or(self.body.as_str())
            .unwrap_or_default();
        bail!("{what}: {} {words}", self.code)
    }
}

/// The objects of a YAML text.
fn documents(text: &str) -> Result<Vec<Value>> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text)?;
    Ok(all.into_iter().filter(|value| !value.is_null()).collect())
}

/// Where the API keeps an object: its kind's plural is its name in lower case and an `s`, which is true of all kinds
/// tests use.
fn path(object: &Value) -> Result<String> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let version = text("/apiVersion").context("no apiVersion")?;
    let kind = text("/kind").context("no kind")?.to_lowercase();
    let name = text("/metadata/name").context("no metadata.name")?;
    let root = if version.contains('/') { "apis" } else { "api" };
    let namespace = text("/metadata/namespace")
        .map(|name| format!("/namespaces/{name}"))
        .unwrap_or_default();
    Ok(format!("/{root}/{version}{namespace}/{kind}s/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_the_paths_of_the_api() -> Result<()> {
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: b}\n---\napiVersion: yusur.io/v1alpha1\nkind: Vpc\nmetadata: {name: c}\n";
        let paths: Vec<_> = documents(text)?.iter().map(path).collect::<Result<_>>()?;
        assert_eq!(
            paths,
            [
                "/api/v1/namespaces/b/pods/a",
                "/apis/yusur.io/v1alpha1/vpcs/c"
            ]
        );
        Ok(())
    }
}
