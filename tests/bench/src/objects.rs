//! The objects: one Vpc, one Subnet, and services with two endpoints each, which name addresses or select Pods.
//!
//! Pods look as a Deployment's do when they run, managed fields included, so that reading them costs what it costs.

use std::net::Ipv4Addr;

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::api::Request;

/// Namespaces that the objects are spread over.
pub(crate) const NAMESPACES: usize = 50;

/// Where the services are.
pub(crate) const SERVICES: &str = "/apis/yusur.io/v1alpha1/yusurservices";
/// Where the Pods are.
pub(crate) const PODS: &str = "/api/v1/pods";

/// What the services' backends are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backends {
    /// Two addresses that the service names.
    Addresses,
    /// Two Pods that it selects by label.
    Pods,
}

impl Backends {
    /// For the report.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Addresses => "addresses",
            Self::Pods => "Pods",
        }
    }
}

/// The resources that a controller lists, largest first.
pub(crate) const LISTED: [&str; 10] = [
    PODS,
    SERVICES,
    "/apis/yusur.io/v1alpha1/vpcs",
    "/apis/yusur.io/v1alpha1/subnets",
    "/apis/yusur.io/v1alpha1/vnics",
    "/apis/yusur.io/v1alpha1/eipgateways",
    "/apis/yusur.io/v1alpha1/eips",
    "/apis/yusur.io/v1alpha1/networkprobes",
    "/api/v1/namespaces",
    "/api/v1/nodes",
];

fn namespace(at: usize) -> String {
    format!("team-{:02}", at % NAMESPACES)
}

fn create(path: String, body: Value) -> Request {
    Request {
        method: "POST",
        path: format!("{path}?fieldManager=bench"),
        body,
    }
}

/// Namespaces, the Vpc, the Subnet.
pub(crate) fn topology() -> Vec<Request> {
    let namespaces = (0..NAMESPACES).map(|at| {
        let body =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace(at)}});
        create("/api/v1/namespaces".to_owned(), body)
    });
    let vpc = json!({
        "apiVersion": "yusur.io/v1alpha1", "kind": "Vpc", "metadata": {"name": "bench"},
        "spec": {"serviceCIDRs": ["10.96.0.0/12"], "allowedNamespaces": {"from": "All"}},
    });
    let subnet = json!({
        "apiVersion": "yusur.io/v1alpha1", "kind": "Subnet", "metadata": {"name": "bench"},
        "spec": {"vpc": "bench", "cidrs": ["10.0.0.0/12"], "defaultForNamespaces": {"from": "All"}},
    });
    let ours = [
        create("/apis/yusur.io/v1alpha1/vpcs".to_owned(), vpc),
        create("/apis/yusur.io/v1alpha1/subnets".to_owned(), subnet),
    ];
    namespaces.chain(ours).collect()
}

/// Makes the service `at`, its cluster address given.
pub(crate) fn service(at: usize, backends: Backends) -> Request {
    let name = format!("service-{at}");
    let vip = Ipv4Addr::from(0x0a60_0001_u32 + u32::try_from(at).unwrap_or(u32::MAX));
    let body = json!({
        "apiVersion": "yusur.io/v1alpha1", "kind": "YusurService",
        "metadata": {"name": name, "namespace": namespace(at), "labels": {"app": format!("app-{at}")}},
        "spec": {
            "vpc": "bench",
            "clusterIP": vip.to_string(),
            "ports": [{"port": 80, "targetPort": 8080}],
            "backends": [backend(at, backends, 0)],
        },
    });
    create(
        format!(
            "/apis/yusur.io/v1alpha1/namespaces/{}/yusurservices",
            namespace(at)
        ),
        body,
    )
}

fn backend(at: usize, backends: Backends, turn: usize) -> Value {
    match backends {
        Backends::Addresses => {
            let at = u32::try_from(at).unwrap_or(u32::MAX);
            let first = Ipv4Addr::from(0x0ac8_0000_u32 + at);
            let second =
                Ipv4Addr::from(0x0ad0_0000_u32 + at * 8 + u32::try_from(turn % 8).unwrap_or(0));
            json!({"kind": "VM", "addresses": [first.to_string(), second.to_string()]})
        }
        Backends::Pods => {
            json!({"kind": "Pod", "selector": {"matchLabels": {"app": format!("app-{at}")}}})
        }
    }
}

/// The Pods of the service `at`, not yet running.
pub(crate) fn pods(at: usize) -> impl Iterator<Item = Request> {
    (0..2).map(move |which| {
        let body = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": pod_name(at, which), "namespace": namespace(at),
                "labels": {"app": format!("app-{at}"), "tier": "front", "pod-template-hash": format!("{:08x}", at * 31)},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("app-{at}"),
                    "uid": "7d0a3f3c-1c7c-4a51-9c2e-0f2f4a5b6c7d", "controller": true, "blockOwnerDeletion": true}],
            },
            "spec": {
                "nodeName": format!("node-{:03}", at % 100),
                "containers": [{
                    "name": "web", "image": "registry.example.org/team/web:1.27.3",
                    "ports": [{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}],
                    "env": [{"name": "MODE", "value": "production"}, {"name": "LEVEL", "value": "info"}],
                    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 5},
                    "livenessProbe": {"httpGet": {"path": "/live", "port": 8080}, "periodSeconds": 10},
                    "volumeMounts": [{"name": "config", "mountPath": "/etc/web"}],
                }],
                "volumes": [{"name": "config", "configMap": {"name": "web"}}],
            },
        });
        create(format!("/api/v1/namespaces/{}/pods", namespace(at)), body)
    })
}

/// Makes both Pods of the service `at` run.
pub(crate) fn running(at: usize) -> impl Iterator<Item = Request> {
    (0..2).map(move |which| ready(at, which, true))
}

fn pod_name(at: usize, which: usize) -> String {
    format!("app-{at}-{:08x}-{which}", at * 31)
}

fn ready(at: usize, which: usize, ready: bool) -> Request {
    let status = if ready { "True" } else { "False" };
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "lastTransitionTime": "2026-01-02T03:04:05Z"});
    Request {
        method: "PATCH",
        path: format!(
            "/api/v1/namespaces/{}/pods/{}/status?fieldManager=bench",
            namespace(at),
            pod_name(at, which)
        ),
        body: json!({"status": {
            "phase": "Running",
            "conditions": [
                condition("PodReadyToStartContainers", "True"), condition("Initialized", "True"),
                condition("Ready", status), condition("ContainersReady", status), condition("PodScheduled", "True"),
            ],
            "hostIP": "192.0.2.7", "startTime": "2026-01-02T03:04:05Z",
            "containerStatuses": [{"name": "web", "image": "registry.example.org/team/web:1.27.3",
                "imageID": "registry.example.org/team/web@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                "containerID": "containerd://0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                "ready": ready, "started": true, "restartCount": 0,
                "state": {"running": {"startedAt": "2026-01-02T03:04:05Z"}}}],
        }}),
    }
}

/// Takes from the service `at` what it was told.
pub(crate) fn untold(at: usize) -> Request {
    Request {
        method: "PATCH",
        path: format!(
            "/apis/yusur.io/v1alpha1/namespaces/{}/yusurservices/service-{at}/status?fieldManager=bench",
            namespace(at)
        ),
        body: json!({"status": null}),
    }
}

/// Changes one endpoint of the service `at`; each `turn` finds it otherwise than the one before.
pub(crate) fn change(at: usize, backends: Backends, turn: usize) -> Request {
    match backends {
        Backends::Addresses => Request {
            method: "PATCH",
            path: format!(
                "/apis/yusur.io/v1alpha1/namespaces/{}/yusurservices/service-{at}?fieldManager=bench",
                namespace(at)
            ),
            body: json!({"spec": {"backends": [backend(at, backends, turn)]}}),
        },
        Backends::Pods => ready(at, 1, turn.is_multiple_of(2)),
    }
}
