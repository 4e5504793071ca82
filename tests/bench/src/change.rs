//! A running controller: one endpoint changes, many change at once, nothing changes over a restart.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::api::Request;
use crate::controller::Controller;
use crate::floor;
use crate::monitor::Monitor;
use crate::report::{Goal, Report, milliseconds, percentile, seconds};
use crate::world::World;

/// Between two changes, for what follows one (its status) to come to rest.
const PAUSE: Duration = Duration::from_millis(25);

/// How long a change may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// Services changed at once.
const MANY: usize = 1_000;

/// All of it, at the size the world has.
pub(crate) fn measure(world: &World, changes: usize, report: &mut Report) -> Result<()> {
    report.part(format!(
        "Running, {} services with {}",
        world.size,
        world.backends.word()
    ));
    let northbound = world.northbound()?;
    let mut controller = world.controller(&northbound)?;
    controller.wait_converged()?;
    controller.wait_told()?;
    northbound.monitor.until_quiet(Duration::from_secs(1))?;

    let plan = |controller: &Controller| -> Result<(f64, f64)> {
        Ok((
            controller.metric("plan_seconds_sum")?,
            controller.metric("plan_seconds_count")?,
        ))
    };
    let before = plan(&controller)?;
    let samples = samples(world, &northbound.monitor, changes)?;
    let after = plan(&controller)?;
    let planner = (after.0 - before.0) / (after.1 - before.1).max(1.0);

    let burst = if world.size >= MANY {
        Some(burst(world, &northbound.monitor, &controller)?)
    } else {
        None
    };

    controller.wait_told()?;
    controller.stop()?;
    northbound.monitor.until_quiet(Duration::from_secs(1))?;
    let mut controller = world.controller(&northbound)?;
    controller.wait_converged()?;
    let converged = controller.said("the Northbound is what the objects mean")?;
    let updates = northbound.monitor.until_quiet(Duration::from_secs(2))?;
    let changed: usize = updates.iter().map(crate::monitor::Update::all_rows).sum();
    controller.stop()?;
    drop(northbound);

    let floor = floor::latency(world, changes)?;
    let mut ours: Vec<f64> = samples.iter().map(Sample::latency).collect();
    let mut bare: Vec<f64> = floor.samples.iter().map(Sample::latency).collect();
    let mut database = floor.database();
    for (name, part, limit, word) in [("p50", 0.50, 0.5e-3, "0.5 ms"), ("p99", 0.99, 2e-3, "2 ms")]
    {
        let ours = percentile(&mut ours, part);
        let bare = percentile(&mut bare, part);
        report.line(
            format!("one change, API answer to row seen, {name}; a bare watch and write"),
            milliseconds(ours),
            milliseconds(bare),
            Goal::below(ours, limit, word),
        );
        report.line(
            format!("  of the bare one the database alone, write to row seen, {name}"),
            String::new(),
            milliseconds(percentile(&mut database, part)),
            Goal::none(),
        );
    }
    report.line(
        "one change, planner",
        format!("{:.1} µs", planner * 1e6),
        String::new(),
        Goal::below(planner, 50e-6, "50 µs"),
    );
    if let Some(burst) = burst {
        report.line(
            format!("{MANY} changes at once, transactions; until the last row"),
            burst.transactions.to_string(),
            seconds(burst.settling),
            Goal::below(burst.transactions as f64, 50.0, "50"),
        );
        report.line(
            format!("{MANY} changes as the API server takes them, transactions; how long it took"),
            burst.trickled.to_string(),
            seconds(burst.trickling),
            Goal::none(),
        );
    }
    report.line(
        "restart with nothing changed, rows changed; start to done",
        changed.to_string(),
        seconds(converged.context("just waited for")?),
        Goal::at_most(changed as f64, 0.0, "0"),
    );
    Ok(())
}

/// One change of one endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// When the API server's answer was here.
    pub(crate) answered: Instant,
    /// When the row was seen, which may be before the answer was.
    pub(crate) seen: Instant,
}

impl Sample {
    /// Seconds from the answer to the row.
    fn latency(&self) -> f64 {
        let late = self.seen.saturating_duration_since(self.answered);
        let early = self.answered.saturating_duration_since(self.seen);
        late.as_secs_f64() - early.as_secs_f64()
    }
}

/// Changes one endpoint after another.
pub(crate) fn samples(world: &World, monitor: &Monitor, changes: usize) -> Result<Vec<Sample>> {
    let mut samples = Vec::with_capacity(changes);
    for turn in 0..changes {
        // Wanders over all of them.
        let answered = world.api.send(&world.change(turn * 7919 % world.size))?;
        loop {
            let update = monitor
                .next(PATIENCE)?
                .context("a change had no effect on any load balancer")?;
            if update.rows("Load_Balancer") > 0 {
                let seen = update.at;
                samples.push(Sample { answered, seen });
                break;
            }
        }
        std::thread::sleep(PAUSE);
    }
    Ok(samples)
}

struct Burst {
    /// What it took while the API server took the changes one by one.
    trickled: usize,
    trickling: Duration,
    /// What it took where the controller saw them all at once.
    transactions: usize,
    settling: Duration,
}

/// Changes one endpoint of many services: as fast as the API server takes it, which is slower than the controller; then
/// behind the controller's back, so that they all reach it at once.
fn burst(world: &World, monitor: &Monitor, controller: &Controller) -> Result<Burst> {
    monitor.until_quiet(Duration::from_secs(1))?;
    let before = controller.metric("transaction_units_count")?;
    let began = Instant::now();
    world.api.send_all(&many(world))?;
    let trickling = began.elapsed();
    let (trickled, _) = balancing(monitor)?;
    let sent = controller.metric("transaction_units_count")? - before;
    anyhow::ensure!(
        sent >= trickled as f64,
        "the clock saw more transactions than were sent"
    );
    controller.wait_told()?;
    let requests = many(world);
    controller.frozen(|| world.api.send_all(&requests))?;
    let thawed = Instant::now();
    let (transactions, last) = balancing(monitor)?;
    Ok(Burst {
        trickled,
        trickling,
        transactions,
        settling: last.context("no change had an effect")? - thawed,
    })
}

fn many(world: &World) -> Vec<Request> {
    (0..MANY).map(|at| world.change(at)).collect()
}

/// How many transactions changed load balancers, until it is quiet, and when the last did.
fn balancing(monitor: &Monitor) -> Result<(usize, Option<Instant>)> {
    let updates = monitor.until_quiet(Duration::from_secs(2))?;
    let mut times = updates
        .iter()
        .filter(|update| update.rows("Load_Balancer") > 0);
    Ok((
        times.clone().count(),
        times.next_back().map(|update| update.at),
    ))
}
