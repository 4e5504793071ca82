//! Vpcs and Subnets come, change and go: all in them rests on them.

use yusur_crds::{SubnetSpec, SubnetStatus, VpcSpec, VpcStatus};

use super::Inventory;
use super::ipam::Scope;
use super::topology::{Subnet, Vpc};
use super::workload::{Nature, Workload};
use crate::input::Object;
use crate::name::Name;
use crate::unit::Unit;

impl Inventory {
    pub(super) fn apply_vpc(&mut self, object: &Object<VpcSpec, VpcStatus>) {
        let name = self.intern(&object.meta.name);
        let mut vpc = Vpc::parse(&object.meta, &object.spec);
        vpc.keep_off(&self.config.ranges);
        let mut before = None;
        if let Some(old) = self.vpcs.get(&name) {
            if old.same(&vpc) {
                return;
            }
            if old.gateway != vpc.gateway {
                self.joins.unsure.insert(name.clone());
            }
            before = Some((old.adopts.clone(), old.header.created));
            vpc.problem = old.problem.clone();
            vpc.router = old.router;
        }
        let adopts = (vpc.adopts.clone(), vpc.header.created);
        self.vpcs.insert(name.clone(), vpc);
        if before.unwrap_or((None, adopts.1)) != adopts {
            self.adopters_changed(true);
        }
        self.dirty.add(Unit::Vpc(name.clone()));
        // Whatever differs, somebody in it may read it: Vpcs are few, and change rarely.
        self.vpc_changed(&name);
    }

    /// Something that all in the VPC rests on is different.
    pub(super) fn vpc_changed(&mut self, name: &Name) {
        self.to_assess.insert(name.clone());
        self.joins.to_settle.insert(name.clone());
        self.defaults.clear();
        let own = self.services_of.get(name).cloned().unwrap_or_default();
        for service in own.into_iter().chain(self.guests_of(name)) {
            self.service_unsettled(&service);
        }
        self.dirty.add(Unit::Calls(name.clone()));
        for subnet in self.subnets_of.get(name).cloned().unwrap_or_default() {
            self.dirty.add(Unit::Subnet(subnet.clone()));
            self.members_changed(&subnet);
        }
        self.unattached_changed();
        self.buckets_changed(name);
    }

    /// Workloads without a Subnet, or with one that has no address left, may have another now. VirtualMachineInstances have
    /// no row that says where they were put: they follow their namespace's default.
    pub(super) fn unattached_changed(&mut self) {
        let follows = |w: &Workload| w.asks.is_none() && (w.nature == Nature::Vmi || w.starved);
        let unattached: Vec<u32> = self
            .workloads
            .iter()
            .filter(|(_, w)| w.subnet.is_none() || follows(w))
            .map(|(id, _)| id)
            .collect();
        for id in unattached {
            self.workload_unsettled(id);
        }
    }

    pub(super) fn buckets_changed(&mut self, vpc: &Name) {
        for bucket in 0..=u8::MAX {
            if self.buckets.contains_key(&(vpc.clone(), bucket)) {
                self.dirty.add(Unit::Dns(vpc.clone(), bucket));
            }
        }
    }

    pub(super) fn apply_subnet(&mut self, object: &Object<SubnetSpec, SubnetStatus>) {
        let name = self.intern(&object.meta.name);
        let mut subnet = Subnet::parse(&object.meta, &object.spec);
        subnet.vpc = self.intern(&subnet.vpc.clone());
        let mut before = None;
        if let Some(old) = self.subnets.remove(&name) {
            if old.same(&subnet) {
                self.subnets.insert(name, old);
                return;
            }
            before = Some((old.adopts.clone(), old.header.created));
            subnet.problem = old.problem;
            subnet.switch = old.switch;
            subnet.members = old.members;
            if old.vpc != subnet.vpc {
                self.forget_subnet(&old.vpc, &name);
                self.buckets_changed(&subnet.vpc);
            }
            // Its router translates the addresses of its Subnets.
            self.dirty.add(Unit::Vpc(subnet.vpc.clone()));
        }
        let adopts = (subnet.adopts.clone(), subnet.header.created);
        self.ipam.fit(Scope::Subnet(name.clone()), subnet.room());
        self.subnets_of
            .entry(subnet.vpc.clone())
            .or_default()
            .insert(name.clone());
        self.to_assess.insert(subnet.vpc.clone());
        self.dirty.add(Unit::Subnet(name.clone()));
        self.subnets.insert(name.clone(), subnet);
        if before.unwrap_or((None, adopts.1)) != adopts {
            self.adopters_changed(false);
        }
        // Whatever differs, its ports may read it, and Pods that have none.
        self.members_changed(&name);
        self.defaults.clear();
        self.unattached_changed();
    }

    fn forget_subnet(&mut self, vpc: &Name, name: &Name) {
        if let Some(subnets) = self.subnets_of.get_mut(vpc) {
            subnets.remove(name);
            if subnets.is_empty() {
                self.subnets_of.remove(vpc);
            }
        }
        self.to_assess.insert(vpc.clone());
        // Its switch is no longer among those the group and the names are for.
        self.dirty.add(Unit::Vpc(vpc.clone()));
        self.buckets_changed(vpc);
    }

    pub(super) fn remove_subnet(&mut self, name: &Name) {
        let Some(subnet) = self.subnets.remove(name) else {
            return;
        };
        self.forget_subnet(&subnet.vpc, name);
        if subnet.adopts.is_some() {
            self.adopters_changed(false);
        }
        self.dirty.add(Unit::Subnet(name.clone()));
        self.defaults.clear();
        for id in subnet.members {
            self.outlive_subnet(id);
            self.workload_unsettled(id);
            self.workload_changed(id);
        }
        self.ipam.close(&Scope::Subnet(name.clone()));
        self.unattached_changed();
    }

    /// The ports of a Subnet, and the services they back, are to be looked at again.
    pub(super) fn members_changed(&mut self, subnet: &Name) {
        let members = self
            .subnets
            .get(subnet)
            .map(|subnet| subnet.members.clone())
            .unwrap_or_default();
        for id in members {
            self.workload_unsettled(id);
            self.workload_changed(id);
        }
    }
}
