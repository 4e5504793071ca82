//! Cold start: the objects are there, the Northbound is empty, the process starts.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::floor;
use crate::report::{Goal, Report, median, megabytes, seconds};
use crate::world::World;

/// How long nothing must come before the last row is taken for the last.
const QUIET: Duration = Duration::from_secs(2);

/// What an API server does after a long list (it gives memory back) is no part of what comes next.
const REST: Duration = Duration::from_secs(3);

/// Starts controllers on empty Northbounds, a bare loop after each.
pub(crate) fn measure(world: &World, starts: usize, report: &mut Report) -> Result<()> {
    let size = world.size;
    let mut ratios = Vec::new();
    // The first of a resource fills the API server's cache, which takes a second even without objects.
    floor::list(world)?;
    for start in 0..starts {
        let told_before = if start == 0 {
            "no object has a status yet"
        } else {
            "the Northbound was lost"
        };
        report.part(format!(
            "Cold start, {size} services with {}, {told_before}",
            world.backends.word()
        ));
        std::thread::sleep(REST);
        let northbound = world.northbound()?;
        let mut controller = world.controller(&northbound)?;
        controller.wait_converged()?;
        let updates = northbound.monitor.until_quiet(QUIET)?;
        let balancers: usize = updates
            .iter()
            .map(|update| update.rows("Load_Balancer"))
            .sum();
        anyhow::ensure!(balancers >= size, "{balancers} rows for {size} services");
        let mut ours = updates.iter().filter(|update| update.all_rows() > 0);
        let transactions = ours.clone().count();
        let last = ours.next_back().context("nothing was written")?.at;
        let wall = last - controller.started();
        let known = controller
            .said("all objects are known")?
            .context("the objects were never known")?;
        let usage = controller.usage()?;
        controller.wait_told()?;
        let told = controller.usage()?;
        let writing = wall.saturating_sub(known);
        let rows = floor::rows(world, &northbound.server)?;
        let count: usize = rows.values().map(std::collections::BTreeMap::len).sum();
        controller.stop()?;
        drop(northbound);
        let bare = floor::write(world, &rows)?;
        std::thread::sleep(REST);
        let list = floor::list(world)?;

        let goals = size == 10_000;
        report.line(
            "process start to last row; beside it list and bare loop",
            seconds(wall),
            seconds(list + bare),
            Goal::below(wall.as_secs_f64(), 1.2, "1.2 s").only_if(goals),
        );
        report.line(
            "process start to all objects known; a bare list",
            seconds(known),
            seconds(list),
            Goal::none(),
        );
        let ratio = writing.as_secs_f64() / bare.as_secs_f64();
        report.line(
            format!("{count} rows in {transactions} transactions; the bare loop"),
            seconds(writing),
            seconds(bare),
            Goal::none(),
        );
        ratios.push(ratio);
        report.line(
            "  the ratio",
            format!("{ratio:.2}x"),
            String::new(),
            Goal::at_most(ratio, 2.0, "2x"),
        );
        report.line(
            "processor time to the last row",
            seconds(usage.cpu),
            String::new(),
            Goal::none(),
        );
        report.line(
            "most memory until the last row",
            megabytes(usage.peak),
            String::new(),
            Goal::at_most(usage.peak as f64 / 1e6, 60.0, "60 MB").only_if(goals),
        );
        report.line(
            "most memory until all statuses are written; what is kept",
            megabytes(told.peak),
            megabytes(told.resident),
            Goal::at_most(told.peak as f64 / 1e6, 60.0, "60 MB").only_if(goals),
        );
    }
    report.line(
        "median of the ratios",
        format!("{:.2}x", median(ratios.clone())),
        String::new(),
        Goal::at_most(median(ratios), 2.0, "2x"),
    );
    Ok(())
}
