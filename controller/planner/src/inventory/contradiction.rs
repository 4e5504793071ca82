//! What a spec says against itself: rules of the schemas that whoever reads a spec part by part does not meet. The API
//! server has asked them; of a directory of manifests nobody has.

use std::collections::BTreeSet;
use std::net::IpAddr;

use yusur_crds::{
    HealthCheck, IpFamily, NamespaceRule, NamespacesFrom, ProbeProtocol, VNicSpec, YusurServiceSpec,
};

use super::parse::{self, Problem};
use crate::family::Family;

/// The first thing that is wrong with a service as a whole.
pub(super) fn of_service(spec: &YusurServiceSpec) -> Option<Problem> {
    let headless = spec.cluster_ip.as_deref() == Some("None");
    let say = |wrong: bool, words: &'static str| wrong.then(|| Problem::invalid(words));
    let named = || spec.ports.iter().filter_map(|port| port.name.as_deref());
    let unnamed = spec.ports.len() > 1 && named().count() < spec.ports.len();
    let names: BTreeSet<&str> = named().collect();
    say(unnamed, "spec.ports: with several ports each needs a name")
        .or_else(|| {
            say(
                names.len() < named().count(),
                "spec.ports: two ports have the same name; choose another for one of them",
            )
        })
        .or_else(|| twice("spec.ipFamilies", &spec.ip_families))
        .or_else(|| {
            say(
                order_differs(spec),
                "spec.clusterIP and spec.clusterIPs are not in the order of spec.ipFamilies; write the primary family first in all",
            )
        })
        .or_else(|| {
            say(
                headless && spec.eip.is_some(),
                "spec.eip: a headless service (clusterIP: None) has no balanced address, so it cannot have an eip; remove one of them",
            )
        })
        .or_else(|| twice("spec.eip.ipFamilies", &spec.eip.as_ref()?.ip_families))
        .or_else(|| {
            say(
                !spec.source_ranges.is_empty() && spec.eip.is_none(),
                "spec.sourceRanges guards the EIP; give an eip, or remove sourceRanges",
            )
        })
        .or_else(|| of_health_check(spec.health_check.as_ref()?))
}

fn of_health_check(check: &HealthCheck) -> Option<Problem> {
    let http = check.protocol == Some(ProbeProtocol::Http);
    let ranged = [
        ("intervalSeconds", check.interval_seconds, 3600),
        ("timeoutSeconds", check.timeout_seconds, 3600),
        ("successThreshold", check.success_threshold, 100),
        ("failureThreshold", check.failure_threshold, 100),
    ];
    if let Some((field, value, most)) = ranged
        .into_iter()
        .find(|(_, value, most)| !(1..=*most).contains(value))
    {
        return Some(Problem::invalid(format!(
            "spec.healthCheck.{field} is {value}; give 1 to {most}"
        )));
    }
    if let Some(number) = check.port
        && let Err(problem) = parse::port("spec.healthCheck.port", number)
    {
        return Some(problem);
    }
    let words = if check.protocol == Some(ProbeProtocol::Icmp) && check.port.is_some() {
        "spec.healthCheck.port has no meaning for protocol: ICMP; remove it"
    } else if !http && (check.path.is_some() || check.host.is_some()) {
        "spec.healthCheck: path and host need protocol: HTTP"
    } else if check.timeout_seconds > check.interval_seconds {
        "spec.healthCheck.timeoutSeconds must not be longer than intervalSeconds"
    } else {
        return None;
    };
    Some(Problem::invalid(words))
}

fn order_differs(spec: &YusurServiceSpec) -> bool {
    let first = spec.cluster_ips.first().or(spec.cluster_ip.as_ref());
    let first = first.and_then(|text| text.parse::<IpAddr>().ok());
    match (first, spec.ip_families.first()) {
        (Some(address), Some(family)) => Family::of(address.to_canonical()) != (*family).into(),
        _ => false,
    }
}

fn twice(field: &str, families: &[IpFamily]) -> Option<Problem> {
    let distinct: BTreeSet<&IpFamily> = families.iter().collect();
    (distinct.len() < families.len())
        .then(|| Problem::invalid(format!("{field} lists a family twice; remove one")))
}

/// The first thing that is wrong with a VNic's device and ports.
pub(super) fn of_vnic(spec: &VNicSpec) -> Option<Problem> {
    let empty = spec
        .device
        .as_ref()
        .is_some_and(|device| device.pci_address.is_none() && device.representor.is_none());
    if empty {
        return Some(Problem::invalid(
            "spec.device: give pciAddress or representor, or leave device out",
        ));
    }
    let mut names = BTreeSet::new();
    for (at, port) in spec.ports.iter().enumerate() {
        if let Err(problem) = parse::port(&format!("spec.ports[{at}].port"), port.port) {
            return Some(problem);
        }
        if !names.insert((port.name.as_str(), port.protocol)) {
            return Some(Problem::invalid(format!(
                "spec.ports lists {} {} twice; remove one",
                port.protocol.as_str(),
                port.name
            )));
        }
    }
    None
}

/// What is wrong with a rule over namespaces.
pub(super) fn of_rule(field: &str, rule: &NamespaceRule) -> Option<Problem> {
    let more = !rule.names.is_empty() || rule.selector.is_some();
    (rule.from == NamespacesFrom::All && more).then(|| {
        Problem::invalid(format!(
            "{field}: from: All allows every namespace already; remove names and selector, or write from: Listed"
        ))
    })
}
