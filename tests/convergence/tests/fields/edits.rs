//! The edits of an object: each of its fields removed, and set to what may matter to somebody. What a field may be comes
//! from its schema where that lists it, and else from [`values`].

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use yusur_convergence::{Fields, Met};
use yusur_crds::{
    EipGatewaySpec, EipSpec, NetworkProbeSpec, SubnetSpec, VNicSpec, VpcSpec, YusurServiceSpec,
};
use yusur_planner::{
    Change, Kind, Meta, NamedPort, Node, Pod, SUBNET_ANNOTATION, VirtualMachineInstance,
};

use crate::stage::THEIR_ROUTER;

/// The paths of the fields that were edited, by kind.
pub type Touched = BTreeMap<Kind, BTreeSet<String>>;

/// One object as it may become.
pub struct Edit {
    /// The field, a colon, and its new value.
    pub what: String,
    pub change: Change,
}

/// The fields of the kinds of ours.
///
/// Their statuses are not edited here: what the controller writes there is no wish of anybody, and what it reads back from
/// there is a record (tests/converge loses and repeats those).
pub fn kinds() -> Vec<(Kind, Fields)> {
    vec![
        (Kind::Vpc, Fields::of::<VpcSpec>()),
        (Kind::Subnet, Fields::of::<SubnetSpec>()),
        (Kind::VNic, Fields::of::<VNicSpec>()),
        (Kind::EipGateway, Fields::of::<EipGatewaySpec>()),
        (Kind::Eip, Fields::of::<EipSpec>()),
        (Kind::YusurService, Fields::of::<YusurServiceSpec>()),
        (Kind::NetworkProbe, Fields::of::<NetworkProbeSpec>()),
    ]
}

/// All edits of an object.
pub fn of(change: &Change, touched: &mut Touched) -> Vec<Edit> {
    let kind = change.object().kind;
    let mut edits = vec![Edit {
        what: "(the object): gone".into(),
        change: Change::Removed(change.object()),
    }];
    for (field, meta) in metas(meta(change)) {
        let mut changed = change.clone();
        *meta_mut(&mut changed) = meta;
        edits.push(Edit {
            what: format!("metadata.{field}"),
            change: changed,
        });
    }
    if let Some(spec) = spec(change) {
        let (_, fields) = kinds()
            .into_iter()
            .find(|(other, _)| *other == kind)
            .expect("a kind of ours");
        let met = |spec: &Value| {
            let mut met = Met::new();
            fields.note(spec, &mut met);
            met
        };
        let before = met(&spec);
        for (what, new) in variants(kind, "", &fields, Some(&spec)) {
            let Some(changed) = new.and_then(|new| with_spec(change, &new)) else {
                continue;
            };
            let after = met(&self::spec(&changed).expect("a spec"));
            let paths = before.keys().chain(after.keys());
            let differ = paths.filter(|path| before.get(*path) != after.get(*path));
            touched.entry(kind).or_default().extend(differ.cloned());
            edits.push(Edit {
                what,
                change: changed,
            });
        }
    } else {
        for (field, changed) in of_kubernetes(change) {
            touched.entry(kind).or_default().insert(field.to_owned());
            edits.push(Edit {
                what: format!("{field}: {changed:?}"),
                change: changed,
            });
        }
    }
    edits.retain(|edit| edit.change != *change);
    edits
}

/// What a field may become: removed, or another value, or with a change inside.
fn variants(
    kind: Kind,
    path: &str,
    fields: &Fields,
    there: Option<&Value>,
) -> Vec<(String, Option<Value>)> {
    let mut list: Vec<(String, Option<Value>)> = Vec::new();
    if !path.is_empty() {
        list.push((format!("{path}: removed"), None));
        let mut news = values(kind, path);
        if let Fields::Value(words) = fields {
            news.extend(words.iter().cloned());
        }
        let named = |new: Value| (format!("{path}: {new}"), Some(new));
        list.extend(news.into_iter().map(named));
    }
    match (fields, there) {
        (Fields::Object(members), Some(Value::Object(object))) => {
            for (name, member) in members {
                let dot = if path.is_empty() { "" } else { "." };
                let inner = format!("{path}{dot}{name}");
                for (what, new) in variants(kind, &inner, member, object.get(name)) {
                    let mut object = object.clone();
                    match new {
                        Some(new) => drop(object.insert(name.clone(), new)),
                        None => drop(object.remove(name)),
                    }
                    list.push((what, Some(Value::Object(object))));
                }
            }
        }
        (Fields::List(item), Some(Value::Array(array))) => {
            for (at, there) in array.iter().enumerate() {
                for (what, new) in variants(kind, &format!("{path}[]"), item, Some(there)) {
                    let mut array = array.clone();
                    match new {
                        Some(new) => array[at] = new,
                        None => drop(array.remove(at)),
                    }
                    list.push((format!("{what} at {at}"), Some(Value::Array(array))));
                }
            }
            if array.len() > 1 {
                let turned = array.iter().rev().cloned().collect();
                list.push((format!("{path}: in reverse"), Some(Value::Array(turned))));
            }
        }
        (Fields::Map(values), Some(Value::Object(object))) => {
            for (key, there) in object {
                for (what, new) in variants(kind, &format!("{path}{{}}"), values, Some(there)) {
                    let mut object = object.clone();
                    match new {
                        Some(new) => drop(object.insert(key.clone(), new)),
                        None => drop(object.remove(key)),
                    }
                    list.push((format!("{what} of {key}"), Some(Value::Object(object))));
                }
            }
        }
        _ => {}
    }
    list
}

/// Values of a field that mean something in the worlds of these tests, and one that means nothing.
fn values(kind: Kind, path: &str) -> Vec<Value> {
    let list = |value: Value| value.as_array().cloned().unwrap_or_default();
    // What a rule over namespaces and a selector have, wherever they are.
    let last = path.rsplit('.').next().unwrap_or_default();
    match last {
        "names" => return list(json!([["a"], ["b"], ["a", "b"], []])),
        "names[]" => return list(json!(["a", "b", "nobody"])),
        "selector" => {
            return list(json!([
                { "matchLabels": { "tier": "gold" } }, { "matchLabels": { "app": "web" } }, {},
                { "matchExpressions": [{ "key": "tier", "operator": "In", "values": ["tin", "gold"] }] },
            ]));
        }
        "matchLabels" => {
            return list(
                json!([{ "tier": "gold" }, { "app": "db" }, { "app": "web", "tier": "tin" }]),
            );
        }
        "matchLabels{}" => return list(json!(["gold", "tin", "web", "db"])),
        "matchExpressions" => {
            return list(json!([
                [{ "key": "app", "operator": "In", "values": ["web", "db"] }],
                [{ "key": "tier", "operator": "Exists" }],
                [{ "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["a"] }],
            ]));
        }
        "key" => return list(json!(["app", "tier", "none"])),
        "operator" => return list(json!(["In", "NotIn", "Exists", "DoesNotExist", "Odd"])),
        "values" => return list(json!([["web"], ["gold"], ["db", "tin"]])),
        "values[]" => return list(json!(["web", "db", "gold", "tin"])),
        "intervalSeconds" | "timeoutSeconds" | "successThreshold" | "failureThreshold" => {
            return list(json!([1, 2, 0]));
        }
        "path" | "host" => return list(json!(["/", "/healthz"])),
        _ => {}
    }
    let found = match (kind, path) {
        (Kind::Vpc, "serviceCIDRs") => json!([
            ["10.96.0.0/28"],
            ["10.97.0.0/28", "fd00:97::/124"],
            ["10.96.0.0/29"],
            ["fd00:96::/124", "10.96.0.0/28"],
            [],
        ]),
        (Kind::Vpc, "serviceCIDRs[]") => {
            json!([
                "10.97.0.0/28",
                "10.0.1.0/28",
                "100.64.0.0/28",
                "fd00:97::/124",
                "odd"
            ])
        }
        (Kind::Vpc, "staticRoutes") => json!([
            [{ "destination": "0.0.0.0/0", "nextHop": "10.0.1.6" }], [{ "destination": "::/0", "nextHop": "fd00:1::6" }],
            [{ "destination": "192.0.2.3/32", "nextHop": "10.0.1.6" }],
        ]),
        (Kind::Vpc, "staticRoutes[].destination") => {
            json!([
                "0.0.0.0/0",
                "192.0.2.0/28",
                "192.0.2.2/32",
                "172.17.0.0/16",
                "odd"
            ])
        }
        (Kind::Vpc, "staticRoutes[].nextHop") => json!(["discard", "10.0.1.5", "odd"]),
        (Kind::Vpc, "eipGateway") => json!(["g1", "g2", "nowhere"]),
        (Kind::Vpc, "logicalRouter") => {
            json!(["their-router", THEIR_ROUTER.to_string(), "nowhere"])
        }
        (Kind::Subnet, "vpc") => json!(["red", "blue", "nowhere"]),
        (Kind::Subnet, "cidrs") => json!([
            ["10.0.1.0/29"],
            ["10.0.2.0/28", "fd00:2::/64"],
            ["10.9.0.0/28"]
        ]),
        (Kind::Subnet, "cidrs[]") => {
            json!([
                "10.0.1.0/28",
                "10.0.2.0/29",
                "10.9.0.0/28",
                "10.96.0.0/28",
                "fd00:9::/64",
                "odd"
            ])
        }
        (Kind::Subnet, "gateways") => json!([["10.0.1.6"], ["10.0.2.6", "fd00:2::9"]]),
        (Kind::Subnet, "gateways[]") => json!(["10.0.1.5", "10.0.2.5", "odd"]),
        (Kind::Subnet, "excludedAddresses") => {
            json!([["10.0.1.2-10.0.1.5"], ["10.0.2.0/29"], ["10.0.1.4"]])
        }
        (Kind::Subnet, "excludedAddresses[]") => json!(["10.0.1.5", "10.0.2.2-10.0.2.4", "odd"]),
        (Kind::Subnet, "logicalSwitch") => json!(["their-switch", "nowhere"]),
        (Kind::VNic, "subnet") => json!(["s1", "s2", "s3", "s4", "nowhere"]),
        (Kind::VNic, "addresses") => json!([["10.0.1.5"], ["10.0.2.5", "fd00:2::5"], []]),
        (Kind::VNic, "addresses[]") => json!(["10.0.1.3", "10.0.1.6", "127.0.0.1"]),
        (Kind::VNic, "macAddress") => json!(["0a:00:00:00:00:01", "0a:00:00:00:00:02", "odd"]),
        (Kind::VNic, "owner") => {
            json!([{ "kind": "VM", "name": "m0" }, { "kind": "BM", "name": "x" }])
        }
        (Kind::VNic, "owner.name") => json!(["m0", "other"]),
        (Kind::VNic, "node") => json!(["n0", "n1", "n9"]),
        (Kind::VNic, "device") => {
            json!([{ "pciAddress": "0000:03:00.2" }, { "representor": "pf0vf1" }, {}])
        }
        (Kind::VNic, "device.pciAddress") => json!(["0000:03:00.3"]),
        (Kind::VNic, "device.representor") => json!(["pf0vf2"]),
        (Kind::VNic, "ports") => {
            json!([[{ "name": "http", "port": 8081 }], [{ "name": "http", "protocol": "UDP", "port": 53 }]])
        }
        (Kind::VNic, "ports[].name") => json!(["http", "dns"]),
        (Kind::VNic, "ports[].port") => json!([8083, 0]),
        (Kind::EipGateway, "cidrs") => json!([
            ["192.0.2.0/29"],
            ["203.0.113.0/28"],
            ["2001:db8:e::/125", "192.0.2.0/28"],
            []
        ]),
        (Kind::EipGateway, "cidrs[]") => {
            json!(["192.0.2.0/29", "198.51.100.0/28", "100.64.1.0/24", "odd"])
        }
        (Kind::EipGateway, "gatewayAddresses") => json!([["192.0.2.6"], ["192.0.2.2"]]),
        (Kind::EipGateway, "gatewayAddresses[]") => json!(["192.0.2.5", "192.0.2.1", "10.0.0.1"]),
        (Kind::EipGateway, "nextHops") => json!([["192.0.2.1"], ["192.0.2.14"]]),
        (Kind::EipGateway, "nextHops[]") => json!(["192.0.2.13", "192.0.2.2", "odd"]),
        (Kind::EipGateway, "excludedAddresses") => json!([["192.0.2.2-192.0.2.4"], ["192.0.2.12"]]),
        (Kind::EipGateway, "excludedAddresses[]") => json!(["192.0.2.3", "odd"]),
        (Kind::EipGateway, "physicalNetwork") => json!(["outside", "another", ""]),
        (Kind::EipGateway, "vlan") => json!([7, 8, 5000]),
        (Kind::EipGateway, "nodes") => json!([["n1", "n0"], ["n2"], ["n0", "n1", "n2"], []]),
        (Kind::EipGateway, "nodes[]") => json!(["n2", "n1"]),
        (Kind::EipGateway, "serviceGateway") => json!([{ "placement": "Apart" }]),
        (Kind::Eip, "gateway") => json!(["g1", "g2", "nowhere"]),
        (Kind::Eip, "addresses") => json!([
            ["192.0.2.5"],
            ["192.0.2.3", "2001:db8:e::3"],
            ["203.0.113.4"],
            []
        ]),
        (Kind::Eip, "addresses[]") => json!(["192.0.2.4", "192.0.2.1", "odd"]),
        (Kind::Eip, "ipFamilies") => json!([["IPv6"], ["IPv4", "IPv6"], ["IPv4"]]),
        (Kind::YusurService, "vpc") => json!(["red", "blue", "green", "nowhere"]),
        (Kind::YusurService, "clusterIP") => {
            json!(["None", "10.96.0.9", "10.96.0.2", "192.0.2.9", "odd"])
        }
        (Kind::YusurService, "clusterIPs") => {
            json!([["10.96.0.9"], ["10.96.0.3", "fd00:96::3"], []])
        }
        (Kind::YusurService, "clusterIPs[]") => json!(["10.96.0.8", "fd00:96::8", "odd"]),
        (Kind::YusurService, "ipFamilies") => json!([["IPv6"], ["IPv4", "IPv6"], ["IPv6", "IPv4"]]),
        (Kind::YusurService, "eip") => json!([
            {}, { "name": "e0" }, { "name": "e1" }, { "gateway": "g2" }, { "addresses": ["192.0.2.9"] },
            { "ipFamilies": ["IPv6"] },
        ]),
        (Kind::YusurService, "eip.name") => json!(["e0", "e1", "none"]),
        (Kind::YusurService, "eip.gateway") => json!(["g1", "g2", "nowhere"]),
        (Kind::YusurService, "eip.addresses") => json!([["192.0.2.9"], ["192.0.2.3"]]),
        (Kind::YusurService, "eip.addresses[]") => json!(["192.0.2.10", "odd"]),
        (Kind::YusurService, "eip.ipFamilies") => json!([["IPv6"], ["IPv4", "IPv6"]]),
        (Kind::YusurService, "ports") => {
            json!([[], [{ "port": 81 }], [{ "name": "x", "port": 80, "targetPort": "http" }]])
        }
        (Kind::YusurService, "ports[].name") => json!(["x"]),
        (Kind::YusurService, "ports[].port") => json!([80, 99, 0]),
        (Kind::YusurService, "ports[].targetPort") => json!([8080, "http", "dns"]),
        (Kind::YusurService, "ports[].appProtocol") => json!(["http"]),
        (Kind::YusurService, "backends") => json!([
            [], [{ "kind": "Pod", "vpc": "blue", "selector": { "matchLabels": { "app": "web" } } }],
            [{ "kind": "VNicIP", "selector": {} }], [{ "kind": "VM", "selector": {} }],
        ]),
        (Kind::YusurService, "backends[].addresses") => {
            json!([["10.0.1.5"], ["10.0.1.3", "fd00:1::3"]])
        }
        (Kind::YusurService, "backends[].addresses[]") => json!(["10.0.1.6", "100.64.0.1", "odd"]),
        (Kind::YusurService, "backends[].vpc") => json!(["blue", "red", "green", "nowhere"]),
        (Kind::YusurService, "backends[].weight") => json!([0, 2, 101]),
        (Kind::YusurService, "backends[].ports") => json!([[{ "name": "http", "port": 9000 }]]),
        (Kind::YusurService, "backends[].ports[].name") => json!(["http", "dns"]),
        (Kind::YusurService, "backends[].ports[].port") => json!([9001, 0]),
        (Kind::YusurService, "sessionAffinity") => json!([{ "type": "ClientIP" }]),
        (Kind::YusurService, "sessionAffinity.timeoutSeconds") => json!([60, 0]),
        (Kind::YusurService, "healthCheck") => {
            json!([{}, { "disabled": true }, { "protocol": "HTTP", "path": "/x" }])
        }
        (Kind::YusurService, "healthCheck.port") => json!([80, 0]),
        (Kind::YusurService, "sourceRanges") => json!([["198.51.100.0/24"], ["2001:db8:c::/48"]]),
        (Kind::YusurService, "sourceRanges[]") => json!(["198.51.0.0/16", "odd"]),
        (Kind::NetworkProbe, "port") => json!([80, 81]),
        (Kind::NetworkProbe, "node") => json!(["n0", "n1"]),
        (Kind::NetworkProbe, "target.name" | "target.subnet" | "target.vpc") => {
            json!(["p0", "s1", "red"])
        }
        (Kind::NetworkProbe, "target.address") => json!(["10.0.1.2", "10.0.1.3"]),
        _ => json!([]),
    };
    list(found)
}

/// Other metadata, by the field that differs. Namespace and name say which object it is: no edit changes them.
fn metas(meta: &Meta) -> Vec<(String, Meta)> {
    let Meta {
        namespace: _,
        name: _,
        uid,
        generation,
        created,
        labels,
        deleting,
    } = meta;
    let mut list = Vec::new();
    let mut add = |field: String, meta: Meta| list.push((field, meta));
    // Made anew under its name: at the same time, or as an older or a younger one.
    let anew = format!("{uid}-again");
    for created in [*created, created - 10, created + 10] {
        add(
            format!("uid: {anew}, created {created}"),
            Meta {
                uid: anew.clone(),
                created,
                ..meta.clone()
            },
        );
    }
    let generation = generation + 1;
    add(
        format!("generation: {generation}"),
        Meta {
            generation,
            ..meta.clone()
        },
    );
    let others: [&[(&str, &str)]; 5] = [
        &[],
        &[("app", "web")],
        &[("app", "db")],
        &[("tier", "gold")],
        &[("tier", "tin"), ("app", "web")],
    ];
    for other in others {
        let pairs = other.iter();
        let other = pairs.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let other: BTreeMap<String, String> = other.collect();
        if other != *labels {
            add(
                format!("labels: {other:?}"),
                Meta {
                    labels: other,
                    ..meta.clone()
                },
            );
        }
    }
    let deleting = !deleting;
    add(
        format!("deletionTimestamp: {deleting}"),
        Meta {
            deleting,
            ..meta.clone()
        },
    );
    list
}

/// The edits of what Kubernetes and KubeVirt keep: of every field the planner is told of.
fn of_kubernetes(change: &Change) -> Vec<(&'static str, Change)> {
    let addresses = || {
        [
            vec![],
            vec!["10.0.1.5"],
            vec!["10.0.2.4", "fd00:2::4"],
            vec!["10.0.1.2"],
        ]
        .map(|texts| {
            let read = texts
                .into_iter()
                .map(|text| text.parse().expect("an address"));
            read.collect::<Vec<_>>()
        })
    };
    let subnets = [None, Some("s1"), Some("s2"), Some("s3"), Some("nowhere")];
    let subnets = || subnets.map(|name| name.map(str::to_owned));
    let nodes = [None, Some("n0"), Some("n1")];
    let nodes = || nodes.map(|name| name.map(str::to_owned));
    let mut list = Vec::new();
    match change {
        Change::Pod(pod) => {
            let Pod {
                meta: _,
                subnet: _,
                node: _,
                host_network,
                ended,
                ready,
                addresses: _,
                ports: _,
            } = pod;
            let mut add = |field, pod| list.push((field, Change::Pod(pod)));
            for subnet in subnets() {
                add(
                    SUBNET_ANNOTATION,
                    Pod {
                        subnet,
                        ..pod.clone()
                    },
                );
            }
            for node in nodes() {
                add(
                    "spec.nodeName",
                    Pod {
                        node,
                        ..pod.clone()
                    },
                );
            }
            let host_network = !host_network;
            add(
                "spec.hostNetwork",
                Pod {
                    host_network,
                    ..pod.clone()
                },
            );
            let ended = !ended;
            add(
                "status.phase",
                Pod {
                    ended,
                    ..pod.clone()
                },
            );
            let ready = !ready;
            add(
                "status.conditions",
                Pod {
                    ready,
                    ..pod.clone()
                },
            );
            for addresses in addresses() {
                add(
                    "status.podIPs",
                    Pod {
                        addresses,
                        ..pod.clone()
                    },
                );
            }
            for (name, protocol, port) in [
                ("http", "TCP", 8088),
                ("http", "UDP", 8080),
                ("dns", "UDP", 53),
            ] {
                let port = NamedPort {
                    name: name.into(),
                    protocol: protocol.into(),
                    port,
                };
                add(
                    "spec.containers",
                    Pod {
                        ports: vec![port],
                        ..pod.clone()
                    },
                );
            }
            add(
                "spec.containers",
                Pod {
                    ports: Vec::new(),
                    ..pod.clone()
                },
            );
        }
        Change::Node(node) => {
            let Node {
                meta: _,
                ready,
                addresses: _,
                chassis: _,
            } = node;
            let mut add = |field, node| list.push((field, Change::Node(node)));
            let ready = !ready;
            add(
                "status.conditions",
                Node {
                    ready,
                    ..node.clone()
                },
            );
            for addresses in addresses() {
                add(
                    "status.addresses",
                    Node {
                        addresses,
                        ..node.clone()
                    },
                );
            }
            for chassis in [None, Some("chassis-x".to_owned()), Some("n0".to_owned())] {
                add(
                    "chassis",
                    Node {
                        chassis,
                        ..node.clone()
                    },
                );
            }
            let mut kept_out = node.clone();
            kept_out.meta.labels.insert(
                "node.kubernetes.io/exclude-from-external-load-balancers".into(),
                String::new(),
            );
            add("metadata.labels", kept_out);
        }
        Change::VirtualMachineInstance(vmi) => {
            let VirtualMachineInstance {
                meta: _,
                subnet: _,
                node: _,
                ready,
                addresses: _,
            } = vmi;
            let mut add = |field, vmi| list.push((field, Change::VirtualMachineInstance(vmi)));
            for subnet in subnets() {
                add(
                    SUBNET_ANNOTATION,
                    VirtualMachineInstance {
                        subnet,
                        ..vmi.clone()
                    },
                );
            }
            for node in nodes() {
                add(
                    "status.nodeName",
                    VirtualMachineInstance {
                        node,
                        ..vmi.clone()
                    },
                );
            }
            let ready = !ready;
            add(
                "status.phase",
                VirtualMachineInstance {
                    ready,
                    ..vmi.clone()
                },
            );
            for addresses in addresses() {
                add(
                    "status.interfaces",
                    VirtualMachineInstance {
                        addresses,
                        ..vmi.clone()
                    },
                );
            }
        }
        Change::Namespace(Meta { labels, .. }) => {
            let mut labels = labels.clone();
            labels.insert("tier".into(), "tin".into());
            let mut other = change.clone();
            meta_mut(&mut other).labels = labels;
            list.push(("metadata.labels", other));
        }
        other => panic!("{other:?} has a schema"),
    }
    list
}

macro_rules! ours {
    ($change:expr, $object:pat => $done:expr, $($other:tt)*) => {
        match $change {
            Change::Vpc($object) => $done,
            Change::Subnet($object) => $done,
            Change::VNic($object) => $done,
            Change::EipGateway($object) => $done,
            Change::Eip($object) => $done,
            Change::YusurService($object) => $done,
            Change::NetworkProbe($object) => $done,
            $($other)*
        }
    };
}

fn meta(change: &Change) -> &Meta {
    ours!(change, object => &object.meta,
        Change::Pod(pod) => &pod.meta,
        Change::Node(node) => &node.meta,
        Change::Namespace(meta) => meta,
        Change::VirtualMachineInstance(vmi) => &vmi.meta,
        Change::Removed(object) => panic!("{object} is gone"),
    )
}

fn meta_mut(change: &mut Change) -> &mut Meta {
    ours!(change, object => &mut object.meta,
        Change::Pod(pod) => &mut pod.meta,
        Change::Node(node) => &mut node.meta,
        Change::Namespace(meta) => meta,
        Change::VirtualMachineInstance(vmi) => &mut vmi.meta,
        Change::Removed(object) => panic!("{object} is gone"),
    )
}

fn spec(change: &Change) -> Option<Value> {
    let read = ours!(change, object => serde_json::to_value(&object.spec), _ => return None);
    Some(read.expect("a spec"))
}

/// The object with another spec, if that is one.
fn with_spec(change: &Change, spec: &Value) -> Option<Change> {
    let mut change = change.clone();
    ours!(&mut change, object => object.spec = serde_json::from_value(spec.clone()).ok()?, _ => return None);
    Some(change)
}
