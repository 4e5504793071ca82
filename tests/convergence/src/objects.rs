//! The objects as they are in the API: what the judge reads, and what the tests hold as the truth.

use std::collections::BTreeMap;
use std::net::IpAddr;

use yusur_crds::{
    EipGatewaySpec, EipGatewayStatus, EipSpec, EipStatus, NamedPort, NetworkProbeSpec, SubnetSpec,
    VNicSpec, VNicStatus, VpcSpec, YusurServiceSpec, YusurServiceStatus,
};

/// Namespace and name.
pub type Key = (String, String);

/// Metadata, as far as a rule reads it.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Meta {
    /// Tells an object from a namesake.
    pub uid: String,
    /// Seconds since 1970.
    pub created: i64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// It is terminating.
    pub deleting: bool,
}

/// A Pod.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Pod {
    /// Its metadata.
    pub meta: Meta,
    /// The annotation that names its Subnet.
    pub subnet: Option<String>,
    /// The node it is on.
    pub node: Option<String>,
    /// It has the node's own network.
    pub host_network: bool,
    /// Its processes have ended for good.
    pub ended: bool,
    /// Condition Ready is true.
    pub ready: bool,
    /// `status.podIPs`.
    pub addresses: Vec<IpAddr>,
    /// Named ports of its containers.
    pub ports: Vec<NamedPort>,
}

/// A KubeVirt VirtualMachineInstance.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Vmi {
    /// Its metadata.
    pub meta: Meta,
    /// The annotation that names its Subnet.
    pub subnet: Option<String>,
    /// The node it is on.
    pub node: Option<String>,
    /// It runs and is ready.
    pub ready: bool,
    /// The addresses of its interfaces.
    pub addresses: Vec<IpAddr>,
}

/// A Node.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Node {
    /// The name of its chassis in OVN, if it is another than the node's.
    pub chassis: Option<String>,
    /// Condition Ready is not true.
    pub unready: bool,
    /// It is labelled as kept out of external load balancers.
    pub kept_out: bool,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
}

/// All objects.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Objects {
    /// Vpcs by name.
    pub vpcs: BTreeMap<String, (Meta, VpcSpec)>,
    /// Subnets by name.
    pub subnets: BTreeMap<String, (Meta, SubnetSpec)>,
    /// VNics.
    pub vnics: BTreeMap<Key, (Meta, VNicSpec, Option<VNicStatus>)>,
    /// Pods.
    pub pods: BTreeMap<Key, Pod>,
    /// VirtualMachineInstances.
    pub vmis: BTreeMap<Key, Vmi>,
    /// Services.
    pub services: BTreeMap<Key, (Meta, YusurServiceSpec, Option<YusurServiceStatus>)>,
    /// Labels of the Namespaces that have an object.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Nodes.
    pub nodes: BTreeMap<String, Node>,
    /// EipGateways.
    pub gateways: BTreeMap<String, (Meta, EipGatewaySpec, Option<EipGatewayStatus>)>,
    /// Eips.
    pub eips: BTreeMap<Key, (Meta, EipSpec, Option<EipStatus>)>,
    /// NetworkProbes.
    pub probes: BTreeMap<Key, (Meta, NetworkProbeSpec)>,
    /// The chassis that each EipGateway is on, if somebody looks at the Southbound.
    pub serving: Option<BTreeMap<String, String>>,
    /// Some gateway node has failed, or somebody has had a hand in the order they serve in.
    pub order_disturbed: bool,
}
