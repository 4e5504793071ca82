//! Which rows of a table the replica holds, where not all: conditions, and their change while a session goes on
//! (ovsdb-server(7) §4.1.12, §4.1.13).

use std::collections::BTreeMap;
use std::sync::Arc;

use ovsdb_model::{Clause, Layout, Name};
use serde_json::{Value, json};
use tokio::sync::watch;

/// For each table that not all rows are wanted of, the clauses of which a row must meet one.
pub(crate) type ByTable = BTreeMap<Name, Vec<Clause>>;

/// What was asked for, and what the present session has of it.
#[derive(Debug)]
pub(crate) struct Conditions {
    wanted: watch::Sender<Wanted>,
    /// The version of what the replica is kept by; none without a session.
    in_force: watch::Sender<Option<u64>>,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Counts the changes.
    pub(crate) version: u64,
    pub(crate) tables: Arc<ByTable>,
}

impl Conditions {
    pub(crate) fn new(tables: ByTable) -> Self {
        Self {
            wanted: watch::Sender::new(Wanted {
                version: 0,
                tables: Arc::new(tables),
            }),
            in_force: watch::Sender::new(None),
        }
    }

    /// What is asked for, now and whenever it changes.
    pub(crate) fn wanted(&self) -> watch::Receiver<Wanted> {
        self.wanted.subscribe()
    }

    /// Asks for something else, from now on and in every later session; returns the version that has it.
    pub(crate) fn set(&self, table: Name, clauses: Option<Vec<Clause>>) -> u64 {
        let mut version = 0;
        self.wanted.send_modify(|wanted| {
            let mut tables = ByTable::clone(&wanted.tables);
            match clauses {
                Some(clauses) => tables.insert(table, clauses),
                None => tables.remove(&table),
            };
            wanted.tables = Arc::new(tables);
            wanted.version += 1;
            version = wanted.version;
        });
        version
    }

    /// What the replica is kept by from now on; nothing any more, where a session has ended.
    pub(crate) fn set_in_force(&self, version: Option<u64>) {
        self.in_force.send_replace(version);
    }

    /// Waits until the replica is kept by `version` or a later one.
    pub(crate) async fn until_in_force(&self, version: u64) {
        let mut in_force = self.in_force.subscribe();
        // The sender lives as long as `self`: there is no error.
        let _ = in_force
            .wait_for(|in_force| in_force.is_some_and(|now| now >= version))
            .await;
    }
}

/// The tables of `layout` that have conditions.
pub(crate) fn applying<'a>(
    tables: &'a ByTable,
    layout: &'a Layout,
) -> impl Iterator<Item = (&'a Name, &'a Vec<Clause>)> {
    tables
        .iter()
        .filter(|(table, _)| layout.table(table).is_some())
}

/// The requests of `monitor_cond_change` that lead from one to the other.
pub(crate) fn differences(from: &ByTable, to: &ByTable, layout: &Layout) -> Value {
    let changed = layout
        .tables()
        .map(|table| table.name())
        .filter(|table| from.get(*table) != to.get(*table));
    changed
        .map(|table| {
            let clauses = to.get(table).map_or(json!([true]), |clauses| wire(clauses));
            (table.to_string(), json!([{ "where": clauses }]))
        })
        .collect()
}

/// A `where` for monitors. Its clauses are alternatives; without any no row is meant, which has to be said.
pub(crate) fn wire(clauses: &[Clause]) -> Value {
    if clauses.is_empty() {
        json!([false])
    } else {
        json!(clauses)
    }
}
