//! Who may write: what the engine is told by whoever elects (the Kubernetes Lease, or the lock of `--manifests`), and
//! what it tells them.
//!
//! The elector only says what it knows. That the word is still true when a transaction arrives is the Northbound's own
//! check: every transaction carries a fence (decision 6), and a fence that fails makes the engine ask the elector
//! again instead of guessing.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

/// What the elector says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Another process writes, or nobody knows yet.
    Standby,
    /// This process may write, under the Lease's transition count.
    Leader {
        /// The Lease's `leaseTransitions` when this process took it.
        epoch: u64,
    },
}

/// The elector's end.
#[derive(Debug)]
pub struct Elector {
    role: watch::Sender<Role>,
    doubts: Arc<Notify>,
}

/// The engine's end.
#[derive(Debug, Clone)]
pub struct Leadership {
    role: watch::Receiver<Role>,
    doubts: Arc<Notify>,
}

/// The two ends of a new election. The role is [`Role::Standby`] until the elector says otherwise.
pub fn channel() -> (Elector, Leadership) {
    let (sender, receiver) = watch::channel(Role::Standby);
    let doubts = Arc::new(Notify::new());
    (
        Elector {
            role: sender,
            doubts: Arc::clone(&doubts),
        },
        Leadership {
            role: receiver,
            doubts,
        },
    )
}

// === impl Elector ===

impl Elector {
    /// Says which role this process has. After [`Elector::doubted`] it must be called again even if the role is the
    /// same: the engine waits for a word that is newer than its doubt.
    pub fn announce(&self, role: Role) {
        self.role.send_replace(role);
    }

    /// Resolves when the engine's fence failed: look at the Lease afresh (not at a cached copy), then
    /// [`Elector::announce`] what it says.
    pub async fn doubted(&self) {
        self.doubts.notified().await;
    }

    /// Resolves when the engine has gone.
    pub async fn closed(&self) {
        self.role.closed().await;
    }
}

// === impl Leadership ===

impl Leadership {
    /// The last word, and marks it as read.
    pub fn role(&mut self) -> Role {
        *self.role.borrow_and_update()
    }

    /// Resolves when the elector has spoken since the last [`Leadership::role`]; pending for ever once it has gone.
    pub async fn changed(&mut self) {
        if self.role.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Tells the elector that the fence failed.
    pub fn doubt(&self) {
        self.doubts.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_same_word_said_again_is_heard() {
        let (elector, mut leadership) = channel();
        assert_eq!(leadership.role(), Role::Standby);
        elector.announce(Role::Leader { epoch: 7 });
        leadership.changed().await;
        assert_eq!(leadership.role(), Role::Leader { epoch: 7 });
        leadership.doubt();
        elector.doubted().await;
        elector.announce(Role::Leader { epoch: 7 });
        leadership.changed().await;
        assert_eq!(leadership.role(), Role::Leader { epoch: 7 });
    }
}
