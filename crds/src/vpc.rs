//! Vpc: an isolated network of one or more tenants, an OVN Logical_Router.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{Condition, NamespaceRule};

/// What a Vpc is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "kube", derive(kube::CustomResource))]
#[cfg_attr(
    feature = "kube",
    kube(
        group = "yusur.io",
        version = "v1alpha1",
        kind = "Vpc",
        plural = "vpcs",
        shortname = "yvpc",
        category = "yusur",
        status = "VpcStatus",
        derive = "PartialEq",
        doc = "A Vpc is an isolated network: a router (an OVN Logical_Router) with the Subnets that name it. Address ranges of different Vpcs may overlap.",
        printcolumn(
            name = "Service CIDRs",
            type_ = "string",
            json_path = ".spec.serviceCIDRs",
            description = "Ranges that cluster addresses of services come from"
        ),
        printcolumn(
            name = "Router",
            type_ = "string",
            json_path = ".status.logicalRouter",
            description = "Name of the OVN Logical_Router",
            priority = 1
        ),
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
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.logicalRouter) == has(oldSelf.logicalRouter) && (!has(self.logicalRouter) || self.logicalRouter == oldSelf.logicalRouter)",
        "message": "logicalRouter cannot be added, changed or removed: make another Vpc",
    },
]))]
pub struct VpcSpec {
    /// Ranges from which cluster addresses of services in this Vpc are allocated, at most one for each address family; an address a service asks for must lie in one of them. The first range's family is the default for services. They must not overlap the Vpc's own Subnets; ranges of other Vpcs may be the same. Without a range services here can only be headless.
    #[serde(
        default,
        rename = "serviceCIDRs",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(length(max = 2), inner(length(max = 43)), extend(
        "x-kubernetes-list-type" = "atomic",
        "x-kubernetes-validations" = [
            {
                "rule": "self.all(c, isCIDR(c) && cidr(c) == cidr(c).masked())",
                "message": "each of serviceCIDRs must be a network in CIDR notation without host bits, such as 10.96.0.0/16 or fd00:96::/112",
            },
            {
                "rule": "size(self) < 2 || !isCIDR(self[0]) || !isCIDR(self[1]) || cidr(self[0]).ip().family() != cidr(self[1]).ip().family()",
                "message": "two serviceCIDRs must be one IPv4 and one IPv6 range",
            },
        ],
    ))]
    pub service_cidrs: Vec<String>,
    /// Namespaces whose services, VNics, Pods and backends may name this Vpc. Default: none.
    #[serde(default)]
    pub allowed_namespaces: NamespaceRule,
    /// Whether processes on cluster nodes reach this Vpc's services. A service may say otherwise. Default: true.
    #[serde(default = "yes")]
    pub node_access: bool,
    /// Routes added to the Vpc's router. Several entries with the same destination share the traffic between their next hops.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub static_routes: Vec<StaticRoute>,
    /// Name of the EipGateway by which workloads reach the outside; all EIPs of the Vpc's services must be of it. Default: the one that the EIP of the oldest service is of; without any, the Vpc has no way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub eip_gateway: Option<String>,
    /// Name or UUID of an existing OVN Logical_Router to use as it is. Only rows that belong to this Vpc's services, subnets and routes are added to it; nothing else of it is changed, and it stays when the Vpc goes. Without it a router is created. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub logical_router: Option<String>,
}

fn yes() -> bool {
    true
}

impl Default for VpcSpec {
    fn default() -> Self {
        Self {
            service_cidrs: Vec::new(),
            allowed_namespaces: NamespaceRule::default(),
            node_access: true,
            static_routes: Vec::new(),
            eip_gateway: None,
            logical_router: None,
        }
    }
}

/// One route of a Vpc's router.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!isCIDR(self.destination) || !isIP(self.nextHop) || cidr(self.destination).ip().family() == ip(self.nextHop).family()",
        "message": "destination and nextHop must be of the same address family",
    },
]))]
pub struct StaticRoute {
    /// Destination network in CIDR notation, such as 192.0.2.0/24; 0.0.0.0/0 or ::/0 is the default route.
    #[schemars(length(max = 43), extend("x-kubernetes-validations" = [
        {
            "rule": "isCIDR(self) && cidr(self) == cidr(self).masked()",
            "message": "destination must be a network in CIDR notation without host bits, such as 192.0.2.0/24",
        },
    ]))]
    pub destination: String,
    /// Address of the next hop, in one of the Vpc's Subnets, or `discard` to drop what has no longer match.
    #[schemars(length(max = 39), extend("x-kubernetes-validations" = [
        {
            "rule": "self == 'discard' || isIP(self)",
            "message": "nextHop must be an IP address, or discard",
        },
    ]))]
    pub next_hop: String,
}

/// What became of a Vpc.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VpcStatus {
    /// The `metadata.generation` this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Programmed and Ready, with reason and message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Name of the OVN Logical_Router that is this Vpc's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logical_router: Option<String>,
    /// Name of the EipGateway that the Vpc has joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eip_gateway: Option<String>,
    /// The router's addresses towards that gateway: what workloads of other Vpcs see of clients from this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub join_addresses: Vec<String>,
}
