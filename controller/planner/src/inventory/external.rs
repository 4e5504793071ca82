//! What services want of the outside, and who of them wants the same.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use ipnet::IpNet;
use yusur_crds::{EipRequest, Protocol, SourceAddress};

use super::eip::{Holding, Request};
use super::parse::{self, Addresses, Problem};
use crate::name::{Name, ObjectName};
use crate::unit::Unit;

/// An object and how old it is: the older comes first.
pub(crate) type Aged = (i64, ObjectName);

/// How much a service needs its VPCs to join a certain gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// Its external address is of this gateway.
    This,
    /// Any will do, as long as all its VPCs join it.
    Any,
}

/// How a service wants its external address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// An Eip of its namespace.
    Shared(Name),
    /// An address of its own.
    Own(Request),
}

/// What a service has of the outside.
#[derive(Clone, Debug)]
pub(crate) struct External {
    pub(crate) wish: Wish,
    /// Clients that may use the address; all, if it lists none.
    pub(crate) source_ranges: Box<[IpNet]>,
    /// Backends are to see the client's address, also where they lie in several VPCs.
    pub(crate) preserve: bool,
    /// Addresses its status records.
    pub(super) recorded: Addresses,
    /// What became of a wish for an address of its own.
    pub(super) holding: Holding,
}

/// The services that use one Eip, whether it is there or not.
#[derive(Debug, Default)]
pub(super) struct Share {
    pub(super) users: BTreeSet<Aged>,
    /// Who wants a port; the oldest has it. Users whose addresses lead to different places do not compete: only one place
    /// has the Eip.
    pub(super) ports: BTreeMap<EipPort, BTreeSet<Aged>>,
}

/// Where the EIP gateway leads an address on to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Leads {
    /// The router of a VPC.
    Vpc(Name),
    /// The service gateway.
    ServiceGateway,
}

/// A port of an Eip, for services of one place that it can lead to; or (`None`) for those that are balanced on the EIP
/// gateway itself.
pub(super) type EipPort = (Protocol, u16, Option<Leads>);

/// Who asks which gateway for addresses (`None`: whichever is the default).
#[derive(Debug, Default)]
pub(super) struct Askers(HashMap<Option<Name>, BTreeSet<(i64, Unit)>>);

impl Share {
    /// Who comes first for a port, in each place and on the EIP gateway.
    pub(super) fn first_of(&self, (protocol, port, _): &EipPort) -> Vec<Aged> {
        let from = (*protocol, *port, None);
        let of_port = self
            .ports
            .range(from..)
            .take_while(|((p, n, _), _)| (p, n) == (protocol, port));
        of_port
            .filter_map(|(_, claimants)| claimants.first().cloned())
            .collect()
    }
}

impl Askers {
    pub(super) fn join(&mut self, gateway: Option<Name>, created: i64, unit: Unit) {
        self.0.entry(gateway).or_default().insert((created, unit));
    }

    pub(super) fn leave(&mut self, gateway: &Option<Name>, created: i64, unit: &Unit) {
        if let Some(units) = self.0.get_mut(gateway) {
            units.remove(&(created, unit.clone()));
            if units.is_empty() {
                self.0.remove(gateway);
            }
        }
    }

    pub(super) fn of(&self, gateway: Option<&Name>) -> Vec<(i64, Unit)> {
        let units = self.0.get(&gateway.cloned()).into_iter().flatten();
        units.cloned().collect()
    }
}

impl Wish {
    pub(super) fn own(&self) -> Option<&Request> {
        match self {
            Self::Own(request) => Some(request),
            Self::Shared(_) => None,
        }
    }
}

impl External {
    pub(super) fn parse(
        request: &EipRequest,
        source_ranges: &[String],
        source_address: SourceAddress,
        recorded: Addresses,
    ) -> Result<Self, Problem> {
        let wish = match &request.name {
            Some(_)
                if request.gateway.is_some()
                    || !request.addresses.is_empty()
                    || !request.ip_families.is_empty() =>
            {
                return Err(Problem::invalid(
                    "spec.eip: give the name of an Eip, or gateway, addresses and ipFamilies of an address of the service's \
                     own, not both",
                ));
            }
            Some(name) => Wish::Shared(name.as_str().into()),
            None => Wish::Own(Request::of_service(request)?),
        };
        // A range that cannot be read must not let everybody in: then nobody is served.
        let read = source_ranges
            .iter()
            .map(|text| parse::network_around("spec.sourceRanges", text));
        Ok(Self {
            wish,
            source_ranges: read.collect::<Result<_, _>>()?,
            preserve: source_address == SourceAddress::Preserve,
            recorded,
            holding: Holding::default(),
        })
    }

    /// The Eip it uses.
    pub(super) fn shared(&self, service: &ObjectName) -> Option<ObjectName> {
        match &self.wish {
            Wish::Shared(name) => Some(ObjectName {
                namespace: service.namespace.clone(),
                name: name.clone(),
            }),
            Wish::Own(_) => None,
        }
    }
}
