//! The rows as a running transaction sees them: the database with the transaction's own changes laid over it.

use std::collections::BTreeMap;

use ovsdb_model::schema::TableSchema;
use ovsdb_model::{ColumnType, Name, Row, Schema, Uuid};

use crate::{Failure, Northbound};

/// A row's place: table and UUID. (One UUID may stand in several tables.)
pub(crate) type Place = (Name, Uuid);

/// New content of rows; `None` = deleted.
pub(crate) type Changes = BTreeMap<Place, Option<Row>>;

/// A transaction that is being carried out.
pub(crate) struct Transaction<'a> {
    pub(crate) base: &'a Northbound,
    pub(crate) changes: Changes,
    pub(crate) inserted: u64,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(base: &'a Northbound) -> Self {
        Self {
            base,
            changes: Changes::new(),
            inserted: base.inserted,
        }
    }

    pub(crate) fn schema(&self) -> &'a Schema {
        &self.base.schema
    }

    pub(crate) fn table(&self, name: &str) -> Result<&'a TableSchema, Failure> {
        self.base
            .schema
            .table(name)
            .ok_or_else(|| Failure::new("syntax error", format!("no table {name}")))
    }

    pub(crate) fn column(&self, table: &str, column: &str) -> Result<&'a ColumnType, Failure> {
        self.base
            .schema
            .column(table, column)
            .map(|column| &column.kind)
            .ok_or_else(|| Failure::new("unknown column", format!("no column {column} in {table}")))
    }

    /// A row as it stands now.
    pub(crate) fn row(&self, table: &Name, uuid: Uuid) -> Option<&Row> {
        match self.changes.get(&(table.clone(), uuid)) {
            Some(changed) => changed.as_ref(),
            None => self.base.content.row(table, uuid).map(AsRef::as_ref),
        }
    }

    /// The row as it was before the transaction.
    pub(crate) fn old_row(&self, place: &Place) -> Option<&'a Row> {
        self.base.content.row(&place.0, place.1).map(AsRef::as_ref)
    }

    /// All rows of a table as they stand now, sorted by UUID.
    pub(crate) fn rows(&self, table: &Name) -> BTreeMap<Uuid, &Row> {
        let mut rows: BTreeMap<Uuid, &Row> = self
            .base
            .content
            .rows(table)
            .map(|(uuid, row)| (uuid, row.as_ref()))
            .collect();
        for ((_, uuid), row) in self.changes_of(table) {
            match row {
                Some(row) => rows.insert(*uuid, row),
                None => rows.remove(uuid),
            };
        }
        rows
    }

    /// The changes in one table.
    pub(crate) fn changes_of(&self, table: &Name) -> impl Iterator<Item = (&Place, &Option<Row>)> {
        self.changes
            .range((table.clone(), Uuid::nil())..=(table.clone(), Uuid::max()))
    }

    /// How many rows a table has now.
    pub(crate) fn count(&self, table: &Name) -> usize {
        let mut count = self.base.content.len(table);
        for (place, row) in self.changes_of(table) {
            match (self.old_row(place).is_some(), row.is_some()) {
                (false, true) => count += 1,
                (true, false) => count -= 1,
                _ => {}
            }
        }
        count
    }

    /// True unless a row of that UUID is there, or was there when the transaction began.
    pub(crate) fn may_insert(&self, place: &Place) -> bool {
        self.old_row(place).is_none() && self.row(&place.0, place.1).is_none()
    }

    pub(crate) fn set(&mut self, place: Place, row: Row) {
        self.changes.insert(place, Some(row));
    }

    pub(crate) fn delete(&mut self, place: Place) {
        if self.old_row(&place).is_some() {
            self.changes.insert(place, None);
        } else {
            // Inserted by this very transaction: as if it had never been, and may be inserted again.
            self.changes.remove(&place);
        }
    }
}
