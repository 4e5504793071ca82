//! A service's external address: what it may serve there, and what hinders it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ovsdb_model::Table;

use super::eip::Way;
use super::vips;
use super::{DesiredRow, Referrer, Rows, eip, inside};
use crate::family::Family;
use crate::inventory::{Addresses, BalancedOn, Inventory, Leads, Port, Problem, Service};
use crate::name::{Name, ObjectName};
use crate::nb::{Acl, LogicalSwitch, Text};
use crate::unit::Unit;

/// Whom a service's `sourceRanges` let in, and the rest.
const ADMIT: i64 = 1002;
const REFUSE: i64 = 1001;

/// The outside of a service that asks for an external address.
#[derive(Debug, Default)]
pub(super) struct Outside {
    /// The addresses it has.
    pub(super) held: Addresses,
    /// They are not in a status yet.
    pub(super) pending: bool,
    pub(super) problem: Option<Problem>,
    /// What hinders nothing and is seldom meant.
    pub(super) note: Option<String>,
    /// The gateway it is reached by, if nothing hinders.
    pub(super) gateway: Option<Name>,
    /// The addresses are the service's own: it makes the rows that own them.
    own: bool,
    /// Ports of a shared Eip that another service has.
    taken: BTreeSet<(&'static str, u16)>,
}

impl Outside {
    /// The external addresses that a port is served on.
    pub(super) fn addresses(&self, port: &Port) -> Addresses {
        let key = (vips::protocol(port.protocol), port.port);
        if self.gateway.is_none() || self.taken.contains(&key) {
            Addresses::default()
        } else {
            self.held
        }
    }

    /// What its status says: all of its own, which are on record there; of an Eip, what it can use.
    pub(super) fn shown(&self) -> Addresses {
        if self.own || self.gateway.is_some() {
            self.held
        } else {
            Addresses::default()
        }
    }

    /// True if addresses of the service's own wait to be recorded.
    pub(super) fn is_unrecorded(&self) -> bool {
        self.own && self.pending
    }

    /// True if clients outside reach some port.
    pub(super) fn serves(&self, service: &Service) -> bool {
        service
            .ports
            .iter()
            .any(|port| !self.addresses(port).is_empty())
    }
}

pub(super) fn outside(
    name: &ObjectName,
    service: &Service,
    inventory: &Inventory,
) -> Option<Outside> {
    let unit = inventory.external_unit(name)?;
    let mut outside = Outside {
        held: inventory.external_held(&unit),
        own: matches!(unit, Unit::Service(_)),
        ..Outside::default()
    };
    let holding = inventory.holding(&unit);
    outside.pending = holding.is_some_and(|holding| holding.unrecorded);
    outside.problem = hindrance(name, service, &unit, inventory);
    // One that is refused has a greater problem, and is not reached from outside either.
    let admitted = inventory.is_admitted(name);
    if admitted && outside.problem.is_none() && !outside.pending {
        outside.note = covering_route(service, outside.held, inventory);
        outside.gateway = holding.and_then(|holding| holding.gateway.clone());
        for port in &service.ports {
            let Some(other) = inventory.port_taken(name, port.protocol, port.port) else {
                continue;
            };
            outside
                .taken
                .insert((vips::protocol(port.protocol), port.port));
            outside.problem.get_or_insert_with(|| {
                Problem::new(
                    "EIPPortConflict",
                    format!(
                        "{} port {} of the Eip is the older service {}'s; choose another port or another Eip",
                        port.protocol.as_str(),
                        port.port,
                        other.name
                    ),
                )
            });
        }
    }
    Some(outside)
}

/// The route of its Vpc that leads the service's external address away, but for the ports that a load balancer takes.
fn covering_route(service: &Service, held: Addresses, inventory: &Inventory) -> Option<String> {
    let vpc = inventory.vpc(&service.vpc)?;
    let (route, address) = vpc.routes.iter().find_map(|(route, _)| {
        let covers = |address: &IpAddr| route.prefix_len() > 0 && route.contains(address);
        Some((route, held.iter().find(covers)?))
    })?;
    Some(format!(
        "route {route} of Vpc {} covers its external address {address}: what is sent there to ports that no service serves takes \
         that route",
        service.vpc
    ))
}

/// Why the service is not reached from outside, if so.
fn hindrance(
    name: &ObjectName,
    service: &Service,
    unit: &Unit,
    inventory: &Inventory,
) -> Option<Problem> {
    // Without its VPC the service has a greater problem.
    let vpc = inventory.vpc_for(&name.namespace, &service.vpc).ok()?;
    if let Unit::Eip(eip) = unit
        && inventory.eip(eip).is_none()
    {
        return Some(Problem::new(
            "EipNotFound",
            format!(
                "there is no Eip {} in namespace {}; create it, or correct spec.eip.name",
                eip.name, eip.namespace
            ),
        ));
    }
    if let Some(problem) = inventory.external_problem(unit) {
        return Some(match unit {
            Unit::Eip(eip) => Problem::new(
                "EipNotAccepted",
                format!("Eip {} is not accepted: {}", eip.name, problem.message),
            ),
            _ => problem,
        });
    }
    let holding = inventory.holding(unit)?;
    let gateway = holding.gateway.as_ref()?;
    if inventory.join_is_full(&service.vpc) {
        return Some(Problem::new(
            "JoinRangeFull",
            format!(
                "Vpc {} could not join EipGateway {gateway}: all addresses for that are taken; remove external addresses \
                 from other Vpcs, or give the controller larger ranges",
                service.vpc
            ),
        ));
    }
    let joined = inventory.join_of(&service.vpc).map(|join| &join.gateway);
    if joined != Some(gateway) {
        let reason = match (joined, &vpc.gateway) {
            (_, Some(said)) => format!("its spec.eipGateway says {said}"),
            (Some(joined), None) => format!("it has joined {joined}, which is in use"),
            (None, None) => "it has joined none".to_owned(),
        };
        return Some(Problem::new(
            "GatewayConflict",
            format!(
                "Vpc {} cannot use EipGateway {gateway}, {reason}: answers leave a Vpc through one gateway only; take an \
                 address of that one",
                service.vpc
            ),
        ));
    }
    if vpc.router.is_none() {
        return Some(Problem::new(
            "RouterMissing",
            format!(
                "Vpc {} has no router yet, its conditions say why",
                service.vpc
            ),
        ));
    }
    let held = inventory.external_held(unit);
    // Answers to the service gateway stay on the join.
    let returns = service.balanced_on() != Some(BalancedOn::ServiceGateway);
    if let Some(family) = held
        .iter()
        .map(Family::of)
        .find(|family| returns && vpc.has_default_route(*family))
    {
        return Some(Problem::new(
            "DefaultRouteConflict",
            format!(
                "Vpc {} has an {} default route of its own, so answers would not leave through EipGateway {gateway}; remove \
                 it from the Vpc's staticRoutes",
                service.vpc,
                family.as_str()
            ),
        ));
    }
    if let (Unit::Eip(eip), Some(wanted)) = (unit, service.leads())
        && let Some(leads) = inventory.eip_leads(eip)
        && leads != wanted
    {
        let message = match leads {
            Leads::Vpc(_) => format!(
                "Eip {} leads to the Vpc of an older service; an Eip leads to one Vpc, take another Eip",
                eip.name
            ),
            Leads::ServiceGateway => format!(
                "Eip {} leads to the service gateway, for an older service with backends in several Vpcs; take another Eip",
                eip.name
            ),
        };
        return Some(Problem::new("EIPInOtherVPC", message));
    }
    None
}

/// The rows beside the load balancers: what owns addresses of the service's own, and whom `sourceRanges` let in.
pub(super) fn rows(
    unit: &Unit,
    service: &Service,
    outside: &Outside,
    inventory: &Inventory,
) -> Rows {
    let (Some(gateway), Some(external)) = (&outside.gateway, &service.external) else {
        return Vec::new();
    };
    let mut rows = Vec::new();
    if outside.own {
        let leads = service.leads();
        let way = leads.as_ref().map_or(Way::Here, Way::To);
        rows.extend(eip::owners(unit, gateway, outside.held, &way, inventory));
        if service.balanced_on() == Some(BalancedOn::EipGateway) {
            rows.extend(inside::routes(unit, gateway, outside.held, inventory));
        }
    }
    if !external.source_ranges.is_empty() {
        for address in outside.held.iter() {
            rows.extend(guards(unit, service, outside, gateway, address, inventory));
        }
    }
    rows
}

/// Who may use one address. The rules are where the address is still what the client asked for: on the join, where
/// clients of other VPCs pass as well, and before the gateway's router if that balances itself. One rule names what is let
/// in and another drops the rest: to negate a set of networks would multiply flows.
fn guards(
    unit: &Unit,
    service: &Service,
    outside: &Outside,
    gateway: &Name,
    address: IpAddr,
    inventory: &Inventory,
) -> Rows {
    let ids = inventory.ids();
    let family = Family::of(address);
    let ip = match family {
        Family::V4 => "ip4",
        Family::V6 => "ip6",
    };
    let admitted = service
        .external
        .iter()
        .flat_map(|external| &external.source_ranges);
    let sources: Vec<String> = admitted
        .filter(|net| Family::of(net.addr()) == family)
        .map(ToString::to_string)
        .collect();
    let mut switches = vec![ids.join(gateway)];
    if service.balanced_on() == Some(BalancedOn::EipGateway) {
        switches.push(ids.gateway_switch(gateway));
    }
    let parent = |row| Referrer {
        table: LogicalSwitch::NAME,
        row,
        column: "acls",
        maker: Some(Unit::EipGateway(gateway.clone())),
    };
    let parents: Vec<Referrer> = switches.into_iter().map(parent).collect();
    let mut rows = Vec::new();
    for protocol in ["tcp", "udp", "sctp"] {
        let ports: BTreeSet<u16> = service
            .ports
            .iter()
            .filter(|port| vips::protocol(port.protocol) == protocol)
            .filter(|port| !outside.addresses(port).is_empty())
            .map(|port| port.port)
            .collect();
        if ports.is_empty() {
            continue;
        }
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        let what = format!(
            "{ip}.dst == {address} && {protocol}.dst == {{{}}}",
            ports.join(", ")
        );
        let mut rule = |priority: i64, action: &'static str, expression: String| {
            let acl = Acl {
                direction: Text::new_static("from-lport"),
                priority,
                expression: Text::from(expression),
                action: Text::new_static(action),
                external_ids: ids.labels(unit),
            };
            let key = format!("{unit}/{address}/{protocol}/{action}");
            rows.extend(DesiredRow::new(
                ids.row(Acl::NAME, &key),
                &acl,
                parents.clone(),
            ));
        };
        if !sources.is_empty() {
            let sources = sources.join(", ");
            rule(
                ADMIT,
                "allow",
                format!("{what} && {ip}.src == {{{sources}}}"),
            );
        }
        rule(REFUSE, "drop", what);
    }
    rows
}
