//! The steps from a new connection to a replica that follows the server.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ovsdb_model::schema::Missing;
use ovsdb_model::{Database, Layout, Name, Schema, Uuid};

use super::handler::{Link, Monitor};
use super::{Keeper, SessionError};
use crate::condition::{ByTable, Wanted, applying, differences, wire};
use crate::rpc::connection::{CallError, Connection};
use crate::rpc::exchange::{Answer, MonitorRequest};
use crate::rpc::wire::Request;
use crate::server_db::{SERVER_COLUMNS, SERVER_DATABASE, SERVER_TABLE};
use crate::state::MonitorMethod;

/// A dump may take long to make and to send; probes notice a server that has died over it.
const DUMP_LIMIT: Duration = Duration::from_secs(3600);

impl Keeper {
    /// Reads and follows `_Server`, where there is one, and judges the server by it.
    pub(super) async fn read_server(
        &mut self,
        connection: &Connection,
        link: &Link,
    ) -> Result<(), SessionError> {
        let schema = match self
            .call(
                connection,
                "get_schema",
                &format!("[\"{SERVER_DATABASE}\"]"),
            )
            .await
        {
            Ok(schema) => read_schema(schema.as_str())?,
            Err(SessionError::Call {
                error: CallError::Refused(_),
                ..
            }) => {
                // Servers before OVS 2.9, and others than ovsdb-server, have no such database.
                tracing::debug!("the server has no database {SERVER_DATABASE}");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let columns = SERVER_COLUMNS.map(Name::new_static);
        let layout = Layout::new(&schema, [(&Name::new_static(SERVER_TABLE), &columns[..])]);
        let requests = to_json(&layout)?;
        *link.server.lock() = Some((layout, Database::new()));
        let params = format!("[\"{SERVER_DATABASE}\",\"{SERVER_DATABASE}\",{requests}]");
        let monitor = async |method| {
            let id = SERVER_DATABASE.to_owned();
            let request = MonitorRequest { method, id };
            self.ask(connection, request, &params, self.core.settings.deadline)
                .await
        };
        match monitor(MonitorMethod::MonitorCond).await {
            Err(error) if is_unknown_method(&error) => {
                monitor(MonitorMethod::Monitor).await?;
            }
            other => other?,
        }
        match self.call(connection, "set_db_change_aware", "[true]").await {
            // Without it the server closes the connection when the schema changes, which is survived as well.
            Err(error) if is_unknown_method(&error) => {}
            other => {
                other?;
            }
        }
        self.judge(link)
    }

    /// Reads the schema, asks for locks, and brings the replica up to date.
    pub(super) async fn synchronise(
        &mut self,
        connection: &Connection,
        link: &Link,
    ) -> Result<Arc<Schema>, SessionError> {
        let core = self.core.clone();
        let database = serde_json::json!([core.settings.database.as_str()]).to_string();
        let schema = self.call(connection, "get_schema", &database).await?;
        let schema = Arc::new(read_schema(schema.as_str())?);
        let (layout, missing) = self.bind(&schema)?;
        self.missing = missing;
        core.update_state(|state| state.schema_version = Some(schema.version.clone()));
        let conditions = self.fit_conditions(&schema, &core.conditions.wanted().borrow())?;
        self.ask_for_locks(connection).await?;
        let method = self.monitor(connection, link, layout, conditions).await?;
        let resumed = *link.resumed.lock();
        core.update_state(|state| {
            state.monitor = Some(method);
            if resumed {
                state.counters.resumes += 1;
            } else {
                state.counters.full_syncs += 1;
            }
        });
        Ok(schema)
    }

    /// What is monitored of this schema, and what is not since it is not there.
    fn bind(&self, schema: &Schema) -> Result<(Layout, Vec<Missing>), SessionError> {
        let bound = schema
            .bind(&self.core.settings.tables)
            .map_err(|error| SessionError::Schema(error.to_string()))?;
        let layout = if self.core.settings.everything {
            Layout::everything(schema)
        } else {
            bound.layout
        };
        Ok((layout, bound.missing))
    }

    /// Sets the monitor up by the best method that the server knows. The replica is up to date when this returns.
    async fn monitor(
        &mut self,
        connection: &Connection,
        link: &Link,
        layout: Layout,
        wanted: Wanted,
    ) -> Result<MonitorMethod, SessionError> {
        self.monitors += 1;
        let id = format!("replica-{}", self.monitors);
        let requests = monitor_requests(&layout, &wanted.tables)?;
        let conditional = applying(&wanted.tables, &layout).next().is_some();
        let database = serde_json::json!(self.core.settings.database.as_str());
        let since = self.core.resume(&layout, &wanted.tables);
        let since = since.unwrap_or(Uuid::nil());
        *link.monitor.lock() = Some(Monitor {
            id: id.clone(),
            layout,
            conditions: Some(wanted.tables),
        });
        *link.resumed.lock() = false;
        let steps = [
            (
                MonitorMethod::MonitorCondSince,
                format!("[{database},\"{id}\",{requests},\"{since}\"]"),
            ),
            (
                MonitorMethod::MonitorCond,
                format!("[{database},\"{id}\",{requests}]"),
            ),
            (
                MonitorMethod::Monitor,
                format!("[{database},\"{id}\",{requests}]"),
            ),
        ];
        let mut refusal = None;
        for (method, params) in steps {
            if method == MonitorMethod::Monitor && conditional {
                return Err(SessionError::Unconditional);
            }
            let request = MonitorRequest {
                method,
                id: id.clone(),
            };
            match self.ask(connection, request, &params, DUMP_LIMIT).await {
                Err(error) if is_unknown_method(&error) => refusal = Some(error),
                Err(error) => return Err(error),
                Ok(()) => {
                    self.core.conditions.set_in_force(Some(wanted.version));
                    return Ok(method);
                }
            }
        }
        Err(refusal.unwrap_or(SessionError::Stopped))
    }

    /// Has the server send what the conditions now asked for mean, where they have changed since the monitor was set
    /// up.
    pub(super) async fn change_conditions(
        &self,
        connection: &Connection,
        link: &Link,
        schema: &Schema,
    ) -> Result<(), SessionError> {
        let wanted = self.fit_conditions(schema, &self.core.conditions.wanted().borrow())?;
        let params = {
            let mut monitor = link.monitor.lock();
            // Canceled: the next monitor asks for them.
            let Some(Monitor {
                id,
                layout,
                conditions,
            }) = monitor.as_mut()
            else {
                return Ok(());
            };
            let before = conditions.take().unwrap_or_default();
            let differences = differences(&before, &wanted.tables, layout);
            serde_json::json!([*id, *id, differences])
        };
        // Until the server has answered, nobody knows which of the two an update is by.
        self.core.forget_resume();
        self.call(connection, "monitor_cond_change", &params.to_string())
            .await?;
        if let Some(monitor) = link.monitor.lock().as_mut() {
            monitor.conditions = Some(wanted.tables);
        }
        self.core.conditions.set_in_force(Some(wanted.version));
        Ok(())
    }

    /// What is asked for, as this server can take it; tells what is left out of it, and of the tables.
    fn fit_conditions(&self, schema: &Schema, wanted: &Wanted) -> Result<Wanted, SessionError> {
        let mut tables = ByTable::new();
        let mut missing: BTreeSet<Missing> = self.missing.iter().cloned().collect();
        for (table, clauses) in &*wanted.tables {
            let fitted = schema
                .fit_condition(table, clauses)
                .map_err(|problem| SessionError::Condition(table.clone(), problem))?;
            missing.extend(fitted.missing);
            tables.extend(fitted.clauses.map(|clauses| (table.clone(), clauses)));
        }
        self.core.report_missing(&missing);
        self.core.update_state(|state| state.missing = missing);
        Ok(Wanted {
            version: wanted.version,
            tables: Arc::new(tables),
        })
    }

    pub(super) async fn call(
        &self,
        connection: &Connection,
        method: &'static str,
        params: &str,
    ) -> Result<Answer, SessionError> {
        connection
            .call(Request::new(method, params), self.core.settings.deadline)
            .await
            .map_err(|error| SessionError::Call { method, error })
    }

    async fn ask(
        &self,
        connection: &Connection,
        request: MonitorRequest,
        params: &str,
        deadline: Duration,
    ) -> Result<(), SessionError> {
        let method = request.method.as_str();
        connection
            .monitor(request, params, deadline)
            .await
            .map_err(|error| SessionError::Call { method, error })
    }
}

/// What is to be monitored: columns and conditions of each table.
fn monitor_requests(layout: &Layout, conditions: &ByTable) -> Result<String, SessionError> {
    let mut requests =
        serde_json::to_value(layout).map_err(|error| SessionError::Schema(error.to_string()))?;
    for (table, clauses) in applying(conditions, layout) {
        requests[table.as_str()][0]["where"] = wire(clauses);
    }
    Ok(requests.to_string())
}

fn is_unknown_method(error: &SessionError) -> bool {
    matches!(error, SessionError::Call { error: CallError::Refused(words), .. } if words.error == "unknown method")
}

fn read_schema(json: &str) -> Result<Schema, SessionError> {
    serde_json::from_str(json).map_err(|error| SessionError::Schema(error.to_string()))
}

fn to_json(layout: &Layout) -> Result<String, SessionError> {
    serde_json::to_string(layout).map_err(|error| SessionError::Schema(error.to_string()))
}
