//! Backends come and go: new connections follow at once, connections that live stay.

use anyhow::{Context, Result};
use yusur_testbed::lab::Protocol;
use yusur_testbed::process::poll;

use crate::world::{TCP, UDP, World, first_answer};

const VIP: &str = "10.96.0.1:80";

fn service(more: &str) -> String {
    format!(
        "  clusterIP: 10.96.0.1
  ports: [{{port: 80, targetPort: {TCP}}}]
  backends:
{more}    - {{kind: Pod, selector: {{matchLabels: {{app: web}}}}}}"
    )
}

#[test]
fn a_connection_lives_through_changes_of_other_backends_and_of_the_controller() -> Result<()> {
    World::run(|world| {
        let client = world.pod("blue/client", "node1", "{}")?;
        let _a = world.pod("blue/a", "node2", "{app: web}")?;
        world.service("blue/web", &service(""))?;
        let mut connection = client.connect(VIP.parse()?)?;
        assert_eq!(connection.ask()?.who, "blue/a");
        for round in 1..=3 {
            let name = format!("blue/b{round}");
            let _b = world.pod(&name, "node1", "{app: web}")?;
            world.ready("blue/web", 2)?;
            assert_eq!(connection.ask()?.who, "blue/a");
            let both = ["blue/a", name.as_str()];
            assert_eq!(client.who(Protocol::Tcp, VIP, &both)?, both);
            world.delete_pod(&name)?;
            world.ready("blue/web", 1)?;
            assert_eq!(connection.ask()?.who, "blue/a");
        }
        world.controller.restart()?;
        let _b = world.pod("blue/c", "node1", "{app: web}")?;
        world.ready("blue/web", 2)?;
        assert_eq!(connection.ask()?.who, "blue/a");
        Ok(())
    })
}

/// Weight 0, a Pod that is not ready and one that is terminating: what is open stays open, new connections go elsewhere.
#[test]
fn a_backend_drains() -> Result<()> {
    World::run(|world| {
        let client = world.pod("blue/client", "node1", "{}")?;
        let a = world.pod("blue/a", "node1", "{app: web}")?;
        let _b = world.pod("blue/b", "node2", "{app: web}")?;
        let both = ["blue/a", "blue/b"];
        let to_a = || {
            let mut found = None;
            poll(|| {
                let mut connection = client.connect(VIP.parse()?)?;
                if connection.ask()?.who == "blue/a" {
                    found = Some(connection);
                }
                Ok(found.is_some())
            })?;
            found.ok_or_else(|| anyhow::anyhow!("no connection to blue/a"))
        };
        world.service("blue/web", &service(""))?;
        assert_eq!(client.who(Protocol::Tcp, VIP, &both)?, both);

        let mut kept = to_a()?;
        let drained = format!(
            "    - {{kind: Pod, addresses: [{}], weight: 0}}\n",
            a.ipv4()?
        );
        let status = world.service("blue/web", &service(&drained))?;
        assert_eq!(status["backends"]["draining"], 1, "{status}");
        assert_eq!(client.who(Protocol::Tcp, VIP, &both)?, ["blue/b"]);
        assert_eq!(kept.ask()?.who, "blue/a", "weight 0");
        world.service("blue/web", &service(""))?;

        for more in [
            "status: {conditions: [{type: Ready, status: \"False\"}]}",
            "  deletionTimestamp: \"2020-01-01T00:00:00Z\"",
        ] {
            assert_eq!(client.who(Protocol::Tcp, VIP, &both)?, both);
            let mut kept = to_a()?;
            world.pod_with("blue/a", "node1", "{app: web}", more)?;
            world.ready("blue/web", 1)?;
            assert_eq!(client.who(Protocol::Tcp, VIP, &both)?, ["blue/b"]);
            assert_eq!(kept.ask()?.who, "blue/a", "{more}");
            world.pod_with("blue/a", "node1", "{app: web}", "")?;
            world.ready("blue/web", 2)?;
        }
        Ok(())
    })
}

/// A UDP client that keeps its source port is a connection to conntrack: when its backend leaves, it must move.
#[test]
fn a_udp_client_moves_when_its_backend_leaves() -> Result<()> {
    World::run(|world| {
        let client = world.pod("blue/client", "node1", "{}")?;
        let _a = world.pod("blue/a", "node1", "{app: web}")?;
        let _b = world.pod("blue/b", "node2", "{app: web}")?;
        world.service(
            "blue/udp",
            &format!(
                "  clusterIP: 10.96.0.1
  ports: [{{port: 80, targetPort: {UDP}, protocol: UDP}}]
  backends: [{{kind: Pod, selector: {{matchLabels: {{app: web}}}}}}]"
            ),
        )?;
        let mut flow = client.flow(VIP.parse()?)?;
        let first = flow.ask().context("the first datagram")?.who;
        let again = flow.ask().context("the second datagram")?.who;
        assert_eq!(again, first, "one flow has one backend");
        world.delete_pod(&first)?;
        world.ready("blue/udp", 1)?;
        // ovn-controller flushes conntrack when it has installed the flows, and says it is in step before that: a datagram
        // in between goes the old way and is lost, as UDP's may be. One that is sent again must not be.
        assert_ne!(first_answer(|| flow.ask())?, first);
        Ok(())
    })
}

/// A backend may ask its own service and be answered by itself.
#[test]
fn a_backend_reaches_itself_through_its_service() -> Result<()> {
    World::run(|world| {
        let a = world.pod("blue/a", "node1", "{app: web}")?;
        world.service(
            "blue/web",
            &format!(
                "  clusterIPs: [10.96.0.1, \"fd00:96::1\"]
  ports:
    - {{name: tcp, port: 80, targetPort: {TCP}}}
    - {{name: udp, port: 80, targetPort: {UDP}, protocol: UDP}}
  backends: [{{kind: Pod, selector: {{matchLabels: {{app: web}}}}}}]"
            ),
        )?;
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for vip in [VIP, "[fd00:96::1]:80"] {
                let reply = a.ask(protocol, vip.parse()?)?;
                assert_eq!(reply.who, "blue/a");
                // Its own address as the source would be answered past OVN.
                assert!(!a.addresses().contains(&reply.client.ip()), "{reply:?}");
            }
        }
        Ok(())
    })
}
