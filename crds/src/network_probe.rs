//! NetworkProbe: one health probe of one backend, made by the controller and run by a node's agent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{BackendKind, Condition, Time};

/// What a NetworkProbe is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "kube", derive(kube::CustomResource))]
#[cfg_attr(
    feature = "kube",
    kube(
        group = "yusur.io",
        version = "v1alpha1",
        kind = "NetworkProbe",
        plural = "networkprobes",
        shortname = "ynp",
        category = "yusur",
        namespaced,
        status = "NetworkProbeStatus",
        derive = "PartialEq",
        doc = "A NetworkProbe asks one backend, from inside its Vpc, whether it answers. The controller makes one for each backend and probe definition and removes it when no service needs it; services that probe the same backend in the same way share it.",
        selectable = ".spec.node",
        printcolumn(name = "Target", type_ = "string", json_path = ".spec.target.name"),
        printcolumn(name = "Address", type_ = "string", json_path = ".spec.target.address"),
        printcolumn(name = "Protocol", type_ = "string", json_path = ".spec.protocol"),
        printcolumn(name = "Port", type_ = "integer", json_path = ".spec.port"),
        printcolumn(
            name = "Node",
            type_ = "string",
            json_path = ".spec.node",
            priority = 1
        ),
        printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
        printcolumn(name = "Since", type_ = "date", json_path = ".status.since"),
        printcolumn(
            name = "RTT (us)",
            type_ = "integer",
            json_path = ".status.roundTripMicroseconds",
            description = "Round-trip time of the last answer, in microseconds",
            priority = 1
        ),
        printcolumn(
            name = "Message",
            type_ = "string",
            json_path = ".status.lastResult.message",
            priority = 1
        ),
        printcolumn(
            name = "Age",
            type_ = "date",
            json_path = ".metadata.creationTimestamp"
        ),
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "self.protocol == 'ICMP' ? !has(self.port) : has(self.port)",
        "message": "port is needed for TCP, UDP and HTTP, and has no meaning for ICMP",
    },
    {
        "rule": "self.protocol == 'HTTP' || (!has(self.path) && !has(self.host))",
        "message": "path and host need protocol: HTTP",
    },
    {
        "rule": "self.timeoutSeconds <= self.intervalSeconds",
        "message": "timeoutSeconds must not be longer than intervalSeconds",
    },
]))]
pub struct NetworkProbeSpec {
    /// The backend to ask. Cannot be changed.
    #[schemars(extend("x-kubernetes-validations" = [
        {"rule": "self == oldSelf", "message": "target cannot be changed: make another NetworkProbe"},
    ]))]
    pub target: ProbeTarget,
    /// How to ask: TCP connects, UDP sends a datagram and takes silence for health, HTTP wants a status from 200 to 399, ICMP echoes.
    pub protocol: ProbeProtocol,
    /// Port to ask, for TCP, UDP and HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// Path of the HTTP request. Default: /.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = r"^/[!-~]*$"))]
    pub path: Option<String>,
    /// Host header of the HTTP request. Default: the backend's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[!-~]+$"))]
    pub host: Option<String>,
    /// Seconds from one attempt to the next. Default: 5.
    #[serde(default = "interval")]
    #[schemars(range(min = 1, max = 3600))]
    pub interval_seconds: i32,
    /// Seconds after which an attempt without an answer has failed; not longer than the interval. Default: 3.
    #[serde(default = "timeout")]
    #[schemars(range(min = 1, max = 3600))]
    pub timeout_seconds: i32,
    /// Successes in a row after which an unhealthy backend is healthy. Default: 1.
    #[serde(default = "success_threshold")]
    #[schemars(range(min = 1, max = 100))]
    pub success_threshold: i32,
    /// Failures in a row after which a healthy backend is unhealthy. Default: 3.
    #[serde(default = "failure_threshold")]
    #[schemars(range(min = 1, max = 100))]
    pub failure_threshold: i32,
    /// Node whose agent runs the probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub node: Option<String>,
}

pub(crate) fn interval() -> i32 {
    5
}
pub(crate) fn timeout() -> i32 {
    3
}
pub(crate) fn success_threshold() -> i32 {
    1
}
pub(crate) fn failure_threshold() -> i32 {
    3
}

/// How a probe asks.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum ProbeProtocol {
    /// A connection is made, and closed.
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    /// A datagram is sent; only an ICMP error is a failure.
    #[serde(rename = "UDP")]
    Udp,
    /// A GET request is answered with a status from 200 to 399.
    #[serde(rename = "HTTP")]
    Http,
    /// An echo request is answered.
    #[serde(rename = "ICMP")]
    Icmp,
}

/// The backend a probe asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProbeTarget {
    /// Kind of backend.
    pub kind: BackendKind,
    /// Name of the backend's object, in the probe's namespace: a Pod for kind Pod, else a VNic. Absent for a backend named by its address only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
    /// Address to ask, in the Vpc.
    #[schemars(length(max = 39), extend("x-kubernetes-validations" = [
        {
            "rule": "isIP(self) && ip(self).isGlobalUnicast()",
            "message": "address must be a unicast IP address, such as 10.0.1.7",
        },
    ]))]
    pub address: String,
    /// Vpc the address lies in.
    #[schemars(length(min = 1, max = 253))]
    pub vpc: String,
    /// Subnet the address lies in, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub subnet: Option<String>,
}

/// What a NetworkProbe has found, written by the agent that runs it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkProbeStatus {
    /// The `metadata.generation` this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted and Ready, with reason and message. Ready means the probe runs, whatever it finds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Whether the backend answers. Until there is a result it counts as healthy.
    #[serde(default)]
    pub state: ProbeState,
    /// When `state` last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The last attempt that changed something: an outcome or a message other than the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_result: Option<ProbeResult>,
    /// Round-trip time of the last answer reported, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_microseconds: Option<i64>,
}

/// Whether a probed backend answers.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum ProbeState {
    /// No result yet.
    #[default]
    Unknown,
    /// It answers.
    Healthy,
    /// It does not answer, or answers wrongly.
    Unhealthy,
}

/// Outcome of one attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProbeResult {
    /// When the attempt ended.
    pub time: Time,
    /// Whether it succeeded.
    pub success: bool,
    /// What came back, such as `connection refused` or `HTTP 503`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}
