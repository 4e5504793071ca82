//! What the rows do with a packet: routers, switches and load balancers as ovn-northd(8) makes them of the Northbound, as far
//! as rows of ours use them. The judge asks where a packet ends that is sent from somewhere, instead of what rows there are.

mod expression;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use ovsdb_model::Uuid;

use crate::rows::{Content, Entry};
use expression::{Sets, Subject, network};

/// The per-VPC VIPs (`docs/paths.md`): what a load balancer sends there is balanced once more.
const OF_VPCS: [&str; 2] = ["100.96.0.0/11", "fd79:7573:7572:96::/64"];

/// Where gateways' routers and those of VPCs meet.
const JOIN: [&str; 2] = ["100.64.0.0/16", "fd79:7573:7572:64::/64"];

/// More routers than any way has: then it goes round.
const TOO_FAR: usize = 8;

/// A first packet of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) source: IpAddr,
    pub(crate) to: SocketAddr,
    /// `tcp`, `udp` or `sctp`.
    pub(crate) protocol: &'static str,
}

/// Where a packet ends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// A load balancer has chosen a backend: which of the rows, on which router or switch.
    Chosen {
        by: Uuid,
        on: Uuid,
        backend: SocketAddr,
        /// The client as the backend sees it.
        source: IpAddr,
    },
    /// A load balancer without backends has refused it.
    Refused { by: Uuid },
    /// It leaves by the localnet port of this switch, as from this source.
    Outside { switch: Uuid, source: IpAddr },
    /// It arrives on this switch, without having been balanced.
    Arrived { switch: Uuid },
    /// It is dropped on purpose: by a rule, or by a route.
    Dropped,
    /// It is lost by accident: why.
    Lost(String),
}

/// One end of a packet, how likely it is among all, and the routers on the way.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) share: f64,
    pub(crate) end: End,
    pub(crate) routers: Vec<Uuid>,
}

#[derive(Debug, Default)]
struct Router {
    ports: Vec<RouterPort>,
    /// Without a next hop what goes there is discarded.
    routes: Vec<(IpNet, Option<IpAddr>)>,
    snat: Vec<(IpNet, IpAddr)>,
    /// What NAT rows make it answer for.
    owned: BTreeSet<IpAddr>,
    balancers: BTreeSet<Uuid>,
    /// It has what it balances come from itself.
    hides: bool,
}

#[derive(Debug)]
struct RouterPort {
    name: String,
    networks: Vec<IpNet>,
    /// It is bound to gateway nodes: NAT is done where it is.
    on_gateway: bool,
}

#[derive(Debug, Default)]
struct Switch {
    ports: Vec<SwitchPort>,
    rules: Vec<Guard>,
    balancers: BTreeSet<Uuid>,
}

#[derive(Debug)]
struct SwitchPort {
    name: String,
    /// The router port behind it.
    router: Option<String>,
    /// The physical network behind it, and its VLAN.
    segment: Option<Segment>,
}

/// A physical network and VLAN.
pub(crate) type Segment = (String, Option<i64>);

#[derive(Debug)]
struct Guard {
    priority: i64,
    expression: String,
    allows: bool,
}

#[derive(Debug)]
struct Balancer {
    protocol: String,
    vips: BTreeMap<SocketAddr, Vec<SocketAddr>>,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Network {
    routers: BTreeMap<Uuid, Router>,
    switches: BTreeMap<Uuid, Switch>,
    balancers: BTreeMap<Uuid, Balancer>,
    sets: Sets,
}

/// A packet on its way.
#[derive(Clone)]
struct Journey {
    packet: Packet,
    share: f64,
    routers: Vec<Uuid>,
}

impl Journey {
    fn ends(self, end: End) -> Way {
        Way {
            share: self.share,
            end,
            routers: self.routers,
        }
    }

    fn lost(self, why: impl Into<String>) -> Vec<Way> {
        vec![self.ends(End::Lost(why.into()))]
    }
}

impl Network {
    pub(crate) fn of(content: &Content) -> Self {
        let rows = |table: &str| -> BTreeMap<Uuid, Entry> {
            let all = content.all(table).iter();
            all.map(|entry| (entry.uuid, entry.clone())).collect()
        };
        let groups = rows("Load_Balancer_Group");
        let balanced = |entry: &Entry| -> BTreeSet<Uuid> {
            let of_groups = entry.uuids("load_balancer_group").into_iter();
            let of_groups = of_groups.filter_map(|group| groups.get(&group));
            let of_groups = of_groups.flat_map(|group| group.uuids("load_balancer"));
            of_groups.chain(entry.uuids("load_balancer")).collect()
        };
        let (router_ports, switch_ports) =
            (rows("Logical_Router_Port"), rows("Logical_Switch_Port"));
        let (routes, nats, acls) = (
            rows("Logical_Router_Static_Route"),
            rows("NAT"),
            rows("ACL"),
        );
        let routers = content.all("Logical_Router").iter().map(|entry| {
            let mut router = Router {
                balancers: balanced(entry),
                hides: entry.map("options").contains_key("lb_force_snat_ip"),
                ..Router::default()
            };
            for port in found(entry, "ports", &router_ports) {
                router.ports.push(RouterPort {
                    name: port.text("name").to_owned(),
                    networks: port
                        .texts("networks")
                        .iter()
                        .filter_map(|text| text.parse().ok())
                        .collect(),
                    on_gateway: !port.uuids("ha_chassis_group").is_empty(),
                });
            }
            for route in found(entry, "static_routes", &routes) {
                let plain = ["route_table", "policy", "output_port"]
                    .iter()
                    .all(|column| route.text(column).is_empty());
                let hop = route.text("nexthop");
                let discards = hop == "discard";
                let hop = hop.parse().ok();
                if let Some(to) = network(route.text("ip_prefix"))
                    && (discards || hop.is_some())
                    && plain
                {
                    router.routes.push((to, hop));
                }
            }
            for nat in found(entry, "nat", &nats) {
                let external = nat.text("external_ip").parse::<IpAddr>();
                let logical = network(nat.text("logical_ip"));
                match (nat.text("type"), external, logical) {
                    ("snat", Ok(external), Some(logical)) => router.snat.push((logical, external)),
                    ("dnat_and_snat", Ok(external), _) => drop(router.owned.insert(external)),
                    _ => {}
                }
            }
            (entry.uuid, router)
        });
        let switches = content.all("Logical_Switch").iter().map(|entry| {
            let mut switch = Switch {
                balancers: balanced(entry),
                ..Switch::default()
            };
            for port in found(entry, "ports", &switch_ports) {
                let options = port.map("options");
                let option = |key| options.get(key).map(|text| (*text).to_owned());
                let tag = port.row.get_integer("tag");
                let kind = port.text("type");
                switch.ports.push(SwitchPort {
                    name: port.text("name").to_owned(),
                    router: option("router-port").filter(|_| kind == "router"),
                    segment: option("network_name")
                        .filter(|_| kind == "localnet")
                        .map(|name| (name, tag)),
                });
            }
            for acl in found(entry, "acls", &acls) {
                if acl.text("direction") == "from-lport" {
                    switch.rules.push(Guard {
                        priority: acl.row.get_integer("priority").unwrap_or_default(),
                        expression: acl.text("match").to_owned(),
                        allows: acl.text("action").starts_with("allow"),
                    });
                }
            }
            switch.rules.sort_by_key(|rule| -rule.priority);
            (entry.uuid, switch)
        });
        let balancers = content.all("Load_Balancer").iter().map(|entry| {
            let vips = entry.map("vips").into_iter().filter_map(|(vip, backends)| {
                let backends = backends.split(',').filter_map(|text| text.parse().ok());
                Some((vip.parse().ok()?, backends.collect()))
            });
            let balancer = Balancer {
                protocol: entry.text("protocol").to_owned(),
                vips: vips.collect(),
            };
            (entry.uuid, balancer)
        });
        let sets = content.all("Address_Set").iter().map(|entry| {
            let addresses = entry.texts("addresses");
            let addresses = addresses.iter().filter_map(|text| network(text));
            (entry.text("name").to_owned(), addresses.collect())
        });
        Self {
            routers: routers.collect(),
            switches: switches.collect(),
            balancers: balancers.collect(),
            sets: sets.collect(),
        }
    }

    /// The physical segment of a switch.
    pub(crate) fn segment(&self, switch: Uuid) -> Option<&Segment> {
        let mut ports = self.switches.get(&switch)?.ports.iter();
        ports.find_map(|port| port.segment.as_ref())
    }

    /// The switch that a router's port of this name is on.
    pub(crate) fn switch_of_port(&self, name: &str) -> Option<Uuid> {
        let has = |switch: &Switch| {
            let mut ports = switch.ports.iter();
            ports.any(|port| port.router.as_deref() == Some(name))
        };
        let mut switches = self.switches.iter();
        switches.find_map(|(uuid, switch)| has(switch).then_some(*uuid))
    }

    /// The switches of a physical segment.
    pub(crate) fn on_segment(&self, segment: &Segment) -> BTreeSet<Uuid> {
        let has = |switch: &Switch| {
            let mut ports = switch.ports.iter();
            ports.any(|port| port.segment.as_ref() == Some(segment))
        };
        let switches = self.switches.iter().filter(|(_, switch)| has(switch));
        switches.map(|(uuid, _)| *uuid).collect()
    }

    /// The routers on a switch that answer ARP or ND for an address there.
    pub(crate) fn answering(&self, switch: Uuid, address: IpAddr) -> Vec<Uuid> {
        let behind = self.routers_on(switch);
        let answers = behind.into_iter().filter(|(router, port)| {
            let own = port.networks.iter().any(|net| net.addr() == address);
            own || (port.on_gateway
                && (router.1.owned.contains(&address) || self.has_vip(router.1, address)))
        });
        answers.map(|((uuid, _), _)| uuid).collect()
    }

    /// The addresses that routers on a switch answer for besides their own.
    pub(crate) fn answered(&self, switch: Uuid) -> BTreeSet<IpAddr> {
        let behind = self.routers_on(switch).into_iter();
        let behind = behind.filter(|(_, port)| port.on_gateway);
        behind
            .flat_map(|((_, router), _)| {
                let vips = router
                    .balancers
                    .iter()
                    .filter_map(|uuid| self.balancers.get(uuid));
                let vips = vips.flat_map(|balancer| balancer.vips.keys().map(SocketAddr::ip));
                router.owned.iter().copied().chain(vips)
            })
            .collect()
    }

    fn has_vip(&self, router: &Router, address: IpAddr) -> bool {
        let balancers = router
            .balancers
            .iter()
            .filter_map(|uuid| self.balancers.get(uuid));
        balancers
            .flat_map(|balancer| balancer.vips.keys())
            .any(|vip| vip.ip() == address)
    }

    /// The routers on a switch, each with its port there.
    fn routers_on(&self, switch: Uuid) -> Vec<((Uuid, &Router), &RouterPort)> {
        let Some(switch) = self.switches.get(&switch) else {
            return Vec::new();
        };
        let names = switch
            .ports
            .iter()
            .filter_map(|port| port.router.as_deref());
        names.filter_map(|name| self.router_port(name)).collect()
    }

    fn router_port(&self, name: &str) -> Option<((Uuid, &Router), &RouterPort)> {
        self.routers.iter().find_map(|(uuid, router)| {
            let port = router.ports.iter().find(|port| port.name == name)?;
            Some(((*uuid, router), port))
        })
    }

    /// The switches that a router has ports on.
    pub(crate) fn switches_of(&self, router: Uuid) -> BTreeSet<Uuid> {
        let switches = self.switches.keys();
        let on = |switch: &&Uuid| {
            let mut routers = self.routers_on(**switch).into_iter();
            routers.any(|((uuid, _), _)| uuid == router)
        };
        switches.filter(on).copied().collect()
    }

    /// A router's own address on a switch, of a family.
    pub(crate) fn address_on(&self, router: Uuid, switch: Uuid, ipv4: bool) -> Option<IpAddr> {
        let mut there = self.routers_on(switch).into_iter();
        let ((..), port) = there.find(|((uuid, _), _)| *uuid == router)?;
        let mut networks = port.networks.iter().map(IpNet::addr);
        networks.find(|address| address.is_ipv4() == ipv4)
    }

    /// A packet that comes in by the localnet port of a switch, for whoever answers for its destination there, or, if
    /// somebody outside says so, for this next hop.
    pub(crate) fn coming_in(&self, switch: Uuid, packet: Packet, hop: Option<IpAddr>) -> Vec<Way> {
        let journey = start(packet);
        let Some(there) = self.switches.get(&switch) else {
            return journey.lost("there is no such switch");
        };
        let Some(port) = there.ports.iter().find(|port| port.segment.is_some()) else {
            return journey.lost("the switch has no localnet port");
        };
        self.across(switch, &port.name, hop.unwrap_or(packet.to.ip()), journey)
    }

    /// A packet from a workload on a switch.
    pub(crate) fn sent_by_workload(&self, switch: Uuid, packet: Packet) -> Vec<Way> {
        let journey = start(packet);
        let Some(there) = self.switches.get(&switch) else {
            return journey.lost("there is no such switch");
        };
        match self.balance(&there.balancers, switch, journey) {
            Ok(journeys) => journeys
                .into_iter()
                .flat_map(|(_, journey)| self.leave(switch, journey))
                .collect(),
            Err(ways) => ways,
        }
    }

    /// A packet of a workload goes to its neighbour, or to the router.
    fn leave(&self, switch: Uuid, journey: Journey) -> Vec<Way> {
        let to = journey.packet.to.ip();
        let behind = self.routers_on(switch);
        let near = behind
            .iter()
            .any(|(_, port)| port.networks.iter().any(|net| net.contains(&to)));
        if near {
            return vec![journey.ends(End::Arrived { switch })];
        }
        match behind.as_slice() {
            [((router, _), _)] => self.route(*router, journey),
            _ => journey.lost("the switch has no router"),
        }
    }

    /// A packet that came in by a port of a switch goes on to a neighbour there.
    fn across(&self, switch: Uuid, inport: &str, hop: IpAddr, journey: Journey) -> Vec<Way> {
        let Some(there) = self.switches.get(&switch) else {
            return journey.lost("there is no such switch");
        };
        let subject = Subject {
            inport,
            source: journey.packet.source,
            destination: journey.packet.to.ip(),
            protocol: journey.packet.protocol,
            port: journey.packet.to.port(),
        };
        for rule in &there.rules {
            match expression::matches(&rule.expression, subject, &self.sets) {
                Err(error) => return journey.lost(error),
                Ok(true) if rule.allows => break,
                Ok(true) => return vec![journey.ends(End::Dropped)],
                Ok(false) => {}
            }
        }
        match self.answering(switch, hop).as_slice() {
            [router] => self.route(*router, journey),
            [] if there.ports.iter().any(|port| port.segment.is_some()) => {
                let source = journey.packet.source;
                vec![journey.ends(End::Outside { switch, source })]
            }
            [] => vec![journey.ends(End::Arrived { switch })],
            _ => journey.lost(format!("several routers answer for {hop}")),
        }
    }

    /// A packet is at a router.
    fn route(&self, uuid: Uuid, mut journey: Journey) -> Vec<Way> {
        let Some(router) = self.routers.get(&uuid) else {
            return journey.lost("there is no such router");
        };
        if journey.routers.len() >= TOO_FAR {
            return journey.lost("it goes round between routers");
        }
        journey.routers.push(uuid);
        match self.balance(&router.balancers, uuid, journey) {
            Ok(journeys) => journeys
                .into_iter()
                .flat_map(|(balanced, journey)| self.forward(uuid, router, balanced, journey))
                .collect(),
            Err(ways) => ways,
        }
    }

    fn forward(
        &self,
        uuid: Uuid,
        router: &Router,
        balanced: bool,
        mut journey: Journey,
    ) -> Vec<Way> {
        let to = journey.packet.to.ip();
        let own = |port: &RouterPort| port.networks.iter().any(|net| net.addr() == to);
        if router.ports.iter().any(own) {
            // A router has no ears.
            return vec![journey.ends(End::Dropped)];
        }
        let by_port = |address: IpAddr| {
            let nets = |port: &RouterPort| {
                let nets = port.networks.iter().filter(|net| net.contains(&address));
                nets.map(IpNet::prefix_len).max()
            };
            let ports = router.ports.iter();
            ports
                .filter_map(|port| Some((nets(port)?, port)))
                .max_by_key(|(length, _)| *length)
        };
        let direct = by_port(to);
        let routes = router.routes.iter().filter(|(net, _)| net.contains(&to));
        let longest = routes.clone().map(|(net, _)| net.prefix_len()).max();
        let (hop, port) = match (direct, longest) {
            (Some((length, port)), longest) if longest.is_none_or(|longest| length >= longest) => {
                (to, port)
            }
            (_, Some(longest)) => {
                let mut hops: Vec<Option<IpAddr>> = routes
                    .filter(|(net, _)| net.prefix_len() == longest)
                    .map(|(_, hop)| *hop)
                    .collect();
                hops.sort_unstable();
                hops.dedup();
                match hops.as_slice() {
                    [None] => return vec![journey.ends(End::Dropped)],
                    [Some(hop)] => match by_port(*hop) {
                        Some((_, port)) => (*hop, port),
                        None => return journey.lost(format!("no port leads to {hop}")),
                    },
                    several => {
                        return journey
                            .lost(format!("there are several ways to {to}: {several:?}"));
                    }
                }
            }
            (_, None) => return journey.lost(format!("{uuid} has no route to {to}")),
        };
        let family = |net: &&IpNet| net.addr().is_ipv4() == to.is_ipv4();
        if balanced && router.hides {
            if let Some(own) = port.networks.iter().find(family) {
                journey.packet.source = own.addr();
            }
        } else if port.on_gateway {
            let source = journey.packet.source;
            let mut rules = router.snat.iter();
            if let Some((_, external)) = rules.find(|(net, _)| net.contains(&source)) {
                journey.packet.source = *external;
            }
        }
        // The other end of the port.
        let behind = self.switches.iter().find_map(|(uuid, switch)| {
            let mut ports = switch.ports.iter();
            let port = ports.find(|other| other.router.as_ref() == Some(&port.name))?;
            Some((*uuid, port))
        });
        match behind {
            Some((switch, port)) => self.across(switch, &port.name, hop, journey),
            None => journey.lost(format!("nothing is behind port {}", port.name)),
        }
    }

    /// What load balancers make of a packet: the same, or one for each backend that is balanced once more; or its ends.
    fn balance(
        &self,
        balancers: &BTreeSet<Uuid>,
        on: Uuid,
        journey: Journey,
    ) -> Result<Vec<(bool, Journey)>, Vec<Way>> {
        let packet = journey.packet;
        let found = balancers.iter().filter_map(|uuid| {
            let balancer = self.balancers.get(uuid)?;
            let backends = balancer.vips.get(&packet.to)?;
            (balancer.protocol == packet.protocol).then_some((*uuid, backends))
        });
        let found: Vec<(Uuid, &Vec<SocketAddr>)> = found.collect();
        let (by, backends) = match found.as_slice() {
            [] => return Ok(vec![(false, journey)]),
            [(by, backends)] => (*by, *backends),
            _ => {
                let why = format!("several load balancers have {}", packet.to);
                return Err(journey.lost(why));
            }
        };
        if backends.is_empty() {
            return Err(vec![journey.ends(End::Refused { by })]);
        }
        let mut shares: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        for backend in backends {
            *shares.entry(*backend).or_default() += 1;
        }
        let (mut on_their_way, mut ends) = (Vec::new(), Vec::new());
        for (backend, count) in shares {
            let mut part = journey.clone();
            #[expect(clippy::cast_precision_loss, reason = "there are few backends")]
            let share = count as f64 / backends.len() as f64;
            part.share *= share;
            part.packet.to = backend;
            if is_of_vpcs(backend.ip()) {
                on_their_way.push((true, part));
            } else {
                let source = part.packet.source;
                let end = End::Chosen {
                    by,
                    on,
                    backend,
                    source,
                };
                ends.push(part.ends(end));
            }
        }
        match (on_their_way.is_empty(), ends.is_empty()) {
            (false, true) => Ok(on_their_way),
            (true, _) => Err(ends),
            // Some are here and some are far: those that are far still have their way to go.
            (false, false) => {
                let far = on_their_way.into_iter().flat_map(|(balanced, part)| {
                    match self.routers.get(&on) {
                        Some(router) => self.forward(on, router, balanced, part),
                        None => self.leave(on, part),
                    }
                });
                ends.extend(far.collect::<Vec<_>>());
                Err(ends)
            }
        }
    }
}

/// True for an address on the join of a gateway.
pub(crate) fn is_on_join(address: IpAddr) -> bool {
    let mut ranges = JOIN.iter().filter_map(|range| range.parse::<IpNet>().ok());
    ranges.any(|range| range.contains(&address))
}

/// True for an address that a VPC has for services which reach into it.
pub(crate) fn is_of_vpcs(address: IpAddr) -> bool {
    let mut ranges = OF_VPCS
        .iter()
        .filter_map(|range| range.parse::<IpNet>().ok());
    ranges.any(|range| range.contains(&address))
}

fn start(packet: Packet) -> Journey {
    Journey {
        packet,
        share: 1.0,
        routers: Vec::new(),
    }
}

/// The rows that a column names.
fn found<'a>(
    entry: &Entry,
    column: &str,
    rows: &'a BTreeMap<Uuid, Entry>,
) -> impl Iterator<Item = &'a Entry> {
    let uuids = entry.uuids(column).into_iter();
    uuids.filter_map(|uuid| rows.get(&uuid))
}
