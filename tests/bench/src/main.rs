//! `make bench`, the part that measures the whole: the real controller between a real kube-apiserver with its etcd and a
//! real ovsdb-server with the newest OVN's Northbound schema.
//!
//! The clock is a monitor that shares nothing with the controller ([`monitor`]). Every figure stands beside its floor,
//! measured in the same run on the same machine: a bare loop that writes the same rows ([`floor`]), the bare list of the
//! API server, a bare watch followed by a bare write. Nothing is asserted; the table says what is met and what is not.

mod api;
mod change;
mod cold;
mod controller;
mod floor;
mod monitor;
mod objects;
mod report;
mod status;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use objects::Backends;
use report::Report;
use world::World;

/// Measures cold start, one change, many changes, a restart, and changes while statuses are written, with few and with many
/// services.
#[derive(Debug, Parser)]
#[command(name = "yusur-bench", version)]
struct Cli {
    /// How many services there are, in ascending order.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 1_000, 10_000])]
    sizes: Vec<usize>,

    /// Also with 100,000 services; making them takes long.
    #[arg(long)]
    full: bool,

    /// What the services' backends are.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Backends::Addresses, Backends::Pods])]
    backends: Vec<Backends>,

    /// Cold starts at each size; the first is of objects nobody has told anything yet.
    #[arg(long, default_value_t = 3)]
    starts: usize,

    /// Changes timed at each size.
    #[arg(long, default_value_t = 1_000)]
    changes: usize,

    /// The controller to measure [default: yusur-controller beside this program].
    #[arg(long, value_name = "FILE")]
    controller: Option<PathBuf>,

    /// Only make the objects, of the largest size, and keep the cluster until interrupted: for a profiler.
    #[arg(long)]
    stay: bool,

    /// Keep the controllers' logs in this directory.
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let program = match &cli.controller {
        Some(path) => path.clone(),
        None => std::env::current_exe()
            .context("finding this program's own directory")?
            .with_file_name("yusur-controller"),
    };
    let mut sizes = cli.sizes.clone();
    if cli.full {
        sizes.push(100_000);
    }
    sizes.sort_unstable();
    sizes.dedup();
    let mut report = Report::new();
    for &backends in &cli.backends {
        let mut world = World::start(&program, backends, cli.logs.clone())?;
        if cli.stay {
            world.grow(sizes.last().copied().unwrap_or_default())?;
            println!(
                "the controller's kubeconfig: {}",
                world.kubeconfig().display()
            );
            loop {
                std::thread::park();
            }
        }
        for &size in &sizes {
            world.grow(size)?;
            cold::measure(&world, cli.starts, &mut report)?;
            change::measure(&world, cli.changes, &mut report)?;
            status::measure(&world, cli.changes, &mut report)?;
        }
    }
    println!("\n{report}");
    Ok(ExitCode::SUCCESS)
}
