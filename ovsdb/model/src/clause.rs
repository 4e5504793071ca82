//! Conditions: which rows an operation is about (RFC 7047 §5.1, `<condition>`).

use std::cmp::Ordering;

use serde::ser::{Serialize, SerializeTuple, Serializer};
use uuid::Uuid;

use crate::atom::{Atom, Name};
use crate::datum::Datum;

/// One clause of a condition: a column compared with a value (RFC 7047 §5.1, `<condition>`).
#[derive(Debug, Clone, PartialEq)]
pub struct Clause {
    /// The column's name, or `_uuid`.
    pub column: Name,
    /// The comparison.
    pub function: Function,
    /// The value on its right.
    pub value: Datum,
}

/// A comparison (RFC 7047 §5.1, `<function>`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// The column's number is smaller.
    Less,
    /// The column's number is not greater.
    LessOrEqual,
    /// The column equals the value.
    Equal,
    /// The column differs from the value.
    NotEqual,
    /// The column's number is not smaller.
    GreaterOrEqual,
    /// The column's number is greater.
    Greater,
    /// The column holds all elements or pairs of the value.
    Includes,
    /// The column holds none of the elements or pairs of the value.
    Excludes,
}

impl Function {
    /// How RFC 7047 writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::GreaterOrEqual => ">=",
            Self::Greater => ">",
            Self::Includes => "includes",
            Self::Excludes => "excludes",
        }
    }
}

impl Clause {
    /// `column function value`.
    pub fn new(column: impl Into<Name>, function: Function, value: impl Into<Datum>) -> Self {
        Self {
            column: column.into(),
            function,
            value: value.into(),
        }
    }

    /// The row with this UUID.
    pub fn uuid(uuid: Uuid) -> Self {
        Self::new(Name::new_static("_uuid"), Function::Equal, uuid)
    }

    /// The rows whose `column` equals `value`.
    pub fn equal(column: impl Into<Name>, value: impl Into<Datum>) -> Self {
        Self::new(column, Function::Equal, value)
    }

    /// The rows whose `column` differs from `value`.
    pub fn not_equal(column: impl Into<Name>, value: impl Into<Datum>) -> Self {
        Self::new(column, Function::NotEqual, value)
    }

    /// The rows whose `column` holds all of `value`.
    pub fn includes(column: impl Into<Name>, value: impl Into<Datum>) -> Self {
        Self::new(column, Function::Includes, value)
    }

    /// Whether a row may meet it whose column nobody has set: what that holds is empty, or else zero or `false`. The
    /// column's type, which would tell, is not known here.
    pub(crate) fn is_met_by_nothing(&self) -> bool {
        let empty = self.value.is_empty();
        let default = |atom: &Atom| atom.atom_type().default_atom();
        let is_default = self
            .value
            .as_scalar()
            .is_some_and(|atom| *atom == default(atom));
        let order = self.value.as_scalar().map(|atom| default(atom).cmp(atom));
        match self.function {
            Function::Equal | Function::Includes => empty || is_default,
            Function::NotEqual => !empty,
            Function::Excludes => true,
            Function::Less => order == Some(Ordering::Less),
            Function::LessOrEqual => order.is_some_and(Ordering::is_le),
            Function::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
            Function::Greater => order == Some(Ordering::Greater),
        }
    }

    /// The rows whose `column` holds none of `value`.
    pub fn excludes(column: impl Into<Name>, value: impl Into<Datum>) -> Self {
        Self::new(column, Function::Excludes, value)
    }
}

impl Serialize for Clause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        triple(
            serializer,
            &self.column,
            self.function.as_str(),
            &self.value,
        )
    }
}

/// Writes `[column, verb, value]`.
pub(crate) fn triple<S: Serializer>(
    serializer: S,
    column: &str,
    verb: &str,
    value: &Datum,
) -> Result<S::Ok, S::Error> {
    let mut triple = serializer.serialize_tuple(3)?;
    triple.serialize_element(column)?;
    triple.serialize_element(verb)?;
    triple.serialize_element(value)?;
    triple.end()
}
