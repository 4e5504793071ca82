//! What the Southbound is read for: which chassis lags behind, so that a change that does not become live can be traced
//! to the node that holds it up; and which chassis each EIP gateway is on.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use ovsdb::model::{Batch, Clause, RowChange};
use ovsdb::{Client, Event, State};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};
use yusur_planner::nb;

use crate::metrics::{ChassisLabel, DatabaseLabel, GatewayLabel, Metrics};

const CHASSIS: &str = "Chassis_Private";
const GLOBAL: &str = "SB_Global";
const PORT: &str = "Port_Binding";
const NODE: &str = "Chassis";

/// The type of the ports that are on one chassis for all of a router's port.
const REDIRECT: &str = "chassisredirect";

/// How long a gateway has to be on a chassis before that is told. While one fails over, chassis that do not see each other
/// both claim it, and it goes to and fro for some tenths of a second.
const SETTLES: Duration = Duration::from_secs(1);

/// The chassis that each EIP gateway is on, by name.
pub type Serving = BTreeMap<String, String>;

/// Describes the client that [`run`] needs.
pub fn tables(builder: ovsdb::Builder) -> ovsdb::Builder {
    builder
        .columns(CHASSIS, ["name", "nb_cfg"])
        .columns(GLOBAL, ["nb_cfg"])
        .columns(PORT, ["logical_port", "chassis"])
        .condition(PORT, [Clause::equal("type", REDIRECT)])
        .columns(NODE, ["name"])
}

/// Keeps the metrics and `serving` up to date until the client is closed. The gateways are those of `owner`.
pub async fn run(client: Client, owner: String, metrics: Metrics, serving: watch::Sender<Serving>) {
    let label = DatabaseLabel {
        database: "OVN_Southbound",
    };
    let mut changes = client.changes();
    let mut connected = false;
    let mut failures = 0;
    let mut told = HashSet::new();
    let mut gateways = Settling::default();
    loop {
        let event = tokio::select! {
            event = changes.next() => event,
            now = gateways.settled() => {
                serving.send_replace(now);
                continue;
            }
        };
        let Some(event) = event else { return };
        match event {
            Event::State(state) => {
                metrics
                    .connected
                    .get_or_create(&label)
                    .set(i64::from(state.is_synced()));
                let resyncs = metrics.resyncs.get_or_create_owned(&label);
                resyncs.inc_by(state.counters.full_syncs.saturating_sub(resyncs.get()));
                if connected != state.is_synced() {
                    connected = state.is_synced();
                    if connected {
                        info!(southbound = %state, "connected");
                        look(&client, &owner, &mut gateways, &metrics);
                    } else {
                        warn!(southbound = %state, "disconnected");
                        gateways.lose_sight();
                    }
                }
                warn_unreachable(failures, &state);
                failures = state.failures;
            }
            Event::Batch(batch) => {
                told = measure(&client, &metrics, &told);
                if connected && moves(&batch, &owner) {
                    look(&client, &owner, &mut gateways, &metrics);
                }
            }
        }
    }
}

/// Says so, ever more rarely, while there is no Southbound; so many attempts had failed `before`.
fn warn_unreachable(before: u32, state: &State) {
    const FEW: u32 = 4;
    let failures = state.failures;
    if failures >= FEW && before.checked_ilog2() < failures.checked_ilog2() {
        let error = state.last_error.as_deref().unwrap_or("no error is known");
        warn!(
            failures,
            error,
            "no OVN Southbound can be read, so which chassis lags behind and where EIP gateways are is not known; see that \
             --sb-address names it; trying again and again"
        );
    }
}

/// Looks where the gateways are, and counts those that have moved.
fn look(client: &Client, owner: &str, gateways: &mut Settling, metrics: &Metrics) {
    for gateway in gateways.see(on_chassis(client, owner)) {
        let label = GatewayLabel { gateway };
        metrics.gateway_moves.get_or_create_owned(&label).inc();
    }
}

/// Where the gateways are: told once it has been so for [`SETTLES`].
#[derive(Debug, Default)]
struct Settling {
    told: Option<Serving>,
    seen: Serving,
    /// The last chassis each was seen on.
    last: Serving,
    due: Option<Instant>,
}

impl Settling {
    /// Takes in where they are. Returns those that were on another chassis when they last were on one.
    fn see(&mut self, now: Serving) -> Vec<String> {
        if self.told.as_ref() == Some(&now) {
            self.due = None;
        } else if self.due.is_none() || self.seen != now {
            self.due = Some(Instant::now() + SETTLES);
        }
        let mut moved = Vec::new();
        for (gateway, chassis) in &now {
            let before = self.last.insert(gateway.clone(), chassis.clone());
            if before.is_some_and(|before| before != *chassis) {
                moved.push(gateway.clone());
            }
        }
        self.seen = now;
        moved
    }

    /// What is not seen may have changed again.
    fn lose_sight(&mut self) {
        self.due = None;
    }

    /// Resolves when there is something to tell. Dropped before that, it has changed nothing.
    async fn settled(&mut self) -> Serving {
        match self.due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
        self.due = None;
        self.told = Some(self.seen.clone());
        self.seen.clone()
    }
}

/// Whether a gateway may be on another chassis after these changes.
fn moves(batch: &Batch, owner: &str) -> bool {
    let ours = |change: &RowChange| {
        let row = change.new.as_deref().or(change.old.as_deref());
        let port = row.and_then(|row| row.get_str("logical_port"));
        port.is_some_and(|port| nb::gateway_of_port(owner, port).is_some())
    };
    batch.of_table(PORT).any(ours) || batch.of_table(NODE).next().is_some()
}

/// The walk is over the ports of gateways and of the VPCs that join them, when a gateway moves or a node comes or goes.
fn on_chassis(client: &Client, owner: &str) -> Serving {
    let database = client.read();
    let rows = database.rows(PORT);
    let found = rows.filter_map(|(_, row)| {
        let gateway = nb::gateway_of_port(owner, row.get_str("logical_port")?)?;
        let chassis = row.get("chassis")?.elements().first()?.as_uuid()?;
        let name = database.row(NODE, chassis)?.get_str("name")?.to_owned();
        Some((gateway.to_owned(), name))
    });
    found.collect()
}

/// A row a chassis: the walk is over nodes, at most once a second and batch.
fn measure(client: &Client, metrics: &Metrics, told: &HashSet<String>) -> HashSet<String> {
    let database = client.read();
    let wanted = database
        .rows(GLOBAL)
        .next()
        .and_then(|(_, row)| row.get_integer("nb_cfg"))
        .unwrap_or_default();
    let mut now = HashSet::new();
    for (_, row) in database.rows(CHASSIS) {
        let Some(chassis) = row.get_str("name") else {
            continue;
        };
        let lag = wanted - row.get_integer("nb_cfg").unwrap_or_default();
        metrics
            .chassis_lag
            .get_or_create(&ChassisLabel {
                chassis: chassis.to_owned(),
            })
            .set(lag);
        now.insert(chassis.to_owned());
    }
    for gone in told.difference(&now) {
        metrics.chassis_lag.remove(&ChassisLabel {
            chassis: gone.clone(),
        });
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(chassis: &str) -> Serving {
        Serving::from([("internet".to_owned(), chassis.to_owned())])
    }

    #[test]
    fn what_goes_to_and_fro_is_not_told() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let mut gateways = Settling::default();
        assert!(gateways.see(on("gw1")).is_empty(), "it was nowhere before");
        assert_eq!(runtime.block_on(gateways.settled()), on("gw1"));

        assert_eq!(gateways.see(on("gw2")), ["internet"]);
        let first = gateways.due;
        assert!(first.is_some());
        assert!(gateways.see(on("gw2")).is_empty());
        assert_eq!(gateways.due, first, "seen once more, it waits no longer");
        assert!(gateways.see(Serving::new()).is_empty());
        assert!(gateways.due > first, "the wait begins anew");
        assert_eq!(gateways.see(on("gw1")), ["internet"]);
        assert_eq!(gateways.due, None, "nothing has changed after all");

        gateways.see(on("gw2"));
        gateways.lose_sight();
        assert_eq!(gateways.due, None, "out of sight, nothing is known");
        gateways.see(on("gw2"));
        assert!(
            gateways.due.is_some(),
            "back in sight, the wait begins anew"
        );
        assert_eq!(runtime.block_on(gateways.settled()), on("gw2"));
    }

    #[test]
    fn that_no_gateway_is_anywhere_is_told_too() {
        let mut gateways = Settling::default();
        gateways.see(Serving::new());
        assert!(gateways.due.is_some());
    }
}
