//! What ovn-northd has not acknowledged yet, and what has to wait for that.
//!
//! ovn-northd works on the changes between two snapshots of the Northbound. Where one of them shows a row that is deleted and
//! inserted again, some releases fail: northd 25.03 and 26.03 abort, or leave their Southbound silently wrong, when a
//! Load_Balancer comes back under the UUID it had; 26.03.0 and 26.03.1 abort when one switch (or router) goes and another
//! comes. So two rules hold for all rows, on every release:
//!
//! 1. A UUID, or a name that is unique in its table, is used again only after northd has acknowledged that the row which had it
//!    is gone. Rows that nothing else names come back under a fresh UUID at once ([`Renewal::Fresh`]); others wait
//!    ([`Renewal::Waits`]).
//! 2. A switch is inserted only when the deletions of all switches are acknowledged, and deleted only when the insertions
//!    are; routers likewise.
//!
//! northd acknowledges by `NB_Global.sb_cfg` (ovn-nb(5)): it is set to the `nb_cfg` of a snapshot once what follows from that
//! snapshot is in the Southbound. So a change is acknowledged when `sb_cfg` has reached an `nb_cfg` that was raised with
//! it or after it. What happened before this process looked is not known: it counts as unacknowledged until an `nb_cfg`
//! raised afterwards is reached.

use hashbrown::HashMap;
use ovsdb_model::{Batch, Database, Row, Table, Uuid};

use crate::nb::{self, LogicalRouter, LogicalSwitch, NbGlobal, Renewal, TableSpec, Text};

/// A value of `NB_Global.nb_cfg`: what waits for it may go on when `sb_cfg` has reached it.
pub(crate) type Target = i64;

/// So many deletions are remembered without anybody waiting for them before an acknowledgement is asked for.
const REMEMBERED: usize = 10_000;

/// The changes that northd has not acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Unacknowledged {
    nb_cfg: i64,
    sb_cfg: i64,
    /// The highest of either that was seen.
    ceiling: i64,
    /// Of what happened before this is acknowledged nothing is known.
    since: Target,
    /// How often that was so.
    era: u32,
    /// Rows that were deleted.
    gone: HashMap<Uuid, Target>,
    /// Unique names of rows that were deleted.
    names: HashMap<(&'static str, Text), Target>,
    switches: Turns,
    routers: Turns,
}

/// Rows of a table of which northd takes either the coming or the going at a time.
#[derive(Debug, Default)]
struct Turns {
    came: HashMap<Uuid, Target>,
    went: HashMap<Uuid, Target>,
}

impl Turns {
    fn forget(&mut self, reached: impl Fn(Target) -> bool) {
        self.came.retain(|_, target| !reached(*target));
        self.went.retain(|_, target| !reached(*target));
    }
}

fn latest(targets: &HashMap<Uuid, Target>) -> Option<Target> {
    targets.values().copied().max()
}

// === impl Unacknowledged ===

impl Unacknowledged {
    /// What happened up to now is not known.
    pub(crate) fn start_over(&mut self, database: &Database) {
        self.count(database);
        self.since = self.next();
        self.era += 1;
        self.gone.clear();
        self.names.clear();
        self.switches = Turns::default();
        self.routers = Turns::default();
    }

    /// Takes in what changed. Returns up to what northd has acknowledged, if that is more than before.
    pub(crate) fn observe(&mut self, batch: &Batch, database: &Database) -> Option<Target> {
        let counts = batch.of_table(NbGlobal::NAME).next().is_some();
        let (before, acknowledged) = (self.nb_cfg, self.sb_cfg);
        if counts {
            self.count(database);
        }
        if self.nb_cfg < before {
            // Another row counts now, from another beginning.
            self.start_over(database);
            return Some(Target::MAX);
        }
        // Whether the raise that came along was made in the transaction of these changes cannot be told from here.
        let target = self.next();
        if target <= self.sb_cfg {
            // Nothing can be raised beyond what is acknowledged.
            return None;
        }
        for change in &batch.changes {
            let Some(table) = nb::table(&change.table) else {
                continue;
            };
            match (&change.old, &change.new) {
                (Some(old), None) => {
                    self.gone.insert(change.uuid, target);
                    if let Some(name) = unique_name(table, old) {
                        self.names.insert((table.name, name), target);
                    }
                    if let Some(turns) = self.turns(table) {
                        turns.came.remove(&change.uuid);
                        turns.went.insert(change.uuid, target);
                    }
                }
                (None, Some(_)) => {
                    if let Some(turns) = self.turns(table) {
                        turns.came.insert(change.uuid, target);
                    }
                }
                _ => {}
            }
        }
        let progress = self.sb_cfg > acknowledged;
        if progress {
            let reached = self.sb_cfg;
            let reached = |target| target <= reached;
            self.gone.retain(|_, target| !reached(*target));
            self.names.retain(|_, target| !reached(*target));
            self.switches.forget(reached);
            self.routers.forget(reached);
        }
        progress.then_some(self.sb_cfg)
    }

    /// These rows came or went in the transaction that raised `nb_cfg` to `raised`: its acknowledgement is theirs.
    pub(crate) fn raised_with<'a>(
        &mut self,
        rows: impl IntoIterator<Item = (&'static TableSpec, &'a Uuid)>,
        raised: Target,
    ) {
        let exact = |target: &mut Target| {
            if *target == raised.saturating_add(1) {
                *target = raised;
            }
        };
        for (table, uuid) in rows {
            self.gone.get_mut(uuid).map(exact);
            if let Some(turns) = self.turns(table) {
                turns.came.get_mut(uuid).map(exact);
                turns.went.get_mut(uuid).map(exact);
            }
        }
    }

    fn count(&mut self, database: &Database) {
        (self.nb_cfg, self.sb_cfg) = counters(database).unwrap_or_default();
        self.ceiling = self.ceiling.max(self.nb_cfg).max(self.sb_cfg);
    }

    fn turns(&mut self, table: &TableSpec) -> Option<&mut Turns> {
        match table.name {
            LogicalSwitch::NAME => Some(&mut self.switches),
            LogicalRouter::NAME => Some(&mut self.routers),
            _ => None,
        }
    }

    fn turns_of(&self, table: &TableSpec) -> Option<&Turns> {
        match table.name {
            LogicalSwitch::NAME => Some(&self.switches),
            LogicalRouter::NAME => Some(&self.routers),
            _ => None,
        }
    }

    /// What has to be acknowledged before it is known what was.
    pub(crate) fn beginning(&self) -> Option<Target> {
        (self.sb_cfg < self.since).then_some(self.since)
    }

    /// Whether no row had this UUID of which northd might not know that it is gone.
    pub(crate) fn is_free(&self, uuid: Uuid) -> bool {
        self.beginning().is_none() && !self.gone.contains_key(&uuid)
    }

    /// A UUID that no row ever had, for the row whose own is `uuid`. `salt` is this process's own.
    pub(crate) fn fresh(&self, uuid: Uuid, salt: Uuid, exists: impl Fn(Uuid) -> bool) -> Uuid {
        let mut turn: u32 = 0;
        loop {
            let mut text = [0; 40];
            text[..16].copy_from_slice(uuid.as_bytes());
            text[16..32].copy_from_slice(salt.as_bytes());
            text[32..36].copy_from_slice(&self.era.to_be_bytes());
            text[36..].copy_from_slice(&turn.to_be_bytes());
            let fresh = Uuid::new_v5(&uuid, &text);
            if !self.gone.contains_key(&fresh) && !exists(fresh) {
                return fresh;
            }
            turn += 1;
        }
    }

    /// What the insertion of this row has to wait for.
    pub(crate) fn insertion(&self, table: &TableSpec, uuid: Uuid, row: &Row) -> Option<Target> {
        if table.renewal == Renewal::Fresh {
            return None;
        }
        let name = unique_name(table, row);
        let name = name.and_then(|name| self.names.get(&(table.name, name)));
        let others = self.turns_of(table).and_then(|turns| latest(&turns.went));
        let waits = [self.gone.get(&uuid), name, others.as_ref()];
        let waits = waits.into_iter().flatten().copied();
        waits.chain(self.beginning()).max()
    }

    /// What the deletion of a row of this table has to wait for.
    pub(crate) fn deletion(&self, table: &TableSpec) -> Option<Target> {
        let turns = self.turns_of(table)?;
        latest(&turns.came).max(self.beginning())
    }

    /// What acknowledges all that has happened up to now.
    pub(crate) fn next(&self) -> Target {
        self.ceiling.saturating_add(1)
    }

    /// Whether `nb_cfg` has to be raised before northd can acknowledge this.
    pub(crate) fn lacks_raise(&self, target: Target) -> bool {
        self.nb_cfg < target
    }

    /// Whether so much is remembered that it is time for an acknowledgement, though nobody waits for one.
    pub(crate) fn is_long(&self) -> bool {
        self.gone.len() > REMEMBERED
    }

    /// `nb_cfg` and `sb_cfg`.
    pub(crate) fn counters(&self) -> (i64, i64) {
        (self.nb_cfg, self.sb_cfg)
    }
}

fn counters(database: &Database) -> Option<(i64, i64)> {
    let (_, row) = database.rows(NbGlobal::NAME).next()?;
    let integer = |column| row.get_integer(column).unwrap_or_default();
    Some((integer("nb_cfg"), integer("sb_cfg")))
}

/// The row's name, where it is unique in its table.
fn unique_name(table: &TableSpec, row: &Row) -> Option<Text> {
    let unique = table.renewal == Renewal::Waits { unique_name: true };
    unique.then(|| row.get_str("name").map(Text::new)).flatten()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ovsdb_model::RowChange;

    use super::*;
    use crate::nb::{LoadBalancer, LogicalSwitchPort};

    fn counting(database: &mut Database, nb_cfg: i64, sb_cfg: i64) -> Batch {
        let row = Row::new().with("nb_cfg", nb_cfg).with("sb_cfg", sb_cfg);
        database.set_rows([(NbGlobal::NAME.into(), Uuid::from_u128(1), Some(row))])
    }

    fn change(table: &'static str, uuid: u128, here: bool) -> Batch {
        let row = Some(Arc::new(Row::new().with("name", "a")));
        let (old, new) = if here { (None, row) } else { (row, None) };
        Batch {
            changes: vec![RowChange {
                table: table.into(),
                uuid: Uuid::from_u128(uuid),
                old,
                new,
            }],
        }
    }

    fn spec(name: &str) -> &'static TableSpec {
        nb::table(name).unwrap()
    }

    fn known() -> (Unacknowledged, Database) {
        let (mut northd, mut database) = (Unacknowledged::default(), Database::new());
        counting(&mut database, 3, 3);
        northd.start_over(&database);
        let batch = counting(&mut database, 4, 4);
        assert_eq!(northd.observe(&batch, &database), Some(4));
        (northd, database)
    }

    #[test]
    fn what_went_before_the_start_is_unknown_until_one_acknowledgement() {
        let (mut northd, mut database) = (Unacknowledged::default(), Database::new());
        counting(&mut database, 3, 3);
        northd.start_over(&database);
        let port = spec(LogicalSwitchPort::NAME);
        let id = Uuid::from_u128(7);
        assert!(!northd.is_free(id));
        assert_eq!(northd.insertion(port, id, &Row::new()), Some(4));
        assert_eq!(northd.deletion(spec(LogicalSwitch::NAME)), Some(4));
        assert_eq!(
            northd.deletion(port),
            None,
            "ports come and go in any order"
        );
        assert!(northd.lacks_raise(4));
        let batch = counting(&mut database, 4, 3);
        assert_eq!(northd.observe(&batch, &database), None);
        assert!(!northd.lacks_raise(4));
        let batch = counting(&mut database, 4, 4);
        assert_eq!(northd.observe(&batch, &database), Some(4));
        assert!(northd.is_free(id));
        assert_eq!(northd.insertion(port, id, &Row::new()), None);
    }

    #[test]
    fn a_deletion_is_acknowledged_by_a_raise_made_with_it_or_after_it() {
        let (mut northd, mut database) = known();
        let id = Uuid::from_u128(7);
        northd.observe(&change(LoadBalancer::NAME, 7, false), &database);
        assert!(!northd.is_free(id));
        // A raise that came later.
        let batch = counting(&mut database, 5, 4);
        northd.observe(&batch, &database);
        let batch = counting(&mut database, 5, 5);
        northd.observe(&batch, &database);
        assert!(northd.is_free(id));
        // One that came with it.
        let mut batch = counting(&mut database, 6, 5);
        batch
            .changes
            .extend(change(LoadBalancer::NAME, 7, false).changes);
        northd.observe(&batch, &database);
        northd.raised_with([(spec(LoadBalancer::NAME), &id)], 6);
        let batch = counting(&mut database, 6, 6);
        northd.observe(&batch, &database);
        assert!(northd.is_free(id));
    }

    #[test]
    fn a_unique_name_waits_as_a_uuid_does() {
        let (mut northd, database) = known();
        northd.observe(&change(LogicalSwitchPort::NAME, 7, false), &database);
        let (port, other) = (spec(LogicalSwitchPort::NAME), Uuid::from_u128(8));
        let named = Row::new().with("name", "a");
        assert_eq!(northd.insertion(port, other, &named), Some(5));
        assert_eq!(
            northd.insertion(port, other, &Row::new().with("name", "b")),
            None
        );
        // A load balancer's name is for people.
        assert_eq!(
            northd.insertion(spec(LoadBalancer::NAME), other, &named),
            None
        );
    }

    #[test]
    fn switches_come_or_go() {
        let (mut northd, mut database) = known();
        let (switch, router) = (spec(LogicalSwitch::NAME), spec(LogicalRouter::NAME));
        let other = Uuid::from_u128(8);
        northd.observe(&change(LogicalSwitch::NAME, 7, true), &database);
        assert_eq!(northd.deletion(switch), Some(5));
        assert_eq!(northd.deletion(router), None);
        assert_eq!(northd.insertion(switch, other, &Row::new()), None);
        northd.observe(&change(LogicalSwitch::NAME, 7, false), &database);
        assert_eq!(northd.deletion(switch), None);
        assert_eq!(northd.insertion(switch, other, &Row::new()), Some(5));
        let batch = counting(&mut database, 5, 5);
        northd.observe(&batch, &database);
        assert_eq!(northd.insertion(switch, other, &Row::new()), None);
    }

    #[test]
    fn a_fresh_uuid_was_never_used() {
        let (mut northd, database) = known();
        let (own, salt) = (Uuid::from_u128(7), Uuid::from_u128(99));
        let first = northd.fresh(own, salt, |_| false);
        assert_ne!(first, own);
        assert_ne!(northd.fresh(own, salt, |uuid| uuid == first), first);
        northd.observe(
            &change(LoadBalancer::NAME, first.as_u128(), false),
            &database,
        );
        assert_ne!(northd.fresh(own, salt, |_| false), first);
        assert_ne!(
            northd.fresh(own, Uuid::from_u128(98), |_| false),
            first,
            "another process"
        );
        northd.start_over(&database);
        assert_ne!(northd.fresh(own, salt, |_| false), first, "another era");
    }

    #[test]
    fn a_counter_that_begins_anew_is_a_new_start() {
        let (mut northd, mut database) = known();
        let batch = counting(&mut database, 0, 0);
        assert_eq!(northd.observe(&batch, &database), Some(Target::MAX));
        assert!(!northd.is_free(Uuid::from_u128(7)));
        assert_eq!(
            northd.deletion(spec(LogicalSwitch::NAME)),
            Some(5),
            "beyond what was seen"
        );
    }
}
