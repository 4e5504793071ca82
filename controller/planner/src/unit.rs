//! Units: the pieces the plan is made of. A unit's rows are computed, compared and written as one, never split.

use std::fmt;

use crate::name::{Name, ObjectName};

/// What is planned as one. The text form (`service/shop/web`) is what `external_ids:yusur.io/unit` carries.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// A VPC's router, its routes and its load balancer group.
    Vpc(Name),
    /// A Subnet's switch and its pair of ports to the router.
    Subnet(Name),
    /// One bucket of a VPC's DNS names.
    Dns(Name, u8),
    /// A Pod's port.
    Pod(ObjectName),
    /// A VNic's port.
    VNic(ObjectName),
    /// A service's load balancers, and what owns its external address where that is its own.
    Service(ObjectName),
    /// An EIP gateway: its router, its switches, its chassis.
    EipGateway(Name),
    /// An EIP gateway's service gateway: its router, pinned to a chassis, and its place on the join.
    ServiceGateway(Name),
    /// What owns an Eip's addresses and leads them to a VPC.
    Eip(ObjectName),
    /// Which addresses of other VPCs a VPC's workloads may call.
    Calls(Name),
    /// What is said about all of OVN.
    Global,
    /// What rows that carry our name say their unit is, if it is none of the above: damage, or a later release's. Such
    /// rows are not wanted.
    Other(Name),
}

impl Unit {
    /// The object whose status and Events tell about this unit; a DNS bucket has none. A service gateway is told of by its
    /// EIP gateway and by the services that use it.
    pub fn object(&self) -> Option<ObjectRef> {
        let (kind, name) = match self {
            Self::Vpc(name) => (Kind::Vpc, ObjectName::cluster(name.clone())),
            Self::Subnet(name) => (Kind::Subnet, ObjectName::cluster(name.clone())),
            Self::Dns(..)
            | Self::ServiceGateway(_)
            | Self::Calls(_)
            | Self::Global
            | Self::Other(_) => return None,
            Self::EipGateway(name) => (Kind::EipGateway, ObjectName::cluster(name.clone())),
            Self::Eip(name) => (Kind::Eip, name.clone()),
            Self::Pod(name) => (Kind::Pod, name.clone()),
            Self::VNic(name) => (Kind::VNic, name.clone()),
            Self::Service(name) => (Kind::YusurService, name.clone()),
        };
        Some(ObjectRef { kind, name })
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Self {
        Self::parse_known(text).unwrap_or_else(|| Self::Other(text.into()))
    }

    fn parse_known(text: &str) -> Option<Self> {
        if text == "global" {
            return Some(Self::Global);
        }
        let (kind, rest) = text.split_once('/')?;
        if rest.is_empty() {
            return None;
        }
        let namespaced = || {
            let (namespace, name) = rest.split_once('/')?;
            (!namespace.is_empty() && !name.is_empty()).then(|| ObjectName::new(namespace, name))
        };
        match kind {
            "vpc" => Some(Self::Vpc(rest.into())),
            "subnet" => Some(Self::Subnet(rest.into())),
            "dns" => {
                let (vpc, bucket) = rest.rsplit_once('/')?;
                Some(Self::Dns(vpc.into(), bucket.parse().ok()?))
            }
            "pod" => namespaced().map(Self::Pod),
            "vnic" => namespaced().map(Self::VNic),
            "service" => namespaced().map(Self::Service),
            "eipgateway" => Some(Self::EipGateway(rest.into())),
            "servicegateway" => Some(Self::ServiceGateway(rest.into())),
            "eip" => namespaced().map(Self::Eip),
            "calls" => Some(Self::Calls(rest.into())),
            _ => None,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vpc(name) => write!(f, "vpc/{name}"),
            Self::Subnet(name) => write!(f, "subnet/{name}"),
            Self::Dns(vpc, bucket) => write!(f, "dns/{vpc}/{bucket}"),
            Self::Pod(name) => write!(f, "pod/{name}"),
            Self::VNic(name) => write!(f, "vnic/{name}"),
            Self::Service(name) => write!(f, "service/{name}"),
            Self::EipGateway(name) => write!(f, "eipgateway/{name}"),
            Self::ServiceGateway(name) => write!(f, "servicegateway/{name}"),
            Self::Eip(name) => write!(f, "eip/{name}"),
            Self::Calls(vpc) => write!(f, "calls/{vpc}"),
            Self::Global => f.write_str("global"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The kinds of object the planner reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `yusur.io` Vpc.
    Vpc,
    /// `yusur.io` Subnet.
    Subnet,
    /// `yusur.io` VNic.
    VNic,
    /// `yusur.io` EipGateway.
    EipGateway,
    /// `yusur.io` Eip.
    Eip,
    /// `yusur.io` YusurService.
    YusurService,
    /// `yusur.io` NetworkProbe.
    NetworkProbe,
    /// Kubernetes Pod.
    Pod,
    /// Kubernetes Node.
    Node,
    /// Kubernetes Namespace.
    Namespace,
    /// KubeVirt VirtualMachineInstance.
    VirtualMachineInstance,
}

impl Kind {
    /// The word a manifest's `kind` says.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vpc => "Vpc",
            Self::Subnet => "Subnet",
            Self::VNic => "VNic",
            Self::EipGateway => "EipGateway",
            Self::Eip => "Eip",
            Self::YusurService => "YusurService",
            Self::NetworkProbe => "NetworkProbe",
            Self::Pod => "Pod",
            Self::Node => "Node",
            Self::Namespace => "Namespace",
            Self::VirtualMachineInstance => "VirtualMachineInstance",
        }
    }

    /// Whether the kind is one of `yusur.io`'s; the others are Kubernetes' and KubeVirt's.
    pub fn custom(self) -> bool {
        !matches!(
            self,
            Self::Pod | Self::Node | Self::Namespace | Self::VirtualMachineInstance
        )
    }

    /// Whether its objects live in a namespace; the others are the cluster's.
    pub fn namespaced(self) -> bool {
        !matches!(
            self,
            Self::Vpc | Self::Subnet | Self::EipGateway | Self::Node | Self::Namespace
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One object of one kind.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: ObjectName,
}

impl ObjectRef {
    /// The unit that stands for the object; `None` for kinds that have none. The opposite of [`Unit::object`].
    pub fn unit(&self) -> Option<Unit> {
        let name = self.name.clone();
        match self.kind {
            Kind::Vpc => Some(Unit::Vpc(name.name)),
            Kind::Subnet => Some(Unit::Subnet(name.name)),
            Kind::VNic => Some(Unit::VNic(name)),
            Kind::Pod => Some(Unit::Pod(name)),
            Kind::YusurService => Some(Unit::Service(name)),
            Kind::EipGateway => Some(Unit::EipGateway(name.name)),
            Kind::Eip => Some(Unit::Eip(name)),
            _ => None,
        }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

impl fmt::Debug for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_reads_back() {
        for text in [
            "vpc/red",
            "subnet/a",
            "dns/red/7",
            "pod/shop/web-0",
            "vnic/shop/vm1",
            "service/shop/web",
            "eipgateway/internet",
            "servicegateway/internet",
            "eip/shop/www",
            "calls/red",
            "global",
        ] {
            let unit = Unit::parse(text);
            assert!(!matches!(unit, Unit::Other(_)), "{text:?}");
            assert_eq!(unit.to_string(), text);
        }
        for text in [
            "",
            "vpc",
            "vpc/",
            "pod/x",
            "pod//x",
            "dns/red/256",
            "gateway/x",
        ] {
            assert_eq!(Unit::parse(text), Unit::Other(text.into()), "{text:?}");
        }
    }
}
