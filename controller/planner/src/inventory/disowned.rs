//! Rows of ours whose labels somebody took off: whose they were, so that they do not outlive it. A process that starts
//! later cannot know.

use hashbrown::HashMap;
use ovsdb_model::Uuid;

use crate::nb::TableSpec;
use crate::unit::Unit;

#[derive(Debug, Default)]
pub(super) struct Disowned {
    whose: HashMap<Uuid, Unit>,
    rows: HashMap<Unit, Vec<(&'static TableSpec, Uuid)>>,
}

impl Disowned {
    pub(super) fn add(&mut self, table: &'static TableSpec, row: Uuid, unit: Unit) {
        self.remove(row);
        self.whose.insert(row, unit.clone());
        self.rows.entry(unit).or_default().push((table, row));
    }

    /// The row has labels again, or is gone.
    pub(super) fn remove(&mut self, row: Uuid) {
        let Some(unit) = self.whose.remove(&row) else {
            return;
        };
        if let Some(rows) = self.rows.get_mut(&unit) {
            rows.retain(|(_, other)| *other != row);
            if rows.is_empty() {
                self.rows.remove(&unit);
            }
        }
    }

    /// The rows that were this unit's.
    pub(super) fn of(&self, unit: &Unit) -> &[(&'static TableSpec, Uuid)] {
        self.rows.get(unit).map_or(&[], Vec::as_slice)
    }
}
