//! `yusurctl source-ports`: how many source ports the service gateways on this node have left. Their connections are in the
//! conntrack table of the node they are on, and nowhere else.

mod count;
mod node;
mod publish;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use yusur_controller::cli::{self, SouthboundArgs};

use count::{Backend, PORTS, Used};
use node::Node;

/// Shown after `--help`.
const EXAMPLES: &str = "\
Examples:
  # On a gateway node: towards which backend addresses are source ports running out?
  yusurctl source-ports

  # Tell it in the status of the EipGateways, each minute.
  yusurctl source-ports --publish --kubeconfig /etc/yusur/kubeconfig --interval 60";

/// The flags of `source-ports`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Whose service gateways: the --owner of the controller that made them.
    #[arg(long, value_name = "NAME", env = "YUSUR_OWNER", default_value = "yusur", value_parser = cli::owner)]
    owner: String,

    /// Database of this node's Open vSwitch.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "YUSUR_OVS_ADDRESS",
        default_value = "unix:/run/openvswitch/db.sock"
    )]
    ovs_address: String,

    /// Run directory of this node's ovs-vswitchd, or its control socket.
    #[arg(
        long,
        value_name = "PATH",
        env = "YUSUR_OVS_CONTROL",
        default_value = "/run/openvswitch"
    )]
    ovs_control: PathBuf,

    /// How many backend addresses to show of each service gateway and family: those with the fewest ports left.
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    most: usize,

    /// Count again after this many seconds, and go on until it is interrupted.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    interval: Option<u64>,

    /// Write what is left into `status.sourcePorts` of the EipGateways.
    #[arg(long)]
    publish: bool,

    /// This node's name in Kubernetes [default: what its Open vSwitch calls the host].
    #[arg(long, value_name = "NAME", env = "YUSUR_NODE", requires = "publish")]
    node: Option<String>,

    /// The cluster to write to [default: the one this runs in, or that KUBECONFIG or ~/.kube/config names].
    #[arg(
        long,
        value_name = "FILE",
        env = "YUSUR_KUBECONFIG",
        requires = "publish"
    )]
    kubeconfig: Option<PathBuf>,

    /// Only OVN before 23.09 needs it; without an address that of the node's ovn-controller serves.
    #[command(flatten)]
    southbound: SouthboundArgs,
}

/// Counts, shows, and with `--publish` tells; once, or until the process ends.
///
/// # Errors
/// When Open vSwitch, or what else is needed, is out of reach. With `--interval` that is told, and tried again.
pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let Some(seconds) = args.interval else {
        return once(args).await;
    };
    let mut ticks = tokio::time::interval(Duration::from_secs(seconds));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = once(args).await {
            eprintln!("yusurctl: {}", yusur_controller::telemetry::words(&error));
        }
    }
}

async fn once(args: &Args) -> anyhow::Result<()> {
    let node = Node::read(args).await?;
    let mut gateways = BTreeMap::new();
    for gateway in node.service_gateways(&args.owner) {
        let zone = node.zone(args, &gateway).await?;
        let used = count::used(&node.connections(args, zone).await?);
        gateways.insert(gateway, used);
    }
    show(args, &gateways);
    if args.publish {
        let name = args.node.as_deref().unwrap_or(&node.host);
        publish::publish(args.kubeconfig.as_deref(), name, &gateways).await?;
    }
    Ok(())
}

fn show(args: &Args, gateways: &BTreeMap<String, Used>) {
    if gateways.is_empty() {
        println!("No service gateway is on this node.");
        return;
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_header([
        "EIPGATEWAY",
        "BACKEND ADDRESS",
        "CONNECTIONS",
        "PORTS LEFT",
    ]);
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    for (gateway, used) in gateways {
        if used.is_empty() {
            table.add_row([gateway.as_str(), "-", "0", &PORTS.to_string()]);
        }
        for ipv4 in [true, false] {
            let family = |backend: &&Backend| backend.address.is_ipv4() == ipv4;
            let mut fullest: Vec<&Backend> = used.keys().filter(family).collect();
            fullest.sort_by_key(|backend| (std::cmp::Reverse(used[*backend]), *backend));
            for backend in fullest.into_iter().take(args.most) {
                let used = used[backend];
                let left = count::left(used);
                table.add_row([
                    gateway.as_str(),
                    &backend.to_string(),
                    &used.to_string(),
                    &left.to_string(),
                ]);
            }
        }
    }
    println!("{}", table.trim_fmt());
}
