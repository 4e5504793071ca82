//! The plan: the difference between the rows some units want and the rows that are there, in groups that can be written
//! one after the other.

mod ahead;
mod diff;
mod hold;
mod operations;
mod order;
mod renewal;

use hashbrown::{HashMap, HashSet};
use ovsdb_model::{Database, Uuid};

use crate::desired::{DesiredRow, desired};
use crate::inventory::Inventory;
use crate::nb::{TableSpec, Text};
use crate::unit::Unit;
use crate::verdict::Verdict;

pub(crate) use diff::fingerprint;
pub use operations::operations;

use diff::Edit;

/// What to write for some units, and what to say about them.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Groups of units in the order they are to be written: first what is withdrawn, then what others rest on, then
    /// those others. Any run of groups may share a transaction; a group is never split. Empty: nothing to write.
    pub groups: Vec<Group>,
    /// Verdicts on units that have nothing to write (what they want is there), or that wait for something.
    pub verdicts: Vec<Verdict>,
    /// Units whose rows have to wait until ovn-northd has acknowledged earlier changes: they are queued again by
    /// [`Inventory::observe`] when it has.
    pub held: Vec<Held>,
    /// Units that rest on rows of others which the inventory knows and the replica has no more: the news is on its way.
    pub(crate) ahead: Vec<Unit>,
}

/// Units whose operations belong in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// The units.
    pub units: Vec<Unit>,
    /// Groups of the plan (by position, all smaller than this one's) that insert rows this one refers to: if one of them
    /// fails, leave this one out as well, and put its units back later.
    pub after: Vec<usize>,
    /// The verdicts on its units, true once it is committed.
    pub verdicts: Vec<Verdict>,
    /// Where the first of its units was among those to be planned.
    pub(crate) first: usize,
    pub(crate) edits: Vec<Edit>,
    pub(crate) expects: Vec<ExpectedRow>,
    pub(crate) members: Vec<ExpectedMember>,
}

/// A unit that waits for ovn-northd.
#[derive(Clone, Debug)]
pub struct Held {
    /// The unit.
    pub unit: Unit,
    /// The value that `NB_Global.sb_cfg` has to reach.
    pub target: i64,
    /// What there will be to say of it; nothing where only the removal of a row waits.
    pub verdict: Option<Verdict>,
    /// It waits to insert or delete switches or routers.
    pub(crate) turn: bool,
}

/// A row as it will be.
#[derive(Clone, Debug)]
pub(crate) struct ExpectedRow {
    pub(crate) table: &'static TableSpec,
    pub(crate) uuid: Uuid,
    /// `None`: it will not be there.
    pub(crate) fingerprint: Option<u64>,
}

/// A reference as it will be.
#[derive(Clone, Debug)]
pub(crate) struct ExpectedMember {
    pub(crate) table: &'static str,
    pub(crate) parent: Uuid,
    pub(crate) column: &'static str,
    pub(crate) child: Uuid,
    pub(crate) present: bool,
}

impl Plan {
    /// True if there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

impl Group {
    /// How many changes of rows it has: the measure by which transactions are bounded.
    pub fn size(&self) -> usize {
        self.edits.len()
    }
}

/// One unit on its way through the planner.
struct Work {
    unit: Unit,
    rows: Vec<DesiredRow>,
    /// It wants no rows.
    leaves: bool,
    verdict: Verdict,
    edits: Vec<Edit>,
    /// Units of this plan that must be written first, or with it.
    needs: Vec<usize>,
    waits: bool,
    /// What it waits for is a row of others that the inventory believes to be there.
    ahead: bool,
    /// What only one unit has at a time (VIPs, addresses) and this one gives up, or takes.
    gives: Vec<Text>,
    takes: Vec<Text>,
    /// Addresses that its rows begin to serve, or cease to.
    touches: Vec<Text>,
}

/// Compares what the units want with what is there. A unit that rests on rows which are missing brings the unit that
/// makes them along.
pub fn plan(units: &[Unit], inventory: &Inventory, database: &Database) -> Plan {
    let mut works: Vec<Work> = Vec::with_capacity(units.len());
    let mut positions: HashMap<Unit, usize> = HashMap::with_capacity(units.len());
    let mut queue: Vec<Unit> = units.iter().rev().cloned().collect();
    while let Some(unit) = queue.pop() {
        if positions.contains_key(&unit) {
            continue;
        }
        let (mut rows, verdict) = desired(&unit, inventory);
        renewal::place(&unit, &mut rows, inventory, database);
        let referrers = rows.iter().flat_map(|row| &row.referrers);
        let referrers = referrers
            .filter_map(|referrer| Some((referrer.table, referrer.row, referrer.maker.as_ref()?)));
        let supports = rows.iter().filter_map(|row| row.rests_on.as_ref());
        let supports = supports.map(|support| (support.table, support.row, &support.maker));
        for (table, row, maker) in referrers.chain(supports) {
            if *maker != unit && !positions.contains_key(maker) && !database.has(table, row) {
                queue.push(maker.clone());
            }
        }
        positions.insert(unit.clone(), works.len());
        works.push(Work {
            unit,
            leaves: rows.is_empty(),
            rows,
            verdict,
            edits: Vec::new(),
            needs: Vec::new(),
            waits: false,
            ahead: false,
            gives: Vec::new(),
            takes: Vec::new(),
            touches: Vec::new(),
        });
    }

    // Whoever wants a row has it, whatever the row's labels say: somebody may have edited them.
    let wanted: HashSet<Uuid> = works
        .iter()
        .flat_map(|work| &work.rows)
        .map(|row| row.uuid)
        .collect();
    let mut inserted: HashMap<Uuid, usize> = HashMap::new();
    for (at, work) in works.iter().enumerate() {
        for row in &work.rows {
            if !database.has(row.table.name, row.uuid) {
                inserted.insert(row.uuid, at);
            }
        }
    }
    for at in 0..works.len() {
        diff::unit(at, &mut works, &wanted, &inserted, inventory, database);
    }
    let mut plan = order::groups(works);
    if inventory.config().northd.is_some() {
        hold::hold(&mut plan, inventory);
    }
    plan
}
