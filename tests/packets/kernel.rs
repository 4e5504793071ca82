//! What needs the kernel's datapath of Open vSwitch: scenario 4, a service gateway between clients outside and backends in
//! several VPCs. These tests are ignored wherever that datapath is not certain, and run in a guest that has it by
//! `scripts/test kernel`, which takes every test of this module.

mod isolation;

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use yusur_testbed::lab::{AskError, Datapath, Lab, Protocol};
use yusur_testbed::release::Release;

use crate::crossing::{
    EIP, addresses, by_the_service_gateway, preserve_on_a_shared_eip, serves, settles, spec,
};
use crate::play::{CLIENT, GATEWAYS, Play, asked, expect};
use crate::source_ports;

/// A play on the kernel's datapath, or an error that says where there is one.
pub(crate) fn run(test: impl FnOnce(&Play<'_, '_>) -> Result<()>) -> Result<()> {
    needs_kernel()?;
    Play::run(test)
}

fn needs_kernel() -> Result<()> {
    ensure!(
        Datapath::chosen()? == Datapath::Kernel,
        "this test needs the kernel's datapath of Open vSwitch: run it by `scripts/test kernel`"
    );
    Ok(())
}

/// How many connections to this port the kernel tracks, in the zones of a chassis' datapath.
fn tracked(lab: &Lab, chassis: &str, port: u16) -> Result<usize> {
    let entries = lab
        .node(chassis)?
        .appctl(&["dpctl/dump-conntrack", "system@ovs-system"])?;
    let port = format!("dport={port})");
    Ok(entries
        .lines()
        .filter(|entry| entry.contains(&port))
        .count())
}

#[test]
#[ignore = "needs the kernel's datapath: scripts/test kernel"]
fn backends_in_several_vpcs_see_the_service_gateway() -> Result<()> {
    run(|play| {
        let world = play.world;
        let client = world.pod("blue/client", "node1", "{}")?;
        let stranger = world.pod("red/client", "node2", "{}")?;
        let (eips, _backends) = serves(play)?;
        by_the_service_gateway(play, &eips)?;
        // It was the kernel that forwarded, and not ovs-vswitchd in its stead.
        let gateway = play.serving()?;
        ensure!(
            tracked(world.lab, &gateway, 80)? > 0,
            "{gateway} tracks no connection in its kernel"
        );
        for eip in &eips {
            assert!(play.near.resolves(*eip)?);
            // A workload of the service's own VPC, and one of another.
            for _ in 0..20 {
                asked(&client, SocketAddr::new(*eip, 80))?;
                asked(&stranger, SocketAddr::new(*eip, 80))?;
            }
        }
        // Guarded: the source that counts is the client's, not the service gateway's.
        let guarded = format!("{EIP}\n  sourceRanges: [198.51.100.0/24, \"2001:db8:c::/64\"]");
        world.service("blue/web", &spec(&guarded))?;
        for eip in eips {
            let target = SocketAddr::new(eip, 80);
            for _ in 0..20 {
                play.far
                    .ask(Protocol::Tcp, target)
                    .with_context(|| format!("{CLIENT:?} asks {target}"))?;
            }
            let near = play.near.ask(Protocol::Tcp, target);
            assert!(matches!(near, Err(AskError::Silence)), "{near:?}");
        }
        Ok(())
    })
}

/// Backends see a client outside as what it is, and one in another VPC, whose address may be one of theirs, as the service
/// gateway; wherever that VPC's own backends are.
#[test]
#[ignore = "needs the kernel's datapath: scripts/test kernel"]
fn other_vpcs_reach_a_service_that_sees_its_clients() -> Result<()> {
    run(|play| {
        let world = play.world;
        world.join("green", "internet")?;
        let own = world.pod("blue/client", "node1", "{}")?;
        let red = world.pod("red/client", "node2", "{}")?;
        let green = world.pod("green/client", "node1", "{}")?;
        let (eips, _backends) = serves(play)?;
        let preserve = format!("{EIP}\n  sourceAddress: Preserve");
        let status = world.service("blue/web", &spec(&preserve))?;
        ensure!(
            status["paths"] == serde_json::json!(["Vpc", "EipPreserve", "Join"]),
            "{status:#}"
        );
        let gateway = world.controller.status("eipgateway/internet")?;
        let sources = addresses(&gateway["serviceGateway"], "addresses")?;
        let both = ["blue/far", "blue/own"];
        for (family, eip) in eips.iter().enumerate() {
            let target = SocketAddr::new(*eip, 80);
            expect(&play.far, target, CLIENT[family], &both)?;
            let source = sources[family].to_string();
            for client in [&red, &green] {
                expect(client, target, &source, &both)
                    .with_context(|| format!("{} asks {eip}", client.name()))?;
            }
            asked(&own, target)?;
        }
        // Guarded: it is a client's address on the join that counts.
        let join = addresses(&world.controller.status("vpc/green")?, "joinAddresses")?;
        let guarded = format!(
            "{preserve}\n  sourceRanges: [{}/32, \"{}/128\"]",
            join[0], join[1]
        );
        world.service("blue/web", &spec(&guarded))?;
        for eip in eips {
            let target = SocketAddr::new(eip, 80);
            asked(&green, target)?;
            for outcome in [
                red.ask(Protocol::Tcp, target),
                play.near.ask(Protocol::Tcp, target),
            ] {
                assert!(matches!(outcome, Err(AskError::Silence)), "{outcome:?}");
            }
        }
        // On an Eip that has ports of a service in one VPC as well, each port finds its way.
        let status = preserve_on_a_shared_eip(world)?;
        for (family, eip) in addresses(&status, "addresses")?.into_iter().enumerate() {
            let source = sources[family].to_string();
            expect(&green, SocketAddr::new(eip, 80), &source, &both)?;
            for _ in 0..10 {
                let (who, seen) = asked(&green, SocketAddr::new(eip, 81))?;
                assert_eq!((who.as_str(), seen), ("blue/own", join[family]));
            }
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs the kernel's datapath: scripts/test kernel"]
fn the_service_gateway_goes_where_the_gateway_goes() -> Result<()> {
    run(|play| {
        let world = play.world;
        let (eips, _backends) = serves(play)?;
        settles(play, GATEWAYS[0], GATEWAYS[0])?;
        world.lab.sync()?;
        by_the_service_gateway(play, &eips)?;
        let node = format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: {}}}\n\
             status: {{conditions: [{{type: Ready, status: \"False\"}}]}}\n",
            GATEWAYS[0]
        );
        world.controller.save("node.yaml", &node)?;
        settles(play, GATEWAYS[1], GATEWAYS[1])?;
        world.lab.sync()?;
        by_the_service_gateway(play, &eips)
    })
}

/// The seconds are printed, not judged, as in `failover`.
#[test]
#[ignore = "needs the kernel's datapath: scripts/test kernel"]
fn the_service_gateway_outlives_its_node() -> Result<()> {
    needs_kernel()?;
    Play::run_watched_closely(&Release::chosen()?, |play| {
        let world = play.world;
        let (eips, _backends) = serves(play)?;
        settles(play, GATEWAYS[0], GATEWAYS[0])?;
        by_the_service_gateway(play, &eips)?;
        let gateway = world.lab.node(GATEWAYS[0])?;
        let target = SocketAddr::new(eips[0], 80);
        let outage = play
            .near
            .outage(target, || gateway.namespace().ip("link set eth0 down"))?;
        println!(
            "the gateway's tunnels are cut: by the service gateway new connections work again after {:.2} s",
            outage.as_secs_f64()
        );
        settles(play, GATEWAYS[1], GATEWAYS[1])?;
        by_the_service_gateway(play, &eips)
    })
}

#[test]
#[ignore = "needs the kernel's datapath: scripts/test kernel"]
fn source_ports_of_the_service_gateway_are_counted() -> Result<()> {
    run(|play| source_ports::are_counted(play, GATEWAYS[0], GATEWAYS[0]))
}
