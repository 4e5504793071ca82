//! Address pools: who holds which address of a Subnet, of a VPC's service ranges or of an EIP gateway.
//!
//! Allocation goes upwards through addresses never used, then through freed ones, the longest-freed first, so that what
//! still remembers an old holder (a client, a neighbour cache, a conntrack entry) has had the most time to forget.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hashbrown::HashMap;
use ipnet::IpNet;

use super::claims::Claims;
use crate::family::Family;
use crate::unit::Unit;

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

/// The addresses of one Subnet, of one VPC's service ranges, or of one EIP gateway.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    halves: Halves,
    claims: ByFamily,
    /// Units that found no free address.
    pub(super) starved: BTreeSet<Unit>,
    /// What the pool is made of now.
    room: Room,
}

/// What a pool is made of. Of all ranges both ends are included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    /// What an address may lie in that somebody has.
    pub(crate) whole: Vec<(IpAddr, IpAddr)>,
    /// Addresses in there that nobody can have: a router's own.
    pub(crate) own: Vec<IpAddr>,
    /// What is allocated of.
    pub(crate) wanted: Vec<(IpAddr, IpAddr)>,
    /// What is not given to anybody new. Whoever has such an address keeps it.
    pub(crate) excluded: Vec<(IpAddr, IpAddr)>,
}

/// Claims by address, each family apart: a key that could be of either would be half as large as the claim.
#[derive(Debug, Default)]
struct ByFamily {
    v4: Claims<Ipv4Addr>,
    v6: Claims<Ipv6Addr>,
}

impl ByFamily {
    fn holder(&self, ip: IpAddr) -> Option<&Unit> {
        match ip {
            IpAddr::V4(ip) => self.v4.holder(ip),
            IpAddr::V6(ip) => self.v6.holder(ip),
        }
    }

    fn claim(&mut self, ip: IpAddr, unit: &Unit, allocated: bool) -> bool {
        match ip {
            IpAddr::V4(ip) => self.v4.claim(ip, unit, allocated),
            IpAddr::V6(ip) => self.v6.claim(ip, unit, allocated),
        }
    }

    fn release(&mut self, ip: IpAddr, unit: &Unit) -> bool {
        match ip {
            IpAddr::V4(ip) => self.v4.release(ip, unit),
            IpAddr::V6(ip) => self.v6.release(ip, unit),
        }
    }

    fn waiting(&self, ip: IpAddr) -> &[Unit] {
        match ip {
            IpAddr::V4(ip) => self.v4.waiting(ip),
            IpAddr::V6(ip) => self.v6.waiting(ip),
        }
    }

    /// The addresses of a family that somebody holds, in no order, each with whether it was allocated.
    fn held(&self, family: Family) -> impl Iterator<Item = (u128, bool)> {
        let (v4, v6) = match family {
            Family::V4 => (Some(&self.v4), None),
            Family::V6 => (None, Some(&self.v6)),
        };
        let v4 = v4.into_iter().flat_map(Claims::held);
        let v6 = v6.into_iter().flat_map(Claims::held);
        v4.map(|(ip, allocated)| (number(ip.into()), allocated))
            .chain(v6.map(|(ip, allocated)| (number(ip.into()), allocated)))
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

    /// The next free address that nothing speaks against.
    fn pick(
        &mut self,
        claims: &ByFamily,
        family: Family,
        avoid: impl Fn(IpAddr) -> bool,
    ) -> Option<u128> {
        if self.taken >= self.capacity() {
            return None;
        }
        if self.cursor.is_none() {
            // Start above what was allocated in an earlier life: those below may have been freed just now.
            let highest = claims
                .held(family)
                .filter(|(number, allocated)| *allocated && self.contains(*number))
                .map(|(number, _)| number)
                .max();
            self.start_pass(
                highest
                    .and_then(|highest| highest.checked_add(1))
                    .unwrap_or(0),
            )?;
        }
        let free = |number| {
            let ip = address(family, number);
            claims.holder(ip).is_none() && !avoid(ip)
        };
        for _ in 0..2 {
            while let Some(candidate) = self.cursor_next() {
                if !self.freed.contains_key(&candidate) && free(candidate) {
                    return Some(candidate);
                }
            }
            let mut avoided = Vec::new();
            let mut found = None;
            while let Some(freed) = self.pop_freed() {
                if !self.contains(freed) || claims.holder(address(family, freed)).is_some() {
                    continue;
                }
                if free(freed) {
                    found = Some(freed);
                    break;
                }
                avoided.push(freed);
            }
            for freed in avoided {
                self.free(freed);
            }
            if found.is_some() {
                return found;
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

fn within(ranges: &[(IpAddr, IpAddr)], ip: IpAddr) -> bool {
    let family = Family::of(ip);
    ranges
        .iter()
        .any(|(first, last)| Family::of(*first) == family && (*first..=*last).contains(&ip))
}

impl Pool {
    /// Sets what the pool is made of. Claims stay. True if that is news.
    pub(crate) fn fit(&mut self, room: Room) -> bool {
        if self.room == room {
            return false;
        }
        self.room = room;
        for family in Family::ALL {
            let of = |list: &[(IpAddr, IpAddr)]| -> Vec<(u128, u128)> {
                list.iter()
                    .filter(|(first, _)| Family::of(*first) == family)
                    .map(|(first, last)| (number(*first), number(*last)))
                    .collect()
            };
            let mut excluded = of(&self.room.excluded);
            let own = self.room.own.iter().filter(|ip| Family::of(**ip) == family);
            excluded.extend(own.map(|ip| (number(*ip), number(*ip))));
            let half = self.halves.of_mut(family);
            half.set_ranges(of(&self.room.wanted), excluded);
            let taken = self
                .claims
                .held(family)
                .filter(|(number, _)| half.contains(*number))
                .count();
            half.taken = taken as u128;
        }
        true
    }

    /// True if the address is a router's own.
    pub(crate) fn is_own(&self, ip: IpAddr) -> bool {
        self.room.own.contains(&ip)
    }

    /// Who waits for the address, the first to ask first.
    pub(super) fn waiting(&self, ip: IpAddr) -> &[Unit] {
        self.claims.waiting(ip)
    }

    /// True if an address that somebody has can be had here.
    pub(crate) fn fits(&self, ip: IpAddr) -> bool {
        within(&self.room.whole, ip) && !self.room.own.contains(&ip)
    }

    /// A unit asks for an address: it holds it from now on, or waits for it. True if it holds it.
    pub(crate) fn claim(&mut self, ip: IpAddr, unit: &Unit, allocated: bool) -> bool {
        let free = self.claims.holder(ip).is_none();
        let holds = self.claims.claim(ip, unit, allocated);
        if free {
            let half = self.halves.of_mut(Family::of(ip));
            if half.contains(number(ip)) {
                half.taken += 1;
            }
            half.freed.remove(&number(ip));
        }
        holds
    }

    /// A unit asks for an address no more. If it held it, the first that waits holds it now: that one is returned.
    pub(crate) fn release(&mut self, ip: IpAddr, unit: &Unit) -> Option<Unit> {
        if !self.claims.release(ip, unit) {
            return None;
        }
        if let Some(next) = self.claims.waiting(ip).first().cloned() {
            self.claims.claim(ip, &next, false);
            return Some(next);
        }
        let half = self.halves.of_mut(Family::of(ip));
        if half.contains(number(ip)) {
            half.taken = half.taken.saturating_sub(1);
            half.free(number(ip));
        }
        None
    }

    /// Who holds the address.
    pub(crate) fn holder(&self, ip: IpAddr) -> Option<&Unit> {
        self.claims.holder(ip)
    }

    /// True if nobody but the unit holds the address.
    pub(crate) fn open_to(&self, ip: IpAddr, unit: &Unit) -> bool {
        self.holder(ip).is_none_or(|holder| holder == unit)
    }

    /// Chooses a free address that nothing speaks against, and claims it; `None` if there is none.
    pub(crate) fn allocate(
        &mut self,
        family: Family,
        unit: &Unit,
        avoid: impl Fn(IpAddr) -> bool,
    ) -> Option<IpAddr> {
        let half = self.halves.of_mut(family);
        let ip = address(family, half.pick(&self.claims, family, avoid)?);
        self.claim(ip, unit, true);
        Some(ip)
    }

    /// True if nobody holds anything.
    pub(crate) fn is_unclaimed(&self) -> bool {
        self.claims.is_empty()
    }

    /// How many addresses are held, and how many there are, in one family.
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

    const ANY: fn(IpAddr) -> bool = |_| false;

    fn room(first: IpAddr, last: IpAddr, excluded: Vec<(IpAddr, IpAddr)>) -> Room {
        Room {
            whole: vec![(first, last)],
            wanted: vec![(first, last)],
            excluded,
            ..Room::default()
        }
    }

    fn pool(first: &str, last: &str, excluded: &[(&str, &str)]) -> Pool {
        let mut pool = Pool::default();
        let excluded: Vec<_> = excluded.iter().map(|(a, b)| (ip(a), ip(b))).collect();
        pool.fit(room(ip(first), ip(last), excluded));
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
            .map(|n| pool.allocate(Family::V4, &unit(n), ANY))
            .collect();
        assert_eq!(
            got,
            [
                Some(ip("10.0.0.2")),
                Some(ip("10.0.0.5")),
                Some(ip("10.0.0.6"))
            ]
        );
        assert_eq!(pool.allocate(Family::V4, &unit(9), ANY), None);
        pool.release(ip("10.0.0.5"), &unit(1));
        pool.release(ip("10.0.0.2"), &unit(0));
        assert_eq!(
            pool.allocate(Family::V4, &unit(7), ANY),
            Some(ip("10.0.0.5")),
            "freed first, reused first"
        );
        assert_eq!(
            pool.allocate(Family::V4, &unit(8), ANY),
            Some(ip("10.0.0.2"))
        );
        assert_eq!(pool.usage(Family::V4), (3, 3));
        assert_eq!(pool.allocate(Family::V6, &unit(8), ANY), None);
    }

    #[test]
    fn after_a_restart_what_lies_below_the_highest_record_comes_last() {
        let mut pool = pool("10.0.0.1", "10.0.0.4", &[]);
        pool.claim(ip("10.0.0.2"), &unit(0), true);
        pool.claim(ip("10.0.0.4"), &unit(1), false);
        let got: Vec<_> = (2..4)
            .map(|n| pool.allocate(Family::V4, &unit(n), ANY))
            .collect();
        assert_eq!(got, [Some(ip("10.0.0.3")), Some(ip("10.0.0.1"))]);
        assert_eq!(pool.allocate(Family::V4, &unit(5), ANY), None);
    }

    #[test]
    fn who_holds_keeps_and_the_first_to_ask_follows() {
        let mut pool = pool("10.0.0.1", "10.0.0.9", &[]);
        let a = ip("10.0.0.5");
        assert!(pool.claim(a, &unit(9), false));
        assert!(!pool.claim(a, &unit(3), false));
        assert!(!pool.claim(a, &unit(2), false));
        assert_eq!(pool.release(a, &unit(3)), None, "it only waited");
        assert_eq!(pool.holder(a), Some(&unit(9)));
        assert!(!pool.claim(a, &unit(1), false));
        assert_eq!(pool.release(a, &unit(9)), Some(unit(2)));
        assert_eq!(pool.release(a, &unit(2)), Some(unit(1)));
        assert_eq!(pool.usage(Family::V4).0, 1);
        assert_eq!(pool.release(a, &unit(1)), None);
        assert_eq!(pool.holder(a), None);
        assert_eq!(pool.usage(Family::V4).0, 0);
    }

    #[test]
    fn what_is_excluded_later_stays_and_is_not_given_to_others() {
        let mut pool = pool("10.0.0.1", "10.0.0.3", &[]);
        let held = pool.allocate(Family::V4, &unit(0), ANY).expect("room");
        pool.fit(room(ip("10.0.0.1"), ip("10.0.0.3"), vec![(held, held)]));
        assert!(pool.fits(held));
        assert_eq!(pool.holder(held), Some(&unit(0)));
        assert_eq!(pool.release(held, &unit(0)), None);
        let rest: BTreeSet<_> = (1..4)
            .filter_map(|n| pool.allocate(Family::V4, &unit(n), ANY))
            .collect();
        assert_eq!(rest, BTreeSet::from([ip("10.0.0.2"), ip("10.0.0.3")]));
    }

    #[test]
    fn what_is_avoided_is_not_lost() {
        let mut pool = pool("10.0.0.1", "10.0.0.2", &[]);
        let avoid = |n: IpAddr| n == ip("10.0.0.1");
        assert_eq!(
            pool.allocate(Family::V4, &unit(0), avoid),
            Some(ip("10.0.0.2"))
        );
        assert_eq!(pool.allocate(Family::V4, &unit(1), avoid), None);
        assert_eq!(
            pool.allocate(Family::V4, &unit(1), ANY),
            Some(ip("10.0.0.1"))
        );
    }

    #[test]
    fn the_widest_ranges_do_not_overflow() {
        let mut pool = pool("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", &[]);
        assert_eq!(pool.allocate(Family::V6, &unit(0), ANY), Some(ip("::")));
        pool.claim(
            ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            &unit(1),
            true,
        );
        assert_eq!(pool.allocate(Family::V6, &unit(2), ANY), Some(ip("::1")));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Allocate(u32),
        Claim(u8, u32),
        Release(u8, u32),
        Ranges(u8, u8, u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..40_u32).prop_map(Step::Allocate),
            2 => (0..24_u8, 0..40_u32).prop_map(|(a, u)| Step::Claim(a, u)),
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
            pool.fit(room(at(0), at(15), Vec::new()));
            // The holder first, then those that wait.
            let mut model: HashMap<u8, Vec<Unit>> = HashMap::new();
            for step in steps {
                match step {
                    Step::Allocate(n) => {
                        let free = allowed.iter().filter(|a| !model.contains_key(*a)).count();
                        match pool.allocate(Family::V4, &unit(n), ANY) {
                            Some(IpAddr::V4(got)) => {
                                let got = got.octets()[3];
                                prop_assert!(allowed.contains(&got));
                                prop_assert!(!model.contains_key(&got));
                                model.insert(got, vec![unit(n)]);
                            }
                            _ => prop_assert_eq!(free, 0),
                        }
                    }
                    Step::Claim(a, n) => {
                        pool.claim(at(a), &unit(n), false);
                        let claims = model.entry(a).or_default();
                        if !claims.contains(&unit(n)) {
                            claims.push(unit(n));
                        }
                    }
                    Step::Release(a, n) => {
                        pool.release(at(a), &unit(n));
                        if let Some(claims) = model.get_mut(&a) {
                            claims.retain(|u| *u != unit(n));
                            if claims.is_empty() { model.remove(&a); }
                        }
                    }
                    Step::Ranges(a, b, x) => {
                        let (a, b) = (a.min(b), a.max(b));
                        pool.fit(room(at(a), at(b), vec![(at(x), at(x))]));
                        allowed = (a..=b).filter(|n| *n != x).collect();
                    }
                }
                for n in 0..24_u8 {
                    let holder = model.get(&n).and_then(|c| c.first()).cloned();
                    prop_assert_eq!(pool.holder(at(n)).cloned(), holder);
                }
                let taken = allowed.iter().filter(|a| model.contains_key(*a)).count();
                prop_assert_eq!(pool.usage(Family::V4), (taken as u128, allowed.len() as u128));
            }
        }
    }
}
