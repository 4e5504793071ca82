//! How much memory the planner takes: `cargo run --release --example memory -p yusur-planner [services]`.
#![allow(
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a measurement"
)]

#[path = "../tests/support/scale.rs"]
mod scale;

fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("VmRSS");
    let kib: f64 = line
        .split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .expect("a number");
    kib / 1024.0
}

fn main() {
    let n = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(10_000);
    let before = resident();
    let empty = ovsdb_model::Database::new();
    let inventory = scale::started(n, true, &empty);
    let objects = resident() - before;
    println!(
        "{n} services and {} Pods: the inventory, all of it dirty, takes {objects:.1} MiB",
        2 * n
    );
    drop(inventory);
    let world = scale::World::new(n, true);
    println!(
        "inventory and replica, after everything was planned: {:.1} MiB at most",
        resident() - before
    );
    drop(world);
}
