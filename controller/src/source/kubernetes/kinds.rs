//! The kinds that are watched: where the API serves them, what is read of them, which change of the planner they are.

use kube::Client;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use yusur_crds::{
    EipGatewaySpec, EipGatewayStatus, EipSpec, EipStatus, NetworkProbeSpec, NetworkProbeStatus,
    SubnetSpec, SubnetStatus, VNicSpec, VNicStatus, VpcSpec, VpcStatus, YusurServiceSpec,
    YusurServiceStatus,
};
use yusur_planner::{Change, Kind};

use super::follow::follow;
use crate::source::Sender;
use crate::source::shape::{self, Custom, Metadata};

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

macro_rules! kinds {
    ($($kind:ident: $shape:ty => $change:expr;)*) => {
        /// Every kind that is watched.
        pub(super) const ALL: [Kind; [$(Kind::$kind),*].len()] = [$(Kind::$kind),*];

        $(
            struct $kind;

            impl Watch for $kind {
                const KIND: Kind = Kind::$kind;
                type Shape = $shape;
                fn metadata(shape: &$shape) -> &Metadata {
                    &shape.metadata
                }
                fn change(shape: $shape) -> Change {
                    $change(shape)
                }
            }
        )*

        /// Starts the watch of one kind.
        pub(super) fn spawn(kind: Kind, tasks: &mut JoinSet<()>, client: Client, sender: Sender) {
            match kind {
                $(Kind::$kind => tasks.spawn(follow::<$kind>(client, sender)),)*
            };
        }
    };
}

kinds! {
    Vpc: Custom<VpcSpec, VpcStatus> => |shape: Custom<_, _>| Change::Vpc(shape.into());
    Subnet: Custom<SubnetSpec, SubnetStatus> => |shape: Custom<_, _>| Change::Subnet(shape.into());
    VNic: Custom<VNicSpec, VNicStatus> => |shape: Custom<_, _>| Change::VNic(shape.into());
    EipGateway: Custom<EipGatewaySpec, EipGatewayStatus> => |shape: Custom<_, _>| Change::EipGateway(shape.into());
    Eip: Custom<EipSpec, EipStatus> => |shape: Custom<_, _>| Change::Eip(shape.into());
    YusurService: Custom<YusurServiceSpec, YusurServiceStatus> => |shape: Custom<_, _>| Change::YusurService(shape.into());
    NetworkProbe: Custom<NetworkProbeSpec, NetworkProbeStatus> => |shape: Custom<_, _>| Change::NetworkProbe(shape.into());
    Pod: shape::Pod => |shape: shape::Pod| Change::Pod(shape.into());
    Node: shape::Node => |shape: shape::Node| Change::Node(shape.into());
    Namespace: shape::Namespace => |shape: shape::Namespace| Change::Namespace(shape.metadata.into());
    VirtualMachineInstance: shape::VirtualMachineInstance
        => |shape: shape::VirtualMachineInstance| Change::VirtualMachineInstance(shape.into());
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
        for kind in ALL {
            let resource = Resource::of(kind);
            assert_eq!(
                resource.plural,
                format!("{}s", kind.as_str().to_lowercase())
            );
        }
    }
}
