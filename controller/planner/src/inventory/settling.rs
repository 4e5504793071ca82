//! Who gets which Subnet, addresses, joins and numbers: settled in one go before units are handed out, so that the order
//! in which objects arrived does not matter. The inventory says who asks for what, [`super::ipam`] who gets it.

use ovsdb_model::Database;

use super::Inventory;
use super::ipam::{Granted, News, Request, Scope, records};
use super::parse::Problem;
use crate::family::Family;
use crate::name::Name;
use crate::nb;
use crate::unit::Unit;

/// What a unit asks for, and what else there is to say about it.
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) families: Vec<Family>,
    pub(super) problem: Option<Problem>,
    /// It had the MAC address it asks for.
    pub(super) had_mac: bool,
}

/// Handovers and freed addresses make more units pending; each round there are fewer.
pub(super) const ROUNDS: usize = 8;

impl Inventory {
    /// Judges Vpcs and Subnets, then attaches workloads and finds addresses for all units that may need some.
    pub(super) fn settle(&mut self, database: &Database) {
        for vpc in std::mem::take(&mut self.to_assess) {
            self.assess(&vpc);
        }
        self.assess_gateways(database);
        self.settle_inside(database);
        self.settle_outside(database);
        self.settle_joins(database);
        self.settle_slots(database);
        self.settle_inner_routers();
        self.lay_ghosts();
    }

    /// Addresses of ports and services.
    fn settle_inside(&mut self, database: &Database) {
        for _ in 0..ROUNDS {
            let units = std::mem::take(&mut self.pending);
            if units.is_empty() {
                return;
            }
            let asked = units.into_iter().filter_map(|(_, unit)| match &unit {
                Unit::Service(name) => self.cluster_request(name, database),
                _ => self.port_request(&unit, database),
            });
            let asked: Vec<Asked> = asked.collect();
            for (asked, granted) in self.granted(asked) {
                match &asked.request.unit {
                    Unit::Service(name) => {
                        let name = name.clone();
                        self.cluster_granted(&name, asked, granted);
                    }
                    _ => self.port_granted(asked, granted),
                }
            }
            self.spread_news();
        }
    }

    /// External addresses.
    fn settle_outside(&mut self, database: &Database) {
        for _ in 0..ROUNDS {
            let units = std::mem::take(&mut self.pending_eips);
            if units.is_empty() {
                return;
            }
            let mut asked = Vec::new();
            for (_, unit) in units {
                if let Unit::Service(name) = &unit {
                    self.use_shared(name);
                    self.crossings.to_settle.insert(name.clone());
                }
                asked.extend(self.external_request(&unit, database));
            }
            for (asked, granted) in self.granted(asked) {
                self.external_granted(asked, granted);
            }
            self.spread_news();
        }
    }

    fn granted(&mut self, asked: Vec<Asked>) -> Vec<(Asked, Granted)> {
        let requests: Vec<&Request> = asked.iter().map(|asked| &asked.request).collect();
        let granted = self.ipam.settle(&requests);
        asked.into_iter().zip(granted).collect()
    }

    /// Whoever has got something, or may get it now, is looked at.
    pub(super) fn spread_news(&mut self) {
        for (scope, unit) in self.ipam.take_news() {
            self.concerned((scope, unit));
        }
    }

    fn concerned(&mut self, (scope, unit): News) {
        match scope {
            Scope::Subnet(_) => {
                if let Some((id, _)) = self.workloads.of_unit(&unit) {
                    self.workload_unsettled(id);
                    self.workload_changed(id);
                }
            }
            Scope::Vpc(_) => {
                if let Unit::Service(name) = &unit {
                    self.service_unsettled(name);
                }
            }
            Scope::Gateway(_) => {
                self.external_unsettled(&unit);
                self.external_changed(&unit);
            }
        }
    }

    // === Rows without an object ===

    /// Rows whose object is not there hold what they carry, until they may be deleted.
    pub(super) fn find_ghosts(&mut self, database: &Database) {
        for unit in self.ipam.haunting() {
            self.ipam.lay(&unit, |_| false);
        }
        let services = self.crossings.has.keys();
        let services = services.filter(|name| !self.services.contains_key(*name));
        for name in services.cloned().collect::<Vec<_>>() {
            self.release_slots(&name);
        }
        let vpcs = self.joins.numbers.units().filter(|unit| !self.exists(unit));
        for unit in vpcs.cloned().collect::<Vec<_>>() {
            self.lay(&unit);
        }
        self.spread_news();
        let mut units: Vec<Unit> = Vec::new();
        for table in nb::TABLES {
            let keys = database.keys(table.name, nb::BY_UNIT);
            let keys = keys.map(|key| Unit::parse(key.as_str().unwrap_or_default()));
            units.extend(keys.filter(|unit| !self.exists(unit)));
        }
        units.sort_unstable();
        units.dedup();
        for unit in units {
            for ghost in records::ghosts(&self.config.owner, &unit, database) {
                self.ipam.haunt(&unit, ghost);
            }
            self.haunt_join(&unit, database);
            self.haunt_slots(&unit, database);
        }
    }

    /// Of rows whose object has come, the object says what it holds.
    fn lay_ghosts(&mut self) {
        for unit in self.ipam.haunting() {
            if self.exists(&unit) {
                self.lay(&unit);
            }
        }
    }

    /// What the rows of a unit hold and its object, if it is there, does not, is free.
    pub(super) fn lay(&mut self, unit: &Unit) {
        use super::ipam::Ghost;
        let mut claims = Vec::new();
        match unit {
            Unit::Service(name) => match self.services.get(name) {
                Some(service) => claims.push((service.cluster_scope(), service.outcome.claims)),
                None => self.release_slots(name),
            },
            Unit::Vpc(name) if !self.vpcs.contains_key(name) => self.joins.forget(name),
            Unit::Pod(_) | Unit::VNic(_) => {
                if let Some((_, workload)) = self.workloads.of_unit(unit)
                    && let Some(subnet) = &workload.subnet
                {
                    claims.push((Scope::Subnet(subnet.clone()), workload.claims));
                }
            }
            _ => {}
        }
        if let Some(holding) = self.holding(unit)
            && let Some(gateway) = &holding.gateway
        {
            claims.push((Scope::Gateway(gateway.clone()), holding.claims));
        }
        let workload = self.workloads.of_unit(unit).map(|(_, workload)| workload);
        let mac = workload.and_then(|workload| {
            let name: Name = workload.subnet.clone()?;
            Some((name, workload.given_mac()?))
        });
        self.ipam.lay(unit, |ghost| match ghost {
            Ghost::Address(scope, ip) => claims
                .iter()
                .any(|(of, claims)| of == scope && claims.get(Family::of(*ip)) == Some(*ip)),
            Ghost::Mac(subnet, ghost) => mac
                .as_ref()
                .is_some_and(|(of, mac)| of == subnet && mac == ghost),
        });
        self.spread_news();
    }
}
