//! Reading a schema from JSON.

use std::collections::BTreeMap;

use serde::de::{self, Deserialize, Deserializer};
use serde_json::Value;

use super::{BaseType, ColumnSchema, ColumnType, Limit, RefType, Schema, TableSchema};
use crate::atom::{Atom, AtomType, Name};
use crate::datum::Datum;

#[derive(serde::Deserialize)]
struct RawSchema {
    name: String,
    version: String,
    cksum: Option<String>,
    tables: BTreeMap<String, RawTable>,
}

#[derive(serde::Deserialize)]
struct RawTable {
    columns: BTreeMap<String, RawColumn>,
    #[serde(rename = "maxRows")]
    max_rows: Option<u64>,
    #[serde(rename = "isRoot")]
    is_root: Option<bool>,
    #[serde(default)]
    indexes: Vec<Vec<String>>,
}

#[derive(serde::Deserialize)]
struct RawColumn {
    #[serde(rename = "type")]
    kind: Value,
    ephemeral: Option<bool>,
    mutable: Option<bool>,
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawSchema::deserialize(deserializer)?;
        // A schema in which no table is a root set predates roots: there every table is one (RFC 7047 §3.2, `isRoot`).
        let has_roots = raw.tables.values().any(|table| table.is_root.is_some());
        let mut tables = BTreeMap::new();
        for (table_name, table) in raw.tables {
            let mut columns = BTreeMap::new();
            for (name, column) in table.columns {
                let kind = column_type(&column.kind).map_err(|problem| {
                    de::Error::custom(format!("table {table_name}, column {name}: {problem}"))
                })?;
                let column = ColumnSchema {
                    kind,
                    ephemeral: column.ephemeral.unwrap_or(false),
                    mutable: column.mutable.unwrap_or(true),
                };
                columns.insert(Name::from(name), column);
            }
            let indexes = table
                .indexes
                .into_iter()
                .map(|index| index.into_iter().map(Name::from).collect())
                .collect();
            let is_root = table.is_root.unwrap_or(!has_roots);
            tables.insert(
                Name::from(table_name),
                TableSchema {
                    columns,
                    max_rows: table.max_rows,
                    is_root,
                    indexes,
                },
            );
        }
        Ok(Self {
            name: raw.name.into(),
            version: raw.version,
            checksum: raw.cksum,
            tables,
        })
    }
}

/// `<type>`: a word for a scalar, or an object.
fn column_type(json: &Value) -> Result<ColumnType, String> {
    let Value::Object(object) = json else {
        return Ok(ColumnType {
            key: base_type(json)?,
            value: None,
            min: 1,
            max: Limit::AtMost(1),
        });
    };
    let key = base_type(object.get("key").ok_or("the type has no key")?)?;
    let value = object.get("value").map(base_type).transpose()?;
    let min = match object.get("min") {
        None => 1,
        Some(min) => min
            .as_u64()
            .filter(|min| *min <= 1)
            .ok_or_else(|| format!("min is {min}, not 0 or 1"))? as u32,
    };
    let max =
        match object.get("max") {
            None => Limit::AtMost(1),
            Some(Value::String(word)) if word == "unlimited" => Limit::Unlimited,
            Some(max) => {
                let most = max
                    .as_u64()
                    .and_then(|max| u32::try_from(max).ok())
                    .filter(|max| *max >= 1);
                Limit::AtMost(most.ok_or_else(|| {
                    format!("max is {max}, not a positive number or \"unlimited\"")
                })?)
            }
        };
    Ok(ColumnType {
        key,
        value,
        min,
        max,
    })
}

/// `<base-type>`: a word, or an object with bounds.
fn base_type(json: &Value) -> Result<BaseType, String> {
    let (word, object) = match json {
        Value::String(word) => return atom_type(word).map(BaseType::plain),
        Value::Object(object) => match object.get("type") {
            Some(Value::String(word)) => (word, object),
            _ => return Err("the type of the elements is not given".to_owned()),
        },
        other => return Err(format!("{other} is not a type")),
    };
    let mut base = BaseType::plain(atom_type(word)?);
    for (member, bound) in object {
        match member.as_str() {
            "type" => {}
            "enum" => base.choices = Some(choices(base.atom, bound)?),
            "minInteger" | "minReal" => base.minimum = Some(atom(base.atom, bound)?),
            "maxInteger" | "maxReal" => base.maximum = Some(atom(base.atom, bound)?),
            "minLength" => base.min_length = length(bound)?,
            "maxLength" => base.max_length = length(bound)?,
            "refTable" => {
                let table = bound.as_str().ok_or("refTable is not a string")?;
                base.reference = Some((Name::new(table), RefType::default()));
            }
            // refType follows below; what a later server adds bounds nothing that we know of.
            _ => {}
        }
    }
    if let (Some((_, how)), Some(word)) = (&mut base.reference, object.get("refType")) {
        *how = match word.as_str() {
            Some("strong") => RefType::Strong,
            Some("weak") => RefType::Weak,
            _ => return Err(format!("refType is {word}, not \"strong\" or \"weak\"")),
        };
    }
    Ok(base)
}

fn atom_type(word: &str) -> Result<AtomType, String> {
    AtomType::from_word(word).ok_or_else(|| format!("{word:?} is not an atomic type"))
}

fn length(json: &Value) -> Result<usize, String> {
    json.as_u64()
        .and_then(|length| usize::try_from(length).ok())
        .ok_or_else(|| format!("{json} is not a length"))
}

fn atom(kind: AtomType, json: &Value) -> Result<Atom, String> {
    de::DeserializeSeed::deserialize(crate::json::AtomSeed(Some(kind)), json)
        .map_err(|error| error.to_string())
}

fn choices(kind: AtomType, json: &Value) -> Result<Datum, String> {
    let any = ColumnType {
        key: BaseType::plain(kind),
        value: None,
        min: 0,
        max: Limit::Unlimited,
    };
    de::DeserializeSeed::deserialize(crate::json::DatumSeed(Some(&any)), json)
        .map_err(|error| error.to_string())
}
