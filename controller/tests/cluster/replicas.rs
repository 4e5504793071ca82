//! Two replicas: one writes, the other takes over, and what a deposed one still sends is refused.

use ovsdb::Event;

use super::gate::Gate;
use super::world::{Start, World, none_lost};
use crate::common::{Controller, backends, services};

/// A world with these services, a leader, and a standby that is ready to take over.
async fn two(range: std::ops::Range<usize>, first: &Start<'_>) -> (World, Controller, Controller) {
    let world = World::new().await;
    let (first, second) = join(&world, range, first).await;
    (world, first, second)
}

async fn join(
    world: &World,
    range: std::ops::Range<usize>,
    start: &Start<'_>,
) -> (Controller, Controller) {
    world.furnish(range);
    let first = world.start_with("first", start);
    first.says("the Northbound is what the objects mean");
    let second = world.start("second");
    second.says("another process writes");
    second.until_ready();
    world.catch_up().await;
    (first, second)
}

/// In the database's log no transaction of an earlier epoch follows one of a later.
fn no_deposed_writer(world: &World, epochs: &[u64]) {
    let writers = world.writers();
    assert!(writers.is_sorted(), "{writers:?}");
    for epoch in epochs {
        assert!(writers.contains(epoch), "{epoch} never wrote: {writers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_followed_by_the_other() {
    let (world, first, second) = two(0..20, &Start::default()).await;
    let epoch = world.until_leads(&first);
    let before = world.rows();

    // Both are well; what they say of themselves differs.
    for controller in [&first, &second] {
        controller.until_ready();
        assert_eq!(controller.get("/healthz"), (200, "ok\n".into()));
        assert_eq!(controller.metric("yusur_controller_sources_synced"), 1.0);
        assert_eq!(
            controller.metric("yusur_controller_objects{kind=\"YusurService\"}"),
            20.0
        );
        assert_eq!(
            controller.metric("yusur_controller_connected{database=\"OVN_Northbound\"}"),
            1.0
        );
    }
    assert_eq!(second.metric("yusur_controller_leader"), 0.0);
    assert_eq!(second.metric("yusur_controller_epoch"), 0.0);
    assert_eq!(
        second.metric("yusur_controller_transactions_total{result=\"ok\"}"),
        0.0
    );
    assert_eq!(
        second.metric("yusur_controller_status_writes_total{result=\"ok\"}"),
        0.0
    );

    // It dies while it has much to do, and more comes after.
    world.apply(&services("red", 20..40, 0));
    first.kill();
    world.apply(&services("red", 40..60, 0));
    let next = world.until_leads(&second);
    assert!(next > epoch);
    world
        .until("all services", |database| {
            database.len("Load_Balancer") == 60
        })
        .await;
    world.catch_up().await;
    none_lost(&before, &world.rows());
    no_deposed_writer(&world, &[epoch, next]);
    second.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_stopped_is_refused() {
    let world = World::new().await;
    let gate = Gate::before(
        world.nb.server().unix_path(),
        &world.dir().join("gate.sock"),
    );
    let through = Start {
        nb_address: Some(gate.remote()),
        ..Start::default()
    };
    let (first, second) = join(&world, 0..5, &through).await;
    let epoch = world.until_leads(&first);
    let mut changes = world.observer.changes_from_now();

    // A write of the leader is on its way, and comes no further for now.
    gate.shut();
    world.apply(&services("red", 0..1, 1));
    first
        .process
        .wait_until("the leader's write", || {
            Ok(gate.requests().contains(":8001"))
        })
        .expect("a write");
    first.process.stop().expect("a signal");
    // What changes now it will find in its sockets when it goes on.
    world.apply(&services("red", 0..2, 2));
    world.apply(&services("red", 5..6, 2));
    let next = world.until_leads(&second);
    assert!(next > epoch);
    world
        .until_backends("10.96.100.1:80", Some("10.0.0.1:8002,10.0.100.1:8002"))
        .await;
    world
        .until_backends("10.96.100.6:80", Some("10.0.0.6:8002,10.0.100.6:8002"))
        .await;
    world.catch_up().await;
    let rows = world.rows();

    // The write arrives now, under an epoch that is over.
    let answered = gate.replies().len();
    gate.open();
    second
        .process
        .wait_until("the refusal", || {
            Ok(gate.replies()[answered..].contains("timed out"))
        })
        .expect("a refusal");
    first.process.cont().expect("a signal");
    first.says("the fence refused a transaction");
    first.until_metric("yusur_controller_fenced_total", |fenced| fenced >= 1.0);
    first.until_metric("yusur_controller_leader", |leads| leads == 0.0);
    first.until_ready();
    world.catch_up().await;
    assert_eq!(world.rows(), rows);

    // It knows what has happened meanwhile: as the leader's heir it has nothing to write.
    second.stop();
    let last = world.until_leads(&first);
    assert!(last > next);
    world.apply(&services("red", 6..7, 3));
    world
        .until_backends("10.96.100.7:80", Some("10.0.0.7:8003,10.0.100.7:8003"))
        .await;
    world.catch_up().await;
    let mut after = world.rows();
    after.retain(|key, _| rows.contains_key(key));
    none_lost(&rows, &after);
    no_deposed_writer(&world, &[epoch, next, last]);

    // Nobody has ever seen what the deposed leader sent.
    while let Some(event) = changes.try_next() {
        let Event::Batch(batch) = event else { continue };
        for new in batch
            .changes
            .iter()
            .filter_map(|change| change.new.as_ref())
        {
            assert!(!format!("{new:?}").contains(":8001"), "{new:?}");
        }
    }
    first.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_told_to_stop_hands_over_at_once() {
    // Nobody waits for the end of a Lease that stands for an hour.
    let patient = Start {
        lease: Some("3600"),
        ..Start::default()
    };
    let world = World::new().await;
    world.furnish(0..5);
    let first = world.start_with("first", &patient);
    first.says("the Northbound is what the objects mean");
    let second = world.start_with("second", &patient);
    second.says("another process writes");
    second.until_ready();
    let epoch = world.until_leads(&first);
    let holder = world.holder();
    world.apply(&services("red", 5..30, 0));
    first.stop();
    assert_ne!(world.holder(), holder);
    let next = world.until_leads(&second);
    assert!(next > epoch);
    world
        .until("all services", |database| {
            database.len("Load_Balancer") == 30
        })
        .await;
    world.catch_up().await;
    assert!(backends(&world.rows(), "10.96.100.30:80").is_some());
    no_deposed_writer(&world, &[epoch, next]);
    // The last one gives the Lease back as well.
    second.stop();
    assert_eq!(world.holder(), None);
}
