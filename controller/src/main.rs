//! The controller's binary: reads the command line, sets up the log, and runs [`yusur_controller::run`] until told to
//! stop.

use std::process::ExitCode;

use clap::Parser;
use tracing::error;
use yusur_controller::cli::Cli;
use yusur_controller::{run, telemetry};

/// What is kept is many small objects: jemalloc needs no header for each, and one arena for all threads.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = telemetry::init(&cli.operation.log_level, cli.operation.log_format) {
        // There is no log to tell it to.
        eprintln!("yusur-controller: {error:#}");
        return ExitCode::from(2);
    }
    match run::blocking(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{}", telemetry::words(&error));
            ExitCode::FAILURE
        }
    }
}
