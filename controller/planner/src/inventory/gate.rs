//! The gate through which every wish goes: what an object wants of a Vpc, a Subnet or an EIP gateway it wants with that
//! one's leave only, and while it is accepted itself. Who is refused asks for nothing: no address, no place on a join,
//! no number, no route, no router, no name. (What it holds already it keeps, see [`super::ipam`].)
//!
//! Whoever acts on a wish takes it from here, and looks at no rule of `allowedNamespaces` itself.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::ipam::Scope;
use super::parse::Problem;
use super::topology::{Precision, Subnet, Vpc};
use super::workload::Workload;
use super::{Gateway, Inventory, Service};
use crate::family::Family;
use crate::name::{Name, ObjectName};
use crate::unit::Unit;

impl Inventory {
    /// The VPC, if it is there and the namespace may use it.
    pub(crate) fn vpc_for(&self, namespace: &Name, vpc: &Name) -> Result<&Vpc, Problem> {
        let Some(found) = self.vpcs.get(vpc) else {
            return Err(Problem::new(
                "VpcNotFound",
                format!("there is no Vpc {vpc}; create it, or correct spec.vpc"),
            ));
        };
        if !self.vpc_allows(found, namespace) {
            return Err(Problem::new(
                "NamespaceNotAllowed",
                format!(
                    "Vpc {vpc} does not allow namespace {namespace}; its allowedNamespaces must name or select it"
                ),
            ));
        }
        Ok(found)
    }

    fn vpc_allows(&self, vpc: &Vpc, namespace: &Name) -> bool {
        let space = self.spaces.get(namespace);
        let allowed = vpc.allowed.allows(namespace, space, &self.labels);
        allowed.is_some()
    }

    /// The gateway asked for, or the default, if it is there and the namespace may use it.
    pub(super) fn gateway_for(
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

    /// How precisely a Subnet is meant as a namespace's default; `None` if it is not, or its VPC does not allow it.
    pub(super) fn default_rank(&self, subnet: &Subnet, namespace: &Name) -> Option<Precision> {
        let space = self.spaces.get(namespace);
        let meant = subnet.default_for.allows(namespace, space, &self.labels)?;
        let vpc = self.vpcs.get(&subnet.vpc)?;
        self.vpc_allows(vpc, namespace).then_some(meant)
    }

    /// Whether a Subnet's VPC is there and does not allow a namespace.
    pub(super) fn is_shut_out(&self, namespace: &Name, subnet: &Name) -> bool {
        let subnet = self.subnets.get(subnet);
        let vpc = subnet.and_then(|subnet| self.vpcs.get(&subnet.vpc));
        vpc.is_some_and(|vpc| !self.vpc_allows(vpc, namespace))
    }

    /// Why a workload may ask for nothing in the Subnet it is in, if so.
    pub(crate) fn port_refusal(
        &self,
        workload: &Workload,
        name: &Name,
        subnet: &Subnet,
    ) -> Option<Problem> {
        if let Err(problem) = self.vpc_for(&workload.name.namespace, &subnet.vpc) {
            return Some(problem);
        }
        if let Some(problem) = &subnet.problem {
            return Some(Problem::new(
                "SubnetNotAccepted",
                format!("Subnet {name} is not accepted: {}", problem.message),
            ));
        }
        workload.misfit(subnet, name)
    }

    /// The service, if it may be in its VPC and has the cluster addresses it is to have: before that it asks for nothing
    /// of the outside, nor of other VPCs.
    pub(super) fn admitted(&self, name: &ObjectName) -> Option<&Service> {
        let service = &**self.services.get(name)?;
        self.vpc_for(&name.namespace, &service.vpc).ok()?;
        let unit = Unit::Service(name.clone());
        let claims = &service.outcome.claims;
        let held = self.ipam.held(&service.cluster_scope(), &unit, claims);
        (service.outcome.problem.is_none() && held == *claims).then_some(service)
    }

    /// True if the service may ask for something besides its cluster addresses.
    pub(crate) fn is_admitted(&self, name: &ObjectName) -> bool {
        self.admitted(name).is_some()
    }

    /// True if an address in a VPC is one of the service's own: as its own backend it would go round in circles.
    pub(crate) fn is_own_address(&self, name: &ObjectName, vpc: &Name, address: IpAddr) -> bool {
        let unit = Unit::Service(name.clone());
        let inside = self.ipam.holder(&Scope::Vpc(vpc.clone()), address);
        let outside = || {
            let owner = self.external_unit(name)?;
            self.external_held(&owner).get(Family::of(address))
        };
        inside == Some(&unit) || outside() == Some(address)
    }

    /// The other VPCs in which an admitted service may have backends.
    pub(super) fn admitted_elsewhere<'a>(
        &'a self,
        name: &'a ObjectName,
        service: &'a Service,
    ) -> impl Iterator<Item = &'a Name> {
        let vpcs: BTreeSet<&Name> = service.elsewhere();
        vpcs.into_iter()
            .filter(|vpc| self.vpc_for(&name.namespace, vpc).is_ok())
    }
}
