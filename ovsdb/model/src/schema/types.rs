//! The types of columns (RFC 7047 §3.2, `<type>` and `<base-type>`).

use std::collections::BTreeMap;
use std::fmt;

use crate::atom::{Atom, AtomType, Name};
use crate::datum::Datum;

/// Whether a reference holds the row it points at (RFC 7047 §3.2, `refType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RefType {
    /// The row must exist, and stays while it is referred to.
    #[default]
    Strong,
    /// The server drops the reference when the row goes.
    Weak,
}

/// The type and bounds of a column's elements, keys or values.
#[derive(Debug, Clone, PartialEq)]
pub struct BaseType {
    /// The atomic type.
    pub atom: AtomType,
    /// The only values allowed, sorted; none means all.
    pub choices: Option<Datum>,
    /// The least value, of numbers.
    pub minimum: Option<Atom>,
    /// The greatest value, of numbers.
    pub maximum: Option<Atom>,
    /// The least number of characters, of strings.
    pub min_length: usize,
    /// The greatest number of characters, of strings.
    pub max_length: usize,
    /// The table that UUIDs refer to, and how.
    pub reference: Option<(Name, RefType)>,
}

impl BaseType {
    /// This atomic type without any bounds.
    pub fn plain(atom: AtomType) -> Self {
        Self {
            atom,
            choices: None,
            minimum: None,
            maximum: None,
            min_length: 0,
            max_length: usize::MAX,
            reference: None,
        }
    }
}

/// How many elements a column may have at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// This many.
    AtMost(u32),
    /// Any number.
    Unlimited,
}

impl Limit {
    /// True if `count` elements keep to the limit.
    pub fn allows(self, count: usize) -> bool {
        match self {
            Self::AtMost(most) => u32::try_from(count).is_ok_and(|count| count <= most),
            Self::Unlimited => true,
        }
    }
}

/// The type of a column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnType {
    /// The elements, or a map's keys.
    pub key: BaseType,
    /// A map's values.
    pub value: Option<BaseType>,
    /// The least number of elements or pairs: 0 or 1.
    pub min: u32,
    /// The greatest number of elements or pairs.
    pub max: Limit,
}

impl ColumnType {
    /// A column that holds exactly one atom of this type.
    pub fn scalar(atom: AtomType) -> Self {
        Self {
            key: BaseType::plain(atom),
            value: None,
            min: 1,
            max: Limit::AtMost(1),
        }
    }

    /// True if the column holds a map.
    pub fn is_map(&self) -> bool {
        self.value.is_some()
    }

    /// True if the column holds exactly one element.
    pub fn is_scalar(&self) -> bool {
        self.value.is_none() && self.min == 1 && !self.is_composite()
    }

    /// True if the column holds integers or reals, any number of them.
    pub fn is_number(&self) -> bool {
        self.value.is_none() && matches!(self.key.atom, AtomType::Integer | AtomType::Real)
    }

    /// True if the column may hold more than one element: `update2` sends differences for these and whole values for
    /// the others (ovsdb-server(7), "Update2 Notification").
    pub fn is_composite(&self) -> bool {
        !matches!(self.max, Limit::AtMost(0 | 1))
    }

    /// Whether the elements or keys, and whether the values, are reals: a server writes those with fifteen digits, so that
    /// several of its values may look alike.
    pub(crate) fn has_reals(&self) -> (bool, bool) {
        let real = |base: &BaseType| base.atom == AtomType::Real;
        (real(&self.key), self.value.as_ref().is_some_and(real))
    }

    /// What the server gives the column of a new row that does not name it (RFC 7047 §5.2.1); servers leave such
    /// values out of `update2`.
    pub fn default_datum(&self) -> Datum {
        match (&self.value, self.min) {
            (None, 0) => Datum::empty_set(),
            (None, _) => Datum::scalar(self.key.atom.default_atom()),
            (Some(_), 0) => Datum::empty_map(),
            (Some(value), _) => {
                Datum::map([(self.key.atom.default_atom(), value.atom.default_atom())])
            }
        }
    }
}

/// Text for messages: `string`, `optional integer`, `set of uuid (Load_Balancer)`, `map from string to string`.
impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.value, self.min, self.max) {
            (Some(value), ..) => write!(f, "map from {} to {}", self.key.atom, value.atom)?,
            (None, 1, Limit::AtMost(1)) => write!(f, "{}", self.key.atom)?,
            (None, _, Limit::AtMost(1)) => write!(f, "optional {}", self.key.atom)?,
            (None, ..) => write!(f, "set of {}", self.key.atom)?,
        }
        match &self.key.reference {
            Some((table, _)) => write!(f, " ({table})"),
            None => Ok(()),
        }
    }
}

/// One column of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnSchema {
    /// The type.
    pub kind: ColumnType,
    /// The value may be lost when the server restarts.
    pub ephemeral: bool,
    /// The value may be changed after the row's insertion.
    pub mutable: bool,
}

/// One table of a database.
#[derive(Debug, Clone, PartialEq)]
pub struct TableSchema {
    /// The columns by name, without `_uuid` and `_version`.
    pub columns: BTreeMap<Name, ColumnSchema>,
    /// The greatest number of rows.
    pub max_rows: Option<u64>,
    /// Rows stay although nothing refers to them.
    pub is_root: bool,
    /// The sets of columns in which no two rows may be equal.
    pub indexes: Vec<Vec<Name>>,
}
