//! `/metrics`, `/healthz` and `/readyz`.
//!
//! Liveness is not a flag somebody forgot to clear: the engine itself is asked and has to answer. Readiness lists each
//! check with its reason, so that a person who asks with curl learns what is missing.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tracing::info;

use crate::metrics;

/// How long the engine may take to answer before it counts as stuck. It never blocks, so a late answer means a loop
/// that hangs; the generosity is for machines that swap.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the engine answers when asked how it is.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// What must hold before this replica counts as ready.
    pub checks: Vec<Check>,
}

/// One thing that must hold.
#[derive(Debug, Clone)]
pub struct Check {
    /// One word or two.
    pub name: &'static str,
    /// `Err` says what is missing.
    pub state: Result<(), String>,
    /// Whether this replica is not ready without it.
    pub required: bool,
}

/// The engine's end is the receiver; every request is answered through its sender.
pub type HealthRequests = mpsc::Receiver<oneshot::Sender<Health>>;

/// The server's end.
#[derive(Debug, Clone)]
pub struct HealthProbe(mpsc::Sender<oneshot::Sender<Health>>);

/// What the handlers share.
#[derive(Debug, Clone)]
struct Shared {
    registry: Arc<Registry>,
    probe: HealthProbe,
}

// === impl HealthProbe ===

impl HealthProbe {
    /// A probe and the end that answers it.
    pub fn new() -> (Self, HealthRequests) {
        let (sender, receiver) = mpsc::channel(4);
        (Self(sender), receiver)
    }

    /// Asks the engine.
    async fn ask(&self) -> Result<Health, &'static str> {
        let (sender, receiver) = oneshot::channel();
        let answer = async {
            self.0
                .send(sender)
                .await
                .map_err(|_| "the engine has stopped")?;
            receiver.await.map_err(|_| "the engine has stopped")
        };
        tokio::time::timeout(PATIENCE, answer)
            .await
            .unwrap_or(Err("the engine does not answer"))
    }
}

/// A server bound to its address but not yet serving, so that a taken port is told before anything else starts.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    router: Router,
}

// === impl Server ===

impl Server {
    /// Binds `address`.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(
        address: SocketAddr,
        registry: Arc<Registry>,
        probe: HealthProbe,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("--metrics-address {address} cannot be bound; is another controller running?")
        })?;
        let router = Router::new()
            .route("/metrics", get(serve_metrics))
            .route("/healthz", get(serve_healthz))
            .route("/readyz", get(serve_readyz))
            .with_state(Shared { registry, probe });
        Ok(Self { listener, router })
    }

    /// The address bound, with the port the system chose where 0 was asked for.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Serves until `stop` resolves.
    ///
    /// # Errors
    /// When accepting connections fails for good.
    pub async fn serve(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        info!(address = %self.address()?, "serving /metrics, /healthz and /readyz");
        axum::serve(self.listener, self.router)
            .with_graceful_shutdown(stop)
            .await?;
        Ok(())
    }
}

async fn serve_metrics(State(shared): State<Shared>) -> impl IntoResponse {
    match metrics::encode(&shared.registry) {
        Ok(body) => (
            StatusCode::OK,
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            body,
        )
            .into_response(),
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "a metric could not be formatted\n",
        )
            .into_response(),
    }
}

async fn serve_healthz(State(shared): State<Shared>) -> impl IntoResponse {
    match shared.probe.ask().await {
        Ok(_) => (StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn serve_readyz(State(shared): State<Shared>) -> impl IntoResponse {
    match shared.probe.ask().await {
        Ok(health) => render(&health),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

/// In the form the Kubernetes components use.
fn render(health: &Health) -> (StatusCode, String) {
    let mut body = String::new();
    let mut ready = true;
    for check in &health.checks {
        let name = check.name;
        // Writing to a String cannot fail.
        let _ = match &check.state {
            Ok(()) => writeln!(body, "[+]{name} ok"),
            Err(reason) if !check.required => {
                writeln!(body, "[!]{name} failed, and is not waited for: {reason}")
            }
            Err(reason) => {
                ready = false;
                writeln!(body, "[-]{name} failed: {reason}")
            }
        };
    }
    body.push_str(if ready { "ready\n" } else { "not ready\n" });
    (
        if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        },
        body,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_names_what_is_missing() {
        let good = Check {
            name: "northbound",
            state: Ok(()),
            required: true,
        };
        let bad = Check {
            name: "sources",
            state: Err("waiting for Pod".into()),
            required: true,
        };
        let optional = Check {
            name: "southbound",
            state: Err("closed".into()),
            required: false,
        };
        assert_eq!(
            render(&Health {
                checks: vec![good.clone()]
            }),
            (StatusCode::OK, "[+]northbound ok\nready\n".into())
        );
        let (status, body) = render(&Health {
            checks: vec![good.clone(), optional],
        });
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            body,
            "[+]northbound ok\n[!]southbound failed, and is not waited for: closed\nready\n"
        );
        let (status, body) = render(&Health {
            checks: vec![good, bad],
        });
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            body,
            "[+]northbound ok\n[-]sources failed: waiting for Pod\nnot ready\n"
        );
    }

    #[tokio::test]
    async fn a_stopped_engine_is_not_alive() {
        let (probe, requests) = HealthProbe::new();
        drop(requests);
        assert_eq!(probe.ask().await.unwrap_err(), "the engine has stopped");
    }
}
