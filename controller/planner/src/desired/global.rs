//! What is said about all of OVN: how soon a gateway's chassis are noticed to be dead. Set while there is a gateway, and
//! given back with the last; what somebody else has set stays as it is.

use super::{DesiredRow, Rows};
use crate::inventory::{Inventory, OPTIONS};
use crate::nb::{Map, NbGlobal, Text};

pub(super) fn desired(inventory: &Inventory) -> Rows {
    let Some(global) = inventory.global() else {
        return Vec::new();
    };
    let wanted = OPTIONS
        .iter()
        .filter(|(option, _)| inventory.has_gateways() && global.is_ours(option));
    let options: Map = wanted
        .map(|(option, value)| (Text::new_static(option), Text::new_static(value)))
        .collect();
    if options.is_empty() && global.record.is_none() {
        return Vec::new();
    }
    let names: Vec<&str> = options.keys().map(Text::as_str).collect();
    let record =
        (!names.is_empty()).then(|| (inventory.ids().options_key(), Text::from(names.join(" "))));
    let row = NbGlobal {
        options,
        external_ids: record.into_iter().collect(),
    };
    DesiredRow::new(global.row, &row, Vec::new())
        .into_iter()
        .collect()
}
