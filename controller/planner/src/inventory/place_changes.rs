//! Namespaces and nodes come, change and go.

use std::collections::BTreeMap;

use super::Inventory;
use super::topology::{NodeEntry, Space};
use crate::input::{EXCLUDED_LABEL, Meta, Node};
use crate::name::{Name, ObjectName};
use crate::unit::Unit;

impl Inventory {
    pub(super) fn apply_namespace(&mut self, meta: &Meta) {
        let name = self.intern(&meta.name);
        self.label_namespace(&name, meta.labels.clone());
    }

    /// Every namespace has its name as a label, whatever its object says, and without one (a directory of manifests).
    pub(super) fn label_namespace(&mut self, name: &Name, mut labels: BTreeMap<String, String>) {
        labels.insert("kubernetes.io/metadata.name".into(), name.to_string());
        let labels = self.labels.acquire(&labels);
        let space = self.spaces.entry(name.clone()).or_default();
        if space.labels == labels {
            self.labels.release(&labels);
            return;
        }
        let old = std::mem::replace(&mut space.labels, labels);
        self.labels.release(&old);
        self.namespace_changed(name);
    }

    fn namespace_changed(&mut self, name: &Name) {
        self.defaults.remove(name);
        let Some(space) = self.spaces.get(name) else {
            return;
        };
        let (services, workloads) = (space.services.clone(), space.workloads.clone());
        for eip in space.eips.clone() {
            self.external_unsettled(&Unit::Eip(ObjectName {
                namespace: name.clone(),
                name: eip,
            }));
        }
        for service in services {
            self.service_unsettled(&ObjectName {
                namespace: name.clone(),
                name: service,
            });
        }
        for id in workloads {
            self.workload_unsettled(id);
            self.workload_changed(id);
        }
    }

    pub(super) fn space(&mut self, name: &Name) -> &mut Space {
        if !self.spaces.contains_key(name) {
            self.label_namespace(name, BTreeMap::new());
        }
        self.spaces.entry(name.clone()).or_default()
    }

    pub(super) fn apply_node(&mut self, node: &Node) {
        let name = self.intern(&node.meta.name);
        let entry = NodeEntry {
            chassis: node.chassis.as_deref().map(Name::from),
            serves: node.ready && !node.meta.labels.contains_key(EXCLUDED_LABEL),
        };
        if self.nodes.get(&name) != Some(&entry) {
            let rows = self
                .nodes
                .get(&name)
                .is_none_or(|old| old.chassis != entry.chassis);
            self.nodes.insert(name.clone(), entry);
            self.gateway_node_changed(&name);
            if rows {
                self.node_changed(&name);
            }
        }
    }

    /// The chassis of a node is another: VNics that ask for the node are bound to it. Nodes change rarely.
    pub(super) fn node_changed(&mut self, name: &Name) {
        let bound: Vec<Unit> = self
            .workloads
            .iter()
            .filter(|(_, workload)| workload.vnic.is_some() && workload.node.as_ref() == Some(name))
            .filter_map(|(_, workload)| workload.unit())
            .collect();
        for unit in bound {
            self.dirty.add(unit);
        }
    }

    /// The OVN chassis of a node.
    pub(crate) fn chassis<'a>(&'a self, node: &'a Name) -> &'a Name {
        self.nodes
            .get(node)
            .and_then(|entry| entry.chassis.as_ref())
            .unwrap_or(node)
    }

    /// Forgets a namespace that holds nothing and has no labels but its own.
    pub(super) fn drop_space(&mut self, name: &Name) {
        if let Some(space) = self.spaces.get(name)
            && space.workloads.is_empty()
            && space.services.is_empty()
            && space.eips.is_empty()
            && space.labels.ids().len() <= 1
            && let Some(space) = self.spaces.remove(name)
        {
            self.labels.release(&space.labels);
            self.defaults.remove(name);
        }
    }
}
