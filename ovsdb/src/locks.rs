//! All locks that a client wants: where each is, and what is to be asked of the server for it.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

/// Where a lock is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LockState {
    /// Not ours: there is no connection, or the lock was not asked for on it yet.
    #[default]
    Disconnected,
    /// In the server's queue behind its holder.
    Waiting,
    /// Ours, as far as the server has told us.
    Held,
    /// Another session took it; we stand in the queue behind it.
    Stolen,
}

/// All locks that a client wants.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    entries: Mutex<Entries>,
    /// The session task has something to ask of the server.
    pub(crate) work: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    by_name: BTreeMap<String, Entry>,
    closed: bool,
}

#[derive(Debug)]
struct Entry {
    state: watch::Sender<LockState>,
    steal: bool,
    handles: usize,
    /// Asked for on the present connection.
    asked: bool,
    /// The server has spoken about it since it was asked for; its reply is older news then.
    told: bool,
}

/// What the session task has to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LockRequest {
    Lock(String),
    Steal(String),
    Unlock(String),
}

impl Locks {
    /// Takes in one more wish for a lock, and shows where it is.
    pub(crate) fn want(&self, name: &str, steal: bool) -> watch::Receiver<LockState> {
        let mut entries = self.entries.lock();
        if entries.closed {
            // Without a sender: whoever waits is told at once.
            return watch::Sender::new(LockState::Disconnected).subscribe();
        }
        let entry = entries
            .by_name
            .entry(name.to_owned())
            .or_insert_with(|| Entry {
                state: watch::Sender::new(LockState::Disconnected),
                steal: false,
                handles: 0,
                asked: false,
                told: false,
            });
        entry.handles += 1;
        if steal && !matches!(*entry.state.borrow(), LockState::Held) {
            entry.steal = true;
        }
        let state = entry.state.subscribe();
        drop(entries);
        self.work.notify_one();
        state
    }

    /// One wish less; with the last the lock is given back.
    pub(crate) fn release(&self, name: &str) {
        if let Some(entry) = self.entries.lock().by_name.get_mut(name) {
            entry.handles = entry.handles.saturating_sub(1);
        }
        self.work.notify_one();
    }

    /// Has the lock taken from whoever holds it.
    pub(crate) fn steal(&self, name: &str) {
        if let Some(entry) = self.entries.lock().by_name.get_mut(name) {
            entry.steal = true;
        }
        self.work.notify_one();
    }

    /// The next thing to ask of the server, marked as asked.
    pub(crate) fn next_request(&self) -> Option<LockRequest> {
        let mut entries = self.entries.lock();
        let unwanted = entries
            .by_name
            .iter()
            .find(|(_, entry)| entry.handles == 0)
            .map(|(name, _)| name.clone());
        if let Some(name) = unwanted {
            let asked = entries
                .by_name
                .remove(&name)
                .is_some_and(|entry| entry.asked);
            if asked {
                return Some(LockRequest::Unlock(name));
            }
            drop(entries);
            return self.next_request();
        }
        for (name, entry) in entries.by_name.iter_mut() {
            let steal = std::mem::take(&mut entry.steal);
            if steal && entry.asked {
                // RFC 7047 §4.1.8: a second request for a lock without an unlock is an error.
                entry.asked = false;
                entry.steal = true;
                return Some(LockRequest::Unlock(name.clone()));
            }
            if steal || !entry.asked {
                entry.asked = true;
                entry.told = false;
                let name = name.clone();
                return Some(if steal {
                    LockRequest::Steal(name)
                } else {
                    LockRequest::Lock(name)
                });
            }
        }
        None
    }

    /// The server's reply to `lock` or `steal`.
    pub(crate) fn replied(&self, name: &str, locked: bool) {
        if let Some(entry) = self.entries.lock().by_name.get(name)
            && !entry.told
        {
            set(
                &entry.state,
                if locked {
                    LockState::Held
                } else {
                    LockState::Waiting
                },
            );
        }
    }

    /// The server's notification `locked` or `stolen`.
    pub(crate) fn notified(&self, name: &str, state: LockState) {
        if let Some(entry) = self.entries.lock().by_name.get_mut(name) {
            entry.told = true;
            set(&entry.state, state);
        }
    }

    /// The client is closed: nobody need wait any more.
    pub(crate) fn close(&self) {
        let mut entries = self.entries.lock();
        for entry in entries.by_name.values() {
            set(&entry.state, LockState::Disconnected);
        }
        entries.by_name.clear();
        entries.closed = true;
    }

    /// With the session go its locks.
    pub(crate) fn disconnected(&self) {
        for entry in self.entries.lock().by_name.values_mut() {
            entry.asked = false;
            set(&entry.state, LockState::Disconnected);
        }
    }
}

fn set(state: &watch::Sender<LockState>, to: LockState) {
    state.send_if_modified(|current| std::mem::replace(current, to) != to);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_follow_wishes() {
        let locks = Locks::default();
        let state = locks.want("a", false);
        assert_eq!(
            locks.next_request(),
            Some(LockRequest::Lock("a".to_owned()))
        );
        assert_eq!(locks.next_request(), None);
        locks.replied("a", false);
        assert_eq!(*state.borrow(), LockState::Waiting);
        locks.notified("a", LockState::Held);
        locks.replied("a", false);
        assert_eq!(
            *state.borrow(),
            LockState::Held,
            "an older reply does not undo news"
        );
        locks.notified("a", LockState::Stolen);
        locks.steal("a");
        assert_eq!(
            locks.next_request(),
            Some(LockRequest::Unlock("a".to_owned()))
        );
        assert_eq!(
            locks.next_request(),
            Some(LockRequest::Steal("a".to_owned()))
        );
        assert_eq!(locks.next_request(), None);
        locks.disconnected();
        assert_eq!(
            locks.next_request(),
            Some(LockRequest::Lock("a".to_owned()))
        );
        locks.release("a");
        assert_eq!(
            locks.next_request(),
            Some(LockRequest::Unlock("a".to_owned()))
        );
        assert_eq!(locks.next_request(), None);
    }
}
