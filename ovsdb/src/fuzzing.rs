//! Doors for the fuzzers (`fuzz/`), built with `--cfg fuzzing` only.

use std::sync::Arc;

use ovsdb_model::{Database, Layout, Name};

use crate::client::Client;
use crate::core::Core;
use crate::framer::{FrameLimits, Framer};
use crate::lock::Lock;
use crate::rpc::digest::{Expectation, digest_for_fuzzing};
use crate::session::handler::{Link, Monitor, SessionHandler};

/// A client that has just asked for a dump, without a socket: what a peer sends goes through framer, envelope, handler
/// and replica as it does in life.
#[derive(Debug)]
pub struct Peer {
    core: Arc<Core>,
    framer: Framer,
    handler: SessionHandler,
    expectation: Expectation,
    _lock: Lock,
}

impl Peer {
    /// Monitors this layout under the id `"m"`, `_Server` as another such database; waits for the replies to the
    /// requests 1 (`monitor_cond_since`), 2 (`monitor_cond`), 3 (`monitor`) and 4 (`transact`); wants the lock `"l"`.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        let core = Core::new(Client::builder(Name::new_static("db")).into_settings());
        let link = Link::new(core.next_generation());
        *link.server.lock() = Some((layout.clone(), Database::new()));
        *link.monitor.lock() = Some(Monitor {
            id: "m".to_owned(),
            layout: layout.clone(),
            conditions: Some(Arc::default()),
        });
        let handler = SessionHandler {
            core: core.clone(),
            link,
        };
        let lock = Lock::new(core.clone(), "l".to_owned(), false);
        let limits = FrameLimits {
            message_bytes: 1 << 16,
            depth: 120,
        };
        Self {
            framer: Framer::new(limits),
            handler,
            expectation: Expectation::default(),
            _lock: lock,
            core,
        }
    }

    /// Receives bytes. `false` where the connection would end.
    pub fn feed(&mut self, bytes: &[u8]) -> bool {
        self.framer.push(bytes);
        loop {
            match self.framer.next_message() {
                Ok(None) => return true,
                Ok(Some(message)) => {
                    self.core.locks.next_request();
                    if digest_for_fuzzing(&message, &mut self.handler, &self.expectation).is_err() {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
    }

    /// The replica.
    pub fn with_replica<T>(&self, look: impl FnOnce(&Database) -> T) -> T {
        look(&self.core.read())
    }
}
