//! What depends on a field follows that field: for every field of every kind an edit and its undoing, each told to a
//! planner that runs. What it has written and said then is what one that just started writes and says of the same
//! objects. The fields are those of the schemas, so that a new one is not forgotten.
#![allow(clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

mod edits;
mod stage;
mod worlds;

use std::collections::{BTreeMap, BTreeSet};

use edits::{Edit, Touched};
use stage::Stage;
use yusur_planner::{Change, Kind};

/// Tries all edits of all objects of a world; says what went wrong, and notes which fields were edited.
fn edited(world: &[Change], touched: &mut Touched) -> Vec<String> {
    let serving = worlds::serving();
    let mut stage = Stage::new(world, &serving);
    let mut wrong: BTreeMap<String, String> = BTreeMap::new();
    for at in 0..world.len() {
        for Edit { what, change } in edits::of(&world[at], touched) {
            let done = stage
                .turn(&change)
                .map_err(|error| format!("after the edit {error}"))
                .and_then(|()| {
                    let undone = stage.turn(&world[at]);
                    undone.map_err(|error| format!("after it was undone {error}"))
                });
            if let Err(error) = done {
                let object = world[at].object();
                let field = what.split(':').next().unwrap_or_default();
                wrong
                    .entry(format!("{}.{field}", object.kind))
                    .or_insert_with(|| format!("{object} {what}: {error}"));
                stage = Stage::new(world, &serving);
            }
        }
    }
    wrong.into_values().collect()
}

fn no_complaint(name: &str, world: &[Change]) {
    let mut touched = Touched::default();
    let wrong = edited(world, &mut touched);
    assert!(
        wrong.is_empty(),
        "{name}: {} fields that something does not follow:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn what_depends_on_a_field_follows_it_where_all_is_connected() {
    no_complaint("connected", &worlds::connected());
}

#[test]
fn what_depends_on_a_field_follows_it_where_all_is_contested() {
    no_complaint("contested", &worlds::contested());
}

/// Every field of every kind is edited in one of the worlds.
#[test]
fn every_field_is_edited() {
    let mut touched = Touched::default();
    for world in [worlds::connected(), worlds::contested()] {
        for object in &world {
            edits::of(object, &mut touched);
        }
    }
    let mut missing: BTreeSet<String> = BTreeSet::new();
    for (kind, fields) in edits::kinds() {
        let met = touched.get(&kind).cloned().unwrap_or_default();
        missing.extend(
            fields
                .paths()
                .difference(&met)
                .map(|path| format!("{kind} {path}")),
        );
    }
    assert!(
        missing.is_empty(),
        "no edit of these fields: add one in edits.rs, or an object that has it in worlds.rs: {missing:#?}"
    );
    for kind in [
        Kind::Pod,
        Kind::Node,
        Kind::Namespace,
        Kind::VirtualMachineInstance,
    ] {
        let edited = touched.get(&kind).map_or(0, BTreeSet::len);
        assert!(edited > 0, "no edit of a {kind}");
    }
}
