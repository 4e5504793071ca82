//! Routers, switches, routes and groups.

use std::collections::BTreeSet;

use ipnet::IpNet;
use ovsdb_model::Uuid;

use super::{Case, Complaints, Rule};
use crate::meaning::{Place, Router, Subnet};
use crate::network::{is_of_vpcs, is_on_join};
use crate::rows::Entry;

impl Case<'_> {
    /// The switch a Subnet's ports are on, if the Subnet stands.
    pub(super) fn switch(&self, name: &str) -> Option<Uuid> {
        match self.meaning.subnets.get(name)?.place {
            Place::Own => {
                let rows = self.content.of("Logical_Switch", &format!("subnet/{name}"));
                rows.first().map(|entry| entry.uuid)
            }
            Place::Adopted(uuid) => Some(uuid),
            Place::Overlapping | Place::Waiting => None,
        }
    }

    /// The router of a Vpc.
    pub(super) fn router(&self, name: &str) -> Option<Uuid> {
        match self.meaning.vpcs.get(name)?.router? {
            Router::Own => {
                let rows = self.content.of("Logical_Router", &format!("vpc/{name}"));
                rows.first().map(|entry| entry.uuid)
            }
            Router::Adopted(uuid) => Some(uuid),
        }
    }

    /// The switches of a Vpc's Subnets.
    pub(super) fn switches(&self, vpc: &str) -> BTreeSet<Uuid> {
        self.meaning
            .subnets
            .iter()
            .filter(|(_, subnet)| subnet.vpc == vpc && subnet.stands())
            .filter_map(|(name, _)| self.switch(name))
            .collect()
    }
}

pub(super) fn check(case: &Case<'_>, complaints: &mut Complaints) {
    for name in case.meaning.vpcs.keys() {
        router(case, name, complaints);
        routes(case, name, complaints);
        group(case, name, complaints);
    }
    for (name, subnet) in &case.meaning.subnets {
        switch(case, name, subnet, complaints);
    }
}

fn router(case: &Case<'_>, name: &str, complaints: &mut Complaints) {
    let own = case.meaning.vpcs[name].router == Some(Router::Own);
    let rows = case.content.of("Logical_Router", &format!("vpc/{name}"));
    complaints.unless(rows.len() == usize::from(own), Rule::Router, || {
        format!("Vpc {name} has {} routers of its own", rows.len())
    });
}

fn routes(case: &Case<'_>, name: &str, complaints: &mut Complaints) {
    let router = case.router(name);
    let spec = &case.objects.vpcs[name].1;
    let wanted: BTreeSet<(&str, &str)> = spec
        .static_routes
        .iter()
        .filter(|_| router.is_some())
        .map(|route| (route.destination.as_str(), route.next_hop.as_str()))
        .collect();
    // Those to and by a gateway's join are not the spec's.
    let mut rows = case
        .content
        .of("Logical_Router_Static_Route", &format!("vpc/{name}"));
    rows.retain(|entry| {
        let to = entry.text("ip_prefix").parse::<IpNet>();
        let hop = entry.text("nexthop").parse();
        !to.is_ok_and(|to| is_of_vpcs(to.addr())) && !hop.is_ok_and(is_on_join)
    });
    let there: BTreeSet<(&str, &str)> = rows
        .iter()
        .map(|entry| (entry.text("ip_prefix"), entry.text("nexthop")))
        .collect();
    complaints.unless(wanted == there, Rule::Router, || {
        format!("Vpc {name} has routes {there:?} instead of {wanted:?}")
    });
    for entry in rows {
        let plain = ["route_table", "policy", "output_port"]
            .iter()
            .all(|column| entry.text(column).is_empty());
        complaints.unless(plain, Rule::Router, || {
            format!(
                "the route {} of Vpc {name} is not in the main table for destinations",
                entry.uuid
            )
        });
        belongs(
            case,
            entry,
            ("Logical_Router", "static_routes"),
            router.into_iter().collect(),
            Rule::Router,
            complaints,
        );
    }
}

/// Exactly these rows refer to this one.
pub(super) fn belongs(
    case: &Case<'_>,
    entry: &Entry,
    (table, column): (&str, &str),
    wanted: BTreeSet<Uuid>,
    rule: Rule,
    complaints: &mut Complaints,
) {
    let there = case.content.referrers(table, column, entry.uuid);
    complaints.unless(there == wanted, rule, || {
        format!(
            "{} {:?} is in {column} of {there:?} instead of {wanted:?}",
            entry.label("yusur.io/unit").unwrap_or_default(),
            entry.text("name")
        )
    });
}

/// The groups of a Vpc: the one that its router may carry too, and the one that is only for its switches.
pub(super) fn groups<'a>(case: &'a Case<'_>, name: &str) -> [Option<&'a Entry>; 2] {
    let full = format!("yusur:{}:{name}", case.terms.owner);
    [full.clone(), full + "/switches"].map(|full| {
        let mut rows = case.content.ours("Load_Balancer_Group").iter();
        rows.find(|entry| entry.text("name") == full)
    })
}

fn group(case: &Case<'_>, name: &str, complaints: &mut Complaints) {
    let [group, switches] = groups(case, name);
    complaints.unless(group.is_some(), Rule::Group, || {
        format!("Vpc {name} has no group")
    });
    // On the gateway node the router balances what comes in from outside.
    let carrier = case
        .router(name)
        .filter(|_| case.places.of_vpc(name).is_some());
    let both = [(group, carrier), (switches, None)];
    for (entry, carrier) in both {
        let Some(entry) = entry else { continue };
        belongs(
            case,
            entry,
            ("Logical_Router", "load_balancer_group"),
            carrier.into_iter().collect(),
            Rule::Group,
            complaints,
        );
        belongs(
            case,
            entry,
            ("Logical_Switch", "load_balancer_group"),
            case.switches(name),
            Rule::Group,
            complaints,
        );
    }
}

fn switch(case: &Case<'_>, name: &str, subnet: &Subnet<'_>, complaints: &mut Complaints) {
    let unit = format!("subnet/{name}");
    let own = subnet.place == Place::Own;
    let switches = case.content.of("Logical_Switch", &unit);
    complaints.unless(switches.len() == usize::from(own), Rule::Switch, || {
        format!(
            "Subnet {name}, {:?}, has {} switches of its own",
            subnet.place,
            switches.len()
        )
    });
    let router = case.router(subnet.vpc);
    let joined = usize::from(own && router.is_some());
    let router_ports = case.content.of("Logical_Router_Port", &unit);
    let switch_ports = case.content.of("Logical_Switch_Port", &unit);
    let pair = (router_ports.len(), switch_ports.len());
    complaints.unless(pair == (joined, joined), Rule::Switch, || {
        format!(
            "Subnet {name}, {:?}, has {pair:?} ports to its router",
            subnet.place
        )
    });
    let (Some(router_port), Some(switch_port)) = (router_ports.first(), switch_ports.first())
    else {
        return;
    };
    let networks: BTreeSet<String> = subnet
        .nets
        .iter()
        .zip(&subnet.gateways)
        .map(|(net, gateway)| format!("{gateway}/{}", net.prefix_len()))
        .collect();
    let there: BTreeSet<String> = router_port
        .texts("networks")
        .into_iter()
        .map(str::to_owned)
        .collect();
    complaints.unless(networks == there, Rule::Switch, || {
        format!("the router of Subnet {name} has {there:?} instead of {networks:?}")
    });
    let peers = switch_port.text("type") == "router"
        && switch_port.map("options").get("router-port") == Some(&router_port.text("name"))
        && switch_port.texts("addresses") == ["router"];
    complaints.unless(peers, Rule::Switch, || {
        format!("the ports between Subnet {name} and its router are no pair")
    });
    for port in [router_port, switch_port] {
        let down = port.row.get_bool("enabled") == Some(false);
        complaints.unless(!down, Rule::Switch, || {
            format!("a port between Subnet {name} and its router is down")
        });
    }
    belongs(
        case,
        router_port,
        ("Logical_Router", "ports"),
        router.into_iter().collect(),
        Rule::Switch,
        complaints,
    );
    belongs(
        case,
        switch_port,
        ("Logical_Switch", "ports"),
        case.switch(name).into_iter().collect(),
        Rule::Switch,
        complaints,
    );
}
