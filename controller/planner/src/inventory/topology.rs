//! Vpcs, Subnets, namespaces, nodes: few objects, on which many depend.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hashbrown::HashMap;
use ipnet::IpNet;
use ovsdb_model::Uuid;
use yusur_crds::{NamespaceRule, NamespacesFrom, SubnetSpec, VpcSpec};

use super::contradiction;
use super::ipam::pool::Room;
use super::labels::{LabelId, LabelSet, Labels, Selector};
use super::parse::{self, Problem};
use crate::family::Family;
use crate::input::Meta;
use crate::name::Name;
use crate::ranges::Ranges;
use crate::uid::Uid;

/// The reason of a Subnet whose range is another's.
pub(crate) const CIDR_CONFLICT: &str = "CIDRConflict";

/// What is kept of an object's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) uid: Uid,
    pub(crate) generation: i64,
    pub(crate) created: i64,
}

impl Header {
    pub(crate) fn new(meta: &Meta) -> Self {
        Self {
            uid: Uid::new(&meta.uid),
            generation: meta.generation,
            created: meta.created,
        }
    }
}

/// A [`NamespaceRule`], read.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Rule {
    all: bool,
    names: BTreeSet<Name>,
    selector: Option<Selector>,
}

/// How precisely a rule means a namespace: a name wins over labels, labels over everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Precision {
    Name,
    Labels,
    All,
}

impl Rule {
    pub(super) fn parse(field: &str, rule: &NamespaceRule) -> Result<Self, Problem> {
        Ok(Self {
            all: rule.from == NamespacesFrom::All,
            names: rule
                .names
                .iter()
                .map(|name| Name::from(name.as_str()))
                .collect(),
            selector: rule
                .selector
                .as_ref()
                .map(|selector| parse::selector(field, selector))
                .transpose()?,
        })
    }

    /// Whether, and how precisely, the rule means the namespace.
    pub(crate) fn allows(
        &self,
        name: &str,
        space: Option<&Space>,
        labels: &Labels,
    ) -> Option<Precision> {
        if self.names.contains(name) {
            return Some(Precision::Name);
        }
        if let Some(selector) = &self.selector
            && selector.matches(
                labels,
                space.map_or(&LabelSet::default(), |space| &space.labels),
            )
        {
            return Some(Precision::Labels);
        }
        self.all.then_some(Precision::All)
    }
}

/// Workloads that have a label: of a label which names one application, nearly always few.
#[derive(Clone, Debug)]
pub(crate) enum Members {
    /// One or two.
    Few(u32, Option<u32>),
    /// More.
    #[expect(clippy::box_collection, reason = "half the size of a set in place")]
    Many(Box<BTreeSet<u32>>),
}

impl Members {
    pub(crate) fn insert(&mut self, id: u32) {
        match self {
            Self::Few(first, second) if *first == id || *second == Some(id) => {}
            Self::Few(_, second @ None) => *second = Some(id),
            Self::Few(first, Some(second)) => {
                *self = Self::Many(Box::new([*first, *second, id].into()));
            }
            Self::Many(ids) => {
                ids.insert(id);
            }
        }
    }

    /// Takes one out; true if none is left.
    pub(crate) fn remove(&mut self, id: u32) -> bool {
        match self {
            Self::Few(first, second) => {
                if *second == Some(id) {
                    *second = None;
                } else if *first == id {
                    match second.take() {
                        Some(other) => *first = other,
                        None => return true,
                    }
                }
                false
            }
            Self::Many(ids) => {
                ids.remove(&id);
                ids.is_empty()
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(_, second) => 1 + usize::from(second.is_some()),
            Self::Many(ids) => ids.len(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        let (few, many) = match self {
            Self::Few(first, second) => (Some((*first, *second)), None),
            Self::Many(ids) => (None, Some(ids)),
        };
        let few = few
            .into_iter()
            .flat_map(|(first, second)| [Some(first), second]);
        few.flatten()
            .chain(many.into_iter().flat_map(|ids| ids.iter().copied()))
    }
}

/// A namespace and what is in it.
#[derive(Debug, Default)]
pub(crate) struct Space {
    /// The labels of the Namespace object; every one has `kubernetes.io/metadata.name`.
    pub(crate) labels: LabelSet,
    /// Workloads by label.
    pub(crate) by_label: HashMap<LabelId, Members>,
    /// All workloads.
    pub(crate) workloads: BTreeSet<u32>,
    /// All services.
    pub(crate) services: BTreeSet<Name>,
    /// All Eips.
    pub(crate) eips: BTreeSet<Name>,
    /// Services by a label that whatever they select must have.
    pub(crate) by_anchor: HashMap<LabelId, Vec<Name>>,
    /// Services with a selector that requires no particular label.
    pub(crate) unanchored: Vec<Name>,
}

/// A Vpc.
#[derive(Debug)]
pub(crate) struct Vpc {
    pub(crate) header: Header,
    pub(crate) cidrs: Vec<IpNet>,
    pub(crate) allowed: Rule,
    pub(crate) routes: BTreeSet<(IpNet, Option<IpAddr>)>,
    /// The EIP gateway its spec names.
    pub(crate) gateway: Option<Name>,
    /// Name or UUID of the existing router to use.
    pub(crate) adopts: Option<Name>,
    /// What is wrong with its own text.
    pub(crate) invalid: Option<Problem>,
    /// What is wrong, all in all; see [`super::Inventory::assess`].
    pub(crate) problem: Option<Problem>,
    /// Its router: our own, or the existing one if it is there.
    pub(crate) router: Option<Uuid>,
}

impl Vpc {
    pub(crate) fn parse(meta: &Meta, spec: &VpcSpec) -> Self {
        let mut invalid = None;
        let mut note = |problem: Problem| {
            invalid.get_or_insert(problem);
        };
        let cidrs =
            parse::networks("spec.serviceCIDRs", &spec.service_cidrs).unwrap_or_else(|problem| {
                note(problem);
                Vec::new()
            });
        let allowed = Rule::parse("spec.allowedNamespaces.selector", &spec.allowed_namespaces)
            .unwrap_or_else(|problem| {
                note(problem);
                Rule::default()
            });
        if let Some(problem) =
            contradiction::of_rule("spec.allowedNamespaces", &spec.allowed_namespaces)
        {
            note(problem);
        }
        let mut routes = BTreeSet::new();
        for (at, route) in spec.static_routes.iter().enumerate() {
            let read = || -> Result<(IpNet, Option<IpAddr>), Problem> {
                let to = parse::network(
                    &format!("spec.staticRoutes[{at}].destination"),
                    &route.destination,
                )?;
                if route.next_hop == "discard" {
                    return Ok((to, None));
                }
                let by =
                    parse::address(&format!("spec.staticRoutes[{at}].nextHop"), &route.next_hop)?;
                if by.is_ipv4() != to.addr().is_ipv4() {
                    return Err(Problem::invalid(format!(
                        "spec.staticRoutes[{at}]: destination {to} and nextHop {by} are of different families"
                    )));
                }
                Ok((to, Some(by)))
            };
            match read() {
                Ok(route) => {
                    routes.insert(route);
                }
                Err(problem) => note(problem),
            }
        }
        Self {
            header: Header::new(meta),
            cidrs,
            allowed,
            routes,
            gateway: spec.eip_gateway.as_deref().map(Name::from),
            adopts: spec.logical_router.as_deref().map(Name::from),
            invalid,
            problem: None,
            router: None,
        }
    }

    /// Whether another state of the object says the same. Names all fields, so that a new one is compared or left out on
    /// purpose.
    pub(super) fn same(&self, other: &Self) -> bool {
        let Self {
            header,
            cidrs,
            allowed,
            routes,
            gateway,
            adopts,
            invalid,
            problem: _,
            router: _,
        } = self;
        *header == other.header
            && *cidrs == other.cidrs
            && *allowed == other.allowed
            && *routes == other.routes
            && *gateway == other.gateway
            && *adopts == other.adopts
            && *invalid == other.invalid
    }

    /// Withdraws service ranges that are the system's own.
    pub(super) fn keep_off(&mut self, ranges: &Ranges) {
        let invalid = &mut self.invalid;
        self.cidrs.retain(|net| {
            let own = ranges.overlapped_by(*net);
            if let Some(own) = own {
                invalid.get_or_insert(Problem::new(
                    "ReservedRange",
                    format!(
                        "spec.serviceCIDRs: {net} overlaps {own}, which the system uses for itself; choose another range, \
                         or move the system's by the controller's flags"
                    ),
                ));
            }
            own.is_none()
        });
    }

    /// The service range of this family.
    pub(crate) fn range(&self, family: Family) -> Option<IpNet> {
        self.cidrs
            .iter()
            .copied()
            .find(|net| Family::of(net.addr()) == family)
    }

    /// True if its own routes say where everything else goes.
    pub(crate) fn has_default_route(&self, family: Family) -> bool {
        self.routes
            .iter()
            .any(|(net, _)| net.prefix_len() == 0 && Family::of(net.addr()) == family)
    }
}

/// A Subnet.
#[derive(Debug)]
pub(crate) struct Subnet {
    pub(crate) header: Header,
    pub(crate) vpc: Name,
    pub(crate) cidrs: Vec<IpNet>,
    /// The router's address in each of `cidrs`, in their order.
    pub(crate) gateways: Vec<IpAddr>,
    pub(crate) default_for: Rule,
    /// Name or UUID of the existing switch to use.
    pub(crate) adopts: Option<Name>,
    pub(crate) invalid: Option<Problem>,
    /// What is wrong, all in all; see [`super::Inventory::assess`]. A Subnet with a problem has no rows.
    pub(crate) problem: Option<Problem>,
    /// Its switch: our own, or the existing one if it is there.
    pub(crate) switch: Option<Uuid>,
    pub(crate) excluded: Vec<(IpAddr, IpAddr)>,
    /// Workloads attached to it.
    pub(crate) members: BTreeSet<u32>,
}

impl Subnet {
    pub(crate) fn parse(meta: &Meta, spec: &SubnetSpec) -> Self {
        let mut invalid = None;
        let mut note = |problem: Problem| {
            invalid.get_or_insert(problem);
        };
        let cidrs = parse::networks("spec.cidrs", &spec.cidrs).unwrap_or_else(|problem| {
            note(problem);
            Vec::new()
        });
        for net in &cidrs {
            let most = if net.addr().is_ipv4() { 30 } else { 126 };
            if net.prefix_len() > most {
                note(Problem::invalid(format!(
                    "spec.cidrs: {net} has no room for a gateway and a port; use at most /{most}"
                )));
            }
        }
        if cidrs.is_empty() && spec.logical_switch.is_none() && spec.cidrs.is_empty() {
            note(Problem::invalid(
                "spec.cidrs is empty; give a range, or the logicalSwitch of an existing subnet",
            ));
        }
        let given = parse::addresses("spec.gateways", &spec.gateways, parse::address)
            .unwrap_or_else(|problem| {
                note(problem);
                parse::Addresses::default()
            });
        for gateway in given.iter() {
            if let Err(problem) = parse::host("spec.gateways", gateway, &cidrs) {
                note(problem);
            }
        }
        let gateways: Vec<IpAddr> = cidrs
            .iter()
            .map(|net| {
                given
                    .get(Family::of(net.addr()))
                    .unwrap_or(parse::hosts(*net).0)
            })
            .collect();
        let mut excluded = Vec::new();
        for text in &spec.excluded_addresses {
            match parse::range("spec.excludedAddresses", text) {
                Ok(range) => excluded.push(range),
                Err(problem) => note(problem),
            }
        }
        if let Some(problem) =
            contradiction::of_rule("spec.defaultForNamespaces", &spec.default_for_namespaces)
        {
            note(problem);
        }
        if spec.logical_switch.is_some() && !spec.gateways.is_empty() {
            note(Problem::invalid(
                "spec.gateways belong to a Subnet made here; with logicalSwitch the existing router ports stay as they are",
            ));
        }
        let default_for = Rule::parse(
            "spec.defaultForNamespaces.selector",
            &spec.default_for_namespaces,
        )
        .unwrap_or_else(|problem| {
            note(problem);
            Rule::default()
        });
        Self {
            header: Header::new(meta),
            vpc: spec.vpc.as_str().into(),
            cidrs,
            gateways,
            default_for,
            adopts: spec.logical_switch.as_deref().map(Name::from),
            invalid,
            problem: None,
            switch: None,
            excluded,
            members: BTreeSet::new(),
        }
    }

    /// Whether another state of the object says the same; of all fields, as [`Vpc::same`].
    pub(super) fn same(&self, other: &Self) -> bool {
        let Self {
            header,
            vpc,
            cidrs,
            gateways,
            default_for,
            adopts,
            invalid,
            problem: _,
            switch: _,
            excluded,
            members: _,
        } = self;
        *header == other.header
            && *vpc == other.vpc
            && *cidrs == other.cidrs
            && *gateways == other.gateways
            && *default_for == other.default_for
            && *adopts == other.adopts
            && *invalid == other.invalid
            && *excluded == other.excluded
    }

    /// What addresses there are.
    pub(super) fn room(&self) -> Room {
        let ends = |net: &IpNet| (net.network(), net.broadcast());
        Room {
            whole: self.cidrs.iter().map(ends).collect(),
            own: self.gateways.clone(),
            wanted: self.cidrs.iter().map(|net| parse::hosts(*net)).collect(),
            excluded: self.excluded.clone(),
        }
    }

    /// True if its range is another's: it will have no ports, and Pods that did not ask for it go elsewhere. (A Subnet
    /// that only waits for something, its Vpc or the switch it adopts, keeps its Pods and their addresses.)
    pub(crate) fn lost(&self) -> bool {
        self.problem
            .as_ref()
            .is_some_and(|problem| problem.reason == CIDR_CONFLICT)
    }

    /// The range an address lies in.
    pub(crate) fn range_of(&self, address: IpAddr) -> Option<IpNet> {
        self.cidrs
            .iter()
            .copied()
            .find(|net| net.contains(&address))
    }

    /// The range of this family.
    pub(crate) fn range(&self, family: Family) -> Option<IpNet> {
        self.cidrs
            .iter()
            .copied()
            .find(|net| Family::of(net.addr()) == family)
    }
}

/// A cluster node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeEntry {
    pub(crate) chassis: Option<Name>,
    /// Ready, and not kept out of external load balancers.
    pub(crate) serves: bool,
}

/// Rows of others that Vpcs and Subnets may adopt, by their name.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    by_name: HashMap<Name, BTreeSet<Uuid>>,
    names: BTreeMap<Uuid, Name>,
}

impl Strangers {
    /// Notes the row's name (`None`: the row is gone, or ours). True if that is news.
    pub(crate) fn note(&mut self, uuid: Uuid, name: Option<&str>) -> bool {
        if self.names.get(&uuid).map(|name| &**name) == name {
            return false;
        }
        if let Some(old) = self.names.remove(&uuid)
            && let Some(same) = self.by_name.get_mut(&old)
        {
            same.remove(&uuid);
            if same.is_empty() {
                self.by_name.remove(&old);
            }
        }
        if let Some(name) = name {
            let name: Name = name.into();
            self.by_name.entry(name.clone()).or_default().insert(uuid);
            self.names.insert(uuid, name);
        }
        true
    }

    pub(crate) fn uuids(&self) -> impl Iterator<Item = Uuid> {
        self.names.keys().copied()
    }

    pub(crate) fn name(&self, uuid: Uuid) -> Option<&Name> {
        self.names.get(&uuid)
    }

    /// The row that `text`, a name or a UUID, means.
    pub(crate) fn find(&self, table: &str, text: &str) -> Result<Uuid, Problem> {
        if let Ok(uuid) = text.parse::<Uuid>()
            && self.names.contains_key(&uuid)
        {
            return Ok(uuid);
        }
        let found = self.by_name.get(text);
        match found.map_or(0, BTreeSet::len) {
            1 => found
                .and_then(|rows| rows.first())
                .copied()
                .ok_or_else(|| unknown(table, text)),
            0 => Err(unknown(table, text)),
            count => Err(Problem::new(
                "Ambiguous",
                format!(
                    "{count} rows of {table} in the OVN Northbound are named {text:?}; give the UUID of one instead"
                ),
            )),
        }
    }
}

fn unknown(table: &str, text: &str) -> Problem {
    Problem::new(
        "NotFoundInNorthbound",
        format!(
            "the OVN Northbound has no {table} {text:?} that this controller could adopt; create it, or correct the name \
             (rows made by this controller cannot be adopted)"
        ),
    )
}
