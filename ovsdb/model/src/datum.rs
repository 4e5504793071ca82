//! Datums: the content of one column of one row (RFC 7047 §5.1, `<value>`), kept in one canonical form.
//!
//! A scalar is a set of one, sets and maps are sorted and hold nothing twice, so equal contents are equal datums
//! whatever order or notation they arrived in.

use std::fmt;

use uuid::Uuid;

use crate::atom::Atom;

/// The content of a column: a set of atoms (a scalar is a set of one) or a map from atoms to atoms.
///
/// 24 bytes; a set of none or one and an empty map need no allocation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Datum(Repr);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    One(Atom),
    /// Never of length one.
    Set(Box<[Atom]>),
    Map(Box<[(Atom, Atom)]>),
}

/// What a [`Datum`] holds, for matching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatumRef<'a> {
    /// A scalar, an optional value or a set, sorted.
    Set(&'a [Atom]),
    /// A map, sorted by key.
    Map(&'a [(Atom, Atom)]),
}

/// A set or map that names one element or key twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} appears twice")]
pub struct Duplicate(pub Atom);

impl Datum {
    /// The empty set.
    pub fn empty_set() -> Self {
        Self(Repr::Set(Box::default()))
    }

    /// The empty map.
    pub fn empty_map() -> Self {
        Self(Repr::Map(Box::default()))
    }

    /// A set of one: a scalar.
    pub fn scalar(atom: impl Into<Atom>) -> Self {
        Self(Repr::One(atom.into()))
    }

    /// A scalar string that is part of the program, without an allocation.
    pub const fn literal(text: &'static str) -> Self {
        Self(Repr::One(Atom::literal(text)))
    }

    /// The set of `atoms`; one that is given twice counts once.
    pub fn set<A: Into<Atom>>(atoms: impl IntoIterator<Item = A>) -> Self {
        let mut atoms: Vec<Atom> = atoms.into_iter().map(Into::into).collect();
        sort_unless_sorted(&mut atoms);
        atoms.dedup();
        Self::from_sorted_set(atoms)
    }

    /// The map of `pairs`; of a key that is given twice the last value counts.
    pub fn map<K: Into<Atom>, V: Into<Atom>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut pairs: Vec<(Atom, Atom)> = pairs
            .into_iter()
            .map(|(k, v)| (k.into(), v.into()))
            .collect();
        if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
            // Stable: equal keys stay in the order given, and the later value overwrites the one it follows.
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            pairs.dedup_by(|later, kept| {
                let same = later.0 == kept.0;
                if same {
                    std::mem::swap(&mut later.1, &mut kept.1);
                }
                same
            });
        }
        Self(Repr::Map(pairs.into_boxed_slice()))
    }

    /// The set of `atoms`, refusing duplicates as RFC 7047 does.
    pub fn try_set(mut atoms: Vec<Atom>) -> Result<Self, Duplicate> {
        sort_unless_sorted(&mut atoms);
        match atoms.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Duplicate(pair[0].clone())),
            None => Ok(Self::from_sorted_set(atoms)),
        }
    }

    /// The map of `pairs`, refusing duplicate keys as RFC 7047 does.
    pub fn try_map(mut pairs: Vec<(Atom, Atom)>) -> Result<Self, Duplicate> {
        if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
        }
        match pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(Duplicate(pair[0].0.clone())),
            None => Ok(Self(Repr::Map(pairs.into_boxed_slice()))),
        }
    }

    pub(crate) fn from_sorted_set(mut atoms: Vec<Atom>) -> Self {
        match (atoms.len(), atoms.pop()) {
            (1, Some(only)) => Self(Repr::One(only)),
            (_, last) => {
                atoms.extend(last);
                Self(Repr::Set(atoms.into_boxed_slice()))
            }
        }
    }

    pub(crate) fn from_sorted_map(pairs: Vec<(Atom, Atom)>) -> Self {
        Self(Repr::Map(pairs.into_boxed_slice()))
    }

    /// The content, for matching.
    pub fn view(&self) -> DatumRef<'_> {
        match &self.0 {
            Repr::One(atom) => DatumRef::Set(std::slice::from_ref(atom)),
            Repr::Set(atoms) => DatumRef::Set(atoms),
            Repr::Map(pairs) => DatumRef::Map(pairs),
        }
    }

    /// The elements, sorted; none if this is a map.
    pub fn elements(&self) -> &[Atom] {
        match self.view() {
            DatumRef::Set(atoms) => atoms,
            DatumRef::Map(_) => &[],
        }
    }

    /// The pairs, sorted by key; none if this is a set.
    pub fn pairs(&self) -> &[(Atom, Atom)] {
        match self.view() {
            DatumRef::Set(_) => &[],
            DatumRef::Map(pairs) => pairs,
        }
    }

    /// True for maps, the empty one included.
    pub fn is_map(&self) -> bool {
        matches!(self.0, Repr::Map(_))
    }

    /// The number of elements or pairs.
    pub fn len(&self) -> usize {
        match self.view() {
            DatumRef::Set(atoms) => atoms.len(),
            DatumRef::Map(pairs) => pairs.len(),
        }
    }

    /// True without elements or pairs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element of a set of one.
    pub fn as_scalar(&self) -> Option<&Atom> {
        match &self.0 {
            Repr::One(atom) => Some(atom),
            _ => None,
        }
    }

    /// The text of a set of one string.
    pub fn as_str(&self) -> Option<&str> {
        self.as_scalar().and_then(Atom::as_str)
    }

    /// The number of a set of one integer.
    pub fn as_integer(&self) -> Option<i64> {
        self.as_scalar().and_then(Atom::as_integer)
    }

    /// The truth value of a set of one boolean.
    pub fn as_bool(&self) -> Option<bool> {
        self.as_scalar().and_then(Atom::as_bool)
    }

    /// The UUID of a set of one UUID.
    pub fn as_uuid(&self) -> Option<Uuid> {
        self.as_scalar().and_then(Atom::as_uuid)
    }

    /// The value a map has for `key`.
    pub fn get(&self, key: &Atom) -> Option<&Atom> {
        let pairs = self.pairs();
        pairs
            .binary_search_by(|pair| pair.0.cmp(key))
            .ok()
            .map(|at| &pairs[at].1)
    }

    /// The text a map of strings has for `key`.
    pub fn get_str(&self, key: &str) -> Option<&str> {
        let pairs = self.pairs();
        let at = pairs
            .binary_search_by(|pair| pair.0.as_str().cmp(&Some(key)))
            .ok()?;
        pairs[at].1.as_str()
    }

    /// True if a set has this element, or a map this key.
    pub fn contains(&self, atom: &Atom) -> bool {
        match self.view() {
            DatumRef::Set(atoms) => atoms.binary_search(atom).is_ok(),
            DatumRef::Map(pairs) => pairs.binary_search_by(|pair| pair.0.cmp(atom)).is_ok(),
        }
    }

    /// All UUIDs among the elements, keys and values: what this column refers to.
    pub fn uuids(&self) -> impl Iterator<Item = Uuid> {
        let values = self.pairs().iter().flat_map(|(key, value)| [key, value]);
        self.elements()
            .iter()
            .chain(values)
            .filter_map(Atom::as_uuid)
    }

    /// Bytes held outside the value itself.
    pub(crate) fn heap_size(&self) -> usize {
        match &self.0 {
            Repr::One(atom) => atom.heap_size(),
            Repr::Set(atoms) => {
                size_of_val::<[Atom]>(atoms) + atoms.iter().map(Atom::heap_size).sum::<usize>()
            }
            Repr::Map(pairs) => {
                size_of_val::<[(Atom, Atom)]>(pairs)
                    + pairs
                        .iter()
                        .map(|(key, value)| key.heap_size() + value.heap_size())
                        .sum::<usize>()
            }
        }
    }
}

fn sort_unless_sorted(atoms: &mut [Atom]) {
    // Servers send sets sorted: one comparison an element instead of a sort.
    if !atoms.is_sorted() {
        atoms.sort_unstable();
    }
}

impl Default for Datum {
    fn default() -> Self {
        Self::empty_set()
    }
}

impl<A: Into<Atom>> From<A> for Datum {
    fn from(atom: A) -> Self {
        Self::scalar(atom)
    }
}

impl<A: Into<Atom>> From<Option<A>> for Datum {
    fn from(atom: Option<A>) -> Self {
        atom.map_or_else(Self::empty_set, Self::scalar)
    }
}

impl<A: Into<Atom>> From<Vec<A>> for Datum {
    fn from(atoms: Vec<A>) -> Self {
        Self::set(atoms)
    }
}

impl<K: Into<Atom>, V: Into<Atom>> From<std::collections::BTreeMap<K, V>> for Datum {
    fn from(pairs: std::collections::BTreeMap<K, V>) -> Self {
        Self::map(pairs)
    }
}

impl fmt::Debug for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that reads like the value in ovn-nbctl's output: for messages, not for parsing.
impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.view() {
            DatumRef::Set([only]) => write!(f, "{only}"),
            DatumRef::Set(atoms) => {
                f.write_str("[")?;
                for (at, atom) in atoms.iter().enumerate() {
                    write!(f, "{}{atom}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            DatumRef::Map(pairs) => {
                f.write_str("{")?;
                for (at, (key, value)) in pairs.iter().enumerate() {
                    write!(f, "{}{key}={value}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::Real;

    #[test]
    fn a_datum_is_24_bytes() {
        assert_eq!(size_of::<Datum>(), 24);
    }

    #[test]
    fn one_form_for_equal_contents() {
        assert_eq!(Datum::set(["b", "a", "b"]), Datum::set(["a", "b"]));
        assert_eq!(Datum::set(["a"]), Datum::scalar("a"));
        assert_eq!(
            Datum::map([("a", 1), ("b", 2), ("a", 3)].map(|(k, v)| (k, i64::from(v))))
                .get(&"a".into()),
            Some(&Atom::Integer(3))
        );
        assert_ne!(Datum::empty_map(), Datum::empty_set());
        assert_eq!(
            Datum::try_set(vec![1.into(), 1.into()]),
            Err(Duplicate(Atom::Integer(1)))
        );
    }

    #[test]
    fn reads() {
        let map = Datum::map([("k", "v"), ("a", "b")]);
        assert_eq!(map.get_str("k"), Some("v"));
        assert_eq!(map.get_str("z"), None);
        assert!(map.contains(&"a".into()));
        assert_eq!(map.to_string(), r#"{"a"="b", "k"="v"}"#);
        assert_eq!(Datum::scalar(Real::ZERO).len(), 1);
    }
}
