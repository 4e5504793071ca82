//! A part of the world goes away and comes back: no row is lost, and what changed meanwhile is made up for.

use std::collections::HashSet;

use ovsdb::model::{Clause, Mutation, Name, Operation};
use ovsdb::{Changes, Event};

use super::world::{World, none_lost};
use crate::common::{Controller, anew, backends, is_named, rows, services, wipe};

/// A world with ten services, written by one controller.
async fn furnish(world: World) -> (World, Controller) {
    world.furnish(0..10);
    let controller = world.converged("one").await;
    world.until_leads(&controller);
    (world, controller)
}

/// The load balancers that were deleted.
fn deleted(changes: &mut Changes) -> HashSet<String> {
    let mut deleted = HashSet::new();
    while let Some(event) = changes.try_next() {
        let Event::Batch(batch) = event else { continue };
        for change in batch.of_table("Load_Balancer") {
            if let (Some(old), None) = (&change.old, &change.new) {
                deleted.insert(format!("{old:?}"));
            }
        }
    }
    deleted
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_is_restarted() {
    let (world, controller) = furnish(World::new().await).await;
    let before = world.rows();
    let epoch = world.until_leads(&controller);
    let mut changes = world.observer.changes_from_now();

    // Gone at once: whoever cannot renew the Lease stops writing before it is over.
    world.kubernetes.kill_api_server().expect("killed");
    controller.until_metric("yusur_controller_leader", |leads| leads == 0.0);
    assert_eq!(controller.get("/healthz").0, 200);
    world.kubernetes.start_api_server().expect("started again");
    world.until_leads(&controller);
    world.apply(&services("red", 10..12, 0));
    world
        .until("two more", |database| database.len("Load_Balancer") == 12)
        .await;

    // Frozen: requests hang.
    world.kubernetes.freeze_api_server().expect("frozen");
    controller.until_metric("yusur_controller_leader", |leads| leads == 0.0);
    world.kubernetes.resume_api_server().expect("resumed");
    world.until_leads(&controller);
    world.apply(&services("red", 12..13, 0));
    world
        .until("one more", |database| database.len("Load_Balancer") == 13)
        .await;

    world.catch_up().await;
    none_lost(&before, &world.rows());
    assert_eq!(deleted(&mut changes), HashSet::new());
    // Nobody else took the Lease.
    assert_eq!(world.until_leads(&controller), epoch);
    controller.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_northbound_is_restarted() {
    let (world, controller) = furnish(World::new().await).await;
    let before = world.rows();
    let server = world.nb.server();
    server.kill().expect("killed");
    controller.until_metric(
        "yusur_controller_connected{database=\"OVN_Northbound\"}",
        |connected| connected == 0.0,
    );
    let (code, body) = controller.get("/readyz");
    assert!(
        code == 503 && body.contains("[-]northbound failed"),
        "{code} {body}"
    );
    // Changes gather meanwhile.
    world.apply(&services("red", 0..1, 1));
    world.apply(&services("red", 10..11, 0));
    server.start().expect("started again");
    world
        .until_backends("10.96.100.1:80", Some("10.0.0.1:8001,10.0.100.1:8001"))
        .await;
    world
        .until("one more", |database| database.len("Load_Balancer") == 11)
        .await;
    let after = world.rows();
    assert!(before.keys().all(|key| after.contains_key(key)));
    controller.until_ready();
    controller.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_northbound_is_wiped_and_restored() {
    let (world, controller) = furnish(World::new().await).await;
    let rows_before = world.rows();
    let epoch = world.until_leads(&controller);
    let backup = std::fs::read(world.nb.server().file()).expect("the database file");

    // Everything, the row with the epoch included.
    world.write(wipe()).await;
    world.until_rows("wiped, and back", &rows_before).await;
    controller.until_metric("yusur_controller_leader", |leads| leads == 1.0);

    // What is newer than the backup is made again; what has gone since goes again.
    world.apply(&services("red", 10..12, 0));
    world.delete(&super::world::service("shop", "s0"));
    world
        .until("two more, one less", |database| {
            let named = |n| is_named(database, n);
            named(10) && named(11) && !named(0) && database.len("Load_Balancer") == 11
        })
        .await;
    world.catch_up().await;
    let newer = world.rows();
    let server = world.nb.server();
    let sessions = world.observer.state().borrow().counters.sessions;
    server.terminate().expect("an end");
    std::fs::write(server.file(), &backup).expect("the backup");
    server.start().expect("a start");
    anew(&world.observer, sessions).await;
    world
        .until_rows("restored, and brought up to date", &newer)
        .await;

    // An older backup, of another writer's time: the epoch in it is not ours.
    let foreign = Operation::Mutate {
        table: Name::new_static("NB_Global"),
        condition: Vec::<Clause>::new(),
        mutations: Mutation::set_keys(
            "external_ids",
            [("yusur.io/epoch/yusur".to_owned(), "7".to_owned())],
        )
        .into(),
    };
    world.write(vec![foreign]).await;
    world.apply(&services("red", 12..13, 0));
    world
        .until("claimed again", |database| {
            backends(&rows(database), "10.96.100.13:80").is_some()
        })
        .await;
    assert_eq!(world.until_leads(&controller), epoch);
    controller.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_of_the_northbound_moves() {
    let (world, controller) = furnish(World::with_three_servers().await).await;
    let before = world.rows();
    let cluster = world.nb.cluster();
    let mut changes = world.observer.changes_from_now();

    world.apply(&services("red", 10..20, 0));
    cluster.transfer_leadership().expect("another leader");
    world.apply(&services("red", 20..30, 0));
    world
        .until("thirty", |database| database.len("Load_Balancer") == 30)
        .await;

    let dead = cluster.kill_leader().expect("a dead leader");
    world.apply(&services("red", 30..40, 0));
    world
        .until("forty", |database| database.len("Load_Balancer") == 40)
        .await;
    cluster.member(dead).start().expect("started again");
    cluster.wait_settled().expect("three members");

    // No majority: nothing can be written, and nothing is lost.
    let leader = cluster.leader().expect("a leader");
    let others: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
    for index in &others {
        cluster.member(*index).kill().expect("killed");
    }
    world.apply(&services("red", 40..50, 0));
    for index in &others {
        cluster.member(*index).start().expect("started again");
    }
    world
        .until("fifty", |database| database.len("Load_Balancer") == 50)
        .await;
    none_lost(&before, &world.rows());
    assert_eq!(deleted(&mut changes), HashSet::new());
    controller.until_ready();
    controller.stop();
}
