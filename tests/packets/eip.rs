//! Scenario 3: clients outside reach services by external addresses, through an EIP gateway on a physical network.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use yusur_testbed::lab::{AskError, Protocol, Server};
use yusur_testbed::process::poll;

use crate::play::{CLIENT, Play, asked, expect, first, is_refused_or_silent};
use crate::world::{NODES, TCP};

#[test]
fn clients_outside_reach_services_of_vpcs_with_the_same_ranges() -> Result<()> {
    Play::run(|play| {
        let world = play.world;
        let mut guests = Vec::new();
        for vpc in ["blue", "red"] {
            let a = world.pod(&format!("{vpc}/web-a"), "node1", "{app: web}")?;
            let b = world.pod(&format!("{vpc}/web-b"), "node2", "{app: web}")?;
            let client = world.pod(&format!("{vpc}/client"), "node1", "{}")?;
            guests.push((vpc, a, b, client));
        }
        let mut eips = Vec::new();
        for vpc in ["blue", "red"] {
            eips.push(play.service(&format!("{vpc}/web"), "  eip: {ipFamilies: [IPv4, IPv6]}")?);
        }
        play.joined(&NODES)?;
        // From outside: every backend, on every node, sees the client.
        for (eips, (vpc, ..)) in eips.iter().zip(&guests) {
            ensure!(eips.len() == 2, "{eips:?}");
            let who = [format!("{vpc}/web-a"), format!("{vpc}/web-b")];
            let who: Vec<&str> = who.iter().map(String::as_str).collect();
            for (family, eip) in eips.iter().enumerate() {
                expect(&play.far, *eip, CLIENT[family], &who)?;
            }
            expect(&play.near, eips[0], "192.0.2.200", &who)?;
            expect(&play.near, eips[1], "2001:db8:e::c8", &who)?;
        }
        // From workloads: of the VPC itself as themselves, of another as their VPC's router.
        for (vpc, .., client) in &guests {
            let join = world.controller.status(&format!("vpc/{vpc}"))?;
            for (eips, (other, ..)) in eips.iter().zip(&guests) {
                for (family, eip) in eips.iter().enumerate() {
                    for _ in 0..20 {
                        let (who, seen) = asked(client, *eip)?;
                        assert!(who.starts_with(&format!("{other}/web-")), "{who}");
                        let expected = if other == vpc {
                            client.addresses()[family]
                        } else {
                            join["joinAddresses"][family]
                                .as_str()
                                .context("a join address")?
                                .parse()?
                        };
                        assert_eq!(seen, expected, "{vpc} asks {other} at {eip}");
                    }
                }
            }
        }
        // The way out: the gateway's own address.
        let out = Server::start(play.far.namespace(), "far", &[(Protocol::Tcp, 8000)])?;
        for (at, target) in ["198.51.100.7:8000", "[2001:db8:c::7]:8000"]
            .iter()
            .enumerate()
        {
            let (_, seen) = asked(&guests[0].3, target.parse()?)?;
            assert_eq!(seen, ["192.0.2.1", "2001:db8:e::1"][at].parse::<IpAddr>()?);
        }
        drop(out);
        Ok(())
    })
}

#[test]
fn the_outside_reaches_nothing_but_served_ports() -> Result<()> {
    Play::run(|play| {
        let world = play.world;
        let pod = world.pod("blue/web-a", "node1", "{app: web}")?;
        let eips = play.service("blue/web", "  eip: {ipFamilies: [IPv4, IPv6]}")?;
        play.joined(&["node1"])?;
        let join = world.controller.status("vpc/blue")?;
        let join: IpAddr = join["joinAddresses"][0]
            .as_str()
            .context("joined")?
            .parse()?;
        first(&play.near, eips[0])?;
        // The neighbour's routes lead everything there is into the gateway: what stops it is the gateway.
        for net in ["10.0.0.0/8", "100.64.0.0/10"] {
            play.near
                .namespace()
                .ip(&format!("route add {net} via 192.0.2.1"))?;
        }
        for (what, target) in [
            ("a pod", SocketAddr::new(pod.ipv4()?, TCP)),
            ("a cluster address", "10.96.0.1:80".parse()?),
            ("the VPC's router on the join", SocketAddr::new(join, 80)),
            ("a per-VPC address", "100.96.16.1:80".parse()?),
            ("a port nobody serves", SocketAddr::new(eips[0].ip(), 81)),
        ] {
            let outcome = play.near.ask(Protocol::Tcp, target);
            assert!(
                is_refused_or_silent(&outcome),
                "{what} {target}: {outcome:?}"
            );
        }
        first(&play.near, eips[0])?;
        Ok(())
    })
}

#[test]
fn an_address_is_there_as_long_as_its_eip() -> Result<()> {
    Play::run(|play| {
        let world = play.world;
        let _web = world.pod("blue/web-a", "node1", "{app: web}")?;
        let _mail = world.pod("blue/mail-a", "node2", "{app: mail}")?;
        let address: IpAddr = "192.0.2.50".parse()?;
        let six: IpAddr = "2001:db8:e::50".parse()?;
        let eip = "kind: Eip
metadata: {name: www, namespace: blue}
spec: {gateway: internet, addresses: [192.0.2.50, \"2001:db8:e::50\"]}
";
        assert!(!play.near.resolves(address)?);
        world.object("eip/blue/www", "eip.yaml", eip)?;
        // Held without a service: answered for, and nothing behind it.
        poll(|| Ok(play.near.resolves(address)? && play.near.resolves(six)?))
            .context("nobody answers for the Eip")?;
        let outcome = play.near.ask(Protocol::Tcp, SocketAddr::new(address, 80));
        assert!(is_refused_or_silent(&outcome), "{outcome:?}");
        // Two services on different ports.
        play.service("blue/web", "  eip: {name: www}")?;
        world.service(
            "blue/mail",
            &format!(
                "  eip: {{name: www}}
  ports: [{{port: 25, targetPort: {TCP}}}]
  backends: [{{kind: Pod, selector: {{matchLabels: {{app: mail}}}}}}]"
            ),
        )?;
        play.joined(&NODES)?;
        assert_eq!(
            first(&play.near, SocketAddr::new(address, 80))?.who,
            "blue/web-a"
        );
        assert_eq!(
            first(&play.near, SocketAddr::new(six, 80))?.who,
            "blue/web-a"
        );
        assert_eq!(
            first(&play.near, SocketAddr::new(address, 25))?.who,
            "blue/mail-a"
        );
        // One goes, the other stays.
        world.delete_service("blue/web")?;
        world.controller.wait_for("eip/blue/www", |status| {
            status["usedBy"] == serde_json::json!(["mail"])
        })?;
        world.lab.sync()?;
        let outcome = play.near.ask(Protocol::Tcp, SocketAddr::new(address, 80));
        assert!(is_refused_or_silent(&outcome), "{outcome:?}");
        assert_eq!(
            first(&play.near, SocketAddr::new(address, 25))?.who,
            "blue/mail-a"
        );
        // The Eip goes: nobody answers for it any more.
        world.controller.delete("eip.yaml")?;
        world
            .controller
            .wait_for("yusurservice/blue/mail", |status| {
                status["paths"] == serde_json::json!(["Vpc"])
            })?;
        world.lab.sync()?;
        assert!(!play.near.resolves(address)? && !play.near.resolves(six)?);
        Ok(())
    })
}

#[test]
fn source_ranges_admit_only_whom_they_name() -> Result<()> {
    Play::run(|play| {
        let world = play.world;
        let _web = world.pod("blue/web-a", "node1", "{app: web}")?;
        let client = world.pod("blue/client", "node1", "{}")?;
        let stranger = world.pod("red/client", "node1", "{}")?;
        let ranges = "  eip: {ipFamilies: [IPv4, IPv6]}
  sourceRanges: [198.51.100.0/24, \"2001:db8:c::/64\"]";
        // The control: without ranges everybody gets in.
        let eips = play.service("blue/web", "  eip: {ipFamilies: [IPv4, IPv6]}")?;
        // So that the other VPC has a way to the gateway at all.
        let _own = world.pod("red/own-a", "node2", "{app: own}")?;
        play.service("red/own", "  eip: {}")?;
        play.joined(&NODES)?;
        for eip in &eips {
            first(&play.near, *eip)?;
            first(&play.far, *eip)?;
            asked(&stranger, *eip)?;
        }
        play.service("blue/web", ranges)?;
        for (family, eip) in eips.iter().enumerate() {
            expect(&play.far, *eip, CLIENT[family], &["blue/web-a"])?;
            for (protocol, port) in [(Protocol::Tcp, 80), (Protocol::Udp, 53)] {
                let target = SocketAddr::new(eip.ip(), port);
                let near = play.near.ask(protocol, target);
                assert!(matches!(near, Err(AskError::Silence)), "{target}: {near:?}");
                let other = stranger.ask(protocol, target);
                assert!(
                    matches!(other, Err(AskError::Silence)),
                    "{target}: {other:?}"
                );
            }
            // Inside the VPC nothing is restricted.
            asked(&client, *eip)?;
        }
        Ok(())
    })
}

#[test]
fn another_node_takes_over_and_keeps_it() -> Result<()> {
    Play::run(|play| {
        let world = play.world;
        let _web = world.pod("blue/web-a", "node1", "{app: web}")?;
        let eips = play.service("blue/web", "  eip: {ipFamilies: [IPv4, IPv6]}")?;
        play.joined(&["node1"])?;
        first(&play.near, eips[0])?;
        let settles = |node: &str| -> Result<()> {
            poll(|| Ok(play.serving()? == node))
                .with_context(|| format!("waiting for {node} to serve"))
        };
        let node = |ready: &str| {
            format!(
                "apiVersion: v1\nkind: Node\nmetadata: {{name: gw1}}\n\
                 status: {{conditions: [{{type: Ready, status: \"{ready}\"}}]}}\n"
            )
        };
        settles("gw1")?;
        world.controller.save("node.yaml", &node("False"))?;
        settles("gw2")?;
        for eip in &eips {
            expect(
                &play.near,
                *eip,
                if eip.is_ipv4() {
                    "192.0.2.200"
                } else {
                    "2001:db8:e::c8"
                },
                &["blue/web-a"],
            )?;
        }
        // Back again, it stands by.
        world.controller.save("node.yaml", &node("True"))?;
        world.controller.save("network-green.yaml", "apiVersion: yusur.io/v1alpha1\nkind: Vpc\nmetadata: {name: green}\nspec: {eipGateway: internet}\n")?;
        world
            .controller
            .wait_for("vpc/green", |status| status["eipGateway"] == "internet")?;
        world.lab.sync()?;
        assert_eq!(play.serving()?, "gw2");
        expect(&play.far, eips[0], CLIENT[0], &["blue/web-a"])?;
        Ok(())
    })
}
