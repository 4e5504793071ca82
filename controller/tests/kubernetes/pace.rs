//! How status is written where there is much of it, and where the API server has no time.

use std::time::{Duration, Instant};

use serde_json::json;
use yusur_controller::metrics::Outcome;
use yusur_controller::status::{Finished, StatusWrite};
use yusur_planner::{Kind, ObjectName, ObjectRef};

use super::support::{Cluster, Writer, eventually, vpc};

fn path(name: &str) -> String {
    format!("/apis/yusur.io/v1alpha1/vpcs/{name}")
}

/// A Vpc, and a write about it.
fn made(cluster: &Cluster, name: &str) -> StatusWrite {
    cluster.admin.apply(&vpc(name, "{}")).expect("a Vpc");
    let object = cluster.admin.get(&path(name)).expect("an answer");
    let uid = object.expect("the Vpc")["metadata"]["uid"].clone();
    StatusWrite {
        object: ObjectRef {
            kind: Kind::Vpc,
            name: ObjectName::cluster(name),
        },
        uid: uid.as_str().expect("a uid").to_owned(),
        status: Some(json!({"observedGeneration": 1}).into()),
        events: Vec::new(),
        record: Vec::new(),
    }
}

fn numbered(write: &StatusWrite, number: u32) -> StatusWrite {
    StatusWrite {
        status: Some(json!({"observedGeneration": number}).into()),
        ..write.clone()
    }
}

fn number(cluster: &Cluster, name: &str) -> u64 {
    let object = cluster.admin.get(&path(name)).expect("an answer");
    let number = object.expect("the Vpc")["status"]["observedGeneration"].as_u64();
    number.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_goes_before_the_backlog_and_nothing_is_lost_at_the_end() {
    const MANY: usize = 300;
    let cluster = Cluster::start(true).await;
    let writes: Vec<_> = (0..MANY)
        .map(|n| made(&cluster, &format!("v{n}")))
        .collect();
    let urgent = made(&cluster, "urgent");
    let mut writer = Writer::start(&cluster).await;
    for write in writes {
        writer.queue.push_backlog(write);
    }
    // The backlog is under way.
    assert_eq!(writer.finished().await, Finished::Written);
    writer.queue.push(urgent);
    let mut before = 0;
    loop {
        let receipt = writer.receipt().await;
        assert_eq!(receipt.end, Finished::Written);
        if &*receipt.write.object.name.name == "urgent" {
            break;
        }
        before += 1;
    }
    // Those that were on their way, and those that ended while it was.
    assert!(before < MANY / 3, "{before} of the backlog went before it");
    let written = writer.attempts(Outcome::Ok);
    assert!(written < MANY as u64, "{written}");
    writer.stop().await;
    assert_eq!(number(&cluster, &format!("v{}", MANY - 1)), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_changing_is_written_once_a_second_and_the_last_at_the_end() {
    let cluster = Cluster::start(true).await;
    let red = made(&cluster, "red");
    let writer = Writer::start(&cluster).await;
    let began = Instant::now();
    let mut last = 0;
    while began.elapsed() < Duration::from_millis(3500) {
        last += 1;
        writer.queue.push(numbered(&red, last));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (written, seconds) = (writer.attempts(Outcome::Ok), began.elapsed().as_secs());
    assert!(
        (2..=seconds + 1).contains(&written),
        "{written} writes in {seconds} s"
    );
    writer.stop().await;
    assert_eq!(number(&cluster, "red"), u64::from(last));
}

/// The API server's own fairness (`PriorityLevelConfiguration`) grants the writer one request at a time, and says 429 to
/// every one beside it.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_without_time_is_asked_for_less() {
    const MANY: u32 = 40;
    let cluster = Cluster::start(true).await;
    let writes: Vec<_> = (0..MANY)
        .map(|n| made(&cluster, &format!("v{n}")))
        .collect();
    let api = "flowcontrol.apiserver.k8s.io/v1";
    let level = format!(
        "apiVersion: {api}\nkind: PriorityLevelConfiguration\nmetadata: {{name: one}}\nspec:\n  type: Limited\n  \
         limited: {{nominalConcurrencyShares: 0, lendablePercent: 0, borrowingLimitPercent: 0, limitResponse: {{type: Reject}}}}\n"
    );
    let schema = format!(
        "apiVersion: {api}\nkind: FlowSchema\nmetadata: {{name: one}}\nspec:\n  priorityLevelConfiguration: {{name: one}}\n  \
         matchingPrecedence: 10\n  rules:\n  - subjects: [{{kind: ServiceAccount, serviceAccount: {{name: yusur-controller, \
         namespace: yusur-system}}}}]\n    resourceRules: [{{verbs: [patch], apiGroups: [yusur.io], resources: ['*'], \
         clusterScope: true, namespaces: ['*']}}]\n"
    );
    cluster.admin.apply(&level).expect("a level");
    cluster.admin.apply(&schema).expect("a schema");
    let writer = Writer::start(&cluster).await;
    // Until the API server has taken notice of the schema, it takes several at a time.
    let probes: Vec<_> = (0..4)
        .map(|n| made(&cluster, &format!("probe{n}")))
        .collect();
    let mut probed = 0;
    eventually("it says 429", || {
        probed += 1;
        for probe in &probes {
            writer.queue.push(numbered(probe, probed));
        }
        (writer.attempts(Outcome::Retry) > 0).then_some(())
    })
    .await;
    for write in writes {
        writer.queue.push(write);
    }
    eventually("all is written", || writer.queue.is_empty().then_some(())).await;
    for n in 0..MANY {
        assert_eq!(number(&cluster, &format!("v{n}")), 1);
    }
    for n in 0..4 {
        assert_eq!(number(&cluster, &format!("probe{n}")), u64::from(probed));
    }
    let refused = writer.attempts(Outcome::Retry);
    assert!(refused < 20, "{refused} answers of 429 for {MANY} writes");
    assert_eq!(writer.attempts(Outcome::Failed), 0);
    writer.stop().await;
}
