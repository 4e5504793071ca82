//! The rows of one table in an update.

use std::fmt;
use std::sync::Arc;

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use uuid::Uuid;

use super::{ColumnUpdate, Format, Found, RowUpdate, Unreadable};
use crate::datum::Datum;
use crate::json::{DatumSeed, UuidSeed, read_alone};
use crate::layout::TableLayout;
use crate::row::Row;

/// Reads a table's rows: an object from UUIDs to changes.
#[derive(Clone, Copy)]
pub(super) struct RowsSeed<'a> {
    pub(super) layout: &'a TableLayout,
    pub(super) format: Format,
    pub(super) found: Option<&'a Found>,
}

impl<'de> DeserializeSeed<'de> for RowsSeed<'_> {
    type Value = Vec<(Uuid, RowUpdate)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RowsSeed<'_> {
    type Value = Vec<(Uuid, RowUpdate)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of rows of table {}", self.layout.name())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut rows = Vec::new();
        while let Some(uuid) = map.next_key_seed(UuidSeed)? {
            let row = map.next_value_seed(RowUpdateSeed {
                layout: self.layout,
                format: self.format,
                uuid,
                found: self.found,
            })?;
            rows.push((uuid, row));
        }
        Ok(rows)
    }
}

/// Reads one row's change.
#[derive(Clone, Copy)]
struct RowUpdateSeed<'a> {
    layout: &'a TableLayout,
    format: Format,
    uuid: Uuid,
    found: Option<&'a Found>,
}

impl RowUpdateSeed<'_> {
    fn whole(self) -> WholeSeed<Self> {
        WholeSeed(self)
    }

    fn error<E: de::Error>(self, problem: impl fmt::Display) -> E {
        E::custom(format_args!(
            "table {}, row {}: {problem}",
            self.layout.name(),
            self.uuid
        ))
    }
}

impl<'de> DeserializeSeed<'de> for RowUpdateSeed<'_> {
    type Value = RowUpdate;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<RowUpdate, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RowUpdateSeed<'_> {
    type Value = RowUpdate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.format {
            Format::Update => f.write_str("an object with \"old\", \"new\" or both"),
            Format::Update2 => f.write_str(
                "an object with one of \"initial\", \"insert\", \"modify\" and \"delete\"",
            ),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RowUpdate, A::Error> {
        let mut found = None;
        while let Some(verb) = map.next_key_seed(VerbSeed)? {
            let update = match (self.format, verb) {
                (Format::Update2, Verb::Initial | Verb::Insert) | (Format::Update, Verb::New) => {
                    RowUpdate::Whole(map.next_value_seed(self.whole())?)
                }
                (Format::Update2, Verb::Modify) => {
                    RowUpdate::Modify(map.next_value_seed(ModifySeed(self))?)
                }
                (Format::Update2, Verb::Delete) | (Format::Update, Verb::Old) => {
                    map.next_value::<IgnoredAny>()?;
                    RowUpdate::Delete
                }
                _ => {
                    return Err(self.error(format_args!(
                        "{verb:?} does not belong into an update of this kind"
                    )));
                }
            };
            found = match (found, update) {
                (None, update) => Some(update),
                // Old and new columns together are a change of the row, and the new ones are all there are.
                (Some(RowUpdate::Delete), whole @ RowUpdate::Whole(_))
                    if self.format == Format::Update =>
                {
                    Some(whole)
                }
                (Some(whole @ RowUpdate::Whole(_)), RowUpdate::Delete)
                    if self.format == Format::Update =>
                {
                    Some(whole)
                }
                _ => return Err(self.error("more than one change to the row")),
            };
        }
        found.ok_or_else(|| self.error("no change to the row"))
    }
}

/// The members that tell how a row changed.
#[derive(Debug, Clone, Copy)]
enum Verb {
    Old,
    New,
    Initial,
    Insert,
    Modify,
    Delete,
}

struct VerbSeed;

impl<'de> DeserializeSeed<'de> for VerbSeed {
    type Value = Verb;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Verb, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for VerbSeed {
    type Value = Verb;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"old\", \"new\", \"initial\", \"insert\", \"modify\" or \"delete\"")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Verb, E> {
        Ok(match word {
            "old" => Verb::Old,
            "new" => Verb::New,
            "initial" => Verb::Initial,
            "insert" => Verb::Insert,
            "modify" => Verb::Modify,
            "delete" => Verb::Delete,
            _ => return Err(E::invalid_value(de::Unexpected::Str(word), &self)),
        })
    }
}

/// Calls `each` with the position and value of every column of a row that the layout has; without a value where it could
/// not be read.
fn columns<'de, A: MapAccess<'de>>(
    row: RowUpdateSeed<'_>,
    mut map: A,
    mut each: impl FnMut(usize, Option<Datum>),
) -> Result<(), A::Error> {
    while let Some(position) = map.next_key_seed(ColumnSeed(row.layout))? {
        match position {
            Some(position) => {
                let seed = DatumSeed(Some(row.layout.kind_at(position)));
                let column = &row.layout.columns().names()[position];
                let value = match row.found {
                    None => map.next_value_seed(seed).map(Some).map_err(|error| {
                        row.error::<A::Error>(format_args!("column {column}: {error}"))
                    })?,
                    Some(found) => match read_alone(seed, map.next_value()?) {
                        Ok(value) => Some(value),
                        Err(problem) => {
                            found.borrow_mut().push(Unreadable {
                                table: row.layout.name().clone(),
                                uuid: row.uuid,
                                column: column.clone(),
                                problem,
                            });
                            None
                        }
                    },
                };
                each(position, value);
            }
            None => {
                map.next_value::<IgnoredAny>()?;
            }
        }
    }
    Ok(())
}

/// Reads a column's name.
struct ColumnSeed<'a>(&'a TableLayout);

impl<'de> DeserializeSeed<'de> for ColumnSeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for ColumnSeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a column's name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.columns().position(name))
    }
}

/// Reads a whole row.
struct WholeSeed<S>(S);

impl<'de> DeserializeSeed<'de> for WholeSeed<RowUpdateSeed<'_>> {
    type Value = Arc<Row>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WholeSeed<RowUpdateSeed<'_>> {
    type Value = Arc<Row>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let mut values = vec![None; self.0.layout.columns().len()];
        let mut unreadable = Vec::new();
        columns(self.0, map, |position, value| {
            if value.is_none() {
                unreadable.push(position);
            }
            values[position] = value;
        })?;
        Ok(Arc::new(self.0.layout.row_without(values, &unreadable)))
    }
}

/// Reads the columns of a row that changed.
struct ModifySeed<'a>(RowUpdateSeed<'a>);

impl<'de> DeserializeSeed<'de> for ModifySeed<'_> {
    type Value = Vec<ColumnUpdate>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ModifySeed<'_> {
    type Value = Vec<ColumnUpdate>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the differences of a row")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let mut changes = Vec::new();
        columns(self.0, map, |position, value| {
            changes.push(ColumnUpdate { position, value })
        })?;
        Ok(changes)
    }
}
