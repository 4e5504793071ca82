//! Puts the parts together and runs them until the process is told to stop.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ovsdb::{Client, Remote, TlsOptions};
use prometheus_client::registry::Registry;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};
use uuid::Uuid;

use crate::cli::{self, Cli};
use crate::engine::{self, Authority, Engine, Parts};
use crate::http::{HealthProbe, Server};
use crate::leadership::{self, Leadership};
use crate::metrics::Metrics;
use crate::source::Sources;
use crate::source::kubernetes::{self, Kubernetes, lease};
use crate::source::manifests::{self, Manifests, Records};
use crate::southbound;
use crate::status::{self, StatusQueue, directory};

/// How long what is still to be written about status may take when the process is told to stop.
const FAREWELL: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT, on a runtime of its own.
///
/// # Errors
/// When the flags cannot be carried out, or a part fails for good.
pub fn blocking(cli: Cli) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // The engine, the Northbound's session and the source; more threads would only wait for one another.
        .worker_threads(2)
        .thread_name("yusur")
        .enable_all()
        .build()
        .context("no runtime")?;
    let result = runtime.block_on(async {
        let stop = stop_signal()?;
        // On a thread of the runtime: what wakes the engine is on one too, and need not wake another.
        tokio::spawn(run(cli, stop))
            .await
            .context("the controller panicked")?
    });
    // What still runs is waiting for something that nobody needs any more.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Runs until `stop` becomes true.
///
/// # Errors
/// As [`blocking`].
pub async fn run(cli: Cli, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let planner = yusur_planner::Config {
        northd: Some(Uuid::new_v4()),
        ..cli.install.planner().map_err(anyhow::Error::msg)?
    };
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let (probe, health) = HealthProbe::new();
    let server = Server::bind(cli.operation.metrics_address, Arc::new(registry), probe).await?;
    let owner = cli.install.owner.clone();
    info!(version = env!("CARGO_PKG_VERSION"), owner, "starting");

    let builder = connect("OVN_Northbound", "--nb-address", cli.northbound.remote())?;
    let client = engine::northbound(builder, &owner)
        .start()
        .context("the Northbound")?;
    let (serves, serving) = tokio::sync::watch::channel(southbound::Serving::new());
    let southbound = match cli.southbound.remote() {
        Some(remote) => {
            let builder = connect("OVN_Southbound", "--sb-address", remote)?;
            let client = southbound::tables(builder)
                .start()
                .context("the Southbound")?;
            tokio::spawn(southbound::run(
                client.clone(),
                owner.clone(),
                metrics.clone(),
                serves,
            ));
            Some(client)
        }
        None => None,
    };
    // Files can be written as often as there is something to say.
    let interval = match cli.source.manifests {
        Some(_) => Duration::ZERO,
        None => status::kubernetes::INTERVAL,
    };
    let (status, receipts) = StatusQueue::new(interval);
    let origin = match &cli.source.manifests {
        Some(directory) => from_manifests(directory, &cli, &client, &status, &metrics)?,
        None => from_kubernetes(&cli, &status, &metrics).await?,
    };

    let engine = Engine::new(Parts {
        authority: origin.authority,
        client: client.clone(),
        sources: origin.sources,
        status: status.clone(),
        receipts,
        health,
        metrics,
        planner,
        southbound: southbound.clone(),
        serving,
        allow_mass_deletion: cli.source.allow_mass_deletion,
    });
    let served = tokio::spawn(server.serve(stopped(stop.clone())));
    let result = engine.run(stopped(stop)).await;
    drop(origin.source);
    status.close();
    let told = tokio::time::timeout(FAREWELL, origin.writer).await;
    if told.is_err() {
        warn!(
            "stopping with {} status writes undone; the next start makes up for them",
            status.len()
        );
    }
    if let Some(election) = origin.election {
        election.leave().await;
    }
    client.close().await;
    if let Some(southbound) = southbound {
        southbound.close().await;
    }
    // Its only errors are those of a socket that is going away.
    served.abort();
    info!("stopped");
    result
}

/// Where objects come from, who elects there, and where their status goes.
struct Origin {
    sources: Sources,
    /// The running source; dropped, it stops.
    source: Source,
    authority: Authority,
    election: Option<Election>,
    /// Ends once the queue of status writes is closed and empty.
    writer: JoinHandle<()>,
}

/// A part in the election. It is kept until all status is written: who comes next must not be overwritten by us.
struct Election {
    leadership: Leadership,
    /// Ends once nobody has an end of the leadership any more.
    elector: JoinHandle<()>,
}

/// A running source.
#[expect(dead_code, reason = "held only to be dropped")]
enum Source {
    Manifests(Manifests),
    Kubernetes(Kubernetes),
}

/// Objects from a directory; an OVSDB lock elects.
fn from_manifests(
    directory: &Path,
    cli: &Cli,
    client: &Client,
    status: &StatusQueue,
    metrics: &Metrics,
) -> anyhow::Result<Origin> {
    manifests::exists(directory)?;
    let kept = cli
        .source
        .manifests_status
        .clone()
        .unwrap_or_else(|| directory.join(manifests::STATUS_DIRECTORY));
    let records = Records::open(&kept, directory).with_context(|| {
        format!(
            "{} cannot be written; name another by --manifests-status",
            kept.display()
        )
    })?;
    let options = manifests::Options {
        directory: directory.to_owned(),
        rescan: Duration::from_secs(cli.source.manifests_rescan),
    };
    let (source, sources) = Manifests::start(options, records.clone())?;
    let writer = tokio::spawn(directory::run(status.clone(), records, metrics.clone()));
    Ok(Origin {
        sources,
        source: Source::Manifests(source),
        authority: Authority::lock(client, &cli.install.owner),
        election: None,
        writer,
    })
}

/// Objects from the Kubernetes API; a Lease elects.
async fn from_kubernetes(
    cli: &Cli,
    status: &StatusQueue,
    metrics: &Metrics,
) -> anyhow::Result<Origin> {
    let owner = &cli.install.owner;
    let client = kubernetes::connect(cli.source.kubeconfig.as_deref()).await?;
    let namespace = cli.source.lease_namespace.as_deref();
    let options = lease::Options::new(
        namespace.unwrap_or(client.default_namespace()),
        owner,
        Duration::from_secs(cli.source.lease_duration),
    );
    let (elector, leadership) = leadership::channel();
    let (source, sources) = Kubernetes::start(&client);
    let writer = tokio::spawn(status::kubernetes::run(
        kubernetes::connect_without_retries(cli.source.kubeconfig.as_deref()).await?,
        status.clone(),
        options.identity.clone(),
        options.reference(),
        metrics.clone(),
    ));
    let elector = tokio::spawn(lease::run(client, options, elector));
    Ok(Origin {
        sources,
        source: Source::Kubernetes(source),
        authority: Authority::lease(leadership.clone(), owner),
        election: Some(Election {
            leadership,
            elector,
        }),
        writer,
    })
}

impl Election {
    /// Gives the Lease back, so that the next one need not wait for its end.
    async fn leave(self) {
        drop(self.leadership);
        if tokio::time::timeout(FAREWELL, self.elector).await.is_err() {
            warn!("stopping without giving the Lease back; it ends by itself");
        }
    }
}

/// A client's builder for one of the databases; `flag` is that of its address.
///
/// # Errors
/// When the addresses cannot be read, or ask for TLS without saying whom to trust.
pub fn connect(
    database: &'static str,
    flag: &str,
    remote: cli::Remote<'_>,
) -> anyhow::Result<ovsdb::Builder> {
    let remotes =
        Remote::parse_list(&remote.addresses.join(",")).with_context(|| flag.to_owned())?;
    let mut builder = Client::builder(database).remotes(remotes.iter().cloned());
    match remote.ca_cert {
        Some(ca) => {
            let (certificate, private_key) = remote.identity.unzip();
            builder = builder.tls(TlsOptions {
                ca_certificate: ca.to_owned(),
                certificate: certificate.map(ToOwned::to_owned),
                private_key: private_key.map(ToOwned::to_owned),
                verify_name: false,
            });
        }
        None if remotes.iter().any(Remote::is_tls) => {
            let prefix = flag.trim_end_matches("address");
            bail!("{flag} names an ssl: remote; say by {prefix}ca-cert whom to trust");
        }
        None => {}
    }
    Ok(builder)
}

/// Becomes true at SIGTERM or SIGINT. A second one ends the process at once.
fn stop_signal() -> anyhow::Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        let signal = heard(&mut terminate, &mut interrupt).await;
        info!(signal, "stopping; once more to stop at once");
        sender.send_replace(true);
        // A supervisor may signal both the process and its group: that is one wish, not two.
        let first = Instant::now();
        let mut second = heard(&mut terminate, &mut interrupt).await;
        while first.elapsed() < Duration::from_secs(1) {
            second = heard(&mut terminate, &mut interrupt).await;
        }
        warn!(signal = second, "stopping at once");
        std::process::exit(1);
    });
    Ok(receiver)
}

/// The next signal's name.
async fn heard(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// Resolves once `stop` is true, or its sender is gone.
async fn stopped(mut stop: watch::Receiver<bool>) {
    // Without a sender nobody can ask any more.
    let _ = stop.wait_for(|stop| *stop).await;
}
