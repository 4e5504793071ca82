//! The rows as a running transaction sees them: the database with the transaction's own changes laid over it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ovsdb_model::schema::TableSchema;
use ovsdb_model::{ColumnType, Name, Row, Schema, Uuid};

use crate::{Failure, Northbound};

/// A row's place: table and UUID. (One UUID may stand in several tables.)
pub(crate) type Place = (Name, Uuid);

/// New content of rows; `None` = deleted.
pub(crate) type Changes = BTreeMap<Place, Option<Arc<Row>>>;

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
    pub(crate) fn row(&self, table: &Name, uuid: Uuid) -> Option<Arc<Row>> {
        match self.changes.get(&(table.clone(), uuid)) {
            Some(changed) => changed.clone(),
            None => self.base.content.row(table, uuid),
        }
    }

    /// The row as it was before the transaction.
    pub(crate) fn old_row(&self, place: &Place) -> Option<Arc<Row>> {
        self.base.content.row(&place.0, place.1)
    }

    /// True if the row was there before the transaction.
    fn was_there(&self, place: &Place) -> bool {
        self.base.content.has(&place.0, place.1)
    }

    /// All rows of a table as they stand now, sorted by UUID.
    pub(crate) fn rows(&self, table: &Name) -> BTreeMap<Uuid, Arc<Row>> {
        let mut rows: BTreeMap<Uuid, Arc<Row>> = self.base.content.rows(table).collect();
        for ((_, uuid), row) in self.changes_of(table) {
            match row {
                Some(row) => rows.insert(*uuid, Arc::clone(row)),
                None => rows.remove(uuid),
            };
        }
        rows
    }

    /// The changes in one table.
    pub(crate) fn changes_of(
        &self,
        table: &Name,
    ) -> impl Iterator<Item = (&Place, &Option<Arc<Row>>)> {
        self.changes
            .range((table.clone(), Uuid::nil())..=(table.clone(), Uuid::max()))
    }

    /// How many rows a table has now.
    pub(crate) fn count(&self, table: &Name) -> usize {
        let mut count = self.base.content.len(table);
        for (place, row) in self.changes_of(table) {
            match (self.was_there(place), row.is_some()) {
                (false, true) => count += 1,
                (true, false) => count -= 1,
                _ => {}
            }
        }
        count
    }

    /// True unless a row of that UUID is there, or was there when the transaction began.
    pub(crate) fn may_insert(&self, place: &Place) -> bool {
        !self.was_there(place) && self.row(&place.0, place.1).is_none()
    }

    pub(crate) fn set(&mut self, place: Place, row: Row) {
        self.changes.insert(place, Some(Arc::new(row)));
    }

    pub(crate) fn delete(&mut self, place: Place) {
        if self.was_there(&place) {
            self.changes.insert(place, None);
        } else {
            // Inserted by this very transaction: as if it had never been, and may be inserted again.
            self.changes.remove(&place);
        }
    }
}
