//! The `_Server` database (ovsdb-server(5)): what a server says of the databases it serves, and whether that will do.

use std::fmt;

use ovsdb_model::{Database, Uuid};

/// The name of the database, and of its monitor.
pub(crate) const SERVER_DATABASE: &str = "_Server";
/// Its only table.
pub(crate) const SERVER_TABLE: &str = "Database";
/// The columns of interest; `schema` is large, and `monitor_canceled` tells of its changes.
pub(crate) const SERVER_COLUMNS: [&str; 7] = [
    "name",
    "model",
    "connected",
    "leader",
    "cid",
    "sid",
    "index",
];

/// How a server has a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Model {
    /// Alone: what it has answered it has done, and what it has canceled it has not.
    #[default]
    Standalone,
    /// As a member of a Raft cluster.
    Clustered,
    /// As a copy of another server's, to which it hands transactions on.
    Relay,
}

/// What tells a database from another one of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Standalone databases have no id: one is as good as another.
    Standalone,
    /// That of the cluster with this id.
    Cluster(Uuid),
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Standalone => f.write_str("a standalone database"),
            Identity::Cluster(id) => write!(f, "that of cluster {id}"),
        }
    }
}

/// A server's row for our database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerRow {
    pub(crate) model: Model,
    pub(crate) connected: bool,
    pub(crate) leader: bool,
    pub(crate) cluster_id: Option<Uuid>,
    pub(crate) server_id: Option<Uuid>,
    pub(crate) index: Option<i64>,
}

/// What is asked of a server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Demands {
    pub(crate) leader_only: bool,
    /// The only cluster that will do.
    pub(crate) cluster_id: Option<Uuid>,
    /// The database that was in use so far, where it is known.
    pub(crate) ours: Option<Identity>,
    /// The highest index seen so far: a server behind it lags.
    pub(crate) index: Option<i64>,
}

/// Why a server will not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("the server has no database {wanted:?}; it has {}", list(.present))]
    NoDatabase {
        wanted: String,
        present: Vec<String>,
    },
    #[error("the server is cut off from the rest of its cluster, or from the server it relays")]
    NotConnected,
    #[error("the server does not lead its cluster, and only the leader will do")]
    NotLeader,
    #[error("the server's database is {found}, and only that of cluster {wanted} will do")]
    OtherCluster { found: String, wanted: Uuid },
    #[error(
        "the server's database is {found}, not {ours} as before: another was made, or the address is wrong"
    )]
    Other { found: Identity, ours: Identity },
    #[error("the server lags: its log is at index {found}, {seen} was seen before")]
    Stale { found: i64, seen: i64 },
}

/// As a part of a sentence.
fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// The names of the databases that a server has, `_Server` aside, sorted.
pub(crate) fn names(database: &Database) -> Vec<String> {
    let rows = database.rows(SERVER_TABLE);
    let mut names: Vec<String> = rows
        .filter_map(|(_, row)| row.get_str("name").map(str::to_owned))
        .filter(|name| name != SERVER_DATABASE)
        .collect();
    names.sort();
    names
}

impl ServerRow {
    /// Finds the row for the database called `name`.
    pub(crate) fn find(database: &Database, name: &str) -> Option<Self> {
        let (_, row) = database
            .rows(SERVER_TABLE)
            .find(|(_, row)| row.get_str("name") == Some(name))?;
        Some(Self {
            model: match row.get_str("model") {
                Some("clustered") => Model::Clustered,
                Some("relay") => Model::Relay,
                _ => Model::Standalone,
            },
            connected: row.get_bool("connected").unwrap_or(true),
            leader: row.get_bool("leader").unwrap_or(true),
            cluster_id: row.get_uuid("cid"),
            server_id: row.get_uuid("sid"),
            index: row.get_integer("index"),
        })
    }

    /// Which database it is. A relay does not say of which its copy is, nor does a server that has not joined its cluster.
    pub(crate) fn identity(&self) -> Option<Identity> {
        match self.model {
            Model::Standalone => Some(Identity::Standalone),
            Model::Clustered => self.cluster_id.map(Identity::Cluster),
            Model::Relay => None,
        }
    }

    /// Whether it is connected to the rest of its cluster, or to what it relays.
    pub(crate) fn is_connected(&self) -> bool {
        self.model == Model::Standalone || self.connected
    }

    pub(crate) fn judge(&self, demands: &Demands) -> Result<(), Unfit> {
        if let Some(wanted) = demands.cluster_id
            && self.cluster_id != Some(wanted)
        {
            let found = match (self.model, self.identity()) {
                (Model::Relay, _) => "a relay's, which does not say of which cluster".to_owned(),
                (_, Some(identity)) => identity.to_string(),
                (_, None) => "of no cluster yet".to_owned(),
            };
            return Err(Unfit::OtherCluster { found, wanted });
        }
        if let (Some(found), Some(ours)) = (self.identity(), demands.ours)
            && found != ours
        {
            return Err(Unfit::Other { found, ours });
        }
        if !self.is_connected() {
            return Err(Unfit::NotConnected);
        }
        if self.model == Model::Standalone {
            return Ok(());
        }
        if demands.leader_only && !self.leader {
            return Err(Unfit::NotLeader);
        }
        if let (Some(found), Some(seen)) = (self.index, demands.index)
            && found < seen
        {
            return Err(Unfit::Stale { found, seen });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_judged() {
        let id = Uuid::from_u128(7);
        let member = ServerRow {
            model: Model::Clustered,
            connected: true,
            cluster_id: Some(id),
            index: Some(5),
            ..ServerRow::default()
        };
        let any = Demands::default();
        let leader = Demands {
            leader_only: true,
            ..any
        };
        let far = Demands {
            index: Some(6),
            ..any
        };
        let other = Demands {
            cluster_id: Some(Uuid::from_u128(8)),
            ..any
        };
        let used = |ours| Demands {
            ours: Some(ours),
            ..any
        };
        assert_eq!(member.judge(&any), Ok(()));
        assert_eq!(member.judge(&leader), Err(Unfit::NotLeader));
        assert_eq!(member.judge(&far), Err(Unfit::Stale { found: 5, seen: 6 }));
        assert!(matches!(
            member.judge(&other),
            Err(Unfit::OtherCluster { .. })
        ));
        let standalone = ServerRow::default();
        assert!(matches!(
            standalone.judge(&other),
            Err(Unfit::OtherCluster { .. })
        ));
        for (row, ours) in [
            (&member, Identity::Standalone),
            (&member, Identity::Cluster(Uuid::from_u128(8))),
            (&standalone, Identity::Cluster(id)),
        ] {
            let judged = row.judge(&used(ours));
            assert!(matches!(judged, Err(Unfit::Other { .. })), "{judged:?}");
        }
        assert_eq!(member.judge(&used(Identity::Cluster(id))), Ok(()));
        assert_eq!(standalone.judge(&used(Identity::Standalone)), Ok(()));
        let cut_off = ServerRow {
            connected: false,
            ..member.clone()
        };
        assert_eq!(cut_off.judge(&any), Err(Unfit::NotConnected));
        let relay = |connected| ServerRow {
            model: Model::Relay,
            connected,
            cluster_id: None,
            ..member.clone()
        };
        assert_eq!(relay(true).judge(&any), Ok(()));
        assert_eq!(relay(true).judge(&used(Identity::Cluster(id))), Ok(()));
        assert!(matches!(
            relay(true).judge(&other),
            Err(Unfit::OtherCluster { .. })
        ));
        assert_eq!(relay(true).judge(&leader), Err(Unfit::NotLeader));
        assert_eq!(relay(false).judge(&any), Err(Unfit::NotConnected));
        assert_eq!(
            ServerRow::default().judge(&leader),
            Ok(()),
            "a standalone server leads"
        );
    }
}
