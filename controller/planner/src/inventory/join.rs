//! The joins of VPCs to EIP gateways, and what services wish of them.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use super::crossing::BalancedOn;
use super::external::Need;
use super::ipam::numbers::Numbers;
use crate::name::{Name, ObjectName};
use crate::unit::Unit;

/// A VPC's place on the join of an EIP gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Join {
    pub(crate) gateway: Name,
    pub(crate) number: u32,
}

/// The joins of all VPCs.
#[derive(Debug, Default)]
pub(super) struct Joins {
    /// What services wish for.
    pub(super) made: HashMap<ObjectName, Wish>,
    /// By EIP gateway, the services that need its service gateway.
    pub(super) through: Needs,
    /// By EIP gateway, the services that need its inside router.
    pub(super) inside: Needs,
    /// The same by VPC. The gateway it has joined counts as long as somebody wishes for it, else the first.
    pub(super) wishes: HashMap<Name, BTreeMap<(Need, i64, ObjectName), Name>>,
    /// VPCs whose specs name another gateway than before.
    pub(super) unsure: BTreeSet<Name>,
    pub(super) joined: HashMap<Name, Join>,
    /// The same by EIP gateway.
    members: HashMap<Name, BTreeSet<Name>>,
    /// A VPC has its number for as long as it is there, also while it has joined nothing: whoever trusts its address on the join
    /// is not to find another VPC behind it.
    pub(super) numbers: Numbers<u32>,
    /// VPCs to look at again.
    pub(super) to_settle: BTreeSet<Name>,
}

/// The services that need something of EIP gateways.
#[derive(Debug, Default)]
pub(super) struct Needs {
    services: HashMap<Name, BTreeSet<ObjectName>>,
    /// EIP gateways of which `services` has changed, and those of which some needed it when it was last looked at.
    changed: BTreeSet<Name>,
    had: BTreeSet<Name>,
}

impl Needs {
    fn add(&mut self, gateway: &Name, service: &ObjectName) {
        let services = self.services.entry(gateway.clone()).or_default();
        services.insert(service.clone());
        self.changed.insert(gateway.clone());
    }

    fn remove(&mut self, gateway: &Name, service: &ObjectName) {
        let Some(services) = self.services.get_mut(gateway) else {
            return;
        };
        if services.remove(service) {
            self.changed.insert(gateway.clone());
        }
        if services.is_empty() {
            self.services.remove(gateway);
        }
    }

    /// True if a service needs it of this gateway.
    pub(super) fn any(&self, gateway: &Name) -> bool {
        self.services.contains_key(gateway)
    }

    /// The gateways of which it is needed now, or not any more, since the last time.
    pub(super) fn settle(&mut self) -> Vec<Name> {
        let mut differ = Vec::new();
        for gateway in std::mem::take(&mut self.changed) {
            let differs = if self.any(&gateway) {
                self.had.insert(gateway.clone())
            } else {
                self.had.remove(&gateway)
            };
            if differs {
                differ.push(gateway);
            }
        }
        differ
    }
}

/// What a service wishes its VPCs to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) need: Need,
    pub(super) created: i64,
    pub(super) gateway: Name,
    pub(super) vpcs: BTreeSet<Name>,
    /// Where the gateway balances its outside.
    pub(super) balanced_on: Option<BalancedOn>,
}

impl Joins {
    pub(super) fn make(&mut self, name: &ObjectName, wish: Wish) {
        for vpc in &wish.vpcs {
            let key = (wish.need, wish.created, name.clone());
            let wishes = self.wishes.entry(vpc.clone()).or_default();
            wishes.insert(key, wish.gateway.clone());
            self.to_settle.insert(vpc.clone());
        }
        match wish.balanced_on {
            Some(BalancedOn::ServiceGateway) => self.through.add(&wish.gateway, name),
            // Other VPCs' workloads take the service gateway.
            Some(BalancedOn::EipGateway) => {
                self.through.add(&wish.gateway, name);
                self.inside.add(&wish.gateway, name);
            }
            Some(BalancedOn::VpcRouter) | None => {}
        }
        self.made.insert(name.clone(), wish);
    }

    pub(super) fn unmake(&mut self, name: &ObjectName, wish: Wish) {
        let key = (wish.need, wish.created, name.clone());
        self.through.remove(&wish.gateway, name);
        self.inside.remove(&wish.gateway, name);
        for vpc in wish.vpcs {
            if let Some(wishes) = self.wishes.get_mut(&vpc) {
                wishes.remove(&key);
                if wishes.is_empty() {
                    self.wishes.remove(&vpc);
                }
            }
            self.to_settle.insert(vpc);
        }
    }

    /// The VPCs that may want to join this gateway. It walks all; gateways change rarely.
    pub(super) fn wishing(&self, gateway: &Name) -> Vec<Name> {
        let wishes = self.wishes.iter();
        wishes
            .filter(|(_, wishes)| wishes.values().any(|wished| wished == gateway))
            .map(|(vpc, _)| vpc.clone())
            .collect()
    }

    /// A VPC leaves. Its number stays its own.
    pub(super) fn part(&mut self, vpc: &Name) {
        self.leave(vpc);
    }

    /// A VPC is gone, with its number.
    pub(super) fn forget(&mut self, vpc: &Name) {
        self.leave(vpc);
        let starved = self.numbers.release(&Unit::Vpc(vpc.clone()));
        for unit in starved.into_iter().flatten() {
            if let Unit::Vpc(vpc) = unit {
                self.to_settle.insert(vpc);
            }
        }
    }

    /// A number for a VPC: its own, or the first of these that nobody has, or else one of a VPC that has joined nothing.
    pub(super) fn number(
        &mut self,
        vpc: &Name,
        candidates: impl Iterator<Item = u32> + Clone,
    ) -> Option<u32> {
        let unit = Unit::Vpc(vpc.clone());
        if let Some(number) = self.numbers.of(&unit) {
            return Some(number);
        }
        if !self.numbers.choose(&unit, candidates.clone()) {
            let idle = self.numbers.units().filter(|unit| match unit {
                Unit::Vpc(vpc) => !self.joined.contains_key(vpc),
                _ => true,
            });
            let idle = idle.min()?.clone();
            self.numbers.release(&idle);
            self.numbers.choose(&unit, candidates);
        }
        self.numbers.of(&unit)
    }

    pub(super) fn place(&mut self, vpc: &Name, gateway: Name, number: u32) {
        self.leave(vpc);
        let members = self.members.entry(gateway.clone()).or_default();
        members.insert(vpc.clone());
        self.joined.insert(vpc.clone(), Join { gateway, number });
    }

    fn leave(&mut self, vpc: &Name) -> Option<Join> {
        let join = self.joined.remove(vpc)?;
        if let Some(members) = self.members.get_mut(&join.gateway) {
            members.remove(vpc);
            if members.is_empty() {
                self.members.remove(&join.gateway);
            }
        }
        Some(join)
    }

    /// The VPCs that have joined a gateway, also while its object is away.
    pub(super) fn vpcs_of(&self, gateway: &Name) -> impl Iterator<Item = &Name> {
        self.members.get(gateway).into_iter().flatten()
    }
}
