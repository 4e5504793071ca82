//! Session affinity by the client's address, with a timeout.
//!
//! OVN loses the packet by which it learns a client's backend and what comes before Open vSwitch goes by what was learned,
//! and its userspace datapath the connections with them: the first requests may go unanswered, later ones must not.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use yusur_testbed::lab::Protocol;
use yusur_testbed::process::poll;

use crate::world::{TCP, UDP, World, first_answer};

/// The service's address.
const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

fn service(seconds: u64, ports: &str) -> String {
    format!(
        "  clusterIP: {VIP}
  sessionAffinity: {{timeoutSeconds: {seconds}}}
  ports: [{ports}]
  backends: [{{kind: Pod, selector: {{matchLabels: {{app: web}}}}}}]"
    )
}

#[test]
fn a_client_keeps_its_backend_while_that_serves() -> Result<()> {
    World::run(|world| {
        let client = world.pod("blue/client", "node1", "{}")?;
        let _a = world.pod("blue/a", "node1", "{app: web}")?;
        let _b = world.pod("blue/b", "node2", "{app: web}")?;
        let _c = world.pod("blue/c", "node2", "{app: web}")?;
        let port = format!("{{port: 80, targetPort: {TCP}}}");
        world.service("blue/sticky", &service(600, &port))?;
        let vip = SocketAddr::from((VIP, 80));
        let tcp = || client.ask(Protocol::Tcp, vip);
        let who = first_answer(tcp)?;
        for _ in 0..40 {
            assert_eq!(tcp()?.who, who);
        }
        // Its backend goes: the others answer. (OVN 23.03 keeps what it learned until the client has been silent for
        // the timeout, and balances each of its connections anew until then; newer ones learn another backend, which
        // costs a packet again.)
        world.delete_pod(&who)?;
        world.ready("blue/sticky", 2)?;
        assert_ne!(first_answer(tcp)?, who);
        for _ in 0..40 {
            assert_ne!(tcp()?.who, who);
        }
        Ok(())
    })
}

/// For how long a client must be silent to be forgotten.
const FORGOTTEN: Duration = Duration::from_secs(5);

/// When a request is sent again: long before the client is forgotten, else the first of its requests would be lost for
/// ever.
const RETRY: Duration = Duration::from_millis(100);

/// On how many ports the client asks, each of which learns its backend apart. That every one chooses the same of three
/// backends again happens once in three billion runs.
const PORTS: u16 = 20;

#[test]
fn a_client_silent_for_longer_than_the_timeout_may_get_another_backend() -> Result<()> {
    World::run(|world| {
        let client = world.pod("blue/client", "node1", "{}")?;
        let _a = world.pod("blue/a", "node1", "{app: web}")?;
        let _b = world.pod("blue/b", "node2", "{app: web}")?;
        let _c = world.pod("blue/c", "node2", "{app: web}")?;
        let ports: Vec<u16> = (1000..1000 + PORTS).collect();
        let targets: Vec<String> = ports
            .iter()
            .map(|port| {
                format!("{{name: p{port}, port: {port}, targetPort: {UDP}, protocol: UDP}}")
            })
            .collect();
        world.service(
            "blue/sticky",
            &service(FORGOTTEN.as_secs(), &targets.join(", ")),
        )?;
        let answers = || -> Result<Vec<String>> {
            let who =
                |&port| first_answer(|| client.flow((VIP, port).into())?.within(RETRY)?.ask());
            ports.iter().map(who).collect()
        };
        let before = answers()?;
        poll(|| {
            // What is waited for is that time passes: the timeout, and Open vSwitch's look at what has timed out.
            thread::sleep(FORGOTTEN + Duration::from_secs(3));
            Ok(answers()? != before)
        })
    })
}
