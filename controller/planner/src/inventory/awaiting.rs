//! Units that wait until ovn-northd has acknowledged earlier changes.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use ovsdb_model::Database;

use super::Inventory;
use crate::northd::{Target, Unacknowledged};
use crate::plan::{Held, Plan};
use crate::unit::Unit;

/// Who waits for what.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    units: HashMap<Unit, Wait>,
    by_target: BTreeSet<(Target, Unit)>,
    /// What those wait for who insert or delete switches or routers.
    turns: BTreeSet<(Target, Unit)>,
}

#[derive(Debug, Clone, Copy)]
struct Wait {
    target: Target,
    turn: bool,
}

// === impl Waiting ===

impl Waiting {
    fn add(&mut self, held: &Held) {
        self.remove(&held.unit);
        let wait = Wait {
            target: held.target,
            turn: held.turn,
        };
        let key = (held.target, held.unit.clone());
        if held.turn {
            self.turns.insert(key.clone());
        }
        self.by_target.insert(key);
        self.units.insert(held.unit.clone(), wait);
    }

    fn remove(&mut self, unit: &Unit) {
        if self.units.is_empty() {
            return;
        }
        if let Some(wait) = self.units.remove(unit) {
            let key = (wait.target, unit.clone());
            self.by_target.remove(&key);
            if wait.turn {
                self.turns.remove(&key);
            }
        }
    }

    /// The first of those that wait for no more than `reached`.
    fn next(&self, reached: Target) -> Option<Unit> {
        let (target, unit) = self.by_target.first()?;
        (*target <= reached).then(|| unit.clone())
    }
}

// === impl Inventory ===

impl Inventory {
    /// What ovn-northd has not acknowledged.
    pub(crate) fn northd(&self) -> &Unacknowledged {
        &self.northd
    }

    /// What those wait for who insert or delete switches or routers, if anybody does.
    pub(crate) fn turn(&self) -> Option<Target> {
        self.waiting.turns.last().map(|(target, _)| *target)
    }

    /// How many units wait for ovn-northd.
    pub fn awaiting_count(&self) -> usize {
        self.waiting.units.len()
    }

    /// Whether the unit waits for ovn-northd.
    pub fn is_awaiting(&self, unit: &Unit) -> bool {
        self.waiting.units.contains_key(unit)
    }

    /// Whether `NB_Global.nb_cfg` has to be raised, so that those can go on that wait, or might have to.
    pub fn needs_raise(&self) -> bool {
        let waits = self.waiting.by_target.last();
        let waits = waits
            .map(|(target, _)| *target)
            .max(self.northd.beginning());
        let lacking = waits.is_some_and(|target| self.northd.lacks_raise(target));
        self.config.northd.is_some() && (lacking || self.northd.is_long())
    }

    /// By how much it has to be raised then.
    pub fn raise_by(&self) -> i64 {
        let (nb_cfg, _) = self.northd.counters();
        self.northd.next().saturating_sub(nb_cfg).max(1)
    }

    /// Whether nothing is known yet of what ovn-northd has acknowledged: whatever is planned now may have to wait.
    pub fn is_unacquainted(&self) -> bool {
        self.config.northd.is_some() && self.northd.beginning().is_some()
    }

    /// `NB_Global.nb_cfg`, and how much of it ovn-northd has acknowledged (`sb_cfg`).
    pub fn counters(&self) -> (i64, i64) {
        self.northd.counters()
    }

    /// A transaction may have been carried out or not, and what it did may have been undone unseen: nothing is known of what
    /// ovn-northd has acknowledged.
    pub fn outcome_unknown(&mut self, database: &Database) {
        self.northd.start_over(database);
        self.release(Target::MAX);
    }

    pub(super) fn hold_planned(&mut self, plan: &Plan) {
        if self.waiting.units.is_empty() && plan.held.is_empty() {
            return;
        }
        for unit in plan.units() {
            self.waiting.remove(unit);
        }
        for held in &plan.held {
            self.waiting.add(held);
        }
    }

    /// Queues those again that waited for no more than this.
    pub(super) fn release(&mut self, reached: Target) {
        while let Some(unit) = self.waiting.next(reached) {
            self.waiting.remove(&unit);
            self.dirty.add(unit);
        }
    }

    pub(super) fn forget_awaiting(&mut self) {
        self.waiting = Waiting::default();
    }
}
