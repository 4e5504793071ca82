//! `yusurctl purge`: removes all that an installation has in the Northbound, by the same plan by which the controller
//! removes what no object asks for: here no object asks for anything.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use ovsdb::model::{Datum, Mutation, Mutator, Name, Operation};
use ovsdb::{Client, Lock, Transaction};
use yusur_controller::cli::{self, NorthboundArgs};
use yusur_controller::engine::{self, Authority};
use yusur_planner::{Bounds, Config, Inventory, Round, nb, operations, plan};

use crate::database;

/// How long to wait for the lock, and for ovn-northd.
const PATIENCE: Duration = Duration::from_secs(10);

/// Units planned at a time.
const UNITS: usize = 10_000;

/// Changes of rows in one transaction; a group of units that belong together may have more.
const BOUNDS: Bounds = Bounds { operations: 4000 };

/// Shown after `--help`.
const EXAMPLES: &str = "\
Examples:
  # What is there? Nothing is removed without --yes.
  yusurctl purge --owner yusur

  # Remove it. Stop the controller first: one that runs would put everything back.
  yusurctl purge --owner yusur --yes";

/// The flags of `purge`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Whose rows: the --owner of the controller that made them.
    #[arg(long, value_name = "NAME", env = "YUSUR_OWNER", value_parser = cli::owner)]
    owner: String,

    /// Remove them. Without it they are counted.
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    northbound: NorthboundArgs,
}

/// Counts the rows, and with `--yes` removes them.
///
/// # Errors
/// When the Northbound is out of reach or refuses, or while a controller writes there.
pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let owner = args.owner.as_str();
    let remote = args.northbound.remote();
    let builder = yusur_controller::run::connect("OVN_Northbound", "--nb-address", remote)?;
    let builder = engine::northbound(builder, owner);
    let client = database::synced(builder, "the Northbound", "--nb-address").await?;
    let there = count(&client, owner);
    if there.is_empty() {
        println!("The Northbound has no row of owner {owner}.");
    }
    for (table, rows) in &there {
        println!("{rows:>8}  {table}");
    }
    if args.yes {
        let lock = lock(&client, owner).await?;
        digested(&client, &lock).await?;
        remove(&client, &lock, owner).await?;
        println!("Removed.");
    } else if !there.is_empty() {
        println!("Nothing was removed. To remove these rows: yusurctl purge --owner {owner} --yes");
    }
    client.close().await;
    Ok(())
}

/// How many rows of the owner there are, by table.
fn count(client: &Client, owner: &str) -> BTreeMap<&'static str, usize> {
    let database = client.read();
    let tables = nb::TABLES.iter().map(|table| {
        let rows = database.rows(table.name);
        let own = rows.filter(|(_, row)| nb::unit_of(owner, table.name, row).is_some());
        (table.name, own.count())
    });
    tables.filter(|(_, rows)| *rows > 0).collect()
}

/// The lock that a controller holds while it serves a directory of manifests.
async fn lock(client: &Client, owner: &str) -> anyhow::Result<Lock> {
    let mut lock = client.lock(Authority::lock_name(owner));
    let held = tokio::time::timeout(PATIENCE, lock.held()).await;
    ensure!(
        held == Ok(true),
        "a controller with this owner runs (it holds the lock {}); stop it first",
        lock.name()
    );
    Ok(lock)
}

/// Waits until ovn-northd has seen what a controller wrote last: some releases fail where they see one switch come and another
/// go at once. One that does not run, or is stopped, sees nothing.
async fn digested(client: &Client, lock: &Lock) -> anyhow::Result<()> {
    let counters = || {
        let database = client.read();
        let (_, row) = database.rows("NB_Global").next()?;
        let integer = |column| row.get_integer(column).unwrap_or_default();
        Some((integer("nb_cfg"), integer("sb_cfg")))
    };
    let Some((nb_cfg, sb_cfg)) = counters() else {
        return Ok(());
    };
    let target = nb_cfg.max(sb_cfg).saturating_add(1);
    let reached = || counters().is_none_or(|(_, sb_cfg)| sb_cfg >= target);
    if reached() {
        return Ok(());
    }
    let mut changes = client.changes_from_now();
    let raise = Operation::Mutate {
        table: Name::new_static("NB_Global"),
        condition: Vec::new(),
        mutations: vec![Mutation::new("nb_cfg", Mutator::Add, target - nb_cfg)],
    };
    write(client, lock, vec![raise]).await?;
    let wait = async { while !reached() && changes.next_batch().await.is_some() {} };
    if tokio::time::timeout(PATIENCE, wait).await.is_err() {
        println!(
            "ovn-northd has not answered for {} s; going on without it. If it is only busy, or stopped for a while, restart it \
             after this.",
            PATIENCE.as_secs()
        );
    }
    Ok(())
}

/// Plans for no objects at all until nothing is left to write.
async fn remove(client: &Client, lock: &Lock, owner: &str) -> anyhow::Result<()> {
    let mut left = usize::MAX;
    loop {
        let groups = {
            let database = client.read();
            let mut inventory = Inventory::new(Config::new(owner));
            inventory.load(&database);
            inventory.sweep(&database);
            let units = inventory.take_dirty(&database, UNITS);
            plan(&units, &inventory, &database).groups
        };
        if groups.is_empty() {
            break;
        }
        let rows = count(client, owner).values().sum();
        ensure!(
            rows < left,
            "rows come back as they are removed: a controller with this owner is running; stop it first"
        );
        left = rows;
        let mut round = Round::new(groups, BOUNDS);
        loop {
            let (sent, _) = round.next_run();
            if sent.is_empty() {
                break;
            }
            write(client, lock, operations(sent)).await?;
            round.committed();
        }
    }
    // The epoch of a controller that a Lease elects. A missing value is nobody's, and no change.
    let epoch = Authority::epoch_key(owner);
    let forget = Operation::Mutate {
        table: Name::new_static("NB_Global"),
        condition: Vec::new(),
        mutations: vec![Mutation::new(
            Name::new_static("external_ids"),
            Mutator::Delete,
            Datum::set([epoch]),
        )],
    };
    write(client, lock, vec![forget]).await
}

async fn write(client: &Client, lock: &Lock, mut operations: Vec<Operation>) -> anyhow::Result<()> {
    operations.push(Operation::Comment("yusurctl purge".to_owned()));
    let transaction = Transaction::new(operations).assert_lock(Name::from(lock.name()));
    let written = client.transact(transaction).await;
    written.map(drop).context("the Northbound refuses")
}
