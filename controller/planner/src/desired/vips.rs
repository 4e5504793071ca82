//! Backends of a service, and the text OVN wants of them.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::ops::Range;

use hashbrown::HashSet;
use yusur_crds::Protocol;

use super::apportion::{Apportionment, Grants};
use crate::family::Family;
use crate::inventory::{Backends, Inventory, Port, Readiness, Service, Source, Target, Workload};
use crate::name::{Name, ObjectName};
use crate::nb::Text;

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
    /// Which of them each entry has, and in which other VPC.
    spans: Vec<(Option<&'a Name>, Range<usize>)>,
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
        let first = found.all.len();
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
        found.spans.push((vpc, first..found.all.len()));
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
        let spans = || self.spans.iter().filter(|(there, _)| *there == vpc);
        let mut found = Vec::with_capacity(spans().map(|(_, span)| span.len()).sum());
        let mut best = Readiness::Unready;
        for endpoint in spans()
            .filter_map(|(_, span)| self.all.get(span.clone()))
            .flatten()
        {
            if endpoint.entry.weight == 0
                || Family::of(endpoint.address) != family
                || endpoint.readiness > best
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
/// as often as its weight says, as far as there is room for; and what that came to.
pub(super) fn backends(
    mut chosen: Vec<(IpAddr, u16, u64)>,
    apportionment: &mut Apportionment,
    most: u64,
) -> (Text, &Grants) {
    chosen.sort_unstable();
    let weights: Vec<u64> = chosen.iter().map(|(.., weight)| *weight).collect();
    let (entries, grants) = apportionment.of(&weights, most);
    let mut text = String::with_capacity(chosen.len() * 20);
    for ((address, port, _), times) in chosen.into_iter().zip(entries) {
        for _ in 0..times {
            if !text.is_empty() {
                text.push(',');
            }
            socket(&mut text, address, port);
        }
    }
    (Text::from(text), grants)
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

    #[test]
    fn text_is_sorted_and_bracketed() {
        let listed = |chosen: &[(&str, u16, u64)]| {
            let read = |text: &str| text.parse().expect("an address");
            let chosen = chosen.iter();
            let chosen = chosen.map(|(address, port, weight)| (read(address), *port, *weight));
            backends(chosen.collect(), &mut Apportionment::default(), u64::MAX).0
        };
        let text = listed(&[
            ("10.0.0.9", 80, 1),
            ("10.0.0.10", 80, 1),
            ("10.0.0.9", 79, 1),
        ]);
        assert_eq!(text, "10.0.0.9:79,10.0.0.9:80,10.0.0.10:80");
        assert_eq!(listed(&[("fd00::2", 8080, 3)]), "[fd00::2]:8080");
        assert_eq!(
            listed(&[("10.0.0.1", 80, 3), ("10.0.0.2", 80, 1)]),
            "10.0.0.1:80,10.0.0.1:80,10.0.0.1:80,10.0.0.2:80"
        );
        assert_eq!(listed(&[]), "");
    }
}
