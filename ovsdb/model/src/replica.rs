//! How updates get into the replica: in one step or not at all, telling what changed.

use std::sync::Arc;

use hashbrown::HashSet;
use uuid::Uuid;

use crate::atom::Name;
use crate::batch::{Batch, RowChange};
use crate::database::{Database, TableContent};
use crate::layout::{Layout, TableLayout};
use crate::row::Row;
use crate::update::{ColumnUpdate, RowUpdate, Update};

/// An update that does not fit what the replica holds: the two have parted, and only a new dump mends it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server's update does not fit the replica: table {table}, row {uuid}: {problem}")]
pub struct ApplyError {
    /// The table.
    pub table: Name,
    /// The row.
    pub uuid: Uuid,
    /// What does not fit.
    pub problem: &'static str,
}

impl Database {
    /// Applies an update and tells what changed. A row that an update inserts although it is there already is taken as
    /// the row's new content, and the deletion of one that is not there changes nothing.
    ///
    /// # Errors
    /// When a row that is not there is modified. Nothing is applied then.
    pub fn apply(&mut self, update: Update) -> Result<Batch, ApplyError> {
        let mut batch = Batch::default();
        for table in update.tables {
            let content = self.content_mut(table.layout.name());
            content.expect(table.rows.len());
            batch.changes.reserve(table.rows.len());
            for (uuid, row) in table.rows {
                match content.new_row(&table.layout, uuid, row) {
                    Ok(new) => batch
                        .changes
                        .extend(content.set(table.layout.name(), uuid, new)),
                    Err(problem) => {
                        self.take_back(batch);
                        return Err(ApplyError {
                            table: table.layout.name().clone(),
                            uuid,
                            problem,
                        });
                    }
                }
            }
        }
        Ok(batch)
    }

    /// Makes the replica equal to a dump (an update that holds all rows of all tables of `layout`), and tells what
    /// changed: this is how a resynchronisation reports differences only. Tables that the layout does not have are
    /// emptied; declared indexes stay.
    ///
    /// # Errors
    /// When the update is not a dump. Nothing is applied then.
    pub fn reconcile(&mut self, layout: &Layout, dump: Update) -> Result<Batch, ApplyError> {
        for table in &dump.tables {
            if let Some((uuid, _)) = table
                .rows
                .iter()
                .find(|(_, row)| !matches!(row, RowUpdate::Whole(_)))
            {
                let problem = "a change to a row in what should be a dump";
                return Err(ApplyError {
                    table: table.layout.name().clone(),
                    uuid: *uuid,
                    problem,
                });
            }
        }
        let mut batch = Batch::default();
        // What was not there cannot be gone: a first dump pays for none of this.
        let filled = self.tables().filter(|name| self.len(name) > 0);
        for name in filled.cloned().collect::<Vec<_>>() {
            let kept: HashSet<Uuid> = match layout.table(&name) {
                // A table without rows is not in the dump at all.
                Some(_) => dump
                    .tables
                    .iter()
                    .filter(|table| *table.layout.name() == name)
                    .flat_map(|table| table.rows.iter().map(|(uuid, _)| *uuid))
                    .collect(),
                None => HashSet::new(),
            };
            let content = self.content_mut(&name);
            let gone: Vec<Uuid> = content
                .rows
                .uuids()
                .filter(|uuid| !kept.contains(uuid))
                .collect();
            batch.changes.extend(
                gone.into_iter()
                    .filter_map(|uuid| content.set(&name, uuid, None)),
            );
        }
        batch.changes.extend(self.apply(dump)?.changes);
        Ok(batch)
    }

    /// Undoes a batch, last change first.
    fn take_back(&mut self, batch: Batch) {
        for RowChange {
            table, uuid, old, ..
        } in batch.changes.into_iter().rev()
        {
            self.content_mut(&table).set(&table, uuid, old);
        }
    }
}

impl TableContent {
    /// What an update makes of a row.
    fn new_row(
        &self,
        layout: &TableLayout,
        uuid: Uuid,
        update: RowUpdate,
    ) -> Result<Option<Arc<Row>>, &'static str> {
        match update {
            RowUpdate::Whole(row) => Ok(Some(row)),
            RowUpdate::Delete => Ok(None),
            RowUpdate::Modify(changes) => {
                let old = self
                    .rows
                    .get(uuid)
                    .ok_or("the row that was modified is not there")?;
                modified(layout, &old, changes).map(|row| Some(Arc::new(row)))
            }
        }
    }
}

/// The row with differences applied.
fn modified(
    layout: &TableLayout,
    old: &Row,
    changes: Vec<ColumnUpdate>,
) -> Result<Row, &'static str> {
    let changes = changes
        .into_iter()
        .map(|change| -> Result<_, &'static str> {
            let ColumnUpdate { position, value } = change;
            let at = old
                .columns()
                .position(&layout.columns().names()[position])
                .ok_or("a column that was modified is not there")?;
            let value = if layout.kind_at(position).is_composite() {
                old.value(at)
                    .apply_diff(&value)
                    .map_err(|_| "a difference is not of its column's kind")?
            } else {
                value
            };
            Ok((at, value))
        });
    Ok(old.changed(changes.collect::<Result<_, _>>()?))
}
