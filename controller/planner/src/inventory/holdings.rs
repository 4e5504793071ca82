//! Who holds which external address of which gateway.
//!
//! A unit that asks is an Eip, or a service with an address of its own. What is given or recorded is claimed first, then
//! the rest is allocated, in order of age, as for all addresses. An address in use is never taken away for one that
//! somebody names later.

use std::net::IpAddr;

use ovsdb_model::{Database, Table};
use yusur_crds::{EipSpec, EipStatus};

use super::eip::{Eip, Holding, Request};
use super::parse::{Addresses, Problem};
use super::pool::{Handover, Seniority};
use super::{Gateway, Inventory};
use crate::family::Family;
use crate::input::Object;
use crate::name::{Name, ObjectName};
use crate::nb::{self, Nat};
use crate::unit::Unit;

const ALLOCATED: u8 = 0;
const GIVEN: u8 = 1;

impl Inventory {
    pub(super) fn apply_eip(&mut self, object: &Object<EipSpec, EipStatus>) {
        let namespace = self.intern(&object.meta.namespace);
        let name = object.meta.named(&namespace);
        let mut new = Eip::parse(object);
        if self
            .eips
            .get(&name)
            .is_some_and(|old| old.header.uid != new.header.uid)
        {
            self.remove_eip(&name);
        }
        let unit = Unit::Eip(name.clone());
        if let Some(old) = self.eips.get_mut(&name) {
            old.recorded = new.recorded;
            let recorded: Vec<IpAddr> = new.recorded.iter().collect();
            self.recorded(&unit, &recorded);
            let Some(old) = self.eips.get(&name) else {
                return;
            };
            if old.header == new.header && old.request == new.request && old.invalid == new.invalid
            {
                return;
            }
            new.holding = old.holding.clone();
            self.askers
                .leave(&old.request.gateway, old.header.created, &unit);
        }
        self.askers.join(
            new.request.gateway.clone(),
            new.header.created,
            unit.clone(),
        );
        self.pending_eips.insert((new.header.created, unit.clone()));
        self.space(&namespace).eips.insert(name.name.clone());
        self.eips.insert(name, new);
        self.dirty.add(unit);
    }

    pub(super) fn remove_eip(&mut self, name: &ObjectName) {
        let Some(eip) = self.eips.get(name) else {
            return;
        };
        let unit = Unit::Eip(name.clone());
        let (created, gateway) = (eip.header.created, eip.request.gateway.clone());
        self.askers.leave(&gateway, created, &unit);
        self.release_external(&unit);
        self.eips.remove(name);
        if let Some(space) = self.spaces.get_mut(&name.namespace) {
            space.eips.remove(&name.name);
        }
        self.drop_space(&name.namespace);
        self.pending_eips.remove(&(created, unit.clone()));
        self.dirty.add(unit);
        self.users_changed(name);
    }

    /// Takes in the whole Northbound, as [`Inventory::load`].
    pub(super) fn load_outside(&mut self, database: &Database) {
        self.load_global(database);
        self.gateways_differ = true;
        self.joins.to_settle.extend(self.vpcs.keys().cloned());
        let eips = self.eips.iter();
        let eips = eips.map(|(name, eip)| (eip.header.created, Unit::Eip(name.clone())));
        let services = self.services.iter();
        let services =
            services.filter(|(_, service)| service.external.is_some() || service.crosses());
        let services =
            services.map(|(name, service)| (service.header.created, Unit::Service(name.clone())));
        self.pending_eips.extend(eips.chain(services));
        let calls = self.vpcs.keys().cloned().map(Unit::Calls);
        for unit in calls.collect::<Vec<_>>() {
            self.dirty.add(unit);
        }
        for gateway in self.gateways.keys() {
            self.dirty.add_gateway(gateway);
        }
        for eip in self.eips.keys() {
            self.dirty.add(Unit::Eip(eip.clone()));
        }
    }

    /// These addresses of this Eip, or of this service's own, are on record: if they are all it has, its rows may follow.
    pub(super) fn external_recorded(&mut self, unit: &Unit, addresses: &[IpAddr]) {
        let held = self.external_held(unit);
        if !held.iter().all(|address| addresses.contains(&address)) {
            return;
        }
        let Some(holding) = self.holding_mut(unit).filter(|holding| holding.unrecorded) else {
            return;
        };
        holding.unrecorded = false;
        match unit {
            Unit::Eip(name) => {
                if let Some(eip) = self.eips.get_mut(name) {
                    eip.recorded = held;
                }
                self.users_changed(name);
            }
            Unit::Service(name) => {
                let service = self.services.get_mut(name);
                if let Some(external) = service.and_then(|service| service.external.as_mut()) {
                    external.recorded = held;
                }
            }
            _ => {}
        }
        self.dirty.add(unit.clone());
    }

    /// Finds external addresses for all units that may need some.
    pub(super) fn settle_eips(&mut self, database: &Database) {
        // Handovers and freed addresses make more units pending; each round there are fewer.
        for _ in 0..8 {
            let units = std::mem::take(&mut self.pending_eips);
            if units.is_empty() {
                return;
            }
            let (mut short, mut crossing) = (Vec::new(), Vec::new());
            for (_, unit) in units {
                if let Unit::Service(name) = &unit
                    && self
                        .services
                        .get(name)
                        .is_some_and(|service| service.crosses())
                {
                    crossing.push(name.clone());
                }
                let missing = self.claim_external(&unit, database);
                if !missing.is_empty() {
                    short.push((unit, missing));
                }
            }
            for (unit, missing) in short {
                self.allocate_external(&unit, &missing);
            }
            for name in crossing {
                self.allocate_slots(&name);
            }
        }
    }

    fn holding_mut(&mut self, unit: &Unit) -> Option<&mut Holding> {
        match unit {
            Unit::Eip(name) => self.eips.get_mut(name).map(|eip| &mut eip.holding),
            Unit::Service(name) => {
                let external = self.services.get_mut(name)?.external.as_mut()?;
                Some(&mut external.holding)
            }
            _ => None,
        }
    }

    pub(crate) fn holding(&self, unit: &Unit) -> Option<&Holding> {
        match unit {
            Unit::Eip(name) => self.eips.get(name).map(|eip| &eip.holding),
            Unit::Service(name) => {
                let external = self.services.get(name)?.external.as_ref()?;
                Some(&external.holding)
            }
            _ => None,
        }
    }

    /// What the unit asks for itself, with what its status records and how old it is.
    fn asking(&self, unit: &Unit) -> Option<(&Request, Addresses, i64)> {
        match unit {
            Unit::Eip(name) => {
                let eip = self.eips.get(name)?;
                Some((&eip.request, eip.recorded, eip.header.created))
            }
            Unit::Service(name) => {
                let service = self.services.get(name)?;
                let external = service.external.as_ref()?;
                let request = external.wish.own()?;
                Some((request, external.recorded, service.header.created))
            }
            _ => None,
        }
    }

    /// Which gateway the unit's addresses are of, which families it is to have, and which addresses it was given.
    fn external_wishes(&self, unit: &Unit) -> Result<(Name, Vec<Family>, Addresses), Problem> {
        let Some((request, ..)) = self.asking(unit) else {
            return Err(Problem::new("Withdrawn", ""));
        };
        let (namespace, own) = match unit {
            Unit::Eip(name) => {
                if let Some(problem) = self.eips.get(name).and_then(|eip| eip.invalid.clone()) {
                    return Err(problem);
                }
                (&name.namespace, None)
            }
            Unit::Service(name) => {
                let Some(service) = self.services.get(name) else {
                    return Err(Problem::new("Withdrawn", ""));
                };
                self.vpc_for(&name.namespace, &service.vpc)?;
                (&name.namespace, Some(&service.outcome.families))
            }
            _ => return Err(Problem::new("Withdrawn", "")),
        };
        let (name, gateway) = self.gateway_for(namespace, request.gateway.as_ref())?;
        let has = |family: &Family| gateway.range(*family).is_some();
        let mut families: Vec<Family> = request.families.to_vec();
        if families.is_empty() {
            families.extend(request.given.iter().map(Family::of));
        }
        if families.is_empty()
            && let Some(own) = own
        {
            families.extend(own.iter().copied().filter(has));
        }
        if families.is_empty() {
            families.extend(gateway.cidrs.first().map(|net| Family::of(net.addr())));
        }
        if let Some(lacking) = families.iter().find(|family| !has(family)) {
            return Err(Problem::new(
                "NoEIPRange",
                format!(
                    "EipGateway {name} has no {} range in cidrs; ask for the other family, or another gateway",
                    lacking.as_str()
                ),
            ));
        }
        for address in request.given.iter() {
            let range = gateway.range(Family::of(address));
            if range.is_none_or(|net| !net.contains(&address)) {
                return Err(Problem::new(
                    "AddressOutOfRange",
                    format!(
                        "{address} is not in the range of EipGateway {name}; choose an address within it, or leave \
                         addresses out to have one allocated"
                    ),
                ));
            }
            if let Some(reason) = gateway.reserved(address) {
                return Err(Problem::new(
                    "AddressReserved",
                    format!(
                        "{address} of EipGateway {name} cannot be had, {reason}; choose another address"
                    ),
                ));
            }
        }
        Ok((name.clone(), families, request.given))
    }

    /// The gateway asked for, or the default, if it is there and the namespace may use it.
    fn gateway_for(
        &self,
        namespace: &Name,
        asked: Option<&Name>,
    ) -> Result<(&Name, &Gateway), Problem> {
        let Some(name) = asked.or(self.default_gateway.as_ref()) else {
            return Err(Problem::new(
                "NoDefaultGateway",
                "no EipGateway is marked as default; name one, or have the operator mark one",
            ));
        };
        let Some((name, gateway)) = self.gateways.get_key_value(name) else {
            return Err(Problem::new(
                "GatewayNotFound",
                format!("there is no EipGateway {name}; create it, or name another"),
            ));
        };
        let allowed = gateway
            .allowed
            .allows(namespace, self.spaces.get(namespace), &self.labels);
        if allowed.is_none() {
            return Err(Problem::new(
                "NamespaceNotAllowed",
                format!(
                    "EipGateway {name} does not allow namespace {namespace}; its allowedNamespaces must name or select it"
                ),
            ));
        }
        Ok((name, gateway))
    }

    /// Claims what a unit was given or has on record. Returns the families it still needs an address of.
    fn claim_external(&mut self, unit: &Unit, database: &Database) -> Vec<Family> {
        if let Unit::Service(name) = unit {
            self.use_shared(name);
            self.claim_slots(name, database);
        }
        let Some((_, on_record, created)) = self.asking(unit) else {
            return Vec::new();
        };
        let Some(before) = self.holding(unit).cloned() else {
            return Vec::new();
        };
        let (gateway, families, given, problem) = match self.external_wishes(unit) {
            Ok((gateway, families, given)) => (Some(gateway), families, given, None),
            Err(problem) => (None, Vec::new(), Addresses::default(), Some(problem)),
        };
        let mut after = Holding {
            gateway: gateway.clone(),
            families,
            problem,
            ..Holding::default()
        };
        let stays = before.gateway == after.gateway;
        let mut missing = Vec::new();
        let mut on_row: Option<Addresses> = None;
        for family in after.families.clone() {
            if let Some(address) = given.get(family) {
                after.claims.set(address);
                continue;
            }
            let Some(pool) = gateway.as_ref().and_then(|name| self.gateways.get(name)) else {
                continue;
            };
            let free = |address: &IpAddr| {
                pool.range(family).is_some_and(|net| net.contains(address))
                    && pool.reserved(*address).is_none()
                    && pool.pool.yields(*address, unit)
            };
            let current = before.claims.get(family).filter(|_| stays);
            let known = [current, on_record.get(family)];
            let found = known.into_iter().flatten().find(free).or_else(|| {
                let on_row = on_row.get_or_insert_with(|| row_addresses(unit, database));
                on_row.get(family).filter(free)
            });
            match found {
                Some(address) => after.claims.set(address),
                None => missing.push(family),
            }
        }
        // Also what was given until now becomes allocated, if the spec no longer names it.
        after.unrecorded = after.claims.iter().any(|address| {
            let family = Family::of(address);
            given.get(family).is_none()
                && on_record.get(family) != Some(address)
                && on_row
                    .get_or_insert_with(|| row_addresses(unit, database))
                    .get(family)
                    != Some(address)
        });
        let kept = |address: &IpAddr| stays && after.claims.iter().any(|other| other == *address);
        for address in before.claims.iter().filter(|address| !kept(address)) {
            self.release_from(before.gateway.as_ref(), unit, address);
        }
        for address in after.claims.iter() {
            let class = if given.get(Family::of(address)).is_some() {
                GIVEN
            } else {
                ALLOCATED
            };
            let seniority = Seniority { class, created };
            if let Some(gateway) = gateway
                .as_ref()
                .and_then(|name| self.gateways.get_mut(name))
            {
                let handover = gateway
                    .pool
                    .claim(address, unit, seniority, class == ALLOCATED);
                self.external_handed_over(handover, Some(unit));
            }
        }
        let differs = after != before;
        if let Some(holding) = self.holding_mut(unit) {
            *holding = after;
        }
        if differs {
            self.external_changed(unit);
        }
        missing
    }

    fn allocate_external(&mut self, unit: &Unit, missing: &[Family]) {
        let Some((_, _, created)) = self.asking(unit) else {
            return;
        };
        let Some(name) = self
            .holding(unit)
            .and_then(|holding| holding.gateway.clone())
        else {
            return;
        };
        let seniority = Seniority {
            class: ALLOCATED,
            created,
        };
        let Some(gateway) = self.gateways.get_mut(&name) else {
            return;
        };
        let mut got = Vec::new();
        let mut problem = None;
        for family in missing {
            match gateway.pool.allocate(*family, unit, seniority) {
                Some(address) => got.push(address),
                None => {
                    let (taken, all) = gateway.pool.usage(*family);
                    problem = Some(Problem::new(
                        "PoolExhausted",
                        format!(
                            "no {} address of EipGateway {name} is free ({taken} of {all} taken); delete Eips that are not \
                             needed, shorten excludedAddresses, or use another gateway",
                            family.as_str()
                        ),
                    ));
                    gateway.starved.insert(unit.clone());
                }
            }
        }
        if let Some(holding) = self.holding_mut(unit) {
            for address in got {
                holding.claims.set(address);
                holding.unrecorded = true;
            }
            holding.problem = problem;
        }
        self.external_changed(unit);
    }

    /// Gives all external addresses of a unit back.
    pub(super) fn release_external(&mut self, unit: &Unit) {
        let Some(holding) = self.holding_mut(unit).map(std::mem::take) else {
            return;
        };
        for address in holding.claims.iter() {
            self.release_from(holding.gateway.as_ref(), unit, address);
        }
        if let Some(gateway) = holding
            .gateway
            .and_then(|name| self.gateways.get_mut(&name))
        {
            gateway.starved.remove(unit);
        }
    }

    fn release_from(&mut self, gateway: Option<&Name>, unit: &Unit, address: IpAddr) {
        let Some(gateway) = gateway.and_then(|name| self.gateways.get_mut(name)) else {
            return;
        };
        let handover = gateway.pool.release(address, unit);
        let starved = std::mem::take(&mut gateway.starved);
        self.external_handed_over(handover, Some(unit));
        for unit in starved {
            self.external_unsettled(&unit);
        }
    }

    fn external_handed_over(&mut self, handover: Handover, by: Option<&Unit>) {
        for unit in [handover.from, handover.to].into_iter().flatten() {
            if Some(&unit) != by {
                self.external_unsettled(&unit);
                self.external_changed(&unit);
            }
        }
    }

    /// What external addresses a unit has may be different: its rows are, and those of whoever uses them.
    fn external_changed(&mut self, unit: &Unit) {
        self.dirty.add(unit.clone());
        match unit {
            Unit::Eip(name) => self.users_changed(name),
            Unit::Service(name) => self.wish_changed(name),
            _ => {}
        }
    }

    pub(super) fn external_unsettled(&mut self, unit: &Unit) {
        let created = match unit {
            Unit::Eip(name) => self.eips.get(name).map(|eip| eip.header.created),
            Unit::Service(name) => self
                .services
                .get(name)
                .filter(|service| service.external.is_some() || service.crosses())
                .map(|service| service.header.created),
            _ => None,
        };
        if let Some(created) = created {
            self.pending_eips.insert((created, unit.clone()));
            self.dirty.add(unit.clone());
        }
    }

    /// All that ask this gateway (`None`: the default one) are to be looked at.
    pub(super) fn askers_changed(&mut self, gateway: Option<&Name>) {
        for (created, unit) in self.askers.of(gateway) {
            self.dirty.add(unit.clone());
            self.pending_eips.insert((created, unit));
        }
    }

    /// The Eip of this name.
    pub(crate) fn eip(&self, name: &ObjectName) -> Option<&Eip> {
        self.eips.get(name)
    }

    /// The addresses that a unit holds: claimed by it and by no older one.
    pub(crate) fn external_held(&self, unit: &Unit) -> Addresses {
        let Some(holding) = self.holding(unit) else {
            return Addresses::default();
        };
        let gateway = holding
            .gateway
            .as_ref()
            .and_then(|name| self.gateways.get(name));
        let Some(gateway) = gateway else {
            return Addresses::default();
        };
        let held = holding.claims.iter();
        held.filter(|address| gateway.pool.holder(*address) == Some(unit))
            .collect()
    }

    /// Why the unit has not all addresses it asks for, if so.
    pub(crate) fn external_problem(&self, unit: &Unit) -> Option<Problem> {
        let holding = self.holding(unit)?;
        if let Some(problem) = &holding.problem {
            return Some(problem.clone());
        }
        let gateway = holding.gateway.as_ref()?;
        let held = self.external_held(unit);
        if let Some(lost) = holding
            .claims
            .iter()
            .find(|address| held.get(Family::of(*address)).is_none())
        {
            return Some(Problem::new(
                "EIPConflict",
                format!(
                    "{lost} of EipGateway {gateway} is taken; choose another address, or leave addresses out to have one \
                     allocated (it is taken over if whoever has it goes)"
                ),
            ));
        }
        let problem = self.gateways.get(gateway)?.problem.as_ref()?;
        Some(Problem::new(
            "GatewayNotAccepted",
            format!("EipGateway {gateway} is not accepted: {}", problem.message),
        ))
    }
}

/// The addresses that a unit's rows own: a record, where its status has none.
fn row_addresses(unit: &Unit, database: &Database) -> Addresses {
    let label = unit.to_string().into();
    let rows = database.find(Nat::NAME, nb::BY_UNIT, &label);
    rows.filter_map(|(_, row)| row.get_str("external_ip")?.parse::<IpAddr>().ok())
        .collect()
}
