//! Two controllers on one Northbound: the lock lets one write, and its death lets the other.

mod common;

use common::{World, services, vpc};

#[tokio::test]
async fn only_one_writes_and_its_death_lets_the_other() {
    let world = World::new().await;
    world.save("vpc.yaml", &vpc("red"));
    world.save("services.yaml", &services("red", 0..3, 0));
    let status = tempfile::tempdir().expect("a directory");
    let elsewhere = [
        "--manifests-status",
        status.path().to_str().expect("a path"),
    ];
    let first = world.converged("one", &[]).await;
    let second = world.start("two", &elsewhere);
    second.says("another process writes");
    // A standby is ready to take over.
    second.until_ready();
    world.save("services.yaml", &services("red", 0..5, 1));
    world
        .until("five", |database| database.len("Load_Balancer") == 5)
        .await;
    first.until_metric("yusur_controller_queued_units", |queued| queued == 0.0);
    assert_eq!(second.metric("yusur_controller_leader"), 0.0);
    assert_eq!(
        second.metric("yusur_controller_transactions_total{result=\"ok\"}"),
        0.0
    );
    let before = world.rows();

    first.kill();
    second.says("this process writes");
    world.save("services.yaml", &services("red", 0..6, 1));
    world
        .until("six", |database| database.len("Load_Balancer") == 6)
        .await;
    let after = world.rows();
    for (key, row) in &before {
        if key.0 == "Load_Balancer" {
            assert_eq!(after.get(key), Some(row), "nothing is written anew");
        }
    }
    second.stop();
}

#[tokio::test]
async fn two_owners_share_a_northbound() {
    let world = World::new().await;
    world.save("vpc.yaml", &vpc("red"));
    world.save("services.yaml", &services("red", 0..2, 0));
    let status = tempfile::tempdir().expect("a directory");
    let elsewhere = [
        "--manifests-status",
        status.path().to_str().expect("a path"),
    ];
    let first = world.converged("one", &[]).await;
    let second = world.start_as("two", "blue-2", &elsewhere);
    second.says("the Northbound is what the objects mean");
    world
        .until("both", |database| database.len("Load_Balancer") == 4)
        .await;
    world.delete("services.yaml");
    world
        .until("neither", |database| database.len("Load_Balancer") == 0)
        .await;
    first.stop();
    second.stop();
}
