//! What the outside can be like: EIP gateways, Eips, and services that ask for external addresses. Ranges are so small that
//! they run out, and the same for several gateways.

use yusur_crds::{
    EipGatewaySpec, EipRequest, EipSpec, IpFamily, NamespaceRule, ServiceGatewayPlacement,
    ServiceGatewaySpec, SourceAddress, YusurServiceSpec,
};

use super::{rule, texts};
use crate::dice::Dice;

pub(super) const GATEWAYS: &[&str] = &["g1", "g2"];

/// The gateway that a Vpc's spec names, if any.
pub(super) fn gateway_of_vpc(dice: &mut Dice<'_>) -> Option<String> {
    let named = dice.chance(3);
    named.then(|| dice.pick(GATEWAYS).to_owned())
}

pub(super) fn gateway(dice: &mut Dice<'_>, old: Option<&EipGatewaySpec>) -> EipGatewaySpec {
    let cidrs: &[&str] = dice.pick(&[
        &["192.0.2.0/29"][..],
        &["192.0.2.0/29", "2001:db8:e::/125"],
        &["203.0.113.0/28"],
        &["2001:db8:e::/64", "192.0.2.0/28"],
        &["100.64.1.0/24"],
        &["192.0.2.0/24"],
        &["192.0.2.1/29"],
        &["192.0.2.0/29"],
    ]);
    let new = dice.chance(4);
    // They cannot be changed through an API server; in a directory of manifests they can.
    let cidrs = match old {
        Some(old) if !new => old.cidrs.clone(),
        _ => texts(cidrs),
    };
    let nodes: &[&str] = dice.pick(&[
        &["n0", "n1"][..],
        &["n1", "n0"],
        &["n1", "n2", "n0"],
        &["n2"],
    ]);
    let nodes = match old {
        Some(old) if !dice.chance(4) => old.nodes.clone(),
        _ => texts(nodes),
    };
    let within = |address: &str, network: &str| {
        let there = cidrs.iter().any(|net| net.starts_with(network));
        there.then(|| address.to_owned())
    };
    EipGatewaySpec {
        gateway_addresses: if dice.chance(3) {
            within("192.0.2.2", "192.0.2.0/").into_iter().collect()
        } else {
            Vec::new()
        },
        next_hops: if dice.chance(8) {
            let hops = [
                within("192.0.2.1", "192.0.2.0/"),
                within("2001:db8:e::1", "2001:"),
            ];
            hops.into_iter().flatten().collect()
        } else {
            Vec::new()
        },
        excluded_addresses: if dice.chance(3) {
            texts(&["192.0.2.4-192.0.2.5"])
        } else {
            Vec::new()
        },
        physical_network: dice.pick(&["outside", "outside", "another"]).to_owned(),
        vlan: dice.pick(&[None, None, Some(7)]),
        nodes,
        default: !dice.chance(6),
        service_gateway: match dice.below(16) {
            13.. => Some(ServiceGatewayPlacement::Apart),
            12 => Some(ServiceGatewayPlacement::WithGateway),
            _ => None,
        }
        .map(|placement| ServiceGatewaySpec { placement }),
        allowed_namespaces: if dice.chance(4) {
            rule(dice, true)
        } else {
            NamespaceRule::all()
        },
        cidrs,
    }
}

pub(super) fn eip(dice: &mut Dice<'_>, old: Option<&EipSpec>) -> EipSpec {
    let asked = EipSpec {
        gateway: dice.pick(&[None, Some("g1".to_owned()), Some("g2".to_owned())]),
        addresses: addresses(dice),
        ip_families: families(dice),
    };
    match old {
        Some(old) if !dice.chance(4) => old.clone(),
        _ => asked,
    }
}

fn addresses(dice: &mut Dice<'_>) -> Vec<String> {
    texts(dice.pick(&[
        &[][..],
        &["192.0.2.3"],
        &[],
        &["192.0.2.3", "2001:db8:e::3"],
        &["192.0.2.1"],
        &["192.0.2.4"],
        &["198.18.0.1"],
        &[],
    ]))
}

fn families(dice: &mut Dice<'_>) -> Vec<IpFamily> {
    match dice.below(8) {
        5 => vec![IpFamily::IPv6],
        6 | 7 => vec![IpFamily::IPv6, IpFamily::IPv4],
        _ => Vec::new(),
    }
}

/// Six of sixteen services are for the inside only.
pub(super) fn of_service(dice: &mut Dice<'_>, spec: &mut YusurServiceSpec) {
    let request = EipRequest::default();
    let shared = |name: &str| EipRequest {
        name: Some(name.to_owned()),
        ..EipRequest::default()
    };
    let of = |gateway: &str| EipRequest {
        gateway: Some(gateway.to_owned()),
        ..EipRequest::default()
    };
    let request = match dice.below(16) {
        6..=8 => shared("e0"),
        9 => shared("e1"),
        10 | 11 => request,
        12 => of("g1"),
        13 => EipRequest {
            ip_families: families(dice),
            ..of("g2")
        },
        14 => EipRequest {
            addresses: addresses(dice),
            ..request
        },
        15 => EipRequest {
            ip_families: families(dice),
            ..request
        },
        _ => return,
    };
    if spec.cluster_ip.as_deref() == Some("None") {
        return;
    }
    spec.eip = Some(request);
    if dice.chance(6) {
        spec.source_address = SourceAddress::Preserve;
    }
    if dice.chance(4) {
        spec.source_ranges = texts(&["198.51.100.0/24", "2001:db8:c::/48"]);
    }
}
