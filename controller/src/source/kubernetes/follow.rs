//! One kind's watch, for as long as the engine listens.

use std::collections::HashSet;
use std::convert::Infallible;
use std::pin::pin;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::StreamExt;
use kube::api::Api;
use kube::runtime::watcher::{self, Config, Error, Event, InitialListStrategy, watcher};
use kube::{Client, Error as ClientError};
use tracing::{debug, info, warn};
use yusur_planner::{Change, Kind, ObjectRef};

use super::optional;
use super::resource::{Resource, Watch};
use super::watched::Watched;
use crate::source::{Problem, Sender, SourceEvent};

/// How long one watch request lasts. It is resumed where it ended, which costs next to nothing, while a connection that
/// died in silence is noticed only when the request is overdue.
const REQUEST: u32 = 60;

/// How long to wait after the first error; doubled until [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(200);

/// A restarted API server is found within this, at the latest.
const LONGEST: Duration = Duration::from_secs(10);

/// How often to look whether a kind that the cluster lacks has come.
const ABSENT: Duration = Duration::from_secs(10);

/// How many streaming lists may break off in a row before lists are fetched in pages: a server may promise the marker
/// of their end and never send it (its etcd may be too old to say how far it is).
const PATIENCE: u32 = 2;

/// What has to be known to tell the engine of one kind.
struct Teller {
    kind: Kind,
    sender: Sender,
    /// Objects that cannot be decoded.
    undecodable: HashSet<ObjectRef>,
    /// Those of them that the list which is being told has named.
    relisted: HashSet<ObjectRef>,
    /// The watch itself has a problem that was told.
    troubled: bool,
}

/// The engine no longer listens.
struct Gone;

/// Tells everything about the objects of one kind until the engine goes.
pub(super) async fn follow<W: Watch>(client: Client, sender: Sender) {
    let mut teller = Teller {
        kind: W::KIND,
        sender,
        undecodable: HashSet::new(),
        relisted: HashSet::new(),
        troubled: false,
    };
    // The only way out is that the engine has gone, and then nobody needs to know.
    let Err(Gone) = teller.follow::<W>(client).await;
    debug!(kind = %W::KIND, "the engine has stopped, and so does the watch");
}

// === impl Teller ===

impl Teller {
    async fn follow<W: Watch>(&mut self, client: Client) -> Result<Infallible, Gone> {
        let api: Api<Watched<W>> = Api::all(client);
        let mut strategy = InitialListStrategy::StreamingList;
        let mut listed_once = false;
        loop {
            let streaming = matches!(strategy, InitialListStrategy::StreamingList);
            let config = Config {
                initial_list_strategy: strategy.clone(),
                timeout: Some(REQUEST),
                ..Config::default()
            };
            let mut events = pin!(watcher(api.clone(), config));
            let mut delays = backoff();
            // Since when a list is being told; how many have broken off in a row.
            let (mut listing, mut broken) = (None, 0);
            loop {
                // kube's watcher has no end.
                let Some(event) = events.next().await else {
                    break;
                };
                let seen = Instant::now();
                let error = match event {
                    Ok(event) => {
                        match &event {
                            Event::Init if listing.replace(seen).is_some() => broken += 1,
                            Event::Init => {}
                            Event::InitDone => {
                                (listed_once, broken) = (true, 0);
                                let elapsed = listing.take().map(|since| since.elapsed());
                                debug!(kind = %self.kind, streaming, ?elapsed, "listed");
                            }
                            _ => delays = backoff(),
                        }
                        // An answer that only begins is no recovery; an object or a complete list is.
                        if !matches!(event, Event::Init) {
                            self.recovered().await?;
                        }
                        self.event(event, seen).await?;
                        if streaming && broken >= PATIENCE {
                            info!(kind = %self.kind, "streaming lists do not come to their end; listing in pages");
                            break;
                        }
                        continue;
                    }
                    Err(error) => error,
                };
                if missing(&error) && optional(self.kind) {
                    self.recovered().await?;
                    // Another project's kind that is not installed has no objects. Once it had some, their end is
                    // told by the watch; a server that knows nothing yet proves nothing.
                    if !listed_once {
                        self.tell(SourceEvent::ListBegun(self.kind)).await?;
                        self.tell(SourceEvent::ListEnded(self.kind)).await?;
                        listed_once = true;
                        info!(kind = %self.kind, "the cluster does not have this kind; looking again every {ABSENT:?}");
                    }
                    self.pause(ABSENT).await?;
                    continue;
                }
                let answered = answer(&error).is_some();
                if streaming
                    && (refuses_streaming(&error)
                        || (answered && listing.is_some() && broken >= PATIENCE))
                {
                    info!(kind = %self.kind, %error, "the API server has no streaming lists; listing in pages");
                    break;
                }
                if answered && listing.is_some() {
                    broken += 1;
                }
                self.trouble(&error).await?;
                let delay = delays.next().unwrap_or(LONGEST);
                debug!(kind = %self.kind, %error, ?delay, "the watch failed; trying again");
                self.pause(delay).await?;
            }
            strategy = InitialListStrategy::ListWatch;
        }
    }

    /// One event of kube's watcher.
    async fn event<W: Watch>(
        &mut self,
        event: Event<Watched<W>>,
        seen: Instant,
    ) -> Result<(), Gone> {
        match event {
            Event::Init => {
                self.relisted.clear();
                self.tell(SourceEvent::ListBegun(self.kind)).await
            }
            Event::InitApply(watched) => {
                if watched.change.is_err() {
                    self.relisted.insert(watched.object.clone());
                }
                self.set(watched, seen).await
            }
            Event::InitDone => {
                self.tell(SourceEvent::ListEnded(self.kind)).await?;
                let vanished: Vec<_> = self
                    .undecodable
                    .difference(&self.relisted)
                    .cloned()
                    .collect();
                for object in vanished {
                    self.decodable(&object).await?;
                }
                self.relisted.clear();
                Ok(())
            }
            Event::Apply(watched) => self.set(watched, seen).await,
            Event::Delete(watched) => {
                self.decodable(&watched.object).await?;
                let change = Change::Removed(watched.object);
                self.tell(SourceEvent::Changed { change, seen }).await
            }
        }
    }

    async fn set<W: Watch>(&mut self, watched: Watched<W>, seen: Instant) -> Result<(), Gone> {
        let object = watched.object;
        match watched.change {
            Ok(change) => {
                self.decodable(&object).await?;
                self.tell(SourceEvent::Changed {
                    change: *change,
                    seen,
                })
                .await
            }
            Err(mend) => {
                warn!(%object, error = mend, "the object cannot be decoded; its last good form stays in force");
                self.undecodable.insert(object.clone());
                let message = format!(
                    "{mend}. Its last good form stays in force; write what the definitions of this release allow (kubectl explain {})",
                    Resource::of(self.kind).plural
                );
                self.tell(SourceEvent::Problem {
                    subject: object.to_string(),
                    object: Some(object),
                    problem: Some(Problem {
                        reason: "Undecodable",
                        message,
                    }),
                })
                .await
            }
        }
    }

    /// The object can be decoded, or is gone.
    async fn decodable(&mut self, object: &ObjectRef) -> Result<(), Gone> {
        if !self.undecodable.remove(object) {
            return Ok(());
        }
        self.tell(SourceEvent::Problem {
            subject: object.to_string(),
            object: Some(object.clone()),
            problem: None,
        })
        .await
    }

    /// The watch cannot be kept up.
    async fn trouble(&mut self, error: &Error) -> Result<(), Gone> {
        if self.troubled {
            return Ok(());
        }
        self.troubled = true;
        let problem = diagnosis(self.kind, error);
        warn!(kind = %self.kind, reason = problem.reason, "{}", problem.message);
        self.tell(SourceEvent::Problem {
            subject: self.subject(),
            object: None,
            problem: Some(problem),
        })
        .await
    }

    /// The watch works.
    async fn recovered(&mut self) -> Result<(), Gone> {
        if !self.troubled {
            return Ok(());
        }
        self.troubled = false;
        info!(kind = %self.kind, "the watch works again");
        self.tell(SourceEvent::Problem {
            subject: self.subject(),
            object: None,
            problem: None,
        })
        .await
    }

    fn subject(&self) -> String {
        format!("watch of {}", Resource::of(self.kind).plural)
    }

    async fn tell(&self, event: SourceEvent) -> Result<(), Gone> {
        self.sender.send(event).await.map_err(|_| Gone)
    }

    async fn pause(&self, duration: Duration) -> Result<(), Gone> {
        tokio::select! {
            () = tokio::time::sleep(duration) => Ok(()),
            () = self.sender.closed() => Err(Gone),
        }
    }
}

fn backoff() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(SHORTEST)
        .with_max_delay(LONGEST)
        .with_jitter()
        .without_max_times()
        .build()
}

/// What the server said, if it said anything.
fn answer(error: &Error) -> Option<&kube::core::Status> {
    match error {
        Error::InitialListFailed(ClientError::Api(status))
        | Error::WatchStartFailed(ClientError::Api(status))
        | Error::WatchFailed(ClientError::Api(status))
        | Error::WatchError(status) => Some(status),
        _ => None,
    }
}

/// Whether the server refused `sendInitialEvents` as such: before 1.32 it is invalid (422) unless switched on, and long
/// before that unknown.
fn refuses_streaming(error: &Error) -> bool {
    matches!(error, Error::WatchStartFailed(_) | Error::WatchError(_))
        && answer(error).is_some_and(|status| matches!(status.code, 400 | 422))
}

/// Whether the server does not know the kind.
fn missing(error: &Error) -> bool {
    answer(error).is_some_and(|status| status.code == 404)
}

/// What is wrong, and the mend.
fn diagnosis(kind: Kind, error: &watcher::Error) -> Problem {
    let resource = Resource::of(kind);
    let name = if resource.group.is_empty() {
        resource.plural.to_owned()
    } else {
        format!("{}.{}", resource.plural, resource.group)
    };
    let (reason, message) = match answer(error).map(|status| status.code) {
        Some(404) if resource.group == yusur_crds::GROUP => (
            "DefinitionMissing",
            format!(
                "the API server does not know {name}: kubectl apply -f manifests/crds. Nothing is deleted meanwhile"
            ),
        ),
        Some(401) => (
            "Unauthenticated",
            format!("the API server does not accept this controller's credentials: {error}"),
        ),
        Some(403) => (
            "Forbidden",
            format!(
                "this controller may not list and watch {name}; give its service account that right (manifests/rbac): {error}"
            ),
        ),
        _ => (
            "WatchFailed",
            format!("{name} cannot be watched; trying again: {error}"),
        ),
    };
    Problem { reason, message }
}
