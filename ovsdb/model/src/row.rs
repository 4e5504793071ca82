//! Rows: columns by name, with the names shared between the rows of a table.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};
use uuid::Uuid;

use crate::atom::Name;
use crate::datum::Datum;

/// A sorted set of column names, shared by all rows that have just these columns.
#[derive(Clone)]
pub struct Columns(Arc<Shape>);

struct Shape {
    names: Box<[Name]>,
    /// What a row holds in the columns it does not keep itself; empty where every row keeps all of them.
    common: Box<[Datum]>,
    /// Columns that are not among the names since what they hold could not be read.
    unreadable: Box<[Name]>,
}

impl Columns {
    /// These names, sorted, each once.
    pub fn new<N: Into<Name>>(names: impl IntoIterator<Item = N>) -> Self {
        let mut names: Vec<Name> = names.into_iter().map(Into::into).collect();
        names.sort_unstable();
        names.dedup();
        Self::of_sorted(names)
    }

    fn of_sorted(names: Vec<Name>) -> Self {
        Self::without(names, Vec::new())
    }

    /// Columns, sorted by name, next to some that could not be read.
    pub(crate) fn without(names: Vec<Name>, unreadable: Vec<Name>) -> Self {
        Self(Arc::new(Shape {
            names: names.into(),
            common: Box::default(),
            unreadable: unreadable.into(),
        }))
    }

    /// Columns, sorted by name, with what most rows hold in each: rows do not keep that themselves.
    pub(crate) fn with_common(columns: impl IntoIterator<Item = (Name, Datum)>) -> Self {
        let (names, common): (Vec<Name>, Vec<Datum>) = columns.into_iter().unzip();
        Self(Arc::new(Shape {
            names: names.into(),
            common: common.into(),
            unreadable: Box::default(),
        }))
    }

    /// The names, sorted.
    pub fn names(&self) -> &[Name] {
        &self.0.names
    }

    /// Where `name` stands among them.
    pub fn position(&self, name: &str) -> Option<usize> {
        let names = self.names();
        names.binary_search_by(|own| own.as_str().cmp(name)).ok()
    }

    /// What most rows hold in the column at this position.
    pub(crate) fn common(&self, at: usize) -> &Datum {
        &self.0.common[at]
    }

    /// True if rows of these columns do not keep what is common.
    pub(crate) fn have_common(&self) -> bool {
        !self.0.common.is_empty()
    }

    /// The number of columns.
    pub fn len(&self) -> usize {
        self.names().len()
    }

    /// True without any column.
    pub fn is_empty(&self) -> bool {
        self.names().is_empty()
    }

    /// True if both are one object in memory, which is quicker to tell than equality.
    pub(crate) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl PartialEq for Columns {
    fn eq(&self, other: &Self) -> bool {
        self.same(other) || self.names() == other.names()
    }
}

impl Eq for Columns {}

impl PartialOrd for Columns {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Columns {
    fn cmp(&self, other: &Self) -> Ordering {
        self.names().cmp(other.names())
    }
}

impl Hash for Columns {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.names().hash(state);
    }
}

impl fmt::Debug for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// A row, or the part of one that is spoken of: some columns and what each holds.
///
/// A column that is not there is not known (or not meant), which is not the same as empty. Rows of the replica keep only
/// what is not the default of its column, which is kept once for the table.
#[derive(Clone)]
pub struct Row {
    columns: Columns,
    /// Which columns have their value in `values`: a bit for each of the first 64. Those that follow always have.
    kept: u64,
    values: Box<[Datum]>,
}

impl Row {
    /// A row without any column.
    pub fn new() -> Self {
        Self::dense(Columns::of_sorted(Vec::new()), Box::default())
    }

    /// A row of these columns. `values` belong to the names of `columns` one by one; `None` if there are more or fewer.
    pub fn from_parts(columns: Columns, values: impl Into<Box<[Datum]>>) -> Option<Self> {
        let values = values.into();
        (columns.len() == values.len()).then(|| Self::dense(columns, values))
    }

    /// As many values as columns.
    fn dense(columns: Columns, values: Box<[Datum]>) -> Self {
        Self {
            columns,
            kept: u64::MAX,
            values,
        }
    }

    /// The row whose [`Row::kept`] and [`Row::kept_values`] these are.
    pub(crate) fn of_kept(columns: Columns, kept: u64, values: Box<[Datum]>) -> Self {
        Self {
            columns,
            kept,
            values,
        }
    }

    /// Which columns have their value in [`Row::kept_values`].
    pub(crate) fn kept(&self) -> u64 {
        self.kept
    }

    /// What the row holds in the columns that it keeps itself.
    pub(crate) fn kept_values(&self) -> &[Datum] {
        &self.values
    }

    /// A row of these columns that keeps what is not common; `value` says what the column at a position holds.
    pub(crate) fn sparse<'a>(
        columns: &Columns,
        mut value: impl FnMut(usize) -> Cow<'a, Datum>,
    ) -> Self {
        let mut kept = u64::MAX;
        let mut values: Vec<Datum> = Vec::with_capacity(columns.len());
        for at in 0..columns.len() {
            let value = value(at);
            match columns.0.common.get(at) {
                Some(common) if at < 64 && *common == *value => kept &= !(1 << at),
                // A text that two columns hold is kept once.
                _ => values.push(match values.iter().find(|other| **other == *value) {
                    Some(same) => same.clone(),
                    None => value.into_owned(),
                }),
            }
        }
        Self {
            columns: columns.clone(),
            kept,
            values: values.into(),
        }
    }

    /// This row with other values in the columns at these positions.
    pub(crate) fn changed(&self, mut changes: Vec<(usize, Datum)>) -> Self {
        Self::sparse(&self.columns, |at| {
            let change = changes.iter_mut().find(|(position, _)| *position == at);
            change.map_or_else(
                || Cow::Borrowed(self.value(at)),
                |(_, value)| Cow::Owned(std::mem::take(value)),
            )
        })
    }

    /// What the column at this position holds.
    pub(crate) fn value(&self, at: usize) -> &Datum {
        let (own, before) = match at {
            0..64 => (self.kept >> at & 1 == 1, self.kept & !(u64::MAX << at)),
            _ => (true, self.kept),
        };
        if own {
            &self.values[before.count_ones() as usize + at.saturating_sub(64)]
        } else {
            self.columns.common(at)
        }
    }

    /// What the columns hold, in their order.
    fn all(&self) -> impl ExactSizeIterator<Item = &Datum> {
        (0..self.len()).map(|at| self.value(at))
    }

    /// This row, next to columns that could not be read.
    pub(crate) fn with_unreadable(self, unreadable: Vec<Name>) -> Self {
        if unreadable.is_empty() {
            return self;
        }
        let mut row = self;
        let (names, values) = row.take();
        Self::dense(
            Columns::without(names.names().to_vec(), unreadable),
            values.into(),
        )
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
        let (mut names, mut values) = self.take();
        match names.names().binary_search(&column) {
            Ok(at) => values[at] = value,
            Err(at) => {
                let mut longer = names.names().to_vec();
                longer.insert(at, column);
                names = Columns::of_sorted(longer);
                values.insert(at, value);
            }
        }
        *self = Self::dense(names, values.into());
    }

    /// Takes `column` out of the row.
    pub fn remove(&mut self, column: &str) -> Option<Datum> {
        let at = self.columns.position(column)?;
        let (names, mut values) = self.take();
        let mut names = names.names().to_vec();
        names.remove(at);
        let value = values.remove(at);
        *self = Self::dense(Columns::of_sorted(names), values.into());
        Some(value)
    }

    /// Takes out the columns that `keep` is false of. Without such the row is left as it is.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        if self.columns.names().iter().all(|name| keep(name)) {
            return;
        }
        let (names, values) = self.take();
        let pairs = names.names().iter().cloned().zip(values);
        let (names, values): (Vec<Name>, Vec<Datum>) = pairs.filter(|(name, _)| keep(name)).unzip();
        *self = Self::dense(Columns::of_sorted(names), values.into());
    }

    /// The columns and all they hold; nothing is left.
    fn take(&mut self) -> (Columns, Vec<Datum>) {
        let row = std::mem::take(self);
        let values = if row.values.len() == row.len() {
            row.values.into_vec()
        } else {
            row.all().cloned().collect()
        };
        (row.columns, values)
    }

    /// What `column` holds; `None` if the row does not know the column.
    pub fn get(&self, column: &str) -> Option<&Datum> {
        self.columns.position(column).map(|at| self.value(at))
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
        self.columns.names().iter().zip(self.all())
    }

    /// The columns that the row has on the server and not here, since what they hold could not be read. They are not
    /// known, which is not the same as empty.
    pub fn unreadable(&self) -> &[Name] {
        &self.columns.0.unreadable
    }

    /// The number of columns.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// True without any column.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
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
        Self::dense(Columns::of_sorted(names), values.into())
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.columns == other.columns && self.all().eq(other.all())
    }
}

impl Eq for Row {}

impl Hash for Row {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.columns.hash(state);
        self.all().for_each(|value| value.hash(state));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of more columns than there are bits; each holds `common` unless something else is said.
    fn columns() -> Columns {
        let name = |at| Name::from(format!("c{at:03}"));
        Columns::with_common((0..100).map(|at| (name(at), Datum::scalar("common"))))
    }

    fn row(said: &[(usize, &str)]) -> Row {
        Row::sparse(&columns(), |at| {
            let said = said.iter().find(|(position, _)| *position == at);
            Cow::Owned(Datum::scalar(said.map_or("common", |(_, text)| text)))
        })
    }

    #[test]
    fn what_is_common_is_not_kept() {
        let own = [(0, "a"), (7, "b"), (63, "c"), (64, "d"), (99, "e")];
        let row = row(&own);
        assert_eq!(row.values.len(), 3 + 36);
        for (at, (name, value)) in row.iter().enumerate() {
            let said = own.iter().find(|(position, _)| *position == at);
            let text = said.map_or("common", |(_, text)| text);
            assert_eq!(value.as_str(), Some(text), "{name}");
            assert_eq!(row.get_str(name), Some(text));
        }
        let whole: Row = row
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        assert_eq!(row, whole);
        assert!(whole.memory() > row.memory());
    }

    #[test]
    fn a_row_that_is_changed_is_what_was_said() {
        let before = row(&[(7, "b"), (99, "e")]);
        let after = before.changed(vec![
            (7, Datum::scalar("common")),
            (8, Datum::scalar("f")),
            (99, Datum::scalar("g")),
        ]);
        assert_eq!(after, row(&[(8, "f"), (99, "g")]));
        assert_eq!(
            before.clone().with("c008", "f").remove("c008"),
            Some(Datum::scalar("f"))
        );
        assert_eq!(
            before.clone().with("c007", "common").with("c099", "common"),
            row(&[])
        );
        let mut few = before;
        few.retain(|name| name == "c007" || name == "c008");
        assert_eq!(few, Row::new().with("c007", "b").with("c008", "common"));
    }

    #[test]
    fn a_text_in_two_columns_is_kept_once() {
        let long = "a text that is too long to lie inside";
        let row = row(&[(1, long), (2, long)]);
        let texts = ["c001", "c002"].map(|name| row.get_str(name).map(str::as_ptr));
        assert_eq!(texts[0], texts[1]);
    }
}
