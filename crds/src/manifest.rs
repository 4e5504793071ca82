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

fn file(
    definition: &CustomResourceDefinition,
) -> Result<(String, String), serde_saphyr::SerializeError> {
    let mut value = serde_json::json!(definition);
    if let Some(versions) = value
        .pointer_mut("/spec/versions")
        .and_then(Value::as_array_mut)
    {
        for version in versions {
            if let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") {
                tidy(schema);
            }
        }
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
