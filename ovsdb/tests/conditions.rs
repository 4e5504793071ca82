//! Conditions: which rows of a table the replica holds, and what becomes of them with another schema.

mod common;

use common::*;
use ovsdb::model::{Clause, Operation, Uuid};
use ovsdb::{Client, RequestError};
use yusur_testbed::ovsdb::{Cluster, Standalone};
use yusur_testbed::schemas::{Schema, installed};

fn id(number: u128) -> Uuid {
    Uuid::from_u128(0xe000_0000_0000_4000_8000_0000_0000_0000 + number)
}

#[tokio::test]
async fn a_condition_chooses_rows_and_may_change() -> anyhow::Result<()> {
    let named = |name: &str| vec![Clause::equal("name", name)];
    let (standalone, cluster) = (
        Standalone::start(&installed("ovn-nb")?)?,
        Cluster::start(1, &installed("ovn-nb")?)?,
    );
    for (server, resumes) in [(&*standalone, 0), (cluster.member(0), 1)] {
        let all = started(northbound(&server.unix())).await;
        soon(all.transact(vec![
            insert(id(1), "a"),
            insert(id(2), "b"),
            insert(id(3), "c"),
        ]))
        .await?;
        let client =
            started(northbound(&server.unix()).condition("Load_Balancer", named("a"))).await;
        assert_eq!(names(&client), ["a"]);
        soon(client.transact(vec![insert(id(4), "a"), insert(id(5), "b")])).await?;
        assert_eq!(names(&client), ["a", "a"]);

        let mut changes = client.changes_from_now();
        soon(client.set_condition("Load_Balancer", Some(named("b")))).await?;
        assert_eq!(names(&client), ["b", "b"]);
        let batch = soon(changes.next_batch()).await.unwrap();
        assert_eq!(batch.len(), 4, "two rows left, two came");
        let both = [named("b"), named("c")].concat();
        soon(client.set_condition("Load_Balancer", Some(both))).await?;
        assert_eq!(names(&client), ["b", "b", "c"]);
        soon(client.set_condition("Load_Balancer", Some(Vec::new()))).await?;
        assert_eq!(names(&client), [""; 0]);
        soon(client.set_condition("Load_Balancer", None)).await?;
        assert_eq!(names(&client), ["a", "a", "b", "b", "c"]);
        soon(client.set_condition("Load_Balancer", Some(named("c")))).await?;

        // Of another type than the column.
        let wrong = vec![Clause::equal("name", 5)];
        let refused = soon(client.set_condition("Load_Balancer", Some(wrong))).await;
        assert!(
            matches!(refused, Err(RequestError::Condition(_))),
            "{refused:?}"
        );

        // The next session keeps to it; where the server can, from where the last one ended.
        soon(client.transact(vec![insert(id(6), "c")])).await?;
        client.reconnect();
        let state = state_where(&client, |state| {
            state.is_synced() && state.counters.sessions == 2
        })
        .await;
        assert_eq!(state.counters.resumes, resumes);
        assert_eq!(names(&client), ["c", "c"]);
        // One asked for without a session waits for the next.
        server.kill()?;
        state_where(&client, |state| !state.is_synced()).await;
        let mut change = std::pin::pin!(client.set_condition("Load_Balancer", Some(named("a"))));
        assert!(is_pending(&mut change).await);
        server.start()?;
        soon(change).await?;
        assert_eq!(names(&client), ["a", "a"]);
        client.close().await;
        let refused = soon(client.set_condition("Load_Balancer", None)).await;
        assert!(matches!(refused, Err(RequestError::NotConnected(_))));
    }
    Ok(())
}

/// Whether this is not ready yet.
async fn is_pending(future: &mut (impl Future + Unpin)) -> bool {
    tokio::select! {
        biased;
        _ = future => false,
        () = std::future::ready(()) => true,
    }
}

#[tokio::test]
async fn a_condition_that_contradicts_the_schema_is_said() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let wrong = [Clause::includes("vips", 5)];
    let client = northbound(&server.unix())
        .condition("Load_Balancer", wrong)
        .start()?;
    let error = failure(&client).await;
    assert!(
        error.contains("Load_Balancer") && error.contains("vips"),
        "{error}"
    );
    Ok(())
}

/// What the client says that the server lacks.
fn missing(client: &Client) -> Vec<String> {
    let state = client.state().borrow().clone();
    state.missing.iter().map(ToString::to_string).collect()
}

/// A program may be newer than the server.
#[tokio::test]
async fn a_clause_on_a_column_that_the_server_lacks_is_left_out() -> anyhow::Result<()> {
    let log = Log::start();
    let lacking = || Clause::equal("of_no_version", "x");
    let named = |name: &str| Clause::equal("name", name);
    let column = "column of_no_version of table Load_Balancer";
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let all = started(northbound(&server.unix())).await;
    soon(all.transact(vec![insert(id(1), "a"), insert(id(2), "b")])).await?;

    // From the start.
    let builder = northbound(&server.unix()).condition("Load_Balancer", [lacking(), named("a")]);
    let client = started(builder).await;
    assert_eq!(names(&client), ["a"]);
    assert_eq!(missing(&client), [column]);
    soon(client.set_condition("Load_Balancer", None)).await?;
    assert_eq!(names(&client), ["a", "b"]);
    assert_eq!(missing(&client), [""; 0]);

    // Later on.
    let some = vec![named("b"), lacking()];
    soon(client.set_condition("Load_Balancer", Some(some))).await?;
    assert_eq!(names(&client), ["b"]);
    assert_eq!(missing(&client), [column]);

    // No row has "x" there: what is not there reads as empty. So all have something else.
    soon(client.set_condition("Load_Balancer", Some(vec![lacking()]))).await?;
    assert_eq!(names(&client), [""; 0]);
    let other = Clause::not_equal("of_no_version", "x");
    soon(client.set_condition("Load_Balancer", Some(vec![other]))).await?;
    assert_eq!(names(&client), ["a", "b"]);

    // A session later it is as it was.
    let some = vec![named("b"), lacking()];
    soon(client.set_condition("Load_Balancer", Some(some))).await?;
    server.restart()?;
    state_where(&client, |state| {
        state.is_synced() && state.counters.sessions == 2
    })
    .await;
    assert_eq!(names(&client), ["b"]);
    assert_eq!(missing(&client), [column]);
    assert_eq!(log.lines(column).len(), 1, "{:#?}", log.lines(""));
    let state = client.state().borrow().clone();
    assert_eq!(
        state.counters.attempts - 2,
        u64::from(state.failures),
        "{state}"
    );
    Ok(())
}

#[tokio::test]
async fn a_clause_counts_once_the_server_has_its_column() -> anyhow::Result<()> {
    let new = installed("ovn-nb")?;
    let mut old: serde_json::Value = serde_json::from_str(&new.text()?)?;
    let columns = old["tables"]["Load_Balancer"]["columns"].as_object_mut();
    columns.unwrap().remove("protocol").unwrap();
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("old.ovsschema");
    std::fs::write(&path, old.to_string())?;
    let server = Standalone::start(&Schema::open(&path)?)?;

    let clauses = [Clause::equal("protocol", "udp"), Clause::equal("name", "a")];
    let builder = northbound(&server.unix()).condition("Load_Balancer", clauses);
    let client = started(builder).await;
    soon(client.transact(vec![insert(id(1), "a"), insert(id(2), "b")])).await?;
    assert_eq!(names(&client), ["a"]);
    assert_eq!(missing(&client), ["column protocol of table Load_Balancer"]);
    server.convert(&new)?;
    state_where(&client, |state| {
        state.is_synced() && state.counters.schema_changes == 1
    })
    .await;
    assert_eq!(missing(&client), [""; 0]);
    let udp = LoadBalancer {
        protocol: Some("udp".to_owned()),
        ..LoadBalancer::named("c")
    };
    soon(client.transact(vec![Operation::insert_value(id(3), &udp)])).await?;
    assert_eq!(names(&client), ["a", "c"]);
    Ok(())
}
