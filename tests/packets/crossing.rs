//! Scenarios 4 to 5: services with backends in several VPCs, reached from outside and by cluster address; and that
//! nothing else of one VPC is reached from another.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use yusur_testbed::lab::{AskError, Protocol};
use yusur_testbed::process::poll;
use yusur_testbed::release::Release;

use crate::play::{CLIENT, GATEWAYS, Play, asked, expect, first};
use crate::world::{Guest, NODES, TCP, UDP, World};

/// A Pod of namespace `blue` in the VPC `red`, which has the same ranges.
pub(crate) fn lodger(world: &World<'_>, name: &str, node: &str, labels: &str) -> Result<Guest> {
    world.pod_with(
        name,
        node,
        labels,
        "  annotations: {yusur.io/subnet: red-front}",
    )?;
    world.plugged("pod", name, node)
}

/// A service of blue with backends in both VPCs.
pub(crate) fn spec(more: &str) -> String {
    format!(
        "  ipFamilyPolicy: RequireDualStack
  ports: [{{name: a, port: 80, targetPort: {TCP}}}, {{name: b, port: 53, targetPort: {UDP}, protocol: UDP}}]
  backends:
    - {{kind: Pod, selector: {{matchLabels: {{app: web}}}}}}
    - {{kind: Pod, vpc: red, selector: {{matchLabels: {{app: web}}}}}}
{more}"
    )
}

/// An Eip that leads port 80 to backends in several VPCs which see the client, and port 81 to those in one; its status.
pub(crate) fn preserve_on_a_shared_eip(world: &World) -> Result<serde_json::Value> {
    let eip = "kind: Eip
metadata: {name: www, namespace: blue}
spec: {gateway: internet, ipFamilies: [IPv4, IPv6]}
";
    let status = world.object("eip/blue/www", "eip.yaml", eip)?;
    let shared = "  eip: {name: www}\n  sourceAddress: Preserve";
    world.service("blue/web", &spec(shared))?;
    let one = format!(
        "  eip: {{name: www}}
  ipFamilyPolicy: RequireDualStack
  ports: [{{port: 81, targetPort: {TCP}}}]
  backends: [{{kind: Pod, selector: {{matchLabels: {{app: web}}}}}}]"
    );
    world.service("blue/one", &one)?;
    Ok(status)
}

pub(crate) fn addresses(status: &serde_json::Value, field: &str) -> Result<Vec<IpAddr>> {
    let list = status[field].as_array().context("addresses")?;
    let list = list.iter().filter_map(|address| address.as_str());
    list.map(|address| Ok(address.parse()?)).collect()
}

/// The addresses by which the service `blue/web` reaches into a VPC, over TCP.
pub(crate) fn ways_into(world: &World<'_>, vpc: &str) -> Result<Vec<SocketAddr>> {
    let name = format!("name=\"yusur:yusur:service/blue/web/tcp/vpc/{vpc}\"");
    let vips = world
        .lab
        .nbctl(&["--bare", "--columns=vips", "find", "Load_Balancer", &name])?;
    let vips = vips.split_whitespace().map(|vip| {
        let (vip, _) = vip.split_once('=').context("a VIP")?;
        Ok(vip.trim_matches('"').parse()?)
    });
    vips.collect()
}

/// Asks a service with backends in both VPCs, from the segment and from behind its router, and expects the backends to see
/// the service gateway.
pub(crate) fn by_the_service_gateway(play: &Play<'_, '_>, eips: &[IpAddr]) -> Result<()> {
    let gateway = play.world.controller.status("eipgateway/internet")?;
    let sources = addresses(&gateway["serviceGateway"], "addresses")?;
    ensure!(sources.len() == eips.len(), "{gateway:#}");
    for (eip, source) in eips.iter().zip(sources) {
        for host in [&play.far, &play.near] {
            let target = SocketAddr::new(*eip, 80);
            expect(host, target, &source.to_string(), &["blue/far", "blue/own"])?;
        }
    }
    Ok(())
}

/// A service with backends in both VPCs, which takes the service gateway: its external addresses, and the backends.
pub(crate) fn serves(play: &Play<'_, '_>) -> Result<(Vec<IpAddr>, [Guest; 2])> {
    let world = play.world;
    world.allow("red", "red, blue")?;
    let own = world.pod("blue/own", "node1", "{app: web}")?;
    let far = lodger(world, "blue/far", "node2", "{app: web}")?;
    let status = world.service("blue/web", &spec(EIP))?;
    ensure!(
        status["paths"] == serde_json::json!(["Vpc", "EipServiceGateway", "Join"]),
        "{status:#}"
    );
    play.joined(&NODES)?;
    Ok((addresses(&status, "eips")?, [own, far]))
}

/// An external address of each family.
pub(crate) const EIP: &str = "  eip: {ipFamilies: [IPv4, IPv6]}";

/// Waits until the first node serves, and the service gateway is on the second.
pub(crate) fn settles(play: &Play<'_, '_>, node: &str, service_gateway: &str) -> Result<()> {
    poll(|| Ok(play.serving()? == node)).with_context(|| format!("waiting for {node} to serve"))?;
    let controller = &play.world.controller;
    controller.wait_for("eipgateway/internet", |status| {
        status["serviceGateway"]["node"] == service_gateway
    })?;
    Ok(())
}

/// Open vSwitch's own datapath drops what passes both gateways on one node (after eight recirculations), and the service
/// gateway of OVN 23.03 answers nobody when it is on another node than the gateway. So this takes the newest, whichever is
/// tested.
#[test]
fn a_service_gateway_works_apart_from_its_gateway() -> Result<()> {
    Play::run_on(&Release::newest()?, |play| {
        let world = play.world;
        play.place_service_gateway("Apart")?;
        let client = world.pod("blue/client", "node1", "{}")?;
        let stranger = world.pod("red/client", "node2", "{}")?;
        let (eips, _backends) = serves(play)?;
        let [first, second] = GATEWAYS;
        for (gateway, other) in [(first, second), (second, first)] {
            play.keep_out(other, true)?;
            settles(play, gateway, gateway)?;
            play.keep_out(other, false)?;
            settles(play, gateway, other)?;
            world.lab.sync()?;
            by_the_service_gateway(play, &eips)?;
            for eip in &eips {
                for _ in 0..20 {
                    asked(&client, SocketAddr::new(*eip, 80))?;
                    asked(&stranger, SocketAddr::new(*eip, 80))?;
                }
            }
        }
        Ok(())
    })
}

#[test]
fn a_cluster_address_reaches_backends_in_other_vpcs() -> Result<()> {
    Play::run(|play| {
        let world = play.world;
        world.allow("red", "red, blue")?;
        let client = world.pod("blue/client", "node1", "{}")?;
        let _own = world.pod("blue/own", "node1", "{app: web}")?;
        let _far = lodger(world, "blue/far", "node2", "{app: web}")?;
        let status = world.service("blue/web", &spec(""))?;
        ensure!(
            status["paths"] == serde_json::json!(["Vpc", "Join"]),
            "{status:#}"
        );
        play.joined(&NODES)?;
        let join = addresses(&world.controller.status("vpc/blue")?, "joinAddresses")?;
        for (family, vip) in addresses(&status, "clusterIPs")?.into_iter().enumerate() {
            for (protocol, port) in [(Protocol::Tcp, 80), (Protocol::Udp, 53)] {
                let mut seen = std::collections::BTreeSet::new();
                for _ in 0..60 {
                    let reply = client
                        .ask(protocol, SocketAddr::new(vip, port))
                        .with_context(|| format!("{vip} over {protocol}"))?;
                    // Its own VPC sees the client, the other the first one's router.
                    let expected = match reply.who.as_str() {
                        "blue/own" => client.addresses()[family],
                        _ => join[family],
                    };
                    assert_eq!(reply.client.ip(), expected, "{}", reply.who);
                    seen.insert(reply.who);
                }
                assert_eq!(seen.iter().collect::<Vec<_>>(), ["blue/far", "blue/own"]);
            }
        }
        Ok(())
    })
}

#[test]
fn an_external_address_reaches_backends_in_several_vpcs() -> Result<()> {
    Play::run(|play| {
        let world = play.world;
        world.allow("red", "red, blue")?;
        let client = world.pod("blue/client", "node1", "{}")?;
        let _own = world.pod("blue/own", "node1", "{app: web}")?;
        let _far = lodger(world, "blue/far", "node2", "{app: web}")?;
        let eip = "  eip: {ipFamilies: [IPv4, IPv6]}\n  sourceAddress: Preserve";
        let status = world.service("blue/web", &spec(eip))?;
        ensure!(
            status["paths"] == serde_json::json!(["Vpc", "EipPreserve", "Join"]),
            "{status:#}"
        );
        play.joined(&NODES)?;
        let eips = addresses(&status, "eips")?;
        for (family, eip) in eips.iter().enumerate() {
            let target = SocketAddr::new(*eip, 80);
            expect(&play.far, target, CLIENT[family], &["blue/far", "blue/own"])?;
            assert!(play.near.resolves(*eip)?);
            // A workload of the service's own VPC.
            for _ in 0..20 {
                asked(&client, target)?;
            }
        }
        // Guarded.
        let guarded = format!("{eip}\n  sourceRanges: [198.51.100.0/24, \"2001:db8:c::/64\"]");
        world.service("blue/web", &spec(&guarded))?;
        for (family, eip) in eips.iter().enumerate() {
            let target = SocketAddr::new(*eip, 80);
            expect(&play.far, target, CLIENT[family], &["blue/far", "blue/own"])?;
            let near = play.near.ask(Protocol::Tcp, target);
            assert!(matches!(near, Err(AskError::Silence)), "{near:?}");
        }
        // All in one VPC again: the same address, another path.
        let one = spec(eip).replace(
            "    - {kind: Pod, vpc: red, selector: {matchLabels: {app: web}}}\n",
            "",
        );
        let status = world.service("blue/web", &one)?;
        ensure!(
            status["paths"] == serde_json::json!(["Vpc", "EipVpcRouter"]),
            "{status:#}"
        );
        assert_eq!(addresses(&status, "eips")?, eips);
        for (family, eip) in eips.iter().enumerate() {
            expect(
                &play.far,
                SocketAddr::new(*eip, 80),
                CLIENT[family],
                &["blue/own"],
            )?;
        }
        Ok(())
    })
}

#[test]
fn an_eip_serves_one_vpc_on_one_port_and_several_on_another() -> Result<()> {
    Play::run(|play| {
        let world = play.world;
        world.allow("red", "red, blue")?;
        let _own = world.pod("blue/own", "node1", "{app: web}")?;
        let _far = lodger(world, "blue/far", "node2", "{app: web}")?;
        let status = preserve_on_a_shared_eip(world)?;
        play.joined(&NODES)?;
        for (family, eip) in addresses(&status, "addresses")?.into_iter().enumerate() {
            expect(
                &play.far,
                SocketAddr::new(eip, 80),
                CLIENT[family],
                &["blue/far", "blue/own"],
            )?;
            for _ in 0..10 {
                assert_eq!(first(&play.far, SocketAddr::new(eip, 81))?.who, "blue/own");
            }
        }
        Ok(())
    })
}

#[test]
fn a_vpc_calls_only_what_its_services_name() -> Result<()> {
    Play::run(|play| {
        let world = play.world;
        world.allow("red", "red, blue")?;
        let blue = world.pod("blue/client", "node1", "{}")?;
        let red = world.pod("red/client", "node1", "{}")?;
        let own = world.pod("blue/own", "node1", "{app: web}")?;
        let far = lodger(world, "blue/far", "node2", "{app: web}")?;
        let status = world.service("blue/web", &spec("  eip: {}\n  sourceAddress: Preserve"))?;
        play.joined(&NODES)?;
        first(
            &play.near,
            SocketAddr::new(addresses(&status, "eips")?[0], 80),
        )?;
        let vip = |vpc| Ok::<_, anyhow::Error>(*ways_into(world, vpc)?.first().context("a VIP")?);
        let (into_blue, into_red) = (vip("blue")?, vip("red")?);
        // The control: what blue's service reaches into red by, blue may call.
        assert_eq!(blue.tcp(&into_red.to_string())?, "blue/far");
        // Nobody said that red may call blue, although the address is there and the way is open for others.
        let outcome = red.ask(Protocol::Tcp, into_blue);
        assert!(
            matches!(outcome, Err(AskError::Silence)),
            "{into_blue}: {outcome:?}"
        );
        // And no workload of another VPC by its own address: blue has the same ranges, so nobody there has this one.
        let lodger = SocketAddr::new(far.ipv4()?, TCP);
        if lodger.ip() != blue.ipv4()? && lodger.ip() != own.ipv4()? {
            assert!(blue.ask(Protocol::Tcp, lodger).is_err());
        }
        // Outside cannot ask for such addresses at all.
        play.near
            .namespace()
            .ip("route add 100.64.0.0/10 via 192.0.2.1")?;
        for target in [into_blue, into_red] {
            let outcome = play.near.ask(Protocol::Tcp, target);
            assert!(
                matches!(outcome, Err(AskError::Silence)),
                "{target}: {outcome:?}"
            );
        }
        // Once the service is gone, blue may not call red any more either.
        world.delete_service("blue/web")?;
        world
            .controller
            .wait_for("vpc/red", |status| status["eipGateway"].is_null())?;
        world.lab.sync()?;
        assert!(blue.ask(Protocol::Tcp, into_red).is_err());
        Ok(())
    })
}
