//! What rows of the Northbound say their units hold: the record of what was given out before, and of what is in use.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use ovsdb_model::{Atom, Database, Row, Table, Uuid};

use super::mac::{self, Mac};
use super::{Ghost, Scope};
use crate::name::Name;
use crate::nb::{
    self, LoadBalancer, LoadBalancerGroup, LogicalRouter, LogicalSwitchPort, Nat, StaticRoute,
};
use crate::unit::Unit;

fn rows(database: &Database, table: &'static str, unit: &Unit) -> Vec<(Uuid, Arc<Row>)> {
    let label: Atom = unit.to_string().into();
    database.find(table, nb::BY_UNIT, &label).collect()
}

/// The row of a Pod's or VNic's port.
pub(crate) fn port(unit: &Unit, database: &Database) -> Option<Arc<Row>> {
    rows(database, LogicalSwitchPort::NAME, unit)
        .into_iter()
        .next()
        .map(|(_, row)| row)
}

/// The Subnet that a port's row says it is in.
pub(crate) fn subnet(port: &Row) -> Option<&str> {
    port.map_str("external_ids", nb::SUBNET)
}

/// The addresses and the MAC address of a port's row: `MAC ADDRESS…`.
pub(crate) fn of_port(port: &Row) -> (Option<Mac>, Vec<IpAddr>) {
    let texts = port
        .get("addresses")
        .map(|datum| datum.elements())
        .unwrap_or_default();
    let texts = texts.iter().filter_map(|atom| atom.as_str());
    let words: Vec<&str> = texts.flat_map(|text| text.split(' ')).collect();
    let found = words.iter().find_map(|word| mac::parse(word));
    (
        found,
        words.iter().filter_map(|word| word.parse().ok()).collect(),
    )
}

/// The addresses that a service's load balancers answer for, cluster addresses and others.
pub(crate) fn vips(unit: &Unit, database: &Database) -> Vec<IpAddr> {
    let rows = rows(database, LoadBalancer::NAME, unit);
    let vips = rows.iter().flat_map(|(_, row)| nb::vips(row));
    let mut vips: Vec<IpAddr> = vips.map(|vip| vip.ip()).collect();
    vips.sort_unstable();
    vips.dedup();
    vips
}

/// The external addresses that a unit's rows own, or lead on.
pub(crate) fn external(unit: &Unit, database: &Database) -> Vec<IpAddr> {
    let owned = rows(database, Nat::NAME, unit);
    let owned = owned.iter().filter_map(|(_, row)| owner(row));
    let led = rows(database, StaticRoute::NAME, unit);
    let led = led.iter().filter_map(|(_, row)| way(row));
    let mut all: Vec<IpAddr> = owned.chain(led).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn owner(row: &Row) -> Option<IpAddr> {
    row.get_str("external_ip")?.parse().ok()
}

fn way(row: &Row) -> Option<IpAddr> {
    let text = row.get_str("ip_prefix")?;
    let net: Option<IpNet> = text.parse().ok();
    match net {
        Some(net) => (net.prefix_len() == net.max_prefix_len()).then_some(net.addr()),
        None => text.parse().ok(),
    }
}

/// All that the rows of a unit hold whose object is not there.
pub(crate) fn ghosts(owner: &str, unit: &Unit, database: &Database) -> Vec<Ghost> {
    match unit {
        Unit::Pod(_) | Unit::VNic(_) => of_ghost_port(unit, database),
        Unit::Service(_) => {
            let mut ghosts = of_ghost_balancers(owner, unit, database);
            ghosts.extend(of_ghost_owners(owner, unit, database));
            ghosts
        }
        Unit::Eip(_) => of_ghost_owners(owner, unit, database),
        _ => Vec::new(),
    }
}

fn of_ghost_port(unit: &Unit, database: &Database) -> Vec<Ghost> {
    let mut ghosts = Vec::new();
    for (_, row) in rows(database, LogicalSwitchPort::NAME, unit) {
        let Some(name) = subnet(&row).map(Name::from) else {
            continue;
        };
        let (found, addresses) = of_port(&row);
        let scope = Scope::Subnet(name.clone());
        let addresses = addresses.into_iter();
        ghosts.extend(addresses.map(|ip| Ghost::Address(scope.clone(), ip)));
        // A Pod's follows from its address.
        if let (Unit::VNic(_), Some(mac)) = (unit, found) {
            ghosts.push(Ghost::Mac(name, mac));
        }
    }
    ghosts
}

fn of_ghost_balancers(owner: &str, unit: &Unit, database: &Database) -> Vec<Ghost> {
    let mut ghosts = Vec::new();
    for (uuid, row) in rows(database, LoadBalancer::NAME, unit) {
        let balancer = uuid.into();
        let groups = database.find(LoadBalancerGroup::NAME, "load_balancer", &balancer);
        let vpcs = groups.filter_map(|(_, group)| {
            match nb::unit_of(owner, LoadBalancerGroup::NAME, &group)? {
                Unit::Vpc(vpc) => Some(vpc),
                _ => None,
            }
        });
        for vpc in vpcs {
            let scope = Scope::Vpc(vpc);
            let vips = nb::vips(&row).into_iter();
            ghosts.extend(vips.map(|vip| Ghost::Address(scope.clone(), vip.ip())));
        }
    }
    ghosts
}

fn of_ghost_owners(owner: &str, unit: &Unit, database: &Database) -> Vec<Ghost> {
    let nat = rows(database, Nat::NAME, unit);
    let nat = nat
        .iter()
        .filter_map(|(uuid, row)| Some(("nat", *uuid, self::owner(row)?)));
    let routes = rows(database, StaticRoute::NAME, unit);
    let routes = routes
        .iter()
        .filter_map(|(uuid, row)| Some(("static_routes", *uuid, way(row)?)));
    let mut ghosts = Vec::new();
    for (column, uuid, ip) in nat.chain(routes) {
        let member = uuid.into();
        let routers = database.find(LogicalRouter::NAME, column, &member);
        for (_, router) in routers {
            if let Some(Unit::EipGateway(gateway)) =
                nb::unit_of(owner, LogicalRouter::NAME, &router)
            {
                ghosts.push(Ghost::Address(Scope::Gateway(gateway), ip));
            }
        }
    }
    ghosts
}
