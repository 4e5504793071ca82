//! Rows: columns by name, with the names shared between the rows of a table.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};
use uuid::Uuid;

use crate::atom::Name;
use crate::datum::Datum;

/// A sorted set of column names, shared by all rows that have just these columns.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Columns(Arc<[Name]>);

impl Columns {
    /// These names, sorted, each once.
    pub fn new<N: Into<Name>>(names: impl IntoIterator<Item = N>) -> Self {
        let mut names: Vec<Name> = names.into_iter().map(Into::into).collect();
        names.sort_unstable();
        names.dedup();
        Self(names.into())
    }

    /// The names, sorted.
    pub fn names(&self) -> &[Name] {
        &self.0
    }

    /// Where `name` stands among them.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.0.binary_search_by(|own| own.as_str().cmp(name)).ok()
    }

    /// The number of columns.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without any column.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if both are one object in memory, which is quicker to tell than equality.
    pub(crate) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter()).finish()
    }
}

/// A row, or the part of one that is spoken of: some columns and what each holds.
///
/// A column that is not there is not known (or not meant), which is not the same as empty.
#[derive(Clone, Eq)]
pub struct Row {
    columns: Columns,
    values: Box<[Datum]>,
}

impl Row {
    /// A row without any column.
    pub fn new() -> Self {
        Self {
            columns: Columns(Arc::new([])),
            values: Box::default(),
        }
    }

    /// A row of these columns. `values` belong to the names of `columns` one by one; `None` if there are more or fewer.
    pub fn from_parts(columns: Columns, values: impl Into<Box<[Datum]>>) -> Option<Self> {
        let values = values.into();
        (columns.len() == values.len()).then_some(Self { columns, values })
    }

    /// This row with `column` set.
    #[must_use]
    pub fn with(mut self, column: impl Into<Name>, value: impl Into<Datum>) -> Self {
        self.set(column, value);
        self
    }

    /// Sets `column`, which joins the row if it is new to it.
    pub fn set(&mut self, column: impl Into<Name>, value: impl Into<Datum>) {
        let (column, value) = (column.into(), value.into());
        match self.columns.0.binary_search(&column) {
            Ok(at) => self.values[at] = value,
            Err(at) => {
                let mut names = self.columns.0.to_vec();
                names.insert(at, column);
                self.columns = Columns(names.into());
                let mut values = std::mem::take(&mut self.values).into_vec();
                values.insert(at, value);
                self.values = values.into_boxed_slice();
            }
        }
    }

    /// Takes `column` out of the row.
    pub fn remove(&mut self, column: &str) -> Option<Datum> {
        let at = self.columns.position(column)?;
        let mut names = self.columns.0.to_vec();
        names.remove(at);
        self.columns = Columns(names.into());
        let mut values = std::mem::take(&mut self.values).into_vec();
        let value = values.remove(at);
        self.values = values.into_boxed_slice();
        Some(value)
    }

    /// Takes out the columns that `keep` is false of. Without such the row is left as it is.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        if self.columns.0.iter().all(|name| keep(name)) {
            return;
        }
        let values = std::mem::take(&mut self.values).into_vec();
        let pairs = self.columns.0.iter().cloned().zip(values);
        let (names, values): (Vec<Name>, Vec<Datum>) = pairs.filter(|(name, _)| keep(name)).unzip();
        self.columns = Columns(names.into());
        self.values = values.into_boxed_slice();
    }

    /// What `column` holds; `None` if the row does not know the column.
    pub fn get(&self, column: &str) -> Option<&Datum> {
        self.columns.position(column).map(|at| &self.values[at])
    }

    pub(crate) fn get_mut(&mut self, column: &str) -> Option<&mut Datum> {
        self.columns.position(column).map(|at| &mut self.values[at])
    }

    /// The text of a column that holds one string.
    pub fn get_str(&self, column: &str) -> Option<&str> {
        self.get(column).and_then(Datum::as_str)
    }

    /// The number of a column that holds one integer.
    pub fn get_integer(&self, column: &str) -> Option<i64> {
        self.get(column).and_then(Datum::as_integer)
    }

    /// The truth value of a column that holds one boolean.
    pub fn get_bool(&self, column: &str) -> Option<bool> {
        self.get(column).and_then(Datum::as_bool)
    }

    /// The UUID of a column that holds one UUID.
    pub fn get_uuid(&self, column: &str) -> Option<Uuid> {
        self.get(column).and_then(Datum::as_uuid)
    }

    /// The text that a column holding a map of strings has for `key`: `row.map_str("external_ids", "owner")`.
    pub fn map_str(&self, column: &str, key: &str) -> Option<&str> {
        self.get(column).and_then(|map| map.get_str(key))
    }

    /// The column names, sorted.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Columns and values, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Name, &Datum)> {
        self.columns.0.iter().zip(&self.values)
    }

    /// The number of columns.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// True without any column.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The columns of this row that `observed` has with another value: what an update must set to make `observed` say
    /// what this row says. Columns that `observed` does not know (the server lacks them) are left out.
    #[must_use]
    pub fn changes_from(&self, observed: &Row) -> Row {
        let changed = self
            .iter()
            .filter(|(name, value)| observed.get(name).is_some_and(|other| other != *value));
        changed
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// The names of the columns that only one of two rows knows or that they hold different values for, sorted.
    pub fn differing_columns<'a>(&'a self, other: &'a Row) -> impl Iterator<Item = &'a Name> {
        let here = self
            .iter()
            .filter(|(name, value)| other.get(name) != Some(*value))
            .map(|(name, _)| name);
        let there = other
            .iter()
            .map(|(name, _)| name)
            .filter(|name| self.get(name).is_none());
        here.chain(there)
    }

    /// An estimate of the bytes this row holds, itself included; the shared column names are not its own.
    pub fn memory(&self) -> usize {
        size_of::<Self>()
            + size_of_val::<[Datum]>(&self.values)
            + self.values.iter().map(Datum::heap_size).sum::<usize>()
    }
}

impl Default for Row {
    fn default() -> Self {
        Self::new()
    }
}

/// Of a column that is given twice the last value counts.
impl<N: Into<Name>, D: Into<Datum>> FromIterator<(N, D)> for Row {
    fn from_iter<I: IntoIterator<Item = (N, D)>>(pairs: I) -> Self {
        let mut pairs: Vec<(Name, Datum)> = pairs
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                std::mem::swap(&mut later.1, &mut kept.1);
            }
            same
        });
        let (names, values): (Vec<Name>, Vec<Datum>) = pairs.into_iter().unzip();
        Self {
            columns: Columns(names.into()),
            values: values.into_boxed_slice(),
        }
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        (self.columns.same(&other.columns) || self.columns == other.columns)
            && self.values == other.values
    }
}

impl Hash for Row {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.columns.hash(state);
        self.values.hash(state);
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The `<row>` of RFC 7047 §5.1.
impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name.as_str(), value)?;
        }
        map.end()
    }
}
