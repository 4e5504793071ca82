//! `yusurctl`: what an operator does by hand. It finds things by the controller's flags.

mod database;
mod purge;
mod source_ports;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Does by hand what the controller does not do by itself.
#[derive(Debug, Parser)]
#[command(name = "yusurctl", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Remove everything that an installation has in the OVN Northbound; rows of others stay.
    Purge(purge::Args),
    /// Count how many source ports the service gateways on this node have left.
    SourcePorts(source_ports::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Purge(args) => purge::run(&args).await,
        Verb::SourcePorts(args) => source_ports::run(&args).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("yusurctl: {}", yusur_controller::telemetry::words(&error));
            ExitCode::FAILURE
        }
    }
}
