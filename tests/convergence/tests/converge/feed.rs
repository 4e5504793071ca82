//! The objects as the planner is told of them.

use yusur_convergence::{Meta, Objects};
use yusur_planner::{
    Change, Kind, Meta as Told, NamedPort, Node, Object, ObjectName, ObjectRef, Pod,
    VirtualMachineInstance,
};

/// The label that keeps a Node out of external load balancers.
const KEPT_OUT: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

fn meta(name: &ObjectName, meta: &Meta) -> Told {
    Told {
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        uid: meta.uid.clone(),
        generation: 1,
        created: meta.created,
        labels: meta.labels.clone(),
        deleting: meta.deleting,
    }
}

/// The object as it is: set, or removed.
pub fn change(objects: &Objects, object: &ObjectRef) -> Change {
    set(objects, object).unwrap_or_else(|| Change::Removed(object.clone()))
}

fn set(objects: &Objects, object: &ObjectRef) -> Option<Change> {
    let name = &object.name;
    let short = name.name.to_string();
    let key = (name.namespace.to_string(), short.clone());
    let told = |made: &Meta| meta(name, made);
    Some(match object.kind {
        Kind::Vpc => {
            let (made, spec) = objects.vpcs.get(&short)?;
            Change::Vpc(Object {
                meta: told(made),
                spec: spec.clone(),
                status: None,
            })
        }
        Kind::Subnet => {
            let (made, spec) = objects.subnets.get(&short)?;
            Change::Subnet(Object {
                meta: told(made),
                spec: spec.clone(),
                status: None,
            })
        }
        Kind::VNic => {
            let (made, spec, status) = objects.vnics.get(&key)?;
            Change::VNic(Object {
                meta: told(made),
                spec: spec.clone(),
                status: status.clone(),
            })
        }
        Kind::YusurService => {
            let (made, spec, status) = objects.services.get(&key)?;
            Change::YusurService(Object {
                meta: told(made),
                spec: spec.clone(),
                status: status.clone(),
            })
        }
        Kind::Pod => {
            let pod = objects.pods.get(&key)?;
            let port = |port: &yusur_crds::NamedPort| NamedPort {
                name: port.name.clone(),
                protocol: port.protocol.as_str().to_owned(),
                port: u16::try_from(port.port).unwrap_or_default(),
            };
            Change::Pod(Pod {
                meta: told(&pod.meta),
                subnet: pod.subnet.clone(),
                node: pod.node.clone(),
                host_network: pod.host_network,
                ended: pod.ended,
                ready: pod.ready,
                addresses: pod.addresses.clone(),
                ports: pod.ports.iter().map(port).collect(),
            })
        }
        Kind::VirtualMachineInstance => {
            let vmi = objects.vmis.get(&key)?;
            Change::VirtualMachineInstance(VirtualMachineInstance {
                meta: told(&vmi.meta),
                subnet: vmi.subnet.clone(),
                node: vmi.node.clone(),
                ready: vmi.ready,
                addresses: vmi.addresses.clone(),
            })
        }
        Kind::Namespace => Change::Namespace(Told {
            name: name.name.clone(),
            labels: objects.namespaces.get(&short)?.clone(),
            ..Told::default()
        }),
        Kind::Node => {
            let node = objects.nodes.get(&short)?;
            let label = node.kept_out.then(|| (KEPT_OUT.to_owned(), String::new()));
            Change::Node(Node {
                meta: Told {
                    name: name.name.clone(),
                    labels: label.into_iter().collect(),
                    ..Told::default()
                },
                ready: !node.unready,
                chassis: node.chassis.clone(),
                addresses: node.addresses.clone(),
            })
        }
        Kind::EipGateway => {
            let (made, spec, status) = objects.gateways.get(&short)?;
            Change::EipGateway(Object {
                meta: told(made),
                spec: spec.clone(),
                status: status.clone(),
            })
        }
        Kind::Eip => {
            let (made, spec, status) = objects.eips.get(&key)?;
            Change::Eip(Object {
                meta: told(made),
                spec: spec.clone(),
                status: status.clone(),
            })
        }
        Kind::NetworkProbe => {
            let (made, spec) = objects.probes.get(&key)?;
            Change::NetworkProbe(Object {
                meta: told(made),
                spec: spec.clone(),
                status: None,
            })
        }
    })
}

/// All objects there are.
pub fn all(objects: &Objects) -> Vec<ObjectRef> {
    let cluster = |kind: Kind, names: Vec<&String>| -> Vec<ObjectRef> {
        let names = names.into_iter().map(String::as_str);
        names
            .map(|name| ObjectRef {
                kind,
                name: ObjectName::cluster(name),
            })
            .collect()
    };
    let spaced = |kind: Kind, keys: Vec<&(String, String)>| -> Vec<ObjectRef> {
        keys.into_iter()
            .map(|(namespace, name)| ObjectRef {
                kind,
                name: ObjectName::new(namespace.as_str(), name.as_str()),
            })
            .collect()
    };
    [
        cluster(Kind::Namespace, objects.namespaces.keys().collect()),
        cluster(Kind::Node, objects.nodes.keys().collect()),
        cluster(Kind::Vpc, objects.vpcs.keys().collect()),
        cluster(Kind::Subnet, objects.subnets.keys().collect()),
        cluster(Kind::EipGateway, objects.gateways.keys().collect()),
        spaced(Kind::Eip, objects.eips.keys().collect()),
        spaced(Kind::Pod, objects.pods.keys().collect()),
        spaced(Kind::VNic, objects.vnics.keys().collect()),
        spaced(Kind::VirtualMachineInstance, objects.vmis.keys().collect()),
        spaced(Kind::YusurService, objects.services.keys().collect()),
        spaced(Kind::NetworkProbe, objects.probes.keys().collect()),
    ]
    .concat()
}

/// An object in few words.
pub fn describe(change: &Change) -> String {
    fn made<Spec: serde::Serialize, Status: serde::Serialize>(
        object: &Object<Spec, Status>,
    ) -> String {
        let meta = &object.meta;
        let text =
            |value: serde_json::Result<String>| value.unwrap_or_else(|error| error.to_string());
        format!(
            "{} created {} deleting {} {:?} spec {} status {}",
            meta.uid,
            meta.created,
            meta.deleting,
            meta.labels,
            text(serde_json::to_string(&object.spec)),
            text(serde_json::to_string(&object.status))
        )
    }
    match change {
        Change::Vpc(object) => made(object),
        Change::Subnet(object) => made(object),
        Change::VNic(object) => made(object),
        Change::YusurService(object) => made(object),
        Change::EipGateway(object) => made(object),
        Change::Eip(object) => made(object),
        Change::NetworkProbe(object) => made(object),
        Change::Removed(_) => "gone".into(),
        other => format!("{other:?}"),
    }
}
