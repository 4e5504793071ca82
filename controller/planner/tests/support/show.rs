//! The Northbound and verdicts as text that people read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ovsdb_model::{Atom, Database, Datum, DatumRef, Uuid};
use yusur_planner::{Status, Verdict, nb};

/// What tells rows without a name apart.
const KEYS: [&str; 7] = [
    "ip_prefix",
    "nexthop",
    "type",
    "external_ip",
    "logical_ip",
    "chassis_name",
    "match",
];

/// All rows of the planner's tables, ours and others', with names instead of UUIDs and defaults left out: each row's head
/// to its columns.
pub fn rows(database: &Database) -> Vec<(String, String)> {
    let mut names: BTreeMap<Uuid, String> = BTreeMap::new();
    for table in nb::TABLES {
        for (uuid, row) in database.rows(table.name) {
            let name = row.get_str("name").map(str::to_owned).or_else(|| {
                let unit = row.map_str("external_ids", nb::UNIT).unwrap_or("?");
                let key = KEYS.map(|column| row.get_str(column).unwrap_or_default());
                let key: Vec<&str> = key.into_iter().filter(|text| !text.is_empty()).collect();
                Some(format!("{unit} {}", key.join(" ")).trim().to_owned())
            });
            names.insert(uuid, name.unwrap_or_default());
        }
    }
    let mut shown = Vec::new();
    for table in nb::TABLES {
        let mut rows: Vec<_> = database.rows(table.name).collect();
        rows.sort_by_key(|(uuid, _)| (&names[uuid], *uuid));
        for (uuid, row) in rows {
            let mut text = String::new();
            for (column, class) in table.columns {
                // A counter that has not begun to count.
                let idle =
                    |datum: &Datum| *class == nb::Class::Server && datum.as_integer() == Some(0);
                let Some(datum) = row
                    .get(column)
                    .filter(|datum| *column != "name" && !is_default(datum) && !idle(datum))
                else {
                    continue;
                };
                let _ = writeln!(text, "    {column}: {}", datum_text(datum, &names));
            }
            shown.push((format!("{} {:?}", table.name, names[&uuid]), text));
        }
    }
    shown
}

/// What differs from one list of rows to the next: rows gone, rows new or changed.
pub fn difference(before: &[(String, String)], after: &[(String, String)]) -> String {
    let mut text = String::new();
    for (head, _) in before
        .iter()
        .filter(|(head, _)| !after.iter().any(|(other, _)| other == head))
    {
        let _ = writeln!(text, "- {head}");
    }
    for row in after.iter().filter(|row| !before.contains(row)) {
        let sign = if before.iter().any(|(head, _)| *head == row.0) {
            '~'
        } else {
            '+'
        };
        let _ = write!(text, "{sign} {}\n{}", row.0, row.1);
    }
    text
}

fn is_default(datum: &Datum) -> bool {
    datum.is_empty() || datum.as_str() == Some("")
}

fn datum_text(datum: &Datum, names: &BTreeMap<Uuid, String>) -> String {
    let atom = |atom: &Atom| match atom {
        Atom::Uuid(uuid) => format!("-> {:?}", names.get(uuid).map_or("?", String::as_str)),
        Atom::String(text) => text.to_string(),
        other => other.to_string(),
    };
    let mut parts: Vec<String> = match datum.view() {
        DatumRef::Set([one]) => return atom(one),
        DatumRef::Set(atoms) => atoms.iter().map(atom).collect(),
        DatumRef::Map(pairs) => pairs
            .iter()
            .map(|(key, value)| format!("{} = {}", atom(key), atom(value)))
            .collect(),
    };
    parts.sort();
    parts
        .iter()
        .map(|part| format!("\n        {part}"))
        .collect()
}

/// What is said about an object.
pub fn verdict(verdict: &Verdict) -> String {
    let Some(subject) = &verdict.object else {
        return String::new();
    };
    let mut text = format!("{}\n", subject.object);
    for condition in &verdict.conditions {
        let _ = writeln!(
            text,
            "    {}={} ({}) {}",
            condition.kind, condition.status, condition.reason, condition.message
        );
    }
    let status = match &verdict.status {
        Status::None => None,
        Status::Vpc(status) => serde_json::to_value(status).ok(),
        Status::Subnet(status) => serde_json::to_value(status).ok(),
        Status::VNic(status) => serde_json::to_value(status).ok(),
        Status::YusurService(status) => serde_json::to_value(status).ok(),
        Status::EipGateway(status) => serde_json::to_value(status).ok(),
        Status::Eip(status) => serde_json::to_value(status).ok(),
    };
    for (key, value) in status
        .iter()
        .flat_map(|status| status.as_object())
        .flatten()
    {
        let _ = writeln!(text, "    {key}: {value}");
    }
    text
}
