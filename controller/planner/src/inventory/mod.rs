//! The inventory: a validated snapshot of all inputs, its indexes, and which units a change makes dirty.
//!
//! What a change costs depends on what changed: a Pod finds the services that select it by its labels, a service its
//! backends by theirs. Only changes of Vpcs, Subnets and namespaces, which everything in them rests on, walk that.

mod awaiting;
mod cluster;
mod contradiction;
mod crossing;
mod dirty;
mod disowned;
mod eip;
mod external;
mod gate;
mod gateway;
mod global;
mod holdings;
mod ipam;
mod join;
mod joining;
mod labels;
mod network_changes;
mod observe;
mod parse;
mod place_changes;
mod ports;
mod selection;
mod service;
mod service_changes;
mod serving;
mod settling;
mod sharing;
mod slots;
mod topology;
mod workload;
mod workload_changes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use ovsdb_model::{Database, Uuid};

use crate::input::{Change, Config};
use crate::name::{Name, ObjectName};
use crate::nb::Ids;
use crate::northd::Unacknowledged;
use crate::unit::{Kind, ObjectRef, Unit};

use awaiting::Waiting;
use crossing::Crossings;
use dirty::Dirty;
use disowned::Disowned;
use eip::Eip;
use external::{Askers, Share};
use ipam::Ipam;
use join::Joins;
use labels::Labels;
use topology::{NodeEntry, Space, Strangers};
use workload::{PortName, Workloads};

pub(crate) use crossing::BalancedOn;
pub(crate) use external::Leads;
pub(crate) use gateway::Gateway;
pub(crate) use global::OPTIONS;
pub(crate) use join::Join;
pub use observe::{Census, mass_deletion};
pub use parse::{Addresses, Problem};
pub(crate) use service::{Backends, Port, Service, Source, Target};
pub(crate) use service_changes::bucket;
pub(crate) use topology::{Subnet, Vpc};
pub(crate) use workload::{Readiness, Workload};

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
    ipam: Ipam,
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
    /// What ovn-northd has not acknowledged, and who waits for that.
    northd: Unacknowledged,
    waiting: Waiting,
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
            ipam: Ipam::default(),
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
            northd: Unacknowledged::default(),
            waiting: Waiting::default(),
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
        let units = self.dirty.take(max);
        self.look_at_eips_of(&units);
        units
    }

    /// Queues units again: their plan is not used, or the time has come to try once more.
    pub fn put_back<'a>(&mut self, units: impl IntoIterator<Item = &'a Unit>) {
        for unit in units {
            self.dirty.add(unit.clone());
        }
    }

    /// These addresses are recorded in the status of this service or Eip: if they are all that it holds, its rows may
    /// follow. (A record of what it had before says nothing of what it has now.)
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
}
