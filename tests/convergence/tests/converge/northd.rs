//! What ovn-northd sees of a history: snapshot after snapshot, and what the planner wants to write meanwhile. It says where a
//! release of northd would fail (docs/architecture.md, "Rows that come back").

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ovsdb_model::{Batch, Mutation, Mutator, Operation, Row, Uuid};
use serde_json::{Value, json};
use yusur_testbed::process::PATIENCE;
use yusur_testbed::release::Release;

use crate::northbound::Northbound;

/// Tables whose rows' names are unique.
const NAMED: [&str; 5] = [
    "Logical_Router_Port",
    "Logical_Switch_Port",
    "Load_Balancer_Group",
    "Address_Set",
    "HA_Chassis_Group",
];

/// Tables of which northd must not see one row come and another go at once.
const TURNS: [&str; 2] = ["Logical_Switch", "Logical_Router"];

/// One who reads the Northbound.
#[derive(Debug)]
pub enum Northd {
    /// Played: it fails where some release would, and acknowledges when the case says so.
    Played(Unread),
    /// The same, and the planner is not told that there is one.
    Unheard(Unread),
    /// An ovn-northd that runs.
    Real(Rc<Real>),
}

impl Northd {
    /// One who is played.
    pub fn played() -> Self {
        Self::Played(Unread::default())
    }

    /// One who is played, and of whom the planner knows nothing.
    pub fn unheard() -> Self {
        Self::Unheard(Unread::default())
    }

    /// Whether the planner is told of it.
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Unheard(_))
    }

    /// This happened in the Northbound.
    pub fn see(&mut self, batch: &Batch) {
        if let Self::Played(unread) | Self::Unheard(unread) = self {
            unread.see(batch);
        }
    }

    /// Whether it might fail over these operations, if they were the next thing it saw.
    ///
    /// # Errors
    /// With the operation, and why.
    pub fn judge(&self, operations: &[Operation]) -> Result<(), String> {
        match self {
            Self::Played(unread) | Self::Unheard(unread) => unread.judge(operations),
            Self::Real(_) => Ok(()),
        }
    }

    /// It reads the Northbound as it is, and acknowledges that. The caller has told it of everything.
    ///
    /// # Errors
    /// When it has died.
    pub fn runs<N: Northbound>(&mut self, northbound: &mut N) -> Result<(), String> {
        match self {
            Self::Played(unread) | Self::Unheard(unread) => {
                *unread = Unread::default();
                let cfg = northbound.replica().rows("NB_Global").next();
                if let Some(cfg) = cfg.and_then(|(_, row)| row.get_integer("nb_cfg")) {
                    count(northbound, "sb_cfg", |_| cfg);
                }
                Ok(())
            }
            Self::Real(real) => real.catches_up(northbound),
        }
    }

    /// Somebody raises `nb_cfg`.
    pub fn raise<N: Northbound>(northbound: &mut N, by: i64) {
        count(northbound, "nb_cfg", |cfg| cfg + by);
    }
}

/// An ovn-northd that runs, or is stopped.
#[derive(Debug)]
pub struct Real {
    northd: yusur_testbed::northd::Northd,
    stopped: Cell<bool>,
    /// What `nb_cfg` was raised to last: higher each time, over all histories.
    raised: Cell<i64>,
}

impl Real {
    pub fn start(release: &Release, northbound: &str) -> Rc<Self> {
        let northd = yusur_testbed::northd::Northd::start(release, northbound);
        Rc::new(Self {
            northd: northd.expect("an ovn-northd"),
            stopped: Cell::new(false),
            raised: Cell::new(0),
        })
    }

    /// Stops it in its tracks, or lets it go on.
    pub fn stop(&self, stop: bool) {
        if self.stopped.replace(stop) != stop && self.northd.process().is_running() {
            let process = self.northd.process();
            let signalled = if stop { process.stop() } else { process.cont() };
            signalled.expect("a signal");
        }
    }

    /// Lets it read what there is.
    fn catches_up<N: Northbound>(&self, northbound: &mut N) -> Result<(), String> {
        self.stop(false);
        let begun = Instant::now();
        let mut raised = false;
        loop {
            // After everything was deleted it makes the row anew, and first says in it what it had reached in the old.
            if !raised && northbound.replica().rows("NB_Global").next().is_some() {
                let before = self.raised.get();
                count(northbound, "nb_cfg", |cfg| {
                    self.raised.set(cfg.max(before) + 1);
                    self.raised.get()
                });
                raised = true;
            }
            let cfg = northbound.replica().rows("NB_Global").next();
            let done = cfg.is_some_and(|(_, row)| {
                let cfg = |column| row.get_integer(column).unwrap_or_default();
                raised && cfg("sb_cfg") >= self.raised.get()
            });
            if done {
                return Ok(());
            }
            if !self.northd.process().is_running() || begun.elapsed() > PATIENCE {
                let log = self.northd.process().output().unwrap_or_default();
                return Err(format!("ovn-northd does not answer any more:\n{log}"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether its Southbound is what it would compute without what it believes to know.
    ///
    /// # Errors
    /// With what differs.
    pub fn is_right<N: Northbound>(&self, northbound: &mut N) -> Result<(), String> {
        self.catches_up(northbound)?;
        let before = self.content();
        self.northd
            .recompute()
            .map_err(|error| format!("{error:#}"))?;
        self.catches_up(northbound)?;
        let after = self.content();
        let gone = before.difference(&after);
        let gone = gone.map(|(table, row)| format!("- {table} {row}"));
        let come = after.difference(&before);
        let come = come.map(|(table, row)| format!("+ {table} {row}"));
        let differences: Vec<String> = gone.chain(come).collect();
        if differences.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "a recompute changes the Southbound:\n{}",
                differences.join("\n")
            ))
        }
    }

    /// The Southbound's rows, but for what counts and tells time, and for flows of routers and switches without ports, where
    /// nothing passes: 26.03 leaves out some until a port comes. Groups of datapaths are made anew at will: they are told by
    /// what is in them.
    fn content(&self) -> BTreeSet<(String, String)> {
        let dump = self.northd.southbound().dump().expect("a dump");
        let groups: Vec<(&str, String)> = dump
            .rows("Logical_DP_Group")
            .map(|(uuid, row)| (uuid, format!("{row:?}")))
            .collect();
        let ports = dump.rows("Port_Binding");
        let passed: Vec<&Value> = ports.filter_map(|(_, row)| row.get("datapath")).collect();
        let is_idle = |row: &BTreeMap<String, Value>| {
            let datapath = row.get("logical_datapath");
            datapath.is_some_and(|of| of[0] == "uuid" && !passed.contains(&of))
        };
        let mut rows = BTreeSet::new();
        for table in dump.tables.keys() {
            if matches!(&**table, "SB_Global" | "Logical_DP_Group") {
                continue;
            }
            for (_, row) in dump.rows(table) {
                let mut row = row.clone();
                if table == "Multicast_Group" && row.get("ports") == Some(&json!(["set", []])) {
                    // 26.03 leaves one behind now and then, where there is nobody any more to be reached.
                    continue;
                }
                if table == "Logical_Flow" {
                    if is_idle(&row) {
                        continue;
                    }
                    // For people: of which row a flow is. Another row of the same content leaves the flow as it is.
                    row.remove("external_ids");
                }
                let mut text = unnumbered(&format!("{row:?}"));
                for (uuid, content) in &groups {
                    if text.contains(uuid) {
                        text = text.replace(uuid, content);
                    }
                }
                rows.insert((table.clone(), text));
            }
        }
        rows
    }
}

/// The ways of a route with several are numbered in the order in which they came, or in another: without the numbers.
fn unnumbered(text: &str) -> String {
    let mut parts = text.split("reg8[16..31] == ");
    let mut without = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        without.push_str("reg8[16..31] == N");
        without.push_str(part.trim_start_matches(|it: char| it.is_ascii_digit()));
    }
    without
}

/// What has not been read yet.
#[derive(Debug, Default)]
pub struct Unread {
    deleted: HashMap<Uuid, String>,
    names: HashSet<(String, String)>,
    inserted: HashMap<Uuid, String>,
}

impl Unread {
    fn see(&mut self, batch: &Batch) {
        for change in &batch.changes {
            let table = change.table.to_string();
            match (&change.old, &change.new) {
                (Some(old), None) => {
                    // What came and went between two snapshots was never there.
                    if self.inserted.remove(&change.uuid).is_some() {
                        continue;
                    }
                    self.deleted.insert(change.uuid, table.clone());
                    if let Some(name) = name(&table, old) {
                        self.names.insert((table, name));
                    }
                }
                (None, Some(_)) => {
                    self.inserted.insert(change.uuid, table);
                }
                _ => {}
            }
        }
    }

    fn judge(&self, operations: &[Operation]) -> Result<(), String> {
        let deletes = operations.iter().filter_map(|operation| match operation {
            Operation::Delete { table, .. } => Some(&**table),
            _ => None,
        });
        let deletes: Vec<&str> = deletes.collect();
        for operation in operations {
            let told = match operation {
                Operation::Insert {
                    table, uuid, row, ..
                } => self.insertion(table, *uuid, row, &deletes),
                Operation::Delete { table, .. } => self.deletion(table),
                _ => None,
            };
            if let Some(told) = told {
                return Err(format!(
                    "ovn-northd does not know yet that {told}: {operation:?}"
                ));
            }
        }
        Ok(())
    }

    fn insertion(
        &self,
        table: &str,
        uuid: Option<Uuid>,
        row: &Row,
        deletes: &[&str],
    ) -> Option<String> {
        if uuid.is_some_and(|uuid| self.deleted.contains_key(&uuid)) {
            return Some("the row which had this UUID is gone".to_owned());
        }
        if let Some(name) = name(table, row)
            && self.names.contains(&(table.to_owned(), name))
        {
            return Some("the row which had this name is gone".to_owned());
        }
        let gone = self.deleted.values().any(|of| of == table) || deletes.contains(&table);
        (TURNS.contains(&table) && gone).then(|| format!("another row of {table} is gone"))
    }

    fn deletion(&self, table: &str) -> Option<String> {
        let came = self.inserted.values().any(|of| of == table);
        (TURNS.contains(&table) && came).then(|| format!("another row of {table} is there"))
    }
}

fn count<N: Northbound>(northbound: &mut N, column: &'static str, to: impl Fn(i64) -> i64) {
    let row = northbound.replica().rows("NB_Global").next();
    let Some((uuid, row)) = row else { return };
    let now = row.get_integer(column).unwrap_or_default();
    let add = Mutation::new(column, Mutator::Add, to(now) - now);
    northbound
        .transact(&[Operation::mutate("NB_Global", uuid, vec![add])])
        .unwrap_or_else(|error| panic!("{error}: counting"));
}

fn name(table: &str, row: &Row) -> Option<String> {
    NAMED
        .contains(&table)
        .then(|| row.get_str("name").map(str::to_owned))
        .flatten()
}
