//! Reading the texts of specs: addresses, networks, selectors. The API server has checked them by the schemas' rules;
//! a directory of manifests has not, so everything is checked here again, and said in one sentence with its mend.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use yusur_crds::LabelSelector;

use super::ipam::pool::host_range;
use super::labels::{Requirement, Selector};
use crate::family::Family;
use crate::name::Name;

/// Why something is not accepted: a condition's reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// One CamelCase word.
    pub reason: &'static str,
    /// A sentence that says the mend.
    pub message: Cow<'static, str>,
}

impl Problem {
    pub(crate) fn new(reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new("InvalidSpec", message)
    }
}

/// Addresses of an object: at most one of each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Addresses {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

impl Addresses {
    /// The address of this family.
    pub fn get(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.v4.map(IpAddr::V4),
            Family::V6 => self.v6.map(IpAddr::V6),
        }
    }

    pub(crate) fn set(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.v4 = Some(address),
            IpAddr::V6(address) => self.v6 = Some(address),
        }
    }

    pub(crate) fn clear(&mut self, family: Family) {
        match family {
            Family::V4 => self.v4 = None,
            Family::V6 => self.v6 = None,
        }
    }

    /// True if all of these addresses are among them, but for those that were given.
    pub(super) fn covers(&self, others: &Self, given: &Self) -> bool {
        let mut others = others.iter();
        others.all(|ip| {
            [self, given]
                .iter()
                .any(|all| all.get(Family::of(ip)) == Some(ip))
        })
    }

    /// The addresses, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let (v4, v6) = (self.v4, self.v6);
        v4.map(IpAddr::V4).into_iter().chain(v6.map(IpAddr::V6))
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.v4.is_none() && self.v6.is_none()
    }
}

/// The first of each family wins.
impl FromIterator<IpAddr> for Addresses {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        let mut all = Self::default();
        for address in addresses {
            if all.get(Family::of(address)).is_none() {
                all.set(address);
            }
        }
        all
    }
}

/// An address as people write it. An IPv4 address mapped into IPv6 is the IPv4 address: OVN would not match it.
pub(crate) fn address(field: &str, text: &str) -> Result<IpAddr, Problem> {
    let parsed: IpAddr = text.parse().map_err(|_| {
        Problem::invalid(format!(
            "{field}: {text:?} is not an IP address; write one such as 10.0.1.7 or fd00:1::7"
        ))
    })?;
    Ok(parsed.to_canonical())
}

/// An address that a workload may have.
pub(crate) fn unicast(field: &str, text: &str) -> Result<IpAddr, Problem> {
    let parsed = address(field, text)?;
    let usable = match parsed {
        IpAddr::V4(v4) => {
            !(v4.is_unspecified()
                || v4.is_loopback()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_link_local())
        }
        IpAddr::V6(v6) => {
            !(v6.is_unspecified()
                || v6.is_loopback()
                || v6.is_multicast()
                || v6.is_unicast_link_local())
        }
    };
    if usable {
        Ok(parsed)
    } else {
        Err(Problem::invalid(format!(
            "{field}: {text} is a loopback, link-local, multicast or unspecified address; give one that can be routed"
        )))
    }
}

/// At most one address of each family.
pub(crate) fn addresses(
    field: &str,
    texts: &[String],
    read: impl Fn(&str, &str) -> Result<IpAddr, Problem>,
) -> Result<Addresses, Problem> {
    let mut all = Addresses::default();
    for text in texts {
        let parsed = read(field, text)?;
        let family = Family::of(parsed);
        if all.get(family).is_some() {
            return Err(Problem::invalid(format!(
                "{field} has two {} addresses; give at most one of each family",
                family.as_str()
            )));
        }
        all.set(parsed);
    }
    Ok(all)
}

fn cidr(field: &str, text: &str) -> Result<IpNet, Problem> {
    text.parse().map_err(|_| {
        Problem::invalid(format!(
            "{field}: {text:?} is not a network; write one in CIDR notation, such as 10.0.1.0/24 or fd00:1::/64"
        ))
    })
}

/// A network; of one written with host bits, the network around it.
pub(crate) fn network_around(field: &str, text: &str) -> Result<IpNet, Problem> {
    cidr(field, text).map(|net| net.trunc())
}

/// A network without host bits.
pub(crate) fn network(field: &str, text: &str) -> Result<IpNet, Problem> {
    let net = cidr(field, text)?;
    if net.trunc() != net {
        return Err(Problem::invalid(format!(
            "{field}: {text} has host bits set; the network is written {}",
            net.trunc()
        )));
    }
    Ok(net)
}

/// At most one network of each family.
pub(crate) fn networks(field: &str, texts: &[String]) -> Result<Vec<IpNet>, Problem> {
    let mut nets: Vec<IpNet> = Vec::with_capacity(texts.len());
    for text in texts {
        let net = network(field, text)?;
        if nets
            .iter()
            .any(|other| other.addr().is_ipv4() == net.addr().is_ipv4())
        {
            return Err(Problem::invalid(format!(
                "{field} has two networks of one family; give at most one IPv4 and one IPv6 network"
            )));
        }
        nets.push(net);
    }
    Ok(nets)
}

/// A range of addresses: one address, `first-last`, or a network.
pub(crate) fn range(field: &str, text: &str) -> Result<(IpAddr, IpAddr), Problem> {
    if let Some((first, last)) = text.split_once('-') {
        let (first, last) = (address(field, first.trim())?, address(field, last.trim())?);
        if first.is_ipv4() != last.is_ipv4() || first > last {
            return Err(Problem::invalid(format!(
                "{field}: {text} does not go from a lower to a higher address"
            )));
        }
        return Ok((first, last));
    }
    if text.contains('/') {
        let net = network(field, text)?;
        return Ok((net.network(), net.broadcast()));
    }
    let single = address(field, text)?;
    Ok((single, single))
}

/// True if two networks share an address.
pub(crate) fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// The range of host addresses of a network.
pub(crate) fn hosts(net: IpNet) -> (IpAddr, IpAddr) {
    let family = Family::of(net.addr());
    let (first, last) = host_range(net);
    (
        super::ipam::pool::address(family, first),
        super::ipam::pool::address(family, last),
    )
}

/// Fails where a host in one of these networks cannot have the address: it lies in none, or is one that stands for the
/// network, or for all in it.
pub(crate) fn host(field: &str, address: IpAddr, nets: &[IpNet]) -> Result<(), Problem> {
    let Some(net) = nets.iter().find(|net| net.contains(&address)) else {
        return Err(Problem::invalid(format!(
            "{field}: {address} lies in none of spec.cidrs; choose an address within them"
        )));
    };
    let (first, last) = hosts(*net);
    if (first..=last).contains(&address) {
        return Ok(());
    }
    let stands_for = if address == net.network() {
        "the network"
    } else {
        "all hosts at once (broadcast)"
    };
    Err(Problem::invalid(format!(
        "{field}: {address} stands for {stands_for} of {net}; choose an address from {first} to {last}"
    )))
}

/// The address after this one.
pub(crate) fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => v4
            .to_bits()
            .checked_add(1)
            .map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(v6) => v6
            .to_bits()
            .checked_add(1)
            .map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

/// A label selector.
pub(crate) fn selector(field: &str, selector: &LabelSelector) -> Result<Selector, Problem> {
    let mut requirements = Vec::new();
    for (key, value) in selector.match_labels.iter().flatten() {
        requirements.push(Requirement::In(
            key.as_str().into(),
            Box::new([value.as_str().into()]),
        ));
    }
    for expression in selector.match_expressions.iter().flatten() {
        let key: Name = expression.key.as_str().into();
        let values: Box<[Name]> = expression
            .values
            .iter()
            .flatten()
            .map(|v| Name::from(v.as_str()))
            .collect();
        let needs_values = matches!(expression.operator.as_str(), "In" | "NotIn");
        if needs_values == values.is_empty() {
            return Err(Problem::invalid(format!(
                "{field}: operator {} on key {key} must have {} values",
                expression.operator,
                if needs_values {
                    "at least one of"
                } else {
                    "no"
                }
            )));
        }
        requirements.push(match expression.operator.as_str() {
            "In" => Requirement::In(key, values),
            "NotIn" => Requirement::NotIn(key, values),
            "Exists" => Requirement::Exists(key),
            "DoesNotExist" => Requirement::DoesNotExist(key),
            other => {
                return Err(Problem::invalid(format!(
                    "{field}: {other:?} is not an operator; use In, NotIn, Exists or DoesNotExist"
                )));
            }
        });
    }
    Ok(Selector(requirements.into_boxed_slice()))
}

/// A port number.
pub(crate) fn port(field: &str, number: i32) -> Result<u16, Problem> {
    u16::try_from(number)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| {
            Problem::invalid(format!(
                "{field}: {number} is not a port number; give one from 1 to 65535"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_a_network_is_no_hosts_address() {
        let nets = ["10.0.1.0/24", "192.0.2.0/31", "fd00::/64"];
        let nets: Vec<IpNet> = nets.map(|net| net.parse().expect("a network")).into();
        for (address, words) in [
            ("10.0.1.1", None),
            ("10.0.1.254", None),
            (
                "10.0.1.0",
                Some(
                    "stands for the network of 10.0.1.0/24; choose an address from 10.0.1.1 to 10.0.1.254",
                ),
            ),
            ("10.0.1.255", Some("broadcast")),
            ("10.0.2.1", Some("lies in none of spec.cidrs")),
            // Of two addresses none is for anything else (RFC 3021).
            ("192.0.2.0", None),
            ("fd00::1", None),
            ("fd00::", Some("stands for the network")),
            ("fd00::ffff:ffff:ffff:ffff", None),
        ] {
            let judged = host("f", address.parse().expect("an address"), &nets);
            let message = judged.err().map(|problem| problem.message.into_owned());
            match (&message, words) {
                (None, None) => {}
                (Some(message), Some(words)) => assert!(message.contains(words), "{message}"),
                _ => panic!("{address}: {message:?}"),
            }
        }
    }

    #[test]
    fn addresses_are_canonical() {
        assert_eq!(
            address("a", "::ffff:10.0.0.1").expect("mapped"),
            IpAddr::from([10, 0, 0, 1])
        );
        assert_eq!(
            address("a", "FD00:0:0::1").expect("long").to_string(),
            "fd00::1"
        );
        for bad in [
            "010.0.0.1",
            "10.0.0.1 ",
            "10.0.0",
            "10.0.0.1:80",
            "",
            "[fd00::1]",
        ] {
            let problem = address("a", bad).expect_err(bad);
            assert!(
                problem.message.contains("write one such as"),
                "{}",
                problem.message
            );
        }
        for bad in [
            "127.0.0.1",
            "224.0.0.1",
            "0.0.0.0",
            "fe80::1",
            "169.254.1.1",
        ] {
            assert!(unicast("a", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_have_no_host_bits() {
        assert!(network("a", "10.0.1.0/24").is_ok());
        let problem = network("a", "10.0.1.7/24").expect_err("host bits");
        assert!(
            problem.message.contains("10.0.1.0/24"),
            "{}",
            problem.message
        );
        assert!(networks("a", &["10.0.0.0/24".into(), "10.0.1.0/24".into()]).is_err());
        assert!(networks("a", &["10.0.0.0/24".into(), "fd00::/64".into()]).is_ok());
    }

    #[test]
    fn ranges() {
        let ip = |text: &str| -> IpAddr { text.parse().expect("ip") };
        assert_eq!(
            range("a", "10.0.0.5").expect("one"),
            (ip("10.0.0.5"), ip("10.0.0.5"))
        );
        assert_eq!(
            range("a", "10.0.0.5-10.0.0.9").expect("range"),
            (ip("10.0.0.5"), ip("10.0.0.9"))
        );
        assert_eq!(
            range("a", "10.0.0.128/25").expect("net"),
            (ip("10.0.0.128"), ip("10.0.0.255"))
        );
        assert!(range("a", "10.0.0.9-10.0.0.5").is_err());
        assert!(range("a", "10.0.0.9-fd00::1").is_err());
    }
}
