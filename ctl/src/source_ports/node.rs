//! This node's Open vSwitch: which service gateways are here, and what it tracks for them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use ovsdb::model::{Clause, Datum};
use ovsdb::unixctl::Unixctl;
use yusur_controller::cli::Remote;
use yusur_controller::run::connect;
use yusur_planner::Unit;
use yusur_planner::nb::Ids;

use super::Args;
use crate::database;

/// How long a dump may take: a million connections are a quarter of a gigabyte of text.
const DUMP: Duration = Duration::from_secs(120);

/// The bridge that OVN programs. Its `external_ids` record ovn-controller's conntrack zones, after this prefix.
const BRIDGE: &str = "br-int";
const ZONE: &str = "ct-zone-";

/// What the node's database says.
pub(super) struct Node {
    /// The host's name.
    pub(super) host: String,
    /// The Southbound that its ovn-controller follows.
    southbound: Option<String>,
    /// As dpctl calls it: `system@ovs-system`.
    datapath: String,
    /// Numbers of conntrack zones, by what they are for.
    zones: BTreeMap<String, u16>,
}

impl Node {
    /// Reads the database.
    ///
    /// # Errors
    /// When it is out of reach, or OVN does not run here.
    pub(super) async fn read(args: &Args) -> anyhow::Result<Self> {
        let addresses = [args.ovs_address.clone()];
        let remote = Remote {
            addresses: &addresses,
            ca_cert: None,
            identity: None,
        };
        let builder = connect("Open_vSwitch", "--ovs-address", remote)?
            .columns("Open_vSwitch", ["external_ids"])
            .columns("Bridge", ["name", "external_ids", "datapath_type"]);
        let client = database::synced(builder, "the database", "--ovs-address").await?;
        let node = {
            let database = client.read();
            let mut bridges = database.rows("Bridge");
            let bridge = bridges.find(|(_, row)| row.get_str("name") == Some(BRIDGE));
            let (_, bridge) = bridge.with_context(|| {
                format!(
                    "Open vSwitch has no bridge {BRIDGE}: ovn-controller does not run on this node"
                )
            })?;
            let own = database.rows("Open_vSwitch").next();
            let (_, own) = own.context("the database of Open vSwitch has no row about itself")?;
            let text = |key| own.map_str("external_ids", key).map(str::to_owned);
            let host = text("hostname").or_else(|| text("system-id"));
            let zones = bridge
                .get("external_ids")
                .map(Datum::pairs)
                .unwrap_or_default();
            let zones = zones.iter().filter_map(|(key, value)| {
                let purpose = key.as_str()?.strip_prefix(ZONE)?;
                Some((purpose.to_owned(), value.as_str()?.parse().ok()?))
            });
            let kind = bridge
                .get_str("datapath_type")
                .filter(|kind| !kind.is_empty());
            let kind = kind.unwrap_or("system");
            Self {
                host: host.unwrap_or_default(),
                southbound: text("ovn-remote"),
                datapath: format!("{kind}@ovs-{kind}"),
                zones: zones.collect(),
            }
        };
        client.close().await;
        Ok(node)
    }

    /// The EIP gateways whose service gateway is on this node: the port of a router that is bound to a chassis has a zone
    /// there and nowhere else.
    pub(super) fn service_gateways(&self, owner: &str) -> Vec<String> {
        let prefix = router(owner, "");
        let here = self.zones.keys().filter_map(|purpose| {
            let name = purpose.strip_prefix(&prefix)?;
            name.strip_suffix("/join-router").map(str::to_owned)
        });
        here.collect()
    }

    /// The zone in which a service gateway's connections have their new source. ovn-controller calls it by the router's name,
    /// in OVN 23.03 by the UUID that its datapath has in the Southbound.
    ///
    /// # Errors
    /// When there is none, or the Southbound is needed and out of reach.
    pub(super) async fn zone(&self, args: &Args, gateway: &str) -> anyhow::Result<u16> {
        let router = router(&args.owner, gateway);
        if let Some(zone) = self.zones.get(&format!("{router}_snat")) {
            return Ok(*zone);
        }
        let datapath = self.datapath_of(args, &router).await?;
        let zone = self.zones.get(&format!("{datapath}_snat"));
        zone.copied().with_context(|| {
            format!("ovn-controller has no conntrack zone for the router {router} on this node")
        })
    }

    /// The UUID of a router's datapath.
    async fn datapath_of(&self, args: &Args, router: &str) -> anyhow::Result<String> {
        let own = self.southbound.iter().cloned().collect::<Vec<_>>();
        let flags = &args.southbound;
        let remote = flags.remote().unwrap_or_else(|| flags.remote_at(&own));
        let name = Datum::map([("name", router)]);
        let builder = connect("OVN_Southbound", "--sb-address", remote)?
            .columns("Datapath_Binding", ["external_ids"])
            .condition("Datapath_Binding", [Clause::includes("external_ids", name)]);
        let client = database::synced(builder, "the database", "--sb-address").await?;
        let found = client
            .read()
            .rows("Datapath_Binding")
            .next()
            .map(|(uuid, _)| uuid);
        client.close().await;
        let uuid = found.with_context(|| format!("the Southbound has no router {router}"))?;
        Ok(uuid.to_string())
    }

    /// What is tracked in a zone, as Open vSwitch prints it.
    ///
    /// # Errors
    /// When ovs-vswitchd does not answer, or refuses.
    pub(super) async fn connections(&self, args: &Args, zone: u16) -> anyhow::Result<String> {
        let path = &args.ovs_control;
        let control = match path.is_dir() {
            true => Unixctl::connect_daemon(path, "ovs-vswitchd").await,
            false => Unixctl::connect(path).await,
        };
        let mut control = control.context("--ovs-control: ovs-vswitchd")?;
        control.timeout(DUMP);
        let zone = format!("zone={zone}");
        let dump = control
            .call("dpctl/dump-conntrack", &[&self.datapath, &zone])
            .await;
        dump.context("ovs-vswitchd refuses dpctl/dump-conntrack")
    }
}

/// The name of a service gateway's router in OVN.
fn router(owner: &str, gateway: &str) -> String {
    let router = Unit::ServiceGateway(gateway.into());
    Ids::new(owner.into()).name(router).to_string()
}
