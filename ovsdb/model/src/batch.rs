//! Batches: which rows changed and how.

use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
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

    /// One batch that tells of all these changes, which happened one after another: a row changed twice appears once,
    /// one changed and changed back not at all.
    pub fn join(changes: impl IntoIterator<Item = RowChange>) -> Self {
        let changes = changes.into_iter();
        let mut joined: Vec<RowChange> = Vec::with_capacity(changes.size_hint().0);
        let mut positions: HashMap<(Name, Uuid), usize> =
            HashMap::with_capacity(changes.size_hint().0);
        for change in changes {
            match positions.entry((change.table.clone(), change.uuid)) {
                Entry::Occupied(at) => joined[*at.get()].new = change.new,
                Entry::Vacant(free) => {
                    free.insert(joined.len());
                    joined.push(change);
                }
            }
        }
        joined.retain(|change| change.old != change.new);
        Self { changes: joined }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(uuid: u128, old: Option<i64>, new: Option<i64>) -> RowChange {
        let row = |value| Arc::new(Row::new().with("value", value));
        RowChange {
            table: "T".into(),
            uuid: Uuid::from_u128(uuid),
            old: old.map(row),
            new: new.map(row),
        }
    }

    #[test]
    fn rows_that_end_as_they_began_are_left_out() {
        let changes = [
            change(1, None, Some(1)),
            change(2, Some(1), Some(2)),
            change(1, Some(1), None),
            change(2, Some(2), Some(3)),
        ];
        assert_eq!(Batch::join(changes).changes, [change(2, Some(1), Some(3))]);
    }
}
