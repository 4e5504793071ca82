//! The rows: plain reading of columns, and whose a row is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ovsdb_model::{Atom, Database, Row, Uuid};

/// Rows of others as those left them: by table and id.
pub type Foreign = BTreeMap<(String, Uuid), Row>;

/// The tables in which rows of ours may be.
pub(crate) const TABLES: &[&str] = &[
    "Logical_Router",
    "Logical_Router_Port",
    "Logical_Router_Static_Route",
    "Logical_Switch",
    "Logical_Switch_Port",
    "Load_Balancer",
    "Load_Balancer_Group",
    "DNS",
    "NAT",
    "ACL",
    "Address_Set",
    "HA_Chassis_Group",
    "HA_Chassis",
    "NB_Global",
];

/// The tables in which rows of ours may be, for whoever wants to damage them.
#[derive(Clone, Copy, Debug)]
pub struct Tables;

impl Tables {
    /// Their names.
    pub const ALL: &'static [&'static str] = TABLES;
}

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) uuid: Uuid,
    pub(crate) row: Arc<Row>,
}

impl Entry {
    pub(crate) fn text(&self, column: &str) -> &str {
        self.row.get_str(column).unwrap_or_default()
    }

    pub(crate) fn texts(&self, column: &str) -> Vec<&str> {
        let datum = self.row.get(column).into_iter();
        datum
            .flat_map(|datum| datum.elements())
            .filter_map(Atom::as_str)
            .collect()
    }

    pub(crate) fn uuids(&self, column: &str) -> BTreeSet<Uuid> {
        let datum = self.row.get(column).into_iter();
        datum.flat_map(|datum| datum.uuids()).collect()
    }

    pub(crate) fn map(&self, column: &str) -> BTreeMap<&str, &str> {
        let datum = self.row.get(column).into_iter();
        datum
            .flat_map(|datum| datum.pairs())
            .filter_map(|(key, value)| Some((key.as_str()?, value.as_str()?)))
            .collect()
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.row.map_str("external_ids", key)
    }
}

/// All rows, those of ours apart.
#[derive(Debug)]
pub(crate) struct Content {
    ours: BTreeMap<&'static str, Vec<Entry>>,
    all: BTreeMap<&'static str, Vec<Entry>>,
}

impl Content {
    pub(crate) fn read(database: &Database, foreign: &Foreign) -> Self {
        let mut content = Self {
            ours: BTreeMap::new(),
            all: BTreeMap::new(),
        };
        for table in TABLES {
            let mut all: Vec<Entry> = database
                .rows(table)
                .map(|(uuid, row)| Entry { uuid, row })
                .collect();
            all.sort_by_key(|entry| entry.uuid);
            let ours = all
                .iter()
                .filter(|entry| !foreign.contains_key(&((*table).to_owned(), entry.uuid)));
            content.ours.insert(table, ours.cloned().collect());
            content.all.insert(table, all);
        }
        content
    }

    /// Every row that no stranger has made.
    pub(crate) fn ours(&self, table: &str) -> &[Entry] {
        self.ours.get(table).map_or(&[], Vec::as_slice)
    }

    /// Every row.
    pub(crate) fn all(&self, table: &str) -> &[Entry] {
        self.all.get(table).map_or(&[], Vec::as_slice)
    }

    /// The rows of ours that belong to one unit.
    pub(crate) fn of<'a>(&'a self, table: &str, unit: &str) -> Vec<&'a Entry> {
        self.ours(table)
            .iter()
            .filter(|entry| entry.label("yusur.io/unit") == Some(unit))
            .collect()
    }

    /// The rows whose column refers to `uuid`.
    pub(crate) fn referrers(&self, table: &str, column: &str, uuid: Uuid) -> BTreeSet<Uuid> {
        self.all(table)
            .iter()
            .filter(|entry| entry.uuids(column).contains(&uuid))
            .map(|entry| entry.uuid)
            .collect()
    }
}
