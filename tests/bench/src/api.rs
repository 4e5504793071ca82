//! The API server by plain HTTP/1.1 on connections that stay open: the hand that makes and changes objects, the list
//! and the watch that the controller's are compared with.

use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use yusur_testbed::kubernetes::{ControlPlane, User};

/// Connections that write at once when many objects are made or changed.
const WRITERS: usize = 16;

/// How long the API server may ask to come back later.
const PATIENCE: Duration = Duration::from_secs(60);

/// The administrator's access.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    agent: Agent,
    url: String,
    authorization: String,
}

/// One request that changes something.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// `POST`, or `PATCH` with a merge patch.
    pub(crate) method: &'static str,
    /// Path and query.
    pub(crate) path: String,
    /// The body.
    pub(crate) body: Value,
}

impl Api {
    /// The administrator of `kubernetes`.
    pub(crate) fn new(kubernetes: &ControlPlane) -> Result<Self> {
        let pem = std::fs::read(kubernetes.ca())?;
        let mut roots: Vec<Certificate<'static>> = Vec::new();
        for item in parse_pem(&pem) {
            if let PemItem::Certificate(certificate) = item? {
                roots.push(certificate);
            }
        }
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(roots))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .no_delay(true)
            .max_idle_connections_per_host(2 * WRITERS)
            .build()
            .new_agent();
        Ok(Self {
            agent,
            url: kubernetes.url(),
            authorization: format!("Bearer {}", User::admin().token()),
        })
    }

    /// Sends a request; when the answer's head was here.
    pub(crate) fn send(&self, request: &Request) -> Result<Instant> {
        let content = match request.method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let url = format!("{}{}", self.url, request.path);
        let builder = match request.method {
            "PATCH" => self.agent.patch(url),
            _ => self.agent.post(url),
        };
        let mut answer = builder
            .header("Authorization", &self.authorization)
            .header("Content-Type", content)
            .send(request.body.to_string())
            .with_context(|| format!("{} {}", request.method, request.path))?;
        let answered = Instant::now();
        let text = answer.body_mut().read_to_string()?;
        // What is there already may stay.
        if !answer.status().is_success() && answer.status() != 409 {
            bail!(
                "{} {}: {} {text}",
                request.method,
                request.path,
                answer.status()
            );
        }
        Ok(answered)
    }

    /// Sends many requests over several connections; they arrive in no order.
    pub(crate) fn send_all(&self, requests: &[Request]) -> Result<()> {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let work = || -> Result<()> {
                while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    self.send(request)?;
                }
                Ok(())
            };
            let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(work)).collect();
            for writer in writers {
                writer
                    .join()
                    .map_err(|_| anyhow::anyhow!("a writer panicked"))??;
            }
            Ok(())
        })
    }

    /// The newest resource version of a resource.
    pub(crate) fn version(&self, path: &str) -> Result<String> {
        let mut text = String::new();
        self.get(&format!("{path}?limit=1"))?
            .read_to_string(&mut text)?;
        let list: Value = serde_json::from_str(&text)?;
        let version = list["metadata"]["resourceVersion"].as_str();
        Ok(version.context("a list without a version")?.to_owned())
    }

    /// Lists a resource the way the controller does, by a watch that begins with all objects; how many bytes came until
    /// all were there.
    pub(crate) fn stream_list(&self, path: &str) -> Result<usize> {
        let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
        let mut events = self.get(&format!("{path}?{query}"))?;
        let (mut line, mut bytes) = (Vec::new(), 0);
        loop {
            line.clear();
            let read = events.read_until(b'\n', &mut line)?;
            anyhow::ensure!(read > 0, "the list of {path} ended early");
            bytes += read;
            if line.starts_with(b"{\"type\":\"BOOKMARK\"") {
                return Ok(bytes);
            }
        }
    }

    /// Watches a resource from `version` on: one line an event.
    pub(crate) fn watch(&self, path: &str, version: &str) -> Result<impl BufRead + Send + use<>> {
        self.get(&format!("{path}?watch=true&resourceVersion={version}"))
    }

    fn get(&self, path: &str) -> Result<BufReader<impl Read + Send + use<>>> {
        let deadline = Instant::now() + PATIENCE;
        let answer = loop {
            let answer = self
                .agent
                .get(format!("{}{path}", self.url))
                .header("Authorization", &self.authorization)
                .call()
                .with_context(|| format!("GET {path}"))?;
            // What the server says while it fills the cache of a resource that is new to it.
            if answer.status() != 429 || Instant::now() > deadline {
                break answer;
            }
            std::thread::sleep(Duration::from_millis(200));
        };
        anyhow::ensure!(
            answer.status().is_success(),
            "GET {path}: {}",
            answer.status()
        );
        Ok(BufReader::with_capacity(
            64 << 10,
            answer.into_body().into_reader(),
        ))
    }
}
