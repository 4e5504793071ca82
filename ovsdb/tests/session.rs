//! Sessions with one real ovsdb-server: the replica, transactions, changes, restarts, conversion.

mod common;

use std::time::Duration;

use common::*;
use ovsdb::model::{Clause, Datum, Mutation, OpResult, Operation, Row, Table as _, Uuid};
use ovsdb::{
    BrokenReason, Client, Event, MonitorMethod, Phase, Remote, RetryReason, TransactError,
    Transaction,
};
use tokio::io::AsyncReadExt as _;
use yusur_testbed::ovsdb::Standalone;
use yusur_testbed::schemas::{Schema, installed, newest};

fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x5000_0000_0000_4000_8000_0000_0000_0000 + number)
}

#[tokio::test]
async fn own_changes_are_in_the_replica_before_the_result() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    for remote in [server.unix(), server.tcp(), server.tcp6()] {
        let client = started(northbound(&remote)).await;
        for number in 0..50 {
            let uuid = Uuid::from_u128(0x1000 * (1 + remote.len() as u128) + number);
            let results = soon(client.transact(vec![insert(uuid, &format!("lb{number}"))])).await?;
            assert_eq!(results, [OpResult::Inserted(uuid)]);
            assert!(client.read().row("Load_Balancer", uuid).is_some());
            soon(client.transact(vec![Operation::delete("Load_Balancer", uuid)])).await?;
            assert!(client.read().row("Load_Balancer", uuid).is_none());
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_operation_and_its_result() -> anyhow::Result<()> {
    for schema in [installed("ovn-nb")?, newest("ovn-nb")?] {
        every_operation(&schema).await?;
    }
    Ok(())
}

async fn every_operation(schema: &Schema) -> anyhow::Result<()> {
    let server = Standalone::start(schema)?;
    let client = started(northbound(&server.unix())).await;
    soon(client.transact(vec![
        insert(id(1), "a"),
        Operation::comment("two"),
        insert(id(2), "b"),
    ]))
    .await?;
    let vips = Mutation::set_keys(
        "vips",
        [("10.0.0.1:80", "10.1.0.9:8080"), ("10.0.0.2:80", "")],
    );
    let results = soon(client.transact(vec![
        Operation::mutate("Load_Balancer", id(1), vips),
        Operation::mutate(
            "Load_Balancer",
            id(9),
            [Mutation::delete_keys("vips", ["x"])],
        ),
        Operation::update(
            "Load_Balancer",
            id(2),
            [("protocol", Datum::scalar("udp"))].into_iter().collect(),
        ),
        Operation::select(
            "Load_Balancer",
            vec![Clause::equal("name", "a")],
            ["name", "vips"],
        ),
        Operation::require("Load_Balancer", vec![Clause::equal("name", "b")]),
        Operation::Commit { durable: true },
        Operation::delete("Load_Balancer", id(2)),
    ]))
    .await?;
    assert_eq!(results[0], OpResult::Count(1));
    assert_eq!(results[1], OpResult::Count(0));
    let OpResult::Rows(rows) = &results[3] else {
        anyhow::bail!("no rows: {:?}", results[3])
    };
    assert_eq!(rows.len(), 1);
    assert_eq!(
        rows[0].map_str("vips", "10.0.0.1:80"),
        Some("10.1.0.9:8080")
    );
    assert_eq!(results[5], OpResult::Done);
    assert_eq!(names(&client), ["a"]);
    assert_equals_dump(
        &client,
        &server.dump()?,
        &["Load_Balancer", "Logical_Switch", "NB_Global"],
    );
    Ok(())
}

#[tokio::test]
async fn the_whole_of_both_databases_of_both_versions() -> anyhow::Result<()> {
    for (name, table, columns) in [
        ("ovn-nb", "Logical_Switch", ["name", "other_config"]),
        ("ovn-sb", "SB_Global", ["nb_cfg", "options"]),
    ] {
        for schema in [installed(name)?, newest(name)?] {
            let server = Standalone::start(&schema)?;
            let remotes = Remote::parse_list(&server.unix())?;
            let client = Client::builder(schema.name.as_str()).remotes(remotes);
            let client = started(client.everything()).await;
            let known = client.schema().unwrap();
            assert_eq!(known.version, schema.version);
            soon(client.transact(vec![Operation::insert(table, id(1), Row::new())])).await?;
            let row = client.read().row(table, id(1)).unwrap();
            assert_eq!(row.len(), known.table(table).unwrap().columns.len());
            for column in columns {
                assert!(row.get(column).is_some(), "{column}");
            }
            assert_equals_dump(&client, &server.dump()?, &[table]);
        }
    }
    Ok(())
}

#[tokio::test]
async fn errors_are_sorted_and_change_nothing() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let client = started(northbound(&server.unix())).await;
    let group = |number| {
        Operation::insert(
            "Load_Balancer_Group",
            id(number),
            [("name", "same")].into_iter().collect(),
        )
    };
    let error = soon(client.transact(vec![insert(id(1), "a"), group(2), group(3)]))
        .await
        .unwrap_err();
    let TransactError::Constraint(error) = error else {
        panic!("{error}")
    };
    assert_eq!(error.operation, None, "found at commit");
    assert!(error.error.details.unwrap().contains("same"));

    soon(client.transact(vec![insert(id(1), "a")])).await?;
    let error = soon(client.transact(vec![insert(id(2), "b"), insert(id(1), "a")]))
        .await
        .unwrap_err();
    let TransactError::Constraint(error) = error else {
        panic!("{error}")
    };
    assert_eq!(
        (error.operation, error.error.error.as_str()),
        (Some(1), "duplicate uuid")
    );

    let absent = Operation::require("Load_Balancer", vec![Clause::equal("name", "z")]);
    let error = soon(client.transact(vec![insert(id(3), "c"), absent]))
        .await
        .unwrap_err();
    assert_eq!(error, TransactError::Retry(RetryReason::WaitFailed(1)));

    let nonsense =
        Operation::Raw(serde_json::json!({"op": "insert", "table": "Nowhere", "row": {}}));
    assert!(matches!(
        soon(client.transact(vec![nonsense])).await,
        Err(TransactError::Broken(_))
    ));
    let aborted = soon(client.transact(vec![insert(id(4), "d"), Operation::Abort])).await;
    assert_eq!(aborted, Err(TransactError::Aborted));
    assert_eq!(names(&client), ["a"]);
    Ok(())
}

#[tokio::test]
async fn what_the_schema_does_not_allow_is_not_sent() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let client = started(northbound(&server.unix())).await;
    let icmp = LoadBalancer {
        protocol: Some("icmp".to_owned()),
        ..LoadBalancer::named("a")
    };
    let error = soon(client.transact(vec![
        insert(id(1), "b"),
        Operation::insert_value(id(2), &icmp),
    ]))
    .await
    .unwrap_err();
    assert_eq!(error.operation(), Some(1));
    assert!(
        matches!(&error, TransactError::Broken(BrokenReason::Check(_))),
        "{error}"
    );
    assert!(
        error.to_string().contains("sctp"),
        "names the words: {error}"
    );

    // What this version lacks is left out.
    let row = LoadBalancer::named("a").to_row().with("of_no_version", "x");
    let sample = [("metadata", Datum::scalar(1))].into_iter().collect();
    let results = soon(client.transact(vec![
        Operation::insert("Sample", id(3), sample),
        Operation::insert("Load_Balancer", id(4), row),
    ]))
    .await?;
    assert_eq!(results, [OpResult::LeftOut, OpResult::Inserted(id(4))]);
    assert_eq!(names(&client), ["a"]);
    Ok(())
}

#[tokio::test]
async fn a_large_change_is_split_where_asked() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let client = started(northbound(&server.unix())).await;
    let pair = |number: u128| vec![insert(id(2 * number), "a"), insert(id(2 * number + 1), "b")];
    let results =
        soon(client.transact_split((0..50).map(pair).collect(), &Transaction::default(), 7))
            .await?;
    assert_eq!(results.len(), 50);
    assert_eq!(
        results[49],
        [OpResult::Inserted(id(98)), OpResult::Inserted(id(99))]
    );
    assert_eq!(names(&client).len(), 100);

    // The fifth pair is there already: three to a transaction, so the first three are new and the next three fail.
    let mut groups: Vec<_> = (100..110).map(pair).collect();
    groups[4] = pair(4);
    let error = soon(client.transact_split(groups, &Transaction::default(), 6))
        .await
        .unwrap_err();
    assert_eq!(
        (error.done.len(), error.failed.clone(), error.group),
        (3, 3..6, Some(4))
    );
    assert_eq!(error.error.operation(), Some(0));
    assert_eq!(names(&client).len(), 106);
    Ok(())
}

#[derive(Debug, ovsdb::model::Table)]
#[ovsdb(table = "Load_Balancer")]
struct Mistaken {
    vips: Vec<String>,
}

#[tokio::test]
async fn a_description_that_contradicts_the_schema_is_said() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let client = northbound(&server.unix()).table::<Mistaken>().start()?;
    let error = failure(&client).await;
    assert!(
        error.contains("vips") && error.contains("set of string"),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn streams_tell_every_change_and_a_resync_only_differences() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let client = started(northbound(&server.unix())).await;
    soon(client.transact(vec![
        insert(id(1), "a"),
        insert(id(2), "b"),
        insert(id(3), "c"),
    ]))
    .await?;
    let mut changes = client.changes();
    let content = soon(changes.next_batch()).await.unwrap();
    assert_eq!(content.len(), 3, "a stream begins with what is there");

    server.kill()?;
    state_where(&client, |state| {
        state.phase == Phase::Disconnected || state.failures > 0
    })
    .await;
    assert_eq!(
        names(&client),
        ["a", "b", "c"],
        "readable while disconnected"
    );
    let refused = client.transact(vec![insert(id(5), "e")]).await;
    assert!(
        matches!(
            refused,
            Err(TransactError::Retry(RetryReason::NotConnected(_)))
        ),
        "{refused:?}"
    );
    server.start()?;
    server.transact(&[
        serde_json::json!({"op": "delete", "table": "Load_Balancer", "where": [["name", "==", "b"]]}),
        serde_json::json!({"op": "insert", "table": "Load_Balancer", "row": {"name": "d"}}),
    ])?;
    eventually(&client, |database| database.len("Load_Balancer") == 3).await;
    let mut told: Vec<(Option<String>, Option<String>)> = Vec::new();
    while told.len() < 2 {
        let batch = soon(changes.next_batch()).await.unwrap();
        let name = |row: &Option<std::sync::Arc<ovsdb::model::Row>>| {
            row.as_ref()
                .and_then(|row| row.get_str("name").map(str::to_owned))
        };
        told.extend(
            batch
                .changes
                .iter()
                .map(|change| (name(&change.old), name(&change.new))),
        );
    }
    told.sort();
    assert_eq!(
        told,
        [(None, Some("d".to_owned())), (Some("b".to_owned()), None)]
    );
    assert!(matches!(changes.try_next(), None | Some(Event::State(_))));
    Ok(())
}

#[tokio::test]
async fn a_conversion_is_lived_through() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let client = started(
        northbound(&server.unix())
            .columns("Load_Balancer", ["of_no_version"])
            .columns("Sample", ["metadata"]),
    )
    .await;
    let before = client.state().borrow().clone();
    assert_eq!(
        before
            .missing
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        [
            "column of_no_version of table Load_Balancer",
            "table Sample"
        ]
    );
    assert_eq!(before.monitor, Some(MonitorMethod::MonitorCondSince));
    soon(client.transact(vec![insert(id(1), "a")])).await?;
    server.convert(&newest("ovn-nb")?)?;
    let after = state_where(&client, |state| {
        state.is_synced() && state.schema_version != before.schema_version
    })
    .await;
    assert_eq!(
        after
            .missing
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["column of_no_version of table Load_Balancer"]
    );
    assert_eq!(after.counters.attempts, 1, "the same connection");
    soon(client.transact(vec![insert(id(2), "b")])).await?;
    assert_eq!(names(&client), ["a", "b"]);
    Ok(())
}

#[tokio::test]
async fn of_a_table_without_columns_the_rows_are_known() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let none: [&str; 0] = [];
    let client = started(
        Client::builder("OVN_Northbound")
            .remotes(Remote::parse_list(&server.unix())?)
            .columns("Load_Balancer", none)
            // Whatever else is wanted of it is not there: its rows are.
            .columns("Logical_Switch", ["of_no_version"]),
    )
    .await;
    let other = started(northbound(&server.unix())).await;
    let mut changes = client.changes_from_now();
    let switch = Operation::insert("Logical_Switch", id(2), Row::new());
    soon(other.transact(vec![insert(id(1), "a"), switch])).await?;
    let batch = soon(changes.next_batch()).await.unwrap();
    let mut told: Vec<_> = batch.changes.iter().map(|change| change.uuid).collect();
    told.sort();
    assert_eq!(told, [id(1), id(2)]);
    assert!(
        client
            .read()
            .row("Load_Balancer", id(1))
            .unwrap()
            .is_empty()
    );

    // What changes in a row is not told, that it is gone is; to the next session as well.
    let renamed = [("name", "b")].into_iter().collect();
    soon(other.transact(vec![Operation::update("Load_Balancer", id(1), renamed)])).await?;
    soon(other.transact(vec![Operation::delete("Logical_Switch", id(2))])).await?;
    let batch = soon(changes.next_batch()).await.unwrap();
    assert_eq!(batch.len(), 1);
    assert_eq!(
        (batch.changes[0].uuid, &batch.changes[0].new),
        (id(2), &None)
    );
    server.restart()?;
    eventually(&client, |database| database.len("Load_Balancer") == 1).await;
    state_where(&other, |state| {
        state.is_synced() && state.counters.sessions == 2
    })
    .await;
    soon(other.transact(vec![Operation::delete("Load_Balancer", id(1))])).await?;
    eventually(&client, |database| database.is_empty()).await;
    Ok(())
}

#[tokio::test]
async fn a_database_that_is_not_there_is_said_with_those_that_are() -> anyhow::Result<()> {
    let log = Log::start();
    let server = Standalone::start(&installed("ovn-nb")?)?;
    // Each endpoint has its own reason, which is logged once however often it is found.
    let client = Client::builder("OVN_Southbound")
        .remotes(Remote::parse_list("unix:/nonexistent")?)
        .remotes(Remote::parse_list(&server.unix())?)
        .backoff(Duration::from_millis(1), Duration::from_millis(10))
        .everything()
        .start()?;
    let words = "has no database \"OVN_Southbound\"; it has OVN_Northbound";
    state_where(&client, |state| {
        let error = state.last_error.as_deref();
        state.failures >= 6 && error.is_some_and(|error| error.contains(words))
    })
    .await;
    let lines = log.lines("no session");
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].contains("/nonexistent"));
    assert!(lines[1].contains("WARN") && lines[1].contains("it has OVN_Northbound"));
    Ok(())
}

/// A server drops clients that do not answer its echoes.
#[tokio::test]
async fn an_idle_session_outlives_the_patience_of_the_server() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    server.appctl(&[
        "ovsdb-server/add-remote",
        "db:OVN_Northbound,NB_Global,connections",
    ])?;
    let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    server.transact(&[
        serde_json::json!({"op": "insert", "table": "Connection", "uuid-name": "c", "row": {
            "target": format!("ptcp:{}:127.0.0.1", free.port()), "inactivity_probe": 3000}}),
        serde_json::json!({"op": "insert", "table": "NB_Global", "row": {"connections": ["named-uuid", "c"]}}),
    ])?;
    let client = started(northbound(&format!("tcp:{free}")).probe_interval(None)).await;
    // The server may have been asked before it listened there.
    let attempts = client.state().borrow().counters.attempts;
    // One that never answers shows how patient the server is.
    for _ in 0..2 {
        let mut silent = tokio::net::TcpStream::connect(free).await?;
        let mut heard = Vec::new();
        soon(silent.read_to_end(&mut heard)).await?;
        assert!(String::from_utf8(heard)?.contains("\"echo\""));
    }
    assert_eq!(client.state().borrow().counters.attempts, attempts);
    soon(client.transact(vec![insert(id(1), "a")])).await?;
    Ok(())
}

#[tokio::test]
async fn a_row_of_many_megabytes_goes_there_and_back() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let (writer, reader) = (
        started(northbound(&server.unix())).await,
        started(northbound(&server.tcp())).await,
    );
    let long = "\u{1}é\"\\".repeat(1 << 19);
    let note = [("note", long.clone())];
    soon(writer.transact(vec![
        insert(id(1), "a"),
        Operation::mutate(
            "Load_Balancer",
            id(1),
            Mutation::set_keys("external_ids", note),
        ),
    ]))
    .await?;
    let has = |client: &Client| {
        let read = client.read();
        let row = read.row("Load_Balancer", id(1));
        row.is_some_and(|row| row.map_str("external_ids", "note") == Some(&long))
    };
    assert!(has(&writer));
    eventually(&reader, |_| has(&reader)).await;
    let select = Operation::select("Load_Balancer", vec![], ["external_ids"]);
    let results = soon(reader.transact(vec![select])).await?;
    let OpResult::Rows(rows) = &results[0] else {
        panic!("{:?}", results[0])
    };
    assert_eq!(rows[0].map_str("external_ids", "note"), Some(&*long));
    Ok(())
}

#[tokio::test]
async fn answers_find_those_who_asked() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let client = started(northbound(&server.unix())).await;
    let mut many = tokio::task::JoinSet::new();
    for number in 0..500 {
        let client = client.clone();
        many.spawn(async move {
            let name = number.to_string();
            let select = Operation::select(
                "Load_Balancer",
                vec![Clause::equal("name", &*name)],
                ["name"],
            );
            let results = client
                .transact(vec![insert(id(number), &name), select])
                .await;
            (name, results)
        });
    }
    for (name, results) in soon(many.join_all()).await {
        let results = results?;
        let OpResult::Rows(rows) = &results[1] else {
            panic!("{:?}", results[1])
        };
        assert_eq!(rows[0].get_str("name"), Some(&*name));
    }
    assert_eq!(names(&client).len(), 500);
    Ok(())
}

#[tokio::test]
async fn dropping_the_client_ends_it() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let client = started(northbound(&server.unix())).await;
    let mut changes = client.changes();
    let mut state = client.state();
    drop(client);
    soon(async { while changes.next().await.is_some() {} }).await;
    let state = soon(state.wait_for(|state| state.phase == Phase::Closed)).await?;
    assert_eq!(state.phase, Phase::Closed);

    // Closed by one hand, for the others too; nobody waits for what will not come.
    let client = started(northbound(&server.unix())).await;
    let other = client.clone();
    let mut lock = client.lock("l");
    soon(lock.held()).await;
    soon(client.close()).await;
    soon(lock.lost()).await;
    assert!(!soon(lock.held()).await);
    assert!(!soon(other.lock("l").held()).await);
    assert!(!soon(other.synced()).await);
    let mut late = other.changes();
    soon(async { while late.next().await.is_some() {} }).await;
    let refused = other.transact(vec![insert(id(1), "a")]).await;
    assert!(matches!(
        refused,
        Err(TransactError::Retry(RetryReason::NotConnected(_)))
    ));
    Ok(())
}
