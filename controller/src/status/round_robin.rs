//! Fair queueing: what waits is kept by namespace, and namespaces take turns. So a namespace with ten thousand entries
//! delays another's by one entry, not by ten thousand. Within a namespace the oldest goes first.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;

use yusur_planner::Name;

/// Entries of many namespaces, one a key.
#[derive(Debug)]
pub(crate) struct RoundRobin<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// The keys of each namespace in the order in which they came; never empty.
    namespaces: HashMap<Name, BTreeMap<u64, K>>,
    /// Whose turn it is: the keys of `namespaces`, each once.
    turns: VecDeque<Name>,
    /// How many entries have come.
    arrived: u64,
}

#[derive(Debug)]
struct Entry<V> {
    namespace: Name,
    /// Its place in the order of arrival.
    place: u64,
    value: V,
}

// === impl RoundRobin ===

impl<K, V> Default for RoundRobin<K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            namespaces: HashMap::new(),
            turns: VecDeque::new(),
            arrived: 0,
        }
    }
}

impl<K: Clone + Eq + Hash, V> RoundRobin<K, V> {
    /// How many entries wait.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries of a namespace wait.
    pub(crate) fn len_of(&self, namespace: &Name) -> usize {
        self.namespaces.get(namespace).map_or(0, BTreeMap::len)
    }

    /// Adds an entry after its namespace's others. One that is there keeps its place, and its value is replaced.
    pub(crate) fn insert(&mut self, namespace: &Name, key: K, value: V) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.value = value;
            return;
        }
        let place = self.arrived;
        self.arrived += 1;
        let keys = self.namespaces.entry(namespace.clone());
        let keys = keys.or_insert_with(|| {
            self.turns.push_back(namespace.clone());
            BTreeMap::new()
        });
        keys.insert(place, key.clone());
        let namespace = namespace.clone();
        self.entries.insert(
            key,
            Entry {
                namespace,
                place,
                value,
            },
        );
    }

    /// Puts a new value in place of an entry's.
    pub(crate) fn update(&mut self, key: &K, new: impl FnOnce(V) -> V) {
        if let Some((key, mut entry)) = self.entries.remove_entry(key) {
            entry.value = new(entry.value);
            self.entries.insert(key, entry);
        }
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let entry = self.entries.remove(key)?;
        if let Some(keys) = self.namespaces.get_mut(&entry.namespace) {
            keys.remove(&entry.place);
            if keys.is_empty() {
                self.namespaces.remove(&entry.namespace);
                self.turns.retain(|turn| *turn != entry.namespace);
            }
        }
        Some(entry.value)
    }

    /// Takes the entry out whose turn it is, of the namespaces that are `allowed`. The others keep their turn.
    pub(crate) fn pop(&mut self, allowed: impl FnMut(&Name) -> bool) -> Option<(K, V)> {
        let at = self.turns.iter().position(allowed)?;
        let namespace = self.turns.remove(at)?;
        let keys = self.namespaces.get_mut(&namespace)?;
        let (_, key) = keys.pop_first()?;
        if keys.is_empty() {
            self.namespaces.remove(&namespace);
        } else {
            self.turns.push_back(namespace);
        }
        let entry = self.entries.remove(&key)?;
        Some((key, entry.value))
    }

    /// Whether there is an entry of a namespace that is `allowed`.
    pub(crate) fn any(&self, allowed: impl FnMut(&Name) -> bool) -> bool {
        self.turns.iter().any(allowed)
    }

    /// Takes all entries out, in no order.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (K, V)> + use<K, V> {
        let taken = std::mem::take(self);
        taken
            .entries
            .into_iter()
            .map(|(key, entry)| (key, entry.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(entries: &[(&'static str, u32)]) -> RoundRobin<u32, u32> {
        let mut queue = RoundRobin::default();
        for (namespace, key) in entries {
            queue.insert(&Name::from(*namespace), *key, *key);
        }
        queue
    }

    fn drained(mut queue: RoundRobin<u32, u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop(|_| true))
            .map(|(key, _)| key)
            .collect()
    }

    #[test]
    fn namespaces_take_turns() {
        let queue = queue(&[("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("b", 6)]);
        assert_eq!(drained(queue), [1, 4, 5, 2, 6, 3]);
    }

    #[test]
    fn what_is_replaced_keeps_its_place() {
        let mut queue = queue(&[("a", 1), ("a", 2)]);
        queue.insert(&Name::from("a"), 1, 10);
        assert_eq!(queue.pop(|_| true), Some((1, 10)));
    }

    #[test]
    fn who_must_wait_keeps_its_turn() {
        let mut queue = queue(&[("a", 1), ("b", 2), ("b", 3)]);
        assert!(queue.any(|namespace| namespace == "b"));
        assert_eq!(queue.pop(|namespace| namespace != "a"), Some((2, 2)));
        assert_eq!(queue.pop(|_| true), Some((1, 1)));
        assert_eq!(queue.pop(|namespace| namespace != "b"), None);
        assert!(!queue.any(|namespace| namespace == "a"));
        assert_eq!(drained(queue), [3]);
    }

    /// Names that come and go leave nothing behind.
    #[test]
    fn a_namespace_without_entries_is_forgotten() {
        let mut queue = queue(&[]);
        for key in 0..1000 {
            queue.insert(&Name::from(format!("n{key}")), key, key);
            assert_eq!(queue.remove(&key), Some(key));
            queue.insert(&Name::from(format!("m{key}")), key, key);
            assert_eq!(queue.pop(|_| true), Some((key, key)));
        }
        assert!(queue.is_empty() && queue.turns.is_empty() && queue.namespaces.is_empty());
    }
}
