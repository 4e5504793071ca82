//! What the replica costs: a first synchronisation of a Northbound with many load balancers, single-row updates, a
//! resynchronisation without differences, typed reads.
#![allow(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ovsdb_model::update::Format;
use ovsdb_model::{Atom, Database, Index, Layout, Schema, Table, Uuid};
use serde_json::json;

const ROWS: usize = 20_000;

#[derive(Table)]
#[ovsdb(table = "Load_Balancer")]
struct LoadBalancer {
    name: String,
    vips: BTreeMap<String, String>,
    protocol: Option<String>,
    external_ids: BTreeMap<String, String>,
}

fn layout() -> Layout {
    let map = json!({"key": "string", "value": "string", "min": 0, "max": "unlimited"});
    let set = json!({"key": "string", "min": 0, "max": "unlimited"});
    let schema: Schema = serde_json::from_value(json!({"name": "NB", "version": "7.0.0", "tables": {"Load_Balancer": {
        "columns": {
            "name": {"type": "string"}, "vips": {"type": map}, "protocol": {"type": {"key": "string", "min": 0, "max": 1}},
            "health_check": {"type": {"key": "uuid", "min": 0, "max": "unlimited"}}, "ip_port_mappings": {"type": map},
            "selection_fields": {"type": set}, "options": {"type": map}, "external_ids": {"type": map}
        }}}}))
    .unwrap();
    Layout::everything(&schema)
}

/// One load balancer as a server writes it.
fn balancer(json: &mut String, number: usize) {
    let id = Uuid::from_u128(0x1234_5678_9abc_5def_8123_0000_0000_0000 + number as u128);
    let (a, b, c) = (number >> 16 & 255, number >> 8 & 255, number & 255);
    write!(
        json,
        "\"{id}\":{{\"initial\":{{\"name\":\"yusur:region-1:tenant-{a}/service-{number}/tcp\",\"protocol\":\"tcp\",\
         \"vips\":[\"map\",[[\"10.{a}.{b}.{c}:443\",\"192.168.{b}.10:8443,192.168.{b}.11:8443,192.168.{b}.12:8443\"]]],\
         \"options\":[\"map\",[[\"hairpin_snat_ip\",\"100.64.0.1\"],[\"reject\",\"true\"]]],\
         \"external_ids\":[\"map\",[[\"yusur.io/owner\",\"region-1\"],[\"yusur.io/unit\",\"service/tenant-{a}/service-{number}\"]]]\
         }}}}"
    )
    .unwrap();
}

fn dump(rows: usize) -> String {
    let mut json = String::from("{\"Load_Balancer\":{");
    for number in 0..rows {
        if number > 0 {
            json.push(',');
        }
        balancer(&mut json, number);
    }
    json.push_str("}}");
    json
}

fn database() -> Database {
    let mut database = Database::new();
    database.declare_index("Load_Balancer", Index::column("name"));
    database.declare_index(
        "Load_Balancer",
        Index::map_key("external_ids", "yusur.io/owner"),
    );
    database.declare_index(
        "Load_Balancer",
        Index::map_key("external_ids", "yusur.io/unit"),
    );
    database
}

fn replica(criterion: &mut Criterion) {
    let (layout, json) = (layout(), dump(ROWS));
    let decode = || layout.decode(&json, Format::Update2).unwrap();

    let mut group = criterion.benchmark_group("first_sync");
    group
        .throughput(Throughput::Elements(ROWS as u64))
        .sample_size(20);
    // The floor: the parser walks over the same bytes and keeps nothing.
    group.bench_function("walk", |bencher| {
        bencher.iter(|| serde_json::from_str::<serde::de::IgnoredAny>(black_box(&json)).unwrap());
    });
    group.bench_function("decode", |bencher| bencher.iter_with_large_drop(decode));
    group.bench_function("apply", |bencher| {
        bencher.iter_batched(
            || (database(), decode()),
            |(mut database, update)| {
                let batch = database.reconcile(&layout, update).unwrap();
                (database, batch)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();

    let mut full = database();
    full.reconcile(&layout, decode()).unwrap();
    eprintln!(
        "memory: {} bytes a row",
        full.memory("Load_Balancer") / ROWS
    );

    let mut group = criterion.benchmark_group("resync");
    group
        .throughput(Throughput::Elements(ROWS as u64))
        .sample_size(20);
    group.bench_function("same", |bencher| {
        bencher.iter_batched(
            decode,
            |update| full.reconcile(&layout, update).unwrap(),
            BatchSize::PerIteration,
        );
    });
    group.finish();

    let some = Uuid::from_u128(0x1234_5678_9abc_5def_8123_0000_0000_0000 + 77);
    // Each undoes the other: a key of a map goes and comes.
    let change = format!(
        "{{\"Load_Balancer\":{{\"{some}\":{{\"modify\":{{\"vips\":[\"map\",[[\"10.9.9.9:1\",\"192.168.1.1:2\"]]]}}}}}}}}"
    );
    criterion.bench_function("one_row/decode_and_apply", |bencher| {
        bencher.iter(|| {
            full.apply(layout.decode(black_box(&change), Format::Update2).unwrap())
                .unwrap()
        });
    });
    criterion.bench_function("one_row/find_and_read", |bencher| {
        let key = Atom::from("service/tenant-0/service-77");
        bencher.iter(|| {
            let (uuid, row) = full
                .find(
                    "Load_Balancer",
                    "external_ids:yusur.io/unit",
                    black_box(&key),
                )
                .next()
                .unwrap();
            LoadBalancer::from_row(uuid, &row).unwrap().vips.len()
        });
    });
    criterion.bench_function("one_row/to_row", |bencher| {
        let value =
            LoadBalancer::from_row(some, &full.row("Load_Balancer", some).unwrap()).unwrap();
        bencher.iter(|| black_box(&value).to_row());
    });
}

criterion_group!(benches, replica);
criterion_main!(benches);
