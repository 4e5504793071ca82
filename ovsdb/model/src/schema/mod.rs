//! Schemas: what a server's `get_schema` says of a database (RFC 7047 §3.2).

mod bind;
mod check;
mod parse;
mod types;

use std::collections::BTreeMap;

use crate::atom::Name;

pub use bind::{BindError, Bound, Missing, TableSpec};
pub use check::{CheckError, FittedCondition, Prepared, Problem, ValueProblem};
pub use types::{BaseType, ColumnSchema, ColumnType, Limit, RefType, TableSchema};

/// A database's schema.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    /// The database's name.
    pub name: Name,
    /// Its version, `x.y.z`.
    pub version: String,
    /// The checksum its authors gave the schema, if any.
    pub checksum: Option<String>,
    /// The tables by name.
    pub tables: BTreeMap<Name, TableSchema>,
}

impl Schema {
    /// The table called `name`.
    pub fn table(&self, name: &str) -> Option<&TableSchema> {
        self.tables.get(name)
    }

    /// The column called `column` of the table called `table`.
    pub fn column(&self, table: &str, column: &str) -> Option<&ColumnSchema> {
        self.table(table)?.columns.get(column)
    }
}
