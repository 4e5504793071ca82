//! What the controller needs of a cluster: the rights and the Deployment of `manifests/`, and no feature of the API server
//! that it cannot do without.

use std::path::PathBuf;

use yusur_testbed::kubernetes::User;

use super::world::{World, manifests, text};
use crate::common::{services, vpc};

/// The files that `manifests/kustomization.yaml` names.
fn kustomized() -> Vec<PathBuf> {
    let all = text(&manifests().join("kustomization.yaml"));
    let files = all
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- "));
    files
        .filter(|file| file.ends_with(".yaml"))
        .map(|file| manifests().join(file))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifests_are_accepted_and_the_rights_suffice_for_nothing_else() {
    let world = World::new().await;
    let files = kustomized();
    assert!(files.len() >= 10, "{files:?}");
    for file in files {
        let tried = world.admin.dry_run(&text(&file));
        assert!(tried.is_ok(), "{}: {tried:?}", file.display());
    }
    // Every example of a manifest that is there is named.
    for directory in ["crds", "rbac", "controller"] {
        for entry in std::fs::read_dir(manifests().join(directory)).expect("manifests") {
            let path = entry.expect("an entry").path();
            assert!(
                kustomized().contains(&path),
                "{} is not in kustomization.yaml",
                path.display()
            );
        }
    }
    // The namespace enforces the restricted profile, so a Pod as the Deployment makes it shows whether it is.
    let deployment = text(&manifests().join("controller/deployment.yaml"));
    let mut parsed: Vec<serde_json::Value> =
        serde_saphyr::from_multiple(&deployment).expect("a deployment");
    let mut template = parsed[0]["spec"]["template"].take();
    template["apiVersion"] = "v1".into();
    template["kind"] = "Pod".into();
    template["metadata"]["name"] = "probe".into();
    template["metadata"]["namespace"] = "yusur-system".into();
    let tried = world.admin.dry_run(&template.to_string());
    assert!(tried.is_ok(), "{tried:?}");

    let user = User::service_account("yusur-system", "yusur-controller");
    let own = world.kubernetes.access(&user).expect("access");
    world.apply(&vpc("red"));
    for (method, path) in [
        ("GET", "/api/v1/namespaces/yusur-system/secrets"),
        ("GET", "/api/v1/namespaces/yusur-system/configmaps"),
        ("DELETE", "/apis/yusur.io/v1alpha1/vpcs/red"),
        ("DELETE", "/api/v1/namespaces/yusur-system"),
        (
            "GET",
            "/apis/coordination.k8s.io/v1/namespaces/yusur-system/leases/other",
        ),
        ("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles"),
    ] {
        let answer = own.request(method, path, None).expect("an answer");
        assert_eq!(answer.code, 403, "{method} {path}: {:#}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_told_and_waited_for() {
    let world = World::new().await;
    world.delete("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/yusur-controller");
    world.furnish(0..1);
    let controller = world.start("one");
    controller.says("this controller may not list and watch vpcs.yusur.io");
    controller.until_metric(
        "yusur_controller_source_problems{reason=\"Forbidden\"}",
        |count| count >= 10.0,
    );
    let (code, body) = controller.get("/readyz");
    assert!(
        code == 503 && body.contains("[-]sources failed: waiting for"),
        "{code} {body}"
    );
    assert_eq!(controller.get("/healthz").0, 200);
    // It leads, for the Lease is its own, but writes nothing before it knows everything.
    world.catch_up().await;
    assert!(world.rows().is_empty());
    world.apply(&text(&manifests().join("rbac/controller.yaml")));
    world
        .until("the service", |database| database.len("Load_Balancer") == 1)
        .await;
    controller.until_ready();
    controller.until_metric(
        "yusur_controller_source_problems{reason=\"Forbidden\"}",
        |count| count == 0.0,
    );
    controller.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_streaming_lists_will_do() {
    let world = World::with_flags(&["--feature-gates=WatchList=false"]).await;
    world.furnish(0..10);
    let controller = world.converged("one").await;
    controller.says("listing in pages");
    assert_eq!(world.observer.read().len("Load_Balancer"), 10);
    world.apply(&services("red", 5..12, 1));
    world
        .until_backends("10.96.100.12:80", Some("10.0.0.12:8001,10.0.100.12:8001"))
        .await;
    // Also when it has to list again.
    world.kubernetes.kill_api_server().expect("killed");
    world.kubernetes.start_api_server().expect("started again");
    world.until_leads(&controller);
    world.apply(&services("red", 5..13, 2));
    world
        .until_backends("10.96.100.13:80", Some("10.0.0.13:8002,10.0.100.13:8002"))
        .await;
    controller.stop();
}
