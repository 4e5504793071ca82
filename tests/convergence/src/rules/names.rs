//! Names: what OVN's DNS answers on the switches of each VPC.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::ports::Ports;
use super::services::{Served, endpoints, serving};
use super::topology::belongs;
use super::{Case, Complaints, Rule};

type Names = BTreeMap<String, BTreeSet<IpAddr>>;

pub(super) fn check(case: &Case<'_>, ports: &Ports, served: &Served, complaints: &mut Complaints) {
    let mut there: BTreeMap<&str, Names> = BTreeMap::new();
    for entry in case.content.ours("DNS") {
        let unit = entry.label("yusur.io/unit").unwrap_or_default();
        let Some((vpc, _)) = unit
            .strip_prefix("dns/")
            .and_then(|rest| rest.rsplit_once('/'))
        else {
            continue;
        };
        belongs(
            case,
            entry,
            ("Logical_Switch", "dns_records"),
            case.switches(vpc),
            Rule::Name,
            complaints,
        );
        let names = there.entry(vpc).or_default();
        for (name, text) in entry.map("records") {
            complaints.unless(name == name.to_lowercase(), Rule::Name, || {
                format!("{name} would never be found: OVN looks for lower case")
            });
            let addresses = text
                .split(' ')
                .filter_map(|text| text.parse().ok())
                .collect();
            let old = names.insert(name.to_owned(), addresses);
            complaints.unless(old.is_none(), Rule::Once, || {
                format!("Vpc {vpc} has the name {name} twice")
            });
        }
    }
    for vpc in case.meaning.vpcs.keys() {
        let wanted = wanted(case, vpc, ports, served);
        let names = there.remove(vpc).unwrap_or_default();
        for (name, addresses) in &wanted {
            let found = names.get(name);
            complaints.unless(found == Some(addresses), Rule::Name, || {
                format!("in Vpc {vpc} {name} resolves to {found:?} instead of {addresses:?}")
            });
        }
        for name in names.keys().filter(|name| !wanted.contains_key(*name)) {
            complaints.say(Rule::Name, format!("nobody asks for {name} in Vpc {vpc}"));
        }
    }
}

/// The names a VPC is to have.
fn wanted(case: &Case<'_>, vpc: &str, ports: &Ports, served: &Served) -> Names {
    let mut names = Names::new();
    for (key, (_, spec, _)) in &case.objects.services {
        if spec.vpc != vpc || !spec.publish.dns {
            continue;
        }
        let base = format!("{}.{}.svc.{}", key.1, key.0, case.terms.zone).to_lowercase();
        if spec.cluster_ip.as_deref() != Some("None") {
            let vips = served.get(key).cloned().unwrap_or_default();
            names.insert(base, vips);
            continue;
        }
        if !case.meaning.allows(vpc, &key.0) {
            continue;
        }
        let all = endpoints(case, key, spec, &BTreeSet::new(), ports);
        let mut members: BTreeSet<IpAddr> = BTreeSet::new();
        for endpoint in serving(all.iter().collect()) {
            members.insert(endpoint.address);
            if let Some(name) = endpoint.name {
                let name = format!("{}.{base}", name.replace('.', "-").to_lowercase());
                names.entry(name).or_default().insert(endpoint.address);
            }
        }
        names.insert(base, members);
    }
    names.retain(|_, addresses| !addresses.is_empty());
    names
}
