//! Mutations: changes to a part of a column (RFC 7047 §5.1, `<mutation>`).

use serde::ser::{Serialize, Serializer};

use crate::atom::{Atom, Name};
use crate::clause::triple;
use crate::datum::Datum;

/// A change to a part of a column (RFC 7047 §5.1, `<mutation>`).
#[derive(Debug, Clone, PartialEq)]
pub struct Mutation {
    /// The column's name.
    pub column: Name,
    /// What to do.
    pub mutator: Mutator,
    /// With what.
    pub value: Datum,
}

/// What a [`Mutation`] does (RFC 7047 §5.1, `<mutator>`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutator {
    /// Adds to each number.
    Add,
    /// Subtracts from each number.
    Subtract,
    /// Multiplies each number. Never by zero: ovsdb-server (3.1 at least) checks for overflow by a division and dies of
    /// it where the column is a negative integer. To set a column to zero use
    /// [`Operation::Update`](crate::Operation::Update).
    Multiply,
    /// Divides each number.
    Divide,
    /// Takes the remainder of each integer.
    Remainder,
    /// Adds elements or pairs; a map's key that exists keeps its value.
    Insert,
    /// Removes elements, pairs, or (given a set) a map's keys.
    Delete,
}

impl Mutator {
    /// How RFC 7047 writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+=",
            Self::Subtract => "-=",
            Self::Multiply => "*=",
            Self::Divide => "/=",
            Self::Remainder => "%=",
            Self::Insert => "insert",
            Self::Delete => "delete",
        }
    }
}

impl Mutation {
    /// `column mutator value`.
    pub fn new(column: impl Into<Name>, mutator: Mutator, value: impl Into<Datum>) -> Self {
        Self {
            column: column.into(),
            mutator,
            value: value.into(),
        }
    }

    /// Adds elements to a set, or pairs to a map where the key is not there yet.
    pub fn insert(column: impl Into<Name>, value: impl Into<Datum>) -> Self {
        Self::new(column, Mutator::Insert, value)
    }

    /// Removes elements from a set, or those pairs from a map that are exactly so.
    pub fn delete(column: impl Into<Name>, value: impl Into<Datum>) -> Self {
        Self::new(column, Mutator::Delete, value)
    }

    /// Removes keys from a map, whatever their values.
    pub fn delete_keys<A: Into<Atom>>(
        column: impl Into<Name>,
        keys: impl IntoIterator<Item = A>,
    ) -> Self {
        Self::new(column, Mutator::Delete, Datum::set(keys))
    }

    /// Sets keys of a map, whether they are there or not: the server ignores an insert of a key that exists, so the
    /// keys go first. Both belong in one [`Operation::Mutate`](crate::Operation::Mutate), in this order.
    pub fn set_keys<K: Into<Atom>, V: Into<Atom>>(
        column: impl Into<Name>,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> [Self; 2] {
        let (column, pairs) = (column.into(), Datum::map(pairs));
        let keys = Datum::set(pairs.pairs().iter().map(|(key, _)| key.clone()));
        [
            Self::new(column.clone(), Mutator::Delete, keys),
            Self::new(column, Mutator::Insert, pairs),
        ]
    }
}

impl Serialize for Mutation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        triple(serializer, &self.column, self.mutator.as_str(), &self.value)
    }
}
