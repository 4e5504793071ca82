//! The lab tried out with ovn-nbctl alone: what the suites count on when they say who answered.

use std::collections::BTreeSet;

use std::net::{IpAddr, SocketAddr};

use super::*;
use crate::process::poll;
use crate::release::Release;

/// A router with a dual-stack switch on each side, a load balancer over both, and workloads `a` (left), `b` and `c`.
fn topology(lab: &Lab) -> Result<()> {
    let lines = "\
        lr-add r -- ls-add left -- ls-add right \
        -- lrp-add r r-left 0a:00:00:00:01:01 10.0.1.1/24 fd00:1::1/64 \
        -- lsp-add left left-r -- lsp-set-type left-r router -- lsp-set-addresses left-r router \
        -- lsp-set-options left-r router-port=r-left \
        -- lrp-add r r-right 0a:00:00:00:02:01 10.0.2.1/24 fd00:2::1/64 \
        -- lsp-add right right-r -- lsp-set-type right-r router -- lsp-set-addresses right-r router \
        -- lsp-set-options right-r router-port=r-right \
        -- lsp-add left a -- lsp-add right b -- lsp-add right c \
        -- lb-add web 10.96.0.10:80 10.0.2.12:8080,10.0.2.13:8080 tcp -- ls-lb-add left web \
        -- lb-add web6 [fd00:96::10]:80 [fd00:2::12]:8080,[fd00:2::13]:8080 tcp -- ls-lb-add left web6 \
        -- --reject lb-add none 10.96.0.11:80 10.0.2.99:8080 tcp -- ls-lb-add left none \
        -- set load_balancer none vips:\"10.96.0.11:80\"=\"\"";
    lab.nbctl(&lines.split_whitespace().collect::<Vec<_>>())?;
    lab.nbctl(&[
        "--id=@dns",
        "create",
        "DNS",
        "records:web.example=\"10.96.0.10 fd00:96::10\"",
        "--",
        "add",
        "Logical_Switch",
        "left",
        "dns_records",
        "@dns",
    ])?;
    for (port, last, side) in [("a", 11, 1), ("b", 12, 2), ("c", 13, 2)] {
        let address = format!("0a:00:00:00:0{side}:{last} 10.0.{side}.{last} fd00:{side}::{last}");
        lab.nbctl(&["lsp-set-addresses", port, &address])?;
    }
    Ok(())
}

#[test]
fn workloads_reach_each_other_and_virtual_addresses() -> Result<()> {
    packets(&Release::installed())
}

#[test]
fn they_do_so_on_the_newest_release() -> Result<()> {
    packets(&Release::newest()?)
}

fn packets(release: &Release) -> Result<()> {
    Lab::run_on(release, &["node1", "node2"], |lab| {
        topology(lab)?;
        let a = lab.attach("node1", "a")?;
        let b = lab.attach("node1", "b")?;
        let c = lab.attach("node2", "c")?;
        lab.sync()?;
        let ports = [(Protocol::Tcp, 8080), (Protocol::Udp, 5353)];
        let _b = Server::start(b.namespace(), "b", &ports)?;
        let server = Server::start(c.namespace(), "c", &ports)?;

        for address in [c.ipv4()?, c.ipv6()?] {
            for (protocol, port) in ports {
                let reply = a.ask(protocol, SocketAddr::new(address, port))?;
                assert_eq!((reply.who.as_str(), reply.port), ("c", port));
                assert!(a.addresses().contains(&reply.client.ip()), "{reply:?}");
            }
        }
        for vip in ["10.96.0.10:80", "[fd00:96::10]:80"] {
            let vip = vip.parse()?;
            let mut answered = BTreeSet::new();
            poll(|| {
                answered.insert(a.ask(Protocol::Tcp, vip)?.who);
                Ok(answered.len() == 2)
            })?;
        }
        let gateway = "10.0.1.1".parse()?;
        let named = |record| a.resolve(gateway, "web.example", record);
        assert_eq!(named(Record::A)?, ["10.96.0.10".parse::<IpAddr>()?]);
        assert_eq!(named(Record::Aaaa)?, ["fd00:96::10".parse::<IpAddr>()?]);
        let body = a
            .namespace()
            .run("curl", &["-s", "http://10.0.2.13:8080/"])?;
        assert!(body.starts_with("c 10.0.1.11:"), "{body}");

        // The three ways of not answering are told apart.
        assert_eq!(
            a.ask(Protocol::Tcp, "10.96.0.11:80".parse()?),
            Err(AskError::Refused)
        );
        let direct = SocketAddr::new(c.ipv4()?, 8080);
        let mut connection = a.connect(direct)?;
        assert_eq!(connection.ask()?.who, "c");
        drop(server);
        assert_eq!(connection.ask(), Err(AskError::Lost));
        assert_eq!(a.ask(Protocol::Tcp, direct), Err(AskError::Refused));
        assert_eq!(
            a.ask(Protocol::Udp, SocketAddr::new(c.ipv4()?, 5353)),
            Err(AskError::Refused)
        );
        c.cut()?;
        assert_eq!(a.ask(Protocol::Tcp, direct), Err(AskError::Silence));
        Ok(())
    })
}

/// Everything a lab started is gone when it is dropped: its processes, and with them its namespaces.
#[test]
fn a_dropped_lab_leaves_nothing() -> Result<()> {
    let lab = Lab::start(&["node1"])?;
    let dir = lab.dir().to_path_buf();
    let node = lab.node("node1")?;
    let pids = [
        lab.northd().pid(),
        node.controller().pid(),
        node.vswitchd().pid(),
        node.namespace().pid(),
    ];
    drop(lab);
    assert!(!dir.exists());
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "pid {pid}");
    }
    Ok(())
}
