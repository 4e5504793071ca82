//! Services: which addresses they have, which backends stand behind each port.

mod backends;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use yusur_crds::{
    AffinityType, Algorithm, Backend, IpFamily, IpFamilyPolicy, Protocol, ServicePort,
    YusurServiceSpec,
};

use super::ports::Ports;
use super::topology::{belongs, groups};
use super::{Case, Complaints, Rule};
use crate::meaning::{Vpc, hosts, unicast};
use crate::objects::Key;
use crate::rows::Entry;

pub(super) use backends::{behind, endpoints, serving};

/// What the rows serve: the VIPs of each service.
pub(super) type Served = BTreeMap<Key, BTreeSet<IpAddr>>;

pub(super) fn check(case: &Case<'_>, ports: &Ports, complaints: &mut Complaints) -> Served {
    let mut served = Served::new();
    for key in case.objects.services.keys() {
        served.insert(key.clone(), cluster_vips(case, key));
    }
    for (key, (_, spec, status)) in &case.objects.services {
        let vips = &served[key];
        addresses(case, key, spec, &served, complaints);
        let recorded: BTreeSet<IpAddr> = status
            .iter()
            .flat_map(|status| &status.cluster_ips)
            .filter_map(|text| text.parse().ok())
            .collect();
        complaints.unless(vips.is_subset(&recorded), Rule::Record, || {
            format!("the rows of service {key:?} serve {vips:?}, its status says {recorded:?}")
        });
        balancers(case, key, spec, vips, complaints);
        backends::check(case, key, spec, ports, complaints);
    }
    served
}

/// The load balancers of a service.
fn all_rows<'a>(case: &'a Case<'_>, key: &Key) -> Vec<&'a Entry> {
    case.content
        .of("Load_Balancer", &format!("service/{}/{}", key.0, key.1))
}

/// Those that its Vpc's clients meet: not on a router of their own.
fn rows<'a>(case: &'a Case<'_>, key: &Key) -> Vec<&'a Entry> {
    let mut rows = all_rows(case, key);
    let on_routers = |entry: &Entry| {
        let routers = case
            .content
            .referrers("Logical_Router", "load_balancer", entry.uuid);
        !routers.is_empty()
    };
    rows.retain(|entry| !on_routers(entry));
    rows
}

/// The external addresses that a service can serve.
fn external(case: &Case<'_>, key: &Key) -> BTreeSet<IpAddr> {
    let ask = case.meaning.ask_of(key);
    ask.map(|ask| ask.holds.clone()).unwrap_or_default()
}

/// The cluster addresses that the rows serve.
pub(super) fn cluster_vips(case: &Case<'_>, key: &Key) -> BTreeSet<IpAddr> {
    let external = external(case, key);
    rows(case, key)
        .iter()
        .flat_map(|entry| entry.map("vips").into_keys().map(str::to_owned))
        .filter_map(|vip| vip.parse::<SocketAddr>().ok())
        .map(|vip| vip.ip())
        .filter(|vip| !external.contains(vip))
        .collect()
}

/// Whether a service has an external address of each family it is to have; `None` if that cannot be told.
pub(super) fn has_its_families(case: &Case<'_>, key: &Key) -> Option<bool> {
    let ask = case.meaning.ask_of(key)?;
    if ask.families.is_some() {
        return Some(ask.complete());
    }
    let (families, _) = wishes(case, key, &case.objects.services.get(key)?.1)?;
    let gateway = case.meaning.gateways.get(ask.gateway?)?;
    let mut wanted = families.iter().filter(|ipv4| gateway.net(**ipv4).is_some());
    let held = |ipv4: &bool| ask.holds.iter().any(|address| address.is_ipv4() == *ipv4);
    Some(ask.complete() && wanted.all(held))
}

/// Whether a service has, as its status says, a cluster address of each family that it is to have: before that it asks for
/// nothing else.
pub(super) fn has_cluster_addresses(case: &Case<'_>, key: &Key) -> bool {
    let Some((_, spec, _)) = case.objects.services.get(key) else {
        return false;
    };
    if !case.meaning.allows(&spec.vpc, &key.0) {
        return false;
    }
    if spec.cluster_ip.as_deref() == Some("None") {
        return true;
    }
    let has = recorded(case, key);
    wishes(case, key, spec).is_some_and(|(families, given)| {
        families
            .iter()
            .all(|ipv4| has.iter().any(|ip| ip.is_ipv4() == *ipv4))
            && given.iter().all(|ip| has.contains(ip))
    })
}

/// Whether a service is as it should be apart from what it has of the outside.
pub(super) fn may_serve(case: &Case<'_>, key: &Key) -> bool {
    !cluster_vips(case, key).is_empty()
}

/// The Vpcs besides its own that a service looks for backends in; none if it is headless.
pub(super) fn elsewhere(spec: &YusurServiceSpec) -> BTreeSet<&str> {
    let headless = spec.cluster_ip.as_deref() == Some("None");
    let entries = spec
        .backends
        .iter()
        .filter(|entry| !headless && valid(entry));
    let vpcs = entries.filter_map(|entry| entry.vpc.as_deref());
    vpcs.filter(|vpc| *vpc != spec.vpc).collect()
}

/// Whether an entry counts.
fn valid(entry: &Backend) -> bool {
    let outright = !entry.addresses.is_empty();
    entry.selector.is_some() != outright
        && (0..=100).contains(&entry.weight)
        && entry
            .addresses
            .iter()
            .all(|text| unicast(std::slice::from_ref(text)).is_some())
}

/// Whether a service has backends in several Vpcs.
pub(super) fn crosses(spec: &YusurServiceSpec) -> bool {
    !elsewhere(spec).is_empty()
}

/// Whether a service may be balanced on the router of a Vpc, by an address of the Vpc's share.
pub(super) fn may_balance(spec: &YusurServiceSpec, vpc: &str) -> bool {
    let own =
        |entry: &Backend| valid(entry) && entry.vpc.as_ref().is_none_or(|vpc| *vpc == spec.vpc);
    let elsewhere = elsewhere(spec);
    elsewhere.contains(vpc)
        || (spec.vpc == vpc
            && !elsewhere.is_empty()
            && spec.eip.is_some()
            && spec.backends.iter().any(own))
}

/// Of those Vpcs the ones it reaches, if it is accepted: that let it in, and have joined the gateway that its own has joined.
pub(super) fn reach<'a>(case: &Case<'a>, key: &Key) -> BTreeSet<&'a str> {
    let Some((_, spec, _)) = case.objects.services.get(key) else {
        return BTreeSet::new();
    };
    let own = case.places.of_vpc(&spec.vpc);
    let mut vpcs = elsewhere(spec);
    // Who is refused asks for nothing there.
    let accepted = has_cluster_addresses(case, key);
    vpcs.retain(|vpc| {
        accepted
            && own.is_some()
            && case.places.of_vpc(vpc) == own
            && case.meaning.allows(vpc, &key.0)
            && case.router(vpc).is_some()
    });
    vpcs
}

/// The families a service is to have and the addresses it was given; `None` if it can have none.
fn wishes(
    case: &Case<'_>,
    key: &Key,
    spec: &YusurServiceSpec,
) -> Option<(BTreeSet<bool>, Vec<IpAddr>)> {
    if spec.cluster_ip.as_deref() == Some("None") || !case.meaning.allows(&spec.vpc, &key.0) {
        return None;
    }
    let vpc = case.meaning.vpcs.get(spec.vpc.as_str())?;
    let mut texts = spec.cluster_ips.clone();
    if texts.is_empty() {
        texts.extend(spec.cluster_ip.clone().filter(|text| !text.is_empty()));
    }
    let given = unicast(&texts)?;
    let mut families: BTreeSet<bool> = spec
        .ip_families
        .iter()
        .map(|family| *family == IpFamily::IPv4)
        .collect();
    if families.is_empty() {
        families = given.iter().map(IpAddr::is_ipv4).collect();
    }
    let asked = families.len();
    if families.is_empty() {
        families.insert(vpc.ranges.first()?.addr().is_ipv4());
    }
    let policy = spec.ip_family_policy.unwrap_or(if asked > 1 {
        IpFamilyPolicy::RequireDualStack
    } else {
        IpFamilyPolicy::SingleStack
    });
    for family in [true, false] {
        match policy {
            IpFamilyPolicy::SingleStack => {}
            IpFamilyPolicy::RequireDualStack => {
                families.insert(family);
            }
            IpFamilyPolicy::PreferDualStack if vpc.range(family).is_some() => {
                families.insert(family);
            }
            IpFamilyPolicy::PreferDualStack => {
                if families.len() > 1 && !given.iter().any(|ip| ip.is_ipv4() == family) {
                    families.remove(&family);
                }
            }
        }
    }
    let fits = |family: &bool| {
        vpc.range(*family).is_some_and(|range| {
            let mut given = given.iter().filter(|ip| ip.is_ipv4() == *family);
            given.all(|ip| range.contains(ip))
        })
    };
    families.iter().all(fits).then_some((families, given))
}

/// The service has the addresses it is to have, of its VPC's ranges, and shares none.
fn addresses(
    case: &Case<'_>,
    key: &Key,
    spec: &YusurServiceSpec,
    served: &Served,
    complaints: &mut Complaints,
) {
    let vips = &served[key];
    let Some((families, given)) = wishes(case, key, spec) else {
        complaints.unless(vips.is_empty(), Rule::Vip, || {
            format!("service {key:?} is to have no address and has {vips:?}")
        });
        return;
    };
    let others = || {
        let services = case.objects.services.iter();
        services
            .filter(|(other, (_, other_spec, _))| *other != key && other_spec.vpc == spec.vpc)
            .map(|(other, _)| other)
    };
    let vpc = &case.meaning.vpcs[spec.vpc.as_str()];
    for vip in vips {
        // Also the last of the range: it was one among others before the range became smaller, and serves as well.
        let range = vpc.range(vip.is_ipv4());
        let fits = families.contains(&vip.is_ipv4()) && range.is_some_and(|net| net.contains(vip));
        complaints.unless(fits, Rule::Vip, || {
            format!("{vip} of service {key:?} is not of a range and family it is to have")
        });
        for other in others() {
            complaints.unless(!served[other].contains(vip), Rule::Once, || {
                format!("services {key:?} and {other:?} both have {vip}")
            });
        }
    }
    if !usable_ports(spec) {
        return;
    }
    // Who has it keeps it, also while it is refused; and who has to wait for one address gets no other meanwhile.
    let waits = given.iter().any(|asked| {
        others().any(|other| served[other].contains(asked) || recorded(case, other).contains(asked))
    });
    for family in families {
        let mut of_family = vips.iter().filter(|vip| vip.is_ipv4() == family);
        let asked = given.iter().find(|address| address.is_ipv4() == family);
        let has = of_family.next();
        match (asked, has) {
            (Some(asked), Some(has)) => complaints.unless(asked == has, Rule::Vip, || {
                format!("service {key:?} asks for {asked} and has {has}")
            }),
            (Some(asked), None) => {
                complaints.unless(waits || starved(case, spec, vpc), Rule::Vip, || {
                    format!("service {key:?} asks for {asked}, which no other one has")
                });
            }
            (None, None) => complaints.unless(waits || starved(case, spec, vpc), Rule::Vip, || {
                format!("service {key:?} has no address although there is room")
            }),
            (None, Some(_)) => {}
        }
        complaints.unless(of_family.next().is_none(), Rule::Vip, || {
            format!("service {key:?} has several addresses of one family: {vips:?}")
        });
    }
}

fn recorded(case: &Case<'_>, key: &Key) -> BTreeSet<IpAddr> {
    let status = case.objects.services[key].2.iter();
    status
        .flat_map(|status| &status.cluster_ips)
        .filter_map(|text| text.parse().ok())
        .collect()
}

/// Whether one of the VPC's service ranges has no address left.
fn starved(case: &Case<'_>, spec: &YusurServiceSpec, vpc: &Vpc) -> bool {
    let mut taken: BTreeSet<IpAddr> = BTreeSet::new();
    for (key, (_, other, _)) in case
        .objects
        .services
        .iter()
        .filter(|(_, (_, other, _))| other.vpc == spec.vpc)
    {
        taken.extend(cluster_vips(case, key));
        taken.extend(recorded(case, key));
        taken.extend(
            wishes(case, key, other)
                .map(|(_, given)| given)
                .unwrap_or_default(),
        );
    }
    let full = |range: &IpNet| hosts(*range).is_some_and(|hosts| hosts.is_subset(&taken));
    vpc.ranges.iter().any(full)
}

/// The ports of a service, each protocol and number once.
pub(super) fn usable(spec: &YusurServiceSpec) -> Vec<(Protocol, u16, &ServicePort)> {
    let mut ports: Vec<(Protocol, u16, &ServicePort)> = Vec::new();
    for port in &spec.ports {
        let Some(number) = u16::try_from(port.port).ok().filter(|number| *number > 0) else {
            continue;
        };
        if !ports
            .iter()
            .any(|(protocol, other, _)| *protocol == port.protocol && *other == number)
        {
            ports.push((port.protocol, number, port));
        }
    }
    ports
}

fn usable_ports(spec: &YusurServiceSpec) -> bool {
    !usable(spec).is_empty()
}

pub(super) fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

/// The load balancers: where they are and how they balance.
fn balancers(
    case: &Case<'_>,
    key: &Key,
    spec: &YusurServiceSpec,
    vips: &BTreeSet<IpAddr>,
    complaints: &mut Complaints,
) {
    let ports = usable(spec);
    for entry in all_rows(case, key) {
        balance(key, spec, entry, complaints);
    }
    let external = external(case, key);
    let mut protocols: BTreeSet<&str> = BTreeSet::new();
    for entry in rows(case, key) {
        let protocol = entry.text("protocol");
        protocols.insert(protocol);
        let there = case
            .content
            .referrers("Load_Balancer_Group", "load_balancer", entry.uuid);
        let [group, switches] = groups(case, &spec.vpc);
        // One whose backends are in several VPCs is only on the switches.
        let fitting = if crosses(spec) { switches } else { group };
        let fits = fitting.is_some_and(|group| there == BTreeSet::from([group.uuid]));
        complaints.unless(fits, Rule::Group, || {
            format!("service {key:?} of Vpc {} is in groups {there:?}", spec.vpc)
        });
        for table in ["Logical_Switch", "Logical_Router"] {
            let column = (table, "load_balancer");
            belongs(
                case,
                entry,
                column,
                BTreeSet::new(),
                Rule::Group,
                complaints,
            );
        }
        // Every port of the protocol on every address, and nothing else.
        let wanted: BTreeSet<SocketAddr> = ports
            .iter()
            .filter(|(of, ..)| word(*of) == protocol)
            .flat_map(|(_, number, _)| vips.iter().map(|vip| SocketAddr::new(*vip, *number)))
            .collect();
        let there: BTreeSet<SocketAddr> = entry
            .map("vips")
            .keys()
            .filter_map(|vip| vip.parse().ok())
            .collect();
        // An external address has the ports that no older service has.
        let (outside, there): (BTreeSet<SocketAddr>, _) = there
            .into_iter()
            .partition(|vip| external.contains(&vip.ip()));
        let fits = outside.iter().all(|vip| {
            let mut ports = ports.iter();
            ports.any(|(of, number, _)| word(*of) == protocol && *number == vip.port())
        });
        complaints.unless(fits, Rule::Vip, || {
            format!("service {key:?} serves {outside:?}, of which it has not all ports")
        });
        complaints.unless(wanted == there, Rule::Vip, || {
            format!("the {protocol} VIPs of service {key:?} are {there:?} instead of {wanted:?}")
        });
        let read = there.len() + outside.len();
        complaints.unless(read == entry.map("vips").len(), Rule::Vip, || {
            format!(
                "service {key:?} has VIPs that OVN cannot read: {:?}",
                entry.map("vips")
            )
        });
    }
    let wanted: BTreeSet<&str> = ports
        .iter()
        .filter(|_| !vips.is_empty())
        .map(|(protocol, ..)| word(*protocol))
        .collect();
    // One that has only external addresses may lack some.
    let fits = protocols == wanted || (vips.is_empty() && !external.is_empty());
    complaints.unless(fits, Rule::Vip, || {
        format!("service {key:?} has load balancers for {protocols:?} instead of {wanted:?}")
    });
}

/// How a load balancer balances.
fn balance(key: &Key, spec: &YusurServiceSpec, entry: &Entry, complaints: &mut Complaints) {
    let options = entry.map("options");
    complaints.unless(
        options.get("reject") == Some(&"true"),
        Rule::Balance,
        || format!("service {key:?} lets connections to nobody time out"),
    );
    let affinity = spec
        .session_affinity
        .as_ref()
        .filter(|affinity| {
            affinity.type_ == AffinityType::ClientIP
                && (1..=65535).contains(&affinity.timeout_seconds)
        })
        .map(|affinity| affinity.timeout_seconds.to_string());
    let there = options.get("affinity_timeout").copied();
    complaints.unless(there == affinity.as_deref(), Rule::Balance, || {
        format!("service {key:?} has affinity {there:?} instead of {affinity:?}")
    });
    let hashed = !entry.texts("selection_fields").is_empty();
    complaints.unless(
        hashed == (spec.algorithm == Algorithm::SourceHash),
        Rule::Balance,
        || {
            format!(
                "service {key:?}, {:?}, selects by fields: {hashed}",
                spec.algorithm
            )
        },
    );
    let untouched =
        entry.map("ip_port_mappings").is_empty() && entry.uuids("health_check").is_empty();
    complaints.unless(untouched, Rule::Balance, || {
        format!("service {key:?} has health checks that nobody asked for")
    });
    complaints.unless(!entry.map("vips").is_empty(), Rule::Vip, || {
        format!("service {key:?} has a load balancer without a VIP")
    });
}
