//! What the Northbound says about all of OVN: which of the options we want are ours to set.

use std::collections::BTreeMap;

use ovsdb_model::{Database, Row, RowChange, Table, Uuid};

use super::Inventory;
use crate::nb::{NbGlobal, Text};
use crate::unit::Unit;

/// How fast tunnels between the chassis of a gateway are noticed to be dead: three packets lost, one each 200 ms at the
/// slowest (milliseconds). OVN's own values, a second and five packets, are made for idle links.
pub(crate) const OPTIONS: [(&str, &str); 3] = [
    ("bfd-min-rx", "200"),
    ("bfd-min-tx", "100"),
    ("bfd-mult", "3"),
];

/// The row, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Global {
    pub(crate) row: Uuid,
    /// The options of [`OPTIONS`] that are set, by whomever.
    options: BTreeMap<&'static str, Text>,
    /// What our record says is ours.
    pub(crate) record: Option<Text>,
}

impl Global {
    fn read(uuid: Uuid, row: &Row, key: &str) -> Self {
        let set = |name: &'static str| Some((name, Text::new(row.map_str("options", name)?)));
        Self {
            row: uuid,
            options: OPTIONS.iter().filter_map(|(name, _)| set(name)).collect(),
            record: row.map_str("external_ids", key).map(Text::new),
        }
    }

    /// True if the option is ours to set: nobody has, or we did.
    pub(crate) fn is_ours(&self, option: &str) -> bool {
        let recorded = self.record.iter().flat_map(|record| record.split(' '));
        !self.options.contains_key(option) || recorded.into_iter().any(|name| name == option)
    }
}

impl Inventory {
    pub(super) fn load_global(&mut self, database: &Database) {
        let key = self.ids.options_key();
        let row = database.rows(NbGlobal::NAME).next();
        self.global = row.map(|(uuid, row)| Global::read(uuid, &row, &key));
        self.dirty.add(Unit::Global);
    }

    pub(super) fn global_seen(&mut self, change: &RowChange) {
        let key = self.ids.options_key();
        let row = change.new.as_deref();
        let now = row.map(|row| Global::read(change.uuid, row, &key));
        if self.global != now {
            self.global = now;
            self.dirty.add(Unit::Global);
        }
    }

    /// The row about all of OVN, if it is there.
    pub(crate) fn global(&self) -> Option<&Global> {
        self.global.as_ref()
    }
}
