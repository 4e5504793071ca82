//! `make demo`: the real controller, real OVN and real packets on one machine, told as a story. Every step checks what
//! it shows, so a demo that ends well is also a proof.

mod story;
mod world;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;

/// Shows services over Pods, virtual machines and bare-metal servers in two isolated VPCs, forwarded by OVN.
///
/// Makes network namespaces and needs root. Everything is gone when it ends, also after Ctrl-C; several can run at once.
#[derive(Debug, Parser)]
#[command(name = "yusur-demo", version)]
struct Cli {
    /// Keep everything running at the end, to look around, until Ctrl-C.
    #[arg(long)]
    stay: bool,

    /// The controller to run [default: yusur-controller beside this program].
    #[arg(long, value_name = "FILE")]
    controller: Option<PathBuf>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let began = Instant::now();
    let controller = match cli.controller {
        Some(path) => path,
        None => std::env::current_exe()
            .context("finding this program's own directory")?
            .with_file_name("yusur-controller"),
    };
    let world = world::World::build(&controller)?;
    story::tell(&world).inspect_err(|_| {
        eprintln!("\nThe controller's log ends:\n{}", world.controller_log());
        eprintln!("\nOVN's warnings:\n{}", world.lab.warnings());
    })?;
    println!(
        "\nAll of that took {:.0} s, and every answer was checked.",
        began.elapsed().as_secs_f64()
    );
    if cli.stay {
        world.invite();
        loop {
            std::thread::park();
        }
    }
    println!(
        "Stopping everything it started. `make demo STAY=1` keeps it running, to look around."
    );
    Ok(())
}
