//! A whole connection without its socket: whatever a server sends goes through framer, envelope, handler and replica, and
//! ends in a replica that is whole or in the end of the connection.
//!
//! The first byte of the input chooses how the stream is split.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ovsdb::fuzzing::Peer;
use ovsdb_model::{Layout, Schema};

static LAYOUT: LazyLock<Layout> = LazyLock::new(|| {
    let schema: Schema =
        serde_json::from_str(include_str!("../schema.json")).expect("the schema is part of the program");
    Layout::everything(&schema)
});

fuzz_target!(|input: &[u8]| {
    let Some((seed, stream)) = input.split_first() else { return };
    let mut peer = Peer::new(&LAYOUT);
    let step = if *seed == 0 { usize::MAX } else { usize::from(*seed) };
    let alive = stream.chunks(step).all(|part| peer.feed(part));
    let held = peer.with_replica(|replica| {
        replica.tables().map(|table| (table.clone(), replica.len(table), replica.rows(table).count())).collect::<Vec<_>>()
    });
    for (table, len, rows) in &held {
        assert!(LAYOUT.table(table).is_some(), "a table that the schema does not have");
        assert_eq!(len, rows);
    }
    // In one piece it comes to the same.
    let mut other = Peer::new(&LAYOUT);
    assert_eq!(alive, other.feed(stream));
    peer.with_replica(|replica| {
        other.with_replica(|other| {
            for (table, len, _) in &held {
                assert_eq!(other.len(table), *len);
                assert!(replica.rows(table).all(|(uuid, row)| other.row(table, uuid) == Some(row)));
            }
        });
    });
});
