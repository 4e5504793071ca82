//! The replica's content: tables, their rows by UUID and by declared indexes. Reading it is reading memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use uuid::Uuid;

use crate::atom::{Atom, Name};
use crate::batch::{Batch, RowChange};
use crate::index::{Found, Index, IndexState};
use crate::row::Row;
use crate::store::Rows;
use crate::table::{RowError, Table};

/// A copy of a part of a database.
#[derive(Debug, Default)]
pub struct Database {
    tables: HashMap<Name, TableContent>,
    pub(crate) doubtful: Vec<(Name, Uuid)>,
}

/// The rows of one table.
#[derive(Debug, Default)]
pub(crate) struct TableContent {
    pub(crate) rows: Rows,
    pub(crate) indexes: Vec<IndexState>,
    /// In how many rows each column is not known since it could not be read; without those that are known everywhere.
    unreadable: BTreeMap<Name, usize>,
}

impl Database {
    /// A database without rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares an index on a table: from now on [`Database::find`] answers for it. One declared again under the same
    /// name replaces the first. Costs a walk over the rows that are there already.
    pub fn declare_index(&mut self, table: impl Into<Name>, index: Index) {
        let content = self.tables.entry(table.into()).or_default();
        content
            .indexes
            .retain(|state| state.index.name != index.name);
        let mut state = IndexState::new(index);
        for (uuid, row) in content.rows.iter() {
            state.change(uuid, None, Some(&row), &content.rows);
        }
        content.indexes.push(state);
    }

    /// The tables that have rows or indexes, in no order.
    pub fn tables(&self) -> impl Iterator<Item = &Name> {
        self.tables.keys()
    }

    /// The number of rows of a table.
    pub fn len(&self, table: &str) -> usize {
        self.tables
            .get(table)
            .map_or(0, |content| content.rows.len())
    }

    /// True without any row in any table.
    pub fn is_empty(&self) -> bool {
        self.tables.values().all(|content| content.rows.is_empty())
    }

    /// True if a table has the row `uuid`.
    pub fn has(&self, table: &str, uuid: Uuid) -> bool {
        (self.tables.get(table)).is_some_and(|content| content.rows.contains(uuid))
    }

    /// The row `uuid` of a table. Small rows are packed while they lie here, and each call unpacks the row anew: who looks
    /// at several columns keeps what it was given.
    pub fn row(&self, table: &str, uuid: Uuid) -> Option<Arc<Row>> {
        self.tables.get(table)?.rows.get(uuid)
    }

    /// The rows of a table, in no order.
    pub fn rows(&self, table: &str) -> impl Iterator<Item = (Uuid, Arc<Row>)> {
        let rows = self.tables.get(table).map(|content| content.rows.iter());
        rows.into_iter().flatten()
    }

    /// The rows that have `key` in the index called `index`, sorted by UUID; none if there is no such index.
    pub fn find(
        &self,
        table: &str,
        index: &str,
        key: &Atom,
    ) -> impl Iterator<Item = (Uuid, Arc<Row>)> {
        self.found(table, index, key).into_iter().flatten()
    }

    /// The UUIDs of the rows that [`Self::find`] finds, without visiting those that share the key.
    pub fn find_uuids(&self, table: &str, index: &str, key: &Atom) -> impl Iterator<Item = Uuid> {
        let found = self.found(table, index, key).into_iter();
        found.flat_map(Found::uuids)
    }

    /// The number of rows that have `key` in the index called `index`, without visiting them.
    pub fn count(&self, table: &str, index: &str, key: &Atom) -> usize {
        self.found(table, index, key).map_or(0, |found| found.len())
    }

    fn found(&self, table: &str, index: &str, key: &Atom) -> Option<Found<'_>> {
        let content = self.tables.get(table)?;
        Some(content.index(index)?.find(key, &content.rows))
    }

    /// The keys that the index called `index` has at present, in no order, each once. Costs a walk over the rows.
    pub fn keys(&self, table: &str, index: &str) -> impl Iterator<Item = Atom> {
        let content = self.tables.get(table);
        let keys = content.and_then(|content| Some(content.index(index)?.keys(&content.rows)));
        keys.into_iter().flatten()
    }

    /// True if the table has an index of that name.
    pub fn has_index(&self, table: &str, index: &str) -> bool {
        self.tables
            .get(table)
            .is_some_and(|content| content.index(index).is_some())
    }

    /// The columns that some rows have on the server and not here, since what they hold could not be read
    /// ([`Row::unreadable`]): by table, with the number of rows. Asking walks no rows.
    pub fn unreadable(&self) -> BTreeMap<Name, BTreeMap<Name, usize>> {
        let tables = self.tables.iter();
        let some = tables.filter(|(_, content)| !content.unreadable.is_empty());
        some.map(|(name, content)| (name.clone(), content.unreadable.clone()))
            .collect()
    }

    /// An estimate of the bytes that a table holds: rows, hash tables and indexes. Asking walks no rows.
    pub fn memory(&self, table: &str) -> usize {
        let Some(content) = self.tables.get(table) else {
            return 0;
        };
        let indexes = content
            .indexes
            .iter()
            .map(IndexState::memory)
            .sum::<usize>();
        content.rows.memory() + indexes
    }

    /// The row `uuid` of `T`'s table as a `T`.
    ///
    /// # Errors
    /// When the row does not fit the type.
    pub fn get<T: Table>(&self, uuid: Uuid) -> Result<Option<T>, RowError> {
        self.row(T::NAME, uuid)
            .map(|row| T::from_row(uuid, &row))
            .transpose()
    }

    /// The rows of `T`'s table as `T`s, in no order; a row that does not fit the type is an error of its own.
    pub fn all<T: Table>(&self) -> impl Iterator<Item = Result<T, RowError>> {
        self.rows(T::NAME)
            .map(|(uuid, row)| T::from_row(uuid, &row))
    }

    /// Sets (`Some`) or removes (`None`) rows, and tells what changed: what was so already is no change. Tables come
    /// into being with their first row.
    pub fn set_rows<R: Into<Arc<Row>>>(
        &mut self,
        rows: impl IntoIterator<Item = (Name, Uuid, Option<R>)>,
    ) -> Batch {
        let mut batch = Batch::default();
        for (table, uuid, row) in rows {
            let change = self
                .content_mut(&table)
                .set(&table, uuid, row.map(Into::into));
            batch.changes.extend(change);
        }
        batch
    }

    pub(crate) fn content_mut(&mut self, table: &Name) -> &mut TableContent {
        self.tables.entry(table.clone()).or_default()
    }
}

impl TableContent {
    fn index(&self, name: &str) -> Option<&IndexState> {
        self.indexes.iter().find(|state| state.index.name == name)
    }

    /// Makes room for a first dump in one go; later, room grows as it is needed.
    pub(crate) fn expect(&mut self, rows: usize) {
        if self.rows.is_empty() {
            self.rows.reserve(rows);
        }
    }

    /// Sets or removes one row and fits the indexes; `None` if it was so already.
    pub(crate) fn set(
        &mut self,
        table: &Name,
        uuid: Uuid,
        new: Option<Arc<Row>>,
    ) -> Option<RowChange> {
        // Even one that is equal takes the place of the old one: it shares its column names with the rows to come.
        let old = self.rows.set(uuid, new.as_ref());
        self.count_unreadable(old.as_deref(), new.as_deref());
        if old == new {
            return None;
        }
        for index in &mut self.indexes {
            index.change(uuid, old.as_deref(), new.as_deref(), &self.rows);
        }
        Some(RowChange {
            table: table.clone(),
            uuid,
            old,
            new,
        })
    }

    fn count_unreadable(&mut self, old: Option<&Row>, new: Option<&Row>) {
        for column in new.into_iter().flat_map(Row::unreadable) {
            *self.unreadable.entry(column.clone()).or_default() += 1;
        }
        for column in old.into_iter().flat_map(Row::unreadable) {
            if let Some(rows) = self.unreadable.get_mut(column) {
                *rows = rows.saturating_sub(1);
            }
        }
        if old.is_some_and(|old| !old.unreadable().is_empty()) {
            self.unreadable.retain(|_, rows| *rows > 0);
        }
    }
}
