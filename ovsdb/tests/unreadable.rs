//! Values that cannot be read for what they are: a server writes reals with fifteen digits, and two of one set may look
//! alike. They cost nothing else: no connection, no row, no other column.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::sync::Arc;

use common::proxy::{Mischief, Proxy};
use common::*;
use ovsdb::model::{Atom, Clause, Database, Datum, OpResult, Operation, Real, Table, Uuid};
use ovsdb::{Client, MonitorMethod, Remote};
use serde_json::json;
use yusur_testbed::ovsdb::{Cluster, Server, Standalone};
use yusur_testbed::schemas::Schema;

#[derive(Debug, Table)]
#[ovsdb(table = "T")]
struct Rates {
    rates: Vec<Real>,
}

fn schema(dir: &std::path::Path) -> anyhow::Result<Schema> {
    let many = |key: &str| json!({"type": {"key": key, "min": 0, "max": "unlimited"}});
    let map = |key: &str, value: &str| json!({"type": {"key": key, "value": value, "min": 0, "max": "unlimited"}});
    let columns = json!({"name": {"type": "string"}, "rates": many("real"), "weights": map("string", "real"),
        "names": map("real", "string"), "tags": many("string")});
    let schema = json!({"name": "Reals", "version": "1.0.0", "tables": {"T": {"columns": columns, "isRoot": true}}});
    let path = dir.join("reals.ovsschema");
    std::fs::write(&path, schema.to_string())?;
    Schema::open(path)
}

fn reals(remote: &str) -> anyhow::Result<ovsdb::Builder> {
    let remotes = Remote::parse_list(remote)?;
    Ok(Client::builder("Reals").remotes(remotes).all_columns("T"))
}

/// The one that looks like 0.3 and is not.
const ALIKE: f64 = 0.300_000_000_000_000_04;

fn real(number: f64) -> Atom {
    Real::new(number).map(Atom::Real).unwrap()
}

fn row_named(database: &Database, name: &str) -> Option<Arc<ovsdb::model::Row>> {
    let mut rows = database.rows("T");
    rows.find_map(|(_, row)| (row.get_str("name") == Some(name)).then_some(row))
}

fn change(server: &Server, name: &str, column: &str, mutator: &str, value: serde_json::Value) {
    let operation = json!({"op": "mutate", "table": "T", "where": [["name", "==", name]],
        "mutations": [[column, mutator, value]]});
    server.transact(&[operation]).unwrap();
}

/// Waits until the row's column is as wished; `None` is one that could not be read.
async fn becomes(client: &Client, name: &str, column: &str, wanted: Option<Datum>) {
    eventually(client, |database| {
        row_named(database, name).is_some_and(|row| {
            row.get(column) == wanted.as_ref()
                && row.unreadable().iter().any(|unread| unread == column) == wanted.is_none()
        })
    })
    .await;
}

/// What the client says of columns that cannot be read everywhere.
fn unreadable(client: &Client) -> Vec<String> {
    let state = client.state().borrow().clone();
    let tables = state.unreadable.iter();
    tables
        .flat_map(|(table, columns)| {
            columns
                .iter()
                .map(move |(column, rows)| format!("{table}.{column}: {rows}"))
        })
        .collect()
}

#[tokio::test]
async fn reals_that_look_alike_cost_nothing_else() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let schema = schema(dir.path())?;
    // Each has what the next one has not: a history, differences, and neither.
    let cluster = Cluster::start(1, &schema)?;
    let remote = cluster.member(0).unix();
    alike(cluster.member(0), &remote, MonitorMethod::MonitorCondSince).await?;
    for (refused, method) in [
        (vec!["monitor_cond_since"], MonitorMethod::MonitorCond),
        (
            vec!["monitor_cond_since", "monitor_cond"],
            MonitorMethod::Monitor,
        ),
    ] {
        let server = Standalone::start(&schema)?;
        let mischief = Mischief {
            refused,
            ..Mischief::default()
        };
        let proxy = Proxy::start(server.unix_path(), move |_| mischief.clone()).await?;
        alike(&server, &proxy.remote(), method).await?;
    }
    Ok(())
}

async fn alike(server: &Server, remote: &str, method: MonitorMethod) -> anyhow::Result<()> {
    let log = Log::start();
    let told = || log.lines("cannot be read").len();
    let at_first = told();
    let both = json!(["set", [0.3, ALIKE]]);
    let inserted = server.transact(&[
        json!({"op": "insert", "table": "T", "row": {"name": "bad", "rates": both}}),
        json!({"op": "insert", "table": "T", "row": {"name": "good", "rates": 0.3, "weights": ["map", [["k", 0.3]]]}}),
    ])?;
    let bad = Uuid::parse_str(inserted[0]["uuid"][1].as_str().unwrap_or_default())?;
    let client = started(reals(remote)?).await;
    assert_eq!(client.state().borrow().monitor, Some(method));
    let three = || Some(Datum::scalar(real(0.3)));

    // All is there but the one column of the one row, and that is said.
    becomes(&client, "bad", "rates", None).await;
    becomes(&client, "bad", "tags", Some(Datum::empty_set())).await;
    becomes(&client, "good", "rates", three()).await;
    assert_eq!(unreadable(&client), ["T.rates: 1"]);
    let typed = client.read().get::<Rates>(bad).unwrap_err().to_string();
    assert!(
        typed.contains("rates") && typed.contains("could not be read"),
        "{typed}"
    );

    // All else goes on.
    change(server, "bad", "tags", "insert", json!("x"));
    becomes(&client, "bad", "tags", Some(Datum::scalar("x"))).await;
    let select = Operation::select("T", vec![Clause::equal("name", "bad")], ["tags", "rates"]);
    let tag = Operation::update("T", bad, [("tags", "y")].into_iter().collect());
    let results = soon(client.transact(vec![tag, select])).await?;
    let OpResult::Rows(rows) = &results[1] else {
        panic!("{results:?}")
    };
    assert_eq!(rows[0].get_str("tags"), Some("y"));
    assert_eq!(rows[0].unreadable(), ["rates"]);

    // What is mended is read again.
    change(server, "bad", "rates", "delete", json!(ALIKE));
    becomes(&client, "bad", "rates", three()).await;
    assert_eq!(unreadable(&client), [""; 0]);

    // Differences look alike as well: what comes, what goes, and one for the other.
    change(server, "good", "rates", "insert", json!(ALIKE));
    becomes(&client, "good", "rates", None).await;
    change(server, "good", "rates", "delete", json!(0.3));
    becomes(&client, "good", "rates", three()).await;
    change(
        server,
        "good",
        "rates",
        "insert",
        json!(["set", [0.3, 1.5]]),
    );
    becomes(&client, "good", "rates", None).await;
    change(
        server,
        "good",
        "rates",
        "delete",
        json!(["set", [0.3, ALIKE]]),
    );
    becomes(&client, "good", "rates", Some(Datum::scalar(real(1.5)))).await;
    let columns =
        json!({"weights": ["map", [["k", ALIKE]]], "names": ["map", [[0.3, "a"], [ALIKE, "b"]]]});
    server.transact(&[
        json!({"op": "update", "table": "T", "where": [["name", "==", "good"]], "row": columns}),
    ])?;
    becomes(&client, "good", "names", None).await;
    let weights = Datum::map([("k", real(0.3))]);
    becomes(&client, "good", "weights", Some(weights)).await;
    change(server, "good", "names", "delete", json!(["set", [0.3]]));
    becomes(
        &client,
        "good",
        "names",
        Some(Datum::map([(real(0.3), "b")])),
    )
    .await;

    change(server, "bad", "rates", "insert", json!(ALIKE));
    becomes(&client, "bad", "rates", None).await;
    let state = client.state().borrow().clone();
    assert_eq!(
        (state.counters.attempts, state.counters.sessions),
        (1, 1),
        "{state}"
    );
    // Each time that a column of a row could not be read any more.
    assert_eq!(told() - at_first, 5, "{:#?}", log.lines(""));

    // The next session finds it as this one did: that is no news.
    client.reconnect();
    state_where(&client, |state| {
        state.is_synced() && state.counters.sessions == 2
    })
    .await;
    becomes(&client, "bad", "rates", None).await;
    assert_eq!(unreadable(&client), ["T.rates: 1"]);
    change(server, "bad", "rates", "delete", json!(0.3));
    becomes(&client, "bad", "rates", three()).await;
    assert_eq!(told() - at_first, 5);
    client.close().await;
    Ok(())
}
