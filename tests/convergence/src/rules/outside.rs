//! The outside: EIP gateways and their chassis, who holds which external address, where packets from outside and between
//! VPCs end.

mod gateways;
mod holdings;
mod isolation;
mod leftovers;
mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ovsdb_model::Uuid;

use super::{Case, Complaints, Ports, Rule};
use crate::meaning::Ask;
use crate::network::{End, Packet, Way};

pub(super) fn check(case: &Case<'_>, ports: &Ports, complaints: &mut Complaints) {
    gateways::check(case, complaints);
    holdings::check(case, complaints);
    services::check(case, ports, complaints);
    isolation::check(case, complaints);
    leftovers::check(case, complaints);
}

/// Whether somebody that asks for external addresses may have some: the gateway can give them, and a service that asks for
/// itself has its cluster addresses.
pub(super) fn accepted(case: &Case<'_>, ask: &Ask<'_>) -> bool {
    let stands = |name: &str| case.meaning.gateways.get(name).is_some_and(|it| it.stands);
    let settled = ask.unit.0 == "eip" || super::services::has_cluster_addresses(case, ask.unit.1);
    ask.sound && ask.gateway.is_some_and(stands) && settled
}

/// Where the rows of EipGateways are, and which Vpcs are there.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) gateways: BTreeMap<String, Place>,
    /// By Vpc, the gateways it has joined.
    pub(super) joined: BTreeMap<String, BTreeSet<String>>,
}

/// Where the rows of one EipGateway are.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) router: Uuid,
    /// The switch with the physical network.
    pub(super) outside: Uuid,
    /// The switch that Vpcs' routers join.
    pub(super) join: Uuid,
    pub(super) service_gateway: Option<Uuid>,
    /// Where requests of Vpcs for external addresses part.
    pub(super) inside: Option<Uuid>,
}

impl Places {
    pub(super) fn of(case: &Case<'_>) -> Self {
        let mut places = Self::default();
        let vpcs: Vec<(&str, Option<Uuid>)> = case
            .meaning
            .vpcs
            .keys()
            .map(|vpc| (*vpc, case.router(vpc)))
            .collect();
        for name in case.meaning.gateways.keys() {
            let unit = format!("eipgateway/{name}");
            let routers = case.content.of("Logical_Router", &unit);
            let switches = case.content.of("Logical_Switch", &unit);
            let outside = |uuid: &Uuid| case.network.segment(*uuid).is_some();
            let switches: Vec<Uuid> = switches.iter().map(|entry| entry.uuid).collect();
            let (Some(outside), Some(join)) = (
                switches.iter().copied().find(outside),
                switches.iter().copied().find(|uuid| !outside(uuid)),
            ) else {
                continue;
            };
            let on =
                |switch: Uuid| move |uuid: &Uuid| case.network.switches_of(*uuid).contains(&switch);
            let routers: Vec<Uuid> = routers.iter().map(|entry| entry.uuid).collect();
            let Some(router) = routers.iter().copied().find(on(outside)) else {
                continue;
            };
            let service = format!("servicegateway/{name}");
            let service = case.content.of("Logical_Router", &service);
            for (vpc, uuid) in &vpcs {
                if uuid.is_some_and(|uuid| case.network.switches_of(uuid).contains(&join)) {
                    let joined = places.joined.entry((*vpc).to_owned()).or_default();
                    joined.insert((*name).to_owned());
                }
            }
            let place = Place {
                router,
                outside,
                join,
                service_gateway: service.first().map(|entry| entry.uuid),
                inside: routers.into_iter().find(|uuid| *uuid != router),
            };
            places.gateways.insert((*name).to_owned(), place);
        }
        places
    }

    /// The gateway that a Vpc has joined.
    pub(super) fn of_vpc(&self, vpc: &str) -> Option<&str> {
        let joined = self.joined.get(vpc)?.first();
        joined.map(String::as_str)
    }
}

impl Case<'_> {
    /// The Vpc whose router or switch this is.
    fn vpc_at(&self, uuid: Uuid) -> Option<&str> {
        let vpcs = self.meaning.vpcs.keys().copied();
        let mut vpcs =
            vpcs.filter(|vpc| self.router(vpc) == Some(uuid) || self.switches(vpc).contains(&uuid));
        vpcs.next()
    }

    /// The switches of a Vpc on which a client of the Vpc could be, in a family, and its address there.
    fn clients(&self, vpc: &str, ipv4: bool) -> Vec<(Uuid, IpAddr)> {
        let subnets = self.meaning.subnets.iter();
        let subnets = subnets
            .filter(|(_, subnet)| subnet.vpc == vpc && subnet.place == crate::meaning::Place::Own);
        subnets
            .filter_map(|(name, subnet)| {
                let net = subnet
                    .nets
                    .iter()
                    .find(|net| net.addr().is_ipv4() == ipv4)?;
                self.router(vpc)?;
                Some((self.switch(name)?, net.network()))
            })
            .collect()
    }

    /// A Vpc's own address on the join of its gateway.
    fn join_address(&self, vpc: &str, ipv4: bool) -> Option<IpAddr> {
        let place = self.places.gateways.get(self.places.of_vpc(vpc)?)?;
        self.network.address_on(self.router(vpc)?, place.join, ipv4)
    }

    /// Whether a Vpc's spec has a default route of its own.
    fn leaves_by_itself(&self, vpc: &str, ipv4: bool) -> bool {
        let any = if ipv4 { "0.0.0.0/0" } else { "::/0" };
        let routes = self
            .objects
            .vpcs
            .get(vpc)
            .map(|(_, spec)| &spec.static_routes);
        let mut routes = routes.into_iter().flatten();
        routes.any(|route| route.destination == any)
    }
}

/// A client outside that `sourceRanges` of the tests let in, and one that they do not.
fn client(admitted: bool, ipv4: bool) -> IpAddr {
    match (ipv4, admitted) {
        (true, true) => Ipv4Addr::new(198, 51, 100, 7).into(),
        (true, false) => Ipv4Addr::new(198, 18, 0, 7).into(),
        (false, true) => Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 7).into(),
        (false, false) => Ipv6Addr::new(0x2001, 0xdb8, 0xd, 0, 0, 0, 0, 7).into(),
    }
}

fn packet(source: IpAddr, to: SocketAddr, protocol: &'static str) -> Packet {
    Packet {
        source,
        to,
        protocol,
    }
}

/// A backend: the Vpc it is in, and its address there.
type Backend = (String, SocketAddr);

/// What becomes of all connections from one client to one address and port.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// Nobody answers.
    Nothing,
    /// They are refused, by load balancers of these units.
    Refused { units: BTreeSet<String> },
    /// They reach backends: each one's share, and the clients it sees.
    Reaches {
        units: BTreeSet<String>,
        shares: BTreeMap<Backend, f64>,
        seen: BTreeMap<Backend, BTreeSet<IpAddr>>,
    },
    /// Anything else is wrong.
    Strange(String),
}

impl Outcome {
    fn of(case: &Case<'_>, ways: Vec<Way>) -> Self {
        let unit = |by: Uuid| {
            let mut rows = case.content.all("Load_Balancer").iter();
            let row = rows.find(|entry| entry.uuid == by);
            let label = row.and_then(|row| row.label("yusur.io/unit"));
            label.unwrap_or_default().to_owned()
        };
        if ways.iter().all(|way| way.end == End::Dropped) {
            return Self::Nothing;
        }
        let mut units = BTreeSet::new();
        let refused = ways
            .iter()
            .all(|way| matches!(way.end, End::Refused { .. }));
        let (mut shares, mut seen) = (BTreeMap::new(), BTreeMap::new());
        for way in &ways {
            match &way.end {
                End::Refused { by } if refused => drop(units.insert(unit(*by))),
                End::Chosen {
                    by,
                    on,
                    backend,
                    source,
                } => {
                    units.insert(unit(*by));
                    let vpc = case.vpc_at(*on).unwrap_or("no Vpc").to_owned();
                    *shares.entry((vpc.clone(), *backend)).or_insert(0.0) += way.share;
                    let sources: &mut BTreeSet<IpAddr> = seen.entry((vpc, *backend)).or_default();
                    sources.insert(*source);
                }
                end => return Self::Strange(format!("{end:?} by routers {:?}", way.routers)),
            }
        }
        match refused {
            true => Self::Refused { units },
            false => Self::Reaches {
                units,
                shares,
                seen,
            },
        }
    }

    /// Whose load balancers have decided.
    fn units(&self) -> BTreeSet<String> {
        match self {
            Self::Refused { units } | Self::Reaches { units, .. } => units.clone(),
            Self::Nothing | Self::Strange(_) => BTreeSet::new(),
        }
    }

    /// Why these are not exactly the backends that are wanted, in the shares that their weights say; `None` if they are.
    fn differs(&self, wanted: &BTreeMap<Backend, u64>) -> Option<(Rule, String)> {
        let shares = match self {
            Self::Refused { .. } if wanted.is_empty() => return None,
            Self::Reaches { shares, .. } if shares.keys().eq(wanted.keys()) => shares,
            _ => {
                return Some((
                    Rule::Backends,
                    format!("{self:?} instead of backends {wanted:?}"),
                ));
            }
        };
        let all: u64 = wanted.values().sum();
        let fits = shares.iter().all(|(backend, share)| {
            let weight = wanted.get(backend).copied().unwrap_or_default();
            #[expect(clippy::cast_precision_loss, reason = "weights are small")]
            let wanted = weight as f64 / all as f64;
            (share - wanted).abs() < 0.02
        });
        (!fits).then(|| {
            (
                Rule::Balance,
                format!("shares are {shares:?} for weights {wanted:?}"),
            )
        })
    }
}
