//! Whatever is done to our rows behind our back comes undone; what is not ours is left alone.

#![allow(
    clippy::expect_used,
    reason = "helpers of tests, where a panic is a failure"
)]

mod common;

use common::{Controller, World, services, vpc};
use ovsdb::model::{Clause, Datum, Mutation, Name, Operation, Row, Uuid};
use serde_json::json;

/// A VPC with everything that has rows, and rows of somebody else beside it.
async fn furnished() -> (World, Controller, Uuid) {
    let world = World::new().await;
    let foreign = Uuid::from_u128(0x5eed);
    world
        .nb
        .transact(&[
            json!({"op": "insert", "table": "Logical_Switch", "uuid-name": "s", "row": {"name": "theirs"}}),
            json!({"op": "insert", "table": "Load_Balancer", "uuid": foreign.to_string(),
                "row": {"name": "theirs", "vips": ["map", [["10.96.0.10:80", "192.0.2.1:80"]]]}}),
            json!({"op": "insert", "table": "Load_Balancer_Group", "row": {"name": "yusur:other:shop"}}),
        ])
        .expect("rows of others");
    world.example("shop");
    let controller = world.converged("one", &[]).await;
    (world, controller, foreign)
}

async fn damage(world: &World, operations: Vec<Operation>) {
    world.observer.transact(operations).await.expect("damage");
}

#[tokio::test]
async fn every_row_that_is_deleted_comes_back() {
    let (world, controller, foreign) = furnished().await;
    let rows = world.rows();
    for (table, uuid) in rows.keys().copied() {
        // A child that is still referred to cannot be deleted alone: it is taken out of its parent.
        let referrers = yusur_planner::nb::table(table)
            .map(|spec| (spec.root, spec.referrers))
            .unwrap_or_default();
        let mut operations = Vec::new();
        for (parent, column) in referrers.1 {
            operations.push(Operation::Mutate {
                table: Name::new_static(parent),
                condition: vec![Clause::includes(*column, uuid)],
                mutations: vec![Mutation::delete(*column, uuid)],
            });
        }
        if referrers.0 {
            operations.push(Operation::delete(table, uuid));
        }
        damage(&world, operations).await;
        world
            .until_rows(&format!("{table} {uuid} is back"), &rows)
            .await;
    }
    assert!(
        world
            .observer
            .read()
            .row("Load_Balancer", foreign)
            .is_some()
    );
    controller.stop();
}

#[tokio::test]
async fn every_edit_is_undone() {
    let (world, controller, _) = furnished().await;
    let rows = world.rows();
    let nowhere = Datum::map([("10.96.0.10:80".to_owned(), "192.0.2.66:80".to_owned())]);
    let edits: Vec<(&str, Row)> = vec![
        ("Load_Balancer", Row::new().with("vips", nowhere)),
        (
            "Load_Balancer",
            Row::new().with("options", Datum::empty_map()),
        ),
        ("Load_Balancer", Row::new().with("protocol", "udp")),
        (
            "Load_Balancer_Group",
            Row::new().with("load_balancer", Datum::empty_set()),
        ),
        (
            "Logical_Switch",
            Row::new().with("load_balancer_group", Datum::empty_set()),
        ),
        (
            "Logical_Switch",
            Row::new().with("dns_records", Datum::empty_set()),
        ),
        (
            "Logical_Switch_Port",
            Row::new().with("addresses", "unknown"),
        ),
        (
            "Logical_Router_Port",
            Row::new().with("networks", "192.0.2.1/24"),
        ),
        ("DNS", Row::new().with("records", Datum::empty_map())),
    ];
    for (table, row) in edits {
        let uuids = rows
            .keys()
            .filter(|(name, _)| *name == table)
            .map(|(_, uuid)| *uuid);
        let columns = format!("{row:?}");
        let operations: Vec<Operation> = uuids
            .map(|uuid| Operation::update(table, uuid, row.clone()))
            .collect();
        assert!(!operations.is_empty(), "{table}");
        damage(&world, operations).await;
        world
            .until_rows(&format!("{table} without {columns}"), &rows)
            .await;
    }
    controller.stop();
}

#[tokio::test]
async fn foreign_keys_and_members_stay() {
    let (world, controller, foreign) = furnished().await;
    let rows = world.rows();
    let (_, group) = rows
        .keys()
        .find(|(table, _)| *table == "Load_Balancer_Group")
        .copied()
        .expect("a group");
    let (_, balancer) = rows
        .keys()
        .find(|(table, _)| *table == "Load_Balancer")
        .copied()
        .expect("a load balancer");
    damage(
        &world,
        vec![
            Operation::mutate(
                "Load_Balancer_Group",
                group,
                [Mutation::insert("load_balancer", foreign)],
            ),
            Operation::mutate(
                "Load_Balancer",
                balancer,
                [Mutation::insert(
                    "external_ids",
                    Datum::map([("theirs".to_owned(), "1".to_owned())]),
                )],
            ),
        ],
    )
    .await;
    // Something of ours has to be written for the rows to be touched at all.
    world.save("more.yaml", &services("shop", 900..901, 0));
    world
        .until("one more", |database| {
            database.len("Load_Balancer") == rows_of(&rows, "Load_Balancer") + 2
        })
        .await;
    damage(
        &world,
        vec![Operation::update(
            "Load_Balancer",
            balancer,
            Row::new().with("options", Datum::empty_map()),
        )],
    )
    .await;
    world
        .until("repaired", |database| {
            let row = database.row("Load_Balancer", balancer);
            row.is_some_and(|row| {
                row.get("options") == rows[&("Load_Balancer", balancer)].get("options")
            })
        })
        .await;
    let database = world.observer.read();
    let members = database
        .row("Load_Balancer_Group", group)
        .and_then(|row| row.get("load_balancer").cloned());
    assert!(members.is_some_and(|members| members.uuids().any(|uuid| uuid == foreign)));
    let row = database
        .row("Load_Balancer", balancer)
        .expect("the load balancer");
    assert_eq!(row.map_str("external_ids", "theirs"), Some("1"));
    drop(database);
    controller.stop();
}

fn rows_of(rows: &common::Rows, table: &str) -> usize {
    rows.keys().filter(|(name, _)| *name == table).count()
}

#[tokio::test]
async fn a_wiped_and_a_restored_northbound_converge_to_the_same_rows() {
    let (world, controller, _) = furnished().await;
    let rows = world.rows();
    let backup = std::fs::read(world.nb.file()).expect("the database file");
    damage(&world, common::wipe()).await;
    world.until_rows("wiped, and back", &rows).await;

    // What is newer than the backup is made again, what has gone since goes again.
    world.save("more.yaml", &services("shop", 900..903, 0));
    world
        .until("three more", |database| {
            (900..903).all(|n| common::is_named(database, n))
        })
        .await;
    world.catch_up().await;
    let newer = world.rows();
    let sessions = world.observer.state().borrow().counters.sessions;
    world.nb.terminate().expect("an end");
    std::fs::write(world.nb.file(), backup).expect("the backup");
    world.nb.start().expect("a start");
    common::anew(&world.observer, sessions).await;
    world
        .until_rows("restored, and brought up to date", &newer)
        .await;
    controller.stop();
}

#[tokio::test]
async fn a_restarted_server_is_found_again() {
    let (world, controller, _) = furnished().await;
    world.nb.restart().expect("a restart");
    world.save("more.yaml", &services("shop", 900..901, 0));
    world
        .until("one more", |database| {
            common::backends(&common::rows(database), "10.96.103.151:80").is_some()
        })
        .await;
    controller.stop();
}

#[tokio::test]
async fn a_row_the_northbound_refuses_blocks_nobody() {
    let world = World::new().await;
    // A port of somebody else has the name that ours is to have.
    let name = "yusur:yusur:vnic/shop/vm-1";
    world
        .nb
        .transact(&[
            json!({"op": "insert", "table": "Logical_Switch_Port", "uuid-name": "p", "row": {"name": name}}),
            json!({"op": "insert", "table": "Logical_Switch", "row": {"name": "theirs", "ports": ["named-uuid", "p"]}}),
        ])
        .expect("a port of others");
    world.example("shop");
    world.save("many.yaml", &services("shop", 0..50, 0));
    let controller = world.start("one", &[]);
    world
        .until("all services", |database| {
            database.len("Load_Balancer") >= 50
        })
        .await;
    let refused = |status: &serde_json::Value| {
        status["conditions"].as_array().is_some_and(|list| {
            list.iter().any(|c| {
                c["type"] == "Programmed" && c["status"] == "False" && c["reason"] == "Refused"
            })
        })
    };
    world.until_status(&controller, "vnic/shop/vm-1", refused);
    controller.until_metric("yusur_controller_held_units{reason=\"refused\"}", |held| {
        held == 1.0
    });
    // The other one goes: ours is made without anybody asking.
    world
        .nb
        .transact(&[
            json!({"op": "delete", "table": "Logical_Switch", "where": [["name", "==", "theirs"]]}),
        ])
        .expect("a deletion");
    world.until_status(&controller, "vnic/shop/vm-1", |status| !refused(status));
    controller.stop();
}

#[tokio::test]
async fn a_war_over_a_row_is_fought_with_pauses() {
    let world = World::new().await;
    world.save("vpc.yaml", &vpc("red"));
    world.save("services.yaml", &services("red", 0..2, 0));
    let controller = world.converged("one", &[]).await;
    let rows = world.rows();
    let (_, balancer) = rows
        .keys()
        .find(|(table, _)| *table == "Load_Balancer")
        .copied()
        .expect("a load balancer");
    for _ in 0..8 {
        damage(&world, vec![Operation::delete("Load_Balancer", balancer)]).await;
        world.until_rows("repaired", &rows).await;
    }
    controller.says("another program keeps changing its rows");
    controller.stop();
}
