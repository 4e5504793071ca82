//! What owns an external address and leads it to a VPC. Four parts make an address work: the row by which the gateway
//! answers for it, the gateway's route to the VPC, the VPC router's load balancer, and a route there that discards what
//! no load balancer took: without it a packet to a port nobody serves would go round between the two routers.

use std::net::IpAddr;

use ovsdb_model::Table;
use yusur_crds::EipStatus;
use yusur_crds::common::condition;

use super::{DesiredRow, Referrer, Rows, accepted, follows, programmed, say, silent, subject};
use crate::family::Family;
use crate::inventory::{Addresses, Inventory, Problem};
use crate::name::{Name, ObjectName};
use crate::nb::{LogicalRouter, Map, Nat, StaticRoute, Text};
use crate::unit::Unit;
use crate::verdict::{ADDRESS_PENDING, Status, Truth, Verdict};

pub(super) fn desired(unit: &Unit, name: &ObjectName, inventory: &Inventory) -> (Rows, Verdict) {
    let Some(eip) = inventory.eip(name) else {
        return (Vec::new(), silent(unit));
    };
    let holding = &eip.holding;
    let held = inventory.external_held(unit);
    let vpc = inventory.eip_vpc(name);
    let mut rows = Vec::new();
    if let Some(gateway) = &holding.gateway
        && !holding.unrecorded
    {
        let way = vpc.map_or(Way::Nowhere, Way::Vpc);
        rows = owners(unit, gateway, held, &way, inventory);
    }
    let problem = inventory.external_problem(unit);
    let users: Vec<String> = inventory
        .users_of(name)
        .map(|service| service.name.to_string())
        .collect();
    let mut conditions = vec![accepted(problem.as_ref(), "the Eip is valid")];
    match (&problem, holding.unrecorded) {
        (Some(problem), _) => conditions.extend([
            follows(condition::PROGRAMMED, problem),
            follows(condition::READY, problem),
        ]),
        (None, true) => {
            let pending = pending();
            conditions.extend([
                follows(condition::PROGRAMMED, &pending),
                follows(condition::READY, &pending),
            ]);
        }
        (None, false) => {
            conditions.push(programmed());
            conditions.push(match vpc {
                Some(vpc) => say(
                    condition::READY,
                    Truth::True,
                    "InUse",
                    format!("it leads to services in Vpc {vpc}"),
                ),
                None if inventory.is_balanced_on_gateway(name) => say(
                    condition::READY,
                    Truth::True,
                    "InUse",
                    "the gateway balances it over several Vpcs",
                ),
                None => say(
                    condition::READY,
                    Truth::True,
                    "Unused",
                    "the address is held; no service uses it yet",
                ),
            });
        }
    }
    let verdict = Verdict {
        unit: unit.clone(),
        object: subject(unit, &eip.header.uid, eip.header.generation),
        conditions,
        status: Status::Eip(EipStatus {
            gateway: holding.gateway.as_ref().map(ToString::to_string),
            addresses: held.iter().map(|address| address.to_string()).collect(),
            used_by: users,
            ..EipStatus::default()
        }),
        record_first: holding.unrecorded,
    };
    (rows, verdict)
}

/// What is said while an address is on its way into a status.
pub(super) fn pending() -> Problem {
    Problem::new(
        ADDRESS_PENDING,
        "its address is allocated, and used once its status records it",
    )
}

/// Where a gateway leads an address.
pub(super) enum Way<'a> {
    /// To a VPC, which balances it.
    Vpc(&'a Name),
    /// It is balanced on the gateway's own router, which answers for it on that account.
    Here,
    /// It is answered for, and what comes is dropped.
    Nowhere,
}

/// The rows by which a gateway owns addresses and leads them on.
pub(super) fn owners(
    unit: &Unit,
    gateway: &Name,
    addresses: Addresses,
    way: &Way<'_>,
    inventory: &Inventory,
) -> Rows {
    let ids = inventory.ids();
    if inventory
        .gateway(gateway)
        .is_none_or(|gateway| gateway.problem.is_some())
    {
        return Vec::new();
    }
    let on_gateway = |column| Referrer {
        table: LogicalRouter::NAME,
        row: ids.gateway_router(gateway),
        column,
        maker: Some(Unit::EipGateway(gateway.clone())),
    };
    let vpc = match way {
        Way::Vpc(name) => Some(*name),
        Way::Here | Way::Nowhere => None,
    };
    let target = vpc.and_then(|name| {
        let vpc = inventory.vpc(name)?;
        let join = inventory
            .join_of(name)
            .filter(|join| join.gateway == *gateway)?;
        let parent = Referrer {
            table: LogicalRouter::NAME,
            row: vpc.router?,
            column: "static_routes",
            maker: vpc.adopts.is_none().then(|| Unit::Vpc(name.clone())),
        };
        Some((join.number, parent))
    });
    let route = |address: IpAddr, next_hop: Text| StaticRoute {
        route_table: Text::default(),
        ip_prefix: Text::from(ipnet::IpNet::from(address).to_string()),
        policy: None,
        nexthop: next_hop,
        output_port: None,
        external_ids: ids.labels(unit),
    };
    let mut rows = Vec::new();
    for address in addresses.iter() {
        let text = Text::from(address.to_string());
        let owner = Nat {
            kind: Text::new_static("dnat_and_snat"),
            external_ip: text.clone(),
            logical_ip: text,
            options: Map::from([(Text::new_static("stateless"), Text::new_static("true"))]),
            external_ids: ids.labels(unit),
        };
        if !matches!(way, Way::Here) {
            rows.extend(DesiredRow::new(
                ids.owner_of(gateway, address),
                &owner,
                vec![on_gateway("nat")],
            ));
        }
        let next_hop = target
            .as_ref()
            .map_or(Text::new_static("discard"), |target| {
                let ranges = &inventory.config().ranges;
                Text::from(ranges.on_join(target.0, Family::of(address)).to_string())
            });
        rows.extend(DesiredRow::new(
            ids.row(StaticRoute::NAME, &format!("eip/{gateway}/{address}/in")),
            &route(address, next_hop),
            vec![on_gateway("static_routes")],
        ));
        if let Some((_, parent)) = &target {
            rows.extend(DesiredRow::new(
                ids.row(StaticRoute::NAME, &format!("eip/{gateway}/{address}/end")),
                &route(address, Text::new_static("discard")),
                vec![parent.clone()],
            ));
        }
    }
    rows
}
