//! Schemas: parsing, descriptions held against them, operations fitted to them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use ovsdb_model::schema::{Limit, RefType};
use ovsdb_model::{
    Clause, Columns, Datum, Function, Layout, Mutation, Mutator, Name, Operation, Row, Schema,
    Table, TableSpec, Until, Uuid,
};
use serde_json::json;

fn schema() -> Schema {
    serde_json::from_value(json!({
        "name": "Net", "version": "7.1.0",
        "tables": {
            "Balancer": {"isRoot": true, "maxRows": 9, "indexes": [["name"]], "columns": {
                "name": {"type": "string", "mutable": false},
                "protocol": {"type": {"key": {"type": "string", "enum": ["set", ["tcp", "udp"]]}, "min": 0, "max": 1}},
                "vips": {"type": {"key": "string", "value": "string", "min": 0, "max": "unlimited"}},
                "tier": {"type": {"key": {"type": "integer", "minInteger": 0, "maxInteger": 3}}},
                "tags": {"type": {"key": {"type": "string", "minLength": 1, "maxLength": 4}, "min": 0, "max": 2}},
                "check": {"type": {"key": {"type": "uuid", "refTable": "Check", "refType": "weak"}, "min": 0, "max": "unlimited"}},
                "ratio": {"type": {"key": {"type": "real", "minReal": 0.5}, "min": 1, "max": 1}, "ephemeral": true}
            }},
            "Check": {"columns": {"vip": {"type": "string"}}}
        }
    }))
    .unwrap()
}

#[derive(Debug, Table)]
struct Balancer {
    name: String,
    vips: BTreeMap<String, String>,
    tags: BTreeSet<String>,
    newer: Option<i64>,
}

#[derive(Debug, Table)]
#[ovsdb(table = "Balancer")]
struct Wrong {
    tags: String,
    tier: Option<i64>,
    ratio: i64,
}

#[derive(Debug, Table)]
struct Elsewhere {
    name: String,
}

#[test]
fn parsing() {
    let schema = schema();
    let tier = schema.column("Balancer", "tier").unwrap();
    assert_eq!((tier.kind.min, tier.kind.max), (1, Limit::AtMost(1)));
    assert!(!schema.column("Balancer", "name").unwrap().mutable);
    assert!(schema.column("Balancer", "ratio").unwrap().ephemeral);
    let check = &schema.column("Balancer", "check").unwrap().kind;
    assert_eq!(
        check.key.reference,
        Some((Name::new("Check"), RefType::Weak))
    );
    assert_eq!(check.to_string(), "set of uuid (Check)");
    let table = schema.table("Balancer").unwrap();
    assert_eq!(
        (table.is_root, table.max_rows, table.indexes.len()),
        (true, Some(9), 1)
    );
    assert!(!schema.table("Check").unwrap().is_root);
}

#[test]
fn a_bad_schema_says_where() {
    for (kind, expected) in [
        (json!("strin"), "\"strin\" is not an atomic type"),
        (json!({"key": "string", "min": 2}), "min is 2, not 0 or 1"),
        (json!({"key": "string", "max": 0}), "max is 0"),
        (json!({"min": 0}), "the type has no key"),
        (
            json!({"key": {"enum": 1}}),
            "the type of the elements is not given",
        ),
        (
            json!({"key": {"type": "integer", "minInteger": "x"}}),
            "expected a value of type integer",
        ),
        (
            json!({"key": {"type": "uuid", "refTable": "C", "refType": "loose"}}),
            "refType is \"loose\"",
        ),
        (json!([]), "is not a type"),
    ] {
        let schema = json!({"name": "N", "version": "1.0.0", "tables": {"T": {"columns": {"c": {"type": kind}}}}});
        let error = serde_json::from_value::<Schema>(schema)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("table T, column c") && error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn descriptions() {
    let schema = schema();
    let specs = [
        TableSpec::of::<Balancer>(),
        TableSpec::of::<Elsewhere>(),
        TableSpec::columns("Balancer", ["tier"]),
    ];
    let bound = schema.bind(&specs).unwrap();
    let missing: Vec<String> = bound.missing.iter().map(ToString::to_string).collect();
    assert_eq!(
        missing,
        ["column newer of table Balancer", "table Elsewhere"]
    );
    let columns = bound.layout.table("Balancer").unwrap().columns();
    assert_eq!(*columns, Columns::new(["name", "tags", "tier", "vips"]));
    assert_eq!(
        serde_json::to_value(&bound.layout).unwrap(),
        json!({"Balancer": [{"columns": ["name", "tags", "tier", "vips"]}]})
    );
    assert_eq!(
        schema
            .bind([&TableSpec::all("Check")])
            .unwrap()
            .layout
            .tables()
            .count(),
        1
    );
    assert_eq!(Layout::everything(&schema).tables().count(), 2);

    let error = schema
        .bind([&TableSpec::of::<Wrong>()])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(
            "column ratio of table Balancer is a real there, the program takes it for a integer"
        ),
        "{error}"
    );
    assert!(
        error.contains("column tags of table Balancer is a set of string there"),
        "{error}"
    );
    // An optional value may be read from a column that always has one.
    assert!(!error.contains("tier"), "{error}");
}

/// What `prepare` says of a row with this column.
fn refusal(column: &'static str, value: impl Into<Datum>) -> String {
    let insert = Operation::insert("Balancer", Uuid::nil(), Row::new().with(column, value));
    schema()
        .prepare(vec![Operation::comment("x"), insert])
        .map_or_else(|error| error.to_string(), |_| String::new())
}

#[test]
fn values_are_checked_before_they_are_sent() {
    assert_eq!(refusal("protocol", "tcp"), "");
    assert_eq!(refusal("tags", Datum::set(["äöüß", "b"])), "");
    assert_eq!(
        refusal("protocol", "dccp"),
        "operation 1 (insert on table Balancer): column protocol: \
         \"dccp\" is not one of the values this server knows: [\"tcp\", \"udp\"]"
    );
    assert!(refusal("protocol", 4).ends_with("4 is not of the type string"));
    assert!(refusal("tier", 4).ends_with("4 is out of range: 0 to 3"));
    assert!(refusal("ratio", ovsdb_model::Real::ZERO).ends_with("0 is out of range: 0.5 to any"));
    assert!(refusal("tier", Datum::empty_set()).ends_with("0 elements; exactly one is allowed"));
    assert!(
        refusal("tags", Datum::set(["a", "b", "c"])).ends_with("3 elements; 0 to 2 are allowed")
    );
    assert!(refusal("tags", "").ends_with("\"\" is out of range: 1 to 4 characters"));
    assert!(refusal("tags", "abcde").ends_with("1 to 4 characters"));
    assert!(refusal("tags", "a\0").ends_with("contains a NUL character"));
    assert!(
        refusal("vips", Datum::set(["a"]))
            .ends_with("\"a\" is not of the type map from string to string")
    );
    assert!(refusal("vips", Datum::map([("a", 1)])).ends_with("1 is not of the type string"));
}

#[test]
fn what_the_server_lacks_is_left_out_and_named_once() {
    let row = Row::new().with("name", "a").with("newer", 1);
    let operations = vec![
        Operation::insert("Nowhere", Uuid::nil(), row.clone()),
        Operation::insert("Balancer", Uuid::nil(), row.clone()),
        Operation::mutate(
            "Balancer",
            Uuid::nil(),
            [Mutation::insert("newer", 1), Mutation::insert("tags", "x")],
        ),
        Operation::delete("Nowhere", Uuid::nil()),
        Operation::select("Balancer", vec![], ["_uuid", "newer", "name"]),
        Operation::Raw(json!({"op": "anything"})),
    ];
    let prepared = schema().prepare(operations).unwrap();
    assert_eq!(prepared.left_out, [0, 3]);
    let missing: Vec<String> = prepared.missing.iter().map(ToString::to_string).collect();
    assert_eq!(missing, ["table Nowhere", "column newer of table Balancer"]);
    assert_eq!(
        prepared.operations[0],
        Operation::insert("Balancer", Uuid::nil(), Row::new().with("name", "a"))
    );
    assert_eq!(
        prepared.operations[1],
        Operation::mutate("Balancer", Uuid::nil(), [Mutation::insert("tags", "x")])
    );
    assert_eq!(
        prepared.operations[2],
        Operation::select("Balancer", vec![], ["_uuid", "name"])
    );
    assert_eq!(prepared.operations.len(), 4);

    // A condition or wait on what is not there cannot be left out: it would mean something else.
    let lacking = Clause::equal("newer", 1);
    for operation in [
        Operation::Delete {
            table: "Balancer".into(),
            condition: vec![lacking.clone()],
        },
        Operation::require("Balancer", vec![lacking]),
        Operation::verify("Balancer", Uuid::nil(), row),
        Operation::require("Nowhere", vec![]),
    ] {
        let error = schema().prepare(vec![operation]).unwrap_err().to_string();
        assert!(error.contains("means nothing without it"), "{error}");
    }
}

#[test]
fn operations_are_checked() {
    let refusal = |operation| {
        schema()
            .prepare(vec![operation])
            .map_or_else(|error| error.to_string(), |_| String::new())
    };
    let mutate = |column: &'static str, mutator, value: Datum| {
        Operation::mutate(
            "Balancer",
            Uuid::nil(),
            [Mutation::new(column, mutator, value)],
        )
    };
    assert!(
        refusal(Operation::update(
            "Balancer",
            Uuid::nil(),
            Row::new().with("name", "b")
        ))
        .contains("cannot be changed")
    );
    assert_eq!(
        refusal(mutate("vips", Mutator::Delete, Datum::set(["a", "b"]))),
        ""
    );
    assert_eq!(
        refusal(mutate("vips", Mutator::Delete, Datum::map([("a", "b")]))),
        ""
    );
    assert_eq!(refusal(mutate("tier", Mutator::Add, 70.into())), "");
    let three = || Datum::set(["a", "b", "c"]);
    assert_eq!(refusal(mutate("tags", Mutator::Delete, three())), "");
    assert!(
        refusal(mutate("tags", Mutator::Insert, three()))
            .contains("3 elements; 0 to 2 are allowed")
    );
    assert!(
        refusal(mutate("vips", Mutator::Insert, Datum::set(["a"])))
            .contains("is not of the type map")
    );
    assert!(
        refusal(mutate("vips", Mutator::Delete, 1.into())).contains("1 is not of the type string")
    );
    assert!(refusal(mutate("tier", Mutator::Insert, 1.into())).contains("has no operator insert"));
    assert!(
        refusal(mutate("tags", Mutator::Add, 1.into()))
            .contains("which is a set of string, has no operator +=")
    );
    assert!(refusal(mutate("ratio", Mutator::Remainder, 1.into())).contains("has no operator %="));
    let delete = |clause| Operation::Delete {
        table: "Balancer".into(),
        condition: vec![clause],
    };
    assert_eq!(refusal(delete(Clause::uuid(Uuid::nil()))), "");
    assert!(refusal(delete(Clause::equal("_uuid", "x"))).contains("\"x\" is not of the type uuid"));
    let clause = |column: &'static str, function, value: Datum| {
        refusal(delete(Clause::new(column, function, value)))
    };
    assert_eq!(clause("tags", Function::Excludes, three()), "");
    assert!(clause("tags", Function::Includes, three()).contains("3 elements"));
    assert_eq!(clause("tier", Function::GreaterOrEqual, 1.into()), "");
    assert!(clause("tags", Function::Less, "a".into()).contains("has no operator <"));
    assert!(clause("tier", Function::Includes, Datum::empty_set()).contains("exactly one"));
    assert!(refusal(delete(Clause::equal("tier", 9))).contains("out of range"));
    let wait = Operation::Wait {
        table: "Balancer".into(),
        condition: vec![],
        columns: Some(vec!["tier".into()]),
        until: Until::Equal,
        rows: vec![Row::new().with("tier", "x")],
        timeout: None,
    };
    assert!(refusal(wait).contains("\"x\" is not of the type integer"));
}
