//! Gateway nodes that fail: how long new connections from outside do not work, printed for a service with backends in one
//! VPC (scenario 3) and one with backends in several (4b); and that afterwards every connection works.
//!
//! The seconds are printed, not judged: they are this machine's, with whatever else it does. The clock starts at the
//! fault. Run with `--nocapture` to see them.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use yusur_testbed::lab::{Chassis, Host, Protocol};
use yusur_testbed::process::poll;
use yusur_testbed::release::Release;

use crate::crossing::{lodger, spec};
use crate::play::{CLIENT, GATEWAYS, Play, expect, first};
use crate::world::{Guest, NODES, TCP};

/// Open vSwitch 3.1 may abort on the backends' nodes while a gateway fails over (its userspace datapath, by an assertion in
/// `conn_update_state`): the newest carries the packets of either OVN.
fn release() -> Result<Release> {
    Ok(Release::chosen()?.over(Release::newest()?))
}

/// Breaks the gateway that serves, and prints how long clients outside felt it.
fn fails(what: &str, fault: impl FnOnce(&Play<'_, '_>, &Chassis) -> Result<()>) -> Result<()> {
    Play::run_watched_closely(&release()?, |play| feel(play, what, fault).map(drop))
}

/// A gateway that has stood for a while, and a service with backends in one VPC and one in several, which answer: their
/// addresses, the second's in both families, and the backends.
fn stands(play: &Play<'_, '_>) -> Result<([SocketAddr; 3], [Guest; 2])> {
    let world = play.world;
    world.allow("red", "red, blue")?;
    let own = world.pod("blue/own", "node1", "{app: web}")?;
    let far = lodger(world, "blue/far", "node2", "{app: web}")?;
    let one = world.service(
        "blue/one",
        &format!(
            "  eip: {{addresses: [192.0.2.80]}}
  ports: [{{port: 80, targetPort: {TCP}}}]
  backends: [{{kind: Pod, selector: {{matchLabels: {{app: web}}}}}}]"
        ),
    )?;
    let several = "  eip: {addresses: [192.0.2.90, \"2001:db8:e::90\"]}\n  sourceAddress: Preserve";
    let several = world.service("blue/several", &spec(several))?;
    assert_eq!(one["paths"], serde_json::json!(["Vpc", "EipVpcRouter"]));
    assert_eq!(
        several["paths"],
        serde_json::json!(["Vpc", "EipPreserve", "Join"])
    );
    let targets: [SocketAddr; 3] = [
        "192.0.2.80:80".parse()?,
        "192.0.2.90:80".parse()?,
        "[2001:db8:e::90]:80".parse()?,
    ];
    poll(|| Ok(play.serving()? == GATEWAYS[0])).context("the first gateway does not serve")?;
    for target in targets {
        first(&play.far, target)?;
        first(&play.near, target)?;
    }
    play.joined(&NODES)?;
    Ok((targets, [own, far]))
}

/// The same within a play; returns the backends.
fn feel(
    play: &Play<'_, '_>,
    what: &str,
    fault: impl FnOnce(&Play<'_, '_>, &Chassis) -> Result<()>,
) -> Result<[Guest; 2]> {
    let (targets, backends) = stands(play)?;

    // All at once: it is one fault that all of them feel.
    let (start, done) = (
        Barrier::new(targets.len() + 1),
        Barrier::new(targets.len() + 1),
    );
    let gateway = play.world.lab.node(GATEWAYS[0])?;
    let outages = thread::scope(|scope| -> Result<Vec<Duration>> {
        let (near, start, done) = (&play.near, &start, &done);
        let fault_of_all = move || {
            start.wait();
            done.wait();
            Ok(())
        };
        let watch = |target| move || near.outage(target, fault_of_all);
        let watchers = targets.map(|target| scope.spawn(watch(target)));
        start.wait();
        let outcome = fault(play, gateway);
        done.wait();
        outcome?;
        let ends = watchers.into_iter().map(|watcher| {
            let end = watcher.join();
            end.unwrap_or_else(|_| Err(anyhow!("a watcher panicked")))
        });
        ends.collect()
    });
    let outages = outages.with_context(|| format!("after: {what}"))?;
    let seconds: Vec<String> = outages
        .iter()
        .map(|outage| format!("{:.2} s", outage.as_secs_f64()))
        .collect();
    println!(
        "{what}: new connections work again after {} (one VPC), {} (several VPCs), {} (several, IPv6)",
        seconds[0], seconds[1], seconds[2]
    );

    // A gateway that is cut off may claim the port once more before it notices: what OVN has on record of that settles
    // after the packets have found their way.
    poll(|| Ok(play.serving()? == GATEWAYS[1])).context("the second gateway does not serve")?;
    // No connection afterwards hits the dead gateway.
    for _ in 0..60 {
        assert_eq!(play.far.ask(Protocol::Tcp, targets[0])?.who, "blue/own");
    }
    expect(&play.far, targets[1], CLIENT[0], &["blue/far", "blue/own"])?;
    expect(&play.far, targets[2], CLIENT[1], &["blue/far", "blue/own"])?;
    Ok(backends)
}

/// And when it is back, it stands by: every move costs connections.
#[test]
fn its_tunnels_are_cut() -> Result<()> {
    Play::run_watched_closely(&release()?, |play| {
        let _backends = feel(play, "the gateway's tunnels are cut", |_, gateway| {
            gateway.namespace().ip("link set eth0 down")
        })?;
        let world = play.world;
        let object = "eipgateway/internet";
        world
            .controller
            .wait_for(object, |status| status["activeNode"] == GATEWAYS[1])?;
        world.lab.sync()?;
        let gateway = world.lab.node(GATEWAYS[0])?;
        let outage = play.near.outage("192.0.2.80:80".parse()?, || {
            gateway.namespace().ip("link set eth0 up")?;
            poll(|| play.watches(GATEWAYS[0], &NODES))
                .context("the gateway's tunnels do not come back")
        })?;
        println!(
            "the gateway's tunnels are back: new connections fail for {:.2} s",
            outage.as_secs_f64()
        );
        world.lab.sync()?;
        assert_eq!(play.serving()?, GATEWAYS[1]);
        Ok(())
    })
}

#[test]
fn its_switch_is_killed() -> Result<()> {
    fails("the gateway's ovs-vswitchd is killed", |_, gateway| {
        gateway.vswitchd().kill()
    })
}

#[test]
fn it_dies() -> Result<()> {
    fails("the gateway dies", |_, gateway| {
        gateway.vswitchd().kill()?;
        gateway.controller().kill()
    })
}

/// Nothing in OVN watches the physical network: somebody has to take the node out of service. Back in service it stands by.
#[test]
fn its_external_link_is_lost() -> Result<()> {
    Play::run_watched_closely(&release()?, |play| {
        let what = "the gateway's external link is lost, and its Node labelled";
        let _backends = feel(play, what, |play, gateway| {
            gateway.namespace().ip("link set outside down")?;
            play.keep_out(GATEWAYS[0], true)
        })?;
        let controller = &play.world.controller;
        let serves = |node: &'static str| {
            controller.wait_for("eipgateway/internet", |status| status["activeNode"] == node)
        };
        serves(GATEWAYS[1])?;
        let lab = play.world.lab;
        let gateway = lab.node(GATEWAYS[0])?;
        gateway.namespace().ip("link set outside up")?;
        let target = "192.0.2.80:80".parse()?;
        let back = play.near.outage(target, || {
            play.keep_out(GATEWAYS[0], false)?;
            lab.sync()
        })?;
        assert_eq!(play.serving()?, GATEWAYS[1]);
        let other = play.near.outage(target, || {
            play.keep_out(GATEWAYS[1], true)?;
            serves(GATEWAYS[0]).map(drop)
        })?;
        println!(
            "without the label: new connections fail for {:.2} s; the other labelled: {:.2} s",
            back.as_secs_f64(),
            other.as_secs_f64()
        );
        Ok(())
    })
}

/// The same where it is taken out of `spec.nodes`, and put back last.
#[test]
fn it_is_taken_out() -> Result<()> {
    Play::run_watched_closely(&release()?, |play| {
        let what = "the gateway's external link is lost, and the node taken out of spec.nodes";
        let _backends = feel(play, what, |play, gateway| {
            gateway.namespace().ip("link set outside down")?;
            play.prefer(&GATEWAYS[1..])
        })?;
        let lab = play.world.lab;
        let gateway = lab.node(GATEWAYS[0])?;
        gateway.namespace().ip("link set outside up")?;
        let back = play.near.outage("192.0.2.80:80".parse()?, || {
            play.prefer(&[GATEWAYS[1], GATEWAYS[0]])?;
            poll(|| play.watches(GATEWAYS[0], &NODES))
                .context("the node that is put back does not watch its tunnels")
        })?;
        println!(
            "put back last: new connections fail for {:.2} s",
            back.as_secs_f64()
        );
        lab.sync()?;
        assert_eq!(play.serving()?, GATEWAYS[1]);
        Ok(())
    })
}

/// How often this chassis has claimed the gateway's port, or claimed it back.
fn claims(chassis: &Chassis) -> Result<usize> {
    let log = chassis.controller().output()?;
    let port = "cr-yusur:yusur:eipgateway/internet/outside-router: Claiming";
    Ok(log.lines().filter(|line| line.contains(port)).count())
}

/// How many of so many connections, opened one after another, fail.
fn failures(host: &Host, target: SocketAddr, count: usize) -> usize {
    let outcomes = (0..count).map(|_| {
        thread::sleep(Duration::from_millis(300));
        host.ask(Protocol::Tcp, target)
    });
    outcomes.filter(Result::is_err).count()
}

/// Each takes the other for dead then, and both claim the gateway's port for as long as that lasts: OVN has no third that
/// decides. Which of them the packets take is chance, until a person takes one of them out.
#[test]
fn only_the_gateways_lose_each_other() -> Result<()> {
    Play::run_watched_closely(&release()?, |play| {
        let world = play.world;
        let (targets, _backends) = stands(play)?;
        let [first, second] = [world.lab.node(GATEWAYS[0])?, world.lab.node(GATEWAYS[1])?];
        first.loses(second, true)?;
        second.loses(first, true)?;
        let before = [claims(first)?, claims(second)?];
        poll(|| Ok(claims(first)? > before[0] + 2 && claims(second)? > before[1] + 2))
            .context("the gateways do not contest the port")?;
        let near = &play.near;
        let failed: Vec<usize> = thread::scope(|scope| {
            let asking = targets.map(|target| scope.spawn(move || failures(near, target, 60)));
            let failed = asking.map(|asked| asked.join().unwrap_or(usize::MAX));
            failed.into()
        });
        println!(
            "both gateways claim the port: of 60 connections fail {failed:?} (one VPC; several; several, IPv6)"
        );

        let object = "eipgateway/internet";
        let outage = play.near.outage(targets[0], || {
            play.prefer(&GATEWAYS[..1])?;
            world
                .controller
                .wait_for(object, |status| status["activeNode"] == GATEWAYS[0])?;
            world.lab.sync()
        })?;
        println!(
            "one gateway is taken out of spec.nodes: new connections fail for {:.2} s",
            outage.as_secs_f64()
        );
        let settled = [claims(first)?, claims(second)?];
        for target in targets {
            assert_eq!(failures(&play.near, target, 30), 0, "{target}");
        }
        assert_eq!([claims(first)?, claims(second)?], settled);

        // Mended, and both in service again.
        first.loses(second, false)?;
        second.loses(first, false)?;
        let outage = play.near.outage(targets[0], || {
            play.prefer(&GATEWAYS)?;
            play.joined(&NODES)
        })?;
        println!(
            "the tunnel is mended, and the second put back: new connections fail for {:.2} s",
            outage.as_secs_f64()
        );
        assert_eq!(play.serving()?, GATEWAYS[0]);
        for target in targets {
            assert_eq!(failures(&play.near, target, 10), 0, "{target}");
        }
        Ok(())
    })
}
