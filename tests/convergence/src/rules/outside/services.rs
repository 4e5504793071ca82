//! Services as their clients find them: outside, in the service's own Vpc, in others. Each port of each address leads to
//! exactly the ready backends, whichever way, and the backends see whom they are to see (the table of `docs/paths.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ovsdb_model::Uuid;
use yusur_crds::{Path, Protocol, SourceAddress, YusurServiceSpec};

use super::{Backend, Outcome, Ports, client, packet};
use crate::meaning::Ask;
use crate::objects::Key;
use crate::rules::services::{
    behind, cluster_vips, crosses, has_cluster_addresses, has_its_families, may_serve, reach,
    usable, word,
};
use crate::rules::{Case, Complaints, Rule};

/// Where a service's external address leads to first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Leads<'a> {
    Vpc(&'a str),
    ServiceGateway,
    /// It is balanced on the gateway's own router.
    Gateway,
}

fn leads(spec: &YusurServiceSpec) -> Leads<'_> {
    match (crosses(spec), spec.source_address) {
        (false, _) => Leads::Vpc(&spec.vpc),
        (true, SourceAddress::Preserve) => Leads::Gateway,
        (true, _) => Leads::ServiceGateway,
    }
}

/// Whether a service is reached from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    Yes,
    No,
    /// Something else is wrong with it: then it need not be.
    Perhaps,
}

pub(super) fn check(case: &Case<'_>, ports: &Ports, complaints: &mut Complaints) {
    for key in case.objects.services.keys() {
        by_cluster_address(case, key, ports, complaints);
    }
    let mut served: BTreeMap<&Key, BTreeSet<IpAddr>> = BTreeMap::new();
    for ask in &case.meaning.asks {
        let Some(name) = ask
            .gateway
            .filter(|name| case.places.gateways.contains_key(*name))
        else {
            continue;
        };
        let users = users(case, ask);
        for address in &ask.holds {
            let found = address_of(case, (ask, name), &users, *address, ports, complaints);
            for key in found {
                served.entry(key).or_default().insert(*address);
            }
        }
    }
    for key in case.objects.services.keys() {
        let served = served.get(key).cloned().unwrap_or_default();
        status(case, key, &served, complaints);
    }
}

/// The services that use what is held, the oldest first.
fn users<'a>(case: &Case<'a>, ask: &Ask<'_>) -> Vec<&'a Key> {
    let services = case.objects.services.iter();
    let mut users: Vec<(i64, &Key)> = services
        .filter(|(key, (_, spec, _))| {
            let asked = case.meaning.ask_of(key);
            asked.is_some_and(|asked| asked.unit == ask.unit)
                && has_cluster_addresses(case, key)
                && spec.cluster_ip.as_deref() != Some("None")
        })
        .map(|(key, (meta, ..))| (meta.created, key))
        .collect();
    users.sort_unstable();
    users.into_iter().map(|(_, key)| key).collect()
}

/// Workloads of the service's Vpc find its backends behind its cluster addresses.
fn by_cluster_address(case: &Case<'_>, key: &Key, ports: &Ports, complaints: &mut Complaints) {
    let spec = &case.objects.services[key].1;
    let unit = format!("service/{}/{}", key.0, key.1);
    for vip in cluster_vips(case, key) {
        for (protocol, number, port) in usable(spec) {
            let wanted = behind(case, key, (protocol, port), vip.is_ipv4(), ports);
            let to = SocketAddr::new(vip, number);
            for (switch, source) in case.clients(&spec.vpc, vip.is_ipv4()) {
                let packet = packet(source, to, word(protocol));
                let outcome = Outcome::of(case, case.network.sent_by_workload(switch, packet));
                inside(case, (&unit, spec), source, &outcome, &wanted, complaints);
            }
        }
    }
}

/// What a workload of the service's own Vpc finds: backends beside it see it, those elsewhere see its Vpc.
fn inside(
    case: &Case<'_>,
    (unit, spec): (&str, &YusurServiceSpec),
    client: IpAddr,
    outcome: &Outcome,
    wanted: &BTreeMap<Backend, u64>,
    complaints: &mut Complaints,
) {
    if let Some((rule, message)) = outcome.differs(wanted) {
        complaints.say(rule, format!("{unit} for {client} in its Vpc: {message}"));
        return;
    }
    let Outcome::Reaches { seen, .. } = outcome else {
        return;
    };
    let join = case.join_address(&spec.vpc, client.is_ipv4());
    for ((vpc, backend), sources) in seen {
        let wanted = if *vpc == spec.vpc { Some(client) } else { join };
        let fine = wanted.is_some_and(|wanted| *sources == [wanted].into());
        complaints.unless(fine, Rule::Source, || {
            format!("{backend} in {vpc} sees {sources:?} as the client {client} of {unit}")
        });
    }
}

/// One external address. Who serves some port of it.
fn address_of<'a>(
    case: &Case<'a>,
    (ask, gateway): (&Ask<'_>, &str),
    users: &[&'a Key],
    address: IpAddr,
    ports: &Ports,
    complaints: &mut Complaints,
) -> BTreeSet<&'a Key> {
    let place = &case.places.gateways[gateway];
    // One router of the physical segment answers for it.
    let segment = case.network.segment(place.outside).into_iter();
    let answer: Vec<Uuid> = segment
        .flat_map(|segment| case.network.on_segment(segment))
        .flat_map(|switch| case.network.answering(switch, address))
        .collect();
    let alone = answer == [place.router];
    let silent = answer.is_empty();
    let mut serving = BTreeSet::new();
    // The oldest that can use the gateway says where it leads to.
    let spec = |key: &Key| &case.objects.services[key].1;
    let within = |key: &&&Key| case.places.of_vpc(&spec(key).vpc) == Some(gateway);
    let leads_to = users
        .iter()
        .filter(within)
        .map(|key| leads(spec(key)))
        .find(|leads| *leads != Leads::Gateway);
    // An Eip waits for the router that its Vpc adopts.
    let waits = users
        .iter()
        .any(|key| case.router(&spec(key).vpc).is_none());
    let mut numbers: BTreeSet<(&'static str, u16)> = [("tcp", 9), ("udp", 9)].into();
    for key in users {
        let ports = usable(spec(key)).into_iter();
        numbers.extend(ports.map(|(protocol, number, _)| (word(protocol), number)));
    }
    for (protocol, number) in numbers {
        let to = SocketAddr::new(address, number);
        // And the oldest that asks for a port has it.
        let asks = |key: &&&Key| {
            let fits = leads(spec(key)) == Leads::Gateway || Some(leads(spec(key))) == leads_to;
            fits && usable(spec(key))
                .iter()
                .any(|(of, port, _)| word(*of) == protocol && *port == number)
        };
        let owner = users.iter().find(asks).copied();
        let reached = owner.map_or(Reached::No, |key| reached(case, key, (ask, gateway)));
        let reached = match reached {
            Reached::Yes if waits => Reached::Perhaps,
            reached => reached,
        };
        let from = |source| {
            let ways = case
                .network
                .coming_in(place.outside, packet(source, to, protocol), None);
            Outcome::of(case, ways)
        };
        let found = match silent {
            true => Outcome::Nothing,
            false => from(client(true, address.is_ipv4())),
        };
        let own = owner.map(|key| format!("service/{}/{}", key.0, key.1));
        let units = found.units();
        let foreign = units.iter().find(|unit| Some(*unit) != own.as_ref());
        complaints.unless(foreign.is_none(), Rule::Outside, || {
            format!("{protocol} {to} is {own:?}'s and leads to {foreign:?}")
        });
        let nothing = found == Outcome::Nothing;
        match reached {
            Reached::No => complaints.unless(nothing, Rule::Outside, || {
                format!("{protocol} {to} is to lead nowhere: {found:?}")
            }),
            Reached::Perhaps if nothing => {}
            Reached::Perhaps | Reached::Yes => {
                let Some(key) = owner else { continue };
                complaints.unless(alone, Rule::Outside, || {
                    format!("{to} of {key:?} is answered for by {answer:?}")
                });
                serving.insert(key);
                let outside = Outside {
                    case,
                    key,
                    to,
                    protocol,
                    gateway,
                };
                outside.led_to(&found, ports, complaints);
                outside.sources(&from(client(false, address.is_ipv4())), complaints);
                outside.for_vpcs(ports, complaints);
            }
        }
    }
    let answers = alone || (silent && ask.unit.0 == "service" && serving.is_empty());
    complaints.unless(answers, Rule::Outside, || {
        format!("{address} of {:?} is answered for by {answer:?}", ask.unit)
    });
    serving
}

/// Whether a service is reached by an address from outside.
fn reached(case: &Case<'_>, key: &Key, (ask, gateway): (&Ask<'_>, &str)) -> Reached {
    let spec = &case.objects.services[key].1;
    let joined = case.places.of_vpc(&spec.vpc) == Some(gateway);
    // Answers to the service gateway stay on the join.
    let returns = leads(spec) == Leads::ServiceGateway;
    let by_itself = ask
        .holds
        .iter()
        .any(|address| case.leaves_by_itself(&spec.vpc, address.is_ipv4()));
    let complete = has_its_families(case, key);
    if complete == Some(false) || !ask.complete() || !joined || (by_itself && !returns) {
        Reached::No
    } else if complete.is_some() && may_serve(case, key) {
        Reached::Yes
    } else {
        Reached::Perhaps
    }
}

/// A port of an external address that a service serves.
struct Outside<'a, 'c> {
    case: &'c Case<'a>,
    key: &'a Key,
    to: SocketAddr,
    protocol: &'static str,
    gateway: &'c str,
}

impl<'a> Outside<'a, '_> {
    fn spec(&self) -> &'a YusurServiceSpec {
        &self.case.objects.services[self.key].1
    }

    fn wanted(&self, ports: &Ports) -> BTreeMap<Backend, u64> {
        let port = usable(self.spec())
            .into_iter()
            .find(|(of, number, _)| word(*of) == self.protocol && *number == self.to.port());
        let port = port.map(|(protocol, _, port)| (protocol, port));
        port.map(|port: (Protocol, _)| behind(self.case, self.key, port, self.to.is_ipv4(), ports))
            .unwrap_or_default()
    }

    fn who(&self) -> String {
        format!("{} {} of {:?}", self.protocol, self.to, self.key)
    }

    /// The backends, and whom they see.
    fn led_to(&self, found: &Outcome, ports: &Ports, complaints: &mut Complaints) {
        if let Some((rule, message)) = found.differs(&self.wanted(ports)) {
            let led = matches!(found, Outcome::Refused { .. } | Outcome::Reaches { .. });
            let rule = if led { rule } else { Rule::Outside };
            complaints.say(rule, format!("{} from outside: {message}", self.who()));
            return;
        }
        let wanted = match leads(self.spec()) {
            Leads::ServiceGateway => self.service_gateway(),
            Leads::Vpc(_) | Leads::Gateway => Some(client(true, self.to.is_ipv4())),
        };
        self.seen(found, wanted, complaints);
    }

    fn service_gateway(&self) -> Option<IpAddr> {
        let place = &self.case.places.gateways[self.gateway];
        let network = &self.case.network;
        network.address_on(place.service_gateway?, place.join, self.to.is_ipv4())
    }

    fn seen(&self, found: &Outcome, wanted: Option<IpAddr>, complaints: &mut Complaints) {
        let Outcome::Reaches { seen, .. } = found else {
            return;
        };
        for (backend, sources) in seen {
            let fine = wanted.is_some_and(|wanted| *sources == [wanted].into());
            complaints.unless(fine, Rule::Source, || {
                format!(
                    "{backend:?} sees {sources:?} instead of {wanted:?} behind {}",
                    self.who()
                )
            });
        }
    }

    /// Whom `sourceRanges` do not let in finds nothing.
    fn sources(&self, found: &Outcome, complaints: &mut Complaints) {
        let guarded = !self.spec().source_ranges.is_empty();
        complaints.unless(
            !guarded || *found == Outcome::Nothing,
            Rule::Isolation,
            || {
                format!(
                    "{} lets in whom its sourceRanges do not name: {found:?}",
                    self.who()
                )
            },
        );
    }

    /// What workloads find.
    fn for_vpcs(&self, ports: &Ports, complaints: &mut Complaints) {
        let (case, spec, ipv4) = (self.case, self.spec(), self.to.is_ipv4());
        let wanted = self.wanted(ports);
        for vpc in case.meaning.vpcs.keys() {
            for (switch, source) in case.clients(vpc, ipv4) {
                let packet = packet(source, self.to, self.protocol);
                let found = || Outcome::of(case, case.network.sent_by_workload(switch, packet));
                if *vpc == spec.vpc {
                    inside(
                        case,
                        (&self.who(), spec),
                        source,
                        &found(),
                        &wanted,
                        complaints,
                    );
                    continue;
                }
                if case.places.of_vpc(vpc) != Some(self.gateway) || case.leaves_by_itself(vpc, ipv4)
                {
                    continue;
                }
                let found = found();
                let closed = !spec.source_ranges.is_empty();
                // Where the Eip leads to this very Vpc for another service, its router ends what its workloads ask.
                let ask = case.meaning.ask_of(self.key).map(|ask| ask.unit);
                let mut services = case.objects.services.iter();
                let ends_here = leads(spec) == Leads::Gateway
                    && services.any(|(other, (_, spec, _))| {
                        leads(spec) == Leads::Vpc(vpc)
                            && case.meaning.ask_of(other).map(|ask| ask.unit) == ask
                    });
                if (closed || ends_here) && found == Outcome::Nothing {
                    continue;
                }
                complaints.unless(!closed, Rule::Isolation, || {
                    format!("{} lets Vpc {vpc} in: {found:?}", self.who())
                });
                if let Some((rule, message)) = found.differs(&wanted) {
                    complaints.say(rule, format!("{} from Vpc {vpc}: {message}", self.who()));
                    continue;
                }
                let seen = match leads(spec) {
                    Leads::ServiceGateway | Leads::Gateway => self.service_gateway(),
                    Leads::Vpc(_) => case.join_address(vpc, ipv4),
                };
                self.seen(&found, seen, complaints);
            }
        }
    }
}

/// The status says by which ways the service is reached, and by which addresses.
fn status(case: &Case<'_>, key: &Key, served: &BTreeSet<IpAddr>, complaints: &mut Complaints) {
    let (_, spec, status) = &case.objects.services[key];
    let Some(status) = status else { return };
    let outside = match leads(spec) {
        Leads::Vpc(_) => Path::EipVpcRouter,
        Leads::ServiceGateway => Path::EipServiceGateway,
        Leads::Gateway => Path::EipPreserve,
    };
    let ways = [
        Path::EipVpcRouter,
        Path::EipServiceGateway,
        Path::EipPreserve,
    ];
    let said: Vec<&Path> = status
        .paths
        .iter()
        .filter(|path| ways.contains(path))
        .collect();
    let wanted: Vec<&Path> = [&outside]
        .into_iter()
        .filter(|_| !served.is_empty())
        .collect();
    complaints.unless(said == wanted, Rule::Record, || {
        format!("the status of service {key:?} says {said:?}, and it is reached by {wanted:?}")
    });
    let shown: BTreeSet<IpAddr> = status
        .eips
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect();
    complaints.unless(served.is_subset(&shown), Rule::Record, || {
        format!("service {key:?} is reached by {served:?}, its status says {shown:?}")
    });
    let joins = !cluster_vips(case, key).is_empty() && !reach(case, key).is_empty();
    let said = status.paths.contains(&Path::Join);
    complaints.unless(said == joins, Rule::Record, || {
        format!("the status of service {key:?} says Join: {said}; backends elsewhere: {joins}")
    });
}
