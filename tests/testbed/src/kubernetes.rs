//! A real Kubernetes API server with its etcd: programs built from source once and kept in a cache ([`Program`]), run in
//! a temporary directory with TLS, tokens and RBAC ([`ControlPlane`]).
//!
//! No controller-manager, no scheduler, no kubelet: nothing acts on the objects but the test and what it tests.

mod api;
mod program;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::ovsdb::{Pki, free_ports, own_loopback_address};
use crate::process::{Process, poll};
use crate::scratch;

pub use api::{Access, Answer};
pub use program::Program;

/// A user the API server knows by a token.
#[derive(Clone, Debug)]
pub struct User {
    /// User name, such as `system:serviceaccount:NAMESPACE:NAME`.
    pub name: String,
    /// Groups, such as `system:masters`, beside `system:authenticated`.
    pub groups: Vec<String>,
}

impl User {
    /// The user who may do everything.
    pub fn admin() -> Self {
        Self {
            name: "admin".into(),
            groups: vec!["system:masters".into()],
        }
    }

    /// A service account, as RBAC bindings name it.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".into(),
                format!("system:serviceaccounts:{namespace}"),
            ],
        }
    }

    /// The bearer token of this user: not a secret, since the server lives on loopback for the time of a test.
    pub fn token(&self) -> String {
        let plain: String = self
            .name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        format!("token-{plain}")
    }
}

/// An API server and its etcd, gone when dropped.
///
/// ```no_run
/// use yusur_testbed::kubernetes::{ControlPlane, User};
///
/// # fn main() -> anyhow::Result<()> {
/// let kubernetes = ControlPlane::start()?;
/// let kubeconfig = kubernetes.kubeconfig(&User::admin())?;
/// kubernetes.kill_api_server()?; // clients see refused connections
/// kubernetes.start_api_server()?; // the same address, the same objects
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ControlPlane {
    // Processes first: they end before their directory goes.
    api_server: Mutex<Option<Process>>,
    etcd: Process,
    address: SocketAddr,
    etcd_address: SocketAddr,
    pki: Pki,
    program: PathBuf,
    users: Vec<User>,
    flags: Vec<String>,
    dir: TempDir,
}

impl ControlPlane {
    /// Starts etcd and the API server, which knows [`User::admin`], and waits until it is ready.
    ///
    /// The first time on a machine the programs are built, which takes minutes and is said on standard error.
    ///
    /// # Errors
    /// If the programs cannot be built or do not come up; with the end of their logs.
    pub fn start() -> Result<Self> {
        Self::start_with(Vec::new())
    }

    /// As [`Self::start`], with more users. What they may do is for RBAC objects to say.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(users: Vec<User>) -> Result<Self> {
        Self::start_with_flags(users, &[])
    }

    /// As [`Self::start_with`], with more flags for the API server, such as `--feature-gates=WatchList=false`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_flags(users: Vec<User>, flags: &[&str]) -> Result<Self> {
        let etcd_program = Program::Etcd.path()?;
        let program = Program::KubeApiserver.path()?;
        let dir = scratch::directory("kubernetes")?;
        // An address of our own keeps a port free while the server that had it is down.
        let ip = own_loopback_address();
        let pki = Pki::generate(dir.path(), ip)?;
        let [address, etcd_address, etcd_peer] = free_ports(ip)?;
        let etcd = start_etcd(&etcd_program, dir.path(), etcd_address, etcd_peer)?;

        let mut all = vec![User::admin()];
        all.extend(users);
        let lines: Vec<String> = all
            .iter()
            .map(|user| {
                format!(
                    "{},{},{},\"{}\"",
                    user.token(),
                    user.name,
                    user.name,
                    user.groups.join(",")
                )
            })
            .collect();
        let tokens = dir.path().join("tokens.csv");
        std::fs::write(&tokens, lines.join("\n"))
            .with_context(|| format!("writing {}", tokens.display()))?;

        let control_plane = Self {
            api_server: Mutex::new(None),
            etcd,
            address,
            etcd_address,
            pki,
            program,
            users: all,
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            dir,
        };
        control_plane.start_api_server()?;
        Ok(control_plane)
    }

    /// Where the API server listens: `https://ADDRESS:PORT`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The certificate of the authority that the server's certificate comes from (a PEM file).
    pub fn ca(&self) -> &Path {
        &self.pki.server().ca
    }

    /// Writes a kubeconfig for one of the users and returns its path.
    ///
    /// # Errors
    /// If the server was not started with this user, or the file cannot be written.
    pub fn kubeconfig(&self, user: &User) -> Result<PathBuf> {
        if !self.users.iter().any(|known| known.name == user.name) {
            bail!(
                "the API server does not know {}: name it when starting",
                user.name
            );
        }
        let token = user.token();
        let path = self.dir.path().join(format!("kubeconfig-{token}"));
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "test",
                "cluster": { "server": self.url(), "certificate-authority": self.ca() },
            }],
            "users": [{ "name": user.name, "user": { "token": token } }],
            "contexts": [{
                "name": "test",
                "context": { "cluster": "test", "user": user.name, "namespace": "default" },
            }],
            "current-context": "test",
        });
        // JSON is YAML.
        std::fs::write(&path, config.to_string())
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// The API as `user` sees it, for a test's own hand.
    ///
    /// # Errors
    /// If the certificate cannot be read.
    pub fn access(&self, user: &User) -> Result<Access> {
        Access::new(self.address, self.ca(), &user.token())
    }

    /// Installs the definitions of `manifests/crds` and waits until the server serves them all.
    ///
    /// # Errors
    /// If one is refused or does not get established.
    pub fn install_definitions(&self) -> Result<()> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/crds");
        let access = self.access(&User::admin())?;
        access.apply_files(&directory)?;
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        poll(|| {
            let list = access.get(path)?.context("no definitions")?;
            let items = list["items"].as_array().cloned().unwrap_or_default();
            Ok(items.iter().all(|definition| {
                let conditions = definition["status"]["conditions"].as_array();
                conditions.into_iter().flatten().any(|condition| {
                    condition["type"] == "Established" && condition["status"] == "True"
                })
            }))
        })
        .context("waiting for the definitions to be established")
    }

    /// Ends the API server at once, as a crash would. etcd keeps the objects.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub fn kill_api_server(&self) -> Result<()> {
        match self.running().take() {
            Some(process) => process.kill(),
            None => Ok(()),
        }
    }

    /// Freezes the API server: connections stay, nothing is answered, until [`Self::resume_api_server`].
    ///
    /// # Errors
    /// If it is not running or cannot be stopped.
    pub fn freeze_api_server(&self) -> Result<()> {
        self.running()
            .as_ref()
            .context("the API server is not running")?
            .stop()
    }

    /// Lets a frozen API server run on.
    ///
    /// # Errors
    /// If it is not running or cannot be continued.
    pub fn resume_api_server(&self) -> Result<()> {
        self.running()
            .as_ref()
            .context("the API server is not running")?
            .cont()
    }

    /// Starts the API server, if it is not running, where it was before, and waits until it is ready.
    ///
    /// # Errors
    /// If it does not come up; with the end of its log.
    pub fn start_api_server(&self) -> Result<()> {
        let mut slot = self.running();
        if slot.as_ref().is_some_and(Process::is_running) {
            return Ok(());
        }
        let process = Process::spawn(
            &self.api_server_command(),
            self.dir.path().join("kube-apiserver.log"),
        )?;
        let probe = self.access(&User::admin())?;
        process.wait_until("readiness", || Ok(probe.ready()))?;
        *slot = Some(process);
        Ok(())
    }

    /// The server's own process, for tests that measure it; `None` while it is down.
    pub fn api_server_pid(&self) -> Option<u32> {
        self.running().as_ref().map(Process::pid)
    }

    /// etcd's process id.
    pub fn etcd_pid(&self) -> u32 {
        self.etcd.pid()
    }

    fn running(&self) -> MutexGuard<'_, Option<Process>> {
        self.api_server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn api_server_command(&self) -> Command {
        let dir = self.dir.path();
        let server = self.pki.server();
        let mut command = Command::new(&self.program);
        command
            .current_dir(dir)
            .arg(format!("--etcd-servers=http://{}", self.etcd_address))
            .arg(format!("--bind-address={}", self.address.ip()))
            .arg(format!("--secure-port={}", self.address.port()))
            // Without these two it looks for an outside address, which a machine need not have.
            .arg(format!("--advertise-address={}", self.address.ip()))
            .arg(format!("--external-hostname={}", self.address.ip()))
            .arg(file("--tls-cert-file", &server.certificate))
            .arg(file("--tls-private-key-file", &server.key))
            .arg(file("--cert-dir", dir))
            .arg(file("--token-auth-file", &dir.join("tokens.csv")))
            .arg("--authorization-mode=RBAC")
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(file("--service-account-key-file", &server.certificate))
            .arg(file("--service-account-signing-key-file", &server.key))
            .arg("--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112")
            .arg("--allow-privileged=true")
            .arg("--profiling=false")
            // A Pod needs no token here, and nobody makes the default service accounts.
            .arg("--disable-admission-plugins=ServiceAccount")
            // An API server on loopback must not publish its address as that of the Service `kubernetes`.
            .arg("--endpoint-reconciler-type=none")
            .args(&self.flags);
        command
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // The API server first: without etcd it would only log errors. Nothing to report to.
        let _ = self.kill_api_server();
    }
}

fn start_etcd(program: &Path, dir: &Path, client: SocketAddr, peer: SocketAddr) -> Result<Process> {
    let mut command = Command::new(program);
    command
        .current_dir(dir)
        .arg("--name=test")
        .arg(file("--data-dir", &dir.join("etcd")))
        .arg(format!("--listen-client-urls=http://{client}"))
        .arg(format!("--advertise-client-urls=http://{client}"))
        .arg(format!("--listen-peer-urls=http://{peer}"))
        .arg(format!("--initial-advertise-peer-urls=http://{peer}"))
        .arg(format!("--initial-cluster=test=http://{peer}"))
        .arg("--unsafe-no-fsync")
        .arg("--quota-backend-bytes=8589934592")
        .arg("--log-level=warn");
    let process = Process::spawn(&command, dir.join("etcd.log"))?;
    process.wait_until("the client port", || {
        Ok(std::net::TcpStream::connect(client).is_ok())
    })?;
    Ok(process)
}

fn file(flag: &str, path: &Path) -> std::ffi::OsString {
    let mut argument = std::ffi::OsString::from(flag);
    argument.push("=");
    argument.push(path);
    argument
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_server_comes_back_where_it_was() -> Result<()> {
        let kubernetes = ControlPlane::start()?;
        let url = kubernetes.url();
        let first = kubernetes.api_server_pid().context("it runs")?;
        kubernetes.kill_api_server()?;
        assert_eq!(kubernetes.api_server_pid(), None);
        let probe = kubernetes.access(&User::admin())?;
        assert!(!probe.ready());
        kubernetes.start_api_server()?;
        assert_eq!(kubernetes.url(), url);
        assert_ne!(kubernetes.api_server_pid(), Some(first));
        let stranger = Access::new(kubernetes.address, kubernetes.ca(), "no-such-token")?;
        assert!(probe.ready() && !stranger.ready());
        let unknown = kubernetes
            .kubeconfig(&User::service_account("a", "b"))
            .unwrap_err();
        assert!(
            unknown.to_string().contains("system:serviceaccount:a:b"),
            "{unknown}"
        );
        Ok(())
    }
}
