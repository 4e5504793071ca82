//! Prints what happens to a database, as lines of JSON, for as long as it is let.
//!
//! A row's change is `{"table":…,"uuid":…,"old":…,"new":…}`: `old` is null for a row that is new, `new` for one that is
//! gone. A change of the connection is `{"connection":"synced","remote":…,…}`. The first lines are what the database
//! holds already; after a lost connection come only the differences.

mod shared;

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::Context as _;
use clap::Parser;
use ovsdb::model::Name;
use ovsdb::{Event, State};
use serde_json::{Value, json};

/// Print every change of a database, and of the connection to it, as a line of JSON
///
/// Lives through whatever happens to the servers: goes round the remotes, follows the leader, and prints only the
/// differences after a lost connection. Ends when nobody reads its output any more.
#[derive(Debug, Parser)]
#[command(
    after_help = "Example: watch unix:/run/ovn/ovnnb_db.sock OVN_Northbound Load_Balancer:name,vips NB_Global"
)]
struct Arguments {
    #[command(flatten)]
    connection: shared::Connection,

    /// Tables to watch, with the columns where not all; the whole database without any
    #[arg(value_name = "TABLE[:COLUMN,…]")]
    tables: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    shared::log();
    let mut builder = arguments.connection.builder()?;
    if arguments.tables.is_empty() {
        builder = builder.everything();
    }
    for table in &arguments.tables {
        builder = match table.split_once(':') {
            None => builder.all_columns(table),
            Some((table, columns)) => {
                let columns = columns.split(',').filter(|column| !column.is_empty());
                builder.columns(table, columns)
            }
        };
    }
    let client = builder.start()?;
    let mut changes = client.changes();
    let mut last = None;
    while let Some(event) = changes.next().await {
        let printed = match event {
            Event::State(state) => {
                let state = connection(&state);
                if last.as_ref() == Some(&state) {
                    continue;
                }
                last = Some(state.clone());
                print([state])
            }
            Event::Batch(batch) => print(batch.changes.iter().map(|change| {
                json!({
                    "table": change.table.as_str(),
                    "uuid": change.uuid.to_string(),
                    "old": change.old,
                    "new": change.new,
                })
            })),
        };
        match printed {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
            other => other.context("standard output")?,
        }
    }
    Ok(())
}

fn connection(state: &State) -> Value {
    let missing: Vec<String> = state.missing.iter().map(ToString::to_string).collect();
    let unreadable: Vec<String> = state.unreadable.iter().flat_map(columns).collect();
    json!({
        "connection": state.phase.to_string(),
        "remote": state.remote.as_ref().map(ToString::to_string),
        "leader": state.leader,
        "cluster": state.cluster_id.map(|id| id.to_string()),
        "server": state.server_id.map(|id| id.to_string()),
        "schema": state.schema_version,
        "missing": missing,
        "unreadable": unreadable,
        "error": state.last_error,
    })
}

/// A table's columns of which some rows hold what could not be read.
fn columns((table, columns): (&Name, &BTreeMap<Name, usize>)) -> Vec<String> {
    let columns = columns.keys();
    columns
        .map(|column| format!("column {column} of table {table}"))
        .collect()
}

/// One line each; what belongs together is flushed together.
fn print(lines: impl IntoIterator<Item = Value>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    out.flush()
}
