//! Session affinity by the client's address, with a timeout.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use yusur_testbed::lab::{AskError, Protocol};
use yusur_testbed::process::poll;

use crate::world::{Guest, TCP, World};

/// The first backend that answers. OVN loses the packet by which it learns a client's backend, and its userspace
/// datapath the connection with it, so the first request may go unanswered; later ones must not.
fn first_answer(client: &Guest, vip: SocketAddr) -> Result<String> {
    let mut who = None;
    poll(|| match client.ask(Protocol::Tcp, vip) {
        Ok(reply) => {
            who = Some(reply.who);
            Ok(true)
        }
        Err(AskError::Silence) => Ok(false),
        Err(error) => Err(error.into()),
    })?;
    who.ok_or_else(|| anyhow::anyhow!("nobody answered"))
}

fn service(seconds: u32) -> String {
    format!(
        "  clusterIP: 10.96.0.1
  sessionAffinity: {{timeoutSeconds: {seconds}}}
  ports: [{{port: 80, targetPort: {TCP}}}]
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
        world.service("blue/sticky", &service(600))?;
        let vip = "10.96.0.1:80".parse()?;
        let who = first_answer(&client, vip)?;
        for _ in 0..40 {
            assert_eq!(client.ask(Protocol::Tcp, vip)?.who, who);
        }
        // Its backend goes: the others answer. (OVN 23.03 keeps what it learned until the client has been silent for
        // the timeout, and balances each of its connections anew until then; newer ones learn another backend, which
        // costs a packet again.)
        world.delete_pod(&who)?;
        world.ready("blue/sticky", 2)?;
        assert_ne!(first_answer(&client, vip)?, who);
        for _ in 0..40 {
            assert_ne!(client.ask(Protocol::Tcp, vip)?.who, who);
        }
        Ok(())
    })
}

#[test]
fn a_client_silent_for_longer_than_the_timeout_may_get_another_backend() -> Result<()> {
    World::run(|world| {
        let client = world.pod("blue/client", "node1", "{}")?;
        let _a = world.pod("blue/a", "node1", "{app: web}")?;
        let _b = world.pod("blue/b", "node2", "{app: web}")?;
        let _c = world.pod("blue/c", "node2", "{app: web}")?;
        world.service("blue/sticky", &service(1))?;
        let vip = "10.96.0.1:80".parse()?;
        let who = first_answer(&client, vip)?;
        poll(|| {
            // What is waited for is that time passes: the timeout, and Open vSwitch's look at what has timed out.
            std::thread::sleep(Duration::from_secs(3));
            Ok(first_answer(&client, vip)? != who)
        })
    })
}
