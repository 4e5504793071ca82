//! Worlds that are there when a history begins. What the outside and other VPCs reach takes so many objects that chance alone
//! seldom makes them all.

use serde_json::{Value, json};
use yusur_convergence::{Meta, Objects, Pod};

use super::labels;
use crate::dice::Dice;

/// Two VPCs with the same ranges and Pods in both, a gateway, an Eip, and one service for each way in.
pub fn world(dice: &mut Dice<'_>) -> Objects {
    let mut objects = Objects::default();
    let plain = |name: &str| Meta {
        uid: format!("uid-{name}"),
        labels: labels(&mut Dice::new(&[]), name),
        ..Meta::default()
    };
    for vpc in ["red", "blue"] {
        let spec = json!({ "serviceCIDRs": ["10.96.0.0/28", "fd00:96::/124"], "allowedNamespaces": { "from": "All" } });
        objects.vpcs.insert(vpc.into(), (plain(vpc), read(spec)));
    }
    for (name, vpc, cidrs, default) in [
        ("s1", "red", json!(["10.0.1.0/29", "fd00:1::/64"]), "a"),
        ("s2", "blue", json!(["10.0.2.0/29", "fd00:2::/64"]), "b"),
        ("s3", "blue", json!(["10.0.1.0/29"]), "nobody"),
    ] {
        let mut spec =
            json!({ "vpc": vpc, "cidrs": cidrs, "defaultForNamespaces": { "names": [default] } });
        if name == "s2" {
            spec["excludedAddresses"] = json!(super::EXCLUDED_FROM_S2);
        }
        objects
            .subnets
            .insert(name.into(), (plain(name), read(spec)));
    }
    for (namespace, name, subnet) in [
        ("a", "p0", None),
        ("a", "p1", None),
        ("a", "p2", Some("s3")),
        ("a", "p3", Some("s2")),
        ("b", "p0", None),
    ] {
        let pod = Pod {
            meta: plain(name),
            subnet: subnet.map(str::to_owned),
            ready: true,
            ..Pod::default()
        };
        objects.pods.insert((namespace.into(), name.into()), pod);
    }
    let ranges = dice.pick(&[
        json!(["192.0.2.0/29"]),
        json!(["192.0.2.0/29", "2001:db8:e::/125"]),
    ]);
    let spec = json!({ "cidrs": ranges, "physicalNetwork": "outside", "nodes": ["n0", "n1"], "default": true });
    objects
        .gateways
        .insert("g1".into(), (plain("g1"), read(spec), None));
    let key = |name: &str| ("a".to_owned(), name.to_owned());
    let spec = json!({ "gateway": "g1" });
    objects
        .eips
        .insert(key("e0"), (plain("e0"), read(spec), None));

    let home = json!({ "kind": "Pod", "selector": { "matchLabels": { "app": "web" } } });
    let away = json!({ "kind": "Pod", "vpc": "blue", "selector": { "matchLabels": { "app": "web" } }, "weight": 2 });
    let both = json!([home, away]);
    let eip = json!({ "name": "e0" });
    for (name, port, eip, backends, source) in [
        ("w0", 80, eip.clone(), json!([home]), "ServiceGateway"),
        ("w1", 81, json!({}), both.clone(), "ServiceGateway"),
        ("w2", 82, eip, both.clone(), "Preserve"),
        ("w3", 83, Value::Null, both, "ServiceGateway"),
    ] {
        let policy = dice.pick(&["SingleStack", "PreferDualStack"]);
        let ranges = dice.pick(&[json!([]), json!(["198.51.100.0/24", "2001:db8:c::/48"])]);
        let ranges = if eip.is_null() { json!([]) } else { ranges };
        let spec = json!({ "vpc": "red", "eip": eip, "ports": [{ "port": port }], "backends": backends,
            "sourceAddress": source, "sourceRanges": ranges, "ipFamilyPolicy": policy });
        objects
            .services
            .insert(key(name), (plain(name), read(spec), None));
    }
    objects
}

fn read<T: serde::de::DeserializeOwned>(spec: Value) -> T {
    serde_json::from_value(spec).expect("a spec")
}
