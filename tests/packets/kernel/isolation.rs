//! The service gateway has a way into every VPC with backends, and the inside router one to it: that nobody gets anywhere by
//! them but to external addresses, on their ports.

use std::net::{IpAddr, SocketAddr};
use std::thread;

use anyhow::{Result, anyhow, ensure};
use yusur_testbed::lab::{AskError, Protocol};

use super::run;
use crate::crossing::{EIP, addresses, serves, spec, ways_into};
use crate::play::{Client, asked, first};
use crate::world::TCP;

/// A workload of blue that serves, and is no backend of any service.
const BYSTANDER: [&str; 2] = ["10.0.2.77", "fd00:2::77"];

/// One that asks, where, and what for.
type Request<'a> = (&'a (dyn Client + Sync), SocketAddr, String);

/// Asks all at once, and fails if anybody answers, be it to refuse. That there is no way routers may say.
fn in_vain(requests: &[Request<'_>]) -> Result<()> {
    let wrong: Vec<String> = thread::scope(|scope| {
        let asking: Vec<_> = requests
            .iter()
            .map(|(client, target, what)| {
                scope.spawn(move || match client.ask(Protocol::Tcp, *target) {
                    Err(AskError::Silence | AskError::Other(_)) => None,
                    outcome => Some(format!("{what} {target}: {outcome:?}")),
                })
            })
            .collect();
        let outcomes = asking.into_iter().map(|asked| {
            let outcome = asked.join();
            outcome.unwrap_or_else(|_| Some("a client panicked".to_owned()))
        });
        outcomes.flatten().collect()
    });
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
#[ignore = "needs the kernel's datapath: scripts/test kernel"]
fn nobody_gets_anywhere_but_to_services() -> Result<()> {
    run(|play| {
        let world = play.world;
        world.join("green", "internet")?;
        let blue = world.pod("blue/client", "node1", "{}")?;
        let red = world.pod("red/client", "node2", "{}")?;
        let green = world.pod("green/client", "node1", "{}")?;
        let given = format!("  addresses: [{}, \"{}\"]", BYSTANDER[0], BYSTANDER[1]);
        let _bystander = world.vnic("blue/bystander", "node2", "{}", &given)?;
        let bystander = BYSTANDER.map(|address| Ok(SocketAddr::new(address.parse()?, TCP)));
        let bystander = bystander.into_iter().collect::<Result<Vec<_>>>()?;
        let (eips, _backends) = serves(play)?;
        // The neighbour outside has routes that lead everything there is into the gateway.
        for (net, gateway) in [
            ("10.0.0.0/8", "192.0.2.1"),
            ("100.64.0.0/10", "192.0.2.1"),
            ("fd00::/8", "2001:db8:e::1"),
        ] {
            let route = format!("route add {net} via {gateway}");
            play.near.namespace().ip(&route)?;
        }
        let joined = |vpc: &str| -> Result<Vec<IpAddr>> {
            let status = world.controller.status(&format!("vpc/{vpc}"))?;
            addresses(&status, "joinAddresses")
        };
        let own = joined("green")?;
        for source in ["ServiceGateway", "Preserve"] {
            world.service(
                "blue/web",
                &spec(&format!("{EIP}\n  sourceAddress: {source}")),
            )?;
            let gateway = world.controller.status("eipgateway/internet")?;
            let gateway = addresses(&gateway["serviceGateway"], "addresses")?;
            let (into_blue, into_red) = (ways_into(world, "blue")?, ways_into(world, "red")?);
            // The control: all of it is there, for whom it is meant.
            for eip in &eips {
                let eip = SocketAddr::new(*eip, 80);
                first(&play.near, eip)?;
                for client in [&blue, &red, &green] {
                    asked(client, eip)?;
                }
            }
            for target in bystander.iter().chain(&into_red) {
                asked(&blue, *target)?;
            }

            let mut inside: Vec<Request<'_>> = Vec::new();
            let mut outside: Vec<Request<'_>> = Vec::new();
            for (what, target) in [
                ("a workload of blue", &bystander),
                ("the way into blue", &into_blue),
            ] {
                for target in target {
                    inside.push((&red, *target, format!("{source}: red asks {what}")));
                    inside.push((&green, *target, format!("{source}: green asks {what}")));
                    outside.push((
                        &play.near,
                        *target,
                        format!("{source}: outside asks {what}"),
                    ));
                }
            }
            for target in &into_red {
                inside.push((
                    &green,
                    *target,
                    format!("{source}: green asks the way into red"),
                ));
                outside.push((
                    &play.near,
                    *target,
                    format!("{source}: outside asks the way into red"),
                ));
            }
            // The service gateway's own address, and those beside it: the gateway's on the join, and the inside router's.
            let beside = |address: &IpAddr, number: u8| -> Result<IpAddr> {
                let text = address.to_string();
                let head = text.strip_suffix('2').ok_or_else(|| anyhow!("{text}"))?;
                Ok(format!("{head}{number}").parse()?)
            };
            for service_gateway in &gateway {
                for number in [1, 2, 3] {
                    let target = SocketAddr::new(beside(service_gateway, number)?, 80);
                    outside.push((&play.near, target, format!("{source}: outside asks")));
                }
            }
            for address in &own {
                let target = SocketAddr::new(*address, TCP);
                outside.push((
                    &play.near,
                    target,
                    format!("{source}: outside asks green's router"),
                ));
            }
            for eip in &eips {
                for port in [81, TCP] {
                    let target = SocketAddr::new(*eip, port);
                    inside.push((
                        &green,
                        target,
                        format!("{source}: green asks a port nobody serves"),
                    ));
                    outside.push((
                        &play.near,
                        target,
                        format!("{source}: outside asks a port nobody serves"),
                    ));
                }
            }
            in_vain(&inside)?;
            in_vain(&outside)?;
        }
        Ok(())
    })
}
