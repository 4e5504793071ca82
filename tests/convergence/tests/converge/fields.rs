//! The generator makes every field of every kind, and every word that a field may have.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use yusur_convergence::{Fields, Met, Objects};
use yusur_crds::{
    EipGatewaySpec, EipSpec, NetworkProbeSpec, SubnetSpec, VNicSpec, VpcSpec, YusurServiceSpec,
};
use yusur_planner::{Change, Kind, Meta, Node, Pod, VirtualMachineInstance};

use crate::dice::Dice;
use crate::{feed, generate};

/// How many objects are made. Each byte of a happening is a choice; a field that takes many comes seldom.
const OBJECTS: u32 = 60_000;

/// Of statuses there are those that the player writes, for it is no generator that says what was recorded; and all
/// objects are of one generation, which nothing but a verdict repeats.
#[test]
fn every_field_is_made() {
    let kinds = [
        (Kind::Vpc, Fields::of::<VpcSpec>()),
        (Kind::Subnet, Fields::of::<SubnetSpec>()),
        (Kind::VNic, Fields::of::<VNicSpec>()),
        (Kind::EipGateway, Fields::of::<EipGatewaySpec>()),
        (Kind::Eip, Fields::of::<EipSpec>()),
        (Kind::YusurService, Fields::of::<YusurServiceSpec>()),
        (Kind::NetworkProbe, Fields::of::<NetworkProbeSpec>()),
    ];
    let mut met: BTreeMap<Kind, Met> = BTreeMap::new();
    let mut objects = Objects::default();
    let mut state = 1_u64;
    for number in 0..OBJECTS {
        // As long as a happening, without the byte that says that an object is set.
        let bytes: [u8; 31] = std::array::from_fn(|_| {
            // Knuth's MMIX.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        });
        let mut dice = Dice::new(&bytes);
        let object = generate::object(&mut dice);
        generate::set(&mut dice, &mut objects, &object, || format!("uid-{number}"));
        let change = feed::change(&objects, &object);
        let met = met.entry(object.kind).or_default();
        match spec(&change) {
            Some(spec) => {
                let (_, fields) = kinds
                    .iter()
                    .find(|(kind, _)| *kind == object.kind)
                    .expect("a kind of ours");
                fields.note(&spec, met);
            }
            None => note_kubernetes(&change, met),
        }
        if number % 64 == 63 {
            objects = Objects::default();
        }
    }
    let mut missing = BTreeSet::new();
    for (kind, fields) in &kinds {
        let met = met.get(kind).cloned().unwrap_or_default();
        fields.walk("", &mut |path, field| {
            let Fields::Value(words) = field else { return };
            match met.get(path) {
                None => drop(missing.insert(format!("{kind} {path}"))),
                Some(values) => missing.extend(
                    words
                        .iter()
                        .filter(|word| !values.contains(&word.to_string()))
                        .map(|word| format!("{kind} {path}: {word}")),
                ),
            }
        });
    }
    for kind in [
        Kind::Pod,
        Kind::Node,
        Kind::Namespace,
        Kind::VirtualMachineInstance,
    ] {
        let constant = met[&kind].iter().filter(|(_, values)| values.len() < 2);
        missing.extend(constant.map(|(path, _)| format!("{kind} {path} is always the same")));
    }
    assert!(
        missing.is_empty(),
        "the generator does not make {missing:#?}"
    );
}

fn spec(change: &Change) -> Option<Value> {
    let read = match change {
        Change::Vpc(object) => serde_json::to_value(&object.spec),
        Change::Subnet(object) => serde_json::to_value(&object.spec),
        Change::VNic(object) => serde_json::to_value(&object.spec),
        Change::EipGateway(object) => serde_json::to_value(&object.spec),
        Change::Eip(object) => serde_json::to_value(&object.spec),
        Change::YusurService(object) => serde_json::to_value(&object.spec),
        Change::NetworkProbe(object) => serde_json::to_value(&object.spec),
        _ => return None,
    };
    Some(read.expect("a spec"))
}

/// Of what Kubernetes and KubeVirt keep, all that the planner is told: a field that is new does not compile here.
fn note_kubernetes(change: &Change, met: &mut Met) {
    let mut note = |path: &str, value: String| {
        met.entry(path.to_owned()).or_default().insert(value);
    };
    let meta = match change {
        Change::Pod(pod) => {
            let Pod {
                meta,
                subnet,
                node,
                host_network,
                ended,
                ready,
                addresses,
                ports,
            } = pod;
            note("subnet", format!("{subnet:?}"));
            note("node", format!("{node:?}"));
            note("host_network", host_network.to_string());
            note("ended", ended.to_string());
            note("ready", ready.to_string());
            note("addresses", format!("{addresses:?}"));
            note("ports", format!("{ports:?}"));
            meta
        }
        Change::Node(node) => {
            let Node {
                meta,
                ready,
                addresses,
                chassis,
            } = node;
            note("ready", ready.to_string());
            note("addresses", format!("{addresses:?}"));
            note("chassis", format!("{chassis:?}"));
            note("labels", format!("{:?}", meta.labels));
            return;
        }
        Change::Namespace(meta) => {
            note("labels", format!("{:?}", meta.labels));
            return;
        }
        Change::VirtualMachineInstance(vmi) => {
            let VirtualMachineInstance {
                meta,
                subnet,
                node,
                ready,
                addresses,
            } = vmi;
            note("subnet", format!("{subnet:?}"));
            note("node", format!("{node:?}"));
            note("ready", ready.to_string());
            note("addresses", format!("{addresses:?}"));
            meta
        }
        other => panic!("{other:?} has a schema"),
    };
    let Meta {
        namespace: _,
        name: _,
        uid,
        generation: _,
        created,
        labels,
        deleting,
    } = meta;
    note("uid", uid.clone());
    note("created", created.to_string());
    note("labels", format!("{labels:?}"));
    note("deleting", deleting.to_string());
}
