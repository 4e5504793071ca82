//! One bucket of a VPC's DNS names. A VPC's services are spread over buckets by their names, so that a change of one
//! service touches one small row, whatever their number; buckets come into being as they are needed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{DesiredRow, Rows, vips};
use crate::inventory::{Inventory, Service};
use crate::name::{Name, ObjectName};
use crate::nb::{Dns, Map, Text};
use crate::unit::Unit;

pub(super) fn desired(unit: &Unit, vpc: &Name, bucket: u8, inventory: &Inventory) -> Rows {
    let mut records = Map::new();
    if inventory.vpc(vpc).is_some() {
        for (name, service) in inventory.bucket(vpc, bucket) {
            for (record, addresses) in names(name, service, inventory) {
                records.insert(record, addresses);
            }
        }
    }
    if records.is_empty() {
        return Vec::new();
    }
    let ids = inventory.ids();
    let dns = Dns {
        records,
        external_ids: ids.labels(unit),
    };
    let id = ids.names(vpc, bucket);
    DesiredRow::new(
        id,
        &dns,
        super::vpc::switches(vpc, "dns_records", inventory),
    )
    .into_iter()
    .collect()
}

/// The name of a service (Kubernetes DNS specification §2.3): OVN compares with the query in lower case.
pub(super) fn service_name(name: &ObjectName, zone: &str) -> String {
    format!("{}.{}.svc.{zone}", name.name, name.namespace).to_ascii_lowercase()
}

/// The names of a service and what they resolve to. A headless service's name resolves to its backends, and each backend
/// that is an object has a name below it.
pub(super) fn names(
    name: &ObjectName,
    service: &Service,
    inventory: &Inventory,
) -> Vec<(Text, Text)> {
    if !service.dns {
        return Vec::new();
    }
    let base = service_name(name, &inventory.config().zone);
    if !service.headless() {
        // A name leads where something answers: not before the address is on record, nor where there is no load balancer.
        let outcome = &service.outcome;
        if outcome.problem.is_some() || outcome.unrecorded || service.ports.is_empty() {
            return Vec::new();
        }
        let addresses: BTreeSet<IpAddr> =
            inventory.service_vips(name, service).into_iter().collect();
        return record(base, &addresses).into_iter().collect();
    }
    if inventory.vpc_for(&name.namespace, &service.vpc).is_err() {
        return Vec::new();
    }
    let mut all = BTreeSet::new();
    let mut members: Vec<(String, BTreeSet<IpAddr>)> = Vec::new();
    for endpoint in vips::endpoints(name, service, inventory).serving() {
        all.insert(endpoint.address);
        let Some(workload) = endpoint.workload else {
            continue;
        };
        // A Pod and a VNic of one name share it.
        match members
            .iter_mut()
            .find(|(member, _)| *member == *workload.name.name)
        {
            Some((_, addresses)) => {
                addresses.insert(endpoint.address);
            }
            None => members.push((workload.name.name.to_string(), [endpoint.address].into())),
        }
    }
    let own = members.iter().filter_map(|(member, addresses)| {
        record(
            format!("{}.{base}", member.replace('.', "-").to_ascii_lowercase()),
            addresses,
        )
    });
    own.chain(record(base.clone(), &all)).collect()
}

fn record(name: String, addresses: &BTreeSet<IpAddr>) -> Option<(Text, Text)> {
    if addresses.is_empty() {
        return None;
    }
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    Some((Text::from(name), Text::from(texts.join(" "))))
}
