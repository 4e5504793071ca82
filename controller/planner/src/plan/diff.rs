//! The difference between one unit's wanted rows and those that are there.

use std::hash::{DefaultHasher, Hash, Hasher};

use hashbrown::{HashMap, HashSet};
use ovsdb_model::{Atom, Database, Datum, Row, Table, Uuid};
use yusur_crds::common::condition;

use super::Work;
use crate::desired::{DesiredRow, Referrer};
use crate::inventory::Inventory;
use crate::nb::{
    self, Class, HaChassisGroup, Ids, LoadBalancer, LogicalRouterPort, LogicalSwitchPort, Nat,
    TableSpec, Text,
};
use crate::verdict::Truth;

/// One change of one row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Edit {
    /// Make the row.
    Insert {
        table: &'static TableSpec,
        uuid: Uuid,
        row: Row,
        result: u64,
    },
    /// Set columns, or keys of columns that are maps.
    Update {
        table: &'static TableSpec,
        uuid: Uuid,
        row: Row,
        keys: Vec<KeyEdit>,
        result: u64,
    },
    /// Remove the row.
    Delete {
        table: &'static TableSpec,
        uuid: Uuid,
    },
    /// Let a row go by taking it out of the columns that refer to it; it was this one's, and is not a root.
    Drop {
        table: &'static TableSpec,
        uuid: Uuid,
    },
    /// Add a reference to a column, or take it out.
    Member {
        table: &'static str,
        row: Uuid,
        column: &'static str,
        child: Uuid,
        present: bool,
    },
}

/// Keys of a map column: those to remove, then those to set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeyEdit {
    pub(crate) column: &'static str,
    pub(crate) remove: Vec<Atom>,
    pub(crate) put: Vec<(Atom, Atom)>,
}

/// A number for what a row's columns of this owner hold.
pub(crate) fn fingerprint(owner: &str, table: &TableSpec, row: &Row) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (column, class) in table.columns {
        match (class, row.get(column)) {
            (Class::Whole, Some(datum)) => datum.hash(&mut hasher),
            (Class::Keys, Some(datum)) => {
                for pair in datum.pairs().iter().filter(|(key, _)| is_ours(key)) {
                    pair.hash(&mut hasher);
                }
            }
            (Class::Named, Some(datum)) => {
                let named = row.map_str("external_ids", &nb::options_key(owner));
                for name in named.into_iter().flat_map(|named| named.split(' ')) {
                    datum.get_str(name).hash(&mut hasher);
                }
            }
            _ => {}
        }
    }
    hasher.finish()
}

fn is_ours(key: &Atom) -> bool {
    key.as_str().is_some_and(|key| key.starts_with(nb::PREFIX))
}

/// Finds the edits of one unit.
pub(super) fn unit(
    at: usize,
    works: &mut [Work],
    wanted: &HashSet<Uuid>,
    inserted: &HashMap<Uuid, usize>,
    inventory: &Inventory,
    database: &Database,
) {
    let ids = inventory.ids();
    let work = &mut works[at];
    let label = Atom::from(work.unit.to_string());
    let mut edits = Vec::new();
    let (mut gives, mut takes, mut touches) = (Vec::new(), Vec::new(), Vec::new());
    for row in std::mem::take(&mut work.rows) {
        // A row nobody refers to would vanish at once: it waits until there is somebody.
        let there = |referrer: &&Referrer| {
            inserted.contains_key(&referrer.row) || database.has(referrer.table, referrer.row)
        };
        let referrers: Vec<&Referrer> = row.referrers.iter().filter(there).collect();
        if referrers.len() < row.referrers.len() {
            work.waits = true;
            work.ahead |= (row.referrers.iter())
                .any(|referrer| referrer.maker.is_none() && !there(&referrer));
        }
        if let Some(support) = &row.rests_on {
            match inserted.get(&support.row) {
                Some(maker) => work.needs.push(*maker),
                None if database.has(support.table, support.row) => {}
                None => {
                    work.waits = true;
                    continue;
                }
            }
        }
        let observed = database.row(row.table.name, row.uuid);
        let observed = observed.as_deref();
        if observed.is_none() && !row.table.root && referrers.is_empty() {
            work.waits = true;
            continue;
        }
        for referrer in &referrers {
            if let Some(maker) = inserted.get(&referrer.row).filter(|maker| **maker != at) {
                work.needs.push(*maker);
            }
        }
        takes.extend(exclusive(row.table, &row.row));
        touches.extend(touched(&row, observed));
        let members = members(&row, &referrers, database);
        match observed {
            // It has gone, and the inventory has not heard of it yet.
            None if row.table.is_others() => {}
            None => edits.push(Edit::Insert {
                table: row.table,
                uuid: row.uuid,
                result: fingerprint(&inventory.config().owner, row.table, &row.row),
                row: row.row,
            }),
            Some(observed) => {
                if let Some(edit) = update(&row, observed, ids) {
                    edits.push(edit);
                    gives.extend(exclusive(row.table, observed));
                }
            }
        }
        edits.extend(members);
    }
    let mut unwanted: Vec<(&'static TableSpec, Uuid)> = Vec::new();
    for table in nb::TABLES {
        let labelled = database.find_uuids(table.name, nb::BY_UNIT, &label);
        unwanted.extend(
            labelled
                .filter(|uuid| !wanted.contains(uuid))
                .map(|uuid| (table, uuid)),
        );
    }
    // Without their labels (somebody took them off) the index does not have them.
    let ids = ids.of_unit(&work.unit).into_iter();
    let ids = ids.filter_map(|(table, uuid)| Some((nb::table(table)?, uuid)));
    let nobodys = |(table, uuid): &(&'static TableSpec, Uuid)| {
        let owner = &inventory.config().owner;
        let row = database.row(table.name, *uuid);
        row.is_some_and(|row| nb::unit_of(owner, table.name, &row).is_none())
    };
    let disowned = inventory.disowned(&work.unit).iter().copied();
    for (table, uuid) in ids.chain(disowned.filter(nobodys)) {
        let unlabelled =
            !wanted.contains(&uuid) && !unwanted.iter().any(|(_, other)| *other == uuid);
        if unlabelled && database.has(table.name, uuid) {
            unwanted.push((table, uuid));
        }
    }
    for (table, uuid) in unwanted {
        if let Some(row) = database.row(table.name, uuid) {
            gives.extend(exclusive(table, &row));
            touches.extend(addresses(table, &row));
        }
        remove(table, uuid, database, &mut edits);
    }
    if work.waits {
        // What it waits for has a problem of its own, which says more.
        for condition in &mut work.verdict.conditions {
            let of_rows = [condition::PROGRAMMED, condition::READY].contains(&condition.kind);
            if of_rows && condition.status == Truth::True {
                condition.status = Truth::False;
                condition.reason = "Waiting";
                condition.message = "rows it rests on are not in the OVN Northbound yet".into();
            }
        }
    }
    if !edits.is_empty() {
        gives.retain(|token| !takes.contains(token));
        (work.gives, work.takes, work.touches) = (gives, takes, touches);
    }
    work.edits = edits;
}

/// What a row has that only one unit may have at a time: VIPs, addresses of ports.
fn exclusive(table: &TableSpec, row: &Row) -> Vec<Text> {
    if table.name == LoadBalancer::NAME {
        let vips = row.get("vips").map(Datum::pairs).unwrap_or_default();
        vips.iter()
            .filter_map(|(vip, _)| vip.as_str())
            .map(Text::new)
            .collect()
    } else if table.name == LogicalSwitchPort::NAME {
        let addresses = row
            .get("addresses")
            .map(Datum::elements)
            .unwrap_or_default();
        let texts = addresses.iter().filter_map(Atom::as_str);
        texts
            .flat_map(|text| text.split(' ').skip(1))
            .map(Text::new)
            .collect()
    } else {
        Vec::new()
    }
}

/// The addresses a load balancer, or a row that owns an external address, is about.
fn addresses(table: &TableSpec, row: &Row) -> Vec<Text> {
    if table.name == LoadBalancer::NAME {
        let vips = row.get("vips").map(Datum::pairs).unwrap_or_default();
        vips.iter().filter_map(|(vip, _)| host(vip)).collect()
    } else if table.name == Nat::NAME {
        row.get_str("external_ip")
            .map(Text::new)
            .into_iter()
            .collect()
    } else {
        Vec::new()
    }
}

fn host(vip: &Atom) -> Option<Text> {
    let (host, _) = vip.as_str()?.rsplit_once(':')?;
    Some(Text::new(
        host.trim_start_matches('[').trim_end_matches(']'),
    ))
}

/// The addresses that a row begins to serve, or ceases to.
fn touched(wanted: &DesiredRow, observed: Option<&Row>) -> Vec<Text> {
    let now = addresses(wanted.table, &wanted.row);
    let Some(observed) = observed else {
        return now;
    };
    let before = addresses(wanted.table, observed);
    let gone = before.iter().filter(|address| !now.contains(address));
    let come = now.iter().filter(|address| !before.contains(address));
    gone.chain(come).cloned().collect()
}

/// What makes an observed row say what is wanted.
fn update(wanted: &DesiredRow, observed: &Row, ids: &Ids) -> Option<Edit> {
    let mut row = Row::new();
    let mut keys = Vec::new();
    for (column, class) in wanted.table.columns {
        // A column the server lacks is left out.
        let (Some(want), Some(have)) = (wanted.row.get(column), observed.get(column)) else {
            continue;
        };
        match class {
            Class::Whole if want == have => {}
            Class::Whole if want.is_map() => keys.push(key_edit(column, want, have, |_| true)),
            Class::Whole => row.set(*column, want.clone()),
            Class::Keys => {
                let edit = key_edit(column, want, have, is_ours);
                if !(edit.remove.is_empty() && edit.put.is_empty()) {
                    keys.push(edit);
                }
            }
            Class::Named => {
                let record = ids.options_key();
                let named = observed
                    .map_str("external_ids", &record)
                    .unwrap_or_default();
                let ours = |key: &Atom| {
                    let key = key.as_str().unwrap_or_default();
                    key == record || named.split(' ').any(|name| name == key)
                };
                let edit = key_edit(column, want, have, ours);
                if !(edit.remove.is_empty() && edit.put.is_empty()) {
                    keys.push(edit);
                }
            }
            Class::Members | Class::Server => {}
        }
    }
    if row.is_empty() && keys.is_empty() {
        return None;
    }
    let result = expected(ids.owner(), wanted, observed);
    Some(Edit::Update {
        table: wanted.table,
        uuid: wanted.uuid,
        row,
        keys,
        result,
    })
}

/// The fingerprint of a row once it is as wanted. A column the server lacks does not count.
fn expected(owner: &str, wanted: &DesiredRow, observed: &Row) -> u64 {
    let known = wanted
        .row
        .iter()
        .filter(|(name, _)| observed.get(name).is_some());
    let known: Row = known
        .map(|(name, datum)| (name.clone(), datum.clone()))
        .collect();
    fingerprint(owner, wanted.table, &known)
}

fn key_edit(
    column: &'static str,
    want: &Datum,
    have: &Datum,
    ours: impl Fn(&Atom) -> bool,
) -> KeyEdit {
    let gone = have
        .pairs()
        .iter()
        .filter(|(key, _)| ours(key) && !want.contains(key));
    let differ = want
        .pairs()
        .iter()
        .filter(|(key, value)| have.get(key) != Some(value));
    KeyEdit {
        column,
        remove: gone.map(|(key, _)| key.clone()).collect(),
        put: differ.cloned().collect(),
    }
}

/// Puts a row where it belongs, and nowhere else.
fn members(row: &DesiredRow, referrers: &[&Referrer], database: &Database) -> Vec<Edit> {
    let mut edits = Vec::new();
    let key = Atom::Uuid(row.uuid);
    for (table, column) in row.table.referrers {
        let wanted: HashSet<Uuid> = referrers
            .iter()
            .filter(|referrer| referrer.table == *table && referrer.column == *column)
            .map(|referrer| referrer.row)
            .collect();
        let mut there = 0;
        for parent in database.find_uuids(table, column, &key) {
            if wanted.contains(&parent) {
                there += 1;
            } else {
                edits.push(Edit::Member {
                    table,
                    row: parent,
                    column,
                    child: row.uuid,
                    present: false,
                });
            }
        }
        if there < wanted.len() {
            let missing = referrers
                .iter()
                .filter(|referrer| referrer.table == *table && referrer.column == *column);
            for referrer in missing {
                let parent = database.row(table, referrer.row);
                let members = parent.as_ref().and_then(|row| row.get(column));
                let has = members.is_some_and(|members| members.contains(&key));
                if !has {
                    edits.push(Edit::Member {
                        table,
                        row: referrer.row,
                        column,
                        child: row.uuid,
                        present: true,
                    });
                }
            }
        }
    }
    edits
}

/// Removes a row that nobody wants: out of every column that refers to it, and by itself if it is a root.
fn remove(table: &'static TableSpec, uuid: Uuid, database: &Database, edits: &mut Vec<Edit>) {
    for (parents, column) in table.referrers {
        for parent in database.find_uuids(parents, column, &Atom::Uuid(uuid)) {
            edits.push(Edit::Member {
                table: parents,
                row: parent,
                column,
                child: uuid,
                present: false,
            });
        }
    }
    if table.name == HaChassisGroup::NAME {
        // Ports that are still on these chassis, of Vpcs that leave later, or that only cease to be referred to (to the
        // server they refer to the group until then): it could not go before them.
        let column = nb::CHASSIS_GROUP;
        for port in database.find_uuids(LogicalRouterPort::NAME, column, &Atom::Uuid(uuid)) {
            edits.push(Edit::Member {
                table: LogicalRouterPort::NAME,
                row: port,
                column,
                child: uuid,
                present: false,
            });
        }
    }
    edits.push(if table.root {
        Edit::Delete { table, uuid }
    } else {
        Edit::Drop { table, uuid }
    });
}
