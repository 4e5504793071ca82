//! Updates: what a server tells a monitor, read from the JSON stream straight into rows.
//!
//! `update` (RFC 7047 §4.1.6) names old and new columns; `update2` and `update3` (ovsdb-server(7)) name new rows
//! without default values, and differences. There is no tree of JSON values in between: a first synchronisation of a
//! hundred thousand rows costs about what its bytes cost.

mod message;
mod rows;

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use uuid::Uuid;

use crate::atom::Name;
use crate::datum::Datum;
use crate::layout::{Layout, TableLayout};
use crate::row::Row;
use message::{NotificationSeed, SinceSeed};
use rows::RowsSeed;

/// How table updates are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `<table-updates>` of RFC 7047: the reply to `monitor`, and `update`.
    Update,
    /// `<table-updates2>`: the replies to `monitor_cond` and `monitor_cond_since`, and `update2` and `update3`.
    Update2,
}

/// Changes to the rows of some tables, to be applied to the replica in one step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Update {
    pub(crate) tables: Vec<TableUpdate>,
    pub(crate) unreadable: Vec<Unreadable>,
}

/// A value of an update that is not of its column's type, or names an element twice: a server writes reals with fifteen
/// digits, and two that differ beyond them read alike. The row has every other column; this one is not known
/// ([`Row::unreadable`]) until the server sends it anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("table {table}, row {uuid}, column {column}: {problem}")]
pub struct Unreadable {
    /// The table.
    pub table: Name,
    /// The row.
    pub uuid: Uuid,
    /// The column.
    pub column: Name,
    /// What is wrong with the value.
    pub problem: String,
}

/// What was met that cannot be read, while the rest of an update is.
pub(crate) type Found = RefCell<Vec<Unreadable>>;

/// Changes to the rows of one table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TableUpdate {
    pub(crate) layout: Arc<TableLayout>,
    pub(crate) rows: Vec<(Uuid, RowUpdate)>,
}

/// One row's change.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RowUpdate {
    /// The row is this now.
    Whole(Arc<Row>),
    /// These columns changed.
    Modify(Vec<ColumnUpdate>),
    /// The row is gone.
    Delete,
}

/// One column's change.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ColumnUpdate {
    /// Where the column stands among the layout's.
    pub(crate) position: usize,
    /// The difference, or the whole value where the column holds at most one element; `None` if it could not be read.
    pub(crate) value: Option<Datum>,
}

impl Update {
    /// The number of rows it speaks of.
    pub fn len(&self) -> usize {
        self.tables.iter().map(|table| table.rows.len()).sum()
    }

    /// True if it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.tables.iter().all(|table| table.rows.is_empty())
    }

    /// Takes out the rows that `keep` is false of.
    pub fn retain(&mut self, keep: impl Fn(&Name, Uuid) -> bool) {
        for table in &mut self.tables {
            let name = table.layout.name();
            table.rows.retain(|(uuid, _)| keep(name, *uuid));
        }
        self.unreadable
            .retain(|value| keep(&value.table, value.uuid));
    }

    /// The values that could not be read.
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }
}

/// An update that could not be read: the message says where and why.
#[derive(Debug, thiserror::Error)]
#[error("unreadable update: {0}")]
pub struct DecodeError(#[from] serde_json::Error);

/// The reply to `monitor_cond_since`.
#[derive(Debug, Clone, PartialEq)]
pub struct SinceReply {
    /// The server knew the transaction we named: the update holds what happened since. Otherwise it holds everything.
    pub found: bool,
    /// The last transaction the update includes; all zeros if the server cannot resume.
    pub last_transaction: Uuid,
    /// What happened since, or everything.
    pub update: Update,
}

/// The parameters of an `update`, `update2` or `update3` notification.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    /// The monitor's id, as it was given when the monitor was set up.
    pub monitor: Value,
    /// The transaction the update ends with (`update3` only).
    pub last_transaction: Option<Uuid>,
    /// What happened; `None` if the monitor is not known.
    pub update: Option<Update>,
}

impl Layout {
    /// Reads table updates: the reply to `monitor` ([`Format::Update`]) or `monitor_cond` ([`Format::Update2`]).
    ///
    /// Tables and columns that the layout does not have are passed over. A value that is not of its column's type is left
    /// out and told ([`Update::unreadable`]).
    ///
    /// # Errors
    /// When it is not JSON, or not table updates.
    pub fn decode(&self, json: &str, format: Format) -> Result<Update, DecodeError> {
        let found = Found::default();
        let mut update = read(json, |lenient| UpdateSeed {
            layout: self,
            format,
            found: lenient.then_some(&found),
        })?;
        update.unreadable = found.into_inner();
        Ok(update)
    }

    /// Reads the reply to `monitor_cond_since`.
    ///
    /// # Errors
    /// As [`Layout::decode`].
    pub fn decode_since(&self, json: &str) -> Result<SinceReply, DecodeError> {
        let found = Found::default();
        let mut reply = read(json, |lenient| SinceSeed {
            layout: self,
            found: lenient.then_some(&found),
        })?;
        reply.update.unreadable = found.into_inner();
        Ok(reply)
    }
}

/// Reads the parameters of the notification `method` (`update`, `update2` or `update3`); `layout_of` finds a monitor's
/// layout by its id. An update for a monitor that it does not find is passed over.
///
/// # Errors
/// As [`Layout::decode`].
pub fn decode_notification<'l>(
    method: &str,
    params: &str,
    layout_of: impl Fn(&Value) -> Option<&'l Layout>,
) -> Result<Notification, DecodeError> {
    let (format, with_id) = match method {
        "update" => (Format::Update, false),
        "update2" => (Format::Update2, false),
        "update3" => (Format::Update2, true),
        other => {
            return Err(DecodeError(de::Error::custom(format!(
                "{other:?} is not an update"
            ))));
        }
    };
    let found = Found::default();
    let mut notification = read(params, |lenient| NotificationSeed {
        format,
        with_id,
        layout_of: &layout_of,
        found: lenient.then_some(&found),
    })?;
    if let Some(update) = &mut notification.update {
        update.unreadable = found.into_inner();
    }
    Ok(notification)
}

/// Reads a message straight from its text. Where that fails it is read again, leniently: value by value, which takes
/// longer, so that one that cannot be read does not spoil the rest.
fn read<'de, S: DeserializeSeed<'de>>(
    json: &'de str,
    seed: impl Fn(bool) -> S,
) -> Result<S::Value, DecodeError> {
    read_with(json, seed(false)).or_else(|_| read_with(json, seed(true)))
}

fn read_with<'de, S: DeserializeSeed<'de>>(
    json: &'de str,
    seed: S,
) -> Result<S::Value, DecodeError> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let value = seed.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Reads table updates.
#[derive(Clone, Copy)]
pub(crate) struct UpdateSeed<'a> {
    layout: &'a Layout,
    format: Format,
    /// Where it is told what could not be read; without it that is an error.
    found: Option<&'a Found>,
}

impl<'de> DeserializeSeed<'de> for UpdateSeed<'_> {
    type Value = Update;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Update, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for UpdateSeed<'_> {
    type Value = Update;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("table updates: an object of tables")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Update, A::Error> {
        let mut tables = Vec::new();
        while let Some(table) = map.next_key_seed(TableSeed(self.layout))? {
            match table {
                Some(layout) => {
                    let rows = map.next_value_seed(RowsSeed {
                        layout,
                        format: self.format,
                        found: self.found,
                    })?;
                    tables.push(TableUpdate {
                        layout: Arc::clone(layout),
                        rows,
                    });
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Update {
            tables,
            unreadable: Vec::new(),
        })
    }
}

/// Reads a table's name.
struct TableSeed<'a>(&'a Layout);

impl<'de, 'a> DeserializeSeed<'de> for TableSeed<'a> {
    type Value = Option<&'a Arc<TableLayout>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for TableSeed<'a> {
    type Value = Option<&'a Arc<TableLayout>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table's name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.table(name))
    }
}
