//! Batches: which rows changed and how.

use std::sync::Arc;

use hashbrown::HashMap;
use uuid::Uuid;

use crate::atom::Name;
use crate::row::Row;

/// One row's change: inserted (no `old`), deleted (no `new`) or modified (both, and they differ).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// The table.
    pub table: Name,
    /// The row.
    pub uuid: Uuid,
    /// The row before.
    pub old: Option<Arc<Row>>,
    /// The row after.
    pub new: Option<Arc<Row>>,
}

/// The changes that the replica went through in one step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// The changes, each row once.
    pub changes: Vec<RowChange>,
}

impl Batch {
    /// True without a change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The number of rows that changed.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// The changes of one table.
    pub fn of_table<'a>(&'a self, table: &'a str) -> impl Iterator<Item = &'a RowChange> {
        self.changes
            .iter()
            .filter(move |change| change.table == table)
    }

    /// Joins what happened after this batch to it, so that one batch tells of both: a row changed twice appears once,
    /// one changed and changed back not at all.
    pub fn merge(&mut self, later: Batch) {
        if self.changes.is_empty() {
            self.changes = later.changes;
            return;
        }
        let mut positions: HashMap<(Name, Uuid), usize> =
            HashMap::with_capacity(self.changes.len());
        for (at, change) in self.changes.iter().enumerate() {
            positions.insert((change.table.clone(), change.uuid), at);
        }
        for change in later.changes {
            match positions.entry((change.table.clone(), change.uuid)) {
                hashbrown::hash_map::Entry::Occupied(at) => {
                    self.changes[*at.get()].new = change.new
                }
                hashbrown::hash_map::Entry::Vacant(free) => {
                    free.insert(self.changes.len());
                    self.changes.push(change);
                }
            }
        }
        self.changes.retain(|change| change.old != change.new);
    }
}
