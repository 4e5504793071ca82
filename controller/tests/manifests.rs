//! From a directory of manifests to rows of a real Northbound, and back to nothing.

mod common;

use common::{World, backends, services, vpc};
use serde_json::json;

/// A service whose address is allocated.
const AUTO: &str = "
apiVersion: yusur.io/v1alpha1
kind: YusurService
metadata: {name: auto, namespace: shop}
spec:
  vpc: shop
  ports: [{port: 80}]
  backends: [{kind: VNicIP, addresses: [10.0.2.11]}]
";

fn ready(status: &serde_json::Value) -> bool {
    let conditions = status["conditions"].as_array();
    conditions.is_some_and(|list| {
        list.iter()
            .any(|c| c["type"] == "Ready" && c["status"] == "True")
    })
}

#[tokio::test]
async fn the_example_becomes_rows_and_status() {
    let world = World::new().await;
    world.example("shop");
    let controller = world.converged("one", &[]).await;
    let rows = world.rows();
    let web = backends(&rows, "10.96.0.10:80").expect("the VIP of shop/web");
    assert!(
        web.contains("10.0.2.11:80") && web.contains("10.0.2.12:80"),
        "{web}"
    );
    assert_eq!(
        backends(&rows, "10.96.0.12:80").as_deref(),
        Some("10.0.2.12:80"),
        "the other one is drained"
    );
    let status = world.until_status(&controller, "yusurservice/shop/web", ready);
    assert_eq!(status["clusterIPs"], json!(["10.96.0.10"]));
    assert_eq!(status["observedGeneration"], 1);
    let (code, body) = controller.get("/readyz");
    assert_eq!(code, 200, "{body}");
    assert_eq!(controller.get("/healthz"), (200, "ok\n".into()));
    assert_eq!(controller.get("/nothing").0, 404);
    controller.stop();
}

#[tokio::test]
async fn a_southbound_that_is_none_is_told_and_holds_nothing_up() {
    let world = World::new().await;
    world.example("shop");
    // Each of the two databases has a server of its own; this is the wrong one.
    let address = world.nb.unix();
    let controller = world.converged("one", &["--sb-address", &address]).await;
    let reason =
        format!("{address}: the server has no database \"OVN_Southbound\"; it has OVN_Northbound");
    controller.says("see that --sb-address names it");
    assert!(
        controller.log().contains(&reason.replace('"', "\\\"")),
        "{}",
        controller.log()
    );
    let (code, body) = controller.get("/readyz");
    assert_eq!(code, 200, "{body}");
    let line = body.lines().find(|line| line.contains("southbound"));
    let line = line.expect("a line");
    assert!(
        line.starts_with("[!]southbound failed") && line.contains(&reason),
        "{body}"
    );
    controller.stop();
}

#[tokio::test]
async fn of_many_objects_each_is_told() {
    let world = World::new().await;
    world.save("vpc.yaml", &vpc("red"));
    world.save("services.yaml", &services("red", 0..200, 0));
    let controller = world.converged("one", &[]).await;
    for service in 0..200 {
        let object = format!("yusurservice/shop/s{service}");
        world.until_status(&controller, &object, ready);
    }
    controller.stop();
}

#[tokio::test]
async fn a_saved_file_takes_effect_and_a_deleted_one_leaves_nothing() {
    let world = World::new().await;
    let controller = world.converged("one", &[]).await;
    assert!(world.rows().is_empty());
    world.save("vpc.yaml", &vpc("red"));
    world.save("services.yaml", &services("red", 0..3, 0));
    world
        .until("three services", |database| {
            database.len("Load_Balancer") == 3
        })
        .await;
    world.save("services.yaml", &services("red", 0..3, 7));
    world
        .until("another port", |database| {
            backends(&common::rows(database), "10.96.100.1:80")
                .is_some_and(|list| list == "10.0.0.1:8007,10.0.100.1:8007")
        })
        .await;
    world.until_status(&controller, "yusurservice/shop/s0", |status| {
        status["observedGeneration"] == 2
    });
    world.save("services.yaml", &services("red", 1..3, 7));
    world
        .until("two services", |database| {
            database.len("Load_Balancer") == 2
        })
        .await;
    world.delete("services.yaml");
    world.delete("vpc.yaml");
    world
        .until("nothing", |database| common::rows(database).is_empty())
        .await;
    assert_eq!(world.observer.read().len("Load_Balancer_Group"), 0);
    world.until_status(
        &controller,
        "yusurservice/shop/s1",
        serde_json::Value::is_null,
    );
    controller.stop();
}

#[tokio::test]
async fn a_restart_with_nothing_changed_writes_nothing() {
    let world = World::new().await;
    world.example("shop");
    world.save("auto.yaml", AUTO);
    let controller = world.converged("one", &[]).await;
    let status = world.until_status(&controller, "yusurservice/shop/auto", ready);
    controller.until_metric("yusur_controller_queued_units", |queued| queued == 0.0);
    controller.stop();
    world.catch_up().await;
    let (before, rows) = (world.transactions(), world.rows());
    let again = world.converged("two", &[]).await;
    assert_eq!(
        again.metric("yusur_controller_transactions_total{result=\"ok\"}"),
        0.0
    );
    assert_eq!(
        again.metric("yusur_controller_status_writes_total{result=\"ok\"}"),
        0.0,
        "{}",
        again.log()
    );
    again.stop();
    assert_eq!(world.transactions(), before);
    assert_eq!(world.rows(), rows);
    assert_eq!(world.status("yusurservice/shop/auto"), status);
}

#[tokio::test]
async fn what_was_deleted_while_nobody_looked_is_swept() {
    let world = World::new().await;
    world.save("vpc.yaml", &vpc("red"));
    world.save("services.yaml", &services("red", 0..6, 0));
    let controller = world.converged("one", &[]).await;
    controller.stop();
    world.save("services.yaml", &services("red", 2..6, 0));
    let controller = world.converged("two", &[]).await;
    assert_eq!(world.observer.read().len("Load_Balancer"), 4);
    world.until_status(
        &controller,
        "yusurservice/shop/s0",
        serde_json::Value::is_null,
    );
    controller.stop();
}

#[tokio::test]
async fn a_thousand_changes_at_once_are_few_transactions() {
    let world = World::new().await;
    world.save("vpc.yaml", &vpc("red"));
    world.save("services.yaml", &services("red", 0..1000, 0));
    let controller = world.converged("one", &[]).await;
    let before = world.transactions();
    world.save("services.yaml", &services("red", 0..1000, 1));
    world
        .until("all on the new port", |database| {
            database.rows("Load_Balancer").all(|(_, row)| {
                row.get("vips")
                    .is_some_and(|vips| format!("{vips:?}").contains(":8001"))
            })
        })
        .await;
    let transactions = world.transactions() - before;
    assert!(transactions < 50, "{transactions}");
    controller.stop();
}

#[tokio::test]
async fn bad_flags_are_told_before_anything_starts() {
    let world = World::new().await;
    let log = |arguments: &[&str]| {
        let controller = world.start("bad", arguments);
        let status = controller.process.wait().expect("an end");
        assert!(!status.success());
        controller.log()
    };
    let bad = log(&["--log-level", "inf0=="]);
    assert!(bad.contains("is no filter"), "{bad}");
    let bad = log(&["--log-level", "verbose"]);
    assert!(bad.contains("no level: error, warn, info"), "{bad}");
    let bad = log(&["--nb-address", "ssl:127.0.0.1:1"]);
    assert!(bad.contains("--nb-ca-cert"), "{bad}");
    let bad = log(&["--nb-address", "udp:127.0.0.1:1"]);
    assert!(bad.contains("unknown method"), "{bad}");
}
