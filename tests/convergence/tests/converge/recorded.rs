//! What was allocated is recorded before any row uses it: here every new row is looked at before it is sent.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use ovsdb_model::{Database, Operation, Row};
use yusur_convergence::{Key, Objects};

/// The addresses that a VPC has for services which reach into it: what records them is the row itself.
const OF_VPCS: [&str; 2] = ["100.96.0.0/11", "fd79:7573:7572:96::/64"];

/// No new row uses an address of a service or an Eip that nothing records.
///
/// # Errors
/// Which one does.
pub fn first(
    objects: &Objects,
    replica: &Database,
    operations: &[Operation],
) -> Result<(), String> {
    for operation in operations {
        let Operation::Insert { table, row, .. } = operation else {
            continue;
        };
        let unit = label(row);
        let Some((kind, key)) = split(unit) else {
            continue;
        };
        let uses = addresses(table, row);
        if uses.is_empty() {
            continue;
        }
        let known = match kind {
            "service" => of_service(objects, replica, &key),
            "eip" => of_eip(objects, replica, &key),
            _ => continue,
        };
        if let Some(stray) = uses.iter().find(|address| !known.contains(address)) {
            return Err(format!(
                "{unit} uses {stray} before anything records it: {known:?}"
            ));
        }
    }
    Ok(())
}

fn label(row: &Row) -> &str {
    row.map_str("external_ids", "yusur.io/unit")
        .unwrap_or_default()
}

fn split(unit: &str) -> Option<(&str, Key)> {
    let (kind, rest) = unit.split_once('/')?;
    let (namespace, name) = rest.split_once('/')?;
    Some((kind, (namespace.to_owned(), name.to_owned())))
}

/// The addresses that a row serves or owns.
fn addresses(table: &str, row: &Row) -> BTreeSet<IpAddr> {
    let mut addresses: BTreeSet<IpAddr> = match table {
        "Load_Balancer" => {
            let vips = row.get("vips").into_iter().flat_map(|vips| vips.pairs());
            let vips = vips.filter_map(|(vip, _)| vip.as_str()?.parse::<SocketAddr>().ok());
            vips.map(|vip| vip.ip()).collect()
        }
        "NAT" => {
            let text = row.get_str("external_ip").into_iter();
            text.filter_map(|text| text.parse().ok()).collect()
        }
        _ => BTreeSet::new(),
    };
    addresses.retain(|address| {
        let mut ranges = OF_VPCS
            .iter()
            .filter_map(|range| range.parse::<IpNet>().ok());
        !ranges.any(|range| range.contains(address))
    });
    addresses
}

/// Rows that are there are a record too, where there is no other.
fn of_rows(replica: &Database, unit: &str) -> BTreeSet<IpAddr> {
    let tables = ["Load_Balancer", "NAT"].into_iter();
    let rows = tables.flat_map(|table| replica.rows(table).map(move |(_, row)| (table, row)));
    let rows = rows.filter(|(_, row)| label(row) == unit);
    rows.flat_map(|(table, row)| addresses(table, &row))
        .collect()
}

fn read<'a>(texts: impl IntoIterator<Item = &'a String>) -> impl Iterator<Item = IpAddr> {
    texts.into_iter().filter_map(|text| text.parse().ok())
}

fn of_eip(objects: &Objects, replica: &Database, key: &Key) -> BTreeSet<IpAddr> {
    let mut known = of_rows(replica, &format!("eip/{}/{}", key.0, key.1));
    if let Some((_, spec, status)) = objects.eips.get(key) {
        known.extend(read(&spec.addresses));
        known.extend(read(status.iter().flat_map(|status| &status.addresses)));
    }
    known
}

fn of_service(objects: &Objects, replica: &Database, key: &Key) -> BTreeSet<IpAddr> {
    let mut known = of_rows(replica, &format!("service/{}/{}", key.0, key.1));
    if let Some((_, spec, status)) = objects.services.get(key) {
        known.extend(read(spec.cluster_ips.iter().chain(&spec.cluster_ip)));
        let recorded = status.iter();
        known.extend(read(
            recorded.flat_map(|status| status.cluster_ips.iter().chain(&status.eips)),
        ));
        if let Some(request) = &spec.eip {
            known.extend(read(&request.addresses));
            if let Some(eip) = &request.name {
                known.extend(of_eip(objects, replica, &(key.0.clone(), eip.clone())));
            }
        }
    }
    known
}
