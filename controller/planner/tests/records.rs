//! What was allocated is recorded before rows use it: the record of one address is none of another.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ovsdb_model::Operation;
use support::manifest::{Document, documents};
use support::{Memory, OWNER, schema};
use yusur_planner::{Config, Inventory, Northbound, ObjectName, Unit, Verdict, operations, plan};

const VPC: &str = "
kind: Vpc
metadata: { name: red, uid: u-red }
spec: { serviceCIDRs: [10.96.0.0/29], allowedNamespaces: { from: All } }
---
kind: YusurService
metadata: { name: young, namespace: a, uid: u-1, created: 10 }
spec: { vpc: red, ports: [{ port: 80 }], backends: [{ kind: VM, addresses: [10.0.1.9] }] }
";

const GATEWAY: &str = "
kind: EipGateway
metadata: { name: internet, uid: u-2 }
spec: { cidrs: [192.0.2.0/24], physicalNetwork: outside, nodes: [n1], default: true, allowedNamespaces: { from: All } }
";

const CROSSING: &str = "
kind: EipGateway
metadata: { name: internet, uid: u-2 }
spec:
  { cidrs: [192.0.2.0/24], physicalNetwork: outside, nodes: [n1, n2, n3], default: true, allowedNamespaces: { from: All } }
---
kind: Vpc
metadata: { name: blue, uid: u-3 }
spec: { allowedNamespaces: { from: All } }
---
kind: YusurService
metadata: { name: wide, namespace: a, uid: u-4, created: 11 }
spec:
  vpc: red
  clusterIP: 10.96.0.4
  eip: { gateway: internet, address: 192.0.2.9 }
  ports: [{ port: 80 }]
  backends: [{ kind: VM, addresses: [10.0.1.9] }, { kind: VM, vpc: blue, addresses: [10.0.1.9] }]
";

fn apply(inventory: &mut Inventory, text: &str) {
    for document in documents(text) {
        let Document::Change(change) = document else {
            panic!("an object");
        };
        inventory.apply(*change);
    }
}

/// Plans all that is dirty and writes it: the load balancers made for a service, and what is said of it.
fn round(
    inventory: &mut Inventory,
    northbound: &mut Memory,
    name: &str,
) -> (usize, Option<Verdict>) {
    let service = Unit::Service(ObjectName::new("a", name));
    let label = service.to_string();
    let units = inventory.take_dirty(northbound.database(), 1000);
    let plan = plan(&units, inventory, northbound.database());
    inventory.planned(&plan);
    let list = operations(&plan.groups);
    let made = list.iter().filter(|operation| {
        matches!(operation, Operation::Insert { table, row, .. }
            if *table == "Load_Balancer" && row.map_str("external_ids", "yusur.io/unit") == Some(&label))
    });
    let made = made.count();
    if !list.is_empty() {
        let batch = northbound.transact(&list).expect("it is written");
        inventory.observe(&batch, northbound.database());
        inventory.committed(&plan.groups, None, northbound.database());
    }
    let groups = plan.groups.into_iter().flat_map(|group| group.verdicts);
    let verdict = groups
        .chain(plan.verdicts)
        .find(|verdict| verdict.unit == service);
    (made, verdict)
}

#[test]
fn a_record_that_was_overtaken_counts_for_nothing() {
    let mut northbound = Memory::new(schema());
    let mut inventory = Inventory::new(Config::new(OWNER));
    apply(&mut inventory, VPC);
    inventory.load(northbound.database());
    let (made, verdict) = round(&mut inventory, &mut northbound, "young");
    let first: Vec<IpAddr> = verdict.expect("a verdict").record();
    assert_eq!((made, first.len()), (0, 1));

    // While that is on its way into the status, the VPC gets another range.
    let moved = VPC.split("---").next().expect("the Vpc");
    apply(
        &mut inventory,
        &moved.replace("10.96.0.0/29", "10.97.0.0/29"),
    );
    let (made, verdict) = round(&mut inventory, &mut northbound, "young");
    let second = verdict.expect("a verdict").record();
    assert_eq!((made, second.len()), (0, 1));
    assert_ne!(first, second);

    let young = Unit::Service(ObjectName::new("a", "young"));
    inventory.recorded(&young, &first);
    let (made, _) = round(&mut inventory, &mut northbound, "young");
    assert_eq!(made, 0, "{second:?} is on no record yet");
    inventory.recorded(&young, &second);
    let (made, _) = round(&mut inventory, &mut northbound, "young");
    assert_eq!(made, 1);
}

/// The external addresses that a unit's rows own.
fn owned(northbound: &Memory, unit: &Unit) -> Vec<String> {
    let label = unit.to_string();
    let rows = northbound.database().rows("NAT");
    let rows = rows.filter(|(_, row)| row.map_str("external_ids", "yusur.io/unit") == Some(&label));
    rows.filter_map(|(_, row)| row.get_str("external_ip").map(str::to_owned))
        .collect()
}

#[test]
fn an_external_address_that_is_no_longer_given_is_recorded_before_it_is_used() {
    for (unit, given, asked) in [
        (
            Unit::Eip(ObjectName::new("a", "web")),
            "{ kind: Eip, metadata: { name: web, namespace: a, uid: u-3 }, spec: { addresses: [192.0.2.9] } }",
            "{ kind: Eip, metadata: { name: web, namespace: a, uid: u-3 }, spec: {} }",
        ),
        (
            Unit::Service(ObjectName::new("a", "young")),
            "{ kind: YusurService, metadata: { name: young, namespace: a, uid: u-1, created: 10 }, spec: { vpc: red, \
             clusterIP: 10.96.0.1, ports: [{ port: 80 }], eip: { addresses: [192.0.2.9] } } }",
            "{ kind: YusurService, metadata: { name: young, namespace: a, uid: u-1, created: 10 }, spec: { vpc: red, \
             clusterIP: 10.96.0.1, ports: [{ port: 80 }], eip: {} } }",
        ),
    ] {
        let mut northbound = Memory::new(schema());
        let mut inventory = Inventory::new(Config::new(OWNER));
        apply(&mut inventory, VPC);
        apply(&mut inventory, GATEWAY);
        apply(&mut inventory, given);
        inventory.load(northbound.database());
        // Planned, but what was sent never arrives.
        let units = inventory.take_dirty(northbound.database(), 1000);
        let lost = plan(&units, &inventory, northbound.database());
        inventory.planned(&lost);
        apply(&mut inventory, asked);
        for group in &lost.groups {
            inventory.lost(group);
            inventory.put_back(&group.units);
        }
        inventory.load(northbound.database());
        round(&mut inventory, &mut northbound, "young");
        assert_eq!(
            owned(&northbound, &unit),
            [""; 0],
            "{unit}: it is on no record yet"
        );

        let address: IpAddr = "192.0.2.9".parse().expect("an address");
        inventory.recorded(&unit, &[address]);
        // Looking at everything again does not undo that.
        inventory.load(northbound.database());
        round(&mut inventory, &mut northbound, "young");
        assert_eq!(owned(&northbound, &unit), ["192.0.2.9"], "{unit}");
    }
}

/// The chassis that the service gateway is pinned to.
fn pinned(northbound: &Memory) -> Option<String> {
    let mut routers = northbound.database().rows("Logical_Router");
    routers.find_map(|(_, row)| row.map_str("options", "chassis").map(str::to_owned))
}

#[test]
fn a_service_gateway_stays_where_it_is_while_nobody_knows_who_serves() {
    for placement in ["WithGateway", "Apart"] {
        let placed = format!("{{ serviceGateway: {{ placement: {placement} }}, cidrs");
        let objects = CROSSING.replace("{ cidrs", &placed);
        let mut northbound = Memory::new(schema());
        let start = |northbound: &Memory, serving: &BTreeMap<String, String>| {
            let mut inventory = Inventory::new(Config::new(OWNER));
            apply(&mut inventory, VPC);
            apply(&mut inventory, &objects);
            inventory.serving(serving);
            inventory.load(northbound.database());
            inventory.sweep(northbound.database());
            inventory
        };
        let second = BTreeMap::from([("internet".to_owned(), "n2".to_owned())]);
        let mut running = start(&northbound, &second);
        for _ in 0..4 {
            round(&mut running, &mut northbound, "wide");
        }
        let home = pinned(&northbound).expect("a service gateway");
        assert_eq!(home == "n2", placement == "WithGateway", "{home}");

        // The gateway is on no chassis now, and the controller starts anew.
        running.serving(&BTreeMap::new());
        round(&mut running, &mut northbound, "wide");
        assert_eq!(pinned(&northbound).as_ref(), Some(&home), "{placement}");
        let mut restarted = start(&northbound, &BTreeMap::new());
        round(&mut restarted, &mut northbound, "wide");
        assert_eq!(pinned(&northbound).as_ref(), Some(&home), "{placement}");
    }
}
