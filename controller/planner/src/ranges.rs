//! The address ranges the system uses for itself, never a tenant's; the outside reaches none of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::family::Family;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The ranges, and what is where in them. A VPC that joins an EIP gateway has a number, from which its addresses follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges {
    join: Ipv4Net,
    probe: Ipv4Net,
    node_vips: Ipv4Net,
    vpc_vips: Ipv4Net,
    v6: Ipv6Net,
}

/// The number of an EIP gateway's own port on its join.
const GATEWAY: u32 = 1;

/// The number of its service gateway's port there.
const SERVICE_GATEWAY: u32 = 2;

/// The number of its inside router's port there.
const INSIDE: u32 = 3;

/// The first number a VPC may have: those below are the gateway's, and kept for what joins it beside VPCs.
const FIRST_VPC: u32 = 16;

/// The prefix length of one VPC's share of the range of per-VPC VIPs, in IPv4 and IPv6.
const SHARE: (u8, u8) = (24, 112);

// What the ranges are called in the third group of the IPv6 ones: as in the IPv4 ones' second octet.
const JOIN: u16 = 0x64;
const PROBE: u16 = 0x66;
const NODE_VIPS: u16 = 0x67;
const VPC_VIPS: u16 = 0x96;

impl Default for Ranges {
    /// 100.64.0.0/16, 100.66.0.0/16, 100.67.0.0/16 and 100.96.0.0/11 of the shared address space (RFC 6598), and the
    /// unique local prefix fd79:7573:7572::/48 (RFC 4193).
    fn default() -> Self {
        let v4 =
            |second: u8, length: u8| Ipv4Net::new_assert(Ipv4Addr::new(100, second, 0, 0), length);
        let v6 = Ipv6Addr::new(0xfd79, 0x7573, 0x7572, 0, 0, 0, 0, 0);
        Self {
            join: v4(64, 16),
            probe: v4(66, 16),
            node_vips: v4(67, 16),
            vpc_vips: v4(96, 11),
            v6: Ipv6Net::new_assert(v6, 48),
        }
    }
}

impl Ranges {
    /// These ranges: `join` of gateways and VPC routers, `probe` of node and probe ports, `node_vips` of VIPs for a node
    /// where cluster addresses clash, `vpc_vips` of each VPC's own VIPs (a /24 a VPC), and `v6`, a /48 that is cut the
    /// same way.
    ///
    /// # Errors
    /// When one is too small, has host bits, or overlaps another; in a sentence that says the mend.
    pub fn new(
        join: Ipv4Net,
        probe: Ipv4Net,
        node_vips: Ipv4Net,
        vpc_vips: Ipv4Net,
        v6: Ipv6Net,
    ) -> Result<Self, String> {
        let v4 = [
            ("join", join, 26),
            ("probe", probe, 30),
            ("node VIP", node_vips, 30),
            ("VPC VIP", vpc_vips, 19),
        ];
        for (name, net, longest) in v4 {
            if net.trunc() != net {
                return Err(format!(
                    "the {name} range {net} has host bits set; write {}",
                    net.trunc()
                ));
            }
            if net.prefix_len() > longest {
                return Err(format!(
                    "the {name} range {net} is too small; give at least a /{longest}"
                ));
            }
        }
        for (at, (name, net, _)) in v4.iter().enumerate() {
            if let Some((other, range, _)) = v4[..at]
                .iter()
                .find(|(_, range, _)| range.contains(net) || net.contains(range))
            {
                return Err(format!(
                    "the {name} range {net} overlaps the {other} range {range}; keep them apart"
                ));
            }
        }
        if v6.trunc() != v6 || v6.prefix_len() != 48 {
            return Err(format!(
                "the IPv6 range {v6} is not a /48 without host bits; write one such as fd79:7573:7572::/48"
            ));
        }
        Ok(Self {
            join,
            probe,
            node_vips,
            vpc_vips,
            v6,
        })
    }

    fn cut(&self, group: u16) -> Ipv6Net {
        let bits = self.v6.network().to_bits() | (u128::from(group) << 64);
        Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), 64)
    }

    /// The range that joins gateways and VPC routers.
    pub(crate) fn join(&self, family: Family) -> IpNet {
        match family {
            Family::V4 => self.join.into(),
            Family::V6 => self.cut(JOIN).into(),
        }
    }

    /// The address of this number on a join.
    pub(crate) fn on_join(&self, number: u32, family: Family) -> IpAddr {
        match self.join(family) {
            IpNet::V4(net) => Ipv4Addr::from_bits(net.network().to_bits() | number).into(),
            IpNet::V6(net) => {
                Ipv6Addr::from_bits(net.network().to_bits() | u128::from(number)).into()
            }
        }
    }

    /// The gateway's own address on its join.
    pub(crate) fn gateway(&self, family: Family) -> IpAddr {
        self.on_join(GATEWAY, family)
    }

    /// The service gateway's address on the join: what backends see of connections that it balances.
    pub(crate) fn service_gateway(&self, family: Family) -> IpAddr {
        self.on_join(SERVICE_GATEWAY, family)
    }

    /// The address on the join of the router to which VPCs send what is for the gateway's external addresses.
    pub(crate) fn inside(&self, family: Family) -> IpAddr {
        self.on_join(INSIDE, family)
    }

    /// The number of a VPC by its IPv4 address on a join, if that is one.
    pub(crate) fn number(&self, address: Ipv4Addr) -> Option<u32> {
        let number = address
            .to_bits()
            .checked_sub(self.join.network().to_bits())?;
        (self.join.contains(&address) && self.numbers().contains(&number)).then_some(number)
    }

    /// The numbers VPCs may have.
    pub(crate) fn numbers(&self) -> std::ops::Range<u32> {
        let on_join = self.join.broadcast().to_bits() - self.join.network().to_bits();
        let shares = 1_u32 << (SHARE.0 - self.vpc_vips.prefix_len());
        FIRST_VPC..on_join.min(shares)
    }

    /// All of the system's ranges of a family.
    pub(crate) fn all(&self, family: Family) -> Vec<IpNet> {
        match family {
            Family::V4 => [self.join, self.probe, self.node_vips, self.vpc_vips]
                .map(IpNet::from)
                .to_vec(),
            Family::V6 => [JOIN, PROBE, NODE_VIPS, VPC_VIPS]
                .map(|group| self.cut(group).into())
                .to_vec(),
        }
    }

    /// A VPC's share of the range of per-VPC VIPs, by the VPC's number.
    pub(crate) fn share(&self, number: u32, family: Family) -> IpNet {
        match family {
            Family::V4 => {
                let bits = self.vpc_vips.network().to_bits() | (number << (32 - SHARE.0));
                Ipv4Net::new_assert(Ipv4Addr::from_bits(bits), SHARE.0).into()
            }
            Family::V6 => {
                let bits = self.cut(VPC_VIPS).network().to_bits() | (u128::from(number) << 16);
                Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), SHARE.1).into()
            }
        }
    }

    /// The range of all VPCs' VIPs.
    pub(crate) fn vpc_vips(&self, family: Family) -> IpNet {
        match family {
            Family::V4 => self.vpc_vips.into(),
            Family::V6 => self.cut(VPC_VIPS).into(),
        }
    }

    /// An address of a VPC's share.
    pub(crate) fn vpc_vip(&self, number: u32, slot: u8, family: Family) -> IpAddr {
        match self.share(number, family) {
            IpNet::V4(net) => Ipv4Addr::from_bits(net.network().to_bits() | u32::from(slot)).into(),
            IpNet::V6(net) => {
                Ipv6Addr::from_bits(net.network().to_bits() | u128::from(slot)).into()
            }
        }
    }

    /// Where in its VPC's share an address is.
    pub(crate) fn slot(&self, address: IpAddr) -> Option<u8> {
        let within = self.vpc_vips(Family::of(address)).contains(&address);
        let octets = match address {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(address) => address.octets()[15],
        };
        within.then_some(octets)
    }

    /// The range of the system's that a tenant's or gateway's network overlaps.
    pub(crate) fn overlapped_by(&self, net: IpNet) -> Option<IpNet> {
        self.all(Family::of(net.addr()))
            .into_iter()
            .find(|own| own.contains(&net.network()) || net.contains(&own.network()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net<T: std::str::FromStr>(text: &str) -> T
    where
        T::Err: std::fmt::Debug,
    {
        text.parse().expect("a network")
    }

    #[test]
    fn a_number_makes_all_addresses() {
        let ranges = Ranges::default();
        assert_eq!(ranges.gateway(Family::V4).to_string(), "100.64.0.1");
        assert_eq!(
            ranges.gateway(Family::V6).to_string(),
            "fd79:7573:7572:64::1"
        );
        assert_eq!(ranges.on_join(258, Family::V4).to_string(), "100.64.1.2");
        assert_eq!(
            ranges.on_join(258, Family::V6).to_string(),
            "fd79:7573:7572:64::102"
        );
        assert_eq!(ranges.number(net("100.64.1.2")), Some(258));
        assert_eq!(ranges.number(net("100.64.0.1")), None, "the gateway's");
        assert_eq!(ranges.number(net("100.65.0.20")), None, "outside");
        assert_eq!(ranges.numbers(), 16..8192);
        for (family, text) in [
            (Family::V4, "100.97.2.9"),
            (Family::V6, "fd79:7573:7572:96::102:9"),
        ] {
            let vip = ranges.vpc_vip(258, 9, family);
            assert_eq!(vip.to_string(), text);
            assert_eq!(ranges.slot(vip), Some(9));
        }
        assert_eq!(ranges.slot(net("10.0.0.9")), None);
    }

    #[test]
    fn the_system_s_own_is_told_from_others() {
        let ranges = Ranges::default();
        let hit = |text: &str| {
            ranges
                .overlapped_by(net(text))
                .map(|range| range.to_string())
        };
        assert_eq!(hit("100.64.3.0/24").as_deref(), Some("100.64.0.0/16"));
        assert_eq!(hit("100.0.0.0/8").as_deref(), Some("100.64.0.0/16"));
        assert_eq!(hit("100.65.0.0/16"), None);
        assert_eq!(
            hit("fd79:7573:7572:96::/80").as_deref(),
            Some("fd79:7573:7572:96::/64")
        );
        assert_eq!(hit("fd00::/16"), None);
    }

    #[test]
    fn contradictions_are_refused() {
        let new = |join: &str, probe: &str, vips: &str, v6: &str| {
            Ranges::new(
                net(join),
                net(probe),
                net("100.67.0.0/16"),
                net(vips),
                net(v6),
            )
        };
        let good = (
            "100.64.0.0/16",
            "100.66.0.0/16",
            "100.96.0.0/11",
            "fd00::/48",
        );
        assert!(new(good.0, good.1, good.2, good.3).is_ok());
        for (join, probe, vips, v6, word) in [
            ("100.64.1.0/16", good.1, good.2, good.3, "host bits"),
            ("100.64.0.0/30", good.1, good.2, good.3, "too small"),
            (good.0, "100.64.128.0/24", good.2, good.3, "overlaps"),
            (good.0, good.1, "100.0.0.0/8", good.3, "overlaps"),
            (good.0, good.1, good.2, "fd00::/56", "/48"),
        ] {
            let error = new(join, probe, vips, v6).expect_err(word);
            assert!(error.contains(word), "{error}");
        }
    }
}
