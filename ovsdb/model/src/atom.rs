//! Atoms: the five kinds of value that OVSDB's sets and maps are made of (RFC 7047 §3.2, `<atomic-type>`).

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use smol_str::SmolStr;
use uuid::Uuid;

/// The name of a table, a column, an index or a lock: short names need no allocation.
pub type Name = SmolStr;

/// The type of an [`Atom`] (RFC 7047 §3.2, `<atomic-type>`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AtomType {
    /// A signed 64-bit integer.
    Integer,
    /// A finite IEEE 754 double.
    Real,
    /// `true` or `false`.
    Boolean,
    /// Text without NUL characters.
    String,
    /// A row's UUID.
    Uuid,
}

impl AtomType {
    /// The word RFC 7047 uses for this type.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Real => "real",
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Uuid => "uuid",
        }
    }

    /// The type RFC 7047 calls `word`.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "integer" => Self::Integer,
            "real" => Self::Real,
            "boolean" => Self::Boolean,
            "string" => Self::String,
            "uuid" => Self::Uuid,
            _ => return None,
        })
    }

    /// The value a server gives a column of this type that nobody set.
    pub fn default_atom(self) -> Atom {
        match self {
            Self::Integer => Atom::Integer(0),
            Self::Real => Atom::Real(Real::ZERO),
            Self::Boolean => Atom::Boolean(false),
            Self::String => Atom::String(SmolStr::default()),
            Self::Uuid => Atom::Uuid(Uuid::nil()),
        }
    }
}

impl fmt::Display for AtomType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A finite double with a total order; `-0.0` is `0.0`, as the server sees it.
///
/// ovsdb-server prints reals with 15 significant digits, in what it sends and in its file, while some doubles need 17:
/// a real that is read can differ in its last digits from what was written. Compare reals with a tolerance, or use
/// integers or strings where that matters.
#[derive(Debug, Clone, Copy, Default)]
pub struct Real(f64);

impl Real {
    /// Zero.
    pub const ZERO: Self = Self(0.0);

    /// `value`, unless it is infinite or not a number: JSON has no word for those.
    pub fn new(value: f64) -> Option<Self> {
        // Adding zero turns -0.0 into 0.0 and leaves every other number alone.
        value.is_finite().then_some(Self(value + 0.0))
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl PartialEq for Real {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Real {}

impl PartialOrd for Real {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Real {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Hash for Real {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

/// One value of one of the five atomic types.
///
/// 24 bytes; strings of up to 23 bytes (most addresses, ports, keys and words) live inside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Atom {
    /// A signed 64-bit integer.
    Integer(i64),
    /// A finite double.
    Real(Real),
    /// `true` or `false`.
    Boolean(bool),
    /// Text.
    String(SmolStr),
    /// A row's UUID.
    Uuid(Uuid),
}

impl Atom {
    /// A string that is part of the program, without an allocation.
    pub const fn literal(text: &'static str) -> Self {
        Self::String(SmolStr::new_static(text))
    }

    /// The type of this value.
    pub const fn atom_type(&self) -> AtomType {
        match self {
            Self::Integer(_) => AtomType::Integer,
            Self::Real(_) => AtomType::Real,
            Self::Boolean(_) => AtomType::Boolean,
            Self::String(_) => AtomType::String,
            Self::Uuid(_) => AtomType::Uuid,
        }
    }

    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if this is an integer.
    pub const fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The truth value, if this is a boolean.
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Boolean(value) => Some(*value),
            _ => None,
        }
    }

    /// The UUID, if this is one.
    pub const fn as_uuid(&self) -> Option<Uuid> {
        match self {
            Self::Uuid(uuid) => Some(*uuid),
            _ => None,
        }
    }

    /// Bytes held outside the value itself.
    pub(crate) fn heap_size(&self) -> usize {
        match self {
            // A shared string: two reference counts and the text, rounded to the allocator's grain.
            Self::String(text) if text.is_heap_allocated() => {
                (text.len() + 16).next_multiple_of(16)
            }
            _ => 0,
        }
    }
}

/// Text that reads like the value in ovn-nbctl's output: for messages, not for parsing.
impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => write!(f, "{number}"),
            Self::Real(number) => write!(f, "{}", number.get()),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::String(text) => write!(f, "{text:?}"),
            Self::Uuid(uuid) => write!(f, "{uuid}"),
        }
    }
}

impl From<i64> for Atom {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<Real> for Atom {
    fn from(number: Real) -> Self {
        Self::Real(number)
    }
}

impl From<bool> for Atom {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<&str> for Atom {
    fn from(text: &str) -> Self {
        Self::String(SmolStr::new(text))
    }
}

impl From<String> for Atom {
    fn from(text: String) -> Self {
        Self::String(SmolStr::from(text))
    }
}

impl From<&String> for Atom {
    fn from(text: &String) -> Self {
        Self::String(SmolStr::new(text))
    }
}

impl From<SmolStr> for Atom {
    fn from(text: SmolStr) -> Self {
        Self::String(text)
    }
}

impl From<Uuid> for Atom {
    fn from(uuid: Uuid) -> Self {
        Self::Uuid(uuid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_atom_is_24_bytes() {
        assert_eq!(size_of::<Atom>(), 24);
        assert_eq!(size_of::<Option<Atom>>(), 24);
    }

    #[test]
    fn reals_are_finite_and_have_one_zero() {
        assert_eq!(Real::new(f64::NAN), None);
        assert_eq!(Real::new(f64::INFINITY), None);
        assert_eq!(Real::new(-0.0), Some(Real::ZERO));
        assert!(Real::new(-1.5) < Real::new(0.5));
    }
}
