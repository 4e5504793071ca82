//! What the Southbound is read for: which chassis lags behind, so that a change that does not become live can be traced
//! to the node that holds it up.

use std::collections::HashSet;

use ovsdb::{Client, Event};
use tracing::{info, warn};

use crate::metrics::{ChassisLabel, DatabaseLabel, Metrics};

const CHASSIS: &str = "Chassis_Private";
const GLOBAL: &str = "SB_Global";

/// Describes the client that [`run`] needs.
pub fn tables(builder: ovsdb::Builder) -> ovsdb::Builder {
    builder
        .columns(CHASSIS, ["name", "nb_cfg"])
        .columns(GLOBAL, ["nb_cfg"])
}

/// Keeps the metrics up to date until the client is closed.
pub async fn run(client: Client, metrics: Metrics) {
    let label = DatabaseLabel {
        database: "OVN_Southbound",
    };
    let mut changes = client.changes();
    let mut connected = false;
    let mut told = HashSet::new();
    while let Some(event) = changes.next().await {
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
                    } else {
                        warn!(southbound = %state, "disconnected");
                    }
                }
            }
            Event::Batch(_) => told = measure(&client, &metrics, &told),
        }
    }
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
