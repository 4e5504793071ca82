//! The API of Yusur Service: group `yusur.io`, version `v1alpha1`.
//!
//! Every kind has a file with its spec and status as plain `serde` and `schemars` types. With the
//! feature `kube` each spec also derives a root object (`YusurService`, `Vpc`, …) that the
//! Kubernetes client understands, and from which `crdgen` writes `manifests/crds/`. Without the
//! feature no Kubernetes client crate is compiled, so the planner can use the same types.
//!
//! What can be judged from one object alone is in its schema: types, ranges, defaults and CEL rules
//! (`x-kubernetes-validations`), which the API server enforces. What needs a second object is the
//! planner's to judge, and becomes a condition. Doc comments of the fields are what
//! `kubectl explain` shows.

#![allow(
    clippy::duplicated_attributes,
    reason = "the lint takes the words that printer columns share for duplicates"
)]

pub mod common;
pub mod eip;
pub mod eip_gateway;
#[cfg(feature = "kube")]
pub mod manifest;
pub mod network_probe;
pub mod subnet;
#[cfg(feature = "validation")]
pub mod validation;
pub mod vnic;
pub mod vpc;
pub mod yusur_service;

pub use common::{
    BackendKind, Condition, IntOrString, IpFamily, LabelSelector, NamedPort, NamespaceRule,
    NamespacesFrom, Protocol,
};
pub use eip::{EipSpec, EipStatus};
pub use eip_gateway::{
    EipGatewaySpec, EipGatewayStatus, ServiceGatewayPlacement, ServiceGatewaySpec,
    ServiceGatewayStatus, SourcePorts,
};
pub use network_probe::{
    NetworkProbeSpec, NetworkProbeStatus, ProbeProtocol, ProbeResult, ProbeState, ProbeTarget,
};
pub use subnet::{SubnetSpec, SubnetStatus};
pub use vnic::{Device, OwnerKind, VNicOwner, VNicSpec, VNicStatus};
pub use vpc::{StaticRoute, VpcSpec, VpcStatus};
pub use yusur_service::{
    AffinityType, Algorithm, Backend, BackendCounts, EipRequest, HealthCheck, IpFamilyPolicy, Path,
    PortOverride, Publish, ServicePort, SessionAffinity, SourceAddress, WhenAllFail,
    YusurServiceSpec, YusurServiceStatus,
};

#[cfg(feature = "kube")]
pub use {
    eip::Eip, eip_gateway::EipGateway, network_probe::NetworkProbe, subnet::Subnet, vnic::VNic,
    vpc::Vpc, yusur_service::YusurService,
};

/// The API group of every kind here.
pub const GROUP: &str = "yusur.io";
/// The version of every kind here.
pub const VERSION: &str = "v1alpha1";
/// Group and version as manifests write them: `yusur.io/v1alpha1`.
pub const API_VERSION: &str = "yusur.io/v1alpha1";
