//! A service gateway: the router on an EIP gateway's join that balances connections from outside over backends in several
//! VPCs. It has them come from its own address on the join, so that answers find back to it whatever the VPC's ranges and
//! routes are. Only a router that is on one chassis can do that (`lb_force_snat_ip`, ovn-nb(5)): it is pinned to the node
//! that its EIP gateway is on, or to another, as the EipGateway says, and follows it. One serves all services of its EIP
//! gateway that need it.

use ovsdb_model::Table;
use yusur_crds::ServiceGatewayStatus;

use super::{DesiredRow, Referrer, Rows, join};
use crate::family::Family;
use crate::inventory::{Addresses, Inventory};
use crate::name::Name;
use crate::nb::{
    Acl, LogicalRouter, LogicalRouterPort, LogicalSwitch, LogicalSwitchPort, Map, StaticRoute, Text,
};
use crate::unit::Unit;

pub(super) fn desired(unit: &Unit, name: &Name, inventory: &Inventory) -> Rows {
    let ids = inventory.ids();
    let ranges = &inventory.config().ranges;
    let Some(home) = built(name, inventory) else {
        return Vec::new();
    };
    let labels = || ids.labels(unit);
    let mut rows = Vec::new();

    let router_id = ids.service_gateway(name);
    let options = Map::from([
        (
            Text::new_static("chassis"),
            Text::new(&**inventory.chassis(home)),
        ),
        (
            Text::new_static("lb_force_snat_ip"),
            Text::new_static("router_ip"),
        ),
    ]);
    let names: Vec<&str> = options.keys().map(Text::as_str).collect();
    let mut external_ids = labels();
    external_ids.insert(ids.options_key(), Text::from(names.join(" ")));
    let router = LogicalRouter {
        name: ids.name(unit),
        options,
        external_ids,
        ..LogicalRouter::default()
    };
    rows.extend(DesiredRow::new(router_id, &router, Vec::new()));

    let on_router = |column| Referrer {
        table: LogicalRouter::NAME,
        row: router_id,
        column,
        maker: Some(unit.clone()),
    };
    let on_join = |column| Referrer {
        table: LogicalSwitch::NAME,
        row: ids.join(name),
        column,
        maker: Some(Unit::EipGateway(name.clone())),
    };
    let addresses = addresses(inventory);
    let port = ids.name(format_args!("{unit}/join-router"));
    let port_id = ids.row(LogicalRouterPort::NAME, &unit.to_string());
    let networks = addresses.iter().map(|address| {
        let length = ranges.join(Family::of(address)).prefix_len();
        Text::from(format!("{address}/{length}"))
    });
    let router_port = LogicalRouterPort {
        name: port.clone(),
        mac: super::port::mac_of(addresses, || port_id),
        networks: networks.collect(),
        external_ids: labels(),
        ..LogicalRouterPort::default()
    };
    rows.extend(DesiredRow::new(
        port_id,
        &router_port,
        vec![on_router("ports")],
    ));
    let switch_port_name = ids.name(format_args!("{unit}/join-switch"));
    let switch_port = LogicalSwitchPort::to_router(switch_port_name.clone(), port, labels());
    rows.extend(DesiredRow::new(
        ids.port(unit),
        &switch_port,
        vec![on_join("ports")],
    ));

    for (family, any, ip) in [
        (Family::V4, "0.0.0.0/0", "ip4"),
        (Family::V6, "::/0", "ip6"),
    ] {
        let route = StaticRoute::new(
            Text::new_static(any),
            Text::from(ranges.gateway(family).to_string()),
            labels(),
        );
        rows.extend(DesiredRow::new(
            ids.row(StaticRoute::NAME, &format!("{unit}/{any}")),
            &route,
            vec![on_router("static_routes")],
        ));
        // What it sends into VPCs it has balanced: nobody can ask it for these addresses.
        let grant = Acl {
            direction: Text::new_static("from-lport"),
            priority: join::GRANT,
            expression: Text::from(format!(
                "inport == \"{switch_port_name}\" && {ip}.dst == {}",
                ranges.vpc_vips(family)
            )),
            action: Text::new_static("allow"),
            external_ids: labels(),
        };
        rows.extend(DesiredRow::new(
            ids.row(Acl::NAME, &format!("{unit}/{ip}")),
            &grant,
            vec![on_join("acls")],
        ));
    }
    rows
}

/// What an EIP gateway's status tells of its service gateway.
pub(super) fn status(name: &Name, inventory: &Inventory) -> Option<ServiceGatewayStatus> {
    let home = built(name, inventory)?;
    Some(ServiceGatewayStatus {
        addresses: addresses(inventory).iter().map(|a| a.to_string()).collect(),
        node: Some(home.to_string()),
    })
}

/// The node it is on, if there is a service gateway.
fn built<'a>(name: &Name, inventory: &'a Inventory) -> Option<&'a Name> {
    let gateway = inventory.gateway(name)?;
    let wanted = gateway.problem.is_none() && inventory.has_service_gateway(name);
    inventory.service_gateway_node(gateway).filter(|_| wanted)
}

fn addresses(inventory: &Inventory) -> Addresses {
    let ranges = &inventory.config().ranges;
    Family::ALL
        .map(|family| ranges.service_gateway(family))
        .into_iter()
        .collect()
}
