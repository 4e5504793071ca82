//! More than OVN, Open vSwitch or DNS carry: what stands, what is left out, and what is said of it.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use support::{Memory, OWNER, schema};
use yusur_planner::{Change, Condition, Config, Inventory, LIMITED, Meta, Object, Unit, run};

struct World {
    inventory: Inventory,
    northbound: Memory,
    said: BTreeMap<Unit, Vec<Condition>>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            inventory: Inventory::new(Config::new(OWNER)),
            northbound: Memory::new(schema()),
            said: BTreeMap::new(),
        };
        world.inventory.load(world.northbound.model.content());
        world.set(vpc(json!([])));
        world
    }

    fn set(&mut self, change: Change) {
        self.inventory.apply(change);
        let verdicts = run(&mut self.inventory, &mut self.northbound, 1_000);
        for verdict in verdicts.expect("the plan goes through") {
            self.said.insert(verdict.unit, verdict.conditions);
        }
    }

    /// The reason and the message of a condition.
    fn said(&self, unit: &str, kind: &str) -> Option<(&'static str, String)> {
        let conditions = self.said.get(&Unit::parse(unit))?;
        let condition = conditions.iter().find(|it| it.kind == kind)?;
        Some((condition.reason, condition.message.to_string()))
    }

    fn limited(&self) -> Option<(&'static str, String)> {
        self.said("service/a/web", LIMITED)
    }

    /// The backends of each VIP.
    fn vips(&self) -> BTreeMap<String, Vec<String>> {
        let content = self.northbound.model.content();
        let mut vips = BTreeMap::new();
        for (_, row) in content.rows("Load_Balancer") {
            let map = row.get("vips").expect("a column").pairs();
            for (vip, backends) in map {
                let backends = backends.as_str().expect("text");
                let listed = backends.split(',').map(str::to_owned).collect();
                vips.insert(vip.as_str().expect("text").to_owned(), listed);
            }
        }
        vips
    }

    /// The addresses that the service's name resolves to.
    fn resolved(&self) -> Vec<String> {
        let content = self.northbound.model.content();
        let name = "web.a.svc.cluster.local";
        let mut rows = content.rows("DNS");
        let found = rows.find_map(|(_, row)| row.map_str("records", name).map(str::to_owned));
        let found = found.unwrap_or_default();
        found.split(' ').map(str::to_owned).collect()
    }
}

fn object<Spec: DeserializeOwned, Status>(
    namespace: &str,
    name: &str,
    spec: Value,
) -> Object<Spec, Status> {
    Object {
        meta: Meta {
            namespace: namespace.into(),
            name: name.into(),
            uid: format!("uid-{name}"),
            generation: 1,
            created: 1,
            ..Meta::default()
        },
        spec: serde_json::from_value(spec).expect("a spec"),
        status: None,
    }
}

fn vpc(routes: Value) -> Change {
    let spec = json!({ "serviceCIDRs": ["10.96.0.0/24"], "allowedNamespaces": { "from": "All" }, "staticRoutes": routes });
    Change::Vpc(object("", "v", spec))
}

fn service(cluster_ip: Value, ports: Value, backends: Value) -> Change {
    let spec = json!({ "vpc": "v", "clusterIP": cluster_ip, "ports": ports, "backends": backends });
    Change::YusurService(object("a", "web", spec))
}

/// So many addresses from the start of a network of 1,024.
fn addresses(network: usize, count: usize) -> Vec<String> {
    let base = 0x0a00_0000 + u32::try_from(network * 1024).expect("small");
    let numbers = 1..=u32::try_from(count).expect("small");
    numbers
        .map(|number| std::net::Ipv4Addr::from(base + number).to_string())
        .collect()
}

fn entry(network: usize, count: usize, weight: u8) -> Value {
    json!({ "kind": "VM", "addresses": addresses(network, count), "weight": weight })
}

#[test]
fn weights_that_do_not_fit_are_told() {
    let mut world = World::new();
    let ports = json!([{ "port": 80 }]);
    let backends = json!([entry(0, 20, 1), entry(1, 200, 10)]);
    world.set(service("10.96.0.9".into(), ports.clone(), backends));
    let listed = &world.vips()["10.96.0.9:80"];
    assert_eq!(listed.len(), 20 + 2 * 200);
    let (reason, message) = world.limited().expect("a word");
    assert_eq!(reason, "WeightsRounded");
    for part in [
        "TCP port 80",
        "weight 1 gets 0.238 % instead of 0.050 % (20 backends)",
        "weight 10 gets 0.476 % instead of 0.495 % (200 backends)",
    ] {
        let found = message.to_lowercase().contains(&part.to_lowercase());
        assert!(found, "{part:?} in {message:?}");
    }
    assert_eq!(
        world.said("service/a/web", "Ready").expect("Ready").0,
        "BackendsReady"
    );

    let backends = json!([entry(0, 20, 1), entry(1, 200, 2)]);
    world.set(service("10.96.0.9".into(), ports, backends));
    assert_eq!(world.limited(), None);
    assert_eq!(world.vips()["10.96.0.9:80"].len(), 20 + 2 * 200);
}

#[test]
fn a_thousand_equal_backends_are_no_limit() {
    let mut world = World::new();
    let ports = json!([{ "name": "a", "port": 80 }, { "name": "b", "port": 81 }]);
    world.set(service(
        "10.96.0.9".into(),
        ports,
        json!([entry(0, 1_000, 7)]),
    ));
    assert_eq!(world.limited(), None);
    for (vip, backends) in world.vips() {
        let distinct: BTreeSet<&String> = backends.iter().collect();
        assert_eq!((backends.len(), distinct.len()), (1_000, 1_000), "{vip}");
    }
}

#[test]
fn the_product_of_ports_and_backends_is_bounded_and_all_ports_stay() {
    let mut world = World::new();
    let ports: Vec<Value> = (0..100)
        .map(|at| json!({ "name": format!("p{at}"), "port": 1_000 + at }))
        .collect();
    let backends: Vec<Value> = (0..64).map(|network| entry(network, 1_000, 1)).collect();
    let turned: Vec<Value> = backends.iter().rev().cloned().collect();
    world.set(service(
        "10.96.0.9".into(),
        ports.clone().into(),
        backends.into(),
    ));
    let vips = world.vips();
    assert_eq!(vips.len(), 100);
    let mut lowest = addresses(0, 400);
    lowest.sort_by_key(|address| address.parse::<std::net::Ipv4Addr>().ok());
    for (vip, backends) in &vips {
        let port = vip.rsplit(':').next().expect("a port");
        let expected: Vec<String> = lowest
            .iter()
            .map(|address| format!("{address}:{port}"))
            .collect();
        assert_eq!(*backends, expected, "{vip}");
    }
    let (reason, message) = world.limited().expect("a word");
    assert_eq!(reason, "TooManyBackends");
    assert!(
        message.contains("64000 backends that could serve, of which the 400"),
        "{message}"
    );

    // The order of a list decides nothing.
    let before = world.northbound.transactions;
    world.set(service("10.96.0.9".into(), ports.into(), turned.into()));
    assert_eq!(world.vips(), vips);
    assert_eq!(world.northbound.transactions, before);
}

#[test]
fn one_port_has_as_many_backends_as_open_vswitch_carries() {
    let mut world = World::new();
    let backends: Vec<Value> = (0..64).map(|network| entry(network, 1_000, 1)).collect();
    let ports = json!([{ "port": 80 }]);
    world.set(service("10.96.0.9".into(), ports.clone(), backends.into()));
    assert_eq!(world.vips()["10.96.0.9:80"].len(), 8_000);
    assert_eq!(world.limited().expect("a word").0, "TooManyBackends");
    // Weights cost no more than backends may.
    world.set(service(
        "10.96.0.9".into(),
        ports,
        json!([entry(0, 900, 1), entry(1, 900, 100)]),
    ));
    assert!(world.vips()["10.96.0.9:80"].len() <= 2_048);
    assert_eq!(world.limited().expect("a word").0, "WeightsRounded");
}

#[test]
fn a_headless_name_resolves_to_what_an_answer_carries() {
    let mut world = World::new();
    world.set(service(
        "None".into(),
        json!([]),
        json!([entry(1, 900, 1), entry(0, 900, 1)]),
    ));
    let resolved = world.resolved();
    let mut lowest = addresses(0, resolved.len());
    lowest.sort_by_key(|address| address.parse::<std::net::Ipv4Addr>().ok());
    assert_eq!(resolved, lowest);
    // Header, question and answers, each with the name of 25 bytes.
    assert!(12 + 25 + 4 + resolved.len() * (25 + 14) <= 1_232);
    assert!(resolved.len() > 25, "{}", resolved.len());
    let (reason, message) = world.limited().expect("a word");
    assert_eq!(reason, "DNSAnswerFull");
    assert!(
        message.contains(&format!("resolves to {} of 1800 addresses", resolved.len())),
        "{message}"
    );
    world.set(service("None".into(), json!([]), json!([entry(0, 25, 1)])));
    assert_eq!((world.limited(), world.resolved().len()), (None, 25));
}

#[test]
fn a_route_over_external_addresses_is_told_to_whom_it_concerns() {
    let mut world = World::new();
    let gateway = json!({ "cidrs": ["192.0.2.0/28"], "physicalNetwork": "outside", "nodes": ["n0"], "default": true });
    world.set(Change::EipGateway(object("", "ext", gateway)));
    let spec = json!({ "vpc": "v", "eip": { "addresses": ["192.0.2.4"] }, "ports": [{ "port": 80 }],
        "backends": [{ "kind": "VM", "addresses": ["10.0.0.4"] }] });
    world.set(Change::YusurService(object("a", "web", spec)));
    let told = |world: &World| {
        ["vpc/v", "service/a/web"].map(|unit| {
            let (reason, message) = world.said(unit, "Ready").expect("Ready");
            let ready = ["Ready", "BackendsReady"].contains(&reason);
            (ready, message.contains("192.0.2.4/32"))
        })
    };
    assert_eq!(told(&world), [(true, false); 2]);
    world.set(vpc(
        json!([{ "destination": "192.0.2.4/32", "nextHop": "10.0.0.9" }]),
    ));
    assert_eq!(told(&world), [(true, true); 2]);
    world.set(vpc(json!([])));
    assert_eq!(told(&world), [(true, false); 2]);
}
