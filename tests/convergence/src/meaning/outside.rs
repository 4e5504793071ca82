//! What EipGateways mean, and who asks them for addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use yusur_crds::{EipGatewaySpec, IpFamily};

use super::{Meaning, hosts, is_host, networks, range, unicast};
use crate::objects::{Key, Objects};

/// The ranges that the system uses for itself (`docs/operate.md`): no gateway's.
const RESERVED: [&str; 8] = [
    "100.64.0.0/16",
    "100.66.0.0/16",
    "100.67.0.0/16",
    "100.96.0.0/11",
    "fd79:7573:7572:64::/64",
    "fd79:7573:7572:66::/64",
    "fd79:7573:7572:67::/64",
    "fd79:7573:7572:96::/64",
];

/// An EipGateway's meaning.
#[derive(Clone, Debug)]
pub(crate) struct Gateway<'a> {
    pub(crate) spec: &'a EipGatewaySpec,
    pub(crate) nets: Vec<IpNet>,
    /// The router's own address in each of them.
    pub(crate) own: Vec<IpAddr>,
    hops: Vec<IpAddr>,
    excluded: Vec<(IpAddr, IpAddr)>,
    /// Its ranges are nobody else's: it has rows.
    pub(crate) stands: bool,
}

impl Gateway<'_> {
    pub(crate) fn net(&self, ipv4: bool) -> Option<IpNet> {
        self.nets
            .iter()
            .copied()
            .find(|net| net.addr().is_ipv4() == ipv4)
    }

    /// Whether somebody who has the address can keep it: also one that was excluded since.
    pub(crate) fn keeps(&self, address: IpAddr) -> bool {
        self.net(address.is_ipv4())
            .is_some_and(|net| is_host(net, address))
            && !self.own.contains(&address)
            && !self.hops.contains(&address)
    }

    /// Whether somebody can have the address who has not had it yet.
    pub(crate) fn gives(&self, address: IpAddr) -> bool {
        self.keeps(address)
            && !self
                .excluded
                .iter()
                .any(|(first, last)| *first <= address && address <= *last)
    }

    /// The addresses it can give, if they are few.
    pub(crate) fn room(&self, ipv4: bool) -> Option<BTreeSet<IpAddr>> {
        let mut room = hosts(self.net(ipv4)?)?;
        room.retain(|address| self.gives(*address));
        Some(room)
    }
}

/// All of them, by name.
pub(super) fn gateways(objects: &Objects) -> BTreeMap<&str, Gateway<'_>> {
    let mut order: Vec<(i64, &str)> = objects
        .gateways
        .iter()
        .map(|(name, (meta, ..))| (meta.created, name.as_str()))
        .collect();
    order.sort_unstable();
    let mut gateways: BTreeMap<&str, Gateway<'_>> = BTreeMap::new();
    for (_, name) in order {
        let spec = &objects.gateways[name].1;
        let nets = networks(&spec.cidrs).unwrap_or_default();
        let hops = unicast(&spec.next_hops).unwrap_or_default();
        let given = unicast(&spec.gateway_addresses).unwrap_or_default();
        let own: Vec<IpAddr> = nets
            .iter()
            .filter_map(|net| {
                let mut given = given.iter().copied();
                given.find(|address| net.contains(address)).or_else(|| {
                    let mut hosts = net.hosts();
                    hosts.find(|host| is_host(*net, *host) && !hops.contains(host))
                })
            })
            .collect();
        let overlap = |one: &IpNet, other: &IpNet| {
            one.contains(&other.network()) || other.contains(&one.network())
        };
        let reserved: Vec<IpNet> = RESERVED.iter().filter_map(|net| net.parse().ok()).collect();
        let taken = gateways.values().filter(|other| {
            other.stands
                && other.spec.physical_network == spec.physical_network
                && other.spec.vlan == spec.vlan
        });
        let mut taken = taken.flat_map(|other| &other.nets).chain(&reserved);
        let free = !taken.any(|other| nets.iter().any(|net| overlap(net, other)));
        let gateway = Gateway {
            spec,
            hops,
            excluded: spec
                .excluded_addresses
                .iter()
                .filter_map(|text| range(text))
                .collect(),
            stands: free && !nets.is_empty() && own.len() == nets.len() && !spec.nodes.is_empty(),
            nets,
            own,
        };
        gateways.insert(name, gateway);
    }
    gateways
}

/// Somebody asks for external addresses: an Eip, or a service for itself.
#[derive(Clone, Debug)]
pub(crate) struct Ask<'a> {
    /// `eip` or `service`, namespace and name.
    pub(crate) unit: (&'static str, &'a Key),
    /// The gateway that is asked, if it is there and lets the namespace in.
    pub(crate) gateway: Option<&'a str>,
    pub(crate) given: Vec<IpAddr>,
    /// The families to have; `None`: those of the service, as far as the gateway has them.
    pub(crate) families: Option<Vec<bool>>,
    /// The gateway can give what is asked for, if nobody has it.
    pub(crate) sound: bool,
    /// What the status says it holds.
    pub(crate) holds: BTreeSet<IpAddr>,
    /// The same, while it is refused: it is kept for it, and not used.
    pub(crate) reserved: BTreeSet<IpAddr>,
    /// Nothing refuses it.
    pub(crate) accepted: bool,
}

impl Ask<'_> {
    /// It has all it asks for.
    pub(crate) fn complete(&self) -> bool {
        let has = |ipv4: bool| self.holds.iter().any(|address| address.is_ipv4() == ipv4);
        self.sound
            && match &self.families {
                Some(families) => families.iter().all(|family| has(*family)),
                None => !self.holds.is_empty(),
            }
    }
}

impl<'a> Meaning<'a> {
    /// The gateway that is asked, if it is there and lets the namespace in.
    fn gateway_for(&self, namespace: &str, asked: Option<&'a str>) -> Option<&'a str> {
        let default = || {
            let all = self.objects.gateways.iter();
            let marked = all.filter(|(_, (_, spec, _))| spec.default);
            let oldest = marked.min_by_key(|(name, (meta, ..))| (meta.created, *name))?;
            Some(oldest.0.as_str())
        };
        let name = asked.or_else(default)?;
        let spec = self.gateways.get(name)?.spec;
        let allowed = self.precision(&spec.allowed_namespaces, namespace);
        allowed.map(|_| name)
    }

    /// The default gateway, whoever asks for it.
    pub(crate) fn is_default(&self, gateway: &str) -> bool {
        let all = self.objects.gateways.iter();
        let marked = all.filter(|(_, (_, spec, _))| spec.default);
        let oldest = marked.min_by_key(|(name, (meta, ..))| (meta.created, *name));
        oldest.is_some_and(|(name, _)| name == gateway)
    }

    pub(super) fn asks(&self) -> Vec<Ask<'a>> {
        let mut asks = Vec::new();
        for (key, (_, spec, status)) in &self.objects.eips {
            let recorded = status.iter().flat_map(|status| &status.addresses);
            asks.extend(self.ask(
                ("eip", key),
                spec.gateway.as_deref(),
                &spec.addresses,
                &spec.ip_families,
                recorded,
            ));
        }
        for (key, (_, spec, status)) in &self.objects.services {
            let Some(request) = &spec.eip else { continue };
            if request.name.is_some() {
                continue;
            }
            let recorded = status.iter().flat_map(|status| &status.eips);
            asks.extend(self.ask(
                ("service", key),
                request.gateway.as_deref(),
                &request.addresses,
                &request.ip_families,
                recorded,
            ));
        }
        asks
    }

    fn ask(
        &self,
        unit: (&'static str, &'a Key),
        gateway: Option<&'a str>,
        given: &[String],
        families: &[IpFamily],
        recorded: impl Iterator<Item = &'a String>,
    ) -> Option<Ask<'a>> {
        let name = self.gateway_for(&unit.1.0, gateway);
        let gateway = name.map(|name| &self.gateways[name]);
        let recorded = recorded.filter_map(|text| text.parse().ok());
        let holds: BTreeSet<IpAddr> = recorded.collect();
        let read = unicast(given);
        let mut wanted: Vec<bool> = families
            .iter()
            .map(|family| *family == IpFamily::IPv4)
            .collect();
        let stray = read.as_ref().is_some_and(|given| {
            let mut given = given.iter();
            !wanted.is_empty() && given.any(|address| !wanted.contains(&address.is_ipv4()))
        });
        let given = read.clone().unwrap_or_default();
        if wanted.is_empty() {
            wanted.extend(given.iter().map(IpAddr::is_ipv4));
        }
        if wanted.is_empty() && unit.0 == "eip" {
            let first = gateway.and_then(|gateway| gateway.nets.first());
            wanted.extend(first.map(|net| net.addr().is_ipv4()));
        }
        let sound = gateway.is_some_and(|gateway| {
            let has = |family: &bool| gateway.net(*family).is_some();
            read.is_some()
                && !stray
                && !gateway.nets.is_empty()
                && wanted.iter().all(has)
                && given.iter().all(|address| {
                    let held = holds.contains(address) && gateway.keeps(*address);
                    held || gateway.gives(*address)
                })
        });
        Some(Ask {
            unit,
            gateway: name,
            given,
            families: (!wanted.is_empty()).then_some(wanted),
            sound,
            holds,
            reserved: BTreeSet::new(),
            accepted: true,
        })
    }

    /// What a service asks for, by itself or by its Eip, if that is there.
    pub(crate) fn ask_of(&self, key: &Key) -> Option<&Ask<'a>> {
        let (_, spec, _) = self.objects.services.get(key)?;
        let name = &spec.eip.as_ref()?.name;
        self.asks.iter().find(|ask| match name {
            Some(name) => ask.unit.0 == "eip" && ask.unit.1.0 == key.0 && ask.unit.1.1 == *name,
            None => ask.unit == ("service", key),
        })
    }
}
