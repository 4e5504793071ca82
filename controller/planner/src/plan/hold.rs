//! What of a plan has to wait until ovn-northd has acknowledged earlier changes. A group waits as one, and with it the groups that
//! rest on its rows.

use ovsdb_model::Table;

use super::diff::Edit;
use super::{Group, Held, Plan};
use crate::inventory::Inventory;
use crate::nb::{self, LogicalRouter, LogicalSwitch};
use crate::northd::Target;

/// The tables of which rows come or go at a time, not both.
const TURNS: [&str; 2] = [LogicalSwitch::NAME, LogicalRouter::NAME];

/// Moves from `groups` to `held` what has to wait.
pub(super) fn hold(plan: &mut Plan, inventory: &Inventory) {
    let northd = inventory.northd();
    let later = put_off(plan, inventory);
    let mut waits: Vec<Option<Target>> = plan
        .groups
        .iter()
        .map(|group| wait(group, inventory))
        .collect();
    spread(&plan.groups, &mut waits);
    for at in out_of_turn(&plan.groups, &waits) {
        waits[at] = Some(northd.next());
    }
    spread(&plan.groups, &mut waits);

    if waits.iter().any(Option::is_some) {
        let mut positions = Vec::with_capacity(waits.len());
        let mut kept = 0;
        for wait in &waits {
            positions.push(kept);
            kept += usize::from(wait.is_none());
        }
        let groups = std::mem::take(&mut plan.groups);
        for (mut group, wait) in groups.into_iter().zip(&waits) {
            let Some(target) = *wait else {
                for on in &mut group.after {
                    *on = positions[*on];
                }
                plan.groups.push(group);
                continue;
            };
            let turn = group.edits.iter().any(takes_turn);
            let units = group.units.into_iter().zip(group.verdicts);
            plan.held.extend(units.map(|(unit, verdict)| Held {
                unit,
                target,
                verdict: Some(verdict),
                turn,
            }));
        }
    }
    plan.held.extend(later);
}

/// Where a unit keeps some rows, the others need not be gone at once: their deletion is put off where it would have to wait, so
/// that nothing else of the unit has to, nor who rests on it.
fn put_off(plan: &mut Plan, inventory: &Inventory) -> Vec<Held> {
    let northd = inventory.northd();
    let mut later: Vec<Held> = Vec::new();
    for table in TURNS {
        let comes = plan.groups.iter().any(|group| inserts(group, table));
        let waits = || nb::table(table).is_some_and(|table| northd.deletion(table).is_some());
        if !comes && inventory.turn().is_none() && !waits() {
            continue;
        }
        let stays = |group: &Group| {
            let keeps = |edit: &Edit| matches!(edit, Edit::Insert { .. } | Edit::Update { .. });
            deletes(group, table) && group.edits.iter().any(keeps)
        };
        for group in plan.groups.iter_mut().filter(|group| stays(group)) {
            group.edits.retain(|edit| !is_deletion(edit, table));
            group
                .expects
                .retain(|row| row.table.name != table || row.fingerprint.is_some());
            later.extend(group.units.iter().map(|unit| Held {
                unit: unit.clone(),
                target: northd.next(),
                verdict: None,
                turn: false,
            }));
        }
    }
    later
}

/// What the group itself has to wait for. While somebody waits to insert or delete switches or routers, all who would do so
/// wait with it: else those who insert could keep those waiting who delete, for ever.
fn wait(group: &Group, inventory: &Inventory) -> Option<Target> {
    let northd = inventory.northd();
    let turn = || inventory.turn();
    let waits = group.edits.iter().filter_map(|edit| match edit {
        Edit::Insert {
            table, uuid, row, ..
        } => northd
            .insertion(table, *uuid, row)
            .max(takes_turn(edit).then(turn).flatten()),
        Edit::Delete { table, .. } => northd
            .deletion(table)
            .max(takes_turn(edit).then(turn).flatten()),
        _ => None,
    });
    waits.max()
}

/// Groups that rest on others wait as long as these.
fn spread(groups: &[Group], waits: &mut [Option<Target>]) {
    loop {
        let mut changed = false;
        for (at, group) in groups.iter().enumerate() {
            let longest = group.after.iter().filter_map(|on| waits[*on]).max();
            if longest > waits[at] {
                waits[at] = longest;
                changed = true;
            }
        }
        if !changed {
            return;
        }
    }
}

fn takes_turn(edit: &Edit) -> bool {
    matches!(edit, Edit::Insert { table, .. } | Edit::Delete { table, .. } if TURNS.contains(&table.name))
}

fn inserts(group: &Group, table: &str) -> bool {
    let inserts = |edit: &Edit| matches!(edit, Edit::Insert { table: of, .. } if of.name == table);
    group.edits.iter().any(inserts)
}

fn deletes(group: &Group, table: &str) -> bool {
    let deletes = |edit: &Edit| is_deletion(edit, table);
    group.edits.iter().any(deletes)
}

fn is_deletion(edit: &Edit, table: &str) -> bool {
    matches!(edit, Edit::Delete { table: of, .. } if of.name == table)
}

/// Of the groups that do not wait anyway, those that cannot go together with who has waited longest for the same table.
fn out_of_turn(groups: &[Group], waits: &[Option<Target>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..groups.len())
        .filter(|at| waits[*at].is_none())
        .collect();
    order.retain(|at| groups[*at].edits.iter().any(takes_turn));
    order.sort_unstable_by_key(|at| groups[*at].first);
    let mut out = Vec::new();
    for table in TURNS {
        let mut inserted: Option<bool> = None;
        for &at in &order {
            let comes = inserts(&groups[at], table);
            if out.contains(&at) || !(comes || deletes(&groups[at], table)) {
                continue;
            }
            if *inserted.get_or_insert(comes) != comes {
                out.push(at);
            }
        }
    }
    out
}
