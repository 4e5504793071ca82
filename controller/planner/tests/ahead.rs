//! What is planned while a transaction is on its way is written after it only where neither sees the other.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use support::manifest::{Document, documents};
use support::{Memory, OWNER, schema};
use yusur_planner::{
    Config, Group, Inventory, Northbound, ObjectName, Plan, Unit, operations, plan,
};

const VPC: &str = "
kind: Vpc
metadata: { name: red, uid: u-red }
spec: { serviceCIDRs: [10.96.0.0/24], allowedNamespaces: { from: All } }
";

/// A service with a chosen address, so that no record has to come first.
fn service(name: &str, last: u8, backend: &str) -> String {
    format!(
        "{{ kind: YusurService, metadata: {{ name: {name}, namespace: a, uid: u-{name}, created: 10 }}, spec: {{ \
         vpc: red, clusterIP: 10.96.0.{last}, ports: [{{ port: 80 }}], \
         backends: [{{ kind: VM, addresses: [{backend}] }}] }} }}"
    )
}

struct World {
    inventory: Inventory,
    northbound: Memory,
}

impl World {
    fn new() -> Self {
        let northbound = Memory::new(schema());
        let mut inventory = Inventory::new(Config::new(OWNER));
        inventory.load(northbound.database());
        Self {
            inventory,
            northbound,
        }
    }

    fn apply(&mut self, text: &str) {
        for document in documents(text) {
            let Document::Change(change) = document else {
                panic!("an object");
            };
            self.inventory.apply(*change);
        }
    }

    fn plan(&mut self) -> Plan {
        let database = self.northbound.database();
        let units = self.inventory.take_dirty(database, 1000);
        plan(&units, &self.inventory, database)
    }

    fn write(&mut self, plan: &Plan) {
        self.inventory.planned(plan);
        let batch = self
            .northbound
            .transact(&operations(&plan.groups))
            .expect("it is written");
        self.inventory.observe(&batch, self.northbound.database());
        self.inventory
            .committed(&plan.groups, None, self.northbound.database());
    }

    fn settle(&mut self) {
        while self.inventory.dirty() > 0 {
            let plan = self.plan();
            self.write(&plan);
        }
    }

    fn has(&self, name: &str) -> bool {
        let unit = Unit::Service(ObjectName::new("a", name)).to_string();
        self.northbound
            .database()
            .rows("Load_Balancer")
            .any(|(_, row)| row.map_str("external_ids", "yusur.io/unit") == Some(&unit))
    }
}

#[test]
fn services_beside_services() {
    let mut world = World::new();
    world.apply(VPC);
    world.apply(&service("first", 1, "10.0.1.1"));
    world.settle();

    // Names share a row of the Vpc's; the services themselves do not.
    world.apply(&service("second", 2, "10.0.1.2"));
    let mut flying = world.plan();
    flying.groups.retain(Group::only_adds);
    world.apply(&service("third", 3, "10.0.1.3"));
    let mut ahead = world.plan();
    ahead.groups.retain(Group::only_adds);
    assert!(!ahead.is_empty());
    assert!(ahead.stands_beside(&flying.groups));
    world.write(&flying);
    world.write(&ahead);
    assert!(world.has("second") && world.has("third"));
}

#[test]
fn what_rests_on_rows_in_flight_waits_for_them() {
    let mut world = World::new();
    world.apply(VPC);
    let flying = world.plan();
    assert!(flying.groups.iter().any(|group| group.only_adds()));
    world.apply(&service("first", 1, "10.0.1.1"));
    let ahead = world.plan();
    assert!(!ahead.stands_beside(&flying.groups));

    // Given back, it follows.
    world.inventory.put_back(ahead.units());
    world.write(&flying);
    world.settle();
    assert!(world.has("first"));
}

#[test]
fn what_changes_or_goes_is_not_planned_ahead() {
    let mut world = World::new();
    world.apply(VPC);
    world.apply(&service("first", 1, "10.0.1.1"));
    world.settle();
    world.apply(&service("first", 1, "10.0.1.9"));
    let change = world.plan();
    assert!(!change.is_empty());
    assert!(!change.stands_beside([]), "a row changes");
    world.apply(&service("second", 2, "10.0.1.2"));
    let addition = world.plan();
    assert!(!addition.stands_beside(&change.groups), "beside a change");
}

#[test]
fn what_goes_while_it_is_written_is_not_planned_ahead() {
    let mut world = World::new();
    world.apply(VPC);
    world.settle();
    world.apply(&service("first", 1, "10.0.1.1"));
    let flying = world.plan();
    assert!(flying.groups.iter().all(Group::only_adds));
    world.apply("{ kind: YusurService, metadata: { name: first, namespace: a }, removed: true }");
    // There is no row yet to delete.
    let ahead = world.plan();
    assert!(ahead.is_empty() && !ahead.stands_beside(&flying.groups));
    world.inventory.put_back(ahead.units());
    world.write(&flying);
    assert!(world.has("first"));
    world.settle();
    assert!(!world.has("first"));
}
