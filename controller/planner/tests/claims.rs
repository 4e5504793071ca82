//! Who holds a value keeps it, whatever happens to others and to itself, as long as it asks for it; and who is refused asks
//! for nothing. For every kind of value: addresses of ports, MAC addresses, cluster addresses, external addresses.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use support::story::Story;
use yusur_planner::{Kind, ObjectName};

const BASE: &str = "
{ kind: Vpc, metadata: { name: v, uid: u-v }, spec: { serviceCIDRs: [10.96.0.0/24], allowedNamespaces: { from: All } } }
---
{ kind: Subnet, metadata: { name: s, uid: u-s }, spec: { vpc: v, cidrs: [10.0.1.0/24], defaultForNamespaces: { names: [p] } } }
---
kind: EipGateway
metadata: { name: ext, uid: u-ext }
spec: { cidrs: [192.0.2.0/28], physicalNetwork: outside, nodes: [n1], default: true }
";

/// A kind of claimant, and how it asks for a value.
struct Claimant {
    kind: &'static str,
    unit: &'static str,
    value: &'static str,
    /// Its spec when it asks for the value by name, and when any will do.
    this: &'static str,
    any: &'static str,
}

const CLAIMANTS: &[Claimant] = &[
    Claimant {
        kind: "YusurService",
        unit: "service",
        value: "10.96.0.1",
        this: "{ vpc: v, ports: [{ port: 80 }], clusterIP: 10.96.0.1 }",
        any: "{ vpc: v, ports: [{ port: 80 }] }",
    },
    Claimant {
        kind: "Eip",
        unit: "eip",
        value: "192.0.2.2",
        this: "{ addresses: [192.0.2.2] }",
        any: "{}",
    },
    Claimant {
        kind: "YusurService",
        unit: "service",
        value: "192.0.2.2",
        this: "{ vpc: v, ports: [{ port: 80 }], eip: { addresses: [192.0.2.2] } }",
        any: "{ vpc: v, ports: [{ port: 80 }], eip: {} }",
    },
    Claimant {
        kind: "VNic",
        unit: "vnic",
        value: "10.0.1.2",
        this: "{ subnet: s, addresses: [10.0.1.2] }",
        any: "{ subnet: s }",
    },
    Claimant {
        kind: "VNic",
        unit: "vnic",
        value: "02:00:00:00:00:01",
        this: "{ subnet: s, macAddress: \"02:00:00:00:00:01\" }",
        any: "{ subnet: s }",
    },
];

impl Claimant {
    fn object(&self, name: &str, created: i64, spec: &str) -> String {
        let (namespace, name) = name.split_once('/').expect("a namespace");
        format!(
            "{{ kind: {}, metadata: {{ name: {name}, namespace: {namespace}, uid: u-{namespace}-{name}, created: {created} }}, \
             spec: {spec} }}",
            self.kind
        )
    }

    fn unit(&self, name: &str) -> String {
        format!("{}/{name}", self.unit)
    }

    /// Exactly this one of the two has the value.
    fn has(&self, story: &Story, name: &str, other: &str) {
        let [has, lacks] = [name, other].map(|name| story.has(&self.unit(name), self.value));
        assert!(
            has && !lacks,
            "{} {} is {name}'s: {:?}, not {other}'s: {:?}",
            self.kind,
            self.value,
            story.rows(&self.unit(name)),
            story.rows(&self.unit(other)),
        );
        assert_eq!(story.accepted(&self.unit(name)), "Accepted", "{name}");
    }
}

/// `u` has an object that is older than `t`'s, and patches in what `t` has by then.
#[test]
fn an_edit_of_an_older_object_takes_nothing() {
    for claimant in CLAIMANTS {
        for held in [claimant.this, claimant.any] {
            if claimant.value.contains(':') && held == claimant.any {
                continue;
            }
            let mut story = Story::of(BASE);
            story.then(&claimant.object("t/mine", 20, held));
            // Parked early, at another value.
            story.then(&claimant.object("u/parked", 10, claimant.any));
            story.then(&claimant.object("u/parked", 10, claimant.this));
            claimant.has(&story, "t/mine", "u/parked");
            story.restart();
            claimant.has(&story, "t/mine", "u/parked");
            // The holder goes: the one that waits has it.
            story.then(&format!(
                "{{ kind: {}, metadata: {{ name: mine, namespace: t }}, removed: true }}",
                claimant.kind
            ));
            assert!(story.has(&claimant.unit("u/parked"), claimant.value));
        }
    }
}

#[test]
fn a_holder_keeps_what_an_older_object_of_another_name_asks_for_later() {
    for claimant in CLAIMANTS {
        let mut story = Story::of(BASE);
        story.then(&claimant.object("t/zzz", 7, claimant.this));
        story.then(&claimant.object("t/aaa", 7, claimant.this));
        story.then(&claimant.object("a/older", 1, claimant.this));
        claimant.has(&story, "t/zzz", "t/aaa");
        claimant.has(&story, "t/zzz", "a/older");
        story.restart();
        claimant.has(&story, "t/zzz", "t/aaa");
    }
}

#[test]
fn of_claims_that_are_new_together_the_older_objects_is_first() {
    for claimant in CLAIMANTS {
        let objects = [("t/aaa", 9), ("t/bbb", 3), ("t/ccc", 9)];
        let objects = objects.map(|(name, created)| claimant.object(name, created, claimant.this));
        let mut story = Story::of(&format!("{BASE}---\n{}", objects.join("\n---\n")));
        claimant.has(&story, "t/bbb", "t/aaa");
        claimant.has(&story, "t/bbb", "t/ccc");
        story.restart();
        claimant.has(&story, "t/bbb", "t/aaa");
    }
}

/// A claim that was refused is no holding: whoever asks for any value then gets a free one.
#[test]
fn who_was_refused_an_address_and_asks_for_any_gets_a_free_one() {
    for claimant in &CLAIMANTS[..4] {
        let mut story = Story::of(BASE);
        story.then(&claimant.object("t/old", 1, claimant.this));
        story.then(&claimant.object("u/new", 2, claimant.this));
        claimant.has(&story, "t/old", "u/new");
        story.then(&claimant.object("u/new", 2, claimant.any));
        claimant.has(&story, "t/old", "u/new");
        assert_eq!(story.accepted(&claimant.unit("u/new")), "Accepted");
        assert!(!story.rows(&claimant.unit("u/new")).is_empty());
        story.restart();
    }
}

/// What statuses say, and what stands beside them, is lost: the rows know who holds what.
#[test]
fn who_holds_what_is_known_by_rows_where_statuses_are_lost() {
    for claimant in CLAIMANTS {
        let mut story = Story::of(BASE);
        story.then(&claimant.object("t/zzz", 7, claimant.this));
        story.then(&claimant.object("t/aaa", 8, claimant.this));
        story.lose_statuses();
        story.begin_again(true);
        claimant.has(&story, "t/zzz", "t/aaa");
    }
    for claimant in &CLAIMANTS[..4] {
        let mut story = Story::of(BASE);
        for name in ["t/n1", "t/n2", "t/n3"] {
            story.then(&claimant.object(name, 1, claimant.any));
        }
        let rows = |story: &Story| ["t/n2", "t/n3"].map(|name| story.rows(&claimant.unit(name)));
        let before = rows(&story);
        assert_ne!(before[0], before[1]);
        story.then(&format!(
            "{{ kind: {}, metadata: {{ name: n1, namespace: t }}, removed: true }}",
            claimant.kind
        ));
        story.lose_statuses();
        story.begin_again(true);
        assert_eq!(rows(&story), before, "{}", claimant.kind);
    }
}

#[test]
fn what_is_held_stays_when_it_is_excluded_and_is_not_given_to_others() {
    let held = |eip: &str| {
        format!(
            "{{ kind: Eip, metadata: {{ name: {eip}, namespace: t, uid: u-{eip}, created: 1 }}, spec: {{}} }}"
        )
    };
    let mut story = Story::of(BASE);
    for eip in ["a", "b", "c"] {
        story.then(&held(eip));
    }
    story.then("{ kind: Eip, metadata: { name: d, namespace: t, uid: u-d }, spec: { addresses: [192.0.2.9] } }");
    let rows = |story: &Story| ["a", "b", "c", "d"].map(|eip| story.rows(&format!("eip/t/{eip}")));
    let before = rows(&story);
    assert!(story.has("eip/t/a", "192.0.2.2") && story.has("eip/t/d", "192.0.2.9"));
    story.then(
        "{ kind: EipGateway, metadata: { name: ext, uid: u-ext, generation: 2 }, spec: { cidrs: [192.0.2.0/28], physicalNetwork: \
         outside, nodes: [n1], default: true, excludedAddresses: [192.0.2.2-192.0.2.10] } }",
    );
    assert_eq!(rows(&story), before);
    assert_eq!(story.accepted("eip/t/d"), "Accepted");
    story.restart();
    assert_eq!(rows(&story), before);
    // Exclusion keeps out who is new.
    story.then("{ kind: Eip, metadata: { name: e, namespace: t, uid: u-e }, spec: {} }");
    assert!(
        story.has("eip/t/e", "192.0.2.11"),
        "{:?}",
        story.rows("eip/t/e")
    );
    story.then("{ kind: Eip, metadata: { name: f, namespace: t, uid: u-f }, spec: { addresses: [192.0.2.7] } }");
    assert_eq!(story.accepted("eip/t/f"), "AddressReserved");
    story.then("{ kind: Eip, metadata: { name: d, namespace: t }, removed: true }");
    story.then("{ kind: Eip, metadata: { name: d, namespace: t, uid: u-d2 }, spec: { addresses: [192.0.2.9] } }");
    assert_eq!(
        story.accepted("eip/t/d"),
        "AddressReserved",
        "it let go of it"
    );
}

/// What an administrator does that refuses everything in the base for a while, and undoes.
const REFUSALS: &[(&str, &[&str], &str)] = &[
    (
        "a namespace is not allowed",
        &["YusurService", "VNic"],
        "{ kind: Vpc, metadata: { name: v, uid: u-v, generation: 2 }, spec: { serviceCIDRs: [10.96.0.0/24], allowedNamespaces: \
         { names: [u] } } }",
    ),
    (
        "a gateway does not allow a namespace",
        &["Eip", "EipService"],
        "{ kind: EipGateway, metadata: { name: ext, uid: u-ext, generation: 2 }, spec: { cidrs: [192.0.2.0/28], physicalNetwork: \
         outside, nodes: [n1], default: true, allowedNamespaces: { names: [u] } } }",
    ),
    (
        "the gateway's range is another",
        &["Eip", "EipService"],
        "{ kind: EipGateway, metadata: { name: ext, uid: u-ext, generation: 2 }, spec: { cidrs: [198.51.100.0/28], physicalNetwork: \
         outside, nodes: [n1], default: true } }",
    ),
    (
        "the gateway is not the default any more",
        &["Eip", "EipService"],
        "{ kind: EipGateway, metadata: { name: ext, uid: u-ext, generation: 2 }, spec: { cidrs: [192.0.2.0/28], physicalNetwork: \
         outside, nodes: [n1] } }",
    ),
    (
        "the gateway is gone",
        &["Eip", "EipService"],
        "{ kind: EipGateway, metadata: { name: ext }, removed: true }",
    ),
    (
        "the service range is another",
        &["YusurService"],
        "{ kind: Vpc, metadata: { name: v, uid: u-v, generation: 2 }, spec: { serviceCIDRs: [10.97.0.0/24], allowedNamespaces: \
         { from: All } } }",
    ),
    (
        "the Vpc is gone",
        &["YusurService", "VNic", "EipService"],
        "{ kind: Vpc, metadata: { name: v }, removed: true }",
    ),
    (
        "the Subnet's range is another",
        &["VNic"],
        "{ kind: Subnet, metadata: { name: s, uid: u-s, generation: 2 }, spec: { vpc: v, cidrs: [10.0.7.0/24] } }",
    ),
    (
        "the Subnet is gone",
        &["VNic"],
        "{ kind: Subnet, metadata: { name: s }, removed: true }",
    ),
];

#[test]
fn a_momentary_refusal_gives_nothing_to_others() {
    for (what, kinds, refusal) in REFUSALS {
        for claimant in CLAIMANTS {
            let external = claimant.kind == "YusurService" && claimant.value.starts_with("192.");
            let kind = if external {
                "EipService"
            } else {
                claimant.kind
            };
            for held in [claimant.this, claimant.any] {
                let named = claimant.value.contains(':') && held == claimant.any;
                if !kinds.contains(&kind) || named {
                    continue;
                }
                let mut story = Story::of(BASE);
                story.then(&claimant.object("t/mine", 20, held));
                assert!(
                    story.has(&claimant.unit("t/mine"), claimant.value),
                    "{what}"
                );
                story.then(refusal);
                // A MAC address goes with any range.
                let stands = claimant.value.contains(':') && what.contains("range");
                assert!(
                    stands || !story.has(&claimant.unit("t/mine"), claimant.value),
                    "{what}: rows of a refused {kind} go"
                );
                story.then(&claimant.object("u/wants", 1, claimant.this));
                let back = format!(
                    "{BASE}---\n{}",
                    claimant.object("u/wants", 1, claimant.this)
                );
                let back = back.replace("uid: u-v }", "uid: u-v, generation: 3 }");
                story.then(&back);
                claimant.has(&story, "t/mine", "u/wants");
                story.restart();
                claimant.has(&story, "t/mine", "u/wants");
            }
        }
    }
}

#[test]
fn a_refusal_outlasts_a_restart() {
    for (what, kinds, refusal) in &REFUSALS[..2] {
        for claimant in CLAIMANTS {
            let external = claimant.kind == "YusurService" && claimant.value.starts_with("192.");
            let kind = if external {
                "EipService"
            } else {
                claimant.kind
            };
            if !kinds.contains(&kind) {
                continue;
            }
            let mut story = Story::of(BASE);
            story.then(&claimant.object("t/mine", 20, claimant.this));
            story.then(refusal);
            story.restart();
            story.then(&claimant.object("u/wants", 1, claimant.this));
            assert!(
                !story.has(&claimant.unit("u/wants"), claimant.value),
                "{what}: {kind} {}",
                claimant.value
            );
            story.then(BASE);
            claimant.has(&story, "t/mine", "u/wants");
        }
    }
}

/// Who was never let in waits for nothing, and has nothing to keep.
#[test]
fn who_is_refused_claims_nothing() {
    for (what, kinds, refusal) in &REFUSALS[..2] {
        for claimant in CLAIMANTS {
            let external = claimant.kind == "YusurService" && claimant.value.starts_with("192.");
            let kind = if external {
                "EipService"
            } else {
                claimant.kind
            };
            if !kinds.contains(&kind) {
                continue;
            }
            let mut story = Story::of(&format!("{BASE}---\n{refusal}"));
            story.then(&claimant.object("t/refused", 1, claimant.this));
            story.then(&claimant.object("u/comes", 20, claimant.this));
            claimant.has(&story, "u/comes", "t/refused");
            story.then(BASE);
            claimant.has(&story, "u/comes", "t/refused");
            assert!(what.contains("allow"), "{what}");
        }
    }
}

/// Rows whose object is gone stay in force until they may be deleted: what they carry is not given to others.
#[test]
fn rows_that_stay_hold_what_they_carry() {
    for claimant in CLAIMANTS {
        let kind = match claimant.kind {
            "Eip" => Kind::Eip,
            "VNic" => Kind::VNic,
            _ => Kind::YusurService,
        };
        let mut story = Story::of(BASE);
        story.then(&claimant.object("u/ghost", 1, claimant.this));
        story.lose(kind, ObjectName::new("u", "ghost"));
        story.begin_again(false);
        assert!(story.has(&claimant.unit("u/ghost"), claimant.value));
        story.then(&claimant.object("t/any", 2, claimant.any));
        story.then(&claimant.object("t/this", 3, claimant.this));
        for name in ["t/any", "t/this"] {
            assert!(
                !story.has(&claimant.unit(name), claimant.value),
                "{name}: {} {}",
                claimant.kind,
                claimant.value
            );
        }
        story.sweep();
        claimant.has(&story, "t/this", "u/ghost");
    }
}

/// The object that could not be read comes after all: it has what its rows have.
#[test]
fn the_object_of_rows_that_stayed_has_what_they_carry() {
    for claimant in CLAIMANTS {
        let kind = match claimant.kind {
            "Eip" => Kind::Eip,
            "VNic" => Kind::VNic,
            _ => Kind::YusurService,
        };
        let mut story = Story::of(BASE);
        story.then(&claimant.object("t/late", 9, claimant.this));
        story.lose(kind, ObjectName::new("t", "late"));
        story.begin_again(false);
        story.then(&claimant.object("u/wants", 3, claimant.this));
        story.then(&claimant.object("t/late", 9, claimant.this));
        claimant.has(&story, "t/late", "u/wants");
        // It asks for something else: then that is free.
        story.then(&claimant.object("t/late", 9, "{ subnet: s, vpc: v, ports: [] }"));
        story.then("{ kind: Namespace, metadata: { name: t } }");
    }
}

/// A port that has to wait for one value takes no other meanwhile.
#[test]
fn a_port_that_waits_for_one_value_takes_no_other() {
    let mut story = Story::of(BASE);
    story.then(
        "{ kind: VNic, metadata: { name: first, namespace: t, uid: u-1 }, spec: { subnet: s, addresses: [10.0.1.10], macAddress: \
         \"02:00:00:00:00:01\" } }",
    );
    for (name, spec) in [
        (
            "half",
            "{ subnet: s, addresses: [10.0.1.11], macAddress: \"02:00:00:00:00:01\" }",
        ),
        (
            "other",
            "{ subnet: s, addresses: [10.0.1.10], macAddress: \"02:00:00:00:00:02\" }",
        ),
    ] {
        story.then(&format!(
            "{{ kind: VNic, metadata: {{ name: {name}, namespace: u, uid: u-{name} }}, spec: {spec} }}"
        ));
    }
    assert_eq!(story.accepted("vnic/u/half"), "MACConflict");
    assert_eq!(story.accepted("vnic/u/other"), "AddressConflict");
    story.then(
        "{ kind: VNic, metadata: { name: both, namespace: t, uid: u-2 }, spec: { subnet: s, addresses: [10.0.1.11], macAddress: \
         \"02:00:00:00:00:02\" } }",
    );
    assert_eq!(story.accepted("vnic/t/both"), "Accepted");
}

/// A Pod's MAC address follows from its address: none is given to a Pod whose MAC address a VNic has.
#[test]
fn a_pod_gets_no_address_whose_mac_address_another_has() {
    let mut story = Story::of(BASE);
    story.then(
        "{ kind: VNic, metadata: { name: nic, namespace: t, uid: u-nic }, spec: { subnet: s, addresses: [10.0.1.77], macAddress: \
         \"0a:58:0a:00:01:02\" } }",
    );
    for pod in ["p1", "p2"] {
        story.then(&format!(
            "{{ kind: Pod, metadata: {{ name: {pod}, namespace: p, uid: u-{pod} }} }}"
        ));
    }
    assert!(story.has("vnic/t/nic", "0a:58:0a:00:01:02"));
    assert!(
        story.has("pod/p/p1", "10.0.1.3"),
        "{:?}",
        story.rows("pod/p/p1")
    );
    // And the other way about.
    story.then(
        "{ kind: VNic, metadata: { name: m, namespace: t, uid: u-m }, spec: { subnet: s, macAddress: \"0a:58:0a:00:01:03\" } }",
    );
    assert_eq!(story.accepted("vnic/t/m"), "MACConflict");
    story.then("{ kind: Pod, metadata: { name: p1, namespace: p }, removed: true }");
    assert!(story.has("vnic/t/m", "0a:58:0a:00:01:03"));
    story.restart();
}
