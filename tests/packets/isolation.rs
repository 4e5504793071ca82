//! VPCs with the same address ranges: each reaches its own, and nothing of the other.

use anyhow::Result;
use yusur_testbed::lab::{AskError, Protocol};

use crate::world::{TCP, World};

#[test]
fn same_addresses_in_two_vpcs_are_two_things() -> Result<()> {
    World::run(|world| {
        let spec = format!(
            "  clusterIPs: [10.96.0.1, \"fd00:96::1\"]
  ports: [{{port: 80, targetPort: {TCP}}}]
  backends: [{{kind: VNicIP, selector: {{matchLabels: {{app: web}}}}}}]"
        );
        let address = "  addresses: [10.0.2.77, \"fd00:2::77\"]";
        let mut guests = Vec::new();
        for vpc in ["blue", "red"] {
            // Client and backend of the two are on the same nodes, so that nothing but the VPC keeps them apart.
            let client = world.pod(&format!("{vpc}/client"), "node1", "{}")?;
            let web = world.vnic(&format!("{vpc}/web"), "node2", "{app: web}", address)?;
            world.service(&format!("{vpc}/web"), &spec)?;
            guests.push((vpc, client, web));
        }
        for (vpc, client, _) in &guests {
            for target in [
                "10.0.2.77:8080",
                "[fd00:2::77]:8080",
                "10.96.0.1:80",
                "[fd00:96::1]:80",
            ] {
                let own = format!("{vpc}/web");
                for _ in 0..10 {
                    assert_eq!(client.tcp(target)?, own, "{target}");
                }
            }
        }
        Ok(())
    })
}

#[test]
fn one_vpc_cannot_reach_what_only_the_other_has() -> Result<()> {
    World::run(|world| {
        let blue = world.pod("blue/client", "node1", "{}")?;
        let red = world.pod("red/client", "node1", "{}")?;
        let address = "  addresses: [10.0.2.77, \"fd00:2::77\"]";
        let _web = world.vnic("blue/web", "node2", "{app: web}", address)?;
        world.service(
            "blue/web",
            &format!(
                "  clusterIPs: [10.96.0.1, \"fd00:96::1\"]
  ports: [{{port: 80, targetPort: {TCP}}}]
  backends: [{{kind: VNicIP, selector: {{matchLabels: {{app: web}}}}}}]"
            ),
        )?;
        for target in [
            "10.0.2.77:8080",
            "[fd00:2::77]:8080",
            "10.96.0.1:80",
            "[fd00:96::1]:80",
        ] {
            // The control: the target is there, and answers who may reach it.
            assert_eq!(blue.tcp(target)?, "blue/web", "{target}");
            let outcome = red.tcp(target);
            assert!(
                matches!(outcome, Err(AskError::Silence | AskError::Other(_))),
                "{target} from red: {outcome:?}"
            );
        }
        // Red's own network works: the silence above is isolation, not a broken client.
        let own = world.vnic("red/own", "node2", "{}", "  addresses: [10.0.2.78]")?;
        assert_eq!(red.tcp("10.0.2.78:8080")?, "red/own");
        assert!(blue.tcp("10.0.2.78:8080").is_err());
        assert!(own.ask(Protocol::Tcp, "10.0.2.77:8080".parse()?).is_err());
        Ok(())
    })
}
