//! EIP gateways: what their specs say, and which of them counts as the default.

use std::net::IpAddr;

use ipnet::IpNet;
use ovsdb_model::Database;
use yusur_crds::{EipGatewaySpec, EipGatewayStatus, ServiceGatewayPlacement};

use super::Inventory;
use super::ipam::Scope;
use super::ipam::pool::Room;
use super::parse::{self, Addresses, Problem};
use super::serving::Order;
use super::topology::{Header, Rule};
use crate::family::Family;
use crate::input::{Meta, Object};
use crate::name::Name;
use crate::unit::Unit;

/// An EIP gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) header: Header,
    pub(crate) cidrs: Vec<IpNet>,
    /// The router's own address in each of `cidrs`, in their order.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) next_hops: Addresses,
    excluded: Vec<(IpAddr, IpAddr)>,
    pub(crate) network: Name,
    pub(crate) vlan: Option<u16>,
    /// As the spec lists them.
    pub(crate) nodes: Vec<Name>,
    /// As they are to serve.
    pub(crate) order: Order,
    /// Where its service gateway is to be.
    pub(super) placement: ServiceGatewayPlacement,
    /// The node it is on, as far as anybody has seen.
    pub(crate) serving: Option<Name>,
    /// The node it was last seen on.
    pub(super) last: Option<Name>,
    pub(crate) default: bool,
    pub(crate) allowed: Rule,
    pub(crate) invalid: Option<Problem>,
    /// What is wrong, all in all. A gateway with a problem has no rows.
    pub(crate) problem: Option<Problem>,
}

impl Gateway {
    fn parse(meta: &Meta, spec: &EipGatewaySpec) -> Self {
        let mut invalid = None;
        let mut note = |problem: Problem| {
            invalid.get_or_insert(problem);
        };
        let cidrs = parse::networks("spec.cidrs", &spec.cidrs).unwrap_or_else(|problem| {
            note(problem);
            Vec::new()
        });
        if spec.cidrs.is_empty() {
            note(Problem::invalid(
                "spec.cidrs is empty; give the range of external addresses",
            ));
        }
        let within = |field: &str, texts: &[String]| -> Result<Addresses, Problem> {
            let addresses = parse::addresses(field, texts, parse::unicast)?;
            for address in addresses.iter() {
                parse::host(field, address, &cidrs)?;
            }
            Ok(addresses)
        };
        let next_hops = within("spec.nextHops", &spec.next_hops).unwrap_or_else(|problem| {
            note(problem);
            Addresses::default()
        });
        let given =
            within("spec.gatewayAddresses", &spec.gateway_addresses).unwrap_or_else(|problem| {
                note(problem);
                Addresses::default()
            });
        let mut addresses = Vec::with_capacity(cidrs.len());
        for net in &cidrs {
            let family = Family::of(net.addr());
            let next_hop = next_hops.get(family);
            if given.get(family).is_some() && given.get(family) == next_hop {
                note(Problem::invalid(
                    "an address is both in spec.nextHops and in spec.gatewayAddresses; the gateway needs one of its own",
                ));
            }
            let (first, last) = parse::hosts(*net);
            let first = if Some(first) == next_hop {
                parse::next(first).filter(|address| *address <= last)
            } else {
                Some(first)
            };
            match given.get(family).or(first) {
                Some(address) => addresses.push(address),
                None => note(Problem::invalid(format!(
                    "spec.cidrs: {net} has no room for the gateway's own address; use a larger range"
                ))),
            }
        }
        let mut excluded = Vec::new();
        for text in &spec.excluded_addresses {
            match parse::range("spec.excludedAddresses", text) {
                Ok(range) => excluded.push(range),
                Err(problem) => note(problem),
            }
        }
        let vlan = spec.vlan.and_then(|vlan| {
            let read = u16::try_from(vlan)
                .ok()
                .filter(|vlan| (1..4095).contains(vlan));
            if read.is_none() {
                note(Problem::invalid(format!(
                    "spec.vlan is {vlan}; give 1 to 4094, or leave it out for an untagged segment"
                )));
            }
            read
        });
        if spec.physical_network.is_empty() {
            note(Problem::invalid(
                "spec.physicalNetwork is empty; name the network of ovn-bridge-mappings",
            ));
        }
        let mut nodes: Vec<Name> = Vec::with_capacity(spec.nodes.len());
        for node in &spec.nodes {
            if nodes.iter().any(|other| **other == **node) {
                note(Problem::invalid(format!(
                    "spec.nodes lists {node} twice; remove one"
                )));
            } else {
                nodes.push(node.as_str().into());
            }
        }
        if nodes.is_empty() {
            note(Problem::invalid(
                "spec.nodes is empty; list the gateway nodes, the preferred one first",
            ));
        }
        let placement = spec
            .service_gateway
            .as_ref()
            .map(|it| it.placement)
            .unwrap_or_default();
        if placement == ServiceGatewayPlacement::Apart && nodes.len() == 1 {
            note(Problem::invalid(
                "spec.serviceGateway.placement is Apart, and spec.nodes has one node; give a second one, or leave the \
                 service gateway with the gateway",
            ));
        }
        let allowed = Rule::parse("spec.allowedNamespaces.selector", &spec.allowed_namespaces)
            .unwrap_or_else(|problem| {
                note(problem);
                Rule::default()
            });
        Self {
            header: Header::new(meta),
            cidrs,
            addresses,
            next_hops,
            excluded,
            network: spec.physical_network.as_str().into(),
            vlan,
            nodes,
            order: Order::default(),
            placement,
            serving: None,
            last: None,
            default: spec.default,
            allowed,
            invalid,
            problem: None,
        }
    }

    /// What external addresses there are.
    fn room(&self) -> Room {
        let hosts: Vec<(IpAddr, IpAddr)> =
            self.cidrs.iter().map(|net| parse::hosts(*net)).collect();
        let own = self.addresses.iter().copied().chain(self.next_hops.iter());
        Room {
            whole: hosts.clone(),
            own: own.collect(),
            wanted: hosts,
            excluded: self.excluded.clone(),
        }
    }

    /// True if somebody who has the address can keep it: it is not excluded for any other reason than by
    /// `excludedAddresses`, which keep out only who is new.
    pub(super) fn fits(&self, address: IpAddr) -> bool {
        let hosts = self.range(Family::of(address)).map(parse::hosts);
        hosts.is_some_and(|(first, last)| (first..=last).contains(&address))
            && !self.addresses.contains(&address)
            && !self.next_hops.iter().any(|hop| hop == address)
    }

    /// The range of this family.
    pub(crate) fn range(&self, family: Family) -> Option<IpNet> {
        self.cidrs
            .iter()
            .copied()
            .find(|net| Family::of(net.addr()) == family)
    }

    /// Its own address of this family.
    pub(crate) fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses
            .iter()
            .copied()
            .find(|address| Family::of(*address) == family)
    }

    /// Why nobody may ask for this address of its range, if so.
    pub(super) fn reserved(&self, address: IpAddr) -> Option<&'static str> {
        let (first, last) = parse::hosts(self.range(Family::of(address))?);
        if self.addresses.contains(&address) {
            Some("it is the gateway's own")
        } else if self.next_hops.iter().any(|hop| hop == address) {
            Some("it is the gateway's next hop")
        } else if !(first..=last).contains(&address) {
            Some("no host can have it")
        } else if self
            .excluded
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&address))
        {
            Some("the gateway's excludedAddresses keep it")
        } else {
            None
        }
    }

    /// Whether another state of the object says the same; of all fields, as [`super::Vpc::same`].
    fn same(&self, other: &Self) -> bool {
        let Self {
            header,
            cidrs,
            addresses,
            next_hops,
            excluded,
            network,
            vlan,
            nodes,
            order: _,
            placement,
            serving: _,
            last: _,
            default,
            allowed,
            invalid,
            problem: _,
        } = self;
        *header == other.header
            && *cidrs == other.cidrs
            && *addresses == other.addresses
            && *next_hops == other.next_hops
            && *excluded == other.excluded
            && *network == other.network
            && *vlan == other.vlan
            && *nodes == other.nodes
            && *placement == other.placement
            && *default == other.default
            && *allowed == other.allowed
            && *invalid == other.invalid
    }

    /// The spec's order of nodes, as the Northbound records it.
    pub(crate) fn nodes_text(&self) -> String {
        self.nodes.join(",")
    }
}

impl Inventory {
    pub(super) fn apply_gateway(&mut self, object: &Object<EipGatewaySpec, EipGatewayStatus>) {
        let name = self.intern(&object.meta.name);
        let mut new = Gateway::parse(&object.meta, &object.spec);
        for node in &mut new.nodes {
            *node = self.intern(&node.clone());
        }
        let mut ranges_differ = true;
        if let Some(old) = self.gateways.remove(&name) {
            if old.same(&new) {
                self.gateways.insert(name, old);
                return;
            }
            ranges_differ = old.cidrs != new.cidrs;
            if old.nodes == new.nodes {
                new.order = old.order;
            }
            new.serving = old.serving;
            // That nodes which were not asked before take a while to find their order is no failure.
            new.last = old.last.filter(|last| new.nodes.contains(last));
            new.problem = old.problem;
        } else {
            // What was seen last, until somebody looks again.
            let status = object.status.as_ref();
            let known = status.and_then(|status| status.active_node.as_deref());
            new.serving = known.map(|node| self.intern(node));
            new.last = new.serving.clone();
        }
        self.ipam.fit(Scope::Gateway(name.clone()), new.room());
        self.gateways.insert(name.clone(), new);
        if ranges_differ {
            // The Vpcs' routes to its inside router are by them.
            self.vpcs_of_gateway_changed(&name);
        }
        self.gateway_changed(&name);
    }

    pub(super) fn remove_gateway(&mut self, name: &Name) {
        if self.gateways.remove(name).is_some() {
            self.ipam.close(&Scope::Gateway(name.clone()));
            self.gateway_changed(name);
        }
    }

    /// Gateways are few and change rarely: all of them are judged again, and whoever uses this one is looked at.
    fn gateway_changed(&mut self, name: &Name) {
        self.gateways_differ = true;
        self.dirty.add(Unit::Global);
        self.users_of_gateway_changed(name);
        self.who_may_join_changed(name);
        // Behind the Vpcs: a group of chassis goes after the ports that are on it.
        self.dirty.add_gateway(name);
    }

    /// Whoever has joined a gateway, or asks to, is looked at.
    fn who_may_join_changed(&mut self, name: &Name) {
        let named = |(_, vpc): &(&Name, &super::Vpc)| vpc.gateway.as_ref() == Some(name);
        let named = self.vpcs.iter().filter(named).map(|(vpc, _)| vpc);
        let joined = self.joins.vpcs_of(name).chain(named).cloned();
        let vpcs: Vec<Name> = joined.chain(self.joins.wishing(name)).collect();
        self.joins.to_settle.extend(vpcs);
    }

    fn users_of_gateway_changed(&mut self, name: &Name) {
        let by_default = self.default_gateway.as_ref() == Some(name);
        if by_default {
            // Where any gateway will do, it is the default one, for namespaces that it allows.
            self.crossings_changed();
        }
        for asked in [Some(Some(name)), by_default.then_some(None)]
            .into_iter()
            .flatten()
        {
            self.askers_changed(asked);
            // Whoever uses an Eip says what is wrong with its gateway.
            for (_, unit) in self.askers.of(asked) {
                if let Unit::Eip(eip) = unit {
                    self.users_changed(&eip);
                }
            }
        }
    }

    /// Judges the gateways: which is the default, whose ranges overlap, in which order their nodes are to serve.
    pub(super) fn assess_gateways(&mut self, database: &Database) {
        if !std::mem::take(&mut self.gateways_differ) {
            return;
        }
        let mut names: Vec<Name> = self.gateways.keys().cloned().collect();
        names.sort_by_key(|name| {
            let created = self
                .gateways
                .get(name)
                .map(|gateway| gateway.header.created);
            (created, name.clone())
        });
        let default = names
            .iter()
            .find(|name| {
                self.gateways
                    .get(*name)
                    .is_some_and(|gateway| gateway.default)
            })
            .cloned();
        if self.default_gateway != default {
            self.default_gateway = default;
            self.askers_changed(None);
            self.crossings_changed();
        }
        for (at, name) in names.iter().enumerate() {
            let problem = self.judge_gateway(name, &names[..at]);
            let order = self.order_of(name, database);
            let serving = self.serving_node(name);
            let Some(gateway) = self.gateways.get_mut(name) else {
                continue;
            };
            if let Some(serving) = serving {
                gateway.last = serving.clone().or(gateway.last.take());
                if gateway.serving != serving {
                    gateway.serving = serving;
                    self.dirty.add_gateway(name);
                }
            }
            if gateway.problem != problem {
                gateway.problem = problem;
                self.who_may_join_changed(name);
                self.users_of_gateway_changed(name);
                self.dirty.add(Unit::Global);
                self.dirty.add_gateway(name);
            }
            if let Some(gateway) = self.gateways.get_mut(name)
                && gateway.order != order
            {
                gateway.order = order;
                self.dirty.add_gateway(name);
            }
        }
    }

    fn judge_gateway(&self, name: &Name, older: &[Name]) -> Option<Problem> {
        let gateway = self.gateways.get(name)?;
        // Without these there is nothing to build.
        let lacking = gateway.cidrs.is_empty()
            || gateway.addresses.len() < gateway.cidrs.len()
            || gateway.nodes.is_empty()
            || gateway.network.is_empty();
        if lacking {
            return gateway.invalid.clone();
        }
        for net in &gateway.cidrs {
            if let Some(own) = self.config.ranges.overlapped_by(*net) {
                return Some(Problem::new(
                    "ReservedRange",
                    format!(
                        "{net} overlaps {own}, which the system uses for itself; choose another range, or move the system's \
                         by the controller's flags"
                    ),
                ));
            }
            let same_segment = |other: &&Name| {
                self.gateways.get(*other).is_some_and(|other| {
                    other.problem.is_none()
                        && other.network == gateway.network
                        && other.vlan == gateway.vlan
                        && other.cidrs.iter().any(|range| parse::overlap(*range, *net))
                })
            };
            if let Some(other) = older.iter().find(same_segment) {
                return Some(Problem::new(
                    "CIDRConflict",
                    format!(
                        "{net} overlaps the range of the older EipGateway {other} on the same physical network; choose \
                         another range"
                    ),
                ));
            }
        }
        None
    }

    /// The EIP gateway of this name.
    pub(crate) fn gateway(&self, name: &Name) -> Option<&Gateway> {
        self.gateways.get(name)
    }

    /// True if there is a gateway that has rows.
    pub(crate) fn has_gateways(&self) -> bool {
        self.gateways
            .values()
            .any(|gateway| gateway.problem.is_none())
    }
}
