//! Groups as OVSDB operations.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use ovsdb_model::{Atom, Datum, Mutation, Name, Operation, Row, Uuid};

use super::Group;
use super::diff::{Edit, KeyEdit};

/// All that happens to one row in one transaction.
#[derive(Default)]
struct RowEdits<'a> {
    insert: Option<&'a Row>,
    update: Option<&'a Row>,
    keys: Vec<&'a KeyEdit>,
    members: HashMap<&'static str, (BTreeSet<Uuid>, BTreeSet<Uuid>)>,
    delete: bool,
}

/// The operations of some groups, in one transaction: changes of one row are joined into one operation, so that a hundred
/// services that join their VPC's group cost one change of it.
pub fn operations<'a>(groups: impl IntoIterator<Item = &'a Group>) -> Vec<Operation> {
    let mut order: Vec<(&'static str, Uuid)> = Vec::new();
    let mut rows: HashMap<(&'static str, Uuid), RowEdits<'a>> = HashMap::new();
    for edit in groups.into_iter().flat_map(|group| &group.edits) {
        let key = match edit {
            Edit::Insert { table, uuid, .. }
            | Edit::Update { table, uuid, .. }
            | Edit::Delete { table, uuid } => (table.name, *uuid),
            Edit::Member { table, row, .. } => (*table, *row),
            // It goes when nothing refers to it any more.
            Edit::Drop { .. } => continue,
        };
        let row = rows.entry(key).or_insert_with(|| {
            order.push(key);
            RowEdits::default()
        });
        match edit {
            Edit::Insert { row: new, .. } => row.insert = Some(new),
            Edit::Update { row: new, keys, .. } => {
                row.update = Some(new);
                row.keys.extend(keys);
            }
            Edit::Delete { .. } => row.delete = true,
            Edit::Member {
                column,
                child,
                present,
                ..
            } => {
                let (added, removed) = row.members.entry(column).or_default();
                // One unit may take a row out of where another, which had it before, still sees it.
                if *present {
                    removed.remove(child);
                    added.insert(*child);
                } else if !added.contains(child) {
                    removed.insert(*child);
                }
            }
            Edit::Drop { .. } => {}
        }
    }

    let mut operations = Vec::with_capacity(order.len());
    for key in order {
        let Some(row) = rows.remove(&key) else {
            continue;
        };
        let (table, uuid) = key;
        let name = Name::new_static(table);
        if row.delete {
            operations.push(Operation::delete(name, uuid));
            continue;
        }
        let mut members: Vec<_> = row.members.into_iter().collect();
        members.sort_unstable_by_key(|(column, _)| *column);
        if let Some(new) = row.insert {
            // Columns at their defaults need not be sent.
            let said = new.iter().filter(|(_, datum)| !is_default(datum));
            let mut new: Row = said
                .map(|(name, datum)| (name.clone(), datum.clone()))
                .collect();
            for (column, (added, _)) in members {
                if !added.is_empty() {
                    new.set(column, Datum::set(added));
                }
            }
            operations.push(Operation::insert(name, uuid, new));
            continue;
        }
        if let Some(update) = row.update.filter(|update| !update.is_empty()) {
            operations.push(Operation::update(name.clone(), uuid, update.clone()));
        }
        let mut mutations = Vec::new();
        for key in row.keys {
            // The server ignores an insert of a key that is there: the old one goes first.
            let old: Vec<Atom> = key
                .remove
                .iter()
                .chain(key.put.iter().map(|(key, _)| key))
                .cloned()
                .collect();
            if !old.is_empty() {
                mutations.push(Mutation::delete_keys(key.column, old));
            }
            if !key.put.is_empty() {
                mutations.push(Mutation::insert(
                    key.column,
                    Datum::map(key.put.iter().cloned()),
                ));
            }
        }
        for (column, (added, removed)) in members {
            if !removed.is_empty() {
                mutations.push(Mutation::delete(column, Datum::set(removed)));
            }
            if !added.is_empty() {
                mutations.push(Mutation::insert(column, Datum::set(added)));
            }
        }
        if !mutations.is_empty() {
            operations.push(Operation::mutate(name, uuid, mutations));
        }
    }
    operations
}

fn is_default(datum: &Datum) -> bool {
    datum.is_empty() || datum.as_str() == Some("")
}
