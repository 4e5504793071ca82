//! What the tests play in: two VPCs with the same ranges, and short ways to say pods, virtual NICs and services.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use serde_json::Value;
use yusur_testbed::controller::Controller;
use yusur_testbed::lab::{AskError, Lab, Protocol, Reply, Server, Workload};
use yusur_testbed::process::poll;
use yusur_testbed::programs;
use yusur_testbed::release::Release;

/// Where workloads run.
pub(crate) const NODES: [&str; 2] = ["node1", "node2"];

/// The port every workload serves over TCP.
pub(crate) const TCP: u16 = 8080;

/// The port every workload serves over UDP.
pub(crate) const UDP: u16 = 5353;

/// The VPCs `blue` and `red`, each for the namespace of its name, and alike in everything else.
const NETWORKS: [&str; 2] = ["blue", "red"];

fn network(vpc: &str, namespaces: &str) -> String {
    format!(
        "\
apiVersion: v1
kind: Namespace
metadata: {{name: {vpc}}}
---
apiVersion: yusur.io/v1alpha1
kind: Vpc
metadata: {{name: {vpc}}}
spec:
  serviceCIDRs: [10.96.0.0/16, \"fd00:96::/112\"]
  allowedNamespaces: {{names: [{namespaces}]}}
---
apiVersion: yusur.io/v1alpha1
kind: Subnet
metadata: {{name: {vpc}-front}}
spec:
  vpc: {vpc}
  cidrs: [10.0.1.0/24, \"fd00:1::/64\"]
  defaultForNamespaces: {{names: [{vpc}]}}
---
apiVersion: yusur.io/v1alpha1
kind: Subnet
metadata: {{name: {vpc}-back}}
spec:
  vpc: {vpc}
  cidrs: [10.0.2.0/24, \"fd00:2::/64\"]
"
    )
}

/// A lab, the controller, and what the test has made so far.
pub(crate) struct World<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) controller: Controller,
    generation: Cell<i64>,
}

impl World<'_> {
    /// Builds the world, hands it to `test`, and shows the logs where that fails.
    pub(crate) fn run(test: impl FnOnce(&mut World<'_>) -> Result<()>) -> Result<()> {
        Self::run_on(&Release::chosen()?, &NODES, &[], test)
    }

    /// The same with this release and these chassis, in an OVN where somebody has set these options of `NB_Global` before
    /// the controller starts.
    pub(crate) fn run_on(
        release: &Release,
        chassis: &[&str],
        options: &[&str],
        test: impl FnOnce(&mut World<'_>) -> Result<()>,
    ) -> Result<()> {
        static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        let program = PROGRAM
            .get_or_init(|| {
                programs::build("yusur-controller").map_err(|error| format!("{error:#}"))
            })
            .clone()
            .map_err(anyhow::Error::msg)?;
        Lab::run_on(release, chassis, |lab| {
            for option in options {
                lab.nbctl(&["set", "NB_Global", ".", &format!("options:{option}")])?;
            }
            let controller = Controller::start(&program, lab.nb(), lab.sb())?;
            for vpc in NETWORKS {
                controller.save(&format!("network-{vpc}.yaml"), &network(vpc, vpc))?;
            }
            let mut world = World {
                lab,
                controller,
                generation: Cell::new(1),
            };
            let outcome = test(&mut world);
            if outcome.is_err() {
                let log = world.controller.process().output()?;
                eprintln!("The controller's log:\n{log}");
            }
            outcome
        })
    }

    /// A VPC more, with the ranges of the others, that has joined an EIP gateway; for the namespace of its name.
    pub(crate) fn join(&self, vpc: &str, gateway: &str) -> Result<()> {
        let manifest = network(vpc, vpc).replacen(
            "  serviceCIDRs",
            &format!("  eipGateway: {gateway}\n  serviceCIDRs"),
            1,
        );
        self.controller
            .save(&format!("network-{vpc}.yaml"), &manifest)?;
        self.controller.wait_for(&format!("vpc/{vpc}"), |status| {
            status["eipGateway"] == gateway
        })?;
        Ok(())
    }

    /// Lets services of these namespaces (`blue, red`) use a VPC.
    pub(crate) fn allow(&self, vpc: &str, namespaces: &str) -> Result<()> {
        let file = format!("network-{vpc}.yaml");
        self.controller.save(&file, &network(vpc, namespaces))
    }

    /// Saves an object of ours and waits until its rows are there and every node forwards by them; returns its status.
    /// `manifest` says kind, metadata (without generation) and spec.
    pub(crate) fn object(&self, object: &str, file: &str, manifest: &str) -> Result<Value> {
        let generation = self.generation.get() + 1;
        self.generation.set(generation);
        let manifest = manifest.replacen(
            "metadata: {",
            &format!("metadata: {{generation: {generation}, "),
            1,
        );
        self.controller
            .save(file, &format!("apiVersion: yusur.io/v1alpha1\n{manifest}"))?;
        let status = self
            .controller
            .wait_for_condition(object, generation, "Programmed")?;
        self.lab.sync()?;
        Ok(status)
    }

    /// Makes a Pod with these labels (`{app: web}`), on a node, in the VPC that has its namespace's name.
    pub(crate) fn pod(&self, name: &str, node: &str, labels: &str) -> Result<Guest> {
        self.pod_with(name, node, labels, "")?;
        self.plugged("pod", name, node)
    }

    /// Writes a Pod's manifest; `more` are further lines of metadata (indented by two) and status.
    pub(crate) fn pod_with(&self, name: &str, node: &str, labels: &str, more: &str) -> Result<()> {
        let (namespace, pod) = split(name)?;
        self.controller.save(
            &format!("pod-{namespace}-{pod}.yaml"),
            &format!(
                "\
apiVersion: v1
kind: Pod
metadata:
  name: {pod}
  namespace: {namespace}
  labels: {labels}
{more}
spec:
  nodeName: {node}
  containers:
    - name: main
      ports: [{{name: http, containerPort: {TCP}}}, {{name: metrics, containerPort: {UDP}, protocol: UDP}}]
"
            ),
        )
    }

    /// Takes a Pod's manifest away; its workload goes on running.
    pub(crate) fn delete_pod(&self, name: &str) -> Result<()> {
        let (namespace, pod) = split(name)?;
        self.controller
            .delete(&format!("pod-{namespace}-{pod}.yaml"))
    }

    /// Makes a VNic in the VPC's subnet `back`, with these labels and further lines of spec (indented by two).
    pub(crate) fn vnic(&self, name: &str, node: &str, labels: &str, spec: &str) -> Result<Guest> {
        let (namespace, nic) = split(name)?;
        self.controller.save(
            &format!("vnic-{namespace}-{nic}.yaml"),
            &format!(
                "\
apiVersion: yusur.io/v1alpha1
kind: VNic
metadata: {{name: {nic}, namespace: {namespace}, labels: {labels}}}
spec:
  subnet: {namespace}-back
  node: {node}
{spec}
"
            ),
        )?;
        self.plugged("vnic", name, node)
    }

    /// Plugs a unit that has been written, and serves.
    pub(crate) fn plugged(&self, unit: &str, name: &str, node: &str) -> Result<Guest> {
        let workload = self
            .controller
            .attach(self.lab, node, &format!("{unit}/{name}"))?;
        let ports = [(Protocol::Tcp, TCP), (Protocol::Udp, UDP)];
        Ok(Guest {
            server: Server::start(workload.namespace(), name, &ports)?,
            workload,
        })
    }

    /// Makes or changes a service (lines of spec, indented by two), and waits until every node forwards by it.
    pub(crate) fn service(&self, name: &str, spec: &str) -> Result<Value> {
        let (namespace, service) = split(name)?;
        // The manifest says its generation itself, so that the status that answers this change can be told.
        let generation = self.generation.get() + 1;
        self.generation.set(generation);
        self.controller.save(
            &format!("service-{namespace}-{service}.yaml"),
            &format!(
                "\
apiVersion: yusur.io/v1alpha1
kind: YusurService
metadata: {{name: {service}, namespace: {namespace}, generation: {generation}}}
spec:
  vpc: {namespace}
{spec}
"
            ),
        )?;
        let object = format!("yusurservice/{name}");
        let status = self
            .controller
            .wait_for_condition(&object, generation, "Programmed")?;
        self.lab.sync()?;
        Ok(status)
    }

    /// Takes a service's manifest away.
    pub(crate) fn delete_service(&self, name: &str) -> Result<()> {
        let (namespace, service) = split(name)?;
        self.controller
            .delete(&format!("service-{namespace}-{service}.yaml"))
    }

    /// Waits until a service has that many ready backends and every node forwards by it.
    pub(crate) fn ready(&self, service: &str, count: usize) -> Result<()> {
        self.controller
            .wait_for(&format!("yusurservice/{service}"), |status| {
                status["backends"]["ready"] == count
            })?;
        self.lab.sync()
    }
}

/// A workload that serves [`TCP`] and [`UDP`] under its own name.
pub(crate) struct Guest {
    server: Server,
    workload: Workload,
}

impl Guest {
    /// Serves one more port.
    pub(crate) fn serve(&self, protocol: Protocol, port: u16) -> Result<Server> {
        Server::start(self.namespace(), self.server.name(), &[(protocol, port)])
    }

    /// Who answered how often, over `count` requests, each from a new source port.
    pub(crate) fn survey(
        &self,
        protocol: Protocol,
        address: &str,
        count: usize,
    ) -> Result<BTreeMap<String, usize>> {
        let address = address.parse::<SocketAddr>()?;
        let mut answered = BTreeMap::new();
        for _ in 0..count {
            let reply = self
                .ask(protocol, address)
                .with_context(|| format!("{} asks {address}/{protocol}", self.name()))?;
            *answered.entry(reply.who).or_default() += 1;
        }
        Ok(answered)
    }

    /// Who answers at all, over enough requests that any of `expected` would miss its turn only once in a billion runs.
    pub(crate) fn who(
        &self,
        protocol: Protocol,
        address: &str,
        expected: &[&str],
    ) -> Result<Vec<String>> {
        // The chance that one of n equal backends is not chosen in k requests is at most n (1 - 1/n)^k.
        let n = expected.len().max(2) as f64;
        let count = ((1e9 * n).ln() / -(1.0 - 1.0 / n).ln()).ceil() as usize;
        Ok(self.survey(protocol, address, count)?.into_keys().collect())
    }

    /// One request over TCP.
    pub(crate) fn tcp(&self, address: &str) -> Result<String, AskError> {
        let address = address
            .parse()
            .map_err(|_| AskError::Other(format!("the address {address}")))?;
        self.ask(Protocol::Tcp, address).map(|reply| reply.who)
    }
}

impl Deref for Guest {
    type Target = Workload;

    fn deref(&self) -> &Workload {
        &self.workload
    }
}

/// Who answers first, where requests before may be lost without a sign.
pub(crate) fn first_answer(mut ask: impl FnMut() -> Result<Reply, AskError>) -> Result<String> {
    let mut who = None;
    poll(|| match ask() {
        Ok(reply) => {
            who = Some(reply.who);
            Ok(true)
        }
        Err(AskError::Silence) => Ok(false),
        Err(error) => Err(error.into()),
    })?;
    who.context("nobody answered")
}

fn split(name: &str) -> Result<(&str, &str)> {
    name.split_once('/')
        .with_context(|| format!("{name} is not NAMESPACE/NAME"))
}
