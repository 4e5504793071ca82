//! The files in `manifests/` that follow from the types: current, and complete.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests");

#[test]
fn definitions_are_current() {
    let directory = Path::new(MANIFESTS).join("crds");
    let mut written = BTreeSet::new();
    for (name, content) in yusur_crds::manifest::files().expect("the definitions are YAML") {
        let path = directory.join(&name);
        let current = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            current == content,
            "{} is not what the types say: run `cargo run -p yusur-crds --bin crdgen`",
            path.display()
        );
        written.insert(name);
    }
    let present: BTreeSet<String> = std::fs::read_dir(&directory)
        .expect("the directory is there")
        .map(|entry| {
            entry
                .expect("readable")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(
        present, written,
        "manifests/crds holds files that crdgen does not write"
    );
}

/// What `kubectl explain` shows must say something, for every field.
#[test]
fn every_field_is_described() {
    let mut bare = Vec::new();
    for definition in yusur_crds::manifest::definitions() {
        let schema = serde_json::json!(definition.spec.versions[0].schema);
        walk(&schema, &definition.spec.names.kind, &mut |path, node| {
            if let Some(properties) = node.get("properties").and_then(Value::as_object) {
                for (name, property) in properties {
                    if property
                        .get("description")
                        .and_then(Value::as_str)
                        .is_none_or(str::is_empty)
                    {
                        bare.push(format!("{path}.{name}"));
                    }
                }
            }
        });
    }
    assert!(bare.is_empty(), "no doc comment on:\n{}", bare.join("\n"));
}

/// Every CEL rule has a bad example that shows it refusing; `apiserver.rs` proves that it does.
#[test]
fn every_rule_has_a_bad_example() {
    let mut missing = Vec::new();
    for definition in yusur_crds::manifest::definitions() {
        let kind = definition.spec.names.kind.clone();
        let file = Path::new(MANIFESTS).join(format!("examples/bad/{}.yaml", kind.to_lowercase()));
        let text = std::fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let schema = serde_json::json!(definition.spec.versions[0].schema);
        walk(&schema, &kind, &mut |path, node| {
            for rule in node
                .get("x-kubernetes-validations")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let message = rule["message"].as_str().expect("every rule has a message");
                if !text
                    .lines()
                    .any(|line| line.strip_prefix("# expect: ") == Some(message))
                {
                    missing.push(format!("{path}: {message}"));
                }
            }
        });
    }
    assert!(
        missing.is_empty(),
        "no example in manifests/examples/bad for:\n{}",
        missing.join("\n")
    );
}

/// Visits every schema node with the path of property names that leads to it.
fn walk(node: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
    visit(path, node);
    match node {
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("properties", Value::Object(properties)) => {
                        for (name, property) in properties {
                            walk(property, &format!("{path}.{name}"), visit);
                        }
                    }
                    _ => walk(value, path, visit),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, path, visit)),
        _ => {}
    }
}
