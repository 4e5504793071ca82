//! What a peer may do wrong, between a client and a real server: each gets a clear error and a new connection, or is
//! lived with; nothing panics, and nothing waits for ever.

mod common;

use std::time::Duration;

use common::proxy::{Mischief, Proxy};
use common::*;
use ovsdb::framer::FrameLimits;
use ovsdb::model::{Clause, Operation, Uuid};
use ovsdb::{Client, MonitorMethod, RetryReason, TransactError, Transaction};
use yusur_testbed::ovsdb::{Cluster, Standalone};
use yusur_testbed::schemas::{installed, newest};

fn id(number: u128) -> Uuid {
    Uuid::from_u128(0xb000_0000_0000_4000_8000_0000_0000_0000 + number)
}

/// The same mischief on the first connection, none after it.
fn at_first(mischief: Mischief) -> impl Fn(usize) -> Mischief + Send + Sync {
    move |number| {
        if number == 0 {
            mischief.clone()
        } else {
            Mischief::default()
        }
    }
}

async fn works(client: &Client, uuid: Uuid) {
    let outcome = soon(client.transact(vec![insert(uuid, "works")])).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    assert!(client.read().row("Load_Balancer", uuid).is_some());
}

#[tokio::test]
async fn messages_in_pieces_of_any_size() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let many: Vec<_> = (0..200)
        .map(|number| insert(id(number), &format!("é{number}")))
        .collect();
    soon(started(northbound(&server.unix())).await.transact(many)).await?;
    for pieces in [1, 2, 3, 7, 1000] {
        let mischief = Mischief {
            pieces: Some(pieces),
            ..Mischief::default()
        };
        let proxy = Proxy::start(server.unix_path(), move |_| mischief.clone()).await?;
        let client = started(northbound(&proxy.remote())).await;
        assert_eq!(proxy.connections(), 1);
        works(&client, id(1000 + pieces as u128)).await;
        assert_equals_dump(&client, &server.dump()?, &["Load_Balancer"]);
    }
    Ok(())
}

#[tokio::test]
async fn replies_to_nothing_and_odd_requests_are_lived_with() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let proxy = Proxy::start(server.unix_path(), |_| Mischief::default()).await?;
    let client = started(northbound(&proxy.remote())).await;
    let replies = [
        "999999",
        "0",
        "\"text\"",
        "null",
        "-1",
        "1.5",
        "{}",
        "[]",
        "18446744073709551615",
        "99999999999999999999",
    ];
    for reply in replies {
        proxy.inject(format!(r#"{{"id":{reply},"result":[],"error":null}}"#));
    }
    proxy.inject(
        r#"{"id":7,"method":"dance","params":[]}{"id":"x","method":"echo","params":["y"]}"#,
    );
    proxy.inject(r#" {"method":"unheard_of","params":[1],"id":null}{"method":"locked","params":["nobody asked"]} "#);
    proxy.inject(r#"{"method":"update3","params":["another monitor","00000000-0000-0000-0000-000000000000",{}]}"#);
    proxy.inject(r#"{"id":"e","method":"echo","params":[]}"#.repeat(5000));
    for number in 0..20 {
        works(&client, id(number)).await;
    }
    client.reconnect();
    let state = state_where(&client, |state| state.counters.sessions == 2).await;
    assert_eq!(state.counters.unexpected_replies, replies.len() as u64);
    assert_eq!(proxy.connections(), 2, "none of it cost a connection");
    Ok(())
}

/// Changes that a server tells of, to the monitor of the session of this number.
fn updates(session: u64, updates: &str) -> Vec<u8> {
    let params =
        format!(r#"["replica-{session}","00000000-0000-0000-0000-000000000000",{updates}]"#);
    format!(r#"{{"id":null,"method":"update3","params":{params}}}"#).into_bytes()
}

#[tokio::test]
async fn a_broken_stream_costs_the_connection_and_nothing_else() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let proxy = Proxy::start(server.unix_path(), |_| Mischief::default()).await?;
    let limits = FrameLimits {
        message_bytes: 1 << 20,
        depth: 50,
    };
    let client = started(northbound(&proxy.remote()).limits(limits)).await;
    let deep = format!(r#"{{"id":1,"result":{}"#, "[".repeat(60));
    let long = format!(r#"{{"id":1,"result":"{}"#, "x".repeat(2 << 20));
    let row = id(0);
    let wrong: Vec<(Vec<u8>, &str)> = vec![
        (b"junk".to_vec(), "0x6a"),
        (b"{}]".to_vec(), "0x5d"),
        (b"{\"id\":1,\"result\":\"\xff\"}".to_vec(), "UTF-8"),
        (b"{\"id\":1 \"result\":2}".to_vec(), "line 1"),
        (
            b"{\"id\":1,\"result\":\"\x01\"}".to_vec(),
            "control character",
        ),
        (deep.into_bytes(), "deeper than 50"),
        (long.into_bytes(), "longer than 1048576"),
        (b"{\"method\":5,\"params\":[]}".to_vec(), "string"),
        (
            b"{\"method\":\"update3\",\"params\":{}}".to_vec(),
            "update3",
        ),
        (b"{\"method\":\"stolen\",\"params\":[7]}".to_vec(), "stolen"),
        // A change to a row that is not there: the replica and the server have parted.
        (
            updates(
                11,
                &format!(r#"{{"Load_Balancer":{{"{row}":{{"modify":{{"name":"x"}}}}}}}}"#),
            ),
            "not there",
        ),
        (
            updates(12, r#"{"Load_Balancer":{"no uuid":{"insert":{}}}}"#),
            "UUID",
        ),
        (updates(13, r#"{"Load_Balancer":[]}"#), "rows"),
    ];
    for (number, (bytes, word)) in wrong.iter().enumerate() {
        let sessions = client.state().borrow().counters.sessions;
        let mut states = client.state();
        states.mark_unchanged();
        proxy.inject(bytes);
        let mut said = String::new();
        soon(async {
            while client.state().borrow().counters.sessions == sessions
                || !client.state().borrow().is_synced()
            {
                states.changed().await.unwrap();
                if let Some(error) = &states.borrow_and_update().last_error {
                    said = error.clone();
                }
            }
        })
        .await;
        assert!(
            said.contains(word),
            "{number}: {said:?} does not say {word:?}"
        );
        works(&client, id(100 + number as u128)).await;
    }
    assert_equals_dump(&client, &server.dump()?, &["Load_Balancer"]);
    Ok(())
}

/// No server sends such, but what it sends besides is as good as ever.
#[tokio::test]
async fn a_value_of_the_wrong_type_costs_its_column_and_nothing_else() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let proxy = Proxy::start(server.unix_path(), |_| Mischief::default()).await?;
    let client = started(northbound(&proxy.remote())).await;
    let row = id(1);
    let values = r#"{"name":5,"vips":["map",[["a","b"]]],"protocol":{}}"#;
    proxy.inject(updates(
        1,
        &format!(r#"{{"Load_Balancer":{{"{row}":{{"insert":{values}}}}}}}"#),
    ));
    eventually(&client, |database| database.has("Load_Balancer", row)).await;
    let found = client.read().row("Load_Balancer", row).unwrap();
    assert_eq!(found.unreadable(), ["name", "protocol"]);
    assert_eq!(found.map_str("vips", "a"), Some("b"));
    works(&client, id(100)).await;
    assert_eq!(proxy.connections(), 1);
    Ok(())
}

#[tokio::test]
async fn a_message_of_a_hundred_megabytes_passes() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let proxy = Proxy::start(server.unix_path(), |_| Mischief::default()).await?;
    let client = started(northbound(&proxy.remote())).await;
    let noise = format!(
        r#"{{"method":"noise","params":["{}"]}}"#,
        "x".repeat(100 << 20)
    );
    proxy.inject(&noise);
    works(&client, id(1)).await;
    assert_eq!(proxy.connections(), 1);
    Ok(())
}

#[tokio::test]
async fn old_servers_are_followed_by_older_means() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    for (refused, method) in [
        (
            vec!["monitor_cond_since", "set_db_change_aware"],
            MonitorMethod::MonitorCond,
        ),
        (
            vec!["monitor_cond_since", "monitor_cond"],
            MonitorMethod::Monitor,
        ),
    ] {
        let mischief = Mischief {
            refused,
            ..Mischief::default()
        };
        let proxy = Proxy::start(server.unix_path(), move |_| mischief.clone()).await?;
        let client = started(northbound(&proxy.remote())).await;
        assert_eq!(client.state().borrow().monitor, Some(method));
        let uuid = id(method as u128);
        works(&client, uuid).await;
        let vip = ovsdb::model::Mutation::set_keys("vips", [("10.0.0.9:1", "")]);
        soon(client.transact(vec![Operation::mutate("Load_Balancer", uuid, vip)])).await?;
        assert_equals_dump(&client, &server.dump()?, &["Load_Balancer"]);
        soon(client.transact(vec![Operation::delete("Load_Balancer", uuid)])).await?;
        assert!(client.read().row("Load_Balancer", uuid).is_none());

        // The oldest cannot choose rows, and say so.
        let choosy =
            northbound(&proxy.remote()).condition("Load_Balancer", [Clause::equal("name", "a")]);
        let choosy = choosy.start()?;
        let state = state_where(&choosy, |state| state.is_synced() || state.failures > 0).await;
        if method == MonitorMethod::Monitor {
            let error = state.last_error.clone().unwrap();
            assert!(error.contains("monitor_cond"), "{error}");
        } else {
            assert!(state.is_synced());
        }
    }
    Ok(())
}

/// Open vSwitch before 2.9: nothing tells of clusters, and the connection is all that tells of a conversion.
#[tokio::test]
async fn a_server_without_the_database_of_servers() -> anyhow::Result<()> {
    for refused in [
        vec!["monitor_cond_since", "set_db_change_aware"],
        vec!["monitor_cond_since", "monitor_cond", "set_db_change_aware"],
    ] {
        let server = Standalone::start(&installed("ovn-nb")?)?;
        let mischief = Mischief {
            refused,
            hidden: Some("_Server"),
            ..Mischief::default()
        };
        let proxy = Proxy::start(server.unix_path(), move |_| mischief.clone()).await?;
        let client = started(northbound(&proxy.remote()).columns("Sample", ["metadata"])).await;
        let before = client.state().borrow().clone();
        assert_eq!((before.leader, before.cluster_id), (None, None));
        assert_eq!(before.missing.len(), 1, "{:?}", before.missing);
        works(&client, id(1)).await;
        // It cancels without a word.
        let outcome = soon(client.transact(patient("z", id(2)))).await;
        assert!(
            matches!(outcome, Err(TransactError::OutcomeUnknown(_))),
            "{outcome:?}"
        );
        soon(client.transact(vec![insert(id(3), "z")])).await?;
        works(&client, id(4)).await;
        assert!(client.read().row("Load_Balancer", id(2)).is_none());

        server.convert(&newest("ovn-nb")?)?;
        let after = state_where(&client, |state| {
            state.is_synced() && state.schema_version != before.schema_version
        })
        .await;
        assert!(after.missing.is_empty(), "{:?}", after.missing);
        assert!(proxy.connections() > 1, "it was closed");
        works(&client, id(5)).await;
        server.restart()?;
        state_where(&client, |state| {
            state.is_synced() && state.counters.sessions > after.counters.sessions
        })
        .await;
        works(&client, id(6)).await;
        assert_equals_dump(&client, &server.dump()?, &["Load_Balancer"]);
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    for mute in ["get_schema", "monitor_cond_since", "transact"] {
        let mischief = at_first(Mischief {
            mute_after: Some(mute),
            ..Mischief::default()
        });
        let proxy = Proxy::start(server.unix_path(), mischief).await?;
        let client = northbound(&proxy.remote())
            .probe_interval(Duration::from_secs(1))
            .start()?;
        soon(client.synced()).await;
        if mute == "transact" {
            works(&client, id(1)).await;
        }
        let state = state_where(&client, |state| {
            state.is_synced() && state.counters.attempts > 1
        })
        .await;
        assert!(proxy.connections() > 1, "{state}");
        soon(client.transact(vec![Operation::comment("again")])).await?;
    }
    Ok(())
}

/// A client whose server reads nothing any more, for as long as the first connection lasts.
async fn unheard(server: &Standalone, stall_limit: Duration) -> anyhow::Result<(Client, Proxy)> {
    let mischief = at_first(Mischief {
        deaf_after: Some("transact"),
        ..Mischief::default()
    });
    let proxy = Proxy::start(server.unix_path(), mischief).await?;
    let builder = northbound(&proxy.remote()).stall_limit(stall_limit);
    let client = started(builder.probe_interval(None)).await;
    soon(client.transact(vec![Operation::comment("the last that is read")])).await?;
    Ok((client, proxy))
}

#[tokio::test]
async fn a_server_that_stops_reading_is_left() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let (client, _proxy) = unheard(&server, Duration::from_millis(300)).await?;
    // More than the sockets hold: the rest of it cannot be sent.
    let much = vec![Operation::comment("x".repeat(32 << 20))];
    let outcome = soon(client.transact(much)).await;
    let Err(TransactError::OutcomeUnknown(reason)) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(reason.contains("not read"), "{reason}");
    state_where(&client, |state| {
        state.is_synced() && state.counters.sessions == 2
    })
    .await;
    works(&client, id(2)).await;
    Ok(())
}

/// Both sides have much to say, and the server reads only once it has said what it has to.
#[tokio::test]
async fn a_server_that_reads_only_once_it_is_read_is_no_standstill() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let echo = format!(
        r#"{{"id":"e","method":"echo","params":["{}"]}}"#,
        "x".repeat(100 << 10)
    );
    // More answers than the sockets hold, and then more to read.
    let said = echo.repeat(150) + r#"{"method":"noise","params":[]}"#;
    let mischief = at_first(Mischief {
        deaf_until: Some(("transact", said.len() as u64)),
        ..Mischief::default()
    });
    let proxy = Proxy::start(server.unix_path(), mischief).await?;
    let client = started(northbound(&proxy.remote())).await;
    let mut work = tokio::task::JoinSet::new();
    for number in 0..40 {
        let client = client.clone();
        let much = Operation::comment("x".repeat(256 << 10));
        work.spawn(async move {
            let insert = insert(id(number), "much");
            client.transact(vec![much, insert]).await
        });
    }
    proxy.inject(said);
    for outcome in soon(work.join_all()).await {
        assert!(outcome.is_ok(), "{outcome:?}");
    }
    assert_eq!(names(&client).len(), 40);
    assert_eq!(proxy.connections(), 1);
    Ok(())
}

#[tokio::test]
async fn a_server_that_dies_between_request_and_reply() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    for (number, reply) in ["", "{\"id\":", r#"{"id":1,"result":}"#]
        .into_iter()
        .enumerate()
    {
        let mischief = Mischief {
            instead_of_reply: Some(("transact", reply.as_bytes().to_vec())),
            ..Mischief::default()
        };
        let proxy = Proxy::start(server.unix_path(), move |_| mischief.clone()).await?;
        let client =
            started(northbound(&proxy.remote()).probe_interval(Duration::from_secs(2))).await;
        let uuid = id(number as u128);
        let outcome = soon(client.transact(vec![insert(uuid, "which")])).await;
        assert!(
            matches!(outcome, Err(TransactError::OutcomeUnknown(_))),
            "{outcome:?}"
        );
        // The server carried it out; looking again says so.
        state_where(&client, |state| {
            state.is_synced() && state.counters.sessions > 1
        })
        .await;
        assert!(client.read().row("Load_Balancer", uuid).is_some());
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_sent_in_time_is_never_sent() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let (client, _proxy) = unheard(&server, Duration::from_secs(2)).await?;
    let jam = tokio::spawn({
        let client = client.clone();
        async move {
            let much = vec![Operation::comment("x".repeat(32 << 20))];
            client.transact(much).await
        }
    });
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..50 {
        let client = client.clone();
        waiting.spawn(async move {
            let insert = Transaction::new(vec![insert(id(number), "stuck")]);
            let outcome = client
                .transact(insert.deadline(Duration::from_millis(300)))
                .await;
            (id(number), outcome)
        });
    }
    let mut unsent = Vec::new();
    for (uuid, outcome) in soon(waiting.join_all()).await {
        match outcome {
            Err(TransactError::Retry(RetryReason::NotSent(_))) => unsent.push(uuid),
            Err(TransactError::OutcomeUnknown(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(unsent.len() > 20, "{}", unsent.len());
    assert!(matches!(
        soon(jam).await?,
        Err(TransactError::OutcomeUnknown(_))
    ));
    state_where(&client, |state| {
        state.is_synced() && state.counters.sessions == 2
    })
    .await;
    for uuid in unsent {
        assert!(client.read().row("Load_Balancer", uuid).is_none());
        works(&client, uuid).await;
    }
    Ok(())
}

/// A transaction that waits for a row `name` for ever and then inserts `uuid`; a tenth of a second is given to it.
fn patient(name: &str, uuid: Uuid) -> Transaction {
    let wait = Operation::Raw(serde_json::json!({
        "op": "wait", "table": "Load_Balancer", "where": [["name", "==", name]], "columns": ["name"],
        "until": "==", "rows": [{"name": name}],
    }));
    Transaction::new(vec![wait, insert(uuid, "late")]).deadline(Duration::from_millis(100))
}

#[tokio::test]
async fn past_its_deadline_a_transaction_is_canceled() -> anyhow::Result<()> {
    let server = Standalone::start(&installed("ovn-nb")?)?;
    let client = started(northbound(&server.unix())).await;
    let outcome = soon(client.transact(patient("z", id(1)))).await;
    assert!(
        matches!(outcome, Err(TransactError::Retry(RetryReason::Canceled(_)))),
        "{outcome:?}"
    );
    soon(client.transact(vec![insert(id(2), "z")])).await?;
    works(&client, id(3)).await;
    assert!(client.read().row("Load_Balancer", id(1)).is_none());
    assert_eq!(client.state().borrow().counters.attempts, 1);

    // A member of a cluster forgets what it has canceled, but the cluster may carry it out: nobody can say.
    let cluster = Cluster::start(1, &installed("ovn-nb")?)?;
    let client = started(northbound(&cluster.remotes())).await;
    let outcome = soon(client.transact(patient("z", id(1)))).await;
    let Err(TransactError::OutcomeUnknown(reason)) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(reason.contains("canceled"), "{reason}");
    works(&client, id(2)).await;
    assert_eq!(client.state().borrow().counters.unknown_outcomes, 1);
    Ok(())
}
