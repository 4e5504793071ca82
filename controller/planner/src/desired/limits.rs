//! What OVN and Open vSwitch carry of one service. Lists in a spec are limited one by one (64 entries of 1,000 addresses, 100
//! ports, two families); their product is limited here. What is beyond is left out, the same each time: of the
//! backends of a VIP those with the highest addresses. All ports stay.

use super::apportion::Grants;

/// The most backends of a VIP. Each is a bucket of an OpenFlow group on every chassis of the VPC: with 16,000
/// ovs-vswitchd is still quick, with 64,000 it hangs for minutes.
pub(super) const BACKENDS_OF_VIP: usize = 8_000;

/// The most backends of all VIPs of a service together, a backend of several VIPs counting for each; and, apart from
/// these, the entries that its weights may cost. It bounds a service's rows to a few megabytes: OVN reads and compares
/// them whole for each change of one.
pub(super) const ENTRIES_OF_SERVICE: usize = 40_000;

/// What a service asked for and did not get.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// Protocol and port, its backends, and how many of them are used: of the port that lost the most.
    backends: Option<(&'static str, u16, usize, usize)>,
    /// Protocol and port, and what was granted, of the first port whose weights could not be listed as they are.
    weights: Option<(&'static str, u16, String)>,
    /// Name, addresses, and how many of them a DNS answer carries.
    names: Option<(String, usize, usize)>,
}

/// Shares of no more weights than these are told.
const TOLD: usize = 6;

impl Limits {
    pub(super) fn too_many(
        &mut self,
        protocol: &'static str,
        port: u16,
        there: usize,
        used: usize,
    ) {
        let lost = |(.., there, used): &(_, _, usize, usize)| there - used;
        if self
            .backends
            .as_ref()
            .is_none_or(|worst| lost(worst) < there - used)
        {
            self.backends = Some((protocol, port, there, used));
        }
    }

    pub(super) fn weighed(&mut self, protocol: &'static str, port: u16, grants: &Grants) {
        if self.weights.is_some() {
            return;
        }
        let Some(shares) = grants.deviating() else {
            return;
        };
        let mut words: Vec<String> = shares
            .iter()
            .take(TOLD)
            .map(|(weight, backends, asked, got)| {
                format!(
                    "weight {weight} gets {got:.3} % instead of {asked:.3} % ({backends} backends)"
                )
            })
            .collect();
        if shares.len() > TOLD {
            words.push(format!(
                "and so on for {} more weights",
                shares.len() - TOLD
            ));
        }
        self.weights = Some((protocol, port, words.join(", ")));
    }

    pub(super) fn answered(&mut self, name: String, there: usize, carried: usize) {
        if carried < there {
            self.names = Some((name, there, carried));
        }
    }

    /// Reason and message of the condition, if anything is to be told.
    pub(super) fn told(&self) -> Option<(&'static str, String)> {
        let backends = self.backends.iter().map(|(protocol, port, there, used)| {
            let words = format!(
                "{protocol} port {port} has {there} backends that could serve, of which the {used} with the lowest addresses get new \
                 connections: a VIP has at most {BACKENDS_OF_VIP} and all VIPs of a service {ENTRIES_OF_SERVICE}; list fewer ports, or \
                 spread the backends over several services"
            );
            ("TooManyBackends", words)
        });
        let names = self.names.iter().map(|(name, there, carried)| {
            let words = format!(
                "{name} resolves to {carried} of {there} addresses, the lowest: more do not fit in a DNS answer; use a service with a \
                 clusterIP, or the names of single backends"
            );
            ("DNSAnswerFull", words)
        });
        let weights = self.weights.iter().map(|(protocol, port, shares)| {
            let words = format!(
                "the weights of so many backends cannot be listed as they are: on {protocol} port {port} each backend of {shares}; use \
                 fewer backends, or weights with a small common multiple"
            );
            ("WeightsRounded", words)
        });
        let all: Vec<_> = backends.chain(names).chain(weights).collect();
        let (reason, _) = all.first()?;
        let words: Vec<&str> = all.iter().map(|(_, words)| words.as_str()).collect();
        Some((reason, words.join("; ")))
    }
}

/// The greatest number of backends that every VIP may have so that all stay within what a service may have. `vips`: how many
/// backends stand behind so many VIPs.
pub(super) fn backends_of_vip(vips: &[(usize, usize)]) -> usize {
    let cost = |most: usize| -> usize {
        let costs = vips
            .iter()
            .map(|(backends, vips)| backends.min(&most) * vips);
        costs.sum()
    };
    let (mut fits, mut exceeds) = (1, BACKENDS_OF_VIP + 1);
    while fits + 1 < exceeds {
        let middle = fits.midpoint(exceeds);
        if cost(middle) <= ENTRIES_OF_SERVICE {
            fits = middle;
        } else {
            exceeds = middle;
        }
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vips_share_what_a_service_may_have() {
        assert_eq!(backends_of_vip(&[(64_000, 1)]), BACKENDS_OF_VIP);
        assert_eq!(backends_of_vip(&[(5, 400)]), BACKENDS_OF_VIP);
        // A hundred ports at two addresses each.
        assert_eq!(backends_of_vip(&[(64_000, 2); 100]), 200);
        // The small ones keep theirs.
        assert_eq!(
            backends_of_vip(&[(30_000, 1), (30_000, 9), (100, 100)]),
            3_000
        );
        // However many there are, each port has a backend.
        assert_eq!(backends_of_vip(&[(1_000, 132); 10_000]), 1);
    }
}
