//! The load balancers of a service: the one its clients meet, and where backends lie in several VPCs, one on the service
//! gateway (or the EIP gateway's router) for the outside and one on the router of each VPC.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ovsdb_model::{Table, Uuid};
use yusur_crds::{Algorithm, Protocol};

use super::crossing::Crossing;
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
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            let mut maps: BTreeMap<At<'_>, Map> = BTreeMap::new();
            let ports = self.service.ports.iter();
            for port in ports.filter(|port| port.protocol == protocol) {
                for family in Family::ALL {
                    self.port(port, family, &mut maps, &mut balanced);
                }
            }
            for (at, map) in maps {
                balanced.rows.extend(self.row(at, protocol, map));
            }
        }
        balanced
    }

    fn port<'c>(
        &'c self,
        port: &Port,
        family: Family,
        maps: &mut BTreeMap<At<'c>, Map>,
        balanced: &mut Balanced<'a>,
    ) {
        let of_family = |vip: &IpAddr| Family::of(*vip) == family;
        let own: Vec<IpAddr> = self.own.iter().copied().filter(of_family).collect();
        let external = self.outside.addresses(port).get(family);
        if own.is_empty() && external.is_none() {
            return;
        }
        let behind = |vpc: Option<&Name>| Share {
            chosen: self.endpoints.behind(vpc, family, port),
        };
        let mut home = behind(None);
        let mut away: Vec<Share<'a, '_>> = self
            .crossing
            .targets
            .iter()
            .map(|target| behind(target.other))
            .collect();
        // Those that are on their way out serve where nobody else does, whatever the VPC.
        let all = || away.iter().chain([&home]);
        let best = all().map(Share::readiness).min();
        let serving = |share: &Share<'_, '_>| Some(share.readiness()) == best;
        if !serving(&home) {
            home.chosen.clear();
        }
        for share in away.iter_mut().filter(|share| !serving(share)) {
            share.chosen.clear();
        }
        let shares = away.iter().chain([&home]);
        let chosen = shares.flat_map(|share| &share.chosen);
        balanced.used.extend(chosen.map(|(.., e)| e.place()));
        if let (Target::Name(target), Some(Readiness::Ended)) = (&port.target, best)
            && self
                .endpoints
                .all
                .iter()
                .any(|e| of_family(&e.address) && e.readiness <= Readiness::Leaving)
        {
            let named = (port.protocol.as_str(), target.to_string());
            balanced.unnamed.insert(named);
        }

        let targets = || self.crossing.targets.iter().zip(&away);
        let lead = |share: &Share<'_, '_>, vip: Option<IpAddr>| {
            let weight = Some(share.weight()).filter(|weight| *weight > 0)?;
            Some((vip?, port.port, weight))
        };
        let mut put = |at: At<'c>, vip: IpAddr, entries: Vec<(IpAddr, u16, u64)>| {
            let mut key = String::with_capacity(48);
            vips::socket(&mut key, vip, port.port);
            let map = maps.entry(at).or_default();
            map.insert(Text::from(key), vips::backends(entries));
        };
        for vip in own.into_iter().chain(external) {
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
