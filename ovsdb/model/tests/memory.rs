//! What a row of the replica weighs. A test program of its own: it looks at the whole process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;

use ovsdb_model::update::Format;
use ovsdb_model::{Database, Index, Layout, Schema, Uuid};
use serde_json::json;

const ROWS: usize = 50_000;

/// Rows in one update.
const UPDATE: usize = 500;

/// Bytes of memory in use by this process, from the kernel.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kilobytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}

/// The columns of OVN's Load_Balancer.
fn layout() -> Layout {
    let map = json!({"key": "string", "value": "string", "min": 0, "max": "unlimited"});
    let schema: Schema = serde_json::from_value(json!({"name": "NB", "version": "7.0.0", "tables": {"Load_Balancer": {
        "columns": {
            "name": {"type": "string"}, "vips": {"type": map},
            "protocol": {"type": {"key": "string", "min": 0, "max": 1}},
            "health_check": {"type": {"key": "uuid", "min": 0, "max": "unlimited"}},
            "ip_port_mappings": {"type": map}, "options": {"type": map}, "external_ids": {"type": map},
            "selection_fields": {"type": {"key": "string", "min": 0, "max": "unlimited"}}
        }}}}))
    .unwrap();
    Layout::everything(&schema)
}

#[test]
fn a_load_balancer_with_one_vip_weighs_half_a_kilobyte() {
    let layout = layout();
    let mut database = Database::new();
    for index in [
        Index::column("name"),
        Index::map_key("external_ids", "yusur.io/owner"),
        Index::map_key("external_ids", "yusur.io/unit"),
    ] {
        database.declare_index("Load_Balancer", index);
    }
    let before = resident();
    // As they come in while they are written.
    for first in (0..ROWS).step_by(UPDATE) {
        let mut update = String::from("{\"Load_Balancer\":{");
        for number in first..first + UPDATE {
            // Spread like random ids are.
            let id = Uuid::from_u128(
                (number as u128 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835),
            );
            let (a, b) = (number >> 8 & 255, number & 255);
            write!(
                update,
                "{}\"{id}\":{{\"insert\":{{\"name\":\"yusur:region-1:tenant-{a}/service-{number}/tcp\",\
                 \"protocol\":\"tcp\",\"vips\":[\"map\",[[\"10.0.{a}.{b}:443\",\
                 \"192.168.{b}.10:8443,192.168.{b}.11:8443,192.168.{b}.12:8443\"]]],\
                 \"options\":[\"map\",[[\"hairpin_snat_ip\",\"100.64.0.1\"],[\"reject\",\"true\"]]],\
                 \"external_ids\":[\"map\",[[\"yusur.io/owner\",\"region-1\"],\
                 [\"yusur.io/unit\",\"service/tenant-{a}/service-{number}\"]]]}}}}",
                if number == first { "" } else { "," }
            )
            .unwrap();
        }
        update.push_str("}}");
        let update = layout.decode(&update, Format::Update2).unwrap();
        let batch = database.apply(update).unwrap();
        assert_eq!(batch.len(), UPDATE);
    }
    let row = (resident() - before) / ROWS;
    let estimate = database.memory("Load_Balancer") / ROWS;
    println!("{row} bytes a row by the kernel's count, {estimate} by our own");
    assert!(row <= 600, "{row} bytes a row");
    assert!(
        estimate * 3 >= row * 2 && estimate * 2 <= row * 3,
        "{estimate} is no estimate of {row}"
    );
}
