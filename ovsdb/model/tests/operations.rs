//! Operations as JSON, and what comes back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ovsdb_model::{
    Clause, Datum, ErrorClass, ErrorKind, Mutation, Mutator, OpError, OpResult, Operation, Outcome,
    Real, Row, Schema, Uuid,
};
use serde_json::{Value, json};

const ID: Uuid = Uuid::from_u128(5);
const TEXT: &str = "00000000-0000-0000-0000-000000000005";

fn json_of(operation: &Operation) -> Value {
    serde_json::from_str(&serde_json::to_string(operation).unwrap()).unwrap()
}

#[test]
fn as_rfc_7047_writes_them() {
    let by_uuid = json!([["_uuid", "==", ["uuid", TEXT]]]);
    let row = Row::new()
        .with("a", 1)
        .with("b", Datum::set(["x", "y"]))
        .with("c", Datum::empty_map());
    let row_json = json!({"a": 1, "b": ["set", ["x", "y"]], "c": ["map", []]});
    for (operation, expected) in [
        (
            Operation::insert("T", ID, row.clone()),
            json!({"op": "insert", "table": "T", "uuid": TEXT, "row": row_json}),
        ),
        (
            Operation::Insert {
                table: "T".into(),
                uuid: None,
                row: Row::new(),
            },
            json!({"op": "insert", "table": "T", "row": {}}),
        ),
        (
            Operation::update("T", ID, row),
            json!({"op": "update", "table": "T", "where": by_uuid, "row": row_json}),
        ),
        (
            Operation::mutate("T", ID, Mutation::set_keys("m", [("k", "v")])),
            json!({"op": "mutate", "table": "T", "where": by_uuid,
                "mutations": [["m", "delete", "k"], ["m", "insert", ["map", [["k", "v"]]]]]}),
        ),
        (
            Operation::mutate(
                "T",
                ID,
                [
                    Mutation::new("n", Mutator::Add, 1),
                    Mutation::delete_keys("m", ["k", "l"]),
                    Mutation::delete("s", Datum::set([ID])),
                ],
            ),
            json!({"op": "mutate", "table": "T", "where": by_uuid, "mutations":
                [["n", "+=", 1], ["m", "delete", ["set", ["k", "l"]]], ["s", "delete", ["uuid", TEXT]]]}),
        ),
        (
            Operation::delete("T", ID),
            json!({"op": "delete", "table": "T", "where": by_uuid}),
        ),
        (
            Operation::select("T", vec![Clause::excludes("s", "x")], ["a"]),
            json!({"op": "select", "table": "T", "where": [["s", "excludes", "x"]], "columns": ["a"]}),
        ),
        (
            Operation::select::<&str>("T", vec![], []),
            json!({"op": "select", "table": "T", "where": []}),
        ),
        (
            Operation::require("T", vec![Clause::includes("m", Datum::map([("k", "v")]))]),
            json!({"op": "wait", "timeout": 0, "table": "T", "where": [["m", "includes", ["map", [["k", "v"]]]]],
                "columns": [], "until": "!=", "rows": []}),
        ),
        (
            Operation::verify("T", ID, Row::new().with("r", Real::new(1.5).unwrap())),
            json!({"op": "wait", "timeout": 0, "table": "T", "where": by_uuid, "columns": ["r"], "until": "==",
                "rows": [{"r": 1.5}]}),
        ),
        (
            Operation::comment("hello"),
            json!({"op": "comment", "comment": "hello"}),
        ),
        (Operation::assert("L"), json!({"op": "assert", "lock": "L"})),
        (Operation::Abort, json!({"op": "abort"})),
        (
            Operation::Commit { durable: true },
            json!({"op": "commit", "durable": true}),
        ),
        (
            Operation::Raw(json!({"op": "select", "x": 1})),
            json!({"op": "select", "x": 1}),
        ),
    ] {
        assert_eq!(json_of(&operation), expected);
    }
}

fn schema() -> Schema {
    serde_json::from_value(
        json!({"name": "D", "version": "1.0.0", "tables": {"T": {"columns": {
        "r": {"type": "real"}, "s": {"type": {"key": "string", "min": 0, "max": 9}}}}}}),
    )
    .unwrap()
}

fn operations() -> Vec<Operation> {
    vec![
        Operation::insert("T", ID, Row::new()),
        Operation::delete("T", ID),
        Operation::select::<&str>("T", vec![], []),
    ]
}

fn decode(json: &Value) -> Result<Outcome, serde_json::Error> {
    Outcome::decode(&json.to_string(), &operations(), &schema())
}

#[test]
fn results() {
    let reply = json!([{"uuid": ["uuid", TEXT]}, {"count": 0}, {"rows": [{"r": 2, "s": ["set", []], "_uuid": ["uuid", TEXT]}]}]);
    let results = decode(&reply).unwrap().into_result(&operations()).unwrap();
    let row = Row::new()
        .with("r", Real::new(2.0).unwrap())
        .with("s", Datum::empty_set())
        .with("_uuid", ID);
    assert_eq!(
        results,
        [
            OpResult::Inserted(ID),
            OpResult::Count(0),
            OpResult::Rows(vec![row])
        ]
    );

    let none = Outcome::decode("[{}]", &[Operation::comment("x")], &schema()).unwrap();
    assert_eq!(
        none.with_left_out(&[0, 2]).results,
        [OpResult::LeftOut, OpResult::Done, OpResult::LeftOut]
    );
}

#[test]
fn a_failed_operation() {
    let reply = json!([{"uuid": ["uuid", TEXT]}, {"error": "timed out", "details": "\"where\" clause test failed"}, null]);
    let outcome = decode(&reply).unwrap();
    assert_eq!(outcome.results[2], OpResult::NotRun);
    let error = outcome.into_result(&operations()).unwrap_err();
    assert_eq!(
        (error.operation, error.error.kind),
        (Some(1), ErrorKind::TimedOut)
    );
    assert_eq!(error.error.kind.class(), ErrorClass::Retry);
    assert_eq!(
        error.to_string(),
        "operation 1 (delete on table T): timed out: \"where\" clause test failed"
    );
}

#[test]
fn a_failure_among_operations_that_were_left_out() {
    let reply = json!([{}, {"error": "constraint violation"}, null]);
    let error = decode(&reply)
        .unwrap()
        .with_left_out(&[0, 2])
        .into_result(&operations())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "operation 3 (delete on table T): constraint violation"
    );
}

#[test]
fn a_failed_commit() {
    let reply = json!([{"uuid": ["uuid", TEXT]}, {"count": 1}, {"rows": []},
        {"error": "constraint violation", "details": "Transaction causes …", "syntax": "…"}]);
    let error = decode(&reply)
        .unwrap()
        .into_result(&operations())
        .unwrap_err();
    assert_eq!(
        (error.operation, error.error.kind.class()),
        (None, ErrorClass::Constraint)
    );
    assert_eq!(
        error.to_string(),
        "commit: constraint violation: Transaction causes …"
    );
}

#[test]
fn what_is_no_result() {
    let fine = json!({});
    for reply in [
        json!([fine, fine]),
        json!([fine, fine, fine, fine]),
        json!([fine, fine, fine, {"error": "x"}, fine]),
        json!({"error": "x"}),
        json!([1, fine, fine]),
        json!([{"count": -1}, fine, fine]),
        json!([fine, fine, {"rows": [1]}]),
    ] {
        assert!(decode(&reply).is_err(), "{reply}");
    }
    // What was carried out is known, whatever a selected row holds.
    let odd = json!([{"count": 1}, fine, {"rows": [{"r": "x", "_uuid": ["uuid", TEXT]}]}]);
    let odd = decode(&odd).unwrap();
    assert_eq!(odd.results[0], OpResult::Count(1));
    let OpResult::Rows(rows) = &odd.results[2] else {
        panic!("{:?}", odd.results)
    };
    assert_eq!(
        (rows[0].len(), rows[0].unreadable()),
        (1, &["r".into()][..])
    );
    // A server that leaves the operations after a failure out entirely is understood as well.
    let short = decode(&json!([{"error": "not owner"}])).unwrap();
    assert_eq!(short.results.len(), 3);
    assert_eq!(
        short.into_result(&[]).unwrap_err().error.kind.class(),
        ErrorClass::Fenced
    );
}

#[test]
fn errors_of_replies() {
    assert_eq!(
        OpError::from_json(&json!("canceled")).kind,
        ErrorKind::Canceled
    );
    let error = OpError::from_json(
        &json!({"error": "unknown database", "details": "get_schema request …"}),
    );
    assert_eq!(error.kind.class(), ErrorClass::Broken);
    assert_eq!(error.to_string(), "unknown database: get_schema request …");
    assert_eq!(OpError::from_json(&json!(7)).error, "7");
}
