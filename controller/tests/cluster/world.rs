//! A cluster, a Northbound, and any number of controllers between them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ovsdb::model::{Database, Operation};
use ovsdb::{Client, Remote};
use serde_json::{Value, json};
use tempfile::TempDir;
use yusur_testbed::kubernetes::{Access, ControlPlane, User};
use yusur_testbed::ovsdb::{Cluster, Standalone};
use yusur_testbed::process::{PATIENCE, Process, poll, run};
use yusur_testbed::{schemas, scratch};

use crate::common::{Controller, OWNER, Rows, rows, services, until, until_rows, vpc};

/// The Lease's duration in these tests, in seconds: short, so that a crash is soon over, and long enough for a busy
/// machine to renew it.
const LEASE_DURATION: &str = "6";

/// Where the Lease is.
pub(crate) const LEASE: &str =
    "/apis/coordination.k8s.io/v1/namespaces/yusur-system/leases/yusur-controller-yusur";

/// The Northbound's servers.
pub(crate) enum Northbound {
    One(Box<Standalone>),
    Three(Cluster),
}

/// An API server with the definitions and rights of `manifests/`, a Northbound, and an observer of it that takes no part.
pub(crate) struct World {
    pub(crate) kubernetes: ControlPlane,
    pub(crate) admin: Access,
    pub(crate) nb: Northbound,
    pub(crate) observer: Client,
    kubeconfig: PathBuf,
    dir: TempDir,
}

/// What a controller is started with beside the usual.
#[derive(Default)]
pub(crate) struct Start<'a> {
    /// Another way to the Northbound.
    pub(crate) nb_address: Option<String>,
    /// Another duration of the Lease, in seconds.
    pub(crate) lease: Option<&'a str>,
    /// More flags.
    pub(crate) flags: &'a [&'a str],
}

impl World {
    /// One ovsdb-server.
    pub(crate) async fn new() -> Self {
        Self::with(one(), &[]).await
    }

    /// Three ovsdb-servers in a Raft cluster.
    pub(crate) async fn with_three_servers() -> Self {
        let schema = schemas::installed("ovn-nb").expect("a schema");
        let cluster = Cluster::start(3, &schema).expect("three servers");
        Self::with(Northbound::Three(cluster), &[]).await
    }

    /// One ovsdb-server, and an API server with these flags.
    pub(crate) async fn with_flags(flags: &[&str]) -> Self {
        Self::with(one(), flags).await
    }

    async fn with(nb: Northbound, flags: &[&str]) -> Self {
        let user = User::service_account("yusur-system", "yusur-controller");
        let kubernetes =
            ControlPlane::start_with_flags(vec![user.clone()], flags).expect("a control plane");
        let admin = kubernetes.access(&User::admin()).expect("access");
        let manifests = manifests();
        admin
            .apply(&text(&manifests.join("controller/namespace.yaml")))
            .expect("a namespace");
        admin
            .apply_files(&manifests.join("rbac"))
            .expect("the rights");
        kubernetes.install_definitions().expect("the definitions");
        let kubeconfig = kubernetes.kubeconfig(&user).expect("a kubeconfig");
        let observer = Client::builder("OVN_Northbound")
            .remotes(Remote::parse_list(&nb.remotes()).expect("remotes"))
            .everything()
            .backoff(Duration::from_millis(10), Duration::from_millis(100))
            .start()
            .expect("a client");
        assert!(observer.synced().await);
        let world = Self {
            kubernetes,
            admin,
            nb,
            observer,
            kubeconfig,
            dir: scratch::directory("cluster").expect("a directory"),
        };
        world
            .write(vec![Operation::Insert {
                table: "NB_Global".into(),
                uuid: None,
                row: ovsdb::model::Row::new().with("sb_cfg", yusur_testbed::northd::EVERYTHING),
            }])
            .await;
        world
    }

    /// A directory for the test's own files.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts a controller.
    pub(crate) fn start(&self, name: &str) -> Controller {
        self.start_with(name, &Start::default())
    }

    /// Starts a controller in a way of its own.
    pub(crate) fn start_with(&self, name: &str, start: &Start<'_>) -> Controller {
        let remotes = start
            .nb_address
            .clone()
            .unwrap_or_else(|| self.nb.remotes());
        let process = Process::spawn(
            Command::new(env!("CARGO_BIN_EXE_yusur-controller"))
                .arg("--kubeconfig")
                .arg(&self.kubeconfig)
                .args(["--lease-namespace", "yusur-system"])
                .args(["--lease-duration", start.lease.unwrap_or(LEASE_DURATION)])
                .args(["--nb-address", &remotes, "--owner", OWNER])
                .args(["--metrics-address", "127.0.0.1:0"])
                .args(start.flags),
            self.dir.path().join(format!("{name}.log")),
        )
        .expect("the controller");
        Controller { process }
    }

    /// Starts a controller and waits until the Northbound is what the objects mean.
    pub(crate) async fn converged(&self, name: &str) -> Controller {
        let controller = self.start(name);
        controller.says("the Northbound is what the objects mean");
        self.catch_up().await;
        controller
    }

    /// Applies manifests as the administrator.
    pub(crate) fn apply(&self, text: &str) {
        self.admin.apply(text).expect("objects");
    }

    /// Deletes an object.
    pub(crate) fn delete(&self, path: &str) {
        self.admin.delete(path).expect("a deletion");
    }

    /// The object at the path; null where there is none.
    pub(crate) fn object(&self, path: &str) -> Value {
        self.admin
            .get(path)
            .expect("an answer")
            .unwrap_or(Value::Null)
    }

    /// Waits until an object is as wished.
    pub(crate) fn until_object(&self, path: &str, wish: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let done = poll(|| {
            // The API server may be away for a moment.
            last = self.admin.get(path).ok().flatten().unwrap_or(Value::Null);
            Ok(wish(&last))
        });
        assert!(
            done.is_ok(),
            "{path}: not within {PATIENCE:?}; it is {last:#}"
        );
        last
    }

    /// Waits until a condition of an object is as wished, for its newest generation.
    pub(crate) fn until_condition(
        &self,
        path: &str,
        kind: &str,
        status: &str,
        reason: &str,
    ) -> Value {
        self.until_object(path, |object| {
            let condition = condition(object, kind);
            condition["status"] == status
                && condition["reason"] == reason
                && condition["observedGeneration"] == object["metadata"]["generation"]
        })
    }

    /// Reports on a Pod as its kubelet would.
    pub(crate) fn report(&self, namespace: &str, pod: &str, ready: bool) {
        let ready = if ready { "True" } else { "False" };
        let body = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod, "namespace": namespace},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
        });
        self.patch_status(&format!("/api/v1/namespaces/{namespace}/pods/{pod}"), &body);
    }

    /// Writes an object's status.
    pub(crate) fn patch_status(&self, path: &str, body: &Value) {
        let path = format!("{path}/status?fieldManager=test&force=true");
        self.admin
            .request("PATCH", &path, Some(body))
            .and_then(|answer| answer.good(&path))
            .expect("a status");
    }

    /// The Events about objects of a namespace: type, reason and kind/name.
    pub(crate) fn events(&self, namespace: &str) -> Vec<(String, String, String)> {
        let list = self.object(&format!(
            "/apis/events.k8s.io/v1/namespaces/{namespace}/events"
        ));
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let event = |event: &Value| {
            let regarding = &event["regarding"];
            let object = format!("{}/{}", word(&regarding["kind"]), word(&regarding["name"]));
            (word(&event["type"]), word(&event["reason"]), object)
        };
        list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(event)
            .collect()
    }

    /// Waits for an Event.
    pub(crate) fn until_event(&self, namespace: &str, event: (&str, &str, &str)) {
        let mut last = Vec::new();
        let done = poll(|| {
            last = self.events(namespace);
            Ok(last
                .iter()
                .any(|(kind, reason, object)| (&**kind, &**reason, &**object) == event))
        });
        assert!(done.is_ok(), "no {event:?} among {last:#?}");
    }

    /// Who holds the Lease.
    pub(crate) fn holder(&self) -> Option<String> {
        self.object(LEASE)["spec"]["holderIdentity"]
            .as_str()
            .map(str::to_owned)
    }

    /// Waits until a controller is the one that writes; its epoch.
    pub(crate) fn until_leads(&self, controller: &Controller) -> u64 {
        controller.until_metric("yusur_controller_leader", |leads| leads == 1.0);
        // An epoch is far below 2^53.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "see above"
        )]
        let epoch = controller.metric("yusur_controller_epoch") as u64;
        epoch
    }

    /// Writes to the Northbound past every controller.
    pub(crate) async fn write(&self, operations: Vec<Operation>) {
        self.observer
            .transact(operations)
            .await
            .expect("a transaction");
    }

    /// Waits until the observer has seen all that was committed up to now.
    pub(crate) async fn catch_up(&self) {
        // Updates precede the reply to any transaction that follows them.
        self.write(vec![Operation::Comment("catching up".into())])
            .await;
    }

    /// A namespace, a VPC and services in it.
    pub(crate) fn furnish(&self, range: std::ops::Range<usize>) {
        self.apply(&format!(
            "{}{}{}",
            namespace("shop"),
            vpc("red"),
            services("red", range, 0)
        ));
    }

    /// Our rows, as the observer has them.
    pub(crate) fn rows(&self) -> Rows {
        rows(&self.observer.read())
    }

    /// Waits until the Northbound is as wished.
    pub(crate) async fn until(&self, what: &str, wish: impl Fn(&Database) -> bool) {
        until(&self.observer, what, wish).await;
    }

    /// Waits until our rows are exactly these.
    pub(crate) async fn until_rows(&self, what: &str, wanted: &Rows) {
        until_rows(&self.observer, what, wanted).await;
    }

    /// Waits until a VIP has exactly these backends (`None`: no such VIP), whatever their order.
    pub(crate) async fn until_backends(&self, vip: &str, wanted: Option<&str>) {
        let sorted = |list: &str| {
            let mut list: Vec<String> = list.split(',').map(str::to_owned).collect();
            list.sort();
            list.join(",")
        };
        let wanted = wanted.map(sorted);
        self.until(&format!("{vip} has {wanted:?}"), |database| {
            crate::common::backends(&rows(database), vip)
                .as_deref()
                .map(sorted)
                == wanted
        })
        .await;
    }

    /// The epochs of the transactions of controllers in the database's log, in order of commitment.
    pub(crate) fn writers(&self) -> Vec<u64> {
        let Northbound::One(server) = &self.nb else {
            panic!("every member of a cluster has a log of its own");
        };
        let log = run(Command::new("ovsdb-tool")
            .arg("show-log")
            .arg(server.file()))
        .expect("the log");
        log.split("yusur-controller epoch ")
            .skip(1)
            .filter_map(|rest| rest.split('"').next()?.parse().ok())
            .collect()
    }
}

impl Northbound {
    /// Its addresses.
    pub(crate) fn remotes(&self) -> String {
        match self {
            Self::One(server) => server.unix(),
            Self::Three(cluster) => cluster.unix_remotes(),
        }
    }

    /// The only server.
    pub(crate) fn server(&self) -> &Standalone {
        match self {
            Self::One(server) => server,
            Self::Three(_) => panic!("there are three"),
        }
    }

    /// The cluster of three.
    pub(crate) fn cluster(&self) -> &Cluster {
        match self {
            Self::Three(cluster) => cluster,
            Self::One(_) => panic!("there is one"),
        }
    }
}

/// The repository's manifests.
pub(crate) fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests")
}

/// A file's text.
pub(crate) fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A condition of an object; null where it is not there.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == kind)
        .unwrap_or(&Value::Null)
}

/// A namespace's manifest.
pub(crate) fn namespace(name: &str) -> String {
    format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n")
}

/// The path of an object of ours in a namespace.
pub(crate) fn path(plural: &str, namespace: &str, name: &str) -> String {
    format!("/apis/yusur.io/v1alpha1/namespaces/{namespace}/{plural}/{name}")
}

/// The path of a service.
pub(crate) fn service(namespace: &str, name: &str) -> String {
    path("yusurservices", namespace, name)
}

fn one() -> Northbound {
    let schema = schemas::installed("ovn-nb").expect("a schema");
    Northbound::One(Box::new(Standalone::start(&schema).expect("a server")))
}

/// Every row of `before` is there now, and has not been written anew.
pub(crate) fn none_lost(before: &Rows, after: &Rows) {
    for (key, row) in before {
        // A group's members and a router's DNS names follow the services.
        if matches!(
            key.0,
            "Load_Balancer" | "Logical_Switch_Port" | "Logical_Router_Port"
        ) {
            assert_eq!(after.get(key), Some(row), "{key:?}");
        }
    }
}
