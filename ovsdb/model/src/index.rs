//! Indexes: from a key that is computed from a row to the rows that have it.
//!
//! An index keeps no keys: the rows have them. It keeps a part of each key's hash, and asks the row. That is less than half
//! the memory, and the row is what whoever asks wants to see next. Only keys that several rows share are kept.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap, HashSet, HashTable};
use uuid::Uuid;

use crate::atom::{Atom, Name};
use crate::datum::Datum;
use crate::row::Row;
use crate::store::Rows;

/// Computes the keys of a row: names none, one or several.
type KeysOf = dyn Fn(&Row, &mut dyn FnMut(&Atom)) + Send + Sync;

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
    /// The index `name`: `keys` names the keys under which a row shall be found, by calling what it is handed with each.
    /// It must depend on the row alone.
    pub fn new(
        name: impl Into<Name>,
        keys: impl Fn(&Row, &mut dyn FnMut(&Atom)) + Send + Sync + 'static,
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
        Self::new(name, move |row, name_key| {
            row.get(&column)
                .and_then(|map| map.get(&key))
                .into_iter()
                .for_each(name_key);
        })
    }

    /// Whether the row is to be found under `key`.
    fn has(&self, row: &Row, key: &Atom) -> bool {
        match &self.keys {
            Keys::Column => row.get(&self.name).is_some_and(|datum| datum.contains(key)),
            Keys::Computed(keys) => {
                let mut found = false;
                keys(row, &mut |own| found |= own == key);
                found
            }
        }
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Index").field(&self.name).finish()
    }
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
struct Entries {
    hasher: DefaultHashBuilder,
    /// The row of each key that one row alone has.
    single: HashTable<Entry>,
    /// The rows of the keys that several had at once, until none has.
    shared: HashMap<Atom, BTreeSet<Uuid>>,
}

/// One key of one row.
#[derive(Debug)]
struct Entry {
    hash: KeyHash,
    row: Uuid,
}

/// Part of a key's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct KeyHash(u32);

impl KeyHash {
    /// As a hash table wants it: both the low and the high bits tell keys apart. (Fibonacci hashing: the factor is 2^64
    /// divided by the golden ratio.)
    fn spread(self) -> u64 {
        u64::from(self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl IndexState {
    pub(crate) fn new(index: Index) -> Self {
        Self {
            index,
            entries: Entries::default(),
            keys: Default::default(),
        }
    }

    /// Fits the index to a row's change, which `rows` shows already.
    pub(crate) fn change(&mut self, uuid: Uuid, old: Option<&Row>, new: Option<&Row>, rows: &Rows) {
        let change = Change {
            index: &self.index,
            uuid,
            rows,
        };
        let keys = match &self.index.keys {
            Keys::Column => {
                let [old, new] = [old, new].map(|row| row?.get(&self.index.name));
                // Most changes leave an index's keys alone.
                if old != new {
                    self.entries.change(&change, elements(old), elements(new));
                }
                return;
            }
            Keys::Computed(keys) => keys,
        };
        for (row, sorted) in [old, new].into_iter().zip(&mut self.keys) {
            if let Some(row) = row {
                keys(row, &mut |key| sorted.push(key.clone()));
            }
            sorted.sort_unstable();
            sorted.dedup();
        }
        let [before, after] = &mut self.keys;
        if before != after {
            self.entries.change(&change, before.iter(), after.iter());
        }
        before.clear();
        after.clear();
    }

    /// The rows under `key`, sorted.
    pub(crate) fn find<'a>(&'a self, key: &Atom, rows: &'a Rows) -> Found<'a> {
        match self.entries.sharers(key) {
            Some(found) => Found::Many(found.iter(), rows),
            None => Found::One(self.entries.holder(&self.index, key, rows, None)),
        }
    }

    /// All keys, in no order. Walks the rows.
    pub(crate) fn keys(&self, rows: &Rows) -> impl Iterator<Item = Atom> + use<> {
        let mut all = HashSet::new();
        for (_, row) in rows.iter() {
            match &self.index.keys {
                Keys::Column => all.extend(elements(row.get(&self.index.name)).cloned()),
                Keys::Computed(keys) => keys(&row, &mut |key| {
                    all.insert(key.clone());
                }),
            }
        }
        all.into_iter()
    }

    /// An estimate of the bytes the index holds.
    pub(crate) fn memory(&self) -> usize {
        let Entries { single, shared, .. } = &self.entries;
        // A set keeps its elements in nodes that are half full at the least.
        let sets = shared.values().map(BTreeSet::len).sum::<usize>() * size_of::<Uuid>() * 2;
        single.allocation_size() + shared.allocation_size() + sets
    }
}

/// The row that changes an index.
struct Change<'a> {
    index: &'a Index,
    uuid: Uuid,
    rows: &'a Rows,
}

impl Entries {
    /// Replaces a row's sorted keys: touches those that differ, of thousands perhaps one.
    fn change<'a>(
        &mut self,
        change: &Change<'_>,
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
                (Some(old), None) => self.remove(old, change.uuid),
                (None, Some(new)) => self.insert(new, change),
                _ => {}
            }
        }
    }

    /// A key that the row did not have.
    fn insert(&mut self, key: &Atom, change: &Change<'_>) {
        let row = change.uuid;
        if !self.shared.is_empty()
            && let Some(rows) = self.shared.get_mut(key)
        {
            rows.insert(row);
            return;
        }
        match self.holder(change.index, key, change.rows, Some(row)) {
            Some((other, _)) => {
                self.remove(key, other);
                self.shared.insert(key.clone(), [other, row].into());
            }
            None => {
                let hash = self.hash(key);
                let entry = Entry { hash, row };
                self.single
                    .insert_unique(hash.spread(), entry, |entry| entry.hash.spread());
            }
        }
    }

    /// A key that the row had.
    fn remove(&mut self, key: &Atom, row: Uuid) {
        if !self.shared.is_empty()
            && let Some(rows) = self.shared.get_mut(key)
        {
            rows.remove(&row);
            if rows.is_empty() {
                self.shared.remove(key);
            }
            return;
        }
        let hash = self.hash(key);
        let its = |entry: &Entry| entry.hash == hash && entry.row == row;
        if let Ok(entry) = self.single.find_entry(hash.spread(), its) {
            entry.remove();
        }
    }

    /// The rows of a key that several share.
    fn sharers(&self, key: &Atom) -> Option<&BTreeSet<Uuid>> {
        // Nearly always there is none, and then nothing need be hashed.
        (!self.shared.is_empty())
            .then(|| self.shared.get(key))
            .flatten()
    }

    /// The row, another than `but`, that alone has the key.
    fn holder(
        &self,
        index: &Index,
        key: &Atom,
        rows: &Rows,
        but: Option<Uuid>,
    ) -> Option<(Uuid, Arc<Row>)> {
        if self.single.is_empty() {
            return None;
        }
        let hash = self.hash(key);
        let mut holder = None;
        self.single.find(hash.spread(), |entry| {
            if entry.hash == hash && Some(entry.row) != but {
                let row = rows.get(entry.row).filter(|row| index.has(row, key));
                holder = row.map(|row| (entry.row, row));
            }
            holder.is_some()
        });
        holder
    }

    fn hash(&self, key: &Atom) -> KeyHash {
        // The lower half. In tests so little of it that keys are often alike.
        let mask = if cfg!(test) { 1 } else { u32::MAX };
        KeyHash(self.hasher.hash_one(key) as u32 & mask)
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
    One(Option<(Uuid, Arc<Row>)>),
    Many(std::collections::btree_set::Iter<'a, Uuid>, &'a Rows),
}

impl Iterator for Found<'_> {
    type Item = (Uuid, Arc<Row>);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::One(found) => found.take(),
            Self::Many(found, rows) => {
                let uuid = *found.next()?;
                Some((uuid, rows.get(uuid)?))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match self {
            Self::One(found) => usize::from(found.is_some()),
            Self::Many(found, _) => found.len(),
        };
        (left, Some(left))
    }
}

impl ExactSizeIterator for Found<'_> {}

impl<'a> Found<'a> {
    /// The rows' UUIDs alone. Rows that share a key are not looked at.
    pub(crate) fn uuids(self) -> impl Iterator<Item = Uuid> + use<'a> {
        let (one, many) = match self {
            Self::One(found) => (found.map(|(uuid, _)| uuid), None),
            Self::Many(found, _) => (None, Some(found)),
        };
        one.into_iter().chain(many.into_iter().flatten().copied())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// What a row is to hold: elements of its column `names`; `None` removes it.
    type Step = (u8, Option<BTreeSet<i64>>);

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let names = prop::option::of(prop::collection::btree_set(0..6_i64, 0..4));
        prop::collection::vec((0..5_u8, names), 1..60)
    }

    proptest! {
        #[test]
        fn rows_are_found_by_their_keys_though_all_look_alike(steps in steps()) {
            let column = Index::column("names");
            let computed = Index::new("computed", |row: &Row, key: &mut dyn FnMut(&Atom)| {
                row.get("names").map(Datum::elements).into_iter().flatten().for_each(key);
            });
            let mut indexes = [column, computed].map(IndexState::new);
            let mut rows = Rows::default();
            let mut model: BTreeMap<Uuid, BTreeSet<i64>> = BTreeMap::new();
            for (id, names) in steps {
                let uuid = Uuid::from_u128(id.into());
                let row = names.as_ref().map(|names| {
                    Arc::new(Row::new().with("names", Datum::set(names.iter().copied())))
                });
                let old = rows.set(uuid, row.as_ref());
                for index in &mut indexes {
                    index.change(uuid, old.as_deref(), row.as_deref(), &rows);
                }
                match names {
                    Some(names) => model.insert(uuid, names),
                    None => model.remove(&uuid),
                };
                for index in &indexes {
                    for key in 0..6 {
                        let found: Vec<Uuid> = index.find(&key.into(), &rows).map(|(uuid, _)| uuid).collect();
                        let alone: Vec<Uuid> = index.find(&key.into(), &rows).uuids().collect();
                        prop_assert_eq!(&alone, &found);
                        let wanted = model.iter().filter(|(_, names)| names.contains(&key));
                        prop_assert_eq!(found, wanted.map(|(uuid, _)| *uuid).collect::<Vec<_>>());
                    }
                    let keys: BTreeSet<Atom> = index.keys(&rows).collect();
                    let wanted = model.values().flatten().map(|key| Atom::from(*key));
                    prop_assert_eq!(keys, wanted.collect::<BTreeSet<_>>());
                }
            }
        }
    }
}
