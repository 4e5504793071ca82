//! Status beside changes: what an edit costs while the statuses of a start are written, and what edits back to back cost
//! the API server.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::controller::Controller;
use crate::monitor::Monitor;
use crate::objects;
use crate::report::{Goal, Report, milliseconds, percentile, seconds};
use crate::world::World;

/// Between two edits, as when people and their tools work.
const PAUSE: Duration = Duration::from_millis(25);

/// How long an edit may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// Edits timed at most: the backlog of a small world does not last for more.
const MOST: usize = 200;

/// How long one service is edited back to back.
const BACK_TO_BACK: Duration = Duration::from_secs(5);

/// Edits, one after the other.
#[derive(Default)]
struct Edits {
    /// From the request sent to its answer, in seconds.
    answers: Vec<f64>,
    /// From the answer to the row, in seconds; negative where the row was quicker.
    rows: Vec<f64>,
    /// Writes to the API server beside the edits themselves, for each edit.
    writes: f64,
}

/// All of it, at the size the world has.
pub(crate) fn measure(world: &World, changes: usize, report: &mut Report) -> Result<()> {
    report.part(format!(
        "Status, {} services with {}",
        world.size,
        world.backends.word()
    ));
    let changes = changes.min(MOST);
    let northbound = world.northbound()?;
    let mut controller = world.controller(&northbound)?;
    controller.wait_converged()?;
    controller.wait_told()?;
    northbound.monitor.until_quiet(Duration::from_secs(1))?;
    let quiet = edits(world, &northbound.monitor, || Ok(true), changes)?;
    let hammered = back_to_back(world, &controller)?;
    controller.stop()?;

    // As at a first start: no object has been told anything yet.
    let untold: Vec<_> = (0..world.size).map(objects::untold).collect();
    world.api.send_all(&untold)?;
    let mut controller = world.controller(&northbound)?;
    controller.wait_converged()?;
    let (began, before) = (Instant::now(), controller.metric("status_writes_total")?);
    northbound.monitor.until_quiet(Duration::from_millis(100))?;
    let lasts = || Ok(controller.metric("status_queue")? > 0.0);
    let busy = edits(world, &northbound.monitor, lasts, changes)?;
    let (told, written) = told(&controller, began)?;
    controller.stop()?;

    let writes = quiet.writes;
    lines(report, "with no other status to write", quiet);
    report.line(
        "  API writes for each beside it",
        format!("{writes:.2}"),
        String::new(),
        Goal::none(),
    );
    lines(report, "while the backlog is written", busy);
    report.line(
        "the backlog: until all is written; statuses a second",
        seconds(told),
        format!("{:.0}", (written - before) / told.as_secs_f64()),
        Goal::none(),
    );
    report.line(
        format!("one service edited back to back for {BACK_TO_BACK:?}: edits; API writes for each beside it"),
        hammered.0.to_string(),
        format!("{:.2}", hammered.1),
        Goal::none(),
    );
    Ok(())
}

fn lines(report: &mut Report, when: &str, mut edits: Edits) {
    let count = edits.answers.len();
    for (name, part) in [("p50", 0.50), ("p99", 0.99)] {
        report.line(
            format!("{count} edits {when}, {name}: request to answer; answer to row"),
            milliseconds(percentile(&mut edits.answers, part)),
            milliseconds(percentile(&mut edits.rows, part)),
            Goal::none(),
        );
    }
}

/// Edits one service after another as long as `lasts`.
fn edits(
    world: &World,
    monitor: &Monitor,
    mut lasts: impl FnMut() -> Result<bool>,
    most: usize,
) -> Result<Edits> {
    let mut edits = Edits::default();
    let before = revision(world)?;
    for turn in 0..most {
        if !lasts()? {
            break;
        }
        let sent = Instant::now();
        let answered = world.api.send(&world.change(turn * 7919 % world.size))?;
        let seen = loop {
            let update = monitor
                .next(PATIENCE)?
                .context("an edit had no effect on any load balancer")?;
            if update.rows("Load_Balancer") > 0 {
                break update.at;
            }
        };
        let late = seen.saturating_duration_since(answered).as_secs_f64();
        let early = answered.saturating_duration_since(seen).as_secs_f64();
        edits.rows.push(late - early);
        edits.answers.push((answered - sent).as_secs_f64());
        std::thread::sleep(PAUSE);
    }
    let count = edits.answers.len() as f64;
    edits.writes = (revision(world)? - before - count) / count.max(1.0);
    Ok(edits)
}

/// Edits one service as fast as the API server takes it: how many edits, and how many writes for each beside it.
fn back_to_back(world: &World, controller: &Controller) -> Result<(usize, f64)> {
    let before = revision(world)?;
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < BACK_TO_BACK {
        world.api.send(&world.change(0))?;
        count += 1;
    }
    controller.wait_told()?;
    let all = revision(world)? - before;
    Ok((count, (all - count as f64) / count as f64))
}

/// When nothing was left to write, and how many statuses the controller has written by then.
fn told(controller: &Controller, began: Instant) -> Result<(Duration, f64)> {
    while controller.metric("status_queue")? + controller.metric("status_in_flight")? > 0.0 {
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok((began.elapsed(), controller.metric("status_writes_total")?))
}

/// etcd's revision: it grows by one with every write of anybody. That of others than the controller is little: Leases.
fn revision(world: &World) -> Result<f64> {
    Ok(world.api.version(objects::SERVICES)?.parse()?)
}
