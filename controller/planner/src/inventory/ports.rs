//! What ports ask for of Subnets: which Subnet they are in, and which addresses there.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use ovsdb_model::{Database, Row};

use super::ipam::mac::{self, Mac};
use super::ipam::{Evidence, Granted, Request, Scope, Want, records};
use super::settling::Asked;
use super::topology::{Precision, Subnet};
use super::workload::{Nature, Workload};
use super::{Addresses, Inventory, Problem};
use crate::family::Family;
use crate::name::Name;
use crate::nb;
use crate::unit::Unit;

impl Inventory {
    /// Which Subnet the Pods of a namespace go to.
    fn default_subnet(&mut self, namespace: &Name) -> Option<Name> {
        if let Some(known) = self.defaults.get(namespace) {
            return known.clone();
        }
        let found: Option<(Precision, i64, &Name)> = self
            .subnets
            .iter()
            .filter(|(_, subnet)| !subnet.lost())
            .filter_map(|(name, subnet)| {
                let precision = self.default_rank(subnet, namespace)?;
                Some((precision, subnet.header.created, name))
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
        let row = records::port(&workload.unit()?, database)?;
        let uid = row.map_str("external_ids", nb::UID).unwrap_or_default();
        let same = workload.header.uid == *uid;
        same.then_some(row)
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
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        let claims = std::mem::take(&mut workload.claims);
        if let (Some(unit), Some(name)) = (workload.unit(), workload.subnet.clone()) {
            self.ipam.leave(&Scope::Subnet(name), &unit, &claims);
            self.spread_news();
        }
    }

    /// The Subnet of a workload is gone. What the workload had is its again, should the Subnet come back: meanwhile its status
    /// goes on saying so.
    pub(super) fn outlive_subnet(&mut self, id: u32) {
        let Some(workload) = self.workloads.get(id) else {
            return;
        };
        let mut kept = self.held(workload);
        for ip in workload.reported.iter() {
            if kept.get(Family::of(ip)).is_none() {
                kept.set(ip);
            }
        }
        let (_, mac) = self.on_record(workload);
        let mac_recorded = mac.is_some();
        self.release_mac(id);
        self.release_addresses(id);
        if let Some(workload) = self.workloads.get_mut(id) {
            workload.reported = kept;
            workload.mac_recorded = mac_recorded;
            workload.subnet = None;
        }
    }

    /// A VNic does not ask for its MAC address any more, or not there.
    pub(super) fn release_mac(&mut self, id: u32) {
        let Some(workload) = self.workloads.get(id) else {
            return;
        };
        if let (Some(mac), Some(name), Some(unit)) =
            (workload.given_mac(), &workload.subnet, workload.unit())
        {
            self.ipam.release_mac(name, &unit, mac);
            self.spread_news();
        }
    }

    /// Attaches a port's workload to its Subnet. What it asks for there.
    pub(super) fn port_request(&mut self, unit: &Unit, database: &Database) -> Option<Asked> {
        let (id, workload) = self.workloads.of_unit(unit)?;
        if !workload.wants_port() {
            self.attach(id, None);
            return None;
        }
        let workload = workload.clone();
        let subnet = self.subnet_for(&workload, database);
        self.attach(id, subnet.clone());
        let name = subnet?;
        let workload = self.workloads.get(id)?;
        let subnet = self.subnets.get(&name)?;
        let problem = self.port_refusal(workload, &name, subnet);
        let wants = match &problem {
            Some(_) => workload.standing(),
            None => workload.wants(subnet),
        };
        let (mac, had) = (workload.given_mac(), workload.claims);
        let had_mac = mac.is_some_and(|mac| self.ipam.has_mac(&name, mac, unit));
        let mut request = Request {
            unit: unit.clone(),
            created: workload.header.created,
            scope: Scope::Subnet(name.clone()),
            wants,
            mac,
            may: problem.is_none(),
            had,
            records: Vec::new(),
            mac_record: None,
        };
        let row = records::port(unit, database);
        let uid = row
            .as_ref()
            .and_then(|row| row.map_str("external_ids", nb::UID));
        let own = uid.is_some_and(|uid| workload.header.uid == *uid);
        let up = own && row.as_ref().and_then(|row| row.get_bool("up")) == Some(true);
        // At a start nobody knows whether an object is the one whose row this is, or a namesake: its uid may be lost with
        // its status. What it had in another Subnet it was not given in this one.
        let row = row.filter(|row| (own || self.all_dirty) && records::subnet(row) == Some(&*name));
        let (on_row, rows) = row.map(|row| records::of_port(&row)).unwrap_or_default();
        request
            .records
            .extend(rows.iter().map(|ip| (*ip, Evidence::Row)));
        let reported = workload.reported.iter().filter(|ip| !rows.contains(ip));
        request
            .records
            .extend(reported.map(|ip| (ip, Evidence::Status)));
        request.mac_record = match mac {
            Some(_) if mac == on_row => Some(Evidence::Row),
            Some(_) if workload.mac_recorded => Some(Evidence::Status),
            _ => None,
        };
        if let Some(workload) = self.workloads.get_mut(id) {
            workload.up = up;
        }
        Some(Asked {
            request,
            families: Vec::new(),
            problem,
            had_mac,
        })
    }

    /// Takes in what became of it.
    pub(super) fn port_granted(&mut self, asked: Asked, granted: Granted) {
        let unit = &asked.request.unit;
        let Scope::Subnet(name) = &asked.request.scope else {
            return;
        };
        let Some((id, workload)) = self.workloads.of_unit(unit) else {
            return;
        };
        let starved = granted.lacks.contains(&true);
        let namespace = workload.name.namespace.clone();
        let (free, created) = (workload.asks.is_none(), workload.header.created);
        if starved && free && self.default_subnet(&namespace).as_ref() != Some(name) {
            self.pending.insert((created, unit.clone()));
        }
        let has_mac = asked
            .request
            .mac
            .is_some_and(|mac| self.ipam.has_mac(name, mac, unit));
        let Some(workload) = self.workloads.get_mut(id) else {
            return;
        };
        let before = (workload.claims, workload.starved, asked.had_mac);
        workload.claims = granted.claims;
        workload.starved = starved;
        if before != (granted.claims, starved, has_mac) {
            self.workload_changed(id);
        }
    }

    /// What a VNic has, or goes on having should its Subnet come back, and what it has of what it asks for as a MAC address.
    pub(crate) fn on_record<'a>(&self, workload: &'a Workload) -> (Addresses, Option<&'a str>) {
        let text = workload.vnic.as_ref().and_then(|vnic| vnic.mac.as_deref());
        let Some(name) = &workload.subnet else {
            return (workload.reported, text.filter(|_| workload.mac_recorded));
        };
        let has = || {
            let (mac, unit) = (workload.given_mac()?, workload.unit()?);
            Some(self.ipam.has_mac(name, mac, &unit))
        };
        (self.held(workload), text.filter(|_| has() == Some(true)))
    }

    /// Why a VNic cannot have the MAC address it asks for.
    pub(crate) fn mac_conflict(&self, workload: &Workload, subnet: &Subnet) -> Option<Problem> {
        let (mac, unit) = (workload.given_mac()?, workload.unit()?);
        let name = workload.subnet.as_ref()?;
        let text = workload.vnic.as_ref()?.mac.as_deref()?;
        let taken = |who: String| {
            Problem::new(
                "MACConflict",
                format!(
                    "{text} is taken, {who} has it; choose another macAddress, or leave it out"
                ),
            )
        };
        let of_router = mac::address_of(mac)
            .is_some_and(|address| subnet.gateways.contains(&IpAddr::V4(address)));
        if of_router {
            return Some(taken("the router of the Subnet".to_owned()));
        }
        // Another namespace's object stays unnamed.
        let ours = |other: &crate::name::ObjectName| other.namespace == workload.name.namespace;
        let pod = self.ipam.mac_of_pod(name, mac);
        match pod.or_else(|| self.ipam.mac_holder(name, mac))? {
            holder if *holder == unit => None,
            Unit::Pod(other) if ours(other) => Some(taken(format!("Pod {}", other.name))),
            Unit::VNic(other) if ours(other) => Some(taken(format!("VNic {}", other.name))),
            _ => Some(taken("another port of the Subnet".to_owned())),
        }
    }
}

/// True if a host may have the address in this network.
fn usable(net: IpNet, address: IpAddr) -> bool {
    let (first, last) = super::parse::hosts(net);
    first <= address && address <= last
}

impl Workload {
    /// The MAC address a VNic asks for.
    pub(super) fn given_mac(&self) -> Option<Mac> {
        mac::parse(self.vnic.as_ref()?.mac.as_deref()?)
    }

    fn given(&self) -> Addresses {
        let vnic = self.vnic.as_ref();
        vnic.map(|vnic| vnic.given).unwrap_or_default()
    }

    /// What it asks for in a Subnet that it may be in: an address of each family that the Subnet has.
    fn wants(&self, subnet: &Subnet) -> [Option<Want>; 2] {
        let given = self.given();
        Family::ALL.map(|family| match (given.get(family), subnet.range(family)) {
            // An adopted switch may leave its range unsaid: then what is given is taken.
            (Some(ip), _) => Some(Want::This(ip)),
            (None, Some(_)) => Some(Want::Any),
            (None, None) => None,
        })
    }

    /// What it goes on asking for while the Subnet refuses it.
    fn standing(&self) -> [Option<Want>; 2] {
        let given = self.given();
        Family::ALL.map(|family| Some(given.get(family).map_or(Want::Any, Want::This)))
    }

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
