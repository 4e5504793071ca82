//! The content of a database as `ovsdb-client dump` prints it: the neutral witness that replicas are held against.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Deserializer, Value};

use crate::process::run;

/// Table → row's UUID → column → value in OVSDB's JSON (RFC 7047 §5.1), as the server orders it. Without `_uuid` and
/// `_version` columns. Tables without rows are present and empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// The tables by name.
    pub tables: BTreeMap<String, BTreeMap<String, BTreeMap<String, Value>>>,
}

impl Dump {
    /// Takes a dump of `database` from the server at `remote`.
    ///
    /// # Errors
    /// If `ovsdb-client` fails or prints what cannot be read.
    pub fn take(remote: &str, database: &str) -> Result<Self> {
        let output = run(Command::new("ovsdb-client").args([
            "--format=json",
            "--data=json",
            "--timeout=60",
            "dump",
            remote,
            database,
        ]))?;
        let mut dump = Self::default();
        for table in Deserializer::from_str(&output).into_iter::<Value>() {
            let table = table.context("reading ovsdb-client's dump")?;
            dump.add(&table)
                .with_context(|| format!("reading a table of ovsdb-client's dump: {table}"))?;
        }
        Ok(dump)
    }

    /// The rows of `table`; none if there is no such table.
    pub fn rows(&self, table: &str) -> impl Iterator<Item = (&str, &BTreeMap<String, Value>)> {
        self.tables
            .get(table)
            .into_iter()
            .flatten()
            .map(|(uuid, row)| (uuid.as_str(), row))
    }

    fn add(&mut self, table: &Value) -> Result<()> {
        let name = table["caption"]
            .as_str()
            .and_then(|caption| caption.strip_suffix(" table"))
            .context("no caption")?;
        let headings: Vec<&str> = table["headings"]
            .as_array()
            .context("no headings")?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let rows = self.tables.entry(name.to_owned()).or_default();
        for cells in table["data"].as_array().context("no data")? {
            let cells = cells.as_array().context("a row that is no array")?;
            if cells.len() != headings.len() {
                bail!(
                    "a row of {} cells under {} headings",
                    cells.len(),
                    headings.len()
                );
            }
            let mut uuid = None;
            let mut row = BTreeMap::new();
            for (heading, cell) in headings.iter().zip(cells) {
                match *heading {
                    "_uuid" => uuid = cell[1].as_str(),
                    "_version" => {}
                    column => {
                        row.insert(column.to_owned(), cell.clone());
                    }
                }
            }
            rows.insert(uuid.context("a row without _uuid")?.to_owned(), row);
        }
        Ok(())
    }
}
