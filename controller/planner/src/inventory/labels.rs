//! Labels as small numbers, and selectors over them.
//!
//! Thousands of Pods carry the same few labels: each `key=value` is kept once, counted, and dropped with its last user
//! (unlike plain interning, which would grow for ever with labels that are unique to a Pod).

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::name::Name;

/// A `key=value` pair known to [`Labels`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct LabelId(u32);

type Pair = (Name, Name);

/// All `key=value` pairs in use.
#[derive(Default, Debug)]
pub(crate) struct Labels {
    /// By key, then by value: there are few keys, and each is kept once.
    ids: HashMap<Name, HashMap<Name, LabelId>>,
    slots: Vec<(Pair, u32)>,
    free: Vec<LabelId>,
}

/// The labels of one object, sorted by key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct LabelSet(Box<[LabelId]>);

impl LabelSet {
    pub(crate) fn ids(&self) -> &[LabelId] {
        &self.0
    }
}

impl Labels {
    /// Takes one reference to each pair; give the set back with [`Labels::release`].
    pub(crate) fn acquire(&mut self, labels: &BTreeMap<String, String>) -> LabelSet {
        LabelSet(
            labels
                .iter()
                .map(|(key, value)| self.acquire_pair(key, value))
                .collect(),
        )
    }

    fn acquire_pair(&mut self, key: &str, value: &str) -> LabelId {
        if let Some(id) = self.find(key, value) {
            self.slots[id.0 as usize].1 += 1;
            return id;
        }
        let key = match self.ids.get_key_value(key) {
            Some((key, _)) => key.clone(),
            None => key.into(),
        };
        let pair: Pair = (key, value.into());
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id.0 as usize] = (pair.clone(), 1);
                id
            }
            None => {
                // More than 2^32 distinct labels at a time do not fit in memory.
                let id = LabelId(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
                self.slots.push((pair.clone(), 1));
                id
            }
        };
        self.ids.entry(pair.0).or_default().insert(pair.1, id);
        id
    }

    /// Takes one reference to each pair that meets a requirement by values; give each back with [`Labels::release_one`].
    pub(crate) fn acquire_requirement(&mut self, requirement: &Requirement) -> Vec<LabelId> {
        match requirement {
            Requirement::In(key, values) => values
                .iter()
                .map(|value| self.acquire_pair(key, value))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Gives back what [`Labels::acquire`] took.
    pub(crate) fn release(&mut self, set: &LabelSet) {
        for &id in set.ids() {
            self.release_one(id);
        }
    }

    /// Gives one reference back.
    pub(crate) fn release_one(&mut self, id: LabelId) {
        {
            let slot = &mut self.slots[id.0 as usize];
            slot.1 -= 1;
            if slot.1 == 0 {
                let (key, value) = std::mem::take(&mut slot.0);
                if let Some(values) = self.ids.get_mut(&key) {
                    values.remove(&value);
                    if values.is_empty() {
                        self.ids.remove(&key);
                    }
                }
                self.free.push(id);
            }
        }
    }

    /// The value `set` has for `key`.
    pub(crate) fn value<'a>(&'a self, set: &LabelSet, key: &str) -> Option<&'a str> {
        let at = set
            .0
            .binary_search_by(|id| self.slots[id.0 as usize].0.0.as_str().cmp(key))
            .ok()?;
        Some(&self.slots[set.0[at].0 as usize].0.1)
    }

    /// The pair's number, if any object has it.
    pub(crate) fn find(&self, key: &str, value: &str) -> Option<LabelId> {
        self.ids.get(key)?.get(value).copied()
    }
}

/// One requirement of a selector (apimachinery, `LabelSelectorRequirement`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Requirement {
    In(Name, Box<[Name]>),
    NotIn(Name, Box<[Name]>),
    Exists(Name),
    DoesNotExist(Name),
}

/// A label selector: all requirements hold. Without requirements it matches everything.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Selector(pub(crate) Box<[Requirement]>);

impl Selector {
    pub(crate) fn matches(&self, labels: &Labels, set: &LabelSet) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => labels
                .value(set, key)
                .is_some_and(|value| values.iter().any(|one| one == value)),
            Requirement::NotIn(key, values) => !labels
                .value(set, key)
                .is_some_and(|value| values.iter().any(|one| one == value)),
            Requirement::Exists(key) => labels.value(set, key).is_some(),
            Requirement::DoesNotExist(key) => labels.value(set, key).is_none(),
        })
    }

    /// The alternatives of each requirement of which an object must have one: what indexes are asked by.
    pub(crate) fn required(&self) -> impl Iterator<Item = (&Name, &[Name])> {
        self.0.iter().filter_map(|requirement| match requirement {
            Requirement::In(key, values) => Some((key, values.as_ref())),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn pairs_are_kept_once_and_dropped_with_their_last_user() {
        let mut all = Labels::default();
        let one = all.acquire(&labels(&[("app", "web"), ("tier", "front")]));
        let two = all.acquire(&labels(&[("app", "web")]));
        assert_eq!(all.slots.len(), 2);
        all.release(&one);
        assert_eq!(all.find("tier", "front"), None);
        assert_eq!(all.value(&two, "app"), Some("web"));
        all.release(&two);
        assert!(all.ids.is_empty());
        let three = all.acquire(&labels(&[("a", "b")]));
        assert_eq!(all.slots.len(), 2, "freed slots are used again");
        assert_eq!(all.value(&three, "a"), Some("b"));
    }

    #[test]
    fn requirements() {
        let mut all = Labels::default();
        let set = all.acquire(&labels(&[("app", "web"), ("env", "prod")]));
        let matches = |requirement| Selector(Box::new([requirement])).matches(&all, &set);
        let values = |list: &[&str]| list.iter().map(|&v| Name::from(v)).collect::<Box<[Name]>>();
        assert!(matches(Requirement::In(
            "app".into(),
            values(&["api", "web"])
        )));
        assert!(!matches(Requirement::In("app".into(), values(&["api"]))));
        assert!(!matches(Requirement::In("none".into(), values(&["api"]))));
        assert!(matches(Requirement::NotIn("app".into(), values(&["api"]))));
        assert!(
            matches(Requirement::NotIn("none".into(), values(&["api"]))),
            "an absent key is not among the values"
        );
        assert!(!matches(Requirement::NotIn("app".into(), values(&["web"]))));
        assert!(matches(Requirement::Exists("env".into())));
        assert!(!matches(Requirement::Exists("none".into())));
        assert!(matches(Requirement::DoesNotExist("none".into())));
        assert!(!matches(Requirement::DoesNotExist("env".into())));
        assert!(
            Selector::default().matches(&all, &LabelSet::default()),
            "an empty selector matches everything"
        );
    }
}
