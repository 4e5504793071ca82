//! The inventory: a validated snapshot of all inputs, its indexes, and which units a change makes dirty.
//!
//! What a change costs depends on what changed: a Pod finds the services that select it by its labels, a service its
//! backends by theirs. Only changes of Vpcs, Subnets and namespaces, which everything in them rests on, walk that.

mod addresses;
mod contradiction;
mod crossing;
mod dirty;
mod disowned;
mod eip;
mod external;
mod gateway;
mod global;
mod holdings;
mod join;
mod joining;
mod labels;
mod mac;
mod observe;
mod parse;
mod pool;
mod selection;
mod service;
mod serving;
mod sharing;
mod slots;
mod topology;
mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use ovsdb_model::{Database, Uuid};
use yusur_crds::{
    SubnetSpec, SubnetStatus, VNicSpec, VNicStatus, VpcSpec, VpcStatus, YusurServiceSpec,
    YusurServiceStatus,
};

use crate::input::{
    Change, Config, EXCLUDED_LABEL, Meta, Node, Object, Pod, VirtualMachineInstance,
};
use crate::name::{Name, ObjectName};
use crate::nb::Ids;
use crate::unit::{Kind, ObjectRef, Unit};

use crossing::Crossings;
use dirty::Dirty;
use disowned::Disowned;
use eip::Eip;
use external::{Askers, Share};
use join::Joins;
use labels::Labels;
use pool::Pool;
use topology::{Members, NodeEntry, Space, Strangers};
use workload::{Nature, PortName, Workloads};

pub(crate) use crossing::BalancedOn;
pub(crate) use external::Leads;
pub(crate) use gateway::Gateway;
pub(crate) use global::OPTIONS;
pub(crate) use join::Join;
pub use observe::{Census, mass_deletion};
pub use parse::{Addresses, Problem};
pub(crate) use service::{Backends, Port, Service, Source, Target};
pub(crate) use topology::{Subnet, Vpc};
pub(crate) use workload::{Readiness, Workload};

/// The addresses of one VPC's services.
#[derive(Debug, Default)]
struct Vips {
    pool: Pool,
    /// The ranges the pool was made for.
    ranges: Vec<ipnet::IpNet>,
    starved: BTreeSet<Unit>,
}

/// The planner's knowledge.
#[derive(Debug)]
pub struct Inventory {
    config: Config,
    ids: Ids,
    names: HashSet<Name>,
    names_limit: usize,
    port_lists: HashSet<Arc<[PortName]>>,
    port_lists_limit: usize,
    labels: Labels,
    spaces: HashMap<Name, Space>,
    vpcs: HashMap<Name, Vpc>,
    vips: HashMap<Name, Vips>,
    subnets: HashMap<Name, Subnet>,
    subnets_of: HashMap<Name, BTreeSet<Name>>,
    services: HashMap<ObjectName, Box<Service>>,
    services_of: HashMap<Name, BTreeSet<ObjectName>>,
    buckets: HashMap<(Name, u8), BTreeSet<ObjectName>>,
    workloads: Workloads,
    nodes: HashMap<Name, NodeEntry>,
    gateways: HashMap<Name, Gateway>,
    default_gateway: Option<Name>,
    /// The chassis that gateways are on, once somebody has looked.
    on_chassis: Option<BTreeMap<String, String>>,
    /// Gateways are to be judged again.
    gateways_differ: bool,
    eips: BTreeMap<ObjectName, Eip>,
    shares: HashMap<ObjectName, Share>,
    askers: Askers,
    joins: Joins,
    crossings: Crossings,
    global: Option<global::Global>,
    /// Routers and switches of others.
    routers: Strangers,
    switches: Strangers,
    /// Which Subnet Pods of a namespace go to, as far as it was asked.
    defaults: HashMap<Name, Option<Name>>,
    /// Vpcs to judge again, with their Subnets.
    to_assess: BTreeSet<Name>,
    /// Units that may need addresses, the oldest first.
    pending: BTreeSet<(i64, Unit)>,
    /// Eips and services that may need external addresses, the oldest first.
    pending_eips: BTreeSet<(i64, Unit)>,
    dirty: Dirty,
    loaded: bool,
    /// Every unit is queued, or will be by [`Inventory::load`]: whom else a change concerns need not be looked for.
    all_dirty: bool,
    swept: bool,
    /// Rows as they will be once what was planned is committed: seeing them become so is no news.
    expected: HashMap<Uuid, Option<u64>>,
    expected_members: HashSet<(Uuid, Uuid)>,
    /// Units that were planned against a replica that is ahead of what was observed.
    ahead: Vec<Unit>,
    disowned: Disowned,
}

impl Inventory {
    /// An empty inventory.
    pub fn new(config: Config) -> Self {
        Self {
            ids: Ids::new(config.owner.clone()),
            config,
            names: HashSet::new(),
            names_limit: 1024,
            port_lists: HashSet::new(),
            port_lists_limit: 1024,
            labels: Labels::default(),
            spaces: HashMap::new(),
            vpcs: HashMap::new(),
            vips: HashMap::new(),
            subnets: HashMap::new(),
            subnets_of: HashMap::new(),
            services: HashMap::new(),
            services_of: HashMap::new(),
            buckets: HashMap::new(),
            workloads: Workloads::default(),
            nodes: HashMap::new(),
            gateways: HashMap::new(),
            default_gateway: None,
            on_chassis: None,
            gateways_differ: false,
            eips: BTreeMap::new(),
            shares: HashMap::new(),
            askers: Askers::default(),
            joins: Joins::default(),
            crossings: Crossings::default(),
            global: None,
            routers: Strangers::default(),
            switches: Strangers::default(),
            defaults: HashMap::new(),
            to_assess: BTreeSet::new(),
            pending: BTreeSet::new(),
            pending_eips: BTreeSet::new(),
            dirty: Dirty::default(),
            loaded: false,
            all_dirty: true,
            swept: false,
            expected: HashMap::new(),
            expected_members: HashSet::new(),
            ahead: Vec::new(),
            disowned: Disowned::default(),
        }
    }

    /// How it was set up.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The ids and names of rows.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// How many units wait to be planned. Before [`Inventory::load`] none is handed out.
    pub fn dirty(&self) -> usize {
        self.dirty.len()
    }

    /// How many units there are at most: a measure of how much there is to do.
    pub(crate) fn known(&self) -> usize {
        self.vpcs.len()
            + self.subnets.len()
            + self.buckets.len()
            + self.services.len()
            + self.gateways.len()
            + self.eips.len()
            + self.workloads.iter().count()
    }

    /// How many services there are.
    pub fn services(&self) -> usize {
        self.services.len()
    }

    /// The names of all services.
    pub fn service_names(&self) -> impl Iterator<Item = &ObjectName> {
        self.services.keys()
    }

    /// Takes up to `max` units to plan, the longest-waiting first. Addresses are allocated here, so that the order in
    /// which objects arrived does not matter; `database` is where records of earlier allocations are found.
    pub fn take_dirty(&mut self, database: &Database, max: usize) -> Vec<Unit> {
        if !self.loaded {
            return Vec::new();
        }
        self.settle(database);
        self.all_dirty = false;
        self.dirty.take(max)
    }

    /// Queues units again: their plan is not used, or the time has come to try once more.
    pub fn put_back<'a>(&mut self, units: impl IntoIterator<Item = &'a Unit>) {
        for unit in units {
            self.dirty.add(unit.clone());
        }
    }

    /// These addresses are recorded in the status of this service or Eip: if they are all that it holds, its rows may
    /// follow. (A record of what it had before an older claim took that away says nothing of what it has now.)
    pub fn recorded(&mut self, unit: &Unit, addresses: &[IpAddr]) {
        if addresses.is_empty() {
            return;
        }
        self.external_recorded(unit, addresses);
        if let Unit::Service(name) = unit {
            self.vips_recorded(name, addresses);
        }
    }

    fn vips_recorded(&mut self, name: &ObjectName, addresses: &[IpAddr]) {
        let service = self.services.get(name);
        let Some(service) = service.filter(|service| service.outcome.unrecorded) else {
            return;
        };
        let held = self.service_vips(name, service);
        if held.iter().all(|address| addresses.contains(address))
            && let Some(service) = self.services.get_mut(name)
        {
            service.outcome.unrecorded = false;
            service.recorded = held.into_iter().collect();
            self.dirty.add(Unit::Service(name.clone()));
            self.dns_changed(name);
        }
    }

    /// Takes in that an object is as it is, or gone.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Vpc(object) => self.apply_vpc(&object),
            Change::Subnet(object) => self.apply_subnet(&object),
            Change::VNic(object) => self.apply_vnic(&object),
            Change::YusurService(object) => self.apply_service(&object),
            Change::Pod(pod) => self.apply_pod(&pod),
            Change::VirtualMachineInstance(vmi) => self.apply_vmi(&vmi),
            Change::Node(node) => self.apply_node(&node),
            Change::Namespace(meta) => self.apply_namespace(&meta),
            Change::EipGateway(object) => self.apply_gateway(&object),
            Change::Eip(object) => self.apply_eip(&object),
            // Nothing that is built yet depends on it.
            Change::NetworkProbe(_) => {}
            Change::Removed(object) => self.remove(&object),
        }
    }

    fn remove(&mut self, object: &ObjectRef) {
        let name = &object.name;
        match object.kind {
            Kind::Vpc => {
                if let Some(vpc) = self.vpcs.remove(&name.name) {
                    if vpc.adopts.is_some() {
                        self.adopters_changed(true);
                    }
                    self.dirty.add(Unit::Vpc(name.name.clone()));
                    self.vpc_changed(&name.name.clone());
                }
            }
            Kind::Subnet => self.remove_subnet(&name.name),
            Kind::Pod | Kind::VNic | Kind::VirtualMachineInstance => {
                if let Some(id) = self.workloads.find(object.kind, name) {
                    self.remove_workload(id);
                }
            }
            Kind::YusurService => self.remove_service(name),
            Kind::Namespace => {
                // What it is called it is called without an object too.
                if self.spaces.contains_key(&name.name) {
                    self.label_namespace(&name.name.clone(), BTreeMap::new());
                    self.drop_space(&name.name);
                }
            }
            Kind::Node => {
                if self.nodes.remove(&name.name).is_some() {
                    self.gateway_node_changed(&name.name);
                    self.node_changed(&name.name.clone());
                }
            }
            Kind::EipGateway => self.remove_gateway(&name.name),
            Kind::Eip => self.remove_eip(name),
            Kind::NetworkProbe => {}
        }
    }

    /// One shared copy of a name that many objects carry.
    fn intern(&mut self, text: &str) -> Name {
        if let Some(name) = self.names.get(text) {
            return name.clone();
        }
        if self.names.len() >= self.names_limit {
            // Names of namespaces, Subnets and nodes that are gone.
            self.names
                .retain(|name| Name::strong_count(name) != Some(1));
            self.names_limit = (self.names.len() * 2).max(1024);
        }
        let name: Name = text.into();
        self.names.insert(name.clone());
        name
    }

    /// One shared copy of the named ports that all Pods of a template have.
    fn intern_ports(&mut self, ports: Arc<[PortName]>) -> Arc<[PortName]> {
        if let Some(known) = self.port_lists.get(&ports) {
            return Arc::clone(known);
        }
        if self.port_lists.len() >= self.port_lists_limit {
            self.port_lists.retain(|ports| Arc::strong_count(ports) > 1);
            self.port_lists_limit = (self.port_lists.len() * 2).max(1024);
        }
        self.port_lists.insert(Arc::clone(&ports));
        ports
    }

    // === Vpcs and Subnets ===

    fn apply_vpc(&mut self, object: &Object<VpcSpec, VpcStatus>) {
        let name = self.intern(&object.meta.name);
        let mut vpc = Vpc::parse(&object.meta, &object.spec);
        vpc.keep_off(&self.config.ranges);
        let (adopts, created) = (vpc.adopts.clone(), vpc.header.created);
        let mut before = (None, created);
        let far = match self.vpcs.get(&name) {
            Some(old) => {
                before = (old.adopts.clone(), old.header.created);
                vpc.problem = old.problem.clone();
                vpc.router = old.router;
                if old.gateway != vpc.gateway {
                    self.joins.to_settle.insert(name.clone());
                }
                old.cidrs != vpc.cidrs || old.allowed != vpc.allowed
            }
            None => true,
        };
        self.vpcs.insert(name.clone(), vpc);
        if before != (adopts, created) {
            self.adopters_changed(true);
        }
        self.dirty.add(Unit::Vpc(name.clone()));
        if far {
            self.vpc_changed(&name);
        } else {
            self.to_assess.insert(name);
        }
    }

    /// Something that all in the VPC rests on is different.
    fn vpc_changed(&mut self, name: &Name) {
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
    fn unattached_changed(&mut self) {
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

    fn buckets_changed(&mut self, vpc: &Name) {
        for bucket in 0..=u8::MAX {
            if self.buckets.contains_key(&(vpc.clone(), bucket)) {
                self.dirty.add(Unit::Dns(vpc.clone(), bucket));
            }
        }
    }

    fn apply_subnet(&mut self, object: &Object<SubnetSpec, SubnetStatus>) {
        let name = self.intern(&object.meta.name);
        let mut subnet = Subnet::parse(&object.meta, &object.spec);
        subnet.vpc = self.intern(&subnet.vpc.clone());
        let (adopts, created) = (subnet.adopts.clone(), subnet.header.created);
        let mut before = (None, created);
        let mut defaults_differ = true;
        let mut pool_differs = false;
        if let Some(old) = self.subnets.remove(&name) {
            before = (old.adopts.clone(), old.header.created);
            defaults_differ = old.default_for != subnet.default_for;
            pool_differs = old.cidrs != subnet.cidrs
                || old.gateways != subnet.gateways
                || old.excluded != subnet.excluded;
            subnet.problem = old.problem;
            subnet.switch = old.switch;
            subnet.members = old.members;
            subnet.starved = old.starved;
            subnet.macs = old.macs;
            subnet.pool = old.pool;
            if old.vpc != subnet.vpc {
                self.forget_subnet(&old.vpc, &name);
                self.dirty.add(Unit::Vpc(subnet.vpc.clone()));
                self.buckets_changed(&subnet.vpc);
                pool_differs = true;
                defaults_differ = true;
            }
            if pool_differs {
                subnet.fit_pool();
                // Its router translates the addresses of its Subnets.
                self.dirty.add(Unit::Vpc(subnet.vpc.clone()));
            }
        }
        self.subnets_of
            .entry(subnet.vpc.clone())
            .or_default()
            .insert(name.clone());
        self.to_assess.insert(subnet.vpc.clone());
        self.dirty.add(Unit::Subnet(name.clone()));
        self.subnets.insert(name.clone(), subnet);
        if before != (adopts, created) {
            self.adopters_changed(false);
        }
        if pool_differs {
            self.members_changed(&name);
            self.feed_starved_subnet(&name);
        }
        if defaults_differ {
            self.defaults.clear();
            self.unattached_changed();
        }
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

    fn remove_subnet(&mut self, name: &Name) {
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
            if let Some(workload) = self.workloads.get_mut(id) {
                workload.subnet = None;
                workload.claims = Addresses::default();
            }
            self.workload_unsettled(id);
            self.workload_changed(id);
        }
        self.unattached_changed();
    }

    /// The ports of a Subnet, and the services they back, are to be looked at again.
    fn members_changed(&mut self, subnet: &Name) {
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

    // === Namespaces and nodes ===

    fn apply_namespace(&mut self, meta: &Meta) {
        let name = self.intern(&meta.name);
        self.label_namespace(&name, meta.labels.clone());
    }

    /// Every namespace has its name as a label, whatever its object says, and without one (a directory of manifests).
    fn label_namespace(&mut self, name: &Name, mut labels: BTreeMap<String, String>) {
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

    fn space(&mut self, name: &Name) -> &mut Space {
        if !self.spaces.contains_key(name) {
            self.label_namespace(name, BTreeMap::new());
        }
        self.spaces.entry(name.clone()).or_default()
    }

    fn apply_node(&mut self, node: &Node) {
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
    fn node_changed(&mut self, name: &Name) {
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

    // === Workloads ===

    fn apply_pod(&mut self, pod: &Pod) {
        let namespace = self.intern(&pod.meta.namespace);
        let labels = self.labels.acquire(&pod.meta.labels);
        let name = pod.meta.named(&namespace);
        self.put_workload(Workload::from_pod(pod, labels, name));
    }

    fn apply_vmi(&mut self, vmi: &VirtualMachineInstance) {
        let namespace = self.intern(&vmi.meta.namespace);
        let labels = self.labels.acquire(&vmi.meta.labels);
        let name = vmi.meta.named(&namespace);
        self.put_workload(Workload::from_vmi(vmi, labels, name));
    }

    fn apply_vnic(&mut self, object: &Object<VNicSpec, VNicStatus>) {
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
        // What its port is made of.
        let port = old.wants_port() != new.wants_port()
            || old.asks != new.asks
            || old.vnic != new.vnic
            || (new.vnic.is_some() && (old.node != new.node || old.header != new.header));
        // Where it is, and by which addresses it is known.
        let place = port || old.reported != new.reported || old.nature != new.nature;
        let serves = place
            || old.readiness != new.readiness
            || old.ports != new.ports
            || old.labels != new.labels;
        let relabelled = old.labels != new.labels;
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
        if place {
            self.workload_unsettled(id);
        }
        if port && let Some(unit) = self.workloads.get(id).and_then(Workload::unit) {
            self.dirty.add(unit);
        }
    }

    fn remove_workload(&mut self, id: u32) {
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
            if let Some(unit) = workload.unit() {
                subnet.starved.remove(&unit);
            }
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

    /// Forgets a namespace that holds nothing and has no labels but its own.
    fn drop_space(&mut self, name: &Name) {
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

    /// A workload's port, and the services it backs, are to be looked at again.
    fn workload_changed(&mut self, id: u32) {
        if let Some(unit) = self.workloads.get(id).and_then(Workload::unit) {
            self.dirty.add(unit);
        }
        self.dirty_selectors(id);
    }

    fn workload_unsettled(&mut self, id: u32) {
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
    fn dirty_selectors(&mut self, id: u32) {
        if self.all_dirty {
            return;
        }
        for name in self.selecting(id) {
            self.service_changed(&name);
        }
    }

    // === Services ===

    /// A service's backends may be others.
    fn service_changed(&mut self, name: &ObjectName) {
        if let Some(service) = self.services.get(name) {
            // The names of a headless service are its backends.
            if service.headless() && service.dns {
                let bucket = Unit::Dns(service.vpc.clone(), bucket(name));
                self.dirty.add(bucket);
            }
        }
        self.dirty.add(Unit::Service(name.clone()));
    }

    /// Everything about a service may be different, its addresses included.
    fn service_unsettled(&mut self, name: &ObjectName) {
        if let Some(service) = self.services.get(name) {
            let unit = Unit::Service(name.clone());
            if service.dns {
                self.dirty.add(Unit::Dns(service.vpc.clone(), bucket(name)));
            }
            if service.crosses() {
                self.dirty.add(Unit::Calls(service.vpc.clone()));
            }
            let created = service.header.created;
            self.pending.insert((created, unit.clone()));
            self.external_unsettled(&unit);
            self.dirty.add(unit);
        }
    }

    fn apply_service(&mut self, object: &Object<YusurServiceSpec, YusurServiceStatus>) {
        let namespace = self.intern(&object.meta.namespace);
        let name = object.meta.named(&namespace);
        let mut new = Service::parse(object);
        new.keep_off(&self.config.ranges);
        new.vpc = self.intern(&new.vpc.clone());
        if self
            .services
            .get(&name)
            .is_some_and(|old| old.header.uid != new.header.uid)
        {
            self.remove_service(&name);
        }
        let Some(old) = self.services.get_mut(&name) else {
            self.insert_service(name.clone(), new);
            self.external_arrived(&name);
            self.service_unsettled(&name);
            return;
        };
        old.recorded = new.recorded;
        let external = old.external_recorded(&new);
        let recorded = [new.recorded, external.unwrap_or_default()];
        let recorded: Vec<IpAddr> = recorded.iter().flat_map(Addresses::iter).collect();
        self.recorded(&Unit::Service(name.clone()), &recorded);
        let Some(old) = self.services.get(&name) else {
            return;
        };
        if old.same_spec(&new) {
            return;
        }
        let moved = old.vpc != new.vpc || old.header.created != new.header.created;
        let unsettled = moved
            || old.wants != new.wants
            || old.dns != new.dns
            || old.ports.is_empty() != new.ports.is_empty();
        let renamed = moved || old.dns != new.dns;
        let keeps = !moved && new.keep_external(old);
        let targets: Vec<Name> = old.targets().into_iter().cloned().collect();
        if !moved {
            new.outcome = old.outcome.clone();
        }
        self.external_leaves(&name, keeps);
        self.crossing_leaves(&name, true);
        if renamed {
            // Where its name was until now.
            self.dns_changed(&name);
        }
        if moved {
            self.release_vips(&name);
        }
        // Its key in the maps is shared with its units: keep the one that is there.
        let key = self
            .services
            .get_key_value(&name)
            .map_or(name, |(key, _)| key.clone());
        self.unindex_service(&key);
        self.insert_service(key.clone(), new);
        self.external_arrived(&key);
        self.drop_slots(&key, &targets);
        if unsettled {
            self.service_unsettled(&key);
        } else {
            self.service_changed(&key);
        }
    }

    fn remove_service(&mut self, name: &ObjectName) {
        let Some(service) = self.services.get(name) else {
            return;
        };
        let (dns, vpc, created) = (service.dns, service.vpc.clone(), service.header.created);
        let unit = Unit::Service(name.clone());
        self.release_vips(name);
        self.external_leaves(name, false);
        self.crossing_leaves(name, false);
        self.unindex_service(name);
        self.services.remove(name);
        self.pending.remove(&(created, unit.clone()));
        if let Some(vips) = self.vips.get_mut(&vpc) {
            vips.starved.remove(&unit);
        }
        if dns {
            self.dirty.add(Unit::Dns(vpc, bucket(name)));
        }
        self.dirty.add(unit);
        self.drop_space(&name.namespace);
    }
}

/// Which bucket of its VPC's DNS names a service is in: FNV-1a of its name, folded to a byte.
pub(crate) fn bucket(name: &ObjectName) -> u8 {
    let bytes = name
        .namespace
        .bytes()
        .chain([b'/'])
        .chain(name.name.bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let [a, b, c, d] = hash.to_be_bytes();
    a ^ b ^ c ^ d
}
