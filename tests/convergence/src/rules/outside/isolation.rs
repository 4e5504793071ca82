//! What keeps Vpcs apart: a Vpc reaches of others what its own services name there, and nothing else.

use std::net::SocketAddr;

use super::{Outcome, packet};
use crate::network::is_of_vpcs;
use crate::objects::Key;
use crate::rules::ports::split;
use crate::rules::{Case, Complaints, Rule};

pub(super) fn check(case: &Case<'_>, complaints: &mut Complaints) {
    for entry in case.content.ours("Load_Balancer") {
        let unit = entry.label("yusur.io/unit").unwrap_or_default();
        let Some((_, key)) = split(unit) else {
            continue;
        };
        let protocol = match entry.text("protocol") {
            "udp" => "udp",
            "sctp" => "sctp",
            _ => "tcp",
        };
        let routers = case
            .content
            .referrers("Logical_Router", "load_balancer", entry.uuid);
        let vpcs = routers.into_iter().filter_map(|router| case.vpc_at(router));
        let vpcs: Vec<&str> = vpcs.collect();
        for vip in entry.map("vips").into_keys() {
            let Ok(vip) = vip.parse::<SocketAddr>() else {
                continue;
            };
            for vpc in vpcs.iter().filter(|_| is_of_vpcs(vip.ip())) {
                callers(case, (&key, vpc), vip, protocol, complaints);
            }
        }
    }
}

/// Who can call an address that leads into a Vpc for a service.
fn callers(
    case: &Case<'_>,
    (key, target): (&Key, &str),
    vip: SocketAddr,
    protocol: &'static str,
    complaints: &mut Complaints,
) {
    let home = case
        .objects
        .services
        .get(key)
        .map(|(_, spec, _)| spec.vpc.as_str());
    for vpc in case.meaning.vpcs.keys() {
        if *vpc == target || home == Some(*vpc) || case.places.of_vpc(vpc).is_none() {
            continue;
        }
        for (switch, source) in case.clients(vpc, vip.is_ipv4()) {
            let ways = case
                .network
                .sent_by_workload(switch, packet(source, vip, protocol));
            let outcome = Outcome::of(case, ways);
            let through = matches!(outcome, Outcome::Reaches { .. } | Outcome::Refused { .. });
            complaints.unless(!through, Rule::Isolation, || {
                format!(
                    "Vpc {vpc} reaches {vip} of Vpc {target}, which is for {key:?}: {outcome:?}"
                )
            });
        }
    }
}
