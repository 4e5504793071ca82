//! Holds the model against a real ovsdb-server: the same random transactions to both must give the same results and
//! leave the same content, for a schema that has every trait a schema can have and for OVN's own.

#![allow(
    clippy::unwrap_used,
    reason = "a test: what fails shall say so at once"
)]

mod generate;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use northbound_model::{Northbound, OperationResult, Reply};
use ovsdb_model::schema::{BaseType, RefType};
use ovsdb_model::{Atom, AtomSeed, AtomType, Datum, DatumSeed, Operation, Real, Row, Schema, Uuid};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde::de::DeserializeSeed;
use serde_json::{Value, json};
use yusur_testbed::ovsdb::{Session, Standalone};
use yusur_testbed::schemas;

use generate::{Generator, Recipe};

/// How many random histories each schema is tried with; `PROPTEST_CASES` asks for more.
const CASES: u32 = 1500;

type Content = BTreeMap<(String, Uuid), Row>;

#[test]
fn a_schema_of_every_trait() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/quirks.ovsschema");
    compare(&schemas::Schema::open(path).unwrap(), None);
}

/// The tables that the planner writes: fewer, so that rows meet.
const NORTHBOUND: &[&str] = &[
    "NB_Global",
    "Logical_Switch",
    "Logical_Switch_Port",
    "Load_Balancer",
    "Load_Balancer_Group",
    "Load_Balancer_Health_Check",
    "Logical_Router",
    "Logical_Router_Port",
    "Logical_Router_Static_Route",
    "DNS",
    "DHCP_Options",
    "HA_Chassis_Group",
];

#[test]
fn the_installed_northbound() {
    compare(&schemas::installed("ovn-nb").unwrap(), Some(NORTHBOUND));
}

#[test]
fn the_newest_northbound() {
    compare(&schemas::newest("ovn-nb").unwrap(), Some(NORTHBOUND));
}

/// Runs random histories against both.
fn compare(file: &schemas::Schema, tables: Option<&[&str]>) {
    let schema: Arc<Schema> = Arc::new(serde_json::from_str(&file.text().unwrap()).unwrap());
    let generator = RefCell::new(Generator::new(Arc::clone(&schema), tables));
    let server = Standalone::start(file).unwrap();
    let session = RefCell::new(server.connect().unwrap());
    let last = RefCell::new(Content::new());
    let tally = RefCell::new(Tally::default());
    let histories = prop::collection::vec(prop::collection::vec(any::<Recipe>(), 1..5), 1..12);
    let check = |history: Vec<Vec<Recipe>>| {
        let mut session = session.borrow_mut();
        clear(&mut session, &schema);
        let mut model = Northbound::new(Arc::clone(&schema));
        for recipes in &history {
            let operations = generator.borrow_mut().transaction(recipes, &model);
            let reply = model.transact(&operations);
            tally.borrow_mut().count(&reply);
            let json: Vec<Value> = operations
                .iter()
                .map(|operation| serde_json::to_value(operation).unwrap())
                .collect();
            let answer = session.transact(&schema.name, &json).map_err(|error| {
                TestCaseError::fail(format!("{error:#}: {json:#?}\n{:?}", server.log()))
            })?;
            let theirs = select(&mut session, &schema);
            if refers_to_nothing(&schema, &theirs) {
                tally.borrow_mut().dangling += 1;
                return Ok(());
            }
            same_results(&schema, &operations, &reply, &answer)
                .map_err(|problem| TestCaseError::fail(format!("{problem}\nsent {json:#?}")))?;
            let ours = content(&model);
            prop_assert_eq!(ours, theirs, "content after {:#?}", json);
        }
        *last.borrow_mut() = content(&model);
        Ok(())
    };
    // Some outcomes are rare: more histories, a few times over, until each has been seen.
    let mut runner = TestRunner::new(config());
    for _ in 0..5 {
        runner.run(&histories, check).unwrap();
        if tally.borrow().missing(tables.is_none()).is_empty() {
            break;
        }
    }

    let tally = tally.borrow();
    println!("{tally:?}");
    assert_eq!(tally.missing(tables.is_none()), [], "never seen");
    assert!(tally.changed > 0 && tally.deleted > 0);
    assert!(
        tally.dangling * 100 < tally.committed,
        "few histories end early"
    );

    // What the session selected is what a neutral program sees.
    let dump = server.dump().unwrap();
    let mut dumped = Content::new();
    for (table, rows) in &dump.tables {
        for (uuid, row) in rows {
            let row = row
                .iter()
                .map(|(name, value)| (name.as_str(), read(&schema, table, name, value)))
                .collect();
            dumped.insert((table.clone(), uuid.parse().unwrap()), row);
        }
    }
    assert_eq!(*last.borrow(), dumped);
}

/// [`CASES`] cases, always the same, or as `PROPTEST_CASES` and `PROPTEST_RNG_SEED` say; the seed is printed.
fn config() -> Config {
    let mut config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES;
    }
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(1);
    }
    if let RngSeed::Fixed(seed) = config.rng_seed {
        println!(
            "replay with PROPTEST_RNG_SEED={seed} PROPTEST_CASES={}",
            config.cases
        );
    }
    config
}

/// How often each outcome came up: agreement is worth something only where something happened.
#[derive(Debug, Default)]
struct Tally {
    committed: u32,
    changed: u32,
    deleted: u32,
    dangling: u32,
    failures: BTreeMap<(&'static str, bool), u32>,
}

impl Tally {
    fn count(&mut self, reply: &Reply) {
        if let Some(failure) = reply.failure() {
            let at_commit = reply.commit.is_some();
            *self.failures.entry((failure.error, at_commit)).or_default() += 1;
        } else {
            self.committed += 1;
            self.changed += u32::from(!reply.batch.is_empty());
            let mut changes = reply.batch.changes.iter();
            self.deleted += u32::from(changes.any(|change| change.new.is_none()));
        }
    }

    /// Which failures, at once or at commit, did not come up. Arithmetic errors need a schema with arithmetic.
    fn missing(&self, arithmetic: bool) -> Vec<(&'static str, bool)> {
        let mut expected = vec![
            ("constraint violation", false),
            ("constraint violation", true),
            ("duplicate uuid", false),
            ("referential integrity violation", true),
            ("syntax error", false),
            ("timed out", false),
        ];
        if arithmetic {
            expected.extend([("domain error", false), ("range error", false)]);
        }
        expected.retain(|failure| !self.failures.contains_key(failure));
        expected
    }
}

/// Empties the server's database.
fn clear(session: &mut Session, schema: &Schema) {
    let deletes: Vec<Value> = schema
        .tables
        .keys()
        .map(|table| json!({"op": "delete", "table": table.as_str(), "where": []}))
        .collect();
    session.commit(&schema.name, &deletes).unwrap();
}

fn content(model: &Northbound) -> Content {
    let mut content = Content::new();
    for table in model.schema().tables.keys() {
        for (uuid, row) in model.content().rows(table) {
            content.insert((table.to_string(), uuid), told(&row));
        }
    }
    content
}

/// True if a row refers weakly to one that is not there, which no commit should leave behind (RFC 7047 §3.2).
///
/// ovsdb-server 3.1 to 4.0 does, where a transaction first changes another column of a row and then deletes what the row
/// refers to; at times, by the order of its hash tables. The model does as the RFC says, and has nothing to say about
/// what follows. No transaction of ours depends on it: a row is taken out of what refers to it before it is deleted.
fn refers_to_nothing(schema: &Schema, content: &Content) -> bool {
    let nothing = |base: Option<&BaseType>, atom: &Atom| {
        let table = base.and_then(|base| base.reference.as_ref());
        table
            .zip(atom.as_uuid())
            .is_some_and(|((table, how), uuid)| {
                *how == RefType::Weak && !content.contains_key(&(table.to_string(), uuid))
            })
    };
    content.iter().any(|((table, _), row)| {
        row.iter().any(|(name, datum)| {
            let kind = &schema.column(table, name).unwrap().kind;
            let (key, value) = (Some(&kind.key), kind.value.as_ref());
            datum.elements().iter().any(|atom| nothing(key, atom))
                || datum
                    .pairs()
                    .iter()
                    .any(|pair| nothing(key, &pair.0) || nothing(value, &pair.1))
        })
    })
}

/// A row as the server would tell it: it writes a real with fifteen digits (`DBL_DIG`) and goes on with all it has.
fn told(row: &Row) -> Row {
    let datum = |datum: &Datum| match datum.as_scalar() {
        Some(Atom::Real(real)) => {
            let rounded = format!("{:.14e}", real.get()).parse().unwrap();
            Datum::scalar(Atom::Real(Real::new(rounded).unwrap()))
        }
        _ => datum.clone(),
    };
    row.iter()
        .map(|(name, value)| (name.clone(), datum(value)))
        .collect()
}

fn select(session: &mut Session, schema: &Schema) -> Content {
    let selects: Vec<Value> = schema
        .tables
        .keys()
        .map(|table| json!({"op": "select", "table": table.as_str(), "where": []}))
        .collect();
    let results = session.commit(&schema.name, &selects).unwrap();
    let mut content = Content::new();
    for (table, result) in schema.tables.keys().zip(results) {
        for row in result["rows"].as_array().unwrap() {
            let mut row = read_row(schema, table, row);
            let uuid = row.remove("_uuid").unwrap().as_uuid().unwrap();
            content.insert((table.to_string(), uuid), row);
        }
    }
    content
}

fn read_row(schema: &Schema, table: &str, row: &Value) -> Row {
    row.as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| *name != "_version")
        .map(|(name, value)| (name.as_str(), read(schema, table, name, value)))
        .collect()
}

fn read(schema: &Schema, table: &str, column: &str, value: &Value) -> Datum {
    if column == "_uuid" {
        return AtomSeed(Some(AtomType::Uuid))
            .deserialize(value)
            .unwrap()
            .into();
    }
    let kind = &schema.column(table, column).unwrap().kind;
    DatumSeed(Some(kind)).deserialize(value).unwrap()
}

/// Compares the results of a transaction, operation by operation.
fn same_results(
    schema: &Schema,
    operations: &[Operation],
    reply: &Reply,
    answer: &[Value],
) -> Result<(), String> {
    let extra = answer.get(operations.len());
    let ours = reply.commit.as_ref().map(|failure| failure.error);
    if ours != extra.and_then(|extra| extra["error"].as_str()) {
        return Err(format!(
            "at commit: ours {:?}, the server's {extra:?}",
            reply.commit
        ));
    }
    for (at, (operation, ours)) in operations.iter().zip(&reply.results).enumerate() {
        let theirs = &answer[at];
        let same = match ours {
            OperationResult::Inserted(uuid) => theirs["uuid"][1] == uuid.to_string(),
            OperationResult::Count(count) => theirs["count"] == *count,
            OperationResult::Done => theirs.as_object().is_some_and(serde_json::Map::is_empty),
            OperationResult::Failed(failure) => theirs["error"] == failure.error,
            OperationResult::NotExecuted => theirs.is_null(),
            OperationResult::Rows(rows) => theirs["rows"].as_array().is_some_and(|theirs| {
                let table = operation.table().unwrap_or_default();
                let mut theirs: Vec<Row> = theirs
                    .iter()
                    .map(|row| read_row(schema, table, row))
                    .collect();
                let key = |row: &Row| format!("{row:?}");
                let mut ours: Vec<Row> = rows.iter().map(told).collect();
                ours.sort_by_key(key);
                theirs.sort_by_key(key);
                ours == theirs
            }),
        };
        if !same {
            return Err(format!(
                "operation {at}: ours {ours:?}, the server's {theirs}"
            ));
        }
    }
    Ok(())
}
