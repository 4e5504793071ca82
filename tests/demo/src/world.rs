//! What the story plays in: OVN central, three nodes and three gateways, a network outside, the controller, and workloads
//! of every kind.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use yusur_testbed::controller::{Controller, condition};
use yusur_testbed::lab::{Host, Lab, Outside, Protocol, Server, Workload};
use yusur_testbed::ovsdb::Standalone;
use yusur_testbed::process::run;
use yusur_testbed::release::Release;

/// The machines.
const NODES: [&str; 6] = [
    "node1", "node2", "node3", "gateway1", "gateway2", "gateway3",
];

/// The physical network of `outside.yaml`, the machines on it, and the gateway onto it.
const NETWORK: &str = "internet";
pub(crate) const GATEWAYS: [&str; 3] = ["gateway1", "gateway2", "gateway3"];
pub(crate) const GATEWAY: &str = "eipgateway/internet";

/// The client on that network, and the name it goes by.
pub(crate) const STRANGER: (&str, &str) = ("stranger", "192.0.2.200");

/// The manifests, in the order they are shown in.
const MANIFESTS: [(&str, &str); 5] = [
    (
        "01-networks.yaml",
        include_str!("../../../manifests/examples/shop/01-networks.yaml"),
    ),
    (
        "02-workloads.yaml",
        include_str!("../../../manifests/examples/shop/02-workloads.yaml"),
    ),
    (
        "03-services.yaml",
        include_str!("../../../manifests/examples/shop/03-services.yaml"),
    ),
    ("clients.yaml", include_str!("../clients.yaml")),
    ("outside.yaml", include_str!("../outside.yaml")),
];

/// A workload of the manifests: its unit, where it runs, what it is, and the ports it serves (none: it only asks).
struct Cast {
    unit: &'static str,
    node: &'static str,
    what: &'static str,
    ports: &'static [(Protocol, u16)],
}

const POD: &[(Protocol, u16)] = &[(Protocol::Tcp, 8080)];
const MACHINE: &[(Protocol, u16)] = &[
    (Protocol::Tcp, 80),
    (Protocol::Tcp, 8080),
    (Protocol::Udp, 5353),
];

const CAST: [Cast; 10] = [
    Cast::new("pod/shop/web-1", "node1", "Pod", POD),
    Cast::new("pod/shop/web-2", "node2", "Pod", POD),
    Cast::new("vnic/shop/vm-1", "node2", "virtual machine", MACHINE),
    Cast::new("vnic/shop/bm-1", "node3", "bare-metal server", MACHINE),
    Cast::new(
        "vnic/shop/appliance-1",
        "node3",
        "bare virtual NIC",
        MACHINE,
    ),
    Cast::new("pod/shop/client", "node1", "Pod, asks", &[]),
    Cast::new("pod/shop/visitor", "gateway2", "Pod, asks", &[]),
    Cast::new("pod/bank/ledger-1", "node1", "Pod", POD),
    Cast::new("vnic/bank/ledger-vm", "node2", "virtual machine", MACHINE),
    Cast::new("pod/bank/client", "node3", "Pod, asks", &[]),
];

impl Cast {
    const fn new(
        unit: &'static str,
        node: &'static str,
        what: &'static str,
        ports: &'static [(Protocol, u16)],
    ) -> Self {
        Self {
            unit,
            node,
            what,
            ports,
        }
    }

    /// `shop/web-1` of `pod/shop/web-1`.
    fn name(&self) -> &'static str {
        self.unit
            .split_once('/')
            .map_or(self.unit, |(_, name)| name)
    }
}

/// All of it, running.
pub(crate) struct World {
    /// What answers; a server taken out is a process that died.
    servers: Mutex<BTreeMap<&'static str, Server>>,
    workloads: BTreeMap<&'static str, Workload>,
    pub(crate) controller: Controller,
    /// The client outside.
    pub(crate) stranger: Host,
    _outside: Outside,
    pub(crate) lab: Lab,
    /// It runs a newer OVN than the machine's own, which may not have all that the story tells of.
    pub(crate) newest: bool,
}

impl World {
    /// Starts everything, saying what it does.
    pub(crate) fn build(controller: &Path) -> Result<Self> {
        ensure!(
            controller.exists(),
            "{} is not there: `make demo` builds it, as does `cargo build -p yusur-controller`",
            controller.display()
        );
        let release = Release::chosen()?;
        let newest = release != Release::installed();
        println!(
            "{}, {}",
            version(&release, "ovn-northd")?,
            version(&release, "ovs-vswitchd")?
        );
        let lab = step(
            "OVN central, three nodes and three gateways, each a network namespace with its own Open vSwitch",
            || Lab::start_on(&release, &NODES),
        )?;
        let (outside, stranger) = step(
            "a physical network that the gateways are on, and a client there",
            || {
                let outside = Outside::new(&lab, NETWORK, &GATEWAYS)?;
                let addresses = [STRANGER.1, "192.0.2.254"].map(|address| format!("{address}/24"));
                let addresses = addresses.each_ref().map(String::as_str);
                let stranger = outside.host(&lab, STRANGER.0, &addresses, "")?;
                Ok((outside, stranger))
            },
        )?;
        let controller = step(
            "yusur-controller on a directory with the manifests of manifests/examples/shop",
            || start(controller, lab.nb(), lab.sb()),
        )?;
        let (workloads, servers) =
            step("workloads of every kind, plugged into their nodes", || {
                populate(&lab, &controller)
            })?;
        step("every node forwards by what the manifests say", || {
            lab.sync()
        })?;
        let world = Self {
            servers: Mutex::new(servers),
            workloads,
            controller,
            stranger,
            _outside: outside,
            lab,
            newest,
        };
        world.introduce();
        Ok(world)
    }

    /// A workload by its namespace and name.
    pub(crate) fn workload(&self, name: &str) -> Result<&Workload> {
        self.workloads
            .get(name)
            .with_context(|| format!("there is no workload {name}"))
    }

    /// Ends what a workload serves, as a crash of its process does.
    pub(crate) fn crash(&self, name: &str) {
        let mut servers = self
            .servers
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        servers.remove(name);
    }

    /// Changes one object of a manifest: `lines` are added to the document of this kind that names it.
    pub(crate) fn amend(
        &self,
        file: &str,
        (kind, object): (&str, &str),
        lines: &str,
    ) -> Result<()> {
        let path = self.controller.manifests().join(file);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        let (kind, name) = (format!("\nkind: {kind}\n"), format!("\n  name: {object}\n"));
        ensure!(text.contains(&name), "{file} has no object {object}");
        let documents: Vec<String> = text
            .split("\n---\n")
            .map(|document| {
                let is_it = document.contains(&kind) && document.contains(&name);
                format!(
                    "{document}{}{}",
                    if is_it { "\n" } else { "" },
                    if is_it { lines } else { "" }
                )
            })
            .collect();
        self.controller.save(file, &documents.join("\n---\n"))
    }

    /// The last lines of the controller's log.
    pub(crate) fn controller_log(&self) -> String {
        let log = self.controller.process().output().unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Who is who.
    fn introduce(&self) {
        let mut table = crate::story::table(["WORKLOAD", "IS A", "ON", "ADDRESSES"]);
        for cast in &CAST {
            let Some(workload) = self.workloads.get(cast.name()) else {
                continue;
            };
            let addresses: Vec<_> = workload
                .addresses()
                .iter()
                .map(ToString::to_string)
                .collect();
            let addresses = addresses.join(", ");
            table.add_row([cast.name(), cast.what, workload.chassis(), &addresses]);
        }
        println!("\n{}", table.trim_fmt());
    }

    /// How to look around in what keeps running.
    pub(crate) fn invite(&self) {
        println!("\nIt keeps running until Ctrl-C. In another terminal, as root:");
        println!("  ovn-nbctl --db={} show", self.lab.nb().unix());
        println!(
            "  ls {}   # edit a manifest, and see",
            self.controller.manifests().display()
        );
        println!("  tail -f {}", self.controller.process().log().display());
        if let Ok(client) = self.workload("shop/client") {
            println!(
                "  nsenter --net=/proc/{}/ns/net curl -s http://10.96.0.10/   # as shop/client",
                client.namespace().pid()
            );
        }
    }
}

/// Starts the controller, gives it the manifests, and waits until all services stand in the Northbound.
fn start(program: &Path, nb: &Standalone, sb: &Standalone) -> Result<Controller> {
    let controller = Controller::start(program, nb, sb)?;
    for (file, text) in MANIFESTS {
        controller.save(file, text)?;
    }
    for service in [
        "shop/web",
        "shop/web-dual",
        "shop/telemetry",
        "shop/coming-soon",
        "bank/ledger",
        "shop/www",
        "bank/www",
    ] {
        controller.wait_for(&format!("yusurservice/{service}"), |status| {
            condition(status, "Programmed") == Some("True")
        })?;
    }
    Ok(controller)
}

type Populace = (
    BTreeMap<&'static str, Workload>,
    BTreeMap<&'static str, Server>,
);

/// Plugs every workload in and lets those that serve answer with their names.
fn populate(lab: &Lab, controller: &Controller) -> Result<Populace> {
    let mut workloads = BTreeMap::new();
    let mut servers = BTreeMap::new();
    for cast in &CAST {
        let workload = controller.attach(lab, cast.node, cast.unit)?;
        if !cast.ports.is_empty() {
            let server = Server::start(workload.namespace(), cast.name(), cast.ports)?;
            servers.insert(cast.name(), server);
        }
        workloads.insert(cast.name(), workload);
    }
    Ok((workloads, servers))
}

/// What a program of a release says of itself in its first line.
fn version(release: &Release, program: &str) -> Result<String> {
    let text = run(release.command(program)?.arg("--version"))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Says what is done, does it, and says how long it took.
fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    print!("  {what} … ");
    std::io::stdout().flush()?;
    let began = Instant::now();
    let result = work();
    match &result {
        Ok(_) => println!("{:.1} s", began.elapsed().as_secs_f64()),
        Err(_) => println!("failed"),
    }
    result
}
