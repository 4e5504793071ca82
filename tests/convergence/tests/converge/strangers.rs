//! Rows of others: what they put into the Northbound, change, and take away, and what it looks like then.

use std::collections::BTreeMap;

use ovsdb_model::{Atom, Datum, Mutation, Operation, Row, Uuid};
use yusur_convergence::Foreign;

use crate::dice::Dice;
use crate::northbound::{Northbound, OWNER};

/// Rows that Vpcs and Subnets adopt.
pub const THEIR_ROUTER: Uuid = Uuid::from_u128(0xf001);
pub const THEIR_SWITCH: Uuid = Uuid::from_u128(0xf002);
const OTHER_SWITCH: Uuid = Uuid::from_u128(0xf003);
const THEIR_PORT: Uuid = Uuid::from_u128(0xf004);
const THEIR_BALANCER: Uuid = Uuid::from_u128(0xf005);
const THEIR_GROUP: Uuid = Uuid::from_u128(0xf006);
const THEIR_NAMES: Uuid = Uuid::from_u128(0xf007);
const OTHERS_SWITCH: Uuid = Uuid::from_u128(0xf008);
const OTHERS_PORT: Uuid = Uuid::from_u128(0xf009);
const OTHERS_BALANCER: Uuid = Uuid::from_u128(0xf00a);
const GLOBAL: Uuid = Uuid::from_u128(0xf00b);

fn map(pairs: &[(&str, &str)]) -> Datum {
    let pairs: BTreeMap<String, String> = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Datum::from(pairs)
}

/// What a stranger of this number puts in: its root row and the operations.
fn row_set(which: usize) -> (&'static str, Uuid, Vec<Operation>) {
    let other = |unit: &str| map(&[("yusur.io/owner", "other"), ("yusur.io/unit", unit)]);
    match which {
        0 => {
            let row = Row::new().with("name", "their-router");
            let insert = Operation::insert("Logical_Router", THEIR_ROUTER, row);
            ("Logical_Router", THEIR_ROUTER, vec![insert])
        }
        1 => {
            let port = Row::new()
                .with("name", "their-port")
                .with("addresses", Datum::set(["0a:00:00:00:00:09 10.9.9.9"]));
            let row = Row::new()
                .with("name", "their-switch")
                .with("ports", THEIR_PORT);
            let inserts = vec![
                Operation::insert("Logical_Switch_Port", THEIR_PORT, port),
                Operation::insert("Logical_Switch", THEIR_SWITCH, row),
            ];
            ("Logical_Switch", THEIR_SWITCH, inserts)
        }
        2 => {
            let row = Row::new().with("name", "other-switch");
            let insert = Operation::insert("Logical_Switch", OTHER_SWITCH, row);
            ("Logical_Switch", OTHER_SWITCH, vec![insert])
        }
        3 => {
            let row = Row::new()
                .with("name", "their-balancer")
                .with("vips", map(&[("10.96.0.2:80", "10.0.1.3:80")]));
            let insert = Operation::insert("Load_Balancer", THEIR_BALANCER, row);
            ("Load_Balancer", THEIR_BALANCER, vec![insert])
        }
        4 => {
            let row = Row::new().with("name", "yusur:other:red");
            let insert = Operation::insert("Load_Balancer_Group", THEIR_GROUP, row);
            ("Load_Balancer_Group", THEIR_GROUP, vec![insert])
        }
        5 => {
            let row = Row::new()
                .with("records", map(&[("w0.a.svc.cluster.local", "192.0.2.7")]))
                .with("external_ids", other("dns/red/7"));
            let insert = Operation::insert("DNS", THEIR_NAMES, row);
            ("DNS", THEIR_NAMES, vec![insert])
        }
        6 => {
            // Another owner's switch and port, called as ours are.
            let port = Row::new()
                .with("name", "yusur:other:pod/a/p0")
                .with("addresses", Datum::set(["0a:58:0a:00:01:02 10.0.1.2"]))
                .with("external_ids", other("pod/a/p0"));
            let row = Row::new()
                .with("name", format!("yusur:{OWNER}:s1"))
                .with("ports", OTHERS_PORT)
                .with("external_ids", other("subnet/s1"));
            let inserts = vec![
                Operation::insert("Logical_Switch_Port", OTHERS_PORT, port),
                Operation::insert("Logical_Switch", OTHERS_SWITCH, row),
            ];
            ("Logical_Switch", OTHERS_SWITCH, inserts)
        }
        7 => {
            // What ovn-northd keeps for all.
            let row = Row::new().with("options", map(&[("mac_prefix", "0a:00:00")]));
            let insert = Operation::insert("NB_Global", GLOBAL, row);
            ("NB_Global", GLOBAL, vec![insert])
        }
        _ => {
            let row = Row::new()
                .with("name", format!("yusur:{OWNER}:service/a/w0/tcp"))
                .with("vips", map(&[("10.96.0.1:80", "10.0.1.2:80")]))
                .with("external_ids", other("service/a/w0"));
            let insert = Operation::insert("Load_Balancer", OTHERS_BALANCER, row);
            ("Load_Balancer", OTHERS_BALANCER, vec![insert])
        }
    }
}

/// How many strangers there are.
const ALL: usize = 9;

/// Puts all of them in.
pub fn move_in<N: Northbound>(northbound: &mut N, foreign: &mut Foreign) {
    for which in 0..ALL {
        let (.., operations) = row_set(which);
        northbound
            .transact(&operations)
            .unwrap_or_else(|error| panic!("{error}: {operations:?}"));
        note(northbound, foreign, &operations);
    }
}

/// Puts in what ovn-northd keeps for all, where it is not.
pub fn bring_global<N: Northbound>(northbound: &mut N, foreign: &mut Foreign) {
    let there = northbound.replica().rows("NB_Global").next().is_some();
    if !there {
        let (.., operations) = row_set(7);
        northbound
            .transact(&operations)
            .unwrap_or_else(|error| panic!("{error}: {operations:?}"));
        note(northbound, foreign, &operations);
    }
}

/// Notes what was inserted, as it stands.
fn note<N: Northbound>(northbound: &N, foreign: &mut Foreign, operations: &[Operation]) {
    let replica = northbound.replica();
    for operation in operations {
        if let Operation::Insert {
            table,
            uuid: Some(uuid),
            ..
        } = operation
            && let Some(row) = replica.row(table, *uuid)
        {
            foreign.insert((table.to_string(), *uuid), Row::clone(&row));
        }
    }
}

/// One of them does something. Says what.
pub fn act<N: Northbound>(
    dice: &mut Dice<'_>,
    northbound: &mut N,
    foreign: &mut Foreign,
) -> String {
    let which = dice.below(ALL);
    let (table, uuid, operations) = row_set(which);
    let there = foreign.contains_key(&(table.to_owned(), uuid));
    if !there {
        if northbound.transact(&operations).is_err() {
            return format!("{table} {uuid} cannot come back now");
        }
        note(northbound, foreign, &operations);
        return format!("{table} {uuid} comes back");
    }
    if dice.chance(5) {
        northbound
            .transact(&[Operation::delete(table, uuid)])
            .unwrap_or_else(|error| panic!("{error}: deleting {table} {uuid}"));
        let replica = northbound.replica();
        foreign.retain(|(table, uuid), _| replica.row(table, *uuid).is_some());
        return format!("{table} {uuid} goes");
    }
    if table == "NB_Global" {
        return set_option(dice, northbound, foreign);
    }
    let (column, value): (&'static str, Datum) = match table {
        "Load_Balancer_Group" => ("name", Datum::from(format!("yusur:other:{}", dice.byte()))),
        "DNS" => ("records", map(&[("else", "192.0.2.8")])),
        _ if dice.chance(6) => {
            let old = ["their-router", "their-switch", "other-switch", "else"];
            ("name", Datum::from(dice.pick(&old)))
        }
        _ => ("external_ids", {
            let number = dice.byte().to_string();
            map(&[("theirs", &number)])
        }),
    };
    let update = Operation::update(table, uuid, Row::new().with(column, value.clone()));
    northbound
        .transact(&[update])
        .unwrap_or_else(|error| panic!("{error}: changing {table} {uuid}"));
    if let Some(row) = foreign.get_mut(&(table.to_owned(), uuid)) {
        row.set(column, value.clone());
    }
    format!("{table} {uuid} has {column} {value}")
}

/// Another of the options that are for all: those of others beside it stay.
fn set_option<N: Northbound>(
    dice: &mut Dice<'_>,
    northbound: &mut N,
    foreign: &mut Foreign,
) -> String {
    let value = dice.byte().to_string();
    let keys = Mutation::set_keys("options", [("theirs", value.clone())]);
    northbound
        .transact(&[Operation::mutate("NB_Global", GLOBAL, keys.to_vec())])
        .unwrap_or_else(|error| panic!("{error}: changing NB_Global"));
    if let Some(row) = foreign.get_mut(&("NB_Global".to_owned(), GLOBAL)) {
        let options = map(&[("mac_prefix", "0a:00:00"), ("theirs", &value)]);
        row.set("options", options);
    }
    format!("NB_Global has the option theirs={value}")
}

/// Ports of others with names that ours should have: while one is there, the server refuses ours.
pub fn obstruct<N: Northbound>(
    dice: &mut Dice<'_>,
    northbound: &mut N,
    foreign: &mut Foreign,
) -> Option<String> {
    if !foreign.contains_key(&("Logical_Switch".to_owned(), OTHERS_SWITCH)) {
        return None;
    }
    let number = dice.below(10);
    let name = match number {
        0..=5 => format!(
            "yusur:{OWNER}:pod/{}/p{}",
            ["a", "b"][number % 2],
            number / 2
        ),
        6 | 7 => format!("yusur:{OWNER}:vnic/a/v{}", number - 6),
        _ => format!("yusur:{OWNER}:s{}-switch", number - 7),
    };
    let uuid = Uuid::from_u128(0xb000 + number as u128);
    let mut operations = Vec::new();
    {
        let replica = northbound.replica();
        let holder = replica
            .rows("Logical_Switch_Port")
            .find(|(_, row)| row.get_str("name") == Some(name.as_str()));
        if let Some((holder, _)) = holder {
            if foreign.contains_key(&("Logical_Switch_Port".to_owned(), holder)) {
                return None;
            }
            let renamed = Row::new().with("name", format!("pushed aside {holder}"));
            operations.push(Operation::update("Logical_Switch_Port", holder, renamed));
        }
    }
    let row = Row::new().with("name", name.as_str());
    operations.push(Operation::insert("Logical_Switch_Port", uuid, row));
    let join = Mutation::insert("ports", uuid);
    operations.push(Operation::mutate(
        "Logical_Switch",
        OTHERS_SWITCH,
        vec![join],
    ));
    northbound
        .transact(&operations)
        .unwrap_or_else(|error| panic!("{error}: {operations:?}"));
    note(northbound, foreign, &operations);
    ports_of_others_switch(northbound, foreign);
    Some(name)
}

fn ports_of_others_switch<N: Northbound>(northbound: &N, foreign: &mut Foreign) {
    let theirs: Vec<Uuid> = foreign
        .keys()
        .filter(|(table, uuid)| {
            table == "Logical_Switch_Port"
                && (*uuid == OTHERS_PORT || is_obstruction(*uuid))
                && northbound.replica().row(table, *uuid).is_some()
        })
        .map(|(_, uuid)| *uuid)
        .collect();
    if let Some(row) = foreign.get_mut(&("Logical_Switch".to_owned(), OTHERS_SWITCH)) {
        row.set("ports", Datum::set(theirs));
    }
}

fn is_obstruction(uuid: Uuid) -> bool {
    (0xb000..0xb100).contains(&uuid.as_u128())
}

/// Takes all obstructions away. Whether there were any.
pub fn clear_the_way<N: Northbound>(northbound: &mut N, foreign: &mut Foreign) -> bool {
    let mutations: Vec<Operation> = foreign
        .keys()
        .filter(|(table, uuid)| table == "Logical_Switch_Port" && is_obstruction(*uuid))
        .map(|(_, uuid)| {
            Operation::mutate(
                "Logical_Switch",
                OTHERS_SWITCH,
                vec![Mutation::delete("ports", *uuid)],
            )
        })
        .collect();
    if mutations.is_empty() {
        return false;
    }
    northbound
        .transact(&mutations)
        .unwrap_or_else(|error| panic!("{error}: {mutations:?}"));
    foreign.retain(|(_, uuid), _| !is_obstruction(*uuid));
    ports_of_others_switch(northbound, foreign);
    true
}

pub fn is_impostor(uuid: Uuid) -> bool {
    (0xc000..0xc100).contains(&uuid.as_u128())
}

/// Rows that claim to be ours and are not: others made them, perhaps by copying. They have to go.
pub fn impostor<N: Northbound>(dice: &mut Dice<'_>, northbound: &mut N) -> Option<String> {
    let uuid = Uuid::from_u128(0xc000 + u128::from(dice.byte()));
    let unit = dice.pick(&[
        "pod/a/p0",
        "service/a/w0",
        "service/b/w9",
        "subnet/s1",
        "vpc/red",
        "dns/red/3",
        "vnic/a/v0",
        "eipgateway/g1",
        "servicegateway/g1",
        "eip/a/e0",
        "calls/red",
        "junk",
        "",
    ]);
    let labels = map(&[("yusur.io/owner", OWNER), ("yusur.io/unit", unit)]);
    let name = format!("impostor {uuid}");
    let row = Row::new().with("external_ids", labels);
    let operations = match dice.below(8) {
        0 => vec![Operation::insert(
            "Load_Balancer",
            uuid,
            row.with("name", name)
                .with("vips", map(&[("10.96.0.2:80", "10.0.1.2:80")])),
        )],
        1 => vec![Operation::insert(
            "Logical_Switch",
            uuid,
            row.with("name", name),
        )],
        2 => vec![Operation::insert(
            "Logical_Router",
            uuid,
            row.with("name", name),
        )],
        3 => vec![Operation::insert(
            "DNS",
            uuid,
            row.with("records", map(&[("impostor", "192.0.2.9")])),
        )],
        4 => {
            let group = Row::new().with("name", format!("yusur:{OWNER}:nobody"));
            vec![Operation::insert("Load_Balancer_Group", uuid, group)]
        }
        5 => vec![Operation::insert(
            "HA_Chassis_Group",
            uuid,
            row.with("name", name),
        )],
        6 => vec![Operation::insert(
            "Address_Set",
            uuid,
            row.with("name", "impostor")
                .with("addresses", Datum::set(["192.0.2.3"])),
        )],
        _ => {
            let mut switches: Vec<Uuid> = northbound
                .replica()
                .rows("Logical_Switch")
                .map(|(uuid, _)| uuid)
                .collect();
            switches.sort_unstable();
            let parent = *switches.get(dice.below(switches.len()))?;
            vec![
                Operation::insert("Logical_Switch_Port", uuid, row.with("name", name)),
                Operation::mutate(
                    "Logical_Switch",
                    parent,
                    vec![Mutation::insert("ports", uuid)],
                ),
            ]
        }
    };
    let done = northbound.transact(&operations);
    done.is_ok().then(|| format!("{operations:?}"))
}

/// The atoms of a set, for whoever damages it.
pub fn elements(datum: &Datum) -> Vec<Atom> {
    datum.elements().to_vec()
}
