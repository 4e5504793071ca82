//! A Pod's or VNic's port: what its interface, wherever it is, is bound to by its name.

use std::collections::BTreeSet;

use ovsdb_model::{Table, Uuid};
use yusur_crds::VNicStatus;
use yusur_crds::common::condition;

use super::{DesiredRow, Referrer, Rows, accepted, follows, programmed, say, silent, subject};
use crate::family::Family;
use crate::inventory::{Addresses, Inventory, Problem, Subnet, Workload};
use crate::name::Name;
use crate::nb::{self, LogicalSwitch, LogicalSwitchPort, Map, Text};
use crate::unit::Unit;
use crate::verdict::{Status, Truth, Verdict};

pub(super) fn desired(unit: &Unit, inventory: &Inventory) -> (Rows, Verdict) {
    let Some(workload) = inventory.workload(unit) else {
        return (Vec::new(), silent(unit));
    };
    let placed = place(unit, workload, inventory);
    let ids = inventory.ids();
    let mut rows = Vec::new();
    let mut status = Status::None;
    let name = ids.name(unit);

    if let Ok(Some((subnet_name, subnet, held))) = &placed {
        let mac = mac(unit, workload, *held, inventory);
        let mut address = mac.to_string();
        for ip in held.iter() {
            address.push(' ');
            address.push_str(&ip.to_string());
        }
        let address = Text::from(address);
        let secured = workload.vnic.as_ref().is_none_or(|vnic| vnic.port_security);
        let mut options = Map::new();
        if let (Some(_), Some(node)) = (&workload.vnic, &workload.node) {
            options.insert(
                Text::new_static("requested-chassis"),
                Text::new(&**inventory.chassis(node)),
            );
        }
        let mut labels = ids.labels(unit);
        labels.insert(Text::new_static(nb::SUBNET), Text::new(&**subnet_name));
        labels.insert(
            Text::new_static(nb::UID),
            Text::from(workload.header.uid.to_string()),
        );
        let port = LogicalSwitchPort {
            name: name.clone(),
            kind: Text::default(),
            options,
            addresses: BTreeSet::from([address.clone()]),
            port_security: if secured {
                BTreeSet::from([address])
            } else {
                BTreeSet::new()
            },
            external_ids: labels,
            ..LogicalSwitchPort::default()
        };
        let parent = subnet.switch.map(|switch| Referrer {
            table: LogicalSwitch::NAME,
            row: switch,
            column: "ports",
            maker: subnet
                .adopts
                .is_none()
                .then(|| Unit::Subnet((*subnet_name).clone())),
        });
        rows.extend(DesiredRow::new(
            ids.port(unit),
            &port,
            parent.into_iter().collect(),
        ));
        if workload.vnic.is_some() {
            status = Status::VNic(VNicStatus {
                addresses: held.iter().map(|address| address.to_string()).collect(),
                mac_address: Some(mac.to_string()),
                logical_port: Some(name.to_string()),
                ..VNicStatus::default()
            });
        }
    } else if workload.vnic.is_some() {
        // What it has stays on record while the port is withdrawn.
        let (addresses, mac) = inventory.on_record(workload);
        status = Status::VNic(VNicStatus {
            addresses: addresses.iter().map(|ip| ip.to_string()).collect(),
            mac_address: mac.map(str::to_owned),
            ..VNicStatus::default()
        });
    }

    let mut conditions = Vec::new();
    match &placed {
        Ok(None) => {}
        Ok(Some(_)) if workload.vnic.is_none() => {}
        Ok(Some(_)) => {
            let invalid = workload
                .vnic
                .as_ref()
                .and_then(|vnic| vnic.invalid.as_ref());
            conditions.push(accepted(
                invalid,
                "the VNic is valid and its addresses are its own",
            ));
            conditions.push(programmed());
            conditions.push(if workload.up {
                say(condition::READY, Truth::True, "PortUp", "the port is bound and up")
            } else {
                say(
                    condition::READY,
                    Truth::False,
                    "PortDown",
                    format!("no chassis has bound the port yet; its Open vSwitch interface needs external_ids:iface-id={name}"),
                )
            });
        }
        Err(problem) => {
            conditions.push(accepted(Some(problem), ""));
            if workload.vnic.is_some() {
                conditions.extend([
                    follows(condition::PROGRAMMED, problem),
                    follows(condition::READY, problem),
                ]);
            }
        }
    }
    let verdict = Verdict {
        unit: unit.clone(),
        object: subject(unit, &workload.header.uid, workload.header.generation),
        conditions,
        status,
        record_first: false,
    };
    (rows, verdict)
}

/// The Subnet of a port and the addresses it holds; `None` if it is to have no port, or why it cannot have one.
fn place<'a>(
    unit: &Unit,
    workload: &'a Workload,
    inventory: &'a Inventory,
) -> Result<Option<(&'a Name, &'a Subnet, Addresses)>, Problem> {
    if !workload.wants_port() {
        return Ok(None);
    }
    let Some(name) = &workload.subnet else {
        return match &workload.asks {
            None => Ok(None),
            Some(asked) => Err(Problem::new(
                "SubnetNotFound",
                format!("there is no Subnet {asked}; create it, or name another"),
            )),
        };
    };
    let Some(subnet) = inventory.subnet(name) else {
        return Ok(None);
    };
    if let Some(refusal) = inventory.port_refusal(workload, name, subnet) {
        return Err(refusal);
    }
    if let Some(conflict) = inventory.mac_conflict(workload, subnet) {
        return Err(conflict);
    }
    let held = inventory.held(workload);
    if let Some(lost) = workload
        .claims
        .iter()
        .find(|address| !held.iter().any(|other| other == *address))
    {
        let message = match inventory.holder(name, lost) {
            // Another namespace's object stays unnamed.
            Some(Unit::Pod(other)) if other.namespace == workload.name.namespace => {
                format!("Pod {} has it", other.name)
            }
            Some(Unit::VNic(other)) if other.namespace == workload.name.namespace => {
                format!("VNic {} has it", other.name)
            }
            _ => "another port of the Subnet has it".to_owned(),
        };
        return Err(Problem::new(
            "AddressConflict",
            format!("{lost} is taken, {message}; choose another address"),
        ));
    }
    if workload.starved {
        let short = Family::ALL
            .into_iter()
            .find(|family| subnet.range(*family).is_some() && held.get(*family).is_none());
        let family = short.unwrap_or(Family::V4);
        let (taken, all) = inventory.usage(name, family);
        return Err(Problem::new(
            "PoolExhausted",
            format!(
                "no {} address is free in Subnet {name} ({taken} of {all} taken); remove what is not needed, shorten \
                 excludedAddresses, or use another Subnet",
                family.as_str()
            ),
        ));
    }
    if held.is_empty() {
        if let Some(problem) = workload.vnic.as_ref().and_then(|vnic| vnic.invalid.clone()) {
            return Err(problem);
        }
        if subnet.cidrs.is_empty() {
            return Err(Problem::new(
                "NoAddress",
                format!(
                    "Subnet {name} has no cidrs to take an address from; give {} addresses of its own, or the Subnet cidrs",
                    unit_word(unit)
                ),
            ));
        }
        return Ok(None);
    }
    Ok(Some((name, subnet, held)))
}

fn unit_word(unit: &Unit) -> &'static str {
    if matches!(unit, Unit::VNic(_)) {
        "the VNic"
    } else {
        "the Pod"
    }
}

fn mac(unit: &Unit, workload: &Workload, held: Addresses, inventory: &Inventory) -> Text {
    let id = || inventory.ids().port(unit);
    match &workload.vnic {
        // A VNic keeps its MAC address for life, whatever addresses it has.
        Some(vnic) => vnic
            .mac
            .as_ref()
            .map_or_else(|| mac_of(Addresses::default(), id), |mac| Text::new(&**mac)),
        None => mac_of(held, id),
    }
}

/// A locally administered MAC address: of the IPv4 address, which is unique on the switch, else of the row's id.
pub(super) fn mac_of(addresses: Addresses, id: impl FnOnce() -> Uuid) -> Text {
    let octets = match addresses.get(Family::V4) {
        Some(std::net::IpAddr::V4(v4)) => {
            let [a, b, c, d] = v4.octets();
            [0x0a, 0x58, a, b, c, d]
        }
        _ => {
            let id = id().into_bytes();
            [0x0e, id[0], id[1], id[2], id[3], id[4]]
        }
    };
    let [a, b, c, d, e, f] = octets;
    Text::from(format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"))
}
