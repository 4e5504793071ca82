//! Eip: external addresses a tenant holds, whether or not a service uses them now.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{Condition, IpFamily};

/// What an Eip is to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "kube", derive(kube::CustomResource))]
#[cfg_attr(
    feature = "kube",
    kube(
        group = "yusur.io",
        version = "v1alpha1",
        kind = "Eip",
        plural = "eips",
        shortname = "yeip",
        category = "yusur",
        namespaced,
        status = "EipStatus",
        derive = "PartialEq",
        doc = "An Eip holds external addresses of an EipGateway for a namespace: one address, or one of each family. A service uses it by name, and the addresses stay when the service goes.",
        selectable = ".spec.gateway",
        printcolumn(name = "Gateway", type_ = "string", json_path = ".status.gateway"),
        printcolumn(name = "Addresses", type_ = "string", json_path = ".status.addresses"),
        printcolumn(name = "Used by", type_ = "string", json_path = ".status.usedBy"),
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
        "rule": "!has(oldSelf.gateway) || (has(self.gateway) && self.gateway == oldSelf.gateway)",
        "message": "gateway cannot be changed: make another Eip",
    },
    {
        "rule": "!has(oldSelf.addresses) || (has(self.addresses) && oldSelf.addresses.all(a, a in self.addresses))",
        "message": "addresses cannot be changed or removed: make another Eip",
    },
    {
        "rule": "!has(self.addresses) || !has(self.ipFamilies) || self.addresses.all(a, !isIP(a) || (ip(a).family() == 4 ? 'IPv4' : 'IPv6') in self.ipFamilies)",
        "message": "addresses holds an address of a family that ipFamilies does not list",
    },
]))]
pub struct EipSpec {
    /// Name of the EipGateway that owns the addresses. Default: the EipGateway marked as default. Cannot be changed once given.
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
    /// Families to hold an address of. Default: those of `addresses`, or the family of the gateway's first range.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), extend(
        "x-kubernetes-list-type" = "atomic",
        "x-kubernetes-validations" = [
            {"rule": "size(self) < 2 || self[0] != self[1]", "message": "ipFamilies lists a family twice"},
        ],
    ))]
    pub ip_families: Vec<IpFamily>,
}

/// What became of an Eip.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EipStatus {
    /// The `metadata.generation` this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Programmed and Ready, with reason and message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Name of the EipGateway that owns the addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Addresses held, given or allocated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Names of the services, in the Eip's namespace, that use the addresses now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
}
