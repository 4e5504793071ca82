//! The CustomResourceDefinitions as files: what `crdgen` writes to `manifests/crds/`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::{Eip, EipGateway, NetworkProbe, Subnet, VNic, Vpc, YusurService};

/// The definition of every kind, in the order of their names.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![
        EipGateway::crd(),
        Eip::crd(),
        NetworkProbe::crd(),
        Subnet::crd(),
        VNic::crd(),
        Vpc::crd(),
        YusurService::crd(),
    ]
}

/// File name and content of every definition, the same for the same types on every machine.
///
/// # Errors
/// If a definition cannot be written as YAML, which would be a fault of this crate.
pub fn files() -> Result<Vec<(String, String)>, serde_saphyr::SerializeError> {
    definitions().iter().map(file).collect()
}

/// Where a definition has the schema of its one version.
const SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema";

/// The `openAPIV3Schema` of a definition's one version, as the API server gets it.
pub fn schema(definition: &CustomResourceDefinition) -> Value {
    let mut definition = serde_json::json!(definition);
    let mut schema = definition
        .pointer_mut(SCHEMA)
        .map(Value::take)
        .unwrap_or_default();
    tidy(&mut schema);
    schema
}

fn file(
    definition: &CustomResourceDefinition,
) -> Result<(String, String), serde_saphyr::SerializeError> {
    let mut value = serde_json::json!(definition);
    if let Some(place) = value.pointer_mut(SCHEMA) {
        *place = schema(definition);
    }
    let yaml = serde_saphyr::to_string(&sorted(value))?;
    let name = format!(
        "{}_{}.yaml",
        definition.spec.group, definition.spec.names.plural
    );
    let head = "# Written by crdgen from crds/src: do not edit. `cargo run -p yusur-crds --bin crdgen` writes it anew.\n";
    Ok((name, format!("{head}{yaml}")))
}

/// Makes a schema strict and short.
///
/// `nullable` goes, so that the API server prunes a null and the default applies, instead of keeping a null that no rule
/// expects; `title` only repeats the name of a Rust type. The operators of a label selector, which the generated type
/// leaves open, become an enum.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("nullable").is_some_and(Value::is_boolean) {
                map.remove("nullable");
            }
            if map.get("title").is_some_and(Value::is_string) {
                map.remove("title");
            }
            if let Some(operator) = map
                .get_mut("matchExpressions")
                .and_then(|expressions| expressions.pointer_mut("/items/properties/operator"))
            {
                operator["enum"] = serde_json::json!(["In", "NotIn", "Exists", "DoesNotExist"]);
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// The same value with every object's keys in order, whatever `serde_json` was compiled to do.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
