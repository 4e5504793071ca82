//! A directory of manifests is as strict as an API server, and says so where an API server would have answered; what one file
//! costs, or that the whole directory is away, nobody else notices.

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{World, backends, services, vpc};
use serde_json::Value;

fn accepted(status: &Value) -> Value {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let mut accepted = conditions.filter(|condition| condition["type"] == "Accepted");
    accepted.next().cloned().unwrap_or_default()
}

fn is_refused(status: &Value, words: &str) -> bool {
    let accepted = accepted(status);
    let message = accepted["message"].as_str().unwrap_or_default();
    accepted["status"] == "False" && accepted["reason"] == "InvalidSpec" && message.contains(words)
}

#[tokio::test]
async fn what_the_schemas_refuse_is_refused_and_the_form_before_stays() {
    let world = World::new().await;
    world.save("vpc.yaml", &vpc("red"));
    world.save("a.yaml", &services("red", 0..1, 0));
    let controller = world.converged("one", &[]).await;
    let good = world.until_status(&controller, "yusurservice/shop/s0", |status| {
        accepted(status)["status"] == "True"
    });
    let rows = world.rows();

    let bad = services("red", 0..1, 0).replace("targetPort: 8000", "targetPort: 0");
    world.save("a.yaml", &bad);
    let words = "spec.ports[0].targetPort: Invalid value: 0: spec.ports[0].targetPort in body should be greater than or \
                 equal to 1";
    let told = world.until_status(&controller, "yusurservice/shop/s0", |status| {
        is_refused(status, words)
    });
    assert!(is_refused(&told, "its last good state stays"));
    assert_eq!(told["clusterIPs"], good["clusterIPs"]);
    controller.says(words);
    controller.until_metric(
        "yusur_controller_source_problems{reason=\"InvalidSpec\"}",
        |count| count == 1.0,
    );
    world.catch_up().await;
    assert_eq!(world.rows(), rows);

    // What cannot be changed, as well; also over a restart.
    let moved = services("red", 0..1, 0).replace("vpc: red", "vpc: blue");
    world.save("a.yaml", &moved);
    let words = "vpc cannot be changed: make another service";
    world.until_status(&controller, "yusurservice/shop/s0", |status| {
        is_refused(status, words)
    });
    controller.stop();
    let controller = world.converged("two", &[]).await;
    world.until_status(&controller, "yusurservice/shop/s0", |status| {
        is_refused(status, words)
    });
    assert_eq!(world.rows(), rows);

    // As it was: nothing to do, and nothing is wrong any more.
    world.save("a.yaml", &services("red", 0..1, 0));
    world.until_status(&controller, "yusurservice/shop/s0", |status| {
        accepted(status)["status"] == "True"
    });
    assert_eq!(world.rows(), rows);
    // Made anew it may be elsewhere.
    world.delete("a.yaml");
    world
        .until("none", |database| database.len("Load_Balancer") == 0)
        .await;
    world.save("blue.yaml", &vpc("blue"));
    world.save("a.yaml", &moved);
    world
        .until("one", |database| database.len("Load_Balancer") == 1)
        .await;
    controller.stop();
}

#[tokio::test]
async fn every_bad_example_is_refused() {
    let world = World::new().await;
    let controller = world.converged("one", &[]).await;
    let bad = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/examples/bad");
    let mut judged = 0;
    for entry in fs::read_dir(&bad).expect("the bad examples") {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("an example");
        // One after the other: some are good, and changed for the worse.
        for document in text.split("\n---\n") {
            let value: Value = serde_saphyr::from_str(document).expect("YAML");
            let kind = value["kind"].as_str().expect("a kind").to_lowercase();
            let name = value["metadata"]["name"].as_str().expect("a name");
            let object = match value["metadata"]["namespace"].as_str() {
                _ if ["vpc", "subnet", "eipgateway"].contains(&&*kind) => format!("{kind}/{name}"),
                namespace => format!("{kind}/{}/{name}", namespace.unwrap_or("default")),
            };
            world.save(&format!("{kind}-{name}.yaml"), document);
            let expected = document
                .lines()
                .find_map(|line| line.strip_prefix("# expect: "));
            match expected {
                Some(words) => {
                    judged += 1;
                    world.until_status(&controller, &object, |status| is_refused(status, words));
                }
                // A NetworkProbe has no status of ours.
                None if kind == "networkprobe" => {
                    controller.until_metric(
                        "yusur_controller_source_events_total{kind=\"NetworkProbe\"}",
                        |count| count > 0.0,
                    );
                }
                None => {
                    world.until_status(&controller, &object, |status| {
                        !accepted(status).is_null() && !is_refused(status, "")
                    });
                }
            }
        }
    }
    assert!(judged > 60, "{judged} examples");
    controller.stop();
}

#[tokio::test]
async fn an_object_that_never_was_good_says_why() {
    let world = World::new().await;
    let controller = world.converged("one", &[]).await;
    let gateway = "apiVersion: yusur.io/v1alpha1\nkind: EipGateway\nmetadata: {name: ext}\nspec:\n  cidrs: [192.0.2.0/28]\n  \
                   physicalNetwork: internet\n  nodes: [\"\"]\n";
    world.save("ext.yaml", gateway);
    world.until_status(&controller, "eipgateway/ext", |status| {
        is_refused(
            status,
            "spec.nodes[0] in body should be at least 1 chars long",
        )
    });
    world.catch_up().await;
    assert!(world.rows().is_empty());
    let problems = fs::read_to_string(world.manifests().join(".status/problems.yaml"));
    let problems = problems.expect("the problems");
    assert!(problems.contains("InvalidSpec"), "{problems}");
    // What only the planner can judge is a condition, with either source.
    for (field, address) in [("gateways", "10.9.0.0"), ("gateways", "10.9.0.255")] {
        let subnet = vpc("red").replace(
            "cidrs: [10.0.0.0/16]",
            &format!("cidrs: [10.9.0.0/24], {field}: [{address}]"),
        );
        world.save("subnet.yaml", &subnet);
        world.until_status(&controller, "subnet/red-front", |status| {
            is_refused(status, &format!("spec.{field}: {address} stands for "))
        });
    }
    world.delete("subnet.yaml");
    for (field, address) in [
        ("gatewayAddresses", "192.0.2.0"),
        ("nextHops", "192.0.2.15"),
    ] {
        let other = gateway.replace(
            "nodes: [\"\"]",
            &format!("nodes: [gw1]\n  {field}: [{address}]"),
        );
        world.save("second.yaml", &other.replace("name: ext", "name: second"));
        world.until_status(&controller, "eipgateway/second", |status| {
            is_refused(status, &format!("spec.{field}: {address} stands for "))
        });
    }
    world.delete("second.yaml");
    // Mended it begins.
    world.save("ext.yaml", &gateway.replace("\"\"", "gw1"));
    world.until_status(&controller, "eipgateway/ext", |status| {
        status["observedGeneration"] == 1 && accepted(status)["status"] == "True"
    });
    // Gone while it is wrong: nothing says any more that it is.
    world.save("other.yaml", &gateway.replace("name: ext", "name: other"));
    world.until_status(&controller, "eipgateway/other", |status| {
        is_refused(status, "")
    });
    world.delete("other.yaml");
    world.until_status(&controller, "eipgateway/other", Value::is_null);
    controller.stop();
}

#[tokio::test]
async fn mistakes_of_yaml_are_told_in_words_of_yaml() {
    let world = World::new().await;
    let controller = world.converged("one", &[]).await;
    let number = vpc("red").replace("{name: red}", "{name: 123}");
    world.save("number.yaml", &number);
    controller.says("the metadata.name 123, which YAML does not take for text; quote it: \"123\"");
    world.save(
        "twice.yaml",
        &vpc("red").replace("spec:\n", "spec:\n  nodeAccess: true\n  nodeAccess: true\n"),
    );
    controller.says("the field \"nodeAccess\" is given twice in one mapping");
    assert!(!controller.log().contains("DuplicateKeyPolicy"));
    controller.stop();
}

#[tokio::test]
async fn the_longest_names_are_served() {
    let world = World::new().await;
    world.save("vpc.yaml", &vpc("red"));
    for (n, length) in [240, 250, 253].into_iter().enumerate() {
        let name = "n".repeat(length);
        let text =
            services("red", n..n + 1, 0).replace(&format!("name: s{n}"), &format!("name: {name}"));
        world.save(&format!("{length}.yaml"), &text);
    }
    let controller = world.converged("one", &[]).await;
    world
        .until("three", |database| database.len("Load_Balancer") == 3)
        .await;
    let directory = world.manifests().join(".status/yusurservice/shop");
    let told = || {
        let entries = fs::read_dir(&directory).into_iter().flatten();
        let files = entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
        let files = files.filter_map(|text| serde_saphyr::from_str::<Value>(&text).ok());
        let mut names: Vec<usize> = files
            .filter(|file| accepted(&file["status"])["status"] == "True")
            .filter_map(|file| Some(file["metadata"]["name"].as_str()?.len()))
            .collect();
        names.sort_unstable();
        names
    };
    let all = controller
        .process
        .wait_until("three status files", || Ok(told() == [240, 250, 253]));
    all.unwrap_or_else(|error| panic!("{error:#}: {:?}", told()));
    let log = controller.log();
    assert!(!log.contains("File name too long"), "{log}");
    // They are read back, and go with their objects.
    let before = world.rows();
    controller.stop();
    let controller = world.converged("two", &[]).await;
    assert_eq!(world.rows(), before);
    world.delete("253.yaml");
    controller
        .process
        .wait_until("two status files", || Ok(told() == [240, 250]))
        .expect("two status files");
    controller.stop();
}

#[tokio::test]
async fn everything_stays_while_the_directory_is_away() {
    let world = World::new().await;
    world.save("vpc.yaml", &vpc("red"));
    for n in 0..12 {
        world.save(&format!("{n}.yaml"), &services("red", n..n + 1, 0));
    }
    let controller = world.converged("one", &[]).await;
    let rows = world.rows();
    let (root, away) = (world.manifests(), world.beside("away"));
    fs::rename(&root, &away).expect("a directory moved");
    controller.says("part of the objects is unknown");
    // Events come still, of what happens in it where it is now.
    fs::remove_file(away.join("8.yaml")).expect("a file less");
    // Longer than a file that has gone is waited for, and than it takes to look again.
    std::thread::sleep(Duration::from_millis(2500));
    assert!(!root.exists(), "nobody makes it");
    world.catch_up().await;
    assert_eq!(world.rows(), rows);
    // Back, its content counts.
    fs::rename(&away, &root).expect("a directory moved");
    world
        .until("one service less", |database| {
            database.len("Load_Balancer") == 11
        })
        .await;
    // Emptied, it is not believed.
    let rows = world.rows();
    fs::rename(&root, &away).expect("a directory moved");
    fs::create_dir(&root).expect("an empty directory");
    controller.says("objects of kind YusurService are missing at once");
    world.catch_up().await;
    assert_eq!(world.rows(), rows);
    controller.stop();
}

#[tokio::test]
async fn a_directory_deleted_file_by_file_is_away_as_well() {
    let world = World::new().await;
    world.save("vpc.yaml", &vpc("red"));
    world.save("a.yaml", &services("red", 0..3, 0));
    let controller = world.converged("one", &[]).await;
    let rows = world.rows();
    fs::remove_dir_all(world.manifests()).expect("no directory");
    controller.says("part of the objects is unknown");
    std::thread::sleep(Duration::from_millis(1500));
    world.catch_up().await;
    assert_eq!(world.rows(), rows);
    assert!(!world.manifests().exists());
    controller.stop();
}

#[tokio::test]
async fn nobody_waits_for_a_large_file() {
    let world = World::new().await;
    world.save("vpc.yaml", &vpc("red"));
    let controller = world.converged("one", &[]).await;
    // Valid, and long to read: at least ten times what is to be waited for.
    let large = services("red", 0..20_000, 0);
    world.save("0-large.yaml", &large);
    world.save("small.yaml", &services("red", 30_000..30_001, 0));
    let begun = Instant::now();
    world
        .until("the small one's", |database| {
            database.len("Load_Balancer") >= 1
        })
        .await;
    let small = begun.elapsed();
    assert!(common::backends(&world.rows(), "10.96.220.1:80").is_some());
    assert!(small < Duration::from_secs(2), "{small:?}");
    // It changes while it is being read: what counts is what it holds then.
    world.save("0-large.yaml", &services("red", 0..1000, 0));
    world
        .until("the large one's", |database| {
            database.len("Load_Balancer") == 1001
        })
        .await;
    let bomb = bomb();
    world.save("bomb.yaml", &bomb);
    controller.says("aliases");
    controller.until_metric(
        "yusur_controller_source_problems{reason=\"Syntax\"}",
        |count| count == 1.0,
    );
    controller.stop();
}

/// A few hundred bytes that stand for a thousand million values.
fn bomb() -> String {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..9 {
        let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
        text.push_str(&format!("a{n}: &a{n} [{aliases}]\n"));
    }
    text
}

#[tokio::test]
async fn nested_directories_hold_up_nobody() {
    let world = World::new().await;
    world.save("vpc.yaml", &vpc("red"));
    let controller = world.converged("one", &[]).await;
    let mut deep = world.manifests();
    for n in 0..300 {
        deep.push(format!("d{n}"));
    }
    fs::create_dir_all(&deep).expect("directories");
    fs::write(deep.join("deep.yaml"), services("red", 0..1, 0)).expect("a file");
    let begun = Instant::now();
    world.save("next.yaml", &services("red", 1..2, 0));
    world
        .until("both", |database| database.len("Load_Balancer") == 2)
        .await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    // The deepest is watched.
    fs::write(deep.join("deep.yaml"), services("red", 0..1, 7)).expect("a file");
    world
        .until("its change", |database| {
            backends(&common::rows(database), "10.96.100.1:80")
                .is_some_and(|list| list.contains(":8007"))
        })
        .await;
    controller.stop();
}
