//! MAC addresses that VNics ask for by name. On one switch each is one port's: the oldest claim has it, and what follows
//! from an address that a Pod has (or from the gateway's) is that Pod's.

use std::net::{IpAddr, Ipv4Addr};

use super::topology::Subnet;
use super::workload::Workload;
use super::{Inventory, Problem};
use crate::name::Name;
use crate::unit::Unit;

/// What MAC addresses that follow from an IPv4 address begin with.
pub(crate) const OF_ADDRESS: [u8; 2] = [0x0a, 0x58];

/// The IPv4 address that a MAC address follows from.
fn address_of(mac: &str) -> Option<Ipv4Addr> {
    let mut octets = mac.split(':').map(|octet| u8::from_str_radix(octet, 16));
    let mut next = || octets.next()?.ok();
    (next()? == OF_ADDRESS[0] && next()? == OF_ADDRESS[1])
        .then(|| Some(Ipv4Addr::new(next()?, next()?, next()?, next()?)))?
}

/// The MAC address that follows from an IPv4 address.
fn mac_of(address: Ipv4Addr) -> String {
    let ([x, y], [a, b, c, d]) = (OF_ADDRESS, address.octets());
    format!("{x:02x}:{y:02x}:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

impl Workload {
    /// The MAC address a VNic asks for.
    pub(super) fn given_mac(&self) -> Option<&str> {
        self.vnic.as_ref()?.mac.as_deref()
    }
}

impl Inventory {
    /// Notes that a VNic asks for its MAC address in the Subnet it is in.
    pub(super) fn claim_mac(&mut self, id: u32) {
        self.change_mac(id, |claims, claim| claims.insert(claim));
    }

    /// The VNic does not ask for its MAC address any more, or not there.
    pub(super) fn release_mac(&mut self, id: u32) {
        self.change_mac(id, |claims, claim| claims.remove(&claim));
    }

    fn change_mac(
        &mut self,
        id: u32,
        change: impl FnOnce(&mut std::collections::BTreeSet<(i64, Unit)>, (i64, Unit)) -> bool,
    ) {
        let Some(workload) = self.workloads.get(id) else {
            return;
        };
        let (Some(mac), Some(name), Some(unit)) =
            (workload.given_mac(), &workload.subnet, workload.unit())
        else {
            return;
        };
        let Some(subnet) = self.subnets.get_mut(name) else {
            return;
        };
        let mac: Box<str> = mac.into();
        let claims = subnet.macs.entry(mac.clone()).or_default();
        let changed = change(claims, (workload.header.created, unit));
        let concerned: Vec<Unit> = claims.iter().map(|(_, unit)| unit.clone()).collect();
        if claims.is_empty() {
            subnet.macs.remove(&mac);
        }
        if changed {
            self.ports_changed(concerned);
        }
    }

    /// An address of a Subnet has been taken or given back: whoever asks for the MAC address that follows from it may
    /// have it no more, or may now.
    pub(super) fn mac_followed(&mut self, subnet: &Name, address: IpAddr) {
        let Some(subnet) = self.subnets.get(subnet).filter(|s| !s.macs.is_empty()) else {
            return;
        };
        if let IpAddr::V4(address) = address
            && let Some(claims) = subnet.macs.get(mac_of(address).as_str())
        {
            let concerned = claims.iter().map(|(_, unit)| unit.clone()).collect();
            self.ports_changed(concerned);
        }
    }

    fn ports_changed(&mut self, units: Vec<Unit>) {
        for unit in units {
            if let Some((id, _)) = self.workloads.of_unit(&unit) {
                self.workload_changed(id);
            }
        }
    }

    /// Why a VNic cannot have the MAC address it asks for.
    pub(crate) fn mac_conflict(&self, workload: &Workload, subnet: &Subnet) -> Option<Problem> {
        let (mac, unit) = (workload.given_mac()?, workload.unit()?);
        let taken = |who: String| {
            Problem::new(
                "MACConflict",
                format!("{mac} is taken, {who} has it; choose another macAddress, or leave it out"),
            )
        };
        if let Some(address) = address_of(mac).map(IpAddr::V4) {
            if subnet.gateways.contains(&address) {
                return Some(taken("the router of the Subnet".to_owned()));
            }
            if let Some(Unit::Pod(pod)) = subnet.pool.holder(address) {
                return Some(taken(if pod.namespace == workload.name.namespace {
                    format!("Pod {}", pod.name)
                } else {
                    "another port of the Subnet".to_owned()
                }));
            }
        }
        match subnet.macs.get(mac)?.first()? {
            (_, holder) if *holder == unit => None,
            // Another namespace's object stays unnamed.
            (_, Unit::VNic(other)) if other.namespace == workload.name.namespace => {
                Some(taken(format!("the older VNic {}", other.name)))
            }
            _ => Some(taken("an older port of the Subnet".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_addresses() {
        let address = Ipv4Addr::new(10, 0, 1, 7);
        assert_eq!(mac_of(address), "0a:58:0a:00:01:07");
        assert_eq!(address_of("0a:58:0a:00:01:07"), Some(address));
        assert_eq!(address_of("0e:58:0a:00:01:07"), None);
    }
}
