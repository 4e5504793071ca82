//! What the Northbound says: rows to adopt, rows that changed behind our back, rows whose object is gone.

use ovsdb_model::{Atom, Batch, Database, Datum, Row, RowChange, Table, Uuid};

use super::Inventory;
use crate::family::Family;
use crate::name::Name;
use crate::nb::{
    self, Class, LoadBalancer, LogicalRouter, LogicalSwitch, LogicalSwitchPort, NbGlobal,
};
use crate::plan::{Group, Plan, fingerprint};
use crate::unit::{Kind, Unit};

use super::parse::{self, Problem};

/// How many services the Northbound has rows of, and how many of those have no object any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Census {
    /// Services of ours with rows.
    pub services: usize,
    /// Those of them that no source knows.
    pub gone: usize,
}

/// True if so many of the services there were are gone that it looks like an accident: more than half of at least ten.
/// Then nothing is deleted before somebody allowed it. For a relist or a rescan `services` is what memory had, after a
/// restart what the Northbound has.
pub fn mass_deletion(services: usize, gone: usize) -> bool {
    services >= 10 && gone > services / 2
}

impl Inventory {
    /// Takes in the whole Northbound, when every source has answered in full and the replica is there, and again when the
    /// replica was resynchronised: finds what Vpcs and Subnets adopt, and queues every unit. Rows without an object are
    /// not touched until [`Inventory::sweep`].
    pub fn load(&mut self, database: &Database) {
        self.expected.clear();
        self.expected_members.clear();
        self.northd.start_over(database);
        self.forget_awaiting();
        for (table, routers) in [(LogicalRouter::NAME, true), (LogicalSwitch::NAME, false)] {
            let known: Vec<Uuid> = self.strangers(routers).uuids().collect();
            for uuid in known.into_iter().filter(|uuid| !database.has(table, *uuid)) {
                self.strangers(routers).note(uuid, None);
            }
            for (uuid, row) in database.rows(table) {
                let name = self.foreign_name(table, &row).map(str::to_owned);
                self.strangers(routers).note(uuid, name.as_deref());
            }
        }
        self.ahead.clear();
        self.loaded = true;
        self.all_dirty = true;
        self.swept = false;
        self.load_outside(database);
        self.find_ghosts(database);
        self.to_assess.extend(self.vpcs.keys().cloned());
        self.to_assess.extend(self.subnets_of.keys().cloned());
        let vpcs: Vec<Unit> = self
            .vpcs
            .keys()
            .map(|name| Unit::Vpc(name.clone()))
            .collect();
        let subnets = self.subnets.keys().map(|name| Unit::Subnet(name.clone()));
        let buckets = self
            .buckets
            .keys()
            .map(|(vpc, bucket)| Unit::Dns(vpc.clone(), *bucket));
        let mut rest: Vec<(i64, Unit)> = Vec::new();
        rest.extend(
            self.workloads
                .iter()
                .filter_map(|(_, w)| Some((w.header.created, w.unit()?))),
        );
        rest.extend(
            self.services
                .iter()
                .map(|(name, s)| (s.header.created, Unit::Service(name.clone()))),
        );
        rest.sort_unstable();
        for unit in vpcs
            .into_iter()
            .chain(subnets)
            .chain(buckets)
            .collect::<Vec<_>>()
        {
            self.dirty.add(unit);
        }
        for (created, unit) in rest {
            self.dirty.add(unit.clone());
            self.pending.insert((created, unit));
        }
    }

    fn strangers(&mut self, routers: bool) -> &mut super::Strangers {
        if routers {
            &mut self.routers
        } else {
            &mut self.switches
        }
    }

    /// The name of a row that is not ours.
    fn foreign_name<'a>(&self, table: &str, row: &'a Row) -> Option<&'a str> {
        if nb::unit_of(&self.config.owner, table, row).is_some() {
            None
        } else {
            row.get_str("name")
        }
    }

    /// How many services' rows have lost their object: what decides whether [`Inventory::sweep`] may be called.
    pub fn census(&self, database: &Database) -> Census {
        let mut census = Census::default();
        for key in database.keys(LoadBalancer::NAME, nb::BY_UNIT) {
            if let Unit::Service(name) = Unit::parse(key.as_str().unwrap_or_default()) {
                census.services += 1;
                census.gone += usize::from(!self.services.contains_key(&name));
            }
        }
        census
    }

    /// Queues the units of rows that carry our name and whose object is gone. Returns how many there are. Call it once all
    /// sources have answered in full, and only if [`mass_deletion`] of the [`Inventory::census`] is false or was allowed.
    pub fn sweep(&mut self, database: &Database) -> usize {
        self.swept = true;
        let mut orphans = Vec::new();
        for table in nb::TABLES {
            for key in database.keys(table.name, nb::BY_UNIT) {
                let unit = Unit::parse(key.as_str().unwrap_or_default());
                if !self.exists(&unit) {
                    orphans.push(unit);
                }
            }
        }
        orphans.sort_unstable();
        orphans.dedup();
        let count = orphans.len();
        for unit in orphans {
            self.lay(&unit);
            self.dirty.add(unit);
        }
        count
    }

    /// True if the unit's object is there.
    pub(crate) fn exists(&self, unit: &Unit) -> bool {
        match unit {
            Unit::Vpc(name) => self.vpcs.contains_key(name),
            Unit::Subnet(name) => self.subnets.contains_key(name),
            Unit::Dns(vpc, bucket) => self.buckets.contains_key(&(vpc.clone(), *bucket)),
            Unit::Pod(name) => self.workloads.find(Kind::Pod, name).is_some(),
            Unit::VNic(name) => self.workloads.find(Kind::VNic, name).is_some(),
            Unit::Service(name) => self.services.contains_key(name),
            Unit::EipGateway(name) | Unit::ServiceGateway(name) => self.gateways.contains_key(name),
            Unit::Eip(name) => self.eips.contains_key(name),
            Unit::Calls(vpc) => self.vpcs.contains_key(vpc),
            Unit::Global => true,
            Unit::Other(_) => false,
        }
    }

    /// Takes in what changed in the Northbound: whatever of ours was edited, deleted or taken from (or put into) a column
    /// it shares becomes dirty. `database` is the replica after the batch.
    pub fn observe(&mut self, batch: &Batch, database: &Database) {
        for unit in std::mem::take(&mut self.ahead) {
            self.dirty.add(unit);
        }
        if let Some(reached) = self.northd.observe(batch, database) {
            self.release(reached);
        }
        for change in &batch.changes {
            let Some(spec) = nb::table(&change.table) else {
                continue;
            };
            let print = |row| fingerprint(&self.config.owner, spec, row);
            let before = change.old.as_deref().map(print);
            let now = change.new.as_deref().map(print);
            // Members and what OVN writes are not the row's own to say.
            if before != now {
                self.labels_seen(spec, change);
            }
            if before != now && self.expected.get(&change.uuid) != Some(&now) {
                for row in [&change.old, &change.new].into_iter().flatten() {
                    if let Some(unit) = nb::unit_of(&self.config.owner, spec.name, row) {
                        self.seen(unit);
                    }
                }
            }
            for (column, class) in spec.columns {
                if *class == Class::Members {
                    self.members_seen(spec.name, column, change, database);
                }
            }
            match spec.name {
                LogicalRouter::NAME => self.stranger_seen(true, change),
                LogicalSwitch::NAME => self.stranger_seen(false, change),
                LogicalSwitchPort::NAME => self.port_seen(change),
                NbGlobal::NAME => self.global_seen(change),
                _ => {}
            }
        }
    }

    /// Remembers whose a row was whose labels were taken off.
    fn labels_seen(&mut self, spec: &'static nb::TableSpec, change: &RowChange) {
        let (Some(old), Some(new)) = (&change.old, &change.new) else {
            self.disowned.remove(change.uuid);
            return;
        };
        let unit = |row| nb::unit_of(&self.config.owner, spec.name, row);
        match (unit(old), unit(new)) {
            (Some(was), None) => self.disowned.add(spec, change.uuid, was),
            (_, Some(_)) => self.disowned.remove(change.uuid),
            (None, None) => {}
        }
    }

    /// The rows of a unit whose labels somebody took off.
    pub(crate) fn disowned(&self, unit: &Unit) -> &[(&'static nb::TableSpec, Uuid)] {
        self.disowned.of(unit)
    }

    fn seen(&mut self, unit: Unit) {
        if self.swept || self.exists(&unit) {
            self.dirty.add(unit);
        }
    }

    /// Rows that left or joined a column they share with others' rows.
    fn members_seen(&mut self, table: &str, column: &str, change: &RowChange, database: &Database) {
        let [old, new] = [&change.old, &change.new].map(|row| {
            let datum = row.as_ref().and_then(|row| row.get(column));
            datum.map(Datum::elements).unwrap_or_default()
        });
        if old == new {
            return;
        }
        let child = nb::TABLES.iter().find(|spec| {
            spec.referrers
                .iter()
                .any(|(t, c)| *t == table && *c == column)
        });
        let Some(child) = child else { return };
        for uuid in difference(old, new).into_iter().filter_map(Atom::as_uuid) {
            if self.expected_members.contains(&(change.uuid, uuid)) {
                continue;
            }
            let row = database.row(child.name, uuid);
            if let Some(unit) =
                row.and_then(|row| nb::unit_of(&self.config.owner, child.name, &row))
            {
                self.seen(unit);
            }
        }
    }

    fn stranger_seen(&mut self, routers: bool, change: &RowChange) {
        let name = change
            .new
            .as_deref()
            .and_then(|row| self.foreign_name(&change.table, row))
            .map(str::to_owned);
        let old = self.strangers(routers).name(change.uuid).cloned();
        if !self.strangers(routers).note(change.uuid, name.as_deref()) {
            return;
        }
        let uuid = change.uuid.to_string();
        let meant = |adopts: &Option<Name>| {
            adopts.as_deref().is_some_and(|text| {
                text == uuid || Some(text) == name.as_deref() || Some(text) == old.as_deref()
            })
        };
        let concerns = if routers {
            self.vpcs.values().any(|vpc| meant(&vpc.adopts))
        } else {
            self.subnets.values().any(|subnet| meant(&subnet.adopts))
        };
        if concerns {
            self.adopters_changed(routers);
        }
    }

    /// Who adopts what may be different: whoever adopts anything is judged again, for one's loss is another's gain.
    pub(super) fn adopters_changed(&mut self, routers: bool) {
        if !self.loaded {
            // Everything is judged once the Northbound is known.
            return;
        }
        if routers {
            let vpcs = self.vpcs.iter().filter(|(_, vpc)| vpc.adopts.is_some());
            self.to_assess.extend(vpcs.map(|(name, _)| name.clone()));
        } else {
            let subnets = self.subnets.values();
            let adopters = subnets.filter(|subnet| subnet.adopts.is_some());
            self.to_assess
                .extend(adopters.map(|subnet| subnet.vpc.clone()));
        }
    }

    /// Whether a VNic's port is up is part of its status.
    fn port_seen(&mut self, change: &RowChange) {
        let Some(row) = &change.new else { return };
        let Some(unit @ Unit::VNic(_)) =
            nb::unit_of(&self.config.owner, LogicalSwitchPort::NAME, row)
        else {
            return;
        };
        let up = row.get_bool("up").unwrap_or(false);
        if self.ids.port(&unit) == change.uuid
            && let Some((id, workload)) = self.workloads.of_unit(&unit)
            && workload.up != up
        {
            if let Some(workload) = self.workloads.get_mut(id) {
                workload.up = up;
            }
            self.dirty.add(unit);
        }
    }

    /// Notes what is about to be written, so that seeing it come true makes nothing dirty. Without it what was
    /// written is looked at once more. Units that were planned against a replica which is ahead of what was observed are
    /// looked at again when the inventory has caught up.
    pub fn planned(&mut self, plan: &Plan) {
        self.ahead.extend(plan.ahead.iter().cloned());
        self.hold_planned(plan);
        for group in &plan.groups {
            for row in &group.expects {
                self.expected.insert(row.uuid, row.fingerprint);
            }
            self.expected_members.extend(
                group
                    .members
                    .iter()
                    .map(|member| (member.parent, member.child)),
            );
        }
    }

    /// The groups' transaction was committed and the replica has its changes. Call it after [`Inventory::observe`] has
    /// been given all batches up to now: whatever is not as it was written (somebody was quicker, and the replica told
    /// of both changes as one or as none) is queued again. `raised` is what their transaction raised `NB_Global.nb_cfg`
    /// to, if it did.
    pub fn committed<'a>(
        &mut self,
        groups: impl IntoIterator<Item = &'a Group>,
        raised: Option<i64>,
        database: &Database,
    ) {
        for group in groups {
            if let Some(raised) = raised {
                let rows = group.expects.iter().map(|row| (row.table, &row.uuid));
                self.northd.raised_with(rows, raised);
            }
            let rows = group.expects.iter().all(|row| {
                let now = database
                    .row(row.table.name, row.uuid)
                    .map(|there| fingerprint(&self.config.owner, row.table, &there));
                now == row.fingerprint
            });
            let members = group.members.iter().all(|member| {
                let parent = database.row(member.table, member.parent);
                let column = parent.as_ref().and_then(|row| row.get(member.column));
                column.is_some_and(|column| column.contains(&Atom::Uuid(member.child)))
                    == member.present
            });
            self.lost(group);
            if !(rows && members) {
                self.put_back(&group.units);
            }
        }
    }

    /// What the group was to make of its rows is not expected any more: it was not written, or perhaps, or it is done.
    pub fn lost(&mut self, group: &Group) {
        for row in &group.expects {
            self.expected.remove(&row.uuid);
        }
        for member in &group.members {
            self.expected_members.remove(&(member.parent, member.child));
        }
    }

    /// Judges a Vpc and its Subnets: what they adopt, whose ranges overlap.
    pub(super) fn assess(&mut self, name: &Name) {
        let mut moved = false;
        if let Some(vpc) = self.vpcs.get(name) {
            let found = match &vpc.adopts {
                None => Ok(self.ids.router(name)),
                Some(text) => self.routers.find("Logical_Router", text).and_then(|uuid| {
                    let rank = (vpc.header.created, name);
                    let adopters = self.vpcs.iter().filter(|(_, entry)| {
                        entry.adopts.as_deref().is_some_and(|text| self.routers.find("", text) == Ok(uuid))
                    });
                    let oldest = adopters.map(|(other, entry)| (entry.header.created, other)).min();
                    match oldest.filter(|oldest| *oldest < rank) {
                        Some((_, other)) => Err(Problem::new(
                            "RouterConflict",
                            format!("the older Vpc {other} has adopted Logical_Router {text}; adopt another, or remove one of the two"),
                        )),
                        None => Ok(uuid),
                    }
                }),
            };
            let router = found.as_ref().ok().copied();
            let problem = found.err().or_else(|| vpc.invalid.clone());
            moved = vpc.router != router;
            if moved || vpc.problem != problem {
                self.dirty.add(Unit::Vpc(name.clone()));
            }
            if let Some(vpc) = self.vpcs.get_mut(name) {
                vpc.problem = problem;
                vpc.router = router;
            }
            if moved {
                // Whether there is a way to it, from outside and from other VPCs.
                self.join_changed(name);
            }
        }
        let mut subnets: Vec<Name> = self
            .subnets_of
            .get(name)
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        subnets.sort_by_key(|subnet| self.subnets.get(subnet).map(|entry| entry.header.created));
        // Ranges of the Subnets accepted so far: last address to first address and name.
        let mut accepted: std::collections::BTreeMap<(Family, u128), (u128, Name)> =
            std::collections::BTreeMap::new();
        let (mut switches_differ, mut defaults_differ) = (false, false);
        for subnet in &subnets {
            let Some(entry) = self.subnets.get(subnet) else {
                continue;
            };
            let switch = match &entry.adopts {
                None => Ok(self.ids.switch(subnet)),
                Some(text) => self.adopted_switch(subnet, text),
            };
            let mut problem = switch.as_ref().err().cloned();
            match self.vpcs.get(name) {
                None => {
                    problem = Some(Problem::new(
                        "VpcNotFound",
                        format!("there is no Vpc {name}; create it, or correct spec.vpc"),
                    ));
                }
                Some(vpc) => {
                    for net in &entry.cidrs {
                        if let Some(own) = self.config.ranges.overlapped_by(*net) {
                            problem.get_or_insert(Problem::new(
                                super::topology::CIDR_CONFLICT,
                                format!("{net} overlaps {own}, which the system uses for itself; choose another range"),
                            ));
                        }
                        if let Some(range) =
                            vpc.cidrs.iter().find(|range| parse::overlap(**range, *net))
                        {
                            problem.get_or_insert(Problem::new(
                                super::topology::CIDR_CONFLICT,
                                format!("{net} overlaps {range}, a serviceCIDR of Vpc {name}; choose another range"),
                            ));
                        }
                    }
                }
            }
            let spans: Vec<(Family, u128, u128)> = entry
                .cidrs
                .iter()
                .map(|net| {
                    let ends = (
                        super::ipam::pool::number(net.network()),
                        super::ipam::pool::number(net.broadcast()),
                    );
                    (Family::of(net.addr()), ends.0, ends.1)
                })
                .collect();
            for (family, first, last) in &spans {
                let above = accepted.range((*family, *first)..).next();
                if let Some(((found, _), (start, other))) = above
                    && found == family
                    && start <= last
                {
                    problem.get_or_insert(Problem::new(
                        super::topology::CIDR_CONFLICT,
                        format!("its range overlaps that of the older Subnet {other} in the same Vpc; choose another range"),
                    ));
                }
            }
            if entry.cidrs.is_empty() && entry.adopts.is_none() && problem.is_none() {
                problem = entry
                    .invalid
                    .clone()
                    .or_else(|| Some(Problem::invalid("spec.cidrs has no usable range")));
            }
            if problem.is_none() {
                for (family, first, last) in spans {
                    accepted.insert((family, last), (first, subnet.clone()));
                }
            }
            let switch = switch.ok();
            let differs = entry.problem != problem || entry.switch != switch;
            if differs {
                switches_differ |=
                    entry.switch != switch || entry.problem.is_some() != problem.is_some();
                if let Some(entry) = self.subnets.get_mut(subnet) {
                    entry.problem = problem;
                    entry.switch = switch;
                }
                self.members_changed(subnet);
                self.defaults.clear();
                defaults_differ = true;
            }
            if differs || moved {
                self.dirty.add(Unit::Subnet(subnet.clone()));
            }
        }
        if defaults_differ {
            self.unattached_changed();
        }
        if switches_differ {
            // Its group and its names are for all its switches.
            self.dirty.add(Unit::Vpc(name.clone()));
            self.buckets_changed(name);
        }
    }

    fn adopted_switch(&self, subnet: &Name, text: &str) -> Result<Uuid, Problem> {
        let uuid = self.switches.find("Logical_Switch", text)?;
        let adopters = self.subnets.iter().filter(|(_, entry)| {
            let adopts = entry.adopts.as_deref();
            adopts.is_some_and(|text| self.switches.find("", text) == Ok(uuid))
        });
        let oldest = adopters.map(|(other, entry)| (entry.header.created, other));
        match oldest.min().filter(|(_, oldest)| *oldest != subnet) {
            Some((_, other)) => Err(Problem::new(
                "SwitchConflict",
                format!(
                    "the older Subnet {other} has adopted Logical_Switch {text}; adopt another, or remove one of the two"
                ),
            )),
            None => Ok(uuid),
        }
    }
}

/// The elements of two sorted lists that are in only one of them.
fn difference<'a, T: Ord>(a: &'a [T], b: &'a [T]) -> Vec<&'a T> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let mut only = Vec::new();
    loop {
        match (a.peek(), b.peek()) {
            (Some(x), Some(y)) if x == y => {
                a.next();
                b.next();
            }
            (Some(x), Some(y)) => only.extend(if x < y { a.next() } else { b.next() }),
            (Some(_), None) => only.extend(a.next()),
            (None, Some(_)) => only.extend(b.next()),
            (None, None) => return only,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_half_of_at_least_ten() {
        assert!(!mass_deletion(0, 0));
        assert!(!mass_deletion(9, 9), "fewer than ten");
        assert!(!mass_deletion(10, 5), "half is not more than half");
        assert!(mass_deletion(10, 6));
        assert!(!mass_deletion(11, 5));
        assert!(mass_deletion(11, 6));
    }

    #[test]
    fn differences() {
        assert_eq!(difference(&[1, 2, 4], &[2, 3]), [&1, &3, &4]);
    }
}
