//! What the tests of the definitions share: an API server that has them, and the examples.
#![allow(dead_code, reason = "every test program uses its own part")]
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

pub(crate) const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests");

pub(crate) async fn client(kubernetes: &ControlPlane) -> Client {
    let path = kubernetes.kubeconfig(&User::admin()).expect("a kubeconfig");
    let config = kube::config::Kubeconfig::read_from(path).expect("it can be read");
    let config = Config::from_custom_kubeconfig(config, &Default::default())
        .await
        .expect("it is whole");
    Client::try_from(config).expect("a client")
}

/// Creates the definitions and waits until the server serves them all.
pub(crate) async fn install(client: &Client) {
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
pub(crate) async fn put(client: &Client, object: &Value) -> Result<(), String> {
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

pub(crate) fn plural(kind: &str) -> String {
    format!("{}s", kind.to_lowercase())
}

/// One document of a file.
pub(crate) struct Document {
    /// The words of a `# expect:` comment.
    pub(crate) expect: Option<String>,
    pub(crate) value: Value,
}

impl Document {
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.value["kind"], self.value["metadata"]["name"])
    }
}

/// The documents of a file, each with the words of a `# expect:` comment in it.
pub(crate) fn documents(file: &Path) -> Vec<Document> {
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
pub(crate) fn yaml_files(directory: &Path) -> Vec<PathBuf> {
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
