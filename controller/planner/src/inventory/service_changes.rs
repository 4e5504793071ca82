//! YusurServices come, change and go.

use std::net::IpAddr;

use yusur_crds::{YusurServiceSpec, YusurServiceStatus};

use super::Inventory;
use super::parse::Addresses;
use super::service::Service;
use crate::input::Object;
use crate::name::ObjectName;
use crate::unit::Unit;

impl Inventory {
    /// A service's backends may be others.
    pub(super) fn service_changed(&mut self, name: &ObjectName) {
        if let Some(service) = self.services.get(name) {
            // The names of a headless service are its backends.
            if service.headless() && service.dns {
                let bucket = Unit::Dns(service.vpc.clone(), bucket(name));
                self.dirty.add(bucket);
            }
        }
        self.dirty.add(Unit::Service(name.clone()));
    }

    /// Everything about a service may be different, its addresses included.
    pub(super) fn service_unsettled(&mut self, name: &ObjectName) {
        if let Some(service) = self.services.get(name) {
            let unit = Unit::Service(name.clone());
            if service.dns {
                self.dirty.add(Unit::Dns(service.vpc.clone(), bucket(name)));
            }
            if service.crosses() {
                self.dirty.add(Unit::Calls(service.vpc.clone()));
            }
            let created = service.header.created;
            self.pending.insert((created, unit.clone()));
            self.external_unsettled(&unit);
            self.dirty.add(unit);
        }
    }

    pub(super) fn apply_service(&mut self, object: &Object<YusurServiceSpec, YusurServiceStatus>) {
        let namespace = self.intern(&object.meta.namespace);
        let name = object.meta.named(&namespace);
        let mut new = Service::parse(object);
        new.keep_off(&self.config.ranges);
        new.vpc = self.intern(&new.vpc.clone());
        if self
            .services
            .get(&name)
            .is_some_and(|old| old.header.uid != new.header.uid)
        {
            self.remove_service(&name);
        }
        let Some(old) = self.services.get_mut(&name) else {
            self.insert_service(name.clone(), new);
            self.external_arrived(&name);
            self.service_unsettled(&name);
            return;
        };
        old.recorded = new.recorded;
        let external = old.external_recorded(&new);
        let recorded = [new.recorded, external.unwrap_or_default()];
        let recorded: Vec<IpAddr> = recorded.iter().flat_map(Addresses::iter).collect();
        self.recorded(&Unit::Service(name.clone()), &recorded);
        let Some(old) = self.services.get(&name) else {
            return;
        };
        if !old.is_on_record() {
            // Its status has lost an address that rows may not use yet.
            let unit = Unit::Service(name.clone());
            self.pending.insert((old.header.created, unit.clone()));
            self.external_unsettled(&unit);
        }
        let Some(old) = self.services.get(&name) else {
            return;
        };
        if old.same_spec(&new) {
            return;
        }
        let moved = old.vpc != new.vpc || old.header.created != new.header.created;
        let unsettled = moved
            || old.wants != new.wants
            || old.dns != new.dns
            || old.ports.is_empty() != new.ports.is_empty();
        let renamed = moved || old.dns != new.dns;
        let keeps = !moved && new.keep_external(old);
        if !moved {
            new.outcome = old.outcome.clone();
        }
        self.external_leaves(&name, keeps);
        self.crossing_leaves(&name, true);
        if renamed {
            // Where its name was until now.
            self.dns_changed(&name);
        }
        if moved {
            self.release_vips(&name);
        }
        // Its key in the maps is shared with its units: keep the one that is there.
        let key = self
            .services
            .get_key_value(&name)
            .map_or(name, |(key, _)| key.clone());
        self.unindex_service(&key);
        self.insert_service(key.clone(), new);
        self.external_arrived(&key);
        if unsettled {
            self.service_unsettled(&key);
        } else {
            self.service_changed(&key);
        }
    }

    pub(super) fn remove_service(&mut self, name: &ObjectName) {
        let Some(service) = self.services.get(name) else {
            return;
        };
        let (dns, vpc, created) = (service.dns, service.vpc.clone(), service.header.created);
        let unit = Unit::Service(name.clone());
        self.release_vips(name);
        self.external_leaves(name, false);
        self.crossing_leaves(name, false);
        self.unindex_service(name);
        self.services.remove(name);
        self.pending.remove(&(created, unit.clone()));
        if dns {
            self.dirty.add(Unit::Dns(vpc, bucket(name)));
        }
        self.dirty.add(unit);
        self.drop_space(&name.namespace);
    }
}

/// Which bucket of its VPC's DNS names a service is in: FNV-1a of its name, folded to a byte.
pub(crate) fn bucket(name: &ObjectName) -> u8 {
    let bytes = name
        .namespace
        .bytes()
        .chain([b'/'])
        .chain(name.name.bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let [a, b, c, d] = hash.to_be_bytes();
    a ^ b ^ c ^ d
}
