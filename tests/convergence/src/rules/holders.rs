//! Who holds what, by the rows: so that it can be told whether somebody has been given what another had.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ovsdb_model::Database;

use super::ports::split;
use super::{Complaint, Rule};
use crate::network::is_of_vpcs;
use crate::objects::Objects;
use crate::rows::{Content, Foreign};

/// A value that one at a time can have: where it is of, and what it is.
type Value = (String, String);

/// Who holds something.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    unit: String,
    /// Which object of that name.
    uid: String,
    /// All of its spec that says what it asks for.
    asks: String,
}

/// Who holds what.
#[derive(Clone, Debug, Default)]
pub struct Holders(BTreeMap<Value, Holder>);

impl Holders {
    /// What the rows of objects that are there say.
    pub fn of(objects: &Objects, database: &Database, foreign: &Foreign) -> Self {
        let content = Content::read(database, foreign);
        let mut holders = Self::default();
        for entry in content.ours("Logical_Switch_Port") {
            let unit = entry.label("yusur.io/unit").unwrap_or_default();
            let Some(subnet) = entry.label("yusur.io/subnet") else {
                continue;
            };
            let texts = entry.texts("addresses");
            for word in texts.iter().flat_map(|text| text.split(' ')) {
                holders.note(objects, (format!("subnet {subnet}"), word.to_owned()), unit);
            }
        }
        for entry in content.ours("Load_Balancer") {
            let unit = entry.label("yusur.io/unit").unwrap_or_default();
            let key = split(unit).map(|(_, key)| key);
            let Some((_, spec, status)) = key.and_then(|key| objects.services.get(&key)) else {
                continue;
            };
            let own: Vec<IpAddr> = status
                .iter()
                .flat_map(|status| &status.cluster_ips)
                .filter_map(|text| text.parse().ok())
                .collect();
            for vip in entry.map("vips").into_keys() {
                let vip = vip.parse::<SocketAddr>().ok();
                if let Some(ip) = vip.map(|vip| vip.ip())
                    && own.contains(&ip)
                    && !is_of_vpcs(ip)
                {
                    holders.note(objects, (format!("vpc {}", spec.vpc), ip.to_string()), unit);
                }
            }
        }
        for router in content.ours("Logical_Router") {
            let gateway = router.label("yusur.io/unit").unwrap_or_default();
            let owners = router.uuids("nat");
            for entry in content.ours("NAT") {
                let unit = entry.label("yusur.io/unit").unwrap_or_default();
                if owners.contains(&entry.uuid) && entry.text("type") == "dnat_and_snat" {
                    let value = (gateway.to_owned(), entry.text("external_ip").to_owned());
                    holders.note(objects, value, unit);
                }
            }
        }
        holders
    }

    fn note(&mut self, objects: &Objects, value: Value, unit: &str) {
        if let Some((uid, asks)) = asks(objects, unit) {
            let unit = unit.to_owned();
            self.0.insert(value, Holder { unit, uid, asks });
        }
    }

    /// What somebody had before, asks for as before, and another has now.
    pub fn lost(&self, objects: &Objects, now: &Self) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        for (value, holder) in &self.0 {
            let Some(other) = now.0.get(value).filter(|other| other.unit != holder.unit) else {
                continue;
            };
            if asks(objects, &holder.unit) == Some((holder.uid.clone(), holder.asks.clone())) {
                complaints.push(Complaint {
                    rule: Rule::Kept,
                    message: format!(
                        "{} has {value:?}, which {} had and asks for as before",
                        other.unit, holder.unit
                    ),
                });
            }
        }
        complaints
    }
}

/// Which object a unit's is, and what it asks for; `None` if it is not there.
fn asks(objects: &Objects, unit: &str) -> Option<(String, String)> {
    let (kind, key) = split(unit)?;
    Some(match kind {
        "pod" => {
            let pod = objects.pods.get(&key)?;
            let asks = (&pod.subnet, pod.host_network, pod.ended);
            (pod.meta.uid.clone(), format!("{asks:?}"))
        }
        "vnic" => {
            let (meta, spec, _) = objects.vnics.get(&key)?;
            let asks = (&spec.subnet, &spec.addresses, &spec.mac_address);
            (meta.uid.clone(), format!("{asks:?}"))
        }
        "service" => {
            let (meta, spec, _) = objects.services.get(&key)?;
            let inside = (&spec.vpc, &spec.cluster_ip, &spec.cluster_ips);
            let asks = (inside, &spec.ip_families, &spec.ip_family_policy, &spec.eip);
            // One that has no ports has no use for an address.
            let serves = spec.ports.is_empty();
            (meta.uid.clone(), format!("{asks:?} {serves}"))
        }
        "eip" => {
            let (meta, spec, _) = objects.eips.get(&key)?;
            (meta.uid.clone(), format!("{spec:?}"))
        }
        _ => return None,
    })
}
