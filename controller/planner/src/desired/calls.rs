//! Which addresses of other VPCs the workloads of a VPC may call: those by which its own services reach there. What is
//! not named here is dropped on the join (see the rules of the EIP gateway).

use std::collections::BTreeSet;
use std::net::IpAddr;

use ovsdb_model::Table;

use super::{DesiredRow, Referrer, Rows, join};
use crate::family::Family;
use crate::inventory::Inventory;
use crate::name::Name;
use crate::nb::{Acl, AddressSet, LogicalSwitch, Text};
use crate::unit::Unit;

pub(super) fn desired(unit: &Unit, vpc: &Name, inventory: &Inventory) -> Rows {
    let calls = inventory.calls(vpc);
    let Some(place) = inventory.join_of(vpc).filter(|_| !calls.is_empty()) else {
        return Vec::new();
    };
    let ids = inventory.ids();
    let mut rows = Vec::new();
    let mut names = Vec::new();
    for (family, ip) in [(Family::V4, "ip4"), (Family::V6, "ip6")] {
        let id = ids.calls(vpc, ip);
        let name = Text::from(format!("yusur_{}", id.simple()));
        let of_family = |address: &&IpAddr| Family::of(**address) == family;
        let set = AddressSet {
            name: name.clone(),
            addresses: calls
                .iter()
                .filter(of_family)
                .map(|address| Text::from(address.to_string()))
                .collect::<BTreeSet<_>>(),
            external_ids: ids.labels(unit),
        };
        rows.extend(DesiredRow::new(id, &set, Vec::new()));
        names.push(name);
    }
    let port = join::switch_port_name(vpc, inventory);
    let [v4, v6] = [&names[0], &names[1]];
    let grant = Acl {
        direction: Text::new_static("from-lport"),
        priority: join::GRANT,
        expression: Text::from(format!(
            "inport == \"{port}\" && (ip4.dst == ${v4} || ip6.dst == ${v6})"
        )),
        action: Text::new_static("allow"),
        external_ids: ids.labels(unit),
    };
    let parent = Referrer {
        table: LogicalSwitch::NAME,
        row: ids.join(&place.gateway),
        column: "acls",
        maker: Some(Unit::EipGateway(place.gateway.clone())),
    };
    rows.extend(DesiredRow::new(
        ids.row(Acl::NAME, &unit.to_string()),
        &grant,
        vec![parent],
    ));
    rows
}
