//! What owns an external address and leads it to a VPC, or to the service gateway. Four parts make an address work: the
//! row by which the gateway answers for it, the gateway's route to the other router, the load balancer there, and a
//! route there that discards what no load balancer took: without it a packet to a port nobody serves would go round
//! between the two routers.

use std::net::IpAddr;

use ovsdb_model::Table;
use yusur_crds::EipStatus;
use yusur_crds::common::condition;

use super::{
    DesiredRow, Referrer, Rows, accepted, follows, inside, programmed, say, service, silent,
    subject,
};
use crate::family::Family;
use crate::inventory::{Addresses, Inventory, Leads, Problem};
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
    let leads = inventory.eip_leads(name);
    let mut rows = Vec::new();
    if let Some(gateway) = &holding.gateway
        && !holding.refused
        && !holding.unrecorded
    {
        let way = leads.as_ref().map_or(Way::Nowhere, Way::To);
        rows = owners(unit, gateway, held, &way, inventory);
        if inventory.is_balanced_on_gateway(name) && inventory.has_inside(gateway) {
            rows.extend(inside::routes(unit, gateway, held, inventory));
        }
    }
    let problem = inventory.external_problem(unit);
    let users: Vec<String> = inventory
        .users_of(name)
        .filter(|service| service::is_accepted(service, inventory))
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
            conditions.push(match &leads {
                Some(Leads::Vpc(vpc)) => say(
                    condition::READY,
                    Truth::True,
                    "InUse",
                    format!("it leads to services in Vpc {vpc}"),
                ),
                Some(Leads::ServiceGateway) => say(
                    condition::READY,
                    Truth::True,
                    "InUse",
                    "the service gateway balances it over several Vpcs",
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
    /// To a router that balances it.
    To(&'a Leads),
    /// It is balanced on the gateway's own router, which answers for it on that account.
    Here,
    /// It is answered for, and what comes is dropped.
    Nowhere,
}

/// The router that an address is led to.
struct Target {
    /// On the join.
    addresses: Addresses,
    routes: Referrer,
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
    let leads = match way {
        Way::To(leads) => Some(*leads),
        Way::Here | Way::Nowhere => None,
    };
    let target = leads.and_then(|leads| target(leads, gateway, inventory));
    let route = |address: IpAddr, next_hop: Text| {
        StaticRoute::new(
            Text::from(ipnet::IpNet::from(address).to_string()),
            next_hop,
            ids.labels(unit),
        )
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
        let hop = target.as_ref();
        let hop = hop.and_then(|target| target.addresses.get(Family::of(address)));
        let next_hop = hop.map_or(Text::new_static("discard"), |hop| {
            Text::from(hop.to_string())
        });
        rows.extend(DesiredRow::new(
            ids.row(StaticRoute::NAME, &format!("eip/{gateway}/{address}/in")),
            &route(address, next_hop),
            vec![on_gateway("static_routes")],
        ));
        if let Some(target) = &target {
            rows.extend(DesiredRow::new(
                ids.row(StaticRoute::NAME, &format!("eip/{gateway}/{address}/end")),
                &route(address, Text::new_static("discard")),
                vec![target.routes.clone()],
            ));
        }
    }
    rows
}

/// The router that balances what is led there: its addresses on the join, and its routes.
fn target(leads: &Leads, gateway: &Name, inventory: &Inventory) -> Option<Target> {
    let ranges = &inventory.config().ranges;
    let (row, maker, addresses) = match leads {
        Leads::Vpc(name) => {
            let vpc = inventory.vpc(name)?;
            let join = inventory
                .join_of(name)
                .filter(|join| join.gateway == *gateway)?;
            let maker = vpc.adopts.is_none().then(|| Unit::Vpc(name.clone()));
            let addresses = Family::ALL.map(|family| ranges.on_join(join.number, family));
            (vpc.router?, maker, addresses)
        }
        Leads::ServiceGateway => (
            inventory.ids().service_gateway(gateway),
            Some(Unit::ServiceGateway(gateway.clone())),
            Family::ALL.map(|family| ranges.service_gateway(family)),
        ),
    };
    Some(Target {
        addresses: addresses.into_iter().collect(),
        routes: Referrer {
            table: LogicalRouter::NAME,
            row,
            column: "static_routes",
            maker,
        },
    })
}
