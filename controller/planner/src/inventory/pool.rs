//! Address pools: who holds which address of a Subnet or of a VPC's service ranges.
//!
//! An address has claimants; the most senior holds it and the others wait (decision: the older of two claims wins).
//! Allocation goes upwards through addresses never used, then through freed ones, the longest-freed first, so that what
//! still remembers an old holder (a client, a neighbour cache, a conntrack entry) has had the most time to forget.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hashbrown::HashMap;
use ipnet::IpNet;

use crate::family::Family;
use crate::unit::Unit;

/// Of two claims on an address the lesser wins; equals are told apart by their unit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Seniority {
    /// Given addresses rank behind addresses that were allocated, where the pool's owner says so.
    pub(crate) class: u8,
    /// Creation of the object, in seconds.
    pub(crate) created: i64,
}

/// The lesser is the senior one. The fields of [`Seniority`] are its own: so they take less room.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Claim {
    class: u8,
    created: i64,
    unit: Unit,
    allocated: bool,
}

/// A change of an address's holder: both units' rows change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Handover {
    pub(crate) from: Option<Unit>,
    pub(crate) to: Option<Unit>,
}

/// How many freed addresses are remembered in order, per pool and family. Those forgotten are found again by a later pass.
const FREED_REMEMBERED: usize = 1 << 16;

#[derive(Debug, Default)]
struct Half {
    /// Disjoint, sorted ranges of addresses that may be allocated (excluded ones are cut out), both ends included.
    ranges: Vec<(u128, u128)>,
    /// Addresses of `ranges` that somebody claims.
    taken: u128,
    /// Where the pass through the addresses never used goes on; `None` before the first allocation.
    cursor: Option<u128>,
    /// Where that pass ends: it started just after.
    end: Option<u128>,
    freed: HashMap<u128, u64>,
    freed_order: VecDeque<(u128, u64)>,
    freed_seq: u64,
}

/// The half of each family.
#[derive(Debug, Default)]
struct Halves {
    v4: Half,
    v6: Half,
}

impl Halves {
    fn of(&self, family: Family) -> &Half {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    fn of_mut(&mut self, family: Family) -> &mut Half {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

/// The addresses of one Subnet, or of one VPC's service ranges.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    halves: Halves,
    /// Who holds an address: the senior of its claims, nearly always the only one.
    claims: Claims,
    /// The other claims on the addresses that have any.
    waiting: HashMap<IpAddr, Vec<Claim>>,
}

/// Claims by address, each family apart: a key that could be of either would be half as large as the claim.
#[derive(Debug, Default)]
struct Claims {
    v4: HashMap<Ipv4Addr, Claim>,
    v6: HashMap<Ipv6Addr, Claim>,
}

impl Claims {
    fn get(&self, ip: IpAddr) -> Option<&Claim> {
        match ip {
            IpAddr::V4(ip) => self.v4.get(&ip),
            IpAddr::V6(ip) => self.v6.get(&ip),
        }
    }

    fn insert(&mut self, ip: IpAddr, claim: Claim) {
        match ip {
            IpAddr::V4(ip) => self.v4.insert(ip, claim),
            IpAddr::V6(ip) => self.v6.insert(ip, claim),
        };
    }

    fn remove(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.v4.remove(&ip),
            IpAddr::V6(ip) => self.v6.remove(&ip),
        };
    }

    /// The claims on addresses of a family, in no order.
    fn of(&self, family: Family) -> impl Iterator<Item = (u128, &Claim)> {
        let (v4, v6) = match family {
            Family::V4 => (Some(&self.v4), None),
            Family::V6 => (None, Some(&self.v6)),
        };
        let v4 = v4.into_iter().flatten();
        let v6 = v6.into_iter().flatten();
        v4.map(|(ip, claim)| (number((*ip).into()), claim))
            .chain(v6.map(|(ip, claim)| (number((*ip).into()), claim)))
    }

    fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

pub(crate) fn address(family: Family, number: u128) -> IpAddr {
    match family {
        // The ranges of the IPv4 half came from IPv4 addresses: the number fits.
        Family::V4 => Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        Family::V6 => Ipv6Addr::from_bits(number).into(),
    }
}

/// The addresses of a network that a host may have: without the network and broadcast addresses of IPv4 (RFC 950) and
/// the subnet-router anycast address of IPv6 (RFC 4291 §2.6.1).
pub(crate) fn host_range(net: IpNet) -> (u128, u128) {
    let (first, last) = (number(net.network()), number(net.broadcast()));
    match net {
        IpNet::V4(net) if net.prefix_len() < 31 => (first + 1, last - 1),
        IpNet::V6(net) if net.prefix_len() < 127 => (first + 1, last),
        _ => (first, last),
    }
}

impl Half {
    fn set_ranges(&mut self, mut wanted: Vec<(u128, u128)>, mut excluded: Vec<(u128, u128)>) {
        wanted.sort_unstable();
        excluded.sort_unstable();
        let mut ranges: Vec<(u128, u128)> = Vec::new();
        for (mut first, last) in wanted {
            if let Some(&(_, previous)) = ranges.last() {
                first = first.max(previous.saturating_add(1));
            }
            let mut open = first <= last;
            for &(from, to) in &excluded {
                if !open || from > last {
                    break;
                }
                if to < first {
                    continue;
                }
                if from > first {
                    ranges.push((first, from - 1));
                }
                match to.checked_add(1) {
                    Some(next) if next <= last => first = next,
                    _ => open = false,
                }
            }
            if open {
                ranges.push((first, last));
            }
        }
        self.ranges = ranges;
        self.cursor = None;
        self.end = None;
    }

    fn contains(&self, number: u128) -> bool {
        let at = self.ranges.partition_point(|&(_, last)| last < number);
        self.ranges
            .get(at)
            .is_some_and(|&(first, _)| first <= number)
    }

    fn capacity(&self) -> u128 {
        self.ranges.iter().fold(0_u128, |sum, (first, last)| {
            sum.saturating_add((last - first).saturating_add(1))
        })
    }

    /// The first address at or after `number`, going round.
    fn at_or_after(&self, number: u128) -> Option<u128> {
        let at = self.ranges.partition_point(|&(_, last)| last < number);
        let range = self.ranges.get(at).or_else(|| self.ranges.first())?;
        Some(if at < self.ranges.len() {
            range.0.max(number)
        } else {
            range.0
        })
    }

    fn free(&mut self, number: u128) {
        self.freed_seq += 1;
        self.freed.insert(number, self.freed_seq);
        self.freed_order.push_back((number, self.freed_seq));
        while self.freed_order.len() > FREED_REMEMBERED {
            self.pop_freed();
        }
    }

    /// The longest-freed address; also sweeps out those that were claimed again since.
    fn pop_freed(&mut self) -> Option<u128> {
        while let Some((number, seq)) = self.freed_order.pop_front() {
            if self.freed.get(&number) == Some(&seq) {
                self.freed.remove(&number);
                return Some(number);
            }
        }
        None
    }

    fn pick(&mut self, claims: &Claims, family: Family) -> Option<u128> {
        if self.taken >= self.capacity() {
            return None;
        }
        if self.cursor.is_none() {
            // Start above what was allocated in an earlier life: those below may have been freed just now.
            let highest = claims
                .of(family)
                .filter(|(number, claim)| claim.allocated && self.contains(*number))
                .map(|(number, _)| number)
                .max();
            self.start_pass(
                highest
                    .and_then(|highest| highest.checked_add(1))
                    .unwrap_or(0),
            )?;
        }
        for _ in 0..2 {
            while let Some(candidate) = self.cursor_next() {
                let unclaimed = claims.get(address(family, candidate)).is_none();
                if unclaimed && !self.freed.contains_key(&candidate) {
                    return Some(candidate);
                }
            }
            while let Some(freed) = self.pop_freed() {
                if self.contains(freed) && claims.get(address(family, freed)).is_none() {
                    return Some(freed);
                }
            }
            // Some are free, but forgotten: pass once more.
            self.start_pass(self.cursor.unwrap_or(0))?;
        }
        None
    }

    fn start_pass(&mut self, from: u128) -> Option<()> {
        let start = self.at_or_after(from)?;
        self.cursor = Some(start);
        self.end = Some(start);
        // A pass ends when it comes round to its start; it has not moved yet.
        self.end_is_start();
        Some(())
    }

    fn end_is_start(&mut self) {
        self.end = self.cursor.and_then(|start| self.before(start));
    }

    /// The address before `number`, going round.
    fn before(&self, number: u128) -> Option<u128> {
        let at = self.ranges.partition_point(|&(_, last)| last < number);
        match self.ranges.get(at) {
            Some(&(first, _)) if first < number => Some(number - 1),
            _ if at > 0 => Some(self.ranges[at - 1].1),
            _ => self.ranges.last().map(|&(_, last)| last),
        }
    }

    /// Steps the pass: the address at the cursor, until the pass is over.
    fn cursor_next(&mut self) -> Option<u128> {
        let (here, end) = (self.cursor?, self.end?);
        if here == end {
            self.end = None;
        }
        self.cursor = self.at_or_after(here.checked_add(1).unwrap_or(0));
        Some(here)
    }
}

impl Pool {
    /// Sets what may be allocated: `wanted` without `excluded` (ranges, both ends included). Claims stay.
    pub(crate) fn set_ranges(
        &mut self,
        wanted: &[(IpAddr, IpAddr)],
        excluded: &[(IpAddr, IpAddr)],
    ) {
        for family in Family::ALL {
            let of = |list: &[(IpAddr, IpAddr)]| -> Vec<(u128, u128)> {
                list.iter()
                    .filter(|(first, _)| Family::of(*first) == family)
                    .map(|(first, last)| (number(*first), number(*last)))
                    .collect()
            };
            let half = self.halves.of_mut(family);
            half.set_ranges(of(wanted), of(excluded));
            let taken = self
                .claims
                .of(family)
                .filter(|(number, _)| half.contains(*number))
                .count();
            half.taken = taken as u128;
        }
    }

    /// Claims an address for a unit; a unit claims an address once. The holder may change.
    pub(crate) fn claim(
        &mut self,
        ip: IpAddr,
        unit: &Unit,
        seniority: Seniority,
        allocated: bool,
    ) -> Handover {
        let claim = Claim {
            class: seniority.class,
            created: seniority.created,
            unit: unit.clone(),
            allocated,
        };
        let Some(holder) = self.claims.get(ip) else {
            let half = self.halves.of_mut(Family::of(ip));
            if half.contains(number(ip)) {
                half.taken += 1;
            }
            half.freed.remove(&number(ip));
            self.claims.insert(ip, claim);
            return Handover {
                from: None,
                to: Some(unit.clone()),
            };
        };
        let before = holder.unit.clone();
        let mut all = self.waiting.remove(&ip).unwrap_or_default();
        all.push(holder.clone());
        all.retain(|claim| claim.unit != *unit);
        all.push(claim);
        self.seat(ip, all);
        let after = self.holder(ip);
        if after == Some(&before) {
            Handover {
                from: None,
                to: None,
            }
        } else {
            Handover {
                to: after.cloned(),
                from: Some(before),
            }
        }
    }

    /// Gives the address to the senior of these claims.
    fn seat(&mut self, ip: IpAddr, mut all: Vec<Claim>) {
        all.sort_unstable();
        if !all.is_empty() {
            self.claims.insert(ip, all.remove(0));
        }
        if !all.is_empty() {
            self.waiting.insert(ip, all);
        }
    }

    /// Takes a unit's claim back. The holder may change.
    pub(crate) fn release(&mut self, ip: IpAddr, unit: &Unit) -> Handover {
        let none = Handover {
            from: None,
            to: None,
        };
        let Some(holder) = self.holder(ip) else {
            return none;
        };
        if holder != unit {
            if let Some(waiting) = self.waiting.get_mut(&ip) {
                waiting.retain(|claim| claim.unit != *unit);
                if waiting.is_empty() {
                    self.waiting.remove(&ip);
                }
            }
            return none;
        }
        match self.waiting.remove(&ip) {
            Some(waiting) => self.seat(ip, waiting),
            None => {
                self.claims.remove(ip);
                let half = self.halves.of_mut(Family::of(ip));
                if half.contains(number(ip)) {
                    half.taken = half.taken.saturating_sub(1);
                    half.free(number(ip));
                }
            }
        }
        Handover {
            from: Some(unit.clone()),
            to: self.holder(ip).cloned(),
        }
    }

    /// True if the unit may have an address it has on record: nobody else was allocated it.
    pub(crate) fn yields(&self, ip: IpAddr, unit: &Unit) -> bool {
        self.claims
            .get(ip)
            .is_none_or(|claim| claim.unit == *unit || !claim.allocated)
    }

    /// Who holds the address.
    pub(crate) fn holder(&self, ip: IpAddr) -> Option<&Unit> {
        self.claims.get(ip).map(|claim| &claim.unit)
    }

    /// Chooses a free address and claims it; `None` if there is none.
    pub(crate) fn allocate(
        &mut self,
        family: Family,
        unit: &Unit,
        seniority: Seniority,
    ) -> Option<IpAddr> {
        let half = self.halves.of_mut(family);
        let ip = address(family, half.pick(&self.claims, family)?);
        self.claim(ip, unit, seniority, true);
        Some(ip)
    }

    /// True if nobody claims anything.
    pub(crate) fn is_unclaimed(&self) -> bool {
        self.claims.is_empty()
    }

    /// How many addresses are claimed, and how many there are, in one family.
    pub(crate) fn usage(&self, family: Family) -> (u128, u128) {
        let half = self.halves.of(family);
        (half.taken, half.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::ObjectName;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn unit(n: u32) -> Unit {
        Unit::Pod(ObjectName::new("ns", format!("p{n}")))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    const OLD: Seniority = Seniority {
        class: 0,
        created: 1,
    };
    const YOUNG: Seniority = Seniority {
        class: 0,
        created: 2,
    };

    fn pool(first: &str, last: &str, excluded: &[(&str, &str)]) -> Pool {
        let mut pool = Pool::default();
        let excluded: Vec<_> = excluded.iter().map(|(a, b)| (ip(a), ip(b))).collect();
        pool.set_ranges(&[(ip(first), ip(last))], &excluded);
        pool
    }

    #[test]
    fn upwards_around_what_is_excluded_then_the_longest_freed() {
        let mut pool = pool(
            "10.0.0.1",
            "10.0.0.6",
            &[("10.0.0.1", "10.0.0.1"), ("10.0.0.3", "10.0.0.4")],
        );
        let got: Vec<_> = (0..3)
            .map(|n| pool.allocate(Family::V4, &unit(n), OLD))
            .collect();
        assert_eq!(
            got,
            [
                Some(ip("10.0.0.2")),
                Some(ip("10.0.0.5")),
                Some(ip("10.0.0.6"))
            ]
        );
        assert_eq!(pool.allocate(Family::V4, &unit(9), OLD), None);
        pool.release(ip("10.0.0.5"), &unit(1));
        pool.release(ip("10.0.0.2"), &unit(0));
        assert_eq!(
            pool.allocate(Family::V4, &unit(7), OLD),
            Some(ip("10.0.0.5")),
            "freed first, reused first"
        );
        assert_eq!(
            pool.allocate(Family::V4, &unit(8), OLD),
            Some(ip("10.0.0.2"))
        );
        assert_eq!(pool.usage(Family::V4), (3, 3));
        assert_eq!(pool.allocate(Family::V6, &unit(8), OLD), None);
    }

    #[test]
    fn after_a_restart_what_lies_below_the_highest_record_comes_last() {
        let mut pool = pool("10.0.0.1", "10.0.0.4", &[]);
        pool.claim(ip("10.0.0.2"), &unit(0), OLD, true);
        pool.claim(ip("10.0.0.4"), &unit(1), OLD, false);
        let got: Vec<_> = (2..4)
            .map(|n| pool.allocate(Family::V4, &unit(n), OLD))
            .collect();
        assert_eq!(got, [Some(ip("10.0.0.3")), Some(ip("10.0.0.1"))]);
        assert_eq!(pool.allocate(Family::V4, &unit(5), OLD), None);
    }

    #[test]
    fn the_older_claim_wins_and_the_younger_inherits() {
        let mut pool = pool("10.0.0.1", "10.0.0.9", &[]);
        let a = ip("10.0.0.5");
        assert_eq!(pool.claim(a, &unit(1), YOUNG, false).to, Some(unit(1)));
        assert_eq!(
            pool.claim(a, &unit(2), OLD, false),
            Handover {
                from: Some(unit(1)),
                to: Some(unit(2))
            }
        );
        assert_eq!(
            pool.claim(a, &unit(3), YOUNG, false),
            Handover {
                from: None,
                to: None
            }
        );
        assert_eq!(pool.holder(a), Some(&unit(2)));
        assert_eq!(
            pool.release(a, &unit(2)),
            Handover {
                from: Some(unit(2)),
                to: Some(unit(1))
            },
            "names break ties"
        );
        assert_eq!(
            pool.release(a, &unit(3)),
            Handover {
                from: None,
                to: None
            }
        );
        assert_eq!(
            pool.release(a, &unit(1)),
            Handover {
                from: Some(unit(1)),
                to: None
            }
        );
        assert_eq!(pool.holder(a), None);
    }

    #[test]
    fn the_widest_ranges_do_not_overflow() {
        let mut pool = pool("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", &[]);
        assert_eq!(pool.allocate(Family::V6, &unit(0), OLD), Some(ip("::")));
        pool.claim(
            ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            &unit(1),
            OLD,
            true,
        );
        assert_eq!(pool.allocate(Family::V6, &unit(2), OLD), Some(ip("::1")));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Allocate(u32),
        Claim(u8, u32, i64),
        Release(u8, u32),
        Ranges(u8, u8, u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..40_u32).prop_map(Step::Allocate),
            2 => (0..24_u8, 0..40_u32, 0..4_i64).prop_map(|(a, u, c)| Step::Claim(a, u, c)),
            4 => (0..24_u8, 0..40_u32).prop_map(|(a, u)| Step::Release(a, u)),
            1 => (0..24_u8, 0..24_u8, 0..24_u8).prop_map(|(a, b, x)| Step::Ranges(a, b, x)),
        ]
    }

    proptest! {
        /// Against a plain model: never an address twice, never outside, always found while one is free, and no freed
        /// address before one that was never used.
        #[test]
        fn never_twice_and_never_in_vain(steps in prop::collection::vec(step(), 1..120)) {
            let at = |n: u8| IpAddr::from([10, 0, 0, n]);
            let mut pool = Pool::default();
            let mut allowed: BTreeSet<u8> = (0..16).collect();
            pool.set_ranges(&[(at(0), at(15))], &[]);
            let mut model: HashMap<u8, BTreeSet<(i64, Unit)>> = HashMap::new();
            for step in steps {
                match step {
                    Step::Allocate(n) => {
                        let free = allowed.iter().filter(|a| !model.contains_key(*a)).count();
                        match pool.allocate(Family::V4, &unit(n), OLD) {
                            Some(IpAddr::V4(got)) => {
                                let got = got.octets()[3];
                                prop_assert!(allowed.contains(&got));
                                prop_assert!(!model.contains_key(&got));
                                model.entry(got).or_default().insert((1, unit(n)));
                            }
                            _ => prop_assert_eq!(free, 0),
                        }
                    }
                    Step::Claim(a, n, created) => {
                        pool.claim(at(a), &unit(n), Seniority { class: 0, created }, false);
                        let claims = model.entry(a).or_default();
                        claims.retain(|(_, u)| *u != unit(n));
                        claims.insert((created, unit(n)));
                    }
                    Step::Release(a, n) => {
                        pool.release(at(a), &unit(n));
                        if let Some(claims) = model.get_mut(&a) {
                            claims.retain(|(_, u)| *u != unit(n));
                            if claims.is_empty() { model.remove(&a); }
                        }
                    }
                    Step::Ranges(a, b, x) => {
                        let (a, b) = (a.min(b), a.max(b));
                        pool.set_ranges(&[(at(a), at(b))], &[(at(x), at(x))]);
                        allowed = (a..=b).filter(|n| *n != x).collect();
                    }
                }
                for n in 0..24_u8 {
                    let holder = model.get(&n).and_then(|c| c.first()).map(|(_, u)| u.clone());
                    prop_assert_eq!(pool.holder(at(n)).cloned(), holder);
                }
                let taken = allowed.iter().filter(|a| model.contains_key(*a)).count();
                prop_assert_eq!(pool.usage(Family::V4), (taken as u128, allowed.len() as u128));
            }
        }
    }
}
