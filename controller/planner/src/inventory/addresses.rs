//! Who gets which Subnet and which addresses: settled in one go, in order of age, before units are handed out.
//!
//! First everything that is recorded or given is claimed, then the rest is allocated, so that no new object gets an
//! address which an older one has according to a record that is only read later.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use ovsdb_model::{Database, Row, Table};
use yusur_crds::IpFamilyPolicy;

use super::pool::{Handover, Seniority};
use super::service::{Outcome, Wants};
use super::topology::{Precision, Vpc};
use super::workload::{Nature, Workload};
use super::{Addresses, Inventory, Problem};
use crate::family::Family;
use crate::name::{Name, ObjectName};
use crate::nb::{self, LoadBalancer, LogicalSwitchPort};
use crate::unit::Unit;

/// Addresses that were allocated, or recorded as such, keep their holder whatever others ask for.
const ALLOCATED: u8 = 0;
const GIVEN: u8 = 1;

impl Inventory {
    /// Judges Vpcs and Subnets, then attaches workloads and finds addresses for all units that may need some.
    pub(super) fn settle(&mut self, database: &Database) {
        for vpc in std::mem::take(&mut self.to_assess) {
            self.assess(&vpc);
        }
        self.assess_gateways(database);
        self.settle_cluster_addresses(database);
        self.settle_eips(database);
        self.settle_joins(database);
        self.settle_inner_routers();
    }

    fn settle_cluster_addresses(&mut self, database: &Database) {
        // Handovers and freed addresses make more units pending; each round there are fewer.
        for _ in 0..8 {
            let units = std::mem::take(&mut self.pending);
            if units.is_empty() {
                return;
            }
            // Who has an address by the rows comes before who only says so, or asks for it.
            let (mut units, others): (Vec<Unit>, Vec<Unit>) = units
                .into_iter()
                .map(|(_, unit)| unit)
                .partition(|unit| self.has_record(unit, database));
            units.extend(others);
            let mut short = Vec::new();
            for unit in units {
                let missing = match &unit {
                    Unit::Service(name) => self.claim_service(name, database),
                    unit => self.claim_port(unit, database),
                };
                if !missing.is_empty() {
                    short.push((unit, missing));
                }
            }
            for (unit, missing) in short {
                match &unit {
                    Unit::Service(name) => self.allocate_service(name, &missing),
                    unit => self.allocate_port(unit, &missing),
                }
            }
        }
    }

    fn handed_over(&mut self, handover: Handover) {
        for unit in [handover.from, handover.to].into_iter().flatten() {
            match &unit {
                Unit::Service(name) => {
                    if let Some(service) = self.services.get(name)
                        && service.dns
                    {
                        let bucket = Unit::Dns(service.vpc.clone(), super::bucket(name));
                        self.dirty.add(bucket);
                    }
                    if let Some(service) = self.services.get(name) {
                        self.pending.insert((service.header.created, unit.clone()));
                    }
                    self.dirty.add(unit);
                }
                unit => {
                    if let Some((id, _)) = self.workloads.of_unit(unit) {
                        self.dirty_selectors(id);
                    }
                    self.dirty.add(unit.clone());
                }
            }
        }
    }

    // === Ports ===

    /// Which Subnet the Pods of a namespace go to.
    fn default_subnet(&mut self, namespace: &Name) -> Option<Name> {
        if let Some(known) = self.defaults.get(namespace) {
            return known.clone();
        }
        let space = self.spaces.get(namespace);
        let allowed = |vpc: &Name| {
            self.vpcs
                .get(vpc)
                .is_some_and(|vpc| vpc.allowed.allows(namespace, space, &self.labels).is_some())
        };
        let found: Option<(Precision, i64, &Name)> = self
            .subnets
            .iter()
            .filter(|(_, subnet)| !subnet.lost())
            .filter_map(|(name, subnet)| {
                let precision = subnet.default_for.allows(namespace, space, &self.labels)?;
                allowed(&subnet.vpc).then_some((precision, subnet.header.created, name))
            })
            .min();
        let found = found.map(|(_, _, name)| name.clone());
        self.defaults.insert(namespace.clone(), found.clone());
        found
    }

    /// The Subnet a workload is in: the one it asks for, or the one it has been put in, or its namespace's default.
    fn subnet_for(&mut self, workload: &Workload, database: &Database) -> Option<Name> {
        if let Some(asked) = &workload.asks {
            return self.subnets.contains_key(asked).then(|| asked.clone());
        }
        // It stays where it was put, whatever its namespace's default becomes: its interface is set up for that. Only where
        // it can be no more, because the range is another's or the VPC shuts it out, it is put anew; and where there
        // was no address for it.
        let namespace = &workload.name.namespace;
        let stays = |name: &Name| {
            let there = self.subnets.get(name).is_some_and(|subnet| !subnet.lost());
            there && !self.is_shut_out(namespace, name)
        };
        if workload.starved {
            return self.default_subnet(namespace);
        }
        if let Some(current) = workload.subnet.as_ref().filter(|current| stays(current)) {
            return Some(current.clone());
        }
        let recorded = self.port_row(workload, database).and_then(|row| {
            let name = row.map_str("external_ids", nb::SUBNET)?;
            let (name, _) = self.subnets.get_key_value(name)?;
            stays(name).then(|| name.clone())
        });
        recorded.or_else(|| self.default_subnet(&workload.name.namespace))
    }

    /// The row of a workload's port, if it was made for this very object.
    fn port_row(&self, workload: &Workload, database: &Database) -> Option<Arc<Row>> {
        let row = database.row(LogicalSwitchPort::NAME, self.ids.port(&workload.unit()?))?;
        let uid = row.map_str("external_ids", nb::UID).unwrap_or_default();
        let same = workload.header.uid == *uid;
        same.then_some(row)
    }

    /// Whether a Subnet's VPC is there and does not allow a namespace.
    fn is_shut_out(&self, namespace: &Name, subnet: &Name) -> bool {
        let subnet = self.subnets.get(subnet);
        let vpc = subnet.and_then(|subnet| self.vpcs.get(&subnet.vpc));
        vpc.is_some_and(|vpc| {
            let space = self.spaces.get(namespace);
            let allowed = vpc.allowed.allows(namespace, space, &self.labels);
            allowed.is_none()
        })
    }

    /// Whether the row of a port says that it has the addresses it would claim.
    fn has_record(&self, unit: &Unit, database: &Database) -> bool {
        let Some((_, workload)) = self.workloads.of_unit(unit) else {
            return false;
        };
        let Some(row) = self.port_row(workload, database) else {
            return false;
        };
        let addresses = row_addresses(&row);
        let given = workload.vnic.as_ref().map(|vnic| vnic.given);
        given.is_none_or(|given| {
            let mut given = given.iter();
            given.all(|address| addresses.get(Family::of(address)) == Some(address))
        })
    }

    /// A VirtualMachineInstance is where its launcher is; only its Subnet is to be found.
    pub(super) fn settle_vmi(&mut self, id: u32) {
        let Some(workload) = self.workloads.get(id) else {
            return;
        };
        let namespace = workload.name.namespace.clone();
        let subnet = match workload.asks.clone() {
            Some(asked) => self.subnets.contains_key(&asked).then_some(asked),
            None => self.default_subnet(&namespace),
        };
        self.attach(id, subnet);
        self.dirty_selectors(id);
    }

    pub(super) fn attach(&mut self, id: u32, subnet: Option<Name>) {
        let Some(workload) = self.workloads.get(id) else {
            return;
        };
        if workload.subnet == subnet {
            return;
        }
        self.dirty_selectors(id);
        self.release_addresses(id);
        self.release_mac(id);
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        let old = std::mem::replace(&mut workload.subnet, subnet.clone());
        if let Some(old) = old.and_then(|name| self.subnets.get_mut(&name)) {
            old.members.remove(&id);
        }
        if let Some(new) = subnet.and_then(|name| self.subnets.get_mut(&name)) {
            new.members.insert(id);
        }
        self.workload_changed(id);
    }

    /// Gives all addresses of a workload back.
    pub(super) fn release_addresses(&mut self, id: u32) {
        let claims = self
            .workloads
            .get(id)
            .map(|workload| workload.claims)
            .unwrap_or_default();
        for address in claims.iter() {
            self.release_address(id, address);
        }
    }

    fn release_address(&mut self, id: u32, address: IpAddr) {
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        workload.claims.clear(Family::of(address));
        let (Some(unit), Some(name)) = (workload.unit(), workload.subnet.clone()) else {
            return;
        };
        let Some(subnet) = self.subnets.get_mut(&name) else {
            return;
        };
        let handover = subnet.pool.release(address, &unit);
        self.handed_over(handover);
        self.mac_followed(&name, address);
        self.feed_starved_subnet(&name);
    }

    /// There may be an address for those that found none.
    pub(super) fn feed_starved_subnet(&mut self, name: &Name) {
        let Some(subnet) = self.subnets.get_mut(name) else {
            return;
        };
        for unit in std::mem::take(&mut subnet.starved) {
            if let Some((_, workload)) = self.workloads.of_unit(&unit) {
                self.pending.insert((workload.header.created, unit));
            }
        }
    }

    /// Attaches a port's workload to its Subnet and claims what is given or recorded. Returns the families still missing.
    fn claim_port(&mut self, unit: &Unit, database: &Database) -> Vec<Family> {
        let Some((id, workload)) = self.workloads.of_unit(unit) else {
            return Vec::new();
        };
        if !workload.wants_port() {
            self.attach(id, None);
            return Vec::new();
        }
        let workload = workload.clone();
        let subnet = self.subnet_for(&workload, database);
        self.attach(id, subnet.clone());
        let Some(name) = subnet else {
            return Vec::new();
        };
        if self.is_shut_out(&workload.name.namespace, &name) {
            // Another tenant's addresses are not for it, not even to wait for.
            self.release_addresses(id);
            self.release_mac(id);
            return Vec::new();
        }
        self.claim_mac(id);
        // One that cannot have what it asks for has no port: what it does not ask for it leaves to others.
        let misfit = self
            .subnets
            .get(&name)
            .is_some_and(|subnet| workload.misfit(subnet, &name).is_some());
        // What it had in another Subnet it was not given in this one.
        let row = self.port_row(&workload, database);
        let record: Addresses = row
            .as_ref()
            .filter(|row| row.map_str("external_ids", nb::SUBNET) == Some(&*name))
            .map(|row| row_addresses(row))
            .unwrap_or_default();
        let up = row.and_then(|row| row.get_bool("up")).unwrap_or(false);
        let Some(slot) = self.workloads.get_mut(id) else {
            return Vec::new();
        };
        slot.up = up;
        let mut missing = Vec::new();
        for family in Family::ALL {
            let current = self
                .workloads
                .get(id)
                .and_then(|workload| workload.claims.get(family));
            let Some(subnet) = self.subnets.get(&name) else {
                break;
            };
            let range = subnet.range(family);
            let given = workload
                .vnic
                .as_ref()
                .and_then(|vnic| vnic.given.get(family));
            let wanted = match (given, range) {
                // An adopted switch may leave its range unsaid: then what is given is taken.
                (Some(given), range) => {
                    let fits = range.map_or(subnet.cidrs.is_empty(), |net| usable(net, given));
                    (fits && !subnet.gateways.contains(&given)).then_some((given, GIVEN))
                }
                (None, None) => None,
                (None, Some(_)) if misfit => None,
                (None, Some(net)) => {
                    // What it has, else what its row says, else what its object says.
                    let known = [current, record.get(family), workload.reported.get(family)];
                    let mut known = known.into_iter().flatten().filter(|address| {
                        net.contains(address)
                            && !subnet.gateways.contains(address)
                            && subnet
                                .pool
                                .holder(*address)
                                .is_none_or(|holder| holder == unit)
                    });
                    match known.next() {
                        Some(address) => Some((address, ALLOCATED)),
                        None => {
                            missing.push(family);
                            None
                        }
                    }
                }
            };
            if let Some(current) = current
                && wanted.map(|(address, _)| address) != Some(current)
            {
                self.release_address(id, current);
            }
            if let Some((address, class)) = wanted
                && current != Some(address)
            {
                self.claim_address(id, unit, &name, address, class);
            }
        }
        let starved = self.workloads.get_mut(id);
        if let Some(workload) = starved
            && missing.is_empty()
        {
            workload.starved = false;
        }
        missing
    }

    fn claim_address(&mut self, id: u32, unit: &Unit, subnet: &Name, address: IpAddr, class: u8) {
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        workload.claims.set(address);
        let seniority = Seniority {
            class,
            created: workload.header.created,
        };
        let name = subnet;
        let Some(subnet) = self.subnets.get_mut(name) else {
            return;
        };
        let handover = subnet
            .pool
            .claim(address, unit, seniority, class == ALLOCATED);
        self.handed_over(handover);
        self.mac_followed(name, address);
        self.workload_changed(id);
    }

    fn allocate_port(&mut self, unit: &Unit, missing: &[Family]) {
        let Some((id, workload)) = self.workloads.of_unit(unit) else {
            return;
        };
        let seniority = Seniority {
            class: ALLOCATED,
            created: workload.header.created,
        };
        let Some(name) = workload.subnet.clone() else {
            return;
        };
        let Some(subnet) = self.subnets.get_mut(&name) else {
            return;
        };
        let mut starved = false;
        let mut got = Vec::new();
        for family in missing {
            match subnet.pool.allocate(*family, unit, seniority) {
                Some(address) => got.push(address),
                None => starved = true,
            }
        }
        if starved {
            subnet.starved.insert(unit.clone());
            let namespace = workload.name.namespace.clone();
            let (free, created) = (workload.asks.is_none(), workload.header.created);
            if free && self.default_subnet(&namespace).as_ref() != Some(&name) {
                self.pending.insert((created, unit.clone()));
            }
        }
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        let was = std::mem::replace(&mut workload.starved, starved);
        for address in &got {
            workload.claims.set(*address);
        }
        if !got.is_empty() || was != starved {
            self.workload_changed(id);
        }
        for address in got {
            self.mac_followed(&name, address);
        }
    }

    // === Services ===

    /// Gives all addresses of a service back.
    pub(super) fn release_vips(&mut self, name: &ObjectName) {
        let Some(service) = self.services.get_mut(name) else {
            return;
        };
        let claims = std::mem::take(&mut service.outcome.claims);
        let vpc = service.vpc.clone();
        for address in claims.iter() {
            self.release_vip(name, &vpc, address);
        }
    }

    fn release_vip(&mut self, name: &ObjectName, vpc: &Name, address: IpAddr) {
        let Some(vips) = self.vips.get_mut(vpc) else {
            return;
        };
        let handover = vips.pool.release(address, &Unit::Service(name.clone()));
        let starved = std::mem::take(&mut vips.starved);
        if vips.pool.is_unclaimed() && !self.vpcs.contains_key(vpc) {
            self.vips.remove(vpc);
        }
        self.handed_over(handover);
        for unit in starved {
            if let Unit::Service(name) = &unit
                && let Some(service) = self.services.get(name)
            {
                self.pending.insert((service.header.created, unit));
            }
        }
    }

    /// Which families a service is to have, and which addresses it was given.
    fn wishes(&self, name: &ObjectName) -> Result<(Vec<Family>, Addresses), Problem> {
        let Some(service) = self.services.get(name) else {
            return Ok(Default::default());
        };
        let vpc = self.vpc_for(&name.namespace, &service.vpc)?;
        let (given, asked, policy) = match &service.wants {
            Wants::Headless | Wants::Unreadable => return Ok(Default::default()),
            Wants::Balanced {
                given,
                families,
                policy,
            } => (*given, families, *policy),
        };
        let mut families: Vec<Family> = asked.to_vec();
        if families.is_empty() {
            let first = vpc.cidrs.first().map(|net| Family::of(net.addr()));
            families.extend(first);
        }
        if families.is_empty() {
            return Err(Problem::new(
                "NoServiceCIDR",
                format!(
                    "Vpc {} has no serviceCIDRs to take an address from; add a range to it, or make the service headless \
                     with clusterIP: None",
                    service.vpc
                ),
            ));
        }
        for other in Family::ALL {
            let there = vpc.range(other).is_some();
            match policy {
                IpFamilyPolicy::SingleStack => {}
                IpFamilyPolicy::PreferDualStack if !there => {
                    // One family is enough, as long as it is not an address that was asked for.
                    if families.len() > 1 && given.get(other).is_none() {
                        families.retain(|family| *family != other);
                    }
                }
                IpFamilyPolicy::PreferDualStack | IpFamilyPolicy::RequireDualStack => {
                    if !families.contains(&other) {
                        families.push(other);
                    }
                }
            }
        }
        for family in &families {
            let Some(range) = vpc.range(*family) else {
                return Err(Problem::new(
                    "NoServiceCIDR",
                    format!(
                        "Vpc {} has no {} range in serviceCIDRs; add one, or do not ask for {}",
                        service.vpc,
                        family.as_str(),
                        family.as_str()
                    ),
                ));
            };
            if let Some(address) = given.get(*family)
                && !range.contains(&address)
            {
                return Err(Problem::new(
                    "AddressOutOfRange",
                    format!(
                        "{address} is not in {range}, the serviceCIDR of Vpc {}; choose an address within it, or leave \
                         clusterIP out to have one allocated",
                        service.vpc
                    ),
                ));
            }
        }
        Ok((families, given))
    }

    /// The VPC, if it is there and the namespace may use it.
    pub(crate) fn vpc_for(&self, namespace: &Name, vpc: &Name) -> Result<&Vpc, Problem> {
        let Some(found) = self.vpcs.get(vpc) else {
            return Err(Problem::new(
                "VpcNotFound",
                format!("there is no Vpc {vpc}; create it, or correct spec.vpc"),
            ));
        };
        if found
            .allowed
            .allows(namespace, self.spaces.get(namespace), &self.labels)
            .is_none()
        {
            return Err(Problem::new(
                "NamespaceNotAllowed",
                format!(
                    "Vpc {vpc} does not allow namespace {namespace}; its allowedNamespaces must name or select it"
                ),
            ));
        }
        Ok(found)
    }

    /// Claims what a service was given or has on record. Returns the families it still needs an address of.
    fn claim_service(&mut self, name: &ObjectName, database: &Database) -> Vec<Family> {
        let Some(service) = self.services.get(name) else {
            return Vec::new();
        };
        let vpc = service.vpc.clone();
        let before = service.outcome.clone();
        let (wishes, problem) = match self.wishes(name) {
            Ok(wishes) => (wishes, None),
            Err(problem) => (Default::default(), Some(problem)),
        };
        let (families, given) = wishes;
        let unit = Unit::Service(name.clone());
        if let Some(vpc_entry) = self.vpcs.get(&vpc) {
            self.vips
                .entry(vpc.clone())
                .or_default()
                .fit(&vpc_entry.cidrs);
        }
        let recorded = self
            .services
            .get(name)
            .map(|service| service.recorded)
            .unwrap_or_default();
        let mut after = Outcome {
            families: families.clone().into(),
            problem: problem.map(Box::new),
            ..Outcome::default()
        };
        let mut row: Option<Addresses> = None;
        let mut missing = Vec::new();
        for family in &families {
            let range = self.vpcs.get(&vpc).and_then(|vpc| vpc.range(*family));
            if let Some(address) = given.get(*family) {
                after.claims.set(address);
                continue;
            }
            let free = |inventory: &Self, address: &IpAddr| {
                range.is_some_and(|net| net.contains(address))
                    && inventory.vips.get(&vpc).is_none_or(|v| {
                        v.pool.holder(*address).is_none_or(|holder| *holder == unit)
                    })
            };
            let mut known = [before.claims.get(*family), recorded.get(*family)]
                .into_iter()
                .flatten();
            // An address that was allocated and that an older service asks for by name is replaced.
            let mut found = known.find(|address| free(self, address));
            if found.is_none() {
                let on_row = row.get_or_insert_with(|| self.row_vips(&unit, database));
                found = on_row.get(*family).filter(|address| free(self, address));
            }
            match found {
                Some(address) => after.claims.set(address),
                None => missing.push(*family),
            }
        }
        // Also what was given until now becomes allocated, if the spec no longer names it.
        after.unrecorded = after.claims.iter().any(|address| {
            let family = Family::of(address);
            given.get(family).is_none()
                && recorded.get(family) != Some(address)
                && row
                    .get_or_insert_with(|| self.row_vips(&unit, database))
                    .get(family)
                    != Some(address)
        });
        for address in before
            .claims
            .iter()
            .filter(|address| !after.claims.iter().any(|other| other == *address))
        {
            self.release_vip(name, &vpc, address);
        }
        let created = self
            .services
            .get(name)
            .map_or(0, |service| service.header.created);
        for address in after.claims.iter() {
            let allocated = given.get(Family::of(address)).is_none();
            let seniority = Seniority { class: 0, created };
            let handover = self
                .vips
                .entry(vpc.clone())
                .or_default()
                .pool
                .claim(address, &unit, seniority, allocated);
            self.handed_over(handover);
        }
        if after != before {
            self.dirty.add(unit);
            self.dns_changed(name);
        }
        if let Some(service) = self.services.get_mut(name) {
            service.outcome = after;
        }
        missing
    }

    pub(super) fn dns_changed(&mut self, name: &ObjectName) {
        if let Some(service) = self.services.get(name)
            && service.dns
        {
            let bucket = Unit::Dns(service.vpc.clone(), super::bucket(name));
            self.dirty.add(bucket);
        }
    }

    fn allocate_service(&mut self, name: &ObjectName, missing: &[Family]) {
        let unit = Unit::Service(name.clone());
        let Some(service) = self.services.get(name) else {
            return;
        };
        let (vpc, seniority) = (
            service.vpc.clone(),
            Seniority {
                class: 0,
                created: service.header.created,
            },
        );
        let vips = self.vips.entry(vpc.clone()).or_default();
        let mut got = Vec::new();
        let mut problem = None;
        for family in missing {
            match vips.pool.allocate(*family, &unit, seniority) {
                Some(address) => got.push(address),
                None => {
                    let (taken, all) = vips.pool.usage(*family);
                    problem = Some(Problem::new(
                        "PoolExhausted",
                        format!(
                            "no {} address is free in the serviceCIDRs of Vpc {vpc} ({taken} of {all} taken); delete \
                             services that are not needed, or use a larger range",
                            family.as_str()
                        ),
                    ));
                    vips.starved.insert(unit.clone());
                }
            }
        }
        if let Some(service) = self.services.get_mut(name) {
            for address in got {
                service.outcome.claims.set(address);
                service.outcome.unrecorded = true;
            }
            service.outcome.problem = problem.map(Box::new);
        }
        self.dirty.add(unit);
        self.dns_changed(name);
    }

    /// The addresses that a service's rows have: a record, where its status has none.
    fn row_vips(&self, unit: &Unit, database: &Database) -> Addresses {
        let rows = ["tcp", "udp", "sctp"].map(|protocol| self.ids.load_balancer(unit, protocol));
        let rows = rows
            .iter()
            .filter_map(|row| nb::row_of::<LoadBalancer>(database, *row));
        rows.flat_map(|row| nb::vips(&row))
            .map(|vip| vip.ip())
            .collect()
    }
}

impl super::Vips {
    fn fit(&mut self, ranges: &[IpNet]) {
        if self.ranges != ranges {
            let wanted: Vec<(IpAddr, IpAddr)> =
                ranges.iter().map(|net| super::parse::hosts(*net)).collect();
            self.pool.set_ranges(&wanted, &[]);
            self.ranges = ranges.to_vec();
        }
    }
}

/// True if a host may have the address in this network.
fn usable(net: IpNet, address: IpAddr) -> bool {
    let (first, last) = super::parse::hosts(net);
    first <= address && address <= last
}

/// The addresses of a port's row: `MAC ADDRESS…`.
fn row_addresses(row: &Row) -> Addresses {
    let texts = row
        .get("addresses")
        .map(|datum| datum.elements())
        .unwrap_or_default();
    texts
        .iter()
        .filter_map(|atom| atom.as_str())
        .flat_map(|text| text.split(' ').skip(1))
        .filter_map(|t| t.parse().ok())
        .collect()
}

impl Workload {
    /// The given addresses that cannot be had in this Subnet, and why.
    pub(crate) fn misfit(&self, subnet: &super::topology::Subnet, name: &Name) -> Option<Problem> {
        if !matches!(self.nature, Nature::VNic(_)) {
            return None;
        }
        let given = self.vnic.as_ref()?.given;
        given.iter().find_map(|address| {
            if subnet.gateways.contains(&address) {
                return Some(Problem::new(
                    "AddressConflict",
                    format!("{address} is the gateway of Subnet {name}; choose another address"),
                ));
            }
            let fits = match subnet.range(Family::of(address)) {
                Some(net) => usable(net, address),
                None => subnet.cidrs.is_empty(),
            };
            (!fits).then(|| {
                let ranges: Vec<String> = subnet.cidrs.iter().map(ToString::to_string).collect();
                Problem::new(
                    "AddressOutOfRange",
                    format!(
                        "{address} is no host address of Subnet {name} ({}); choose one within it, or leave addresses out \
                         to have one allocated",
                        ranges.join(", ")
                    ),
                )
            })
        })
    }
}
