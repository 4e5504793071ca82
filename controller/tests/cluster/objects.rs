//! What objects become, and what they are told. One controller serves all of these tests, each in a namespace and a VPC of
//! its own, as it serves tenants.

use std::sync::{Arc, Weak};

use ovsdb::model::{Clause, Database, Operation, Row};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use super::world::{World, condition, namespace, path, service};
use crate::common::Controller;

/// The world of the tests that run now; it goes with the last of them.
static SHARED: Mutex<Weak<Shared>> = Mutex::const_new(Weak::new());

struct Shared {
    // First: it ends before its world goes.
    controller: Controller,
    world: World,
    /// Of the world's observer, which outlives the test that happens to be the first.
    runtime: Option<Runtime>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn shared() -> Arc<Shared> {
    let mut shared = SHARED.lock().await;
    if let Some(running) = shared.upgrade() {
        return running;
    }
    let new = std::thread::spawn(|| {
        let runtime = Runtime::new().expect("a runtime");
        let (world, controller) = runtime.block_on(async {
            let world = World::new().await;
            let controller = world.converged("one").await;
            (world, controller)
        });
        Shared {
            controller,
            world,
            runtime: Some(runtime),
        }
    });
    let new = Arc::new(new.join().expect("a world"));
    *shared = Arc::downgrade(&new);
    new
}

/// A namespace, a VPC that only it may use, and a Subnet for its Pods; the same ranges in every one.
fn tenant(name: &str) -> String {
    format!(
        "{}---\napiVersion: yusur.io/v1alpha1\nkind: Vpc\nmetadata: {{name: {name}}}\nspec:\n  serviceCIDRs: [10.96.0.0/16]\n  \
         allowedNamespaces: {{names: [{name}]}}\n---\napiVersion: yusur.io/v1alpha1\nkind: Subnet\nmetadata: {{name: {name}}}\n\
         spec: {{vpc: {name}, cidrs: [10.0.1.0/24], defaultForNamespaces: {{names: [{name}]}}}}\n",
        namespace(name)
    )
}

fn pod(namespace: &str, name: &str, app: &str, port: u16) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{app: {app}}}}}\nspec:\n  \
         nodeName: node1\n  containers: [{{name: a, image: a, ports: [{{name: http, containerPort: {port}}}]}}]\n"
    )
}

fn ysvc(namespace: &str, name: &str, vpc: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: yusur.io/v1alpha1\nkind: YusurService\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{vpc: {vpc}, {spec}}}\n"
    )
}

/// The address of the logical switch port of a unit (`pod/shop/web-0`).
async fn address(world: &World, unit: &str) -> String {
    let port = |database: &Database| {
        let mut ports = database.rows("Logical_Switch_Port");
        let (_, row) =
            ports.find(|(_, row)| row.map_str("external_ids", "yusur.io/unit") == Some(unit))?;
        // A MAC address, then the addresses.
        let addresses = row.get("addresses")?.as_str()?;
        addresses.split(' ').nth(1).map(str::to_owned)
    };
    world.until(unit, |database| port(database).is_some()).await;
    port(&world.observer.read()).expect("just seen")
}

/// Our rows that have to do with a VPC or namespace of this name.
fn rows_of(world: &World, tenant: &str) -> Vec<String> {
    let named = |row: &Row| {
        let unit = row
            .map_str("external_ids", "yusur.io/unit")
            .unwrap_or_default();
        unit.split('/').any(|part| part == tenant)
            || row
                .get_str("name")
                .is_some_and(|name| name.split([':', '/']).any(|part| part == tenant))
    };
    let rows = world.rows();
    rows.iter()
        .filter(|(_, row)| named(row))
        .map(|((table, _), row)| format!("{table} {row:?}"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_serve_while_they_are_ready() {
    let shared = shared().await;
    let world = &shared.world;
    let spec = "clusterIP: 10.96.0.10, ports: [{port: 80, targetPort: http}], backends: [{kind: Pod, selector: {matchLabels: {app: web}}}]";
    world.apply(&format!(
        "{}{}{}{}",
        tenant("pods"),
        ysvc("pods", "web", "pods", spec),
        pod("pods", "web-1", "web", 8080),
        pod("pods", "other", "other", 8080),
    ));
    let web = service("pods", "web");
    // The VIP is there at once, and refuses connections: no Pod is ready.
    world.until_backends("10.96.0.10:80", Some("")).await;
    let object = world.until_condition(&web, "Ready", "False", "NoReadyBackends");
    assert_eq!(condition(&object, "Accepted")["status"], "True");
    assert_eq!(condition(&object, "Programmed")["status"], "True");
    world.until_event("pods", ("Warning", "NoReadyBackends", "YusurService/web"));

    let first = address(world, "pod/pods/web-1").await;
    world.report("pods", "web-1", true);
    world
        .until_backends("10.96.0.10:80", Some(&format!("{first}:8080")))
        .await;
    let object = world.until_condition(&web, "Ready", "True", "BackendsReady");
    assert_eq!(object["status"]["clusterIPs"], json!(["10.96.0.10"]));
    assert_eq!(
        object["status"]["backends"],
        json!({"total": 1, "ready": 1, "draining": 0})
    );
    assert_eq!(
        object["status"]["dnsNames"],
        json!(["web.pods.svc.cluster.local"])
    );
    world.until_event("pods", ("Normal", "BackendsReady", "YusurService/web"));

    // A second one means another port by the same name.
    world.apply(&pod("pods", "web-2", "web", 9090));
    world.report("pods", "web-2", true);
    let second = address(world, "pod/pods/web-2").await;
    world
        .until_backends(
            "10.96.0.10:80",
            Some(&format!("{first}:8080,{second}:9090")),
        )
        .await;

    // Not ready, relabelled, gone.
    world.report("pods", "web-1", false);
    world
        .until_backends("10.96.0.10:80", Some(&format!("{second}:9090")))
        .await;
    world.until_object(&web, |object| {
        object["status"]["backends"] == json!({"total": 2, "ready": 1, "draining": 0})
    });
    world.apply(&pod("pods", "web-2", "old", 9090));
    world.until_backends("10.96.0.10:80", Some("")).await;
    world.report("pods", "web-1", true);
    world
        .until_backends("10.96.0.10:80", Some(&format!("{first}:8080")))
        .await;
    world.delete("/api/v1/namespaces/pods/pods/web-1?gracePeriodSeconds=0");
    world.until_backends("10.96.0.10:80", Some("")).await;
    world.until_condition(&web, "Ready", "False", "NoBackends");
}

#[tokio::test(flavor = "multi_thread")]
async fn virtual_nics_serve_by_owner_and_label() {
    let shared = shared().await;
    let world = &shared.world;
    let vnic = |name: &str, spec: &str| {
        format!(
            "---\napiVersion: yusur.io/v1alpha1\nkind: VNic\nmetadata: {{name: {name}, namespace: vnics, labels: {{app: db}}}}\nspec: {{subnet: vnics, {spec}}}\n"
        )
    };
    let backend = |kind: &str| format!("{{kind: {kind}, selector: {{matchLabels: {{app: db}}}}}}");
    let spec = |ip: u8, kinds: &str| {
        format!(
            "clusterIP: 10.96.1.{ip}, ports: [{{port: 5432, targetPort: sql}}], backends: [{kinds}]"
        )
    };
    world.apply(&format!(
        "{}{}{}{}{}{}{}",
        tenant("vnics"),
        vnic(
            "vm",
            "addresses: [10.0.1.20], owner: {kind: VM, name: vm}, ports: [{name: sql, port: 5432}]"
        ),
        vnic(
            "bm",
            "addresses: [10.0.1.21], owner: {kind: BM, name: bm}, ports: [{name: sql, port: 6432}]"
        ),
        vnic(
            "bare",
            "addresses: [10.0.1.22], ports: [{name: sql, port: 7432}]"
        ),
        ysvc("vnics", "vms", "vnics", &spec(1, &backend("VM"))),
        ysvc("vnics", "bms", "vnics", &spec(2, &backend("BM"))),
        ysvc("vnics", "all", "vnics", &spec(3, &backend("VNicIP"))),
    ));
    world
        .until_backends("10.96.1.1:5432", Some("10.0.1.20:5432"))
        .await;
    world
        .until_backends("10.96.1.2:5432", Some("10.0.1.21:6432"))
        .await;
    world
        .until_backends(
            "10.96.1.3:5432",
            Some("10.0.1.20:5432,10.0.1.21:6432,10.0.1.22:7432"),
        )
        .await;
    let vm = path("vnics", "vnics", "vm");
    let object = world.until_condition(&vm, "Ready", "False", "PortDown");
    assert_eq!(object["status"]["addresses"], json!(["10.0.1.20"]));
    let port = object["status"]["logicalPort"]
        .as_str()
        .expect("a port")
        .to_owned();

    // OVN says that the port is up (ovn-northd would).
    let up = Operation::Update {
        table: "Logical_Switch_Port".into(),
        condition: vec![Clause::equal("name", port)],
        row: Row::new().with("up", true),
    };
    world.write(vec![up]).await;
    world.until_condition(&vm, "Ready", "True", "PortUp");

    // A name that means nothing to any backend.
    world.apply(&ysvc(
        "vnics",
        "odd",
        "vnics",
        &spec(4, &backend("VM")).replace("sql", "web"),
    ));
    world.until_condition(
        &service("vnics", "odd"),
        "Ready",
        "False",
        "TargetPortUnknown",
    );
    // What the schema can judge is refused before we ever see it.
    let refused = world.admin.apply(&vnic("worse", "addresses: [10.0.1.300]"));
    assert!(refused.is_err_and(|error| error.to_string().contains("addresses")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_with_the_mend() {
    let shared = shared().await;
    let world = &shared.world;
    let spec = |ip: &str, address: &str| {
        format!(
            "clusterIP: {ip}, ports: [{{port: 80}}], backends: [{{kind: VM, addresses: [{address}]}}]"
        )
    };
    world.apply(&format!("{}{}", tenant("wrong"), namespace("stranger")));
    world.apply(&ysvc(
        "wrong",
        "older",
        "wrong",
        &spec("10.96.2.1", "10.0.1.30"),
    ));
    world
        .until_backends("10.96.2.1:80", Some("10.0.1.30:80"))
        .await;
    // Times of creation are in whole seconds, and of two that are equal the name decides: `older` before `younger`.
    world.apply(&format!(
        "{}{}{}",
        ysvc("wrong", "younger", "wrong", &spec("10.96.2.1", "10.0.1.31")),
        ysvc("stranger", "guest", "wrong", &spec("10.96.2.2", "10.0.1.32")),
        ysvc(
            "wrong",
            "lonely",
            "wrong",
            "clusterIP: 10.96.2.3, publish: {kubernetes: true}, healthCheck: {protocol: TCP}, ports: [{port: 80}], backends: [{kind: Pod, selector: {matchLabels: {app: nobody}}}]"
        ),
    ));
    let younger = service("wrong", "younger");
    world.until_condition(&younger, "Accepted", "False", "VIPConflict");
    world.until_event("wrong", ("Warning", "VIPConflict", "YusurService/younger"));
    let guest = service("stranger", "guest");
    let object = world.until_condition(&guest, "Accepted", "False", "NamespaceNotAllowed");
    let words = condition(&object, "Accepted")["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(words.contains("allowedNamespaces"), "{words}");
    world.until_event(
        "stranger",
        ("Warning", "NamespaceNotAllowed", "YusurService/guest"),
    );
    let lonely = service("wrong", "lonely");
    let object = world.until_condition(&lonely, "Ready", "False", "NoBackends");
    let parts = condition(&object, "NotYetSupported")["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(
        parts.contains("spec.publish.kubernetes") && parts.contains("spec.healthCheck"),
        "{parts}"
    );
    world.until_event(
        "wrong",
        ("Warning", "NotYetSupported", "YusurService/lonely"),
    );
    world.until_backends("10.96.2.2:80", None).await;

    // Each mend works by itself.
    world.delete(&service("wrong", "older"));
    world
        .until_backends("10.96.2.1:80", Some("10.0.1.31:80"))
        .await;
    world.until_condition(&younger, "Ready", "True", "BackendsReady");
    world.apply(&tenant("wrong").replace("names: [wrong]}\n---", "names: [wrong, stranger]}\n---"));
    world
        .until_backends("10.96.2.2:80", Some("10.0.1.32:80"))
        .await;
    world.until_condition(&guest, "Ready", "True", "BackendsReady");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allocated_address_is_recorded_and_kept() {
    let shared = shared().await;
    let world = &shared.world;
    let spec = "ports: [{port: 80}], backends: [{kind: VM, addresses: [10.0.1.40]}]";
    world.apply(&format!(
        "{}{}",
        tenant("auto"),
        ysvc("auto", "web", "auto", spec)
    ));
    let web = service("auto", "web");
    let object = world.until_condition(&web, "Ready", "True", "BackendsReady");
    let ip = object["status"]["clusterIPs"][0]
        .as_str()
        .expect("an address")
        .to_owned();
    assert!(ip.starts_with("10.96."), "{ip}");
    let ours = || {
        rows_of(world, "auto")
            .into_iter()
            .filter(|row| row.starts_with("Load_Balancer ") && row.contains(&format!("{ip}:80")))
            .count()
    };
    world.catch_up().await;
    assert_eq!(ours(), 1);
    world.apply(&ysvc("auto", "web", "auto", &spec.replace(".40", ".41")));
    let object = world.until_condition(&web, "Ready", "True", "BackendsReady");
    assert_eq!(object["status"]["clusterIPs"][0], ip);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_objects_leave_nothing() {
    let shared = shared().await;
    let world = &shared.world;
    let spec = "ports: [{port: 80}], backends: [{kind: Pod, selector: {matchLabels: {app: web}}}]";
    world.apply(&format!(
        "{}{}{}---\napiVersion: yusur.io/v1alpha1\nkind: VNic\nmetadata: {{name: vm, namespace: brief}}\nspec: {{subnet: brief}}\n",
        tenant("brief"),
        ysvc("brief", "web", "brief", spec),
        pod("brief", "web-1", "web", 80),
    ));
    world.report("brief", "web-1", true);
    world.until_condition(&service("brief", "web"), "Ready", "True", "BackendsReady");
    address(world, "vnic/brief/vm").await;
    assert!(
        rows_of(world, "brief").len() >= 6,
        "{:#?}",
        rows_of(world, "brief")
    );
    // The networks first: the rest must not hold them up, nor be held up.
    world.delete("/apis/yusur.io/v1alpha1/vpcs/brief");
    world.delete("/apis/yusur.io/v1alpha1/subnets/brief");
    world.until_condition(&service("brief", "web"), "Accepted", "False", "VpcNotFound");
    world.delete(&service("brief", "web"));
    world.delete(&path("vnics", "brief", "vm"));
    world.delete("/api/v1/namespaces/brief/pods/web-1?gracePeriodSeconds=0");
    world
        .until("nothing is left", |_| rows_of(world, "brief").is_empty())
        .await;
    assert_eq!(world.object(&service("brief", "web")), Value::Null);
    assert_eq!(
        shared
            .controller
            .metric("yusur_controller_held_units{reason=\"refused\"}"),
        0.0
    );
}
