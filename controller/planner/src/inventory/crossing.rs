//! Which services look for backends in which other VPCs, and the addresses that they have there.

use std::collections::BTreeSet;

use hashbrown::HashMap;

use super::external::Leads;
use super::ipam::numbers::Numbers;
use super::service::Service;
use crate::name::{Name, ObjectName};

/// Where connections from outside to a service are balanced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BalancedOn {
    /// The router of its VPC: that is where all its backends are.
    VpcRouter,
    /// The service gateway, which has connections to backends in several VPCs come from itself.
    ServiceGateway,
    /// The EIP gateway's router, so that backends in several VPCs see who is there.
    EipGateway,
}

/// The numbers there are: a /24 without its network and broadcast addresses.
pub(super) const NUMBERS: std::ops::RangeInclusive<u8> = 1..=254;

/// The services with backends in other VPCs than their own, and the addresses by which those are reached.
#[derive(Debug, Default)]
pub(super) struct Crossings {
    /// By VPC, the services of other VPCs that have backends in it.
    pub(super) guests: HashMap<Name, BTreeSet<ObjectName>>,
    /// By VPC, its own services that have backends in others.
    pub(super) own: HashMap<Name, BTreeSet<ObjectName>>,
    /// By VPC, which addresses of its share are taken, by the number that is their end.
    pub(super) slots: HashMap<Name, Numbers<u8>>,
    /// By service, the VPCs in whose share it has an address.
    pub(super) has: HashMap<ObjectName, BTreeSet<Name>>,
    /// By service, the VPCs in whose share there was none left for it.
    pub(super) waits: HashMap<ObjectName, BTreeSet<Name>>,
    /// Services that may need more addresses, or fewer.
    pub(super) to_settle: BTreeSet<ObjectName>,
}

impl Service {
    /// The other VPCs that it looks for backends in; none if it is headless, for then its name resolves to them.
    pub(crate) fn elsewhere(&self) -> BTreeSet<&Name> {
        let entries = self.backends.iter().filter(|_| !self.headless());
        entries
            .filter_map(|entry| entry.elsewhere.as_ref())
            .collect()
    }

    /// True if it looks for backends in other VPCs.
    pub(crate) fn crosses(&self) -> bool {
        !self.headless() && self.backends.iter().any(|entry| entry.elsewhere.is_some())
    }

    /// Where connections from outside are balanced; `None` without an external address.
    pub(crate) fn balanced_on(&self) -> Option<BalancedOn> {
        let external = self.external.as_ref()?;
        Some(match (self.crosses(), external.preserve) {
            (false, _) => BalancedOn::VpcRouter,
            (true, false) => BalancedOn::ServiceGateway,
            (true, true) => BalancedOn::EipGateway,
        })
    }

    /// Where its external address must lead to; `None` without one, and where the EIP gateway itself balances it.
    pub(crate) fn leads(&self) -> Option<Leads> {
        match self.balanced_on()? {
            BalancedOn::VpcRouter => Some(Leads::Vpc(self.vpc.clone())),
            BalancedOn::ServiceGateway => Some(Leads::ServiceGateway),
            BalancedOn::EipGateway => None,
        }
    }

    /// The VPCs that lead to its backends by an address of theirs: other VPCs, and its own where the way in is by an EIP
    /// gateway.
    pub(crate) fn targets(&self) -> BTreeSet<&Name> {
        let mut targets = self.elsewhere();
        if self.crosses()
            && self.external.is_some()
            && self.backends.iter().any(|entry| entry.elsewhere.is_none())
        {
            targets.insert(&self.vpc);
        }
        targets
    }
}
