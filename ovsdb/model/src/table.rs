//! Tables as Rust types: the trait that `#[derive(Table)]` implements, and how Rust types stand for columns.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;
use uuid::Uuid;

use crate::atom::{Atom, AtomType, Real};
use crate::datum::Datum;
use crate::row::{Columns, Row};

/// How many elements a column has, as a Rust type sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Exactly one: a plain type.
    Scalar,
    /// None or one: `Option`.
    Optional,
    /// Any number: `Vec`, `BTreeSet`.
    Set,
    /// Pairs: `BTreeMap`.
    Map,
}

/// What a Rust type expects of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnKind {
    /// How many elements.
    pub shape: Shape,
    /// The elements' or keys' type.
    pub key: AtomType,
    /// The values' type, if this is a map.
    pub value: Option<AtomType>,
}

/// One column of a [`Table`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnSpec {
    /// The column's name in the database.
    pub name: &'static str,
    /// What the Rust type expects of it.
    pub kind: ColumnKind,
}

/// A table of the database as a Rust type that has just the columns which are used.
///
/// Derive it:
///
/// ```
/// use std::collections::BTreeMap;
/// use ovsdb_model::{Table, Uuid};
///
/// #[derive(Debug, Clone, PartialEq, Table)]
/// #[ovsdb(table = "Load_Balancer")]
/// struct LoadBalancer {
///     #[ovsdb(uuid)]
///     uuid: Uuid,
///     name: String,
///     vips: BTreeMap<String, String>,
///     protocol: Option<String>,
///     #[ovsdb(column = "external_ids")]
///     ids: BTreeMap<String, String>,
/// }
///
/// assert_eq!(LoadBalancer::NAME, "Load_Balancer");
/// assert_eq!(LoadBalancer::COL_VIPS, "vips");
/// ```
///
/// Every column also becomes a constant (`LoadBalancer::COL_VIPS`) holding its name.
pub trait Table: Sized {
    /// The table's name in the database.
    const NAME: &'static str;
    /// The columns, in the order of the fields.
    const COLUMNS: &'static [ColumnSpec];

    /// The row that says what this value says: all columns of [`Table::COLUMNS`].
    fn to_row(&self) -> Row;

    /// Reads a row. A column the row does not know (the server lacks it) reads as empty, zero or `false`.
    ///
    /// # Errors
    /// When a column holds something the field's type cannot, or something that could not be read
    /// ([`Row::unreadable`]).
    fn from_row(uuid: Uuid, row: &Row) -> Result<Self, RowError>;
}

/// A row that does not fit the Rust type it is read as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("row {uuid} of table {table}, column {column}: {problem}")]
pub struct RowError {
    /// The table's name.
    pub table: &'static str,
    /// The row.
    pub uuid: Uuid,
    /// The column's name.
    pub column: &'static str,
    /// What is wrong with its value.
    pub problem: MismatchError,
}

/// A datum that does not fit a Rust type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct MismatchError {
    /// What the type expects.
    pub expected: String,
    /// What was found.
    pub found: String,
}

impl MismatchError {
    /// `found`, where `expected` should have been.
    pub fn new(expected: impl Into<String>, found: &impl ToString) -> Self {
        Self {
            expected: expected.into(),
            found: found.to_string(),
        }
    }
}

/// A Rust type that stands for one atom.
pub trait AtomValue: Sized {
    /// The atom's type.
    const TYPE: AtomType;

    /// The value as an atom.
    fn to_atom(&self) -> Atom;

    /// Reads an atom.
    ///
    /// # Errors
    /// When the atom is of another type or out of range.
    fn from_atom(atom: &Atom) -> Result<Self, MismatchError>;

    /// The value of a scalar column that the server lacks; `None` where there is no natural one.
    fn default_value() -> Option<Self> {
        Self::from_atom(&Self::TYPE.default_atom()).ok()
    }
}

/// A Rust type that stands for a whole column.
pub trait ColumnValue: Sized {
    /// What the type expects of the column.
    const KIND: ColumnKind;

    /// The value as a datum.
    fn to_datum(&self) -> Datum;

    /// Reads a datum.
    ///
    /// # Errors
    /// When the datum's atoms or their number do not fit.
    fn from_datum(datum: &Datum) -> Result<Self, MismatchError>;

    /// The value of a column that the server lacks; `None` where there is no natural one.
    fn default_value() -> Option<Self>;
}

macro_rules! integer_atoms {
    ($($integer:ty),*) => {$(
        impl AtomValue for $integer {
            const TYPE: AtomType = AtomType::Integer;

            fn to_atom(&self) -> Atom {
                Atom::Integer(i64::from(*self))
            }

            fn from_atom(atom: &Atom) -> Result<Self, MismatchError> {
                atom.as_integer()
                    .and_then(|number| Self::try_from(number).ok())
                    .ok_or_else(|| MismatchError::new(
                        format!("an integer from {} to {}", Self::MIN, Self::MAX), atom))
            }
        }
    )*};
}

integer_atoms!(i64, i32, i16, i8, u32, u16, u8);

impl AtomValue for Real {
    const TYPE: AtomType = AtomType::Real;

    fn to_atom(&self) -> Atom {
        Atom::Real(*self)
    }

    fn from_atom(atom: &Atom) -> Result<Self, MismatchError> {
        match atom {
            Atom::Real(number) => Ok(*number),
            _ => Err(MismatchError::new("a real number", atom)),
        }
    }
}

impl AtomValue for bool {
    const TYPE: AtomType = AtomType::Boolean;

    fn to_atom(&self) -> Atom {
        Atom::Boolean(*self)
    }

    fn from_atom(atom: &Atom) -> Result<Self, MismatchError> {
        atom.as_bool()
            .ok_or_else(|| MismatchError::new("a boolean", atom))
    }
}

impl AtomValue for String {
    const TYPE: AtomType = AtomType::String;

    fn to_atom(&self) -> Atom {
        Atom::from(self)
    }

    fn from_atom(atom: &Atom) -> Result<Self, MismatchError> {
        atom.as_str()
            .map(str::to_owned)
            .ok_or_else(|| MismatchError::new("a string", atom))
    }
}

impl AtomValue for SmolStr {
    const TYPE: AtomType = AtomType::String;

    fn to_atom(&self) -> Atom {
        Atom::String(self.clone())
    }

    fn from_atom(atom: &Atom) -> Result<Self, MismatchError> {
        match atom {
            Atom::String(text) => Ok(text.clone()),
            _ => Err(MismatchError::new("a string", atom)),
        }
    }
}

impl AtomValue for Uuid {
    const TYPE: AtomType = AtomType::Uuid;

    fn to_atom(&self) -> Atom {
        Atom::Uuid(*self)
    }

    fn from_atom(atom: &Atom) -> Result<Self, MismatchError> {
        atom.as_uuid()
            .ok_or_else(|| MismatchError::new("a UUID", atom))
    }
}

impl<A: AtomValue> ColumnValue for A {
    const KIND: ColumnKind = ColumnKind {
        shape: Shape::Scalar,
        key: A::TYPE,
        value: None,
    };

    fn to_datum(&self) -> Datum {
        Datum::scalar(self.to_atom())
    }

    fn from_datum(datum: &Datum) -> Result<Self, MismatchError> {
        match datum.as_scalar() {
            Some(atom) => A::from_atom(atom),
            None => Err(MismatchError::new(format!("one {}", A::TYPE), datum)),
        }
    }

    fn default_value() -> Option<Self> {
        A::default_value()
    }
}

impl<A: AtomValue> ColumnValue for Option<A> {
    const KIND: ColumnKind = ColumnKind {
        shape: Shape::Optional,
        key: A::TYPE,
        value: None,
    };

    fn to_datum(&self) -> Datum {
        self.as_ref()
            .map_or_else(Datum::empty_set, |value| Datum::scalar(value.to_atom()))
    }

    fn from_datum(datum: &Datum) -> Result<Self, MismatchError> {
        match (datum.is_map(), datum.elements()) {
            (false, []) => Ok(None),
            (false, [atom]) => A::from_atom(atom).map(Some),
            _ => Err(MismatchError::new(
                format!("at most one {}", A::TYPE),
                datum,
            )),
        }
    }

    fn default_value() -> Option<Self> {
        Some(None)
    }
}

macro_rules! set_columns {
    ($($set:ident $(: $bound:ident)?),*) => {$(
        impl<A: AtomValue $(+ $bound)?> ColumnValue for $set<A> {
            const KIND: ColumnKind = ColumnKind { shape: Shape::Set, key: A::TYPE, value: None };

            fn to_datum(&self) -> Datum {
                Datum::set(self.iter().map(AtomValue::to_atom))
            }

            fn from_datum(datum: &Datum) -> Result<Self, MismatchError> {
                if datum.is_map() {
                    return Err(MismatchError::new(format!("a set of {}", A::TYPE), datum));
                }
                datum.elements().iter().map(A::from_atom).collect()
            }

            fn default_value() -> Option<Self> {
                Some(Self::new())
            }
        }
    )*};
}

set_columns!(Vec, BTreeSet: Ord);

impl<K: AtomValue + Ord, V: AtomValue> ColumnValue for BTreeMap<K, V> {
    const KIND: ColumnKind = ColumnKind {
        shape: Shape::Map,
        key: K::TYPE,
        value: Some(V::TYPE),
    };

    fn to_datum(&self) -> Datum {
        Datum::map(
            self.iter()
                .map(|(key, value)| (key.to_atom(), value.to_atom())),
        )
    }

    fn from_datum(datum: &Datum) -> Result<Self, MismatchError> {
        if !datum.is_map() {
            return Err(MismatchError::new(
                format!("a map from {} to {}", K::TYPE, V::TYPE),
                datum,
            ));
        }
        datum
            .pairs()
            .iter()
            .map(|(key, value)| Ok((K::from_atom(key)?, V::from_atom(value)?)))
            .collect()
    }

    fn default_value() -> Option<Self> {
        Some(Self::new())
    }
}

/// Reads one field: what `#[derive(Table)]` calls.
#[doc(hidden)]
pub fn read_column<T: Table, V: ColumnValue>(
    uuid: Uuid,
    row: &Row,
    column: &'static str,
) -> Result<V, RowError> {
    let read = match row.get(column) {
        Some(datum) => V::from_datum(datum),
        None if row.unreadable().iter().any(|unread| unread == column) => {
            Err(MismatchError::new("a value", &"one that could not be read"))
        }
        None => V::default_value()
            .ok_or_else(|| MismatchError::new("a value", &"no such column on this server")),
    };
    read.map_err(|problem| RowError {
        table: T::NAME,
        uuid,
        column,
        problem,
    })
}

/// Column names that are part of the program: what `#[derive(Table)]` calls.
#[doc(hidden)]
pub fn static_columns(names: &[&'static str]) -> Columns {
    Columns::new(names.iter().map(|name| SmolStr::new_static(name)))
}

/// Joins names and values, both sorted by name: what `#[derive(Table)]` calls.
#[doc(hidden)]
pub fn row_of(columns: &Columns, values: Vec<Datum>) -> Row {
    // The derive makes as many values as names; a row without columns stands for what cannot happen.
    Row::from_parts(columns.clone(), values).unwrap_or_default()
}
