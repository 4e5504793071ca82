//! How files come and go under people's hands: editors that save by renaming, volumes of ConfigMaps, a directory that is
//! replaced or mistyped. Nobody looks through the directory in between: events alone must do.
#![allow(clippy::expect_used, reason = "a test's helpers fail the test")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use common::{World, backends, services, vpc};
use yusur_testbed::process::Process;

/// A service whose address is allocated.
fn auto(port: u16) -> String {
    format!(
        "apiVersion: yusur.io/v1alpha1\nkind: YusurService\nmetadata: {{name: auto, namespace: shop}}\nspec:\n  vpc: red\n  \
         ports: [{{port: {port}}}]\n  backends: [{{kind: VM, addresses: [10.0.0.9]}}]\n"
    )
}

async fn until_port(world: &World, port: u16) {
    let what = format!("port {port}");
    let ends = format!(":{port}");
    world
        .until(&what, |database| {
            let rows = common::rows(database);
            let mut vips = rows.values().filter_map(|row| row.get("vips"));
            vips.any(|vips| {
                vips.pairs()
                    .iter()
                    .any(|(vip, _)| vip.as_str().is_some_and(|vip| vip.ends_with(&ends)))
            })
        })
        .await;
}

#[tokio::test]
async fn a_file_that_is_saved_by_renaming_holds_the_same_object() {
    let world = World::new().await;
    world.save("vpc.yaml", &vpc("red"));
    world.save("auto.yaml", &auto(80));
    let controller = world.converged("one", &[]).await;
    until_port(&world, 80).await;
    let status = world
        .manifests()
        .join(".status/yusurservice/shop/auto.yaml");
    let identity = || {
        let text = fs::read_to_string(&status).expect("a status file");
        let line = text.lines().find(|line| line.contains("uid:"));
        line.expect("a uid").to_owned()
    };
    world.until_status(&controller, "yusurservice/shop/auto", |status| {
        status["observedGeneration"] == 1
    });
    let before = identity();

    // As vim does: the old file becomes a backup, a new one is written, the backup goes.
    let (file, backup) = (
        world.manifests().join("auto.yaml"),
        world.manifests().join("auto.yaml~"),
    );
    fs::rename(&file, &backup).expect("a backup");
    fs::write(&file, auto(81)).expect("a file");
    fs::remove_file(&backup).expect("no backup");
    until_port(&world, 81).await;
    // As git does: the old file goes, a new one is written.
    fs::remove_file(&file).expect("no file");
    fs::write(&file, auto(82)).expect("a file");
    until_port(&world, 82).await;
    // As `mv` does: the same under another name, which nobody has to complain about.
    fs::rename(&file, world.manifests().join("zebra.yaml")).expect("another name");
    world.save("zebra.yaml", &auto(83));
    until_port(&world, 83).await;
    // As a copy to another file system does, or a rename whose halves are seen apart.
    world.delete("zebra.yaml");
    world.save("auto.yaml", &auto(84));
    until_port(&world, 84).await;
    world.delete("auto.yaml");
    world.save("zebra.yaml", &auto(85));
    until_port(&world, 85).await;
    world.until_status(&controller, "yusurservice/shop/auto", |status| {
        status["observedGeneration"] == 6
    });
    assert_eq!(identity(), before);
    let log = controller.log();
    assert!(!log.contains("holds this object too"), "{log}");

    world.delete("zebra.yaml");
    world
        .until("nothing", |database| database.len("Load_Balancer") == 0)
        .await;
    controller.stop();
}

/// What the kubelet does with a ConfigMap's volume: the files of a new version in a directory of their own, to which one
/// link is switched.
fn publish(volume: &Path, version: u32, files: &[(&str, &str)]) {
    let name = format!("..2026_{version}");
    fs::create_dir_all(volume.join(&name)).expect("a directory");
    for (file, text) in files {
        fs::write(volume.join(&name).join(file), text).expect("a file");
    }
    symlink(&name, volume.join("..data_tmp")).expect("a link");
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).expect("a swap");
    for (file, _) in files {
        // It is there from the first version on.
        let _ = symlink(Path::new("..data").join(file), volume.join(file));
    }
    if version > 1 {
        fs::remove_dir_all(volume.join(format!("..2026_{}", version - 1))).expect("no directory");
    }
}

#[tokio::test]
async fn volumes_of_config_maps_are_followed() {
    let world = World::new().await;
    let root = world.manifests();
    let nested = root.join("tenants");
    publish(
        &root,
        1,
        &[
            ("a.yaml", &vpc("red")),
            ("b.yaml", &services("red", 0..1, 0)),
        ],
    );
    publish(&nested, 1, &[("c.yaml", &services("red", 1..2, 0))]);
    let controller = world.converged("one", &[]).await;
    assert_eq!(world.observer.read().len("Load_Balancer"), 2);

    publish(
        &root,
        2,
        &[
            ("a.yaml", &vpc("red")),
            ("b.yaml", &services("red", 0..1, 5)),
        ],
    );
    publish(&nested, 2, &[("c.yaml", &services("red", 1..2, 6))]);
    world
        .until("the second version of both", |database| {
            let rows = common::rows(database);
            let serves = |vip, port: &str| backends(&rows, vip).is_some_and(|b| b.contains(port));
            serves("10.96.100.1:80", ":8005") && serves("10.96.100.2:80", ":8006")
        })
        .await;

    // A key that goes: its link leads nowhere, then it is removed. That is a deletion, and nothing before it is.
    publish(&nested, 3, &[("d.yaml", &services("red", 2..3, 0))]);
    world
        .until("a third service", |database| {
            database.len("Load_Balancer") == 3
        })
        .await;
    fs::remove_file(nested.join("c.yaml")).expect("no link");
    world
        .until("two services", |database| {
            database.len("Load_Balancer") == 2
        })
        .await;
    controller.stop();
}

#[tokio::test]
async fn a_directory_that_is_replaced_is_found_again() {
    let world = World::new().await;
    let kept = world.beside("status");
    world.save("vpc.yaml", &vpc("red"));
    world.save("services.yaml", &services("red", 0..2, 0));
    let kept = kept.to_str().expect("a path");
    let controller = world.converged("one", &["--manifests-status", kept]).await;
    let (root, aside) = (world.manifests(), world.beside("away"));
    fs::rename(&root, &aside).expect("a directory moved");
    controller.says("part of the objects is unknown");
    // Whole at once: one that is being filled would lack what is yet to come.
    let copy = world.beside("copy");
    fs::create_dir(&copy).expect("a directory");
    for file in ["vpc.yaml", "services.yaml"] {
        fs::copy(aside.join(file), copy.join(file)).expect("a copy");
    }
    fs::rename(&copy, &root).expect("a directory moved");
    controller.says("mended");
    assert_eq!(world.observer.read().len("Load_Balancer"), 2);
    // It is this one that is watched now.
    world.save("more.yaml", &services("red", 2..3, 0));
    world
        .until("three services", |database| {
            database.len("Load_Balancer") == 3
        })
        .await;
    controller.stop();
}

#[tokio::test]
async fn a_mistyped_directory_is_no_empty_one() {
    let world = World::new().await;
    world.save("vpc.yaml", &vpc("red"));
    world.save("services.yaml", &services("red", 0..3, 0));
    world.converged("one", &[]).await.stop();
    let mistyped = world.beside("manifest");
    let process = Process::spawn(
        Command::new(env!("CARGO_BIN_EXE_yusur-controller"))
            .arg("--manifests")
            .arg(&mistyped)
            .args(["--nb-address", &world.nb.unix()])
            .args(["--metrics-address", "127.0.0.1:0"]),
        world.beside("mistyped.log"),
    )
    .expect("the controller");
    assert!(!process.wait().expect("an end").success());
    let log = process.output().expect("a log");
    assert!(log.contains("no directory that can be read"), "{log}");
    assert!(!mistyped.exists());
    world.catch_up().await;
    assert_eq!(world.observer.read().len("Load_Balancer"), 3);
}
