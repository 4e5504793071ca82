//! The Lease that elects one writer among several replicas (coordination.k8s.io/v1), and the epoch it gives.
//!
//! The rules are those of Kubernetes' own components (client-go's leaderelection): whoever holds the Lease renews it;
//! who sees it unrenewed for its whole duration, by a clock of its own, takes it. What differs is that
//! `leaseTransitions` grows with *every* taking, so that it is an epoch: no two holders ever have the same, not even two
//! runs of one process. All writes name the resource version they follow, so that of two takers one wins.
//!
//! A holder that was stopped too long may still believe itself the leader; the fence in the Northbound is what refuses
//! its writes (decision 6).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::{Client, Error};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use crate::leadership::{Elector, Role};

/// Which Lease, and how patiently.
#[derive(Debug, Clone)]
pub struct Options {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// What names this run of this process, and no other.
    pub identity: String,
    /// How long a Lease that is not renewed stands.
    pub duration: Duration,
    /// How long the holder tries to renew before it gives up; shorter than `duration`.
    pub deadline: Duration,
    /// How long between two looks or renewals.
    pub period: Duration,
}

/// What this process knows of the Lease.
struct Election {
    api: Api<Lease>,
    options: Options,
    /// The Lease as another holder last wrote it, and when that was first seen, by our clock.
    other: Option<(LeaseSpec, Instant)>,
    /// What we hold, as far as we know.
    held: Option<Held>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    epoch: i32,
    /// When the last renewal that succeeded began.
    renewed: Instant,
}

/// Takes part in the election until the engine goes, and gives the Lease back then.
pub async fn run(client: Client, options: Options, elector: Elector) {
    let period = options.period;
    let mut election = Election::new(client, options);
    let mut told = None;
    loop {
        let role = election.step().await;
        if told != Some(role) {
            election.log(told, role);
            elector.announce(role);
            told = Some(role);
        }
        tokio::select! {
            () = sleep(period) => {}
            () = elector.doubted() => {
                info!("a write was refused because another process writes; looking at the Lease");
                // Whatever it says now is news to the engine, even the same.
                told = None;
            }
            () = elector.closed() => {
                election.release().await;
                return;
            }
        }
    }
}

// === impl Options ===

impl Options {
    /// A Lease that stands for `duration`. The rest is in proportion to what Kubernetes' own components have: 15
    /// seconds, 10 to renew it, a look every 2; but never less often, so that a Lease that is given back is soon taken.
    pub fn new(namespace: impl Into<String>, owner: &str, duration: Duration) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        // Host, process and moment: the same Pod started again is another holder.
        let identity = format!(
            "{}_{}_{:x}",
            host.trim(),
            std::process::id(),
            since.as_nanos()
        );
        Self {
            namespace: namespace.into(),
            name: format!("yusur-controller-{owner}"),
            identity,
            duration,
            deadline: duration * 2 / 3,
            period: (duration * 2 / 15).min(Duration::from_secs(2)),
        }
    }

    /// The Lease, for Events about the controller: the one object all replicas have in common.
    pub fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some("coordination.k8s.io/v1".to_owned()),
            kind: Some("Lease".to_owned()),
            namespace: Some(self.namespace.clone()),
            name: Some(self.name.clone()),
            ..ObjectReference::default()
        }
    }
}

// === impl Election ===

impl Election {
    fn new(client: Client, options: Options) -> Self {
        let api = Api::namespaced(client, &options.namespace);
        Self {
            api,
            options,
            other: None,
            held: None,
        }
    }

    /// Looks, and takes or renews the Lease where that is to be done.
    async fn step(&mut self) -> Role {
        let began = Instant::now();
        match timeout(self.patience(), self.attempt(began)).await {
            Ok(Ok(())) => {}
            // Another was faster; the next look tells who.
            Ok(Err(error)) if conflict(&error) => debug!(%error, "the Lease has changed meanwhile"),
            Ok(Err(error)) => {
                warn!(lease = self.options.name, %error, "the Lease cannot be read or written; trying again");
            }
            Err(_) => warn!(
                lease = self.options.name,
                "the API server does not answer about the Lease"
            ),
        }
        match self.held {
            Some(held) if held.renewed.elapsed() < self.options.deadline => Role::Leader {
                epoch: held.epoch.unsigned_abs().into(),
            },
            _ => {
                self.held = None;
                Role::Standby
            }
        }
    }

    /// How long an attempt may take: not beyond the moment at which we must stop believing.
    fn patience(&self) -> Duration {
        let half = self.options.deadline / 2;
        match self.held {
            Some(held) => half.min(self.options.deadline.saturating_sub(held.renewed.elapsed())),
            None => half,
        }
    }

    async fn attempt(&mut self, began: Instant) -> Result<(), Error> {
        let Some(lease) = self.api.get_opt(&self.options.name).await? else {
            let spec = self
                .taken(first_epoch().max(self.held.map_or(0, |held| held.epoch.saturating_add(1))));
            let metadata = ObjectMeta {
                name: Some(self.options.name.clone()),
                ..ObjectMeta::default()
            };
            let lease = self
                .api
                .create(
                    &PostParams::default(),
                    &Lease {
                        metadata,
                        spec: Some(spec),
                    },
                )
                .await?;
            self.hold(&lease, began);
            return Ok(());
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let next = match spec.holder_identity.as_deref().unwrap_or_default() {
            holder if holder == self.options.identity => LeaseSpec {
                renew_time: Some(MicroTime(Timestamp::now())),
                ..spec
            },
            holder if holder.is_empty() || self.expired(&spec) => self.taken(
                spec.lease_transitions
                    .unwrap_or_default()
                    .max(0)
                    .saturating_add(1),
            ),
            _ => {
                self.held = None;
                return Ok(());
            }
        };
        // The resource version makes the server refuse it if anybody has written since.
        let next = Lease {
            metadata: lease.metadata,
            spec: Some(next),
        };
        let lease = self
            .api
            .replace(&self.options.name, &PostParams::default(), &next)
            .await?;
        self.hold(&lease, began);
        Ok(())
    }

    /// Whether the holder has not renewed for as long as it promised to, as far as we have watched it.
    fn expired(&mut self, spec: &LeaseSpec) -> bool {
        let promised = spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok());
        let promised = promised.map_or(self.options.duration, Duration::from_secs);
        match &self.other {
            Some((seen, since)) if seen == spec => since.elapsed() > promised,
            _ => {
                self.other = Some((spec.clone(), Instant::now()));
                false
            }
        }
    }

    fn taken(&self, epoch: i32) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        LeaseSpec {
            holder_identity: Some(self.options.identity.clone()),
            lease_duration_seconds: Some(
                i32::try_from(self.options.duration.as_secs()).unwrap_or(i32::MAX),
            ),
            acquire_time: now.clone(),
            renew_time: now,
            lease_transitions: Some(epoch),
            ..LeaseSpec::default()
        }
    }

    fn hold(&mut self, lease: &Lease, began: Instant) {
        let epoch = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.lease_transitions)
            .unwrap_or_default();
        self.other = None;
        self.held = Some(Held {
            epoch,
            renewed: began,
        });
    }

    /// Gives the Lease back, so that the next one need not wait for its end. Tries no longer than a leader may be without
    /// word from the API server.
    async fn release(&mut self) {
        if self.held.take().is_none() {
            return;
        }
        let give_back = async {
            let Some(mut lease) = self.api.get_opt(&self.options.name).await? else {
                return Ok(());
            };
            let Some(spec) = lease.spec.as_mut() else {
                return Ok(());
            };
            if spec.holder_identity.as_deref() != Some(self.options.identity.as_str()) {
                return Ok(());
            }
            spec.holder_identity = None;
            spec.renew_time = Some(MicroTime(Timestamp::now()));
            self.api
                .replace(&self.options.name, &PostParams::default(), &lease)
                .await
                .map(drop)
        };
        match timeout(self.options.deadline, give_back).await {
            Ok(Ok(())) => info!(lease = self.options.name, "the Lease is given back"),
            Ok(Err(error)) => debug!(%error, "the Lease is not given back; it ends by itself"),
            Err(_) => debug!("the Lease is not given back in time; it ends by itself"),
        }
    }

    fn log(&self, before: Option<Role>, now: Role) {
        let lease = format!("{}/{}", self.options.namespace, self.options.name);
        match (before, now) {
            (_, Role::Leader { epoch }) => info!(lease, epoch, "this process writes"),
            (Some(Role::Leader { .. }), Role::Standby) => {
                warn!(lease, "the Lease is lost: another process may write now");
            }
            (_, Role::Standby) => {
                let holder = self
                    .other
                    .as_ref()
                    .and_then(|(spec, _)| spec.holder_identity.as_deref());
                info!(
                    lease,
                    holder = holder.unwrap_or("not known"),
                    "another process writes; waiting"
                );
            }
        }
    }
}

/// The epoch of a Lease that is made anew: above that of any made before it (and deleted since), as long as Leases
/// change hands less than once a second.
fn first_epoch() -> i32 {
    const START: u64 = 1_700_000_000;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    i32::try_from(now.saturating_sub(START))
        .unwrap_or(i32::MAX)
        .max(1)
}

fn conflict(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 409)
}
