//! `yusurctl source-ports` on the nodes of a service gateway: what it reads of OVN and Open vSwitch differs by release.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use yusur_testbed::process::run;
use yusur_testbed::programs;
use yusur_testbed::release::Release;

use crate::crossing::{serves, settles, ways_into};
use crate::play::{GATEWAYS, Play, first};

/// How many connections are held open to each external address.
const HELD: usize = 7;

/// What the program prints on a chassis.
fn shown(play: &Play<'_, '_>, chassis: &str) -> Result<String> {
    let chassis = play.world.lab.node(chassis)?;
    let mut command = Command::new(programs::build("yusurctl")?);
    command
        .args(["source-ports", "--most", "100"])
        .args(["--ovs-address", &chassis.remote()])
        .arg("--ovs-control")
        .arg(chassis.control());
    run(&mut command)
}

/// Holds connections through the service gateway, and expects them to be counted on its node, by the addresses that lead into
/// the VPCs.
pub(crate) fn are_counted(play: &Play<'_, '_>, gateway: &str, service_gateway: &str) -> Result<()> {
    let (eips, _backends) = serves(play)?;
    settles(play, gateway, service_gateway)?;
    play.world.lab.sync()?;
    let mut held = Vec::new();
    for eip in &eips {
        let target = SocketAddr::new(*eip, 80);
        first(&play.near, target)?;
        for _ in 0..HELD {
            let mut connection = play.near.connect(target)?;
            connection.ask()?;
            held.push(connection);
        }
    }
    let mut ways = ways_into(play.world, "blue")?;
    ways.extend(ways_into(play.world, "red")?);
    let shown = shown(play, service_gateway)?;
    let mut counted = [0; 2];
    for line in shown.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [eip_gateway, backend, used, left] = words[..] else {
            anyhow::bail!("{shown}");
        };
        let (address, protocol) = backend.split_once('/').context("a protocol")?;
        let address: SocketAddr = address.parse()?;
        let used: usize = used.parse()?;
        ensure!(
            eip_gateway == "internet" && protocol == "TCP" && ways.contains(&address),
            "{ways:?}: {shown}"
        );
        ensure!(used + left.parse::<usize>()? == 64_512, "{shown}");
        counted[usize::from(address.is_ipv6())] += used;
    }
    // Those that waited for the first answer, and went, may be tracked still.
    ensure!(
        counted
            .iter()
            .all(|counted| (HELD..HELD + 60).contains(counted)),
        "{counted:?}: {shown}"
    );
    Ok(())
}

#[test]
fn of_a_service_gateway_apart_are_counted_where_it_is() -> Result<()> {
    let [gateway, other] = GATEWAYS;
    // For the reasons that `crossing` gives.
    Play::run_on(&Release::newest()?, |play| {
        play.place_service_gateway("Apart")?;
        are_counted(play, gateway, other)?;
        let there = shown(play, gateway)?;
        ensure!(there.contains("No service gateway"), "{there}");
        Ok(())
    })
}
