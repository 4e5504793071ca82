//! Layouts: which tables and columns a monitor follows, and how their rows lie in memory.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::atom::Name;
use crate::datum::Datum;
use crate::row::{Columns, Row};
use crate::schema::{ColumnType, Schema};

/// The tables and columns that a monitor follows. Cheap to clone.
///
/// Serialises to the `<monitor-requests>` of `monitor`, `monitor_cond` and `monitor_cond_since`.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    tables: Arc<HashMap<Name, Arc<TableLayout>>>,
}

/// The columns of one table that a monitor follows.
#[derive(Debug, PartialEq)]
pub struct TableLayout {
    name: Name,
    /// With the defaults: what a row holds that nothing was said of.
    columns: Columns,
    types: Box<[ColumnType]>,
}

impl Layout {
    /// The layout of these columns of these tables; what `schema` lacks is left out. Of a table without columns the rows'
    /// existence is followed.
    pub fn new<'a>(
        schema: &Schema,
        selection: impl IntoIterator<Item = (&'a Name, &'a [Name])>,
    ) -> Self {
        let mut tables = HashMap::new();
        for (name, columns) in selection {
            let Some(table) = schema.table(name) else {
                continue;
            };
            let kinds: BTreeMap<&Name, &ColumnType> = columns
                .iter()
                .filter_map(|column| table.columns.get_key_value(column))
                .map(|(column, kind)| (column, &kind.kind))
                .collect();
            let layout = TableLayout {
                name: name.clone(),
                columns: Columns::with_common(
                    kinds
                        .iter()
                        .map(|(column, kind)| ((*column).clone(), kind.default_datum())),
                ),
                types: kinds.values().map(|kind| (*kind).clone()).collect(),
            };
            tables.insert(name.clone(), Arc::new(layout));
        }
        Self {
            tables: Arc::new(tables),
        }
    }

    /// The layout of all columns of all tables.
    pub fn everything(schema: &Schema) -> Self {
        let selection: Vec<(&Name, Vec<Name>)> = schema
            .tables
            .iter()
            .map(|(name, table)| (name, table.columns.keys().cloned().collect()))
            .collect();
        Self::new(
            schema,
            selection
                .iter()
                .map(|(name, columns)| (*name, columns.as_slice())),
        )
    }

    /// The layout of the table called `name`.
    pub fn table(&self, name: &str) -> Option<&Arc<TableLayout>> {
        self.tables.get(name)
    }

    /// The tables, in no order.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<TableLayout>> {
        self.tables.values()
    }

    /// True without any table: a monitor of nothing.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }
}

/// Equal if the same columns of the same types are followed: a monitor that asked for one can go on with the other.
impl PartialEq for Layout {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.tables, &other.tables) || self.tables == other.tables
    }
}

impl Serialize for Layout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.tables.len()))?;
        for table in self.tables.values() {
            let columns: Vec<&str> = table.columns.names().iter().map(Name::as_str).collect();
            map.serialize_entry(
                table.name.as_str(),
                &[BTreeMap::from([("columns", columns)])],
            )?;
        }
        map.end()
    }
}

impl TableLayout {
    /// The table's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The names of the columns.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// The type of the column called `name`.
    pub fn kind(&self, name: &str) -> Option<&ColumnType> {
        self.columns.position(name).map(|at| &self.types[at])
    }

    /// The type of the column at this position among [`TableLayout::columns`].
    pub(crate) fn kind_at(&self, position: usize) -> &ColumnType {
        &self.types[position]
    }

    /// The row that holds these values, one for each of [`TableLayout::columns`]; defaults where there is none.
    pub(crate) fn row(&self, mut values: Vec<Option<Datum>>) -> Row {
        Row::sparse(&self.columns, |at| match values[at].take() {
            Some(value) => Cow::Owned(value),
            None => Cow::Borrowed(self.columns.common(at)),
        })
    }

    /// The same, where the columns at some positions could not be read: those are not in the row.
    pub(crate) fn row_without(&self, mut values: Vec<Option<Datum>>, unreadable: &[usize]) -> Row {
        if unreadable.is_empty() {
            return self.row(values);
        }
        let (mut names, mut known, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
        for (at, name) in self.columns.names().iter().enumerate() {
            if unreadable.contains(&at) {
                unknown.push(name.clone());
            } else {
                names.push(name.clone());
                let value = values[at].take();
                known.push(value.unwrap_or_else(|| self.columns.common(at).clone()));
            }
        }
        // As many values as names.
        Row::from_parts(Columns::without(names, unknown), known).unwrap_or_default()
    }
}
