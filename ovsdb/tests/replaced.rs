//! Another database at the addresses of ours: what takes its place is accepted, what only lies beside it is not.

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use common::*;
use ovsdb::model::Uuid;
use ovsdb::{Client, State};
use serde_json::json;
use yusur_testbed::ovsdb::{Cluster, Server, Standalone};
use yusur_testbed::schemas::installed;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(0xd000_0000_0000_4000_8000_0000_0000_0000 + number)
}

/// Well before the ten seconds that a database has to be out of sight where it might still be elsewhere.
const PROMPT: Duration = Duration::from_secs(5);

/// Runs `ovsdb-tool`, whose last argument here is the file that it makes, and has the server serve that file.
fn serve_another(server: &Server, tool: impl FnOnce(&mut Command, &Path)) -> anyhow::Result<()> {
    server.terminate()?;
    let made = server.file().with_extension("made");
    let mut command = Command::new("ovsdb-tool");
    tool(&mut command, &made);
    let output = command.output().context("ovsdb-tool")?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "ovsdb-tool: {said}");
    std::fs::rename(made, server.file())?;
    server.start()
}

/// As a cluster is rescued that has lost too many members.
fn make_standalone(server: &Server) -> anyhow::Result<()> {
    serve_another(server, |tool, made| {
        tool.arg("cluster-to-standalone")
            .arg(made)
            .arg(server.file());
    })
}

/// A cluster of one, with the content that the server's standalone database has.
fn make_cluster(server: &Server, from: &Path) -> anyhow::Result<()> {
    serve_another(server, |tool, made| {
        let raft = server.file().with_file_name("raft");
        tool.arg("create-cluster")
            .arg(made)
            .arg(from)
            .arg(format!("unix:{}", raft.display()));
    })
}

fn write(server: &Server, name: &str) -> anyhow::Result<()> {
    server.transact(&[json!({"op": "insert", "table": "Load_Balancer", "row": {"name": name}})])?;
    Ok(())
}

/// Waits until the replica holds just these, in a session later than `before`; returns the state of that session.
async fn holds(client: &Client, before: &State, wanted: &[&str]) -> Arc<State> {
    let state = state_where(client, |state| {
        state.is_synced() && state.counters.sessions > before.counters.sessions
    })
    .await;
    eventually(client, |_| names(client) == wanted).await;
    state
}

fn now(client: &Client) -> State {
    State::clone(&client.state().borrow())
}

#[tokio::test]
async fn a_cluster_rescued_into_a_standalone_database_is_followed() -> anyhow::Result<()> {
    let cluster = Cluster::start(1, &installed("ovn-nb")?)?;
    let server = cluster.member(0);
    let client = started(northbound(&server.tcp())).await;
    let pinned = now(&client).cluster_id.context("a cluster has an id")?;
    let strict = started(northbound(&server.tcp()).cluster_id(pinned)).await;
    soon(client.transact(vec![insert(id(1), "old")])).await?;

    let before = now(&client);
    make_standalone(server)?;
    let began = Instant::now();
    write(server, "new")?;
    holds(&client, &before, &["new", "old"]).await;
    assert!(began.elapsed() < PROMPT, "took {:?}", began.elapsed());
    assert_eq!(now(&client).cluster_id, None);
    soon(client.transact(vec![insert(id(2), "ours")])).await?;

    // Who asked for that very cluster is told what is there.
    let state = state_where(&strict, |state| state.failures > 1).await;
    let error = state.last_error.clone().unwrap_or_default();
    assert!(
        error.contains("standalone") && error.contains(&pinned.to_string()),
        "{error}"
    );

    // And back: of the standalone database a cluster is made.
    let before = now(&client);
    let copy = server.file().with_extension("copy");
    std::fs::copy(server.file(), &copy)?;
    make_cluster(server, &copy)?;
    let began = Instant::now();
    holds(&client, &before, &["new", "old", "ours"]).await;
    assert!(began.elapsed() < PROMPT, "took {:?}", began.elapsed());
    assert!(now(&client).cluster_id.is_some_and(|new| new != pinned));
    Ok(())
}

#[tokio::test]
async fn a_cluster_made_anew_at_the_same_address_is_followed_promptly() -> anyhow::Result<()> {
    let schema = installed("ovn-nb")?;
    let cluster = Cluster::start(1, &schema)?;
    let server = cluster.member(0);
    // One that is refused for ever does not make the other wait: it has answered, and it was never ours.
    let beside = Cluster::start(1, &schema)?;
    let both = format!("{},{}", server.tcp(), beside.remotes());
    let (alone, among) = (
        started(northbound(&server.tcp())).await,
        started(northbound(&both)).await,
    );
    soon(alone.transact(vec![insert(id(1), "old")])).await?;
    write(beside.member(0), "beside")?;
    let before = [now(&alone), now(&among)];
    make_cluster(server, &schema.path)?;
    let began = Instant::now();
    write(server, "new")?;
    for (client, before) in [&alone, &among].into_iter().zip(&before) {
        holds(client, before, &["new"]).await;
        assert!(began.elapsed() < PROMPT, "took {:?}", began.elapsed());
        assert_ne!(now(client).cluster_id, before.cluster_id);
    }
    Ok(())
}

/// A member that left long ago, and started a cluster of its own, is at one of the addresses.
#[tokio::test]
async fn a_replaced_member_is_not_followed_while_ours_may_be_elsewhere() -> anyhow::Result<()> {
    let schema = installed("ovn-nb")?;
    let cluster = Cluster::start(3, &schema)?;
    let client = started(northbound(&cluster.remotes())).await;
    soon(client.transact(vec![insert(id(1), "ours")])).await?;
    let before = now(&client);
    let ours = before.cluster_id;
    let leader = cluster.leader()?;
    // Where ours is in sight, or out of reach for a moment: neither is left for the stranger.
    make_cluster(cluster.member(leader), &schema.path)?;
    write(cluster.member(leader), "stranger")?;
    let state = holds(&client, &before, &["ours"]).await;
    assert_eq!(state.cluster_id, ours, "{state}");
    for index in (0..3).filter(|index| *index != leader) {
        cluster.member(index).kill()?;
    }
    let state = state_where(&client, |state| state.failures > 3).await;
    assert!(!state.is_synced(), "{state}");
    assert_eq!(names(&client), ["ours"]);
    let before = now(&client);
    for index in (0..3).filter(|index| *index != leader) {
        cluster.member(index).start()?;
    }
    let state = holds(&client, &before, &["ours"]).await;
    assert_eq!(state.cluster_id, ours, "{state}");
    Ok(())
}

#[tokio::test]
async fn a_standalone_database_is_not_left_for_a_cluster_beside_it() -> anyhow::Result<()> {
    let schema = installed("ovn-nb")?;
    let ours = Standalone::start(&schema)?;
    let beside = Cluster::start(1, &schema)?;
    let client = started(northbound(&format!("{},{}", ours.tcp(), beside.remotes()))).await;
    soon(client.transact(vec![insert(id(1), "ours")])).await?;
    write(beside.member(0), "beside")?;
    let before = now(&client);
    ours.kill()?;
    let state = state_where(&client, |state| state.failures > 3).await;
    assert!(!state.is_synced(), "{state}");
    assert_eq!(names(&client), ["ours"]);
    ours.start()?;
    holds(&client, &before, &["ours"]).await;
    assert_eq!(now(&client).cluster_id, None);
    Ok(())
}

/// A relay does not say of which cluster its copy is.
#[tokio::test]
async fn a_relay_will_do_after_a_member() -> anyhow::Result<()> {
    let cluster = Cluster::start(1, &installed("ovn-nb")?)?;
    let relay = Standalone::relay(cluster.member(0))?;
    let both = format!("{},{}", cluster.remotes(), relay.tcp());
    let client = started(northbound(&both).leader_only(false)).await;
    soon(client.transact(vec![insert(id(1), "ours")])).await?;
    for at in [relay.tcp(), cluster.remotes()] {
        let before = now(&client);
        client.reconnect();
        holds(&client, &before, &["ours"]).await;
        let remote = now(&client).remote.map(|remote| remote.to_string());
        assert_eq!(remote, Some(at));
    }
    Ok(())
}

/// Its log ends before what was seen of it, and nothing will ever be added that is missing there.
#[tokio::test]
async fn a_cluster_restored_from_a_copy_of_its_files_is_followed() -> anyhow::Result<()> {
    let cluster = Cluster::start(1, &installed("ovn-nb")?)?;
    let server = cluster.member(0);
    write(server, "old")?;
    server.terminate()?;
    let copy = server.file().with_extension("copy");
    std::fs::copy(server.file(), &copy)?;
    server.start()?;
    let client = started(northbound(&server.tcp())).await;
    for number in 0..40 {
        soon(client.transact(vec![insert(id(number), "lost")])).await?;
    }
    let before = now(&client);
    server.terminate()?;
    std::fs::rename(&copy, server.file())?;
    server.start()?;
    holds(&client, &before, &["old"]).await;
    assert_eq!(now(&client).cluster_id, before.cluster_id);
    Ok(())
}
