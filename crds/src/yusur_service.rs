//! YusurService: a stable address over Pods, virtual machines, bare-metal servers and bare VNics.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{BackendKind, Condition, IntOrString, IpFamily, LabelSelector, Protocol};
use crate::network_probe::{self, ProbeProtocol};

/// What a service is to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "kube", derive(kube::CustomResource))]
#[cfg_attr(
    feature = "kube",
    kube(
        group = "yusur.io",
        version = "v1alpha1",
        kind = "YusurService",
        plural = "yusurservices",
        shortname = "ysvc",
        category = "yusur",
        namespaced,
        status = "YusurServiceStatus",
        derive = "PartialEq",
        doc = "A YusurService is a stable address inside a Vpc, and outside with an EIP, balanced over healthy backends: Pods, virtual machines, bare-metal servers and bare VNics, in any mix.",
        selectable = ".spec.vpc",
        printcolumn(name = "VPC", type_ = "string", json_path = ".spec.vpc"),
        printcolumn(
            name = "Cluster IPs",
            type_ = "string",
            json_path = ".status.clusterIPs"
        ),
        printcolumn(name = "EIPs", type_ = "string", json_path = ".status.eips"),
        printcolumn(
            name = "Backends",
            type_ = "integer",
            json_path = ".status.backends.total",
            description = "Backends found"
        ),
        printcolumn(
            name = "Serving",
            type_ = "integer",
            json_path = ".status.backends.ready",
            description = "Backends that get new connections"
        ),
        printcolumn(
            name = "Ready",
            type_ = "string",
            json_path = ".status.conditions[?(@.type=='Ready')].status"
        ),
        printcolumn(
            name = "Reason",
            type_ = "string",
            json_path = ".status.conditions[?(@.type=='Ready')].reason"
        ),
        printcolumn(
            name = "Age",
            type_ = "date",
            json_path = ".metadata.creationTimestamp"
        ),
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.clusterIP) || !has(self.clusterIPs) || (self.clusterIP != 'None' && size(self.clusterIPs) > 0 && self.clusterIPs[0] == self.clusterIP)",
        "message": "clusterIP and clusterIPs disagree: give one of them, or repeat clusterIP as the first of clusterIPs",
    },
    {
        "rule": "!has(self.ipFamilyPolicy) || self.ipFamilyPolicy != 'SingleStack' || ((!has(self.clusterIPs) || size(self.clusterIPs) < 2) && (!has(self.ipFamilies) || size(self.ipFamilies) < 2))",
        "message": "SingleStack allows one address and one family: write PreferDualStack or RequireDualStack for two",
    },
    {
        "rule": "!has(self.ipFamilies) || size(self.ipFamilies) == 0 || !has(self.clusterIP) || !isIP(self.clusterIP) || self.ipFamilies[0] == (ip(self.clusterIP).family() == 4 ? 'IPv4' : 'IPv6')",
        "message": "clusterIP is not of the first family in ipFamilies",
    },
    {
        "rule": "!has(self.ipFamilies) || size(self.ipFamilies) == 0 || !has(self.clusterIPs) || size(self.clusterIPs) == 0 || !isIP(self.clusterIPs[0]) || self.ipFamilies[0] == (ip(self.clusterIPs[0]).family() == 4 ? 'IPv4' : 'IPv6')",
        "message": "clusterIPs and ipFamilies must be in the same order",
    },
    {
        "rule": "!has(self.clusterIP) || self.clusterIP != 'None' || !has(self.eip)",
        "message": "a headless service (clusterIP: None) has no balanced address, so it cannot have an eip: remove one of them",
    },
    {
        "rule": "(has(self.clusterIP) && self.clusterIP == 'None') || (has(self.ports) && size(self.ports) > 0)",
        "message": "ports must list at least one port, unless the service is headless (clusterIP: None)",
    },
    {
        "rule": "!has(self.ports) || size(self.ports) < 2 || self.ports.all(p, has(p.name))",
        "message": "with several ports each needs a name",
    },
    {
        "rule": "!has(self.ports) || self.ports.all(p, !has(p.name) || self.ports.exists_one(q, has(q.name) && q.name == p.name))",
        "message": "two ports have the same name",
    },
    {
        "rule": "!has(self.sourceRanges) || size(self.sourceRanges) == 0 || has(self.eip)",
        "message": "sourceRanges guards the EIP: give an eip, or remove sourceRanges",
    },
]))]
pub struct YusurServiceSpec {
    /// Name of the Vpc the service lives in. The Vpc must allow the service's namespace. Cannot be changed.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = [
        {"rule": "self == oldSelf", "message": "vpc cannot be changed: make another service"},
    ]))]
    pub vpc: String,
    /// Address inside the Vpc, within the Vpc's serviceCIDRs. `None` makes the service headless: no address of its own, its name resolves to the backends. Default: allocated, and kept for the service's life.
    #[serde(default, rename = "clusterIP", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 39), extend("x-kubernetes-validations" = [
        {
            "rule": "self == 'None' || isIP(self)",
            "message": "clusterIP must be an IP address, or None for a headless service; leave it out to have one allocated",
        },
    ]))]
    pub cluster_ip: Option<String>,
    /// Addresses inside the Vpc, for one of each family: the first is `clusterIP`. A family that is asked for and has no address here gets one allocated.
    #[serde(default, rename = "clusterIPs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), inner(length(max = 39)), extend(
        "x-kubernetes-list-type" = "atomic",
        "x-kubernetes-validations" = [
            {
                "rule": "self.all(a, isIP(a))",
                "message": "each of clusterIPs must be an IP address; a headless service is clusterIP: None",
            },
            {
                "rule": "size(self) < 2 || !isIP(self[0]) || !isIP(self[1]) || ip(self[0]).family() != ip(self[1]).family()",
                "message": "two clusterIPs must be one IPv4 and one IPv6 address",
            },
        ],
    ))]
    pub cluster_ips: Vec<String>,
    /// Families the service has an address of, the first being the primary one. Default: those of the addresses given, or the family of the Vpc's first service range; with PreferDualStack or RequireDualStack the other one as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), extend(
        "x-kubernetes-list-type" = "atomic",
        "x-kubernetes-validations" = [
            {"rule": "size(self) < 2 || self[0] != self[1]", "message": "ipFamilies lists a family twice"},
        ],
    ))]
    pub ip_families: Vec<IpFamily>,
    /// SingleStack: one address. PreferDualStack: one of each family the Vpc has a service range of. RequireDualStack: one of each, or the service is not accepted. Default: RequireDualStack if two families or two addresses are given, else SingleStack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_family_policy: Option<IpFamilyPolicy>,
    /// External address: an Eip by its name, or addresses of a gateway held for as long as the service lives. `eip: {}` takes an address of the default gateway. Default: not reachable from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eip: Option<EipRequest>,
    /// Whether processes on cluster nodes reach the service. Default: what its Vpc says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_access: Option<bool>,
    /// Ports of the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["port", "protocol"],
    ))]
    pub ports: Vec<ServicePort>,
    /// Where connections go. A backend that several entries name counts once, as the first of them says. Without a backend that can serve, connections are refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub backends: Vec<Backend>,
    /// How a backend is chosen for a new connection. FlowHash: by addresses, protocol and ports. SourceHash: by the client's address, so that a client keeps its backend while the set of backends stays. RoundRobin: by hash as well, even over many connections only. LeastConnections: weights follow the connection counts that nodes report. Default: FlowHash.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// Keeps a client on its backend. `sessionAffinity: {}` means by client address for 10800 seconds. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_affinity: Option<SessionAffinity>,
    /// How backends are probed. Default: VM, BM and VNicIP backends by a connection to the service's first TCP port, else by ICMP; Pods only if this is given, beside their readiness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// Clients that may use the EIP, as networks in CIDR notation. Default: all. Does not restrict clients inside the Vpc.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), inner(length(max = 43)), extend(
        "x-kubernetes-list-type" = "set",
        "x-kubernetes-validations" = [
            {
                "rule": "self.all(c, isCIDR(c))",
                "message": "each of sourceRanges must be a network in CIDR notation, such as 198.51.100.0/24; one address is 198.51.100.7/32",
            },
        ],
    ))]
    pub source_ranges: Vec<String>,
    /// Source address that backends see of clients outside, where backends lie in several Vpcs: ServiceGateway is the gateway's own address, Preserve the client's. With all backends in one Vpc it is always the client's. Workloads of other Vpcs are always seen as the service gateway. Default: ServiceGateway.
    #[serde(default)]
    pub source_address: SourceAddress,
    /// Whether Pods count as backends before they are ready, as for a Kubernetes Service. Default: false.
    #[serde(default)]
    pub publish_not_ready_addresses: bool,
    /// Where the service's name is made known.
    #[serde(default)]
    pub publish: Publish,
}

/// How many addresses a service has.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum IpFamilyPolicy {
    /// One address.
    SingleStack,
    /// One of each family the Vpc has.
    PreferDualStack,
    /// One of each family.
    RequireDualStack,
}

/// External address a service asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.name) || (!has(self.gateway) && !has(self.addresses) && !has(self.ipFamilies))",
        "message": "give the name of an Eip, or gateway, addresses and ipFamilies of an address of the service's own, not both",
    },
    {
        "rule": "!has(self.addresses) || !has(self.ipFamilies) || self.addresses.all(a, !isIP(a) || (ip(a).family() == 4 ? 'IPv4' : 'IPv6') in self.ipFamilies)",
        "message": "addresses holds an address of a family that ipFamilies does not list",
    },
]))]
pub struct EipRequest {
    /// Name of an Eip in the service's namespace. Several services may share an Eip if their ports differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
    /// Name of the EipGateway to take an address from. Default: the EipGateway marked as default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub gateway: Option<String>,
    /// Addresses asked for, within the gateway's ranges, at most one for each family. Default: the first free ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), inner(length(max = 39)), extend(
        "x-kubernetes-list-type" = "atomic",
        "x-kubernetes-validations" = [
            {
                "rule": "self.all(a, isIP(a) && ip(a).isGlobalUnicast())",
                "message": "each of addresses must be a unicast IP address, such as 192.0.2.10",
            },
            {
                "rule": "size(self) < 2 || !isIP(self[0]) || !isIP(self[1]) || ip(self[0]).family() != ip(self[1]).family()",
                "message": "two addresses must be one IPv4 and one IPv6 address",
            },
        ],
    ))]
    pub addresses: Vec<String>,
    /// Families to take an address of. Default: those of `addresses`, or the service's own families as far as the gateway has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), extend(
        "x-kubernetes-list-type" = "atomic",
        "x-kubernetes-validations" = [
            {"rule": "size(self) < 2 || self[0] != self[1]", "message": "ipFamilies lists a family twice"},
        ],
    ))]
    pub ip_families: Vec<IpFamily>,
}

/// One port of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// Name of the port, unique in the service; may be left out if it is the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: Option<String>,
    /// Protocol of the port. Default: TCP.
    #[serde(default)]
    pub protocol: Protocol,
    /// Port that clients connect to.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Port of the backends: a number, or a name that each backend resolves for itself: a Pod by its containers' ports, a VNic by its `ports`, an entry of `backends` by its own `ports`. Default: `port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend(
        "minimum" = 1,
        "maximum" = 65535,
        "maxLength" = 15,
        "pattern" = "^([a-z0-9][a-z0-9-]*)?[a-z]([a-z0-9-]*[a-z0-9])?$",
    ))]
    pub target_port: Option<IntOrString>,
    /// Application protocol, a hint for Gateways and meshes where the service is published to Kubernetes, such as `http` or `kubernetes.io/h2c`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub app_protocol: Option<String>,
}

/// One group of backends: those a selector matches, or addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.selector) != (has(self.addresses) && size(self.addresses) > 0)",
        "message": "give either selector or addresses, not both and not neither",
    },
]))]
pub struct Backend {
    /// What the backends are. Pod: Pods by label. VM and BM: VNics by label whose owner is a virtual machine or a bare-metal server, and KubeVirt VirtualMachineInstances as VM. VNicIP: VNics by label, whoever owns them. With `addresses` it only decides how they are probed.
    pub kind: BackendKind,
    /// Backends by label, in the service's namespace and the backend's Vpc. An empty selector matches all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub selector: Option<LabelSelector>,
    /// Backends by address, without any object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(max = 39)), extend(
        "x-kubernetes-list-type" = "set",
        "x-kubernetes-validations" = [
            {
                "rule": "self.all(a, isIP(a) && ip(a).isGlobalUnicast())",
                "message": "each of addresses must be a unicast IP address, such as 10.0.1.7 or fd00:1::7",
            },
        ],
    ))]
    pub addresses: Vec<String>,
    /// Vpc the backends lie in, which must allow the service's namespace. Default: the service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub vpc: Option<String>,
    /// Share of new connections that each backend of this entry gets, relative to the weights of the others. 0 drains: connections that live stay, new ones go elsewhere. Default: 1.
    #[serde(default = "weight")]
    #[schemars(range(min = 0, max = 100))]
    pub weight: i32,
    /// Numbers for named target ports, for this entry's backends. They win over names that a Pod or VNic gives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"],
    ))]
    pub ports: Vec<PortOverride>,
}

fn weight() -> i32 {
    1
}

/// The number a named target port has for one entry of backends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortOverride {
    /// The `targetPort` name.
    #[schemars(length(min = 1, max = 15))]
    pub name: String,
    /// Its number.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}

/// How a backend is chosen for a new connection.
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
pub enum Algorithm {
    /// By a hash of addresses, protocol and ports.
    #[default]
    FlowHash,
    /// By a hash of the client's address.
    SourceHash,
    /// By hash; even over many connections only.
    RoundRobin,
    /// By hash with weights that follow the connection counts of the backends.
    LeastConnections,
}

/// How long a client keeps its backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionAffinity {
    /// ClientIP: by the client's address. None: no affinity. Default: ClientIP.
    #[serde(default, rename = "type")]
    pub type_: AffinityType,
    /// Seconds since the client's last connection after which it may get another backend. Default: 10800, three hours.
    #[serde(default = "affinity_timeout")]
    #[schemars(range(min = 1, max = 65535))]
    pub timeout_seconds: i32,
}

fn affinity_timeout() -> i32 {
    10800
}

impl Default for SessionAffinity {
    fn default() -> Self {
        Self {
            type_: AffinityType::default(),
            timeout_seconds: affinity_timeout(),
        }
    }
}

/// By what a client is recognised.
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
pub enum AffinityType {
    /// Its source address.
    #[default]
    ClientIP,
    /// Nothing: no affinity.
    None,
}

/// How backends of a service are probed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.protocol) || self.protocol != 'ICMP' || !has(self.port)",
        "message": "port has no meaning for protocol: ICMP",
    },
    {
        "rule": "(has(self.protocol) && self.protocol == 'HTTP') || (!has(self.path) && !has(self.host))",
        "message": "path and host need protocol: HTTP",
    },
    {
        "rule": "self.timeoutSeconds <= self.intervalSeconds",
        "message": "timeoutSeconds must not be longer than intervalSeconds",
    },
]))]
pub struct HealthCheck {
    /// Whether backends are not probed at all. Pods' readiness still counts. Default: false.
    #[serde(default)]
    pub disabled: bool,
    /// How to ask. Default: TCP if the service has a TCP port, or `port` is given, else ICMP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ProbeProtocol>,
    /// Port of the backend to ask. Default: the target port of the service's first port that fits the protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// Path of the HTTP request. A status from 200 to 399 is success. Default: /.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = r"^/[!-~]*$"))]
    pub path: Option<String>,
    /// Host header of the HTTP request. Default: the backend's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[!-~]+$"))]
    pub host: Option<String>,
    /// Seconds from one attempt to the next. Default: 5.
    #[serde(default = "network_probe::interval")]
    #[schemars(range(min = 1, max = 3600))]
    pub interval_seconds: i32,
    /// Seconds after which an attempt without an answer has failed; not longer than the interval. Default: 3.
    #[serde(default = "network_probe::timeout")]
    #[schemars(range(min = 1, max = 3600))]
    pub timeout_seconds: i32,
    /// Successes in a row after which an unhealthy backend is used again. Default: 1.
    #[serde(default = "network_probe::success_threshold")]
    #[schemars(range(min = 1, max = 100))]
    pub success_threshold: i32,
    /// Failures in a row after which a backend is no longer used. Default: 3.
    #[serde(default = "network_probe::failure_threshold")]
    #[schemars(range(min = 1, max = 100))]
    pub failure_threshold: i32,
    /// What happens when no backend is healthy: Reject refuses connections, KeepAll uses all backends as if they were healthy. Default: Reject.
    #[serde(default)]
    pub when_all_fail: WhenAllFail,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            disabled: false,
            protocol: None,
            port: None,
            path: None,
            host: None,
            interval_seconds: network_probe::interval(),
            timeout_seconds: network_probe::timeout(),
            success_threshold: network_probe::success_threshold(),
            failure_threshold: network_probe::failure_threshold(),
            when_all_fail: WhenAllFail::default(),
        }
    }
}

/// What a service does when no backend is healthy.
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
pub enum WhenAllFail {
    /// Refuse connections.
    #[default]
    Reject,
    /// Use all backends.
    KeepAll,
}

/// Source address that backends in several Vpcs see of clients outside.
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
pub enum SourceAddress {
    /// The service gateway's own.
    #[default]
    ServiceGateway,
    /// The client's.
    Preserve,
}

/// Where a service's name is made known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Publish {
    /// In OVN's DNS on the Vpc's switches, as NAME.NAMESPACE.svc.ZONE; a headless service's name resolves to its backends. Default: true.
    #[serde(default = "yes")]
    pub dns: bool,
    /// As a Kubernetes Service of the same name, without a selector, and its EndpointSlices, for CoreDNS, Ingress and Gateway controllers. Default: false.
    #[serde(default)]
    pub kubernetes: bool,
}

fn yes() -> bool {
    true
}

impl Default for Publish {
    fn default() -> Self {
        Self {
            dns: true,
            kubernetes: false,
        }
    }
}

/// What became of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct YusurServiceStatus {
    /// The `metadata.generation` this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Programmed and Ready, with reason and message. Ready means that a backend serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Addresses inside the Vpc, given or allocated, the primary one first. The record of what was allocated.
    #[serde(default, rename = "clusterIPs", skip_serializing_if = "Vec::is_empty")]
    pub cluster_ips: Vec<String>,
    /// External addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub eips: Vec<String>,
    /// Names that OVN's DNS answers on the Vpc's switches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_names: Vec<String>,
    /// How many backends there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backends: Option<BackendCounts>,
    /// Ways by which clients reach the service now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<Path>,
}

/// Backends of a service, counted by address family and address, each once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendCounts {
    /// Backends that selectors and addresses name.
    pub total: i32,
    /// Backends that get new connections.
    pub ready: i32,
    /// Backends that keep their connections and get no new ones: weight 0, or terminating.
    pub draining: i32,
}

/// A way by which clients reach a service.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Path {
    /// Workloads in the Vpc, balanced where they run; backends see the client.
    Vpc,
    /// Processes on cluster nodes, by the node's port in the Vpc.
    Node,
    /// The outside, by the EIP gateway and the Vpc's router; backends see the client.
    EipVpcRouter,
    /// The outside, by the EIP gateway and a service gateway; backends see the service gateway.
    EipServiceGateway,
    /// The outside, by a load balancer on the EIP gateway; backends see the client. Workloads of other Vpcs come by the service gateway.
    EipPreserve,
    /// Workloads in the Vpc to backends in other Vpcs, over the join of an EIP gateway they share.
    Join,
}
