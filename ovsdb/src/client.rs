//! The client: what callers hold.

use std::sync::Arc;

use ovsdb_model::{Clause, Database, ErrorKind, Name, OpResult, Operation, Schema};
use parking_lot::MappedRwLockReadGuard;
use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::changes::Changes;
use crate::core::{Core, Session};
use crate::error::{FenceReason, RequestError, RetryReason, TransactError, sort, whole};
use crate::fence::Fence;
use crate::lock::Lock;
use crate::rpc::connection::CallError;
use crate::rpc::wire::Request;
use crate::state::{Phase, State};
use crate::transact::{SplitError, Transaction, pack};

/// A client of one database: keeps a session and a replica, runs transactions. Cheap to clone; when the last clone is
/// dropped, the session ends.
///
/// See the [crate's documentation](crate) for an example.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    core: Arc<Core>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.core.stop.send_replace(true);
    }
}

/// The replica at one moment. Changes wait while it is held: take what is needed and let go; it cannot be held across
/// an `await`.
pub type Snapshot<'a> = MappedRwLockReadGuard<'a, Database>;

impl Client {
    pub(crate) fn from_core(core: Arc<Core>) -> Self {
        Self {
            inner: Arc::new(Inner { core }),
        }
    }

    fn core(&self) -> &Arc<Core> {
        &self.inner.core
    }

    /// The replica as it is now. It stays readable while there is no connection, as old as it then is.
    pub fn read(&self) -> Snapshot<'_> {
        self.core().read()
    }

    /// A stream of changes that begins with what the replica holds now, as rows inserted.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes {
            feed: self.core().subscribe(true),
        }
    }

    /// A stream of the changes from now on.
    #[must_use]
    pub fn changes_from_now(&self) -> Changes {
        Changes {
            feed: self.core().subscribe(false),
        }
    }

    /// The state, now and whenever it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<Arc<State>> {
        self.core().state()
    }

    /// Waits until the replica follows a server. Returns at once where it does already; `false` if the client is
    /// closed.
    pub async fn synced(&self) -> bool {
        let mut state = self.state();
        match state
            .wait_for(|state| matches!(state.phase, Phase::Synced | Phase::Closed))
            .await
        {
            Ok(state) => state.is_synced(),
            Err(_) => false,
        }
    }

    /// The schema of the server of the present session; none without one.
    #[must_use]
    pub fn schema(&self) -> Option<Arc<Schema>> {
        self.core().session().map(|session| session.schema)
    }

    /// Runs a transaction and returns one result for each of its operations. What it changed of the monitored columns
    /// is in the replica by then.
    ///
    /// Columns that the server's schema lacks are left out of what is sent, operations on tables that it lacks are left
    /// out whole ([`OpResult::LeftOut`]); both are reported once. What remains is held against the schema first.
    ///
    /// Without a synchronised session it fails at once: what was computed from a replica that is out of date should not
    /// be kept for later.
    ///
    /// # Errors
    /// [`TransactError`], sorted by what to do about it.
    pub async fn transact(
        &self,
        transaction: impl Into<Transaction>,
    ) -> Result<Vec<OpResult>, TransactError> {
        let core = self.core();
        let session = self.transact_session()?;
        let (ready, request) = transaction
            .into()
            .prepare(&core.settings.database, &session.schema)?;
        core.report_missing(&ready.missing);
        let deadline = ready.deadline.unwrap_or(core.settings.deadline);
        let outcome = match session.connection.call(request, deadline).await {
            Ok(reply) => ready.read_reply(reply.as_str(), &session.schema),
            Err(CallError::NotSent(reason)) => {
                let reason = RetryReason::NotConnected(reason.to_string());
                Err(TransactError::Retry(reason))
            }
            Err(CallError::Withdrawn(limit)) => {
                Err(TransactError::Retry(RetryReason::NotSent(limit)))
            }
            Err(CallError::Canceled(limit)) if session.standalone => {
                Err(TransactError::Retry(RetryReason::Canceled(limit)))
            }
            // A cluster may carry out what one of its members has canceled.
            Err(CallError::Refused(error))
                if error.kind == ErrorKind::Canceled && !session.standalone =>
            {
                Err(TransactError::OutcomeUnknown(error.to_string()))
            }
            Err(CallError::Refused(error)) => Err(sort(whole(error))),
            Err(
                error @ (CallError::Lost(_)
                | CallError::TimedOut(_)
                | CallError::Canceled(_)
                | CallError::Unusable(_)),
            ) => Err(TransactError::OutcomeUnknown(error.to_string())),
        };
        if matches!(outcome, Err(TransactError::OutcomeUnknown(_))) {
            core.update_state(|state| state.counters.unknown_outcomes += 1);
        }
        outcome
    }

    /// Runs a change that is too large for one transaction as several, one after another: groups of operations, in
    /// order, as many to a transaction as fit into `most` operations. A group is never split; `conditions` (its fences,
    /// locks and deadline) hold for each transaction. Stops at the first that fails.
    ///
    /// Others see the change half done in between. References must not lead to groups further on, unless weakly.
    ///
    /// # Errors
    /// [`SplitError`], which tells how far it came.
    pub async fn transact_split(
        &self,
        groups: Vec<Vec<Operation>>,
        conditions: &Transaction,
        most: usize,
    ) -> Result<Vec<Vec<OpResult>>, SplitError> {
        let sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
        let mut groups = groups.into_iter();
        let mut done = Vec::with_capacity(sizes.len());
        for pack in pack(&sizes, most) {
            let operations: Vec<Operation> = groups.by_ref().take(pack.len()).flatten().collect();
            match self.transact(conditions.with_operations(operations)).await {
                Ok(results) => {
                    let mut results = results.into_iter();
                    for size in &sizes[pack] {
                        done.push(results.by_ref().take(*size).collect());
                    }
                }
                Err(mut error) => {
                    let mut group = None;
                    if let Some(place) = error.operation_mut() {
                        for at in pack.clone() {
                            if *place < sizes[at] {
                                group = Some(at);
                                break;
                            }
                            *place -= sizes[at];
                        }
                    }
                    return Err(SplitError {
                        done,
                        groups: sizes.len(),
                        failed: pack,
                        error,
                        group,
                    });
                }
            }
        }
        Ok(done)
    }

    fn transact_session(&self) -> Result<Session, TransactError> {
        self.core().session().ok_or_else(|| {
            let state = self.core().state().borrow().clone();
            TransactError::Retry(RetryReason::NotConnected(state.to_string()))
        })
    }

    /// Claims a fence: gives its key the fence's value, if it still has the value `previous` (`None`: if it is not
    /// there).
    ///
    /// # Errors
    /// [`TransactError::Fenced`] where another was faster, or the table has no row to hold the key.
    pub async fn claim(&self, fence: &Fence, previous: Option<&str>) -> Result<(), TransactError> {
        match self.transact(fence.claim(previous)).await {
            Ok(_) => Ok(()),
            Err(TransactError::Retry(RetryReason::WaitFailed(_))) => {
                Err(TransactError::Fenced(FenceReason::Fence(fence.to_string())))
            }
            Err(error) => Err(error),
        }
    }

    /// Asks for a lock of the server, and again after every reconnection.
    #[must_use]
    pub fn lock(&self, name: impl Into<String>) -> Lock {
        Lock::new(self.core().clone(), name.into(), false)
    }

    /// As [`Client::lock`], taking it from whoever holds it.
    #[must_use]
    pub fn steal(&self, name: impl Into<String>) -> Lock {
        Lock::new(self.core().clone(), name.into(), true)
    }

    /// Changes which rows of a table the replica holds: those that meet one of these clauses; all of them with `None`
    /// ([`Builder::condition`](crate::Builder::condition)). Returns once the replica holds just those. It stays asked
    /// for, in every session to come, also where this future is dropped. Clauses on columns that the server lacks are left
    /// out ([`Builder::condition`](crate::Builder::condition)).
    ///
    /// # Errors
    /// [`RequestError::Condition`] where the present server's schema contradicts it, and nothing has changed then;
    /// [`RequestError::NotConnected`] where the client is closed.
    pub async fn set_condition(
        &self,
        table: impl Into<Name>,
        clauses: Option<Vec<Clause>>,
    ) -> Result<(), RequestError> {
        let (core, table) = (self.core(), table.into());
        if let (Some(schema), Some(clauses)) = (self.schema(), &clauses) {
            schema
                .fit_condition(&table, clauses)
                .map_err(RequestError::Condition)?;
        }
        let version = core.conditions.set(table, clauses);
        let mut state = self.state();
        tokio::select! {
            () = core.conditions.until_in_force(version) => Ok(()),
            _ = state.wait_for(|state| state.phase == Phase::Closed) => {
                Err(RequestError::NotConnected("the client is closed".to_owned()))
            }
        }
    }

    /// Makes any other request: `list_dbs`, `get_server_id`, `convert` and what a server may learn. `params` is the
    /// JSON of an array. Monitors are the client's own business.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn request(
        &self,
        method: &str,
        params: &serde_json::Value,
    ) -> Result<Box<RawValue>, RequestError> {
        let session = self
            .core()
            .session()
            .ok_or_else(|| RequestError::NotConnected(self.core().state().borrow().to_string()))?;
        let deadline = self.core().settings.deadline;
        session
            .connection
            .call(Request::new(method, &params.to_string()), deadline)
            .await
            .map_err(|error| match error {
                CallError::NotSent(reason) => RequestError::NotConnected(reason.to_string()),
                CallError::Withdrawn(limit) => RequestError::NotSent(limit),
                CallError::Lost(reason) => RequestError::Lost(reason.to_string()),
                CallError::TimedOut(limit) | CallError::Canceled(limit) => {
                    RequestError::TimedOut(limit)
                }
                CallError::Refused(error) => RequestError::Refused(error),
                CallError::Unusable(reason) => RequestError::Answer(reason),
            })
            .and_then(|answer| {
                RawValue::from_string(answer.as_str().to_owned())
                    .map_err(|error| RequestError::Answer(error.to_string()))
            })
    }

    /// Gives up the session and makes another, with the next endpoint. For tests and for people at a debugger.
    pub fn reconnect(&self) {
        if let Some(session) = self.core().session() {
            session.connection.close("asked to reconnect");
        }
    }

    /// Ends the session for good, for all clones, and waits until it has ended.
    pub async fn close(&self) {
        self.core().stop.send_replace(true);
        let mut state = self.state();
        let _ = state.wait_for(|state| state.phase == Phase::Closed).await;
    }
}
