//! The program before a real Northbound: what an installation has is removed, and nothing else.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use yusur_testbed::ovsdb::Standalone;
use yusur_testbed::process::Process;
use yusur_testbed::{programs, schemas, scratch};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/examples");

type Table = BTreeMap<String, BTreeMap<String, Value>>;

/// What matters of the Northbound: all rows but the counter of changes.
fn content(nb: &Standalone) -> BTreeMap<String, Table> {
    let dump = nb.dump().expect("a dump");
    let mut content = BTreeMap::new();
    for table in [
        "NB_Global",
        "Logical_Router",
        "Logical_Router_Static_Route",
        "Logical_Switch",
        "Logical_Switch_Port",
        "Load_Balancer",
        "Load_Balancer_Group",
        "DNS",
    ] {
        let rows = dump.rows(table).map(|(uuid, row)| {
            let mut row = row.clone();
            row.remove("nb_cfg");
            (uuid.to_owned(), row)
        });
        content.insert(table.to_owned(), rows.collect());
    }
    content
}

fn purge(nb: &Standalone, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_yusurctl"))
        .args(["purge", "--owner", "yusur", "--nb-address", &nb.unix()])
        .args(arguments)
        .output();
    let Output {
        status,
        stdout,
        stderr,
    } = output.expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.success(), text(stdout) + &text(stderr))
}

#[test]
fn all_of_an_owner_goes_and_nothing_else() {
    let schema = schemas::installed("ovn-nb").expect("a schema");
    let nb = Standalone::start(&schema).expect("a server");
    let insert = |table: &str, row: Value| json!({"op": "insert", "table": table, "row": row});
    nb.transact(&[
        insert(
            "NB_Global",
            json!({
                "external_ids": ["map", [["yusur.io/epoch/yusur", "7"], ["other", "1"]]],
                // As from an ovn-northd that has seen whatever happens.
                "sb_cfg": yusur_testbed::northd::EVERYTHING,
            }),
        ),
        // What the `adopt` example uses, and somebody else's own.
        insert("Logical_Router", json!({"name": "campus-router"})),
        insert("Logical_Switch", json!({"name": "campus-switch"})),
        insert("Load_Balancer_Group", json!({"name": "yusur:another:shop"})),
    ])
    .expect("rows of others");
    let mut before = content(&nb);

    let dir = scratch::directory("purge").expect("a directory");
    for example in ["shop", "adopt"] {
        let files = std::fs::read_dir(Path::new(EXAMPLES).join(example)).expect("the examples");
        for file in files.map(|file| file.expect("a file").path()) {
            let name = file.file_name().expect("a name");
            std::fs::copy(&file, dir.path().join(name)).expect("a copy");
        }
    }
    let program = programs::build("yusur-controller").expect("the controller");
    let controller = Process::spawn(
        Command::new(program)
            .arg("--manifests")
            .arg(dir.path())
            .args(["--nb-address", &nb.unix()])
            .args(["--metrics-address", "127.0.0.1:0"]),
        dir.path().join("controller.log"),
    )
    .expect("the controller");
    controller
        .wait_for_output("the Northbound is what the objects mean")
        .expect("rows");

    let (done, words) = purge(&nb, &["--yes"]);
    assert!(!done && words.contains("stop it first"), "{words}");
    controller.terminate().expect("an end");
    let full = content(&nb);
    assert!(full["Load_Balancer"].len() >= 9, "{full:#?}");
    let (done, words) = purge(&nb, &[]);
    assert!(done && words.contains("Nothing was removed"), "{words}");
    assert!(words.contains("Load_Balancer_Group"), "{words}");
    assert_eq!(content(&nb), full);

    let (done, words) = purge(&nb, &["--yes"]);
    assert!(done, "{words}");
    for row in before.get_mut("NB_Global").expect("a table").values_mut() {
        row.insert("external_ids".into(), json!(["map", [["other", "1"]]]));
    }
    assert_eq!(content(&nb), before);
    let (done, words) = purge(&nb, &["--yes"]);
    assert!(done && words.contains("no row of owner yusur"), "{words}");
}
