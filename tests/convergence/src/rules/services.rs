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
use crate::meaning::{Vpc, hosts, is_host, unicast};
use crate::objects::{Key, Meta};
use crate::rows::Entry;

pub(super) use backends::{endpoints, serving};

/// What the rows serve: the VIPs of each service.
pub(super) type Served = BTreeMap<Key, BTreeSet<IpAddr>>;

pub(super) fn check(case: &Case<'_>, ports: &Ports, complaints: &mut Complaints) -> Served {
    let mut served = Served::new();
    for key in case.objects.services.keys() {
        served.insert(key.clone(), vips_of(case, key));
    }
    for (key, (meta, spec, status)) in &case.objects.services {
        let vips = &served[key];
        addresses(case, key, meta, spec, &served, complaints);
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
fn rows<'a>(case: &'a Case<'_>, key: &Key) -> Vec<&'a Entry> {
    case.content
        .of("Load_Balancer", &format!("service/{}/{}", key.0, key.1))
}

fn vips_of(case: &Case<'_>, key: &Key) -> BTreeSet<IpAddr> {
    rows(case, key)
        .iter()
        .flat_map(|entry| entry.map("vips").into_keys().map(str::to_owned))
        .filter_map(|vip| vip.parse::<SocketAddr>().ok())
        .map(|vip| vip.ip())
        .collect()
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
    meta: &Meta,
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
    // The services of the same VPC, with whether they are older.
    let others = || {
        case.objects
            .services
            .iter()
            .filter(|(other, (_, other_spec, _))| *other != key && other_spec.vpc == spec.vpc)
            .map(|(other, (other_meta, other_spec, _))| {
                let older = (other_meta.created, other) < (meta.created, key);
                (other, other_spec, older)
            })
    };
    let gives = |other: &Key, other_spec: &YusurServiceSpec, address: &IpAddr| {
        wishes(case, other, other_spec).is_some_and(|(_, given)| given.contains(address))
    };
    let vpc = &case.meaning.vpcs[spec.vpc.as_str()];
    for vip in vips {
        let fits = families.contains(&vip.is_ipv4())
            && vpc
                .range(vip.is_ipv4())
                .is_some_and(|range| given.contains(vip) || is_host(range, *vip));
        complaints.unless(fits, Rule::Vip, || {
            format!("{vip} of service {key:?} is not of a range and family it is to have")
        });
        for (other, other_spec, older) in others() {
            complaints.unless(!served[other].contains(vip), Rule::Once, || {
                format!("services {key:?} and {other:?} both have {vip}")
            });
            complaints.unless(!(older && gives(other, other_spec, vip)), Rule::Vip, || {
                format!("service {key:?} has {vip}, which the older {other:?} asks for")
            });
        }
    }
    if !usable_ports(spec) {
        return;
    }
    for family in families {
        let mut of_family = vips.iter().filter(|vip| vip.is_ipv4() == family);
        let asked = given.iter().find(|address| address.is_ipv4() == family);
        let has = of_family.next();
        match (asked, has) {
            (Some(asked), Some(has)) => complaints.unless(asked == has, Rule::Vip, || {
                format!("service {key:?} asks for {asked} and has {has}")
            }),
            (Some(asked), None) => {
                let excused = others().any(|(other, other_spec, older)| {
                    older
                        && (gives(other, other_spec, asked)
                            || served[other].contains(asked)
                            || recorded(case, other).contains(asked))
                });
                complaints.unless(excused || starved(case, spec, vpc), Rule::Vip, || {
                    format!("service {key:?} asks for {asked}, which no older one has")
                });
            }
            (None, None) => complaints.unless(starved(case, spec, vpc), Rule::Vip, || {
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
        taken.extend(vips_of(case, key));
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
fn usable(spec: &YusurServiceSpec) -> Vec<(Protocol, u16, &ServicePort)> {
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

fn word(protocol: Protocol) -> &'static str {
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
    // One whose backends are in several VPCs is only on the switches.
    let elsewhere = |entry: &Backend| entry.vpc.as_ref().is_some_and(|vpc| *vpc != spec.vpc);
    let crossing = spec.backends.iter().any(elsewhere);
    let mut protocols: BTreeSet<&str> = BTreeSet::new();
    for entry in rows(case, key) {
        let protocol = entry.text("protocol");
        protocols.insert(protocol);
        let there = case
            .content
            .referrers("Load_Balancer_Group", "load_balancer", entry.uuid);
        let [group, switches] = groups(case, &spec.vpc);
        let mut fitting = group.into_iter().chain(switches.filter(|_| crossing));
        let fits = fitting.any(|group| there == BTreeSet::from([group.uuid]));
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
        complaints.unless(wanted == there, Rule::Vip, || {
            format!("the {protocol} VIPs of service {key:?} are {there:?} instead of {wanted:?}")
        });
        complaints.unless(there.len() == entry.map("vips").len(), Rule::Vip, || {
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
    complaints.unless(protocols == wanted, Rule::Vip, || {
        format!("service {key:?} has load balancers for {protocols:?} instead of {wanted:?}")
    });
}
