//! A kind as the API has it: where it is served, and what a watch has to know of it.

use serde::de::DeserializeOwned;
use yusur_planner::{Change, Kind};

use crate::source::shape::Metadata;

/// Where the API serves a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resource {
    /// API group; empty for the core.
    pub(crate) group: &'static str,
    /// Its version.
    pub(crate) version: &'static str,
    /// The word in the URL.
    pub(crate) plural: &'static str,
}

/// One kind, as the watch needs it.
pub(super) trait Watch: Send + Sync + 'static {
    /// The kind.
    const KIND: Kind;
    /// What is decoded.
    type Shape: DeserializeOwned;
    /// Its metadata.
    fn metadata(shape: &Self::Shape) -> &Metadata;
    /// What the planner is told.
    fn change(shape: Self::Shape) -> Change;
}

// === impl Resource ===

impl Resource {
    /// Where the API serves `kind`.
    pub(crate) fn of(kind: Kind) -> Self {
        let (group, version, plural) = match kind {
            Kind::Vpc => ("yusur.io", "v1alpha1", "vpcs"),
            Kind::Subnet => ("yusur.io", "v1alpha1", "subnets"),
            Kind::VNic => ("yusur.io", "v1alpha1", "vnics"),
            Kind::EipGateway => ("yusur.io", "v1alpha1", "eipgateways"),
            Kind::Eip => ("yusur.io", "v1alpha1", "eips"),
            Kind::YusurService => ("yusur.io", "v1alpha1", "yusurservices"),
            Kind::NetworkProbe => ("yusur.io", "v1alpha1", "networkprobes"),
            Kind::Pod => ("", "v1", "pods"),
            Kind::Node => ("", "v1", "nodes"),
            Kind::Namespace => ("", "v1", "namespaces"),
            Kind::VirtualMachineInstance => ("kubevirt.io", "v1", "virtualmachineinstances"),
        };
        Self {
            group,
            version,
            plural,
        }
    }

    /// Group and version as an object's `apiVersion` has them.
    pub(crate) fn api_version(self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The path of the objects of one namespace, or of all where it is empty.
    pub(crate) fn path(self, namespace: &str) -> String {
        let root = if self.group.is_empty() { "api" } else { "apis" };
        let version = self.api_version();
        if namespace.is_empty() {
            format!("/{root}/{version}/{}", self.plural)
        } else {
            format!("/{root}/{version}/namespaces/{namespace}/{}", self.plural)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api() {
        assert_eq!(
            Resource::of(Kind::Pod).path("shop"),
            "/api/v1/namespaces/shop/pods"
        );
        assert_eq!(
            Resource::of(Kind::Vpc).path(""),
            "/apis/yusur.io/v1alpha1/vpcs"
        );
    }
}
