//! Whose rows are: every row is of an object that is there, or of a stranger and untouched.

use std::collections::{BTreeMap, BTreeSet};

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
];

pub(super) fn check(case: &Case<'_>, complaints: &mut Complaints) {
    owned(case, complaints);
    once(case, complaints);
    foreign(case, complaints);
}

fn owned(case: &Case<'_>, complaints: &mut Complaints) {
    for table in TABLES {
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

/// No two rows of ours are for the same thing.
fn once(case: &Case<'_>, complaints: &mut Complaints) {
    for table in TABLES {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for entry in case.content.ours(table) {
            let unit = entry.label("yusur.io/unit").unwrap_or_default();
            let what = match *table {
                "Load_Balancer" => format!("{unit} {}", entry.text("protocol")),
                "Load_Balancer_Group" => entry.text("name").to_owned(),
                "Logical_Router_Static_Route" => {
                    format!(
                        "{unit} {} {}",
                        entry.text("ip_prefix"),
                        entry.text("nexthop")
                    )
                }
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
