//! A Vpc: its router (or one that is there), its routes, and the group of its services' load balancers, which every
//! switch of the VPC carries. On a plain router the group would change addresses one way and not back
//! (ovn-architecture(7) gives load balancing to gateway and distributed gateway ports), so the router carries it only
//! once it has a gateway port: when it has joined an EIP gateway.

use std::borrow::Cow;
use std::collections::BTreeSet;

use ipnet::IpNet;
use ovsdb_model::Table;
use yusur_crds::VpcStatus;
use yusur_crds::common::condition;

use super::{
    DesiredRow, Referrer, Rows, accepted, follows, join, programmed, say, silent, subject,
};
use crate::inventory::{Addresses, Inventory, Problem, Vpc};
use crate::name::Name;
use crate::nb::{LoadBalancerGroup, LogicalRouter, LogicalSwitch, StaticRoute, Text};
use crate::unit::Unit;
use crate::verdict::{Status, Truth, Verdict};

pub(super) fn desired(unit: &Unit, name: &Name, inventory: &Inventory) -> (Rows, Verdict) {
    let Some(vpc) = inventory.vpc(name) else {
        return (Vec::new(), silent(unit));
    };
    let ids = inventory.ids();
    let mut rows = Vec::new();

    if vpc.adopts.is_none() {
        let router = LogicalRouter {
            name: ids.name(name),
            external_ids: ids.labels(unit),
            ..LogicalRouter::default()
        };
        rows.extend(DesiredRow::new(ids.router(name), &router, Vec::new()));
    }
    if let Some(router) = vpc.router {
        for (destination, next_hop) in &vpc.routes {
            let next_hop =
                next_hop.map_or_else(|| "discard".to_owned(), |address| address.to_string());
            let route = StaticRoute::new(
                Text::from(destination.to_string()),
                Text::from(next_hop.as_str()),
                ids.labels(unit),
            );
            let parent = Referrer {
                table: LogicalRouter::NAME,
                row: router,
                column: "static_routes",
                maker: vpc.adopts.is_none().then(|| unit.clone()),
            };
            let id = ids.row(
                StaticRoute::NAME,
                &format!("{name}/{destination}/{next_hop}"),
            );
            rows.extend(DesiredRow::new(id, &route, vec![parent]));
        }
    }
    let mut carriers = switches(name, "load_balancer_group", inventory);
    let mut join_addresses = Addresses::default();
    if let (Some(router), Some(place)) = (vpc.router, inventory.join_of(name)) {
        let (join, addresses) = join::rows(unit, name, vpc, router, place, inventory);
        rows.extend(join);
        join_addresses = addresses;
        carriers.push(Referrer {
            table: LogicalRouter::NAME,
            row: router,
            column: "load_balancer_group",
            maker: vpc.adopts.is_none().then(|| unit.clone()),
        });
    }
    let group = LoadBalancerGroup {
        name: ids.group_name(name),
        load_balancer: BTreeSet::new(),
    };
    rows.extend(DesiredRow::new(ids.group(name), &group, carriers));

    if inventory.has_crossings(name) {
        let group = LoadBalancerGroup {
            name: ids.switch_group_name(name),
            load_balancer: BTreeSet::new(),
        };
        rows.extend(DesiredRow::new(
            ids.switch_group(name),
            &group,
            switches(name, "load_balancer_group", inventory),
        ));
    }

    let gateway_problem = gateway_problem(name, vpc, inventory);
    let problem = vpc.problem.as_ref().or(gateway_problem.as_ref());
    let mut conditions = vec![accepted(problem, "the Vpc is valid")];
    match problem.filter(|_| vpc.router.is_none()) {
        Some(problem) => conditions.extend([
            follows(condition::PROGRAMMED, &without_router(problem)),
            follows(condition::READY, &without_router(problem)),
        ]),
        None => {
            conditions.push(programmed());
            conditions.push(match problem {
                Some(problem) => follows(condition::READY, problem),
                None => {
                    let fine = "the router is there; Subnets can join it";
                    let message = match covering_route(name, vpc, inventory) {
                        Some(note) => format!("{fine}; {note}").into(),
                        None => Cow::Borrowed(fine),
                    };
                    say(condition::READY, Truth::True, "Ready", message)
                }
            });
        }
    }
    let logical_router = match (&vpc.adopts, vpc.router) {
        (None, _) => Some(ids.name(name).to_string()),
        (Some(_), Some(uuid)) => inventory.router_name(uuid).map(|name| name.to_string()),
        (Some(_), None) => None,
    };
    let verdict = Verdict {
        unit: unit.clone(),
        object: subject(unit, &vpc.header.uid, vpc.header.generation),
        conditions,
        status: Status::Vpc(VpcStatus {
            logical_router,
            // Without its router it joins nothing.
            eip_gateway: inventory
                .join_of(name)
                .filter(|_| vpc.router.is_some())
                .map(|join| join.gateway.to_string()),
            join_addresses: join_addresses
                .iter()
                .map(|address| address.to_string())
                .collect(),
            ..VpcStatus::default()
        }),
        record_first: false,
    };
    (rows, verdict)
}

/// The route of the VPC that leads external addresses of the gateway it has joined elsewhere.
fn covering_route(name: &Name, vpc: &Vpc, inventory: &Inventory) -> Option<String> {
    let place = inventory.join_of(name)?;
    let gateway = inventory.gateway(&place.gateway)?;
    let overlap = |a: &IpNet, b: &IpNet| a.contains(&b.network()) || b.contains(&a.network());
    let (route, range) = vpc.routes.iter().find_map(|(route, _)| {
        let mut ranges = gateway.cidrs.iter();
        let range = ranges.find(|range| route.prefix_len() > 0 && overlap(route, range))?;
        Some((route, range))
    })?;
    Some(format!(
        "spec.staticRoutes: {route} overlaps {range}, the external addresses of EipGateway {}: what workloads send there takes \
         that route, not the gateway",
        place.gateway
    ))
}

/// Why the VPC has not joined the gateway it names.
fn gateway_problem(name: &Name, vpc: &Vpc, inventory: &Inventory) -> Option<Problem> {
    let asked = vpc.gateway.as_ref()?;
    match inventory.gateway(asked) {
        None => Some(Problem::new(
            "GatewayNotFound",
            format!("there is no EipGateway {asked}; create it, or correct spec.eipGateway"),
        )),
        Some(gateway) if gateway.problem.is_some() => Some(Problem::new(
            "GatewayNotAccepted",
            format!("EipGateway {asked} is not accepted, its conditions say why"),
        )),
        Some(_) if inventory.join_is_full(name) => Some(Problem::new(
            "JoinRangeFull",
            "all addresses for joining EipGateways are taken; give the controller larger ranges",
        )),
        Some(_) => None,
    }
}

fn without_router(problem: &Problem) -> Problem {
    Problem {
        reason: problem.reason,
        message: format!(
            "without its router the Vpc joins nothing: {}",
            problem.message
        )
        .into(),
    }
}

/// All switches of a VPC, as referrers of a row that is for all of them.
pub(super) fn switches(vpc: &Name, column: &'static str, inventory: &Inventory) -> Vec<Referrer> {
    let subnets = inventory
        .subnets_of(vpc)
        .filter(|(_, subnet)| subnet.problem.is_none());
    let referrers = subnets.filter_map(|(name, subnet)| {
        let maker = subnet.adopts.is_none().then(|| Unit::Subnet(name.clone()));
        Some(Referrer {
            table: LogicalSwitch::NAME,
            row: subnet.switch?,
            column,
            maker,
        })
    });
    referrers.collect()
}
