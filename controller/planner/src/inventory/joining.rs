//! Which EIP gateway a VPC joins, and by which number. A VPC's default route leads through one gateway, and answers must
//! take the way the requests came: so it joins one, that of its Vpc's spec, or else of its oldest service with an EIP, or
//! else, for a service with backends in several VPCs, whichever they can share.
//!
//! The number makes the VPC's addresses among the system's own ([`crate::Ranges`]). It is looked for where the VPC's name
//! hashes to, and recorded by the row of the port it is for: kept over restarts, and nearly always found again by a
//! Northbound that was wiped.

use ipnet::IpNet;
use ovsdb_model::{Atom, Database, Datum, Table};

use super::Inventory;
use super::external::Need;
use super::join::{Join, Wish};
use crate::name::{Name, ObjectName};
use crate::nb::LogicalRouterPort;
use crate::unit::Unit;

impl Inventory {
    /// What a service wants its VPCs to join may be another gateway, or other VPCs.
    pub(super) fn wish_changed(&mut self, name: &ObjectName) {
        if let Some(service) = self.services.get(name)
            && service.crosses()
            && self.needed_gateway(&service.vpc) != self.joins.needed.get(&service.vpc)
        {
            // What its VPC needs is on the move, and may be what it was once all is settled.
            self.joins.unsure.insert(service.vpc.clone());
            self.joins.to_settle.insert(service.vpc.clone());
        }
        let wish = self.wish_of(name);
        if self.joins.made.get(name) != wish.as_ref() {
            self.forget_wish(name);
            if let Some(wish) = wish {
                self.joins.make(name, wish);
            }
        }
    }

    /// A service is about to go, or to change: it wishes for nothing until it is looked at again.
    pub(super) fn forget_wish(&mut self, name: &ObjectName) {
        if let Some(wish) = self.joins.made.remove(name) {
            self.joins.unmake(name, wish);
        }
    }

    /// True if services need the gateway's service gateway.
    pub(crate) fn has_service_gateway(&self, gateway: &Name) -> bool {
        self.joins.through.any(gateway)
    }

    /// True if services need the gateway's inside router.
    pub(crate) fn has_inside(&self, gateway: &Name) -> bool {
        self.joins.inside.any(gateway)
    }

    /// Which gateways have a service gateway and an inside router now, or none any more, after all that changed: a service
    /// that is looked at again may be the only one.
    pub(super) fn settle_inner_routers(&mut self) {
        let mut gateways = self.joins.through.settle();
        gateways.extend(self.joins.inside.settle());
        for gateway in gateways {
            // VPCs lead to a router that is there.
            if self.has_inside(&gateway) {
                self.dirty.add_gateway(&gateway);
                self.vpcs_of_gateway_changed(&gateway);
            } else {
                self.vpcs_of_gateway_changed(&gateway);
                self.dirty.add_gateway(&gateway);
            }
        }
    }

    /// The VPCs that have joined a gateway have other routes to it, or it to them.
    pub(super) fn vpcs_of_gateway_changed(&mut self, gateway: &Name) {
        for vpc in self.joins.vpcs_of(gateway) {
            self.dirty.add(Unit::Vpc(vpc.clone()));
        }
    }

    fn wish_of(&self, name: &ObjectName) -> Option<Wish> {
        let service = self.services.get(name)?;
        let (need, gateway) = self.wished_gateway(name)?;
        let allowed = |vpc: &&Name| self.vpc_for(&name.namespace, vpc).is_ok();
        let elsewhere = service.elsewhere().into_iter().filter(allowed).cloned();
        Some(Wish {
            balanced_on: service.balanced_on(),
            need,
            created: service.header.created,
            gateway,
            vpcs: elsewhere.chain([service.vpc.clone()]).collect(),
        })
    }

    /// The gateway that a VPC must join: that of its spec, or else of its oldest service with an EIP.
    pub(super) fn needed_gateway(&self, vpc: &Name) -> Option<&Name> {
        let first = || {
            let wishes = self.joins.wishes.get(vpc)?;
            let ((need, ..), gateway) = wishes.first_key_value()?;
            (*need == Need::This).then_some(gateway)
        };
        let entry = self.vpcs.get(vpc)?;
        entry.gateway.as_ref().or_else(first)
    }

    /// The gateway a VPC is to join.
    fn gateway_of_vpc(&self, vpc: &Name) -> Option<Name> {
        let any = || self.joins.wishes.get(vpc)?.values().next();
        self.vpcs.get(vpc)?;
        let name = self.needed_gateway(vpc).or_else(any)?;
        let gateway = self.gateways.get(name)?;
        gateway.problem.is_none().then(|| name.clone())
    }

    /// Finds the gateway and the number of all VPCs that were to be looked at.
    pub(super) fn settle_joins(&mut self, database: &Database) {
        // A number that becomes free is for those that found none.
        for _ in 0..8 {
            let vpcs = std::mem::take(&mut self.joins.to_settle);
            if vpcs.is_empty() {
                return;
            }
            let mut numberless: Vec<(i64, Name, Name)> = Vec::new();
            for vpc in vpcs {
                let needed = self.needed_gateway(&vpc).cloned();
                let differs = match &needed {
                    Some(needed) => {
                        let before = self.joins.needed.insert(vpc.clone(), needed.clone());
                        before.as_ref() != Some(needed)
                    }
                    None => self.joins.needed.remove(&vpc).is_some(),
                };
                if self.joins.unsure.remove(&vpc) || differs {
                    // Where any gateway will do, its VPC's is the one.
                    for service in self.crossings_of(&vpc) {
                        self.wish_changed(&service);
                    }
                }
                let wanted = self.gateway_of_vpc(&vpc);
                let current = self.joins.joined.get(&vpc).cloned();
                if current.as_ref().map(|join| &join.gateway) == wanted.as_ref() {
                    if wanted.is_none() {
                        self.joins.starved.remove(&vpc);
                    }
                    continue;
                }
                let Some(gateway) = wanted else {
                    self.joins.part(&vpc);
                    self.join_changed(&vpc);
                    continue;
                };
                // A VPC that goes from one gateway to another keeps its number.
                match current
                    .map(|join| join.number)
                    .or_else(|| self.recorded_number(&vpc, database))
                {
                    Some(number) => {
                        self.joins.place(&vpc, gateway, number);
                        self.join_changed(&vpc);
                    }
                    None => {
                        let created = self.vpcs.get(&vpc).map_or(0, |vpc| vpc.header.created);
                        numberless.push((created, vpc, gateway));
                    }
                }
            }
            numberless.sort_unstable();
            for (_, vpc, gateway) in numberless {
                match self.free_number(&vpc) {
                    Some(number) => self.joins.place(&vpc, gateway, number),
                    None => {
                        self.joins.starved.insert(vpc.clone());
                    }
                }
                self.join_changed(&vpc);
            }
        }
    }

    /// The number that the row of the VPC's port records, if nobody else has it.
    fn recorded_number(&self, vpc: &Name, database: &Database) -> Option<u32> {
        let row = database.row(LogicalRouterPort::NAME, self.ids.join_port(vpc))?;
        let networks = row.get("networks").map(Datum::elements)?;
        let number = networks.iter().filter_map(Atom::as_str).find_map(|text| {
            match text.parse::<IpNet>().ok()? {
                IpNet::V4(net) => self.config.ranges.number(net.addr()),
                IpNet::V6(_) => None,
            }
        })?;
        (!self.joins.numbers.contains_key(&number)).then_some(number)
    }

    fn free_number(&self, vpc: &Name) -> Option<u32> {
        let numbers = self.config.ranges.numbers();
        let count = numbers
            .end
            .checked_sub(numbers.start)
            .filter(|count| *count > 0)?;
        // FNV-1a: the same in every release.
        let hash = vpc.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        let candidates = (0..count).map(|step| numbers.start + (hash % count + step) % count);
        candidates
            .into_iter()
            .find(|number| !self.joins.numbers.contains_key(number))
    }

    /// Who rests on the VPC's place on a join, and on its router there, is looked at.
    pub(super) fn join_changed(&mut self, vpc: &Name) {
        self.dirty.add(Unit::Vpc(vpc.clone()));
        let wishes = self.joins.wishes.get(vpc).into_iter().flatten();
        let mut services: Vec<ObjectName> = wishes.map(|((.., name), _)| name.clone()).collect();
        services.extend(self.crossings_of(vpc));
        services.extend(self.guests_of(vpc));
        self.dirty.add(Unit::Calls(vpc.clone()));
        self.externals_of_vpc_changed(&services);
    }

    /// The VPC's place on an EIP gateway's join.
    pub(crate) fn join_of(&self, vpc: &Name) -> Option<&Join> {
        self.joins.joined.get(vpc)
    }

    /// True if the VPC could not join for want of a number.
    pub(crate) fn join_is_full(&self, vpc: &Name) -> bool {
        self.joins.starved.contains(vpc)
    }
}
