//! Which EIP gateway a VPC joins, and by which number. A VPC's default route leads through one gateway, and answers must
//! take the way the requests came: so it joins one, that of its Vpc's spec, or else of its first service with an EIP, or
//! else, for a service with backends in several VPCs, whichever they can share. There it stays while anybody uses it.
//!
//! The number makes the VPC's addresses among the system's own ([`crate::Ranges`]). It is looked for where the VPC's name
//! hashes to, and recorded by the row of the port it is for: kept over restarts, and nearly always found again by a
//! Northbound that was wiped.

use ipnet::IpNet;
use ovsdb_model::{Atom, Database, Datum, Table};

use super::Inventory;
use super::join::{Join, Wish};
use super::settling::ROUNDS;
use crate::name::{Name, ObjectName};
use crate::nb::{self, LogicalRouterPort, LogicalSwitch, LogicalSwitchPort};
use crate::unit::Unit;

impl Inventory {
    /// What a service wants its VPCs to join may be another gateway, or other VPCs.
    pub(super) fn wish_changed(&mut self, name: &ObjectName) {
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

    /// What a service wishes its VPCs to join, and of the gateway. Its own VPC comes first: who is refused there moves no
    /// other VPC, and needs no router.
    fn wish_of(&self, name: &ObjectName) -> Option<Wish> {
        let service = self.admitted(name)?;
        let (need, gateway) = self.wished_gateway(name, service)?;
        let joined = self.join_of(&service.vpc).map(|join| &join.gateway);
        let routed = self.vpcs.get(&service.vpc)?.router.is_some();
        let there = routed && joined == Some(&gateway);
        let elsewhere = self.admitted_elsewhere(name, service);
        let elsewhere = elsewhere.filter(|_| there).cloned();
        Some(Wish {
            balanced_on: service.balanced_on().filter(|_| there),
            need,
            created: service.header.created,
            vpcs: elsewhere.chain([service.vpc.clone()]).collect(),
            gateway,
        })
    }

    /// The gateway a VPC is to join: that of its spec, or else the one it has joined, as long as somebody wishes for it, or
    /// else that of its oldest service with an EIP, or any.
    fn gateway_of_vpc(&self, vpc: &Name) -> Option<Name> {
        let entry = self.vpcs.get(vpc)?;
        let wished = || {
            let wishes = self.joins.wishes.get(vpc)?;
            let current = self.joins.joined.get(vpc).map(|join| &join.gateway);
            let mut all = wishes.values();
            let stays = all.find(|wished| Some(*wished) == current);
            stays.or_else(|| wishes.values().next())
        };
        let name = entry.gateway.as_ref().or_else(wished)?;
        let gateway = self.gateways.get(name)?;
        gateway.problem.is_none().then(|| name.clone())
    }

    /// Finds the gateway and the number of all VPCs that were to be looked at.
    pub(super) fn settle_joins(&mut self, database: &Database) {
        self.restore_joins(database);
        // A number that becomes free is for those that found none, and a VPC that has joined lets its services ask others to.
        for _ in 0..ROUNDS {
            let vpcs = std::mem::take(&mut self.joins.to_settle);
            if vpcs.is_empty() {
                return;
            }
            let mut joining: Vec<(i64, Name, Name)> = Vec::new();
            for vpc in vpcs {
                let Some(entry) = self.vpcs.get(&vpc) else {
                    self.joins.forget(&vpc);
                    self.join_changed(&vpc);
                    continue;
                };
                let created = entry.header.created;
                if self.joins.unsure.remove(&vpc) {
                    self.wishes_of_vpc_changed(&vpc);
                }
                let wanted = self.gateway_of_vpc(&vpc);
                let current = self.joins.joined.get(&vpc);
                match wanted {
                    wanted if current.map(|join| &join.gateway) == wanted.as_ref() => {}
                    Some(gateway) => joining.push((created, vpc, gateway)),
                    None => {
                        self.joins.part(&vpc);
                        self.join_changed(&vpc);
                    }
                }
            }
            joining.sort_unstable();
            for (_, vpc, gateway) in joining {
                // A VPC that goes from one gateway to another keeps its number.
                if let Some(number) = self.joins.number(&vpc, self.numbers_for(&vpc)) {
                    self.joins.place(&vpc, gateway, number);
                }
                self.join_changed(&vpc);
            }
        }
    }

    /// VPCs of which nobody here remembers whether they have joined have joined what their rows say, until it turns out that
    /// nobody wishes for that.
    fn restore_joins(&mut self, database: &Database) {
        let vpcs = self.joins.to_settle.iter();
        let unknown = vpcs
            .filter(|vpc| self.vpcs.contains_key(*vpc) && !self.joins.joined.contains_key(*vpc));
        for vpc in unknown.cloned().collect::<Vec<_>>() {
            let unit = Unit::Vpc(vpc.clone());
            if let Some(number) = self.recorded_number(&unit, database) {
                self.joins.numbers.claim(number, &unit);
            }
            if let (Some(number), Some(gateway)) = (
                self.joins.numbers.of(&unit),
                self.recorded_join(&unit, database),
            ) {
                self.joins.place(&vpc, gateway, number);
                self.join_changed(&vpc);
            }
        }
    }

    /// The gateway whose join the port of a VPC is on, as the rows say.
    fn recorded_join(&self, unit: &Unit, database: &Database) -> Option<Name> {
        let label = unit.to_string().into();
        let mut ports = database.find(LogicalSwitchPort::NAME, nb::BY_UNIT, &label);
        let name = ports.find_map(|(port, _)| {
            let port = port.into();
            let mut switches = database.find(LogicalSwitch::NAME, "ports", &port);
            switches.find_map(|(_, row)| {
                match nb::unit_of(&self.config.owner, LogicalSwitch::NAME, &row)? {
                    Unit::EipGateway(name) => Some(name),
                    _ => None,
                }
            })
        })?;
        let (name, _) = self.gateways.get_key_value(&name)?;
        Some(name.clone())
    }

    /// The ports of VPCs that are not there hold their numbers, until they may be deleted.
    pub(super) fn haunt_join(&mut self, unit: &Unit, database: &Database) {
        if let Unit::Vpc(_) = unit
            && let Some(number) = self.recorded_number(unit, database)
        {
            self.joins.numbers.claim(number, unit);
        }
    }

    /// The number that the row of the VPC's port records.
    fn recorded_number(&self, unit: &Unit, database: &Database) -> Option<u32> {
        let Unit::Vpc(vpc) = unit else { return None };
        let row = database.row(LogicalRouterPort::NAME, self.ids.join_port(vpc))?;
        let networks = row.get("networks").map(Datum::elements)?;
        let mut networks = networks.iter().filter_map(Atom::as_str);
        networks.find_map(|text| match text.parse::<IpNet>().ok()? {
            IpNet::V4(net) => self.config.ranges.number(net.addr()),
            IpNet::V6(_) => None,
        })
    }

    /// The numbers for a VPC, in the order in which they are tried.
    fn numbers_for(&self, vpc: &Name) -> impl Iterator<Item = u32> + Clone + use<> {
        let numbers = self.config.ranges.numbers();
        let count = numbers.end.saturating_sub(numbers.start);
        // FNV-1a: the same in every release.
        let hash = vpc.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        (0..count).map(move |step| numbers.start + (hash % count + step) % count)
    }

    /// What services of the VPC wish of others depends on what it has joined itself.
    fn wishes_of_vpc_changed(&mut self, vpc: &Name) {
        for service in self.crossings_of(vpc) {
            self.wish_changed(&service);
        }
    }

    /// Who rests on the VPC's place on a join, and on its router there, is looked at.
    pub(super) fn join_changed(&mut self, vpc: &Name) {
        self.dirty.add(Unit::Vpc(vpc.clone()));
        let wishes = self.joins.wishes.get(vpc).into_iter().flatten();
        let mut services: Vec<ObjectName> = wishes.map(|((.., name), _)| name.clone()).collect();
        services.extend(self.crossings_of(vpc));
        services.extend(self.guests_of(vpc));
        self.dirty.add(Unit::Calls(vpc.clone()));
        self.wishes_of_vpc_changed(vpc);
        let crossing = services.iter().filter(|name| {
            let service = self.services.get(*name);
            service.is_some_and(|service| service.crosses())
        });
        self.crossings.to_settle.extend(crossing.cloned());
        self.externals_of_vpc_changed(&services);
    }

    /// The VPC's place on an EIP gateway's join.
    pub(crate) fn join_of(&self, vpc: &Name) -> Option<&Join> {
        self.joins.joined.get(vpc)
    }

    /// True if the VPC could not join for want of a number.
    pub(crate) fn join_is_full(&self, vpc: &Name) -> bool {
        self.joins.numbers.lacks(&Unit::Vpc(vpc.clone()))
    }
}
