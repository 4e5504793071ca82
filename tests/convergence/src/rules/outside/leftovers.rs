//! What nobody asks for any more is gone: addresses that are answered for, routes, NAT, load balancers on routers, rules and
//! address sets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use ovsdb_model::Uuid;
use yusur_crds::SourceAddress;

use crate::network::is_of_vpcs;
use crate::objects::Key;
use crate::rows::Entry;
use crate::rules::ports::split;
use crate::rules::services::{crosses, may_balance, usable, word};
use crate::rules::{Case, Complaints, Rule};

pub(super) fn check(case: &Case<'_>, complaints: &mut Complaints) {
    for (name, place) in &case.places.gateways {
        let held = held(case, name);
        for address in case.network.answered(place.outside) {
            // What it sends from itself is its own.
            let own = case.meaning.gateways[name.as_str()].own.contains(&address);
            complaints.unless(own || held.contains(&address), Rule::Left, || {
                format!("EipGateway {name} answers for {address}, which nobody holds")
            });
        }
    }
    routes(case, complaints);
    translations(case, complaints);
    balancers(case, complaints);
    rules(case, complaints);
    sets(case, complaints);
}

/// The addresses held of a gateway.
fn held(case: &Case<'_>, gateway: &str) -> BTreeSet<IpAddr> {
    let asks = case.meaning.asks.iter();
    let asks = asks.filter(|ask| ask.gateway == Some(gateway) && ask.sound);
    asks.flat_map(|ask| ask.holds.iter().copied()).collect()
}

/// The rows of ours in a column of a router or switch.
fn members<'a>(case: &'a Case<'_>, parent: &Entry, column: &str, table: &str) -> Vec<&'a Entry> {
    let uuids = parent.uuids(column);
    let ours = case.content.ours(table).iter();
    ours.filter(|entry| uuids.contains(&entry.uuid)).collect()
}

/// Whose router it is.
enum Whose<'a> {
    Vpc(&'a str),
    Gateway(&'a str),
    ServiceGateway(&'a str),
    Inside(&'a str),
}

fn whose<'a>(case: &'a Case<'_>, router: Uuid) -> Option<Whose<'a>> {
    for (name, place) in &case.places.gateways {
        if place.router == router {
            return Some(Whose::Gateway(name));
        }
        if place.service_gateway == Some(router) {
            return Some(Whose::ServiceGateway(name));
        }
        if place.inside == Some(router) {
            return Some(Whose::Inside(name));
        }
    }
    let mut vpcs = case.meaning.vpcs.keys();
    vpcs.find(|vpc| case.router(vpc) == Some(router))
        .map(|vpc| Whose::Vpc(vpc))
}

fn routes(case: &Case<'_>, complaints: &mut Complaints) {
    for router in case.content.all("Logical_Router") {
        let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
        for entry in members(case, router, "static_routes", "Logical_Router_Static_Route") {
            let (to, hop) = (entry.text("ip_prefix"), entry.text("nexthop"));
            let fine = whose(case, router.uuid).is_some_and(|whose| route(case, &whose, to, hop));
            complaints.unless(fine, Rule::Left, || {
                format!(
                    "nobody asks for a route to {to} by {hop} on {:?}",
                    router.text("name")
                )
            });
            complaints.unless(seen.insert((to, hop)), Rule::Once, || {
                format!(
                    "the route to {to} by {hop} is twice on {:?}",
                    router.text("name")
                )
            });
        }
    }
}

/// Whether somebody asks for a route.
fn route(case: &Case<'_>, whose: &Whose<'_>, to: &str, hop: &str) -> bool {
    let Ok(net) = to.parse::<IpNet>() else {
        return false;
    };
    let ipv4 = net.addr().is_ipv4();
    let hop_address: Option<IpAddr> = hop.parse().ok();
    // A share of the per-VPC VIPs: of a Vpc that some service reaches into.
    let share = is_of_vpcs(net.addr());
    let of_vpc = |vpc: &str| {
        let reached = reached_into(case, vpc);
        share && reached
    };
    let (gateway, own_router) = match whose {
        Whose::Gateway(name) => (Some(*name), None),
        Whose::ServiceGateway(name) | Whose::Inside(name) => (Some(*name), None),
        Whose::Vpc(vpc) => (case.places.of_vpc(vpc), Some(*vpc)),
    };
    if let Some(vpc) = own_router {
        let said = case.objects.vpcs[vpc].1.static_routes.iter();
        let mut said = said.map(|route| (route.destination.as_str(), route.next_hop.as_str()));
        if said.any(|route| route == (to, hop)) {
            return true;
        }
    }
    let Some(gateway) = gateway else { return false };
    let place = &case.places.gateways[gateway];
    if net.prefix_len() == 0 {
        let wanted = match whose {
            Whose::Gateway(name) => {
                let hops = &case.meaning.gateways[*name].spec.next_hops;
                return hops.iter().any(|wanted| wanted == hop);
            }
            _ => case.network.address_on(place.router, place.join, ipv4),
        };
        return wanted.is_some() && wanted == hop_address;
    }
    // What is for the gateway's ranges goes to where requests part.
    if own_router.is_some() && case.meaning.gateways[gateway].nets.contains(&net) {
        let inside = place.inside;
        let wanted = inside.and_then(|inside| case.network.address_on(inside, place.join, ipv4));
        return wanted.is_some() && wanted == hop_address;
    }
    if share {
        return match (whose, hop_address) {
            (Whose::Vpc(vpc), None) => of_vpc(vpc),
            // All that others have, for a Vpc whose default route leads elsewhere.
            (Whose::Vpc(vpc), hop) => {
                let mut services = case.objects.services.values();
                case.leaves_by_itself(vpc, ipv4)
                    && services.any(|(_, spec, _)| spec.vpc == **vpc && crosses(spec))
                    && hop == case.network.address_on(place.router, place.join, ipv4)
            }
            (_, Some(hop)) => {
                let mut vpcs = case.meaning.vpcs.keys();
                vpcs.any(|vpc| {
                    case.places.of_vpc(vpc) == Some(gateway)
                        && case.join_address(vpc, ipv4) == Some(hop)
                        && of_vpc(vpc)
                })
            }
            _ => false,
        };
    }
    // An external address, to one that has it or to nobody; it ends on one router.
    net.prefix_len() == net.max_prefix_len() && held(case, gateway).contains(&net.addr())
}

/// Whether some service reaches into a Vpc by an address of the Vpc's share.
fn reached_into(case: &Case<'_>, vpc: &str) -> bool {
    let mut services = case.objects.services.iter();
    services.any(|(_, (_, spec, _))| may_balance(spec, vpc))
}

fn translations(case: &Case<'_>, complaints: &mut Complaints) {
    for router in case.content.all("Logical_Router") {
        let whose = whose(case, router.uuid);
        for entry in members(case, router, "nat", "NAT") {
            let (kind, external) = (entry.text("type"), entry.text("external_ip"));
            let address: Option<IpAddr> = external.parse().ok();
            let logical = entry.text("logical_ip");
            let fine = address.is_some_and(|address| match (&whose, kind) {
                (Some(Whose::Gateway(name)), "dnat_and_snat") => {
                    held(case, name).contains(&address) && logical == external
                }
                (Some(Whose::Gateway(name)), "snat") => {
                    case.meaning.gateways[*name].own.contains(&address)
                }
                (Some(Whose::Vpc(vpc)), "snat") => {
                    let subnets = case.meaning.subnets.values();
                    let mut nets = subnets
                        .filter(|subnet| subnet.vpc == *vpc && subnet.stands())
                        .flat_map(|subnet| &subnet.nets);
                    case.join_address(vpc, address.is_ipv4()) == Some(address)
                        && nets.any(|net| net.to_string() == logical)
                }
                _ => false,
            });
            complaints.unless(fine, Rule::Left, || {
                format!(
                    "nobody asks for {kind} of {logical} to {external} on {:?}",
                    router.text("name")
                )
            });
        }
    }
}

/// Load balancers on routers: for services that are reached so, on the addresses that lead there.
fn balancers(case: &Case<'_>, complaints: &mut Complaints) {
    let mut numbers: BTreeMap<IpAddr, &str> = BTreeMap::new();
    for entry in case.content.ours("Load_Balancer") {
        let routers = case
            .content
            .referrers("Logical_Router", "load_balancer", entry.uuid);
        let unit = entry.label("yusur.io/unit").unwrap_or_default();
        let Some((_, key)) = split(unit) else {
            continue;
        };
        let Some((_, spec, _)) = case.objects.services.get(&key) else {
            continue;
        };
        // One that preserves the client is on the gateway for the outside, on its service gateway for Vpcs.
        let mut places = case.places.gateways.values();
        let pair = spec.source_address == SourceAddress::Preserve
            && places.any(|place| {
                let pair = place.service_gateway.map(|other| [place.router, other]);
                pair.is_some_and(|pair| routers == pair.into())
            });
        complaints.unless(routers.len() < 2 || pair, Rule::Once, || {
            format!(
                "{:?} of {unit} is on routers {routers:?}",
                entry.text("name")
            )
        });
        let Some(router) = routers.first() else {
            continue;
        };
        let whose = whose(case, *router);
        for vip in entry.map("vips").into_keys() {
            let Ok(vip) = vip.parse::<SocketAddr>() else {
                complaints.say(Rule::Vip, format!("{unit} has the VIP {vip:?}"));
                continue;
            };
            let of_port = usable(spec).iter().any(|(protocol, number, _)| {
                word(*protocol) == entry.text("protocol") && *number == vip.port()
            });
            let asked = match &whose {
                Some(Whose::Vpc(vpc)) => in_share(case, vpc, vip.ip()) && may_balance(spec, vpc),
                Some(Whose::Gateway(name) | Whose::ServiceGateway(name)) => {
                    let ask = case.meaning.ask_of(&key);
                    ask.is_some_and(|ask| {
                        ask.gateway == Some(name) && ask.holds.contains(&vip.ip()) && crosses(spec)
                    })
                }
                Some(Whose::Inside(_)) | None => false,
            };
            complaints.unless(of_port && asked, Rule::Left, || {
                format!("nobody asks for {vip} of {unit} on router {router}")
            });
            if is_of_vpcs(vip.ip()) {
                let other = numbers.insert(vip.ip(), unit);
                complaints.unless(other.is_none_or(|other| other == unit), Rule::Once, || {
                    format!("{unit} and {other:?} both have {}", vip.ip())
                });
            }
        }
    }
}

/// Rules on switches: the gateway's, those that let Vpcs call each other, and those of services with `sourceRanges`.
fn rules(case: &Case<'_>, complaints: &mut Complaints) {
    for entry in case.content.ours("ACL") {
        let unit = entry.label("yusur.io/unit").unwrap_or_default();
        let there = case.content.referrers("Logical_Switch", "acls", entry.uuid);
        let ours = case
            .places
            .gateways
            .values()
            .any(|place| there.is_subset(&[place.join, place.outside].into()));
        complaints.unless(ours && !there.is_empty(), Rule::Left, || {
            format!("a rule of {unit} is on switches {there:?}")
        });
        let Some(("service", key)) = split(unit) else {
            continue;
        };
        let ask = case.meaning.ask_of(&key);
        let guards = case
            .objects
            .services
            .get(&key)
            .is_some_and(|(_, spec, _)| !spec.source_ranges.is_empty());
        let of_held = ask.is_some_and(|ask| {
            let mut held = ask.holds.iter();
            held.any(|address| entry.text("match").contains(&format!("== {address} ")))
        });
        complaints.unless(guards && of_held, Rule::Left, || {
            format!(
                "nobody asks for the rule {:?} of {unit}",
                entry.text("match")
            )
        });
    }
}

/// What Vpcs may call: addresses of the shares of Vpcs that their services reach into.
fn sets(case: &Case<'_>, complaints: &mut Complaints) {
    for entry in case.content.ours("Address_Set") {
        let unit = entry.label("yusur.io/unit").unwrap_or_default();
        let Some(vpc) = unit.strip_prefix("calls/") else {
            complaints.say(Rule::Left, format!("{unit} has an address set"));
            continue;
        };
        let own: Vec<&Key> = case
            .objects
            .services
            .iter()
            .filter(|(_, (_, spec, _))| spec.vpc == vpc && crosses(spec))
            .map(|(key, _)| key)
            .collect();
        let texts = entry.texts("addresses");
        let known = texts.iter().all(|text| {
            text.parse::<IpAddr>().is_ok_and(|address| {
                let mut owners = case.meaning.vpcs.keys().filter(|other| {
                    own.iter().any(|key| {
                        let spec = &case.objects.services[*key].1;
                        **other != vpc && may_balance(spec, other)
                    })
                });
                owners.any(|other| in_share(case, other, address))
            })
        });
        complaints.unless(known, Rule::Left, || {
            format!("Vpc {vpc} may call {texts:?}, which no service of its asks for")
        });
        for ipv4 in [true, false] {
            let many = texts
                .iter()
                .filter(|text| text.contains('.') == ipv4)
                .count();
            let most: usize = own
                .iter()
                .map(|key| {
                    let spec = &case.objects.services[*key].1;
                    let vpcs = case.meaning.vpcs.keys();
                    vpcs.filter(|other| **other != vpc && may_balance(spec, other))
                        .count()
                })
                .sum();
            complaints.unless(many <= most, Rule::Left, || {
                format!("Vpc {vpc} may call {texts:?}: {most} addresses are asked for")
            });
        }
    }
}

/// Whether an address is of a Vpc's share: the gateway's route leads it there.
fn in_share(case: &Case<'_>, vpc: &str, address: IpAddr) -> bool {
    let Some(place) = case
        .places
        .of_vpc(vpc)
        .and_then(|gateway| case.places.gateways.get(gateway))
    else {
        return false;
    };
    let hop = case.join_address(vpc, address.is_ipv4());
    let routers = case.content.all("Logical_Router").iter();
    let router = routers.filter(|entry| entry.uuid == place.router);
    let routes = router
        .flat_map(|router| members(case, router, "static_routes", "Logical_Router_Static_Route"));
    let mut routes =
        routes.filter(|entry| hop.is_some() && entry.text("nexthop").parse().ok() == hop);
    routes.any(|entry| {
        let net = entry.text("ip_prefix").parse::<IpNet>();
        net.is_ok_and(|net| net.contains(&address) && is_of_vpcs(net.addr()))
    })
}
