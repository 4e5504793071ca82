//! How updates get into the replica: in one step or not at all, telling what changed.

use std::sync::Arc;

use hashbrown::HashSet;
use uuid::Uuid;

use crate::atom::Name;
use crate::batch::{Batch, RowChange};
use crate::database::{Database, TableContent};
use crate::datum::Datum;
use crate::layout::{Layout, TableLayout};
use crate::row::Row;
use crate::schema::ColumnType;
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
        let mut doubtful = Vec::new();
        for table in update.tables {
            let content = self.content_mut(table.layout.name());
            content.expect(table.rows.len());
            batch.changes.reserve(table.rows.len());
            for (uuid, row) in table.rows {
                match content.new_row(&table.layout, uuid, row) {
                    Ok((new, in_doubt)) => {
                        let name = table.layout.name();
                        if in_doubt {
                            doubtful.push((name.clone(), uuid));
                        }
                        batch.changes.extend(content.set(name, uuid, new));
                    }
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
        self.doubtful.extend(doubtful);
        Ok(batch)
    }

    /// Applies what a server says anew of whole rows, where they are still there. It must know of all updates of them
    /// that were applied, and no other.
    ///
    /// # Errors
    /// As [`Database::apply`].
    pub fn refresh(&mut self, mut update: Update) -> Result<Batch, ApplyError> {
        for table in &mut update.tables {
            let content = self.content_mut(table.layout.name());
            table.rows.retain(|(uuid, _)| content.rows.contains(*uuid));
        }
        self.apply(update)
    }

    /// The rows of which a difference has left in doubt what a column holds, each since this was last asked. Reading
    /// them anew ([`Database::refresh`]) settles it.
    ///
    /// Differences (`update2`) are told by what a value looks like, and reals that look alike may differ: of a set that
    /// has 0.3 the difference 0.3 may mean that it goes or that its neighbour comes. And where a value, or a difference,
    /// cannot be read, the next difference leads nowhere.
    pub fn take_doubtful(&mut self) -> Vec<(Name, Uuid)> {
        std::mem::take(&mut self.doubtful)
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
    /// What an update makes of a row, and whether it left that in doubt.
    fn new_row(
        &self,
        layout: &TableLayout,
        uuid: Uuid,
        update: RowUpdate,
    ) -> Result<(Option<Arc<Row>>, bool), &'static str> {
        match update {
            RowUpdate::Whole(row) => Ok((Some(row), false)),
            RowUpdate::Delete => Ok((None, false)),
            RowUpdate::Modify(changes) => {
                let old = self
                    .rows
                    .get(uuid)
                    .ok_or("the row that was modified is not there")?;
                let (row, in_doubt) = modified(layout, &old, changes)?;
                Ok((Some(Arc::new(row)), in_doubt))
            }
        }
    }
}

/// The row with differences applied, and whether they left in doubt what it holds.
fn modified(
    layout: &TableLayout,
    old: &Row,
    changes: Vec<ColumnUpdate>,
) -> Result<(Row, bool), &'static str> {
    let mut in_doubt = false;
    let mut changed = Vec::with_capacity(changes.len());
    for ColumnUpdate { position, value } in changes {
        let kind = layout.kind_at(position);
        let column = &layout.columns().names()[position];
        let value = match value {
            Some(diff) if kind.is_composite() => match old.get(column) {
                Some(old) => {
                    in_doubt |= is_ambiguous(kind, old, &diff);
                    let new = old.apply_diff(&diff);
                    Some(new.map_err(|_| "a difference is not of its column's kind")?)
                }
                None if old.unreadable().contains(column) => {
                    in_doubt = true;
                    None
                }
                None => return Err("a column that was modified is not there"),
            },
            None => {
                in_doubt |= kind.is_composite();
                None
            }
            whole => whole,
        };
        changed.push((position, value));
    }
    let names = layout.columns().names();
    if old.unreadable().is_empty() && changed.iter().all(|(_, value)| value.is_some()) {
        let known = changed.into_iter().filter_map(|(position, value)| {
            let at = old.columns().position(&names[position]);
            Some((at, value?))
        });
        let known = known.map(|(at, value)| Some((at?, value)));
        let known: Option<Vec<(usize, Datum)>> = known.collect();
        let known = known.ok_or("a column that was modified is not there")?;
        return Ok((old.changed(known), in_doubt));
    }
    let mut values: Vec<Option<Datum>> = names.iter().map(|name| old.get(name).cloned()).collect();
    for (position, value) in changed {
        values[position] = value;
    }
    let unreadable = values
        .iter()
        .enumerate()
        .filter(|(_, value)| value.is_none());
    let unreadable: Vec<usize> = unreadable.map(|(at, _)| at).collect();
    Ok((layout.row_without(values, &unreadable), in_doubt))
}

/// Whether the difference may mean something else than what it does here: see [`Database::take_doubtful`].
fn is_ambiguous(kind: &ColumnType, old: &Datum, diff: &Datum) -> bool {
    let (real_keys, real_values) = kind.has_reals();
    if !real_keys && !real_values {
        return false;
    }
    let mut pairs = diff.pairs().iter();
    let of_set = diff.elements().iter().any(|element| old.contains(element));
    of_set || pairs.any(|(key, value)| old.get(key).is_some_and(|old| real_keys || old == value))
}
