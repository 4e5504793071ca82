//! Groups: which units belong in one transaction, and which come first.

use hashbrown::HashMap;

use super::diff::Edit;
use super::{ExpectedMember, ExpectedRow, Group, Plan, Work};
use crate::nb::Text;
use crate::unit::Unit;

/// What comes first. Addresses are given back before they are used again; what others rest on is made before them and
/// removed after them.
fn rank(work: &Work) -> u8 {
    let leaves = work.leaves;
    match work.unit {
        Unit::Pod(_) | Unit::VNic(_) | Unit::Service(_) | Unit::Eip(_) | Unit::Other(_)
            if leaves =>
        {
            0
        }
        Unit::Global => 1,
        Unit::EipGateway(_) if !leaves => 2,
        Unit::ServiceGateway(_) if !leaves => 3,
        Unit::Vpc(_) | Unit::Subnet(_) if !leaves => 4,
        Unit::Dns(..) | Unit::Calls(_) if !leaves => 5,
        Unit::Pod(_) | Unit::VNic(_) => 6,
        Unit::Eip(_) => 7,
        Unit::Service(_) => 8,
        Unit::Dns(..) | Unit::Calls(_) => 9,
        Unit::Subnet(_) => 10,
        Unit::Vpc(_) | Unit::Other(_) => 11,
        Unit::ServiceGateway(_) => 12,
        Unit::EipGateway(_) => 13,
    }
}

/// Sets that grow together.
struct Sets(Vec<usize>);

impl Sets {
    fn find(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        // The smaller number stands for the set, so that the order of units decides nothing else.
        self.0[a.max(b)] = a.min(b);
    }
}

pub(super) fn groups(works: Vec<Work>) -> Plan {
    let mut sets = Sets((0..works.len()).collect());
    let topology = |unit: &Unit| matches!(unit, Unit::Vpc(_) | Unit::Subnet(_));
    for (at, work) in works.iter().enumerate() {
        for need in &work.needs {
            // Routers and switches refer to each other both ways; all else only to them.
            if topology(&work.unit) && topology(&works[*need].unit) {
                sets.join(at, *need);
            }
        }
    }
    join_movers(&works, &mut sets);
    join_owners(&works, &mut sets);

    let mut plan = Plan::default();
    let mut ranks: HashMap<usize, u8> = HashMap::new();
    let roots: Vec<usize> = (0..works.len()).map(|at| sets.find(at)).collect();
    for (at, work) in works.iter().enumerate() {
        if !work.edits.is_empty() {
            let highest = ranks.entry(roots[at]).or_default();
            *highest = (*highest).max(rank(work));
        }
    }
    let mut order: Vec<(u8, usize)> = ranks.into_iter().map(|(root, rank)| (rank, root)).collect();
    order.sort_unstable();
    let position: HashMap<usize, usize> = order
        .iter()
        .enumerate()
        .map(|(group, (_, root))| (*root, group))
        .collect();
    let first = |(_, root): &(u8, usize)| Group {
        first: *root,
        ..Group::default()
    };
    plan.groups = order.iter().map(first).collect();
    for (at, work) in works.into_iter().enumerate() {
        if work.ahead {
            plan.ahead.push(work.unit.clone());
        }
        let Some(&group) = position.get(&roots[at]) else {
            plan.verdicts.push(work.verdict);
            continue;
        };
        if work.edits.is_empty() {
            // Its verdict holds whether or not the others' edits commit.
            plan.verdicts.push(work.verdict);
            continue;
        }
        let after: Vec<usize> = work
            .needs
            .iter()
            .filter_map(|need| position.get(&roots[*need]).copied())
            .collect();
        let group_at = &mut plan.groups[group];
        for need in after {
            if need != group && !group_at.after.contains(&need) {
                group_at.after.push(need);
            }
        }
        expect(&work, group_at);
        group_at.units.push(work.unit);
        group_at.verdicts.push(work.verdict);
        group_at.edits.extend(work.edits);
    }
    for group in &mut plan.groups {
        group.after.sort_unstable();
    }
    plan
}

/// What moves from one unit to another, a VIP or an address, moves in one transaction.
fn join_movers(works: &[Work], sets: &mut Sets) {
    let mut leaving: HashMap<&Text, usize> = HashMap::new();
    for (at, work) in works.iter().enumerate() {
        for token in &work.gives {
            leaving.insert(token, at);
        }
    }
    if leaving.is_empty() {
        return;
    }
    for (at, work) in works.iter().enumerate() {
        for token in &work.takes {
            if let Some(from) = leaving.get(token).filter(|from| **from != at) {
                sets.join(at, *from);
            }
        }
    }
}

/// An Eip and the services behind it are written as one, wherever an address comes or goes: else the outside would be
/// led for a moment to where nobody balances.
fn join_owners(works: &[Work], sets: &mut Sets) {
    let mut owners: HashMap<&Text, usize> = HashMap::new();
    for (at, work) in works.iter().enumerate() {
        if matches!(work.unit, Unit::Eip(_)) {
            owners.extend(work.touches.iter().map(|address| (address, at)));
        }
    }
    if owners.is_empty() {
        return;
    }
    for (at, work) in works.iter().enumerate() {
        if matches!(work.unit, Unit::Service(_)) {
            for owner in work
                .touches
                .iter()
                .filter_map(|address| owners.get(address))
            {
                sets.join(at, *owner);
            }
        }
    }
}

/// What the rows will be when the unit's edits are done.
fn expect(work: &Work, group: &mut Group) {
    for edit in &work.edits {
        match edit {
            Edit::Insert {
                table,
                uuid,
                result,
                ..
            }
            | Edit::Update {
                table,
                uuid,
                result,
                ..
            } => {
                group.expects.push(ExpectedRow {
                    table,
                    uuid: *uuid,
                    fingerprint: Some(*result),
                });
            }
            Edit::Delete { table, uuid } | Edit::Drop { table, uuid } => {
                group.expects.push(ExpectedRow {
                    table,
                    uuid: *uuid,
                    fingerprint: None,
                });
            }
            Edit::Member {
                table,
                row,
                column,
                child,
                present,
            } => group.members.push(ExpectedMember {
                table,
                parent: *row,
                column,
                child: *child,
                present: *present,
            }),
        }
    }
}
