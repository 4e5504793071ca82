//! How often a VIP lists each backend so that shares are as weights ask: OVN has no weights, but chooses evenly among the
//! entries of a VIP.
//!
//! Entries cost: each is a bucket of an OpenFlow group on every chassis of the VPC. Where weights cannot be listed as they are
//! in the room there is, this is an apportionment by largest remainders (Hamilton's), each backend with at least one entry,
//! and backends of one weight treated as one party: what one of them gets all get. Of the numbers of entries that fit, the one
//! is taken by which the backend that is worst off is off least.

use hashbrown::HashMap;

/// How many entries a VIP may have on account of weights: the first of these that holds its backends once. A VIP with more
/// backends than the last has one entry for each.
///
/// - Up to 512 buckets newer Open vSwitch chooses by `hash()` in the datapath; from about 600 on it does not.
/// - With 800 buckets `ovs-ofctl dump-groups` works; with 1,000 it aborts ovs-vswitchd 3.1.
/// - Beyond, there is no more to lose but memory.
const ROOM: [u64; 3] = [512, 800, 2_048];

/// Backends of one weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Party {
    weight: u64,
    backends: u64,
}

/// What backends of one weight got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) weight: u64,
    pub(super) backends: u64,
    /// Entries of each of them.
    pub(super) entries: u64,
}

/// What all got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Grants(Vec<Grant>);

/// Apportions, and remembers: the ports of a service have the same backends.
#[derive(Debug, Default)]
pub(super) struct Apportionment(HashMap<(Vec<Party>, u64), Grants>);

impl Apportionment {
    /// How often each of these weights, all greater than 0, is listed; and what that came to. `most` bounds the entries, but
    /// for one of each.
    pub(super) fn of(&mut self, weights: &[u64], most: u64) -> (Vec<u64>, &Grants) {
        let mut sorted = weights.to_vec();
        sorted.sort_unstable();
        let parties: Vec<Party> = sorted
            .chunk_by(|a, b| a == b)
            .map(|alike| Party {
                weight: alike[0],
                backends: alike.len() as u64,
            })
            .collect();
        let backends = weights.len() as u64;
        let room = ROOM.into_iter().find(|room| *room >= backends);
        let room = room.unwrap_or(backends).min(most).max(backends);
        let grants = self
            .0
            .entry((parties, room))
            .or_insert_with_key(|(parties, room)| Grants::of(parties, *room));
        let entries = weights.iter().map(|weight| grants.entries(*weight));
        (entries.collect(), grants)
    }
}

impl Grants {
    fn of(parties: &[Party], room: u64) -> Self {
        let divisor = parties.iter().fold(0, |a, party| gcd(a, party.weight));
        let weight = |party: &Party| party.weight / divisor.max(1);
        let exact: u64 = parties
            .iter()
            .map(|party| party.backends * weight(party))
            .sum();
        if exact <= room {
            return Self::new(parties, parties.iter().map(weight));
        }
        let backends: u64 = parties.iter().map(|party| party.backends).sum();
        let even = Self::new(parties, parties.iter().map(|_| 1));
        let fitting =
            (backends..=room).filter_map(|total| Self::by_remainders(parties, total, room));
        // The first of those that are as good: it has the fewest entries.
        fitting.fold(even, |best, next| {
            if next.worst() < best.worst() {
                next
            } else {
                best
            }
        })
    }

    fn new(parties: &[Party], entries: impl Iterator<Item = u64>) -> Self {
        let grants = parties.iter().zip(entries).map(|(party, entries)| Grant {
            weight: party.weight,
            backends: party.backends,
            entries,
        });
        Self(grants.collect())
    }

    /// The apportionment of so many entries; `None` if those that get one without having earned it leave too little.
    fn by_remainders(parties: &[Party], total: u64, room: u64) -> Option<Self> {
        let all: u128 = parties
            .iter()
            .map(|party| u128::from(party.weight) * u128::from(party.backends))
            .sum();
        let quota = |party: &Party| u128::from(party.weight) * u128::from(total);
        let mut entries: Vec<u64> = parties
            .iter()
            .map(|party| u64::try_from(quota(party) / all).unwrap_or(room).max(1))
            .collect();
        let given: u64 = parties
            .iter()
            .zip(&entries)
            .map(|(party, n)| party.backends * n)
            .sum();
        let mut left = room.min(total).checked_sub(given)?;
        let mut by_remainder: Vec<usize> = (0..parties.len())
            .filter(|at| quota(&parties[*at]) >= all)
            .collect();
        by_remainder.sort_by_key(|at| std::cmp::Reverse(quota(&parties[*at]) % all));
        for at in by_remainder {
            if parties[at].backends <= left && quota(&parties[at]) % all > 0 {
                left -= parties[at].backends;
                entries[at] += 1;
            }
        }
        Some(Self::new(parties, entries.into_iter()))
    }

    fn entries(&self, weight: u64) -> u64 {
        let found = self.0.binary_search_by_key(&weight, |grant| grant.weight);
        found.map_or(1, |at| self.0[at].entries)
    }

    /// All entries, and all weights.
    fn sums(&self) -> (u64, u64) {
        self.0.iter().fold((0, 0), |(entries, weights), grant| {
            (
                entries + grant.backends * grant.entries,
                weights + grant.backends * grant.weight,
            )
        })
    }

    /// The greatest deviation of a share from what was asked for, in proportion to that.
    fn worst(&self) -> Ratio {
        let (entries, weights) = self.sums();
        let off = self.0.iter().map(|grant| {
            let got = u128::from(grant.entries) * u128::from(weights);
            let asked = u128::from(grant.weight) * u128::from(entries);
            Ratio(got.abs_diff(asked), asked)
        });
        off.max().unwrap_or(Ratio(0, 1))
    }

    /// The shares, if one of them is more than 1 % off what was asked for: weight, number of backends, the share each of them
    /// asks for and the one each gets, in per cent.
    pub(super) fn deviating(&self) -> Option<Vec<(u64, u64, f64, f64)>> {
        if self.worst() <= Ratio(1, 100) {
            return None;
        }
        let (entries, weights) = self.sums();
        #[expect(clippy::cast_precision_loss, reason = "for people to read")]
        let percent = |part: u64, all: u64| 100.0 * part as f64 / all as f64;
        let shares = self.0.iter().map(|grant| {
            let (asked, got) = (
                percent(grant.weight, weights),
                percent(grant.entries, entries),
            );
            (grant.weight, grant.backends, asked, got)
        });
        Some(shares.collect())
    }
}

/// A fraction whose denominator is not 0.
#[derive(Clone, Copy, Debug)]
struct Ratio(u128, u128);

impl Ord for Ratio {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Weights are at most some millions, entries some thousands: products of two of each fit.
        (self.0 * other.1).cmp(&(other.0 * self.1))
    }
}

impl PartialOrd for Ratio {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ratio {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ratio {}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries(weights: &[u64]) -> Vec<u64> {
        Apportionment::default().of(weights, u64::MAX).0
    }

    fn deviating(weights: &[u64]) -> bool {
        let mut apportionment = Apportionment::default();
        apportionment.of(weights, u64::MAX).1.deviating().is_some()
    }

    #[test]
    fn weights_that_fit_are_listed_as_they_are() {
        assert_eq!(entries(&[]), Vec::<u64>::new());
        assert_eq!(entries(&[1, 1, 1]), [1, 1, 1]);
        assert_eq!(entries(&[90, 10]), [9, 1]);
        assert_eq!(entries(&[50, 50]), [1, 1]);
        assert_eq!(entries(&[75, 25]), [3, 1]);
        let mixed = [vec![1; 20], vec![2; 200]].concat();
        assert_eq!(entries(&mixed), mixed);
    }

    #[test]
    fn equal_weights_are_exact_however_many_there_are() {
        for count in [513, 801, 1_000, 2_049, 8_000] {
            let weights = vec![7; count];
            assert_eq!(entries(&weights), vec![1; count]);
            assert!(!deviating(&weights));
        }
    }

    #[test]
    fn many_backends_keep_their_weights_or_it_is_told() {
        // 2,020 parts do not fit.
        let weights = [vec![1; 20], vec![10; 200]].concat();
        let given = entries(&weights);
        assert_eq!(
            (given[0], given[20]),
            (1, 2),
            "as far from even as there is room"
        );
        let mut apportionment = Apportionment::default();
        let (_, grants) = apportionment.of(&weights, u64::MAX);
        let shares = grants.deviating().expect("far from what was asked for");
        let [(1, 20, asked, got), (10, 200, ..)] = shares[..] else {
            panic!("{shares:?}")
        };
        assert!((asked - 100.0 / 2020.0).abs() < 1e-9 && (got - 100.0 / 420.0).abs() < 1e-9);
    }

    #[test]
    fn less_room_is_kept_to() {
        let (given, grants) = {
            let mut apportionment = Apportionment::default();
            let (given, grants) = apportionment.of(&[100, 99, 1], 10);
            (given, grants.deviating().is_some())
        };
        assert!(
            given.iter().sum::<u64>() <= 10 && given.iter().all(|n| *n > 0),
            "{given:?}"
        );
        assert!(grants);
        assert_eq!(Apportionment::default().of(&[5, 3, 9], 1).0, [1, 1, 1]);
    }

    proptest! {
        /// One each at least, no more than there is room for, equals alike, the heavier not behind the lighter; and what is
        /// not told is within 1 %.
        #[test]
        fn shares_are_as_asked_or_told(
            weights in prop::collection::vec(prop_oneof![1..=100_u64, 1..=3_u64, Just(1)], 1..1_000),
            most in prop_oneof![Just(u64::MAX), 1..600_u64],
        ) {
            let mut apportionment = Apportionment::default();
            let (given, grants) = apportionment.of(&weights, most);
            let deviating = grants.deviating();
            let (sum, all): (u64, u64) = (given.iter().sum(), weights.iter().sum());
            let count = weights.len() as u64;
            prop_assert!(given.iter().all(|entries| *entries > 0));
            prop_assert!(sum <= ROOM[2].min(most).max(count));
            prop_assert!(count > 512 || sum <= 512);
            let mut pairs: Vec<(u64, u64)> = weights.iter().copied().zip(given.iter().copied()).collect();
            pairs.sort_unstable();
            for pair in pairs.windows(2) {
                let [(light, few), (heavy, many)] = [pair[0], pair[1]];
                prop_assert!(few <= many && (light < heavy || few == many), "{pairs:?}");
            }
            let off = pairs.iter().any(|(weight, entries)| {
                (entries * all).abs_diff(weight * sum) * 100 > weight * sum
            });
            prop_assert_eq!(off, deviating.is_some());
        }

        /// Never further from what was asked for, for whoever is worst off, than one entry each.
        #[test]
        fn no_worse_than_even(weights in prop::collection::vec(1..=100_u64, 1..300)) {
            let mut apportionment = Apportionment::default();
            let (_, grants) = apportionment.of(&weights, u64::MAX);
            let even = Grants::new(
                &grants.0.iter().map(|g| Party { weight: g.weight, backends: g.backends }).collect::<Vec<_>>(),
                grants.0.iter().map(|_| 1),
            );
            prop_assert!(grants.worst() <= even.worst());
        }
    }
}
