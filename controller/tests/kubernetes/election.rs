//! The Lease: one writer, and an epoch that never comes twice.

use std::time::Duration;

use tokio::time::timeout;
use yusur_controller::leadership::{self, Leadership, Role};
use yusur_controller::source::kubernetes::lease::{self, Options};

use super::support::{Cluster, PATIENCE};

const PATH: &str =
    "/apis/coordination.k8s.io/v1/namespaces/yusur-system/leases/yusur-controller-yusur";

fn options(identity: &str) -> Options {
    Options {
        identity: identity.to_owned(),
        ..Options::new("yusur-system", "yusur", Duration::from_secs(2))
    }
}

fn join(cluster: &Cluster, identity: &str) -> (tokio::task::JoinHandle<()>, Leadership) {
    let (elector, leadership) = leadership::channel();
    let task = tokio::spawn(lease::run(
        cluster.client.clone(),
        options(identity),
        elector,
    ));
    (task, leadership)
}

async fn until(leadership: &mut Leadership, what: &str, wanted: impl Fn(Role) -> bool) -> Role {
    let waiting = async {
        loop {
            let role = leadership.role();
            if wanted(role) {
                return role;
            }
            leadership.changed().await;
        }
    };
    timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("never so: {what}"))
}

async fn leads(leadership: &mut Leadership, what: &str) -> u64 {
    match until(leadership, what, |role| role != Role::Standby).await {
        Role::Leader { epoch } => epoch,
        Role::Standby => unreachable!("waited for the other"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_leads_and_every_leader_has_a_higher_epoch() {
    let cluster = Cluster::start(false).await;
    let (first_task, mut first) = join(&cluster, "first");
    let first_epoch = leads(&mut first, "the first leads").await;

    // One that joins stands by, and says so.
    let (second_task, mut second) = join(&cluster, "second");
    second.changed().await;
    assert_eq!(second.role(), Role::Standby);

    // A doubt is answered with news, even if it is the same.
    first.doubt();
    timeout(PATIENCE, first.changed())
        .await
        .expect("an answer to the doubt");
    assert_eq!(leads(&mut first, "the first leads on").await, first_epoch);

    // A crash: nothing is given back, the Lease ends by itself.
    first_task.abort();
    let second_epoch = leads(&mut second, "the second takes over").await;
    assert!(second_epoch > first_epoch);

    // An orderly end: the Lease is given back at once.
    let (third_task, mut third) = join(&cluster, "third");
    until(&mut third, "the third stands by", |role| {
        role == Role::Standby
    })
    .await;
    drop(second);
    second_task.await.expect("it ends once the engine has gone");
    let lease = cluster
        .admin
        .get(PATH)
        .expect("an answer")
        .expect("the Lease");
    let holder = lease["spec"]["holderIdentity"].as_str();
    assert!(holder.is_none_or(|holder| holder == "third"), "{holder:?}");
    let third_epoch = leads(&mut third, "the third takes over").await;
    assert!(third_epoch > second_epoch);

    // Deleted behind our back: made anew, with an epoch nobody had.
    cluster.admin.delete(PATH).expect("deleted");
    let role = until(&mut third, "a new epoch", |role| {
        role != Role::Standby && role != Role::Leader { epoch: third_epoch }
    })
    .await;
    assert!(
        matches!(role, Role::Leader { epoch } if epoch > third_epoch),
        "{role:?}"
    );
    third_task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_api_server_the_leader_stops_believing() {
    let cluster = Cluster::start(false).await;
    let (task, mut leadership) = join(&cluster, "first");
    let epoch = leads(&mut leadership, "it leads").await;
    // Frozen, not killed: requests hang instead of failing.
    cluster.kubernetes.freeze_api_server().expect("frozen");
    until(&mut leadership, "it steps down", |role| {
        role == Role::Standby
    })
    .await;
    cluster.kubernetes.resume_api_server().expect("resumed");
    // Nobody took the Lease meanwhile: it is still ours, under the same epoch.
    assert_eq!(leads(&mut leadership, "it leads again").await, epoch);
    task.abort();
}
