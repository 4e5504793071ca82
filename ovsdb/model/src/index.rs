//! Indexes: from a key that is computed from a row to the rows that have it.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use uuid::Uuid;

use crate::atom::{Atom, Name};
use crate::datum::Datum;
use crate::row::Row;

/// Computes the keys of a row: pushes none, one or several.
type KeysOf = dyn Fn(&Row, &mut Vec<Atom>) + Send + Sync;

/// The declaration of an index on a table of the replica.
#[derive(Clone)]
pub struct Index {
    pub(crate) name: Name,
    keys: Keys,
}

#[derive(Clone)]
enum Keys {
    /// The elements, or the keys, of the column that the index is called like.
    Column,
    Computed(Arc<KeysOf>),
}

impl Index {
    /// The index `name`: `keys` pushes the keys under which a row shall be found. It must depend on the row alone.
    pub fn new(
        name: impl Into<Name>,
        keys: impl Fn(&Row, &mut Vec<Atom>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            keys: Keys::Computed(Arc::new(keys)),
        }
    }

    /// The index of a column's elements: a scalar is found by its value, a row with a set by each of its elements,
    /// one with a map by each key. The index is called like the column.
    pub fn column(column: impl Into<Name>) -> Self {
        Self {
            name: column.into(),
            keys: Keys::Column,
        }
    }

    /// The index of what a column holding a map has for `key`. The index is called `column:key`.
    pub fn map_key(column: impl Into<Name>, key: &str) -> Self {
        let (column, key) = (column.into(), Atom::from(key));
        let name = format!("{column}:{}", key.as_str().unwrap_or_default());
        Self::new(name, move |row, keys| {
            keys.extend(row.get(&column).and_then(|map| map.get(&key)).cloned())
        })
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Index").field(&self.name).finish()
    }
}

/// The rows that share a key: nearly always one.
#[derive(Debug)]
enum Rows {
    One(Uuid),
    #[expect(
        clippy::box_collection,
        reason = "two thirds the size of a set in place"
    )]
    Many(Box<BTreeSet<Uuid>>),
}

/// An index and its content.
#[derive(Debug)]
pub(crate) struct IndexState {
    pub(crate) index: Index,
    entries: Entries,
    /// What a row's keys were and are; used again for every row, to save an allocation each.
    keys: [Vec<Atom>; 2],
}

#[derive(Debug, Default)]
struct Entries(HashMap<Atom, Rows>);

impl IndexState {
    pub(crate) fn new(index: Index) -> Self {
        Self {
            index,
            entries: Entries::default(),
            keys: Default::default(),
        }
    }

    /// Fits the index to a row's change.
    pub(crate) fn change(&mut self, uuid: Uuid, old: Option<&Row>, new: Option<&Row>) {
        let keys = match &self.index.keys {
            Keys::Column => {
                let [old, new] = [old, new].map(|row| row?.get(&self.index.name));
                // Most changes leave an index's keys alone.
                if old != new {
                    self.entries.change(uuid, elements(old), elements(new));
                }
                return;
            }
            Keys::Computed(keys) => keys,
        };
        for (row, sorted) in [old, new].into_iter().zip(&mut self.keys) {
            if let Some(row) = row {
                keys(row, sorted);
            }
            sorted.sort_unstable();
            sorted.dedup();
        }
        let [before, after] = &mut self.keys;
        if before != after {
            self.entries.change(uuid, before.iter(), after.iter());
        }
        before.clear();
        after.clear();
    }

    /// The rows under `key`, sorted.
    pub(crate) fn find(&self, key: &Atom) -> Found<'_> {
        match self.entries.0.get(key) {
            None => Found::None,
            Some(Rows::One(uuid)) => Found::One(Some(*uuid)),
            Some(Rows::Many(rows)) => Found::Many(rows.iter()),
        }
    }

    /// All keys, in no order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Atom> {
        self.entries.0.keys()
    }

    /// An estimate of the bytes the index holds; rows that share a key are counted as if they did not.
    pub(crate) fn memory(&self, rows: usize) -> usize {
        self.entries.0.allocation_size()
            + rows.saturating_sub(self.entries.0.len()) * size_of::<Uuid>() * 2
    }
}

impl Entries {
    /// Replaces a row's sorted keys: touches those that differ, of thousands perhaps one.
    fn change<'a>(
        &mut self,
        uuid: Uuid,
        before: impl Iterator<Item = &'a Atom>,
        after: impl Iterator<Item = &'a Atom>,
    ) {
        let (mut before, mut after) = (before.peekable(), after.peekable());
        loop {
            let order = match (before.peek(), after.peek()) {
                (Some(old), Some(new)) => old.cmp(new),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return,
            };
            let old = before.next_if(|_| order.is_le());
            let new = after.next_if(|_| order.is_ge());
            match (old, new) {
                (Some(old), None) => self.remove(old, uuid),
                (None, Some(new)) => self.insert(new.clone(), uuid),
                _ => {}
            }
        }
    }

    fn insert(&mut self, key: Atom, uuid: Uuid) {
        match self.0.entry(key) {
            Entry::Vacant(free) => {
                free.insert(Rows::One(uuid));
            }
            Entry::Occupied(mut taken) => match taken.get_mut() {
                Rows::One(other) if *other == uuid => {}
                Rows::One(other) => {
                    *taken.get_mut() = Rows::Many(Box::new(BTreeSet::from([*other, uuid])));
                }
                Rows::Many(rows) => {
                    rows.insert(uuid);
                }
            },
        }
    }

    fn remove(&mut self, key: &Atom, uuid: Uuid) {
        let Some(rows) = self.0.get_mut(key) else {
            return;
        };
        let left = match rows {
            Rows::One(only) => *only != uuid,
            Rows::Many(rows) => {
                rows.remove(&uuid);
                !rows.is_empty()
            }
        };
        if !left {
            self.0.remove(key);
        }
    }
}

/// The elements of a set, or the keys of a map, sorted.
fn elements(datum: Option<&Datum>) -> impl Iterator<Item = &Atom> {
    datum.into_iter().flat_map(|datum| {
        let keys = datum.pairs().iter().map(|(key, _)| key);
        datum.elements().iter().chain(keys)
    })
}

/// Iterates over the rows under one key.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    None,
    One(Option<Uuid>),
    Many(std::collections::btree_set::Iter<'a, Uuid>),
}

impl Iterator for Found<'_> {
    type Item = Uuid;

    fn next(&mut self) -> Option<Uuid> {
        match self {
            Self::None => None,
            Self::One(uuid) => uuid.take(),
            Self::Many(rows) => rows.next().copied(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match self {
            Self::None => 0,
            Self::One(uuid) => usize::from(uuid.is_some()),
            Self::Many(rows) => rows.len(),
        };
        (left, Some(left))
    }
}

impl ExactSizeIterator for Found<'_> {}
