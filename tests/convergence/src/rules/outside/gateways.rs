//! EIP gateways: their routers, the nodes they are on and in which order, which Vpcs join them, and the way out through them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use ovsdb_model::Uuid;
use yusur_crds::{NamespacesFrom, ServiceGatewayPlacement, SourceAddress};

use super::{Outcome, Place, packet};
use crate::meaning::{Ask, Gateway};
use crate::network::{End, Segment};
use crate::rules::{Case, Complaints, Rule};

pub(super) fn check(case: &Case<'_>, complaints: &mut Complaints) {
    for (name, gateway) in &case.meaning.gateways {
        rows(case, name, gateway, complaints);
        if let Some(place) = case.places.gateways.get(*name) {
            chassis(case, name, gateway, place, complaints);
            service_gateway(case, name, place, complaints);
            guarded(case, name, gateway, place, complaints);
        }
    }
    for vpc in case.meaning.vpcs.keys() {
        joins(case, vpc, complaints);
        way_out(case, vpc, complaints);
    }
}

/// It has a router on its physical network, with its own addresses, and a switch that Vpcs can join.
fn rows(case: &Case<'_>, name: &str, gateway: &Gateway<'_>, complaints: &mut Complaints) {
    let unit = format!("eipgateway/{name}");
    let count = |table| case.content.of(table, &unit).len();
    let there = (count("Logical_Router"), count("Logical_Switch"));
    let wanted = match gateway.stands {
        true => [false, true].map(|sure| (1 + usize::from(has_inside(case, name, sure)), 2)),
        false => [(0, 0); 2],
    };
    complaints.unless(wanted.contains(&there), Rule::Gateway, || {
        format!("EipGateway {name} has {there:?} routers and switches instead of {wanted:?}")
    });
    let Some(place) = case.places.gateways.get(name) else {
        complaints.unless(!gateway.stands, Rule::Gateway, || {
            format!("EipGateway {name} has no router on a physical network")
        });
        return;
    };
    let segment: Segment = (
        gateway.spec.physical_network.clone(),
        gateway.spec.vlan.map(i64::from),
    );
    let there = case.network.segment(place.outside);
    complaints.unless(there == Some(&segment), Rule::Gateway, || {
        format!("EipGateway {name} is on {there:?} instead of {segment:?}")
    });
    for own in &gateway.own {
        let switches = case.network.on_segment(&segment).into_iter();
        let answer: Vec<Uuid> = switches
            .flat_map(|switch| case.network.answering(switch, *own))
            .collect();
        complaints.unless(answer == [place.router], Rule::Gateway, || {
            format!("{own} of EipGateway {name} is answered for by {answer:?}")
        });
    }
    // It tells the physical network where its addresses are, when it has moved.
    let announces = case
        .content
        .of("Logical_Switch_Port", &unit)
        .iter()
        .any(|entry| entry.map("options").get("nat-addresses") == Some(&"router"));
    complaints.unless(announces, Rule::Gateway, || {
        format!("EipGateway {name} does not announce its addresses")
    });
}

/// Whether a service that sees its clients, and has backends in several Vpcs, is reached by a gateway.
/// `sure`: for one that certainly has all addresses it asks for.
fn has_inside(case: &Case<'_>, name: &str, sure: bool) -> bool {
    let nets = &case.meaning.gateways[name].nets;
    let full = |ask: &Ask<'_>| {
        let held = |net: &IpNet| {
            let mut holds = ask.holds.iter();
            holds.any(|address| address.is_ipv4() == net.addr().is_ipv4())
        };
        ask.families.is_some() || nets.iter().all(held)
    };
    let mut services = case.objects.services.iter();
    services.any(|(key, (_, spec, _))| {
        let ask = case.meaning.ask_of(key);
        // Who is refused needs no router; its own Vpc comes first.
        let joined = case.places.of_vpc(&spec.vpc);
        crate::rules::services::crosses(spec)
            && spec.source_address == SourceAddress::Preserve
            && crate::rules::services::has_cluster_addresses(case, key)
            && joined.map_or(!sure, |joined| joined == name)
            && ask.is_some_and(|ask| {
                let has = ask.accepted && ask.complete();
                ask.gateway == Some(name) && has && (!sure || full(ask))
            })
    })
}

/// The chassis of a node.
fn chassis_of<'a>(case: &'a Case<'_>, node: &'a str) -> &'a str {
    let node_object = case.objects.nodes.get(node);
    let named = node_object.and_then(|node| node.chassis.as_deref());
    named.unwrap_or(node)
}

fn serves(case: &Case<'_>, node: &str) -> bool {
    let node = case.objects.nodes.get(node);
    node.is_none_or(|node| !node.unready && !node.kept_out)
}

/// The chassis of the gateway's nodes, and those that cannot serve behind those that can.
fn chassis(
    case: &Case<'_>,
    name: &str,
    gateway: &Gateway<'_>,
    place: &Place,
    complaints: &mut Complaints,
) {
    let unit = format!("eipgateway/{name}");
    let groups = case.content.of("HA_Chassis_Group", &unit);
    complaints.unless(groups.len() == 1, Rule::Chassis, || {
        format!("EipGateway {name} has {} groups of chassis", groups.len())
    });
    let Some(group) = groups.first() else { return };
    // By priority, the first that is to serve first.
    let members = group.uuids("ha_chassis");
    let rows = case.content.all("HA_Chassis").iter();
    let mut order: Vec<(i64, &str)> = rows
        .filter(|entry| members.contains(&entry.uuid))
        .map(|entry| {
            let priority = entry.row.get_integer("priority").unwrap_or_default();
            (-priority, entry.text("chassis_name"))
        })
        .collect();
    order.sort_unstable();
    let priorities: BTreeSet<i64> = order.iter().map(|(priority, _)| *priority).collect();
    complaints.unless(priorities.len() == order.len(), Rule::Chassis, || {
        format!("two chassis of EipGateway {name} have one priority: {order:?}")
    });
    let there: Vec<&str> = order.iter().map(|(_, chassis)| *chassis).collect();
    let nodes = &gateway.spec.nodes;
    let wanted: Vec<&str> = nodes.iter().map(|node| chassis_of(case, node)).collect();
    let alike = there.iter().collect::<BTreeSet<_>>() == wanted.iter().collect();
    complaints.unless(alike && there.len() == wanted.len(), Rule::Chassis, || {
        format!("EipGateway {name} is on {there:?} instead of {wanted:?}")
    });
    let able: Vec<bool> = there
        .iter()
        .map(|chassis| {
            let mut nodes = nodes.iter();
            let node = nodes.find(|node| chassis_of(case, node) == *chassis);
            node.is_some_and(|node| serves(case, node))
        })
        .collect();
    complaints.unless(able.is_sorted_by(|a, b| a >= b), Rule::Chassis, || {
        format!("EipGateway {name} prefers a node that does not serve: {there:?}")
    });
    complaints.unless(
        case.objects.order_disturbed || there == wanted,
        Rule::Chassis,
        || format!("EipGateway {name} prefers {there:?} although its nodes are {wanted:?}"),
    );
    // What has to be on one node is bound to this group.
    for entry in case.content.ours("Logical_Router_Port") {
        let bound = entry.uuids("ha_chassis_group");
        let on = |router: Uuid| {
            let rows = case.content.all("Logical_Router").iter();
            let mut rows = rows.filter(|row| row.uuid == router);
            rows.any(|row| row.uuids("ports").contains(&entry.uuid))
        };
        let vpcs = case.meaning.vpcs.keys();
        let of_vpc = vpcs.filter_map(|vpc| case.router(vpc)).any(on);
        let near = case.network.switch_of_port(entry.text("name"));
        let wanted = (near == Some(place.join) && of_vpc) || near == Some(place.outside);
        if wanted {
            complaints.unless(bound == [group.uuid].into(), Rule::Chassis, || {
                format!(
                    "port {:?} is not on the nodes of EipGateway {name}",
                    entry.text("name")
                )
            });
        }
    }
}

/// It is where its EIP gateway is, or apart from it, and has what it balances come from itself.
fn service_gateway(case: &Case<'_>, name: &str, place: &Place, complaints: &mut Complaints) {
    let rows = case
        .content
        .of("Logical_Router", &format!("servicegateway/{name}"));
    complaints.unless(rows.len() <= 1, Rule::Once, || {
        format!("EipGateway {name} has {} service gateways", rows.len())
    });
    let Some(entry) = rows.first() else { return };
    let spec = case.meaning.gateways[name].spec;
    let of_nodes: Vec<&str> = spec.nodes.iter().map(|it| chassis_of(case, it)).collect();
    let seen = case.objects.serving.iter();
    let seen = seen.filter_map(|serving| serving.get(name)).next();
    let seen = seen.filter(|chassis| of_nodes.contains(&chassis.as_str()));
    let pinned = entry
        .map("options")
        .get("chassis")
        .copied()
        .unwrap_or_default();
    let placement = spec.service_gateway.as_ref().map(|it| it.placement);
    let with = |chassis: &String| pinned == chassis;
    let fits = match placement.unwrap_or_default() {
        ServiceGatewayPlacement::WithGateway => seen.is_none_or(with),
        ServiceGatewayPlacement::Apart => {
            let able = |node: &&String| serves(case, node);
            let mut others = spec
                .nodes
                .iter()
                .filter(able)
                .map(|it| chassis_of(case, it));
            let on_able = others.clone().any(|chassis| chassis == pinned);
            let another = others.any(|chassis| seen.is_none_or(|seen| seen != chassis));
            // A node that has failed is not taken for well because nobody says that it is not.
            let alone = case.objects.order_disturbed || !another;
            match seen {
                Some(seen) if seen == pinned => alone,
                Some(_) => on_able,
                None => on_able || alone,
            }
        }
    };
    complaints.unless(
        fits && of_nodes.contains(&pinned),
        Rule::Chassis,
        || {
            format!(
                "the service gateway of {name} is on {pinned:?} and the gateway on {seen:?}: not {placement:?}"
            )
        },
    );
    let on_join = case.network.switches_of(entry.uuid);
    complaints.unless(on_join == [place.join].into(), Rule::Gateway, || {
        format!("the service gateway of {name} is on switches {on_join:?}")
    });
}

/// What is the system's own, or a tenant's, is out of reach from outside; nor can somebody outside pretend to be it.
fn guarded(
    case: &Case<'_>,
    name: &str,
    gateway: &Gateway<'_>,
    place: &Place,
    complaints: &mut Complaints,
) {
    let mut own: BTreeSet<IpAddr> = ["100.64.0.1", "100.64.0.2", "100.66.0.9", "100.67.0.9"]
        .iter()
        .chain(&["fd79:7573:7572:64::1", "fd79:7573:7572:66::9"])
        .filter_map(|text| text.parse().ok())
        .collect();
    let entries = case.content.ours("Load_Balancer").iter();
    let vips = entries.flat_map(|entry| entry.map("vips").into_keys().map(str::to_owned));
    let vips: BTreeSet<SocketAddr> = vips.filter_map(|vip| vip.parse().ok()).collect();
    own.extend(vips.iter().map(SocketAddr::ip).filter(|address| {
        // Addresses of its range are what the outside may reach.
        gateway
            .net(address.is_ipv4())
            .is_none_or(|net| !net.contains(address))
    }));
    for address in own {
        let Some(hop) = gateway
            .own
            .iter()
            .find(|own| own.is_ipv4() == address.is_ipv4())
        else {
            continue;
        };
        let ports: BTreeSet<u16> = vips
            .iter()
            .filter(|vip| vip.ip() == address)
            .map(SocketAddr::port)
            .chain([9])
            .collect();
        for port in ports {
            let to = SocketAddr::new(address, port);
            let packet = packet(super::client(true, address.is_ipv4()), to, "tcp");
            let ways = case.network.coming_in(place.outside, packet, Some(*hop));
            let inside = ways.iter().find(|way| {
                matches!(
                    way.end,
                    End::Chosen { .. } | End::Refused { .. } | End::Arrived { .. }
                )
            });
            complaints.unless(inside.is_none(), Rule::Isolation, || {
                format!("the outside reaches {to} by EipGateway {name}: {inside:?}")
            });
        }
    }
    for (pretended, ipv4) in [("100.64.0.2", true), ("fd79:7573:7572:64::2", false)] {
        let Ok(source) = pretended.parse::<IpAddr>() else {
            continue;
        };
        for vip in vips.iter().filter(|vip| vip.is_ipv4() == ipv4) {
            if !gateway.net(ipv4).is_some_and(|net| net.contains(&vip.ip())) {
                continue;
            }
            for protocol in ["tcp", "udp", "sctp"] {
                let packet = packet(source, *vip, protocol);
                let ways = case.network.coming_in(place.outside, packet, None);
                let outcome = Outcome::of(case, ways);
                let through = matches!(outcome, Outcome::Reaches { .. } | Outcome::Refused { .. });
                complaints.unless(!through, Rule::Isolation, || {
                    format!("somebody outside {name} can pretend to be {source}: {outcome:?}")
                });
            }
        }
    }
}

/// A Vpc joins one gateway: that of its spec, or one that a service of its own has an EIP of, or one that its services, or those
/// of others that have joined it themselves, reach between Vpcs by. Which of several it is was decided by who came first.
fn joins(case: &Case<'_>, vpc: &str, complaints: &mut Complaints) {
    let there = case.places.joined.get(vpc).cloned().unwrap_or_default();
    complaints.unless(there.len() < 2, Rule::Join, || {
        format!("Vpc {vpc} has joined {there:?}: answers leave by one gateway only")
    });
    let joined = there.first().map(String::as_str);
    let stands = |name: &str| case.meaning.gateways.get(name).is_some_and(|it| it.stands);
    if case.router(vpc).is_none() {
        return;
    }
    if let Some(said) = case.objects.vpcs[vpc].1.eip_gateway.as_deref() {
        let wanted = Some(said).filter(|name| stands(name));
        complaints.unless(joined == wanted, Rule::Join, || {
            format!("Vpc {vpc} has joined {joined:?} instead of {wanted:?}")
        });
        return;
    }
    // The gateways that services of the Vpc ask for, and those by which it is reached.
    let mut own: BTreeSet<&str> = BTreeSet::new();
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    let mut crossings: Vec<&str> = Vec::new();
    for (key, (_, spec, _)) in &case.objects.services {
        let crosses = crate::rules::services::crosses(spec);
        let elsewhere = crate::rules::services::elsewhere(spec).contains(vpc);
        let allowed = case.meaning.allows(&spec.vpc, &key.0) && case.meaning.allows(vpc, &key.0);
        let refused = !crate::rules::services::has_cluster_addresses(case, key);
        if !(spec.vpc == vpc || elsewhere) || !allowed || refused {
            continue;
        }
        if spec.cluster_ip.as_deref() == Some("None") {
            continue;
        }
        let home = case.places.of_vpc(&spec.vpc);
        match case.meaning.ask_of(key) {
            Some(ask) if ask.accepted && ask.complete() => {
                let Some(gateway) = ask.gateway else { continue };
                if spec.vpc != vpc {
                    // Its own Vpc comes first.
                    reached.extend(home.filter(|home| *home == gateway));
                } else if crate::rules::services::has_its_families(case, key) == Some(true) {
                    own.insert(gateway);
                } else {
                    reached.insert(gateway);
                }
            }
            _ if spec.eip.is_none() && crosses => {
                crossings.push(&spec.vpc);
                reached.extend(home);
            }
            _ => {}
        }
    }
    let known = joined.is_none_or(|joined| {
        let mut crossings = crossings.iter();
        // One that waits for its router has not joined what it is to join.
        let waits = crossings.any(|home| case.router(home).is_none());
        own.contains(joined) || reached.contains(joined) || waits
    });
    complaints.unless(known, Rule::Join, || {
        format!("Vpc {vpc} has joined {joined:?}, which nobody asks for")
    });
    complaints.unless(joined.is_some() || own.is_empty(), Rule::Join, || {
        format!("services of Vpc {vpc} have addresses of {own:?}, and it has joined none")
    });
    let default = case.meaning.gateways.iter();
    let mut default = default.filter(|(name, it)| {
        let open = it.spec.allowed_namespaces.from == NamespacesFrom::All;
        case.meaning.is_default(name) && it.stands && open
    });
    let lacking = joined.is_none() && default.next().is_some() && crossings.contains(&vpc);
    complaints.unless(!lacking, Rule::Join, || {
        format!("services reach from Vpc {vpc} into others, and it has joined no gateway")
    });
}

/// Workloads of a Vpc that has joined reach the outside, with the gateway's address.
fn way_out(case: &Case<'_>, vpc: &str, complaints: &mut Complaints) {
    let Some(name) = case.places.of_vpc(vpc) else {
        return;
    };
    let (gateway, place) = (&case.meaning.gateways[name], &case.places.gateways[name]);
    for net in &gateway.nets {
        let ipv4 = net.addr().is_ipv4();
        let own = gateway.own.iter().find(|own| own.is_ipv4() == ipv4);
        if case.leaves_by_itself(vpc, ipv4) {
            continue;
        }
        let Some(own) = own.copied() else { continue };
        for (switch, client) in case.clients(vpc, ipv4) {
            // A neighbour on the segment that nobody else can be; and where there is a next hop, anybody.
            let far = super::client(true, ipv4);
            let hop = gateway.spec.next_hops.iter();
            let mut hop = hop.filter_map(|hop| hop.parse::<IpAddr>().ok());
            let routed = hop.any(|hop| hop.is_ipv4() == ipv4);
            for to in [net.network()].into_iter().chain(routed.then_some(far)) {
                let packet = packet(client, SocketAddr::new(to, 9), "udp");
                let ways = case.network.sent_by_workload(switch, packet);
                let wanted = End::Outside {
                    switch: place.outside,
                    source: own,
                };
                let fine = ways.iter().all(|way| way.end == wanted);
                complaints.unless(fine, Rule::Join, || {
                    format!("{client} of Vpc {vpc} does not reach {to} outside: {ways:?}")
                });
            }
        }
    }
}
