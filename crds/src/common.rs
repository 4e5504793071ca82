//! What several kinds share: conditions, selectors, ports, address families, the namespace rule.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
pub use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The condition types every kind may carry, as Kubernetes' conventions want them: a type is an
/// adjective, `status` is `True`, `False` or `Unknown`.
pub mod condition {
    /// The object is valid, refers only to what exists and what its namespace may use, and claims
    /// nothing an older object has. `False` says what to mend.
    pub const ACCEPTED: &str = "Accepted";
    /// What the object means stands in the OVN Northbound database.
    pub const PROGRAMMED: &str = "Programmed";
    /// The object does its job now: a service has a healthy backend, a port is bound to its chassis.
    pub const READY: &str = "Ready";
}

/// Transport protocol of a port.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum Protocol {
    #[default]
    /// Transmission Control Protocol.
    #[serde(rename = "TCP")]
    Tcp,
    /// User Datagram Protocol.
    #[serde(rename = "UDP")]
    Udp,
    /// Stream Control Transmission Protocol.
    #[serde(rename = "SCTP")]
    Sctp,
}

impl Protocol {
    /// The word manifests use: `TCP`, `UDP` or `SCTP`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// What a backend is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum BackendKind {
    /// A Pod.
    Pod,
    /// A virtual machine.
    #[serde(rename = "VM")]
    Vm,
    /// A bare-metal server.
    #[serde(rename = "BM")]
    Bm,
    /// A VNic, whoever owns it.
    #[serde(rename = "VNicIP")]
    VNicIp,
}

impl BackendKind {
    /// The word manifests use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Vm => "VM",
            Self::Bm => "BM",
            Self::VNicIp => "VNicIP",
        }
    }
}

/// Address family.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum IpFamily {
    /// IP version 4.
    IPv4,
    /// IP version 6.
    IPv6,
}

/// Which namespaces may use the object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "self.from != 'All' || (!has(self.names) && !has(self.selector))",
        "message": "from: All already allows every namespace: remove names and selector, or write from: Listed",
    },
]))]
pub struct NamespaceRule {
    /// `All` allows every namespace. `Listed` allows those that `names` lists or `selector` matches; with neither, none.
    #[serde(default)]
    pub from: NamespacesFrom,
    /// Names of allowed namespaces. They need not exist yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 1024),
        inner(length(min = 1, max = 63)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub names: Vec<String>,
    /// Allows namespaces by their labels. Every namespace carries the label `kubernetes.io/metadata.name`. An empty selector matches every namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub selector: Option<LabelSelector>,
}

impl NamespaceRule {
    /// The rule that allows every namespace.
    pub fn all() -> Self {
        Self {
            from: NamespacesFrom::All,
            ..Self::default()
        }
    }
}

/// How a [`NamespaceRule`] chooses.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum NamespacesFrom {
    /// Every namespace.
    All,
    /// The namespaces that are named or selected.
    #[default]
    Listed,
}

/// A port number with a name that a service's `targetPort` may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamedPort {
    /// Name of the port: up to 15 lower-case letters, digits and single dashes, at least one letter.
    #[schemars(
        length(min = 1, max = 15),
        regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Protocol of the port. The same name may stand for another number with another protocol.
    #[serde(default)]
    pub protocol: Protocol,
    /// Port number.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}
