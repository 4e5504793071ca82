//! The definitions and examples before a real API server: what is good is accepted, what is bad is refused with words
//! that help.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

mod support;

use std::path::Path;

use kube::api::Api;
use support::{MANIFESTS, client, documents, install, put, yaml_files};
use yusur_testbed::kubernetes::ControlPlane;

#[tokio::test(flavor = "multi_thread")]
async fn definitions_and_examples() {
    let kubernetes = ControlPlane::start().expect("a control plane");
    let client = client(&kubernetes).await;
    install(&client).await;

    let mut faults = Vec::new();
    let examples = Path::new(MANIFESTS).join("examples");
    // The shop's namespaces come first: the other examples live in them.
    let (shop, others): (Vec<_>, Vec<_>) = yaml_files(&examples)
        .into_iter()
        .filter(|file| !file.starts_with(examples.join("bad")))
        .partition(|file| file.starts_with(examples.join("shop")));
    assert!(!shop.is_empty() && !others.is_empty());
    for file in shop.into_iter().chain(others) {
        for document in documents(&file) {
            if let Err(error) = put(&client, &document.value).await {
                faults.push(format!(
                    "{}: {} refused: {error}",
                    file.display(),
                    document.name()
                ));
            }
        }
    }
    for file in yaml_files(&examples.join("bad")) {
        for document in documents(&file) {
            let result = put(&client, &document.value).await;
            match (&document.expect, result) {
                (None, Ok(())) => {}
                (None, Err(error)) => {
                    faults.push(format!(
                        "{}: {} refused: {error}",
                        file.display(),
                        document.name()
                    ));
                }
                (Some(words), Ok(())) => {
                    faults.push(format!(
                        "{}: {} accepted, not {words:?}",
                        file.display(),
                        document.name()
                    ));
                }
                (Some(words), Err(error)) if !error.contains(words) => {
                    faults.push(format!(
                        "{}: {} refused with\n    {error}\n  not {words:?}",
                        file.display(),
                        document.name()
                    ));
                }
                (Some(_), Err(_)) => {}
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Defaults are filled in by the server as the types fill them in for a manifest directory.
#[tokio::test(flavor = "multi_thread")]
async fn both_sources_have_the_same_defaults() {
    let kubernetes = ControlPlane::start().expect("a control plane");
    let client = client(&kubernetes).await;
    install(&client).await;
    let sent = serde_json::json!({
        "apiVersion": "yusur.io/v1alpha1",
        "kind": "YusurService",
        "metadata": { "name": "defaults", "namespace": "default" },
        "spec": {
            "vpc": "shop",
            "ports": [{ "port": 80 }],
            "backends": [{ "kind": "VM", "addresses": ["10.0.2.11"] }],
            "healthCheck": {},
            "sessionAffinity": {},
            "eip": {},
            "clusterIP": null,
        },
    });
    put(&client, &sent).await.expect("it is good");
    let api: Api<yusur_crds::YusurService> = Api::namespaced(client.clone(), "default");
    let stored = api.get("defaults").await.expect("it is stored").spec;
    let local: yusur_crds::YusurServiceSpec = serde_json::from_value({
        let mut spec = sent["spec"].clone();
        spec.as_object_mut().expect("a map").remove("clusterIP");
        spec
    })
    .expect("it is a spec");
    assert_eq!(stored, local);
    assert_eq!(stored.backends[0].weight, 1);
    assert_eq!(
        stored.session_affinity.expect("given").timeout_seconds,
        10800
    );
}
