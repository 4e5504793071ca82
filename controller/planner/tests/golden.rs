//! The planner by example: each directory of `golden/` has manifests, in steps, and what comes of them: rows of the
//! Northbound (`+` new, `~` changed, `-` gone since the step before) and what is newly said about the objects. Read them as documentation. `INSTA_UPDATE=always` writes them anew.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::Path;

use ovsdb_model::{Clause, Datum, Operation, Row};
use serde_json::Value;
use support::manifest::{Document, documents};
use support::{Memory, OWNER, schema, show};
use yusur_planner::{Change, Config, Inventory, ObjectRef, Status, Unit, Verdict, run};

/// All cases, each by its directory.
#[test]
fn golden() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<_> = std::fs::read_dir(&root)
        .expect("the cases")
        .map(|entry| entry.expect("a case").path())
        .collect();
    cases.retain(|path| path.is_dir());
    cases.sort();
    assert!(!cases.is_empty());
    for case in cases {
        let name = case
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name")
            .to_owned();
        let shown = play(&case);
        insta::with_settings!({ snapshot_path => &case, prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!("out", shown, &name);
        });
    }
}

/// Plays a case's steps and tells what comes of each.
fn play(case: &Path) -> String {
    let mut steps: Vec<_> = std::fs::read_dir(case)
        .expect("steps")
        .map(|entry| entry.expect("a step").path())
        .collect();
    steps.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    steps.sort();
    let mut world = World::new();
    let mut text = String::new();
    for step in steps {
        let name = step
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        let told = world.step(&std::fs::read_to_string(&step).expect("a step's text"));
        let _ = write!(text, "===== after {name}\n{told}");
    }
    text
}

struct World {
    inventory: Inventory,
    northbound: Memory,
    objects: BTreeMap<ObjectRef, Change>,
    loaded: bool,
    shown: Vec<(String, String)>,
    said: HashMap<Unit, String>,
}

impl World {
    fn new() -> Self {
        Self {
            inventory: Inventory::new(Config::new(OWNER)),
            northbound: Memory::new(schema()),
            objects: BTreeMap::new(),
            loaded: false,
            shown: Vec::new(),
            said: HashMap::new(),
        }
    }

    fn step(&mut self, text: &str) -> String {
        for document in documents(text) {
            match document {
                Document::Change(change) => {
                    match &*change {
                        Change::Removed(object) => self.objects.remove(object),
                        change => self.objects.insert(change.object(), change.clone()),
                    };
                    self.inventory.apply(*change);
                }
                Document::Row {
                    table,
                    name,
                    columns,
                } => {
                    self.row(&table, &name, columns);
                    self.shown = show::rows(self.northbound.model.content());
                }
                Document::Serving(chassis) => self.inventory.serving(&chassis),
                Document::Restart => {
                    self.inventory = Inventory::new(Config::new(OWNER));
                    for change in self.objects.values() {
                        self.inventory.apply(change.clone());
                    }
                    self.loaded = false;
                }
            }
        }
        if !self.loaded {
            self.inventory.load(self.northbound.model.content());
            self.inventory.sweep(self.northbound.model.content());
            self.loaded = true;
        }
        let before = self.northbound.transactions;
        let verdicts =
            run(&mut self.inventory, &mut self.northbound, 1000).expect("the plan goes through");
        let mut told = format!("{} transactions\n\n", self.northbound.transactions - before);
        let rows = show::rows(self.northbound.model.content());
        told.push_str(&show::difference(&self.shown, &rows));
        self.shown = rows;
        let mut said: Vec<&Verdict> = verdicts
            .iter()
            .filter(|verdict| !verdict.conditions.is_empty())
            .collect();
        said.sort_by_key(|verdict| {
            verdict
                .object
                .as_ref()
                .map(|subject| subject.object.clone())
        });
        if !said.is_empty() {
            told.push('\n');
        }
        for verdict in said {
            let text = show::verdict(verdict);
            if self.said.insert(verdict.unit.clone(), text.clone()) != Some(text.clone()) {
                told.push_str(&text);
            }
        }
        told.push('\n');
        self.record(&verdicts);
        told
    }

    /// Statuses come back with the objects, as from an API server.
    fn record(&mut self, verdicts: &[Verdict]) {
        for verdict in verdicts {
            let Some(subject) = &verdict.object else {
                continue;
            };
            match (&verdict.status, self.objects.get_mut(&subject.object)) {
                (Status::YusurService(status), Some(Change::YusurService(object))) => {
                    object.status = Some(status.clone());
                }
                (Status::Eip(status), Some(Change::Eip(object))) => {
                    object.status = Some(status.clone());
                }
                _ => {}
            }
        }
    }

    /// What somebody else does to a row: makes it, changes it, or (without columns) removes it.
    fn row(&mut self, table: &str, name: &str, columns: Option<Value>) {
        let database = self.northbound.model.content();
        let found = database
            .rows(table)
            .find(|(_, row)| row.get_str("name") == Some(name))
            .map(|(uuid, _)| uuid);
        let row: Row = columns
            .iter()
            .flat_map(|columns| columns.as_object().expect("columns"))
            .map(|(column, value)| (column.as_str(), datum(value)))
            .collect();
        let operation = match (found, columns.is_some()) {
            (Some(uuid), true) => Operation::update(table, uuid, row),
            (Some(uuid), false) if table == "Logical_Switch_Port" => {
                let key = uuid.into();
                let parents = database.find("Logical_Switch", "ports", &key);
                let parent = parents.map(|(parent, _)| parent).next().expect("a switch");
                Operation::mutate(
                    "Logical_Switch",
                    parent,
                    vec![ovsdb_model::Mutation::delete("ports", uuid)],
                )
            }
            (Some(_), false) => Operation::Delete {
                table: table.into(),
                condition: vec![Clause::equal("name", name)],
            },
            (None, _) => {
                let id = ovsdb_model::Uuid::new_v5(
                    &ovsdb_model::Uuid::NAMESPACE_DNS,
                    format!("{table}/{name}").as_bytes(),
                );
                Operation::insert(table, id, row.with("name", name))
            }
        };
        self.northbound.tamper(&[operation], &mut self.inventory);
    }
}

fn datum(value: &Value) -> Datum {
    match value {
        Value::Object(map) => Datum::map(
            map.iter()
                .map(|(key, value)| (key.as_str(), value.as_str().expect("text"))),
        ),
        Value::Array(list) => Datum::set(list.iter().map(|value| value.as_str().expect("text"))),
        Value::String(text) => Datum::scalar(text.as_str()),
        other => panic!("{other} is no column's value"),
    }
}
