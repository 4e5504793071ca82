//! Whether this process may write, and the proof it puts at the head of every transaction (decision 6).
//!
//! With Kubernetes a Lease elects, and its transition count is the epoch, kept in `NB_Global.external_ids` under a key
//! of the owner; every transaction waits on that value with timeout 0. With `--manifests` an OVSDB lock elects and every transaction
//! asserts it. Either way it is the Northbound that decides, at the moment of writing.

use std::time::{Duration, Instant};

use ovsdb::model::{Database, Name, Operation, Row};
use ovsdb::{Client, Fence, Lock, LockState, TransactError, Transaction};
use tracing::{debug, info, warn};

use super::live::NB_GLOBAL;
use crate::leadership::{Leadership, Role};

/// How long to believe a doubt where nothing new is heard.
const DOUBT: Duration = Duration::from_secs(1);

/// Who elects.
#[derive(Debug)]
pub enum Authority {
    /// A lock of the Northbound's server.
    Lock(LockAuthority),
    /// A Lease, by way of whoever watches it.
    Lease(LeaseAuthority),
}

/// An OVSDB lock.
#[derive(Debug)]
pub struct LockAuthority {
    lock: Lock,
    told: Option<LockState>,
    /// The server said that the lock is not ours, and has not said otherwise since.
    doubted: Option<Instant>,
}

/// A Lease and the fence made from its transition count.
#[derive(Debug)]
pub struct LeaseAuthority {
    leadership: Leadership,
    role: Role,
    fence: Fence,
    /// The fence whose claim is on its way.
    claiming: Option<Fence>,
    standing: LeaseStanding,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LeaseStanding {
    /// The epoch has to be written first.
    Unclaimed,
    /// It is in the Northbound.
    Claimed,
    /// It was refused: the elector has to speak first.
    Doubted,
}

/// What the engine may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing but read.
    Standby,
    /// Claim the epoch, then write.
    Claim,
    /// Write.
    Writes,
}

// === impl Authority ===

impl Authority {
    /// `yusur_<owner>`, with '_' for '-': a lock's name is an `<id>` (RFC 7047 §3.1), and an owner has no '_'.
    pub fn lock_name(owner: &str) -> String {
        format!("yusur_{}", owner.replace('-', "_"))
    }

    /// The key of `NB_Global.external_ids` that has the owner's epoch.
    pub fn epoch_key(owner: &str) -> String {
        format!("yusur.io/epoch/{owner}")
    }

    /// The lock of the owner's [name](Self::lock_name).
    pub fn lock(client: &Client, owner: &str) -> Self {
        let lock = client.lock(Self::lock_name(owner));
        Self::Lock(LockAuthority {
            lock,
            told: None,
            doubted: None,
        })
    }

    /// The Lease that `leadership` tells of.
    pub fn lease(leadership: Leadership, owner: &str) -> Self {
        let fence = Fence::new(NB_GLOBAL, "external_ids", Self::epoch_key(owner), "0");
        let standing = LeaseStanding::Unclaimed;
        Self::Lease(LeaseAuthority {
            leadership,
            role: Role::Standby,
            fence,
            claiming: None,
            standing,
        })
    }

    /// Resolves when the standing may be another. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        match self {
            Self::Lock(lock) => {
                lock.lock.changed().await;
                lock.doubted = None;
            }
            Self::Lease(lease) => {
                lease.leadership.changed().await;
                let role = lease.leadership.role();
                if let Role::Leader { epoch } = role {
                    lease.fence = lease.fence.with_value(epoch.to_string());
                }
                lease.role = role;
                lease.standing = LeaseStanding::Unclaimed;
            }
        }
    }

    /// What the engine may do.
    pub(super) fn standing(&mut self, now: Instant) -> Standing {
        match self {
            Self::Lock(lock) => {
                let state = lock.lock.state();
                if lock.told.replace(state) != Some(state) {
                    match state {
                        LockState::Held => info!(lock = lock.lock.name(), "this process writes"),
                        LockState::Waiting => {
                            info!(
                                lock = lock.lock.name(),
                                "another process writes; waiting for it to end"
                            );
                        }
                        LockState::Stolen => warn!(
                            lock = lock.lock.name(),
                            "the lock was taken from this process"
                        ),
                        LockState::Disconnected => {
                            debug!(lock = lock.lock.name(), "no lock without a connection")
                        }
                    }
                }
                let doubted = lock
                    .doubted
                    .is_some_and(|since| now.duration_since(since) < DOUBT);
                if state == LockState::Held && !doubted {
                    Standing::Writes
                } else {
                    Standing::Standby
                }
            }
            Self::Lease(lease) => match (lease.role, lease.standing) {
                (Role::Leader { .. }, LeaseStanding::Claimed) => Standing::Writes,
                (Role::Leader { .. }, LeaseStanding::Unclaimed) => Standing::Claim,
                _ => Standing::Standby,
            },
        }
    }

    /// The epoch, for the metric; 0 with a lock.
    pub(super) fn epoch(&self) -> u64 {
        match self {
            Self::Lease(LeaseAuthority {
                role: Role::Leader { epoch },
                ..
            }) => *epoch,
            _ => 0,
        }
    }

    /// The operations with the proof, and the writer's name for the database's log (`ovsdb-tool show-log`).
    pub(super) fn prove(&self, mut operations: Vec<Operation>) -> Transaction {
        operations.push(self.signature());
        let transaction = Transaction::new(operations);
        match self {
            Self::Lock(lock) => transaction.assert_lock(Name::from(lock.lock.name())),
            Self::Lease(lease) => transaction.fence(lease.fence.clone()),
        }
    }

    fn signature(&self) -> Operation {
        Operation::Comment(match self {
            Self::Lock(_) => "yusur-controller".to_owned(),
            Self::Lease(lease) => format!("yusur-controller epoch {}", lease.fence.value()),
        })
    }

    /// The transaction that claims the epoch; `None` where it is in the Northbound already. `database` is where the
    /// value before is read.
    pub(super) fn claim(&mut self, database: &Database) -> Option<Transaction> {
        let Self::Lease(lease) = self else {
            return None;
        };
        let row = database.rows(NB_GLOBAL).next().map(|(_, row)| row);
        let previous = row
            .as_ref()
            .and_then(|row| row.map_str("external_ids", lease.fence.key()));
        if previous == Some(lease.fence.value()) {
            lease.standing = LeaseStanding::Claimed;
            return None;
        }
        lease.claiming = Some(lease.fence.clone());
        let mut operations = lease.fence.claim(previous);
        if row.is_none() {
            // A Northbound that nothing has used yet; the table's one row holds the epoch.
            operations.insert(
                0,
                Operation::Insert {
                    table: Name::new_static(NB_GLOBAL),
                    uuid: None,
                    row: Row::new(),
                },
            );
        }
        operations.push(self.signature());
        Some(Transaction::new(operations))
    }

    /// How the claim ended.
    pub(super) fn claimed(&mut self, result: &Result<(), TransactError>) {
        let Self::Lease(lease) = self else { return };
        // The elector may have spoken meanwhile: then there is another epoch to claim.
        if lease.claiming.take().as_ref() != Some(&lease.fence) {
            return;
        }
        match result {
            Ok(()) => {
                info!(epoch = lease.fence.value(), "this process writes");
                lease.standing = LeaseStanding::Claimed;
            }
            Err(
                TransactError::Fenced(_) | TransactError::Retry(ovsdb::RetryReason::WaitFailed(_)),
            ) => {
                warn!(
                    epoch = lease.fence.value(),
                    "another process has claimed the Northbound; looking at the Lease"
                );
                lease.standing = LeaseStanding::Doubted;
                lease.leadership.doubt();
            }
            Err(error) => {
                warn!(epoch = lease.fence.value(), %error, "the epoch could not be claimed; trying again")
            }
        }
    }

    /// The Northbound refused the proof.
    pub(super) fn doubted(&mut self, now: Instant) {
        match self {
            Self::Lock(lock) => {
                warn!(
                    lock = lock.lock.name(),
                    "the server says that another process holds the lock"
                );
                lock.doubted = Some(now);
            }
            Self::Lease(lease) => {
                warn!(
                    epoch = lease.fence.value(),
                    "the fence refused a transaction; looking at the Lease"
                );
                lease.standing = LeaseStanding::Doubted;
                lease.leadership.doubt();
            }
        }
    }

    /// When a doubt ends by itself.
    pub(super) fn due(&self) -> Option<Instant> {
        match self {
            Self::Lock(lock) => lock.doubted.map(|since| since + DOUBT),
            Self::Lease(_) => None,
        }
    }
}
