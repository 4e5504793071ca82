//! A pair of ports that connects a router with a switch.

use std::collections::BTreeSet;

use ovsdb_model::{Table, Uuid};

use super::{DesiredRow, Referrer};
use crate::inventory::Inventory;
use crate::nb::{LogicalRouter, LogicalRouterPort, LogicalSwitch, LogicalSwitchPort, Text};
use crate::unit::Unit;

/// Between a router and a switch, both of the unit itself.
pub(super) struct Connection {
    pub(super) key: &'static str,
    pub(super) router: Uuid,
    pub(super) switch: Uuid,
    pub(super) networks: BTreeSet<Text>,
    pub(super) mac: Text,
    pub(super) group: Option<Uuid>,
    pub(super) announce: bool,
}

pub(super) fn connection(
    unit: &Unit,
    connection: &Connection,
    inventory: &Inventory,
) -> Vec<DesiredRow> {
    let ids = inventory.ids();
    let key = format!("{unit}/{}", connection.key);
    let name = ids.name(format_args!("{key}-router"));
    let router_port = LogicalRouterPort {
        name: name.clone(),
        mac: connection.mac.clone(),
        networks: connection.networks.clone(),
        ha_chassis_group: connection.group,
        external_ids: ids.labels(unit),
        ..LogicalRouterPort::default()
    };
    let mut switch_port = LogicalSwitchPort::to_router(
        ids.name(format_args!("{key}-switch")),
        name,
        ids.labels(unit),
    );
    if connection.announce {
        switch_port.options.insert(
            Text::new_static("nat-addresses"),
            Text::new_static("router"),
        );
    }
    let rows = [
        DesiredRow::new(
            ids.row(LogicalRouterPort::NAME, &key),
            &router_port,
            vec![Referrer::own(
                unit,
                LogicalRouter::NAME,
                connection.router,
                "ports",
            )],
        ),
        DesiredRow::new(
            ids.row(LogicalSwitchPort::NAME, &key),
            &switch_port,
            vec![Referrer::own(
                unit,
                LogicalSwitch::NAME,
                connection.switch,
                "ports",
            )],
        ),
    ];
    rows.into_iter().flatten().collect()
}
