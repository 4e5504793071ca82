//! Nothing vanishes by accident (a list that has lost most services is not believed), and nothing is written without need.

use serde_json::Value;

use super::world::{Start, World, manifests, service};
use crate::common::{Controller, Rows, services};

fn balancers(rows: &Rows) -> usize {
    rows.keys()
        .filter(|(table, _)| *table == "Load_Balancer")
        .count()
}

async fn twelve() -> (World, Controller) {
    let world = World::new().await;
    world.furnish(0..12);
    let controller = world.converged("one").await;
    assert_eq!(balancers(&world.rows()), 12);
    (world, controller)
}

/// True if there are objects in the list, and each has been told all that its newest generation comes to.
fn all_settled(list: &Value) -> bool {
    let some = |value: &Value, each: &dyn Fn(&Value) -> bool| {
        let all = value.as_array().filter(|all| !all.is_empty());
        all.is_some_and(|all| all.iter().all(each))
    };
    some(&list["items"], &|object| {
        some(&object["status"]["conditions"], &|condition| {
            condition["observedGeneration"] == object["metadata"]["generation"]
                && condition["reason"] != "AddressPending"
        })
    })
}

fn delete(world: &World, range: std::ops::Range<usize>) {
    for n in range {
        world.delete(&service("shop", &format!("s{n}")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_lost_most_services_waits_for_a_word() {
    let (world, controller) = twelve().await;
    // The controller sees none of what follows: it is frozen, its connections are gone, and so is the memory of the API
    // server in which a watch could be resumed.
    controller.process.stop().expect("a signal");
    world.kubernetes.kill_api_server().expect("killed");
    world.kubernetes.start_api_server().expect("started again");
    delete(&world, 0..9);
    world.kubernetes.kill_api_server().expect("killed");
    world.kubernetes.start_api_server().expect("started again");
    controller.process.cont().expect("a signal");
    controller.says("9 of 12 objects of kind YusurService are missing at once");
    controller.until_metric("yusur_controller_mass_deletion_blocked", |count| {
        count == 9.0
    });
    world.until_event(
        "yusur-system",
        ("Warning", "MassDeletion", "Lease/yusur-controller-yusur"),
    );
    // What else there is to do is done.
    world.until_leads(&controller);
    world.apply(&services("red", 12..13, 0));
    world
        .until("one more", |database| database.len("Load_Balancer") == 13)
        .await;
    controller.stop();

    // After a restart it is the Northbound that tells what was there before.
    let controller = world.converged("two").await;
    controller.says("9 of the 13 services in the Northbound have no object any more");
    assert_eq!(balancers(&world.rows()), 13);
    controller.stop();

    let start = Start {
        flags: &["--allow-mass-deletion"],
        ..Start::default()
    };
    let controller = world.start_with("three", &start);
    world
        .until("the rest is gone", |database| {
            database.len("Load_Balancer") == 4
        })
        .await;
    controller.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_that_are_seen_are_carried_out() {
    let (world, controller) = twelve().await;
    world
        .admin
        .delete("/apis/yusur.io/v1alpha1/namespaces/shop/yusurservices")
        .expect("all at once");
    world
        .until("none", |database| database.len("Load_Balancer") == 0)
        .await;
    assert_eq!(
        controller.metric("yusur_controller_mass_deletion_blocked"),
        0.0
    );
    controller.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_nothing_changed_writes_the_epoch_alone() {
    let (world, controller) = twelve().await;
    for example in ["shop", "eip"] {
        let directory = manifests().join("examples").join(example);
        world.admin.apply_files(&directory).expect("an example");
    }
    // One whose address is allocated.
    world.apply("apiVersion: yusur.io/v1alpha1\nkind: YusurService\nmetadata: {name: auto, namespace: shop}\nspec: {vpc: red, ports: [{port: 80}], backends: [{kind: VM, addresses: [10.0.2.11]}]}\n");
    const KINDS: [&str; 6] = [
        "yusurservices",
        "vpcs",
        "subnets",
        "vnics",
        "eips",
        "eipgateways",
    ];
    for n in 0..12 {
        world.until_condition(
            &service("shop", &format!("s{n}")),
            "Ready",
            "True",
            "BackendsReady",
        );
    }
    world.until_condition(&service("shop", "auto"), "Ready", "True", "BackendsReady");
    for plural in KINDS {
        world.until_object(&format!("/apis/yusur.io/v1alpha1/{plural}"), all_settled);
    }
    controller.until_metric("yusur_controller_queued_units", |queued| queued == 0.0);
    let first = world.until_leads(&controller);
    controller.stop();
    world.catch_up().await;
    let rows = world.rows();
    // Resource versions and managed fields included.
    let versions = |world: &World| {
        KINDS.map(|plural| {
            world.object(&format!("/apis/yusur.io/v1alpha1/{plural}"))["items"].clone()
        })
    };
    let (writers, objects) = (world.writers(), versions(&world));
    assert!(writers.iter().all(|epoch| *epoch == first));

    let controller = world.converged("two").await;
    let second = world.until_leads(&controller);
    controller.until_ready();
    controller.stop();
    let since = world.writers().split_off(writers.len());
    assert_eq!(since, [second], "the claim and nothing else");
    assert_eq!(world.rows(), rows);
    assert_eq!(versions(&world), objects);
}

/// Objects deleted while nobody looked go, and services that stay are not touched.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_while_nobody_looked_is_swept() {
    let (world, controller) = twelve().await;
    controller.stop();
    delete(&world, 0..4);
    let before = world.rows();
    let controller = world.converged("two").await;
    world
        .until("four are gone", |database| {
            database.len("Load_Balancer") == 8
        })
        .await;
    world.catch_up().await;
    for (key, row) in world
        .rows()
        .iter()
        .filter(|((table, _), _)| *table == "Load_Balancer")
    {
        assert_eq!(before.get(key), Some(row));
    }
    controller.stop();
}
