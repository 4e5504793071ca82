//! The kinds that are watched: what is decoded of each, and which change of the planner it is.

use kube::Client;
use tokio::task::JoinSet;
use yusur_crds::{
    EipGatewaySpec, EipGatewayStatus, EipSpec, EipStatus, NetworkProbeSpec, NetworkProbeStatus,
    SubnetSpec, SubnetStatus, VNicSpec, VNicStatus, VpcSpec, VpcStatus, YusurServiceSpec,
    YusurServiceStatus,
};
use yusur_planner::{Change, Kind};

use super::follow::follow;
use super::resource::Watch;
use crate::source::Sender;
use crate::source::shape::{self, Custom, Metadata};

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
    use super::super::resource::Resource;
    use super::*;

    #[test]
    fn plurals_are_those_of_the_definitions() {
        for kind in ALL {
            let resource = Resource::of(kind);
            assert_eq!(
                resource.plural,
                format!("{}s", kind.as_str().to_lowercase())
            );
        }
    }
}
