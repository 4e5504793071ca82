//! No tenant's objects keep the status of another's from being written.

use serde_json::{Value, json};

use super::world::{Start, World, namespace, path, service};
use crate::common::{rows, vpc};

/// As many objects as there are writes on their way at most, and some more.
const OBJECTS: usize = 20;

/// Bytes that one label of [`padded`] takes in JSON.
const LABEL: usize = 240 + 1 + 60 + 63 + 6;

/// An Eip that is some bytes large.
fn padded(name: &str, bytes: usize) -> Value {
    let prefix = "p".repeat(240);
    let labels: serde_json::Map<String, Value> = (0..bytes / LABEL)
        .map(|n| (format!("{prefix}/{n:060}"), Value::from("v".repeat(63))))
        .collect();
    json!({
        "apiVersion": "yusur.io/v1alpha1", "kind": "Eip",
        "metadata": {"name": name, "namespace": "greedy", "labels": labels,
            "annotations": {"example.org/rest": "r".repeat(bytes % LABEL)}},
        "spec": {},
    })
}

/// Makes the object; `false` where it is too large for etcd.
fn make(world: &World, object: &Value) -> bool {
    let path = "/apis/yusur.io/v1alpha1/namespaces/greedy/eips?fieldManager=test";
    let answer = world.admin.request("POST", path, Some(object));
    let answer = answer.expect("an answer");
    let words = answer.body["message"].as_str().unwrap_or_default();
    match answer.code {
        201 => true,
        500 if words.contains("request is too large") => false,
        code => panic!("{code} {words}"),
    }
}

/// The largest size at which an object of a six-letter name is accepted, to some dozen bytes.
fn largest(world: &World) -> usize {
    let (mut fits, mut too_large) = (400_000, 2_000_000);
    assert!(!make(world, &padded("trying", too_large)));
    while too_large - fits > 40 {
        let middle = usize::midpoint(fits, too_large);
        if make(world, &padded("trying", middle)) {
            world.delete(&path("eips", "greedy", "trying"));
            fits = middle;
        } else {
            too_large = middle;
        }
    }
    fits
}

/// Objects of one namespace that are so large that no status fits in beside them: what another namespace asks for is
/// done and told as if they were not there, and they are told why.
#[tokio::test(flavor = "multi_thread")]
async fn objects_too_large_for_a_status_hold_up_nobody_else() {
    let world = World::new().await;
    world.apply(&format!(
        "{}{}{}",
        namespace("greedy"),
        namespace("shop"),
        vpc("red")
    ));
    let size = largest(&world) - 40;
    for n in 0..OBJECTS {
        assert!(make(&world, &padded(&format!("pad-{n:02}"), size)));
    }
    // Large objects keep the API server busy; who loses the Lease over that begins anew, which is another matter.
    let start = Start {
        lease: Some("120"),
        ..Start::default()
    };
    let controller = world.start_with("one", &start);
    let tried = || {
        let ended = |result| format!("yusur_controller_status_writes_total{{result=\"{result}\"}}");
        controller.metric(&ended("refused")) + controller.metric(&ended("failed"))
    };
    controller.says("the Northbound is what the objects mean");
    controller.until_metric("process_start_time_seconds", |_| tried() >= 16.0);

    // No `clusterIP`: it is recorded in the status before it is used.
    world.apply(
        "apiVersion: yusur.io/v1alpha1\nkind: YusurService\nmetadata: {name: web, namespace: shop}\nspec:\n  vpc: red\n  \
         ports: [{port: 80}]\n  backends: [{kind: VNicIP, addresses: [10.0.0.1]}]\n",
    );
    let told = world.until_condition(&service("shop", "web"), "Ready", "True", "BackendsReady");
    let address = told["status"]["clusterIPs"][0]
        .as_str()
        .expect("an address");
    let vip = format!("{address}:80");
    world
        .until("the service's address", |database| {
            crate::common::backends(&rows(database), &vip).is_some()
        })
        .await;

    // A refusal is said once, where whoever made the object looks.
    let first = path("eips", "greedy", "pad-00");
    world.until_event("greedy", ("Warning", "StatusRefused", "Eip/pad-00"));
    controller.until_metric("yusur_controller_status_refused", |refused| {
        refused == OBJECTS as f64
    });
    let log = controller.log();
    let said = log
        .lines()
        .filter(|line| line.contains("refuses the status") && line.contains("greedy/pad-00"));
    assert_eq!(said.count(), 1, "{log}");

    // Once there is room it is written, without waiting for long.
    let mut object = world.object(&first);
    assert_eq!(object["status"], Value::Null);
    object["metadata"]["labels"] = json!({});
    let answer = world.admin.request("PUT", &first, Some(&object));
    answer
        .and_then(|answer| answer.good(&first))
        .expect("a change");
    world.until_object(&first, |object| object["status"]["conditions"].is_array());
    controller.until_metric("yusur_controller_status_refused", |refused| {
        refused == (OBJECTS - 1) as f64
    });
    controller.stop();
}
