//! A fence: a value in the database that says who may write, checked at the head of every transaction.
//!
//! A writer that was elected puts its epoch under a key of a map column, once, by [`Fence::claim`]. Every transaction
//! it sends then carries a `wait` with timeout 0 on that key: when another has claimed since, the wait fails, nothing
//! of the transaction takes effect, and the error is [`TransactError::Fenced`](crate::TransactError::Fenced). Unlike a
//! lock, it needs no session: what was sent before a connection broke is refused as well.

use std::fmt;

use ovsdb_model::{Clause, Datum, Mutation, Name, Operation};

/// A key of a map column and the value it must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    table: Name,
    column: Name,
    key: String,
    value: String,
}

impl Fence {
    /// In some row of `table`, the map `column` (of strings to strings) must have `key` with `value`. The table should
    /// have one row, as `NB_Global` has.
    pub fn new(
        table: impl Into<Name>,
        column: impl Into<Name>,
        key: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        Self {
            table: table.into(),
            column: column.into(),
            key: key.into(),
            value: value.into(),
        }
    }

    /// The value it must have.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The key it is under.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The same fence with another value.
    #[must_use]
    pub fn with_value(&self, value: impl Into<String>) -> Self {
        Self {
            value: value.into(),
            ..self.clone()
        }
    }

    /// The `wait` that checks it. Timeout 0 matters: without it the server would wait for the value to come back.
    #[must_use]
    pub fn operation(&self) -> Operation {
        Operation::require(self.table.clone(), vec![self.holds()])
    }

    /// The operations that claim it: they give the key this fence's value if it still has the value `previous` (`None`:
    /// if it is not there). Fails with `timed out` where that is not so, or where the table has no row at all; see
    /// [`Client::claim`](crate::Client::claim).
    #[must_use]
    pub fn claim(&self, previous: Option<&str>) -> Vec<Operation> {
        let pair = [(self.key.clone(), self.value.clone())];
        let (before, mutations) = match previous {
            Some(value) => (
                Some(self.with_value(value).operation()),
                Mutation::set_keys(self.column.clone(), pair).into(),
            ),
            // No condition says "has no such key"; but an insert leaves a key that is there alone, and the check behind
            // it then finds the other's value.
            None => (
                None,
                vec![Mutation::insert(self.column.clone(), Datum::map(pair))],
            ),
        };
        let take = Operation::Mutate {
            table: self.table.clone(),
            condition: Vec::new(),
            mutations,
        };
        before.into_iter().chain([take, self.operation()]).collect()
    }

    fn holds(&self) -> Clause {
        Clause::includes(
            self.column.clone(),
            Datum::map([(self.key.clone(), self.value.clone())]),
        )
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "fence {}.{}:{}={}",
            self.table, self.column, self.key, self.value
        )
    }
}
