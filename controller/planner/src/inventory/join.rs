//! The joins of VPCs to EIP gateways, and what services wish of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::external::Need;
use crate::name::{Name, ObjectName};

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
    /// By EIP gateway, the services whose outside goes by its service gateway.
    pub(super) through: HashMap<Name, BTreeSet<ObjectName>>,
    /// EIP gateways of which `through` has changed, and those that had a service gateway when it was last looked at.
    pub(super) through_changed: BTreeSet<Name>,
    pub(super) with_service_gateway: BTreeSet<Name>,
    /// The same by VPC; the first counts.
    pub(super) wishes: HashMap<Name, BTreeMap<(Need, i64, ObjectName), Name>>,
    /// The gateways that VPCs must join, as far as they have been looked at.
    pub(super) needed: HashMap<Name, Name>,
    pub(super) joined: HashMap<Name, Join>,
    pub(super) numbers: HashMap<u32, Name>,
    /// VPCs for which no number was left.
    pub(super) starved: BTreeSet<Name>,
    /// VPCs to look at again.
    pub(super) to_settle: BTreeSet<Name>,
}

/// What a service wishes its VPCs to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) need: Need,
    pub(super) created: i64,
    pub(super) gateway: Name,
    pub(super) vpcs: BTreeSet<Name>,
    /// Its outside goes by the gateway's service gateway.
    pub(super) through: bool,
}

impl Joins {
    pub(super) fn make(&mut self, name: &ObjectName, wish: Wish) {
        for vpc in &wish.vpcs {
            let key = (wish.need, wish.created, name.clone());
            let wishes = self.wishes.entry(vpc.clone()).or_default();
            wishes.insert(key, wish.gateway.clone());
            self.to_settle.insert(vpc.clone());
        }
        if wish.through {
            let services = self.through.entry(wish.gateway.clone()).or_default();
            services.insert(name.clone());
            self.through_changed.insert(wish.gateway.clone());
        }
        self.made.insert(name.clone(), wish);
    }

    pub(super) fn unmake(&mut self, name: &ObjectName, wish: Wish) {
        let key = (wish.need, wish.created, name.clone());
        if let Some(services) = self.through.get_mut(&wish.gateway) {
            if services.remove(name) {
                self.through_changed.insert(wish.gateway.clone());
            }
            if services.is_empty() {
                self.through.remove(&wish.gateway);
            }
        }
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

    /// A VPC leaves. True if it had joined.
    pub(super) fn part(&mut self, vpc: &Name) -> bool {
        self.starved.remove(vpc);
        let Some(join) = self.joined.remove(vpc) else {
            return false;
        };
        self.numbers.remove(&join.number);
        self.to_settle.append(&mut self.starved);
        true
    }

    pub(super) fn place(&mut self, vpc: &Name, gateway: Name, number: u32) {
        self.numbers.insert(number, vpc.clone());
        self.joined.insert(vpc.clone(), Join { gateway, number });
        self.starved.remove(vpc);
    }
}
