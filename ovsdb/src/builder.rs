//! How a client is described before it is made.

use std::time::Duration;

use ovsdb_model::schema::TableSpec;
use ovsdb_model::{Clause, Index, Name, Table, Uuid};

use crate::client::Client;
use crate::condition::ByTable;
use crate::core::{Core, Settings};
use crate::remote::{Remote, RemoteError};
use crate::rpc::framer::FrameLimits;
use crate::session::keep;
use crate::tls::{TlsError, TlsOptions};

/// What a client shall be; from [`Client::builder`].
#[derive(Debug)]
pub struct Builder {
    settings: Settings,
}

/// Why a client cannot be made as described.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is nothing to connect to.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// An `ssl:` remote without TLS options, or with files that cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Client {
    /// Begins to describe a client of the database called `database`.
    pub fn builder(database: impl Into<Name>) -> Builder {
        Builder {
            settings: Settings {
                remotes: Vec::new(),
                tls: None,
                database: database.into(),
                tables: Vec::new(),
                everything: false,
                indexes: Vec::new(),
                conditions: ByTable::new(),
                leader_only: true,
                cluster_id: None,
                probe_interval: Some(Duration::from_secs(10)),
                connect_timeout: Duration::from_secs(5),
                stall_limit: Duration::from_secs(30),
                deadline: Duration::from_secs(60),
                backoff: (Duration::from_millis(50), Duration::from_secs(4)),
                limits: FrameLimits::default(),
            },
        }
    }
}

impl Builder {
    /// Adds endpoints: all members of a cluster, or one server. Tried in this order, round and round.
    #[must_use]
    pub fn remotes(mut self, remotes: impl IntoIterator<Item = Remote>) -> Self {
        for remote in remotes {
            if !self.settings.remotes.contains(&remote) {
                self.settings.remotes.push(remote);
            }
        }
        self
    }

    /// Adds one endpoint.
    #[must_use]
    pub fn remote(self, remote: Remote) -> Self {
        self.remotes([remote])
    }

    /// How `ssl:` endpoints are spoken to.
    #[must_use]
    pub fn tls(mut self, options: TlsOptions) -> Self {
        self.settings.tls = Some(options);
        self
    }

    /// Keeps the columns that `T` uses in the replica. A server whose schema has one of them with another type is
    /// refused.
    #[must_use]
    pub fn table<T: Table>(self) -> Self {
        self.tables([TableSpec::of::<T>()])
    }

    /// Keeps what these describe in the replica; several may describe one table.
    #[must_use]
    pub fn tables(mut self, tables: impl IntoIterator<Item = TableSpec>) -> Self {
        self.settings.tables.extend(tables);
        self
    }

    /// Keeps these columns of a table in the replica; without any, its rows and nothing of what they hold.
    #[must_use]
    pub fn columns<N: Into<Name>>(
        self,
        table: impl Into<Name>,
        columns: impl IntoIterator<Item = N>,
    ) -> Self {
        self.tables([TableSpec::columns(table, columns)])
    }

    /// Keeps all columns of a table in the replica.
    #[must_use]
    pub fn all_columns(self, table: impl Into<Name>) -> Self {
        self.tables([TableSpec::all(table)])
    }

    /// Keeps the whole database in the replica.
    #[must_use]
    pub fn everything(mut self) -> Self {
        self.settings.everything = true;
        self
    }

    /// Keeps an index of a table's rows in the replica.
    #[must_use]
    pub fn index(mut self, table: impl Into<Name>, index: Index) -> Self {
        self.settings.indexes.push((table.into(), index));
        self
    }

    /// Keeps only those rows of a table in the replica that meet one of these clauses (no row, without any). Its
    /// columns need not be in the replica. A row that comes to meet a clause, or no longer does, is inserted or deleted
    /// as far as the replica and the streams of changes tell; what a transaction writes outside of it is written all
    /// the same.
    ///
    /// A clause on a column that the server's schema lacks is left out, and reported once. There it is as if every row had
    /// the value that a new column begins with (empty, or zero, `false` or no text): such a clause is met by no row or, as
    /// one that wants another value than these, by every row.
    ///
    /// Given again for a table, the later counts. [`Client::set_condition`] changes it later on.
    ///
    /// A server before Open vSwitch 2.6 has no such thing (`monitor_cond`) and will not do.
    #[must_use]
    pub fn condition(
        mut self,
        table: impl Into<Name>,
        clauses: impl IntoIterator<Item = Clause>,
    ) -> Self {
        let clauses = clauses.into_iter().collect();
        self.settings.conditions.insert(table.into(), clauses);
        self
    }

    /// Whether only the leader of a cluster will do. Yes unless set: a follower's replica may lag, and what is written
    /// through it takes a step more. With `false`, any server that is connected to its cluster will do.
    #[must_use]
    pub fn leader_only(mut self, leader_only: bool) -> Self {
        self.settings.leader_only = leader_only;
        self
    }

    /// Refuses any database but that of this cluster. Without it the database met first, a cluster or a standalone one, is
    /// kept to. Another is refused while ours may be found at any endpoint, and taken for its successor once ours has been
    /// gone for ten seconds; for one, where it is at an endpoint that had ours and every other endpoint has something else
    /// too. So a cluster that was rescued into a standalone database or made anew is followed, and a member of another
    /// cluster that lies beside ours is not.
    #[must_use]
    pub fn cluster_id(mut self, cluster_id: Uuid) -> Self {
        self.settings.cluster_id = Some(cluster_id);
        self
    }

    /// After so much silence the server is asked for a sign of life; after twice as much it counts as dead. Ten seconds
    /// unless set; `None` never asks. Longer than a server may be busy with one thing (a large dump, a compaction).
    #[must_use]
    pub fn probe_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.settings.probe_interval = interval.into().filter(|interval| !interval.is_zero());
        self
    }

    /// How long a connection, its TLS handshake included, may take to make; five seconds unless set.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// How long a server may take nothing of what is sent to it; thirty seconds unless set.
    #[must_use]
    pub fn stall_limit(mut self, limit: Duration) -> Self {
        self.settings.stall_limit = limit;
        self
    }

    /// How long the answer to a request may take before it is canceled; sixty seconds unless set. A
    /// [`Transaction`](crate::Transaction) can have a [limit of its own](crate::Transaction::deadline).
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// The shortest and the longest pause (before jitter, which adds up to as much again) between two rounds of the
    /// endpoints; 50 ms and 4 s unless set.
    #[must_use]
    pub fn backoff(mut self, shortest: Duration, longest: Duration) -> Self {
        self.settings.backoff = (shortest, longest.max(shortest));
        self
    }

    /// Bounds on the server's messages; 1 GiB and 120 levels unless set.
    #[must_use]
    pub fn limits(mut self, limits: FrameLimits) -> Self {
        self.settings.limits = limits;
        self
    }

    #[cfg(fuzzing)]
    pub(crate) fn into_settings(self) -> Settings {
        self.settings
    }

    /// Makes the client and starts to connect, on the present tokio runtime. Does not wait:
    /// [`Client::synced`] does.
    ///
    /// # Errors
    /// [`BuildError`] for what can be told to never work.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Result<Client, BuildError> {
        if self.settings.remotes.is_empty() {
            return Err(BuildError::Remote(RemoteError {
                text: String::new(),
                reason: "no remote given",
            }));
        }
        if self.settings.remotes.iter().any(Remote::is_tls) {
            let tls = self.settings.tls.as_ref().ok_or(TlsError::Missing)?;
            tls.client_config()?;
        }
        let core = Core::new(self.settings);
        tokio::spawn(keep(core.clone()));
        Ok(Client::from_core(core))
    }
}
