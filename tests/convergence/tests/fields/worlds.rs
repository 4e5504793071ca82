//! Worlds in which much depends on everything.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use yusur_planner::{Change, Meta, NamedPort, Node, Object, Pod, VirtualMachineInstance};

/// The chassis that gateways are on.
pub fn serving() -> BTreeMap<String, String> {
    [("g1".to_owned(), "n0".to_owned())].into()
}

fn meta(namespace: &str, name: &str, created: i64, app: &str) -> Meta {
    Meta {
        namespace: namespace.into(),
        name: name.into(),
        uid: format!("uid-{namespace}-{name}"),
        generation: 1,
        created,
        labels: [("app".to_owned(), app.to_owned())].into(),
        deleting: false,
    }
}

/// An object of ours: `namespace/name`, or a name.
fn ours<Spec: DeserializeOwned, Status>(
    name: &str,
    created: i64,
    app: &str,
    spec: Value,
) -> Object<Spec, Status> {
    let (namespace, short) = name.split_once('/').unwrap_or(("", name));
    Object {
        meta: meta(namespace, short, created, app),
        spec: serde_json::from_value(spec).unwrap_or_else(|error| panic!("{name}: {error}")),
        status: None,
    }
}

fn pod(name: &str, created: i64, app: &str, subnet: Option<&str>, ready: bool) -> Change {
    Change::Pod(Pod {
        meta: meta("a", name, created, app),
        subnet: subnet.map(str::to_owned),
        node: Some("n0".into()),
        ready,
        ports: vec![NamedPort {
            name: "http".into(),
            protocol: "TCP".into(),
            port: 8080,
        }],
        ..Pod::default()
    })
}

fn node(name: &str, chassis: Option<&str>) -> Change {
    Change::Node(Node {
        meta: Meta {
            labels: BTreeMap::new(),
            ..meta("", name, 0, "")
        },
        ready: true,
        chassis: chassis.map(str::to_owned),
        ..Node::default()
    })
}

fn namespace(name: &str, tier: &str) -> Change {
    Change::Namespace(Meta {
        labels: [("tier".to_owned(), tier.to_owned())].into(),
        ..meta("", name, 0, "")
    })
}

/// The namespaces, the nodes, and one object of each kind that all else rests on.
fn ground() -> Vec<Change> {
    vec![
        namespace("a", "gold"),
        namespace("b", "tin"),
        node("n0", None),
        node("n1", Some("chassis-n1")),
        node("n2", None),
        Change::NetworkProbe(ours(
            "a/probe",
            0,
            "web",
            json!({
            "target": { "kind": "Pod", "name": "p0", "address": "10.0.1.2", "vpc": "red", "subnet": "s1" },
            "protocol": "HTTP", "port": 80, "path": "/", "host": "x", "intervalSeconds": 5, "timeoutSeconds": 3,
            "successThreshold": 1, "failureThreshold": 3, "node": "n0" }),
        )),
    ]
}

/// Two Vpcs with the same ranges and one whose router others made; workloads of all kinds; two gateways; services of each
/// form, with everything a service can say.
pub fn connected() -> Vec<Change> {
    let mut world = ground();
    world.extend([
        Change::Vpc(ours("red", 1, "x", json!({ "serviceCIDRs": ["10.96.0.0/28", "fd00:96::/124"],
            "allowedNamespaces": { "names": ["a"], "selector": { "matchLabels": { "tier": "gold" },
                "matchExpressions": [{ "key": "tier", "operator": "In", "values": ["gold"] }] } },
            "staticRoutes": [{ "destination": "172.16.0.0/16", "nextHop": "10.0.1.6" }] }))),
        Change::Vpc(ours("blue", 2, "x", json!({ "serviceCIDRs": ["10.96.0.0/28"],
            "allowedNamespaces": { "from": "All" }, "eipGateway": "g1" }))),
        Change::Vpc(ours("green", 3, "x", json!({ "serviceCIDRs": ["10.96.0.0/28"],
            "allowedNamespaces": { "from": "All" }, "logicalRouter": "their-router" }))),
        Change::Subnet(ours("s1", 1, "x", json!({ "vpc": "red", "cidrs": ["10.0.1.0/28", "fd00:1::/64"],
            "excludedAddresses": ["10.0.1.14"], "gateways": ["10.0.1.1"],
            "defaultForNamespaces": { "names": ["a"], "selector": { "matchLabels": { "tier": "gold" } } } }))),
        Change::Subnet(ours("s2", 2, "x", json!({ "vpc": "blue", "cidrs": ["10.0.2.0/28", "fd00:2::/64"],
            "defaultForNamespaces": { "names": ["b"] } }))),
        Change::Subnet(ours("s3", 3, "x", json!({ "vpc": "blue", "cidrs": ["10.0.1.0/28"] }))),
        Change::Subnet(ours("s4", 4, "x", json!({ "vpc": "green", "cidrs": ["10.0.4.0/28"],
            "logicalSwitch": "their-switch" }))),
        pod("p0", 1, "web", None, true),
        pod("p1", 2, "web", None, false),
        pod("p2", 3, "web", Some("s3"), true),
        pod("p3", 4, "db", Some("s2"), true),
        Change::VirtualMachineInstance(VirtualMachineInstance {
            meta: meta("a", "m0", 5, "web"),
            subnet: None,
            node: Some("n1".into()),
            ready: true,
            addresses: vec!["10.0.1.9".parse().expect("an address")],
        }),
        Change::VNic(ours("a/v0", 6, "web", json!({ "subnet": "s1", "addresses": ["10.0.1.7"], "macAddress": "0a:00:00:00:00:07",
            "owner": { "kind": "VM", "name": "m1" }, "node": "n1", "device": { "pciAddress": "0000:03:00.1", "representor": "pf0vf0" },
            "ports": [{ "name": "http", "port": 8082 }] }))),
        Change::VNic(ours("a/v1", 7, "db", json!({ "subnet": "s2", "owner": { "kind": "BM", "name": "metal" }, "portSecurity": false }))),
        Change::VNic(ours("a/v2", 8, "web", json!({ "subnet": "s4", "addresses": ["10.0.4.4"] }))),
        Change::EipGateway(ours("g1", 1, "x", json!({ "cidrs": ["192.0.2.0/28", "2001:db8:e::/125"], "physicalNetwork": "outside",
            "nodes": ["n0", "n1"], "default": true, "vlan": 7, "nextHops": ["192.0.2.14"], "gatewayAddresses": ["192.0.2.1"],
            "excludedAddresses": ["192.0.2.13"], "serviceGateway": { "placement": "WithGateway" },
            "allowedNamespaces": { "from": "Listed", "names": ["a"], "selector": { "matchLabels": { "tier": "gold" } } } }))),
        Change::EipGateway(ours("g2", 2, "x", json!({ "cidrs": ["203.0.113.0/28"], "physicalNetwork": "another",
            "nodes": ["n1", "n2"], "allowedNamespaces": { "from": "All" } }))),
        Change::Eip(ours("a/e0", 1, "x", json!({ "gateway": "g1", "ipFamilies": ["IPv4", "IPv6"] }))),
        Change::Eip(ours("a/e1", 2, "x", json!({ "gateway": "g2", "addresses": ["203.0.113.3"] }))),
    ]);
    world.extend(services());
    world
}

fn services() -> Vec<Change> {
    let home = || json!({ "kind": "Pod", "selector": { "matchLabels": { "app": "web" } } });
    let away = || json!({ "kind": "Pod", "vpc": "blue", "selector": { "matchLabels": { "app": "web" } }, "weight": 2 });
    let service = |name: &str, created, spec| Change::YusurService(ours(name, created, "x", spec));
    vec![
        // By an Eip that services share, with backends of every kind.
        service(
            "a/w0",
            10,
            json!({ "vpc": "red", "clusterIPs": ["10.96.0.3", "fd00:96::3"], "eip": { "name": "e0" },
            "ports": [{ "name": "web", "port": 80, "targetPort": "http", "appProtocol": "http" },
                { "name": "dns", "port": 53, "protocol": "UDP", "targetPort": 5353 }],
            "backends": [home(), { "kind": "VM", "selector": { "matchExpressions": [
                    { "key": "app", "operator": "In", "values": ["web"] }] }, "weight": 3, "ports": [{ "name": "http", "port": 9000 }] },
                { "kind": "VNicIP", "addresses": ["10.0.1.10", "fd00:1::10"] }],
            "sessionAffinity": { "type": "ClientIP", "timeoutSeconds": 30 }, "sourceRanges": ["198.51.100.0/24"],
            "healthCheck": { "protocol": "HTTP", "port": 80, "path": "/", "host": "x" } }),
        ),
        service(
            "a/w1",
            11,
            json!({ "vpc": "red", "eip": { "gateway": "g1", "addresses": ["192.0.2.5"], "ipFamilies": ["IPv4"] },
            "ports": [{ "port": 81 }], "backends": [home(), away()] }),
        ),
        service(
            "a/w2",
            12,
            json!({ "vpc": "red", "eip": { "name": "e0" }, "ports": [{ "port": 82 }],
            "backends": [home(), away()], "sourceAddress": "Preserve", "sourceRanges": ["198.51.100.0/24"] }),
        ),
        service(
            "a/w3",
            13,
            json!({ "vpc": "red", "clusterIP": "10.96.0.2", "ports": [{ "port": 83 }], "backends": [home(), away()],
            "algorithm": "SourceHash", "nodeAccess": true }),
        ),
        // Headless.
        service(
            "a/w4",
            14,
            json!({ "vpc": "red", "clusterIP": "None", "backends": [home()], "publishNotReadyAddresses": true }),
        ),
        // Allocated addresses, its own EIP, in one Vpc.
        service(
            "a/w5",
            15,
            json!({ "vpc": "red", "ipFamilyPolicy": "PreferDualStack", "eip": {}, "ports": [{ "port": 80 }],
            "backends": [home()] }),
        ),
        // The same port of the same Eip; another Vpc's Eip.
        service(
            "a/w6",
            16,
            json!({ "vpc": "red", "eip": { "name": "e0" }, "ports": [{ "port": 80 }], "backends": [home()] }),
        ),
        service(
            "a/w7",
            17,
            json!({ "vpc": "blue", "eip": { "name": "e1" }, "ports": [{ "port": 80 }],
            "backends": [{ "kind": "Pod", "selector": {} }, { "kind": "BM", "selector": {} }] }),
        ),
        // In a Vpc with a router of others, from a namespace that not all allow.
        service(
            "b/w8",
            18,
            json!({ "vpc": "green", "ports": [{ "port": 80, "targetPort": "http" }],
            "backends": [{ "kind": "VNicIP", "selector": {} }, { "kind": "Pod", "vpc": "red", "selector": {} }] }),
        ),
        service(
            "b/w9",
            19,
            json!({ "vpc": "blue", "ipFamilies": ["IPv4"], "ports": [{ "port": 80 }], "eip": {},
            "backends": [{ "kind": "Pod", "addresses": ["10.0.2.9"] }], "publish": { "dns": false, "kubernetes": true } }),
        ),
    ]
}

/// Too little of everything, and two for each thing: ranges that overlap, a router and a switch that two want, gateways that
/// both are the default, addresses that several ask for.
pub fn contested() -> Vec<Change> {
    let mut world = ground();
    let open = || json!({ "from": "All" });
    let pods = || json!([{ "kind": "Pod", "selector": { "matchLabels": { "app": "web" } } }]);
    let service = |name: &str, created, spec| Change::YusurService(ours(name, created, "x", spec));
    world.extend([
        Change::Vpc(ours("red", 1, "x", json!({ "serviceCIDRs": ["10.96.0.0/30"], "allowedNamespaces": open(),
            "logicalRouter": "their-router" }))),
        Change::Vpc(ours("blue", 2, "x", json!({ "serviceCIDRs": ["10.96.0.0/29"], "allowedNamespaces": open(),
            "logicalRouter": "their-router", "staticRoutes": [{ "destination": "0.0.0.0/0", "nextHop": "10.0.2.6" }] }))),
        Change::Vpc(ours("green", 3, "x", json!({ "serviceCIDRs": ["10.96.0.0/29"], "allowedNamespaces": open(),
            "staticRoutes": [{ "destination": "0.0.0.0/0", "nextHop": "10.0.3.6" }] }))),
        Change::Subnet(ours("s1", 1, "x", json!({ "vpc": "red", "cidrs": ["10.0.1.0/30"], "defaultForNamespaces": { "names": ["a"] } }))),
        Change::Subnet(ours("s2", 2, "x", json!({ "vpc": "red", "cidrs": ["10.0.1.0/29"], "logicalSwitch": "their-switch",
            "defaultForNamespaces": { "selector": { "matchLabels": { "tier": "gold" } } } }))),
        Change::Subnet(ours("s3", 3, "x", json!({ "vpc": "green", "cidrs": ["10.0.3.0/29"], "logicalSwitch": "their-switch" }))),
        Change::Subnet(ours("s4", 4, "x", json!({ "vpc": "green", "cidrs": ["10.0.4.0/29"],
            "defaultForNamespaces": { "from": "All" } }))),
        Change::EipGateway(ours("g1", 1, "x", json!({ "cidrs": ["192.0.2.0/30"], "physicalNetwork": "outside", "nodes": ["n0"],
            "default": true }))),
        Change::EipGateway(ours("g2", 2, "x", json!({ "cidrs": ["192.0.2.0/29"], "physicalNetwork": "outside", "nodes": ["n1"],
            "default": true }))),
        Change::Eip(ours("a/e0", 1, "x", json!({}))),
        Change::Eip(ours("a/e1", 2, "x", json!({ "addresses": ["192.0.2.2"] }))),
        pod("p0", 1, "web", None, true),
        pod("p1", 2, "web", None, true),
        pod("p2", 3, "web", Some("s4"), true),
        Change::VNic(ours("a/v0", 4, "web", json!({ "subnet": "s4", "addresses": ["10.0.4.5"], "macAddress": "0a:00:00:00:00:01",
            "owner": { "kind": "VM", "name": "m1" } }))),
        Change::VNic(ours("a/v1", 5, "web", json!({ "subnet": "s4", "addresses": ["10.0.4.5"], "macAddress": "0a:00:00:00:00:01" }))),
        service("a/w0", 10, json!({ "vpc": "red", "ports": [{ "port": 80 }], "backends": pods() })),
        service("a/w1", 11, json!({ "vpc": "red", "ports": [{ "port": 80 }], "backends": pods(), "eip": {} })),
        service("a/w2", 12, json!({ "vpc": "red", "ports": [{ "port": 80 }], "backends": pods(), "eip": { "name": "e0" } })),
        service("a/w3", 13, json!({ "vpc": "green", "clusterIP": "10.96.0.2", "ports": [{ "port": 80, "targetPort": "http" }],
            "backends": pods(), "eip": { "name": "e0" } })),
        service("b/w4", 14, json!({ "vpc": "green", "clusterIP": "10.96.0.2", "ports": [{ "port": 80 }], "backends": pods(),
            "eip": { "gateway": "g2" } })),
        service("a/w5", 15, json!({ "vpc": "green", "ports": [{ "port": 80 }], "backends": [
            { "kind": "Pod", "vpc": "red", "selector": {} }, { "kind": "VM", "selector": {} }] })),
    ]);
    world
}
