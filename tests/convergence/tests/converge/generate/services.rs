//! YusurServices, and how their backends are probed.

use yusur_crds::{
    AffinityType, Algorithm, Backend, BackendKind, HealthCheck, IntOrString, IpFamily,
    IpFamilyPolicy, NetworkProbeSpec, PortOverride, ProbeProtocol, ProbeTarget, Protocol, Publish,
    ServicePort, SessionAffinity, WhenAllFail, YusurServiceSpec,
};

use super::{VPCS, node, selector, texts};
use crate::dice::Dice;

fn backend(dice: &mut Dice<'_>, vpc: &str) -> Backend {
    let kind = dice.pick(&[
        BackendKind::Pod,
        BackendKind::VNicIp,
        BackendKind::Vm,
        BackendKind::Pod,
        BackendKind::Bm,
    ]);
    let (mut given, mut chosen) = (Vec::new(), None);
    match dice.below(10) {
        0..=2 => chosen = Some(serde_json::json!({ "matchLabels": { "app": "web" } })),
        3 => chosen = Some(serde_json::json!({})),
        4 => {
            chosen = Some(serde_json::json!({ "matchExpressions": [
                { "key": "app", "operator": "In", "values": ["web", "db"] },
                { "key": "own", "operator": "NotIn", "values": ["p1", "v1"] } ] }));
        }
        5 => {
            chosen = Some(
                serde_json::json!({ "matchExpressions": [{ "key": "app", "operator": "Exists" }] }),
            )
        }
        6 => chosen = Some(serde_json::json!({ "matchLabels": { "app": "db", "own": "p1" } })),
        7 => {
            chosen = Some(
                serde_json::json!({ "matchExpressions": [{ "key": "none", "operator": "DoesNotExist" }] }),
            )
        }
        8 => given = texts(&["10.0.1.3", "fd00:2::9"]),
        _ => given = texts(&["10.0.1.4", "10.0.2.5"]),
    }
    let elsewhere = dice
        .chance(4)
        .then(|| dice.pick(&["blue", "red"]).to_owned());
    Backend {
        kind,
        selector: chosen.map(selector),
        addresses: given,
        vpc: elsewhere.filter(|other| other != vpc || dice.chance(4)),
        weight: dice.pick(&[1, 1, 1, 0, 3, 100, 101]),
        ports: if dice.chance(4) {
            vec![PortOverride {
                name: "http".into(),
                port: 9000,
            }]
        } else {
            Vec::new()
        },
    }
}

pub(super) fn service(dice: &mut Dice<'_>, old: Option<&YusurServiceSpec>) -> YusurServiceSpec {
    let vpc = dice.pick(&["red", "blue", "red", "green"]).to_owned();
    let vpc = match old {
        Some(old) if !dice.chance(2) => old.vpc.clone(),
        _ => vpc,
    };
    let target = |dice: &mut Dice<'_>| match dice.below(5) {
        0 | 1 => None,
        2 => Some(IntOrString::String("http".into())),
        3 => Some(IntOrString::Int(8443)),
        _ => Some(IntOrString::String("dns".into())),
    };
    let port = |name: &str, protocol, port, target_port| ServicePort {
        name: Some(name.into()),
        protocol,
        port,
        target_port,
        app_protocol: None,
    };
    let mut spec = YusurServiceSpec {
        vpc,
        ..YusurServiceSpec::default()
    };
    match dice.below(14) {
        5 | 6 => spec.cluster_ip = Some("10.96.0.2".into()),
        7 => spec.cluster_ip = Some("10.97.0.2".into()),
        8 => spec.cluster_ip = Some("None".into()),
        9 => spec.cluster_ips = texts(&["10.96.0.3", "fd00:96::3"]),
        10 => spec.ip_families = vec![IpFamily::IPv6],
        11 => spec.cluster_ip = Some("10.96.0.1".into()),
        12 => spec.ip_families = vec![IpFamily::IPv6, IpFamily::IPv4],
        13 => spec.cluster_ip = Some("192.0.2.1".into()),
        _ => {}
    }
    let two = spec.ip_families.len() > 1 || spec.cluster_ips.len() > 1;
    spec.ip_family_policy = match dice.below(6) {
        3 if !two => Some(IpFamilyPolicy::SingleStack),
        4 => Some(IpFamilyPolicy::PreferDualStack),
        5 => Some(IpFamilyPolicy::RequireDualStack),
        _ => None,
    };
    let first = target(dice);
    spec.ports = match dice.below(8) {
        0..=3 => vec![port("a", Protocol::Tcp, 80, first)],
        4 => vec![
            port("a", Protocol::Tcp, 80, first),
            port("b", Protocol::Udp, 53, target(dice)),
        ],
        5 => vec![
            port("a", Protocol::Tcp, 80, first),
            port("b", Protocol::Tcp, 443, target(dice)),
        ],
        6 => vec![port("a", Protocol::Sctp, 80, first)],
        _ => vec![
            port("a", Protocol::Udp, 53, None),
            port("b", Protocol::Udp, 53, first),
        ],
    };
    super::outside::of_service(dice, &mut spec);
    let backends = [1, 1, 2, 0, 3][dice.below(5)];
    spec.backends = (0..backends).map(|_| backend(dice, &spec.vpc)).collect();
    spec.algorithm = dice.pick(&[
        Algorithm::FlowHash,
        Algorithm::FlowHash,
        Algorithm::SourceHash,
        Algorithm::RoundRobin,
        Algorithm::LeastConnections,
    ]);
    spec.session_affinity = dice.chance(4).then(|| SessionAffinity {
        type_: dice.pick(&[AffinityType::ClientIP, AffinityType::None]),
        timeout_seconds: dice.pick(&[10800, 60, 0]),
    });
    spec.publish_not_ready_addresses = dice.chance(2);
    spec.publish = Publish {
        dns: !dice.chance(3),
        ..Publish::default()
    };
    // What nothing depends on so far.
    match dice.below(16) {
        9 => spec.node_access = Some(false),
        10 => spec.node_access = Some(true),
        11 => spec.publish.kubernetes = true,
        12 => {
            for port in &mut spec.ports {
                port.app_protocol = Some("http".into());
            }
        }
        13.. => spec.health_check = health_check(dice),
        _ => {}
    }
    spec
}

fn health_check(dice: &mut Dice<'_>) -> Option<HealthCheck> {
    let (protocol, when_all_fail) = dice.pick(&[
        (None, WhenAllFail::Reject),
        (Some(ProbeProtocol::Tcp), WhenAllFail::Reject),
        (Some(ProbeProtocol::Udp), WhenAllFail::KeepAll),
        (Some(ProbeProtocol::Http), WhenAllFail::Reject),
        (Some(ProbeProtocol::Icmp), WhenAllFail::KeepAll),
    ]);
    let http = protocol == Some(ProbeProtocol::Http);
    Some(HealthCheck {
        disabled: dice.chance(4),
        port: (protocol == Some(ProbeProtocol::Tcp)).then_some(81),
        path: http.then(|| "/healthz".to_owned()),
        host: http.then(|| "web".to_owned()),
        interval_seconds: dice.pick(&[5, 10]),
        timeout_seconds: dice.pick(&[3, 1]),
        success_threshold: dice.pick(&[1, 2]),
        failure_threshold: dice.pick(&[3, 1]),
        protocol,
        when_all_fail,
    })
}

pub(super) fn probe(dice: &mut Dice<'_>) -> NetworkProbeSpec {
    let kind = dice.pick(&[
        BackendKind::Pod,
        BackendKind::Vm,
        BackendKind::Bm,
        BackendKind::VNicIp,
    ]);
    let check = health_check(dice).unwrap_or_default();
    NetworkProbeSpec {
        target: ProbeTarget {
            kind,
            name: dice.chance(8).then(|| "p0".to_owned()),
            address: "10.0.1.2".into(),
            vpc: dice.pick(VPCS).to_owned(),
            subnet: dice.chance(8).then(|| "s1".to_owned()),
        },
        protocol: check.protocol.unwrap_or(ProbeProtocol::Tcp),
        port: check.port,
        path: check.path,
        host: check.host,
        interval_seconds: check.interval_seconds,
        timeout_seconds: check.timeout_seconds,
        success_threshold: check.success_threshold,
        failure_threshold: check.failure_threshold,
        node: node(dice),
    }
}
