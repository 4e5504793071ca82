//! Planning to the end against a Northbound that answers at once: what `yusurctl plan` and the tests do. The controller
//! does the same with a real one, and does not wait.

use ovsdb_model::{Batch, Database, Operation};

use crate::inventory::Inventory;
use crate::plan::{operations, plan};
use crate::unit::Unit;
use crate::verdict::Verdict;

/// A Northbound that carries out transactions at once.
pub trait Northbound {
    /// Why a transaction failed.
    type Error;

    /// Its content, with the indexes of [`crate::nb::indexes`].
    fn database(&self) -> &Database;

    /// Carries a transaction out, whole or not at all, and tells which rows changed.
    ///
    /// # Errors
    /// When it was refused; nothing has changed then.
    fn transact(&mut self, operations: &[Operation]) -> Result<Batch, Self::Error>;
}

/// Planning did not come to an end: these units want something else after every transaction.
#[derive(Debug)]
pub enum Unsettled<E> {
    /// A transaction was refused.
    Refused {
        /// The units in it.
        units: Vec<Unit>,
        /// The reason.
        error: E,
    },
    /// After as many rounds as there could be reasons for, units were still dirty.
    Restless {
        /// Some of them.
        units: Vec<Unit>,
    },
}

/// Plans and writes until nothing is dirty, `max` units at a time. Allocated addresses count as recorded at once.
/// Returns the last verdict on every unit that was looked at, in the order of their first.
///
/// # Errors
/// When a transaction is refused, or when it does not come to an end.
pub fn run<N: Northbound>(
    inventory: &mut Inventory,
    northbound: &mut N,
    max: usize,
) -> Result<Vec<Verdict>, Unsettled<N::Error>> {
    let mut verdicts: Vec<Verdict> = Vec::new();
    // A unit is looked at, written, perhaps looked at once more: three times is plenty, each at most one round.
    let mut rounds = inventory.known() * 4 / max.max(1) + inventory.dirty() * 4 / max.max(1) + 64;
    loop {
        let units = inventory.take_dirty(northbound.database(), max.max(1));
        if units.is_empty() {
            return Ok(latest(verdicts));
        }
        if rounds == 0 {
            return Err(Unsettled::Restless { units });
        }
        rounds -= 1;
        let plan = plan(&units, inventory, northbound.database());
        inventory.planned(&plan);
        if !plan.is_empty() {
            match northbound.transact(&operations(&plan.groups)) {
                Ok(batch) => {
                    inventory.observe(&batch, northbound.database());
                    inventory.committed(&plan.groups, None, northbound.database());
                }
                Err(error) => return Err(Unsettled::Refused { units, error }),
            }
        }
        for verdict in plan
            .groups
            .into_iter()
            .flat_map(|group| group.verdicts)
            .chain(plan.verdicts)
        {
            inventory.recorded(&verdict.unit, &verdict.record());
            verdicts.push(verdict);
        }
    }
}

fn latest(verdicts: Vec<Verdict>) -> Vec<Verdict> {
    let mut last: Vec<Verdict> = Vec::new();
    let mut positions = hashbrown::HashMap::new();
    for verdict in verdicts {
        match positions.get(&verdict.unit) {
            Some(&at) => last[at] = verdict,
            None => {
                positions.insert(verdict.unit.clone(), last.len());
                last.push(verdict);
            }
        }
    }
    last
}
