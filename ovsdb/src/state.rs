//! What a client knows of its connection: for readiness, metrics and messages.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Instant;

use ovsdb_model::schema::Missing;
use ovsdb_model::{Name, Uuid};

use crate::remote::Remote;

/// How far a client has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// No connection; the next attempt waits for its backoff.
    #[default]
    Disconnected,
    /// Reaching a server, or finding out whether it is fit.
    Connecting,
    /// Connected; the replica is being brought up to date.
    Syncing,
    /// Connected; the replica follows the server.
    Synced,
    /// The client was closed or dropped, or its settings can never work.
    Closed,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Disconnected => "disconnected",
            Phase::Connecting => "connecting",
            Phase::Syncing => "syncing",
            Phase::Synced => "synced",
            Phase::Closed => "closed",
        })
    }
}

/// How the replica is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MonitorMethod {
    /// `monitor` (RFC 7047 §4.1.5), answered by `update`.
    Monitor,
    /// `monitor_cond` (ovsdb-server(7) §4.1.12), answered by `update2`.
    MonitorCond,
    /// `monitor_cond_since` (ovsdb-server(7) §4.1.15), answered by `update3`: can resume.
    MonitorCondSince,
}

impl MonitorMethod {
    /// The method's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            MonitorMethod::Monitor => "monitor",
            MonitorMethod::MonitorCond => "monitor_cond",
            MonitorMethod::MonitorCondSince => "monitor_cond_since",
        }
    }
}

/// How often what happened since the client was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Attempts to connect.
    pub attempts: u64,
    /// Connections that came as far as a synchronised replica.
    pub sessions: u64,
    /// Synchronisations by a full dump, the first included.
    pub full_syncs: u64,
    /// Synchronisations that resumed where the last session ended.
    pub resumes: u64,
    /// Conversions of the database, or changes of its schema, noticed while connected.
    pub schema_changes: u64,
    /// Replies to requests that were never made.
    pub unexpected_replies: u64,
    /// Transactions whose outcome stayed unknown.
    pub unknown_outcomes: u64,
}

/// The state of a client, as [`Client::state`](crate::Client::state) shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// How far the client has come.
    pub phase: Phase,
    /// The server in use, or being tried.
    pub remote: Option<Remote>,
    /// When `phase` was entered.
    pub since: Option<Instant>,
    /// Whether the server leads its cluster; a standalone server does. Unknown before `_Server` was read, and for
    /// servers without it.
    pub leader: Option<bool>,
    /// The cluster's id; none for a standalone database.
    pub cluster_id: Option<Uuid>,
    /// The server's id in its cluster.
    pub server_id: Option<Uuid>,
    /// The version of the database's schema.
    pub schema_version: Option<String>,
    /// Tables and columns that were to be in the replica, or that a condition is about, and that this server's schema
    /// lacks.
    pub missing: BTreeSet<Missing>,
    /// Columns of which some rows hold what could not be read ([`Row::unreadable`](ovsdb_model::Row::unreadable)): by
    /// table, with the number of rows. The log tells which rows, and why.
    pub unreadable: BTreeMap<Name, BTreeMap<Name, usize>>,
    /// How the replica is kept.
    pub monitor: Option<MonitorMethod>,
    /// Why the last connection, or the last attempt, came to nothing. Kept until the next session is synchronised.
    pub last_error: Option<String>,
    /// Attempts since the last synchronised session.
    pub failures: u32,
    /// What happened how often.
    pub counters: Counters,
}

impl State {
    /// Whether the replica follows a server.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.phase == Phase::Synced
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.phase)?;
        if let Some(remote) = &self.remote {
            write!(f, " {remote}")?;
        }
        match self.leader {
            Some(true) if self.cluster_id.is_some() => write!(f, ", leader")?,
            Some(false) => write!(f, ", follower")?,
            _ => {}
        }
        if let Some(error) = &self.last_error {
            write!(f, ": {error}")?;
        }
        Ok(())
    }
}
