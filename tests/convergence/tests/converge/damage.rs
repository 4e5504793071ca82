//! Damage by hand: rows of ours edited in any column, deleted, taken from where they belong, put where they do not.

use std::collections::BTreeMap;
use std::sync::Arc;

use ovsdb_model::{Database, Datum, Mutation, Operation, Row, Uuid};
use yusur_convergence::{Foreign, Tables};

use crate::dice::Dice;
use crate::northbound::{Northbound, OWNER, schema};
use crate::strangers;

/// Where rows of a table are members.
const PARENTS: &[(&str, &str, &str)] = &[
    ("Logical_Router_Port", "Logical_Router", "ports"),
    (
        "Logical_Router_Static_Route",
        "Logical_Router",
        "static_routes",
    ),
    ("Logical_Switch_Port", "Logical_Switch", "ports"),
    ("Load_Balancer", "Load_Balancer_Group", "load_balancer"),
    (
        "Load_Balancer_Group",
        "Logical_Switch",
        "load_balancer_group",
    ),
    ("DNS", "Logical_Switch", "dns_records"),
    ("NAT", "Logical_Router", "nat"),
    ("ACL", "Logical_Switch", "acls"),
    ("HA_Chassis", "HA_Chassis_Group", "ha_chassis"),
    (
        "HA_Chassis_Group",
        "Logical_Router_Port",
        "ha_chassis_group",
    ),
    (
        "Load_Balancer_Group",
        "Logical_Router",
        "load_balancer_group",
    ),
    ("Load_Balancer", "Logical_Router", "load_balancer"),
];

/// The columns of a table that are ours to repair.
fn columns(table: &str) -> &'static [&'static str] {
    match table {
        "Logical_Router" => &[
            "name",
            "external_ids",
            "ports",
            "static_routes",
            "nat",
            "load_balancer",
            "load_balancer_group",
            "options",
        ],
        "Logical_Router_Port" => &[
            "networks",
            "mac",
            "name",
            "enabled",
            "external_ids",
            "ha_chassis_group",
        ],
        "Logical_Router_Static_Route" => &[
            "nexthop",
            "ip_prefix",
            "policy",
            "route_table",
            "output_port",
            "external_ids",
        ],
        "Logical_Switch" => &[
            "name",
            "external_ids",
            "ports",
            "load_balancer_group",
            "dns_records",
            "acls",
        ],
        "Logical_Switch_Port" => &[
            "addresses",
            "port_security",
            "name",
            "type",
            "options",
            "enabled",
            "up",
            "external_ids",
        ],
        "Load_Balancer" => &[
            "vips",
            "protocol",
            "selection_fields",
            "options",
            "ip_port_mappings",
            "name",
            "external_ids",
        ],
        "Load_Balancer_Group" => &["load_balancer", "name"],
        "NAT" => &[
            "type",
            "external_ip",
            "logical_ip",
            "options",
            "external_ids",
        ],
        "ACL" => &["direction", "priority", "match", "action", "external_ids"],
        "Address_Set" => &["addresses", "name", "external_ids"],
        "HA_Chassis_Group" => &["ha_chassis", "name", "external_ids"],
        "HA_Chassis" => &["chassis_name", "priority", "external_ids"],
        _ => &["records", "external_ids"],
    }
}

fn text_map(pairs: &[(&str, &str)]) -> Datum {
    let pairs: BTreeMap<String, String> = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Datum::from(pairs)
}

/// Something else for a column.
fn other_value(dice: &mut Dice<'_>, table: &str, column: &str, row: &Row, uuid: Uuid) -> Datum {
    let empty = dice.chance(5);
    match column {
        "protocol" => Datum::from(dice.pick(&["udp", "tcp", "sctp"])),
        "selection_fields" if empty => Datum::empty_set(),
        "selection_fields" => Datum::set(["tp_src"]),
        "policy" => Datum::from("src-ip"),
        "enabled" => Datum::from(false),
        "up" => Datum::from(dice.pick(&[true, false])),
        "output_port" => Datum::from("nowhere"),
        "priority" => Datum::from(i64::from(dice.byte())),
        "action" => Datum::from("allow"),
        "direction" => Datum::from("to-lport"),
        "type" if table == "NAT" => Datum::from("snat"),
        "external_ip" | "logical_ip" => Datum::from("192.0.2.3"),
        "addresses" if table == "Address_Set" => Datum::set(["100.96.0.1"]),
        "ports"
        | "static_routes"
        | "load_balancer_group"
        | "dns_records"
        | "load_balancer"
        | "nat"
        | "acls"
        | "ha_chassis"
        | "ha_chassis_group" => {
            let mut members: Vec<Uuid> = row
                .get(column)
                .into_iter()
                .flat_map(|datum| datum.uuids())
                .collect();
            if empty {
                members.clear();
            } else if !members.is_empty() {
                members.remove(dice.below(members.len()));
            }
            Datum::set(members)
        }
        "external_ids" if empty => Datum::empty_map(),
        "external_ids" => match dice.below(4) {
            0 => text_map(&[("theirs", "1")]),
            1 => text_map(&[("yusur.io/owner", "other"), ("yusur.io/unit", "vpc/red")]),
            2 => text_map(&[
                ("yusur.io/owner", OWNER),
                (
                    "yusur.io/unit",
                    dice.pick(&["vpc/red", "pod/a/p0", "service/a/w1", "junk"]),
                ),
            ]),
            _ => {
                let mut pairs: BTreeMap<String, String> = row
                    .get(column)
                    .into_iter()
                    .flat_map(|datum| datum.pairs())
                    .filter_map(|(k, v)| Some((k.as_str()?.to_owned(), v.as_str()?.to_owned())))
                    .collect();
                pairs.insert("yusur.io/more".into(), "x".into());
                pairs.insert("yusur.io/uid".into(), "x".into());
                Datum::from(pairs)
            }
        },
        _ if row.get(column).is_some_and(Datum::is_map) => match dice.below(3) {
            0 => text_map(&[("10.96.0.9:80", "10.0.1.9:80")]),
            1 => {
                let kept = row.get(column).map(Datum::pairs).unwrap_or_default();
                Datum::map(kept.iter().map(|(key, _)| (key.clone(), "192.0.2.1:1")))
            }
            _ => Datum::empty_map(),
        },
        "addresses" | "port_security" | "networks" if empty && table == "Logical_Switch_Port" => {
            Datum::empty_set()
        }
        // Not one that a Subnet excludes: what a row says counts, where nothing else does.
        "addresses" | "port_security" => {
            Datum::set([dice.pick(&["0a:58:0a:00:01:05 10.0.1.5", "0a:00:00:00:00:07", "unknown"])])
        }
        "networks" => Datum::set(["10.0.1.1/24"]),
        _ => Datum::from(format!("edited {uuid}")),
    }
}

/// Rows of ours, in a fixed order.
fn ours(database: &Database, foreign: &Foreign) -> Vec<(&'static str, Uuid, Arc<Row>)> {
    let mut rows = Vec::new();
    for table in Tables::ALL {
        let mut of_table: Vec<_> = database
            .rows(table)
            .filter(|(uuid, _)| !foreign.contains_key(&((*table).to_owned(), *uuid)))
            // An impostor without its labels would be nobody's.
            .filter(|(uuid, _)| !strangers::is_impostor(*uuid))
            .map(|(uuid, row)| (*table, uuid, row))
            .collect();
        of_table.sort_by_key(|(_, uuid, _)| *uuid);
        rows.extend(of_table);
    }
    rows
}

/// What damage was done.
pub struct Done {
    pub story: String,
    /// It was done to what says in which order gateway nodes serve.
    pub disorder: bool,
    /// Whose a row is can no longer be read from the row.
    pub unlabelled: bool,
}

/// Damages one row of ours.
pub fn damage<N: Northbound>(
    dice: &mut Dice<'_>,
    northbound: &mut N,
    foreign: &Foreign,
) -> Option<Done> {
    let rows = ours(&northbound.replica(), foreign);
    let at = usize::from(dice.byte()) * 256 + usize::from(dice.byte());
    let (table, uuid, row) = rows.get(at % rows.len().max(1))?;
    let mut unlabelled = false;
    let operations = match dice.below(8) {
        0 | 1 => {
            let mut operations: Vec<Operation> = Vec::new();
            for (_, parents, column) in PARENTS.iter().filter(|(child, ..)| child == table) {
                for (parent, other) in northbound.replica().rows(parents) {
                    if other
                        .get(column)
                        .is_some_and(|datum| datum.uuids().any(|member| member == *uuid))
                    {
                        operations.push(Operation::mutate(
                            *parents,
                            parent,
                            vec![Mutation::delete(*column, *uuid)],
                        ));
                    }
                }
            }
            // A row that is no root goes by itself.
            if schema().table(table).is_some_and(|table| table.is_root) {
                operations.push(Operation::delete(*table, *uuid));
            }
            operations
        }
        2 => {
            let (_, parents, column) = PARENTS.iter().find(|(child, ..)| child == table)?;
            let mut candidates: Vec<Uuid> = northbound
                .replica()
                .rows(parents)
                .map(|(uuid, _)| uuid)
                .collect();
            candidates.sort_unstable();
            let parent = *candidates.get(dice.below(candidates.len()))?;
            vec![Operation::mutate(
                *parents,
                parent,
                vec![Mutation::insert(*column, *uuid)],
            )]
        }
        _ => {
            let column = dice.pick(columns(table));
            let value = other_value(dice, table, column, row, *uuid);
            unlabelled =
                column == "external_ids" || (*table == "Load_Balancer_Group" && column == "name");
            vec![Operation::update(
                *table,
                *uuid,
                Row::new().with(column, value),
            )]
        }
    };
    // Some damage the server itself refuses.
    northbound.transact(&operations).ok()?;
    Some(Done {
        story: format!("{operations:?}"),
        disorder: table.starts_with("HA_Chassis"),
        unlabelled,
    })
}
