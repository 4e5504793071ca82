//! The part of a VPC that joins an EIP gateway: a port of its router on the gateway's join, on the gateway's own chassis;
//! the way out through it; and the router's address there for what leaves, so that VPCs with the same ranges can share
//! a gateway.

use ovsdb_model::{Table, Uuid};

use super::{DesiredRow, Referrer, Rows, Support, inside};
use crate::family::Family;
use crate::inventory::{Addresses, Inventory, Join, Vpc};
use crate::name::Name;
use crate::nb::{
    HaChassisGroup, LogicalRouter, LogicalRouterPort, LogicalSwitch, LogicalSwitchPort, Map, Nat,
    StaticRoute, Text,
};
use crate::unit::Unit;

/// The priority of the rules that keep the outside from what is the system's own, and VPCs from each other.
pub(super) const GUARD: i64 = 1000;

/// The priority of the rules that let something through nevertheless.
pub(super) const GRANT: i64 = 1001;

/// The name of the port of the join that a VPC's router is behind.
pub(super) fn switch_port_name(vpc: &Name, inventory: &Inventory) -> Text {
    inventory.ids().name(format_args!("join/{vpc}-switch"))
}

/// The rows, and the router's addresses on the join.
pub(super) fn rows(
    unit: &Unit,
    name: &Name,
    vpc: &Vpc,
    router: Uuid,
    join: &Join,
    inventory: &Inventory,
) -> (Rows, Addresses) {
    let ids = inventory.ids();
    let ranges = &inventory.config().ranges;
    let on_router = |column| Referrer {
        table: LogicalRouter::NAME,
        row: router,
        column,
        maker: vpc.adopts.is_none().then(|| unit.clone()),
    };
    let addresses: Addresses = Family::ALL
        .map(|family| ranges.on_join(join.number, family))
        .into_iter()
        .collect();
    let mut rows = Vec::new();

    let port = ids.name(format_args!("join/{name}-router"));
    let networks = addresses.iter().map(|address| {
        let length = ranges.join(Family::of(address)).prefix_len();
        Text::from(format!("{address}/{length}"))
    });
    let router_port = LogicalRouterPort {
        name: port.clone(),
        mac: super::port::mac_of(addresses, || ids.join_port(name)),
        networks: networks.collect(),
        ha_chassis_group: Some(ids.chassis_group(&join.gateway)),
        external_ids: ids.labels(unit),
        ..LogicalRouterPort::default()
    };
    let chassis = Support {
        table: HaChassisGroup::NAME,
        row: ids.chassis_group(&join.gateway),
        maker: Unit::EipGateway(join.gateway.clone()),
    };
    let on_join = DesiredRow::new(ids.join_port(name), &router_port, vec![on_router("ports")]);
    rows.extend(on_join.map(|row| row.resting_on(chassis)));
    let switch_port =
        LogicalSwitchPort::to_router(switch_port_name(name, inventory), port, ids.labels(unit));
    let parent = Referrer {
        table: LogicalSwitch::NAME,
        row: ids.join(&join.gateway),
        column: "ports",
        maker: Some(Unit::EipGateway(join.gateway.clone())),
    };
    rows.extend(DesiredRow::new(
        ids.row(LogicalSwitchPort::NAME, &format!("join/{name}")),
        &switch_port,
        vec![parent],
    ));

    let to_gateway = |column| Referrer {
        table: LogicalRouter::NAME,
        row: ids.gateway_router(&join.gateway),
        column,
        maker: Some(Unit::EipGateway(join.gateway.clone())),
    };
    // The addresses by which services of other VPCs, and the gateway, reach into this one.
    let families = Family::ALL
        .into_iter()
        .filter(|_| inventory.is_called(name));
    for family in families {
        let share = ranges.share(join.number, family);
        let here = ranges.on_join(join.number, family);
        let hop = Text::from(here.to_string());
        let mut ways = vec![
            (to_gateway("static_routes"), hop.clone(), "in"),
            (
                on_router("static_routes"),
                Text::new_static("discard"),
                "end",
            ),
        ];
        if inventory.has_service_gateway(&join.gateway) {
            let routes = Referrer {
                table: LogicalRouter::NAME,
                row: ids.service_gateway(&join.gateway),
                column: "static_routes",
                maker: Some(Unit::ServiceGateway(join.gateway.clone())),
            };
            ways.push((routes, hop, "serve"));
        }
        for (parent, nexthop, key) in ways {
            let route = StaticRoute::new(Text::from(share.to_string()), nexthop, ids.labels(unit));
            rows.extend(DesiredRow::new(
                ids.row(
                    StaticRoute::NAME,
                    &format!("join/{name}/{}/{key}", family.as_str()),
                ),
                &route,
                vec![parent],
            ));
        }
    }
    for (family, any) in [(Family::V4, "0.0.0.0/0"), (Family::V6, "::/0")] {
        let to = if !vpc.has_default_route(family) {
            Text::new_static(any)
        } else if inventory.calls_others(name) {
            // The way out is the VPC's own; to other VPCs its services go by the join nevertheless.
            Text::from(ranges.vpc_vips(family).to_string())
        } else {
            continue;
        };
        let route = StaticRoute::new(
            to,
            Text::from(ranges.gateway(family).to_string()),
            ids.labels(unit),
        );
        rows.extend(DesiredRow::new(
            ids.row(StaticRoute::NAME, &format!("join/{name}/{any}")),
            &route,
            vec![on_router("static_routes")],
        ));
    }
    for (net, next_hop) in inside::ways(vpc, &join.gateway, inventory) {
        let route = StaticRoute::new(
            Text::from(net.to_string()),
            Text::from(next_hop.to_string()),
            ids.labels(unit),
        );
        rows.extend(DesiredRow::new(
            ids.row(StaticRoute::NAME, &format!("join/{name}/{net}")),
            &route,
            vec![on_router("static_routes")],
        ));
    }
    let subnets = inventory
        .subnets_of(name)
        .filter(|(_, subnet)| subnet.problem.is_none());
    for net in subnets.flat_map(|(_, subnet)| &subnet.cidrs) {
        let Some(address) = addresses.get(Family::of(net.addr())) else {
            continue;
        };
        let nat = Nat {
            kind: Text::new_static("snat"),
            external_ip: Text::from(address.to_string()),
            logical_ip: Text::from(net.to_string()),
            options: Map::new(),
            external_ids: ids.labels(unit),
        };
        rows.extend(DesiredRow::new(
            ids.row(Nat::NAME, &format!("join/{name}/{net}")),
            &nat,
            vec![on_router("nat")],
        ));
    }
    (rows, addresses)
}
