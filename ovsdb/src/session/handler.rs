//! What comes from a server without being a plain reply, applied in the order of the wire.

use std::sync::Arc;

use ovsdb_model::update::Format;
use ovsdb_model::{ApplyError, Batch, Database, Layout, Update, Uuid};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::core::{Core, Resume};
use crate::lock::LockState;
use crate::rpc::transport::Handler;
use crate::server_db::{SERVER_DATABASE, ServerRow};
use crate::state::MonitorMethod;

/// A monitor that is, or is about to be, in place on a connection.
#[derive(Debug)]
pub(crate) struct Monitor {
    /// Its id on the wire, as JSON.
    pub(crate) id: String,
    pub(crate) layout: Layout,
}

/// What the handler and the session of one connection share.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) generation: u64,
    /// The monitor of our database.
    pub(crate) monitor: Mutex<Option<Monitor>>,
    /// The `_Server` database, its layout and content.
    pub(crate) server: Mutex<Option<(Layout, Database)>>,
    /// Its row for our database.
    pub(crate) server_row: watch::Sender<Option<ServerRow>>,
    /// Counts `monitor_canceled` for our monitor.
    pub(crate) canceled: watch::Sender<u64>,
    /// Whether the last dump replaced the replica (or a resume went on with it).
    pub(crate) resumed: Mutex<bool>,
}

impl Link {
    pub(crate) fn new(generation: u64) -> Arc<Self> {
        Arc::new(Self {
            generation,
            monitor: Mutex::default(),
            server: Mutex::default(),
            server_row: watch::Sender::new(None),
            canceled: watch::Sender::new(0),
            resumed: Mutex::default(),
        })
    }
}

#[derive(Debug)]
pub(crate) struct SessionHandler {
    pub(crate) core: Arc<Core>,
    pub(crate) link: Arc<Link>,
}

impl Handler for SessionHandler {
    fn notification(&mut self, method: &str, params: &str) -> Result<(), String> {
        let method = match method {
            "update" => MonitorMethod::Monitor,
            "update2" => MonitorMethod::MonitorCond,
            "update3" => MonitorMethod::MonitorCondSince,
            "locked" | "stolen" => {
                let [name]: [String; 1] = parse(params)?;
                let state = if method == "locked" {
                    LockState::Held
                } else {
                    LockState::Stolen
                };
                self.core.locks.notified(&name, state);
                return Ok(());
            }
            "monitor_canceled" => {
                let [id]: [&RawValue; 1] = parse(params)?;
                self.canceled(id.get());
                return Ok(());
            }
            other => {
                tracing::debug!(method = other, "notification of an unknown kind ignored");
                return Ok(());
            }
        };
        if method == MonitorMethod::MonitorCondSince {
            let (id, transaction, updates): (&RawValue, Uuid, &RawValue) = parse(params)?;
            self.update(method, id.get(), Some(transaction), updates.get())
        } else {
            let (id, updates): (&RawValue, &RawValue) = parse(params)?;
            self.update(method, id.get(), None, updates.get())
        }
    }

    fn monitored(&mut self, method: &str, monitor: &str, result: &str) -> Result<(), String> {
        match method {
            "monitor_cond_since" => {
                let (found, transaction, updates): (bool, Uuid, &RawValue) = parse(result)?;
                if found {
                    *self.link.resumed.lock() = true;
                    self.update(
                        MonitorMethod::MonitorCondSince,
                        monitor,
                        Some(transaction),
                        updates.get(),
                    )
                } else {
                    self.dump(
                        MonitorMethod::MonitorCondSince,
                        monitor,
                        Some(transaction),
                        updates.get(),
                    )
                }
            }
            "monitor_cond" => self.dump(MonitorMethod::MonitorCond, monitor, None, result),
            _ => self.dump(MonitorMethod::Monitor, monitor, None, result),
        }
    }
}

impl SessionHandler {
    /// Changes since the last update.
    fn update(
        &self,
        method: MonitorMethod,
        id: &str,
        transaction: Option<Uuid>,
        updates: &str,
    ) -> Result<(), String> {
        if is_server(id) {
            return self.server(method, updates, |database, _, update| {
                database.apply(update)
            });
        }
        self.main(method, id, transaction, updates, |database, _, update| {
            database.apply(update)
        })
    }

    /// The whole content.
    fn dump(
        &self,
        method: MonitorMethod,
        id: &str,
        transaction: Option<Uuid>,
        updates: &str,
    ) -> Result<(), String> {
        if is_server(id) {
            return self.server(method, updates, Database::reconcile);
        }
        *self.link.resumed.lock() = false;
        self.main(method, id, transaction, updates, Database::reconcile)
    }

    fn main(
        &self,
        method: MonitorMethod,
        id: &str,
        transaction: Option<Uuid>,
        updates: &str,
        change: impl FnOnce(&mut Database, &Layout, Update) -> Result<Batch, ApplyError>,
    ) -> Result<(), String> {
        let monitor = self.link.monitor.lock();
        let Some(monitor) = monitor.as_ref().filter(|monitor| monitor.id == id) else {
            return Ok(());
        };
        // Read before the replica is locked: readers wait for the change alone.
        let update =
            decode(&monitor.layout, method, updates).inspect_err(|_| self.core.forget_resume())?;
        // A standalone server has no history, and says zero.
        let resume = transaction
            .filter(|id| !id.is_nil())
            .map(|transaction| Resume {
                transaction,
                layout: monitor.layout.clone(),
            });
        self.core
            .change(self.link.generation, resume, |database| {
                change(database, &monitor.layout, update)
            })
            .map_err(|error| error.to_string())
    }

    fn server(
        &self,
        method: MonitorMethod,
        updates: &str,
        change: impl FnOnce(&mut Database, &Layout, Update) -> Result<Batch, ApplyError>,
    ) -> Result<(), String> {
        let mut server = self.link.server.lock();
        let Some((layout, database)) = server.as_mut() else {
            return Ok(());
        };
        let update = decode(layout, method, updates)?;
        change(database, layout, update).map_err(|error| error.to_string())?;
        let row = ServerRow::find(database, &self.core.settings.database);
        self.link.server_row.send_if_modified(|current| {
            let changed = *current != row;
            *current = row;
            changed
        });
        Ok(())
    }

    fn canceled(&self, id: &str) {
        let mut monitor = self.link.monitor.lock();
        if monitor.as_ref().is_some_and(|monitor| monitor.id == id) {
            // What was held stays readable; the next dump tells the differences.
            *monitor = None;
            self.link.canceled.send_modify(|count| *count += 1);
        }
    }
}

fn is_server(id: &str) -> bool {
    id.trim_matches('"') == SERVER_DATABASE
}

fn decode(layout: &Layout, method: MonitorMethod, updates: &str) -> Result<Update, String> {
    let format = match method {
        MonitorMethod::Monitor => Format::Update,
        MonitorMethod::MonitorCond | MonitorMethod::MonitorCondSince => Format::Update2,
    };
    layout
        .decode(updates, format)
        .map_err(|error| error.to_string())
}

fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}
