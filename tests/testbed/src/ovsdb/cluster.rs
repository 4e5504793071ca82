//! A Raft cluster of ovsdb-servers.

use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::Dump;
use super::server::{Server, Setup, free_ports, own_loopback_address};
use crate::process::{poll, run};
use crate::schemas::Schema;
use crate::scratch;

/// What a member says of the cluster (`cluster/status`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// `leader`, `follower` or `candidate`.
    pub role: String,
    /// The whole UUID of the cluster.
    pub cluster_id: String,
    /// The short id of this server.
    pub server_id: String,
    /// The short id of the leader this server knows, itself included; `None` while it knows none.
    pub leader: Option<String>,
    /// Raft's term.
    pub term: u64,
    /// Whether the server has joined for good.
    pub joined: bool,
}

/// Several ovsdb-servers in one Raft cluster, in a directory of their own.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Server>,
    database: String,
    // Last: the servers die before their files go.
    _dir: TempDir,
}

impl Cluster {
    /// Raft's election timer in milliseconds: a killed leader is replaced after one or two of these, and one that does not
    /// get to run for so long on a busy machine is, too, which tests do not expect.
    pub const ELECTION_TIMER_MS: u32 = 1500;

    /// Starts a cluster of `size` servers with an empty database of `schema`, and waits until all have joined and know
    /// the leader.
    ///
    /// # Errors
    /// If Open vSwitch's programs are missing or a server does not come up; with its log.
    pub fn start(size: usize, schema: &Schema) -> Result<Self> {
        if size == 0 {
            bail!("a cluster needs at least one server");
        }
        let dir = scratch::directory("ovsdb")?;
        let mut members = Vec::with_capacity(size);
        let mut first = None;
        for index in 0..size {
            let home = dir.path().join(index.to_string());
            std::fs::create_dir(&home).with_context(|| format!("making {}", home.display()))?;
            let file = home.join("db");
            // For its fellows, apart from what clients are served on.
            let [raft] = free_ports(own_loopback_address())?;
            let address = format!("tcp:{raft}");
            let mut tool = Command::new("ovsdb-tool");
            match &first {
                None => tool
                    .arg(format!("--election-timer={}", Self::ELECTION_TIMER_MS))
                    .arg("create-cluster")
                    .arg(&file)
                    .arg(&schema.path)
                    .arg(&address),
                Some(first) => tool
                    .arg("join-cluster")
                    .arg(&file)
                    .arg(&schema.name)
                    .arg(&address)
                    .arg(first),
            };
            run(&mut tool)?;
            first.get_or_insert(address);
            members.push(Server::launch(Setup {
                dir: home,
                file,
                database: schema.name.clone(),
                address: own_loopback_address(),
                identity: None,
            })?);
        }
        let cluster = Self {
            members,
            database: schema.name.clone(),
            _dir: dir,
        };
        cluster.wait_settled()?;
        Ok(cluster)
    }

    /// The servers, running or not, in the order they joined.
    pub fn members(&self) -> &[Server] {
        &self.members
    }

    /// Server number `index`.
    ///
    /// # Panics
    /// If there is no such server.
    pub fn member(&self, index: usize) -> &Server {
        &self.members[index]
    }

    /// The TCP remotes of all members, with commas between: what OVSDB clients take.
    pub fn remotes(&self) -> String {
        self.join(Server::tcp)
    }

    /// The unix remotes of all members, with commas between.
    pub fn unix_remotes(&self) -> String {
        self.join(Server::unix)
    }

    /// What server number `index` says of the cluster.
    ///
    /// # Errors
    /// If it is down or its answer cannot be read.
    pub fn status(&self, index: usize) -> Result<MemberStatus> {
        let text = self.members[index].appctl(&["cluster/status", &self.database])?;
        parse_status(&text).with_context(|| format!("reading cluster/status:\n{text}"))
    }

    /// The number of the server that leads, waiting for an election to end where there is one.
    ///
    /// # Errors
    /// If none leads for a long time.
    pub fn leader(&self) -> Result<usize> {
        let mut leader = None;
        poll(|| {
            let mut best: Option<(u64, usize)> = None;
            for index in 0..self.members.len() {
                // A member that is down, frozen or starting has no say.
                let Ok(status) = self.status(index) else {
                    continue;
                };
                if status.role == "leader" && best.is_none_or(|(term, _)| term < status.term) {
                    best = Some((status.term, index));
                }
            }
            leader = best.map(|(_, index)| index);
            Ok(leader.is_some())
        })
        .context("waiting for a leader")?;
        leader.context("no leader")
    }

    /// Waits until every running server has joined and knows one and the same leader; returns its number.
    ///
    /// # Errors
    /// If that does not come about.
    pub fn wait_settled(&self) -> Result<usize> {
        let mut leader = None;
        poll(|| {
            let mut roles = Vec::new();
            for (index, member) in self.members.iter().enumerate() {
                if member.is_running() {
                    let Ok(status) = self.status(index) else {
                        return Ok(false);
                    };
                    roles.push((index, status));
                }
            }
            leader = roles
                .iter()
                .find(|(_, status)| status.role == "leader")
                .map(|&(index, _)| index);
            let mut known = roles.iter().map(|(_, status)| &status.leader);
            let one = known.next().cloned().flatten();
            Ok(leader.is_some()
                && one.is_some()
                && known.all(|leader| *leader == one)
                && roles.iter().all(|(_, status)| status.joined))
        })
        .context("waiting for all members to know one leader")?;
        leader.context("no leader")
    }

    /// Kills the leader (SIGKILL) and returns its number; another is elected in its own time.
    ///
    /// # Errors
    /// If there is no leader to kill.
    pub fn kill_leader(&self) -> Result<usize> {
        let leader = self.leader()?;
        self.members[leader].kill()?;
        Ok(leader)
    }

    /// Has the leader hand over to another server, in an orderly way; returns the new leader's number.
    ///
    /// # Errors
    /// If the leader refuses or nobody takes over.
    pub fn transfer_leadership(&self) -> Result<usize> {
        let old = self.leader()?;
        let mut new = old;
        // The term in which it was asked: where the one it hands over to loses the election, it may lead the next.
        let mut asked = None;
        poll(|| {
            new = self.leader()?;
            if new != old {
                return Ok(true);
            }
            let term = self.status(old)?.term;
            if asked != Some(term) {
                self.members[old].appctl(&["cluster/failure-test", "transfer-leadership"])?;
                asked = Some(term);
            }
            Ok(false)
        })
        .context("waiting for another leader")?;
        Ok(new)
    }

    /// The database as server number `index` has it (a follower may lag behind).
    ///
    /// # Errors
    /// As [`Server::dump`].
    pub fn dump(&self, index: usize) -> Result<Dump> {
        self.members[index].dump()
    }

    fn join(&self, remote: impl Fn(&Server) -> String) -> String {
        self.members
            .iter()
            .map(remote)
            .collect::<Vec<_>>()
            .join(",")
    }
}

fn parse_status(text: &str) -> Result<MemberStatus> {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .with_context(|| format!("no field {name}"))
    };
    let short = |id: &str| id.split_whitespace().next().unwrap_or_default().to_owned();
    let server_id = short(field("Server ID")?);
    Ok(MemberStatus {
        role: field("Role")?.to_owned(),
        cluster_id: field("Cluster ID")?
            .split(['(', ')'])
            .nth(1)
            .unwrap_or_default()
            .to_owned(),
        leader: match field("Leader")? {
            "unknown" => None,
            "self" => Some(server_id.clone()),
            other => Some(short(other)),
        },
        term: field("Term")?.parse().context("the term")?,
        joined: field("Status")? == "cluster member",
        server_id,
    })
}
