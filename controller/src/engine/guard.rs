//! Decision 13: nothing vanishes by accident. Which missing objects are believed to be gone.

use std::collections::{HashMap, HashSet};

use yusur_planner::{Kind, Name, ObjectName, ObjectRef, mass_deletion};

/// What the sources have told in full, and what they have lost.
#[derive(Debug)]
pub(super) struct Guard {
    allow: bool,
    /// Kinds not listed in full yet.
    unlisted: HashSet<Kind>,
    /// Lists that are being told: what was told so far, where there is something to be compared with.
    listing: HashMap<Kind, Option<HashSet<ObjectName>>>,
    /// The objects there are.
    known: HashMap<Kind, HashSet<ObjectName>>,
    namespaces: HashSet<Name>,
    /// Part of what a source holds is unknown.
    unknown: bool,
    /// Missing objects that are kept.
    kept: HashSet<ObjectRef>,
}

/// What to do about missing objects.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// They are gone.
    Gone(Vec<ObjectRef>),
    /// Too many at once: they are kept. Of `kind`, `missing` of `known`.
    Kept {
        /// The kind that lost too many.
        kind: Kind,
        /// How many of it are missing.
        missing: usize,
        /// Of how many.
        known: usize,
    },
}

// === impl Guard ===

impl Guard {
    /// Nothing listed yet of `kinds`. With `allow`, whatever is missing is gone.
    pub(super) fn new(kinds: &[Kind], allow: bool) -> Self {
        let unlisted = kinds.iter().copied().collect();
        Self {
            allow,
            unlisted,
            listing: HashMap::new(),
            known: HashMap::new(),
            namespaces: HashSet::new(),
            unknown: false,
            kept: HashSet::new(),
        }
    }

    /// The kinds that have not been listed in full.
    pub(super) fn unlisted(&self) -> impl Iterator<Item = Kind> {
        self.unlisted.iter().copied()
    }

    /// Whether every source has answered in full once.
    pub(super) fn is_complete(&self) -> bool {
        self.unlisted.is_empty()
    }

    /// A list begins.
    pub(super) fn list_begun(&mut self, kind: Kind) {
        let compared = self.known.get(&kind).is_some_and(|known| !known.is_empty());
        self.listing.insert(kind, compared.then(HashSet::new));
    }

    /// The object was set.
    pub(super) fn set(&mut self, object: &ObjectRef) {
        let known = self.known.entry(object.kind).or_default();
        if !known.contains(&object.name) {
            // Thousands of objects share few namespaces.
            let namespace = match self.namespaces.get(&object.name.namespace) {
                Some(namespace) => namespace.clone(),
                None => {
                    self.namespaces.insert(object.name.namespace.clone());
                    object.name.namespace.clone()
                }
            };
            let name = object.name.name.clone();
            known.insert(ObjectName { namespace, name });
        }
        if !self.kept.is_empty() {
            self.kept.remove(object);
        }
        if !self.listing.is_empty()
            && let Some(Some(told)) = self.listing.get_mut(&object.kind)
        {
            told.insert(object.name.clone());
        }
    }

    /// The object is removed.
    pub(super) fn removed(&mut self, object: &ObjectRef) {
        if let Some(known) = self.known.get_mut(&object.kind) {
            known.remove(&object.name);
        }
        if !self.kept.is_empty() {
            self.kept.remove(object);
        }
    }

    /// Whether there is the object.
    pub(super) fn knows(&self, object: &ObjectRef) -> bool {
        let known = self.known.get(&object.kind);
        known.is_some_and(|known| known.contains(&object.name))
    }

    /// A list has ended: the objects that it did not tell.
    pub(super) fn list_ended(&mut self, kind: Kind) -> Vec<ObjectRef> {
        self.unlisted.remove(&kind);
        let Some(Some(told)) = self.listing.remove(&kind) else {
            return Vec::new();
        };
        let known = self.known.get(&kind).into_iter().flatten();
        known
            .filter(|name| !told.contains(*name))
            .map(|name| ObjectRef {
                kind,
                name: name.clone(),
            })
            .collect()
    }

    /// Whether missing objects are believed to be gone.
    pub(super) fn judge(&mut self, missing: Vec<ObjectRef>) -> Judgement {
        if !self.allow {
            let mut by_kind: HashMap<Kind, usize> = HashMap::new();
            for object in &missing {
                *by_kind.entry(object.kind).or_default() += 1;
            }
            for (kind, missing_of_kind) in by_kind {
                let known = self.known.get(&kind).map_or(0, HashSet::len);
                // Pods and Nodes come and go by themselves; what an operator makes does not.
                if guarded(kind) && mass_deletion(known, missing_of_kind) {
                    self.kept.extend(missing);
                    return Judgement::Kept {
                        kind,
                        missing: missing_of_kind,
                        known,
                    };
                }
            }
        }
        Judgement::Gone(missing)
    }

    /// A source cannot read part of what it holds, or can again.
    pub(super) fn set_unknown(&mut self, unknown: bool) {
        self.unknown = unknown;
    }

    /// Whether what has no object may still be in a part that no source can read.
    pub(super) fn is_unknown(&self) -> bool {
        self.unknown
    }

    /// Whether a sweep that finds `gone` of the `services` in the Northbound without an object may be carried out.
    pub(super) fn may_sweep(&self, services: usize, gone: usize) -> bool {
        self.allow || !mass_deletion(services, gone)
    }

    /// How many missing objects are kept.
    pub(super) fn kept(&self) -> usize {
        self.kept.len()
    }

    /// How many objects of each kind there are.
    pub(super) fn counts(&self) -> impl Iterator<Item = (Kind, usize)> {
        self.known.iter().map(|(kind, known)| (*kind, known.len()))
    }
}

/// Whether losing many objects of the kind at once is suspicious.
fn guarded(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::Pod
            | Kind::Node
            | Kind::Namespace
            | Kind::VirtualMachineInstance
            | Kind::NetworkProbe
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(range: std::ops::Range<usize>) -> Vec<ObjectRef> {
        let name = |n: usize| ObjectName::new("a", format!("s{n}"));
        range
            .map(|n| ObjectRef {
                kind: Kind::YusurService,
                name: name(n),
            })
            .collect()
    }

    fn guard(known: usize, allow: bool) -> Guard {
        let mut guard = Guard::new(&[Kind::YusurService], allow);
        guard.list_begun(Kind::YusurService);
        for object in services(0..known) {
            guard.set(&object);
        }
        assert!(!guard.is_complete());
        assert!(guard.list_ended(Kind::YusurService).is_empty());
        assert!(guard.is_complete());
        guard
    }

    #[test]
    fn more_than_half_of_ten_is_too_many() {
        assert!(matches!(
            guard(10, false).judge(services(0..5)),
            Judgement::Gone(_)
        ));
        assert!(matches!(
            guard(9, false).judge(services(0..9)),
            Judgement::Gone(_)
        ));
        assert!(matches!(
            guard(10, true).judge(services(0..10)),
            Judgement::Gone(_)
        ));
        let mut guard = guard(10, false);
        let kept = Judgement::Kept {
            kind: Kind::YusurService,
            missing: 6,
            known: 10,
        };
        assert_eq!(guard.judge(services(0..6)), kept);
        assert_eq!(guard.kept(), 6);
        for object in services(0..6) {
            guard.set(&object);
        }
        assert_eq!(guard.kept(), 0, "they came back");
    }

    #[test]
    fn a_relist_tells_what_is_missing() {
        let mut guard = guard(4, false);
        guard.list_begun(Kind::YusurService);
        for object in services(1..4) {
            guard.set(&object);
        }
        assert_eq!(guard.list_ended(Kind::YusurService), services(0..1));
    }
}
