//! One ovsdb-server process: its addresses, its controls, its restarts.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Dump, Identity, Session};
use crate::process::{Process, run};

/// What a server is started with; stays the same over restarts.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) dir: PathBuf,
    /// The database's file, or what ovsdb-server takes in its place.
    pub(super) file: PathBuf,
    pub(super) database: String,
    /// Where it listens over IPv4.
    pub(super) address: IpAddr,
    pub(super) identity: Option<Identity>,
}

/// One ovsdb-server, running or not; killed when dropped.
#[derive(Debug)]
pub struct Server {
    setup: Setup,
    tcp: SocketAddr,
    tcp6: SocketAddr,
    ssl: SocketAddr,
    process: Mutex<Option<Arc<Process>>>,
}

impl Server {
    pub(super) fn launch(setup: Setup) -> Result<Self> {
        let [tcp, ssl] = free_ports(setup.address)?;
        let [tcp6] = free_ports(IpAddr::V6(Ipv6Addr::LOCALHOST))?;
        let server = Self {
            setup,
            tcp,
            tcp6,
            ssl,
            process: Mutex::new(None),
        };
        server.start()?;
        Ok(server)
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        &self.setup.database
    }

    /// The database file.
    pub fn file(&self) -> &Path {
        &self.setup.file
    }

    /// The unix socket as OVSDB writes a remote: `unix:PATH`.
    pub fn unix(&self) -> String {
        format!("unix:{}", self.unix_path().display())
    }

    /// The unix socket's path.
    pub fn unix_path(&self) -> PathBuf {
        self.setup.dir.join("db.sock")
    }

    /// The TCP remote over IPv4: `tcp:127.x.y.z:PORT`.
    pub fn tcp(&self) -> String {
        format!("tcp:{}", self.tcp)
    }

    /// The TCP remote over IPv6: `tcp:[::1]:PORT`.
    pub fn tcp6(&self) -> String {
        format!("tcp:{}", self.tcp6)
    }

    /// The TLS remote, `ssl:127.x.y.z:PORT`; `None` for a server started without certificates.
    pub fn ssl(&self) -> Option<String> {
        self.setup
            .identity
            .as_ref()
            .map(|_| format!("ssl:{}", self.ssl))
    }

    /// The control socket, what `ovs-appctl -t` takes.
    pub fn unixctl(&self) -> PathBuf {
        self.setup.dir.join("ctl.sock")
    }

    /// Everything the server has logged, over all restarts.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn log(&self) -> Result<String> {
        let path = self.setup.dir.join("log");
        let bytes =
            std::fs::read(&path).with_context(|| format!("reading the log {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The running process.
    ///
    /// # Errors
    /// If the server is down.
    pub fn process(&self) -> Result<Arc<Process>> {
        self.slot()
            .clone()
            .with_context(|| format!("the ovsdb-server of {} is down", self.setup.dir.display()))
    }

    /// Whether the process is there (a frozen one is).
    pub fn is_running(&self) -> bool {
        self.slot()
            .as_ref()
            .is_some_and(|process| process.is_running())
    }

    /// Starts the server on the same file and addresses as before, and waits until it accepts connections.
    ///
    /// # Errors
    /// If it is running already or does not come up; with its log.
    pub fn start(&self) -> Result<()> {
        let mut slot = self.slot();
        if slot.as_ref().is_some_and(|process| process.is_running()) {
            bail!(
                "the ovsdb-server of {} is running already",
                self.setup.dir.display()
            );
        }
        // A killed server leaves its sockets behind; a connection to them must not pass for the new one's readiness.
        for socket in [self.unix_path(), self.unixctl()] {
            match std::fs::remove_file(&socket) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("removing {}", socket.display()));
                }
                _ => {}
            }
        }
        let process = Process::spawn(&self.command(), self.setup.dir.join("log"))?;
        process.wait_until("the database's socket", || {
            Ok(UnixStream::connect(self.unix_path()).is_ok() && self.unixctl().exists())
        })?;
        *slot = Some(Arc::new(process));
        Ok(())
    }

    /// Ends the server at once (SIGKILL), as a crash does.
    ///
    /// # Errors
    /// If it is down already.
    pub fn kill(&self) -> Result<()> {
        let process = self.process()?;
        process.kill()?;
        *self.slot() = None;
        Ok(())
    }

    /// Ends the server in an orderly way.
    ///
    /// # Errors
    /// If it is down already or does not end.
    pub fn terminate(&self) -> Result<()> {
        let process = self.process()?;
        process.terminate()?;
        *self.slot() = None;
        Ok(())
    }

    /// An orderly end, then a start.
    ///
    /// # Errors
    /// As [`Self::terminate`] and [`Self::start`].
    pub fn restart(&self) -> Result<()> {
        self.terminate()?;
        self.start()
    }

    /// Freezes the server: connections stay, nothing is answered.
    ///
    /// # Errors
    /// If it is down.
    pub fn pause(&self) -> Result<()> {
        self.process()?.stop()
    }

    /// Lets a frozen server run on.
    ///
    /// # Errors
    /// If it is down.
    pub fn resume(&self) -> Result<()> {
        self.process()?.cont()
    }

    /// Sends a control command (`ovs-appctl`) and returns its answer.
    ///
    /// # Errors
    /// If the server is down or refuses the command.
    pub fn appctl(&self, arguments: &[&str]) -> Result<String> {
        run(Command::new("ovs-appctl")
            .arg("-t")
            .arg(self.unixctl())
            .arg("--timeout=10")
            .args(arguments))
    }

    /// Opens a bare session over the unix socket.
    ///
    /// # Errors
    /// If the server does not accept it.
    pub fn connect(&self) -> Result<Session> {
        Session::connect(&self.unix_path())
    }

    /// Runs one transaction over a session of its own and returns the results of its operations.
    ///
    /// # Errors
    /// If the session fails, or any result is an error; with the server's words.
    pub fn transact(&self, operations: &[Value]) -> Result<Vec<Value>> {
        self.connect()?.commit(&self.setup.database, operations)
    }

    /// The whole database as `ovsdb-client dump` shows it.
    ///
    /// # Errors
    /// If the program fails or prints what cannot be read.
    pub fn dump(&self) -> Result<Dump> {
        Dump::take(&self.unix(), &self.setup.database)
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<Process>>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("ovsdb-server");
        for variable in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR"] {
            command.env(variable, &self.setup.dir);
        }
        command
            .args(["-vconsole:info", "-vsyslog:off", "-vfile:off"])
            .arg(format!("--remote=punix:{}", self.unix_path().display()))
            .arg(passive("ptcp", self.tcp))
            .arg(passive("ptcp", self.tcp6))
            .arg(format!("--unixctl={}", self.unixctl().display()));
        if let Some(identity) = &self.setup.identity {
            command
                .arg(passive("pssl", self.ssl))
                .arg(format!("--private-key={}", identity.key.display()))
                .arg(format!("--certificate={}", identity.certificate.display()))
                .arg(format!("--ca-cert={}", identity.ca.display()));
        }
        command.arg(&self.setup.file);
        command
    }
}

fn passive(method: &str, address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(ip) => format!("--remote={method}:{}:{ip}", address.port()),
        IpAddr::V6(ip) => format!("--remote={method}:{}:[{ip}]", address.port()),
    }
}

/// An address of 127.0.0.0/8 for one server of this process: nobody else binds there, so ports stay ours over restarts.
pub(crate) fn own_loopback_address() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // 16 bits of pid, 7 of counter, never 127.0.0.0/9, where everybody's loopback addresses are.
    let pid = std::process::id() & 0xffff;
    let count = NEXT.fetch_add(1, Ordering::Relaxed) & 0x7f;
    let [_, _, high, low] = pid.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 128 | count.to_be_bytes()[3], high, low))
}

/// Ports that are free on `ip` now, each another: asked for one after the other, the kernel may give one twice.
pub(crate) fn free_ports<const N: usize>(ip: IpAddr) -> Result<[SocketAddr; N]> {
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [SocketAddr::new(ip, 0); N];
    for port in &mut ports {
        let listener =
            TcpListener::bind(*port).with_context(|| format!("binding a port on {ip}"))?;
        *port = listener.local_addr().context("reading the bound address")?;
        listeners.push(listener);
    }
    Ok(ports)
}
