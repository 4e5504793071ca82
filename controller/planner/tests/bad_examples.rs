//! What the API server and the reader of manifests refuse by the schemas, the planner does not take either, should it come
//! by another way: it says in a condition what is wrong. Each bad example of one object is judged by itself.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::HashSet;

use ovsdb_model::{Operation, Row, Uuid};
use serde_json::Value;
use support::manifest::{Document, documents};
use support::{Memory, OWNER, schema};
use yusur_crds::common::condition;
use yusur_crds::{SubnetSpec, VNicSpec, VpcSpec, YusurServiceSpec};
use yusur_planner::{Config, Inventory, Truth, run};

/// What the examples refer to.
const NETWORKS: &str = "
kind: Vpc
metadata: { name: shop }
spec: { serviceCIDRs: [10.96.0.0/16, 'fd00:96::/112'], allowedNamespaces: { from: All } }
---
kind: Subnet
metadata: { name: shop-back }
spec: { vpc: shop, cidrs: [10.0.2.0/24] }
";

/// The switch that one of them adopts.
const ADOPTED: &str = "campus-switch";

/// Refused by the reader of manifests, which knows the names of all fields.
const MISSPELT: &str = "bad-misspelt-field";

/// What the planner takes as it is meant.
const UNDERSTOOD: [&str; 2] = ["bad-target-port-zero", "bad-target-port-quoted-number"];

#[test]
fn every_bad_example_is_told_what_is_wrong() {
    let mut silent = Vec::new();
    for kind in ["vpc", "subnet", "vnic", "yusurservice"] {
        let path = format!(
            "{}/../../manifests/examples/bad/{kind}.yaml",
            env!("CARGO_MANIFEST_DIR")
        );
        let text = std::fs::read_to_string(&path).expect("the bad examples");
        let mut before = HashSet::new();
        let mut judged = 0;
        for text in text.split("\n---\n") {
            let value: Value = serde_saphyr::from_str(text).expect("YAML");
            let name = value["metadata"]["name"].as_str().expect("a name");
            // What cannot be changed is refused for what was there before: no object alone shows it.
            let change = !before.insert(name.to_owned());
            if change || !text.contains("# expect: ") || !is_read(kind, &value) {
                continue;
            }
            judged += 1;
            if name != MISSPELT && !UNDERSTOOD.contains(&name) && !is_told(text) {
                silent.push(format!("{path}: {name}"));
            }
        }
        assert!(judged > 3, "{path}: {judged} examples");
    }
    assert!(
        silent.is_empty(),
        "accepted as good:\n{}",
        silent.join("\n")
    );
}

/// Whether the types can hold it; if not, the reader of manifests says so.
fn is_read(kind: &str, value: &Value) -> bool {
    let spec = value["spec"].clone();
    match kind {
        "vpc" => serde_json::from_value::<VpcSpec>(spec).is_ok(),
        "subnet" => serde_json::from_value::<SubnetSpec>(spec).is_ok(),
        "vnic" => serde_json::from_value::<VNicSpec>(spec).is_ok(),
        _ => serde_json::from_value::<YusurServiceSpec>(spec).is_ok(),
    }
}

/// Whether the object of a document is not accepted for what its spec says.
fn is_told(text: &str) -> bool {
    let mut inventory = Inventory::new(Config::new(OWNER));
    let mut object = None;
    for document in documents(NETWORKS).into_iter().chain(documents(text)) {
        let Document::Change(change) = document else {
            panic!("objects only")
        };
        object = Some(change.object());
        inventory.apply(*change);
    }
    let mut northbound = Memory::new(schema());
    let id = Uuid::new_v5(&Uuid::NAMESPACE_DNS, ADOPTED.as_bytes());
    let switch = Operation::insert("Logical_Switch", id, Row::new().with("name", ADOPTED));
    assert_eq!(northbound.model.transact(&[switch]).failure(), None);
    inventory.load(northbound.model.content());
    let verdicts = run(&mut inventory, &mut northbound, 1000).expect("the plan goes through");
    verdicts.iter().any(|verdict| {
        verdict.object.as_ref().map(|subject| &subject.object) == object.as_ref()
            && verdict
                .condition(condition::ACCEPTED)
                .is_some_and(|c| c.status == Truth::False && c.reason == "InvalidSpec")
    })
}
