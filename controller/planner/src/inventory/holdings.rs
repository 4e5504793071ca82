//! What Eips, and services with an address of their own, ask for of EIP gateways.

use std::net::IpAddr;

use ovsdb_model::Database;
use yusur_crds::{EipSpec, EipStatus};

use super::Inventory;
use super::cluster::{is_on_record, known, unrecorded};
use super::eip::{Eip, Holding, Request};
use super::ipam::{Granted, Request as AskedOf, Scope, records};
use super::parse::{Addresses, Problem};
use super::settling::Asked;
use crate::family::Family;
use crate::input::Object;
use crate::name::{Name, ObjectName};
use crate::unit::Unit;

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
            if !old.holding.is_on_record(&old.request, &old.recorded) {
                // Its status has lost an address that rows may not use yet.
                self.pending_eips.insert((old.header.created, unit.clone()));
            }
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

    /// Which gateway the unit's addresses are of, and which families it is to have. `rows`: the addresses that its rows have.
    fn external_wishes(
        &self,
        unit: &Unit,
        rows: &dyn Fn() -> Vec<IpAddr>,
    ) -> Result<(Name, Vec<Family>), Problem> {
        let Some((request, recorded, _)) = self.asking(unit) else {
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
                if self.admitted(name).is_none() {
                    return Err(Problem::new(
                        "ServiceNotAccepted",
                        "the service has not the cluster addresses it is to have",
                    ));
                }
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
            let scope = Scope::Gateway(name.clone());
            let has = || match self.ipam.holder(&scope, address) {
                Some(holder) => holder == unit,
                None => recorded.iter().any(|ip| ip == address) || rows().contains(&address),
            };
            if let Some(reason) = gateway.reserved(address)
                && !(gateway.fits(address) && has())
            {
                return Err(Problem::new(
                    "AddressReserved",
                    format!(
                        "{address} of EipGateway {name} cannot be had, {reason}; choose another address"
                    ),
                ));
            }
        }
        if let Some(problem) = &gateway.problem {
            return Err(Problem::new(
                "GatewayNotAccepted",
                format!("EipGateway {name} is not accepted: {}", problem.message),
            ));
        }
        Ok((name.clone(), families))
    }

    /// What a unit asks for.
    pub(super) fn external_request(&mut self, unit: &Unit, database: &Database) -> Option<Asked> {
        let (request, recorded, created) = self.asking(unit)?;
        let (request, before) = (request.clone(), self.holding(unit)?.clone());
        let rows = || records::external(unit, database);
        let (gateway, wants, families, problem) = match self.external_wishes(unit, &rows) {
            Ok((gateway, families)) => {
                let wants = AskedOf::wants(&families, &request.given);
                (Some(gateway), wants, families, None)
            }
            Err(problem) => {
                // Which gateway it had its addresses of, while it cannot be told which it asks.
                let asked = request.gateway.clone();
                let asked = asked.or_else(|| before.gateway.clone());
                let asked = asked.or_else(|| self.recorded_gateway(unit));
                let asked = asked.or_else(|| self.default_gateway.clone());
                (asked, request.standing(), Vec::new(), Some(problem))
            }
        };
        let mut had = before.claims;
        if before.gateway != gateway {
            if let Some(old) = &before.gateway {
                self.ipam.leave(&Scope::Gateway(old.clone()), unit, &had);
            }
            had = Addresses::default();
        }
        let Some(gateway) = gateway else {
            let after = Holding {
                refused: true,
                problem,
                ..Holding::default()
            };
            self.hold(unit, after);
            return None;
        };
        let scope = Scope::Gateway(gateway);
        let held = self.ipam.held(&scope, unit, &had);
        let records = if is_on_record(&wants, &held, &recorded) {
            Vec::new()
        } else {
            known(recorded, &rows())
        };
        Some(Asked {
            request: AskedOf {
                unit: unit.clone(),
                created,
                scope,
                wants,
                mac: None,
                may: problem.is_none(),
                had,
                records,
                mac_record: None,
            },
            families,
            problem,
            had_mac: false,
        })
    }

    /// The gateway that an Eip's status records.
    fn recorded_gateway(&self, unit: &Unit) -> Option<Name> {
        match unit {
            Unit::Eip(name) => self.eips.get(name)?.recorded_gateway.clone(),
            _ => None,
        }
    }

    /// Takes in what became of it.
    pub(super) fn external_granted(&mut self, asked: Asked, granted: Granted) {
        let unit = &asked.request.unit;
        let scope = &asked.request.scope;
        let (Scope::Gateway(name), Some((_, recorded, _))) = (scope, self.asking(unit)) else {
            return;
        };
        let lacking = Family::ALL
            .into_iter()
            .find(|family| granted.lacks[*family as usize]);
        let exhausted = lacking.map(|family| {
            let (taken, all) = self.ipam.usage(scope, family);
            Problem::new(
                "PoolExhausted",
                format!(
                    "no {} address of EipGateway {name} is free ({taken} of {all} taken); delete Eips that are not \
                     needed, shorten excludedAddresses, or use another gateway",
                    family.as_str()
                ),
            )
        });
        let after = Holding {
            // Of one that refuses it, and of which it has nothing, there is nothing to tell.
            gateway: (asked.request.may || !granted.claims.is_empty()).then(|| name.clone()),
            unrecorded: unrecorded(&asked.request, &granted, &recorded),
            families: asked.families,
            claims: granted.claims,
            refused: !asked.request.may,
            problem: asked.problem.or(exhausted),
        };
        self.hold(unit, after);
    }

    fn hold(&mut self, unit: &Unit, after: Holding) {
        if let Some(holding) = self.holding_mut(unit)
            && *holding != after
        {
            *holding = after;
            self.external_changed(unit);
        }
    }

    /// Gives all external addresses of a unit back.
    pub(super) fn release_external(&mut self, unit: &Unit) {
        let Some(holding) = self.holding_mut(unit).map(std::mem::take) else {
            return;
        };
        if let Some(gateway) = holding.gateway {
            self.ipam
                .leave(&Scope::Gateway(gateway), unit, &holding.claims);
            self.spread_news();
        }
    }

    /// What external addresses a unit has may be different: its rows are, and those of whoever uses them.
    pub(super) fn external_changed(&mut self, unit: &Unit) {
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

    /// The addresses that a unit holds.
    pub(crate) fn external_held(&self, unit: &Unit) -> Addresses {
        let Some(holding) = self.holding(unit) else {
            return Addresses::default();
        };
        let Some(gateway) = &holding.gateway else {
            return Addresses::default();
        };
        let scope = Scope::Gateway(gateway.clone());
        self.ipam.held(&scope, unit, &holding.claims)
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
        None
    }
}
