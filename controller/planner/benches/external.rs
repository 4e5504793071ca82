//! What EIPs cost the planner: how many rows there are, and one service's change among few and among many.
#![allow(
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a benchmark"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use support::external::{World, crosses};

fn one_change(c: &mut Criterion) {
    let mut group = c.benchmark_group("a service with an EIP changes");
    for (vpcs, services) in [(10_usize, 100_usize), (100, 1_000), (1_000, 10_000)] {
        let mut world = World::new(vpcs, services);
        let rows = world.rows();
        println!(
            "{vpcs} VPCs, {services} services: {} rows, {rows:?}",
            rows.values().sum::<usize>()
        );
        for (what, crossing) in [
            ("backends in one VPC", false),
            ("backends in two VPCs", true),
        ] {
            let of_kind: Vec<usize> = (0..services)
                .filter(|at| crosses(*at) == crossing)
                .collect();
            let size = format!("{vpcs} VPCs, {services} services");
            group.bench_function(BenchmarkId::new(what, size), |b| {
                let mut turn = 0_usize;
                b.iter(|| {
                    turn += 1;
                    // Never what is in the Northbound: each turn finds a difference.
                    let version = 1 + u8::try_from(turn % 2).expect("small");
                    black_box(world.change(of_kind[turn * 7919 % of_kind.len()], version))
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, one_change);
criterion_main!(benches);
