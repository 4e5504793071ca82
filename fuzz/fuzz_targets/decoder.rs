//! Replies and updates of a server: whatever arrives, decoding ends in a value or an error, what was decoded survives
//! being written and read again, and the replica stays whole.
//!
//! The input is a line for each message; its first letter says what it is taken for.

#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ovsdb_model::update::{Format, decode_notification};
use ovsdb_model::{
    Atom, Database, Datum, DatumRef, Index, Layout, OpResult, Operation, Outcome, Row, Schema,
    Update, Uuid,
};

const SCHEMA: &str = include_str!("../schema.json");

static SERVER: LazyLock<(Schema, Layout)> = LazyLock::new(|| {
    let schema: Schema = serde_json::from_str(SCHEMA).expect("the schema is part of the program");
    let layout = Layout::everything(&schema);
    (schema, layout)
});

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let (schema, layout) = &*SERVER;
    let mut database = Database::new();
    database.declare_index("T", Index::column("name"));
    database.declare_index("T", Index::column("tags"));
    database.declare_index("T", Index::map_key("ids", "owner"));
    for line in text.lines() {
        let Some((kind, json)) = line.split_at_checked(1) else {
            continue;
        };
        match kind {
            "1" => decoded(&mut database, layout.decode(json, Format::Update).ok()),
            "2" => decoded(&mut database, layout.decode(json, Format::Update2).ok()),
            "d" => {
                if let Ok(dump) = layout.decode(json, Format::Update2) {
                    let before = content(&database);
                    match database.reconcile(layout, dump) {
                        Ok(batch) => check_batch(&before, &database, &batch.changes),
                        Err(_) => assert_eq!(before, content(&database)),
                    }
                }
            }
            "s" => decoded(
                &mut database,
                layout.decode_since(json).ok().map(|reply| reply.update),
            ),
            "n" => {
                let told = decode_notification("update3", json, |id| (id == "m").then_some(layout));
                decoded(&mut database, told.ok().and_then(|told| told.update));
            }
            "r" => results(json, schema),
            "v" => value(json),
            "g" => {
                if let Ok(schema) = serde_json::from_str::<Schema>(json) {
                    let _ = serde_json::to_string(&Layout::everything(&schema));
                }
            }
            _ => {}
        }
        check_indexes(&database);
    }
});

type Content = BTreeMap<Uuid, Row>;

fn content(database: &Database) -> Content {
    database
        .rows("T")
        .map(|(uuid, row)| (uuid, Row::clone(&row)))
        .collect()
}

fn decoded(database: &mut Database, update: Option<Update>) {
    let Some(update) = update else { return };
    let before = content(database);
    match database.apply(update) {
        Ok(batch) => check_batch(&before, database, &batch.changes),
        Err(_) => assert_eq!(
            before,
            content(database),
            "a refused update changed something"
        ),
    }
    for (_, row) in database.rows("T") {
        row.iter().for_each(|(_, datum)| check_datum(datum));
    }
}

/// The changes, carried out on the content before, give the content after.
fn check_batch(before: &Content, database: &Database, changes: &[ovsdb_model::RowChange]) {
    let mut replayed = before.clone();
    for change in changes {
        assert_eq!(
            replayed.remove(&change.uuid).as_ref(),
            change.old.as_deref()
        );
        assert_ne!(change.old, change.new);
        if let Some(new) = &change.new {
            replayed.insert(change.uuid, Row::clone(new));
        }
    }
    assert_eq!(replayed, content(database));
}

/// The indexes hold what a walk over the rows finds.
fn check_indexes(database: &Database) {
    let mut naive: BTreeMap<(&str, Atom), Vec<Uuid>> = BTreeMap::new();
    for (uuid, row) in database.rows("T") {
        let owner = row
            .get("ids")
            .and_then(|ids| ids.get(&Atom::from("owner")))
            .cloned();
        let columns = [("name", "name"), ("tags", "tags")];
        for (index, column) in columns {
            for key in row.get(column).into_iter().flat_map(Datum::elements) {
                naive.entry((index, key.clone())).or_default().push(uuid);
            }
        }
        naive
            .entry(("ids:owner", owner.unwrap_or(Atom::Integer(0))))
            .or_default()
            .push(uuid);
    }
    naive.remove(&("ids:owner", Atom::Integer(0)));
    let mut keys = 0;
    for index in ["name", "tags", "ids:owner"] {
        keys += database.keys("T", index).count();
    }
    assert_eq!(keys, naive.len());
    for ((index, key), mut uuids) in naive {
        uuids.sort_unstable();
        let found: Vec<Uuid> = database
            .find("T", index, &key)
            .map(|(uuid, _)| uuid)
            .collect();
        assert_eq!(found, uuids, "{index} {key}");
    }
}

/// A datum is canonical, and written and read again it is the same.
fn check_datum(datum: &Datum) {
    match datum.view() {
        DatumRef::Set(atoms) => assert!(atoms.windows(2).all(|pair| pair[0] < pair[1])),
        DatumRef::Map(pairs) => assert!(pairs.windows(2).all(|pair| pair[0].0 < pair[1].0)),
    }
    // Without a type a real without a fraction, once written, is still a real: it is written with one.
    let json = serde_json::to_string(datum).expect("a datum is writable");
    let again: Datum = serde_json::from_str(&json).expect("what was written is readable");
    assert_eq!(*datum, again, "{json}");
}

fn value(json: &str) {
    if let Ok(datum) = serde_json::from_str::<Datum>(json) {
        check_datum(&datum);
    }
}

fn results(json: &str, schema: &Schema) {
    let operations = [
        Operation::insert("T", Uuid::nil(), Row::new()),
        Operation::select::<&str>("T", Vec::new(), []),
    ];
    if let Ok(outcome) = Outcome::decode(json, &operations, schema) {
        assert_eq!(outcome.results.len(), operations.len());
        let failed = outcome.commit_error.is_some()
            || outcome
                .results
                .iter()
                .any(|result| matches!(result, OpResult::Failed(_)));
        let whole = outcome.with_left_out(&[1]);
        assert_eq!(whole.results.len(), operations.len() + 1);
        match whole.into_result(&operations) {
            Ok(_) => assert!(!failed),
            Err(error) => assert!(failed && !error.to_string().is_empty()),
        }
    }
}
