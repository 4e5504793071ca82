//! MAC addresses of ports. On one switch each is one port's.

use std::net::Ipv4Addr;

/// The octets of a MAC address.
pub(crate) type Mac = [u8; 6];

/// What MAC addresses that follow from an IPv4 address begin with.
pub(crate) const OF_ADDRESS: [u8; 2] = [0x0a, 0x58];

/// Reads a MAC address as OVN and the API write it.
pub(crate) fn parse(text: &str) -> Option<Mac> {
    let mut octets = text.split(':').map(|octet| u8::from_str_radix(octet, 16));
    let mut mac = Mac::default();
    for octet in &mut mac {
        *octet = octets.next()?.ok()?;
    }
    octets.next().is_none().then_some(mac)
}

/// The IPv4 address that a MAC address follows from.
pub(crate) fn address_of(mac: Mac) -> Option<Ipv4Addr> {
    let [x, y, a, b, c, d] = mac;
    ([x, y] == OF_ADDRESS).then(|| Ipv4Addr::new(a, b, c, d))
}

/// The MAC address that follows from an IPv4 address.
pub(crate) fn of_address(address: Ipv4Addr) -> Mac {
    let ([x, y], [a, b, c, d]) = (OF_ADDRESS, address.octets());
    [x, y, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_addresses_and_back() {
        let address = Ipv4Addr::new(10, 0, 1, 7);
        let mac = parse("0a:58:0A:00:01:07").expect("a MAC address");
        assert_eq!(of_address(address), mac);
        assert_eq!(address_of(mac), Some(address));
        assert_eq!(address_of([0x0e, 0x58, 10, 0, 1, 7]), None);
        for bad in [
            "0a:58:0a:00:01",
            "0a:58:0a:00:01:07:08",
            "0a-58-0a-00-01-07",
            "",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
