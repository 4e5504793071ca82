//! The task that keeps a client connected: it goes round the endpoints, judges servers, brings the replica up to date,
//! follows the leader, and starts again whenever a connection ends.

pub(crate) mod doubts;
mod establish;
pub(crate) mod handler;
mod ours;

use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use ovsdb_model::Name;
use ovsdb_model::schema::{Missing, Problem};

use crate::core::{Core, Session};
use crate::locks::LockRequest;
use crate::remote::Remote;
use crate::rpc::connection::{CallError, Connection};
use crate::rpc::transport::TransportOptions;
use crate::rpc::wire::Request;
use crate::server_db::{Demands, Model, Unfit};
use crate::session::handler::{Link, SessionHandler};
use crate::session::ours::{Ours, Successor};
use crate::state::Phase;

/// A session that lasted this long starts the backoff anew; one that broke sooner does not, lest a server that breaks
/// every session be asked for one without pause.
const STEADY: Duration = Duration::from_secs(1);
/// How long answers to transactions are waited for when we leave a server of our own accord.
const DRAIN: Duration = Duration::from_secs(2);

/// Why there is no session, or no more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("{0}")]
    Connect(#[from] crate::stream::ConnectError),
    #[error("{0}")]
    Unfit(#[from] Unfit),
    #[error("{method}: {error}")]
    Call {
        method: &'static str,
        error: CallError,
    },
    #[error("{0}")]
    Lost(Arc<crate::ConnectionLost>),
    #[error("the server's schema: {0}")]
    Schema(String),
    #[error("the condition on table {0}: {1}")]
    Condition(Name, Problem),
    #[error(
        "the server is too old (before Open vSwitch 2.6) to monitor some rows of a table only: it has no monitor_cond"
    )]
    Unconditional,
    #[error("the client is closed")]
    Stopped,
}

/// What outlives a connection.
struct Keeper {
    core: Arc<Core>,
    /// Which database is ours.
    ours: Ours,
    /// The endpoint in use or being tried, by its place among the remotes.
    endpoint: usize,
    /// What was last logged of each endpoint.
    told: Vec<Option<String>>,
    /// What the tables asked for have that the server lacks.
    missing: Vec<Missing>,
    /// Counts the monitors: each has a name of its own.
    monitors: u64,
}

/// Runs until the client is closed.
pub(crate) async fn keep(core: Arc<Core>) {
    let mut stop = core.stop.subscribe();
    let keeper = Keeper {
        ours: Ours::new(core.settings.remotes.len(), core.settings.cluster_id),
        endpoint: 0,
        told: vec![None; core.settings.remotes.len()],
        missing: Vec::new(),
        monitors: 0,
        core: core.clone(),
    };
    tokio::select! {
        () = keeper.run() => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    core.finish();
}

impl Keeper {
    async fn run(mut self) {
        let mut backoff = self.backoff();
        let mut next = 0;
        let mut left_in_round = self.core.settings.remotes.len();
        loop {
            let remotes = &self.core.settings.remotes;
            self.endpoint = next % remotes.len();
            let remote = remotes[self.endpoint].clone();
            next += 1;
            let began = self.attempt(&remote).await;
            if began.is_some_and(|began| began.elapsed() >= STEADY) {
                backoff = self.backoff();
                left_in_round = self.core.settings.remotes.len();
                continue;
            }
            left_in_round -= 1;
            if left_in_round == 0 {
                left_in_round = self.core.settings.remotes.len();
                if let Some(successor) = self.ours.successor(Instant::now()) {
                    self.follow(successor);
                    backoff = self.backoff();
                }
                // The backoff has no end: the last delay repeats.
                let pause = backoff.next().unwrap_or(self.core.settings.backoff.1);
                let patience = self.ours.patience(Instant::now());
                tokio::time::sleep(patience.map_or(pause, |patience| pause.min(patience))).await;
            }
        }
    }

    fn backoff(&self) -> ExponentialBackoff {
        let (shortest, longest) = self.core.settings.backoff;
        ExponentialBuilder::new()
            .with_min_delay(shortest)
            .with_max_delay(longest)
            .with_jitter()
            .without_max_times()
            .build()
    }

    /// Tries one endpoint, and stays while it will do. Returns when the session was synchronised, if it was.
    async fn attempt(&mut self, remote: &Remote) -> Option<Instant> {
        self.ours.attempt(self.endpoint);
        self.core.update_state(|state| {
            state.phase = Phase::Connecting;
            state.remote = Some(remote.clone());
            state.leader = None;
            state.server_id = None;
            state.monitor = None;
            state.counters.attempts += 1;
        });
        let mut began = None;
        let error = match self.session(remote, &mut began).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        self.core.set_session(None);
        self.core.conditions.set_in_force(None);
        self.core.locks.disconnected();
        let told = format!("{remote}: {error}");
        let known = self.told[self.endpoint].as_ref() == Some(&told);
        // Going round for the leader is no failure, and the same failure again is no news.
        let no_leader = matches!(error, SessionError::Unfit(Unfit::NotLeader));
        if began.is_none() && (known || no_leader) {
            tracing::debug!(database = %self.core.settings.database, %remote, %error, "no session");
        } else {
            tracing::warn!(database = %self.core.settings.database, %remote, %error, "no session");
            self.told[self.endpoint] = Some(told.clone());
        }
        self.core.update_state(|state| {
            state.phase = Phase::Disconnected;
            state.last_error = Some(told);
            state.failures = state.failures.saturating_add(1);
        });
        began
    }

    async fn session(
        &mut self,
        remote: &Remote,
        began: &mut Option<Instant>,
    ) -> Result<std::convert::Infallible, SessionError> {
        let core = self.core.clone();
        let settings = &core.settings;
        let link = Link::new(core.next_generation());
        let options = TransportOptions {
            limits: settings.limits,
            probe_interval: settings.probe_interval,
            stall_limit: settings.stall_limit,
        };
        let handler = SessionHandler {
            core: core.clone(),
            link: link.clone(),
        };
        let connection = Connection::open(
            remote,
            settings.tls.as_ref(),
            settings.connect_timeout,
            options,
            handler,
        )
        .await?;
        let connection = Arc::new(connection);
        let outcome = self.use_connection(&connection, &link, began).await;
        let error = match outcome {
            Ok(never) => match never {},
            // Whatever a request says, the connection's own reason comes first.
            Err(error) => match connection.lost() {
                Some(reason) => SessionError::Lost(reason),
                None => error,
            },
        };
        core.set_session(None);
        // Said before the last answers are waited for: who asks for a session must not be told that there is one.
        core.update_state(|state| {
            state.phase = Phase::Disconnected;
            state.last_error = Some(format!("{remote}: {error}"));
        });
        if connection.lost().is_none() && began.is_some() {
            self.drain(&connection).await;
        }
        core.update_state(|state| {
            state.counters.unexpected_replies += connection.unexpected_replies()
        });
        connection.close(error.to_string());
        Err(error)
    }

    async fn use_connection(
        &mut self,
        connection: &Arc<Connection>,
        link: &Arc<Link>,
        began: &mut Option<Instant>,
    ) -> Result<std::convert::Infallible, SessionError> {
        self.read_server(connection, link).await?;
        let mut server_row = link.server_row.subscribe();
        let mut canceled = link.canceled.subscribe();
        let mut conditions = self.core.conditions.wanted();
        loop {
            self.core.set_phase(Phase::Syncing);
            let schema = self.synchronise(connection, link).await?;
            self.core.set_session(Some(Session {
                connection: connection.clone(),
                schema: schema.clone(),
                standalone: server_row
                    .borrow()
                    .as_ref()
                    .is_none_or(|row| row.model == Model::Standalone),
            }));
            self.synced();
            began.get_or_insert_with(Instant::now);
            loop {
                tokio::select! {
                    reason = connection.until_lost() => return Err(SessionError::Lost(reason)),
                    _ = server_row.changed() => self.judge(link)?,
                    _ = canceled.changed() => {
                        tracing::info!(database = %self.core.settings.database, "the database's schema has changed");
                        self.core.set_session(None);
                        self.core.update_state(|state| state.counters.schema_changes += 1);
                        canceled.mark_unchanged();
                        break;
                    }
                    // Never an error: the client's core, which we hold, has the sender.
                    Ok(()) = conditions.changed() => {
                        self.change_conditions(connection, link, &schema).await?;
                    }
                    () = self.core.locks.work.notified() => self.ask_for_locks(connection).await?,
                    () = link.doubts.more.notified() => self.read_anew(connection, link).await?,
                }
            }
        }
    }

    fn synced(&mut self) {
        self.ours.in_use();
        self.told.fill(None);
        self.core.update_state(|state| {
            state.phase = Phase::Synced;
            state.last_error = None;
            state.failures = 0;
            state.counters.sessions += 1;
        });
    }

    /// Whether the server will do, by what `_Server` says of our database.
    fn judge(&mut self, link: &Link) -> Result<(), SessionError> {
        let settings = &self.core.settings;
        let Some(row) = link.server_row.borrow().clone() else {
            self.ours.see_nothing(self.endpoint);
            return Err(Unfit::NoDatabase {
                wanted: settings.database.to_string(),
                present: link.databases(),
            }
            .into());
        };
        self.core.update_state(|state| {
            state.leader = Some(row.leader);
            state.cluster_id = row.cluster_id;
            state.server_id = row.server_id;
        });
        let demands = Demands {
            leader_only: settings.leader_only,
            cluster_id: self.ours.cluster_id,
            ours: self.ours.identity,
            index: self.ours.index,
        };
        self.ours.see(self.endpoint, &row);
        row.judge(&demands)?;
        self.ours.accept(self.endpoint, &row);
        Ok(())
    }

    /// Another database has taken the place of ours.
    fn follow(&self, Successor { identity, set_back }: Successor) {
        let database = &self.core.settings.database;
        if set_back {
            tracing::warn!(%database, "the cluster has been set back to an earlier state, and is followed from there");
        } else {
            tracing::warn!(%database, now = %identity, "another database has taken the place of the old one");
        }
        // A transaction id of the old one means nothing to the new one.
        self.core.forget_resume();
    }

    async fn ask_for_locks(&self, connection: &Connection) -> Result<(), SessionError> {
        while let Some(request) = self.core.locks.next_request() {
            let (method, name) = match &request {
                LockRequest::Lock(name) => ("lock", name),
                LockRequest::Steal(name) => ("steal", name),
                LockRequest::Unlock(name) => ("unlock", name),
            };
            let params = serde_json::json!([name]).to_string();
            let answer = connection
                .call(Request::new(method, &params), self.core.settings.deadline)
                .await
                .map_err(|error| SessionError::Call { method, error })?;
            if method != "unlock" {
                #[derive(serde::Deserialize)]
                struct Answer {
                    locked: bool,
                }
                let answer: Answer =
                    serde_json::from_str(answer.as_str()).map_err(|error| SessionError::Call {
                        method,
                        error: CallError::Unusable(error.to_string()),
                    })?;
                self.core.locks.replied(name, answer.locked);
            }
        }
        Ok(())
    }

    /// Waits for the answers to what was sent already, for a while.
    async fn drain(&self, connection: &Connection) {
        let empty = async {
            while connection.in_flight() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = tokio::time::timeout(DRAIN, empty) => {}
            _ = connection.until_lost() => {}
        }
    }
}
