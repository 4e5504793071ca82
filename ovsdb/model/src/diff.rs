//! Differences between two values of one column, as `update2` sends them (ovsdb-server(7), "Update2 Notification").

use std::cmp::Ordering;

use crate::atom::Atom;
use crate::datum::{Datum, DatumRef};

/// A difference of a set applied to a map or the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a set's difference does not fit a map, nor a map's a set")]
pub struct KindMismatch;

impl Datum {
    /// This value with `diff` applied. Of sets the elements that only one of both has remain. Of maps a key that only
    /// one of both has remains, one whose pair is the same in both goes, one whose values differ takes `diff`'s.
    ///
    /// # Errors
    /// When one is a set and the other a map.
    pub fn apply_diff(&self, diff: &Datum) -> Result<Datum, KindMismatch> {
        match (self.view(), diff.view()) {
            (DatumRef::Set(old), DatumRef::Set(diff)) => Ok(Datum::from_sorted_set(join(
                old,
                diff,
                |atom| atom,
                |_, _| None,
            ))),
            (DatumRef::Map(old), DatumRef::Map(diff)) => {
                let pairs = join(
                    old,
                    diff,
                    |pair| &pair.0,
                    |old, diff| (old.1 != diff.1).then(|| diff.clone()),
                );
                Ok(Datum::from_sorted_map(pairs))
            }
            _ => Err(KindMismatch),
        }
    }

    /// The difference that makes `new` of this value: `old.apply_diff(&old.diff_to(&new)?) == Ok(new)`.
    ///
    /// # Errors
    /// When one is a set and the other a map.
    pub fn diff_to(&self, new: &Datum) -> Result<Datum, KindMismatch> {
        // The rules are their own inverse: what both have goes, what one has stays, and of two values for one key the
        // right one's is taken.
        self.apply_diff(new)
    }
}

/// Joins two lists that are sorted by key; `both` says what becomes of a key that is in both.
fn join<T: Clone>(
    left: &[T],
    right: &[T],
    key: fn(&T) -> &Atom,
    both: fn(&T, &T) -> Option<T>,
) -> Vec<T> {
    let mut joined = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left, right);
    while let ([l, left_rest @ ..], [r, right_rest @ ..]) = (left, right) {
        match key(l).cmp(key(r)) {
            Ordering::Less => {
                joined.push(l.clone());
                left = left_rest;
            }
            Ordering::Greater => {
                joined.push(r.clone());
                right = right_rest;
            }
            Ordering::Equal => {
                joined.extend(both(l, r));
                (left, right) = (left_rest, right_rest);
            }
        }
    }
    joined.extend_from_slice(left);
    joined.extend_from_slice(right);
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sets_and_maps() {
        let old = Datum::set(["a", "b"]);
        assert_eq!(
            old.apply_diff(&Datum::set(["b", "c"])),
            Ok(Datum::set(["a", "c"]))
        );
        let old = Datum::map([("a", "1"), ("b", "2"), ("c", "3")]);
        let diff = Datum::map([("a", "1"), ("b", "9"), ("d", "4")]);
        assert_eq!(
            old.apply_diff(&diff),
            Ok(Datum::map([("b", "9"), ("c", "3"), ("d", "4")]))
        );
        assert_eq!(old.apply_diff(&Datum::empty_set()), Err(KindMismatch));
    }

    proptest! {
        #[test]
        fn a_diff_leads_from_old_to_new(
            old in prop::collection::btree_map(0i64..12, 0i64..4, 0..10),
            new in prop::collection::btree_map(0i64..12, 0i64..4, 0..10),
        ) {
            let (old_set, new_set) = (Datum::set(old.keys().copied()), Datum::set(new.keys().copied()));
            prop_assert_eq!(old_set.apply_diff(&old_set.diff_to(&new_set).unwrap()), Ok(new_set));
            let (old, new) = (Datum::map(old), Datum::map(new));
            prop_assert_eq!(old.apply_diff(&old.diff_to(&new).unwrap()), Ok(new));
        }
    }
}
