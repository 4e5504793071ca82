//! Holding descriptions of tables against a server's schema.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{ColumnType, Limit, Schema};
use crate::atom::Name;
use crate::layout::Layout;
use crate::table::{ColumnKind, Shape, Table};

/// The description of a table: which columns are wanted, and what is expected of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSpec {
    name: Name,
    /// All columns there are, if `None`.
    columns: Option<BTreeMap<Name, Option<ColumnKind>>>,
}

impl TableSpec {
    /// The description that a Rust type gives.
    pub fn of<T: Table>() -> Self {
        let columns = T::COLUMNS
            .iter()
            .map(|column| (Name::new_static(column.name), Some(column.kind)))
            .collect();
        Self {
            name: Name::new_static(T::NAME),
            columns: Some(columns),
        }
    }

    /// These columns, of whatever type they are.
    pub fn columns<N: Into<Name>>(
        table: impl Into<Name>,
        columns: impl IntoIterator<Item = N>,
    ) -> Self {
        let columns = columns
            .into_iter()
            .map(|column| (column.into(), None))
            .collect();
        Self {
            name: table.into(),
            columns: Some(columns),
        }
    }

    /// All columns that the server has, of whatever type they are.
    pub fn all(table: impl Into<Name>) -> Self {
        Self {
            name: table.into(),
            columns: None,
        }
    }

    /// The table's name.
    pub fn name(&self) -> &Name {
        &self.name
    }
}

/// What came of holding descriptions against a schema.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// What to monitor.
    pub layout: Layout,
    /// What the server lacks, sorted, each once: to be reported.
    pub missing: Vec<Missing>,
}

/// A table or column that a server's schema lacks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Missing {
    /// The table.
    pub table: Name,
    /// The column; the table itself is lacking if `None`.
    pub column: Option<Name>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.column {
            Some(column) => write!(f, "column {column} of table {}", self.table),
            None => write!(f, "table {}", self.table),
        }
    }
}

/// Descriptions that contradict the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the program does not fit schema {schema} {version}: {}", .mismatches.join("; "))]
pub struct BindError {
    /// The schema's name.
    pub schema: Name,
    /// The schema's version.
    pub version: String,
    /// What does not fit, a sentence each.
    pub mismatches: Vec<String>,
}

impl Schema {
    /// Holds descriptions of tables against the schema. Several descriptions of one table are joined.
    ///
    /// # Errors
    /// When a column is of another type than described.
    pub fn bind<'a>(
        &self,
        specs: impl IntoIterator<Item = &'a TableSpec>,
    ) -> Result<Bound, BindError> {
        let mut selection: BTreeMap<Name, BTreeSet<Name>> = BTreeMap::new();
        let (mut missing, mut mismatches) = (BTreeSet::new(), Vec::new());
        for spec in specs {
            let Some(table) = self.table(&spec.name) else {
                missing.insert(Missing {
                    table: spec.name.clone(),
                    column: None,
                });
                continue;
            };
            let selected = selection.entry(spec.name.clone()).or_default();
            let Some(columns) = &spec.columns else {
                selected.extend(table.columns.keys().cloned());
                continue;
            };
            for (column, expected) in columns {
                match (table.columns.get(column), expected) {
                    (None, _) => {
                        missing.insert(Missing { table: spec.name.clone(), column: Some(column.clone()) });
                    }
                    (Some(found), Some(expected)) if !fits(*expected, &found.kind) => mismatches.push(format!(
                        "column {column} of table {} is a {} there, the program takes it for a {}",
                        spec.name,
                        found.kind,
                        describe(*expected)
                    )),
                    (Some(_), _) => {
                        selected.insert(column.clone());
                    }
                }
            }
        }
        if !mismatches.is_empty() {
            return Err(BindError {
                schema: self.name.clone(),
                version: self.version.clone(),
                mismatches,
            });
        }
        let selection: Vec<(Name, Vec<Name>)> = selection
            .into_iter()
            .map(|(table, columns)| (table, columns.into_iter().collect()))
            .collect();
        let layout = Layout::new(
            self,
            selection
                .iter()
                .map(|(table, columns)| (table, columns.as_slice())),
        );
        Ok(Bound {
            layout,
            missing: missing.into_iter().collect(),
        })
    }
}

/// True if every value of the column can be read as expected. (That every value expected can be written is looked at
/// when it is written.)
fn fits(expected: ColumnKind, found: &ColumnType) -> bool {
    let counts = match expected.shape {
        Shape::Scalar => found.min == 1 && found.max == Limit::AtMost(1),
        Shape::Optional => found.max == Limit::AtMost(1),
        // Servers have widened optional columns to sets: one type may read both.
        Shape::Set | Shape::Map => true,
    };
    counts
        && expected.key == found.key.atom
        && expected.value == found.value.as_ref().map(|value| value.atom)
}

fn describe(kind: ColumnKind) -> String {
    match (kind.shape, kind.value) {
        (_, Some(value)) => format!("map from {} to {value}", kind.key),
        (Shape::Scalar, None) => kind.key.to_string(),
        (Shape::Optional, None) => format!("optional {}", kind.key),
        (Shape::Set | Shape::Map, None) => format!("set of {}", kind.key),
    }
}
