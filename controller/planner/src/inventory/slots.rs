//! Services with backends in other VPCs than their own. Each VPC that takes part has an address for each such service,
//! of the VPC's share of the range of per-VPC VIPs: what leads into the VPC is sent there, and balanced by its own
//! router, so that ranges of the VPCs may be the same.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hashbrown::HashMap;
use ovsdb_model::{Database, Table};

use super::crossing::NUMBERS;
use super::settling::ROUNDS;
use super::{Inventory, Service};
use crate::family::Family;
use crate::name::{Name, ObjectName};
use crate::nb::{self, LoadBalancer};
use crate::unit::Unit;

fn note(index: &mut HashMap<Name, BTreeSet<ObjectName>>, vpc: &Name, name: &ObjectName) -> bool {
    let services = index.entry(vpc.clone()).or_default();
    services.insert(name.clone()) && services.len() == 1
}

fn strike(index: &mut HashMap<Name, BTreeSet<ObjectName>>, vpc: &Name, name: &ObjectName) -> bool {
    let Some(services) = index.get_mut(vpc) else {
        return false;
    };
    services.remove(name);
    if services.is_empty() {
        index.remove(vpc);
        return true;
    }
    false
}

impl Inventory {
    /// Takes in that a service is there, or has changed.
    pub(super) fn crossing_arrived(&mut self, name: &ObjectName) {
        if self.crossings.has.contains_key(name) {
            self.crossings.to_settle.insert(name.clone());
        }
        let Some(service) = self.services.get(name).filter(|service| service.crosses()) else {
            return;
        };
        for vpc in service.elsewhere() {
            note(&mut self.crossings.guests, vpc, name);
        }
        let vpc = service.vpc.clone();
        if note(&mut self.crossings.own, &vpc, name) {
            self.dirty.add(Unit::Vpc(vpc.clone()));
        }
        self.dirty.add(Unit::Calls(vpc));
    }

    /// The opposite, while the service is still known. `keep`: it changes only, and has the addresses it may need still.
    pub(super) fn crossing_leaves(&mut self, name: &ObjectName, keep: bool) {
        if self.crossings.has.contains_key(name) {
            if keep {
                self.crossings.to_settle.insert(name.clone());
            } else {
                self.release_slots(name);
            }
        }
        let Some(service) = self.services.get(name).filter(|service| service.crosses()) else {
            return;
        };
        for vpc in service.elsewhere() {
            strike(&mut self.crossings.guests, vpc, name);
        }
        let vpc = service.vpc.clone();
        if strike(&mut self.crossings.own, &vpc, name) {
            self.dirty.add(Unit::Vpc(vpc.clone()));
        }
        self.dirty.add(Unit::Calls(vpc));
    }

    /// Gives all back that a service has in VPCs.
    pub(super) fn release_slots(&mut self, name: &ObjectName) {
        let vpcs = self.crossings.has.get(name).cloned();
        for vpc in vpcs.into_iter().flatten() {
            self.release_slot(&vpc, name);
        }
        self.crossings.to_settle.remove(name);
    }

    fn release_slot(&mut self, vpc: &Name, name: &ObjectName) {
        let Some(slots) = self.crossings.slots.get_mut(vpc) else {
            return;
        };
        let starved = slots.release(&Unit::Service(name.clone()));
        let (none, idle) = (slots.is_empty(), slots.is_idle());
        let changed = starved.is_some();
        for unit in starved.into_iter().flatten() {
            if let Unit::Service(waiting) = unit {
                self.crossings.to_settle.insert(waiting);
            }
        }
        if let Some(vpcs) = self.crossings.has.get_mut(name) {
            vpcs.remove(vpc);
            if vpcs.is_empty() {
                self.crossings.has.remove(name);
            }
        }
        if none && changed {
            self.dirty.add(Unit::Vpc(vpc.clone()));
        }
        if idle {
            self.crossings.slots.remove(vpc);
        }
        if changed {
            self.slot_changed(name);
        }
    }

    /// A service reaches into a VPC now, or does not any more.
    fn slot_changed(&mut self, name: &ObjectName) {
        self.dirty.add(Unit::Service(name.clone()));
        let Some(service) = self.services.get(name) else {
            return;
        };
        let home = service.vpc.clone();
        self.dirty.add(Unit::Calls(home.clone()));
        let leaves_by_itself = self.vpcs.get(&home).is_some_and(|vpc| {
            Family::ALL
                .into_iter()
                .any(|family| vpc.has_default_route(family))
        });
        if leaves_by_itself {
            // Its way to other VPCs is a route of its own then.
            self.dirty.add(Unit::Vpc(home));
        }
    }

    /// The VPCs that are to lead to a service's backends: where it is let in, and can be reached.
    fn slots_wanted(&self, name: &ObjectName) -> BTreeSet<Name> {
        let Some(service) = self.admitted(name) else {
            return BTreeSet::new();
        };
        let targets = service.targets().into_iter();
        let reached = targets.filter(|vpc| self.reaches(name, service, vpc));
        reached.cloned().collect()
    }

    /// Finds numbers for all services that need some: those that their rows record, then those that their names hash to, or
    /// the next that are free.
    pub(super) fn settle_slots(&mut self, database: &Database) {
        for _ in 0..ROUNDS {
            let names = std::mem::take(&mut self.crossings.to_settle);
            if names.is_empty() {
                return;
            }
            let mut wanting = Vec::with_capacity(names.len());
            for name in names {
                let wanted = self.slots_wanted(&name);
                let has = self.crossings.has.get(&name).cloned();
                for vpc in has.iter().flatten().filter(|vpc| !wanted.contains(*vpc)) {
                    self.release_slot(vpc, &name);
                }
                // Nor does it wait where it may not be.
                let waits = self.crossings.waits.remove(&name);
                for vpc in waits.iter().flatten().filter(|vpc| !wanted.contains(*vpc)) {
                    self.release_slot(vpc, &name);
                }
                let service = self.services.get(&name);
                let created = service.map_or(0, |service| service.header.created);
                wanting.push((created, name, wanted));
            }
            wanting.sort_unstable();
            for (_, name, wanted) in &wanting {
                for vpc in wanted {
                    if let Some(number) = self.recorded_slot(name, vpc, database) {
                        self.take_slot(vpc, name, [number]);
                    }
                }
            }
            for (_, name, wanted) in &wanting {
                let count = u16::from(*NUMBERS.end());
                let start = u16::from(super::bucket(name)) % count;
                // Both terms are below the count, which fits.
                let numbers =
                    || (0..count).filter_map(|step| u8::try_from((start + step) % count + 1).ok());
                for vpc in wanted {
                    self.take_slot(vpc, name, numbers());
                }
            }
        }
    }

    fn take_slot(&mut self, vpc: &Name, name: &ObjectName, numbers: impl IntoIterator<Item = u8>) {
        let unit = Unit::Service(name.clone());
        let slots = self.crossings.slots.entry(vpc.clone()).or_default();
        if slots.of(&unit).is_some() {
            return;
        }
        let first = slots.is_empty();
        if slots.choose(&unit, numbers) {
            let has = self.crossings.has.entry(name.clone()).or_default();
            has.insert(vpc.clone());
            if first {
                self.dirty.add(Unit::Vpc(vpc.clone()));
            }
            self.slot_changed(name);
        } else {
            let waits = self.crossings.waits.entry(name.clone()).or_default();
            waits.insert(vpc.clone());
        }
    }

    /// The number that the row of the service's load balancer in a VPC records, if nobody else has it.
    fn recorded_slot(&self, name: &ObjectName, vpc: &Name, database: &Database) -> Option<u8> {
        let unit = Unit::Service(name.clone());
        let slots = self.crossings.slots.get(vpc);
        if slots.is_some_and(|slots| slots.of(&unit).is_some()) {
            return None;
        }
        let rows = self.recorded_slots(&unit, database);
        let (_, number) = rows.into_iter().find(|(of, _)| of == vpc)?;
        let free = slots.is_none_or(|slots| slots.is_open_to(number, &unit));
        free.then_some(number)
    }

    /// The numbers that the rows of a service record, each with the VPC.
    fn recorded_slots(&self, unit: &Unit, database: &Database) -> Vec<(Name, u8)> {
        let label = unit.to_string().into();
        let rows = database.find(LoadBalancer::NAME, nb::BY_UNIT, &label);
        let read = rows.filter_map(|(_, row)| {
            let (_, vpc) = row.get_str("name")?.rsplit_once("/vpc/")?;
            let mut vips = nb::vips(&row).into_iter();
            let number = vips.find_map(|vip| self.config.ranges.slot(vip.ip()))?;
            NUMBERS.contains(&number).then(|| (vpc.into(), number))
        });
        read.collect()
    }

    /// Load balancers whose service is not there hold their numbers, until they may be deleted.
    pub(super) fn haunt_slots(&mut self, unit: &Unit, database: &Database) {
        let Unit::Service(name) = unit else { return };
        for (vpc, number) in self.recorded_slots(unit, database) {
            let slots = self.crossings.slots.entry(vpc.clone()).or_default();
            if slots.claim(number, unit) {
                let has = self.crossings.has.entry(name.clone()).or_default();
                has.insert(vpc);
            }
        }
    }

    /// All services with backends in other VPCs wish for the default gateway if for nothing else: it is another.
    pub(super) fn crossings_changed(&mut self) {
        let services: Vec<ObjectName> = self.crossings.own.values().flatten().cloned().collect();
        for name in services {
            self.dirty.add(Unit::Service(name.clone()));
            self.wish_changed(&name);
        }
    }

    /// The services of a VPC that have backends in others.
    pub(super) fn crossings_of(&self, vpc: &Name) -> Vec<ObjectName> {
        let own = self.crossings.own.get(vpc).into_iter().flatten();
        own.cloned().collect()
    }

    /// The services of other VPCs that have backends in this one.
    pub(super) fn guests_of(&self, vpc: &Name) -> Vec<ObjectName> {
        let guests = self.crossings.guests.get(vpc).into_iter().flatten();
        guests.cloned().collect()
    }

    /// True if services of the VPC have backends in others: they are balanced on switches only.
    pub(crate) fn has_crossings(&self, vpc: &Name) -> bool {
        self.crossings.own.contains_key(vpc)
    }

    /// True if services of the VPC reach into others.
    pub(crate) fn calls_others(&self, vpc: &Name) -> bool {
        let mut own = self.crossings.own.get(vpc).into_iter().flatten();
        own.any(|service| {
            let mut has = self.crossings.has.get(service).into_iter().flatten();
            has.any(|other| other != vpc)
        })
    }

    /// True if services reach into the VPC by addresses of its own share.
    pub(crate) fn is_called(&self, vpc: &Name) -> bool {
        self.crossings
            .slots
            .get(vpc)
            .is_some_and(|slots| !slots.is_empty())
    }

    /// The address by which a service reaches into a VPC, if it has one.
    pub(crate) fn vpc_vip(
        &self,
        vpc: &Name,
        service: &ObjectName,
        family: Family,
    ) -> Option<IpAddr> {
        let slots = self.crossings.slots.get(vpc)?;
        let number = slots.of(&Unit::Service(service.clone()))?;
        let join = self.join_of(vpc)?;
        Some(self.config.ranges.vpc_vip(join.number, number, family))
    }

    /// The addresses that workloads of a VPC may call: those by which its services reach into other VPCs.
    pub(crate) fn calls(&self, vpc: &Name) -> BTreeSet<IpAddr> {
        let mut calls = BTreeSet::new();
        for name in self.crossings.own.get(vpc).into_iter().flatten() {
            let Some(service) = self.admitted(name) else {
                continue;
            };
            for target in service.elsewhere() {
                if self.reaches(name, service, target) {
                    let vips = Family::ALL.map(|family| self.vpc_vip(target, name, family));
                    calls.extend(vips.into_iter().flatten());
                }
            }
        }
        calls
    }

    /// True if a service may reach into a VPC, and there is a way: a gateway that the routers of both have joined.
    pub(crate) fn reaches(&self, name: &ObjectName, service: &Service, target: &Name) -> bool {
        let own = self.join_of(&service.vpc).map(|join| &join.gateway);
        let theirs = self.join_of(target).map(|join| &join.gateway);
        let routed = |vpc| self.vpcs.get(vpc).is_some_and(|vpc| vpc.router.is_some());
        own.is_some()
            && own == theirs
            && self.vpc_for(&name.namespace, target).is_ok()
            && routed(&service.vpc)
            && routed(target)
    }
}
