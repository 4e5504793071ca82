//! An EIP gateway: a router on a physical network, behind it the switch on which VPCs' routers join it, and the chassis
//! that serve it. Its port to the outside is on one of them at a time; the port to the join is on none: it is where the
//! VPCs' ports are.

use std::collections::BTreeSet;

use ipnet::IpNet;
use ovsdb_model::{Table, Uuid};
use yusur_crds::EipGatewayStatus;
use yusur_crds::common::condition;

use super::connection::{Connection, connection};
use super::join::{GRANT, GUARD};
use super::{
    DesiredRow, Referrer, Rows, accepted, follows, inside, programmed, say, service_gateway,
    silent, subject,
};
use crate::family::Family;
use crate::inventory::{Addresses, Gateway, Inventory};
use crate::name::Name;
use crate::nb::{
    self, Acl, HaChassis, HaChassisGroup, LogicalRouter, LogicalSwitch, LogicalSwitchPort, Map,
    Nat, StaticRoute, Text,
};
use crate::unit::Unit;
use crate::verdict::{Status, Truth, Verdict};

pub(super) fn desired(unit: &Unit, name: &Name, inventory: &Inventory) -> (Rows, Verdict) {
    let Some(gateway) = inventory.gateway(name) else {
        return (Vec::new(), silent(unit));
    };
    let rows = if gateway.problem.is_none() {
        rows(unit, name, gateway, inventory)
    } else {
        Vec::new()
    };
    let problem = gateway.problem.as_ref().or(gateway.invalid.as_ref());
    let mut conditions = vec![accepted(problem, "the EipGateway is valid")];
    match (&gateway.problem, problem) {
        (Some(problem), _) => conditions.extend([
            follows(condition::PROGRAMMED, problem),
            follows(condition::READY, problem),
        ]),
        (None, Some(problem)) => {
            conditions.extend([programmed(), follows(condition::READY, problem)]);
        }
        (None, None) => conditions.extend([
            programmed(),
            say(
                condition::READY,
                Truth::True,
                "Ready",
                "Eips and services can take addresses of it",
            ),
        ]),
    }
    let verdict = Verdict {
        unit: unit.clone(),
        object: subject(unit, &gateway.header.uid, gateway.header.generation),
        conditions,
        status: Status::EipGateway(EipGatewayStatus {
            gateway_addresses: gateway.addresses.iter().map(ToString::to_string).collect(),
            active_node: gateway.serving.as_ref().map(ToString::to_string),
            service_gateway: service_gateway::status(name, inventory),
            ..EipGatewayStatus::default()
        }),
        record_first: false,
    };
    (rows, verdict)
}

fn rows(unit: &Unit, name: &Name, gateway: &Gateway, inventory: &Inventory) -> Rows {
    let ids = inventory.ids();
    let ranges = &inventory.config().ranges;
    let labels = || ids.labels(unit);
    let mut rows = Vec::new();

    let mut group_labels = labels();
    group_labels.insert(
        Text::new_static(nb::NODES),
        Text::from(gateway.nodes_text()),
    );
    if !gateway.order.failed.is_empty() {
        let failed = Text::from(gateway.order.failed_text());
        group_labels.insert(Text::new_static(nb::FAILED), failed);
    }
    let group = HaChassisGroup {
        name: ids.name(unit),
        ha_chassis: BTreeSet::new(),
        external_ids: group_labels,
    };
    let group_id = ids.chassis_group(name);
    rows.extend(DesiredRow::new(group_id, &group, Vec::new()));
    for (rank, node) in gateway.order.nodes.iter().rev().enumerate() {
        let chassis = HaChassis {
            chassis_name: Text::new(&**inventory.chassis(node)),
            priority: 10 * (rank as i64 + 1),
            external_ids: labels(),
        };
        let parent = Referrer::own(unit, HaChassisGroup::NAME, group_id, "ha_chassis");
        rows.extend(DesiredRow::new(
            ids.chassis_of(name, node),
            &chassis,
            vec![parent],
        ));
    }

    let router_id = ids.gateway_router(name);
    let router = LogicalRouter {
        name: ids.name(unit),
        external_ids: labels(),
        ..LogicalRouter::default()
    };
    rows.extend(DesiredRow::new(router_id, &router, Vec::new()));

    // The outside.
    let localnet = ids.name(format_args!("{unit}/localnet"));
    let outside = ids.gateway_switch(name);
    rows.extend(switch(unit, outside, localnet.clone(), inventory));
    let networks = gateway.cidrs.iter().zip(&gateway.addresses);
    let networks = networks
        .map(|(net, address)| Text::from(format!("{address}/{}", net.prefix_len())))
        .collect();
    rows.extend(connection(
        unit,
        &Connection {
            key: "outside",
            router: router_id,
            switch: outside,
            networks,
            mac: super::port::mac_of(gateway.addresses.iter().copied().collect(), || router_id),
            group: Some(group_id),
            // All addresses it answers for are announced when it moves.
            announce: true,
        },
        inventory,
    ));
    let wire = LogicalSwitchPort {
        name: localnet.clone(),
        kind: Text::new_static("localnet"),
        options: Map::from([(
            Text::new_static("network_name"),
            Text::new(&*gateway.network),
        )]),
        addresses: BTreeSet::from([Text::new_static("unknown")]),
        tag: gateway.vlan.map(i64::from),
        external_ids: labels(),
        ..LogicalSwitchPort::default()
    };
    rows.extend(DesiredRow::new(
        ids.row(LogicalSwitchPort::NAME, &format!("{unit}/localnet")),
        &wire,
        vec![Referrer::own(unit, LogicalSwitch::NAME, outside, "ports")],
    ));
    for (family, ip) in [(Family::V4, "ip4"), (Family::V6, "ip6")] {
        let ranges: Vec<String> = ranges.all(family).iter().map(ToString::to_string).collect();
        let ranges = ranges.join(", ");
        // In parentheses: OVN discards the whole rule where && and || are mixed without.
        let guard = Acl {
            direction: Text::new_static("from-lport"),
            priority: GUARD,
            expression: Text::from(format!(
                "inport == \"{localnet}\" && ({ip}.dst == {{{ranges}}} || {ip}.src == {{{ranges}}})"
            )),
            action: Text::new_static("drop"),
            external_ids: labels(),
        };
        rows.extend(DesiredRow::new(
            ids.row(Acl::NAME, &format!("{unit}/{ip}")),
            &guard,
            vec![Referrer::own(unit, LogicalSwitch::NAME, outside, "acls")],
        ));
    }

    // The join.
    let join = ids.join(name);
    rows.extend(switch(
        unit,
        join,
        ids.name(format_args!("{unit}/join")),
        inventory,
    ));
    let here: Vec<IpNet> = Family::ALL
        .into_iter()
        .filter_map(|family| {
            let length = ranges.join(family).prefix_len();
            IpNet::new(ranges.gateway(family), length).ok()
        })
        .collect();
    // One VPC reaches another only by what it was granted. What the gateway itself sends there it has balanced: the
    // outside cannot ask for these addresses.
    let from_gateway = format!(
        "inport == \"{}\" && ",
        ids.name(format_args!("{unit}/join-switch"))
    );
    for (family, ip) in [(Family::V4, "ip4"), (Family::V6, "ip6")] {
        let inside = format!("{ip}.dst == {}", ranges.vpc_vips(family));
        let rules = [
            (GUARD, "drop", inside.clone()),
            (GRANT, "allow", format!("{from_gateway}{inside}")),
        ];
        for (priority, action, expression) in rules {
            let rule = Acl {
                direction: Text::new_static("from-lport"),
                priority,
                expression: Text::from(expression),
                action: Text::new_static(action),
                external_ids: labels(),
            };
            rows.extend(DesiredRow::new(
                ids.row(Acl::NAME, &format!("{unit}/join/{ip}/{action}")),
                &rule,
                vec![Referrer::own(unit, LogicalSwitch::NAME, join, "acls")],
            ));
        }
    }
    let addresses: Addresses = here.iter().map(IpNet::addr).collect();
    rows.extend(connection(
        unit,
        &Connection {
            key: "join",
            router: router_id,
            switch: join,
            networks: here.iter().map(|net| Text::from(net.to_string())).collect(),
            mac: super::port::mac_of(addresses, || join),
            group: None,
            announce: false,
        },
        inventory,
    ));

    if inventory.has_inside(name) {
        rows.extend(inside::rows(unit, name, inventory));
    }

    for family in Family::ALL {
        let Some(address) = gateway.address(family) else {
            continue;
        };
        let any = match family {
            Family::V4 => "0.0.0.0/0",
            Family::V6 => "::/0",
        };
        if let Some(next_hop) = gateway.next_hops.get(family) {
            let route = StaticRoute::new(
                Text::new_static(any),
                Text::from(next_hop.to_string()),
                labels(),
            );
            rows.extend(DesiredRow::new(
                ids.row(StaticRoute::NAME, &format!("{unit}/{any}")),
                &route,
                vec![Referrer::own(
                    unit,
                    LogicalRouter::NAME,
                    router_id,
                    "static_routes",
                )],
            ));
        }
        // What leaves, and what goes to another VPC's EIP, has the gateway's address.
        let range = ranges.join(family);
        let nat = Nat {
            kind: Text::new_static("snat"),
            external_ip: Text::from(address.to_string()),
            logical_ip: Text::from(range.to_string()),
            options: Map::new(),
            external_ids: labels(),
        };
        rows.extend(DesiredRow::new(
            ids.row(Nat::NAME, &format!("{unit}/{range}")),
            &nat,
            vec![Referrer::own(unit, LogicalRouter::NAME, router_id, "nat")],
        ));
    }
    rows
}

fn switch(unit: &Unit, id: Uuid, name: Text, inventory: &Inventory) -> Option<DesiredRow> {
    let switch = LogicalSwitch {
        name,
        external_ids: inventory.ids().labels(unit),
        ..LogicalSwitch::default()
    };
    DesiredRow::new(id, &switch, Vec::new())
}
