//! Small worlds: objects of every kind, with names and addresses so few that they meet.

mod outside;
mod services;
mod world;

use std::collections::BTreeMap;
use std::net::IpAddr;

use yusur_convergence::{Meta, Node, Objects, Pod, Vmi};
use yusur_crds::common::LabelSelector;
use yusur_crds::{
    Device, NamedPort, NamespaceRule, OwnerKind, Protocol, StaticRoute, SubnetSpec, VNicOwner,
    VNicSpec, VpcSpec,
};
use yusur_planner::{Kind, ObjectName, ObjectRef};

use crate::dice::Dice;
use crate::strangers::{THEIR_ROUTER, THEIR_SWITCH};

pub use world::world;

const NAMESPACES: &[&str] = &["a", "b"];
const VPCS: &[&str] = &["red", "blue", "green", "teal"];
/// Always the same, since what was handed out before stays.
const EXCLUDED_FROM_S2: &[&str] = &["10.0.1.2-10.0.1.3", "10.0.2.4", "fd00:2::/126"];
const SUBNETS: &[&str] = &["s1", "s2", "s3", "s4", "s5", "s6"];

/// Which object something happens to.
pub fn object(dice: &mut Dice<'_>) -> ObjectRef {
    let kind = dice.pick(&[
        Kind::YusurService,
        Kind::Pod,
        Kind::Pod,
        Kind::Subnet,
        Kind::YusurService,
        Kind::VNic,
        Kind::Pod,
        Kind::Vpc,
        Kind::YusurService,
        Kind::VNic,
        Kind::VirtualMachineInstance,
        Kind::Namespace,
        Kind::YusurService,
        Kind::Node,
        Kind::Subnet,
        Kind::Pod,
        Kind::EipGateway,
        Kind::YusurService,
        Kind::Eip,
        Kind::Vpc,
        Kind::YusurService,
        Kind::EipGateway,
        Kind::Eip,
        Kind::YusurService,
    ]);
    let number = dice.byte();
    // Nothing depends on these so far.
    let kind = match kind {
        Kind::YusurService if number >= 248 => Kind::NetworkProbe,
        kind => kind,
    };
    let of = |names: &[&str]| ObjectName::cluster(names[usize::from(number) % names.len()]);
    let in_space = |prefix: &str, count: u8| {
        let namespace = NAMESPACES[usize::from(number / 16) % NAMESPACES.len()];
        ObjectName::new(namespace, format!("{prefix}{}", number % count))
    };
    let name = match kind {
        Kind::Vpc => of(VPCS),
        Kind::Subnet => of(SUBNETS),
        Kind::Namespace => of(NAMESPACES),
        Kind::Node => of(&["n0", "n1"]),
        Kind::EipGateway => of(outside::GATEWAYS),
        Kind::Eip => in_space("e", 2),
        Kind::Pod => in_space("p", 5),
        Kind::VNic => in_space("v", 3),
        Kind::VirtualMachineInstance => in_space("m", 2),
        Kind::NetworkProbe => in_space("probe", 2),
        _ => in_space("w", 5),
    };
    ObjectRef { kind, name }
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn labels(dice: &mut Dice<'_>, own: &str) -> BTreeMap<String, String> {
    let app = dice.pick(&["web", "db"]);
    [("app", app), ("own", own)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

fn selector(value: serde_json::Value) -> LabelSelector {
    serde_json::from_value(value).expect("a selector")
}

fn rule(dice: &mut Dice<'_>, open: bool) -> NamespaceRule {
    let named = |names: &[&str]| NamespaceRule {
        names: texts(names),
        ..NamespaceRule::default()
    };
    let labelled = |value| NamespaceRule {
        selector: Some(selector(value)),
        ..NamespaceRule::default()
    };
    match dice.below(8) {
        0..=2 if open => NamespaceRule::all(),
        0 | 3 => named(&["a"]),
        1 => named(&[]),
        4 => labelled(serde_json::json!({ "matchLabels": { "tier": "gold" } })),
        5 => labelled(serde_json::json!({ "matchExpressions": [
            { "key": "kubernetes.io/metadata.name", "operator": "In", "values": ["b"] } ] })),
        6 => named(&["a", "b"]),
        _ => NamespaceRule::all(),
    }
}

/// Metadata: that of the object as it is, or of a new one.
pub fn meta(
    dice: &mut Dice<'_>,
    old: Option<&Meta>,
    uid: impl FnOnce() -> String,
    own: &str,
) -> Meta {
    let labels = labels(dice, own);
    let deleting = dice.chance(2);
    match old {
        Some(old) => Meta {
            labels,
            deleting: deleting || old.deleting,
            ..old.clone()
        },
        None => Meta {
            uid: uid(),
            created: i64::from(dice.byte() % 4),
            labels,
            deleting,
        },
    }
}

pub fn vpc(dice: &mut Dice<'_>, name: &str) -> VpcSpec {
    let cidrs: &[&str] = dice.pick(&[
        &["10.96.0.0/29"][..],
        &["10.96.0.0/29", "fd00:96::/124"],
        &["fd00:96::/124", "10.97.0.0/28"],
        &["10.97.0.0/29"],
        &["10.96.0.0/29"],
        &[],
        &["10.96.0.1/29"],
    ]);
    let route = |destination: &str, next_hop: &str| StaticRoute {
        destination: destination.into(),
        next_hop: next_hop.into(),
    };
    VpcSpec {
        service_cidrs: texts(cidrs),
        allowed_namespaces: rule(dice, true),
        static_routes: match dice.below(4) {
            0 => Vec::new(),
            1 => vec![route("172.16.0.0/16", "10.0.1.6")],
            2 => vec![
                route("172.16.0.0/16", "10.0.1.6"),
                route("172.16.0.0/16", "10.0.1.5"),
            ],
            _ if dice.chance(3) => vec![route("0.0.0.0/0", "10.0.1.6")],
            _ => vec![route("172.17.0.0/16", "discard")],
        },
        // What is adopted cannot be changed; two Vpcs want the same router.
        logical_router: match name {
            "green" => Some("their-router".into()),
            "teal" => Some(THEIR_ROUTER.to_string()),
            _ => None,
        },
        eip_gateway: outside::gateway_of_vpc(dice),
        node_access: !dice.chance(3),
    }
}

pub fn subnet(dice: &mut Dice<'_>, name: &str, old: Option<&SubnetSpec>) -> SubnetSpec {
    let vpc = dice.pick(VPCS);
    let cidrs: &[&str] = dice.pick(&[
        &["10.0.1.0/29"][..],
        &["10.0.2.0/29", "fd00:2::/64"],
        &["10.0.3.0/28"],
        &["fd00:3::/120"],
        &["10.0.0.0/20"],
        &["10.96.0.0/28"],
        &["fd00:2::/124", "10.0.2.0/28"],
    ]);
    let new = dice.chance(2);
    let (vpc, cidrs) = match old {
        // They cannot be changed through an API server; in a directory of manifests they can.
        Some(old) if !new => (old.vpc.clone(), old.cidrs.clone()),
        _ => (vpc.to_owned(), texts(cidrs)),
    };
    SubnetSpec {
        vpc,
        cidrs,
        gateways: if dice.chance(3) {
            texts(&["10.0.1.6", "fd00:2::9"])
        } else {
            Vec::new()
        },
        excluded_addresses: if name == "s2" {
            texts(EXCLUDED_FROM_S2)
        } else {
            Vec::new()
        },
        default_for_namespaces: rule(dice, false),
        logical_switch: match name {
            "s4" => Some("other-switch".into()),
            "s5" => Some("their-switch".into()),
            "s6" => Some(THEIR_SWITCH.to_string()),
            _ => None,
        },
    }
}

fn named_ports(dice: &mut Dice<'_>) -> Vec<NamedPort> {
    let port = |name: &str, protocol, port| NamedPort {
        name: name.into(),
        protocol,
        port,
    };
    match dice.below(4) {
        0 => vec![port("http", Protocol::Tcp, 8080)],
        1 => vec![
            port("http", Protocol::Tcp, 8081),
            port("dns", Protocol::Udp, 5353),
        ],
        2 => vec![
            port("http", Protocol::Udp, 8082),
            port("signal", Protocol::Sctp, 2905),
        ],
        _ => Vec::new(),
    }
}

fn addresses(list: &[&str]) -> Vec<IpAddr> {
    list.iter()
        .map(|text| text.parse().expect("an address"))
        .collect()
}

pub fn pod(dice: &mut Dice<'_>, old: Option<&Pod>, uid: impl FnOnce() -> String, own: &str) -> Pod {
    let meta = meta(dice, old.map(|old| &old.meta), uid, own);
    let reported = match dice.below(16) {
        15 => addresses(&["10.0.1.4"]),
        14 => addresses(&["10.0.2.3", "fd00:2::3"]),
        _ => Vec::new(),
    };
    Pod {
        meta,
        subnet: dice.chance(5).then(|| dice.pick(SUBNETS).to_owned()),
        host_network: dice.chance(1),
        ended: dice.chance(1),
        ready: !dice.chance(5),
        addresses: match old {
            Some(old) => old.addresses.clone(),
            None => reported,
        },
        ports: named_ports(dice),
        node: node(dice),
    }
}

/// The node something is on.
fn node(dice: &mut Dice<'_>) -> Option<String> {
    dice.pick(&[None, Some("n0".to_owned()), Some("n1".to_owned())])
}

pub fn vmi(dice: &mut Dice<'_>, old: Option<&Vmi>, uid: impl FnOnce() -> String, own: &str) -> Vmi {
    Vmi {
        meta: meta(dice, old.map(|old| &old.meta), uid, own),
        subnet: dice.chance(8).then(|| dice.pick(SUBNETS).to_owned()),
        ready: !dice.chance(4),
        addresses: addresses(dice.pick(&[
            &["10.0.1.5"][..],
            &["10.0.2.5", "fd00:2::5"],
            &["10.0.1.3", "10.0.1.4"],
            &[],
        ])),
        node: node(dice),
    }
}

pub fn vnic(dice: &mut Dice<'_>, old: Option<&VNicSpec>) -> VNicSpec {
    let subnet = dice.pick(SUBNETS).to_owned();
    let subnet = match old {
        Some(old) if !dice.chance(2) => old.subnet.clone(),
        _ => subnet,
    };
    let given: &[&str] = dice.pick(&[
        &[][..],
        &["10.0.1.3"],
        &["10.0.2.3"],
        &["10.0.1.2", "fd00:2::6"],
        &["10.0.1.1"],
        &["fd00:2::6"],
        &["127.0.0.1"],
        &[],
    ]);
    let owner = dice.pick(&[
        Some(OwnerKind::Vm),
        Some(OwnerKind::Bm),
        Some(OwnerKind::Pod),
        None,
    ]);
    VNicSpec {
        subnet,
        addresses: texts(given),
        mac_address: match dice.below(8) {
            2 => Some("0a:58:0a:00:01:02".into()),
            3 => Some("0a:58:0a:00:01:01".into()),
            4 => Some("0a:00:00:00:00:01".into()),
            5 => Some("0A:00:00:00:00:01".into()),
            _ => None,
        },
        owner: owner.map(|kind| VNicOwner {
            kind,
            name: "owner".into(),
        }),
        node: node(dice),
        ports: named_ports(dice),
        port_security: !dice.chance(3),
        device: device(dice),
    }
}

fn device(dice: &mut Dice<'_>) -> Option<Device> {
    let (pci, representor) = dice.pick(&[
        (None, None),
        (Some("0000:03:00.2"), None),
        (None, Some("pf0vf1")),
        (Some("0000:03:00.3"), Some("pf0vf2")),
    ]);
    (pci.is_some() || representor.is_some()).then(|| Device {
        pci_address: pci.map(str::to_owned),
        representor: representor.map(str::to_owned),
    })
}

/// The object of this name becomes another, or comes into being.
pub fn set(
    dice: &mut Dice<'_>,
    objects: &mut Objects,
    object: &ObjectRef,
    uid: impl FnOnce() -> String,
) {
    let name = object.name.name.to_string();
    let key = (object.name.namespace.to_string(), name.clone());
    match object.kind {
        Kind::Vpc => {
            let old = objects.vpcs.get(&name);
            let meta = meta(dice, old.map(|old| &old.0), uid, &name);
            objects.vpcs.insert(name.clone(), (meta, vpc(dice, &name)));
        }
        Kind::Subnet => {
            let old = objects.subnets.get(&name);
            let meta = meta(dice, old.map(|old| &old.0), uid, &name);
            let spec = subnet(dice, &name, old.map(|old| &old.1));
            objects.subnets.insert(name, (meta, spec));
        }
        Kind::Pod => {
            let pod = pod(dice, objects.pods.get(&key), uid, &name);
            objects.pods.insert(key, pod);
        }
        Kind::VirtualMachineInstance => {
            let vmi = vmi(dice, objects.vmis.get(&key), uid, &name);
            objects.vmis.insert(key, vmi);
        }
        Kind::VNic => {
            let old = objects.vnics.get(&key);
            let meta = meta(dice, old.map(|old| &old.0), uid, &name);
            let spec = vnic(dice, old.map(|old| &old.1));
            let status = old.and_then(|old| old.2.clone());
            objects.vnics.insert(key, (meta, spec, status));
        }
        Kind::Namespace => {
            let tier = dice.pick(&["gold", "tin"]);
            objects
                .namespaces
                .insert(name, [("tier".to_owned(), tier.to_owned())].into());
        }
        Kind::Node => {
            let node = Node {
                chassis: dice.pick(&[None, Some(format!("chassis-{name}"))]),
                unready: dice.chance(5),
                kept_out: dice.chance(3),
                addresses: addresses(dice.pick(&[&[][..], &["198.51.100.7"]])),
            };
            objects.order_disturbed |= node.unready || node.kept_out;
            objects.nodes.insert(name, node);
        }
        Kind::EipGateway => {
            let old = objects.gateways.get(&name);
            let meta = meta(dice, old.map(|old| &old.0), uid, &name);
            let spec = outside::gateway(dice, old.map(|old| &old.1));
            let status = old.and_then(|old| old.2.clone());
            objects.gateways.insert(name, (meta, spec, status));
        }
        Kind::Eip => {
            let old = objects.eips.get(&key);
            let meta = meta(dice, old.map(|old| &old.0), uid, &name);
            let spec = outside::eip(dice, old.map(|old| &old.1));
            let status = old.and_then(|old| old.2.clone());
            objects.eips.insert(key, (meta, spec, status));
        }
        Kind::NetworkProbe => {
            let old = objects.probes.get(&key);
            let meta = meta(dice, old.map(|old| &old.0), uid, &name);
            objects.probes.insert(key, (meta, services::probe(dice)));
        }
        Kind::YusurService => {
            let old = objects.services.get(&key);
            let meta = meta(dice, old.map(|old| &old.0), uid, &name);
            let spec = services::service(dice, old.map(|old| &old.1));
            let status = old.and_then(|old| old.2.clone());
            objects.services.insert(key, (meta, spec, status));
        }
    }
}

/// The object of this name goes.
pub fn remove(objects: &mut Objects, object: &ObjectRef) {
    let name = object.name.name.to_string();
    let key = (object.name.namespace.to_string(), name.clone());
    match object.kind {
        Kind::Vpc => drop(objects.vpcs.remove(&name)),
        Kind::Subnet => drop(objects.subnets.remove(&name)),
        Kind::Pod => drop(objects.pods.remove(&key)),
        Kind::VirtualMachineInstance => drop(objects.vmis.remove(&key)),
        Kind::VNic => drop(objects.vnics.remove(&key)),
        Kind::Namespace => drop(objects.namespaces.remove(&name)),
        Kind::Node => drop(objects.nodes.remove(&name)),
        Kind::EipGateway => drop(objects.gateways.remove(&name)),
        Kind::Eip => drop(objects.eips.remove(&key)),
        Kind::NetworkProbe => drop(objects.probes.remove(&key)),
        Kind::YusurService => drop(objects.services.remove(&key)),
    }
}
