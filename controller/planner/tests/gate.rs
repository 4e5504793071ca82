//! Who is refused asks for nothing: of VPCs and gateways an object wants something with their leave only, and while it is
//! accepted itself.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::fmt::Write as _;

use support::story::Story;
use yusur_planner::{Kind, ObjectName};

const GATEWAYS: &str = "
kind: EipGateway
metadata: { name: ext, uid: u-ext }
spec: { cidrs: [192.0.2.0/28], physicalNetwork: outside, nodes: [n1], default: true }
---
kind: EipGateway
metadata: { name: ext2, uid: u-ext2 }
spec: { cidrs: [198.51.100.0/28], physicalNetwork: outside, nodes: [n1] }
";

fn vpc(name: &str, allowed: &str) -> String {
    format!(
        "---\n{{ kind: Vpc, metadata: {{ name: {name}, uid: u-{name} }}, spec: {{ serviceCIDRs: [10.96.0.0/16], allowedNamespaces: \
         {allowed} }} }}\n"
    )
}

fn service(name: &str, created: i64, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').expect("a namespace");
    format!(
        "---\n{{ kind: YusurService, metadata: {{ name: {name}, namespace: {namespace}, uid: u-{namespace}-{name}, created: \
         {created} }}, spec: {{ ports: [{{ port: 80 }}], {spec} }} }}\n"
    )
}

const HERE: &str = "backends: [{ kind: VM, addresses: [10.0.1.9] }]";

/// The gateway that a VPC has joined, by the switch that its port is on.
fn joined(story: &Story, vpc: &str) -> Option<String> {
    use yusur_planner::Northbound as _;
    let database = story.northbound.database();
    let name = format!("yusur:demo:join/{vpc}-switch");
    let (port, _) = database
        .rows("Logical_Switch_Port")
        .find(|(_, row)| row.get_str("name") == Some(&name))?;
    let mut switches = database.rows("Logical_Switch");
    let (_, switch) = switches.find(|(_, row)| {
        let ports = row.get("ports").expect("ports");
        ports
            .elements()
            .iter()
            .any(|atom| atom.as_uuid() == Some(port))
    })?;
    let unit = switch.map_str("external_ids", "yusur.io/unit")?;
    unit.strip_prefix("eipgateway/").map(str::to_owned)
}

/// The address of a VPC's router on the join.
fn on_join(story: &Story, vpc: &str) -> Vec<String> {
    use yusur_planner::Northbound as _;
    let name = format!("yusur:demo:join/{vpc}-router");
    let mut ports = story.northbound.database().rows("Logical_Router_Port");
    let port = ports.find(|(_, row)| row.get_str("name") == Some(&name));
    let networks = port.and_then(|(_, row)| row.get("networks").cloned());
    let networks = networks.iter().flat_map(|datum| datum.elements());
    networks
        .filter_map(|atom| atom.as_str().map(str::to_owned))
        .collect()
}

fn world() -> Story {
    let all = "{ from: All }";
    let objects = [
        GATEWAYS.to_owned(),
        vpc("shared", all),
        vpc("tv", "{ names: [t] }"),
        vpc("uv", "{ names: [u] }"),
    ];
    Story::of(&objects.concat())
}

#[test]
fn a_refused_service_moves_no_vpc_to_another_gateway() {
    // The services of `u` are older: their age counts for nothing.
    for first in [false, true] {
        let mut story = world();
        let attack = service(
            "u/attack",
            1,
            "vpc: uv, eip: { gateway: ext2 }, sourceAddress: Preserve, backends: [{ kind: VM, vpc: shared, addresses: [10.0.1.9] }]",
        );
        story.then(&service(
            "u/home",
            2,
            &format!("vpc: uv, eip: {{ gateway: ext }}, {HERE}"),
        ));
        if first {
            story.then(&attack);
            assert_eq!(story.accepted("service/u/attack"), "GatewayConflict");
            assert_eq!(joined(&story, "shared"), None, "it asks for nothing");
        }
        story.then(&service(
            "t/web",
            9,
            &format!("vpc: shared, eip: {{ gateway: ext }}, {HERE}"),
        ));
        if !first {
            story.then(&attack);
        }
        assert_eq!(story.accepted("service/u/attack"), "GatewayConflict");
        assert_eq!(joined(&story, "shared").as_deref(), Some("ext"));
        assert_eq!(story.accepted("service/t/web"), "Accepted");
        // Nor is there a router for it.
        assert_eq!(
            story.count(
                "Logical_Router",
                "name",
                "yusur:demo:eipgateway/ext2/inside"
            ),
            0
        );
        story.restart();
        assert_eq!(joined(&story, "shared").as_deref(), Some("ext"));
    }
}

#[test]
fn a_vpc_stays_at_its_gateway_while_anybody_uses_it() {
    let mut story = world();
    let web = |created| {
        service(
            "t/web",
            created,
            &format!("vpc: shared, eip: {{ gateway: ext }}, {HERE}"),
        )
    };
    story.then(&web(9));
    // An older object of another, edited later, and one that is new.
    story.then(&service("u/old", 1, &format!("vpc: shared, {HERE}")));
    story.then(&service(
        "u/old",
        1,
        &format!("vpc: shared, eip: {{ gateway: ext2 }}, {HERE}"),
    ));
    story.then(&service(
        "t/more",
        10,
        &format!("vpc: shared, eip: {{ gateway: ext }}, {HERE}"),
    ));
    story.then("{ kind: YusurService, metadata: { name: web, namespace: t }, removed: true }");
    assert_eq!(story.accepted("service/u/old"), "GatewayConflict");
    assert_eq!(joined(&story, "shared").as_deref(), Some("ext"));
    story.restart();
    assert_eq!(joined(&story, "shared").as_deref(), Some("ext"));
    // The last goes: who waits is served.
    story.then("{ kind: YusurService, metadata: { name: more, namespace: t }, removed: true }");
    assert_eq!(joined(&story, "shared").as_deref(), Some("ext2"));
    assert_eq!(story.accepted("service/u/old"), "Accepted");
    // The word of the Vpc itself goes before.
    story.then(
        "{ kind: Vpc, metadata: { name: shared, uid: u-shared, generation: 2 }, spec: { serviceCIDRs: [10.96.0.0/16], eipGateway: ext, \
         allowedNamespaces: { from: All } } }",
    );
    assert_eq!(joined(&story, "shared").as_deref(), Some("ext"));
}

#[test]
fn services_without_leave_take_no_address_of_a_vpc() {
    let mut story = world();
    let mut flood = String::new();
    for at in 0..260 {
        let spec = "vpc: uv, backends: [{ kind: VM, vpc: tv, addresses: [10.0.1.9] }]";
        flood.push_str(&service(&format!("u/flood-{at}"), 1, spec));
    }
    story.then(flood.trim_start_matches("---\n"));
    assert_eq!(story.accepted("service/u/flood-7"), "NamespaceNotAllowed");
    assert_eq!(joined(&story, "tv"), None);
    let crossing = "vpc: shared, backends: [{ kind: VM, vpc: tv, addresses: [10.0.1.9] }]";
    story.then(&service("t/web", 9, crossing));
    assert_eq!(story.accepted("service/t/web"), "Accepted");
    story.restart();
}

#[test]
fn a_service_without_its_cluster_address_asks_for_nothing_else() {
    let mut story = world();
    story.then(&service(
        "t/web",
        9,
        &format!("vpc: shared, clusterIP: 10.96.0.7, {HERE}"),
    ));
    story.then(&service(
        "u/waits",
        1,
        &format!("vpc: shared, clusterIP: 10.96.0.7, eip: {{ gateway: ext2, addresses: [198.51.100.7] }}, {HERE}"),
    ));
    assert_eq!(story.accepted("service/u/waits"), "VIPConflict");
    assert_eq!(joined(&story, "shared"), None);
    story.then("{ kind: Eip, metadata: { name: e, namespace: t, uid: u-e }, spec: { gateway: ext2, addresses: [198.51.100.7] } }");
    assert_eq!(story.accepted("eip/t/e"), "Accepted");
}

/// Others trust a VPC by its address on the join.
#[test]
fn a_vpc_that_joins_nothing_for_a_while_keeps_its_address_on_the_join() {
    let mut story = world();
    let web = |vpc: &str| {
        service(
            &format!("t/web-{vpc}"),
            9,
            &format!("vpc: {vpc}, eip: {{ gateway: ext }}, {HERE}"),
        )
    };
    story.then(&web("shared"));
    let before = on_join(&story, "shared");
    assert!(!before.is_empty());
    story.then(
        "{ kind: YusurService, metadata: { name: web-shared, namespace: t }, removed: true }",
    );
    assert_eq!(on_join(&story, "shared"), [""; 0]);
    // All other VPCs that could have it come.
    let mut others = String::new();
    for at in 0..40 {
        let _ = write!(
            others,
            "{}{}",
            vpc(&format!("o{at}"), "{ from: All }"),
            web(&format!("o{at}")).replace("eip: { gateway: ext }, ", "eip: { gateway: ext2 }, ")
        );
    }
    story.then(others.trim_start_matches("---\n"));
    story.then(&web("shared"));
    assert_eq!(on_join(&story, "shared"), before);
}

#[test]
fn rows_that_stay_hold_their_place_on_the_join_and_in_vpcs() {
    let mut story = world();
    let crossing = "vpc: uv, backends: [{ kind: VM, vpc: shared, addresses: [10.0.1.9] }]";
    story.then(&service("u/ghost", 1, crossing));
    assert_eq!(story.accepted("service/u/ghost"), "Accepted");
    let vips = story.rows("service/u/ghost");
    story.lose(Kind::YusurService, ObjectName::new("u", "ghost"));
    story.begin_again(false);
    assert_eq!(story.rows("service/u/ghost"), vips);
    let mut many = String::new();
    for at in 0..253 {
        many.push_str(&service(&format!("t/s{at}"), 9, "vpc: shared, eip: {}, backends: [{ kind: VM, addresses: [10.0.1.9] }, { kind: VM, vpc: tv, addresses: [10.0.1.9] }]").replace("eip: {}, ", ""));
    }
    story.then(many.trim_start_matches("---\n"));
    let shared: Vec<String> = (0..253)
        .flat_map(|at| story.rows(&format!("service/t/s{at}")))
        .filter(|vip| vips.contains(vip) && !vip.starts_with("10.96."))
        .collect();
    assert!(vips.iter().any(|vip| vip.starts_with("100.")), "{vips:?}");
    assert_eq!(shared, [""; 0]);
}

/// `usedBy` names who really uses an Eip.
#[test]
fn an_eip_tells_of_the_services_that_are_accepted() {
    let mut story = world();
    story.then(
        "{ kind: Eip, metadata: { name: e, namespace: t, uid: u-e }, spec: { gateway: ext } }",
    );
    story.then(&service(
        "t/web",
        9,
        &format!("vpc: shared, eip: {{ name: e }}, {HERE}"),
    ));
    story.then(&service(
        "t/same-port",
        10,
        &format!("vpc: shared, eip: {{ name: e }}, {HERE}"),
    ));
    story.then(&service(
        "t/elsewhere",
        11,
        &format!("vpc: tv, eip: {{ name: e }}, {HERE}"),
    ));
    assert_eq!(story.accepted("service/t/same-port"), "EIPPortConflict");
    let used_by = |story: &Story| match &story.verdict("eip/t/e").status {
        yusur_planner::Status::Eip(status) => status.used_by.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(used_by(&story), ["web"]);
    story.then("{ kind: YusurService, metadata: { name: web, namespace: t }, removed: true }");
    assert_eq!(used_by(&story), ["same-port"]);
}

/// It would go round in circles.
#[test]
fn a_service_is_not_its_own_backend() {
    let mut story = world();
    for own in ["10.96.0.7", "192.0.2.7"] {
        let backends = format!("backends: [{{ kind: VM, addresses: [{own}, 10.0.1.9] }}]");
        story.then(&service(
            "t/round",
            9,
            &format!(
                "vpc: shared, clusterIP: 10.96.0.7, eip: {{ addresses: [192.0.2.7] }}, {backends}"
            ),
        ));
        assert_eq!(story.accepted("service/t/round"), "InvalidSpec", "{own}");
        let rows = story.northbound.model.content().rows("Load_Balancer");
        let backends: Vec<String> = rows
            .flat_map(|(_, row)| row.get("vips").expect("vips").pairs().to_vec())
            .filter_map(|(_, backends)| backends.as_str().map(str::to_owned))
            .collect();
        assert_eq!(backends, ["10.0.1.9:80", "10.0.1.9:80"], "{own}");
    }
}
