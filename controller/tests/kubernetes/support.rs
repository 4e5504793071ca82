//! An API server with the definitions and the rights of `manifests/`, and waiting for what a source tells.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::Client;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use yusur_controller::metrics::{Metrics, Outcome, ResultLabel};
use yusur_controller::source::kubernetes::lease::Options;
use yusur_controller::source::kubernetes::{connect, connect_without_retries};
use yusur_controller::source::{SourceEvent, Sources};
use yusur_controller::status::{Finished, Receipt, StatusQueue, kubernetes};
use yusur_testbed::kubernetes::{Access, ControlPlane, User};

/// How long to wait for what must come. Only bounds a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster, its administrator's hand, and a client with the controller's own rights.
pub(crate) struct Cluster {
    pub(crate) kubernetes: ControlPlane,
    pub(crate) admin: Access,
    pub(crate) client: Client,
    kubeconfig: PathBuf,
}

/// A status writer that runs.
pub(crate) struct Writer {
    pub(crate) queue: StatusQueue,
    receipts: UnboundedReceiver<Receipt>,
    metrics: Metrics,
    task: JoinHandle<()>,
}

impl Writer {
    /// With the controller's own rights.
    pub(crate) async fn start(cluster: &Cluster) -> Self {
        let client = connect_without_retries(Some(&cluster.kubeconfig)).await;
        let (queue, receipts) = StatusQueue::new(kubernetes::INTERVAL);
        let metrics = Metrics::register(&mut Registry::default());
        let task = tokio::spawn(kubernetes::run(
            client.expect("a client"),
            queue.clone(),
            "replica-1".into(),
            Options::new("yusur-system", "yusur", Duration::from_secs(15)).reference(),
            metrics.clone(),
        ));
        Self {
            queue,
            receipts,
            metrics,
            task,
        }
    }

    /// The next write that has ended.
    pub(crate) async fn receipt(&mut self) -> Receipt {
        timeout(PATIENCE, self.receipts.recv())
            .await
            .expect("it ends")
            .expect("the queue goes on")
    }

    /// How the next one has ended.
    pub(crate) async fn finished(&mut self) -> Finished {
        self.receipt().await.end
    }

    /// How many attempts have ended so.
    pub(crate) fn attempts(&self, result: Outcome) -> u64 {
        let label = ResultLabel { result };
        self.metrics.status_writes.get_or_create(&label).get()
    }

    /// Writes what is left, and ends.
    pub(crate) async fn stop(self) {
        self.queue.close();
        timeout(PATIENCE, self.task)
            .await
            .expect("it ends with the queue")
            .expect("it ends well");
    }
}

impl Cluster {
    /// With the definitions installed, or without.
    pub(crate) async fn start(definitions: bool) -> Self {
        let user = User::service_account("yusur-system", "yusur-controller");
        let kubernetes = ControlPlane::start_with(vec![user.clone()]).expect("a control plane");
        let admin = kubernetes.access(&User::admin()).expect("access");
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
        let namespace = std::fs::read_to_string(manifests.join("controller/namespace.yaml"))
            .expect("the namespace");
        admin.apply(&namespace).expect("a namespace");
        admin
            .apply_files(&manifests.join("rbac"))
            .expect("the rights");
        if definitions {
            kubernetes.install_definitions().expect("the definitions");
        }
        let kubeconfig = kubernetes.kubeconfig(&user).expect("a kubeconfig");
        let client = connect(Some(&kubeconfig)).await.expect("a client");
        Self {
            kubernetes,
            admin,
            client,
            kubeconfig,
        }
    }
}

/// A Vpc's manifest.
pub(crate) fn vpc(name: &str, spec: &str) -> String {
    format!("apiVersion: yusur.io/v1alpha1\nkind: Vpc\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

/// Takes events until one is what `wanted` returns something for.
pub(crate) async fn event<T>(
    sources: &mut Sources,
    what: &str,
    mut wanted: impl FnMut(SourceEvent) -> Option<T>,
) -> T {
    let waiting = async {
        loop {
            let event = sources.events.recv().await.expect("the source goes on");
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    };
    timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("never told: {what}"))
}

/// Waits until `check` finds what it looks for, which another process brings about.
pub(crate) async fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = check() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("never so: {what}"))
}

/// A list's items.
pub(crate) fn items(list: &Value) -> Vec<Value> {
    list["items"].as_array().cloned().unwrap_or_default()
}
