//! How connections spread over backends. OVN selects by hash, so evenness is a matter of statistics.

use anyhow::Result;
use yusur_testbed::lab::Protocol;

use crate::world::{TCP, World};

/// Whether counts fit shares, by Pearson's chi-squared test. `bound` is the quantile that a fair balancer exceeds once in
/// a million runs.
fn fits(counts: &[usize], shares: &[f64], bound: f64) -> bool {
    let total: usize = counts.iter().sum();
    let statistic: f64 = counts
        .iter()
        .zip(shares)
        .map(|(&count, share)| {
            let expected = total as f64 * share;
            (count as f64 - expected).powi(2) / expected
        })
        .sum();
    eprintln!("{counts:?}: chi-squared {statistic:.1}, bound {bound}");
    statistic < bound
}

#[test]
fn connections_spread_evenly_and_by_weight() -> Result<()> {
    World::run(|world| {
        let client = world.pod("blue/client", "node1", "{}")?;
        let _a = world.pod("blue/a", "node1", "{app: web, heavy: \"yes\"}")?;
        let _b = world.pod("blue/b", "node2", "{app: web}")?;
        let _c = world.pod("blue/c", "node1", "{app: web}")?;
        let _d = world.pod("blue/d", "node2", "{app: web}")?;
        let counts = |vip: &str| {
            let answered = client.survey(Protocol::Tcp, vip, 400)?;
            assert_eq!(answered.len(), 4, "{answered:?}");
            Ok::<_, anyhow::Error>(answered.into_values().collect::<Vec<_>>())
        };
        for (number, algorithm) in [(1, "FlowHash"), (2, "RoundRobin")] {
            world.service(
                &format!("blue/even{number}"),
                &format!(
                    "  clusterIP: 10.96.0.{number}
  algorithm: {algorithm}
  ports: [{{port: 80, targetPort: {TCP}}}]
  backends: [{{kind: Pod, selector: {{matchLabels: {{app: web}}}}}}]"
                ),
            )?;
            let counts = counts(&format!("10.96.0.{number}:80"))?;
            // Three degrees of freedom.
            assert!(fits(&counts, &[0.25; 4], 30.7), "{algorithm}: {counts:?}");
        }
        world.service(
            "blue/weighted",
            &format!(
                "  clusterIP: 10.96.0.3
  ports: [{{port: 80, targetPort: {TCP}}}]
  backends:
    - {{kind: Pod, selector: {{matchLabels: {{heavy: \"yes\"}}}}, weight: 5}}
    - {{kind: Pod, selector: {{matchLabels: {{app: web}}}}}}"
            ),
        )?;
        // Open vSwitch deals sixteen hash values out to so few backends: shares of eighths are exact, of sixths they are not.
        let counts = counts("10.96.0.3:80")?;
        assert!(
            fits(&counts, &[0.625, 0.125, 0.125, 0.125], 30.7),
            "{counts:?}"
        );
        Ok(())
    })
}

/// SourceHash: a client's connections all go to one backend, while clients among themselves are spread.
#[test]
fn source_hash_keeps_a_client_on_its_backend() -> Result<()> {
    World::run(|world| {
        let _a = world.pod("blue/a", "node1", "{app: web}")?;
        let _b = world.pod("blue/b", "node2", "{app: web}")?;
        world.service(
            "blue/sticky",
            &format!(
                "  clusterIP: 10.96.0.1
  algorithm: SourceHash
  ports: [{{port: 80, targetPort: {TCP}}}]
  backends: [{{kind: Pod, selector: {{matchLabels: {{app: web}}}}}}]"
            ),
        )?;
        for number in 0..4 {
            let node = crate::world::NODES[number % 2];
            let client = world.pod(&format!("blue/client{number}"), node, "{}")?;
            let answered = client.survey(Protocol::Tcp, "10.96.0.1:80", 40)?;
            assert_eq!(answered.len(), 1, "client{number}: {answered:?}");
        }
        Ok(())
    })
}
