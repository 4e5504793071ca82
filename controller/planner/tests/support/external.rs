//! Many VPCs with the same ranges behind one EIP gateway, and many services with an EIP; one in ten has backends in a
//! second VPC, and half of these see their clients. For tests of how rows add up, and for benchmarks.
#![allow(dead_code, unreachable_pub, reason = "each user has its part")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use yusur_planner::{Change, Config, Inventory, Meta, Object, Unit, operations, plan, run};

use crate::support::{Memory, OWNER, schema};

/// A planner, its Northbound, and how much there is.
pub struct World {
    pub inventory: Inventory,
    pub northbound: Memory,
    vpcs: usize,
    kind: fn(usize) -> Kind,
}

/// How a service is reached from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its backends are in one VPC.
    OneVpc,
    /// In two, by the service gateway.
    ServiceGateway,
    /// In two, and they see their clients; other VPCs take the service gateway.
    Preserve,
}

impl Kind {
    /// What there is most of, and a little of the others.
    pub fn mixed(at: usize) -> Self {
        match at % 20 {
            9 => Self::ServiceGateway,
            19 => Self::Preserve,
            _ => Self::OneVpc,
        }
    }
}

/// What a change came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Cost {
    /// Units that were looked at.
    pub units: usize,
    /// Operations that were written.
    pub operations: usize,
}

impl World {
    /// All of them, written.
    pub fn new(vpcs: usize, services: usize) -> Self {
        Self::of(vpcs, services, Kind::mixed)
    }

    /// The same with services of these kinds.
    pub fn of(vpcs: usize, services: usize, kind: fn(usize) -> Kind) -> Self {
        let mut inventory = Inventory::new(Config::new(OWNER));
        inventory.apply(gateway());
        for vpc in 0..vpcs {
            for change in network(vpc) {
                inventory.apply(change);
            }
        }
        for at in 0..services {
            inventory.apply(service(at, vpcs, 0, kind(at)));
        }
        let mut northbound = Memory::new(schema());
        inventory.load(northbound.model.content());
        run(&mut inventory, &mut northbound, 1000).expect("the plan goes through");
        Self {
            inventory,
            northbound,
            vpcs,
            kind,
        }
    }

    /// How many rows each table has.
    pub fn rows(&self) -> BTreeMap<String, usize> {
        let content = self.northbound.model.content();
        let tables = yusur_planner::nb::TABLES.iter();
        tables
            .map(|table| (table.name.to_owned(), content.rows(table.name).count()))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// Another version of the service `at`.
    pub fn version(&self, at: usize, version: u8) -> Change {
        service(at, self.vpcs, version, (self.kind)(at))
    }

    /// The same as another kind of service.
    pub fn changed(&self, at: usize, version: u8, kind: Kind) -> Change {
        service(at, self.vpcs, version, kind)
    }

    /// Takes in a change and writes what follows.
    pub fn write(&mut self, change: Change) {
        self.inventory.apply(change);
        run(&mut self.inventory, &mut self.northbound, 1000).expect("the plan goes through");
    }

    /// Takes in a change and plans it, without writing it.
    pub fn change(&mut self, change: Change) -> Cost {
        self.inventory.apply(change);
        let content = self.northbound.model.content();
        let units: Vec<Unit> = self.inventory.take_dirty(content, usize::MAX);
        let plan = plan(&units, &self.inventory, content);
        Cost {
            units: units.len(),
            operations: operations(&plan.groups).len(),
        }
    }
}

fn gateway() -> Change {
    let spec = json!({ "cidrs": ["172.16.0.0/16"], "nextHops": ["172.16.255.254"], "physicalNetwork": "outside",
        "nodes": ["gw1", "gw2"], "default": true });
    Change::EipGateway(object("", "internet", spec))
}

fn network(vpc: usize) -> [Change; 2] {
    let spec = json!({ "serviceCIDRs": ["10.96.0.0/12"], "allowedNamespaces": { "from": "All" } });
    let subnet = json!({ "vpc": format!("v{vpc}"), "cidrs": ["10.0.0.0/16"] });
    [
        Change::Vpc(object("", &format!("v{vpc}"), spec)),
        Change::Subnet(object("", &format!("v{vpc}-front"), subnet)),
    ]
}

/// The service `at`, whose second backend differs from version to version.
fn service(at: usize, vpcs: usize, version: u8, kind: Kind) -> Change {
    let number = u32::try_from(at).expect("small");
    let address = |base: u32| Ipv4Addr::from(base + number).to_string();
    let (own, other) = (at % vpcs, (at + 1) % vpcs);
    let mut backends =
        vec![json!({ "kind": "VM", "addresses": ["10.0.0.11", format!("10.0.1.{version}")] })];
    if kind != Kind::OneVpc {
        backends
            .push(json!({ "kind": "VM", "vpc": format!("v{other}"), "addresses": ["10.0.0.11"] }));
    }
    let source = match kind {
        Kind::Preserve => "Preserve",
        Kind::OneVpc | Kind::ServiceGateway => "ServiceGateway",
    };
    let spec = json!({ "vpc": format!("v{own}"), "clusterIP": address(0x0a60_0001), "eip": { "addresses": [address(0xac10_000a)] },
        "sourceAddress": source, "ports": [{ "port": 80, "targetPort": 8080 }], "backends": backends });
    Change::YusurService(object(
        &format!("ns-{}", at % 50),
        &format!("service-{at}"),
        spec,
    ))
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
            uid: format!("uid-{namespace}-{name}"),
            generation: 1,
            created: 1_700_000_000,
            ..Meta::default()
        },
        spec: serde_json::from_value(spec).expect("a spec"),
        status: None,
    }
}
