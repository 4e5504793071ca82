//! What was allocated is recorded before rows use it: the record of one address is none of another.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

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
        inventory.committed(&plan.groups, northbound.database());
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

    // While that is on its way into the status, an older service asks for the address by name.
    let older = format!(
        "{{ kind: YusurService, metadata: {{ name: old, namespace: a, uid: u-2, created: 1 }}, spec: {{ vpc: red, \
         clusterIP: {}, ports: [{{ port: 80 }}] }} }}",
        first[0]
    );
    apply(&mut inventory, &older);
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
