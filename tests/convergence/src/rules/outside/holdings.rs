//! Who holds which external address: what was given or allocated, of the gateway's range, and nobody else's.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::meaning::{Ask, Gateway};
use crate::rules::{Case, Complaints, Rule};

pub(super) fn check(case: &Case<'_>, complaints: &mut Complaints) {
    for (at, ask) in case.meaning.asks.iter().enumerate() {
        // What one has that is refused is kept for it; no row may use it, see the leftovers.
        let Some(name) = ask.gateway.filter(|_| ask.accepted) else {
            continue;
        };
        let gateway = &case.meaning.gateways[name];
        one(case, ask, gateway, complaints);
        for other in &case.meaning.asks[..at] {
            let both = other.holds.intersection(&ask.holds).next();
            let shared = both.filter(|_| other.gateway == ask.gateway);
            complaints.unless(shared.is_none(), Rule::Once, || {
                format!("{:?} and {:?} both hold {shared:?}", other.unit, ask.unit)
            });
        }
    }
    for (key, (.., status)) in &case.objects.eips {
        let ask = case
            .meaning
            .asks
            .iter()
            .find(|ask| ask.unit == ("eip", key));
        let wanted = ask.and_then(|ask| ask.gateway);
        let there = status.as_ref().and_then(|status| status.gateway.as_deref());
        // Of one that cannot have what it asks for nothing needs to be said.
        let refused = ask.is_none_or(|ask| !ask.accepted);
        complaints.unless(there == wanted || refused, Rule::Record, || {
            format!("the status of Eip {key:?} says gateway {there:?} instead of {wanted:?}")
        });
    }
}

fn one(case: &Case<'_>, ask: &Ask<'_>, gateway: &Gateway<'_>, complaints: &mut Complaints) {
    let unit = ask.unit;
    for address in &ask.holds {
        complaints.unless(gateway.keeps(*address), Rule::Eip, || {
            format!("{unit:?} holds {address}, which its gateway does not give")
        });
        let family = |other: &&IpAddr| other.is_ipv4() == address.is_ipv4();
        let asked = ask.given.iter().find(family);
        let fits = asked.is_none_or(|asked| asked == address);
        complaints.unless(fits, Rule::Eip, || {
            format!("{unit:?} holds {address} and asked for {asked:?}")
        });
        let alone = ask.holds.iter().filter(family).count() == 1;
        let families = ask.families.as_ref();
        let wanted = families.is_none_or(|families| families.contains(&address.is_ipv4()));
        complaints.unless(alone && wanted, Rule::Eip, || {
            format!("{unit:?} holds {:?} for families {families:?}", ask.holds)
        });
    }
    let others = case.meaning.asks.iter();
    let others = others.filter(|other| other.unit != unit);
    // Of whichever gateway: what is kept for one that is refused may be of this one.
    let taken: BTreeSet<IpAddr> = others
        .clone()
        .flat_map(|other| other.holds.iter().chain(&other.reserved).copied())
        .collect();
    // Who has to wait for one address gets no other meanwhile.
    let waits = ask.given.iter().any(|asked| taken.contains(asked));
    let families = match &ask.families {
        Some(families) => families.clone(),
        // At least one of those it can have.
        None if !ask.holds.is_empty() => Vec::new(),
        None => vec![gateway.nets[0].addr().is_ipv4()],
    };
    for ipv4 in families {
        let of_family = |address: &&IpAddr| address.is_ipv4() == ipv4;
        if ask.holds.iter().any(|address| of_family(&address)) {
            continue;
        }
        let excused = match ask.given.iter().find(of_family) {
            _ if waits => true,
            Some(_) => false,
            None => gateway.room(ipv4).is_some_and(|room| {
                // What is asked for by name and not had yet is not handed out.
                let named = others.clone().flat_map(|other| other.given.iter().copied());
                let taken: BTreeSet<IpAddr> = taken.iter().copied().chain(named).collect();
                room.is_subset(&taken)
            }),
        };
        complaints.unless(excused, Rule::Eip, || {
            format!(
                "{unit:?} has no address although its gateway has room; it holds {:?}",
                ask.holds
            )
        });
    }
}
