//! What comes from a server without being a plain reply, applied in the order of the wire.

use std::collections::BTreeMap;
use std::sync::Arc;

use ovsdb_model::update::{Format, SinceReply, decode_notification};
use ovsdb_model::{ApplyError, Batch, Database, Layout, Name, Unreadable, Update, Uuid};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::watch;

use crate::condition::ByTable;
use crate::core::{Core, Resume};
use crate::locks::LockState;
use crate::rpc::digest::Handler;
use crate::rpc::exchange::MonitorRequest;
use crate::server_db::{SERVER_DATABASE, ServerRow, names};
use crate::session::doubts::Doubts;
use crate::state::MonitorMethod;

/// A monitor that is, or is about to be, in place on a connection.
#[derive(Debug)]
pub(crate) struct Monitor {
    /// Its id on the wire.
    pub(crate) id: String,
    pub(crate) layout: Layout,
    /// What its rows meet; unknown while it changes.
    pub(crate) conditions: Option<Arc<ByTable>>,
}

impl Monitor {
    /// Where the next session can go on after `transaction`. A standalone server has no history, and says zero.
    fn resume(&self, transaction: Option<Uuid>) -> Option<Resume> {
        Some(Resume {
            transaction: transaction.filter(|id| !id.is_nil())?,
            layout: self.layout.clone(),
            conditions: self.conditions.clone()?,
        })
    }
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
    /// Rows to be read anew.
    pub(crate) doubts: Doubts,
}

impl Link {
    /// The names of the databases that the server has.
    pub(crate) fn databases(&self) -> Vec<String> {
        let server = self.server.lock();
        server
            .as_ref()
            .map_or_else(Vec::new, |(_, database)| names(database))
    }

    pub(crate) fn new(generation: u64) -> Arc<Self> {
        Arc::new(Self {
            generation,
            monitor: Mutex::default(),
            server: Mutex::default(),
            server_row: watch::Sender::new(None),
            canceled: watch::Sender::new(0),
            resumed: Mutex::default(),
            doubts: Doubts::default(),
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
        match method {
            "update" | "update2" | "update3" => self.update(method, params),
            "locked" | "stolen" => {
                let [name]: [String; 1] = parse(params)?;
                let state = if method == "locked" {
                    LockState::Held
                } else {
                    LockState::Stolen
                };
                self.core.locks.notified(&name, state);
                Ok(())
            }
            "monitor_canceled" => {
                let [id]: [serde_json::Value; 1] = parse(params)?;
                self.canceled(&id);
                Ok(())
            }
            other => {
                tracing::debug!(method = other, "notification of an unknown kind ignored");
                Ok(())
            }
        }
    }

    fn monitored(&mut self, request: &MonitorRequest, result: &str) -> Result<(), String> {
        self.dump(request, result)
            .inspect_err(|_| self.core.forget_resume())
    }
}

impl SessionHandler {
    /// Changes since the last update.
    fn update(&self, method: &str, params: &str) -> Result<(), String> {
        let monitor = self.link.monitor.lock();
        let mut server = self.link.server.lock();
        let is_main = |id: &serde_json::Value| monitor.as_ref().is_some_and(|own| *id == own.id);
        // Read before the replica is locked: readers wait for the change alone.
        let told = decode_notification(method, params, |id| {
            if is_main(id) {
                monitor.as_ref().map(|monitor| &monitor.layout)
            } else if id == SERVER_DATABASE {
                server.as_ref().map(|(layout, _)| layout)
            } else {
                None
            }
        });
        let told = told.map_err(|error| {
            self.core.forget_resume();
            error.to_string()
        })?;
        let Some(update) = told.update else {
            return Ok(());
        };
        if let Some(monitor) = monitor.as_ref().filter(|_| is_main(&told.monitor)) {
            let resume = monitor.resume(told.last_transaction);
            return self.change(resume, update, Database::apply);
        }
        if let Some((_, database)) = server.as_mut() {
            database.apply(update).map_err(|error| error.to_string())?;
            self.server_told(database);
        }
        Ok(())
    }

    /// The answer to a request for a monitor: the whole content, or where a monitor is resumed, what changed meanwhile.
    fn dump(&self, request: &MonitorRequest, result: &str) -> Result<(), String> {
        if request.id == SERVER_DATABASE {
            let mut server = self.link.server.lock();
            let Some((layout, database)) = server.as_mut() else {
                return Ok(());
            };
            let dump = decode_dump(layout, request.method, result)?;
            database
                .reconcile(layout, dump.update)
                .map_err(|error| error.to_string())?;
            self.server_told(database);
            return Ok(());
        }
        let monitor = self.link.monitor.lock();
        let Some(monitor) = monitor.as_ref().filter(|own| own.id == request.id) else {
            return Ok(());
        };
        let dump = decode_dump(&monitor.layout, request.method, result)?;
        *self.link.resumed.lock() = dump.found;
        let resume = monitor.resume(Some(dump.last_transaction));
        self.link.doubts.clear();
        self.change(resume, dump.update, |database, update| {
            if dump.found {
                database.apply(update)
            } else {
                database.reconcile(&monitor.layout, update)
            }
        })
    }

    /// Changes the replica by an update that leads to `resume`.
    fn change(
        &self,
        resume: Option<Resume>,
        update: Update,
        change: impl FnOnce(&mut Database, Update) -> Result<Batch, ApplyError>,
    ) -> Result<(), String> {
        let unreadable = update.unreadable().to_vec();
        let mut news = Vec::new();
        let changed = self.core.change(self.link.generation, |database| {
            news = unreadable;
            news.retain(|value| is_news(database, value));
            let batch = change(database, update)?;
            // With rows in doubt the replica is at no place of the server's history.
            let in_doubt = self.link.doubts.add(&batch, database.take_doubtful());
            Ok((batch, resume.filter(|_| !in_doubt)))
        });
        changed.map_err(|error: ApplyError| error.to_string())?;
        report_unreadable(&self.core.settings.database, &news);
        Ok(())
    }

    /// `_Server` has changed.
    fn server_told(&self, server: &Database) {
        let row = ServerRow::find(server, &self.core.settings.database);
        self.link.server_row.send_if_modified(|current| {
            let changed = *current != row;
            *current = row;
            changed
        });
    }

    fn canceled(&self, id: &serde_json::Value) {
        let mut monitor = self.link.monitor.lock();
        if monitor.as_ref().is_some_and(|monitor| *id == monitor.id) {
            // What was held stays readable; the next dump tells the differences.
            *monitor = None;
            self.link.canceled.send_modify(|count| *count += 1);
        }
    }
}

/// Whether the row's column was readable before, or the row was not there.
pub(super) fn is_news(database: &Database, value: &Unreadable) -> bool {
    let row = database.row(&value.table, value.uuid);
    row.is_none_or(|row| !row.unreadable().contains(&value.column))
}

/// Tells of values that could not be read: of each column once an update, and of each row once, until it can be read.
pub(super) fn report_unreadable(database: &Name, news: &[Unreadable]) {
    let mut columns: BTreeMap<(&Name, &Name), Vec<&Unreadable>> = BTreeMap::new();
    for value in news {
        let rows = columns.entry((&value.table, &value.column)).or_default();
        rows.push(value);
    }
    for rows in columns.values() {
        if let Some(value) = rows.first() {
            tracing::warn!(
                %database, %value, rows = rows.len(),
                "a value cannot be read; its row is known but for this column, until the value changes"
            );
        }
    }
}

/// What is not resumed is as if it had not been found.
fn decode_dump(layout: &Layout, method: MonitorMethod, result: &str) -> Result<SinceReply, String> {
    let whole = |update| SinceReply {
        found: false,
        last_transaction: Uuid::nil(),
        update,
    };
    match method {
        MonitorMethod::MonitorCondSince => layout.decode_since(result),
        MonitorMethod::MonitorCond => layout.decode(result, Format::Update2).map(whole),
        MonitorMethod::Monitor => layout.decode(result, Format::Update).map(whole),
    }
    .map_err(|error| error.to_string())
}

fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}
