//! A chassis: a network namespace with Open vSwitch and ovn-controller, on the bridge that joins all of them.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use super::datapath::Datapath;
use super::namespace::Namespace;
use super::socket;
use crate::process::{Process, run};
use crate::release::Release;

/// The bridge between the chassis' tunnel ports; its name need only be unique within its namespace.
const BRIDGE: &str = "underlay";

/// The Open vSwitch bridge that has a chassis' tunnel address, on the userspace datapath.
const TUNNELS: &str = "br-phys";

/// Makes the namespace that holds the bridge.
pub(super) fn underlay(dir: &Path) -> Result<Namespace> {
    let namespace = Namespace::new(BRIDGE, dir)?;
    namespace.ip(&format!(
        "link add {BRIDGE} type bridge\nlink set {BRIDGE} up"
    ))?;
    Ok(namespace)
}

/// One chassis: a node or a gateway.
#[derive(Debug)]
pub struct Chassis {
    name: String,
    datapath: Datapath,
    dir: PathBuf,
    tunnel_address: String,
    mac: String,
    ports: AtomicU32,
    // In the order in which they are to go.
    controller: Process,
    vswitchd: Process,
    ovsdb: Process,
    namespace: Namespace,
}

impl Chassis {
    /// Starts everything; `number` (1 to 250) makes its addresses.
    pub(super) fn start(
        release: &Release,
        datapath: Datapath,
        name: &str,
        number: u8,
        dir: &Path,
        underlay: &Namespace,
        sb: &str,
    ) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        let namespace = Namespace::new(name, dir)?;
        let mac = format!("0a:00:00:00:ff:{number:02x}");
        underlay.ip(&format!(
            "link add {name} type veth peer name eth0 address {mac} netns {pid}\n\
             link set {name} master {BRIDGE} up",
            pid = namespace.pid()
        ))?;
        namespace.ip("link set eth0 up")?;
        without_offloads(&namespace, "eth0")?;

        let database = dir.join("conf.db");
        run(Command::new("ovsdb-tool")
            .arg("create")
            .arg(&database)
            .arg(release.schema("vswitch")?.path))?;
        let remote = dir.join("db.sock");
        let mut command = daemon(release, &namespace, dir, "ovsdb-server")?;
        let ovsdb = Process::spawn(
            command
                .arg(socket(dir, "ovsdb-server"))
                .arg(format!("--remote=punix:{}", remote.display()))
                .arg(&database),
            dir.join("ovsdb-server.log"),
        )?;
        // The socket's name is there before anybody listens on it.
        ovsdb.wait_until("its socket", || Ok(UnixStream::connect(&remote).is_ok()))?;
        let db = format!("unix:{}", remote.display());

        let tunnel_address = format!("172.31.0.{number}");
        let bridge_type = datapath.bridge_type();
        let mut settings = Command::new("ovs-vsctl");
        settings
            .args([&format!("--db={db}"), "--no-wait", "init", "--"])
            .args(["set", "open_vswitch", "."])
            .arg(format!("external_ids:system-id={name}"))
            .arg(format!("external_ids:hostname={name}"))
            .arg(format!("external_ids:ovn-remote=\"{sb}\""))
            .arg("external_ids:ovn-encap-type=geneve")
            .arg(format!("external_ids:ovn-encap-ip={tunnel_address}"))
            .arg(format!(
                "external_ids:ovn-bridge-datapath-type={bridge_type}"
            ))
            .arg("external_ids:ovn-monitor-all=true")
            .args(["--", "add-br", "br-int", "--", "set", "bridge", "br-int"])
            .arg(format!("datapath_type={bridge_type}"))
            .arg("fail-mode=secure");
        // The kernel routes its tunnels' packets as it does all others. The userspace datapath does it itself: the
        // tunnel address sits on a bridge of its own.
        let tunnel_device = match datapath {
            Datapath::Kernel => "eth0",
            Datapath::Userspace => {
                settings
                    .args(["--", "add-br", TUNNELS, "--", "set", "bridge", TUNNELS])
                    .arg(format!("datapath_type={bridge_type}"))
                    .arg(format!("other_config:hwaddr=\"{mac}\""))
                    .args(["--", "add-port", TUNNELS, "eth0"]);
                TUNNELS
            }
        };
        run(&mut settings)?;
        let vswitchd = Process::spawn(
            daemon(release, &namespace, dir, "ovs-vswitchd")?
                .arg(socket(dir, "ovs-vswitchd"))
                .arg(&db),
            dir.join("ovs-vswitchd.log"),
        )?;
        // Any change that waits returns once ovs-vswitchd has made the bridges.
        vsctl(&db, &["set", "open_vswitch", ".", "external_ids:lab=ready"])
            .with_context(|| format!("waiting for ovs-vswitchd; its log:\n{}", text(&vswitchd)))?;
        namespace.ip(&format!(
            "addr add {tunnel_address}/24 dev {tunnel_device}\nlink set {tunnel_device} up"
        ))?;
        // It has no option for its control socket: that is ovn-controller.PID.ctl in its run directory.
        let controller = Process::spawn(
            daemon(release, &namespace, dir, "ovn-controller")?.arg(&db),
            dir.join("ovn-controller.log"),
        )?;
        Ok(Self {
            name: name.to_owned(),
            datapath,
            dir: dir.to_path_buf(),
            tunnel_address,
            mac,
            ports: AtomicU32::new(0),
            controller,
            vswitchd,
            ovsdb,
            namespace,
        })
    }

    /// Its name: the chassis' system-id and hostname.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address that tunnels end on.
    pub fn tunnel_address(&self) -> &str {
        &self.tunnel_address
    }

    /// The node's own network namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// ovn-controller, to stop it or to read its log.
    pub fn controller(&self) -> &Process {
        &self.controller
    }

    /// ovs-vswitchd, to stop it or to read its log.
    pub fn vswitchd(&self) -> &Process {
        &self.vswitchd
    }

    /// Runs ovs-vsctl on this chassis' Open vSwitch and returns what it prints.
    ///
    /// # Errors
    /// If it fails, with its words.
    pub fn vsctl(&self, arguments: &[&str]) -> Result<String> {
        vsctl(&self.remote(), arguments)
    }

    /// Runs ovs-appctl on this chassis' ovs-vswitchd and returns what it prints.
    ///
    /// # Errors
    /// If it fails, with its words.
    pub fn appctl(&self, arguments: &[&str]) -> Result<String> {
        run(Command::new("ovs-appctl")
            .arg(format!("--target={}", self.control().display()))
            .args(arguments))
    }

    /// How many of its tunnels are watched by BFD as closely as they are to be: both ends are up, and have told each other
    /// their pace. Until then an end sends once a second at most (RFC 5880, 6.8.3), and its death is noticed only after
    /// several of those.
    ///
    /// # Errors
    /// If ovs-appctl fails.
    pub fn watched(&self) -> Result<usize> {
        let shown = self.appctl(&["bfd/show"])?;
        let watched = |session: &&str| {
            let told = |key: &str| {
                let mut lines = session.lines();
                lines.find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "))
            };
            let up = ["Local Session State", "Remote Session State"];
            let paced = ["TX Interval", "RX Interval"];
            up.iter().all(|end| told(end) == Some("up"))
                && paced
                    .iter()
                    .all(|pace| told(pace).is_some_and(|pace| pace != "Approx 1000ms"))
        };
        Ok(shown.split("---- ").filter(watched).count())
    }

    /// Tells the userspace datapath where another chassis' tunnels end. Else it would drop the first packet to it and
    /// ask by ARP; the kernel keeps that packet.
    pub(super) fn knows(&self, other: &Self) -> Result<()> {
        if self.datapath == Datapath::Kernel {
            return Ok(());
        }
        let words = ["tnl/neigh/set", TUNNELS, &other.tunnel_address, &other.mac];
        self.appctl(&words).map(drop)
    }

    /// Loses what it sends through its tunnel to another chassis, or not any more; all others it reaches as before.
    ///
    /// # Errors
    /// If ip or ovs-ofctl fails.
    pub fn loses(&self, other: &Self, lost: bool) -> Result<()> {
        let address = &other.tunnel_address;
        match self.datapath {
            Datapath::Kernel => {
                let verb = if lost { "add" } else { "del" };
                self.namespace
                    .ip(&format!("route {verb} blackhole {address}/32"))
            }
            Datapath::Userspace => {
                let bridge = format!("unix:{}/{TUNNELS}.mgmt", self.dir.display());
                let matched = format!("ip,nw_dst={address}");
                let mut command = Command::new("ovs-ofctl");
                match lost {
                    true => command
                        .args(["add-flow", &bridge])
                        .arg(format!("priority=9,{matched},actions=drop")),
                    false => command.args(["del-flows", &bridge, &matched]),
                };
                run(&mut command).map(drop)
            }
        }
    }

    /// Where its ovsdb-server listens.
    pub fn remote(&self) -> String {
        format!("unix:{}/db.sock", self.dir.display())
    }

    /// The control socket of its ovs-vswitchd.
    pub fn control(&self) -> PathBuf {
        self.dir.join("ovs-vswitchd.ctl")
    }

    /// The directory of its files.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A device name not yet used on this chassis.
    pub(super) fn next_device(&self) -> String {
        format!("port{}", self.ports.fetch_add(1, Ordering::Relaxed))
    }

    /// The end of ovn-controller's log.
    pub(super) fn log_tail(&self) -> String {
        let log = text(&self.controller);
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// The logs of its programs, each with a name.
    pub(super) fn logs(&self) -> Vec<(String, String)> {
        [&self.controller, &self.vswitchd, &self.ovsdb]
            .map(|process| {
                let log = process.log().file_stem().unwrap_or_default();
                (
                    format!("{} {}", self.name, log.to_string_lossy()),
                    text(process),
                )
            })
            .into()
    }
}

/// Turns off what the userspace datapath lacks on a device that faces it, on either end of the pair; the kernel's works
/// without as well.
pub(super) fn without_offloads(namespace: &Namespace, device: &str) -> Result<()> {
    namespace
        .run(
            "ethtool",
            &[
                "-K", device, "tx", "off", "tso", "off", "gso", "off", "gro", "off",
            ],
        )
        .map(drop)
}

fn text(process: &Process) -> String {
    process.output().unwrap_or_default()
}

/// One of the daemons inside the chassis' namespace, all its files in `dir`, its log on its output.
fn daemon(release: &Release, namespace: &Namespace, dir: &Path, program: &str) -> Result<Command> {
    let mut command = namespace.inside(&release.command(program)?);
    command
        .args(["-vconsole:info", "-vsyslog:off", "-vfile:off"])
        .arg("-vPATTERN:console:%D{%Y-%m-%dT%H:%M:%S.###Z}|%05N|%c%T|%p|%m")
        .env("OVS_RUNDIR", dir)
        .env("OVN_RUNDIR", dir);
    Ok(command)
}

fn vsctl(db: &str, arguments: &[&str]) -> Result<String> {
    run(Command::new("ovs-vsctl")
        .args([&format!("--db={db}"), "--timeout=60"])
        .args(arguments))
}
