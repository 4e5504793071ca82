//! Kubernetes objects as they are read: only the fields the planner needs, so that the rest (managed fields above all)
//! is dropped while it is being decoded and never stored. Both sources decode through these shapes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;
use yusur_planner as planner;

/// The annotation by which a Node names its OVN chassis (`external_ids:system-id` of its Open vSwitch), where that is
/// not the Node's own name.
pub const CHASSIS_ANNOTATION: &str = "yusur.io/chassis";

/// `metadata`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// `namespace`.
    pub namespace: Option<String>,
    /// `name`.
    pub name: Option<String>,
    /// `generateName`: a manifest that has only this cannot be used.
    pub generate_name: Option<String>,
    /// `uid`.
    pub uid: Option<String>,
    /// `generation`.
    pub generation: Option<i64>,
    /// `resourceVersion`.
    pub resource_version: Option<String>,
    /// `creationTimestamp`.
    pub creation_timestamp: Option<Time>,
    /// `deletionTimestamp`.
    pub deletion_timestamp: Option<Time>,
    /// `labels`.
    pub labels: Option<BTreeMap<String, String>>,
    /// `annotations`, those we read.
    pub annotations: Option<Annotations>,
}

/// The annotations we read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Annotations {
    /// [`planner::SUBNET_ANNOTATION`].
    #[serde(rename = "yusur.io/subnet")]
    pub subnet: Option<String>,
    /// [`CHASSIS_ANNOTATION`].
    #[serde(rename = "yusur.io/chassis")]
    pub chassis: Option<String>,
}

/// An object of one of our kinds.
#[derive(Debug, Clone, Deserialize)]
pub struct Custom<Spec, Status> {
    /// `metadata`.
    #[serde(default)]
    pub metadata: Metadata,
    /// `spec`.
    pub spec: Spec,
    /// `status`.
    #[serde(default = "Option::default")]
    pub status: Option<Status>,
}

/// core/v1 Pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// `metadata`.
    pub metadata: Metadata,
    spec: PodSpec,
    status: PodStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    node_name: Option<String>,
    host_network: Option<bool>,
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    ports: Option<Vec<ContainerPort>>,
    restart_policy: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerPort {
    name: Option<String>,
    protocol: Option<String>,
    container_port: u16,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: Option<String>,
    conditions: Option<Vec<Condition>>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<PodIp>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct PodIp {
    ip: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
}

/// core/v1 Node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    /// `metadata`.
    pub metadata: Metadata,
    status: NodeStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeStatus {
    conditions: Option<Vec<Condition>>,
    addresses: Option<Vec<NodeAddress>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct NodeAddress {
    r#type: String,
    address: String,
}

/// core/v1 Namespace.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// `metadata`.
    pub metadata: Metadata,
}

/// kubevirt.io/v1 VirtualMachineInstance.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct VirtualMachineInstance {
    /// `metadata`.
    pub metadata: Metadata,
    status: VmiStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct VmiStatus {
    phase: Option<String>,
    node_name: Option<String>,
    conditions: Option<Vec<Condition>>,
    interfaces: Option<Vec<VmiInterface>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct VmiInterface {
    ip_address: Option<String>,
    ip_addresses: Option<Vec<String>>,
}

// === impl Metadata ===

impl From<Metadata> for planner::Meta {
    fn from(metadata: Metadata) -> Self {
        Self {
            namespace: metadata.namespace.as_deref().unwrap_or_default().into(),
            name: metadata.name.as_deref().unwrap_or_default().into(),
            uid: metadata.uid.unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            created: metadata
                .creation_timestamp
                .map_or(0, |time| time.0.as_second()),
            labels: metadata.labels.unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
        }
    }
}

// === impl Custom ===

impl<Spec, Status> From<Custom<Spec, Status>> for planner::Object<Spec, Status> {
    fn from(object: Custom<Spec, Status>) -> Self {
        Self {
            meta: object.metadata.into(),
            spec: object.spec,
            status: object.status,
        }
    }
}

// === impl Pod ===

impl From<Pod> for planner::Pod {
    fn from(mut pod: Pod) -> Self {
        let PodStatus {
            phase,
            conditions,
            pod_ip,
            pod_ips,
        } = pod.status;
        // Nobody reports on a Pod that is a plain manifest.
        let unreported = phase.is_none() && conditions.is_none();
        // KEP-753: an init container that restarts is a sidecar, and serves.
        let sidecars = pod.spec.init_containers.into_iter().flatten();
        let sidecars =
            sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
        let ports = pod.spec.containers.into_iter().flatten().chain(sidecars);
        let ports = ports.flat_map(|container| container.ports.into_iter().flatten());
        let named = ports.filter_map(|port| {
            Some(planner::NamedPort {
                name: port.name?,
                protocol: port.protocol.unwrap_or_else(|| "TCP".to_owned()),
                port: port.container_port,
            })
        });
        let addresses = match pod_ips {
            Some(list) => addresses(list.iter().map(|entry| entry.ip.as_str())),
            None => addresses(pod_ip.as_deref()),
        };
        Self {
            subnet: pod
                .metadata
                .annotations
                .take()
                .and_then(|annotations| annotations.subnet),
            node: pod.spec.node_name.filter(|name| !name.is_empty()),
            host_network: pod.spec.host_network.unwrap_or_default(),
            ended: matches!(phase.as_deref(), Some("Succeeded" | "Failed")),
            ready: unreported || holds(conditions.as_deref(), "Ready"),
            addresses,
            ports: named.collect(),
            meta: pod.metadata.into(),
        }
    }
}

// === impl Node ===

impl From<Node> for planner::Node {
    fn from(mut node: Node) -> Self {
        let internal = node
            .status
            .addresses
            .iter()
            .flatten()
            .filter(|entry| entry.r#type == "InternalIP");
        Self {
            // A Node that is a plain manifest has nobody who reports on it.
            ready: node.status.conditions.is_none()
                || holds(node.status.conditions.as_deref(), "Ready"),
            addresses: addresses(internal.map(|entry| entry.address.as_str())),
            chassis: node
                .metadata
                .annotations
                .take()
                .and_then(|annotations| annotations.chassis),
            meta: node.metadata.into(),
        }
    }
}

// === impl VirtualMachineInstance ===

impl From<VirtualMachineInstance> for planner::VirtualMachineInstance {
    fn from(mut vmi: VirtualMachineInstance) -> Self {
        let running = vmi.status.phase.as_deref() == Some("Running");
        let ready = running && holds(vmi.status.conditions.as_deref(), "Ready");
        let all = vmi
            .status
            .interfaces
            .iter()
            .flatten()
            .flat_map(|interface| match &interface.ip_addresses {
                Some(list) => list.iter().map(String::as_str).collect::<Vec<_>>(),
                None => interface.ip_address.iter().map(String::as_str).collect(),
            });
        Self {
            addresses: addresses(all),
            subnet: vmi
                .metadata
                .annotations
                .take()
                .and_then(|annotations| annotations.subnet),
            node: vmi.status.node_name.filter(|name| !name.is_empty()),
            ready,
            meta: vmi.metadata.into(),
        }
    }
}

/// What is no address (an empty string while none is known) is left out.
fn addresses<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<IpAddr> {
    texts
        .into_iter()
        .filter_map(|text| text.parse().ok())
        .collect()
}

/// Whether the condition is there and true.
fn holds(conditions: Option<&[Condition]>, kind: &str) -> bool {
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.r#type == kind && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(value: Value) -> planner::Pod {
        serde_json::from_value::<Pod>(value).unwrap().into()
    }

    #[test]
    fn a_pod_keeps_what_the_planner_reads() {
        let pod = pod(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web-0", "namespace": "shop", "uid": "u", "labels": {"app": "web"},
                "creationTimestamp": "2026-01-02T03:04:05Z", "deletionTimestamp": "2026-01-02T03:05:05Z",
                "annotations": {"yusur.io/subnet": "blue", "other": "x"}, "managedFields": [{"manager": "m"}]},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [
                    {"name": "http", "containerPort": 8080}, {"containerPort": 9}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}]}],
                "initContainers": [{"restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 1}]},
                    {"ports": [{"name": "once", "containerPort": 2}]}]},
            "status": {"phase": "Running", "podIP": "10.0.0.5", "podIPs": [{"ip": "10.0.0.5"}, {"ip": "fd00::5"}],
                "conditions": [{"type": "Ready", "status": "True"}]},
        }));
        assert_eq!(pod.meta.object_name().to_string(), "shop/web-0");
        assert_eq!(pod.meta.created, 1_767_323_045);
        assert!(pod.meta.deleting && pod.ready && !pod.ended && !pod.host_network);
        assert_eq!(
            (pod.subnet.as_deref(), pod.node.as_deref()),
            (Some("blue"), Some("n1"))
        );
        assert_eq!(pod.addresses.len(), 2);
        let ports: Vec<_> = pod
            .ports
            .iter()
            .map(|port| (port.name.as_str(), port.protocol.as_str(), port.port))
            .collect();
        assert_eq!(
            ports,
            [
                ("http", "TCP", 8080),
                ("dns", "UDP", 53),
                ("side", "TCP", 1)
            ]
        );
    }

    #[test]
    fn readiness_follows_the_reports_where_there_are_any() {
        assert!(
            pod(json!({"metadata": {"name": "a"}})).ready,
            "a manifest nobody reports on"
        );
        assert!(!pod(json!({"metadata": {"name": "a"}, "status": {"phase": "Pending"}})).ready);
        assert!(
            !pod(json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}})).ready
        );
        assert!(pod(json!({"status": {"phase": "Failed"}})).ended);
        assert!(
            pod(json!({"status": {"phase": "Running", "podIP": ""}}))
                .addresses
                .is_empty()
        );
    }

    #[test]
    fn a_virtual_machine_instance_reports_every_interface() {
        let vmi: planner::VirtualMachineInstance = serde_json::from_value::<VirtualMachineInstance>(json!({
            "metadata": {"name": "vm", "namespace": "a"},
            "status": {"phase": "Running", "nodeName": "n", "conditions": [{"type": "Ready", "status": "True"}],
                "interfaces": [{"ipAddress": "10.0.0.1", "ipAddresses": ["10.0.0.1", "fd00::1"]}, {"ipAddress": "10.1.0.1"}]},
        }))
        .unwrap()
        .into();
        assert!(vmi.ready);
        assert_eq!(vmi.addresses.len(), 3);
    }

    #[test]
    fn a_node_names_its_chassis() {
        let node: planner::Node = serde_json::from_value::<Node>(json!({
            "metadata": {"name": "n", "annotations": {"yusur.io/chassis": "c1"}},
            "status": {"addresses": [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "192.0.2.1"}],
                "conditions": [{"type": "Ready", "status": "Unknown"}]},
        }))
        .unwrap()
        .into();
        assert_eq!(node.chassis.as_deref(), Some("c1"));
        assert_eq!(node.addresses.len(), 1);
        assert!(!node.ready);
    }
}
