//! What the tools have in common: how a server is named and spoken to.

use std::path::PathBuf;
use std::time::Duration;

use ovsdb::{Builder, Client, Remote, TlsOptions};

/// Where the database is, and how to get there.
#[derive(Debug, clap::Args)]
pub(crate) struct Connection {
    /// Servers, with commas between: unix:PATH, tcp:HOST:PORT or ssl:HOST:PORT, an IPv6 HOST in brackets
    #[arg(value_name = "REMOTE[,REMOTE…]")]
    remotes: String,

    /// The database, such as OVN_Northbound
    database: String,

    /// For ssl: remotes, the authority that signs the servers' certificates (PEM)
    #[arg(long, value_name = "FILE")]
    ca_cert: Option<PathBuf>,

    /// Our own certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "private_key")]
    certificate: Option<PathBuf>,

    /// The private key of our certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "certificate")]
    private_key: Option<PathBuf>,

    /// Require that a server's certificate names its host
    #[arg(long)]
    verify_name: bool,

    /// Take any member of a cluster, not only its leader
    #[arg(long)]
    no_leader_only: bool,

    /// Seconds of silence after which a server is asked for a sign of life; 0 never asks
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    probe_interval: u64,
}

impl Connection {
    /// The client that is described, nothing monitored yet.
    pub(crate) fn builder(&self) -> anyhow::Result<Builder> {
        let mut builder = Client::builder(&self.database)
            .remotes(Remote::parse_list(&self.remotes)?)
            .leader_only(!self.no_leader_only)
            .probe_interval(Duration::from_secs(self.probe_interval));
        if let Some(ca_cert) = &self.ca_cert {
            let mut tls = TlsOptions::new(ca_cert).verify_name(self.verify_name);
            if let (Some(certificate), Some(key)) = (&self.certificate, &self.private_key) {
                tls = tls.identity(certificate, key);
            }
            builder = builder.tls(tls);
        }
        Ok(builder)
    }

    /// The database's name.
    #[allow(dead_code, reason = "one of the tools asks")]
    pub(crate) fn database(&self) -> &str {
        &self.database
    }
}

/// Log messages on standard error; `RUST_LOG` chooses.
pub(crate) fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
