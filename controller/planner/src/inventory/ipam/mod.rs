//! Who holds what: addresses of Subnets, of VPCs' service ranges and of EIP gateways, MAC addresses, and the numbers by
//! which VPCs and services are reached. One engine for all of them; who asks, and whether it may, is decided outside.
//!
//! The rule. *A claim counts from when it was made*: when a unit was first seen asking for a value, however old its object
//! is. *Who holds a value keeps it* until its object goes or asks for something else: neither an edit of another object nor a
//! restart nor a refusal by an administrator gives it to anybody else. Requests that are new at the same time are
//! served in this order:
//!
//! 1. whose rows in the Northbound have the value: it is in use;
//! 2. whose status records it;
//! 3. the others, the older object first, then by name; first what is asked for by name, then what is allocated.
//!
//! So a start without memory finds the holders again, by what they left behind. Only the order among those that wait
//! for a value is forgotten: it is that of 3 then.
//!
//! *Who is refused asks for nothing new* ([`Request::may`] is false): it keeps what it holds, or has on record and nobody
//! else holds, while it still asks for it, and waits for nothing. A request is served whole or not at all: of a unit that
//! has to wait for one value no other is taken meanwhile.
//!
//! *Rows that stay hold what they carry*: units whose object is not there, because their rows must not be deleted yet, are
//! claimants as well ([`Ipam::haunt`]).

pub(crate) mod claims;
pub(crate) mod mac;
pub(crate) mod numbers;
pub(crate) mod pool;
pub(crate) mod records;

use std::net::IpAddr;

use hashbrown::HashMap;

use self::claims::Claims;
use self::mac::Mac;
use self::pool::{Pool, Room};
use super::Addresses;
use crate::family::Family;
use crate::name::Name;
use crate::unit::Unit;

/// Whose addresses a pool has.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Addresses of ports.
    Subnet(Name),
    /// Cluster addresses.
    Vpc(Name),
    /// External addresses.
    Gateway(Name),
}

/// What is asked for in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    This(IpAddr),
    Any,
}

/// By what a unit is known to have had a value before anybody here remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Evidence {
    Row,
    Status,
}

/// What one unit asks for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) unit: Unit,
    /// Creation of its object, in seconds.
    pub(crate) created: i64,
    pub(crate) scope: Scope,
    /// By family, IPv4 first.
    pub(crate) wants: [Option<Want>; 2],
    pub(crate) mac: Option<Mac>,
    /// False: it is refused at present.
    pub(crate) may: bool,
    /// What it claims in this scope so far.
    pub(crate) had: Addresses,
    /// What else it is known to have had, the likeliest first.
    pub(crate) records: Vec<(IpAddr, Evidence)>,
    pub(crate) mac_record: Option<Evidence>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Granted {
    /// What it claims: holds, or waits for.
    pub(crate) claims: Addresses,
    /// The families for which there was no free address; empty if none was looked for.
    pub(crate) lacks: [bool; 2],
}

/// A unit that has got something, or may get it now: it is to be looked at.
pub(crate) type News = (Scope, Unit);

/// All pools.
#[derive(Debug, Default)]
pub(crate) struct Ipam {
    pools: HashMap<Scope, Pool>,
    /// By Subnet.
    macs: HashMap<Name, Claims<Mac>>,
    /// What units hold of a range that has become another: theirs still, if the range comes back.
    kept: HashMap<(Scope, Unit), Addresses>,
    /// What rows hold whose object is not there.
    ghosts: HashMap<Unit, Vec<Ghost>>,
    news: Vec<News>,
}

/// What a row without an object holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ghost {
    Address(Scope, IpAddr),
    Mac(Name, Mac),
}

const FAMILIES: [Family; 2] = Family::ALL;

impl Ipam {
    /// Sets what a pool is made of. True if that is news.
    pub(crate) fn fit(&mut self, scope: Scope, room: Room) -> bool {
        self.pools.entry(scope).or_default().fit(room)
    }

    /// The scope's object is gone: so is the pool, once nobody holds anything.
    pub(crate) fn close(&mut self, scope: &Scope) {
        if self.pools.get(scope).is_some_and(Pool::is_unclaimed) {
            self.pools.remove(scope);
        } else if let Some(pool) = self.pools.get_mut(scope) {
            pool.fit(Room::default());
        }
    }

    /// Who holds an address.
    pub(crate) fn holder(&self, scope: &Scope, ip: IpAddr) -> Option<&Unit> {
        self.pools.get(scope)?.holder(ip)
    }

    /// Those of the addresses that the unit holds.
    pub(crate) fn held(&self, scope: &Scope, unit: &Unit, claims: &Addresses) -> Addresses {
        let Some(pool) = self.pools.get(scope) else {
            return Addresses::default();
        };
        let claims = claims.iter();
        claims.filter(|ip| pool.holder(*ip) == Some(unit)).collect()
    }

    /// How many addresses are held, and how many there are, in one family.
    pub(crate) fn usage(&self, scope: &Scope, family: Family) -> (u128, u128) {
        self.pools
            .get(scope)
            .map_or((0, 0), |pool| pool.usage(family))
    }

    /// Who holds a MAC address in a Subnet, among those that ask for one by name.
    pub(crate) fn mac_holder(&self, subnet: &Name, mac: Mac) -> Option<&Unit> {
        self.macs.get(subnet)?.holder(mac)
    }

    /// The Pod whose MAC address follows from its address and is this one.
    pub(crate) fn mac_of_pod(&self, subnet: &Name, mac: Mac) -> Option<&Unit> {
        let ip = mac::address_of(mac)?;
        let scope = Scope::Subnet(subnet.clone());
        let holder = self.holder(&scope, ip.into());
        holder.filter(|unit| matches!(unit, Unit::Pod(_)))
    }

    fn mac_open(&self, subnet: &Name, mac: Mac, unit: &Unit) -> bool {
        let scope = Scope::Subnet(subnet.clone());
        let of_router = mac::address_of(mac).is_some_and(|ip| {
            let pool = self.pools.get(&scope);
            pool.is_some_and(|pool| pool.is_own(ip.into()))
        });
        !of_router
            && self.mac_of_pod(subnet, mac).is_none()
            && self
                .macs
                .get(subnet)
                .is_none_or(|macs| macs.open_to(mac, unit))
    }

    /// True if a unit that asks for a MAC address by name has it.
    pub(crate) fn has_mac(&self, subnet: &Name, mac: Mac, unit: &Unit) -> bool {
        self.mac_holder(subnet, mac) == Some(unit)
    }

    /// The units whose lot has changed since the last time, or may now.
    pub(crate) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    // === Giving back ===

    /// A unit gives an address back, or waits for it no more.
    fn release(&mut self, scope: &Scope, unit: &Unit, ip: IpAddr) {
        let Some(pool) = self.pools.get_mut(scope) else {
            return;
        };
        let held = pool.holder(ip) == Some(unit);
        if let Some(next) = pool.release(ip, unit) {
            self.news.push((scope.clone(), next));
            // Whom those wait for now is told in what is said of them.
            let rest = pool.waiting(ip).iter().cloned();
            self.news.extend(rest.map(|unit| (scope.clone(), unit)));
        }
        if !held {
            return;
        }
        let starved = std::mem::take(&mut pool.starved);
        self.news
            .extend(starved.into_iter().map(|unit| (scope.clone(), unit)));
        if let (Scope::Subnet(subnet), Unit::Pod(_), IpAddr::V4(ip)) = (scope, unit, ip) {
            self.pass_mac_on(subnet, mac::of_address(ip));
        }
    }

    /// A MAC address that nobody has any more is the first's that waits for it.
    fn pass_mac_on(&mut self, subnet: &Name, mac: Mac) {
        let waiting = self.macs.get(subnet).map(|macs| macs.waiting(mac));
        let Some(next) = waiting.and_then(|waiting| waiting.first()).cloned() else {
            return;
        };
        if self.mac_open(subnet, mac, &next)
            && let Some(macs) = self.macs.get_mut(subnet)
        {
            macs.claim(mac, &next, false);
            let rest = macs.waiting(mac).iter().cloned();
            let told = [next].into_iter().chain(rest);
            self.news
                .extend(told.map(|unit| (Scope::Subnet(subnet.clone()), unit)));
        }
    }

    /// A unit asks for a MAC address no more.
    pub(crate) fn release_mac(&mut self, subnet: &Name, unit: &Unit, mac: Mac) {
        let Some(macs) = self.macs.get_mut(subnet) else {
            return;
        };
        if macs.release(mac, unit) {
            self.pass_mac_on(subnet, mac);
            // A Pod may be waiting for the address that the MAC address follows from.
            if let Some(pool) = self.pools.get_mut(&Scope::Subnet(subnet.clone())) {
                let starved = std::mem::take(&mut pool.starved).into_iter();
                let scope = Scope::Subnet(subnet.clone());
                self.news.extend(starved.map(|unit| (scope.clone(), unit)));
            }
        }
        let empty = |macs: &Claims<Mac>| macs.is_empty() && macs.is_quiet();
        if self.macs.get(subnet).is_some_and(empty) {
            self.macs.remove(subnet);
        }
    }

    /// A unit gives back all that it has in a scope.
    pub(crate) fn leave(&mut self, scope: &Scope, unit: &Unit, claims: &Addresses) {
        for ip in claims.iter() {
            self.release(scope, unit, ip);
        }
        self.drop_kept(scope, unit);
        if let Some(pool) = self.pools.get_mut(scope) {
            pool.starved.remove(unit);
        }
    }

    /// A unit gives back what it held of another range.
    fn drop_kept(&mut self, scope: &Scope, unit: &Unit) {
        if self.kept.is_empty() {
            return;
        }
        if let Some(kept) = self.kept.remove(&(scope.clone(), unit.clone())) {
            for ip in kept.iter() {
                self.release(scope, unit, ip);
            }
        }
    }

    // === Rows without an object ===

    /// A row that stays holds what it carries, although its object is not there.
    pub(crate) fn haunt(&mut self, unit: &Unit, ghost: Ghost) {
        let holds = match &ghost {
            Ghost::Address(scope, ip) => {
                let pool = self.pools.entry(scope.clone()).or_default();
                pool.open_to(*ip, unit) && pool.claim(*ip, unit, true)
            }
            Ghost::Mac(subnet, mac) => {
                let macs = self.macs.entry(subnet.clone()).or_default();
                macs.open_to(*mac, unit) && macs.claim(*mac, unit, false)
            }
        };
        if holds {
            let ghosts = self.ghosts.entry(unit.clone()).or_default();
            if !ghosts.contains(&ghost) {
                ghosts.push(ghost);
            }
        }
    }

    /// The rows may be deleted, or their object is there: what it does not claim itself is free.
    pub(crate) fn lay(&mut self, unit: &Unit, stays: impl Fn(&Ghost) -> bool) {
        let Some(ghosts) = self.ghosts.remove(unit) else {
            return;
        };
        for ghost in ghosts {
            match &ghost {
                _ if stays(&ghost) => {}
                Ghost::Address(scope, ip) => self.release(scope, unit, *ip),
                Ghost::Mac(subnet, mac) => self.release_mac(subnet, unit, *mac),
            }
        }
    }

    /// The units of rows without an object.
    pub(crate) fn haunting(&self) -> Vec<Unit> {
        self.ghosts.keys().cloned().collect()
    }

    // === Asking ===

    /// Serves requests that are new at the same time, the older first. What becomes of each, in their order.
    pub(crate) fn settle(&mut self, requests: &[&Request]) -> Vec<Granted> {
        let mut granted: Vec<Granted> = requests
            .iter()
            .map(|request| Granted {
                claims: request.had,
                ..Granted::default()
            })
            .collect();
        for (request, granted) in requests.iter().zip(&mut granted) {
            self.pools.entry(request.scope.clone()).or_default();
            if !request.may {
                self.stop_waiting(request, granted);
            }
        }
        for (request, granted) in requests.iter().zip(&mut granted) {
            self.give_back(request, granted);
        }
        self.find_again(requests, &mut granted);
        let mut short = Vec::new();
        for (at, (request, granted)) in requests.iter().zip(&mut granted).enumerate() {
            if request.may && self.ask(request, granted) {
                short.push(at);
            }
        }
        for at in short {
            self.allocate(requests[at], &mut granted[at]);
        }
        granted
    }

    /// Who is refused waits for nothing.
    fn stop_waiting(&mut self, request: &Request, granted: &mut Granted) {
        let held = self.held(&request.scope, &request.unit, &granted.claims);
        for ip in granted.claims.iter() {
            if held.get(Family::of(ip)).is_none() {
                self.release(&request.scope, &request.unit, ip);
            }
        }
        granted.claims = held;
        if let (Some(mac), Scope::Subnet(subnet)) = (request.mac, &request.scope)
            && !self.has_mac(subnet, mac, &request.unit)
        {
            self.release_mac(subnet, &request.unit, mac);
        }
        if let Some(pool) = self.pools.get_mut(&request.scope) {
            pool.starved.remove(&request.unit);
        }
    }

    /// Gives back what is not asked for any more.
    fn give_back(&mut self, request: &Request, granted: &mut Granted) {
        let (scope, unit) = (&request.scope, &request.unit);
        for (family, want) in FAMILIES.into_iter().zip(request.wants) {
            let Some(ip) = granted.claims.get(family) else {
                continue;
            };
            let pool = self.pools.get(scope);
            let holds = pool.is_some_and(|pool| pool.holder(ip) == Some(unit));
            let fits = !request.may || pool.is_some_and(|pool| pool.fits(ip));
            match want {
                Some(Want::This(wanted)) if wanted == ip => continue,
                // Whoever waited for it by name does not hold it.
                Some(Want::Any) if holds && fits => continue,
                Some(Want::Any) if holds => {
                    let key = (scope.clone(), unit.clone());
                    let kept = self.kept.entry(key).or_default();
                    match kept.get(family) {
                        Some(_) => self.release(scope, unit, ip),
                        None => kept.set(ip),
                    }
                }
                _ => self.release(scope, unit, ip),
            }
            granted.claims.clear(family);
        }
        let kept = match self.kept.is_empty() {
            true => None,
            false => self.kept.remove(&(scope.clone(), unit.clone())),
        };
        let mut rest = Addresses::default();
        for ip in kept.iter().flat_map(Addresses::iter) {
            let family = Family::of(ip);
            let any = request.wants[family as usize] == Some(Want::Any);
            let fits = self.pools.get(scope).is_some_and(|pool| pool.fits(ip));
            match (any, fits, granted.claims.get(family)) {
                (true, true, None) => granted.claims.set(ip),
                (true, false, _) => rest.set(ip),
                _ => self.release(scope, unit, ip),
            }
        }
        if !rest.is_empty() {
            self.kept.insert((scope.clone(), unit.clone()), rest);
        }
    }

    /// Gives to each what it is known to have had: by rows before by status.
    fn find_again(&mut self, requests: &[&Request], granted: &mut [Granted]) {
        let mut found = Vec::new();
        let mut macs = Vec::new();
        for (at, request) in requests.iter().enumerate() {
            for (family, want) in FAMILIES.into_iter().zip(request.wants) {
                if granted[at].claims.get(family).is_some() {
                    continue;
                }
                for (ip, evidence) in &request.records {
                    let fits = || {
                        let pool = self.pools.get(&request.scope);
                        !request.may || pool.is_some_and(|pool| pool.fits(*ip))
                    };
                    let asked = match want {
                        Some(Want::This(wanted)) => wanted == *ip,
                        Some(Want::Any) => Family::of(*ip) == family && fits(),
                        None => false,
                    };
                    if asked {
                        found.push((*evidence, request.created, at, *ip));
                    }
                }
            }
            if let (Some(mac), Some(evidence)) = (request.mac, request.mac_record) {
                macs.push((evidence, request.created, at, mac));
            }
        }
        macs.sort_by_key(|(evidence, created, at, _)| (*evidence, *created, *at));
        found.sort_by_key(|(evidence, created, at, _)| (*evidence, *created, *at));
        for (_, _, at, mac) in macs {
            let unit = &requests[at].unit;
            if let Scope::Subnet(subnet) = &requests[at].scope
                && self.mac_open(subnet, mac, unit)
            {
                let macs = self.macs.entry(subnet.clone()).or_default();
                macs.claim(mac, unit, false);
            }
        }
        for (_, _, at, ip) in found {
            let (request, granted) = (requests[at], &mut granted[at]);
            let family = Family::of(ip);
            if granted.claims.get(family).is_some() || self.spoken_for(request, ip) {
                continue;
            }
            let by_name = request.wants[family as usize] == Some(Want::This(ip));
            if let Some(pool) = self.pools.get_mut(&request.scope)
                && pool.open_to(ip, &request.unit)
            {
                pool.claim(ip, &request.unit, !by_name);
                granted.claims.set(ip);
            }
        }
    }

    /// True if a port could not have the address with the MAC address that follows from it.
    fn spoken_for(&self, request: &Request, ip: IpAddr) -> bool {
        match (&request.scope, &request.unit, ip) {
            (Scope::Subnet(subnet), Unit::Pod(_), IpAddr::V4(ip)) => {
                self.mac_holder(subnet, mac::of_address(ip)).is_some()
            }
            _ => false,
        }
    }

    /// Asks for what is wanted by name, all or nothing. True if some family's address is to be chosen yet.
    fn ask(&mut self, request: &Request, granted: &mut Granted) -> bool {
        let unit = &request.unit;
        let mac_open = match (&request.scope, request.mac) {
            (Scope::Subnet(subnet), Some(mac)) => self.mac_open(subnet, mac, unit),
            _ => true,
        };
        let Some(pool) = self.pools.get_mut(&request.scope) else {
            return false;
        };
        let named = request.wants.into_iter().filter_map(|want| match want {
            Some(Want::This(ip)) => Some(ip),
            Some(Want::Any) | None => None,
        });
        let named: Vec<IpAddr> = named.collect();
        let whole = mac_open && named.iter().all(|ip| pool.open_to(*ip, unit));
        for ip in named {
            if whole || !pool.open_to(ip, unit) {
                pool.claim(ip, unit, false);
                granted.claims.set(ip);
            }
        }
        if let (Scope::Subnet(subnet), Some(mac)) = (&request.scope, request.mac) {
            let macs = self.macs.entry(subnet.clone()).or_default();
            if whole {
                macs.claim(mac, unit, false);
            } else if !mac_open {
                macs.wait(mac, unit);
            }
        }
        let lacks = |(family, want): (Family, Option<Want>)| {
            want == Some(Want::Any) && granted.claims.get(family).is_none()
        };
        whole && FAMILIES.into_iter().zip(request.wants).any(lacks)
    }

    fn allocate(&mut self, request: &Request, granted: &mut Granted) {
        let (scope, unit) = (&request.scope, &request.unit);
        let macs = match (scope, unit) {
            (Scope::Subnet(subnet), Unit::Pod(_)) => self.macs.get(subnet),
            _ => None,
        };
        let avoid = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => macs.is_some_and(|macs| macs.holder(mac::of_address(ip)).is_some()),
            IpAddr::V6(_) => false,
        };
        let Some(pool) = self.pools.get_mut(scope) else {
            return;
        };
        let mut starved = false;
        for (family, want) in FAMILIES.into_iter().zip(request.wants) {
            if want != Some(Want::Any) || granted.claims.get(family).is_some() {
                continue;
            }
            match pool.allocate(family, unit, avoid) {
                Some(ip) => granted.claims.set(ip),
                None => {
                    granted.lacks[family as usize] = true;
                    starved = true;
                }
            }
        }
        if starved {
            pool.starved.insert(unit.clone());
        } else {
            pool.starved.remove(unit);
        }
    }
}

impl Request {
    /// What is wanted, by family, of what was given and the families there are to be.
    pub(crate) fn wants(families: &[Family], given: &Addresses) -> [Option<Want>; 2] {
        FAMILIES.map(|family| {
            let wanted = families.contains(&family);
            match given.get(family) {
                Some(ip) => wanted.then_some(Want::This(ip)),
                None => wanted.then_some(Want::Any),
            }
        })
    }
}
