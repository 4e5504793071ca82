//! EipGateway: the router and the localnet switch through which the outside reaches external addresses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{Condition, NamespaceRule, Time};

/// What an EipGateway is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "kube", derive(kube::CustomResource))]
#[cfg_attr(
    feature = "kube",
    kube(
        group = "yusur.io",
        version = "v1alpha1",
        kind = "EipGateway",
        plural = "eipgateways",
        shortname = "yegw",
        category = "yusur",
        status = "EipGatewayStatus",
        derive = "PartialEq",
        doc = "An EipGateway owns a range of external addresses: a router on a physical network, served by one of several gateway nodes at a time, through which the outside reaches services with an EIP.",
        printcolumn(name = "CIDRs", type_ = "string", json_path = ".spec.cidrs"),
        printcolumn(
            name = "Network",
            type_ = "string",
            json_path = ".spec.physicalNetwork"
        ),
        printcolumn(
            name = "Active node",
            type_ = "string",
            json_path = ".status.activeNode"
        ),
        printcolumn(name = "Default", type_ = "boolean", json_path = ".spec.default"),
        printcolumn(
            name = "Ready",
            type_ = "string",
            json_path = ".status.conditions[?(@.type=='Ready')].status"
        ),
        printcolumn(
            name = "Source ports",
            type_ = "integer",
            json_path = ".status.sourcePorts.remaining",
            priority = 1
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
        "rule": "!has(self.gatewayAddresses) || self.gatewayAddresses.all(a, self.cidrs.exists(c, isIP(a) && isCIDR(c) && cidr(c).containsIP(a)))",
        "message": "each of gatewayAddresses must lie in one of cidrs",
    },
    {
        "rule": "!has(self.nextHops) || self.nextHops.all(a, self.cidrs.exists(c, isIP(a) && isCIDR(c) && cidr(c).containsIP(a)))",
        "message": "each of nextHops must lie in one of cidrs: it is the router of the physical network on the gateway's own segment",
    },
    {
        "rule": "!has(self.nextHops) || !has(self.gatewayAddresses) || self.nextHops.all(a, !(a in self.gatewayAddresses))",
        "message": "an address cannot be both in nextHops and in gatewayAddresses",
    },
    {
        "rule": "!has(self.serviceGateway) || self.serviceGateway.placement != 'Apart' || size(self.nodes) > 1",
        "message": "serviceGateway.placement Apart needs a second node in nodes",
    },
]))]
pub struct EipGatewaySpec {
    /// Ranges of external addresses in CIDR notation: one IPv4, one IPv6, or one of each. They are the segment of the physical network: with the network's own router in it. A range can be added later, never changed.
    #[schemars(length(min = 1, max = 2), inner(length(max = 43)), extend(
        "x-kubernetes-list-type" = "atomic",
        "x-kubernetes-validations" = [
            {
                "rule": "self.all(c, isCIDR(c) && cidr(c) == cidr(c).masked())",
                "message": "each of cidrs must be a network in CIDR notation without host bits, such as 192.0.2.0/24 or 2001:db8::/64",
            },
            {
                "rule": "size(self) < 2 || !isCIDR(self[0]) || !isCIDR(self[1]) || cidr(self[0]).ip().family() != cidr(self[1]).ip().family()",
                "message": "two cidrs must be one IPv4 and one IPv6 range",
            },
            {
                "rule": "oldSelf.all(c, c in self)",
                "message": "cidrs cannot be changed or removed, since Eips have addresses from them; a range of the other family can be added",
            },
        ],
    ))]
    pub cidrs: Vec<String>,
    /// Addresses of the gateway's own router on the physical network, at most one for each range. Default: the first usable address of each range that is not a next hop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), inner(length(max = 39)), extend(
        "x-kubernetes-list-type" = "atomic",
        "x-kubernetes-validations" = [
            {"rule": "self.all(a, isIP(a))", "message": "each of gatewayAddresses must be an IP address, such as 192.0.2.1"},
            {
                "rule": "size(self) < 2 || !isIP(self[0]) || !isIP(self[1]) || ip(self[0]).family() != ip(self[1]).family()",
                "message": "two gatewayAddresses must be one IPv4 and one IPv6 address",
            },
        ],
    ))]
    pub gateway_addresses: Vec<String>,
    /// Next hops of the default routes to the outside, at most one for each range. Without one, only clients on the segment itself are answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), inner(length(max = 39)), extend(
        "x-kubernetes-list-type" = "atomic",
        "x-kubernetes-validations" = [
            {"rule": "self.all(a, isIP(a))", "message": "each of nextHops must be an IP address, such as 192.0.2.254"},
            {
                "rule": "size(self) < 2 || !isIP(self[0]) || !isIP(self[1]) || ip(self[0]).family() != ip(self[1]).family()",
                "message": "two nextHops must be one IPv4 and one IPv6 address",
            },
        ],
    ))]
    pub next_hops: Vec<String>,
    /// Addresses never handed out: an address, a range (`192.0.2.10-192.0.2.20`) or a network. The router's own, the next hops, and IPv4 network and broadcast addresses never are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 79)), extend(
        "x-kubernetes-list-type" = "set",
        "x-kubernetes-validations" = [
            {
                "rule": "self.all(e, isIP(e) || isCIDR(e) || (e.split('-').size() == 2 && e.split('-').all(a, isIP(a))))",
                "message": "each of excludedAddresses must be an address, a range such as 192.0.2.10-192.0.2.20, or a network such as 192.0.2.128/25",
            },
        ],
    ))]
    pub excluded_addresses: Vec<String>,
    /// Name of the physical network, as in `ovn-bridge-mappings` of the gateway nodes.
    #[schemars(length(min = 1, max = 253))]
    pub physical_network: String,
    /// VLAN of the segment on the physical network. Default: untagged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4094))]
    pub vlan: Option<i32>,
    /// Gateway nodes (OVN chassis) in order of preference: the first that is alive serves, the others stand by.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 253)), extend(
        "x-kubernetes-list-type" = "atomic",
        "x-kubernetes-validations" = [
            {"rule": "self.all(n, self.exists_one(m, m == n))", "message": "nodes lists a node twice"},
        ],
    ))]
    pub nodes: Vec<String>,
    /// Whether Eips and services that name no gateway use this one. Of several the oldest counts. Default: false.
    #[serde(default)]
    pub default: bool,
    /// The service gateway, which balances connections over backends in several Vpcs, where services need one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_gateway: Option<ServiceGatewaySpec>,
    /// Namespaces whose Eips and services may use this gateway. Default: all.
    #[serde(default = "NamespaceRule::all")]
    pub allowed_namespaces: NamespaceRule,
}

impl Default for EipGatewaySpec {
    fn default() -> Self {
        Self {
            cidrs: Vec::new(),
            gateway_addresses: Vec::new(),
            next_hops: Vec::new(),
            excluded_addresses: Vec::new(),
            physical_network: String::new(),
            vlan: None,
            nodes: Vec::new(),
            default: false,
            service_gateway: None,
            allowed_namespaces: NamespaceRule::all(),
        }
    }
}

/// What a service gateway is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceGatewaySpec {
    /// Which of `nodes` it is on. WithGateway is the node that the gateway itself is on. Apart is another, so that the two share the load; with the gateway all the same while no other node is well. Apart needs OVN 25.03 or newer: with OVN 23.03 requests to services by the service gateway are lost. Default: WithGateway.
    #[serde(default)]
    pub placement: ServiceGatewayPlacement,
}

/// Where a service gateway is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceGatewayPlacement {
    /// On the node that the EIP gateway is on.
    #[default]
    WithGateway,
    /// On another of its nodes.
    Apart,
}

/// What became of an EipGateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EipGatewayStatus {
    /// The `metadata.generation` this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Programmed and Ready, with reason and message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Addresses of the gateway's own router.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateway_addresses: Vec<String>,
    /// The gateway node that serves now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_node: Option<String>,
    /// The service gateway, where services with backends in several Vpcs use one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_gateway: Option<ServiceGatewayStatus>,
    /// How many source ports the service gateway has left, as `yusurctl source-ports --publish` last counted them. The controller leaves this as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ports: Option<SourcePorts>,
}

/// How many more connections a service gateway can have at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourcePorts {
    /// The node that was counted on. Where it is not `serviceGateway.node`, the service gateway has moved since, and this says nothing about it.
    pub node: String,
    /// How many source ports, of 64,512, are left towards the backend address that has the fewest left.
    #[schemars(range(min = 0, max = 64512))]
    pub remaining: i32,
    /// That address, port and protocol, such as `100.96.16.7:80/TCP`: what a service is reached by in a Vpc. Missing where there are no connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// When they were counted.
    pub observed_time: Time,
}

/// The router that has connections from outside to backends in several Vpcs come from itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceGatewayStatus {
    /// What backends see of these connections: its addresses, one a family.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// The node it is on, as `spec.serviceGateway.placement` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}
