//! Random schemas, random rows, random transactions: through the client, a real server and back. After each transaction
//! the replica is what `ovsdb-client dump` prints, the stream of changes tells the same story, and what the client lets
//! through is never what the server calls broken, nor is what it refuses what the server would take.

#![allow(clippy::expect_used, reason = "a test, where a panic is a failure")]

mod random {
    pub(super) mod choices;
    pub(super) mod schema;
    pub(super) mod transaction;
}

use std::collections::BTreeMap;
use std::time::Duration;

use ovsdb::model::{
    Batch, Database, Index, Name, OpResult, Operation, Row, Schema, TableSpec, Uuid,
};
use ovsdb::{BrokenReason, Changes, Client, Event, Remote, TransactError};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde::de::DeserializeSeed as _;
use tokio::runtime::Runtime;
use yusur_testbed::ovsdb::{Dump, Standalone};
use yusur_testbed::schemas;

use random::choices::Choices;
use random::transaction::Generator;

/// How many schemas are tried; `PROPTEST_CASES` asks for more.
const CASES: u32 = 40;

/// Table and UUID → row.
type Content = BTreeMap<(Name, Uuid), Row>;

#[test]
fn the_replica_is_what_a_dump_prints() {
    let config = config();
    let mut tally = Tally::default();
    let runtime = Runtime::new().expect("a runtime");
    let words = |most| prop::collection::vec(any::<u16>(), 0..most);
    let history = (words(120), prop::collection::vec(words(160), 1..20));
    let tallied = std::cell::RefCell::new(&mut tally);
    TestRunner::new(config)
        .run(&history, |(schema, transactions)| {
            run(&runtime, schema, transactions, &mut tallied.borrow_mut())
        })
        .expect("all cases hold");
    println!("{tally:?}");
    tally.check();
}

/// [`CASES`] cases, always the same, or as `PROPTEST_CASES` and `PROPTEST_RNG_SEED` say; the seed is printed.
fn config() -> Config {
    let mut config = Config {
        failure_persistence: None,
        max_shrink_iters: 300,
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
    changed_rows: usize,
    refused_here: u32,
    refused_there: u32,
    waits_failed: u32,
    reconnects: u32,
}

impl Tally {
    fn check(&self) {
        for count in [
            self.committed,
            self.refused_here,
            self.refused_there,
            self.waits_failed,
            self.reconnects,
        ] {
            assert!(count > 0, "something never happened: {self:?}");
        }
        assert!(self.changed_rows > 0, "{self:?}");
    }
}

/// One schema, one server, one client, some transactions.
fn run(
    runtime: &Runtime,
    schema_words: Vec<u16>,
    transactions: Vec<Vec<u16>>,
    tally: &mut Tally,
) -> Result<(), TestCaseError> {
    let json = random::schema::generate(&mut Choices::new(schema_words));
    let schema: Schema = serde_json::from_value(json.clone()).expect("a schema");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("random.ovsschema");
    std::fs::write(&file, json.to_string()).expect("a schema file");
    let server = Standalone::start(&schemas::Schema::open(&file).expect("a schema file"))
        .expect("a server that takes the schema");

    let mut builder = Client::builder(schema.name.clone())
        .remotes(Remote::parse_list(&server.unix()).expect("a remote"))
        .tables(
            schema
                .tables
                .keys()
                .map(|table| TableSpec::all(table.clone())),
        )
        .backoff(Duration::from_millis(1), Duration::from_millis(50));
    for (name, table) in &schema.tables {
        for column in table.columns.keys() {
            builder = builder.index(name.clone(), Index::column(column.clone()));
        }
    }
    let client = runtime.block_on(async { builder.start().expect("a client") });
    let mut story = Story {
        changes: client.changes(),
        told: Content::new(),
    };
    runtime.block_on(soon(client.synced()));
    let mut generator = Generator::new(&schema);

    let problem = |problem: String, operations: &[Operation]| {
        let sent = serde_json::to_string(operations).unwrap_or_default();
        TestCaseError::fail(format!("{problem}\nsent: {sent}\nschema: {json}"))
    };
    for words in transactions {
        let mut choices = Choices::new(words);
        let reconnect = choices.one_in(8);
        let operations = generator.transaction(&mut choices, &client.read());
        let result = runtime.block_on(soon(client.transact(operations.clone())));
        match &result {
            Ok(results) => {
                tally.committed += 1;
                prop_assert_eq!(results.len(), operations.len());
            }
            Err(TransactError::Constraint(_)) => tally.refused_there += 1,
            Err(TransactError::Retry(_)) => tally.waits_failed += 1,
            Err(TransactError::Aborted) => {}
            Err(TransactError::Broken(BrokenReason::Check(error))) => {
                tally.refused_here += 1;
                // What we refuse, the server must refuse: or we would forbid what is allowed.
                let alone = serde_json::to_value(&operations[error.operation]).expect("JSON");
                if server.transact(&[alone]).is_ok() {
                    let refusal = format!("refused here, taken there: {error}");
                    return Err(problem(refusal, &operations));
                }
            }
            Err(error) => {
                return Err(problem(
                    format!("not what a random transaction meets: {error}"),
                    &operations,
                ));
            }
        }

        let dump = content_of_dump(&server.dump().expect("a dump"), &schema)?;
        let replica = content(&client.read(), &schema);
        if replica != dump {
            return Err(problem(
                format!("replica {replica:#?}\ndump {dump:#?}"),
                &operations,
            ));
        }
        check_selects(runtime, &client, &schema, &dump)?;
        check_indexes(&client.read(), &schema)?;
        tally.changed_rows += story.go_on();
        prop_assert_eq!(&story.told, &dump, "the changes tell another story");

        if reconnect {
            tally.reconnects += 1;
            let before = client.state().borrow().counters;
            client.reconnect();
            let mut state = client.state();
            runtime.block_on(soon(async {
                let again = |state: &ovsdb::State| state.counters.sessions > before.sessions;
                state
                    .wait_for(|state| again(state))
                    .await
                    .expect("a client")
                    .clone()
            }));
            runtime.block_on(soon(client.synced()));
            prop_assert_eq!(&content(&client.read(), &schema), &dump);
            prop_assert_eq!(
                story.go_on(),
                0,
                "a resynchronisation without differences told some"
            );
        }
    }
    runtime.block_on(soon(client.close()));
    Ok(())
}

/// What the stream of changes tells.
struct Story {
    changes: Changes,
    told: Content,
}

impl Story {
    /// Takes what has been told since; returns how many rows that were.
    fn go_on(&mut self) -> usize {
        let mut rows = 0;
        while let Some(event) = self.changes.try_next() {
            if let Event::Batch(batch) = event {
                rows += batch.len();
                self.take(&batch);
            }
        }
        rows
    }

    fn take(&mut self, batch: &Batch) {
        for change in &batch.changes {
            let key = (change.table.clone(), change.uuid);
            let before = match &change.new {
                Some(new) => self.told.insert(key, Row::clone(new)),
                None => self.told.remove(&key),
            };
            assert_eq!(before.as_ref(), change.old.as_deref(), "{change:?}");
            assert_ne!(change.old, change.new);
        }
    }
}

fn content(database: &Database, schema: &Schema) -> Content {
    let tables = schema.tables.keys();
    tables
        .flat_map(|table| {
            database
                .rows(table)
                .map(|(uuid, row)| ((table.clone(), uuid), Row::clone(&row)))
        })
        .collect()
}

fn content_of_dump(dump: &Dump, schema: &Schema) -> Result<Content, TestCaseError> {
    let mut content = Content::new();
    for (name, table) in &schema.tables {
        for (uuid, columns) in dump.rows(name) {
            let mut row = Row::new();
            for (column, value) in columns {
                let kind = table
                    .columns
                    .get(column.as_str())
                    .map(|column| &column.kind);
                let datum = ovsdb::model::DatumSeed(kind)
                    .deserialize(value)
                    .map_err(|error| TestCaseError::fail(format!("{name}.{column}: {error}")))?;
                row.set(column, datum);
            }
            content.insert((name.clone(), uuid.parse().expect("a UUID")), row);
        }
    }
    Ok(content)
}

/// Selected rows are the replica's.
fn check_selects(
    runtime: &Runtime,
    client: &Client,
    schema: &Schema,
    dump: &Content,
) -> Result<(), TestCaseError> {
    let tables: Vec<&Name> = schema.tables.keys().collect();
    let selects: Vec<Operation> = tables
        .iter()
        .map(|table| Operation::select::<Name>((*table).clone(), vec![], []))
        .collect();
    let results = runtime
        .block_on(soon(client.transact(selects)))
        .expect("selects");
    let mut selected = Content::new();
    for (table, result) in tables.into_iter().zip(results) {
        let OpResult::Rows(rows) = result else {
            return Err(TestCaseError::fail(format!("a select gave {result:?}")));
        };
        for mut row in rows {
            let uuid = row.remove("_uuid").and_then(|uuid| uuid.as_uuid());
            row.remove("_version");
            selected.insert((table.clone(), uuid.expect("a UUID")), row);
        }
    }
    prop_assert_eq!(&selected, dump);
    Ok(())
}

/// Every column is indexed: looking up what a row holds finds the row, and nothing else.
fn check_indexes(database: &Database, schema: &Schema) -> Result<(), TestCaseError> {
    for (name, table) in &schema.tables {
        for column in table.columns.keys() {
            let mut expected: BTreeMap<_, Vec<Uuid>> = BTreeMap::new();
            for (uuid, row) in database.rows(name) {
                let datum = row.get(column).expect("a monitored column");
                let keys = datum.pairs().iter().map(|(key, _)| key);
                for key in datum.elements().iter().chain(keys) {
                    expected.entry(key.clone()).or_default().push(uuid);
                }
            }
            prop_assert_eq!(database.keys(name, column).count(), expected.len());
            for (key, mut uuids) in expected {
                uuids.sort_unstable();
                let found: Vec<Uuid> = database
                    .find(name, column, &key)
                    .map(|(uuid, _)| uuid)
                    .collect();
                prop_assert_eq!(found, uuids);
            }
        }
    }
    Ok(())
}

/// Waits for what must come; a minute without it is a failure, not a slow machine.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("what was awaited did not come within a minute")
}
