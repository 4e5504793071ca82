//! That a change makes all dirty which it means: whatever happened, looking at every unit once more finds nothing to
//! write, neither here nor after a restart with the same objects.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use ovsdb_model::{Datum, Mutation, Operation, Row, Schema, Uuid};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::manifest::{Document, document};
use support::{Memory, OWNER, schema};
use yusur_planner::{
    Change, Config, Inventory, Northbound, ObjectRef, Status, Truth, Unit, Verdict, nb, operations,
    plan, run,
};

/// One thing that happens.
#[derive(Clone, Debug)]
enum Happening {
    /// An object set, or removed.
    Object(Value),
    /// Somebody damages a row: which one (of all, modulo their number), and how.
    Damage(usize, Damage),
    /// The planner starts again.
    Restart,
    /// An EIP gateway is seen on a chassis, or on none.
    Serving(&'static str, Option<&'static str>),
    /// What is dirty is planned and written, so many units at a time.
    Settle(usize),
}

#[derive(Clone, Debug)]
enum Damage {
    Delete,
    Strip,
    Relabel,
    Edit,
    TakeMembers,
    Misplace(usize),
}

fn pick<T: Clone + std::fmt::Debug + 'static>(list: &'static [T]) -> impl Strategy<Value = T> {
    prop::sample::select(list)
}

const NAMESPACES: &[&str] = &["a", "b"];
const VPCS: &[&str] = &["red", "blue"];
const SUBNETS: &[&str] = &["s1", "s2", "s3"];
const LABELS: &[&str] = &["web", "db"];
const GATEWAYS: &[&str] = &["g1", "g2"];
const EIPS: &[&str] = &["e1", "e2"];

fn removed(value: &mut Value, gone: bool) {
    if gone {
        value["removed"] = json!(true);
    }
}

/// What a service's spec says of the outside, or nothing.
fn outside() -> impl Strategy<Value = Option<[(&'static str, Value); 3]>> {
    let flags = (any::<bool>(), any::<bool>());
    (0..9_u8, pick(EIPS), pick(GATEWAYS), flags).prop_map(
        |(how, eip, gateway, (guarded, preserve))| {
            let eip = match how {
                0 => json!({ "name": eip }),
                1 => json!({ "name": "e1" }),
                2 => json!({ "gateway": gateway }),
                3 => json!({ "gateway": gateway, "addresses": ["192.0.2.3"] }),
                4 => json!({}),
                5 => json!({ "ipFamilies": ["IPv4", "IPv6"] }),
                _ => return None,
            };
            let sources = if guarded {
                json!(["198.51.100.0/24", "2001:db8::/32"])
            } else {
                json!([])
            };
            let source = if preserve {
                "Preserve"
            } else {
                "ServiceGateway"
            };
            Some([
                ("eip", eip),
                ("sourceRanges", sources),
                ("sourceAddress", json!(source)),
            ])
        },
    )
}

fn object() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => (pick(VPCS), pick(&["10.96.0.0/29", "10.97.0.0/29"]), 0..4_u8, any::<bool>(), 0..6_u8).prop_map(
            |(name, cidr, allow, route, gone)| {
                // Some name a gateway, some follow their services.
                let gateway = if allow == 3 { json!("g1") } else { json!(null) };
                let allowed = match allow {
                    0 => json!({ "names": ["a"] }),
                    1 => json!({ "selector": { "matchLabels": { "tier": "gold" } } }),
                    _ => json!({ "from": "All" }),
                };
                let routes = if route { json!([{ "destination": "192.0.2.0/24", "nextHop": "10.0.1.9" }]) } else { json!([]) };
                let mut value = json!({ "kind": "Vpc", "metadata": { "name": name, "uid": name }, "spec": {
                    "serviceCIDRs": [cidr, "fd00:96::/120"], "allowedNamespaces": allowed, "staticRoutes": routes, "eipGateway": gateway } });
                removed(&mut value, gone == 0);
                value
            }
        ),
        1 => (pick(SUBNETS), pick(VPCS), 0..3_u8, 0..3_u8, 0..6_u8).prop_map(|(name, vpc, net, default, gone)| {
            let cidrs = match net {
                0 => json!(["10.0.1.0/29"]),
                1 => json!(["10.0.2.0/28", "fd00:2::/64"]),
                _ => json!(["10.0.0.0/20"]),
            };
            let default = match default {
                0 => json!({ "names": ["a"] }),
                1 => json!({ "from": "All" }),
                _ => json!({}),
            };
            let mut value = json!({ "kind": "Subnet", "metadata": { "name": name, "uid": name, "created": net },
                "spec": { "vpc": vpc, "cidrs": cidrs, "defaultForNamespaces": default } });
            removed(&mut value, gone == 0);
            value
        }),
        1 => (pick(NAMESPACES), any::<bool>()).prop_map(|(name, gold)| {
            json!({ "kind": "Namespace", "metadata": { "name": name, "labels": if gold { json!({ "tier": "gold" }) } else { json!({}) } } })
        }),
        5 => (pick(NAMESPACES), 0..4_u8, pick(LABELS), 0..8_u8, 0..5_u8, 0..3_u8).prop_map(
            |(namespace, n, label, state, gone, uid)| {
                let status = match state {
                    0 => json!({ "phase": "Failed" }),
                    1 | 2 => json!({ "ready": false }),
                    _ => json!({ "ready": true }),
                };
                let annotations = if state == 7 { json!({ "yusur.io/subnet": "s2" }) } else { json!({}) };
                let mut value = json!({ "kind": "Pod", "metadata": { "name": format!("p{n}"), "namespace": namespace,
                    "uid": format!("p{n}-{}", uid / 2), "created": n, "labels": { "app": label, "own": format!("p{n}") },
                    "deleting": state == 3, "annotations": annotations },
                    "spec": { "containers": [{ "ports": [{ "name": "http", "containerPort": 8000 + u16::from(n) }] }] }, "status": status });
                removed(&mut value, gone == 0);
                value
            }
        ),
        2 => (pick(NAMESPACES), 0..2_u8, pick(SUBNETS), 0..4_u8, pick(LABELS), 0..5_u8).prop_map(
            |(namespace, n, subnet, given, label, gone)| {
                let addresses = match given {
                    0 => json!(["10.0.1.3"]),
                    1 => json!(["10.0.2.3"]),
                    _ => json!([]),
                };
                let mut value = json!({ "kind": "VNic", "metadata": { "name": format!("v{n}"), "namespace": namespace,
                    "uid": format!("v{n}"), "created": 5 - n, "labels": { "app": label } }, "spec": { "subnet": subnet,
                    "addresses": addresses, "owner": { "kind": if n == 0 { "VM" } else { "BM" }, "name": "x" } } });
                removed(&mut value, gone == 0);
                value
            }
        ),
        1 => (pick(GATEWAYS), 0..4_u8, any::<bool>(), 0..3_u8, 0..6_u8).prop_map(|(name, net, default, allow, gone)| {
            let cidrs = match net {
                0 => json!(["192.0.2.0/29"]),
                1 => json!(["192.0.2.0/29", "2001:db8:e::/64"]),
                2 => json!(["100.64.1.0/24"]),
                _ => json!(["2001:db8:f::/64"]),
            };
            let allowed = if allow == 0 { json!({ "names": ["a"] }) } else { json!({ "from": "All" }) };
            let nodes = if allow == 1 { json!(["n1", "n2"]) } else { json!(["n2", "n1"]) };
            let mut value = json!({ "kind": "EipGateway", "metadata": { "name": name, "uid": name, "created": net }, "spec": { "cidrs": cidrs,
                "physicalNetwork": "outside", "nodes": nodes, "default": default, "allowedNamespaces": allowed,
                "serviceGateway": { "placement": if default { "Apart" } else { "WithGateway" } } } });
            removed(&mut value, gone == 0);
            value
        }),
        2 => (pick(NAMESPACES), pick(EIPS), 0..5_u8, pick(GATEWAYS), 0..5_u8, 0..3_u8).prop_map(
            |(namespace, name, how, gateway, gone, uid)| {
                let spec = match how {
                    0 => json!({ "gateway": gateway }),
                    1 => json!({ "addresses": ["192.0.2.3"] }),
                    2 => json!({ "gateway": gateway, "ipFamilies": ["IPv6", "IPv4"] }),
                    3 => json!({ "gateway": gateway, "addresses": ["192.0.2.3"] }),
                    _ => json!({}),
                };
                let mut value = json!({ "kind": "Eip", "metadata": { "name": name, "namespace": namespace, "uid": format!("{name}-{}", uid / 2),
                    "created": how }, "spec": spec });
                removed(&mut value, gone == 0);
                value
            }
        ),
        1 => (pick(&["n1", "n2"]), any::<bool>(), any::<bool>()).prop_map(|(name, ready, named)| {
            let mut value = json!({ "kind": "Node", "metadata": { "name": name }, "status": { "ready": ready } });
            if named {
                value["chassis"] = json!(format!("chassis-{name}"));
            }
            value
        }),
        5 => (pick(NAMESPACES), 0..4_u8, pick(VPCS), 0..6_u8, 0..9_u8, pick(LABELS), 0..6_u8, 0..4_u8, outside()).prop_map(
            |(namespace, n, vpc, address, how, label, gone, port, outside)| {
                let mut spec = json!({ "vpc": vpc, "ports": [{ "name": "a", "port": 80 }] });
                match address {
                    0 => spec["clusterIP"] = json!("10.96.0.3"),
                    1 => spec["clusterIP"] = json!("10.97.0.3"),
                    2 => spec["clusterIP"] = json!("None"),
                    3 => spec["ipFamilyPolicy"] = json!("PreferDualStack"),
                    _ => {}
                }
                for (field, value) in outside.into_iter().flatten().filter(|_| address != 2) {
                    spec[field] = value;
                }
                match port {
                    0 => spec["ports"][0]["targetPort"] = json!("http"),
                    1 => spec["ports"] = json!([{ "name": "a", "port": 80 }, { "name": "b", "port": 53, "protocol": "UDP" }]),
                    _ => {}
                }
                let expression = json!({ "matchExpressions": [{ "key": "app", "operator": "In", "values": ["web", "db"] },
                    { "key": "own", "operator": "NotIn", "values": ["p1"] }] });
                spec["backends"] = match how {
                    0 => json!([{ "kind": "Pod", "selector": {} }]),
                    1 => json!([{ "kind": "Pod", "selector": expression }]),
                    2 => json!([{ "kind": "VNicIP", "selector": { "matchLabels": { "app": label } } }, { "kind": "Pod", "weight": 2,
                        "selector": { "matchLabels": { "app": label } } }]),
                    3 => json!([{ "kind": "VM", "addresses": ["10.0.1.4", "fd00:2::9"] }]),
                    4 => json!([{ "kind": "VM", "selector": { "matchExpressions": [{ "key": "app", "operator": "Exists" }] } }]),
                    5 => json!([{ "kind": "Pod", "vpc": "red", "selector": { "matchLabels": { "app": label } } },
                        { "kind": "Pod", "vpc": "blue", "selector": {} }]),
                    6 => json!([{ "kind": "VM", "vpc": "blue", "weight": 3, "addresses": ["10.0.1.4", "fd00:2::9"] },
                        { "kind": "VM", "addresses": ["10.0.1.4"] }]),
                    _ => json!([{ "kind": "Pod", "selector": { "matchLabels": { "app": label } } }]),
                };
                let mut value = json!({ "kind": "YusurService", "metadata": { "name": format!("w{n}"), "namespace": namespace,
                    "uid": format!("w{n}"), "created": n }, "spec": spec });
                removed(&mut value, gone == 0);
                value
            }
        ),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    let damage = prop_oneof![
        Just(Damage::Delete),
        Just(Damage::Strip),
        Just(Damage::Relabel),
        Just(Damage::Edit),
        Just(Damage::TakeMembers),
        (0..40_usize).prop_map(Damage::Misplace),
    ];
    prop_oneof![
        10 => object().prop_map(Happening::Object),
        4 => (0..200_usize, damage).prop_map(|(row, damage)| Happening::Damage(row, damage)),
        1 => Just(Happening::Restart),
        1 => (pick(GATEWAYS), prop::option::of(pick(&["n1", "n2", "chassis-n1"])))
            .prop_map(|(gateway, chassis)| Happening::Serving(gateway, chassis)),
        3 => prop_oneof![Just(1_usize), Just(3), Just(1000)].prop_map(Happening::Settle),
    ]
}

struct World {
    inventory: Inventory,
    northbound: Memory,
    objects: BTreeMap<ObjectRef, Change>,
    /// The chassis that EIP gateways are on, once somebody has looked.
    serving: Option<BTreeMap<String, String>>,
}

fn the_schema() -> Arc<Schema> {
    static SCHEMA: OnceLock<Arc<Schema>> = OnceLock::new();
    Arc::clone(SCHEMA.get_or_init(schema))
}

impl World {
    fn new() -> Self {
        let mut inventory = Inventory::new(Config::new(OWNER));
        let mut northbound = Memory::new(the_schema());
        let foreign = Operation::insert(
            "Logical_Switch",
            Uuid::from_u128(7),
            Row::new().with("name", "foreign"),
        );
        let global = Operation::insert("NB_Global", Uuid::from_u128(8), Row::new());
        let reply = northbound.model.transact(&[foreign, global]);
        assert_eq!(reply.failure(), None);
        inventory.load(northbound.database());
        inventory.sweep(northbound.database());
        Self {
            inventory,
            northbound,
            objects: BTreeMap::new(),
            serving: None,
        }
    }

    fn restarted(&self) -> Inventory {
        let mut inventory = Inventory::new(Config::new(OWNER));
        for change in self.objects.values() {
            inventory.apply(change.clone());
        }
        if let Some(serving) = &self.serving {
            inventory.serving(serving);
        }
        inventory.load(self.northbound.database());
        inventory.sweep(self.northbound.database());
        inventory
    }

    fn happen(&mut self, happening: &Happening) {
        match happening {
            Happening::Object(value) => {
                let Document::Change(change) = document(value.clone()) else {
                    return;
                };
                match &*change {
                    Change::Removed(object) => {
                        self.objects.remove(object);
                    }
                    other => {
                        let mut other = other.clone();
                        self.keep_status(&mut other);
                        self.objects.insert(other.object(), other);
                    }
                }
                self.inventory.apply(
                    self.objects
                        .get(&change.object())
                        .cloned()
                        .unwrap_or(*change),
                );
            }
            Happening::Damage(row, damage) => self.damage(*row, damage),
            Happening::Restart => self.inventory = self.restarted(),
            Happening::Serving(gateway, chassis) => {
                let serving = self.serving.get_or_insert_default();
                match chassis {
                    Some(chassis) => serving.insert((*gateway).to_owned(), (*chassis).to_owned()),
                    None => serving.remove(*gateway),
                };
                self.inventory.serving(serving);
            }
            Happening::Settle(max) => self.settle(*max),
        }
    }

    /// A new spec of the same object keeps the status it has.
    fn keep_status(&self, new: &mut Change) {
        match (self.objects.get(&new.object()), new) {
            (Some(Change::YusurService(old)), Change::YusurService(new))
                if old.meta.uid == new.meta.uid =>
            {
                new.status = old.status.clone();
            }
            (Some(Change::Eip(old)), Change::Eip(new)) if old.meta.uid == new.meta.uid => {
                new.status = old.status.clone();
            }
            _ => {}
        }
    }

    fn settle(&mut self, max: usize) {
        let verdicts = run(&mut self.inventory, &mut self.northbound, max)
            .unwrap_or_else(|error| panic!("{error:?}"));
        self.record(&verdicts);
    }

    fn record(&mut self, verdicts: &[Verdict]) {
        for verdict in verdicts {
            let Some(subject) = &verdict.object else {
                continue;
            };
            match (&verdict.status, self.objects.get_mut(&subject.object)) {
                (Status::YusurService(status), Some(Change::YusurService(object))) => {
                    object.status = Some(status.clone())
                }
                (Status::Eip(status), Some(Change::Eip(object))) => {
                    object.status = Some(status.clone())
                }
                (Status::VNic(status), Some(Change::VNic(object))) => {
                    object.status = Some(status.clone())
                }
                _ => {}
            }
        }
    }

    fn damage(&mut self, which: usize, damage: &Damage) {
        let database = self.northbound.database();
        let mut rows: Vec<(&'static nb::TableSpec, Uuid, Arc<Row>)> = Vec::new();
        for table in nb::TABLES {
            let mut of_table: Vec<_> = database
                .rows(table.name)
                .map(|(uuid, row)| (table, uuid, row))
                .collect();
            of_table.sort_by_key(|(_, uuid, _)| *uuid);
            rows.extend(of_table);
        }
        rows.retain(|(_, _, row)| row.get_str("name") != Some("foreign"));
        if rows.is_empty() {
            return;
        }
        let (table, uuid, row) = &rows[which % rows.len()];
        let operations = match damage {
            Damage::Delete => {
                let mut operations = Vec::new();
                for (parents, column) in table.referrers {
                    for parent in database.find_uuids(parents, column, &(*uuid).into()) {
                        operations.push(Operation::mutate(
                            *parents,
                            parent,
                            vec![Mutation::delete(*column, *uuid)],
                        ));
                    }
                }
                if table.root {
                    operations.push(Operation::delete(table.name, *uuid));
                }
                operations
            }
            Damage::Strip if row.get("external_ids").is_some() => {
                vec![Operation::update(
                    table.name,
                    *uuid,
                    Row::new().with("external_ids", Datum::empty_map()),
                )]
            }
            Damage::Relabel if row.get("external_ids").is_some() => {
                let other = rows[(which / 7) % rows.len()]
                    .2
                    .map_str("external_ids", nb::UNIT)
                    .unwrap_or("junk/x")
                    .to_owned();
                let keys = Mutation::set_keys("external_ids", [(nb::UNIT, other)]);
                vec![Operation::mutate(table.name, *uuid, keys.to_vec())]
            }
            Damage::Edit => {
                let column = table.columns.iter().find(|(column, class)| {
                    *class == nb::Class::Whole && row.get(column).is_some_and(Datum::is_map)
                });
                match column {
                    Some((column, _)) => vec![Operation::update(
                        table.name,
                        *uuid,
                        Row::new().with(*column, Datum::map([("k", "v")])),
                    )],
                    None if table.name == "Load_Balancer_Group" => Vec::new(),
                    None => vec![Operation::update(
                        table.name,
                        *uuid,
                        Row::new().with("name", format!("renamed-{uuid}")),
                    )],
                }
                .into_iter()
                .filter(|_| row.get("name").is_some() || column.is_some())
                .collect()
            }
            Damage::TakeMembers => {
                let members = table
                    .columns
                    .iter()
                    .filter(|(_, class)| *class == nb::Class::Members);
                let emptied = members.map(|(column, _)| (*column, Datum::empty_set()));
                let emptied: Row = emptied.collect();
                if emptied.is_empty() {
                    Vec::new()
                } else {
                    vec![Operation::update(table.name, *uuid, emptied)]
                }
            }
            Damage::Misplace(where_) => {
                let Some((parents, column)) = table.referrers.first() else {
                    return;
                };
                let candidates: Vec<Uuid> = database.rows(parents).map(|(uuid, _)| uuid).collect();
                let mut candidates = candidates;
                candidates.sort_unstable();
                if candidates.is_empty() {
                    return;
                }
                let parent = candidates[where_ % candidates.len()];
                vec![Operation::mutate(
                    *parents,
                    parent,
                    vec![Mutation::insert(*column, *uuid)],
                )]
            }
            _ => Vec::new(),
        };
        let reply = self.northbound.model.transact(&operations);
        // Some damage the server itself refuses.
        if reply.failure().is_none() {
            self.inventory
                .observe(&reply.batch, self.northbound.database());
        }
    }

    /// Looks at every unit once more.
    fn assert_nothing_left(&mut self) {
        let database = self.northbound.database();
        let mut fresh = self.restarted();
        self.inventory.load(database);
        self.inventory.sweep(database);
        let units = self.inventory.take_dirty(database, usize::MAX);
        let left = plan(&units, &self.inventory, database);
        assert!(
            left.is_empty(),
            "the planner that saw it all would write {:#?}",
            operations(&left.groups)
        );
        // A Pod stays with its Subnet while that cannot serve it. Its port, the record of this, is gone meanwhile: one
        // that just started puts it in another Subnet, if there is one for it.
        let waits = |verdict: &Verdict| {
            matches!(verdict.unit, Unit::Pod(_))
                && verdict
                    .conditions
                    .iter()
                    .any(|condition| condition.status == Truth::False)
        };
        if !left.verdicts.iter().any(waits) {
            let units = fresh.take_dirty(database, usize::MAX);
            let left = plan(&units, &fresh, database);
            assert!(
                left.is_empty(),
                "one that just started would write {:#?}",
                operations(&left.groups)
            );
        }
        assert!(database.rows("Logical_Switch").any(|(uuid, row)| {
            uuid == Uuid::from_u128(7)
                && ["ports", "load_balancer_group", "dns_records"]
                    .iter()
                    .all(|c| row.get(c).is_some_and(Datum::is_empty))
        }));
    }
}

/// So many cases unless `PROPTEST_CASES` says otherwise: a change that makes too little dirty has shown itself at a few
/// thousand, where the usual 256 saw nothing.
fn cases() -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(8000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 4000,
        failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_change_means_is_dirty(happenings in prop::collection::vec(happening(), 1..50)) {
        let mut world = World::new();
        for happening in &happenings {
            world.happen(happening);
        }
        world.settle(1000);
        world.assert_nothing_left();
    }
}
