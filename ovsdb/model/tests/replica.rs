//! Updates as servers write them, decoded and applied to the replica.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ovsdb_model::update::{DecodeError, Format, decode_notification};
use ovsdb_model::{Atom, Database, Datum, Index, Layout, Schema, Uuid};
use serde_json::json;

const ROW: &str = "00000000-0000-0000-0000-000000000001";
const OTHER: &str = "00000000-0000-0000-0000-000000000002";

fn uuid(text: &str) -> Uuid {
    Uuid::parse_str(text).unwrap()
}

fn schema() -> Schema {
    serde_json::from_value(json!({
        "name": "Test", "version": "1.2.3", "cksum": "1 2",
        "tables": {"T": {
            "columns": {
                "name": {"type": "string"},
                "rate": {"type": "real"},
                "tags": {"type": {"key": "string", "min": 0, "max": "unlimited"}},
                "ids": {"type": {"key": "string", "value": "string", "min": 0, "max": "unlimited"}},
                "maybe": {"type": {"key": "integer", "min": 0, "max": 1}},
                "peer": {"type": {"key": {"type": "uuid", "refTable": "T", "refType": "weak"}, "min": 0, "max": 4}}
            },
            "isRoot": true, "indexes": [["name"]]
        }}
    }))
    .unwrap()
}

fn layout() -> Layout {
    Layout::everything(&schema())
}

fn decode(json: &serde_json::Value) -> Result<ovsdb_model::Update, DecodeError> {
    layout().decode(&json.to_string(), Format::Update2)
}

fn filled() -> Database {
    let mut database = Database::new();
    database.declare_index("T", Index::column("tags"));
    database.declare_index("T", Index::map_key("ids", "owner"));
    let dump = json!({"T": {ROW: {"initial": {
        "name": "a", "rate": 1, "tags": ["set", ["x", "y"]],
        "ids": ["map", [["owner", "me"], ["k", "v"]]], "maybe": 4, "peer": ["uuid", OTHER]
    }}}});
    let batch = database
        .reconcile(&layout(), decode(&dump).unwrap())
        .unwrap();
    assert_eq!(batch.len(), 1);
    database
}

#[test]
fn defaults_are_filled_in() {
    let mut database = Database::new();
    let update = decode(&json!({"T": {ROW: {"insert": {"name": "b"}}}})).unwrap();
    database.apply(update).unwrap();
    let row = database.row("T", uuid(ROW)).unwrap();
    assert_eq!(
        row.get("rate"),
        Some(&Datum::scalar(ovsdb_model::Real::ZERO))
    );
    assert_eq!(row.get("tags"), Some(&Datum::empty_set()));
    assert_eq!(row.get("ids"), Some(&Datum::empty_map()));
    assert_eq!(row.get("maybe"), Some(&Datum::empty_set()));
}

#[test]
fn differences_of_sets_and_maps_but_whole_optionals() {
    let mut database = filled();
    let update = json!({"T": {ROW: {"modify": {
        "tags": ["set", ["y", "z"]], "ids": ["map", [["k", "v"], ["owner", "you"]]],
        "maybe": ["set", []], "peer": ["set", [["uuid", OTHER], ["uuid", ROW]]]
    }}}});
    let batch = database.apply(decode(&update).unwrap()).unwrap();
    let change = &batch.changes[0];
    let (old, new) = (change.old.as_ref().unwrap(), change.new.as_ref().unwrap());
    assert_eq!(old.get("maybe"), Some(&Datum::scalar(4)));
    assert_eq!(new.get("tags"), Some(&Datum::set(["x", "z"])));
    assert_eq!(new.get("ids"), Some(&Datum::map([("owner", "you")])));
    assert_eq!(new.get("maybe"), Some(&Datum::empty_set()));
    assert_eq!(new.get("peer"), Some(&Datum::scalar(uuid(ROW))));
    assert_eq!(new.get_str("name"), Some("a"));
    // The indexes followed.
    assert_eq!(database.count("T", "ids:owner", &Atom::from("me")), 0);
    assert_eq!(
        database.find("T", "ids:owner", &Atom::from("you")).count(),
        1
    );
    assert_eq!(database.find("T", "tags", &Atom::from("z")).count(), 1);
    assert_eq!(database.count("T", "tags", &Atom::from("y")), 0);
}

#[test]
fn an_update_that_does_not_fit_changes_nothing() {
    let mut database = filled();
    let before = database.row("T", uuid(ROW)).unwrap().clone();
    let update = json!({"T": {ROW: {"delete": null}, OTHER: {"modify": {"name": "q"}}}});
    let error = database.apply(decode(&update).unwrap()).unwrap_err();
    assert_eq!(error.uuid, uuid(OTHER));
    assert!(error.to_string().contains("not there"), "{error}");
    assert_eq!(database.row("T", uuid(ROW)), Some(before));
    assert_eq!(database.count("T", "tags", &Atom::from("x")), 1);
}

#[test]
fn resynchronisation_reports_the_difference() {
    let mut database = filled();
    let kept = json!({"name": "a", "rate": 1.0, "tags": ["set", ["y", "x"]],
        "ids": ["map", [["k", "v"], ["owner", "me"]]], "maybe": 4, "peer": ["uuid", OTHER]});
    let same = database
        .reconcile(
            &layout(),
            decode(&json!({"T": {ROW: {"initial": kept}}})).unwrap(),
        )
        .unwrap();
    assert_eq!(same.changes, []);

    let dump = json!({"T": {OTHER: {"initial": {"name": "c"}}}});
    let batch = database
        .reconcile(&layout(), decode(&dump).unwrap())
        .unwrap();
    assert_eq!(batch.len(), 2);
    assert!(
        batch
            .changes
            .iter()
            .any(|change| change.uuid == uuid(ROW) && change.new.is_none())
    );
    assert_eq!(database.count("T", "tags", &Atom::from("x")), 0);

    let nothing = database
        .reconcile(&Layout::default(), decode(&json!({})).unwrap())
        .unwrap();
    assert_eq!(nothing.len(), 1);
    assert!(database.is_empty());
    let modify = decode(&json!({"T": {ROW: {"modify": {}}}})).unwrap();
    assert!(database.reconcile(&layout(), modify).is_err());
}

#[test]
fn the_first_format() {
    let mut database = Database::new();
    let rows = json!({"T": {ROW: {"new": {"name": "a", "maybe": ["set", []]}}}}).to_string();
    database
        .apply(layout().decode(&rows, Format::Update).unwrap())
        .unwrap();
    let change =
        json!({"T": {ROW: {"old": {"name": "a"}, "new": {"name": "b", "maybe": 1}}}}).to_string();
    let batch = database
        .apply(layout().decode(&change, Format::Update).unwrap())
        .unwrap();
    assert_eq!(
        batch.changes[0].new.as_ref().unwrap().get_str("name"),
        Some("b")
    );
    let gone = json!({"T": {ROW: {"old": {"name": "b"}}}}).to_string();
    database
        .apply(layout().decode(&gone, Format::Update).unwrap())
        .unwrap();
    assert!(database.is_empty());
}

#[test]
fn notifications_and_replies() {
    let layout = layout();
    let params = json!(["m", OTHER, {"T": {ROW: {"delete": null}}}]).to_string();
    let told =
        decode_notification("update3", &params, |id| (id == "m").then_some(&layout)).unwrap();
    assert_eq!(told.last_transaction, Some(uuid(OTHER)));
    assert_eq!(told.update.unwrap().len(), 1);
    let unknown = decode_notification("update3", &params, |_| None).unwrap();
    assert!(unknown.update.is_none());
    let params = json!([null, {"Elsewhere": {"not": "read"}}]).to_string();
    let told = decode_notification("update2", &params, |_| Some(&layout)).unwrap();
    assert!(told.update.unwrap().is_empty());
    assert!(decode_notification("stolen", "[]", |_| None).is_err());

    let reply = json!([false, OTHER, {"T": {ROW: {"initial": {"name": "a"}}}}]).to_string();
    let reply = layout.decode_since(&reply).unwrap();
    assert!(!reply.found && reply.update.len() == 1);
}

/// Values that are not of their column's type spoil neither the rest of the row nor other rows.
#[test]
fn a_value_that_cannot_be_read_is_told_and_left_out() {
    for (json, expected) in [
        (
            json!({"maybe": "x"}),
            "column maybe: invalid type: string \"x\", expected a value of type integer",
        ),
        (
            json!({"tags": ["map", []]}),
            "column tags: invalid type: a map, expected a value of type set of string",
        ),
        (
            json!({"ids": "x"}),
            "column ids: a single value where a map is expected",
        ),
        (
            json!({"tags": ["set", ["x", "x"]]}),
            "column tags: \"x\" appears twice",
        ),
        (
            json!({"tags": {"no": ["value", {"at": "all"}]}}),
            "column tags: invalid type: map",
        ),
        (
            json!({"maybe": 9_223_372_036_854_775_808_u64}),
            "signed 64-bit",
        ),
        (json!({"peer": ["uuid", "urn:uuid:1"]}), "expected a UUID"),
        (json!({"peer": ["uuid", OTHER, 1]}), "expected two elements"),
    ] {
        let mut row = json.clone();
        row["name"] = json!("a");
        row["rate"] = json!(0.5);
        let update =
            decode(&json!({"T": {ROW: {"insert": row}, OTHER: {"insert": {"name": "b"}}}}));
        let update = update.unwrap();
        let [unreadable] = update.unreadable() else {
            panic!("{json}: {:?}", update.unreadable())
        };
        let told = unreadable.to_string();
        let place = format!("table T, row {ROW}, column ");
        assert!(
            told.starts_with(&place) && told.contains(expected),
            "{json}: {told}"
        );
        assert!(!told.contains(" line "), "{told}");
        let column = unreadable.column.clone();

        let mut database = Database::new();
        let batch = database.apply(update).unwrap();
        assert_eq!(batch.len(), 2);
        let row = database.row("T", uuid(ROW)).unwrap();
        assert_eq!((row.get_str("name"), row.get(&column)), (Some("a"), None));
        assert_eq!(row.unreadable(), std::slice::from_ref(&column));
        assert_eq!(database.unreadable()["T"][&column], 1);
        assert_eq!(
            database.row("T", uuid(OTHER)).unwrap().get_str("name"),
            Some("b")
        );
        // A whole row mends it.
        let whole = decode(&json!({"T": {ROW: {"insert": {"name": "a"}}}})).unwrap();
        database.apply(whole).unwrap();
        assert!(database.unreadable().is_empty());
        assert_eq!(
            database.row("T", uuid(ROW)).unwrap().len(),
            layout().table("T").unwrap().columns().len()
        );
    }
}

#[test]
fn a_difference_that_leads_nowhere_leaves_its_column_in_doubt() {
    let mut database = filled();
    let modify =
        |columns: serde_json::Value| decode(&json!({"T": {ROW: {"modify": columns}}})).unwrap();
    let unread = |database: &Database| database.row("T", uuid(ROW)).unwrap().unreadable().to_vec();
    // What is told whole is known again with the next that can be read; nothing need be asked.
    database
        .apply(modify(json!({"maybe": "x", "rate": 2})))
        .unwrap();
    assert_eq!(unread(&database), ["maybe"]);
    assert_eq!(database.take_doubtful(), []);
    database.apply(modify(json!({"maybe": 5}))).unwrap();
    assert_eq!(unread(&database), [""; 0]);
    let row = database.row("T", uuid(ROW)).unwrap();
    assert_eq!(row.get_integer("maybe"), Some(5));
    assert_eq!(row.get("tags"), Some(&Datum::set(["x", "y"])));

    // Of what is told as a difference nothing is known until it is read anew.
    database
        .apply(modify(json!({"tags": ["set", ["z", "z"]], "name": "b"})))
        .unwrap();
    assert_eq!(unread(&database), ["tags"]);
    assert_eq!(database.count("T", "tags", &Atom::from("x")), 0);
    let doubtful = [("T".into(), uuid(ROW))];
    assert_eq!(database.take_doubtful(), doubtful);
    database.apply(modify(json!({"tags": "z"}))).unwrap();
    assert_eq!(unread(&database), ["tags"]);
    assert_eq!(database.take_doubtful(), doubtful);
    assert_eq!(database.take_doubtful(), []);
    let anew = json!({"T": {ROW: {"initial": {"name": "b", "tags": "z"}}, OTHER: {"initial": {}}}});
    let batch = database.refresh(decode(&anew).unwrap()).unwrap();
    assert_eq!(batch.len(), 1, "one that is not there stays away");
    assert_eq!(database.count("T", "tags", &Atom::from("z")), 1);
    assert!(database.unreadable().is_empty());
    // An update that fails leaves nothing behind.
    let fails =
        json!({"T": {ROW: {"modify": {"tags": ["set", ["a", "a"]]}}, OTHER: {"modify": {}}}});
    assert!(database.apply(decode(&fails).unwrap()).is_err());
    assert_eq!(database.take_doubtful(), []);
    assert!(database.unreadable().is_empty());
}

#[test]
fn of_a_table_without_columns_the_rows_are_followed() {
    let table = "T".into();
    let layout = Layout::new(&schema(), [(&table, &["of_no_version".into()][..])]);
    assert_eq!(
        serde_json::to_value(&layout).unwrap(),
        json!({"T": [{"columns": []}]})
    );
    let mut database = Database::new();
    let dump = json!({"T": {ROW: {"initial": {}}}}).to_string();
    let batch = database.reconcile(&layout, layout.decode(&dump, Format::Update2).unwrap());
    assert_eq!(batch.unwrap().len(), 1);
    assert!(database.row("T", uuid(ROW)).unwrap().is_empty());
}

#[test]
fn what_is_wrong_says_where() {
    for (json, expected) in [
        (json!({"T": {ROW: {}}}), "no change to the row"),
        (
            json!({"T": {ROW: {"insert": {}, "delete": null}}}),
            "more than one change",
        ),
        (json!({"T": {ROW: {"new": {}}}}), "does not belong"),
        (json!({"T": {"x": {"delete": null}}}), "expected a UUID"),
        (json!([]), "expected table updates"),
    ] {
        let error = decode(&json).unwrap_err().to_string();
        assert!(error.contains(expected), "{json}: {error}");
    }
    // Where nothing is read, depth is no danger; where something is, it does not fit long before it is deep.
    let deep = format!("{{\"X\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(layout().decode(&deep, Format::Update2).unwrap().is_empty());
    let deep = format!("[{}{},{{}}]", "[".repeat(100_000), "]".repeat(100_000));
    let error = decode_notification("update2", &deep, |_| None).unwrap_err();
    assert!(error.to_string().contains("recursion"), "{error}");
    assert!(layout().decode("{} trailing", Format::Update2).is_err());
}
