//! Real ovsdb-servers: one alone ([`Standalone`]) or several in a Raft cluster ([`Cluster`]), with TLS on request.
//!
//! Every server listens on a unix socket, on TCP over IPv4 and on TCP over IPv6. IPv4 addresses are taken from
//! 127.0.0.0/8, another one for each server, so that a port once found free stays free while the server is down.

mod cluster;
mod dump;
mod server;
mod session;
mod tls;

use std::ops::Deref;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

pub use cluster::{Cluster, MemberStatus};
pub use dump::Dump;
pub use server::Server;
pub use session::Session;
pub use tls::{Identity, Pki};

use crate::process::run;
use crate::schemas::Schema;
use crate::scratch;
use server::Setup;
pub(crate) use server::{free_ports, own_loopback_address};

/// A single ovsdb-server with one database, in a directory of its own.
///
/// Dereferences to its [`Server`], where its addresses and controls are.
#[derive(Debug)]
pub struct Standalone {
    server: Server,
    pki: Option<Pki>,
    // Last: the server dies before its files go.
    dir: TempDir,
}

impl Standalone {
    /// Starts a server with an empty database of `schema`.
    ///
    /// # Errors
    /// If Open vSwitch's programs are missing or the server does not come up; with its log.
    pub fn start(schema: &Schema) -> Result<Self> {
        Self::launch(schema, None, None)
    }

    /// Starts a server that also listens for TLS ([`Server::ssl`]) and demands a certificate of [`Self::pki`]'s CA.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_tls(schema: &Schema) -> Result<Self> {
        Self::launch(schema, None, Some(()))
    }

    /// Starts a server on a copy of the database file `file` (as another server left it behind).
    ///
    /// # Errors
    /// As [`Self::start`], and if the file cannot be copied.
    pub fn start_from(schema: &Schema, file: &Path) -> Result<Self> {
        Self::launch(schema, Some(file), None)
    }

    /// Starts a relay: a server that has the database of `source` as a copy, and hands transactions on to it.
    ///
    /// # Errors
    /// If Open vSwitch's programs are missing or the server does not come up; with its log.
    pub fn relay(source: &Server) -> Result<Self> {
        let dir = scratch::directory("ovsdb")?;
        let server = Server::launch(Setup {
            dir: dir.path().to_path_buf(),
            file: format!("relay:{}:{}", source.database(), source.unix()).into(),
            database: source.database().to_owned(),
            address: own_loopback_address(),
            identity: None,
        })?;
        Ok(Self {
            server,
            pki: None,
            dir,
        })
    }

    fn launch(schema: &Schema, file: Option<&Path>, tls: Option<()>) -> Result<Self> {
        let dir = scratch::directory("ovsdb")?;
        let database = dir.path().join("db");
        match file {
            Some(file) => {
                std::fs::copy(file, &database)
                    .with_context(|| format!("copying the database {}", file.display()))?;
            }
            None => {
                run(Command::new("ovsdb-tool")
                    .arg("create")
                    .arg(&database)
                    .arg(&schema.path))?;
            }
        }
        let address = own_loopback_address();
        let pki = tls
            .map(|()| Pki::generate(dir.path(), address))
            .transpose()?;
        let server = Server::launch(Setup {
            dir: dir.path().to_path_buf(),
            file: database,
            database: schema.name.clone(),
            address,
            identity: pki.as_ref().map(|pki| pki.server().clone()),
        })?;
        Ok(Self { server, pki, dir })
    }

    /// The certificates, if started with TLS.
    pub fn pki(&self) -> Option<&Pki> {
        self.pki.as_ref()
    }

    /// The directory that holds all of this server's files; gone when this value is dropped.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Converts the database, live, to `schema` (`ovsdb-client convert`).
    ///
    /// # Errors
    /// If the server refuses, with its words.
    pub fn convert(&self, schema: &Schema) -> Result<()> {
        run(Command::new("ovsdb-client")
            .arg("convert")
            .arg(self.unix())
            .arg(&schema.path))?;
        Ok(())
    }
}

impl Deref for Standalone {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::process::poll;
    use crate::schemas::{installed, newest};

    fn switch(name: &str) -> serde_json::Value {
        json!({"op": "insert", "table": "Logical_Switch", "row": {"name": name}})
    }

    fn switches(dump: &Dump) -> Vec<String> {
        let mut names: Vec<String> = dump
            .rows("Logical_Switch")
            .map(|(_, row)| row["name"].as_str().unwrap_or_default().to_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn every_address_answers_and_content_survives_kill_and_convert() -> Result<()> {
        let server = Standalone::start(&installed("ovn-nb")?)?;
        server.transact(&[switch("a")])?;
        for remote in [server.unix(), server.tcp(), server.tcp6()] {
            assert_eq!(switches(&Dump::take(&remote, server.database())?), ["a"]);
        }
        let before = server.tcp();
        server.kill()?;
        assert!(!server.is_running());
        assert!(server.connect().is_err());
        server.start()?;
        assert_eq!(server.tcp(), before);
        server.restart()?;
        server.transact(&[switch("b")])?;

        let schema = newest("ovn-nb")?;
        server.convert(&schema)?;
        assert_eq!(switches(&server.dump()?), ["a", "b"]);
        assert!(
            server.dump()?.tables.len() > 30,
            "the newest schema has more tables"
        );

        let copy = Standalone::start_from(&schema, server.file())?;
        assert_eq!(copy.dump()?, server.dump()?);
        Ok(())
    }

    #[test]
    fn a_refused_transaction_says_why() -> Result<()> {
        let server = Standalone::start(&installed("ovn-nb")?)?;
        let group = json!({"op": "insert", "table": "Load_Balancer_Group", "row": {"name": "g"}});
        let error = server.transact(&[group.clone(), group]).unwrap_err();
        assert!(
            error.to_string().contains("constraint violation"),
            "{error}"
        );
        Ok(())
    }

    #[test]
    fn a_tls_server_wants_our_certificate() -> Result<()> {
        let server = Standalone::start_tls(&installed("ovn-nb")?)?;
        let remote = server.ssl().expect("started with TLS");
        let pki = server.pki().expect("started with TLS");
        let list = |identity: &Identity| {
            run(Command::new("ovsdb-client")
                .arg(format!("--private-key={}", identity.key.display()))
                .arg(format!("--certificate={}", identity.certificate.display()))
                .arg(format!("--ca-cert={}", identity.ca.display()))
                .args(["--timeout=10", "list-dbs", &remote]))
        };
        assert!(list(pki.client())?.contains("OVN_Northbound"));
        let elsewhere = tempfile::tempdir()?;
        let other = Pki::generate(elsewhere.path(), "127.0.0.1".parse()?)?;
        let mut stranger = other.client().clone();
        stranger.ca = pki.client().ca.clone();
        assert!(
            list(&stranger).is_err(),
            "a certificate of another authority was accepted"
        );
        Ok(())
    }

    #[test]
    fn a_cluster_outlives_its_leader() -> Result<()> {
        let cluster = Cluster::start(3, &installed("ovn-nb")?)?;
        let first = cluster.leader()?;
        cluster.member((first + 1) % 3).transact(&[switch("a")])?;
        assert_eq!(cluster.kill_leader()?, first);
        let second = cluster.leader()?;
        assert_ne!(second, first);
        cluster.member(second).transact(&[switch("b")])?;
        cluster.member(first).start()?;
        cluster.wait_settled()?;
        let third = cluster.transfer_leadership()?;
        assert_ne!(third, second);
        cluster.wait_settled()?;
        // Followers apply in their own time.
        for index in 0..3 {
            poll(|| Ok(switches(&cluster.dump(index)?) == ["a", "b"]))?;
            assert_eq!(
                cluster.status(index)?.cluster_id,
                cluster.status(third)?.cluster_id
            );
        }
        Ok(())
    }
}
