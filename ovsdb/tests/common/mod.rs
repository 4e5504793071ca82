//! What the tests of this crate share.
#![allow(dead_code, reason = "every test program uses its own part")]
#![allow(
    clippy::expect_used,
    reason = "helpers of tests, where a panic is a failure"
)]

pub(crate) mod dice;
pub(crate) mod proxy;
pub(crate) mod workload;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Once;
use std::time::Duration;

use ovsdb::model::{Datum, Operation, Row, Table, Uuid};
use ovsdb::{Client, Remote};
use yusur_testbed::ovsdb::Dump;

/// What tests write into the Northbound.
#[derive(Clone, Debug, PartialEq, Table)]
#[ovsdb(table = "Load_Balancer")]
pub(crate) struct LoadBalancer {
    pub(crate) name: String,
    pub(crate) vips: BTreeMap<String, String>,
    pub(crate) protocol: Option<String>,
    pub(crate) external_ids: BTreeMap<String, String>,
}

/// A parent of other rows.
#[derive(Clone, Debug, PartialEq, Table)]
#[ovsdb(table = "Logical_Switch")]
pub(crate) struct LogicalSwitch {
    pub(crate) name: String,
    pub(crate) ports: Vec<Uuid>,
    pub(crate) load_balancer: Vec<Uuid>,
    pub(crate) external_ids: BTreeMap<String, String>,
}

/// The table with one row.
#[derive(Clone, Debug, PartialEq, Table)]
#[ovsdb(table = "NB_Global")]
pub(crate) struct NbGlobal {
    pub(crate) nb_cfg: i64,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) external_ids: BTreeMap<String, String>,
}

impl LoadBalancer {
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            vips: BTreeMap::from([("10.0.0.1:80".to_owned(), "10.1.0.1:8080".to_owned())]),
            protocol: Some("tcp".to_owned()),
            external_ids: BTreeMap::new(),
        }
    }
}

/// A client of the Northbound with the tables above, impatient as tests are.
pub(crate) fn northbound(remotes: &str) -> ovsdb::Builder {
    Client::builder("OVN_Northbound")
        .remotes(Remote::parse_list(remotes).expect("remotes"))
        .table::<LoadBalancer>()
        .table::<LogicalSwitch>()
        .table::<NbGlobal>()
        .backoff(Duration::from_millis(10), Duration::from_millis(200))
}

/// Starts it and waits for the first replica.
pub(crate) async fn started(builder: ovsdb::Builder) -> Client {
    let client = builder.start().expect("a client");
    soon(client.synced()).await;
    client
}

/// Waits for what must come; a minute without it is a failure, not a slow machine.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("what was awaited did not come within a minute")
}

/// Waits until the replica is as wished.
pub(crate) async fn eventually(client: &Client, wish: impl Fn(&ovsdb::model::Database) -> bool) {
    let mut changes = client.changes();
    soon(async {
        while !wish(&client.read()) {
            changes.next_batch().await.expect("the client was closed");
        }
    })
    .await;
}

/// Waits until the state is as wished.
pub(crate) async fn state_where(
    client: &Client,
    wish: impl Fn(&ovsdb::State) -> bool,
) -> std::sync::Arc<ovsdb::State> {
    let mut state = client.state();
    let found = soon(state.wait_for(|state| wish(state)))
        .await
        .expect("the client was closed");
    found.clone()
}

/// Waits until an attempt has failed, and returns what it failed for.
pub(crate) async fn failure(client: &Client) -> String {
    let state = state_where(client, |state| state.failures > 0).await;
    state.last_error.clone().expect("a failure has a reason")
}

/// What a test logs, its clients' tasks included: each test runs on a thread of its own.
pub(crate) struct Log;

thread_local! {
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Log {
    /// Has everything logged from now on.
    pub(crate) fn start() -> Self {
        // One for all threads. What was met without any subscriber, or while one is about to be set, stays switched off
        // until it is asked about again.
        static SET: Once = Once::new();
        SET.call_once(|| {
            let subscriber = tracing_subscriber::fmt()
                .with_ansi(false)
                .with_writer(|| Self)
                .finish();
            tracing::subscriber::set_global_default(subscriber).expect("the only one");
            tracing::callsite::rebuild_interest_cache();
        });
        Self
    }

    /// The lines that have these words.
    pub(crate) fn lines(&self, words: &str) -> Vec<String> {
        let text = LOG.with_borrow(|log| String::from_utf8_lossy(log).into_owned());
        let lines = text.lines().filter(|line| line.contains(words));
        lines.map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(crate) fn insert(uuid: Uuid, name: &str) -> Operation {
    Operation::insert_value(uuid, &LoadBalancer::named(name))
}

pub(crate) fn names(client: &Client) -> Vec<String> {
    let read = client.read();
    let mut names: Vec<String> = read
        .rows("Load_Balancer")
        .map(|(_, row)| row.get_str("name").unwrap_or("?").to_owned())
        .collect();
    names.sort();
    names
}

/// The replica's rows of a table in the form of a dump.
fn table_of(client: &Client, table: &str) -> BTreeMap<String, BTreeMap<String, serde_json::Value>> {
    let read = client.read();
    read.rows(table)
        .map(|(uuid, row)| (uuid.to_string(), columns_of(&row)))
        .collect()
}

fn columns_of(row: &Row) -> BTreeMap<String, serde_json::Value> {
    row.iter()
        .map(|(name, datum)| {
            (
                name.to_string(),
                serde_json::to_value(datum).expect("a datum"),
            )
        })
        .collect()
}

/// Fails unless the replica's rows are those of the dump, column by column as far as the replica has them.
pub(crate) fn assert_equals_dump(client: &Client, dump: &Dump, tables: &[&str]) {
    for table in tables {
        let replica = table_of(client, table);
        let mut expected = BTreeMap::new();
        for (uuid, row) in dump.rows(table) {
            let kept: BTreeMap<String, Datum> = match replica.get(uuid) {
                Some(own) => row
                    .iter()
                    .filter(|(column, _)| own.contains_key(*column))
                    .map(|(column, value)| {
                        (
                            column.clone(),
                            serde_json::from_value(value.clone()).expect("a datum"),
                        )
                    })
                    .collect(),
                None => BTreeMap::new(),
            };
            let kept: BTreeMap<String, serde_json::Value> = kept
                .into_iter()
                .map(|(column, datum)| (column, serde_json::to_value(datum).expect("a datum")))
                .collect();
            expected.insert(uuid.to_owned(), kept);
        }
        assert_eq!(replica, expected, "table {table}");
    }
}
