//! Workloads: what a backend's selector may match. Pods, VNics and VirtualMachineInstances in one arena, kept small:
//! there are tens of thousands of them.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use yusur_crds::{BackendKind, OwnerKind, Protocol, VNicSpec, VNicStatus};

use super::contradiction;
use super::labels::LabelSet;
use super::parse::{self, Addresses, Problem};
use super::topology::Header;
use crate::input::{Meta, Object, Pod, VirtualMachineInstance};
use crate::name::{Name, ObjectName};
use crate::unit::{Kind, Unit};

/// What a workload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Nature {
    Pod,
    VNic(Option<OwnerKind>),
    Vmi,
}

impl Nature {
    pub(crate) fn matches(self, kind: BackendKind) -> bool {
        match kind {
            BackendKind::Pod => self == Self::Pod,
            BackendKind::Vm => matches!(self, Self::Vmi | Self::VNic(Some(OwnerKind::Vm))),
            BackendKind::Bm => self == Self::VNic(Some(OwnerKind::Bm)),
            BackendKind::VNicIp => matches!(self, Self::VNic(_)),
        }
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Pod => Kind::Pod,
            Self::VNic(_) => Kind::VNic,
            Self::Vmi => Kind::VirtualMachineInstance,
        }
    }
}

/// Whether a workload can take connections (KEP-1669's conditions).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Readiness {
    /// It can.
    Ready,
    /// It is on its way out but still serves: used if nothing else is there.
    Leaving,
    /// It cannot, or does not yet; used only where unready addresses are published.
    Unready,
    /// It never will again.
    Ended,
}

/// A name for a port number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PortName {
    pub(crate) name: Box<str>,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

/// What only a VNic has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VNicPart {
    pub(crate) given: Addresses,
    pub(crate) mac: Option<Box<str>>,
    pub(crate) port_security: bool,
    pub(crate) invalid: Option<Problem>,
}

/// What two states of one object differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Differences {
    /// What its port is made of, or what is said of it.
    pub(crate) port: bool,
    /// That, or where it is, or by which addresses it is known.
    pub(crate) place: bool,
    /// That, or what the services that select it read.
    pub(crate) serves: bool,
}

/// One workload.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) name: ObjectName,
    pub(crate) nature: Nature,
    pub(crate) header: Header,
    pub(crate) labels: LabelSet,
    /// The Subnet it asks for.
    pub(crate) asks: Option<Name>,
    /// The Subnet it is attached to: kept once found.
    pub(crate) subnet: Option<Name>,
    /// Addresses it claims in that Subnet's pool (a VirtualMachineInstance claims none: they are its launcher's).
    pub(crate) claims: Addresses,
    /// Addresses its object says it has: the record of what was allocated.
    pub(crate) reported: Addresses,
    pub(crate) node: Option<Name>,
    pub(crate) readiness: Readiness,
    pub(crate) host_network: bool,
    /// Its port is bound and up.
    pub(crate) up: bool,
    /// There was no free address for it, or not of each family: it has no port.
    pub(crate) starved: bool,
    /// Its status says that it has the MAC address it asks for.
    pub(super) mac_recorded: bool,
    /// Shared by all that have the same.
    pub(crate) ports: Arc<[PortName]>,
    pub(crate) vnic: Option<Box<VNicPart>>,
}

impl Workload {
    pub(crate) fn unit(&self) -> Option<Unit> {
        match self.nature {
            Nature::Pod => Some(Unit::Pod(self.name.clone())),
            Nature::VNic(_) => Some(Unit::VNic(self.name.clone())),
            Nature::Vmi => None,
        }
    }

    /// True if it is to have a port of its own.
    pub(crate) fn wants_port(&self) -> bool {
        match self.nature {
            Nature::Pod => !self.host_network && self.readiness != Readiness::Ended,
            Nature::VNic(_) => true,
            Nature::Vmi => false,
        }
    }

    /// What a newer state of the object differs in. Names all fields, so that a new one is compared or left out on purpose.
    pub(crate) fn differences(&self, new: &Self) -> Differences {
        let Self {
            name: _,
            nature,
            header,
            labels,
            asks,
            subnet: _,
            claims: _,
            reported,
            node,
            readiness,
            host_network: _,
            up: _,
            starved: _,
            mac_recorded: _,
            ports,
            vnic,
        } = self;
        let port = self.wants_port() != new.wants_port()
            || *asks != new.asks
            || *vnic != new.vnic
            || *header != new.header
            // A Pod is on its node without its port saying so.
            || (vnic.is_some() && *node != new.node);
        let place = port || *reported != new.reported || *nature != new.nature;
        let serves =
            place || *readiness != new.readiness || *ports != new.ports || *labels != new.labels;
        Differences {
            port,
            place,
            serves,
        }
    }

    pub(crate) fn from_pod(pod: &Pod, labels: LabelSet, name: ObjectName) -> Self {
        let readiness = match (pod.ended, pod.ready, pod.meta.deleting) {
            (true, ..) => Readiness::Ended,
            (_, true, false) => Readiness::Ready,
            (_, true, true) => Readiness::Leaving,
            (_, false, _) => Readiness::Unready,
        };
        let ports = pod.ports.iter().filter_map(|port| {
            let protocol = protocol(&port.protocol)?;
            Some(PortName {
                name: port.name.as_str().into(),
                protocol,
                port: port.port,
            })
        });
        Self {
            name,
            nature: Nature::Pod,
            header: Header::new(&pod.meta),
            labels,
            asks: pod.subnet.as_deref().map(Name::from),
            subnet: None,
            claims: Addresses::default(),
            reported: pod.addresses.iter().map(IpAddr::to_canonical).collect(),
            node: pod.node.as_deref().map(Name::from),
            readiness,
            host_network: pod.host_network,
            up: false,
            starved: false,
            mac_recorded: false,
            ports: ports.collect(),
            vnic: None,
        }
    }

    pub(crate) fn from_vmi(
        vmi: &VirtualMachineInstance,
        labels: LabelSet,
        name: ObjectName,
    ) -> Self {
        let readiness = match (vmi.ready, vmi.meta.deleting) {
            (true, false) => Readiness::Ready,
            (true, true) => Readiness::Leaving,
            (false, _) => Readiness::Unready,
        };
        Self {
            name,
            nature: Nature::Vmi,
            header: Header::new(&vmi.meta),
            labels,
            asks: vmi.subnet.as_deref().map(Name::from),
            subnet: None,
            claims: Addresses::default(),
            reported: vmi.addresses.iter().map(IpAddr::to_canonical).collect(),
            node: vmi.node.as_deref().map(Name::from),
            readiness,
            host_network: false,
            up: false,
            starved: false,
            mac_recorded: false,
            ports: Arc::default(),
            vnic: None,
        }
    }

    pub(crate) fn from_vnic(
        object: &Object<VNicSpec, VNicStatus>,
        labels: LabelSet,
        name: ObjectName,
    ) -> Self {
        let spec = &object.spec;
        let mut invalid = None;
        let given = parse::addresses("spec.addresses", &spec.addresses, parse::unicast)
            .unwrap_or_else(|problem| {
                invalid = Some(problem);
                Addresses::default()
            });
        let mac = match spec.mac_address.as_deref().map(mac) {
            Some(Err(problem)) => {
                invalid.get_or_insert(problem);
                None
            }
            Some(Ok(mac)) => Some(mac),
            None => None,
        };
        if let Some(problem) = contradiction::of_vnic(spec) {
            invalid.get_or_insert(problem);
        }
        let ports = spec.ports.iter().filter_map(|port| {
            let number = u16::try_from(port.port)
                .ok()
                .filter(|number| *number != 0)?;
            Some(PortName {
                name: port.name.as_str().into(),
                protocol: port.protocol,
                port: number,
            })
        });
        let reported = object
            .status
            .iter()
            .flat_map(|status| &status.addresses)
            .filter_map(|text| text.parse().ok());
        let status = object.status.as_ref();
        let recorded = status.and_then(|status| status.mac_address.as_deref());
        let mac_recorded = mac.is_some() && recorded == mac.as_deref();
        Self {
            name,
            nature: Nature::VNic(spec.owner.as_ref().map(|owner| owner.kind)),
            header: Header::new(&object.meta),
            labels,
            asks: Some(spec.subnet.as_str().into()),
            subnet: None,
            claims: Addresses::default(),
            reported: reported.collect(),
            node: spec.node.as_deref().map(Name::from),
            readiness: if object.meta.deleting {
                Readiness::Leaving
            } else {
                Readiness::Ready
            },
            host_network: false,
            up: false,
            starved: false,
            mac_recorded,
            ports: ports.collect(),
            vnic: Some(Box::new(VNicPart {
                given,
                mac,
                port_security: spec.port_security,
                invalid,
            })),
        }
    }
}

pub(crate) fn protocol(word: &str) -> Option<Protocol> {
    match word {
        "TCP" | "" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        _ => None,
    }
}

/// A unicast MAC address, in lower case.
fn mac(text: &str) -> Result<Box<str>, Problem> {
    let octets: Vec<u8> = text
        .split(':')
        .filter(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .filter_map(|part| u8::from_str_radix(part, 16).ok())
        .collect();
    let unicast = octets.first().is_some_and(|first| first & 1 == 0)
        && octets.iter().any(|octet| *octet != 0);
    if octets.len() == 6 && text.len() == 17 && unicast {
        Ok(text.to_ascii_lowercase().into())
    } else {
        Err(Problem::invalid(format!(
            "spec.macAddress: {text:?} is not a unicast MAC address; write one such as 0a:58:0a:00:01:07"
        )))
    }
}

/// All workloads, by number and by name.
#[derive(Debug, Default)]
pub(crate) struct Workloads {
    // Boxed: a vector that grows has room for twice what is in it.
    slots: Vec<Option<Box<Workload>>>,
    free: Vec<u32>,
    by_name: HashMap<(Kind, ObjectName), u32>,
}

impl Workloads {
    pub(crate) fn find(&self, kind: Kind, name: &ObjectName) -> Option<u32> {
        // The key is cheap: cloning a name copies pointers.
        self.by_name.get(&(kind, name.clone())).copied()
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Workload> {
        self.slots.get(id as usize)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut Workload> {
        self.slots.get_mut(id as usize)?.as_deref_mut()
    }

    pub(crate) fn of_unit(&self, unit: &Unit) -> Option<(u32, &Workload)> {
        let id = match unit {
            Unit::Pod(name) => self.find(Kind::Pod, name)?,
            Unit::VNic(name) => self.find(Kind::VNic, name)?,
            _ => return None,
        };
        Some((id, self.get(id)?))
    }

    pub(crate) fn insert(&mut self, workload: Workload) -> u32 {
        let key = (workload.nature.kind(), workload.name.clone());
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            // More than 2^32 workloads do not fit in memory.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        self.slots[id as usize] = Some(Box::new(workload));
        self.by_name.insert(key, id);
        id
    }

    pub(crate) fn remove(&mut self, id: u32) -> Option<Workload> {
        let workload = *self.slots.get_mut(id as usize)?.take()?;
        self.by_name
            .remove(&(workload.nature.kind(), workload.name.clone()));
        self.free.push(id);
        Some(workload)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Workload)> {
        (0..)
            .zip(&self.slots)
            .filter_map(|(id, slot)| slot.as_deref().map(|workload| (id, workload)))
    }
}

impl Meta {
    pub(crate) fn named(&self, namespace: &Name) -> ObjectName {
        ObjectName {
            namespace: namespace.clone(),
            name: self.name.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs() {
        assert_eq!(
            mac("0A:58:0a:00:01:07").expect("good").as_ref(),
            "0a:58:0a:00:01:07"
        );
        for bad in [
            "01:00:5e:00:00:01",
            "0a:58:0a:00:01",
            "0a-58-0a-00-01-07",
            "00:00:00:00:00:00",
            "0a:58:0a:00:01:+7",
        ] {
            assert!(mac(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn backends_match_by_owner() {
        let vm = Nature::VNic(Some(OwnerKind::Vm));
        assert!(
            vm.matches(BackendKind::Vm)
                && vm.matches(BackendKind::VNicIp)
                && !vm.matches(BackendKind::Bm)
        );
        assert!(Nature::Vmi.matches(BackendKind::Vm) && !Nature::Vmi.matches(BackendKind::VNicIp));
        assert!(
            Nature::VNic(None).matches(BackendKind::VNicIp)
                && !Nature::VNic(None).matches(BackendKind::Vm)
        );
        assert!(Nature::Pod.matches(BackendKind::Pod) && !Nature::Pod.matches(BackendKind::VNicIp));
        let nic_of_pod = Nature::VNic(Some(OwnerKind::Pod));
        assert!(nic_of_pod.matches(BackendKind::VNicIp) && !nic_of_pod.matches(BackendKind::Pod));
    }
}
