//! A service: its load balancers, what owns its external address, and what is to be said about it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use yusur_crds::common::condition;
use yusur_crds::{Algorithm, BackendCounts, Path, YusurServiceStatus};

use super::balancers::{Balanced, Parts};
use super::outside::{self, Outside};
use super::vips::{self, Endpoint, Endpoints, Place};
use super::{Rows, accepted, crossing, dns, eip, follows, programmed, say, silent, subject};
use crate::family::Family;
use crate::inventory::{BalancedOn, Inventory, Problem, Readiness, Service, Source};
use crate::name::ObjectName;
use crate::unit::Unit;
use crate::verdict::{Condition, LIMITED, NOT_YET_SUPPORTED, Status, Truth, Verdict};

pub(super) fn desired(unit: &Unit, name: &ObjectName, inventory: &Inventory) -> (Rows, Verdict) {
    let Some(service) = inventory.service(name) else {
        return (Vec::new(), silent(unit));
    };
    let held = inventory.service_vips(name, service);
    let endpoints = vips::endpoints(name, service, inventory);
    let outside = outside::outside(name, service, inventory).unwrap_or_default();
    let crossing = crossing::crossing(name, service, inventory);
    let problem = problem(name, service, &held, inventory)
        .or(outside.problem.clone())
        .or(crossing.problem.clone());
    let blocked = service.outcome.problem.is_some();
    // What was allocated is recorded before the rows that use it.
    let unrecorded = service.outcome.unrecorded;

    let mut balanced = Balanced::default();
    if !blocked {
        let own: &[IpAddr] = if unrecorded { &[] } else { &held };
        balanced = Parts {
            unit,
            service,
            own,
            outside: &outside,
            crossing: &crossing,
            endpoints: &endpoints,
            inventory,
        }
        .balance();
        balanced
            .rows
            .extend(outside::rows(unit, service, &outside, inventory));
        if service.headless() {
            balanced.used = endpoints.serving().map(Endpoint::place).collect();
            if service.dns {
                let zone = &inventory.config().zone;
                let full = dns::service_name(name, zone);
                let addresses = endpoints.serving().map(|endpoint| endpoint.address);
                let (there, carried) = dns::fit(&full, &addresses.collect());
                balanced.limits.answered(full, there, carried);
            }
        }
    }
    let Balanced {
        rows,
        used,
        unnamed,
        limits,
    } = balanced;

    let pending = unrecorded || outside.pending;
    let counts = counts(service, &outside, &endpoints, &used);
    let mut conditions = vec![accepted(problem.as_ref(), fine(service))];
    match (&service.outcome.problem, pending) {
        (Some(problem), _) => {
            conditions.extend([
                follows(condition::PROGRAMMED, problem),
                follows(condition::READY, problem),
            ]);
        }
        (None, true) => {
            let pending = eip::pending();
            conditions.extend([
                follows(condition::PROGRAMMED, &pending),
                follows(condition::READY, &pending),
            ]);
        }
        (None, false) => {
            conditions.push(match &problem {
                Some(problem) if rows.is_empty() => follows(condition::PROGRAMMED, problem),
                Some(_) => say(
                    condition::PROGRAMMED,
                    Truth::True,
                    "Programmed",
                    "all rows of the part that is valid are in the OVN Northbound",
                ),
                None => programmed(),
            });
            conditions.push(match &problem {
                Some(problem) => follows(condition::READY, problem),
                None => noting(
                    ready(name, service, &endpoints, counts, &unnamed),
                    outside.note.as_deref(),
                ),
            });
        }
    }
    if let Some((reason, message)) = limits.told() {
        conditions.push(say(LIMITED, Truth::True, reason, message));
    }
    if !service.unsupported.is_empty() {
        conditions.push(say(
            NOT_YET_SUPPORTED,
            Truth::True,
            "NotYetSupported",
            service.unsupported.join("; "),
        ));
    }

    let reachable = !blocked && !unrecorded && !held.is_empty() && !service.ports.is_empty();
    let named = !dns::names(name, service, inventory).is_empty();
    let external = !blocked && outside.serves(service);
    let balanced_on = |on| external && service.balanced_on() == Some(on);
    let joined = crossing.targets.iter().any(|target| target.other.is_some());
    let paths = [
        (Path::Vpc, reachable),
        (Path::EipVpcRouter, balanced_on(BalancedOn::VpcRouter)),
        (
            Path::EipServiceGateway,
            balanced_on(BalancedOn::ServiceGateway),
        ),
        (Path::EipPreserve, balanced_on(BalancedOn::EipGateway)),
        (Path::Join, reachable && joined),
    ];
    let paths = paths.into_iter().filter(|(_, there)| *there);
    let paths = paths.map(|(path, _)| path);
    let status = YusurServiceStatus {
        // Those it holds, also while it is refused: this is the record of them.
        cluster_ips: held.iter().map(ToString::to_string).collect(),
        dns_names: named
            .then(|| dns::service_name(name, &inventory.config().zone))
            .into_iter()
            .collect(),
        backends: Some(counts),
        eips: outside.shown().iter().map(|a| a.to_string()).collect(),
        paths: paths.collect(),
        ..YusurServiceStatus::default()
    };
    let verdict = Verdict {
        unit: unit.clone(),
        object: subject(unit, &service.header.uid, service.header.generation),
        conditions,
        status: Status::YusurService(status),
        // An Eip's address is recorded by the Eip.
        record_first: unrecorded || outside.is_unrecorded(),
    };
    (rows, verdict)
}

/// True if nothing is wrong with the service.
pub(super) fn is_accepted(name: &ObjectName, inventory: &Inventory) -> bool {
    let Some(service) = inventory.service(name) else {
        return false;
    };
    let held = inventory.service_vips(name, service);
    let outside = || outside::outside(name, service, inventory).unwrap_or_default();
    problem(name, service, &held, inventory).is_none()
        && outside().problem.is_none()
        && crossing::crossing(name, service, inventory)
            .problem
            .is_none()
}

/// Why the service is not accepted, if it is not.
fn problem(
    name: &ObjectName,
    service: &Service,
    held: &[IpAddr],
    inventory: &Inventory,
) -> Option<Problem> {
    if let Some(problem) = service
        .outcome
        .problem
        .as_deref()
        .or(service.invalid.as_deref())
    {
        return Some(problem.clone());
    }
    if let Some(circle) = circle(name, service, inventory) {
        return Some(circle);
    }
    let lost = service
        .outcome
        .claims
        .iter()
        .find(|address| !held.contains(address))?;
    let holder = match inventory.vip_holder(&service.vpc, lost) {
        // Status never shows another tenant's objects.
        Some(Unit::Service(other)) if other.namespace == name.namespace => {
            format!("service {}", other.name)
        }
        _ => "another service of the VPC".to_owned(),
    };
    Some(Problem::new(
        "VIPConflict",
        format!(
            "{lost} is held by {holder}; choose another address, or leave clusterIP out to have one allocated (it is taken over if that service goes)"
        ),
    ))
}

/// A backend that is the service's own address: it is left out.
fn circle(name: &ObjectName, service: &Service, inventory: &Inventory) -> Option<Problem> {
    service.backends.iter().enumerate().find_map(|(at, entry)| {
        let Source::Addresses(addresses) = &entry.source else {
            return None;
        };
        let vpc = entry.elsewhere.as_ref().unwrap_or(&service.vpc);
        let mut own = addresses.iter();
        let own = own.find(|address| inventory.is_own_address(name, vpc, **address))?;
        Some(Problem::invalid(format!(
            "spec.backends[{at}].addresses: {own} is an address of the service itself; give the backend's own address"
        )))
    })
}

fn fine(service: &Service) -> &'static str {
    match service.algorithm {
        Algorithm::RoundRobin => {
            "the service is valid (RoundRobin: OVN selects by hash, so that backends share evenly over many connections, \
             not in turn)"
        }
        _ => "the service is valid",
    }
}

fn counts(
    service: &Service,
    outside: &Outside,
    endpoints: &Endpoints<'_>,
    used: &BTreeSet<Place<'_>>,
) -> BackendCounts {
    let families = &service.outcome.families;
    let mut counts = BackendCounts::default();
    for endpoint in &endpoints.all {
        let family = Family::of(endpoint.address);
        let concerns = families.contains(&family) || outside.held.get(family).is_some();
        if !service.headless() && !concerns {
            continue;
        }
        counts.total += 1;
        if used.contains(&endpoint.place()) {
            counts.ready += 1;
        } else if endpoint.entry.weight == 0 || endpoint.readiness == Readiness::Leaving {
            counts.draining += 1;
        }
    }
    counts
}

/// A condition with a word on what is allowed and seldom meant.
fn noting(mut condition: Condition, note: Option<&str>) -> Condition {
    if let Some(note) = note {
        condition.message = format!("{}; {note}", condition.message).into();
    }
    condition
}

/// `Ready`, of a service that is accepted and programmed.
fn ready(
    name: &ObjectName,
    service: &Service,
    endpoints: &Endpoints<'_>,
    counts: BackendCounts,
    unnamed: &BTreeSet<(&'static str, String)>,
) -> Condition {
    if let Some((protocol, target)) = unnamed.first() {
        return say(
            condition::READY,
            Truth::False,
            "TargetPortUnknown",
            format!(
                "no backend that is ready has a {protocol} port named {target:?}; name the port there, or give targetPort as a \
                 number"
            ),
        );
    }
    if counts.ready > 0 {
        return say(
            condition::READY,
            Truth::True,
            "BackendsReady",
            format!(
                "{} of {} backends get new connections",
                counts.ready, counts.total
            ),
        );
    }
    if counts.total > 0 {
        let (reason, message) = if endpoints
            .all
            .iter()
            .all(|endpoint| endpoint.entry.weight == 0)
        {
            (
                "AllDrained",
                format!(
                    "all {} backends have weight 0; new connections are refused",
                    counts.total
                ),
            )
        } else {
            (
                "NoReadyBackends",
                format!(
                    "none of {} backends is ready; new connections are refused",
                    counts.total
                ),
            )
        };
        return say(condition::READY, Truth::False, reason, message);
    }
    if service.backends.is_empty() {
        return say(
            condition::READY,
            Truth::False,
            "NoBackends",
            "spec.backends is empty; connections are refused until it names some",
        );
    }
    let mut parts = Vec::new();
    for (at, (entry, matched)) in service.backends.iter().zip(&endpoints.matched).enumerate() {
        let Some((inside, outside)) = matched else {
            continue;
        };
        let kind = entry.kind.as_str();
        parts.push(match (inside, outside) {
            (0, 0) => format!("spec.backends[{at}]: no {kind} in namespace {} matches the selector", name.namespace),
            (0, outside) => format!(
                "spec.backends[{at}]: {outside} of kind {kind} match the selector, but none is in a Subnet of Vpc {}",
                service.vpc
            ),
            _ => format!("spec.backends[{at}]: {inside} of kind {kind} match the selector, but none has an address the service can use"),
        });
    }
    if parts.is_empty()
        && service
            .backends
            .iter()
            .any(|entry| matches!(entry.source, Source::Addresses(_)))
    {
        parts.push("no address in spec.backends is of a family the service has".to_owned());
    }
    if parts.is_empty() {
        parts.push("no entry of spec.backends can be used".to_owned());
    }
    say(
        condition::READY,
        Truth::False,
        "NoBackends",
        format!("{}; connections are refused", parts.join("; ")),
    )
}
