//! Subnet: one layer-2 segment of a Vpc, an OVN Logical_Switch with a pool of addresses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{Condition, NamespaceRule};

/// What a Subnet is to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "kube", derive(kube::CustomResource))]
#[cfg_attr(
    feature = "kube",
    kube(
        group = "yusur.io",
        version = "v1alpha1",
        kind = "Subnet",
        plural = "subnets",
        shortname = "ysn",
        category = "yusur",
        status = "SubnetStatus",
        derive = "PartialEq",
        doc = "A Subnet is a segment of a Vpc: a switch (an OVN Logical_Switch) behind the Vpc's router, with the pool from which its Pods and VNics get addresses.",
        selectable = ".spec.vpc",
        printcolumn(name = "VPC", type_ = "string", json_path = ".spec.vpc"),
        printcolumn(name = "CIDRs", type_ = "string", json_path = ".spec.cidrs"),
        printcolumn(
            name = "Gateways",
            type_ = "string",
            json_path = ".status.gateways",
            priority = 1
        ),
        printcolumn(
            name = "Switch",
            type_ = "string",
            json_path = ".status.logicalSwitch",
            description = "Name of the OVN Logical_Switch",
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
        "rule": "has(self.logicalSwitch) || (has(self.cidrs) && size(self.cidrs) > 0)",
        "message": "give cidrs, or the logicalSwitch of an existing subnet",
    },
    {
        "rule": "!has(self.logicalSwitch) || !has(self.gateways)",
        "message": "gateways belong to a subnet made here: with logicalSwitch the existing router ports stay as they are",
    },
    {
        "rule": "!has(self.gateways) || !has(self.cidrs) || self.gateways.all(g, self.cidrs.exists(c, isIP(g) && isCIDR(c) && cidr(c).containsIP(g)))",
        "message": "each of gateways must lie in one of cidrs",
    },
    {
        "rule": "has(self.logicalSwitch) == has(oldSelf.logicalSwitch) && (!has(self.logicalSwitch) || self.logicalSwitch == oldSelf.logicalSwitch)",
        "message": "logicalSwitch cannot be added, changed or removed: make another Subnet",
    },
    {
        "rule": "!has(oldSelf.cidrs) || (has(self.cidrs) && oldSelf.cidrs.all(c, c in self.cidrs))",
        "message": "cidrs cannot be changed or removed, since ports have addresses from them; a range of the other family can be added",
    },
]))]
pub struct SubnetSpec {
    /// Name of the Vpc this Subnet belongs to. Cannot be changed.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = [
        {"rule": "self == oldSelf", "message": "vpc cannot be changed: make another Subnet"},
    ]))]
    pub vpc: String,
    /// Address ranges of the Subnet in CIDR notation: one IPv4, one IPv6, or one of each. They must not overlap other Subnets or service ranges of the same Vpc; other Vpcs may use the same. A range can be added later, never changed. With `logicalSwitch` they may be left out; VNics then need addresses of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), inner(length(max = 43)), extend(
        "x-kubernetes-list-type" = "atomic",
        "x-kubernetes-validations" = [
            {
                "rule": "self.all(c, isCIDR(c) && cidr(c) == cidr(c).masked())",
                "message": "each of cidrs must be a network in CIDR notation without host bits, such as 10.0.1.0/24 or fd00:1::/64",
            },
            {
                "rule": "self.all(c, !isCIDR(c) || cidr(c).prefixLength() <= (cidr(c).ip().family() == 4 ? 30 : 126))",
                "message": "each of cidrs needs room for a gateway and a port: at most /30 for IPv4, /126 for IPv6",
            },
            {
                "rule": "size(self) < 2 || !isCIDR(self[0]) || !isCIDR(self[1]) || cidr(self[0]).ip().family() != cidr(self[1]).ip().family()",
                "message": "two cidrs must be one IPv4 and one IPv6 range",
            },
        ],
    ))]
    pub cidrs: Vec<String>,
    /// Addresses of the Vpc's router in this Subnet, at most one for each range. Default: the first usable address of each range.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), inner(length(max = 39)), extend(
        "x-kubernetes-list-type" = "atomic",
        "x-kubernetes-validations" = [
            {
                "rule": "self.all(g, isIP(g))",
                "message": "each of gateways must be an IP address, such as 10.0.1.1",
            },
            {
                "rule": "size(self) < 2 || !isIP(self[0]) || !isIP(self[1]) || ip(self[0]).family() != ip(self[1]).family()",
                "message": "two gateways must be one IPv4 and one IPv6 address",
            },
        ],
    ))]
    pub gateways: Vec<String>,
    /// Addresses never handed out from the pool: an address (`10.0.1.5`), a range (`10.0.1.10-10.0.1.20`) or a network (`10.0.1.128/25`). A VNic or Pod may still ask for one by name. Addresses handed out before stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 79)), extend(
        "x-kubernetes-list-type" = "set",
        "x-kubernetes-validations" = [
            {
                "rule": "self.all(e, isIP(e) || isCIDR(e) || (e.split('-').size() == 2 && e.split('-').all(a, isIP(a))))",
                "message": "each of excludedAddresses must be an address, a range such as 10.0.1.10-10.0.1.20, or a network such as 10.0.1.128/25",
            },
        ],
    ))]
    pub excluded_addresses: Vec<String>,
    /// Namespaces whose Pods are attached to this Subnet unless they name another. A Subnet that names the namespace wins over one that selects it by labels, and that over one with `from: All`; among equals the oldest. Default: none.
    #[serde(default)]
    pub default_for_namespaces: NamespaceRule,
    /// Name or UUID of an existing OVN Logical_Switch to use as it is. Only rows that belong to this Subnet's Pods, VNics and services are added to it; nothing else of it is changed, and it stays when the Subnet goes. Without it a switch is created and attached to the Vpc's router. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub logical_switch: Option<String>,
}

/// What became of a Subnet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubnetStatus {
    /// The `metadata.generation` this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Programmed and Ready, with reason and message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Name of the OVN Logical_Switch that is this Subnet's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logical_switch: Option<String>,
    /// Addresses of the Vpc's router in this Subnet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<String>,
}
