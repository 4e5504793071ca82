//! A service without backends refuses at once; one that gets a backend serves.

use anyhow::Result;
use yusur_testbed::lab::{AskError, Protocol};

use crate::world::{TCP, UDP, World};

#[test]
fn without_backends_connections_are_refused() -> Result<()> {
    World::run(|world| {
        let client = world.pod("blue/client", "node1", "{}")?;
        world.service(
            "blue/empty",
            &format!(
                "  clusterIPs: [10.96.0.1, \"fd00:96::1\"]
  ports:
    - {{name: tcp, port: 80, targetPort: {TCP}}}
    - {{name: udp, port: 80, targetPort: {UDP}, protocol: UDP}}
  backends: [{{kind: Pod, selector: {{matchLabels: {{app: web}}}}}}]"
            ),
        )?;
        let ask = |protocol, vip: &str| {
            let address = vip.parse().expect("an address");
            client.ask(protocol, address).map(|reply| reply.who)
        };
        let each = [
            (Protocol::Tcp, "10.96.0.1:80"),
            (Protocol::Tcp, "[fd00:96::1]:80"),
            (Protocol::Udp, "10.96.0.1:80"),
            (Protocol::Udp, "[fd00:96::1]:80"),
        ];
        for (protocol, vip) in each {
            assert_eq!(
                ask(protocol, vip),
                Err(AskError::Refused),
                "{vip}/{protocol}"
            );
        }
        let _web = world.pod("blue/web", "node2", "{app: web}")?;
        world.ready("blue/empty", 2)?;
        for (protocol, vip) in each {
            assert_eq!(
                ask(protocol, vip),
                Ok("blue/web".to_owned()),
                "{vip}/{protocol}"
            );
        }
        world.delete_pod("blue/web")?;
        world.ready("blue/empty", 0)?;
        for (protocol, vip) in each {
            assert_eq!(
                ask(protocol, vip),
                Err(AskError::Refused),
                "{vip}/{protocol}"
            );
        }
        Ok(())
    })
}
