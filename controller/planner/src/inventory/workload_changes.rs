//! Pods, VirtualMachineInstances and VNics come, change and go, and with them ports and backends.

use yusur_crds::{VNicSpec, VNicStatus};

use super::Inventory;
use super::topology::Members;
use super::workload::{Differences, Workload};
use crate::input::{Object, Pod, VirtualMachineInstance};

impl Inventory {
    pub(super) fn apply_pod(&mut self, pod: &Pod) {
        let namespace = self.intern(&pod.meta.namespace);
        let labels = self.labels.acquire(&pod.meta.labels);
        let name = pod.meta.named(&namespace);
        self.put_workload(Workload::from_pod(pod, labels, name));
    }

    pub(super) fn apply_vmi(&mut self, vmi: &VirtualMachineInstance) {
        let namespace = self.intern(&vmi.meta.namespace);
        let labels = self.labels.acquire(&vmi.meta.labels);
        let name = vmi.meta.named(&namespace);
        self.put_workload(Workload::from_vmi(vmi, labels, name));
    }

    pub(super) fn apply_vnic(&mut self, object: &Object<VNicSpec, VNicStatus>) {
        let namespace = self.intern(&object.meta.namespace);
        let labels = self.labels.acquire(&object.meta.labels);
        let name = object.meta.named(&namespace);
        self.put_workload(Workload::from_vnic(object, labels, name));
    }

    fn put_workload(&mut self, mut new: Workload) {
        new.asks = new.asks.map(|name| self.intern(&name));
        new.node = new.node.map(|name| self.intern(&name));
        new.ports = self.intern_ports(new.ports);
        let Some(id) = self.workloads.find(new.nature.kind(), &new.name) else {
            let id = self.workloads.insert(new);
            self.index_workload(id, true);
            self.workload_unsettled(id);
            self.workload_changed(id);
            return;
        };
        let Some(old) = self.workloads.get(id) else {
            return;
        };
        if old.header.uid != new.header.uid {
            // A namesake: the old one is gone, with its addresses.
            self.remove_workload(id);
            let id = self.workloads.insert(new);
            self.index_workload(id, true);
            self.workload_unsettled(id);
            self.workload_changed(id);
            return;
        }
        new.name = old.name.clone();
        new.subnet = old.subnet.clone();
        new.claims = old.claims;
        new.up = old.up;
        new.starved = old.starved;
        let Differences {
            port,
            place,
            serves,
        } = old.differences(&new);
        let relabelled = old.labels != new.labels;
        // It may stay in a Subnet that waits for something, but not for having asked once for that very one.
        let astray = old.asks.is_some()
            && new.asks.is_none()
            && old.subnet.as_ref().is_some_and(|name| {
                let subnet = self.subnets.get(name);
                subnet.is_some_and(|subnet| subnet.problem.is_some())
            });
        if old.given_mac() != new.given_mac() {
            self.release_mac(id);
        }
        if serves {
            // Those that selected it until now ...
            self.dirty_selectors(id);
        }
        if relabelled {
            self.index_workload(id, false);
        }
        let replaced = self
            .workloads
            .get_mut(id)
            .map(|slot| std::mem::replace(slot, new));
        if let Some(replaced) = replaced {
            self.labels.release(&replaced.labels);
        }
        if relabelled {
            self.index_workload(id, true);
        }
        if serves {
            // ... and those that do now.
            self.dirty_selectors(id);
        }
        if astray {
            self.attach(id, None);
        }
        if place {
            self.workload_unsettled(id);
        }
        if port && let Some(unit) = self.workloads.get(id).and_then(Workload::unit) {
            self.dirty.add(unit);
        }
    }

    pub(super) fn remove_workload(&mut self, id: u32) {
        self.workload_changed(id);
        self.release_addresses(id);
        self.release_mac(id);
        self.index_workload(id, false);
        let Some(workload) = self.workloads.remove(id) else {
            return;
        };
        if let Some(subnet) = workload
            .subnet
            .as_ref()
            .and_then(|name| self.subnets.get_mut(name))
        {
            subnet.members.remove(&id);
        }
        if let Some(unit) = workload.unit() {
            self.pending.remove(&(workload.header.created, unit));
        }
        self.labels.release(&workload.labels);
        self.drop_space(&workload.name.namespace);
    }

    fn index_workload(&mut self, id: u32, there: bool) {
        let Some(workload) = self.workloads.get(id) else {
            return;
        };
        let (namespace, labels) = (workload.name.namespace.clone(), workload.labels.clone());
        let space = self.space(&namespace);
        if there {
            space.workloads.insert(id);
            for label in labels.ids() {
                space
                    .by_label
                    .entry(*label)
                    .and_modify(|ids| ids.insert(id))
                    .or_insert(Members::Few(id, None));
            }
        } else {
            space.workloads.remove(&id);
            for label in labels.ids() {
                if space
                    .by_label
                    .get_mut(label)
                    .is_some_and(|ids| ids.remove(id))
                {
                    space.by_label.remove(label);
                }
            }
        }
    }

    /// A workload's port, and the services it backs, are to be looked at again.
    pub(super) fn workload_changed(&mut self, id: u32) {
        if let Some(unit) = self.workloads.get(id).and_then(Workload::unit) {
            self.dirty.add(unit);
        }
        self.dirty_selectors(id);
    }

    pub(super) fn workload_unsettled(&mut self, id: u32) {
        let Some(workload) = self.workloads.get(id) else {
            return;
        };
        match workload.unit() {
            Some(unit) => {
                self.pending.insert((workload.header.created, unit));
            }
            None => self.settle_vmi(id),
        }
    }

    /// The services whose selectors match the workload are dirty.
    pub(super) fn dirty_selectors(&mut self, id: u32) {
        if self.all_dirty {
            return;
        }
        for name in self.selecting(id) {
            self.service_changed(&name);
        }
    }
}
