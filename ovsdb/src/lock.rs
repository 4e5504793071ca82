//! Locks of the server (RFC 7047 §4.1.8 to §4.1.10): named, held by one session at a time, queued for, and stolen.
//!
//! A [`Lock`] asks for its lock again after every reconnection. That a lock was held a moment ago proves nothing: a
//! transaction that depends on one must assert it ([`Transaction::assert_lock`](crate::Transaction::assert_lock)).

use std::sync::Arc;

use tokio::sync::watch;

use crate::core::Core;
use crate::locks::LockState;

/// A lock that this client wants, from [`Client::lock`](crate::Client::lock). Dropping the last handle gives it back.
#[derive(Debug)]
pub struct Lock {
    name: String,
    core: Arc<Core>,
    state: watch::Receiver<LockState>,
}

impl Lock {
    pub(crate) fn new(core: Arc<Core>, name: String, steal: bool) -> Self {
        let state = core.locks.want(&name, steal);
        Self { name, core, state }
    }

    /// The lock's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is now.
    #[must_use]
    pub fn state(&self) -> LockState {
        *self.state.borrow()
    }

    /// Whether it is ours, as far as the server has told us.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.state() == LockState::Held
    }

    /// Waits until it is ours. `false`: the client is closed, and it will not be.
    pub async fn held(&mut self) -> bool {
        self.until(LockState::Held).await
    }

    /// Waits until it is not, or no longer, ours.
    pub async fn lost(&mut self) {
        // An error says that the client is closed: the lock is lost as well.
        let _ = self.state.wait_for(|state| *state != LockState::Held).await;
    }

    /// Waits for a state. `false`: the client is closed, and it will not come.
    pub async fn until(&mut self, wanted: LockState) -> bool {
        self.state.wait_for(|state| *state == wanted).await.is_ok()
    }

    /// Waits until the state is another than the one last seen by this or another of the methods that wait, and returns
    /// it. `None`: the client is closed.
    pub async fn changed(&mut self) -> Option<LockState> {
        self.state.changed().await.ok()?;
        Some(*self.state.borrow_and_update())
    }

    /// Takes the lock from whoever holds it.
    pub fn steal(&self) {
        self.core.locks.steal(&self.name);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.core.locks.release(&self.name);
    }
}
