//! Services and their external addresses: which services share an Eip, and where it leads to.

use std::collections::BTreeSet;

use yusur_crds::Protocol;

use super::crossing::BalancedOn;
use super::external::{Aged, EipPort, Leads, Need, Wish};
use super::{Inventory, Service};
use crate::name::{Name, ObjectName};
use crate::unit::Unit;

/// A service as a user of an Eip.
struct Use {
    eip: ObjectName,
    user: Aged,
    wants: Vec<EipPort>,
}

impl Inventory {
    /// Takes in that a service with an external address is there, or has changed.
    pub(super) fn external_arrived(&mut self, name: &ObjectName) {
        let Some(service) = self.services.get(name) else {
            return;
        };
        let unit = Unit::Service(name.clone());
        if let Some(external) = &service.external
            && let Wish::Own(request) = &external.wish
        {
            let (gateway, created) = (request.gateway.clone(), service.header.created);
            self.askers.join(gateway, created, unit.clone());
        }
        self.crossing_arrived(name);
        self.external_unsettled(&unit);
    }

    /// The opposite of [`Self::external_arrived`], while the service is still known. `keep`: the addresses it has are
    /// taken over by what follows.
    pub(super) fn external_leaves(&mut self, name: &ObjectName, keep: bool) {
        let Some(service) = self.services.get(name) else {
            return;
        };
        let created = service.header.created;
        let unit = Unit::Service(name.clone());
        self.pending_eips.remove(&(created, unit.clone()));
        if let Some(external) = &service.external
            && let Wish::Own(request) = &external.wish
        {
            let gateway = request.gateway.clone();
            self.askers.leave(&gateway, created, &unit);
        }
        self.unshare(name);
        self.forget_wish(name);
        if !keep {
            self.release_external(&unit);
        }
    }

    /// Puts a service among the users of the Eip it names, or takes it out if it is refused.
    pub(super) fn use_shared(&mut self, name: &ObjectName) {
        if self.admitted(name).is_some() {
            self.share(name);
        } else {
            self.unshare(name);
        }
        self.wish_changed(name);
    }

    fn share(&mut self, name: &ObjectName) {
        let Some(Use { eip, user, wants }) = self.sharing(name) else {
            return;
        };
        let before = self.eip_leads(&eip);
        let share = self.shares.entry(eip.clone()).or_default();
        if !share.users.insert(user.clone()) {
            return;
        }
        let mut rivals = Vec::new();
        for port in wants {
            rivals.extend(share.first_of(&port));
            share.ports.entry(port).or_default().insert(user.clone());
        }
        self.shared(&eip, rivals, before);
    }

    fn unshare(&mut self, name: &ObjectName) {
        let Some(Use { eip, user, wants }) = self.sharing(name) else {
            return;
        };
        let before = self.eip_leads(&eip);
        let Some(share) = self.shares.get_mut(&eip) else {
            return;
        };
        if !share.users.remove(&user) {
            return;
        }
        let mut heirs = Vec::new();
        for port in wants {
            if let Some(claimants) = share.ports.get_mut(&port) {
                claimants.remove(&user);
                if claimants.is_empty() {
                    share.ports.remove(&port);
                }
            }
            heirs.extend(share.first_of(&port));
        }
        if share.users.is_empty() {
            self.shares.remove(&eip);
        }
        self.shared(&eip, heirs, before);
    }

    /// How a service uses an Eip.
    fn sharing(&self, name: &ObjectName) -> Option<Use> {
        let service = self.services.get(name)?;
        let ports = service.ports.iter();
        let leads = service.leads();
        let wants = ports.map(|port| (port.protocol, port.port, leads.clone()));
        Some(Use {
            eip: service.external.as_ref()?.shared(name)?,
            user: (service.header.created, name.clone()),
            wants: wants.collect(),
        })
    }

    /// The users of an Eip are others.
    fn shared(&mut self, eip: &ObjectName, affected: Vec<Aged>, led_before: Option<Leads>) {
        for (_, service) in affected {
            self.dirty.add(Unit::Service(service));
        }
        self.dirty.add(Unit::Eip(eip.clone()));
        if self.eip_leads(eip) != led_before {
            self.users_changed(eip);
        }
    }

    /// Whoever uses the Eip has something else now.
    pub(super) fn users_changed(&mut self, eip: &ObjectName) {
        for (_, service) in self.users(eip) {
            self.dirty.add(Unit::Service(service.clone()));
            self.wish_changed(&service);
        }
    }

    /// An Eip tells which of its users are accepted: it is looked at after they were.
    pub(super) fn look_at_eips_of(&mut self, units: &[Unit]) {
        for unit in units {
            if let Unit::Service(name) = unit
                && let Some(eip @ Unit::Eip(_)) = self.external_unit(name)
            {
                self.dirty.add(eip);
            }
        }
    }

    fn users(&self, eip: &ObjectName) -> Vec<Aged> {
        let users = self.shares.get(eip).map(|share| share.users.iter());
        users.into_iter().flatten().cloned().collect()
    }

    /// The gateway that an admitted service's VPCs have to join for the service's sake, and how much depends on it.
    pub(super) fn wished_gateway(
        &self,
        name: &ObjectName,
        service: &Service,
    ) -> Option<(Need, Name)> {
        let Some(unit) = self.external_unit(name) else {
            if !service.crosses() {
                return None;
            }
            // Where any will do, its VPC's is the one.
            let joined = self.join_of(&service.vpc).map(|join| join.gateway.clone());
            let said = || self.vpcs.get(&service.vpc)?.gateway.clone();
            let any = joined.or_else(said);
            let any = any.or_else(|| {
                let (default, _) = self.gateway_for(&name.namespace, None).ok()?;
                Some(default.clone())
            })?;
            return Some((Need::Any, any));
        };
        let gateway = self.holding(&unit)?.gateway.clone()?;
        let refused = self.external_problem(&unit).is_some();
        (!refused).then_some((Need::This, gateway))
    }

    /// The VPC's join is another: so is what its services' external addresses lead to.
    pub(super) fn externals_of_vpc_changed(&mut self, services: &[ObjectName]) {
        let mut eips = BTreeSet::new();
        for name in services {
            self.dirty.add(Unit::Service(name.clone()));
            if let Some(service) = self.services.get(name).filter(|service| service.crosses()) {
                self.dirty.add(Unit::Calls(service.vpc.clone()));
            }
            let external = self.services.get(name).and_then(|s| s.external.as_ref());
            eips.extend(external.and_then(|external| external.shared(name)));
        }
        for eip in eips {
            self.dirty.add(Unit::Eip(eip.clone()));
            self.users_changed(&eip);
        }
    }

    /// Where an Eip leads to: what its oldest user needs whose VPC has joined the Eip's gateway.
    pub(crate) fn eip_leads(&self, eip: &ObjectName) -> Option<Leads> {
        let mut users = self.users_within_reach(eip);
        users.find_map(Service::leads)
    }

    /// True if a service with backends in several VPCs uses the Eip and may, on the EIP gateway itself.
    pub(crate) fn is_balanced_on_gateway(&self, eip: &ObjectName) -> bool {
        let mut users = self.users_within_reach(eip);
        users.any(|service| service.balanced_on() == Some(BalancedOn::EipGateway))
    }

    /// The services that use an Eip and whose VPC has joined its gateway, the oldest first.
    fn users_within_reach(&self, eip: &ObjectName) -> impl Iterator<Item = &Service> {
        let eip_gateway = self
            .eips
            .get(eip)
            .and_then(|eip| eip.holding.gateway.as_ref());
        let users = self
            .users_of(eip)
            .filter_map(|user| self.services.get(user).map(|service| &**service));
        users.filter(move |service| {
            let join = self.join_of(&service.vpc);
            eip_gateway.is_some() && join.map(|join| &join.gateway) == eip_gateway
        })
    }

    /// The names of the services that use an Eip, the oldest first.
    pub(crate) fn users_of(&self, eip: &ObjectName) -> impl Iterator<Item = &ObjectName> {
        let users = self.shares.get(eip).map(|share| share.users.iter());
        users.into_iter().flatten().map(|(_, name)| name)
    }

    /// The unit that owns a service's external addresses.
    pub(crate) fn external_unit(&self, name: &ObjectName) -> Option<Unit> {
        let external = self.services.get(name)?.external.as_ref()?;
        Some(match external.shared(name) {
            Some(eip) => Unit::Eip(eip),
            None => Unit::Service(name.clone()),
        })
    }

    /// The service that has a port of the Eip that `name` uses, if that is another one.
    pub(crate) fn port_taken(
        &self,
        name: &ObjectName,
        protocol: Protocol,
        port: u16,
    ) -> Option<&ObjectName> {
        let service = self.services.get(name)?;
        let eip = service.external.as_ref()?.shared(name)?;
        let ports = &self.shares.get(&eip)?.ports;
        // Those of the place the Eip leads to compete with those balanced on the gateway.
        let leads = service.leads().or_else(|| self.eip_leads(&eip));
        let first = |leads| {
            ports
                .get(&(protocol, port, leads))
                .and_then(BTreeSet::first)
        };
        let led_to = leads.and_then(|leads| first(Some(leads)));
        let (_, holder) = first(None).into_iter().chain(led_to).min()?;
        (holder != name).then_some(holder)
    }
}
