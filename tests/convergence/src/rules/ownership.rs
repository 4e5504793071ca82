//! Whose rows are: every row is of an object that is there, or of a stranger and untouched.

use std::collections::{BTreeMap, BTreeSet};

use ovsdb_model::{Datum, Row};

use super::services::crosses;
use super::{Case, Complaints, Rule};
use crate::rows::TABLES;

/// The columns of adopted rows that hold members of ours beside those of others.
const SHARED: &[(&str, &str, &str)] = &[
    ("Logical_Router", "ports", "Logical_Router_Port"),
    (
        "Logical_Router",
        "static_routes",
        "Logical_Router_Static_Route",
    ),
    ("Logical_Switch", "ports", "Logical_Switch_Port"),
    (
        "Logical_Switch",
        "load_balancer_group",
        "Load_Balancer_Group",
    ),
    ("Logical_Switch", "dns_records", "DNS"),
    ("Logical_Router", "nat", "NAT"),
    (
        "Logical_Router",
        "load_balancer_group",
        "Load_Balancer_Group",
    ),
    ("Logical_Router", "load_balancer", "Load_Balancer"),
];

/// What is set for all of OVN while there is a gateway (`docs/kinds/eipgateway.md`).
const FOR_ALL: [&str; 3] = ["bfd-min-rx", "bfd-min-tx", "bfd-mult"];

pub(super) fn check(case: &Case<'_>, complaints: &mut Complaints) {
    owned(case, complaints);
    once(case, complaints);
    foreign(case, complaints);
}

fn owned(case: &Case<'_>, complaints: &mut Complaints) {
    for table in TABLES {
        if *table == "NB_Global" {
            continue;
        }
        for entry in case.content.ours(table) {
            let whose = || format!("{table} {} {:?}", entry.uuid, entry.text("name"));
            if *table == "Load_Balancer_Group" {
                let prefix = format!("yusur:{}:", case.terms.owner);
                let vpc = entry.text("name").strip_prefix(&prefix);
                let vpc = vpc.map(|vpc| vpc.strip_suffix("/switches").unwrap_or(vpc));
                let there = vpc.is_some_and(|vpc| case.objects.vpcs.contains_key(vpc));
                complaints.unless(there, Rule::Owned, || format!("{} is no Vpc's", whose()));
                continue;
            }
            if entry.label("yusur.io/owner") != Some(case.terms.owner) {
                complaints.say(Rule::Owned, format!("{} is not labelled as ours", whose()));
                continue;
            }
            let unit = entry.label("yusur.io/unit").unwrap_or_default();
            complaints.unless(exists(case, table, unit), Rule::Owned, || {
                format!(
                    "{} is of {unit:?}, which is not there or has no such rows",
                    whose()
                )
            });
        }
    }
}

/// Whether an object stands behind a unit, and has rows of this table.
fn exists(case: &Case<'_>, table: &str, unit: &str) -> bool {
    let Some((kind, name)) = unit.split_once('/') else {
        return false;
    };
    let key = || {
        let (namespace, name) = name.split_once('/')?;
        Some((namespace.to_owned(), name.to_owned()))
    };
    let objects = case.objects;
    match (kind, table) {
        ("vpc", "Logical_Router" | "Logical_Router_Static_Route") => {
            objects.vpcs.contains_key(name)
        }
        // Of its place on a gateway's join.
        ("vpc", "Logical_Router_Port" | "Logical_Switch_Port" | "NAT") => {
            objects.vpcs.contains_key(name) && case.places.of_vpc(name).is_some()
        }
        (
            "eipgateway",
            "Logical_Router"
            | "Logical_Router_Port"
            | "Logical_Router_Static_Route"
            | "Logical_Switch"
            | "Logical_Switch_Port"
            | "NAT"
            | "ACL"
            | "HA_Chassis_Group"
            | "HA_Chassis",
        ) => case
            .meaning
            .gateways
            .get(name)
            .is_some_and(|gateway| gateway.stands),
        (
            "servicegateway",
            "Logical_Router"
            | "Logical_Router_Port"
            | "Logical_Router_Static_Route"
            | "Logical_Switch_Port"
            | "ACL",
        ) => needs_service_gateway(case, name),
        ("eip", "NAT" | "Logical_Router_Static_Route") => {
            key().is_some_and(|key| objects.eips.contains_key(&key))
        }
        ("calls", "Address_Set" | "ACL") => {
            let mut services = objects.services.values();
            services.any(|(_, spec, _)| spec.vpc == name && crosses(spec))
        }
        ("service", "NAT" | "ACL" | "Logical_Router_Static_Route") => key().is_some_and(|key| {
            let service = objects.services.get(&key);
            service.is_some_and(|(_, spec, _)| spec.eip.is_some())
        }),
        ("subnet", "Logical_Switch" | "Logical_Switch_Port" | "Logical_Router_Port") => {
            objects.subnets.contains_key(name)
        }
        ("pod", "Logical_Switch_Port") => key().is_some_and(|key| objects.pods.contains_key(&key)),
        ("vnic", "Logical_Switch_Port") => {
            key().is_some_and(|key| objects.vnics.contains_key(&key))
        }
        ("service", "Load_Balancer") => {
            key().is_some_and(|key| objects.services.contains_key(&key))
        }
        ("dns", "DNS") => name
            .rsplit_once('/')
            .is_some_and(|(vpc, _)| objects.vpcs.contains_key(vpc)),
        _ => false,
    }
}

/// Whether some service with backends in several Vpcs is reached by a gateway: by its service gateway, the outside or Vpcs.
fn needs_service_gateway(case: &Case<'_>, gateway: &str) -> bool {
    let mut services = case.objects.services.iter();
    services.any(|(key, (_, spec, _))| {
        let ask = case.meaning.ask_of(key);
        crosses(spec) && ask.is_some_and(|ask| ask.gateway == Some(gateway))
    })
}

/// No two rows of ours are for the same thing.
fn once(case: &Case<'_>, complaints: &mut Complaints) {
    for table in TABLES {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for entry in case.content.ours(table) {
            let unit = entry.label("yusur.io/unit").unwrap_or_default();
            let what = match *table {
                "Load_Balancer" => {
                    let on = ("Logical_Router", "load_balancer");
                    let routers = case.content.referrers(on.0, on.1, entry.uuid);
                    format!("{unit} {} on {routers:?}", entry.text("protocol"))
                }
                "NAT" => format!(
                    "{unit} {} {} {}",
                    entry.text("type"),
                    entry.text("external_ip"),
                    entry.text("logical_ip")
                ),
                "ACL" => format!("{unit} {} {}", entry.text("match"), entry.text("action")),
                "HA_Chassis" => format!("{unit} {}", entry.text("chassis_name")),
                "Load_Balancer_Group" | "Address_Set" => entry.text("name").to_owned(),
                "Logical_Router_Static_Route" => {
                    let on = ("Logical_Router", "static_routes");
                    let routers = case.content.referrers(on.0, on.1, entry.uuid);
                    format!(
                        "{unit} {} {} on {routers:?}",
                        entry.text("ip_prefix"),
                        entry.text("nexthop")
                    )
                }
                // A gateway has several of each; their names tell them apart.
                _ if unit.starts_with("eipgateway/") => format!("{unit} {}", entry.text("name")),
                _ => unit.to_owned(),
            };
            *seen.entry(what).or_default() += 1;
        }
        for (what, count) in seen.into_iter().filter(|(_, count)| *count > 1) {
            complaints.say(
                Rule::Once,
                format!("{count} rows of {table} are for {what}"),
            );
        }
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for entry in case.content.ours(table) {
            let name = entry.text("name");
            complaints.unless(name.is_empty() || names.insert(name), Rule::Once, || {
                format!("two rows of {table} are named {name:?}")
            });
        }
    }
}

/// What is said about all of OVN: others' options stay, and ours are there only while there is a gateway.
fn for_all(
    case: &Case<'_>,
    (before, now): (&Row, &Row),
    column: &str,
    complaints: &mut Complaints,
) {
    let pairs = |row: &Row| -> BTreeMap<String, String> {
        let pairs = row.get(column).map(Datum::pairs).unwrap_or_default().iter();
        pairs
            .filter_map(|(key, value)| Some((key.as_str()?.to_owned(), value.as_str()?.to_owned())))
            .collect()
    };
    let (before, now) = (pairs(before), pairs(now));
    let kept = before
        .iter()
        .all(|(key, value)| now.get(key) == Some(value));
    let needed = case.meaning.gateways.values().any(|gateway| gateway.stands);
    let mut extra = now.keys().filter(|key| !before.contains_key(*key));
    let ours = extra.all(|key| match column {
        "options" => needed && FOR_ALL.contains(&key.as_str()),
        _ => needed && key.starts_with("yusur.io/"),
    });
    complaints.unless(kept && ours, Rule::Foreign, || {
        format!("{column} of NB_Global is {now:?}, of others it is {before:?}")
    });
}

fn foreign(case: &Case<'_>, complaints: &mut Complaints) {
    for ((table, uuid), before) in case.foreign {
        let Some(now) = case.database.row(table, *uuid) else {
            complaints.say(
                Rule::Foreign,
                format!("{table} {uuid} of somebody else is gone"),
            );
            continue;
        };
        for (column, datum) in before.iter() {
            let Some(there) = now.get(column) else {
                continue;
            };
            if there == datum {
                continue;
            }
            if table == "NB_Global" {
                for_all(case, (before, &now), column, complaints);
                continue;
            }
            let shared = SHARED
                .iter()
                .find(|(of, name, _)| *of == table.as_str() && *name == column.as_str());
            let fine = shared.is_some_and(|(.., members)| {
                let extra: Vec<_> = there
                    .uuids()
                    .filter(|uuid| !datum.uuids().any(|other| other == *uuid))
                    .collect();
                let kept = datum
                    .uuids()
                    .all(|uuid| there.uuids().any(|other| other == uuid));
                let ours = extra.iter().all(|uuid| {
                    case.content
                        .ours(members)
                        .iter()
                        .any(|entry| entry.uuid == *uuid)
                });
                kept && ours
            });
            complaints.unless(fine, Rule::Foreign, || {
                format!(
                    "{table} {uuid} of somebody else was changed: {column} was {datum}, is {there}"
                )
            });
        }
    }
}
