//! Many services, for benchmarks and for measuring memory.
#![allow(dead_code, unreachable_pub, reason = "each user has its part")]

use std::collections::BTreeMap;

use ovsdb_model::{Database, Datum, Operation, Row, Uuid};
use yusur_crds::{
    Backend, BackendKind, LabelSelector, NamespaceRule, ServicePort, SubnetSpec, VpcSpec,
    YusurServiceSpec, YusurServiceStatus,
};
use yusur_planner::{Change, Config, Inventory, Meta, Object, Pod, nb, operations, plan};

/// A planner with its Northbound.
pub struct World {
    pub inventory: Inventory,
    pub database: Database,
    n: usize,
    pods: bool,
}

impl World {
    /// `n` services with two backends each: addresses, or Pods.
    pub fn new(n: usize, pods: bool) -> Self {
        let mut database = Database::new();
        for (table, index) in nb::indexes("bench") {
            database.declare_index(table, index);
        }
        let inventory = started(n, pods, &database);
        let mut world = Self {
            inventory,
            database,
            n,
            pods,
        };
        world.settle();
        world
    }

    /// Plans and writes until nothing is left; returns how many groups were written.
    pub fn settle(&mut self) -> usize {
        let mut written = 0;
        loop {
            let units = self.inventory.take_dirty(&self.database, 1000);
            if units.is_empty() {
                return written;
            }
            let plan = plan(&units, &self.inventory, &self.database);
            written += plan.groups.len();
            self.inventory.planned(&plan);
            let batch = apply(&mut self.database, &operations(&plan.groups));
            self.inventory.observe(&batch, &self.database);
            self.inventory.committed(&plan.groups, None, &self.database);
        }
    }

    /// A planner that starts with the same objects and Northbound, and how many groups it would write.
    pub fn restarted(&self) -> (Inventory, usize) {
        let mut inventory = started(self.n, self.pods, &self.database);
        let mut written = 0;
        loop {
            let units = inventory.take_dirty(&self.database, 1000);
            if units.is_empty() {
                return (inventory, written);
            }
            written += plan(&units, &inventory, &self.database).groups.len();
        }
    }
}

/// An inventory of the objects, made one by one: nothing else holds them.
pub fn started(n: usize, pods: bool, database: &Database) -> Inventory {
    let mut inventory = Inventory::new(Config::new("bench"));
    for change in topology() {
        inventory.apply(change);
    }
    for at in 0..n {
        inventory.apply(Change::YusurService(service(at, 11, pods)));
        if pods {
            inventory.apply(Change::Pod(pod(at, 0, true)));
            inventory.apply(Change::Pod(pod(at, 1, true)));
        }
    }
    inventory.load(database);
    inventory.sweep(database);
    inventory
}

/// Inserts, updates and mutations as the server would do them; enough for what a cold start sends.
fn apply(database: &mut Database, operations: &[Operation]) -> ovsdb_model::Batch {
    let mut rows: BTreeMap<(String, Uuid), Row> = BTreeMap::new();
    for operation in operations {
        match operation {
            Operation::Insert {
                table,
                uuid: Some(uuid),
                row,
            } => {
                let spec = nb::table(table).expect("a table of ours");
                let mut whole = row.clone();
                for (column, class) in spec.columns {
                    if whole.get(column).is_none() {
                        let map = matches!(
                            *column,
                            "external_ids" | "options" | "vips" | "records" | "ip_port_mappings"
                        );
                        let text = matches!(
                            *column,
                            "name" | "type" | "mac" | "ip_prefix" | "nexthop" | "route_table"
                        );
                        let empty = match (map, text, class) {
                            (true, ..) => Datum::empty_map(),
                            (_, true, _) => Datum::scalar(""),
                            _ => Datum::empty_set(),
                        };
                        whole.set(*column, empty);
                    }
                }
                rows.insert((table.to_string(), *uuid), whole);
            }
            Operation::Mutate {
                table,
                condition,
                mutations,
            } => {
                let uuid = condition[0].value.as_uuid().expect("by uuid");
                let key = (table.to_string(), uuid);
                let row = rows
                    .entry(key)
                    .or_insert_with(|| Row::clone(&database.row(table, uuid).expect("the row")));
                for mutation in mutations {
                    let old = row.get(&mutation.column).cloned().unwrap_or_default();
                    let elements = old
                        .elements()
                        .iter()
                        .chain(mutation.value.elements())
                        .cloned();
                    row.set(mutation.column.clone(), Datum::set(elements));
                }
            }
            other => panic!("a cold start sends no {}", other.name()),
        }
    }
    database.set_rows(
        rows.into_iter()
            .map(|((table, uuid), row)| (table.into(), uuid, Some(row))),
    )
}

fn topology() -> Vec<Change> {
    let vpc = VpcSpec {
        service_cidrs: vec!["10.96.0.0/12".into()],
        allowed_namespaces: NamespaceRule::all(),
        ..VpcSpec::default()
    };
    let subnet = SubnetSpec {
        vpc: "v".into(),
        cidrs: vec!["10.0.0.0/12".into()],
        default_for_namespaces: NamespaceRule::all(),
        ..SubnetSpec::default()
    };
    vec![
        Change::Vpc(Object {
            meta: meta("", "v", 1),
            spec: vpc,
            status: None,
        }),
        Change::Subnet(Object {
            meta: meta("", "s", 1),
            spec: subnet,
            status: None,
        }),
    ]
}

fn meta(namespace: &str, name: &str, created: i64) -> Meta {
    Meta {
        namespace: namespace.into(),
        name: name.into(),
        uid: Uuid::new_v5(
            &Uuid::NAMESPACE_DNS,
            format!("{namespace}/{name}").as_bytes(),
        )
        .to_string(),
        generation: 1,
        created,
        ..Meta::default()
    }
}

fn namespace(at: usize) -> String {
    format!("ns-{}", at % 50)
}

/// The service `at`, whose second backend address ends in `last`, or which selects its Pods.
pub fn service(at: usize, last: u8, pods: bool) -> Object<YusurServiceSpec, YusurServiceStatus> {
    let number = u32::try_from(at).expect("small");
    let base = 0x0ac8_0000_u32 + number;
    let vip = std::net::Ipv4Addr::from(0x0a60_0001_u32 + number).to_string();
    let backend = Backend {
        kind: if pods {
            BackendKind::Pod
        } else {
            BackendKind::Vm
        },
        selector: pods.then(|| LabelSelector {
            match_labels: Some([("app".to_owned(), format!("app-{at}"))].into()),
            match_expressions: None,
        }),
        addresses: if pods {
            Vec::new()
        } else {
            vec![
                std::net::Ipv4Addr::from(base).to_string(),
                format!("10.240.{}.{last}", at % 250),
            ]
        },
        vpc: None,
        weight: 1,
        ports: Vec::new(),
    };
    let port = ServicePort {
        port: 80,
        target_port: Some(yusur_crds::IntOrString::Int(8080)),
        ..ServicePort::default()
    };
    Object {
        meta: meta(&namespace(at), &format!("service-{at}"), 1_700_000_000),
        spec: YusurServiceSpec {
            vpc: "v".into(),
            cluster_ip: Some(vip),
            ports: vec![port],
            backends: vec![backend],
            ..YusurServiceSpec::default()
        },
        status: None,
    }
}

/// One of the two Pods of the service `at`.
pub fn pod(at: usize, which: u8, ready: bool) -> Pod {
    let mut meta = meta(&namespace(at), &format!("app-{at}-{which}"), 1_700_000_001);
    meta.labels = [
        ("app".to_owned(), format!("app-{at}")),
        ("tier".to_owned(), "front".to_owned()),
        ("pod-template-hash".to_owned(), format!("{:08x}", at * 31)),
    ]
    .into();
    Pod {
        meta,
        node: Some(format!("node-{}", at % 100)),
        ready,
        ..Pod::default()
    }
}
