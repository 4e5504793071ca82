//! Who stands behind a port: from the objects and the ports' rows, entry by entry.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use yusur_crds::{
    Backend, BackendKind, IntOrString, NamedPort, OwnerKind, Protocol, ServicePort,
    YusurServiceSpec,
};

use super::{Case, Complaints, Ports, Rule, crosses, reach, rows, usable, word};
use crate::meaning::{selects, unicast};
use crate::objects::Key;

/// One backend.
#[derive(Clone, Debug)]
pub(in crate::rules) struct Endpoint<'a> {
    /// Where it is.
    pub(in crate::rules) vpc: &'a str,
    pub(in crate::rules) address: IpAddr,
    /// 0: ready; 1: leaving, and still serves; 2: not ready.
    pub(in crate::rules) rank: u8,
    pub(in crate::rules) name: Option<&'a str>,
    pub(in crate::rules) entry: &'a Backend,
    ports: &'a [NamedPort],
}

/// The backends of a service, each address once, as the first entry that names it says.
pub(in crate::rules) fn endpoints<'a>(
    case: &Case<'a>,
    key: &Key,
    spec: &'a YusurServiceSpec,
    reach: &BTreeSet<&str>,
    ports: &Ports,
) -> Vec<Endpoint<'a>> {
    let mut all: Vec<Endpoint<'a>> = Vec::new();
    for entry in &spec.backends {
        let vpc = entry.vpc.as_deref().unwrap_or(&spec.vpc);
        let there = vpc == spec.vpc || reach.contains(vpc);
        if !there || !(0..=100).contains(&entry.weight) {
            continue;
        }
        let mut found = match &entry.selector {
            Some(_) if !entry.addresses.is_empty() => Vec::new(),
            Some(_) => selected(case, key, (spec, vpc), entry, ports),
            None => {
                let texts = entry
                    .addresses
                    .iter()
                    .map(|text| unicast(std::slice::from_ref(text)));
                let addresses: Option<Vec<Vec<IpAddr>>> = texts.collect();
                let addresses = addresses.unwrap_or_default().into_iter().flatten();
                addresses
                    .map(|address| Endpoint {
                        vpc,
                        address,
                        rank: 0,
                        name: None,
                        entry,
                        ports: &[],
                    })
                    .collect()
            }
        };
        // Of two objects with one address the one that serves better counts.
        found.sort_by_key(|endpoint| (endpoint.rank, endpoint.ports.is_empty()));
        for endpoint in found {
            let place = (endpoint.vpc, endpoint.address);
            if !all.iter().any(|other| (other.vpc, other.address) == place) {
                all.push(endpoint);
            }
        }
    }
    all
}

/// The workloads that an entry's selector matches, in the service's namespace and the entry's VPC.
fn selected<'a>(
    case: &Case<'a>,
    key: &Key,
    (spec, vpc): (&YusurServiceSpec, &'a str),
    entry: &'a Backend,
    ports: &Ports,
) -> Vec<Endpoint<'a>> {
    let Some(selector) = &entry.selector else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut add = |name: &'a str, addresses: Vec<IpAddr>, rank: u8, ports: &'a [NamedPort]| {
        for address in addresses {
            found.push(Endpoint {
                vpc,
                address,
                rank: if spec.publish_not_ready_addresses {
                    0
                } else {
                    rank
                },
                name: Some(name),
                entry,
                ports,
            });
        }
    };
    // The addresses of a port's row, if the port is in the VPC.
    let port = |unit: String| -> Vec<IpAddr> {
        let port = ports.get(&unit);
        let here = port.filter(|port| {
            let subnet = case.meaning.subnets.get(port.subnet.as_str());
            subnet.is_some_and(|subnet| subnet.vpc == vpc)
        });
        here.map(|port| port.addresses.clone()).unwrap_or_default()
    };
    let rank = |ready: bool, deleting: bool| match (ready, deleting) {
        (true, false) => 0,
        (true, true) => 1,
        (false, _) => 2,
    };
    if entry.kind == BackendKind::Pod {
        for ((namespace, name), pod) in &case.objects.pods {
            if *namespace == key.0 && selects(selector, &pod.meta.labels) && !pod.ended {
                let rank = rank(pod.ready, pod.meta.deleting);
                add(
                    name,
                    port(format!("pod/{namespace}/{name}")),
                    rank,
                    &pod.ports,
                );
            }
        }
    }
    for ((namespace, name), (meta, vnic, _)) in &case.objects.vnics {
        let owner = vnic.owner.as_ref().map(|owner| owner.kind);
        let matches = match entry.kind {
            BackendKind::Pod => false,
            BackendKind::Vm => owner == Some(OwnerKind::Vm),
            BackendKind::Bm => owner == Some(OwnerKind::Bm),
            BackendKind::VNicIp => true,
        };
        if matches && *namespace == key.0 && selects(selector, &meta.labels) {
            let rank = rank(true, meta.deleting);
            add(
                name,
                port(format!("vnic/{namespace}/{name}")),
                rank,
                &vnic.ports,
            );
        }
    }
    if entry.kind == BackendKind::Vm {
        for ((namespace, name), vmi) in &case.objects.vmis {
            if *namespace != key.0 || !selects(selector, &vmi.meta.labels) {
                continue;
            }
            let subnet = match &vmi.subnet {
                Some(asked) => case.meaning.subnets.get(asked.as_str()),
                None => {
                    let default = case.meaning.default_subnet(namespace);
                    default.and_then(|name| case.meaning.subnets.get(name))
                }
            };
            let Some(subnet) = subnet.filter(|subnet| subnet.stands() && subnet.vpc == vpc) else {
                continue;
            };
            let mut addresses: Vec<IpAddr> = Vec::new();
            for address in &vmi.addresses {
                let another = addresses
                    .iter()
                    .any(|other| other.is_ipv4() == address.is_ipv4());
                if !another {
                    addresses.push(*address);
                }
            }
            addresses.retain(|address| subnet.net_of(*address).is_some());
            let rank = rank(vmi.ready, vmi.meta.deleting);
            add(name, addresses, rank, &[]);
        }
    }
    found
}

/// Of these, those that get new connections: per family the ready ones, else those that leave and still serve.
pub(in crate::rules) fn serving<'e, 'a>(all: Vec<&'e Endpoint<'a>>) -> Vec<&'e Endpoint<'a>> {
    let best = |ipv4: bool| {
        let ranks = all
            .iter()
            .filter(|endpoint| endpoint.entry.weight > 0 && endpoint.address.is_ipv4() == ipv4);
        ranks.map(|endpoint| endpoint.rank).min()
    };
    let (v4, v6) = (best(true), best(false));
    all.into_iter()
        .filter(|endpoint| {
            let best = if endpoint.address.is_ipv4() { v4 } else { v6 };
            endpoint.entry.weight > 0 && endpoint.rank < 2 && Some(endpoint.rank) == best
        })
        .collect()
}

/// The number a port has on a backend.
fn target(endpoint: &Endpoint<'_>, protocol: Protocol, port: &ServicePort) -> Option<u16> {
    let name = match &port.target_port {
        None | Some(IntOrString::Int(0)) => return u16::try_from(port.port).ok(),
        Some(IntOrString::Int(number)) => return u16::try_from(*number).ok(),
        Some(IntOrString::String(name)) => name,
    };
    if let Ok(number) = name.parse::<u16>() {
        return Some(number);
    }
    let own = endpoint.entry.ports.iter().find(|own| own.name == *name);
    let number = own.map(|own| own.port).or_else(|| {
        let mut ports = endpoint.ports.iter();
        ports
            .find(|own| own.name == *name && own.protocol == protocol)
            .map(|own| own.port)
    })?;
    u16::try_from(number).ok()
}

/// The backends that a port's new connections are to reach, each with its VPC and weight.
pub(in crate::rules) fn behind(
    case: &Case<'_>,
    key: &Key,
    (protocol, port): (Protocol, &ServicePort),
    ipv4: bool,
    ports: &Ports,
) -> BTreeMap<(String, SocketAddr), u64> {
    let Some((_, spec, _)) = case.objects.services.get(key) else {
        return BTreeMap::new();
    };
    let all = endpoints(case, key, spec, &reach(case, key), ports);
    let known = all.iter().filter(|endpoint| {
        endpoint.address.is_ipv4() == ipv4 && target(endpoint, protocol, port).is_some()
    });
    let wanted = serving(known.collect()).into_iter().filter_map(|endpoint| {
        let number = target(endpoint, protocol, port)?;
        let weight = u64::try_from(endpoint.entry.weight).ok()?;
        let backend = SocketAddr::new(endpoint.address, number);
        Some(((endpoint.vpc.to_owned(), backend), weight))
    });
    wanted.collect()
}

pub(super) fn check(
    case: &Case<'_>,
    key: &Key,
    spec: &YusurServiceSpec,
    ports: &Ports,
    complaints: &mut Complaints,
) {
    if crosses(spec) {
        // Where packets end says it.
        return;
    }
    let all = endpoints(case, key, spec, &BTreeSet::new(), ports);
    for entry in rows(case, key) {
        for (vip, text) in entry.map("vips") {
            let Ok(vip) = vip.parse::<SocketAddr>() else {
                continue;
            };
            let there: Vec<&str> = text.split(',').filter(|text| !text.is_empty()).collect();
            let mut counts: BTreeMap<SocketAddr, u64> = BTreeMap::new();
            for text in &there {
                match text.parse::<SocketAddr>() {
                    Ok(backend) => *counts.entry(backend).or_default() += 1,
                    Err(_) => complaints.say(
                        Rule::Backends,
                        format!("{vip} of service {key:?} has backend {text:?}"),
                    ),
                }
            }
            leaks(case, key, spec, &counts, ports, complaints);
            let port = usable(spec).into_iter().find(|(protocol, number, _)| {
                word(*protocol) == entry.text("protocol") && *number == vip.port()
            });
            let Some((protocol, _, port)) = port else {
                continue;
            };
            let known: Vec<&Endpoint<'_>> = all
                .iter()
                .filter(|endpoint| endpoint.address.is_ipv4() == vip.is_ipv4())
                .filter(|endpoint| target(endpoint, protocol, port).is_some())
                .collect();
            let wanted: BTreeMap<SocketAddr, u64> = serving(known)
                .into_iter()
                .filter_map(|endpoint| {
                    let number = target(endpoint, protocol, port)?;
                    let weight = u64::try_from(endpoint.entry.weight).ok()?;
                    Some((SocketAddr::new(endpoint.address, number), weight))
                })
                .collect();
            let same: bool = counts.keys().eq(wanted.keys());
            complaints.unless(same, Rule::Backends, || {
                let (counts, wanted) = (counts.keys(), wanted.keys());
                format!("{vip} of service {key:?} has backends {counts:?} instead of {wanted:?}")
            });
            complaints.unless(
                !same || in_proportion(&counts, &wanted),
                Rule::Balance,
                || format!("{vip} of service {key:?} lists {counts:?} for weights {wanted:?}"),
            );
        }
    }
}

/// Lists that need no more entries than this for the weights are exact; in others shares are near the weights' by two entries.
const MOST_ENTRIES: u64 = 512;

/// Each backend's share of the entries is its share of the weights.
fn in_proportion(counts: &BTreeMap<SocketAddr, u64>, weights: &BTreeMap<SocketAddr, u64>) -> bool {
    let listed: u64 = counts.values().sum();
    let all: u64 = weights.values().sum();
    let divisor = weights.values().copied().fold(0, gcd).max(1);
    let exact = all / divisor <= MOST_ENTRIES;
    counts.iter().all(|(backend, count)| {
        let weight = weights.get(backend).copied().unwrap_or_default();
        let apart = (count * all).abs_diff(weight * listed);
        match exact {
            true => apart == 0,
            false => apart * MOST_ENTRIES <= 2 * all * listed,
        }
    })
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The addresses that are a VPC's: of its ports, its VMs, and named outright by the service itself.
pub(in crate::rules) fn of_vpc(case: &Case<'_>, vpc: &str, ports: &Ports) -> BTreeSet<IpAddr> {
    let inside = |name: &str| {
        case.meaning
            .subnets
            .get(name)
            .is_some_and(|subnet| subnet.vpc == vpc)
    };
    let mut addresses: BTreeSet<IpAddr> = ports
        .values()
        .filter(|port| inside(&port.subnet))
        .flat_map(|port| port.addresses.iter().copied())
        .collect();
    for ((namespace, _), vmi) in &case.objects.vmis {
        let subnet = match &vmi.subnet {
            Some(asked) => Some(asked.as_str()),
            None => case.meaning.default_subnet(namespace),
        };
        if subnet.is_some_and(inside) {
            addresses.extend(&vmi.addresses);
        }
    }
    addresses
}

fn leaks(
    case: &Case<'_>,
    key: &Key,
    spec: &YusurServiceSpec,
    counts: &BTreeMap<SocketAddr, u64>,
    ports: &Ports,
    complaints: &mut Complaints,
) {
    let mut mine = of_vpc(case, &spec.vpc, ports);
    let outright = spec.backends.iter().flat_map(|entry| &entry.addresses);
    mine.extend(outright.filter_map(|text| text.parse::<IpAddr>().ok()));
    for backend in counts.keys() {
        complaints.unless(mine.contains(&backend.ip()), Rule::Leak, || {
            format!(
                "service {key:?} of Vpc {} names {backend}, which is not the VPC's",
                spec.vpc
            )
        });
    }
}
