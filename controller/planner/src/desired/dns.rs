//! One bucket of a VPC's DNS names. A VPC's services are spread over buckets by their names, so that a change of one
//! service touches one small row, whatever their number; buckets come into being as they are needed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{DesiredRow, Rows, vips};
use crate::family::Family;
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

/// The most bytes of an answer. OVN answers over UDP alone, in one packet and without a word on what it leaves out; it is
/// lost if it is larger than the client's interface takes (Open vSwitch drops it), and beyond 64 KiB ovn-controller 23.03
/// sends what no switch understands. 1,232 pass every link that carries IPv6, and are what resolvers are ready for
/// (DNS flag day 2020).
const ANSWER: usize = 1_232;

/// How many addresses of a family a name's answer carries: OVN repeats the name before each.
fn carried(name: &str, family: Family) -> usize {
    // RFC 1035 §4.1: the name with a length before each label and a zero at its end; header and question; and for each
    // address type, class, time to live, length.
    let encoded = name.len() + 2;
    let question = 12 + encoded + 4;
    let address = match family {
        Family::V4 => 4,
        Family::V6 => 16,
    };
    (ANSWER.saturating_sub(question) / (encoded + 10 + address)).max(1)
}

/// Of the addresses of a name, how many there are and how many its answers carry.
pub(super) fn fit(name: &str, addresses: &BTreeSet<IpAddr>) -> (usize, usize) {
    let each = Family::ALL.map(|family| {
        let of_family = addresses
            .iter()
            .filter(|address| Family::of(**address) == family);
        of_family.count().min(carried(name, family))
    });
    (addresses.len(), each.into_iter().sum())
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
    // In their order: what is left out is the same each time.
    let texts = Family::ALL.into_iter().flat_map(|family| {
        let of_family = addresses
            .iter()
            .filter(move |address| Family::of(**address) == family);
        of_family.take(carried(&name, family))
    });
    let texts: Vec<String> = texts.map(ToString::to_string).collect();
    Some((Text::from(name), Text::from(texts.join(" "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_carries_what_fits_in_it() {
        let name = "web.shop.svc.cluster.local";
        // Header, question, and the name of 28 bytes before each address.
        assert_eq!(carried(name, Family::V4), 28);
        assert_eq!(carried(name, Family::V6), 22);
        assert_eq!(12 + 28 + 4 + 28 * (28 + 14), 1_220);
        let longest = "x".repeat(253);
        assert!(carried(&longest, Family::V6) >= 1);
        let addresses: BTreeSet<IpAddr> = (0..1_800_u32)
            .map(|n| std::net::Ipv4Addr::from(0x0a00_0000 + n).into())
            .collect();
        assert_eq!(fit(name, &addresses), (1_800, 28));
        let (_, text) = record(name.to_owned(), &addresses).expect("addresses");
        assert_eq!(text.split(' ').count(), 28);
        assert!(text.starts_with("10.0.0.0 10.0.0.1 ") && text.ends_with("10.0.0.27"));
    }
}
