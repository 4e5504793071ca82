//! What may be planned while a transaction is on its way.
//!
//! A plan is the difference from the rows that are there, and a transaction on its way is about to change those. Where
//! it only adds rows, and the plan only adds others, neither sees the other: the plan is what it would be afterwards,
//! however the transaction ends. That is the shape of a start, where there is most to plan.

use hashbrown::HashSet;
use ovsdb_model::Uuid;

use super::diff::Edit;
use super::{Group, Plan};

impl Group {
    /// True if all it does is add rows, and refer to them from rows that are there.
    pub fn only_adds(&self) -> bool {
        self.edits.iter().all(|edit| {
            matches!(
                edit,
                Edit::Insert { .. } | Edit::Member { present: true, .. }
            )
        })
    }

    fn added(&self) -> impl Iterator<Item = Uuid> {
        self.edits.iter().filter_map(|edit| match edit {
            Edit::Insert { uuid, .. } => Some(*uuid),
            _ => None,
        })
    }
}

impl Plan {
    /// True if this plan, made while `flying` was on its way, may be written after it, however it ends: both only add,
    /// and not the same rows. Otherwise give its units back with [`Inventory::put_back`](crate::Inventory::put_back).
    pub fn stands_beside<'a>(&self, flying: impl IntoIterator<Item = &'a Group>) -> bool {
        let (mut added, mut units) = (HashSet::new(), HashSet::new());
        for group in flying {
            if !group.only_adds() {
                return false;
            }
            added.extend(group.added());
            units.extend(&group.units);
        }
        // What a unit adds and no longer wants is not there yet to be taken away.
        if self.units().any(|unit| units.contains(unit)) {
            return false;
        }
        // A unit that rests on a row in flight brings whoever makes it along, and so adds it once more.
        self.ahead.is_empty()
            && self
                .groups
                .iter()
                .all(|group| group.only_adds() && group.added().all(|uuid| !added.contains(&uuid)))
    }

    /// The units it has something to write for or to say about, and those that wait.
    pub fn units(&self) -> impl Iterator<Item = &crate::Unit> {
        let written = self.groups.iter().flat_map(|group| &group.units);
        let held = self.held.iter().map(|held| &held.unit);
        written
            .chain(self.verdicts.iter().map(|verdict| &verdict.unit))
            .chain(held)
    }
}
