//! Services with backends in other VPCs than their own. Each VPC that takes part has an address for each such service,
//! of the VPC's share of the range of per-VPC VIPs: what leads into the VPC is sent there, and balanced by its own
//! router, so that ranges of the VPCs may be the same.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hashbrown::HashMap;
use ovsdb_model::Database;

use super::crossing::NUMBERS;
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
        let Some(service) = self.services.get(name).filter(|service| service.crosses()) else {
            return;
        };
        for vpc in service.elsewhere() {
            strike(&mut self.crossings.guests, vpc, name);
        }
        let (vpc, targets) = (service.vpc.clone(), owned(service.targets()));
        if strike(&mut self.crossings.own, &vpc, name) {
            self.dirty.add(Unit::Vpc(vpc.clone()));
        }
        self.dirty.add(Unit::Calls(vpc));
        if !keep {
            for target in targets {
                self.release_slot(&target, name);
            }
        }
    }

    /// Gives back what a changed service has in VPCs it no longer looks for backends in.
    pub(super) fn drop_slots(&mut self, name: &ObjectName, before: &[Name]) {
        let now = self.services.get(name).map(|service| service.targets());
        let now = now.unwrap_or_default();
        let gone: Vec<&Name> = before.iter().filter(|vpc| !now.contains(vpc)).collect();
        for vpc in gone {
            self.release_slot(vpc, name);
        }
    }

    fn release_slot(&mut self, vpc: &Name, name: &ObjectName) {
        let Some(slots) = self.crossings.slots.get_mut(vpc) else {
            return;
        };
        slots.starved.remove(name);
        if let Some(number) = slots.of.remove(name) {
            slots.taken.remove(&number);
            for waiting in std::mem::take(&mut slots.starved) {
                if let Some(service) = self.services.get(&waiting) {
                    let created = service.header.created;
                    self.pending_eips.insert((created, Unit::Service(waiting)));
                }
            }
        }
        if slots.of.is_empty() && slots.starved.is_empty() {
            self.crossings.slots.remove(vpc);
            self.dirty.add(Unit::Vpc(vpc.clone()));
        }
    }

    /// Claims the numbers that a service's rows record.
    pub(super) fn claim_slots(&mut self, name: &ObjectName, database: &Database) {
        let Some(service) = self.services.get(name) else {
            return;
        };
        for vpc in owned(service.targets()) {
            if let Some(number) = self.recorded_slot(name, &vpc, database) {
                self.take_slot(&vpc, name, number);
            }
        }
    }

    /// Finds numbers where none is recorded: that the service's name hashes to, or the next that is free.
    pub(super) fn allocate_slots(&mut self, name: &ObjectName) {
        let Some(service) = self.services.get(name) else {
            return;
        };
        for vpc in owned(service.targets()) {
            let slots = self.crossings.slots.entry(vpc.clone()).or_default();
            if slots.of.contains_key(name) {
                continue;
            }
            let count = u16::from(*NUMBERS.end());
            let start = u16::from(super::bucket(name)) % count;
            // Both terms are below the count, which fits.
            let free = (0..count)
                .filter_map(|step| u8::try_from((start + step) % count + 1).ok())
                .find(|number| !slots.taken.contains_key(number));
            match free {
                Some(number) => self.take_slot(&vpc, name, number),
                None => {
                    slots.starved.insert(name.clone());
                }
            }
        }
        self.dirty.add(Unit::Service(name.clone()));
    }

    fn take_slot(&mut self, vpc: &Name, name: &ObjectName, number: u8) {
        let slots = self.crossings.slots.entry(vpc.clone()).or_default();
        if slots.of.is_empty() {
            self.dirty.add(Unit::Vpc(vpc.clone()));
        }
        slots.taken.insert(number, name.clone());
        slots.of.insert(name.clone(), number);
        slots.starved.remove(name);
        if let Some(service) = self.services.get(name) {
            self.dirty.add(Unit::Calls(service.vpc.clone()));
        }
    }

    /// The number that the row of the service's load balancer in a VPC records, if nobody else has it.
    fn recorded_slot(&self, name: &ObjectName, vpc: &Name, database: &Database) -> Option<u8> {
        let slots = self.crossings.slots.get(vpc);
        if slots.is_some_and(|slots| slots.of.contains_key(name)) {
            return None;
        }
        let unit = Unit::Service(name.clone());
        let rows =
            ["tcp", "udp", "sctp"].map(|protocol| self.ids.vpc_balancer(&unit, protocol, vpc));
        let rows = rows
            .iter()
            .filter_map(|row| nb::row_of::<LoadBalancer>(database, *row));
        let number = rows
            .flat_map(|row| nb::vips(&row))
            .find_map(|vip| self.config.ranges.slot(vip.ip()))?;
        let free = slots.is_none_or(|slots| !slots.taken.contains_key(&number));
        (free && NUMBERS.contains(&number)).then_some(number)
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

    /// True if services of the VPC have backends in others.
    pub(crate) fn calls_others(&self, vpc: &Name) -> bool {
        self.crossings.own.contains_key(vpc)
    }

    /// True if services reach into the VPC by addresses of its own share.
    pub(crate) fn is_called(&self, vpc: &Name) -> bool {
        self.crossings
            .slots
            .get(vpc)
            .is_some_and(|slots| !slots.of.is_empty())
    }

    /// The address by which a service reaches into a VPC, if it has one.
    pub(crate) fn vpc_vip(
        &self,
        vpc: &Name,
        service: &ObjectName,
        family: Family,
    ) -> Option<IpAddr> {
        let number = self.crossings.slots.get(vpc)?.of.get(service)?;
        let join = self.join_of(vpc)?;
        Some(self.config.ranges.vpc_vip(join.number, *number, family))
    }

    /// The addresses that workloads of a VPC may call: those by which its services reach into other VPCs.
    pub(crate) fn calls(&self, vpc: &Name) -> BTreeSet<IpAddr> {
        let mut calls = BTreeSet::new();
        for name in self.crossings.own.get(vpc).into_iter().flatten() {
            let Some(service) = self.services.get(name) else {
                continue;
            };
            if self.vpc_for(&name.namespace, vpc).is_err() {
                continue;
            }
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

fn owned(names: BTreeSet<&Name>) -> Vec<Name> {
    names.into_iter().cloned().collect()
}
