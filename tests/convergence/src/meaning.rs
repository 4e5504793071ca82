//! What the objects mean, before any row is looked at: which ranges count, who may use what, which Subnets stand.

mod outside;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use ovsdb_model::{Database, Uuid};
use yusur_crds::{LabelSelector, NamespaceRule, NamespacesFrom, SubnetSpec, VNicSpec};

use crate::objects::Objects;
use crate::rows::Foreign;

pub(crate) use outside::{Ask, Gateway};

/// Where a Subnet's ports are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On a switch of our own.
    Own,
    /// On the switch of somebody else.
    Adopted(Uuid),
    /// Nowhere, because its range is another's.
    Overlapping,
    /// Nowhere, until what it waits for is there: its Vpc, the switch it adopts, a range.
    Waiting,
}

/// A Subnet's meaning.
#[derive(Clone, Debug)]
pub(crate) struct Subnet<'a> {
    pub(crate) vpc: &'a str,
    pub(crate) place: Place,
    pub(crate) nets: Vec<IpNet>,
    pub(crate) gateways: Vec<IpAddr>,
    pub(crate) excluded: Vec<(IpAddr, IpAddr)>,
    pub(crate) spec: &'a SubnetSpec,
    pub(crate) created: i64,
}

impl Subnet<'_> {
    pub(crate) fn stands(&self) -> bool {
        matches!(self.place, Place::Own | Place::Adopted(_))
    }

    pub(crate) fn net_of(&self, address: IpAddr) -> Option<IpNet> {
        self.nets.iter().copied().find(|net| net.contains(&address))
    }

    /// Whether a port may have the address at all.
    pub(crate) fn fits(&self, address: IpAddr) -> bool {
        let in_range = match self
            .nets
            .iter()
            .find(|net| same_family(net.addr(), address))
        {
            Some(net) => is_host(*net, address),
            None => self.nets.is_empty(),
        };
        in_range && !self.gateways.contains(&address)
    }

    pub(crate) fn is_excluded(&self, address: IpAddr) -> bool {
        let within = |(first, last): &(IpAddr, IpAddr)| {
            same_family(*first, address) && *first <= address && address <= *last
        };
        self.excluded.iter().any(within)
    }

    /// How many addresses of a small IPv4 range its pool can give; `None` if they are too many to run out in a test.
    pub(crate) fn pool(&self, ipv4: bool) -> Option<BTreeSet<IpAddr>> {
        let net = self.nets.iter().find(|net| net.addr().is_ipv4() == ipv4)?;
        hosts(*net).map(|hosts| {
            hosts
                .into_iter()
                .filter(|host| !self.gateways.contains(host) && !self.is_excluded(*host))
                .collect()
        })
    }
}

/// A Vpc's meaning.
#[derive(Clone, Debug)]
pub(crate) struct Vpc {
    /// `None`: the router it adopts is not there.
    pub(crate) router: Option<Router>,
    pub(crate) ranges: Vec<IpNet>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Router {
    Own,
    Adopted(Uuid),
}

impl Vpc {
    pub(crate) fn range(&self, ipv4: bool) -> Option<IpNet> {
        self.ranges
            .iter()
            .copied()
            .find(|net| net.addr().is_ipv4() == ipv4)
    }
}

/// What all objects mean.
#[derive(Debug)]
pub(crate) struct Meaning<'a> {
    pub(crate) objects: &'a Objects,
    pub(crate) vpcs: BTreeMap<&'a str, Vpc>,
    pub(crate) subnets: BTreeMap<&'a str, Subnet<'a>>,
    pub(crate) gateways: BTreeMap<&'a str, Gateway<'a>>,
    /// Who asks for external addresses.
    pub(crate) asks: Vec<Ask<'a>>,
}

impl<'a> Meaning<'a> {
    pub(crate) fn of(objects: &'a Objects, database: &Database, foreign: &Foreign) -> Self {
        let mut meaning = Self {
            objects,
            vpcs: BTreeMap::new(),
            subnets: BTreeMap::new(),
            gateways: outside::gateways(objects),
            asks: Vec::new(),
        };
        for (name, (meta, spec)) in &objects.vpcs {
            let router = match &spec.logical_router {
                None => Some(Router::Own),
                Some(text) => stranger(database, foreign, "Logical_Router", text)
                    .filter(|uuid| {
                        !objects.vpcs.iter().any(|(other, (other_meta, spec))| {
                            (other_meta.created, other) < (meta.created, name)
                                && spec.logical_router.as_ref().is_some_and(|text| {
                                    stranger(database, foreign, "Logical_Router", text)
                                        == Some(*uuid)
                                })
                        })
                    })
                    .map(Router::Adopted),
            };
            let ranges = networks(&spec.service_cidrs).unwrap_or_default();
            meaning.vpcs.insert(name, Vpc { router, ranges });
        }
        let mut order: Vec<(i64, &String)> = objects
            .subnets
            .iter()
            .map(|(name, (meta, _))| (meta.created, name))
            .collect();
        order.sort_unstable();
        for (created, name) in order {
            let spec = &objects.subnets[name].1;
            let subnet = meaning.subnet(name, created, spec, database, foreign);
            meaning.subnets.insert(name, subnet);
        }
        meaning.asks = meaning.asks();
        meaning
    }

    /// A Subnet, given that all older ones are judged.
    fn subnet(
        &self,
        name: &str,
        created: i64,
        spec: &'a SubnetSpec,
        database: &Database,
        foreign: &Foreign,
    ) -> Subnet<'a> {
        let nets = networks(&spec.cidrs).unwrap_or_default();
        let given: Vec<IpAddr> = spec
            .gateways
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect();
        let gateways = nets
            .iter()
            .filter_map(|net| {
                let given = given.iter().copied();
                let mut given = given.filter(|gateway| same_family(*gateway, net.addr()));
                given.next().or_else(|| first_host(*net))
            })
            .collect();
        let place = match &spec.logical_switch {
            _ if !self.vpcs.contains_key(spec.vpc.as_str()) => Place::Waiting,
            None if nets.is_empty() => Place::Waiting,
            None => Place::Own,
            Some(text) => {
                let taken = |uuid: &Uuid| {
                    self.objects.subnets.iter().any(|(other, (meta, spec))| {
                        (meta.created, other.as_str()) < (created, name)
                            && spec.logical_switch.as_ref().is_some_and(|text| {
                                stranger(database, foreign, "Logical_Switch", text) == Some(*uuid)
                            })
                    })
                };
                stranger(database, foreign, "Logical_Switch", text)
                    .filter(|uuid| !taken(uuid))
                    .map_or(Place::Waiting, Place::Adopted)
            }
        };
        let overlaps = |other: &[IpNet]| {
            nets.iter().any(|net| {
                other
                    .iter()
                    .any(|other| other.contains(&net.network()) || net.contains(&other.network()))
            })
        };
        let service_ranges = self.vpcs.get(spec.vpc.as_str()).map(|vpc| &vpc.ranges);
        let of_another = self
            .subnets
            .values()
            .any(|other| other.vpc == spec.vpc && other.stands() && overlaps(&other.nets));
        let overlapping = of_another || service_ranges.is_some_and(|ranges| overlaps(ranges));
        Subnet {
            vpc: &spec.vpc,
            place: match place {
                Place::Waiting => Place::Waiting,
                _ if overlapping => Place::Overlapping,
                place => place,
            },
            nets,
            gateways,
            excluded: spec
                .excluded_addresses
                .iter()
                .filter_map(|text| range(text))
                .collect(),
            spec,
            created,
        }
    }

    /// Whether a Vpc is there and lets the namespace in.
    pub(crate) fn allows(&self, vpc: &str, namespace: &str) -> bool {
        self.objects.vpcs.get(vpc).is_some_and(|(_, spec)| {
            self.precision(&spec.allowed_namespaces, namespace)
                .is_some()
        })
    }

    /// How precisely a rule means a namespace: 0 by name, 1 by labels, 2 as all.
    fn precision(&self, rule: &NamespaceRule, namespace: &str) -> Option<u8> {
        let mut labels = self
            .objects
            .namespaces
            .get(namespace)
            .cloned()
            .unwrap_or_default();
        labels.insert("kubernetes.io/metadata.name".into(), namespace.to_owned());
        if rule.names.iter().any(|name| name == namespace) {
            return Some(0);
        }
        if rule
            .selector
            .as_ref()
            .is_some_and(|selector| selects(selector, &labels))
        {
            return Some(1);
        }
        (rule.from == NamespacesFrom::All).then_some(2)
    }

    /// The Subnet that a namespace's Pods go to.
    pub(crate) fn default_subnet(&self, namespace: &str) -> Option<&'a str> {
        self.subnets
            .iter()
            .filter(|(_, subnet)| {
                subnet.place != Place::Overlapping && self.allows(subnet.vpc, namespace)
            })
            .filter_map(|(name, subnet)| {
                let precision = self.precision(&subnet.spec.default_for_namespaces, namespace)?;
                Some((precision, subnet.created, *name))
            })
            .min()
            .map(|(_, _, name)| name)
    }

    /// The addresses a VNic names; `None` if they cannot be read, and are then as good as not named.
    pub(crate) fn given(&self, spec: &VNicSpec) -> Option<Vec<IpAddr>> {
        unicast(&spec.addresses)
    }
}

/// The row of somebody else that a name or a UUID means.
fn stranger(database: &Database, foreign: &Foreign, table: &str, text: &str) -> Option<Uuid> {
    let rows = || {
        foreign
            .range((table.to_owned(), Uuid::nil())..=(table.to_owned(), Uuid::max()))
            .map(|((_, uuid), _)| *uuid)
            .filter_map(|uuid| Some((uuid, database.row(table, uuid)?)))
    };
    if let Some((uuid, _)) = rows().find(|(uuid, _)| uuid.to_string() == text) {
        return Some(uuid);
    }
    let mut named = rows().filter(|(_, row)| row.get_str("name") == Some(text));
    let found = named.next()?.0;
    named.next().is_none().then_some(found)
}

/// Whether a selector matches (apimachinery: all requirements hold; an empty selector matches everything).
pub(crate) fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let pairs = selector.match_labels.iter().flatten();
    let expressions = selector.match_expressions.iter().flatten();
    pairs
        .into_iter()
        .all(|(key, value)| labels.get(key) == Some(value))
        && expressions.into_iter().all(|expression| {
            let value = labels.get(&expression.key);
            let listed =
                value.is_some_and(|value| expression.values.iter().flatten().any(|v| v == value));
            match expression.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

pub(crate) fn same_family(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4()
}

/// Networks, at most one of each family; `None` if any is malformed.
fn networks(texts: &[String]) -> Option<Vec<IpNet>> {
    let nets: Vec<IpNet> = texts
        .iter()
        .map(|text| text.parse::<IpNet>().ok().filter(|net| net.trunc() == *net))
        .collect::<Option<_>>()?;
    let families: BTreeSet<bool> = nets.iter().map(|net| net.addr().is_ipv4()).collect();
    (families.len() == nets.len()).then_some(nets)
}

/// Addresses a workload can have, at most one of each family; `None` if any is not.
pub(crate) fn unicast(texts: &[String]) -> Option<Vec<IpAddr>> {
    let addresses: Vec<IpAddr> = texts
        .iter()
        .map(|text| {
            let address: IpAddr = text.parse().ok()?;
            let bad = address.is_unspecified() || address.is_loopback() || address.is_multicast();
            (!bad).then_some(address)
        })
        .collect::<Option<_>>()?;
    let families: BTreeSet<bool> = addresses.iter().map(IpAddr::is_ipv4).collect();
    (families.len() == addresses.len()).then_some(addresses)
}

fn range(text: &str) -> Option<(IpAddr, IpAddr)> {
    if let Some((first, last)) = text.split_once('-') {
        return Some((first.parse().ok()?, last.parse().ok()?));
    }
    if let Ok(net) = text.parse::<IpNet>() {
        return Some((net.network(), net.broadcast()));
    }
    let single = text.parse().ok()?;
    Some((single, single))
}

/// Not the network's own address, nor IPv4's broadcast address.
pub(crate) fn is_host(net: IpNet, address: IpAddr) -> bool {
    net.contains(&address)
        && address != net.network()
        && !(address.is_ipv4() && address == net.broadcast())
}

fn first_host(net: IpNet) -> Option<IpAddr> {
    net.hosts().find(|host| is_host(net, *host))
}

/// The hosts of a network that is small enough to run out.
pub(crate) fn hosts(net: IpNet) -> Option<BTreeSet<IpAddr>> {
    let bits = if net.addr().is_ipv4() { 32 } else { 128 } - net.prefix_len();
    (bits <= 9).then(|| net.hosts().filter(|host| is_host(net, *host)).collect())
}
