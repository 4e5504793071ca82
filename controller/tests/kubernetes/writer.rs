//! Status and Events.

use serde_json::{Value, json};
use yusur_controller::metrics::Outcome;
use yusur_controller::status::{Finished, StatusWrite};
use yusur_planner::{Event, Kind, ObjectName, ObjectRef, Severity};

use super::support::{Cluster, Writer, eventually, items, vpc};

const PATH: &str = "/apis/yusur.io/v1alpha1/vpcs/red";
const GATEWAY: &str = "/apis/yusur.io/v1alpha1/eipgateways/internet";

fn write(uid: &str, status: Value) -> StatusWrite {
    StatusWrite {
        object: ObjectRef {
            kind: Kind::Vpc,
            name: ObjectName::cluster("red"),
        },
        uid: uid.to_owned(),
        status: Some(status.into()),
        events: Vec::new(),
        record: Vec::new(),
    }
}

/// The controller's Events; others may be in the namespace, the API server's own for one.
fn own_events(cluster: &Cluster) -> Vec<Value> {
    let events = cluster
        .admin
        .get("/apis/events.k8s.io/v1/namespaces/default/events")
        .expect("an answer");
    let mut events = items(&events.expect("a list"));
    events.retain(|event| event["reportingController"] == "yusur-controller");
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn status_is_what_was_written_last_and_events_tell_of_it() {
    let cluster = Cluster::start(true).await;
    cluster.admin.apply(&vpc("red", "{}")).expect("a Vpc");
    let red = cluster
        .admin
        .get(PATH)
        .expect("an answer")
        .expect("the Vpc");
    let uid = red["metadata"]["uid"].as_str().expect("a uid");
    let mut writer = Writer::start(&cluster).await;
    let queue = writer.queue.clone();

    let condition = json!({"type": "Ready", "status": "True", "reason": "Ready", "message": "It is.",
        "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 1});
    let event = |message: String| Event {
        severity: Severity::Warning,
        reason: "VIPConflict",
        message: message.into(),
    };
    queue.push(StatusWrite {
        events: vec![
            event("The address is taken.".into()),
            event("ä".repeat(2000)),
        ],
        ..write(
            uid,
            json!({"logicalRouter": "r1", "observedGeneration": 1, "conditions": [condition]}),
        )
    });
    assert_eq!(writer.finished().await, Finished::Written);
    let status = cluster
        .admin
        .get(PATH)
        .expect("an answer")
        .expect("the Vpc")["status"]
        .clone();
    assert_eq!(
        status,
        json!({"logicalRouter": "r1", "observedGeneration": 1, "conditions": [condition]})
    );
    let events = own_events(&cluster);
    assert_eq!(events.len(), 2, "{events:?}");
    for event in &events {
        assert_eq!(
            (&event["reason"], &event["type"]),
            (&json!("VIPConflict"), &json!("Warning"))
        );
        assert_eq!(event["regarding"]["uid"], uid);
    }
    assert!(
        events
            .iter()
            .any(|event| event["note"] == "The address is taken.")
    );

    // The same again is counted, not told again.
    queue.push(StatusWrite {
        status: None,
        events: vec![event("ä".repeat(2000))],
        ..write(uid, json!({}))
    });
    assert_eq!(writer.finished().await, Finished::Written);
    let events = own_events(&cluster);
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(events.iter().any(|event| event["series"]["count"] == 2));

    // What is no longer said goes.
    queue.push(write(uid, json!({"observedGeneration": 2})));
    assert_eq!(writer.finished().await, Finished::Written);
    let status = cluster
        .admin
        .get(PATH)
        .expect("an answer")
        .expect("the Vpc")["status"]
        .clone();
    assert_eq!(status, json!({"observedGeneration": 2}));

    // Another object of the name, no object at all, and what the schema forbids.
    queue.push(write(
        "4d5d5b0c-0000-4000-8000-000000000000",
        json!({"observedGeneration": 3}),
    ));
    assert_eq!(writer.finished().await, Finished::Gone);
    let mut nowhere = write(uid, json!({}));
    nowhere.object.name = ObjectName::cluster("nowhere");
    queue.push(nowhere);
    assert_eq!(writer.finished().await, Finished::Gone);
    queue.push(write(uid, json!({"logicalRouter": 7})));
    let refused = writer.finished().await;
    assert!(
        matches!(&refused, Finished::Refused(words) if words.contains("logicalRouter")),
        "{refused:?}"
    );

    // The API server is away: the write waits for it, and the newest wins.
    cluster.kubernetes.kill_api_server().expect("killed");
    queue.push(write(uid, json!({"observedGeneration": 4})));
    eventually("it was tried", || {
        (writer.attempts(Outcome::Failed) > 0).then_some(())
    })
    .await;
    queue.push(write(uid, json!({"observedGeneration": 5})));
    cluster
        .kubernetes
        .start_api_server()
        .expect("started again");
    assert_eq!(writer.finished().await, Finished::Written);
    let status = cluster
        .admin
        .get(PATH)
        .expect("an answer")
        .expect("the Vpc")["status"]
        .clone();
    assert_eq!(status, json!({"observedGeneration": 5}));

    writer.stop().await;
}

/// What gateway nodes tell in an EipGateway's status stays, whatever the controller says anew.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_tell_of_a_gateway_stays() {
    let cluster = Cluster::start(true).await;
    let admin = &cluster.admin;
    let manifest = "apiVersion: yusur.io/v1alpha1\nkind: EipGateway\nmetadata: {name: internet}\n\
        spec: {cidrs: [192.0.2.0/24], physicalNetwork: outside, nodes: [gw1, gw2]}\n";
    admin.apply(manifest).expect("an EipGateway");
    let there = || admin.get(GATEWAY).expect("an answer").expect("the gateway");
    let created = there();
    let uid = created["metadata"]["uid"].as_str().expect("a uid");
    let mut writer = Writer::start(&cluster).await;
    let queue = writer.queue.clone();
    let tell = |uid: &str, status: serde_json::Value| {
        let mut write = write(uid, status);
        write.object = ObjectRef {
            kind: Kind::EipGateway,
            name: ObjectName::cluster("internet"),
        };
        queue.push(write);
    };

    // There is no status yet.
    let own =
        json!({"observedGeneration": 1, "activeNode": "gw1", "serviceGateway": {"node": "gw1"}});
    tell(uid, own.clone());
    assert_eq!(writer.finished().await, Finished::Written);
    assert_eq!(there()["status"], own);

    let observe = |remaining: i32| {
        let ports =
            json!({"node": "gw1", "remaining": remaining, "observedTime": "2026-01-02T03:04:05Z"});
        let body = json!({"apiVersion": "yusur.io/v1alpha1", "kind": "EipGateway", "metadata": {"name": "internet"},
            "status": {"sourcePorts": ports}});
        let path = format!("{GATEWAY}/status?fieldManager=gateway-node");
        let answer = admin
            .request("PATCH", &path, Some(&body))
            .expect("an answer");
        assert_eq!(answer.code, 200, "{answer:?}");
        ports
    };
    let ports = observe(60_000);
    tell(uid, json!({"observedGeneration": 2, "activeNode": "gw2"}));
    assert_eq!(writer.finished().await, Finished::Written);
    let expected = json!({"observedGeneration": 2, "activeNode": "gw2", "sourcePorts": ports});
    assert_eq!(there()["status"], expected);

    // And what they tell is theirs: no conflict with the controller.
    let ports = observe(50_000);
    let expected = json!({"observedGeneration": 2, "activeNode": "gw2", "sourcePorts": ports});
    assert_eq!(there()["status"], expected);

    tell(
        "4d5d5b0c-0000-4000-8000-000000000000",
        json!({"observedGeneration": 3}),
    );
    assert_eq!(writer.finished().await, Finished::Gone);
    tell(uid, json!({"activeNode": 7}));
    let refused = writer.finished().await;
    assert!(
        matches!(&refused, Finished::Refused(words) if words.contains("activeNode")),
        "{refused:?}"
    );
    assert_eq!(there()["status"], expected);
    writer.stop().await;
}
