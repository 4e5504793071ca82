//! What the planner costs: one endpoint's change while few or many services exist (it should not matter how many), and a
//! cold start.
#![allow(
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a benchmark"
)]

#[path = "../tests/support/scale.rs"]
mod scale;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use scale::World;
use yusur_planner::{Change, operations, plan};

/// From the change of an object to the operations, with `n` services.
fn one_change(c: &mut Criterion) {
    let mut group = c.benchmark_group("one endpoint changes");
    for n in [10_usize, 1_000, 10_000, 100_000] {
        let mut world = World::new(n, true);
        group.bench_function(BenchmarkId::new("a service's address", n), |b| {
            let mut turn = 0_usize;
            b.iter(|| {
                turn += 1;
                // Never the address that is in the Northbound: each turn finds a difference.
                let service = scale::service(
                    turn * 7919 % n,
                    200 + u8::try_from(turn % 2).expect("small"),
                    false,
                );
                world.inventory.apply(Change::YusurService(service));
                let units = world.inventory.take_dirty(&world.database, 100);
                let plan = plan(&units, &world.inventory, &world.database);
                black_box(operations(&plan.groups))
            });
        });
        group.bench_function(BenchmarkId::new("a Pod's readiness", n), |b| {
            let mut turn = 0_usize;
            b.iter(|| {
                turn += 1;
                let pod = scale::pod(turn / 2 * 7919 % n, 0, turn.is_multiple_of(2));
                world.inventory.apply(Change::Pod(pod));
                let units = world.inventory.take_dirty(&world.database, 100);
                let plan = plan(&units, &world.inventory, &world.database);
                black_box(operations(&plan.groups))
            });
        });
    }
    group.finish();
}

/// Everything from nothing: objects in, operations out.
fn cold_start(c: &mut Criterion) {
    let mut group = c.benchmark_group("cold start");
    group.sample_size(10);
    for n in [1_000_usize, 10_000, 100_000] {
        group.throughput(Throughput::Elements(n as u64));
        group.bench_function(BenchmarkId::new("services that name addresses", n), |b| {
            b.iter_with_large_drop(|| World::new(n, false));
        });
    }
    group.finish();
}

/// A restart with nothing changed: everything is looked at, nothing written.
fn restart(c: &mut Criterion) {
    let mut group = c.benchmark_group("restart");
    group.sample_size(10);
    for n in [1_000_usize, 10_000] {
        let world = World::new(n, true);
        group.throughput(Throughput::Elements(n as u64));
        group.bench_function(BenchmarkId::new("services with two Pods each", n), |b| {
            b.iter_with_large_drop(|| {
                let (inventory, written) = world.restarted();
                assert_eq!(written, 0);
                inventory
            });
        });
    }
    group.finish();
}

criterion_group!(benches, one_change, cold_start, restart);
criterion_main!(benches);
