//! The story: who answers, a backend that dies, a neighbour that must not see, an accident that mends itself, clients
//! outside, a gateway that dies, an address for both VPCs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use yusur_testbed::lab::{AskError, Protocol, Record};
use yusur_testbed::process::poll;

use crate::world::{GATEWAY, GATEWAYS, STRANGER, World};

/// How many requests a line of a table stands for. Choice is by hash: the smallest share is 1 in 7, so a line misses a
/// backend that works once in ten million times.
const REQUESTS: usize = 120;

/// The address that two services have, one in each VPC.
const VIP: &str = "10.96.0.10:80";

/// How a request travels.
const PICTURE: &str = "   client ── veth ── br-int of the client's node ── Geneve ── br-int of the backend's node ── veth ── backend
                     OVN's load balancer here turns
                     the service's address into a backend's:
                     no proxy, no extra hop, the backend sees the client's own address";

/// Tells it all; fails where anything is not as it should be.
pub(crate) fn tell(world: &World) -> Result<()> {
    println!("\nThe path of a request:\n\n{PICTURE}");
    everybody_answers(world)?;
    a_backend_dies(world)?;
    neighbours_do_not_meet(world)?;
    an_accident_mends_itself(world)?;
    the_outside_comes_in(world)?;
    if world.newest {
        one_address_for_both(world)?;
    }
    a_gateway_dies(world)
}

/// A table in the style of kubectl's.
pub(crate) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table
}

fn chapter(title: impl Display) {
    println!("\n── {title}\n");
}

/// Asks [`REQUESTS`] times, each on a connection of its own, and counts who answered. All of them have to see `source`;
/// without one, the client's own address.
fn ask(
    world: &World,
    (client, protocol, vip): (&str, Protocol, &str),
    source: Option<IpAddr>,
) -> Result<BTreeMap<String, usize>> {
    let address: SocketAddr = vip.parse().with_context(|| format!("the address {vip}"))?;
    let mut answered = BTreeMap::new();
    for _ in 0..REQUESTS {
        let (reply, own) = if client == STRANGER.0 {
            let own: IpAddr = STRANGER.1.parse().context("the stranger's address")?;
            (world.stranger.ask(protocol, address), vec![own])
        } else {
            let workload = world.workload(client)?;
            (
                workload.ask(protocol, address),
                workload.addresses().to_vec(),
            )
        };
        let reply = reply.with_context(|| format!("{client} asks {vip}/{protocol}"))?;
        let expected = source.map_or(own, |source| vec![source]);
        ensure!(
            expected.contains(&reply.client.ip()),
            "{} saw {} for {client}, and not {expected:?}",
            reply.who,
            reply.client
        );
        *answered.entry(reply.who).or_default() += 1;
    }
    Ok(answered)
}

/// One line of the table of who answered; fails unless it was exactly `expected`.
fn line(
    world: &World,
    table: &mut Table,
    request: (&str, Protocol, &str),
    expected: &[&str],
) -> Result<()> {
    table.add_row(row(world, request, expected, None)?);
    Ok(())
}

/// Asks, and says who asked what, and who answered.
fn row(
    world: &World,
    (client, protocol, vip): (&str, Protocol, &str),
    expected: &[&str],
    source: Option<IpAddr>,
) -> Result<[String; 3]> {
    let answered = ask(world, (client, protocol, vip), source)?;
    let who: BTreeSet<&str> = answered.keys().map(String::as_str).collect();
    ensure!(
        who == expected.iter().copied().collect(),
        "{client} → {vip}/{protocol}: expected answers of {expected:?}, got {answered:?}"
    );
    let from = if client == STRANGER.0 {
        format!("{client} outside")
    } else {
        format!("{client} on {}", world.workload(client)?.chassis())
    };
    let counts: Vec<_> = answered
        .iter()
        .map(|(who, count)| format!("{} ×{count}", who.rsplit('/').next().unwrap_or(who)))
        .collect();
    Ok([from, format!("{vip} {protocol}"), counts.join("  ")])
}

const WEB: [&str; 5] = [
    "shop/web-1",
    "shop/web-2",
    "shop/vm-1",
    "shop/bm-1",
    "shop/appliance-1",
];

fn everybody_answers(world: &World) -> Result<()> {
    chapter(format_args!(
        "Who answers ({REQUESTS} requests a line; the Pods of `web` have twice the weight)"
    ));
    let mut table = table(["CLIENT", "ASKS", "ANSWERED BY"]);
    let pods = &WEB[..2];
    let machines = &WEB[2..4];
    line(world, &mut table, ("shop/client", Protocol::Tcp, VIP), &WEB)?;
    line(
        world,
        &mut table,
        ("shop/visitor", Protocol::Tcp, VIP),
        &WEB,
    )?;
    let dual = "[fd00:96::11]:80";
    line(
        world,
        &mut table,
        ("shop/client", Protocol::Tcp, dual),
        pods,
    )?;
    let telemetry = "10.96.0.99:4000";
    line(
        world,
        &mut table,
        ("shop/client", Protocol::Udp, telemetry),
        machines,
    )?;
    let ledger = ["bank/ledger-1", "bank/ledger-vm"];
    line(
        world,
        &mut table,
        ("bank/client", Protocol::Tcp, VIP),
        &ledger,
    )?;
    println!("{}", table.trim_fmt());
    println!(
        "\nThe last line is the same address in the other VPC: another service, other backends."
    );

    let client = world.workload("shop/client")?;
    let name = "web.shop.svc.cluster.local";
    // Whichever server a workload is set up to ask, OVN answers for the names of the VPC's services.
    let resolver = "10.0.1.1".parse()?;
    let found = client.resolve(resolver, name, Record::A)?;
    ensure!(
        found == ["10.96.0.10".parse::<std::net::IpAddr>()?],
        "{name} is {found:?}"
    );
    println!("{name} resolves to 10.96.0.10, by OVN's own DNS.");

    let soon = "10.96.0.14:80";
    let began = Instant::now();
    let outcome = client.ask(Protocol::Tcp, soon.parse()?);
    ensure!(outcome == Err(AskError::Refused), "{soon}: {outcome:?}");
    println!(
        "{soon} has no backends: refused at once ({:.1} ms), not left to time out.",
        began.elapsed().as_secs_f64() * 1e3
    );
    Ok(())
}

fn a_backend_dies(world: &World) -> Result<()> {
    chapter("The Pod web-1 dies; a client of vm-1 does not notice");
    let client = world.workload("shop/client")?;
    let mut kept = {
        let mut found = None;
        poll(|| {
            let mut connection = client.connect(VIP.parse()?)?;
            if connection.ask()?.who == "shop/vm-1" {
                found = Some(connection);
            }
            Ok(found.is_some())
        })?;
        found.context("no connection to vm-1")?
    };
    let service = "yusurservice/shop/web";
    let ready = |status: &serde_json::Value| status["backends"]["ready"].as_i64();
    let before = ready(&world.controller.status(service)?).context("no count of backends")?;
    world.crash("shop/web-1");
    let began = Instant::now();
    world.amend(
        "02-workloads.yaml",
        ("Pod", "web-1"),
        "status: {conditions: [{type: Ready, status: \"False\"}]}\n",
    )?;
    world
        .controller
        .wait_for(service, |status| ready(status) < Some(before))?;
    world.lab.sync()?;
    println!(
        "{:.0} ms after its manifest said it is not ready, every node sends its share elsewhere:\n",
        began.elapsed().as_secs_f64() * 1e3
    );
    let mut table = table(["CLIENT", "ASKS", "ANSWERED BY"]);
    line(
        world,
        &mut table,
        ("shop/client", Protocol::Tcp, VIP),
        &WEB[1..],
    )?;
    line(
        world,
        &mut table,
        ("shop/visitor", Protocol::Tcp, VIP),
        &WEB[1..],
    )?;
    println!("{}", table.trim_fmt());
    ensure!(
        kept.ask()?.who == "shop/vm-1",
        "the connection opened before moved to another backend"
    );
    println!("\nThe connection to vm-1, opened before, lived through it.");
    Ok(())
}

fn neighbours_do_not_meet(world: &World) -> Result<()> {
    chapter("Neighbours do not meet");
    let target = "10.0.2.11:80".parse()?;
    let reply = world.workload("shop/client")?.ask(Protocol::Tcp, target)?;
    ensure!(
        reply.who == "shop/vm-1",
        "{target} was answered by {}",
        reply.who
    );
    let outcome = world.workload("bank/client")?.ask(Protocol::Tcp, target);
    ensure!(
        matches!(outcome, Err(AskError::Silence | AskError::Other(_))),
        "bank/client reached {target}: {outcome:?}"
    );
    println!(
        "{target} answers shop/client as vm-1; for bank/client, in the other VPC, it does not exist."
    );
    let port = SocketAddr::new(world.workload("bank/ledger-1")?.ipv4()?, 8080);
    let reply = world.workload("bank/client")?.ask(Protocol::Tcp, port)?;
    ensure!(
        reply.who == "bank/ledger-1",
        "{port} was answered by {}",
        reply.who
    );
    println!("{port}, of a range both VPCs use, is ledger-1 for bank/client.");
    Ok(())
}

fn an_accident_mends_itself(world: &World) -> Result<()> {
    chapter("Somebody deletes all load balancers by hand");
    let condition = "external_ids:\"yusur.io/owner\"=yusur";
    let balancers = |column: &str| {
        let column = format!("--columns={column}");
        let list = ["--bare", &column, "find", "Load_Balancer", condition];
        let found = world.lab.nbctl(&list)?;
        let found = found.split_whitespace().map(str::to_owned);
        Ok::<_, anyhow::Error>(found.collect::<BTreeSet<_>>())
    };
    let (rows, before) = (balancers("_uuid")?, balancers("name")?);
    ensure!(!before.is_empty(), "there are no load balancers to delete");
    let began = Instant::now();
    let mut arguments = vec!["destroy", "Load_Balancer"];
    arguments.extend(rows.iter().map(String::as_str));
    world.lab.nbctl(&arguments)?;
    poll(|| Ok(balancers("name")? == before && balancers("_uuid")?.len() == rows.len()))?;
    world.lab.sync()?;
    println!(
        "All {} are back after {:.0} ms:\n",
        rows.len(),
        began.elapsed().as_secs_f64() * 1e3
    );
    let mut table = table(["CLIENT", "ASKS", "ANSWERED BY"]);
    line(
        world,
        &mut table,
        ("shop/client", Protocol::Tcp, VIP),
        &WEB[1..],
    )?;
    println!("{}", table.trim_fmt());
    Ok(())
}

/// The external addresses, each of a VPC's service.
const EXTERNAL: [(&str, &str, [&str; 2]); 2] = [
    ("shop", "192.0.2.80:80", ["shop/vm-1", "shop/bm-1"]),
    ("bank", "192.0.2.90:80", ["bank/ledger-1", "bank/ledger-vm"]),
];

fn the_outside_comes_in(world: &World) -> Result<()> {
    chapter("From outside: an external address for a service of each VPC");
    let mut table = table(["CLIENT", "ASKS", "ANSWERED BY"]);
    for (vpc, address, who) in EXTERNAL {
        // The gateway's port finds its node, and the node its neighbours.
        let target = address.parse()?;
        poll(|| Ok(world.stranger.ask(Protocol::Tcp, target).is_ok()))
            .with_context(|| format!("waiting for the external address of Vpc {vpc}"))?;
        line(
            world,
            &mut table,
            (STRANGER.0, Protocol::Tcp, address),
            &who,
        )?;
    }
    println!("{}", table.trim_fmt());
    let closed = "192.0.2.80:22".parse()?;
    let outcome = world.stranger.ask(Protocol::Tcp, closed);
    ensure!(
        outcome.is_err(),
        "{closed}, which no service has, answered: {outcome:?}"
    );
    println!(
        "\nThe VPCs' own addresses overlap; outside they do not. Backends see the client's own address, {}.",
        STRANGER.1
    );
    Ok(())
}

/// A table of who answers the client outside at one address.
fn the_stranger_asks(world: &World, address: &str, who: &[&str]) -> Result<()> {
    let mut table = table(["CLIENT", "ASKS", "ANSWERED BY"]);
    line(world, &mut table, (STRANGER.0, Protocol::Tcp, address), who)?;
    println!("{}", table.trim_fmt());
    Ok(())
}

/// Who answers at the addresses that [`one_address_for_both`] adds: a backend in each VPC.
const EVERYWHERE: [&str; 2] = ["shop/vm-1", "bank/ledger-vm"];

/// The address of the service whose backends see the service gateway, and of that whose backends see the client.
const BY_SERVICE_GATEWAY: &str = "192.0.2.100:80";
const PRESERVED: &str = "192.0.2.101:80";

fn one_address_for_both(world: &World) -> Result<()> {
    chapter("One external address for both VPCs: the bank lets the namespace shop in");
    let networks = "01-networks.yaml";
    world.amend(networks, ("Vpc", "bank"), "    names: [shop]\n")?;
    let services = include_str!("../everywhere.yaml");
    world.controller.save("everywhere.yaml", services)?;
    for service in ["everywhere", "everywhere-preserve"] {
        let object = format!("yusurservice/shop/{service}");
        world
            .controller
            .wait_for_condition(&object, 1, "Programmed")?;
    }
    let gateway = world.controller.wait_for(GATEWAY, |status| {
        !status["activeNode"].is_null() && !status["serviceGateway"]["node"].is_null()
    })?;
    world.lab.sync()?;
    both_answer(world)?;
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    println!(
        "\nThe service gateway on {} has the first come from itself, so that answers find back whatever the VPCs' \
         routes are.\nThe second says sourceAddress: Preserve: the EIP gateway on {} balances it, and leaves the source \
         alone.",
        word(&gateway["serviceGateway"]["node"]),
        word(&gateway["activeNode"])
    );
    Ok(())
}

/// A table of who answers at the addresses for both VPCs, and whom they see.
fn both_answer(world: &World) -> Result<()> {
    let status = world.controller.status(GATEWAY)?;
    let own = status["serviceGateway"]["addresses"][0].as_str();
    let own: IpAddr = own.context("the service gateway's address")?.parse()?;
    let stranger: IpAddr = STRANGER.1.parse()?;
    let mut table = table(["CLIENT", "ASKS", "ANSWERED BY", "THEY SEE"]);
    for (client, address, source) in [
        (STRANGER.0, BY_SERVICE_GATEWAY, own),
        ("bank/client", BY_SERVICE_GATEWAY, own),
        (STRANGER.0, PRESERVED, stranger),
    ] {
        // The service gateway may be on its way, and finds its neighbours.
        let target = address.parse()?;
        let mut seen = BTreeSet::new();
        poll(|| {
            let reply = world.stranger.ask(Protocol::Tcp, target);
            seen.extend(reply.map(|reply| reply.who));
            Ok(seen.len() == EVERYWHERE.len())
        })
        .with_context(|| format!("waiting for {EVERYWHERE:?} behind {address}: {seen:?}"))?;
        let request = (client, Protocol::Tcp, address);
        let [client, asks, answered] = row(world, request, &EVERYWHERE, Some(source))?;
        let seen = match source == own {
            true => format!("{source}, the service gateway"),
            false => format!("{source}, the client"),
        };
        table.add_row([client, asks, answered, seen]);
    }
    println!("{}", table.trim_fmt());
    Ok(())
}

fn a_gateway_dies(world: &World) -> Result<()> {
    let [first, second, _] = GATEWAYS;
    chapter(format_args!(
        "{first} dies in the middle of a stream of requests"
    ));
    let [(_, address, who), ..] = EXTERNAL;
    let outage = world.stranger.outage(address.parse()?, || {
        let node = world.lab.node(first)?;
        node.vswitchd().kill()?;
        node.controller().kill()
    })?;
    println!(
        "{:.1} s later new connections work again, through {second}:\n",
        outage.as_secs_f64()
    );
    the_stranger_asks(world, address, &who)?;
    if world.newest {
        let status = world.controller.wait_for(GATEWAY, |status| {
            status["activeNode"] == second && status["serviceGateway"]["node"] != second
        })?;
        println!(
            "\nThe service gateway was there, gives way to the gateway, and works on from {}:\n",
            status["serviceGateway"]["node"]
                .as_str()
                .unwrap_or_default()
        );
        world.lab.sync_without(first)?;
        both_answer(world)?;
    }
    Ok(())
}
