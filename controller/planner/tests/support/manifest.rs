//! Manifests as the planner's changes: enough of the kinds for tests.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use yusur_planner::{
    Change, Kind, Meta, NamedPort, Node, Object, ObjectName, ObjectRef, Pod, VirtualMachineInstance,
};

/// One document of a test's input.
pub enum Document {
    /// An object set or removed.
    Change(Box<Change>),
    /// A row put into the Northbound by somebody else, or changed, or removed: table, name, columns.
    Row {
        table: String,
        name: String,
        columns: Option<Value>,
    },
    /// Which chassis each EIP gateway is on.
    Serving(BTreeMap<String, String>),
    /// The planner starts again with nothing but the objects and the Northbound.
    Restart,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    namespace: String,
    uid: String,
    generation: i64,
    /// Seconds.
    created: i64,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    deleting: bool,
}

impl Metadata {
    fn meta(&self) -> Meta {
        Meta {
            namespace: self.namespace.as_str().into(),
            name: self.name.as_str().into(),
            uid: self.uid.clone(),
            generation: self.generation,
            created: self.created,
            labels: self.labels.clone(),
            deleting: self.deleting,
        }
    }
}

/// Reads the documents of a file.
pub fn documents(text: &str) -> Vec<Document> {
    let values: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML documents");
    values
        .into_iter()
        .filter(|value| !value.is_null())
        .map(document)
        .collect()
}

fn part<T: DeserializeOwned>(value: &Value, key: &str) -> T {
    let part = value
        .get(key)
        .cloned()
        .unwrap_or(Value::Object(serde_json::Map::new()));
    serde_json::from_value(part).unwrap_or_else(|error| panic!("{key}: {error} in {value}"))
}

fn object<Spec: DeserializeOwned, Status: DeserializeOwned>(
    value: &Value,
    meta: Meta,
) -> Object<Spec, Status> {
    let status = value
        .get("status")
        .cloned()
        .map(|status| serde_json::from_value(status).expect("a status"));
    Object {
        meta,
        spec: part(value, "spec"),
        status,
    }
}

fn kind(word: &str) -> Kind {
    [
        Kind::Vpc,
        Kind::Subnet,
        Kind::VNic,
        Kind::YusurService,
        Kind::Pod,
        Kind::Node,
        Kind::Namespace,
        Kind::VirtualMachineInstance,
        Kind::EipGateway,
        Kind::Eip,
    ]
    .into_iter()
    .find(|kind| kind.as_str() == word)
    .unwrap_or_else(|| panic!("no kind {word:?}"))
}

fn texts(value: &Value, path: &str) -> Vec<String> {
    let found = value
        .pointer(path)
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    found.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn ips(value: &Value, path: &str) -> Vec<IpAddr> {
    texts(value, path)
        .iter()
        .map(|text| text.parse().expect("an address"))
        .collect()
}

/// Reads one document.
pub fn document(value: Value) -> Document {
    let word = value.get("kind").and_then(Value::as_str).expect("a kind");
    let text = |path: &str| {
        value
            .pointer(path)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    match word {
        "Restart" => return Document::Restart,
        "Serving" => return Document::Serving(part(&value, "chassis")),
        "Row" => {
            let columns = value.get("columns").cloned();
            return Document::Row {
                table: text("/table").expect("a table"),
                name: text("/name").expect("a name"),
                columns,
            };
        }
        _ => {}
    }
    let metadata: Metadata = part(&value, "metadata");
    let meta = metadata.meta();
    if value.get("removed") == Some(&Value::Bool(true)) {
        let name = ObjectName::new(meta.namespace.as_str(), meta.name.as_str());
        return Document::Change(Box::new(Change::Removed(ObjectRef {
            kind: kind(word),
            name,
        })));
    }
    let subnet = metadata
        .annotations
        .get(yusur_planner::SUBNET_ANNOTATION)
        .cloned();
    let change = match kind(word) {
        Kind::Vpc => Change::Vpc(object(&value, meta)),
        Kind::Subnet => Change::Subnet(object(&value, meta)),
        Kind::VNic => Change::VNic(object(&value, meta)),
        Kind::YusurService => Change::YusurService(object(&value, meta)),
        Kind::EipGateway => Change::EipGateway(object(&value, meta)),
        Kind::Eip => Change::Eip(object(&value, meta)),
        Kind::Namespace => Change::Namespace(meta),
        Kind::Node => Change::Node(Node {
            meta,
            ready: value.pointer("/status/ready") != Some(&Value::Bool(false)),
            chassis: text("/chassis"),
            ..Node::default()
        }),
        Kind::Pod => {
            let status = value.get("status");
            let ports = value
                .pointer("/spec/containers")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            let ports = ports.flat_map(|container| {
                container
                    .get("ports")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
            });
            let ports = ports.map(|port| NamedPort {
                name: port
                    .get("name")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned(),
                protocol: port
                    .get("protocol")
                    .and_then(Value::as_str)
                    .unwrap_or("TCP")
                    .to_owned(),
                port: port["containerPort"]
                    .as_u64()
                    .and_then(|port| u16::try_from(port).ok())
                    .expect("a port"),
            });
            Change::Pod(Pod {
                meta,
                subnet,
                node: text("/spec/nodeName"),
                host_network: value.pointer("/spec/hostNetwork") == Some(&Value::Bool(true)),
                ended: matches!(
                    text("/status/phase").as_deref(),
                    Some("Succeeded" | "Failed")
                ),
                ready: status.is_none_or(|status| status.get("ready") == Some(&Value::Bool(true))),
                addresses: ips(&value, "/status/podIPs"),
                ports: ports.collect(),
            })
        }
        Kind::VirtualMachineInstance => Change::VirtualMachineInstance(VirtualMachineInstance {
            meta,
            subnet,
            node: text("/status/nodeName"),
            ready: text("/status/phase").as_deref() == Some("Running"),
            addresses: ips(&value, "/status/ipAddresses"),
        }),
        other => panic!("{other} is not for tests"),
    };
    Document::Change(Box::new(change))
}
