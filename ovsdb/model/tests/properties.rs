//! What holds for all values: JSON and back, updates against a replica kept by naive means, indexes against a walk,
//! resynchronisation against a comparison of everything.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use ovsdb_model::update::Format;
use ovsdb_model::{
    Atom, AtomType, Batch, ColumnType, Database, Datum, DatumSeed, Index, Layout, Name, Real, Row,
    Schema, Uuid,
};
use proptest::prelude::*;
use serde::de::DeserializeSeed as _;
use serde_json::{Value, json};

fn atom(kind: AtomType) -> BoxedStrategy<Atom> {
    match kind {
        AtomType::Integer => prop_oneof![Just(i64::MIN), Just(i64::MAX), any::<i64>()]
            .prop_map(Atom::from)
            .boxed(),
        AtomType::Real => any::<f64>()
            .prop_filter_map("finite", Real::new)
            .prop_map(Atom::from)
            .boxed(),
        AtomType::Boolean => any::<bool>().prop_map(Atom::from).boxed(),
        AtomType::String => "(\\PC|[\"\\\\\n\t\u{1}\u{2028}])*"
            .prop_map(Atom::from)
            .boxed(),
        AtomType::Uuid => any::<u128>()
            .prop_map(|bits| Atom::from(Uuid::from_u128(bits)))
            .boxed(),
    }
}

fn any_type() -> impl Strategy<Value = AtomType> {
    prop::sample::select(vec![
        AtomType::Integer,
        AtomType::Real,
        AtomType::Boolean,
        AtomType::String,
        AtomType::Uuid,
    ])
}

/// A column's type as JSON, and a value of it.
fn typed() -> impl Strategy<Value = (Value, Datum)> {
    let set = any_type().prop_flat_map(|key| {
        prop::collection::vec(atom(key), 0..6).prop_map(move |atoms| {
            (
                json!({"key": key.as_str(), "min": 0, "max": "unlimited"}),
                Datum::set(atoms),
            )
        })
    });
    let map = (any_type(), any_type()).prop_flat_map(|(key, value)| {
        prop::collection::vec((atom(key), atom(value)), 0..6).prop_map(move |pairs| {
            let kind =
                json!({"key": key.as_str(), "value": value.as_str(), "min": 0, "max": "unlimited"});
            (kind, Datum::map(pairs))
        })
    });
    prop_oneof![set, map]
}

fn column_type(kind: &Value) -> ColumnType {
    let schema = json!({"name": "N", "version": "1.0.0", "tables": {"T": {"columns": {"c": {"type": kind}}}}});
    let schema: Schema = serde_json::from_value(schema).unwrap();
    schema.column("T", "c").unwrap().kind.clone()
}

proptest! {
    #[test]
    fn datums_survive_json((kind, datum) in typed()) {
        let kind = column_type(&kind);
        prop_assert_eq!(kind.check(&datum).err(), None);
        let json = serde_json::to_string(&datum).unwrap();
        let read = DatumSeed(Some(&kind)).deserialize(&mut serde_json::Deserializer::from_str(&json)).unwrap();
        prop_assert_eq!(&read, &datum);
        let untyped: Datum = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&untyped, &datum);
    }

    /// Whatever the JSON is, reading it as some type ends in a value of that type or an error.
    #[test]
    fn no_json_is_too_strange((kind, _) in typed(), json in "[\\[\\]{}\",:0-9a-z.eE+-]{0,40}|(\\[\"(set|map|uuid)\",.{0,20}\\])") {
        let kind = column_type(&kind);
        if let Ok(datum) = DatumSeed(Some(&kind)).deserialize(&mut serde_json::Deserializer::from_str(&json)) {
            let unbounded = kind.check(&datum);
            prop_assert!(unbounded.is_ok() || json.contains("u0000"), "{:?}", unbounded);
        }
    }
}

/// A row of the table that the updates below are about.
#[derive(Debug, Clone, PartialEq)]
struct Content {
    name: String,
    tags: BTreeSet<i64>,
    ids: BTreeMap<String, String>,
    maybe: Option<bool>,
}

fn content() -> impl Strategy<Value = Content> {
    (
        "[ab]?",
        prop::collection::btree_set(0i64..5, 0..4),
        prop::collection::btree_map("[kl]", "[vw]", 0..3),
        any::<Option<bool>>(),
    )
        .prop_map(|(name, tags, ids, maybe)| Content {
            name,
            tags,
            ids,
            maybe,
        })
}

impl Content {
    fn row(&self) -> Row {
        Row::new()
            .with("name", self.name.as_str())
            .with("tags", Datum::set(self.tags.iter().copied()))
            .with("ids", Datum::map(&self.ids))
            .with("maybe", self.maybe)
    }

    /// The row as `update2` writes a new one: without what is default.
    fn insert(&self) -> Value {
        let mut row = json!({});
        if !self.name.is_empty() {
            row["name"] = json!(self.name);
        }
        if !self.tags.is_empty() {
            row["tags"] = json!(Datum::set(self.tags.iter().copied()));
        }
        if !self.ids.is_empty() {
            row["ids"] = json!(Datum::map(&self.ids));
        }
        if let Some(maybe) = self.maybe {
            row["maybe"] = json!(maybe);
        }
        row
    }

    /// The change as `update2` writes it, computed from sets and maps by definition.
    fn modify(&self, new: &Content) -> Value {
        let mut row = json!({});
        if self.name != new.name {
            row["name"] = json!(new.name);
        }
        if self.tags != new.tags {
            row["tags"] = json!(Datum::set(
                self.tags.symmetric_difference(&new.tags).copied()
            ));
        }
        let mut ids: BTreeMap<&String, &String> = BTreeMap::new();
        ids.extend(
            self.ids
                .iter()
                .filter(|(key, _)| !new.ids.contains_key(*key)),
        );
        ids.extend(
            new.ids
                .iter()
                .filter(|(key, value)| self.ids.get(*key) != Some(*value)),
        );
        if !ids.is_empty() {
            row["ids"] = json!(Datum::map(ids));
        }
        if self.maybe != new.maybe {
            row["maybe"] = json!(Datum::from(new.maybe));
        }
        row
    }
}

type Model = BTreeMap<Uuid, Content>;

fn layout() -> Layout {
    let schema = json!({"name": "N", "version": "1.0.0", "tables": {"T": {"columns": {
        "name": {"type": "string"},
        "tags": {"type": {"key": "integer", "min": 0, "max": "unlimited"}},
        "ids": {"type": {"key": "string", "value": "string", "min": 0, "max": "unlimited"}},
        "maybe": {"type": {"key": "boolean", "min": 0, "max": 1}}
    }}}});
    Layout::everything(&serde_json::from_value(schema).unwrap())
}

fn database() -> Database {
    let mut database = Database::new();
    database.declare_index("T", Index::column("name"));
    database.declare_index("T", Index::column("tags"));
    database.declare_index("T", Index::map_key("ids", "k"));
    database
}

/// The replica says what the model says, in its rows and in its indexes.
fn check(database: &Database, model: &Model) -> Result<(), TestCaseError> {
    let rows: BTreeMap<Uuid, Row> = database
        .rows("T")
        .map(|(uuid, row)| (uuid, Row::clone(&row)))
        .collect();
    let expected: BTreeMap<Uuid, Row> = model
        .iter()
        .map(|(uuid, content)| (*uuid, content.row()))
        .collect();
    prop_assert_eq!(rows, expected);
    prop_assert_eq!(database.len("T"), model.len());
    let mut keys: BTreeMap<(&str, Atom), BTreeSet<Uuid>> = BTreeMap::new();
    for (uuid, content) in model {
        keys.entry(("name", content.name.as_str().into()))
            .or_default()
            .insert(*uuid);
        for tag in &content.tags {
            keys.entry(("tags", (*tag).into()))
                .or_default()
                .insert(*uuid);
        }
        if let Some(value) = content.ids.get("k") {
            keys.entry(("ids:k", value.into()))
                .or_default()
                .insert(*uuid);
        }
    }
    let count: usize = ["name", "tags", "ids:k"]
        .iter()
        .map(|index| database.keys("T", index).count())
        .sum();
    prop_assert_eq!(count, keys.len());
    for ((index, key), uuids) in keys {
        let found: Vec<Uuid> = database
            .find("T", index, &key)
            .map(|(uuid, _)| uuid)
            .collect();
        prop_assert_eq!(found, uuids.into_iter().collect::<Vec<_>>());
    }
    Ok(())
}

/// The batch tells exactly what distinguishes two models.
fn check_batch(batch: &Batch, before: &Model, after: &Model) -> Result<(), TestCaseError> {
    let told: BTreeMap<Uuid, _> = batch
        .changes
        .iter()
        .map(|change| {
            (
                change.uuid,
                (
                    change.old.as_deref().cloned(),
                    change.new.as_deref().cloned(),
                ),
            )
        })
        .collect();
    prop_assert_eq!(told.len(), batch.len());
    let mut expected = BTreeMap::new();
    for uuid in before.keys().chain(after.keys()) {
        let (old, new) = (before.get(uuid), after.get(uuid));
        if old != new {
            expected.insert(*uuid, (old.map(Content::row), new.map(Content::row)));
        }
    }
    prop_assert_eq!(told, expected);
    Ok(())
}

proptest! {
    #[test]
    fn updates_indexes_and_resynchronisation(
        steps in prop::collection::vec(
            (any::<bool>(), prop::collection::btree_map(0u128..6, prop::option::of(content()), 1..4)),
            1..12,
        ),
    ) {
        let layout = layout();
        let (mut database, mut model, mut history) = (database(), Model::new(), Vec::new());
        for (resync, step) in steps {
            let before = model.clone();
            let mut rows = json!({});
            for (id, content) in step {
                let uuid = Uuid::from_u128(id);
                let change = match (model.get(&uuid), &content) {
                    (None, None) => continue,
                    (None, Some(new)) => json!({"insert": new.insert()}),
                    (Some(old), Some(new)) => json!({"modify": old.modify(new)}),
                    (Some(_), None) => json!({"delete": null}),
                };
                rows[uuid.to_string()] = change;
                match content {
                    Some(content) => model.insert(uuid, content),
                    None => model.remove(&uuid),
                };
            }
            // The same step as changes, or as a dump of everything after a lost connection.
            let batch = if resync {
                let rows: serde_json::Map<String, Value> = model
                    .iter()
                    .map(|(uuid, content)| (uuid.to_string(), json!({"initial": content.insert()})))
                    .collect();
                let dump = layout.decode(&json!({"T": rows}).to_string(), Format::Update2).unwrap();
                database.reconcile(&layout, dump).unwrap()
            } else {
                let update = layout.decode(&json!({"T": rows}).to_string(), Format::Update2).unwrap();
                database.apply(update).unwrap()
            };
            check_batch(&batch, &before, &model)?;
            check(&database, &model)?;
            history.extend(batch.changes);
        }
        // All batches joined tell the way from nothing to the end.
        check_batch(&Batch::join(history), &Model::new(), &model)?;
    }

    /// `set_rows` and the naive map agree as well, and an index declared late is like one declared early.
    #[test]
    fn rows_set_by_hand(contents in prop::collection::vec((0u128..6, prop::option::of(content())), 0..20)) {
        let (mut database, mut model) = (Database::new(), Model::new());
        for (id, content) in contents {
            let (uuid, before) = (Uuid::from_u128(id), model.clone());
            let batch = database.set_rows([(Name::new("T"), uuid, content.as_ref().map(Content::row))]);
            match content {
                Some(content) => model.insert(uuid, content),
                None => model.remove(&uuid),
            };
            check_batch(&batch, &before, &model)?;
        }
        database.declare_index("T", Index::column("name"));
        database.declare_index("T", Index::column("tags"));
        database.declare_index("T", Index::map_key("ids", "k"));
        check(&database, &model)?;
    }
}
