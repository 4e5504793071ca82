//! The definitions and examples before a real API server: what is good is accepted, what is bad is refused with words
//! that help.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

use std::path::{Path, PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, Config, Error};
use serde_json::Value;
use yusur_testbed::kubernetes::{ControlPlane, User};

const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests");

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

async fn client(kubernetes: &ControlPlane) -> Client {
    let path = kubernetes.kubeconfig(&User::admin()).expect("a kubeconfig");
    let config = kube::config::Kubeconfig::read_from(path).expect("it can be read");
    let config = Config::from_custom_kubeconfig(config, &Default::default())
        .await
        .expect("it is whole");
    Client::try_from(config).expect("a client")
}

/// Creates the definitions and waits until the server serves them all.
async fn install(client: &Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut names = Vec::new();
    for file in yaml_files(&Path::new(MANIFESTS).join("crds")) {
        for document in documents(&file) {
            put(client, &document.value)
                .await
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            names.push(
                document.value["metadata"]["name"]
                    .as_str()
                    .expect("a name")
                    .to_owned(),
            );
        }
    }
    for name in names {
        let mut last = String::new();
        // The server says it in a condition; a definition that breaks a rule of schemas says so there too.
        for _ in 0..600 {
            let definition = definitions.get(&name).await.expect("it exists");
            let conditions = definition
                .status
                .and_then(|status| status.conditions)
                .unwrap_or_default();
            if conditions
                .iter()
                .any(|c| c.type_ == "NonStructuralSchema" && c.status == "True")
            {
                panic!("{name}: {conditions:?}");
            }
            last = format!("{conditions:?}");
            if conditions
                .iter()
                .any(|c| c.type_ == "Established" && c.status == "True")
            {
                last.clear();
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert!(last.is_empty(), "{name} is not established: {last}");
    }
}

/// Creates the object, or replaces it if it exists, refusing fields the schema does not know.
async fn put(client: &Client, object: &Value) -> Result<(), String> {
    let mut object: DynamicObject =
        serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    let types = object.types.clone().ok_or("no apiVersion and kind")?;
    let kind = GroupVersionKind::try_from(&types).map_err(|error| error.to_string())?;
    let resource = ApiResource::from_gvk_with_plural(&kind, &plural(&kind.kind));
    let namespace = object.metadata.namespace.clone();
    let name = object.metadata.name.clone().ok_or("no name")?;
    let api: Api<DynamicObject> = match &namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let url = api.resource_url().to_owned();
    let request = kube::core::Request::new(url);
    let params = PostParams {
        field_manager: Some("examples".into()),
        ..PostParams::default()
    };
    let request = match api
        .get_opt(&name)
        .await
        .map_err(|error| error.to_string())?
    {
        None => {
            let body = serde_json::to_vec(&object).map_err(|error| error.to_string())?;
            request.create(&params, body)
        }
        Some(current) => {
            object.metadata.resource_version = current.metadata.resource_version;
            let body = serde_json::to_vec(&object).map_err(|error| error.to_string())?;
            request.replace(&name, &params, body)
        }
    };
    let mut request = request.map_err(|error| error.to_string())?;
    let strict = format!("{}&fieldValidation=Strict", request.uri());
    *request.uri_mut() = strict.parse().expect("a longer query is still a URI");
    match client.request::<Value>(request).await {
        Ok(_) => Ok(()),
        Err(Error::Api(status)) => Err(status.message.clone()),
        Err(error) => Err(error.to_string()),
    }
}

fn plural(kind: &str) -> String {
    format!("{}s", kind.to_lowercase())
}

struct Document {
    expect: Option<String>,
    value: Value,
}

impl Document {
    fn name(&self) -> String {
        format!("{} {}", self.value["kind"], self.value["metadata"]["name"])
    }
}

/// The documents of a file, each with the words of a `# expect:` comment in it.
fn documents(file: &Path) -> Vec<Document> {
    let text = std::fs::read_to_string(file).expect("it can be read");
    text.split("\n---\n")
        .map(|part| Document {
            expect: part
                .lines()
                .find_map(|line| line.strip_prefix("# expect: "))
                .map(str::to_owned),
            value: serde_saphyr::from_str(part)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display())),
        })
        .collect()
}

/// All YAML files below a directory, in the order of their names.
fn yaml_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut entries: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.expect("readable").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            found.extend(yaml_files(&path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            found.push(path);
        }
    }
    found
}
