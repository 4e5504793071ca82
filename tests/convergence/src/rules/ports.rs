//! Ports of Pods and VNics: who has one, where it is, which addresses it has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::topology::belongs;
use super::{Case, Complaints, Rule};
use crate::meaning::{Place, Subnet, same_family};
use crate::objects::{Key, Pod};
use crate::rows::Entry;

/// A port as its row says.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub(super) subnet: String,
    pub(super) mac: String,
    pub(super) addresses: Vec<IpAddr>,
}

/// All ports, by what they are of: `pod/namespace/name`.
pub(super) type Ports = BTreeMap<String, Port>;

pub(super) fn check(case: &Case<'_>, complaints: &mut Complaints) -> Ports {
    let ports = read(case, complaints);
    for (unit, port) in &ports {
        place(case, unit, port, complaints);
    }
    unique(&ports, complaints);
    for (key, pod) in &case.objects.pods {
        self::pod(case, key, pod, &ports, complaints);
    }
    for key in case.objects.vnics.keys() {
        vnic(case, key, &ports, complaints);
    }
    ports
}

fn read(case: &Case<'_>, complaints: &mut Complaints) -> Ports {
    let mut ports = Ports::new();
    for entry in case.content.ours("Logical_Switch_Port") {
        let unit = entry.label("yusur.io/unit").unwrap_or_default();
        if !unit.starts_with("pod/") && !unit.starts_with("vnic/") {
            continue;
        }
        let subnet = entry.label("yusur.io/subnet").unwrap_or_default();
        let texts = entry.texts("addresses");
        let mut words = texts.first().map_or("", |text| text).split(' ');
        let mac = words.next().unwrap_or_default().to_owned();
        let addresses: Vec<IpAddr> = words.filter_map(|word| word.parse().ok()).collect();
        complaints.unless(
            texts.len() == 1 && !addresses.is_empty(),
            Rule::Address,
            || format!("{unit} has addresses {texts:?}"),
        );
        let plain = entry.text("type").is_empty() && entry.row.get_bool("enabled") != Some(false);
        complaints.unless(plain, Rule::Port, || {
            format!("the port of {unit} is no VIF, or is down")
        });
        belongs(
            case,
            entry,
            ("Logical_Switch", "ports"),
            case.switch(subnet).into_iter().collect(),
            Rule::Port,
            complaints,
        );
        security(case, unit, entry, complaints);
        ports.insert(
            unit.to_owned(),
            Port {
                subnet: subnet.to_owned(),
                mac,
                addresses,
            },
        );
    }
    ports
}

/// Port security and the node, as the object says.
fn security(case: &Case<'_>, unit: &str, entry: &Entry, complaints: &mut Complaints) {
    let spec = split(unit)
        .filter(|(kind, _)| *kind == "vnic")
        .and_then(|(_, key)| case.objects.vnics.get(&key))
        .map(|(_, spec, _)| spec);
    let secured = spec.is_none_or(|spec| spec.port_security);
    let wanted = if secured {
        entry.texts("addresses")
    } else {
        Vec::new()
    };
    complaints.unless(entry.texts("port_security") == wanted, Rule::Port, || {
        format!("the port of {unit} may send from other addresses than its spec says")
    });
    let node = spec.and_then(|spec| spec.node.as_deref());
    let chassis = node.map(|node| {
        let chassis = case
            .objects
            .nodes
            .get(node)
            .and_then(|node| node.chassis.as_deref());
        chassis.unwrap_or(node)
    });
    let there = entry.map("options").get("requested-chassis").copied();
    complaints.unless(there == chassis, Rule::Port, || {
        format!("the port of {unit} asks for chassis {there:?} instead of {chassis:?}")
    });
}

/// `kind/namespace/name` in parts.
pub(super) fn split(unit: &str) -> Option<(&str, Key)> {
    let (kind, name) = unit.split_once('/')?;
    let (namespace, name) = name.split_once('/')?;
    Some((kind, (namespace.to_owned(), name.to_owned())))
}

/// The Subnet may have the port, and the addresses fit the Subnet.
fn place(case: &Case<'_>, unit: &str, port: &Port, complaints: &mut Complaints) {
    let Some(subnet) = case
        .meaning
        .subnets
        .get(port.subnet.as_str())
        .filter(|subnet| subnet.stands())
    else {
        complaints.say(
            Rule::Port,
            format!(
                "{unit} is in Subnet {:?}, which does not stand",
                port.subnet
            ),
        );
        return;
    };
    let Some((_, key)) = split(unit) else { return };
    complaints.unless(case.meaning.allows(subnet.vpc, &key.0), Rule::Port, || {
        format!("{unit} is in Vpc {}, which does not allow it", subnet.vpc)
    });
    for address in &port.addresses {
        complaints.unless(subnet.fits(*address), Rule::Address, || {
            format!(
                "{address} of {unit} is no host address of Subnet {}, or its gateway",
                port.subnet
            )
        });
        // What a Pod says it has it may have had before it was excluded; a VNic may have asked for it by name.
        let kept = match unit.starts_with("pod/") {
            true => {
                let pod = case.objects.pods.get(&key);
                pod.is_some_and(|pod| pod.addresses.contains(address))
            }
            false => true,
        };
        complaints.unless(kept || !subnet.is_excluded(*address), Rule::Address, || {
            format!(
                "{address} of {unit} is excluded from Subnet {}",
                port.subnet
            )
        });
    }
    for net in &subnet.nets {
        let of_family = port
            .addresses
            .iter()
            .filter(|address| same_family(**address, net.addr()));
        complaints.unless(of_family.count() == 1, Rule::Address, || {
            format!("{unit} has addresses {:?} in {net}", port.addresses)
        });
    }
}

/// No address and no MAC address twice on one switch, those of others' ports included.
fn unique(ports: &Ports, complaints: &mut Complaints) {
    let mut seen: BTreeMap<(&str, String), &str> = BTreeMap::new();
    for (unit, port) in ports {
        let addresses = port.addresses.iter().map(ToString::to_string);
        for what in addresses.chain([port.mac.to_ascii_lowercase()]) {
            if let Some(other) = seen.insert((&port.subnet, what.clone()), unit) {
                complaints.say(Rule::Once, format!("{unit} and {other} both have {what}"));
            }
        }
    }
}

fn pod(case: &Case<'_>, key: &Key, pod: &Pod, ports: &Ports, complaints: &mut Complaints) {
    let unit = format!("pod/{}/{}", key.0, key.1);
    let Some(port) = ports.get(&unit) else {
        if let Some(reason) = pod_lacks(case, key, pod, ports) {
            complaints.say(Rule::Port, format!("{unit} has no port: {reason}"));
        }
        return;
    };
    complaints.unless(!pod.host_network && !pod.ended, Rule::Port, || {
        format!("{unit} is to have no port")
    });
    let asked = pod
        .subnet
        .as_ref()
        .is_none_or(|asked| *asked == port.subnet);
    complaints.unless(asked, Rule::Port, || {
        format!(
            "{unit} asks for Subnet {:?} and is in {}",
            pod.subnet, port.subnet
        )
    });
}

/// Why a Pod without a port should have one.
fn pod_lacks(case: &Case<'_>, key: &Key, pod: &Pod, ports: &Ports) -> Option<String> {
    if pod.host_network || pod.ended {
        return None;
    }
    let name = match &pod.subnet {
        Some(asked) => asked.as_str(),
        None => {
            // It may be waiting for the Subnet it was placed in before.
            let mut subnets = case.meaning.subnets.values();
            if subnets.any(|subnet| subnet.place == Place::Waiting) {
                return None;
            }
            case.meaning.default_subnet(&key.0)?
        }
    };
    let subnet = case.meaning.subnets.get(name)?;
    if !subnet.stands() || !case.meaning.allows(subnet.vpc, &key.0) || subnet.nets.is_empty() {
        return None;
    }
    if exhausted(case, name, subnet, ports) {
        return None;
    }
    Some(format!("Subnet {name} has room for it"))
}

/// Whether a Subnet has no address left, as far as the rows and the objects tell.
fn exhausted(case: &Case<'_>, name: &str, subnet: &Subnet<'_>, ports: &Ports) -> bool {
    let mut taken: BTreeSet<IpAddr> = ports
        .values()
        .filter(|port| port.subnet == name)
        .flat_map(|port| port.addresses.iter().copied())
        .collect();
    for (_, spec, status) in case
        .objects
        .vnics
        .values()
        .filter(|(_, spec, _)| spec.subnet == name)
    {
        taken.extend(case.meaning.given(spec).unwrap_or_default());
        let recorded = status.iter().flat_map(|status| &status.addresses);
        taken.extend(recorded.filter_map(|text| text.parse::<IpAddr>().ok()));
    }
    // No Pod has an address whose MAC address a VNic has.
    let macs = ports.values().map(|port| port.mac.clone());
    let kept = case.objects.vnics.values().flat_map(|(.., status)| status);
    let macs = macs.chain(kept.filter_map(|status| status.mac_address.clone()));
    taken.extend(macs.filter_map(|mac| of_mac(&mac)));
    for pod in case.objects.pods.values() {
        taken.extend(
            pod.addresses
                .iter()
                .filter(|address| subnet.fits(**address)),
        );
    }
    [true, false]
        .into_iter()
        .filter_map(|ipv4| subnet.pool(ipv4))
        .any(|pool| pool.is_subset(&taken))
}

/// The address that a MAC address follows from.
fn of_mac(mac: &str) -> Option<IpAddr> {
    let mac = mac.to_ascii_lowercase();
    let octets = mac.strip_prefix("0a:58:")?.split(':');
    let octets: Vec<u8> = octets
        .filter_map(|octet| u8::from_str_radix(octet, 16).ok())
        .collect();
    let octets: [u8; 4] = octets.try_into().ok()?;
    Some(octets.into())
}

fn vnic(case: &Case<'_>, key: &Key, ports: &Ports, complaints: &mut Complaints) {
    let (_, spec, status) = &case.objects.vnics[key];
    let unit = format!("vnic/{}/{}", key.0, key.1);
    let Some(port) = ports.get(&unit) else {
        if let Some(reason) = vnic_lacks(case, key, ports) {
            complaints.say(Rule::Port, format!("{unit} has no port: {reason}"));
        }
        return;
    };
    complaints.unless(port.subnet == spec.subnet, Rule::Port, || {
        format!(
            "{unit} asks for Subnet {} and is in {}",
            spec.subnet, port.subnet
        )
    });
    for given in case.meaning.given(spec).unwrap_or_default() {
        complaints.unless(port.addresses.contains(&given), Rule::Address, || {
            format!("{unit} asks for {given} and has {:?}", port.addresses)
        });
    }
    if let Some(mac) = &spec.mac_address {
        complaints.unless(port.mac.eq_ignore_ascii_case(mac), Rule::Address, || {
            format!("{unit} asks for {mac} and has {}", port.mac)
        });
    }
    let recorded: BTreeSet<String> = status
        .iter()
        .flat_map(|status| status.addresses.iter().cloned())
        .collect();
    let there: BTreeSet<String> = port.addresses.iter().map(ToString::to_string).collect();
    complaints.unless(recorded == there, Rule::Record, || {
        format!("the status of {unit} says {recorded:?}, its port {there:?}")
    });
}

/// What is kept in a Subnet for VNics and Pods that have no port at present: addresses, and MAC addresses.
fn kept(case: &Case<'_>, key: &Key, subnet: &str) -> (BTreeSet<IpAddr>, BTreeSet<String>) {
    let (mut addresses, mut macs) = (BTreeSet::new(), BTreeSet::new());
    for (other, (_, spec, status)) in &case.objects.vnics {
        if other == key || spec.subnet != subnet {
            continue;
        }
        if let Some(status) = status {
            let texts = status.addresses.iter();
            addresses.extend(texts.filter_map(|text| text.parse::<IpAddr>().ok()));
            macs.extend(
                status
                    .mac_address
                    .iter()
                    .map(|mac| mac.to_ascii_lowercase()),
            );
        }
    }
    for pod in case.objects.pods.values() {
        addresses.extend(pod.addresses.iter().copied());
    }
    (addresses, macs)
}

/// Why a VNic without a port should have one.
fn vnic_lacks(case: &Case<'_>, key: &Key, ports: &Ports) -> Option<String> {
    let (_, spec, _) = &case.objects.vnics[key];
    let subnet = case.meaning.subnets.get(spec.subnet.as_str())?;
    if !subnet.stands() || !case.meaning.allows(subnet.vpc, &key.0) {
        return None;
    }
    let given = case.meaning.given(spec)?;
    if given.is_empty() && subnet.nets.is_empty() {
        return None;
    }
    let (addresses, macs) = kept(case, key, &spec.subnet);
    for address in &given {
        let held = ports
            .values()
            .any(|port| port.subnet == spec.subnet && port.addresses.contains(address));
        if held || !subnet.fits(*address) || addresses.contains(address) {
            return None;
        }
    }
    let same_mac = spec.mac_address.as_ref().is_some_and(|mac| {
        let mut ports = ports.values();
        let there =
            ports.any(|port| port.subnet == spec.subnet && port.mac.eq_ignore_ascii_case(mac));
        let of_router = subnet.gateways.iter().any(|gateway| match gateway {
            IpAddr::V4(gateway) => {
                let [a, b, c, d] = gateway.octets();
                mac.eq_ignore_ascii_case(&format!("0a:58:{a:02x}:{b:02x}:{c:02x}:{d:02x}"))
            }
            IpAddr::V6(_) => false,
        });
        there || of_router || macs.contains(&mac.to_ascii_lowercase())
    });
    if same_mac || exhausted(case, &spec.subnet, subnet, ports) {
        return None;
    }
    Some(format!("Subnet {} has room for it", spec.subnet))
}
