//! Who holds a value, and who waits for it: one register for addresses, MAC addresses and numbers.
//!
//! Whoever asks first for a value that is free holds it until it gives it back; those that ask later wait in the order
//! in which they asked. Nothing is taken from a holder: in which order claims are to be made is for the caller to say.

use std::hash::Hash;

use hashbrown::HashMap;

use crate::unit::Unit;

/// Who holds a value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    unit: Unit,
    /// The value was chosen here, not asked for by name.
    allocated: bool,
}

/// The claims on the values of one pool.
#[derive(Debug)]
pub(crate) struct Claims<K> {
    holders: HashMap<K, Holder>,
    /// Those that ask for a value as well, the first to ask first. Few values have any.
    waiting: HashMap<K, Vec<Unit>>,
}

impl<K> Default for Claims<K> {
    fn default() -> Self {
        Self {
            holders: HashMap::new(),
            waiting: HashMap::new(),
        }
    }
}

impl<K: Copy + Eq + Hash> Claims<K> {
    /// Who holds the value.
    pub(crate) fn holder(&self, value: K) -> Option<&Unit> {
        self.holders.get(&value).map(|holder| &holder.unit)
    }

    /// True if the unit holds the value, or could.
    pub(crate) fn open_to(&self, value: K, unit: &Unit) -> bool {
        self.holder(value).is_none_or(|holder| holder == unit)
    }

    /// The unit holds the value from now on, if nobody else does; then it waits for it. True if it holds it.
    pub(crate) fn claim(&mut self, value: K, unit: &Unit, allocated: bool) -> bool {
        match self.holders.get_mut(&value) {
            Some(holder) if holder.unit != *unit => {
                self.wait(value, unit);
                false
            }
            Some(holder) => {
                holder.allocated = allocated;
                true
            }
            None => {
                self.leave_queue(value, unit);
                let unit = unit.clone();
                self.holders.insert(value, Holder { unit, allocated });
                true
            }
        }
    }

    /// The unit waits for the value, behind all that wait already.
    pub(crate) fn wait(&mut self, value: K, unit: &Unit) {
        let waiting = self.waiting.entry(value).or_default();
        if !waiting.contains(unit) {
            waiting.push(unit.clone());
        }
    }

    fn leave_queue(&mut self, value: K, unit: &Unit) {
        if let Some(waiting) = self.waiting.get_mut(&value) {
            waiting.retain(|other| other != unit);
            if waiting.is_empty() {
                self.waiting.remove(&value);
            }
        }
    }

    /// The unit asks for the value no more. True if it held it, and nobody does now: the first of [`Self::waiting`] may claim it.
    pub(crate) fn release(&mut self, value: K, unit: &Unit) -> bool {
        if self.holder(value) == Some(unit) {
            self.holders.remove(&value);
            return true;
        }
        self.leave_queue(value, unit);
        false
    }

    /// Who waits for the value, the first to ask first.
    pub(crate) fn waiting(&self, value: K) -> &[Unit] {
        self.waiting.get(&value).map_or(&[], Vec::as_slice)
    }

    /// All values somebody holds, in no order, each with whether it was chosen here.
    pub(crate) fn held(&self) -> impl Iterator<Item = (K, bool)> {
        self.holders
            .iter()
            .map(|(value, holder)| (*value, holder.allocated))
    }

    /// True if nobody holds anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    /// True if nobody waits for anything.
    pub(crate) fn is_quiet(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::ObjectName;

    fn unit(name: &str) -> Unit {
        Unit::VNic(ObjectName::new("ns", name))
    }

    #[test]
    fn the_first_to_ask_holds_and_the_others_wait_in_their_order() {
        let mut claims = Claims::default();
        assert!(claims.claim(7, &unit("z"), false));
        assert!(!claims.claim(7, &unit("b"), false));
        assert!(!claims.claim(7, &unit("a"), false));
        assert!(!claims.claim(7, &unit("b"), false), "once is enough");
        assert_eq!(claims.waiting(7), [unit("b"), unit("a")]);
        assert!(!claims.release(7, &unit("b")), "it only waited");
        assert_eq!(claims.holder(7), Some(&unit("z")));
        assert!(claims.release(7, &unit("z")));
        assert_eq!(claims.holder(7), None);
        assert_eq!(claims.waiting(7), [unit("a")]);
        assert!(claims.claim(7, &unit("a"), false));
        assert_eq!(claims.waiting(7), [], "a holder waits no more");
    }

    #[test]
    fn a_holder_asks_again_and_stays() {
        let mut claims = Claims::default();
        assert!(claims.claim(7, &unit("a"), true));
        assert!(claims.claim(7, &unit("a"), false));
        assert_eq!(claims.held().collect::<Vec<_>>(), [(7, false)]);
        assert!(claims.release(7, &unit("a")));
        assert!(claims.is_empty());
    }
}
