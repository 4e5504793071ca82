//! One document of a manifest, turned into a [`Change`] of the planner, as strictly as the API server would: what the
//! schemas of our kinds refuse is refused, a field nobody knows included.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::de::DeserializeOwned;
use serde_json::Value;
use yusur_crds::API_VERSION;
use yusur_crds::validation::Validator;
use yusur_planner::{Change, Kind, ObjectName, ObjectRef};

use super::ledger::Mistake;
use super::records::{Records, spec_hash};
use super::refusals::INVALID_SPEC;
use crate::source::shape::{self, Custom};

/// What a document is.
#[derive(Debug)]
pub(super) enum Document {
    /// An object of a kind we read.
    Ours {
        /// Which.
        object: ObjectRef,
        /// A hash of all that was written about it.
        fingerprint: u64,
        /// It, or why it cannot be used; `None` where it is as it was. Boxed: a service is large.
        change: Result<Option<Box<Change>>, Mistake>,
    },
    /// An object of a kind that is not for us; its kind and apiVersion.
    Foreign(String),
    /// Something that cannot be told apart from a mistake, and why.
    Nameless(String),
}

/// Reads one document. `records` remembers what an API server would: uid, generation, time of creation, status;
/// `known` tells whether an object with this fingerprint was read before, so that it need not be looked into again.
pub(super) fn document(
    mut value: Value,
    records: &Records,
    known: impl Fn(&ObjectRef, u64) -> bool,
) -> Document {
    let Some(root) = value.as_object() else {
        return Document::Nameless(
            "a document is no object: it needs apiVersion, kind, metadata and spec".into(),
        );
    };
    let text = |key: &str| root.get(key).and_then(Value::as_str);
    let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
        return Document::Nameless("a document has no apiVersion or no kind".into());
    };
    let kind = match kind_of(api_version, kind) {
        Ok(Some(kind)) => kind,
        Ok(None) => return Document::Foreign(format!("{api_version} {kind}")),
        Err(mend) => return Document::Nameless(mend),
    };
    let object = match identity(kind, &value) {
        Ok(object) => object,
        Err(mend) => return Document::Nameless(mend),
    };
    let fingerprint = hash(&value);
    if known(&object, fingerprint) {
        return Document::Ours {
            object,
            fingerprint,
            change: Ok(None),
        };
    }
    let accepted = if kind.custom() {
        accept(&object, &mut value, records)
    } else {
        if kind.namespaced() {
            value["metadata"]["namespace"] = Value::from(&*object.name.namespace);
        }
        Ok(())
    };
    let change = accepted.and_then(|()| change(kind, value).map_err(Mistake::invalid));
    Document::Ours {
        object,
        fingerprint,
        change: change.map(|change| Some(Box::new(change))),
    }
}

/// What an API server does with an object of ours before anybody hears of it.
fn accept(object: &ObjectRef, value: &mut Value, records: &Records) -> Result<(), Mistake> {
    let invalid = |message: String| Mistake {
        reason: INVALID_SPEC,
        message,
    };
    let validator = Validator::of(object.kind.as_str()).map_err(|fault| invalid(fault.into()))?;
    let spec = spec_hash(value);
    let former = records.former(object);
    validator
        .validate(value, former.as_ref())
        .map_err(|refusal| invalid(refusal.to_string()))?;
    let former = validator.former(value);
    records.complete(object, value, spec, former);
    Ok(())
}

/// The kind, if we read it; an error where it is one of ours in a version there is not.
fn kind_of(api_version: &str, kind: &str) -> Result<Option<Kind>, String> {
    let found = match (api_version, kind) {
        ("v1", "Pod") => Kind::Pod,
        ("v1", "Node") => Kind::Node,
        ("v1", "Namespace") => Kind::Namespace,
        ("kubevirt.io/v1", "VirtualMachineInstance") => Kind::VirtualMachineInstance,
        (API_VERSION, _) => {
            let ours = [
                Kind::Vpc,
                Kind::Subnet,
                Kind::VNic,
                Kind::EipGateway,
                Kind::Eip,
                Kind::YusurService,
                Kind::NetworkProbe,
            ];
            let Some(kind) = ours.into_iter().find(|ours| ours.as_str() == kind) else {
                let names = ours.map(Kind::as_str).join(", ");
                return Err(format!("{API_VERSION} has no kind {kind}; it has {names}"));
            };
            kind
        }
        _ if api_version.starts_with("yusur.io/") => {
            return Err(format!(
                "{kind} is given as {api_version}; write {API_VERSION}"
            ));
        }
        _ => return Ok(None),
    };
    Ok(Some(found))
}

/// Kind, namespace and name. They become names of files and rows, so they have to be what Kubernetes accepts.
fn identity(kind: Kind, value: &Value) -> Result<ObjectRef, String> {
    let metadata = &value["metadata"];
    let name = match &metadata["name"] {
        Value::String(name) => name,
        Value::Null if metadata["generateName"].is_string() => {
            return Err(format!(
                "a {kind} has generateName, which only an API server can fill in; give it a name"
            ));
        }
        Value::Null => return Err(format!("a {kind} has no metadata.name")),
        scalar @ (Value::Number(_) | Value::Bool(_)) => {
            return Err(format!(
                "a {kind} has the metadata.name {scalar}, which YAML does not take for text; quote it: \"{scalar}\""
            ));
        }
        _ => return Err(format!("the metadata.name of a {kind} is no text")),
    };
    if !is_subdomain(name) {
        return Err(format!(
            "{kind} {name:?}: a name is lower-case letters, digits, '-' and '.', at most 253, and starts and ends with a letter or digit"
        ));
    }
    let namespace = match (kind.namespaced(), &metadata["namespace"]) {
        (_, Value::Null) => "default",
        (_, Value::String(text)) if text.is_empty() => "default",
        (true, Value::String(text))
            if is_subdomain(text) && text.len() <= 63 && !text.contains('.') =>
        {
            text
        }
        (true, other) => return Err(format!("{kind} {name}: {other} is no namespace")),
        (false, _) => {
            return Err(format!(
                "{kind} {name} belongs to the cluster; take its metadata.namespace out"
            ));
        }
    };
    let name = if kind.namespaced() {
        ObjectName::new(namespace, name)
    } else {
        ObjectName::cluster(name)
    };
    Ok(ObjectRef { kind, name })
}

/// RFC 1123 as Kubernetes reads it: `IsDNS1123Subdomain`.
fn is_subdomain(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= 253
        && text.split('.').all(|label| {
            let bytes = label.as_bytes();
            bytes.first().copied().is_some_and(inner)
                && bytes.last().copied().is_some_and(inner)
                && bytes.iter().all(|&byte| inner(byte) || byte == b'-')
        })
}

/// The typed object.
fn change(kind: Kind, value: Value) -> Result<Change, String> {
    Ok(match kind {
        Kind::Vpc => Change::Vpc(typed::<Custom<_, _>>(value)?.into()),
        Kind::Subnet => Change::Subnet(typed::<Custom<_, _>>(value)?.into()),
        Kind::VNic => Change::VNic(typed::<Custom<_, _>>(value)?.into()),
        Kind::EipGateway => Change::EipGateway(typed::<Custom<_, _>>(value)?.into()),
        Kind::Eip => Change::Eip(typed::<Custom<_, _>>(value)?.into()),
        Kind::YusurService => Change::YusurService(typed::<Custom<_, _>>(value)?.into()),
        Kind::NetworkProbe => Change::NetworkProbe(typed::<Custom<_, _>>(value)?.into()),
        Kind::Pod => Change::Pod(typed::<shape::Pod>(value)?.into()),
        Kind::Node => Change::Node(typed::<shape::Node>(value)?.into()),
        Kind::Namespace => Change::Namespace(typed::<shape::Namespace>(value)?.metadata.into()),
        Kind::VirtualMachineInstance => {
            Change::VirtualMachineInstance(typed::<shape::VirtualMachineInstance>(value)?.into())
        }
    })
}

/// A value as `T`; the error names the field.
fn typed<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value)
        .map_err(|error| format!("{}: {}", error.path(), error.inner()))
}

/// Equal values have equal hashes within one run of the process, which is as long as they are kept.
fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Document {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::open(directory.path(), directory.path()).unwrap();
        document(value, &records, |_, _| false)
    }

    fn refusal(value: Value) -> String {
        match read(value) {
            Document::Nameless(mend) => mend,
            Document::Ours {
                change: Err(mistake),
                ..
            } => mistake.message,
            other => panic!("accepted: {other:?}"),
        }
    }

    fn vpc(spec: Value) -> Value {
        json!({"apiVersion": API_VERSION, "kind": "Vpc", "metadata": {"name": "red"}, "spec": spec})
    }

    #[test]
    fn a_manifest_becomes_a_change() {
        let Document::Ours { object, change, .. } = read(vpc(json!({}))) else {
            panic!("not ours")
        };
        assert_eq!(object.to_string(), "Vpc red");
        let Change::Vpc(vpc) = *change.unwrap().unwrap() else {
            panic!("no Vpc")
        };
        assert_eq!((vpc.meta.generation, vpc.meta.uid.len()), (1, 36));
        assert!(vpc.meta.created > 1_700_000_000);
    }

    #[test]
    fn a_pod_without_a_namespace_is_in_default() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}});
        let Document::Ours { object, change, .. } = read(pod) else {
            panic!("not ours")
        };
        assert_eq!(object.to_string(), "Pod default/a");
        assert_eq!(change.unwrap().unwrap().object(), object);
    }

    #[test]
    fn mistakes_are_told_with_their_mend() {
        for (value, words) in [
            (json!([1]), "no object"),
            (json!({"kind": "Vpc"}), "no apiVersion"),
            (
                json!({"apiVersion": "yusur.io/v2", "kind": "Vpc"}),
                "write yusur.io/v1alpha1",
            ),
            (
                json!({"apiVersion": API_VERSION, "kind": "Service"}),
                "has no kind Service",
            ),
            (
                json!({"apiVersion": API_VERSION, "kind": "Vpc"}),
                "no metadata.name",
            ),
            (
                json!({"apiVersion": API_VERSION, "kind": "Vpc", "metadata": {"generateName": "x-"}}),
                "give it a name",
            ),
            (
                json!({"apiVersion": API_VERSION, "kind": "Vpc", "metadata": {"name": "../x"}}),
                "lower-case",
            ),
            (
                json!({"apiVersion": API_VERSION, "kind": "Vpc", "metadata": {"name": "a", "namespace": "b"}}),
                "take its",
            ),
            (
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "../b"}}),
                "no namespace",
            ),
            (
                json!({"apiVersion": API_VERSION, "kind": "Vpc", "metadata": {"name": "a"}}),
                "spec",
            ),
            (
                vpc(json!({"serviceCIDR": "10.0.0.0/8"})),
                "unknown field \"spec.serviceCIDR\"",
            ),
            (
                vpc(
                    json!({"staticRoutes": [{"destination": "::/0", "nextHop": "discard", "via": 1}]}),
                ),
                "unknown field \"spec.staticRoutes[0].via\"",
            ),
            (
                vpc(json!({"nodeAccess": "maybe"})),
                "spec.nodeAccess in body must be of type boolean",
            ),
            (
                vpc(json!({"serviceCIDRs": ["10.96.0.1/24"]})),
                "without host bits",
            ),
            (
                json!({"apiVersion": API_VERSION, "kind": "Vpc", "metadata": {"name": 123}}),
                "quote it: \"123\"",
            ),
        ] {
            let mend = refusal(value.clone());
            assert!(mend.contains(words), "{value}: {mend}");
        }
    }

    #[test]
    fn other_kinds_are_left_alone() {
        assert!(matches!(
            read(json!({"apiVersion": "apps/v1", "kind": "Deployment"})),
            Document::Foreign(_)
        ));
    }
}
