//! Nothing vanishes by accident: broken and half-written manifests, losses that are too large to be meant, files that
//! contradict one another.

mod common;

use common::{World, backends, services, vpc};

fn balancers(world: &World) -> usize {
    world
        .rows()
        .keys()
        .filter(|(table, _)| *table == "Load_Balancer")
        .count()
}

#[tokio::test]
async fn a_broken_file_keeps_its_last_good_objects_also_over_a_restart() {
    let world = World::new().await;
    world.save("vpc.yaml", &vpc("red"));
    world.save("a.yaml", &services("red", 0..3, 0));
    world.save("b.yaml", &services("red", 10..12, 0));
    let controller = world.converged("one", &[]).await;
    let rows = world.rows();
    let broken = format!("{}  - [", services("red", 0..2, 0));
    world.save("a.yaml", &broken);
    controller.until_metric(
        "yusur_controller_source_problems{reason=\"Syntax\"}",
        |count| count == 1.0,
    );
    // The others go on.
    world.save("b.yaml", &services("red", 10..13, 0));
    world
        .until("a service more", |database| {
            database.len("Load_Balancer") == 6
        })
        .await;
    world.catch_up().await;
    assert!(rows.keys().all(|key| world.rows().contains_key(key)));
    let problems = std::fs::read_to_string(world.manifests().join(".status/problems.yaml"))
        .expect("the problems");
    assert!(problems.contains("a.yaml"), "{problems}");
    controller.stop();

    let before = world.rows();
    let controller = world.converged("two", &[]).await;
    assert_eq!(world.rows(), before);
    world.save("a.yaml", &services("red", 0..2, 0));
    world
        .until("mended", |database| database.len("Load_Balancer") == 5)
        .await;
    controller.says("mended");
    controller.until_metric(
        "yusur_controller_source_problems{reason=\"Syntax\"}",
        |count| count == 0.0,
    );
    assert!(!world.manifests().join(".status/problems.yaml").exists());
    controller.stop();
}

#[tokio::test]
async fn one_bad_object_of_a_file_keeps_its_last_good_form() {
    let world = World::new().await;
    world.save("vpc.yaml", &vpc("red"));
    world.save("a.yaml", &services("red", 0..3, 0));
    let controller = world.converged("one", &[]).await;
    let bad = services("red", 0..1, 5).replace("vpc: red", "vcp: red");
    let text = format!("{bad}{}", services("red", 1..3, 5));
    world.save("a.yaml", &text);
    world
        .until("the good ones follow", |database| {
            backends(&common::rows(database), "10.96.100.2:80")
                .is_some_and(|list| list.contains(":8005"))
        })
        .await;
    controller.says("unknown field \"spec.vcp\"; spec.vpc: Required value");
    world.catch_up().await;
    assert!(backends(&world.rows(), "10.96.100.1:80").is_some_and(|list| list.contains(":8000")));
    controller.stop();
    // Also over a restart: the file never was good since, but the object was once.
    let controller = world.converged("two", &[]).await;
    assert!(backends(&world.rows(), "10.96.100.1:80").is_some_and(|list| list.contains(":8000")));
    controller.stop();
}

#[tokio::test]
async fn a_file_that_is_being_written_is_not_read() {
    use std::io::Write;
    let world = World::new().await;
    world.save("vpc.yaml", &vpc("red"));
    let controller = world.converged("one", &[]).await;
    let text = services("red", 0..4, 0);
    let half = text.find("name: s2").expect("the third");
    let mut file = std::fs::File::create(world.manifests().join("slow.yaml")).expect("a file");
    file.write_all(&text.as_bytes()[..half])
        .expect("half of it");
    file.flush().expect("half of it");
    // Something else is seen and written meanwhile.
    world.save("other.yaml", &services("red", 50..51, 0));
    world
        .until("the other", |database| database.len("Load_Balancer") == 1)
        .await;
    world.catch_up().await;
    assert_eq!(balancers(&world), 1);
    file.write_all(&text.as_bytes()[half..]).expect("the rest");
    drop(file);
    world
        .until("all", |database| database.len("Load_Balancer") == 5)
        .await;
    // Emptied, as by a full disk: kept.
    std::fs::write(world.manifests().join("slow.yaml"), "").expect("nothing");
    controller.until_metric(
        "yusur_controller_source_problems{reason=\"Empty\"}",
        |count| count == 1.0,
    );
    world.catch_up().await;
    assert_eq!(balancers(&world), 5);
    world.delete("slow.yaml");
    world
        .until("gone", |database| database.len("Load_Balancer") == 1)
        .await;
    controller.stop();
}

#[tokio::test]
async fn a_loss_that_is_too_large_waits_for_a_word() {
    let world = World::new().await;
    world.save("vpc.yaml", &vpc("red"));
    world.save("all.yaml", &services("red", 0..12, 0));
    let controller = world.converged("one", &[]).await;
    // A file that lost most of its end.
    world.save("all.yaml", &services("red", 0..3, 0));
    controller.says("9 of 12 objects of kind YusurService are missing at once");
    controller.until_metric("yusur_controller_mass_deletion_blocked", |count| {
        count == 9.0
    });
    world.catch_up().await;
    assert_eq!(balancers(&world), 12);
    // It comes back whole: nothing is blocked any more.
    world.save("all.yaml", &services("red", 0..12, 0));
    controller.until_metric("yusur_controller_mass_deletion_blocked", |count| {
        count == 0.0
    });
    controller.stop();

    // The same while nobody looked: the Northbound is what it is held against.
    world.save("all.yaml", &services("red", 0..3, 0));
    let controller = world.converged("two", &[]).await;
    controller.says("9 of the 12 services in the Northbound have no object any more");
    // What else there is to do is done.
    world.save("more.yaml", &services("red", 100..101, 0));
    world
        .until("one more", |database| database.len("Load_Balancer") == 13)
        .await;
    controller.stop();

    let controller = world.converged("three", &["--allow-mass-deletion"]).await;
    world
        .until("the rest is gone", |database| {
            database.len("Load_Balancer") == 4
        })
        .await;
    controller.stop();
}

#[tokio::test]
async fn deletions_that_were_seen_are_carried_out() {
    let world = World::new().await;
    world.save("vpc.yaml", &vpc("red"));
    for n in 0..12 {
        world.save(&format!("{n}.yaml"), &services("red", n..n + 1, 0));
    }
    let controller = world.converged("one", &[]).await;
    assert_eq!(balancers(&world), 12);
    for n in 0..12 {
        world.delete(&format!("{n}.yaml"));
    }
    world
        .until("none", |database| database.len("Load_Balancer") == 0)
        .await;
    controller.stop();
}

#[tokio::test]
async fn of_two_files_with_one_object_the_first_counts_whatever_the_order() {
    let world = World::new().await;
    world.save("vpc.yaml", &vpc("red"));
    world.save("b.yaml", &services("red", 0..1, 2));
    let controller = world.converged("one", &[]).await;
    let port = |database: &ovsdb::model::Database, port: &str| {
        backends(&common::rows(database), "10.96.100.1:80").is_some_and(|list| list.contains(port))
    };
    world.save("a.yaml", &services("red", 0..1, 1));
    world
        .until("the first file's", |database| port(database, ":8001"))
        .await;
    controller.says("a.yaml holds this object too, and counts");
    world.delete("a.yaml");
    world
        .until("the second file's", |database| port(database, ":8002"))
        .await;
    controller.stop();
}

#[tokio::test]
async fn directories_come_and_go() {
    let world = World::new().await;
    world.save("vpc.yaml", &vpc("red"));
    let controller = world.converged("one", &[]).await;
    let nested = world.manifests().join("tenants/shop");
    std::fs::create_dir_all(&nested).expect("directories");
    std::fs::write(nested.join("a.yaml"), services("red", 0..2, 0)).expect("a file");
    world
        .until("two", |database| database.len("Load_Balancer") == 2)
        .await;
    std::fs::write(nested.join("b.yaml"), services("red", 2..3, 0)).expect("a file");
    world
        .until("three", |database| database.len("Load_Balancer") == 3)
        .await;
    std::fs::write(nested.join(".hidden.yaml"), services("red", 3..4, 0)).expect("a file");
    std::fs::write(nested.join("notes.txt"), services("red", 4..5, 0)).expect("a file");
    std::fs::rename(
        world.manifests().join("tenants"),
        world.manifests().join("moved"),
    )
    .expect("a move");
    std::fs::write(
        world.manifests().join("moved/shop/c.yaml"),
        services("red", 5..6, 0),
    )
    .expect("a file");
    world
        .until("four", |database| database.len("Load_Balancer") == 4)
        .await;
    std::fs::remove_dir_all(world.manifests().join("moved")).expect("a removal");
    world
        .until("none", |database| database.len("Load_Balancer") == 0)
        .await;
    controller.stop();
}
