//! The load balancers of a service: the one its clients meet, and where backends lie in several VPCs, one on the service
//! gateway (or the EIP gateway's router) for the outside and one on the router of each VPC.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ovsdb_model::{Table, Uuid};
use yusur_crds::{Algorithm, Protocol};

use super::apportion::Apportionment;
use super::crossing::{Crossing, Target as Away};
use super::limits::{self, Limits};
use super::outside::Outside;
use super::vips::{self, Endpoint, Endpoints, Place};
use super::{DesiredRow, Referrer, Rows};
use crate::family::Family;
use crate::inventory::{BalancedOn, Inventory, Port, Readiness, Service, Target};
use crate::name::Name;
use crate::nb::{LoadBalancer, LoadBalancerGroup, LogicalRouter, Map, Text};
use crate::unit::Unit;

/// The rows, and what becomes of the backends.
#[derive(Debug, Default)]
pub(super) struct Balanced<'a> {
    pub(super) rows: Rows,
    /// Backends that get new connections.
    pub(super) used: BTreeSet<Place<'a>>,
    /// Names of target ports that no backend knows.
    pub(super) unnamed: BTreeSet<(&'static str, String)>,
    /// What was asked for and is more than OVN carries.
    pub(super) limits: Limits,
}

/// How much a VIP may have.
struct Bounds {
    /// Backends.
    backends: usize,
    /// Entries on account of weights.
    entries: u64,
    apportionment: Apportionment,
}

/// Where a load balancer is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum At<'a> {
    /// Where the clients are: on the VPC's switches, and on its router if that has a way out.
    Clients,
    /// On the service gateway, and if clients outside are to be seen, on the EIP gateway's router.
    Gateway,
    /// On the router of a VPC that backends lie in; its place among the targets.
    Vpc(usize, &'a Name),
}

/// Who gets new connections of a port, in one family.
struct Behind<'a, 'b> {
    /// Backends in the service's own VPC.
    home: Share<'a, 'b>,
    /// Those in each of the targets.
    away: Vec<Share<'a, 'b>>,
    /// How ready the best are, used or not.
    best: Option<Readiness>,
}

impl<'a, 'b> Behind<'a, 'b> {
    fn shares(&self) -> impl Iterator<Item = &Share<'a, 'b>> {
        self.away.iter().chain([&self.home])
    }

    /// How many there are; those at home once, though they may be among the targets too.
    fn count(&self, targets: &[Away<'_>]) -> usize {
        let away = targets.iter().zip(&self.away);
        let away = away.filter(|(target, _)| target.other.is_some());
        let away = away.map(|(_, share)| share.chosen.len());
        away.sum::<usize>() + self.home.chosen.len()
    }
}

/// Backends of one VPC behind a port, in one family.
struct Share<'a, 'b> {
    chosen: Vec<(IpAddr, u16, &'b Endpoint<'a>)>,
}

impl Share<'_, '_> {
    fn weight(&self) -> u64 {
        let weights = self.chosen.iter();
        weights.map(|(.., e)| u64::from(e.entry.weight)).sum()
    }

    fn entries(&self) -> Vec<(IpAddr, u16, u64)> {
        let chosen = self.chosen.iter();
        chosen
            .map(|(address, number, e)| (*address, *number, u64::from(e.entry.weight)))
            .collect()
    }

    /// Keeps so many, those with the lowest addresses.
    fn keep(&mut self, most: usize) {
        if self.chosen.len() > most {
            self.chosen
                .sort_unstable_by_key(|(address, number, _)| (*address, *number));
            self.chosen.truncate(most);
        }
    }

    /// How ready they are: all alike.
    fn readiness(&self) -> Readiness {
        let first = self.chosen.first();
        first.map_or(Readiness::Ended, |(.., e)| e.readiness)
    }
}

/// What the load balancers of a service are made of.
pub(super) struct Parts<'a, 'b> {
    pub(super) unit: &'b Unit,
    pub(super) service: &'a Service,
    /// The cluster addresses it serves.
    pub(super) own: &'b [IpAddr],
    pub(super) outside: &'b Outside,
    pub(super) crossing: &'b Crossing<'a>,
    pub(super) endpoints: &'b Endpoints<'a>,
    pub(super) inventory: &'b Inventory,
}

impl<'a, 'b> Parts<'a, 'b> {
    pub(super) fn balance(&self) -> Balanced<'a> {
        let mut balanced = Balanced::default();
        let mut bounds = self.bounds();
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            let mut maps: BTreeMap<At<'_>, Map> = BTreeMap::new();
            let ports = self.service.ports.iter();
            for port in ports.filter(|port| port.protocol == protocol) {
                for family in Family::ALL {
                    self.port(port, family, &mut bounds, &mut maps, &mut balanced);
                }
            }
            for (at, map) in maps {
                balanced.rows.extend(self.row(at, protocol, map));
            }
        }
        balanced
    }

    /// The addresses that a port is served on: the cluster's and the external one.
    fn vips(&self, port: &Port, family: Family) -> Vec<IpAddr> {
        let of_family = |vip: &IpAddr| Family::of(*vip) == family;
        let own = self.own.iter().copied().filter(of_family);
        own.chain(self.outside.addresses(port).get(family))
            .collect()
    }

    /// What each VIP may have, so that all have what a service may.
    fn bounds(&self) -> Bounds {
        let served = || {
            let ports = self.service.ports.iter();
            let each = ports.flat_map(|port| Family::ALL.map(|family| (port, family)));
            each.map(|(port, family)| (port, family, self.vips(port, family).len()))
                .filter(|(.., vips)| *vips > 0)
        };
        let targets = self.crossing.targets.len();
        let vips: usize = served().map(|(.., vips)| vips + targets).sum();
        let there = self.endpoints.all.len();
        let few = there <= limits::BACKENDS_OF_VIP
            && there.saturating_mul(vips) <= limits::ENTRIES_OF_SERVICE;
        let backends = if few {
            limits::BACKENDS_OF_VIP
        } else {
            let mut behind = Vec::new();
            for (port, family, vips) in served() {
                let found = self.behind(port, family);
                behind.push((found.home.chosen.len(), vips));
                behind.extend(found.away.iter().map(|share| (share.chosen.len(), 1)));
            }
            limits::backends_of_vip(&behind)
        };
        Bounds {
            backends,
            entries: (limits::ENTRIES_OF_SERVICE / vips.max(1)) as u64,
            apportionment: Apportionment::default(),
        }
    }

    fn behind(&self, port: &Port, family: Family) -> Behind<'a, '_> {
        let behind = |vpc: Option<&Name>| Share {
            chosen: self.endpoints.behind(vpc, family, port),
        };
        let mut found = Behind {
            home: behind(None),
            away: self
                .crossing
                .targets
                .iter()
                .map(|target| behind(target.other))
                .collect(),
            best: None,
        };
        // Those that are on their way out serve where nobody else does, whatever the VPC.
        let best = found.shares().map(Share::readiness).min();
        for share in found.away.iter_mut().chain([&mut found.home]) {
            if Some(share.readiness()) != best {
                share.chosen.clear();
            }
        }
        Behind { best, ..found }
    }

    fn port<'c>(
        &'c self,
        port: &Port,
        family: Family,
        bounds: &mut Bounds,
        maps: &mut BTreeMap<At<'c>, Map>,
        balanced: &mut Balanced<'a>,
    ) {
        let vips = self.vips(port, family);
        if vips.is_empty() {
            return;
        }
        let external = self.outside.addresses(port).get(family);
        let word = vips::protocol(port.protocol);
        let mut behind = self.behind(port, family);
        let there = behind.count(&self.crossing.targets);
        for share in behind.away.iter_mut().chain([&mut behind.home]) {
            share.keep(bounds.backends);
        }
        let used = behind.count(&self.crossing.targets);
        if used < there {
            balanced.limits.too_many(word, port.port, there, used);
        }
        let chosen = behind.shares().flat_map(|share| &share.chosen);
        balanced.used.extend(chosen.map(|(.., e)| e.place()));
        if let (Target::Name(target), Some(Readiness::Ended)) = (&port.target, behind.best)
            && self
                .endpoints
                .all
                .iter()
                .any(|e| Family::of(e.address) == family && e.readiness <= Readiness::Leaving)
        {
            let named = (port.protocol.as_str(), target.to_string());
            balanced.unnamed.insert(named);
        }

        let Behind { home, away, .. } = &behind;
        let targets = || self.crossing.targets.iter().zip(away);
        let lead = |share: &Share<'_, '_>, vip: Option<IpAddr>| {
            let weight = Some(share.weight()).filter(|weight| *weight > 0)?;
            Some((vip?, port.port, weight))
        };
        let limits = &mut balanced.limits;
        let mut put = |at: At<'c>, vip: IpAddr, entries: Vec<(IpAddr, u16, u64)>| {
            let mut key = String::with_capacity(48);
            vips::socket(&mut key, vip, port.port);
            let (list, grants) = vips::backends(entries, &mut bounds.apportionment, bounds.entries);
            limits.weighed(word, port.port, grants);
            maps.entry(at).or_default().insert(Text::from(key), list);
        };
        for vip in vips {
            // To one's own backends directly: a VPC cannot call its own address among those that lead into VPCs.
            let others = targets().filter(|(target, _)| target.other.is_some());
            let others = others.filter_map(|(target, share)| lead(share, target.vips.get(family)));
            put(
                At::Clients,
                vip,
                home.entries().into_iter().chain(others).collect(),
            );
        }
        if !self.service.crosses() {
            return;
        }
        if let Some(eip) = external {
            let all = targets().filter_map(|(target, share)| lead(share, target.vips.get(family)));
            put(At::Gateway, eip, all.collect());
        }
        for (at, (target, share)) in targets().enumerate() {
            if let Some(vip) = target.vips.get(family) {
                put(At::Vpc(at, target.vpc), vip, share.entries());
            }
        }
    }

    fn row(&self, at: At<'_>, protocol: Protocol, vips: Map) -> Option<DesiredRow> {
        let ids = self.inventory.ids();
        let word = vips::protocol(protocol);
        let (id, referrers): (Uuid, Vec<Referrer>) = match at {
            At::Clients => (
                ids.load_balancer(self.unit, word),
                vec![Referrer {
                    table: LoadBalancerGroup::NAME,
                    row: if self.service.crosses() {
                        ids.switch_group(&self.service.vpc)
                    } else {
                        ids.group(&self.service.vpc)
                    },
                    column: "load_balancer",
                    maker: Some(Unit::Vpc(self.service.vpc.clone())),
                }],
            ),
            At::Gateway => {
                let gateway = self.outside.gateway.as_ref()?;
                let on = |row, maker| Referrer {
                    table: LogicalRouter::NAME,
                    row,
                    column: "load_balancer",
                    maker: Some(maker),
                };
                let mut referrers = vec![on(
                    ids.service_gateway(gateway),
                    Unit::ServiceGateway(gateway.clone()),
                )];
                // The service gateway is for workloads of other VPCs then.
                if self.service.balanced_on()? == BalancedOn::EipGateway {
                    referrers.push(on(
                        ids.gateway_router(gateway),
                        Unit::EipGateway(gateway.clone()),
                    ));
                }
                (ids.gateway_balancer(self.unit, word), referrers)
            }
            At::Vpc(target, vpc) => (
                ids.vpc_balancer(self.unit, word, vpc),
                vec![self.crossing.targets.get(target)?.router()],
            ),
        };
        let name = match at {
            At::Clients => ids.name(format_args!("{}/{word}", self.unit)),
            At::Gateway => ids.name(format_args!("{}/{word}/gateway", self.unit)),
            At::Vpc(_, vpc) => ids.name(format_args!("{}/{word}/vpc/{vpc}", self.unit)),
        };
        // Refuse connections to a VIP without backends instead of letting them time out.
        let mut options = Map::from([(Text::new_static("reject"), Text::new_static("true"))]);
        if let Some(seconds) = self.service.affinity {
            options.insert(
                Text::new_static("affinity_timeout"),
                Text::from(seconds.to_string()),
            );
        }
        if protocol == Protocol::Udp {
            // Datagrams to a backend that left go elsewhere at once. Not for TCP: it would reset connections that live.
            options.insert(Text::new_static("ct_flush"), Text::new_static("true"));
        }
        let fields: &[&'static str] = match self.service.algorithm {
            Algorithm::SourceHash => &["ip_dst", "ip_src"],
            // OVN's own hash of the 5-tuple: other fields cost an upcall for each connection.
            Algorithm::FlowHash | Algorithm::RoundRobin | Algorithm::LeastConnections => &[],
        };
        let row = LoadBalancer {
            name,
            vips,
            protocol: Some(Text::new_static(word)),
            selection_fields: fields.iter().map(|field| Text::new_static(field)).collect(),
            options,
            health_check: BTreeSet::new(),
            ip_port_mappings: Map::new(),
            external_ids: ids.labels(self.unit),
        };
        DesiredRow::new(id, &row, referrers)
    }
}
