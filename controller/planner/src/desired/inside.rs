//! An EIP gateway's inside router, where workloads' requests for external addresses part.
//!
//! What balances connections from outside and leaves their source alone ([`BalancedOn::EipGateway`]) cannot serve clients
//! inside: a backend's answer to another VPC goes straight there over the join, and nobody would turn it back. They are to
//! take the service gateway, as for other services with backends in several VPCs. So VPCs send what is for the gateway's
//! ranges to this router: it has a route to the service gateway for each such address, one row a service's address
//! however many VPCs there are, and leaves the rest to the gateway's own router. It keeps no state, and is on no
//! chassis: it is wherever a VPC's port on the join is.
//!
//! [`BalancedOn::EipGateway`]: crate::inventory::BalancedOn::EipGateway

use std::net::IpAddr;

use ipnet::IpNet;
use ovsdb_model::Table;

use super::connection::{Connection, connection};
use super::{DesiredRow, Referrer, Rows};
use crate::family::Family;
use crate::inventory::{Addresses, Inventory, Vpc};
use crate::name::Name;
use crate::nb::{LogicalRouter, StaticRoute, Text};
use crate::unit::Unit;

/// The router, and its place on the join.
pub(super) fn rows(unit: &Unit, gateway: &Name, inventory: &Inventory) -> Rows {
    let ids = inventory.ids();
    let ranges = &inventory.config().ranges;
    let mut rows = Vec::new();
    let id = ids.inside_router(gateway);
    let router = LogicalRouter {
        name: ids.name(format_args!("{unit}/inside")),
        external_ids: ids.labels(unit),
        ..LogicalRouter::default()
    };
    rows.extend(DesiredRow::new(id, &router, Vec::new()));
    let addresses: Addresses = Family::ALL
        .map(|family| ranges.inside(family))
        .into_iter()
        .collect();
    let networks = addresses.iter().map(|address| {
        let length = ranges.join(Family::of(address)).prefix_len();
        Text::from(format!("{address}/{length}"))
    });
    rows.extend(connection(
        unit,
        &Connection {
            key: "inside",
            router: id,
            switch: ids.join(gateway),
            networks: networks.collect(),
            mac: super::port::mac_of(addresses, || id),
            group: None,
            announce: false,
        },
        inventory,
    ));
    for (family, any) in [(Family::V4, "0.0.0.0/0"), (Family::V6, "::/0")] {
        let route = StaticRoute::new(
            Text::new_static(any),
            Text::from(ranges.gateway(family).to_string()),
            ids.labels(unit),
        );
        rows.extend(DesiredRow::new(
            ids.row(StaticRoute::NAME, &format!("{unit}/inside/{any}")),
            &route,
            vec![Referrer::own(
                unit,
                LogicalRouter::NAME,
                id,
                "static_routes",
            )],
        ));
    }
    rows
}

/// The routes by which addresses lead to the service gateway.
pub(super) fn routes(
    unit: &Unit,
    gateway: &Name,
    addresses: Addresses,
    inventory: &Inventory,
) -> Rows {
    let ids = inventory.ids();
    let ranges = &inventory.config().ranges;
    let parent = Referrer {
        table: LogicalRouter::NAME,
        row: ids.inside_router(gateway),
        column: "static_routes",
        maker: Some(Unit::EipGateway(gateway.clone())),
    };
    let routes = addresses.iter().filter_map(|address| {
        let next_hop = ranges.service_gateway(Family::of(address));
        let route = StaticRoute::new(
            Text::from(IpNet::from(address).to_string()),
            Text::from(next_hop.to_string()),
            ids.labels(unit),
        );
        let key = format!("eip/{gateway}/{address}/inside");
        DesiredRow::new(
            ids.row(StaticRoute::NAME, &key),
            &route,
            vec![parent.clone()],
        )
    });
    routes.collect()
}

/// What a VPC sends there: the gateway's ranges, unless its own routes say where they are.
pub(super) fn ways<'a>(
    vpc: &'a Vpc,
    gateway: &Name,
    inventory: &'a Inventory,
) -> impl Iterator<Item = (IpNet, IpAddr)> {
    let ranges = &inventory.config().ranges;
    let gateway = inventory
        .gateway(gateway)
        .filter(|_| inventory.has_inside(gateway));
    let nets = gateway.into_iter().flat_map(|gateway| &gateway.cidrs);
    nets.filter(|net| !vpc.has_default_route(Family::of(net.addr())))
        .filter(|net| !vpc.routes.iter().any(|(own, _)| own == *net))
        .map(|net| (*net, ranges.inside(Family::of(net.addr()))))
}
