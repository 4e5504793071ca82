//! What the controller is compared with: the same rows written by a bare loop, the bare list of the API server, a bare
//! watch that is followed by a bare write.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use yusur_testbed::ovsdb::Standalone;

use crate::change::Sample;
use crate::monitor::Bare;
use crate::objects;
use crate::world::{Northbound, World};

/// Rows of one transaction of the bare loop.
const BATCH: usize = 100;

/// The tables that grow with the services, and the columns that name their rows.
const MANY: [(&str, &str, &str); 2] = [
    ("Load_Balancer", "Load_Balancer_Group", "load_balancer"),
    ("Logical_Switch_Port", "Logical_Switch", "ports"),
];

/// All rows of a Northbound, by table and UUID, references and all.
pub(crate) type Rows = BTreeMap<String, BTreeMap<String, Map<String, Value>>>;

/// Reads what a controller has written.
pub(crate) fn rows(world: &World, server: &Standalone) -> Result<Rows> {
    let schema: Value = serde_json::from_str(&world.schema.text()?)?;
    let tables = schema["tables"]
        .as_object()
        .context("a schema without tables")?;
    let mut rows = Rows::new();
    for table in tables.keys().filter(|table| *table != "NB_Global") {
        let select = json!({"op": "select", "table": table, "where": []});
        let results = server.transact(&[select])?;
        for row in results[0]["rows"].as_array().into_iter().flatten() {
            let mut row = row.as_object().cloned().unwrap_or_default();
            row.remove("_version");
            let uuid = row.remove("_uuid").context("a row without a UUID")?;
            // What is empty is so by default.
            row.retain(|_, value| {
                ![json!(["set", []]), json!(["map", []]), json!("")].contains(value)
            });
            let uuid = uuid[1].as_str().unwrap_or_default().to_owned();
            rows.entry(table.clone()).or_default().insert(uuid, row);
        }
    }
    Ok(rows)
}

/// Writes the same rows into an empty Northbound over a bare socket, [`BATCH`] a transaction, one after the other.
pub(crate) fn write(world: &World, rows: &Rows) -> Result<Duration> {
    let mut rows = rows.clone();
    let mut requests = Vec::new();
    let mut later = Vec::new();
    for (table, parent, column) in MANY {
        let parents = rows.get_mut(parent).into_iter().flatten();
        // Which parents name a row.
        let mut named: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (uuid, row) in parents {
            for child in references(row.remove(column)) {
                named.entry(child).or_default().push(uuid.clone());
            }
        }
        let all: Vec<_> = rows.remove(table).unwrap_or_default().into_iter().collect();
        for batch in all.chunks(BATCH) {
            let mut operations: Vec<Value> = batch
                .iter()
                .map(|(uuid, row)| insert(table, uuid, row))
                .collect();
            let mut added: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
            for (uuid, _) in batch {
                for parent in named.get(uuid).into_iter().flatten() {
                    added.entry(parent).or_default().push(json!(["uuid", uuid]));
                }
            }
            operations.extend(added.into_iter().map(|(uuid, children)| {
                json!({"op": "mutate", "table": parent, "where": [["_uuid", "==", ["uuid", uuid]]],
                    "mutations": [[column, "insert", ["set", children]]]})
            }));
            later.push(operations);
        }
    }
    let few = rows
        .iter()
        .flat_map(|(table, rows)| rows.iter().map(move |(uuid, row)| insert(table, uuid, row)));
    requests.push(few.collect::<Vec<Value>>());
    requests.extend(later);
    let mut texts = Vec::new();
    for mut operations in requests {
        operations.insert(0, json!(world.schema.name));
        let request = json!({"id": 1, "method": "transact", "params": operations});
        texts.push(request.to_string());
    }

    let Northbound { monitor, server } = world.northbound()?;
    let mut bare = Bare::connect(&server.unix_path())?;
    let mut replies = Vec::with_capacity(texts.len());
    let began = Instant::now();
    for text in &texts {
        bare.send(text.as_bytes())?;
        replies.push(bare.reply()?);
    }
    let elapsed = began.elapsed();
    for reply in replies {
        let results = reply["result"].as_array().cloned().unwrap_or_default();
        if let Some(error) = results.iter().find(|result| result.get("error").is_some()) {
            anyhow::bail!("the bare loop's rows were refused: {error}");
        }
    }
    drop(monitor);
    Ok(elapsed)
}

fn insert(table: &str, uuid: &str, row: &Map<String, Value>) -> Value {
    json!({"op": "insert", "table": table, "uuid": uuid, "row": row})
}

/// The rows that a column names.
fn references(value: Option<Value>) -> Vec<String> {
    let one = |atom: &Value| {
        (atom[0] == "uuid")
            .then(|| atom[1].as_str().map(str::to_owned))
            .flatten()
    };
    match value {
        Some(set) if set[0] == "set" => set[1]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(one)
            .collect(),
        Some(atom) => one(&atom).into_iter().collect(),
        None => Vec::new(),
    }
}

/// Lists what the controller lists, all resources at once, as it does.
pub(crate) fn list(world: &World) -> Result<Duration> {
    let api = &world.api;
    let began = Instant::now();
    std::thread::scope(|scope| {
        let lists: Vec<_> = objects::LISTED
            .iter()
            .map(|path| scope.spawn(move || api.stream_list(path)))
            .collect();
        for list in lists {
            list.join()
                .map_err(|_| anyhow::anyhow!("a list panicked"))??;
        }
        Ok(began.elapsed())
    })
}

/// What a bare watch and a bare write take.
#[derive(Debug)]
pub(crate) struct Latency {
    /// The changes.
    pub(crate) samples: Vec<Sample>,
    /// When something was written.
    written: Vec<Instant>,
}

impl Latency {
    /// Seconds from each write to the row seen: what the database takes, whoever writes.
    pub(crate) fn database(&self) -> Vec<f64> {
        let seen = self.samples.iter().map(|sample| sample.seen);
        let spans = seen.filter_map(|seen| {
            let before = self.written.partition_point(|written| *written <= seen);
            Some((seen - self.written[before.checked_sub(1)?]).as_secs_f64())
        });
        spans.collect()
    }
}

/// Times changes as [`crate::change`] does, with a bare watch that answers each event by a bare write in the
/// controller's place.
pub(crate) fn latency(world: &World, changes: usize) -> Result<Latency> {
    let Northbound { monitor, server } = world.northbound()?;
    let group = json!({"op": "insert", "table": "Load_Balancer",
        "row": {"name": "floor", "protocol": "tcp", "vips": ["map", [["10.0.0.1:80", "10.0.0.2:80,10.0.0.3:80"]]]}});
    server.transact(&[group])?;
    let path = match world.backends {
        objects::Backends::Addresses => objects::SERVICES,
        objects::Backends::Pods => objects::PODS,
    };
    let mut watch = world.api.watch(path, &world.api.version(path)?)?;
    let mut bare = Bare::connect(&server.unix_path())?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let name = world.schema.name.clone();
    let answering = std::thread::spawn(move || -> Result<Vec<Instant>> {
        let (mut line, mut written) = (Vec::new(), Vec::new());
        for turn in 0_usize.. {
            line.clear();
            watch.read_until(b'\n', &mut line)?;
            if stopped.load(Ordering::Acquire) {
                break;
            }
            let vips = json!({"vips": ["map", [["10.0.0.1:80", format!("10.0.0.2:80,10.0.1.{}:80", turn % 250)]]]});
            let update = json!({"op": "update", "table": "Load_Balancer", "where": [["name", "==", "floor"]], "row": vips});
            let request = json!({"id": 1, "method": "transact", "params": [name, update]});
            let text = request.to_string();
            written.push(Instant::now());
            bare.send(text.as_bytes())?;
            bare.reply()?;
        }
        Ok(written)
    });
    monitor.clear();
    let samples = crate::change::samples(world, &monitor, changes)?;
    stop.store(true, Ordering::Release);
    // Wakes the watch.
    world.api.send(&world.change(0))?;
    let written = answering
        .join()
        .map_err(|_| anyhow::anyhow!("the bare watch panicked"))??;
    Ok(Latency { samples, written })
}
