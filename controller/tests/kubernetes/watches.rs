//! The watches: everything is told, whatever the API server goes through.

use std::collections::HashSet;

use yusur_controller::source::kubernetes::Kubernetes;
use yusur_controller::source::{SourceEvent, Sources};
use yusur_planner::{Change, Kind, ObjectName};

use super::support::{Cluster, event, vpc};

async fn listed(sources: &mut Sources) -> HashSet<String> {
    let mut waiting: HashSet<Kind> = sources.kinds.iter().copied().collect();
    let mut objects = HashSet::new();
    event(sources, "the end of every list", |event| {
        match event {
            SourceEvent::Changed { change, .. } => {
                objects.insert(change.object().to_string());
            }
            SourceEvent::ListEnded(kind) => {
                waiting.remove(&kind);
            }
            SourceEvent::Problem {
                subject,
                problem: Some(problem),
                ..
            } => panic!("{subject}: {}", problem.message),
            _ => {}
        }
        waiting.is_empty().then_some(())
    })
    .await;
    objects
}

async fn changed(sources: &mut Sources, object: &str) -> Change {
    event(sources, object, |event| match event {
        SourceEvent::Changed { change, .. } if change.object().to_string() == object => {
            Some(change)
        }
        SourceEvent::Lost(lost) => panic!("lost {lost:?}"),
        _ => None,
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_told_through_restarts_of_the_api_server() {
    let cluster = Cluster::start(true).await;
    cluster
        .admin
        .apply(&vpc("red", "{serviceCIDRs: [10.96.0.0/16]}"))
        .expect("a Vpc");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: default, labels: {app: web}}\nspec: {nodeName: n1, containers: [{name: a, image: a, ports: [{name: http, containerPort: 80}]}]}\n";
    cluster.admin.apply(pod).expect("a Pod");

    let (_source, mut sources) = Kubernetes::start(&cluster.client);
    // KubeVirt is not installed: its kind is listed as empty.
    let objects = listed(&mut sources).await;
    for object in ["Vpc red", "Pod default/web", "Namespace yusur-system"] {
        assert!(objects.contains(object), "{object} is not in {objects:?}");
    }

    cluster
        .admin
        .apply(&vpc("red", "{nodeAccess: false}"))
        .expect("a change");
    let Change::Vpc(red) = changed(&mut sources, "Vpc red").await else {
        panic!("no Vpc")
    };
    assert!(!red.spec.node_access && red.meta.generation == 2);
    cluster
        .admin
        .delete("/apis/yusur.io/v1alpha1/vpcs/red")
        .expect("deleted");
    assert!(matches!(
        changed(&mut sources, "Vpc red").await,
        Change::Removed(_)
    ));

    cluster.kubernetes.kill_api_server().expect("killed");
    cluster
        .kubernetes
        .start_api_server()
        .expect("started again");
    cluster.admin.apply(&vpc("blue", "{}")).expect("a Vpc");
    assert!(matches!(
        changed(&mut sources, "Vpc blue").await,
        Change::Vpc(_)
    ));
}

/// A stricter schema came later, or an object was written past it: one such object must not hide the others.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_cannot_be_decoded_is_a_problem_of_its_own() {
    let cluster = Cluster::start(true).await;
    let loose = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: vpcs.yusur.io}
spec:
  group: yusur.io
  names: {kind: Vpc, plural: vpcs, singular: vpc, shortNames: [yvpc], categories: [yusur]}
  scope: Cluster
  versions:
    - name: v1alpha1
      served: true
      storage: true
      subresources: {status: {}}
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";
    cluster.admin.apply(loose).expect("a loose definition");
    super::support::eventually("the loose definition is served", || {
        cluster
            .admin
            .apply(&vpc("odd", "{nodeAccess: perhaps}"))
            .ok()
    })
    .await;
    cluster.admin.apply(&vpc("sound", "{}")).expect("a Vpc");

    let (_source, mut sources) = Kubernetes::start(&cluster.client);
    let (mut problem, mut sound, mut ended) = (None, false, false);
    event(&mut sources, "both Vpcs", |event| {
        match event {
            SourceEvent::Problem {
                object: Some(object),
                problem: Some(found),
                ..
            } => problem = Some((object, found)),
            SourceEvent::Changed {
                change: Change::Vpc(vpc),
                ..
            } => sound |= vpc.meta.name == "sound",
            SourceEvent::ListEnded(Kind::Vpc) => ended = true,
            _ => {}
        }
        (problem.is_some() && sound && ended).then_some(())
    })
    .await;
    let (object, found) = problem.expect("just seen");
    assert_eq!(object.name, ObjectName::cluster("odd"));
    assert_eq!(found.reason, "Undecodable");
    assert!(
        found.message.starts_with("spec.nodeAccess: invalid type"),
        "{}",
        found.message
    );

    cluster
        .admin
        .apply(&vpc("odd", "{nodeAccess: true}"))
        .expect("mended");
    let mut solved = false;
    event(&mut sources, "the mended Vpc", |event| {
        match event {
            SourceEvent::Problem {
                subject,
                problem: None,
                ..
            } if subject == "Vpc odd" => solved = true,
            SourceEvent::Changed {
                change: Change::Vpc(vpc),
                ..
            } if vpc.meta.name == "odd" => return Some(()),
            _ => {}
        }
        None
    })
    .await;
    assert!(
        solved,
        "the problem is taken back before the object is told"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_the_definitions_is_told_what_to_do() {
    let cluster = Cluster::start(false).await;
    let (_source, mut sources) = Kubernetes::start(&cluster.client);
    let message = event(&mut sources, "the problem", |event| match event {
        SourceEvent::ListEnded(Kind::Vpc) => panic!("what is not there cannot be listed"),
        SourceEvent::Problem {
            subject,
            problem: Some(problem),
            ..
        } if subject == "watch of vpcs" => Some(problem.message),
        _ => None,
    })
    .await;
    assert!(
        message.contains("kubectl apply -f manifests/crds"),
        "{message}"
    );
    cluster
        .kubernetes
        .install_definitions()
        .expect("the definitions");
    event(
        &mut sources,
        "the list, once the definitions are there",
        |event| matches!(event, SourceEvent::ListEnded(Kind::Vpc)).then_some(()),
    )
    .await;
}
