//! Backends of a service, and the text OVN wants of them.

use std::fmt::Write as _;
use std::net::IpAddr;

use hashbrown::HashSet;
use yusur_crds::Protocol;

use crate::family::Family;
use crate::inventory::{Backends, Inventory, Port, Readiness, Service, Source, Target, Workload};
use crate::name::{Name, ObjectName};
use crate::nb::Text;

/// The most entries a VIP has on account of weights; it has more only if it has more backends. Each costs a bucket in
/// an OpenFlow group on every chassis of the VPC.
const MOST_ENTRIES: u64 = 256;

/// One backend's address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Endpoint<'a> {
    pub(super) address: IpAddr,
    /// The object it is of, unless it is an address outright.
    pub(super) workload: Option<&'a Workload>,
    pub(super) readiness: Readiness,
    pub(super) entry: &'a Backends,
}

/// A backend as one service sees it: the VPC, if it is not the service's own, and the address there.
pub(super) type Place<'a> = (Option<&'a Name>, IpAddr);

impl<'a> Endpoint<'a> {
    /// Where it is.
    pub(super) fn place(&self) -> Place<'a> {
        (self.entry.elsewhere.as_ref(), self.address)
    }
}

/// All backends of a service, each address once.
#[derive(Debug, Default)]
pub(super) struct Endpoints<'a> {
    pub(super) all: Vec<Endpoint<'a>>,
    /// For each entry with a selector: how many workloads it matches in the VPC, and how many elsewhere.
    pub(super) matched: Vec<Option<(usize, usize)>>,
}

/// The backends of a service. One that several entries name counts once, as the first of them says.
pub(super) fn endpoints<'a>(
    name: &ObjectName,
    service: &'a Service,
    inventory: &'a Inventory,
) -> Endpoints<'a> {
    let mut found = Endpoints::default();
    // Of VPCs with the same ranges each has its own.
    let mut seen: HashSet<Place<'_>> = HashSet::new();
    for entry in &service.backends {
        let vpc = entry.elsewhere.as_ref();
        let there = vpc
            .is_none_or(|vpc| service.crosses() && inventory.vpc_for(&name.namespace, vpc).is_ok());
        if !there {
            found.matched.push(None);
            continue;
        }
        match &entry.source {
            Source::Addresses(addresses) => {
                found.matched.push(None);
                let at = vpc.unwrap_or(&service.vpc);
                let fresh = addresses.iter().filter(|address| {
                    !inventory.is_own_address(name, at, **address) && seen.insert((vpc, **address))
                });
                let fresh = fresh.map(|address| Endpoint {
                    address: *address,
                    workload: None,
                    readiness: Readiness::Ready,
                    entry,
                });
                found.all.extend(fresh);
            }
            Source::Selector(_) => {
                let chosen = inventory.chosen(&name.namespace, vpc.unwrap_or(&service.vpc), entry);
                found
                    .matched
                    .push(Some((chosen.members.len(), chosen.outside)));
                for member in chosen.members {
                    let readiness = match member.workload.readiness {
                        Readiness::Ended => continue,
                        _ if service.unready_too => Readiness::Ready,
                        readiness => readiness,
                    };
                    for address in member.addresses.iter() {
                        if seen.insert((vpc, address)) {
                            found.all.push(Endpoint {
                                address,
                                workload: Some(member.workload),
                                readiness,
                                entry,
                            });
                        }
                    }
                }
            }
        }
    }
    found
}

impl<'a> Endpoints<'a> {
    /// Those that get new connections: the ready ones, or, in a family that has none, those that are leaving and still
    /// serve (KEP-1669).
    pub(super) fn serving(&self) -> impl Iterator<Item = &Endpoint<'a>> {
        Family::ALL.into_iter().flat_map(|family| {
            let usable = move |endpoint: &&Endpoint<'a>| {
                endpoint.entry.weight > 0 && Family::of(endpoint.address) == family
            };
            let best = self
                .all
                .iter()
                .filter(usable)
                .map(|endpoint| endpoint.readiness)
                .min();
            let best = best.filter(|best| *best <= Readiness::Leaving);
            self.all
                .iter()
                .filter(usable)
                .filter(move |endpoint| Some(endpoint.readiness) == best)
        })
    }

    /// Those of a VPC (`None`: the service's own) that a port of a VIP sends new connections to, with the port's number
    /// there. Backends that do not know the name of the port are passed over.
    pub(super) fn behind(
        &self,
        vpc: Option<&Name>,
        family: Family,
        port: &Port,
    ) -> Vec<(IpAddr, u16, &Endpoint<'a>)> {
        let mut found = Vec::with_capacity(self.all.len());
        let mut best = Readiness::Unready;
        for endpoint in &self.all {
            if endpoint.entry.weight == 0
                || Family::of(endpoint.address) != family
                || endpoint.readiness > best
                || endpoint.entry.elsewhere.as_ref() != vpc
            {
                continue;
            }
            let Some(target) = target(endpoint, port) else {
                continue;
            };
            if endpoint.readiness < best {
                best = endpoint.readiness;
                found.clear();
            }
            found.push((endpoint.address, target, endpoint));
        }
        if best > Readiness::Leaving {
            found.clear();
        }
        found
    }
}

/// The number a port has on a backend.
fn target(endpoint: &Endpoint<'_>, port: &Port) -> Option<u16> {
    let name = match &port.target {
        Target::Number(number) => return Some(*number),
        Target::Name(name) => name,
    };
    let said = endpoint
        .entry
        .ports
        .iter()
        .find(|(own, _)| own == name)
        .map(|(_, number)| *number);
    said.or_else(|| {
        let ports = &endpoint.workload?.ports;
        ports
            .iter()
            .find(|own| own.name == *name && own.protocol == port.protocol)
            .map(|own| own.port)
    })
}

/// `address:port`, as OVN reads it: IPv6 in brackets.
pub(super) fn socket(out: &mut String, address: IpAddr, port: u16) {
    // Writing to a String cannot fail.
    let _ = match address {
        IpAddr::V4(address) => write!(out, "{address}:{port}"),
        IpAddr::V6(address) => write!(out, "[{address}]:{port}"),
    };
}

/// The value of a VIP: backends sorted, separated by commas without blanks (a blank would discard the whole VIP), each
/// as often as its weight says.
pub(super) fn backends(mut chosen: Vec<(IpAddr, u16, u64)>) -> Text {
    chosen.sort_unstable();
    let entries = entries(
        &chosen
            .iter()
            .map(|(.., weight)| *weight)
            .collect::<Vec<_>>(),
    );
    let mut text = String::with_capacity(chosen.len() * 20);
    for ((address, port, _), times) in chosen.into_iter().zip(entries) {
        for _ in 0..times {
            if !text.is_empty() {
                text.push(',');
            }
            socket(&mut text, address, port);
        }
    }
    Text::from(text)
}

/// How often each backend is listed so that their shares are as their weights: reduced to the smallest whole numbers, and
/// kept below a bound, each at least once.
fn entries(weights: &[u64]) -> Vec<u64> {
    let divisor = weights.iter().fold(0, |a, b| gcd(a, *b)).max(1);
    let reduced: Vec<u64> = weights.iter().map(|weight| weight / divisor).collect();
    let sum: u64 = reduced.iter().sum();
    let most = MOST_ENTRIES.max(weights.len() as u64);
    if sum <= most {
        return reduced;
    }
    let scaled: Vec<u64> = reduced
        .iter()
        .map(|weight| (weight * most / sum).max(1))
        .collect();
    let divisor = scaled.iter().fold(0, |a, b| gcd(a, *b)).max(1);
    scaled.into_iter().map(|times| times / divisor).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// OVN's word for a protocol.
pub(super) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn text_is_sorted_and_bracketed() {
        let text = backends(vec![
            (ip("10.0.0.9"), 80, 1),
            (ip("10.0.0.10"), 80, 1),
            (ip("10.0.0.9"), 79, 1),
        ]);
        assert_eq!(text, "10.0.0.9:79,10.0.0.9:80,10.0.0.10:80");
        assert_eq!(backends(vec![(ip("fd00::2"), 8080, 3)]), "[fd00::2]:8080");
        assert_eq!(backends(vec![]), "");
    }

    #[test]
    fn weights_become_repetitions() {
        assert_eq!(entries(&[1, 1, 1]), [1, 1, 1]);
        assert_eq!(entries(&[90, 10]), [9, 1]);
        assert_eq!(entries(&[50, 50]), [1, 1]);
        assert_eq!(entries(&[75, 25]), [3, 1]);
        assert_eq!(entries(&[]), Vec::<u64>::new());
        assert_eq!(
            backends(vec![(ip("10.0.0.1"), 80, 3), (ip("10.0.0.2"), 80, 1)]),
            "10.0.0.1:80,10.0.0.1:80,10.0.0.1:80,10.0.0.2:80"
        );
    }

    proptest! {
        #[test]
        fn shares_stay_near_the_weights(weights in prop::collection::vec(1..=100_u64, 1..60)) {
            let times = entries(&weights);
            let (sum, all): (u64, u64) = (times.iter().sum(), weights.iter().sum());
            prop_assert!(times.iter().all(|times| *times > 0));
            prop_assert!(sum <= MOST_ENTRIES + weights.len() as u64);
            for (weight, times) in weights.iter().zip(&times) {
                let (want, got) = (*weight as f64 / all as f64, *times as f64 / sum as f64);
                prop_assert!((want - got).abs() < 0.25, "{weights:?} became {times:?}");
            }
        }
    }
}
