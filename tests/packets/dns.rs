//! Names of services, as OVN's own DNS answers them on the VPC's switches.

use std::net::IpAddr;

use anyhow::Result;
use yusur_testbed::lab::Record;
use yusur_testbed::process::poll;

use crate::world::{TCP, World};

#[test]
fn services_have_names_in_their_own_vpc() -> Result<()> {
    World::run(|world| {
        let blue = world.pod("blue/client", "node1", "{}")?;
        let red = world.pod("red/client", "node1", "{}")?;
        let a = world.pod("blue/a", "node1", "{app: web}")?;
        let b = world.pod("blue/b", "node2", "{app: web}")?;
        let ports = format!("  ports: [{{port: 80, targetPort: {TCP}}}]");
        let backends = "  backends: [{kind: Pod, selector: {matchLabels: {app: web}}}]";
        world.service(
            "blue/web",
            &format!("  clusterIPs: [10.96.0.1, \"fd00:96::1\"]\n{ports}\n{backends}"),
        )?;
        world.service("blue/peers", &format!("  clusterIP: None\n{backends}"))?;
        // The namesake in the other namespace is another service.
        world.service(
            "red/web",
            &format!("  clusterIP: 10.96.0.2\n{ports}\n{backends}"),
        )?;

        // Any address a workload may be set up with as its resolver does: OVN answers on the way.
        let resolver: IpAddr = "10.0.1.1".parse()?;
        let web = "web.blue.svc.cluster.local";
        let one = |text: &str| Ok::<_, anyhow::Error>(vec![text.parse::<IpAddr>()?]);
        assert_eq!(blue.resolve(resolver, web, Record::A)?, one("10.96.0.1")?);
        assert_eq!(
            blue.resolve(resolver, web, Record::Aaaa)?,
            one("fd00:96::1")?
        );
        // Names are not case-sensitive (RFC 4343).
        let shouted = web.to_uppercase();
        assert_eq!(
            blue.resolve(resolver, &shouted, Record::A)?,
            one("10.96.0.1")?
        );
        let mut peers = vec![a.ipv4()?, b.ipv4()?];
        peers.sort();
        let headless = "peers.blue.svc.cluster.local";
        assert_eq!(blue.resolve(resolver, headless, Record::A)?, peers);

        let red_web = "web.red.svc.cluster.local";
        assert_eq!(
            red.resolve(resolver, red_web, Record::A)?,
            one("10.96.0.2")?
        );
        // What a VPC does not know goes on to the resolver, and here there is none.
        assert!(red.resolve(resolver, web, Record::A).is_err());
        assert!(blue.resolve(resolver, red_web, Record::A).is_err());

        world.delete_service("blue/web")?;
        poll(|| {
            world.lab.sync()?;
            Ok(blue.resolve(resolver, web, Record::A).is_err())
        })?;
        assert_eq!(blue.resolve(resolver, headless, Record::A)?, peers);
        Ok(())
    })
}
