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
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use support::external::{Kind, World};

/// What it takes when the gateway needs its inside router for the first time: each VPC gets a route there.
fn first_of_its_kind(vpcs: usize, services: usize) -> String {
    let mut world = World::of(vpcs, services, |_| Kind::OneVpc);
    let change = world.changed(9, 1, Kind::Preserve);
    let start = Instant::now();
    let cost = world.change(change);
    format!(
        "the first service that sees its clients, in {:?}: {cost:?}",
        start.elapsed()
    )
}

fn one_change(c: &mut Criterion) {
    let mut group = c.benchmark_group("a service with an EIP changes");
    for (vpcs, services) in [(10_usize, 100_usize), (100, 1_000), (1_000, 10_000)] {
        let mut world = World::new(vpcs, services);
        let rows = world.rows();
        println!(
            "{vpcs} VPCs, {services} services: {} rows, {rows:?}",
            rows.values().sum::<usize>()
        );
        println!("{}", first_of_its_kind(vpcs, services));
        for (what, kind) in [
            ("backends in one VPC", Kind::OneVpc),
            ("in two, by the service gateway", Kind::ServiceGateway),
            ("in two, and they see their clients", Kind::Preserve),
        ] {
            let of_kind: Vec<usize> = (0..services)
                .filter(|at| Kind::mixed(*at) == kind)
                .collect();
            let mut turn = 0_usize;
            let size = format!("{vpcs} VPCs, {services} services");
            group.bench_function(BenchmarkId::new(what, size), |b| {
                b.iter_custom(|turns| {
                    let mut spent = Duration::ZERO;
                    for _ in 0..turns {
                        // Each service once a round, in no order that memory likes; and each time another version, which
                        // is never what is in the Northbound: each turn finds a difference.
                        let version = 1 + u8::try_from(turn / of_kind.len() % 2).expect("small");
                        let change = world.version(of_kind[turn * 7919 % of_kind.len()], version);
                        turn += 1;
                        let start = Instant::now();
                        let cost = world.change(change);
                        spent += start.elapsed();
                        assert!(black_box(cost).operations > 0);
                    }
                    spent
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, one_change);
criterion_main!(benches);
