//! Indexes: from a key that is computed from a row to the rows that have it.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use uuid::Uuid;

use crate::atom::{Atom, Name};
use crate::row::Row;

/// Computes the keys of a row: pushes none, one or several.
type KeysOf = dyn Fn(&Row, &mut Vec<Atom>) + Send + Sync;

/// The declaration of an index on a table of the replica.
#[derive(Clone)]
pub struct Index {
    pub(crate) name: Name,
    pub(crate) keys: Arc<KeysOf>,
}

impl Index {
    /// The index `name`: `keys` pushes the keys under which a row shall be found. It must depend on the row alone.
    pub fn new(
        name: impl Into<Name>,
        keys: impl Fn(&Row, &mut Vec<Atom>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            keys: Arc::new(keys),
        }
    }

    /// The index of a column's elements: a scalar is found by its value, a row with a set by each of its elements,
    /// one with a map by each key. The index is called like the column.
    pub fn column(column: impl Into<Name>) -> Self {
        let column = column.into();
        let name = column.clone();
        Self::new(name, move |row, keys| {
            if let Some(datum) = row.get(&column) {
                keys.extend(datum.elements().iter().cloned());
                keys.extend(datum.pairs().iter().map(|(key, _)| key.clone()));
            }
        })
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
    Many(BTreeSet<Uuid>),
}

/// An index and its content.
#[derive(Debug)]
pub(crate) struct IndexState {
    pub(crate) index: Index,
    entries: HashMap<Atom, Rows>,
    /// Used again for every row, to save an allocation each.
    keys: Vec<Atom>,
}

impl IndexState {
    pub(crate) fn new(index: Index) -> Self {
        Self {
            index,
            entries: HashMap::new(),
            keys: Vec::new(),
        }
    }

    /// Fits the index to a row's change.
    pub(crate) fn change(&mut self, uuid: Uuid, old: Option<&Row>, new: Option<&Row>) {
        let mut keys = std::mem::take(&mut self.keys);
        if let Some(old) = old {
            (self.index.keys)(old, &mut keys);
        }
        let olds = keys.len();
        if let Some(new) = new {
            (self.index.keys)(new, &mut keys);
        }
        // Most changes leave an index's keys alone.
        if keys[..olds] != keys[olds..] {
            let (before, after) = keys.split_at(olds);
            if before.is_sorted() && after.is_sorted() {
                // The elements of a set of thousands of which one differs: touch that one.
                self.change_sorted(uuid, before, after);
            } else {
                for key in before {
                    self.remove(key, uuid);
                }
                for key in keys.drain(olds..) {
                    self.insert(key, uuid);
                }
            }
        }
        keys.clear();
        self.keys = keys;
    }

    /// Replaces sorted keys by sorted keys.
    fn change_sorted(&mut self, uuid: Uuid, before: &[Atom], after: &[Atom]) {
        let (mut at, mut to) = (0, 0);
        while at < before.len() || to < after.len() {
            let order = match (before.get(at), after.get(to)) {
                (Some(old), Some(new)) => old.cmp(new),
                (Some(_), None) => Ordering::Less,
                _ => Ordering::Greater,
            };
            match order {
                Ordering::Equal => {
                    at += 1;
                    to += 1;
                }
                Ordering::Less => {
                    // A key that the row pushed twice and now once is still there.
                    if after.binary_search(&before[at]).is_err() {
                        self.remove(&before[at], uuid);
                    }
                    at += 1;
                }
                Ordering::Greater => {
                    self.insert(after[to].clone(), uuid);
                    to += 1;
                }
            }
        }
    }

    fn insert(&mut self, key: Atom, uuid: Uuid) {
        match self.entries.entry(key) {
            Entry::Vacant(free) => {
                free.insert(Rows::One(uuid));
            }
            Entry::Occupied(mut taken) => match taken.get_mut() {
                Rows::One(other) if *other == uuid => {}
                Rows::One(other) => *taken.get_mut() = Rows::Many(BTreeSet::from([*other, uuid])),
                Rows::Many(rows) => {
                    rows.insert(uuid);
                }
            },
        }
    }

    fn remove(&mut self, key: &Atom, uuid: Uuid) {
        let Some(rows) = self.entries.get_mut(key) else {
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
            self.entries.remove(key);
        }
    }

    /// The rows under `key`, sorted.
    pub(crate) fn find(&self, key: &Atom) -> Found<'_> {
        match self.entries.get(key) {
            None => Found::None,
            Some(Rows::One(uuid)) => Found::One(Some(*uuid)),
            Some(Rows::Many(rows)) => Found::Many(rows.iter()),
        }
    }

    /// All keys, in no order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Atom> {
        self.entries.keys()
    }

    /// An estimate of the bytes the index holds; rows that share a key are counted as if they did not.
    pub(crate) fn memory(&self, rows: usize) -> usize {
        self.entries.allocation_size()
            + rows.saturating_sub(self.entries.len()) * size_of::<Uuid>() * 2
    }
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
