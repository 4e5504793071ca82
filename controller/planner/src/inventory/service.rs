//! Services: their specs read into a small form, with what is wrong and what is not supported yet.

use std::net::IpAddr;

use ipnet::IpNet;
use yusur_crds::{
    AffinityType, Algorithm, BackendKind, IntOrString, IpFamily, IpFamilyPolicy, Protocol,
    YusurServiceSpec, YusurServiceStatus,
};

use super::external::{External, Wish};
use super::labels::{LabelId, Selector};
use super::parse::{self, Addresses, Problem};
use super::topology::Header;
use super::{contradiction, eip};
use crate::family::Family;
use crate::input::Object;
use crate::name::Name;
use crate::ranges::Ranges;

/// The port of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Number(u16),
    Name(Box<str>),
}

/// A service's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    pub(crate) target: Target,
}

/// Which backends an entry means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Selector(Selector),
    Addresses(Box<[IpAddr]>),
}

/// One entry of `backends`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backends {
    pub(crate) kind: BackendKind,
    pub(crate) source: Source,
    pub(crate) weight: u8,
    /// Another VPC than the service's.
    pub(crate) elsewhere: Option<Name>,
    pub(crate) ports: Box<[(Box<str>, u16)]>,
}

/// How a service wants its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    Headless,
    /// What it wants cannot be read.
    Unreadable,
    Balanced {
        given: Addresses,
        families: Box<[Family]>,
        policy: IpFamilyPolicy,
    },
}

/// A service.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) header: Header,
    pub(crate) vpc: Name,
    pub(crate) wants: Wants,
    pub(crate) ports: Box<[Port]>,
    pub(crate) backends: Box<[Backends]>,
    pub(crate) algorithm: Algorithm,
    /// Seconds.
    pub(crate) affinity: Option<u16>,
    pub(crate) dns: bool,
    pub(crate) unready_too: bool,
    pub(crate) unsupported: Box<[&'static str]>,
    pub(crate) invalid: Option<Box<Problem>>,
    /// What it has of the outside; boxed, for most have nothing.
    pub(crate) external: Option<Box<External>>,
    /// Addresses its status records.
    pub(crate) recorded: Addresses,
    /// Labels it is indexed by; each holds a reference in the label table.
    pub(crate) anchors: Box<[LabelId]>,
    /// Its place in the index of services without an anchor.
    pub(crate) unanchored: bool,
    /// What became of its wish for addresses; see [`super::Inventory::settle`].
    pub(crate) outcome: Outcome,
}

/// What became of a service's wish for addresses.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Outcome {
    /// The families it has addresses of, the primary one first.
    pub(crate) families: Box<[Family]>,
    /// The addresses it claims.
    pub(crate) claims: Addresses,
    /// Some were allocated and are not in its status yet.
    pub(crate) unrecorded: bool,
    /// Why it has none. Boxed, as what is wrong with the spec: there is nearly always nothing.
    pub(crate) problem: Option<Box<Problem>>,
}

impl Service {
    pub(crate) fn parse(object: &Object<YusurServiceSpec, YusurServiceStatus>) -> Self {
        let spec = &object.spec;
        let mut invalid: Option<Problem> = None;
        let mut note = |problem: Problem| {
            invalid.get_or_insert(problem);
        };

        let headless = spec.cluster_ip.as_deref() == Some("None");
        let wants = if headless {
            Wants::Headless
        } else {
            let mut texts: Vec<String> = spec.cluster_ips.clone();
            match spec.cluster_ip.as_ref().filter(|text| !text.is_empty()) {
                Some(single) if texts.is_empty() => texts.push(single.clone()),
                Some(single) if texts[0] != *single => note(Problem::invalid(
                    "spec.clusterIP and spec.clusterIPs disagree; give one of them, or repeat clusterIP as the first of clusterIPs",
                )),
                _ => {}
            }
            let mut readable = true;
            let given = parse::addresses("spec.clusterIPs", &texts, parse::unicast).unwrap_or_else(
                |problem| {
                    note(problem);
                    readable = false;
                    Addresses::default()
                },
            );
            let mut families: Vec<Family> = spec
                .ip_families
                .iter()
                .map(|family| Family::from(*family))
                .collect();
            if families.is_empty() {
                families = texts
                    .iter()
                    .filter_map(|text| text.parse().ok())
                    .map(Family::of)
                    .collect();
            }
            families.dedup();
            for address in given.iter() {
                if !families.contains(&Family::of(address)) {
                    note(Problem::invalid(format!(
                        "spec.ipFamilies does not list the family of {address}; add it, or remove the address"
                    )));
                }
            }
            let policy = spec.ip_family_policy.unwrap_or(if families.len() > 1 {
                IpFamilyPolicy::RequireDualStack
            } else {
                IpFamilyPolicy::SingleStack
            });
            if policy == IpFamilyPolicy::SingleStack && families.len() > 1 {
                note(Problem::invalid(
                    "spec.ipFamilyPolicy is SingleStack but two families are asked for; use PreferDualStack or RequireDualStack",
                ));
            }
            if readable {
                Wants::Balanced {
                    given,
                    families: families.into(),
                    policy,
                }
            } else {
                Wants::Unreadable
            }
        };

        let mut ports: Vec<Port> = Vec::with_capacity(spec.ports.len());
        for (at, port) in spec.ports.iter().enumerate() {
            let read = || -> Result<Port, Problem> {
                let number = parse::port(&format!("spec.ports[{at}].port"), port.port)?;
                let target = match &port.target_port {
                    None | Some(IntOrString::Int(0)) => Target::Number(number),
                    Some(IntOrString::Int(target)) => Target::Number(parse::port(
                        &format!("spec.ports[{at}].targetPort"),
                        *target,
                    )?),
                    // A number in quotes is a number, as far as anybody who writes it is concerned.
                    Some(IntOrString::String(text)) => match text.parse::<u16>() {
                        Ok(target) if target != 0 => Target::Number(target),
                        _ => Target::Name(text.as_str().into()),
                    },
                };
                Ok(Port {
                    protocol: port.protocol,
                    port: number,
                    target,
                })
            };
            match read() {
                Ok(port)
                    if ports
                        .iter()
                        .any(|p| p.protocol == port.protocol && p.port == port.port) =>
                {
                    note(Problem::invalid(format!(
                        "spec.ports lists {} port {} twice; remove one",
                        port.protocol.as_str(),
                        port.port
                    )));
                }
                Ok(port) => ports.push(port),
                Err(problem) => note(problem),
            }
        }
        if ports.is_empty() && !headless && invalid.is_none() {
            invalid = Some(Problem::invalid(
                "spec.ports is empty; list at least one port, or make the service headless with clusterIP: None",
            ));
        }
        let mut note = |problem: Problem| {
            invalid.get_or_insert(problem);
        };

        let mut backends = Vec::with_capacity(spec.backends.len());
        for (at, entry) in spec.backends.iter().enumerate() {
            match read_backends(at, entry, &spec.vpc) {
                Ok(entry) => backends.push(entry),
                Err(problem) => note(problem),
            }
        }

        let affinity = spec
            .session_affinity
            .as_ref()
            .filter(|affinity| affinity.type_ == AffinityType::ClientIP);
        let affinity = affinity.and_then(|affinity| {
            let seconds = u16::try_from(affinity.timeout_seconds)
                .ok()
                .filter(|seconds| *seconds > 0);
            if seconds.is_none() {
                note(Problem::invalid(format!(
                    "spec.sessionAffinity.timeoutSeconds is {}; OVN can do 1 to 65535 seconds",
                    affinity.timeout_seconds
                )));
            }
            seconds
        });

        if let Some(problem) = contradiction::of_service(spec) {
            note(problem);
        }

        let record = object.status.iter().flat_map(|status| &status.eips);
        let external = spec.eip.as_ref().and_then(|request| {
            let read = External::parse(
                request,
                &spec.source_ranges,
                spec.source_address,
                eip::recorded(record),
            );
            read.map_err(&mut note).ok().map(Box::new)
        });

        let recorded = object
            .status
            .iter()
            .flat_map(|status| &status.cluster_ips)
            .filter_map(|text| text.parse().ok());
        Self {
            header: Header::new(&object.meta),
            vpc: spec.vpc.as_str().into(),
            wants,
            ports: ports.into(),
            unsupported: unsupported(spec, &backends),
            backends: backends.into(),
            algorithm: spec.algorithm,
            affinity,
            dns: spec.publish.dns,
            unready_too: spec.publish_not_ready_addresses,
            invalid: invalid.map(Box::new),
            external,
            recorded: recorded.collect(),
            anchors: Box::default(),
            unanchored: false,
            outcome: Outcome::default(),
        }
    }

    /// Leaves out backends at addresses that are the system's own: no tenant's workload has one, and what does have it is
    /// not for a tenant to reach.
    pub(super) fn keep_off(&mut self, ranges: &Ranges) {
        for (at, entry) in self.backends.iter_mut().enumerate() {
            let Source::Addresses(addresses) = &mut entry.source else {
                continue;
            };
            let own = |address: &IpAddr| ranges.overlapped_by(IpNet::from(*address));
            let Some((address, own_range)) = addresses
                .iter()
                .find_map(|address| Some((*address, own(address)?)))
            else {
                continue;
            };
            *addresses = addresses
                .iter()
                .copied()
                .filter(|a| own(a).is_none())
                .collect();
            self.invalid.get_or_insert_with(|| Box::new(Problem::invalid(format!(
                "spec.backends[{at}].addresses: {address} lies in {own_range}, which the system uses for itself; give the \
                 backend's own address"
            ))));
        }
    }

    /// True if its status says all that was allocated to it, as far as it should.
    pub(super) fn is_on_record(&self) -> bool {
        let given = match &self.wants {
            Wants::Balanced { given, .. } => *given,
            Wants::Headless | Wants::Unreadable => Addresses::default(),
        };
        let inside = self.outcome.unrecorded || self.recorded.covers(&self.outcome.claims, &given);
        let outside = self.external.as_ref().is_none_or(|external| {
            let own = external.wish.own();
            own.is_none_or(|request| external.holding.is_on_record(request, &external.recorded))
        });
        inside && outside
    }

    pub(crate) fn headless(&self) -> bool {
        self.wants == Wants::Headless
    }

    /// True if nothing that decides rows or status differs, so that a change of the object (its own status written
    /// back, say) needs no look.
    pub(crate) fn same_spec(&self, other: &Self) -> bool {
        // Names all fields, so that a new one is compared or left out on purpose.
        let Self {
            header,
            vpc,
            wants,
            ports,
            backends,
            algorithm,
            affinity,
            dns,
            unready_too,
            unsupported,
            invalid,
            external: _,
            recorded: _,
            anchors: _,
            unanchored: _,
            outcome: _,
        } = self;
        *header == other.header
            && *vpc == other.vpc
            && *wants == other.wants
            && *ports == other.ports
            && *backends == other.backends
            && *algorithm == other.algorithm
            && *affinity == other.affinity
            && *dns == other.dns
            && *unready_too == other.unready_too
            && *unsupported == other.unsupported
            && *invalid == other.invalid
            && self.outside() == other.outside()
    }

    /// What its spec says of the outside.
    fn outside(&self) -> Option<(&Wish, &[IpNet], bool)> {
        let external = self.external.as_ref()?;
        Some((&external.wish, &external.source_ranges, external.preserve))
    }

    /// Takes over what a newer state of the object records of external addresses, and says what.
    pub(super) fn external_recorded(&mut self, newer: &Self) -> Option<parse::Addresses> {
        let recorded = newer.external.as_ref()?.recorded;
        self.external.as_mut()?.recorded = recorded;
        Some(recorded)
    }

    /// Takes over what an older spec of the object has of external addresses of its own. False if that is given back.
    pub(super) fn keep_external(&mut self, older: &Self) -> bool {
        match (&mut self.external, &older.external) {
            (Some(own), Some(older)) if own.wish.own().is_some() && older.wish.own().is_some() => {
                own.holding = older.holding.clone();
                true
            }
            _ => false,
        }
    }
}

impl From<IpFamily> for Family {
    fn from(family: IpFamily) -> Self {
        match family {
            IpFamily::IPv4 => Self::V4,
            IpFamily::IPv6 => Self::V6,
        }
    }
}

fn read_backends(at: usize, entry: &yusur_crds::Backend, vpc: &str) -> Result<Backends, Problem> {
    let field = format!("spec.backends[{at}]");
    let source = match (&entry.selector, entry.addresses.is_empty()) {
        (Some(selector), true) => {
            Source::Selector(parse::selector(&format!("{field}.selector"), selector)?)
        }
        (None, false) => {
            let read = |text: &String| parse::unicast(&format!("{field}.addresses"), text);
            Source::Addresses(entry.addresses.iter().map(read).collect::<Result<_, _>>()?)
        }
        _ => {
            return Err(Problem::invalid(format!(
                "{field}: give either selector or addresses, not both and not neither"
            )));
        }
    };
    let weight = u8::try_from(entry.weight)
        .ok()
        .filter(|weight| *weight <= 100)
        .ok_or_else(|| {
            Problem::invalid(format!(
                "{field}.weight is {}; give 0 (drain) to 100",
                entry.weight
            ))
        })?;
    let mut ports = Vec::with_capacity(entry.ports.len());
    for port in &entry.ports {
        ports.push((
            port.name.as_str().into(),
            parse::port(&format!("{field}.ports"), port.port)?,
        ));
    }
    Ok(Backends {
        kind: entry.kind,
        source,
        weight,
        elsewhere: entry
            .vpc
            .as_deref()
            .filter(|other| *other != vpc)
            .map(Name::from),
        ports: ports.into(),
    })
}

/// What the spec asks for and this release does not do, each a clause of a sentence.
fn unsupported(spec: &YusurServiceSpec, backends: &[Backends]) -> Box<[&'static str]> {
    let mut list = Vec::new();
    if spec.node_access == Some(true) {
        list.push("spec.nodeAccess: access from cluster nodes is not built yet");
    }
    if spec
        .health_check
        .as_ref()
        .is_some_and(|check| !check.disabled)
    {
        list.push("spec.healthCheck: probes are not built yet, backends count as healthy (Pods by their readiness)");
    }
    if spec.publish.kubernetes {
        list.push("spec.publish.kubernetes: publishing as a Kubernetes Service is not built yet");
    }
    if spec.algorithm == Algorithm::LeastConnections {
        list.push("spec.algorithm: LeastConnections is not built yet, FlowHash is used");
    }
    if spec.cluster_ip.as_deref() == Some("None")
        && backends.iter().any(|entry| entry.elsewhere.is_some())
    {
        list.push("spec.backends[].vpc: a headless service resolves to its backends, those in other VPCs are left out");
    }
    list.into()
}
