//! A real Raft cluster of three: following the leader, reading from a follower or a relay, resuming, keeping to the
//! cluster.

mod common;

use std::time::Duration;

use common::*;
use ovsdb::model::{Operation, Uuid};
use ovsdb::{Client, Phase, Remote, TransactError};
use yusur_testbed::ovsdb::{Cluster, Standalone};
use yusur_testbed::schemas::installed;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(0xc000_0000_0000_4000_8000_0000_0000_0000 + number)
}

/// Sends until it is answered; an insert that was taken although its answer was lost says so by its UUID.
async fn insist(client: &Client, uuid: Uuid, name: &str) {
    soon(async {
        loop {
            match client.transact(vec![insert(uuid, name)]).await {
                Ok(_) => return,
                Err(TransactError::Constraint(error)) if error.error.error == "duplicate uuid" => {
                    return;
                }
                Err(TransactError::Retry(_) | TransactError::OutcomeUnknown(_)) => {
                    client.synced().await;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                other => assert!(other.is_ok(), "{other:?}"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_leader_is_followed() -> anyhow::Result<()> {
    let cluster = Cluster::start(3, &installed("ovn-nb")?)?;
    let client = started(northbound(&cluster.remotes())).await;
    let leader = cluster.leader()?;
    let state = client.state().borrow().clone();
    assert_eq!(state.leader, Some(true));
    assert_eq!(state.remote, Some(cluster.member(leader).tcp().parse()?));
    insist(&client, id(1), "before").await;

    // It steps down: the connection stays whole until we leave it.
    let next = cluster.transfer_leadership()?;
    let remote: Remote = cluster.member(next).tcp().parse()?;
    let moved = state_where(&client, |state| {
        state.is_synced() && state.remote.as_ref() == Some(&remote)
    })
    .await;
    assert_eq!(moved.cluster_id, state.cluster_id);
    assert_eq!(
        moved.counters.resumes, 1,
        "goes on where the last session ended"
    );
    insist(&client, id(2), "transferred").await;

    // It dies.
    let dead = cluster.kill_leader()?;
    let old: Remote = cluster.member(dead).tcp().parse()?;
    state_where(&client, |state| {
        state.is_synced() && state.remote.as_ref() != Some(&old)
    })
    .await;
    insist(&client, id(3), "killed").await;
    assert_eq!(names(&client), ["before", "killed", "transferred"]);
    let leader = cluster.leader()?;
    assert_equals_dump(&client, &cluster.dump(leader)?, &["Load_Balancer"]);
    Ok(())
}

#[tokio::test]
async fn a_follower_will_do_where_it_may() -> anyhow::Result<()> {
    let cluster = Cluster::start(3, &installed("ovn-nb")?)?;
    let leader = cluster.leader()?;
    let follower = cluster.member((leader + 1) % 3);
    let client = started(northbound(&follower.tcp()).leader_only(false)).await;
    assert_eq!(client.state().borrow().leader, Some(false));
    for number in 0..20 {
        soon(client.transact(vec![insert(id(number), &number.to_string())])).await?;
        assert!(client.read().row("Load_Balancer", id(number)).is_some());
    }
    // The same server alone does not do for one that wants the leader.
    let strict = northbound(&follower.tcp()).start()?;
    let state = state_where(&strict, |state| {
        state.phase == Phase::Disconnected && state.failures > 2
    })
    .await;
    assert!(
        state.last_error.as_ref().unwrap().contains("does not lead"),
        "{state}"
    );
    Ok(())
}

#[tokio::test]
async fn a_relay_will_do_where_a_follower_may() -> anyhow::Result<()> {
    let cluster = Cluster::start(1, &installed("ovn-nb")?)?;
    let source = cluster.member(0);
    let relay = Standalone::relay(source)?;
    let client = started(northbound(&relay.tcp()).leader_only(false)).await;
    for number in 0..20 {
        insist(&client, id(number), "a").await;
        assert!(client.read().row("Load_Balancer", id(number)).is_some());
    }
    assert_equals_dump(&client, &source.dump()?, &["Load_Balancer"]);

    // Without its source it knows no more than we do.
    source.kill()?;
    let state = state_where(&client, |state| state.failures > 2).await;
    let error = state.last_error.clone().unwrap();
    assert!(error.contains("the server it relays"), "{error}");
    source.start()?;
    state_where(&client, |state| state.is_synced()).await;
    insist(&client, id(20), "b").await;
    assert_equals_dump(&client, &source.dump()?, &["Load_Balancer"]);

    let strict = northbound(&relay.tcp()).start()?;
    let error = failure(&strict).await;
    assert!(error.contains("does not lead"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_minority_will_not_do() -> anyhow::Result<()> {
    let cluster = Cluster::start(3, &installed("ovn-nb")?)?;
    let client = started(northbound(&cluster.remotes()).leader_only(false)).await;
    insist(&client, id(1), "a").await;
    let leader = cluster.leader()?;
    for other in [(leader + 1) % 3, (leader + 2) % 3] {
        cluster.member(other).kill()?;
    }
    let state = state_where(&client, |state| {
        !state.is_synced()
            && state
                .last_error
                .as_ref()
                .is_some_and(|error| error.contains("the rest of its cluster"))
    })
    .await;
    assert_eq!(names(&client), ["a"], "{state}");
    cluster.member((leader + 1) % 3).start()?;
    insist(&client, id(2), "b").await;
    Ok(())
}

#[tokio::test]
async fn resuming_goes_on_at_another_server() -> anyhow::Result<()> {
    let cluster = Cluster::start(3, &installed("ovn-nb")?)?;
    let client = started(northbound(&cluster.remotes()).leader_only(false)).await;
    insist(&client, id(1), "a").await;
    let mut changes = client.changes_from_now();
    for number in 2..8 {
        let before = client.state().borrow().counters;
        client.reconnect();
        state_where(&client, |state| {
            state.is_synced() && state.counters.sessions > before.sessions
        })
        .await;
        insist(&client, id(number), "b").await;
        assert_eq!(client.state().borrow().counters.full_syncs, 1);
        let batch = soon(changes.next_batch()).await.unwrap();
        assert_eq!(batch.len(), 1, "nothing is told twice: {batch:?}");
    }
    Ok(())
}

#[tokio::test]
async fn another_cluster_is_not_mistaken_for_ours() -> anyhow::Result<()> {
    let schema = installed("ovn-nb")?;
    let ours = Cluster::start(1, &schema)?;
    let other = Cluster::start(1, &schema)?;
    let standalone = Standalone::start(&schema)?;
    let client = started(northbound(&format!(
        "{},{},{}",
        ours.remotes(),
        other.remotes(),
        standalone.tcp()
    )))
    .await;
    insist(&client, id(1), "ours").await;
    let cluster_id = client.state().borrow().cluster_id;
    ours.member(0).kill()?;
    let state = state_where(&client, |state| {
        state
            .last_error
            .as_ref()
            .is_some_and(|error| error.contains("another was made"))
    })
    .await;
    assert!(!state.is_synced());
    assert_eq!(names(&client), ["ours"], "kept as it was");
    ours.member(0).start()?;
    let back = state_where(&client, |state| state.is_synced()).await;
    assert_eq!(back.cluster_id, cluster_id);
    insist(&client, id(2), "again").await;
    Ok(())
}

#[tokio::test]
async fn a_cluster_made_anew_becomes_the_successor() -> anyhow::Result<()> {
    let schema = installed("ovn-nb")?;
    let old = Cluster::start(1, &schema)?;
    let new = Cluster::start(1, &schema)?;
    let client = started(northbound(&format!("{},{}", old.remotes(), new.remotes()))).await;
    let pinned = client.state().borrow().cluster_id;
    insist(&client, id(1), "old").await;
    let strict = northbound(&new.remotes())
        .cluster_id(pinned.unwrap())
        .start()?;
    new.member(0).transact(&[
        serde_json::json!({"op": "insert", "table": "Load_Balancer", "row": {"name": "new"}}),
    ])?;
    old.member(0).kill()?;
    let state = state_where(&client, |state| {
        state.is_synced() && state.cluster_id != pinned
    })
    .await;
    assert_eq!(state.counters.full_syncs, 2);
    assert_eq!(names(&client), ["new"]);
    assert!(
        !strict.state().borrow().is_synced(),
        "the one asked for, or none"
    );
    Ok(())
}

#[tokio::test]
async fn a_frozen_leader_is_left() -> anyhow::Result<()> {
    let cluster = Cluster::start(3, &installed("ovn-nb")?)?;
    let client =
        started(northbound(&cluster.remotes()).probe_interval(Duration::from_millis(500))).await;
    insist(&client, id(1), "a").await;
    let leader = cluster.leader()?;
    cluster.member(leader).pause()?;
    // Sent to a server that does not read any more: nobody can say what becomes of it.
    let outcome = soon(client.transact(vec![insert(id(2), "lost")])).await;
    assert!(
        matches!(outcome, Err(TransactError::OutcomeUnknown(_))),
        "{outcome:?}"
    );
    let frozen: Remote = cluster.member(leader).tcp().parse()?;
    let state = state_where(&client, |state| {
        state.is_synced() && state.remote.as_ref() != Some(&frozen)
    })
    .await;
    assert_eq!(state.counters.unknown_outcomes, 1);
    insist(&client, id(3), "b").await;
    cluster.member(leader).resume()?;
    soon(client.transact(vec![Operation::delete("Load_Balancer", id(1))])).await?;
    Ok(())
}
