//! The outside of the play: an EIP gateway on a physical network, and hosts there.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use yusur_testbed::lab::{AskError, Host, Outside, Protocol, Reply, Workload};
use yusur_testbed::process::poll;
use yusur_testbed::release::Release;

use crate::world::{Guest, NODES, TCP, UDP, World};

/// Where the gateway is, the preferred one first. Workloads are on other nodes.
pub(crate) const GATEWAYS: [&str; 2] = ["gw1", "gw2"];

/// A client behind the physical network's router, and that router's own addresses on the segment.
pub(crate) const CLIENT: [&str; 2] = ["198.51.100.7", "2001:db8:c::7"];
const ROUTER: [&str; 2] = ["192.0.2.254/24", "2001:db8:e::fe/64"];

fn gateway(nodes: &[&str]) -> String {
    format!(
        "\
kind: EipGateway
metadata: {{name: internet}}
spec:
  cidrs: [192.0.2.0/24, \"2001:db8:e::/64\"]
  nextHops: [192.0.2.254, \"2001:db8:e::fe\"]
  physicalNetwork: outside
  nodes: [{}]
  default: true
",
        nodes.join(", ")
    )
}

/// The lab with a gateway, and two hosts outside: one on the segment, one behind its router.
pub(crate) struct Play<'a, 'b> {
    pub(crate) world: &'a World<'b>,
    _outside: Outside,
    pub(crate) near: Host,
    pub(crate) far: Host,
}

impl<'a, 'b> Play<'a, 'b> {
    pub(crate) fn run(test: impl FnOnce(&Play<'_, '_>) -> Result<()>) -> Result<()> {
        Self::run_on(&Release::chosen()?, test)
    }

    /// The same with this release.
    pub(crate) fn run_on(
        release: &Release,
        test: impl FnOnce(&Play<'_, '_>) -> Result<()>,
    ) -> Result<()> {
        // Nobody dies unasked: on a busy machine a gateway may not get to run for as long as makes it dead to the others,
        // and would be replaced under the test.
        Self::set(release, &["bfd-mult=25"], test)
    }

    /// The same where a gateway is noticed to be dead as soon as the controller would have it.
    pub(crate) fn run_watched_closely(
        release: &Release,
        test: impl FnOnce(&Play<'_, '_>) -> Result<()>,
    ) -> Result<()> {
        Self::set(release, &[], test)
    }

    fn set(
        release: &Release,
        options: &[&str],
        test: impl FnOnce(&Play<'_, '_>) -> Result<()>,
    ) -> Result<()> {
        let chassis: Vec<&str> = NODES.iter().chain(&GATEWAYS).copied().collect();
        World::run_on(release, &chassis, options, |world| {
            let lab = world.lab;
            let outside = Outside::new(lab, "outside", &GATEWAYS)?;
            let near = outside.host(lab, "near", &["192.0.2.200/24", "2001:db8:e::c8/64"], "")?;
            // The router is a client itself, by an address that is only reached through it.
            let far = outside.host(
                lab,
                "far",
                &ROUTER,
                &format!(
                    "addr add {}/32 dev lo\naddr add {}/128 dev lo nodad\n\
                     route replace 192.0.2.0/25 dev eth0 src {}\n\
                     route replace 2001:db8:e::/120 dev eth0 src {}\n",
                    CLIENT[0], CLIENT[1], CLIENT[0], CLIENT[1]
                ),
            )?;
            world.object("eipgateway/internet", "gateway.yaml", &gateway(&GATEWAYS))?;
            let play = Play {
                world,
                _outside: outside,
                near,
                far,
            };
            // Until the gateways have heard each other, each may take the other for dead, and the port.
            play.joined(&[])?;
            test(&play)
        })
    }

    /// Waits until the gateways and these nodes, which run workloads of VPCs that have joined the gateway, watch each other.
    /// Until then a node may take the gateway that serves for dead, and send what is for it to the other.
    pub(crate) fn joined(&self, nodes: &[&str]) -> Result<()> {
        for name in GATEWAYS.iter().chain(nodes) {
            poll(|| self.watches(name, nodes))
                .with_context(|| format!("{name} does not watch its tunnels"))?;
        }
        Ok(())
    }

    /// Whether a chassis watches all that it is to: a gateway the other one and these nodes, a node the gateways.
    pub(crate) fn watches(&self, name: &str, nodes: &[&str]) -> Result<bool> {
        let others = match GATEWAYS.contains(&name) {
            true => GATEWAYS.len() - 1 + nodes.len(),
            false => GATEWAYS.len(),
        };
        Ok(self.world.lab.node(name)?.watched()? == others)
    }

    /// Says in which order the gateway nodes are to serve.
    pub(crate) fn prefer(&self, nodes: &[&str]) -> Result<()> {
        let manifest = format!("apiVersion: yusur.io/v1alpha1\n{}", gateway(nodes));
        self.world.controller.save("gateway.yaml", &manifest)
    }

    /// Says where the service gateway is to be.
    pub(crate) fn place_service_gateway(&self, placement: &str) -> Result<()> {
        let spec = format!("  serviceGateway: {{placement: {placement}}}\n");
        let manifest = format!("{}{spec}", gateway(&GATEWAYS));
        let object = "eipgateway/internet";
        self.world.object(object, "gateway.yaml", &manifest)?;
        Ok(())
    }

    /// Says by Kubernetes' label whether a Node is kept out of service.
    pub(crate) fn keep_out(&self, node: &str, out: bool) -> Result<()> {
        let label = match out {
            true => "node.kubernetes.io/exclude-from-external-load-balancers: \"\"",
            false => "",
        };
        let manifest = format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: {node}, labels: {{{label}}}}}\n"
        );
        self.world
            .controller
            .save(&format!("node-{node}.yaml"), &manifest)
    }

    /// The gateway node that serves, by what OVN says; empty while there is none.
    pub(crate) fn serving(&self) -> Result<String> {
        let lab = self.world.lab;
        let port = "logical_port=\"cr-yusur:yusur:eipgateway/internet/outside-router\"";
        let chassis = lab.sbctl(&["--bare", "--columns=chassis", "find", "Port_Binding", port])?;
        let chassis = chassis.trim();
        if chassis.is_empty() {
            return Ok(String::new());
        }
        let name = lab.sbctl(&["--bare", "get", "Chassis", chassis, "name"])?;
        Ok(name.trim().trim_matches('"').to_owned())
    }

    /// A service of the namespace and VPC `vpc`, over TCP and UDP, with these lines about its external address (indented
    /// by two). Its backends are the Pods with the label `app: NAME`.
    pub(crate) fn service(&self, name: &str, eip: &str) -> Result<Vec<SocketAddr>> {
        let (_, app) = name.split_once('/').context("a namespace")?;
        let status = self.world.service(
            name,
            &format!(
                "{eip}
  ipFamilyPolicy: RequireDualStack
  ports: [{{name: a, port: 80, targetPort: {TCP}}}, {{name: b, port: 53, targetPort: {UDP}, protocol: UDP}}]
  backends: [{{kind: Pod, selector: {{matchLabels: {{app: {app}}}}}}}]"
            ),
        )?;
        let eips = status["eips"].as_array().context("eips")?;
        let eips = eips.iter().filter_map(|eip| eip.as_str());
        eips.map(|eip| Ok(SocketAddr::new(eip.parse()?, 80)))
            .collect()
    }
}

/// Who asks: a host outside, or a workload.
pub(crate) trait Client {
    fn ask(&self, protocol: Protocol, address: SocketAddr) -> Result<Reply, AskError>;
}

impl Client for Host {
    fn ask(&self, protocol: Protocol, address: SocketAddr) -> Result<Reply, AskError> {
        Host::ask(self, protocol, address)
    }
}

impl Client for Guest {
    fn ask(&self, protocol: Protocol, address: SocketAddr) -> Result<Reply, AskError> {
        Workload::ask(self, protocol, address)
    }
}

/// Asks until somebody answers: chassis elect the gateway's port and learn their neighbours at their own pace.
pub(crate) fn first(host: &impl Client, address: SocketAddr) -> Result<Reply> {
    let mut outcome = Err(AskError::Silence);
    poll(|| {
        outcome = host.ask(Protocol::Tcp, address);
        Ok(outcome.is_ok())
    })
    .with_context(|| format!("asking {address}: {outcome:?}"))?;
    Ok(outcome?)
}

/// What a request is to be: over both protocols, seen as from `client`, answered by every one of `who`.
pub(crate) fn expect(
    host: &impl Client,
    tcp: SocketAddr,
    client: &str,
    who: &[&str],
) -> Result<()> {
    first(host, tcp)?;
    let client: IpAddr = client.parse()?;
    for (protocol, port) in [(Protocol::Tcp, 80), (Protocol::Udp, 53)] {
        let mut seen = std::collections::BTreeSet::new();
        let address = SocketAddr::new(tcp.ip(), port);
        for _ in 0..60 {
            let reply = host
                .ask(protocol, address)
                .with_context(|| format!("{address} over {protocol} from {client}"))?;
            assert_eq!(reply.client.ip(), client, "{address}");
            seen.insert(reply.who);
        }
        assert_eq!(
            seen.iter().map(String::as_str).collect::<Vec<_>>(),
            who,
            "{address}"
        );
    }
    Ok(())
}

pub(crate) fn asked(guest: &Guest, address: SocketAddr) -> Result<(String, IpAddr)> {
    let reply = guest
        .ask(Protocol::Tcp, address)
        .with_context(|| format!("{} asks {address}", guest.name()))?;
    Ok((reply.who, reply.client.ip()))
}

pub(crate) fn is_refused_or_silent(outcome: &Result<Reply, AskError>) -> bool {
    matches!(
        outcome,
        Err(AskError::Silence | AskError::Refused | AskError::Other(_))
    )
}
