//! Counting connections by the backend address they go to, in what `dpctl/dump-conntrack` prints.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// How many source ports there are towards one address, port and protocol: 1024 to 65535. Where a load balancer gives no range
/// itself, Open vSwitch keeps a client's own port, and takes another of these where that is in use; for clients' ports below
/// 1024 there are fewer, and nobody asks from them (`set_sport_range` in Open vSwitch's lib/conntrack.c; the kernel's
/// `nf_nat_l4proto_unique_tuple` does the same).
pub(super) const PORTS: u32 = 65_536 - 1_024;

/// How many connections there are to each backend address.
pub(super) type Used = BTreeMap<Backend, u32>;

/// What shares source ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Backend {
    pub(super) address: SocketAddr,
    /// As Open vSwitch writes it: `tcp`.
    protocol: String,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.protocol.to_uppercase())
    }
}

/// How many are left of [`PORTS`].
pub(super) fn left(used: u32) -> u32 {
    PORTS.saturating_sub(used)
}

/// Counts the connections that have another source behind the router than before it.
pub(super) fn used(dump: &str) -> Used {
    let mut used = Used::new();
    for backend in dump.lines().filter_map(translated) {
        *used.entry(backend).or_default() += 1;
    }
    used
}

/// Where a connection goes, if its source was translated and it has ports: of
/// `tcp,orig=(src=A,dst=B,sport=1,dport=2),reply=(src=B,dst=C,sport=2,dport=3),zone=9` it is `B:2` over TCP.
fn translated(entry: &str) -> Option<Backend> {
    let (protocol, _) = entry.split_once(',')?;
    let (before, behind) = (tuple(entry, "orig=(")?, tuple(entry, "reply=(")?);
    let address = |tuple: &str, name: &str| field(tuple, name)?.parse::<IpAddr>().ok();
    if address(behind, "dst=")? == address(before, "src=")? {
        return None;
    }
    let port = field(behind, "sport=")?.parse().ok()?;
    Some(Backend {
        address: SocketAddr::new(address(behind, "src=")?, port),
        protocol: protocol.trim().to_owned(),
    })
}

fn tuple<'a>(entry: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = entry.split_once(name)?;
    rest.split_once(')').map(|(tuple, _)| tuple)
}

fn field<'a>(tuple: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = tuple.split(',');
    fields.find_map(|field| field.strip_prefix(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a service gateway at 100.64.0.2: two connections to one backend address, one by UDP and one by IPv6, one that was
    /// not translated, and a ping.
    const DUMP: &str = "\
tcp,orig=(src=192.0.2.200,dst=100.110.201.227,sport=38676,dport=80),reply=(src=100.110.201.227,dst=100.64.0.2,sport=80,dport=38676),zone=20,protoinfo=(state=TIME_WAIT)
tcp,orig=(src=192.0.2.201,dst=100.110.201.227,sport=38676,dport=80),reply=(src=100.110.201.227,dst=100.64.0.2,sport=80,dport=1024),zone=20,mark=2,protoinfo=(state=ESTABLISHED)
udp,orig=(src=192.0.2.200,dst=100.110.201.227,sport=38676,dport=80),reply=(src=100.110.201.227,dst=100.64.0.2,sport=80,dport=38676),zone=20
tcp,orig=(src=2001:db8::7,dst=fd79:7573:7572:96::7,sport=1025,dport=80),reply=(src=fd79:7573:7572:96::7,dst=fd79:7573:7572:64::2,sport=80,dport=1025),zone=20
tcp,orig=(src=192.0.2.200,dst=100.110.201.227,sport=5,dport=80),reply=(src=100.110.201.227,dst=192.0.2.200,sport=80,dport=5),zone=20
icmp,orig=(src=192.0.2.200,dst=100.110.201.227,id=7,type=8,code=0),reply=(src=100.110.201.227,dst=100.64.0.2,id=7,type=0,code=0),zone=20
";

    #[test]
    fn connections_are_counted_by_what_shares_ports() {
        let used = used(DUMP);
        let used: Vec<_> = used
            .iter()
            .map(|(backend, used)| (backend.to_string(), *used))
            .collect();
        let expected = [
            ("100.110.201.227:80/TCP", 2),
            ("100.110.201.227:80/UDP", 1),
            ("[fd79:7573:7572:96::7]:80/TCP", 1),
        ];
        assert_eq!(
            used,
            expected.map(|(backend, used)| (backend.to_owned(), used))
        );
        assert_eq!((left(0), left(2), left(70_000)), (64_512, 64_510, 0));
    }
}
