//! VNic: the attachment of a virtual machine, a bare-metal server or anything else to a Subnet, an OVN
//! Logical_Switch_Port.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{Condition, NamedPort};

/// What a VNic is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "kube", derive(kube::CustomResource))]
#[cfg_attr(
    feature = "kube",
    kube(
        group = "yusur.io",
        version = "v1alpha1",
        kind = "VNic",
        plural = "vnics",
        shortname = "yvn",
        category = "yusur",
        namespaced,
        status = "VNicStatus",
        derive = "PartialEq",
        doc = "A VNic attaches a virtual machine, a bare-metal server or a bare interface to a Subnet: a port of its switch (an OVN Logical_Switch_Port). Services find VNics by their labels.",
        selectable = ".spec.subnet",
        selectable = ".spec.node",
        printcolumn(name = "Subnet", type_ = "string", json_path = ".spec.subnet"),
        printcolumn(name = "Addresses", type_ = "string", json_path = ".status.addresses"),
        printcolumn(
            name = "MAC",
            type_ = "string",
            json_path = ".status.macAddress",
            priority = 1
        ),
        printcolumn(name = "Owner", type_ = "string", json_path = ".spec.owner.kind"),
        printcolumn(
            name = "Owner name",
            type_ = "string",
            json_path = ".spec.owner.name",
            priority = 1
        ),
        printcolumn(name = "Node", type_ = "string", json_path = ".spec.node"),
        printcolumn(
            name = "Ready",
            type_ = "string",
            json_path = ".status.conditions[?(@.type=='Ready')].status"
        ),
        printcolumn(
            name = "Reason",
            type_ = "string",
            json_path = ".status.conditions[?(@.type=='Ready')].reason",
            priority = 1
        ),
        printcolumn(
            name = "Age",
            type_ = "date",
            json_path = ".metadata.creationTimestamp"
        ),
    )
)]
#[serde(rename_all = "camelCase")]
pub struct VNicSpec {
    /// Name of the Subnet. Its Vpc must allow the VNic's namespace. Cannot be changed.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = [
        {"rule": "self == oldSelf", "message": "subnet cannot be changed: make another VNic"},
    ]))]
    pub subnet: String,
    /// Addresses of the VNic, within the Subnet, at most one for each address family. A family the Subnet has and this list does not gets an address from the Subnet's pool, which the VNic keeps for its life. A service uses the VNic in each family it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), inner(length(max = 39)), extend(
        "x-kubernetes-list-type" = "atomic",
        "x-kubernetes-validations" = [
            {
                "rule": "self.all(a, isIP(a) && ip(a).isGlobalUnicast())",
                "message": "each of addresses must be a unicast IP address, such as 10.0.1.7 or fd00:1::7",
            },
            {
                "rule": "size(self) < 2 || !isIP(self[0]) || !isIP(self[1]) || ip(self[0]).family() != ip(self[1]).family()",
                "message": "two addresses must be one IPv4 and one IPv6 address",
            },
        ],
    ))]
    pub addresses: Vec<String>,
    /// MAC address of the interface, such as 0a:58:0a:00:01:07. Default: computed from the VNic's identity, and kept for its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9a-fA-F][02468aceACE])(:[0-9a-fA-F]{2}){5}$"))]
    pub mac_address: Option<String>,
    /// Whose interface this is. Decides which backends of a service match it: kind VM and BM match VNics of such owners, kind VNicIP matches every VNic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<VNicOwner>,
    /// Node (OVN chassis) on which the port may be bound. Default: any, the first that binds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub node: Option<String>,
    /// The network function or representor on the node that is this interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// Names for port numbers, for services whose `targetPort` is a name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name", "protocol"],
    ))]
    pub ports: Vec<NamedPort>,
    /// Whether the port may send only from its own addresses and MAC address. Default: true.
    #[serde(default = "yes")]
    pub port_security: bool,
}

fn yes() -> bool {
    true
}

impl Default for VNicSpec {
    fn default() -> Self {
        Self {
            subnet: String::new(),
            addresses: Vec::new(),
            mac_address: None,
            owner: None,
            node: None,
            device: None,
            ports: Vec::new(),
            port_security: true,
        }
    }
}

/// The workload a VNic belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VNicOwner {
    /// Kind of workload.
    pub kind: OwnerKind,
    /// Name of the workload, in the VNic's namespace where it is an object of the cluster.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Kind of the workload a VNic belongs to.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum OwnerKind {
    /// A virtual machine.
    #[serde(rename = "VM")]
    Vm,
    /// A bare-metal server.
    #[serde(rename = "BM")]
    Bm,
    /// A Pod, for an interface beside its first.
    Pod,
}

/// The function or representor behind a VNic. At least one field is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.pciAddress) || has(self.representor)",
        "message": "give pciAddress or representor, or leave device out",
    },
]))]
pub struct Device {
    /// PCI address of the function on the host, such as 0000:3b:00.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]$"))]
    pub pci_address: Option<String>,
    /// Name of the representor where Open vSwitch runs, such as pf0vf3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 15))]
    pub representor: Option<String>,
}

/// What became of a VNic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VNicStatus {
    /// The `metadata.generation` this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Programmed and Ready, with reason and message. Ready means the port is bound and up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Addresses of the VNic, given or allocated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// MAC address of the VNic, given or computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
    /// Name of the OVN Logical_Switch_Port: what `external_ids:iface-id` of the Open vSwitch interface must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logical_port: Option<String>,
}
