//! What needs the kernel's datapath of Open vSwitch. These tests are ignored wherever that is not certain, and run in a
//! guest that has it by `scripts/test kernel`, which takes every test of this module.

use anyhow::{Result, ensure};
use yusur_testbed::lab::{Datapath, Lab};

use crate::play::{CLIENT, Play, expect};

/// A play on the kernel's datapath, or an error that says where there is one.
pub(crate) fn run(test: impl FnOnce(&Play<'_, '_>) -> Result<()>) -> Result<()> {
    ensure!(
        Datapath::chosen()? == Datapath::Kernel,
        "this test needs the kernel's datapath of Open vSwitch: run it by `scripts/test kernel`"
    );
    Play::run(test)
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

/// That it is the kernel which forwards here, and not ovs-vswitchd in its stead.
#[test]
#[ignore = "needs the kernel's datapath: scripts/test kernel"]
fn the_kernel_itself_balances() -> Result<()> {
    run(|play| {
        let world = play.world;
        let _web = [
            world.pod("blue/a", "node1", "{app: web}")?,
            world.pod("blue/b", "node2", "{app: web}")?,
        ];
        let eips = play.service("blue/web", "  eip: {ipFamilies: [IPv4, IPv6]}")?;
        for (family, eip) in eips.iter().enumerate() {
            expect(&play.far, *eip, CLIENT[family], &["blue/a", "blue/b"])?;
        }
        let gateway = play.serving()?;
        ensure!(
            tracked(world.lab, &gateway, 80)? > 0,
            "{gateway} tracks no connection in its kernel"
        );
        Ok(())
    })
}
