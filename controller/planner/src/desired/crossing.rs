//! The way from a service to backends in other VPCs: an address in each VPC, balanced there by the VPC's own router.
//! Before it stands the load balancer of the client: on the switches of the service's VPC for its workloads, on the service
//! gateway (or the EIP gateway's router) for the outside. A VPC's share is by the weights of its backends.

use ovsdb_model::{Table, Uuid};

use super::Referrer;
use crate::family::Family;
use crate::inventory::{Addresses, Inventory, Problem, Service};
use crate::name::{Name, ObjectName};
use crate::nb::LogicalRouter;
use crate::unit::Unit;

/// A VPC that backends lie in, and that can be reached.
#[derive(Debug)]
pub(super) struct Target<'a> {
    /// `None`: the service's own.
    pub(super) other: Option<&'a Name>,
    pub(super) vpc: &'a Name,
    /// The address that leads there, in each family.
    pub(super) vips: Addresses,
    router: Uuid,
    adopted: bool,
}

/// The VPCs that a service with backends in several reaches.
#[derive(Debug, Default)]
pub(super) struct Crossing<'a> {
    pub(super) targets: Vec<Target<'a>>,
    pub(super) problem: Option<Problem>,
}

impl Target<'_> {
    /// The router that balances here.
    pub(super) fn router(&self) -> Referrer {
        Referrer {
            table: LogicalRouter::NAME,
            row: self.router,
            column: "load_balancer",
            maker: (!self.adopted).then(|| Unit::Vpc(self.vpc.clone())),
        }
    }
}

pub(super) fn crossing<'a>(
    name: &ObjectName,
    service: &'a Service,
    inventory: &Inventory,
) -> Crossing<'a> {
    let mut crossing = Crossing::default();
    for vpc in service.targets() {
        match target(name, service, vpc, inventory) {
            Ok(target) => crossing.targets.push(target),
            Err(problem) => {
                crossing.problem.get_or_insert(problem);
            }
        }
    }
    crossing
}

fn target<'a>(
    name: &ObjectName,
    service: &Service,
    vpc: &'a Name,
    inventory: &Inventory,
) -> Result<Target<'a>, Problem> {
    let found = inventory.vpc_for(&name.namespace, vpc)?;
    let routerless = |vpc: &&Name| inventory.vpc(vpc).is_none_or(|vpc| vpc.router.is_none());
    if let Some(routerless) = [&service.vpc, vpc].into_iter().find(routerless) {
        return Err(Problem::new(
            "RouterMissing",
            format!(
                "backends in Vpc {vpc} are left out: Vpc {routerless} has no router yet, its conditions say why"
            ),
        ));
    }
    let gateway = |vpc: &Name| inventory.join_of(vpc).map(|join| &join.gateway);
    let (own, theirs) = (gateway(&service.vpc), gateway(vpc));
    let (Some(router), true) = (found.router, inventory.reaches(name, service, vpc)) else {
        let said = |gateway: Option<&Name>| match gateway {
            Some(gateway) => format!("joined {gateway}"),
            None => "joined none".to_owned(),
        };
        return Err(Problem::new(
            "NoSharedGateway",
            format!(
                "backends in Vpc {vpc} are left out: it is reached over an EipGateway that both Vpcs have joined, and {} has {}, \
                 {vpc} has {}; set spec.eipGateway of both Vpcs to the same one, or mark one as default",
                service.vpc,
                said(own),
                said(theirs)
            ),
        ));
    };
    let vips = Family::ALL.map(|family| inventory.vpc_vip(vpc, name, family));
    let vips: Addresses = vips.into_iter().flatten().collect();
    if vips.is_empty() {
        return Err(Problem::new(
            "VIPRangeFull",
            format!(
                "backends in Vpc {vpc} are left out: all addresses by which services reach into it are taken; delete services \
                 with backends there"
            ),
        ));
    }
    Ok(Target {
        other: (*vpc != service.vpc).then_some(vpc),
        vpc,
        vips,
        router,
        adopted: found.adopts.is_some(),
    })
}
