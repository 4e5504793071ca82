//! Backends of every kind, by label and by address, over TCP and UDP, IPv4 and IPv6.

use anyhow::Result;
use yusur_testbed::lab::Protocol;
use yusur_testbed::process::poll;

use crate::world::{TCP, UDP, World};

#[test]
fn every_kind_answers_over_tcp_and_udp_and_both_families() -> Result<()> {
    World::run(|world| {
        let client = world.pod("blue/client", "node1", "{app: client}")?;
        let _pod = world.pod("blue/pod", "node2", "{app: web}")?;
        let owner = |kind| format!("  owner: {{kind: {kind}, name: some}}");
        let _vm = world.vnic("blue/vm", "node1", "{app: web}", &owner("VM"))?;
        let _bm = world.vnic("blue/bm", "node2", "{app: web}", &owner("BM"))?;
        let _nic = world.vnic("blue/nic", "node1", "{role: bare}", "")?;
        world.service(
            "blue/all",
            &format!(
                "  clusterIPs: [10.96.0.10, \"fd00:96::10\"]
  ports:
    - {{name: web, port: 80, targetPort: {TCP}}}
    - {{name: udp, port: 80, targetPort: {UDP}, protocol: UDP}}
  backends:
    - {{kind: Pod, selector: {{matchLabels: {{app: web}}}}}}
    - {{kind: VM, selector: {{matchLabels: {{app: web}}}}}}
    - {{kind: BM, selector: {{matchLabels: {{app: web}}}}}}
    - {{kind: VNicIP, selector: {{matchLabels: {{role: bare}}}}}}"
            ),
        )?;
        world.ready("blue/all", 8)?;
        let all = ["blue/bm", "blue/nic", "blue/pod", "blue/vm"];
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for vip in ["10.96.0.10:80", "[fd00:96::10]:80"] {
                assert_eq!(client.who(protocol, vip, &all)?, all, "{vip}/{protocol}");
                // The backend sees the client's own address, whatever node either is on.
                let reply = client.ask(protocol, vip.parse()?)?;
                assert!(client.addresses().contains(&reply.client.ip()), "{reply:?}");
            }
        }
        Ok(())
    })
}

/// A selector takes only what is of its kind: the same label on a Pod, a VM's VNic and a bare one are three things.
#[test]
fn a_selector_takes_its_own_kind_only() -> Result<()> {
    World::run(|world| {
        let client = world.pod("blue/client", "node1", "{}")?;
        let _pod = world.pod("blue/pod", "node1", "{app: web}")?;
        let vm = "  owner: {kind: VM, name: some}";
        let _vm = world.vnic("blue/vm", "node2", "{app: web}", vm)?;
        let _nic = world.vnic("blue/nic", "node2", "{app: web}", "")?;
        for (number, kind, expected) in [
            (1, "Pod", &["blue/pod"][..]),
            (2, "VM", &["blue/vm"]),
            (3, "VNicIP", &["blue/nic", "blue/vm"]),
        ] {
            let name = format!("blue/{}", kind.to_lowercase());
            world.service(
                &name,
                &format!(
                    "  clusterIP: 10.96.0.{number}
  ports: [{{port: 80, targetPort: {TCP}}}]
  backends: [{{kind: {kind}, selector: {{matchLabels: {{app: web}}}}}}]"
                ),
            )?;
            let vip = format!("10.96.0.{number}:80");
            assert_eq!(client.who(Protocol::Tcp, &vip, expected)?, expected);
        }
        Ok(())
    })
}

/// A named target port is another number on each backend; backends named by address need no object.
#[test]
fn named_ports_and_bare_addresses() -> Result<()> {
    World::run(|world| {
        let client = world.pod("blue/client", "node1", "{}")?;
        let _pod = world.pod("blue/pod", "node1", "{app: web}")?;
        let ports = "  owner: {kind: VM, name: some}\n  ports: [{name: http, port: 9000}]";
        let vm = world.vnic("blue/vm", "node2", "{app: web}", ports)?;
        let _other_port = vm.serve(Protocol::Tcp, 9000)?;
        world.service(
            "blue/named",
            "  clusterIP: 10.96.0.1
  ports: [{port: 80, targetPort: http}]
  backends:
    - {kind: Pod, selector: {matchLabels: {app: web}}}
    - {kind: VM, selector: {matchLabels: {app: web}}}",
        )?;
        let both = ["blue/pod", "blue/vm"];
        assert_eq!(client.who(Protocol::Tcp, "10.96.0.1:80", &both)?, both);
        poll(|| {
            let reply = client.ask(Protocol::Tcp, "10.96.0.1:80".parse()?)?;
            let from_vm = reply.who == "blue/vm";
            assert_eq!(reply.port, if from_vm { 9000 } else { TCP });
            Ok(from_vm)
        })?;
        world.service(
            "blue/bare",
            &format!(
                "  clusterIP: 10.96.0.2
  ports: [{{port: 80, targetPort: {TCP}}}]
  backends: [{{kind: BM, addresses: [{}]}}]",
                vm.ipv4()?
            ),
        )?;
        assert_eq!(client.tcp("10.96.0.2:80")?, "blue/vm");
        Ok(())
    })
}
