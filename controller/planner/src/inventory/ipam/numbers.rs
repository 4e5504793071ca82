//! Numbers out of a small range, one to each unit that needs one: which number does not matter to it, but that it stays.

use std::collections::BTreeSet;
use std::hash::Hash;

use hashbrown::HashMap;

use super::claims::Claims;
use crate::unit::Unit;

/// Who has which number.
#[derive(Debug)]
pub(crate) struct Numbers<N> {
    claims: Claims<N>,
    of: HashMap<Unit, N>,
    /// Units for which none was left.
    starved: BTreeSet<Unit>,
}

impl<N> Default for Numbers<N> {
    fn default() -> Self {
        Self {
            claims: Claims::default(),
            of: HashMap::new(),
            starved: BTreeSet::new(),
        }
    }
}

impl<N: Copy + Eq + Hash> Numbers<N> {
    /// The unit's number.
    pub(crate) fn of(&self, unit: &Unit) -> Option<N> {
        self.of.get(unit).copied()
    }

    /// True if nobody but the unit has the number.
    pub(crate) fn is_open_to(&self, number: N, unit: &Unit) -> bool {
        self.claims.open_to(number, unit)
    }

    /// The unit takes this number, if nobody else has it and it has none yet. True if it has taken it.
    pub(crate) fn claim(&mut self, number: N, unit: &Unit) -> bool {
        if self.of.contains_key(unit) || !self.claims.open_to(number, unit) {
            return false;
        }
        self.claims.claim(number, unit, true);
        self.of.insert(unit.clone(), number);
        self.starved.remove(unit);
        true
    }

    /// The unit takes the first of these numbers that is free; it waits if none is. True if it has taken one.
    pub(crate) fn choose(&mut self, unit: &Unit, candidates: impl IntoIterator<Item = N>) -> bool {
        let mut candidates = candidates.into_iter();
        match candidates.find(|number| self.claims.holder(*number).is_none()) {
            Some(number) => self.claim(number, unit),
            None => {
                self.starved.insert(unit.clone());
                false
            }
        }
    }

    /// The unit needs no number any more. Those that wait for one, if it had one.
    pub(crate) fn release(&mut self, unit: &Unit) -> Option<BTreeSet<Unit>> {
        self.starved.remove(unit);
        let number = self.of.remove(unit)?;
        self.claims.release(number, unit);
        Some(std::mem::take(&mut self.starved))
    }

    /// The units that have numbers, in no order.
    pub(crate) fn units(&self) -> impl Iterator<Item = &Unit> {
        self.of.keys()
    }

    /// True if the unit waits for a number.
    pub(crate) fn lacks(&self, unit: &Unit) -> bool {
        self.starved.contains(unit)
    }

    /// True if nobody has a number.
    pub(crate) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// True if nobody has a number, or waits for one.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_empty() && self.starved.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::ObjectName;

    fn unit(name: &str) -> Unit {
        Unit::Service(ObjectName::new("ns", name))
    }

    #[test]
    fn one_each_and_kept() {
        let mut numbers = Numbers::<u8>::default();
        assert!(numbers.claim(2, &unit("a")));
        assert!(!numbers.claim(2, &unit("b")), "it is taken");
        assert!(!numbers.claim(3, &unit("a")), "it has one");
        assert!(numbers.choose(&unit("b"), 1..=2));
        assert!(!numbers.choose(&unit("c"), 1..=2));
        assert!(numbers.lacks(&unit("c")));
        assert_eq!(numbers.of(&unit("a")), Some(2));
        assert_eq!(numbers.release(&unit("a")), Some([unit("c")].into()));
        assert!(numbers.choose(&unit("c"), 1..=2));
        assert_eq!(numbers.of(&unit("c")), Some(2));
        assert_eq!(numbers.release(&unit("x")), None);
    }
}
