//! What the planner is told: objects as they are in the Kubernetes API or in a directory of manifests.
//!
//! Kinds of our own come as their `spec` and `status`; of the large kinds of Kubernetes only what the planner reads, so
//! that an edge can drop the rest as soon as it has decoded it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ovsdb_model::Uuid;
use yusur_crds::{
    EipGatewaySpec, EipGatewayStatus, EipSpec, EipStatus, NetworkProbeSpec, NetworkProbeStatus,
    SubnetSpec, SubnetStatus, VNicSpec, VNicStatus, VpcSpec, VpcStatus, YusurServiceSpec,
    YusurServiceStatus,
};

use crate::name::{Name, ObjectName};
use crate::ranges::Ranges;
use crate::unit::{Kind, ObjectRef};

/// The part of `metadata` that the planner reads.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Meta {
    /// `namespace`; empty for cluster-scoped kinds.
    pub namespace: Name,
    /// `name`.
    pub name: Name,
    /// `uid`; tells an object from a namesake made after it was deleted. A manifest without one may leave it empty.
    pub uid: String,
    /// `generation`; 0 where there is none.
    pub generation: i64,
    /// `creationTimestamp` in seconds since 1970: of claims that are new at the same time that of the older object comes
    /// first. 0 where there is none (then names decide).
    pub created: i64,
    /// `labels`.
    pub labels: BTreeMap<String, String>,
    /// `deletionTimestamp` is set.
    pub deleting: bool,
}

impl Meta {
    /// Namespace and name.
    pub fn object_name(&self) -> ObjectName {
        ObjectName {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

/// An object of one of our kinds.
#[derive(Clone, Debug, PartialEq)]
pub struct Object<Spec, Status> {
    /// Its metadata.
    pub meta: Meta,
    /// Its spec.
    pub spec: Spec,
    /// Its status as last written, by us or by another part: addresses that were allocated are read back from it.
    pub status: Option<Status>,
}

/// A Kubernetes Pod, as far as the planner reads it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Pod {
    /// Its metadata.
    pub meta: Meta,
    /// Annotation [`SUBNET_ANNOTATION`]: the Subnet its port is in, instead of its namespace's default.
    pub subnet: Option<String>,
    /// `spec.nodeName`.
    pub node: Option<String>,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// `status.phase` is `Succeeded` or `Failed`: its processes have ended for good.
    pub ended: bool,
    /// Condition `Ready` is true. A Pod without any status (a manifest; nobody reports on it) counts as ready.
    pub ready: bool,
    /// `status.podIPs`.
    pub addresses: Vec<IpAddr>,
    /// The named ports of its containers, sidecars included.
    pub ports: Vec<NamedPort>,
}

/// The annotation that names the Subnet of a Pod or a VirtualMachineInstance.
pub const SUBNET_ANNOTATION: &str = "yusur.io/subnet";

/// A named container port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamedPort {
    /// `name`.
    pub name: String,
    /// `protocol`: `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// `containerPort`.
    pub port: u16,
}

/// The label by which Kubernetes keeps a Node out of external load balancers, whatever its value
/// (`k8s.io/api/core/v1`, `LabelNodeExcludeBalancers`).
pub(crate) const EXCLUDED_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// A Kubernetes Node, as far as the planner reads it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Node {
    /// Its metadata.
    pub meta: Meta,
    /// Condition `Ready` is true.
    pub ready: bool,
    /// `status.addresses` of type InternalIP.
    pub addresses: Vec<IpAddr>,
    /// The OVN chassis name (`system-id`) of the node; its own name where nothing else is said.
    pub chassis: Option<String>,
}

/// A KubeVirt VirtualMachineInstance, as far as the planner reads it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct VirtualMachineInstance {
    /// Its metadata.
    pub meta: Meta,
    /// Annotation [`SUBNET_ANNOTATION`]: the Subnet its addresses belong to, instead of its namespace's default.
    pub subnet: Option<String>,
    /// `status.nodeName`.
    pub node: Option<String>,
    /// `status.phase` is `Running` and condition `Ready` is true.
    pub ready: bool,
    /// `status.interfaces[].ipAddresses`.
    pub addresses: Vec<IpAddr>,
}

/// One object set (new or changed: the planner finds out which), or removed.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A Vpc.
    Vpc(Object<VpcSpec, VpcStatus>),
    /// A Subnet.
    Subnet(Object<SubnetSpec, SubnetStatus>),
    /// A VNic.
    VNic(Object<VNicSpec, VNicStatus>),
    /// An EipGateway.
    EipGateway(Object<EipGatewaySpec, EipGatewayStatus>),
    /// An Eip.
    Eip(Object<EipSpec, EipStatus>),
    /// A YusurService.
    YusurService(Object<YusurServiceSpec, YusurServiceStatus>),
    /// A NetworkProbe.
    NetworkProbe(Object<NetworkProbeSpec, NetworkProbeStatus>),
    /// A Pod.
    Pod(Pod),
    /// A Node.
    Node(Node),
    /// A Namespace: only its metadata counts.
    Namespace(Meta),
    /// A KubeVirt VirtualMachineInstance.
    VirtualMachineInstance(VirtualMachineInstance),
    /// An object that is gone.
    Removed(ObjectRef),
}

impl Change {
    /// The object it is about.
    pub fn object(&self) -> ObjectRef {
        let (kind, meta) = match self {
            Self::Vpc(object) => (Kind::Vpc, &object.meta),
            Self::Subnet(object) => (Kind::Subnet, &object.meta),
            Self::VNic(object) => (Kind::VNic, &object.meta),
            Self::EipGateway(object) => (Kind::EipGateway, &object.meta),
            Self::Eip(object) => (Kind::Eip, &object.meta),
            Self::YusurService(object) => (Kind::YusurService, &object.meta),
            Self::NetworkProbe(object) => (Kind::NetworkProbe, &object.meta),
            Self::Pod(pod) => (Kind::Pod, &pod.meta),
            Self::Node(node) => (Kind::Node, &node.meta),
            Self::Namespace(meta) => (Kind::Namespace, meta),
            Self::VirtualMachineInstance(vmi) => (Kind::VirtualMachineInstance, &vmi.meta),
            Self::Removed(object) => return object.clone(),
        };
        ObjectRef {
            kind,
            name: meta.object_name(),
        }
    }
}

/// How the planner is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whose rows ours are: `external_ids:yusur.io/owner`.
    pub owner: Name,
    /// The zone of the services' DNS names (`name.namespace.svc.ZONE`).
    pub zone: Name,
    /// The address ranges the system uses for itself.
    pub ranges: Ranges,
    /// That an ovn-northd reads the Northbound: what it has not acknowledged is waited for, or comes back under another
    /// UUID. Those are made with this salt, which has to be another one in each process. `None`: nobody reads it (a
    /// dry run, a model).
    pub northd: Option<Uuid>,
}

impl Config {
    /// The usual setup of this owner: zone `cluster.local`, the default ranges, no ovn-northd.
    pub fn new(owner: impl Into<Name>) -> Self {
        Self {
            owner: owner.into(),
            zone: "cluster.local".into(),
            ranges: Ranges::default(),
            northd: None,
        }
    }
}
