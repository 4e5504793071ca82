//! Who selects whom: services by the labels their selectors require, workloads by the labels they have.

use super::ipam::Scope;
use super::labels::{LabelId, Requirement, Selector};
use super::topology::Members;
use super::workload::{Nature, Workload};
use super::{Addresses, Backends, Inventory, Service, Source};
use crate::family::Family;
use crate::name::{Name, ObjectName};
use crate::unit::Unit;
use ovsdb_model::Uuid;
use std::net::IpAddr;

/// A workload that an entry of backends names, in the service's VPC.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    pub(crate) workload: &'a Workload,
    /// The addresses it is reached at.
    pub(crate) addresses: Addresses,
}

/// How many workloads an entry's selector matches, and which of them are in the VPC.
#[derive(Debug, Default)]
pub(crate) struct Chosen<'a> {
    pub(crate) members: Vec<Member<'a>>,
    /// Matched, but in another VPC or in none.
    pub(crate) outside: usize,
}

impl Inventory {
    /// The services, each once, that select the workload.
    pub(super) fn selecting(&self, id: u32) -> Vec<ObjectName> {
        let mut found: Vec<ObjectName> = Vec::new();
        let Some(workload) = self.workloads.get(id) else {
            return found;
        };
        let namespace = &workload.name.namespace;
        let Some(space) = self.spaces.get(namespace) else {
            return found;
        };
        let anchored = workload
            .labels
            .ids()
            .iter()
            .filter_map(|label| space.by_anchor.get(label))
            .flatten();
        for name in anchored.chain(&space.unanchored) {
            let name = ObjectName {
                namespace: namespace.clone(),
                name: name.clone(),
            };
            if !found.contains(&name)
                && self
                    .services
                    .get(&name)
                    .is_some_and(|service| self.selects(service, workload))
            {
                found.push(name);
            }
        }
        found
    }

    fn selects(&self, service: &Service, workload: &Workload) -> bool {
        service.backends.iter().any(|entry| {
            workload.nature.matches(entry.kind)
                && matches!(&entry.source, Source::Selector(selector) if selector.matches(&self.labels, &workload.labels))
        })
    }

    /// The workloads an entry with a selector names.
    pub(crate) fn chosen(&self, namespace: &Name, vpc: &Name, entry: &Backends) -> Chosen<'_> {
        let mut chosen = Chosen::default();
        let Source::Selector(selector) = &entry.source else {
            return chosen;
        };
        for id in self.candidates(namespace, selector) {
            let Some(workload) = self.workloads.get(id) else {
                continue;
            };
            if !workload.nature.matches(entry.kind)
                || !selector.matches(&self.labels, &workload.labels)
            {
                continue;
            }
            let subnet = workload
                .subnet
                .as_ref()
                .and_then(|name| self.subnets.get(name));
            if subnet.is_some_and(|subnet| subnet.vpc == *vpc && subnet.problem.is_none()) {
                chosen.members.push(Member {
                    workload,
                    addresses: self.reachable(workload),
                });
            } else {
                chosen.outside += 1;
            }
        }
        chosen
    }

    /// Workloads that may match: those with one of the values of the requirement that fewest workloads meet.
    fn candidates(&self, namespace: &Name, selector: &Selector) -> Vec<u32> {
        let Some(space) = self.spaces.get(namespace) else {
            return Vec::new();
        };
        let mut best: Option<(usize, Vec<LabelId>)> = None;
        for (key, values) in selector.required() {
            let ids: Vec<LabelId> = values
                .iter()
                .filter_map(|value| self.labels.find(key, value))
                .collect();
            let count = ids
                .iter()
                .map(|id| space.by_label.get(id).map_or(0, Members::len))
                .sum();
            if best.as_ref().is_none_or(|(least, _)| count < *least) {
                best = Some((count, ids));
            }
        }
        match best {
            // An object has one value for a key: the sets are disjoint.
            Some((_, ids)) => ids
                .iter()
                .filter_map(|id| space.by_label.get(id))
                .flat_map(Members::iter)
                .collect(),
            None => space.workloads.iter().copied().collect(),
        }
    }

    /// The addresses a workload holds.
    pub(crate) fn held(&self, workload: &Workload) -> Addresses {
        let subnet = workload.subnet.as_ref();
        let Some((name, subnet)) = subnet.and_then(|name| self.subnets.get_key_value(name)) else {
            return Addresses::default();
        };
        if workload.nature == Nature::Vmi {
            return workload
                .reported
                .iter()
                .filter(|address| subnet.range_of(*address).is_some())
                .collect();
        }
        let Some(unit) = workload.unit() else {
            return Addresses::default();
        };
        let scope = Scope::Subnet(name.clone());
        self.ipam.held(&scope, &unit, &workload.claims)
    }

    /// The addresses a workload is reached at: those it holds, if it has a port. One that was refused an address (of one
    /// family, say) has no port, and is not reached at the others it holds either.
    fn reachable(&self, workload: &Workload) -> Addresses {
        let held = self.held(workload);
        if workload.nature == Nature::Vmi {
            return held;
        }
        let fits = workload.subnet.as_ref().is_some_and(|name| {
            let subnet = self.subnets.get(name);
            subnet.is_some_and(|subnet| {
                self.port_refusal(workload, name, subnet).is_none()
                    && self.mac_conflict(workload, subnet).is_none()
            })
        });
        if fits && held == workload.claims && !workload.starved {
            held
        } else {
            Addresses::default()
        }
    }

    pub(super) fn insert_service(&mut self, name: ObjectName, mut service: Service) {
        let namespace = name.namespace.clone();
        let mut anchors: Vec<LabelId> = Vec::new();
        for entry in &service.backends {
            let Source::Selector(selector) = &entry.source else {
                continue;
            };
            match self.anchor(&namespace, selector) {
                Some(requirement) => {
                    for label in self.labels.acquire_requirement(&requirement) {
                        if anchors.contains(&label) {
                            self.labels.release_one(label);
                        } else {
                            anchors.push(label);
                        }
                    }
                }
                None => service.unanchored = true,
            }
        }
        let short = name.name.clone();
        let space = self.space(&namespace);
        space.services.insert(short.clone());
        for label in &anchors {
            space
                .by_anchor
                .entry(*label)
                .or_default()
                .push(short.clone());
        }
        if service.unanchored {
            space.unanchored.push(short);
        }
        service.anchors = anchors.into();
        self.services_of
            .entry(service.vpc.clone())
            .or_default()
            .insert(name.clone());
        if service.dns {
            self.buckets
                .entry((service.vpc.clone(), super::bucket(&name)))
                .or_default()
                .insert(name.clone());
        }
        self.services.insert(name, Box::new(service));
    }

    /// The requirement to index a selector by: the one whose values fewest other services are indexed by.
    fn anchor(&self, namespace: &Name, selector: &Selector) -> Option<Requirement> {
        let space = self.spaces.get(namespace);
        let crowd = |requirement: &Requirement| -> usize {
            let Requirement::In(key, values) = requirement else {
                return usize::MAX;
            };
            let labels = values
                .iter()
                .filter_map(|value| self.labels.find(key, value));
            labels
                .filter_map(|label| space?.by_anchor.get(&label))
                .map(Vec::len)
                .sum()
        };
        let required = selector
            .0
            .iter()
            .filter(|requirement| matches!(requirement, Requirement::In(..)));
        required
            .min_by_key(|requirement| crowd(requirement))
            .cloned()
    }

    /// Takes a service out of the indexes; the map of services keeps it.
    pub(super) fn unindex_service(&mut self, name: &ObjectName) {
        let Some(service) = self.services.get_mut(name) else {
            return;
        };
        let anchors = std::mem::take(&mut service.anchors);
        let unanchored = std::mem::take(&mut service.unanchored);
        let vpc = service.vpc.clone();
        if let Some(space) = self.spaces.get_mut(&name.namespace) {
            space.services.remove(&name.name);
            for label in &anchors {
                if let Some(names) = space.by_anchor.get_mut(label) {
                    names.retain(|other| *other != name.name);
                    if names.is_empty() {
                        space.by_anchor.remove(label);
                    }
                }
            }
            if unanchored {
                space.unanchored.retain(|other| *other != name.name);
            }
        }
        for label in anchors {
            self.labels.release_one(label);
        }
        if let Some(names) = self.services_of.get_mut(&vpc) {
            names.remove(name);
            if names.is_empty() {
                self.services_of.remove(&vpc);
            }
        }
        let key = (vpc, super::bucket(name));
        if let Some(names) = self.buckets.get_mut(&key) {
            names.remove(name);
            if names.is_empty() {
                self.buckets.remove(&key);
            }
        }
    }

    /// The services whose names are in a bucket of a VPC's DNS.
    pub(crate) fn bucket(
        &self,
        vpc: &Name,
        bucket: u8,
    ) -> impl Iterator<Item = (&ObjectName, &Service)> {
        let names = self.buckets.get(&(vpc.clone(), bucket));
        names
            .into_iter()
            .flatten()
            .filter_map(|name| self.services.get_key_value(name))
            .map(|(name, service)| (name, &**service))
    }

    /// The service of this name.
    pub(crate) fn service(&self, name: &ObjectName) -> Option<&Service> {
        self.services.get(name).map(|service| &**service)
    }

    /// The cluster addresses a service holds, in the order of its families.
    pub(crate) fn service_vips(&self, name: &ObjectName, service: &Service) -> Vec<IpAddr> {
        let (unit, outcome) = (Unit::Service(name.clone()), &service.outcome);
        let held = self
            .ipam
            .held(&service.cluster_scope(), &unit, &outcome.claims);
        let families = outcome.families.iter();
        families.filter_map(|family| held.get(*family)).collect()
    }

    /// Who holds a cluster address.
    pub(crate) fn vip_holder(&self, vpc: &Name, address: IpAddr) -> Option<&Unit> {
        self.ipam.holder(&Scope::Vpc(vpc.clone()), address)
    }

    /// Who holds an address of a Subnet.
    pub(crate) fn holder(&self, subnet: &Name, address: IpAddr) -> Option<&Unit> {
        self.ipam.holder(&Scope::Subnet(subnet.clone()), address)
    }

    /// How many addresses of a Subnet are held, and how many there are, in one family.
    pub(crate) fn usage(&self, subnet: &Name, family: Family) -> (u128, u128) {
        self.ipam.usage(&Scope::Subnet(subnet.clone()), family)
    }

    /// The Vpc of this name.
    pub(crate) fn vpc(&self, name: &Name) -> Option<&super::Vpc> {
        self.vpcs.get(name)
    }

    /// The Subnet of this name.
    pub(crate) fn subnet(&self, name: &Name) -> Option<&super::Subnet> {
        self.subnets.get(name)
    }

    /// The Subnets of a Vpc, by name.
    pub(crate) fn subnets_of(&self, vpc: &Name) -> impl Iterator<Item = (&Name, &super::Subnet)> {
        let names = self.subnets_of.get(vpc).into_iter().flatten();
        names.filter_map(|name| self.subnets.get_key_value(name))
    }

    /// The workload of a port's unit.
    pub(crate) fn workload(&self, unit: &Unit) -> Option<&Workload> {
        self.workloads.of_unit(unit).map(|(_, workload)| workload)
    }

    /// The name of an adopted router.
    pub(crate) fn router_name(&self, row: Uuid) -> Option<&Name> {
        self.routers.name(row)
    }

    /// The name of an adopted switch.
    pub(crate) fn switch_name(&self, row: Uuid) -> Option<&Name> {
        self.switches.name(row)
    }
}
