//! The long run: a stream of transactions while leaders are killed, and while connections are cut at any byte. Every
//! transaction that was answered took effect exactly once, every other at most once, and the replica equals a fresh
//! dump.
//!
//! `OVSDB_SOAK_KILLS` and `OVSDB_SOAK_CUTS` set how often (`make soak`: 100 and 1000), `OVSDB_SOAK_SEED` repeats a run.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::dice::{Dice, count_from};
use common::proxy::{Mischief, Proxy};
use common::workload::{Shadow, Tally, Worker, audit_counter, prepare};
use common::*;
use ovsdb::model::Operation;
use ovsdb::{Client, Phase};
use tokio::sync::{RwLock, watch};
use yusur_testbed::ovsdb::{Cluster, Dump, Standalone};
use yusur_testbed::schemas::installed;

const TABLES: [&str; 4] = [
    "Load_Balancer",
    "Logical_Switch",
    "Logical_Switch_Port",
    "NB_Global",
];
const WORKERS: u64 = 4;

/// The work in progress.
struct Work {
    client: Client,
    gate: Arc<RwLock<()>>,
    tally: Arc<Tally>,
    stop: watch::Sender<bool>,
    workers: Vec<tokio::task::JoinHandle<Worker>>,
    shadow: Shadow,
}

impl Work {
    async fn begin(builder: ovsdb::Builder, dice: &mut Dice) -> Self {
        let client = started(builder.columns("Logical_Switch_Port", ["name"])).await;
        prepare(&client, WORKERS).await;
        let (gate, tally, stop) = (
            Arc::default(),
            Arc::new(Tally::default()),
            watch::Sender::new(false),
        );
        let shadow = Shadow::of(&client);
        let workers = (0..WORKERS)
            .map(|number| {
                let worker = Worker::new(
                    client.clone(),
                    Arc::clone(&gate),
                    tally.clone(),
                    dice.branch(),
                    number,
                );
                tokio::spawn(worker.run(stop.subscribe()))
            })
            .collect();
        Self {
            client,
            gate,
            tally,
            stop,
            workers,
            shadow,
        }
    }

    /// Waits until so many more transactions were answered.
    async fn progress(&mut self, transactions: u64) {
        let goal = self.tally.answered.load(Ordering::Relaxed) + transactions;
        while self.tally.answered.load(Ordering::Relaxed) < goal {
            tokio::time::sleep(Duration::from_millis(2)).await;
            self.shadow.catch_up();
        }
    }

    /// With all hands off: nothing is in flight, and the replica, the stream and the database are the same.
    async fn compare(
        &mut self,
        dump: impl AsyncFnOnce() -> anyhow::Result<Dump>,
    ) -> anyhow::Result<()> {
        let gate = self.gate.clone();
        let _closed = gate.write().await;
        // What is written now comes after everything else.
        soon(async {
            while self
                .client
                .transact(vec![Operation::comment("the last word")])
                .await
                .is_err()
            {
                self.client.synced().await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        assert_equals_dump(&self.client, &dump().await?, &TABLES);
        self.shadow.assert_equals(&self.client);
        audit_counter(&self.client);
        Ok(())
    }

    async fn end(mut self, dump: impl AsyncFnOnce() -> anyhow::Result<Dump>) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        let mut workers = Vec::new();
        for worker in std::mem::take(&mut self.workers) {
            workers.push(worker.await?);
        }
        self.compare(dump).await?;
        for worker in &workers {
            worker.audit();
        }
        println!(
            "{:?} {:?}",
            self.tally,
            self.client.state().borrow().counters
        );
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_are_killed() -> anyhow::Result<()> {
    let kills = count_from("OVSDB_SOAK_KILLS", 3);
    let mut dice = Dice::seeded(Dice::seed_of_the_run());
    let cluster = Arc::new(Cluster::start(3, &installed("ovn-nb")?)?);
    let mut work = Work::begin(northbound(&cluster.remotes()), &mut dice).await;
    for kill in 0..kills {
        work.progress(20 + dice.below(200)).await;
        let dead = on_a_thread(&cluster, |cluster| cluster.kill_leader()).await?;
        // Now and then the next session begins before the dead one is back, now and then after.
        if dice.below(2) == 0 {
            work.progress(1 + dice.below(50)).await;
        }
        on_a_thread(&cluster, move |cluster| cluster.member(dead).start()).await?;
        on_a_thread(&cluster, |cluster| cluster.wait_settled()).await?;
        if kill % 10 == 9 {
            let leader = on_a_thread(&cluster, |cluster| cluster.leader()).await?;
            work.compare(async || on_a_thread(&cluster, move |cluster| cluster.dump(leader)).await)
                .await?;
            println!("{} kills: {:?}", kill + 1, work.tally);
            // A server that starts reads all that was ever written. And a leader that compacts hands over first.
            on_a_thread(&cluster, |cluster| {
                for member in cluster.members() {
                    member.appctl(&["ovsdb-server/compact"])?;
                }
                cluster.wait_settled()
            })
            .await?;
        }
    }
    work.progress(20).await;
    let leader = on_a_thread(&cluster, |cluster| cluster.wait_settled()).await?;
    let client = work.client.clone();
    work.end(async || on_a_thread(&cluster, move |cluster| cluster.dump(leader)).await)
        .await?;
    assert!(client.state().borrow().counters.sessions > kills);
    Ok(())
}

/// The testbed waits with its thread; ours go on.
async fn on_a_thread<T: Send + 'static>(
    cluster: &Arc<Cluster>,
    ask: impl FnOnce(&Cluster) -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let cluster = cluster.clone();
    tokio::task::spawn_blocking(move || ask(&cluster)).await?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_cut_at_any_byte() -> anyhow::Result<()> {
    let cuts = count_from("OVSDB_SOAK_CUTS", 50);
    let mut dice = Dice::seeded(Dice::seed_of_the_run());
    let schema = installed("ovn-nb")?;
    // The one resumes, the other begins anew each time.
    let (cluster, standalone) = (Cluster::start(1, &schema)?, Standalone::start(&schema)?);
    for server in [cluster.member(0), &*standalone] {
        let cuts = cuts / 2;
        let mut luck = dice.branch();
        let lengths: Vec<u64> = (0..cuts)
            .map(|_| {
                // A quarter within the first exchanges, the rest anywhere.
                let bound = if luck.below(4) == 0 { 2_000 } else { 400_000 };
                1 + luck.below(bound)
            })
            .collect();
        // The first connection and those after the last cut are left alone.
        let mischief = move |number: usize| Mischief {
            cut_after: number
                .checked_sub(1)
                .and_then(|number| lengths.get(number).copied()),
            ..Mischief::default()
        };
        let proxy = Proxy::start(server.unix_path(), mischief).await?;
        let builder =
            northbound(&proxy.remote()).backoff(Duration::from_millis(1), Duration::from_millis(2));
        let mut work = Work::begin(builder, &mut dice).await;
        work.client.reconnect();
        while (proxy.connections() as u64) < cuts + 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
            work.shadow.catch_up();
            assert_ne!(work.client.state().borrow().phase, Phase::Closed);
        }
        work.progress(20).await;
        work.end(async || server.dump()).await?;
    }
    Ok(())
}
