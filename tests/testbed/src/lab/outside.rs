//! The outside: a physical network that some chassis are on, and hosts there.

use std::net::SocketAddr;
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};

use super::Lab;
use super::chassis::without_offloads;
use super::namespace::Namespace;
use super::traffic::{AskError, Connection, Flow, Protocol, Reply, ask, connect, flow};
use crate::process::PATIENCE;

/// The bridge that is the segment; its name need only be unique within its namespace.
const SEGMENT: &str = "segment";

/// How often [`Host::outage`] opens a connection.
const BEAT: Duration = Duration::from_millis(50);

/// How many connections in a row have to be answered before the outage is over.
const STEADY: usize = 20;

/// An answer that took longer was one of TCP's second attempts (RFC 6298: after a second).
const PROMPT: Duration = Duration::from_millis(500);

/// A segment of a physical network.
#[derive(Debug)]
pub struct Outside {
    segment: Namespace,
}

impl Outside {
    /// Makes a segment and joins chassis to it: as `network` of their `ovn-bridge-mappings`.
    ///
    /// # Errors
    /// If a device or a bridge cannot be made.
    pub fn new(lab: &Lab, network: &str, chassis: &[&str]) -> Result<Self> {
        let segment = Namespace::new(network, lab.dir())?;
        segment.ip(&format!(
            "link add {SEGMENT} type bridge mcast_snooping 0\nlink set {SEGMENT} up"
        ))?;
        let outside = Self { segment };
        for name in chassis {
            let chassis = lab.node(name)?;
            outside.plug(name, chassis.namespace(), "outside", "")?;
            let bridge = format!("br-{network}");
            chassis.vsctl(&[
                "add-br",
                &bridge,
                "--",
                "set",
                "bridge",
                &bridge,
                &format!("datapath_type={}", lab.datapath().bridge_type()),
                "--",
                "add-port",
                &bridge,
                "outside",
                "--",
                "set",
                "open_vswitch",
                ".",
                &format!("external_ids:ovn-bridge-mappings={network}:{bridge}"),
            ])?;
        }
        Ok(outside)
    }

    /// Puts a host on the segment, with addresses (with prefix lengths) and further lines of ip(8) about its device
    /// `eth0`.
    ///
    /// # Errors
    /// If the device cannot be made.
    pub fn host(&self, lab: &Lab, name: &str, addresses: &[&str], more: &str) -> Result<Host> {
        let namespace = Namespace::new(name, lab.dir())?;
        let mut lines = String::new();
        for address in addresses {
            let nodad = if address.contains(':') { "nodad" } else { "" };
            lines.push_str(&format!("addr add {address} dev eth0 {nodad}\n"));
        }
        self.plug(name, &namespace, "eth0", &format!("{lines}{more}"))?;
        Ok(Host { namespace })
    }

    /// A device on the segment, in another namespace.
    fn plug(&self, port: &str, namespace: &Namespace, device: &str, more: &str) -> Result<()> {
        self.segment.ip(&format!(
            "link add {port} type veth peer name {device} netns {pid}\n\
             link set {port} master {SEGMENT} up",
            pid = namespace.pid()
        ))?;
        namespace.ip(&format!("link set {device} up\n{more}"))?;
        without_offloads(namespace, device)?;
        without_offloads(&self.segment, port)
    }
}

/// A host outside.
#[derive(Debug)]
pub struct Host {
    namespace: Namespace,
}

impl Host {
    /// Its network namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Sends one request to `address` and returns who answered; see [`ask`].
    ///
    /// # Errors
    /// How it failed.
    pub fn ask(&self, protocol: Protocol, address: SocketAddr) -> Result<Reply, AskError> {
        ask(&self.namespace, protocol, address)
    }

    /// Opens a TCP connection that can be asked again and again; see [`connect`].
    ///
    /// # Errors
    /// How it failed.
    pub fn connect(&self, address: SocketAddr) -> Result<Connection, AskError> {
        connect(&self.namespace, address)
    }

    /// Opens a UDP socket that can be asked again and again; see [`flow`].
    ///
    /// # Errors
    /// How it failed.
    pub fn flow(&self, address: SocketAddr) -> Result<Flow, AskError> {
        flow(&self.namespace, address)
    }

    /// Does something that may break the way to `address`, and measures how long new TCP connections do not work: one is
    /// opened twenty times a second, from before the fault until twenty in a row after it were answered promptly. The clock
    /// starts with `fault`; zero means that nobody noticed.
    ///
    /// # Errors
    /// Those of `fault`, and if the way is not there again [`PATIENCE`] after it.
    pub fn outage(
        &self,
        address: SocketAddr,
        fault: impl FnOnce() -> Result<()>,
    ) -> Result<Duration> {
        thread::scope(|scope| {
            let (done, ended) = mpsc::channel();
            let began = Instant::now();
            let watcher = scope.spawn(move || self.watch(address, began, &ended));
            let fault = fault();
            match fault {
                // A watcher that has given up says so itself.
                Ok(()) => drop(done.send(())),
                Err(_) => drop(done),
            }
            let outage = watcher
                .join()
                .unwrap_or_else(|_| Err(anyhow!("the watcher panicked")));
            fault.and(outage)
        })
    }

    /// Opens connections until the fault has `ended` and twenty in a row since were answered; returns when the first of them
    /// all began.
    fn watch(
        &self,
        address: SocketAddr,
        began: Instant,
        ended: &mpsc::Receiver<()>,
    ) -> Result<Duration> {
        let (told, answers) = mpsc::channel();
        thread::scope(|scope| {
            // When each attempt began, and whether it was answered promptly.
            let mut attempts: Vec<(Duration, bool)> = Vec::new();
            // When the fault had ended, and the number of the next attempt.
            let mut fault: Option<(Duration, usize)> = None;
            loop {
                let number = attempts.len();
                if fault.is_none() {
                    match ended.try_recv() {
                        Ok(()) => fault = Some((began.elapsed(), number)),
                        Err(TryRecvError::Empty) => {}
                        Err(TryRecvError::Disconnected) => bail!("the fault did not come to pass"),
                    }
                }
                attempts.push((began.elapsed(), false));
                let told = told.clone();
                scope.spawn(move || {
                    let since = Instant::now();
                    let answered = self.ask(Protocol::Tcp, address).is_ok();
                    // The receiver is gone once the outage is over: then nobody asks.
                    let _ = told.send((number, answered && since.elapsed() < PROMPT));
                });
                thread::sleep(BEAT);
                for (number, prompt) in answers.try_iter() {
                    if let Some(attempt) = attempts.get_mut(number) {
                        attempt.1 = prompt;
                    }
                }
                let Some((end, next)) = fault else { continue };
                // The newest may still be under way.
                let finished = attempts
                    .iter()
                    .rposition(|(_, prompt)| *prompt)
                    .map_or(0, |last| last + 1);
                let good = attempts[..finished]
                    .iter()
                    .rev()
                    .take_while(|(_, prompt)| *prompt)
                    .count();
                if good >= STEADY && finished >= next + STEADY {
                    let first = finished - good;
                    return Ok(if first == 0 {
                        Duration::ZERO
                    } else {
                        attempts[first].0
                    });
                }
                ensure!(
                    began.elapsed() < end + PATIENCE,
                    "{address} does not answer any more: {good} of {} connections",
                    attempts.len()
                );
            }
        })
    }

    /// Whether somebody on the segment answers for this address: ARP, or ND for an IPv6 one.
    ///
    /// # Errors
    /// If ip(8) fails.
    pub fn resolves(&self, address: std::net::IpAddr) -> Result<bool> {
        // Without memory of an earlier answer; then any packet makes the kernel ask.
        let _ = self
            .namespace
            .run("ip", &["neigh", "del", &address.to_string(), "dev", "eth0"]);
        let _ = self.ask(Protocol::Tcp, SocketAddr::new(address, 9));
        let told = self.namespace.run(
            "ip",
            &["neigh", "show", &address.to_string(), "dev", "eth0"],
        )?;
        Ok(told.contains("lladdr"))
    }
}
