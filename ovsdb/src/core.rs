//! What a client's handles, its session task and its connections share.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ovsdb_model::schema::{Missing, TableSpec};
use ovsdb_model::{Batch, Database, Index, Layout, Name, Row, RowChange, Schema, Uuid};
use parking_lot::{MappedRwLockReadGuard, Mutex, RwLock, RwLockReadGuard};
use tokio::sync::watch;

use crate::changes::Feed;
use crate::condition::{ByTable, Conditions};
use crate::locks::Locks;
use crate::remote::Remote;
use crate::rpc::connection::Connection;
use crate::rpc::framer::FrameLimits;
use crate::state::{Phase, State};
use crate::tls::TlsOptions;

/// What a client was built with.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) remotes: Vec<Remote>,
    pub(crate) tls: Option<TlsOptions>,
    pub(crate) database: Name,
    pub(crate) tables: Vec<TableSpec>,
    /// Every table with every column.
    pub(crate) everything: bool,
    pub(crate) indexes: Vec<(Name, Index)>,
    /// At first; [`Core::conditions`] has them as they are.
    pub(crate) conditions: ByTable,
    pub(crate) leader_only: bool,
    pub(crate) cluster_id: Option<Uuid>,
    pub(crate) probe_interval: Option<Duration>,
    pub(crate) connect_timeout: Duration,
    pub(crate) stall_limit: Duration,
    pub(crate) deadline: Duration,
    pub(crate) backoff: (Duration, Duration),
    pub(crate) limits: FrameLimits,
}

/// A session that transactions may use.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) connection: Arc<Connection>,
    pub(crate) schema: Arc<Schema>,
    /// The server has the database alone: what it has canceled has not taken effect.
    pub(crate) standalone: bool,
}

/// Where a monitor that is resumed goes on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resume {
    pub(crate) transaction: Uuid,
    /// What the replica holds; with another layout, or other conditions, resuming would leave holes.
    pub(crate) layout: Layout,
    pub(crate) conditions: Arc<ByTable>,
}

/// The copy of the database, and which connection may change it.
#[derive(Debug)]
struct Replica {
    database: Database,
    generation: u64,
    /// Where the next session can go on.
    resume: Option<Resume>,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) settings: Settings,
    replica: RwLock<Replica>,
    feeds: Mutex<Vec<Weak<Feed>>>,
    state: watch::Sender<Arc<State>>,
    session: Mutex<Option<Session>>,
    pub(crate) locks: Locks,
    pub(crate) conditions: Conditions,
    reported: Mutex<BTreeSet<Missing>>,
    pub(crate) stop: watch::Sender<bool>,
}

impl Core {
    pub(crate) fn new(settings: Settings) -> Arc<Self> {
        let mut database = Database::new();
        for (table, index) in &settings.indexes {
            database.declare_index(table.clone(), index.clone());
        }
        Arc::new(Self {
            conditions: Conditions::new(settings.conditions.clone()),
            settings,
            replica: RwLock::new(Replica {
                database,
                generation: 0,
                resume: None,
            }),
            feeds: Mutex::default(),
            state: watch::Sender::new(Arc::new(State {
                since: Some(Instant::now()),
                ..State::default()
            })),
            session: Mutex::default(),
            locks: Locks::default(),
            reported: Mutex::default(),
            stop: watch::Sender::new(false),
        })
    }

    // === the replica ===

    /// Recursive, so that a caller who reads while reading cannot lock itself out behind a waiting writer.
    pub(crate) fn read(&self) -> MappedRwLockReadGuard<'_, Database> {
        RwLockReadGuard::map(self.replica.read_recursive(), |replica| &replica.database)
    }

    /// Gives the right to change the replica to a new connection; what an older one still has to say is dropped.
    pub(crate) fn next_generation(&self) -> u64 {
        let mut replica = self.replica.write();
        replica.generation += 1;
        replica.generation
    }

    /// Changes the replica and tells every stream, as one step. `change` gives what has changed and the place in the
    /// server's history that the replica has come to by it. A change that fails leaves no such place: only a whole dump
    /// mends a replica that has parted from the server.
    pub(crate) fn change<E>(
        &self,
        generation: u64,
        change: impl FnOnce(&mut Database) -> Result<(Batch, Option<Resume>), E>,
    ) -> Result<(), E> {
        let mut replica = self.replica.write();
        if replica.generation != generation {
            return Ok(());
        }
        replica.resume = None;
        let (batch, resume) = change(&mut replica.database)?;
        replica.resume = resume;
        if batch.is_empty() {
            return Ok(());
        }
        let is_unreadable =
            |row: &Option<Arc<Row>>| row.as_ref().is_some_and(|row| !row.unreadable().is_empty());
        let mut changes = batch.changes.iter();
        let unreadable = changes
            .any(|change| is_unreadable(&change.old) || is_unreadable(&change.new))
            .then(|| replica.database.unreadable());
        let batch = Arc::new(batch);
        // Still under the lock: streams see batches in the order in which the replica took them.
        self.each_feed(|feed| feed.batch(&batch));
        drop(replica);
        // Whoever looks at the state may read the replica meanwhile.
        if let Some(unreadable) = unreadable {
            self.update_state(|state| state.unreadable = unreadable);
        }
        Ok(())
    }

    /// Where a session that wants this layout under these conditions can go on.
    pub(crate) fn resume(&self, layout: &Layout, conditions: &ByTable) -> Option<Uuid> {
        let replica = self.replica.read();
        let resume = replica
            .resume
            .as_ref()
            .filter(|resume| resume.layout == *layout && *resume.conditions == *conditions)?;
        Some(resume.transaction)
    }

    /// Has the next session begin with a whole dump.
    pub(crate) fn forget_resume(&self) {
        self.replica.write().resume = None;
    }

    /// Adds a stream; with `content`, one that begins with what the replica holds now.
    pub(crate) fn subscribe(&self, content: bool) -> Arc<Feed> {
        let feed = Arc::new(Feed::default());
        let database = self.read();
        if content && !database.is_empty() {
            let rows = database.tables().flat_map(|table| {
                database.rows(table).map(|(uuid, row)| RowChange {
                    table: table.clone(),
                    uuid,
                    old: None,
                    new: Some(row.clone()),
                })
            });
            feed.batch(&Arc::new(Batch {
                changes: rows.collect(),
            }));
        }
        let mut feeds = self.feeds.lock();
        feeds.retain(|feed| feed.strong_count() > 0);
        feeds.push(Arc::downgrade(&feed));
        drop(feeds);
        // After it was added: no state can fall between this one and the next.
        let state = self.state.borrow();
        feed.state(&state);
        if state.phase == Phase::Closed {
            feed.close();
        }
        drop(state);
        feed
    }

    fn each_feed(&self, tell: impl Fn(&Feed)) {
        for feed in self.feeds.lock().iter().filter_map(Weak::upgrade) {
            tell(&feed);
        }
    }

    // === the state ===

    pub(crate) fn state(&self) -> watch::Receiver<Arc<State>> {
        self.state.subscribe()
    }

    /// Changes the state; nobody is told where it stays the same.
    pub(crate) fn update_state(&self, change: impl FnOnce(&mut State)) {
        self.state.send_if_modified(|current| {
            let mut next = State::clone(current);
            change(&mut next);
            if next.phase != current.phase {
                next.since = Some(Instant::now());
            }
            if next == **current {
                return false;
            }
            *current = Arc::new(next);
            // Still under the lock of the state: streams see states in their order.
            self.each_feed(|feed| feed.state(current));
            true
        });
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.update_state(|state| state.phase = phase);
    }

    /// Tells of tables and columns that were left out, of each once.
    pub(crate) fn report_missing<'a>(&self, missing: impl IntoIterator<Item = &'a Missing>) {
        let mut missing = missing.into_iter().peekable();
        if missing.peek().is_none() {
            return;
        }
        let mut reported = self.reported.lock();
        for missing in missing {
            if reported.insert(missing.clone()) {
                let database = self.settings.database.as_str();
                tracing::warn!(database, %missing, "left out: the server's schema does not have it");
            }
        }
    }

    // === the session ===

    pub(crate) fn session(&self) -> Option<Session> {
        self.session.lock().clone()
    }

    pub(crate) fn set_session(&self, session: Option<Session>) {
        *self.session.lock() = session;
    }

    /// Ends everything: what waits for changes or for the state learns of it.
    pub(crate) fn finish(&self) {
        self.set_session(None);
        self.locks.close();
        self.set_phase(Phase::Closed);
        self.each_feed(Feed::close);
    }
}
